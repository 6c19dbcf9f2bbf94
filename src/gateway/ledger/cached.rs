//! What the books say of caches: an answer that cost nothing, a decision that was made before.

use super::{Ending, Ledger, Open};
use crate::cache::Saved;
use crate::clock;
use crate::dialect::Usage;
use crate::store::usage::CacheUse;
use crate::telemetry::labels::{CallType, EndedBy, Outcome, UsageSource};

/// What a cache had to do with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CachePart {
    /// It was looked for, or refreshed, and comes from a provider.
    Missed,
    /// The answer was there.
    Answered,
}

impl Ledger {
    /// The answer is not in a cache, and may be kept in one.
    pub(in crate::gateway) fn missed_cache(&mut self) {
        self.cache_part = Some(CachePart::Missed);
    }

    /// Which model is asked was decided by a request of this similarity.
    pub(in crate::gateway) fn decided_by_cache(&mut self, similarity: f32) {
        self.cache_use = Some(CacheUse { similarity: Some(similarity), ..CacheUse::default() });
    }

    /// The answer was kept from an earlier one by this target: recorded at no cost, with what it saves.
    pub(in crate::gateway) fn answered_from_cache(
        &mut self,
        target: usize,
        saved: &Saved,
        similarity: Option<f32>,
    ) {
        let now = clock::now();
        self.call_type = CallType::Cache;
        self.cache_part = Some(CachePart::Answered);
        self.cache_use = Some(CacheUse {
            similarity,
            saved_input: saved.input,
            saved_output: saved.output,
            saved_cost: Some(saved.cost),
        });
        self.last_target = Some(target);
        self.status = 200;
        self.first_byte = Some(now.duration_since(self.started));
        (self.outcome, self.ended_by) = (Outcome::Success, EndedBy::Gateway);
        let ending = Ending { outcome: Outcome::Success, ended_by: EndedBy::Gateway, error: None };
        let open = Open { target, model_index: target as u32, attempt: self.attempts };
        self.book(open, Usage::default(), UsageSource::None, &ending);
    }

    /// What `x-routerly-cache` says in the answer.
    pub(in crate::gateway) fn cache_field(&self) -> Option<&'static str> {
        self.cache_part.map(|part| match part {
            CachePart::Missed => "miss",
            CachePart::Answered => "hit",
        })
    }

    /// The target whose answer of status 200 was relayed whole, and what it cost.
    pub(in crate::gateway) fn answered_well(&self) -> Option<(usize, Saved)> {
        let is_well = self.outcome == Outcome::Success && self.status == 200 && self.open.is_none();
        let target = self.last_target.filter(|_| is_well)?;
        let cost = self.view.snapshot.targets[target].price.cost(&self.usage).total();
        Some((target, Saved { input: self.usage.input, output: self.usage.output, cost }))
    }
}
