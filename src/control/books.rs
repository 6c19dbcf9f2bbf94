//! What the control thread keeps about finished attempts.
//!
//! Owns the way from a record's facts, whose indexes belong to a generation of the configuration, to sums by id. Per
//! merge tick attempts are first added up by their indexes, so that the maps by id are touched once per key and tick.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;

use super::budgets::{self, Clocks, Whose};
use super::readings::{self, Readings};
use super::rows::Rows;
use crate::budget::counters::{Counts, Totals};
use crate::budget::event::Event as BudgetEvent;
use crate::budget::plan::Who;
use crate::budget::watch::Watch;
use crate::budget::window::Moment;
use crate::limits::{SNAPSHOTS_HELD_MAX, SNAPSHOTS_KEPT_MAX};
use crate::mailbox::Mailbox;
use crate::routing::metrics::Verdict;
use crate::snapshot::Snapshot;
use crate::store::journal::Facts;
use crate::store::rollup::{Event, Rollups};
use crate::store::usage::{Fold, LineReader, MergeStats};
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::ModelTimes;

/// Whose call it was: indexes into the configuration of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    generation: u64,
    project: u32,
    owner: u32,
    token: u32,
    model: u32,
}

impl Key {
    pub(super) fn of(facts: &Facts) -> Self {
        let Facts { generation, project, owner, token, model, .. } = *facts;
        Self { generation, project, owner, token, model }
    }

    fn who(&self) -> Who {
        Who { project: self.project, owner: self.owner, token: self.token }
    }
}

/// Sums over finished attempts, and the generations that their indexes belong to.
pub(super) struct Books {
    /// Snapshots that attempts may still have begun under, newest last.
    generations: Vec<Arc<Snapshot>>,
    /// Attempts of this tick. The keys are our own indexes, so a fixed seed gives nobody a handle.
    tick: HashMap<Key, Counts, FixedState>,
    /// The same by generation and model.
    tick_times: HashMap<(u64, u32), ModelTimes, FixedState>,
    totals: Totals,
    times: HashMap<Arc<str>, ModelTimes>,
    readings: Readings,
    rows: Rows,
    watch: Watch,
    clocks: Clocks,
    now: Moment,
    /// Read the records of another process.
    lines: LineReader,
    whose: Option<Whose>,
}

impl Books {
    /// `length`: that of the open usage file.
    pub(super) fn new(
        first: Arc<Snapshot>,
        now: Moment,
        rollups: Option<Rollups>,
        length: u64,
        mut watch: Watch,
    ) -> Self {
        watch.adopt(&first.budgets, now);
        Self {
            rows: Rows::new(rollups, length),
            readings: Readings::new(&first, now),
            generations: vec![first],
            tick: HashMap::default(),
            tick_times: HashMap::default(),
            totals: Totals::default(),
            times: HashMap::default(),
            watch,
            clocks: Clocks::new(now),
            now,
            lines: LineReader::default(),
            whose: None,
        }
    }

    /// The configuration in force.
    pub(super) fn newest(&self) -> &Arc<Snapshot> {
        &self.generations[self.generations.len() - 1]
    }

    /// Attempts under `snapshot` may come from now on.
    pub(super) fn begin_generation(&mut self, snapshot: Arc<Snapshot>) {
        self.readings.begin_generation(&snapshot);
        self.watch.adopt(&snapshot.budgets, self.now);
        self.generations.push(snapshot);
        let count = self.generations.len();
        let old = &self.generations[..count.saturating_sub(SNAPSHOTS_KEPT_MAX)];
        // Requests that began under one are still there as long as a core has it.
        let idle = old.iter().position(|snapshot| Arc::strong_count(snapshot) == 1);
        if let Some(index) = idle.or((old.len() > SNAPSHOTS_HELD_MAX).then_some(0)) {
            self.generations.remove(index);
        }
    }

    /// Sums of this process's attempts since it started, as of the last tick.
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// How the calls of each model went, by its id.
    pub(super) fn times(&self) -> &HashMap<Arc<str>, ModelTimes> {
        &self.times
    }

    /// The moment of what comes until the tick ends.
    pub(super) fn begin_tick(&mut self, now: Moment) {
        self.now = now;
        self.clocks.look(now);
        self.readings.begin_tick(now);
    }

    /// What happened to limits and was not told yet.
    pub(super) fn next_budget_event(&mut self) -> Option<BudgetEvent> {
        self.watch.next_event()
    }

    /// Tells the cores what policies want to know of past calls, where that has changed.
    pub(super) fn publish_readings(&mut self, mailbox: &Mailbox) {
        self.readings.publish(mailbox);
    }

    /// To be called after each round of the merger: adds up what it told, and has a checkpoint written where one is due.
    /// `length`: that of the open usage file.
    pub(super) fn end_tick(&mut self, stats: &MergeStats, length: u64, now: Instant) -> Vec<Event> {
        self.add_seen();
        self.watch.poll(self.now);
        let (newest, watch, moment) = (&self.generations[self.generations.len() - 1], &self.watch, self.now);
        let sections = || vec![budgets::section(newest, watch, moment)];
        self.rows.end_tick(stats, length, now, &self.generations, sections)
    }

    /// The last checkpoint before another process has the files. Everything is stored.
    pub(super) fn finish(&mut self) -> Vec<Event> {
        let section = budgets::section(self.newest(), &self.watch, self.now);
        self.rows.finish(vec![section])
    }

    /// Has segments deleted that began before a day, spelled `YYYY-MM-DD`.
    pub(super) fn retire_before(&self, day: String) {
        self.rows.retire_before(day);
    }

    /// Adds what came since the last tick to the sums by id.
    fn add_seen(&mut self) {
        for ((generation, model), times) in self.tick_times.drain() {
            let snapshot = of_generation(&self.generations, generation);
            let target = snapshot.and_then(|snapshot| snapshot.targets.get(model as usize));
            let Some(id) = target.map(|target| target.model.id.as_str()) else { continue };
            match self.times.get_mut(id) {
                Some(sum) => sum.merge(&times),
                None => {
                    self.times.insert(id.into(), times);
                }
            }
        }
        for (key, counts) in self.tick.drain() {
            self.totals.all.merge(&counts);
            if let Some(snapshot) = self.generations.iter().rev().find(|one| one.generation == key.generation)
            {
                let (plan, who) = (&snapshot.budgets, key.who());
                for (entry, _) in plan.whole(who).entries().chain(plan.model(who, key.model).entries()) {
                    self.watch.look(plan.entry(entry), self.now);
                }
            }
            // Attempts of a generation that is no longer kept count in the overall sum alone.
            let Some(ids) = Ids::of(&self.generations, &key) else { continue };
            for (sums, id) in [
                (&mut self.totals.projects, ids.project),
                (&mut self.totals.tokens, ids.token),
                (&mut self.totals.models, ids.model),
            ] {
                match sums.get_mut(id) {
                    _ if id.is_empty() => {}
                    Some(sum) => sum.merge(&counts),
                    None => {
                        sums.insert(id.into(), counts);
                    }
                }
            }
        }
    }
}

impl Fold for Books {
    fn seen(&mut self, facts: &Facts) {
        if !facts.is_call() {
            return;
        }
        if let Some(call) = readings::finished(facts) {
            self.readings.seen(&call);
            let is_answer = call.verdict == Verdict::Success && call.is_timed;
            let ttft_ms = call.ttft_ms.filter(|_| is_answer);
            self.tick_times.entry((facts.generation, facts.model)).or_default().merge(&ModelTimes {
                failures: u64::from(call.verdict == Verdict::Failure),
                answers: u64::from(is_answer),
                latency_ms: if is_answer { u64::from(call.latency_ms) } else { 0 },
                first_bytes: u64::from(ttft_ms.is_some()),
                ttft_ms: ttft_ms.map_or(0, u64::from),
            });
        }
        let outcome = Outcome::ALL.get(usize::from(facts.outcome));
        let sum = self.tick.entry(Key::of(facts)).or_default();
        sum.merge(&Counts {
            calls: 1,
            errors: u64::from(outcome.is_none_or(|outcome| outcome.is_error())),
            input_tokens: facts.input,
            output_tokens: facts.output,
            cached_input_tokens: facts.cached,
            cost: facts.cost,
        });
    }

    fn stored(&mut self, facts: &Facts) {
        self.rows.stored(facts);
        if let Some(snapshot) = of_generation(&self.generations, facts.generation)
            && !snapshot.budgets.is_empty()
        {
            let (who, admitted) = (Key::of(facts).who(), self.clocks.admitted(facts));
            budgets::charge(&snapshot.budgets, who, facts.model, facts, |account, used| {
                account.store(used, admitted);
            });
        }
    }

    fn stored_line(&mut self, line: &[u8]) {
        self.rows.stored_line(line);
        let newest = &self.generations[self.generations.len() - 1];
        let plan = &newest.budgets;
        let mut line = if plan.is_empty() { vec![] } else { line.to_vec() };
        if let Some(reading) = self.lines.read(&mut line) {
            let whose = self.whose.take_if(|whose| whose.generation == newest.generation);
            let whose = self.whose.insert(whose.unwrap_or_else(|| Whose::new(newest)));
            let (who, model) = whose.of(&reading.ids);
            let admitted = self.clocks.admitted(&reading.facts);
            budgets::charge(plan, who, model, &reading.facts, |account, used| account.add(used, admitted));
            for (entry, _) in plan.whole(who).entries().chain(plan.model(who, model).entries()) {
                self.watch.look(plan.entry(entry), self.now);
            }
        }
    }

    fn rotated(&mut self, segment: &Path) {
        self.rows.rotated(segment, &self.generations);
    }

    fn restarted(&mut self) {
        self.rows.restarted();
    }
}

fn of_generation(generations: &[Arc<Snapshot>], generation: u64) -> Option<&Arc<Snapshot>> {
    generations.iter().rev().find(|snapshot| snapshot.generation == generation)
}

/// The ids behind indexes; empty where the configuration has no such part.
#[derive(Default)]
pub(super) struct Ids<'a> {
    pub(super) project: &'a str,
    pub(super) token: &'a str,
    pub(super) model: &'a str,
    pub(super) provider: &'a str,
}

impl<'a> Ids<'a> {
    /// None for a generation that is no longer kept.
    pub(super) fn of(generations: &'a [Arc<Snapshot>], key: &Key) -> Option<Self> {
        let snapshot = of_generation(generations, key.generation)?;
        let project = |index: u32| snapshot.config.projects().get(index as usize);
        let token = project(key.owner).and_then(|owner| owner.tokens.get(key.token as usize));
        let model = snapshot.targets.get(key.model as usize).map(|target| &target.model);
        Some(Self {
            project: project(key.project).map_or("", |project| &project.id),
            token: token.map_or("", |token| &token.id),
            model: model.map_or("", |model| &model.id),
            provider: model.map_or("", |model| &model.provider.id),
        })
    }
}
