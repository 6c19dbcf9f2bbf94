//! What exactly is wrong with a head that did not parse.
//!
//! Owns a second, slow, strict tokeniser that stops at the first fault and names it. It runs only after the
//! fast way has failed, and in the fuzz targets as the reference that the fast way must agree with. It reads one
//! byte after the other and never looks ahead, so the answer does not depend on how much of the head had come.
//!
//! Source: RFC 9112 §2 to §5.

use super::HeadError;
use super::octets::{TOKEN, VALUE, is};
use crate::limits::{METHOD_BYTES_MAX, TARGET_BYTES_MAX};

/// The first fault in the request head at the start of `head`, which has no empty lines before it.
///
/// `Ok(None)`: no fault as far as it goes, but it does not end. `Ok(Some(n))`: its `n` bytes are well-formed.
pub(super) fn request(head: &[u8], fields_max: usize) -> Result<Option<usize>, HeadError> {
    let mut bytes = Cursor { bytes: head, at: 0 };
    let Some(()) = bytes.request_line()? else { return Ok(None) };
    bytes.fields(fields_max)
}

/// The first fault in the response head at the start of `head`; answers as [`request`] does.
pub(super) fn response(head: &[u8], fields_max: usize) -> Result<Option<usize>, HeadError> {
    let mut bytes = Cursor { bytes: head, at: 0 };
    let Some(()) = bytes.status_line()? else { return Ok(None) };
    bytes.fields(fields_max)
}

/// Gives the next byte, or leaves the function with "no fault so far".
macro_rules! next {
    ($cursor:ident) => {
        match $cursor.next() {
            Some(byte) => byte,
            None => return Ok(None),
        }
    };
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

type Seen<T> = Result<Option<T>, HeadError>;

impl Cursor<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn request_line(&mut self) -> Seen<()> {
        let mut method_bytes = 0;
        loop {
            match next!(self) {
                b' ' if method_bytes > 0 => break,
                byte if is(byte, TOKEN) => method_bytes += 1,
                _ => return Err(HeadError::Method),
            }
            if method_bytes > METHOD_BYTES_MAX {
                return Err(HeadError::MethodTooLong);
            }
        }
        let Some(()) = self.target()? else { return Ok(None) };
        // Another word where the version should be: the target holds a space.
        let Some(()) = self.version(HeadError::Target)? else { return Ok(None) };
        let byte = next!(self);
        self.line_end(byte, HeadError::StartLineEnd)
    }

    fn target(&mut self) -> Seen<()> {
        let (mut target_bytes, mut ascii) = (0, true);
        loop {
            match next!(self) {
                b' ' if target_bytes > 0 && ascii => return Ok(Some(())),
                byte @ (b'!'..=b'~' | 0x80..) => {
                    target_bytes += 1;
                    ascii &= byte.is_ascii();
                }
                // HTTP/0.9: `GET /` and the end of the line.
                b'\r' | b'\n' if target_bytes > 0 => return Err(HeadError::Version),
                _ => return Err(HeadError::Target),
            }
            if target_bytes > TARGET_BYTES_MAX {
                return Err(HeadError::TargetTooLong);
            }
        }
    }

    fn status_line(&mut self) -> Seen<()> {
        let Some(()) = self.version(HeadError::Version)? else { return Ok(None) };
        if next!(self) != b' ' {
            return Err(HeadError::StatusLine);
        }
        for _ in 0..3 {
            if !next!(self).is_ascii_digit() {
                return Err(HeadError::StatusLine);
            }
        }
        let mut byte = next!(self);
        if byte == b' ' {
            byte = next!(self);
            while is(byte, VALUE) {
                byte = next!(self);
            }
        }
        self.line_end(byte, HeadError::StatusLine)
    }

    /// `otherwise` is the fault of a word that is no version at all.
    fn version(&mut self, otherwise: HeadError) -> Seen<()> {
        for expected in *b"HTTP/" {
            if next!(self) != expected {
                return Err(otherwise);
            }
        }
        for expected in *b"1." {
            if next!(self) != expected {
                return Err(HeadError::Version);
            }
        }
        match next!(self) {
            b'0' | b'1' => Ok(Some(())),
            _ => Err(HeadError::Version),
        }
    }

    /// `byte` should be the CR that ends a line.
    fn line_end(&mut self, byte: u8, otherwise: HeadError) -> Seen<()> {
        match byte {
            b'\n' => Err(HeadError::BareLf),
            b'\r' if next!(self) == b'\n' => Ok(Some(())),
            b'\r' => Err(HeadError::BareCr),
            _ => Err(otherwise),
        }
    }

    fn fields(&mut self, fields_max: usize) -> Seen<usize> {
        let mut fields = 0;
        loop {
            let first = next!(self);
            match first {
                b'\r' | b'\n' => {
                    let Some(()) = self.line_end(first, HeadError::BareCr)? else { return Ok(None) };
                    return Ok(Some(self.at));
                }
                b' ' | b'\t' => return Err(HeadError::ObsFold),
                b':' => return Err(HeadError::FieldNameEmpty),
                _ => {}
            }
            let Some(()) = self.field(first)? else { return Ok(None) };
            fields += 1;
            if fields > fields_max {
                return Err(HeadError::TooManyFields);
            }
        }
    }

    /// One field line whose first byte has been read.
    fn field(&mut self, first: u8) -> Seen<()> {
        let mut byte = first;
        while is(byte, TOKEN) {
            byte = next!(self);
        }
        match byte {
            b':' => {}
            b' ' | b'\t' => return Err(HeadError::SpaceBeforeColon),
            b'\n' => return Err(HeadError::BareLf),
            b'\r' => return Err(HeadError::ColonMissing),
            _ => return Err(HeadError::FieldName { byte }),
        }
        byte = next!(self);
        while is(byte, VALUE) {
            byte = next!(self);
        }
        self.line_end(byte, HeadError::FieldValue { byte })
    }
}
