//! Prices and what a call costs at them.
//!
//! Owns the arithmetic from token counts to money, in integers only. Knows no catalogue, no JSON and no
//! configuration: whoever builds a [`Price`] has already turned USD per million tokens into picodollars per
//! token (1 USD per million tokens are 1,000,000 picodollars per token).
//!
//! The formula, with `plain = input − cached − cacheWrite`, is
//! `plain·Pin + cached·(Pcache ?? Pin) + cacheWrite·(Pwrite ?? Pin) + output·Pout`; a tier replaces the prices of
//! the whole request. Nothing is rounded: a picodollar is finer than any price that a provider publishes.

use crate::budget::money::Picodollars;
use crate::dialect::Usage;

/// What a model costs, in picodollars per token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Price {
    /// An input token that came neither from nor went to the provider's prompt cache.
    pub input: u64,
    /// An output token, reasoning included.
    pub output: u64,
    /// An input token read from the provider's prompt cache. Without a price of its own: `input`.
    pub cached: u64,
    /// An input token written to the provider's prompt cache. Without a price of its own: `input`.
    pub cache_write: u64,
    /// Prices for long requests, in any order.
    pub tiers: Vec<Tier>,
}

/// Prices that hold for the whole of a request with more than `above` input tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tier {
    /// The tier holds when all input tokens, cached ones included, are more than this.
    pub above: u64,
    /// Picodollars per input token.
    pub input: u64,
    /// Picodollars per output token.
    pub output: u64,
    /// Picodollars per input token read from the prompt cache; none: see [`Price::rates`].
    pub cached: Option<u64>,
}

/// The four prices that one request was charged at, in picodollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Per plain input token.
    pub input: u64,
    /// Per output token.
    pub output: u64,
    /// Per input token read from the cache.
    pub cached: u64,
    /// Per input token written to the cache.
    pub cache_write: u64,
}

/// What a call cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// All input tokens: plain, read from the cache, written to the cache.
    pub input: Picodollars,
    /// All output tokens.
    pub output: Picodollars,
}

impl Cost {
    /// Input and output together.
    #[inline]
    pub fn total(&self) -> Picodollars {
        self.input.saturating_add(self.output)
    }
}

impl Price {
    /// The prices that hold for a request with `input_tokens` input tokens, cached ones included.
    ///
    /// The tier with the largest `above` below `input_tokens` replaces input and output, and the cache price
    /// if it has one. A cache price that equals the base input price is taken for "no price of its own" and
    /// follows the tier's input price; any other one stays.
    #[inline]
    pub fn rates(&self, input_tokens: u64) -> Rates {
        let mut rates = Rates {
            input: self.input,
            output: self.output,
            cached: self.cached,
            cache_write: self.cache_write,
        };
        if self.tiers.is_empty() {
            return rates;
        }
        let reached =
            self.tiers.iter().filter(|tier| tier.above < input_tokens).max_by_key(|tier| tier.above);
        if let Some(tier) = reached {
            rates.input = tier.input;
            rates.output = tier.output;
            rates.cached = match tier.cached {
                Some(cached) => cached,
                None if self.cached == self.input => tier.input,
                None => self.cached,
            };
            if self.cache_write == self.input {
                rates.cache_write = tier.input;
            }
        }
        rates
    }

    /// What `usage` costs. Saturates at the largest amount instead of wrapping.
    ///
    /// Cache counts beyond `usage.input` are a provider's mistake: they are cut to it, reads before writes, so
    /// that no token is charged twice.
    #[inline]
    pub fn cost(&self, usage: &Usage) -> Cost {
        self.rates(usage.input).cost(usage)
    }
}

impl Rates {
    /// What `usage` costs at these prices; see [`Price::cost`].
    #[inline]
    pub fn cost(&self, usage: &Usage) -> Cost {
        let cached = usage.cached_input.min(usage.input);
        let cache_write = usage.cache_write.min(usage.input - cached);
        let plain = usage.input - cached - cache_write;
        let input = plain
            .saturating_mul(self.input)
            .saturating_add(cached.saturating_mul(self.cached))
            .saturating_add(cache_write.saturating_mul(self.cache_write));
        Cost { input: Picodollars(input), output: Picodollars(usage.output.saturating_mul(self.output)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2 USD input, 10 output, 0.2 cache read, 2.5 cache write per million; from 200,000 on double.
    fn tiered() -> Price {
        Price {
            input: 2_000_000,
            output: 10_000_000,
            cached: 200_000,
            cache_write: 2_500_000,
            tiers: vec![
                Tier { above: 200_000, input: 4_000_000, output: 20_000_000, cached: Some(400_000) },
                Tier { above: 1_000, input: 3_000_000, output: 15_000_000, cached: None },
            ],
        }
    }

    fn usage(input: u64, cached_input: u64, cache_write: u64, output: u64) -> Usage {
        Usage { input, output, cached_input, cache_write, reasoning: 0 }
    }

    #[test]
    fn cost_follows_the_table() {
        let cases = [
            ("nothing", usage(0, 0, 0, 0), 0, 0),
            ("plain", usage(100, 0, 0, 10), 200_000_000, 100_000_000),
            ("cache read", usage(100, 60, 0, 0), 40 * 2_000_000 + 60 * 200_000, 0),
            (
                "cache write",
                usage(100, 60, 30, 1),
                10 * 2_000_000 + 60 * 200_000 + 30 * 2_500_000,
                10_000_000,
            ),
            ("at the edge of a tier", usage(1_000, 0, 0, 1), 2_000_000_000, 10_000_000),
            ("one past the edge", usage(1_001, 0, 0, 1), 1_001 * 3_000_000, 15_000_000),
            ("tier without cache price", usage(2_000, 2_000, 0, 0), 2_000 * 200_000, 0),
            ("second tier", usage(200_001, 200_001, 0, 2), 200_001 * 400_000, 40_000_000),
            ("more cached than input", usage(10, 50, 50, 0), 10 * 200_000, 0),
            ("writes cut after reads", usage(10, 6, 50, 0), 6 * 200_000 + 4 * 2_500_000, 0),
        ];
        for (name, usage, input, output) in cases {
            let cost = tiered().cost(&usage);
            assert_eq!(cost, Cost { input: Picodollars(input), output: Picodollars(output) }, "{name}");
        }
    }

    #[test]
    fn cache_prices_that_only_repeat_the_input_price_follow_a_tier() {
        let tier = Tier { above: 10, input: 9, output: 9, cached: None };
        let price = Price { input: 5, output: 1, cached: 5, cache_write: 5, tiers: vec![tier] };
        assert_eq!(price.rates(11), Rates { input: 9, output: 9, cached: 9, cache_write: 9 });
        assert_eq!(price.rates(10), Rates { input: 5, output: 1, cached: 5, cache_write: 5 });
    }

    #[test]
    fn the_published_price_of_a_million_tokens_comes_out_to_the_picodollar() {
        let price = Price { input: 2_800, output: 0, cached: 2_800, cache_write: 2_800, tiers: vec![] };
        assert_eq!(price.cost(&usage(1_000_000, 0, 0, 0)).input, Picodollars(2_800_000_000));
    }

    proptest! {
        #[test]
        fn any_counts_and_prices_give_a_cost(
            counts in any::<[u64; 4]>(), prices in any::<[u64; 4]>(), tier in any::<[u64; 3]>(),
        ) {
            let tier = Tier { above: tier[0], input: tier[1], output: tier[2], cached: None };
            let price = Price {
                input: prices[0], output: prices[1], cached: prices[2], cache_write: prices[3], tiers: vec![tier],
            };
            let cost = price.cost(&usage(counts[0], counts[1], counts[2], counts[3]));
            prop_assert!(cost.total() >= cost.input && cost.total() >= cost.output);
        }

        #[test]
        fn one_price_for_all_input_makes_the_cache_counts_irrelevant(
            input in 0..1_000_000_u64, cached in 0..2_000_000_u64, write in 0..2_000_000_u64, rate in 0..1_000_000_u64,
        ) {
            let price = Price { input: rate, output: 0, cached: rate, cache_write: rate, tiers: vec![] };
            prop_assert_eq!(price.cost(&usage(input, cached, write, 0)).input, Picodollars(input * rate));
        }

        #[test]
        fn without_tiers_more_tokens_never_cost_less(
            input in 0..1_000_000_u64, output in 0..1_000_000_u64, more in 0..1_000_u64,
        ) {
            let price = Price { tiers: vec![], ..tiered() };
            let less = price.cost(&usage(input, input / 2, 0, output)).total();
            let full = price.cost(&usage(input + more, input / 2, 0, output + more)).total();
            prop_assert!(full >= less);
        }
    }
}
