//! Listening sockets: one per core on the same port, the kernel spreads connections over them.

use std::io;
use std::net::SocketAddr;

use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

/// Pending connections the kernel keeps per listener; beyond it it drops SYNs and clients retry.
const BACKLOG: i32 = 4096;

/// Listeners that share one address, one for each core.
#[derive(Debug)]
pub struct Listeners {
    /// They do not block.
    pub sockets: Vec<std::net::TcpListener>,
    /// Where they listen; the port is never 0.
    pub address: SocketAddr,
}

impl Listeners {
    /// Binds `count` listeners. Done before any core starts, so that a port in use is an error at start and port 0
    /// becomes the same number for all of them.
    ///
    /// # Errors
    /// Of bind(2) and listen(2).
    pub fn bind(address: SocketAddr, count: usize) -> io::Result<Self> {
        // Without SO_REUSEPORT first: a foreign process that listens there must be noticed, even one that shares.
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
        let address = probe.local_addr()?.as_socket().unwrap_or(address);
        drop(probe);
        let mut listeners = Self { sockets: Vec::with_capacity(count), address };
        listeners.grow(count)?;
        Ok(listeners)
    }

    /// Those of another process on this machine, handed over; at least one.
    ///
    /// # Errors
    /// They are no listeners, or not of one address.
    pub fn handed(sockets: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let mut address = None;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            let own = socket.local_addr()?;
            if *address.get_or_insert(own) != own {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "listeners of different addresses"));
            }
        }
        let address = address.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { sockets, address })
    }

    /// Binds further ones until there are `count`.
    ///
    /// # Errors
    /// Of bind(2) and listen(2).
    pub fn grow(&mut self, count: usize) -> io::Result<()> {
        let mut bound = Vec::new();
        for _ in self.sockets.len()..count {
            let domain = Domain::for_address(self.address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&self.address.into())?;
            bound.push(socket);
        }
        // None listens before all are bound: the kernel gives connections to those that listen.
        for socket in bound {
            socket.listen(BACKLOG)?;
            self.sockets.push(socket.into());
        }
        Ok(())
    }

    /// Descriptors of their own for the same sockets: to be handed over, or to be closed before the sockets are.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn duplicate(&self) -> io::Result<Vec<std::net::TcpListener>> {
        self.sockets.iter().map(std::net::TcpListener::try_clone).collect()
    }
}

/// Takes a listener that does not block into this core's driver.
///
/// # Errors
/// The driver takes no more.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    let listener = TcpListener::from_std(listener)?;
    // A driver has its own idea of that.
    socket2::SockRef::from(&super::socket::Borrowed(&listener)).set_nonblocking(true)?;
    Ok(listener)
}

/// Waits for a connection and takes it.
///
/// # Errors
/// Of accept(2).
pub async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match accept_now(listener) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.readable(false).await?,
            taken => return taken,
        }
    }
}

/// Takes one connection that the kernel has completed; `WouldBlock` when there is none.
///
/// # Errors
/// Of accept(2).
pub fn accept_now(listener: &TcpListener) -> io::Result<TcpStream> {
    let borrowed = super::socket::Borrowed(listener);
    let (socket, _) = socket2::SockRef::from(&borrowed).accept()?;
    TcpStream::from_std(socket.into())
}
