//! Requests that are ambiguous or malformed: each has its status, and the connection ends behind it.

use crate::support::{Setup, TOKEN, on_each_driver};

/// Field lines, status. Behind every one the bytes of a second request follow, which must never be answered.
const FIELDS: &[(&str, u16)] = &[
    // RFC 9112 §6.1: a length beside a coding.
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
    // RFC 9112 §6.3 and RFC 9110 §8.6: one length of digits.
    ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
    ("Content-Length: 5, 5\r\n", 400),
    ("Content-Length: +5\r\n", 400),
    ("Content-Length: -5\r\n", 400),
    ("Content-Length: 0x5\r\n", 400),
    ("Content-Length: 5 5\r\n", 400),
    ("Content-Length:\r\n", 400),
    ("Content-Length: 99999999999999999999999999\r\n", 400),
    // RFC 9112 §6.1 and §7: codings.
    ("Transfer-Encoding: gzip\r\n", 501),
    ("Transfer-Encoding: gzip, chunked\r\n", 501),
    ("Transfer-Encoding: identity\r\n", 501),
    ("Transfer-Encoding: xchunked\r\n", 501),
    ("Transfer-Encoding: chunked, chunked\r\n", 400),
    ("Transfer-Encoding: chunked, gzip\r\n", 400),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding: chunked;q=1\r\n", 400),
    ("Transfer-Encoding:\r\n", 400),
    // RFC 9112 §5.1 and §5.2: white space around names, folding.
    ("Content-Length : 5\r\n", 400),
    ("Transfer-Encoding : chunked\r\n", 400),
    (" Transfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding:\r\n chunked\r\n", 400),
    // RFC 9112 §2.2, RFC 9110 §5.5: CR, LF, NUL.
    ("X: y\nTransfer-Encoding: chunked\r\n", 400),
    ("X: y\rTransfer-Encoding: chunked\r\n", 400),
    ("X: a\0b\r\n", 400),
    ("X\0: y\r\n", 400),
    ("no colon\r\n", 400),
    (": no name\r\n", 400),
    // RFC 9112 §3.2: one host.
    ("Host: other\r\n", 400),
    // RFC 9110 §7.6.1: a hop must not strip what frames the message.
    ("Connection: Content-Length\r\nContent-Length: 5\r\n", 400),
    // RFC 9110 §10.1.1.
    ("Expect: 200-ok\r\nContent-Length: 5\r\n", 417),
];

/// Start line and further lines, status.
const HEADS: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
    ("GET /\r\n\r\n", 505),
    ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET / HTTP/1.1 x\r\nHost: h\r\n\r\n", 400),
    ("G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
    ("GET noslash HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 TLS\r\n\r\n", 400),
];

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: gateway\r\n\r\n";

#[test]
fn an_ambiguous_request_is_refused_and_nothing_behind_it_is_answered() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        for (fields, status) in FIELDS {
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\n{fields}\r\n"
            );
            let mut client = gateway.client();
            client.send(format!("{head}0\r\n\r\n{SMUGGLED}"));
            let answer = client.read_response();
            assert_eq!(answer.status, *status, "{fields:?}: {}", answer.text());
            assert_eq!(answer.field("connection"), Some("close"), "{fields:?}");
            assert!(
                answer.json()["error"]["message"].is_string()
                    && answer.field("x-routerly-trace-id").is_some()
            );
            client.expect_closed();
        }
        for (head, status) in HEADS {
            let mut client = gateway.client();
            client.send(format!("{head}{SMUGGLED}"));
            let answer = client.read_response();
            assert_eq!(answer.status, *status, "{head:?}: {}", answer.text());
            client.expect_closed();
        }
        assert_eq!(gateway.metric("routerly_panics_total"), 0.0);
    });
}

/// A body after `Transfer-Encoding: chunked`, as far as it is sent; each is malformed.
const CHUNKED: &[&str] = &[
    "x\r\n",
    "\r\n",
    "-1\r\n",
    "+1\r\na\r\n0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    "1\na\n0\n\n",
    "1 \r\na\r\n0\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "2\r\na\r\n0\r\n\r\n",
    "1;a\nb\r\na\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "0\r\nbad trailer\r\n\r\n",
];

#[test]
fn a_malformed_chunked_body_is_refused_and_nothing_behind_it_is_answered() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        for path in ["/v1/chat/completions", "/v1/messages"] {
            for body in CHUNKED {
                let mut client = gateway.client();
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: gateway\r\nx-api-key: {TOKEN}\r\n\
                     Transfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
                ));
                let answer = client.read_response();
                assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
                assert_eq!(answer.field("connection"), Some("close"), "{body:?}");
                client.expect_closed();
            }
        }
    });
}

#[test]
fn a_request_cut_off_by_its_client_is_answered_by_nothing() {
    let gateway = Setup::demo().start();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 100\r\n\r\n"
    );
    for sent in
        [String::new(), "G".into(), "GET / HTTP/1.1\r\nHost: h\r\n".into(), head.clone(), head + "{\"a\":"]
    {
        let mut client = gateway.client();
        client.send(&sent);
        client.wire.end_sending();
        client.expect_closed();
    }
}
