//! Listening sockets: one per core on the same port, the kernel spreads connections over them.

use std::io;
use std::net::SocketAddr;

use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

/// Pending connections the kernel keeps per listener; beyond it it drops SYNs and clients retry.
const BACKLOG: i32 = 4096;

/// Binds one of several listeners that share `address`. To be called on the core that will accept.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind_with_config(
        address,
        &ListenerOpts::new().reuse_port(true).reuse_addr(true).backlog(BACKLOG),
    )
}

/// Takes one connection from the backlog of a listener that the ring is done with; `WouldBlock` when there is none.
///
/// # Errors
/// Of accept(2).
pub fn accept_now(listener: &TcpListener) -> io::Result<TcpStream> {
    let borrowed = super::conn::Borrowed(listener);
    let listener = socket2::SockRef::from(&borrowed);
    // For the ring listeners block; here nobody would ever wake us.
    listener.set_nonblocking(true)?;
    let (socket, _) = listener.accept()?;
    TcpStream::from_std(socket.into())
}

/// Claims an address before any core starts, so that a port in use is an error at start and port 0 becomes the
/// same number for all cores. The socket does not listen; it is kept until all cores have bound theirs.
pub fn reserve(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    // Without SO_REUSEPORT first: a foreign process that listens there must be noticed, even one that shares.
    let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())?;
    let bound = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let socket = Socket::new(Domain::for_address(bound), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&bound.into())?;
    Ok((socket, bound))
}
