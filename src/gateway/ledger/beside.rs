//! The books of an attempt that runs beside another one of the same request, until one of them answers.

use std::time::Duration;

use super::{Ending, Ledger};
use crate::telemetry::labels::{EndedBy, Outcome};

/// What records say of the slower one.
const OUTRUN: &str = "another model was faster";

impl Ledger {
    /// Books for an attempt beside the next one. They hold nothing of limits yet, count no request and write no access line:
    /// they end with [`Ledger::join`] or [`Ledger::go_on_with`].
    pub(in crate::gateway) fn beside(&self) -> Self {
        Self {
            shard: self.shard.clone(),
            view: self.view.clone(),
            requested_model: self.requested_model.clone(),
            conversation: self.conversation.clone(),
            // The one that it runs beside comes first.
            attempts: self.attempts + 1,
            open: None,
            last_target: None,
            error: None,
            is_beside: true,
            working_since: None,
            waited_since: None,
            relayed_at: None,
            overhead: Duration::ZERO,
            tracer: self.tracer.beside(),
            limits: self.limits.beside(),
            ..*self
        }
    }

    /// Nothing is asked after all: what is held of limits is given back.
    pub(in crate::gateway) fn let_go(&mut self) {
        self.limits = self.limits.beside();
    }

    /// Another attempt was faster: this one is cut off. Its call counts, its tokens nobody knows.
    pub(in crate::gateway) fn outrun(&mut self) {
        self.status = 0;
        let ending = Ending { outcome: Outcome::Cancelled, ended_by: EndedBy::Gateway, error: Some(OUTRUN) };
        self.settle(None, &ending);
        self.working();
    }

    /// Takes in the books of an attempt that is over.
    pub(in crate::gateway) fn join(&mut self, mut other: Self) {
        self.tracer.join(other.tracer.take_steps());
        self.cost = self.cost.saturating_add(other.cost);
        self.attempts = self.attempts.max(other.attempts);
    }

    /// Takes in the books of the attempt that answers, in place of one that is settled.
    pub(in crate::gateway) fn go_on_with(&mut self, mut other: Self) {
        self.open = other.open.take();
        self.last_target = other.last_target;
        self.key = other.key;
        self.tried_at = other.tried_at;
        self.waited_since = other.waited_since;
        self.limits = std::mem::take(&mut other.limits);
        self.overhead += other.overhead;
        self.working();
        self.join(other);
    }
}
