//! A home of each age.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Document, Documents, Env, TokenHash};
use crate::provider::Catalogue;
use crate::store::secret::SEALED_PREFIX;
use crate::store::secret::tests::{keys, legacy_ciphertext};

struct Taken {
    settings: Value,
    models: Value,
    projects: Value,
    changes: Changes,
}

fn take(settings: Value, models: Value, projects: Value) -> Taken {
    let (mut settings, mut models, mut projects) = (settings, models, projects);
    let changes = plan(&mut settings, &mut models, &mut projects, &keys(1)).unwrap();
    let again = plan(&mut settings.clone(), &mut models.clone(), &mut projects.clone(), &keys(1)).unwrap();
    assert!(again.is_empty(), "a second run changes nothing: {:?}", again.lines);
    Taken { settings, models, projects, changes }
}

fn config(taken: &Taken) -> Config {
    let document = |value: &Value| Document { text: value.to_string(), value: value.clone() };
    let documents = Documents {
        settings: document(&taken.settings),
        models: document(&taken.models),
        projects: document(&taken.projects),
    };
    let catalogue = std::sync::Arc::new(Catalogue::built_in().clone());
    Config::check(&documents, catalogue, &Env::default(), &keys(1), &mut Vec::new())
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn keyed(token: &str) -> TokenHash {
    TokenHash::Keyed(keys(1).token_key().digest(token.as_bytes()))
}

fn member_names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_home_of_upstream_0_2_with_keys_and_tokens_in_clear() {
    let taken = take(
        json!({"port": 3000}),
        json!([{"zeta": 1, "id": "openai/gpt-5", "provider": "openai", "apiKey": "sk-live-1", "cfClearance": "cf", "alpha": {"x": null}},
            {"id": "codex", "provider": "openai-oauth", "apiKey": "~/.codex/auth.json"},
            {"id": "l", "provider": "ollama", "apiKey": ""}]),
        json!([{"id": "p", "name": "P", "custom": [1],
            "tokens": [{"id": "t", "token": "sk-rt-abcdef0123", "tokenSnippet": "sk-rt-abcd", "createdAt": "c", "mine": true},
                       {"id": "u", "token": "sk-lr-999999", "tokenSnippet": "wrong"}]}]),
    );
    let text = format!("{}{}{:?}", taken.models, taken.projects, taken.changes);
    assert!(
        !text.contains("sk-live-1") && !text.contains("sk-rt-abcdef0123") && !text.contains("sk-lr-999999"),
        "{text}"
    );
    assert_eq!(member_names(&taken.models[0]), ["zeta", "id", "provider", "apiKey", "cfClearance", "alpha"]);
    assert!(taken.models[0]["apiKey"].as_str().unwrap().starts_with(SEALED_PREFIX));
    assert_eq!(taken.models[1]["apiKey"], "~/.codex/auth.json");
    let token = &taken.projects[0]["tokens"][0];
    assert_eq!(member_names(token), ["id", "tokenHash", "tokenSnippet", "createdAt", "mine"]);
    assert_eq!(token["tokenSnippet"], "sk-rt-abcd");
    assert_eq!(taken.projects[0]["tokens"][1]["tokenSnippet"], "sk-lr-9999");
    assert_eq!(member_names(&taken.projects[0]), ["id", "name", "custom", "tokens"]);
    let config = config(&taken);
    assert_eq!(config.models()[0].keys[0].secret.expose(), "sk-live-1");
    assert_eq!(config.projects()[0].tokens[0].hash, keyed("sk-rt-abcdef0123"));
    assert_eq!(config.projects()[0].tokens[1].hash, keyed("sk-lr-999999"));
    assert_eq!(
        taken.changes.lines,
        [
            "config/models.json: openai/gpt-5: apiKey encrypted",
            "config/models.json: openai/gpt-5: cfClearance encrypted",
            "config/projects.json: project p, token t: plain token replaced by its keyed hash",
            "config/projects.json: project p, token u: plain token replaced by its keyed hash",
        ]
    );
}

#[test]
fn a_home_of_the_first_releases_with_their_ciphertext() {
    let models = json!([{"id": "a", "provider": "openai", "encryptedApiKey": legacy_ciphertext("sk-old")},
        {"id": "b", "provider": "openai", "encryptedApiKey": "not:of:ours"}]);
    let projects = json!([{"id": "p", "encryptedToken": legacy_ciphertext("sk-lr-first")},
        {"id": "q", "tokens": [{"id": "t", "encryptedToken": legacy_ciphertext("sk-lr-second"), "labels": []},
            {"id": "v", "encryptedToken": "x"}]}]);
    let taken = take(json!({}), models.clone(), projects.clone());
    assert_eq!(member_names(&taken.models[0]), ["id", "provider", "apiKey"]);
    assert_eq!(taken.models[1], models[1], "what does not open is kept");
    let config = config(&taken);
    assert_eq!(config.models()[0].keys[0].secret.expose(), "sk-old");
    assert!(config.models()[1].key_error && !config.models()[1].is_usable());
    let token = &config.projects()[0].tokens[0];
    assert_eq!((token.hash.clone(), token.snippet.as_str()), (keyed("sk-lr-first"), "sk-lr-firs"));
    assert_eq!(config.projects()[1].tokens[0].hash, keyed("sk-lr-second"));
    assert_eq!(config.projects()[1].tokens.len(), 1);
    assert_eq!(taken.changes.notes.len(), 2, "{:?}", taken.changes.notes);

    // Without the old key nothing is touched and everything is said.
    let no_key = Keys::derive(&crate::store::secret::MasterKey::from_hex(&"01".repeat(32)).unwrap(), None);
    let (mut settings, mut same_models, mut same_projects) = (json!({}), models.clone(), projects.clone());
    let changes = plan(&mut settings, &mut same_models, &mut same_projects, &no_key).unwrap();
    assert!(changes.is_empty());
    assert_eq!((same_models, same_projects, changes.notes.len()), (models, projects, 5));
}

#[test]
fn files_written_after_the_docs() {
    let taken = take(
        json!({"budgets": [{"metric": "cost", "limit": 10, "windowType": "period", "windowSize": "month", "onExhausted": "block"}],
            "notifications": [{"id": "mail", "type": "smtp", "password": "pw"}, {"secret": "hook"}]}),
        json!([{"id": "m", "provider": "custom", "baseUrl": "http://h/v1", "inputPrice": 0.0025, "outputPrice": 0.01, "cachePrice": 0.00125},
            {"id": "n", "provider": "custom", "endpoint": "http://h", "inputPrice": 1}]),
        json!([{"id": "p", "defaultTimeoutMs": 5000, "policies": ["cheapest", "random", "health", "round-robin"],
            "models": ["m", {"modelId": "n", "mode": "extend", "limits": [{"metric": "calls", "window": "rolling_hours", "limit": 3}]}],
            "budgets": [{"metric": "calls", "window": "quarter", "value": 1}]}]),
    );
    assert_eq!(member_names(&taken.models[0]), ["id", "provider", "endpoint", "cost"]);
    assert_eq!(
        taken.models[0]["cost"].to_string(),
        r#"{"inputPerMillion":2.5,"outputPerMillion":10,"cachePerMillion":1.25}"#
    );
    assert_eq!(taken.models[1]["inputPrice"], 1, "half a price is left alone");
    assert_eq!(
        taken.projects[0]["policies"],
        json!([{"type": "cheapest", "enabled": true}, {"type": "health", "enabled": true}])
    );
    assert_eq!(taken.projects[0]["models"][0], json!({"modelId": "m"}));
    let config = config(&taken);
    assert_eq!(config.settings().budgets[0].value, 10_000_000_000_000);
    assert_eq!(config.models()[0].prices.base().input, 2_500_000);
    let project = &config.projects()[0];
    assert_eq!(project.timeout, Some(std::time::Duration::from_secs(5)));
    assert_eq!(project.models[1].limits.mode, crate::config::LimitsMode::Extend);
    assert_eq!(
        project.limits.limits[0].window,
        crate::config::Window::Calendar(crate::config::Period::Daily)
    );
    assert!(taken.changes.notes[0].contains("quarter"));
    let channels = &taken.settings["notifications"];
    let open = |at: usize, id, field: &str| {
        let sealed = channels[at][field].as_str().unwrap();
        keys(1).unseal("settings.json", id, field, sealed).unwrap().expose().to_owned()
    };
    assert_eq!((open(0, "mail", "password"), open(1, "channel_1", "secret")), ("pw".into(), "hook".into()));
}

#[test]
fn thresholds_become_limits_where_there_are_none() {
    let kept = json!([{"metric": "calls", "windowType": "period", "period": "daily", "value": 1}]);
    let taken = take(
        json!({}),
        json!([{"id": "m", "provider": "ollama", "globalThresholds": {"daily": 5, "monthly": 50.5}, "z": 1},
            {"id": "n", "provider": "ollama", "limits": kept, "globalThresholds": {"daily": 5}}]),
        json!([{"id": "p", "models": [{"modelId": "m", "thresholds": {"weekly": 1}, "limits": []}],
            "tokens": [{"id": "t", "models": [{"modelId": "m", "thresholds": {"monthly": 2}}]}]}]),
    );
    assert_eq!(member_names(&taken.models[0]), ["id", "provider", "limits", "z"]);
    assert_eq!(
        taken.models[0]["limits"][1],
        json!({"metric": "cost", "windowType": "period", "period": "monthly", "value": 50.5})
    );
    assert_eq!(taken.models[1]["limits"], kept);
    assert_eq!(taken.projects[0]["models"][0]["limits"][0]["period"], "weekly");
    assert_eq!(taken.projects[0]["tokens"][0]["models"][0]["limits"][0]["value"], 2);
    config(&taken);
}

#[test]
fn a_slug_used_twice_gets_a_number_and_policies_keep_their_keys_locked() {
    let taken = take(
        json!({"notifications": {"ses": {"secretAccessKey": "s"}, "channels_note": 1}}),
        json!([]),
        json!([{"id": "1", "slug": "a"}, {"id": "2", "slug": "a-2"}, {"id": "3", "slug": "a"}, {"id": "4", "slug": "a"},
            {"id": "5", "policies": [{"type": "llm", "config": {"cache": {"embedding_api_key": "ek"}}}]}]),
    );
    let slugs: Vec<&str> =
        taken.projects.as_array().unwrap().iter().filter_map(|project| project["slug"].as_str()).collect();
    assert_eq!(slugs, ["a", "a-2", "a-3", "a-4"]);
    let sealed = taken.projects[4]["policies"][0]["config"]["cache"]["embedding_api_key"].as_str().unwrap();
    assert_eq!(keys(1).unseal("projects.json", "5", "embedding_api_key", sealed).unwrap().expose(), "ek");
    let sealed = taken.settings["notifications"]["ses"]["secretAccessKey"].as_str().unwrap();
    assert!(keys(1).unseal("settings.json", "migrated_ses", "secretAccessKey", sealed).is_some());
}

#[test]
fn documents_of_any_shape_are_left_alone() {
    for value in
        [json!(null), json!(3), json!([1, "a", null, [], {}]), json!({"budgets": 3, "notifications": 7})]
    {
        let taken = take(value.clone(), value.clone(), value.clone());
        assert_eq!((&taken.settings, &taken.models, &taken.projects), (&value, &value, &value));
    }
    let odd = json!([{"id": 7, "apiKey": 8, "limits": 9, "tokens": {"a": 1}, "models": "m", "policies": 1, "encryptedToken": {}}]);
    let taken = take(json!({}), odd.clone(), odd.clone());
    assert_eq!((taken.models, taken.projects), (odd.clone(), odd));
}

#[test]
fn the_backup_is_made_once_and_holds_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    home.create(&Env::default()).unwrap();
    fs::write(home.file("config/models.json"), "[{\"id\":\"m\",\"provider\":\"openai\",\"apiKey\":\"k\"}]")
        .unwrap();
    fs::write(home.file("data/usage.json"), "[]").unwrap();
    let mut models = json!([{"id": "m", "provider": "openai", "apiKey": "k"}]);
    let changes = plan(&mut json!({}), &mut models, &mut json!([]), &keys(1)).unwrap();
    let documents = [(MODELS, &models), (SETTINGS, &Value::Null), (PROJECTS, &Value::Null)];
    let stamps = changes.apply(&home, documents, 1_767_225_600_000).unwrap();
    assert_eq!(stamps.len(), 1, "only what changed is written");
    let backup = directory.path().join("backup-20260101T000000Z");
    assert!(fs::read_to_string(backup.join("config/models.json")).unwrap().contains("\"k\""));
    for name in ["config/settings.json", "config/secret", "data/usage.json"] {
        assert!(backup.join(name).exists(), "{name}");
    }
    assert!(fs::read_to_string(home.file(MODELS)).unwrap().contains(SEALED_PREFIX));
    changes.apply(&home, documents, 1_767_225_700_000).unwrap();
    let backups = fs::read_dir(directory.path()).unwrap().flatten();
    let count = backups.filter(|entry| entry.file_name().to_string_lossy().starts_with("backup")).count();
    assert_eq!(count, 1);
}

/// Documents of the keys that the takeover looks at, with values of every kind under them.
fn document() -> impl Strategy<Value = Value> {
    let keys = "(id|apiKey|encryptedApiKey|baseUrl|endpoint|cost|inputPrice|outputPrice|globalThresholds|daily|\
                limits|limit|value|window|windowType|windowSize|rollingUnit|period|budgets|mode|models|tokens|token|\
                tokenHash|tokenSnippet|encryptedToken|thresholds|policies|slug|notifications|channels|password)";
    let scalars = prop_oneof![
        Just(json!(null)),
        Just(json!(1.5)),
        Just(json!(-1e300)),
        "(rolling_)?(day|hours|s|ss|ENCRYPTED:v1:x|daily|rolling|period|)".prop_map(Value::from),
    ];
    scalars.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_breaks_the_takeover_and_a_second_run_changes_nothing(
        settings in document(),
        items in prop::collection::vec(document(), 0..4),
    ) {
        take(settings, Value::from(items.clone()), Value::from(items));
    }
}
