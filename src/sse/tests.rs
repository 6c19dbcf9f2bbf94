//! Events against the standard's own examples, wherever the stream is cut.

use super::*;
use crate::sse::{append_comment, append_event, fuzz};

fn events(wire: &[u8]) -> Vec<(String, String)> {
    let mut events = Vec::new();
    Observer::new().feed(wire, |event| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        events.push((text(event.name), text(&event.data)));
    });
    events
}

/// What it shows, the stream, names and data of its events.
type Case = (&'static str, &'static [u8], &'static [(&'static str, &'static str)]);

/// Streams and what they dispatch; several are the examples of the standard.
const CASES: &[Case] = &[
    ("one data line", b"data: {\"a\":1}\n\n", &[("", "{\"a\":1}")]),
    ("no space after the colon", b"data:x\n\n", &[("", "x")]),
    ("only one space is dropped", b"data:  x\n\n", &[("", " x")]),
    ("several data lines", b"data: YHOO\ndata: +2\ndata: 10\n\n", &[("", "YHOO\n+2\n10")]),
    ("field without colon", b"data\n\ndata\ndata\n\ndata:", &[("", ""), ("", "\n")]),
    ("event name", b"event: ping\ndata: {}\n\n", &[("ping", "{}")]),
    ("name after data", b"data: {}\nevent: ping\n\n", &[("ping", "{}")]),
    ("the last name wins", b"event: a\nevent: b\ndata: 1\n\n", &[("b", "1")]),
    ("a name without data is no event", b"event: a\n\ndata: 1\n\n", &[("", "1")]),
    ("comments", b": hi\n\n:\ndata: 1\n: x\n\n", &[("", "1")]),
    ("unknown fields", b"id: 1\nretry: 5\ndatum: x\ndata: 1\neventually: y\n\n", &[("", "1")]),
    ("CR LF", b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", &[("a", "1"), ("", "2")]),
    ("CR", b"event: a\rdata: 1\r\rdata: 2\r\r", &[("a", "1"), ("", "2")]),
    ("mixed line ends", b"data: 1\r\ndata: 2\rdata: 3\n\r\ndata: 4\n\n", &[("", "1\n2\n3"), ("", "4")]),
    ("CR LF in several data lines", b"data: 1\r\ndata: 2\r\n\r\n", &[("", "1\n2")]),
    ("byte order mark", b"\xEF\xBB\xBFdata: 1\n\n", &[("", "1")]),
    ("byte order mark, several data lines", b"\xEF\xBB\xBFdata: 1\ndata: 2\n\n", &[("", "1\n2")]),
    ("a second mark is no mark", b"\xEF\xBB\xBF\xEF\xBB\xBFdata: 1\n\ndata: 2\n\n", &[("", "2")]),
    ("an incomplete event", b"data: 1\n\ndata: 2\n", &[("", "1")]),
    ("blank lines", b"\n\n\ndata: 1\n\n\n\n", &[("", "1")]),
    ("spaces inside the data", b"data: { \"a\" : 1 } \n\n", &[("", "{ \"a\" : 1 } ")]),
];

#[test]
fn events_are_those_of_the_standard() {
    for (name, wire, expected) in CASES {
        let expected: Vec<_> = expected.iter().map(|(n, d)| (n.to_string(), d.to_string())).collect();
        assert_eq!(events(wire), expected, "{name}");
    }
}

#[test]
fn events_do_not_depend_on_where_the_stream_is_cut() {
    for (_, wire, _) in CASES {
        fuzz::run(wire);
    }
}

#[test]
fn a_single_line_event_within_one_slice_is_borrowed() {
    let wire = b"event: a\ndata: {\"x\":1}\n\n";
    let Step::Block(block) = BlockDecoder::new().step(wire) else { panic!("a whole block") };
    let event = block.event.expect("has data");
    assert!(matches!(event.data, Cow::Borrowed(_)));
    assert_eq!(block.len, wire.len());
    assert_eq!(event.wire, 0..wire.len() as u64);
}

#[test]
fn a_block_covers_its_blank_line_so_that_it_can_be_dropped_alone() {
    for wire in [&b"data: 1\n\ndata: 2\n\ndata: 3\n\n"[..], b"data: 1\r\n\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n"]
    {
        let (mut decoder, mut kept, mut rest) = (BlockDecoder::new(), Vec::new(), wire);
        while let Step::Block(block) = decoder.step(rest) {
            if block.event.expect("data").data.as_ref() != b"2" {
                kept.extend_from_slice(&rest[..block.len]);
            }
            rest = &rest[block.len..];
        }
        assert!(rest.is_empty());
        let middle = wire.len() / 3;
        assert_eq!(kept, [&wire[..middle], &wire[2 * middle..]].concat());
    }
}

#[test]
fn a_comment_is_a_block_of_its_own_so_that_it_is_not_held_back() {
    let wire = b": OPENROUTER PROCESSING\n\ndata: {\"par";
    let mut decoder = BlockDecoder::new();
    assert_eq!(decoder.step(wire), Step::Block(Block { event: None, len: 25 }));
    assert_eq!(decoder.step(&wire[25..]), Step::More);
}

#[test]
fn a_block_over_the_limit_is_passed_unread_and_the_next_one_is_read() {
    let wire = b"data: 0123456789\ndata: more\n\ndata: ok\n\n";
    for cut in 0..=wire.len() {
        let (mut observer, mut seen) = (Observer::with_limit(20), Vec::new());
        for piece in [&wire[..cut], &wire[cut..]] {
            observer.feed(piece, |event| seen.push(event.data.to_vec()));
            assert!(observer.carry.len() <= 21, "the carry buffer is bounded");
        }
        assert_eq!(seen, [b"ok"], "cut at {cut}");
        assert_eq!(observer.blocks_unread(), 1, "cut at {cut}");
    }
}

#[test]
fn a_caller_who_holds_the_tail_is_told_to_let_go_of_an_endless_event() {
    let mut decoder = BlockDecoder::with_limit(8);
    assert_eq!(decoder.step(b"data: 12"), Step::More);
    assert_eq!(decoder.step(b"data: 1234"), Step::Unread(10));
    assert_eq!(decoder.step(b""), Step::More);
    assert_eq!(decoder.step(b"567\n"), Step::Unread(4));
    assert_eq!(decoder.step(b"\ndata: 1\n\n"), Step::Unread(1));
    let Step::Block(block) = decoder.step(b"data: 1\n\n") else { panic!("a whole block") };
    assert_eq!(block.event.expect("has data").wire, 15..24);
}

#[test]
fn the_last_event_counts_even_without_its_blank_line() {
    for wire in [&b"data: [DONE]"[..], b"data: [DONE]\n", b"data: [DONE]\r", b"data: [DONE]\r\n"] {
        let (mut observer, mut seen) = (Observer::new(), Vec::new());
        observer.feed(wire, |_| panic!("not complete yet"));
        assert!(observer.is_inside_block());
        observer.finish(|event| seen.push(event.data.to_vec()));
        assert_eq!(seen, [b"[DONE]"]);
        assert!(!observer.is_inside_block());
    }
}

#[test]
fn a_large_event_does_not_leave_a_large_buffer_behind() {
    let mut observer = Observer::new();
    let wire = [b"data: ".to_vec(), vec![b'x'; 100_000], b"\n\n".to_vec()].concat();
    for piece in wire.chunks(1000) {
        observer.feed(piece, |_| {});
    }
    assert!(observer.carry.capacity() <= SSE_CARRY_KEEP_BYTES);
}

#[test]
fn what_is_written_is_read_back() {
    for (name, data) in [("", "{}"), ("error", "a\nb"), ("", ""), ("x", "\n"), ("y", "one\r\ntwo\rthree")] {
        let mut out = Vec::new();
        append_comment(&mut out, b"keep-alive\nreally");
        append_event(&mut out, name, data.as_bytes());
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(events(&out), [(name.to_string(), data)]);
    }
    let mut out = Vec::new();
    append_event(&mut out, "a\ndata: injected", b"1");
    assert_eq!(events(&out), [("a".into(), "1".into())]);
}

#[test]
fn the_fuzz_corpus_holds() {
    for input in crate::json::fuzz::corpus("sse") {
        fuzz::run(&input);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_the_same_events_however_they_are_cut(input in proptest::collection::vec(
        proptest::sample::select(&b"\n\n\r:: adtevnx\xEF\xBB\xBF"[..]), 0..60)) {
        fuzz::run(&input);
    }

    #[test]
    fn lines_of_fields_give_the_same_events_however_they_are_cut(lines in proptest::collection::vec(
        proptest::sample::select(&["data: a", "data", "data:b", "event: e", ": c", "", "", "id: 1"][..]), 0..12),
        ends in proptest::collection::vec(proptest::sample::select(&["\n", "\r", "\r\n"][..]), 12)) {
        let wire: String = lines.iter().zip(&ends).flat_map(|(line, end)| [*line, *end]).collect();
        fuzz::run(wire.as_bytes());
    }
}
