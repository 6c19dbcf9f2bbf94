//! From the cores' journals into the usage file, each record exactly once.
//!
//! Owns the consumer's end of every journal and the order of steps that makes a crash at any point harmless:
//!
//! ```text
//! drain ─▶ append ─▶ fdatasync ─▶ give the space back ─▶ rotate if due
//!   └ crash before "give back": the records are in the journal still, and perhaps in the file:
//!     recovery drains again and leaves out what the end of the file holds already
//! ```
//!
//! When the disk refuses, records stay in the journals and the cores go on. Time is handed in; nothing here sleeps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::tail::remove_known;
use super::{Repair, StoreHealth, UsageSettings, UsageStore};
use crate::limits::MIB;
use crate::store::journal::{
    Found, Journal, JournalReader, JournalWriter, journal_path, journal_paths, ring_capacity,
};

/// After a failed recovery the next try waits this long: it reads the end of the usage files again.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);
/// The batch buffer is given back when a busy moment made it larger than this.
const BATCH_BYTES_KEPT: usize = MIB;

/// What was found and done when the store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Repairs of `usage.json`.
    pub repair: Repair,
    /// Records of the last process that were taken from the journals.
    pub recovered: u64,
    /// Records among the journals' that the usage file held already.
    pub duplicates: u64,
    /// Damaged stretches in journals.
    pub corrupt: u64,
    /// Files that are no journals and were moved aside.
    pub moved_aside: Vec<PathBuf>,
    /// Journals that could not be opened now; they stay for the next start. With the reason.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Cores whose journal could not be made: theirs lives in memory, and a crash takes it. With the reason.
    pub volatile_cores: Vec<(usize, String)>,
    /// Why records of the last process still wait, if they do; every tick tries again.
    pub recovery_error: Option<String>,
}

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergeStats {
    /// Records appended to the usage file.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged stretches found in journals.
    pub corrupt: u64,
    /// Whether everything appended is on the disk and given back to the cores.
    pub synced: bool,
    /// Whether the usage file was moved among the segments.
    pub rotated: bool,
    /// Whether the disk refused something.
    pub degraded: bool,
}

/// A journal that is read here.
#[derive(Debug)]
struct Source {
    reader: JournalReader,
    /// Set for journals of cores that no longer run: deleted once they are empty.
    orphan: Option<PathBuf>,
}

/// Merges all journals into the usage store. Owned by the control thread.
#[derive(Debug)]
pub struct Merger {
    data_dir: PathBuf,
    sync_interval: Duration,
    store: UsageStore,
    sources: Vec<Source>,
    batch: Vec<u8>,
    synced_at: Option<Instant>,
    /// Records may be in the journals and in the file: set until a recovery went through, with the time before which
    /// the next one is not tried.
    recovery_due: Option<Instant>,
}

/// What [`Merger::open`] gives: the merger, a journal writer per core, and what was found.
pub type MergedOpen = (Merger, Vec<JournalWriter>, OpenReport);

impl Merger {
    /// Opens the usage store and the journals of `cores` cores below `data_dir`, and recovers what the last process
    /// left in any journal, also in those of cores that no longer run.
    ///
    /// # Errors
    /// When the usage file cannot be opened or read. A journal that cannot be made is reported instead, and its core
    /// gets one in memory.
    pub fn open(
        data_dir: &Path,
        cores: usize,
        settings: UsageSettings,
        now: Instant,
        unix_ms: u64,
    ) -> io::Result<MergedOpen> {
        let journal_bytes = settings.journal_bytes;
        let sync_interval = settings.sync_interval;
        let (store, repair) = UsageStore::open(data_dir, settings)?;
        let mut report = OpenReport { repair, ..OpenReport::default() };
        let mut found = vec![];
        for path in journal_paths(data_dir)? {
            let (journal, what) = match Journal::open(&path, journal_bytes) {
                Ok(opened) => opened,
                Err(error) => {
                    report.unreadable.push((path, error.to_string()));
                    continue;
                }
            };
            if let Found::Foreign { moved_to } = what {
                report.moved_aside.push(moved_to);
            }
            let (writer, reader) = journal.split();
            found.push((path, writer, reader));
        }
        let (mut paths, mut writers) = (vec![], vec![]);
        let mut merger = Self {
            data_dir: data_dir.to_owned(),
            sync_interval,
            store,
            sources: vec![],
            batch: vec![],
            synced_at: None,
            recovery_due: Some(now),
        };
        for (path, writer, reader) in found {
            paths.push(path);
            writers.push(writer);
            merger.sources.push(Source { reader, orphan: None });
        }
        match merger.recover(now, unix_ms) {
            Ok((stats, duplicates)) => {
                report.recovered = stats.records;
                report.corrupt = stats.corrupt;
                report.duplicates = duplicates;
            }
            Err(error) => report.recovery_error = Some(error.to_string()),
        }
        let found = paths.into_iter().zip(writers).zip(std::mem::take(&mut merger.sources));
        let found = found.map(|((path, writer), source)| (path, writer, source.reader)).collect();
        let writers = merger.assign(found, cores, journal_bytes, &mut report)?;
        Ok((merger, writers, report))
    }

    /// Gives each core its journal: the one found, or a new one where there is none or the size changed. Journals of
    /// no core are deleted once they are empty.
    fn assign(
        &mut self,
        mut found: Vec<(PathBuf, JournalWriter, JournalReader)>,
        cores: usize,
        journal_bytes: usize,
        report: &mut OpenReport,
    ) -> io::Result<Vec<JournalWriter>> {
        let mut writers = Vec::with_capacity(cores);
        for core in 0..cores {
            let path = journal_path(&self.data_dir, core);
            let mut pair = None;
            if let Some(at) = found.iter().position(|(found, ..)| *found == path) {
                let (_, writer, reader) = found.swap_remove(at);
                if reader.capacity() == ring_capacity(journal_bytes) || !reader.is_empty() {
                    pair = Some((writer, reader));
                } else {
                    fs::remove_file(&path)?;
                }
            }
            let (writer, reader) = match pair {
                Some(pair) => pair,
                None => match Journal::open(&path, journal_bytes) {
                    Ok((journal, _)) => journal.split(),
                    Err(error) => {
                        report.volatile_cores.push((core, error.to_string()));
                        Journal::volatile(journal_bytes)?.split()
                    }
                },
            };
            writers.push(writer);
            self.sources.push(Source { reader, orphan: None });
        }
        for (path, _, reader) in found {
            self.sources.push(Source { reader, orphan: Some(path) });
        }
        self.remove_empty_orphans();
        Ok(writers)
    }

    /// One round: takes what the journals hold, appends it, and when the sync interval is over makes it durable and
    /// gives the space back. Never fails: what the disk refuses stays where it is, and [`Merger::health`] says so.
    pub fn tick(&mut self, now: Instant, unix_ms: u64) -> MergeStats {
        let due = self.synced_at.is_none_or(|at| now.saturating_duration_since(at) >= self.sync_interval);
        self.round(now, unix_ms, due)
    }

    /// The last round of an orderly end, after the cores have stopped: everything is made durable now.
    pub fn finish(&mut self, now: Instant, unix_ms: u64) -> MergeStats {
        self.recovery_due = self.recovery_due.map(|_| now);
        let stats = self.round(now, unix_ms, true);
        for source in &self.sources {
            // Spares the next start a search; nothing is lost without it.
            let _ = source.reader.flush();
        }
        stats
    }

    /// Whether records reach the disk.
    pub fn health(&self) -> StoreHealth {
        self.store.health()
    }

    /// Bytes that wait in the journals, all cores together.
    pub fn waiting_bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.reader.used_bytes()).sum()
    }

    fn round(&mut self, now: Instant, unix_ms: u64, sync_is_due: bool) -> MergeStats {
        if let Some(due) = self.recovery_due {
            if now < due {
                return MergeStats { degraded: true, ..MergeStats::default() };
            }
            let degraded = MergeStats { degraded: true, ..MergeStats::default() };
            return self.recover(now, unix_ms).map_or(degraded, |(stats, _)| stats);
        }
        let mut stats = MergeStats::default();
        self.drain_and_append(unix_ms, &mut stats);
        if sync_is_due && (self.store.is_dirty() || self.has_uncommitted()) {
            self.sync_and_commit(now, unix_ms, &mut stats);
        } else if sync_is_due {
            self.rotate(unix_ms, &mut stats);
        }
        if self.batch.capacity() > BATCH_BYTES_KEPT {
            self.batch = vec![];
        }
        stats
    }

    fn drain_and_append(&mut self, unix_ms: u64, stats: &mut MergeStats) {
        for source in &mut self.sources {
            self.batch.clear();
            let drained = source.reader.drain(&mut self.batch);
            stats.corrupt += drained.corrupt;
            if self.batch.is_empty() {
                continue;
            }
            if self.store.append_batch(&self.batch, unix_ms).is_err() {
                stats.degraded = true;
                source.reader.undo_drain();
                return;
            }
            stats.records += drained.records;
            stats.bytes += drained.bytes;
        }
    }

    fn sync_and_commit(&mut self, now: Instant, unix_ms: u64, stats: &mut MergeStats) {
        self.synced_at = Some(now);
        if self.store.sync().is_err() {
            stats.degraded = true;
            self.recovery_due = Some(now + RECOVERY_PAUSE);
            return;
        }
        for source in &mut self.sources {
            source.reader.commit_merged();
        }
        stats.synced = true;
        self.remove_empty_orphans();
        self.rotate(unix_ms, stats);
    }

    fn rotate(&mut self, unix_ms: u64, stats: &mut MergeStats) {
        match self.store.rotate_if_due(unix_ms) {
            Ok(target) => stats.rotated = target.is_some(),
            Err(_) => stats.degraded = true,
        }
    }

    /// Takes everything from all journals, leaves out what the usage files hold already, and makes the rest durable.
    fn recover(&mut self, now: Instant, unix_ms: u64) -> io::Result<(MergeStats, u64)> {
        // Until this has gone through, the next try is due after a pause.
        self.recovery_due = Some(now + RECOVERY_PAUSE);
        self.synced_at = Some(now);
        let mut stats = MergeStats::default();
        let mut batch = vec![];
        let mut capacity = 0;
        for source in &mut self.sources {
            source.reader.rollback();
            let drained = source.reader.drain(&mut batch);
            stats.corrupt += drained.corrupt;
            stats.records += drained.records;
            capacity += source.reader.capacity();
        }
        self.store.cut_leftovers()?;
        let duplicates = remove_known(&mut batch, &self.data_dir, capacity)?;
        stats.records = stats.records.saturating_sub(duplicates);
        stats.bytes = batch.len() as u64;
        if !batch.is_empty() {
            self.store.append_batch(&batch, unix_ms)?;
        }
        self.store.sync()?;
        for source in &mut self.sources {
            source.reader.commit_merged();
        }
        self.recovery_due = None;
        stats.synced = true;
        self.remove_empty_orphans();
        self.rotate(unix_ms, &mut stats);
        Ok((stats, duplicates))
    }

    fn has_uncommitted(&self) -> bool {
        self.sources.iter().any(|source| source.reader.has_uncommitted())
    }

    fn remove_empty_orphans(&mut self) {
        self.sources.retain(|source| match &source.orphan {
            // Should the file stay, the next start finds an empty journal and deletes it then.
            Some(path) if source.reader.is_empty() => {
                fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            }
            _ => true,
        });
    }

    #[cfg(test)]
    pub(super) fn faults(&mut self) -> &mut super::segment::Faults {
        &mut self.store.file.faults
    }
}
