//! Generated messages: what was written is what is read.

use proptest::prelude::*;

use crate::http1::fuzz::{fuzz_chunked, fuzz_request_head, fuzz_response_head};
use crate::http1::writer::{LAST_CHUNK, chunk_header, field, request_line, status_line};
use crate::http1::{
    BodyDecoder, Framing, Method, RequestSlots, ResponseSlots, Step, parse_request, parse_response,
};

/// Field names that mean nothing to the parser.
fn name() -> impl Strategy<Value = String> {
    "[xX][-!#$%&'*+.^_`|~0-9A-Za-z]{0,20}"
}

/// Values without white space around them.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let inner =
        prop::collection::vec(prop_oneof![0x21..=0x7e_u8, Just(b' '), Just(b'\t'), 0x80..=0xff_u8], 0..40);
    inner.prop_map(|bytes| bytes.trim_ascii().to_vec())
}

fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    prop::collection::vec((name(), value()), 0..20)
}

fn optional_space() -> impl Strategy<Value = String> {
    "[ \t]{0,3}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_generated_request_head_is_read_back(
        method in "[A-Z]{1,10}",
        path in "(/([-._~!$&'()*+,;=:@a-zA-Z0-9]|%[0-9A-Fa-f]{2}){0,12}){1,4}",
        query in prop::option::of("([-._~!$&'()*+,;=:@/?a-zA-Z0-9]|%[0-9A-Fa-f]{2}){0,20}"),
        host in "[a-z0-9][a-z0-9.-]{0,20}(:[0-9]{1,4})?",
        length in prop::option::of(any::<u64>()),
        others in fields(),
        space in optional_space(),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(method != "CONNECT");
        let mut wire = Vec::new();
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        prop_assert!(request_line(&mut wire, &method, &target));
        wire.extend_from_slice(format!("Host:{space}{host}{space}\r\n").as_bytes());
        for (name, value) in &others {
            prop_assert!(field(&mut wire, name, value));
        }
        if let Some(length) = length {
            wire.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        wire.extend_from_slice(b"\r\n");
        let head_bytes = wire.len();
        wire.extend_from_slice(&behind);

        let mut slots = RequestSlots::new();
        let head = parse_request(&wire, &mut slots).unwrap().unwrap();
        prop_assert_eq!(head.method.as_str(), method);
        prop_assert_eq!((head.path, head.query), (path.as_str(), query.as_deref()));
        prop_assert_eq!(head.host, host);
        prop_assert_eq!(head.framing, length.map_or(Framing::None, Framing::Length));
        prop_assert_eq!(head.head_bytes, head_bytes);
        let read: Vec<_> = head.fields.iter().skip(1).take(others.len())
            .map(|field| (field.name().to_owned(), field.value().to_owned())).collect();
        prop_assert_eq!(read, others);
        fuzz_request_head(&wire);
    }

    #[test]
    fn a_generated_response_head_is_read_back(
        status in 200..=599_u16,
        length in any::<u64>(),
        others in fields(),
    ) {
        prop_assume!(!matches!(status, 204 | 304));
        let mut wire = Vec::new();
        status_line(&mut wire, status);
        for (name, value) in &others {
            prop_assert!(field(&mut wire, name, value));
        }
        wire.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        let mut slots = ResponseSlots::new();
        let head = parse_response(&wire, &mut slots, Method::Get).unwrap().unwrap();
        prop_assert_eq!((head.status, head.framing), (status, Framing::Length(length)));
        prop_assert_eq!(head.head_bytes, wire.len());
        prop_assert_eq!(head.fields.len(), others.len() + 1);
        let mut data = vec![0];
        data.extend_from_slice(&wire);
        fuzz_response_head(&data);
    }

    #[test]
    fn payload_written_in_chunks_is_read_back_at_any_cuts(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            chunk_header(&mut wire, chunk.len() as u64);
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(LAST_CHUNK);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).chain([wire.len()]).collect();
        ends.sort_unstable();

        let (mut body, mut payload, mut start) = (BodyDecoder::new(Framing::Chunked), Vec::new(), 0);
        for end in ends {
            let mut part = &wire[start..end];
            while let Step::Data(range) = body.step(part).unwrap() {
                payload.extend_from_slice(&part[range.clone()]);
                part = &part[range.end..];
            }
            start = end;
        }
        prop_assert!(body.is_done());
        prop_assert_eq!(payload, chunks.concat());
        fuzz_chunked(&wire);
    }

    #[test]
    fn any_bytes_hold_the_properties(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_request_head(&data);
        fuzz_response_head(&data);
        fuzz_chunked(&data);
    }

    #[test]
    fn bytes_of_the_grammar_hold_the_properties(
        data in "(GET|POST|OPTIONS|[A-Z ]) (/|\\*|http://h/|[a-z ?%])(\\?[a-z])? HTTP/1.[01]\r\n\
                 ((Host|Content-Length|Transfer-Encoding|Connection|Expect|[A-Za-z :])(:|: | :)\
                 (h|5|chunked|close|100-continue|[ -~\t\r\n])(\r\n|\n|\r)){0,6}\r\n",
        chunked in "(([0-9a-f]{1,2})(;[a-z]{0,2}(=[a-z\"\\\\ ]{0,5})?)?(\r\n|\n)[a-z]{0,10}(\r\n|\n)){0,4}0\r\n\
                    ([A-Z]:[ -~]\r\n){0,2}\r\n",
    ) {
        fuzz_request_head(data.as_bytes());
        fuzz_chunked(chunked.as_bytes());
    }
}
