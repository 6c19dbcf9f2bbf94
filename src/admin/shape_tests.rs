//! Bodies, answers and stored entries by one table.

use serde_json::json;

use super::*;

static PART: Record = Record {
    name: "Part",
    about: "",
    key: "id",
    fields: &[
        Field::new("id", Kind::Text).required(),
        Field::new("size", Kind::Whole),
        Field::new("password", Kind::Secret),
    ],
};
static THING: Record = Record {
    name: "Thing",
    about: "",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).new_only().required(),
        Field::new("name", Kind::Text).required().also(&["title"]),
        Field::new("key", Kind::Secret).bodies(),
        Field::new("state", Kind::Word(&["on", "off"])),
        Field::new("parts", Kind::List(&Kind::Record(&PART))),
        Field::new("config", Kind::Map),
        Field::new("server", Kind::Section),
        Field::new("made", Kind::Time).answers(),
    ],
};

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn read(body: Value, is_new: bool) -> (Value, Vec<String>) {
    let mut problems = Vec::new();
    let body = THING.read(map(body), is_new, &mut problems);
    (body.into(), problems.into_iter().map(|(path, _)| path).collect())
}

#[test]
fn a_body_is_read_with_all_its_mistakes() {
    let body = json!({"id": "x", "title": "T", "made": 3, "more": 1, "parts": [{"id": "a", "size": 3.0}]});
    let (read_body, problems) = read(body.clone(), true);
    assert_eq!(read_body, json!({"id": "x", "name": "T", "parts": [{"id": "a", "size": 3.0}]}));
    assert!(problems.is_empty());
    assert_eq!(read(body, false).0, json!({"name": "T", "parts": [{"id": "a", "size": 3.0}]}));
    let wrong = json!({"name": " ", "state": "of", "key": 3, "parts": [{"size": -1}, 2], "config": []});
    let (rest, problems) = read(wrong, true);
    assert_eq!(problems, ["key", "state", "parts[0].size", "parts[1]", "config", "id", "name"]);
    assert_eq!(rest, json!({"name": " "}));
    assert_eq!(
        read(json!({"name": null, "state": null}), false),
        (json!({"state": null}), vec!["name".to_owned()])
    );
}

#[test]
fn what_is_not_sent_stays_and_a_mask_is_what_it_stands_for() {
    let stored = json!({
        "id": "x", "mine": 1, "state": "on", "key": "sealed",
        "parts": [{"id": "a", "size": 1, "password": "p", "mine": 2}, {"id": "b"}],
        "config": {"deep": [{"token": "t", "n": 1}]},
    });
    let merge = |body: Value| {
        let (mut entry, mut problems) = (map(stored.clone()), Vec::new());
        THING.merge(&mut entry, &map(body), &mut problems);
        (Value::from(entry), problems.len())
    };
    assert_eq!(merge(json!({})), (stored.clone(), 0));
    assert_eq!(merge(Value::from(THING.shown(&map(stored.clone())))), (stored.clone(), 0));
    let (entry, problems) = merge(json!({
        "state": null, "key": "k2",
        "parts": [{"id": "b", "password": "q"}, {"id": "a", "password": MASK, "size": 9}],
        "config": {"deep": [{"token": MASK, "n": 2}]},
    }));
    assert_eq!(problems, 0);
    assert_eq!(
        entry,
        json!({
            "id": "x", "mine": 1, "key": "k2",
            "parts": [{"id": "b", "password": "q"}, {"id": "a", "size": 9, "password": "p", "mine": 2}],
            "config": {"deep": [{"token": "t", "n": 2}]},
        })
    );
    let (_, problems) = merge(json!({"parts": [{"id": "c", "password": MASK}], "config": {"token": MASK}}));
    assert_eq!(problems, 2);
}

#[test]
fn secrets_and_what_is_not_listed_are_not_shown() {
    let stored = map(json!({
        "id": "x", "name": "T", "mine": 1, "key": "sealed", "parts": [{"id": "a", "password": "p", "mine": 2}],
        "config": {"deep": [{"token": "t", "n": 1, "apiKey": ""}]}, "state": null,
    }));
    let shown = json!({
        "id": "x", "name": "T", "parts": [{"id": "a", "password": MASK}],
        "config": {"deep": [{"token": MASK, "n": 1, "apiKey": ""}]},
    });
    assert_eq!(Value::from(THING.shown(&stored)), shown);
    assert_eq!(Kind::Record(&THING).fits(&shown, ""), Ok(()));
    assert_eq!(THING.essence(&stored)["key"], "sealed");
    for (value, path) in [
        (json!({"id": "x"}), "name"),
        (json!({"id": "x", "name": "T", "key": "k"}), "key"),
        (json!({"id": "x", "name": "T", "parts": [{"id": 3}]}), "parts[0].id"),
    ] {
        assert_eq!(Kind::Record(&THING).fits(&value, ""), Err(path.to_owned()));
    }
}
