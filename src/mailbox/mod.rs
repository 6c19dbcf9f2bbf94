//! What passes between the cores and the control thread: bounded queues one way, immutable snapshots the other.
//!
//! Nothing here blocks a core: a full queue is the sender's to handle, a new snapshot is one number to compare.

mod notify;
mod office;
mod reply;
mod reports;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use arc_swap::ArcSwap;

pub use notify::ToNotifier;
pub use office::{ApiAnswer, ApiCall, Change, Changed, Edit, ToOffice, Verdict};
pub use reply::Reply;
pub use reports::{Job, Piece, Pieces, Rest, ToReports};
pub use traces::{Question, ToTraces, TraceDesk};

use crate::config::settings::ResponsesSettings;
use crate::limits::{
    CONTROL_QUEUE_MAX, KEEPER_QUEUE_MAX, NOTIFY_QUEUE_MAX, OFFICE_QUEUE_MAX, REPORTS_QUEUE_MAX,
    TRACE_QUEUE_MAX,
};
use crate::routing::metrics;
use crate::snapshot::Snapshot;
use crate::store::responses::{Missing, Turn};

/// What the control thread is told or asked.
#[derive(Debug)]
pub enum ToControl {
    /// Render the Prometheus page.
    Metrics(Arc<Reply<Arc<[u8]>>>),
    /// Read the configuration again.
    Reload,
    /// Change configuration files.
    Change(Change),
    /// Merge what is in the journals once more and leave the store to another process from then on; the answer is
    /// whether that could be done.
    Release {
        /// Where it is said that the store is free, or why it is not.
        answer: SyncSender<Result<(), String>>,
        /// Set by whoever settles it first: the control thread that lets go, or the asker that gives up.
        settled: Arc<AtomicBool>,
    },
    /// All cores have ended: finish the books and return.
    Finish,
}

/// What the thread that keeps responses is told or asked, in order.
#[derive(Debug)]
pub enum ToKeeper {
    /// Keep the turn.
    Keep {
        /// What is to be kept.
        turn: Box<Turn>,
        /// Told once it is written, or cannot be: whether it is.
        reply: Arc<Reply<bool>>,
    },
    /// The response object and its input items.
    Find {
        /// The response.
        id: String,
        /// The project that asks.
        project: String,
        /// Where the answer goes.
        reply: Arc<Reply<Result<Kept, Missing>>>,
    },
    /// The items of the conversation up to and with a response, joined by commas.
    History {
        /// The response.
        id: String,
        /// The project that asks.
        project: String,
        /// Where the answer goes.
        reply: Arc<Reply<Result<Arc<str>, Missing>>>,
    },
    /// Remove a response.
    Delete {
        /// The response.
        id: String,
        /// The project that asks.
        project: String,
        /// Where the answer goes.
        reply: Arc<Reply<Result<(), Missing>>>,
    },
    /// Other bounds are in force.
    Bounds(ResponsesSettings),
    /// All cores have ended: return.
    Finish,
}

/// A kept response.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The response object.
    pub response: Arc<str>,
    /// Array of the input items of its turn.
    pub input: Arc<str>,
}

/// The cores' side and the control thread's side meet here.
#[derive(Debug)]
pub struct Mailbox {
    generation: AtomicU64,
    current: ArcSwap<Snapshot>,
    readings_number: AtomicU64,
    readings: ArcSwap<metrics::View>,
    draining: AtomicBool,
    handed_over: AtomicBool,
    /// Cores that take new connections.
    accepting: AtomicUsize,
    degraded: AtomicBool,
    to_control: SyncSender<ToControl>,
    to_keeper: SyncSender<ToKeeper>,
    to_office: SyncSender<ToOffice>,
    to_reports: SyncSender<ToReports>,
    to_traces: SyncSender<ToTraces>,
    to_notifier: SyncSender<ToNotifier>,
    /// Where the cores are asked for their recent traces.
    pub traces: TraceDesk,
}

/// What the threads behind the mailbox read.
#[derive(Debug)]
pub struct Inboxes {
    /// The control thread's.
    pub control: Receiver<ToControl>,
    /// That of the thread that keeps responses.
    pub keeper: Receiver<ToKeeper>,
    /// That of the thread that answers the management API.
    pub office: Receiver<ToOffice>,
    /// That of the threads that make reports.
    pub reports: Receiver<ToReports>,
    /// That of the thread that keeps traces.
    pub traces: Receiver<ToTraces>,
    /// That of the thread that sends notifications.
    pub notifier: Receiver<ToNotifier>,
}

impl Mailbox {
    /// The mailbox, and the ends that the threads behind it read.
    pub fn new(first: Arc<Snapshot>) -> (Arc<Self>, Inboxes) {
        let (to_control, control) = sync_channel(CONTROL_QUEUE_MAX);
        let (to_keeper, keeper) = sync_channel(KEEPER_QUEUE_MAX);
        let (to_office, office) = sync_channel(OFFICE_QUEUE_MAX);
        let (to_reports, reports) = sync_channel(REPORTS_QUEUE_MAX);
        let (to_traces, traces) = sync_channel(TRACE_QUEUE_MAX);
        let (to_notifier, notifier) = sync_channel(NOTIFY_QUEUE_MAX);
        let mailbox = Self {
            generation: AtomicU64::new(first.generation),
            current: ArcSwap::new(first),
            readings_number: AtomicU64::new(0),
            readings: ArcSwap::default(),
            draining: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
            degraded: AtomicBool::new(false),
            to_control,
            to_keeper,
            to_office,
            to_reports,
            to_traces,
            to_notifier,
            traces: TraceDesk::default(),
        };
        (Arc::new(mailbox), Inboxes { control, keeper, office, reports, traces, notifier })
    }

    /// Puts a new snapshot in force on all cores.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        self.current.store(snapshot);
        self.generation.store(generation, Ordering::Release);
    }

    /// Number of the snapshot in force: what a core compares per request.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts new numbers of past calls beside the configuration. Only the control thread may call this.
    pub fn publish_readings(&self, readings: Arc<metrics::View>) {
        self.readings.store(readings);
        self.readings_number.fetch_add(1, Ordering::Release);
    }

    /// How often such numbers were published: what a core compares per request that asks for them.
    #[inline]
    pub fn readings_number(&self) -> u64 {
        self.readings_number.load(Ordering::Acquire)
    }

    /// The newest numbers of past calls.
    pub fn readings(&self) -> Arc<metrics::View> {
        self.readings.load_full()
    }

    /// Tells all cores to finish what they have and to take nothing new.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Like [`Mailbox::drain`], but whoever waits at the listeners is left to the process that has them now.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        self.drain();
    }

    /// Whether another process has the listeners now.
    pub fn has_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// One more core takes new connections.
    pub fn begins_accepting(&self) {
        self.accepting.fetch_add(1, Ordering::AcqRel);
    }

    /// One core fewer does.
    pub fn stopped_accepting(&self) {
        self.accepting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether any core takes new connections.
    pub fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire) > 0
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether usage records cannot be written out at the moment.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    /// Says whether usage records can be written out.
    pub fn set_degraded(&self, degraded: bool) {
        self.degraded.store(degraded, Ordering::Relaxed);
    }

    /// Hands a message to the control thread, or back where its queue is full.
    ///
    /// # Errors
    /// The message itself: the caller keeps it and tries again, or tells its client.
    pub fn send(&self, message: ToControl) -> Result<(), ToControl> {
        self.to_control.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// Hands a message to the thread that keeps responses, or back where its queue is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send_to_keeper(&self, message: ToKeeper) -> Result<(), ToKeeper> {
        self.to_keeper.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// Hands a request to the thread of the management API, or back where its queue is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send_to_office(&self, message: ToOffice) -> Result<(), ToOffice> {
        self.to_office.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// Tells the thread of the management API that nothing more will come.
    pub fn finish_office(&self) {
        // A closed queue means that it has ended already.
        let _ = self.to_office.send(ToOffice::Finish);
    }

    /// Hands a message to the threads that make reports, or back where their queue is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send_to_reports(&self, message: ToReports) -> Result<(), ToReports> {
        self.to_reports.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// Tells one of the threads that make reports that nothing more will come.
    pub fn finish_reports(&self) {
        // A closed queue means that they have ended already.
        let _ = self.to_reports.send(ToReports::Finish);
    }

    /// Tells the thread that keeps responses that nothing more will come.
    pub fn finish_keeper(&self) {
        // A closed queue means that it has ended already.
        let _ = self.to_keeper.send(ToKeeper::Finish);
    }

    /// Hands a message to the thread that keeps traces, or back where its queue is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send_to_traces(&self, message: ToTraces) -> Result<(), ToTraces> {
        self.to_traces.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// Tells the thread that keeps traces that nothing more will come.
    pub fn finish_traces(&self) {
        // A closed queue means that it has ended already.
        let _ = self.to_traces.send(ToTraces::Finish);
    }

    /// Hands a message to the thread that sends notifications, or back where its queue is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send_to_notifier(&self, message: ToNotifier) -> Result<(), ToNotifier> {
        self.to_notifier.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// Like [`Mailbox::send_to_notifier`], for threads that may wait.
    pub fn tell_notifier(&self, message: ToNotifier) {
        // A closed queue means that it has ended already.
        let _ = self.to_notifier.send(message);
    }

    /// Like [`Mailbox::send`], for threads that may wait.
    pub fn send_blocking(&self, message: ToControl) {
        // The control thread is the last to end; a closed queue means that there is nobody left to tell.
        let _ = self.to_control.send(message);
    }
}
