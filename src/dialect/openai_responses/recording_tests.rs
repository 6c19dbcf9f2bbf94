//! Recorded traffic of providers of this dialect through its readers and writers.

use serde_json::Value;

use super::support_tests::{Recording, client, plain, read, readable, recordings, rewrite, sse_events};
use super::*;
use crate::dialect::ir::{Answer, Vendor};
use crate::dialect::{Dialect, StreamEnd, Usage, UsageTap};

fn tapped(recording: &Recording) -> (Option<Usage>, StreamEnd) {
    let mut tap = UsageTap::new(Dialect::OpenAiResponses, recording.streaming);
    tap.feed(&recording.wire);
    let report = tap.finish();
    (report.usage, report.end)
}

/// The recorded streams. One recording has four of them, one behind the other.
fn streams() -> impl Iterator<Item = Recording> {
    let streaming = recordings().into_iter().filter(|recording| recording.streaming);
    streaming.flat_map(|recording| {
        let wire = String::from_utf8(recording.wire).unwrap();
        let mut starts: Vec<usize> =
            wire.match_indices("event: response.created").map(|(at, _)| at).collect();
        starts = if starts.len() > 1 { starts } else { vec![0] };
        starts.push(wire.len());
        let streams = starts.windows(2).enumerate().map(|(index, pair)| Recording {
            id: format!("{} {index}", recording.id),
            provider: recording.provider.clone(),
            wire: wire[pair[0]..pair[1]].into(),
            request: None,
            ..recording
        });
        streams.collect::<Vec<_>>()
    })
}

fn bodies() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(|recording| !recording.streaming)
}

/// The response object in the last event of a stream.
fn last_response(wire: &[u8]) -> Value {
    let last = sse_events(wire).into_iter().filter_map(|(_, data)| data.get("response").cloned()).next_back();
    last.expect("a response")
}

#[test]
fn a_stream_says_what_its_last_event_repeats() {
    for recording in streams() {
        let id = &recording.id;
        let folded = read(recording.vendor(), &[&recording.wire]);
        let (usage, end) = tapped(&recording);
        let response = last_response(&recording.wire);
        let body = serde_json::to_vec(&response).unwrap();
        match read_answer(&body, recording.vendor()) {
            Ok(answer) => {
                assert_eq!(end, StreamEnd::Complete, "{id}");
                assert!(folded.ended, "{id}: {:?}", folded.fault);
                assert_eq!(folded.usage, usage, "{id}");
                assert_eq!(folded.usage, answer.usage, "{id}");
                assert_eq!(folded.finish.as_ref(), Some(&answer.choices[0].finish), "{id}");
                assert_eq!(plain(&folded.answer()), plain(&answer), "{id}");
                assert_eq!((folded.id, folded.created), (answer.id, answer.created), "{id}");
            }
            Err(fault) => {
                assert_ne!(end, StreamEnd::Complete, "{id}");
                let said = folded.fault.expect(id);
                assert_eq!((said.case, &said.message), (fault.case, &fault.message), "{id}");
            }
        }
    }
}

#[test]
fn bodies_are_read_with_their_usage() {
    let (mut answers, mut faults) = (0, 0);
    for recording in bodies() {
        let id = &recording.id;
        let (usage, _) = tapped(&recording);
        if recording.status != 200 {
            let fault = read_fault(recording.status, &recording.wire);
            assert!(recording.wire.starts_with(b"{") && !fault.message.is_empty(), "{id}");
            faults += 1;
            continue;
        }
        match read_answer(&recording.wire, recording.vendor()) {
            Ok(answer) => {
                assert_eq!(answer.usage, usage, "{id}");
                answers += 1;
            }
            // Requests in the background are answered before they are worked on.
            Err(fault) => {
                assert!(fault.message.escaped().contains("not finished"), "{id}: {fault:?}");
                faults += 1;
            }
        }
    }
    assert!((answers == 0) == (faults == 0));
}

/// What a writer makes of an answer reads the same.
fn comes_back(id: &str, answer: &Answer<'_>) {
    let (mut out, mut context) = (Vec::new(), client());
    write_answer(answer, &mut context, &mut out);
    // Envelopes are the gateway's: as a provider's they are taken as they are.
    let back = read_answer(&out, Vendor::Other).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
    assert_eq!(readable(&back), readable(answer), "{id}");
    assert_eq!(back.choices[0].finish, answer.choices[0].finish, "{id}");
    assert_eq!((back.model, back.created, back.usage), (answer.model.clone(), answer.created, answer.usage));
}

#[test]
fn answers_come_back_as_they_were() {
    for recording in bodies().filter(|recording| recording.status == 200) {
        if let Ok(answer) = read_answer(&recording.wire, recording.vendor()) {
            comes_back(&recording.id, &answer);
        }
    }
    for recording in streams() {
        let folded = read(recording.vendor(), &[&recording.wire]);
        if folded.ended {
            comes_back(&recording.id, &folded.answer());
        }
    }
}

#[test]
fn streams_come_back_as_they_were() {
    for recording in streams() {
        let id = &recording.id;
        let folded = read(recording.vendor(), &[&recording.wire]);
        let out = rewrite(recording.vendor(), &recording.wire, client());
        // As a provider without proofs, so that envelopes are left out.
        let back = read(Vendor::Other, &[&out]);
        assert_eq!(back.ended, folded.ended, "{id}");
        assert_eq!(
            back.fault.as_ref().map(|fault| fault.case),
            folded.fault.as_ref().map(|fault| fault.case)
        );
        assert_eq!(back.deltas, folded.deltas, "{id}: every piece is passed on by itself");
        if folded.ended {
            assert_eq!(readable(&back.answer()), readable(&folded.answer()), "{id}");
            assert_eq!(
                (back.finish, back.usage, back.created),
                (folded.finish, folded.usage, folded.created)
            );
            let repeated = serde_json::to_vec(&last_response(&out)).unwrap();
            let repeated = read_answer(&repeated, Vendor::Other).unwrap();
            assert_eq!(plain(&repeated), plain(&read(Vendor::Other, &[&out]).answer()), "{id}");
        }
    }
}

#[test]
fn streams_do_not_depend_on_where_they_are_cut() {
    for recording in streams() {
        let wire = &recording.wire;
        let whole = read(recording.vendor(), &[wire]);
        // Byte by byte is a cut everywhere; the decoder of events is cut at each place alone by its own tests.
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(recording.vendor(), &bytes), whole, "{}", recording.id);
        let step = (wire.len() / 24).max(1);
        for cut in (0..wire.len()).step_by(step) {
            let (head, tail) = wire.split_at(cut);
            assert_eq!(read(recording.vendor(), &[head, tail]), whole, "{}, cut at {cut}", recording.id);
        }
    }
}

#[test]
fn streams_that_stop_early_never_look_complete() {
    for recording in streams() {
        let wire = &recording.wire;
        let complete = wire.windows(24).position(|window| {
            window == b"\"type\":\"response.complete" || window == b"\"type\":\"response.incompl"
        });
        let Some(complete) = complete else { continue };
        for cut in (0..complete).step_by((complete / 16).max(1)) {
            let folded = read(recording.vendor(), &[&wire[..cut]]);
            assert!(!folded.ended && folded.fault.is_some(), "{}, cut at {cut}", recording.id);
        }
    }
}

#[test]
fn the_fuzz_corpus_holds() {
    for input in crate::json::fuzz::corpus("responses") {
        fuzz::run(&input);
    }
    for recording in recordings() {
        if let Some(body) = &recording.request {
            fuzz::run(&[b"\x00", body.as_slice()].concat());
        }
        let choice = match (recording.streaming, recording.status) {
            (true, _) => 3,
            (false, 200) => 1,
            (false, _) => 2,
        };
        fuzz::run(&[&[choice], recording.wire.as_slice()].concat());
    }
}

proptest::proptest! {
    /// JSON of any shape under the names that the codec knows.
    #[test]
    fn any_json_is_answered(choice in 0u8..4, parts in proptest::collection::vec(0usize..40, 0..60)) {
        const PIECES: [&str; 40] = [
            "{", "}", "[", "]", ",", ":", "null", "1", "\"\"", "\"x\"", "\"type\":", "\"input\":", "\"output\":",
            "\"content\":", "\"role\":\"user\"", "\"type\":\"message\"", "\"type\":\"function_call\"", "\"call_id\":\"c\"",
            "\"name\":\"f\"", "\"arguments\":\"{}\"", "\"type\":\"reasoning\"", "\"summary\":[]", "\"encrypted_content\":\"g\"",
            "\"response\":", "\"item\":", "\"delta\":\"d\"", "\"type\":\"response.output_text.delta\"",
            "\"type\":\"response.output_item.added\"", "\"type\":\"response.output_item.done\"",
            "\"type\":\"response.completed\"", "\"error\":", "\"message\":\"m\"", "data: {", "}\n\n", "\"tools\":[",
            "\"type\":\"function\"", "\"text\":\"t\"", "\"type\":\"output_text\"", "\"\\ud800\"", "\"output_index\":1",
        ];
        let text: String = parts.into_iter().map(|part| PIECES[part]).collect();
        fuzz::run(&[&[choice], text.as_bytes()].concat());
    }
}
