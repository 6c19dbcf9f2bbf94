//! One client connection: request after request, until somebody ends it.
//!
//! ```text
//! Idle ──first byte──▶ Head ──complete──▶ Exchange ──keep-alive──▶ Idle
//!   └─time-out: close    └─time-out: 408     └─close: linger, then close
//! ```

use std::future::Future;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::clock;
use crate::dialect::Dialect;
use crate::endpoints::{self, Admitted, Arrival, Recall};
use crate::gateway::{self, After, Client, Exchange};
use crate::guard::{Guard, guard, pinned};
use crate::http1::{HeadError, HeadProgress, RequestSlots, parse_request};
use crate::limits::{PROOF_WAIT_MS, REQUESTS_PER_TURN};
use crate::net::deadline::OnExpiry;
use crate::net::{Conn, Input};
use crate::respond::GatewayError;
use crate::shard::{Shard, View};
use crate::telemetry::log::{self, Value};

/// How long a closing connection waits for the client to take the answer and close.
const LINGER: Duration = Duration::from_secs(2);

/// What came of waiting for a request.
enum Next {
    Admitted(Rc<View>, Admitted),
    Refused(GatewayError),
    Closed,
}

/// Serves `conn` to its end.
pub async fn run(shard: &Rc<Shard>, mut conn: Conn) {
    let (mut input, mut recall, mut in_a_row) = (Input::default(), Recall::default(), 0);
    let mut idle = OnExpiry::StopFresh;
    loop {
        let (view, admitted) = match next_request(shard, &mut conn, &mut input, &mut recall, idle).await {
            Next::Admitted(view, admitted) => (view, admitted),
            Next::Closed => return,
            Next::Refused(error) => {
                Box::pin(refuse(shard, &mut conn, &error)).await;
                return Box::pin(conn.close_gracefully(LINGER)).await;
            }
        };
        idle = OnExpiry::StopIdle;
        let client = admitted.client;
        conn.reset_wrote();
        let served = serve_guarded(shard, view, &mut conn, &mut input, admitted).await;
        match served {
            Ok(After::KeepAlive) => {
                // A client that pipelines without end must not keep the others waiting.
                in_a_row += 1;
                if in_a_row == REQUESTS_PER_TURN {
                    in_a_row = 0;
                    yield_now().await;
                }
            }
            Ok(After::Close) => return Box::pin(conn.close_gracefully(LINGER)).await,
            Ok(After::Abort) => return,
            Ok(After::Reset) => return conn.reset(),
            Err(panic) => {
                shard.metrics.panics.add(1);
                log::error("a request panicked", &[("panic", Value::Text(&panic))]);
                if !conn.wrote() {
                    Box::pin(refuse_client(shard, &mut conn, &client, &GatewayError::Internal)).await;
                }
                return Box::pin(conn.close_gracefully(LINGER)).await;
            }
        }
    }
}

/// Lets the core's other tasks and its I/O have a turn.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// One exchange in a box of its own, made outside of the connection's task, which stays small that way.
fn serve_guarded<'a>(
    shard: &'a Rc<Shard>,
    view: Rc<View>,
    conn: &'a mut Conn,
    input: &'a mut Input,
    admitted: Admitted,
) -> Guard<impl Future<Output = After> + 'a> {
    guard(pinned(|| async move {
        let framing = admitted.framing;
        let mut exchange = Exchange::new(shard, view, conn, input, framing);
        endpoints::serve(&mut exchange, admitted).await
    }))
}

/// Waits for the next head and admits it. `idle` is what ends the wait for its first byte.
async fn next_request(
    shard: &Rc<Shard>,
    conn: &mut Conn,
    input: &mut Input,
    recall: &mut Recall,
    idle: OnExpiry,
) -> Next {
    let mut progress = HeadProgress::default();
    let (mut waiting_idle, mut head_timed) = (input.is_empty(), false);
    loop {
        if !input.is_empty() && progress.worth_parsing(input.bytes()) {
            match judge(shard, input, recall) {
                Judged::Incomplete => {}
                Judged::Malformed(error) => return Next::Refused(GatewayError::Head(error)),
                Judged::Head(view, admitted) => {
                    conn.deadline().clear();
                    if !admitted.is_unproven() {
                        return Next::Admitted(view, admitted);
                    }
                    if !Box::pin(prove(shard, &view, recall)).await {
                        return Next::Refused(GatewayError::Busy);
                    }
                    progress = HeadProgress::default();
                    continue;
                }
            }
        }
        if waiting_idle {
            if idle == OnExpiry::StopIdle && shard.mailbox.is_draining() {
                return Next::Closed;
            }
            let timeout = shard.view().snapshot.config.settings().server.keep_alive_timeout;
            conn.deadline().set(timeout, idle);
        } else if !head_timed {
            // The time for a head counts from its first byte, whatever trickles in after it.
            head_timed = true;
            let timeout = shard.view().snapshot.config.settings().server.head_timeout;
            conn.deadline().set(timeout, OnExpiry::StopReading);
        }
        match input.fill(conn, &shard.buffers).await {
            Ok(1..) => {
                if waiting_idle {
                    waiting_idle = false;
                    conn.deadline().clear();
                }
            }
            Ok(0) if !input.is_empty() && conn.deadline().fired() => {
                let stopped = shard.is_cut();
                return Next::Refused(if stopped {
                    GatewayError::Stopped
                } else {
                    GatewayError::HeadTimeout
                });
            }
            Ok(0) if input.is_full() => return Next::Refused(GatewayError::Head(HeadError::HeadTooLong)),
            Ok(0) | Err(_) => return Next::Closed,
        }
    }
}

/// What the bytes in hand are.
enum Judged {
    Incomplete,
    Malformed(HeadError),
    Head(Rc<View>, Admitted),
}

/// Admits the request whose head is in hand. The head stays there where its token has to be verified first.
fn judge(shard: &Rc<Shard>, input: &mut Input, recall: &mut Recall) -> Judged {
    let view = shard.view();
    let arrival = arrival(shard);
    if let Some((admitted, head_bytes)) = recall.admit(&view, input.bytes(), arrival) {
        input.consume(head_bytes);
        return Judged::Head(view, admitted);
    }
    let mut slots = RequestSlots::new();
    let head = match parse_request(input.bytes(), &mut slots) {
        Ok(None) => return Judged::Incomplete,
        Err(error) => return Judged::Malformed(error),
        Ok(Some(head)) => head,
    };
    let admitted = endpoints::admit(&view, input.bytes(), &head, recall, arrival);
    let head_bytes = head.head_bytes;
    if !admitted.is_unproven() {
        input.consume(head_bytes);
    }
    Judged::Head(view, admitted)
}

/// Has the connection's token verified; `false` when that would take too long.
async fn prove(shard: &Shard, view: &View, recall: &Recall) -> bool {
    let Some(reply) = recall.prove(view, &shard.prover, clock::unix_ms()) else { return false };
    monoio::time::timeout(Duration::from_millis(PROOF_WAIT_MS), reply.wait()).await.is_ok()
}

/// The moment at which the head that was just received may be complete.
fn arrival(shard: &Shard) -> Arrival {
    let at = clock::now();
    let unix_ms = shard.unix_ms(at);
    Arrival { at, unix_ms, trace: shard.trace_id(unix_ms) }
}

/// Answers a head that is no request.
async fn refuse(shard: &Rc<Shard>, conn: &mut Conn, error: &GatewayError) {
    let client = Client {
        trace: arrival(shard).trace,
        dialect: Dialect::OpenAiChat,
        http10: false,
        keep_alive: false,
        is_head: false,
        cross_origin: false,
    };
    refuse_client(shard, conn, &client, error).await;
}

async fn refuse_client(shard: &Rc<Shard>, conn: &mut Conn, client: &Client, error: &GatewayError) {
    endpoints::log_refusal(shard, client, error);
    let mut out = shard.take_head();
    gateway::write_error(&mut out, client, error, false);
    // The connection ends either way.
    let _ = conn.write_all(&out).await;
    shard.give_back_head(out);
}
