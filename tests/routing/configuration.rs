//! Policies that cannot be meant: refused at the start, and kept out of a running gateway.

use serde_json::json;

use super::{answered, asks, setup};
use crate::support::home::Home;

const BAD: &[(&str, &str)] = &[
    (r#"[{"type": "cheapst"}]"#, "[0].policies[0].type: found \"cheapst\""),
    (r#"[{"type": "round-robin"}]"#, "which is no policy: \"fairness\" levels out"),
    (
        r#"[{"type": "llm", "config": {"routingModelId": "gone"}}]"#,
        "\"gone\", which is not in config/models.json",
    ),
    (
        r#"[{"type": "llm", "config": {"modelId": "a", "fallbackModelIds": ["b", "a"]}}]"#,
        "fallbackModelIds[1]: found \"a\" again: the list would go in a circle",
    ),
    (r#"[{"type": "health", "config": {"circuitBreaker": 2}}]"#, "expected a number from 0 to 1"),
];

#[test]
fn policies_that_cannot_be_meant_stop_the_start_with_their_place() {
    let models = [("a", json!({})), ("b", json!({}))];
    for (policies, expected) in BAD {
        let home = Home::of(&setup(&models, &[]));
        home.edit("config/projects.json", |projects| {
            projects[0]["policies"] = serde_json::from_str(policies).unwrap();
        });
        let ended = home.run(&["start"]).expect(1);
        ended.says(&["config/projects.json:", expected]);
    }
}

#[test]
fn a_running_gateway_keeps_its_policies_when_new_ones_cannot_be_meant() {
    let price = |price: u64| json!({"cost": {"inputPerMillion": price, "outputPerMillion": price}});
    let home = Home::of(&setup(&[("dear", price(5)), ("cheap", price(1))], &["cheapest"]));
    let gateway = home.start();
    let ask = || asks("Hi", &[]).remove(0).1;
    assert_eq!(answered(&gateway.call(ask()).expect(200)), "cheap");
    home.edit("config/projects.json", |projects| projects[0]["policies"][0]["type"] = json!("priority"));
    gateway.wait_for_line("which is no policy");
    assert_eq!(answered(&gateway.call(ask()).expect(200)), "cheap");
    home.edit("config/projects.json", |projects| projects[0]["policies"] = json!([]));
    gateway.wait_for_line("configuration in force");
    assert_eq!(answered(&gateway.call(ask()).expect(200)), "dear", "the project's order");
}
