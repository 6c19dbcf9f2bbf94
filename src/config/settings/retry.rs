//! Settings of trying again: `upstream.retries` and its companions, `upstream.breaker`.

use std::time::Duration;

use super::{DAY_MS, Fields, ms, section, set};
use crate::routing::breaker::BreakerRules;
use crate::routing::retry::RetryRules;

/// Reads the keys in the section `upstream`.
pub(super) fn read_retry(f: &Fields<'_>, own: &mut RetryRules) {
    set(&mut own.retries, f.integer("retries", 0..=10).map(|n| n as u32));
    set(&mut own.base, f.duration("retryBaseMs", 0..=60_000));
    set(&mut own.max, f.duration("retryMaxMs", 0..=60_000));
    set(&mut own.budget_percent, f.integer("retryBudgetPercent", 0..=1_000).map(|n| n as u32));
    set(&mut own.budget_per_second, f.integer("retryBudgetPerSecond", 0..=1_000_000).map(|n| n as u32));
    set(&mut own.cool_down, f.duration("rateLimitCooldownMs", 0..=DAY_MS));
    let some = |time: Duration| (!time.is_zero()).then_some(time);
    set(&mut own.hedge_after, f.duration("hedgeAfterMs", 0..=DAY_MS).map(some));
}

/// Reads `breaker` in the section `upstream`.
pub(super) fn read_breaker(f: &Fields<'_>, own: &mut BreakerRules) {
    section(f, "breaker", |f| {
        set(&mut own.failures, f.integer("failures", 0..=255).map(|n| n as u32));
        set(&mut own.error_percent, f.integer("errorPercent", 0..=100).map(|n| n as u32));
        set(&mut own.samples_min, f.integer("samplesMin", 1..=256).map(|n| n as u32));
        set(&mut own.window_ms, f.integer("windowMs", 1_000..=DAY_MS));
        set(&mut own.cool_down_ms, f.integer("cooldownMs", 0..=DAY_MS));
    });
}

pub(super) const RETRY_DEFAULTS: RetryRules = RetryRules {
    retries: 1,
    base: ms(50),
    max: ms(2_000),
    budget_percent: 20,
    budget_per_second: 10,
    cool_down: ms(30_000),
    hedge_after: None,
};

pub(super) const BREAKER_DEFAULTS: BreakerRules =
    BreakerRules { failures: 5, error_percent: 50, samples_min: 20, window_ms: 10_000, cool_down_ms: 10_000 };
