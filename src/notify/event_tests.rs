//! Events in, notices out.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::budget::key::Key;
use crate::config::limit::{Period, RollingUnit};
use crate::config::{Document, Documents, Env, NoKeys, Window};
use crate::provider::Catalogue;

/// A configuration of these settings, with a project of one token.
pub(in crate::notify) fn config(settings: &Value) -> Config {
    let document = |value: &Value| Document { text: value.to_string(), value: value.clone() };
    let hash = format!("hmac-sha256:{}", "0".repeat(64));
    let documents = Documents {
        settings: document(settings),
        models: Document::default(),
        projects: document(&json!([{"id": "p1", "name": "Shop", "tokens": [
            {"id": "t1", "tokenHash": hash, "tokenSnippet": "sk-rt-abc", "labels": ["till"]}]}])),
    };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut Vec::new()).unwrap()
}

pub(in crate::notify) fn budget(kind: Kind, subject: Subject, window: Window) -> budget::event::Event {
    budget::event::Event {
        kind,
        key: Key { subject, metric: Metric::Cost, window },
        limit: 5_000_000_000_000,
        used: 4_002_000_000_000,
        from_ms: 1_700_006_400_000,
        until_ms: 1_700_092_800_000,
        at_ms: 1_700_010_000_123,
    }
}

const DAILY: Window = Window::Calendar(Period::Daily);

fn project() -> Subject {
    Subject::Project { project: "p1".into() }
}

#[test]
fn a_budget_event_has_the_documented_body() {
    let config = config(&json!({"publicUrl": "https://ai.example"}));
    let notice = Event::Budget(budget(Kind::Threshold { percent: 80 }, project(), DAILY)).notice(&config);
    assert_eq!(
        Value::Object(notice.body),
        json!({
            "event": "budget.threshold",
            "budget": {"level": "project", "name": "Shop", "metric": "cost", "window": "daily", "limit": 5,
                "current": 4.002, "from": "2023-11-15T00:00:00.000Z", "until": "2023-11-16T00:00:00.000Z",
                "percent": 80, "projectId": "p1"},
            "timestamp": "2023-11-15T01:00:00.123Z",
            "id": "budget.threshold:80:project/p1:cost:daily:1700006400000",
        })
    );
    assert_eq!(notice.subject, "[routerly] Budget of project Shop is used up to 80 %");
    assert!(notice.text.contains("4.002 USD of 5 USD, daily"), "{}", notice.text);
    assert!(notice.text.ends_with("https://ai.example\n"));
}

#[test]
fn a_limit_is_named_by_whose_it_is() {
    let config = config(&json!({}));
    let (project, token, model) = (|| "p1".into(), || "t1".into(), || "openai/gpt-5".into());
    for (subject, level, name) in [
        (Subject::Platform, "global", "platform"),
        (Subject::Model { model: model() }, "model", "openai/gpt-5"),
        (Subject::Project { project: "gone".into() }, "project", "gone"),
        (Subject::ProjectModel { project: project(), model: model() }, "project", "Shop with openai/gpt-5"),
        (Subject::Token { project: project(), token: token() }, "token", "till of Shop"),
        (
            Subject::TokenModel { project: project(), token: token(), model: model() },
            "token",
            "till of Shop with openai/gpt-5",
        ),
    ] {
        let notice = Event::Budget(budget(Kind::Exhausted, subject, DAILY)).notice(&config);
        let told = &notice.body["budget"];
        assert_eq!((told["level"].as_str(), told["name"].as_str()), (Some(level), Some(name)));
    }
}

#[test]
fn ids_differ_by_what_happened_and_not_by_when_it_was_seen() {
    let config = config(&json!({}));
    let id = |kind, window, at_ms| {
        Event::Budget(budget::event::Event { at_ms, ..budget(kind, project(), window) }).notice(&config).id
    };
    assert_eq!(id(Kind::Exhausted, DAILY, 1), id(Kind::Exhausted, DAILY, 2));
    let kinds = [80, 90].map(|percent| Kind::Threshold { percent });
    let kinds = [&kinds[..], &[Kind::Exhausted, Kind::Reset]].concat();
    let ids: std::collections::HashSet<_> = kinds.into_iter().map(|kind| id(kind, DAILY, 1)).collect();
    assert_eq!(ids.len(), 4);
    let hour = Window::Rolling { amount: 1, unit: RollingUnit::Hour };
    assert_eq!(id(Kind::Exhausted, hour, 3_600_000), id(Kind::Exhausted, hour, 3_700_000));
    assert_ne!(id(Kind::Exhausted, hour, 3_600_000), id(Kind::Exhausted, hour, 7_200_000));
}

#[test]
fn every_kind_is_told_by_its_name() {
    let config = config(&json!({}));
    let (provider, model, at_ms) = ("openai".to_owned(), "openai/gpt-5".to_owned(), 5);
    let events = [
        Event::Budget(budget(Kind::Threshold { percent: 1 }, project(), DAILY)),
        Event::Budget(budget(Kind::Exhausted, project(), DAILY)),
        Event::Budget(budget(Kind::Reset, project(), DAILY)),
        Event::ProviderUnhealthy { provider: provider.clone(), model: model.clone(), at_ms },
        Event::KeyInvalid { provider, model, key: "second".to_owned(), at_ms },
        Event::DiskLow { free: 5 << 20, below: 9 << 20, at_ms },
    ];
    assert_eq!(events.each_ref().map(Event::kind), EventKind::ALL);
    for event in events {
        let notice = event.notice(&config);
        assert_eq!(notice.event, event.kind().as_str());
        assert_eq!(notice.body["event"], notice.event.as_str());
        assert_eq!(notice.body["id"], notice.id.as_str());
        assert!(!notice.subject.contains(['\r', '\n']));
    }
    assert_eq!(Value::Object(test_notice(String::new(), 0).body)["source"], "Routerly");
}
