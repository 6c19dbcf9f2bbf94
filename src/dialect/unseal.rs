//! A body without the envelopes of other providers' proofs, for a provider of the client's own dialect: everything else
//! stays byte for byte.
//!
//! The way through the shared form is the better one, since it knows what else has to go with a proof; this one is for
//! bodies that say what the shared form has no words for, such as built-in tools.

use super::Dialect;
use super::gemini::{BYPASS, ENVELOPE_ENCODED};
use super::proof::PREFIX;
use crate::json::scan;
use crate::json::token::{Key, Kind, Value};
use crate::json::write::{self, Array, Object};
use crate::json::{fragment::Raw, fragment::Text};

/// Appends `body`, one JSON object of `dialect`, to `out`: without the thoughts whose proofs are in envelopes. Whether
/// thinking had to be switched off with them: Claude wants the thoughts before its last call back, or none at all.
///
/// Source: Anthropic API docs, "Extended thinking", "Preserving thinking blocks".
pub fn strip(dialect: Dialect, body: &[u8], out: &mut Vec<u8>) -> bool {
    let start = if dialect == Dialect::Gemini { ENVELOPE_ENCODED } else { PREFIX };
    let mut walk = Walk { dialect, start, ends_thinking: false };
    walk.ends_thinking = dialect == Dialect::AnthropicMessages && walk.lacks_last_thoughts(body);
    write::object(out, |object| {
        // The body has been scanned as a whole before.
        let _ = scan::members(body, |key, value| walk.member(body, key, &value, object, true));
    });
    walk.ends_thinking
}

/// Members that proofs stand in.
const PROOFS: [&str; 5] = ["signature", "data", "encrypted_content", "thoughtSignature", "thought_signature"];

struct Walk {
    dialect: Dialect,
    /// How a string with an envelope begins.
    start: &'static str,
    /// `thinking` of the whole body is switched off.
    ends_thinking: bool,
}

impl Walk {
    fn is_sealed(&self, value: &Value<'_>) -> bool {
        value.kind == Kind::String && value.raw[1..].starts_with(self.start.as_bytes())
    }

    /// Whether an element of a list is nothing without its proof.
    fn is_sealed_block(&self, element: &Value<'_>) -> bool {
        let is_sealed = |name| scan::member(element.raw, name).is_some_and(|value| self.is_sealed(&value));
        match self.dialect {
            Dialect::OpenAiChat => is_sealed("data"),
            Dialect::OpenAiResponses => is_sealed("encrypted_content"),
            Dialect::AnthropicMessages => is_sealed("signature") || is_sealed("data"),
            Dialect::Gemini => {
                let has = |name| scan::member(element.raw, name).is_some();
                let is_other = has("functionCall") || has("function_call");
                let is_sealed = is_sealed("thoughtSignature") || is_sealed("thought_signature");
                is_sealed && !is_other && (has("thought") || is_silent(element))
            }
        }
    }

    /// Whether the last turn of the assistant calls a function, and its thoughts are among those that go; `false` where
    /// thinking is off anyway.
    fn lacks_last_thoughts(&self, body: &[u8]) -> bool {
        let kind = scan::member(body, "thinking").and_then(|thinking| scan::member(thinking.raw, "type"));
        if !matches!(kind.and_then(|kind| kind.plain_string()), Some(b"enabled" | b"adaptive")) {
            return false;
        }
        let mut lacks = false;
        let Some(messages) = scan::member(body, "messages") else { return false };
        let _ = scan::elements(messages.raw, |message| {
            let role = scan::member(message.raw, "role").and_then(|role| role.plain_string());
            let content = scan::member(message.raw, "content").filter(|content| content.kind == Kind::Array);
            let (Some(b"assistant"), Some(content)) = (role, content) else { return };
            let (mut calls, mut sealed) = (false, false);
            let _ = scan::elements(content.raw, |block| {
                let kind = scan::member(block.raw, "type").and_then(|kind| kind.plain_string());
                calls |= kind == Some(b"tool_use");
                sealed |= self.is_sealed_block(&block);
            });
            lacks = calls && sealed;
        });
        lacks
    }

    fn members(&self, object: &[u8], out: &mut Object<'_>) {
        let _ = scan::members(object, |key, value| self.member(object, key, &value, out, false));
    }

    fn member(&self, object: &[u8], key: &Key<'_>, value: &Value<'_>, out: &mut Object<'_>, outermost: bool) {
        let Some(name) = Text::from_token(&object[key.span.clone()]) else { return };
        if key.matches(&PROOFS).is_some() && self.is_sealed(value) {
            let is_call =
                ["functionCall", "function_call"].iter().any(|call| scan::member(object, call).is_some());
            if self.dialect == Dialect::Gemini && is_call {
                // A call without any is refused.
                Text::from_plain(BYPASS).append_to(out.named_member(&name));
            }
            return;
        }
        let is_extra = self.dialect == Dialect::OpenAiChat && key.is("extra_content");
        if is_extra && scan::member(value.raw, "gateway").is_some() {
            return;
        }
        if outermost && self.ends_thinking && key.is("thinking") {
            return out.named_member(&name).extend_from_slice(br#"{"type":"disabled"}"#);
        }
        self.value(value, out.named_member(&name));
    }

    fn value(&self, value: &Value<'_>, out: &mut Vec<u8>) {
        // Most of a body has none and is copied as it is.
        if memchr::memmem::find(value.raw, self.start.as_bytes()).is_none() {
            return out.extend_from_slice(value.raw);
        }
        match value.kind {
            Kind::Object => write::object(out, |object| self.members(value.raw, object)),
            Kind::Array => write::array(out, |list| self.elements(value.raw, list)),
            _ => out.extend_from_slice(value.raw),
        }
    }

    fn elements(&self, array: &[u8], out: &mut Array<'_>) {
        let _ = scan::elements(array, |element| {
            if element.kind != Kind::Object || !self.is_sealed_block(&element) {
                self.value(&element, out.element());
            }
        });
    }
}

/// Whether a part says nothing but its signature.
fn is_silent(part: &Value<'_>) -> bool {
    let text = scan::member(part.raw, "text").and_then(|text| Raw::from_scanned(text.raw));
    text.is_none_or(|text| text.as_str() == "\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_ends_where_claude_would_miss_its_last_thoughts() {
        let turn = |signature: &str, call: &str| {
            format!(
                r#"{{"role":"assistant","content":[{{"type":"thinking","thinking":"x","signature":"{signature}"}},{{"type":"{call}"}}]}}"#
            )
        };
        let sealed = "gw1.g.AAAA.BBBB";
        for (thinking, turns, expected) in [
            ("enabled", vec![turn(sealed, "tool_use")], true),
            ("adaptive", vec![turn("own", "tool_use"), turn(sealed, "tool_use")], true),
            ("enabled", vec![turn(sealed, "tool_use"), turn("own", "tool_use")], false),
            ("enabled", vec![turn(sealed, "text")], false),
            ("disabled", vec![turn(sealed, "tool_use")], false),
        ] {
            let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}"#;
            let messages = turns.join(",");
            let body = format!(
                r#"{{"thinking":{{"type":"{thinking}","budget_tokens":2000}},"messages":[{messages},{result}],"metadata":{{"thinking":1}}}}"#
            );
            let mut out = Vec::new();
            assert_eq!(strip(Dialect::AnthropicMessages, body.as_bytes(), &mut out), expected, "{body}");
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.contains(r#""thinking":{"type":"disabled"}"#), expected, "{text}");
            assert!(text.contains(r#""metadata":{"thinking":1}"#) && !text.contains("gw1."), "{text}");
        }
    }

    #[test]
    fn envelopes_go_and_all_else_stays() {
        let sealed = "gw1.a.AAAA.BBBB";
        let encoded = "Z3cxLmEuAAAA";
        for (dialect, body, expected) in [
            (
                Dialect::OpenAiResponses,
                format!(
                    r#"{{"model" : "m","tools":[{{"type":"web_search"}} ],"input":[{{"role":"user","content":"gw1. is said"}},{{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"{sealed}"}},{{"type":"function_call","n":1.50}}]}}"#
                ),
                r#"{"model":"m","tools":[{"type":"web_search"} ],"input":[{"role":"user","content":"gw1. is said"},{"type":"function_call","n":1.50}]}"#,
            ),
            (
                Dialect::AnthropicMessages,
                format!(
                    r#"{{"messages":[{{"role":"assistant","content":[{{"type":"thinking","thinking":"x","signature":"{sealed}"}},{{"type":"redacted_thinking","data":"{sealed}"}},{{"type":"thinking","thinking":"y","signature":"EqQB"}},{{"type":"text","text":"t"}}]}}]}}"#
                ),
                r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"y","signature":"EqQB"},{"type":"text","text":"t"}]}]}"#,
            ),
            (
                Dialect::OpenAiChat,
                format!(
                    r#"{{"messages":[{{"role":"assistant","reasoning_details":[{{"index":0,"data":"{sealed}"}},{{"data":"own"}}],"tool_calls":[{{"id":"c","extra_content":{{"gateway":{{"signature":"{sealed}"}}}}}}]}}]}}"#
                ),
                r#"{"messages":[{"role":"assistant","reasoning_details":[{"data":"own"}],"tool_calls":[{"id":"c"}]}]}"#,
            ),
            (
                Dialect::Gemini,
                format!(
                    r#"{{"tools":[{{"urlContext":{{}}}}],"contents":[{{"parts":[{{"text":"x","thought":true,"thoughtSignature":"{encoded}"}},{{"text":"","thoughtSignature":"{encoded}"}},{{"text":"t","thoughtSignature":"{encoded}"}},{{"functionCall":{{"name":"f"}},"thought_signature":"{encoded}"}},{{"text":"u","thoughtSignature":"AY89"}}]}}]}}"#
                ),
                r#"{"tools":[{"urlContext":{}}],"contents":[{"parts":[{"text":"t"},{"functionCall":{"name":"f"},"thought_signature":"skip_thought_signature_validator"},{"text":"u","thoughtSignature":"AY89"}]}]}"#,
            ),
        ] {
            let mut out = Vec::new();
            strip(dialect, body.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
