//! One byte stream, plain or TLS, over a socket or a pipe.
//!
//! Readiness is kept beside the socket (`net::ready`), not in the futures that wait for it: any of them can be dropped.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use monoio::net::TcpStream;

use super::deadline::{DeadlineSlot, Deadlines, End, OnExpiry};
use super::pipe::PipeEnd;
use super::socket::{self, Socket};
use super::tls::TlsSession;

enum Link {
    Tcp(Socket),
    Pipe(Rc<PipeEnd>),
}

/// Most slices that one gathered write takes.
const GATHER_MAX: usize = 8;

/// A connection of this core.
pub struct Conn {
    link: Link,
    tls: Option<Box<TlsSession>>,
    /// Nothing was left to read at the last call: wait before asking the socket again.
    drained: bool,
    /// To be closed without a word: the peer is meant to see a reset.
    aborted: bool,
    slot: Rc<DeadlineSlot>,
    write_timeout: Option<Duration>,
    /// Whether anything was sent since the last call of `take_wrote`.
    wrote: bool,
}

impl Conn {
    /// Takes over an accepted or connected socket. Small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The kernel does not watch it (epoll_ctl(2)): it is out of memory or at its limit of watched sockets.
    pub fn from_tcp(stream: TcpStream, deadlines: &Deadlines) -> io::Result<Self> {
        let socket = Socket::from_stream(stream)?;
        // A failure leaves Nagle's algorithm on: slower, not wrong.
        let _ = socket.options().set_tcp_nodelay(true);
        let slot = deadlines.slot();
        slot.bind(End::Socket(socket.fd()));
        Ok(Self::new(Link::Tcp(socket), slot))
    }

    /// Takes over one end of an in-memory pipe.
    pub fn from_pipe(end: PipeEnd, deadlines: &Deadlines) -> Self {
        let end = Rc::new(end);
        let slot = deadlines.slot();
        slot.bind(End::Pipe(Rc::downgrade(&end)));
        Self::new(Link::Pipe(end), slot)
    }

    fn new(link: Link, slot: Rc<DeadlineSlot>) -> Self {
        Self { link, tls: None, drained: false, aborted: false, slot, write_timeout: None, wrote: false }
    }

    /// The deadline of this connection.
    #[inline]
    pub fn deadline(&self) -> &DeadlineSlot {
        &self.slot
    }

    /// Longest time that a blocked write waits for the peer. Without it the deadline slot is left alone.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    /// Lets the kernel acknowledge what was read a little later, by every second segment (`TCP_QUICKACK`, tcp(7)).
    ///
    /// Of a stream of small pieces the kernel acknowledges each one otherwise, in a segment of its own. It returns to
    /// that by itself once nothing comes for 40 ms after a piece, so a peer that waits for acknowledgements (Nagle's
    /// algorithm) is held up once a stream at most.
    pub fn delay_acknowledgements(&self) {
        if let Link::Tcp(socket) = &self.link {
            // A refusal leaves an acknowledgement for each read: dearer, not wrong.
            let _ = socket.options().set_tcp_quickack(false);
        }
    }

    /// Forgets what was sent so far; see [`Conn::wrote`].
    pub fn reset_wrote(&mut self) {
        self.wrote = false;
    }

    /// Whether anything was sent since [`Conn::reset_wrote`]: then the status of an answer cannot change any more.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// Address of the peer, for the log.
    pub fn peer_address(&self) -> Option<std::net::SocketAddr> {
        match &self.link {
            Link::Tcp(socket) => socket.options().peer_addr().ok()?.as_socket(),
            Link::Pipe(_) => None,
        }
    }

    pub(super) fn set_tls(&mut self, session: TlsSession) {
        self.tls = Some(Box::new(session));
    }

    pub(super) fn tls_mut(&mut self) -> Option<&mut TlsSession> {
        self.tls.as_deref_mut()
    }

    /// Whether bytes travel encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    // --- reading

    /// Waits until a read would not block.
    #[inline]
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tls.as_mut().is_some_and(|tls| tls.has_plaintext()) {
            return Poll::Ready(());
        }
        match &self.link {
            Link::Pipe(end) => return end.poll_readable(cx),
            Link::Tcp(socket) => ready!(socket.poll_readable(cx)),
        }
        self.drained = false;
        Poll::Ready(())
    }

    /// Waits until a read would give bytes of the peer, its end or an error. Records of TLS itself, such as tickets,
    /// do not count.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_readable(cx));
            let Some(tls) = &mut self.tls else { return Poll::Ready(()) };
            match tls.peek(&mut RawIo(&self.link)) {
                Err(error) if is_wait(&error) => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Whether the last read took all there was: the next bytes have to be waited for.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Reads what is there now. `Ok(0)` is the end of the stream.
    #[inline]
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut raw = RawIo(&self.link);
        let read = match &mut self.tls {
            None => raw.recv(buf),
            Some(tls) => tls.try_read(&mut raw, buf),
        };
        match &read {
            // A short read took all there was; the next try would only be refused.
            Ok(count) => self.drained = self.tls.is_none() && *count < buf.len(),
            Err(error) => self.drained = error.kind() == io::ErrorKind::WouldBlock,
        }
        read
    }

    /// Waits for bytes and reads them. `Ok(0)` is the end of the stream, also one made by a passed deadline.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.drained {
                match self.try_read(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    other => return other,
                }
            }
            std::future::poll_fn(|cx| self.poll_readable(cx)).await;
            self.drained = false;
        }
    }

    /// Whether an idle connection can be used again: its peer has neither closed it nor sent anything.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.poll_readable(&mut cx).is_pending()
    }

    // --- writing

    /// Sends all of `data`, waiting for a slow peer as long as the write timeout allows.
    #[inline]
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.wrote = true;
        let sent = match &mut self.tls {
            None => match RawIo(&self.link).send(data) {
                Ok(sent) if sent == data.len() => return Ok(()),
                Ok(sent) => sent,
                Err(error) if is_wait(&error) => 0,
                Err(error) => return Err(error),
            },
            Some(_) => 0,
        };
        Box::pin(self.write_slowly(&data[sent..])).await
    }

    /// Sends `parts` in order, in one system call where the socket takes them all.
    pub async fn write_parts(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.wrote = true;
        let mut sent = 0;
        if self.tls.is_none() && parts.len() <= GATHER_MAX {
            let mut slices = [IoSlice::new(&[]); GATHER_MAX];
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            match RawIo(&self.link).send_vectored(&slices[..parts.len()]) {
                Ok(count) => sent = count,
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for part in parts {
            let skipped = sent.min(part.len());
            sent -= skipped;
            if skipped < part.len() {
                Box::pin(self.write_slowly(&part[skipped..])).await?;
            }
        }
        Ok(())
    }

    async fn write_slowly(&mut self, mut data: &[u8]) -> io::Result<()> {
        let mut waited = false;
        let result = loop {
            match self.try_write(data) {
                Ok(count) => {
                    data = &data[count..];
                    if data.is_empty() && !self.has_unsent() {
                        break Ok(());
                    }
                    if count > 0 {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_wait(&error) => {}
                Err(error) => break Err(error),
            }
            if let Some(timeout) = self.write_timeout {
                // Each write that made progress starts the time anew: slow is allowed, stuck is not.
                self.slot.set(timeout, OnExpiry::Close);
                waited = true;
            }
            std::future::poll_fn(|cx| self.poll_writable(cx)).await;
        };
        if waited {
            self.slot.clear();
        }
        result
    }

    /// Sends what the socket takes now. `WouldBlock`, or 0 with [`Conn::has_unsent`], means that it is full.
    pub fn try_write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.wrote = true;
        let mut raw = RawIo(&self.link);
        match &mut self.tls {
            None if data.is_empty() => Ok(0),
            None => raw.send(data),
            Some(tls) => tls.try_write(&mut raw, data),
        }
    }

    /// Whether encrypted bytes still wait for room in the socket.
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Waits for room in the socket.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.link {
            Link::Tcp(socket) => socket.poll_writable(cx),
            Link::Pipe(end) => end.poll_writable(cx),
        }
    }

    // --- TLS hand-shake plumbing

    /// Drives the hand-shake of a session that was just attached.
    pub(super) async fn complete_handshake(&mut self) -> io::Result<()> {
        loop {
            let mut raw = RawIo(&self.link);
            let Some(tls) = &mut self.tls else { return Ok(()) };
            match tls.handshake_step(&mut raw)? {
                super::tls::Step::Done => return Ok(()),
                super::tls::Step::Read => std::future::poll_fn(|cx| self.poll_raw_readable(cx)).await,
                super::tls::Step::Write => std::future::poll_fn(|cx| self.poll_writable(cx)).await,
            }
        }
    }

    fn poll_raw_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let tls = self.tls.take();
        let polled = self.poll_readable(cx);
        self.tls = tls;
        polled
    }

    // --- ending

    /// Says goodbye and waits for the peer's end, so that an answer sent just before is not destroyed by the reset
    /// that unread bytes would cause (RFC 9112 section 9.6). `linger` is the longest silence; the bytes are bounded.
    pub async fn close_gracefully(mut self, linger: Duration) {
        self.slot.set(linger, OnExpiry::Close);
        self.send_close_notify();
        match &self.link {
            Link::Tcp(socket) => socket::shutdown_write(socket.fd()),
            Link::Pipe(end) => end.close_write(),
        }
        let mut discarded = vec![0u8; 4096];
        let mut budget = crate::limits::LINGER_BYTES_MAX;
        // The bytes are not looked at; encrypted ones need not be decrypted for that.
        self.tls = None;
        while let Ok(count @ 1..) = self.read(&mut discarded).await {
            let Some(left) = budget.checked_sub(count) else { break };
            budget = left;
            self.slot.set(linger, OnExpiry::Close);
        }
    }

    fn send_close_notify(&mut self) {
        let mut raw = RawIo(&self.link);
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify(&mut raw);
        }
    }

    /// Makes the peer see a reset instead of an end.
    pub fn reset(mut self) {
        match &self.link {
            Link::Pipe(end) => end.reset(),
            // A linger of zero turns the close into an RST (`SO_LINGER`, socket(7)).
            Link::Tcp(socket) => self.aborted = socket.options().set_linger(Some(Duration::ZERO)).is_ok(),
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.aborted {
            return;
        }
        self.send_close_notify();
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.link {
            Link::Tcp(_) => "tcp",
            Link::Pipe(_) => "pipe",
        };
        f.debug_struct("Conn").field("link", &kind).field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The undecorated stream below TLS.
pub(super) struct RawIo<'a>(&'a Link);

impl RawIo<'_> {
    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            Link::Tcp(socket) => socket.recv(buf),
            Link::Pipe(end) => end.try_recv(buf),
        }
    }

    #[inline]
    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.0 {
            Link::Tcp(socket) => socket.send(data),
            Link::Pipe(end) => end.try_send(data),
        }
    }

    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0 {
            Link::Tcp(socket) => socket.send_vectored(parts),
            Link::Pipe(end) => {
                let mut total = 0;
                for part in parts {
                    match end.try_send(part) {
                        Ok(count) if count == part.len() => total += count,
                        Ok(count) => return Ok(total + count),
                        Err(error) if total == 0 => return Err(error),
                        Err(_) => return Ok(total),
                    }
                }
                Ok(total)
            }
        }
    }
}

impl io::Read for RawIo<'_> {
    /// For TLS, which reads until it is refused: what is known to be refused does not ask the kernel.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if matches!(self.0, Link::Tcp(socket) if socket.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.recv(buf)
    }
}

impl io::Write for RawIo<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.send(data)
    }
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(parts)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::{CoreRuntime, DriverChoice};
    use super::*;

    #[test]
    fn acknowledgements_are_delayed_on_request() {
        for choice in [DriverChoice::Auto, DriverChoice::Epoll] {
            CoreRuntime::build(choice).unwrap().block_on(async {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let stream = TcpStream::from_std(stream).unwrap();
                let conn = Conn::from_tcp(stream, &Deadlines::default()).unwrap();
                let Link::Tcp(socket) = &conn.link else { unreachable!("it was made from a socket") };
                assert!(socket.options().tcp_quickack().unwrap(), "the kernel's default");
                conn.delay_acknowledgements();
                assert!(!socket.options().tcp_quickack().unwrap());
            });
        }
    }
}
