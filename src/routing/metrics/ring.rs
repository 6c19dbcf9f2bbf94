//! A window as a ring of time buckets.
//!
//! Owns which bucket a moment falls into and when a bucket is empty again; what a bucket sums up is the series' matter.
//! Time is a number of the caller's that never goes back.

/// Buckets of a window: its far edge moves in steps of 1/64 of its length.
pub(super) const BUCKETS: usize = 64;

/// The newest [`BUCKETS`] buckets. A bucket's number is its time divided by its width.
#[derive(Debug, Clone)]
pub(super) struct Ring<B> {
    newest: u64,
    buckets: Box<[B; BUCKETS]>,
}

impl<B: Copy + Default> Ring<B> {
    /// Empty buckets up to `number`.
    pub(super) fn new(number: u64) -> Self {
        Self { newest: number, buckets: Box::new([B::default(); BUCKETS]) }
    }

    /// Number of the newest bucket.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Makes `number` the newest bucket, unless a newer one is there. What is older than the window is gone then.
    pub(super) fn advance(&mut self, number: u64) {
        let steps = number.saturating_sub(self.newest);
        for step in 1..=steps.min(BUCKETS as u64) {
            self.buckets[place(self.newest + step)] = B::default();
        }
        self.newest += steps;
    }

    /// The bucket of this number; none where it is older than the window.
    pub(super) fn bucket(&mut self, number: u64) -> Option<&mut B> {
        self.advance(number);
        let is_gone = self.newest - number >= BUCKETS as u64;
        (!is_gone).then(|| &mut self.buckets[place(number)])
    }

    /// All buckets, the oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = &B> {
        let (newer, older) = self.buckets.split_at(place(self.newest) + 1);
        older.iter().chain(newer)
    }
}

fn place(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_leave_by_the_far_edge() {
        let mut ring: Ring<u32> = Ring::new(100);
        *ring.bucket(100).unwrap() = 1;
        *ring.bucket(40).unwrap() = 2;
        assert!(ring.bucket(36).is_none(), "64 buckets: 37 to 100");
        assert!(ring.bucket(37).is_some());
        assert_eq!(ring.oldest_first().copied().filter(|sum| *sum > 0).collect::<Vec<_>>(), [2, 1]);
        ring.advance(103);
        assert_eq!(ring.oldest_first().sum::<u32>(), 3, "40 is the oldest of 40 to 103");
        ring.advance(104);
        assert_eq!(ring.oldest_first().sum::<u32>(), 1);
        ring.advance(90);
        assert_eq!((ring.newest(), ring.oldest_first().sum::<u32>()), (104, 1), "time does not go back");
        ring.advance(1 << 40);
        assert_eq!(ring.oldest_first().sum::<u32>(), 0, "a long silence empties it in one round");
    }
}
