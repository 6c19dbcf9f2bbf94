//! A provider under the test's control.
//!
//! [`MockUpstream::manual`] hands each connection of the gateway to the test, which then plays the provider step by
//! step: the order of things is the test's own, never a matter of time. [`MockUpstream::with`] plays a behaviour of
//! this room by itself, a thread per connection, and reports the requests that it met.

pub mod behaviour;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::PATIENCE;
use super::http::{Head, Message};
use super::wire::{Ending, Wire};

/// What a provider does with one connection of the gateway.
pub type Behaviour = Arc<dyn Fn(&mut Connection) + Send + Sync>;

/// A provider that listens on a port of its own.
pub struct MockUpstream {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    connections: Mutex<Receiver<Connection>>,
    requests: Mutex<Receiver<(usize, Message)>>,
    endings: Mutex<Receiver<(usize, Ending)>>,
}

/// One connection of the gateway to the provider.
pub struct Connection {
    pub wire: Wire,
    /// Index, from 0, in the order of acceptance.
    pub index: usize,
    /// Requests read so far.
    pub requests_read: usize,
    requests: Sender<(usize, Message)>,
    endings: Sender<(usize, Ending)>,
}

impl MockUpstream {
    /// A provider whose connections the test takes with [`MockUpstream::accept`].
    pub fn manual() -> Self {
        Self::listen(None)
    }

    /// A provider that does the same on every connection.
    pub fn with(behaviour: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::listen(Some(Arc::new(behaviour)))
    }

    fn listen(behaviour: Option<Behaviour>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (to_test, connections) = channel();
        let (requests_end, requests) = channel();
        let (endings_end, endings) = channel();
        let counter = Arc::clone(&accepted);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut connection = Connection {
                    wire: Wire::of(stream),
                    index: counter.fetch_add(1, Ordering::SeqCst),
                    requests_read: 0,
                    requests: requests_end.clone(),
                    endings: endings_end.clone(),
                };
                match behaviour.clone() {
                    Some(behaviour) => drop(std::thread::spawn(move || behaviour(&mut connection))),
                    None if to_test.send(connection).is_err() => return,
                    None => {}
                }
            }
        });
        Self {
            address,
            accepted,
            connections: Mutex::new(connections),
            requests: Mutex::new(requests),
            endings: Mutex::new(endings),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL for a model, with the `/v1` that most providers have.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The next connection of the gateway.
    pub fn accept(&self) -> Connection {
        self.connections.lock().unwrap().recv_timeout(PATIENCE).expect("the gateway connects")
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next request that any connection met: index of the connection, request.
    pub fn next_request(&self) -> (usize, Message) {
        self.requests.lock().unwrap().recv_timeout(PATIENCE).expect("the gateway sends a request")
    }

    /// The next connection that the gateway ended: its index, and how.
    pub fn next_ending(&self) -> (usize, Ending) {
        self.endings.lock().unwrap().recv_timeout(PATIENCE).expect("the gateway ends a connection")
    }
}

impl Connection {
    /// Reads one request whole.
    pub fn read_request(&mut self) -> Message {
        let head = self.read_head();
        let message = Message::read_body(&mut self.wire, head);
        self.report(&message);
        message
    }

    /// Reads the head of a request.
    pub fn read_head(&mut self) -> Head {
        Head::read(&mut self.wire)
    }

    fn report(&mut self, message: &Message) {
        self.requests_read += 1;
        // A test that is not interested has let go of the other end.
        let _ = self.requests.send((self.index, message.clone()));
    }

    /// Reads the next request, or notices that the gateway ended the connection.
    pub fn next_request(&mut self) -> Option<Message> {
        if self.wire.received.is_empty() {
            let deadline = std::time::Instant::now() + 4 * PATIENCE;
            match self.wire.fill(deadline) {
                Ok(1..) => {}
                Ok(0) => {
                    let _ = self.endings.send((self.index, Ending::Closed));
                    return None;
                }
                Err(_) => {
                    let _ = self.endings.send((self.index, Ending::Reset));
                    return None;
                }
            }
        }
        Some(self.read_request())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes);
    }

    /// Sends one chunk of a chunked body.
    pub fn send_chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        self.send([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat());
    }

    /// Sends the last chunk.
    pub fn end_chunks(&mut self) {
        self.send("0\r\n\r\n");
    }

    /// Sends the head of a stream of server-sent events in chunks.
    pub fn begin_stream(&mut self) {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    /// Sends a whole JSON answer.
    pub fn answer(&mut self, status: u16, body: &str) {
        self.send(behaviour::json_answer(status, body));
    }

    /// Waits until the gateway ends the connection.
    pub fn expect_closed(&mut self) -> Ending {
        self.wire.expect_closed()
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.wire.reset();
    }
}
