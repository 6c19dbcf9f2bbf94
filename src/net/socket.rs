//! The kernel's socket calls, non-blocking, on borrowed buffers.
#![expect(unsafe_code, reason = "recv, send and shutdown on a raw descriptor: the std types would own it")]

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

fn result(n: isize) -> io::Result<usize> {
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Reads what is there. `Ok(0)` is the end of the stream, `WouldBlock` means nothing is there.
#[inline]
pub(super) fn recv(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
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
pub(super) fn send(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: `buf` is a live region of `buf.len()` bytes that the kernel only reads.
    result(unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Gathers several slices into one send.
#[inline]
pub(super) fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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
