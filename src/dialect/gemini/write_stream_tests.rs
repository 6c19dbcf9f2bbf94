//! Streams for clients, in both framings.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests_support::*;
use super::*;
use crate::dialect::ir::{Fault, FaultCase, Proof, Vendor};

fn text(plain: &'static str) -> Text<'static> {
    Text::from_plain(plain)
}

fn start() -> Event<'static> {
    Event::Start { id: Some(text("r1")), model: Some(text("m1")), created: None, usage: None }
}

fn open(block: Opening<'static>) -> Event<'static> {
    Event::Open { choice: 0, block }
}

fn call(name: &'static str, kind: CallKind) -> Event<'static> {
    open(Opening::Call { id: text("c1"), name: text(name), kind })
}

fn delta(piece: &'static str) -> Event<'static> {
    Event::Delta { choice: 0, text: Text::from_token(piece.as_bytes()).expect("a token") }
}

fn proof(vendor: Vendor) -> Proof<'static> {
    Proof { vendor, item_id: None, data: text("S") }
}

fn finish(finish: Finish<'static>) -> Event<'static> {
    Event::Finish { choice: 0, finish }
}

const CLOSE: Event<'static> = Event::Close { choice: 0 };

/// The chunks that are written for these events between a start and an end.
fn chunks(events: Vec<Event<'static>>) -> Vec<Value> {
    let events: Vec<_> = [vec![start()], events, vec![Event::End]].concat();
    let array: Vec<Value> = serde_json::from_str(&written(&events, Framing::JsonArray)).unwrap();
    let mut as_events = Vec::new();
    crate::sse::Observer::new().feed(written(&events, Framing::Sse).as_bytes(), |event| {
        as_events.push(serde_json::from_slice::<Value>(&event.data).unwrap());
    });
    assert_eq!(as_events, array, "both framings say the same");
    for chunk in &array {
        assert_eq!((&chunk["modelVersion"], &chunk["responseId"]), (&json!("m1"), &json!("r1")));
    }
    array
}

/// The parts of all chunks, and the reason in the last one.
fn parts(events: Vec<Event<'static>>) -> (Vec<Value>, Value) {
    let mut chunks = chunks(events);
    let last = chunks.pop().unwrap();
    assert_eq!(last["candidates"][0]["content"]["parts"], json!([{"text": ""}]));
    let parts = chunks.iter().map(|chunk| {
        let candidate = &chunk["candidates"][0];
        assert_eq!(
            (&candidate["finishReason"], &candidate["content"]["role"]),
            (&Value::Null, &json!("model"))
        );
        let parts = candidate["content"]["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 1);
        parts[0].clone()
    });
    (parts.collect(), last["candidates"][0]["finishReason"].clone())
}

#[test]
fn chunks_are_framed_as_the_client_asked() {
    let events = [
        start(),
        open(Opening::Text),
        delta(r#""a\n""#),
        Event::Ping,
        CLOSE,
        finish(Finish::Stop),
        Event::End,
    ];
    let first = r#"{"candidates":[{"content":{"parts":[{"text":"a\n"}],"role":"model"},"index":0}],"modelVersion":"m1","responseId":"r1"}"#;
    let last = r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"modelVersion":"m1","responseId":"r1"}"#;
    assert_eq!(written(&events, Framing::Sse), format!("data: {first}\n\n\ndata: {last}\n\n"));
    assert_eq!(written(&events, Framing::JsonArray), format!("[{first}\n,\n{last}]"));
}

#[test]
fn a_piece_of_text_goes_on_at_once() {
    let (mut writer, mut out) = (StreamWriter::new(client(), Framing::Sse), Vec::new());
    for (event, writes) in [
        (start(), false),
        (open(Opening::Text), false),
        (delta(r#""a""#), true),
        (delta(r#""b""#), true),
        (CLOSE, false),
        (call("f", CallKind::Function), false),
        (delta(r#""{}""#), false),
        (CLOSE, true),
        (finish(Finish::ToolCalls), false),
        (Event::Usage(Usage::default()), false),
        (Event::End, true),
        (Event::End, false),
        (Event::Ping, false),
    ] {
        out.clear();
        writer.event(&event, &mut out);
        assert_eq!(!out.is_empty(), writes, "{event:?}");
    }
}

#[test]
fn blocks_become_parts() {
    let envelope = {
        let proof = proof(Vendor::Anthropic);
        signature::write(&proof, &key()).escaped().to_owned()
    };
    let function = |args: Value| json!({"functionCall": {"id": "c1", "name": "f", "args": args}});
    let signed = json!({"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "S"});
    let (google, anthropic) = (proof(Vendor::Google), proof(Vendor::Anthropic));
    let proof_event = |proof| Event::Proof { choice: 0, proof };
    let function_call = || call("f", CallKind::Function);
    for (events, expected, reason) in [
        (
            vec![open(Opening::Thinking), delta(r#""hm""#), proof_event(anthropic.clone()), CLOSE],
            vec![
                json!({"text": "hm", "thought": true}),
                json!({"text": "", "thought": true, "thoughtSignature": envelope}),
            ],
            "STOP",
        ),
        (
            vec![open(Opening::Redacted(anthropic)), CLOSE],
            vec![json!({"text": "", "thoughtSignature": envelope})],
            "STOP",
        ),
        (vec![open(Opening::Refusal), delta(r#""no""#), CLOSE], vec![json!({"text": "no"})], "SAFETY"),
        (vec![function_call(), CLOSE], vec![function(json!({}))], "STOP"),
        (vec![function_call(), proof_event(google), CLOSE], vec![signed], "STOP"),
        (
            vec![function_call(), delta(r#""{\"a\":\n\"b""#), delta(r#""\\n\\\"c\"}""#), CLOSE],
            vec![function(json!({"a": "b\n\"c"}))],
            "STOP",
        ),
        (
            vec![function_call(), delta(r#""{\"a\":""#), CLOSE],
            vec![function(json!({"_raw": "{\"a\":"}))],
            "MALFORMED_FUNCTION_CALL",
        ),
        (
            vec![call("f", CallKind::Custom), delta(r#""ls \"x\"""#), CLOSE],
            vec![function(json!({"input": "ls \"x\""}))],
            "STOP",
        ),
        // Halves of a surrogate pair are put together.
        (
            vec![
                open(Opening::Text),
                delta(r#""a\ud83d""#),
                delta(r#""\ude00b""#),
                delta(r#""\\ud83d""#),
                CLOSE,
            ],
            vec![json!({"text": "a"}), json!({"text": "😀b"}), json!({"text": "\\ud83d"})],
            "STOP",
        ),
    ] {
        let (found, found_reason) = parts([events.clone(), vec![finish(Finish::Stop)]].concat());
        assert_eq!((found, found_reason), (expected, json!(reason)), "{events:?}");
    }
    let cut = vec![function_call(), delta(r#""{\"a\":""#), CLOSE, finish(Finish::Length)];
    assert_eq!(parts(cut).1, "MAX_TOKENS", "a call that was cut off is no malformed one");
}

#[test]
fn the_last_chunk_says_why_and_what_it_cost() {
    let usage = Usage { input: 10, output: 7, cached_input: 4, cache_write: 2, reasoning: 5 };
    let events = vec![
        open(Opening::Text),
        delta(r#""a""#),
        CLOSE,
        finish(Finish::Filtered(Some(text("why")))),
        Event::Usage(usage),
    ];
    let last = chunks(events).pop().unwrap();
    assert_eq!(
        last["usageMetadata"],
        json!({
            "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2,
            "thoughtsTokenCount": 5, "totalTokenCount": 17,
        })
    );
    let candidate = &last["candidates"][0];
    assert_eq!((&candidate["finishReason"], &candidate["finishMessage"]), (&json!("SAFETY"), &json!("why")));
    for (reason, name) in [
        (Finish::Stop, "STOP"),
        (Finish::StopSequence(Some(text("x"))), "STOP"),
        (Finish::ToolCalls, "STOP"),
        (Finish::Paused, "STOP"),
        (Finish::Length, "MAX_TOKENS"),
        (Finish::ContextFull, "MAX_TOKENS"),
        (Finish::Filtered(None), "SAFETY"),
    ] {
        assert_eq!(chunks(vec![finish(reason)]).pop().unwrap()["candidates"][0]["finishReason"], name);
    }
    let blocked = chunks(vec![finish(Finish::PromptFiltered(Some(text("why"))))]);
    assert_eq!(blocked[0]["promptFeedback"], json!({"blockReason": "SAFETY", "blockReasonMessage": "why"}));
    assert_eq!(blocked[0]["candidates"], Value::Null);
}

#[test]
fn sources_are_counted_in_bytes_of_the_whole_text() {
    let cite = |chars| {
        let citation = Citation { url: text("u"), title: None, chars };
        Event::Cite { choice: 0, citation }
    };
    let events = vec![
        open(Opening::Text),
        delta(r#""é\u00e9""#),
        cite(Some((1, 2))),
        CLOSE,
        open(Opening::Text),
        delta(r#""a😀b""#),
        cite(Some((1, 2))),
        cite(None),
        CLOSE,
        finish(Finish::Stop),
    ];
    let last = chunks(events).pop().unwrap();
    let support = |start: u64, end: u64| json!({"segment": {"startIndex": start, "endIndex": end}, "groundingChunkIndices": [0]});
    assert_eq!(
        last["candidates"][0]["groundingMetadata"],
        json!({
            "groundingChunks": [{"web": {"uri": "u", "title": ""}}],
            "groundingSupports": [support(2, 4), support(5, 9)],
        })
    );
}

#[test]
fn a_fault_ends_the_stream_in_the_clients_words() {
    let fail = || {
        Event::Fail(Fault {
            case: FaultCase::Overloaded,
            message: text("busy"),
            code: None,
            param: None,
            retry_after_s: None,
        })
    };
    let error = r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#;
    let events = [fail(), Event::End];
    assert_eq!(written(&events, Framing::JsonArray), format!("[{error}]"));
    assert_eq!(written(&events, Framing::Sse), format!("data: {error}\n\n"));
    let events = [start(), open(Opening::Text), delta(r#""a""#), fail(), CLOSE, Event::End];
    let wire = written(&events, Framing::JsonArray);
    assert!(wire.starts_with("[{\"candidates\"") && wire.ends_with(&format!(",\n{error}]")), "{wire}");
}

#[test]
fn arguments_without_end_are_given_up() {
    let (mut writer, mut out) = (StreamWriter::new(client(), Framing::Sse), Vec::new());
    writer.event(&start(), &mut out);
    writer.event(&call("f", CallKind::Function), &mut out);
    let piece = "a".repeat(64 * 1024);
    let pieces = CALL_ARGUMENTS_BYTES_MAX / piece.len();
    for _ in 0..pieces {
        writer.event(&Event::Delta { choice: 0, text: Text::from_plain(&piece) }, &mut out);
    }
    assert!(out.is_empty());
    writer.event(&Event::Delta { choice: 0, text: Text::from_plain("a") }, &mut out);
    assert!(out.starts_with(b"data: {\"error\":{\"code\":500"), "{}", String::from_utf8_lossy(&out));
}

#[derive(Debug, Clone)]
enum Block {
    Text(Vec<String>),
    Thinking(Vec<String>, Option<String>),
    Redacted(String),
    Call(String, Vec<String>, Option<String>),
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let pieces = || prop::collection::vec("[a-zé😀\"\\\\\n]{1,8}", 1..4);
    let signature = || prop::option::of("[a-zA-Z0-9+/]{1,12}");
    let block = prop_oneof![
        pieces().prop_map(Block::Text),
        (pieces(), signature()).prop_map(|(pieces, signature)| Block::Thinking(pieces, signature)),
        "[a-zA-Z0-9+/]{1,12}".prop_map(Block::Redacted),
        ("[a-z_]{1,8}", pieces(), signature())
            .prop_map(|(name, values, signature)| Block::Call(name, values, signature)),
    ];
    prop::collection::vec(block, 0..6)
}

/// Neighbours that a reader would join are told apart by a call.
fn feed(blocks: &[Block], emit: &mut dyn FnMut(Event<'_>)) {
    emit(start());
    let mut before = "";
    let emit_proof = |signature: &Option<String>, emit: &mut dyn FnMut(Event<'_>)| {
        if let Some(data) = signature {
            let proof = Proof { vendor: Vendor::Google, item_id: None, data: Text::from_plain(data) };
            emit(Event::Proof { choice: 0, proof });
        }
    };
    let emit_pieces = |pieces: &[String], emit: &mut dyn FnMut(Event<'_>)| {
        pieces.iter().for_each(|piece| emit(Event::Delta { choice: 0, text: Text::from_plain(piece) }));
    };
    for block in blocks {
        match block {
            Block::Text(pieces) if before != "text" => {
                before = "text";
                emit(open(Opening::Text));
                emit_pieces(pieces, emit);
            }
            Block::Thinking(pieces, signature) if before != "thinking" => {
                before = if signature.is_some() { "" } else { "thinking" };
                emit(open(Opening::Thinking));
                emit_pieces(pieces, emit);
                emit_proof(signature, emit);
            }
            Block::Redacted(data) => {
                before = "";
                let proof = Proof { vendor: Vendor::Google, item_id: None, data: Text::from_plain(data) };
                emit(Event::Open { choice: 0, block: Opening::Redacted(proof) });
            }
            Block::Call(name, values, signature) => {
                before = "";
                let block =
                    Opening::Call { id: text("c1"), name: Text::from_plain(name), kind: CallKind::Function };
                emit(Event::Open { choice: 0, block });
                emit_pieces(&[json!({ "values": values }).to_string()], emit);
                emit_proof(signature, emit);
            }
            Block::Text(_) | Block::Thinking(..) => continue,
        }
        emit(CLOSE);
    }
    let called = blocks.iter().any(|block| matches!(block, Block::Call(..)));
    emit(finish(if called { Finish::ToolCalls } else { Finish::Stop }));
    emit(Event::Usage(Usage { input: 3, output: 2, ..Usage::default() }));
    emit(Event::End);
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(blocks in blocks()) {
        let (mut writer, mut out) = (StreamWriter::new(client(), Framing::Sse), Vec::new());
        let mut original = Folded::default();
        feed(&blocks, &mut |event| {
            original.take(&event);
            writer.event(&event, &mut out);
        });
        if original.choices.is_empty() {
            return Ok(());
        }
        let again = read(&[&out]);
        prop_assert_eq!(said(&again.answer()), said(&original.answer()));
        prop_assert_eq!((again.id, again.model, again.usage), (original.id, original.model, original.usage));
    }
}
