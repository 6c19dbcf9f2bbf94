//! The journal: one ring in a shared file mapping per core, where a finished request's usage record waits for the
//! control thread.
//!
//! A record that [`JournalWriter::append`] has taken is in the page cache, without a system call: it outlives
//! `kill -9` of this process. What a power cut leaves is up to the kernel's write-back, so everything that is read
//! back is checked. The core is the only producer, the control thread the only consumer; they share nothing but the
//! mapping and meet only in the two counters of its header.
//!
//! ```text
//! file     ┌ header, 4 KiB ──────────────────────────┬ ring, `capacity` bytes, a power of two ─────────┐
//!          │ 0 magic  8 version  16 capacity         │ frame, frame, …, skip mark, frame, …            │
//!          │ 128 written (u64)   256 merged (u64)    │ a frame starts at a multiple of 8, never wraps  │
//!          └─────────────────────────────────────────┴─────────────────────────────────────────────────┘
//! frame    [length u32][check u32][facts, 96 bytes][JSON line, no line feed][padding to 8]
//! counters merged ≤ written ≤ merged + capacity; both only grow; a byte's place is its position modulo capacity
//! ```
//!
//! The check is the CRC-32 of facts and line mixed with the frame's position, so that a frame left by an earlier lap never
//! passes for one of this lap. The length is that of both. All numbers are little-endian. Journals of version 1, whose
//! frames have no [`Facts`], are read and no longer written.
//!
//! Must not: parse JSON, know `usage.json`, decide what happens when records are lost.

mod facts;
mod frame;
mod mapping;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use facts::Facts;
pub use reader::{Drained, DrainedRecord, JournalReader, Snapshot, read_snapshot};
pub use writer::{JournalCounts, JournalFull, JournalWriter};

use frame::Layout;
use mapping::{Mapping, OpenError};

/// One core's journal, opened and not yet shared between its two ends.
#[derive(Debug)]
pub struct Journal {
    mapping: Arc<Mapping>,
}

/// What was found where a journal was to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No file: a new journal was made.
    Nothing,
    /// A journal; its records wait for the reader.
    Journal,
    /// Something that is no journal of a known version, now under this name; a new journal was made.
    Foreign {
        /// Where the old file was moved to.
        moved_to: PathBuf,
    },
}

impl Journal {
    /// Opens the journal at `path`, or makes one of `capacity` bytes, rounded up to a power of two.
    ///
    /// A journal that is there keeps its own capacity. A file that is none is moved aside, never overwritten.
    ///
    /// # Errors
    /// From the file system; a full disk shows here and not later, because all blocks are reserved now.
    pub fn open(path: &Path, capacity: usize) -> io::Result<(Self, Found)> {
        let found = match Mapping::open(path) {
            Ok(mapping) => return Ok((Self { mapping: Arc::new(mapping) }, Found::Journal)),
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(OpenError::Io(error)) => return Err(error),
            Err(OpenError::Foreign) => Found::Foreign { moved_to: move_aside(path)? },
        };
        Ok((Self { mapping: Arc::new(Mapping::create(path, ring_capacity(capacity))?) }, found))
    }

    /// A journal in memory alone, for when the disk refuses one: records in it do not outlive the process.
    ///
    /// # Errors
    /// When memory is refused.
    pub fn volatile(capacity: usize) -> io::Result<Self> {
        Ok(Self { mapping: Arc::new(Mapping::anonymous(ring_capacity(capacity))?) })
    }

    /// Size of the ring in bytes.
    pub fn capacity(&self) -> usize {
        self.mapping.capacity() as usize
    }

    /// Whether records can be written to it: not to one of an earlier version.
    pub fn is_current(&self) -> bool {
        self.mapping.layout() == Layout::FactsAndLine
    }

    /// Gives the producer's end to a core and the consumer's to the control thread.
    pub fn split(self) -> (JournalWriter, JournalReader) {
        debug_assert!(self.is_current(), "a journal of an earlier version is only read");
        let mapping = Arc::clone(&self.mapping);
        let reader = self.into_reader();
        (JournalWriter::new(mapping), reader)
    }

    /// The consumer's end alone.
    pub fn into_reader(self) -> JournalReader {
        let mut reader = JournalReader::new(self.mapping);
        reader.extend_written();
        reader
    }
}

/// The consumer's end of a journal whose producer is another process and at work.
///
/// Only for whoever was given the home by that process, which reads it no more.
///
/// # Errors
/// From the file system; a file that is no journal.
pub fn attach(path: &Path) -> io::Result<JournalReader> {
    match Mapping::attach(path) {
        Ok(mapping) => Ok(JournalReader::new(Arc::new(mapping))),
        Err(OpenError::Io(error)) => Err(error),
        Err(OpenError::Foreign) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "no journal of a known version"))
        }
    }
}

/// The first name for a journal of core `index` that no file has.
///
/// # Errors
/// From the file system.
pub fn free_journal_path(data_dir: &Path, index: usize) -> io::Result<PathBuf> {
    let mut path = journal_path(data_dir, index);
    let mut number = 1_u32;
    while path.try_exists()? {
        path = data_dir.join("journal").join(format!("core-{index}-{number}.jnl"));
        number = number.saturating_add(1);
    }
    Ok(path)
}

/// The file of core `index` below `data_dir`.
pub fn journal_path(data_dir: &Path, index: usize) -> PathBuf {
    data_dir.join("journal").join(format!("core-{index}.jnl"))
}

/// All journals below `data_dir`, also those of cores that no longer run, in name order. None where there is no folder.
///
/// # Errors
/// From reading the folder.
pub fn journal_paths(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(data_dir.join("journal")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut paths = vec![];
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// What a configured size becomes: a power of two within the bounds.
pub fn ring_capacity(bytes: usize) -> u64 {
    use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_BYTES_MIN};
    bytes.clamp(JOURNAL_BYTES_MIN, JOURNAL_BYTES_MAX).next_power_of_two() as u64
}

/// Renames `path` to the first free of `path.damaged`, `path.damaged-2`, ….
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let mut name = OsString::from(path);
        name.push(".damaged");
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let target = PathBuf::from(name);
        if !target.try_exists()? {
            fs::rename(path, &target)?;
            return Ok(target);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name for the damaged journal"))
}
