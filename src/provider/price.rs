//! What a token costs: decimal text to integers, tiers.
//!
//! Prices are given in USD per million tokens and kept as picodollars (10⁻¹² USD) per token: 1 USD per million is
//! 1,000,000 picodollars a token, so six decimals of the file are exact. Owns no arithmetic of bills.
//!
//! Source: the project's cost rules; tiers as in the catalogue (`metric: "context_tokens"`).

/// Highest price that is believed, in USD per million tokens. The dearest model of the catalogue stands at 180;
/// beyond this bound the file has another unit in mind, and a bill of a long context could leave 64 bits.
pub const USD_PER_MILLION_MAX: u64 = 100_000;

/// Picodollars per token of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prices {
    /// An input token that is neither read from nor written to the prompt cache.
    pub input: u64,
    /// An output token, reasoning included.
    pub output: u64,
    /// An input token read from the prompt cache; the input price where the file gives none.
    pub cached: u64,
    /// An input token written to the prompt cache; the input price where the file gives none.
    pub cache_write: u64,
}

/// Prices that replace the base for the whole request once its context is larger than `above`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceTier {
    /// Total input tokens of the request, cached ones included, beyond which the tier applies.
    pub above: u64,
    /// Prices of the whole request.
    pub prices: Prices,
}

/// Prices of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable {
    base: Prices,
    /// Ascending by `above`, no two alike.
    tiers: Vec<PriceTier>,
}

impl PriceTable {
    /// A table; the tiers are put in order, and of two with the same threshold the later one counts.
    pub fn new(base: Prices, tiers: Vec<PriceTier>) -> Self {
        let mut ordered: Vec<PriceTier> = Vec::with_capacity(tiers.len());
        for tier in tiers {
            match ordered.binary_search_by_key(&tier.above, |known| known.above) {
                Ok(at) => ordered[at] = tier,
                Err(at) => ordered.insert(at, tier),
            }
        }
        Self { base, tiers: ordered }
    }

    /// The prices below every tier.
    pub fn base(&self) -> &Prices {
        &self.base
    }

    /// The tiers, ascending.
    pub fn tiers(&self) -> &[PriceTier] {
        &self.tiers
    }

    /// The prices of a request with this many input tokens, cached ones included.
    #[inline]
    pub fn for_input(&self, input_tokens: u64) -> &Prices {
        match self.tiers.iter().rev().find(|tier| input_tokens > tier.above) {
            Some(tier) => &tier.prices,
            None => &self.base,
        }
    }
}

/// The parts of a price list as a file gives them, all in picodollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PriceParts {
    /// Input price.
    pub input: Option<u64>,
    /// Output price.
    pub output: Option<u64>,
    /// Cache-read price.
    pub cached: Option<u64>,
    /// Cache-write price.
    pub cache_write: Option<u64>,
}

impl PriceParts {
    /// Prices with the gaps filled: cache prices from the input price, the rest with nothing.
    pub fn fill(self) -> Prices {
        let input = self.input.unwrap_or(0);
        Prices {
            input,
            output: self.output.unwrap_or(0),
            cached: self.cached.unwrap_or(input),
            cache_write: self.cache_write.unwrap_or(input),
        }
    }

    /// Prices of a tier: input and output are the tier's, cache prices the tier's or else the base list's.
    pub fn fill_tier(self, base: Self) -> Prices {
        Self {
            cached: self.cached.or(base.cached),
            cache_write: self.cache_write.or(base.cache_write),
            ..self
        }
        .fill()
    }
}

/// A decimal read into an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    /// `number × 10^decimals`, rounded half up.
    pub value: u64,
    /// Whether digits were lost.
    pub rounded: bool,
}

/// Why a number could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleError {
    /// Less than zero.
    Negative,
    /// Does not fit 64 bits after scaling.
    TooLarge,
    /// Not a decimal number.
    Malformed,
}

/// USD per million tokens to picodollars per token.
///
/// # Errors
/// Negative, beyond [`USD_PER_MILLION_MAX`], or not a number.
pub fn usd_per_million(number: &serde_json::Number) -> Result<Scaled, ScaleError> {
    let scaled = scale_number(number, 6)?;
    if scaled.value > USD_PER_MILLION_MAX * 1_000_000 {
        return Err(ScaleError::TooLarge);
    }
    Ok(scaled)
}

/// A JSON number times `10^decimals`, without binary fractions in between.
///
/// serde_json keeps a fraction as the nearest double. The shortest decimal that reads back to that double is the
/// file's own text for everything of up to 15 significant digits, and that text is what is scaled here.
///
/// # Errors
/// See [`ScaleError`].
pub fn scale_number(number: &serde_json::Number, decimals: u32) -> Result<Scaled, ScaleError> {
    if let Some(whole) = number.as_u64() {
        let value = 10_u64.checked_pow(decimals).and_then(|unit| whole.checked_mul(unit));
        return value.map(|value| Scaled { value, rounded: false }).ok_or(ScaleError::TooLarge);
    }
    // `Display` of a double never uses an exponent and is the shortest text that reads back.
    let text = number.as_f64().map(|number| number.to_string()).ok_or(ScaleError::Malformed)?;
    scale_decimal(&text, decimals)
}

/// Decimal text (`digits[.digits]`, no exponent) times `10^decimals`, rounded half up.
///
/// # Errors
/// See [`ScaleError`].
pub fn scale_decimal(text: &str, decimals: u32) -> Result<Scaled, ScaleError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit()) {
        return Err(ScaleError::Malformed);
    }
    let kept_len = fraction.len().min(decimals as usize);
    let (kept, lost) = fraction.split_at(kept_len);
    let padding = std::iter::repeat_n(b'0', decimals as usize - kept_len);
    let mut value: u64 = 0;
    for digit in whole.bytes().chain(kept.bytes()).chain(padding) {
        let shifted = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
        value = shifted.ok_or(ScaleError::TooLarge)?;
    }
    let rounded = lost.bytes().any(|digit| digit != b'0');
    if lost.as_bytes().first().is_some_and(|digit| *digit >= b'5') {
        value = value.checked_add(1).ok_or(ScaleError::TooLarge)?;
    }
    if negative && (value > 0 || rounded) {
        return Err(ScaleError::Negative);
    }
    Ok(Scaled { value, rounded })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> serde_json::Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn prices_become_picodollars_without_a_float_in_between() {
        for (text, pico, rounded) in [
            ("0", 0, false),
            ("-0.0", 0, false),
            ("1", 1_000_000, false),
            ("2.5", 2_500_000, false),
            ("0.0028", 2_800, false),
            ("0.000001", 1, false),
            ("0.0000005", 1, true),
            ("0.0000004", 0, true),
            ("1e-6", 1, false),
            ("2.8e-3", 2_800, false),
            ("0.1", 100_000, false),
            ("0.3", 300_000, false),
            ("1.005", 1_005_000, false),
            ("4.35", 4_350_000, false),
            ("37.5", 37_500_000, false),
            ("99999.999999", 99_999_999_999, false),
            ("100000", 100_000_000_000, false),
        ] {
            assert_eq!(usd_per_million(&number(text)), Ok(Scaled { value: pico, rounded }), "{text}");
        }
    }

    #[test]
    fn prices_that_cannot_be_are_refused() {
        for (text, error) in [
            ("-1", ScaleError::Negative),
            ("-0.0000001", ScaleError::Negative),
            ("100000.1", ScaleError::TooLarge),
            ("1e30", ScaleError::TooLarge),
            ("18446744073709551615", ScaleError::TooLarge),
        ] {
            assert_eq!(usd_per_million(&number(text)), Err(error), "{text}");
        }
        assert_eq!(scale_decimal("1e5", 6), Err(ScaleError::Malformed));
        assert_eq!(scale_decimal("", 6), Err(ScaleError::Malformed));
    }

    #[test]
    fn the_largest_tier_below_the_context_prices_the_whole_request() {
        let at = |input| Prices { input, output: 0, cached: 0, cache_write: 0 };
        let tier = |above, input| PriceTier { above, prices: at(input) };
        let table = PriceTable::new(at(1), vec![tier(200, 3), tier(100, 2), tier(200, 4)]);
        for (tokens, price) in [(0, 1), (100, 1), (101, 2), (200, 2), (201, 4), (u64::MAX, 4)] {
            assert_eq!(table.for_input(tokens).input, price, "{tokens} tokens");
        }
    }

    #[test]
    fn cache_prices_fall_back_to_the_input_price() {
        let base = PriceParts { input: Some(10), output: Some(20), cached: Some(1), cache_write: None };
        assert_eq!(base.fill(), Prices { input: 10, output: 20, cached: 1, cache_write: 10 });
        let tier = PriceParts { input: Some(30), output: Some(40), ..PriceParts::default() };
        assert_eq!(tier.fill_tier(base), Prices { input: 30, output: 40, cached: 1, cache_write: 30 });
    }

    proptest! {
        #[test]
        fn every_price_of_six_decimals_is_exact(pico in 0_u64..=100_000_000_000) {
            let text = format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
            prop_assert_eq!(usd_per_million(&number(&text)), Ok(Scaled { value: pico, rounded: false }));
        }

        #[test]
        fn more_decimals_are_rounded_half_up(pico in 0_u64..1_000_000_000, lost in 1_u64..1000) {
            let text = format!("{}.{:06}{lost:03}", pico / 1_000_000, pico % 1_000_000);
            let expected = pico + u64::from(lost >= 500);
            prop_assert_eq!(usd_per_million(&number(&text)), Ok(Scaled { value: expected, rounded: true }));
        }

        #[test]
        fn no_text_breaks_the_decimal_reader(text in ".{0,40}", decimals in 0_u32..20) {
            let _ = scale_decimal(&text, decimals);
        }
    }
}
