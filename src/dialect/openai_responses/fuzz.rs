//! The body of the fuzz target `responses`.

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

fn request(body: &[u8]) {
    let key = ProofKey::new(&[0; 32]);
    let Ok((request, echo)) = read_request(body, &key) else { return };
    let echo = [b"{", echo.as_slice(), b"}"].concat();
    let mut scanner = Scanner::new(&echo);
    assert!(scanner.value().is_ok() && scanner.end().is_ok(), "the echo is JSON");
    let target = TargetModel {
        name: "gpt-5",
        vendor: Vendor::OpenAi,
        token_limit_param: "max_tokens",
        output_tokens_default: 1,
        reasoning_field: None,
    };
    let mut out = Vec::new();
    let mut losses = Losses::new(Dialect::OpenAiResponses, false);
    if write_request(&request, &target, &mut losses, &mut out).is_ok() {
        let again = read_request(&out, &key);
        assert!(again.is_ok(), "{:?}", again.err());
    }
}

fn answer(body: &[u8]) {
    let Ok(answer) = read_answer(body, Vendor::OpenAi) else { return };
    let mut out = Vec::new();
    write_answer(&answer, &mut client(), &mut out);
    let again = read_answer(&out, Vendor::OpenAi).map(|again| again.choices[0].parts.len());
    assert_eq!(again, Ok(answer.choices[0].parts.len()));
}

fn fault(body: &[u8]) {
    let fault = read_fault(400, body);
    let mut out = Vec::new();
    let status = write_fault(&fault, "trace", &mut out);
    assert_eq!(read_fault(status, &out).case, fault.case);
}

fn stream(wire: &[u8]) {
    let mut reader = StreamReader::new(Vendor::OpenAi, Ids::new(0));
    let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
    let mut ended = false;
    let mut emit = |event: Event<'_>| {
        ended |= event == Event::End;
        writer.event(&event, &mut out);
    };
    let mut observer = Observer::new();
    observer.feed(wire, |event| reader.event(event.name, &event.data, &mut emit));
    reader.end(&mut emit);
    let mut again = StreamReader::new(Vendor::OpenAi, Ids::new(0));
    let mut ended_again = false;
    let mut emit = |event: Event<'_>| ended_again |= event == Event::End;
    Observer::with_limit(usize::MAX).feed(&out, |event| again.event(event.name, &event.data, &mut emit));
    assert_eq!(ended_again, ended);
}
