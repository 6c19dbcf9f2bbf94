//! The kernel's interest list: which sockets had an event since they were last asked for.
#![expect(unsafe_code, reason = "epoll has no safe binding in std")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Each arrival of bytes, of room and of the peer's end is reported once (edge-triggered): nothing has to be asked for
/// again after it was served.
const INTEREST: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;

/// Events taken by one call.
const BATCH: usize = 256;

/// What has happened to one socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// What the socket was added with.
    pub(super) token: u64,
    /// A read gives bytes, the end or an error.
    pub(super) readable: bool,
    /// A write takes bytes or gives an error.
    pub(super) writable: bool,
    /// The peer sends no more, or the connection is gone.
    pub(super) ended: bool,
}

impl From<libc::epoll_event> for Event {
    fn from(raw: libc::epoll_event) -> Self {
        let has = |flags: i32| raw.events & flags as u32 != 0;
        let gone = has(libc::EPOLLHUP | libc::EPOLLERR);
        let ended = gone || has(libc::EPOLLRDHUP);
        Self {
            token: raw.u64,
            readable: ended || has(libc::EPOLLIN),
            writable: gone || has(libc::EPOLLOUT),
            ended,
        }
    }
}

/// An epoll instance. Its own descriptor is readable while events wait in it.
#[derive(Debug)]
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `socket` until it is closed.
    pub(super) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: INTEREST as u32, u64: token };
        // SAFETY: `event` lives for the call, which only reads it; both descriptors are open.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Hands over what has happened, at most [`BATCH`] events; the rest waits for the next call.
    pub(super) fn collect(&self, mut handle: impl FnMut(Event)) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // SAFETY: the kernel writes at most `BATCH` events into the live array; a time-out of 0 does not block.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), BATCH as i32, 0) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        events[..count as usize].iter().for_each(|event| handle(Event::from(*event)));
        Ok(())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
