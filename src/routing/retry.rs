//! How often and when a request may be sent again.
//!
//! Pure: the caller hands in time, counts and random numbers.

use std::time::Duration;

/// Bounds of trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// Times that a model is asked again once no other is left to ask.
    pub retries: u32,
    /// Wait before the first of them; it doubles with each.
    pub base: Duration,
    /// Longest wait for anything.
    pub max: Duration,
    /// What retries may be of all first tries, in a hundred.
    pub budget_percent: u32,
    /// Retries that each core may do in a second, whatever the number of first tries.
    pub budget_per_second: u32,
    /// How long a key that had too many requests is left alone, where the provider does not say.
    pub cool_down: Duration,
    /// After which time without a beginning of an answer another model is asked beside the first; none: never.
    pub hedge_after: Option<Duration>,
}

/// The wait before retry number `retry`, from 0: exponential, and somewhere in its upper half, so that those who failed
/// together do not come back together. `random` decides where.
pub fn backoff(rules: &RetryRules, retry: u32, random: u64) -> Duration {
    let whole = rules.base.saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX)).min(rules.max);
    let us = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(us - random % (us / 2 + 1))
}

/// One retry, in the unit that the budget is kept in.
const RETRY: u64 = 1_000_000;
/// Seconds of its own rate that a bucket holds.
const BURST_SECONDS: u64 = 10;

/// What one core may still retry: a bucket that fills with time and with first tries.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryBudget {
    /// Millionths of a retry.
    level: u64,
    first_tries: u64,
    /// When it was filled last; none before it was used.
    filled_ms: Option<u64>,
}

impl RetryBudget {
    /// Takes one retry out of the bucket. `first_tries` counts all first tries of the core so far.
    pub fn take(&mut self, first_tries: u64, now_ms: u64, rules: &RetryRules) -> bool {
        let per_second = u64::from(rules.budget_per_second) * RETRY;
        let share = u64::from(rules.budget_percent) * RETRY / 100;
        let grown = match self.filled_ms.replace(now_ms) {
            // A core that has just started may retry what it could in a second.
            None => per_second,
            Some(before) => {
                let ms = now_ms.saturating_sub(before);
                let by_time = (u128::from(per_second) * u128::from(ms) / 1_000) as u64;
                by_time
                    .saturating_add((first_tries - self.first_tries.min(first_tries)).saturating_mul(share))
            }
        };
        self.first_tries = first_tries;
        // As much as comes in ten seconds, and at any rate as much as a hundred first tries bring.
        let room = (per_second * BURST_SECONDS).max(share.saturating_mul(100));
        self.level = self.level.saturating_add(grown).min(room);
        let may = self.level >= RETRY;
        if may {
            self.level -= RETRY;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RetryRules = RetryRules {
        retries: 1,
        base: Duration::from_millis(50),
        max: Duration::from_secs(2),
        budget_percent: 20,
        budget_per_second: 10,
        cool_down: Duration::from_secs(30),
        hedge_after: None,
    };

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        for (retry, full_ms) in
            [(0, 50), (1, 100), (2, 200), (5, 1_600), (6, 2_000), (31, 2_000), (99, 2_000)]
        {
            let waits: Vec<Duration> = (0..1_000_u64)
                .map(|n| backoff(&RULES, retry, n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
                .collect();
            let full = Duration::from_millis(full_ms);
            assert!(waits.iter().all(|wait| (full / 2..=full).contains(wait)), "{retry}");
            let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
            assert!(spread > full / 4, "{retry}: {spread:?}");
        }
        assert_eq!(backoff(&RetryRules { base: Duration::ZERO, ..RULES }, 3, 7), Duration::ZERO);
    }

    fn taken(budget: &mut RetryBudget, first_tries: u64, now_ms: u64, rules: &RetryRules) -> usize {
        (0..10_000).take_while(|_| budget.take(first_tries, now_ms, rules)).count()
    }

    #[test]
    fn a_budget_is_a_rate_and_a_share() {
        let mut budget = RetryBudget::default();
        assert_eq!(taken(&mut budget, 0, 0, &RULES), 10, "what a second has");
        assert_eq!(taken(&mut budget, 0, 500, &RULES), 5);
        assert_eq!(taken(&mut budget, 100, 500, &RULES), 20, "a fifth of a hundred");
        assert_eq!(taken(&mut budget, 100, 500, &RULES), 0);
        assert_eq!(taken(&mut budget, 104, 500, &RULES), 0, "four fifths of one");
        assert_eq!(taken(&mut budget, 105, 500, &RULES), 1, "nothing is lost on the way");
        // After a long time there is a burst, and no more than that.
        assert_eq!(taken(&mut budget, 1_000_000, 1_000_000_000, &RULES), 100);
        // Time that goes backwards gives nothing.
        assert_eq!(taken(&mut budget, 1_000_000, 0, &RULES), 0);
    }

    #[test]
    fn without_a_budget_nothing_is_retried() {
        let rules = RetryRules { budget_percent: 0, budget_per_second: 0, ..RULES };
        let mut budget = RetryBudget::default();
        assert_eq!(taken(&mut budget, 0, 0, &rules), 0);
        assert_eq!(taken(&mut budget, 1_000_000, 1_000_000, &rules), 0);
    }

    #[test]
    fn in_an_outage_retries_stay_a_share_of_the_load() {
        // Each of 1,000 requests in a second fails and wants three retries.
        let (mut budget, mut retried) = (RetryBudget::default(), 0_u64);
        for second in 0..60_u64 {
            for request in 0..1_000_u64 {
                let now_ms = second * 1_000 + request;
                let firsts = second * 1_000 + request + 1;
                retried += (0..3).filter(|_| budget.take(firsts, now_ms, &RULES)).count() as u64;
            }
        }
        let allowed = 60_000 * 20 / 100 + 60 * 10;
        assert!((allowed - 200..=allowed + 10).contains(&retried), "{retried}, {allowed}");
    }
}
