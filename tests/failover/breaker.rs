//! Models and endpoints that keep failing are left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{answer, ask, healthy, model, two};
use crate::support::upstream::{Connection, behaviour};
use crate::support::{MockUpstream, Setup, eventually, on_each_driver};

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
