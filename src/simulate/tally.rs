//! A conversation, counted but not kept.
//!
//! Owns one walk through the messages of any dialect: how much text there is, and whether the last item is a tool's
//! result. Nothing is allocated for it, however long the conversation.
//!
//! Source: `spec/dialects.md` sections 3, 4.1 and 5.4.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The text of a conversation, counted, and what its last item is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Characters of its text.
    pub(super) chars: u64,
    /// How many items, if it is an array.
    pub(super) items: Option<u64>,
    /// Its last item is a tool's result.
    pub(super) tool_result: bool,
    /// It is a string, and the role or type of a tool's result.
    names_result: bool,
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TallyVisitor)
    }
}

struct TallyVisitor;

/// Keys whose strings are no text: files, links, ids.
const NO_TEXT: [&str; 12] = [
    "data",
    "url",
    "image_url",
    "file_data",
    "id",
    "tool_call_id",
    "tool_use_id",
    "call_id",
    "signature",
    "encrypted_content",
    "thoughtSignature",
    "inlineData",
];

impl<'de> Visitor<'de> for TallyVisitor {
    type Value = Tally;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a conversation")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tally, E> {
        let names_result = matches!(text, "tool" | "function" | "tool_result" | "function_call_output");
        Ok(Tally { chars: text.chars().count() as u64, names_result, ..Tally::default() })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tally, E> {
        Ok(Tally::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tally, E> {
        Ok(Tally::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tally, E> {
        Ok(Tally::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tally, E> {
        Ok(Tally::default())
    }

    fn visit_unit<E>(self) -> Result<Tally, E> {
        Ok(Tally::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tally, A::Error> {
        let (mut tally, mut count) = (Tally::default(), 0);
        while let Some(item) = items.next_element::<Tally>()? {
            tally.chars += item.chars;
            // Of a conversation the last item counts; of a message's blocks Anthropic puts results first.
            tally.tool_result = item.tool_result;
            count += 1;
        }
        tally.items = Some(count);
        Ok(tally)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tally, A::Error> {
        let mut tally = Tally::default();
        while let Some(key) = fields.next_key::<Text<'de>>()? {
            match key.0.as_ref() {
                "role" | "type" => {
                    tally.tool_result |= fields.next_value::<Tally>()?.names_result;
                }
                key if NO_TEXT.contains(&key) => {
                    fields.next_value::<IgnoredAny>()?;
                }
                key => {
                    let response = matches!(key, "functionResponse" | "function_response");
                    let value = fields.next_value::<Tally>()?;
                    tally.chars += value.chars;
                    tally.tool_result |= response || value.tool_result;
                }
            }
        }
        Ok(tally)
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_conversation_is_counted_without_its_files() {
        let cases: &[(&str, &str, u64, bool)] = &[
            ("a string", r#"[{"role":"user","content":"four"}]"#, 4, false),
            (
                "parts",
                r#"[{"role":"user","content":[{"type":"text","text":"ab"},{"type":"text","text":"cd"}]}]"#,
                4,
                false,
            ),
            ("characters, not bytes", r#"[{"role":"user","content":"日本語"}]"#, 3, false),
            (
                "an image",
                r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:…"}}]}]"#,
                0,
                false,
            ),
            ("a tool message", r#"[{"role":"tool","tool_call_id":"x","content":"42"}]"#, 2, true),
            (
                "a tool message before",
                r#"[{"role":"tool","content":"4"},{"role":"user","content":"2"}]"#,
                2,
                false,
            ),
            (
                "a result block",
                r#"[{"role":"user","content":[{"type":"tool_result","content":"4"}]}]"#,
                1,
                true,
            ),
            ("an output item", r#"[{"type":"function_call_output","output":"4"}]"#, 1, true),
            ("a Gemini result", r#"[{"parts":[{"functionResponse":{"name":"f","response":{}}}]}]"#, 1, true),
            ("odd types", r#"[1,null,true,-2,0.5,{"role":7,"type":[]}]"#, 0, false),
        ];
        for (name, json, chars, tool_result) in cases {
            let tally: Tally = serde_json::from_str(json).expect(name);
            assert_eq!((tally.chars, tally.tool_result), (*chars, *tool_result), "{name}");
        }
    }
}
