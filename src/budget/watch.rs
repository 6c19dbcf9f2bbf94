//! Looks at limits and tells what happens to them, each thing once per window.
//!
//! Owns what was told ([`Told`], which goes into the checkpoint) and the queue of [`Event`]s. Told by its owner which
//! limits may have changed ([`Watch::look`]); those near their value it looks at by itself ([`Watch::poll`]): what
//! ends a window or turns a request away leaves no usage behind. Pure: time is an argument.
//!
//! A calendar window is told of under its own mark, and the last few are remembered: a clock that is set forwards and
//! back repeats nothing. What was told of a rolling window stands until the count has fallen below all of it and as
//! much time as the window is long has passed, which is its reset.
//!
//! Rates ([`Window::is_rate`]) come and go with every burst: they are told of only where they name their thresholds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::account::{Account, Level};
use super::event::{Event, Kind};
use super::key::Key;
use super::plan::{Entry, Plan};
use super::window::{Bounds, Moment};

/// Told of where a limit names nothing else.
const PERCENT_DEFAULT: u8 = 80;
/// A limit that turned the last request away counts as exhausted when more than this is used: what is left is too little
/// for what requests may use at most.
const NEARLY_PERCENT: u8 = 90;
/// Windows of one limit that are remembered.
const WINDOWS_MAX: usize = 4;
/// How often limits near their value are looked at, in milliseconds.
const POLL_INTERVAL_MS: u64 = 1_000;

/// What was told of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The window's epoch; 0 for a rolling one.
    pub epoch: u64,
    /// Steady clock of the first thing told, in milliseconds.
    pub since_ms: u64,
    /// Thresholds that were told, bit by percentage.
    pub percents: u128,
    /// Whether it was told that it is exhausted.
    pub is_exhausted: bool,
}

impl Marks {
    fn is_empty(&self) -> bool {
        self.percents == 0 && !self.is_exhausted
    }
}

/// What was told of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Epoch of the window that was looked at last.
    pub current: u64,
    /// Windows of which something was told, the newest last.
    pub windows: Vec<Marks>,
}

#[derive(Debug)]
struct Watched {
    account: Arc<Account>,
    percents: Box<[u8]>,
    /// The calendar window that was looked at last.
    bounds: Bounds,
    told: Told,
}

/// Tells of limits. See the [module](self).
#[derive(Debug, Default)]
pub struct Watch {
    /// Limits near their value, and those of which something was told.
    watched: HashMap<Key, Watched, RandomState>,
    events: VecDeque<Event>,
    next_poll_ms: u64,
}

/// Whether `used` has reached so much of a limit.
fn has_reached(level: &Level, percent: u8) -> bool {
    u128::from(level.used) * 100 >= u128::from(level.limit) * u128::from(percent)
}

fn is_exhausted(account: &Account, level: &Level) -> bool {
    level.used >= level.limit || (account.refuses() && has_reached(level, NEARLY_PERCENT))
}

/// Thresholds of a limit; none where nothing is told of it.
fn percents_of(entry: &Entry) -> Option<&[u8]> {
    match &*entry.notify_at_percent {
        [] if entry.account.key.window.is_rate() => None,
        [] => Some(&[PERCENT_DEFAULT]),
        named => Some(named),
    }
}

impl Watch {
    /// The next event, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Looks at a limit whose count may have changed.
    pub fn look(&mut self, entry: &Entry, now: Moment) {
        let Some(percents) = percents_of(entry) else { return };
        let account = &entry.account;
        let level = account.level(now);
        let lowest = percents.iter().copied().min().unwrap_or(PERCENT_DEFAULT).min(NEARLY_PERCENT);
        // A limit of nothing is a lock and no budget: there is nothing to use up.
        if level.limit == 0 || !has_reached(&level, lowest) {
            return;
        }
        let watched = self.watched.entry(account.key.clone()).or_insert_with(|| Watched {
            account: Arc::clone(account),
            percents: percents.into(),
            bounds: Bounds::NONE,
            told: Told::default(),
        });
        watched.look(&level, now, &mut self.events);
    }

    /// Takes the limits of a configuration over: forgets those that are gone, and looks at all that are there. What was
    /// told stands where it is still so under another value.
    pub fn adopt(&mut self, plan: &Plan, now: Moment) {
        let mut before = std::mem::take(&mut self.watched);
        for entry in plan.entries() {
            if let Some(watched) = before.remove(&entry.account.key) {
                self.keep(entry, watched.told, now);
            }
            self.look(entry, now);
        }
    }

    /// What was told before this process, of limits of a configuration.
    pub fn restore(&mut self, plan: &Plan, mut told: impl FnMut(&Key) -> Option<Told>, now: Moment) {
        for entry in plan.entries() {
            if let Some(told) = told(&entry.account.key) {
                self.keep(entry, told, now);
            }
        }
    }

    /// Goes on with what was told of a limit.
    fn keep(&mut self, entry: &Entry, mut told: Told, now: Moment) {
        let Some(percents) = percents_of(entry) else { return };
        let level = entry.account.level(now);
        if let Some(marks) = told.windows.iter_mut().find(|marks| marks.epoch == told.current) {
            // Under a higher value it will be so again.
            for percent in (1..=100).filter(|percent| !has_reached(&level, *percent)) {
                marks.percents &= !(1 << percent);
            }
            marks.is_exhausted &= has_reached(&level, NEARLY_PERCENT);
        }
        let account = Arc::clone(&entry.account);
        let watched = Watched { account, percents: percents.into(), bounds: Bounds::NONE, told };
        self.watched.insert(entry.account.key.clone(), watched);
    }

    /// Looks at the limits near their value, now and then.
    pub fn poll(&mut self, now: Moment) {
        if now.steady_ms < self.next_poll_ms {
            return;
        }
        self.next_poll_ms = now.steady_ms + POLL_INTERVAL_MS;
        let events = &mut self.events;
        self.watched.retain(|_, watched| {
            if watched.has_news(now) {
                let level = watched.account.level(now);
                watched.look(&level, now, events);
                let lowest = watched.percents.iter().copied().min().unwrap_or(PERCENT_DEFAULT);
                return !watched.told.windows.is_empty() || has_reached(&level, lowest.min(NEARLY_PERCENT));
            }
            true
        });
    }

    /// What was told of each limit, for the checkpoint.
    pub fn told(&self) -> impl Iterator<Item = (&Key, &Told)> {
        let told = self.watched.iter().map(|(key, watched)| (key, &watched.told));
        told.filter(|(_, told)| !told.windows.is_empty())
    }
}

impl Watched {
    /// Whether a look can find anything but what is known: the end of a window, or a request turned away.
    fn has_news(&self, now: Moment) -> bool {
        let current = self.told.windows.iter().find(|marks| marks.epoch == self.told.current);
        let is_told = current.is_some_and(|marks| marks.is_exhausted);
        let span = self.account.span();
        span.is_rolling() || !self.bounds.contains(now.wall_ms) || (!is_told && self.account.refuses())
    }

    fn look(&mut self, level: &Level, now: Moment, events: &mut VecDeque<Event>) {
        let span = self.account.span();
        let (epoch, from_ms, until_ms) = if span.is_rolling() {
            let length_ms = self.account.key.window.rolling_length().unwrap_or_default().as_millis() as u64;
            (0, now.wall_ms.saturating_sub(length_ms), now.wall_ms)
        } else {
            if !self.bounds.contains(now.wall_ms) {
                self.bounds = span.bounds(now.wall_ms);
            }
            (self.bounds.epoch, self.bounds.from, self.bounds.until)
        };
        let mut tell = |kind| {
            events.push_back(Event {
                kind,
                key: self.account.key.clone(),
                limit: level.limit,
                used: level.used,
                from_ms,
                until_ms,
                at_ms: now.wall_ms,
            });
        };
        let told = &mut self.told;
        let was_told = |told: &Told| told.windows.iter().any(|marks| marks.epoch == told.current);
        if span.is_rolling() {
            let is_over = told.windows.first().is_some_and(|marks| {
                let lowest =
                    if marks.percents == 0 { NEARLY_PERCENT } else { marks.percents.trailing_zeros() as u8 };
                now.steady_ms >= marks.since_ms.saturating_add(until_ms - from_ms)
                    && !has_reached(level, lowest)
            });
            if is_over {
                told.windows.clear();
                tell(Kind::Reset);
            }
        } else if epoch != told.current {
            // Back in a window that was left by the clock: nothing is over.
            if epoch > told.current && was_told(told) {
                tell(Kind::Reset);
            }
            told.current = epoch;
            let oldest = epoch.saturating_sub(3 * (until_ms - from_ms));
            told.windows.retain(|marks| marks.epoch >= oldest);
        }
        let known = told.windows.iter().position(|marks| marks.epoch == epoch);
        let mut marks = match known {
            Some(at) => told.windows[at],
            None => Marks { epoch, since_ms: now.steady_ms, percents: 0, is_exhausted: false },
        };
        let before = marks;
        for percent in self.percents.iter().copied().filter(|percent| has_reached(level, *percent)) {
            if marks.percents & 1 << percent == 0 {
                marks.percents |= 1 << percent;
                tell(Kind::Threshold { percent });
            }
        }
        if !marks.is_exhausted && is_exhausted(&self.account, level) {
            marks.is_exhausted = true;
            tell(Kind::Exhausted);
        }
        match known {
            _ if marks == before || marks.is_empty() => {}
            Some(at) => told.windows[at] = marks,
            None => {
                if told.windows.len() == WINDOWS_MAX {
                    told.windows.remove(0);
                }
                told.windows.push(marks);
            }
        }
    }
}

#[cfg(test)]
mod tests;
