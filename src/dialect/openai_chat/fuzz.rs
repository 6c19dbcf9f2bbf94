//! The body of the fuzz target `chat_codec`, also run by the unit tests.

use super::{
    StreamReader, StreamWriter, read_answer, read_fault, read_request, write_answer, write_fault,
    write_request,
};
use crate::dialect::context::{ClientContext, Ids, TargetModel};
use crate::dialect::ir::{Event, Vendor};
use crate::dialect::loss::Losses;
use crate::dialect::{Dialect, ProofKey};
use crate::json::scan::Scanner;
use crate::sse::Observer;

/// Whatever a client or a server sends, it is taken or refused; what is taken is written as JSON, and a stream says the
/// same wherever it is cut. The first byte of `input` chooses the server and whether the answer is a stream.
pub fn chat_codec(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let vendor = [Vendor::OpenAi, Vendor::Google, Vendor::Other, Vendor::Anthropic][usize::from(choice & 3)];
    let proofs = ProofKey::new(&[3; 32]);
    let client = ClientContext {
        model: "m".to_owned(),
        unix_seconds: 1,
        stream_usage: choice & 8 != 0,
        legacy_functions: choice & 16 != 0,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: proofs.clone(),
    };
    if choice & 4 != 0 {
        return stream(vendor, client, body);
    }
    let mut out = Vec::new();
    if let Ok(request) = read_request(body, &proofs) {
        let target = TargetModel {
            name: "m",
            vendor,
            token_limit_param: "max_tokens",
            output_tokens_default: 1,
            reasoning_field: (choice & 32 != 0).then_some("reasoning"),
        };
        let mut losses = Losses::new(Dialect::OpenAiChat, choice & 64 != 0);
        if write_request(&request, &target, &mut losses, &mut out).is_ok() {
            assert_json(&out);
        }
    }
    out.clear();
    match read_answer(body, vendor) {
        Ok(answer) => write_answer(&answer, &mut client.clone(), &mut out),
        Err(fault) => assert!(write_fault(&fault, "t", &mut out) >= 400),
    }
    assert_json(&out);
    out.clear();
    assert!(write_fault(&read_fault(u16::from(*choice) + 400, body), "t", &mut out) >= 400);
    assert_json(&out);
}

fn stream(vendor: Vendor, client: ClientContext, wire: &[u8]) {
    let whole = told(vendor, client.clone(), &[wire]);
    for cut in [wire.len() / 3, wire.len() / 2] {
        let (head, tail) = wire.split_at(cut);
        assert_eq!(told(vendor, client.clone(), &[head, tail]), whole, "cut at {cut}");
    }
}

/// What a client gets of a stream that arrives in `pieces`.
fn told(vendor: Vendor, client: ClientContext, pieces: &[&[u8]]) -> Vec<u8> {
    let mut reader = StreamReader::new(vendor, Ids::new(1));
    let mut writer = StreamWriter::new(client);
    let mut out = Vec::new();
    let mut observer = Observer::new();
    let mut emit = |event: Event<'_>| writer.event(&event, &mut out);
    for piece in pieces {
        observer.feed(piece, |event| reader.event(event.name, &event.data, &mut emit));
    }
    observer.finish(|event| reader.event(event.name, &event.data, &mut emit));
    reader.end(&mut emit);
    Observer::new().feed(&out, |event| {
        if event.data.as_ref() != b"[DONE]" {
            assert_json(&event.data);
        }
    });
    out
}

fn assert_json(text: &[u8]) {
    let mut scanner = Scanner::new(text);
    let whole = scanner.value().is_ok() && scanner.end().is_ok();
    assert!(whole && std::str::from_utf8(text).is_ok(), "{}", String::from_utf8_lossy(text));
}
