//! Limits as they are written on the command line: `cost:period:daily:5`, `calls:rolling:10:minute:100`.
//!
//! Of a token or a project, in front of that stands whose limit it is: a model, or `*` for the whole. Ids of models hold
//! colons (`qwen3:4b`), so a text is read from its end.

use serde_json::{Value, json};

use super::failure::Failure;
use super::print::cell;

const METRICS: [&str; 5] = ["cost", "calls", "input_tokens", "output_tokens", "total_tokens"];
const PERIODS: [&str; 5] = ["hourly", "daily", "weekly", "monthly", "yearly"];
const UNITS: [&str; 6] = ["second", "minute", "hour", "day", "week", "month"];

/// A limit, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    /// Id of a model; none: of the whole.
    pub model: Option<String>,
    /// As the gateway takes it.
    pub limit: Value,
}

/// Which limits are meant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    pub model: Option<String>,
    metric: String,
    window: Window,
}

#[derive(Debug, Clone, PartialEq)]
enum Window {
    /// All of a kind.
    Any(&'static str),
    Period(String),
    Rolling(u64, String),
}

fn word(text: &str, words: &[&str], what: &str) -> Result<String, Failure> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Failure::usage(format!("`{text}` is no {what}: expected one of {}", words.join(", "))))
}

/// A number as JSON; whole ones stay whole, since counts are no fractions.
pub(super) fn amount(number: f64) -> Value {
    if number.fract() == 0.0 && (0.0..9e15).contains(&number) { json!(number as u64) } else { json!(number) }
}

fn owner(parts: &[&str]) -> Option<String> {
    let name = parts.join(":");
    (!name.is_empty() && name != "*").then_some(name)
}

/// Reads `[<model>:]<metric>:period:<period>:<value>` or `[<model>:]<metric>:rolling:<amount>:<unit>:<value>`.
pub(super) fn parse(text: &str) -> Result<Spec, Failure> {
    let expected = || {
        Failure::usage(format!(
            "`{text}` is no limit such as *:cost:period:daily:5 or openai/gpt-5:calls:rolling:10:minute:100"
        ))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [rest @ .., value] = &parts[..] else { return Err(expected()) };
    let value: f64 = value.parse().map_err(|_| expected())?;
    if !value.is_finite() || value < 0.0 {
        return Err(expected());
    }
    let value = amount(value);
    match rest {
        [owners @ .., metric, "period", period] => {
            let metric = word(metric, &METRICS, "metric")?;
            let period = word(period, &PERIODS, "period")?;
            let limit = json!({"metric": metric, "windowType": "period", "period": period, "value": value});
            Ok(Spec { model: owner(owners), limit })
        }
        [owners @ .., metric, "rolling", amount, unit] => {
            let metric = word(metric, &METRICS, "metric")?;
            let unit = word(unit.trim_end_matches('s'), &UNITS, "unit")?;
            let amount: u64 = amount.parse().ok().filter(|amount| *amount > 0).ok_or_else(expected)?;
            let limit = json!({
                "metric": metric, "windowType": "rolling", "rollingAmount": amount, "rollingUnit": unit, "value": value,
            });
            Ok(Spec { model: owner(owners), limit })
        }
        _ => Err(expected()),
    }
}

/// Reads what is to be removed: a limit without its value, or all of a window type.
pub(super) fn parse_pattern(text: &str) -> Result<Pattern, Failure> {
    let expected = || {
        Failure::usage(format!(
            "`{text}` names no limits: expected such as *:cost:period, *:cost:period:daily"
        ))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (owners, metric, window) = match &parts[..] {
        [owners @ .., metric, "period"] => (owners, metric, Window::Any("period")),
        [owners @ .., metric, "rolling"] => (owners, metric, Window::Any("rolling")),
        [owners @ .., metric, "period", period] => {
            (owners, metric, Window::Period(word(period, &PERIODS, "period")?))
        }
        [owners @ .., metric, "rolling", amount, unit] => {
            let amount = amount.parse().map_err(|_| expected())?;
            (owners, metric, Window::Rolling(amount, word(unit.trim_end_matches('s'), &UNITS, "unit")?))
        }
        _ => return Err(expected()),
    };
    Ok(Pattern { model: owner(owners), metric: word(metric, &METRICS, "metric")?, window })
}

impl Pattern {
    fn takes(&self, limit: &Value) -> bool {
        let is_window = match &self.window {
            Window::Any(kind) => limit["windowType"] == *kind,
            Window::Period(period) => limit["windowType"] == "period" && limit["period"] == period.as_str(),
            Window::Rolling(amount, unit) => {
                limit["windowType"] == "rolling"
                    && limit["rollingUnit"] == unit.as_str()
                    && limit["rollingAmount"].as_u64().unwrap_or(1) == *amount
            }
        };
        limit["metric"] == self.metric.as_str() && is_window
    }
}

/// Adds limits to an object that has some for itself and some for its models. One for the same window is replaced.
pub(super) fn add(object: &mut Value, whole: &str, specs: &[Spec]) {
    for spec in specs {
        let limits = limits_of(object, whole, spec.model.as_deref(), true);
        let same = |known: &Value| {
            ["metric", "windowType", "period", "rollingAmount", "rollingUnit"]
                .iter()
                .all(|key| known[*key] == spec.limit[*key])
        };
        if let Some(Value::Array(limits)) = limits {
            limits.retain(|known| !same(known));
            limits.push(spec.limit.clone());
        }
    }
}

/// Removes limits.
///
/// # Errors
/// There are none of this kind.
pub(super) fn remove(object: &mut Value, whole: &str, patterns: &[Pattern]) -> Result<(), Failure> {
    for pattern in patterns {
        let limits = limits_of(object, whole, pattern.model.as_deref(), false).and_then(Value::as_array_mut);
        let before = limits.as_ref().map_or(0, |limits| limits.len());
        let after = limits.map_or(0, |limits| {
            limits.retain(|limit| !pattern.takes(limit));
            limits.len()
        });
        if before == after {
            return Err(Failure::not_found(format!(
                "there is no limit on {} of this window",
                pattern.metric
            )));
        }
    }
    Ok(())
}

/// The list of limits of the whole or of a model.
fn limits_of<'o>(
    object: &'o mut Value,
    whole: &str,
    model: Option<&str>,
    make: bool,
) -> Option<&'o mut Value> {
    let Some(model) = model else {
        if make && object[whole].is_null() {
            object[whole] = json!([]);
        }
        return object.get_mut(whole);
    };
    if make && object["models"].is_null() {
        object["models"] = json!([]);
    }
    let models = object.get_mut("models")?.as_array_mut()?;
    let at = models.iter().position(|known| known["modelId"] == model);
    let at = match at {
        Some(at) => at,
        None if make => {
            models.push(json!({"modelId": model}));
            models.len() - 1
        }
        None => return None,
    };
    let entry = models.get_mut(at)?;
    if make && entry["limits"].is_null() {
        entry["limits"] = json!([]);
    }
    entry.get_mut("limits")
}

/// Limits as people read them.
pub(super) fn text(limits: &Value) -> String {
    let one = |limit: &Value| {
        let window = match limit["windowType"].as_str() {
            Some("rolling") => {
                format!("{} {}", limit["rollingAmount"].as_u64().unwrap_or(1), cell(&limit["rollingUnit"]))
            }
            _ => cell(&limit["period"]),
        };
        format!("{} {}/{window}", cell(&limit["metric"]), cell(&limit["value"]))
    };
    let all: Vec<String> = limits.as_array().into_iter().flatten().map(one).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// All limits of an object, each with whose it is.
pub(super) fn all_text(object: &Value, whole: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    if object[whole].as_array().is_some_and(|limits| !limits.is_empty()) {
        parts.push(text(&object[whole]));
    }
    for model in object["models"].as_array().into_iter().flatten() {
        if model["limits"].as_array().is_some_and(|limits| !limits.is_empty()) {
            parts.push(format!("{}: {}", cell(&model["modelId"]), text(&model["limits"])));
        }
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_their_end() {
        let daily = json!({"metric": "cost", "windowType": "period", "period": "daily", "value": 0.5});
        let rolling = json!({
            "metric": "calls", "windowType": "rolling", "rollingAmount": 10, "rollingUnit": "minute", "value": 100,
        });
        for (text, model, limit) in [
            ("*:cost:period:daily:0.5", None, &daily),
            ("cost:period:daily:0.5", None, &daily),
            ("ollama/qwen3:4b:cost:period:daily:0.5", Some("ollama/qwen3:4b"), &daily),
            ("a:calls:rolling:10:minutes:100", Some("a"), &rolling),
        ] {
            let spec = Spec { model: model.map(str::to_owned), limit: limit.clone() };
            assert_eq!(parse(text).unwrap(), spec, "{text}");
        }
        for text in [
            "",
            "5",
            "cost",
            "cost:daily:5",
            "*:money:period:daily:5",
            "*:cost:period:often:5",
            "*:cost:period:daily:x",
            "*:cost:period:daily:-1",
            "*:cost:period:daily:inf",
            "*:calls:rolling:0:minute:5",
            "*:calls:rolling:1:eon:5",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_added_once_and_removed_by_their_window() {
        let mut token = json!({});
        let specs = [
            "*:cost:period:daily:5",
            "*:cost:period:daily:6",
            "q:4b:calls:rolling:1:hour:9",
            "*:cost:period:monthly:7",
        ];
        let specs: Vec<Spec> = specs.iter().map(|text| parse(text).unwrap()).collect();
        add(&mut token, "limits", &specs);
        assert_eq!(all_text(&token, "limits"), "cost 6/daily, cost 7/monthly; q:4b: calls 9/1 hour");
        let removed = |texts: &[&str]| {
            let mut token = token.clone();
            let patterns: Vec<Pattern> = texts.iter().map(|text| parse_pattern(text).unwrap()).collect();
            remove(&mut token, "limits", &patterns).map(|()| all_text(&token, "limits"))
        };
        assert_eq!(removed(&["*:cost:period", "q:4b:calls:rolling"]).unwrap(), "-");
        assert_eq!(removed(&["cost:period:daily"]).unwrap(), "cost 7/monthly; q:4b: calls 9/1 hour");
        assert_eq!(removed(&["q:4b:calls:rolling:1:hour"]).unwrap(), "cost 6/daily, cost 7/monthly");
        assert!(removed(&["*:calls:period"]).is_err() && removed(&["q:calls:rolling"]).is_err());
        assert!(parse_pattern("cost").is_err() && parse_pattern("*:cost:period:eon").is_err());
    }
}
