//! The OpenAPI subset as JSON Schema. What is JSON Schema already stays as it is.

use crate::dialect::gemini::fields::{count, is_named, is_true};
use crate::dialect::ir::{Raw, Text};
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};

/// The schema as JSON Schema.
pub(in crate::dialect::gemini) fn to_json_schema(schema: &Raw<'_>) -> Raw<'static> {
    let mut out = Vec::with_capacity(schema.as_str().len());
    if let Ok(value) = scan::Scanner::new(schema.as_str().as_bytes()).value() {
        convert(&value, &mut out);
    }
    Raw::from_written(String::from_utf8(out).unwrap_or_default())
}

/// What decides how the other members of one schema are written.
#[derive(Default)]
struct Shape<'a> {
    types: Option<Value<'a>>,
    nullable: bool,
    has_any_of: bool,
}

/// Documents are nested no deeper than the scanner allows, and so is this.
fn convert(schema: &Value<'_>, out: &mut Vec<u8>) {
    if schema.kind != Kind::Object {
        out.extend_from_slice(schema.raw);
        return;
    }
    let mut shape = Shape::default();
    let _ = scan::members(schema.raw, |key, value| match () {
        () if key.is("type") => shape.types = Some(value),
        () if key.is("nullable") => shape.nullable = is_true(Some(&value)),
        () if key.is("anyOf") || key.is("any_of") => shape.has_any_of = value.kind == Kind::Array,
        () => {}
    });
    write::object(out, |object| {
        let _ = scan::members(schema.raw, |key, value| {
            if let Some(name) = Text::from_token(&schema.raw[key.span.clone()]) {
                member(object, &name, &value, &shape);
            }
        });
    });
}

fn member(object: &mut Object<'_>, name: &Text<'_>, value: &Value<'_>, shape: &Shape<'_>) {
    let named = |camel: &str| is_named(name.escaped(), camel);
    let numeric =
        shape.types.as_ref().and_then(type_name).is_some_and(|name| matches!(name, "integer" | "number"));
    match () {
        () if named("nullable") || named("propertyOrdering") || named("example") => {}
        () if named("format") && value.raw == b"\"enum\"" => {}
        () if named("type") => match type_name(value) {
            Some("null") if shape.nullable => object.plain("type", "null"),
            Some(name) if shape.nullable => object.array("type", |types| {
                types.plain(name);
                types.plain("null");
            }),
            Some(name) => object.plain("type", name),
            None if is_unspecified(value) => {}
            None => copy(object, name, value),
        },
        () if named("enum") && value.kind == Kind::Array => object.array("enum", |values| {
            let _ = scan::elements(value.raw, |value| match value.plain_string() {
                // Enumerated numbers are strings in the subset.
                Some(digits) if numeric && is_number(digits) => values.element().extend_from_slice(digits),
                _ => values.element().extend_from_slice(value.raw),
            });
            if shape.nullable {
                values.element().extend_from_slice(b"null");
            }
        }),
        () if named("anyOf") && value.kind == Kind::Array => object.array("anyOf", |schemas| {
            let _ = scan::elements(value.raw, |schema| convert(&schema, schemas.element()));
            if shape.nullable && shape.types.is_none() {
                schemas.element().extend_from_slice(b"{\"type\":\"null\"}");
            }
        }),
        () if ["oneOf", "allOf", "prefixItems"].into_iter().any(named) && value.kind == Kind::Array => {
            write::array(object.named_member(name), |schemas| {
                let _ = scan::elements(value.raw, |schema| convert(&schema, schemas.element()));
            });
        }
        () if ["properties", "$defs", "definitions"].into_iter().any(named) && value.kind == Kind::Object => {
            write::object(object.named_member(name), |schemas| {
                let _ = scan::members(value.raw, |key, schema| {
                    if let Some(name) = Text::from_token(&value.raw[key.span.clone()]) {
                        convert(&schema, schemas.named_member(&name));
                    }
                });
            });
        }
        () if ["items", "additionalProperties", "not"].into_iter().any(named) => {
            convert(value, object.named_member(name));
        }
        () => match LIMITS.iter().find(|limit| named(limit)) {
            // Whole numbers of 64 bits are strings in ProtoJSON.
            Some(limit) if value.kind == Kind::String => match count(value) {
                Some(number) => object.number(limit, number),
                None => copy(object, name, value),
            },
            Some(limit) => object.member(limit).extend_from_slice(value.raw),
            None => copy(object, name, value),
        },
    }
}

const LIMITS: [&str; 6] =
    ["minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"];

/// The type's name in JSON Schema; `None`: it is none of the subset's.
fn type_name(value: &Value<'_>) -> Option<&'static str> {
    const NAMES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "null"];
    let name = value.plain_string()?;
    NAMES.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

fn is_unspecified(value: &Value<'_>) -> bool {
    value.plain_string() == Some(b"TYPE_UNSPECIFIED")
}

fn is_number(digits: &[u8]) -> bool {
    let mut scanner = scan::Scanner::new(digits);
    scanner.value().is_ok_and(|value| value.kind == Kind::Number && value.raw.len() == digits.len())
}

fn copy(object: &mut Object<'_>, name: &Text<'_>, value: &Value<'_>) {
    object.named_member(name).extend_from_slice(value.raw);
}
