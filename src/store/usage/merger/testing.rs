//! The merger in the hands of tests: when syncs end, and what the disk refuses.

use std::time::Instant;

use super::{Fold, MergeStats, Merger, Nobody, StoreHealth};
use crate::store::usage::segment::Faults;

impl Merger {
    /// A tick and the end of the sync that it began.
    pub(in crate::store::usage) fn tick_to_the_end(&mut self, now: Instant, unix_ms: u64) -> MergeStats {
        let mut stats = self.tick(now, unix_ms, &mut Nobody);
        self.wait_for_sync(now, unix_ms, &mut Nobody, &mut stats);
        stats.degraded = self.recovery_due.is_some() || self.health() != StoreHealth::Healthy;
        stats
    }

    /// A tick that finds the sync before it ended, or still under way.
    pub(crate) fn tick_with(
        &mut self,
        sync_has_ended: bool,
        now: Instant,
        unix_ms: u64,
        fold: &mut dyn Fold,
    ) -> MergeStats {
        let mut stats = MergeStats::default();
        if sync_has_ended {
            self.wait_for_sync(now, unix_ms, fold, &mut stats);
        }
        self.syncer.is_held = !sync_has_ended;
        stats += self.tick(now, unix_ms, fold);
        self.syncer.is_held = false;
        stats
    }

    pub(in crate::store::usage) fn faults(&mut self) -> &mut Faults {
        &mut self.store.file.faults
    }
}
