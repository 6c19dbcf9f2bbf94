//! What the gateway remembers between requests: answers, decisions, centroids of intents, who issued a response.
//!
//! One store for the whole process: a hit must not depend on which core took the connection. A store is looked into with
//! one short lock (a look-up in a map, an `Arc` cloned); vectors are compared outside of it. A request of a project that
//! uses none of this never comes here. Everything is bounded in count, bytes and time; time is an argument. Nothing is
//! written to disk: a restart begins empty.

mod bounded;
mod canonical;
mod exact;
mod issuers;
mod memory;
mod semantic;
mod vector;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use bounded::{Bounds, Store};
pub use canonical::{Digest, Digester, is_deterministic};
pub use exact::{Answer, Answers, Saved};
pub use issuers::Issuers;
pub use memory::Conversations;
pub use semantic::{Found, Scope, Semantic, Worth};
pub use vector::{cosine, mean, normalise};

use crate::limits::{CENTROIDS_MAX, MIB};

/// How long a centroid is kept.
const CENTROID_TTL: Duration = Duration::from_secs(3_600);

/// All that is remembered.
#[derive(Debug)]
pub struct Caches {
    /// Answers by what was asked, to the letter.
    pub answers: Answers,
    /// Decisions and answers by what the request means.
    pub semantic: Semantic,
    /// Which models answered a conversation.
    pub conversations: Conversations,
    /// Which models issued the responses that their providers keep.
    pub issuers: Issuers,
    centroids: Mutex<Store<Digest, std::sync::Arc<[f32]>>>,
}

impl Caches {
    /// Empty ones; `now` is their beginning.
    pub fn new(now: Instant) -> Self {
        let bounds = Bounds { count: CENTROIDS_MAX, bytes: 64 * MIB };
        Self {
            answers: Answers::new(now),
            semantic: Semantic::new(now),
            conversations: Conversations::new(now),
            issuers: Issuers::default(),
            centroids: Mutex::new(Store::new(now, bounds)),
        }
    }

    /// The middle of an intent's examples, if it is known; `key` covers the embedding model and the examples.
    pub fn centroid(&self, key: &Digest, now: Instant) -> Option<std::sync::Arc<[f32]>> {
        lock(&self.centroids).get(key, now).cloned()
    }

    /// Remembers the middle of an intent's examples.
    pub fn put_centroid(&self, key: Digest, centroid: std::sync::Arc<[f32]>, now: Instant) {
        let bytes = size_of_val(&*centroid);
        lock(&self.centroids).put(key, centroid, bytes, CENTROID_TTL, now);
    }
}

/// What a panic left behind is still a cache.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
