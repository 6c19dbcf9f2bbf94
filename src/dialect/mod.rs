//! What differs between the wire formats: OpenAI Chat Completions, OpenAI Responses, Anthropic Messages, Gemini.
//!
//! Owns the names of the dialects, the token counts they report and the shape of their errors. Knows no
//! sockets and no clock.

pub mod anthropic;
pub mod context;
mod count;
mod effort;
pub mod error;
mod estimate;
mod find;
#[doc(hidden)]
pub mod fuzz;
pub mod gemini;
pub mod inline;
pub mod ir;
pub mod loss;
mod media;
mod members;
mod needs;
mod openai;
pub mod openai_chat;
pub mod openai_responses;
pub mod paused;
mod proof;
pub mod rate_limits;
pub mod refusal;
mod repeat;
mod shape;
mod sight;
pub mod stream;
mod tap;
mod tool_names;
pub mod trace;
pub mod translate;
mod undo;
pub mod unseal;
mod usage;
mod whole;

#[cfg(test)]
mod logprobs_tests;
#[cfg(test)]
mod media_tests;

pub use effort::Effort;
pub use needs::{Features, Needs, tokens_of_texts};
pub use proof::ProofKey;
pub use shape::UsageShape;
pub use sight::ProviderError;
pub use tap::{StreamEnd, TapReport, UsageTap};

/// A wire format, named as in `models[].dialect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `openai-chat`: `POST /chat/completions`.
    OpenAiChat,
    /// `openai-responses`: `POST /responses`.
    OpenAiResponses,
    /// `anthropic-messages`: `POST /v1/messages`.
    AnthropicMessages,
    /// `gemini`: `POST /models/{model}:generateContent`.
    Gemini,
}

impl Dialect {
    /// The spelling used in configuration files and in the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }

    /// Its place in tables that have a column per dialect: chat, Responses, Anthropic, Gemini.
    pub const fn column(self) -> usize {
        match self {
            Self::OpenAiChat => 0,
            Self::OpenAiResponses => 1,
            Self::AnthropicMessages => 2,
            Self::Gemini => 3,
        }
    }

    /// Reads the configuration spelling.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::OpenAiChat, Self::OpenAiResponses, Self::AnthropicMessages, Self::Gemini]
            .into_iter()
            .find(|dialect| dialect.as_str() == name)
    }
}

/// Token counts of one call, in tokens, in the gateway's own terms.
///
/// `input` includes `cached_input` and `cache_write`; `output` includes `reasoning`. Anthropic reports its
/// cache counts beside `input_tokens`, OpenAI inside `prompt_tokens`: the readers of each dialect even that out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens of the call.
    pub input: u64,
    /// All output tokens of the call.
    pub output: u64,
    /// Part of `input` that was read from the provider's prompt cache.
    pub cached_input: u64,
    /// Part of `input` that was written to the provider's prompt cache.
    pub cache_write: u64,
    /// Part of `output` that was spent on reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// What two calls have used together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            input: self.input.saturating_add(more.input),
            output: self.output.saturating_add(more.output),
            cached_input: self.cached_input.saturating_add(more.cached_input),
            cache_write: self.cache_write.saturating_add(more.cache_write),
            reasoning: self.reasoning.saturating_add(more.reasoning),
        }
    }
}
