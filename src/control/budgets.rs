//! Limits on the control thread: what is kept of them over restarts, and what is said of them.
//!
//! Owns the way from records to accounts. What a record charges is what its request settled ([`Hold::settle`]): the
//! accounts of the whole request and those of the model, enforced or not, in the windows of its admission. Records of
//! this process are charged by the cores, and here only noted as stored; those of another process (behind the
//! checkpoint, or in a journal that it writes while this one takes over) are charged here.
//!
//! [`Hold::settle`]: crate::budget::hold::Hold::settle

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::budget::account::Account;
use crate::budget::event::{Event, Kind};
use crate::budget::key::{Amounts, in_words};
use crate::budget::plan::{Plan, Who};
use crate::budget::saved::Saved;
use crate::budget::watch::Watch;
use crate::budget::window::Moment;
use crate::config::Config;
use crate::mailbox::{Mailbox, ToNotifier};
use crate::notify::event;
use crate::snapshot::Snapshot;
use crate::store::journal::Facts;
use crate::store::rollup::{Restored, Section};
use crate::store::usage::RecordIds;
use crate::telemetry::labels::Outcome;
use crate::telemetry::log::{self, Value};
use crate::telemetry::metrics::Metrics;

/// Name of the checkpoint's section.
const SECTION: &str = "budgets";
/// In place of an index: the configuration has no such part.
const NONE: u32 = u32::MAX;

/// What was restored.
#[derive(Debug, Default)]
pub struct Restoration {
    /// What was told of limits.
    pub watch: Watch,
    /// Records that were added to what the checkpoint knew.
    pub records: u64,
    /// There was no checkpoint that knew of limits: they were counted from records alone.
    pub is_recount: bool,
}

/// Puts what was settled before this process back into the accounts of `snapshot`: what the checkpoint knows, and the
/// records behind it. Where it knows nothing of limits, all records are read that their windows reach back to.
///
/// To be called before the cores start.
///
/// # Errors
/// From the file system; what was read until then counts.
pub fn restore(
    data_dir: &Path,
    restored: &Restored,
    snapshot: &Snapshot,
    now: Moment,
) -> io::Result<Restoration> {
    let plan = &snapshot.budgets;
    let mut restoration = Restoration::default();
    if plan.is_empty() {
        return Ok(restoration);
    }
    let section = restored.section(SECTION);
    let saved: Option<Saved> = section.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let mut whose = Whose::new(snapshot);
    let mut records = 0;
    let mut add = |facts: &Facts, ids: &RecordIds<'_>, admitted: Moment| {
        let (who, model) = whose.of(ids);
        charge(plan, who, model, facts, |account, used| account.add(used, admitted));
        records += 1;
    };
    match saved {
        Some(saved) => {
            saved.restore(plan, &mut restoration.watch, now);
            restored.for_each_behind(|facts, ids| add(facts, ids, saved.admitted(facts.admitted_ms, now)))?;
        }
        None => {
            let first_ms = reach(plan, now);
            Restored::of_records(data_dir)?.for_each_since(first_ms, |facts, ids| {
                let admitted_ms = facts.admitted_ms;
                if admitted_ms >= first_ms {
                    add(
                        facts,
                        ids,
                        Moment { wall_ms: admitted_ms, steady_ms: admitted_ms.min(now.steady_ms) },
                    );
                }
            })?;
            restoration.is_recount = records > 0;
        }
    }
    restoration.records = records;
    Ok(restoration)
}

/// What the checkpoint is to say.
pub(super) fn section(snapshot: &Snapshot, watch: &Watch, now: Moment) -> Section {
    let saved = Saved::of(&snapshot.budgets, watch, &snapshot.config.settings().timezone, now);
    // Numbers and texts: there is nothing in it that could not be written.
    (SECTION.to_owned(), serde_json::to_vec(&saved).unwrap_or_default())
}

/// The first moment that any window around `now` counts, in milliseconds since the Unix epoch.
fn reach(plan: &Plan, now: Moment) -> u64 {
    let begins = plan.entries().iter().map(|entry| {
        let span = entry.account.span();
        let bounds = span.bounds(span.clock(now));
        if span.is_rolling() { span.bounds_of(span.oldest_live(bounds.epoch)).from } else { bounds.from }
    });
    begins.min().unwrap_or(now.wall_ms)
}

/// Hands each account that a record charges to `each`, with how much.
pub(super) fn charge(plan: &Plan, who: Who, model: u32, facts: &Facts, mut each: impl FnMut(&Account, u64)) {
    if plan.is_empty() || !facts.is_call() {
        return;
    }
    let used = used_by(facts);
    for (entry, _) in plan.whole(who).entries().chain(plan.model(who, model).entries()) {
        let account = &plan.entry(entry).account;
        each(account, used.of(account.key.metric));
    }
}

/// What a record charges: a call where the provider did the work, tokens and cost in any case.
fn used_by(facts: &Facts) -> Amounts {
    let outcome = Outcome::ALL.get(usize::from(facts.outcome));
    let calls = u64::from(outcome.is_some_and(|outcome| outcome.did_work()));
    Amounts { calls, input: facts.input, output: facts.output, cost: facts.cost.0 }
}

/// Finds the indexes of a configuration behind the ids of records.
pub(super) struct Whose {
    pub(super) generation: u64,
    config: Arc<Config>,
    projects: HashMap<Box<str>, u32>,
    /// Those of projects that were asked for.
    tokens: HashMap<u32, HashMap<Box<str>, u32>>,
}

impl Whose {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let config = Arc::clone(&snapshot.config);
        let projects = config.projects().iter().enumerate();
        let projects = projects.map(|(index, project)| (project.id.as_str().into(), index as u32)).collect();
        Self { generation: snapshot.generation, config, projects, tokens: HashMap::new() }
    }

    /// Whose a record is, and the index of its model; what the configuration has no more is [`NONE`].
    pub(super) fn of(&mut self, ids: &RecordIds<'_>) -> (Who, u32) {
        let project = |id: &str| self.projects.get(id).copied().unwrap_or(NONE);
        let billed = project(ids.project);
        let owner = if ids.token_project.is_empty() { billed } else { project(ids.token_project) };
        let token = self.token(owner, ids.token);
        let model = self.config.model_index(ids.model).map_or(NONE, |index| index as u32);
        (Who { project: billed, owner, token }, model)
    }

    fn token(&mut self, owner: u32, id: &str) -> u32 {
        let Some(project) = self.config.projects().get(owner as usize) else { return NONE };
        let tokens = self.tokens.entry(owner).or_insert_with(|| {
            let tokens = project.tokens.iter().enumerate();
            tokens.map(|(index, token)| (token.id.as_str().into(), index as u32)).collect()
        });
        tokens.get(id).copied().unwrap_or(NONE)
    }
}

/// Where admissions lie on the steady clock, told by the wall clock's reading that records have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    now: Moment,
    /// Steady clock when the wall clock was last found to have been set.
    stepped_ms: u64,
}

/// How far the clocks may go apart between two looks, in milliseconds, without one having been set.
const SLEW_MS_MAX: i64 = 100;

impl Clocks {
    pub(super) fn new(now: Moment) -> Self {
        Self { now, stepped_ms: 0 }
    }

    /// What both say now.
    pub(super) fn look(&mut self, now: Moment) {
        let apart = |moment: Moment| moment.wall_ms as i64 - moment.steady_ms as i64;
        if (apart(now) - apart(self.now)).abs() > SLEW_MS_MAX {
            self.stepped_ms = now.steady_ms;
        }
        self.now = now;
    }

    /// When the request of a record of this process was admitted.
    pub(super) fn admitted(&self, facts: &Facts) -> Moment {
        let Moment { wall_ms, steady_ms } = self.now;
        // By what it took, which says too little where its record had to wait: it counts for too long then.
        let by_latency = steady_ms.saturating_sub(u64::from(facts.latency_ms));
        let by_wall = facts.admitted_ms.saturating_add(steady_ms).saturating_sub(wall_ms).min(steady_ms);
        let is_before_step = by_latency.min(by_wall) <= self.stepped_ms;
        let steady_ms = if is_before_step { by_latency } else { by_wall };
        Moment { wall_ms: facts.admitted_ms, steady_ms }
    }
}

/// Writes a line about something that happened to a limit.
pub(super) fn log_event(event: &Event) {
    let Event { kind, key, limit, used, .. } = event;
    let [limit, used] = [*limit, *used].map(|amount| in_words(key.metric, amount));
    let name = key.subject.ids().join(" / ");
    let mut fields = vec![
        ("level", Value::Text(key.subject.level())),
        ("name", Value::Text(&name)),
        ("window", Value::Display(&key.window)),
        ("limit", Value::Text(&limit)),
        ("used", Value::Text(&used)),
    ];
    match kind {
        Kind::Threshold { percent } => {
            fields.push(("percent", Value::Integer(u64::from(*percent))));
            log::warn("budget threshold reached", &fields);
        }
        Kind::Exhausted => log::warn("budget exhausted", &fields),
        Kind::Reset => log::info("budget reset", &fields),
    }
}

/// Hands it to the thread that sends notifications, which is never waited for.
pub(super) fn tell(mailbox: &Mailbox, metrics: &Metrics, event: &Event) {
    if mailbox.send_to_notifier(ToNotifier::Event(Box::new(event::Event::Budget(event.clone())))).is_err() {
        metrics.control.notifications_lost.add(1);
        log::error("a notification is lost: too many are on their way", &[]);
    }
}

#[cfg(test)]
mod tests;
