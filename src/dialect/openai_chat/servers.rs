//! What the servers that speak chat do differently in requests, as data.
//!
//! A server is told by whose proofs its models take and by the beginning of the model's name. Sources: Mistral's API
//! reference and its own refusals ("Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9", "Extra inputs are
//! not permitted"); OpenAI's ("string too long. Expected a string with maximum length 40").

use crate::dialect::context::TargetModel;
use crate::dialect::ir::Vendor;
use crate::dialect::loss::Feature;

/// Which ids of calls a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallIds {
    /// Up to so many bytes.
    UpTo(usize),
    /// Nine letters and digits.
    Nine,
}

/// How one kind of server differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerRules {
    pub(super) call_ids: CallIds,
    /// The name of `seed`.
    pub(super) seed: &'static str,
    /// The name of the end user's id; `None`: there is no place for it.
    pub(super) end_user: Option<&'static str>,
    /// Whether it knows what only OpenAI has: [`OPENAI_ONLY`], custom tools, choices of several tools.
    pub(super) is_openai: bool,
}

/// Settings that servers other than OpenAI's ignore or refuse. Those that are hints are left out silently.
pub(super) const OPENAI_ONLY: &[Feature] = &[
    Feature::Verbosity,
    Feature::Metadata,
    Feature::Moderation,
    Feature::PromptCacheKey,
    Feature::PromptCacheOptions,
    Feature::PromptCacheRetention,
    Feature::ServiceTier,
];

const OPENAI: ServerRules = ServerRules {
    call_ids: CallIds::UpTo(40),
    seed: "seed",
    end_user: Some("safety_identifier"),
    is_openai: true,
};
const OTHER: ServerRules = ServerRules {
    call_ids: CallIds::UpTo(usize::MAX),
    seed: "seed",
    end_user: Some("user"),
    is_openai: false,
};
const MISTRAL: ServerRules =
    ServerRules { call_ids: CallIds::Nine, seed: "random_seed", end_user: None, is_openai: false };
/// Mistral's models at another company: the template that wants short ids is the model's.
const MISTRAL_ELSEWHERE: ServerRules = ServerRules { call_ids: CallIds::Nine, ..OTHER };

const MISTRAL_MODELS: [&str; 9] = [
    "mistral-",
    "ministral-",
    "magistral-",
    "codestral-",
    "devstral-",
    "pixtral-",
    "voxtral-",
    "open-mi",
    "mixtral-",
];

/// The rules of the server that `target` is reached at.
pub(super) fn rules_of(target: &TargetModel<'_>) -> ServerRules {
    if target.vendor == Vendor::OpenAi {
        return OPENAI;
    }
    let (maker, name) = target.name.rsplit_once('/').unwrap_or(("", target.name));
    let name = name.to_ascii_lowercase();
    match (maker, MISTRAL_MODELS.iter().any(|prefix| name.starts_with(prefix))) {
        (_, false) => OTHER,
        ("", true) => MISTRAL,
        (_, true) => MISTRAL_ELSEWHERE,
    }
}

/// Google's mark for a call that it did not make itself: models from Gemini 3 on refuse one without a signature.
/// Source: Google AI for Developers, "Thought signatures".
pub(super) const GOOGLE_BYPASS: &str = "skip_thought_signature_validator";

/// Whether `name` is a Gemini model that wants signatures.
pub(super) fn wants_signatures(name: &str) -> bool {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    name.strip_prefix("gemini-").is_some_and(|version| !version.starts_with(['1', '2']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_by_vendor_and_model() {
        for (vendor, name, rules) in [
            (Vendor::OpenAi, "gpt-5", OPENAI),
            (Vendor::OpenAi, "mistral-large", OPENAI),
            (Vendor::Other, "mistral-large-latest", MISTRAL),
            (Vendor::Other, "open-mixtral-8x7b", MISTRAL),
            (Vendor::Other, "mistralai/Mixtral-8x7B-Instruct-v0.1", MISTRAL_ELSEWHERE),
            (Vendor::Other, "llama3.3", OTHER),
            (Vendor::Google, "gemini-2.5-flash", OTHER),
        ] {
            let target = TargetModel {
                name,
                vendor,
                token_limit_param: "max_tokens",
                output_tokens_default: 1,
                reasoning_field: None,
            };
            assert_eq!(rules_of(&target), rules, "{name}");
        }
        for (name, wanted) in
            [("google/gemini-3-flash-preview", true), ("gemini-2.5-pro", false), ("gemma-3", false)]
        {
            assert_eq!(wants_signatures(name), wanted, "{name}");
        }
    }
}
