//! Sequences of calls over virtual time.

use std::collections::VecDeque;

use super::*;

const RULES: BreakerRules =
    BreakerRules { failures: 5, error_percent: 50, samples_min: 10, window_ms: 10_000, cool_down_ms: 3_000 };

/// A breaker, and the time that its test is at.
struct Bench {
    breaker: Breaker,
    now_ms: u64,
    rules: BreakerRules,
}

impl Bench {
    fn new(rules: BreakerRules) -> Self {
        Self { breaker: Breaker::default(), now_ms: 1_000_000, rules }
    }

    /// Calls one after the other: `.` goes well, `x` fails. True for each that changed its state.
    fn calls(&self, calls: &str) -> Vec<bool> {
        let one = |call| match call {
            '.' => self.breaker.succeeded(|| self.now_ms, &self.rules),
            _ => self.breaker.failed(self.now_ms, &self.rules),
        };
        calls.chars().map(one).collect()
    }

    fn admission(&self) -> Admission {
        self.breaker.admit(|| self.now_ms, &self.rules)
    }

    fn is_open(&self) -> bool {
        self.breaker.looks_open(self.now_ms, &self.rules)
    }
}

#[test]
fn a_state_is_the_same_in_its_word() {
    assert_eq!(State::clean().pack(), State::NEW);
    assert_eq!(State::unpack(State::NEW), State::clean());
    for kind in [Kind::Closed, Kind::Open, Kind::Probing] {
        let state = State { kind, at_ms: 320_000_000_000, calls: 511, failed: 300, in_a_row: 255 };
        assert_eq!(State::unpack(state.pack()), state);
    }
    // Counts that do not fit keep their ratio, times and rows their largest value.
    let large = State { kind: Kind::Closed, at_ms: u64::MAX, calls: 10_000, failed: 5_000, in_a_row: 9_999 };
    let read = State::unpack(large.pack());
    assert_eq!((read.in_a_row, read.failed * 2), (255, read.calls));
    assert_eq!(read.at_ms, mask(TIME_BITS) * TIME_UNIT_MS);
}

#[test]
fn what_opens_it_and_what_does_not() {
    for (calls, opens) in [
        ("", false),
        ("....................", false),
        ("xxxx", false),
        ("xxxxx", true),
        ("xxxx.xxxx", false),
        // Half of ten calls, never five in a row.
        ("xxxx.....x", true),
        ("xxxx.....", false),
        ("x.x.x.x..x", true),
        ("x..x..x..x..x..x..", false),
        // Calls that went well before a first failure do not count.
        ("..........................xx.x.x.xx.x.", true),
    ] {
        let bench = Bench::new(RULES);
        // An opening in the middle of a row of calls counts.
        let changed = bench.calls(calls);
        assert_eq!(bench.is_open(), opens, "{calls}");
        assert_eq!(changed.iter().filter(|changed| **changed).count(), usize::from(opens), "{calls}");
    }
}

#[test]
fn either_way_of_opening_can_be_switched_off() {
    let rules = BreakerRules { failures: 0, ..RULES };
    let bench = Bench::new(rules);
    bench.calls("xxxxxxxxx");
    assert!(!bench.is_open(), "nine samples are too few");
    bench.calls("x");
    assert!(bench.is_open());
    let bench = Bench::new(BreakerRules { failures: 0, error_percent: 0, ..RULES });
    bench.calls(&"x".repeat(1_000));
    assert!(!bench.is_open());
    let bench = Bench::new(BreakerRules { failures: 3, error_percent: 0, ..RULES });
    bench.calls("xx.xx.xx.xx.xx.xx.");
    assert!(!bench.is_open());
    bench.calls("xxx");
    assert!(bench.is_open());
}

#[test]
fn a_window_forgets() {
    let mut bench = Bench::new(RULES);
    bench.calls("x.x.x.x.");
    bench.now_ms += RULES.window_ms;
    bench.calls("x.x.x.x.");
    assert!(!bench.is_open(), "four of eight in each window");
    bench.now_ms += RULES.window_ms + TIME_UNIT_MS;
    bench.calls(".");
    assert_eq!(bench.breaker.0.load(Ordering::Relaxed), State::NEW, "nothing to remember any more");
}

#[test]
fn one_probe_decides_after_the_cool_down() {
    let mut bench = Bench::new(RULES);
    bench.calls("xxxxx");
    assert_eq!(bench.admission(), Admission::Open);
    bench.now_ms += RULES.cool_down_ms - 1;
    assert_eq!(bench.admission(), Admission::Open);
    bench.now_ms += 1 + TIME_UNIT_MS;
    assert!(!bench.is_open());
    assert_eq!(bench.admission(), Admission::Probe);
    assert_eq!(bench.admission(), Admission::Open, "one is enough");
    // It fails: the same again.
    assert_eq!(bench.calls("x"), [true]);
    assert_eq!(bench.admission(), Admission::Open);
    bench.now_ms += RULES.cool_down_ms + TIME_UNIT_MS;
    assert_eq!(bench.admission(), Admission::Probe);
    assert_eq!(bench.calls("."), [true]);
    assert_eq!(bench.admission(), Admission::Closed);
    assert_eq!(bench.breaker.0.load(Ordering::Relaxed), State::NEW);
}

#[test]
fn a_probe_that_tells_nothing_is_replaced() {
    let mut bench = Bench::new(RULES);
    bench.calls("xxxxx");
    bench.now_ms += RULES.cool_down_ms + TIME_UNIT_MS;
    assert_eq!(bench.admission(), Admission::Probe);
    bench.breaker.probe_lost(bench.now_ms);
    assert_eq!(bench.admission(), Admission::Probe);
    // This one never comes back.
    bench.now_ms += RULES.cool_down_ms - TIME_UNIT_MS;
    assert_eq!(bench.admission(), Admission::Open);
    bench.now_ms += 2 * TIME_UNIT_MS;
    assert_eq!(bench.admission(), Admission::Probe);
}

#[test]
fn answers_to_requests_from_before_it_opened_change_nothing() {
    let mut bench = Bench::new(RULES);
    bench.calls("xxxxx");
    let word = bench.breaker.0.load(Ordering::Relaxed);
    bench.now_ms += 100;
    assert_eq!(bench.calls("x.x."), [false; 4]);
    assert_eq!(bench.breaker.0.load(Ordering::Relaxed), word);
    // Where nobody asked whether it may go, because there was nobody else: it works again.
    bench.now_ms += RULES.cool_down_ms;
    assert_eq!(bench.calls("."), [true]);
    assert_eq!(bench.admission(), Admission::Closed);
}

#[test]
fn many_cores_let_one_probe_through() {
    for _ in 0..50 {
        let bench = Bench::new(RULES);
        bench.calls("xxxxx");
        let later = bench.now_ms + RULES.cool_down_ms + TIME_UNIT_MS;
        let probes: usize = std::thread::scope(|scope| {
            let ask = || usize::from(bench.breaker.admit(|| later, &RULES) == Admission::Probe);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(probes, 1);
    }
}

/// A deterministic source of numbers (xorshift).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn simulated_outages_are_noticed_and_their_ends_as_well() {
    for mut seed in 1..=200 {
        let mut bench = Bench::new(RULES);
        let mut outcomes: VecDeque<(u64, bool)> = VecDeque::new();
        let (outage, end) = (bench.now_ms + 20_000, bench.now_ms + 60_000);
        let (mut failed_in_outage, mut after_end) = (0, 0);
        while bench.now_ms < end + 20_000 {
            bench.now_ms += next(&mut seed) % 100;
            while outcomes.front().is_some_and(|(at, _)| *at <= bench.now_ms) {
                let (_, well) = outcomes.pop_front().unwrap();
                bench.calls(if well { "." } else { "x" });
            }
            if bench.admission() == Admission::Open {
                after_end += usize::from(bench.now_ms > end + RULES.cool_down_ms + 200);
                continue;
            }
            let down = (outage..end).contains(&bench.now_ms);
            failed_in_outage += usize::from(down);
            outcomes.push_back((bench.now_ms + next(&mut seed) % 100, !down));
        }
        // Forty seconds: what was on its way at first, then a probe each three seconds.
        assert!(failed_in_outage <= 5 + 8 + 40_000 / 3_000, "{failed_in_outage} with seed {seed}");
        assert_eq!(after_end, 0, "left alone though it works, with seed {seed}");
    }
}
