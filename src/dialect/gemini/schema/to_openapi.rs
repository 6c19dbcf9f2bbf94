//! JSON Schema as the OpenAPI subset.

use std::collections::{HashMap, HashSet};

use crate::dialect::ir::{Raw, Text};
use crate::json::scan::{self, Scanner};
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};
use crate::limits::{OPENAPI_SCHEMA_BYTES_MAX, OPENAPI_SCHEMA_DEPTH_MAX, OPENAPI_SCHEMA_WORK_BYTES_MAX};

/// A schema in the subset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialect::gemini) struct OpenApi {
    pub(in crate::dialect::gemini) schema: Raw<'static>,
    /// Keywords that say something about values were left out.
    pub(in crate::dialect::gemini) lossy: bool,
    /// It is an object without properties, which functions are not given.
    pub(in crate::dialect::gemini) is_empty: bool,
}

/// The schema in the subset. References are put in place of themselves; those that lead to themselves, or make the
/// schema too large, become any object.
pub(in crate::dialect::gemini) fn to_openapi(schema: &Raw<'_>) -> OpenApi {
    let mut out = Vec::with_capacity(schema.as_str().len());
    let mut converter = Converter::new(schema.as_str().as_bytes());
    let mut is_empty = false;
    if let Ok(value) = Scanner::new(converter.root).value() {
        let node = converter.node(&value);
        is_empty = node.is_plain_object() && node.properties.is_empty();
        converter.write_node(node, &mut out, 0);
    }
    let schema = Raw::from_written(String::from_utf8(out).unwrap_or_default());
    OpenApi { schema, lossy: converter.lossy, is_empty }
}

struct Converter<'a> {
    root: &'a [u8],
    /// Where most references lead, by what they say.
    definitions: HashMap<String, Value<'a>>,
    /// Bytes looked at so far: what a reference leads to is looked at each time.
    work_bytes: usize,
    /// Targets of the references that the place being written is inside of, by their offset.
    inside: Vec<usize>,
    lossy: bool,
}

/// One schema with what it refers to and is made of, put together.
#[derive(Default)]
struct Node<'a> {
    kind: Option<&'static str>,
    nullable: bool,
    /// Keywords that are copied, each once.
    copied: Vec<(&'static str, &'a [u8])>,
    choices: Vec<Text<'a>>,
    properties: Vec<(Text<'a>, Value<'a>)>,
    required: Vec<Text<'a>>,
    items: Option<Value<'a>>,
    any_of: Vec<Value<'a>>,
    /// Types, where there are several.
    kinds: Vec<&'static str>,
    /// How many of [`Converter::inside`] were there before.
    depth_before: usize,
}

impl Node<'_> {
    fn is_plain_object(&self) -> bool {
        self.kind == Some("OBJECT") && self.any_of.is_empty()
    }
}

/// Keywords that the subset has and that are copied as they are.
const COPIED: [&str; 11] = [
    "title",
    "description",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
];
/// Keywords that say nothing about values.
const NOTES: [&str; 8] =
    ["$schema", "$id", "$defs", "definitions", "$comment", "$anchor", "examples", "deprecated"];
const FORMATS: [&[u8]; 5] = [b"float", b"double", b"int32", b"int64", b"date-time"];
const KINDS: [(&[u8], &str); 6] = [
    (b"string", "STRING"),
    (b"number", "NUMBER"),
    (b"integer", "INTEGER"),
    (b"boolean", "BOOLEAN"),
    (b"array", "ARRAY"),
    (b"object", "OBJECT"),
];

impl<'a> Converter<'a> {
    fn new(root: &'a [u8]) -> Self {
        let mut definitions = HashMap::new();
        for place in ["$defs", "definitions"] {
            let _ = scan::member(root, place).map(|place_value| {
                scan::members(place_value.raw, |key, schema| {
                    let name = Text::from_token(&place_value.raw[key.span.clone()]);
                    if let Some(name) = name.as_ref().and_then(Text::decode) {
                        definitions.insert(format!("#/{place}/{name}"), schema);
                    }
                })
            });
        }
        Self { root, definitions, work_bytes: 0, inside: Vec::new(), lossy: false }
    }

    fn node(&mut self, schema: &Value<'a>) -> Node<'a> {
        let mut node = Node { depth_before: self.inside.len(), ..Node::default() };
        self.collect(schema, &mut node);
        node
    }

    /// Adds what `schema` says to the node.
    fn collect(&mut self, schema: &Value<'a>, node: &mut Node<'a>) {
        self.work_bytes += schema.raw.len();
        if schema.kind != Kind::Object || self.work_bytes > OPENAPI_SCHEMA_WORK_BYTES_MAX {
            // `true` allows anything; `false` cannot be said.
            self.lossy = true;
            return;
        }
        let _ = scan::members(schema.raw, |key, value| {
            const NAMES: [&str; 13] = [
                "type",
                "nullable",
                "enum",
                "const",
                "properties",
                "required",
                "items",
                "anyOf",
                "oneOf",
                "allOf",
                "$ref",
                "format",
                "additionalProperties",
            ];
            match key.matches(&NAMES) {
                Some(0) => self.kinds(&value, node),
                Some(1) => node.nullable |= value.as_bool() == Some(true),
                Some(2) => {
                    let _ = scan::elements(value.raw, |choice| self.choice(&choice, node));
                }
                Some(3) => self.choice(&value, node),
                Some(4) => {
                    let _ = scan::members(value.raw, |key, property| {
                        if let Some(name) = Text::from_token(&value.raw[key.span.clone()]) {
                            node.properties.push((name, property));
                        }
                    });
                }
                Some(5) => {
                    let _ =
                        scan::elements(value.raw, |name| node.required.extend(Text::from_token(name.raw)));
                }
                Some(6) if value.kind == Kind::Object => node.items = node.items.take().or(Some(value)),
                Some(7 | 8) => {
                    let _ = scan::elements(value.raw, |schema| {
                        if is_null(&schema) {
                            node.nullable = true;
                        } else {
                            node.any_of.push(schema);
                        }
                    });
                }
                Some(9) => {
                    let _ = scan::elements(value.raw, |schema| self.collect(&schema, node));
                }
                Some(10) => self.refer(&value, node),
                Some(11) => match value.plain_string().filter(|format| FORMATS.contains(format)) {
                    Some(_) => copy(node, "format", value.raw),
                    None => self.lossy = true,
                },
                Some(12) => self.lossy |= value.as_bool() != Some(false),
                Some(_) => self.lossy = true,
                None => match COPIED.iter().find(|name| key.is(name)) {
                    Some(name) => copy(node, name, value.raw),
                    None => self.lossy |= !NOTES.iter().any(|name| key.is(name)),
                },
            }
        });
        if let [only] = node.any_of.as_slice() {
            // What stands beside the one alternative left holds for it as well.
            let only = only.clone();
            node.any_of.clear();
            self.collect(&only, node);
        }
    }

    fn kinds(&mut self, value: &Value<'a>, node: &mut Node<'a>) {
        let mut add = |value: &Value<'_>| match value.plain_string() {
            Some(b"null") => node.nullable = true,
            Some(name) => {
                let known = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                node.kinds.extend(known.map(|(_, kind)| *kind).filter(|kind| !node.kinds.contains(kind)));
            }
            None => {}
        };
        if value.kind == Kind::Array {
            let _ = scan::elements(value.raw, |value| add(&value));
        } else {
            add(value);
        }
        if let [kind] = node.kinds.as_slice() {
            node.kind = Some(*kind);
        } else {
            node.kind = None;
        }
    }

    /// An allowed value; all are strings in the subset.
    fn choice(&mut self, value: &Value<'a>, node: &mut Node<'a>) {
        match value.kind {
            Kind::Null => node.nullable = true,
            Kind::String => node.choices.extend(Text::from_token(value.raw)),
            Kind::Number | Kind::Bool => {
                let kind = if value.kind == Kind::Bool {
                    "BOOLEAN"
                } else if value.as_count().is_some() {
                    "INTEGER"
                } else {
                    "NUMBER"
                };
                node.kind = node.kind.or(Some(kind));
                node.choices.extend(std::str::from_utf8(value.raw).ok().map(Text::from_plain));
            }
            Kind::Array | Kind::Object => self.lossy = true,
        }
    }

    /// Adds what a reference leads to.
    fn refer(&mut self, value: &Value<'a>, node: &mut Node<'a>) {
        let pointer = Text::from_token(value.raw);
        let target = pointer.as_ref().and_then(Text::decode).and_then(|pointer| {
            self.definitions.get(pointer.as_ref()).cloned().or_else(|| {
                self.work_bytes += self.root.len();
                resolve(self.root, &pointer)
            })
        });
        let Some(target) = target else {
            self.lossy = true;
            return;
        };
        let at = target.raw.as_ptr() as usize - self.root.as_ptr() as usize;
        if self.inside.contains(&at) || self.inside.len() == OPENAPI_SCHEMA_DEPTH_MAX {
            self.lossy = true;
            node.kind = node.kind.or(Some("OBJECT"));
            return;
        }
        self.inside.push(at);
        self.collect(&target, node);
    }

    fn write(&mut self, schema: &Value<'a>, out: &mut Vec<u8>, depth: usize) {
        let too_much =
            out.len() > OPENAPI_SCHEMA_BYTES_MAX || self.work_bytes > OPENAPI_SCHEMA_WORK_BYTES_MAX;
        if too_much || depth > OPENAPI_SCHEMA_DEPTH_MAX {
            self.lossy = true;
            out.extend_from_slice(b"{\"type\":\"OBJECT\"}");
            return;
        }
        let node = self.node(schema);
        self.write_node(node, out, depth);
    }

    fn write_node(&mut self, node: Node<'a>, out: &mut Vec<u8>, depth: usize) {
        write::object(out, |object| self.write_members(&node, object, depth));
        self.inside.truncate(node.depth_before);
    }

    fn write_members(&mut self, node: &Node<'a>, object: &mut Object<'_>, depth: usize) {
        let several = node.kinds.len() > 1;
        let kind = node.kind.or_else(|| match () {
            () if several || !node.any_of.is_empty() => None,
            () if !node.properties.is_empty() => Some("OBJECT"),
            () if node.items.is_some() => Some("ARRAY"),
            () if node.choices.is_empty() => {
                // Anything; the subset wants a type.
                self.lossy = true;
                Some("STRING")
            }
            () => Some("STRING"),
        });
        if let Some(kind) = kind {
            object.plain("type", kind);
        }
        for (name, value) in &node.copied {
            object.member(name).extend_from_slice(value);
        }
        if node.nullable {
            object.boolean("nullable", true);
        }
        if !node.choices.is_empty() {
            if kind != Some("STRING") {
                object.plain("format", "enum");
            }
            object.array("enum", |choices| node.choices.iter().for_each(|choice| choices.text(choice)));
        }
        if !node.properties.is_empty() {
            let mut known: HashSet<&str> = HashSet::new();
            object.object("properties", |properties| {
                for (name, schema) in &node.properties {
                    if known.insert(name.escaped()) {
                        self.write(schema, properties.named_member(name), depth + 1);
                    }
                }
            });
            let required = || node.required.iter().filter(|name| known.contains(name.escaped()));
            if required().next().is_some() {
                object.array("required", |names| required().for_each(|name| names.text(name)));
            }
        }
        match &node.items {
            Some(items) => self.write(items, object.member("items"), depth + 1),
            None if kind == Some("ARRAY") => {
                self.lossy = true;
                object.json("items", "{\"type\":\"STRING\"}");
            }
            None => {}
        }
        if several || !node.any_of.is_empty() {
            object.array("anyOf", |schemas| {
                for kind in node.kinds.iter().filter(|_| several) {
                    schemas.object(|schema| schema.plain("type", kind));
                }
                for schema in &node.any_of {
                    self.write(schema, schemas.element(), depth + 1);
                }
            });
        }
    }
}

fn copy<'a>(node: &mut Node<'a>, name: &'static str, value: &'a [u8]) {
    if !node.copied.iter().any(|(known, _)| *known == name) {
        node.copied.push((name, value));
    }
}

/// Whether a schema allows `null` and nothing else.
fn is_null(schema: &Value<'_>) -> bool {
    let is =
        |name, expected: &[u8]| scan::member(schema.raw, name).is_some_and(|value| value.raw == expected);
    is("type", b"\"null\"") || is("const", b"null")
}

/// What a reference within the document leads to. Source: RFC 6901.
fn resolve<'a>(root: &'a [u8], pointer: &str) -> Option<Value<'a>> {
    let mut value = Scanner::new(root).value().ok()?;
    let path = pointer.strip_prefix('#')?;
    for step in path.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        value = match value.kind {
            Kind::Object => scan::member(value.raw, &name)?,
            Kind::Array => {
                let (number, mut at, mut found) = (name.parse::<usize>().ok()?, 0, None);
                scan::elements(value.raw, |element| {
                    if at == number {
                        found = Some(element);
                    }
                    at += 1;
                })
                .ok()?;
                found?
            }
            _ => return None,
        };
    }
    Some(value)
}
