//! The documentation against the code: every key, default, metric and flag that is written down is there, and none is
//! missing.

use std::path::Path;
use std::sync::Arc;

use routerly::config::{Config, Document, Documents, Env, NoKeys, Settings};
use routerly::provider::Catalogue;
use routerly::simulate::{SimulatedOverrides, SimulatedSettings};
use routerly::telemetry::names;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The JSON block behind a marker.
fn json_block<'t>(text: &'t str, marker: &str) -> &'t str {
    let (_, rest) = text.split_once(marker).expect("the marker is there");
    let (_, rest) = rest.split_once("```json\n").expect("a block follows");
    rest.split_once("```").expect("the block ends").0
}

/// Whether `word` stands in the text as code or as a key of an example.
fn names_key(text: &str, word: &str) -> bool {
    text.contains(&format!("`{word}`")) || text.contains(&format!("\"{word}\""))
}

/// Keys that a reader of the configuration asks for: the first string of the calls that read one.
fn keys_of(source: &str) -> Vec<&str> {
    const CALLS: [&str; 24] = [
        ".bool(",
        ".integer(",
        ".duration(",
        ".string(",
        ".strings(",
        ".required_string(",
        ".secret(",
        ".word(",
        ".value(",
        ".object(",
        ".each(",
        ".each_object(",
        ".each_member(",
        ".number(",
        "minutes(f, ",
        "at_least(f, ",
        "spelling(f, [",
        "section(f, ",
        "read_limits(f, ",
        "LimitSet::read(f, ",
        "price(",
        ".text(",
        ".either(",
        ".url(",
    ];
    let code = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    let mut keys = Vec::new();
    for call in CALLS {
        for (at, _) in code.match_indices(call) {
            let rest = code[at + call.len()..].trim_start();
            if let Some(key) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                keys.push(key);
            }
        }
    }
    keys
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let documents = [
        (
            "docs/configuration.md",
            &[
                "settings",
                "settings/retry",
                "settings/traces",
                "settings/management",
                "model",
                "keys",
                "project",
                "limit",
            ][..],
        ),
        ("docs/routing.md", &["policy", "embedding"]),
        ("docs/notifications.md", &["notifications/read"]),
    ];
    let files = documents.iter().flat_map(|(doc, files)| files.iter().map(move |file| (read(doc), file)));
    let mut missing = Vec::new();
    let mut count = 0;
    for (doc, file) in files {
        let source = read(&format!("src/config/{file}.rs"));
        for key in keys_of(&source) {
            count += 1;
            // `mode` is how one release spelled `limitsMode`.
            if !names_key(&doc, key) && key != "mode" {
                missing.push(format!("{file}.rs: {key}"));
            }
        }
    }
    assert!(count > 80, "the keys were found: {count}");
    assert!(missing.is_empty(), "not documented: {missing:#?}");
}

#[test]
fn the_documented_settings_are_the_defaults() {
    let doc = read("docs/configuration.md");
    let text = json_block(&doc, "<!-- settings: defaults -->");
    let value = serde_json::from_str(text).expect("the block is JSON");
    let documents = Documents { settings: Document { text: text.to_owned(), value }, ..Documents::default() };
    let mut warnings = Vec::new();
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut warnings)
        .expect("the block has no mistake");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(*config.settings(), Settings::default());
}

#[test]
fn every_variable_is_documented() {
    let doc = read("docs/configuration.md");
    let source = read("src/config/env.rs");
    let code = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    let names: Vec<&str> = ["get(\"", "either(\"", "port(\""]
        .iter()
        .flat_map(|call| code.match_indices(call).map(|(at, found)| &code[at + found.len()..]))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.into_iter().filter(|name| !matches!(*name, "HOME" | "no_proxy")) {
        assert!(doc.contains(&format!("`{name}")), "{name} is not in docs/configuration.md");
    }
}

#[test]
fn the_list_of_metrics_is_that_of_the_code() {
    let doc = read("docs/operations.md");
    for metric in names::ALL {
        let row = format!("| `{}` | {} |", metric.name, metric.help);
        assert!(doc.contains(&row), "docs/operations.md lacks {row}");
    }
    let rows = doc.lines().filter(|line| line.starts_with("| `routerly_")).count();
    assert_eq!(rows, names::ALL.len());
}

#[test]
fn every_setting_of_the_simulated_provider_is_documented() {
    let doc = read("docs/simulate.md");
    let settings = serde_json::to_value(SimulatedSettings::default()).expect("settings are JSON");
    for key in settings.as_object().expect("an object").keys() {
        assert!(doc.contains(&format!("| `{key}` | `--")), "{key} is not in docs/simulate.md");
    }
    // The script's keys are those that an unknown one is answered with.
    let refusal = serde_json::from_str::<SimulatedOverrides>("{\"nothing\":1}").expect_err("refused");
    for key in refusal.to_string().split('`').skip(3).step_by(2) {
        assert!(doc.contains(&format!("| `{key}` |")), "{key} is not in docs/simulate.md");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(root.join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.extend([root.join("README.md"), root.join("CHANGELOG.md")]);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let found = file.parent().expect("a folder").join(path);
            assert!(found.exists(), "{}: {target}", file.display());
        }
    }
}
