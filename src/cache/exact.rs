//! Answers, by the digest of the request that they answer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bounded::{Bounds, Store};
use super::canonical::Digest;
use super::lock;
use crate::budget::money::Picodollars;
use crate::limits::CACHED_ANSWERS_MAX;

/// Stores beside each other, so that cores seldom wait for one another. The first byte of a digest says which.
const PARTS: usize = 16;

/// What a provider was paid for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Its price.
    pub cost: Picodollars,
}

/// A complete answer of status 200, as its client got it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Id of the model that gave it.
    pub model: Box<str>,
    /// The value of `Content-Type`.
    pub content_type: Box<str>,
    /// The body, without framing and without what the gateway put before it.
    pub body: Box<[u8]>,
    /// What is saved each time it is given again.
    pub saved: Saved,
}

impl Answer {
    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.model.len() + self.content_type.len() + 256
    }
}

/// All answers.
#[derive(Debug)]
pub struct Answers {
    parts: [Mutex<Store<Digest, Arc<Answer>>>; PARTS],
}

impl Answers {
    pub(super) fn new(now: Instant) -> Self {
        let bounds = Bounds { count: CACHED_ANSWERS_MAX / PARTS, bytes: 0 };
        Self { parts: std::array::from_fn(|_| Mutex::new(Store::new(now, bounds))) }
    }

    fn part(&self, key: &Digest) -> &Mutex<Store<Digest, Arc<Answer>>> {
        &self.parts[usize::from(key[0]) % PARTS]
    }

    /// The answer to the request of this digest.
    pub fn find(&self, key: &Digest, now: Instant) -> Option<Arc<Answer>> {
        lock(self.part(key)).get(key, now).cloned()
    }

    /// Keeps an answer for `ttl`. `bytes_max` bounds all answers together; one may take a sixteenth of it.
    pub fn put(&self, key: Digest, answer: Arc<Answer>, ttl: Duration, bytes_max: usize, now: Instant) {
        let bytes = answer.bytes();
        let mut part = lock(self.part(&key));
        part.set_bounds(Bounds { count: CACHED_ANSWERS_MAX / PARTS, bytes: bytes_max / PARTS });
        part.put(key, answer, bytes, ttl, now);
    }

    /// Longest body that can be kept.
    pub fn body_bytes_max(bytes_max: usize) -> usize {
        bytes_max / PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Arc<Answer> {
        Arc::new(Answer {
            model: "m".into(),
            content_type: "application/json".into(),
            body: vec![b'x'; bytes].into(),
            saved: Saved::default(),
        })
    }

    #[test]
    fn all_answers_together_stay_within_the_bytes() {
        let now = crate::clock::now();
        let answers = Answers::new(now);
        let bytes_max = 64 * 1024;
        for number in 0..1_000_u32 {
            let mut key = Digest::default();
            key[..4].copy_from_slice(&number.to_le_bytes());
            answers.put(key, answer(1_000), Duration::from_secs(60), bytes_max, now);
            assert!(answers.find(&key, now).is_some(), "the last one is there");
            assert!(answers.parts.iter().map(|part| lock(part).bytes()).sum::<usize>() <= bytes_max);
        }
        let key = Digest::default();
        answers.put(key, answer(Answers::body_bytes_max(bytes_max)), Duration::from_secs(60), bytes_max, now);
        assert_eq!(answers.find(&key, now), None, "larger than its share");
    }

    #[test]
    fn an_answer_is_given_until_its_time_is_over() {
        let now = crate::clock::now();
        let answers = Answers::new(now);
        answers.put([7; 32], answer(1), Duration::from_secs(60), 1 << 20, now);
        assert!(answers.find(&[7; 32], now + Duration::from_secs(59)).is_some());
        assert!(answers.find(&[8; 32], now).is_none());
        assert!(answers.find(&[7; 32], now + Duration::from_secs(60)).is_none());
    }
}
