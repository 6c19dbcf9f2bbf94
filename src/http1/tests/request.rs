//! Request heads: what is read, what is refused and with which status, and that cuts do not matter.

use crate::http1::{
    Framing, HeadError, HeadProgress, KnownField, Method, RequestHead, RequestSlots, Version, parse_request,
};
use crate::limits::{
    CONNECTION_OPTIONS_MAX, KIB, LEADING_EMPTY_LINES_MAX, METHOD_BYTES_MAX, REQUEST_FIELDS_MAX,
    REQUEST_HEAD_BYTES_MAX, TARGET_BYTES_MAX,
};

/// Parses `wire` and hands the head to `look`, which has to be given one.
fn with_head<T>(wire: &str, look: impl FnOnce(RequestHead<'_, '_>) -> T) -> T {
    let mut slots = RequestSlots::new();
    let head = parse_request(wire.as_bytes(), &mut slots).unwrap_or_else(|fault| panic!("{wire:?}: {fault}"));
    look(head.unwrap_or_else(|| panic!("{wire:?} is not whole")))
}

fn refusal(wire: &[u8]) -> Option<HeadError> {
    parse_request(wire, &mut RequestSlots::new()).err()
}

const OPENAI_SDK: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:8080\r\n\
    Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n\
    Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.1\r\nX-Stainless-Lang: python\r\n\
    Authorization: Bearer sk-rt-0123456789\r\nContent-Length: 270\r\n\r\n";

#[test]
fn a_request_of_an_sdk_is_read_field_by_field() {
    let wire = format!("{OPENAI_SDK}{{\"model\"");
    with_head(&wire, |head| {
        assert_eq!(head.method, Method::Post);
        assert_eq!((head.path, head.query, head.host), ("/v1/chat/completions", None, "localhost:8080"));
        assert_eq!((head.version, head.framing), (Version::Http11, Framing::Length(270)));
        assert!(head.keep_alive && !head.expect_continue);
        assert_eq!(head.head_bytes, OPENAI_SDK.len());
        assert_eq!(head.fields.len(), 9);
        let key = head.fields.find(KnownField::Authorization).unwrap();
        assert_eq!((key.name(), key.value()), ("Authorization", b"Bearer sk-rt-0123456789".as_slice()));
        assert_eq!(head.fields.find_name("x-stainless-lang").unwrap().value_str(), Some("python"));
        assert_eq!(head.fields.find(KnownField::XApiKey), None);
        assert_eq!(head.fields.all(KnownField::Host).count(), 1);
        assert!(!format!("{head:?}").contains("sk-rt"), "a key in Debug output");
    });
}

#[test]
fn start_lines_are_taken_apart() {
    for (line, method, path, query, host) in [
        ("GET / HTTP/1.1", Method::Get, "/", None, "h"),
        ("HEAD /a HTTP/1.1", Method::Head, "/a", None, "h"),
        ("PUT /a? HTTP/1.1", Method::Put, "/a", Some(""), "h"),
        ("PATCH /a?b?c=/d HTTP/1.1", Method::Patch, "/a", Some("b?c=/d"), "h"),
        ("DELETE //a//b/../c HTTP/1.1", Method::Delete, "//a//b/../c", None, "h"),
        ("OPTIONS * HTTP/1.1", Method::Options, "*", None, "h"),
        ("OPTIONS /a HTTP/1.1", Method::Options, "/a", None, "h"),
        ("get / HTTP/1.1", Method::Other("get"), "/", None, "h"),
        ("M-SEARCH! / HTTP/1.1", Method::Other("M-SEARCH!"), "/", None, "h"),
        ("GET /v1/models/a%2Fb:c@1 HTTP/1.1", Method::Get, "/v1/models/a%2Fb:c@1", None, "h"),
        ("GET /f?include[]=x&y={z}|w HTTP/1.1", Method::Get, "/f", Some("include[]=x&y={z}|w"), "h"),
        ("GET http://h HTTP/1.1", Method::Get, "/", None, "h"),
        ("GET HTTP://H/p?q HTTP/1.1", Method::Get, "/p", Some("q"), "H"),
        ("GET http://h?q HTTP/1.1", Method::Get, "/", Some("q"), "h"),
        ("GET http://h:80/ HTTP/1.1", Method::Get, "/", None, "h:80"),
        ("GET http://h:/ HTTP/1.1", Method::Get, "/", None, "h:"),
        ("OPTIONS http://h HTTP/1.1", Method::Options, "*", None, "h"),
        ("OPTIONS http://h/ HTTP/1.1", Method::Options, "/", None, "h"),
    ] {
        with_head(&format!("{line}\r\nHost: h\r\n\r\n"), |head| {
            assert_eq!(
                (head.method, head.path, head.query, head.host),
                (method, path, query, host),
                "{line}"
            );
            assert_eq!(head.method.as_str(), line.split(' ').next().unwrap());
        });
    }
}

#[test]
fn request_lines_that_are_refused() {
    for (line, status, why) in [
        (" GET / HTTP/1.1", 400, "space first"),
        ("G T / HTTP/1.1", 400, "space in the method"),
        ("G(T / HTTP/1.1", 400, "delimiter in the method"),
        ("G\tT / HTTP/1.1", 400, "tab in the method"),
        ("G\u{fc}T / HTTP/1.1", 400, "non-ASCII in the method"),
        ("GET", 400, "method alone"),
        ("GET  / HTTP/1.1", 400, "two spaces before the target"),
        ("GET /  HTTP/1.1", 400, "two spaces behind the target"),
        ("GET\t/\tHTTP/1.1", 400, "tabs for spaces"),
        ("GET / x HTTP/1.1", 400, "space in the target"),
        ("GET /a\tb HTTP/1.1", 400, "tab in the target"),
        ("GET /a\0b HTTP/1.1", 400, "NUL in the target"),
        ("GET /a\x7fb HTTP/1.1", 400, "DEL in the target"),
        ("GET /\u{fc} HTTP/1.1", 400, "non-ASCII in the path"),
        ("GET /?\u{fc} HTTP/1.1", 400, "non-ASCII in the query"),
        ("GET /#f HTTP/1.1", 400, "fragment behind the path"),
        ("GET /?q#f HTTP/1.1", 400, "fragment behind the query"),
        ("GET /a\"b HTTP/1.1", 400, "quote in the path"),
        ("GET /a<b> HTTP/1.1", 400, "angle brackets in the path"),
        ("GET /a\\b HTTP/1.1", 400, "backslash in the path"),
        ("GET /?a\"b HTTP/1.1", 400, "quote in the query"),
        ("GET /%2 HTTP/1.1", 400, "half a percent triple"),
        ("GET /%zz HTTP/1.1", 400, "percent without hex digits"),
        ("GET /?100% HTTP/1.1", 400, "bare percent in the query"),
        ("GET v1/models HTTP/1.1", 400, "path without slash"),
        ("GET ?q HTTP/1.1", 400, "query alone"),
        ("GET * HTTP/1.1", 400, "asterisk without OPTIONS"),
        ("OPTIONS ** HTTP/1.1", 400, "two asterisks"),
        ("OPTIONS *?q HTTP/1.1", 400, "asterisk with query"),
        ("GET h:80 HTTP/1.1", 400, "authority form without CONNECT"),
        ("CONNECT h:443 HTTP/1.1", 501, "CONNECT"),
        ("CONNECT / HTTP/1.1", 501, "CONNECT with a path"),
        ("GET ftp://h/ HTTP/1.1", 400, "scheme ftp"),
        ("GET file:///etc/passwd HTTP/1.1", 400, "scheme file"),
        ("GET ://h/ HTTP/1.1", 400, "no scheme"),
        ("GET http:/h/ HTTP/1.1", 400, "one slash"),
        ("GET http:///p HTTP/1.1", 400, "absolute form without authority"),
        ("GET http://u@h/ HTTP/1.1", 400, "user information"),
        ("GET http://u:p@h/ HTTP/1.1", 400, "user information with password"),
        ("GET http://h#f HTTP/1.1", 400, "fragment behind an authority"),
        ("GET http://h:80x/ HTTP/1.1", 400, "port with a letter"),
        ("GET http://other/ HTTP/1.1", 400, "authority other than Host"),
        ("GET http://h:81/ HTTP/1.1", 400, "port other than Host's"),
        ("GET https://h:80/ HTTP/1.1", 400, "port 80 is not the default of https"),
        ("GET /", 505, "HTTP/0.9"),
        ("GET / ", 400, "space and no version"),
        ("GET / HTTP", 400, "no version at all"),
        ("GET / HTTP/1", 505, "version without minor number"),
        ("GET / HTTP/1.2", 505, "HTTP/1.2"),
        ("GET / HTTP/0.9", 505, "HTTP/0.9 said aloud"),
        ("GET / HTTP/2.0", 505, "HTTP/2.0"),
        ("PRI * HTTP/2.0", 505, "HTTP/2 preface"),
        ("GET / HTTP/11", 505, "no dot"),
        ("GET / HTTP/1.10", 400, "two digits"),
        ("GET / HTTP/01.1", 505, "leading zero"),
        ("GET / http/1.1", 400, "lower-case version"),
        ("GET / HTTP/1.1 ", 400, "space behind the version"),
        ("GET / HTTP/1.1 x", 400, "word behind the version"),
        ("\u{16}\u{3}\u{1}\u{2}", 400, "TLS to a port without"),
    ] {
        let fault = refusal(format!("{line}\r\nHost: h\r\n\r\n").as_bytes());
        assert_eq!(fault.map(HeadError::status), Some(status), "{why}: {line:?} gave {fault:?}");
    }
}

#[test]
fn field_lines_that_are_refused() {
    for (lines, fault) in [
        ("X : y\r\n", HeadError::SpaceBeforeColon),
        ("X\t: y\r\n", HeadError::SpaceBeforeColon),
        ("X y: z\r\n", HeadError::SpaceBeforeColon),
        (" X: y\r\n", HeadError::ObsFold),
        ("X: y\r\n z\r\n", HeadError::ObsFold),
        ("X: y\r\n\tz\r\n", HeadError::ObsFold),
        ("X:\r\n y\r\n", HeadError::ObsFold),
        (": y\r\n", HeadError::FieldNameEmpty),
        ("X\r\n", HeadError::ColonMissing),
        ("X(y): z\r\n", HeadError::FieldName { byte: b'(' }),
        ("X\0: y\r\n", HeadError::FieldName { byte: 0 }),
        ("X\u{fc}: y\r\n", HeadError::FieldName { byte: 0xc3 }),
        ("X\r: y\r\n", HeadError::ColonMissing),
        ("X: a\0b\r\n", HeadError::FieldValue { byte: 0 }),
        ("X: a\x01b\r\n", HeadError::FieldValue { byte: 1 }),
        ("X: a\x0bb\r\n", HeadError::FieldValue { byte: 0x0b }),
        ("X: a\x7fb\r\n", HeadError::FieldValue { byte: 0x7f }),
        ("X: a\rb\r\n", HeadError::BareCr),
        ("X: a\r\r\n", HeadError::BareCr),
        ("X: a\n", HeadError::BareLf),
        ("X: a\nY: b\r\n", HeadError::BareLf),
        ("\nX: a\r\n", HeadError::BareLf),
        ("\rX: a\r\n", HeadError::BareCr),
    ] {
        // Wherever it stands among the fields.
        for wire in [
            format!("GET / HTTP/1.1\r\n{lines}Host: h\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"),
        ] {
            assert_eq!(refusal(wire.as_bytes()), Some(fault), "{wire:?}");
            assert_eq!(fault.status(), 400);
        }
    }
}

#[test]
fn every_line_of_a_head_needs_its_cr() {
    let wire = "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
    for (at, _) in wire.match_indices('\r') {
        let mut wire = wire.to_owned();
        wire.remove(at);
        assert_eq!(refusal(wire.as_bytes()), Some(HeadError::BareLf), "{wire:?}");
    }
    assert_eq!(refusal(b"GET / HTTP/1.1\nHost: h\n\n"), Some(HeadError::BareLf));
    assert_eq!(refusal(b"GET / HTTP/1.1\rHost: h\r\r"), Some(HeadError::BareCr));
}

#[test]
fn hosts_are_checked_and_given_as_they_came() {
    for (value, accepted) in [
        ("example.com", true),
        ("EXAMPLE.com:8080", true),
        ("h:", true),
        ("h:65535", true),
        ("127.0.0.1:3000", true),
        ("[::1]", true),
        ("[2001:db8::1]:443", true),
        ("my_host-1.local", true),
        ("a%2db", true),
        ("xn--bcher-kva.example", true),
        ("", false),
        (":80", false),
        ("h:65536", false),
        ("h:80:80", false),
        ("h:8o", false),
        ("h:-1", false),
        ("h: 80", false),
        ("a b", false),
        ("a, b", false),
        ("h/", false),
        ("h/path", false),
        ("h?q", false),
        ("h#f", false),
        ("u@h", false),
        ("http://h", false),
        ("b\u{fc}cher.example", false),
        ("a%2", false),
        ("a%zz", false),
        ("a\\b", false),
        ("\"h\"", false),
        ("<h>", false),
        ("[::1", false),
        ("::1", false),
        ("[::1]x", false),
        ("[::1%25eth0]", false),
        ("[v1.a]", false),
        ("[]", false),
        ("[127.0.0.1]", false),
    ] {
        let wire = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
        if accepted {
            with_head(&wire, |head| assert_eq!(head.host, value));
        } else {
            assert_eq!(refusal(wire.as_bytes()), Some(HeadError::Host), "{value:?}");
        }
    }
}

#[test]
fn expectations_are_for_bodies_and_for_http_1_1() {
    for (fields, version, expected) in [
        ("Expect: 100-continue\r\nContent-Length: 5", "1.1", Some(true)),
        ("expect: 100-Continue\r\nTransfer-Encoding: chunked", "1.1", Some(true)),
        ("Expect: 100-continue, 100-continue\r\nContent-Length: 5", "1.1", Some(true)),
        ("Expect: 100-continue\r\nContent-Length: 0", "1.1", Some(false)),
        ("Expect: 100-continue", "1.1", Some(false)),
        ("Expect: 100-continue\r\nContent-Length: 5", "1.0", Some(false)),
        ("Expect:\r\nContent-Length: 5", "1.1", Some(false)),
        ("Expect: 200-ok\r\nContent-Length: 5", "1.1", None),
        ("Expect: 100-continue, x\r\nContent-Length: 5", "1.1", None),
        ("Expect: x\r\nExpect: 100-continue\r\nContent-Length: 5", "1.1", None),
        ("Expect: 100-continue=1", "1.1", None),
    ] {
        let wire = format!("POST / HTTP/{version}\r\nHost: h\r\n{fields}\r\n\r\n");
        match expected {
            Some(expected) => with_head(&wire, |head| assert_eq!(head.expect_continue, expected, "{wire:?}")),
            None => assert_eq!(refusal(wire.as_bytes()), Some(HeadError::Expectation), "{wire:?}"),
        }
    }
    assert_eq!(HeadError::Expectation.status(), 417);
}

#[test]
fn connections_persist_as_rfc_9112_section_9_3_says() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: x-a\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: ,, keep-alive ,\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ] {
        let wire = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
        with_head(&wire, |head| assert_eq!(head.keep_alive, keep_alive, "{wire:?}"));
    }
    with_head("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", |head| {
        assert!(head.connection.upgrade && head.keep_alive);
    });
}

#[test]
fn only_end_to_end_fields_are_forwarded() {
    let wire = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, x-hop, X-Other-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n\
                X-Kept:  2 \r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\
                Proxy-Authorization: x\r\nProxy-Connection: x\r\nx-other-hop: 3\r\nX-HOP: 4\r\nCookie: c\r\n\
                Authorization: a\r\n\r\n";
    with_head(wire, |head| {
        let names: Vec<_> = head.fields.end_to_end().map(|field| field.name()).collect();
        assert_eq!(names, ["Host", "X-Kept", "Cookie", "Authorization"]);
        assert_eq!(head.fields.iter().count(), 15);

        let mut out = Vec::new();
        crate::http1::writer::parsed_fields(&mut out, &head.fields, |field| {
            field.known() != KnownField::Host
        });
        assert_eq!(out, b"X-Kept:  2 \r\nCookie: c\r\nAuthorization: a\r\n");
    });
}

#[test]
fn a_missing_host_is_forgiven_in_http_1_0_only() {
    with_head("GET /health HTTP/1.0\r\n\r\n", |head| assert_eq!(head.host, ""));
    with_head("GET http://h/health HTTP/1.0\r\n\r\n", |head| assert_eq!(head.host, "h"));
    assert_eq!(refusal(b"GET / HTTP/1.1\r\n\r\n"), Some(HeadError::HostMissing));
    assert_eq!(refusal(b"GET http://h/ HTTP/1.1\r\n\r\n"), Some(HeadError::HostMissing));
    assert_eq!(refusal(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), Some(HeadError::Host));
}

#[test]
fn a_few_empty_lines_are_skipped_and_no_more() {
    let rest = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for lines in 0..=LEADING_EMPTY_LINES_MAX {
        let wire = format!("{}{rest}", "\r\n".repeat(lines));
        with_head(&wire, |head| assert_eq!(head.head_bytes, wire.len()));
    }
    let wire = "\r\n".repeat(LEADING_EMPTY_LINES_MAX + 1);
    assert_eq!(refusal(wire.as_bytes()), Some(HeadError::LeadingEmptyLines), "without waiting for more");
    assert_eq!(refusal(format!("\n{rest}").as_bytes()), Some(HeadError::BareLf));
    assert_eq!(refusal(format!("\r{rest}").as_bytes()), Some(HeadError::BareCr));
}

#[test]
fn bounds_are_exact_and_hold_before_the_head_ends() {
    let head = |target: usize, value: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(target - 1), "v".repeat(value))
    };
    let around = head(1, 0).len();

    let longest = head(1, REQUEST_HEAD_BYTES_MAX - around);
    with_head(&longest, |head| assert_eq!(head.head_bytes, REQUEST_HEAD_BYTES_MAX));
    let too_long = head(1, REQUEST_HEAD_BYTES_MAX - around + 1);
    assert_eq!(refusal(too_long.as_bytes()), Some(HeadError::HeadTooLong));
    assert_eq!(refusal(&too_long.as_bytes()[..REQUEST_HEAD_BYTES_MAX]), Some(HeadError::HeadTooLong));
    assert_eq!(refusal(&too_long.as_bytes()[..REQUEST_HEAD_BYTES_MAX - 1]), None);
    assert_eq!(HeadError::HeadTooLong.status(), 431);

    with_head(&head(TARGET_BYTES_MAX, 0), |head| assert_eq!(head.path.len(), TARGET_BYTES_MAX));
    let too_long = head(TARGET_BYTES_MAX + 1, 0);
    assert_eq!(refusal(too_long.as_bytes()), Some(HeadError::TargetTooLong));
    let open = format!("GET /{}", "a".repeat(TARGET_BYTES_MAX));
    assert_eq!(refusal(open.as_bytes()), Some(HeadError::TargetTooLong), "without waiting for its end");
    assert_eq!(refusal(head(80 * KIB, 0).as_bytes()), Some(HeadError::TargetTooLong));
    assert_eq!(HeadError::TargetTooLong.status(), 414);

    let method = "M".repeat(METHOD_BYTES_MAX);
    with_head(&format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"), |head| {
        assert_eq!(head.method.as_str(), method)
    });
    assert_eq!(refusal(format!("{method}M").as_bytes()), Some(HeadError::MethodTooLong));
    assert_eq!(HeadError::MethodTooLong.status(), 501);

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    with_head(&fields(REQUEST_FIELDS_MAX), |head| assert_eq!(head.fields.len(), REQUEST_FIELDS_MAX));
    assert_eq!(refusal(fields(REQUEST_FIELDS_MAX + 1).as_bytes()), Some(HeadError::TooManyFields));
    assert_eq!(HeadError::TooManyFields.status(), 431);

    let options =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {}\r\n\r\n", "a,".repeat(count));
    with_head(&options(CONNECTION_OPTIONS_MAX), |head| assert!(head.keep_alive));
    assert_eq!(
        refusal(options(CONNECTION_OPTIONS_MAX + 1).as_bytes()),
        Some(HeadError::TooManyConnectionOptions)
    );
}

#[test]
fn a_head_cut_anywhere_is_unfinished_until_its_last_byte() {
    let mut slots = RequestSlots::new();
    for cut in 0..OPENAI_SDK.len() {
        let head = parse_request(&OPENAI_SDK.as_bytes()[..cut], &mut slots);
        assert!(matches!(head, Ok(None)), "cut at byte {cut}: {head:?}");
    }
}

#[test]
fn a_dribbled_head_costs_few_attempts() {
    let wire = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "v".repeat(60 * KIB));
    let (mut progress, mut attempts) = (HeadProgress::default(), 0);
    for fed in 1..=wire.len() {
        if progress.worth_parsing(&wire.as_bytes()[..fed]) {
            attempts += 1;
            let whole = parse_request(&wire.as_bytes()[..fed], &mut RequestSlots::new()).unwrap().is_some();
            assert_eq!(whole, fed == wire.len());
        }
    }
    assert!(attempts <= 20, "{attempts} attempts");
}

#[test]
fn pipelined_requests_are_read_one_by_one() {
    let wire = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c";
    let (mut at, mut paths) = (0, vec![]);
    loop {
        let mut slots = RequestSlots::new();
        let Some(head) = parse_request(&wire.as_bytes()[at..], &mut slots).unwrap() else { break };
        paths.push(head.path);
        at += head.head_bytes;
    }
    assert_eq!((paths, &wire[at..]), (vec!["/a", "/b"], "GET /c"));
}
