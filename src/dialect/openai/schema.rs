//! Which JSON Schemas fit OpenAI's strict mode.

use crate::dialect::ir::Raw;
use crate::json::scan::Scanner;
use crate::json::token::{Fault, Key, Kind};

/// Keywords that strict mode refuses wherever they stand. Source: OpenAI docs, "Structured Outputs", "Supported schemas".
const REFUSED: [&str; 13] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "contains",
    "uniqueItems",
];

/// Whether strict mode takes `schema`: an object in which, at every level, each property is required and no other is
/// allowed. A schema that does not fit is sent without strictness.
pub(in crate::dialect) fn strict_fits(schema: &Raw<'_>) -> bool {
    let mut scanner = Scanner::new(schema.as_str().as_bytes());
    matches!(read_schema(&mut scanner), Ok(Read { fits: true, is_object: true }))
}

/// What one schema is.
struct Read {
    fits: bool,
    is_object: bool,
}

const FITS: Read = Read { fits: true, is_object: false };

/// Reads the schema that comes next. Each byte is looked at once; the scanner bounds the depth.
fn read_schema<'a>(scanner: &mut Scanner<'a>) -> Result<Read, Fault> {
    if scanner.peek_kind()? != Kind::Object {
        // `true` and `false` are schemas; anything else is none.
        scanner.value()?;
        return Ok(Read { fits: false, is_object: false });
    }
    let (mut fits, mut is_object, mut is_closed) = (true, false, false);
    let (mut properties, mut required) = (Vec::new(), Vec::new());
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key()? {
        let kind = scanner.peek_kind()?;
        match key.matches(&[
            "type",
            "additionalProperties",
            "required",
            "properties",
            "$defs",
            "definitions",
            "anyOf",
            "items",
        ]) {
            Some(0) => is_object |= is_object_type(scanner.value()?.raw),
            Some(1) => is_closed = scanner.value()?.as_bool() == Some(false),
            Some(2) if kind == Kind::Array => {
                scanner.enter_array()?;
                while scanner.next_element()? {
                    let name = scanner.value()?.raw;
                    required.push(name.get(1..name.len() - 1).unwrap_or(name));
                }
            }
            Some(3) if kind == Kind::Object => {
                is_object = true;
                fits &= read_schemas(scanner, |key| {
                    properties.push(key.escaped());
                })?;
            }
            Some(4 | 5) if kind == Kind::Object => fits &= read_schemas(scanner, |_| {})?,
            Some(6) if kind == Kind::Array => {
                scanner.enter_array()?;
                while scanner.next_element()? {
                    fits &= read_schema(scanner)?.fits;
                }
            }
            Some(7) if kind == Kind::Object => fits &= read_schema(scanner)?.fits,
            Some(_) => {
                scanner.value()?;
                fits = false;
            }
            None => {
                fits &= key.matches(&REFUSED).is_none();
                scanner.value()?;
            }
        }
    }
    if !is_object {
        return Ok(Read { fits, ..FITS });
    }
    properties.sort_unstable();
    required.sort_unstable();
    Ok(Read { fits: fits && is_closed && properties == required, is_object })
}

/// Reads an object of schemas; whether all of them fit.
fn read_schemas<'a>(scanner: &mut Scanner<'a>, mut on_key: impl FnMut(&Key<'a>)) -> Result<bool, Fault> {
    let mut fit = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key()? {
        on_key(&key);
        fit &= read_schema(scanner)?.fits;
    }
    Ok(fit)
}

/// Whether the value of `type`, a name or a list of names, has `object` in it.
fn is_object_type(raw: &[u8]) -> bool {
    memchr::memmem::find(raw, b"\"object\"").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_mode_takes_closed_objects_with_everything_required() {
        let cases = [
            (r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#, true),
            (r#"{"type":"object","additionalProperties":false}"#, true),
            (
                r##"{"additionalProperties":false,"required":["b","a"],"type":"object","title":"T",
                    "properties":{"a":{"type":["string","null"],"enum":["x",null]},
                    "b":{"type":"array","items":{"$ref":"#/$defs/n"}}},
                    "$defs":{"n":{"anyOf":[{"type":"number"},{"type":"null"}]}}}"##,
                true,
            ),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#, false),
            (r#"{"type":"object","properties":{"a":{}},"additionalProperties":false}"#, false),
            (
                r#"{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":true}"#,
                false,
            ),
            (
                r#"{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":{"type":"object"}}}"#,
                false,
            ),
            (
                r#"{"type":"object","required":["a"],"additionalProperties":false,
                    "properties":{"a":{"type":"array","items":{"properties":{"b":{}}}}}}"#,
                false,
            ),
            (
                r#"{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":{"oneOf":[]}}}"#,
                false,
            ),
            // A property that is called like a keyword is a property.
            (
                r#"{"type":"object","required":["not"],"additionalProperties":false,"properties":{"not":{"type":"string"}}}"#,
                true,
            ),
            (r#"{"type":"string"}"#, false),
            (r#"{"anyOf":[]}"#, false),
            ("{}", false),
            ("true", false),
            ("12", false),
        ];
        for (json, fits) in cases {
            assert_eq!(strict_fits(&Raw::from_scanned(json.as_bytes()).unwrap()), fits, "{json}");
        }
    }

    #[test]
    fn deep_schemas_are_read_once() {
        let level = r#"{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":"#;
        let deep = |levels: usize| {
            let json = format!("{}{{}}{}", level.repeat(levels), "}}".repeat(levels));
            strict_fits(&Raw::from_written(json))
        };
        assert!(deep(100));
        assert!(!deep(20_000), "deeper than any document may be");
    }
}
