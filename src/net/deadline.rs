//! Deadlines of one core's connections, swept on a tick.
//!
//! Setting a deadline is one store, so that a request can move its own several times for nothing. When one has
//! passed, the sweep shuts the socket down: whoever waits on it wakes, sees [`DeadlineSlot::fired`] and says why.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::pipe::PipeEnd;
use crate::limits::DEADLINE_TICK_MS;

/// What a passed deadline does to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    /// End both directions: nothing useful can be said any more.
    Close,
    /// End the reading side: the waiting reader sees the end and may still answer (408).
    StopReading,
    /// Like `StopReading`, for a connection between two requests: a drain ends it at once.
    StopIdle,
    /// Like `StopIdle`, for a connection whose first request is on its way: a drain gives it a moment.
    StopFresh,
}

const NEVER: u64 = u64::MAX;

/// The deadline of one connection. Cheap to move: one store.
#[derive(Debug)]
pub struct DeadlineSlot {
    at_ms: Cell<u64>,
    on_expiry: Cell<OnExpiry>,
    fired: Cell<bool>,
    reading_stopped: Cell<bool>,
    end: RefCell<End>,
    now_ms: Rc<Cell<u64>>,
}

/// What to end so that the holder wakes.
#[derive(Debug)]
pub(super) enum End {
    /// Not connected yet.
    Unbound,
    /// A socket; its descriptor stays open as long as the slot's owner lives.
    Socket(std::os::fd::RawFd),
    /// A pipe to the simulated provider.
    Pipe(Weak<PipeEnd>),
}

impl DeadlineSlot {
    /// Fires `after` from now, rounded up to the next tick.
    #[inline]
    pub fn set(&self, after: Duration, on_expiry: OnExpiry) {
        self.fired.set(false);
        // One tick is added because `now` may be a tick old: never early, at most two ticks late.
        self.at_ms
            .set(self.now_ms.get().saturating_add(after.as_millis() as u64).saturating_add(DEADLINE_TICK_MS));
        self.on_expiry.set(on_expiry);
    }

    /// No deadline until the next `set`.
    #[inline]
    pub fn clear(&self) {
        self.at_ms.set(NEVER);
    }

    /// Whether the deadline has passed and ended the connection.
    #[inline]
    pub fn fired(&self) -> bool {
        self.fired.get()
    }

    /// Whether we have ended the reading side ourselves: an end of the stream says nothing about the peer then.
    #[inline]
    pub fn reading_stopped(&self) -> bool {
        self.reading_stopped.get()
    }

    pub(super) fn bind(&self, end: End) {
        *self.end.borrow_mut() = end;
    }

    fn expire(&self) {
        self.clear();
        match (&*self.end.borrow(), self.on_expiry.get()) {
            (End::Unbound, _) => {}
            (End::Socket(fd), OnExpiry::Close) => super::socket::shutdown_both(*fd),
            // A request that has arrived already is served: the time was for waiting. Bytes of TLS may be none, and nobody
            // sets another deadline then: the next sweep looks again.
            (End::Socket(fd), OnExpiry::StopIdle | OnExpiry::StopFresh)
                if super::socket::peek(*fd).is_ok_and(|count| count > 0) =>
            {
                self.at_ms.set(self.now_ms.get().saturating_add(DEADLINE_TICK_MS));
                return;
            }
            (End::Socket(fd), OnExpiry::StopReading | OnExpiry::StopIdle | OnExpiry::StopFresh) => {
                self.reading_stopped.set(true);
                super::socket::shutdown_read(*fd);
            }
            (End::Pipe(pipe), _) => {
                if let Some(pipe) = pipe.upgrade() {
                    pipe.close();
                }
            }
        }
        self.fired.set(true);
    }
}

/// All deadlines of a core.
#[derive(Debug, Default)]
pub struct Deadlines {
    slots: RefCell<Vec<Weak<DeadlineSlot>>>,
    now_ms: Rc<Cell<u64>>,
}

impl Deadlines {
    /// A slot without a deadline; it leaves the table when its owner drops it.
    pub fn slot(&self) -> Rc<DeadlineSlot> {
        let slot = Rc::new(DeadlineSlot {
            at_ms: Cell::new(NEVER),
            on_expiry: Cell::new(OnExpiry::Close),
            fired: Cell::new(false),
            reading_stopped: Cell::new(false),
            end: RefCell::new(End::Unbound),
            now_ms: self.now_ms.clone(),
        });
        self.slots.borrow_mut().push(Rc::downgrade(&slot));
        slot
    }

    /// Fires what has passed at `now_ms`, a monotonic time in milliseconds. Called every [`DEADLINE_TICK_MS`].
    pub fn sweep(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        self.slots.borrow_mut().retain(|slot| match slot.upgrade() {
            None => false,
            Some(slot) => {
                if slot.at_ms.get() <= now_ms {
                    slot.expire();
                }
                true
            }
        });
    }

    /// Ends what waits for a next request that need not come, and where `also_fresh` for a first one.
    pub fn end_idle(&self, also_fresh: bool) {
        for slot in self.slots.borrow().iter().filter_map(Weak::upgrade) {
            let is_idle = match slot.on_expiry.get() {
                OnExpiry::StopIdle => true,
                OnExpiry::StopFresh => also_fresh,
                OnExpiry::Close | OnExpiry::StopReading => false,
            };
            if slot.at_ms.get() != NEVER && is_idle {
                slot.expire();
            }
        }
    }

    /// Ends everything that waits for a peer, whatever time it has left.
    pub fn end_all(&self) {
        for slot in self.slots.borrow().iter().filter_map(Weak::upgrade) {
            if slot.at_ms.get() != NEVER {
                slot.expire();
            }
        }
    }

    /// Open slots, counting those whose owner is gone since the last sweep.
    pub fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Whether no connection has a slot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let deadlines = Deadlines::default();
        deadlines.sweep(1_000);
        let slot = deadlines.slot();
        slot.set(Duration::from_millis(100), OnExpiry::Close);
        deadlines.sweep(1_099);
        assert!(!slot.fired());
        deadlines.sweep(1_100 + DEADLINE_TICK_MS);
        assert!(slot.fired());
    }

    #[test]
    fn a_cleared_deadline_does_not_fire() {
        let deadlines = Deadlines::default();
        let slot = deadlines.slot();
        slot.set(Duration::ZERO, OnExpiry::Close);
        slot.clear();
        deadlines.sweep(u64::MAX - 1);
        assert!(!slot.fired());
    }

    #[test]
    fn a_dropped_slot_leaves_the_table() {
        let deadlines = Deadlines::default();
        drop(deadlines.slot());
        deadlines.sweep(0);
        assert!(deadlines.is_empty());
    }
}
