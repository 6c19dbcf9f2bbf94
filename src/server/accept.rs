//! The accept loop of one core.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use monoio::net::{TcpListener, TcpStream};

use super::connection;
use crate::guard;
use crate::limits::DEADLINE_TICK_MS;
use crate::net::Conn;
use crate::net::deadline::OnExpiry;
use crate::net::listener::accept_now;
use crate::shard::Shard;
use crate::telemetry::log::{self, Value};

/// Pause after an accept that failed for want of descriptors or memory: they come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Connections taken before the core's other tasks have a turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Accepts until the process drains. What waits at the door then is served, or left to the process that has it now.
///
/// The kernel is asked *when* somebody waits; taking is a plain call. So nothing is half taken when the loop ends.
pub async fn accept_until_drained(shard: &Rc<Shard>, listener: &TcpListener) {
    let mut in_a_row = 0;
    let mut waiting = None;
    loop {
        let at_limit = shard.connections() >= connections_max(shard);
        if shard.mailbox.has_handed_over() {
            return;
        }
        if shard.mailbox.is_draining() {
            while let Ok(stream) = accept_now(listener) {
                start(shard, stream);
            }
            return;
        }
        if at_limit {
            monoio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        match accept_now(listener) {
            Ok(stream) => {
                start(shard, stream);
                in_a_row += 1;
                if in_a_row < ACCEPTS_PER_TURN {
                    continue;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Who has given up before being taken is nobody's fault.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) =>
            {
                continue;
            }
            Err(error) => pause(shard, &error).await,
        }
        in_a_row = 0;
        // The loop looks up at each tick, so that a drain is noticed without a client.
        let next = waiting.get_or_insert_with(|| Box::pin(listener.readable(false)));
        if monoio::time::timeout(Duration::from_millis(DEADLINE_TICK_MS), next).await.is_ok() {
            waiting = None;
        }
    }
}

fn connections_max(shard: &Rc<Shard>) -> usize {
    shard.view().snapshot.config.settings().server.connections_per_core
}

async fn pause(shard: &Rc<Shard>, error: &io::Error) {
    shard.metrics.accept_errors.add(1);
    log::warn("accept failed", &[("error", Value::Text(&error.to_string()))]);
    monoio::time::sleep(ACCEPT_PAUSE).await;
}

fn start(shard: &Rc<Shard>, stream: TcpStream) {
    let shard = Rc::clone(shard);
    let conn = match Conn::from_tcp(stream, &shard.deadlines) {
        Ok(conn) => conn,
        Err(error) => {
            shard.metrics.accept_errors.add(1);
            return log::warn(
                "a connection cannot be watched",
                &[("error", Value::Text(&error.to_string()))],
            );
        }
    };
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
