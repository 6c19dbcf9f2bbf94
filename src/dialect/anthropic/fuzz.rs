//! The body of the fuzz target `messages`.

use super::{
    StreamReader, StreamWriter, read_answer, read_count_request, read_fault, read_request, write_answer,
    write_fault, write_request,
};
use crate::dialect::context::{ClientContext, Ids, TargetModel};
use crate::dialect::ir::Vendor;
use crate::dialect::loss::Losses;
use crate::dialect::{Dialect, ProofKey};
use crate::json::scan::Scanner;
use crate::sse::Observer;

/// Reads `input` as what its first byte says, writes what was read, and reads that again.
pub(in crate::dialect) fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    match choice & 3 {
        0 => request(rest),
        1 => answer(rest),
        2 => fault(rest),
        _ => stream(rest),
    }
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

/// Each family of models gets JSON.
fn request(body: &[u8]) {
    let key = ProofKey::new(&[0; 32]);
    let Ok(request) = read_count_request(body, &key) else { return };
    assert_eq!(read_request(body, &key).is_ok(), request.output_tokens_max.is_some());
    for name in
        ["claude-3-opus", "claude-sonnet-4-0", "claude-opus-4-5", "claude-opus-4-6", "claude-fable-5", "x"]
    {
        let target = TargetModel {
            name,
            vendor: Vendor::Anthropic,
            token_limit_param: "max_tokens",
            output_tokens_default: 1,
            reasoning_field: None,
        };
        let (mut losses, mut out) = (Losses::new(Dialect::AnthropicMessages, false), Vec::new());
        if write_request(&request, &target, &mut losses, &mut out).is_ok() {
            let mut scanner = Scanner::new(&out);
            assert!(scanner.value().is_ok() && scanner.end().is_ok(), "the request is JSON");
            let again = read_count_request(&out, &key);
            // Of a conversation that says nothing nothing is left.
            assert!(
                again.is_ok() || out.windows(13).any(|part| part == b"\"messages\":[]"),
                "{:?}",
                again.err()
            );
        }
    }
}

/// What was written once is written like that again.
fn answer(body: &[u8]) {
    let Ok(answer) = read_answer(body, Vendor::Anthropic) else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    write_answer(&answer, &mut client(), &mut once);
    match read_answer(&once, Vendor::Anthropic) {
        Ok(again) => write_answer(&again, &mut client(), &mut twice),
        Err(fault) => panic!("{fault:?}"),
    }
    assert_eq!(once, twice);
}

fn fault(body: &[u8]) {
    let fault = read_fault(400, body);
    let mut out = Vec::new();
    let status = write_fault(&fault, "trace", &mut out);
    assert_eq!(read_fault(status, &out).case, fault.case);
}

/// What was written once is written like that again, however it is cut.
fn stream(wire: &[u8]) {
    let once = rewritten(std::iter::once(wire));
    assert_eq!(rewritten(wire.chunks(1)), once, "byte by byte");
    assert_eq!(rewritten(std::iter::once(&once[..])), once);
}

fn rewritten<'w>(pieces: impl Iterator<Item = &'w [u8]>) -> Vec<u8> {
    let mut reader = StreamReader::new(Vendor::Anthropic, Ids::new(0));
    let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
    let mut observer = Observer::new();
    let mut take = |name: &[u8], data: &[u8]| {
        reader.event(name, data, &mut |event| writer.event(&event, &mut out));
    };
    pieces.for_each(|piece| observer.feed(piece, |event| take(event.name, &event.data)));
    observer.finish(|event| take(event.name, &event.data));
    reader.end(&mut |event| writer.event(&event, &mut out));
    out
}
