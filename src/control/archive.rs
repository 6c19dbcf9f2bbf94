//! The thread that keeps traces, and finds them again.
//!
//! A thread of its own: spelling traces as JSON and a slow disk delay nobody but those who look for one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::clock;
use crate::config::settings::TracesSettings;
use crate::limits::{TRACE_ANSWER_MS, TRACES_LISTED_MAX};
use crate::mailbox::{Mailbox, ToTraces};
use crate::snapshot::Snapshot;
use crate::store::secret::Keys;
use crate::store::traces::{self, TraceStore};
use crate::telemetry::ids::TraceId;
use crate::telemetry::log::{self, Value};
use crate::telemetry::metrics::Metrics;
use crate::trace::{Audience, Recent, Speller, Trace, Wanted};

/// What the thread takes over at start.
pub struct Archive {
    /// The files' bounds.
    pub bounds: TracesSettings,
    /// Whether no other process writes traces in this home.
    pub is_alone: bool,
    /// The data directory.
    pub data: PathBuf,
    /// Encrypt what has prompts.
    pub keys: Arc<Keys>,
    /// Way to the cores.
    pub mailbox: Arc<Mailbox>,
    /// All metrics.
    pub metrics: Metrics,
}

/// Runs until it is told to finish or nobody is left who could tell it.
pub fn run(archive: &Archive, inbox: &Receiver<ToTraces>) {
    let mut store = TraceStore::open(&archive.data, archive.bounds, archive.is_alone)
        .inspect_err(|error| log::error("kept traces cannot be read", &[("reason", Value::Display(error))]))
        .ok();
    let mut was_lost = false;
    while let Ok(message) = inbox.recv() {
        match message {
            ToTraces::Finish => break,
            ToTraces::Keep(traces) => {
                let lost = archive.keep(store.as_mut(), &traces).err();
                match (&lost, was_lost) {
                    (Some(error), false) => {
                        log::error("traces cannot be written", &[("reason", Value::Display(error))]);
                    }
                    (None, true) => log::warn("traces can be written again", &[]),
                    _ => {}
                }
                was_lost = lost.is_some();
            }
            ToTraces::Find { id, reply } => reply.answer(archive.find(id).map(Arc::from)),
            ToTraces::Recent { wanted, reply } => reply.answer(Arc::from(archive.recent(wanted))),
            ToTraces::Bounds(bounds) => {
                if let Some(store) = &mut store {
                    store.set_bounds(bounds);
                }
            }
        }
        log::flush();
    }
    if let Some(Err(error)) = store.as_mut().map(TraceStore::close) {
        log::warn("the last file of traces has no name yet", &[("reason", Value::Display(&error))]);
    }
    log::flush();
}

impl Archive {
    fn keep(&self, store: Option<&mut TraceStore>, traces: &[(Arc<Snapshot>, Arc<Trace>)]) -> io::Result<()> {
        let lines = traces.iter().map(|(snapshot, trace)| self.line(snapshot, trace));
        let kept = lines.collect::<io::Result<Vec<_>>>().and_then(|lines| match store {
            Some(store) => store.append(&lines, clock::unix_ms()),
            None => Err(io::Error::other("their directory could not be read at start")),
        });
        let counts = &self.metrics.traces;
        let count = if kept.is_ok() { &counts.kept } else { &counts.lost };
        count.add(traces.len() as u64);
        kept
    }

    /// What is written of a trace.
    fn line(&self, snapshot: &Snapshot, trace: &Trace) -> io::Result<(TraceId, Vec<u8>)> {
        let text = spelled(snapshot, trace);
        if !trace.has_prompts() {
            return Ok((trace.id, text.into_bytes()));
        }
        let sealed = traces::seal(&self.keys, trace.id, &text).map_err(io::Error::other)?;
        Ok((trace.id, sealed))
    }

    /// The trace of a request: a kept one, else a recent one of a core.
    fn find(&self, id: TraceId) -> Option<String> {
        match traces::find(&self.data, id) {
            Ok(Some(line)) => return traces::unseal(&self.keys, id, line),
            Ok(None) => {}
            Err(error) => log::error("kept traces cannot be read", &[("reason", Value::Display(&error))]),
        }
        let wanted = Wanted { id: Some(id), limit: 1, ..Wanted::default() };
        self.ask(wanted).first().map(|recent| spelled(&recent.snapshot, &recent.trace))
    }

    fn recent(&self, mut wanted: Wanted) -> String {
        wanted.limit = wanted.limit.min(TRACES_LISTED_MAX);
        let all = self.ask(wanted);
        let spelled: Vec<String> = all.iter().map(|one| spelled(&one.snapshot, &one.trace)).collect();
        format!("[{}]", spelled.join(","))
    }

    fn ask(&self, wanted: Wanted) -> Vec<Recent> {
        let patience = Duration::from_millis(TRACE_ANSWER_MS);
        self.mailbox.traces.ask(wanted, self.metrics.cores.len(), patience)
    }
}

fn spelled(snapshot: &Snapshot, trace: &Trace) -> String {
    let mut out = Vec::with_capacity(1024);
    let speller = Speller { snapshot, project: trace.project, audience: Audience::Operator };
    speller.write_trace(&mut out, trace);
    // All of it is text that was text before.
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::Value as Json;

    use super::*;
    use crate::config::Settings;
    use crate::mailbox::Reply;
    use crate::shard::CoreTraces;
    use crate::store::secret::tests::keys;
    use crate::telemetry::labels::Outcome;
    use crate::telemetry::metrics::CoreMetrics;
    use crate::trace::tests_support::{snapshot, trace};
    use crate::trace::{Entry, Prompt};

    const CORES: usize = 2;

    /// Waits for an answer without a runtime.
    fn wait<T: Clone>(reply: &Reply<T>) -> T {
        loop {
            if let Some(answer) = reply.now() {
                return answer;
            }
            std::thread::yield_now();
        }
    }

    struct Stage {
        home: tempfile::TempDir,
        snapshot: Arc<Snapshot>,
        mailbox: Arc<Mailbox>,
        metrics: Metrics,
    }

    impl Stage {
        fn new(settings: &Json) -> (Self, Receiver<ToTraces>) {
            let snapshot = Arc::new(snapshot(1, settings));
            let (mailbox, inboxes) = Mailbox::new(Arc::clone(&snapshot));
            let home = tempfile::tempdir().unwrap();
            (Self { home, snapshot, mailbox, metrics: Metrics::new(CORES) }, inboxes.traces)
        }

        fn archive(&self) -> Archive {
            Archive {
                bounds: Settings::default().traces,
                is_alone: true,
                data: self.home.path().to_owned(),
                keys: Arc::new(keys(1)),
                mailbox: Arc::clone(&self.mailbox),
                metrics: self.metrics.clone(),
            }
        }

        /// Runs cores that have these traces, each its own, and the archive, while `ask` asks.
        fn run(
            &self,
            inbox: Receiver<ToTraces>,
            mut traces: [Vec<Trace>; CORES],
            ask: impl FnOnce(&Mailbox),
        ) {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for (core, traces) in traces.iter_mut().enumerate() {
                    let over = &over;
                    scope.spawn(move || {
                        let metrics = CoreMetrics::default();
                        let mut own = CoreTraces::default();
                        own.renew(&self.snapshot);
                        for trace in traces.drain(..) {
                            own.take(trace, &self.snapshot, &metrics);
                        }
                        while !over.load(Ordering::Acquire) {
                            own.tick(&self.mailbox, &metrics, clock::unix_ms());
                            std::thread::yield_now();
                        }
                        assert_eq!(metrics.traces_dropped.read(), 0, "core {core}");
                    });
                }
                let archive = self.archive();
                let thread = scope.spawn(move || run(&archive, &inbox));
                ask(&self.mailbox);
                over.store(true, Ordering::Release);
                self.mailbox.finish_traces();
                thread.join().unwrap();
            });
        }
    }

    fn find(mailbox: &Mailbox, id: TraceId) -> Option<Json> {
        let reply = Arc::new(Reply::default());
        mailbox.send_to_traces(ToTraces::Find { id, reply: Arc::clone(&reply) }).unwrap();
        wait(&reply).map(|text: Arc<str>| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_trace_is_found_on_any_core_and_the_kept_ones_after_a_restart() {
        let (stage, inbox) = Stage::new(&serde_json::json!({"traces": {"keep": "errors"}}));
        let now = clock::unix_ms();
        let good = trace(now, Outcome::Success, vec![Entry::Alone { target: 0 }]);
        let bad = trace(now + 1, Outcome::Error, vec![]);
        let other = trace(now + 2, Outcome::Success, vec![]);
        let unknown = trace(now + 3, Outcome::Success, vec![]).id;
        let (good_id, bad_id) = (good.id, bad.id);
        stage.run(inbox, [vec![good, bad], vec![other.clone()]], |mailbox| {
            let found = find(mailbox, good_id).expect("it is on the first core");
            assert_eq!(found["traceId"], good_id.to_string());
            assert_eq!(found["trace"][0]["message"], "router:intake");
            assert_eq!(found["trace"][1]["details"]["final"][0]["model"], "openai/a");
            assert_eq!(find(mailbox, other.id).expect("on the second")["outcome"], "success");
            assert_eq!(find(mailbox, bad_id).expect("it is kept")["outcome"], "error");
            assert_eq!(find(mailbox, unknown), None);
            let reply = Arc::new(Reply::default());
            let wanted = Wanted { limit: 2, ..Wanted::default() };
            mailbox.send_to_traces(ToTraces::Recent { wanted, reply: Arc::clone(&reply) }).unwrap();
            let recent: Json = serde_json::from_str(&wait::<Arc<str>>(&reply)).unwrap();
            let ids: Vec<_> = recent.as_array().unwrap().iter().map(|one| one["traceId"].clone()).collect();
            assert_eq!(ids, [other.id, bad_id].map(|id| Json::from(id.to_string())));
        });
        assert_eq!((stage.metrics.traces.kept.read(), stage.metrics.traces.lost.read()), (1, 0));
        assert!(traces::find(stage.home.path(), bad_id).unwrap().is_some());
        assert!(traces::find(stage.home.path(), good_id).unwrap().is_none());
    }

    #[test]
    fn a_trace_with_prompts_is_sealed_and_found() {
        let (stage, inbox) = Stage::new(&serde_json::json!({"traces": {"keep": "all"}}));
        let mut told = trace(clock::unix_ms(), Outcome::Success, vec![]);
        told.request_text = Prompt::keep(true, "the canary sings").map(Box::new);
        let id = told.id;
        stage.run(inbox, [vec![told], vec![]], |mailbox| {
            while stage.metrics.traces.kept.read() == 0 {
                std::thread::yield_now();
            }
            let found = find(mailbox, id).unwrap();
            assert_eq!(found["trace"][0]["details"]["requestText"], "the canary sings");
        });
        let line = traces::find(stage.home.path(), id).unwrap().unwrap();
        assert!(traces::is_sealed(&line) && !line.contains("canary"), "{line}");
    }

    #[test]
    fn a_core_keeps_so_many_in_a_second_and_counts_the_rest() {
        let (stage, inbox) = Stage::new(&serde_json::json!({"traces": {"keep": "all", "perSecond": 3}}));
        let metrics = CoreMetrics::default();
        let mut own = CoreTraces::default();
        own.renew(&stage.snapshot);
        for number in 0..5 {
            own.take(trace(7_000 + number, Outcome::Success, vec![]), &stage.snapshot, &metrics);
        }
        own.take(trace(8_000, Outcome::Success, vec![]), &stage.snapshot, &metrics);
        own.tick(&stage.mailbox, &metrics, 8_000);
        let Ok(ToTraces::Keep(kept)) = inbox.try_recv() else { panic!("nothing was sent") };
        let kept: Vec<u64> = kept.iter().map(|(_, trace)| trace.finished_ms).collect();
        assert_eq!((kept, metrics.traces_dropped.read()), (vec![7_000, 7_001, 7_002, 8_000], 2));
        // A thread that does not keep up loses whole batches; they are counted too.
        drop(inbox);
        own.take(trace(9_000, Outcome::Success, vec![]), &stage.snapshot, &metrics);
        own.tick(&stage.mailbox, &metrics, 9_000);
        assert_eq!(metrics.traces_dropped.read(), 3);
    }
}
