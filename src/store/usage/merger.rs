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
//! The `fdatasync` runs on a thread of its own, one at a time; rounds go on meanwhile, and what they append waits for the
//! next one. When the disk refuses or hangs, records stay in the journals and the cores go on. Time is handed in; nothing
//! here sleeps.

#[cfg(test)]
mod testing;

use std::fs;
use std::io;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fold::{Fold, Nobody};
use super::source::{Source, Taken};
use super::syncer::Syncer;
use super::tail::find_new;
use super::{Repair, StoreHealth, UsageSettings, UsageStore};
use crate::limits::{MIB, USAGE_SYNC_STALL_MS};
use crate::store::journal::{
    self, Found, Journal, JournalWriter, free_journal_path, journal_path, journal_paths, ring_capacity,
};

/// After a failed recovery the next try waits this long: it reads the end of the usage files again.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);
/// A sync that takes longer degrades the store: the journals fill up meanwhile.
const SYNC_STALL: Duration = Duration::from_millis(USAGE_SYNC_STALL_MS);
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
    /// Whether a sync ended well, and the space of what was appended before it was given back to the cores.
    pub synced: bool,
    /// Whether the usage file was moved among the segments.
    pub rotated: bool,
    /// A sync began that covers everything appended so far: this length of the open file.
    pub sync_began: Option<u64>,
    /// A sync failed, or could not begin: the file is cut back to what the last good one covered.
    pub sync_failed: bool,
    /// Whether the disk refused something.
    pub degraded: bool,
}

impl AddAssign for MergeStats {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.corrupt += other.corrupt;
        self.synced |= other.synced;
        self.rotated |= other.rotated;
        self.sync_began = other.sync_began.or(self.sync_began);
        self.sync_failed |= other.sync_failed;
        self.degraded |= other.degraded;
    }
}

/// Merges all journals into the usage store. Owned by the control thread.
#[derive(Debug)]
pub struct Merger {
    data_dir: PathBuf,
    sync_interval: Duration,
    store: UsageStore,
    syncer: Syncer,
    sources: Vec<Source>,
    taken: Taken,
    /// When the last sync began.
    synced_at: Option<Instant>,
    /// Set while the usage file is about to be rotated: nothing is appended until all of it is synced and given back.
    is_rotating: bool,
    /// The sync that is under way takes longer than it may.
    is_stalled: bool,
    /// Records may be in the journals and in the file: set until a recovery went through, with the time before which
    /// the next one is not tried.
    recovery_due: Option<Instant>,
    /// The process that this one replaced still writes into its journals.
    has_predecessor: bool,
    /// Cores whose journal no other process could read.
    volatile_journals: usize,
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
        let (mut merger, mut report) = Self::new(data_dir, settings, now)?;
        let mut found: Vec<(PathBuf, Option<JournalWriter>)> = vec![];
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
            let (writer, reader) = if journal.is_current() {
                let (writer, reader) = journal.split();
                (Some(writer), reader)
            } else {
                (None, journal.into_reader())
            };
            found.push((path, writer));
            merger.sources.push(Source::foreign(reader, None));
        }
        merger.recover_at_open(now, unix_ms, &mut report);
        let sources = std::mem::take(&mut merger.sources);
        let found = found.into_iter().zip(sources).map(|((path, writer), source)| (path, writer, source));
        let writers = merger.assign(found.collect(), cores, journal_bytes, &mut report)?;
        Ok((merger, writers, report))
    }

    /// Like [`Merger::open`], beside the process that this one replaces: its cores go on writing into their journals,
    /// which are read here from now on, and the cores of this process get others.
    ///
    /// To be called when that process has let go of its merger. [`Merger::predecessor_ended`] says when its cores
    /// have ended.
    ///
    /// # Errors
    /// As for [`Merger::open`].
    pub fn open_beside(
        data_dir: &Path,
        cores: usize,
        settings: UsageSettings,
        now: Instant,
        unix_ms: u64,
    ) -> io::Result<MergedOpen> {
        let journal_bytes = settings.journal_bytes;
        let (mut merger, mut report) = Self::new(data_dir, settings, now)?;
        merger.has_predecessor = true;
        for path in journal_paths(data_dir)? {
            match journal::attach(&path) {
                Ok(reader) => merger.sources.push(Source::foreign(reader, Some(path))),
                Err(error) => report.unreadable.push((path, error.to_string())),
            }
        }
        merger.recover_at_open(now, unix_ms, &mut report);
        let mut writers = Vec::with_capacity(cores);
        for core in 0..cores {
            writers.push(merger.new_journal(
                core,
                &free_journal_path(data_dir, core)?,
                journal_bytes,
                &mut report,
            )?);
        }
        Ok((merger, writers, report))
    }

    fn new(data_dir: &Path, settings: UsageSettings, now: Instant) -> io::Result<(Self, OpenReport)> {
        let sync_interval = settings.sync_interval;
        let (store, repair) = UsageStore::open(data_dir, settings)?;
        let merger = Self {
            data_dir: data_dir.to_owned(),
            sync_interval,
            store,
            syncer: Syncer::start()?,
            sources: vec![],
            taken: Taken::default(),
            synced_at: None,
            is_rotating: false,
            is_stalled: false,
            recovery_due: Some(now),
            has_predecessor: false,
            volatile_journals: 0,
        };
        Ok((merger, OpenReport { repair, ..OpenReport::default() }))
    }

    fn recover_at_open(&mut self, now: Instant, unix_ms: u64, report: &mut OpenReport) {
        let mut stats = MergeStats::default();
        // Whoever keeps something about records reads the files after this.
        let recovered = self.recover(now, unix_ms, &mut Nobody, &mut stats);
        // What was drained and not appended must not be given back.
        if recovered.is_ok() {
            self.begin_sync(now, &mut stats);
            self.wait_for_sync(now, unix_ms, &mut Nobody, &mut stats);
        }
        if self.recovery_due.is_some() {
            // The file holds none of it; a later recovery tells what it stores.
            for source in &mut self.sources {
                source.stored_to = 0;
            }
        }
        match (recovered, self.health()) {
            (Err(error), _) => report.recovery_error = Some(error.to_string()),
            (Ok(_), StoreHealth::Degraded { reason }) => report.recovery_error = Some(reason),
            (Ok(duplicates), StoreHealth::Healthy) => {
                report.recovered = stats.records;
                report.corrupt = stats.corrupt;
                report.duplicates = duplicates;
            }
        }
    }

    /// A journal that is not there yet, in memory where the disk refuses it; its reader is among the sources.
    fn new_journal(
        &mut self,
        core: usize,
        path: &Path,
        journal_bytes: usize,
        report: &mut OpenReport,
    ) -> io::Result<JournalWriter> {
        let (writer, reader) = match Journal::open(path, journal_bytes) {
            Ok((journal, _)) => journal.split(),
            Err(error) => {
                report.volatile_cores.push((core, error.to_string()));
                self.volatile_journals += 1;
                Journal::volatile(journal_bytes)?.split()
            }
        };
        self.sources.push(Source::own(reader));
        Ok(writer)
    }

    /// The process that this one replaced has ended: its journals are deleted once they are empty.
    pub fn predecessor_ended(&mut self) {
        self.has_predecessor = false;
        self.remove_empty_orphans();
    }

    /// Whether another process may read the journals from now on, while the cores of this one go on writing.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_handed_over(&self) -> Result<(), String> {
        if self.has_predecessor {
            return Err("the process before this one has not ended yet".to_owned());
        }
        if self.volatile_journals > 0 {
            return Err("a core keeps its records in memory only".to_owned());
        }
        Ok(())
    }

    /// Gives each core its journal: the one found, or a new one where there is none that can be written to or the size
    /// changed. Journals of no core are deleted once they are empty.
    fn assign(
        &mut self,
        mut found: Vec<(PathBuf, Option<JournalWriter>, Source)>,
        cores: usize,
        journal_bytes: usize,
        report: &mut OpenReport,
    ) -> io::Result<Vec<JournalWriter>> {
        let mut writers = Vec::with_capacity(cores);
        for core in 0..cores {
            let mut path = journal_path(&self.data_dir, core);
            let mut pair = None;
            if let Some(at) = found.iter().position(|(found, ..)| *found == path) {
                let (_, writer, source) = &found[at];
                let has_size = source.reader.capacity() == ring_capacity(journal_bytes);
                let is_empty = source.reader.is_empty();
                if writer.is_some() && (has_size || !is_empty) {
                    let (_, writer, source) = found.swap_remove(at);
                    pair = writer.zip(Some(source));
                } else if is_empty {
                    found.swap_remove(at);
                    fs::remove_file(&path)?;
                } else {
                    path = free_journal_path(&self.data_dir, core)?;
                }
            }
            match pair {
                Some((writer, source)) => {
                    writers.push(writer);
                    self.sources.push(Source { own_from: source.reader.written(), ..source });
                }
                None => writers.push(self.new_journal(core, &path, journal_bytes, report)?),
            }
        }
        for (path, _, source) in found {
            self.sources.push(Source { orphan: Some(path), ..source });
        }
        self.remove_empty_orphans();
        Ok(writers)
    }

    /// One round: takes what the journals hold, appends it, and when the sync interval is over begins to make it
    /// durable; a later round gives the space back. Waits for no sync and never fails: what the disk refuses stays
    /// where it is, and [`Merger::health`] says so. `fold` is told of the records.
    pub fn tick(&mut self, now: Instant, unix_ms: u64, fold: &mut dyn Fold) -> MergeStats {
        let due = self.synced_at.is_none_or(|at| now.saturating_duration_since(at) >= self.sync_interval);
        self.round(now, unix_ms, due, fold)
    }

    /// The last round of an orderly end, after the cores have stopped: everything is made durable now, however long the
    /// disk takes.
    pub fn finish(&mut self, now: Instant, unix_ms: u64, fold: &mut dyn Fold) -> MergeStats {
        let mut stats = MergeStats::default();
        self.wait_for_sync(now, unix_ms, fold, &mut stats);
        self.recovery_due = self.recovery_due.map(|_| now);
        // A round before a rotation takes nothing from the journals.
        let rounds = if self.is_rotating { 2 } else { 1 };
        for _ in 0..rounds {
            stats += self.round(now, unix_ms, true, fold);
            self.wait_for_sync(now, unix_ms, fold, &mut stats);
        }
        stats.degraded = self.health() != StoreHealth::Healthy;
        for source in &self.sources {
            // Spares the next start a search; nothing is lost without it.
            let _ = source.reader.flush();
        }
        stats
    }

    /// Whether records reach the disk.
    pub fn health(&self) -> StoreHealth {
        match self.store.health() {
            StoreHealth::Healthy if self.is_stalled => {
                let reason = format!("the disk has confirmed nothing for {} ms", SYNC_STALL.as_millis());
                StoreHealth::Degraded { reason }
            }
            health => health,
        }
    }

    /// Length of the open usage file; 0 where it cannot be seen.
    pub fn open_length(&self) -> u64 {
        self.store.file.length().unwrap_or_default()
    }

    /// Bytes that wait in the journals, all cores together.
    pub fn waiting_bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.reader.used_bytes()).sum()
    }

    fn round(&mut self, now: Instant, unix_ms: u64, sync_is_due: bool, fold: &mut dyn Fold) -> MergeStats {
        let mut stats = MergeStats::default();
        if let Some(result) = self.syncer.ended() {
            self.end_sync(result, now, unix_ms, fold, &mut stats);
        }
        self.is_stalled = self.syncer.busy_for(now) >= SYNC_STALL;
        match self.recovery_due {
            Some(due) if now < due => {}
            Some(_) => {
                if self.recover(now, unix_ms, fold, &mut stats).is_ok() {
                    self.begin_sync(now, &mut stats);
                }
            }
            None => {
                if !self.is_rotating {
                    self.drain_and_append(unix_ms, fold, &mut stats);
                    self.is_rotating = self.store.is_rotation_due(unix_ms).unwrap_or_default();
                }
                if (sync_is_due || self.is_rotating) && !self.syncer.is_busy() && !self.is_clean() {
                    self.begin_sync(now, &mut stats);
                }
                self.rotate_if_clean(unix_ms, fold, &mut stats);
            }
        }
        if self.taken.lines.capacity() > BATCH_BYTES_KEPT {
            self.taken = Taken::default();
        }
        stats.degraded |= self.recovery_due.is_some() || self.health() != StoreHealth::Healthy;
        stats
    }

    fn drain_and_append(&mut self, unix_ms: u64, fold: &mut dyn Fold, stats: &mut MergeStats) {
        for source in &mut self.sources {
            self.taken.clear();
            let drained = source.drain(&mut self.taken, fold);
            stats.corrupt += drained.corrupt;
            if self.taken.records.is_empty() {
                continue;
            }
            if self.store.append_batch(&self.taken.lines, unix_ms).is_err() {
                source.reader.undo_drain();
                return;
            }
            if self.store.take_restarted() {
                fold.restarted();
            }
            for (record, line) in self.taken.each() {
                source.stored(record, line, fold);
            }
            source.stored_to = source.reader.drained();
            stats.records += drained.records;
            stats.bytes += drained.bytes;
        }
    }

    /// Begins to make everything appended so far durable. Only when no sync is under way.
    fn begin_sync(&mut self, now: Instant, stats: &mut MergeStats) {
        self.synced_at = Some(now);
        match self.store.begin_sync() {
            Ok(job) => {
                stats.sync_began = self.store.syncing_length;
                for source in &mut self.sources {
                    source.syncing_to = source.reader.drained();
                }
                self.syncer.begin(job, now);
            }
            Err(_) => self.recover_later(now, stats),
        }
    }

    /// Waits for the sync that is under way, if one is.
    pub(super) fn wait_for_sync(
        &mut self,
        now: Instant,
        unix_ms: u64,
        fold: &mut dyn Fold,
        stats: &mut MergeStats,
    ) {
        if let Some(result) = self.syncer.wait() {
            self.end_sync(result, now, unix_ms, fold, stats);
        }
    }

    /// Gives back what was appended before the sync began, and nothing that came after it.
    fn end_sync(
        &mut self,
        result: io::Result<()>,
        now: Instant,
        unix_ms: u64,
        fold: &mut dyn Fold,
        stats: &mut MergeStats,
    ) {
        if self.store.end_sync(result).is_err() {
            return self.recover_later(now, stats);
        }
        for source in &mut self.sources {
            source.reader.commit_merged(source.syncing_to);
        }
        stats.synced = true;
        self.is_stalled = false;
        self.remove_empty_orphans();
        self.rotate_if_clean(unix_ms, fold, stats);
    }

    fn recover_later(&mut self, now: Instant, stats: &mut MergeStats) {
        stats.degraded = true;
        stats.sync_failed = true;
        self.is_rotating = false;
        self.recovery_due = Some(now + RECOVERY_PAUSE);
    }

    fn rotate_if_clean(&mut self, unix_ms: u64, fold: &mut dyn Fold, stats: &mut MergeStats) {
        if !self.is_rotating || !self.is_clean() {
            return;
        }
        self.is_rotating = false;
        match self.store.rotate_if_due(unix_ms) {
            Ok(target) => {
                if let Some(segment) = &target {
                    fold.rotated(segment);
                }
                stats.rotated |= target.is_some();
            }
            Err(_) => stats.degraded = true,
        }
    }

    /// Takes everything from all journals and appends what the usage files do not hold already; the next sync makes it
    /// durable. Returns how many records were there. Only when no sync is under way.
    fn recover(
        &mut self,
        now: Instant,
        unix_ms: u64,
        fold: &mut dyn Fold,
        stats: &mut MergeStats,
    ) -> io::Result<u64> {
        // Until this has gone through, the next try is due after a pause.
        self.recovery_due = Some(now + RECOVERY_PAUSE);
        let mut taken = Taken::default();
        let (mut capacity, mut ends) = (0, vec![]);
        for source in &mut self.sources {
            source.reader.rollback();
            stats.corrupt += source.drain(&mut taken, fold).corrupt;
            ends.push(taken.records.len());
            capacity += source.reader.capacity();
        }
        self.store.cut_leftovers()?;
        let is_new = find_new(&taken.lines, &self.data_dir, capacity)?;
        let mut new_lines = vec![];
        for ((_, line), is_new) in taken.each().zip(&is_new) {
            if *is_new {
                new_lines.extend_from_slice(line);
            }
        }
        if !new_lines.is_empty() {
            self.store.append_batch(&new_lines, unix_ms)?;
            if self.store.take_restarted() {
                fold.restarted();
            }
        }
        let mut source = 0;
        for (index, ((record, line), is_new)) in taken.each().zip(&is_new).enumerate() {
            while index >= ends[source] {
                source += 1;
            }
            if *is_new {
                self.sources[source].stored(record, line, fold);
            }
        }
        for source in &mut self.sources {
            source.stored_to = source.stored_to.max(source.reader.drained());
        }
        let new = is_new.iter().filter(|is_new| **is_new).count() as u64;
        stats.records += new;
        stats.bytes += new_lines.len() as u64;
        self.recovery_due = None;
        Ok(taken.records.len() as u64 - new)
    }

    /// Whether everything appended is on the disk and given back.
    fn is_clean(&self) -> bool {
        !self.syncer.is_busy() && !self.store.is_dirty() && !self.has_uncommitted()
    }

    fn has_uncommitted(&self) -> bool {
        self.sources.iter().any(|source| source.reader.has_uncommitted())
    }

    fn remove_empty_orphans(&mut self) {
        if self.has_predecessor {
            return;
        }
        self.sources.retain(|source| match &source.orphan {
            // Should the file stay, the next start finds an empty journal and deletes it then.
            Some(path) if source.reader.is_empty() => {
                fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            }
            _ => true,
        });
    }
}
