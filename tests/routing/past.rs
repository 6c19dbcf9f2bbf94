//! Policies that decide from past calls: what happened reaches all cores soon, without anybody being told.
//!
//! A call is known to policies once `/metrics` shows it: both come out of the same tick of the control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{answered, model, setup};
use crate::support::home::Home;
use crate::support::process::Process;
use crate::support::upstream::Connection;
use crate::support::{Gateway, MockUpstream, Response, Setup, TOKEN, eventually, on_each_driver, post};

/// Requests in a row that chance does not send the same way: one in a million.
const IN_A_ROW: usize = 20;

fn question() -> Vec<u8> {
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8});
    post("/v1/chat/completions", "", &body)
}

fn ask(gateway: &Gateway) -> Response {
    gateway.call(question())
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
fn an_attempt_after_a_failed_one_says_how_fast_its_model_is() {
    let (upstream, _) = failing();
    let setup = Setup::new()
        .project("policies", json!([{"type": "performance"}]))
        .setting("upstream.breaker", json!({"failures": 0, "errorPercent": 0}));
    // Chance puts the failing model before the others, and these in any order.
    let models = json!([{"modelId": "bad", "weight": 1_000}, {"modelId": "slow"}, {"modelId": "fast"}]);
    let gateway = setup
        .model(at(&upstream, "bad"))
        .model(model("slow", &answers_after(100)))
        .model(model("fast", &answers_after(10)))
        .project("models", models)
        .start();
    eventually("requests in a row that the fast model answers", || {
        (0..IN_A_ROW).all(|_| answered(&ask(&gateway).expect(200)) == "fast").then_some(())
    });
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

/// A model that answers with one word after `ttft_ms`.
fn answers_after(ttft_ms: u64) -> Value {
    json!({"simulated": {"ttftMs": ttft_ms, "tokensPerSecond": 0, "jitter": 0, "outputTokens": 1}})
}

fn fails_with(status: u16) -> Value {
    json!({"simulated": {"ttftMs": 0, "errorRate": 1, "errorStatus": [status]}})
}

fn calls(model: &str) -> String {
    format!("routerly_model_calls_total{{model=\"{model}\"}}")
}

fn failures(model: &str) -> String {
    format!("routerly_model_failures_total{{model=\"{model}\"}}")
}

/// Calls until policies know of a call to `model`.
fn call_until_known(gateway: &Process, model: &str) {
    for asked in 1_u32..=200 {
        gateway.call(question());
        gateway.wait_for_metric("routerly_upstream_attempts_total", |attempts| {
            attempts >= f64::from(asked) && attempts == gateway.metric("routerly_calls_total")
        });
        if gateway.metric(&calls(model)) > 0.0 {
            return;
        }
    }
    panic!("{model} was never called: nothing tells the models apart, so they take turns at random");
}

#[test]
fn a_model_that_failed_once_comes_after_those_that_did_not() {
    on_each_driver(|driver| {
        let models = [("bad", fails_with(500)), ("good", answers_after(0))];
        let setup = setup(&models, &["health"]).driver(driver).cores(2);
        let home = Home::of(&setup);
        let gateway = home.start();
        call_until_known(&gateway, "bad");
        let known = gateway.metric(&failures("bad"));
        assert!(known >= 1.0);
        for _ in 0..20 {
            assert_eq!(answered(&gateway.call(question()).expect(200)), "good");
        }
        // What is known belongs to the model, not to its place in the file.
        home.edit("config/models.json", |models| models.as_array_mut().expect("models").reverse());
        home.edit("config/projects.json", |projects| {
            projects[0]["models"].as_array_mut().expect("models").reverse();
        });
        gateway.reload();
        for _ in 0..20 {
            assert_eq!(answered(&gateway.call(question()).expect(200)), "good");
        }
        home.wait_for_records(40);
        assert_eq!(gateway.metric(&failures("bad")), known, "nobody has tried it again");
    });
}

#[test]
fn what_the_client_did_wrong_is_not_held_against_the_model() {
    let gateway = setup(&[("strict", fails_with(400)), ("other", answers_after(0))], &["health"]).start();
    call_until_known(&gateway, "strict");
    assert_eq!(gateway.metric(&failures("strict")), 0.0);
    // Had it counted as a failure, the other one would be asked from here on.
    let before = gateway.metric(&calls("strict"));
    for _ in 0..60 {
        gateway.call(question());
    }
    gateway.wait_for_metric(&calls("strict"), |calls| calls > before);
}

#[test]
fn a_model_with_all_its_calls_of_the_window_is_left_out_until_none_is_left() {
    let limited = || {
        let mut model = answers_after(0);
        model["limits"] =
            json!([{"metric": "calls", "windowType": "period", "period": "daily", "value": 1000}]);
        model
    };
    let policies = json!([{"type": "rate-limit", "config": {"windowMinutes": 60, "maxCallsPerWindow": 1}}]);
    let gateway = setup(&[("a", limited()), ("b", limited()), ("c", limited())], &[])
        .project("policies", policies)
        .start();
    let mut all: Vec<String> = (1..=3)
        .map(|count| {
            let response = gateway.call(question()).expect(200);
            gateway.wait_for_metric("routerly_calls_total", |calls| calls == f64::from(count));
            answered(&response).to_owned()
        })
        .collect();
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c"], "each had its one call");
    let refused = gateway.call(question()).expect(503);
    for id in ["`a` (rate-limit: ", "`b` (rate-limit: ", "`c` (rate-limit: "] {
        assert!(refused.text().contains(id), "{}", refused.text());
    }
}

#[test]
fn each_project_spreads_its_own_calls_evenly() {
    let fair = json!([{"type": "fairness"}]);
    let token = format!("sk-rt-{}", "7".repeat(64));
    let setup = setup(&[("a", answers_after(0)), ("b", answers_after(0))], &["fairness"]);
    let other = json!({"id": "other", "name": "Other", "models": [{"modelId": "a"}, {"modelId": "b"}, {"modelId": "c"}],
        "policies": fair, "tokens": [{"id": "t", "token": token, "createdAt": "2026-01-01T00:00:00Z"}]});
    let gateway = setup.model(model("c", &answers_after(0))).other_project(other).start();
    let own = |models: &[&str], request: &[u8], before: u32| {
        let mut answers: Vec<String> = Vec::new();
        for _ in models {
            answers.push(answered(&gateway.call(request).expect(200)).to_owned());
            let count = f64::from(before) + answers.len() as f64;
            gateway.wait_for_metric("routerly_calls_total", |calls| calls == count);
        }
        answers.sort_unstable();
        assert_eq!(answers, models);
    };
    own(&["a", "b", "c"], &question(), 0);
    own(&["a", "b", "c"], &question(), 3);
    // The other project knows nothing of these calls, and has an order of its own.
    let others = String::from_utf8(question()).expect("text").replace(TOKEN, &token);
    own(&["a", "b", "c"], others.as_bytes(), 6);
    own(&["a", "b", "c"], &question(), 9);
}

#[test]
fn a_model_whose_breaker_is_open_is_no_candidate_for_health() {
    let (upstream, asked) = failing();
    let setup = Setup::new().project("policies", json!([{"type": "health"}]));
    let rules = json!({"failures": 1, "cooldownMs": 600_000});
    let gateway = setup
        .model(at(&upstream, "one"))
        .model(at(&upstream, "two"))
        .setting("upstream.breaker", rules)
        .setting("upstream.retries", 0)
        .start();
    // One failure of each is too few for the policy's own count.
    ask(&gateway).expect(500);
    let message = ask(&gateway).expect(503).json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with("`one` (health: its breaker is open), `two` (health: its breaker is open)"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_provider_that_has_too_many_requests_is_left_alone_as_long_as_it_said() {
    let upstream = MockUpstream::with(|connection: &mut Connection| {
        while connection.next_request().is_some() {
            connection
                .send("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let setup = Setup::new().project("policies", json!([{"type": "rate-limit"}]));
    let gateway = setup.model(at(&upstream, "one")).model(at(&upstream, "two")).start();
    // The first request finds out about both.
    ask(&gateway).expect(429);
    let message = ask(&gateway).expect(503).json()["error"]["message"].as_str().unwrap().to_owned();
    let reason = "(rate-limit: its provider refuses more calls for now)";
    assert!(message.ends_with(&format!("`one` {reason}, `two` {reason}")), "{message}");
}
