//! The text that simulated answers are made of.
//!
//! Owns the vocabulary and the walk through it. A word is one token; its JSON form is prepared here, so that an
//! event is written without escaping. Multi-byte characters, surrogate pairs and every kind of JSON escape are
//! among the words, because clients and relays stumble over them.

use super::random::mix;

/// One token: as the reader sees it, and as it stands inside a JSON string.
struct Word {
    raw: &'static str,
    json: &'static str,
}

const fn plain(raw: &'static str) -> Word {
    Word { raw, json: raw }
}

const fn escaped(raw: &'static str, json: &'static str) -> Word {
    Word { raw, json }
}

/// The vocabulary; its size is a power of two, because [`Walk`] takes the top six bits of a product.
const WORDS: [Word; 64] = [
    plain(" lorem"),
    plain(" ipsum"),
    plain(" dolor"),
    plain(" sit"),
    plain(" amet"),
    plain(" consectetur"),
    plain(" adipiscing"),
    plain(" elit"),
    plain(" sed"),
    plain(" do"),
    plain(" eiusmod"),
    plain(" tempor"),
    plain(" incididunt"),
    plain(" ut"),
    plain(" labore"),
    plain(" et"),
    plain(" dolore"),
    plain(" magna"),
    plain(" aliqua"),
    plain(" enim"),
    plain(" ad"),
    plain(" minim"),
    plain(" veniam"),
    plain(" quis"),
    plain(" nostrud"),
    plain(" exercitation"),
    plain(" ullamco"),
    plain(" laboris"),
    plain(" nisi"),
    plain(" aliquip"),
    plain(" ex"),
    plain(" ea"),
    plain(" commodo"),
    plain(" consequat"),
    plain(" duis"),
    plain(" aute"),
    plain(" irure"),
    plain(" in"),
    plain(" reprehenderit"),
    plain(" voluptate"),
    plain(" velit"),
    plain(" esse"),
    plain(" cillum"),
    plain(" fugiat"),
    plain(","),
    plain(","),
    plain("."),
    plain("."),
    plain(" naïve"),
    plain(" café"),
    plain(" Grüße"),
    plain(" 日本語"),
    plain(" привет"),
    plain(" 🚀"),
    plain(" 👩‍💻"),
    plain(" £3.50"),
    escaped(" déjà", " d\\u00e9j\\u00e0"),
    escaped(" 😀", " \\ud83d\\ude00"),
    escaped(" \"quoted\"", " \\\"quoted\\\""),
    escaped(" C:\\temp", " C:\\\\temp"),
    escaped(" <b>&</b>", " \\u003cb\\u003e\\u0026\\u003c/b\\u003e"),
    escaped("\tcolumn", "\\tcolumn"),
    escaped(" a/b", " a\\/b"),
    escaped(".\n\n", ".\\n\\n"),
];

/// A walk through the vocabulary: an endless text, given by where it starts.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    next: u64,
    opened: bool,
}

impl Walk {
    /// The text number `start`.
    pub(super) fn new(start: u64) -> Self {
        Self { next: mix(start), opened: false }
    }

    #[inline]
    fn word(&mut self) -> &'static Word {
        let word = &WORDS[(self.next.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize];
        self.next = self.next.wrapping_add(1);
        word
    }

    /// Appends the next `tokens` words as the inside of a JSON string.
    #[inline]
    pub(super) fn write_json(&mut self, tokens: u64, out: &mut Vec<u8>) {
        for _ in 0..tokens {
            let json = self.word().json;
            // A text does not begin with the space that joins its words.
            let json = if self.opened { json } else { json.strip_prefix(' ').unwrap_or(json) };
            self.opened = true;
            out.extend_from_slice(json.as_bytes());
        }
    }

    /// Appends the next `tokens` words as plain text.
    pub(super) fn write_raw(&mut self, tokens: u64, out: &mut String) {
        for _ in 0..tokens {
            let raw = self.word().raw;
            out.push_str(if self.opened { raw } else { raw.strip_prefix(' ').unwrap_or(raw) });
            self.opened = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WORDS, Walk};

    #[test]
    fn both_forms_of_a_word_say_the_same() {
        for word in &WORDS {
            let read: String = serde_json::from_str(&format!("\"{}\"", word.json)).expect(word.raw);
            assert_eq!(read, word.raw);
        }
    }

    #[test]
    fn a_text_does_not_depend_on_the_size_of_its_pieces() {
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        Walk::new(5).write_json(100, &mut whole);
        let mut walk = Walk::new(5);
        for size in [1, 2, 3, 94] {
            walk.write_json(size, &mut pieces);
        }
        assert_eq!(whole, pieces);
        assert_ne!(whole[0], b' ');
    }

    #[test]
    fn a_long_text_uses_every_word() {
        let mut text = String::new();
        Walk::new(1).write_raw(2_000, &mut text);
        for word in &WORDS {
            assert!(text.contains(word.raw), "{:?} is never used", word.raw);
        }
    }
}
