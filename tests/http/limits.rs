//! Sizes and times: what a client may send and how long it may take. Times are set small; a test waits for the
//! gateway to act, never for a time to pass.

use serde_json::json;

use crate::support::{Setup, TOKEN, eventually, on_each_driver, post};

#[test]
fn heads_targets_and_bodies_beyond_their_bounds_are_refused() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).setting("server.bodyBytesMax", 10_000).start();
        let fields = |count: usize| "X: y\r\n".repeat(count);
        let auth = format!("Authorization: Bearer {TOKEN}\r\n");
        let cases = [
            (format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(17_000)), 414),
            (format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(70_000)), 431),
            (format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(101)), 431),
            (format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(12_000)), 431),
            (format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "A".repeat(40)), 501),
            (format!("POST /v1/responses HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: 10001\r\n\r\n"), 413),
            (
                format!(
                    "POST /v1/responses HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: {}\r\n\r\n",
                    u64::MAX
                ),
                413,
            ),
            (
                format!(
                    "POST /v1/messages HTTP/1.1\r\nHost: h\r\n{auth}Transfer-Encoding: chunked\r\n\r\n\
                     2711\r\n{}\r\n0\r\n\r\n",
                    "a".repeat(0x2711)
                ),
                413,
            ),
        ];
        for (request, status) in cases {
            let mut client = gateway.client();
            // The gateway may have answered and closed before it has all.
            client.wire.try_send(&request);
            let answer = client.read_response();
            assert_eq!(answer.status, status, "{:.100}", request);
            assert_eq!(answer.field("connection"), Some("close"));
            client.expect_closed();
        }
        // Just within the bounds.
        let mut client = gateway.client();
        client.call(format!("GET /health?{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(16_000))).expect(200);
        client.call(format!("GET /health HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(99))).expect(200);
        client
            .call(format!("GET /health HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(60_000)))
            .expect(200);
        let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": ""}]});
        let padding = "x".repeat(10_000 - body.to_string().len());
        body["messages"][0]["content"] = padding.into();
        client.call(post("/v1/chat/completions", "", &body)).expect(200);
    });
}

#[test]
fn a_slow_head_gets_408() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).setting("server.headTimeoutMs", 100).start();
        let mut first = gateway.client();
        first.send("GET /health HT");
        let mut later = gateway.client();
        later.get("/health").expect(200);
        later.send("G");
        for client in [&mut first, &mut later] {
            let answer = client.read_response().expect(408);
            assert_eq!(answer.json()["error"]["code"], "request_timeout");
            client.expect_closed();
        }
    });
}

#[test]
fn a_head_that_trickles_in_gets_408_as_well() {
    let gateway = Setup::demo().setting("server.headTimeoutMs", 300).start();
    let mut client = gateway.client();
    client.send("GET /health HTTP/1.1\r\nHost: h\r\n");
    let answer = eventually("an answer in spite of a byte now and then", || {
        client.wire.try_send("X: y\r\n");
        client.wire.stream().set_nonblocking(true).unwrap();
        let mut seen = [0; 16];
        let there = client.wire.stream().peek(&mut seen);
        client.wire.stream().set_nonblocking(false).unwrap();
        there.is_ok_and(|count| count > 0).then(|| client.read_response())
    });
    // Either bound may be met first: the time, or the number of fields.
    assert!([408, 431].contains(&answer.status), "{}", answer.status);
}

#[test]
fn a_slow_body_gets_408() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).setting("server.bodyTimeoutMs", 100).start();
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n");
        for rest in [
            "Content-Length: 100\r\n\r\n",
            "Content-Length: 100\r\n\r\n{\"model\":",
            "Transfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
            "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        ] {
            let mut client = gateway.client();
            client.send(format!("{head}{rest}"));
            let mut answer = client.read_response();
            if answer.status == 100 {
                answer = client.read_response();
            }
            assert_eq!(answer.expect(408).json()["error"]["code"], "request_timeout", "{rest:?}");
            client.expect_closed();
        }
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).setting("server.keepAliveTimeoutMs", 100).start();
        let mut unused = gateway.client();
        let mut used = gateway.client();
        used.get("/health").expect(200);
        unused.expect_closed();
        used.expect_closed();
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).setting("server.connectionsPerCore", 4).start();
        let health = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut open: Vec<_> = (0..4).map(|_| gateway.client()).collect();
        open.iter_mut().for_each(|client| drop(client.call(health).expect(200)));
        let mut waiting: Vec<_> = (0..3).map(|_| gateway.client()).collect();
        waiting.iter_mut().for_each(|client| client.send(health));
        // The ones inside go on being served meanwhile.
        for _ in 0..3 {
            open.iter_mut().for_each(|client| drop(client.call(health).expect(200)));
        }
        for client in &waiting {
            client.wire.stream().set_nonblocking(true).unwrap();
            assert!(client.wire.stream().peek(&mut [0; 1]).is_err(), "answered beyond the limit");
            client.wire.stream().set_nonblocking(false).unwrap();
        }
        for mut client in waiting {
            open.pop();
            client.read_response().expect(200);
        }
    });
}
