//! Models and endpoints that keep failing are left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{CHAT_PATH, answer, ask, healthy, model, two};
use crate::support::http::contains;
use crate::support::upstream::{Connection, behaviour};
use crate::support::{MockUpstream, Setup, eventually, on_each_driver, post};

/// A provider that fails while a switch is on.
fn switched() -> (MockUpstream, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    let upstream = MockUpstream::with(move |connection: &mut Connection| {
        while connection.next_request().is_some() {
            let fails = switch.load(Ordering::SeqCst);
            connection.send(if fails {
                answer(500, "", "{}")
            } else {
                behaviour::json_answer(200, behaviour::CHAT)
            });
        }
    });
    (upstream, fails)
}

#[test]
fn a_model_that_keeps_failing_is_left_alone_and_found_again() {
    on_each_driver(|driver| {
        let ((bad, fails), good) = (switched(), healthy());
        let rules = json!({"failures": 3, "cooldownMs": 300});
        let gateway = two(&bad, &good).setting("upstream.breaker", rules).driver(driver).start();
        let mut client = gateway.client();
        for _ in 0..20 {
            assert_eq!(client.call(ask(false)).expect(200).field("x-routerly-model"), Some("good"));
        }
        let opened = gateway.metric("routerly_breakers_opened_total");
        assert!(opened >= 1.0);
        let asked = gateway.metric("routerly_upstream_attempts_total") as usize - 20;
        // Three times, and once more for each time that the cool-down was over.
        assert!(asked <= 2 + opened as usize, "asked {asked} times, opened {opened} times");
        fails.store(false, Ordering::SeqCst);
        eventually("the model is found to work again", || {
            let answered = client.call(ask(false)).expect(200);
            (answered.field("x-routerly-model") == Some("bad")).then_some(())
        });
        assert_eq!(client.call(ask(false)).expect(200).field("x-routerly-model"), Some("bad"));
        assert!(gateway.metric("routerly_breakers_closed_total") >= 1.0);
    });
}

#[test]
fn what_is_known_is_shared_by_cores_and_stays_over_a_reload() {
    on_each_driver(|driver| {
        let ((bad, _), good) = (switched(), healthy());
        let rules = json!({"failures": 4, "cooldownMs": 600_000});
        let gateway = two(&bad, &good).setting("upstream.breaker", rules).cores(2).driver(driver).start();
        // A new connection each: both cores get some.
        for _ in 0..30 {
            gateway.call(ask(false)).expect(200);
        }
        let first = gateway.metric("routerly_upstream_attempts_total");
        assert_eq!(first, 34.0, "four calls in all, on whichever core");
        gateway.reload();
        for _ in 0..10 {
            gateway.call(ask(false)).expect(200);
        }
        assert_eq!(gateway.metric("routerly_upstream_attempts_total"), 44.0);
    });
}

#[test]
fn an_endpoint_that_cannot_be_reached_takes_all_its_models_along() {
    on_each_driver(|driver| {
        let good = healthy();
        let nowhere = |id: &str| {
            let mut model = model(id, &good);
            model["endpoint"] = json!("http://127.0.0.1:1/v1");
            model
        };
        let rules = json!({"failures": 4, "cooldownMs": 600_000});
        let gateway = Setup::new()
            .model(nowhere("one"))
            .model(nowhere("two"))
            .model(model("good", &good))
            .setting("upstream.breaker", rules)
            .driver(driver)
            .start();
        let mut client = gateway.client();
        for _ in 0..10 {
            client.call(ask(false)).expect(200);
        }
        // Two of each model are four of the endpoint.
        assert_eq!(gateway.metric("routerly_upstream_connect_errors_total"), 4.0);
    });
}

#[test]
fn with_everything_down_the_best_is_asked_all_the_same() {
    on_each_driver(|driver| {
        let ((first, fails), (second, _)) = (switched(), switched());
        let rules = json!({"failures": 1, "cooldownMs": 600_000});
        let gateway = two(&first, &second)
            .setting("upstream.breaker", rules)
            .setting("upstream.retries", 0)
            .driver(driver)
            .start();
        let mut client = gateway.client();
        client.call(ask(false)).expect(500);
        fails.store(false, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(client.call(ask(false)).expect(200).field("x-routerly-model"), Some("bad"));
        }
    });
}

#[test]
fn the_trace_says_who_was_left_aside_and_why() {
    on_each_driver(|driver| {
        let ((bad, _), limited, good) = (
            switched(),
            MockUpstream::with(behaviour::answers(answer(429, "Retry-After: 600\r\n", "{}"))),
            healthy(),
        );
        let mut nowhere = model("nowhere", &good);
        nowhere["endpoint"] = json!("http://127.0.0.1:1/v1");
        let gateway = Setup::new()
            .model(model("bad", &bad))
            .model(nowhere)
            .model(model("limited", &limited))
            .model(model("good", &good))
            .setting("upstream.breaker", json!({"failures": 1, "cooldownMs": 600_000}))
            .driver(driver)
            .start();
        gateway.call(ask(false)).expect(200);
        let body = json!({"stream": true, "messages": []});
        let answered = gateway.call(post(CHAT_PATH, "x-routerly-trace: full\r\n", &body)).expect(200);
        let told = answered.events().into_iter().filter_map(|event| {
            let event: Value = serde_json::from_str(&event).ok()?;
            let entry = event.get("entry").filter(|entry| entry["message"] == "model:skipped")?;
            Some((entry["panel"].clone(), entry["details"].clone()))
        });
        let skipped =
            |model: &str, reason: &str| (json!("response"), json!({"modelId": model, "reason": reason}));
        let expected = [
            skipped("bad", "breaker_open"),
            skipped("nowhere", "endpoint_breaker_open"),
            skipped("limited", "keys_resting"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_probe_that_was_too_slow_leaves_the_endpoint_to_the_next_one() {
    on_each_driver(|driver| {
        let good = healthy();
        // Two connections break, then one model is slow and the other one well.
        let shared = MockUpstream::with(|connection: &mut Connection| {
            while let Some(request) = connection.next_request() {
                if connection.index < 2 {
                    return;
                }
                if contains(&request.body, "\"model\":\"well\"") {
                    connection.answer(200, behaviour::CHAT);
                }
            }
        });
        let mut slow = model("slow", &shared);
        slow["timeout"] = json!(100);
        let gateway = Setup::new()
            .model(slow)
            .model(model("well", &shared))
            .model(model("good", &good))
            // Two failures of the endpoint, one of each model.
            .setting("upstream.breaker", json!({"failures": 2, "errorPercent": 0, "cooldownMs": 300}))
            .driver(driver)
            .start();
        assert_eq!(gateway.call(ask(false)).expect(200).field("x-routerly-model"), Some("good"));
        let timeouts = "routerly_upstream_retries_total{reason=\"timeout\"}";
        let answered = eventually("the endpoint to be tried", || {
            let answered = gateway.call(ask(false)).expect(200);
            (gateway.metric(timeouts) > 0.0).then_some(answered)
        });
        assert_eq!(answered.field("x-routerly-model"), Some("well"));
    });
}

#[test]
fn a_probe_for_which_no_time_is_left_is_the_next_request() {
    let refusal = |text: &str| answer(409, "", text);
    let cut = refusal("{\"error\":{}}").replace("{}}", "");
    // The second answer has no end: its text is waited for longer than the whole request may take.
    let gate = MockUpstream::with(move |connection: &mut Connection| {
        while connection.next_request().is_some() {
            let is_cut = connection.index == 0 && connection.requests_read == 2;
            connection.send(if is_cut { cut.clone() } else { refusal("{}") });
        }
    });
    let ((flaky, fails), good) = (switched(), healthy());
    let gateway = Setup::new()
        .model(model("gate", &gate))
        .model(model("flaky", &flaky))
        .model(model("good", &good))
        .setting("upstream.breaker", json!({"failures": 1, "cooldownMs": 1_000}))
        .setting("upstream.totalTimeoutMs", 1_500)
        .start();
    let mut client = gateway.client();
    assert_eq!(client.call(ask(false)).expect(200).field("x-routerly-model"), Some("good"));
    fails.store(false, Ordering::SeqCst);
    client.call(ask(false)).expect(504);
    assert_eq!(client.call(ask(false)).expect(200).field("x-routerly-model"), Some("flaky"));
}
