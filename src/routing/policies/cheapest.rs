//! `cheapest`: what do the tokens cost?

use crate::routing::plan::{Rates, Traits};

/// Most that a model which costs something can get where another one is free.
const PAID_BESIDE_FREE: f64 = 0.5;

/// Price of an average token of the request, in picodollars; none where no price is known.
///
/// `output_ratio` output tokens are expected for each input token. The tier that `input_tokens` reach counts.
#[inline]
pub(in crate::routing) fn average(traits: &Traits, input_tokens: u64, output_ratio: f64) -> Option<f64> {
    if traits.is_price_unknown {
        return None;
    }
    let reached = traits.tiers.iter().rev().find(|(above, _)| input_tokens > *above);
    let Rates { input, output } = reached.map_or(traits.prices, |(_, rates)| *rates);
    Some((input + output * output_ratio) / (1.0 + output_ratio))
}

/// The cheapest price that is not nothing, and whether anything is free.
#[derive(Debug, Clone, Copy)]
pub(in crate::routing) struct Market {
    cheapest: f64,
    has_free: bool,
}

impl Market {
    /// No model yet.
    pub(in crate::routing) const EMPTY: Self = Self { cheapest: f64::INFINITY, has_free: false };

    /// Takes in a model's price.
    #[inline]
    pub(in crate::routing) fn add(&mut self, average: f64) {
        if average > 0.0 {
            self.cheapest = self.cheapest.min(average);
        } else {
            self.has_free = true;
        }
    }

    /// 1 for what is free; else the cheapest price by this one, half of that where something is free.
    #[inline]
    pub(in crate::routing) fn point(&self, average: f64) -> f64 {
        let ceiling = if self.has_free { PAID_BESIDE_FREE } else { 1.0 };
        if average > 0.0 { ceiling * self.cheapest / average } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Features;

    fn model(input: f64, output: f64, tiers: &[(u64, Rates)]) -> Traits {
        Traits {
            context_window: None,
            lacks: Features::default(),
            is_price_unknown: false,
            limits_calls: false,
            prices: Rates { input, output },
            tiers: tiers.into(),
        }
    }

    fn points(averages: &[f64]) -> Vec<f64> {
        let mut market = Market::EMPTY;
        averages.iter().for_each(|average| market.add(*average));
        averages.iter().map(|average| market.point(*average)).collect()
    }

    #[test]
    fn points_follow_the_table() {
        let cases: [(&str, &[f64], &[f64]); 6] = [
            ("alone", &[5.0], &[1.0]),
            ("paid", &[2.0, 4.0, 8.0], &[1.0, 0.5, 0.25]),
            ("the same", &[3.0, 3.0], &[1.0, 1.0]),
            ("one free", &[0.0, 2.0, 8.0], &[1.0, 0.5, 0.125]),
            ("all free", &[0.0, 0.0], &[1.0, 1.0]),
            ("one free, one paid", &[9.0, 0.0], &[0.5, 1.0]),
        ];
        for (name, averages, expected) in cases {
            assert_eq!(points(averages), expected, "{name}");
        }
    }

    #[test]
    fn the_two_prices_are_weighed_by_the_expected_output() {
        let traits = model(1.0, 5.0, &[]);
        for (ratio, expected) in [(1.0, 3.0), (0.0, 1.0), (3.0, 4.0), (0.25, 1.8)] {
            assert_eq!(average(&traits, 0, ratio), Some(expected), "{ratio}");
        }
    }

    #[test]
    fn the_tier_that_the_request_reaches_counts() {
        let tier = |above, input, output| (above, Rates { input, output });
        let traits = model(1.0, 3.0, &[tier(100, 2.0, 6.0), tier(1_000, 10.0, 30.0)]);
        for (tokens, expected) in [(0, 2.0), (100, 2.0), (101, 4.0), (1_000, 4.0), (1_001, 20.0)] {
            assert_eq!(average(&traits, tokens, 1.0), Some(expected), "{tokens}");
        }
    }

    #[test]
    fn a_price_that_nobody_knows_is_not_free() {
        let traits = Traits { is_price_unknown: true, ..model(0.0, 0.0, &[]) };
        assert_eq!(average(&traits, 0, 1.0), None);
    }
}
