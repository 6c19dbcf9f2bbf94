//! The accept loop of one core.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use monoio::net::{TcpListener, TcpStream};

use super::connection;
use crate::guard;
use crate::net::Conn;
use crate::net::deadline::OnExpiry;
use crate::shard::Shard;
use crate::telemetry::log::{self, Value};

/// Pause after an accept that failed for want of descriptors or memory: they come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<(TcpStream, SocketAddr)>> + 'a>>;

/// Accepts until the process drains.
pub async fn accept_until_drained(shard: &Rc<Shard>, listener: &TcpListener) {
    let mut accepting: Option<Accepting<'_>> = None;
    loop {
        if shard.mailbox.is_draining() {
            // What the kernel has completed for us is served; only then is the door closed.
            if let Some(Ok((stream, _))) = is_ready(accepting.take()) {
                start(shard, stream);
            }
            for stream in backlog(listener) {
                start(shard, stream);
            }
            return;
        }
        if shard.connections() >= shard.view().snapshot.config.settings().server.connections_per_core {
            monoio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        let next = accepting.get_or_insert_with(|| Box::pin(listener.accept()));
        // The loop looks up at each tick, so that a drain is noticed without a client.
        match monoio::time::timeout(Duration::from_millis(crate::limits::DEADLINE_TICK_MS), next).await {
            Err(_elapsed) => {}
            Ok(accepted) => {
                accepting = None;
                match accepted {
                    Ok((stream, _)) => start(shard, stream),
                    Err(error) => pause(shard, &error).await,
                }
            }
        }
    }
}

/// The accept that is under way, if it has completed.
fn is_ready(accepting: Option<Accepting<'_>>) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    let mut next = accepting?;
    match next.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(accepted) => Some(accepted),
        Poll::Pending => None,
    }
}

/// Connections that wait in the backlog, taken without the ring, which would only report them later.
fn backlog(listener: &TcpListener) -> impl Iterator<Item = TcpStream> {
    std::iter::from_fn(|| crate::net::listener::accept_now(listener).ok())
}

async fn pause(shard: &Rc<Shard>, error: &io::Error) {
    shard.metrics.accept_errors.add(1);
    log::warn("accept failed", &[("error", Value::Text(&error.to_string()))]);
    monoio::time::sleep(ACCEPT_PAUSE).await;
}

fn start(shard: &Rc<Shard>, stream: TcpStream) {
    let shard = Rc::clone(shard);
    let conn = Conn::from_tcp(stream, &shard.deadlines);
    // Counted here and not in the task: the accept loop compares with the limit before the task first runs.
    let open = shard.connection_opened();
    monoio::spawn(async move {
        let _open = open;
        if let Err(panic) = guard::guard(Box::pin(serve(&shard, conn))).await {
            shard.metrics.panics.add(1);
            log::error("a connection task panicked", &[("panic", Value::Text(&panic))]);
        }
    });
}

async fn serve(shard: &Rc<Shard>, mut conn: Conn) {
    let view = shard.view();
    conn.set_write_timeout(Some(view.snapshot.config.settings().server.write_timeout));
    if let Some(identity) = &view.snapshot.server_tls {
        conn.deadline().set(view.snapshot.config.settings().server.head_timeout, OnExpiry::Close);
        // Boxed, so that plain connections carry no room for a hand-shake.
        if let Err(error) = Box::pin(conn.accept_tls(identity)).await {
            shard.metrics.tls_failures.add(1);
            log::debug("TLS hand-shake failed", &[("error", Value::Text(&error.to_string()))]);
            return;
        }
        conn.deadline().clear();
    }
    drop(view);
    connection::run(shard, conn).await;
}
