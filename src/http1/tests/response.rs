//! Response heads: framing by RFC 9112 §6.3, reuse of the connection, what is tolerated and what is not.

use crate::http1::{Framing, HeadError, KnownField, Method, ResponseSlots, Version, parse_response};
use crate::limits::{RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX};

fn outcome(wire: &[u8], method: Method<'_>) -> Result<(u16, Framing, bool), HeadError> {
    let mut slots = ResponseSlots::new();
    let head = parse_response(wire, &mut slots, method)?.expect("whole");
    Ok((head.status, head.framing, head.keep_alive))
}

#[test]
fn a_streaming_answer_is_read_field_by_field() {
    let wire =
        b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nRequest-Id: req_1\r\n\r\n5\r\n";
    let mut slots = ResponseSlots::new();
    let head = parse_response(wire, &mut slots, Method::Post).unwrap().unwrap();
    assert_eq!((head.version, head.status, head.reason), (Version::Http11, 200, "OK"));
    assert_eq!((head.framing, head.keep_alive, head.is_interim()), (Framing::Chunked, true, false));
    assert_eq!(head.head_bytes, wire.len() - 3);
    assert_eq!(head.fields.find(KnownField::RequestId).unwrap().value(), b"req_1");
    let names: Vec<_> = head.fields.end_to_end().map(|field| field.name()).collect();
    assert_eq!(names, ["Date", "Content-Type", "Request-Id"]);
}

#[test]
fn framing_follows_method_and_status() {
    use Framing::{Chunked, Length, None, UntilClose};
    let (post, head, connect) = (Method::Post, Method::Head, Method::Connect);
    for (name, method, status, fields, framing, keep_alive) in [
        ("length", post, "200", "Content-Length: 5", Length(5), true),
        ("no body", post, "200", "Content-Length: 0", Length(0), true),
        ("chunked", post, "500", "Transfer-Encoding: Chunked", Chunked, true),
        ("closing", post, "200", "Content-Length: 5\r\nConnection: close", Length(5), false),
        ("until close", post, "200", "X: y", UntilClose, false),
        ("until close in spite of keep-alive", post, "200", "Connection: keep-alive", UntilClose, false),
        ("answer to HEAD", head, "200", "Content-Length: 5", None, true),
        ("answer to HEAD, chunked", head, "200", "Transfer-Encoding: chunked", None, true),
        ("answer to HEAD, neither", head, "404", "X: y", None, true),
        ("continue", post, "100", "X: y", None, true),
        ("early hints", post, "103", "Link: </a>", None, true),
        ("switching", post, "101", "Upgrade: x", None, true),
        ("no content", post, "204", "X: y", None, true),
        ("no content of no bytes", post, "204", "Content-Length: 0", None, true),
        ("no content that may come nevertheless", post, "204", "Content-Length: 5", None, false),
        ("no content in chunks", post, "204", "Transfer-Encoding: chunked", None, false),
        ("reset content", post, "205", "Content-Length: 0", Length(0), true),
        ("not modified", post, "304", "Content-Length: 5", None, true),
        ("tunnel", connect, "200", "X: y", None, false),
        ("tunnel with a length to be ignored", connect, "200", "Content-Length: 5", None, false),
        ("tunnel refused", connect, "407", "Content-Length: 5", Length(5), true),
    ] {
        let wire = format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n");
        assert_eq!(
            outcome(wire.as_bytes(), method),
            Ok((status.parse().unwrap(), framing, keep_alive)),
            "{name}"
        );
    }
}

#[test]
fn http_1_0_answers_end_with_their_connection_unless_they_say_otherwise() {
    for (fields, framing, keep_alive) in [
        ("X: y", Framing::UntilClose, false),
        ("Content-Length: 5", Framing::Length(5), false),
        ("Content-Length: 5\r\nConnection: keep-alive", Framing::Length(5), true),
    ] {
        let wire = format!("HTTP/1.0 200 OK\r\n{fields}\r\n\r\n");
        assert_eq!(outcome(wire.as_bytes(), Method::Get), Ok((200, framing, keep_alive)), "{fields:?}");
    }
}

#[test]
fn what_is_merely_unusual_passes() {
    for (name, wire, status, reason) in [
        ("no reason", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n".as_slice(), 200, ""),
        ("no space for the reason either", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, ""),
        ("unknown status", b"HTTP/1.1 599 Strange one\r\nContent-Length: 0\r\n\r\n", 599, "Strange one"),
        ("obs-text in the reason", b"HTTP/1.1 404 Pas trouv\xe9\r\nContent-Length: 0\r\n\r\n", 404, ""),
        ("obs-text in a value", b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Length: 0\r\n\r\n", 200, "OK"),
        (
            "no list in Connection",
            b"HTTP/1.1 200 OK\r\nConnection: a b\r\nContent-Length: 0\r\n\r\n",
            200,
            "OK",
        ),
        ("two Hosts", b"HTTP/1.1 200 OK\r\nHost: a\r\nHost: b b\r\nContent-Length: 0\r\n\r\n", 200, "OK"),
    ] {
        let mut slots = ResponseSlots::new();
        let head = parse_response(wire, &mut slots, Method::Get).expect(name).expect(name);
        assert_eq!((head.status, head.reason, head.framing), (status, reason, Framing::Length(0)), "{name}");
    }
    let wire = b"HTTP/1.1 200 OK\r\nConnection: a b\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome(wire, Method::Get).map(|answer| answer.2), Ok(false), "then it is not used again");
}

#[test]
fn what_leaves_the_end_of_the_message_open_is_refused() {
    use HeadError as E;
    for (fields, fault) in [
        ("Content-Length: 5\r\nContent-Length: 5", E::ContentLengthRepeated),
        ("Content-Length: 5, 5", E::ContentLength),
        ("Content-Length: -1", E::ContentLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", E::ContentLengthAndTransferEncoding),
        ("Transfer-Encoding: gzip, chunked", E::TransferEncodingUnsupported),
        ("Transfer-Encoding: chunked, gzip", E::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", E::TransferEncoding),
        ("X: y\n", E::BareLf),
        ("X: y\r\n z", E::ObsFold),
        ("X : y", E::SpaceBeforeColon),
        ("X: \0", E::FieldValue { byte: 0 }),
        ("Connection: content-length", E::ConnectionNominates),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        for method in [Method::Get, Method::Head] {
            assert_eq!(outcome(wire.as_bytes(), method), Err(fault), "{fields:?}");
        }
    }
    let chunked_1_0 = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(outcome(chunked_1_0, Method::Get), Err(E::TransferEncodingHttp10));
    for fields in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let wire = format!("HTTP/1.1 100 Continue\r\n{fields}\r\n\r\n");
        assert_eq!(outcome(wire.as_bytes(), Method::Post), Err(E::InterimBody), "{fields}");
    }
}

#[test]
fn status_lines_that_are_refused() {
    for (line, fault) in [
        ("HTTP/2 200 OK", HeadError::Version),
        ("HTTP/1.2 200 OK", HeadError::Version),
        ("ICY 200 OK", HeadError::Version),
        ("<html>", HeadError::Version),
        ("\r\nHTTP/1.1 200 OK", HeadError::Version),
        (" HTTP/1.1 200 OK", HeadError::Version),
        ("HTTP/1.1  200 OK", HeadError::StatusLine),
        ("HTTP/1.1 20 OK", HeadError::StatusLine),
        ("HTTP/1.1 2000 OK", HeadError::StatusLine),
        ("HTTP/1.1 abc OK", HeadError::StatusLine),
        ("HTTP/1.1\t200 OK", HeadError::StatusLine),
        ("HTTP/1.1 200 O\0K", HeadError::StatusLine),
        ("HTTP/1.1 200 O\rK", HeadError::BareCr),
        ("HTTP/1.1 200 OK\nX: y", HeadError::BareLf),
        ("HTTP/1.1 200\nX: y", HeadError::BareLf),
        ("HTTP/1.1 099 Low", HeadError::StatusCode),
        ("HTTP/1.1 000 None", HeadError::StatusCode),
        ("HTTP/1.1 600 High", HeadError::StatusCode),
        ("HTTP/1.1 999 High", HeadError::StatusCode),
    ] {
        let wire = format!("{line}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(outcome(wire.as_bytes(), Method::Get), Err(fault), "{line:?}");
    }
}

#[test]
fn interim_answers_are_skipped_by_their_length() {
    let wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    let (mut at, mut seen) = (0, vec![]);
    loop {
        let mut slots = ResponseSlots::new();
        let head = parse_response(&wire[at..], &mut slots, Method::Post).unwrap().unwrap();
        at += head.head_bytes;
        seen.push((head.status, head.is_interim()));
        if !head.is_interim() {
            break;
        }
    }
    assert_eq!((seen, at), (vec![(100, true), (103, true), (201, false)], wire.len()));
}

#[test]
fn bounds_are_exact() {
    let head =
        |value: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "v".repeat(value));
    let room = RESPONSE_HEAD_BYTES_MAX - head(0).len();
    assert!(outcome(head(room).as_bytes(), Method::Get).is_ok());
    assert_eq!(outcome(head(room + 1).as_bytes(), Method::Get), Err(HeadError::HeadTooLong));
    let fields = |count: usize| format!("HTTP/1.1 204 X\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(outcome(fields(RESPONSE_FIELDS_MAX).as_bytes(), Method::Get).is_ok());
    assert_eq!(
        outcome(fields(RESPONSE_FIELDS_MAX + 1).as_bytes(), Method::Get),
        Err(HeadError::TooManyFields)
    );
}

#[test]
fn a_head_cut_anywhere_is_unfinished_until_its_last_byte() {
    let wire = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n";
    for cut in 0..wire.len() {
        let mut slots = ResponseSlots::new();
        let head = parse_response(&wire[..cut], &mut slots, Method::Post);
        assert!(matches!(head, Ok(None)), "cut at byte {cut}: {head:?}");
    }
}
