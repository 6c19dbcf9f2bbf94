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
    Probe,
    /// It is open.
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed,
    Open,
    Probing,
}

/// What the word holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    kind: Kind,
    /// Closed: since when the window runs. Open: until when. Probing: since when.
    at_ms: u64,
    calls: u64,
    failed: u64,
    in_a_row: u64,
}

/// From the lowest bit: failures in a row, failed calls, calls, time, kind.
const ROW_BITS: u32 = 8;
const COUNT_BITS: u32 = 9;
/// Enough for 69 years in milliseconds, or all of a process's life.
const TIME_BITS: u32 = 36;
/// The unit of the time, in milliseconds.
const TIME_UNIT_MS: u64 = 32;
const _: () = assert!(ROW_BITS + 2 * COUNT_BITS + TIME_BITS + 2 == 64);

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl State {
    /// The word of a breaker that has nothing to remember.
    const NEW: u64 = 0;

    const fn clean() -> Self {
        Self { kind: Kind::Closed, at_ms: 0, calls: 0, failed: 0, in_a_row: 0 }
    }

    fn unpack(word: u64) -> Self {
        let (failed, calls) = (ROW_BITS, ROW_BITS + COUNT_BITS);
        let time = calls + COUNT_BITS;
        Self {
            kind: match word >> (time + TIME_BITS) {
                0 => Kind::Closed,
                1 => Kind::Open,
                _ => Kind::Probing,
            },
            at_ms: (word >> time & mask(TIME_BITS)) * TIME_UNIT_MS,
            calls: word >> calls & mask(COUNT_BITS),
            failed: word >> failed & mask(COUNT_BITS),
            in_a_row: word & mask(ROW_BITS),
        }
    }

    fn pack(self) -> u64 {
        let kind = match self.kind {
            Kind::Closed => 0,
            Kind::Open => 1,
            Kind::Probing => 2,
        };
        let (mut calls, mut failed) = (self.calls, self.failed);
        while calls > mask(COUNT_BITS) {
            // Their ratio is what matters.
            (calls, failed) = (calls / 2, failed / 2);
        }
        let mut word: u64 = kind;
        word = word << TIME_BITS | (self.at_ms / TIME_UNIT_MS).min(mask(TIME_BITS));
        word = word << COUNT_BITS | calls;
        word = word << COUNT_BITS | failed.min(calls);
        word << ROW_BITS | self.in_a_row.min(mask(ROW_BITS))
    }

    fn open(now_ms: u64, rules: &BreakerRules) -> Self {
        // Rounded up: it must not close before its time.
        let until = now_ms.saturating_add(rules.cool_down_ms).saturating_add(TIME_UNIT_MS - 1);
        Self { kind: Kind::Open, at_ms: until, ..Self::clean() }
    }

    fn admits(self, now_ms: u64, rules: &BreakerRules) -> Admission {
        match self.kind {
            Kind::Closed => Admission::Closed,
            Kind::Open if now_ms < self.at_ms => Admission::Open,
            Kind::Open => Admission::Probe,
            // A probe that has not come back by now is lost; another one may go.
            Kind::Probing if now_ms < self.at_ms.saturating_add(rules.cool_down_ms) => Admission::Open,
            Kind::Probing => Admission::Probe,
        }
    }

    fn after_success(self, now_ms: u64, rules: &BreakerRules) -> Self {
        let window_over = now_ms >= self.at_ms.saturating_add(rules.window_ms);
        match self.kind {
            Kind::Closed if self.failed == 0 || window_over => Self::clean(),
            Kind::Closed => Self { calls: self.calls + 1, in_a_row: 0, ..self },
            // A request from before it opened, or one that had nowhere else to go, tells little.
            Kind::Open if now_ms < self.at_ms => self,
            Kind::Open | Kind::Probing => Self::clean(),
        }
    }

    fn after_failure(self, now_ms: u64, rules: &BreakerRules) -> Self {
        match self.kind {
            Kind::Probing => return Self::open(now_ms, rules),
            // Requests that were on their way when it opened do not make it stay open for longer.
            Kind::Open => return self,
            Kind::Closed => {}
        }
        let is_new = self.failed == 0 || now_ms >= self.at_ms.saturating_add(rules.window_ms);
        let window = if is_new { Self { at_ms: now_ms, calls: 0, failed: 0, ..self } } else { self };
        let next = Self {
            calls: window.calls + 1,
            failed: window.failed + 1,
            in_a_row: (window.in_a_row + 1).min(mask(ROW_BITS)),
            ..window
        };
        let in_a_row = rules.failures > 0 && next.in_a_row >= u64::from(rules.failures);
        let by_ratio = rules.error_percent > 0
            && next.calls >= u64::from(rules.samples_min)
            && next.failed * 100 >= next.calls * u64::from(rules.error_percent);
        if in_a_row || by_ratio { Self::open(now_ms, rules) } else { next }
    }
}

/// A breaker that all cores share.
#[derive(Debug, Default)]
pub struct Breaker(AtomicU64);

impl Breaker {
    /// Whether a request may go, without taking part in anything: for lists and reasons.
    pub fn looks_open(&self, now_ms: u64, rules: &BreakerRules) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word != State::NEW && State::unpack(word).admits(now_ms, rules) == Admission::Open
    }

    /// Whether a request may go. The one that is told to be the [`Admission::Probe`] has to be sent.
    #[inline]
    pub fn admit(&self, now_ms: impl Fn() -> u64, rules: &BreakerRules) -> Admission {
        let word = self.0.load(Ordering::Relaxed);
        if word == State::NEW { Admission::Closed } else { self.admit_failing(word, now_ms(), rules) }
    }

    #[cold]
    fn admit_failing(&self, word: u64, now_ms: u64, rules: &BreakerRules) -> Admission {
        let admission = State::unpack(word).admits(now_ms, rules);
        if admission != Admission::Probe {
            return admission;
        }
        let probing = State { kind: Kind::Probing, at_ms: now_ms, ..State::clean() }.pack();
        match self.0.compare_exchange(word, probing, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Admission::Probe,
            // Another core was faster.
            Err(_) => Admission::Open,
        }
    }

    /// A call went well. True when that has closed an open breaker.
    #[inline]
    pub fn succeeded(&self, now_ms: impl Fn() -> u64, rules: &BreakerRules) -> bool {
        if self.0.load(Ordering::Relaxed) == State::NEW {
            return false;
        }
        let now_ms = now_ms();
        let before = self.change(|state| state.after_success(now_ms, rules));
        before.kind != Kind::Closed && before.after_success(now_ms, rules).kind == Kind::Closed
    }

    /// A call failed. True when that has opened it.
    #[cold]
    pub fn failed(&self, now_ms: u64, rules: &BreakerRules) -> bool {
        let before = self.change(|state| state.after_failure(now_ms, rules));
        before.after_failure(now_ms, rules).kind == Kind::Open && before.kind != Kind::Open
    }

    /// The request that was to be the probe ended without telling anything: the next one is.
    #[cold]
    pub fn probe_lost(&self, now_ms: u64) {
        self.change(|state| match state.kind {
            Kind::Probing => State { kind: Kind::Open, at_ms: now_ms, ..State::clean() },
            Kind::Closed | Kind::Open => state,
        });
    }

    /// Puts the state that follows in force and returns the one before it.
    fn change(&self, next: impl Fn(State) -> State) -> State {
        let update = |word| Some(next(State::unpack(word)).pack());
        let (Ok(before) | Err(before)) = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        State::unpack(before)
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
