//! Requests whose end two readers could see at different places: each is refused.

use crate::http1::{Framing, HeadError, RequestSlots, parse_request};

fn outcome(fields: &str, version: &str) -> Result<Framing, HeadError> {
    let wire = format!("POST / HTTP/{version}\r\nHost: h\r\n{fields}\r\n\r\n");
    let mut slots = RequestSlots::new();
    Ok(parse_request(wire.as_bytes(), &mut slots)?.expect("whole").framing)
}

#[test]
fn unambiguous_framing_is_read() {
    for (fields, framing) in [
        ("X: y", Framing::None),
        ("Content-Length: 0", Framing::Length(0)),
        ("content-LENGTH:\t 42 \t", Framing::Length(42)),
        ("Content-Length: 007", Framing::Length(7)),
        ("Content-Length: 18446744073709551615", Framing::Length(u64::MAX)),
        ("Transfer-Encoding: chunked", Framing::Chunked),
        ("transfer-encoding:CHUNKED ", Framing::Chunked),
        ("Transfer_Encoding: chunked", Framing::None),
        ("X-Content-Length: 5", Framing::None),
        ("TE: chunked", Framing::None),
    ] {
        assert_eq!(outcome(fields, "1.1"), Ok(framing), "{fields:?}");
    }
    assert_eq!(outcome("Content-Length: 5", "1.0"), Ok(Framing::Length(5)));
    assert_eq!(outcome("Connection: keep-alive", "1.0"), Ok(Framing::None));
}

#[test]
fn ambiguous_framing_is_refused() {
    use HeadError as E;
    for (section, fields, fault) in [
        // RFC 9110 §8.6: 1*DIGIT; a list of equal values may be refused, and is.
        ("9110 8.6", "Content-Length:", E::ContentLength),
        ("9110 8.6", "Content-Length: +5", E::ContentLength),
        ("9110 8.6", "Content-Length: -5", E::ContentLength),
        ("9110 8.6", "Content-Length: 5 5", E::ContentLength),
        ("9110 8.6", "Content-Length: 5, 5", E::ContentLength),
        ("9110 8.6", "Content-Length: 5,", E::ContentLength),
        ("9110 8.6", "Content-Length: 5, 6", E::ContentLength),
        ("9110 8.6", "Content-Length: 0x5", E::ContentLength),
        ("9110 8.6", "Content-Length: 5.0", E::ContentLength),
        ("9110 8.6", "Content-Length: 5e1", E::ContentLength),
        ("9110 8.6", "Content-Length: \"5\"", E::ContentLength),
        ("9110 8.6", "Content-Length: 5;", E::ContentLength),
        ("9110 8.6", "Content-Length: \u{665}", E::ContentLength),
        ("9110 8.6", "Content-Length: 18446744073709551616", E::ContentLength),
        ("9110 8.6", "Content-Length: 99999999999999999999999999", E::ContentLength),
        ("9112 6.3", "Content-Length: 5\r\nContent-Length: 5", E::ContentLengthRepeated),
        ("9112 6.3", "Content-Length: 5\r\nX: y\r\ncontent-length: 6", E::ContentLengthRepeated),
        // RFC 9112 §6.1: a length beside a coding is an attempt at smuggling.
        ("9112 6.1", "Content-Length: 5\r\nTransfer-Encoding: chunked", E::ContentLengthAndTransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked\r\nContent-Length: 5", E::ContentLengthAndTransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked\r\nContent-Length: 0", E::ContentLengthAndTransferEncoding),
        // RFC 9112 §6.1: an unknown coding is 501.
        ("9112 6.1", "Transfer-Encoding: gzip", E::TransferEncodingUnsupported),
        ("9112 6.1", "Transfer-Encoding: gzip, chunked", E::TransferEncodingUnsupported),
        ("9112 6.1", "Transfer-Encoding: identity", E::TransferEncodingUnsupported),
        ("9112 6.1", "Transfer-Encoding: xchunked", E::TransferEncodingUnsupported),
        ("9112 6.1", "Transfer-Encoding: chunke", E::TransferEncodingUnsupported),
        ("9112 6.1", "Transfer-Encoding: gzip;q=1", E::TransferEncodingUnsupported),
        // RFC 9112 §6.3: chunked has to be the last coding, once (§6.1), without parameters (§7.1).
        ("9112 6.3", "Transfer-Encoding: chunked, gzip", E::TransferEncoding),
        ("9112 6.3", "Transfer-Encoding: chunked, identity", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked, chunked", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", E::TransferEncoding),
        ("9112 7.1", "Transfer-Encoding: chunked;q=1", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding:", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: ,chunked", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked,", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: chunked chunked", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: \"chunked\"", E::TransferEncoding),
        ("9112 6.1", "Transfer-Encoding: 'chunked", E::TransferEncodingUnsupported),
        ("9112 6.1", "Transfer-Encoding: ch\u{fc}nked", E::TransferEncoding),
        // RFC 9112 §5.1: no white space before the colon.
        ("9112 5.1", "Content-Length : 5", E::SpaceBeforeColon),
        ("9112 5.1", "Transfer-Encoding : chunked", E::SpaceBeforeColon),
        ("9112 5.1", "Transfer-Encoding\t: chunked", E::SpaceBeforeColon),
        ("9112 5.1", " Transfer-Encoding: chunked", E::ObsFold),
        // RFC 9112 §5.2: folding.
        ("9112 5.2", "Transfer-Encoding:\r\n chunked", E::ObsFold),
        ("9112 5.2", "X: y\r\n Transfer-Encoding: chunked", E::ObsFold),
        // RFC 9112 §2.2 and RFC 9110 §5.5: CR, LF and NUL.
        ("9112 2.2", "X: y\nTransfer-Encoding: chunked", E::BareLf),
        ("9112 2.2", "X: y\rTransfer-Encoding: chunked", E::BareCr),
        ("9112 2.2", "X: y\n\nGET /evil HTTP/1.1", E::BareLf),
        ("9110 5.5", "Transfer-Encoding: chunked\0", E::FieldValue { byte: 0 }),
        ("9110 5.5", "Transfer-Encoding: \x0bchunked", E::FieldValue { byte: 0x0b }),
        ("9110 5.1", "Transfer-Encoding\0: chunked", E::FieldName { byte: 0 }),
        ("9110 5.1", "Content-Length\u{a0}: 5", E::FieldName { byte: 0xc2 }),
        // RFC 9110 §7.6.1: what a hop would strip must not be what frames or addresses the message.
        ("9110 7.6.1", "Connection: close, Content-Length\r\nContent-Length: 5", E::ConnectionNominates),
        ("9110 7.6.1", "Connection: host", E::ConnectionNominates),
        ("9110 7.6.1", "Connection: close; x", E::ConnectionOption),
        // RFC 9112 §3.2: one host.
        ("9112 3.2", "Host: h", E::HostRepeated),
        ("9112 3.2", "hOST: other", E::HostRepeated),
    ] {
        assert_eq!(outcome(fields, "1.1"), Err(fault), "RFC {section}: {fields:?}");
        let status = if fault == E::TransferEncodingUnsupported { 501 } else { 400 };
        assert_eq!(fault.status(), status, "{fields:?}");
    }
}

#[test]
fn http_1_0_knows_no_transfer_codings() {
    for fields in ["Transfer-Encoding: chunked", "Connection: keep-alive\r\nTransfer-Encoding: chunked"] {
        assert_eq!(
            outcome(fields, "1.0"),
            Err(HeadError::TransferEncodingHttp10),
            "RFC 9112 6.1: {fields:?}"
        );
    }
    assert_eq!(outcome("Host: other", "1.0"), Err(HeadError::HostRepeated));
}

#[test]
fn every_refusal_has_a_sentence_and_a_status_of_its_kind() {
    use HeadError as E;
    for fault in [
        E::HeadTooLong,
        E::Method,
        E::MethodConnect,
        E::Target,
        E::Version,
        E::BareLf,
        E::FieldName { byte: 1 },
        E::ContentLength,
        E::TransferEncodingUnsupported,
        E::HostMissing,
        E::Expectation,
        E::StatusLine,
    ] {
        assert!(!fault.text().is_empty() && fault.to_string().starts_with(fault.text()));
        assert!(fault.text().bytes().all(|byte| matches!(byte, b' '..=b'~')), "fits into a field: {fault}");
        assert!((400..600).contains(&fault.status()));
    }
}
