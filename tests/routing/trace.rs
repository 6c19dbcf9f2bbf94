//! How a ranking came about, as a client is told that asks for the full trace.

use serde_json::{Value, json};

use super::{answered, model, setup};
use crate::support::{Gateway, post};

/// Messages and details of the entries about routing, in order.
fn entries(gateway: &Gateway, body: &Value) -> (String, Vec<(String, Value)>) {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let response =
        gateway.call(post("/v1/chat/completions", "x-routerly-trace: full\r\n", &body)).expect(200);
    let told = response.events().into_iter().filter_map(|event| {
        let event: Value = serde_json::from_str(&event).ok()?;
        let entry = event.get("entry")?;
        let message = entry["message"].as_str()?.to_owned();
        let is_routing = message.starts_with("policy:") || message.starts_with("router:");
        (is_routing && message != "router:intake").then(|| (message, entry["details"].clone()))
    });
    let told = told.collect();
    (answered(&response).to_owned(), told)
}

fn says(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

#[test]
fn each_policy_says_what_it_gave_and_what_became_of_it() {
    let of = |window: u64, price: f64, can: Value| {
        json!({"contextWindow": window, "capabilities": can,
            "cost": {"inputPerMillion": price, "outputPerMillion": price}})
    };
    let models = [
        ("large", of(100_000, 8.0, json!({}))),
        ("small", of(1_000, 1.0, json!({}))),
        ("middle", of(20_000, 2.0, json!({}))),
        ("formless", of(20_000, 1.0, json!({"json": false}))),
    ];
    let gateway = setup(&models, &["capability", "context", "cheapest"]).start();
    // 3,600 characters and 22 of the format are 906 of 1,000 tokens: a point of 0.523.
    let mut body = says(&"word ".repeat(720));
    body["response_format"] = json!({"type": "json_object"});
    let (model, told) = entries(&gateway, &body);
    assert_eq!(model, "middle");
    let messages: Vec<&str> = told.iter().map(|(message, _)| message.as_str()).collect();
    let expected = [
        "router:policies",
        "policy:result:capability",
        "policy:result:context",
        "policy:result:cheapest",
        "router:excludes",
        "router:abstained",
        "router:recap",
        "router:result",
    ];
    assert_eq!(messages, expected);
    let details: Vec<&Value> = told.iter().map(|(_, details)| details).collect();
    let policies = json!([{"type": "capability", "weight": 3}, {"type": "context", "weight": 2}, {"type": "cheapest", "weight": 1}]);
    assert_eq!(
        *details[0],
        json!({"policies": policies, "candidates": ["large", "small", "middle", "formless"]})
    );
    assert_eq!(details[1]["excludes"], json!([{"model": "formless", "reason": "lacks json"}]));
    let point = |model: &str, point: f64, contribution: f64| json!({"model": model, "point": point, "contribution": contribution});
    let routing = json!([point("large", 1.0, 2.0), point("small", 0.523, 1.046), point("middle", 1.0, 2.0)]);
    assert_eq!(numbers(details[2]["routing"].clone()), numbers(routing));
    let routing = json!([point("large", 0.125, 0.125), point("small", 1.0, 1.0), point("middle", 0.5, 0.5)]);
    assert_eq!(numbers(details[3]["routing"].clone()), numbers(routing));
    assert_eq!(*details[4], json!({"excluded": {"formless": ["capability"]}}));
    assert_eq!(*details[5], json!({"policies": ["capability"]}));
    // (2 + 0.5)/3, (2 + 0.125)/3, (1.046 + 1)/3
    let last = json!([{"rank": 1, "model": "middle", "score": 0.8333}, {"rank": 2, "model": "large", "score": 0.7083},
        {"rank": 3, "model": "small", "score": 0.682}]);
    assert_eq!(numbers(details[6]["final"].clone()), numbers(last));
    assert_eq!(details[6]["policies"][2]["winner"], json!({"model": "small", "point": 1}));
    let models: Vec<&Value> =
        details[7]["final"].as_array().unwrap().iter().map(|one| &one["model"]).collect();
    assert_eq!(models, ["middle", "large", "small"]);
}

/// 1 and 1.0 are the same number.
fn numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap()),
        Value::Array(items) => items.into_iter().map(numbers).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, numbers(value))).collect(),
        other => other,
    }
}

#[test]
fn ties_and_choices_by_chance_are_said() {
    let same = [("one", json!({})), ("two", json!({}))];
    let gateway = setup(&same, &["cheapest"])
        .model(model("dear", &json!({"cost": {"inputPerMillion": 9, "outputPerMillion": 9}})))
        .start();
    let (_, told) = entries(&gateway, &says("Hi"));
    let recap = &told.iter().find(|(message, _)| message == "router:recap").unwrap().1;
    assert_eq!(recap["tie"], json!({"count": 2, "models": ["one", "two"]}));
    let gateway = setup(&same, &["capability"]).start();
    let (_, told) = entries(&gateway, &says("Hi"));
    let (message, result) = told.last().unwrap();
    assert_eq!((message.as_str(), &result["note"]), ("router:result", &json!("all_policies_abstained")));
}

#[test]
fn a_single_candidate_is_said_to_be_one() {
    let gateway = setup(&[("only", json!({}))], &["capability", "cheapest"]).start();
    let (_, told) = entries(&gateway, &says("Hi"));
    let (message, result) = told.last().unwrap();
    assert_eq!((message.as_str(), &result["note"]), ("router:result", &json!("single_candidate_bypass")));
    let messages: Vec<&str> = told.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(messages, ["router:result"]);
    // Without policies as well, and nowhere else: of these two a policy leaves one.
    let gateway = setup(&[("only", json!({}))], &[]).start();
    let (_, told) = entries(&gateway, &says("Hi"));
    assert_eq!((told.len(), &told[0].1["note"]), (1, &json!("single_candidate_bypass")));
    let models = [("blind", json!({"capabilities": {"json": false}})), ("fit", json!({}))];
    let gateway = setup(&models, &["capability"]).start();
    let mut body = says("Hi");
    body["response_format"] = json!({"type": "json_object"});
    let (model, told) = entries(&gateway, &body);
    let results: Vec<&Value> =
        told.iter().filter(|(message, _)| message == "router:result").map(|(_, details)| details).collect();
    assert_eq!((model.as_str(), results.len(), results[0].get("note")), ("fit", 1, None), "{told:?}");
}
