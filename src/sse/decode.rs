//! Where events begin and end in a stream of bytes, and what they carry.
//!
//! One decoder, two ways of use. A relay that has to *withhold* an event keeps the unconsumed tail of the stream in
//! its own buffer and calls [`BlockDecoder::step`] on it. A relay that only *watches* gives each slice to
//! [`Observer::feed`], which copies nothing but the piece of an event that a slice ends in.
//!
//! Never an error: a stream is relayed whatever is in it. A block longer than the limit is passed on unread and
//! counted. Rules: WHATWG HTML 9.2.5 and 9.2.6; `id` and `retry` fields mean nothing to a relay and are ignored.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use crate::limits::{SSE_CARRY_KEEP_BYTES, SSE_EVENT_BYTES_MAX};

/// One dispatched event: a block with at least one `data` field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Value of the last `event` field, empty when there was none.
    pub name: &'a [u8],
    /// Values of the `data` fields joined by LF; borrowed when there was one field only.
    pub data: Cow<'a, [u8]>,
    /// Bytes of the stream that the event covers, counted from the stream's first byte, terminating blank line
    /// included. When that line ends in CR LF and the slice ended between the two, the LF is not included.
    pub wire: Range<u64>,
}

/// A run of lines up to and including a blank one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// What the block dispatches; `None` for comments and for blocks without `data`.
    pub event: Option<Event<'a>>,
    /// Bytes of the block, terminating blank line included.
    pub len: usize,
}

/// What the front of the unconsumed bytes is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole block.
    Block(Block<'a>),
    /// So many bytes belong to a block that is longer than the limit: pass them on unread.
    Unread(usize),
    /// The block is not complete yet: keep the bytes and come back with more of them.
    More,
}

/// Finds blocks in bytes that the caller keeps.
///
/// ```text
/// Lines ──blank line──▶ Block, Lines        Lines ──longer than the limit──▶ Skipping
///                                           Skipping ──blank line──▶ Lines
/// ```
///
/// After [`Step::Block`] and [`Step::Unread`] the caller drops the given number of bytes from the front; after
/// [`Step::More`] the next call must begin with the same bytes. Each byte is looked at once however it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDecoder {
    state: State,
    /// Stream offset of the first unconsumed byte.
    base: u64,
    block_bytes_max: usize,
    blocks_unread: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Lines(Lines),
    Skipping(Skipping),
}

/// What is known of an incomplete block. Offsets count from the block's first byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lines {
    /// Start of the line in progress.
    line_start: usize,
    /// No line end lies between `line_start` and here.
    scanned: usize,
    name: Range<usize>,
    /// Value of the last `data` field.
    data: Range<usize>,
    data_lines: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Skipping {
    line_is_empty: bool,
    after_cr: bool,
}

impl Default for BlockDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockDecoder {
    /// A decoder at the start of a stream, for blocks of up to [`SSE_EVENT_BYTES_MAX`] bytes.
    pub fn new() -> Self {
        Self::with_limit(SSE_EVENT_BYTES_MAX)
    }

    /// A decoder that reads blocks of up to `block_bytes_max` bytes, blank line not counted.
    pub fn with_limit(block_bytes_max: usize) -> Self {
        Self { state: State::Lines(Lines::default()), base: 0, block_bytes_max, blocks_unread: 0 }
    }

    /// How many blocks were passed on unread because they were longer than the limit.
    pub fn blocks_unread(&self) -> u64 {
        self.blocks_unread
    }

    /// Looks at the unconsumed bytes of the stream, `buf`, from where the last call stopped.
    pub fn step<'a>(&mut self, buf: &'a [u8]) -> Step<'a> {
        match &mut self.state {
            State::Lines(lines) => {
                if self.base == 0 && lines.scanned == 0 {
                    match leading_bom(buf) {
                        Some(bom_len) => (lines.line_start, lines.scanned) = (bom_len, bom_len),
                        None => return Step::More,
                    }
                }
                match lines.find_blank_line(buf) {
                    Some(blank) if blank <= self.block_bytes_max => {
                        let len = blank + line_end_len(&buf[blank..]);
                        let event = lines.event(buf, self.base..self.base + len as u64);
                        *lines = Lines::default();
                        self.base += len as u64;
                        Step::Block(Block { event, len })
                    }
                    Some(blank) => {
                        let len = blank + line_end_len(&buf[blank..]);
                        *lines = Lines::default();
                        self.blocks_unread += 1;
                        self.base += len as u64;
                        Step::Unread(len)
                    }
                    None if buf.len() > self.block_bytes_max => {
                        self.state = State::Skipping(Skipping {
                            line_is_empty: lines.line_start == buf.len(),
                            after_cr: buf.last() == Some(&b'\r'),
                        });
                        self.blocks_unread += 1;
                        self.base += buf.len() as u64;
                        Step::Unread(buf.len())
                    }
                    None => Step::More,
                }
            }
            State::Skipping(_) if buf.is_empty() => Step::More,
            State::Skipping(skipping) => {
                let (len, ended) = skipping.advance(buf);
                if ended {
                    self.state = State::Lines(Lines::default());
                }
                self.base += len as u64;
                Step::Unread(len)
            }
        }
    }
}

/// Length of the byte order mark that a stream begins with, 0 without one, `None` while that cannot be told.
fn leading_bom(buf: &[u8]) -> Option<usize> {
    const BOM: &[u8] = b"\xEF\xBB\xBF";
    if buf.starts_with(BOM) {
        Some(BOM.len())
    } else if BOM.starts_with(buf) {
        None
    } else {
        Some(0)
    }
}

/// Length of the line end that `buf` begins with: CR, LF or CR LF.
fn line_end_len(buf: &[u8]) -> usize {
    if buf.starts_with(b"\r\n") { 2 } else { 1 }
}

impl Lines {
    /// Takes in all complete lines of the block and returns the offset of the blank line that ends it.
    fn find_blank_line(&mut self, buf: &[u8]) -> Option<usize> {
        loop {
            // The byte after a line end decides most often, so it is looked at before a search is set up.
            match buf.get(self.scanned) {
                None => return None,
                Some(b'\n') if self.scanned == self.line_start && self.ends_crlf(buf) => {
                    self.line_start += 1;
                    self.scanned = self.line_start;
                    continue;
                }
                Some(b'\n' | b'\r') if self.scanned == self.line_start => return Some(self.line_start),
                Some(_) => {}
            }
            let Some(found) = memchr2(b'\n', b'\r', &buf[self.scanned..]) else {
                self.scanned = buf.len();
                return None;
            };
            let end = self.scanned + found;
            self.take_line(buf, end);
            self.line_start = end + 1;
            self.scanned = self.line_start;
        }
    }

    /// Whether the LF at the start of the line belongs to the CR that ended the line before it.
    fn ends_crlf(&self, buf: &[u8]) -> bool {
        self.line_start > 0 && buf[self.line_start - 1] == b'\r'
    }

    /// Takes in the line that ends before `end`.
    fn take_line(&mut self, buf: &[u8], end: usize) {
        let line = &buf[self.line_start..end];
        let value_of = |name: &[u8]| -> Option<Range<usize>> {
            let rest = line.strip_prefix(name)?;
            let value = match rest {
                [] => rest,
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                _ => return None,
            };
            Some(end - value.len()..end)
        };
        match line.first() {
            Some(b'd') => {
                if let Some(value) = value_of(b"data") {
                    self.data = value;
                    self.data_lines += 1;
                }
            }
            Some(b'e') => {
                if let Some(value) = value_of(b"event") {
                    self.name = value;
                }
            }
            _ => {}
        }
    }

    /// What the complete block dispatches.
    fn event<'a>(&self, buf: &'a [u8], wire: Range<u64>) -> Option<Event<'a>> {
        let data = match self.data_lines {
            0 => return None,
            1 => Cow::Borrowed(&buf[self.data.clone()]),
            _ => {
                // Only the stream's first block can begin with a byte order mark.
                let from = if wire.start == 0 { leading_bom(buf).unwrap_or(0) } else { 0 };
                Cow::Owned(joined_data(&buf[from..self.line_start]))
            }
        };
        Some(Event { name: &buf[self.name.clone()], data, wire })
    }
}

/// All `data` values of a block, joined by LF.
#[cold]
fn joined_data(block: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(block.len());
    let mut any = false;
    // An LF that follows a CR makes an empty line here, which is no field.
    for line in block.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[][..],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => continue,
        };
        if any {
            joined.push(b'\n');
        }
        joined.extend_from_slice(value);
        any = true;
    }
    joined
}

impl Skipping {
    /// How many bytes of `buf` belong to the block, and whether it ends with them.
    fn advance(&mut self, buf: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = buf.get(at) {
            if byte == b'\n' && self.after_cr {
                self.after_cr = false;
                at += 1;
                continue;
            }
            self.after_cr = false;
            if self.line_is_empty && matches!(byte, b'\n' | b'\r') {
                return (at + line_end_len(&buf[at..]), true);
            }
            let Some(found) = memchr2(b'\n', b'\r', &buf[at..]) else {
                self.line_is_empty = false;
                break;
            };
            at += found;
            self.line_is_empty = true;
            self.after_cr = buf[at] == b'\r';
            at += 1;
        }
        (buf.len(), false)
    }
}

/// Watches a stream that someone else relays, slice by slice.
///
/// An event that lies whole within one slice is not copied. The piece of an event that a slice ends in is kept in a
/// buffer of at most the decoder's limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observer {
    decoder: BlockDecoder,
    carry: Vec<u8>,
}

impl Observer {
    /// An observer at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// An observer that reads blocks of up to `block_bytes_max` bytes.
    pub fn with_limit(block_bytes_max: usize) -> Self {
        Self { decoder: BlockDecoder::with_limit(block_bytes_max), carry: Vec::new() }
    }

    /// Whether the bytes so far end inside a block: someone who writes an event of their own now has to end that
    /// block first.
    pub fn is_inside_block(&self) -> bool {
        !self.carry.is_empty() || matches!(self.decoder.state, State::Skipping(_))
    }

    /// How many blocks were not read because they were longer than the limit.
    pub fn blocks_unread(&self) -> u64 {
        self.decoder.blocks_unread
    }

    /// Back to the start of a stream; the carry buffer is kept.
    pub fn reset(&mut self) {
        self.carry.clear();
        self.decoder = BlockDecoder::with_limit(self.decoder.block_bytes_max);
    }

    /// Takes in the next slice of the stream and calls `on_event` for each event that ends in it.
    pub fn feed(&mut self, slice: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        let mut rest = slice;
        while !self.carry.is_empty() && !rest.is_empty() {
            // Line by line, so that no byte behind the block is copied.
            let line = memchr2(b'\n', b'\r', rest).map_or(rest.len(), |at| at + 1);
            let room = (self.decoder.block_bytes_max + 1).saturating_sub(self.carry.len()).max(1);
            let (piece, tail) = rest.split_at(line.min(room));
            self.carry.extend_from_slice(piece);
            rest = tail;
            match self.decoder.step(&self.carry) {
                Step::Block(block) => {
                    debug_assert_eq!(block.len, self.carry.len(), "the block ends with the line just taken");
                    block.event.into_iter().for_each(&mut on_event);
                    self.empty_carry();
                }
                Step::Unread(_) => self.empty_carry(),
                Step::More => {}
            }
        }
        while !rest.is_empty() {
            match self.decoder.step(rest) {
                Step::Block(block) => {
                    block.event.into_iter().for_each(&mut on_event);
                    rest = &rest[block.len..];
                }
                Step::Unread(len) => rest = &rest[len..],
                Step::More => {
                    self.carry.extend_from_slice(rest);
                    return;
                }
            }
        }
    }

    /// The stream has ended. A block that lacks only its blank line is still given to `on_event`: a browser drops
    /// it, but some servers leave the last blank line out, and what it reports is worth counting.
    pub fn finish(&mut self, on_event: impl FnMut(Event<'_>)) {
        if !self.carry.is_empty() {
            self.feed(b"\n\n", on_event);
        }
    }

    fn empty_carry(&mut self) {
        self.carry.clear();
        self.carry.shrink_to(SSE_CARRY_KEEP_BYTES);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
