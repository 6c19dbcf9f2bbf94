//! What is learnt from passed-through calls, and which of them are sent again.
//!
//! The path and the model that is named decide who is asked: what a file, a batch or a vector is to one model it is not to
//! another. So nobody else is; but another key of the same model can be tried, and the same one again that was not reached.
//! Keys rest and breakers count as after other calls, the model's own breaker only where the call was one of the model.

use super::answer::Answer;
use super::body::BodyError;
use super::candidates::{about_our_key, pause, time_left};
use super::exchange::Exchange;
use super::failover::{Failover, Failure, Turn};
use super::ledger::Ledger;
use super::peek::{self, Body};
use super::request::Request;
use crate::clock;
use crate::dialect::refusal::{self, Refusal};
use crate::http1::retry_after;
use crate::respond::GatewayError;
use crate::routing;
use crate::shard::Shard;
use crate::snapshot::Snapshot;
use crate::telemetry::labels::Endpoint;

/// A passed-through request on its way.
pub(super) struct Passing<'a> {
    snapshot: &'a Snapshot,
    request: &'a Request,
    failover: Failover<'a>,
    /// Whether an answer tells how the model does, and not only its endpoint.
    is_of_model: bool,
}

/// What came of an attempt that did not go well, and what the provider says of it.
pub(super) struct Heard {
    /// A refusal, or none.
    pub sent: Result<Answer, GatewayError>,
    said: Option<String>,
}

/// What follows from it.
pub(super) enum Judged {
    /// The answer is for the client.
    Answer(Answer),
    /// The request is sent again.
    Again(Turn),
}

impl<'a> Passing<'a> {
    /// Begins with the one target in `ranked`; `model` is what the request names.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn begin(
        snapshot: &'a Snapshot,
        request: &'a Request,
        ledger: &mut Ledger,
        ranked: &'a [usize],
        model: Option<&str>,
    ) -> Result<(Self, Turn), GatewayError> {
        let mut failover = Failover::new(snapshot, ranked, None);
        let turn = failover.first(ledger).ok_or(GatewayError::NoUpstream)?;
        let names = |name| routing::is_named(&snapshot.targets[turn.index], name);
        let is_of_model = request.endpoint == Endpoint::Embeddings || model.is_some_and(names);
        Ok((Self { snapshot, request, failover, is_of_model }, turn))
    }

    /// Takes note of an answer below 400.
    #[inline]
    pub(super) fn went_well(&self, shard: &Shard, turn: Turn) {
        if self.is_of_model {
            self.failover.succeeded(shard, turn);
        } else {
            self.failover.reached(turn);
        }
    }

    /// Takes note of a turn that did not go well.
    ///
    /// # Errors
    /// The client left.
    pub(super) async fn learn(
        &mut self,
        exchange: &mut Exchange<'_>,
        turn: Turn,
        sent: Result<Answer, BodyError>,
    ) -> Result<Heard, BodyError> {
        let shard = exchange.shard;
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(BodyError::ClientGone) => return Err(BodyError::ClientGone),
            Err(BodyError::Refused(error)) => {
                let failure = Failure::of(&error);
                // How long a file takes says nothing of the model.
                if failure != Failure::TooSlow || self.is_of_model {
                    self.failover.failed(shard, turn, failure, None);
                }
                return Ok(Heard { sent: Err(error), said: None });
            }
        };
        let status = answer.head.status;
        let body = if self.is_of_model || matches!(status, 401 | 402 | 403 | 429) {
            peek::error_body(exchange, &mut answer).await.ok_or(BodyError::ClientGone)?
        } else {
            Body::default()
        };
        let dialect = self.request.client.dialect;
        match refusal::of_answer(dialect, status, &body.payload) {
            Some(judged)
                if self.is_of_model
                    || matches!(judged.refusal, Refusal::Key | Refusal::Account | Refusal::Limited) =>
            {
                let retry_after = retry_after(&answer.head.fields, clock::unix_ms() / 1_000);
                self.failover.failed(shard, turn, Failure::Refused(judged), retry_after);
            }
            _ => self.failover.reached(turn),
        }
        Ok(Heard { sent: Ok(answer), said: body.message(dialect) })
    }

    /// Decides whether the request is sent again; then what it came to is booked.
    ///
    /// # Errors
    /// It is not, and there is no answer; or the client left.
    pub(super) async fn go_on(
        &mut self,
        exchange: &mut Exchange<'_>,
        ledger: &mut Ledger,
        heard: Heard,
    ) -> Result<Judged, BodyError> {
        let left = time_left(self.snapshot, self.request);
        let Some(turn) = self.failover.next_safe(ledger, left) else {
            return Ok(Judged::Answer(heard.sent?));
        };
        match heard.sent {
            Ok(answer) => {
                let status = answer.head.status;
                let said = heard.said.filter(|said| !said.is_empty());
                match about_our_key(status) {
                    Some(error) => ledger.key_refused(&error, status, said.as_deref()),
                    None => {
                        let plain = || format!("the provider answered with status {status}");
                        ledger.attempt_refused(status, &said.unwrap_or_else(plain), None);
                    }
                }
                peek::release(exchange.shard, answer);
            }
            Err(error) => ledger.attempt_failed(&error),
        }
        if turn.wait.is_zero() || pause(exchange, ledger, turn.wait).await {
            Ok(Judged::Again(turn))
        } else {
            Err(BodyError::ClientGone)
        }
    }
}
