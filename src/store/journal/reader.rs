//! The consumer's end of a journal: the control thread, recovery after a crash, and reports that look on.
//!
//! Owns the way of a record out of the ring. A record leaves it in two steps: [`JournalReader::drain`] copies it out,
//! [`JournalReader::commit_merged`] gives its space back once it is durable elsewhere. What happens in between is
//! repeated after a crash, so whoever drains must be able to recognise a record that it has seen.
#![expect(unsafe_code, reason = "reads records in the shared mapping")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::facts::Facts;
use super::frame::{FRAME_ALIGN, Frame, Layout, read_frame};
use super::mapping::{HEADER_BYTES, Header, Mapping};

/// What one pass over a ring found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Intact records.
    pub records: u64,
    /// Bytes appended, line feeds included.
    pub bytes: u64,
    /// Stretches of the ring that held no intact frame: torn by a power cut or overwritten by somebody.
    pub corrupt: u64,
}

/// A record that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainedRecord {
    /// Where its frame begins: positions only grow, and a record that is handed out again has the same.
    pub position: u64,
    /// Bytes of its line, with the line feed.
    pub line_bytes: usize,
    /// In front of the line; none in a journal of version 1.
    pub facts: Option<Facts>,
}

/// The consumer's end. One per journal.
#[derive(Debug)]
pub struct JournalReader {
    mapping: Arc<Mapping>,
    /// Position up to which records were handed out; `merged ≤ drained ≤ written`.
    drained: u64,
    /// Where the last drain began.
    drain_start: u64,
    /// The position that `Mapping::merged` holds: no one else moves it.
    merged: u64,
}

impl JournalReader {
    /// Takes over the reading. Runs before the writer is used, so that nothing moves while it looks.
    pub(super) fn new(mapping: Arc<Mapping>) -> Self {
        let merged = mapping.merged().load(Ordering::Acquire);
        Self { mapping, drained: merged, drain_start: merged, merged }
    }

    /// Appends all records that are complete by now to `out`, a line each, and to `records`, and remembers where it
    /// stopped.
    ///
    /// A stretch that holds no intact frame is stepped over and counted; the search for the next frame is safe because
    /// the check of a frame covers its position.
    pub fn drain(&mut self, out: &mut Vec<u8>, records: &mut Vec<DrainedRecord>) -> Drained {
        let written = self.mapping.written().load(Ordering::Acquire);
        let capacity = self.mapping.capacity();
        // Positions that cannot be are somebody else's scribbling: there is nothing to read then.
        let end = if written.saturating_sub(self.merged) <= capacity { written } else { self.drained };
        let mapping = &self.mapping;
        // SAFETY: this is the consumer's end. `read_frame` asks for bytes between `drained` and `end` alone, and those
        // are below `written` (acquired above) and not given back, as only `commit_merged` does that and it takes
        // `&mut self`. The slices live no longer than this call.
        let bytes = |offset, length| unsafe { mapping.read(offset, length) };
        let place = Place { layout: mapping.layout(), capacity, start: self.drained, end };
        let (drained, position) = read_frames(bytes, place, out, |record| records.push(record));
        self.drain_start = self.drained;
        self.drained = position;
        drained
    }

    /// Forgets the last drain: the next one gives those records again.
    pub fn undo_drain(&mut self) {
        self.drained = self.drain_start;
    }

    /// Position up to which records were handed out.
    pub fn drained(&self) -> u64 {
        self.drained
    }

    /// Position up to which records are complete.
    pub fn written(&self) -> u64 {
        self.mapping.written().load(Ordering::Acquire)
    }

    /// Gives the space up to `position` back to the producer: what [`JournalReader::drained`] said at some time since
    /// the last commit. Only after the records before it are durable elsewhere.
    pub fn commit_merged(&mut self, position: u64) {
        debug_assert!(
            (self.merged..=self.drained).contains(&position),
            "only what was drained is given back"
        );
        if self.merged != position {
            self.merged = position;
            self.drain_start = self.drain_start.max(position);
            // Release: the reads of those bytes are over before the producer may overwrite them.
            self.mapping.merged().store(self.merged, Ordering::Release);
        }
    }

    /// Forgets what was drained and not committed: the next drain gives it again.
    pub fn rollback(&mut self) {
        self.drained = self.merged;
        self.drain_start = self.merged;
    }

    /// Whether records were drained and not committed.
    pub fn has_uncommitted(&self) -> bool {
        self.drained != self.merged
    }

    /// Whether everything written was drained and committed.
    pub fn is_empty(&self) -> bool {
        self.merged == self.written()
    }

    /// Bytes of the ring that are in use.
    pub fn used_bytes(&self) -> u64 {
        self.written().saturating_sub(self.merged)
    }

    /// Size of the ring in bytes.
    pub fn capacity(&self) -> u64 {
        self.mapping.capacity()
    }

    /// Writes the ring back to its file. For an orderly end; nothing depends on it.
    ///
    /// # Errors
    /// From the file system.
    pub fn flush(&self) -> io::Result<()> {
        self.mapping.flush()
    }

    /// Takes back into the journal what was written and not announced: a crash between a record's bytes and the
    /// counter, or a power cut that kept the ring's pages and not the header's. Only before the writer is made.
    pub(super) fn extend_written(&mut self) -> u64 {
        let mapping = &self.mapping;
        let (start, capacity) = (mapping.written().load(Ordering::Acquire), mapping.capacity());
        let end = self.merged + capacity;
        let mut position = start;
        // SAFETY: nothing has been split yet, so there is no producer and the whole ring is ours to read.
        let bytes = |offset, length| unsafe { mapping.read(offset, length) };
        while let Frame::Record { next, .. } | Frame::Skip { next } =
            read_frame(mapping.layout(), bytes, capacity, position, end)
        {
            position = next;
        }
        if position != start {
            mapping.written().store(position, Ordering::Release);
        }
        position - start
    }
}

/// A part of a ring.
struct Place {
    layout: Layout,
    capacity: u64,
    start: u64,
    end: u64,
}

/// Appends the records of `place` to `out` and tells `each` of them; returns the position where it stopped.
fn read_frames<'a>(
    bytes: impl Fn(u64, u64) -> &'a [u8],
    place: Place,
    out: &mut Vec<u8>,
    mut each: impl FnMut(DrainedRecord),
) -> (Drained, u64) {
    let Place { layout, capacity, start, end } = place;
    let (mut drained, mut position, mut in_damage) = (Drained::default(), start, false);
    let bytes_before = out.len();
    while position < end {
        let damage = match read_frame(layout, &bytes, capacity, position, end) {
            Frame::Record { facts, line, next } => {
                out.extend_from_slice(line);
                out.push(b'\n');
                each(DrainedRecord { position, line_bytes: line.len() + 1, facts: facts.map(Facts::decode) });
                drained.records += 1;
                position = next;
                false
            }
            Frame::Skip { next } => {
                position = next;
                false
            }
            Frame::Damaged => {
                drained.corrupt += u64::from(!in_damage);
                position += FRAME_ALIGN.min(end - position);
                true
            }
        };
        in_damage = damage;
    }
    drained.bytes = (out.len() - bytes_before) as u64;
    (drained, position)
}

/// A copy of a journal's unmerged records, taken without disturbing the process that owns it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// One record per line. A record here may have reached `usage.json` meanwhile: compare ids.
    pub lines: Vec<u8>,
    /// What was found.
    pub drained: Drained,
}

/// Copies the unmerged records of the journal at `path`. Read-only; works while a gateway runs.
///
/// Records that the owner overwrites while the file is copied do not pass their check. They were durable in
/// `usage.json` before, so whoever reads that file after this one misses nothing.
///
/// # Errors
/// From the file system; a file that is no journal counts as one stretch of damage.
pub fn read_snapshot(path: &Path) -> io::Result<Snapshot> {
    let file = fs::read(path)?;
    let mut snapshot = Snapshot::default();
    let Some(header) = Header::parse(&file) else {
        snapshot.drained.corrupt = 1;
        return Ok(snapshot);
    };
    let mut ring = file;
    ring.resize((HEADER_BYTES + header.capacity) as usize, 0);
    let bytes = |offset: u64, length: u64| &ring[(HEADER_BYTES + offset) as usize..][..length as usize];
    let Header { layout, capacity, written, merged } = header;
    let place = Place { layout, capacity, start: merged, end: written };
    (snapshot.drained, _) = read_frames(bytes, place, &mut snapshot.lines, |_| ());
    Ok(snapshot)
}
