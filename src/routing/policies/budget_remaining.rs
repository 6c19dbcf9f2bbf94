//! `budget-remaining`: how much of its limits has the model left?
//!
//! Of all limits that a call of the model would count on, the one that is nearest to its end decides.

use crate::routing::Standing;

/// What is left of the nearest limit, as a share of it; 1 without limits.
#[inline]
pub(in crate::routing) fn point(standing: &Standing) -> f64 {
    standing.headroom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_limits_there_is_all_the_room() {
        assert_eq!(point(&Standing::default()), 1.0);
    }
}
