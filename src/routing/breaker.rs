//! Circuit breaker: a model or endpoint that keeps failing is left alone for a while, then tried with one request.
//!
//! A pure state machine over a clock that the caller hands in, in one word, so that all cores can share it without a
//! lock. While nothing fails the word is zero, and a success costs one read of it: what is counted, is counted from a
//! first failure on.
//!
//! ```text
//! closed ──failures──▶ open ──cool-down──▶ probing ──success──▶ closed
//!                       ▲                     └──failure──▶ open
//! ```
//!
//! While a probe is out its own answer decides, and that of an earlier probe of the same opening which has taken longer
//! than a cool-down. Answers to requests from before the breaker opened do not.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row that open it; 0 for never.
    pub failures: u32,
    /// Failures in a hundred calls of a window that open it; 0 for never.
    pub error_percent: u32,
    /// Calls that a window must have for that.
    pub samples_min: u32,
    /// Length of a window, in milliseconds. It begins with a first failure.
    pub window_ms: u64,
    /// How long it stays open before a request is let through, in milliseconds.
    pub cool_down_ms: u64,
}

/// What a breaker says of a request that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing is wrong.
    Closed,
    /// It is open, and this request is the one that finds out whether it still has to be.
    Probe(Probe),
    /// It is open.
    Open,
}

/// Which probe a request is: the word of the breaker when it was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(NonZeroU64);

impl Probe {
    fn opening(self) -> Option<u64> {
        match State::unpack(self.0.get()) {
            State::Probing { opening, .. } => Some(opening),
            State::Closed { .. } | State::Open { .. } => None,
        }
    }
}

/// What the word holds. `opening` tells openings of one breaker apart: the low bits of when it was, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { since_ms: u64, calls: u64, failed: u64, in_a_row: u64 },
    Open { until_ms: u64, opening: u64, probes: u64 },
    Probing { since_ms: u64, opening: u64, probes: u64 },
}

/// From the lowest bit of a closed one: failures in a row, failed calls, calls, time, kind. Of another: number of probes so
/// far, opening, time, kind.
const ROW_BITS: u32 = 8;
const COUNT_BITS: u32 = 9;
const OPENING_BITS: u32 = 2 * COUNT_BITS;
/// Enough for 69 years in milliseconds, or all of a process's life.
const TIME_BITS: u32 = 36;
/// The unit of the time, in milliseconds.
const TIME_UNIT_MS: u64 = 32;
const _: () = assert!(ROW_BITS + OPENING_BITS + TIME_BITS + 2 == 64);

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl State {
    /// The word of a breaker that has nothing to remember.
    const NEW: u64 = 0;

    const fn clean() -> Self {
        Self::Closed { since_ms: 0, calls: 0, failed: 0, in_a_row: 0 }
    }

    fn unpack(word: u64) -> Self {
        let time_at = ROW_BITS + OPENING_BITS;
        let at_ms = (word >> time_at & mask(TIME_BITS)) * TIME_UNIT_MS;
        let opening = word >> ROW_BITS & mask(OPENING_BITS);
        let low = word & mask(ROW_BITS);
        match word >> (time_at + TIME_BITS) {
            0 => Self::Closed {
                since_ms: at_ms,
                calls: opening >> COUNT_BITS,
                failed: opening & mask(COUNT_BITS),
                in_a_row: low,
            },
            1 => Self::Open { until_ms: at_ms, opening, probes: low },
            _ => Self::Probing { since_ms: at_ms, opening, probes: low },
        }
    }

    fn pack(self) -> u64 {
        let (kind, at_ms, middle, low) = match self {
            Self::Closed { since_ms, mut calls, mut failed, in_a_row } => {
                while calls > mask(COUNT_BITS) {
                    // Their ratio is what matters.
                    (calls, failed) = (calls / 2, failed / 2);
                }
                (0, since_ms, calls << COUNT_BITS | failed.min(calls), in_a_row.min(mask(ROW_BITS)))
            }
            Self::Open { until_ms, opening, probes } => (1, until_ms, opening, probes),
            Self::Probing { since_ms, opening, probes } => (2, since_ms, opening, probes),
        };
        let mut word: u64 = kind;
        word = word << TIME_BITS | (at_ms / TIME_UNIT_MS).min(mask(TIME_BITS));
        word = word << OPENING_BITS | middle & mask(OPENING_BITS);
        // Probes are counted round and round: what matters is that the next one is another one.
        word << ROW_BITS | low & mask(ROW_BITS)
    }

    fn open(now_ms: u64, rules: &BreakerRules) -> Self {
        // Rounded up: it must not close before its time.
        let until_ms = now_ms.saturating_add(rules.cool_down_ms).saturating_add(TIME_UNIT_MS - 1);
        Self::Open { until_ms, opening: (now_ms / TIME_UNIT_MS) & mask(OPENING_BITS), probes: 0 }
    }

    fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// The state after a probe was let through; none where it is closed or stays open.
    fn with_probe(self, now_ms: u64, rules: &BreakerRules) -> Option<Self> {
        let (from_ms, opening, probes) = match self {
            Self::Closed { .. } => return None,
            Self::Open { until_ms, opening, probes } => (until_ms, opening, probes),
            // A probe that has not come back by now may be lost; another one may go.
            Self::Probing { since_ms, opening, probes } => {
                (since_ms.saturating_add(rules.cool_down_ms), opening, probes)
            }
        };
        (now_ms >= from_ms).then_some(Self::Probing { since_ms: now_ms, opening, probes: probes + 1 })
    }

    fn after_success(self, probe: Option<Probe>, now_ms: u64, rules: &BreakerRules) -> Self {
        match self {
            Self::Closed { since_ms, calls, failed, in_a_row: _ } => {
                if failed == 0 || now_ms >= since_ms.saturating_add(rules.window_ms) {
                    Self::clean()
                } else {
                    Self::Closed { since_ms, calls: calls + 1, failed, in_a_row: 0 }
                }
            }
            // A request from before it opened, or one that had nowhere else to go, tells little.
            Self::Open { until_ms, .. } if now_ms < until_ms => self,
            Self::Open { .. } => Self::clean(),
            Self::Probing { opening, .. } if is_of(probe, opening) => Self::clean(),
            Self::Probing { .. } => self,
        }
    }

    fn after_failure(self, probe: Option<Probe>, now_ms: u64, rules: &BreakerRules) -> Self {
        let Self::Closed { since_ms, calls, failed, in_a_row } = self else {
            // Requests that were on their way when it opened do not make it stay open for longer.
            return match self {
                Self::Probing { opening, .. } if is_of(probe, opening) => Self::open(now_ms, rules),
                _ => self,
            };
        };
        let is_new = failed == 0 || now_ms >= since_ms.saturating_add(rules.window_ms);
        let (since_ms, calls, failed) = if is_new { (now_ms, 0, 0) } else { (since_ms, calls, failed) };
        let (calls, failed) = (calls + 1, failed + 1);
        let in_a_row = (in_a_row + 1).min(mask(ROW_BITS));
        let by_row = rules.failures > 0 && in_a_row >= u64::from(rules.failures);
        let by_ratio = rules.error_percent > 0
            && calls >= u64::from(rules.samples_min)
            && failed * 100 >= calls * u64::from(rules.error_percent);
        if by_row || by_ratio {
            Self::open(now_ms, rules)
        } else {
            Self::Closed { since_ms, calls, failed, in_a_row }
        }
    }
}

/// Whether a probe was let through in this opening.
fn is_of(probe: Option<Probe>, opening: u64) -> bool {
    probe.and_then(Probe::opening) == Some(opening)
}

/// A breaker that all cores share.
#[derive(Debug, Default)]
pub struct Breaker(AtomicU64);

impl Breaker {
    /// Whether no request may go, without taking part in anything: for lists and reasons.
    pub fn looks_open(&self, now_ms: u64, rules: &BreakerRules) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        if word == State::NEW {
            return false;
        }
        let state = State::unpack(word);
        !state.is_closed() && state.with_probe(now_ms, rules).is_none()
    }

    /// Whether nothing is wrong.
    pub fn is_closed(&self) -> bool {
        State::unpack(self.0.load(Ordering::Relaxed)).is_closed()
    }

    /// Whether a request may go. What comes of one that is told to be a [`Probe`] has to be said with it.
    #[inline]
    pub fn admit(&self, now_ms: impl Fn() -> u64, rules: &BreakerRules) -> Admission {
        let word = self.0.load(Ordering::Relaxed);
        if word == State::NEW { Admission::Closed } else { self.admit_failing(word, now_ms(), rules) }
    }

    #[cold]
    fn admit_failing(&self, word: u64, now_ms: u64, rules: &BreakerRules) -> Admission {
        let state = State::unpack(word);
        if state.is_closed() {
            return Admission::Closed;
        }
        let probing = state.with_probe(now_ms, rules).map_or(0, State::pack);
        let Some(probe) = NonZeroU64::new(probing) else { return Admission::Open };
        match self.0.compare_exchange(word, probing, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Admission::Probe(Probe(probe)),
            // Another core was faster.
            Err(_) => Admission::Open,
        }
    }

    /// A call went well. True when that has closed an open breaker.
    #[inline]
    pub fn succeeded(&self, probe: Option<Probe>, now_ms: impl Fn() -> u64, rules: &BreakerRules) -> bool {
        if self.0.load(Ordering::Relaxed) == State::NEW {
            return false;
        }
        let now_ms = now_ms();
        let (before, after) = self.change(|state| state.after_success(probe, now_ms, rules));
        !before.is_closed() && after.is_closed()
    }

    /// A call failed. True when that has opened it.
    #[cold]
    pub fn failed(&self, probe: Option<Probe>, now_ms: u64, rules: &BreakerRules) -> bool {
        let (before, after) = self.change(|state| state.after_failure(probe, now_ms, rules));
        matches!(after, State::Open { .. }) && !matches!(before, State::Open { .. })
    }

    /// A probe ended without telling anything: the next request is one, unless another one is out already.
    #[cold]
    pub fn probe_lost(&self, probe: Probe, now_ms: u64) {
        let word = probe.0.get();
        if let State::Probing { opening, probes, .. } = State::unpack(word) {
            let open = State::Open { until_ms: now_ms, opening, probes }.pack();
            // Failing, it is no longer the one that everybody waits for.
            let _ = self.0.compare_exchange(word, open, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Puts the state that follows in force; returns the one before it, and that one.
    fn change(&self, next: impl Fn(State) -> State) -> (State, State) {
        let update = |word| Some(next(State::unpack(word)).pack());
        let (Ok(before) | Err(before)) = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        let before = State::unpack(before);
        (before, next(before))
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
