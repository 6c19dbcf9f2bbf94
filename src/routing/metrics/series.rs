//! One series: the same window over the calls of many models.
//!
//! A call is added to the bucket of its moment with the weight that it will have at the bucket's end. What a window sums
//! up at any later time is then one pass over its buckets, exact but for the far edge, which moves in steps of 1/64 of
//! the window. Nothing is computed for a model without calls, and nothing again before a call came in or its numbers
//! have decayed by about 1 %.
//!
//! Source: the project's routing specification, sections 4.3, 4.4, 4.7, 4.8.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::finished::{Finished, Verdict};
use super::ring::{BUCKETS, Ring};
use super::{Decaying, HealthRow, Mean, PerformanceRow};

/// What is summed up over the calls of a bucket, or of a window.
pub(super) trait Sums: Copy + Default + std::fmt::Debug {
    /// What policies read of it.
    type Row: Copy + Default + PartialEq + std::fmt::Debug;

    /// Whether a call takes part.
    fn counts(call: &Finished) -> bool;
    /// Adds a call that takes part.
    fn add(&mut self, call: &Finished, weight: f64);
    /// Time passes: every weight shrinks to this part of itself.
    fn decay(&mut self, factor: f64);
    /// Adds the sums over other calls.
    fn merge(&mut self, other: &Self);
    /// Whether there was no call.
    fn is_empty(&self) -> bool;
    /// What policies read.
    fn row(&self) -> Self::Row;
}

/// Index of a model in the row of a series, by the model's slot.
pub(super) type Places = HashMap<u32, u32, FixedState>;

/// The window of many models. A model is known by its slot.
#[derive(Debug)]
pub(super) struct Series<S: Sums> {
    /// Length of a bucket in milliseconds, at least 1.
    width_ms: u64,
    /// What a millisecond does to a weight, as the logarithm to base 2; 0: nothing.
    decay_log2: f64,
    /// Rows are computed again when a bucket is over, or after so many milliseconds, even without calls.
    step_ms: u64,
    refresh_at_ms: u64,
    windows: HashMap<u32, Window<S>, FixedState>,
    /// Slots whose row is no longer what the window says.
    stale: Vec<u32>,
    places: Arc<Places>,
    rows: Arc<[S::Row]>,
}

#[derive(Debug)]
struct Window<S> {
    ring: Ring<S>,
    is_stale: bool,
}

impl<S: Sums> Series<S> {
    /// An empty series.
    pub(super) fn new(window: Decaying) -> Self {
        let width_ms = (window.window_ms / BUCKETS as u64).max(1);
        let (decay_log2, step_ms) = match window.half_life_ms {
            0 => (0.0, u64::MAX),
            half_life_ms => (-1.0 / half_life_ms as f64, half_life_ms / 64),
        };
        Self {
            width_ms,
            decay_log2,
            step_ms,
            refresh_at_ms: 0,
            windows: HashMap::with_hasher(FixedState::default()),
            stale: Vec::new(),
            places: Arc::default(),
            rows: Arc::default(),
        }
    }

    /// The rows, by place.
    pub(super) fn rows(&self) -> &Arc<[S::Row]> {
        &self.rows
    }

    /// Windows that hold calls.
    pub(super) fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Puts the rows into the order of a new configuration.
    pub(super) fn arrange(&mut self, places: Arc<Places>, count: usize, now_ms: u64) {
        self.places = places;
        self.rows = vec![S::Row::default(); count].into();
        self.refresh_at_ms = now_ms;
        let mut rows_left = usize::MAX;
        self.refresh(now_ms, &mut rows_left);
    }

    /// Forgets a model.
    pub(super) fn forget(&mut self, slot: u32) {
        self.windows.remove(&slot);
    }

    /// Adds a call that ended at `at_ms`; where it would open a window, only if `windows_left`.
    /// Returns whether it opened one.
    pub(super) fn record(&mut self, slot: u32, call: &Finished, at_ms: u64, windows_left: bool) -> bool {
        if !S::counts(call) {
            return false;
        }
        let number = at_ms / self.width_ms;
        let (window, is_new) = match self.windows.entry(slot) {
            Entry::Occupied(known) => (known.into_mut(), false),
            Entry::Vacant(free) if windows_left => {
                (free.insert(Window { ring: Ring::new(number), is_stale: false }), true)
            }
            Entry::Vacant(_) => return false,
        };
        if let Some(bucket) = window.ring.bucket(number) {
            let end_ms = (number + 1) * self.width_ms;
            bucket.add(call, ((end_ms - at_ms) as f64 * self.decay_log2).exp2());
        }
        if !std::mem::replace(&mut window.is_stale, true) {
            self.stale.push(slot);
        }
        is_new
    }

    /// Computes what is no longer true, at most so many rows as are left, and says whether anything has changed.
    pub(super) fn refresh(&mut self, now_ms: u64, rows_left: &mut usize) -> bool {
        if now_ms >= self.refresh_at_ms {
            let bucket_end_ms = (now_ms / self.width_ms + 1) * self.width_ms;
            self.refresh_at_ms = bucket_end_ms.min(now_ms.saturating_add(self.step_ms));
            for (slot, window) in &mut self.windows {
                if !std::mem::replace(&mut window.is_stale, true) {
                    self.stale.push(*slot);
                }
            }
        }
        let mut changed = false;
        while *rows_left > 0
            && let Some(slot) = self.stale.pop()
        {
            *rows_left -= 1;
            let sums = self.sums(slot, now_ms);
            if sums.is_empty() {
                self.windows.remove(&slot);
            }
            let Some(place) = self.places.get(&slot).map(|place| *place as usize) else { continue };
            let row = sums.row();
            if self.rows[place] != row {
                Arc::make_mut(&mut self.rows)[place] = row;
                changed = true;
            }
        }
        changed
    }

    /// Sums over a model's window as of now.
    fn sums(&mut self, slot: u32, now_ms: u64) -> S {
        let mut sums = S::default();
        let Some(window) = self.windows.get_mut(&slot) else { return sums };
        window.is_stale = false;
        window.ring.advance(now_ms / self.width_ms);
        let per_bucket = (self.width_ms as f64 * self.decay_log2).exp2();
        for bucket in window.ring.oldest_first() {
            sums.decay(per_bucket);
            sums.merge(bucket);
        }
        // The newest bucket's end is still to come: its calls weigh more now than they will then.
        let end_ms = (window.ring.newest() + 1) * self.width_ms;
        sums.decay(((now_ms as f64 - end_ms as f64) * self.decay_log2).exp2());
        sums
    }
}

/// For `health`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HealthSums(HealthRow);

impl Sums for HealthSums {
    type Row = HealthRow;

    fn counts(call: &Finished) -> bool {
        matches!(call.verdict, Verdict::Success | Verdict::Failure)
    }

    fn add(&mut self, call: &Finished, weight: f64) {
        let row = &mut self.0;
        row.calls += weight;
        row.samples = row.samples.saturating_add(1);
        if call.verdict == Verdict::Failure {
            row.failures += weight;
            row.last_failure_ms = row.last_failure_ms.max(call.finished_ms);
        }
    }

    fn decay(&mut self, factor: f64) {
        self.0.failures *= factor;
        self.0.calls *= factor;
    }

    fn merge(&mut self, other: &Self) {
        self.0.failures += other.0.failures;
        self.0.calls += other.0.calls;
        self.0.samples = self.0.samples.saturating_add(other.0.samples);
        self.0.last_failure_ms = self.0.last_failure_ms.max(other.0.last_failure_ms);
    }

    fn is_empty(&self) -> bool {
        self.0.samples == 0
    }

    fn row(&self) -> HealthRow {
        self.0
    }
}

/// Parts of a weighted mean.
#[derive(Debug, Clone, Copy, Default)]
struct MeanSums {
    weight: f64,
    weighted: f64,
    samples: u32,
}

impl MeanSums {
    fn add(&mut self, amount: f64, weight: f64) {
        self.weighted += amount;
        self.weight += weight;
        self.samples = self.samples.saturating_add(1);
    }

    fn decay(&mut self, factor: f64) {
        self.weighted *= factor;
        self.weight *= factor;
    }

    fn merge(&mut self, other: &Self) {
        self.weighted += other.weighted;
        self.weight += other.weight;
        self.samples = self.samples.saturating_add(other.samples);
    }

    /// None where all weights have become too small for a number: a window of more than 1,000 half-lives.
    fn mean(&self) -> Mean {
        let ms = self.weighted / self.weight;
        if ms > 0.0 && ms.is_finite() { Mean { ms, samples: self.samples } } else { Mean::default() }
    }
}

/// For `performance`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PerformanceSums {
    latency: MeanSums,
    ttft: MeanSums,
    per_output_token: MeanSums,
}

impl Sums for PerformanceSums {
    type Row = PerformanceRow;

    fn counts(call: &Finished) -> bool {
        call.verdict == Verdict::Success && call.is_timed && call.latency_ms > 0
    }

    fn add(&mut self, call: &Finished, weight: f64) {
        let latency_ms = f64::from(call.latency_ms);
        self.latency.add(weight * latency_ms, weight);
        if let Some(ttft_ms) = call.ttft_ms.filter(|ms| *ms > 0) {
            self.ttft.add(weight * f64::from(ttft_ms), weight);
        }
        if call.output_tokens > 0 {
            // All time by all tokens: the mean of the calls' own quotients would be that of the shortest answers.
            self.per_output_token.add(weight * latency_ms, weight * call.output_tokens as f64);
        }
    }

    fn decay(&mut self, factor: f64) {
        self.latency.decay(factor);
        self.ttft.decay(factor);
        self.per_output_token.decay(factor);
    }

    fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.ttft.merge(&other.ttft);
        self.per_output_token.merge(&other.per_output_token);
    }

    fn is_empty(&self) -> bool {
        self.latency.samples == 0
    }

    fn row(&self) -> PerformanceRow {
        PerformanceRow {
            latency: self.latency.mean(),
            ttft: self.ttft.mean(),
            per_output_token: self.per_output_token.mean(),
        }
    }
}

/// For `rate-limit`: calls that were made, whatever became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallSums(u32);

/// For `fairness`: calls that succeeded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SuccessSums(u32);

macro_rules! plain_counts {
    ($name:ident, $counts:pat) => {
        impl Sums for $name {
            type Row = u64;

            fn counts(call: &Finished) -> bool {
                matches!(call.verdict, $counts)
            }

            fn add(&mut self, _: &Finished, _: f64) {
                self.0 = self.0.saturating_add(1);
            }

            fn decay(&mut self, _: f64) {}

            fn merge(&mut self, other: &Self) {
                self.0 = self.0.saturating_add(other.0);
            }

            fn is_empty(&self) -> bool {
                self.0 == 0
            }

            fn row(&self) -> u64 {
                u64::from(self.0)
            }
        }
    };
}

plain_counts!(CallSums, Verdict::Success | Verdict::Failure | Verdict::Neutral);
plain_counts!(SuccessSums, Verdict::Success);
