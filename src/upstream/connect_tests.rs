//! Addresses that answer, refuse and say nothing, on both drivers.

use std::net::{SocketAddr, TcpListener, TcpStream as StdStream};

use super::*;
use crate::net::driver::{CoreRuntime, DriverChoice};

/// Runs on both drivers; twice on epoll where the kernel refuses io_uring.
fn on_both(test: impl AsyncFn()) {
    for choice in [DriverChoice::Epoll, DriverChoice::Auto] {
        CoreRuntime::build(choice).unwrap().block_on(test());
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address at which nobody listens.
fn refusing() -> SocketAddr {
    listener().1
}

/// An address that answers nothing, because its queue is full; it does so as long as the sockets live.
fn silent() -> (SocketAddr, socket2::Socket, Vec<StdStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let wait = Duration::from_millis(100);
    let queued = std::iter::from_fn(|| StdStream::connect_timeout(&address, wait).ok()).collect();
    (address, socket, queued)
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    on_both(async || {
        let (listener, address) = listener();
        let stream = race(&[refusing(), refusing(), address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        listener.accept().unwrap();
    });
}

#[test]
fn the_next_address_is_tried_beside_one_that_says_nothing() {
    let (silent, _socket, _queued) = silent();
    on_both(async || {
        let (_listener, address) = listener();
        let stream = race(&[silent, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    });
}

#[test]
fn the_last_refusal_is_told_when_all_refuse() {
    on_both(async || {
        let error = race(&[refusing(), refusing()]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race(&[]).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn a_connection_that_does_not_come_about_is_given_up_in_time() {
    let (silent, _socket, _queued) = silent();
    let threads = crate::upstream::ResolverThreads::start_with(|_| Err("asked".to_owned())).unwrap();
    let endpoint =
        Endpoint { scheme: Scheme::Http, host: "127.0.0.1".into(), port: silent.port(), proxy: None };
    on_both(async || {
        let (resolver, deadlines) = (Resolver::new(threads.clone()), Deadlines::default());
        let timeout = Duration::from_millis(20);
        let dialer =
            Dialer { resolver: &resolver, deadlines: &deadlines, tls: None, dns_ttl: timeout, timeout };
        let error = dialer.connect(&endpoint).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { after } if after == timeout), "{error}");
    });
}
