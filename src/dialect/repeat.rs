//! Stream events that differ from an earlier one in a piece of text only.
//!
//! Nearly all chunks of a stream are that: the same id, model and indexes around the next few characters. Once one of
//! them has been read, the next is told by two comparisons and the search for the end of its text. What is compared
//! are bytes outside of strings, or whole strings, so that an event which passes has the structure of the one that was
//! read, and reading it would give the same but for the text.

use std::ops::Range;

use memchr::memmem;

use crate::json::scan::plain_end;
use crate::limits::REPEATED_EVENT_BYTES_MAX;

/// Events that are learned per stream: one whose events never repeat must not cost twice for each.
const LEARNED_MAX: u8 = 8;
/// OpenAI pads its chunks with a random string, against readers of packet sizes.
const PADDING: &[u8] = b"\"obfuscation\":\"";

/// An event that was read, without the text in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Repeat {
    /// What stands before, between and behind the strings that may differ, in one piece. Empty: none was learned.
    fixed: Vec<u8>,
    /// Ends of the first and the second piece; equal to the length where there is no second string.
    ends: [usize; 2],
    learned: u8,
}

impl Repeat {
    /// Whether another event may be learned.
    pub(super) fn learns(&self) -> bool {
        self.learned < LEARNED_MAX
    }

    /// Learns `data`, of which nothing was of interest but the string at `text`, its quotes not included.
    pub(super) fn learn(&mut self, data: &[u8], text: Range<usize>) {
        let (before, behind) = (&data[..text.start], &data[text.end..]);
        self.learned = self.learned.saturating_add(1);
        if before.len() + behind.len() > REPEATED_EVENT_BYTES_MAX {
            return;
        }
        let padding = memmem::find(behind, PADDING).map(|at| at + PADDING.len());
        let padded = padding.and_then(|start| Some(start..start + string_end(&behind[start..])?));
        let (between, rest) = match padded {
            Some(padded) => (&behind[..padded.start], &behind[padded.end..]),
            None => (behind, &[][..]),
        };
        self.fixed.clear();
        for piece in [before, between, rest] {
            self.fixed.extend_from_slice(piece);
        }
        self.ends = [before.len(), before.len() + between.len()];
    }

    /// The text of an event that repeats the learned one.
    #[inline]
    pub(super) fn text_of<'d>(&self, data: &'d [u8]) -> Option<&'d [u8]> {
        let [first, second] = self.ends;
        let (before, between, behind) =
            (&self.fixed[..first], &self.fixed[first..second], &self.fixed[second..]);
        if before.is_empty() {
            return None;
        }
        let rest = data.strip_prefix(before)?;
        let (text, rest) = rest.split_at(string_end(rest)?);
        let rest = rest.strip_prefix(between)?;
        let end = if behind.is_empty() { 0 } else { string_end(rest)? };
        (&rest[end..] == behind).then_some(text)
    }
}

/// Offset of the quote that ends the string `inner` begins in; `None` if it does not end or is no valid one.
#[inline]
fn string_end(inner: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at = plain_end(inner, at);
        match inner.get(at)? {
            b'"' => return Some(at),
            b'\\' => at = (at + 2).min(inner.len()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(data: &str, text: &str) -> Repeat {
        let mut repeat = Repeat::default();
        let start = data.find(text).unwrap();
        repeat.learn(data.as_bytes(), start..start + text.len());
        repeat
    }

    #[test]
    fn an_event_repeats_when_all_but_its_text_is_the_same() {
        let plain = learned(r#"{"i":1,"delta":{"content":"Hi"},"end":null}"#, "Hi");
        let padded = learned(r#"{"delta":{"content":"Hi"},"obfuscation":"xyz","n":1}"#, "Hi");
        let cases = [
            (&plain, r#"{"i":1,"delta":{"content":"Hi"},"end":null}"#, Some("Hi")),
            (&plain, r#"{"i":1,"delta":{"content":""},"end":null}"#, Some("")),
            (
                &plain,
                r#"{"i":1,"delta":{"content":"a \"b\" \u00e9\n"},"end":null}"#,
                Some(r#"a \"b\" \u00e9\n"#),
            ),
            (&plain, r#"{"i":2,"delta":{"content":"Hi"},"end":null}"#, None),
            (&plain, r#"{"i":1,"delta":{"content":"Hi"},"end":"stop"}"#, None),
            (&plain, r#"{"i":1,"delta":{"content":"Hi","x":""},"end":null}"#, None),
            (&plain, r#"{"i":1,"delta":{"content":"Hi"},"end":null} "#, None),
            (&plain, r#"{"i":1,"delta":{"content":"Hi\"},"end":null}"#, None),
            (&plain, r#"{"i":1,"delta":{"content":"Hi\"#, None),
            (&plain, "{\"i\":1,\"delta\":{\"content\":\"\n\"},\"end\":null}", None),
            (&plain, "", None),
            (&padded, r#"{"delta":{"content":"Hey"},"obfuscation":"","n":1}"#, Some("Hey")),
            (&padded, r#"{"delta":{"content":"Hey"},"obfuscation":"abcd","n":1}"#, Some("Hey")),
            (&padded, r#"{"delta":{"content":"Hey"},"obfuscation":"abcd","n":2}"#, None),
            (&padded, r#"{"delta":{"content":"Hey"},"obfuscation":null,"n":1}"#, None),
            (&Repeat::default(), "", None),
        ];
        for (repeat, data, expected) in cases {
            assert_eq!(repeat.text_of(data.as_bytes()), expected.map(str::as_bytes), "{data}");
        }
    }

    #[test]
    fn a_stream_that_never_repeats_stops_being_learned() {
        let mut repeat = Repeat::default();
        let mut count = 0;
        while repeat.learns() {
            repeat.learn(br#"{"a":"b"}"#, 6..7);
            count += 1;
        }
        assert_eq!(count, LEARNED_MAX);
    }

    #[test]
    fn a_long_event_is_not_kept() {
        let mut repeat = Repeat::default();
        repeat.learn(&[b'x'; REPEATED_EVENT_BYTES_MAX + 2], 3..4);
        assert_eq!(repeat.fixed.len(), 0);
    }
}
