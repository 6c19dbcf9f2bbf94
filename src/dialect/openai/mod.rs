//! What the two dialects of OpenAI have in common: rules of models, schemas, names, tiers, errors.

mod fault;
mod models;
mod schema;

pub(super) use fault::{code_of, read_error, read_fault, write_error, write_fault};
pub(super) use models::{ModelRules, Sampling, is_known_model, is_reasoning_model, rules_of};
pub(super) use schema::strict_fits;

use super::Dialect;

/// Longest name of a function, in bytes.
pub(super) const TOOL_NAME_LEN_MAX: usize = 64;

/// Whether a function's name has no other characters than OpenAI takes: letters, digits, `_`, `-`.
pub(super) fn is_tool_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether a service tier, in OpenAI's words, is one that `dialect` has.
pub(super) fn takes_service_tier(dialect: Dialect, tier: &str) -> bool {
    match tier {
        "auto" | "default" | "flex" | "scale" | "priority" | "fast" => true,
        "ultrafast" => dialect == Dialect::OpenAiResponses,
        _ => false,
    }
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
}
