//! Streams to clients, event by event, and what comes back.

use serde_json::{Value, json};

use super::super::support_tests::{client, key, plain, read, sse_events};
use super::super::{read_answer, read_request, write_answer};
use super::*;
use crate::dialect::ir::{Answer, Arguments, Choice, Content, Part, Proof, ToolCall, Vendor};

fn write(events: &[Event<'_>]) -> Vec<u8> {
    let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut out));
    out
}

fn start() -> Event<'static> {
    Event::Start { id: None, model: Some(Text::from_plain("claude")), created: Some(5), usage: None }
}

fn open(block: Opening<'static>) -> Event<'static> {
    Event::Open { choice: 0, block }
}

fn delta(text: &'static str) -> Event<'static> {
    Event::Delta { choice: 0, text: Text::from_plain(text) }
}

const CLOSE: Event<'static> = Event::Close { choice: 0 };

fn finish(finish: Finish<'static>) -> Event<'static> {
    Event::Finish { choice: 0, finish }
}

fn call(kind: CallKind) -> Opening<'static> {
    Opening::Call { id: Text::from_plain("toolu_1"), name: Text::from_plain("f"), kind }
}

fn proof(vendor: Vendor, data: &'static str) -> Proof<'static> {
    Proof { vendor, item_id: None, data: Text::from_plain(data) }
}

/// The types of the events, those of a response without `response.`; sequence numbers are checked.
fn kinds(wire: &[u8]) -> Vec<String> {
    let events = sse_events(wire);
    let kinds = events.iter().enumerate().map(|(index, (name, data))| {
        assert_eq!(data["type"], **name);
        assert_eq!(data["sequence_number"], index);
        name.trim_start_matches("response.").to_owned()
    });
    kinds.collect()
}

fn response(wire: &[u8]) -> Value {
    sse_events(wire).last().unwrap().1["response"].clone()
}

#[test]
fn events_come_in_the_order_that_clients_know() {
    let wire = write(&[
        start(),
        open(Opening::Thinking),
        delta("hm"),
        Event::Proof { choice: 0, proof: proof(Vendor::Anthropic, "sig") },
        CLOSE,
        open(Opening::Text),
        delta("Hel"),
        Event::Ping,
        delta("lo"),
        Event::Cite {
            choice: 0,
            citation: Citation { url: Text::from_plain("https://e.com"), title: None, chars: None },
        },
        CLOSE,
        open(call(CallKind::Function)),
        delta("{\"a\":"),
        delta("1}"),
        CLOSE,
        finish(Finish::ToolCalls),
        Event::Usage(Usage { input: 9, output: 4, cached_input: 2, cache_write: 1, reasoning: 3 }),
        Event::End,
    ]);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&wire), expected);
    assert!(wire.windows(8).any(|window| window == b": ping\n\n"));
    let events = sse_events(&wire);
    let data = |index: usize| events[index].1.clone();
    let (thought, message, called) =
        (data(7)["item"]["id"].clone(), data(9)["item_id"].clone(), data(16)["item"]["id"].clone());
    for (id, prefix) in [(&thought, "rs_"), (&message, "msg_"), (&called, "fc_")] {
        let id = id.as_str().unwrap();
        assert!(id.starts_with(prefix) && id.len() == prefix.len() + 32, "{id}");
    }
    assert_eq!(
        data(0)["response"],
        json!({
            "id": data(21)["response"]["id"], "object": "response", "created_at": 5, "status": "in_progress",
            "completed_at": null, "error": null, "incomplete_details": null, "model": "claude", "output": [],
            "usage": null, "tools": [], "metadata": {},
        })
    );
    assert_eq!(data(2)["item"], json!({"id": thought, "type": "reasoning", "summary": []}));
    let summary = json!([{"type": "summary_text", "text": "hm"}]);
    let sealed = data(7)["item"]["encrypted_content"].clone();
    assert!(sealed.as_str().unwrap().starts_with("gw1.a."));
    assert_eq!(
        data(8),
        json!({"type": "response.output_item.added", "output_index": 1, "sequence_number": 8, "item":
            {"id": message, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}})
    );
    assert_eq!(
        data(10),
        json!({"type": "response.output_text.delta", "item_id": message, "output_index": 1, "content_index": 0,
            "delta": "Hel", "logprobs": [], "sequence_number": 10})
    );
    let annotation = json!({"type": "url_citation", "url": "https://e.com", "title": "", "start_index": 0, "end_index": 5});
    assert_eq!(data(12)["annotation"], annotation);
    let part = json!({"type": "output_text", "annotations": [annotation], "logprobs": [], "text": "Hello"});
    assert_eq!(data(14)["part"], part);
    assert_eq!(
        data(19),
        json!({"type": "response.function_call_arguments.done", "item_id": called, "output_index": 2, "name": "f",
            "arguments": "{\"a\":1}", "sequence_number": 19})
    );
    let last = response(&wire);
    assert_eq!(
        last["output"],
        json!([
            {"id": thought, "type": "reasoning", "summary": summary, "encrypted_content": sealed},
            {"id": message, "type": "message", "status": "completed", "content": [part], "role": "assistant"},
            {"id": called, "type": "function_call", "status": "completed", "arguments": "{\"a\":1}",
             "call_id": "toolu_1", "name": "f"},
        ])
    );
    assert_eq!(last["completed_at"], 1_700_000_000);
    assert_eq!(
        last["usage"],
        json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
            "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 13})
    );
}

#[test]
fn texts_that_follow_one_another_are_parts_of_one_message() {
    let wire = write(&[
        start(),
        open(Opening::Text),
        delta("a"),
        CLOSE,
        open(Opening::Text),
        delta("b"),
        CLOSE,
        open(Opening::Refusal),
        delta("no"),
        CLOSE,
        finish(Finish::Stop),
        Event::End,
    ]);
    let output = &response(&wire)["output"];
    assert_eq!(output.as_array().unwrap().len(), 1);
    let texts: Vec<_> =
        output[0]["content"].as_array().unwrap().iter().map(|part| part["type"].clone()).collect();
    assert_eq!(texts, ["output_text", "output_text", "refusal"]);
    let indexes: Vec<_> = sse_events(&wire)
        .into_iter()
        .filter(|(name, _)| name == "response.content_part.done")
        .map(|(_, data)| data["content_index"].clone())
        .collect();
    assert_eq!(indexes, [0, 1, 2]);
}

#[test]
fn a_call_without_input_says_so() {
    for (kind, input, name) in [
        (CallKind::Function, "{}", "function_call_arguments"),
        (CallKind::Custom, "", "custom_tool_call_input"),
    ] {
        let wire = write(&[start(), open(call(kind)), CLOSE, finish(Finish::ToolCalls), Event::End]);
        let said: String = sse_events(&wire)
            .iter()
            .filter(|(kind, _)| *kind == format!("response.{name}.delta"))
            .map(|(_, data)| data["delta"].as_str().unwrap())
            .collect();
        assert_eq!(said, input, "clients that only put pieces together");
        let member = if kind == CallKind::Function { "arguments" } else { "input" };
        assert_eq!(response(&wire)["output"][0][member], input);
    }
}

#[test]
fn answers_that_end_early_say_why() {
    let words = || Some(Text::from_plain("Harmful."));
    let cases = [
        (Finish::Stop, "completed", Value::Null, 1),
        (Finish::StopSequence(None), "completed", Value::Null, 1),
        (Finish::Paused, "completed", Value::Null, 1),
        (Finish::Length, "incomplete", json!("max_output_tokens"), 1),
        (Finish::ContextFull, "incomplete", json!("max_output_tokens"), 1),
        (Finish::Filtered(None), "incomplete", json!("content_filter"), 1),
        (Finish::Filtered(words()), "incomplete", json!("content_filter"), 2),
        (Finish::PromptFiltered(words()), "incomplete", json!("content_filter"), 2),
    ];
    for (ended, status, reason, parts) in cases {
        let wire =
            write(&[start(), open(Opening::Text), delta("x"), CLOSE, finish(ended.clone()), Event::End]);
        let kinds = kinds(&wire);
        assert_eq!(kinds.last().unwrap(), status, "{ended:?}");
        let last = response(&wire);
        assert_eq!((&last["status"], &last["incomplete_details"]["reason"]), (&json!(status), &reason));
        assert_eq!(last["output"][0]["status"], status);
        assert_eq!(last["output"][0]["content"].as_array().unwrap().len(), parts, "{ended:?}");
        assert_eq!(last["completed_at"].is_null(), status == "incomplete");
    }
}

#[test]
fn a_failure_is_said_in_both_forms_and_ends_the_stream() {
    let fault = Fault {
        case: FaultCase::Overloaded,
        message: Text::from_plain("busy"),
        code: None,
        param: None,
        retry_after_s: None,
    };
    for begun in [true, false] {
        let mut events = vec![Event::Fail(fault.clone()), delta("late"), Event::End];
        if begun {
            events.splice(
                0..0,
                [start(), open(Opening::Text), delta("x"), CLOSE, open(call(CallKind::Function))],
            );
        }
        let wire = write(&events);
        let sent = sse_events(&wire);
        let [(_, error), (_, failed)] = &sent[sent.len() - 2..] else { panic!() };
        assert_eq!(
            *error,
            json!({"type": "error", "code": "server_is_overloaded", "message": "busy", "param": null, "error":
                {"message": "busy", "type": "service_unavailable_error", "param": null, "code": "server_is_overloaded"},
                "sequence_number": sent.len() - 2})
        );
        assert_eq!(failed["type"], "response.failed");
        assert_eq!(failed["response"]["error"], json!({"code": "server_is_overloaded", "message": "busy"}));
        assert_eq!(failed["response"]["status"], "failed");
        let back = read(Vendor::Other, &[&wire]).fault.unwrap();
        assert_eq!((back.case, back.message), (FaultCase::Overloaded, Text::from_plain("busy")));
    }
}

#[test]
fn an_answer_too_long_to_be_repeated_fails() {
    let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
    writer.event(&start(), &mut out);
    writer.event(&open(Opening::Text), &mut out);
    let piece = Event::Delta { choice: 0, text: Text::from("x".repeat(REPEATED_OUTPUT_BYTES_MAX / 4)) };
    (0..6).for_each(|_| writer.event(&piece, &mut out));
    let names: Vec<String> = sse_events_lossy(&out);
    assert_eq!(names.last().unwrap(), "response.failed");
}

/// Names alone: the events are longer than the decoder reads.
fn sse_events_lossy(wire: &[u8]) -> Vec<String> {
    let lines = wire.split(|byte| *byte == b'\n');
    let names = lines.filter_map(|line| line.strip_prefix(b"event: "));
    names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
}

#[test]
fn only_the_first_answer_and_what_it_says_is_written() {
    let other = [
        Event::Open { choice: 1, block: Opening::Text },
        Event::Delta { choice: 1, text: Text::from_plain("other") },
        Event::Close { choice: 1 },
        Event::Finish { choice: 1, finish: Finish::Length },
    ];
    let mut events = vec![open(Opening::Text), delta("one"), CLOSE];
    events.extend(other);
    events.extend([finish(Finish::Stop), Event::End, Event::Ping, delta("behind")]);
    let wire = write(&events);
    assert_eq!(kinds(&wire).first().unwrap(), "created", "a start is made up where there was none");
    let last = response(&wire);
    assert_eq!((&last["status"], &last["model"]), (&json!("completed"), &json!("gpt-5")));
    assert_eq!(last["output"][0]["content"][0]["text"], "one");
}

/// An answer with proofs of everyone.
fn proven() -> Answer<'static> {
    let thinking = |text: &'static str, proof: Option<Proof<'static>>, redacted| {
        Part::from(Content::Thinking { text: Text::from_plain(text), proof, redacted })
    };
    let parts = vec![
        thinking("hm", Some(proof(Vendor::Anthropic, "sig/+=\\n")), false),
        thinking("", Some(proof(Vendor::Anthropic, "hidden")), true),
        thinking(
            "own",
            Some(Proof { item_id: Some(Text::from_plain("rs_9")), ..proof(Vendor::OpenAi, "gAAA") }),
            false,
        ),
        Content::Text { text: Text::from_plain("Hi"), citations: Vec::new() }.into(),
        Content::ToolCall(ToolCall {
            id: Some(Text::from_plain("call_1")),
            name: Text::from_plain("f"),
            arguments: Arguments::Text(Text::from_plain("{}")),
            kind: CallKind::Function,
            proof: Some(Proof {
                item_id: Some(Text::from_plain("call_1")),
                ..proof(Vendor::Google, "thought")
            }),
        })
        .into(),
        thinking(
            "",
            Some(Proof { item_id: Some(Text::from_plain("text")), ..proof(Vendor::Google, "on text") }),
            true,
        ),
    ];
    let choices = vec![Choice::new(parts, Finish::ToolCalls)];
    Answer { choices, ..Answer::default() }
}

#[test]
fn envelopes_say_what_a_proof_belongs_to() {
    let holders = [Holder::Thought, Holder::Redacted, Holder::Call(Text::from_plain("a:b=\\n"))];
    for holder in holders {
        for item_id in [None, Some(Text::from_plain("")), Some(Text::from_plain("rs=1:call:"))] {
            let held = Proof { item_id, ..proof(Vendor::Google, "data") };
            let sealed = holder.seal(&held, &key());
            let mut opened = crate::dialect::proof::open(sealed, Vendor::OpenAi, &key()).unwrap();
            assert_eq!((Holder::take(&mut opened), &opened), (holder.clone(), &held));
        }
    }
    for odd in ["call:", "call:9:x", "call:x:y", "call:18446744073709551615:", "what"] {
        let mut held = Proof { item_id: Some(Text::from_plain(odd)), ..proof(Vendor::Google, "data") };
        assert_eq!((Holder::take(&mut held), held.item_id), (Holder::Thought, None), "{odd}");
    }
}

#[test]
fn proofs_come_back_with_what_they_belong_to() {
    let answer = proven();
    let mut whole = Vec::new();
    write_answer(&answer, &mut client(), &mut whole);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let mut events = vec![start()];
    for part in &answer.choices[0].parts {
        let (opening, text, held) = match &part.content {
            Content::Thinking { proof: Some(proof), redacted: true, .. } => {
                (Opening::Redacted(proof.clone()), Text::default(), None)
            }
            Content::Thinking { text, proof, .. } => (Opening::Thinking, text.clone(), proof.clone()),
            Content::Text { text, .. } => (Opening::Text, text.clone(), None),
            Content::ToolCall(call) => {
                let (id, name) = (call.id.clone().unwrap(), call.name.clone());
                (Opening::Call { id, name, kind: call.kind }, Text::from_plain("{}"), call.proof.clone())
            }
            other => panic!("{other:?}"),
        };
        events.push(open(opening));
        events.push(Event::Delta { choice: 0, text });
        events.extend(held.map(|proof| Event::Proof { choice: 0, proof }));
        events.push(CLOSE);
    }
    events.extend([finish(Finish::ToolCalls), Event::End]);
    let streamed = response(&write(&events));
    for (name, response) in [("whole", whole), ("streamed", streamed)] {
        // A client sends back what it got, before the results.
        let body = serde_json::to_vec(&json!({"input": response["output"]})).unwrap();
        let (request, _) = read_request(&body, &key()).unwrap();
        assert_eq!(request.turns.len(), 1, "{name}");
        assert_eq!(request.turns[0].parts, answer.choices[0].parts, "{name}");
        let forged = String::from_utf8(body).unwrap().replace("gw1.a.", "gw1.x.");
        let (request, _) = read_request(forged.as_bytes(), &key()).unwrap();
        let proofs = request.turns[0].parts.iter().filter(|part| match &part.content {
            Content::Thinking { proof: Some(proof), .. } => {
                matches!(proof.vendor, Vendor::Anthropic | Vendor::Other)
            }
            _ => false,
        });
        assert_eq!(proofs.count(), 0, "{name}: a forged envelope proves nothing");
    }
}

fn any_text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    proptest::collection::vec(
        prop_oneof![Just('a'), Just('"'), Just('\\'), Just('\n'), Just('é'), Just('😀'), any::<char>()],
        1..12,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

proptest::proptest! {
    /// What is written, in one piece or as a stream, reads the same.
    #[test]
    fn what_is_written_reads_the_same(
        blocks in proptest::collection::vec((0usize..5, any_text(), 1usize..4), 0..8),
        ended in 0usize..3,
    ) {
        let finish = [Finish::Stop, Finish::Length, Finish::Stop][ended].clone();
        let (mut parts, mut events) = (Vec::new(), vec![start()]);
        for (index, (kind, text, cuts)) in blocks.into_iter().enumerate() {
            let said = Text::from(text.clone());
            let id = Text::from(format!("call_{index}"));
            let (opening, content): (Opening<'static>, Content<'static>) = match kind {
                0 => (Opening::Text, Content::Text { text: said, citations: Vec::new() }),
                1 => (Opening::Refusal, Content::Refusal(said)),
                2 => (Opening::Thinking, Content::Thinking { text: said, proof: None, redacted: false }),
                _ => {
                    let kind = if kind == 3 { CallKind::Function } else { CallKind::Custom };
                    let name = Text::from_plain("f");
                    let opening = Opening::Call { id: id.clone(), name: name.clone(), kind };
                    let arguments = Arguments::Text(said);
                    (opening, Content::ToolCall(ToolCall { id: Some(id), name, arguments, kind, proof: None }))
                }
            };
            parts.push(Part::from(content));
            events.push(open(opening));
            let chars: Vec<char> = text.chars().collect();
            for piece in chars.chunks(chars.len().div_ceil(cuts)) {
                let text = Text::from(piece.iter().collect::<String>());
                events.push(Event::Delta { choice: 0, text });
            }
            events.push(CLOSE);
        }
        let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
        let finish = if calls && finish == Finish::Stop { Finish::ToolCalls } else { finish };
        events.extend([Event::Finish { choice: 0, finish: finish.clone() }, Event::End]);
        let answer = Answer { choices: vec![Choice::new(parts, finish)], ..Answer::default() };

        let folded = read(Vendor::Other, &[&write(&events)]);
        proptest::prop_assert_eq!(plain(&folded.answer()), plain(&answer));
        proptest::prop_assert_eq!(&folded.finish, &Some(answer.choices[0].finish.clone()));
        let mut whole = Vec::new();
        write_answer(&answer, &mut client(), &mut whole);
        let back = read_answer(&whole, Vendor::Other).unwrap();
        proptest::prop_assert_eq!(plain(&back), plain(&answer));
        proptest::prop_assert_eq!(&back.choices[0].finish, &answer.choices[0].finish);
    }
}
