//! Models that a policy or a cache cannot ask, or that keep it waiting, and what comes after them.

use serde_json::{Value, json};

use super::{answered, ask, asked, provider, routing_records, says, setup};
use crate::support::upstream::Connection;
use crate::support::upstream::behaviour::never_answers;
use crate::support::{Gateway, MockUpstream, Setup};

const B_WINS: &str = r#"{"routing":[{"model":"sim/a","point":0.2},{"model":"sim/b","point":0.9}]}"#;

/// The policy that asks one model after the other, the one that embeds with them, and the cache that does.
fn who_ask(first: &str, second: &str, timeout_ms: u64) -> [(&'static str, Value); 3] {
    let intents = json!({
        "code": {"examples": ["bug"], "candidate_models": ["sim/b"]},
        "talk": {"examples": ["hello"], "candidate_models": ["sim/a"]},
    });
    let cache = json!({"enabled": true, "mode": "decision", "embedding_model": first,
        "embedding_fallback_models": [second], "timeoutMs": timeout_ms});
    [
        (
            "llm",
            json!([{"type": "llm", "config": {"routingModelId": first, "fallbackModelIds": [second],
                "timeoutMs": timeout_ms}}]),
        ),
        (
            "semantic-intent",
            json!([{"type": "semantic-intent", "config": {"embedding_model": first,
                "embedding_fallback_models": [second], "intents": intents, "timeoutMs": timeout_ms}}]),
        ),
        ("cache", json!([{"type": "llm", "config": {"routingModelId": second, "cache": cache}}])),
    ]
}

/// Scores for chats, and for texts vectors that say the same as the scores.
fn knows() -> MockUpstream {
    provider(|body| {
        let Some(texts) = body["input"].as_array() else { return (200, says(B_WINS)) };
        let vector = |text: &Value| {
            if text == "hello" { json!([0.0, 1.0]) } else { json!([1.0, 0.0]) }
        };
        let data: Vec<Value> = texts.iter().map(|text| json!({"embedding": vector(text)})).collect();
        (200, json!({"data": data, "usage": {"prompt_tokens": 9}}).to_string())
    })
}

fn started(policies: &Value, first: Value, second: Value, more: impl FnOnce(Setup) -> Setup) -> Gateway {
    more(setup(policies, &[first, second])).start()
}

#[test]
fn a_model_that_is_switched_off_is_not_asked_and_the_next_one_is() {
    for (name, policies) in who_ask("off", "on", 60_000) {
        let (never, on) = (MockUpstream::with(never_answers), knows());
        let mut off = asked("off", "custom", &never);
        off["enabled"] = json!(false);
        let gateway = started(&policies, off, asked("on", "custom", &on), |setup| setup);
        assert_eq!(answered(&ask(&gateway, "a bug").expect(200)), "sim/b", "{name}");
        assert_eq!(never.accepted(), 0, "{name}");
        let records = gateway.usage_records(2);
        let routing = routing_records(&records);
        assert!(
            !routing.is_empty() && routing.iter().all(|record| record["modelId"] == "on"),
            "{name}: {records:?}"
        );
    }
}

#[test]
fn a_model_that_hangs_leaves_the_next_one_its_share_of_the_time() {
    for (name, policies) in who_ask("hangs", "on", 2_000) {
        let (hangs, on) = (MockUpstream::with(never_answers), knows());
        let models = (asked("hangs", "custom", &hangs), asked("on", "custom", &on));
        let gateway = started(&policies, models.0, models.1, |setup| setup);
        assert_eq!(answered(&ask(&gateway, "a bug").expect(200)), "sim/b", "{name}");
        let records = gateway.usage_records(3);
        let outcome = |model: &str| {
            let routing = routing_records(&records);
            routing.iter().find(|record| record["modelId"] == model).map(|record| record["outcome"].clone())
        };
        assert_eq!(
            (outcome("hangs"), outcome("on")),
            (Some(json!("timeout")), Some(json!("success"))),
            "{name}"
        );
    }
}

#[test]
fn a_model_that_keeps_failing_is_set_aside_for_policies_and_caches_too() {
    for (name, policies) in who_ask("fails", "on", 60_000) {
        let (fails, on) = (provider(|_| (500, "{}".to_owned())), knows());
        let models = (asked("fails", "custom", &fails), asked("on", "custom", &on));
        let rules = json!({"failures": 2, "cooldownMs": 600_000});
        let gateway =
            started(&policies, models.0, models.1, |setup| setup.setting("upstream.breaker", rules));
        for _ in 0..5 {
            assert_eq!(answered(&ask(&gateway, "a bug").expect(200)), "sim/b", "{name}");
        }
        let records = gateway.usage_records(10);
        let failed = routing_records(&records).into_iter().filter(|record| record["modelId"] == "fails");
        assert_eq!(failed.count(), 2, "{name}: {records:?}");
    }
}

#[test]
fn a_key_that_has_too_many_requests_rests_and_another_one_is_tried() {
    let limited = MockUpstream::with(|connection: &mut Connection| {
        while let Some(request) = connection.next_request() {
            if request.head.field("authorization") == Some("Bearer first") {
                connection.send("HTTP/1.1 429 Slow\r\nRetry-After: 600\r\nContent-Length: 2\r\n\r\n{}");
            } else {
                connection.answer(200, &says(B_WINS));
            }
        }
    });
    let mut model = asked("router", "custom", &limited);
    model.as_object_mut().unwrap().remove("apiKey");
    // A weight of 0 is for when the other one cannot be used.
    model["apiKeys"] = json!([{"id": "one", "key": "first"}, {"id": "two", "key": "second", "weight": 0}]);
    let policies = json!([{"type": "llm", "config": {"routingModelId": "router"}}]);
    let gateway = setup(&policies, &[model]).start();
    for _ in 0..3 {
        assert_eq!(answered(&ask(&gateway, "Hi").expect(200)), "sim/b");
    }
    let records = gateway.usage_records(7);
    let keys: Vec<&Value> = routing_records(&records).iter().map(|record| &record["keyId"]).collect();
    assert_eq!(keys, ["one", "two", "two", "two"]);
}

#[test]
fn a_model_that_keeps_policies_waiting_still_answers_requests() {
    // It answers requests at once, and says nothing when it is asked about them.
    let both = MockUpstream::with(|connection: &mut Connection| {
        while let Some(request) = connection.next_request() {
            if request.json()["messages"][0]["role"] == "user" {
                connection.answer(200, &says("Hello"));
            } else {
                while connection.next_request().is_some() {}
            }
        }
    });
    let policies = json!([{"type": "llm", "config": {"routingModelId": "both", "timeoutMs": 50}}]);
    let mut setup = setup(&policies, &[asked("both", "custom", &both)])
        .setting("upstream.breaker", json!({"failures": 2, "cooldownMs": 600_000}));
    setup.projects[0]["models"] =
        json!([{"modelId": "both", "weight": 1}, {"modelId": "sim/a", "weight": 0}]);
    let gateway = setup.start();
    for _ in 0..6 {
        assert_eq!(answered(&ask(&gateway, "Hi").expect(200)), "both");
    }
    let records = gateway.usage_records(8);
    assert_eq!(routing_records(&records).len(), 2, "{records:?}");
}
