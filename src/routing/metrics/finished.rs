//! A finished attempt, as far as policies are concerned, and whose fault it was.

use crate::telemetry::labels::{Endpoint, Outcome};

/// What an attempt's end says about its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer reached the client whole.
    Success,
    /// The model failed: an error of its provider, no connection, no answer in time.
    Failure,
    /// Nothing: the request itself was refused, or the client left first.
    Neutral,
    /// The model was never called.
    NotCalled,
}

impl Verdict {
    /// The verdict over an attempt with this outcome and status: the provider's, or the gateway's where there was none.
    #[must_use]
    pub fn of(outcome: Outcome, status: u16) -> Self {
        match (outcome, status) {
            (Outcome::Success, _) => Self::Success,
            (Outcome::ClientClosed | Outcome::Cancelled, _) => Self::Neutral,
            // Its stream was ended by a limit.
            (Outcome::BudgetExceeded, 200..=299) => Self::Neutral,
            (Outcome::BudgetExceeded, _) => Self::NotCalled,
            // What is wrong with the request is no fault of the model's.
            (Outcome::Error, 400 | 404 | 413 | 422) => Self::Neutral,
            (Outcome::Error | Outcome::Timeout, _) => Self::Failure,
        }
    }
}

/// One finished attempt.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The configuration that the indexes belong to.
    pub generation: u64,
    /// Index of the project.
    pub project: u32,
    /// Index of the model.
    pub model: u32,
    /// When it ended, in milliseconds since the Unix epoch.
    pub finished_ms: u64,
    /// What it says about the model.
    pub verdict: Verdict,
    /// Whether an answer was made: counting tokens or listing models says nothing about how fast a model is.
    pub is_timed: bool,
    /// From the attempt's start to its end, in milliseconds.
    pub latency_ms: u32,
    /// From the attempt's start to the first byte of the answer, in milliseconds; none: there was none.
    pub ttft_ms: Option<u32>,
    /// Output tokens.
    pub output_tokens: u64,
}

/// Whether a call to this endpoint is one that the model answers by inference.
#[must_use]
pub fn is_timed(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Chat
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::Gemini
        | Endpoint::Embeddings
        | Endpoint::Routing => true,
        Endpoint::CountTokens
        | Endpoint::Models
        | Endpoint::Passthrough
        | Endpoint::Operations
        | Endpoint::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_model_did_is_held_against_it() {
        for (outcome, status, verdict) in [
            (Outcome::Success, 200, Verdict::Success),
            (Outcome::Error, 500, Verdict::Failure),
            (Outcome::Error, 529, Verdict::Failure),
            (Outcome::Error, 429, Verdict::Failure),
            (Outcome::Error, 401, Verdict::Failure),
            (Outcome::Error, 408, Verdict::Failure),
            (Outcome::Error, 200, Verdict::Failure), // a stream that broke off
            (Outcome::Timeout, 504, Verdict::Failure),
            (Outcome::Error, 400, Verdict::Neutral),
            (Outcome::Error, 404, Verdict::Neutral),
            (Outcome::Error, 413, Verdict::Neutral),
            (Outcome::Error, 422, Verdict::Neutral),
            (Outcome::ClientClosed, 0, Verdict::Neutral),
            (Outcome::ClientClosed, 200, Verdict::Neutral),
            (Outcome::Cancelled, 0, Verdict::Neutral),
            (Outcome::BudgetExceeded, 503, Verdict::NotCalled),
            (Outcome::BudgetExceeded, 200, Verdict::Neutral),
        ] {
            assert_eq!(Verdict::of(outcome, status), verdict, "{outcome:?} {status}");
        }
    }
}
