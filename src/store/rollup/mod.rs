//! Rollups: sums of usage records per hour, so that reports need not read ten million lines.
//!
//! Each segment has its own, which never changes; that of the open file is kept in memory by the control thread and goes
//! into the checkpoint. So a report sums up small tables, a segment that was edited or deleted concerns only itself, and
//! a start reads nothing but what lies behind the checkpoint.
//!
//! ```text
//!            record stored               sync begins                    sync ended well
//! Rollups ── add to the table ── table and place are copied ── copy is written as checkpoint
//!                                            └ a sync that fails cuts the file: the copy is dropped
//! ```
//!
//! A checkpoint has sections with names: whoever keeps something else about records puts its state into one, and finds it
//! at the next start ([`Restored`]) together with the records that came after it.
//!
//! Must not: know what the sections of others mean; be needed for correctness of the records themselves.

mod files;
mod format;
mod restore;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use files::{
    Checkpoint, Fingerprint, FirstLine, Segment, SegmentRollup, open_usage_file, retired_rollups,
    rollup_path, rollups_dir, segments,
};
pub(crate) use restore::for_each_between;
pub use restore::{Part, Restored};
pub use table::{Key, NO_HOUR, Names, Sums, Table};

use crate::limits::MIB;
use crate::store::usage::MergeStats;
use format::Reader;
use worker::{Done, Worker, table_between};

/// Name of the section that holds the table of the open file.
const SECTION: &str = "rollup";
/// Shortest time between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// And this much longer for each MiB of the last one, which takes some 2 ms of the control thread and 5 of the disk.
const CHECKPOINT_PAUSE_PER_MIB: Duration = Duration::from_secs(1);

/// State of something that is checkpointed: name of the section and its bytes.
pub type Section = (String, Vec<u8>);

/// The rows of the open file, and the checkpoints. Belongs to the control thread.
#[derive(Debug)]
pub struct Rollups {
    data_dir: PathBuf,
    worker: Worker,
    table: Table,
    /// The rows of records before the start are still being read.
    is_reading: bool,
    /// The open file is not the one any more that is being read.
    is_other_file: bool,
    segments: Vec<(String, Fingerprint)>,
    /// Something was stored since the last checkpoint.
    is_dirty: bool,
    /// To be written when the sync that is under way has ended well.
    pending: Option<Vec<u8>>,
    next_checkpoint: Option<Instant>,
}

/// What happened in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Rollups were made for segments that had none.
    Completed(u64),
    /// Segments were deleted because their time was over.
    Retired(u64),
    /// Something could not be read or written.
    Failed(String),
}

impl Rollups {
    /// Begins where the last process ended; what lies behind its checkpoint, and what is missing, is read in the
    /// background. `give_way` lowers the priority of the thread that does so.
    ///
    /// # Errors
    /// The system gives no thread, or the segments cannot be listed.
    pub fn open(data_dir: &Path, restored: &Restored, give_way: fn()) -> io::Result<Self> {
        let mut table = None;
        let mut from = 0;
        if let Some(section) = restored.section(SECTION) {
            table = Table::decode(&mut Reader::new(section)).ok();
            // Where the file was rotated since, the table is that of a segment, which is read as a whole.
            (table, from) = if restored.open_offset > 0 { (table, restored.open_offset) } else { (None, 0) };
        }
        if table.is_none() {
            from = 0;
        }
        let worker = Worker::start(data_dir, give_way)?;
        let to = restored.behind.last().map_or(0, |open| open.to);
        let open = open_usage_file(data_dir)?;
        let is_reading = open.is_some();
        if let Some(file) = open {
            worker.read(file, from, to);
        }
        worker.complete();
        let segments = segments(data_dir)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            worker,
            table: table.unwrap_or_default(),
            is_reading,
            is_other_file: false,
            segments: segments
                .into_iter()
                .map(|found| (found.name().to_owned(), found.fingerprint))
                .collect(),
            is_dirty: true,
            pending: None,
            next_checkpoint: None,
        })
    }

    /// The rows of the open file, for whoever adds what is stored there.
    pub fn table(&mut self) -> &mut Table {
        self.is_dirty = true;
        &mut self.table
    }

    /// The open file has become a segment; the next record goes into a new file.
    pub fn rotated(&mut self, segment: &Path) {
        let table = std::mem::take(&mut self.table);
        self.pending = None;
        self.is_dirty = true;
        let found = File::open(segment).and_then(|file| Fingerprint::of(&file));
        let Ok(fingerprint) = found else { return };
        let name = segment.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.segments.push((name.to_owned(), fingerprint));
        if self.is_reading {
            // The table lacks what is being read, which is of no use any more.
            self.is_other_file = true;
            self.worker.complete();
        } else {
            let bytes = SegmentRollup::encode(fingerprint, false, &table);
            self.worker.write_rollup(&self.data_dir, segment, bytes);
        }
    }

    /// Somebody deleted the open file: its records are gone.
    pub fn restarted(&mut self) {
        self.table = Table::default();
        self.pending = None;
        self.is_dirty = true;
        self.is_other_file = self.is_reading;
    }

    /// Segments that began before `day`, spelled `YYYY-MM-DD`, are deleted in the background; their rows stay.
    pub fn retire_before(&self, day: String) {
        self.worker.retire(day);
    }

    /// Whether a checkpoint would be made now; then [`Rollups::tick`] wants the sections of others.
    pub fn wants_sections(&self, stats: &MergeStats, now: Instant) -> bool {
        let is_due = self.next_checkpoint.is_none_or(|at| now >= at);
        is_due && !self.is_reading && self.is_dirty && stats.sync_began.is_some()
    }

    /// To be called after each round of the merger, when all that it told is in the table; with the sections of others
    /// where they were wanted. Says what happened in the background.
    pub fn tick(&mut self, stats: &MergeStats, now: Instant, sections: Vec<Section>) -> Vec<Event> {
        if stats.sync_failed {
            self.pending = None;
        } else if stats.synced
            && let Some(bytes) = self.pending.take()
        {
            self.worker.write_checkpoint(&self.data_dir, bytes);
        }
        if let Some(offset) = stats.sync_began
            && self.wants_sections(stats, now)
        {
            self.pending = self.checkpoint(offset, sections).ok().map(|checkpoint| checkpoint.encode());
            let bytes = self.pending.as_ref().map_or(0, Vec::len) as u32;
            let pause = CHECKPOINT_PAUSE_PER_MIB * (bytes / MIB as u32);
            self.next_checkpoint = Some(now + CHECKPOINT_INTERVAL + pause);
            self.is_dirty = false;
        }
        self.events()
    }

    /// Waits for everything that is under way in the background.
    pub fn wait(&mut self) -> Vec<Event> {
        self.worker.wait();
        self.events()
    }

    /// The last checkpoint before somebody else has the files: everything is stored and synced, up to `offset` of the open
    /// file. Waits until it is written; what is missing stays so, for the next start.
    pub fn finish(&mut self, offset: u64, sections: Vec<Section>) -> Vec<Event> {
        self.pending = None;
        if !self.is_reading
            && let Ok(checkpoint) = self.checkpoint(offset, sections)
        {
            self.worker.write_checkpoint(&self.data_dir, checkpoint.encode());
            self.is_dirty = false;
        }
        self.worker.hurry();
        self.events()
    }

    fn checkpoint(&self, offset: u64, sections: Vec<Section>) -> io::Result<Checkpoint> {
        let first_line = match open_usage_file(&self.data_dir)? {
            Some(file) => FirstLine::read(&file)?,
            None => FirstLine::default(),
        };
        let mut table = vec![];
        self.table.encode(&mut table);
        let mut all = vec![(SECTION.to_owned(), table)];
        all.extend(sections);
        Ok(Checkpoint { first_line, offset, segments: self.segments.clone(), sections: all })
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = vec![];
        while let Some(done) = self.worker.done() {
            match done {
                Done::Read(table) => {
                    if !std::mem::take(&mut self.is_other_file) {
                        self.table.merge(&table);
                    }
                    self.is_reading = false;
                }
                Done::Completed(0) => {}
                Done::Completed(made) => events.push(Event::Completed(made)),
                Done::Retired(names) => {
                    self.segments.retain(|(name, _)| !names.contains(name));
                    self.is_dirty |= !names.is_empty();
                    if !names.is_empty() {
                        events.push(Event::Retired(names.len() as u64));
                    }
                }
                Done::Failed(reason) => events.push(Event::Failed(reason)),
            }
        }
        events
    }
}

/// The rows of a segment. Reads only: where there is no rollup of it they are made of its records, and not kept.
///
/// # Errors
/// From the file system.
pub fn read_segment(data_dir: &Path, segment: &Segment) -> io::Result<Table> {
    match SegmentRollup::read_for(data_dir, segment) {
        Some(rollup) => Ok(rollup.table),
        None => worker::table_of_segment(segment),
    }
}

/// The rows of a part of a usage file, made of its records.
///
/// # Errors
/// From the file system.
pub fn read_between(file: &File, from: u64, to: u64) -> io::Result<Table> {
    table_between(file, from, to)
}

/// The table of the open file as a checkpoint has it.
pub fn open_table(checkpoint: &Checkpoint) -> Option<Table> {
    Table::decode(&mut Reader::new(checkpoint.section(SECTION)?)).ok()
}
