//! From stored attempts to the rows of the rollups.
//!
//! Owns what has been stored in the tick that runs: attempts are added up by their indexes first, and become rows by id
//! when it ends.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;

use super::books::{Ids, Key};
use crate::snapshot::Snapshot;
use crate::store::journal::Facts;
use crate::store::rollup::{self, Event, Rollups, Section, Sums};
use crate::store::usage::{LineReader, MergeStats};

/// Most keys whose names are remembered from tick to tick.
const NUMBERS_MAX: usize = 65_536;

/// A row of the rollups, under indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RowKey {
    key: Key,
    hour: u32,
    outcome: u8,
    call_type: u8,
}

/// What was stored, on its way into the rollups.
pub(super) struct Rows {
    /// Attempts stored in this tick. The keys are our own indexes, so a fixed seed gives nobody a handle.
    stored: HashMap<RowKey, Sums, FixedState>,
    /// Hours of records that were stored in this tick.
    hours: BTreeSet<u32>,
    /// Length of the open usage file at the end of the last tick.
    length: u64,
    /// Where rows go; none where rollups cannot be kept.
    rollups: Option<Rollups>,
    /// Numbers of the rollups' names, by indexes: project, token, model, provider.
    numbers: HashMap<Key, [u32; 4], FixedState>,
    lines: LineReader,
}

impl Rows {
    /// `length`: that of the open usage file.
    pub(super) fn new(rollups: Option<Rollups>, length: u64) -> Self {
        Self {
            stored: HashMap::default(),
            hours: BTreeSet::new(),
            length,
            rollups,
            numbers: HashMap::default(),
            lines: LineReader::default(),
        }
    }

    pub(super) fn stored(&mut self, facts: &Facts) {
        let Facts { outcome, call_type, .. } = *facts;
        let key = RowKey { key: Key::of(facts), hour: rollup::Key::hour_of(facts), outcome, call_type };
        self.stored.entry(key).or_default().merge(&Sums::of(facts));
    }

    pub(super) fn stored_line(&mut self, line: &[u8]) {
        let Some(rollups) = &mut self.rollups else { return };
        let table = rollups.table();
        let mut line = line.to_vec();
        match self.lines.read(&mut line) {
            Some(reading) => {
                let key = table.key(&reading.facts, &reading.ids);
                table.add(key, &Sums::of(&reading.facts));
                self.hours.insert(key.hour);
            }
            None => table.unreadable += 1,
        }
    }

    pub(super) fn rotated(&mut self, segment: &Path, generations: &[Arc<Snapshot>]) {
        self.add(fs::metadata(segment).map_or(self.length, |metadata| metadata.len()), generations);
        self.length = 0;
        self.numbers.clear();
        if let Some(rollups) = &mut self.rollups {
            rollups.rotated(segment);
        }
    }

    pub(super) fn restarted(&mut self) {
        self.stored.clear();
        self.hours.clear();
        self.length = 0;
        self.numbers.clear();
        if let Some(rollups) = &mut self.rollups {
            rollups.restarted();
        }
    }

    /// Makes rows of what was stored, and has a checkpoint written where one is due, with what `sections` gives.
    /// `length`: that of the open usage file.
    pub(super) fn end_tick(
        &mut self,
        stats: &MergeStats,
        length: u64,
        now: Instant,
        generations: &[Arc<Snapshot>],
        sections: impl FnOnce() -> Vec<Section>,
    ) -> Vec<Event> {
        self.add(length, generations);
        let Some(rollups) = &mut self.rollups else { return vec![] };
        let sections = if rollups.wants_sections(stats, now) { sections() } else { vec![] };
        rollups.tick(stats, now, sections)
    }

    /// The last checkpoint before another process has the files. Everything is stored.
    pub(super) fn finish(&mut self, sections: Vec<Section>) -> Vec<Event> {
        self.rollups.as_mut().map_or(vec![], |rollups| rollups.finish(self.length, sections))
    }

    /// Has segments deleted that began before a day, spelled `YYYY-MM-DD`.
    pub(super) fn retire_before(&self, day: String) {
        if let Some(rollups) = &self.rollups {
            rollups.retire_before(day);
        }
    }

    fn add(&mut self, length: u64, generations: &[Arc<Snapshot>]) {
        let span = (self.length.min(length), length);
        self.length = length;
        let Some(rollups) = &mut self.rollups else {
            self.stored.clear();
            return;
        };
        if self.stored.is_empty() && self.hours.is_empty() {
            return;
        }
        let table = rollups.table();
        if self.numbers.len() > NUMBERS_MAX {
            self.numbers.clear();
        }
        for (RowKey { key, hour, outcome, call_type }, sums) in self.stored.drain() {
            let numbers = self.numbers.entry(key).or_insert_with(|| {
                // A generation that is no longer kept has no names any more.
                let ids = Ids::of(generations, &key).unwrap_or_default();
                [ids.project, ids.token, ids.model, ids.provider].map(|id| table.names.number(id))
            });
            let [project, token, model, provider] = *numbers;
            table.add(rollup::Key { hour, project, token, model, provider, outcome, call_type }, &sums);
            self.hours.insert(hour);
        }
        while let Some(hour) = self.hours.pop_first() {
            table.extend_span(hour, span);
        }
    }
}
