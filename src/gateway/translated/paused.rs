//! An answer that pauses in the middle of a turn and is asked to go on, which its client does not notice.
//!
//! Each time is an attempt of its own, on the same model with the same key: it has its own record and its own hold on the
//! limits. Why: [`crate::dialect::paused`].

use super::{Answering, give_back};
use crate::budget::money::Picodollars;
use crate::dialect::paused;
use crate::gateway::answer::{Answer, AnswerHead, BodyKind};
use crate::gateway::attempt::AttemptError;
use crate::gateway::exchange::Exchange;
use crate::gateway::ledger::Ledger;
use crate::gateway::request::Request;
use crate::gateway::source::{Fault, Source, Span};
use crate::limits::PAUSES_MAX;
use crate::net::Buffer;
use crate::shard::HeldBytes;
use crate::trace::Skip;

/// What an answer has said before it paused.
#[derive(Default)]
pub(super) struct Said {
    /// All of its blocks, joined by commas.
    blocks: Vec<u8>,
    /// How often it has paused.
    pauses: u32,
    /// What it has cost.
    cost: Picodollars,
    /// The room of all this.
    held: Option<HeldBytes>,
}

impl Answering<'_> {
    /// What the answer has cost so far, with what came before it paused.
    pub(super) fn cost(&self, ledger: &Ledger) -> Option<Picodollars> {
        ledger.reported_cost().map(|cost| cost.saturating_add(self.said.cost))
    }

    /// How often the answer has paused and gone on.
    pub(super) fn pauses(&self) -> u32 {
        self.said.pauses
    }

    /// Asks the model to go on from `blocks`, with which it has paused. `None`: it has paused too often, or a limit or the
    /// core has no room for it.
    ///
    /// # Errors
    /// As for [`super::Job::send`].
    pub(super) async fn ask_on(
        &mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        blocks: &[u8],
    ) -> Result<Option<Answer>, AttemptError> {
        let Some(sent) = self.job.sent.filter(|_| self.said.pauses < PAUSES_MAX) else { return Ok(None) };
        self.said.pauses += 1;
        if !self.said.blocks.is_empty() {
            self.said.blocks.push(b',');
        }
        self.said.blocks.extend_from_slice(blocks);
        let mut body = Vec::with_capacity(self.job.body.len() + self.said.blocks.len() + 64);
        let is_written = paused::append_request(&self.job.body, &self.said.blocks, &mut body);
        // The room of the time before is given back first.
        self.said.held = None;
        self.said.held = exchange.shard.hold_bytes(self.said.blocks.len() + body.len());
        if !is_written || self.said.held.is_none() {
            return Ok(None);
        }
        let cost = ledger.reported_cost();
        if ledger.choose(sent.0.index, self.target).is_err() {
            ledger.skips(sent.0.index, Skip::BudgetExhausted);
            return Ok(None);
        }
        self.said.cost = self.said.cost.saturating_add(cost.unwrap_or_default());
        self.job.send_body(exchange, request, ledger, self.target, sent, &body).await.map(Some)
    }

    /// Takes `answer`, with which it goes on, in the place of the one before. Returns what kind of body it has.
    pub(super) fn take_over(
        &mut self,
        exchange: &Exchange<'_>,
        ledger: &mut Ledger,
        answer: Answer,
        span: &mut Span,
    ) -> (BodyKind, Buffer, Result<(), Fault>) {
        let AnswerHead { status, framing, keep_alive, kind, fields, mut buffer, start, end } = answer.head;
        ledger.answered(status);
        self.status = status;
        exchange.shard.give_back_head(std::mem::replace(&mut self.fields, fields));
        let source = Source::new(answer.conn, answer.pool, framing, keep_alive);
        give_back(exchange, self.relay.go_on(source));
        *span = Span { start, end: start };
        let absorbed = self.relay.source.absorb(&mut buffer, start, end, span, false);
        (kind, buffer, absorbed)
    }
}
