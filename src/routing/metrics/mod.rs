//! What policies know of past calls: plain numbers, looked up by index.
//!
//! [`Plan`] says which numbers the policies of a configuration need; the control thread folds finished calls into exactly
//! these ([`Fold`]) and publishes them as a [`View`], again and again. A policy reads a row; it scans
//! nothing, waits for nobody and counts nothing itself.

mod finished;
mod fold;
mod ring;
mod series;
mod slots;

use std::sync::Arc;

use crate::limits::METRIC_SERIES_MAX;

pub use finished::{Finished, Verdict, is_timed};
pub use fold::{Fold, Names};

/// Which numbers a configuration's policies need. Equal needs of several policies are one series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// For `health`.
    pub health: Vec<Decaying>,
    /// For `performance`.
    pub performance: Vec<Decaying>,
    /// For `rate-limit`: lengths of windows in milliseconds.
    pub calls: Vec<u64>,
    /// For `fairness`.
    pub successes: Vec<ProjectWindow>,
}

/// A window whose calls count less the older they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decaying {
    /// Calls that ended longer ago do not count, in milliseconds.
    pub window_ms: u64,
    /// A call that ended so long ago counts half, in milliseconds; 0: all count the same.
    pub half_life_ms: u64,
}

/// A window over the calls of one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectWindow {
    /// Index of the project in the configuration.
    pub project: u32,
    /// Calls that ended longer ago do not count, in milliseconds.
    pub window_ms: u64,
}

impl Plan {
    /// Whether there are more series than are kept. Each finished call goes into every series of its kind, so their
    /// number is bounded over all projects; those of projects take only the project's calls and are not.
    ///
    /// # Errors
    /// What there is too much of, one text for each kind of policy.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let kinds = [
            ("health", self.health.len(), "windows and half-lives"),
            ("performance", self.performance.len(), "windows and half-lives"),
            ("rate-limit", self.calls.len(), "windows"),
        ];
        let too_many = kinds.iter().filter(|(_, count, _)| *count > METRIC_SERIES_MAX);
        let mistakes: Vec<String> = too_many
            .map(|(policy, count, what)| {
                format!(
                    "the `{policy}` policies of all projects have {count} different {what}; at most \
                     {METRIC_SERIES_MAX} are kept"
                )
            })
            .collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// Whether no policy needs anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The numbers at one moment. The series stand in the order of the [`Plan`]; those that did not change are shared with
/// the view before.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The configuration whose plan and indexes these are. A view of another one says nothing.
    pub generation: u64,
    /// Per `Plan::health`: a row per model of the configuration.
    pub health: Vec<Arc<[HealthRow]>>,
    /// Per `Plan::performance`: a row per model of the configuration.
    pub performance: Vec<Arc<[PerformanceRow]>>,
    /// Per `Plan::calls`: finished calls of each model, of all projects and with any outcome.
    pub calls: Vec<Arc<[u64]>>,
    /// Per `Plan::successes`: successful calls of each model of the project, in the order of `projects[].models`.
    pub successes: Vec<Arc<[u64]>>,
}

/// How the last calls of a model ended. A call weighs `exp(−ln2 · age / half-life)`.
///
/// Failures are the provider's: its errors and timeouts, neither a client's mistakes nor calls that were not made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HealthRow {
    /// Weight of the failed calls.
    pub failures: f64,
    /// Weight of all calls.
    pub calls: f64,
    /// How many calls there were, each counted as one.
    pub samples: u32,
    /// When the last one failed, in milliseconds since the Unix epoch; 0: none did.
    pub last_failure_ms: u64,
}

/// How long the last successful calls of a model took: weighted means, with the number of calls behind each.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PerformanceRow {
    /// To the end of the answer.
    pub latency: Mean,
    /// To the first token.
    pub ttft: Mean,
    /// For each output token: latency by output tokens, of the calls that had any.
    pub per_output_token: Mean,
}

/// A weighted mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    /// In milliseconds; more than 0 where there are samples.
    pub ms: f64,
    /// How many calls there were, each counted as one.
    pub samples: u32,
}
