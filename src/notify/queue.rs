//! What waits to be sent, on disk: `data/notifications.jsonl`.
//!
//! A line for each notice, each attempt that failed and each delivery that ended, appended and synced before anything is
//! sent, so that a crash loses nothing that was taken in. A delivery whose end a crash keeps from being written down is sent
//! again, with the same id. The file is written anew when it is opened and when most of it is about what is over.
//!
//! Time is an argument, as everywhere.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Notice;
use crate::limits::{NOTICES_KNOWN_MAX, NOTICES_WAITING_MAX, NOTIFY_ATTEMPTS_MAX};
use crate::store::files;

/// First wait after a failed attempt; each further one is twice as long, up to the longest.
const RETRY_BASE_MS: u64 = 10_000;
const RETRY_MAX_MS: u64 = 3_600_000;
/// Length from which the file is written anew, when that makes it half as long.
const COMPACT_BYTES: u64 = 256 * 1024;

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// A notice, for these channels.
    Add { notice: Arc<Notice>, channels: Vec<String> },
    /// An attempt failed; when the next one is due.
    Tried { id: String, channel: String, attempts: u32, due_ms: u64 },
    /// It was sent, or given up.
    Done { id: String, channel: String },
    /// A notice of this id is not to be taken in again.
    Known { id: String },
}

/// One notice on its way to one channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    /// What is sent.
    pub notice: Arc<Notice>,
    /// Id of the channel.
    pub channel: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next one is due, in milliseconds since the Unix epoch.
    pub due_ms: u64,
}

impl Delivery {
    fn is(&self, id: &str, channel: &str) -> bool {
        self.notice.id == id && self.channel == channel
    }
}

/// What became of a notice that was to be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits.
    Waiting,
    /// One of its id was taken in before.
    Known,
    /// There are too many.
    Full,
}

/// What became of an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// There will be another one.
    At(u64),
    /// There will be none.
    GivenUp,
}

/// The queue and its file.
#[derive(Debug)]
pub(super) struct Queue {
    path: PathBuf,
    /// None while it cannot be written: what waits is in memory alone then.
    file: Option<File>,
    bytes: u64,
    waiting: Vec<Delivery>,
    known: HashSet<String>,
    /// The ids of `known`, oldest first.
    order: VecDeque<String>,
}

impl Queue {
    /// Reads what waits in a data directory. A file that cannot be read or written is told of by the error beside the queue,
    /// which works without it.
    pub(super) fn open(data: &Path) -> (Self, Option<io::Error>) {
        let path = data.join("notifications.jsonl");
        let mut queue = Self {
            path,
            file: None,
            bytes: 0,
            waiting: Vec::new(),
            known: HashSet::new(),
            order: VecDeque::new(),
        };
        let error = match std::fs::read(&queue.path) {
            Ok(bytes) => {
                // A torn last line, or a damaged one, is no line.
                let lines = bytes.split(|byte| *byte == b'\n');
                lines
                    .filter_map(|line| serde_json::from_slice(line).ok())
                    .for_each(|line| queue.replay(line));
                queue.rewrite().err()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error),
        };
        (queue, error)
    }

    fn replay(&mut self, line: Line) {
        match line {
            Line::Add { notice, channels } => {
                self.know(&notice.id);
                for channel in channels {
                    let due_ms = notice.at_ms;
                    self.waiting.push(Delivery { notice: Arc::clone(&notice), channel, attempts: 0, due_ms });
                }
            }
            Line::Tried { id, channel, attempts, due_ms } => {
                for delivery in self.waiting.iter_mut().filter(|delivery| delivery.is(&id, &channel)) {
                    (delivery.attempts, delivery.due_ms) = (attempts, due_ms);
                }
            }
            Line::Done { id, channel } => self.waiting.retain(|delivery| !delivery.is(&id, &channel)),
            Line::Known { id } => self.know(&id),
        }
    }

    fn know(&mut self, id: &str) {
        if self.known.insert(id.to_owned()) {
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > NOTICES_KNOWN_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Takes a notice in for some channels, due at once.
    ///
    /// # Errors
    /// It could not be written; it waits in memory nevertheless.
    pub(super) fn add(
        &mut self,
        notice: Notice,
        channels: Vec<String>,
        now_ms: u64,
    ) -> (Taken, io::Result<()>) {
        if self.known.contains(&notice.id) {
            return (Taken::Known, Ok(()));
        }
        if self.waiting.len() + channels.len() > NOTICES_WAITING_MAX {
            return (Taken::Full, Ok(()));
        }
        let notice = Arc::new(notice);
        self.know(&notice.id);
        let line = Line::Add { notice: Arc::clone(&notice), channels: channels.clone() };
        for channel in channels {
            self.waiting.push(Delivery { notice: Arc::clone(&notice), channel, attempts: 0, due_ms: now_ms });
        }
        (Taken::Waiting, self.append(&line))
    }

    /// How many deliveries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The delivery that has been due for longest at `now_ms`.
    pub(super) fn due(&self, now_ms: u64) -> Option<&Delivery> {
        let due = self.waiting.iter().filter(|delivery| delivery.due_ms <= now_ms);
        due.min_by_key(|delivery| delivery.due_ms)
    }

    /// When the next delivery is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.waiting.iter().map(|delivery| delivery.due_ms).min()
    }

    /// Puts a delivery off without counting an attempt.
    pub(super) fn put_off(&mut self, id: &str, channel: &str, due_ms: u64) {
        for delivery in self.waiting.iter_mut().filter(|delivery| delivery.is(id, channel)) {
            delivery.due_ms = due_ms;
        }
    }

    /// A delivery is over: sent, or not to be sent any more.
    ///
    /// # Errors
    /// That could not be written: after a crash it would be sent again.
    pub(super) fn done(&mut self, id: &str, channel: &str) -> io::Result<()> {
        self.waiting.retain(|delivery| !delivery.is(id, channel));
        self.append(&Line::Done { id: id.to_owned(), channel: channel.to_owned() })
    }

    /// An attempt failed. `draw` is a random number, `is_final` says that another attempt would fail in the same way.
    pub(super) fn failed(
        &mut self,
        id: &str,
        channel: &str,
        is_final: bool,
        now_ms: u64,
        draw: u64,
    ) -> (Retry, io::Result<()>) {
        let Some(delivery) = self.waiting.iter_mut().find(|delivery| delivery.is(id, channel)) else {
            return (Retry::GivenUp, Ok(()));
        };
        delivery.attempts += 1;
        if is_final || delivery.attempts >= NOTIFY_ATTEMPTS_MAX {
            return (Retry::GivenUp, self.done(id, channel));
        }
        delivery.due_ms = now_ms + retry_wait_ms(delivery.attempts, draw);
        let (attempts, due_ms) = (delivery.attempts, delivery.due_ms);
        let line = Line::Tried { id: id.to_owned(), channel: channel.to_owned(), attempts, due_ms };
        (Retry::At(due_ms), self.append(&line))
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        if self.file.is_none() || self.bytes > COMPACT_BYTES {
            // What could not be written before is written with it; the line is part of what it says.
            let written = self.rewrite();
            if written.is_err() {
                self.file = None;
            }
            return written;
        }
        let bytes = to_line(line)?;
        let written = self.write(&bytes);
        if written.is_err() {
            // The line may be torn; the next one must not be added to it.
            self.file = None;
        }
        written
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes)?;
        file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the file anew, with nothing in it that is over.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        for id in
            self.order.iter().filter(|id| !self.waiting.iter().any(|delivery| delivery.notice.id == **id))
        {
            text.extend(to_line(&Line::Known { id: id.clone() })?);
        }
        let mut told = HashSet::new();
        for delivery in &self.waiting {
            let Delivery { notice, channel, attempts, due_ms } = delivery;
            if told.insert(notice.id.as_str()) {
                let same = self.waiting.iter().filter(|other| other.notice.id == notice.id);
                let channels = same.map(|other| other.channel.clone()).collect();
                text.extend(to_line(&Line::Add { notice: Arc::clone(notice), channels })?);
            }
            if *attempts > 0 {
                let (id, channel) = (notice.id.clone(), channel.clone());
                let line = Line::Tried { id, channel, attempts: *attempts, due_ms: *due_ms };
                text.extend(to_line(&line)?);
            }
        }
        files::replace(&self.path, &text).map_err(io::Error::other)?;
        self.file = Some(OpenOptions::new().append(true).mode(0o600).open(&self.path)?);
        // Counted from here, so that a file that is long by right is not written anew each time.
        self.bytes = 0;
        Ok(())
    }
}

fn to_line(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// How long to wait after so many failed attempts: exponential, its upper half by chance, so that what failed together does
/// not come back together.
fn retry_wait_ms(attempts: u32, draw: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(32);
    let whole = RETRY_BASE_MS.saturating_mul(1 << doublings).min(RETRY_MAX_MS);
    whole / 2 + draw % (whole / 2 + 1)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
