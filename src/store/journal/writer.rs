//! The producer's end of a journal: one per core.
//!
//! Owns the way of a record into the ring, and what happens when the ring is full: a bounded buffer in memory first,
//! then loss that is counted. Never blocks, never makes a system call.
#![expect(unsafe_code, reason = "places records in the shared mapping")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::facts::{FACTS_BYTES, Facts};
use super::frame::{ENTRY_BYTES_MAX, FRAME_HEAD_BYTES, frame_bytes, frame_head, skip_head};
use super::mapping::Mapping;
use crate::limits::JOURNAL_SPILL_BYTES_MAX;

/// The record was not taken: ring and waiting buffer are full. It is counted as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the usage journal and its waiting buffer are full")]
pub struct JournalFull;

/// What became of the records handed to a writer since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// In the ring: these survive the process.
    pub written: u64,
    /// Had to wait in memory first; they are counted as written too once they reach the ring.
    pub spilled: u64,
    /// Not taken.
    pub lost: u64,
}

/// The producer's end. One per journal; stays with its core.
#[derive(Debug)]
pub struct JournalWriter {
    mapping: Arc<Mapping>,
    /// The position that `Mapping::written` holds: no one else moves it.
    written: u64,
    /// The last value seen of `Mapping::merged`: re-read only when the ring looks full, so that a core does not fetch
    /// the control thread's cache line for each record.
    merged_seen: u64,
    /// The entry that is being made: facts, then the line.
    entry: Vec<u8>,
    /// Entries that found the ring full, oldest first.
    spill: VecDeque<Box<[u8]>>,
    spill_bytes: usize,
    counts: JournalCounts,
}

impl JournalWriter {
    pub(super) fn new(mapping: Arc<Mapping>) -> Self {
        Self {
            written: mapping.written().load(Ordering::Acquire),
            merged_seen: mapping.merged().load(Ordering::Acquire),
            mapping,
            entry: Vec::new(),
            spill: VecDeque::new(),
            spill_bytes: 0,
            counts: JournalCounts::default(),
        }
    }

    /// Takes one record: its facts, and the line that `write` appends: a JSON object without a line feed, at most
    /// [`RECORD_BYTES_MAX`](crate::limits::RECORD_BYTES_MAX) bytes.
    ///
    /// Records keep their order. When the ring is full the record waits in memory, where a crash takes it, until a
    /// later call finds room.
    ///
    /// # Errors
    /// [`JournalFull`] when the record was lost, because the waiting buffer is full too or the record is too long.
    #[inline]
    pub fn append(&mut self, facts: &Facts, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), JournalFull> {
        let mut entry = std::mem::take(&mut self.entry);
        entry.clear();
        facts.encode(&mut entry);
        write(&mut entry);
        let result = self.append_entry(&entry);
        self.entry = entry;
        result
    }

    /// A record of which nothing is known but its line.
    #[cfg(test)]
    pub(crate) fn append_line(&mut self, line: &[u8]) -> Result<(), JournalFull> {
        self.append(&Facts::default(), |entry| entry.extend_from_slice(line))
    }

    #[inline]
    fn append_entry(&mut self, entry: &[u8]) -> Result<(), JournalFull> {
        if self.spill.is_empty() && self.push(entry) {
            self.counts.written += 1;
            return Ok(());
        }
        self.append_behind_spill(entry)
    }

    /// Moves waiting records into the ring, as far as there is room. To be called on the core's tick.
    ///
    /// Returns whether nothing waits any more.
    pub fn tick(&mut self) -> bool {
        while let Some(entry) = self.spill.pop_front() {
            if !self.push(&entry) {
                self.spill.push_front(entry);
                return false;
            }
            self.spill_bytes -= entry.len();
            self.counts.written += 1;
        }
        true
    }

    /// Drops what waits in memory: it counts as lost. Returns how many records that were.
    pub fn give_up(&mut self) -> u64 {
        let lost = self.spill.len() as u64;
        self.spill.clear();
        self.spill_bytes = 0;
        self.counts.lost += lost;
        lost
    }

    /// Whether a record of any size would be taken now: what the policy "refuse" asks before it admits a request.
    pub fn accepts(&self) -> bool {
        self.spill_bytes + ENTRY_BYTES_MAX <= JOURNAL_SPILL_BYTES_MAX
    }

    /// Bytes of records that wait in memory.
    pub fn spill_bytes(&self) -> usize {
        self.spill_bytes
    }

    /// What became of the records so far.
    pub fn counts(&self) -> JournalCounts {
        self.counts
    }

    #[cold]
    fn append_behind_spill(&mut self, entry: &[u8]) -> Result<(), JournalFull> {
        let valid = is_valid(entry);
        if valid && self.tick() && self.push(entry) {
            self.counts.written += 1;
            return Ok(());
        }
        if !valid || self.spill_bytes + entry.len() > JOURNAL_SPILL_BYTES_MAX {
            self.counts.lost += 1;
            return Err(JournalFull);
        }
        self.spill_bytes += entry.len();
        self.spill.push_back(entry.into());
        self.counts.spilled += 1;
        Ok(())
    }

    /// Puts one entry into the ring; false when it does not fit now.
    #[inline]
    fn push(&mut self, entry: &[u8]) -> bool {
        if !is_valid(entry) {
            return false;
        }
        let capacity = self.mapping.capacity();
        let frame = frame_bytes(entry.len());
        let offset = self.written & (capacity - 1);
        // A frame never wraps: one that does not fit before the ring's end starts over at its start.
        let skip = if frame > capacity - offset { capacity - offset } else { 0 };
        if !self.has_room(skip + frame) {
            return false;
        }
        let (start, place) = if skip == 0 { (self.written, offset) } else { (self.written + skip, 0) };
        // SAFETY: this is the producer's end, and `has_room` has seen that the positions up to
        // `written + skip + frame` are not beyond `merged + capacity`. `skip` and the offset are multiples of 8, so a
        // skip mark fits before the ring's end.
        unsafe {
            if skip > 0 {
                self.mapping.write(offset, &skip_head(self.written));
            }
            self.mapping.write(place, &frame_head(entry, start));
            self.mapping.write(place + FRAME_HEAD_BYTES, entry);
        }
        self.written = start + frame;
        // Release: whoever sees the new position sees the bytes before it. For a crash of this process the order of
        // the stores in the page cache is what counts, and the check of each frame covers what a power cut reorders.
        self.mapping.written().store(self.written, Ordering::Release);
        true
    }

    #[inline]
    fn has_room(&mut self, needed: u64) -> bool {
        let capacity = self.mapping.capacity();
        if self.written + needed - self.merged_seen <= capacity {
            return true;
        }
        // Acquire: the consumer has finished reading what it gave back. `min` and `max` keep the positions sane
        // should something else have scribbled on the header.
        self.merged_seen =
            self.mapping.merged().load(Ordering::Acquire).clamp(self.merged_seen, self.written);
        self.written + needed - self.merged_seen <= capacity
    }
}

fn is_valid(entry: &[u8]) -> bool {
    (FACTS_BYTES + 1..=ENTRY_BYTES_MAX).contains(&entry.len())
}
