//! JSON Schemas as Anthropic takes them where the answer has to fit: in `output_config.format` and in strict tools.
//!
//! Objects are closed; keywords outside of the subset move into the description, where the model still reads them.
//! In one pass, each byte is looked at once. Rules: the project's dialect mapping, section 5.1.

use crate::dialect::ir::Raw;
use crate::json::scan::Scanner;
use crate::json::text::append_string;
use crate::json::token::{Fault, Key, Kind};

/// A schema in the subset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    /// The schema.
    pub(super) schema: Raw<'static>,
    /// Keywords have moved into descriptions.
    pub(super) moved: bool,
    /// It allows other values than before: it had open objects or conditions.
    pub(super) narrowed: bool,
}

/// What is done with a keyword.
#[derive(Clone, Copy)]
enum Keep {
    /// As it is.
    AsIs,
    /// A list of schemas.
    Schemas,
    /// Schemas by name.
    Named,
    /// `oneOf`, which becomes `anyOf`.
    OneOf,
    /// `items`: a schema, or a list of them in older drafts.
    Items,
    /// `format`, if it is a known one.
    Format,
    /// `minItems`, if it is 0 or 1.
    MinItems,
    /// Goes to the end of the object.
    Description,
    /// `additionalProperties`: closed at the end of the object.
    Additional,
    /// Says nothing about values.
    Comment,
}

const KEYWORDS: [(&str, Keep); 22] = [
    ("type", Keep::AsIs),
    ("enum", Keep::AsIs),
    ("const", Keep::AsIs),
    ("required", Keep::AsIs),
    ("title", Keep::AsIs),
    ("$ref", Keep::AsIs),
    ("properties", Keep::Named),
    ("$defs", Keep::Named),
    ("definitions", Keep::Named),
    ("anyOf", Keep::Schemas),
    ("allOf", Keep::Schemas),
    ("oneOf", Keep::OneOf),
    ("items", Keep::Items),
    ("format", Keep::Format),
    ("minItems", Keep::MinItems),
    ("description", Keep::Description),
    ("additionalProperties", Keep::Additional),
    ("$schema", Keep::Comment),
    ("$id", Keep::Comment),
    ("$comment", Keep::Comment),
    ("$anchor", Keep::Comment),
    ("unevaluatedProperties", Keep::Additional),
];

const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6"];

/// Keywords without which other values would be allowed in a way that no description makes up for.
const CONDITIONS: [&str; 9] = [
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "dependentSchemas",
    "dependentRequired",
    "contains",
];

/// `schema` in the subset; `None` if it is no object or nested too deeply.
pub(super) fn fit(schema: &Raw<'_>) -> Option<Fitted> {
    let mut fitting = Fitting {
        json: schema.as_str(),
        scanner: Scanner::new(schema.as_str().as_bytes()),
        out: Vec::with_capacity(schema.as_str().len() + 64),
        moved: false,
        narrowed: false,
    };
    if fitting.scanner.peek_kind() != Ok(Kind::Object) {
        return None;
    }
    fitting.schema().ok()?;
    let schema = Raw::from_written(String::from_utf8(fitting.out).ok()?);
    Some(Fitted { schema, moved: fitting.moved, narrowed: fitting.narrowed })
}

struct Fitting<'a> {
    json: &'a str,
    scanner: Scanner<'a>,
    out: Vec<u8>,
    moved: bool,
    narrowed: bool,
}

/// What one object of a schema has shown by its end.
#[derive(Default)]
struct Object<'a> {
    has_members: bool,
    is_object: bool,
    description: Option<&'a str>,
    /// `keyword: value` of the keywords that were moved.
    notes: String,
}

impl<'a> Fitting<'a> {
    /// Writes the schema that comes next.
    fn schema(&mut self) -> Result<(), Fault> {
        if self.scanner.peek_kind()? != Kind::Object {
            // `true` allows anything, `false` nothing; both are rare and neither is in the subset.
            self.scanner.value()?;
            self.narrowed = true;
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let mut object = Object::default();
        self.scanner.enter_object()?;
        self.out.push(b'{');
        while let Some(key) = self.scanner.next_key()? {
            self.keyword(&key, &mut object)?;
        }
        if object.is_object {
            self.begin_member(&mut object, "\"additionalProperties\"");
            self.out.extend_from_slice(b"false");
        }
        self.description(&mut object);
        self.out.push(b'}');
        Ok(())
    }

    fn keyword(&mut self, key: &Key<'a>, object: &mut Object<'a>) -> Result<(), Fault> {
        let name = &self.json[key.span.clone()];
        let keep = KEYWORDS.iter().find(|(name, _)| key.is(name)).map(|(_, keep)| *keep);
        let kind = self.scanner.peek_kind()?;
        match (keep, kind) {
            (Some(Keep::Comment), _) => self.scanner.value().map(|_| ()),
            (Some(Keep::AsIs), _) => {
                let raw = self.raw()?;
                object.is_object |= key.is("type") && raw.contains("\"object\"");
                self.narrowed |= key.is("$ref") && !raw.starts_with("\"#");
                self.member(object, name, raw);
                Ok(())
            }
            (Some(Keep::Named), Kind::Object) => {
                object.is_object |= key.is("properties");
                self.begin_member(object, name);
                self.named_schemas()
            }
            (Some(Keep::Schemas), Kind::Array) => {
                self.begin_member(object, name);
                self.schemas()
            }
            (Some(Keep::OneOf), Kind::Array) => {
                self.begin_member(object, "\"anyOf\"");
                self.schemas()
            }
            (Some(Keep::Items), Kind::Object) => {
                self.begin_member(object, name);
                self.schema()
            }
            (Some(Keep::Format), Kind::String) => {
                let raw = self.raw()?;
                let word = raw.trim_matches('"');
                if FORMATS.contains(&word) || word == "uuid" {
                    self.member(object, name, raw);
                } else {
                    self.note(object, name, raw);
                }
                Ok(())
            }
            (Some(Keep::MinItems), _) => {
                let raw = self.raw()?;
                if matches!(raw, "0" | "1") {
                    self.member(object, name, raw);
                } else {
                    self.note(object, name, raw);
                }
                Ok(())
            }
            (Some(Keep::Description), Kind::String) => {
                object.description = Some(self.raw()?);
                Ok(())
            }
            (Some(Keep::Additional), _) => {
                let raw = self.raw()?;
                object.is_object = true;
                if raw != "false" {
                    self.narrowed = true;
                    if raw != "true" {
                        self.note(object, name, raw);
                    }
                }
                Ok(())
            }
            _ => {
                self.narrowed |= key.matches(&CONDITIONS).is_some();
                let raw = self.raw()?;
                self.note(object, name, raw);
                Ok(())
            }
        }
    }

    fn named_schemas(&mut self) -> Result<(), Fault> {
        self.scanner.enter_object()?;
        self.out.push(b'{');
        let mut first = true;
        while let Some(key) = self.scanner.next_key()? {
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            self.out.extend_from_slice(self.json[key.span].as_bytes());
            self.out.push(b':');
            self.schema()?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn schemas(&mut self) -> Result<(), Fault> {
        self.scanner.enter_array()?;
        self.out.push(b'[');
        let mut first = true;
        while self.scanner.next_element()? {
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            self.schema()?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// The value that comes next, as it stands.
    fn raw(&mut self) -> Result<&'a str, Fault> {
        let value = self.scanner.value()?;
        Ok(&self.json[value.span])
    }

    /// Begins the member `name`, which has its quotes.
    fn begin_member(&mut self, object: &mut Object<'_>, name: &str) {
        if std::mem::replace(&mut object.has_members, true) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b':');
    }

    fn member(&mut self, object: &mut Object<'_>, name: &str, raw: &str) {
        self.begin_member(object, name);
        self.out.extend_from_slice(raw.as_bytes());
    }

    /// Notes a keyword for the description.
    fn note(&mut self, object: &mut Object<'_>, name: &str, raw: &str) {
        self.moved = true;
        let comma = if object.notes.is_empty() { "" } else { ", " };
        object.notes.push_str(comma);
        object.notes.push_str(name.trim_matches('"'));
        object.notes.push_str(": ");
        object.notes.push_str(raw);
    }

    /// Writes the description with the notes behind it.
    fn description(&mut self, object: &mut Object<'_>) {
        if object.description.is_none() && object.notes.is_empty() {
            return;
        }
        self.begin_member(object, "\"description\"");
        let Some(said) = object.description else {
            append_string(&mut self.out, &format!("({})", object.notes));
            return;
        };
        if object.notes.is_empty() {
            self.out.extend_from_slice(said.as_bytes());
            return;
        }
        // What is said stays escaped as it is; the notes go before its closing quote.
        self.out.extend_from_slice(&said.as_bytes()[..said.len() - 1]);
        let mut notes = Vec::with_capacity(object.notes.len() + 16);
        append_string(&mut notes, &format!(" ({})", object.notes));
        self.out.extend_from_slice(&notes[1..]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fitted(schema: &Value) -> (Value, bool, bool) {
        let text = schema.to_string();
        let fitted = fit(&Raw::from_scanned(text.as_bytes()).unwrap()).unwrap();
        (serde_json::from_str(fitted.schema.as_str()).unwrap(), fitted.moved, fitted.narrowed)
    }

    #[test]
    fn objects_are_closed_and_other_keywords_are_described() {
        let cases = [
            (
                json!({"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"$schema":"x"}),
                json!({"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}),
                (false, false),
            ),
            (
                json!({"type":"integer","minimum":1,"maximum":9,"description":"say \"n\""}),
                json!({"type":"integer","description":"say \"n\" (minimum: 1, maximum: 9)"}),
                (true, false),
            ),
            (
                json!({"type":"string","pattern":"^\"a\\d$"}),
                json!({"type":"string","description":"(pattern: \"^\\\"a\\\\d$\")"}),
                (true, false),
            ),
            (
                json!({"type":"string","format":"uuid"}),
                json!({"type":"string","format":"uuid"}),
                (false, false),
            ),
            (
                json!({"type":"string","format":"byte"}),
                json!({"type":"string","description":"(format: \"byte\")"}),
                (true, false),
            ),
            (
                json!({"type":"array","items":{"oneOf":[{"type":"null"},{"type":"object"}]},"minItems":1}),
                json!({"type":"array","items":{"anyOf":[{"type":"null"},{"type":"object","additionalProperties":false}]},"minItems":1}),
                (false, false),
            ),
            (
                json!({"type":"array","minItems":2}),
                json!({"type":"array","description":"(minItems: 2)"}),
                (true, false),
            ),
            (
                json!({"$ref":"#/$defs/n","$defs":{"n":{"properties":{"n":{"$ref":"#/$defs/n"}}}}}),
                json!({"$ref":"#/$defs/n","$defs":{"n":{"properties":{"n":{"$ref":"#/$defs/n"}},"additionalProperties":false}}}),
                (false, false),
            ),
            (
                json!({"type":"object","additionalProperties":true}),
                json!({"type":"object","additionalProperties":false}),
                (false, true),
            ),
            (
                json!({"type":"object","additionalProperties":{"type":"integer"}}),
                json!({"type":"object","additionalProperties":false,"description":"(additionalProperties: {\"type\":\"integer\"})"}),
                (true, true),
            ),
            (
                json!({"not":{"type":"null"}}),
                json!({"description":"(not: {\"type\":\"null\"})"}),
                (true, true),
            ),
            (
                json!({"properties":{"a":true}}),
                json!({"properties":{"a":{}},"additionalProperties":false}),
                (false, true),
            ),
            (json!({"$ref":"https://example.com/x"}), json!({"$ref":"https://example.com/x"}), (false, true)),
            // A property may have a keyword's name.
            (
                json!({"type":"object","properties":{"pattern":{"type":"string"},"description":{"type":"string"}}}),
                json!({"type":"object","properties":{"pattern":{"type":"string"},"description":{"type":"string"}},"additionalProperties":false}),
                (false, false),
            ),
        ];
        for (schema, expected, flags) in cases {
            let (found, moved, narrowed) = fitted(&schema);
            assert_eq!((found, (moved, narrowed)), (expected, flags), "{schema}");
        }
    }

    #[test]
    fn what_fits_is_fitted_no_further() {
        let schema =
            json!({"type":"object","properties":{"a":{"type":"number","minimum":0}},"description":"d"});
        let (once, _, _) = fitted(&schema);
        assert_eq!(fitted(&once), (once, false, false));
    }

    #[test]
    fn deep_schemas_are_read_once_and_bounded() {
        let deep = format!("{}{{}}{}", "{\"items\":".repeat(120), "}".repeat(120));
        assert!(fit(&Raw::from_written(deep)).is_some());
        let deeper = format!("{}{{}}{}", "{\"items\":".repeat(300), "}".repeat(300));
        assert_eq!(fit(&Raw::from_written(deeper)), None);
        for broken in ["[]", "true", "{\"a\":", "12"] {
            assert_eq!(fit(&Raw::from_written(broken.to_owned())), None, "{broken}");
        }
    }
}
