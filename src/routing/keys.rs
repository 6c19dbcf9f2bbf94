//! What the process knows at any moment of a provider's keys: which to leave alone, and until when.
//!
//! One word for each, shared by all cores; a key that nothing is known of costs one read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Until when a key is not to be used: milliseconds, and in the lowest bit whether it was refused.
#[derive(Debug, Default)]
pub struct KeyHealth(AtomicU64);

impl KeyHealth {
    /// Milliseconds until it may be used again; 0 is at once.
    #[inline]
    pub fn rest_ms(&self, now_ms: impl Fn() -> u64) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            0 => 0,
            word => (word >> 1).saturating_sub(now_ms()),
        }
    }

    /// Too many requests: leaves it alone until then. An earlier word that says longer stands.
    pub fn cool_until(&self, until_ms: u64) {
        self.0.fetch_max(until_ms.min(u64::MAX >> 1) << 1, Ordering::Relaxed);
    }

    /// The provider does not take it: leaves it alone until then.
    pub fn refuse_until(&self, until_ms: u64) {
        self.0.store(until_ms.min(u64::MAX >> 1) << 1 | 1, Ordering::Relaxed);
    }

    /// The provider has taken it.
    #[inline]
    pub fn restore(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it was refused, and not only had too many requests.
    pub fn is_refused(&self) -> bool {
        self.0.load(Ordering::Relaxed) & 1 == 1
    }
}

/// Which of several keys to use: by weight among those that may be used now; where there is none, the one that rests
/// shortest. `keys` gives weight and rest of each; `draw` decides, and equal draws meet the same key.
pub fn pick_key(keys: impl Iterator<Item = (u32, u64)> + Clone, draw: u64) -> Option<usize> {
    let ready = keys.clone().enumerate().filter(|(_, (weight, rest))| *weight > 0 && *rest == 0);
    let total: u64 = ready.clone().map(|(_, (weight, _))| u64::from(weight)).sum();
    if total > 0 {
        let mut left = draw % total;
        for (index, (weight, _)) in ready {
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => return Some(index),
            }
        }
    }
    keys.enumerate().map(|(index, (_, rest))| (rest, index)).min().map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cools_down_and_is_refused() {
        let key = KeyHealth::default();
        assert_eq!(key.rest_ms(|| unreachable!("no clock is read for a key that is well")), 0);
        key.cool_until(1_000);
        key.cool_until(500);
        assert_eq!(key.rest_ms(|| 400), 600);
        assert_eq!(key.rest_ms(|| 1_000), 0);
        key.restore();
        assert_eq!(key.rest_ms(|| 0), 0);
        key.cool_until(u64::MAX);
        assert!(!key.is_refused());
        key.refuse_until(900);
        assert!(key.is_refused());
        assert_eq!(key.rest_ms(|| 400), 500);
        key.restore();
        assert!(!key.is_refused());
    }

    #[test]
    fn keys_are_picked_by_weight_among_those_that_may_be_used() {
        let shares = |keys: &[(u32, u64)]| {
            let mut counts = vec![0_u32; keys.len()];
            for draw in 0..600 {
                counts[pick_key(keys.iter().copied(), draw).unwrap()] += 1;
            }
            counts
        };
        assert_eq!(shares(&[(1, 0)]), [600]);
        assert_eq!(shares(&[(1, 0), (2, 0), (3, 0)]), [100, 200, 300]);
        assert_eq!(shares(&[(1, 0), (2, 7), (3, 0)]), [150, 0, 450]);
        // None is ready: the one that is soonest, whatever its weight.
        assert_eq!(shares(&[(9, 8), (1, 7), (9, 9)]), [0, 600, 0]);
        // A weight of zero is for when there is nothing else.
        assert_eq!(shares(&[(0, 0), (1, 0)]), [0, 600]);
        assert_eq!(shares(&[(0, 0), (1, 5)]), [600, 0]);
        assert_eq!(pick_key([].into_iter(), 3), None);
    }
}
