//! A TCP connection whose every wait has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use super::PATIENCE;

/// One end of a connection, with what was received and not yet taken.
pub struct Wire {
    stream: TcpStream,
    pub received: Vec<u8>,
}

/// How a connection ended, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order: end of file.
    Closed,
    /// With a reset.
    Reset,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, PATIENCE).expect("the listener is there"))
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, received: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the peer takes what is sent");
    }

    /// Sends to a peer that may have gone away already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Receives some more; 0 at the end of the stream.
    pub fn fill(&mut self, deadline: Instant) -> std::io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no more bytes came; so far: {}", text(&self.received));
        self.stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.received.extend_from_slice(&piece[..count]);
                Ok(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no more bytes came; so far: {}", text(&self.received));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(deadline),
            Err(error) => Err(error),
        }
    }

    /// Receives until `count` bytes are there and takes them.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.received.len() < count {
            let got = self.fill(deadline).expect("the connection stays");
            assert!(
                got > 0,
                "ended after {} of {count} bytes: {}",
                self.received.len(),
                text(&self.received)
            );
        }
        self.received.drain(..count).collect()
    }

    /// Receives until `mark` is there and takes everything up to its end.
    pub fn take_until(&mut self, mark: &[u8]) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            if let Some(at) = find(&self.received[looked..], mark) {
                return self.received.drain(..looked + at + mark.len()).collect();
            }
            looked = self.received.len().saturating_sub(mark.len());
            let got = self.fill(deadline).expect("the connection stays");
            assert!(got > 0, "ended before {:?}: {}", text(mark), text(&self.received));
        }
    }

    /// Receives to the end of the connection and takes everything.
    pub fn take_to_end(&mut self) -> (Vec<u8>, Ending) {
        let deadline = Instant::now() + PATIENCE;
        let ending = loop {
            match self.fill(deadline) {
                Ok(0) => break Ending::Closed,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    break Ending::Reset;
                }
                Err(error) => panic!("unexpected: {error}"),
            }
        };
        (std::mem::take(&mut self.received), ending)
    }

    /// The peer ends the connection, in order or with a reset, without another byte.
    pub fn expect_closed(&mut self) -> Ending {
        let (rest, ending) = self.take_to_end();
        assert!(rest.is_empty(), "expected the end, got: {}", text(&rest));
        ending
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        // RFC 9293, section 3.6: a close that throws received data away, or a linger of zero, is a reset.
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Bytes as text for a message, cut to a readable length.
pub fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(2_000)];
    format!("{:?} ({} bytes)", String::from_utf8_lossy(shown), bytes.len())
}
