//! A finished attempt on its way into the journal: its facts as numbers, its record as a line.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Ending, Ledger, Open};
use crate::clock;
use crate::dialect::Usage;
use crate::store::journal::Facts;
use crate::store::usage::UsageRecord;
use crate::telemetry::labels::{CallType, UsageSource};

/// How far wall clock and monotonic clock may go apart within a request, in milliseconds, and both be right: rounding,
/// and a wall clock that is slewed.
const CLOCKS_APART_MS_MAX: u64 = 2;

impl Ledger {
    /// Writes the record of a finished attempt into the journal, with its facts. Returns when that was.
    pub(super) fn book(
        &mut self,
        open: Open,
        usage: Usage,
        source: UsageSource,
        ending: &Ending<'_>,
    ) -> Instant {
        let view = Rc::clone(&self.view);
        let snapshot = &view.snapshot;
        let target = &snapshot.targets[open.target];
        let cost = target.price.cost(&usage);
        self.usage = usage;
        self.cost = self.cost.saturating_add(cost.total());
        if source == UsageSource::Reported {
            self.settled_cost = Some(cost);
        }
        let project = &snapshot.config.projects()[self.project as usize];
        let token = snapshot.token(self.principal);
        let now = clock::now();
        let unix_ms = self.shard.unix_ms(now);
        let latency_ms = latency_ms(now.duration_since(self.started), self.admitted_ms, unix_ms);
        let ttft_ms = self.first_byte.map(|after| after.as_millis() as u64);
        let attempt = (open.model_index, ending.outcome, &usage, cost.total().0);
        if self.call_type != CallType::Cache {
            let (who, admitted) = (self.who(), self.admitted());
            self.limits.settle(&self.shard, &view, who, admitted, attempt);
        }
        let facts = Facts {
            generation: snapshot.generation,
            project: self.project,
            owner: self.principal.project,
            token: self.principal.token,
            model: open.model_index,
            admitted_ms: self.admitted_ms,
            finished_ms: unix_ms,
            latency_ms: latency_ms.min(u64::from(u32::MAX)) as u32,
            ttft_ms: ttft_ms.map_or(Facts::NO_TTFT, |ttft_ms| ttft_ms.min(u64::from(u32::MAX - 1)) as u32),
            began_ms: self.tried_at.saturating_duration_since(self.started).as_millis() as u32,
            status: self.status,
            outcome: ending.outcome.index() as u8,
            call_type: self.call_type.index() as u8,
            endpoint: self.endpoint.index() as u8,
            attempt: open.attempt.min(u32::from(u16::MAX)) as u16,
            input: usage.input,
            output: usage.output,
            cached: usage.cached_input,
            cache_write: usage.cache_write,
            cost: cost.total(),
        };
        let record = UsageRecord {
            id: self.shard.trace_id(unix_ms),
            trace_id: self.trace,
            timestamp: self.shard.timestamps.borrow_mut().format(unix_ms),
            project_id: &project.id,
            token_id: Some(&token.id),
            token_project_id: (self.principal.project != self.project)
                .then(|| snapshot.config.projects()[self.principal.project as usize].id.as_str()),
            model_id: &target.model.id,
            provider: &target.model.provider.id,
            requested_model: &self.requested_model,
            endpoint: self.endpoint,
            call_type: self.call_type,
            stream: self.stream,
            http_status: self.status,
            outcome: ending.outcome,
            ended_by: ending.ended_by,
            error_message: ending.error,
            usage,
            usage_source: source,
            cost,
            rates: target.price.rates(usage.input),
            latency_ms,
            admitted_ms: Some(self.admitted_ms).filter(|admitted_ms| admitted_ms + latency_ms != unix_ms),
            ttft_ms,
            overhead_us: self.overhead_at(now).as_micros() as u64,
            attempt: open.attempt,
            key_id: (target.keys.len() > 1).then(|| &*target.keys[self.key].id),
            conversation_id: self.conversation.as_deref(),
            cache: self.cache_use,
        };
        // A full journal is counted by the writer and shown by health; the answer goes on.
        let _ = self.shard.journal.borrow_mut().append(&facts, |line| record.write_json(line));
        now
    }
}

/// The latency of a record: what its two readings of the wall clock say, so that a reader can go back from its end to
/// its admission. Where the wall clock was set in between, what the monotonic clock says.
fn latency_ms(elapsed: Duration, admitted_ms: u64, finished_ms: u64) -> u64 {
    let elapsed_ms = elapsed.as_millis() as u64;
    match finished_ms.checked_sub(admitted_ms) {
        Some(latency_ms) if latency_ms.abs_diff(elapsed_ms) <= CLOCKS_APART_MS_MAX => latency_ms,
        _ => elapsed_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_leads_back_to_the_admission_unless_the_clock_was_set() {
        // Elapsed on the monotonic clock, in microseconds; admitted; finished; latency.
        let cases = [
            (1_999, 1_000, 1_002, 2),
            (1_001, 1_000, 1_001, 1),
            (500, 1_000, 1_000, 0),
            (60_000_000, 1_000, 61_002, 60_002),
            (5_000, 1_000, 900, 5),
            (5_000, 1_000, 3_601_005, 5),
        ];
        for (elapsed_us, admitted_ms, finished_ms, expected) in cases {
            let latency = latency_ms(Duration::from_micros(elapsed_us), admitted_ms, finished_ms);
            assert_eq!(latency, expected, "{elapsed_us} µs from {admitted_ms} to {finished_ms}");
        }
    }
}
