//! What one request holds of its limits, from admission to settlement.
//!
//! ```text
//! open ─▶ admit: a call of the whole request ─▶ choose: tokens and cost, and all of the chosen model's limits
//!                                                 │  refused, or the attempt failed: choose the next model
//!                                                 ▼
//!                              settle: what the attempt used takes the place of what it held
//! ```
//!
//! An attempt that does not count as a call leaves the request's own call reserved for the next one. What is held when
//! the hold is dropped is released. Accounts that are counted and not enforced are charged at settlement. Everything is
//! charged to the windows of the admission.

use std::ops::Deref;

use super::account::{Full, Place};
use super::key::Amounts;
use super::plan::{Chain, Entry, Plan, Who};
use super::window::Moment;
use crate::config::Metric;

/// What a stream holds beyond its reservation grows by this part of what it holds.
const GROWTH_PART: u64 = 8;

/// A request was not admitted: which limit has no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Index of the limit in the plan.
    pub entry: u32,
    /// Its count.
    pub full: Full,
}

/// Something reserved on one account.
#[derive(Debug, Clone, Copy)]
struct Held {
    entry: u32,
    place: Place,
    amount: u64,
    /// Comes on top of what is held on the same account: what was used is charged there.
    is_more: bool,
}

/// The reservations of one request on one core. `P` leads to the plan that they were made by.
#[derive(Debug)]
pub struct Hold<P: Deref<Target: AsRef<Plan>>> {
    plan: P,
    core: usize,
    who: Who,
    admitted: Moment,
    whole: Chain,
    model: Chain,
    /// First those of [`Hold::admit`], then those of [`Hold::choose`].
    held: Vec<Held>,
    /// How many are of the first kind.
    calls: usize,
    has_calls: bool,
    /// The model that the second kind is for.
    chosen: Option<u32>,
}

impl<P: Deref<Target: AsRef<Plan>>> Hold<P> {
    /// Nothing held yet. `admitted` names the windows that all this is charged to.
    pub fn open(plan: P, core: usize, who: Who, admitted: Moment) -> Self {
        let whole = plan.as_ref().whole(who);
        Self {
            plan,
            core,
            who,
            admitted,
            whole,
            model: Chain::default(),
            held: Vec::new(),
            calls: 0,
            has_calls: false,
            chosen: None,
        }
    }

    /// Reserves a call on the limits of the whole request, and sees that none of its other limits is reached.
    ///
    /// # Errors
    /// The limit without room. Nothing is held.
    pub fn admit(&mut self, ask: &Amounts) -> Result<(), Refusal> {
        self.look(self.whole)?;
        let admitted = self.reserve(self.whole, ask, |metric| metric == Metric::Calls, 0);
        self.calls = self.held.len();
        self.has_calls = admitted.is_ok();
        admitted
    }

    /// Reserves what is left of the request's limits and those of a model, instead of another model's.
    ///
    /// # Errors
    /// The limit without room. Only the request's call is held.
    pub fn choose(&mut self, model: u32, ask: &Amounts) -> Result<(), Refusal> {
        self.release(self.calls);
        self.chosen = None;
        self.model = self.plan.as_ref().model(self.who, model);
        self.look(self.model)?;
        self.reserve(self.whole, ask, |metric| metric != Metric::Calls, self.calls)?;
        self.reserve(self.model, ask, |_| true, self.calls)?;
        self.chosen = Some(model);
        Ok(())
    }

    /// A cheap look at limits that refused the last one, before anything is reserved that would have to be given back.
    fn look(&self, chain: Chain) -> Result<(), Refusal> {
        let plan = self.plan.as_ref();
        for (entry, enforced) in chain.entries() {
            let account = &plan.entry(entry).account;
            if enforced && account.refuses() {
                account.look(self.admitted).map_err(|full| Refusal { entry, full })?;
            }
        }
        Ok(())
    }

    fn reserve(
        &mut self,
        chain: Chain,
        ask: &Amounts,
        counts: impl Fn(Metric) -> bool,
        keep: usize,
    ) -> Result<(), Refusal> {
        let plan = self.plan.as_ref();
        for (entry, enforced) in chain.entries() {
            let account = &plan.entry(entry).account;
            if !enforced || !counts(account.key.metric) {
                continue;
            }
            let amount = ask.of(account.key.metric);
            match account.reserve(self.core, amount, self.admitted) {
                Ok(place) => self.held.push(Held { entry, place, amount, is_more: false }),
                Err(full) => {
                    self.release(keep);
                    return Err(Refusal { entry, full });
                }
            }
        }
        Ok(())
    }

    /// Whether a limit that is held wants a stream to end that would go beyond it.
    pub fn stops_streams(&self) -> bool {
        let plan = self.plan.as_ref();
        self.held.iter().any(|held| plan.entry(held.entry).stops_streams)
    }

    /// Holds what the chosen model has used so far and nobody expected, on the limits that stop streams. What is within
    /// the reservation was admitted.
    ///
    /// # Errors
    /// The limit without room for it. Everything else is held as before.
    pub fn grow(&mut self, used: &Amounts) -> Result<(), Refusal> {
        for index in 0..self.held.len() {
            let Held { entry, is_more, .. } = self.held[index];
            let Entry { account, stops_streams, .. } = self.plan.as_ref().entry(entry);
            if is_more || !stops_streams || account.key.metric == Metric::Calls {
                continue;
            }
            let of_entry = self.held.iter().filter(|held| held.entry == entry);
            let amount = of_entry.fold(0_u64, |sum, held| sum.saturating_add(held.amount));
            let lacking = used.of(account.key.metric).saturating_sub(amount);
            if lacking == 0 {
                continue;
            }
            // Some more than that: a long stream needs few steps.
            let ahead = lacking.saturating_add(amount / GROWTH_PART);
            let reserve =
                |amount| account.reserve(self.core, amount, self.admitted).map(|place| (place, amount));
            let reserved = reserve(ahead).or_else(|_| reserve(lacking));
            let (place, amount) = reserved.map_err(|full| Refusal { entry, full })?;
            self.held.push(Held { entry, place, amount, is_more: true });
        }
        Ok(())
    }

    /// Gives back all but the first `keep`.
    fn release(&mut self, keep: usize) {
        let plan = self.plan.as_ref();
        for held in self.held.drain(keep.min(self.held.len())..) {
            plan.entry(held.entry).account.settle(self.core, held.place, held.amount, 0);
        }
    }

    /// Charges what an attempt with a model has used, in place of what was held for it; a model that was not chosen (a
    /// second one asked at the same time, one that a policy asks) is charged and nothing given up for it. After an attempt
    /// that is no call (`used.calls` is 0) the request still holds its own.
    pub fn settle(&mut self, model: u32, used: &Amounts) {
        let plan = self.plan.as_ref();
        let is_chosen = self.chosen == Some(model);
        let of_model = if is_chosen { self.model } else { plan.model(self.who, model) };
        let (calls, has_calls, core) = (self.calls, self.has_calls, self.core);
        let mut index = 0;
        self.held.retain(|held| {
            let ends = if index < calls { used.calls > 0 } else { is_chosen };
            index += 1;
            if ends {
                let account = &plan.entry(held.entry).account;
                let used = if held.is_more { 0 } else { used.of(account.key.metric) };
                account.settle(core, held.place, held.amount, used);
            }
            !ends
        });
        let whole = self.whole.entries().map(|(entry, enforced)| (entry, enforced, true));
        let model = of_model.entries().map(|(entry, enforced)| (entry, enforced, false));
        for (entry, enforced, is_whole) in whole.chain(model) {
            let account = &plan.entry(entry).account;
            let metric = account.key.metric;
            let was_held = if is_whole && metric == Metric::Calls { has_calls } else { is_chosen };
            if !(enforced && was_held) {
                account.charge(core, used.of(metric), self.admitted);
            }
        }
        if is_chosen {
            self.chosen = None;
        }
        if used.calls > 0 {
            self.has_calls = false;
            self.calls = 0;
        }
    }

    /// Whether limits on tokens or cost are enforced on the request with a model: only then does it matter how many it
    /// may use.
    pub fn needs_amounts(&self, model: u32) -> bool {
        self.whole.enforces_amounts() || self.plan.as_ref().model(self.who, model).enforces_amounts()
    }

    /// The plan that the reservations were made by.
    pub fn plan(&self) -> &Plan {
        self.plan.as_ref()
    }

    /// Whether rates are enforced on this request, those of the chosen model included.
    #[inline]
    pub fn has_rates(&self) -> bool {
        self.whole.enforces_rates() || self.model.enforces_rates()
    }

    /// The limits that are enforced on this request, those of the chosen model included.
    pub fn enforced(&self) -> impl Iterator<Item = u32> {
        let entries = self.whole.entries().chain(self.model.entries());
        entries.filter_map(|(entry, enforced)| enforced.then_some(entry))
    }

    /// When the request was admitted.
    pub fn admitted(&self) -> Moment {
        self.admitted
    }
}

impl<P: Deref<Target: AsRef<Plan>>> Drop for Hold<P> {
    fn drop(&mut self) {
        self.release(0);
    }
}

#[cfg(test)]
mod tests;
