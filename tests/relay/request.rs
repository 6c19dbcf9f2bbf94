//! The body of a request at the provider: byte for byte what the client sent, but for the model's name and one
//! option of chat streams.

use serde_json::json;

use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, post};

/// Path, body as the client writes it, body as the provider gets it.
const BODIES: &[(&str, &str, &str)] = &[
    // White space, order, escapes, numbers and duplicate keys elsewhere stay as they are.
    (
        "/v1/chat/completions",
        "{ \"messages\" : [ { \"role\":\"user\",\"content\":\"\\u00e9 \\/ \\ud83d\\ude00 é\" } ],\t\"model\"\n: \"auto\" , \"temperature\": 1.0e0,\"seed\": 12345678901234567890123,\"x\":{\"model\":\"inner\"} }",
        "{ \"messages\" : [ { \"role\":\"user\",\"content\":\"\\u00e9 \\/ \\ud83d\\ude00 é\" } ],\t\"model\"\n: \"chat\" , \"temperature\": 1.0e0,\"seed\": 12345678901234567890123,\"x\":{\"model\":\"inner\"} }",
    ),
    (
        "/v1/chat/completions",
        "{\"model\":\"up/chat\",\"messages\":[]}\n",
        "{\"model\":\"chat\",\"messages\":[]}\n",
    ),
    ("/v1/chat/completions", "{\"model\":\"chat\",\"messages\":[]}", "{\"model\":\"chat\",\"messages\":[]}"),
    ("/v1/chat/completions", "{\"messages\":[]}", "{\"model\":\"chat\",\"messages\":[]}"),
    (
        "/v1/chat/completions",
        "{\"m\\u006fdel\":\"auto\",\"messages\":[]}",
        "{\"m\\u006fdel\":\"chat\",\"messages\":[]}",
    ),
    (
        "/v1/responses",
        "{\"model\":\"gpt-5\",\"input\":\"Hi\",\"store\":false}",
        "{\"model\":\"responses\",\"input\":\"Hi\",\"store\":false}",
    ),
    (
        "/v1/messages",
        "{\"model\":\"claude\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"metadata\":{\"user_id\":\"u\"}}",
        "{\"model\":\"messages\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"metadata\":{\"user_id\":\"u\"}}",
    ),
    // Only chat has stream_options.
    (
        "/v1/chat/completions",
        "{\"model\":\"x\",\"stream\":false,\"messages\":[]}",
        "{\"model\":\"chat\",\"stream\":false,\"messages\":[]}",
    ),
    (
        "/v1/responses",
        "{\"model\":\"x\",\"stream\":true,\"input\":\"Hi\"}",
        "{\"model\":\"responses\",\"stream\":true,\"input\":\"Hi\"}",
    ),
    (
        "/v1/chat/completions",
        "{\"model\":\"x\",\"stream\":true,\"messages\":[],\"stream_options\":{\"include_usage\":true}}",
        "{\"model\":\"chat\",\"stream\":true,\"messages\":[],\"stream_options\":{\"include_usage\":true}}",
    ),
];

#[test]
fn the_provider_gets_the_bytes_of_the_client_with_its_own_model_name() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        for (path, sent, expected) in BODIES {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\nContent-Type: application/json\r\n"
            );
            let length = format!("Content-Length: {}\r\n\r\n{sent}", sent.len());
            let (first, second) = sent.split_at(sent.len() / 3);
            let chunked = format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};ext\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
                first.len(),
                second.len()
            );
            for rest in [length, chunked] {
                client.call(format!("{head}{rest}")).expect(200);
                let (_, request) = upstream.next_request();
                assert_eq!(String::from_utf8(request.body).unwrap(), *expected, "{path} {sent}");
                assert_eq!(request.head.request_line(), ("POST", *path));
                assert_eq!(request.head.length(), Some(expected.len()));
                assert!(!request.head.is_chunked());
            }
        }
    });
}

#[test]
fn a_chat_stream_is_asked_for_usage_whatever_the_client_wrote() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for options in [
            "",
            ",\"stream_options\":null",
            ",\"stream_options\":{}",
            ",\"stream_options\":{\"include_usage\":false}",
            ",\"stream_options\":{\"include_usage\":null,\"other\":1}",
        ] {
            let body = format!("{{\"model\":\"x\",\"messages\":[],\"stream\":true{options}}}");
            gateway.call(post("/v1/chat/completions", "", &serde_json::from_str(&body).unwrap())).expect(200);
            let sent = upstream.next_request().1.json();
            assert_eq!(sent["stream_options"]["include_usage"], true, "{options}");
            assert_eq!(sent["model"], "chat");
            if options.contains("other") {
                assert_eq!(sent["stream_options"]["other"], 1);
            }
        }
    });
}

#[test]
fn a_request_of_a_megabyte_arrives_whole() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        for bytes in [15_000, 17_000, 70_000, 1_000_000, 5_000_000] {
            let text = "0123456789".repeat(bytes / 10);
            let body = json!({"model": "chat", "messages": [{"role": "user", "content": text}]});
            client.call(post("/v1/chat/completions", "", &body)).expect(200);
            assert!(upstream.next_request().1.body == body.to_string().as_bytes(), "{bytes} bytes");
            // And with another name in it, spliced into the middle.
            let body = json!({"a": text, "model": "auto", "messages": [text]});
            client.call(post("/v1/chat/completions", "", &body)).expect(200);
            let expected = body.to_string().replace("\"auto\"", "\"chat\"");
            assert!(upstream.next_request().1.body == expected.as_bytes(), "{bytes} bytes, spliced");
        }
    });
}

#[test]
fn bodies_that_are_no_request_are_refused_here() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        for body in [
            "",
            " ",
            "{",
            "null",
            "[]",
            "\"text\"",
            "{\"model\":\"a\"",
            "{\"model\":\"a\"}}",
            "{\"model\":\"a\",}",
            "{model:1}",
            "{\"model\":1}",
            "{\"model\":null}",
            "{\"model\":\"a\",\"model\":\"b\"}",
            "{\"model\":\"a\",\"stream\":\"yes\"}",
            "\u{feff}{}",
            "{\"a\":\"\u{1}\"}",
            deep.as_str(),
        ] {
            let answer = client.call(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            assert_eq!(answer.status, 400, "{body:.50}: {}", answer.text());
            assert_eq!(answer.json()["error"]["code"], "invalid_request", "{body:.50}");
        }
        let encoded = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nx-api-key: {TOKEN}\r\nContent-Encoding: gzip\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        client.call(encoded).expect(415);
        assert_eq!(upstream.accepted(), 0);
    });
}

#[test]
fn a_response_is_streamed_where_accept_asks_for_it_and_the_body_does_not_say() {
    let events = "Accept: text/event-stream\r\n";
    let both = "Accept: application/json, text/event-stream\r\n";
    // Path, field, body as the client writes it, body as the provider gets it.
    let cases = [
        ("responses", events, r#"{"input":"Hi"}"#, r#"{"model":"responses","stream":true,"input":"Hi"}"#),
        ("responses", events, r#"{"model":"m","stream":null}"#, r#"{"model":"responses","stream":true}"#),
        ("responses", events, r#"{"model":"m","stream":false}"#, r#"{"model":"responses","stream":false}"#),
        ("responses", both, r#"{"model":"m"}"#, r#"{"model":"responses"}"#),
        ("responses", "", r#"{"model":"m"}"#, r#"{"model":"responses"}"#),
        ("chat/completions", events, r#"{"model":"m"}"#, r#"{"model":"chat"}"#),
        ("messages", events, r#"{"model":"m"}"#, r#"{"model":"messages"}"#),
    ];
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    let gateway = Setup::with_upstream(&upstream).start();
    for (path, field, body, expected) in cases {
        let request = format!(
            "POST /v1/{path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n{field}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        gateway.call(request).expect(200);
        let (_, message) = upstream.next_request();
        assert_eq!(String::from_utf8_lossy(&message.body), expected, "{path} {field} {body}");
    }
    // With a provider that streams, the client gets the stream.
    let gateway = Setup::demo().start();
    let answer = gateway.call(post("/v1/responses", events, &json!({"input": "Hi"}))).expect(200);
    assert!(answer.field("content-type").unwrap().starts_with("text/event-stream"));
    assert!(answer.text().contains("event: response.completed"), "{}", answer.text());
    let records = gateway.usage_records(1);
    assert_eq!(records[0]["stream"], true);
}

#[test]
fn the_requested_model_counts_as_the_project_says() {
    // Mode, requested model, the model at the provider; none: 404.
    let cases = [
        ("ignore", "up/second", Some("first")),
        ("ignore", "no such model", Some("first")),
        ("prefer", "up/second", Some("second")),
        ("prefer", "second", Some("second")),
        ("prefer", "no such model", Some("first")),
        ("prefer", "auto", Some("first")),
        ("pin", "up/second", Some("second")),
        ("pin", "routerly/auto", Some("first")),
        ("pin", "no such model", None),
    ];
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    for mode in ["ignore", "prefer", "pin"] {
        let model = |name: &str| {
            json!({"id": format!("up/{name}"), "upstreamModelId": name, "provider": "custom", "apiKey": "k",
                "dialect": "openai-chat", "endpoint": upstream.url()})
        };
        let setup = Setup::new().model(model("first")).model(model("second"));
        let gateway = setup.project("honorRequestedModel", mode).start();
        for (_, requested, expected) in cases.iter().filter(|(of, ..)| *of == mode) {
            let body = json!({"model": requested, "messages": []});
            let answer = gateway.call(post("/v1/chat/completions", "", &body));
            match expected {
                Some(name) => {
                    answer.expect(200);
                    let (_, message) = upstream.next_request();
                    let sent: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
                    assert_eq!(sent["model"], *name, "{mode}: {requested}");
                }
                None => drop(answer.expect(404)),
            }
        }
    }
}
