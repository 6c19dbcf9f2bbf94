//! Frames of the ring: how a record is laid out and what counts as intact.
//!
//! Pure: positions and bytes in, a verdict out. Reads only between the two positions it is given, because the rest of
//! the ring belongs to the producer.

use super::facts::FACTS_BYTES;
use crate::limits::{JOURNAL_BYTES_MIN, RECORD_BYTES_MAX};

/// Bytes before the entry: its length and the check.
pub(super) const FRAME_HEAD_BYTES: u64 = 8;
/// A frame starts at a multiple of this, so that a skip mark always fits before the ring's end.
pub(super) const FRAME_ALIGN: u64 = 8;
/// Stands in place of a length: the rest of the ring up to its end is unused.
const SKIP_MARK: u32 = u32::MAX;

/// Longest entry: facts and line.
pub(super) const ENTRY_BYTES_MAX: usize = FACTS_BYTES + RECORD_BYTES_MAX;

/// The longest frame fits wherever the one before it ended: behind a skip mark there is room for it in an empty ring.
const _: () = assert!(2 * frame_bytes(ENTRY_BYTES_MAX) <= JOURNAL_BYTES_MIN as u64);

/// What an entry is made of: the version of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Version 1: a line.
    Line,
    /// Version 2: facts, then a line.
    FactsAndLine,
}

impl Layout {
    /// Bytes before the line.
    fn facts_bytes(self) -> usize {
        match self {
            Self::Line => 0,
            Self::FactsAndLine => FACTS_BYTES,
        }
    }
}

/// What lies at a position of the ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// An intact record; the next frame starts at `next`.
    Record { facts: Option<&'a [u8; FACTS_BYTES]>, line: &'a [u8], next: u64 },
    /// Unused space up to the ring's end.
    Skip { next: u64 },
    /// No frame of this lap starts here.
    Damaged,
}

/// Space that an entry of `entry_bytes` takes in the ring.
#[inline]
pub(super) const fn frame_bytes(entry_bytes: usize) -> u64 {
    (FRAME_HEAD_BYTES + entry_bytes as u64).next_multiple_of(FRAME_ALIGN)
}

/// The head of a frame at `position`.
#[inline]
pub(super) fn frame_head(entry: &[u8], position: u64) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&(entry.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&(crc32fast::hash(entry) ^ lap_mix(position)).to_le_bytes());
    head
}

/// The mark at `position` that says: go on at the ring's start.
#[inline]
pub(super) fn skip_head(position: u64) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&SKIP_MARK.to_le_bytes());
    head[4..].copy_from_slice(&lap_mix(position).to_le_bytes());
    head
}

/// Reads the frame at `position`, of which nothing at or beyond `end` may be looked at.
///
/// `bytes(offset, length)` gives bytes of the ring by place; it is called for bytes between `position` and `end` alone,
/// never across the ring's end.
pub(super) fn read_frame<'a>(
    layout: Layout,
    bytes: impl Fn(u64, u64) -> &'a [u8],
    capacity: u64,
    position: u64,
    end: u64,
) -> Frame<'a> {
    let offset = position & (capacity - 1);
    let available = (end - position).min(capacity - offset);
    if available < FRAME_HEAD_BYTES {
        return Frame::Damaged;
    }
    let head = bytes(offset, FRAME_HEAD_BYTES);
    let (length, check) = (le_u32(&head[..4]), le_u32(&head[4..]));
    if length == SKIP_MARK {
        let next = position + (capacity - offset);
        let intact = check == lap_mix(position) && next <= end;
        return if intact { Frame::Skip { next } } else { Frame::Damaged };
    }
    let line_bytes = (length as usize).saturating_sub(layout.facts_bytes());
    if !(1..=RECORD_BYTES_MAX).contains(&line_bytes) || frame_bytes(length as usize) > available {
        return Frame::Damaged;
    }
    let entry = bytes(offset + FRAME_HEAD_BYTES, u64::from(length));
    if crc32fast::hash(entry) ^ lap_mix(position) != check {
        return Frame::Damaged;
    }
    let next = position + frame_bytes(length as usize);
    match layout {
        Layout::Line => Frame::Record { facts: None, line: entry, next },
        Layout::FactsAndLine => match entry.split_first_chunk() {
            Some((facts, line)) => Frame::Record { facts: Some(facts), line, next },
            None => Frame::Damaged,
        },
    }
}

/// A number that differs between laps at the same place: the high half of a multiplicative hash.
#[inline]
fn lap_mix(position: u64) -> u32 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
