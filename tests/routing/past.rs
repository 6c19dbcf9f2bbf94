//! Policies that decide from past calls: what happened reaches all cores soon, without anybody being told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{answered, model, setup};
use crate::support::upstream::Connection;
use crate::support::{Gateway, MockUpstream, Response, Setup, eventually, on_each_driver, post};

/// Requests in a row that chance does not send the same way: one in a million.
const IN_A_ROW: usize = 20;

fn ask(gateway: &Gateway) -> Response {
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8});
    gateway.call(post("/v1/chat/completions", "", &body))
}

/// A provider that fails, and how often it was asked.
fn failing() -> (MockUpstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = MockUpstream::with(move |connection: &mut Connection| {
        while connection.next_request().is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
            connection.answer(500, r#"{"error":{"message":"down","type":"server_error"}}"#);
        }
    });
    (upstream, asked)
}

fn at(upstream: &MockUpstream, id: &str) -> serde_json::Value {
    json!({"id": id, "provider": "custom", "endpoint": upstream.url(), "apiKey": "k", "dialect": "openai-chat",
        "cost": {"inputPerMillion": 1, "outputPerMillion": 1}})
}

#[test]
fn a_failing_model_is_left_alone_while_another_one_works() {
    on_each_driver(|driver| {
        let (upstream, asked) = failing();
        let setup = Setup::new().project("policies", json!([{"type": "health"}]));
        let gateway = setup
            .model(at(&upstream, "bad"))
            .model(model("good", &json!({})))
            .cores(2)
            .driver(driver)
            .start();
        eventually("requests in a row that none goes to the failing model", || {
            let before = asked.load(Ordering::SeqCst);
            let all_good = (0..IN_A_ROW).all(|_| ask(&gateway).field("x-routerly-model") == Some("good"));
            (all_good && before >= 3 && asked.load(Ordering::SeqCst) == before).then_some(())
        });
    });
}

#[test]
fn with_all_models_failing_the_answer_says_so_and_asks_nobody() {
    let (upstream, asked) = failing();
    let setup = Setup::new().project("policies", json!([{"type": "health"}]));
    let gateway = setup.model(at(&upstream, "one")).model(at(&upstream, "two")).start();
    let refused = eventually("both models to be left alone", || {
        let before = asked.load(Ordering::SeqCst);
        let response = ask(&gateway);
        (response.text().contains("policies") && asked.load(Ordering::SeqCst) == before).then_some(response)
    });
    let message = refused.expect(503).json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("`one` (health: ") && message.contains("`two` (health: "), "{message}");
}

#[test]
fn the_faster_model_answers_once_both_are_known() {
    let slow = json!({"simulated": {"ttftMs": 150, "tokensPerSecond": 0, "outputTokens": 4}});
    let fast = json!({"simulated": {"ttftMs": 10, "tokensPerSecond": 0, "outputTokens": 4}});
    for metric in ["latency", "ttft", "perOutputToken"] {
        let policies = json!([{"type": "performance", "config": {"metric": metric}}]);
        let gateway = setup(&[("slow", slow.clone()), ("fast", fast.clone())], &[])
            .project("policies", policies)
            .start();
        eventually("requests in a row that the fast model answers", || {
            (0..IN_A_ROW).all(|_| answered(&ask(&gateway).expect(200)) == "fast").then_some(())
        });
    }
}

#[test]
fn a_cap_on_calls_holds_models_back() {
    let limited = json!({"limits": [{"metric": "calls", "window": "daily", "value": 1_000_000}]});
    let policies = json!([{"type": "rate-limit", "config": {"windowMinutes": 5, "maxCallsPerWindow": 4}}]);
    let models = [("a", limited.clone()), ("b", limited), ("free", json!({}))];
    let gateway = setup(&models, &[]).project("policies", policies).start();
    // Models without a limit of their own on calls do not take part: they stay.
    eventually("requests in a row that the model without a limit answers", || {
        (0..IN_A_ROW).all(|_| answered(&ask(&gateway).expect(200)) == "free").then_some(())
    });
}

#[test]
fn fairness_gives_a_turn_to_who_had_none() {
    let setup = setup(&[("first", json!({})), ("second", json!({}))], &["fairness"]);
    // By chance alone the second one would never be asked.
    let models = json!([{"modelId": "first"}, {"modelId": "second", "weight": 0}]);
    let gateway = setup.project("models", models).start();
    assert_eq!(answered(&ask(&gateway).expect(200)), "first");
    eventually("a turn of the second model", || {
        (answered(&ask(&gateway).expect(200)) == "second").then_some(())
    });
}
