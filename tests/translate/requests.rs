//! What a provider is asked: path, head and body in its own dialect, nothing of the client's.

use serde_json::{Value, json};

use super::client::{self, Ask};
use super::{Dialect, gateway_to, pairs, provider};
use crate::support::http::Message;
use crate::support::{MockUpstream, Setup, TOKEN};

/// Sends a request of `from` and returns what the provider of `to` got.
fn asked(from: Dialect, to: Dialect, ask: Ask, fields: &str, body: &Value) -> Message {
    let upstream = MockUpstream::with(provider::plays(to, ask));
    let gateway = gateway_to(&upstream, to).start();
    gateway.call(client::request_of(from, ask.stream, fields, body)).expect(200);
    upstream.next_request().1
}

#[test]
fn a_provider_is_asked_in_its_own_dialect() {
    for (from, to) in pairs() {
        for stream in [false, true] {
            let ask = Ask { stream, tool: true, think: false };
            let fields = concat!(
                "anthropic-version: 2026-10-21\r\nanthropic-beta: some-beta\r\nopenai-organization: org\r\n",
                "x-stainless-lang: js\r\nuser-agent: sdk/1\r\ntraceparent: 00-a-b-01\r\n"
            );
            let request = asked(from, to, ask, fields, &client::body(from, ask));
            let name = format!("{from:?} client, {to:?} provider");
            let (path, key, stream_member) = match to {
                Dialect::Chat => ("/v1/chat/completions", "authorization", true),
                Dialect::Responses => ("/v1/responses", "authorization", true),
                Dialect::Anthropic => ("/v1/messages", "x-api-key", true),
                Dialect::Gemini if stream => {
                    ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "x-goog-api-key", false)
                }
                Dialect::Gemini => {
                    ("/v1beta/models/gemini-2.5-flash:generateContent", "x-goog-api-key", false)
                }
            };
            let head = &request.head;
            assert_eq!(head.request_line(), ("POST", path), "{name}");
            assert!(head.field(key).unwrap().ends_with("provider-key"), "{name}");
            assert_eq!(head.field("content-type"), Some("application/json"), "{name}");
            assert_eq!(head.field("traceparent"), Some("00-a-b-01"), "{name}");
            let version = (to == Dialect::Anthropic).then_some("2023-06-01");
            assert_eq!(head.field("anthropic-version"), version, "{name}");
            for foreign in ["anthropic-beta", "openai-organization", "x-stainless-lang"] {
                assert_eq!(head.field(foreign), None, "{name}");
            }
            assert!(!String::from_utf8_lossy(&head.raw).contains(TOKEN), "{name}");
            let body = request.json();
            assert_eq!(body["stream"] == true, stream && stream_member, "{name}: {body}");
            check_body(to, &body, &name);
        }
    }
}

/// Instructions, question, tool and limit, where the provider looks for them.
fn check_body(to: Dialect, body: &Value, name: &str) {
    let (system, user, tool, limit) = match to {
        Dialect::Chat => (
            &body["messages"][0]["content"],
            &body["messages"][1]["content"],
            &body["tools"][0]["function"]["parameters"],
            &body["max_completion_tokens"],
        ),
        Dialect::Responses => (
            &body["instructions"],
            &body["input"][0]["content"],
            &body["tools"][0]["parameters"],
            &body["max_output_tokens"],
        ),
        Dialect::Anthropic => (
            &body["system"],
            &body["messages"][0]["content"],
            &body["tools"][0]["input_schema"],
            &body["max_tokens"],
        ),
        Dialect::Gemini => {
            let tool = &body["tools"][0]["functionDeclarations"][0];
            let schema = if tool["parametersJsonSchema"].is_null() {
                &tool["parameters"]
            } else {
                &tool["parametersJsonSchema"]
            };
            (
                &body["systemInstruction"]["parts"],
                &body["contents"][0]["parts"],
                schema,
                &body["generationConfig"]["maxOutputTokens"],
            )
        }
    };
    assert_eq!(plain(system), "Be brief.", "{name}: {body}");
    assert_eq!(plain(user), "Weather in Zürich?", "{name}: {body}");
    assert_eq!(tool["properties"], client::schema()["properties"], "{name}: {body}");
    assert_eq!(*limit, 4096, "{name}: {body}");
    if to == Dialect::Responses {
        assert_eq!(body["store"], false, "{name}");
    }
}

/// A text that may stand alone or in parts.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(|part| part["text"].as_str().unwrap_or_default()).collect(),
        _ => String::new(),
    }
}

#[test]
fn a_named_model_comes_first_then_those_that_speak_the_client_s_dialect() {
    let ask = Ask::default();
    let chat = MockUpstream::with(provider::plays(Dialect::Chat, ask));
    let claude = MockUpstream::with(provider::plays(Dialect::Anthropic, ask));
    let mut second = gateway_to(&chat, Dialect::Chat).models.remove(0);
    second["id"] = "up/chat".into();
    let gateway = gateway_to(&claude, Dialect::Anthropic)
        .model(second)
        .project("honorRequestedModel", "prefer")
        .start();
    for (from, name, expected) in [
        (Dialect::Chat, "up/model", "up/model"),
        (Dialect::Chat, "claude-sonnet-4-5", "up/model"),
        (Dialect::Chat, "auto", "up/chat"),
        (Dialect::Chat, "something else", "up/chat"),
        (Dialect::Anthropic, "auto", "up/model"),
        (Dialect::Anthropic, "up/chat", "up/chat"),
        (Dialect::Responses, "auto", "up/model"),
    ] {
        let mut body = client::body(from, ask);
        body["model"] = name.into();
        let response = gateway.call(client::request_of(from, false, "", &body)).expect(200);
        assert_eq!(response.field("x-routerly-model"), Some(expected), "{from:?} {name}");
    }
}

#[test]
fn an_azure_deployment_is_reached_from_every_dialect() {
    let ask = Ask { stream: true, tool: true, think: false };
    for from in [Dialect::Anthropic, Dialect::Gemini, Dialect::Responses] {
        let upstream = MockUpstream::with(provider::plays(Dialect::Chat, ask));
        let gateway = Setup::new()
            .model(json!({
                "id": "up/model", "name": "Azure", "provider": "azure-openai", "apiKey": "provider-key",
                "upstreamModelId": "my deployment", "endpoint": format!("http://{}", upstream.address()),
                "cost": {"inputPerMillion": 1, "outputPerMillion": 2}, "contextWindow": 200_000,
            }))
            .start();
        let response = gateway.call(client::request(from, ask, "")).expect(200);
        assert_eq!(client::seen(from, &response), provider::expected(Dialect::Chat, ask));
        let (_, request) = upstream.next_request();
        assert_eq!(
            request.head.request_line().1,
            "/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"
        );
        assert_eq!(request.head.field("api-key"), Some("provider-key"));
        assert_eq!(request.json()["max_completion_tokens"], 4096);
    }
}

#[test]
fn fields_that_a_model_refuses_are_taken_out() {
    let upstream = MockUpstream::with(provider::plays(Dialect::Chat, Ask::default()));
    let gateway =
        gateway_to(&upstream, Dialect::Chat).every_model("stripParams", json!(["temperature"])).start();
    let mut body = client::body(Dialect::Anthropic, Ask::default());
    body["temperature"] = json!(0.5);
    body["top_p"] = json!(0.25);
    gateway.call(client::request_of(Dialect::Anthropic, false, "", &body)).expect(200);
    let asked = upstream.next_request().1.json();
    assert_eq!((asked.get("temperature"), &asked["top_p"]), (None, &json!(0.25)));
}

#[test]
fn a_custom_tool_is_a_function_there_and_free_text_here() {
    for stream in [false, true] {
        let upstream = MockUpstream::with(move |connection| {
            while connection.next_request().is_some() {
                let input = json!({"input": "SELECT \"a\"\nFROM b"});
                let start = json!({"id": "m", "type": "message", "role": "assistant", "model": "c",
                    "content": [], "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": 1, "output_tokens": 1}});
                if !stream {
                    let mut whole = start.clone();
                    whole["content"] =
                        json!([{"type": "tool_use", "id": "toolu_1", "name": "sql", "input": input}]);
                    whole["stop_reason"] = "tool_use".into();
                    connection.answer(200, &whole.to_string());
                    continue;
                }
                let text = input.to_string();
                let delta = |piece: &str| {
                    json!({"type": "content_block_delta", "index": 0,
                        "delta": {"type": "input_json_delta", "partial_json": piece}})
                };
                let mut events = vec![
                    json!({"type": "message_start", "message": start}),
                    json!({"type": "content_block_start", "index": 0,
                        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "sql", "input": {}}}),
                ];
                events.extend(text.chars().map(|piece| delta(&piece.to_string())));
                events.extend([
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
                        "usage": {"output_tokens": 2}}),
                    json!({"type": "message_stop"}),
                ]);
                connection.begin_stream();
                for event in events {
                    let name = event["type"].as_str().unwrap();
                    connection.send_chunk(format!("event: {name}\ndata: {event}\n\n"));
                }
                connection.end_chunks();
            }
        });
        let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
        let body = json!({
            "model": "up/model", "stream": stream, "messages": [{"role": "user", "content": "all of b"}],
            "tools": [{"type": "custom", "custom": {"name": "sql", "description": "Runs a query."}}],
        });
        let response = gateway.call(client::request_of(Dialect::Chat, stream, "", &body)).expect(200);
        let tool = &upstream.next_request().1.json()["tools"][0];
        assert_eq!(tool["input_schema"]["properties"]["input"]["type"], "string");
        let input = if stream {
            let chunks = response.events();
            let pieces = chunks.iter().filter_map(|chunk| {
                let chunk: Value = serde_json::from_str(chunk).ok()?;
                let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
                call["custom"]["input"].as_str().map(str::to_owned)
            });
            pieces.collect::<String>()
        } else {
            let call = &response.json()["choices"][0]["message"]["tool_calls"][0];
            assert_eq!((&call["type"], &call["custom"]["name"]), (&json!("custom"), &json!("sql")));
            call["custom"]["input"].as_str().unwrap().to_owned()
        };
        assert_eq!(input, "SELECT \"a\"\nFROM b", "{}", response.text());
        let lost = response.field("x-routerly-translation").unwrap();
        assert!(lost.contains("changed=custom_tool"), "{lost}");
    }
}
