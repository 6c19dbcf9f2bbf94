//! One log line, as JSON or for a reader's eye.
//!
//! Owns the envelope (`ts`, `level`, `msg`, then the fields) and how a field is spelled in each format. Appends to a
//! buffer; knows no level, no queue and no clock.

use std::fmt::{self, Display, Write as _};

use super::ids::TraceId;
use super::text::{Timestamp, clip, push_integer, push_json_string, push_json_text};
use crate::budget::money::Picodollars;
use crate::limits::RECORD_ERROR_BYTES_MAX;

/// How lines are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// `time LEVEL message key=value …`.
    Pretty,
}

/// A line being written. Every text is cut to a bound and escaped, so a line stays one line.
#[derive(Debug)]
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
}

impl<'a> Line<'a> {
    /// Starts a line with its envelope.
    pub fn begin(
        out: &'a mut Vec<u8>,
        format: Format,
        timestamp: Timestamp,
        level: &str,
        message: &str,
    ) -> Self {
        let message = clip(message, RECORD_ERROR_BYTES_MAX);
        match format {
            Format::Json => {
                out.extend_from_slice(b"{\"ts\":\"");
                out.extend_from_slice(timestamp.as_bytes());
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level.as_bytes());
                out.extend_from_slice(b"\",\"msg\":");
                push_json_string(out, message);
            }
            Format::Pretty => {
                out.extend_from_slice(timestamp.as_bytes());
                out.push(b' ');
                out.extend(level.bytes().map(|byte| byte.to_ascii_uppercase()));
                out.extend_from_slice(&b"      "[level.len().min(5)..]);
                // Our own fixed texts: only what would break the line is replaced.
                out.extend(message.bytes().map(|byte| if byte < 0x20 { b' ' } else { byte }));
            }
        }
        Self { out, format }
    }

    /// A text field.
    #[inline]
    pub fn text(&mut self, key: &str, text: &str) {
        let text = clip(text, RECORD_ERROR_BYTES_MAX);
        self.key(key);
        let is_bare = self.format == Format::Pretty
            && !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='));
        if is_bare {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            push_json_string(self.out, text);
        }
    }

    /// A whole number.
    #[inline]
    pub fn integer(&mut self, key: &str, number: u64) {
        self.key(key);
        push_integer(self.out, number);
    }

    /// True or false.
    #[inline]
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.key(key);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    /// An amount, as a decimal number of USD.
    #[inline]
    pub fn usd(&mut self, key: &str, amount: Picodollars) {
        self.key(key);
        amount.write_usd(self.out);
    }

    /// A trace id.
    #[inline]
    pub fn id(&mut self, key: &str, id: &TraceId) {
        self.key(key);
        let quote: &[u8] = if self.format == Format::Json { b"\"" } else { b"" };
        self.out.extend_from_slice(quote);
        id.push_hyphenated(self.out);
        self.out.extend_from_slice(quote);
    }

    /// Anything with a text form.
    pub fn display(&mut self, key: &str, value: &dyn Display) {
        self.key(key);
        self.out.push(b'"');
        let mut escaped = Escaped { out: self.out, left: RECORD_ERROR_BYTES_MAX };
        // Its only error is the bound, and what fits before it stays.
        let _ = write!(escaped, "{value}");
        self.out.push(b'"');
    }

    /// Ends the line.
    pub fn end(self) {
        self.out.extend_from_slice(if self.format == Format::Json { b"}\n" } else { b"\n" });
    }

    #[inline]
    fn key(&mut self, key: &str) {
        match self.format {
            Format::Json => {
                self.out.extend_from_slice(b",\"");
                push_json_text(self.out, key);
                self.out.extend_from_slice(b"\":");
            }
            Format::Pretty => {
                self.out.push(b' ');
                self.out.extend_from_slice(key.as_bytes());
                self.out.push(b'=');
            }
        }
    }
}

/// Writes at most `left` bytes of text as the inside of a JSON string.
struct Escaped<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = clip(text, self.left);
        push_json_text(self.out, kept);
        self.left -= kept.len();
        if kept.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::text::TimestampFormatter;

    proptest! {
        #[test]
        fn any_text_stays_on_one_line_and_comes_back_from_json(text in any::<String>(), message in any::<String>()) {
            for format in [Format::Json, Format::Pretty] {
                let mut out = vec![];
                let timestamp = TimestampFormatter::default().format(0);
                let mut line = Line::begin(&mut out, format, timestamp, "info", &message);
                line.text("text", &text);
                line.display("shown", &text);
                line.end();
                prop_assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 1);
                if format == Format::Json {
                    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
                    prop_assert_eq!(&value["text"], &text);
                    prop_assert_eq!(&value["shown"], &text);
                    prop_assert_eq!(&value["msg"], &message);
                }
            }
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let mut out = vec![];
        let timestamp = TimestampFormatter::default().format(0);
        let long = "é".repeat(RECORD_ERROR_BYTES_MAX);
        let mut line = Line::begin(&mut out, Format::Json, timestamp, "info", &long);
        line.text("text", &long);
        line.display("shown", &format_args!("{long}{long}"));
        line.end();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for key in ["msg", "text", "shown"] {
            assert_eq!(value[key].as_str().unwrap().len(), RECORD_ERROR_BYTES_MAX, "{key}");
        }
    }
}
