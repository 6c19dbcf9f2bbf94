//! The kinds of entries.

use std::sync::Arc;

use crate::dialect::Usage;
use crate::limits::{RECORD_ERROR_BYTES_MAX, TRACE_PROMPT_BYTES_MAX};
use crate::routing::{Explained, Note, Part};
use crate::telemetry::text::clip;

/// One entry of a trace. `target`: index of a model in the snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// `router:result` where there was no choice.
    Alone {
        /// The only candidate.
        target: u32,
    },
    /// What policies made of the candidates: several entries, see [`RoutingPart::of`].
    Routing(Arc<Explained>),
    /// `model:request`: a candidate is asked.
    Request(Call),
    /// `model:success`: it has answered, and its answer was relayed.
    Success(Answered),
    /// `model:error`: it has not, or nobody could be asked.
    Error(Box<Failure>),
    /// `model:skipped`: it was not asked.
    Skipped {
        /// Who would have called.
        caller: Caller,
        /// The candidate.
        target: u32,
        /// Why.
        reason: Skip,
    },
    /// Everything that most requests do not have.
    Detail(Box<Detail>),
}

/// One entry of what policies made of the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingPart {
    /// `router:policies`
    Policies,
    /// `policy:result:<type>` of a policy, or `policy:error:<type>`.
    Policy(usize),
    /// `router:excludes`
    Excludes,
    /// `router:abstained`
    Abstained,
    /// `router:recap`
    Recap,
    /// `router:result`
    Result,
}

impl RoutingPart {
    /// The entries that tell how a ranking came about, in their order.
    pub fn of(explained: &Explained) -> impl Iterator<Item = Self> {
        let is_choice = explained.note != Some(Note::SingleCandidate);
        let has_abstained = explained.policies.iter().any(|policy| policy.part == Part::Abstained);
        let policies = if is_choice { explained.policies.len() } else { 0 };
        let when = |is_told: bool, part| is_told.then_some(part).into_iter();
        when(is_choice, Self::Policies)
            .chain((0..policies).map(Self::Policy))
            .chain(when(!explained.exclusions.is_empty(), Self::Excludes))
            .chain(when(has_abstained, Self::Abstained))
            .chain(when(is_choice, Self::Recap))
            .chain(when(!explained.order.is_empty(), Self::Result))
    }
}

/// Why a model was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// A limit has no room for it.
    BudgetExhausted,
    /// It keeps failing: its breaker is open.
    BreakerOpen,
    /// Its endpoint keeps failing.
    EndpointBreakerOpen,
    /// All its keys rest.
    KeysResting,
}

impl Skip {
    /// The spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BudgetExhausted => "budget_exhausted",
            Self::BreakerOpen => "breaker_open",
            Self::EndpointBreakerOpen => "endpoint_breaker_open",
            Self::KeysResting => "keys_resting",
        }
    }
}

/// For whom a model was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// For the client.
    Client,
    /// For a policy.
    Router,
}

/// What a model was asked for. Numbers that the request does not say are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// The model.
    pub target: u32,
    /// Whether its answer is to be a stream.
    pub stream: bool,
    /// Turns of the conversation.
    pub messages: Option<u32>,
    /// Bound on its output, in tokens.
    pub max_tokens: Option<u32>,
}

/// How a model has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Who called.
    pub caller: Caller,
    /// The model.
    pub target: u32,
    /// From the request's head to the last byte, in milliseconds.
    pub latency_ms: u32,
    /// To the first one.
    pub ttft_ms: Option<u32>,
    /// Token counts.
    pub usage: Usage,
}

/// How a call has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Who called.
    pub caller: Caller,
    /// The model, if there was one.
    pub target: Option<u32>,
    /// The cause, for the operator: may have words of the provider about our key.
    pub error: Box<str>,
    /// What a client is told, where that is something else.
    pub told: Option<Box<str>>,
    /// From the request's head to the failure, in milliseconds.
    pub latency_ms: Option<u32>,
}

impl Failure {
    /// A failure whose texts are cut to their bound.
    pub fn new(target: Option<u32>, error: &str, told: Option<&str>, latency_ms: Option<u32>) -> Self {
        let bounded = |text| Box::from(clip(text, RECORD_ERROR_BYTES_MAX));
        let told = told.filter(|told| *told != error).map(bounded);
        Self { caller: Caller::Client, target, error: bounded(error), told, latency_ms }
    }
}

/// What a policy gave a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The candidate.
    pub target: u32,
    /// From 0 to 1.
    pub point: f64,
    /// Why, in the words of the model that scored.
    pub reason: Option<Prompt>,
}

/// What the policy `semantic-intent` has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentStatus {
    /// No intent is near enough.
    Unknown,
    /// Two are about as near.
    Ambiguous,
    /// One is.
    Confident,
}

impl IntentStatus {
    /// The spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
            Self::Confident => "confident",
        }
    }
}

/// The rarer entries.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// `model:request` of a policy, with what the model was told.
    RoutingRequest {
        /// The call.
        call: Call,
        /// Its system message.
        system: Option<Prompt>,
    },
    /// `model:success` of a policy, with what the model said.
    RoutingSuccess {
        /// The answer.
        answered: Answered,
        /// Its text.
        text: Option<Prompt>,
        /// The scores that were read out of it, as JSON.
        json: Option<Prompt>,
    },
    /// `model:thinking`.
    Thinking {
        /// The model.
        target: u32,
        /// What it thought.
        text: Prompt,
    },
    /// `llm-policy:scores`.
    LlmScores {
        /// The model that scored.
        target: u32,
        /// What it gave.
        scores: Vec<Score>,
    },
    /// `llm-policy:skip`: a routing model was passed over.
    LlmSkip {
        /// Its id as configured.
        model: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// `llm-policy:repair`: it was asked to say again what could not be read.
    LlmRepair {
        /// The routing model.
        target: u32,
    },
    /// `llm-policy:error`.
    LlmError {
        /// The routing model.
        target: u32,
        /// What went wrong.
        error: Box<str>,
    },
    /// `policy:semantic-intent:classification`.
    Intent {
        /// The nearest intent and how near it is.
        top: (Box<str>, f64),
        /// The next one.
        second: Option<(Box<str>, f64)>,
        /// What follows.
        status: IntentStatus,
    },
    /// `policy:semantic-intent:result`.
    IntentResult {
        /// Candidates that may answer.
        allowed: Vec<u32>,
        /// Candidates that may not.
        excluded: Vec<u32>,
        /// Why.
        status: IntentStatus,
    },
    /// `policy:semantic-intent:misconfigured`.
    IntentMisconfigured {
        /// What is wrong.
        reason: Box<str>,
    },
    /// `policy:semantic-intent:error`.
    IntentError {
        /// What went wrong.
        error: Box<str>,
    },
    /// `cache:embedding`: a text was turned into a vector.
    CacheEmbedding {
        /// The model's id as configured.
        model: Box<str>,
        /// The provider's name of it.
        upstream_model: Box<str>,
        /// The provider.
        provider: Box<str>,
        /// Where it is reached, without credentials.
        endpoint: Box<str>,
        /// `model-config` or `cache-config`.
        source: &'static str,
        /// Whether it is one of the fallback models.
        fallback: bool,
        /// Which try, from 1.
        attempt: u32,
        /// Models that could be tried.
        candidates: u32,
    },
    /// `cache:hit`.
    CacheHit {
        /// From 0 to 1; none where the request is the same to the letter.
        similarity: Option<f64>,
        /// The model that is used, or whose answer is.
        target: u32,
        /// The model that made the vectors.
        embedding_model: Option<Box<str>>,
        /// Whether the entry lives longer for it.
        ttl_extended: bool,
    },
    /// `cache:miss`.
    CacheMiss {
        /// The model that made the vector.
        embedding_model: Option<Box<str>>,
    },
}

impl Entry {
    /// Whether it has a text that only some may read.
    pub fn has_prompts(&self) -> bool {
        let Self::Detail(detail) = self else { return false };
        match &**detail {
            Detail::Thinking { .. } => true,
            Detail::RoutingRequest { system, .. } => system.is_some(),
            Detail::RoutingSuccess { text, json, .. } => text.is_some() || json.is_some(),
            Detail::LlmScores { scores, .. } => scores.iter().any(|score| score.reason.is_some()),
            _ => false,
        }
    }
}

impl From<Detail> for Entry {
    fn from(detail: Detail) -> Self {
        Self::Detail(Box::new(detail))
    }
}

/// A text that a person wrote or a model answered: exists only where the settings allow it, and bounded.
#[derive(Clone, PartialEq, Eq)]
pub struct Prompt(Box<str>);

impl Prompt {
    /// Keeps `text` up to its bound if `allowed`, which is `tracePrompts` of the settings in force.
    pub fn keep(allowed: bool, text: &str) -> Option<Self> {
        allowed.then(|| Self(Box::from(clip(text, TRACE_PROMPT_BYTES_MAX))))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prompt(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 64, "{}", size_of::<Entry>());
    }

    #[test]
    fn a_prompt_exists_only_where_it_is_allowed() {
        assert_eq!(Prompt::keep(false, "canary"), None);
        let kept = Prompt::keep(true, &"é".repeat(TRACE_PROMPT_BYTES_MAX)).unwrap();
        assert_eq!(kept.as_str().len(), TRACE_PROMPT_BYTES_MAX);
        assert_eq!(format!("{kept:?}"), "Prompt(…)");
    }

    #[test]
    fn a_client_is_told_something_else_only_where_it_is() {
        assert_eq!(Failure::new(None, "same", Some("same"), None).told, None);
        assert_eq!(Failure::new(None, "cause", Some("told"), None).told.as_deref(), Some("told"));
    }
}
