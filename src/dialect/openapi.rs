//! Schemas in the OpenAPI subset that Gemini's `parameters` and `responseSchema` are written in, as JSON Schema.
//!
//! Differences: types in capitals, `nullable`, counts written as strings (Protobuf's 64-bit numbers), names in camel or
//! snake case, `propertyOrdering`. Source: Google AI for Developers, "Schema".

use super::ir::Raw;
use crate::json::scan::Scanner;
use crate::json::token::{Fault, Kind};

/// `schema` as JSON Schema; as it is if it cannot be read.
pub(super) fn to_json_schema(schema: &Raw<'_>) -> Raw<'static> {
    let mut out = Vec::with_capacity(schema.as_str().len() + 16);
    let mut scanner = Scanner::new(schema.as_str().as_bytes());
    match convert(&mut scanner, &mut out) {
        Ok(()) => Raw::from_written(String::from_utf8_lossy(&out).into_owned()),
        Err(_) => Raw::from_written(schema.as_str().to_owned()),
    }
}

/// What is done with a keyword.
#[derive(Clone, Copy)]
enum Keep {
    Type,
    Nullable,
    Enum,
    AnyOf,
    Items,
    Properties,
    Count,
    Format,
    Drop,
}

const KEYWORDS: &[(&str, &str, Keep)] = &[
    ("type", "type", Keep::Type),
    ("nullable", "nullable", Keep::Nullable),
    ("enum", "enum", Keep::Enum),
    ("anyOf", "anyOf", Keep::AnyOf),
    ("any_of", "anyOf", Keep::AnyOf),
    ("items", "items", Keep::Items),
    ("properties", "properties", Keep::Properties),
    ("minItems", "minItems", Keep::Count),
    ("min_items", "minItems", Keep::Count),
    ("maxItems", "maxItems", Keep::Count),
    ("max_items", "maxItems", Keep::Count),
    ("minLength", "minLength", Keep::Count),
    ("min_length", "minLength", Keep::Count),
    ("maxLength", "maxLength", Keep::Count),
    ("max_length", "maxLength", Keep::Count),
    ("minProperties", "minProperties", Keep::Count),
    ("min_properties", "minProperties", Keep::Count),
    ("maxProperties", "maxProperties", Keep::Count),
    ("max_properties", "maxProperties", Keep::Count),
    ("format", "format", Keep::Format),
    ("propertyOrdering", "", Keep::Drop),
    ("property_ordering", "", Keep::Drop),
    ("example", "", Keep::Drop),
];

/// Converts the schema that comes next. Recursion is as deep as the scanner allows.
fn convert(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    if scanner.peek_kind()? != Kind::Object {
        out.extend_from_slice(scanner.value()?.raw);
        return Ok(());
    }
    let (mut kind, mut values, mut nullable, mut any_of) = (None, None, false, None);
    let mut first = true;
    out.push(b'{');
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key()? {
        let known = KEYWORDS.iter().find(|(name, _, _)| key.is(name));
        let Some((_, name, keep)) = known else {
            member(out, &mut first, key.escaped());
            out.extend_from_slice(scanner.value()?.raw);
            continue;
        };
        let next = scanner.peek_kind()?;
        match keep {
            Keep::Type => kind = Some(scanner.value()?),
            Keep::Enum => values = Some(scanner.value()?),
            Keep::Nullable => nullable = scanner.value()?.as_bool() == Some(true),
            Keep::AnyOf if next == Kind::Array => {
                let mut list = vec![b'['];
                scanner.enter_array()?;
                while scanner.next_element()? {
                    if list.len() > 1 {
                        list.push(b',');
                    }
                    convert(scanner, &mut list)?;
                }
                any_of = Some(list);
            }
            Keep::Items => {
                member(out, &mut first, name.as_bytes());
                convert(scanner, out)?;
            }
            Keep::Properties if next == Kind::Object => {
                member(out, &mut first, name.as_bytes());
                out.push(b'{');
                let mut first = true;
                scanner.enter_object()?;
                while let Some(key) = scanner.next_key()? {
                    member(out, &mut first, key.escaped());
                    convert(scanner, out)?;
                }
                out.push(b'}');
            }
            Keep::Count => {
                member(out, &mut first, name.as_bytes());
                let value = scanner.value()?;
                let digits = value.plain_string().filter(|text| text.iter().all(u8::is_ascii_digit));
                out.extend_from_slice(digits.filter(|digits| !digits.is_empty()).unwrap_or(value.raw));
            }
            Keep::Format => {
                let value = scanner.value()?;
                // Google's mark for a string with `enum`, which no other reader knows.
                if value.raw != b"\"enum\"" {
                    member(out, &mut first, name.as_bytes());
                    out.extend_from_slice(value.raw);
                }
            }
            Keep::AnyOf | Keep::Properties | Keep::Drop => _ = scanner.value()?,
        }
    }
    if let Some(kind) = &kind {
        member(out, &mut first, b"type");
        let name = kind.raw.to_ascii_lowercase();
        if nullable && kind.kind == Kind::String {
            out.extend_from_slice(&[b"[", name.as_slice(), b",\"null\"]"].concat());
        } else {
            out.extend_from_slice(&name);
        }
    }
    if let Some(values) = values {
        member(out, &mut first, b"enum");
        match values.raw.strip_suffix(b"]") {
            Some(open) if nullable => {
                let is_empty = open.trim_ascii() == b"[";
                out.extend_from_slice(open);
                out.extend_from_slice(if is_empty { b"null]" } else { b",null]" });
            }
            _ => out.extend_from_slice(values.raw),
        }
    }
    if let Some(mut list) = any_of {
        if nullable && kind.is_none() {
            list.extend_from_slice(if list.len() > 1 {
                b",{\"type\":\"null\"}"
            } else {
                b"{\"type\":\"null\"}"
            });
        }
        member(out, &mut first, b"anyOf");
        out.extend_from_slice(&list);
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

/// Begins a member, whose name is escaped.
fn member(out: &mut Vec<u8>, first: &mut bool, name: &[u8]) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn googles_schemas_become_json_schemas() {
        let cases = [
            (json!({"type": "STRING"}), json!({"type": "string"})),
            (
                json!({"type": "OBJECT", "required": ["a"], "propertyOrdering": ["a", "b"], "properties": {
                    "a": {"type": "STRING", "enum": ["x", "y"], "format": "enum", "nullable": true},
                    "type": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "min_items": "2"},
                    "c": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": true},
                }}),
                json!({"type": "object", "required": ["a"], "properties": {
                    "a": {"type": ["string", "null"], "enum": ["x", "y", null]},
                    "type": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 2},
                    "c": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
                }}),
            ),
            (
                json!({"type": "object", "description": "d \" q", "x": [1]}),
                json!({"type": "object", "description": "d \" q", "x": [1]}),
            ),
            (json!({}), json!({})),
            (
                json!({"anyOf": [], "nullable": true, "enum": []}),
                json!({"anyOf": [{"type": "null"}], "enum": [null]}),
            ),
            (json!({"properties": 1, "anyOf": 2, "items": 3}), json!({"items": 3})),
        ];
        for (google, expected) in cases {
            let raw = Raw::from_written(google.to_string());
            let converted: Value = serde_json::from_str(to_json_schema(&raw).as_str()).unwrap();
            assert_eq!(converted, expected);
        }
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_is() {
        let deep = "{\"items\":".repeat(1_000) + "1" + &"}".repeat(1_000);
        assert_eq!(to_json_schema(&Raw::from_written(deep.clone())).as_str(), deep);
    }
}
