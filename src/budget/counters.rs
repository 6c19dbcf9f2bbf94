//! Counters of calls, tokens and money: per core, and their sum.
//!
//! A core counts in a table of its own, keyed by indices into its configuration snapshot, and gives away the difference
//! since the last time on each merge tick. The control side turns indices into ids and adds up. Pure: no clock, no
//! channel, no configuration; whoever owns the snapshots of a generation does the translation.
//!
//! Every sum saturates: a counter that stands still is better than one that starts over.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::budget::money::Picodollars;
use crate::budget::price::Cost;
use crate::dialect::Usage;
use crate::limits::COUNTER_KEYS_MAX;

/// Whose call it was: indices into the configuration of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CounterKey {
    /// The configuration snapshot that the request started with; indices mean nothing without it.
    pub generation: u64,
    /// Index of the project, or [`CounterKey::NONE`].
    pub project: u32,
    /// Index of the project that the token belongs to, which need not be the one that is billed.
    pub owner: u32,
    /// Index of the token among its project's, or [`CounterKey::NONE`].
    pub token: u32,
    /// Index of the model, or [`CounterKey::NONE`].
    pub model: u32,
}

impl CounterKey {
    /// Stands for "no project", "no token", "no model".
    pub const NONE: u32 = u32::MAX;
    /// Where calls are counted whose key no longer fits into a core's table.
    pub const OTHER: Self =
        Self { generation: 0, project: Self::NONE, owner: Self::NONE, token: Self::NONE, model: Self::NONE };
}

/// Sums over some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Input tokens, cached ones included.
    pub input_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// Input tokens read from a provider's cache.
    pub cached_input_tokens: u64,
    /// What the calls cost.
    pub cost: Picodollars,
}

impl Counts {
    /// Counts one call.
    #[inline]
    pub fn add_call(&mut self, failed: bool, usage: &Usage, cost: &Cost) {
        self.calls = self.calls.saturating_add(1);
        self.errors = self.errors.saturating_add(u64::from(failed));
        self.input_tokens = self.input_tokens.saturating_add(usage.input);
        self.output_tokens = self.output_tokens.saturating_add(usage.output);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(usage.cached_input);
        self.cost = self.cost.saturating_add(cost.total());
    }

    /// Adds the sums of other calls.
    pub fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cost = self.cost.saturating_add(other.cost);
    }
}

/// What a core counted since it was last asked.
pub type CounterDeltas = Vec<(CounterKey, Counts)>;

/// One core's counters.
#[derive(Debug)]
pub struct CoreCounters {
    table: HashMap<CounterKey, Counts, FixedState>,
}

impl Default for CoreCounters {
    fn default() -> Self {
        // The keys are our own indices, so a fixed seed gives nobody a handle.
        Self { table: HashMap::with_hasher(FixedState::default()) }
    }
}

impl CoreCounters {
    /// Counts one call under `key`; under [`CounterKey::OTHER`] when the table is full of other keys.
    #[inline]
    pub fn record(&mut self, key: CounterKey, failed: bool, usage: &Usage, cost: &Cost) {
        if let Some(counts) = self.table.get_mut(&key) {
            return counts.add_call(failed, usage, cost);
        }
        // One place is kept for "other".
        let key = if self.table.len() + 1 < COUNTER_KEYS_MAX { key } else { CounterKey::OTHER };
        self.table.entry(key).or_default().add_call(failed, usage, cost);
    }

    /// Whether nothing was counted since the last drain.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Appends everything counted since the last drain to `out` and starts at zero again. The table keeps its memory.
    pub fn drain(&mut self, out: &mut CounterDeltas) {
        out.extend(self.table.drain());
    }

    /// Takes back what could not be handed over, so that it goes with the next drain.
    pub fn restore(&mut self, deltas: &mut CounterDeltas) {
        for (key, counts) in deltas.drain(..) {
            self.table.entry(key).or_default().merge(&counts);
        }
    }
}

/// The ids behind a [`CounterKey`]; none where the key has no such part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterIds {
    /// Id of the project.
    pub project: Option<Arc<str>>,
    /// Id of the project token.
    pub token: Option<Arc<str>>,
    /// Id of the model.
    pub model: Option<Arc<str>>,
}

/// Sums over all cores since the process started: altogether, and per project, owner: project, token and model.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// All calls.
    pub all: Counts,
    /// Per project id.
    pub projects: HashMap<Arc<str>, Counts>,
    /// Per project token id.
    pub tokens: HashMap<Arc<str>, Counts>,
    /// Per model id.
    pub models: HashMap<Arc<str>, Counts>,
}

impl Totals {
    /// Adds a core's deltas and empties them. `ids` translates a key by the configuration of its generation; calls whose
    /// key it does not know count in the overall sum alone.
    pub fn merge(&mut self, deltas: &mut CounterDeltas, mut ids: impl FnMut(&CounterKey) -> CounterIds) {
        for (key, counts) in deltas.drain(..) {
            self.all.merge(&counts);
            let ids = ids(&key);
            let parts = [
                (&mut self.projects, ids.project),
                (&mut self.tokens, ids.token),
                (&mut self.models, ids.model),
            ];
            for (sums, id) in parts {
                if let Some(id) = id {
                    sums.entry(id).or_default().merge(&counts);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(generation: u64, project: u32, token: u32, model: u32) -> CounterKey {
        CounterKey { generation, project, owner: project, token, model }
    }

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input, output, cached_input: input / 2, ..Usage::default() }
    }

    fn cost(amount: u64) -> Cost {
        Cost { input: Picodollars(amount), output: Picodollars(0) }
    }

    #[test]
    fn a_drain_gives_the_difference_and_starts_over() {
        let mut counters = CoreCounters::default();
        let mut deltas = vec![];
        counters.record(key(1, 0, 0, 0), false, &usage(10, 2), &cost(7));
        counters.record(key(1, 0, 0, 0), true, &usage(1, 0), &cost(0));
        counters.drain(&mut deltas);
        let expected = Counts {
            calls: 2,
            errors: 1,
            input_tokens: 11,
            output_tokens: 2,
            cached_input_tokens: 5,
            cost: Picodollars(7),
        };
        assert_eq!(deltas, [(key(1, 0, 0, 0), expected)]);
        assert!(counters.is_empty());
        counters.restore(&mut deltas);
        counters.record(key(1, 0, 0, 0), false, &usage(0, 0), &cost(0));
        counters.drain(&mut deltas);
        assert_eq!(deltas, [(key(1, 0, 0, 0), Counts { calls: 3, ..expected })]);
    }

    #[test]
    fn the_same_indices_of_two_generations_are_different_keys() {
        let mut counters = CoreCounters::default();
        counters.record(key(1, 0, 0, 0), false, &usage(1, 1), &cost(1));
        counters.record(key(2, 0, 0, 0), false, &usage(1, 1), &cost(1));
        let (mut deltas, mut totals) = (vec![], Totals::default());
        counters.drain(&mut deltas);
        totals.merge(&mut deltas, |key| CounterIds {
            project: Some(format!("p{}", key.generation).into()),
            ..CounterIds::default()
        });
        assert_eq!((totals.projects["p1"].calls, totals.projects["p2"].calls, totals.all.calls), (1, 1, 2));
        assert!(totals.tokens.is_empty() && deltas.is_empty());
    }

    #[test]
    fn a_table_full_of_keys_counts_the_rest_together() {
        let mut counters = CoreCounters::default();
        let keys = COUNTER_KEYS_MAX as u32 + 100;
        for token in 0..keys {
            counters.record(key(1, 0, token, 0), false, &usage(1, 0), &cost(1));
        }
        let mut deltas = vec![];
        counters.drain(&mut deltas);
        assert_eq!(deltas.len(), COUNTER_KEYS_MAX);
        let other = deltas.iter().find(|(key, _)| *key == CounterKey::OTHER).unwrap();
        assert_eq!(other.1.calls, 101);
        assert_eq!(deltas.iter().map(|(_, counts)| counts.calls).sum::<u64>(), u64::from(keys));
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_cores_or_ticks(
            calls in prop::collection::vec(
                (0..3_usize, 0..4_u32, 0..4_u32, 0..1_000_u64, any::<bool>(), any::<bool>()), 0..200,
            ),
        ) {
            let mut cores: Vec<_> = (0..3).map(|_| CoreCounters::default()).collect();
            let (mut totals, mut deltas, mut expected) = (Totals::default(), vec![], Counts::default());
            let ids = |key: &CounterKey| CounterIds {
                model: Some(format!("m{}", key.model).into()),
                token: Some(format!("t{}", key.token).into()),
                project: None,
            };
            for (core, token, model, tokens, failed, tick) in calls {
                cores[core].record(key(1, 0, token, model), failed, &usage(tokens, 1), &cost(tokens));
                expected.add_call(failed, &usage(tokens, 1), &cost(tokens));
                if tick {
                    cores[core].drain(&mut deltas);
                    totals.merge(&mut deltas, ids);
                }
            }
            for core in &mut cores {
                core.drain(&mut deltas);
                totals.merge(&mut deltas, ids);
            }
            prop_assert_eq!(totals.all, expected);
            for sums in [&totals.models, &totals.tokens] {
                let mut sum = Counts::default();
                sums.values().for_each(|counts| sum.merge(counts));
                prop_assert_eq!(sum, expected);
            }
        }

        #[test]
        fn nothing_wraps(a in any::<[u64; 2]>(), b in any::<u64>()) {
            let mut counts = Counts::default();
            for _ in 0..3 {
                counts.add_call(true, &usage(a[0], a[1]), &cost(b));
                let twice = counts;
                counts.merge(&twice);
            }
            prop_assert!(counts.input_tokens >= a[0] && counts.cost >= Picodollars(b));
        }
    }
}
