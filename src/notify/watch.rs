//! What is looked at to see whether something is to be told: providers that fail, keys that are refused, the disk.
//!
//! The words that cores share are read from here now and then, so that no core has to tell anybody anything. Pure: facts and
//! time are arguments.

use std::collections::{HashMap, HashSet};

use super::event::Event;

/// For how long none of a provider's models may have been left alone before it is told again, in milliseconds.
const CALM_MS: u64 = 5 * 60 * 1000;

/// What was told, and whether it is still so.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Providers that were told of, and when one of their models was last left alone.
    failing: HashMap<String, u64>,
    /// Keys that were told of: model and key.
    refused: HashSet<(String, String)>,
    is_disk_low: bool,
}

/// A key that a provider does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Refused<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    pub key: &'a str,
}

impl Watch {
    /// `failing`: provider and id of the models that are left alone now.
    pub(super) fn see_models<'a>(
        &mut self,
        failing: impl Iterator<Item = (&'a str, &'a str)>,
        now_ms: u64,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for (provider, model) in failing {
            if self.failing.insert(provider.to_owned(), now_ms).is_none() {
                let (provider, model) = (provider.to_owned(), model.to_owned());
                events.push(Event::ProviderUnhealthy { provider, model, at_ms: now_ms });
            }
        }
        self.failing.retain(|_, last_ms| now_ms.saturating_sub(*last_ms) < CALM_MS);
        events
    }

    /// `refused`: the keys that are refused now.
    pub(super) fn see_keys<'a>(
        &mut self,
        refused: impl Iterator<Item = Refused<'a>>,
        now_ms: u64,
    ) -> Vec<Event> {
        let mut now = HashSet::new();
        let mut events = Vec::new();
        for Refused { provider, model, key } in refused {
            let known = (model.to_owned(), key.to_owned());
            if !self.refused.contains(&known) {
                let (provider, model, key) = (provider.to_owned(), model.to_owned(), key.to_owned());
                events.push(Event::KeyInvalid { provider, model, key, at_ms: now_ms });
            }
            now.insert(known);
        }
        self.refused = now;
        events
    }

    /// `free`: bytes left on the disk; none when that cannot be seen. It counts as low until a tenth more than `below` is free.
    pub(super) fn see_disk(&mut self, free: Option<u64>, below: u64, now_ms: u64) -> Option<Event> {
        let free = free?;
        let was_low = self.is_disk_low;
        self.is_disk_low = free < if was_low { below.saturating_add(below / 10) } else { below };
        (self.is_disk_low && !was_low).then_some(Event::DiskLow { free, below, at_ms: now_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_told_of_once_until_it_was_calm_for_a_while() {
        let mut watch = Watch::default();
        let mut see = |failing: &[(&'static str, &'static str)], now_ms| {
            watch.see_models(failing.iter().copied(), now_ms).len()
        };
        assert_eq!(see(&[], 0), 0);
        assert_eq!(see(&[("openai", "a"), ("openai", "b"), ("groq", "c")], 1_000), 2);
        assert_eq!(see(&[("openai", "a")], 2_000), 0);
        // Half open, open again: the same trouble.
        assert_eq!(see(&[], 3_000), 0);
        assert_eq!(see(&[("openai", "b")], 4_000 + CALM_MS - 1_001), 0);
        assert_eq!(see(&[], 4_000 + 2 * CALM_MS), 0);
        assert_eq!(see(&[("openai", "b")], 5_000 + 2 * CALM_MS), 1);
    }

    #[test]
    fn a_key_is_told_of_once_until_it_was_taken() {
        let mut watch = Watch::default();
        let key = |model| Refused { provider: "openai", model, key: "first" };
        assert_eq!(watch.see_keys([key("a"), key("b")].into_iter(), 1).len(), 2);
        assert_eq!(watch.see_keys([key("a")].into_iter(), 2).len(), 0);
        let again = watch.see_keys([key("a"), key("b")].into_iter(), 3);
        let (provider, model, key) = ("openai".to_owned(), "b".to_owned(), "first".to_owned());
        assert_eq!(again, [Event::KeyInvalid { provider, model, key, at_ms: 3 }]);
    }

    #[test]
    fn a_disk_at_the_mark_is_told_of_once() {
        let mut watch = Watch::default();
        let told: Vec<bool> =
            [Some(1_001), Some(999), Some(500), None, Some(1_050), Some(999), Some(1_100), Some(998)]
                .into_iter()
                .map(|free| watch.see_disk(free, 1_000, 7).is_some())
                .collect();
        assert_eq!(told, [false, true, false, false, false, false, false, true]);
        assert_eq!(Watch::default().see_disk(Some(0), 0, 7), None, "0 switches it off");
    }
}
