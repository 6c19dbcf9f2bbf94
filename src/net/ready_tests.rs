//! The real kernel on both drivers: edges, ends, reused places.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, Waker};

use super::super::driver::{CoreRuntime, DriverChoice};
use super::super::socket::Socket;

/// Runs `test` on both drivers; where io_uring is refused, on epoll twice.
fn on_both(test: impl AsyncFn()) {
    for choice in [DriverChoice::Auto, DriverChoice::Epoll] {
        CoreRuntime::build(choice).unwrap().block_on(test());
    }
}

/// A watched socket and its peer.
fn pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Socket::new(OwnedFd::from(ours)).unwrap(), theirs)
}

async fn readable(socket: &Socket) {
    std::future::poll_fn(|cx| socket.poll_readable(cx)).await;
}

fn is_readable(socket: &Socket) -> bool {
    socket.poll_readable(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

#[test]
fn a_socket_is_ready_until_a_read_finds_no_more() {
    on_both(async || {
        let (socket, mut peer) = pair();
        assert!(!is_readable(&socket));
        for round in 0..3 {
            peer.write_all(b"bytes").unwrap();
            readable(&socket).await;
            assert!(is_readable(&socket), "being asked changes nothing, round {round}");
            assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 5);
            assert!(!is_readable(&socket));
        }
    });
}

#[test]
fn a_read_that_fills_its_buffer_loses_neither_the_rest_nor_the_wait() {
    on_both(async || {
        let (socket, mut peer) = pair();
        peer.write_all(b"eight by").unwrap();
        readable(&socket).await;
        assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 4);
        assert!(is_readable(&socket), "no second event tells of the rest");
        assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 4);
        assert!(!is_readable(&socket), "all were taken although the buffer was full");
        peer.write_all(b"x").unwrap();
        readable(&socket).await;
        assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_not_lost() {
    on_both(async || {
        let (socket, mut peer) = pair();
        peer.write_all(b"last").unwrap();
        drop(peer);
        readable(&socket).await;
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4);
        readable(&socket).await;
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0);
        readable(&socket).await;
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end stays");
    });
}

#[test]
fn bytes_read_before_their_event_leave_no_wait_behind() {
    on_both(async || {
        let ((socket, mut peer), (other, mut other_peer)) = (pair(), pair());
        peer.write_all(b"early").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 5);
        // The event of `socket` is older: when this one is reported, that one was too.
        other_peer.write_all(b"x").unwrap();
        readable(&other).await;
        peer.write_all(b"late").unwrap();
        readable(&socket).await;
        let mut received = 0;
        while received < 4 {
            readable(&socket).await;
            received += socket.recv(&mut [0; 8]).unwrap_or(0);
        }
        assert_eq!(received, 4);
    });
}

#[test]
fn a_full_socket_is_writable_once_the_peer_has_read() {
    on_both(async || {
        let (socket, mut peer) = pair();
        let mut sent = 0;
        while let Ok(count) = socket.send(&[7; 4096]) {
            sent += count;
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(socket.poll_writable(&mut cx).is_pending());
        peer.read_exact(&mut vec![0; sent]).unwrap();
        std::future::poll_fn(|cx| socket.poll_writable(cx)).await;
        assert_eq!(socket.send(b"x").unwrap(), 1);
    });
}

#[test]
fn a_wait_that_was_dropped_loses_nothing() {
    on_both(async || {
        let (socket, mut peer) = pair();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(std::pin::pin!(readable(&socket)).as_mut().poll(&mut cx).is_pending());
        peer.write_all(b"x").unwrap();
        readable(&socket).await;
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
    });
}

#[test]
fn an_event_of_a_closed_socket_is_not_for_its_successor() {
    on_both(async || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        // A second descriptor keeps the closed socket, and with it its event, in the kernel's list.
        let _kept = ours.try_clone().unwrap();
        let closed = Socket::new(OwnedFd::from(ours)).unwrap();
        peer.write_all(b"for the first").unwrap();
        drop(closed);
        let (successor, _silent) = pair();
        let (other, mut other_peer) = pair();
        other_peer.write_all(b"x").unwrap();
        readable(&other).await;
        assert!(!is_readable(&successor));
    });
}

#[test]
fn more_sockets_than_one_collection_takes_are_all_reported() {
    on_both(async || {
        let mut pairs: Vec<_> = (0..300).map(|_| pair()).collect();
        for (_, peer) in &mut pairs {
            peer.write_all(b"x").unwrap();
        }
        for (socket, _) in &pairs {
            readable(socket).await;
        }
    });
}

#[test]
fn a_socket_needs_a_core() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(Socket::new(OwnedFd::from(ours)).is_err());
}
