//! `fairness`: do all models get their share of the project's requests?

/// What a model's share of the calls leaves: 1 while there are none.
#[inline]
pub(in crate::routing) fn point(calls: u64, total: u64) -> f64 {
    if total == 0 { 1.0 } else { 1.0 - calls as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_the_formula() {
        for (calls, total, expected) in [(0, 0, 1.0), (0, 8, 1.0), (2, 8, 0.75), (4, 8, 0.5), (8, 8, 0.0)] {
            assert_eq!(point(calls, total), expected, "{calls} of {total}");
        }
    }
}
