//! The trace of a request that is over, and which of them are worth a place on disk.

use super::entry::{Entry, Prompt};
use super::steps::Steps;
use crate::config::settings::KeepTraces;
use crate::telemetry::ids::TraceId;
use crate::telemetry::labels::{Endpoint, Outcome};

/// The model that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// By the id of a target, as most do: their traces need no text of their own.
    Target(u32),
    /// By a name, as the client wrote it.
    Named(Box<str>),
}

/// Everything that is held of a finished request.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The request's id.
    pub id: TraceId,
    /// The configuration that its indexes belong to.
    pub generation: u64,
    /// When it was over, in milliseconds since the epoch.
    pub finished_ms: u64,
    /// The project that answered.
    pub project: u32,
    /// The project that the token belongs to.
    pub owner: u32,
    /// The token in it.
    pub token: u32,
    /// From its head to its last byte, in milliseconds.
    pub latency_ms: u32,
    /// From its head to the point where it was known what is asked for, in milliseconds.
    pub asked_ms: u32,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Status sent to the client, 0 when it got none.
    pub status: u16,
    /// The model that the client asked for.
    pub requested: Requested,
    /// What the client said, where that is kept.
    pub request_text: Option<Box<Prompt>>,
    /// What happened.
    pub steps: Steps,
}

impl Trace {
    /// Whether it failed, or an attempt of it did.
    pub fn has_failed(&self) -> bool {
        let errors = self.steps.iter().filter(|step| matches!(step.entry, Entry::Error(_))).count();
        match self.outcome {
            Outcome::Error | Outcome::Timeout | Outcome::BudgetExceeded => true,
            Outcome::Success => errors > 0,
            // Its own departure is among them.
            Outcome::ClientClosed | Outcome::Cancelled => errors > 1,
        }
    }

    /// Whether there was more to decide than who is the only candidate.
    pub fn was_routed(&self) -> bool {
        self.steps.iter().any(|step| match &step.entry {
            Entry::Alone { .. } | Entry::Request(_) | Entry::Success(_) | Entry::Error(_) => false,
            Entry::Routing(_) | Entry::Skipped { .. } | Entry::Detail(_) => true,
        })
    }

    /// Whether it has a text that only some may read.
    pub fn has_prompts(&self) -> bool {
        self.request_text.is_some() || self.steps.iter().any(|step| step.entry.has_prompts())
    }

    /// Whether it is to be kept on disk under a setting.
    #[inline]
    pub fn is_kept(&self, keep: KeepTraces) -> bool {
        match keep {
            KeepTraces::None => false,
            KeepTraces::Errors => self.has_failed(),
            KeepTraces::Routed => self.has_failed() || self.was_routed(),
            KeepTraces::All => true,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::telemetry::ids::TraceIds;
    use crate::trace::{Detail, Failure, Step};

    /// A trace of a request for model 0 of project 0 that was over at `finished_ms`.
    pub(crate) fn trace(finished_ms: u64, outcome: Outcome, entries: Vec<Entry>) -> Trace {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&finished_ms.to_be_bytes());
        let mut steps = Steps::default();
        for entry in entries {
            steps.push(Step { since_ms: 1, entry });
        }
        Trace {
            id: TraceIds::from_seed(seed).next(finished_ms),
            generation: 1,
            finished_ms,
            project: 0,
            owner: 0,
            token: 0,
            latency_ms: 5,
            asked_ms: 0,
            endpoint: Endpoint::Chat,
            outcome,
            stream: false,
            status: 200,
            requested: Requested::Named("auto".into()),
            request_text: None,
            steps,
        }
    }

    #[test]
    fn the_setting_says_which_are_kept() {
        let error = || Entry::Error(Box::new(Failure::new(Some(0), "x", None, None)));
        let detail = || Entry::from(Detail::LlmRepair { target: 0 });
        // Outcome, entries; kept under none, errors, routed, all.
        let cases = [
            (Outcome::Success, vec![], [false, false, false, true]),
            (Outcome::Success, vec![Entry::Alone { target: 0 }], [false, false, false, true]),
            (Outcome::Success, vec![error()], [false, true, true, true]),
            (Outcome::Success, vec![detail()], [false, false, true, true]),
            (Outcome::Error, vec![], [false, true, true, true]),
            (Outcome::Timeout, vec![], [false, true, true, true]),
            (Outcome::BudgetExceeded, vec![], [false, true, true, true]),
            (Outcome::ClientClosed, vec![error()], [false, false, false, true]),
            (Outcome::ClientClosed, vec![error(), error()], [false, true, true, true]),
        ];
        for (outcome, entries, expected) in cases {
            let trace = trace(1, outcome, entries);
            let kept = [KeepTraces::None, KeepTraces::Errors, KeepTraces::Routed, KeepTraces::All]
                .map(|keep| trace.is_kept(keep));
            assert_eq!(kept, expected, "{trace:?}");
        }
    }
}
