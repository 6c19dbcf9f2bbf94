//! Chains and modes, and what a reload leaves in place.

use serde_json::{Value, json};

use super::*;
use crate::budget::account::Level;
use crate::config::{Document, Documents, Env, NoKeys};
use crate::provider::Catalogue;

pub(in crate::budget) const NOW: Moment = Moment { wall_ms: 1_763_337_600_000, steady_ms: 1_763_337_600_000 };

/// A daily limit of calls.
pub(in crate::budget) fn calls(value: u64) -> Value {
    json!({"metric": "calls", "window": "daily", "value": value})
}

/// A configuration of models `m0` and `m1`, and the given settings and projects.
pub(in crate::budget) fn config(settings: Value, models: [Value; 2], projects: Value) -> Config {
    let document = |value: Value| Document { text: value.to_string(), value };
    let model = |(index, mut extra): (usize, Value)| {
        let known = json!({"id": format!("m{index}"), "provider": "openai", "endpoint": "http://127.0.0.1:1/v1",
            "apiKey": "k", "upstreamModelId": "x"});
        for (key, value) in known.as_object().unwrap() {
            extra[key] = value.clone();
        }
        extra
    };
    let models: Value = models.into_iter().enumerate().map(model).collect();
    let documents =
        Documents { settings: document(settings), models: document(models), projects: document(projects) };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut vec![]).unwrap()
}

pub(in crate::budget) fn token(id: &str, mut extra: Value) -> Value {
    let number = id.bytes().fold(0_u64, |sum, byte| sum * 256 + u64::from(byte));
    extra["id"] = json!(id);
    extra["tokenHash"] = json!(format!("hmac-sha256:{number:064x}"));
    extra
}

const WHO: Who = Who { project: 0, owner: 0, token: 0 };

/// The limits of a chain by value, a minus in front of those that only count.
fn chain(plan: &Plan, chain: Chain) -> Vec<i64> {
    let value = |(entry, enforced): (u32, bool)| {
        let limit = plan.entry(entry).account.level(NOW).limit as i64;
        if enforced { limit } else { -limit }
    };
    chain.entries().map(value).collect()
}

fn with(mut value: Value, key: &str, to: &str) -> Value {
    if !to.is_empty() {
        value[key] = json!(to);
    }
    value
}

#[test]
fn modes_follow_the_table_in_the_whole_chain() {
    // Project's limit and mode, token's limit and mode, and what is enforced of platform (1), project (2), token (3).
    let cases: [(bool, &str, bool, &str, &[i64]); 12] = [
        (true, "", false, "", &[1, 2]),
        (true, "", true, "", &[1, -2, 3]),
        (true, "", true, "replace", &[1, -2, 3]),
        (true, "", false, "replace", &[1, 2]),
        (true, "", true, "extend", &[1, 2, 3]),
        (true, "", false, "extend", &[1, 2]),
        (true, "", false, "disable", &[1, -2]),
        (true, "", true, "disable", &[1, -2, -3]),
        (true, "disable", false, "", &[1, -2]),
        (true, "disable", true, "extend", &[1, -2, 3]),
        (false, "", true, "", &[1, 3]),
        (false, "", false, "", &[1]),
    ];
    for (project, project_mode, own, mode, expected) in cases {
        let limits = |has: bool, value| if has { json!([calls(value)]) } else { json!([]) };
        let token = token("t", with(json!({"limits": limits(own, 3)}), "limitsMode", mode));
        let project = json!({"id": "p", "budgets": limits(project, 2), "tokens": [token]});
        let projects = json!([with(project, "limitsMode", project_mode)]);
        let config = config(json!({"budgets": [calls(1)]}), [json!({}), json!({})], projects);
        let plan = Plan::build(&Book::new(1), &config, NOW);
        assert_eq!(chain(&plan, plan.whole(WHO)), expected, "{project_mode} {mode}");
    }
}

#[test]
fn a_models_chain_goes_from_the_model_over_the_project_to_the_token() {
    // Modes of project×model and token×model; enforced of model (1), project (2), token (3).
    let cases: [(&str, &str, &[i64]); 6] = [
        ("", "", &[-1, -2, 3]),
        ("extend", "", &[-1, -2, 3]),
        ("", "extend", &[-1, 2, 3]),
        ("extend", "extend", &[1, 2, 3]),
        ("disable", "extend", &[-1, -2, 3]),
        ("extend", "disable", &[-1, -2, -3]),
    ];
    for (of_project, of_token, expected) in cases {
        let entry =
            |value, mode| with(json!({"modelId": "m1", "limits": [calls(value)]}), "limitsMode", mode);
        let projects = json!([{"id": "p", "models": [{"modelId": "m0"}, entry(2, of_project)],
            "tokens": [token("t", json!({"models": [entry(3, of_token)]})), token("u", json!({}))]}]);
        let config = config(json!({}), [json!({}), json!({"limits": [calls(1)]})], projects);
        let plan = Plan::build(&Book::new(1), &config, NOW);
        assert_eq!(chain(&plan, plan.model(WHO, 1)), expected, "{of_project} {of_token}");
        assert!(plan.model(WHO, 0).is_empty() && plan.whole(WHO).is_empty());
        let other = Who { token: 1, ..WHO };
        assert_eq!(chain(&plan, plan.model(other, 1)).len(), 2);
    }
}

#[test]
fn a_token_counts_wherever_it_is_used_and_a_project_what_is_billed_to_it() {
    let projects = json!([
        {"id": "p", "budgets": [calls(2)], "tokens": [token("t", json!({"limits": [calls(3)], "limitsMode": "extend",
            "projectIds": ["q"]}))]},
        {"id": "q", "budgets": [calls(4)]},
    ]);
    let config = config(json!({}), [json!({}), json!({})], projects);
    let plan = Plan::build(&Book::new(1), &config, NOW);
    assert_eq!(chain(&plan, plan.whole(WHO)), [2, 3]);
    assert_eq!(chain(&plan, plan.whole(Who { project: 1, ..WHO })), [4, 3]);
    let unknown = Who { project: 7, owner: 7, token: 7 };
    assert!(plan.whole(unknown).is_empty() && plan.model(unknown, 9).is_empty());
}

#[test]
fn accounts_outlive_their_configuration_and_go_with_their_limit() {
    let book = Book::new(2);
    let with = |limits: Value, zone: &str| {
        let settings = json!({"budgets": limits, "timezone": zone});
        Plan::build(&book, &config(settings, [json!({}), json!({})], json!([])), NOW)
    };
    let first = with(json!([calls(5), {"metric": "cost", "window": "daily", "value": 1}]), "UTC");
    first.entry(0).account.charge(0, 3, NOW);
    let held = first.entry(0).account.reserve(1, 1, NOW).unwrap();
    assert_eq!(book.len(), 2);
    let second = with(json!([calls(4)]), "UTC");
    assert!(Arc::ptr_eq(&first.entry(0).account, &second.entry(0).account));
    assert_eq!(second.entry(0).account.level(NOW), Level { used: 3, reserved: 1, limit: 4 });
    assert!(second.entry(0).account.reserve(0, 1, NOW).is_err());
    assert_eq!(book.len(), 1);
    // The same day in another zone: what was spent and what is under way stays spent.
    let third = with(json!([calls(5)]), "Asia/Tokyo");
    assert_eq!(third.entry(0).account.level(NOW), Level { used: 4, reserved: 0, limit: 5 });
    first.entry(0).account.settle(1, held, 1, 1);
    let none = with(json!([]), "UTC");
    assert!(none.is_empty() && book.is_empty());
    assert_eq!(with(json!([calls(5)]), "UTC").entry(0).account.level(NOW).used, 0);
}

#[test]
fn the_lower_of_two_limits_on_the_same_thing_binds() {
    let twice = json!([
        {"metric": "calls", "window": "daily", "value": 9, "notifyAt": [50]},
        {"metric": "calls", "window": "daily", "value": 4, "notifyAt": [90]},
        {"metric": "calls", "window": "rolling_day", "value": 7},
    ]);
    let plan = Plan::build(
        &Book::new(1),
        &config(json!({"budgets": twice}), [json!({}), json!({})], json!([])),
        NOW,
    );
    assert_eq!(chain(&plan, plan.whole(WHO)), [4, 7]);
    assert_eq!(&*plan.entry(0).notify_at_percent, [90, 50]);
    assert_eq!(plan.entry(0).account.key.metric, Metric::Calls);
}
