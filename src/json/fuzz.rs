//! Bodies of the fuzz targets `request_facts` and `usage_scan`, also run by the unit tests.

use serde_json::Value;

use super::facts::{FactsError, request_facts};
use super::splice::{Edits, Splices};
use super::tap::{Action, MemberTap, Target};

const TARGETS: &[Target] = &[
    Target { name: "usage", action: Action::Keep { bytes_max: 1 << 20 } },
    Target { name: "model", action: Action::Keep { bytes_max: 16 } },
    Target { name: "error", action: Action::Keep { bytes_max: 1 << 20 } },
    Target { name: "x", action: Action::Weigh },
];

/// Facts agree with a full parse, and editing the bytes is editing the document.
pub fn facts(body: &[u8]) {
    let parsed: Result<Value, _> = serde_json::from_slice(body);
    let facts = match request_facts(body) {
        Ok(facts) => facts,
        Err(FactsError::Duplicate { .. } | FactsError::WrongType { .. } | FactsError::NotText { .. }) => {
            return;
        }
        Err(FactsError::NotObject { .. }) => {
            assert!(!parsed.is_ok_and(|value| value.is_object()), "an object was refused as something else");
            return;
        }
        Err(error) => {
            // Numbers that no float holds and unpaired surrogates are the other parser's own refusals.
            assert!(parsed.is_err(), "a good body was refused: {error}");
            return;
        }
    };
    // serde_json stops at a depth of 128 and at what its types cannot hold; then there is nothing to compare with.
    let Ok(parsed) = parsed else { return };
    let object = parsed.as_object().expect("facts are of objects only");
    assert_eq!(facts.model(body), object.get("model").and_then(Value::as_str));
    assert_eq!(facts.stream, object.get("stream").and_then(Value::as_bool));
    assert_eq!(facts.stream_options.is_some(), object.contains_key("stream_options"));
    assert_eq!(facts.is_empty(), object.is_empty());

    let edits =
        Edits { model: Some("m\"\n"), stream: false, include_usage: true, strip: &["temperature", "a"] };
    let mut splices = Splices::new();
    splices.plan(body, &facts, &edits).expect("facts are of this body");
    let mut edited = Vec::new();
    splices.append_to(body, &mut edited);
    assert_eq!(edited.len(), splices.body_len());
    let mut expected = parsed;
    let object = expected.as_object_mut().expect("an object");
    edits.strip.iter().for_each(|name| drop(object.remove(*name)));
    object.insert("model".into(), "m\"\n".into());
    let options = object.entry("stream_options").or_insert(Value::Null);
    if options.is_null() {
        *options = Value::Object(serde_json::Map::new());
    }
    options["include_usage"] = true.into();
    let edited: Value = serde_json::from_slice(&edited).expect("an edited body is a body");
    assert_eq!(edited, expected);
}

/// Every way of cutting a body gives the same members, and they are those of a full parse.
pub fn tap(body: &[u8]) {
    let whole = tapped(&[body]);
    let cuts = if body.len() <= 512 { body.len() } else { 16 };
    for step in 0..=cuts {
        let (head, tail) = body.split_at(step * body.len() / cuts.max(1));
        assert_eq!(tapped(&[head, tail]), whole, "cut at {}", head.len());
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(tapped(&bytes), whole, "byte by byte");

    let Ok(parsed) = serde_json::from_slice::<Value>(body) else { return };
    let objects: Vec<&Value> = match &parsed {
        Value::Object(_) => vec![&parsed],
        Value::Array(elements) if elements.iter().all(Value::is_object) => elements.iter().collect(),
        _ => return,
    };
    assert!(whole.complete);
    for (name, kept) in [("usage", &whole.usage), ("error", &whole.error)] {
        let expected = objects.iter().rev().find_map(|object| object.get(name));
        let kept =
            kept.as_ref().map(|raw| serde_json::from_slice::<Value>(raw).expect("a member's bytes are JSON"));
        assert_eq!(kept.as_ref(), expected, "{name}");
    }
}

#[derive(Debug, PartialEq)]
struct Tapped {
    usage: Option<Vec<u8>>,
    model: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
    weight: u64,
    complete: bool,
}

fn tapped(pieces: &[&[u8]]) -> Tapped {
    let mut tap = MemberTap::new(TARGETS);
    pieces.iter().for_each(|piece| tap.feed(piece));
    let member = |name| tap.member(name).map(<[u8]>::to_vec);
    Tapped {
        usage: member("usage"),
        model: member("model"),
        error: member("error"),
        weight: tap.weight(),
        complete: tap.is_complete(),
    }
}

/// The seeds of a fuzz target.
#[cfg(test)]
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("the corpus is part of the repository");
    let inputs: Vec<_> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() > 3, "{} has seeds", folder.display());
    inputs
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fuzz_corpus_holds() {
        for input in super::corpus("request_facts") {
            super::facts(&input);
        }
    }

    #[test]
    fn facts_agree_with_a_full_parse() {
        let bodies = [
            r#"{"model":"a","stream":true,"temperature":1,"messages":[]}"#,
            r#" { "a" : 1 , "stream_options" : { "x" : 1 } } "#,
            r#"{"temperature":1}"#,
            r#"{"a":1,"temperature":2,"model":"\u00e9"}"#,
            r#"{"stream_options":{"include_usage":null},"a":[{}]}"#,
            "{}",
            "[]",
            "{\"a\":1",
            "{\"\\u0061\":1}",
            "{\"a\":1e999}",
        ];
        for body in bodies {
            super::facts(body.as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn facts_of_any_text_agree_with_a_full_parse(
            body in r#"\{?("(a|model|stream|stream_options)":(1|"x"|true|null|\{"include_usage":(true|null)\}|\[\{\}\]),? ?){0,5}\}?"#) {
            super::facts(body.as_bytes());
        }
    }
}
