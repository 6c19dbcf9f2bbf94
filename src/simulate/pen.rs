//! JSON written by hand into a byte buffer.
//!
//! Owns escaping and numbers; the shape of what is written is the caller's. Nothing is built before it is
//! written, so an event costs copies only.
//!
//! Source: RFC 8259, section 7 (strings).

use serde_json::Value;

/// Appends JSON to a buffer; each method returns the pen, so that a shape reads as one chain.
pub(super) struct Pen<'a>(pub(super) &'a mut Vec<u8>);

impl Pen<'_> {
    /// Text that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A string with its quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'"');
        escape(text.as_bytes(), self.0);
        self.0.push(b'"');
        self
    }

    /// A string, or `null`.
    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.raw("null"),
        }
    }

    /// A whole number.
    pub(super) fn num(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    /// A value that was read before.
    pub(super) fn value(&mut self, value: &Value) -> &mut Self {
        self.raw(&value.to_string())
    }

    /// Whatever `write` appends.
    pub(super) fn with(&mut self, write: impl FnOnce(&mut Pen<'_>)) -> &mut Self {
        write(&mut Pen(self.0));
        self
    }

    /// Items with commas between them.
    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Pen<'_>, T),
    ) -> &mut Self {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            write(&mut Pen(self.0), item);
        }
        self
    }
}

/// Appends `text` with what JSON reserves escaped. `text` is UTF-8, or part of it cut between characters.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut clean = 0;
    for (at, &byte) in text.iter().enumerate() {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1F => b"",
            _ => continue,
        };
        out.extend_from_slice(&text[clean..at]);
        clean = at + 1;
        if short.is_empty() {
            let digits = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(&text[clean..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pen;

    proptest! {
        #[test]
        fn a_written_string_reads_back_as_it_was(text in any::<String>()) {
            let mut json = Vec::new();
            Pen(&mut json).text(&text);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
