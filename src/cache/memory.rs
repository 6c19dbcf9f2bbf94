//! Which models answered the turns of a conversation.
//!
//! Source: the project's routing specification, section 6.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bounded::{Bounds, Store};
use super::lock;
use crate::limits::{CONVERSATION_DECISIONS_MAX, CONVERSATIONS_MAX, MIB};

/// How long a conversation is remembered after its last turn.
const TTL: Duration = Duration::from_secs(3_600);

type Key = (Arc<str>, Arc<str>);

/// All conversations, by project and the id that the client gives.
#[derive(Debug)]
pub struct Conversations {
    store: Mutex<Store<Key, VecDeque<Arc<str>>>>,
}

impl Conversations {
    pub(super) fn new(now: Instant) -> Self {
        let bounds = Bounds { count: CONVERSATIONS_MAX, bytes: 32 * MIB };
        Self { store: Mutex::new(Store::new(now, bounds)) }
    }

    /// The last `count` models, the latest one last.
    pub fn last(&self, project: &str, conversation: &str, count: usize, now: Instant) -> Vec<Arc<str>> {
        let key = (project.into(), conversation.into());
        let mut store = lock(&self.store);
        let Some(models) = store.get(&key, now) else { return Vec::new() };
        models.iter().skip(models.len().saturating_sub(count)).cloned().collect()
    }

    /// `model` has answered the next turn.
    pub fn answered(&self, project: &str, conversation: &str, model: &str, now: Instant) {
        let key: Key = (project.into(), conversation.into());
        let names = project.len() + conversation.len();
        let size = |models: &VecDeque<Arc<str>>| names + models.iter().map(|id| id.len() + 32).sum::<usize>();
        let mut store = lock(&self.store);
        if let Some(models) = store.get_mut(&key, now) {
            if models.len() == CONVERSATION_DECISIONS_MAX {
                models.pop_front();
            }
            models.push_back(model.into());
            let bytes = size(models);
            return store.renew(&key, bytes, TTL, now);
        }
        let models = VecDeque::from([Arc::from(model)]);
        let bytes = size(&models);
        store.put(key, models, bytes, TTL, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(models: &[Arc<str>]) -> Vec<&str> {
        models.iter().map(|id| &**id).collect()
    }

    #[test]
    fn a_conversation_is_its_projects_and_forgotten_after_an_hour() {
        let now = crate::clock::now();
        let memory = Conversations::new(now);
        memory.answered("p", "c", "a", now);
        memory.answered("p", "c", "b", now + TTL / 2);
        let later = now + TTL + TTL / 4;
        assert_eq!(ids(&memory.last("p", "c", 5, later)), ["a", "b"], "a turn begins the hour anew");
        assert_eq!(ids(&memory.last("p", "c", 1, later)), ["b"]);
        assert!(memory.last("q", "c", 5, later).is_empty() && memory.last("p", "d", 5, later).is_empty());
        assert!(memory.last("p", "c", 5, later + TTL).is_empty());
    }

    #[test]
    fn only_the_last_turns_are_kept() {
        let now = crate::clock::now();
        let memory = Conversations::new(now);
        for turn in 0..2 * CONVERSATION_DECISIONS_MAX {
            memory.answered("p", "c", &turn.to_string(), now);
        }
        let kept = memory.last("p", "c", usize::MAX, now);
        assert_eq!(kept.len(), CONVERSATION_DECISIONS_MAX);
        assert_eq!(&*kept[0], CONVERSATION_DECISIONS_MAX.to_string());
    }
}
