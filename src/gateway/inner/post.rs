//! One request of the gateway's own, and its whole answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::{Asking, Caller};
use crate::clock;
use crate::dialect::Dialect;
use crate::gateway::answer::{self, AnswerHead, HeadReader, Progress};
use crate::gateway::attempt;
use crate::gateway::exchange::{Sent, send_watching};
use crate::gateway::ledger::Ledger;
use crate::gateway::source::{Fault, Source, Span};
use crate::gateway::translated;
use crate::http1::{Method, retry_after};
use crate::limits::{ANSWER_HEADROOM_BYTES, ANSWER_TAILROOM_BYTES, INNER_ANSWER_BYTES_MAX, STALE_WINDOW_MS};
use crate::net::Conn;
use crate::net::deadline::OnExpiry;
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::upstream::Lease;

/// See [`STALE_WINDOW_MS`].
const STALE_WINDOW: Duration = Duration::from_millis(STALE_WINDOW_MS);

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    /// The provider's status.
    pub status: u16,
    /// Its body, at most [`INNER_ANSWER_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
    /// When the provider wants to be asked again, by the head.
    pub retry_after: Option<Duration>,
}

impl Asking<'_> {
    /// Sends `body` to the model whose turn it is, behind the head of `call` in `dialect`, and reads the answer. A pooled
    /// connection that turns out dead is replaced once, for free.
    ///
    /// What is sent is an open attempt of `ledger`, for the caller to settle; a failure is settled here.
    ///
    /// # Errors
    /// No whole answer came in time.
    pub(super) async fn post(
        &mut self,
        ledger: &mut Ledger,
        call: Call,
        dialect: Dialect,
        body: &[u8],
    ) -> Result<Whole, GatewayError> {
        let (turn, target) = self.turn()?;
        let caller = self.caller;
        let mut head = caller.shard.take_head();
        head.extend_from_slice(target.keys[turn.key].head(call));
        translated::end_head(&mut head, target, dialect, false, body.len());
        ledger.uses_key(turn.key);
        let answered = caller.try_post(ledger, turn.index, &[&head, body]).await;
        caller.shard.give_back_head(head);
        self.learn(dialect, &answered);
        if let Err(error) = &answered {
            ledger.attempt_failed(error);
        }
        answered
    }
}

impl Caller<'_> {
    async fn try_post(
        &self,
        ledger: &mut Ledger,
        index: usize,
        parts: &[&[u8]],
    ) -> Result<Whole, GatewayError> {
        ledger.tries(index);
        let target = self.target(index);
        let pool = Rc::clone(&self.view.pools[target.endpoint]);
        let mut lease = match pool.lease() {
            Some(lease) => {
                self.shard.metrics.upstream_reuses.add(1);
                lease
            }
            None => Lease { conn: self.connect(ledger, index).await?, reused: false },
        };
        loop {
            ledger.sent(index);
            lease.conn.deadline().set(self.left()?, OnExpiry::Close);
            match self.ask(ledger, &mut lease, parts).await? {
                Some((head, reusable)) => {
                    ledger.answered(head.status);
                    let status = head.status;
                    let retry_after =
                        (status >= 400).then(|| retry_after(&head.fields, clock::unix_ms() / 1_000));
                    let mut source =
                        Source::new(lease.conn, Rc::clone(&pool), head.framing, head.keep_alive && reusable);
                    let body = self.read_body(&mut source, head).await?;
                    if source.reusable {
                        pool.give_back(source.conn, self.shard.tick_ms());
                    }
                    return Ok(Whole { status, body, retry_after: retry_after.flatten() });
                }
                None if lease.reused && ledger.waited() < STALE_WINDOW => {
                    self.shard.metrics.upstream_stale.add(1);
                    lease = Lease { conn: self.connect(ledger, index).await?, reused: false };
                }
                None => return Err(GatewayError::UpstreamClosed(None)),
            }
        }
    }

    async fn connect(&self, ledger: &mut Ledger, index: usize) -> Result<Conn, GatewayError> {
        let target = self.target(index);
        let timeout = self.view.snapshot.config.settings().upstream.connect_timeout.min(self.left()?);
        let pool = &self.view.pools[target.endpoint];
        Box::pin(attempt::open(self.shard, self.view, ledger, pool, target, timeout)).await
    }

    /// The head of the answer, and whether the provider had read all of the request before it; `None` when the
    /// connection ended before the first byte of one.
    async fn ask(
        &self,
        ledger: &mut Ledger,
        lease: &mut Lease,
        parts: &[&[u8]],
    ) -> Result<Option<(AnswerHead, bool)>, GatewayError> {
        let sent = send_watching(&mut lease.conn, parts, |_| Poll::Pending).await;
        ledger.waits_for_answer();
        let late = || answer::too_late(self.shard, self.timeout);
        let whole = match sent {
            Ok(sent) => sent == Sent::All,
            Err(_) if lease.conn.deadline().fired() => return Err(late()),
            Err(_) if lease.reused => return Ok(None),
            // A provider may answer and close before it has read all (413): the answer counts.
            Err(_) => false,
        };
        let mut reader = HeadReader::default();
        loop {
            poll_fn(|cx| lease.conn.poll_data(cx)).await;
            match reader.advance(self.shard, &mut lease.conn, Method::Post, self.timeout)? {
                Progress::Head(head) => return Ok(Some((head, whole))),
                Progress::Closed => return Ok(None),
                Progress::Wait => {}
            }
        }
    }

    async fn read_body(&self, source: &mut Source, head: AnswerHead) -> Result<Vec<u8>, GatewayError> {
        let AnswerHead { fields, mut buffer, start, end, .. } = head;
        self.shard.give_back_head(fields);
        let mut span = Span { start, end: start };
        source.absorb(&mut buffer, start, end, &mut span, false).map_err(broken)?;
        let mut body = buffer[span.start..span.end].to_vec();
        let mut held = self.shard.hold_bytes(body.len()).ok_or(GatewayError::Busy)?;
        while !source.done {
            let at = ANSWER_HEADROOM_BYTES;
            let room = buffer.len() - ANSWER_TAILROOM_BYTES;
            match source.conn.read(&mut buffer[at..room]).await {
                Ok(0) | Err(_) if source.conn.deadline().fired() => {
                    return Err(answer::too_late(self.shard, self.timeout));
                }
                Ok(0) => source.ended(None).map_err(broken)?,
                Err(error) => source.ended(Some(error)).map_err(broken)?,
                Ok(count) => {
                    source.absorb(&mut buffer, at, at + count, &mut span, false).map_err(broken)?;
                    body.extend_from_slice(&buffer[span.start..span.end]);
                    if !held.grow(span.end - span.start) {
                        return Err(GatewayError::Busy);
                    }
                }
            }
            if body.len() > INNER_ANSWER_BYTES_MAX {
                return Err(GatewayError::UpstreamMalformed("its answer is too long".to_owned()));
            }
        }
        Ok(body)
    }
}

fn broken(fault: Fault) -> GatewayError {
    match fault {
        Fault::Broken(text) => GatewayError::UpstreamMalformed(text),
        Fault::ClientGone | Fault::TooSlow(_) | Fault::Stopped => GatewayError::Stopped,
        Fault::Spent(error) => error,
    }
}
