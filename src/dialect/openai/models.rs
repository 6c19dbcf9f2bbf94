//! What OpenAI's models refuse and take, by the beginning of their names.
//!
//! Sources: the project's dialect mapping, section 2.1; OpenAI API reference, "Reasoning models" and "Using GPT-5".

/// Whether a model takes `temperature`, `top_p`, log probabilities and penalties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Sampling {
    /// Always.
    Taken,
    /// Only when it is told not to reason (effort `none`).
    WithoutReasoning,
    /// Never.
    Refused,
}

/// The rules of a family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) struct ModelRules {
    /// Whether it reasons before it answers.
    pub(in crate::dialect) reasons: bool,
    /// Sampling parameters.
    pub(in crate::dialect) sampling: Sampling,
    /// Stop sequences.
    pub(in crate::dialect) stop: bool,
    /// `prompt_cache_breakpoint` on parts.
    pub(in crate::dialect) cache_breakpoint: bool,
}

const PLAIN: ModelRules =
    ModelRules { reasons: false, sampling: Sampling::Taken, stop: true, cache_breakpoint: false };
const FIRST: ModelRules = ModelRules { reasons: true, sampling: Sampling::Refused, ..PLAIN };
const WITHOUT_STOP: ModelRules = ModelRules { stop: false, ..FIRST };
const SWITCHED: ModelRules = ModelRules { sampling: Sampling::WithoutReasoning, ..WITHOUT_STOP };
const NEWEST: ModelRules = ModelRules { cache_breakpoint: true, ..SWITCHED };

/// First match wins. Later members of the GPT family have the newest one's rules; all other names are models of
/// other makers, or deployments with names of their own, whose rules nobody knows here.
const FAMILIES: &[(&str, ModelRules)] = &[
    ("gpt-oss", PLAIN),
    ("gpt-3", PLAIN),
    ("gpt-4", PLAIN),
    ("gpt-5-chat", PLAIN),
    ("gpt-5.1", SWITCHED),
    ("gpt-5.2", SWITCHED),
    ("gpt-5.3", SWITCHED),
    ("gpt-5.4", SWITCHED),
    ("gpt-5.5", SWITCHED),
    ("gpt-5.", NEWEST),
    ("gpt-5", WITHOUT_STOP),
    ("gpt-", NEWEST),
    ("o1", FIRST),
    ("o3", WITHOUT_STOP),
    ("o4", WITHOUT_STOP),
    ("codex-", WITHOUT_STOP),
];

/// The rules of the model `name`; a maker's name in front of it (`openai/gpt-5`) and `ft:` do not count.
pub(in crate::dialect) fn rules_of(name: &str) -> ModelRules {
    family_of(name).unwrap_or(PLAIN)
}

/// Whether `name` is a model of OpenAI, and no deployment with a name of its own.
pub(in crate::dialect) fn is_known_model(name: &str) -> bool {
    family_of(name).is_some()
}

fn family_of(name: &str) -> Option<ModelRules> {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, rules)| *rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_their_names() {
        for (name, rules) in [
            ("gpt-4o-mini", PLAIN),
            ("openai/gpt-4.1", PLAIN),
            ("openai/gpt-oss-120b", PLAIN),
            ("gpt-5-chat-latest", PLAIN),
            ("llama3.3", PLAIN),
            ("olmo-2", PLAIN),
            ("", PLAIN),
            ("o1-mini", FIRST),
            ("o3", WITHOUT_STOP),
            ("o4-mini-2025-04-16", WITHOUT_STOP),
            ("gpt-5", WITHOUT_STOP),
            ("gpt-5-nano", WITHOUT_STOP),
            ("gpt-5.1-codex", SWITCHED),
            ("gpt-5.5", SWITCHED),
            ("gpt-5.6-mini", NEWEST),
            ("ft:gpt-6:acme", NEWEST),
        ] {
            assert_eq!(rules_of(name), rules, "{name}");
            assert_eq!(is_known_model(name), name.contains("gpt-") || rules.reasons, "{name}");
        }
    }
}
