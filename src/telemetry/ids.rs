//! Ids of requests and records: UUID version 7.
//!
//! Owns the bit layout and the per-core source of randomness. The time is an argument. The ids are unique, not secret:
//! 48 bits of milliseconds and 74 bits from a generator that each core seeds from the operating system.
//!
//! Source: RFC 9562 section 5.7. Generator: xoshiro256++ (Blackman and Vigna).

/// The id of a request, of an attempt's record, or of anything else that needs an id sorted by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// A byte's two hexadecimal digits.
const HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Where the two digits of each byte stand in the hyphenated spelling.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

impl TraceId {
    /// Length of the hyphenated spelling in bytes.
    pub const TEXT_BYTES: usize = 36;

    /// The sixteen bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the hyphenated spelling, in either case; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let is_shaped = text.len() == Self::TEXT_BYTES && [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
        if !is_shaped {
            return None;
        }
        let digit = |at: usize| char::from(text[at]).to_digit(16);
        let mut bytes = [0; 16];
        for (byte, place) in bytes.iter_mut().zip(PLACES) {
            *byte = (digit(place)? * 16 + digit(place + 1)?) as u8;
        }
        Some(Self(bytes))
    }

    /// Milliseconds since the Unix epoch at which the id was made.
    pub fn unix_ms(&self) -> u64 {
        self.0[..6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Writes the lower-case hyphenated spelling.
    #[inline]
    pub fn write_hyphenated(&self, out: &mut [u8; Self::TEXT_BYTES]) {
        for (byte, place) in self.0.iter().zip(PLACES) {
            out[place..place + 2].copy_from_slice(&HEX_PAIRS[usize::from(*byte)]);
        }
        for hyphen in [8, 13, 18, 23] {
            out[hyphen] = b'-';
        }
    }

    /// Appends the lower-case hyphenated spelling.
    #[inline]
    pub fn push_hyphenated(&self, out: &mut Vec<u8>) {
        let mut text = [0; Self::TEXT_BYTES];
        self.write_hyphenated(&mut text);
        out.extend_from_slice(&text);
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0; Self::TEXT_BYTES];
        self.write_hyphenated(&mut text);
        f.write_str(str::from_utf8(&text).expect("hexadecimal digits and hyphens are ASCII"))
    }
}

/// Makes ids: one per core.
#[derive(Debug, Clone)]
pub struct TraceIds {
    state: [u64; 4],
}

impl TraceIds {
    /// A source seeded by the operating system, so that no two cores or processes repeat one another.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn from_system() -> Result<Self, ring::error::Unspecified> {
        use ring::rand::SecureRandom;

        let mut seed = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    /// A source that always gives the same ids, for tests and simulations.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        if state == [0; 4] {
            // The generator's one fixed point.
            state[0] = 1;
        }
        Self { state }
    }

    /// A new id for the moment `unix_ms`.
    #[inline]
    pub fn next(&mut self, unix_ms: u64) -> TraceId {
        let (a, b) = (self.random(), self.random());
        let high = unix_ms << 16 | 0x7000 | a >> 52;
        let low = 0b10 << 62 | b >> 2;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        TraceId(bytes)
    }

    /// 64 random bits, good for sampling and jitter as well; not for secrets.
    #[inline]
    pub fn random(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ b << 17, d.rotate_left(45)];
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_of_two_systems_sources_differ() {
        let (mut one, mut other) = (TraceIds::from_system().unwrap(), TraceIds::from_system().unwrap());
        let ids: HashSet<_> = (0..10_000).flat_map(|_| [one.next(1), other.next(1)]).collect();
        assert_eq!(ids.len(), 20_000);
    }

    #[test]
    fn a_zero_seed_still_gives_different_ids() {
        let mut ids = TraceIds::from_seed([0; 32]);
        assert_eq!((0..1000).map(|_| ids.next(5)).collect::<HashSet<_>>().len(), 1000);
    }

    #[test]
    fn what_is_no_id_is_not_read() {
        for text in
            ["", "0198c5", "0198c5a0-0000-7000-8000-00000000000g", "0198c5a0x0000-7000-8000-000000000000"]
        {
            assert_eq!(TraceId::parse(text), None, "{text}");
        }
        assert_eq!(TraceId::parse(&"é".repeat(18)), None);
    }

    #[test]
    fn the_generator_follows_its_definition() {
        // First numbers of xoshiro256++ for the state 1, 2, 3, 4, worked out from the definition by hand:
        // rotl(1 + 4, 23) + 1 = 5 · 2^23 + 1.
        let mut seed = [0; 32];
        for (index, word) in seed.chunks_exact_mut(8).enumerate() {
            word[7] = index as u8 + 1;
        }
        let mut ids = TraceIds::from_seed(seed);
        assert_eq!(ids.random(), (5 << 23) + 1);
        // The state is then 7, 0, 2 ^ (2 << 17 …): see the reference: s = [7, 0, 262146, 6 rotl 45].
        assert_eq!(ids.state, [7, 0, 262_146, 6_u64.rotate_left(45)]);
    }

    proptest! {
        #[test]
        fn every_id_is_a_version_seven_uuid(unix_ms in 0..1_u64 << 48, seed in any::<[u8; 32]>()) {
            let id = TraceIds::from_seed(seed).next(unix_ms);
            let uuid = uuid::Uuid::parse_str(&id.to_string()).unwrap();
            prop_assert_eq!(uuid.as_bytes(), id.as_bytes());
            prop_assert_eq!(uuid.get_version_num(), 7);
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(TraceId::parse(&id.to_string()), Some(id));
            prop_assert_eq!(TraceId::parse(&id.to_string().to_uppercase()), Some(id));
            prop_assert_eq!(id.unix_ms(), unix_ms);
            prop_assert_eq!(id.to_string(), uuid.hyphenated().to_string());
        }
    }
}
