//! The books of a call that the gateway makes itself on the way of a request.

use std::rc::Rc;

use super::{Ending, Ledger};
use crate::clock;
use crate::dialect::Usage;
use crate::gateway::request::Request;
use crate::gateway::tracer::Tracer;
use crate::shard::{Shard, View};
use crate::telemetry::labels::{CallType, Endpoint, UsageSource};
use crate::trace::Entry;

impl Ledger {
    /// Opens the books of a call that the gateway makes itself on the way of `request`, in whose project and token's name
    /// it is recorded. They are books of one attempt: no request is counted with them and no access line written. What is
    /// dropped unsettled was ended by a client that left.
    pub(in crate::gateway) fn open_inner(
        shard: &Rc<Shard>,
        view: &Rc<View>,
        request: &Request,
        endpoint: Endpoint,
        input_bytes: usize,
    ) -> Self {
        let mut ledger = Self::open(shard, view, request);
        ledger.call_type = CallType::Routing;
        ledger.endpoint = endpoint;
        ledger.input_bytes = input_bytes as u64;
        ledger.started = clock::now();
        ledger.admitted_ms = shard.unix_ms(ledger.started);
        ledger.admitted_steady_ms = clock::steady_ms(ledger.started);
        ledger.working_since = Some(ledger.started);
        ledger.tracer = Tracer::of_policy(ledger.started);
        ledger
    }

    /// The answer of the open attempt has ended well; `usage` is what its body said about tokens. What it did not say
    /// is taken from the length of the request.
    pub(in crate::gateway) fn settle_embedded(&mut self, usage: Option<Usage>) {
        let Some(open) = self.open.take() else { return };
        let (usage, source) = match usage {
            Some(usage) => (usage, UsageSource::Reported),
            None => (self.estimate(0), UsageSource::Estimated),
        };
        let ending = Ending::of_answer();
        let now = self.book(open, usage, source, &ending);
        self.note_end(now, Some(open.target), usage, &ending, None);
    }

    /// How the last attempt ended, as an entry of a trace.
    pub(in crate::gateway) fn last_entry(&self) -> Option<&Entry> {
        self.tracer.last().map(|step| &step.entry)
    }
}
