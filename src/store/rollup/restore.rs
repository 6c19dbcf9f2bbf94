//! What the last process knew, and which records came after that.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{Checkpoint, FirstLine, is_retired, open_usage_file, segments};
use crate::store::journal::Facts;
use crate::store::usage::{LineReader, RecordIds, for_each_line, usage_path};

/// A part of a usage file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
}

impl Part {
    /// Hands its records to `each`, with the bytes of the file where they lie. Returns how many lines are none.
    ///
    /// # Errors
    /// From the file system.
    pub fn for_each(&self, each: impl FnMut(&Facts, &RecordIds<'_>, (u64, u64))) -> io::Result<u64> {
        for_each_between(&File::open(&self.path)?, self.from, self.to, each)
    }
}

/// Hands the records between two places of a usage file to `each`, with the bytes where they lie. Returns how many lines
/// are none.
pub(crate) fn for_each_between(
    file: &File,
    from: u64,
    to: u64,
    mut each: impl FnMut(&Facts, &RecordIds<'_>, (u64, u64)),
) -> io::Result<u64> {
    let (mut reader, mut unreadable) = (LineReader::default(), 0);
    for_each_line(file, from, to, |line| match line.bytes.and_then(|bytes| reader.read(bytes)) {
        Some(reading) => each(&reading.facts, &reading.ids, (line.start, line.end)),
        None => unreadable += 1,
    })?;
    Ok(unreadable)
}

/// What the last process knew, and what it did not.
#[derive(Debug, Default)]
pub struct Restored {
    /// The last checkpoint; none where there is none, or the files it speaks of were changed or deleted by somebody.
    checkpoint: Option<Checkpoint>,
    /// What lies behind it, oldest first; everything where there is none.
    pub behind: Vec<Part>,
    /// The part of the open usage file that the checkpoint covers.
    pub(super) open_offset: u64,
}

impl Restored {
    /// Reads the checkpoint below `data_dir` and looks at the usage files. To be called when what the last process left
    /// in its journals has been merged, and before anything else is.
    ///
    /// # Errors
    /// From the file system.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        let Some(checkpoint) = Checkpoint::read(data_dir) else { return Self::of_records(data_dir) };
        let open = match open_usage_file(data_dir)? {
            Some(file) => (FirstLine::read(&file)?, file.metadata()?.len()),
            None => (FirstLine::default(), 0),
        };
        let segments = segments(data_dir)?;
        let whole = |path: &Path, bytes| Part { path: path.to_owned(), from: 0, to: bytes };
        let is_covered = |name: &str| checkpoint.segments.iter().find(|(covered, _)| covered == name);
        let mut left = checkpoint.segments.len();
        let mut behind = vec![];
        let (mut is_found, mut open_offset) = (checkpoint.offset == 0, 0);
        for segment in &segments {
            match is_covered(segment.name()) {
                Some((_, fingerprint)) if *fingerprint == segment.fingerprint => left -= 1,
                Some(_) => return Self::of_records(data_dir),
                // The file that was open then has been rotated since.
                None if !is_found && segment.fingerprint.first_line() == checkpoint.first_line => {
                    if segment.fingerprint.bytes() < checkpoint.offset {
                        return Self::of_records(data_dir);
                    }
                    is_found = true;
                    let from = checkpoint.offset;
                    behind.push(Part { from, ..whole(&segment.path, segment.fingerprint.bytes()) });
                }
                None => behind.push(whole(&segment.path, segment.fingerprint.bytes())),
            }
        }
        if !is_found && open.0 == checkpoint.first_line && open.1 >= checkpoint.offset {
            (is_found, open_offset) = (true, checkpoint.offset);
        }
        if left > 0 {
            // Deleted because their time was over: what they held stays known.
            let is_there = |name: &str| segments.iter().any(|segment| segment.name() == name);
            let gone = checkpoint.segments.iter().filter(|(name, _)| !is_there(name));
            left -= gone.filter(|(name, _)| is_retired(data_dir, name)).count();
        }
        if left > 0 || !is_found {
            return Self::of_records(data_dir);
        }
        behind.push(Part { from: open_offset, ..whole(&usage_path(data_dir), open.1) });
        Ok(Self { checkpoint: Some(checkpoint), behind, open_offset })
    }

    /// As if there were no checkpoint: all records there are.
    ///
    /// # Errors
    /// From the file system.
    pub fn of_records(data_dir: &Path) -> io::Result<Self> {
        let whole = |path: PathBuf, bytes| Part { path, from: 0, to: bytes };
        let mut behind = vec![];
        for segment in segments(data_dir)? {
            behind.push(whole(segment.path, segment.fingerprint.bytes()));
        }
        let bytes = match open_usage_file(data_dir)? {
            Some(file) => file.metadata()?.len(),
            None => 0,
        };
        behind.push(whole(usage_path(data_dir), bytes));
        Ok(Self { checkpoint: None, behind, open_offset: 0 })
    }

    /// What was known under a name when the checkpoint was written; the records behind it are not in it.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.checkpoint.as_ref()?.section(name)
    }

    /// Hands all records behind the checkpoint to `each`: all there are, where there is no checkpoint. Returns how many
    /// lines are no records.
    ///
    /// # Errors
    /// From the file system.
    pub fn for_each_behind(&self, each: impl FnMut(&Facts, &RecordIds<'_>)) -> io::Result<u64> {
        self.for_each_since(0, each)
    }

    /// The same without the files that were last written to before a moment, in milliseconds since the Unix epoch: the
    /// calls in them had ended by then.
    ///
    /// # Errors
    /// From the file system.
    pub fn for_each_since(
        &self,
        unix_ms: u64,
        mut each: impl FnMut(&Facts, &RecordIds<'_>),
    ) -> io::Result<u64> {
        let mut unreadable = 0;
        // The open file may not be there yet.
        for part in self.behind.iter().filter(|part| part.from < part.to) {
            let metadata = fs::metadata(&part.path)?;
            let written_ms = (metadata.mtime().max(0) as u64).saturating_mul(1_000).saturating_add(999);
            if written_ms >= unix_ms {
                unreadable += part.for_each(|facts, ids, _| each(facts, ids))?;
            }
        }
        Ok(unreadable)
    }
}
