//! As much of HTTP/1.1 as the two ends of a benchmark need: heads, lengths, chunked bodies.
//!
//! No sockets and no clock. Peers are proxies under test on the same machine: what is malformed is an
//! error to be counted, not an attack to be survived.
//!
//! Source: RFC 9112 sections 2 to 7.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

/// Built once: a search over a few hundred bytes costs less than building its searcher.
static BLANK_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// How the bytes after a head are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
}

/// The parts of a head that matter here.
#[derive(Debug)]
pub struct Head<'a> {
    pub start_line: &'a [u8],
    pub framing: Framing,
    /// Length of the head with its blank line.
    pub len: usize,
    pub close: bool,
}

/// Finds the first head in `bytes`; `None` means more bytes are needed.
pub fn parse_head(bytes: &[u8]) -> Option<Head<'_>> {
    let len = BLANK_LINE.find(bytes)? + 4;
    let first_end = memchr(b'\r', bytes)?;
    let mut head = Head { start_line: &bytes[..first_end], framing: Framing::Length(0), len, close: false };
    let mut rest = &bytes[first_end + 2..len - 2];
    while let Some(end) = memchr(b'\r', rest) {
        read_field(&rest[..end], &mut head);
        rest = &rest[(end + 2).min(rest.len())..];
    }
    Some(head)
}

/// Looks at the first letter and the length of the name before it compares: most fields do not matter.
fn read_field(line: &[u8], head: &mut Head<'_>) {
    let is = |name: &[u8]| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name);
    let value = |name: &[u8]| line[name.len()..].trim_ascii();
    match line.first() {
        Some(b'c' | b'C') if is(b"content-length:") => {
            let digits = value(b"content-length:");
            let length =
                digits.iter().fold(0usize, |n, d| n.wrapping_mul(10) + (d.wrapping_sub(b'0') as usize));
            head.framing = Framing::Length(length);
        }
        Some(b'c' | b'C') if is(b"connection:") => {
            head.close = value(b"connection:").eq_ignore_ascii_case(b"close");
        }
        Some(b't' | b'T')
            if is(b"transfer-encoding:") && value(b"transfer-encoding:").eq_ignore_ascii_case(b"chunked") =>
        {
            head.framing = Framing::Chunked;
        }
        _ => {}
    }
}

/// Where a chunked body stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chunk {
    #[default]
    Size,
    Extension,
    Data,
    DataEnd,
    Trailer {
        line_len: usize,
    },
    End,
    Bad,
}

/// Takes a chunked body apart, whatever the cuts between reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dechunker {
    state: Chunk,
    left: usize,
}

impl Dechunker {
    /// Hands each run of payload bytes to `payload`; returns how many bytes of `bytes` were used.
    /// Uses all of them unless the body ends or is malformed.
    pub fn feed<'b>(&mut self, bytes: &'b [u8], mut payload: impl FnMut(&'b [u8])) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.state != Chunk::End && self.state != Chunk::Bad {
            if self.state == Chunk::Data {
                let take = self.left.min(bytes.len() - at);
                payload(&bytes[at..at + take]);
                at += take;
                self.left -= take;
                if self.left == 0 {
                    self.state = Chunk::DataEnd;
                }
            } else {
                self.step(bytes[at]);
                at += 1;
            }
        }
        at
    }

    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (Chunk::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.left = self.left << 4 | (byte as char).to_digit(16).unwrap_or(0) as usize;
                if self.left > 1 << 24 { Chunk::Bad } else { Chunk::Size }
            }
            (Chunk::Size | Chunk::Extension, b'\r') => self.state,
            (Chunk::Size | Chunk::Extension, b'\n') if self.left > 0 => Chunk::Data,
            (Chunk::Size | Chunk::Extension, b'\n') => Chunk::Trailer { line_len: 0 },
            (Chunk::Size, b';' | b' ') | (Chunk::Extension, _) => Chunk::Extension,
            (Chunk::DataEnd, b'\r') => Chunk::DataEnd,
            (Chunk::DataEnd, b'\n') => Chunk::Size,
            (Chunk::Trailer { .. }, b'\r') => self.state,
            (Chunk::Trailer { line_len: 0 }, b'\n') => Chunk::End,
            (Chunk::Trailer { .. }, b'\n') => Chunk::Trailer { line_len: 0 },
            (Chunk::Trailer { line_len }, _) => Chunk::Trailer { line_len: line_len + 1 },
            (Chunk::Size | Chunk::DataEnd | Chunk::Data | Chunk::End | Chunk::Bad, _) => Chunk::Bad,
        };
    }

    pub fn is_done(&self) -> bool {
        self.state == Chunk::End
    }

    pub fn is_bad(&self) -> bool {
        self.state == Chunk::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_framing_and_close() {
        let cases: [(&[u8], Framing, bool); 4] = [
            (b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 612\r\n\r\nbody", Framing::Length(612), false),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding:chunked\r\n\r\n", Framing::Chunked, false),
            (b"POST / HTTP/1.1\r\nCONNECTION: close\r\ncontent-length:7\r\n\r\n", Framing::Length(7), true),
            (b"GET /health HTTP/1.1\r\n\r\n", Framing::Length(0), false),
        ];
        for (bytes, framing, close) in cases {
            let head = parse_head(bytes).expect("complete");
            assert_eq!((head.framing, head.close), (framing, close));
            for cut in 0..head.len {
                assert!(parse_head(&bytes[..cut]).is_none());
            }
        }
    }

    #[test]
    fn a_chunked_body_is_the_same_at_every_split() {
        let body = b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nT: v\r\n\r\nNEXT";
        for cut in 0..body.len() {
            let mut decoder = Dechunker::default();
            let mut out = Vec::new();
            let mut used = decoder.feed(&body[..cut], |part| out.extend_from_slice(part));
            if used == cut {
                used += decoder.feed(&body[cut..], |part| out.extend_from_slice(part));
            }
            assert_eq!((out.as_slice(), used), (b"hello, world".as_slice(), body.len() - 4));
            assert!(decoder.is_done() && !decoder.is_bad());
        }
    }

    #[test]
    fn a_malformed_chunk_is_bad() {
        let mut decoder = Dechunker::default();
        decoder.feed(b"zz\r\n", |_| ());
        assert!(decoder.is_bad());
    }
}
