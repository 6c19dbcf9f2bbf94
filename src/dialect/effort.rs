//! How much a model is to think: words to tokens and back. Rules: the project's dialect mapping, section 6.1, which chose
//! the numbers: no provider says what a word is in tokens.

/// How much to think, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as can be.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as can be.
    Max,
}

impl Effort {
    const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    /// The word for it in OpenAI's and Anthropic's dialects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == word)
    }

    /// The effort that a budget of thinking tokens stands for.
    pub fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..=1024 => Self::Minimal,
            1025..=4096 => Self::Low,
            4097..=12_288 => Self::Medium,
            12_289..=24_576 => Self::High,
            _ => Self::XHigh,
        }
    }

    /// The budget that stands for it in Claude models that take no effort.
    pub fn anthropic_budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1024,
            Self::Low => 2048,
            Self::Medium => 8192,
            Self::High => 16_384,
            Self::XHigh | Self::Max => 32_768,
        }
    }

    /// The budget that stands for it in Gemini 2.5; `None`: the model's maximum.
    pub fn gemini_budget(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Minimal => Some(512),
            Self::Low => Some(1024),
            Self::Medium => Some(8192),
            Self::High => Some(24_576),
            Self::XHigh | Self::Max => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_budgets_stand_for_one_another() {
        for effort in Effort::ALL {
            assert_eq!(Effort::parse(effort.as_str()), Some(effort));
        }
        assert_eq!(Effort::parse("extreme"), None);
        for (tokens, effort) in [
            (0, Effort::None),
            (1, Effort::Minimal),
            (1024, Effort::Minimal),
            (4096, Effort::Low),
            (12_288, Effort::Medium),
            (24_576, Effort::High),
            (24_577, Effort::XHigh),
        ] {
            assert_eq!(Effort::of_budget(tokens), effort, "{tokens}");
        }
    }
}
