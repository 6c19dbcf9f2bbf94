//! What a core does with the traces of its finished requests: holds the last ones, and sends on what is to be kept.

use std::sync::Arc;

use crate::config::settings::TracesSettings;
use crate::mailbox::{Mailbox, ToTraces};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::CoreMetrics;
use crate::trace::{Ranking, Ring, Trace};

/// The traces of one core.
#[derive(Debug, Default)]
pub struct CoreTraces {
    ring: Ring,
    settings: Option<TracesSettings>,
    /// Traces that are to be kept, with the configuration that their indexes belong to.
    outbox: Vec<(Arc<Snapshot>, Arc<Trace>)>,
    /// The second of which `kept` counts.
    second: u64,
    kept: u32,
    /// Number of the last question that was answered.
    answered: u64,
    /// Tables of a ranking that nobody looks at any more, to be filled again.
    spare: Option<Ranking>,
}

impl CoreTraces {
    /// A new configuration is in force.
    pub fn renew(&mut self, snapshot: &Arc<Snapshot>) {
        self.settings = Some(snapshot.config.settings().traces);
        self.ring.renew(snapshot);
    }

    /// Takes the trace of a request that is over. `snapshot` is the one that it began with.
    #[inline]
    pub fn take(&mut self, trace: Trace, snapshot: &Arc<Snapshot>, metrics: &CoreMetrics) {
        let Some(settings) = self.settings else { return };
        let old = self.put(trace, settings, snapshot, metrics);
        if let Some(ranking) = old.and_then(|old| old.steps.into_ranking()) {
            self.spare = Some(ranking);
        }
    }

    /// Tables for the next ranking.
    pub fn ranking(&mut self) -> Ranking {
        self.spare.take().unwrap_or_default()
    }

    #[inline]
    fn put(
        &mut self,
        trace: Trace,
        settings: TracesSettings,
        snapshot: &Arc<Snapshot>,
        metrics: &CoreMetrics,
    ) -> Option<Trace> {
        if !trace.is_kept(settings.keep) {
            return self.ring.push(trace);
        }
        let second = trace.finished_ms / 1000;
        if std::mem::replace(&mut self.second, second) != second {
            self.kept = 0;
        }
        if self.kept >= settings.per_second {
            metrics.traces_dropped.add(1);
            return self.ring.push(trace);
        }
        self.kept += 1;
        let trace = Arc::new(trace);
        self.outbox.push((Arc::clone(snapshot), Arc::clone(&trace)));
        self.ring.push_shared(trace)
    }

    /// Sends what is to be kept and answers what is asked.
    pub fn tick(&mut self, mailbox: &Mailbox, metrics: &CoreMetrics, now_unix_ms: u64) {
        if !self.outbox.is_empty()
            && let Err(ToTraces::Keep(refused)) =
                mailbox.send_to_traces(ToTraces::Keep(std::mem::take(&mut self.outbox)))
        {
            metrics.traces_dropped.add(refused.len() as u64);
        }
        let number = mailbox.traces.number();
        if number != self.answered {
            self.answered = number;
            if let Some(question) = mailbox.traces.question() {
                // Whoever asked may have given up; there is a place for each core.
                let _ = question.answers.try_send(self.ring.find(&question.wanted, now_unix_ms));
            }
        }
    }
}
