//! The buckets of an account: which there are, which count together, when one is forgotten.
//!
//! Pure: time is an argument. Must not know of cores and their shares; what is leased to them is a number here.

use std::collections::VecDeque;

use crate::budget::window::{Bounds, Moment, Span};
use crate::config::Period;

/// How long the count of a calendar window is kept after its last use, in lengths of the window.
const KEPT_LENGTHS: u64 = 3;
/// Calendar windows of one account whose counts are known. Only a clock that is set again and again gets there; the
/// window next to the one it names is then charged.
pub(super) const CALENDAR_BUCKETS_MAX: usize = 256;

/// One stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    pub(super) epoch: u64,
    pub(super) used: u64,
    pub(super) reserved: u64,
    /// Slice, reservations and usage of all shares that belong to this bucket.
    pub(super) leased: u64,
    /// Steady clock when the shared part last looked at it.
    pub(super) seen_ms: u64,
}

impl Bucket {
    pub(super) fn committed(&self) -> u64 {
        self.used.saturating_add(self.reserved).saturating_add(self.leased)
    }
}

/// The buckets of one account.
#[derive(Debug)]
pub(super) struct Buckets {
    /// In the order of their epochs.
    pub(super) all: VecDeque<Bucket>,
    /// Of the moment that was last asked for: the calendar is consulted once per turn.
    pub(super) bounds: Bounds,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { all: VecDeque::new(), bounds: Bounds::NONE }
    }
}

impl Buckets {
    /// The bucket that is being filled now, as an index.
    pub(super) fn turn_to(&mut self, span: &Span, now: Moment) -> usize {
        let clock_ms = span.clock(now);
        if !self.bounds.contains(clock_ms) {
            self.bounds = span.bounds(clock_ms);
        }
        let newest = self.all.back().map_or(0, |bucket| bucket.epoch);
        // A core may read the steady clock just before another one and come here after it.
        let epoch = if span.is_rolling() { self.bounds.epoch.max(newest) } else { self.bounds.epoch };
        match self.open(span, epoch, now.steady_ms) {
            Some(at) => at,
            // Only a calendar has more buckets than can be known.
            None => self.all.partition_point(|bucket| bucket.epoch < epoch).min(self.all.len() - 1),
        }
    }

    /// The bucket of a moment that may have passed; none when it no longer counts.
    pub(super) fn find_or_open(&mut self, span: &Span, moment: Moment) -> Option<usize> {
        let clock_ms = span.clock(moment);
        let epoch =
            if self.bounds.contains(clock_ms) { self.bounds.epoch } else { span.bounds(clock_ms).epoch };
        self.open(span, epoch, moment.steady_ms)
    }

    /// The epoch of a moment, for whoever asks for many in one window.
    pub(super) fn epoch_at(&mut self, span: &Span, moment: Moment) -> u64 {
        let clock_ms = span.clock(moment);
        if !self.bounds.contains(clock_ms) {
            self.bounds = span.bounds(clock_ms);
        }
        self.bounds.epoch
    }

    /// Adds to what is used in the bucket of an epoch, where that counts.
    pub(super) fn add(&mut self, span: &Span, epoch: u64, used: u64, steady_ms: u64) {
        if let Some(at) = self.open(span, epoch, steady_ms) {
            let bucket = &mut self.all[at];
            bucket.used = bucket.used.saturating_add(used);
        }
    }

    /// Finds the bucket of an epoch or makes it, and forgets what no longer counts; none where there can be none.
    pub(super) fn open(&mut self, span: &Span, epoch: u64, steady_ms: u64) -> Option<usize> {
        let last = self.all.len().checked_sub(1);
        let found = match last {
            Some(last) if self.all[last].epoch == epoch => Ok(last),
            Some(_) => self.all.binary_search_by_key(&epoch, |bucket| bucket.epoch),
            None => Err(0),
        };
        let at = match found {
            Ok(at) => at,
            Err(_) => {
                self.forget(span, epoch, steady_ms)?;
                let at = self.all.partition_point(|bucket| bucket.epoch < epoch);
                self.all.insert(at, Bucket { epoch, ..Bucket::default() });
                at
            }
        };
        let bucket = &mut self.all[at];
        bucket.seen_ms = bucket.seen_ms.max(steady_ms);
        Some(at)
    }

    /// Makes room for a bucket of `epoch`; none where it does not count any more or there are too many.
    pub(super) fn forget(&mut self, span: &Span, epoch: u64, steady_ms: u64) -> Option<()> {
        match span {
            Span::Rolling { .. } => {
                let newest = self.all.back().map_or(epoch, |bucket| bucket.epoch.max(epoch));
                let oldest = span.oldest_live(newest);
                while self.all.front().is_some_and(|bucket| bucket.epoch < oldest) {
                    self.all.pop_front();
                }
                (epoch >= oldest).then_some(())
            }
            Span::Calendar { period, .. } => {
                let kept_ms = KEPT_LENGTHS * period_ms(*period);
                // What a share belongs to stays until the share is called back; there are no more than cores.
                self.all.retain(|bucket| {
                    bucket.leased > 0 || bucket.seen_ms.saturating_add(kept_ms) >= steady_ms
                });
                (self.all.len() < CALENDAR_BUCKETS_MAX).then_some(())
            }
        }
    }

    pub(super) fn bucket_mut(&mut self, epoch: u64) -> Option<&mut Bucket> {
        let at = self.all.binary_search_by_key(&epoch, |bucket| bucket.epoch).ok()?;
        self.all.get_mut(at)
    }

    /// The buckets that count together with the one at `at`.
    pub(super) fn live(&self, span: &Span, at: usize) -> impl Iterator<Item = &Bucket> {
        // What a rolling window no longer counts was forgotten when its newest bucket was opened.
        let range = if span.is_rolling() { 0..self.all.len() } else { at..at + 1 };
        self.all.range(range)
    }

    pub(super) fn committed(&self, span: &Span, at: usize) -> u64 {
        self.live(span, at).fold(0, |sum, bucket| sum.saturating_add(bucket.committed()))
    }

    pub(super) fn has_leases(&self, span: &Span, at: usize) -> bool {
        self.live(span, at).any(|bucket| bucket.leased > 0)
    }
}

/// The longest that a calendar window of this kind lasts, in milliseconds, but for an hour in autumn.
fn period_ms(period: Period) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    match period {
        Period::Hourly => 3_600_000,
        Period::Daily => DAY_MS,
        Period::Weekly => 7 * DAY_MS,
        Period::Monthly => 31 * DAY_MS,
        Period::Yearly => 366 * DAY_MS,
    }
}
