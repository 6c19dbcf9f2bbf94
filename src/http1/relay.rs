//! Passing a chunked body on: wire bytes as they came, as far as that is right.
//!
//! Owns the decision which wire bytes of a chunked body go to the next hop untouched. Payload and plain chunk
//! lines do, so that one read becomes one write of the same buffer. A chunk line with an extension is written
//! anew without it, trailers are left out, and a chunk line cut by the end of a read is held back and written
//! anew once it is known. What goes out is a chunked body with the same payload, whatever came in.
//!
//! Source: RFC 9112 §7.1.1 (a recipient that does not know an extension ignores it) and §7.1.2 (trailers may be
//! dropped).

use std::ops::Range;

use super::writer::{ChunkHeader, LAST_CHUNK};
use super::{ChunkError, ChunkedDecoder, Step};

/// Takes what [`ChunkedRelay::relay`] finds in one input. Ranges count from the start of that input.
pub trait RelaySink {
    /// Payload, for whoever wants to read along. Comes before the wire bytes that carry it.
    fn payload(&mut self, range: Range<usize>);
    /// Bytes of the input to be passed on as they are. As a rule one call with all of the input.
    fn wire(&mut self, range: Range<usize>);
    /// Chunk framing to be written at this point instead of what came.
    fn framing(&mut self, bytes: &[u8]);
}

/// Where a body stands behind one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayProgress {
    /// It goes on; the whole input is used up.
    NeedMore,
    /// It is over, and so many bytes of the input belonged to it.
    End(usize),
}

/// A [`ChunkedDecoder`] that also says what to write to the next hop.
#[derive(Debug, Clone, Default)]
pub struct ChunkedRelay {
    decoder: ChunkedDecoder,
}

impl ChunkedRelay {
    /// At the first byte of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The decoder, for what has been seen so far.
    #[must_use]
    pub fn decoder(&self) -> &ChunkedDecoder {
        &self.decoder
    }

    /// Takes the next bytes of the body and tells `sink` what to do with them.
    ///
    /// # Errors
    /// The first fault. What `sink` got before it is well-formed and may have been written already.
    pub fn relay(&mut self, input: &[u8], sink: &mut impl RelaySink) -> Result<RelayProgress, ChunkError> {
        if self.decoder.is_done() {
            return Ok(RelayProgress::End(0));
        }
        // Start of the bytes that go on as they are; none while a line is held back.
        let mut wire = (!self.decoder.is_unsettled()).then_some(0);
        let mut at = 0;
        loop {
            // A line begun in an earlier input has to be written anew, for its first part was held back.
            let carried = self.decoder.is_unsettled();
            let step = self.decoder.step(&input[at..])?;
            let line = self.decoder.line_start().map(|offset| at + offset);
            let opened = self.decoder.is_in_chunk() && (carried || line.is_some());
            let payload_start = match &step {
                Step::Data(range) => at + range.start,
                Step::NeedMore | Step::End(_) => input.len(),
            };
            if opened && (carried || self.decoder.line_has_extension()) {
                flush(sink, wire, line);
                sink.framing(ChunkHeader::new(self.decoder.chunk_bytes()).as_bytes());
                wire = Some(payload_start);
            }
            match step {
                Step::Data(range) => {
                    let end = at + range.end;
                    sink.payload(payload_start..end);
                    at = end;
                }
                Step::NeedMore => {
                    flush(sink, wire, if self.decoder.is_unsettled() { line } else { Some(input.len()) });
                    return Ok(RelayProgress::NeedMore);
                }
                Step::End(bytes) => {
                    let end = at + bytes;
                    if carried || self.decoder.line_has_extension() || self.decoder.trailer_seen() {
                        flush(sink, wire, line);
                        sink.framing(LAST_CHUNK);
                    } else {
                        flush(sink, wire, Some(end));
                    }
                    return Ok(RelayProgress::End(end));
                }
            }
        }
    }
}

/// Passes on the bytes from `start` to `end`, if there are any.
fn flush(sink: &mut impl RelaySink, start: Option<usize>, end: Option<usize>) {
    if let (Some(start), Some(end)) = (start, end)
        && start < end
    {
        sink.wire(start..end);
    }
}
