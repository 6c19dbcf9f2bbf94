//! Answers of a provider, in every framing that HTTP/1.1 has, and its statuses.

use serde_json::{Value, json};

use crate::support::upstream::behaviour::{self, CHAT, json_answer};
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, post};

fn chat() -> Vec<u8> {
    post("/v1/chat/completions", "", &json!({"model": "x", "messages": []}))
}

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

fn chunked(size: usize, extension: &str, trailers: &str) -> String {
    let chunks: String = CHAT
        .as_bytes()
        .chunks(size)
        .map(|data| format!("{:x}{extension}\r\n{}\r\n", data.len(), std::str::from_utf8(data).unwrap()))
        .collect();
    format!("{JSON}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n")
}

#[test]
fn every_framing_brings_the_same_body() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let framings = [
        format!("{JSON}Content-Length: {}\r\n\r\n{CHAT}", CHAT.len()),
        chunked(CHAT.len(), "", ""),
        chunked(1, "", ""),
        chunked(7, ";name=value", "Digest: x\r\nServer-Timing: y\r\n"),
        format!("{early}HTTP/1.1 100 Continue\r\n\r\n{}", json_answer(200, CHAT)),
        format!("{early}{early}{}", chunked(100, "", "")),
        format!("{JSON}\r\n{CHAT}"),
        format!("{JSON}Connection: close\r\n\r\n{CHAT}"),
        format!("{JSON}Connection: close\r\nContent-Length: {}\r\n\r\n{CHAT}", CHAT.len()),
        format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{CHAT}"),
    ];
    on_each_driver(|driver| {
        for (index, framing) in framings.iter().enumerate() {
            for piece in [framing.len(), 5, 1] {
                let bytes = framing.clone().into_bytes();
                let upstream = MockUpstream::with(move |connection| {
                    connection.read_request();
                    bytes.chunks(piece).for_each(|part| connection.send(part));
                    if index < 6 {
                        // The body delimits itself: the connection may stay open.
                        connection.next_request();
                    }
                });
                let gateway = Setup::with_upstream(&upstream).driver(driver).start();
                let answer = gateway.call(chat()).expect(200);
                assert_eq!(answer.text(), CHAT, "{framing}");
                if framing.contains("Content-Length") {
                    assert_eq!(answer.head.length(), Some(CHAT.len()), "{framing}");
                }
                assert_eq!(gateway.usage_records(1)[0]["outputTokens"], 7, "{framing}");
            }
        }
    });
}

#[test]
fn a_providers_status_and_body_reach_the_client_unchanged() {
    let error = r#"{"error":{"message":"Rate limit reached for chat","type":"requests","code":"rate_limit_exceeded"}}"#;
    on_each_driver(|driver| {
        for status in [200, 201, 400, 404, 409, 413, 422, 429, 500, 503, 529] {
            let body = if status < 400 { CHAT } else { error };
            let answer = json_answer(status, body).replace("\r\n\r\n", "\r\nRetry-After: 3\r\n\r\n");
            let upstream = MockUpstream::with(behaviour::answers(answer));
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let answer = gateway.call(chat()).expect(status);
            assert_eq!((answer.text(), answer.field("retry-after")), (body, Some("3")));
            assert_eq!(answer.field("x-routerly-model"), Some("up/chat"));
            let record = &gateway.usage_records(1)[0];
            assert_eq!(record["httpStatus"], status);
            let outcome = if status < 400 { "success" } else { "error" };
            assert_eq!(record["outcome"], outcome, "{status}");
        }
    });
}

#[test]
fn a_refusal_of_the_gateways_own_key_becomes_502() {
    let secret_text = r#"{"error":{"message":"Incorrect API key provided: provider-key"}}"#;
    on_each_driver(|driver| {
        for status in [401, 403] {
            let upstream = MockUpstream::with(behaviour::answers(json_answer(status, secret_text)));
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            for path in ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"] {
                let body = json!({"model": "x", "messages": []});
                let answer = gateway.call(post(path, "", &body)).expect(502);
                assert_eq!(answer.json()["error"]["code"], "upstream_auth", "{path}");
                assert!(!answer.text().contains("provider-key"), "{path}");
                assert_eq!(answer.field("www-authenticate"), None);
            }
            for record in gateway.usage_records(3) {
                // The provider's own word, so that it can be told from other failures.
                assert_eq!((&record["outcome"], &record["httpStatus"]), (&json!("error"), &json!(status)));
            }
        }
    });
}

#[test]
fn answers_without_body_end_at_their_head() {
    on_each_driver(|driver| {
        // 204 and 304 have no body whatever their fields say (RFC 9112 §6.3); the connection stays in step.
        for (answer, status) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", 204),
            ("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204),
            ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n", 304),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
        ] {
            let upstream = MockUpstream::with(behaviour::answers(answer));
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let mut client = gateway.client();
            let get = format!("GET /v1/files/f HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\n\r\n");
            let delete = get.replace("GET", "DELETE");
            for request in [&get, &delete, &get] {
                let answer = client.call(request).expect(status);
                assert!(answer.body.is_empty());
                if status == 204 {
                    assert_eq!((answer.head.length(), answer.head.is_chunked()), (None, false));
                }
            }
            assert_eq!(upstream.accepted(), 1, "{answer:?}");
        }
    });
}

#[test]
fn head_is_passed_on_and_answered_without_body() {
    on_each_driver(|driver| {
        for (fields, length) in
            [("Content-Length: 1234\r\n", Some(1234)), ("Transfer-Encoding: chunked\r\n", None), ("", None)]
        {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n");
            let upstream = MockUpstream::with(behaviour::answers(answer));
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let mut client = gateway.client();
            for _ in 0..3 {
                let request = format!("HEAD /v1/files/f HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\n\r\n");
                let answer = client.call(request).expect(200);
                assert_eq!(answer.head.length(), length, "{fields:?}");
                assert_eq!(upstream.next_request().1.head.request_line(), ("HEAD", "/v1/files/f"));
            }
            assert_eq!(upstream.accepted(), 1, "{fields:?}");
        }
    });
}

#[test]
fn an_answer_of_five_megabytes_arrives_whole_in_every_framing() {
    let text = "0123456789abcdef".repeat(5_000_000 / 16);
    let mut body: Value = serde_json::from_str(CHAT).unwrap();
    body["choices"][0]["message"]["content"] = text.into();
    let body = body.to_string();
    on_each_driver(|driver| {
        for framing in ["length", "chunked", "close"] {
            let sent = body.clone();
            let upstream = MockUpstream::with(move |connection| {
                connection.read_request();
                match framing {
                    "length" => connection.answer(200, &sent),
                    "chunked" => {
                        connection.send(format!("{JSON}Transfer-Encoding: chunked\r\n\r\n"));
                        sent.as_bytes().chunks(100_003).for_each(|part| connection.send_chunk(part));
                        connection.end_chunks();
                    }
                    _ => {
                        connection.send(format!("{JSON}\r\n"));
                        connection.send(&sent);
                    }
                }
            });
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let answer = gateway.call(chat()).expect(200);
            assert!(answer.body == body.as_bytes(), "{framing}: {} bytes", answer.body.len());
            assert_eq!(gateway.usage_records(1)[0]["outputTokens"], 7, "{framing}");
        }
    });
}

#[test]
fn a_connection_to_the_provider_is_reused_as_long_as_both_sides_want() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for _ in 0..3 {
            let mut client = gateway.client();
            for _ in 0..4 {
                client.call(chat()).expect(200);
            }
        }
        assert_eq!(upstream.accepted(), 1);
        let closing = json_answer(200, CHAT).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let upstream = MockUpstream::with(behaviour::answers(closing));
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        for _ in 0..3 {
            client.call(chat()).expect(200);
        }
        assert_eq!(upstream.accepted(), 3);
        for _ in 0..3 {
            upstream.next_ending();
        }
    });
}

#[test]
fn requests_at_the_same_time_have_connections_of_their_own_and_share_them_later() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut clients: Vec<_> = (0..5).map(|_| gateway.client()).collect();
        clients.iter_mut().for_each(|client| client.send(chat()));
        let mut connections: Vec<_> = clients.iter().map(|_| upstream.accept()).collect();
        for connection in &mut connections {
            connection.read_request();
        }
        connections.iter_mut().for_each(|connection| connection.answer(200, CHAT));
        clients.iter_mut().for_each(|client| drop(client.read_response().expect(200)));
        // One after the other they use the one that was used last.
        let mut used = None;
        for _ in 0..3 {
            clients[0].send(chat());
            if used.is_none() {
                for connection in &connections {
                    connection.wire.stream().set_nonblocking(true).unwrap();
                }
                let found = crate::support::eventually("a request on one of them", || {
                    connections.iter().position(|one| one.wire.stream().peek(&mut [0; 1]).is_ok())
                });
                for connection in &connections {
                    connection.wire.stream().set_nonblocking(false).unwrap();
                }
                used = Some(found);
            }
            let connection = &mut connections[used.unwrap()];
            connection.read_request();
            connection.answer(200, CHAT);
            clients[0].read_response().expect(200);
        }
        assert_eq!(upstream.accepted(), 5);
    });
}
