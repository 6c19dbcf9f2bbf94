//! Random numbers from a seed and a request's running number.
//!
//! Owns the generator and nothing else. It is SplitMix64: one multiplication chain per number, good enough for
//! choosing words and faults, and of no use for secrets.
//!
//! Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

/// A deterministic stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The stream of request number `sequence` under `seed`.
    pub(super) fn new(seed: u64, sequence: u64) -> Self {
        Self { state: mix(seed ^ mix(sequence.wrapping_add(0x9E37_79B9_7F4A_7C15))) }
    }

    /// The next 64 bits.
    #[inline]
    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// A number in `0.0..1.0`.
    #[inline]
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `rate`; never for 0 and NaN, always for 1.
    pub(super) fn chance(&mut self, rate: f64) -> bool {
        self.unit() < rate
    }

    /// A number in `0..bound`; 0 for an empty range.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `min..=max`; `min` where the two are the wrong way round.
    pub(super) fn between(&mut self, min: u64, max: u64) -> u64 {
        min.saturating_add(self.below(max.saturating_sub(min).saturating_add(1)))
    }

    /// A stream of its own, for one part of an answer.
    pub(super) fn split(&mut self) -> Self {
        Self { state: self.bits() }
    }

    /// `length` letters and digits for an id.
    pub(super) fn id(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..length).map(|_| char::from(ALPHABET[self.below(62) as usize])).collect()
    }

    /// `length` hexadecimal digits for an id.
    pub(super) fn hex(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b"0123456789abcdef"[self.below(16) as usize])).collect()
    }

    /// `length` bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
        while bytes.len() < length {
            bytes.extend_from_slice(&self.bits().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Spreads the bits of `x` over the whole word.
#[inline]
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_and_number_give_the_same_stream() {
        let draw = |seed, sequence| {
            let mut random = Random::new(seed, sequence);
            [random.bits(), random.bits(), random.bits()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut random = Random::new(7, 7);
        for _ in 0..10_000 {
            assert!((3..=9).contains(&random.between(3, 9)));
            assert!((0.0..1.0).contains(&random.unit()));
            assert!(!random.chance(0.0));
            assert!(random.chance(1.0));
        }
        assert_eq!(random.between(5, 5), 5);
        assert_eq!(random.between(9, 3), 9);
    }
}
