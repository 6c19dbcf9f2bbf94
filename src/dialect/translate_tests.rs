//! All twelve pairs on what nobody sends, and the ends of streams.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::fuzz;

const DIALECTS: [Dialect; 4] =
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];

fn translation(from: Dialect, to: Dialect) -> StreamTranslation {
    let client = ClientContext {
        model: "asked".to_owned(),
        unix_seconds: 17,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: ProofKey::new(&[7; 32]),
    };
    let pair = Pair { from, vendor: Vendor::Other, to };
    StreamTranslation::new(pair, Undo::default(), client, Ids::new(2), false)
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    let all = DIALECTS.into_iter().flat_map(|from| DIALECTS.into_iter().map(move |to| (from, to)));
    all.filter(|(from, to)| from != to)
}

#[test]
fn a_body_without_events_is_a_failure() {
    for (from, to) in pairs() {
        for wire in ["", "\n\n", ": comment\n\n", "data: {\"cut"] {
            let (mut translation, mut out) = (translation(from, to), Vec::new());
            translation.feed(wire.as_bytes(), &mut out);
            translation.finish(&mut out);
            assert!(translation.failure().is_some(), "{from:?} {to:?} {wire:?}");
            assert!(!translation.has_started(), "{from:?} {to:?} {wire:?}");
            assert!(!out.is_empty(), "the client is told");
        }
    }
}

#[test]
fn an_error_document_in_place_of_a_stream_is_what_it_says() {
    for (from, to) in pairs() {
        let document = match from {
            Dialect::Gemini => {
                r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#
            }
            Dialect::AnthropicMessages => {
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#
            }
            _ => {
                r#"{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#
            }
        };
        for cut in 0..document.len() {
            let (mut translation, mut out) = (translation(from, to), Vec::new());
            let (head, tail) = document.as_bytes().split_at(cut);
            translation.feed(head, &mut out);
            translation.feed(tail, &mut out);
            assert!(out.is_empty());
            translation.finish(&mut out);
            let fault = translation.failure().expect("it failed");
            assert_eq!((fault.case, fault.message.escaped()), (FaultCase::RateLimited, "slow down"));
        }
    }
}

#[test]
fn an_event_that_is_too_long_ends_the_stream_in_an_error() {
    let (mut translation, mut out) =
        (translation(Dialect::OpenAiChat, Dialect::AnthropicMessages), Vec::new());
    translation.feed(b"data: {\"id\":\"", &mut out);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..17 {
        translation.feed(&piece, &mut out);
    }
    assert!(translation.failure().is_some());
    assert!(String::from_utf8(out).unwrap().starts_with("event: error\n"));
}

#[test]
fn a_ping_is_nothing_that_google_s_sdk_would_read() {
    let (mut translation, mut out) = (translation(Dialect::AnthropicMessages, Dialect::Gemini), Vec::new());
    translation.feed(b"event: ping\ndata: {\"type\":\"ping\"}\n\n", &mut out);
    assert_eq!(out, b"\n");
}

#[test]
fn what_the_gateway_says_ends_a_stream_once() {
    for (from, to) in pairs() {
        let (mut translation, mut out) = (translation(from, to), Vec::new());
        translation.fail(FaultCase::Timeout, "too slow", &mut out);
        let said = out.len();
        assert!(said > 0 && translation.has_ended());
        translation.fail(FaultCase::Internal, "again", &mut out);
        translation.finish(&mut out);
        assert_eq!(out.len(), said, "{from:?} {to:?}");
    }
}

#[test]
fn a_refused_key_is_never_said_in_the_provider_s_words() {
    let message = Text::from_plain("key sk-secret is wrong");
    let fault = Fault { case: FaultCase::BadKey, message, code: None, param: None, retry_after_s: None };
    for dialect in DIALECTS {
        let mut out = Vec::new();
        assert_eq!(write_fault(dialect, &fault, "t", &mut out), 502);
        assert!(!String::from_utf8(out).unwrap().contains("secret"));
    }
}

#[test]
fn the_same_conversation_is_about_as_long_in_every_dialect() {
    let proofs = ProofKey::new(&[7; 32]);
    let bodies = [
        json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(100)}]}),
        json!({"model": "m", "input": "word ".repeat(100)}),
        json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(100)}]}),
        json!({"contents": [{"role": "user", "parts": [{"text": "word ".repeat(100)}]}]}),
    ];
    for (dialect, body) in DIALECTS.into_iter().zip(bodies) {
        let body = body.to_string();
        let ask =
            Ask { dialect, body: body.as_bytes(), stream: false, proofs: &proofs, strict: false, media: &[] };
        assert_eq!(ask.estimate(), Ok(104), "{dialect:?}");
    }
}

/// JSON of names and values that the dialects know, in places where they do not belong.
fn odd_json() -> impl Strategy<Value = Value> {
    let words = [
        "text",
        "user",
        "assistant",
        "tool",
        "function",
        "model",
        "message",
        "image_url",
        "input_text",
        "tool_use",
        "tool_result",
        "thinking",
        "auto",
        "type",
        "role",
        "content",
        "STOP",
        "data:image/png;base64,AAAA",
        "",
    ];
    let names = [
        "type",
        "role",
        "content",
        "messages",
        "input",
        "contents",
        "parts",
        "text",
        "model",
        "tools",
        "function",
        "name",
        "arguments",
        "id",
        "call_id",
        "tool_calls",
        "choices",
        "delta",
        "index",
        "candidates",
        "output",
        "usage",
        "error",
        "system",
        "max_tokens",
        "thinking",
        "generationConfig",
        "response",
        "item",
        "message",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(names.to_vec()), inner), 0..6).prop_map(
                |members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_answered(input: Vec<u8>) {
        fuzz::translate(&input);
    }

    #[test]
    fn any_document_is_answered(choice: u8, document in odd_json()) {
        fuzz::translate(&[&[choice][..], document.to_string().as_bytes()].concat());
    }

    #[test]
    fn any_stream_of_documents_is_answered(choice: u8, documents in proptest::collection::vec(odd_json(), 0..6)) {
        let mut input = vec![choice | 0x30];
        for document in documents {
            input.extend_from_slice(format!("data: {document}\n\n").as_bytes());
        }
        fuzz::translate(&input);
    }
}

#[test]
fn the_corpus_is_answered() {
    for input in crate::json::fuzz::corpus("translate") {
        fuzz::translate(&input);
    }
}
