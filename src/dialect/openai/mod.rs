//! What the two dialects of OpenAI have in common: rules of models, schemas, names, tiers, errors.

mod fault;
mod logprobs;
mod models;
mod schema;

pub(super) use fault::{code_of, read_error, read_fault, write_error, write_fault};
pub(super) use logprobs::{append_logprobs, read_logprobs};
pub(super) use models::{ModelRules, Sampling, is_known_model, rules_of};
pub(super) use schema::strict_fits;

use super::Dialect;
use super::ir::Text;

/// Longest name of a function, in bytes.
pub(super) const TOOL_NAME_LEN_MAX: usize = 64;

/// Whether a function's name has no other characters than OpenAI takes: letters, digits, `_`, `-`.
pub(super) fn is_tool_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The name of a format in the characters that OpenAI takes. No model sees it, so that nothing has to be mapped back.
pub(super) fn format_name(name: Option<&Text<'_>>) -> String {
    let plain = name.and_then(Text::decode).unwrap_or_default();
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let clean: String = plain.chars().take(TOOL_NAME_LEN_MAX).map(clean).collect();
    if clean.is_empty() { "response".to_owned() } else { clean }
}

/// Whether a service tier, in OpenAI's words, is one that `dialect` has.
pub(super) fn takes_service_tier(dialect: Dialect, tier: &str) -> bool {
    match tier {
        "auto" | "default" | "flex" | "scale" | "priority" | "fast" => true,
        "ultrafast" => dialect == Dialect::OpenAiResponses,
        _ => false,
    }
}

/// Longest `safety_identifier`, in bytes.
const SAFETY_IDENTIFIER_LEN_MAX: usize = 64;

/// An end user's id as `safety_identifier`, and whether it had to become another one: OpenAI refuses long ones, and
/// recommends hashes. Claude Code's has about 150 bytes.
pub(super) fn safety_identifier<'u>(user: &'u Text<'_>) -> (Text<'u>, bool) {
    if user.escaped().len() <= SAFETY_IDENTIFIER_LEN_MAX {
        return (user.borrow(), false);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, user.escaped().as_bytes());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    (Text::from(digits), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tiers() {
        for (name, taken) in [("get_weather-2", true), ("a.b", false), ("é", false), ("a b", false)] {
            assert_eq!(is_tool_name(name), taken, "{name}");
        }
        for (tier, chat, responses) in
            [("auto", true, true), ("ultrafast", false, true), ("standard_only", false, false)]
        {
            assert_eq!(takes_service_tier(Dialect::OpenAiChat, tier), chat, "{tier}");
            assert_eq!(takes_service_tier(Dialect::OpenAiResponses, tier), responses, "{tier}");
        }
    }
    #[test]
    fn a_long_id_of_an_end_user_becomes_a_hash() {
        let short = Text::from_plain("user-1");
        assert_eq!(safety_identifier(&short), (short.borrow(), false));
        let long = Text::from("u".repeat(65));
        let (sent, is_other) = safety_identifier(&long);
        assert!(is_other && sent.escaped().len() == 64 && sent != long);
        assert_eq!(safety_identifier(&long).0, sent, "always the same");
    }
}
