//! Counting tokens: the provider's own count where there is one, else an estimate that says so.

use serde_json::{Value, json};

use super::client::{self, Ask};
use super::{Dialect, gateway_to};
use crate::support::upstream::behaviour::{answers, json_answer};
use crate::support::{MockUpstream, Response, TOKEN};

/// Asks for a count and reads the number.
fn count(gateway: &crate::support::Gateway, client: Dialect, body: &Value) -> (Response, u64) {
    let (path, name) = match client {
        Dialect::Gemini => ("/v1beta/models/up/model:countTokens", "totalTokens"),
        _ => ("/v1/messages/count_tokens", "input_tokens"),
    };
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = gateway.call(request).expect(200);
    let tokens = response.json()[name].as_u64().expect("a number");
    (response, tokens)
}

fn body(client: Dialect) -> Value {
    let mut body = client::body(client, Ask { tool: true, ..Ask::default() });
    match client {
        Dialect::Gemini => body.as_object_mut().unwrap().remove("generationConfig"),
        _ => body.as_object_mut().unwrap().remove("max_tokens"),
    };
    body
}

#[test]
fn a_provider_that_counts_is_asked_in_its_own_dialect() {
    let anthropic = MockUpstream::with(answers(json_answer(200, "{\"input_tokens\":41}")));
    let gateway = gateway_to(&anthropic, Dialect::Anthropic).start();
    let (response, tokens) = count(&gateway, Dialect::Gemini, &body(Dialect::Gemini));
    assert_eq!((tokens, response.field("x-routerly-estimate")), (41, None));
    let (_, request) = anthropic.next_request();
    assert_eq!(request.head.request_line(), ("POST", "/v1/messages/count_tokens"));
    let asked = request.json();
    assert_eq!(asked["tools"][0]["name"], "get_weather");
    // It refuses what it does not know.
    let known = ["model", "messages", "system", "tools", "tool_choice", "thinking"];
    for name in asked.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "{name}");
    }

    let gemini = MockUpstream::with(answers(json_answer(200, "{\"totalTokens\":42}")));
    let gateway = gateway_to(&gemini, Dialect::Gemini).start();
    let (response, tokens) = count(&gateway, Dialect::Anthropic, &body(Dialect::Anthropic));
    assert_eq!((tokens, response.field("x-routerly-estimate")), (42, None));
    let (_, request) = gemini.next_request();
    assert_eq!(request.head.request_line().1, "/v1beta/models/gemini-2.5-flash:countTokens");
    let asked = request.json();
    let whole = &asked["generateContentRequest"];
    assert_eq!(whole["model"], "models/gemini-2.5-flash");
    assert_eq!(whole["contents"][0]["parts"][0]["text"], "Weather in Zürich?");
    assert_eq!(gateway.usage_records(1)[0]["endpoint"], "count_tokens");
}

#[test]
fn where_nobody_counts_the_answer_is_an_estimate() {
    let upstream = MockUpstream::manual();
    for to in [Dialect::Chat, Dialect::Responses] {
        let gateway = gateway_to(&upstream, to).start();
        let counts: Vec<u64> = [Dialect::Anthropic, Dialect::Gemini]
            .into_iter()
            .map(|client| {
                let (response, tokens) = count(&gateway, client, &body(client));
                assert_eq!(response.field("x-routerly-estimate"), Some("1"));
                tokens
            })
            .collect();
        assert_eq!(counts[0], counts[1], "the same request has the same estimate");
        assert!((20..80).contains(&counts[0]), "{counts:?}");
    }
    assert_eq!(upstream.accepted(), 0);
}

#[test]
fn a_failed_count_is_an_error_of_the_client_s_dialect() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "later"}});
    let upstream = MockUpstream::with(answers(json_answer(529, &error.to_string())));
    let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
    let body = body(Dialect::Gemini).to_string();
    let request = format!(
        "POST /v1beta/models/m:countTokens?key={TOKEN} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = gateway.call(request).expect(503);
    assert_eq!(response.json()["error"]["status"], "UNAVAILABLE");
}
