//! Which connections stay open, and how requests follow each other on one.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{Setup, TOKEN, on_each_driver, post};

fn chat(text: &str) -> Vec<u8> {
    post(
        "/v1/chat/completions",
        "",
        &json!({"model": "auto", "messages": [{"role": "user", "content": text}]}),
    )
}

#[test]
fn a_connection_serves_many_requests_of_all_kinds() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        let mut client = gateway.client();
        for round in 0..5 {
            let answer = client.call(chat(&format!("round {round}"))).expect(200);
            assert_eq!(answer.field("connection"), None);
            assert_eq!(answer.json()["object"], "chat.completion");
            client.get("/health").expect(200);
            client.get("/v1/models").expect(200);
            client.get("/v1/models/none").expect(404);
            client.call("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n").expect(200);
        }
        gateway.usage_records(5);
    });
}

#[test]
fn heads_that_come_again_are_told_apart_by_length_and_token() {
    let other = format!("sk-rt-{}", "4".repeat(64));
    on_each_driver(|driver| {
        let token = json!({"id": "other", "token": other, "tokenSnippet": "sk-rt-4444"});
        let gateway = Setup::demo().token(token).driver(driver).start();
        let mut client = gateway.client();
        let (mut ids, mut expected) = (HashSet::new(), vec![]);
        for (round, length) in [1, 1, 9, 10, 500, 90_000, 2, 2].into_iter().enumerate() {
            for (id, token) in [("demo-token", TOKEN), ("other", &other)] {
                // Now in turns, now several times the same.
                for _ in 0..=round % 3 {
                    let request = chat(&"x".repeat(length));
                    let at =
                        request.windows(TOKEN.len()).position(|window| window == TOKEN.as_bytes()).unwrap();
                    let request = [&request[..at], token.as_bytes(), &request[at + TOKEN.len()..]].concat();
                    let answer = client.call(request).expect(200);
                    assert!(ids.insert(answer.field("x-routerly-trace-id").unwrap().to_owned()));
                    expected.push(id);
                }
            }
        }
        let records = gateway.usage_records(expected.len());
        let tokens: Vec<_> = records.iter().map(|record| record["tokenId"].as_str().unwrap()).collect();
        assert_eq!(tokens, expected);
        let traces: HashSet<_> =
            records.iter().map(|record| record["traceId"].as_str().unwrap().to_owned()).collect();
        assert_eq!(traces, ids);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        let get = |path: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\r\n").into_bytes()
        };
        let streamed = post(
            "/v1/chat/completions",
            "",
            &json!({"model": "auto", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}),
        );
        let all = [
            get("/health"),
            chat("one"),
            get("/v1/models/nobody"),
            streamed.clone(),
            chat("two"),
            get("/v1/models"),
        ]
        .concat();
        // All at once, and in pieces that end anywhere.
        for piece in [all.len(), 1_000, 97, 7] {
            let mut client = gateway.client();
            for part in all.chunks(piece) {
                client.send(part);
            }
            assert_eq!(client.read_response().expect(200).json()["status"], "ok");
            assert_eq!(client.read_response().expect(200).json()["object"], "chat.completion");
            assert_eq!(client.read_response().expect(404).json()["error"]["code"], "not_found");
            assert_eq!(client.read_response().expect(200).events().last().unwrap(), "[DONE]");
            assert_eq!(client.read_response().expect(200).json()["object"], "chat.completion");
            assert_eq!(client.read_response().expect(200).json()["object"], "list");
        }
    });
}

#[test]
fn chunked_requests_are_read_however_they_are_cut() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let in_chunks_of = |size: usize, extension: &str, trailers: &str| {
            let chunk =
                |data: &[u8]| [format!("{:X}{extension}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
            let chunks: Vec<u8> = body.as_bytes().chunks(size).flat_map(chunk).collect();
            [head.as_bytes(), &chunks, format!("0\r\n{trailers}\r\n").as_bytes()].concat()
        };
        let mut client = gateway.client();
        for request in [
            in_chunks_of(1, "", ""),
            in_chunks_of(10, ";name=value", ""),
            in_chunks_of(1_000, "", "Digest: x\r\nX: y\r\n"),
        ] {
            // On one connection: each request ends where the next begins.
            for piece in [request.len(), 11, 1] {
                for part in request.chunks(piece) {
                    client.send(part);
                }
                client.read_response().expect(200);
            }
        }
    });
}

#[test]
fn who_closes_is_what_version_and_connection_field_say() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        // Version, Connection field, expected Connection field of the answer, whether it stays open.
        for (version, connection, expected, stays) in [
            ("1.1", "", None, true),
            ("1.1", "Connection: keep-alive\r\n", None, true),
            ("1.1", "Connection: close\r\n", Some("close"), false),
            ("1.1", "Connection: x, CLOSE\r\n", Some("close"), false),
            ("1.0", "", Some("close"), false),
            ("1.0", "Connection: keep-alive\r\n", Some("keep-alive"), true),
            ("1.0", "Connection: Keep-Alive, close\r\n", Some("close"), false),
        ] {
            let mut client = gateway.client();
            let request = format!("GET /health HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
            let answer = client.call(&request).expect(200);
            assert_eq!(answer.field("connection"), expected, "{version} {connection:?}");
            assert!(answer.head.start_line.starts_with("HTTP/1.1 "), "RFC 9110 §2.5");
            if stays {
                client.call(&request).expect(200);
            } else {
                client.expect_closed();
            }
        }
    });
}

#[test]
fn a_client_of_http_1_0_gets_a_stream_until_close_and_a_body_with_length() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).start();
        for (stream, fields) in [(true, ""), (true, "Connection: keep-alive\r\n"), (false, "")] {
            let body =
                json!({"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
            let request = String::from_utf8(post("/v1/chat/completions", fields, &body)).unwrap();
            let mut client = gateway.client();
            let answer = client.call(request.replace("HTTP/1.1", "HTTP/1.0")).expect(200);
            assert_eq!(answer.field("transfer-encoding"), None);
            assert_eq!(answer.field("connection"), Some("close"));
            if stream {
                assert_eq!(answer.events().last().unwrap(), "[DONE]");
            } else {
                assert_eq!(answer.json()["object"], "chat.completion");
            }
        }
    });
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on_or_refused_at_once() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().driver(driver).setting("server.bodyBytesMax", 2_000).start();
        let whole = chat("Hello!");
        let at = memchr::memmem::find(&whole, b"\r\n\r\n").unwrap() + 2;
        let (head, body) = (&whole[..at], &whole[at + 2..]);
        let head = [head, b"Expect: 100-continue\r\n\r\n"].concat();
        let mut client = gateway.client();
        client.send(&head);
        let interim = client.read_head();
        assert_eq!((interim.status(), interim.fields.len()), (100, 0));
        client.send(body);
        client.read_response().expect(200);
        // A client that did not wait gets no interim answer.
        client.send([&head, body].concat());
        assert_eq!(client.read_response().status, 200);

        for (old, new, status) in [(TOKEN, "wrong", 401), ("Content-Length: ", "Content-Length: 99", 413)] {
            let mut client = gateway.client();
            client.send(String::from_utf8(head.clone()).unwrap().replace(old, new));
            client.read_response().expect(status);
            client.expect_closed();
        }
    });
}
