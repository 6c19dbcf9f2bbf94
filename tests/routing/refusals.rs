//! Requests that nobody can answer: the reasons of each model, in the client's dialect.

use serde_json::json;

use super::{asks, setup};
use crate::support::{on_each_driver, post};

#[test]
fn a_request_that_all_policies_exclude_is_answered_with_the_reasons() {
    on_each_driver(|driver| {
        let models = [
            ("small", json!({"contextWindow": 100})),
            ("blind", json!({"contextWindow": 50, "capabilities": {"thinking": false}})),
        ];
        let gateway = setup(&models, &["capability", "context"]).driver(driver).start();
        let mut client = gateway.client();
        let text = "word ".repeat(160);
        for (path, ask) in asks(&text, &[]) {
            let response = client.call(ask).expect(503);
            let body = response.json();
            let message = body["error"]["message"].as_str().unwrap_or_default();
            // 800 characters, and 16 tokens of output where the dialect asks for some.
            let tokens = if path == "/v1/messages" { 216 } else { 200 };
            let expected = format!(
                "all models of this project are excluded by its policies: `small` (context: needs about {tokens} tokens of \
                 100), `blind` (context: needs about {tokens} tokens of 50)"
            );
            assert_eq!(message, expected, "{path}");
            match path {
                "/v1/messages" => assert_eq!(body["error"]["type"], "overloaded_error"),
                path if path.starts_with("/v1beta") => assert_eq!(body["error"]["status"], "UNAVAILABLE"),
                _ => assert_eq!(body["error"]["code"], "no_model_available"),
            }
        }
        let body = json!({"messages": [{"role": "user", "content": text}], "reasoning_effort": "high"});
        let response = client.call(post("/v1/chat/completions", "", &body)).expect(503);
        assert!(
            response.text().contains("`blind` (capability: lacks thinking; context: needs"),
            "{}",
            response.text()
        );
    });
}

#[test]
fn a_single_model_is_not_asked_for_what_it_cannot_do() {
    let models = [("only", json!({"contextWindow": 100}))];
    let gateway = setup(&models, &["health", "context"]).start();
    for (path, ask) in asks(&"word ".repeat(200), &[]) {
        let response = gateway.call(ask).expect(503);
        assert!(response.text().contains("`only` (context: needs about"), "{path}: {}", response.text());
    }
    for (path, ask) in asks("Hi", &[]) {
        assert_eq!(gateway.call(ask).expect(200).field("x-routerly-model"), Some("only"), "{path}");
    }
}

#[test]
fn counting_tokens_asks_no_policy() {
    let models = [("only", json!({"contextWindow": 100, "dialect": "anthropic-messages"}))];
    let gateway = setup(&models, &["context"]).start();
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "word ".repeat(200)}]});
    gateway.call(post("/v1/messages/count_tokens", "", &body)).expect(200);
}
