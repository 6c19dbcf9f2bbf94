//! Text that records and log lines are made of: JSON strings, integers, timestamps.
//!
//! Owns the spelling, appends to a buffer and allocates nothing. Knows no record, no clock and no I/O.
//!
//! Source: RFC 8259 section 7 (strings), RFC 3339 section 5.6 (timestamps).

/// The two digits of each number below 100.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends a decimal integer.
#[inline]
pub fn push_integer(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Appends `value · 10^-DECIMALS` exactly and without trailing zeros; `DECIMALS` is even and at most 18.
#[inline]
pub fn push_decimal<const DECIMALS: usize>(out: &mut Vec<u8>, value: u64) {
    const { assert!(DECIMALS <= 18 && DECIMALS.is_multiple_of(2)) };
    let unit = const { 10_u64.pow(DECIMALS as u32) };
    push_integer(out, value / unit);
    let mut fraction = value % unit;
    if fraction == 0 {
        return;
    }
    let mut text = [b'.'; 19];
    for pair in text[1..=DECIMALS].rchunks_exact_mut(2) {
        pair.copy_from_slice(&DIGIT_PAIRS[(fraction % 100) as usize]);
        fraction /= 100;
    }
    let digits = &text[..=DECIMALS];
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    out.extend_from_slice(&digits[..digits.len() - zeros]);
}

/// Appends `text` as a JSON string with its quotes.
///
/// Identifiers need no escapes, so the common way is one look at the bytes and one copy.
#[inline]
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_json_text(out, text);
    out.push(b'"');
}

/// Appends `text` as the inside of a JSON string.
#[inline]
pub fn push_json_text(out: &mut Vec<u8>, text: &str) {
    // No early exit: names are short.
    if text.bytes().fold(false, |any, byte| any | needs_escape(byte)) {
        push_escaped(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control if needs_escape(control) => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
            plain => out.push(plain),
        }
    }
}

/// `text` cut to at most `bytes_max` bytes, at the edge of a character.
#[inline]
pub fn clip(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}

/// A moment as `2026-07-01T12:34:56.789Z`: 24 ASCII bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; 24]);

impl Timestamp {
    /// The 24 ASCII bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("a timestamp is made of ASCII digits and signs")
    }
}

/// Spells milliseconds since the Unix epoch; remembers the last second, which most calls share.
#[derive(Debug, Clone)]
pub struct TimestampFormatter {
    second: u64,
    text: [u8; 24],
}

impl Default for TimestampFormatter {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl TimestampFormatter {
    /// Last whole second that jiff knows in every time zone, the second last day of 9999, and its milliseconds.
    const UNIX_MS_MAX: u64 = 253_402_207_199_999;

    /// The moment `unix_ms` in UTC; moments beyond the year 9999 are taken for one at its end.
    #[inline]
    pub fn format(&mut self, unix_ms: u64) -> Timestamp {
        let unix_ms = unix_ms.min(Self::UNIX_MS_MAX);
        let (second, ms) = (unix_ms / 1000, unix_ms % 1000);
        if second != self.second {
            self.spell_second(second);
        }
        self.text[20] = b'0' + (ms / 100) as u8;
        self.text[21] = b'0' + (ms / 10 % 10) as u8;
        self.text[22] = b'0' + (ms % 10) as u8;
        Timestamp(self.text)
    }

    #[cold]
    fn spell_second(&mut self, second: u64) {
        let moment = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
        let civil = jiff::tz::Offset::UTC.to_datetime(moment);
        let fields = [
            (0, 4, i32::from(civil.year())),
            (5, 2, i32::from(civil.month())),
            (8, 2, i32::from(civil.day())),
            (11, 2, i32::from(civil.hour())),
            (14, 2, i32::from(civil.minute())),
            (17, 2, i32::from(civil.second())),
        ];
        for (at, digits, number) in fields {
            let mut rest = number;
            for place in self.text[at..at + digits].iter_mut().rev() {
                *place = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        self.second = second;
    }
}

/// Reads a moment in RFC 3339 spelling as milliseconds since the Unix epoch; `None` for anything else and for moments
/// before the epoch. Our own spelling is read without a detour.
pub fn parse_timestamp_ms(text: &str) -> Option<u64> {
    parse_own_spelling(text.as_bytes())
        .or_else(|| u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok())
}

/// Reads `YYYY-MM-DDTHH:MM:SS.mmmZ`.
fn parse_own_spelling(text: &[u8]) -> Option<u64> {
    let shape_holds = text.len() == 24
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')]
            .into_iter()
            .all(|(at, sign)| text[at] == sign);
    if !shape_holds {
        return None;
    }
    let number = |at: usize, digits: usize| {
        text[at..at + digits].iter().try_fold(0_u32, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = jiff::civil::Date::new(number(0, 4)? as i16, number(5, 2)? as i8, number(8, 2)? as i8).ok()?;
    let midnight =
        jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()?;
    let day_ms = u64::from(hour * 3600 + minute * 60 + second) * 1000 + u64::from(number(20, 3)?);
    Some(u64::try_from(midnight.as_millisecond()).ok()? + day_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_spelled_in_utc_with_milliseconds() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (1_709_208_000_007, "2024-02-29T12:00:00.007Z"),
            (u64::MAX, "9999-12-30T21:59:59.999Z"),
        ];
        let mut formatter = TimestampFormatter::default();
        for (unix_ms, expected) in cases {
            assert_eq!(formatter.format(unix_ms).as_str(), expected);
        }
    }

    #[test]
    fn other_spellings_of_a_moment_are_read() {
        let cases = [
            ("2026-01-01T00:00:00Z", Some(1_767_225_600_000)),
            ("2026-01-01T02:00:00.5+02:00", Some(1_767_225_600_500)),
            ("2026-01-01T00:00:00.000Z", Some(1_767_225_600_000)),
            ("2026-02-30T00:00:00.000Z", None),
            ("2026-01-01T24:00:00.000Z", None),
            ("yesterday", None),
            ("1969-12-31T23:59:59.000Z", None),
            ("2026-01-01T00:00:0é.00Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timestamp_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
    }

    proptest! {
        #[test]
        fn strings_come_back_from_a_json_reader(text in any::<String>()) {
            let mut out = vec![];
            push_json_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            prop_assert!(!out.contains(&b'\n'));
        }

        #[test]
        fn moments_survive_being_spelled_and_read(a in 0..=TimestampFormatter::UNIX_MS_MAX, step in 0..5_000_u64) {
            let mut formatter = TimestampFormatter::default();
            for unix_ms in [a, (a + step).min(TimestampFormatter::UNIX_MS_MAX), a] {
                let text = formatter.format(unix_ms);
                prop_assert_eq!(parse_own_spelling(text.as_bytes()), Some(unix_ms));
                prop_assert_eq!(parse_timestamp_ms(text.as_str()), Some(unix_ms));
            }
        }
    }
}
