//! The bodies of the fuzz targets `usage_scan`, `messages`, `responses` and `translate`, also run by the unit tests.

use super::context::{ClientContext, Ids, TargetModel, Undo};
use super::ir::Vendor;
use super::translate::{Ask, Pair, StreamTranslation, write_fault};
use super::{Dialect, ProofKey, UsageTap, anthropic, openai_responses, unseal};
use crate::json::scan::Scanner;
use crate::sse::Observer;

const DIALECTS: [Dialect; 4] =
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];

/// Whatever is in a response, no way of cutting it changes what is read from it. The first byte of `input` chooses
/// the dialect and whether the response is a stream.
pub fn usage_scan(input: &[u8]) {
    let Some((choice, wire)) = input.split_first() else { return };
    let dialect = DIALECTS[usize::from(choice & 3)];
    let streaming = choice & 4 != 0;
    let mut whole = UsageTap::new(dialect, streaming);
    whole.feed(wire);
    let whole = whole.finish();
    if let Some(usage) = whole.usage {
        assert!(usage.cached_input <= usage.input && usage.cache_write <= usage.input - usage.cached_input);
        assert!(usage.reasoning <= usage.output);
    }
    let steps = if wire.len() <= 256 { wire.len() } else { 16 };
    for step in 0..=steps {
        let (head, tail) = wire.split_at(step * wire.len() / steps.max(1));
        let mut tap = UsageTap::new(dialect, streaming);
        tap.feed(head);
        tap.feed(tail);
        assert_eq!(tap.finish(), whole, "cut at {}", head.len());
    }
    let mut tap = UsageTap::new(dialect, streaming);
    wire.chunks(1).for_each(|byte| tap.feed(byte));
    assert_eq!(tap.finish(), whole, "byte by byte");
}

/// Whatever a client or a provider of the Messages dialect sends, its codec answers, and reads what it has written. The
/// first byte of `input` chooses what the rest is.
pub fn messages(input: &[u8]) {
    anthropic::fuzz::run(input);
}

/// Whatever a client or a provider of the Responses dialect sends, its codec answers, and reads what it has written. The
/// first byte of `input` chooses what the rest is.
pub fn responses(input: &[u8]) {
    openai_responses::fuzz::run(input);
}

/// Whatever a client or a provider sends, each pair of dialects answers with documents that can be read, and a stream
/// ends once, however it is cut. The first byte of `input` chooses the pair and what the rest is; of a pair of the same
/// dialect it is a request without the proofs of others.
pub fn translate(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let from = DIALECTS[usize::from(choice & 3)];
    let to = DIALECTS[usize::from((choice >> 2) & 3)];
    if from == to {
        // A request of the provider's own dialect loses other providers' proofs at most.
        if crate::json::facts::request_facts(rest).is_ok() {
            let mut out = Vec::new();
            unseal::strip(from, rest, &mut out);
            assert!(is_json(&out), "{}", String::from_utf8_lossy(&out));
        }
        return;
    }
    let pair = Pair { from, vendor: Vendor::Other, to };
    match choice >> 4 & 3 {
        0 => translate_request(from, to, rest),
        1 => {
            let mut out = Vec::new();
            if pair.answer(&[], rest, &Undo::default(), &mut client(), &mut out).is_ok() {
                assert!(is_json(&out), "{}", String::from_utf8_lossy(&out));
            }
        }
        2 => {
            let mut out = Vec::new();
            let status = write_fault(to, &pair.fault(500, rest), "trace", &mut out);
            assert!((400..600).contains(&status) && is_json(&out), "{}", String::from_utf8_lossy(&out));
        }
        _ => translate_stream(pair, rest),
    }
}

fn translate_request(from: Dialect, to: Dialect, body: &[u8]) {
    // The gateway has looked at the body before: see `request_facts`.
    if crate::json::facts::request_facts(body).is_err() {
        return;
    }
    let proofs = ProofKey::new(&[0; 32]);
    let ask = Ask { dialect: from, body, stream: false, proofs: &proofs, strict: false, media: &[] };
    let target = TargetModel {
        name: "model",
        vendor: Vendor::Other,
        token_limit_param: "max_tokens",
        output_tokens_default: 1,
        reasoning_field: Some("reasoning"),
    };
    let mut out = Vec::new();
    if let Ok(translated) = ask.translate(to, &target, &mut out) {
        assert!(is_json(&out), "{}", String::from_utf8_lossy(&out));
        let header = translated.losses.header_value();
        assert!(header.bytes().all(|byte| (0x20..0x7F).contains(&byte)), "{header}");
    }
    let _ = ask.estimate();
}

fn translate_stream(pair: Pair, wire: &[u8]) {
    let run = |parts: &[&[u8]]| {
        let mut translation = StreamTranslation::new(pair, Undo::default(), client(), Ids::new(1), false);
        let mut out = Vec::new();
        parts.iter().for_each(|part| translation.feed(part, &mut out));
        translation.finish(&mut out);
        assert!(translation.has_ended());
        let end = out.len();
        translation.feed(b"data: {}\n\n", &mut out);
        translation.finish(&mut out);
        assert_eq!(out.len(), end, "nothing follows the end");
        out
    };
    let whole = run(&[wire]);
    Observer::new().feed(&whole, |event| {
        assert!(&*event.data == b"[DONE]" || is_json(&event.data), "{}", String::from_utf8_lossy(&whole));
    });
    let (head, tail) = wire.split_at(wire.len() / 2);
    assert_eq!(run(&[head, tail]), whole);
}

fn client() -> ClientContext {
    ClientContext {
        model: "model".to_owned(),
        unix_seconds: 0,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(0),
        proofs: ProofKey::new(&[0; 32]),
    }
}

fn is_json(document: &[u8]) -> bool {
    let mut scanner = Scanner::new(document);
    scanner.value().is_ok() && scanner.end().is_ok() && std::str::from_utf8(document).is_ok()
}
