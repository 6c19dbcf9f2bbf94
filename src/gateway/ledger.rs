//! The books of one request: what was tried, what it cost, how it ended.
//!
//! Each attempt that reached a provider is settled exactly once: a usage record in the core's journal, the counters,
//! the metrics. What nobody settled is settled when the ledger is dropped, so that a cancelled request or a panic
//! leaves a record as well. The access line is written last.

mod beside;
mod booking;
mod cached;
mod inner;

use std::rc::Rc;
use std::time::{Duration, Instant};

use self::cached::CachePart;
use super::admission::Admission;
use super::request::Request;
use super::tracer::Tracer;
use crate::auth::Principal;
use crate::budget::money::Picodollars;
use crate::budget::price::Cost;
use crate::clock;
use crate::dialect::Usage;
use crate::dialect::{StreamEnd, UsageTap};
use crate::limits::RECORD_TEXT_BYTES_MAX;
use crate::respond::GatewayError;
use crate::shard::{Shard, View};
use crate::snapshot::Target;
use crate::store::usage::CacheUse;
use crate::telemetry::access::AccessLine;
use crate::telemetry::ids::TraceId;
use crate::telemetry::labels::{CallType, EndedBy, Endpoint, Outcome, UsageSource};
use crate::telemetry::log::{self, Level, Value};
use crate::telemetry::text::clip;
use crate::trace::{Caller, Entry, Requested, Skip, Trace};

/// Characters that make about one token, for estimates.
const CHARS_PER_TOKEN: u64 = 4;

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending<'a> {
    /// In one word.
    pub outcome: Outcome,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// What went wrong, without secrets.
    pub error: Option<&'a str>,
}

impl Ending<'_> {
    /// The provider's answer was relayed whole; whether it was a success is its status' and its body's to say.
    pub(super) fn of_answer() -> Self {
        Self { outcome: Outcome::Success, ended_by: EndedBy::Provider, error: None }
    }
}

/// An attempt that is not settled yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    target: usize,
    model_index: u32,
    /// Its number, from 1.
    attempt: u32,
}

/// The books of one request, or of a call that the gateway makes itself on the way of one.
pub(super) struct Ledger {
    pub(super) shard: Rc<Shard>,
    pub(super) view: Rc<View>,
    call_type: CallType,
    trace: TraceId,
    pub(super) principal: Principal,
    pub(super) project: u32,
    pub(super) endpoint: Endpoint,
    pub(super) started: Instant,
    /// Wall clock when the request was admitted.
    pub(super) admitted_ms: u64,
    /// The same moment on the clock that never steps.
    pub(super) admitted_steady_ms: u64,
    stream: bool,
    /// An event stream is on its way to the client.
    relaying: bool,
    requested_model: String,
    conversation: Option<Rc<str>>,
    input_bytes: u64,
    attempts: u32,
    open: Option<Open>,
    pub(super) last_target: Option<usize>,
    /// When it was chosen.
    tried_at: Instant,
    /// Index of its key.
    key: usize,
    status: u16,
    outcome: Outcome,
    ended_by: EndedBy,
    error: Option<String>,
    usage: Usage,
    cost: Picodollars,
    settled_cost: Option<Cost>,
    /// Since when the gateway itself is at work; none while it waits for somebody.
    working_since: Option<Instant>,
    /// When the wait for the open attempt's answer began; none before.
    waited_since: Option<Instant>,
    /// When the last bytes went to the client, where that was looked at.
    relayed_at: Option<Instant>,
    overhead: Duration,
    first_byte: Option<Duration>,
    tracer: Tracer,
    cache_part: Option<CachePart>,
    cache_use: Option<CacheUse>,
    /// See [`Ledger::beside`].
    is_beside: bool,
    /// The digest of the request's beginning, where that has a say in who is asked.
    pub(super) prefix: Option<u64>,
    /// What is held of limits.
    pub(super) limits: Admission,
}

impl Ledger {
    /// Opens the books when a request is admitted.
    pub(super) fn open(shard: &Rc<Shard>, view: &Rc<View>, request: &Request) -> Self {
        Self {
            shard: Rc::clone(shard),
            view: Rc::clone(view),
            call_type: CallType::Completion,
            trace: request.client.trace,
            principal: request.principal,
            project: request.project,
            endpoint: request.endpoint,
            started: request.started,
            admitted_ms: shard.unix_ms(request.started),
            admitted_steady_ms: clock::steady_ms(request.started),
            stream: false,
            relaying: false,
            requested_model: String::new(),
            conversation: request.conversation.clone(),
            input_bytes: 0,
            attempts: 0,
            open: None,
            last_target: None,
            tried_at: request.started,
            key: 0,
            status: 0,
            outcome: Outcome::ClientClosed,
            ended_by: EndedBy::Client,
            error: None,
            usage: Usage::default(),
            cost: Picodollars::default(),
            settled_cost: None,
            working_since: Some(request.started),
            waited_since: None,
            relayed_at: None,
            overhead: Duration::ZERO,
            first_byte: None,
            tracer: Tracer::new(request.started),
            cache_part: None,
            cache_use: None,
            is_beside: false,
            prefix: None,
            limits: Admission::default(),
        }
    }

    /// What the body said.
    pub(super) fn asked(&mut self, model: Option<&str>, stream: bool, input_bytes: usize) {
        self.requested_model.clear();
        self.requested_model.push_str(clip(model.unwrap_or_default(), RECORD_TEXT_BYTES_MAX));
        self.stream = stream;
        self.input_bytes = input_bytes as u64;
        self.tracer.asked(self.last_look(), stream);
    }

    /// The bound on output tokens that the body names.
    pub(super) fn asked_for_at_most(&mut self, tokens: Option<u64>) {
        self.tracer.asked_for_at_most(tokens);
    }

    /// The body has arrived: waiting for the client is over.
    pub(super) fn body_read(&mut self, waited: bool) {
        if waited {
            self.working_since = Some(clock::now());
        }
    }

    /// The request's id as text.
    pub(super) fn trace_text(&self) -> String {
        let mut text = [0; TraceId::TEXT_BYTES];
        self.trace.write_hyphenated(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A target was chosen; nothing has been sent to it yet.
    pub(super) fn tries(&mut self, target_index: usize) {
        self.last_target = Some(target_index);
        self.tried_at = self.last_look();
    }

    /// Which of its target's keys the next attempt uses.
    pub(super) fn uses_key(&mut self, key: usize) {
        self.key = key;
    }

    /// A target is about to be asked with one of its keys: the attempt begins.
    pub(super) fn asks(&mut self, target_index: usize, key: usize) {
        self.tries(target_index);
        self.uses_key(key);
        self.tracer.asks(self.last_look(), target_index);
    }

    /// A target is passed over.
    pub(super) fn skips(&mut self, target_index: usize, reason: Skip) {
        self.note(Entry::Skipped { caller: Caller::Client, target: target_index as u32, reason });
    }

    // --- the trace

    /// Adds an entry to the request's trace. Its time is that of the last look at the clock, which is taken at the end of
    /// every wait: what the gateway has computed since then is not in it.
    #[inline]
    pub(super) fn note(&mut self, entry: impl Into<Entry>) {
        self.tracer.note(self.last_look(), entry.into());
    }

    /// Adds an entry of the moment `at`.
    #[inline]
    pub(super) fn note_at(&mut self, at: Instant, entry: Entry) {
        self.tracer.note(at, entry);
    }

    /// The last look at the clock, which is taken at the end of every wait.
    pub(super) fn last_look(&self) -> Instant {
        self.working_since.unwrap_or_else(clock::now)
    }

    /// Notes that a target could not be asked, unless that was noted when it failed.
    pub(super) fn gave_up(&mut self, target_index: usize, error: &GatewayError) {
        self.tracer.gave_up(self.last_look(), target_index, error);
    }

    /// Hands each entry from number `from` on, as JSON for a client, to `write`; returns how many there are.
    pub(super) fn spell_trace(&self, from: usize, write: impl FnMut(&[u8])) -> usize {
        self.tracer.spell(&self.view.snapshot, (&self.requested_model, self.project), from, write)
    }

    /// Hands the trace of the request, which is over, to the core.
    #[inline]
    fn file_trace(&mut self, now: Instant, latency: Duration) {
        let trace = Trace {
            id: self.trace,
            generation: self.view.snapshot.generation,
            finished_ms: self.shard.unix_ms(now),
            project: self.project,
            owner: self.principal.project,
            token: self.principal.token,
            latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
            asked_ms: self.tracer.asked_ms(),
            endpoint: self.endpoint,
            outcome: self.outcome,
            stream: self.stream,
            status: self.status,
            requested: self.requested(),
            request_text: None,
            steps: self.tracer.take_steps(),
        };
        self.shard.traces.borrow_mut().take(trace, &self.view.snapshot, &self.shard.metrics);
    }

    /// The model that was asked for, as the trace holds it.
    fn requested(&self) -> Requested {
        match self.last_target {
            Some(index) if self.view.snapshot.targets[index].model.id == self.requested_model => {
                Requested::Target(index as u32)
            }
            _ => Requested::Named(self.requested_model.as_str().into()),
        }
    }

    // --- the attempts

    /// An attempt is about to be sent. The free retry on a fresh connection is the same attempt.
    pub(super) fn sent(&mut self, target_index: usize) {
        self.waited_since = None;
        if self.open.is_none() {
            self.attempts += 1;
            self.shard.metrics.attempts.add(1);
            let (model_index, attempt) = (target_index as u32, self.attempts);
            self.open = Some(Open { target: target_index, model_index, attempt });
        }
    }

    /// Tells the log of a step on the way to an answer, where every step is wanted.
    pub(super) fn step(&self, message: &str, fields: &[(&str, Value<'_>)]) {
        if log::is_enabled(Level::Trace) {
            self.write_step(message, fields);
        }
    }

    #[cold]
    fn write_step(&self, message: &str, fields: &[(&str, Value<'_>)]) {
        let trace = self.trace_text();
        let target = self.last_target.map(|index| &self.view.snapshot.targets[index].model.id);
        let since_us = clock::now().duration_since(self.started).as_micros() as u64;
        let mut all = vec![
            ("traceId", Value::Text(&trace)),
            ("model", Value::Text(target.map_or("", String::as_str))),
            ("attempt", Value::Integer(u64::from(self.attempts))),
            ("sinceHeadUs", Value::Integer(since_us)),
        ];
        all.extend_from_slice(fields);
        log::trace(message, &all);
    }

    /// From here on we wait for somebody. Says since when, unless we did before.
    pub(super) fn waiting(&mut self) -> Option<Instant> {
        let since = self.working_since.take()?;
        let now = clock::now();
        self.overhead += now.duration_since(since);
        Some(now)
    }

    /// All of the attempt's request is on its way: from here on we wait for its answer.
    pub(super) fn waits_for_answer(&mut self) {
        self.waited_since = self.waiting();
    }

    /// How long the open attempt has been waited for.
    pub(super) fn waited(&self) -> Duration {
        self.waited_since.map_or(Duration::ZERO, |since| clock::now().duration_since(since))
    }

    /// The wait is over.
    pub(super) fn working(&mut self) {
        self.working_since.get_or_insert_with(clock::now);
    }

    /// The head of an answer is there.
    pub(super) fn answered(&mut self, status: u16) {
        let now = clock::now();
        self.status = status;
        self.working_since = Some(now);
        self.first_byte = Some(now.duration_since(self.started));
    }

    /// The answer is a stream of events, which goes on until the books are closed.
    pub(super) fn stream_opened(&mut self) {
        if !std::mem::replace(&mut self.relaying, true) {
            self.shard.metrics.streams_open.add(1);
        }
    }

    /// Bytes have gone to the client; from here on we wait again.
    pub(super) fn relayed(&mut self) {
        self.relayed_at = self.waiting();
    }

    /// The gateway's own time so far.
    pub(super) fn overhead(&self) -> Duration {
        if self.working_since.is_some() { self.overhead_at(clock::now()) } else { self.overhead }
    }

    fn overhead_at(&self, now: Instant) -> Duration {
        self.overhead + self.working_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// Time to the head of the answer.
    pub(super) fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// What the settled attempt cost, if its provider reported usage.
    pub(super) fn reported_cost(&self) -> Option<Picodollars> {
        self.settled_cost.map(|cost| cost.total())
    }

    /// The provider refused with `status` what another candidate may be given (our key, a conversation that is not its own),
    /// and said this about it.
    pub(super) fn key_refused(&mut self, error: &GatewayError, status: u16, said: Option<&str>) {
        let cause = match said {
            Some(said) => format!("{}: {said}", error.cause()),
            None => error.cause(),
        };
        self.attempt_refused(status, &cause, Some(&error.message()));
    }

    /// The provider refused, with this status and cause, and somebody else is asked; `told`: see [`Self::close`].
    pub(super) fn attempt_refused(&mut self, status: u16, cause: &str, told: Option<&str>) {
        // The provider's own word, so that it can be told from other failures.
        self.status = status;
        let ending = Ending { outcome: Outcome::Error, ended_by: EndedBy::Provider, error: Some(cause) };
        self.close(None, &ending, told);
        self.working();
    }

    /// An attempt failed before an answer; the request may go on with another one.
    pub(super) fn attempt_failed(&mut self, error: &GatewayError) {
        self.status = error.status();
        let cause = error.cause();
        let ended_by = match error {
            GatewayError::UpstreamClosed(_)
            | GatewayError::UpstreamMalformed(_)
            | GatewayError::UpstreamAuth { .. } => EndedBy::Provider,
            _ => EndedBy::Gateway,
        };
        self.step("attempt failed", &[("error", Value::Text(&cause))]);
        let ending = Ending { outcome: error.outcome(), ended_by, error: Some(&cause) };
        self.close(None, &ending, Some(&error.message()));
        self.working();
    }

    /// The client left while an attempt was under way, or before there was one.
    pub(super) fn client_gone(&mut self) {
        self.status = 0;
        let ending = Ending { outcome: Outcome::ClientClosed, ended_by: EndedBy::Client, error: None };
        self.close(None, &ending, None);
    }

    /// The request is answered by us.
    pub(super) fn refused(&mut self, error: &GatewayError) {
        self.status = error.status();
        if self.open.is_some() {
            self.attempt_failed(error);
        }
        self.outcome = error.outcome();
        self.ended_by = EndedBy::Gateway;
        let cause = error.cause();
        self.tracer.refused(self.last_look(), error, &cause);
        self.error = Some(cause);
    }

    /// The request is answered by us, well.
    pub(super) fn served(&mut self, status: u16) {
        self.status = status;
        self.outcome = Outcome::Success;
        self.ended_by = EndedBy::Gateway;
    }

    /// The answer of the open attempt has ended in this way; `tap` has seen its body.
    pub(super) fn settle(&mut self, tap: Option<&mut UsageTap>, ending: &Ending<'_>) {
        self.close(tap, ending, None);
    }

    /// `told`: what a client is told of a failure, where that is not its cause.
    fn close(&mut self, tap: Option<&mut UsageTap>, ending: &Ending<'_>, told: Option<&str>) {
        let Some(open) = self.open.take() else {
            (self.outcome, self.ended_by) = (ending.outcome, ending.ended_by);
            // The refusal of an attempt that is settled already went to the client after all.
            if self.outcome == Outcome::Success && self.status >= 400 {
                self.outcome = Outcome::Error;
            }
            self.note_end(clock::now(), self.last_target, Usage::default(), ending, told);
            return;
        };
        let report = tap.map(UsageTap::finish);
        if self.endpoint == Endpoint::Responses
            && let Some(id) = report.as_ref().and_then(|report| report.response_id)
        {
            let snapshot = &self.view.snapshot;
            let project = &snapshot.config.projects()[self.project as usize].id;
            self.shard.caches.issuers.put(project, id, &snapshot.targets[open.target].model.id);
        }
        let (usage, source) = match &report {
            Some(report) => match report.usage {
                // What was reported on the way is not all.
                Some(usage) if ending.outcome == Outcome::BudgetExceeded => {
                    let output = usage.output.max(self.estimate(report.output_chars_seen).output);
                    (Usage { output, ..usage }, UsageSource::Estimated)
                }
                Some(usage) => (usage, UsageSource::Reported),
                None if self.produces_tokens() && (200..300).contains(&self.status) => {
                    (self.estimate(report.output_chars_seen), UsageSource::Estimated)
                }
                None => (Usage::default(), UsageSource::None),
            },
            None => (Usage::default(), UsageSource::None),
        };
        let mut ending = *ending;
        let provider_error =
            report.as_ref().and_then(|report| report.error).map(|error| error.message.clone());
        let failed_inside = report.as_ref().is_some_and(|report| report.end == StreamEnd::ErrorEvent);
        if ending.outcome == Outcome::Success && (self.status >= 400 || failed_inside) {
            ending.outcome = Outcome::Error;
            ending.error = ending.error.or(provider_error.as_deref());
        }
        (self.outcome, self.ended_by) = (ending.outcome, ending.ended_by);
        self.error = ending.error.map(str::to_owned);
        let now = self.book(open, usage, source, &ending);
        self.note_end(now, Some(open.target), usage, &ending, told);
    }

    /// Notes how an attempt ended.
    fn note_end(
        &mut self,
        now: Instant,
        target: Option<usize>,
        usage: Usage,
        ending: &Ending<'_>,
        told: Option<&str>,
    ) {
        let ttft_ms = self.first_byte.map(|after| after.as_millis() as u32);
        self.tracer.ended(now, target, ttft_ms, usage, ending, told);
    }

    fn produces_tokens(&self) -> bool {
        matches!(self.endpoint, Endpoint::Chat | Endpoint::Responses | Endpoint::Messages | Endpoint::Gemini)
    }

    pub(super) fn estimate(&self, output_chars: u64) -> Usage {
        Usage {
            input: self.input_bytes.div_ceil(CHARS_PER_TOKEN),
            output: output_chars.div_ceil(CHARS_PER_TOKEN),
            ..Usage::default()
        }
    }

    fn finish(&mut self) {
        if self.call_type == CallType::Routing {
            if self.open.is_some() {
                self.client_gone();
            }
            return;
        }
        if self.open.is_some() {
            self.close(
                None,
                &Ending {
                    outcome: Outcome::Error,
                    ended_by: EndedBy::Gateway,
                    error: Some("the request was cut off"),
                },
                None,
            );
        }
        if self.is_beside {
            return;
        }
        let metrics = &self.shard.metrics;
        metrics.streams_open.sub(u64::from(self.relaying));
        metrics.count_request(self.endpoint, self.status, self.outcome);
        let now = self.relayed_at.unwrap_or_else(clock::now);
        let (latency, overhead) = (now.duration_since(self.started), self.overhead_at(now));
        metrics.request_duration.observe_us(latency.as_micros() as u64);
        metrics.overhead.observe_us(overhead.as_micros() as u64);
        if let Some(first_byte) = self.first_byte {
            metrics.first_byte.observe_us(first_byte.as_micros() as u64);
        }
        if self.view.snapshot.config.settings().access_log && log::is_enabled(log::Level::Info) {
            self.write_access_line(now, latency, overhead);
        }
        self.file_trace(now, latency);
    }

    fn write_access_line(&self, now: Instant, latency: Duration, overhead: Duration) {
        let snapshot = &self.view.snapshot;
        let target: Option<&Target> = self.last_target.map(|index| &snapshot.targets[index]);
        let line = AccessLine {
            trace_id: self.trace,
            project_id: Some(&snapshot.config.projects()[self.project as usize].id),
            token_id: Some(&snapshot.token(self.principal).id),
            model_id: target.map(|target| target.model.id.as_str()),
            provider: target.map(|target| target.model.provider.id.as_str()),
            endpoint: self.endpoint,
            stream: self.stream,
            attempts: self.attempts,
            status: self.status,
            outcome: self.outcome,
            ended_by: self.ended_by,
            error: self.error.as_deref(),
            usage: self.usage,
            cost: self.cost,
            first_byte_ms: self.first_byte.map(|after| after.as_millis() as u64),
            latency_ms: latency.as_millis() as u64,
            gateway_us: overhead.as_micros() as u64,
            core: self.shard.index as u16,
        };
        log::access(self.shard.unix_ms(now), &line);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.finish();
    }
}
