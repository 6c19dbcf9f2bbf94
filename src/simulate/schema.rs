//! Values that fit a JSON Schema, for tool arguments and structured output.
//!
//! Owns the choice of a value; it is a simple one. Honoured: `type` (also Gemini's upper case and lists of types),
//! `enum`, `const`, `default`, `properties`, `required`, `items`, `prefixItems`, `minItems`, `minimum` and `maximum`
//! with their exclusive forms, `multipleOf`, `minLength`, `maxLength`, the common `format`s, `anyOf`, `oneOf` (first
//! branch), `allOf` (merged objects) and local `$ref`. Not honoured: `pattern`, `not`, `if`, `uniqueItems`.
//!
//! Source: JSON Schema 2020-12; OpenAPI 3.0 schema objects as Gemini takes them.

use serde_json::{Map, Number, Value};

use super::random::Random;
use super::words::Walk;
use crate::limits::SIMULATED_SCHEMA_DEPTH_MAX;

/// A value that fits `schema`.
pub(super) fn value(schema: &Value, random: &mut Random) -> Value {
    Writer { root: schema, random }.value(schema, 0)
}

/// The arguments of a call: always an object.
pub(super) fn arguments(schema: &Value, random: &mut Random) -> Value {
    match value(schema, random) {
        object @ Value::Object(_) => object,
        _ => Value::Object(Map::new()),
    }
}

struct Writer<'a> {
    root: &'a Value,
    random: &'a mut Random,
}

impl Writer<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > 2 * SIMULATED_SCHEMA_DEPTH_MAX {
            return Value::Null;
        }
        if let Some(target) = self.reference(schema) {
            return self.value(&target, depth + 1);
        }
        if let Some(one) = schema.get("const").or_else(|| schema.get("default")) {
            return one.clone();
        }
        if let Some(options) = schema.get("enum").and_then(Value::as_array)
            && !options.is_empty()
        {
            return options[self.random.below(options.len() as u64) as usize].clone();
        }
        for key in ["anyOf", "oneOf", "any_of"] {
            if let Some(branch) =
                schema.get(key).and_then(Value::as_array).and_then(|branches| branches.first())
            {
                return self.value(branch, depth + 1);
            }
        }
        if let Some(branches) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(schema, branches, depth);
        }
        self.typed(schema, depth)
    }

    /// The schema a local `$ref` points to.
    fn reference(&self, schema: &Value) -> Option<Value> {
        let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer).cloned()
    }

    fn all_of(&mut self, schema: &Value, branches: &[Value], depth: usize) -> Value {
        let own = schema.get("properties").is_some().then(|| self.typed(schema, depth));
        let mut values: Vec<Value> = branches.iter().map(|branch| self.value(branch, depth + 1)).collect();
        values.extend(own);
        let mut merged = Map::new();
        for value in &values {
            let Value::Object(fields) = value else { return values.swap_remove(0) };
            merged.extend(fields.clone());
        }
        Value::Object(merged)
    }

    fn typed(&mut self, schema: &Value, depth: usize) -> Value {
        match kind(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => self.number(schema, true),
            "number" => self.number(schema, false),
            "boolean" => Value::Bool(self.random.below(2) == 1),
            "null" => Value::Null,
            _ => Value::String(self.string(schema)),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut fields = Map::new();
        for (name, property) in properties.into_iter().flatten() {
            // Deep down only what must be there is written, so that a recursive schema comes to an end.
            if depth < SIMULATED_SCHEMA_DEPTH_MAX || required.contains(&name.as_str()) {
                fields.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        for name in required {
            if !fields.contains_key(name) {
                fields.insert(name.to_owned(), Value::String(self.string(&Value::Null)));
            }
        }
        Value::Object(fields)
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let bound = |key| schema.get(key).and_then(whole);
        let min = bound("minItems").unwrap_or(0).min(64);
        let max = bound("maxItems").unwrap_or(min.max(2)).min(64);
        let first: &[Value] = schema.get("prefixItems").and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let wanted = if depth < SIMULATED_SCHEMA_DEPTH_MAX { min.max(2).min(max) } else { min };
        let count = wanted.max(first.len() as u64);
        let rest = schema.get("items").unwrap_or(&Value::Null);
        let item = |index: u64| first.get(index as usize).unwrap_or(rest);
        Value::Array((0..count).map(|index| self.value(item(index), depth + 1)).collect())
    }

    fn number(&mut self, schema: &Value, integer: bool) -> Value {
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(if integer { 1.0 } else { 0.25 });
        // OpenAPI 3.0 and draft 4 write the exclusive bounds as booleans beside the others.
        let strict = |key| schema.get(key).and_then(Value::as_bool) == Some(true);
        let min = bound("exclusiveMinimum").map(|min| min + step).or_else(|| {
            bound("minimum").map(|min| if strict("exclusiveMinimum") { min + step } else { min })
        });
        let max = bound("exclusiveMaximum").map(|max| max - step).or_else(|| {
            bound("maximum").map(|max| if strict("exclusiveMaximum") { max - step } else { max })
        });
        let low = min.unwrap_or_else(|| max.map_or(0.0, |max| max - 100.0 * step));
        let high = max.unwrap_or(low + 100.0 * step).max(low);
        let first = (low / step).ceil();
        let steps = ((high / step).floor() - first).max(0.0);
        let number = (first + self.random.below(steps.min(1e9) as u64 + 1) as f64) * step;
        // Between two strict bounds there may be room for a fraction and none for a step.
        let number = if number > high && !integer { (low + high) / 2.0 } else { number };
        if integer && number.abs() < 9e15 {
            return Value::from(number as i64);
        }
        Number::from_f64(number).map_or_else(|| Value::from(0), Value::Number)
    }

    fn string(&mut self, schema: &Value) -> String {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let day = 1 + self.random.below(28);
        match format {
            "date" => return format!("2025-03-{day:02}"),
            "date-time" => return format!("2025-03-{day:02}T12:30:00Z"),
            "time" => return format!("12:{day:02}:00Z"),
            "duration" => return format!("P{day}D"),
            "email" => return format!("person{day}@example.com"),
            "uri" | "url" => return format!("https://example.com/{day}"),
            "hostname" => return "host.example.com".to_owned(),
            "ipv4" => return format!("192.0.2.{day}"),
            "ipv6" => return format!("2001:db8::{day}"),
            "uuid" => {
                let hex = self.random.hex(31);
                return format!(
                    "{}-{}-4{}-a{}-{}",
                    &hex[..8],
                    &hex[8..12],
                    &hex[12..15],
                    &hex[15..18],
                    &hex[19..31]
                );
            }
            _ => {}
        }
        let bound = |key| schema.get(key).and_then(whole);
        let (min, max) =
            (bound("minLength").unwrap_or(0).min(65_536), bound("maxLength").unwrap_or(u64::MAX));
        let (mut text, mut walk) = (String::new(), Walk::new(self.random.bits()));
        walk.write_raw(3, &mut text);
        while (text.chars().count() as u64) < min {
            walk.write_raw(1, &mut text);
        }
        text.chars().take(usize::try_from(max).unwrap_or(usize::MAX)).collect()
    }
}

/// The type of a schema, in lower case; guessed from its keywords where it is not given.
fn kind(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").or(Some("null"))
        }
        _ => None,
    };
    match named {
        Some(name) => name.to_ascii_lowercase(),
        None if schema.get("properties").is_some() || schema.get("required").is_some() => "object".to_owned(),
        None if schema.get("items").is_some() => "array".to_owned(),
        None => "string".to_owned(),
    }
}

/// A count, also where Gemini writes it as a string.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulate::tests::fits;

    #[test]
    fn values_fit_their_schema() {
        let cases = [
            (
                "flat",
                json!({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},
                "c":{"type":"number"},"d":{"type":"boolean"},"e":{"type":"null"}},"required":["a","b","c","d","e"]}),
            ),
            ("enum", json!({"type":"object","properties":{"unit":{"type":"string","enum":["c","f"]}}})),
            (
                "Gemini",
                json!({"type":"OBJECT","properties":{"a":{"type":"ARRAY","items":{"type":"INTEGER"},
                "minItems":"3"}}}),
            ),
            (
                "bounds",
                json!({"type":"object","properties":{"a":{"type":"integer","minimum":5,"maximum":7},
                "b":{"type":"number","exclusiveMinimum":0,"maximum":1},"c":{"type":"integer","multipleOf":7,"minimum":20},
                "d":{"type":"integer","maximum":-3}}}),
            ),
            (
                "lengths",
                json!({"type":"object","properties":{"a":{"type":"string","minLength":40},
                "b":{"type":"string","maxLength":2}}}),
            ),
            ("nullable", json!({"type":"object","properties":{"a":{"type":["null","string"]}}})),
            (
                "any of",
                json!({"anyOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
                {"type":"null"}]}),
            ),
            (
                "reference",
                json!({"type":"object","properties":{"p":{"$ref":"#/$defs/point"}},"required":["p"],
                "$defs":{"point":{"type":"object","properties":{"x":{"type":"number"}},"required":["x"]}}}),
            ),
            (
                "nested",
                json!({"type":"object","properties":{"rows":{"type":"array","items":{"type":"object",
                "properties":{"cells":{"type":"array","items":{"type":"string"}}},"required":["cells"]}}}}),
            ),
            (
                "all of",
                json!({"allOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},
                {"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]}),
            ),
            ("undescribed", json!({"type":"object","required":["a"]})),
        ];
        for (name, schema) in &cases {
            for sequence in 0..50 {
                let value = value(schema, &mut Random::new(1, sequence));
                assert!(fits(schema, schema, &value), "{name}: {value} does not fit {schema}");
            }
        }
    }

    #[test]
    fn a_schema_that_contains_itself_comes_to_an_end() {
        let optional = json!({"type":"object","properties":{"next":{"$ref":"#"}}});
        let required = json!({"type":"object","properties":{"next":{"$ref":"#"}},"required":["next"]});
        let list = json!({"type":"object","properties":{"next":{"type":"array","items":{"$ref":"#"}}}});
        for schema in [optional, required, json!({"$ref":"#"}), list] {
            assert!(value(&schema, &mut Random::new(1, 1)).to_string().len() < 1_000_000, "{schema}");
        }
    }

    #[test]
    fn arguments_are_an_object_whatever_the_schema_says() {
        for schema in [json!(null), json!({}), json!([1]), json!("x"), json!({"type":"string"})] {
            assert!(arguments(&schema, &mut Random::new(1, 1)).is_object(), "{schema}");
        }
    }
}
