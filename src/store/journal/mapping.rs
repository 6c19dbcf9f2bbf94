//! The shared mapping under a journal: file, header, and the only raw memory of the room.
//!
//! Owns layout and reservation of the file and the rule who may touch which byte:
//!
//! - the two counters are touched through atomics alone, by everybody;
//! - ring bytes at positions `[written, merged + capacity)` belong to the producer, which fills them and then moves
//!   `written` with a release store;
//! - ring bytes at positions `[merged, written)` belong to the consumer, which learns of them by an acquire load of
//!   `written` and gives them back by a release store of `merged`, which the producer loads with acquire.
//!
//! So no byte is ever written and read at the same time. That no process writes the file that has no end of it is what
//! the lock of the home directory is for: in a hand-over the lock goes to the next process, and the consumer's end with
//! it, after the last one has let go of both.
#![expect(
    unsafe_code,
    reason = "a mapping shared by two threads is raw memory; safe wrappers end in this file"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::frame::Layout;
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_BYTES_MIN};

/// Bytes before the ring: one page, so that the ring starts on a page of its own.
pub(super) const HEADER_BYTES: u64 = 4096;
const MAGIC: &[u8; 8] = b"rtlyjnl\n";
/// What is written; journals of the version before are read.
const VERSION: u64 = 2;
const VERSION_BEFORE: u64 = 1;
const VERSION_AT: usize = 8;
const CAPACITY_AT: usize = 16;
/// The counters lie 128 bytes apart: the line that the producer dirties is not the one that the consumer dirties, also
/// where the processor fetches lines in pairs.
const WRITTEN_AT: usize = 128;
const MERGED_AT: usize = 256;

/// A mapped journal. Shared by the two ends; which bytes an end may touch is said at the top of the file.
#[derive(Debug)]
pub(super) struct Mapping {
    map: MmapRaw,
    /// Size of the ring: a power of two within the bounds, and `HEADER_BYTES + capacity` bytes are mapped.
    capacity: u64,
    layout: Layout,
}

/// Why a file could not be opened as a journal.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The file system refused.
    Io(io::Error),
    /// The file is there and is no journal of a known version, or its counters contradict each other.
    Foreign,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The header as it lies in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) layout: Layout,
    pub(super) capacity: u64,
    pub(super) written: u64,
    pub(super) merged: u64,
}

impl Header {
    /// Reads a header; `None` when this is no journal of a known version or its numbers cannot be.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.get(..MAGIC.len())? != MAGIC {
            return None;
        }
        let layout = match number(VERSION_AT)? {
            VERSION => Layout::FactsAndLine,
            VERSION_BEFORE => Layout::Line,
            _ => return None,
        };
        let (written, merged) = (number(WRITTEN_AT)?, number(MERGED_AT)?);
        // The counters of one page can reach the disk at different moments: `merged` ahead means that nothing waits.
        let header = Self { layout, capacity: number(CAPACITY_AT)?, written: written.max(merged), merged };
        let bounds = JOURNAL_BYTES_MIN as u64..=JOURNAL_BYTES_MAX as u64;
        let possible = header.capacity.is_power_of_two()
            && bounds.contains(&header.capacity)
            && header.written <= u64::MAX / 2
            && header.written.is_multiple_of(super::frame::FRAME_ALIGN)
            && header.merged.is_multiple_of(super::frame::FRAME_ALIGN)
            && written.abs_diff(merged) <= header.capacity;
        possible.then_some(header)
    }
}

impl Mapping {
    /// Maps the journal at `path` with the capacity that it has. A file that lost its end is made whole with zeros,
    /// which count as damage and not as records.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = vec![];
        (&mut file).take(HEADER_BYTES).read_to_end(&mut bytes)?;
        let header = Header::parse(&bytes).ok_or(OpenError::Foreign)?;
        let file_bytes = HEADER_BYTES + header.capacity;
        reserve(&mut file, file_bytes)?;
        let mapping = Self::map(&file, header.layout, header.capacity)?;
        mapping.written().store(header.written, Ordering::Release);
        Ok(mapping)
    }

    /// Maps a journal whose producer is another process and at work: nothing of the file is touched.
    pub(super) fn attach(path: &Path) -> Result<Self, OpenError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = vec![];
        (&mut file).take(HEADER_BYTES).read_to_end(&mut bytes)?;
        let header = Header::parse(&bytes).ok_or(OpenError::Foreign)?;
        if file.metadata()?.len() < HEADER_BYTES + header.capacity {
            return Err(OpenError::Foreign);
        }
        Ok(Self::map(&file, header.layout, header.capacity)?)
    }

    /// Makes an empty journal at `path`; the file appears under its name when it is whole.
    pub(super) fn create(path: &Path, capacity: u64) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let unfinished = path.with_extension("jnl-new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let made = (|| {
            reserve(&mut file, HEADER_BYTES + capacity)?;
            file.write_all_at(MAGIC, 0)?;
            file.write_all_at(&VERSION.to_le_bytes(), VERSION_AT as u64)?;
            file.write_all_at(&capacity.to_le_bytes(), CAPACITY_AT as u64)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            File::open(folder)?.sync_all()
        })();
        if let Err(error) = made {
            // The space matters more than the error of giving it back.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        Self::map(&file, Layout::FactsAndLine, capacity)
    }

    /// A journal without a file.
    pub(super) fn anonymous(capacity: u64) -> io::Result<Self> {
        let map = MmapMut::map_anon((HEADER_BYTES + capacity) as usize)?;
        Ok(Self { map: MmapRaw::from(map), capacity, layout: Layout::FactsAndLine })
    }

    fn map(file: &File, layout: Layout, capacity: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len((HEADER_BYTES + capacity) as usize).map_raw(file)?;
        Ok(Self { map, capacity, layout })
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What its entries are made of.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Position up to which records are complete. Stored by the producer alone.
    #[inline]
    pub(super) fn written(&self) -> &AtomicU64 {
        self.counter(WRITTEN_AT)
    }

    /// Position up to which records are durable elsewhere. Stored by the consumer alone.
    #[inline]
    pub(super) fn merged(&self) -> &AtomicU64 {
        self.counter(MERGED_AT)
    }

    #[inline]
    fn counter(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at == WRITTEN_AT || at == MERGED_AT);
        // SAFETY: the mapping starts at a page and is at least HEADER_BYTES long, so `at` is inside it and a multiple
        // of 8. It lives as long as `self`. These bytes are touched through atomics alone (top of the file).
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Copies `bytes` to the place `offset` of the ring.
    ///
    /// # Safety
    /// The caller is the producer, and the positions behind these places belong to it (top of the file).
    ///
    /// # Panics
    /// When the bytes would leave the ring.
    #[inline]
    pub(super) unsafe fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(offset <= self.capacity && bytes.len() as u64 <= self.capacity - offset);
        // SAFETY: the assert keeps the target inside the mapping; nobody else touches it, as the caller promises, so
        // it does not overlap `bytes` either, which is a live shared slice.
        unsafe {
            let target = self.map.as_mut_ptr().add((HEADER_BYTES + offset) as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    /// The `length` bytes at the place `offset` of the ring.
    ///
    /// # Safety
    /// The caller is the consumer, and the positions behind these places belong to it as long as the slice lives (top
    /// of the file).
    ///
    /// # Panics
    /// When the bytes would leave the ring.
    #[inline]
    pub(super) unsafe fn read(&self, offset: u64, length: u64) -> &[u8] {
        assert!(offset <= self.capacity && length <= self.capacity - offset);
        // SAFETY: the assert keeps the slice inside the mapping, which is initialised throughout (a file or zeroed
        // memory); nobody writes to it while it lives, as the caller promises.
        unsafe {
            let source = self.map.as_mut_ptr().add((HEADER_BYTES + offset) as usize);
            std::slice::from_raw_parts(source, length as usize)
        }
    }

    /// Writes the mapping back to its file, so that a power cut finds the counters where they are now.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.map.flush()
    }
}

/// Gives `file` the length `bytes` with every block reserved, so that a store into the mapping never meets a full disk
/// (which would be SIGBUS). Copy-on-write file systems cannot promise that.
fn reserve(file: &mut File, bytes: u64) -> io::Result<()> {
    loop {
        // SAFETY: a plain system call on a descriptor that `file` keeps open.
        let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) };
        match code {
            0 => return Ok(()),
            libc::EINTR => {}
            libc::EOPNOTSUPP | libc::EINVAL => return fill(file, bytes),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Where blocks cannot be reserved: writes zeros from the file's end up to `bytes`.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = [0; HEADER_BYTES as usize];
    let mut at = file.seek(SeekFrom::End(0))?;
    while at < bytes {
        let part = (bytes - at).min(HEADER_BYTES) as usize;
        file.write_all(&zeros[..part])?;
        at += part as u64;
    }
    file.sync_all()
}
