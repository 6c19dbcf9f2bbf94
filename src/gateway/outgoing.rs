//! Framing towards the client, written around the provider's bytes where they lie.

use std::io;

use crate::http1::Framing;
use crate::http1::writer::{self, ChunkHeader, LAST_CHUNK};
use crate::limits::ANSWER_TAILROOM_BYTES;
use crate::net::Conn;

/// How the answer is delimited for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientFraming {
    /// No body follows the head.
    None,
    /// The provider's own length.
    Length(u64),
    /// Chunks of ours.
    Chunked,
    /// Until we close; for HTTP/1.0 clients.
    UntilClose,
}

impl ClientFraming {
    /// The framing of an answer whose provider framed it so.
    pub(super) fn of(provider: Framing, is_head: bool, http10: bool, bytes_change: bool) -> Self {
        match provider {
            Framing::None => Self::None,
            _ if is_head => Self::None,
            Framing::Length(length) if !bytes_change => Self::Length(length),
            _ if http10 => Self::UntilClose,
            _ => Self::Chunked,
        }
    }

    /// Appends the field that says so.
    pub(super) fn append_field(self, head: &mut Vec<u8>) {
        match self {
            Self::Length(length) => writer::content_length(head, length),
            Self::Chunked => writer::transfer_encoding_chunked(head),
            Self::None | Self::UntilClose => {}
        }
    }
}

/// The way of one answer to the client.
#[derive(Debug)]
pub(super) struct Outgoing {
    framing: ClientFraming,
    /// Head and opening event: they wait for the first bytes of the provider, to go out in one write.
    pending: Vec<u8>,
}

impl Outgoing {
    /// `head` is complete, its empty line included.
    pub(super) fn new(framing: ClientFraming, head: Vec<u8>) -> Self {
        Self { framing, pending: head }
    }

    /// Adds bytes of ours that go out with the head, framed.
    pub(super) fn open_with(&mut self, bytes: &[u8]) {
        self.append_framed(bytes);
    }

    fn append_framed(&mut self, bytes: &[u8]) {
        if self.framing == ClientFraming::Chunked {
            writer::chunk_header(&mut self.pending, bytes.len() as u64);
            self.pending.extend_from_slice(bytes);
            self.pending.extend_from_slice(writer::CRLF);
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// Sends `buffer[start..end]` and, with `last`, the end of the body. The buffer has room around the range.
    pub(super) async fn send(
        &mut self,
        conn: &mut Conn,
        buffer: &mut [u8],
        mut start: usize,
        mut end: usize,
        last: bool,
    ) -> io::Result<()> {
        if self.framing == ClientFraming::Chunked {
            if start < end {
                let header = ChunkHeader::new((end - start) as u64);
                let header = header.as_bytes();
                buffer[start - header.len()..start].copy_from_slice(header);
                start -= header.len();
                buffer[end..end + 2].copy_from_slice(writer::CRLF);
                end += 2;
            }
            if last {
                buffer[end..end + LAST_CHUNK.len()].copy_from_slice(LAST_CHUNK);
                end += LAST_CHUNK.len();
            }
            const _: () = assert!(ANSWER_TAILROOM_BYTES >= writer::CRLF.len() + LAST_CHUNK.len());
        }
        let head_bytes = self.pending.len();
        if head_bytes > start {
            let pending = std::mem::take(&mut self.pending);
            return conn.write_parts(&[&pending, &buffer[start..end]]).await;
        }
        if head_bytes > 0 {
            buffer[start - head_bytes..start].copy_from_slice(&self.pending);
            start -= head_bytes;
            self.pending.clear();
        }
        if start == end { Ok(()) } else { conn.write_all(&buffer[start..end]).await }
    }

    /// Sends bytes that lie elsewhere and, with `last`, the end of the body.
    pub(super) async fn send_slice(&mut self, conn: &mut Conn, bytes: &[u8], last: bool) -> io::Result<()> {
        if !bytes.is_empty() {
            self.append_framed(bytes);
        }
        if last && self.framing == ClientFraming::Chunked {
            self.pending.extend_from_slice(LAST_CHUNK);
        }
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() { Ok(()) } else { conn.write_all(&pending).await }
    }

    /// Whether the client can be told of a failure within the body.
    pub(super) fn can_add_bytes(&self) -> bool {
        matches!(self.framing, ClientFraming::Chunked | ClientFraming::UntilClose)
    }

    /// Whether the end of the body is the end of the connection.
    pub(super) fn ends_by_close(&self) -> bool {
        self.framing == ClientFraming::UntilClose
    }

    /// Memory for the next head.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.pending
    }
}
