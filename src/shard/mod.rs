//! What one core owns: its view of the configuration, pools, buffers, books and clocks.
//!
//! Everything is reached through one `Rc`; nothing in here is written by another core. No method holds a borrow
//! across an await.

mod traces;
mod view;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Prover;
use crate::cache::Caches;
use crate::clock::{self, WallClock};
use crate::mailbox::Mailbox;
use crate::net::{BufferPool, Deadlines};
use crate::routing::Pool;
use crate::routing::retry::{RetryBudget, RetryRules};
use crate::store::journal::JournalWriter;
use crate::telemetry::ids::{TraceId, TraceIds};
use crate::telemetry::labels::RetryReason;
use crate::telemetry::log::{self, Value};
use crate::telemetry::metrics::CoreMetrics;
use crate::telemetry::text::TimestampFormatter;
use crate::upstream::Resolver;

pub use traces::CoreTraces;
pub use view::{Readings, View};

/// The parts that are made before the core's thread starts.
pub struct ShardParts {
    /// Number of the core, from 0.
    pub index: usize,
    /// Way to the control thread.
    pub mailbox: Arc<Mailbox>,
    /// Names to addresses.
    pub resolver: Resolver,
    /// The core's counters.
    pub metrics: Arc<CoreMetrics>,
    /// The core's usage journal.
    pub journal: JournalWriter,
    /// The core's end of the log.
    pub log: log::ThreadLog,
    /// Source of trace ids.
    pub ids: TraceIds,
    /// Computes slow hashes of tokens.
    pub prover: Arc<Prover>,
    /// What the process remembers between requests.
    pub caches: Arc<Caches>,
}

/// One core's state.
pub struct Shard {
    /// Number of the core, from 0.
    pub index: usize,
    /// Read buffers.
    pub buffers: BufferPool,
    /// Deadlines of its connections.
    pub deadlines: Deadlines,
    /// Names to addresses.
    pub resolver: Resolver,
    /// Way to the control thread.
    pub mailbox: Arc<Mailbox>,
    /// Counters that only this core writes.
    pub metrics: Arc<CoreMetrics>,
    /// Usage records on their way out.
    pub journal: RefCell<JournalWriter>,
    /// Formats the time of records.
    pub timestamps: RefCell<TimestampFormatter>,
    /// Computes slow hashes of tokens.
    pub prover: Arc<Prover>,
    /// What the process remembers between requests.
    pub caches: Arc<Caches>,
    /// Room for the candidates of a request, while nobody has it.
    pub pool: Cell<Option<Box<Pool>>>,
    /// Traces of finished requests.
    pub traces: RefCell<CoreTraces>,
    ids: RefCell<TraceIds>,
    retry_budget: RefCell<RetryBudget>,
    view: RefCell<Rc<View>>,
    heads: RefCell<Vec<Vec<u8>>>,
    started: Instant,
    wall: Cell<WallClock>,
    tick_ms: Cell<u64>,
    connections: Cell<usize>,
    body_bytes: Rc<Cell<usize>>,
    cut: Cell<bool>,
}

impl Shard {
    /// Puts the parts together on the core's own thread.
    pub fn new(parts: ShardParts) -> Rc<Self> {
        log::install(parts.log);
        let view = View::new(parts.mailbox.snapshot(), None);
        let mut traces = CoreTraces::default();
        traces.renew(&view.snapshot);
        Rc::new(Self {
            index: parts.index,
            buffers: BufferPool::default(),
            deadlines: Deadlines::default(),
            resolver: parts.resolver,
            mailbox: parts.mailbox,
            metrics: parts.metrics,
            journal: RefCell::new(parts.journal),
            timestamps: RefCell::default(),
            prover: parts.prover,
            caches: parts.caches,
            pool: Cell::default(),
            traces: RefCell::new(traces),
            ids: RefCell::new(parts.ids),
            retry_budget: RefCell::default(),
            view: RefCell::new(Rc::new(view)),
            heads: RefCell::default(),
            started: clock::now(),
            wall: Cell::new(WallClock::read()),
            tick_ms: Cell::new(0),
            connections: Cell::new(0),
            body_bytes: Rc::default(),
            cut: Cell::new(false),
        })
    }

    /// The configuration in force: one comparison when nothing changed.
    #[inline]
    pub fn view(self: &Rc<Self>) -> Rc<View> {
        let view = Rc::clone(&self.view.borrow());
        if view.snapshot.generation == self.mailbox.generation() { view } else { self.renew_view(&view) }
    }

    #[cold]
    fn renew_view(&self, old: &Rc<View>) -> Rc<View> {
        let view = Rc::new(View::new(self.mailbox.snapshot(), Some(old)));
        self.traces.borrow_mut().renew(&view.snapshot);
        *self.view.borrow_mut() = Rc::clone(&view);
        view
    }

    /// The time of day at `now`, as milliseconds since the Unix epoch.
    #[inline]
    pub fn unix_ms(&self, now: Instant) -> u64 {
        self.wall.get().unix_ms(now)
    }

    /// A fresh request id for the moment `unix_ms`.
    #[inline]
    pub fn trace_id(&self, unix_ms: u64) -> TraceId {
        self.ids.borrow_mut().next(unix_ms)
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        self.ids.borrow_mut().random()
    }

    /// Takes a retry out of the core's budget; `false` when it is used up.
    pub fn pay_retry(&self, rules: &RetryRules, now_ms: u64) -> bool {
        let retries = RetryReason::ALL.iter().map(|reason| self.metrics.retries(*reason).read());
        let first_tries = self.metrics.attempts.read().saturating_sub(retries.sum());
        self.retry_budget.borrow_mut().take(first_tries, now_ms, rules)
    }

    /// An empty byte vector that was used before; give it back with [`Shard::give_back_head`].
    #[inline]
    pub fn take_head(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a byte vector for the next one who needs it.
    #[inline]
    pub fn give_back_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < crate::limits::HEAD_VECTORS_MAX
            && head.capacity() <= crate::limits::HEAD_VECTOR_BYTES_MAX
        {
            head.clear();
            heads.push(head);
        }
    }

    /// Counts bytes of a request body against the core's bound; `None` when they would pass it.
    pub fn hold_bytes(&self, count: usize) -> Option<HeldBytes> {
        let mut held = HeldBytes { all: Rc::clone(&self.body_bytes), own: 0 };
        held.grow(count).then_some(held)
    }

    // --- connections

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection_opened(self: &Rc<Self>) -> ConnectionGuard {
        self.connections.set(self.connections.get() + 1);
        self.metrics.connections_open.set(self.connections.get() as u64);
        self.metrics.connections_accepted.add(1);
        ConnectionGuard(Rc::clone(self))
    }

    /// Ends what still runs when the time to drain is over: whoever waits wakes, and settles what it has begun.
    pub fn cut_all(&self) {
        self.cut.set(true);
        self.deadlines.end_all();
    }

    /// Whether a wait that ended too early was cut by [`Shard::cut_all`].
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    // --- the tick

    /// Milliseconds since the core started, as of the last tick.
    #[inline]
    pub fn tick_ms(&self) -> u64 {
        self.tick_ms.get()
    }

    /// What a core does every [`crate::limits::DEADLINE_TICK_MS`]: deadlines, waiting records, log lines, idle pools.
    pub fn tick(self: &Rc<Self>) {
        self.wall.set(WallClock::read());
        let now_ms = clock::now().duration_since(self.started).as_millis() as u64;
        self.tick_ms.set(now_ms);
        self.deadlines.sweep(now_ms);
        self.journal.borrow_mut().tick();
        self.publish_journal_counts();
        log::flush();
        let unix_ms = self.unix_ms(clock::now());
        self.traces.borrow_mut().tick(&self.mailbox, &self.metrics, unix_ms);
        let view = self.view();
        let tick = crate::limits::DEADLINE_TICK_MS;
        if now_ms / 1000 != now_ms.saturating_sub(tick) / 1000 {
            for pool in &view.pools {
                pool.sweep(now_ms);
            }
        }
    }

    fn publish_journal_counts(&self) {
        let counts = self.journal.borrow().counts();
        self.metrics.journal_records.set(counts.written);
        self.metrics.journal_spilled.set(counts.spilled);
        self.metrics.journal_lost.set(counts.lost);
    }

    /// Whether all records are in the journal, after a try to move those there that wait in memory.
    pub fn records_are_written(&self) -> bool {
        self.journal.borrow_mut().tick()
    }

    /// The last words of a core: what still waits for room in the journal is lost, and counted so.
    pub fn finish(self: &Rc<Self>) {
        self.tick();
        let lost = self.journal.borrow_mut().give_up();
        if lost > 0 {
            log::error(
                "usage records were lost: no room in the journal",
                &[("records", Value::Integer(lost))],
            );
        }
        self.publish_journal_counts();
        log::flush();
    }

    /// Time since the core started.
    pub fn uptime(&self) -> Duration {
        clock::now().duration_since(self.started)
    }
}

/// A share of the memory that a core has for request bodies; given back when dropped.
#[derive(Debug)]
pub struct HeldBytes {
    all: Rc<Cell<usize>>,
    own: usize,
}

impl HeldBytes {
    /// Takes more of it; `false` when the core has no more.
    pub fn grow(&mut self, count: usize) -> bool {
        let all = self.all.get().saturating_add(count);
        if all > crate::limits::CORE_BODY_BYTES_MAX {
            return false;
        }
        self.all.set(all);
        self.own += count;
        true
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.all.set(self.all.get().saturating_sub(self.own));
    }
}

/// Counts a connection as closed when dropped.
pub struct ConnectionGuard(Rc<Shard>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let open = self.0.connections.get() - 1;
        self.0.connections.set(open);
        self.0.metrics.connections_open.set(open as u64);
    }
}
