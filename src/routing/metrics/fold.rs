//! Finished calls, folded into what the policies of the configuration in force read.
//!
//! Pure: calls and moments in, views out. Everything is kept by the ids of models and projects, so that it survives a
//! reload; a series that no policy of the new configuration needs is dropped, one that is new begins empty. Work and
//! memory are bounded: by the rows that a tick computes ([`METRIC_ROWS_PER_TICK_MAX`]) and by the windows of projects
//! ([`METRIC_PROJECT_WINDOWS_MAX`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::finished::Finished;
use super::series::{CallSums, HealthSums, PerformanceSums, Places, Series, SuccessSums, Sums};
use super::slots::Slots;
use super::{Decaying, Plan, ProjectWindow, View};
use crate::budget::window::Moment;
use crate::limits::{METRIC_PROJECT_WINDOWS_MAX, METRIC_ROWS_PER_TICK_MAX, SNAPSHOTS_KEPT_MAX};

/// The ids behind a configuration's indexes.
#[derive(Debug, Clone, Default)]
pub struct Names<'c> {
    /// Ids of the models.
    pub models: Vec<&'c str>,
    /// Ids of the projects, with the indexes of their models.
    pub projects: Vec<(&'c str, Vec<u32>)>,
}

/// One configuration's indexes as slots.
#[derive(Debug)]
struct Generation {
    number: u64,
    models: Vec<u32>,
    projects: Vec<u32>,
}

/// The state behind the views.
#[derive(Debug, Default)]
pub struct Fold {
    /// Configurations that calls may still come from, the one in force last.
    generations: VecDeque<Generation>,
    models: Slots,
    projects: Slots,
    health: Kind<Decaying, HealthSums>,
    performance: Kind<Decaying, PerformanceSums>,
    calls: Kind<u64, CallSums>,
    /// Keyed by slot of the project and length of the window.
    successes: Kind<(u32, u64), SuccessSums>,
    /// Places in `successes` by slot of the project.
    series_of_project: HashMap<u32, Vec<u32>, FixedState>,
    /// Windows in all of `successes`, as of the last tick, and those opened since.
    project_windows: usize,
    has_changed: bool,
}

impl Fold {
    /// From here on the views are those of this configuration.
    pub fn adopt(&mut self, generation: u64, names: &Names<'_>, plan: &Plan, now: Moment) {
        let now_ms = now.steady_ms;
        let models: Vec<u32> = names.models.iter().map(|id| self.models.of(id)).collect();
        let projects: Vec<u32> = names.projects.iter().map(|(id, _)| self.projects.of(id)).collect();

        let places: Arc<Places> = Arc::new(places(models.iter().copied()));
        let rows = models.len();
        self.health.adopt(&plan.health, |window| *window);
        self.performance.adopt(&plan.performance, |window| *window);
        self.calls.adopt(&plan.calls, |window_ms| counting(*window_ms));
        self.health.arrange(|_| (Arc::clone(&places), rows), now_ms);
        self.performance.arrange(|_| (Arc::clone(&places), rows), now_ms);
        self.calls.arrange(|_| (Arc::clone(&places), rows), now_ms);

        let keys: Vec<(u32, u64)> = plan
            .successes
            .iter()
            .map(|ProjectWindow { project, window_ms }| (projects[*project as usize], *window_ms))
            .collect();
        self.successes.adopt(&keys, |(_, window_ms)| counting(*window_ms));
        let models_of_project = |index: usize| {
            let (_, members) = &names.projects[plan.successes[index].project as usize];
            (Arc::new(self::places(members.iter().map(|model| models[*model as usize]))), members.len())
        };
        self.successes.arrange(models_of_project, now_ms);
        self.series_of_project.clear();
        for (index, (project, _)) in keys.iter().enumerate() {
            self.series_of_project.entry(*project).or_default().push(index as u32);
        }

        self.generations.push_back(Generation { number: generation, models, projects });
        if self.generations.len() > SNAPSHOTS_KEPT_MAX {
            self.generations.pop_front();
        }
        self.forget_unused();
        self.has_changed = true;
    }

    /// Adds a call. One of a configuration that is no longer known is left out.
    pub fn record(&mut self, call: &Finished, now: Moment) {
        let Some(generation) = self.generations.iter().rev().find(|known| known.number == call.generation)
        else {
            return;
        };
        let Some(model) = generation.models.get(call.model as usize).copied() else { return };
        // By age, so that a wall clock that is set moves nothing but the calls of this moment.
        let at_ms = now.steady_ms.saturating_sub(now.wall_ms.saturating_sub(call.finished_ms));
        let call = Finished { finished_ms: call.finished_ms.min(now.wall_ms), ..*call };
        self.health.record(model, &call, at_ms);
        self.performance.record(model, &call, at_ms);
        self.calls.record(model, &call, at_ms);
        let project = generation.projects.get(call.project as usize);
        for index in project.and_then(|slot| self.series_of_project.get(slot)).into_iter().flatten() {
            let windows_left = self.project_windows < METRIC_PROJECT_WINDOWS_MAX;
            let series = &mut self.successes.series[*index as usize];
            self.project_windows += usize::from(series.record(model, &call, at_ms, windows_left));
        }
    }

    /// Computes what calls and time have changed; a view where that is anything.
    pub fn tick(&mut self, now: Moment) -> Option<View> {
        let now_ms = now.steady_ms;
        // No short circuit: every kind has its turn.
        let mut has_changed = std::mem::take(&mut self.has_changed);
        has_changed |= self.health.refresh(now_ms);
        has_changed |= self.performance.refresh(now_ms);
        has_changed |= self.calls.refresh(now_ms);
        has_changed |= self.successes.refresh(now_ms);
        self.project_windows = self.successes.series.iter().map(Series::windows).sum();
        has_changed.then(|| self.view())
    }

    fn view(&self) -> View {
        View {
            generation: self.generations.back().map_or(0, |generation| generation.number),
            health: self.health.rows(),
            performance: self.performance.rows(),
            calls: self.calls.rows(),
            successes: self.successes.rows(),
        }
    }

    /// Lets go of models and projects that no known configuration has.
    fn forget_unused(&mut self) {
        let used = |of: fn(&Generation) -> &Vec<u32>| -> HashSet<u32> {
            self.generations.iter().flat_map(|generation| of(generation).iter().copied()).collect()
        };
        let (models, projects) =
            (used(|generation| &generation.models), used(|generation| &generation.projects));
        for slot in self.models.retain(|slot| models.contains(&slot)) {
            self.health.forget(slot);
            self.performance.forget(slot);
            self.calls.forget(slot);
            self.successes.forget(slot);
        }
        self.projects.retain(|slot| projects.contains(&slot));
    }
}

/// The series of one kind, with what tells them apart.
#[derive(Debug)]
struct Kind<K, S: Sums> {
    keys: Vec<K>,
    series: Vec<Series<S>>,
    /// Whose turn is first at the next tick.
    next: usize,
}

impl<K, S: Sums> Default for Kind<K, S> {
    fn default() -> Self {
        Self { keys: Vec::new(), series: Vec::new(), next: 0 }
    }
}

impl<K: Copy + Eq + std::hash::Hash, S: Sums> Kind<K, S> {
    /// Keeps the series of known keys, in the new order.
    fn adopt(&mut self, keys: &[K], window: impl Fn(&K) -> Decaying) {
        let mut known: HashMap<K, Series<S>> = self.keys.drain(..).zip(self.series.drain(..)).collect();
        self.series =
            keys.iter().map(|key| known.remove(key).unwrap_or_else(|| Series::new(window(key)))).collect();
        self.keys = keys.to_vec();
    }

    /// `order`: where each model's row is, and how many there are.
    fn arrange(&mut self, order: impl Fn(usize) -> (Arc<Places>, usize), now_ms: u64) {
        for (index, series) in self.series.iter_mut().enumerate() {
            let (places, rows) = order(index);
            series.arrange(places, rows, now_ms);
        }
    }

    fn record(&mut self, model: u32, call: &Finished, at_ms: u64) {
        for series in &mut self.series {
            series.record(model, call, at_ms, true);
        }
    }

    fn refresh(&mut self, now_ms: u64) -> bool {
        let (mut rows_left, mut has_changed) = (METRIC_ROWS_PER_TICK_MAX, false);
        let count = self.series.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            has_changed |= self.series[index].refresh(now_ms, &mut rows_left);
            if rows_left == 0 {
                // It may not be through: it begins the next tick.
                self.next = index;
                break;
            }
        }
        has_changed
    }

    fn rows(&self) -> Vec<Arc<[S::Row]>> {
        self.series.iter().map(|series| Arc::clone(series.rows())).collect()
    }

    fn forget(&mut self, slot: u32) {
        self.series.iter_mut().for_each(|series| series.forget(slot));
    }
}

fn counting(window_ms: u64) -> Decaying {
    Decaying { window_ms, half_life_ms: 0 }
}

fn places(slots: impl Iterator<Item = u32>) -> Places {
    slots.zip(0..).collect()
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
