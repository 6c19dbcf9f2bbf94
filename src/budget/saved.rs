//! What a checkpoint says of limits, and how the next process goes on with it.
//!
//! Owns what is saved: of each limit what is stored of its usage, and what was told of it. Restored before anything is
//! counted; the records behind the checkpoint are added afterwards, each in the window of its admission
//! ([`Saved::admitted`]). A limit that the checkpoint does not know begins at nothing.
//!
//! *Clocks.* Calendar windows are named by the time of day and found again by that. Rolling windows follow the steady
//! clock, which begins anew with each process at what the wall clock says: the moment of the checkpoint is put where the
//! wall clock says it was, or at now, where the clock was set back meanwhile: what was used never lies in the future. A
//! clock that is set forwards while nobody runs passes for time.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::account::{Account, Stored};
use super::key::Key;
use super::plan::Plan;
use super::watch::{Marks, Told, Watch};
use super::window::{Moment, Span};

/// How far two readings of the clocks may lie apart, in milliseconds, and be of one moment.
const ROUNDING_MS: u64 = 2;

/// Everything that is saved of limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// The moment of the checkpoint.
    wall_ms: u64,
    steady_ms: u64,
    /// Time zone of calendar windows.
    zone: String,
    limits: Vec<SavedLimit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedLimit {
    name: Name,
    /// Epoch, usage, steady clock of the last use.
    stored: Vec<(u64, u64, u64)>,
    /// Epoch of the window that was looked at last.
    current: u64,
    told: Vec<SavedMarks>,
}

/// A [`Key`] in words: level, ids, metric, window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Name(String, Vec<String>, String, String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedMarks {
    epoch: u64,
    since_ms: u64,
    percents: Vec<u8>,
    is_exhausted: bool,
}

impl Name {
    fn of(key: &Key) -> Self {
        let ids = key.subject.ids().into_iter().map(str::to_owned).collect();
        let (level, metric) = (key.subject.level(), key.metric.as_str());
        Self(level.to_owned(), ids, metric.to_owned(), key.window.to_string())
    }
}

impl Saved {
    /// What is known of the limits of a configuration, whose calendar has the time zone of this name.
    pub fn of(plan: &Plan, watch: &Watch, zone: &str, now: Moment) -> Self {
        let told: HashMap<&Key, &Told> = watch.told().collect();
        let limits = plan.entries().iter().filter_map(|entry| {
            let stored = entry.account.stored();
            let told = told.get(&entry.account.key);
            if stored.is_empty() && told.is_none() {
                return None;
            }
            Some(SavedLimit {
                name: Name::of(&entry.account.key),
                stored: stored.iter().map(|stored| (stored.epoch, stored.used, stored.seen_ms)).collect(),
                current: told.map_or(0, |told| told.current),
                told: told.map_or(vec![], |told| told.windows.iter().map(SavedMarks::of).collect()),
            })
        });
        let limits = limits.collect();
        Self { wall_ms: now.wall_ms, steady_ms: now.steady_ms, zone: zone.to_owned(), limits }
    }

    /// Where the moment of the checkpoint lies on the steady clock of this process.
    fn place_ms(&self, now: Moment) -> u64 {
        self.wall_ms.min(now.steady_ms)
    }

    /// A reading of the old steady clock, on that of this process.
    fn shifted(&self, steady_ms: u64, now: Moment) -> u64 {
        let place_ms = self.place_ms(now);
        if place_ms.abs_diff(self.steady_ms) <= ROUNDING_MS {
            return steady_ms.min(now.steady_ms);
        }
        let since_ms = steady_ms as i64 - self.steady_ms as i64;
        place_ms.saturating_add_signed(since_ms).min(now.steady_ms)
    }

    /// When a request was admitted of which a record behind the checkpoint tells.
    pub fn admitted(&self, wall_ms: u64, now: Moment) -> Moment {
        let back_ms = self.wall_ms - self.place_ms(now);
        Moment { wall_ms, steady_ms: wall_ms.saturating_sub(back_ms).min(now.steady_ms) }
    }

    /// Puts everything back into the accounts of a configuration, and has the watch remember what it told.
    pub fn restore(&self, plan: &Plan, watch: &mut Watch, now: Moment) {
        let by_name: HashMap<&Name, &SavedLimit> =
            self.limits.iter().map(|limit| (&limit.name, limit)).collect();
        let find = |key: &Key| by_name.get(&Name::of(key));
        let zone = TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC);
        for entry in plan.entries() {
            let account = &*entry.account;
            let Some(limit) = find(&account.key) else { continue };
            let old = Span::new(account.key.window, &zone);
            for (epoch, used, seen_ms) in &limit.stored {
                let epoch = self.epoch(account, &old, *epoch, now);
                account.put_back(Stored { epoch, used: *used, seen_ms: self.shifted(*seen_ms, now) });
            }
        }
        let told = |key: &Key| {
            let limit = find(key)?;
            let told = limit.told.iter().map(|marks| marks.read(self.shifted(marks.since_ms, now)));
            Some(Told { current: limit.current, windows: told.collect() })
        };
        watch.restore(plan, |key| told(key).filter(|told| !told.windows.is_empty()), now);
    }

    /// The bucket that now stands for one that was saved.
    fn epoch(&self, account: &Account, old: &Span, epoch: u64, now: Moment) -> u64 {
        let span = account.span();
        if span.is_rolling() {
            // Its last moment, so that it leaves the window no earlier.
            let last_ms = old.bounds_of(epoch).until.saturating_sub(1);
            return span.bounds(self.shifted(last_ms, now)).epoch;
        }
        // Another time zone: what is spent in the window around now stays spent.
        let is_current = span != old && old.bounds_of(epoch).contains(now.wall_ms);
        span.bounds(if is_current { now.wall_ms } else { epoch }).epoch
    }
}

impl SavedMarks {
    fn of(marks: &Marks) -> Self {
        let percents = (1..=100).filter(|percent| marks.percents >> percent & 1 == 1).collect();
        let Marks { epoch, since_ms, is_exhausted, .. } = *marks;
        Self { epoch, since_ms, percents, is_exhausted }
    }

    fn read(&self, since_ms: u64) -> Marks {
        let percents = self.percents.iter().filter(|percent| **percent <= 100);
        let percents = percents.fold(0_u128, |all, percent| all | 1 << percent);
        Marks { epoch: self.epoch, since_ms, percents, is_exhausted: self.is_exhausted }
    }
}

#[cfg(test)]
mod tests;
