//! Money as an integer.
//!
//! Owns the unit and its spelling as a decimal number. No floating point on the way from tokens to a record: what a
//! provider bills in fractions of a cent must add up after ten million requests.

use crate::telemetry::text::push_decimal;

/// An amount in picodollars: 10⁻¹² USD. One million tokens at 0.0028 USD are 2,800 picodollars a token, exactly.
///
/// The largest amount is about 18.4 million USD; sums saturate there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Picodollars(pub u64);

impl Picodollars {
    /// Decimal places of a picodollar amount written in USD.
    const USD_DECIMALS: usize = 12;

    /// The sum, at most the largest amount.
    #[inline]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Appends the amount as a decimal number of USD, exact and without trailing zeros: `0.0000421`, `3`, `12.5`.
    #[inline]
    pub fn write_usd(self, out: &mut Vec<u8>) {
        push_decimal::<{ Self::USD_DECIMALS }>(out, self.0);
    }

    /// Reads a decimal number of USD, rounding half up beyond the twelfth decimal; an exponent is understood.
    ///
    /// `None` for what is not a number, is negative or is beyond the largest amount.
    pub fn parse_usd(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let mantissa = mantissa.strip_prefix('+').unwrap_or(mantissa);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.len() + fraction.len() == 0 || !digits().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // The amount is digits × 10^shift picodollars.
        let shift = i64::from(exponent) + Self::USD_DECIMALS as i64 - fraction.len() as i64;
        let kept = (whole.len() + fraction.len()) as i64 + shift.min(0);
        let mut amount = 0_u64;
        for (index, byte) in digits().enumerate() {
            let digit = u64::from(byte - b'0');
            if (index as i64) < kept {
                amount = amount.checked_mul(10)?.checked_add(digit)?;
            } else {
                let half_or_more = index as i64 == kept && digit >= 5;
                return Some(Self(amount.checked_add(u64::from(half_or_more))?));
            }
        }
        for _ in 0..shift.max(0) {
            if amount == 0 {
                break;
            }
            amount = amount.checked_mul(10)?;
        }
        Some(Self(amount))
    }
}

/// Appends a price of `rate` picodollars per token as USD per million tokens, exact: `2.5`, `0.0028`.
#[inline]
pub fn write_usd_per_million(out: &mut Vec<u8>, rate: u64) {
    // Picodollars per token times 10⁶ tokens over 10¹² picodollars per USD.
    push_decimal::<6>(out, rate);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(amount: u64) -> String {
        let mut out = vec![];
        Picodollars(amount).write_usd(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn amounts_are_written_exactly_and_without_trailing_zeros() {
        let cases = [
            (0, "0"),
            (1, "0.000000000001"),
            (42_100_000, "0.0000421"),
            (1_000_000_000_000, "1"),
            (12_500_000_000_000, "12.5"),
            (u64::MAX, "18446744.073709551615"),
        ];
        for (amount, expected) in cases {
            assert_eq!(usd(amount), expected);
        }
    }

    #[test]
    fn prices_are_written_per_million_tokens() {
        for (rate, expected) in [(0, "0"), (2_800, "0.0028"), (2_500_000, "2.5"), (75_000_000, "75")] {
            let mut out = vec![];
            write_usd_per_million(&mut out, rate);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn written_numbers_of_other_programs_are_read() {
        let cases = [
            ("1e-7", Some(100_000)),
            ("1.5E-05", Some(15_000_000)),
            ("0.000123456", Some(123_456_000)),
            ("1e3", Some(1_000_000_000_000_000)),
            ("0.0000000000005", Some(1)),
            ("0.0000000000004999", Some(0)),
            ("1e-30", Some(0)),
            ("0e99", Some(0)),
            ("1e99", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("NaN", None),
            ("e5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Picodollars::parse_usd(text), expected.map(Picodollars), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_being_written_and_read(amount in any::<u64>()) {
            prop_assert_eq!(Picodollars::parse_usd(&usd(amount)), Some(Picodollars(amount)));
        }

        #[test]
        fn no_text_panics(text in "[0-9eE.+-]{0,40}") {
            let _ = Picodollars::parse_usd(&text);
        }
    }
}
