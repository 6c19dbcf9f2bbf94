//! The body of the configuration fuzz target, also run as a test on every build.

use std::sync::Arc;

use super::mistake::{Mistake, Warning};
use super::{Config, Document, Documents, Env, NoKeys};
use crate::provider::Catalogue;

/// Reads arbitrary bytes as each of the configuration files.
///
/// # Panics
/// When a reader breaks, or when a finding stands at a place that the text does not have.
pub fn check_any(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Catalogue::with_local(text);
    let value = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => value,
        Err(error) => return check_places(text, &[Mistake::of_syntax("file", text, &error)], &[]),
    };
    let document = Document { text: text.to_owned(), value };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    for documents in [
        Documents { settings: document.clone(), ..Documents::default() },
        Documents { models: document.clone(), ..Documents::default() },
        Documents { projects: document.clone(), ..Documents::default() },
    ] {
        let mut warnings = Vec::new();
        let checked =
            Config::check(&documents, Arc::clone(&catalogue), &Env::default(), &NoKeys, &mut warnings);
        let mistakes = checked.err().unwrap_or_default();
        check_places(text, &mistakes, &warnings);
    }
}

fn check_places(text: &str, mistakes: &[Mistake], warnings: &[Warning]) {
    let lines = text.split('\n').count();
    let places =
        mistakes.iter().map(|m| (m.line, m.column)).chain(warnings.iter().map(|w| (w.line, w.column)));
    for (line, column) in places {
        assert!(line <= lines, "line {line} of {lines}");
        assert!((line == 0) == (column == 0), "line {line}, column {column}");
        if line > 0 {
            let length = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
            assert!(column <= length + 1, "column {column} of {length}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Files of the fuzz corpus, so that a crash found once stays a test.
    #[test]
    fn the_corpus_is_read_without_harm() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/config");
        let entries =
            std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut count = 0;
        for entry in entries {
            check_any(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 5, "{count} files");
    }

    /// A document with the real keys and values that are likely to be wrong.
    fn document() -> impl Strategy<Value = String> {
        let keys = "(id|provider|cost|inputPerMillion|limits|metric|window|value|models|modelId|tokens|tokenHash|\
                    policies|type|port|host|tls|certFile|upstream|slug|name|endpoint|dialect|pricingTiers|above)";
        let scalars = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("-1".to_owned()),
            Just("1e400".to_owned()),
            Just("0.5".to_owned()),
            Just("18446744073709551615".to_owned()),
            Just("\"openai\"".to_owned()),
            Just("\"é\\u0000\\n\"".to_owned()),
            Just("\"https://h/v1\"".to_owned()),
            Just("\"cost\"".to_owned()),
        ];
        scalars.prop_recursive(6, 80, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(",\n"))),
                prop::collection::vec((keys, inner), 0..6).prop_map(|items| {
                    let members: Vec<String> =
                        items.iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                    format!("{{ {}\n}}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn likely_documents_are_read_without_harm(text in document()) {
            check_any(text.as_bytes());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            check_any(&bytes);
        }

        #[test]
        fn a_document_cut_anywhere_is_read_without_harm(text in document(), cut in any::<prop::sample::Index>()) {
            check_any(&text.as_bytes()[..cut.index(text.len())]);
        }
    }
}
