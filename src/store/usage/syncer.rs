//! `fdatasync` on a thread of its own, so that a slow disk keeps the control thread from nothing else.
//!
//! Owns that thread and the one sync that may be under way. Does not know what a sync makes durable: the
//! [`Merger`](super::Merger) remembers what was appended before it began, and gives that back when it has ended.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(test)]
use super::segment::Faults;

/// What one sync waits for.
#[derive(Debug)]
pub(super) struct SyncJob {
    /// The usage file.
    pub(super) file: Arc<File>,
    /// Folders whose entries changed since the last sync.
    pub(super) folders: Vec<PathBuf>,
    #[cfg(test)]
    pub(super) faults: Faults,
}

impl SyncJob {
    fn run(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.of_sync()?;
        self.file.sync_data()?;
        self.folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }
}

/// The thread that waits for the disk. It ends when this is dropped, after the sync that it is in.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: SyncSender<SyncJob>,
    results: Receiver<io::Result<()>>,
    /// When the sync that is under way began.
    since: Option<Instant>,
    /// A test wants it to be under way still.
    #[cfg(test)]
    pub(super) is_held: bool,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        // One job at most is under way, so neither end ever waits for room.
        let (jobs, inbox) = sync_channel::<SyncJob>(1);
        let (outbox, results) = sync_channel(1);
        thread::Builder::new().name("usage-sync".to_owned()).spawn(move || {
            for job in inbox {
                if outbox.send(job.run()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            jobs,
            results,
            since: None,
            #[cfg(test)]
            is_held: false,
        })
    }

    /// Whether a sync is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.since.is_some()
    }

    /// How long the sync that is under way has taken by `now`.
    pub(super) fn busy_for(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Begins a sync. Only when none is under way.
    pub(super) fn begin(&mut self, job: SyncJob, now: Instant) {
        debug_assert!(!self.is_busy(), "one sync at a time");
        // A thread that is gone is noticed when its result is asked for.
        let _ = self.jobs.try_send(job);
        self.since = Some(now);
    }

    /// The result of the sync that was under way, if it has ended.
    pub(super) fn ended(&mut self) -> Option<io::Result<()>> {
        self.since?;
        #[cfg(test)]
        if self.is_held {
            return None;
        }
        let result = match self.results.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(thread_is_gone()),
            Ok(result) => result,
        };
        self.since = None;
        Some(result)
    }

    /// Waits for the sync that is under way; `None` where none is.
    pub(super) fn wait(&mut self) -> Option<io::Result<()>> {
        self.since.take()?;
        Some(self.results.recv().unwrap_or_else(|RecvError| Err(thread_is_gone())))
    }
}

fn thread_is_gone() -> io::Error {
    io::Error::other("the thread that waits for the disk has ended")
}
