//! What opens a stream: an event (or a comment) of the gateway's own, before the first of the provider's.

use super::call::Asked;
use super::choose;
use super::ledger::Ledger;
use super::request::{Request, StreamTrace};
use crate::clock;
use crate::dialect::Usage;
use crate::dialect::trace::{TraceSummary, write_trace, write_trace_entry};
use crate::limits::ESTIMATED_OUTPUT_TOKENS;
use crate::snapshot::{Snapshot, Target};

/// What opens the stream that `target` answers with; nothing where none is asked for.
pub(super) fn opening(
    snapshot: &Snapshot,
    request: &Request,
    asked: &Asked<'_>,
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
    let summary = TraceSummary {
        model: &target.model.id,
        provider: &target.model.provider.id,
        policies: choose::policies(snapshot, request).map_or(&[][..], |policies| &policies.kinds),
        cost_estimate: (!target.model.price_unknown).then(|| target.price.cost(&estimate).total()),
        trace_id: &trace_id,
        unix_seconds: clock::unix_ms() / 1000,
    };
    let dialect = request.client.dialect;
    write_trace(&mut out, dialect, &summary);
    if request.stream_trace == StreamTrace::Full {
        ledger.spell_trace(0, |entry| write_trace_entry(&mut out, dialect, &summary, entry));
    }
    out
}
