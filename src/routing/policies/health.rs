//! `health`: did the last calls fail?

use crate::routing::metrics::HealthRow;
use crate::routing::plan::HealthRules;
use crate::routing::{Reason, Standing};

/// Share of failures by weight, 0 to 1.
#[inline]
fn failing(row: &HealthRow) -> f64 {
    if row.calls > 0.0 { row.failures / row.calls } else { 0.0 }
}

/// Why a model is left alone: too many of its last calls failed, and it failed or was tried again less than a half-life ago.
/// So one request at a time finds out. Fewer calls than `minSamples` prove nothing. The breaker of the model's endpoint
/// counts as well.
#[inline]
pub(in crate::routing) fn exclusion(
    row: &HealthRow,
    rules: &HealthRules,
    standing: &Standing,
    now_ms: u64,
) -> Option<Reason> {
    if standing.is_broken {
        return Some(Reason::Broken);
    }
    let failing = failing(row);
    if row.samples < rules.min_samples || failing < rules.circuit_breaker || row.calls <= 0.0 {
        return None;
    }
    let retry_at_ms = row.last_failure_ms.max(standing.tried_ms).saturating_add(rules.half_life_ms);
    (now_ms < retry_at_ms).then_some(Reason::Health { failing, retry_at_ms })
}

/// 1 less the share of failures, as if `pseudoCounts` calls had succeeded before.
#[inline]
pub(in crate::routing) fn point(row: &HealthRow, rules: &HealthRules) -> f64 {
    let calls = row.calls + rules.pseudo_counts;
    if calls > 0.0 { 1.0 - row.failures / calls } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HealthRules =
        HealthRules { pseudo_counts: 2.0, circuit_breaker: 0.9, min_samples: 3, half_life_ms: 300_000 };
    const NOW: u64 = 1_000_000_000;

    fn row(failures: f64, calls: f64, samples: u32, failed_ago_ms: u64) -> HealthRow {
        HealthRow { failures, calls, samples, last_failure_ms: NOW - failed_ago_ms }
    }

    #[test]
    fn points_follow_the_formula() {
        let never = HealthRow::default();
        let cases = [
            ("no calls", never, RULES, 1.0),
            ("no failure", row(0.0, 8.0, 8, 0), RULES, 1.0),
            ("all failed", row(8.0, 8.0, 8, 0), RULES, 0.2),
            ("half failed", row(3.0, 6.0, 6, 0), RULES, 0.625),
            ("faded", row(0.5, 0.5, 4, 0), RULES, 0.8),
            (
                "nothing believed before",
                row(1.0, 4.0, 4, 0),
                HealthRules { pseudo_counts: 0.0, ..RULES },
                0.75,
            ),
            ("no calls, nothing believed", never, HealthRules { pseudo_counts: 0.0, ..RULES }, 1.0),
        ];
        for (name, row, rules, expected) in cases {
            assert!((point(&row, &rules) - expected).abs() < 1e-9, "{name}: {}", point(&row, &rules));
        }
    }

    #[test]
    fn a_failing_model_is_left_alone_until_the_half_life_has_passed() {
        let tried = |ago_ms| Standing { tried_ms: NOW - ago_ms, ..Standing::default() };
        let free = Standing::default();
        let open_again = HealthRules { circuit_breaker: 0.0, ..RULES };
        let cases = [
            ("no calls", HealthRow::default(), RULES, free, false),
            ("no calls, whatever the threshold", HealthRow::default(), open_again, free, false),
            ("too few calls", row(2.0, 2.0, 2, 1), RULES, free, false),
            ("enough calls", row(3.0, 3.0, 3, 1), RULES, free, true),
            ("below the threshold", row(8.9, 10.0, 10, 1), RULES, free, false),
            ("at the threshold", row(9.0, 10.0, 10, 1), RULES, free, true),
            ("just before the other try", row(9.0, 9.0, 9, 299_999), RULES, free, true),
            ("another try", row(9.0, 9.0, 9, 300_000), RULES, free, false),
            ("somebody else tries", row(9.0, 9.0, 9, 400_000), RULES, tried(299_999), true),
            (
                "the try is over, and nothing is known of it",
                row(9.0, 9.0, 9, 700_000),
                RULES,
                tried(300_000),
                false,
            ),
            ("nothing to try", row(0.0, 9.0, 9, 300_000), RULES, tried(1), false),
        ];
        for (name, row, rules, standing, excluded) in cases {
            let reason = exclusion(&row, &rules, &standing, NOW);
            assert_eq!(reason.is_some(), excluded, "{name}: {reason:?}");
        }
        let reason = exclusion(&row(4.0, 4.0, 4, 100), &RULES, &free, NOW);
        assert_eq!(reason, Some(Reason::Health { failing: 1.0, retry_at_ms: NOW + 299_900 }));
    }

    #[test]
    fn an_open_breaker_excludes_whatever_the_calls_say() {
        let broken = Standing { is_broken: true, ..Standing::default() };
        assert_eq!(exclusion(&HealthRow::default(), &RULES, &broken, NOW), Some(Reason::Broken));
    }
}
