//! What the control thread keeps about finished attempts.
//!
//! Owns the way from a record's facts, whose indexes belong to a generation of the configuration, to sums by id. Per
//! merge tick attempts are first added up by their indexes, so that the maps by id are touched once per key and tick.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::budget::counters::{Counts, Totals};
use crate::limits::SNAPSHOTS_KEPT_MAX;
use crate::snapshot::Snapshot;
use crate::store::journal::Facts;
use crate::store::usage::Fold;
use crate::telemetry::labels::Outcome;

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
    totals: Totals,
}

impl Books {
    pub(super) fn new(first: Arc<Snapshot>) -> Self {
        Self { generations: vec![first], tick: HashMap::default(), totals: Totals::default() }
    }

    /// The configuration in force.
    pub(super) fn newest(&self) -> &Arc<Snapshot> {
        &self.generations[self.generations.len() - 1]
    }

    /// Attempts under `snapshot` may come from now on.
    pub(super) fn begin_generation(&mut self, snapshot: Arc<Snapshot>) {
        self.generations.push(snapshot);
        if self.generations.len() > SNAPSHOTS_KEPT_MAX {
            self.generations.remove(0);
        }
    }

    /// Sums of this process's attempts since it started, as of the last tick.
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Adds what came since the last tick to the sums by id.
    pub(super) fn end_tick(&mut self) {
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
