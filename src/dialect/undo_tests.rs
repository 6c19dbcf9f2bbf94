//! What was changed in a request comes back in its answer, however the stream is cut.

use proptest::prelude::*;

use super::*;
use crate::dialect::ir::Choice as AnswerChoice;

fn undo() -> Undo {
    Undo {
        tool_names: vec![
            ("t_1".to_owned(), "my tool".to_owned()),
            ("t_2".to_owned(), "free.text".to_owned()),
        ],
        custom_tools: vec!["t_2".to_owned(), "grep".to_owned()],
        answer_tool: Some("respond".to_owned()),
    }
}

fn call(name: &'static str, arguments: Arguments<'static>) -> Part<'static> {
    let call = ToolCall {
        id: Some(Text::from_plain("c1")),
        name: Text::from_plain(name),
        arguments,
        kind: CallKind::Function,
        proof: None,
    };
    Content::ToolCall(call).into()
}

fn object(json: &'static str) -> Arguments<'static> {
    Arguments::Object(Raw::from_scanned(json.as_bytes()).unwrap())
}

/// Name, kind and input of a part; a text has the name `text`.
fn shown(part: &Part<'_>) -> (String, Option<CallKind>, String) {
    match &part.content {
        Content::ToolCall(call) => (
            call.name.decode().unwrap().into_owned(),
            Some(call.kind),
            call.arguments.as_text().decode().unwrap().into_owned(),
        ),
        Content::Text { text, .. } => ("text".to_owned(), None, text.decode().unwrap().into_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_of_a_whole_answer_are_what_the_client_offered() {
    let function = Some(CallKind::Function);
    let custom = Some(CallKind::Custom);
    let cases = [
        (call("t_1", object(r#"{"a": 1}"#)), ("my tool", function, r#"{"a":1}"#), Finish::ToolCalls),
        (call("other", object("{}")), ("other", function, "{}"), Finish::ToolCalls),
        (
            call("t_2", object(r#"{"input":"a\n\"b\""}"#)),
            ("free.text", custom, "a\n\"b\""),
            Finish::ToolCalls,
        ),
        (
            call("grep", Arguments::Text(Text::from_plain(r#"{"input":"x"}"#))),
            ("grep", custom, "x"),
            Finish::ToolCalls,
        ),
        (call("grep", object(r#"{"q":1}"#)), ("grep", custom, r#"{"q":1}"#), Finish::ToolCalls),
        (
            call("grep", Arguments::Text(Text::from_plain("cut {"))),
            ("grep", custom, "cut {"),
            Finish::ToolCalls,
        ),
        (call("respond", object(r#"{"x":[1, 2]}"#)), ("text", None, r#"{"x":[1, 2]}"#), Finish::Stop),
    ];
    for (part, (name, kind, input), finish) in cases {
        let choice = AnswerChoice::new(vec![part], Finish::ToolCalls);
        let mut answer = Answer { choices: vec![choice], ..Answer::default() };
        undo().answer(&mut answer);
        let choice = &answer.choices[0];
        assert_eq!(shown(&choice.parts[0]), (name.to_owned(), kind, input.to_owned()));
        assert_eq!(choice.finish, finish, "{name}");
    }
}

/// The events of one call as a reader gives them.
fn call_events<'t>(name: &'t str, pieces: &[&'t str]) -> Vec<Event<'t>> {
    let block =
        Opening::Call { id: Text::from_plain("c1"), name: Text::from_plain(name), kind: CallKind::Function };
    let mut events = vec![Event::Open { choice: 0, block }];
    events.extend(
        pieces
            .iter()
            .map(|piece| Event::Delta { choice: 0, text: Text::from_escaped(Cow::Borrowed(*piece)) }),
    );
    events.push(Event::Close { choice: 0 });
    events.push(Event::Finish { choice: 0, finish: Finish::ToolCalls });
    events
}

/// What is opened, the joined deltas, the finish.
fn run(undo: Undo, events: Vec<Event<'_>>) -> (Opening<'static>, Text<'static>, Finish<'static>) {
    let mut stream = UndoStream::new(undo);
    let (mut opening, mut text, mut finish) = (Opening::Text, Text::default(), Finish::Length);
    for event in events {
        stream.event(event, &mut |event| match event {
            Event::Open { block: Opening::Call { id, name, kind }, .. } => {
                let (id, name) = (id.clone().into_owned(), name.clone().into_owned());
                opening = Opening::Call { id, name, kind: *kind };
            }
            Event::Delta { text: more, .. } => text.push(more),
            Event::Finish { finish: Finish::Stop, .. } => finish = Finish::Stop,
            Event::Finish { finish: Finish::ToolCalls, .. } => finish = Finish::ToolCalls,
            Event::Open { .. } | Event::Close { .. } => {}
            other => panic!("{other:?}"),
        });
    }
    (opening, text.into_owned(), finish)
}

fn opened(name: &str, kind: CallKind) -> Opening<'static> {
    Opening::Call { id: Text::from_plain("c1"), name: Text::from(name.to_owned()), kind }
}

#[test]
fn calls_of_a_stream_are_what_the_client_offered() {
    let (opening, text, finish) = run(undo(), call_events("t_1", &[r#"{\"a\":"#, "1}"]));
    assert_eq!(opening, opened("my tool", CallKind::Function));
    assert_eq!((text.escaped(), finish), (r#"{\"a\":1}"#, Finish::ToolCalls));

    let (opening, text, finish) = run(undo(), call_events("respond", &[r#"{\"a\":"#, "1}"]));
    assert_eq!(opening, Opening::Text);
    assert_eq!((text.escaped(), finish), (r#"{\"a\":1}"#, Finish::Stop));

    let (_, text, _) = run(undo(), call_events("respond", &[]));
    assert_eq!(text.escaped(), "{}");

    let both = [call_events("respond", &["{}"]), call_events("t_1", &["{}"])].concat();
    let (_, _, finish) = run(undo(), both);
    assert_eq!(finish, Finish::ToolCalls);
}

/// JSON text as the content of a string: every piece it can be cut into lies between two escapes.
fn pieces(json: &str) -> Vec<String> {
    json.chars().map(|c| Text::from(c.to_string()).escaped().to_owned()).collect()
}

#[test]
fn the_input_of_a_custom_tool_arrives_as_free_text_however_it_is_cut() {
    let cases = [
        (r#"{"input":"plain"}"#, "plain"),
        (r#" { "input" : "a\nb \"c\" \\ \/ \u00e9\ud83d\ude00 é😀" } "#, "a\nb \"c\" \\ / é😀 é😀"),
        (r#"{"input":""}"#, ""),
        (r#"{"input":"x","more":"y"}"#, "x"),
        (r#"{"other":"x"}"#, r#"{"other":"x"}"#),
        (r#"{"input":5}"#, r#"{"input":5}"#),
        (r#"{"inp"#, r#"{"inp"#),
        ("{\"input\":\"raw\nline \\q \\u12\"}", "raw\nline \\q \\u12"),
        (r#"{"input":"cut \u00"#, "cut "),
    ];
    for (json, free) in cases {
        let pieces = pieces(json);
        for first in 0..=pieces.len() {
            for second in first..=pieces.len() {
                let parts = [&pieces[..first], &pieces[first..second], &pieces[second..]].map(<[_]>::concat);
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let (opening, text, finish) = run(undo(), call_events("grep", &parts));
                assert_eq!(opening, opened("grep", CallKind::Custom));
                assert_eq!(text.decode().as_deref(), Some(free), "{json} cut at {first} and {second}");
                assert_eq!(finish, Finish::ToolCalls);
            }
        }
    }
}

#[test]
fn a_pair_that_the_provider_escaped_itself_stays_whole() {
    let parts = [r#"{\"input\":\"\ud83d"#, r#"\ude00\"}"#];
    let (_, text, _) = run(undo(), call_events("grep", &parts));
    assert_eq!(text.decode().unwrap(), "😀");
}

#[test]
fn free_text_is_not_kept_back() {
    let mut unwrap = Unwrap::default();
    assert_eq!(unwrap.push(r#"{\"input\":\"one "#).escaped(), "one ");
    assert_eq!(unwrap.push("two").escaped(), "two");
    assert_eq!(unwrap.push(r" \\").escaped(), " ");
    assert_eq!(unwrap.push("n").escaped(), r"\n");
    assert!(unwrap.held.is_empty());
}

proptest! {
    #[test]
    fn any_free_text_comes_back(text: String, cuts: Vec<usize>) {
        let json = serde_json::json!({ "input": text }).to_string();
        let pieces = pieces(&json);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (pieces.len() + 1)).collect();
        cuts.extend([0, pieces.len()]);
        cuts.sort_unstable();
        let parts: Vec<String> = cuts.windows(2).map(|pair| pieces[pair[0]..pair[1]].concat()).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (_, input, _) = run(undo(), call_events("grep", &parts));
        prop_assert_eq!(input.decode().unwrap(), text);
    }

    #[test]
    fn any_pieces_make_a_text_that_json_takes(parts: Vec<String>) {
        let mut unwrap = Unwrap::default();
        let parts: Vec<String> = std::iter::once(r#"{"input":""#.to_owned())
            .chain(parts)
            .map(|part| Text::from(part).escaped().to_owned())
            .collect();
        let mut all = Text::default();
        for part in &parts {
            all.push(&unwrap.push(part));
        }
        all.push(&unwrap.finish());
        prop_assert!(all.decode().is_some(), "{:?}", all.escaped());
    }
}
