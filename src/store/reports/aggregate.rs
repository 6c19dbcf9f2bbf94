//! Sums by a field: whole hours from the rows, the hours at the edges from their records.

use std::collections::{BTreeMap, HashMap};
use std::io;

use foldhash::fast::FixedState;

use super::{Covered, Filter, GroupBy, HOUR_MS, Look};
use crate::store::rollup::{Key, NO_HOUR, Sums, Table, for_each_between};
use crate::store::usage::{LineReader, Reading};
use crate::telemetry::labels::Outcome;
use crate::telemetry::text::TimestampFormatter;

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What its records have in common; empty where they do not name it.
    pub key: String,
    /// Records that tell of another end than success.
    pub errors: u64,
    /// Their sums.
    pub sums: Sums,
}

/// Sums by a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Days and hours in their order, anything else by cost, the dearest first.
    pub groups: Vec<Group>,
    /// Lines that are no records, whatever was asked for.
    pub unreadable: u64,
}

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everything that is known.
    All,
    /// What pages show: neither records that wait in journals nor those that were deleted.
    Pages,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    errors: u64,
    sums: Sums,
}

impl Sum {
    fn add(&mut self, outcome: u8, sums: &Sums) {
        // Records of other programs may not say how they ended.
        let is_error = Outcome::ALL.get(usize::from(outcome)).is_some_and(|outcome| outcome.is_error());
        self.errors = self.errors.saturating_add(if is_error { sums.calls } else { 0 });
        self.sums.merge(sums);
    }

    fn merge(&mut self, other: &Self) {
        self.errors = self.errors.saturating_add(other.errors);
        self.sums.merge(&other.sums);
    }
}

impl Look {
    /// Sums the records that the filter takes by a field.
    ///
    /// The rows of deleted segments (`usageRetentionDays`) know whole hours only: an hour counts there when its first
    /// moment is asked for.
    ///
    /// # Errors
    /// From reading the records of hours of which a part is asked for.
    pub fn aggregate(&self, by: GroupBy, filter: &Filter) -> io::Result<Report> {
        self.sum(by, filter, Scope::All)
    }

    /// How many records the pages of this filter hold together.
    ///
    /// # Errors
    /// See [`Look::aggregate`].
    pub fn count(&self, filter: &Filter) -> io::Result<u64> {
        let report = self.sum(GroupBy::Outcome, filter, Scope::Pages)?;
        Ok(report.groups.iter().map(|group| group.sums.calls).sum())
    }

    fn sum(&self, by: GroupBy, filter: &Filter, scope: Scope) -> io::Result<Report> {
        let mut all: BTreeMap<String, Sum> = BTreeMap::new();
        let mut unreadable = self.damaged;
        if filter.id.is_some() {
            let mut reader = LineReader::default();
            for mut line in self.page(filter, None, usize::MAX)?.records {
                if let Some(reading) = reader.read(&mut line) {
                    add(&mut all, by, &reading);
                }
            }
        }
        for source in self.sources.iter().filter(|source| scope == Scope::All || source.file.is_some()) {
            unreadable += source.table.unreadable;
            let mut numbered: HashMap<u32, Sum, FixedState> = HashMap::default();
            if let Some(rows) = filter.on(&source.table) {
                for (key, sums) in source.table.rows() {
                    let covered = match filter.covers(key.hour) {
                        Covered::Part if source.file.is_none() => {
                            filter.id.is_none() && filter.takes_time(u64::from(key.hour) * HOUR_MS)
                        }
                        covered => covered == Covered::All,
                    };
                    if covered && rows.takes(key) {
                        numbered.entry(number(by, key)).or_default().add(key.outcome, sums);
                    }
                }
            }
            for (number, sum) in numbered {
                all.entry(text(by, &source.table, number)).or_default().merge(&sum);
            }
            let Some(file) = source.file.as_ref().filter(|_| filter.id.is_none()) else { continue };
            for (hour, (from, to)) in source.table.spans() {
                if filter.covers(hour) != Covered::Part {
                    continue;
                }
                for_each_between(file, from, to, |facts, ids, _| {
                    let reading = Reading { facts: *facts, ids: *ids, id: "", trace: "" };
                    if Key::hour_of(facts) == hour && filter.takes(&reading) {
                        add(&mut all, by, &reading);
                    }
                })?;
            }
        }
        let waiting = if scope == Scope::All { &self.waiting[..] } else { &[] };
        let mut reader = LineReader::default();
        for line in waiting.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match reader.read(&mut line.to_vec()) {
                Some(reading) if filter.takes(&reading) => add(&mut all, by, &reading),
                Some(_) => {}
                None => unreadable += 1,
            }
        }
        Ok(Report { groups: sorted(by, all), unreadable })
    }
}

fn add(all: &mut BTreeMap<String, Sum>, by: GroupBy, reading: &Reading<'_>) {
    let (facts, ids) = (&reading.facts, &reading.ids);
    let key = match by {
        GroupBy::Model => ids.model.to_owned(),
        GroupBy::Project => ids.project.to_owned(),
        GroupBy::Token => ids.token.to_owned(),
        GroupBy::Provider => ids.provider.to_owned(),
        GroupBy::Outcome => outcome_text(facts.outcome),
        GroupBy::Day | GroupBy::Hour => time_text(by, Key::hour_of(facts)),
    };
    all.entry(key).or_default().add(facts.outcome, &Sums::of(facts));
}

/// What a row is summed under within its table.
fn number(by: GroupBy, key: &Key) -> u32 {
    match by {
        GroupBy::Model => key.model,
        GroupBy::Project => key.project,
        GroupBy::Token => key.token,
        GroupBy::Provider => key.provider,
        GroupBy::Outcome => u32::from(key.outcome),
        GroupBy::Day if key.hour != NO_HOUR => key.hour / 24 * 24,
        GroupBy::Day | GroupBy::Hour => key.hour,
    }
}

fn text(by: GroupBy, table: &Table, number: u32) -> String {
    match by {
        GroupBy::Model | GroupBy::Project | GroupBy::Token | GroupBy::Provider => {
            table.names.text(number).to_owned()
        }
        GroupBy::Outcome => outcome_text(number as u8),
        GroupBy::Day | GroupBy::Hour => time_text(by, number),
    }
}

fn outcome_text(outcome: u8) -> String {
    Outcome::ALL.get(usize::from(outcome)).map_or(String::new(), |outcome| outcome.as_str().to_owned())
}

/// `2026-01-31`, `2026-01-31T12`; empty for no time.
fn time_text(by: GroupBy, hour: u32) -> String {
    if hour == NO_HOUR {
        return String::new();
    }
    let length = if by == GroupBy::Day { "YYYY-MM-DD".len() } else { "YYYY-MM-DDTHH".len() };
    TimestampFormatter::default().format(u64::from(hour) * HOUR_MS).as_str()[..length].to_owned()
}

fn sorted(by: GroupBy, all: BTreeMap<String, Sum>) -> Vec<Group> {
    let groups = all.into_iter().map(|(key, Sum { errors, sums })| Group { key, errors, sums });
    let mut groups: Vec<Group> = groups.collect();
    if !matches!(by, GroupBy::Day | GroupBy::Hour) {
        // Stable: what is equal stays in the order of its text.
        groups.sort_by(|a, b| b.sums.cost.cmp(&a.sums.cost).then(b.sums.calls.cmp(&a.sums.calls)));
    }
    groups
}
