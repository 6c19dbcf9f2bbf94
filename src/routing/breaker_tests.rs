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

    /// Calls that are no probes, one after the other: `.` goes well, `x` fails. True for each that changed its state.
    fn calls(&self, calls: &str) -> Vec<bool> {
        calls.chars().map(|call| self.call(None, call == '.')).collect()
    }

    fn call(&self, probe: Option<Probe>, well: bool) -> bool {
        if well {
            self.breaker.succeeded(probe, || self.now_ms, &self.rules)
        } else {
            self.breaker.failed(probe, self.now_ms, &self.rules)
        }
    }

    /// The next request, which has to be a probe.
    fn probe(&self) -> Probe {
        match self.admission() {
            Admission::Probe(probe) => probe,
            other => panic!("{other:?}"),
        }
    }

    /// Opens it and lets the cool-down pass.
    fn opened(rules: BreakerRules) -> Self {
        let mut bench = Self::new(rules);
        bench.calls("xxxxx");
        bench.now_ms += rules.cool_down_ms + TIME_UNIT_MS;
        bench
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
    let at_ms = 320_000_000_000;
    for state in [
        State::Closed { since_ms: at_ms, calls: 511, failed: 300, in_a_row: 255 },
        State::Open { until_ms: at_ms, opening: 262_143, probes: 255 },
        State::Probing { since_ms: at_ms, opening: 131_072, probes: 1 },
    ] {
        assert_eq!(State::unpack(state.pack()), state);
    }
    // Counts that do not fit keep their ratio, times and rows their largest value.
    let large = State::Closed { since_ms: u64::MAX, calls: 10_000, failed: 5_000, in_a_row: 9_999 };
    let State::Closed { since_ms, calls, failed, in_a_row } = State::unpack(large.pack()) else { panic!() };
    assert_eq!((in_a_row, failed * 2), (255, calls));
    assert_eq!(since_ms, mask(TIME_BITS) * TIME_UNIT_MS);
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
    let probe = bench.probe();
    assert_eq!(bench.admission(), Admission::Open, "one is enough");
    // It fails: the same again.
    assert!(bench.call(Some(probe), false));
    assert_eq!(bench.admission(), Admission::Open);
    bench.now_ms += RULES.cool_down_ms + TIME_UNIT_MS;
    let probe = bench.probe();
    assert!(bench.call(Some(probe), true));
    assert_eq!(bench.admission(), Admission::Closed);
    assert_eq!(bench.breaker.0.load(Ordering::Relaxed), State::NEW);
}

#[test]
fn a_probe_that_tells_nothing_is_replaced() {
    let mut bench = Bench::opened(RULES);
    let first = bench.probe();
    bench.breaker.probe_lost(first, bench.now_ms);
    let second = bench.probe();
    assert_ne!(first, second, "within one unit of time");
    // This one never comes back.
    bench.now_ms += RULES.cool_down_ms - TIME_UNIT_MS;
    assert_eq!(bench.admission(), Admission::Open);
    bench.now_ms += 2 * TIME_UNIT_MS;
    bench.probe();
}

#[test]
fn a_probe_that_is_lost_late_lets_no_second_one_through() {
    let mut bench = Bench::opened(RULES);
    let first = bench.probe();
    bench.now_ms += RULES.cool_down_ms + TIME_UNIT_MS;
    let second = bench.probe();
    bench.breaker.probe_lost(first, bench.now_ms);
    assert_eq!(bench.admission(), Admission::Open, "the second one is out");
    assert!(bench.call(Some(second), true));
    bench.breaker.probe_lost(second, bench.now_ms);
    assert_eq!(bench.admission(), Admission::Closed);
}

#[test]
fn while_a_probe_is_out_nobody_else_decides() {
    let mut bench = Bench::opened(RULES);
    let probe = bench.probe();
    let word = bench.breaker.0.load(Ordering::Relaxed);
    // Answers to requests from before it opened.
    assert_eq!(bench.calls(".x.x"), [false; 4]);
    assert_eq!(bench.breaker.0.load(Ordering::Relaxed), word);
    assert!(bench.call(Some(probe), false));
    // That of a probe of an earlier opening is one of them.
    bench.now_ms += RULES.cool_down_ms + TIME_UNIT_MS;
    let next = bench.probe();
    assert_eq!([bench.call(Some(probe), true), bench.call(Some(probe), false)], [false; 2]);
    assert!(bench.call(Some(next), true));
}

#[test]
fn a_provider_that_answers_slower_than_the_cool_down_is_found_to_work_again() {
    let mut bench = Bench::opened(RULES);
    let first = bench.probe();
    for _ in 0..3 {
        bench.now_ms += RULES.cool_down_ms + TIME_UNIT_MS;
        bench.probe();
    }
    assert!(bench.call(Some(first), true));
    assert_eq!(bench.admission(), Admission::Closed);
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
            let ask = || usize::from(matches!(bench.breaker.admit(|| later, &RULES), Admission::Probe(_)));
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
        let mut outcomes: VecDeque<(u64, Option<Probe>, bool)> = VecDeque::new();
        let (outage, end) = (bench.now_ms + 20_000, bench.now_ms + 60_000);
        let (mut failed_in_outage, mut after_end) = (0, 0);
        while bench.now_ms < end + 20_000 {
            bench.now_ms += next(&mut seed) % 100;
            while outcomes.front().is_some_and(|(at, ..)| *at <= bench.now_ms) {
                let (_, probe, well) = outcomes.pop_front().unwrap();
                bench.call(probe, well);
            }
            let probe = match bench.admission() {
                Admission::Closed => None,
                Admission::Probe(probe) => Some(probe),
                Admission::Open => {
                    after_end += usize::from(bench.now_ms > end + RULES.cool_down_ms + 200);
                    continue;
                }
            };
            let down = (outage..end).contains(&bench.now_ms);
            failed_in_outage += usize::from(down);
            outcomes.push_back((bench.now_ms + next(&mut seed) % 100, probe, !down));
        }
        // Forty seconds: what was on its way at first, then a probe each three seconds.
        assert!(failed_in_outage <= 5 + 8 + 40_000 / 3_000, "{failed_in_outage} with seed {seed}");
        assert_eq!(after_end, 0, "left alone though it works, with seed {seed}");
    }
}
