//! Which model issued a response that its provider keeps (`previous_response_id`), so that what follows goes there at once.
//!
//! Digests alone, in two generations: when the younger one is full it becomes the older one, which is forgotten. A digest
//! that two ids have in common costs a call to the wrong provider, which says that it does not know the id.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Mutex;

use foldhash::fast::RandomState;

use super::lock;
use crate::limits::ISSUED_RESPONSES_MAX;

/// All of them, of all projects.
#[derive(Debug, Default)]
pub struct Issuers {
    hasher: RandomState,
    known: Mutex<Generations>,
}

/// Digests of the model, by those of project and id.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, u64, RandomState>,
    old: HashMap<u64, u64, RandomState>,
}

impl Issuers {
    /// `model` has answered `project` with a response of this id.
    pub fn put(&self, project: &str, id: &str, model: &str) {
        let (key, model) = (self.key(project, id), self.hasher.hash_one(model));
        let mut known = lock(&self.known);
        if known.young.len() >= ISSUED_RESPONSES_MAX / 2 {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(key, model);
    }

    /// Whom to ask for what follows the response: says of a model whether it has issued it. `None`: nobody knows.
    pub fn find(&self, project: &str, id: &str) -> Option<impl Fn(&str) -> bool + use<'_>> {
        let key = self.key(project, id);
        let known = lock(&self.known);
        let issuer = known.young.get(&key).or_else(|| known.old.get(&key)).copied()?;
        Some(move |model: &str| self.hasher.hash_one(model) == issuer)
    }

    fn key(&self, project: &str, id: &str) -> u64 {
        self.hasher.hash_one((project, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_known_to_its_project_alone() {
        let issuers = Issuers::default();
        issuers.put("p", "resp_1", "a");
        let is_issuer = issuers.find("p", "resp_1").unwrap();
        assert!(is_issuer("a") && !is_issuer("b"));
        assert!(issuers.find("q", "resp_1").is_none() && issuers.find("p", "resp_2").is_none());
        issuers.put("p", "resp_1", "b");
        assert!(issuers.find("p", "resp_1").unwrap()("b"));
    }

    #[test]
    fn the_last_ones_are_known_and_the_number_is_bounded() {
        let issuers = Issuers::default();
        for number in 0..2 * ISSUED_RESPONSES_MAX {
            issuers.put("p", &number.to_string(), "a");
            let known = lock(&issuers.known);
            assert!(known.young.len() + known.old.len() <= ISSUED_RESPONSES_MAX);
        }
        let last = 2 * ISSUED_RESPONSES_MAX - 1;
        assert!(
            (last - ISSUED_RESPONSES_MAX / 2 + 1..=last)
                .all(|id| issuers.find("p", &id.to_string()).is_some())
        );
        assert!(issuers.find("p", "0").is_none());
    }
}
