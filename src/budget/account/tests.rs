//! Accounts: cases, a simulation of many cores over virtual time against a naive count, and threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::buckets::CALENDAR_BUCKETS_MAX;
use super::*;
use crate::budget::key::Subject;
use crate::config::{Metric, Period, RollingUnit, Window};

const DAY_MS: u64 = 86_400_000;
/// A Monday, 00:00 UTC.
const MONDAY_MS: u64 = 1_763_337_600_000;
const DAILY: Window = Window::Calendar(Period::Daily);
const SECOND: Window = Window::Rolling { amount: 1, unit: RollingUnit::Second };
const MINUTE: Window = Window::Rolling { amount: 1, unit: RollingUnit::Minute };

fn account(window: Window, limit: u64, cores: usize) -> Account {
    let key = Key { subject: Subject::Platform, metric: Metric::Calls, window };
    Account::new(key, Span::new(window, &TimeZone::UTC), limit, cores)
}

fn at(ms: u64) -> Moment {
    Moment { wall_ms: MONDAY_MS + ms, steady_ms: MONDAY_MS + ms }
}

/// Days since that Monday on either clock.
fn day(wall: u64, steady: u64) -> Moment {
    Moment { wall_ms: MONDAY_MS + wall * DAY_MS, steady_ms: MONDAY_MS + steady * DAY_MS }
}

fn level(used: u64, reserved: u64, limit: u64) -> Level {
    Level { used, reserved, limit }
}

#[test]
fn what_is_reserved_is_settled_or_released() {
    let account = account(DAILY, 10, 1);
    let place = account.reserve(0, 6, at(0)).unwrap();
    assert_eq!(account.level(at(0)), level(0, 6, 10));
    let full = account.reserve(0, 5, at(0)).unwrap_err();
    assert_eq!(full, Full { level: level(0, 6, 10), asked: 5, resets_at_ms: MONDAY_MS + DAY_MS });
    let other = account.reserve(0, 4, at(0)).unwrap();
    account.settle(0, place, 6, 2);
    account.settle(0, other, 4, 0);
    assert_eq!(account.level(at(0)), level(2, 0, 10));
    assert!(account.reserve(0, 8, at(0)).is_ok());
}

#[test]
fn what_is_left_is_a_share_of_the_limit() {
    let cases = [
        ("untouched", level(0, 0, 100), 1.0),
        ("half used", level(30, 20, 100), 0.5),
        ("used up", level(100, 0, 100), 0.0),
        ("over", level(130, 1, 100), 0.0),
        ("nothing allowed", level(0, 0, 0), 0.0),
    ];
    for (name, level, expected) in cases {
        assert_eq!(level.headroom(), expected, "{name}");
    }
    assert!(level(u64::MAX - 1, 0, u64::MAX).headroom() > 0.0, "the last one");
}

#[test]
fn a_glance_is_right_near_the_limit_and_a_little_old_far_from_it() {
    let near = |account: &Account, ms, expected: f64| (account.headroom(at(ms)) - expected).abs() < 1e-6;
    let small = account(DAILY, 4, 2);
    for (ms, expected) in [(0, 1.0), (1, 0.75), (2, 0.5), (3, 0.25), (4, 0.0)] {
        assert!(near(&small, ms, expected) && near(&small, ms, expected), "{ms}");
        let place = small.reserve(0, 1, at(ms));
        assert_eq!(place.is_err(), expected == 0.0);
        place.into_iter().for_each(|place| small.settle(0, place, 1, 1));
    }
    small.set_limit(8);
    assert!(near(&small, 4, 0.5), "room is seen at once");

    let large = account(DAILY, 1_000_000, 2);
    make_shared(&large);
    let place = large.reserve(0, 1_000, at(0)).unwrap();
    assert_ne!(place.turn, Place::SHARED, "on a slice of its own");
    let before = large.headroom(at(0));
    large.settle(0, place, 1_000, 3_000);
    assert!(near(&large, GLANCE_MS - 1, before), "as it was seen");
    assert!(large.headroom(at(GLANCE_MS)) < before - 1e-4);
}

#[test]
fn a_limit_is_reached_at_its_value_and_zero_blocks_always() {
    let calls = account(DAILY, 1, 2);
    assert!(calls.reserve(0, 1, at(0)).is_ok());
    assert!(calls.reserve(1, 1, at(0)).is_err());
    assert!(calls.reserve(1, 0, at(0)).is_err(), "what costs nothing is refused too");
    let none = account(DAILY, 0, 2);
    assert_eq!(none.reserve(0, 0, at(0)).unwrap_err().level, level(0, 0, 0));
    assert!(none.refuses());
    none.set_limit(1);
    assert!(!none.refuses() && none.reserve(0, 0, at(0)).is_ok() && none.reserve(0, 1, at(0)).is_ok());
}

#[test]
fn usage_beyond_its_estimate_counts_in_full() {
    let account = account(DAILY, 100, 1);
    let place = account.reserve(0, 10, at(0)).unwrap();
    account.settle(0, place, 10, 250);
    assert_eq!(account.level(at(0)), level(250, 0, 100));
    account.charge(0, u64::MAX, at(0));
    assert_eq!(account.level(at(0)).used, u64::MAX);
    assert_eq!(account.reserve(0, u64::MAX, at(0)).unwrap_err().level.used, u64::MAX);
}

#[test]
fn a_calendar_window_starts_anew_and_charges_the_one_of_the_admission() {
    let account = account(DAILY, 2, 1);
    let late = account.reserve(0, 1, at(DAY_MS - 1)).unwrap();
    let also_late = account.reserve(0, 1, at(DAY_MS - 1)).unwrap();
    assert!(account.reserve(0, 1, at(DAY_MS - 1)).is_err());
    let early = account.reserve(0, 1, at(DAY_MS)).unwrap();
    account.settle(0, late, 1, 1);
    assert_eq!(account.level(at(DAY_MS)), level(0, 1, 2));
    account.settle(0, also_late, 1, 0);
    account.settle(0, early, 1, 1);
    account.charge(0, 1, at(DAY_MS - 1));
    assert_eq!(account.level(at(DAY_MS)), level(1, 0, 2));
    assert_eq!(account.level(at(0)), level(2, 0, 2), "the day before is still known");
}

#[test]
fn a_rolling_window_frees_what_has_left_it() {
    let account = account(SECOND, 3, 1);
    for ms in [0, 400, 800] {
        let place = account.reserve(0, 1, at(ms)).unwrap();
        account.settle(0, place, 1, 1);
    }
    let full = account.reserve(0, 1, at(900)).unwrap_err();
    // The oldest bucket is 15.625 ms long and counts in full.
    assert_eq!(full.resets_at_ms, MONDAY_MS + 1_016);
    assert_eq!(account.clears_in_ms(at(900)), 1_813 - 900);
    assert!(account.reserve(0, 1, at(1_015)).is_err());
    let slow = account.reserve(0, 1, at(1_016)).unwrap();
    assert!(account.reserve(0, 1, at(1_017)).is_err());
    // It runs for so long that nothing of it counts at its end.
    account.settle(0, slow, 1, 1);
    assert_eq!(account.level(at(5_000)), level(0, 0, 3));
    assert_eq!(account.reserve(0, 9, at(5_000)).unwrap_err().resets_at_ms, MONDAY_MS + 6_016);
}

#[test]
fn steps_of_the_wall_clock_do_not_touch_rolling_windows() {
    let account = account(MINUTE, 1, 1);
    account.charge(0, 1, at(0));
    for step in [-7_200_000_i64, 0, 7_200_000] {
        let moment = Moment { wall_ms: (MONDAY_MS as i64 + step) as u64, steady_ms: MONDAY_MS + 1_000 };
        let full = account.reserve(0, 1, moment).unwrap_err();
        assert_eq!(full.resets_at_ms, moment.wall_ms + 60_938 - 1_000);
    }
}

#[test]
fn a_clock_that_steps_finds_each_calendar_window_as_it_left_it() {
    let account = account(DAILY, 2, 1);
    account.charge(0, 2, day(0, 0));
    // A year ahead by mistake, and back.
    account.charge(0, 1, day(365, 0));
    assert!(account.reserve(0, 1, day(0, 0)).is_err(), "stepping forth and back frees nothing");
    assert!(account.reserve(0, 2, day(1, 1)).is_ok(), "and blocks nothing");
    assert_eq!(account.level(day(365, 1)), level(1, 0, 2));
    assert!(account.reserve(0, 1, day(0, 1)).is_err());
}

#[test]
fn the_count_of_a_calendar_window_is_kept_for_three_lengths_after_its_use() {
    let account = account(DAILY, 2, 1);
    account.charge(0, 2, day(300, 0));
    account.charge(0, 2, day(3, 3));
    assert_eq!(account.level(day(300, 3)).used, 2);
    account.charge(0, 2, day(7, 7));
    assert_eq!(account.level(day(300, 7)).used, 0, "so much time has passed that it is a window of its own");
    assert_eq!(lock(&account.shared).buckets.all.len(), 2);
}

#[test]
fn a_clock_that_is_set_without_end_fills_no_memory_and_frees_nothing() {
    let account = account(DAILY, 1, 1);
    let passed = (0..1_000).chain(0..1_000).filter(|n| account.reserve(0, 1, day(*n, 0)).is_ok()).count();
    assert_eq!(passed, CALENDAR_BUCKETS_MAX);
}

#[test]
fn what_was_settled_before_the_start_counts() {
    let account = account(DAILY, 5, 2);
    account.put_back(Stored { epoch: MONDAY_MS, used: 3, seen_ms: MONDAY_MS });
    account.add(1, at(6));
    assert_eq!(account.level(at(7)), level(4, 0, 5));
    let place = account.reserve(1, 1, at(7)).unwrap();
    account.settle(1, place, 1, 1);
    let stored = |used, ms| [Stored { epoch: MONDAY_MS, used, seen_ms: MONDAY_MS + ms }];
    assert_eq!(account.stored(), stored(4, 6), "its record is on its way");
    account.store(1, at(7));
    assert_eq!(account.stored(), stored(5, 7));
    assert!(account.reserve(0, 1, at(7)).is_err());
}

#[test]
fn a_lower_limit_takes_slices_back() {
    let account = account(DAILY, 1_000_000, 2);
    make_shared(&account);
    let used = account.level(at(0)).used;
    assert!(account.reserve(0, 1, at(0)).unwrap().turn != Place::SHARED, "decided on the core's slice");
    account.set_limit(used + 2);
    assert!(account.reserve(1, 1, at(0)).is_ok());
    assert!(account.reserve(0, 1, at(0)).is_err());
}

/// Uses an account from two cores in turn until it has shares.
fn make_shared(account: &Account) {
    for turn in 0..20 {
        account.charge(turn % 2, 1, at(0));
    }
    assert!(account.shares.get().is_some());
}

#[test]
fn far_from_the_limit_a_core_decides_alone_and_at_the_limit_nothing_is_leased() {
    let account = account(DAILY, 100_000, 4);
    make_shared(&account);
    let mut passed = account.level(at(0)).used;
    let mut shared_decisions = 0;
    for n in 0_usize.. {
        match account.reserve(n % 4, 1, at(0)) {
            Ok(place) => {
                shared_decisions += u64::from(place.turn == Place::SHARED);
                account.settle(n % 4, place, 1, 1);
                passed += 1;
            }
            Err(full) => {
                assert_eq!(full.level, level(100_000, 0, 100_000));
                break;
            }
        }
    }
    assert_eq!(passed, 100_000);
    // The last 4 cores × 4 × 8 calls, about.
    assert!(shared_decisions < 1_000, "{shared_decisions}");
    let shared = lock(&account.shared);
    assert!(shared.buckets.all.iter().all(|bucket| bucket.leased == 0));
}

// --- simulation

/// What a naive single counter would say: per bucket what is used and reserved.
#[derive(Default)]
struct Naive {
    buckets: BTreeMap<u64, (u64, u64)>,
}

impl Naive {
    fn committed(&self, span: &Span, epoch: u64) -> u64 {
        let live = self.buckets.range(span.oldest_live(epoch)..=epoch);
        live.map(|(_, (used, reserved))| used + reserved).sum()
    }
}

struct Running {
    core: usize,
    place: Place,
    amount: u64,
}

/// A seeded run: `cores` cores, requests that overlap, time that passes and steps.
struct Simulation {
    account: Account,
    naive: Naive,
    running: Vec<Running>,
    now: Moment,
    /// How far requests went beyond what they had reserved.
    overrun: u64,
    /// Usage that nobody had reserved.
    charged: u64,
    admitted: u64,
    refused: u64,
    seed: u64,
}

impl Simulation {
    fn new(window: Window, limit: u64, cores: usize, seed: u64) -> Self {
        Self {
            account: account(window, limit, cores),
            naive: Naive::default(),
            running: Vec::new(),
            now: at(0),
            overrun: 0,
            charged: 0,
            admitted: 0,
            refused: 0,
            seed,
        }
    }

    /// xorshift64*.
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % below
    }

    fn reserve(&mut self, amount: u64, limit: u64) {
        let core = self.random(self.account.cores as u64) as usize;
        let span = self.account.span.clone();
        let epoch = span.bounds(span.clock(self.now)).epoch;
        let before = self.naive.committed(&span, epoch);
        match self.account.reserve(core, amount, self.now) {
            Ok(place) => {
                assert_eq!(place.epoch, epoch);
                let allowed = limit.saturating_add(self.overrun).saturating_add(self.charged);
                assert!(before + amount.max(1) <= allowed, "over: {before} + {amount} of {limit}");
                self.naive.buckets.entry(epoch).or_default().1 += amount;
                self.running.push(Running { core, place, amount });
                self.admitted += 1;
            }
            Err(full) => {
                assert!(before + amount.max(1) > limit, "refused at {before} + {amount} of {limit}");
                assert_eq!(full.level.used + full.level.reserved, before, "told what the count is");
                assert!(full.resets_at_ms > self.now.wall_ms);
                self.refused += 1;
            }
        }
    }

    fn end_one(&mut self, overruns: bool) {
        if self.running.is_empty() {
            return;
        }
        let index = self.random(self.running.len() as u64) as usize;
        let Running { core, place, amount } = self.running.swap_remove(index);
        let used = match self.random(4) {
            0 => 0,
            1 => amount,
            2 => self.random(amount + 1),
            _ if overruns => amount + self.random(amount + 1),
            _ => amount,
        };
        self.overrun += used.saturating_sub(amount);
        self.account.settle(core, place, amount, used);
        let bucket = self.naive.buckets.get_mut(&place.epoch).unwrap();
        bucket.1 -= amount;
        bucket.0 += used;
    }

    fn check_level(&self) {
        let span = &self.account.span;
        let epoch = span.bounds(span.clock(self.now)).epoch;
        let level = self.account.level(self.now);
        let live = self.naive.buckets.range(span.oldest_live(epoch)..=epoch);
        let expected = live.fold((0, 0), |sum, (_, bucket)| (sum.0 + bucket.0, sum.1 + bucket.1));
        assert_eq!((level.used, level.reserved), expected, "nothing lost, nothing left");
    }
}

#[test]
fn any_cores_decide_as_one_counter_would() {
    let windows = [DAILY, SECOND, MINUTE, Window::Calendar(Period::Hourly)];
    let (mut admitted, mut refused, mut leased) = (0, 0, 0);
    for seed in 1..=120_u64 {
        let window = windows[seed as usize % windows.len()];
        let cores = 1 + seed as usize % 9;
        let mut limit = [5, 60, 1_000, 50_000][(seed / 4) as usize % 4];
        let overruns = seed % 3 == 0;
        let mut simulation = Simulation::new(window, limit, cores, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        println!("seed {seed}: {window:?}, limit {limit}, {cores} cores, overruns {overruns}");
        for _ in 0..4_000 {
            match simulation.random(100) {
                0..45 => {
                    let amount = match simulation.random(10) {
                        0 => 0,
                        1..7 => 1,
                        7 | 8 => simulation.random(limit / 20 + 2),
                        _ => simulation.random(limit * 2),
                    };
                    simulation.reserve(amount, limit);
                }
                45..88 => simulation.end_one(overruns),
                88..91 => {
                    let core = simulation.random(cores as u64) as usize;
                    let used = simulation.random(3);
                    simulation.account.charge(core, used, simulation.now);
                    let span = &simulation.account.span;
                    let epoch = span.bounds(span.clock(simulation.now)).epoch;
                    simulation.naive.buckets.entry(epoch).or_default().0 += used;
                    simulation.charged += used;
                }
                91..97 => {
                    let passed = match simulation.random(8) {
                        0 => simulation
                            .random(window.rolling_length().map_or(2_000_000, |w| w.as_millis() as u64)),
                        _ => simulation.random(8),
                    };
                    simulation.now.wall_ms += passed;
                    simulation.now.steady_ms += passed;
                }
                // The wall clock is set: up to two windows on, and back to where it should be.
                97 => {
                    let length = if window == DAILY { DAY_MS } else { 3_600_000 };
                    simulation.now.wall_ms = simulation.now.steady_ms + simulation.random(3) * length;
                }
                98 => simulation.now.wall_ms = simulation.now.steady_ms,
                _ if simulation.random(20) == 0 => {
                    limit = limit / 2 + simulation.random(limit + 2);
                    simulation.account.set_limit(limit);
                }
                _ => simulation.check_level(),
            }
        }
        while !simulation.running.is_empty() {
            simulation.end_one(overruns);
        }
        simulation.check_level();
        assert_eq!(simulation.account.level(simulation.now).reserved, 0, "nothing is left reserved");
        admitted += simulation.admitted;
        refused += simulation.refused;
        leased += u64::from(simulation.account.shares.get().is_some());
    }
    assert!(admitted > 50_000 && refused > 20_000 && leased > 50, "{admitted} {refused} {leased}");
}

proptest! {
    /// However far and often the wall clock is set: no calendar window admits more than its limit.
    #[test]
    fn no_clock_makes_a_window_admit_more_than_its_limit(
        steps in prop::collection::vec((-400_i64..400, 0_usize..3, 1_u64..4), 1..300),
    ) {
        let account = account(Window::Calendar(Period::Hourly), 6, 3);
        let mut now = at(1_000 * DAY_MS);
        let mut per_window: BTreeMap<u64, u64> = BTreeMap::new();
        for (hours, core, amount) in steps {
            now.wall_ms = now.wall_ms.saturating_add_signed(if hours % 4 == 0 { hours * 3_600_000 } else { 1_000 });
            if let Ok(place) = account.reserve(core, amount, now) {
                account.settle(core, place, amount, amount);
                *per_window.entry(place.epoch).or_default() += amount;
            }
        }
        for (window, used) in per_window {
            prop_assert!(used <= 6, "window {} admitted {}", window, used);
        }
    }
}

// --- threads

#[test]
fn with_so_many_calls_left_exactly_so_many_pass_on_any_number_of_threads() {
    for (limit, threads) in [(1, 8), (100, 8), (10_000, 4), (50_000, 16)] {
        let account = account(DAILY, limit, threads);
        let (passed, released) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for core in 0..threads {
                let (account, passed, released) = (&account, &passed, &released);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    let mut refusals = 0;
                    for n in 0_u64.. {
                        match account.reserve(core, 1, at(0)) {
                            Ok(place) => held.push(place),
                            Err(_) => refusals += 1,
                        }
                        // Some requests fail and give their call back.
                        if held.len() > 10 || refusals > 0 {
                            for place in held.drain(..) {
                                let fails = u64::from((n ^ u64::from(place.turn)) % 7 == 0 && refusals == 0);
                                account.settle(core, place, 1, 1 - fails);
                                passed.fetch_add(1 - fails, Ordering::Relaxed);
                                released.fetch_add(fails, Ordering::Relaxed);
                            }
                        }
                        if refusals > 50 {
                            break;
                        }
                    }
                });
            }
        });
        // Calls given back at the very end may be left when all have seen enough refusals.
        while let Ok(place) = account.reserve(0, 1, at(0)) {
            account.settle(0, place, 1, 1);
            passed.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(passed.into_inner(), limit);
        assert_eq!(account.level(at(0)), level(limit, 0, limit));
    }
}

#[test]
fn a_burst_of_threads_gets_exactly_what_is_left() {
    for round in 0..40_u64 {
        let (threads, limit) = (8, 20 + round * 13);
        let account = account(MINUTE, limit, threads);
        let passed = AtomicU64::new(0);
        let barrier = std::sync::Barrier::new(threads);
        std::thread::scope(|scope| {
            for core in 0..threads {
                let (account, passed, barrier) = (&account, &passed, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let admitted = (0..limit).filter(|_| account.reserve(core, 1, at(0)).is_ok()).count();
                    passed.fetch_add(admitted as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(passed.into_inner(), limit);
    }
}
