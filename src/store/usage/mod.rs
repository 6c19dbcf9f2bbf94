//! Usage records on disk: `data/usage.json`, JSON Lines, append-only.
//!
//! Owns the file, its rotated segments in `data/usage/`, its repair at start and what happens when the disk refuses. Only
//! the control thread writes here; records come from the cores' journals through the [`Merger`]. Does not look into
//! records beyond id and time, and sums nothing up: counters come from the cores directly.

mod convert;
mod fold;
mod line;
mod lines;
mod merger;
#[cfg(test)]
mod naive_tests;
mod reading;
mod record;
mod scan;
mod segment;
mod source;
mod syncer;
mod tail;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use convert::Conversion;
pub(crate) use convert::is_array;
pub use fold::Fold;
pub use lines::{Line, for_each_line, for_each_line_backwards};
pub use merger::{MergeStats, MergedOpen, Merger, OpenReport};
#[cfg(test)]
pub(crate) use naive_tests::for_each_record;
pub use reading::{LineReader, NO_WORD, Reading, RecordIds};
pub use record::{CacheUse, UsageRecord};
pub(crate) use scan::{ScanStats, scan_file};
pub use segment::{segment_paths, segments_dir, usage_path};

use crate::limits::{JOURNAL_BYTES_DEFAULT, USAGE_LINE_BYTES_MAX, USAGE_SEGMENT_BYTES_DEFAULT};
use crate::telemetry::text::TimestampFormatter;
use line::LineHead;
use segment::{SegmentFile, free_segment_path};
use syncer::SyncJob;
pub(crate) use tail::find_new_in;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Settings of the usage store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSettings {
    /// Size of `usage.json` in bytes at which it is rotated.
    pub segment_bytes_max: u64,
    /// How long appended records may wait for `fdatasync`: what a power cut can take. Zero: synced with each merge.
    pub sync_interval: Duration,
    /// Size of each core's journal in bytes, rounded up to a power of two.
    pub journal_bytes: usize,
}

impl Default for UsageSettings {
    fn default() -> Self {
        Self {
            segment_bytes_max: USAGE_SEGMENT_BYTES_DEFAULT,
            sync_interval: Duration::from_millis(100),
            journal_bytes: JOURNAL_BYTES_DEFAULT,
        }
    }
}

/// Whether records reach the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StoreHealth {
    /// The last append and the last sync went well.
    #[default]
    Healthy,
    /// They did not; records wait in the journals.
    Degraded {
        /// What the system said.
        reason: String,
    },
}

/// What was repaired when the store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// Bytes of a torn last record that were cut off.
    pub torn_bytes: u64,
    /// The array of an upstream program that was converted.
    pub conversion: Option<Conversion>,
}

/// The usage file, its rotation and its health.
#[derive(Debug)]
pub struct UsageStore {
    data_dir: PathBuf,
    settings: UsageSettings,
    file: SegmentFile,
    /// Day of the first record in the file, in days since the epoch; none while the file is empty.
    day: Option<u64>,
    /// Length of the file when it was last known to be on the disk.
    synced_length: u64,
    /// Length of the file when the sync that is under way began; none while none is.
    syncing_length: Option<u64>,
    /// Appended since the last sync began.
    dirty: bool,
    /// Entries of the folders changed since a sync that went well began.
    folders_dirty: bool,
    /// A failed append or sync left bytes beyond this length; they go before anything else is appended.
    cut_to: Option<u64>,
    /// The file was made again after somebody deleted it, and nobody was told.
    is_restarted: bool,
    /// Why the last append failed, if it did; only an append that succeeds takes it back.
    append_error: Option<String>,
    /// Why the last sync failed, if it did.
    sync_error: Option<String>,
}

impl UsageStore {
    /// Opens the store below `data_dir`, makes what is missing and repairs what a crash left.
    ///
    /// # Errors
    /// From the file system. A disk that is merely full is no error unless the files do not exist yet.
    pub fn open(data_dir: &Path, settings: UsageSettings) -> io::Result<(Self, Repair)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(segments_dir(data_dir))?;
        let path = usage_path(data_dir);
        let mut repair = Repair::default();
        let is_new = !path.try_exists()?;
        if !is_new && convert::is_array(&path)? {
            repair.conversion = Some(convert::convert_file(&path)?);
        }
        let mut file = SegmentFile::open(&path)?;
        if is_new {
            File::open(data_dir)?.sync_all()?;
        }
        repair.torn_bytes = mend_end(&mut file)?;
        let store = Self {
            data_dir: data_dir.to_owned(),
            settings,
            day: first_day(&file)?,
            synced_length: file.length()?,
            syncing_length: None,
            file,
            dirty: true,
            folders_dirty: false,
            cut_to: None,
            is_restarted: false,
            append_error: None,
            sync_error: None,
        };
        Ok((store, repair))
    }

    /// Appends whole lines with one write, all of them or none.
    ///
    /// # Errors
    /// From the file system, and the store is degraded until a later append succeeds. What a short write left is cut
    /// off again; if even that fails, it is cut off before the next append.
    pub fn append_batch(&mut self, lines: &[u8], unix_ms: u64) -> io::Result<()> {
        debug_assert!(lines.ends_with(b"\n"), "records are appended as whole lines");
        let result = self.try_append(lines, unix_ms);
        self.append_error = result.as_ref().err().map(io::Error::to_string);
        result
    }

    fn try_append(&mut self, lines: &[u8], unix_ms: u64) -> io::Result<()> {
        self.cut_leftovers()?;
        if self.file.is_deleted()? {
            self.reopen()?;
            self.is_restarted = true;
        }
        let before = self.file.length()?;
        if let Err(error) = self.file.append(lines) {
            self.cut_to = Some(before);
            // Tried again before the next append, which is when it has to be done at the latest.
            let _ = self.cut_leftovers();
            return Err(error);
        }
        self.dirty = true;
        if before == 0 || self.day.is_none() {
            self.day = Some(LineHead::parse(first_line(lines)).unix_ms.unwrap_or(unix_ms) / DAY_MS);
        }
        Ok(())
    }

    /// Whether the file was made again since the last time, because somebody had deleted it.
    fn take_restarted(&mut self) -> bool {
        std::mem::take(&mut self.is_restarted)
    }

    /// What has to be done for everything appended so far to be on the disk: to be run by whoever may wait, and
    /// reported to [`UsageStore::end_sync`] before the next one is begun.
    ///
    /// # Errors
    /// From the file system, as those of [`UsageStore::end_sync`]; there is nothing to wait for then.
    fn begin_sync(&mut self) -> io::Result<SyncJob> {
        let length = self.cut_leftovers().and_then(|()| self.file.length());
        let length = length.inspect_err(|error| self.sync_failed(error))?;
        self.syncing_length = Some(length);
        self.dirty = false;
        let folders = if self.folders_dirty {
            vec![self.data_dir.clone(), segments_dir(&self.data_dir)]
        } else {
            vec![]
        };
        Ok(self.file.sync_job(folders))
    }

    /// Takes note of how the sync ended that was begun last.
    ///
    /// # Errors
    /// `result`'s own. Then nothing appended since the last successful sync counts as stored: it is cut off again (the
    /// kernel may have dropped those pages), and the caller appends it once more from the journals.
    fn end_sync(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Ok(()) => {
                self.sync_error = None;
                // A file that was made since is not the one that was synced.
                if let Some(length) = self.syncing_length.take() {
                    self.synced_length = length;
                    self.folders_dirty = false;
                }
                Ok(())
            }
            Err(error) => {
                self.syncing_length = None;
                self.sync_failed(&error);
                Err(error)
            }
        }
    }

    fn sync_failed(&mut self, error: &io::Error) {
        self.sync_error = Some(error.to_string());
        self.dirty = true;
        self.cut_to = Some(self.synced_length);
        // Tried again before the next append.
        let _ = self.cut_leftovers();
    }

    /// Whether something was appended since the last sync began.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether the file is full or its day (UTC) is over.
    ///
    /// # Errors
    /// From the file system.
    pub fn is_rotation_due(&self, unix_ms: u64) -> io::Result<bool> {
        let length = self.file.length()?;
        let day_is_over = self.day.is_some_and(|day| unix_ms / DAY_MS > day);
        Ok(length > 0 && self.cut_to.is_none() && (length >= self.settings.segment_bytes_max || day_is_over))
    }

    /// Moves the file among the segments where that is due; returns where it went.
    ///
    /// To be called when everything is synced and committed: recovery looks for a journal's records in the files'
    /// newest part.
    ///
    /// # Errors
    /// From the file system; the records are safe either way, and the next call tries again.
    pub fn rotate_if_due(&mut self, unix_ms: u64) -> io::Result<Option<PathBuf>> {
        if !self.is_rotation_due(unix_ms)? {
            return Ok(None);
        }
        let day_ms = self.day.unwrap_or(unix_ms / DAY_MS).saturating_mul(DAY_MS);
        let day = TimestampFormatter::default().format(day_ms);
        let target = free_segment_path(&self.data_dir, &day.as_str()[.."YYYY-MM-DD".len()])?;
        match fs::rename(usage_path(&self.data_dir), &target) {
            Ok(()) => {}
            // Moved before, without a new one in its place, or removed by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.reopen().map(|()| None),
            Err(error) => return Err(error),
        }
        self.reopen()?;
        Ok(Some(target))
    }

    /// Whether records reach the disk.
    pub fn health(&self) -> StoreHealth {
        match self.append_error.as_ref().or(self.sync_error.as_ref()) {
            None => StoreHealth::Healthy,
            Some(reason) => StoreHealth::Degraded { reason: reason.clone() },
        }
    }

    /// Starts a new `usage.json`.
    fn reopen(&mut self) -> io::Result<()> {
        self.file = SegmentFile::open(&usage_path(&self.data_dir))?;
        self.day = first_day(&self.file)?;
        self.synced_length = self.file.length()?;
        self.syncing_length = None;
        // The next sync makes the new name durable together with the first records under it.
        self.folders_dirty = true;
        Ok(())
    }

    fn cut_leftovers(&mut self) -> io::Result<()> {
        if let Some(length) = self.cut_to {
            if length < self.file.length()? {
                self.file.truncate(length)?;
            }
            self.cut_to = None;
            self.dirty = true;
        }
        Ok(())
    }
}

/// Makes the file end with a whole line; returns how many bytes had to go.
///
/// Zero bytes at the end go first: a power cut can leave them where a file had grown and its pages were not written. A
/// last line without its line feed stays if it is a whole JSON object: somebody's editor may have left it so.
///
/// # Errors
/// From the file system; and when the last line is longer than any record: this is some other file, and is not cut.
fn mend_end(file: &mut SegmentFile) -> io::Result<u64> {
    let length = file.length()?;
    let written = last_position(file.file(), length, |byte| byte != 0)?;
    let line_start = last_position(file.file(), written, |byte| byte == b'\n')?;
    let line_bytes = (written - line_start) as usize;
    if line_bytes > USAGE_LINE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "usage.json ends with a line that is longer than any record: it is neither JSON Lines nor a JSON array",
        ));
    }
    let mut line = vec![0; line_bytes];
    file.file().read_exact_at(&mut line, line_start)?;
    let is_whole = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&line).is_ok();
    let kept = if is_whole { written } else { line_start };
    if kept < length {
        file.truncate(kept)?;
    }
    if is_whole {
        file.append(b"\n")?;
    }
    Ok(length - kept)
}

/// The position after the last byte before `length` that `matches`; 0 when there is none.
fn last_position(file: &File, length: u64, matches: impl Fn(u8) -> bool) -> io::Result<u64> {
    let mut block = [0; 4096];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| matches(*byte)) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The day of the first record; for a file whose first line does not tell, the day it was last changed.
fn first_day(file: &SegmentFile) -> io::Result<Option<u64>> {
    let mut start = [0; 4096];
    let read = file.file().read_at(&mut start, 0)?;
    if read == 0 {
        return Ok(None);
    }
    if let Some(unix_ms) = LineHead::parse(first_line(&start[..read])).unix_ms {
        return Ok(Some(unix_ms / DAY_MS));
    }
    let changed = file.file().metadata()?.modified()?;
    let since_epoch = changed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Some(since_epoch.as_millis() as u64 / DAY_MS))
}

fn first_line(lines: &[u8]) -> &[u8] {
    &lines[..memchr::memchr(b'\n', lines).unwrap_or(lines.len())]
}
