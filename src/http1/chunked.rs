//! The chunked transfer coding, wire to payload.
//!
//! Owns the split of a chunked body into chunk lines, payload and trailer, over slices of the caller: payload is
//! named by range, never copied. Extensions are checked and ignored, trailers are checked and dropped. It knows
//! no sockets and no content.
//!
//! ```text
//!              ┌───────────────── CRLF ◀─ payload ◀─┐
//!              ▼                                    │ size > 0
//! Start ─▶ size digits ─▶ extensions ─▶ CRLF ───────┤
//!                                                   │ size = 0
//!                         Done ◀─ empty line ◀─ trailer lines
//! ```
//!
//! Source: RFC 9112 §7.1; RFC 9110 §5.6.4 (quoted strings) and §6.5 (trailers).

use std::fmt;
use std::ops::Range;

use super::octets::{QUOTED, TOKEN, VALUE, is};
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

// The sentence of `ChunkError::TrailerTooLong` names this bound.
const _: () = assert!(TRAILER_BYTES_MAX == 16 * 1024);

/// Digits of the longest chunk size; more would not fit into 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

/// What a decoder found in its input. Positions count from the start of that input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Payload. All up to the end of the range is used up: go on behind it.
    Data(Range<usize>),
    /// The whole input is used up and the body goes on.
    NeedMore,
    /// The body is over and so many bytes of the input belong to it. What follows is the next message.
    End(usize),
}

/// Why a chunked body was refused. From a client: 400; from a provider: 502, or the end of a stream. The
/// connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkError {
    /// A chunk does not start with a hexadecimal digit, or something else than an extension or CRLF follows.
    Size,
    /// A chunk size has more than 16 digits.
    SizeTooLong,
    /// A chunk line is longer than the bound.
    LineTooLong,
    /// An extension is malformed.
    Extension,
    /// The extensions of all chunks together are longer than the bound.
    ExtensionsTooLong,
    /// The payload of a chunk is not followed by CRLF.
    PayloadEnd,
    /// CR without LF behind it.
    BareCr,
    /// LF without CR before it.
    BareLf,
    /// A trailer field is malformed.
    Trailer,
    /// The trailer section is longer than the bound.
    TrailerTooLong,
}

impl ChunkError {
    /// The status of the answer to a *request* with this fault. From a provider's response every one is a 502.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Size
            | Self::SizeTooLong
            | Self::LineTooLong
            | Self::Extension
            | Self::ExtensionsTooLong
            | Self::PayloadEnd
            | Self::BareCr
            | Self::BareLf
            | Self::Trailer => 400,
            Self::TrailerTooLong => 431,
        }
    }

    /// A fixed sentence for the client: what was wrong, what is expected.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Size => "malformed chunk: expected its size in hexadecimal digits",
            Self::SizeTooLong => "malformed chunk: its size has more than 16 digits",
            Self::LineTooLong => "malformed chunk: its first line is too long",
            Self::Extension => "malformed chunk extension: expected ;name or ;name=value",
            Self::ExtensionsTooLong => "too many bytes of chunk extensions",
            Self::PayloadEnd => "malformed chunk: expected CRLF behind its data",
            Self::BareCr => "malformed chunked body: a CR has no LF behind it",
            Self::BareLf => "malformed chunked body: a line ends with LF alone, expected CRLF",
            Self::Trailer => "malformed trailer field",
            Self::TrailerTooLong => "the trailer section is too long: it may have 16 KiB",
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ChunkError {}

/// What the next byte has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// First digit of a size.
    SizeStart,
    /// A further digit, or what ends the size.
    Size,
    /// White space was seen where only `;` may follow.
    BeforeExtension,
    /// Behind `;`.
    ExtensionNameStart,
    ExtensionName,
    /// White space behind a name: `=` or `;`.
    ExtensionNameEnd,
    /// Behind `=`.
    ExtensionValueStart,
    ExtensionToken,
    ExtensionQuoted,
    /// Behind a backslash.
    ExtensionEscape,
    /// Behind the closing quote.
    ExtensionQuotedEnd,
    /// LF of a chunk line.
    LineLf,
    /// `remaining` is how much payload is missing, at least one byte.
    Payload,
    PayloadCr,
    PayloadLf,
    /// First byte of a trailer line, or CR of the empty one.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// LF of the empty line.
    EndLf,
    Done,
    Failed(ChunkError),
}

/// Decoder of one chunked body, fed with slices of any length.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    state: State,
    /// While in a size: the size so far. In payload: bytes missing.
    remaining: u64,
    /// Size of the chunk whose line was read last.
    chunk_bytes: u64,
    /// Bytes of the current chunk line so far, without its end.
    line_bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
    /// The current chunk line has an extension.
    line_has_extension: bool,
    /// Where in the input of the current step the last chunk line began.
    line_start: Option<usize>,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// At the first byte of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::SizeStart,
            remaining: 0,
            chunk_bytes: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            line_has_extension: false,
            line_start: None,
        }
    }

    /// Looks at the next bytes of the body, up to the end of the next piece of payload.
    ///
    /// # Errors
    /// The first fault, and the same again for every later call.
    #[inline]
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        self.line_start = (self.state == State::SizeStart).then_some(0);
        let mut at = 0;
        loop {
            match self.state {
                State::Payload if at < input.len() => {
                    let here = input.len() - at;
                    let taken = usize::try_from(self.remaining).map_or(here, |missing| missing.min(here));
                    self.remaining -= taken as u64;
                    if self.remaining == 0 {
                        self.state = State::PayloadCr;
                    }
                    return Ok(Step::Data(at..at + taken));
                }
                // What nearly every chunk is made of, a line at a time.
                State::SizeStart if let Some((size, digits)) = plain_line(&input[at..]) => {
                    (self.remaining, self.chunk_bytes) = (size, size);
                    (self.line_bytes, self.line_has_extension) = (digits, false);
                    self.state = State::Payload;
                    at += digits + 2;
                    continue;
                }
                State::PayloadCr if input[at..].starts_with(b"\r\n") => {
                    self.state = State::SizeStart;
                    at += 2;
                    self.line_start = Some(at);
                    continue;
                }
                State::Done => return Ok(Step::End(at)),
                State::Failed(fault) => return Err(fault),
                _ => {}
            }
            let Some(byte) = input.get(at) else { return Ok(Step::NeedMore) };
            at += 1;
            self.state = match self.after(*byte) {
                Ok(state) => state,
                Err(fault) => State::Failed(fault),
            };
            if self.state == State::SizeStart {
                self.line_start = Some(at);
            }
        }
    }

    /// Whether the body has been read to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether any chunk so far had an extension. Until then, and while [`Self::trailer_seen`] is false, the wire
    /// bytes may be relayed as they are; [`ChunkedRelay`](super::ChunkedRelay) does the rest.
    #[must_use]
    pub fn extension_seen(&self) -> bool {
        self.extension_bytes > 0
    }

    /// Whether a trailer field has begun.
    #[must_use]
    pub fn trailer_seen(&self) -> bool {
        self.trailer_bytes > 0
    }

    /// Whether the input so far ends within a chunk line, or behind the last chunk and before the end: what has
    /// come of it cannot be relayed yet, for an extension or a trailer may follow.
    #[must_use]
    pub(super) fn is_unsettled(&self) -> bool {
        match self.state {
            State::SizeStart => false,
            State::Payload | State::PayloadCr | State::PayloadLf => false,
            State::Done | State::Failed(_) => false,
            State::Size
            | State::BeforeExtension
            | State::ExtensionNameStart
            | State::ExtensionName
            | State::ExtensionNameEnd
            | State::ExtensionValueStart
            | State::ExtensionToken
            | State::ExtensionQuoted
            | State::ExtensionEscape
            | State::ExtensionQuotedEnd
            | State::LineLf
            | State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => true,
        }
    }

    /// Whether the line of a chunk has been read and the end of its payload has not.
    pub(super) fn is_in_chunk(&self) -> bool {
        matches!(self.state, State::Payload | State::PayloadCr | State::PayloadLf)
    }

    /// Size of the chunk whose line was read last.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Whether the chunk line read last has an extension.
    pub(super) fn line_has_extension(&self) -> bool {
        self.line_has_extension
    }

    /// Where the last chunk line that began in the last step's input began.
    pub(super) fn line_start(&self) -> Option<usize> {
        self.line_start
    }

    /// The state behind `byte`. Never called in `Payload`, `Done` and `Failed`.
    fn after(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::SizeStart => {
                self.remaining = 0;
                self.line_bytes = 0;
                self.line_has_extension = false;
                match hex_digit(byte) {
                    Some(digit) => self.push_digit(digit),
                    None => Err(ChunkError::Size),
                }
            }
            State::Size => match (hex_digit(byte), byte) {
                (Some(digit), _) => self.push_digit(digit),
                (None, b'\r') => Ok(State::LineLf),
                (None, b'\n') => Err(ChunkError::BareLf),
                (None, b';' | b' ' | b'\t') => self.extension(State::BeforeExtension, byte),
                (None, _) => Err(ChunkError::Size),
            },
            State::LineLf => self.line_end(byte),
            State::PayloadCr if byte == b'\r' => Ok(State::PayloadLf),
            State::PayloadLf if byte == b'\n' => Ok(State::SizeStart),
            State::PayloadCr | State::PayloadLf => Err(ChunkError::PayloadEnd),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => self.trailer(byte),
            state => self.extension(state, byte),
        }
    }

    fn push_digit(&mut self, digit: u8) -> Result<State, ChunkError> {
        if self.line_bytes == SIZE_DIGITS_MAX {
            return Err(ChunkError::SizeTooLong);
        }
        self.line_bytes += 1;
        // At most 16 digits, so nothing is shifted out.
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn line_end(&mut self, byte: u8) -> Result<State, ChunkError> {
        if byte != b'\n' {
            return Err(ChunkError::BareCr);
        }
        self.chunk_bytes = self.remaining;
        Ok(if self.remaining == 0 { State::TrailerStart } else { State::Payload })
    }

    /// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    fn extension(&mut self, state: State, byte: u8) -> Result<State, ChunkError> {
        use State::{
            BeforeExtension, ExtensionEscape, ExtensionName, ExtensionNameEnd, ExtensionNameStart,
            ExtensionQuoted, ExtensionQuotedEnd, ExtensionToken, ExtensionValueStart, LineLf,
        };
        let next = match (state, byte) {
            (BeforeExtension, b';') => ExtensionNameStart,
            (BeforeExtension, b' ' | b'\t') => BeforeExtension,
            (ExtensionNameStart, b' ' | b'\t') => ExtensionNameStart,
            (ExtensionNameStart | ExtensionName, _) if is(byte, TOKEN) => ExtensionName,
            (ExtensionName | ExtensionNameEnd, b' ' | b'\t') => ExtensionNameEnd,
            (ExtensionName | ExtensionNameEnd, b'=') => ExtensionValueStart,
            (ExtensionName | ExtensionNameEnd, b';') => ExtensionNameStart,
            (ExtensionValueStart, b' ' | b'\t') => ExtensionValueStart,
            (ExtensionValueStart, b'"') => ExtensionQuoted,
            (ExtensionValueStart | ExtensionToken, _) if is(byte, TOKEN) => ExtensionToken,
            (ExtensionQuoted, b'"') => ExtensionQuotedEnd,
            (ExtensionQuoted, b'\\') => ExtensionEscape,
            (ExtensionQuoted, _) if is(byte, QUOTED) => ExtensionQuoted,
            (ExtensionEscape, _) if is(byte, VALUE) => ExtensionQuoted,
            (ExtensionToken | ExtensionQuotedEnd, b' ' | b'\t') => BeforeExtension,
            (ExtensionToken | ExtensionQuotedEnd, b';') => ExtensionNameStart,
            (ExtensionName | ExtensionToken | ExtensionQuotedEnd, b'\r') => return Ok(LineLf),
            (_, b'\n') => return Err(ChunkError::BareLf),
            _ => return Err(ChunkError::Extension),
        };
        self.line_has_extension = true;
        self.line_bytes += 1;
        self.extension_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(ChunkError::LineTooLong);
        }
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(ChunkError::ExtensionsTooLong);
        }
        Ok(next)
    }

    /// `*( field-line CRLF ) CRLF`, without folded lines.
    fn trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        let next = match (self.state, byte) {
            (State::TrailerStart, b'\r') => return Ok(State::EndLf),
            (State::EndLf, b'\n') => return Ok(State::Done),
            (State::TrailerStart | State::TrailerName, _) if is(byte, TOKEN) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is(byte, VALUE) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf | State::TrailerLf, _) => return Err(ChunkError::BareCr),
            (_, b'\n') => return Err(ChunkError::BareLf),
            _ => return Err(ChunkError::Trailer),
        };
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(ChunkError::TrailerTooLong);
        }
        Ok(next)
    }
}

/// The size that a chunk line of a few digits and nothing else says, and the number of its digits. `None` for any other
/// line, an unfinished one, and that of the last chunk.
#[inline]
fn plain_line(input: &[u8]) -> Option<(u64, usize)> {
    const DIGITS_MAX: usize = 8;
    let mut size = 0;
    for (at, byte) in input.iter().take(DIGITS_MAX + 1).enumerate() {
        match hex_digit(*byte) {
            Some(digit) if at < DIGITS_MAX => size = size << 4 | u64::from(digit),
            _ => {
                let is_plain = size > 0 && input[at..].starts_with(b"\r\n");
                return is_plain.then_some((size, at));
            }
        }
    }
    None
}

#[inline]
fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
