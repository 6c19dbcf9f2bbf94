//! Frames of the ring: how a record is laid out and what counts as intact.
//!
//! Pure: positions and bytes in, a verdict out. Reads only between the two positions it is given, because the rest of
//! the ring belongs to the producer.

use crate::limits::RECORD_BYTES_MAX;

/// Bytes before the line: its length and the check.
pub(super) const FRAME_HEAD_BYTES: u64 = 8;
/// A frame starts at a multiple of this, so that a skip mark always fits before the ring's end.
pub(super) const FRAME_ALIGN: u64 = 8;
/// Stands in place of a length: the rest of the ring up to its end is unused.
const SKIP_MARK: u32 = u32::MAX;

/// What lies at a position of the ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// An intact record; the next frame starts at `next`.
    Record { line: &'a [u8], next: u64 },
    /// Unused space up to the ring's end.
    Skip { next: u64 },
    /// No frame of this lap starts here.
    Damaged,
}

/// Space that a line of `line_bytes` takes in the ring.
#[inline]
pub(super) fn frame_bytes(line_bytes: usize) -> u64 {
    (FRAME_HEAD_BYTES + line_bytes as u64).next_multiple_of(FRAME_ALIGN)
}

/// The head of a frame at `position`.
#[inline]
pub(super) fn frame_head(line: &[u8], position: u64) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&(line.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&(crc32fast::hash(line) ^ lap_mix(position)).to_le_bytes());
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
    if length == 0 || length as usize > RECORD_BYTES_MAX || frame_bytes(length as usize) > available {
        return Frame::Damaged;
    }
    let line = bytes(offset + FRAME_HEAD_BYTES, u64::from(length));
    if crc32fast::hash(line) ^ lap_mix(position) != check {
        return Frame::Damaged;
    }
    Frame::Record { line, next: position + frame_bytes(length as usize) }
}

/// A number that differs between laps at the same place: the high half of a multiplicative hash.
#[inline]
fn lap_mix(position: u64) -> u32 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
