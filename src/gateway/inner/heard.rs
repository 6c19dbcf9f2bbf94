//! What a request says, as policies and caches that go by its meaning want it.

use crate::dialect::ir::{Content, Part, Request, Role, Turn};

/// The texts of a request, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Heard {
    /// What is said before the conversation.
    pub system: String,
    /// The user's last message; where it has no text, all that is said. May be empty.
    pub message: String,
    /// Whether the user's last message is text and nothing else: no picture, no document, no result of a tool.
    pub is_plain: bool,
    /// Whether functions are offered.
    pub has_tools: bool,
}

impl Heard {
    /// Of a request in the shared form.
    pub(in crate::gateway) fn of(request: &Request<'_>) -> Self {
        let last = request.turns.iter().rfind(|turn| turn.role == Role::User);
        let message = last.map(|turn| text_of(&turn.parts)).filter(|text| !text.trim().is_empty());
        let is_text = |part: &Part<'_>| matches!(part.content, Content::Text { .. });
        Self {
            system: text_of(&request.system),
            is_plain: message.is_some() && last.is_some_and(|turn| turn.parts.iter().all(is_text)),
            message: message.unwrap_or_else(|| everything(&request.turns)),
            has_tools: !request.tools.is_empty() || request.web_search.is_some(),
        }
    }
}

fn everything(turns: &[Turn<'_>]) -> String {
    let texts: Vec<String> = turns.iter().map(|turn| text_of(&turn.parts)).collect();
    texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The texts of some parts, a line break between them.
fn text_of(parts: &[Part<'_>]) -> String {
    let mut all = String::new();
    for part in parts {
        let Content::Text { text, .. } = &part.content else { continue };
        let Some(text) = text.decode() else { continue };
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(&text);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::translate::Ask;
    use crate::dialect::{Dialect, ProofKey};

    fn heard(dialect: Dialect, body: &str) -> Heard {
        let proofs = ProofKey::new(&[7; 32]);
        let (body, media) = (body.as_bytes(), &[][..]);
        let ask = Ask { dialect, body, stream: false, proofs: &proofs, strict: false, media };
        Heard::of(&ask.request().unwrap())
    }

    #[test]
    fn the_last_message_of_the_user_is_found_in_every_dialect() {
        for (dialect, body) in [
            (
                Dialect::OpenAiChat,
                r#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":"first"},{"role":"assistant","content":"x"},{"role":"user","content":[{"type":"text","text":"la"},{"type":"text","text":"st\u00e9"}]}]}"#,
            ),
            (
                Dialect::OpenAiResponses,
                r#"{"instructions":"S","input":[{"role":"user","content":"first"},{"role":"user","content":[{"type":"input_text","text":"la"},{"type":"input_text","text":"sté"}]}]}"#,
            ),
            (
                Dialect::AnthropicMessages,
                r#"{"model":"m","max_tokens":5,"system":"S","messages":[{"role":"user","content":"first"},{"role":"assistant","content":"x"},{"role":"user","content":[{"type":"text","text":"la"},{"type":"text","text":"sté"}]}]}"#,
            ),
            (
                Dialect::Gemini,
                r#"{"systemInstruction":{"parts":[{"text":"S"}]},"contents":[{"parts":[{"text":"first"}]},{"role":"model","parts":[{"text":"x"}]},{"role":"user","parts":[{"text":"la"},{"text":"sté"}]}]}"#,
            ),
        ] {
            let heard = heard(dialect, body);
            assert_eq!((heard.system.as_str(), heard.message.as_str()), ("S", "la\nsté"), "{body}");
            assert!(heard.is_plain && !heard.has_tools, "{body}");
        }
    }

    #[test]
    fn a_message_without_text_stands_for_the_conversation() {
        let image = r#"{"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"B"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/i.png"}}]}],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
        let heard_image = heard(Dialect::OpenAiChat, image);
        assert_eq!(heard_image.message, "A\nB");
        assert!(!heard_image.is_plain && heard_image.has_tools);
        let both = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"A"},{"type":"image_url","image_url":{"url":"https://h/i.png"}}]}]}"#;
        let both = heard(Dialect::OpenAiChat, both);
        assert_eq!((both.message.as_str(), both.is_plain), ("A", false));
    }
}
