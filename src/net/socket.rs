//! A socket: the kernel's calls, non-blocking, on borrowed buffers, and what they tell of its readiness.
#![expect(unsafe_code, reason = "std has no recv and send with flags")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll};

use monoio::net::TcpStream;

use super::ready::{self, Inbox, Registration};

/// A connected socket and what is known of its readiness.
#[derive(Debug)]
pub(super) struct Socket {
    // Before the descriptor: its place is given back while the number is still ours.
    ready: Registration,
    fd: OwnedFd,
}

impl Socket {
    /// Takes a socket over from the runtime, which made it and has no more to do with it.
    pub(super) fn from_stream(stream: TcpStream) -> io::Result<Self> {
        // SAFETY: the runtime gives the descriptor up, open and not shared with anybody.
        Self::new(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
    }

    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { ready: ready::register(fd.as_fd())?, fd })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// For its options.
    pub(super) fn options(&self) -> socket2::SockRef<'_> {
        socket2::SockRef::from(&self.fd)
    }

    /// Waits until a read would not block.
    #[inline]
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ready.inbox() == Inbox::Unsure {
            match peek(self.fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready.refused(),
                _ => self.ready.found(Inbox::Ready),
            }
        }
        self.ready.poll_readable(cx)
    }

    /// Waits until a write that was refused, or taken in part, can go on.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.poll_writable(cx)
    }

    /// Whether nothing is there to read, as far as is known without asking the kernel.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.inbox() == Inbox::Empty
    }

    #[inline]
    pub(super) fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let received = recv(self.fd(), buf);
        match &received {
            // The end and errors stay where they are: the next read shows them again.
            Ok(0) => {}
            Ok(count) if *count == buf.len() => self.ready.found(Inbox::Unsure),
            Ok(_) => self.ready.found(Inbox::Empty),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready.refused(),
            Err(_) => {}
        }
        received
    }

    #[inline]
    pub(super) fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.note_sent(send(self.fd(), data), data.len())
    }

    #[inline]
    pub(super) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let asked = parts.iter().map(|part| part.len()).sum();
        self.note_sent(send_vectored(self.fd(), parts), asked)
    }

    #[inline]
    fn note_sent(&self, sent: io::Result<usize>, asked: usize) -> io::Result<usize> {
        match &sent {
            Ok(count) if *count < asked => self.ready.filled(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready.filled(),
            _ => {}
        }
        sent
    }
}

fn result(n: isize) -> io::Result<usize> {
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Reads what is there. `Ok(0)` is the end of the stream, `WouldBlock` means nothing is there.
#[inline]
fn recv(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buf` is a live, writable region of `buf.len()` bytes for the whole call; `fd` belongs to a
    // stream that the caller keeps alive. The kernel writes at most `len` bytes.
    result(unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) })
}

/// Looks at one byte without taking it.
#[inline]
pub(super) fn peek(fd: RawFd) -> io::Result<usize> {
    let mut byte = [0u8; 1];
    // SAFETY: as for `recv`; the region is the local `byte`.
    result(unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_PEEK) })
}

/// Sends as much as the socket takes now.
#[inline]
fn send(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: `buf` is a live region of `buf.len()` bytes that the kernel only reads.
    result(unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Gathers several slices into one send.
#[inline]
fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    // SAFETY: `IoSlice` is ABI compatible with `iovec` (std's documented guarantee); the slices outlive the
    // call and `sendmsg` does not write through `msg_iov`.
    result(unsafe { libc::sendmsg(fd, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Ends both directions; whoever waits on the socket wakes at once.
pub(super) fn shutdown_both(fd: RawFd) {
    // SAFETY: no memory is involved; a stale descriptor only yields ENOTCONN or EBADF, which are ignored.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Ends the reading side only: a waiting reader sees the end of the stream, answers can still be sent.
pub(super) fn shutdown_read(fd: RawFd) {
    // SAFETY: as for `shutdown_both`.
    unsafe { libc::shutdown(fd, libc::SHUT_RD) };
}

/// Says that no more bytes will be sent.
pub(super) fn shutdown_write(fd: RawFd) {
    // SAFETY: as for `shutdown_both`.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Borrows the descriptor of a monoio socket for calls that monoio has not.
pub(super) struct Borrowed<'a, T>(pub(super) &'a T);

impl<T: AsRawFd> std::os::fd::AsFd for Borrowed<'_, T> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the socket is borrowed for the lifetime of the result and keeps its descriptor open.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
