//! An in-memory stream between two tasks of one core: how the built-in simulated provider is reached.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::limits::PIPE_BYTES_MAX;

#[derive(Debug, Default)]
struct Direction {
    bytes: VecDeque<u8>,
    closed: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// One end of a pipe. Dropping it ends both directions.
#[derive(Debug)]
pub struct PipeEnd {
    incoming: Rc<RefCell<Direction>>,
    outgoing: Rc<RefCell<Direction>>,
}

/// Two connected ends.
pub fn pipe() -> (PipeEnd, PipeEnd) {
    let (a, b) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    (PipeEnd { incoming: Rc::clone(&a), outgoing: Rc::clone(&b) }, PipeEnd { incoming: b, outgoing: a })
}

impl PipeEnd {
    pub(super) fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if incoming.bytes.is_empty() {
            return if incoming.closed { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let mut count = 0;
        while count < buf.len() {
            let (head, _) = incoming.bytes.as_slices();
            if head.is_empty() {
                break;
            }
            let part = head.len().min(buf.len() - count);
            buf[count..count + part].copy_from_slice(&head[..part]);
            incoming.bytes.drain(..part);
            count += part;
        }
        incoming.wake_writer();
        Ok(count)
    }

    pub(super) fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = PIPE_BYTES_MAX.saturating_sub(outgoing.bytes.len());
        if room == 0 && !data.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = room.min(data.len());
        outgoing.bytes.extend(&data[..count]);
        outgoing.wake_reader();
        Ok(count)
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut incoming = self.incoming.borrow_mut();
        if !incoming.bytes.is_empty() || incoming.closed || incoming.reset {
            return Poll::Ready(());
        }
        incoming.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.closed || outgoing.bytes.len() < PIPE_BYTES_MAX {
            return Poll::Ready(());
        }
        outgoing.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn close_write(&self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.closed = true;
        outgoing.wake_reader();
    }

    /// Ends the pipe the way a connection reset does: the other end reads an error, not an end.
    pub fn reset(&self) {
        self.outgoing.borrow_mut().reset = true;
        self.close();
    }

    pub(super) fn close(&self) {
        self.close_write();
        let mut incoming = self.incoming.borrow_mut();
        incoming.closed = true;
        incoming.wake_writer();
        incoming.wake_reader();
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_the_end_after_them() {
        let (a, b) = pipe();
        assert_eq!(a.try_send(b"hello").unwrap(), 5);
        drop(a);
        let mut buf = [0; 3];
        assert_eq!(b.try_recv(&mut buf).unwrap(), 3);
        assert_eq!(&buf, b"hel");
        assert_eq!(b.try_recv(&mut buf).unwrap(), 2);
        assert_eq!(b.try_recv(&mut buf).unwrap(), 0);
    }

    #[test]
    fn a_full_pipe_makes_the_writer_wait() {
        let (a, b) = pipe();
        assert_eq!(a.try_send(&vec![1; PIPE_BYTES_MAX + 10]).unwrap(), PIPE_BYTES_MAX);
        assert_eq!(a.try_send(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut buf = [0; 10];
        b.try_recv(&mut buf).unwrap();
        assert_eq!(a.try_send(b"x").unwrap(), 1);
    }

    #[test]
    fn a_reset_is_an_error_on_the_other_end() {
        let (a, b) = pipe();
        a.reset();
        assert_eq!(b.try_recv(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
