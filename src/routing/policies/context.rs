//! `context`: does the request fit into the model's context window?

use crate::routing::Reason;

/// Share of the window up to which there is room enough.
const ROOMY: f64 = 0.8;
/// How far the point falls from there to a full window.
const FALL: f64 = 0.9;

/// Why a model cannot take the request: its input and the output it may have fill the window.
#[inline]
pub(in crate::routing) fn exclusion(tokens: u64, window: Option<u64>) -> Option<Reason> {
    window.filter(|window| tokens >= *window).map(|window| Reason::Context { tokens, window })
}

/// 1 up to 80 % of the window, then falling to 0.1 at all of it.
#[inline]
pub(in crate::routing) fn point(tokens: u64, window: Option<u64>) -> f64 {
    let Some(window) = window else { return 1.0 };
    let usage = tokens as f64 / window as f64;
    if usage <= ROOMY { 1.0 } else { 1.0 - (usage - ROOMY) / (1.0 - ROOMY) * FALL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_the_table() {
        let cases = [
            ("window not known", 1_000_000, None, 1.0),
            ("nothing", 0, Some(1_000), 1.0),
            ("80 %", 800, Some(1_000), 1.0),
            ("85 %", 850, Some(1_000), 0.775),
            ("90 %", 900, Some(1_000), 0.55),
            ("95 %", 950, Some(1_000), 0.325),
            ("one token left", 999, Some(1_000), 0.1045),
        ];
        for (name, tokens, window, expected) in cases {
            assert!((point(tokens, window) - expected).abs() < 1e-9, "{name}: {}", point(tokens, window));
            assert_eq!(exclusion(tokens, window), None, "{name}");
        }
    }

    #[test]
    fn a_request_that_fills_the_window_excludes_the_model() {
        for (tokens, window) in [(1_000, 1_000), (1_001, 1_000), (u64::MAX, 1)] {
            assert_eq!(exclusion(tokens, Some(window)), Some(Reason::Context { tokens, window }));
        }
    }
}
