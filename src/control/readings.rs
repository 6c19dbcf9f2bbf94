//! What policies know of past calls, from the records' facts to the cores.
//!
//! Owns the way from a fact to a [`Finished`] call, and the publication of the views. It begins empty with the process:
//! records of another one name no indexes, and what they would tell is worth a few minutes.

use std::sync::Arc;

use crate::budget::window::Moment;
use crate::mailbox::Mailbox;
use crate::routing::metrics::{self, Finished, Fold, Names, Verdict, is_timed};
use crate::snapshot::Snapshot;
use crate::store::journal::Facts;
use crate::telemetry::labels::{Endpoint, Outcome};

/// The fold and what it has published.
#[derive(Debug)]
pub(super) struct Readings {
    fold: Fold,
    /// Views that a core may still hold. The last one to hold a view frees it, and that is to be this thread: a view
    /// may have thousands of parts.
    published: Vec<Arc<metrics::View>>,
    now: Moment,
}

impl Readings {
    /// Of the first configuration.
    pub(super) fn new(first: &Snapshot, now: Moment) -> Self {
        let mut readings = Self { fold: Fold::default(), published: Vec::new(), now };
        readings.begin_generation(first);
        readings
    }

    /// The moment of the calls to come.
    pub(super) fn begin_tick(&mut self, now: Moment) {
        self.now = now;
    }

    /// From here on rows stand in the order of this configuration.
    pub(super) fn begin_generation(&mut self, snapshot: &Snapshot) {
        let models = snapshot.targets.iter().map(|target| target.model.id.as_str());
        let projects = snapshot.config.projects().iter().map(|project| {
            let models = project.models.iter().map(|entry| entry.model as u32);
            (project.id.as_str(), models.collect())
        });
        let names = Names { models: models.collect(), projects: projects.collect() };
        self.fold.adopt(snapshot.generation, &names, &snapshot.routing.metrics, self.now);
    }

    /// One finished call more.
    pub(super) fn seen(&mut self, call: &Finished) {
        self.fold.record(call, self.now);
    }

    /// Publishes what has changed.
    pub(super) fn publish(&mut self, mailbox: &Mailbox) {
        self.published.retain(|view| Arc::strong_count(view) > 1);
        if let Some(view) = self.fold.tick(self.now) {
            let view = Arc::new(view);
            self.published.push(Arc::clone(&view));
            mailbox.publish_readings(view);
        }
    }
}

/// What a fact says about its model; nothing where its words are not ours.
pub(super) fn finished(facts: &Facts) -> Option<Finished> {
    let outcome = Outcome::ALL.get(usize::from(facts.outcome))?;
    let endpoint = Endpoint::ALL.get(usize::from(facts.endpoint))?;
    let ttft_ms = Some(facts.ttft_ms).filter(|ttft_ms| *ttft_ms != Facts::NO_TTFT);
    Some(Finished {
        generation: facts.generation,
        project: facts.project,
        model: facts.model,
        finished_ms: facts.finished_ms,
        verdict: Verdict::of(*outcome, facts.status),
        is_timed: is_timed(*endpoint),
        // A record's times begin with its request: policies and earlier attempts are in them.
        latency_ms: facts.latency_ms.saturating_sub(facts.began_ms),
        ttft_ms: ttft_ms.map(|ttft_ms| ttft_ms.saturating_sub(facts.began_ms)),
        output_tokens: facts.output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_attempt() {
        let facts = Facts {
            outcome: Outcome::Success.index() as u8,
            endpoint: Endpoint::Messages.index() as u8,
            status: 200,
            attempt: 1,
            latency_ms: 70,
            ttft_ms: 30,
            output: 5,
            ..Facts::default()
        };
        let call = finished(&facts).unwrap();
        assert_eq!((call.verdict, call.is_timed), (Verdict::Success, true));
        assert_eq!((call.latency_ms, call.ttft_ms), (70, Some(30)));
        let second = finished(&Facts { attempt: 2, began_ms: 20, ..facts }).unwrap();
        assert_eq!((second.is_timed, second.latency_ms, second.ttft_ms), (true, 50, Some(10)));
        assert_eq!(finished(&Facts { ttft_ms: Facts::NO_TTFT, ..facts }).unwrap().ttft_ms, None);
        let counted = Facts { endpoint: Endpoint::CountTokens.index() as u8, ..facts };
        assert!(!finished(&counted).unwrap().is_timed);
        assert!(finished(&Facts { outcome: 200, ..facts }).is_none());
    }
}
