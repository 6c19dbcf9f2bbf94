//! Which sockets of a core can be read or written, at no cost for each wait.
//!
//! A socket is registered once, edge-triggered, for as long as it is open. What happens to it is collected in
//! batches, once a turn of the core, and kept as flags beside the socket; a read or write that finds nothing more
//! clears its flag. The runtime waits for one descriptor, that of the whole set, on io_uring and on epoll alike. A
//! wait thus needs no submission, no wait-queue entry and no completion of its own, and one that is dropped leaves
//! nothing behind.
//!
//! ```text
//! Empty ──event──▶ Ready ──read: fewer bytes than asked, or none──▶ Empty
//!                    └─read: as many as asked─▶ Unsure ──peek or event──▶ Ready, Empty
//! ```
//!
//! An edge is reported once, so nobody may wait who has not seen the socket empty (or full). Fewer bytes than asked
//! for say so as well (epoll(7), questions and answers), except at the end of a stream: it can be reported in one
//! event with the last bytes. So an end is remembered and such a socket stays ready.
//!
//! Compared on this project's bench, one core: a one-shot `POLL_ADD` per wait costs 5 % more CPU a request (32
//! keep-alive connections) and 3 % more an event (1,000 streams). A multishot poll per socket in a second ring was
//! dearer than both: 18.4 µs a request in a run where this took 15.3 and one-shot polls 15.8.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use monoio::net::TcpStream;

use super::epoll::{Epoll, Event};

/// What is known of the bytes that wait in a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Inbox {
    /// None, as of the last read; an event will tell when some come.
    #[default]
    Empty,
    /// The last read took as many as it asked for: there may be more, and no event will say so.
    Unsure,
    /// Some, or the end.
    Ready,
}

/// What is known of one socket.
#[derive(Debug)]
pub(super) struct Readiness {
    inbox: Cell<Inbox>,
    /// The peer sends no more, or the connection is gone.
    ended: Cell<bool>,
    /// The last write was taken whole.
    has_room: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Readiness {
    fn new() -> Self {
        Self {
            inbox: Cell::default(),
            ended: Cell::new(false),
            has_room: Cell::new(true),
            reader: RefCell::default(),
            writer: RefCell::default(),
        }
    }

    #[inline]
    pub(super) fn inbox(&self) -> Inbox {
        self.inbox.get()
    }

    /// Keeps what a read or a peek has found.
    #[inline]
    pub(super) fn found(&self, inbox: Inbox) {
        self.inbox.set(if self.ended.get() { Inbox::Ready } else { inbox });
    }

    /// The kernel has refused a read or a peek: there is not even an end to be read, whatever was reported before.
    #[inline]
    pub(super) fn refused(&self) {
        self.ended.set(false);
        self.inbox.set(Inbox::Empty);
    }

    /// The socket takes no more; an event will tell when it does.
    pub(super) fn filled(&self) {
        self.has_room.set(false);
    }

    /// Waits for an event of the reading side, which the last read must have seen empty.
    #[inline]
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        debug_assert_ne!(self.inbox.get(), Inbox::Unsure, "no event may come");
        poll(self.inbox.get() == Inbox::Ready, &self.reader, cx)
    }

    /// Waits for room.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        poll(self.has_room.get(), &self.writer, cx)
    }

    fn happened(&self, event: Event) {
        if event.ended {
            self.ended.set(true);
        }
        if event.readable {
            self.inbox.set(Inbox::Ready);
            wake(&self.reader);
        }
        if event.writable {
            self.has_room.set(true);
            wake(&self.writer);
        }
    }
}

fn poll(ready: bool, waiter: &RefCell<Option<Waker>>, cx: &mut Context<'_>) -> Poll<()> {
    if ready {
        return Poll::Ready(());
    }
    match &mut *waiter.borrow_mut() {
        Some(known) => known.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
    Poll::Pending
}

fn wake(waiter: &RefCell<Option<Waker>>) {
    // Taken out first: what is woken may wait again.
    let waker = waiter.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A place in the table of sockets.
#[derive(Debug, Default)]
struct Entry {
    /// Counts the sockets that were here: an event of an earlier one, not collected yet, is not for the present one.
    generation: u32,
    readiness: Weak<Readiness>,
}

/// All sockets of a core.
#[derive(Debug)]
pub(super) struct ReadySet {
    epoll: Epoll,
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
}

impl ReadySet {
    pub(super) fn new() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self { epoll: Epoll::new()?, entries: RefCell::default(), free: RefCell::default() }))
    }

    /// Watches `socket` until the registration is dropped and the socket closed.
    pub(super) fn register(self: &Rc<Self>, socket: BorrowedFd<'_>) -> io::Result<Registration> {
        let readiness = Rc::new(Readiness::new());
        let (index, generation) = self.place(&readiness);
        let registration = Registration { set: Rc::clone(self), index, readiness };
        self.epoll.add(socket, u64::from(generation) << 32 | u64::from(index))?;
        Ok(registration)
    }

    fn place(&self, readiness: &Rc<Readiness>) -> (u32, u32) {
        let mut entries = self.entries.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            entries.push(Entry::default());
            entries.len() as u32 - 1
        });
        let entry = &mut entries[index as usize];
        entry.readiness = Rc::downgrade(readiness);
        (index, entry.generation)
    }

    fn vacate(&self, index: u32) {
        let entry = &mut self.entries.borrow_mut()[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.readiness = Weak::new();
        self.free.borrow_mut().push(index);
    }

    fn of_event(&self, event: Event) -> Option<Rc<Readiness>> {
        let (generation, index) = ((event.token >> 32) as u32, event.token as u32);
        let entries = self.entries.borrow();
        let entry = entries.get(index as usize).filter(|entry| entry.generation == generation)?;
        entry.readiness.upgrade()
    }

    /// Keeps what has happened since the last call and wakes who waits for it.
    pub(super) fn collect(&self) -> io::Result<()> {
        self.epoll.collect(|event| {
            if let Some(readiness) = self.of_event(event) {
                readiness.happened(event);
            }
        })
    }
}

/// A socket's place in its core's set, given back on drop.
#[derive(Debug)]
pub(super) struct Registration {
    set: Rc<ReadySet>,
    index: u32,
    readiness: Rc<Readiness>,
}

impl std::ops::Deref for Registration {
    type Target = Readiness;
    fn deref(&self) -> &Readiness {
        &self.readiness
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.set.vacate(self.index);
    }
}

thread_local! {
    /// The set of the core that runs on this thread.
    static CURRENT: RefCell<Option<Rc<ReadySet>>> = const { RefCell::new(None) };
}

/// Watches `socket` on the core of this thread.
///
/// # Errors
/// Of epoll_ctl(2), and when no core runs here.
pub(super) fn register(socket: BorrowedFd<'_>) -> io::Result<Registration> {
    let set = CURRENT.with_borrow(Option::clone);
    set.ok_or_else(|| io::Error::other("sockets need a core"))?.register(socket)
}

/// The set of a core, tied to its runtime.
pub(super) struct Collector {
    set: Rc<ReadySet>,
    /// The set's descriptor in the form that the runtime waits for.
    waiting: TcpStream,
}

impl Collector {
    /// To be called inside of the runtime.
    pub(super) fn new() -> io::Result<Self> {
        let set = ReadySet::new()?;
        // monoio has readiness for sockets only, but looks at nothing except the descriptor.
        let descriptor = std::net::TcpStream::from(set.epoll.as_fd().try_clone_to_owned()?);
        Ok(Self { set, waiting: TcpStream::from_std(descriptor)? })
    }

    /// Runs `future`, whose sockets are registered here, and collects for them until it ends.
    pub(super) async fn run<F: Future>(&self, future: F) -> F::Output {
        CURRENT.set(Some(Rc::clone(&self.set)));
        let (mut future, mut collecting) = (pin!(future), pin!(self.collect_always()));
        let output = std::future::poll_fn(|cx| {
            let _ = collecting.as_mut().poll(cx);
            future.as_mut().poll(cx)
        })
        .await;
        CURRENT.set(None);
        output
    }

    async fn collect_always(&self) {
        loop {
            // An error of the wait (a full submission queue) or of the call (a signal) is over at the next try.
            let _ = self.waiting.readable(false).await;
            let _ = self.set.collect();
        }
    }
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
