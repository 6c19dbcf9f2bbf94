//! The entries of one request, in order. The few that every request has need no memory of their own.

use std::sync::Arc;

use super::entry::Entry;
use crate::routing::Explained;

/// Entries that are held in place: routing without a choice, the call, its answer.
const IN_PLACE: usize = 3;
/// Most entries of one request; further ones are left out.
const STEPS_MAX: usize = 256;

/// How a ranking came about, held with others or alone.
pub type Ranking = Arc<Explained>;

/// An entry and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Milliseconds since the request's head.
    pub since_ms: u32,
    /// What happened.
    pub entry: Entry,
}

/// The steps of one request so far.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    first: [Option<Step>; IN_PLACE],
    rest: Vec<Step>,
}

impl Steps {
    /// Adds a step.
    #[inline]
    pub fn push(&mut self, step: Step) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(step),
            None if self.rest.len() < STEPS_MAX - IN_PLACE => self.rest.push(step),
            None => {}
        }
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Step> {
        self.first.iter().flatten().chain(&self.rest)
    }

    /// What it held of a ranking, if nobody else does: to be filled again.
    pub fn into_ranking(self) -> Option<Ranking> {
        let entries = self.first.into_iter().flatten().chain(self.rest).map(|step| step.entry);
        let mut explained = entries.filter_map(|entry| match entry {
            Entry::Routing(explained) => Some(explained),
            _ => None,
        });
        explained.find_map(|mut explained| Arc::get_mut(&mut explained).is_some().then_some(explained))
    }

    /// The newest one.
    pub fn last(&self) -> Option<&Step> {
        self.rest.last().or_else(|| self.first.iter().rev().flatten().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_their_order_in_place_and_beyond_up_to_a_bound() {
        let mut steps = Steps::default();
        assert_eq!(steps.last(), None);
        for number in 0..STEPS_MAX as u32 + 10 {
            steps.push(Step { since_ms: number, entry: Entry::Alone { target: number } });
            let last = steps.last().map(|step| step.since_ms);
            assert_eq!(last, Some(number.min(STEPS_MAX as u32 - 1)));
        }
        assert!(steps.iter().map(|step| step.since_ms).eq(0..STEPS_MAX as u32));
    }

    #[test]
    fn a_ranking_that_nobody_else_holds_is_given_back() {
        let held = Arc::new(Explained::default());
        let steps = |explained: &Arc<Explained>| {
            let mut steps = Steps::default();
            steps.push(Step { since_ms: 0, entry: Entry::Alone { target: 0 } });
            steps.push(Step { since_ms: 0, entry: Entry::Routing(Arc::clone(explained)) });
            steps
        };
        assert_eq!(steps(&held).into_ranking(), None);
        let alone = steps(&held);
        drop(held);
        assert_eq!(alone.into_ranking(), Some(Arc::default()));
        assert_eq!(Steps::default().into_ranking(), None);
    }

    #[test]
    fn the_steps_of_a_plain_request_need_no_memory_of_their_own() {
        let mut steps = Steps::default();
        for number in 0..IN_PLACE as u32 {
            steps.push(Step { since_ms: number, entry: Entry::Alone { target: 0 } });
        }
        assert_eq!(steps.rest.capacity(), 0);
    }
}
