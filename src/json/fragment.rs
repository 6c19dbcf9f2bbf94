//! JSON values as they stand in a document, to be put into another one.

use std::borrow::Cow;

use super::text;

/// A JSON string between its quotes, still escaped. UTF-8.
///
/// Two texts can be put behind one another by putting their bytes behind one another. A piece of a stream may begin
/// or end within a surrogate pair (`\ud83d` here, `\ude00` in the next event): such a piece is kept as it is and is
/// whole again where the pieces are joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text of a string token, quotes included. `None` if it is not a string or not UTF-8.
    pub fn from_token(token: &'a [u8]) -> Option<Self> {
        let inner = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        std::str::from_utf8(inner).ok().map(|inner| Self(Cow::Borrowed(inner)))
    }

    /// The text whose string content is `escaped`. Control characters, quotes and backslashes in it are escaped; halves of
    /// a surrogate pair may stand at its ends.
    pub fn from_escaped(escaped: Cow<'a, str>) -> Self {
        debug_assert!(escaped.bytes().all(|byte| byte >= 0x20), "no control character stands in a string");
        Self(escaped)
    }

    /// The text that says `plain`.
    pub fn from_plain(plain: &'a str) -> Self {
        if plain.bytes().all(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
            return Self(Cow::Borrowed(plain));
        }
        let mut escaped = Vec::with_capacity(plain.len() + 16);
        text::append_string(&mut escaped, plain);
        Self::owned(&escaped[1..escaped.len() - 1])
    }

    fn owned(escaped: &[u8]) -> Text<'static> {
        Text(Cow::Owned(String::from_utf8_lossy(escaped).into_owned()))
    }

    /// What stands between the quotes.
    pub fn escaped(&self) -> &str {
        &self.0
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it says. `None` if a surrogate has no partner.
    pub fn decode(&self) -> Option<Cow<'_, str>> {
        if memchr::memchr(b'\\', self.0.as_bytes()).is_none() {
            return Some(Cow::Borrowed(&self.0));
        }
        text::unescape(self.0.as_bytes()).map(Cow::Owned)
    }

    /// Whether every surrogate has its partner.
    pub fn is_whole(&self) -> bool {
        memchr::memmem::find(self.0.as_bytes(), b"\\u").is_none() || self.decode().is_some()
    }

    /// Puts `more` behind it.
    pub fn push(&mut self, more: &Text<'_>) {
        if !more.is_empty() {
            self.0.to_mut().push_str(&more.0);
        }
    }

    /// Appends it to `out` as a string with its quotes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0.as_bytes());
        out.push(b'"');
    }

    /// A part of it, by bytes of its escaped form; where it is borrowed, so is the part. `None` if a bound is out of
    /// range or inside a character. Not to be cut inside an escape.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Option<Self> {
        match &self.0 {
            Cow::Borrowed(text) => text.get(range).map(|part| Self(Cow::Borrowed(part))),
            Cow::Owned(text) => text.get(range).map(|part| Self(Cow::Owned(part.to_owned()))),
        }
    }

    /// The same text, borrowed.
    pub fn borrow(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }

    /// The same text, for longer than its document lives.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl From<String> for Text<'static> {
    fn from(plain: String) -> Self {
        match Text::from_plain(&plain).0 {
            Cow::Borrowed(_) => Text(Cow::Owned(plain)),
            Cow::Owned(escaped) => Text(Cow::Owned(escaped)),
        }
    }
}

/// Any JSON value, byte by byte as its document has it. Valid JSON, UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw<'a>(Cow<'a, str>);

impl<'a> Raw<'a> {
    /// A value that a scanner has stepped over. `None` if it is not UTF-8.
    pub fn from_scanned(value: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(value).ok().map(|value| Self(Cow::Borrowed(value)))
    }

    /// A value that was written here.
    pub fn from_written(json: String) -> Raw<'static> {
        Raw(Cow::Owned(json))
    }

    /// Its JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends it to `out` as it is.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }

    /// The same value, for longer than its document lives.
    pub fn into_owned(self) -> Raw<'static> {
        Raw(Cow::Owned(self.0.into_owned()))
    }
}

impl<'a> From<&'a Raw<'_>> for Raw<'a> {
    /// The same value, borrowed.
    fn from(raw: &'a Raw<'_>) -> Self {
        Raw(Cow::Borrowed(&raw.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_its_string_says() {
        for (token, plain) in [
            (r#""""#, ""),
            (r#""a b""#, "a b"),
            (r#""a\nb\"c\\""#, "a\nb\"c\\"),
            (r#""\u00e9\ud83d\ude00""#, "é😀"),
        ] {
            let text = Text::from_token(token.as_bytes()).unwrap();
            assert_eq!(text.decode().unwrap(), plain);
            assert!(text.is_whole());
            let mut out = Vec::new();
            text.append_to(&mut out);
            assert_eq!(out, token.as_bytes(), "it is written as it was read");
            assert_eq!(Text::from_plain(plain).decode().unwrap(), plain);
        }
        assert_eq!(Text::from_token(b"12"), None);
        assert_eq!(Text::from_token(b"\"\xff\""), None);
    }

    #[test]
    fn a_part_of_a_text_is_cut_by_bytes() {
        for text in [Text::from_plain("aé:b"), Text::from("aé:b".to_owned())] {
            assert_eq!(text.slice(4..5), Some(Text::from_plain("b")));
            assert_eq!(text.slice(0..0), Some(Text::default()));
            assert_eq!((text.slice(2..3), text.slice(3..9)), (None, None));
        }
    }

    #[test]
    fn halves_of_a_pair_are_whole_when_joined() {
        let mut first = Text::from_token(br#""\ud83d""#).unwrap();
        assert!(!first.is_whole());
        assert_eq!(first.decode(), None);
        first.push(&Text::from_token(br#""\ude00""#).unwrap());
        assert_eq!(first.decode().unwrap(), "😀");
    }
}
