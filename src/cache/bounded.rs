//! A map that forgets: what is too old, and what was not used for longest where it would grow beyond its bounds.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How much a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub count: usize,
    /// Bytes, as they were said when an entry was put.
    pub bytes: usize,
}

/// The map. `check` holds after each call: count and bytes are within the bounds.
#[derive(Debug)]
pub struct Store<K, V> {
    born: Instant,
    bounds: Bounds,
    entries: HashMap<K, Entry<V>>,
    /// Keys by when they were used last; `Entry::used` is the place.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    expires: Duration,
    used: u64,
}

impl<K: Hash + Eq + Clone, V> Store<K, V> {
    /// An empty one that begins at `now`.
    pub fn new(now: Instant, bounds: Bounds) -> Self {
        Self { born: now, bounds, entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0 }
    }

    /// Other bounds from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if bounds != self.bounds {
            self.bounds = bounds;
            self.shrink(bounds);
        }
    }

    /// The value of a key that is not too old, which is used by that.
    pub fn get(&mut self, key: &K, now: Instant) -> Option<&V> {
        self.get_mut(key, now).map(|value| &*value)
    }

    /// [`Store::get`], to be changed.
    pub fn get_mut(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let since = now.saturating_duration_since(self.born);
        if self.entries.get(key)?.expires <= since {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        self.by_use.insert(self.uses, key.clone());
        Some(&mut entry.value)
    }

    /// Lets an entry live for `ttl` from `now` on, and count for `bytes`.
    pub fn renew(&mut self, key: &K, bytes: usize, ttl: Duration, now: Instant) {
        let expires = now.saturating_duration_since(self.born).saturating_add(ttl);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.expires = expires;
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
            self.shrink(self.bounds);
        }
    }

    /// Keeps `value` for `ttl`, in place of an older one. What is larger than all of the store is not kept.
    pub fn put(&mut self, key: K, value: V, bytes: usize, ttl: Duration, now: Instant) {
        self.remove(&key);
        if bytes > self.bounds.bytes || self.bounds.count == 0 {
            return;
        }
        let since = now.saturating_duration_since(self.born);
        self.forget_expired(since);
        self.shrink(Bounds { count: self.bounds.count - 1, bytes: self.bounds.bytes - bytes });
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, key.clone());
        let expires = since.saturating_add(ttl);
        self.entries.insert(key, Entry { value, bytes, expires, used: self.uses });
    }

    /// Entries now, the ones included that are too old and were not looked for since.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Forgets what is too old among those that were not used for longest.
    fn forget_expired(&mut self, since: Duration) {
        while let Some((_, key)) = self.by_use.first_key_value()
            && self.entries.get(key).is_none_or(|entry| entry.expires <= since)
        {
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn shrink(&mut self, bounds: Bounds) {
        while self.entries.len() > bounds.count || self.bytes > bounds.bytes {
            let Some((_, key)) = self.by_use.pop_first() else { return };
            self.remove(&key);
        }
        debug_assert_eq!(self.by_use.len(), self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn store(count: usize, bytes: usize) -> (Store<u8, u8>, Instant) {
        let now = crate::clock::now();
        (Store::new(now, Bounds { count, bytes }), now)
    }

    #[test]
    fn an_entry_is_found_until_its_time_is_over() {
        let (mut store, now) = store(8, 100);
        store.put(1, 10, 1, 2 * SECOND, now);
        assert_eq!(store.get(&1, now + 2 * SECOND - Duration::from_millis(1)), Some(&10));
        assert_eq!(store.get(&1, now + 2 * SECOND), None);
        assert_eq!((store.len(), store.bytes()), (0, 0), "and its room is free");
        store.put(1, 10, 1, 2 * SECOND, now);
        store.renew(&1, 3, 2 * SECOND, now + SECOND);
        assert_eq!(store.get(&1, now + 2 * SECOND), Some(&10));
        assert_eq!(store.bytes(), 3);
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let (mut store, now) = store(2, 100);
        store.put(1, 10, 1, SECOND, now);
        store.put(2, 20, 1, SECOND, now);
        assert!(store.get(&1, now).is_some());
        store.put(3, 30, 1, SECOND, now);
        let there: Vec<u8> = (1..=3).filter(|key| store.get(key, now).is_some()).collect();
        assert_eq!(there, [1, 3]);
    }

    #[test]
    fn what_is_larger_than_the_store_is_not_kept_and_removes_nothing_else() {
        let (mut store, now) = store(4, 10);
        store.put(1, 10, 5, SECOND, now);
        store.put(2, 20, 11, SECOND, now);
        assert!(store.get(&1, now).is_some() && store.get(&2, now).is_none());
        store.put(1, 11, 11, SECOND, now);
        assert!(store.get(&1, now).is_none(), "the older one must not stand for the new one");
        store.put(1, 10, 5, SECOND, now);
        store.set_bounds(Bounds { count: 4, bytes: 4 });
        assert!(store.is_empty());
    }

    proptest! {
        #[test]
        fn the_bounds_hold_whatever_happens(
            steps in prop::collection::vec((0_u8..4, 0_u8..24, 0_usize..40, 1_u64..9), 0..300),
            count in 0_usize..9,
            bytes in 0_usize..99,
        ) {
            let (mut store, mut now) = store(count, bytes);
            let mut model = std::collections::HashMap::new();
            for (what, key, size, seconds) in steps {
                match what {
                    0 => {
                        store.put(key, key, size, seconds as u32 * SECOND, now);
                        model.insert(key, (now + seconds as u32 * SECOND, size));
                    }
                    1 => store.renew(&key, size, seconds as u32 * SECOND, now),
                    2 => now += SECOND,
                    _ => {
                        // It may have forgotten, but it never makes up or gives what is too old.
                        if let Some(found) = store.get(&key, now) {
                            prop_assert_eq!(*found, key);
                            prop_assert!(model.contains_key(&key));
                        }
                    }
                }
                prop_assert!(store.len() <= count && store.bytes() <= bytes);
                prop_assert_eq!(store.by_use.len(), store.len());
                prop_assert_eq!(store.entries.values().map(|entry| entry.bytes).sum::<usize>(), store.bytes());
            }
        }
    }
}
