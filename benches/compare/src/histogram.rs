//! Latency histogram: 128 buckets per power of two, so a value is known to better than 1 %.

const SUB_BITS: u32 = 7;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) << SUB_BITS;

#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
    }

    /// The middle of the bucket below which a `share` (0..=1) of the values lies; 0 without values.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let bits = 64 - value.leading_zeros();
    if bits <= SUB_BITS + 1 {
        return value as usize;
    }
    let shift = bits - SUB_BITS - 1;
    ((shift as usize) << SUB_BITS) + (value >> shift) as usize
}

fn middle(index: usize) -> u64 {
    if index < 2 << SUB_BITS {
        return index as u64;
    }
    let shift = (index >> SUB_BITS) - 1;
    let top = (index & ((1 << SUB_BITS) - 1)) as u64 + (1 << SUB_BITS);
    (top << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_within_one_percent() {
        for value in [0, 1, 127, 255, 256, 257, 511, 512, 1_000, 16_384, 1_234_567, 98_765_432_109] {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let read = histogram.quantile(0.5);
            assert!(read.abs_diff(value) * 128 <= value, "{value} read as {read}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_split_the_values() {
        let mut histogram = Histogram::default();
        for value in 1..=1000 {
            histogram.record(value * 100);
        }
        assert!(histogram.quantile(0.5).abs_diff(50_000) < 2_000);
        assert!(histogram.quantile(0.99).abs_diff(99_000) < 4_000);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
