//! A body without the envelopes of other providers' proofs, for a provider of the client's own dialect: everything else
//! stays byte for byte.
//!
//! The way through the shared form is the better one, since it knows what else has to go with a proof; this one is for
//! bodies that say what the shared form has no words for, such as built-in tools.

use super::Dialect;
use super::gemini::{BYPASS, ENVELOPE_ENCODED};
use super::proof::PREFIX;
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Array, Object};
use crate::json::{fragment::Raw, fragment::Text};

/// Appends `body`, one JSON object of `dialect`, to `out`: without the thoughts whose proofs are in envelopes.
pub fn strip(dialect: Dialect, body: &[u8], out: &mut Vec<u8>) {
    let start = if dialect == Dialect::Gemini { ENVELOPE_ENCODED } else { PREFIX };
    let walk = Walk { dialect, start };
    write::object(out, |object| walk.members(body, object));
}

/// Members that proofs stand in.
const PROOFS: [&str; 5] = ["signature", "data", "encrypted_content", "thoughtSignature", "thought_signature"];

struct Walk {
    dialect: Dialect,
    /// How a string with an envelope begins.
    start: &'static str,
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

    fn members(&self, object: &[u8], out: &mut Object<'_>) {
        // The body has been scanned as a whole before.
        let _ = scan::members(object, |key, value| {
            let Some(name) = Text::from_token(&object[key.span.clone()]) else { return };
            if key.matches(&PROOFS).is_some() && self.is_sealed(&value) {
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
            self.value(&value, out.named_member(&name));
        });
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
