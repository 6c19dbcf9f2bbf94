//! What a core knows of a finished attempt, as numbers in front of the record's line.
//!
//! So that the control thread keeps sums, windows and metrics without reading JSON. Owns the layout in a journal's
//! frame. Indexes mean something to the process that wrote them alone, within their generation; whoever comes later
//! takes ids and numbers from the line.

use crate::budget::money::Picodollars;
use crate::telemetry::labels::CallType;

/// Bytes of [`Facts`] in a frame.
pub(super) const FACTS_BYTES: usize = 96;

/// A finished attempt in numbers. What counts on limits: as calls those that ended in success or because the client
/// left (the provider did the work); as tokens and cost whatever was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The configuration snapshot that the indexes below belong to. Below 2^32: they are counted by one process.
    pub generation: u64,
    /// Index of the project that is billed.
    pub project: u32,
    /// Index of the project that the token belongs to, which need not be the one that is billed.
    pub owner: u32,
    /// Index of the token among its project's.
    pub token: u32,
    /// Index of the model among the snapshot's targets.
    pub model: u32,
    /// Wall clock when the request was admitted, in milliseconds since the Unix epoch: windows are charged then.
    pub admitted_ms: u64,
    /// Wall clock when the attempt had ended: the record's timestamp.
    pub finished_ms: u64,
    /// From the request's head to the last byte, in milliseconds.
    pub latency_ms: u32,
    /// To the first byte of the answer, in milliseconds; [`Facts::NO_TTFT`] when no answer began.
    pub ttft_ms: u32,
    /// From the request's head to the attempt's beginning, in milliseconds: what is in the two before it, and is not the
    /// model's time.
    pub began_ms: u32,
    /// The record's `httpStatus`.
    pub status: u16,
    /// Index of an [`Outcome`](crate::telemetry::labels::Outcome).
    pub outcome: u8,
    /// Index of a [`CallType`](crate::telemetry::labels::CallType).
    pub call_type: u8,
    /// Index of an [`Endpoint`](crate::telemetry::labels::Endpoint).
    pub endpoint: u8,
    /// Which attempt of the request this was, from 1.
    pub attempt: u16,
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Input tokens read from a provider's cache.
    pub cached: u64,
    /// Input tokens written to a provider's cache.
    pub cache_write: u64,
    /// What the attempt cost.
    pub cost: Picodollars,
}

impl Facts {
    /// In place of a time to the first byte: there was none.
    pub const NO_TTFT: u32 = u32::MAX;
    /// In place of an index: nothing of the configuration.
    pub const NONE: u32 = u32::MAX;

    /// Whether somebody was called: an answer from a cache counts on no limit and says nothing about its model.
    pub fn is_call(&self) -> bool {
        usize::from(self.call_type) != CallType::Cache.index()
    }

    /// Appends the facts as they lie in a frame.
    #[inline]
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; FACTS_BYTES];
        let words = [
            pair(self.generation as u32, self.began_ms),
            pair(self.project, self.owner),
            pair(self.token, self.model),
            self.admitted_ms,
            self.finished_ms,
            pair(self.latency_ms, self.ttft_ms),
            u64::from_le_bytes(self.words()),
            self.input,
            self.output,
            self.cached,
            self.cache_write,
            self.cost.0,
        ];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&bytes);
    }

    fn words(&self) -> [u8; 8] {
        let (status, attempt) = (self.status.to_le_bytes(), self.attempt.to_le_bytes());
        [status[0], status[1], self.outcome, self.call_type, self.endpoint, 0, attempt[0], attempt[1]]
    }

    /// Reads what [`Facts::encode`] wrote.
    #[inline]
    pub(super) fn decode(bytes: &[u8; FACTS_BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| u64::from_le_bytes(words[index]);
        let (low, high) = (|index| word(index) as u32, |index| (word(index) >> 32) as u32);
        let [status_low, status_high, outcome, call_type, endpoint, _, attempt_low, attempt_high] = words[6];
        Self {
            generation: u64::from(low(0)),
            began_ms: high(0),
            project: low(1),
            owner: high(1),
            token: low(2),
            model: high(2),
            admitted_ms: word(3),
            finished_ms: word(4),
            latency_ms: low(5),
            ttft_ms: high(5),
            status: u16::from_le_bytes([status_low, status_high]),
            outcome,
            call_type,
            endpoint,
            attempt: u16::from_le_bytes([attempt_low, attempt_high]),
            input: word(7),
            output: word(8),
            cached: word(9),
            cache_write: word(10),
            cost: Picodollars(word(11)),
        }
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_field_comes_back(a in any::<[u64; 7]>(), b in any::<[u32; 8]>(), c in any::<[u16; 2]>(), d in any::<[u8; 3]>()) {
            let facts = Facts {
                generation: u64::from(b[6]),
                began_ms: b[7],
                project: b[0],
                owner: b[1],
                token: b[2],
                model: b[3],
                admitted_ms: a[0],
                finished_ms: a[1],
                latency_ms: b[4],
                ttft_ms: b[5],
                status: c[0],
                outcome: d[0],
                call_type: d[1],
                endpoint: d[2],
                attempt: c[1],
                input: a[2],
                output: a[3],
                cached: a[4],
                cache_write: a[5],
                cost: Picodollars(a[6]),
            };
            let mut bytes = vec![];
            facts.encode(&mut bytes);
            prop_assert_eq!(Facts::decode(bytes.as_slice().try_into().unwrap()), facts);
        }
    }
}
