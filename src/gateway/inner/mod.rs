//! Calls that the gateway makes itself on the way of a request: a model is asked, a text embedded.
//!
//! They go the way of every other call (pools, TLS, proxies, the simulated provider) and are recorded in the books of
//! the project and token of the request that they serve, as `routing`. They hold nothing of the client's connection:
//! several can run at once, and who drops one (because the client left) ends it. No answer is relayed; it is read whole,
//! within a bound.

mod advise;
mod asking;
mod chat;
mod embed;
mod heard;
mod intent;
mod llm;
mod post;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::request::Request;
use crate::clock;
use crate::respond::GatewayError;
use crate::shard::{Shard, View};
use crate::snapshot::Target;
use crate::telemetry::labels::Endpoint;
use crate::trace::Entry;

pub(super) use advise::advise;
pub(super) use asking::Asking;
pub(super) use heard::Heard;
pub(super) use llm::Choice;

/// What has happened, and when: the entries of a trace.
pub(super) type Notes = RefCell<Vec<(Instant, Entry)>>;

/// Whoever makes calls: a request on its way, and until when they have to be over.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    shard: &'a Rc<Shard>,
    view: &'a Rc<View>,
    request: &'a Request,
    notes: &'a Notes,
    /// Since when, and for how long at most.
    since: Instant,
    timeout: Duration,
}

impl<'a> Caller<'a> {
    /// Calls on the way of `request` that are over within `timeout` from now, and before the request's own time is.
    pub(super) fn new(
        shard: &'a Rc<Shard>,
        view: &'a Rc<View>,
        request: &'a Request,
        notes: &'a Notes,
        timeout: Duration,
    ) -> Self {
        let since = clock::now();
        let total = view.snapshot.config.settings().upstream.total_timeout;
        let left = total.map(|total| total.saturating_sub(since.duration_since(request.started)));
        Self { shard, view, request, notes, since, timeout: left.map_or(timeout, |left| left.min(timeout)) }
    }

    /// What is left of the time.
    ///
    /// # Errors
    /// Nothing.
    fn left(&self) -> Result<Duration, GatewayError> {
        match self.timeout.saturating_sub(clock::now().duration_since(self.since)) {
            Duration::ZERO => Err(GatewayError::OutOfTime { after: self.timeout }),
            left => Ok(left),
        }
    }

    fn books(&self, endpoint: Endpoint, input_bytes: usize) -> Ledger {
        Ledger::open_inner(self.shard, self.view, self.request, endpoint, input_bytes)
    }

    fn note(&self, entry: impl Into<Entry>) {
        self.notes.borrow_mut().push((clock::now(), entry.into()));
    }

    fn target(&self, index: usize) -> &'a Target {
        &self.view.snapshot.targets[index]
    }

    /// Those of `models` that are switched on and have a key that can be read. `skipped` gets the others, and why.
    pub(super) fn usable(&self, models: &[usize], mut skipped: impl FnMut(&'a Target, &str)) -> Vec<usize> {
        let is_usable = |model: &usize| {
            let target = self.target(*model);
            if !target.is_usable() {
                let why = if target.model.enabled { "its key cannot be read" } else { "it is switched off" };
                skipped(target, why);
            }
            target.is_usable()
        };
        models.iter().copied().filter(is_usable).collect()
    }
}
