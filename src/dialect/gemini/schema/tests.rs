//! Schemas in both forms, and on the way from one to the other.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::ir::Raw;
use crate::limits::OPENAPI_SCHEMA_BYTES_MAX;

fn openapi(schema: &Value) -> (Value, bool) {
    let written = to_openapi(&Raw::from_written(schema.to_string()));
    (serde_json::from_str(written.schema.as_str()).unwrap(), written.lossy)
}

fn json_schema(schema: &Value) -> Value {
    serde_json::from_str(to_json_schema(&Raw::from_written(schema.to_string())).as_str()).unwrap()
}

#[test]
fn json_schema_becomes_the_subset() {
    let cases = [
        (json!({"type": "string"}), json!({"type": "STRING"}), false),
        (json!({"type": ["string", "null"]}), json!({"type": "STRING", "nullable": true}), false),
        (
            json!({"type": ["string", "integer", "null"], "description": "d"}),
            json!({"description": "d", "nullable": true, "anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
            false,
        ),
        (
            json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "title": "t"}),
            json!({"type": "INTEGER", "title": "t", "minimum": 1, "nullable": true}),
            false,
        ),
        (
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            json!({"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}),
            false,
        ),
        (json!({"const": "a"}), json!({"type": "STRING", "enum": ["a"]}), false),
        (json!({"const": 1}), json!({"type": "INTEGER", "format": "enum", "enum": ["1"]}), false),
        (
            json!({"type": "integer", "enum": [1, 2, null]}),
            json!({"type": "INTEGER", "nullable": true, "format": "enum", "enum": ["1", "2"]}),
            false,
        ),
        (
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "boolean"}}, "required": ["b", "c"]}], "description": "d"}),
            json!({"type": "OBJECT", "description": "d", "required": ["a", "b"],
                "properties": {"a": {"type": "STRING"}, "b": {"type": "BOOLEAN"}}}),
            false,
        ),
        (
            json!({"$schema": "s", "$id": "i", "type": "object", "additionalProperties": false,
                "properties": {"a": {"$ref": "#/$defs/A", "description": "here"}},
                "$defs": {"A": {"type": "array", "items": {"$ref": "#/definitions/B~0~1"}, "description": "there"}},
                "definitions": {"B~/": {"type": "number", "format": "double"}}}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "description": "there",
                "items": {"type": "NUMBER", "format": "double"}}}}),
            false,
        ),
        // A reference to itself is cut off, and what is left out is reported.
        (
            json!({"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}}),
            json!({"type": "OBJECT", "properties": {"next": {"type": "OBJECT"}}}),
            true,
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#"}}}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "OBJECT", "properties": {"a": {"type": "OBJECT"}}}}}),
            true,
        ),
        (json!({"type": "string", "format": "uri"}), json!({"type": "STRING"}), true),
        (json!({"type": "number", "exclusiveMinimum": 0, "multipleOf": 2}), json!({"type": "NUMBER"}), true),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "OBJECT"}),
            true,
        ),
        (json!({"type": "array"}), json!({"type": "ARRAY", "items": {"type": "STRING"}}), true),
        (
            json!({"type": "array", "items": true}),
            json!({"type": "ARRAY", "items": {"type": "STRING"}}),
            true,
        ),
        (json!({}), json!({"type": "STRING"}), true),
        (json!({"$ref": "elsewhere"}), json!({"type": "STRING"}), true),
        (json!(true), json!({"type": "STRING"}), true),
    ];
    for (schema, expected, lossy) in cases {
        assert_eq!(openapi(&schema), (expected, lossy), "{schema}");
    }
}

#[test]
fn only_an_object_without_properties_is_empty() {
    let is_empty = |schema: Value| to_openapi(&Raw::from_written(schema.to_string())).is_empty;
    assert!(is_empty(json!({"type": "object", "properties": {}})));
    assert!(is_empty(json!({"type": "object"})));
    assert!(!is_empty(json!({"type": "object", "properties": {"a": {}}})));
    assert!(!is_empty(json!({"type": "object", "anyOf": [{"type": "object"}, {"type": "string"}]})));
    assert!(!is_empty(json!({"type": "string"})));
}

#[test]
fn a_schema_that_doubles_with_each_level_is_cut_off() {
    let mut definitions = serde_json::Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/L{}", level + 1)});
        definitions
            .insert(format!("L{level}"), json!({"type": "object", "properties": {"a": next, "b": next}}));
    }
    let schema = json!({"$ref": "#/$defs/L0", "$defs": definitions});
    let written = to_openapi(&Raw::from_written(schema.to_string()));
    assert!(written.lossy && written.schema.as_str().len() < 2 * OPENAPI_SCHEMA_BYTES_MAX);
}

#[test]
fn the_subset_becomes_json_schema() {
    let cases = [
        (json!({"type": "STRING"}), json!({"type": "string"})),
        (json!({"type": "STRING", "nullable": true}), json!({"type": ["string", "null"]})),
        (
            json!({"type": "STRING", "format": "enum", "enum": ["a"], "nullable": true, "example": 1}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
        ),
        (
            json!({"type": "INTEGER", "format": "enum", "enum": ["1", "x"]}),
            json!({"type": "integer", "enum": [1, "x"]}),
        ),
        (
            json!({"type": "OBJECT", "property_ordering": ["type"], "required": ["type"], "min_properties": "1",
                "properties": {"type": {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"}}}),
            json!({"type": "object", "required": ["type"], "minProperties": 1,
                "properties": {"type": {"type": "array", "items": {"type": "number"}, "minItems": 2}}}),
        ),
        (
            json!({"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": true}),
            json!({"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]}),
        ),
        (json!({"type": "TYPE_UNSPECIFIED", "title": "t"}), json!({"title": "t"})),
    ];
    for (schema, expected) in cases {
        assert_eq!(json_schema(&schema), expected, "{schema}");
    }
    // What is JSON Schema stays: some proxies send it under the subset's name.
    for schema in [
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": ["string", "null"]}}}),
        json!({"oneOf": [{"const": 1}], "additionalProperties": false, "not": {}, "x": [1], "format": "uri", "minItems": 1.0}),
        json!(true),
    ] {
        assert_eq!(json_schema(&schema), schema);
    }
}

fn subsets() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "STRING"})),
        Just(json!({"type": "STRING", "enum": ["a", "b"], "nullable": true})),
        Just(json!({"type": "INTEGER", "format": "enum", "enum": ["1", "2"]})),
        Just(json!({"type": "NUMBER", "minimum": 0.5, "description": "d\"\n"})),
        Just(json!({"type": "BOOLEAN", "nullable": true})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "ARRAY", "items": items, "maxItems": 3})),
            prop::collection::vec(("[a-z\" ]{1,4}", inner.clone()), 1..4).prop_map(|properties| {
                let required: Vec<String> = properties.iter().take(1).map(|(name, _)| name.clone()).collect();
                let properties: serde_json::Map<String, Value> = properties.into_iter().collect();
                json!({"type": "OBJECT", "properties": properties, "required": required})
            }),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
        ]
    })
}

proptest! {
    #[test]
    fn the_subset_survives_the_way_there_and_back(schema in subsets()) {
        prop_assert_eq!(openapi(&json_schema(&schema)), (schema, false));
    }
}
