//! The last finished traces of one core.

use std::sync::Arc;

use super::finished::Trace;
use crate::limits::{SNAPSHOTS_KEPT_MAX, TRACE_LIVE_MS};
use crate::snapshot::Snapshot;
use crate::telemetry::ids::TraceId;

/// A finished trace, with others or alone.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; a box would cost each request an allocation"
)]
enum Slot {
    /// The usual case: no memory of its own beyond the ring's.
    Own(Trace),
    /// On its way to the disk as well.
    Shared(Arc<Trace>),
}

impl Slot {
    fn trace(&self) -> &Trace {
        match self {
            Self::Own(trace) => trace,
            Self::Shared(trace) => trace,
        }
    }
}

/// A trace and the configuration that its indexes belong to.
#[derive(Debug, Clone)]
pub struct Recent {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// The trace.
    pub trace: Trace,
}

/// Which traces are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The one of that id.
    pub id: Option<TraceId>,
    /// Those of a project, by its id.
    pub project: Option<String>,
    /// Those in which something failed.
    pub failed: bool,
    /// How many at most, the newest.
    pub limit: usize,
}

impl Wanted {
    fn is_met(&self, trace: &Trace, snapshot: &Snapshot) -> bool {
        self.id.is_none_or(|id| id == trace.id)
            && (!self.failed || trace.has_failed())
            && self.project.as_deref().is_none_or(|wanted| {
                snapshot.config.projects().get(trace.project as usize).is_some_and(|own| own.id == wanted)
            })
    }
}

/// A ring of traces: grows up to its bound, then the newest takes the place of the oldest.
#[derive(Debug, Default)]
pub struct Ring {
    slots: Vec<Slot>,
    /// Where the next one goes once all places are taken.
    next: usize,
    capacity: usize,
    /// Configurations that traces may belong to, newest last.
    snapshots: Vec<Arc<Snapshot>>,
}

impl Ring {
    /// A new configuration is in force: it may set another bound, and the oldest one is forgotten with its traces.
    pub fn renew(&mut self, snapshot: &Arc<Snapshot>) {
        let capacity = snapshot.config.settings().traces.recent;
        if capacity < self.slots.len() {
            // The newest stay.
            self.slots.rotate_left(self.next);
            self.slots.drain(..self.slots.len() - capacity);
            self.slots.shrink_to_fit();
            self.next = 0;
        } else if capacity > self.slots.len() {
            self.slots.rotate_left(self.next);
            self.next = 0;
        }
        self.capacity = capacity;
        self.snapshots.push(Arc::clone(snapshot));
        if self.snapshots.len() > SNAPSHOTS_KEPT_MAX {
            self.snapshots.remove(0);
        }
    }

    /// Takes a trace in. Returns the one that made room for it, unless somebody else has it as well.
    #[inline]
    pub fn push(&mut self, trace: Trace) -> Option<Trace> {
        self.put(Slot::Own(trace))
    }

    /// [`Ring::push`] for one that somebody else has as well.
    pub fn push_shared(&mut self, trace: Arc<Trace>) -> Option<Trace> {
        self.put(Slot::Shared(trace))
    }

    #[inline]
    fn put(&mut self, slot: Slot) -> Option<Trace> {
        if self.slots.len() < self.capacity {
            self.slots.push(slot);
            return None;
        }
        let old = std::mem::replace(self.slots.get_mut(self.next)?, slot);
        self.next += 1;
        if self.next == self.capacity {
            self.next = 0;
        }
        match old {
            Slot::Own(trace) => Some(trace),
            Slot::Shared(trace) => Arc::into_inner(trace),
        }
    }

    /// The newest of those that are wanted and not too old at `now_unix_ms`, newest first.
    pub fn find(&self, wanted: &Wanted, now_unix_ms: u64) -> Vec<Recent> {
        let (newer, older) = self.slots.split_at(self.next.min(self.slots.len()));
        newer
            .iter()
            .rev()
            .chain(older.iter().rev())
            .map(Slot::trace)
            .filter(|trace| trace.finished_ms.saturating_add(TRACE_LIVE_MS) > now_unix_ms)
            .filter_map(|trace| {
                let snapshot = self.snapshots.iter().find(|known| known.generation == trace.generation)?;
                wanted
                    .is_met(trace, snapshot)
                    .then(|| Recent { snapshot: Arc::clone(snapshot), trace: trace.clone() })
            })
            .take(wanted.limit)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::Outcome;
    use crate::trace::finished::tests::trace;
    use crate::trace::json::tests::snapshot;

    fn configured(generation: u64, recent: usize) -> Arc<Snapshot> {
        Arc::new(snapshot(generation, &serde_json::json!({"traces": {"recent": recent}})))
    }

    fn held(ring: &Ring, now: u64) -> Vec<u64> {
        let all = Wanted { limit: 1_000, ..Wanted::default() };
        ring.find(&all, now).iter().map(|recent| recent.trace.finished_ms).collect()
    }

    #[test]
    fn the_newest_are_held_up_to_the_bound_that_is_in_force() {
        let mut ring = Ring::default();
        ring.push(trace(1, Outcome::Success, vec![]));
        assert_eq!(held(&ring, 1), [0; 0], "nothing before a configuration");
        ring.renew(&configured(1, 3));
        for finished in 1..=5 {
            let one = trace(finished, Outcome::Success, vec![]);
            let old = if finished % 2 == 0 { ring.push(one) } else { ring.push_shared(Arc::new(one)) };
            let made_room = (finished > 3).then(|| finished - 3);
            assert_eq!(old.map(|old| old.finished_ms), made_room);
        }
        assert_eq!(held(&ring, 5), [5, 4, 3]);
        ring.renew(&configured(2, 5));
        ring.push(trace(6, Outcome::Success, vec![]));
        assert_eq!(held(&ring, 6), [6, 5, 4, 3]);
        ring.renew(&configured(3, 2));
        assert_eq!(held(&ring, 6), [6, 5]);
        ring.push(trace(7, Outcome::Success, vec![]));
        assert_eq!(held(&ring, 7), [7, 6]);
        ring.renew(&configured(4, 0));
        ring.push(trace(8, Outcome::Success, vec![]));
        assert_eq!(held(&ring, 8), [0; 0]);
    }

    #[test]
    fn old_ones_and_those_of_forgotten_configurations_are_not_shown() {
        let mut ring = Ring::default();
        ring.renew(&configured(1, 10));
        ring.push(trace(1_000, Outcome::Success, vec![]));
        ring.push(trace(2_000, Outcome::Success, vec![]));
        assert_eq!(held(&ring, 1_000 + TRACE_LIVE_MS), [2_000]);
        for generation in 2..=SNAPSHOTS_KEPT_MAX as u64 {
            ring.renew(&configured(generation, 10));
        }
        assert_eq!(held(&ring, 2_000), [2_000, 1_000]);
        ring.renew(&configured(1 + SNAPSHOTS_KEPT_MAX as u64, 10));
        assert_eq!(held(&ring, 2_000), [0; 0]);
    }

    #[test]
    fn what_is_asked_for_is_found() {
        let mut ring = Ring::default();
        ring.renew(&configured(1, 10));
        for finished in 1..=4 {
            let outcome = if finished % 2 == 0 { Outcome::Error } else { Outcome::Success };
            ring.push(trace(finished, outcome, vec![]));
        }
        let id = trace(3, Outcome::Success, vec![]).id;
        let all = Wanted { limit: 10, ..Wanted::default() };
        let cases = [
            (Wanted { id: Some(id), ..all.clone() }, vec![3]),
            (Wanted { failed: true, ..all.clone() }, vec![4, 2]),
            (Wanted { limit: 1, ..all.clone() }, vec![4]),
            (Wanted { project: Some("p1".to_owned()), ..all.clone() }, vec![4, 3, 2, 1]),
            (Wanted { project: Some("p2".to_owned()), ..all }, vec![]),
        ];
        for (wanted, expected) in cases {
            let found: Vec<u64> = ring.find(&wanted, 4).iter().map(|one| one.trace.finished_ms).collect();
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}
