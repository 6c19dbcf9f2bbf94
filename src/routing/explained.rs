//! Why the ranking is what it is: plain data, no JSON.
//!
//! Taken down from the pool where somebody wants to see it; the tables are flat so that an old one can be filled again
//! without allocating.

use std::fmt;

use crate::dialect::Features;

/// A score or a rounded point in ten-thousandths: four decimals, as everybody is shown them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(pub u16);

impl Score {
    /// Ten-thousandths of 1.
    pub const ONE: Self = Self(10_000);

    /// Rounds, half up. `value` lies between 0 and 1.
    #[inline]
    pub(super) fn round(value: f64) -> Self {
        debug_assert!((0.0..=1.0 + 1e-9).contains(&value), "{value}");
        Self((value * 10_000.0 + 0.5) as u16)
    }

    /// As a number between 0 and 1.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// Why a policy excluded a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// The request does not fit.
    Context {
        /// Its tokens: input, and output that is asked for.
        tokens: u64,
        /// The model's window.
        window: u64,
    },
    /// It cannot do this.
    Capability(Features),
    /// Too many of its last calls failed.
    Health {
        /// Their share, by weight.
        failing: f64,
        /// When one request may try again, in milliseconds since the Unix epoch.
        retry_at_ms: u64,
    },
    /// Its breaker is open.
    Broken,
    /// It had as many calls as it may have.
    RateLimit {
        /// Calls of the window.
        calls: u64,
        /// The cap.
        max: u64,
    },
    /// Its provider said that there were too many calls.
    Cooldown {
        /// Until then, in milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// It is not among those for what the request is about.
    Intent,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context { tokens, window } => {
                write!(f, "needs about {tokens} tokens of {window}")
            }
            Self::Capability(missing) => {
                f.write_str("lacks")?;
                let names = Features::NAMES.iter().filter(|(feature, _)| !feature.and(*missing).is_empty());
                names
                    .enumerate()
                    .try_for_each(|(at, (_, name))| write!(f, "{}{name}", if at == 0 { " " } else { ", " }))
            }
            Self::Health { failing, .. } => {
                write!(f, "{:.0} % of its last calls failed", failing * 100.0)
            }
            Self::Broken => f.write_str("its breaker is open"),
            Self::RateLimit { calls, max } => write!(f, "had {calls} of {max} calls"),
            Self::Cooldown { .. } => f.write_str("its provider refuses more calls for now"),
            Self::Intent => f.write_str("is not meant for such requests"),
        }
    }
}

/// What became of a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// Its points count.
    #[default]
    Counted,
    /// It scored nobody, or all alike: it does not count.
    Abstained,
    /// It failed: it does not count.
    Failed,
    /// It was not run: the request had one candidate.
    Skipped,
}

/// One enabled policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Its type.
    pub kind: &'static str,
    /// Its index in the project's list, switched off ones counted.
    pub source: usize,
    /// Its weight.
    pub weight: u16,
    /// What became of it.
    pub part: Part,
    /// Why it failed.
    pub error: Option<String>,
}

/// One model that was considered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Considered {
    /// Index of the target.
    pub target: usize,
    /// The client named it, and the project honours that.
    pub named: bool,
    /// A limit is used up.
    pub exhausted: bool,
    /// Its score, if it is in the ranking.
    pub score: Option<Score>,
}

/// A policy's exclusion of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exclusion {
    /// Index in [`Explained::policies`].
    pub policy: usize,
    /// Index in [`Explained::candidates`].
    pub candidate: usize,
    /// Why.
    pub reason: Reason,
}

/// What is special about a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// There was one candidate: only hard filters ran.
    SingleCandidate,
    /// No policy saw a difference: the order is random.
    AllAbstained,
}

impl Note {
    /// The spelling in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleCandidate => "single_candidate_bypass",
            Self::AllAbstained => "all_policies_abstained",
        }
    }
}

/// How a ranking came about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explained {
    /// Index of the project whose policies these are.
    pub project: usize,
    /// The enabled policies, the weightiest first.
    pub policies: Vec<Applied>,
    /// The candidates, as they stood before policies: named ones first, native ones before others, project order.
    pub candidates: Vec<Considered>,
    /// A row per policy, a column per candidate; see [`Explained::point`].
    pub(super) points: Vec<Option<f64>>,
    /// Who was excluded, by whom.
    pub exclusions: Vec<Exclusion>,
    /// The ranking: indexes in [`Explained::candidates`].
    pub order: Vec<usize>,
    /// How many share the best score; 1 or less: it is no tie.
    pub tied: usize,
    /// What is special about it.
    pub note: Option<Note>,
}

impl Explained {
    /// What a policy gave a candidate; none: it did not score it, or the candidate was excluded before.
    pub fn point(&self, policy: usize, candidate: usize) -> Option<f64> {
        *self.points.get(policy * self.candidates.len() + candidate)?
    }

    /// What a point contributes to the sum: point by weight, rounded to four decimals.
    pub fn contribution(&self, policy: usize, candidate: usize) -> Option<f64> {
        let product = self.point(policy, candidate)? * f64::from(self.policies[policy].weight);
        Some((product * 10_000.0 + 0.5).floor() / 10_000.0)
    }

    /// Empties the tables and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.policies.clear();
        self.candidates.clear();
        self.points.clear();
        self.exclusions.clear();
        self.order.clear();
        self.tied = 0;
        self.note = None;
    }
}
