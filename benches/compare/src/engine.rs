//! One epoll loop that plays both ends: the mock provider behind a proxy and the clients before it.
//!
//! Owns the sockets, the loop and its counters. Both ends share a thread on purpose: no switch between
//! two processes disturbs the CPU they share, so what is left on the other CPU is the proxy. Either end
//! can also be used alone. What is said and how it is counted lies in `server.rs` and `client.rs`.
//!
//! Costs per request on each side: one `recv`, one `send`; edge-triggered, so no re-arming.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::client::{Client, Load};
use crate::server::{Mock, Server};
use crate::sys::{self, CLOSED, Epoll, Event, READABLE, READABLE_WRITABLE, WRITABLE};

/// Events taken from the kernel at once.
const BATCH: usize = 512;
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Unfinished input of one connection. Beyond it: an error, and the connection is closed.
const CARRY_BYTES_MAX: usize = 1 << 20;
/// Unsent output of one connection. Beyond it: an error, and the connection is closed.
const UNSENT_BYTES_MAX: usize = 1 << 20;
const LISTENER_KEY: u64 = u64::MAX;

/// One socket with what has not been used or sent yet.
pub struct Link {
    stream: TcpStream,
    carry: Vec<u8>,
    unsent: Vec<u8>,
    pub key: u64,
}

/// Which end of a connection we are.
pub enum Role {
    Server(Server),
    Client(Client),
}

pub struct Conn {
    pub link: Link,
    pub role: Role,
}

/// What becomes of a connection after it was handled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Keep,
    Close,
}

impl Link {
    /// Sends `bytes`, keeping what the socket does not take. Order is kept.
    pub fn send(&mut self, epoll: &Epoll, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.unsent.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(count) => sent = count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if sent == bytes.len() {
            return Ok(());
        }
        if self.unsent.len() + bytes.len() > UNSENT_BYTES_MAX {
            return Err(io::Error::other("peer does not read"));
        }
        let armed = !self.unsent.is_empty();
        self.unsent.extend_from_slice(&bytes[sent..]);
        if armed { Ok(()) } else { epoll.modify(self.stream.as_raw_fd(), READABLE_WRITABLE, self.key) }
    }

    fn flush(&mut self, epoll: &Epoll) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match (&self.stream).write(&self.unsent) {
            Ok(count) => {
                self.unsent.drain(..count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.unsent.is_empty() {
            epoll.modify(self.stream.as_raw_fd(), READABLE, self.key)
        } else {
            Ok(())
        }
    }
}

/// What both roles may use while they handle bytes.
pub struct Shared {
    pub epoll: Epoll,
    pub mock: Mock,
    pub load: Load,
}

pub struct Engine {
    pub shared: Shared,
    listener: Option<TcpListener>,
    conns: Vec<Option<Box<Conn>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    due: Vec<(u64, u64)>,
    /// Never sleep in the kernel: for latency, so that waking this thread is not part of it.
    pub spin: bool,
}

impl Engine {
    pub fn new() -> io::Result<Self> {
        let now = sys::now_ns();
        Ok(Self {
            shared: Shared { epoll: Epoll::new()?, mock: Mock::new(now), load: Load::default() },
            listener: None,
            conns: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            events: vec![Event { events: 0, u64: 0 }; BATCH],
            buffer: vec![0; READ_BUFFER_BYTES],
            due: Vec::new(),
            spin: false,
        })
    }

    /// Starts to serve as the mock provider; port 0 picks one. Returns the port.
    pub fn listen(&mut self, port: u16) -> io::Result<u16> {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        sys::set_backlog(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        self.shared.epoll.add(listener.as_raw_fd(), READABLE, LISTENER_KEY)?;
        let port = listener.local_addr()?.port();
        self.listener = Some(listener);
        Ok(port)
    }

    /// Stops to serve new connections, so that another process can have the port.
    pub fn close_listener(&mut self) {
        self.listener = None;
    }

    /// Opens one client connection and sends its first request.
    pub fn connect(&mut self, port: u16, client: Client) -> io::Result<()> {
        let stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        let key = self.insert(stream, Role::Client(client))?;
        self.with_conn(key, |conn, shared| {
            let Role::Client(client) = &mut conn.role else { return Next::Keep };
            client.send_request(&mut conn.link, shared)
        });
        Ok(())
    }

    /// Lets every client send its next request whenever it has its answer, from now on.
    pub fn loop_requests(&mut self) {
        self.shared.load.looping = true;
        for slot in 0..self.conns.len() {
            let key = slot as u64 | u64::from(self.generations[slot]) << 32;
            self.with_conn(key, |conn, shared| match &mut conn.role {
                Role::Client(client) if client.is_idle() => client.send_request(&mut conn.link, shared),
                Role::Client(_) | Role::Server(_) => Next::Keep,
            });
        }
    }

    /// Closes every client connection, without leaving ports in TIME_WAIT.
    pub fn close_clients(&mut self) {
        for slot in 0..self.conns.len() {
            if let Some(conn) = &self.conns[slot]
                && matches!(conn.role, Role::Client(_))
            {
                sys::set_reset_on_close(&conn.link.stream);
                self.remove(slot);
            }
        }
        self.shared.load.in_flight = 0;
        self.shared.load.waiting_for_head = 0;
    }

    /// Runs the loop for `duration_ns`, or until `done` says so.
    pub fn run(&mut self, duration_ns: u64, mut done: impl FnMut(&Shared) -> bool) -> io::Result<bool> {
        let end = sys::now_ns() + duration_ns;
        loop {
            let now = sys::now_ns();
            if done(&self.shared) {
                return Ok(true);
            }
            if now >= end {
                return Ok(false);
            }
            self.turn(now, (end - now).min(10_000_000))?;
        }
    }

    fn turn(&mut self, now: u64, wait_ns: u64) -> io::Result<()> {
        let wait = if self.spin { 0 } else { self.shared.mock.wheel.wait_ns(now, wait_ns) };
        let mut events = std::mem::take(&mut self.events);
        let count = self.shared.epoll.wait(&mut events, wait)?;
        for event in &events[..count] {
            let (key, flags) = (event.u64, event.events);
            if key == LISTENER_KEY {
                self.accept()?;
            } else {
                self.ready(key, flags);
            }
        }
        self.events = events;
        self.fire_timers();
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.shared.mock.stats.accepts += 1;
                    self.insert(stream, Role::Server(Server::default()))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        self.listener = Some(listener);
        Ok(())
    }

    fn insert(&mut self, stream: TcpStream, role: Role) -> io::Result<u64> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        sys::set_plain_congestion_control(&stream);
        let slot = match self.free.pop() {
            Some(slot) => slot as usize,
            None => {
                self.conns.push(None);
                self.generations.push(0);
                self.conns.len() - 1
            }
        };
        let key = slot as u64 | u64::from(self.generations[slot]) << 32;
        self.shared.epoll.add(stream.as_raw_fd(), READABLE, key)?;
        let link = Link { stream, carry: Vec::new(), unsent: Vec::new(), key };
        self.conns[slot] = Some(Box::new(Conn { link, role }));
        Ok(key)
    }

    fn remove(&mut self, slot: usize) {
        self.conns[slot] = None;
        self.generations[slot] = self.generations[slot].wrapping_add(1) & 0x7fff_ffff;
        self.free.push(slot as u32);
    }

    /// Runs `work` on the connection of `key`, if it still lives, and closes it if told to.
    fn with_conn(&mut self, key: u64, work: impl FnOnce(&mut Conn, &mut Shared) -> Next) {
        let slot = (key & 0xffff_ffff) as usize;
        if self.generations.get(slot) != Some(&((key >> 32) as u32)) {
            return;
        }
        let Some(mut conn) = self.conns[slot].take() else { return };
        let next = work(&mut conn, &mut self.shared);
        self.conns[slot] = Some(conn);
        if next == Next::Close {
            self.remove(slot);
        }
    }

    fn ready(&mut self, key: u64, flags: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.with_conn(key, |conn, shared| {
            if flags & WRITABLE != 0 && conn.link.flush(&shared.epoll).is_err() {
                return conn.gone(shared);
            }
            conn.read(&mut buffer, flags & CLOSED != 0, shared)
        });
        self.buffer = buffer;
    }

    fn fire_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.shared.mock.wheel.expire(sys::now_ns(), &mut due);
        for (key, tick) in due.drain(..) {
            self.with_conn(key, |conn, shared| match &mut conn.role {
                Role::Server(server) => server.handle_timer(&mut conn.link, tick, shared),
                Role::Client(_) => Next::Keep,
            });
        }
        self.due = due;
    }
}

impl Conn {
    /// Reads until the socket is drained. A read that does not fill the buffer has drained it, unless the
    /// peer closed: then the end has to be read as well.
    fn read(&mut self, buffer: &mut [u8], closed: bool, shared: &mut Shared) -> Next {
        loop {
            match (&self.link.stream).read(buffer) {
                Ok(0) => return self.gone(shared),
                Ok(count) => {
                    if self.handle(&buffer[..count], shared) == Next::Close {
                        return Next::Close;
                    }
                    if count < buffer.len() && !closed {
                        return Next::Keep;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(_) => return self.gone(shared),
            }
        }
    }

    fn gone(&mut self, shared: &mut Shared) -> Next {
        match &mut self.role {
            Role::Server(server) => server.handle_gone(shared),
            Role::Client(client) => client.handle_gone(shared),
        }
        Next::Close
    }

    /// Hands new bytes, behind what was left of earlier ones, to the role and keeps what it did not use.
    fn handle(&mut self, fresh: &[u8], shared: &mut Shared) -> Next {
        if self.link.carry.is_empty() {
            let (used, next) = self.consume(fresh, shared);
            self.link.carry.extend_from_slice(&fresh[used..]);
            return next;
        }
        let mut carry = std::mem::take(&mut self.link.carry);
        carry.extend_from_slice(fresh);
        let (used, next) = self.consume(&carry, shared);
        carry.drain(..used);
        let too_long = carry.len() > CARRY_BYTES_MAX;
        self.link.carry = carry;
        if too_long { self.gone(shared) } else { next }
    }

    fn consume(&mut self, bytes: &[u8], shared: &mut Shared) -> (usize, Next) {
        match &mut self.role {
            Role::Server(server) => server.handle_bytes(&mut self.link, bytes, shared),
            Role::Client(client) => client.handle_bytes(&mut self.link, bytes, shared),
        }
    }
}
