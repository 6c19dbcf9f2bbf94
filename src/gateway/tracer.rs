//! The trace of a request while it runs: what the ledger notes, and how it is told to a client that wants all of it.

use std::time::Instant;

use super::ledger::Ending;
use crate::dialect::Usage;
use crate::respond::GatewayError;
use crate::snapshot::Snapshot;
use crate::telemetry::labels::Outcome;
use crate::trace::{Answered, Audience, Call, Caller, Entry, Failure, Intake, Speller, Step, Steps};

/// The steps so far, with their clock.
#[derive(Debug)]
pub(super) struct Tracer {
    started: Instant,
    caller: Caller,
    asked_ms: u32,
    stream: bool,
    max_tokens: Option<u32>,
    steps: Steps,
}

impl Tracer {
    /// Begins with a request's head.
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            caller: Caller::Client,
            asked_ms: 0,
            stream: false,
            max_tokens: None,
            steps: Steps::default(),
        }
    }

    /// Begins with a call that a policy makes.
    pub(super) fn of_policy(started: Instant) -> Self {
        Self { caller: Caller::Router, ..Self::new(started) }
    }

    /// Begins with another call of the same request.
    pub(super) fn beside(&self) -> Self {
        Self { steps: Steps::default(), ..*self }
    }

    /// Takes in the steps of another call, in the order of their time.
    #[cold]
    pub(super) fn join(&mut self, other: Steps) {
        // At the same time something followed here from what was there.
        let mut all: Vec<Step> = other.iter().chain(self.steps.iter()).cloned().collect();
        all.sort_by_key(|step| step.since_ms);
        self.steps = Steps::default();
        all.into_iter().for_each(|step| self.steps.push(step));
    }

    /// The newest step.
    pub(super) fn last(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// It is known what is asked for.
    pub(super) fn asked(&mut self, at: Instant, stream: bool) {
        self.asked_ms = self.since_ms(at);
        self.stream = stream;
    }

    /// The bound on output tokens that the body names.
    pub(super) fn asked_for_at_most(&mut self, tokens: Option<u64>) {
        self.max_tokens = tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
    }

    /// Adds an entry.
    #[inline]
    pub(super) fn note(&mut self, at: Instant, entry: Entry) {
        self.steps.push(Step { since_ms: self.since_ms(at), entry });
    }

    /// A target is about to be asked.
    #[inline]
    pub(super) fn asks(&mut self, at: Instant, target: usize) {
        let call = Call {
            caller: self.caller,
            target: target as u32,
            stream: self.stream,
            messages: None,
            max_tokens: self.max_tokens,
        };
        self.note(at, Entry::Request(call));
    }

    /// A target could not be asked, unless that was noted when it failed.
    pub(super) fn gave_up(&mut self, at: Instant, target: usize, error: &GatewayError) {
        let target = target as u32;
        if self.last_error().is_none_or(|last| last.target != Some(target)) {
            let failure = Failure::new(Some(target), &error.cause(), Some(&error.message()), None);
            self.note(at, Entry::Error(Box::new(failure)));
        }
    }

    /// The request failed, unless the failure is that of the last attempt.
    pub(super) fn refused(&mut self, at: Instant, error: &GatewayError, cause: &str) {
        if self.last_error().is_none_or(|last| !last.error.starts_with(cause)) {
            let failure = Failure::new(None, cause, Some(&error.message()), None);
            self.note(at, Entry::Error(Box::new(failure)));
        }
    }

    fn last_error(&self) -> Option<&Failure> {
        match &self.steps.last()?.entry {
            Entry::Error(failure) => Some(failure),
            _ => None,
        }
    }

    /// How an attempt ended. `told`: what a client is told of a failure, where that is not its cause.
    #[inline]
    pub(super) fn ended(
        &mut self,
        at: Instant,
        target: Option<usize>,
        ttft_ms: Option<u32>,
        usage: Usage,
        ending: &Ending<'_>,
        told: Option<&str>,
    ) {
        let (target, latency_ms) = (target.map(|index| index as u32), self.since_ms(at));
        let entry = match (target, ending.outcome) {
            (Some(target), Outcome::Success) => {
                Entry::Success(Answered { caller: self.caller, target, latency_ms, ttft_ms, usage })
            }
            _ => {
                let error = ending.error.unwrap_or(match ending.outcome {
                    Outcome::ClientClosed => "the client went away",
                    _ => "the provider answered with an error",
                });
                let failure = Failure::new(target, error, told, Some(latency_ms));
                Entry::Error(Box::new(Failure { caller: self.caller, ..failure }))
            }
        };
        self.note(at, entry);
    }

    /// Milliseconds from the request's head to the point where it was known what is asked for.
    pub(super) fn asked_ms(&self) -> u32 {
        self.asked_ms
    }

    /// The steps, which are then over.
    #[inline]
    pub(super) fn take_steps(&mut self) -> Steps {
        std::mem::take(&mut self.steps)
    }

    /// Hands each entry from number `from` on, as JSON for a client, to `write`; returns how many there are. Number 0 is
    /// the intake of a request for `model` in `project`.
    pub(super) fn spell(
        &self,
        snapshot: &Snapshot,
        (model, project): (&str, u32),
        from: usize,
        mut write: impl FnMut(&[u8]),
    ) -> usize {
        let speller = Speller { snapshot, project, audience: Audience::Client };
        let mut json = Vec::with_capacity(256);
        if from == 0 {
            let intake = Intake { since_ms: self.asked_ms, model, messages: None, text: None };
            speller.write_intake(&mut json, &intake);
            write(&json);
        }
        let mut count = 1;
        for step in self.steps.iter() {
            speller.each_entry(step, |append| {
                if count >= from {
                    json.clear();
                    append(&mut json);
                    write(&json);
                }
                count += 1;
            });
        }
        count
    }

    fn since_ms(&self, at: Instant) -> u32 {
        u32::try_from(at.duration_since(self.started).as_millis()).unwrap_or(u32::MAX)
    }
}
