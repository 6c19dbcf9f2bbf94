//! Streams of providers, event by event.

use serde_json::{Value, json};

use super::super::support_tests::{Folded, plain, read};
use super::*;
use crate::dialect::Usage;
use crate::dialect::ir::{FaultCase, Finish, Proof};

/// A stream of these events, whose names stand in their data alone.
fn wire(events: &[Value]) -> Vec<u8> {
    let lines = events.iter().map(|event| format!("data: {event}\n\n"));
    lines.collect::<String>().into_bytes()
}

fn read_events(events: &[Value]) -> Folded {
    read(Vendor::OpenAi, &[&wire(events)])
}

/// The parts of a stream: kind and text.
fn parts(folded: &Folded) -> Vec<(String, String)> {
    assert!(folded.ended, "{:?}", folded.fault);
    plain(&folded.answer()).into_iter().map(|(kind, text, _)| (kind, text)).collect()
}

fn created() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5", "created_at": 7}})
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"status": "completed", "output": [],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}})
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn piece(kind: &str, index: u64, delta: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "output_index": index, "content_index": 0, "delta": delta})
}

fn message() -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []})
}

fn call(name: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": format!("call_{name}"), "name": name, "arguments": ""})
}

fn text(text: &str) -> Value {
    json!({"type": "message", "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

#[test]
fn what_deltas_leave_out_is_taken_from_what_repeats_them() {
    let whole = "one 😀 two\n";
    let part = json!({"type": "output_text", "text": whole});
    let text_done = json!({"type": "response.output_text.done", "output_index": 0, "text": whole});
    let part_done = json!({"type": "response.content_part.done", "output_index": 0, "part": part});
    let last = json!({"type": "response.completed", "response": {"output": [text(whole)]}});
    let pieces = [piece("output_text", 0, "one "), piece("output_text", 0, "😀 t")];
    let cases: [(&str, Vec<Value>); 9] = [
        (
            "nothing is left out",
            vec![piece("output_text", 0, whole), text_done.clone(), part_done.clone(), done(0, text(whole))],
        ),
        ("text done", vec![pieces[0].clone(), pieces[1].clone(), text_done.clone()]),
        ("part done", vec![pieces[0].clone(), pieces[1].clone(), part_done.clone()]),
        ("item done", vec![pieces[0].clone(), done(0, text(whole))]),
        ("the last event", vec![pieces[0].clone(), last.clone()]),
        ("no delta", vec![text_done.clone(), part_done, done(0, text(whole))]),
        ("no item but the whole one", vec![done(0, text(whole))]),
        ("nothing but the last event", vec![last]),
        (
            "a shorter repetition",
            vec![
                piece("output_text", 0, whole),
                json!({"type": "response.output_text.done", "output_index": 0, "text": "one"}),
            ],
        ),
    ];
    for (name, events) in cases {
        let begin = if events.len() > 1 || name.starts_with("item") {
            vec![created(), added(0, message())]
        } else {
            vec![created()]
        };
        let end =
            if events.last().unwrap()["type"] == "response.completed" { vec![] } else { vec![completed()] };
        let folded = read_events(&[begin, events, end].concat());
        assert_eq!(parts(&folded), [("text".into(), whole.into())], "{name}");
    }
}

#[test]
fn a_piece_may_end_within_a_surrogate_pair() {
    let half = |half: &str| {
        format!(
            "data: {{\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"{half}\"}}\n\n"
        )
    };
    let end = json!({"type": "response.output_text.done", "output_index": 0, "text": "😀!"});
    let wire =
        [half(r"\ud83d").into_bytes(), half(r"\ude00").into_bytes(), wire(&[end, completed()])].concat();
    assert_eq!(parts(&read(Vendor::OpenAi, &[&wire])), [("text".into(), "😀!".into())]);
}

#[test]
fn items_that_come_mixed_are_put_one_behind_the_other() {
    let arguments = |index, delta: &str| piece("function_call_arguments", index, delta);
    let finished = |index, name: &str, arguments: &str| {
        let mut item = call(name);
        item["arguments"] = arguments.into();
        done(index, item)
    };
    let folded = read_events(&[
        created(),
        added(0, call("a")),
        arguments(0, "{\"x\""),
        added(1, call("b")),
        arguments(1, "{\"y\":"),
        arguments(0, ":1}"),
        added(2, call("c")),
        arguments(1, "2}"),
        finished(1, "b", "{\"y\":2}"),
        finished(0, "a", "{\"x\":1}"),
        arguments(2, "{}"),
        arguments(0, "late"),
        finished(2, "c", "{}"),
        completed(),
    ]);
    let calls: Vec<_> = parts(&folded);
    let expected = [("a", "{\"x\":1}"), ("b", "{\"y\":2}"), ("c", "{}")]
        .map(|(name, input)| (format!("function {name} Some(\"call_{name}\")"), input.to_owned()));
    assert_eq!(calls, expected);
    assert_eq!(folded.finish, Some(Finish::ToolCalls));

    // Not said to be over, but its text was: the next one need not wait.
    let folded = read_events(&[
        created(),
        added(0, message()),
        piece("output_text", 0, "Hi"),
        json!({"type": "response.output_text.done", "output_index": 0, "text": "Hi"}),
        added(1, call("a")),
        arguments(1, "{}"),
        completed(),
    ]);
    assert_eq!(folded.parts.len(), 2);
    assert!(folded.ended);

    let much = "x".repeat(INTERLEAVED_BYTES_MAX / 8);
    let mut events = vec![created(), added(0, call("a")), added(1, call("b"))];
    events.extend((0..9).map(|_| arguments(1, &much)));
    let fault = read_events(&events).fault.unwrap();
    assert_eq!(fault.message.escaped(), "the provider's stream mixes too much of its items");
    let mut events = vec![created(), added(0, call("a"))];
    events.extend((1..200).map(|index| added(index, call("b"))));
    assert!(read_events(&events).fault.is_some());
}

#[test]
fn servers_may_number_all_their_items_alike() {
    let folded = read_events(&[
        added(0, message()),
        piece("output_text", 0, "Hi"),
        done(0, text("Hi")),
        added(0, call("f")),
        piece("function_call_arguments", 0, "{\"a\":1}"),
        added(0, call("g")),
        completed(),
        json!("[DONE]"),
    ]);
    let names: Vec<String> =
        parts(&folded).into_iter().map(|(kind, text)| format!("{kind} {text}")).collect();
    let expected = ["text Hi", "function f Some(\"call_f\") {\"a\":1}", "function g Some(\"call_g\") {}"];
    assert_eq!(names, expected);
}

#[test]
fn what_is_unknown_is_passed_over() {
    let folded = read_events(&[
        json!({"type": "response.queued", "response": {"id": "resp_9"}}),
        created(),
        json!({"type": "response.something.new", "x": [1]}),
        added(0, json!({"type": "web_search_call", "id": "ws_1"})),
        json!({"type": "response.web_search_call.searching", "output_index": 0}),
        added(1, message()),
        piece("code_interpreter_call_code", 0, "print()"),
        piece("output_text", 1, "Hi"),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": null}),
        done(0, json!({"type": "web_search_call"})),
        done(1, text("Hi")),
        json!({"type": "keepalive"}),
        completed(),
        piece("output_text", 2, "behind the end"),
    ]);
    assert_eq!(parts(&folded), [("text".into(), "Hi".into())]);
    assert_eq!(folded.id, Some(Text::from_plain("resp_9")), "the first event names the response");
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    assert_eq!((folded.usage, folded.finish), (Some(usage), Some(Finish::Stop)));
}

#[test]
fn thoughts_bring_their_text_from_one_place_and_their_proof() {
    let reasoning = |summary: Value, content: Value| json!({"type": "reasoning", "id": "rs_1", "summary": summary, "content": content, "encrypted_content": "gAAA"});
    let summary = |index: u64, delta: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": index, "delta": delta});
    let two = json!([{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]);
    let raw = json!([{"type": "reasoning_text", "text": "raw"}]);
    let none = json!([]);
    let cases: [(&str, Vec<Value>, &str); 5] = [
        (
            "summary",
            vec![summary(0, "one"), summary(1, "tw"), done(0, reasoning(two.clone(), none.clone()))],
            "one\n\ntwo",
        ),
        ("raw", vec![piece("reasoning_text", 0, "ra"), done(0, reasoning(none.clone(), raw.clone()))], "raw"),
        (
            "both",
            vec![
                summary(0, "one"),
                piece("reasoning_text", 0, "raw"),
                done(0, reasoning(two.clone(), raw.clone())),
            ],
            "one\n\ntwo",
        ),
        ("no delta", vec![done(0, reasoning(two, raw))], "one\n\ntwo"),
        ("hidden", vec![done(0, reasoning(none.clone(), none))], ""),
    ];
    for (name, events, text) in cases {
        let begin = vec![
            created(),
            added(0, json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "other"})),
        ];
        let folded = read_events(&[begin, events.clone(), vec![completed()]].concat());
        let proof = Proof {
            vendor: Vendor::OpenAi,
            item_id: Some(Text::from_plain("rs_1")),
            data: Text::from_plain("gAAA"),
        };
        let part = crate::dialect::ir::Content::Thinking {
            text: Text::from(text.to_owned()),
            proof: Some(proof),
            redacted: false,
        };
        assert_eq!(folded.parts, [part.into()], "{name}");
        // Nobody knows to whom a proof of another maker could be given back.
        let other = read(Vendor::Other, &[&wire(&[vec![created()], events, vec![completed()]].concat())]);
        assert_eq!(other.parts.len(), usize::from(!text.is_empty()), "{name}");
    }
}

#[test]
fn sources_are_given_once() {
    let source = |url: &str| json!({"type": "url_citation", "url": url, "title": "T", "start_index": 1, "end_index": 4});
    let event = |url: &str| json!({"type": "response.output_text.annotation.added", "output_index": 0, "annotation": source(url)});
    let part = json!({"type": "output_text", "text": "text", "annotations": [
        source("a"), {"type": "file_citation", "file_id": "f"}, source("b")]});
    let folded = read_events(&[
        created(),
        added(0, message()),
        piece("output_text", 0, "text"),
        event("a"),
        json!({"type": "response.content_part.done", "output_index": 0, "part": part}),
        done(0, json!({"type": "message", "content": [part]})),
        completed(),
    ]);
    let cited = plain(&folded.answer())[0].2.clone();
    let expected = r#"[("a", Some("T"), Some((1, 4))), ("b", Some("T"), Some((1, 4)))]"#;
    assert_eq!(cited, expected);
}

#[test]
fn a_call_needs_a_name_but_no_id() {
    let nameless = json!({"type": "function_call", "arguments": ""});
    let whole = json!({"type": "function_call", "name": "f", "arguments": "{\"a\":1}"});
    let folded = read_events(&[
        created(),
        added(0, nameless.clone()),
        piece("function_call_arguments", 0, "{\"a\""),
        done(0, whole),
        completed(),
    ]);
    let calls = parts(&folded);
    assert_eq!(calls[0].1, "{\"a\":1}");
    assert!(calls[0].0.starts_with("function f Some(\"call_"), "{calls:?}");
    let fault = read_events(&[created(), added(0, nameless.clone()), done(0, nameless), completed()]).fault;
    assert_eq!(fault.unwrap().message.escaped(), "the provider's answer has a call without a name");
}

#[test]
fn answers_end_as_the_provider_says() {
    let last =
        |kind: &str, response: Value| json!({"type": format!("response.{kind}"), "response": response});
    let reason = |reason: &str| json!({"incomplete_details": {"reason": reason}});
    let cases: [(Value, Result<Finish<'static>, &str>); 9] = [
        (last("completed", json!({})), Ok(Finish::Stop)),
        (last("incomplete", reason("max_output_tokens")), Ok(Finish::Length)),
        (last("incomplete", json!({})), Ok(Finish::Length)),
        (last("incomplete", reason("content_filter")), Ok(Finish::Filtered(None))),
        (
            last("incomplete", reason("steered")),
            Err("the provider stopped the response for a reason of its own"),
        ),
        (last("cancelled", json!({})), Err("the provider cancelled the response")),
        (last("failed", json!({})), Err("the provider says that the response failed")),
        (last("failed", json!({"error": {"code": "server_error", "message": "boom"}})), Err("boom")),
        (last("completed", json!({"error": {"code": "server_error", "message": "boom"}})), Err("boom")),
    ];
    for (event, expected) in cases {
        let folded = read_events(&[created(), piece("output_text", 0, "Hi"), event.clone()]);
        match expected {
            Ok(finish) => assert_eq!(folded.finish, Some(finish), "{event}"),
            Err(message) => {
                assert_eq!(folded.fault.unwrap().message.escaped(), message, "{event}");
            }
        }
    }
    let filtered = last("incomplete", reason("content_filter"));
    let prompt = read_events(&[created(), filtered]);
    assert_eq!(prompt.finish, Some(Finish::PromptFiltered(None)));
}

#[test]
fn failures_are_read_in_every_form() {
    let nested = json!({"type": "error", "sequence_number": 2, "error":
        {"type": "tokens", "code": "rate_limit_exceeded", "message": "slow", "param": null}});
    let flat = json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": null});
    let both = json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "error": null});
    let bare = json!({"error": {"code": 429, "message": "slow"}});
    let failed = json!({"type": "response.failed", "response": {"status": "failed", "error":
        {"code": "rate_limit_exceeded", "message": "slow"}}});
    for event in [nested, flat, both, bare, failed] {
        let folded = read_events(&[created(), piece("output_text", 0, "Hi"), event.clone(), completed()]);
        let fault = folded.fault.unwrap();
        assert_eq!((fault.case, fault.message.escaped()), (FaultCase::RateLimited, "slow"), "{event}");
        assert!(!folded.ended);
    }
    for broken in [
        "data: [1]\n\n",
        "data: {\"type\":\n\n",
        "data: oops\n\n",
        "event: response.created\ndata: \"x\"\n\n",
    ] {
        let folded = read(Vendor::OpenAi, &[broken.as_bytes()]);
        assert!(folded.fault.is_some() && !folded.started, "{broken}");
    }
    let spliced = read_events(&[created(), piece("output_text", 0, "Hi"), created(), completed()]);
    assert_eq!(spliced.fault.unwrap().message.escaped(), "the provider's stream began anew in the middle");
    let cut = read_events(&[created(), piece("output_text", 0, "Hi")]);
    assert_eq!(cut.fault.unwrap().message.escaped(), "the provider's stream ended in the middle");
    assert!(read(Vendor::OpenAi, &[b"data: [DONE]\n\n"]).fault.is_some(), "no end without a last event");
}

#[test]
fn units_do_not_depend_on_how_a_text_is_escaped() {
    for (escaped, count) in [("", 0), ("aé→😀", 5), (r#"\n\"\\\u00e9"#, 4), (r"\ud83d\ude00", 2)] {
        assert_eq!(units(escaped), count, "{escaped}");
        assert_eq!(offset_of(escaped, count), None, "{escaped}");
    }
    assert_eq!(offset_of(r"a\u00e9b", 2), Some(7));
    assert_eq!(offset_of("😀b", 1), Some(4), "not within a character");
    assert_eq!(offset_of("ab", 0), Some(0));
}

proptest::proptest! {
    /// Whatever comes: the order holds, nothing panics.
    #[test]
    fn any_events_are_read_in_order(
        events in proptest::collection::vec((0usize..18, 0u64..4, 0u64..3, 0usize..6), 0..60),
    ) {
        const KINDS: [&str; 18] = [
            "created", "output_item.added", "output_item.done", "content_part.done", "output_text.delta",
            "output_text.done", "refusal.delta", "refusal.done", "function_call_arguments.delta",
            "function_call_arguments.done", "custom_tool_call_input.delta", "reasoning_summary_text.delta",
            "reasoning_summary_text.done", "reasoning_text.delta", "output_text.annotation.added", "unknown",
            "output_item.added", "completed",
        ];
        let objects = [
            text("whole text"),
            call("f"),
            json!({"type": "reasoning", "encrypted_content": "g", "summary": [{"text": "s"}]}),
            json!({"type": "custom_tool_call", "name": "c", "call_id": "c", "input": "long input"}),
            json!({"type": "output_text", "text": "whole text", "annotations": [{"type": "url_citation", "url": "u"}]}),
            json!({"type": "other"}),
        ];
        let events: Vec<Value> = events
            .into_iter()
            .map(|(kind, index, part, object)| {
                let kind = KINDS[kind];
                let mut event = json!({"type": format!("response.{kind}"), "output_index": index,
                    "content_index": part, "delta": "piece", "text": "piece and more", "arguments": "{}"});
                let name = match kind {
                    "content_part.done" => "part",
                    "output_text.annotation.added" => "annotation",
                    "completed" => "response",
                    _ => "item",
                };
                event[name] = objects[object].clone();
                event
            })
            .collect();
        let _ = read_events(&events);
    }

    #[test]
    fn any_bytes_are_read(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100), name in 0usize..3) {
        let names: [&[u8]; 3] = [b"", b"response.completed", b"error"];
        let (mut reader, mut folded) = (StreamReader::new(Vendor::OpenAi, Ids::new(1)), Folded::default());
        reader.event(names[name], &data, &mut |event| folded.take(&event));
        reader.end(&mut |event| folded.take(&event));
    }
}
