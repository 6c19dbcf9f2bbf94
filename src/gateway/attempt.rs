//! One request to one provider, up to the head of its answer.

use std::rc::Rc;
use std::time::Duration;

use super::answer::{self, Answer};
use super::exchange::{Asker, Sent};
use super::failover::Turn;
use super::ledger::Ledger;
use crate::http1::Method;
use crate::limits::STALE_WINDOW_MS;
use crate::net::deadline::OnExpiry;
use crate::net::{Conn, pipe};
use crate::respond::GatewayError;
use crate::shard::{Shard, View};
use crate::simulate;
use crate::snapshot::Target;
use crate::telemetry::log::Value;
use crate::upstream::connect::Dialer;
use crate::upstream::{Lease, Pool, Scheme};

/// See [`STALE_WINDOW_MS`].
const STALE_WINDOW: Duration = Duration::from_millis(STALE_WINDOW_MS);

/// Why an attempt brought no answer.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// The attempt failed; another candidate may do better.
    Failed(GatewayError),
    /// The client is gone: nobody wants an answer.
    ClientGone,
}

impl From<GatewayError> for AttemptError {
    fn from(error: GatewayError) -> Self {
        Self::Failed(error)
    }
}

/// The bytes of a request to a provider, in order: head, then body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a> {
    /// Method of the request, for the framing of its answer.
    pub method: Method<'a>,
    /// Everything in a few pieces.
    pub parts: &'a [&'a [u8]],
}

/// Sends `wire` to `target`, whose turn it is, and waits for the head of the answer.
///
/// A pooled connection that turns out dead at once is replaced, for free: the provider had closed it before the
/// request arrived.
///
/// # Errors
/// [`AttemptError`].
pub(super) async fn send(
    exchange: &mut impl Asker,
    ledger: &mut Ledger,
    turn: Turn,
    target: &Target,
    wire: Wire<'_>,
    first_byte: Duration,
) -> Result<Answer, AttemptError> {
    ledger.asks(turn.index, turn.key);
    let pool = Rc::clone(&exchange.view().pools[target.endpoint]);
    let mut lease = match pool.lease() {
        Some(lease) => {
            exchange.shard().metrics.upstream_reuses.add(1);
            ledger.step("pooled connection taken", &[]);
            lease
        }
        None => connect(exchange, ledger, &pool, target).await?,
    };
    loop {
        ledger.sent(turn.index);
        match exchange_once(exchange, ledger, &mut lease, wire, first_byte).await {
            Ok(Some(head)) => {
                ledger.step("answer begun", &[("status", Value::Integer(u64::from(head.status)))]);
                return Ok(head.with_conn(lease.conn, pool));
            }
            // An end that comes later than a round trip may be that of a provider that has seen the request.
            Ok(None) if lease.reused && ledger.waited() < STALE_WINDOW => {
                exchange.shard().metrics.upstream_stale.add(1);
                ledger.step("pooled connection was closed", &[]);
                lease = connect(exchange, ledger, &pool, target).await?;
            }
            Ok(None) => return Err(GatewayError::UpstreamClosed(None).into()),
            Err(error) => return Err(error),
        }
    }
}

/// `None`: the connection ended before the first byte of an answer.
async fn exchange_once(
    exchange: &mut impl Asker,
    ledger: &mut Ledger,
    lease: &mut Lease,
    wire: Wire<'_>,
    first_byte: Duration,
) -> Result<Option<answer::AnswerHead>, AttemptError> {
    lease.conn.deadline().set(first_byte, OnExpiry::Close);
    match exchange.send_to_provider(&mut lease.conn, wire.parts).await {
        Ok(Sent::All) => {
            ledger.waits_for_answer();
            ledger.step("request sent", &[]);
        }
        Ok(Sent::ClientGone) => return Err(AttemptError::ClientGone),
        Ok(Sent::Answered) => {
            ledger.waits_for_answer();
            let mut head = answer::read_head(exchange, &mut lease.conn, wire.method, first_byte).await?;
            if let Some(head) = &mut head {
                // It has not read all of the request: nothing more can follow on this connection.
                head.keep_alive = false;
            }
            return Ok(head);
        }
        Err(_) if lease.conn.deadline().fired() => {
            return Err(answer::too_late(exchange.shard(), first_byte).into());
        }
        Err(_) if lease.reused => return Ok(None),
        // A provider may answer and close before it has read all (413): the answer counts.
        Err(error) => {
            return match answer::read_head(exchange, &mut lease.conn, wire.method, first_byte).await {
                Ok(Some(head)) => Ok(Some(head)),
                Ok(None) => Err(GatewayError::UpstreamClosed(Some(error)).into()),
                Err(error) => Err(error),
            };
        }
    }
    answer::read_head(exchange, &mut lease.conn, wire.method, first_byte).await
}

/// Opens a fresh connection while watching whether the client is still there.
pub(super) async fn connect(
    exchange: &mut impl Asker,
    ledger: &mut Ledger,
    pool: &Pool,
    target: &Target,
) -> Result<Lease, AttemptError> {
    let (shard, view) = (Rc::clone(exchange.shard()), Rc::clone(exchange.view()));
    let timeout = view.snapshot.config.settings().upstream.connect_timeout;
    let connecting = Box::pin(open(&shard, &view, ledger, pool, target, timeout));
    let conn = exchange.while_client_stays(connecting).await.ok_or(AttemptError::ClientGone)??;
    Ok(Lease { conn, reused: false })
}

/// Opens a fresh connection within `timeout`.
///
/// # Errors
/// None came about.
pub(super) async fn open(
    shard: &Shard,
    view: &View,
    ledger: &mut Ledger,
    pool: &Pool,
    target: &Target,
    timeout: Duration,
) -> Result<Conn, GatewayError> {
    ledger.waiting();
    let endpoint = &pool.endpoint;
    shard.metrics.upstream_connects.add(1);
    if endpoint.scheme == Scheme::Simulated {
        let Some(simulator) = &target.simulator else { return Err(GatewayError::Internal) };
        let (near, far) = pipe::pipe();
        let served = simulate::Served::new(simulator.clone(), shard.random(), 1, shard.buffers.clone());
        simulate::spawn(served, Conn::from_pipe(far, &shard.deadlines));
        let conn = Conn::from_pipe(near, &shard.deadlines);
        ledger.working();
        ledger.step("connection opened", &[]);
        return Ok(conn);
    }
    let dialer = Dialer {
        resolver: &shard.resolver,
        deadlines: &shard.deadlines,
        tls: view.snapshot.client_tls.as_ref(),
        dns_ttl: view.snapshot.config.settings().upstream.dns_ttl,
        timeout,
    };
    match dialer.connect(endpoint).await {
        Ok(mut conn) => {
            ledger.working();
            let resumed = conn.tls_resumed();
            if conn.is_tls() {
                shard.metrics.upstream_tls_handshakes.add(1);
                shard.metrics.upstream_tls_resumed.add(u64::from(resumed));
            }
            let fields = [("tls", Value::Flag(conn.is_tls())), ("resumed", Value::Flag(resumed))];
            ledger.step("connection opened", &fields);
            Ok(conn)
        }
        Err(error) => {
            shard.metrics.upstream_connect_errors.add(1);
            Err(GatewayError::Connect(error))
        }
    }
}
