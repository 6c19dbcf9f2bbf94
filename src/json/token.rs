//! What a [`Scanner`](super::scan::Scanner) hands out: names, values, faults.

use std::borrow::Cow;
use std::ops::Range;

use super::text;

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the offending byte; the length of the text when it ends too early.
    pub at: usize,
    /// What is wrong there.
    pub kind: FaultKind,
}

/// The kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Something else was expected, in words.
    Expected(&'static str),
    /// Objects and arrays are nested deeper than [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX).
    TooDeep,
}

/// The type of a JSON value, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number of any form
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

impl Kind {
    /// The name with its article, for error texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    pub(super) fn of(first: u8) -> Option<Self> {
        Some(match first {
            b'n' => Self::Null,
            b't' | b'f' => Self::Bool,
            b'-' | b'0'..=b'9' => Self::Number,
            b'"' => Self::String,
            b'[' => Self::Array,
            b'{' => Self::Object,
            _ => return None,
        })
    }
}

/// A value's type and its bytes, from its first to its last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    /// The type.
    pub kind: Kind,
    /// The bytes, quotes of a string included.
    pub raw: &'a [u8],
    /// Where `raw` lies in the scanned text.
    pub span: Range<usize>,
}

impl<'a> Value<'a> {
    /// The bytes between the quotes of a string that has no escapes; `None` for any other value.
    pub fn plain_string(&self) -> Option<&'a [u8]> {
        let inner = self.raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        memchr::memchr(b'\\', inner).is_none().then_some(inner)
    }

    /// Reads a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.raw {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Reads a count; see [`count`].
    pub fn as_count(&self) -> Option<u64> {
        count(self.raw)
    }
}

/// Reads a number token as a whole number of at least 0.
///
/// A fraction of 0 and an exponent are accepted (`12.0`, `1e3`): some servers write all their numbers as floats.
/// Anything else is `None`.
pub fn count(raw: &[u8]) -> Option<u64> {
    let digits = raw.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_add(u64::from(digit)) }
    });
    if digits.is_some() && !raw.is_empty() {
        return digits;
    }
    let number: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
    // Up to 2^53 a float is a whole number exactly.
    let whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    whole.then_some(number as u64)
}

/// A member's name as it stands in the text, without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'a> {
    pub(super) raw: &'a [u8],
    /// Where the name stands in the scanned text, quotes included.
    pub span: Range<usize>,
    pub(super) escaped: bool,
}

impl<'a> Key<'a> {
    /// The name between its quotes, still escaped.
    pub fn escaped(&self) -> &'a [u8] {
        self.raw
    }

    /// The name, decoded; empty if it is no text.
    pub fn name(&self) -> Cow<'a, [u8]> {
        if self.escaped {
            Cow::Owned(text::unescape(self.raw).unwrap_or_default().into_bytes())
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// Whether this is the name `name`, however it is escaped.
    pub fn is(&self, name: &str) -> bool {
        if self.escaped { self.matches(&[name]).is_some() } else { self.raw == name.as_bytes() }
    }

    /// Which one of `names` this is.
    pub fn matches(&self, names: &[&str]) -> Option<usize> {
        if self.escaped {
            let decoded = text::unescape(self.raw)?;
            return names.iter().position(|name| *name == decoded);
        }
        names.iter().position(|name| name.as_bytes() == self.raw)
    }
}
