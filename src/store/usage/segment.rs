//! The files that hold usage records: their names, and how one is appended to.
//!
//! Owns `data/usage.json`, which grows, and the naming of `data/usage/usage-YYYY-MM-DD[-n].json`, which no longer do.
//! Knows no journal and no record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(test)]
use std::sync::{Mutex, PoisonError};

use super::syncer::SyncJob;

/// The file that records are appended to.
pub fn usage_path(data_dir: &Path) -> PathBuf {
    data_dir.join("usage.json")
}

/// The folder of rotated segments.
pub fn segments_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("usage")
}

/// All rotated segments, oldest first. Empty where there is no folder.
///
/// # Errors
/// From reading the folder.
pub fn segment_paths(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(segments_dir(data_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut segments = vec![];
    for entry in entries {
        let path = entry?.path();
        if let Some(order) = path.file_name().and_then(|name| segment_order(name.to_str()?)) {
            segments.push((order, path));
        }
    }
    segments.sort();
    Ok(segments.into_iter().map(|(_, path)| path).collect())
}

/// Day and number of a segment's name, `None` for any other file.
fn segment_order(name: &str) -> Option<(String, u32)> {
    let stem = name.strip_prefix("usage-")?.strip_suffix(".json")?;
    let (day, rest) = stem.split_at_checked("YYYY-MM-DD".len())?;
    let day_holds = day.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let number = if rest.is_empty() { 1 } else { rest.strip_prefix('-')?.parse().ok()? };
    day_holds.then(|| (day.to_owned(), number))
}

/// The first free name for a segment of `day`, spelled `YYYY-MM-DD`.
pub(super) fn free_segment_path(data_dir: &Path, day: &str) -> io::Result<PathBuf> {
    let folder = segments_dir(data_dir);
    for number in 1_u32.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("usage-{day}{suffix}.json"));
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "no free name for a usage segment"))
}

/// `usage.json`, open for appending.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: Arc<File>,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// What a test lets go wrong.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// Bytes that the disk still takes.
    pub(super) space: Option<u64>,
    /// Whether `fdatasync` fails.
    pub(super) sync: bool,
    /// Whether `ftruncate` fails.
    pub(super) truncate: bool,
    /// A sync takes until this can be locked.
    pub(super) stall: Option<Arc<Mutex<()>>>,
}

#[cfg(test)]
impl Faults {
    /// What happens to a sync.
    pub(super) fn of_sync(&self) -> io::Result<()> {
        if let Some(stall) = &self.stall {
            drop(stall.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if self.sync { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

impl SegmentFile {
    /// Opens `path`, made with mode 0600 if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        Ok(Self {
            file: Arc::new(file),
            #[cfg(test)]
            faults: Faults::default(),
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Length now, as the file system has it.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether somebody deleted the file: what is appended to it is gone with its last descriptor.
    pub(super) fn is_deleted(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Appends `bytes` with one call; anything less than all of them is an error, and may have left a part.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = loop {
            match self.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if written < bytes.len() {
            // The kernel says why only to a write that could not begin; a short one is a full disk or a quota.
            return Err(io::Error::new(ErrorKind::StorageFull, "the disk took a part of the records"));
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.truncate {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.file.set_len(length)
    }

    /// What makes the file and the entries of `folders` durable, to be run by a thread that may wait.
    pub(super) fn sync_job(&self, folders: Vec<PathBuf>) -> SyncJob {
        SyncJob {
            file: Arc::clone(&self.file),
            folders,
            #[cfg(test)]
            faults: self.faults.clone(),
        }
    }

    #[cfg(not(test))]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.file).write(bytes)
    }

    #[cfg(test)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(space) = &mut self.faults.space else { return (&*self.file).write(bytes) };
        if *space == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let written = (&*self.file).write(&bytes[..bytes.len().min(*space as usize)])?;
        *space -= written as u64;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_listed_oldest_first_and_other_files_are_not() {
        let home = tempfile::tempdir().unwrap();
        assert!(segment_paths(home.path()).unwrap().is_empty());
        fs::create_dir(segments_dir(home.path())).unwrap();
        let names = [
            "usage-2026-01-02-10.json",
            "usage-2026-01-02.json",
            "usage-2026-01-02-2.json",
            "usage-2025-12-31.json",
            "usage-2026-01-03.json.gz",
            "usage-2026.json",
            "usage-2026-01-0é.json",
            "notes.txt",
        ];
        for name in names {
            fs::write(segments_dir(home.path()).join(name), "").unwrap();
        }
        let listed: Vec<_> = segment_paths(home.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        let expected = ["usage-2025-12-31.json", "usage-2026-01-02.json", names[2], names[0]];
        assert_eq!(listed, expected);
        let free = free_segment_path(home.path(), "2026-01-02").unwrap();
        assert!(free.ends_with("usage-2026-01-02-3.json"));
    }
}
