//! Streams as chat clients get them, and what comes back of them with the history.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::ir::{Citation, FaultCase, Finish, Vendor};
use crate::dialect::openai_chat::read_request;
use crate::dialect::openai_chat::testing::{client, gather, key, read_pieces, write_events};
use crate::sse::Observer;

/// The `data` of each event; the end mark as a string.
fn data(wire: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    Observer::new().feed(wire, |event| {
        assert!(event.name.is_empty());
        events.push(
            serde_json::from_slice(&event.data)
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(&event.data))),
        );
    });
    events
}

fn start() -> Event<'static> {
    Event::Start {
        id: Some(Text::from_plain("c")),
        model: Some(Text::from_plain("m")),
        created: Some(17),
        usage: None,
    }
}

fn open(block: Opening<'static>) -> Event<'static> {
    Event::Open { choice: 0, block }
}

fn call(id: &'static str, name: &'static str) -> Event<'static> {
    open(Opening::Call { id: Text::from_plain(id), name: Text::from_plain(name), kind: CallKind::Function })
}

fn delta(text: &'static str) -> Event<'static> {
    Event::Delta { choice: 0, text: Text::from_plain(text) }
}

fn proof(vendor: Vendor, data: &'static str) -> Proof<'static> {
    Proof { vendor, item_id: None, data: Text::from_plain(data) }
}

const CLOSE: Event<'static> = Event::Close { choice: 0 };

/// The deltas of the first answer, after its role.
fn deltas(events: &[Event<'static>], client: ClientContext) -> Vec<Value> {
    let mut all = vec![start()];
    all.extend_from_slice(events);
    let chunks = data(&write_events(client, &all));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    chunks[1..].iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
}

#[test]
fn a_stream_is_written_chunk_by_chunk() {
    let usage = Usage { input: 3, output: 4, ..Usage::default() };
    let events = [
        start(),
        open(Opening::Text),
        delta("a\"b"),
        CLOSE,
        Event::Finish { choice: 0, finish: Finish::Stop },
        Event::Usage(usage),
        Event::End,
    ];
    let head = json!({"id": "c", "object": "chat.completion.chunk", "created": 17, "model": "m"});
    let chunk = |delta: Value, finish: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        chunk
    };
    let mut last = head.clone();
    last["choices"] = json!([]);
    last["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0}});
    let expected = [
        chunk(json!({"role": "assistant", "content": ""}), json!(null)),
        chunk(json!({"content": "a\"b"}), json!(null)),
        chunk(json!({}), json!("stop")),
        last,
        json!("[DONE]"),
    ];
    assert_eq!(data(&write_events(client(), &events)), expected);
    let quiet = ClientContext { stream_usage: false, ..client() };
    let without: Vec<Value> = expected.iter().filter(|chunk| chunk["usage"].is_null()).cloned().collect();
    assert_eq!(data(&write_events(quiet, &events)), without, "usage was not asked for");
}

#[test]
fn calls_are_numbered_among_calls() {
    let events = [
        open(Opening::Thinking),
        delta("hm"),
        CLOSE,
        call("1", "f"),
        delta("{\"a\":"),
        delta("1}"),
        CLOSE,
        call("2", "g"),
        CLOSE,
        Event::Finish { choice: 0, finish: Finish::ToolCalls },
    ];
    let opened = |index, id: &str, name: &str| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]});
    let piece = |index, arguments: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]});
    let expected = [
        json!({"reasoning_content": "hm"}),
        opened(0, "1", "f"),
        piece(0, "{\"a\":"),
        piece(0, "1}"),
        opened(1, "2", "g"),
        piece(1, "{}"),
        json!({}),
    ];
    assert_eq!(deltas(&events, client()), expected);

    let old = ClientContext { legacy_functions: true, ..client() };
    let expected = [
        json!({"reasoning_content": "hm"}),
        json!({"function_call": {"name": "f", "arguments": ""}}),
        json!({"function_call": {"arguments": "{\"a\":"}}),
        json!({"function_call": {"arguments": "1}"}}),
        json!({}),
    ];
    assert_eq!(deltas(&events, old), expected);

    let custom = open(Opening::Call {
        id: Text::from_plain("1"),
        name: Text::from_plain("p"),
        kind: CallKind::Custom,
    });
    let expected = [
        json!({"tool_calls": [{"index": 0, "id": "1", "type": "custom", "custom": {"name": "p", "input": ""}}]}),
        json!({"tool_calls": [{"index": 0, "custom": {"input": "x"}}]}),
    ];
    assert_eq!(deltas(&[custom.clone(), delta("x"), CLOSE], client()), expected);
    assert_eq!(deltas(&[custom, CLOSE], client()), expected[..1], "free text may be none");
}

#[test]
fn answers_have_a_role_each() {
    let text = |choice, text| {
        [Event::Open { choice, block: Opening::Text }, Event::Delta { choice, text: Text::from_plain(text) }]
    };
    let events = [vec![start()], text(0, "a").to_vec(), text(1, "b").to_vec()].concat();
    let chunks = data(&write_events(client(), &events));
    let seen: Vec<(u64, Value)> = chunks
        .iter()
        .map(|chunk| (chunk["choices"][0]["index"].as_u64().unwrap(), chunk["choices"][0]["delta"].clone()))
        .collect();
    let role = json!({"role": "assistant", "content": ""});
    assert_eq!(
        seen,
        [(0, role.clone()), (0, json!({"content": "a"})), (1, role), (1, json!({"content": "b"}))]
    );
}

#[test]
fn refusals_citations_and_ends_are_said() {
    let filtered = Finish::Filtered(Some(Text::from_plain("why")));
    let cite = |chars| Event::Cite {
        choice: 0,
        citation: Citation { url: Text::from_plain("x"), title: Some(Text::from_plain("X")), chars },
    };
    let events = [
        open(Opening::Refusal),
        delta("no"),
        CLOSE,
        open(Opening::Text),
        delta("é"),
        delta("bc"),
        CLOSE,
        open(Opening::Text),
        delta("de"),
        cite(Some((0, 1))),
        cite(None),
        CLOSE,
        Event::Finish { choice: 0, finish: filtered },
    ];
    let cited = |index, start, end| json!({"annotations": [{"index": index, "type": "url_citation", "url_citation": {"start_index": start, "end_index": end, "url": "x", "title": "X"}}]});
    let expected = [
        json!({"refusal": "no"}),
        json!({"content": "é"}),
        json!({"content": "bc"}),
        json!({"content": "de"}),
        cited(0, 3, 4),
        cited(1, 3, 5),
        json!({"refusal": "why"}),
    ];
    assert_eq!(deltas(&events, client()), expected);
}

#[test]
fn pings_are_comments_and_failures_the_end() {
    let fault = Fault {
        case: FaultCase::RateLimited,
        message: Text::from_plain("slow"),
        code: None,
        param: None,
        retry_after_s: None,
    };
    let events = [start(), Event::Ping, Event::Fail(fault), delta("late"), Event::End];
    let wire = write_events(client(), &events);
    assert!(String::from_utf8_lossy(&wire).contains("\n\n: ping\n\n"));
    let chunks = data(&wire);
    assert_eq!(chunks.len(), 2, "{chunks:?}");
    let expected = json!({"error": {"message": "slow", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}});
    assert_eq!(chunks[1], expected);
    let nothing = data(&write_events(client(), &[Event::End]));
    assert_eq!(nothing, [json!("[DONE]")]);
}

/// The history of a client that joins the deltas as OpenAI's SDKs do brings every proof back.
#[test]
fn proofs_come_back_with_the_history() {
    let (signed, hidden) = (proof(Vendor::Anthropic, "sig"), proof(Vendor::Anthropic, "EqQB"));
    let events = [
        open(Opening::Thinking),
        delta("fir😀"),
        delta("st"),
        Event::Proof { choice: 0, proof: signed },
        CLOSE,
        open(Opening::Redacted(hidden)),
        CLOSE,
        open(Opening::Thinking),
        delta("second"),
        Event::Proof { choice: 0, proof: proof(Vendor::Google, "s2") },
        CLOSE,
        call("1", "f"),
        Event::Proof { choice: 0, proof: proof(Vendor::Google, "s3") },
        CLOSE,
        Event::Proof { choice: 0, proof: proof(Vendor::Other, "none") },
    ];
    let (mut thoughts, mut details, mut call_parts) = (String::new(), Vec::new(), json!({}));
    for delta in deltas(&events, client()) {
        thoughts += delta["reasoning_content"].as_str().unwrap_or_default();
        details.extend(delta["reasoning_details"].as_array().cloned().unwrap_or_default());
        for (name, value) in delta["tool_calls"][0].as_object().into_iter().flatten() {
            if name == "function" && !call_parts[name].is_null() {
                call_parts[name]["arguments"] = value["arguments"].clone();
            } else {
                call_parts[name] = value.clone();
            }
        }
    }
    assert_eq!(details.iter().map(|detail| detail["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    let message = json!({"role": "assistant", "content": null, "reasoning_content": thoughts,
        "reasoning_details": details, "tool_calls": [call_parts]});
    let text = json!({ "messages": [message] }).to_string();
    let request = read_request(text.as_bytes(), &key()).unwrap();
    let told: Vec<Event<'static>> = events.into_iter().take(14).collect();
    let mut expected = gather(&told).unwrap().remove(0).1.parts;
    if let crate::dialect::ir::Content::ToolCall(call) = &mut expected[3].content {
        call.arguments = crate::dialect::ir::Arguments::Text(Text::from_plain("{}"));
    }
    assert_eq!(request.turns[0].parts, expected);
}

/// Blocks of one answer: what they are and their pieces.
fn any_blocks() -> impl Strategy<Value = Vec<(u8, Vec<String>)>> {
    prop::collection::vec((0u8..4, prop::collection::vec("\\PC{1,6}|[\\x00-\\x7f]{1,3}", 1..4)), 0..6)
}

fn events_of(blocks: &[(u8, Vec<String>)]) -> Vec<Event<'static>> {
    let mut events = vec![start()];
    for (index, (kind, pieces)) in blocks.iter().enumerate() {
        let name = || Text::from(format!("f{index}"));
        events.push(open(match kind {
            0 => Opening::Text,
            1 => Opening::Thinking,
            2 => Opening::Refusal,
            _ => {
                Opening::Call { id: Text::from(format!("id{index}")), name: name(), kind: CallKind::Function }
            }
        }));
        let is_call = *kind == 3;
        let quoted = |piece: &String| Text::from(if is_call { "{".to_owned() } else { piece.clone() });
        events.extend(
            pieces
                .iter()
                .take(if is_call { 1 } else { 9 })
                .map(|piece| Event::Delta { choice: 0, text: quoted(piece) }),
        );
        if is_call {
            events.push(Event::Delta { choice: 0, text: Text::from_plain("}") });
        }
        events.push(CLOSE);
    }
    let calls = blocks.iter().any(|(kind, _)| *kind == 3);
    let finish = if calls { Finish::ToolCalls } else { Finish::Stop };
    events.push(Event::Finish { choice: 0, finish });
    events.push(Event::Usage(Usage { input: 9, output: 8, cached_input: 7, cache_write: 1, reasoning: 5 }));
    events.push(Event::End);
    events
}

proptest! {
    /// Two neighbours of one kind are one block in chat; apart from that a stream is read as it was told.
    #[test]
    fn what_is_written_is_read_back(blocks in any_blocks()) {
        let mut apart = blocks;
        apart.dedup_by(|next, before| next.0 == before.0 && next.0 != 3);
        let events = events_of(&apart);
        let wire = write_events(client(), &events);
        prop_assert_eq!(read_pieces(Vendor::OpenAi, &[&wire]), events);
    }
}
