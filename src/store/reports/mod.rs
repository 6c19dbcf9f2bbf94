//! Reports on usage records: sums by a field, and pages of records.
//!
//! Owns the questions and how they are answered from rollups and records together. Reads files only, beside a gateway
//! that may be writing them or without one. A [`Look`] is taken once and can be asked more than once; what is stored
//! after it is not in it.

mod aggregate;
mod look;
mod page;
#[cfg(test)]
mod tests;

pub use aggregate::{Group, Report};
pub use look::Look;
pub use page::{Cursor, Page};

use crate::store::rollup::{Key, NO_HOUR, Table};
use crate::store::usage::Reading;
use crate::telemetry::labels::{CallType, Outcome};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// What records are summed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// The model that was called.
    #[default]
    Model,
    /// The project.
    Project,
    /// The project token's id.
    Token,
    /// The provider.
    Provider,
    /// How the call ended.
    Outcome,
    /// The day, UTC.
    Day,
    /// The hour, UTC.
    Hour,
}

/// Which records are asked for; what is not set is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Records from this moment on, in milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Records before this moment.
    pub to_ms: Option<u64>,
    /// Id of the project.
    pub project: Option<String>,
    /// Ids of the projects that the asker may see; none: all.
    pub projects: Option<Vec<String>>,
    /// Id of the project token.
    pub token: Option<String>,
    /// Id of the model.
    pub model: Option<String>,
    /// Name of the provider.
    pub provider: Option<String>,
    /// How the call ended.
    pub outcome: Option<Outcome>,
    /// Why the model was called.
    pub call_type: Option<CallType>,
    /// Id of the record, or of the request's trace. Rows know neither: records are read.
    pub id: Option<String>,
}

impl Filter {
    /// Whether a record is asked for.
    fn takes(&self, reading: &Reading<'_>) -> bool {
        let facts = &reading.facts;
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let is_word =
            |wanted: Option<usize>, found: u8| wanted.is_none_or(|index| index == usize::from(found));
        self.takes_time(facts.finished_ms)
            && is(&self.project, reading.ids.project)
            && self.projects.as_ref().is_none_or(|all| all.iter().any(|one| one == reading.ids.project))
            && self.id.as_ref().is_none_or(|id| id == reading.id || id == reading.trace)
            && is(&self.token, reading.ids.token)
            && is(&self.model, reading.ids.model)
            && is(&self.provider, reading.ids.provider)
            && is_word(self.outcome.map(Outcome::index), facts.outcome)
            && is_word(self.call_type.map(CallType::index), facts.call_type)
    }

    /// Whether a time is asked for; 0 stands for none, which is asked for where no time is.
    fn takes_time(&self, finished_ms: u64) -> bool {
        let is_known = finished_ms > 0;
        self.from_ms.is_none_or(|from_ms| is_known && finished_ms >= from_ms)
            && self.to_ms.is_none_or(|to_ms| is_known && finished_ms < to_ms)
    }

    /// How much of an hour is asked for.
    fn covers(&self, hour: u32) -> Covered {
        if hour == NO_HOUR {
            return if self.takes_time(0) { Covered::All } else { Covered::None };
        }
        let start = u64::from(hour) * HOUR_MS;
        let end = start + HOUR_MS;
        let is_out = self.from_ms.is_some_and(|from_ms| end <= from_ms)
            || self.to_ms.is_some_and(|to_ms| to_ms <= start);
        let is_in = self.from_ms.is_none_or(|from_ms| from_ms <= start)
            && self.to_ms.is_none_or(|to_ms| end <= to_ms);
        match (is_out, is_in && self.id.is_none()) {
            (true, _) => Covered::None,
            (_, true) => Covered::All,
            _ => Covered::Part,
        }
    }

    /// The filter under a table's numbers; none when no row of it can be asked for.
    fn on(&self, table: &Table) -> Option<RowFilter> {
        let number = |wanted: &Option<String>| match wanted {
            None => Some(None),
            Some(text) => table.names.find(text).map(Some),
        };
        Some(RowFilter {
            project: number(&self.project)?,
            projects: self
                .projects
                .as_ref()
                .map(|projects| projects.iter().filter_map(|project| table.names.find(project)).collect()),
            token: number(&self.token)?,
            model: number(&self.model)?,
            provider: number(&self.provider)?,
            outcome: self.outcome.map(|outcome| outcome.index() as u8),
            call_type: self.call_type.map(|call_type| call_type.index() as u8),
        })
    }
}

/// How much of something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Covered {
    All,
    Part,
    None,
}

/// A [`Filter`] on the rows of a table, but for the time.
struct RowFilter {
    project: Option<u32>,
    projects: Option<Vec<u32>>,
    token: Option<u32>,
    model: Option<u32>,
    provider: Option<u32>,
    outcome: Option<u8>,
    call_type: Option<u8>,
}

impl RowFilter {
    fn takes(&self, key: &Key) -> bool {
        fn is<T: PartialEq>(wanted: Option<T>, found: T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        is(self.project, key.project)
            && self.projects.as_ref().is_none_or(|projects| projects.contains(&key.project))
            && is(self.token, key.token)
            && is(self.model, key.model)
            && is(self.provider, key.provider)
            && is(self.outcome, key.outcome)
            && is(self.call_type, key.call_type)
    }
}
