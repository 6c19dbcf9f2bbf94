//! Decisions and answers by what a request means: the vector of its text, and all that has to be the same to the letter.
//!
//! Vectors are compared one by one, exactly: with a thousand of 1,536 numbers a look-up reads 6 MB. That happens outside
//! of the lock, on a list that is replaced as a whole when something is put in.
//!
//! Source: the project's routing specification, section 7.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::canonical::Digest;
use super::exact::Answer;
use super::lock;
use super::vector::cosine;
use crate::limits::{SEMANTIC_BYTES_MAX, SEMANTIC_ENTRIES_MAX};

/// What has to be the same to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Id of the project.
    pub project: Arc<str>,
    /// Id of the model that made the vector: those of two models have nothing to do with each other.
    pub embedder: Arc<str>,
    /// Everything else that an answer depends on; the same for all decisions.
    pub digest: Digest,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// The model that answered, by its id.
    Decision(Arc<str>),
    /// The answer.
    Answer(Arc<Answer>),
}

/// A hit.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What was kept.
    pub worth: Worth,
    /// Cosine of the two vectors.
    pub similarity: f32,
}

#[derive(Debug)]
struct Entry {
    /// Normalised.
    vector: Box<[f32]>,
    worth: Worth,
    bytes: usize,
    /// Milliseconds since the store began.
    expires_ms: AtomicU64,
    /// Number of the use that was the last.
    used: AtomicU64,
}

type List = Arc<Vec<Arc<Entry>>>;

/// All of it.
#[derive(Debug)]
pub struct Semantic {
    born: Instant,
    uses: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lists: HashMap<Scope, List>,
    bytes: usize,
}

impl Semantic {
    pub(super) fn new(now: Instant) -> Self {
        Self { born: now, uses: AtomicU64::new(0), inner: Mutex::default() }
    }

    fn since_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64
    }

    /// What was kept for the request most like this one, if it is at least as like as `threshold`; `vector` is
    /// normalised. `extend`: a hit is kept so long from now on.
    pub fn find(
        &self,
        scope: &Scope,
        vector: &[f32],
        threshold: f32,
        extend: Option<Duration>,
        now: Instant,
    ) -> Option<Found> {
        let list = Arc::clone(lock(&self.inner).lists.get(scope)?);
        let now_ms = self.since_ms(now);
        let mut best: Option<(f32, &Entry)> = None;
        let fits = |entry: &&Arc<Entry>| {
            entry.vector.len() == vector.len() && entry.expires_ms.load(Ordering::Relaxed) > now_ms
        };
        for entry in list.iter().filter(fits) {
            let similarity = cosine(&entry.vector, vector);
            if similarity >= best.map_or(threshold, |(best, _)| best) {
                best = Some((similarity, entry));
            }
        }
        let (similarity, entry) = best?;
        entry.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if let Some(ttl) = extend {
            entry.expires_ms.store(now_ms.saturating_add(ttl.as_millis() as u64), Ordering::Relaxed);
        }
        Some(Found { worth: entry.worth.clone(), similarity })
    }

    /// Keeps `worth` for requests like the one with this normalised vector for `ttl`. What was not used for longest makes
    /// room, within its scope and over all of them.
    pub fn put(&self, scope: Scope, vector: Vec<f32>, worth: Worth, ttl: Duration, now: Instant) {
        let now_ms = self.since_ms(now);
        let own = match &worth {
            Worth::Decision(model) => model.len(),
            Worth::Answer(answer) => answer.bytes(),
        };
        let bytes = own + size_of_val(&*vector) + scope.project.len() + scope.embedder.len() + 256;
        if bytes > SEMANTIC_BYTES_MAX {
            return;
        }
        let entry = Arc::new(Entry {
            vector: vector.into(),
            worth,
            bytes,
            expires_ms: AtomicU64::new(now_ms.saturating_add(ttl.as_millis() as u64)),
            used: AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed)),
        });
        let mut inner = lock(&self.inner);
        let old = inner.lists.get(&scope).cloned().unwrap_or_default();
        let mut list: Vec<Arc<Entry>> =
            old.iter().filter(|entry| entry.expires_ms.load(Ordering::Relaxed) > now_ms).cloned().collect();
        if list.len() >= SEMANTIC_ENTRIES_MAX {
            list.sort_by_key(|entry| std::cmp::Reverse(entry.used.load(Ordering::Relaxed)));
            list.truncate(SEMANTIC_ENTRIES_MAX - 1);
        }
        list.push(entry);
        let size = |list: &[Arc<Entry>]| list.iter().map(|entry| entry.bytes).sum::<usize>();
        inner.bytes = inner.bytes - size(&old) + size(&list);
        inner.lists.insert(scope, Arc::new(list));
        if inner.bytes > SEMANTIC_BYTES_MAX {
            inner.shrink(now_ms);
        }
    }

    /// Entries and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.lists.values().map(|list| list.len()).sum(), inner.bytes)
    }
}

impl Inner {
    /// Forgets what is too old, then what was not used for longest, until an eighth of the room is free again: so the
    /// whole is not looked through at each entry.
    fn shrink(&mut self, now_ms: u64) {
        let mut uses: Vec<(u64, usize)> = Vec::new();
        for entry in self.lists.values().flat_map(|list| list.iter()) {
            let expired = entry.expires_ms.load(Ordering::Relaxed) <= now_ms;
            uses.push((if expired { 0 } else { entry.used.load(Ordering::Relaxed) }, entry.bytes));
        }
        uses.sort_unstable();
        let mut left = self.bytes;
        let mut last = 0;
        for (used, bytes) in uses {
            if left <= SEMANTIC_BYTES_MAX / 8 * 7 {
                break;
            }
            left -= bytes;
            last = used;
        }
        self.bytes = 0;
        self.lists.retain(|_, list| {
            let stays = |entry: &&Arc<Entry>| {
                entry.expires_ms.load(Ordering::Relaxed) > now_ms && entry.used.load(Ordering::Relaxed) > last
            };
            let kept: Vec<Arc<Entry>> = list.iter().filter(stays).cloned().collect();
            self.bytes += kept.iter().map(|entry| entry.bytes).sum::<usize>();
            let is_empty = kept.is_empty();
            *list = Arc::new(kept);
            !is_empty
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector::normalise;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn scope(project: &str) -> Scope {
        Scope { project: project.into(), embedder: "e".into(), digest: [0; 32] }
    }

    fn decision(model: &str) -> Worth {
        Worth::Decision(model.into())
    }

    fn unit(angle: f32) -> Vec<f32> {
        vec![angle.cos(), angle.sin()]
    }

    fn found(cache: &Semantic, scope: &Scope, angle: f32, now: Instant) -> Option<Worth> {
        cache.find(scope, &unit(angle), 0.9, None, now).map(|found| found.worth)
    }

    #[test]
    fn the_nearest_one_above_the_threshold_is_found_within_its_scope() {
        let now = crate::clock::now();
        let cache = Semantic::new(now);
        cache.put(scope("p"), unit(0.0), decision("a"), HOUR, now);
        cache.put(scope("p"), unit(0.3), decision("b"), HOUR, now);
        assert_eq!(found(&cache, &scope("p"), 0.1, now), Some(decision("a")));
        assert_eq!(found(&cache, &scope("p"), 0.2, now), Some(decision("b")));
        assert_eq!(found(&cache, &scope("p"), 1.0, now), None);
        let others = [
            scope("q"),
            Scope { embedder: "f".into(), ..scope("p") },
            Scope { digest: [1; 32], ..scope("p") },
        ];
        for other in others {
            assert_eq!(found(&cache, &other, 0.0, now), None);
        }
        let exact = cache.find(&scope("p"), &unit(0.0), 1.0 - 1e-6, None, now).unwrap();
        assert!((exact.similarity - 1.0).abs() < 1e-6);
        assert_eq!(cache.find(&scope("p"), &[1.0, 0.0, 0.0], 0.0, None, now), None, "other dimensions");
    }

    #[test]
    fn an_entry_lives_for_its_time_and_a_hit_can_begin_it_anew() {
        let now = crate::clock::now();
        let cache = Semantic::new(now);
        cache.put(scope("p"), unit(0.0), decision("a"), HOUR, now);
        assert!(found(&cache, &scope("p"), 0.0, now + HOUR - Duration::from_millis(1)).is_some());
        assert!(found(&cache, &scope("p"), 0.0, now + HOUR).is_none());
        let half = now + HOUR / 2;
        assert!(cache.find(&scope("p"), &unit(0.0), 0.9, Some(HOUR), half).is_some());
        assert!(found(&cache, &scope("p"), 0.0, now + HOUR).is_some());
        assert!(found(&cache, &scope("p"), 0.0, half + HOUR).is_none());
        cache.put(scope("p"), unit(1.0), decision("b"), HOUR, half + HOUR);
        assert_eq!(cache.size().0, 1, "what is too old goes when something new comes");
    }

    #[test]
    fn a_scope_keeps_its_last_used_entries() {
        let now = crate::clock::now();
        let cache = Semantic::new(now);
        for number in 0..SEMANTIC_ENTRIES_MAX {
            let mut vector = vec![0.0; 8];
            vector[number % 8] = 1.0;
            cache.put(scope("p"), vector, decision(&number.to_string()), HOUR, now);
        }
        cache.put(scope("p"), normalise(vec![1.0; 8]).unwrap(), decision("last"), HOUR, now);
        assert_eq!(cache.size().0, SEMANTIC_ENTRIES_MAX);
        let all = lock(&cache.inner).lists[&scope("p")].clone();
        assert!(all.iter().all(|entry| entry.worth != decision("0")), "the oldest made room");
        assert!(all.iter().any(|entry| entry.worth == decision("last")));
    }

    #[test]
    fn all_scopes_together_stay_within_the_bytes() {
        let now = crate::clock::now();
        let cache = Semantic::new(now);
        let dimensions = 256 * 1024;
        let each = dimensions * size_of::<f32>();
        for number in 0..3 * SEMANTIC_BYTES_MAX / each {
            let mut vector = vec![0.0; dimensions];
            vector[number % dimensions] = 1.0;
            let name = number.to_string();
            cache.put(scope(&name), vector.clone(), decision(&name), HOUR, now);
            let found = cache.find(&scope(&name), &vector, 0.9, None, now);
            assert_eq!(found.map(|found| found.worth), Some(decision(&name)), "the last one is there");
            let (entries, bytes) = cache.size();
            assert!(bytes <= SEMANTIC_BYTES_MAX && entries * each <= bytes);
        }
        assert!(cache.size().0 * each > SEMANTIC_BYTES_MAX / 2, "and no more is forgotten than has to be");
    }
}
