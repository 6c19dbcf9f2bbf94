//! The body behind a head, whatever delimits it.
//!
//! Owns the choice of decoder by framing and the question whether the peer's end of stream was the body's end.
//! It copies nothing and knows no content.
//!
//! Source: RFC 9112 §6 and §8 (incomplete messages).

use std::fmt;

use super::{ChunkError, ChunkedDecoder, Framing, Step};

/// Decoder of one body.
#[derive(Debug, Clone)]
pub enum BodyDecoder {
    /// So many bytes are missing; none for a message without body.
    Length {
        /// Bytes still to come.
        remaining: u64,
    },
    /// Chunked coding.
    Chunked(ChunkedDecoder),
    /// All there is until the connection closes.
    UntilClose,
}

/// The peer ended its stream within a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// Bytes that are missing, where the framing told.
    pub missing: Option<u64>,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missing {
            Some(missing) => write!(f, "the body ended {missing} bytes early"),
            None => f.write_str("the body ended before its last chunk"),
        }
    }
}

impl std::error::Error for Truncated {}

impl BodyDecoder {
    /// At the first byte behind a head.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length { remaining: 0 },
            Framing::Length(remaining) => Self::Length { remaining },
            Framing::Chunked => Self::Chunked(ChunkedDecoder::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Looks at the next bytes of the body, up to the end of the next piece of payload. A body that is over
    /// answers [`Step::End`], also to an empty input.
    ///
    /// # Errors
    /// A malformed chunk; only with the chunked coding.
    #[inline]
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        match self {
            Self::Length { remaining: 0 } => Ok(Step::End(0)),
            Self::Length { .. } | Self::UntilClose if input.is_empty() => Ok(Step::NeedMore),
            Self::Length { remaining } => {
                let here = input.len();
                let taken = usize::try_from(*remaining).map_or(here, |missing| missing.min(here));
                *remaining -= taken as u64;
                Ok(Step::Data(0..taken))
            }
            Self::Chunked(decoder) => decoder.step(input),
            Self::UntilClose => Ok(Step::Data(0..input.len())),
        }
    }

    /// Whether the body has been read to its end. [`BodyDecoder::UntilClose`] never knows by itself.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length { remaining } => *remaining == 0,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::UntilClose => false,
        }
    }

    /// The peer has ended its stream.
    ///
    /// # Errors
    /// [`Truncated`] if the body was not over: it must not pass for a whole one (RFC 9112 §8).
    pub fn finish_eof(&self) -> Result<(), Truncated> {
        match self {
            Self::UntilClose => Ok(()),
            done if done.is_done() => Ok(()),
            Self::Length { remaining } => Err(Truncated { missing: Some(*remaining) }),
            Self::Chunked(_) => Err(Truncated { missing: None }),
        }
    }
}
