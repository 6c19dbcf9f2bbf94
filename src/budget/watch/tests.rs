//! What is told of limits over virtual time: each thing once, whatever clocks, reloads and restarts do.

use serde_json::{Value, json};

use super::*;
use crate::budget::book::Book;
use crate::budget::plan::tests::{NOW, config};
use crate::config::Metric;

const DAY_MS: u64 = 86_400_000;

fn at(ms: u64) -> Moment {
    Moment { wall_ms: NOW.wall_ms + ms, steady_ms: NOW.steady_ms + ms }
}

/// Platform limits in force.
struct Limits {
    book: Book,
    plan: Plan,
    watch: Watch,
}

impl Limits {
    fn new(limits: Value) -> Self {
        let book = Book::new(2);
        let plan = plan(&book, limits);
        Self { book, plan, watch: Watch::default() }
    }

    /// Uses an amount of all limits, and looks.
    fn spend(&mut self, amount: u64, now: Moment) -> Vec<(Kind, u64)> {
        for entry in self.plan.entries() {
            entry.account.charge(0, amount, now);
            self.watch.look(entry, now);
        }
        self.told()
    }

    fn poll(&mut self, now: Moment) -> Vec<(Kind, u64)> {
        self.watch.next_poll_ms = 0;
        self.watch.poll(now);
        self.told()
    }

    fn told(&mut self) -> Vec<(Kind, u64)> {
        std::iter::from_fn(|| self.watch.next_event()).map(|event| (event.kind, event.used)).collect()
    }

    fn reload(&mut self, limits: Value, now: Moment) -> Vec<(Kind, u64)> {
        self.plan = plan(&self.book, limits);
        self.watch.adopt(&self.plan, now);
        self.told()
    }
}

fn plan(book: &Book, limits: Value) -> Plan {
    let config = config(json!({"budgets": limits}), [json!({}), json!({})], json!([]));
    Plan::build(book, &config, NOW)
}

fn daily(value: u64) -> Value {
    json!([{"metric": "output_tokens", "window": "daily", "value": value}])
}

fn threshold(percent: u8) -> Kind {
    Kind::Threshold { percent }
}

#[test]
fn threshold_exhausted_and_reset_come_once_per_window() {
    let mut limits = Limits::new(daily(100));
    assert_eq!(limits.spend(79, at(0)), []);
    assert_eq!(limits.spend(1, at(1)), [(threshold(80), 80)]);
    assert_eq!(limits.spend(19, at(2)), []);
    assert_eq!(limits.spend(7, at(3)), [(Kind::Exhausted, 106)]);
    assert_eq!(limits.spend(7, at(4)), []);
    assert_eq!(limits.poll(at(DAY_MS - 1)), []);
    assert_eq!(limits.poll(at(DAY_MS)), [(Kind::Reset, 0)]);
    assert_eq!(limits.poll(at(DAY_MS + 1)), []);
    assert_eq!(limits.spend(100, at(DAY_MS + 2)), [(threshold(80), 100), (Kind::Exhausted, 100)]);
    // Usage of the new window comes before anybody has looked at its beginning.
    assert_eq!(limits.spend(85, at(2 * DAY_MS)), [(Kind::Reset, 85), (threshold(80), 85)]);
    assert_eq!(limits.poll(at(3 * DAY_MS)), [(Kind::Reset, 0)]);
    assert_eq!(limits.poll(at(4 * DAY_MS)), [], "nothing was told of that day");
    assert!(limits.watch.told().next().is_none() || limits.poll(at(9 * DAY_MS)).is_empty());
    assert_eq!(limits.watch.watched.len(), 0, "what is over is forgotten");
}

#[test]
fn an_event_says_what_it_is_about() {
    let mut limits =
        Limits::new(json!([{"metric": "cost", "window": "daily", "value": 2, "notifyAt": [50]}]));
    limits.plan.entries()[0].account.charge(0, 1_000_000_000_000, at(7));
    limits.watch.look(&limits.plan.entries()[0], at(8));
    let event = limits.watch.next_event().unwrap();
    let expected = Event {
        kind: threshold(50),
        key: limits.plan.entries()[0].account.key.clone(),
        limit: 2_000_000_000_000,
        used: 1_000_000_000_000,
        from_ms: NOW.wall_ms,
        until_ms: NOW.wall_ms + DAY_MS,
        at_ms: NOW.wall_ms + 8,
    };
    assert_eq!(event, expected);
    assert_eq!((event.key.metric, event.key.subject.level()), (Metric::Cost, "platform"));
}

#[test]
fn a_limit_that_has_no_room_for_the_next_request_is_exhausted() {
    let mut limits = Limits::new(daily(100));
    assert_eq!(limits.spend(95, at(0)), [(threshold(80), 95)]);
    let account = Arc::clone(&limits.plan.entries()[0].account);
    assert!(account.reserve(0, 10, at(1)).is_err());
    assert_eq!(limits.poll(at(2)), [(Kind::Exhausted, 95)]);
    // A large request that does not fit into what is half used says nothing about the limit.
    let mut limits = Limits::new(daily(100));
    limits.spend(85, at(0));
    assert!(limits.plan.entries()[0].account.reserve(0, 20, at(1)).is_err());
    assert_eq!(limits.poll(at(2)), []);
}

#[test]
fn thresholds_are_those_of_the_limit_and_rates_name_theirs() {
    let limit = |window: &str, notify: Value| json!({"metric": "calls", "window": window, "value": 10, "notifyAt": notify});
    let mut limits = Limits::new(json!([limit("daily", json!([50, 100, 20]))]));
    assert_eq!(limits.spend(5, at(0)), [(threshold(50), 5), (threshold(20), 5)]);
    assert_eq!(limits.spend(5, at(0)), [(threshold(100), 10), (Kind::Exhausted, 10)]);
    let mut limits = Limits::new(json!([{"metric": "calls", "window": "rolling_minute", "value": 10}]));
    assert_eq!(limits.spend(10, at(0)), []);
    let mut limits = Limits::new(json!([limit("rolling_minute", json!([90]))]));
    assert_eq!(limits.spend(9, at(0)), [(threshold(90), 9)]);
    let mut limits = Limits::new(json!([{"metric": "calls", "window": "daily", "value": 0}]));
    assert_eq!(limits.spend(0, at(0)), [], "a lock is no budget");
}

#[test]
fn a_rolling_window_is_told_of_again_when_its_length_has_passed_and_there_is_room() {
    let mut limits = Limits::new(json!([{"metric": "calls", "window": "rolling_hour", "value": 10}]));
    let hour = 3_600_000;
    assert_eq!(limits.spend(8, at(0)), [(threshold(80), 8)]);
    assert_eq!(limits.spend(2, at(hour / 2)), [(Kind::Exhausted, 10)]);
    assert_eq!(limits.poll(at(hour - 1)), []);
    // The first part has left the window: room is back.
    assert_eq!(limits.poll(at(hour + hour / 32)), [(Kind::Reset, 2)]);
    assert_eq!(limits.spend(6, at(hour + hour / 31)), [(threshold(80), 8)]);
    // What is used without a pause has no end.
    assert_eq!(limits.spend(2, at(2 * hour)), []);
}

#[test]
fn a_clock_that_is_set_forwards_and_back_repeats_nothing() {
    let mut limits = Limits::new(daily(100));
    limits.spend(100, at(0));
    let ahead = Moment { wall_ms: NOW.wall_ms + DAY_MS, ..at(1) };
    assert_eq!(limits.poll(ahead), [(Kind::Reset, 0)]);
    assert_eq!(limits.spend(85, ahead), [(threshold(80), 85)]);
    assert_eq!(limits.poll(at(2)), []);
    assert_eq!(limits.spend(1, at(3)), []);
    assert_eq!(limits.poll(at(DAY_MS)), [(Kind::Reset, 85)], "the day that was told of too early");
    assert_eq!(limits.spend(0, at(DAY_MS)), []);
}

#[test]
fn a_reload_keeps_what_was_told_unless_the_value_makes_it_untrue() {
    let mut limits = Limits::new(daily(100));
    assert_eq!(limits.spend(100, at(0)).len(), 2);
    assert_eq!(limits.reload(daily(100), at(1)), []);
    assert_eq!(limits.reload(daily(200), at(2)), []);
    assert_eq!(limits.spend(70, at(3)), [(threshold(80), 170)]);
    assert_eq!(
        limits.reload(daily(150), at(4)),
        [(Kind::Exhausted, 170)],
        "a lower value is reached at once"
    );
    assert_eq!(limits.reload(json!([]), at(5)), []);
    assert_eq!(limits.watch.watched.len(), 0);
    assert_eq!(limits.reload(daily(10), at(6)), [], "a limit that was removed took its count with it");
}

#[test]
fn a_restart_repeats_nothing() {
    let mut limits = Limits::new(daily(100));
    limits.spend(90, at(0));
    let told: HashMap<Key, Told> =
        limits.watch.told().map(|(key, told)| (key.clone(), told.clone())).collect();
    let mut next = Limits::new(daily(100));
    next.plan.entries()[0].account.charge(0, 90, at(1));
    next.watch.restore(&next.plan, |key| told.get(key).cloned(), at(1));
    next.watch.adopt(&next.plan, at(1));
    assert_eq!(next.told(), []);
    assert_eq!(next.spend(10, at(2)), [(Kind::Exhausted, 100)]);
    assert_eq!(next.poll(at(DAY_MS)), [(Kind::Reset, 0)]);
    // The window ended while nobody ran.
    let mut late = Limits::new(daily(100));
    late.watch.restore(&late.plan, |key| told.get(key).cloned(), at(DAY_MS));
    late.watch.adopt(&late.plan, at(DAY_MS));
    assert_eq!(late.poll(at(DAY_MS)), [(Kind::Reset, 0)]);
}
