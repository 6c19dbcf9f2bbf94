//! Each entry against the table of the routing specification, section 10.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::auth::TokenKey;
use crate::config::{Config, Document, Documents, Env, NoKeys};
use crate::dialect::{ProofKey, Usage};
use crate::provider::Catalogue;
use crate::trace::entry::{IntentStatus, Score, Skip};

/// Two models in project `p1`.
pub(crate) fn snapshot(generation: u64, settings: &Value) -> Snapshot {
    let document = |value: Value| Document { text: value.to_string(), value };
    let model = |id: &str, provider: &str| {
        json!({"id": id, "provider": provider, "endpoint": "http://127.0.0.1:1/v1", "apiKey": "k",
            "cost": {"inputPerMillion": 2.5, "outputPerMillion": 10, "cachePerMillion": 0.25}})
    };
    let documents = Documents {
        settings: document(settings.clone()),
        models: document(json!([model("openai/a", "openai"), model("mistral/b", "mistral")])),
        projects: document(
            json!([{"id": "p1", "name": "P", "models": [{"modelId": "openai/a"}, {"modelId": "mistral/b", "prompt": "for short texts"}]}]),
        ),
    };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut vec![]).unwrap();
    let keys = (TokenKey::new(&[0; 32]), ProofKey::new(&[0; 32]));
    Snapshot::build(Arc::new(config), keys.0, keys.1, generation, std::path::Path::new("/")).unwrap()
}

fn spelled(entry: Entry, audience: Audience) -> Value {
    let snapshot = snapshot(1, &json!({}));
    let mut out = Vec::new();
    Speller { snapshot: &snapshot, project: 0, audience }.write_step(&mut out, &Step { since_ms: 7, entry });
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn prompt(text: &str) -> Option<Prompt> {
    Prompt::keep(true, text)
}

const CALL: Call =
    Call { caller: Caller::Client, target: 0, stream: true, messages: Some(3), max_tokens: Some(64) };
const ANSWERED: Answered = Answered {
    caller: Caller::Client,
    target: 0,
    latency_ms: 300,
    ttft_ms: Some(40),
    usage: Usage { input: 1_000, output: 50, cached_input: 200, cache_write: 0, reasoning: 10 },
};

fn success() -> Value {
    json!({"modelId": "openai/a", "inputTokens": 1000, "cachedInputTokens": 200, "outputTokens": 50, "latencyMs": 300,
        "ttftMs": 40, "tokensPerSec": 3500, "inputCostUsd": 0.00205, "outputCostUsd": 0.0005, "totalCostUsd": 0.00255,
        "inputPerMillion": 2.5, "outputPerMillion": 10})
}

fn with(mut object: Value, name: &str, value: &str) -> Value {
    object[name] = json!(value);
    object
}

#[test]
fn the_intake_names_what_was_asked_for() {
    let snapshot = snapshot(1, &json!({}));
    let text = prompt("hello");
    let cases = [
        (
            0,
            Intake { since_ms: 0, model: "auto", messages: None, text: None },
            json!({"model": "auto", "projectId": "p1"}),
        ),
        (
            9,
            Intake { since_ms: 2, model: "a\"b", messages: Some(2), text: text.as_ref() },
            json!({"model": "a\"b", "messageCount": 2, "projectId": "", "requestText": "hello"}),
        ),
    ];
    for (project, intake, details) in cases {
        let mut out = Vec::new();
        let speller = Speller { snapshot: &snapshot, project, audience: Audience::Operator };
        speller.write_intake(&mut out, &intake);
        let expected = json!({"panel": "router-request", "message": "router:intake", "ts": intake.since_ms,
            "details": details});
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    }
}

#[test]
fn every_entry_is_spelled_as_specified() {
    let routing = |call: Call| Call { caller: Caller::Router, ..call };
    let request = json!({"modelId": "openai/a", "provider": "openai", "stream": true, "messageCount": 3, "maxTokens": 64});
    let failure = Failure::new(Some(1), "no connection", None, Some(9));
    let cases: Vec<(Entry, &str, &str, Value)> = vec![
        (
            Entry::Alone { target: 1 },
            "router-response",
            "router:result",
            json!({"final": [{"model": "mistral/b", "weight": 1, "hasPrompt": true}], "note": "single_candidate_bypass"}),
        ),
        (Entry::Request(CALL), "request", "model:request", request.clone()),
        (Entry::Request(routing(CALL)), "router-request", "model:request", request.clone()),
        (
            Entry::Request(Call { messages: None, max_tokens: None, stream: false, ..CALL }),
            "request",
            "model:request",
            json!({"modelId": "openai/a", "provider": "openai", "stream": false}),
        ),
        (Entry::Success(ANSWERED), "response", "model:success", success()),
        (
            Entry::Success(Answered { latency_ms: 0, ttft_ms: None, usage: Usage::default(), ..ANSWERED }),
            "response",
            "model:success",
            json!({"modelId": "openai/a", "inputTokens": 0, "outputTokens": 0, "latencyMs": 0, "inputCostUsd": 0,
                "outputCostUsd": 0, "totalCostUsd": 0, "inputPerMillion": 2.5, "outputPerMillion": 10}),
        ),
        (
            Entry::Error(Box::new(failure.clone())),
            "response",
            "model:error",
            json!({"modelId": "mistral/b", "error": "no connection", "latencyMs": 9}),
        ),
        (
            Entry::Error(Box::new(Failure { caller: Caller::Router, ..failure })),
            "router-response",
            "model:error",
            json!({"modelId": "mistral/b", "error": "no connection", "latencyMs": 9}),
        ),
        (
            Entry::Error(Box::new(Failure::new(None, "no model", None, None))),
            "response",
            "model:error",
            json!({"error": "no model"}),
        ),
        (
            Entry::Skipped { caller: Caller::Client, target: 1, reason: Skip::BudgetExhausted },
            "response",
            "model:skipped",
            json!({"modelId": "mistral/b", "reason": "budget_exhausted"}),
        ),
        (
            Entry::Skipped { caller: Caller::Router, target: 1, reason: Skip::KeysResting },
            "router-response",
            "model:skipped",
            json!({"modelId": "mistral/b", "reason": "keys_resting"}),
        ),
        (
            Detail::RoutingRequest { call: routing(CALL), system: prompt("You score.") }.into(),
            "router-request",
            "model:request",
            with(request, "systemPrompt", "You score."),
        ),
        (
            Detail::RoutingSuccess { answered: ANSWERED, text: prompt("t"), json: prompt("[]") }.into(),
            "router-response",
            "model:success",
            with(with(success(), "responseText", "t"), "responseJSON", "[]"),
        ),
        (
            Detail::RoutingSuccess { answered: ANSWERED, text: None, json: None }.into(),
            "router-response",
            "model:success",
            success(),
        ),
        (
            Detail::Thinking { target: 0, text: prompt("hm").unwrap() }.into(),
            "response",
            "model:thinking",
            json!({"modelId": "openai/a", "text": "hm"}),
        ),
        (
            Detail::LlmScores {
                target: 1,
                scores: vec![
                    Score { target: 0, point: 0.123_456, reason: prompt("cheap") },
                    Score { target: 1, point: f64::NAN, reason: None },
                ],
            }
            .into(),
            "router-response",
            "llm-policy:scores",
            json!({"routingModel": "mistral/b", "scores": [{"model": "openai/a", "point": 0.1235, "reason": "cheap"},
                {"model": "mistral/b", "point": 0}]}),
        ),
        (
            Detail::LlmSkip { model: "gone".into(), reason: "unknown_model".into() }.into(),
            "router-response",
            "llm-policy:skip",
            json!({"modelId": "gone", "reason": "unknown_model"}),
        ),
        (
            Detail::LlmRepair { target: 0 }.into(),
            "router-response",
            "llm-policy:repair",
            json!({"modelId": "openai/a"}),
        ),
        (
            Detail::LlmError { target: 0, error: "too slow".into() }.into(),
            "router-response",
            "llm-policy:error",
            json!({"modelId": "openai/a", "error": "too slow"}),
        ),
        (
            Detail::Intent {
                top: ("code".into(), 0.75),
                second: Some(("chat".into(), 0.5)),
                status: IntentStatus::Confident,
            }
            .into(),
            "router-response",
            "policy:semantic-intent:classification",
            json!({"topIntent": "code", "topScore": 0.75, "secondIntent": "chat", "secondScore": 0.5, "margin": 0.25,
                "status": "confident"}),
        ),
        (
            Detail::Intent { top: ("code".into(), 0.3), second: None, status: IntentStatus::Unknown }.into(),
            "router-response",
            "policy:semantic-intent:classification",
            json!({"topIntent": "code", "topScore": 0.3, "secondIntent": null, "secondScore": 0, "margin": 0.3,
                "status": "unknown"}),
        ),
        (
            Detail::IntentResult { allowed: vec![0], excluded: vec![1], status: IntentStatus::Ambiguous }
                .into(),
            "router-response",
            "policy:semantic-intent:result",
            json!({"allowed": ["openai/a"], "excluded": ["mistral/b"], "status": "ambiguous"}),
        ),
        (
            Detail::IntentMisconfigured { reason: "no model".into() }.into(),
            "router-response",
            "policy:semantic-intent:misconfigured",
            json!({"reason": "no model"}),
        ),
        (
            Detail::IntentError { error: "503".into() }.into(),
            "router-response",
            "policy:semantic-intent:error",
            json!({"error": "503"}),
        ),
        (
            Detail::CacheEmbedding {
                model: "openai/e".into(),
                upstream_model: "e".into(),
                provider: "openai".into(),
                endpoint: "https://api.openai.com/v1".into(),
                source: "model-config",
                fallback: false,
                attempt: 1,
                candidates: 2,
            }
            .into(),
            "response",
            "cache:embedding",
            json!({"modelId": "openai/e", "upstreamModelId": "e", "provider": "openai",
                "endpoint": "https://api.openai.com/v1", "source": "model-config", "fallback": false, "attempt": 1,
                "totalCandidates": 2}),
        ),
        (
            Detail::CacheHit {
                similarity: Some(0.9),
                target: 0,
                embedding_model: Some("openai/e".into()),
                ttl_extended: true,
            }
            .into(),
            "response",
            "cache:hit",
            json!({"similarity": 0.9, "modelId": "openai/a", "embeddingModel": "openai/e", "ttlExtended": true}),
        ),
        (
            Detail::CacheMiss { embedding_model: Some("openai/e".into()) }.into(),
            "response",
            "cache:miss",
            json!({"embeddingModel": "openai/e"}),
        ),
    ];
    for (entry, panel, message, details) in cases {
        let expected = json!({"panel": panel, "message": message, "ts": 7, "details": details});
        assert_eq!(spelled(entry, Audience::Operator), expected);
    }
}

#[test]
fn what_a_provider_says_about_our_key_is_for_the_operator_alone() {
    let failure = Failure::new(Some(0), "upstream status 401: bad key", Some("not available"), None);
    for (audience, expected) in
        [(Audience::Operator, "upstream status 401: bad key"), (Audience::Client, "not available")]
    {
        let spelled = spelled(Entry::Error(Box::new(failure.clone())), audience);
        assert_eq!(spelled["details"]["error"], expected);
    }
}

#[test]
fn an_index_of_another_snapshot_breaks_nothing() {
    let entry = Entry::Success(Answered { target: 99, ..ANSWERED });
    assert_eq!(spelled(entry, Audience::Operator)["details"]["modelId"], "");
}
