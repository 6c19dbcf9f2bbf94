//! A pull scanner over one JSON text in memory: skips values strictly, hands out their bytes.
//!
//! Checks the grammar of RFC 8259 as it goes, except that bytes are UTF-8: that is the caller's to check where it
//! matters. Never recurses; nesting beyond [`JSON_DEPTH_MAX`] is an error. Never allocates.

use super::token::{Fault, FaultKind, Key, Kind, Value};
use crate::limits::JSON_DEPTH_MAX;

/// Calls `on_member` with each member of the object that `text` is.
///
/// # Errors
/// Malformed JSON; the members before it have been given.
pub fn members<'a>(text: &'a [u8], mut on_member: impl FnMut(&Key<'a>, Value<'a>)) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key()? {
        let value = scanner.value()?;
        on_member(&key, value);
    }
    Ok(())
}

/// Calls `on_element` with each element of the array that `text` is.
///
/// # Errors
/// Malformed JSON; the elements before it have been given.
pub fn elements<'a>(text: &'a [u8], mut on_element: impl FnMut(Value<'a>)) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.enter_array()?;
    while scanner.next_element()? {
        on_element(scanner.value()?);
    }
    Ok(())
}

/// The value of the member `name` of the object that `text` is; the first one if there are several. What follows it
/// is not looked at.
pub fn member<'a>(text: &'a [u8], name: &str) -> Option<Value<'a>> {
    let mut scanner = Scanner::new(text);
    scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_key().ok()? {
        let value = scanner.value().ok()?;
        if key.is(name) {
            return Some(value);
        }
    }
    None
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Containers entered by [`Scanner::enter_object`] and [`Scanner::enter_array`].
    depth: usize,
    /// Whether the container just entered has had no element yet.
    first: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0, first: false }
    }

    /// Offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space, which is left where it is.
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// The type of the value that comes next.
    ///
    /// # Errors
    /// No value comes next.
    pub fn peek_kind(&mut self) -> Result<Kind, Fault> {
        self.peek().and_then(Kind::of).ok_or_else(|| self.expected("a value"))
    }

    /// Steps over the `{` that comes next.
    ///
    /// # Errors
    /// Something else comes next, or the nesting is too deep.
    pub fn enter_object(&mut self) -> Result<(), Fault> {
        self.enter(b'{', "an object")
    }

    /// Steps over the `[` that comes next.
    ///
    /// # Errors
    /// Something else comes next, or the nesting is too deep.
    pub fn enter_array(&mut self) -> Result<(), Fault> {
        self.enter(b'[', "an array")
    }

    fn enter(&mut self, open: u8, what: &'static str) -> Result<(), Fault> {
        if self.peek() != Some(open) {
            return Err(self.expected(what));
        }
        if self.depth == JSON_DEPTH_MAX {
            return Err(Fault { at: self.at, kind: FaultKind::TooDeep });
        }
        self.at += 1;
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// The name of the next member of the object that was entered last, or `None` behind its `}`. Its value has to be
    /// taken before the next call.
    ///
    /// # Errors
    /// Malformed JSON.
    pub fn next_key(&mut self) -> Result<Option<Key<'a>>, Fault> {
        match self.peek() {
            Some(b'}') => {
                self.leave();
                return Ok(None);
            }
            Some(b',') if !self.first => self.at += 1,
            _ if self.first => {}
            _ => return Err(self.expected("',' or '}'")),
        }
        self.first = false;
        self.key().map(Some)
    }

    /// Whether another element of the array that was entered last comes next; otherwise its `]` is stepped over.
    ///
    /// # Errors
    /// Malformed JSON.
    pub fn next_element(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b']') => {
                self.leave();
                return Ok(false);
            }
            Some(b',') if !self.first => self.at += 1,
            _ if self.first => {}
            _ => return Err(self.expected("',' or ']'")),
        }
        self.first = false;
        Ok(true)
    }

    fn leave(&mut self) {
        debug_assert!(self.depth > 0, "a container was entered");
        self.at += 1;
        self.depth = self.depth.saturating_sub(1);
        self.first = false;
    }

    /// Steps over the value that comes next.
    ///
    /// # Errors
    /// Malformed JSON, or nesting that is too deep.
    pub fn value(&mut self) -> Result<Value<'a>, Fault> {
        let kind = self.peek_kind()?;
        let start = self.at;
        match kind {
            Kind::String => self.string().map(|_| ())?,
            Kind::Number => self.number()?,
            Kind::Null => self.literal(b"null")?,
            Kind::Bool if self.text[start] == b't' => self.literal(b"true")?,
            Kind::Bool => self.literal(b"false")?,
            Kind::Array | Kind::Object => self.container()?,
        }
        let span = start..self.at;
        Ok(Value { kind, raw: &self.text[span.clone()], span })
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// Something else is left.
    pub fn end(&mut self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end of the document")) }
    }

    fn expected(&self, what: &'static str) -> Fault {
        Fault { at: self.at, kind: FaultKind::Expected(what) }
    }

    fn key(&mut self) -> Result<Key<'a>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a member name"));
        }
        let start = self.at;
        let escaped = self.string()?;
        let span = start..self.at;
        if self.peek() != Some(b':') {
            return Err(self.expected("':'"));
        }
        self.at += 1;
        Ok(Key { raw: &self.text[span.start + 1..span.end - 1], span, escaped })
    }

    /// Steps over the string that comes next; whether it has escapes.
    fn string(&mut self) -> Result<bool, Fault> {
        debug_assert_eq!(self.text.get(self.at), Some(&b'"'), "the caller saw the quote");
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.text, self.at);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("no control character in a string")),
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    /// Steps over what follows a backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.text.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.text.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.expected("four hexadecimal digits"));
                    }
                }
                self.at += 1;
                Ok(())
            }
            _ => Err(self.expected("an escape")),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.expected("a digit")),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("null, true or false"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over the object or array that comes next, whatever it contains.
    fn container(&mut self) -> Result<(), Fault> {
        let mut open = Nesting::new(self.depth);
        loop {
            // At a value.
            match self.peek_kind()? {
                Kind::String => self.string().map(|_| ())?,
                Kind::Number => self.number()?,
                Kind::Null => self.literal(b"null")?,
                Kind::Bool if self.text[self.at] == b't' => self.literal(b"true")?,
                Kind::Bool => self.literal(b"false")?,
                Kind::Object => {
                    open.push(true).ok_or(Fault { at: self.at, kind: FaultKind::TooDeep })?;
                    self.at += 1;
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                    self.at += 1;
                    open.pop();
                }
                Kind::Array => {
                    open.push(false).ok_or(Fault { at: self.at, kind: FaultKind::TooDeep })?;
                    self.at += 1;
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    self.at += 1;
                    open.pop();
                }
            }
            // Behind a value.
            loop {
                let Some(in_object) = open.top() else { return Ok(()) };
                match (self.peek(), in_object) {
                    (Some(b','), true) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (Some(b','), false) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        open.pop();
                    }
                    (_, true) => return Err(self.expected("',' or '}'")),
                    (_, false) => return Err(self.expected("',' or ']'")),
                }
            }
        }
    }
}

/// Which containers are open, outermost first: a bit each, set for an object.
struct Nesting {
    bits: [u64; JSON_DEPTH_MAX / 64],
    len: usize,
    len_max: usize,
}

impl Nesting {
    fn new(outer: usize) -> Self {
        Self { bits: [0; JSON_DEPTH_MAX / 64], len: 0, len_max: JSON_DEPTH_MAX.saturating_sub(outer) }
    }

    fn push(&mut self, object: bool) -> Option<()> {
        if self.len == self.len_max {
            return None;
        }
        let (word, bit) = (self.len / 64, 1 << (self.len % 64));
        if object {
            self.bits[word] |= bit;
        } else {
            self.bits[word] &= !bit;
        }
        self.len += 1;
        Some(())
    }

    fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    fn top(&self) -> Option<bool> {
        let last = self.len.checked_sub(1)?;
        Some(self.bits[last / 64] & (1 << (last % 64)) != 0)
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The high bit of the lowest byte that is 0, and maybe of bytes above it.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Offset of the first byte at or after `at` that ends a plain run inside a string: `"`, `\` or a control character;
/// the length of the text if there is none.
///
/// Short strings, which most are, are done eight bytes at a time; long ones in blocks that the compiler turns into
/// vector code.
pub(crate) fn plain_end(text: &[u8], mut at: usize) -> usize {
    let mut words = 0;
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero_bytes(word ^ (ONES * b'"' as u64));
        let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        // A borrow can only set bits above the first true one, so the lowest bit is exact.
        let hits = quote | backslash | control;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
        words += 1;
        if words == 4 {
            at = plain_blocks_end(text, at);
        }
    }
    let rest = &text[at..];
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// Offset of the first block of 64 bytes at or after `at` that is not plain, or is not whole.
fn plain_blocks_end(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
        let special = block.iter().fold(0u8, |any, byte| {
            any | u8::from(*byte == b'"') | u8::from(*byte == b'\\') | u8::from(*byte < 0x20)
        });
        if special != 0 {
            break;
        }
        at += 64;
    }
    at
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
