//! How traces leave the cores: sent to the thread that keeps them, or shown when that thread asks.
//!
//! A core looks at one number per tick to see whether something is asked; it never waits for the asker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::Reply;
use crate::config::settings::TracesSettings;
use crate::snapshot::Snapshot;
use crate::telemetry::ids::TraceId;
use crate::trace::{Recent, Trace, Wanted};

/// What the thread that keeps traces is told or asked, in order.
#[derive(Debug)]
pub enum ToTraces {
    /// Keep these.
    Keep(Vec<(Arc<Snapshot>, Arc<Trace>)>),
    /// The trace of a request, kept or recent, as a JSON object.
    Find {
        /// The request.
        id: TraceId,
        /// Where the answer goes; none: there is no such trace.
        reply: Arc<Reply<Option<Arc<str>>>>,
    },
    /// Recent traces of all cores, newest first, as a JSON array.
    Recent {
        /// Which ones.
        wanted: Wanted,
        /// Where the answer goes.
        reply: Arc<Reply<Arc<str>>>,
    },
    /// Other bounds are in force.
    Bounds(TracesSettings),
    /// All cores have ended: return.
    Finish,
}

/// What a core is asked.
#[derive(Debug)]
pub struct Question {
    /// Which traces.
    pub wanted: Wanted,
    /// Where they go. A place for each core: nobody waits.
    pub answers: SyncSender<Vec<Recent>>,
}

/// Where one asker and the cores meet.
#[derive(Debug, Default)]
pub struct TraceDesk {
    number: AtomicU64,
    question: ArcSwapOption<Question>,
}

impl TraceDesk {
    /// Number of the newest question: what a core compares per tick.
    #[inline]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The newest question.
    pub fn question(&self) -> Option<Arc<Question>> {
        self.question.load_full()
    }

    /// Asks `cores` cores and collects what they say within `patience`. One asker at a time; blocks.
    pub fn ask(&self, wanted: Wanted, cores: usize, patience: Duration) -> Vec<Recent> {
        let (answers, told) = sync_channel(cores);
        let limit = wanted.limit;
        self.question.store(Some(Arc::new(Question { wanted, answers })));
        self.number.fetch_add(1, Ordering::AcqRel);
        let mut found = Vec::new();
        for _ in 0..cores {
            // Each core answers at its next tick; one that has ended does not.
            let Ok(recent) = told.recv_timeout(patience) else { break };
            found.extend(recent);
        }
        self.question.store(None);
        found.sort_by_key(|recent| std::cmp::Reverse(recent.trace.finished_ms));
        found.truncate(limit);
        found
    }
}
