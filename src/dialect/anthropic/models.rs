//! What the models of this dialect take, as data: sampling, thinking, forced calls, schemas, prefill, output.
//!
//! A model is told by the beginning of its name. Who is not in the table, and so every model to come, has the rules of
//! the newest family. Every request goes out with the `anthropic-version` of the provider's entry in the catalogue,
//! `2023-06-01`: later ones refuse what that one takes and add nothing here.
//!
//! Rules: the project's dialect mapping, sections 2.1, 5, 6.1 and 7. Source: Anthropic API docs, "Models overview",
//! "Extended thinking", "Adaptive thinking", "Effort"
//! (<https://platform.claude.com/docs/en/build-with-claude/effort>: which model has `max` and which `xhigh`), "Structured
//! outputs", "Migration guide".

use crate::dialect::Effort;

/// How thinking is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingForm {
    /// It cannot be.
    None,
    /// `enabled`, with a budget.
    Budget,
    /// Either way.
    Both,
    /// `adaptive`, with an effort.
    Adaptive,
    /// `adaptive`, with an effort; it cannot be switched off.
    Always,
}

/// The words of `output_config.effort` that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Efforts {
    /// None at all.
    None,
    /// `low`, `medium`, `high`.
    UpToHigh,
    /// These, and `max`.
    WithMax,
    /// These, and `xhigh`.
    All,
}

impl Efforts {
    /// The word for `effort`, or for the next one that there is.
    pub(super) fn word(self, effort: Effort) -> Option<&'static str> {
        Some(match (self, effort) {
            (Self::None, _) | (_, Effort::None) => return None,
            (_, Effort::Minimal | Effort::Low) => "low",
            (_, Effort::Medium) => "medium",
            (_, Effort::High) | (Self::UpToHigh, Effort::XHigh | Effort::Max) => "high",
            (Self::All, Effort::XHigh) => "xhigh",
            (Self::WithMax | Self::All, Effort::XHigh | Effort::Max) => "max",
        })
    }
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelRules {
    /// `temperature`, `top_p` and `top_k`.
    pub(super) sampling: bool,
    /// `top_p` beside `temperature`.
    pub(super) both_samplings: bool,
    /// Thinking.
    pub(super) thinking: ThinkingForm,
    /// `output_config.effort`.
    pub(super) efforts: Efforts,
    /// `tool_choice` that forces a call.
    pub(super) forced_tool: bool,
    /// `output_config.format`, and `strict` on tools.
    pub(super) schemas: bool,
    /// A last message of the assistant, to be continued.
    pub(super) prefill: bool,
    /// Messages of the role `system`, behind a user's.
    pub(super) system_turns: bool,
    /// Most output tokens, thinking included.
    pub(super) output_tokens_max: u64,
}

impl ModelRules {
    /// Whether thinking may be on where the request says nothing of it.
    pub(super) fn thinks_unasked(&self) -> bool {
        matches!(self.thinking, ThinkingForm::Adaptive | ThinkingForm::Always)
    }
}

const CLAUDE_3: ModelRules = ModelRules {
    sampling: true,
    both_samplings: true,
    thinking: ThinkingForm::None,
    efforts: Efforts::None,
    forced_tool: true,
    schemas: false,
    prefill: true,
    system_turns: false,
    output_tokens_max: 4096,
};
const CLAUDE_3_5: ModelRules = ModelRules { output_tokens_max: 8192, ..CLAUDE_3 };
const CLAUDE_3_7: ModelRules =
    ModelRules { thinking: ThinkingForm::Budget, output_tokens_max: 64_000, ..CLAUDE_3 };
const OPUS_4: ModelRules = ModelRules { output_tokens_max: 32_000, ..CLAUDE_3_7 };
const OPUS_4_1: ModelRules = ModelRules { both_samplings: false, ..OPUS_4 };
const SONNET_4_1: ModelRules = ModelRules { both_samplings: false, ..CLAUDE_3_7 };
const CLAUDE_4_5: ModelRules = ModelRules { schemas: true, ..SONNET_4_1 };
const OPUS_4_5: ModelRules = ModelRules { efforts: Efforts::UpToHigh, ..CLAUDE_4_5 };
const SONNET_4_6: ModelRules =
    ModelRules { thinking: ThinkingForm::Both, efforts: Efforts::WithMax, prefill: false, ..CLAUDE_4_5 };
const OPUS_4_6: ModelRules = ModelRules { output_tokens_max: 128_000, ..SONNET_4_6 };
/// The newest family's rules; that they take `system` turns is true of some of it only.
const CLAUDE_5: ModelRules =
    ModelRules { sampling: false, thinking: ThinkingForm::Adaptive, efforts: Efforts::All, ..OPUS_4_6 };
const OPUS_4_8: ModelRules = ModelRules { system_turns: true, ..CLAUDE_5 };
const FABLE_5: ModelRules = ModelRules { thinking: ThinkingForm::Always, forced_tool: false, ..CLAUDE_5 };
/// Without `xhigh`.
const MYTHOS_PREVIEW: ModelRules = ModelRules { efforts: Efforts::WithMax, ..FABLE_5 };

/// A version; or a family as a whole, which ends in a hyphen.
const FAMILIES: &[(&str, ModelRules)] = &[
    ("claude-instant", CLAUDE_3),
    ("claude-2", CLAUDE_3),
    ("claude-2-0", CLAUDE_3),
    ("claude-2-1", CLAUDE_3),
    ("claude-3", CLAUDE_3),
    ("claude-3-5", CLAUDE_3_5),
    ("claude-3-7", CLAUDE_3_7),
    ("claude-opus-4", OPUS_4),
    ("claude-opus-4-0", OPUS_4),
    ("claude-opus-4-1", OPUS_4_1),
    ("claude-opus-4-5", OPUS_4_5),
    ("claude-opus-4-6", OPUS_4_6),
    ("claude-opus-4-7", CLAUDE_5),
    ("claude-opus-4-8", OPUS_4_8),
    ("claude-opus-5", OPUS_4_8),
    ("claude-sonnet-4", CLAUDE_3_7),
    ("claude-sonnet-4-0", CLAUDE_3_7),
    ("claude-sonnet-4-1", SONNET_4_1),
    ("claude-sonnet-4-5", CLAUDE_4_5),
    ("claude-sonnet-4-6", SONNET_4_6),
    ("claude-haiku-4-5", CLAUDE_4_5),
    ("claude-fable-", FABLE_5),
    ("claude-mythos-", FABLE_5),
    ("claude-mythos-preview", MYTHOS_PREVIEW),
];

/// What the model called `name` takes. Other services' spellings are known: `anthropic/claude-opus-4.6`,
/// `us.anthropic.claude-opus-4-1-20250805-v1:0`, `claude-sonnet-4@20250514`.
pub(super) fn rules_of(name: &str) -> ModelRules {
    let from = name.find("claude-").unwrap_or(0);
    let same = |a: u8, b: u8| a == b || matches!(a, b'.' | b'@') && b == b'-';
    let of_family = |prefix: &str| {
        let name = &name.as_bytes()[from..];
        let (head, rest) = name.split_at_checked(prefix.len())?;
        let is_prefix = head.iter().zip(prefix.as_bytes()).all(|(a, b)| same(*a, *b));
        (is_prefix && (prefix.ends_with('-') || !goes_on(rest))).then_some(prefix.len())
    };
    let families = FAMILIES.iter().filter_map(|(prefix, rules)| Some((of_family(prefix)?, rules)));
    families.max_by_key(|(length, _)| *length).map_or(CLAUDE_5, |(_, rules)| *rules)
}

/// Whether what follows the prefix makes it another version: `-9` or `.9`, but neither `-latest` nor a date.
fn goes_on(rest: &[u8]) -> bool {
    match rest {
        [] => false,
        [b'-' | b'.' | b'@', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=2).contains(&digits)
        }
        [b':', ..] => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_have_the_next_word_that_there_is() {
        use Effort::{High, Low, Max, Medium, Minimal, XHigh};
        for (efforts, words) in [
            (Efforts::None, [None; 6]),
            (Efforts::UpToHigh, ["low", "low", "medium", "high", "high", "high"].map(Some)),
            (Efforts::WithMax, ["low", "low", "medium", "high", "max", "max"].map(Some)),
            (Efforts::All, ["low", "low", "medium", "high", "xhigh", "max"].map(Some)),
        ] {
            assert_eq!([Minimal, Low, Medium, High, XHigh, Max].map(|effort| efforts.word(effort)), words);
            assert_eq!(efforts.word(Effort::None), None);
        }
    }

    #[test]
    fn models_are_told_by_the_beginning_of_their_names() {
        for (name, rules) in [
            ("claude-2.1", CLAUDE_3),
            ("claude-3-opus-20240229", CLAUDE_3),
            ("claude-3-5-sonnet-20240620", CLAUDE_3_5),
            ("anthropic/claude-3.5-haiku", CLAUDE_3_5),
            ("claude-3-7-sonnet-latest", CLAUDE_3_7),
            ("claude-opus-4-20250514", OPUS_4),
            ("claude-opus-4@20250514", OPUS_4),
            ("claude-opus-4", OPUS_4),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", OPUS_4_1),
            ("claude-opus-4-5-20251101", OPUS_4_5),
            ("anthropic/claude-opus-4.6", OPUS_4_6),
            ("claude-opus-4-7", CLAUDE_5),
            ("claude-opus-4-8", OPUS_4_8),
            ("claude-opus-5", OPUS_4_8),
            ("claude-sonnet-4-0", CLAUDE_3_7),
            ("claude-sonnet-4-20250514", CLAUDE_3_7),
            ("claude-sonnet-4-5-20250929", CLAUDE_4_5),
            ("claude-haiku-4-5", CLAUDE_4_5),
            ("claude-sonnet-4-6", SONNET_4_6),
            ("claude-sonnet-5", CLAUDE_5),
            ("claude-fable-5", FABLE_5),
            ("claude-mythos-5", FABLE_5),
            ("claude-mythos-preview", MYTHOS_PREVIEW),
            // Not in the table.
            ("claude-opus-4-9", CLAUDE_5),
            ("claude-opus-4.10", CLAUDE_5),
            ("claude-opus-4-11-20270101", CLAUDE_5),
            ("claude-sonnet-4-9", CLAUDE_5),
            ("claude-haiku-6", CLAUDE_5),
            ("glm-5", CLAUDE_5),
            ("é", CLAUDE_5),
            ("", CLAUDE_5),
        ] {
            assert_eq!(rules_of(name), rules, "{name}");
        }
    }
}
