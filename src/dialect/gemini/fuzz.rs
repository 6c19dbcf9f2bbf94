//! The body of the fuzz target `gemini_codec`, also run by the unit tests.

use super::read_stream::StreamReader;
use super::schema::{to_json_schema, to_openapi};
use super::write_stream::{Framing, StreamWriter};
use super::{count, fault, read_answer, read_request, write_answer, write_request};
use crate::dialect::context::{ClientContext, Ids, TargetModel};
use crate::dialect::ir::{Raw, Request, Vendor};
use crate::dialect::loss::Losses;
use crate::dialect::{Dialect, ProofKey};
use crate::json::scan::Scanner;

/// Nothing that a client or a provider sends makes a codec panic, and what a codec writes is JSON that it reads. The
/// first byte of `input` chooses what the rest is.
pub fn gemini_codec(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    match choice % 4 {
        0 => request(rest),
        1 => answer(rest),
        2 => stream(rest),
        _ => fault_and_schema(rest),
    }
}

fn key() -> ProofKey {
    ProofKey::new(&[7; 32])
}

fn client() -> ClientContext {
    ClientContext {
        model: "m".to_owned(),
        unix_seconds: 0,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: key(),
    }
}

#[track_caller]
fn assert_json(json: &[u8]) {
    let mut scanner = Scanner::new(json);
    let is_json = scanner.value().is_ok() && scanner.end().is_ok() && std::str::from_utf8(json).is_ok();
    assert!(is_json, "{}", String::from_utf8_lossy(json));
}

/// A request's body has been checked to be JSON in UTF-8 before a codec sees it.
fn request(body: &[u8]) {
    let mut scanner = Scanner::new(body);
    if std::str::from_utf8(body).is_err() || scanner.value().is_err() || scanner.end().is_err() {
        return;
    }
    let proofs = key();
    let _ = count::read_count_request(body, &proofs);
    let Ok(request) = read_request::read_request(body, false, &proofs) else { return };
    for name in ["gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-flash"] {
        rewrite(&request, name, &proofs);
    }
}

fn rewrite(request: &Request<'_>, name: &str, proofs: &ProofKey) {
    let target = TargetModel {
        name,
        vendor: Vendor::Google,
        token_limit_param: "max_tokens",
        output_tokens_default: 1,
        reasoning_field: None,
    };
    let (mut losses, mut out) = (Losses::new(Dialect::Gemini, false), Vec::new());
    if write_request::write_request(request, &target, &mut losses, &mut out).is_err() {
        return;
    }
    assert_json(&out);
    let again = read_request::read_request(&out, false, proofs);
    assert!(again.is_ok(), "{again:?} of {}", String::from_utf8_lossy(&out));
    out.clear();
    let counted = count::write_count_request(request, &target, &mut losses, &mut out);
    assert!(counted.is_ok() && count::read_count_request(&out, proofs).is_ok());
}

fn answer(body: &[u8]) {
    let (vendor, mut out) = (Vendor::Google, Vec::new());
    if let Some(total) = count::read_count(body) {
        count::write_count(total, &mut out);
        assert_eq!(count::read_count(&out), Some(total));
        out.clear();
    }
    match read_answer::read_answer(body, vendor) {
        Ok(answer) => {
            write_answer::write_answer(&answer, &mut client(), &mut out);
            assert_json(&out);
            // Broken arguments of a call are said as what they are, and so is the answer then.
            if let Ok(again) = read_answer::read_answer(&out, vendor) {
                assert_eq!(again.choices.len(), answer.choices.len());
            }
        }
        Err(fault) => {
            fault::write_fault(&fault, "trace", &mut out);
            assert_json(&out);
        }
    }
}

/// Each line is an event.
fn stream(lines: &[u8]) {
    let (mut sse, mut array) = (Vec::new(), Vec::new());
    let mut reader = StreamReader::new(Vendor::Google, Ids::new(3));
    let mut to_sse = StreamWriter::new(client(), Framing::Sse);
    let mut to_array = StreamWriter::new(client(), Framing::JsonArray);
    let mut ends = 0;
    let mut take = |event: crate::dialect::ir::Event<'_>| {
        use crate::dialect::ir::Event::{End, Fail};
        assert_eq!(ends, 0, "nothing follows the end: {event:?}");
        ends += u32::from(matches!(event, End | Fail(_)));
        to_sse.event(&event, &mut sse);
        to_array.event(&event, &mut array);
    };
    for line in lines.split(|byte| *byte == b'\n') {
        reader.event(b"", line, &mut take);
    }
    reader.end(&mut take);
    assert_eq!(ends, 1);
    assert_json(&array);
    crate::sse::Observer::new().feed(&sse, |event| assert_json(&event.data));
}

fn fault_and_schema(body: &[u8]) {
    let fault = fault::read_fault(400, body);
    let mut out = Vec::new();
    fault::write_fault(&fault, "trace", &mut out);
    assert_json(&out);
    let mut scanner = Scanner::new(body);
    let schema = scanner.value().ok().and_then(|value| Raw::from_scanned(value.raw));
    if let Some(schema) = schema {
        assert_json(to_json_schema(&schema).as_str().as_bytes());
        let openapi = to_openapi(&schema).schema;
        assert_json(openapi.as_str().as_bytes());
        assert_json(to_json_schema(&openapi).as_str().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_holds() {
        for input in crate::json::fuzz::corpus("gemini_codec") {
            gemini_codec(&input);
        }
    }

    /// Words of the dialect in any order reach further than arbitrary bytes.
    fn documents() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?[0-9]{1,4}(\\.[0-9])?",
            "\"(STOP|MAX_TOKENS|user|model|OBJECT|object|string|\\$\\.a|#/x|a|\\\\ud83d|é)?\"",
        ];
        leaf.prop_recursive(6, 60, 5, |inner| {
            const NAMES: [&str; 40] = [
                "contents",
                "parts",
                "text",
                "role",
                "thought",
                "thoughtSignature",
                "functionCall",
                "functionResponse",
                "name",
                "args",
                "id",
                "response",
                "output",
                "error",
                "inlineData",
                "mimeType",
                "data",
                "fileData",
                "candidates",
                "content",
                "finishReason",
                "index",
                "groundingMetadata",
                "groundingChunks",
                "groundingSupports",
                "segment",
                "web",
                "uri",
                "partialArgs",
                "jsonPath",
                "stringValue",
                "willContinue",
                "tools",
                "functionDeclarations",
                "parameters",
                "type",
                "properties",
                "anyOf",
                "$ref",
                "items",
            ];
            let members = prop::collection::vec((prop::sample::select(&NAMES[..]), inner.clone()), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
                members.prop_map(|members| {
                    let members: Vec<_> =
                        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..200)) {
            gemini_codec(&input);
        }

        #[test]
        fn arbitrary_documents_do_no_harm(choice in 0..4u8, lines in prop::collection::vec(documents(), 1..4)) {
            gemini_codec(&[&[choice], lines.join("\n").as_bytes()].concat());
        }

        #[test]
        fn arbitrary_parts_do_no_harm(model in any::<bool>(), parts in prop::collection::vec(documents(), 0..6)) {
            let parts = parts.join(",");
            let role = if model { "model" } else { "user" };
            let request = format!(r#"{{"contents":[{{"role":"{role}","parts":[{parts}]}},{{"parts":[{{"text":"x"}}]}}]}}"#);
            gemini_codec(&[&[0], request.as_bytes()].concat());
            let chunk = format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}"#);
            gemini_codec(&[&[1], chunk.as_bytes()].concat());
            gemini_codec(&[&[2], chunk.as_bytes(), b"\n", chunk.as_bytes()].concat());
        }
    }
}
