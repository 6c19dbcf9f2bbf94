//! The same model again: when, how often, and within which budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{answer, ask, model};
use crate::support::upstream::{Connection, behaviour};
use crate::support::{MockUpstream, Setup, on_each_driver};

/// A provider that answers so often with these bytes, and then well.
fn fails_first(times: usize, bytes: String) -> MockUpstream {
    let met = Arc::new(AtomicUsize::new(0));
    MockUpstream::with(move |connection: &mut Connection| {
        while connection.next_request().is_some() {
            let fails = met.fetch_add(1, Ordering::SeqCst) < times;
            connection.send(if fails { bytes.clone() } else { behaviour::json_answer(200, behaviour::CHAT) });
        }
    })
}

#[test]
fn a_passing_failure_of_the_only_model_is_nothing_to_a_client() {
    on_each_driver(|driver| {
        for (status, fields) in [
            (500, ""),
            (503, ""),
            (529, ""),
            (408, ""),
            (409, ""),
            (429, "Retry-After: 0\r\n"),
            (429, "Retry-After-Ms: 30\r\n"),
            (429, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
        ] {
            let upstream = fails_first(1, answer(status, fields, "{}"));
            let gateway = Setup::new().model(model("m", &upstream)).driver(driver).start();
            gateway.call(ask(false)).expect(200);
            let records = gateway.usage_records(2);
            assert_eq!((&records[0]["httpStatus"], &records[1]["attempt"]), (&json!(status), &json!(2)));
        }
    });
}

#[test]
fn what_takes_too_long_is_not_waited_for() {
    on_each_driver(|driver| {
        for (fields, setting, value) in [
            ("Retry-After: 30\r\n", "upstream.retryMaxMs", 2_000),
            // By default a rate limit without a word on it lasts longer than anybody waits.
            ("", "upstream.retryMaxMs", 2_000),
            ("Retry-After: 1\r\n", "upstream.totalTimeoutMs", 900),
            ("Retry-After: 0\r\n", "upstream.retries", 0),
        ] {
            let upstream = fails_first(1, answer(429, fields, "{\"error\":\"slow\"}"));
            let gateway =
                Setup::new().model(model("m", &upstream)).setting(setting, value).driver(driver).start();
            let answered = gateway.call(ask(false)).expect(429);
            assert_eq!(answered.text(), "{\"error\":\"slow\"}", "{fields} {setting}");
            assert_eq!(gateway.usage_records(1).len(), 1);
        }
    });
}

#[test]
fn the_client_s_own_faults_and_broken_answers_are_not_asked_for_again() {
    on_each_driver(|driver| {
        for (bytes, status) in [(answer(400, "", "{}"), 400), (answer(404, "", "{}"), 404)] {
            let upstream = fails_first(1, bytes);
            let gateway = Setup::new().model(model("m", &upstream)).driver(driver).start();
            gateway.call(ask(false)).expect(status);
        }
        let upstream = MockUpstream::with(behaviour::closes_before_head);
        let gateway = Setup::new().model(model("m", &upstream)).driver(driver).start();
        gateway.call(ask(false)).expect(502);
        assert_eq!(upstream.accepted(), 1);
    });
}

#[test]
fn a_client_that_leaves_during_a_wait_ends_it() {
    on_each_driver(|driver| {
        let upstream = fails_first(usize::MAX, answer(500, "", "{}"));
        let gateway = Setup::new()
            .model(model("m", &upstream))
            .setting("upstream.retryBaseMs", 60_000)
            .setting("upstream.retryMaxMs", 60_000)
            .driver(driver)
            .start();
        let mut client = gateway.client();
        client.send(ask(false));
        upstream.next_request();
        gateway.usage_records(1);
        drop(client);
        let line = gateway.wait_for_line("\"request\"; \"outcome\":\"client_closed\"");
        assert!(line.contains("\"attempts\":1"), "{line}");
    });
}

#[test]
fn retries_end_with_the_budget() {
    on_each_driver(|driver| {
        let upstream = fails_first(usize::MAX, answer(500, "", "{}"));
        let gateway = Setup::new()
            .model(model("m", &upstream))
            .setting("upstream.retryBudgetPercent", 20)
            .setting("upstream.retryBudgetPerSecond", 0)
            .setting("upstream.retryBaseMs", 0)
            .driver(driver)
            .start();
        let mut client = gateway.client();
        for _ in 0..50 {
            client.call(ask(false)).expect(500);
        }
        let retries = gateway.metric("routerly_upstream_retries_total{reason=\"status\"}");
        assert!((8.0..=10.0).contains(&retries), "a fifth of fifty: {retries}");
        assert_eq!(gateway.metric("routerly_upstream_retries_refused_total"), 50.0 - retries);
    });
}
