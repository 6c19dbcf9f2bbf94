//! What opens a stream: an event (or a comment) of the gateway's own, before the first of the provider's.

use super::call::Asked;
use super::ledger::Ledger;
use super::request::{Request, StreamTrace};
use crate::clock;
use crate::dialect::Usage;
use crate::dialect::trace::{TraceEntry, TraceSummary, write_trace, write_trace_entry};
use crate::limits::ESTIMATED_OUTPUT_TOKENS;
use crate::respond::GatewayError;
use crate::snapshot::{Snapshot, Target};

/// The calls of one request so far, for a client that wants to see each step. Empty for all others.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<MadeCall>);

/// One of them.
#[derive(Debug)]
struct MadeCall {
    target: usize,
    begun_ms: u64,
    /// Why it failed, in the words for clients, and when.
    failure: Option<(String, u64)>,
}

impl Calls {
    /// `target` is about to be asked.
    pub(super) fn begin(&mut self, request: &Request, target: usize) {
        if request.stream_trace == StreamTrace::Full {
            self.0.push(MadeCall { target, begun_ms: since_ms(request), failure: None });
        }
    }

    /// The target that was asked last failed.
    pub(super) fn failed(&mut self, request: &Request, error: &GatewayError) {
        if let Some(call) = self.0.last_mut() {
            call.failure = Some((error.message(), since_ms(request)));
        }
    }

    /// What opens the stream that `target` answers with; nothing where none is asked for.
    pub(super) fn opening(
        &self,
        request: &Request,
        asked: &Asked<'_>,
        snapshot: &Snapshot,
        target: &Target,
        ledger: &Ledger,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        if request.stream_trace == StreamTrace::None || !asked.stream {
            return out;
        }
        let estimate = Usage {
            input: (asked.body.len() as u64).div_ceil(4),
            output: asked.facts.output_tokens_max().unwrap_or(ESTIMATED_OUTPUT_TOKENS),
            ..Usage::default()
        };
        let trace_id = ledger.trace_text();
        let mut summary = TraceSummary {
            model: &target.model.id,
            provider: &target.model.provider.id,
            policies: &[],
            cost_estimate: (!target.model.price_unknown).then(|| target.price.cost(&estimate).total()),
            trace_id: &trace_id,
            unix_seconds: clock::unix_ms() / 1000,
        };
        write_trace(&mut out, request.client.dialect, &summary);
        if request.stream_trace == StreamTrace::Full && !out.is_empty() {
            summary.cost_estimate = None;
            self.append_entries(&mut out, request, snapshot, &summary);
        }
        out
    }

    /// An entry for each call, and for each failure.
    fn append_entries(
        &self,
        out: &mut Vec<u8>,
        request: &Request,
        snapshot: &Snapshot,
        summary: &TraceSummary<'_>,
    ) {
        let mut append = |panel: &str, message: &str, details: &[(&str, &str)], since_ms: u64| {
            let entry = TraceEntry { panel, message, details, since_ms };
            write_trace_entry(out, request.client.dialect, summary, &entry);
        };
        for call in &self.0 {
            let model = &snapshot.targets[call.target].model;
            let whom = [("modelId", model.id.as_str()), ("provider", model.provider.id.as_str())];
            append("request", "model:request", &whom, call.begun_ms);
            if let Some((error, since_ms)) = &call.failure {
                append("response", "model:error", &[whom[0], ("error", error)], *since_ms);
            }
        }
    }
}

fn since_ms(request: &Request) -> u64 {
    clock::now().duration_since(request.started).as_millis() as u64
}
