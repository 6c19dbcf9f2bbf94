//! The chunked coding and the other framings: payload, refusals, cuts, end of stream.

use crate::http1::{
    BodyDecoder, ChunkError, ChunkedDecoder, ChunkedRelay, Framing, RelayProgress, RelaySink, Step, Truncated,
};
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Payload and bytes of the body in `parts`, which have to hold all of it.
fn decode(parts: &[&[u8]]) -> Result<(Vec<u8>, usize), ChunkError> {
    let (mut decoder, mut payload, mut before) = (ChunkedDecoder::new(), Vec::new(), 0);
    for part in parts {
        let mut at = 0;
        loop {
            match decoder.step(&part[at..])? {
                Step::Data(range) => {
                    payload.extend_from_slice(&part[at..][range.clone()]);
                    at += range.end;
                }
                Step::NeedMore => break,
                Step::End(bytes) => return Ok((payload, before + at + bytes)),
            }
        }
        before += part.len();
    }
    panic!("the body does not end");
}

const ACCEPTED: &[(&str, &str, &str)] = &[
    ("empty", "0\r\n\r\n", ""),
    ("one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("two chunks", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
    ("upper and lower digits", "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a"),
    ("leading zeros", "0000000000000001\r\nx\r\n0000\r\n\r\n", "x"),
    ("payload that looks like framing", "7\r\n0\r\n\r\n5\r\r\n0\r\n\r\n", "0\r\n\r\n5\r"),
    ("extension without value", "1;a\r\nx\r\n0\r\n\r\n", "x"),
    ("extension with token", "1;a=b\r\nx\r\n0;c=d\r\n\r\n", "x"),
    ("extension with quoted string", "1;a=\"b;\\\"c\\\\ \t\u{fc}\"\r\nx\r\n0\r\n\r\n", "x"),
    ("extensions with white space", "1 \t; a = b ;c\t=\t\"\" ; d\r\nx\r\n0\r\n\r\n", "x"),
    ("trailers", "1\r\nx\r\n0\r\nA: b\r\nC:\r\nD: \u{fc}\t\r\n\r\n", "x"),
];

#[test]
fn chunked_bodies_do_not_depend_on_where_they_are_cut() {
    for (name, wire, payload) in ACCEPTED {
        let followed = format!("{wire}GET / HTTP/1.1\r\n");
        let expected = Ok((payload.as_bytes().to_vec(), wire.len()));
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                let wire = followed.as_bytes();
                let parts = [&wire[..first], &wire[first..second], &wire[second..]];
                assert_eq!(decode(&parts), expected, "{name}, cut at bytes {first} and {second}");
            }
        }
        let bytes: Vec<_> = wire.as_bytes().chunks(1).collect();
        assert_eq!(decode(&bytes), expected, "{name}, byte by byte");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for (name, wire, fault) in [
        ("no size", "\r\nx", ChunkError::Size),
        ("space before the size", " 1\r\nx", ChunkError::Size),
        ("sign", "+1\r\nx", ChunkError::Size),
        ("minus", "-1\r\nx", ChunkError::Size),
        ("prefix", "0x1\r\nx", ChunkError::Size),
        ("no hex digit", "g\r\n", ChunkError::Size),
        ("underscore", "1_0\r\n", ChunkError::Size),
        ("17 digits", "00000000000000001\r\nx", ChunkError::SizeTooLong),
        ("overflow", "10000000000000000\r\n", ChunkError::SizeTooLong),
        ("space behind the size", "1 \r\nx", ChunkError::Extension),
        ("two sizes", "1 1\r\nx", ChunkError::Extension),
        ("comma", "1,1\r\nx", ChunkError::Size),
        ("NUL", "1\0\r\nx", ChunkError::Size),
        ("LF behind the size", "1\nx\r\n", ChunkError::BareLf),
        ("CR behind the size", "1\rx\r\n", ChunkError::BareCr),
        ("no extension name", "1;\r\nx", ChunkError::Extension),
        ("no extension name but a value", "1;=a\r\nx", ChunkError::Extension),
        ("no extension value", "1;a=\r\nx", ChunkError::Extension),
        ("two semicolons", "1;;a\r\nx", ChunkError::Extension),
        ("space behind an extension", "1;a \r\nx", ChunkError::Extension),
        ("two names", "1;a b\r\nx", ChunkError::Extension),
        ("two values", "1;a=b=c\r\nx", ChunkError::Extension),
        ("open quote", "1;a=\"b\r\nx", ChunkError::Extension),
        ("escaped CR", "1;a=\"b\\\r\nx", ChunkError::Extension),
        ("text behind a quote", "1;a=\"b\"c\r\nx", ChunkError::Extension),
        ("control in an extension", "1;a\x01\r\nx", ChunkError::Extension),
        ("LF behind an extension", "1;a\nx", ChunkError::BareLf),
        ("LF in quotes", "1;a=\"\n\"\r\nx", ChunkError::BareLf),
        ("CR behind an extension", "1;a\rx", ChunkError::BareCr),
        ("no CRLF behind the payload", "1\r\nxy\r\n0\r\n\r\n", ChunkError::PayloadEnd),
        ("LF behind the payload", "1\r\nx\n0\r\n\r\n", ChunkError::PayloadEnd),
        ("CR behind the payload", "1\r\nx\r0\r\n\r\n", ChunkError::PayloadEnd),
        ("LF at the end", "0\r\n\n", ChunkError::BareLf),
        ("CR at the end", "0\r\n\rx", ChunkError::BareCr),
        ("LF behind the last chunk", "0\n\r\n", ChunkError::BareLf),
        ("folded trailer", "0\r\nA: b\r\n c\r\n\r\n", ChunkError::Trailer),
        ("trailer without name", "0\r\n: b\r\n\r\n", ChunkError::Trailer),
        ("trailer without colon", "0\r\nA\r\n\r\n", ChunkError::Trailer),
        ("space before the colon", "0\r\nA : b\r\n\r\n", ChunkError::Trailer),
        ("control in a trailer", "0\r\nA: \0\r\n\r\n", ChunkError::Trailer),
        ("LF behind a trailer", "0\r\nA: b\n\r\n", ChunkError::BareLf),
        ("CR behind a trailer", "0\r\nA: b\rC: d\r\n\r\n", ChunkError::BareCr),
        ("pipelined request for a trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", ChunkError::Trailer),
    ] {
        let bytes: Vec<_> = wire.as_bytes().chunks(1).collect();
        for parts in [&[wire.as_bytes()][..], &bytes] {
            assert_eq!(decode(parts), Err(fault), "{name}");
        }
        assert_eq!(fault.status(), 400);
        assert!(!fault.text().is_empty());
    }
}

#[test]
fn a_fault_stays_a_fault() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.step(b"x"), Err(ChunkError::Size));
    assert_eq!(decoder.step(b"0\r\n\r\n"), Err(ChunkError::Size));
    assert!(!decoder.is_done());
}

#[test]
fn bounds_are_exact() {
    let line = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(bytes - 2));
    assert!(decode(&[line(CHUNK_LINE_BYTES_MAX).as_bytes()]).is_ok());
    let too_long = line(CHUNK_LINE_BYTES_MAX + 1);
    assert_eq!(decode(&[too_long.as_bytes()]), Err(ChunkError::LineTooLong));

    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(511));
    let chunks = CHUNK_EXTENSION_BYTES_MAX / 512;
    assert!(decode(&[format!("{}0\r\n\r\n", chunk.repeat(chunks)).as_bytes()]).is_ok());
    let too_many = format!("{}0;a\r\n\r\n", chunk.repeat(chunks));
    assert_eq!(decode(&[too_many.as_bytes()]), Err(ChunkError::ExtensionsTooLong));

    let trailers = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(bytes - 4));
    assert!(decode(&[trailers(TRAILER_BYTES_MAX).as_bytes()]).is_ok());
    let too_long = trailers(TRAILER_BYTES_MAX + 1);
    assert_eq!(decode(&[too_long.as_bytes()]), Err(ChunkError::TrailerTooLong));
    assert_eq!(ChunkError::TrailerTooLong.status(), 431);
}

#[test]
fn a_large_chunk_is_one_step_per_input() {
    let mut decoder = ChunkedDecoder::new();
    let part = vec![b'x'; 1 << 20];
    assert_eq!(decoder.step(b"ffffffffffffffff\r\n"), Ok(Step::NeedMore));
    for _ in 0..3 {
        assert_eq!(decoder.step(&part), Ok(Step::Data(0..part.len())));
    }
    assert!(!decoder.is_done());
}

#[test]
fn extensions_and_trailers_are_reported() {
    let seen = |wire: &str| {
        let mut decoder = ChunkedDecoder::new();
        let mut at = 0;
        while let Ok(Step::Data(range)) = decoder.step(&wire.as_bytes()[at..]) {
            at += range.end;
        }
        (decoder.extension_seen(), decoder.trailer_seen())
    };
    assert_eq!(seen("1\r\nx\r\n0\r\n\r\n"), (false, false));
    assert_eq!(seen("1;a\r\nx\r\n0\r\n\r\n"), (true, false));
    assert_eq!(seen("1\r\nx\r\n0\r\nA: b\r\n\r\n"), (false, true));
    assert_eq!(seen("1\r\nx\r\n0;a\r\nA"), (true, true));
}

#[test]
fn bodies_of_each_framing_end_where_they_should() {
    let truncated = |missing| Err(Truncated { missing });
    for (name, framing, wire, payload, end, at_eof) in [
        ("none", Framing::None, "GET", "", Some(0), Ok(())),
        ("length zero", Framing::Length(0), "GET", "", Some(0), Ok(())),
        ("length", Framing::Length(3), "abcGET", "abc", Some(3), Ok(())),
        ("length cut short", Framing::Length(5), "abc", "abc", None, truncated(Some(2))),
        ("length and nothing yet", Framing::Length(5), "", "", None, truncated(Some(5))),
        ("chunked", Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET", "abc", Some(13), Ok(())),
        ("chunked cut in a chunk", Framing::Chunked, "5\r\nabc", "abc", None, truncated(None)),
        ("chunked without last chunk", Framing::Chunked, "3\r\nabc\r\n", "abc", None, truncated(None)),
        ("chunked without empty line", Framing::Chunked, "3\r\nabc\r\n0\r\n", "abc", None, truncated(None)),
        ("until close", Framing::UntilClose, "abc", "abc", None, Ok(())),
        ("until close of nothing", Framing::UntilClose, "", "", None, Ok(())),
    ] {
        let (mut body, mut found, mut at) = (BodyDecoder::new(framing), Vec::new(), 0);
        let found_end = loop {
            match body.step(&wire.as_bytes()[at..]).expect(name) {
                Step::Data(range) => {
                    found.extend_from_slice(&wire.as_bytes()[at..][range.clone()]);
                    at += range.end;
                }
                Step::NeedMore => break None,
                Step::End(bytes) => break Some(at + bytes),
            }
        };
        assert_eq!((found.as_slice(), found_end), (payload.as_bytes(), end), "{name}");
        assert_eq!(body.is_done(), end.is_some(), "{name}");
        assert_eq!(body.finish_eof(), at_eof, "{name}");
    }
}

#[derive(Default)]
struct Calls(Vec<String>);

impl RelaySink for Calls {
    fn payload(&mut self, range: std::ops::Range<usize>) {
        self.0.push(format!("payload {range:?}"));
    }

    fn wire(&mut self, range: std::ops::Range<usize>) {
        self.0.push(format!("wire {range:?}"));
    }

    fn framing(&mut self, bytes: &[u8]) {
        self.0.push(format!("framing {:?}", bytes.escape_ascii().to_string()));
    }
}

#[test]
fn the_relay_passes_on_what_is_plain_and_rewrites_the_rest() {
    for (name, parts, calls) in [
        (
            "a plain body is one piece",
            &["3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET"][..],
            &["payload 3..6", "payload 11..13", "wire 0..20"][..],
        ),
        (
            "a cut within payload changes nothing",
            &["3\r\na", "bc\r\n0\r\n\r\n"],
            &["payload 3..4", "wire 0..4", "payload 0..2", "wire 0..9"],
        ),
        (
            "a size that is cut is held back",
            &["3\r\nabc\r\n1", "0\r\n0123456789abcdef\r\n0\r\n\r\n"],
            &["payload 3..6", "wire 0..8", "framing \"10\\\\r\\\\n\"", "payload 3..19", "wire 3..26"],
        ),
        (
            "a line cut before its payload",
            &["00", "2\r\n", "de\r\n0", "\r\n\r\n"],
            &["framing \"2\\\\r\\\\n\"", "payload 0..2", "wire 0..4", "framing \"0\\\\r\\\\n\\\\r\\\\n\""],
        ),
        (
            "an extension is left out",
            &["1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n"],
            &["payload 3..4", "wire 0..6", "framing \"2\\\\r\\\\n\"", "payload 13..15", "wire 13..22"],
        ),
        (
            "trailers are left out",
            &["1\r\na\r\n0\r\nX: y\r\n\r\n"],
            &["payload 3..4", "wire 0..6", "framing \"0\\\\r\\\\n\\\\r\\\\n\""],
        ),
    ] {
        let (mut relay, mut sink, mut last) =
            (ChunkedRelay::new(), Calls::default(), RelayProgress::NeedMore);
        for part in parts {
            last = relay.relay(part.as_bytes(), &mut sink).expect(name);
        }
        assert_eq!(sink.0, calls, "{name}");
        assert!(matches!(last, RelayProgress::End(_)) && relay.decoder().is_done(), "{name}");
        assert_eq!(relay.relay(b"GET", &mut sink), Ok(RelayProgress::End(0)), "{name}");
        assert_eq!(sink.0.len(), calls.len(), "{name}: nothing behind the end");
    }
}
