//! Bytes of one client connection that were received and not used yet.
//!
//! A pooled buffer is held only while bytes pass through it: what has to wait for its rest waits in memory of its own
//! size, so that a thousand clients who dribble their heads cost a thousand small pieces and not a thousand buffers.

use std::io;
use std::task::{Context, Poll, ready};

use super::{Buffer, BufferPool, Conn};
use crate::limits::{EARLY_BYTES_MAX, PARKED_BYTES_MAX};

#[derive(Debug, Default)]
enum Store {
    #[default]
    Nothing,
    Lent(Buffer),
    /// Bytes that wait; the window is all of them.
    Parked(Vec<u8>),
}

/// A window into received bytes.
#[derive(Debug, Default)]
pub struct Input {
    store: Store,
    start: usize,
    end: usize,
}

impl Input {
    /// The bytes in hand.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.store {
            Store::Nothing => &[],
            Store::Lent(buffer) => &buffer[self.start..self.end],
            Store::Parked(bytes) => &bytes[self.start..self.end],
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether no more bytes fit: what is in hand fills the whole buffer.
    pub fn is_full(&self) -> bool {
        matches!(&self.store, Store::Lent(buffer) if self.end - self.start == buffer.len())
    }

    /// Marks bytes at the front as used; the buffer goes back when none are left.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.start >= self.end {
            *self = Self::default();
        }
    }

    /// Waits for more bytes. `Ok(0)` is the end of the stream, or a full buffer.
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn fill(&mut self, conn: &mut Conn, pool: &BufferPool) -> io::Result<usize> {
        loop {
            if conn.is_drained() {
                self.park();
                std::future::poll_fn(|cx| conn.poll_readable(cx)).await;
            }
            match self.read_now(conn, pool) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                other => return other,
            }
        }
    }

    /// Watches a client from which nothing is expected now. Completes when it is gone; what it sends ahead of time is
    /// taken in, and beyond [`EARLY_BYTES_MAX`] left where it is, unwatched.
    pub fn poll_gone(&mut self, conn: &mut Conn, pool: &BufferPool, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.end - self.start >= EARLY_BYTES_MAX || conn.deadline().reading_stopped() {
                return Poll::Pending;
            }
            ready!(conn.poll_data(cx));
            match self.read_now(conn, pool) {
                // The end of a side that we have closed ourselves.
                Ok(0) if conn.deadline().reading_stopped() => return Poll::Pending,
                Ok(0) => return Poll::Ready(()),
                Ok(_) => self.park(),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    fn read_now(&mut self, conn: &mut Conn, pool: &BufferPool) -> io::Result<usize> {
        let buffer = self.unpark(pool);
        let (start, mut end) = (self.start, self.end);
        let Store::Lent(bytes) = &mut self.store else { return Ok(0) };
        if end == buffer {
            bytes.copy_within(start..end, 0);
            (self.start, self.end) = (0, end - start);
            end = self.end;
            if end == buffer {
                return Ok(0);
            }
        }
        let count = conn.try_read(&mut bytes[end..]);
        if let Ok(count) = count {
            self.end += count;
        }
        if self.is_empty() {
            *self = Self::default();
        }
        count
    }

    /// Makes room for a read; returns the size of the buffer.
    fn unpark(&mut self, pool: &BufferPool) -> usize {
        if let Store::Lent(buffer) = &self.store {
            return buffer.len();
        }
        let mut buffer = pool.take();
        let waiting = self.bytes();
        let count = waiting.len();
        buffer[..count].copy_from_slice(waiting);
        let size = buffer.len();
        *self = Self { store: Store::Lent(buffer), start: 0, end: count };
        size
    }

    /// Moves a small rest into memory of its own size.
    fn park(&mut self) {
        if let Store::Lent(_) = self.store {
            let bytes = self.bytes();
            match bytes.len() {
                0 => *self = Self::default(),
                1..=PARKED_BYTES_MAX => {
                    let bytes = bytes.to_vec();
                    let end = bytes.len();
                    *self = Self { store: Store::Parked(bytes), start: 0, end };
                }
                _ => {}
            }
        }
    }
}
