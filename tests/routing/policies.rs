//! Policies that decide from the request and the configuration alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{answered, asks, model, setup};
use crate::support::{Setup, on_each_driver, post, simulated};

fn priced(input: u64, output: u64) -> Value {
    json!({"cost": {"inputPerMillion": input, "outputPerMillion": output}})
}

#[test]
fn the_cheapest_model_answers_in_every_dialect() {
    on_each_driver(|driver| {
        let models = [("dear", priced(5, 5)), ("cheap", priced(1, 1)), ("middle", priced(2, 2))];
        let gateway = setup(&models, &["cheapest"]).driver(driver).start();
        let mut client = gateway.client();
        for (path, ask) in asks("Hi", &[]) {
            assert_eq!(answered(&client.call(ask).expect(200)), "cheap", "{path}");
        }
    });
}

#[test]
fn the_next_one_in_the_ranking_answers_where_the_first_fails() {
    let models = [("dear", priced(5, 5)), ("cheap", priced(1, 1)), ("middle", priced(2, 2))];
    let mut setup = setup(&models, &["cheapest"]);
    // Nobody listens there.
    setup.models[1] = json!({"id": "cheap", "provider": "custom", "endpoint": "http://127.0.0.1:1/v1", "apiKey": "k",
        "dialect": "openai-chat", "cost": priced(1, 1)["cost"]});
    let gateway = setup.start();
    for (path, ask) in asks("Hi", &[]) {
        assert_eq!(answered(&gateway.call(ask).expect(200)), "middle", "{path}");
    }
}

#[test]
fn a_long_request_goes_to_who_has_room_for_it() {
    let window = |tokens: u64| json!({"contextWindow": tokens});
    let gateway = setup(&[("small", window(1_000)), ("large", window(100_000))], &["context"]).start();
    let mut client = gateway.client();
    // 900 tokens are 90 % of the small window: a point of 0.55 against 1. With 1,000 it is out.
    for chars in [3_600, 4_000, 40_000] {
        for (path, ask) in asks(&"word ".repeat(chars / 5), &[]) {
            assert_eq!(answered(&client.call(ask).expect(200)), "large", "{chars} {path}");
        }
    }
    // The output that is asked for needs room too.
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5_000});
    assert_eq!(answered(&client.call(post("/v1/chat/completions", "", &body)).expect(200)), "large");
}

#[test]
fn what_a_request_needs_excludes_who_cannot_do_it() {
    let lacks = |what: &str| {
        let mut model = priced(1, 1);
        model["capabilities"] = json!({ what: false });
        model
    };
    let models = [
        ("blind", lacks("vision")),
        ("handless", lacks("functionCalling")),
        ("formless", lacks("json")),
        ("thoughtless", lacks("thinking")),
    ];
    let gateway = setup(&models, &["capability"]).start();
    let mut client = gateway.client();
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h.invalid/a.png"}}]}]);
    let cases = [
        ("blind", json!({"messages": image})),
        ("handless", json!({"messages": [{"role": "user", "content": "Hi"}], "tools": tool})),
        (
            "formless",
            json!({"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_object"}}),
        ),
        ("thoughtless", json!({"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "high"})),
    ];
    for (excluded, body) in cases {
        let mut seen = BTreeMap::new();
        for _ in 0..60 {
            let response = client.call(post("/v1/chat/completions", "", &body)).expect(200);
            *seen.entry(answered(&response).to_owned()).or_insert(0) += 1;
        }
        // The three others share the requests by chance: that one is never met has a probability of (2/3)^60.
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(!seen.contains_key(excluded), "{seen:?}");
    }
}

#[test]
fn weights_follow_the_order_of_the_policies() {
    // 9,800 of 10,000 tokens: a point of 0.19 against 1 for room, of 1 against 0.1 for the price.
    let properties = |window: u64, price: u64| {
        let mut model = priced(price, price);
        model["contextWindow"] = json!(window);
        model
    };
    let models = [("roomy", properties(100_000, 10)), ("cheap", properties(10_000, 1))];
    let text = "word ".repeat(9_800 * 4 / 5);
    for (policies, expected) in [(["context", "cheapest"], "roomy"), (["cheapest", "context"], "cheap")] {
        let gateway = setup(&models, &policies).start();
        for (path, ask) in asks(&text, &[]) {
            assert_eq!(answered(&gateway.call(ask).expect(200)), expected, "{policies:?} {path}");
        }
    }
}

#[test]
fn ties_go_to_the_model_that_speaks_the_clients_dialect() {
    let setup = ["openai-chat", "openai-responses", "anthropic-messages"]
        .iter()
        .fold(Setup::new().project("policies", json!([{"type": "cheapest"}])), |setup, dialect| {
            setup.model(simulated(dialect, dialect))
        });
    let gateway = setup.model(model("dear", &priced(9, 9))).start();
    let expected = [
        ("/v1/chat/completions", "openai-chat"),
        ("/v1/responses", "openai-responses"),
        ("/v1/messages", "anthropic-messages"),
        // Nobody speaks it: the project's order.
        ("/v1beta/models/auto:generateContent", "openai-chat"),
    ];
    for ((path, ask), (same_path, model)) in asks("Hi", &[]).into_iter().zip(expected) {
        assert_eq!((answered(&gateway.call(ask).expect(200)), path), (model, same_path));
    }
}

#[test]
fn the_model_that_the_client_names_comes_before_policies_where_the_project_says_so() {
    let models = [("cheap", priced(1, 1)), ("dear", priced(5, 5))];
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let named =
        |model: &str| post("/v1/chat/completions", "", &json!({"model": model, "messages": messages}));
    for (honor, expected) in [("ignore", "cheap"), ("prefer", "dear"), ("pin", "dear")] {
        let gateway = setup(&models, &["cheapest"]).project("honorRequestedModel", honor).start();
        assert_eq!(answered(&gateway.call(named("dear")).expect(200)), expected, "{honor}");
        assert_eq!(answered(&gateway.call(named("auto")).expect(200)), "cheap", "{honor}");
    }
}

#[test]
fn the_trace_event_names_the_policies_in_force() {
    let models = [("a", priced(1, 1)), ("b", priced(2, 2))];
    let setup = setup(&models, &["health", "cheapest"]);
    let off = json!([{"type": "health"}, {"type": "fairness", "enabled": false}, {"type": "cheapest"}]);
    let gateway = setup.project("policies", off).start();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let response = gateway.call(post("/v1/chat/completions", "", &body)).expect(200);
    let first: Value = serde_json::from_str(&response.events()[0]).unwrap();
    assert_eq!((&first["model"], &first["policies"]), (&json!("a"), &json!(["health", "cheapest"])));
}

#[test]
fn models_that_no_policy_tells_apart_share_the_requests_by_weight() {
    let setup = setup(&[("never", json!({})), ("one", json!({})), ("two", json!({}))], &["capability"]);
    let models =
        json!([{"modelId": "never", "weight": 0}, {"modelId": "one"}, {"modelId": "two", "weight": 2}]);
    let gateway = setup.project("models", models).start();
    let mut client = gateway.client();
    let mut seen = BTreeMap::new();
    for _ in 0..300 {
        let ask = asks("Hi", &[]).remove(0).1;
        *seen.entry(answered(&client.call(ask).expect(200)).to_owned()).or_insert(0) += 1;
    }
    // 100 of 300 with a standard deviation of 8.2: six of them on either side.
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!((51..=149).contains(&seen["one"]), "{seen:?}");
}
