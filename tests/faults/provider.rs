//! Providers that fail before or within an answer that is no stream.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::upstream::{Connection, behaviour};
use crate::support::{Gateway, MockUpstream, Response, Setup, on_each_driver, post};

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];

fn body(stream: bool) -> Value {
    json!({"model": "x", "stream": stream, "max_tokens": 5, "messages": []})
}

fn expect_error(answer: Response, status: u16, code: &str, path: &str) {
    let answer = answer.expect(status);
    let kind = if path == "/v1/messages" { "api_error" } else { code };
    assert_eq!(
        (&answer.json()["error"]["type"], &answer.json()["error"]["code"]),
        (&json!(kind), &json!(code))
    );
    assert!(!answer.text().contains("127.0.0.1"), "an address of the provider: {}", answer.text());
}

#[test]
fn a_provider_that_is_not_there_is_502() {
    on_each_driver(|driver| {
        // A port that was free a moment ago; whoever may have taken it since speaks no HTTP to us.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let gateway = Setup::new().upstream_models(&format!("http://{address}/v1")).driver(driver).start();
        let mut client = gateway.client();
        for path in PATHS.into_iter().chain(["/v1/embeddings", "/v1/unknown"]) {
            let answer = client.call(post(path, "", &body(path == PATHS[0])));
            expect_error(answer, 502, "upstream_error", path);
        }
        let unknown = Setup::new().upstream_models("http://no-such-host.invalid/v1").driver(driver).start();
        expect_error(unknown.call(post(PATHS[0], "", &body(false))), 502, "upstream_error", PATHS[0]);
    });
}

/// What a provider sends before it closes, none of it an answer.
const GARBLED: &[&str] = &[
    "",
    "H",
    "HTTP/1.1",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
    "garbage\r\n\r\n",
    "SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 999 OK\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    // Bodies of answers that are read whole before they are passed on.
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"id\":",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
];

#[test]
fn an_answer_that_is_none_is_502_and_never_half_an_answer() {
    on_each_driver(|driver| {
        for garbled in GARBLED {
            let upstream = MockUpstream::with(behaviour::answers_and_closes(*garbled));
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let mut client = gateway.client();
            for (index, path) in PATHS.into_iter().enumerate() {
                let answer = client.call(post(path, "", &body(index == 0)));
                expect_error(answer, 502, "upstream_error", path);
            }
            for record in gateway.usage_records(3) {
                assert_eq!(
                    (&record["outcome"], &record["cost"]),
                    (&json!("error"), &json!(0)),
                    "{garbled:?}"
                );
                assert_eq!((&record["httpStatus"], &record["endedBy"]), (&json!(502), &json!("provider")));
                assert!(!record["errorMessage"].as_str().unwrap().is_empty());
            }
            // A provider that hangs up at once is not asked again for a request it may have begun to work on.
            assert_eq!(upstream.accepted(), 3, "{garbled:?}");
        }
    });
}

#[test]
fn a_provider_that_resets_is_502() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for sent in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        ] {
            let mut client = gateway.client();
            client.send(post(PATHS[0], "", &body(false)));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.send(sent);
            provider.reset();
            expect_error(client.read_response(), 502, "upstream_error", PATHS[0]);
        }
    });
}

#[test]
fn a_body_cut_short_after_its_head_was_passed_on_ends_visibly_too_early() {
    on_each_driver(|driver| {
        for (kind, framing, rest) in [
            ("audio/mpeg", "Content-Length: 50\r\n\r\nfirst", ""),
            ("audio/mpeg", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", ""),
            ("audio/mpeg", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", "xyz\r\n"),
        ] {
            let upstream = MockUpstream::manual();
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let mut client = gateway.client();
            client.send(post(PATHS[0], "", &body(false)));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}"));
            client.read_until("first");
            provider.send(rest);
            drop(provider);
            let (rest, _) = client.wire.take_to_end();
            assert!(rest.is_empty() || rest == b"\r\n", "no last chunk: {rest:?}");
            let record = &gateway.usage_records(1)[0];
            assert_eq!((&record["outcome"], &record["endedBy"]), (&json!("error"), &json!("provider")));
        }
    });
}

#[test]
fn a_provider_that_does_not_begin_to_answer_is_504() {
    on_each_driver(|driver| {
        let begun = [
            "",
            "HTTP/1.1 200 OK\r\nContent-Ty",
            // An interim answer is no answer.
            "HTTP/1.1 103 Early Hints\r\n\r\n",
        ];
        for begun in begun {
            let upstream = MockUpstream::with(behaviour::stalls_after(begun));
            for setup in [
                Setup::with_upstream(&upstream).setting("defaultTimeoutMs", 100),
                Setup::with_upstream(&upstream).project("timeoutMs", 100),
                Setup::with_upstream(&upstream)
                    .every_model("timeout", 100.into())
                    .setting("defaultTimeoutMs", 60_000),
                Setup::with_upstream(&upstream).setting("upstream.firstByteTimeoutMs", 100),
            ] {
                let gateway = setup.driver(driver).start();
                for path in [PATHS[0], PATHS[2], "/v1/embeddings"] {
                    expect_error(gateway.call(post(path, "", &body(false))), 504, "timeout", path);
                    upstream.next_ending();
                }
                for record in gateway.usage_records(3) {
                    assert_eq!((&record["outcome"], &record["httpStatus"]), (&json!("timeout"), &json!(504)));
                }
            }
        }
    });
}

#[test]
fn a_body_that_stalls_is_504_while_nothing_was_passed_on() {
    on_each_driver(|driver| {
        let begun = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"id\":";
        let upstream = MockUpstream::with(behaviour::stalls_after(begun));
        for key in ["upstream.streamIdleTimeoutMs", "upstream.totalTimeoutMs"] {
            let gateway = Setup::with_upstream(&upstream).setting(key, 100).driver(driver).start();
            expect_error(gateway.call(post(PATHS[0], "", &body(false))), 504, "timeout", PATHS[0]);
            upstream.next_ending();
            assert_eq!(gateway.usage_records(1)[0]["outcome"], "timeout", "{key}");
        }
    });
}

#[test]
fn no_attempt_begins_when_the_time_of_the_whole_request_is_over() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::never_answers);
        let model = |number: usize| {
            json!({"id": format!("up/{number}"), "provider": "custom", "dialect": "openai-chat", "apiKey": "k",
                "endpoint": upstream.url()})
        };
        let setup = Setup::new().setting("upstream.totalTimeoutMs", 250).setting("defaultTimeoutMs", 100);
        let gateway = (0..40).map(model).fold(setup, Setup::model).driver(driver).start();
        let answer = gateway.call(post(PATHS[0], "", &body(false)));
        assert!(answer.text().contains("250 ms of the whole request"), "{}", answer.text());
        expect_error(answer, 504, "timeout", PATHS[0]);
        // Each attempt has 100 ms or what is left of 250.
        assert!((1..=3).contains(&upstream.accepted()), "{} attempts", upstream.accepted());
        let line = gateway.wait_for_line("\"request\"; \"status\":504");
        assert!(line.contains(&format!("\"attempts\":{}", upstream.accepted())), "{line}");
    });
}

fn exchange(gateway: &Gateway, provider: &mut Connection) {
    let mut client = gateway.client();
    client.send(post(PATHS[0], "", &body(false)));
    provider.read_request();
    provider.answer(200, behaviour::CHAT);
    client.read_response().expect(200);
}

#[test]
fn a_pooled_connection_that_died_costs_the_client_nothing() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        // Closed while it was idle, in order or with a reset: the next request takes a new one.
        for with_reset in [false, true] {
            let mut client = gateway.client();
            client.send(post(PATHS[0], "", &body(false)));
            let mut first = upstream.accept();
            first.read_request();
            first.answer(200, behaviour::CHAT);
            client.read_response().expect(200);
            if with_reset {
                first.reset()
            } else {
                drop(first)
            }
            client.send(post(PATHS[0], "", &body(false)));
            let mut second = upstream.accept();
            second.read_request();
            second.answer(200, behaviour::CHAT);
            client.read_response().expect(200);
            drop(second);
        }
        // Closed with the request on its way: tried once more on a fresh connection, and then no more.
        let mut client = gateway.client();
        client.send(post(PATHS[0], "", &body(false)));
        let mut first = upstream.accept();
        first.read_request();
        first.answer(200, behaviour::CHAT);
        client.read_response().expect(200);
        client.send(post(PATHS[0], "", &body(false)));
        first.read_request();
        drop(first);
        let mut second = upstream.accept();
        second.read_request();
        second.answer(200, behaviour::CHAT);
        client.read_response().expect(200);
        exchange(&gateway, &mut second);
        client.send(post(PATHS[0], "", &body(false)));
        second.read_request();
        drop(second);
        let mut third = upstream.accept();
        third.read_request();
        drop(third);
        expect_error(client.read_response(), 502, "upstream_error", PATHS[0]);
        assert_eq!(upstream.accepted(), 7);
        // A free retry is no attempt of its own: one record for each request.
        let records = gateway.usage_records(8);
        assert_eq!(records.len(), 8);
        assert!(records.iter().all(|record| record["attempt"] == 1));
    });
}

#[test]
fn bytes_behind_an_answer_are_not_taken_for_the_next_one() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let poison = behaviour::json_answer(200, "{\"poison\":true}");
        for together in [true, false] {
            let mut client = gateway.client();
            client.send(post(PATHS[0], "", &body(false)));
            let mut provider = upstream.accept();
            provider.read_request();
            let answer = behaviour::json_answer(200, behaviour::CHAT);
            if together {
                provider.send(answer + &poison);
                client.read_response().expect(200);
            } else {
                provider.send(answer);
                client.read_response().expect(200);
                provider.send(&poison);
            }
            provider.expect_closed();
            client.send(post(PATHS[0], "", &body(false)));
            let mut fresh = upstream.accept();
            fresh.read_request();
            fresh.answer(200, behaviour::CHAT);
            assert_eq!(client.read_response().expect(200).text(), behaviour::CHAT);
            drop(fresh);
        }
    });
}
