//! What the control thread keeps about finished attempts.
//!
//! Owns the way from a record's facts, whose indexes belong to a generation of the configuration, to sums by id. Per
//! merge tick attempts are first added up by their indexes, so that the maps by id are touched once per key and tick.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::readings::{self, Readings};
use crate::budget::counters::{Counts, Totals};
use crate::budget::window::Moment;
use crate::limits::SNAPSHOTS_KEPT_MAX;
use crate::mailbox::Mailbox;
use crate::routing::metrics::Verdict;
use crate::snapshot::Snapshot;
use crate::store::journal::Facts;
use crate::store::usage::Fold;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::ModelTimes;

/// Whose call it was: indexes into the configuration of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    generation: u64,
    project: u32,
    owner: u32,
    token: u32,
    model: u32,
}

impl Key {
    fn of(facts: &Facts) -> Self {
        let Facts { generation, project, owner, token, model, .. } = *facts;
        Self { generation, project, owner, token, model }
    }
}

/// Sums over finished attempts, and the generations that their indexes belong to.
#[derive(Debug)]
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
}

impl Books {
    pub(super) fn new(first: Arc<Snapshot>, now: Moment) -> Self {
        Self {
            readings: Readings::new(&first, now),
            generations: vec![first],
            tick: HashMap::default(),
            tick_times: HashMap::default(),
            totals: Totals::default(),
            times: HashMap::default(),
        }
    }

    /// The configuration in force.
    pub(super) fn newest(&self) -> &Arc<Snapshot> {
        &self.generations[self.generations.len() - 1]
    }

    /// Attempts under `snapshot` may come from now on.
    pub(super) fn begin_generation(&mut self, snapshot: Arc<Snapshot>) {
        self.readings.begin_generation(&snapshot);
        self.generations.push(snapshot);
        if self.generations.len() > SNAPSHOTS_KEPT_MAX {
            self.generations.remove(0);
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
        self.readings.begin_tick(now);
    }

    /// Tells the cores what policies want to know of past calls, where that has changed.
    pub(super) fn publish_readings(&mut self, mailbox: &Mailbox) {
        self.readings.publish(mailbox);
    }

    /// Adds what came since the last tick to the sums by id.
    pub(super) fn end_tick(&mut self) {
        for ((generation, model), times) in self.tick_times.drain() {
            let snapshot = self.generations.iter().rev().find(|snapshot| snapshot.generation == generation);
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
            // Attempts of a generation that is no longer kept count in the overall sum alone.
            let snapshot =
                self.generations.iter().rev().find(|snapshot| snapshot.generation == key.generation);
            let Some(snapshot) = snapshot else { continue };
            let ids = Ids::of(snapshot, &key);
            for (sums, id) in [
                (&mut self.totals.projects, ids.project),
                (&mut self.totals.tokens, ids.token),
                (&mut self.totals.models, ids.model),
            ] {
                let Some(id) = id else { continue };
                match sums.get_mut(id) {
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
        let sum = self.tick.entry(Key::of(facts)).or_default();
        sum.merge(&Counts {
            calls: 1,
            errors: u64::from(usize::from(facts.outcome) != Outcome::Success.index()),
            input_tokens: facts.input,
            output_tokens: facts.output,
            cached_input_tokens: facts.cached,
            cost: facts.cost,
        });
    }

    fn stored(&mut self, _facts: &Facts) {}

    fn stored_line(&mut self, _line: &[u8]) {}
}

/// The ids behind indexes; none where the configuration has no such part.
struct Ids<'a> {
    project: Option<&'a str>,
    token: Option<&'a str>,
    model: Option<&'a str>,
}

impl<'a> Ids<'a> {
    fn of(snapshot: &'a Snapshot, key: &Key) -> Self {
        let project = |index: u32| snapshot.config.projects().get(index as usize);
        let token = project(key.owner).and_then(|owner| owner.tokens.get(key.token as usize));
        Self {
            project: project(key.project).map(|project| project.id.as_str()),
            token: token.map(|token| token.id.as_str()),
            model: snapshot.targets.get(key.model as usize).map(|target| target.model.id.as_str()),
        }
    }
}
