//! Who of several models is asked for the same thing, for how long each, and what is learnt of them by that.
//!
//! A model that is known to be down is passed over: nobody waits for what a policy or a cache would like to know. The time
//! is divided, so that one that hangs leaves its fallbacks their share.

use std::time::Duration;

use super::Caller;
use super::post::Whole;
use crate::clock;
use crate::dialect::{Dialect, refusal};
use crate::gateway::failover::{Failover, Failure, Turn};
use crate::respond::GatewayError;
use crate::routing::breaker::{Admission, BreakerRules, Probe};
use crate::snapshot::Target;
use crate::upstream::ConnectError;

/// Why a model is passed over that was too slow for policies and caches lately.
const TOO_SLOW: &str = "too_slow_lately";

/// Some models of which one is asked at a time.
pub(in crate::gateway) struct Asking<'a> {
    /// Whoever asks; has the time of the model that is asked now.
    pub(super) caller: Caller<'a>,
    /// Has the time of all of them.
    whole: Caller<'a>,
    /// Those that can be asked at all, in their order.
    models: &'a [usize],
    failover: Failover<'a>,
    turn: Option<Turn>,
    /// The model that is asked now decides whether it is fast enough again.
    probe: Option<Probe>,
    /// The model that is asked now has not been heard of.
    is_open: bool,
}

impl<'a> Asking<'a> {
    /// Before anybody was asked. `models` are [`usable`](Caller::usable) ones.
    pub(in crate::gateway) fn new(caller: Caller<'a>, models: &'a [usize]) -> Self {
        let failover = Failover::new(&caller.view.snapshot, models, None);
        Self { caller, whole: caller, models, failover, turn: None, probe: None, is_open: false }
    }

    /// Goes on to the next model, or to another key of the last one where it was the key's fault, and returns its index.
    /// It may take an equal part of the time that is left: as many as there are models that could still be asked.
    /// `aside` gets to know who is passed over, and why. `None`: nobody is left.
    pub(in crate::gateway) fn next(&mut self, mut aside: impl FnMut(usize, &str)) -> Option<usize> {
        let shard = self.caller.shard;
        self.give_up();
        loop {
            let turn = self.failover.next_ready(shard, |index, why| aside(index, why.as_str()))?;
            let target = self.caller.target(turn.index);
            self.probe = match target.own_calls.admit(clock::process_ms, self.rules()) {
                Admission::Closed => None,
                Admission::Probe(probe) => Some(probe),
                Admission::Open => {
                    self.failover.left(turn);
                    aside(turn.index, TOO_SLOW);
                    continue;
                }
            };
            let place = self.models.iter().position(|model| *model == turn.index).unwrap_or_default();
            let others = self.models[place + 1..].iter().filter(|model| self.is_ready(**model)).count();
            let since = clock::now();
            let left = self.whole.timeout.saturating_sub(since.duration_since(self.whole.since));
            self.caller = Caller { since, timeout: share(left, others), ..self.whole };
            self.turn = Some(turn);
            self.is_open = true;
            return Some(turn.index);
        }
    }

    /// Whose turn it is, and the key to use.
    pub(super) fn turn(&self) -> Result<(Turn, &'a Target), GatewayError> {
        let turn = self.turn.ok_or(GatewayError::Internal)?;
        Ok((turn, self.caller.target(turn.index)))
    }

    /// Takes note of what came of a call to the model that is asked now. `dialect` is what it speaks.
    pub(super) fn learn(&mut self, dialect: Dialect, answered: &Result<Whole, GatewayError>) {
        self.is_open = false;
        let (shard, rules) = (self.caller.shard, self.rules());
        let Ok((turn, target)) = self.turn() else { return };
        let (probe, now_ms) = (self.probe.take(), clock::process_ms());
        match answered {
            Ok(whole) => {
                target.own_calls.succeeded(probe, || now_ms, rules);
                match refusal::of_answer(dialect, whole.status, &whole.body) {
                    Some(judged) => {
                        self.failover.failed(shard, turn, Failure::Refused(judged), whole.retry_after);
                    }
                    None => self.failover.succeeded(shard, turn),
                }
            }
            // It had less time than a request would give it: that it is slow is nobody else's business.
            Err(error) if is_late(error) => {
                target.own_calls.failed(probe, now_ms, rules);
                self.failover.left(turn);
            }
            Err(error) => {
                if let Some(probe) = probe {
                    target.own_calls.probe_lost(probe, now_ms);
                }
                // An answer that is too long for here may do for a client.
                let is_unread = matches!(error, GatewayError::UpstreamMalformed(_));
                let failure = if is_unread { Failure::Unasked } else { Failure::of(error) };
                self.failover.failed(shard, turn, failure, None);
            }
        }
    }

    /// Nothing more will be heard of the model that is asked now.
    fn give_up(&mut self) {
        if let (true, Ok((turn, target))) = (std::mem::take(&mut self.is_open), self.turn()) {
            self.failover.left(turn);
            if let Some(probe) = self.probe.take() {
                target.own_calls.probe_lost(probe, clock::process_ms());
            }
        }
    }

    fn rules(&self) -> &'a BreakerRules {
        &self.whole.view.snapshot.config.settings().upstream.breaker
    }

    /// Whether a model would be asked, as it looks now.
    fn is_ready(&self, index: usize) -> bool {
        let (target, now_ms, rules) = (self.whole.target(index), clock::process_ms(), self.rules());
        let breakers =
            [&target.breaker, &self.whole.view.snapshot.breakers[target.endpoint], &target.own_calls];
        target.rest_ms(|| now_ms) == 0 && !breakers.iter().any(|breaker| breaker.looks_open(now_ms, rules))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Whether time ran out, as against anything that the model did.
fn is_late(error: &GatewayError) -> bool {
    matches!(
        error,
        GatewayError::UpstreamTimeout { .. } | GatewayError::Connect(ConnectError::Timeout { .. })
    )
}

/// The part of the time `left` for one model with so many `others` after it.
fn share(left: Duration, others: usize) -> Duration {
    left / u32::try_from(others + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_an_equal_part_of_what_is_left() {
        let ms = Duration::from_millis;
        for (left, others, expected) in [
            (ms(900), 0, ms(900)),
            (ms(900), 2, ms(300)),
            // The first one took its part: the others have theirs.
            (ms(600), 1, ms(300)),
            // The first one failed at once: what it left goes to the others.
            (ms(890), 1, ms(445)),
            (Duration::ZERO, 3, Duration::ZERO),
        ] {
            assert_eq!(share(left, others), expected, "{left:?} and {others} others");
        }
    }
}
