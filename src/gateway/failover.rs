//! Who is asked next when a candidate has failed, and when.
//!
//! Order: another key of the same model, where it was the key's fault; the candidates in their order, those left aside
//! whose breaker is open or whose keys all rest; those; at last, after a wait, the first one again whose fault was a
//! passing one. Retries that may hit somebody who suffers already are paid for from the core's budget.

use std::time::Duration;

use super::candidates::Hopes;
use super::ledger::Ledger;
use crate::clock;
use crate::dialect::refusal::{Judged, Refusal};
use crate::respond::GatewayError;
use crate::routing::breaker::{Admission, Probe};
use crate::routing::retry::backoff;
use crate::shard::Shard;
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::RetryReason;
use crate::telemetry::log::{self, Value};
use crate::trace::Skip;

/// How long a key is left alone that the provider does not take; a reload of the configuration ends it earlier.
const REFUSED_KEY_MS: u64 = 300_000;

/// Longest time that a key is left alone on a provider's word.
const REST_MAX: Duration = Duration::from_secs(86_400);

/// The next one to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Index of the target.
    pub index: usize,
    /// Index of its key.
    pub key: usize,
    /// How long to wait before.
    pub wait: Duration,
    probes: Probes,
}

/// The open breakers of which an answer decides whether they close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Probes {
    model: Option<Probe>,
    endpoint: Option<Probe>,
}

/// Why a candidate did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It refused: by its status, or by the error that a stream began with.
    Refused(Judged),
    /// No connection came about.
    Unreachable,
    /// It cannot be trusted to be who it says.
    Untrusted,
    /// The connection broke, or what came was no answer. It may have begun to work.
    Broken,
    /// It took too long.
    TooSlow,
    /// It was not asked: the request cannot be put to it.
    Unasked,
}

impl Failure {
    /// What kind of failure an error of an attempt is.
    pub(super) fn of(error: &GatewayError) -> Self {
        match error {
            GatewayError::Connect(error) if error.is_about_certificate() => Self::Untrusted,
            GatewayError::Connect(_) => Self::Unreachable,
            GatewayError::UpstreamTimeout { .. } => Self::TooSlow,
            GatewayError::UpstreamClosed(_) | GatewayError::UpstreamMalformed(_) => Self::Broken,
            _ => Self::Unasked,
        }
    }

    fn reason(self) -> RetryReason {
        match self {
            Self::Refused(Judged { refusal, .. }) => match refusal {
                Refusal::Key | Refusal::Account => RetryReason::Key,
                Refusal::Limited => RetryReason::RateLimit,
                Refusal::Request | Refusal::Unfit | Refusal::Missing => RetryReason::Unfit,
                Refusal::Passing | Refusal::Provider => RetryReason::Status,
            },
            Self::Unreachable | Self::Untrusted => RetryReason::Connect,
            Self::Broken => RetryReason::Broken,
            Self::TooSlow => RetryReason::Timeout,
            Self::Unasked => RetryReason::Unfit,
        }
    }

    /// Whether the model may be asked again in a moment.
    fn passes(self) -> bool {
        match self {
            Self::Refused(Judged { refusal, .. }) => {
                matches!(refusal, Refusal::Limited | Refusal::Passing | Refusal::Provider)
            }
            Self::Unreachable => true,
            Self::Untrusted | Self::Broken | Self::TooSlow | Self::Unasked => false,
        }
    }
}

/// The way of one request through its candidates.
pub(super) struct Failover<'a> {
    snapshot: &'a Snapshot,
    ranked: &'a [usize],
    /// Of `ranked`, those that were taken or left aside.
    at: usize,
    /// Left aside: asked when nobody else is left.
    aside: Vec<usize>,
    /// Keys that were tried of the target whose turn came last, a bit each.
    keys_tried: u64,
    /// That target.
    tried: Option<usize>,
    /// Who failed last, unless somebody else's turn has come since.
    last: Option<(Turn, Failure)>,
    /// Who is asked again when nobody is left.
    again: Option<usize>,
    retries: u32,
    /// What draws the keys of models; chance where there is none.
    prefix: Option<u64>,
}

impl<'a> Failover<'a> {
    /// Before anybody was asked. Of equal keys, requests with the same `prefix` get the same one, so that the provider's
    /// cache of prompts, which belongs to a key, has seen their beginning.
    pub(super) fn new(snapshot: &'a Snapshot, ranked: &'a [usize], prefix: Option<u64>) -> Self {
        Self {
            snapshot,
            ranked,
            prefix,
            at: 0,
            aside: Vec::new(),
            keys_tried: 0,
            tried: None,
            last: None,
            again: None,
            retries: 0,
        }
    }

    /// The first one to ask; `None` where there is nobody.
    #[inline]
    pub(super) fn first(&mut self, ledger: &mut Ledger) -> Option<Turn> {
        // One that has no alternative is asked, whatever is known of it.
        if let [index] = *self.ranked {
            self.at = 1;
            return Some(self.turn(&ledger.shard, index, Duration::ZERO, Probes::default()));
        }
        self.next_ranked(ledger)
    }

    /// The next one to ask after the last one has failed; `left` is what remains of the time of the whole request.
    pub(super) fn next(&mut self, ledger: &mut Ledger, left: Option<Duration>) -> Option<Turn> {
        let Some((last, failure)) = self.last else { return self.first(ledger) };
        let turn = self
            .other_key(&ledger.shard, last, failure)
            .or_else(|| self.next_ranked(ledger))
            .or_else(|| self.once_more(&ledger.shard, left))?;
        ledger.shard.metrics.retries(failure.reason()).add(1);
        Some(turn)
    }

    /// The next turn of a request that must not be done twice: with another key after one was refused, or the same again after
    /// no connection came about.
    pub(super) fn next_safe(&mut self, ledger: &mut Ledger, left: Option<Duration>) -> Option<Turn> {
        let (last, failure) = self.last?;
        let turn = match failure {
            Failure::Unreachable => self.once_more(&ledger.shard, left),
            _ => self.other_key(&ledger.shard, last, failure),
        }?;
        ledger.shard.metrics.retries(failure.reason()).add(1);
        Some(turn)
    }

    /// The next one that nothing is known against: another key of the last one where it was the key's fault, or the next
    /// candidate. `aside` gets to know who is passed over.
    pub(super) fn next_ready(&mut self, shard: &Shard, mut aside: impl FnMut(usize, Skip)) -> Option<Turn> {
        if let Some((last, failure)) = self.last
            && let Some(turn) = self.other_key(shard, last, failure)
        {
            return Some(turn);
        }
        while let Some(&index) = self.ranked.get(self.at) {
            self.at += 1;
            match self.admits(index) {
                Ok(probes) => return Some(self.turn(shard, index, Duration::ZERO, probes)),
                Err(why) => aside(index, why),
            }
        }
        None
    }

    /// What may follow should the one fail whose turn it is.
    #[inline]
    pub(super) fn hopes(&self, turn: Turn) -> Hopes {
        let keys = self.snapshot.targets[turn.index].keys.len();
        let tried = self.keys_tried.count_ones() as usize;
        let other = self.has_other() || keys > tried;
        Hopes { other, any: other || self.retries < self.snapshot.config.settings().upstream.retry.retries }
    }

    /// Whether the ranking goes on.
    #[inline]
    pub(super) fn has_next(&self) -> bool {
        self.at < self.ranked.len()
    }

    /// Whether another candidate could be asked.
    #[inline]
    fn has_other(&self) -> bool {
        self.has_next() || !self.aside.is_empty()
    }

    fn target(&self, index: usize) -> &'a Target {
        &self.snapshot.targets[index]
    }

    /// The key of a target's first turn.
    fn key(&self, shard: &Shard, index: usize) -> usize {
        let draw = || self.prefix.unwrap_or_else(|| shard.random());
        self.target(index).pick_key(draw, clock::process_ms)
    }

    fn turn(&mut self, shard: &Shard, index: usize, wait: Duration, probes: Probes) -> Turn {
        let key = self.key(shard, index);
        self.take(Turn { index, key, wait, probes })
    }

    fn take(&mut self, turn: Turn) -> Turn {
        let same = self.tried.replace(turn.index) == Some(turn.index);
        self.keys_tried = if same { self.keys_tried } else { 0 } | 1 << turn.key;
        self.last = None;
        turn
    }

    fn other_key(&mut self, shard: &Shard, last: Turn, failure: Failure) -> Option<Turn> {
        let target = self.target(last.index);
        let keys_fault = matches!(
            failure,
            Failure::Refused(Judged { refusal: Refusal::Key | Refusal::Account | Refusal::Limited, .. })
        );
        if !keys_fault || target.keys.len() == 1 {
            return None;
        }
        let key = target.pick_key(|| shard.random(), clock::process_ms);
        let tried = if self.tried == Some(last.index) { self.keys_tried } else { 1 << last.key };
        let is_fresh = tried & 1 << key == 0;
        let is_ready = target.keys[key].health.rest_ms(clock::process_ms) == 0;
        let probes = Probes::default();
        (is_fresh && is_ready).then(|| self.take(Turn { key, wait: Duration::ZERO, probes, ..last }))
    }

    fn next_ranked(&mut self, ledger: &mut Ledger) -> Option<Turn> {
        while let Some(&index) = self.ranked.get(self.at) {
            self.at += 1;
            match self.admits(index) {
                Ok(probes) => return Some(self.turn(&ledger.shard, index, Duration::ZERO, probes)),
                Err(why) => {
                    ledger.skips(index, why);
                    self.aside.push(index);
                }
            }
        }
        if self.aside.is_empty() {
            return None;
        }
        // All are down, by what is known: one is asked at any rate, the others as far as the budget goes.
        if self.last.is_some() && !self.pay(&ledger.shard) {
            self.aside.clear();
            return None;
        }
        let index = self.aside.remove(0);
        Some(self.turn(&ledger.shard, index, Duration::ZERO, Probes::default()))
    }

    /// Whether a target may be asked as if nothing were wrong, and what its answer then decides; else why not.
    fn admits(&self, index: usize) -> Result<Probes, Skip> {
        let rules = &self.snapshot.config.settings().upstream.breaker;
        let (target, now_ms) = (self.target(index), clock::process_ms);
        if target.rest_ms(now_ms) > 0 {
            return Err(Skip::KeysResting);
        }
        let breaker = &self.snapshot.breakers[target.endpoint];
        let endpoint = match breaker.admit(now_ms, rules) {
            Admission::Closed => None,
            Admission::Probe(probe) => Some(probe),
            Admission::Open => return Err(Skip::EndpointBreakerOpen),
        };
        match target.breaker.admit(now_ms, rules) {
            Admission::Closed => Ok(Probes { model: None, endpoint }),
            Admission::Probe(probe) => Ok(Probes { model: Some(probe), endpoint }),
            Admission::Open => {
                if let Some(probe) = endpoint {
                    breaker.probe_lost(probe, clock::process_ms());
                }
                Err(Skip::BreakerOpen)
            }
        }
    }

    /// The next candidate that nothing is known against, to be asked beside another one. Those that are left aside on the
    /// way to it are named in `ledger`; who would be a probe is left to those who have nobody else to ask.
    pub(super) fn beside(&mut self, ledger: &mut Ledger) -> Option<usize> {
        let rules = &self.snapshot.config.settings().upstream.breaker;
        let now_ms = clock::process_ms();
        while let Some(&index) = self.ranked.get(self.at) {
            let target = self.target(index);
            let endpoint = &self.snapshot.breakers[target.endpoint];
            let why = if target.rest_ms(|| now_ms) > 0 {
                Skip::KeysResting
            } else if endpoint.looks_open(now_ms, rules) {
                Skip::EndpointBreakerOpen
            } else if target.breaker.looks_open(now_ms, rules) {
                Skip::BreakerOpen
            } else {
                return (endpoint.is_closed() && target.breaker.is_closed()).then_some(index);
            };
            ledger.skips(index, why);
            self.aside.push(index);
            self.at += 1;
        }
        None
    }

    /// Takes the turn of the one that was found by [`Failover::beside`], if the budget has room.
    pub(super) fn take_beside(&mut self, shard: &Shard) -> Option<Turn> {
        let index = *self.ranked.get(self.at)?;
        if !self.pay(shard) {
            return None;
        }
        self.at += 1;
        let key = self.key(shard, index);
        Some(Turn { index, key, wait: Duration::ZERO, probes: Probes::default() })
    }

    fn once_more(&mut self, shard: &Shard, left: Option<Duration>) -> Option<Turn> {
        let rules = &self.snapshot.config.settings().upstream.retry;
        let index = self.again?;
        if self.retries >= rules.retries {
            return None;
        }
        let rest = Duration::from_millis(self.target(index).rest_ms(clock::process_ms));
        let wait = rest.max(backoff(rules, self.retries, shard.random()));
        // A sleep that leaves no time for an answer helps nobody.
        if wait > rules.max || left.is_some_and(|left| wait >= left) || !self.pay(shard) {
            return None;
        }
        self.retries += 1;
        // Of keys that all rest it is the one that rests shortest, and it has rested by then.
        Some(self.turn(shard, index, wait, Probes::default()))
    }

    fn pay(&self, shard: &Shard) -> bool {
        let rules = &self.snapshot.config.settings().upstream.retry;
        let paid = shard.pay_retry(rules, clock::process_ms());
        if !paid {
            shard.metrics.retries_unpaid.add(1);
        }
        paid
    }

    /// The one whose turn it is has begun to answer.
    #[inline]
    pub(super) fn succeeded(&self, shard: &Shard, turn: Turn) {
        let rules = &self.snapshot.config.settings().upstream.breaker;
        let target = self.target(turn.index);
        let closed = target.breaker.succeeded(turn.probes.model, clock::process_ms, rules);
        self.reached(turn);
        target.keys[turn.key].health.restore();
        if closed {
            shard.metrics.breakers_closed.add(1);
        }
    }

    /// An endpoint that answers can be reached, whatever it says.
    pub(super) fn reached(&self, turn: Turn) {
        let rules = &self.snapshot.config.settings().upstream.breaker;
        let breaker = &self.snapshot.breakers[self.target(turn.index).endpoint];
        breaker.succeeded(turn.probes.endpoint, clock::process_ms, rules);
    }

    /// The one whose turn it is has failed. `retry_after`: when it wants to be asked again, by its head.
    #[cold]
    pub(super) fn failed(
        &mut self,
        shard: &Shard,
        turn: Turn,
        failure: Failure,
        retry_after: Option<Duration>,
    ) {
        self.last = Some((turn, failure));
        let upstream = &self.snapshot.config.settings().upstream;
        let (target, now_ms) = (self.target(turn.index), clock::process_ms());
        if failure.passes() && self.again.is_none() {
            self.again = Some(turn.index);
        }
        let (probe, key) = (turn.probes.model, &target.keys[turn.key].health);
        let mut opened = false;
        match failure {
            Failure::Refused(judged) => {
                self.reached(turn);
                let said = retry_after.or(judged.retry_after_s.map(Duration::from_secs));
                let rest = said.unwrap_or(upstream.retry.cool_down).min(REST_MAX);
                let rest_ms = rest.as_millis() as u64;
                match judged.refusal {
                    Refusal::Limited | Refusal::Account => key.cool_until(now_ms.saturating_add(rest_ms)),
                    Refusal::Key => key.refuse_until(now_ms.saturating_add(REFUSED_KEY_MS)),
                    Refusal::Missing | Refusal::Provider => {
                        opened = target.breaker.failed(probe, now_ms, &upstream.breaker);
                    }
                    Refusal::Request | Refusal::Unfit | Refusal::Passing => {
                        target.breaker.succeeded(probe, || now_ms, &upstream.breaker);
                    }
                }
                // Of a key that was refused nothing follows for the model.
                self.left(Turn { probes: Probes { endpoint: None, ..turn.probes }, ..turn });
            }
            Failure::Unreachable | Failure::Untrusted | Failure::Broken => {
                opened = target.breaker.failed(probe, now_ms, &upstream.breaker);
                let endpoint = &self.snapshot.breakers[target.endpoint];
                endpoint.failed(turn.probes.endpoint, now_ms, &upstream.breaker);
            }
            Failure::TooSlow => {
                opened = target.breaker.failed(probe, now_ms, &upstream.breaker);
                // It may not have been reached at all.
                self.left(Turn { probes: Probes { model: None, ..turn.probes }, ..turn });
            }
            Failure::Unasked => self.left(turn),
        }
        if opened {
            shard.metrics.breakers_opened.add(1);
            let fields = [("model", Value::Text(&target.model.id))];
            log::warn("a model keeps failing and is left alone for a while", &fields);
        }
    }

    /// Nobody waits for it any more: others are the probes that this turn was to be, as far as it has decided nothing.
    pub(super) fn left(&self, turn: Turn) {
        let (target, now_ms) = (self.target(turn.index), clock::process_ms());
        if let Some(probe) = turn.probes.model {
            target.breaker.probe_lost(probe, now_ms);
        }
        if let Some(probe) = turn.probes.endpoint {
            self.snapshot.breakers[target.endpoint].probe_lost(probe, now_ms);
        }
    }
}
