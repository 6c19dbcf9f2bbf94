//! What the process knows at any moment of a provider's keys: which to leave alone, and until when.
//!
//! One word for each, shared by all cores; a key that nothing is known of costs one read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Until when a key is not to be used.
#[derive(Debug, Default)]
pub struct KeyHealth(AtomicU64);

/// A key that the provider does not take at all. It stays so until the configuration is read again.
const REFUSED: u64 = u64::MAX;

impl KeyHealth {
    /// Milliseconds until it may be used again: 0 at once, none for never.
    #[inline]
    pub fn rest_ms(&self, now_ms: impl Fn() -> u64) -> Option<u64> {
        match self.0.load(Ordering::Relaxed) {
            0 => Some(0),
            REFUSED => None,
            until => Some(until.saturating_sub(now_ms())),
        }
    }

    /// Leaves it alone until then. An earlier word that says longer stands.
    pub fn cool_until(&self, until_ms: u64) {
        self.0.fetch_max(until_ms.min(REFUSED - 1), Ordering::Relaxed);
    }

    /// The provider does not take it.
    pub fn refuse(&self) {
        self.0.store(REFUSED, Ordering::Relaxed);
    }

    /// The provider has taken it after all.
    #[inline]
    pub fn restore(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it is refused, and not only cooling.
    pub fn is_refused(&self) -> bool {
        self.0.load(Ordering::Relaxed) == REFUSED
    }
}

/// Which of several keys to use: by weight among those that may be used now; where there is none, the one that rests
/// shortest. `keys` gives weight and rest of each, a rest of none for one that must not be used; `draw` decides, so that
/// equal draws meet the same key.
pub fn pick_key(keys: impl Iterator<Item = (u32, Option<u64>)> + Clone, draw: u64) -> Option<usize> {
    let ready = keys.clone().enumerate().filter(|(_, (weight, rest))| *weight > 0 && *rest == Some(0));
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
    let resting = keys.enumerate().filter_map(|(index, (_, rest))| Some((rest?, index)));
    resting.min().map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cools_down_and_is_refused() {
        let key = KeyHealth::default();
        assert_eq!(key.rest_ms(|| unreachable!("no clock is read for a key that is well")), Some(0));
        key.cool_until(1_000);
        key.cool_until(500);
        assert_eq!(key.rest_ms(|| 400), Some(600));
        assert_eq!(key.rest_ms(|| 1_000), Some(0));
        key.restore();
        assert_eq!(key.rest_ms(|| 0), Some(0));
        key.cool_until(u64::MAX);
        assert!(!key.is_refused());
        key.refuse();
        assert_eq!(key.rest_ms(|| 400), None);
        key.cool_until(2_000);
        assert!(key.is_refused(), "a time does not make it a good one");
    }

    #[test]
    fn keys_are_picked_by_weight_among_those_that_may_be_used() {
        let shares = |keys: &[(u32, Option<u64>)]| {
            let mut counts = vec![0_u32; keys.len()];
            for draw in 0..600 {
                counts[pick_key(keys.iter().copied(), draw).unwrap()] += 1;
            }
            counts
        };
        assert_eq!(shares(&[(1, Some(0))]), [600]);
        assert_eq!(shares(&[(1, Some(0)), (2, Some(0)), (3, Some(0))]), [100, 200, 300]);
        assert_eq!(shares(&[(1, Some(0)), (2, Some(7)), (3, Some(0))]), [150, 0, 450]);
        assert_eq!(shares(&[(1, None), (2, Some(7)), (3, Some(0))]), [0, 0, 600]);
        // None is ready: the one that is soonest, whatever its weight.
        assert_eq!(shares(&[(9, Some(8)), (1, Some(7)), (9, None)]), [0, 600, 0]);
        // A weight of zero is for when there is nothing else.
        assert_eq!(shares(&[(0, Some(0)), (1, Some(0))]), [0, 600]);
        assert_eq!(shares(&[(0, Some(0)), (1, Some(5))]), [600, 0]);
        assert_eq!(pick_key([(1, None), (1, None)].into_iter(), 3), None);
        assert_eq!(pick_key([].into_iter(), 3), None);
    }
}
