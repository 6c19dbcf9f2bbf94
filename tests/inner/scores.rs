//! The policy `llm`.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{answered, ask, asked, provider, routing_records, says, setup};
use crate::support::upstream::behaviour::{json_answer, never_answers};
use crate::support::{Client, MockUpstream, on_each_driver, post};

fn llm(config: &Value) -> Value {
    json!([{"type": "llm", "config": config}])
}

const B_WINS: &str = r#"{"routing":[{"model":"sim/a","point":0.2},{"model":"sim/b","point":0.9}]}"#;

#[test]
fn the_model_that_scores_highest_answers_and_the_call_is_recorded() {
    on_each_driver(|driver| {
        let router = provider(|_| (200, says(&format!("```json\n{B_WINS}\n```"))));
        let policies =
            llm(&json!({"routingModelId": "router", "autoRouting": false, "maxCompletionTokens": 200,
            "additionalPromptInfo": "Prefer brevity.", "includeReason": true}));
        let gateway = setup(&policies, &[asked("router", "custom", &router)]).driver(driver).start();
        let response = ask(&gateway, "Which one?").expect(200);
        assert_eq!(answered(&response), "sim/b");

        let (_, request) = router.next_request();
        assert_eq!(request.head.field("authorization"), Some("Bearer routing-key"));
        let body = request.json();
        assert_eq!(
            (&body["model"], &body["max_tokens"], body.get("stream")),
            (&json!("router"), &json!(200), None)
        );
        let (system, user) = (&body["messages"][0], &body["messages"][1]);
        assert_eq!((&system["role"], &user["role"]), (&json!("system"), &json!("user")));
        let system = system["content"].as_str().unwrap();
        assert!(system.contains("- id: sim/a\n- id: sim/b\n"), "{system}");
        assert!(system.contains("Prefer brevity.") && system.contains("\"reason\""), "{system}");
        assert!(user["content"].as_str().unwrap().contains("Which one?"));

        let records = gateway.usage_records(2);
        let [routing] = routing_records(&records)[..] else { panic!("{records:?}") };
        let of = |key: &str| &routing[key];
        assert_eq!(
            (of("modelId"), of("projectId"), of("tokenId")),
            (&json!("router"), &json!("demo"), &json!("demo-token"))
        );
        assert_eq!(
            (of("inputTokens"), of("outputTokens"), of("outcome")),
            (&json!(50), &json!(10), &json!("success"))
        );
        assert_eq!(of("cost"), &json!(0.000_07));
        let completion = records.iter().find(|record| record["callType"] == "completion").unwrap();
        assert_eq!((&completion["modelId"], &completion["traceId"]), (&json!("sim/b"), of("traceId")));
    });
}

#[test]
fn the_routing_model_is_asked_in_its_own_dialect() {
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "router", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{"type": "text", "text": B_WINS}],
        "usage": {"input_tokens": 5, "output_tokens": 7},
    });
    let router = provider(move |_| (200, answer.to_string()));
    let mut model = asked("router", "anthropic", &router);
    model["dialect"] = "anthropic-messages".into();
    let gateway = setup(&llm(&json!({"routingModelId": "router"})), &[model]).start();
    assert_eq!(answered(&ask(&gateway, "Hi").expect(200)), "sim/b");
    let (_, request) = router.next_request();
    assert_eq!(request.head.request_line().1, "/v1/messages");
    assert_eq!(request.head.field("x-api-key"), Some("routing-key"));
    assert!(request.head.field("anthropic-version").is_some());
    assert!(request.json()["system"].to_string().contains("sim/a"));
}

#[test]
fn what_cannot_be_read_is_mended_once_without_the_users_words() {
    let calls = AtomicUsize::new(0);
    let router = provider(move |_| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        (200, says(if first { "sim/b gets 0.9, sim/a 0.2" } else { B_WINS }))
    });
    let gateway =
        setup(&llm(&json!({"routingModelId": "router"})), &[asked("router", "custom", &router)]).start();
    assert_eq!(answered(&ask(&gateway, "my secret plan").expect(200)), "sim/b");
    let (first, repair) = (router.next_request().1.json(), router.next_request().1.json());
    assert!(first.to_string().contains("my secret plan"));
    assert!(!repair.to_string().contains("my secret plan"));
    assert!(repair["messages"][1]["content"].as_str().unwrap().contains("sim/b gets 0.9"));
    assert_eq!(routing_records(&gateway.usage_records(3)).len(), 2);
}

#[test]
fn the_next_routing_model_is_asked_when_one_cannot_say() {
    for (status, text) in
        [(200, says("no idea")), (200, says("")), (500, "{}".to_owned()), (401, "{}".to_owned())]
    {
        let first = provider(move |_| (status, text.clone()));
        let second = provider(|_| (200, says(B_WINS)));
        let policies = llm(&json!({"routingModelId": "one", "fallbackModelIds": ["two"]}));
        let models = [asked("one", "custom", &first), asked("two", "custom", &second)];
        let gateway = setup(&policies, &models).start();
        assert_eq!(answered(&ask(&gateway, "Hi").expect(200)), "sim/b", "after status {status}");
    }
}

#[test]
fn a_routing_model_that_fails_or_is_silent_stops_no_request() {
    let broken = provider(|_| (500, "{}".to_owned()));
    let silent = MockUpstream::with(never_answers);
    let closed = MockUpstream::with(|connection| drop(connection.next_request()));
    for upstream in [&broken, &silent, &closed] {
        let policies = llm(&json!({"routingModelId": "router", "timeoutMs": 100}));
        let gateway = setup(&policies, &[asked("router", "custom", upstream)]).start();
        ask(&gateway, "Hi").expect(200);
        let records = gateway.usage_records(2);
        let [routing] = routing_records(&records)[..] else { panic!("{records:?}") };
        assert_ne!(routing["outcome"], "success");
    }
}

#[test]
fn a_client_that_leaves_ends_the_call_to_the_routing_model() {
    on_each_driver(|driver| {
        let router = MockUpstream::manual();
        let policies = llm(&json!({"routingModelId": "router"}));
        let gateway = setup(&policies, &[asked("router", "custom", &router)]).driver(driver).start();
        let mut client = Client::connect(gateway.address());
        let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        client.send(post("/v1/chat/completions", "", &body));
        let mut connection = router.accept();
        connection.read_request();
        drop(client);
        connection.wire.expect_closed();
        let records = gateway.usage_records(1);
        assert_eq!(
            (&records[0]["callType"], &records[0]["outcome"]),
            (&json!("routing"), &json!("client_closed"))
        );
    });
}

#[test]
fn one_candidate_is_not_scored() {
    let router = MockUpstream::with(crate::support::upstream::behaviour::answers(json_answer(200, "{}")));
    let mut setup = setup(&llm(&json!({"routingModelId": "router"})), &[asked("router", "custom", &router)]);
    setup.projects[0]["models"].as_array_mut().unwrap().truncate(1);
    let gateway = setup.start();
    ask(&gateway, "Hi").expect(200);
    assert_eq!(router.accepted(), 0);
}

#[test]
fn the_simulated_provider_can_be_the_routing_model() {
    // It says nothing that could be read, so both calls are made, through a pipe, and the request goes on.
    let model = crate::support::simulated("sim/router", "openai-chat");
    let gateway = setup(&llm(&json!({"routingModelId": "sim/router"})), &[model]).start();
    ask(&gateway, "Hi").expect(200);
    assert_eq!(routing_records(&gateway.usage_records(3)).len(), 2);
}

#[test]
fn routing_calls_count_on_limits_and_are_not_made_beyond_them() {
    let router = provider(|_| (200, says(B_WINS)));
    let mut model = asked("router", "custom", &router);
    model["limits"] = json!([{"metric": "calls", "windowType": "period", "period": "daily", "value": 2}]);
    let mut setup = setup(&llm(&json!({"routingModelId": "router"})), &[model]);
    setup.models[0]["limits"] =
        json!([{"metric": "cost", "windowType": "period", "period": "monthly", "value": 5}]);
    let gateway = setup.start();
    for _ in 0..5 {
        ask(&gateway, "Hi").expect(200);
    }
    let told = router.next_request().1.json()["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(
        told.contains("- id: sim/a\n  limit: cost, monthly, model: 0 USD of 5 USD used, 5 USD left\n"),
        "{told}"
    );
    assert_eq!(routing_records(&gateway.usage_records(7)).len(), 2);
}

#[test]
fn routing_calls_count_on_the_limits_of_the_token() {
    let router = provider(|_| (200, says(B_WINS)));
    let mut setup = setup(&llm(&json!({"routingModelId": "router"})), &[asked("router", "custom", &router)]);
    setup.projects[0]["tokens"][0]["limits"] =
        json!([{"metric": "calls", "windowType": "period", "period": "daily", "value": 5}]);
    let gateway = setup.start();
    // Two calls each, the third request has one left: it is answered, and nobody is asked who should.
    let statuses: Vec<u16> = (0..4).map(|_| ask(&gateway, "Hi").head.status()).collect();
    assert_eq!(statuses, [200, 200, 200, 503]);
    assert_eq!(routing_records(&gateway.usage_records(5)).len(), 2);
}
