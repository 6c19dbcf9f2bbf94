//! `budget-remaining`: how much of its limits has the model left?
//!
//! Of all limits that a call of the model would count on, the one that is nearest to its end decides.

use crate::routing::Standing;

/// What is left of the nearest limit, as a share of it; 1 without limits.
#[inline]
pub(in crate::routing) fn point(standing: &Standing) -> f64 {
    standing.headroom
}

/// Share of a limit that is left, 0 to 1.
#[inline]
pub fn headroom(value: f64, current: f64) -> f64 {
    if value > 0.0 { ((value - current) / value).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_a_share_of_the_limit() {
        let cases = [
            ("untouched", 100.0, 0.0, 1.0),
            ("half used", 100.0, 50.0, 0.5),
            ("used up", 100.0, 100.0, 0.0),
            ("over", 100.0, 130.0, 0.0),
            ("nothing allowed", 0.0, 0.0, 0.0),
            ("below nothing", -1.0, 0.0, 0.0),
        ];
        for (name, value, current, expected) in cases {
            assert_eq!(headroom(value, current), expected, "{name}");
        }
    }

    #[test]
    fn without_limits_there_is_all_the_room() {
        assert_eq!(point(&Standing::default()), 1.0);
    }
}
