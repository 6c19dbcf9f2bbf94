//! The control thread: the only writer of the store, and the only one who may block.
//!
//! Owns the merge of the journals, the sums of the counters, the reload of the configuration and the rendering of
//! the metrics page. It never touches a socket of the data plane.

pub mod archive;
mod books;
pub mod budgets;
pub mod keeper;
mod readings;
mod rows;

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::auth::TokenKey;
use crate::budget::book::Book;
use crate::budget::event::{Event as BudgetEvent, Kind};
use crate::budget::watch::Watch as BudgetWatch;
use crate::budget::window::Moment;
use crate::clock;
use crate::config::settings::{LogLevel, Settings};
use crate::config::{Config, Env};
use crate::dialect::ProofKey;
use crate::limits::WATCH_INTERVAL_MS;
use crate::mailbox::{Change, Changed, Edit, Mailbox, ToControl, ToKeeper, ToTraces, Verdict};
use crate::snapshot::Snapshot;
use crate::store::edit::{Draft, WriteError};
use crate::store::home::{self, Home};
use crate::store::lock::HomeLock;
use crate::store::rollup::{Event, Rollups};
use crate::store::usage::{MergeStats, Merger};
use crate::store::watch::Watch;
use crate::telemetry::log::{self, Level, Log, Value};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::prometheus;
use crate::telemetry::text::TimestampFormatter;
use books::Books;

/// How often segments are looked for whose time is over.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60 * 60);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What the control thread takes over at start.
pub struct Control {
    /// The home, locked by this process.
    pub home: Home,
    /// The lock itself: held as long as the thread lives.
    pub lock: HomeLock,
    /// Variables of the environment; they do not change.
    pub env: Env,
    /// Key of the token hashes.
    pub token_key: TokenKey,
    /// Key of the envelopes around proofs.
    pub proof_key: ProofKey,
    /// Counts of all limits.
    pub book: Arc<Book>,
    /// Tells when a file was edited.
    pub watch: Watch,
    /// Way to the cores.
    pub mailbox: Arc<Mailbox>,
    /// The usage store and the journals' ends; none once another process has them.
    pub merger: Option<Merger>,
    /// What was told of limits before.
    pub budget_watch: BudgetWatch,
    /// Sums of the usage records; none where they cannot be kept.
    pub rollups: Option<Rollups>,
    /// The connection to the process that this one replaces: it ends with that process.
    pub predecessor: Option<UnixStream>,
    /// All metrics.
    pub metrics: Metrics,
    /// The log, for its level.
    pub log: Log,
}

/// Now, on both clocks.
pub fn moment() -> Moment {
    Moment { wall_ms: clock::unix_ms(), steady_ms: clock::steady_ms(clock::now()) }
}

/// The thread's own state.
struct State {
    control: Control,
    books: Books,
    /// The settings that the cores were started with.
    started_with: Settings,
    next_watch: Instant,
    next_retention: Instant,
    was_degraded: bool,
}

/// Runs until it is told to finish; everything in the journals is in the store then.
pub fn run(mut control: Control, inbox: &Receiver<ToControl>) {
    let now = clock::now();
    let first = control.mailbox.snapshot();
    let length = control.merger.as_ref().map_or(0, Merger::open_length);
    let mut state = State {
        started_with: first.config.settings().clone(),
        books: Books::new(
            first,
            moment(),
            control.rollups.take(),
            length,
            std::mem::take(&mut control.budget_watch),
        ),
        control,
        next_watch: now,
        next_retention: now,
        was_degraded: false,
    };
    state.control.metrics.control.config_generation.set(state.books.newest().generation);
    loop {
        let interval = state.books.newest().config.settings().journal.merge_interval;
        match inbox.recv_timeout(interval) {
            Ok(ToControl::Finish) => break,
            Ok(message) => state.handle(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // What came in while one was handled is taken before the next merge.
        while let Ok(message) = inbox.try_recv() {
            if matches!(message, ToControl::Finish) {
                return state.finish();
            }
            state.handle(message);
        }
        state.tick();
    }
    state.finish();
}

impl State {
    fn handle(&mut self, message: ToControl) {
        match message {
            ToControl::Metrics(reply) => {
                let mut page = Vec::new();
                prometheus::render(
                    &self.control.metrics,
                    self.books.totals(),
                    self.books.times(),
                    self.control.log.lines_dropped(),
                    &mut page,
                );
                reply.answer(page.into());
            }
            ToControl::Reload => self.reload("asked"),
            ToControl::Change(Change { edit, answer }) => {
                // One place for one answer; nobody may be left to hear it.
                let _ = answer.try_send(self.change(edit));
            }
            ToControl::Release { answer, settled } => {
                let released = self.release().and_then(|merger| {
                    if settled.swap(true, Ordering::AcqRel) {
                        // Whoever asked has given up waiting, and this process goes on serving.
                        self.control.merger = Some(merger);
                        return Err("the asker has given up".to_owned());
                    }
                    Ok(())
                });
                // One place for one answer; nobody may be left to hear it.
                let _ = answer.try_send(released);
            }
            ToControl::Finish => {}
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        self.books.begin_tick(moment());
        self.look_after_predecessor();
        if let Some(merger) = &mut self.control.merger {
            let stats = merger.tick(now, clock::unix_ms(), &mut self.books);
            let length = merger.open_length();
            self.publish(&stats, length);
        }
        if now >= self.next_retention && self.control.merger.is_some() {
            self.next_retention = now + RETENTION_INTERVAL;
            self.retire_segments();
        }
        if now >= self.next_watch && self.control.merger.is_some() {
            self.next_watch = now + Duration::from_millis(WATCH_INTERVAL_MS);
            if self.control.watch.poll() {
                self.reload("files changed");
            }
        }
        log::flush();
    }

    /// Has segments deleted whose time is over.
    fn retire_segments(&self) {
        let days = u64::from(self.books.newest().config.settings().usage_retention_days);
        if days > 0 {
            let first_ms = clock::unix_ms().saturating_sub(days * DAY_MS);
            let day = TimestampFormatter::default().format(first_ms);
            self.books.retire_before(day.as_str()[.."YYYY-MM-DD".len()].to_owned());
        }
    }

    fn publish(&mut self, stats: &MergeStats, open_length: u64) {
        let events = self.books.end_tick(stats, open_length, clock::now());
        report_rollups(&events);
        self.books.publish_readings(&self.control.mailbox);
        while let Some(event) = self.books.next_budget_event() {
            self.tell_of_budget(&event);
        }
        let metrics = &self.control.metrics.control;
        metrics.usage_records.add(stats.records);
        metrics.usage_bytes.add(stats.bytes);
        metrics.usage_rotations.add(u64::from(stats.rotated));
        metrics.journal_corrupt.add(stats.corrupt);
        let waiting = self.control.merger.as_ref().map_or(0, Merger::waiting_bytes);
        metrics.journal_waiting_bytes.set(waiting);
        metrics.store_degraded.set(u64::from(stats.degraded));
        self.control.mailbox.set_degraded(stats.degraded);
        match (self.was_degraded, stats.degraded) {
            (false, true) => log::error("usage records cannot be written; serving goes on", &[]),
            (true, false) => log::warn("usage records can be written again", &[]),
            _ => {}
        }
        self.was_degraded = stats.degraded;
    }

    /// Something happened to a limit.
    fn tell_of_budget(&self, event: &BudgetEvent) {
        let metrics = &self.control.metrics.control;
        let count = match event.kind {
            Kind::Threshold { .. } => &metrics.budget_thresholds,
            Kind::Exhausted => &metrics.budgets_exhausted,
            Kind::Reset => &metrics.budget_resets,
        };
        count.add(1);
        budgets::log_event(event);
        budgets::tell(&self.control.mailbox, &self.control.metrics, event);
    }

    /// Reads the configuration again. A mistake leaves the old one in force.
    fn reload(&mut self, why: &'static str) {
        if self.control.merger.is_none() {
            log::warn("not reloaded: another process has the home now", &[]);
            return;
        }
        let loaded =
            match home::open(&self.control.home, &self.control.lock, &self.control.env, clock::unix_ms()) {
                Ok(loaded) => loaded,
                Err(mistakes) => {
                    for mistake in &mistakes {
                        log::error("configuration not taken", &[("mistake", Value::Display(mistake))]);
                    }
                    self.control.metrics.control.config_errors.add(1);
                    return;
                }
            };
        self.control.watch = loaded.watch;
        for warning in &loaded.warnings {
            log::warn("configuration", &[("warning", Value::Display(warning))]);
        }
        match self.build(&loaded.config) {
            Ok(snapshot) => self.put_in_force(Arc::new(snapshot), why),
            Err(mistakes) => {
                for mistake in &mistakes {
                    log::error("configuration not taken", &[("mistake", Value::Text(mistake))]);
                }
                self.control.metrics.control.config_errors.add(1);
            }
        }
    }

    /// Changes configuration files; what is changed is in force on all cores' next request when this returns.
    fn change(&mut self, edit: Edit) -> Changed {
        if self.control.merger.is_none() {
            return Changed::Failed("another process has the home now".to_owned());
        }
        let mut draft = Draft::new(&self.control.home, &self.control.env);
        let first = match edit(&mut draft) {
            Verdict::Stop => return Changed::Stopped,
            Verdict::Check => None,
            Verdict::Write(first) => Some(first),
        };
        let (checked, first) = match (draft.check(), first) {
            (Err(mistakes), _) => return Changed::Invalid(mistakes),
            (Ok(_), None) => return Changed::Stopped,
            (Ok(checked), Some(first)) => (checked, first),
        };
        let snapshot = match checked.loaded.as_ref().map(|loaded| self.build(&loaded.config)) {
            None => None,
            Some(Ok(snapshot)) => Some(snapshot),
            Some(Err(mistakes)) => return Changed::Unusable(mistakes.join("; ")),
        };
        if let Err(reason) = first() {
            return Changed::Unready(reason);
        }
        let written = match checked.write(clock::unix_ms()) {
            Ok(written) => written,
            Err(WriteError::Edited(name)) => return Changed::Edited(name),
            Err(WriteError::File(error)) => return Changed::Failed(error.to_string()),
        };
        match written.loaded {
            Some(loaded) => self.control.watch = loaded.watch,
            None => {
                written.stamps.into_iter().for_each(|(path, stamp)| self.control.watch.accept(&path, stamp))
            }
        }
        if let Some(snapshot) = snapshot {
            self.put_in_force(Arc::new(snapshot), "changed over the API");
        }
        Changed::InForce
    }

    /// The next generation.
    fn build(&self, config: &Arc<Config>) -> Result<Snapshot, Vec<String>> {
        let generation = self.books.newest().generation + 1;
        let (tokens, proofs) = (self.control.token_key.clone(), self.control.proof_key.clone());
        let root = self.control.home.root();
        let snapshot = Snapshot::build(Arc::clone(config), tokens, proofs, generation, root)?;
        let mut snapshot = snapshot.with_budgets(&self.control.book, moment());
        let before = self.books.newest();
        snapshot.tokens.remember(&before.tokens);
        snapshot.inherit(before);
        Ok(snapshot)
    }

    fn put_in_force(&mut self, snapshot: Arc<Snapshot>, why: &'static str) {
        self.control.log.set_level(level_of(&snapshot));
        self.control.metrics.control.config_generation.set(snapshot.generation);
        let (responses, traces) = (snapshot.config.settings().responses, snapshot.config.settings().traces);
        let waiting = self.started_with.restart_needed(snapshot.config.settings());
        let fields = [("generation", Value::Integer(snapshot.generation)), ("why", Value::Text(why))];
        self.books.begin_generation(Arc::clone(&snapshot));
        // First what was known under the old indexes, put into the new order: no core sees the new ones without it.
        self.books.publish_readings(&self.control.mailbox);
        self.control.mailbox.publish(snapshot);
        log::info("configuration in force", &fields);
        // A full queue is no reason to wait here: the next reload says it again.
        let _ = self.control.mailbox.send_to_keeper(ToKeeper::Bounds(responses));
        let _ = self.control.mailbox.send_to_traces(ToTraces::Bounds(traces));
        for name in waiting {
            log::warn("a changed setting waits for a restart", &[("setting", Value::Text(name))]);
        }
    }

    /// Merges what is there and gives the store out of hand; the other process may have it once it is dropped. The cores go
    /// on writing into their journals.
    fn release(&mut self) -> Result<Merger, String> {
        let Some(mut merger) = self.control.merger.take() else {
            return Err("the home was handed over before".to_owned());
        };
        if let Err(reason) = merger.may_be_handed_over() {
            self.control.merger = Some(merger);
            return Err(reason);
        }
        self.finish_books(&mut merger);
        log::flush();
        Ok(merger)
    }

    /// Notices the end of the process that this one replaced: its journals are complete then.
    fn look_after_predecessor(&mut self) {
        let Some(predecessor) = &mut self.control.predecessor else { return };
        match predecessor.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // It says nothing any more; whatever comes is the end.
            _ => {
                self.control.predecessor = None;
                if let Some(merger) = &mut self.control.merger {
                    merger.predecessor_ended();
                }
                log::info("the process before this one has ended", &[]);
            }
        }
    }

    fn finish(mut self) {
        if let Some(mut merger) = self.control.merger.take() {
            self.finish_books(&mut merger);
        }
        log::flush();
    }

    /// Stores what the journals hold, and writes down what is known then.
    fn finish_books(&mut self, merger: &mut Merger) {
        let stats = merger.finish(clock::now(), clock::unix_ms(), &mut self.books);
        self.publish(&stats, merger.open_length());
        if !stats.degraded {
            report_rollups(&self.books.finish());
        }
    }
}

fn report_rollups(events: &[Event]) {
    for event in events {
        match event {
            Event::Completed(made) => {
                log::info("rollups were made of usage records", &[("segments", Value::Integer(*made))]);
            }
            Event::Retired(count) => {
                let fields = [("segments", Value::Integer(*count))];
                log::info("usage records were deleted: their time is over", &fields);
            }
            Event::Failed(reason) => {
                log::warn("a rollup could not be kept", &[("reason", Value::Text(reason))]);
            }
        }
    }
}

/// The level in the settings, in the log's own words.
pub fn level_of(snapshot: &Snapshot) -> Level {
    match snapshot.config.settings().log_level {
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}
