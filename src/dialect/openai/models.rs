//! What OpenAI's models refuse and take, by the beginning of their names.
//!
//! Sources: the project's dialect mapping, section 2.1; OpenAI API reference, "Reasoning models" and "Using GPT-5". Efforts:
//! <https://learn.microsoft.com/en-us/javascript/api/@azure/ai-projects/reasoningeffort> (none from 5.1 on, xhigh behind
//! 5.1-codex-max, high alone for 5-pro); what the API itself answered for each member, as tabled in
//! <https://community.openai.com/t/1371738> (codex, pro and chat of each version), openai/codex issue 6647 (5.1-codex has
//! no none), anomalyco/opencode issue 4451 and pull request 26268 (5.1 and later have no minimal).

use crate::dialect::Effort;

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

/// The efforts that a model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) struct Efforts {
    /// `none`: it can be told not to reason.
    none: bool,
    /// The lowest one but that.
    least: Effort,
    /// The highest one.
    most: Effort,
}

impl Efforts {
    /// The effort to ask for: `wish`, or the nearest one that the model knows.
    pub(in crate::dialect) fn nearest(self, wish: Effort) -> Effort {
        match wish {
            Effort::None if self.none => Effort::None,
            wish => wish.clamp(self.least, self.most),
        }
    }
}

/// The rules of a family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) struct ModelRules {
    /// Whether it reasons before it answers.
    pub(in crate::dialect) reasons: bool,
    /// How much it can be told to; of models that nobody knows here, all.
    pub(in crate::dialect) efforts: Efforts,
    /// Sampling parameters.
    pub(in crate::dialect) sampling: Sampling,
    /// Stop sequences.
    pub(in crate::dialect) stop: bool,
    /// `prompt_cache_breakpoint` on parts.
    pub(in crate::dialect) cache_breakpoint: bool,
}

const ANY: Efforts = Efforts { none: true, least: Effort::Minimal, most: Effort::Max };
const PLAIN: ModelRules = ModelRules {
    reasons: false,
    efforts: ANY,
    sampling: Sampling::Taken,
    stop: true,
    cache_breakpoint: false,
};
const FIRST: ModelRules = ModelRules {
    reasons: true,
    efforts: Efforts { none: false, least: Effort::Low, most: Effort::High },
    sampling: Sampling::Refused,
    ..PLAIN
};
const WITHOUT_STOP: ModelRules = ModelRules { stop: false, ..FIRST };
const MINIMAL: ModelRules = ModelRules {
    efforts: Efforts { none: false, least: Effort::Minimal, most: Effort::High },
    ..WITHOUT_STOP
};
const FIRST_SWITCHED: ModelRules = ModelRules {
    efforts: Efforts { none: true, least: Effort::Low, most: Effort::High },
    sampling: Sampling::WithoutReasoning,
    ..WITHOUT_STOP
};
const SWITCHED: ModelRules =
    ModelRules { efforts: Efforts { none: true, least: Effort::Low, most: Effort::XHigh }, ..FIRST_SWITCHED };
const NEWEST: ModelRules = ModelRules {
    efforts: Efforts { none: true, least: Effort::Low, most: Effort::Max },
    cache_breakpoint: true,
    ..SWITCHED
};

const ONLY_HIGH: ModelRules =
    ModelRules { efforts: Efforts { none: false, least: Effort::High, most: Effort::High }, ..WITHOUT_STOP };

/// Kinds of the numbered versions (`gpt-5.2-pro`), by a part of their names: none of them can be told not to reason. The
/// lowest effort of such a kind, and whether it is the only one.
const KINDS: [(&str, Effort, bool); 3] =
    [("-codex", Effort::Low, false), ("-pro", Effort::Medium, false), ("-chat", Effort::Medium, true)];

/// First match wins. Later members of the GPT family have the newest one's rules; all other names are models of
/// other makers, or deployments with names of their own, whose rules nobody knows here.
const FAMILIES: &[(&str, ModelRules)] = &[
    ("gpt-oss", PLAIN),
    ("gpt-3", PLAIN),
    ("gpt-4", PLAIN),
    ("gpt-5-chat", PLAIN),
    ("gpt-5-search", ModelRules { sampling: Sampling::Refused, ..PLAIN }),
    ("gpt-5-pro", ONLY_HIGH),
    ("gpt-5.1-codex-max", SWITCHED),
    ("gpt-5.1", FIRST_SWITCHED),
    ("gpt-5.2", SWITCHED),
    ("gpt-5.3", SWITCHED),
    ("gpt-5.4", SWITCHED),
    ("gpt-5.5", SWITCHED),
    ("gpt-5.", NEWEST),
    ("gpt-5", MINIMAL),
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
    let (prefix, rules) = *FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    let has_kinds = rules.reasons && rules != ONLY_HIGH && prefix.starts_with("gpt-");
    let kind = KINDS.iter().find(|(part, _, _)| has_kinds && name.contains(part));
    Some(match kind {
        Some((_, least, only)) => {
            let most = if *only { *least } else { rules.efforts.most };
            let efforts = Efforts { none: false, least: *least, most };
            ModelRules { efforts, sampling: Sampling::Refused, ..rules }
        }
        None => rules,
    })
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
            ("gpt-5", MINIMAL),
            ("gpt-5-nano", MINIMAL),
            ("gpt-5.1", FIRST_SWITCHED),
            ("gpt-5-pro-2025-10-06", ONLY_HIGH),
            ("gpt-5-codex", WITHOUT_STOP),
            ("gpt-5.1-codex", WITHOUT_STOP),
            ("gpt-5.5", SWITCHED),
            ("gpt-5.6-mini", NEWEST),
            ("ft:gpt-6:acme", NEWEST),
        ] {
            assert_eq!(rules_of(name), rules, "{name}");
            assert_eq!(is_known_model(name), name.contains("gpt-") || rules.reasons, "{name}");
        }
    }
    #[test]
    fn an_effort_that_a_model_does_not_know_becomes_the_nearest_one() {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        for (name, wish, sent) in [
            ("o3", None, Low),
            ("o3", Minimal, Low),
            ("o4-mini", XHigh, High),
            ("gpt-5", None, Minimal),
            ("gpt-5-mini", Minimal, Minimal),
            ("gpt-5", Max, High),
            ("gpt-5.1", None, None),
            ("gpt-5.1", Minimal, Low),
            ("gpt-5.1", XHigh, High),
            ("gpt-5.1-codex-max", XHigh, XHigh),
            ("gpt-5.1-codex-max", None, Low),
            ("gpt-5.1-codex-mini", XHigh, High),
            ("gpt-5-codex", Minimal, Low),
            ("gpt-5-pro", Low, High),
            ("gpt-5.2-pro", None, Medium),
            ("gpt-5.2-pro", XHigh, XHigh),
            ("gpt-5.2-chat-latest", High, Medium),
            ("gpt-5.3-codex", XHigh, XHigh),
            ("o3-pro", Low, Low),
            ("gpt-5.2", Minimal, Low),
            ("gpt-5.2", Medium, Medium),
            ("gpt-5.2", Max, XHigh),
            ("gpt-5.6", Max, Max),
            ("my-deployment", Minimal, Minimal),
        ] {
            assert_eq!(rules_of(name).efforts.nearest(wish), sent, "{name} {wish:?}");
        }
    }
}
