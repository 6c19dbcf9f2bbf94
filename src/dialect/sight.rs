//! What is known so far of a response that passes by. The dialects write it, [`super::tap`] reads it.

use super::repeat::Repeat;
use super::{Usage, anthropic};
use crate::json::scan::{self, Scanner};
use crate::json::tap::MemberTap;
use crate::json::text;
use crate::json::token::Kind;
use crate::limits::{PROVIDER_ERROR_TEXT_BYTES_MAX, REPORTED_NAME_BYTES_MAX};

/// Chunks that are parsed in search of the model's name. Azure's first one has an empty name.
const MODEL_TRIES_MAX: u32 = 8;

/// An error that a provider reported in a body, cut to a bounded length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderError {
    /// `type`, or Google's `status`; empty if there is none.
    pub kind: String,
    /// `code`, a number as its digits; empty if there is none.
    pub code: String,
    /// `message`, or the whole error where it is a string; empty if there is none.
    pub message: String,
}

impl ProviderError {
    /// Reads the value of an `error` member: an object or a string. `None` for `null` and the like.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        let value = Scanner::new(raw).value().ok()?;
        let mut error = Self::default();
        match value.kind {
            Kind::String => error.message = bounded_text(raw, PROVIDER_ERROR_TEXT_BYTES_MAX),
            Kind::Object => {
                scan::members(raw, |key, value| {
                    let scalar = || match value.kind {
                        Kind::String => bounded_text(value.raw, PROVIDER_ERROR_TEXT_BYTES_MAX),
                        Kind::Number => String::from_utf8_lossy(value.raw).chars().take(20).collect(),
                        _ => String::new(),
                    };
                    match key.matches(&["type", "status", "code", "message"]) {
                        Some(0 | 1) if error.kind.is_empty() => error.kind = scalar(),
                        Some(2) => error.code = scalar(),
                        Some(3) => error.message = scalar(),
                        _ => {}
                    }
                })
                .ok()?;
            }
            _ => return None,
        }
        Some(error)
    }
}

/// A string value, decoded and cut at a character to at most `bytes_max` bytes; empty if it is no text.
fn bounded_text(token: &[u8], bytes_max: usize) -> String {
    let decoded = text::decode(token).unwrap_or_default();
    decoded[..decoded.floor_char_boundary(bytes_max)].to_owned()
}

/// Facts of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) usage: Option<Usage>,
    pub(super) anthropic: anthropic::Counts,
    /// Empty while unknown; kept across [`Sight::reset`] for its memory.
    pub(super) model: String,
    /// Likewise.
    pub(super) response_id: String,
    model_tries: u32,
    /// The first one that was reported.
    pub(super) error: Option<ProviderError>,
    pub(super) output_chars: u64,
    pub(super) events: u64,
    /// How the stream's events of text look.
    pub(super) repeat: Repeat,
    /// Events that only repeated an earlier one with another text.
    pub(super) repeated: u64,
    /// The dialect's own end mark was seen.
    pub(super) ended: bool,
    /// A finish reason was seen, which stands for the end mark where a server sends none.
    pub(super) finished: bool,
    /// The provider said that it failed.
    pub(super) failed: bool,
}

impl Sight {
    pub(super) fn reset(&mut self) {
        let (mut model, mut response_id) =
            (std::mem::take(&mut self.model), std::mem::take(&mut self.response_id));
        model.clear();
        response_id.clear();
        *self = Self { model, response_id, ..Self::default() };
    }

    /// Whether to parse another chunk for the model's name; counts the tries.
    pub(super) fn wants_model(&mut self) -> bool {
        let wanted = self.model.is_empty() && self.model_tries < MODEL_TRIES_MAX;
        self.model_tries += u32::from(wanted);
        wanted
    }

    pub(super) fn set_usage(&mut self, usage: Option<Usage>) {
        self.usage = usage.or(self.usage);
    }

    /// Takes the first name that is not empty.
    pub(super) fn set_model(&mut self, token: &[u8]) {
        if self.model.is_empty() {
            set_name(&mut self.model, token);
        }
    }

    pub(super) fn set_response_id(&mut self, token: &[u8]) {
        if self.response_id.is_empty() {
            set_name(&mut self.response_id, token);
        }
    }

    pub(super) fn set_error(&mut self, error: Option<ProviderError>) {
        self.failed |= error.is_some();
        if self.error.is_none() {
            self.error = error;
        }
    }

    /// Takes what all dialects have in a body that is not a stream.
    pub(super) fn take_body(&mut self, body: &MemberTap, model: &str) {
        if let Some(token) = body.member(model) {
            self.set_model(token);
        }
        self.set_error(body.member("error").and_then(ProviderError::read));
        self.failed |= body.is_too_long("error");
        self.ended = body.is_complete();
        self.output_chars = body.weight();
    }
}

fn set_name(name: &mut String, token: &[u8]) {
    if let Some(text) = text::decode(token)
        && text.len() <= REPORTED_NAME_BYTES_MAX
    {
        name.push_str(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_in_every_shape_that_providers_send() {
        let cases = [
            (r#"{"message":"m","type":"t","code":"c","param":null}"#, Some(("t", "c", "m"))),
            (
                r#"{"code":400,"message":"m","status":"INVALID_ARGUMENT"}"#,
                Some(("INVALID_ARGUMENT", "400", "m")),
            ),
            (r#""just text""#, Some(("", "", "just text"))),
            (r#"{"message":{"detail":[]},"code":null}"#, Some(("", "", ""))),
            ("null", None),
            ("false", None),
            ("{\"message\":", None),
        ];
        for (raw, expected) in cases {
            let read = ProviderError::read(raw.as_bytes());
            let read = read.as_ref().map(|e| (e.kind.as_str(), e.code.as_str(), e.message.as_str()));
            assert_eq!(read, expected, "{raw}");
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let raw = format!("{{\"message\":\"x{}\"}}", "é".repeat(PROVIDER_ERROR_TEXT_BYTES_MAX));
        let error = ProviderError::read(raw.as_bytes()).expect("an error");
        assert_eq!(error.message.len(), PROVIDER_ERROR_TEXT_BYTES_MAX - 1);
    }
}
