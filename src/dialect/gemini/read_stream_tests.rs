//! Streams of providers, chunk by chunk.

use super::super::tests_support::{Folded, read, said, sse};
use super::*;
use crate::dialect::ir::{Content, FaultCase};

/// The parts of the first answer, why it ended, or what failed.
fn outcome(chunks: &[&str]) -> (Vec<String>, String) {
    let folded = read(&[&sse(chunks)]);
    match &folded.fault {
        Some(fault) => (Vec::new(), fault.message.decode().unwrap().into_owned()),
        None => said(&folded.answer()).swap_remove(0),
    }
}

/// A chunk with these parts and these further members of its candidate.
fn chunk(parts: &str, more: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}}{more}}}],"responseId":"r"}}"#)
}

const STOP: &str = r#","finishReason":"STOP""#;

#[test]
fn parts_become_blocks() {
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&[r#"{"text":"Hel"}"#, r#"{"text":"lo"},{"text":"!"}"#], &[r#"text "Hello!" []"#], "Stop"),
        (
            &[r#"{"text":"hm","thought":true}"#, r#"{"text":"m","thought":true},{"text":"So"}"#],
            &[r#"thinking "hmm""#, r#"text "So" []"#],
            "Stop",
        ),
        // A signature behind a text has a block of its own, also where it comes in a part without text.
        (
            &[r#"{"text":"a"}"#, r#"{"text":"","thoughtSignature":"S"}"#],
            &[r#"text "a" []"#, r#"redacted "" Google:S"#],
            "Stop",
        ),
        (
            &[r#"{"text":"a","thoughtSignature":"S"},{"text":"b"}"#],
            &[r#"text "a" []"#, r#"redacted "" Google:S"#, r#"text "b" []"#],
            "Stop",
        ),
        (&[r#"{"thoughtSignature":"S"}"#], &[r#"redacted "" Google:S"#], "Stop"),
        (
            &[r#"{"text":"","thoughtSignature":"S"},{"text":"","thoughtSignature":"T"}"#],
            &[r#"redacted "" Google:S"#, r#"redacted "" Google:T"#],
            "Stop",
        ),
        // One on a thought is the thought's, and ends it.
        (
            &[r#"{"text":"a","thought":true,"thoughtSignature":"S"},{"text":"b","thought":true}"#],
            &[r#"thinking "a" Google:S"#, r#"thinking "b""#],
            "Stop",
        ),
        (
            &[r#"{"text":"a","thought":true}"#, r#"{"text":"","thought":true,"thought_signature":"S"}"#],
            &[r#"thinking "a" Google:S"#],
            "Stop",
        ),
        (
            &[
                r#"{"text":"x"},{"functionCall":{"name":"f","args":{ "a" : [1, "b c"] }},"thoughtSignature":"S"}"#,
                r#"{"functionCall":{"name":"g","id":"7"}}"#,
            ],
            &[r#"text "x" []"#, r#"call f({"a":[1,"b c"]}) Google:S"#, "call g({})"],
            "ToolCalls",
        ),
        // Vertex' pieces of arguments.
        (
            &[
                r#"{"functionCall":{"name":"f","willContinue":true},"thoughtSignature":"S"}"#,
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"x","willContinue":true}],"willContinue":true}}"#,
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"y"},{"jsonPath":"$.b","numberValue":2}],"willContinue":true}}"#,
                r#"{"functionCall":{}}"#,
                r#"{"functionCall":{"name":"g","willContinue":true}}"#,
                r#"{"text":"ends it"}"#,
            ],
            &[r#"call f({"a":"xy","b":2}) Google:S"#, "call g({})", r#"text "ends it" []"#],
            "ToolCalls",
        ),
        // What built-in tools do has no place elsewhere.
        (
            &[
                r#"{"text":"a"},{"executableCode":{"code":"1"},"thoughtSignature":"S"},{"codeExecutionResult":{}},{"text":"b"},{"new":1}"#,
            ],
            &[r#"text "ab" []"#],
            "Stop",
        ),
        // Wrong types are no parts.
        (
            &[r#"{"text":1},7,null,{"functionCall":[]},{"functionCall":{}},{"text":"a"}"#],
            &[r#"text "a" []"#],
            "Stop",
        ),
        (&[], &[], "Stop"),
    ];
    for (parts, blocks, finish) in cases {
        let mut chunks: Vec<String> = parts.iter().map(|parts| chunk(parts, "")).collect();
        // The reason in a chunk without parts, as it is often sent.
        chunks.push(format!(r#"{{"candidates":[{{"index":0{STOP}}}]}}"#));
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let (found, end) = outcome(&chunks);
        assert_eq!(
            (found.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), end.as_str()),
            (*blocks, *finish)
        );
    }
}

#[test]
fn events_come_in_order_and_at_once() {
    let chunks = [
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"modelVersion":"m","responseId":"r","usageMetadata":{"promptTokenCount":3}}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","id":"1"},"thoughtSignature":"S"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}"#,
    ];
    let mut reader = StreamReader::new(Vendor::Google, Ids::new(3));
    let mut events = Vec::new();
    let mut names = |event: Event<'_>| {
        events.push(match event {
            Event::Start { usage, .. } => format!("Start {}", usage.unwrap().input),
            Event::Open { block: Opening::Call { id, name, .. }, .. } => {
                format!("Open {} {}", name.escaped(), id.escaped())
            }
            Event::Open { block, .. } => format!("Open {block:?}"),
            Event::Delta { text, .. } => format!("Delta {}", text.escaped()),
            Event::Proof { proof, .. } => format!("Proof {}", proof.item_id.unwrap().escaped()),
            Event::Usage(usage) => format!("Usage {}", usage.output),
            other => format!("{other:?}"),
        });
    };
    reader.event(b"", chunks[0].as_bytes(), &mut names);
    names(Event::Ping);
    reader.event(b"", chunks[1].as_bytes(), &mut names);
    names(Event::Ping);
    reader.end(&mut names);
    assert_eq!(
        events,
        [
            "Start 3",
            "Open Text",
            "Delta a",
            "Ping",
            "Close { choice: 0 }",
            "Open f 1",
            "Delta {}",
            "Proof 1",
            "Close { choice: 0 }",
            "Ping",
            "Finish { choice: 0, finish: ToolCalls }",
            "Usage 4",
            "End",
        ]
    );
}

#[test]
fn a_call_without_an_id_gets_one() {
    let folded =
        read(&[&sse(&[&chunk(r#"{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}}"#, STOP)])]);
    let ids: Vec<_> = folded.choices[0]
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::ToolCall(call) => call.id.clone().unwrap().escaped().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(ids.iter().all(|id| id.starts_with("call_") && id.len() <= 40), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn reasons_are_taken_from_the_last_chunk_that_has_one() {
    let text = r#"{"text":"a"}"#;
    for (reasons, expected) in [
        (vec![STOP, STOP], "Stop"),
        (vec![STOP, r#","finishReason":"MAX_TOKENS""#], "Length"),
        (vec!["", r#","finishReason":"SAFETY","finishMessage":"no""#], r#"Filtered(Some(Text("no")))"#),
        (vec!["", r#","finishReason":2"#], "Length"),
        (vec![STOP, ""], "Stop"),
    ] {
        let chunks: Vec<String> = reasons.iter().map(|reason| chunk(text, reason)).collect();
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        assert_eq!(outcome(&chunks), (vec![r#"text "aa" []"#.to_owned()], expected.to_owned()));
    }
    let (first, last) = (chunk(r#"{"functionCall":{"name":"f"}}"#, ""), chunk(text, STOP));
    assert_eq!(outcome(&[&first, &last]).1, "ToolCalls", "a call in an earlier chunk");
}

#[test]
fn sources_are_counted_in_characters() {
    let grounding = r#","groundingMetadata":{"groundingChunks":[{"web":{"uri":"u","title":"t"}}],"groundingSupports":[
        {"segment":{"startIndex":3,"endIndex":7,"text":"é😀"},"groundingChunkIndices":[0]},
        {"segment":{"endIndex":2},"groundingChunkIndices":[0]}]}"#;
    let chunks = [
        chunk(r#"{"text":"thought, not counted","thought":true},{"text":"a"}"#, r#","groundingMetadata":{}"#),
        chunk(r#"{"text":"\u00e9\ud83d"}"#, ""),
        chunk(r#"{"text":"\ude00b"}"#, ""),
        chunk(r#"{"text":"","thoughtSignature":"S"}"#, &format!("{grounding}{STOP}")),
    ];
    let chunks: Vec<String> = chunks.iter().map(|chunk| chunk.replace('\n', "")).collect();
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    let (blocks, _) = outcome(&chunks);
    assert_eq!(
        blocks[1..],
        [r#"text "aé😀b" [("u", Some((2, 3))), ("u", Some((0, 2)))]"#, r#"redacted "" Google:S"#]
    );
}

#[test]
fn several_answers_are_told_apart() {
    let chunks = [
        r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"b1"}]}},{"index":0,"content":{"parts":[{"text":"a1"}]}}]}"#,
        r#"{"candidates":[{"index":0,"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#,
        r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"b2"}]},"finishReason":"MAX_TOKENS"},{"index":4294967295}]}"#,
    ];
    let answer = read(&[&sse(&chunks)]).answer();
    assert_eq!(
        said(&answer),
        [
            (vec![r#"text "a1" []"#.to_owned(), "call f({})".to_owned()], "ToolCalls".to_owned()),
            (vec![r#"text "b1b2" []"#.to_owned()], "Length".to_owned()),
        ]
    );
}

#[test]
fn a_filtered_prompt_ends_the_answer() {
    for (feedback, expected) in [
        (r#"{"blockReason":"SAFETY"}"#, r#"PromptFiltered(Some(Text("SAFETY")))"#),
        (r#"{"blockReason":"OTHER"}"#, "PromptFiltered(None)"),
        (r#"{"blockReason":"OTHER","blockReasonMessage":"why"}"#, r#"PromptFiltered(Some(Text("why")))"#),
    ] {
        let chunk = format!(r#"{{"promptFeedback":{feedback},"usageMetadata":{{"promptTokenCount":5}}}}"#);
        let folded = read(&[&sse(&[&chunk])]);
        assert_eq!(format!("{:?}", folded.choices[0].finish.as_ref().unwrap()), expected);
        assert_eq!(folded.usage.unwrap().input, 5);
    }
    let begun = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
    let (blocks, finish) = outcome(&[begun, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#]);
    assert_eq!((blocks.len(), finish.as_str()), (1, r#"PromptFiltered(Some(Text("SAFETY")))"#));
}

#[test]
fn what_is_broken_fails() {
    let text = chunk(r#"{"text":"a"}"#, "");
    let error = r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#;
    let in_list = format!("[{error}]");
    let malformed = chunk("", r#","finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"print(f())""#);
    let disorder = chunk(
        r#"{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$[3]","numberValue":1}],"willContinue":true}}"#,
        "",
    );
    let truncated = "the provider ended the stream before its answer did";
    for (chunks, message) in [
        (vec![], truncated),
        (vec![text.as_str()], truncated),
        (vec!["{}"], truncated),
        (vec!["[DONE]"], truncated),
        (vec![text.as_str(), error], "busy"),
        (vec![in_list.as_str()], "busy"),
        (vec![text.as_str(), malformed.as_str()], "print(f())"),
        (vec![disorder.as_str()], "the provider sent the arguments of a call in an order that makes no JSON"),
        (vec![text.as_str(), r#"{"candidates":"#], "the provider sent an event that is not JSON"),
        (vec!["\"\""], "the provider sent an event that is not JSON"),
    ] {
        assert_eq!(outcome(&chunks).1, message, "{chunks:?}");
    }
    let fault = read(&[&sse(&[error])]).fault.unwrap();
    assert_eq!((fault.case, fault.code.unwrap().escaped()), (FaultCase::Overloaded, "UNAVAILABLE"));
    let fault = read(&[b"data: {\"candidates\":\"\xff\"}\n\n"]).fault.unwrap();
    assert_eq!(fault.message.escaped(), "the provider sent an event that is not UTF-8");
}

#[test]
fn nothing_follows_a_fault() {
    let mut reader = StreamReader::new(Vendor::Google, Ids::new(3));
    let mut folded = Folded::default();
    for data in [b"{".as_slice(), chunk(r#"{"text":"a"}"#, STOP).as_bytes(), b"{"] {
        reader.event(b"", data, &mut |event| folded.take(&event));
    }
    reader.end(&mut |event| folded.take(&event));
    assert!(folded.fault.is_some() && !folded.ended);
}
