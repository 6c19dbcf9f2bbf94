//! What is saved comes back where it belongs, whatever the clocks say meanwhile.

use serde_json::{Value, json};

use super::*;
use crate::budget::book::Book;
use crate::budget::plan::tests::{NOW, config};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn at(wall: u64, steady: u64) -> Moment {
    Moment { wall_ms: NOW.wall_ms + wall, steady_ms: NOW.steady_ms + steady }
}

fn plan(limits: Value, zone: &str) -> Plan {
    let settings = json!({"budgets": limits, "timezone": zone});
    Plan::build(&Book::new(2), &config(settings, [json!({}), json!({})], json!([])), NOW)
}

fn limit(window: &str) -> Value {
    json!([{"metric": "calls", "window": window, "value": 100}])
}

/// Uses and stores an amount at a time, saves at another, and says what a process that starts at a third one counts in its
/// first window, and so long afterwards.
fn restarted(
    window: &str,
    used_at: Moment,
    saved_at: Moment,
    started_at: Moment,
    later_ms: &[u64],
) -> Vec<u64> {
    let before = plan(limit(window), "UTC");
    let account = &before.entries()[0].account;
    account.charge(0, 7, used_at);
    account.store(7, used_at);
    let saved = Saved::of(&before, &Watch::default(), "UTC", saved_at);
    let bytes = serde_json::to_vec(&saved).unwrap();
    let read: Saved = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(read, saved);
    let after = plan(limit(window), "UTC");
    read.restore(&after, &mut Watch::default(), started_at);
    let account = &after.entries()[0].account;
    let stored: u64 = account.stored().iter().map(|stored| stored.used).sum();
    assert_eq!(stored, 7, "the next checkpoint knows it too");
    let later = |ms: &u64| Moment { wall_ms: started_at.wall_ms + ms, steady_ms: started_at.steady_ms + ms };
    later_ms.iter().map(|ms| account.level(later(ms)).used).collect()
}

#[test]
fn a_calendar_window_is_found_again_and_one_that_is_over_is_not() {
    let used =
        |started_at| restarted("daily", at(HOUR_MS, HOUR_MS), at(HOUR_MS, HOUR_MS), started_at, &[0])[0];
    assert_eq!(used(at(2 * HOUR_MS, 2 * HOUR_MS)), 7);
    assert_eq!(used(at(DAY_MS - 1, DAY_MS - 1)), 7);
    assert_eq!(used(at(DAY_MS, DAY_MS)), 0);
    // The clock was set back while nobody ran: within the day, and to the day before.
    assert_eq!(used(at(0, 0)), 7);
    let before = Moment { wall_ms: NOW.wall_ms - 1, steady_ms: NOW.steady_ms - 1 };
    let account = restarted("daily", at(HOUR_MS, HOUR_MS), at(HOUR_MS, HOUR_MS), before, &[0, 1]);
    assert_eq!(account, [0, 7], "the day before is another one; then the day comes as it was left");
}

#[test]
fn a_rolling_window_goes_on_where_it_was() {
    // Used at 0, saved at 10 minutes.
    let used = |started_at, later: &[u64]| {
        restarted("rolling_hour", at(0, 0), at(HOUR_MS / 6, HOUR_MS / 6), started_at, later)
    };
    let left = HOUR_MS - HOUR_MS / 6;
    let part = HOUR_MS / 64;
    // Nobody ran for a minute.
    let minute = HOUR_MS / 60;
    let start = at(HOUR_MS / 6 + minute, HOUR_MS / 6 + minute);
    assert_eq!(used(start, &[0, left - minute, left - minute + part + 1]), [7, 7, 0]);
    // The clock was set back by a day: no time has passed, as far as anybody can tell.
    let back = Moment { wall_ms: NOW.wall_ms - DAY_MS, steady_ms: NOW.steady_ms - DAY_MS };
    assert_eq!(used(back, &[0, left - 1, left + 2 * part]), [7, 7, 0]);
    // The old process had been set forwards by a day: its steady clock was behind its wall clock.
    let used = restarted(
        "rolling_hour",
        at(DAY_MS, 0),
        at(DAY_MS, 0),
        at(DAY_MS, DAY_MS),
        &[0, HOUR_MS - 1, HOUR_MS + 2 * part],
    );
    assert_eq!(used, [7, 7, 0]);
    // And back: ahead of it.
    let used = restarted(
        "rolling_hour",
        at(0, DAY_MS),
        at(0, DAY_MS),
        at(0, 0),
        &[0, HOUR_MS - 1, HOUR_MS + 2 * part],
    );
    assert_eq!(used, [7, 7, 0]);
}

#[test]
fn restarts_without_end_hold_nothing_for_longer() {
    let mut now = at(0, 0);
    let first = plan(limit("rolling_hour"), "UTC");
    first.entries()[0].account.add(7, now);
    let mut saved = Saved::of(&first, &Watch::default(), "UTC", now);
    let mut plans = 0;
    let gone_ms = loop {
        now = Moment { wall_ms: now.wall_ms + 30_000, steady_ms: now.steady_ms + 30_000 };
        // Two readings of the clocks are never quite of one moment.
        let read_at = Moment { wall_ms: now.wall_ms + plans % 2, ..now };
        let next = plan(limit("rolling_hour"), "UTC");
        saved.restore(&next, &mut Watch::default(), read_at);
        if next.entries()[0].account.level(read_at).used == 0 {
            break now.wall_ms - NOW.wall_ms;
        }
        saved = Saved::of(&next, &Watch::default(), "UTC", read_at);
        plans += 1;
    };
    assert!((HOUR_MS..=HOUR_MS + HOUR_MS / 64 + 30_000).contains(&gone_ms), "{gone_ms}");
}

#[test]
fn records_behind_the_checkpoint_were_admitted_when_they_say_but_never_in_the_future() {
    let saved = Saved::of(&Plan::default(), &Watch::default(), "UTC", at(1_000, 1_000));
    let steady =
        |record: u64, now: Moment| saved.admitted(NOW.wall_ms + record, now).steady_ms - NOW.steady_ms;
    assert_eq!(steady(2_000, at(9_000, 9_000)), 2_000);
    assert_eq!(steady(20_000, at(9_000, 9_000)), 9_000);
    // Set back: the checkpoint was just now.
    assert_eq!(steady(900, at(400, 400)), 300);
    assert_eq!(steady(2_000, at(400, 400)), 400);
}

#[test]
fn another_time_zone_keeps_what_is_spent_today() {
    let rome = plan(limit("daily"), "Europe/Rome");
    let account = &rome.entries()[0].account;
    // 17 November 2025, 00:00 UTC is one o'clock in Rome.
    account.add(7, at(0, 0));
    account.add(1, at(DAY_MS, DAY_MS));
    let saved = Saved::of(&rome, &Watch::default(), "Europe/Rome", at(DAY_MS, DAY_MS));
    let used = |zone: &str, now: Moment| {
        let next = plan(limit("daily"), zone);
        saved.restore(&next, &mut Watch::default(), now);
        next.entries()[0].account.level(now).used
    };
    assert_eq!(used("Europe/Rome", at(DAY_MS, DAY_MS)), 1);
    assert_eq!(used("UTC", at(DAY_MS, DAY_MS)), 1);
    assert_eq!(used("Asia/Tokyo", at(DAY_MS, DAY_MS)), 1);
}

#[test]
fn a_limit_is_known_by_all_that_it_is_about_and_nothing_else() {
    let many = |value: u64| {
        let limit = |metric: &str, window: &str| json!({"metric": metric, "window": window, "value": value});
        json!([
            limit("calls", "daily"),
            limit("input_tokens", "daily"),
            limit("calls", "weekly"),
            limit("calls", "rolling_day")
        ])
    };
    let before = plan(many(5), "UTC");
    for (used, entry) in (1..).zip(before.entries()) {
        entry.account.add(used, NOW);
    }
    let saved = Saved::of(&before, &Watch::default(), "UTC", NOW);
    let after = plan(many(9), "UTC");
    saved.restore(&after, &mut Watch::default(), NOW);
    let used: Vec<u64> = after.entries().iter().map(|entry| entry.account.level(NOW).used).collect();
    assert_eq!(used, [1, 2, 3, 4]);
    let other = plan(json!([{"metric": "output_tokens", "window": "daily", "value": 5}]), "UTC");
    saved.restore(&other, &mut Watch::default(), NOW);
    assert_eq!(other.entries()[0].account.level(NOW).used, 0, "a limit that is new begins at nothing");
}

#[test]
fn what_was_told_comes_back() {
    let before = plan(limit("daily"), "UTC");
    let mut watch = Watch::default();
    before.entries()[0].account.add(100, NOW);
    watch.look(&before.entries()[0], NOW);
    assert_eq!(std::iter::from_fn(|| watch.next_event()).count(), 2);
    let saved = Saved::of(&before, &watch, "UTC", NOW);
    let (after, mut next) = (plan(limit("daily"), "UTC"), Watch::default());
    saved.restore(&after, &mut next, at(9, 9));
    next.adopt(&after, at(9, 9));
    assert_eq!(next.next_event(), None);
    let told = |watch: &Watch| watch.told().map(|(_, told)| told.clone()).collect::<Vec<_>>();
    assert_eq!(told(&next), told(&watch));
}
