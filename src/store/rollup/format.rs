//! How rollups and checkpoints lie in their files: short numbers, texts, a check over everything.
//!
//! ```text
//! magic 8 │ version u32 │ CRC-32 of what follows u32 │ content
//! number: 7 bits a byte, the lowest first, bit 8 set on all but the last (LEB128)    text: its length, its bytes
//! ```

const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;

/// The bytes are not what they should be. Whoever meets it makes the content anew from the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file is damaged or of another version")]
pub struct Damaged;

/// A whole file around `content`.
pub(super) fn wrap(magic: &[u8; 8], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + content.len());
    out.extend_from_slice(magic);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    out.extend_from_slice(content);
    out
}

/// The content of a file that [`wrap`] made.
pub(super) fn unwrap<'a>(magic: &[u8; 8], file: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (head, content) = file.split_first_chunk::<HEAD_BYTES>().ok_or(Damaged)?;
    let check = crc32fast::hash(content).to_le_bytes();
    let is_whole = head[..8] == magic[..] && head[8..12] == VERSION.to_le_bytes() && head[12..] == check;
    is_whole.then_some(content).ok_or(Damaged)
}

#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes numbers and texts off bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        let mut number = 0;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits {
                return Err(Damaged);
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    pub(super) fn number_u32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    /// A number of things that take at least a byte each.
    pub(super) fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.number()? as usize;
        if count > self.rest.len() { Err(Damaged) } else { Ok(count) }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Damaged)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        let count = self.count()?;
        str::from_utf8(self.bytes(count)?).map_err(|_| Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(numbers in prop::collection::vec(any::<u64>(), 0..20), text in any::<String>()) {
            let mut out = vec![];
            numbers.iter().for_each(|number| put_number(&mut out, *number));
            put_text(&mut out, &text);
            let mut reader = Reader::new(&out);
            for number in numbers {
                prop_assert_eq!(reader.number(), Ok(number));
            }
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.number(), Err(Damaged));
        }

        #[test]
        fn a_changed_bit_is_noticed(content in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut file = wrap(b"magic567", &content);
            prop_assert_eq!(unwrap(b"magic567", &file), Ok(&content[..]));
            let at = at.index(file.len());
            file[at] ^= 1_u8 << bit;
            prop_assert_eq!(unwrap(b"magic567", &file), Err(Damaged));
        }
    }
}
