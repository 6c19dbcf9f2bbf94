//! Models with several keys.

use serde_json::{Value, json};

use super::{CHAT_PATH, answer, ask, bearer, model};
use crate::support::upstream::{Connection, behaviour};
use crate::support::{Gateway, MockUpstream, Setup, on_each_driver, post};

/// A provider that answers each key as `judge` says.
fn judging(judge: impl Fn(&str) -> String + Send + Sync + 'static) -> MockUpstream {
    MockUpstream::with(move |connection: &mut Connection| {
        while let Some(request) = connection.next_request() {
            connection.send(judge(&bearer(&request)));
        }
    })
}

fn with_keys(upstream: &MockUpstream, keys: Value) -> Setup {
    let mut model = model("m", upstream);
    model.as_object_mut().unwrap().remove("apiKey");
    model["apiKeys"] = keys;
    Setup::new().model(model)
}

fn keys_met(upstream: &MockUpstream, count: usize) -> Vec<String> {
    (0..count).map(|_| bearer(&upstream.next_request().1)).collect()
}

fn asks(gateway: &Gateway, count: usize) {
    let mut client = gateway.client();
    for _ in 0..count {
        client.call(ask(false)).expect(200);
    }
}

#[test]
fn calls_are_shared_by_weight_and_records_name_the_key() {
    on_each_driver(|driver| {
        let upstream = judging(|_| behaviour::json_answer(200, behaviour::CHAT));
        let keys = json!([{"id": "a", "key": "key-a", "weight": 3}, {"key": "key-b"}, {"id": "c", "key": "key-c", "weight": 0}]);
        let gateway = with_keys(&upstream, keys).driver(driver).start();
        asks(&gateway, 200);
        let met = keys_met(&upstream, 200);
        let of = |key: &str| met.iter().filter(|met| *met == key).count();
        // Three quarters, within six standard deviations.
        assert!((113..=187).contains(&of("key-a")), "{}", of("key-a"));
        assert_eq!((of("key-a") + of("key-b"), of("key-c")), (200, 0));
        let records = gateway.usage_records(200);
        let named = |id: &str| records.iter().filter(|record| record["keyId"] == id).count();
        assert_eq!((named("a"), named("key-2")), (of("key-a"), of("key-b")));
        // Neither in the home nor in the log is there a key in clear.
        let models = std::fs::read_to_string(gateway.file("config/models.json")).unwrap();
        assert!(!models.contains("key-a") && models.contains("ENCRYPTED:"), "{models}");
        assert!(!gateway.lines().iter().any(|line| line.contains("key-a") || line.contains("key-b")));
    });
}

#[test]
fn requests_that_begin_alike_use_the_same_key() {
    let upstream = judging(|_| behaviour::json_answer(200, behaviour::CHAT));
    let keys: Value = (0..4).map(|number| json!({"key": format!("key-{number}")})).collect();
    let affinity = json!({"enabled": true});
    let gateway = with_keys(&upstream, keys).project("prefixAffinity", affinity).cores(2).start();
    let mut all = std::collections::BTreeSet::new();
    for number in 0..16 {
        for last in ["one", "two", "three"] {
            let messages = json!([{"role": "system", "content": format!("You are agent {number}.")},
                {"role": "user", "content": "first"}, {"role": "assistant", "content": "ok"},
                {"role": "user", "content": last}]);
            let body = json!({"model": "m", "messages": messages});
            gateway.call(post(CHAT_PATH, "", &body)).expect(200);
        }
        let met = keys_met(&upstream, 3);
        assert!(met.iter().all(|key| *key == met[0]), "{met:?}");
        all.insert(met[0].clone());
    }
    assert!(all.len() > 1, "different beginnings are spread: {all:?}");
}

#[test]
fn a_key_that_is_refused_or_limited_gives_way_to_another_one() {
    on_each_driver(|driver| {
        for (status, fields) in [(401, ""), (403, ""), (402, ""), (429, "Retry-After: 60\r\n")] {
            let upstream = judging(move |key| match key {
                "key-good" => behaviour::json_answer(200, behaviour::CHAT),
                _ => answer(status, fields, "{}"),
            });
            let keys =
                json!([{"id": "bad", "key": "key-bad", "weight": 1000}, {"id": "good", "key": "key-good"}]);
            let gateway = with_keys(&upstream, keys).driver(driver).start();
            asks(&gateway, 5);
            // Found out once, then left alone.
            let met = keys_met(&upstream, 6);
            assert_eq!(met.iter().filter(|key| *key == "key-bad").count(), 1, "{status}: {met:?}");
            let records = gateway.usage_records(6);
            let bad: Vec<_> = records.iter().filter(|record| record["keyId"] == "bad").collect();
            assert_eq!((bad.len(), &bad[0]["httpStatus"]), (1, &json!(status)));
            let reason = if status == 429 { "rate_limit" } else { "key" };
            let series = format!("routerly_upstream_retries_total{{reason=\"{reason}\"}}");
            assert_eq!(gateway.metric(&series), 1.0);
            // A reload gives a refused key another chance; one that had too many requests goes on resting.
            gateway.reload();
            asks(&gateway, 1);
            let met = keys_met(&upstream, 1);
            let is_asked_again = status == 401;
            assert_eq!(met[0] == "key-bad", is_asked_again, "{status}");
        }
    });
}

#[test]
fn with_all_keys_refused_the_client_is_told_of_the_gateway_s_trouble() {
    on_each_driver(|driver| {
        let upstream = judging(|_| answer(401, "", "{\"error\":{\"message\":\"bad key\"}}"));
        let keys = json!([{"key": "key-1"}, {"key": "key-2"}, {"key": "key-3"}]);
        let gateway = with_keys(&upstream, keys).driver(driver).start();
        let answered = gateway.call(ask(false)).expect(502);
        assert_eq!(answered.json()["error"]["code"], "upstream_auth");
        let mut met = keys_met(&upstream, 3);
        met.sort();
        assert_eq!(met, ["key-1", "key-2", "key-3"], "each once");
        assert_eq!(gateway.usage_records(3).len(), 3);
    });
}
