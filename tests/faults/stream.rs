//! Streams that do not reach their end: the client is always told, in its dialect, and the books say how.

use serde_json::{Value, json};

use crate::support::upstream::Connection;
use crate::support::{Client, Gateway, MockUpstream, Setup, on_each_driver, post};

/// Path, body and first event of a stream of each dialect.
fn streams() -> [(&'static str, Value, &'static str); 3] {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    [
        (
            "/v1/chat/completions",
            json!({"model": "x", "stream": true, "messages": messages}),
            "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"begun\"}}]}\n\n",
        ),
        (
            "/v1/responses",
            json!({"model": "x", "stream": true, "input": "Hi"}),
            "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_begun\"}}\n\n",
        ),
        (
            "/v1/messages",
            json!({"model": "x", "stream": true, "max_tokens": 5, "messages": messages}),
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_begun\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
        ),
    ]
}

/// Begins a stream and brings its first event to the client.
fn begin(
    gateway: &Gateway,
    upstream: &MockUpstream,
    path: &str,
    body: &Value,
    event: &str,
) -> (Client, Connection) {
    let mut client = gateway.client();
    client.send(post(path, "", body));
    let mut provider = upstream.accept();
    provider.read_request();
    provider.begin_stream();
    provider.send_chunk(event);
    client.read_until("begun");
    (client, provider)
}

/// The rest of the stream must hold an error of the dialect as its last event, end in order and have no end mark.
fn expect_error_event(client: &mut Client, path: &str, code: &str) {
    let mut rest = Vec::new();
    // The chunk that `begin` stopped in.
    let tail = client.read_until("\n\n");
    assert!(!tail.is_empty());
    client.read_until("\r\n");
    while let Some(chunk) = client.read_chunk() {
        rest.extend(chunk);
    }
    let text = String::from_utf8(rest).unwrap();
    assert!(text.ends_with("\n\n") && !text.contains("[DONE]") && !text.contains("message_stop"), "{text:?}");
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let (name, data) = match last.split_once('\n') {
        Some((name, data)) => (name.strip_prefix("event: ").unwrap_or_else(|| panic!("{text:?}")), data),
        None => ("", last),
    };
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    match path {
        "/v1/chat/completions" => {
            assert_eq!((name, &data["error"]["code"]), ("", &json!(code)), "{text:?}");
        }
        "/v1/responses" => {
            assert_eq!((name, &data["response"]["error"]["code"]), ("response.failed", &json!(code)));
            assert_eq!(
                (&data["response"]["id"], &data["response"]["status"]),
                (&json!("resp_begun"), &json!("failed"))
            );
            assert!(text.starts_with("event: error\n") || text.contains("\n\nevent: error\n"), "{text:?}");
        }
        _ => assert_eq!((name, &data["error"]["type"]), ("error", &json!("api_error"))),
    }
    assert!(!text.contains("127.0.0.1"), "an address of the provider: {text}");
}

/// What a provider does after it has begun.
type Fault = (&'static str, fn(Connection));

const BROKEN: &[Fault] = &[
    ("closes without the last chunk", |provider| drop(provider)),
    ("resets", |provider| provider.reset()),
    ("ends in order without an end mark", |mut provider| provider.end_chunks()),
    ("sends no chunk", |mut provider| provider.send("xyz\r\n")),
    ("sends half an event and closes", |mut provider| provider.send_chunk("data: {\"cut")),
    ("sends half an event and ends in order", |mut provider| {
        provider.send_chunk("data: {\"cut");
        provider.end_chunks();
    }),
    ("sends a chunk cut off in its middle", |mut provider| provider.send("20\r\ndata: {\"cut")),
];

#[test]
fn a_stream_that_breaks_ends_with_an_error_event() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut count = 0;
        for (what, fault) in BROKEN {
            for (path, body, event) in streams() {
                eprintln!("{path}: a provider that {what}");
                let (mut client, provider) = begin(&gateway, &upstream, path, &body, event);
                fault(provider);
                expect_error_event(&mut client, path, "upstream_error");
                count += 1;
                let record = gateway.usage_records(count).pop().unwrap();
                assert_eq!(
                    (&record["outcome"], &record["endedBy"]),
                    (&json!("error"), &json!("provider")),
                    "{what}"
                );
                assert_eq!(record["httpStatus"], 200);
                assert!(!record["errorMessage"].as_str().unwrap().is_empty());
                assert!(record["inputTokens"].as_u64().unwrap() > 0, "what was sent is paid for: {record}");
            }
        }
    });
}

#[test]
fn a_stream_that_stalls_ends_with_an_error_event() {
    on_each_driver(|driver| {
        for key in ["upstream.streamIdleTimeoutMs", "upstream.totalTimeoutMs"] {
            let upstream = MockUpstream::manual();
            let gateway = Setup::with_upstream(&upstream).setting(key, 300).driver(driver).start();
            let mut count = 0;
            for (path, body, event) in streams() {
                let (mut client, mut provider) = begin(&gateway, &upstream, path, &body, event);
                expect_error_event(&mut client, path, "timeout");
                provider.expect_closed();
                count += 1;
                let record = gateway.usage_records(count).pop().unwrap();
                assert_eq!(
                    (&record["outcome"], &record["endedBy"]),
                    (&json!("timeout"), &json!("gateway")),
                    "{key}"
                );
            }
        }
    });
}

#[test]
fn the_first_byte_timeout_is_over_with_the_head() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).setting("defaultTimeoutMs", 200).driver(driver).start();
        let (path, body, event) = streams().into_iter().next().unwrap();
        let (mut client, mut provider) = begin(&gateway, &upstream, path, &body, event);
        // Somebody else's time passes meanwhile.
        let mut other = gateway.client();
        other.send(post(path, "", &body));
        let mut silent = upstream.accept();
        silent.read_request();
        other.read_response().expect(504);
        provider.send_chunk("data: [DONE]\n\n");
        provider.end_chunks();
        client.read_until("[DONE]");
        assert_eq!(gateway.usage_records(2)[1]["outcome"], "success");
    });
}

#[test]
fn an_error_event_of_the_provider_counts_as_error_and_is_the_last_one() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let errors = [
            "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"overloaded\"}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"overloaded\"}}\n\n",
        ];
        for ((index, (path, body, event)), error) in streams().into_iter().enumerate().zip(errors) {
            let (mut client, mut provider) = begin(&gateway, &upstream, path, &body, event);
            provider.send_chunk(error);
            provider.end_chunks();
            let rest = client.read_until("0\r\n\r\n");
            let text = String::from_utf8(rest).unwrap();
            assert_eq!(text.matches("overloaded\"").count(), error.matches("overloaded\"").count(), "{text}");
            assert!(text.contains(error), "{text}");
            assert!(!text.contains("upstream_error"), "told once: {text}");
            let record = gateway.usage_records(index + 1).pop().unwrap();
            assert_eq!(
                (&record["outcome"], &record["errorMessage"]),
                (&json!("error"), &json!("overloaded")),
                "{path}"
            );
        }
    });
}

#[test]
fn a_stream_that_ends_after_its_end_mark_is_a_success_however_it_ends() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let (path, body, event) = streams().into_iter().next().unwrap();
        for (index, ends_in_order) in [true, false].into_iter().enumerate() {
            let (mut client, mut provider) = begin(&gateway, &upstream, path, &body, event);
            provider.send_chunk("data: [DONE]\n\n");
            if ends_in_order {
                provider.end_chunks();
            } else {
                drop(provider);
            }
            let rest = String::from_utf8(client.read_until("0\r\n\r\n")).unwrap();
            assert!(rest.contains("[DONE]") && !rest.contains("error"), "{rest}");
            assert_eq!(gateway.usage_records(index + 1)[index]["outcome"], "success");
        }
    });
}
