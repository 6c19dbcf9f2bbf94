//! The desk over virtual time.

use serde_json::json;

use super::*;
use crate::budget::event::Kind;
use crate::budget::key::Subject;
use crate::config::Window;
use crate::config::limit::Period;
use crate::limits::NOTIFY_ATTEMPTS_MAX;
use crate::notify::event::tests::{budget, config};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
/// 2023-11-15, 01:00 UTC.
const NIGHT: u64 = 1_700_010_000_000;

fn exhausted(project: &str) -> Event {
    let subject = Subject::Project { project: project.into() };
    Event::Budget(budget(Kind::Exhausted, subject, Window::Calendar(Period::Daily)))
}

fn hook(id: &str, more: serde_json::Value) -> serde_json::Value {
    let mut channel = json!({"id": id, "provider": "webhook", "url": "https://h/"});
    channel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    channel
}

fn settings(channels: &[serde_json::Value]) -> Config {
    config(&json!({"notifications": {"channels": channels}}))
}

fn sent() -> Result<Sent, Failure> {
    Ok(Sent { fixed_secure: None })
}

/// A far end that answers by a plan, and a clock that jumps from one thing to the next. Returns what was sent: seconds from
/// the start, event, channel, whether it was taken.
fn run(
    desk: &mut Desk<'_>,
    config: &Config,
    start_ms: u64,
    until_ms: u64,
    mut answer: impl FnMut(&Errand, u64) -> Result<Sent, Failure>,
) -> Vec<(u64, String, String, bool)> {
    let (mut now_ms, mut log) = (start_ms, Vec::new());
    loop {
        while let Some(errand) = desk.next(config.settings(), now_ms) {
            assert!(desk.is_busy() && desk.next(config.settings(), now_ms).is_none(), "one at a time");
            let result = answer(&errand, now_ms);
            let at = (now_ms - start_ms) / SECOND;
            log.push((at, errand.delivery.notice.id.clone(), errand.channel.id.clone(), result.is_ok()));
            desk.settle(&result, now_ms, 0);
        }
        match desk.next_due_ms() {
            Some(due_ms) if due_ms <= until_ms => now_ms = now_ms.max(due_ms),
            _ => return log,
        }
    }
}

#[test]
fn an_event_goes_once_to_each_channel_that_wants_it() {
    let home = tempfile::tempdir().unwrap();
    let metrics = NotifyMetrics::default();
    let config = settings(&[
        hook("all", json!({})),
        hook("resets", json!({"events": ["budget.reset"]})),
        hook("off", json!({"enabled": false})),
        hook("other", json!({"events": ["budget.exhausted", "disk.low"]})),
    ]);
    let mut desk = Desk::new(&metrics);
    // Before the queue is there.
    desk.take(&exhausted("p1"), &config, NIGHT);
    assert!(desk.next(config.settings(), NIGHT).is_none());
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT);
    assert_eq!(metrics.waiting.read(), 2);
    let log = run(&mut desk, &config, NIGHT, NIGHT + HOUR, |_, _| sent());
    let channels: Vec<&str> = log.iter().map(|(_, _, channel, _)| channel.as_str()).collect();
    assert_eq!(channels, ["all", "other"]);
    assert_eq!((metrics.sent.read(), metrics.waiting.read(), metrics.lost.read()), (2, 0, 0));
    // Another process of the same home is told of it again.
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT + HOUR);
    assert_eq!(run(&mut desk, &config, NIGHT, NIGHT + HOUR, |_, _| sent()), []);
}

#[test]
fn what_fails_is_tried_again_with_growing_waits_and_given_up_in_the_end() {
    let home = tempfile::tempdir().unwrap();
    let metrics = NotifyMetrics::default();
    let config = settings(&[hook("a", json!({})), hook("b", json!({}))]);
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT);
    let log = run(&mut desk, &config, NIGHT, NIGHT + 48 * HOUR, |errand, now_ms| {
        // One is down for good, the other for a minute.
        let is_up = errand.channel.id == "b" && now_ms >= NIGHT + 60 * SECOND;
        if is_up { sent() } else { Err(Failure::passing("down".to_owned())) }
    });
    let of = |id: &str| -> Vec<(u64, bool)> {
        log.iter().filter(|line| line.2 == id).map(|line| (line.0, line.3)).collect()
    };
    // With draws of 0 each wait is half of the whole.
    assert_eq!(of("b"), [(0, false), (5, false), (15, false), (35, false), (75, true)]);
    assert_eq!(of("a").len() as u32, NOTIFY_ATTEMPTS_MAX);
    let failures = u64::from(NOTIFY_ATTEMPTS_MAX) + 4;
    assert_eq!((metrics.sent.read(), metrics.lost.read(), metrics.failures.read()), (1, 1, failures));
}

#[test]
fn a_final_failure_is_not_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let metrics = NotifyMetrics::default();
    let config = settings(&[hook("a", json!({}))]);
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT);
    let log = run(&mut desk, &config, NIGHT, NIGHT + 48 * HOUR, |_, _| Err(Failure::last("gone".to_owned())));
    assert_eq!((log.len(), metrics.lost.read()), (1, 1));
}

#[test]
fn quiet_hours_hold_things_back_until_they_end() {
    let home = tempfile::tempdir().unwrap();
    let metrics = NotifyMetrics::default();
    let quiet = hook("quiet", json!({"quietHours": {"from": "22:00", "to": "07:00"}}));
    let config = settings(&[quiet, hook("loud", json!({}))]);
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT);
    let log = run(&mut desk, &config, NIGHT, NIGHT + 24 * HOUR, |_, _| sent());
    let told: Vec<(u64, &str)> = log.iter().map(|line| (line.0, line.2.as_str())).collect();
    assert_eq!(told, [(0, "loud"), (6 * 3_600, "quiet")]);
}

#[test]
fn a_channel_that_is_gone_takes_what_waits_with_it() {
    let home = tempfile::tempdir().unwrap();
    let metrics = NotifyMetrics::default();
    let config = settings(&[hook("a", json!({})), hook("b", json!({}))]);
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT);
    let config = settings(&[hook("b", json!({}))]);
    let log = run(&mut desk, &config, NIGHT, NIGHT + HOUR, |_, _| sent());
    assert_eq!((log.len(), metrics.lost.read(), metrics.waiting.read()), (1, 1, 0));
}

#[test]
fn a_crash_while_something_is_sent_sends_it_again_with_the_same_id() {
    let home = tempfile::tempdir().unwrap();
    let metrics = NotifyMetrics::default();
    let config = settings(&[hook("a", json!({}))]);
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT);
    desk.take(&exhausted("p1"), &config, NIGHT);
    let first = desk.next(config.settings(), NIGHT).unwrap();
    assert!(!desk.close(), "not while something is under way");
    std::mem::forget(desk);
    let mut desk = Desk::new(&metrics);
    desk.open(home.path(), &config, NIGHT + HOUR);
    let log = run(&mut desk, &config, NIGHT + HOUR, NIGHT + 2 * HOUR, |_, _| sent());
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].1, first.delivery.notice.id);
    assert!(desk.close());
}
