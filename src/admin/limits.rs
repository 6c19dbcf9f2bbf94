//! Limits as the API has them.

use serde_json::{Map, Value};

use super::shape::{Field, Kind, Record};
use crate::config::limit;

pub(super) const MODES: &[&str] = &["replace", "extend", "disable"];

/// A limit.
pub(super) static LIMIT: Record = Record {
    name: "Limit",
    about: "What may be spent in a window. Reached at `value`, so that 0 always blocks.",
    key: "",
    fields: &[
        Field::new("metric", Kind::Word(&["cost", "calls", "input_tokens", "output_tokens", "total_tokens"]))
            .about("`cost` is in USD.")
            .required(),
        Field::new("windowType", Kind::Word(&["period", "rolling"])).required(),
        Field::new("period", Kind::Word(&["hourly", "daily", "weekly", "monthly", "yearly"]))
            .about("With windowType period."),
        Field::new("rollingAmount", Kind::Whole).about("With windowType rolling; 1 where it is absent."),
        Field::new("rollingUnit", Kind::Word(&["second", "minute", "hour", "day", "week", "month"]))
            .about("With windowType rolling."),
        Field::new("value", Kind::Amount).required(),
        Field::new("notifyAt", Kind::List(&Kind::Whole)).about("Percentages, 1 to 100."),
        Field::new("onExhausted", Kind::Word(&["block"])),
        Field::new("id", Kind::Text),
        Field::new("name", Kind::Text),
    ],
};

pub(super) const LIMITS: Kind = Kind::List(&Kind::Record(&LIMIT));

/// A model as a project or a token uses it.
pub(super) static MODEL_REF: Record = Record {
    name: "ModelRef",
    about: "A model as a project or a token uses it. In bodies also just the id.",
    key: "modelId",
    fields: &[
        Field::new("modelId", Kind::Text).required(),
        Field::new("prompt", Kind::Text).about("Guidance for the policy that asks a model."),
        Field::new("weight", Kind::Whole).about("Share of the requests that policies see no difference for."),
        Field::new("limitsMode", Kind::Word(MODES)),
        Field::new("limits", LIMITS),
    ],
};

pub(super) const MODEL_REFS: Kind = Kind::List(&Kind::Record(&MODEL_REF));

/// Puts the limits at a key into today's spelling.
pub(super) fn canonical(body: &mut Map<String, Value>, key: &str) {
    for item in body.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(map) = item {
            *map = limit::canonical(map).0;
        }
    }
}

/// The same for model references, names among which become references.
pub(super) fn canonical_refs(body: &mut Map<String, Value>, key: &str) {
    for item in body.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(id) = item {
            *item = serde_json::json!({"modelId": id});
        }
        if let Value::Object(map) = item {
            canonical(map, "limits");
        }
    }
}
