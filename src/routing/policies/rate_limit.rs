//! `rate-limit`: how many calls were made lately?
//!
//! Only models whose own limits bound the number of calls take part in the count. A provider's 429 keeps any model away
//! for as long as the provider said.

use crate::routing::{Reason, Standing};

/// Why a model is left alone. `calls`: of the window, for a model that takes part.
#[inline]
pub(in crate::routing) fn exclusion(
    calls: Option<u64>,
    max_calls: Option<u64>,
    standing: &Standing,
    now_ms: u64,
) -> Option<Reason> {
    if now_ms < standing.cooldown_until_ms {
        return Some(Reason::Cooldown { until_ms: standing.cooldown_until_ms });
    }
    let (calls, max) = (calls?, max_calls?);
    (calls >= max).then_some(Reason::RateLimit { calls, max })
}

/// The fewest calls that a model had which had any; 0: none had.
#[derive(Debug, Clone, Copy)]
pub(in crate::routing) struct Load {
    fewest: u64,
}

impl Load {
    /// No model yet.
    pub(in crate::routing) const EMPTY: Self = Self { fewest: u64::MAX };

    /// Takes in a model's calls.
    #[inline]
    pub(in crate::routing) fn add(&mut self, calls: Option<u64>) {
        if let Some(calls @ 1..) = calls {
            self.fewest = self.fewest.min(calls);
        }
    }

    /// The fewest calls by this model's; 1 for one without calls, or that does not take part.
    #[inline]
    pub(in crate::routing) fn point(&self, calls: Option<u64>) -> f64 {
        match calls {
            Some(calls @ 1..) => self.fewest as f64 / calls as f64,
            Some(0) | None => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, calls of each model, points of each model.
    type Case = (&'static str, &'static [Option<u64>], &'static [f64]);

    #[test]
    fn points_follow_the_table() {
        let cases: [Case; 5] = [
            ("nobody takes part", &[None, None], &[1.0, 1.0]),
            ("no calls yet", &[Some(0), Some(0)], &[1.0, 1.0]),
            ("one had calls", &[Some(0), Some(40)], &[1.0, 1.0]),
            ("two had calls", &[Some(10), Some(40), Some(0), None], &[1.0, 0.25, 1.0, 1.0]),
            ("the same", &[Some(7), Some(7)], &[1.0, 1.0]),
        ];
        for (name, calls, expected) in cases {
            let mut load = Load::EMPTY;
            calls.iter().for_each(|calls| load.add(*calls));
            let points: Vec<f64> = calls.iter().map(|calls| load.point(*calls)).collect();
            assert_eq!(points, expected, "{name}");
        }
    }

    #[test]
    fn the_cap_and_the_providers_own_limit_exclude() {
        let cool = Standing::default();
        let hot = Standing { cooldown_until_ms: 5_000, ..cool };
        let cases = [
            ("no cap", Some(1_000), None, cool, None),
            ("below the cap", Some(9), Some(10), cool, None),
            ("at the cap", Some(10), Some(10), cool, Some(Reason::RateLimit { calls: 10, max: 10 })),
            ("a cap of nothing", Some(0), Some(0), cool, Some(Reason::RateLimit { calls: 0, max: 0 })),
            ("takes no part", None, Some(10), cool, None),
            ("cooling down", None, None, hot, Some(Reason::Cooldown { until_ms: 5_000 })),
        ];
        for (name, calls, max, standing, expected) in cases {
            assert_eq!(exclusion(calls, max, &standing, 4_999), expected, "{name}");
        }
        assert_eq!(exclusion(None, None, &hot, 5_000), None, "cooled down");
    }
}
