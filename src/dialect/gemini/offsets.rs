//! Positions in a text that comes in pieces: UTF-8 bytes, as Gemini counts, and characters, as the others do.
//!
//! Keeps a bit for each byte up to the last character that is not ASCII, and no text. Rules: the project's dialect
//! mapping, section 9.4.

use crate::dialect::ir::Text;
use crate::limits::CITED_TEXT_BYTES_MAX;

/// Where characters lie in the text so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Offsets {
    /// Bytes of the text so far.
    bytes: u64,
    /// A bit for each byte, set where one continues a character; ends with the last one set.
    continuations: Vec<u64>,
    /// The text so far ends in the first half of a surrogate pair, whose bytes are not counted yet.
    after_high: bool,
}

impl Offsets {
    /// The text goes on.
    pub(super) fn push(&mut self, text: &Text<'_>) {
        let escaped = text.escaped();
        if escaped.is_ascii() && memchr::memchr(b'\\', escaped.as_bytes()).is_none() {
            self.close_pair();
            self.bytes += escaped.len() as u64;
            return;
        }
        let mut chars = escaped.chars();
        while let Some(char) = chars.next() {
            if char != '\\' {
                self.close_pair();
                self.char(char.len_utf8());
                continue;
            }
            if chars.next() != Some('u') {
                self.close_pair();
                self.char(1);
                continue;
            }
            let code =
                (0..4).filter_map(|_| chars.next()?.to_digit(16)).fold(0, |code, digit| code * 16 + digit);
            match code {
                0xDC00..=0xDFFF if self.after_high => {
                    self.after_high = false;
                    self.char(4);
                }
                0xD800..=0xDBFF => {
                    self.close_pair();
                    self.after_high = true;
                }
                _ => {
                    self.close_pair();
                    // A half alone becomes the replacement character, which is as long.
                    self.char(char::from_u32(code).map_or(3, char::len_utf8));
                }
            }
        }
    }

    fn close_pair(&mut self) {
        if std::mem::take(&mut self.after_high) {
            self.char(3);
        }
    }

    fn char(&mut self, bytes: usize) {
        for at in self.bytes + 1..self.bytes + bytes as u64 {
            let word = (at / 64) as usize;
            if word < CITED_TEXT_BYTES_MAX / 64 {
                if self.continuations.len() <= word {
                    self.continuations.resize(word + 1, 0);
                }
                self.continuations[word] |= 1 << (at % 64);
            }
        }
        self.bytes += bytes as u64;
    }

    /// Bytes of the text so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An index for questions about the text so far; `None` if it is too long for that.
    pub(super) fn index(&self) -> Option<Index<'_>> {
        if self.bytes > CITED_TEXT_BYTES_MAX as u64 {
            return None;
        }
        let mut before = Vec::with_capacity(self.continuations.len() + 1);
        let mut sum = 0;
        before.push(sum);
        for word in &self.continuations {
            sum += u64::from(word.count_ones());
            before.push(sum);
        }
        Some(Index { offsets: self, before })
    }
}

/// Turns bytes into characters and back.
#[derive(Debug)]
pub(super) struct Index<'o> {
    offsets: &'o Offsets,
    /// Continuing bytes before each word of the bits, and all of them.
    before: Vec<u64>,
}

impl Index<'_> {
    /// How many characters begin before the byte `at`. Behind the end counts as the end.
    pub(super) fn chars(&self, at: u64) -> u64 {
        let at = at.min(self.offsets.bytes);
        let word = (at / 64) as usize;
        let continuing = match self.offsets.continuations.get(word) {
            Some(bits) => self.before[word] + u64::from((bits & ((1 << (at % 64)) - 1)).count_ones()),
            None => self.before[self.before.len() - 1],
        };
        at - continuing
    }

    /// Where the character `number` begins. Behind the end counts as the end.
    pub(super) fn bytes(&self, number: u64) -> u64 {
        // The last word with at most `number` characters before it.
        let (mut word, mut end) = (0, self.before.len());
        while end - word > 1 {
            let middle = word + (end - word) / 2;
            if middle as u64 * 64 - self.before[middle] <= number { word = middle } else { end = middle }
        }
        let mut at = word as u64 * 64;
        let mut left = number - (at - self.before[word]);
        let Some(bits) = self.offsets.continuations.get(word) else {
            return at.saturating_add(left).min(self.offsets.bytes);
        };
        for bit in 0..64 {
            if bits & (1 << bit) == 0 {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            at += 1;
        }
        at.min(self.offsets.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_of_a_pair_count_once() {
        let mut offsets = Offsets::default();
        for token in [r#""a\ud83d""#, r#""\ude00\n""#, r#""\ud83dx\u00e9""#] {
            offsets.push(&Text::from_token(token.as_bytes()).unwrap());
        }
        // a 😀 ⏎ ? x é
        assert_eq!(offsets.bytes(), 1 + 4 + 1 + 3 + 1 + 2);
        let index = offsets.index().unwrap();
        let begins = [0, 1, 5, 6, 9, 10, 12];
        for (number, at) in begins.into_iter().enumerate() {
            assert_eq!(index.chars(at), number as u64, "byte {at}");
            assert_eq!(index.bytes(number as u64), at, "character {number}");
        }
    }

    proptest! {
        #[test]
        fn bytes_and_characters_stand_for_one_another(pieces in prop::collection::vec("[a-zé€😀\n\"]{0,40}", 0..8)) {
            let mut offsets = Offsets::default();
            let mut whole = String::new();
            for piece in &pieces {
                offsets.push(&Text::from_plain(piece));
                whole.push_str(piece);
            }
            prop_assert_eq!(offsets.bytes(), whole.len() as u64);
            let index = offsets.index().unwrap();
            for (number, (at, _)) in whole.char_indices().enumerate() {
                prop_assert_eq!(index.chars(at as u64), number as u64);
                prop_assert_eq!(index.bytes(number as u64), at as u64);
            }
            let chars = whole.chars().count() as u64;
            prop_assert_eq!(index.chars(u64::MAX), chars);
            prop_assert_eq!(index.bytes(u64::MAX), whole.len() as u64);
        }
    }
}
