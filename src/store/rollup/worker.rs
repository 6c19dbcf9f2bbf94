//! The thread that writes rollups and makes those that are missing, so that the control thread waits for no disk.
//!
//! One job after the other, in order. Reads segments only, which nobody writes, and parts of the open file that are
//! complete. A job that fails is told of and left: what it would have made is made from the records by whoever asks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::files::{Segment, SegmentRollup, checkpoint_path, rollup_path, rollups_dir, segments};
use super::restore::for_each_between;
use super::table::Table;
use crate::store::files;

/// What is to be done.
#[derive(Debug)]
enum Job {
    /// Replace a file.
    Write { path: PathBuf, bytes: Vec<u8> },
    /// Make the table of a part of the open file, whatever it is called by then.
    Read { file: File, from: u64, to: u64 },
    /// Make the rollups of segments that have none, delete those of segments that are gone.
    Complete,
    /// Delete the segments that began before this day, spelled `YYYY-MM-DD`, and keep their rows.
    Retire { before_day: String },
    /// Say that all jobs before this one are done.
    Tell(SyncSender<()>),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Done {
    /// The table of the part.
    Read(Table),
    /// Rollups that were made because there were none.
    Completed(u64),
    /// Segments that were deleted because their time was over.
    Retired(Vec<String>),
    /// Something could not be done.
    Failed(String),
}

/// The thread. It ends, with its jobs done, when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// What can be done at the next start is left.
    hurries: Arc<AtomicBool>,
    /// A test wants everything to be under way still.
    #[cfg(test)]
    pub(super) is_held: bool,
}

impl Worker {
    /// Starts the thread; `give_way` lowers its priority.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(data_dir: &Path, give_way: fn()) -> io::Result<Self> {
        // Jobs are few: a checkpoint every few seconds, a rollup per rotation.
        let (jobs, inbox) = channel();
        let (outbox, done) = channel();
        let data_dir = data_dir.to_owned();
        let hurries = Arc::new(AtomicBool::new(false));
        let leaves = Arc::clone(&hurries);
        let thread = thread::Builder::new().name("rollups".to_owned()).spawn(move || {
            give_way();
            for job in inbox {
                let done = match run(&data_dir, job, &leaves) {
                    Ok(Some(done)) => done,
                    Ok(None) => continue,
                    Err(error) => Done::Failed(error.to_string()),
                };
                // Nobody may be left to hear it.
                let _ = outbox.send(done);
            }
        })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            hurries,
            #[cfg(test)]
            is_held: false,
        })
    }

    pub(super) fn write_checkpoint(&self, data_dir: &Path, bytes: Vec<u8>) {
        self.send(Job::Write { path: checkpoint_path(data_dir), bytes });
    }

    pub(super) fn write_rollup(&self, data_dir: &Path, segment: &Path, bytes: Vec<u8>) {
        self.send(Job::Write { path: rollup_path(data_dir, segment), bytes });
    }

    pub(super) fn read(&self, file: File, from: u64, to: u64) {
        self.send(Job::Read { file, from, to });
    }

    pub(super) fn complete(&self) {
        self.send(Job::Complete);
    }

    pub(super) fn retire(&self, before_day: String) {
        self.send(Job::Retire { before_day });
    }

    /// What was done since the last time.
    pub(super) fn done(&self) -> Option<Done> {
        #[cfg(test)]
        if self.is_held {
            return None;
        }
        self.done.try_recv().ok()
    }

    /// Waits for all jobs; what takes long is left for the next start.
    pub(super) fn hurry(&self) {
        self.hurries.store(true, Ordering::Relaxed);
        self.wait();
        self.hurries.store(false, Ordering::Relaxed);
    }

    /// Waits for all jobs.
    pub(super) fn wait(&self) {
        let (told, is_done) = sync_channel(1);
        self.send(Job::Tell(told));
        // A thread that is gone does nothing more.
        let _ = is_done.recv();
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A thread that is gone writes nothing; the next start makes it anew.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.hurries.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has panicked: there is nothing to wait for.
            let _ = thread.join();
        }
    }
}

fn run(data_dir: &Path, job: Job, hurries: &AtomicBool) -> io::Result<Option<Done>> {
    match job {
        Job::Write { path, bytes } => {
            files::create_directory(&rollups_dir(data_dir)).map_err(io::Error::other)?;
            files::replace(&path, &bytes).map_err(io::Error::other)?;
            Ok(None)
        }
        Job::Read { file, from, to } => Ok(Some(Done::Read(table_between(&file, from, to)?))),
        Job::Complete => complete(data_dir, hurries).map(|made| Some(Done::Completed(made))),
        Job::Tell(told) => {
            // Whoever waits may be gone.
            let _ = told.send(());
            Ok(None)
        }
        Job::Retire { before_day } => retire(data_dir, &before_day).map(|names| Some(Done::Retired(names))),
    }
}

/// The rows of a part of a usage file.
pub(super) fn table_between(file: &File, from: u64, to: u64) -> io::Result<Table> {
    let mut table = Table::default();
    table.unreadable =
        for_each_between(file, from, to, |facts, ids, span| table.add_record(facts, ids, span))?;
    Ok(table)
}

/// The rows of a segment, made of its records.
pub(super) fn table_of_segment(segment: &Segment) -> io::Result<Table> {
    table_between(&File::open(&segment.path)?, 0, segment.fingerprint.bytes())
}

fn complete(data_dir: &Path, hurries: &AtomicBool) -> io::Result<u64> {
    files::create_directory(&rollups_dir(data_dir)).map_err(io::Error::other)?;
    let segments = segments(data_dir)?;
    delete_orphans(data_dir, &segments)?;
    let mut made = 0;
    // The newest first: they are asked for most.
    for segment in segments.iter().rev() {
        if hurries.load(Ordering::Relaxed) {
            break;
        }
        if SegmentRollup::is_there(data_dir, segment) {
            continue;
        }
        let bytes = SegmentRollup::encode(segment.fingerprint, false, &table_of_segment(segment)?);
        files::replace(&rollup_path(data_dir, &segment.path), &bytes).map_err(io::Error::other)?;
        made += 1;
    }
    Ok(made)
}

/// Deletes the rollups of segments that somebody deleted.
fn delete_orphans(data_dir: &Path, segments: &[Segment]) -> io::Result<()> {
    let known: BTreeMap<PathBuf, ()> =
        segments.iter().map(|segment| (rollup_path(data_dir, &segment.path), ())).collect();
    for entry in fs::read_dir(rollups_dir(data_dir))? {
        let path = entry?.path();
        let is_rollup = path.extension().is_some_and(|extension| extension == "rollup");
        if !is_rollup || known.contains_key(&path) {
            continue;
        }
        let is_retired = SegmentRollup::decode(&fs::read(&path)?).is_ok_and(|rollup| rollup.is_retired);
        if !is_retired {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn retire(data_dir: &Path, before_day: &str) -> io::Result<Vec<String>> {
    let mut retired = vec![];
    for segment in segments(data_dir)? {
        let day = segment.name().get("usage-".len().."usage-YYYY-MM-DD".len());
        if day.is_none_or(|day| day >= before_day) {
            continue;
        }
        let table = match SegmentRollup::read_for(data_dir, &segment) {
            Some(rollup) => rollup.table,
            None => table_of_segment(&segment)?,
        };
        // First the mark, then the deletion: a crash in between leaves a segment that is retired again.
        let bytes = SegmentRollup::encode(segment.fingerprint, true, &table);
        files::create_directory(&rollups_dir(data_dir)).map_err(io::Error::other)?;
        files::replace(&rollup_path(data_dir, &segment.path), &bytes).map_err(io::Error::other)?;
        fs::remove_file(&segment.path)?;
        retired.push(segment.name().to_owned());
    }
    Ok(retired)
}
