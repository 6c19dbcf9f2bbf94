//! Sums of calls, tokens and money: their shape. Who adds up is the control thread, from the records' facts.
//!
//! Every sum saturates: a counter that stands still is better than one that starts over.

use std::collections::HashMap;
use std::sync::Arc;

use crate::budget::money::Picodollars;

/// Sums over some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Input tokens, cached ones included.
    pub input_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// Input tokens read from a provider's cache.
    pub cached_input_tokens: u64,
    /// What the calls cost.
    pub cost: Picodollars,
}

impl Counts {
    /// Adds the sums of other calls.
    pub fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cost = self.cost.saturating_add(other.cost);
    }
}

/// Sums over all cores since the process started: altogether, and per project, project token and model.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// All calls.
    pub all: Counts,
    /// Per project id.
    pub projects: HashMap<Arc<str>, Counts>,
    /// Per project token id.
    pub tokens: HashMap<Arc<str>, Counts>,
    /// Per model id.
    pub models: HashMap<Arc<str>, Counts>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_wraps(a in any::<[u64; 2]>(), b in any::<u64>()) {
            let call = Counts { calls: 1, input_tokens: a[0], output_tokens: a[1], cost: Picodollars(b), ..Counts::default() };
            let mut counts = Counts::default();
            for _ in 0..3 {
                counts.merge(&call);
                let twice = counts;
                counts.merge(&twice);
            }
            prop_assert!(counts.input_tokens >= a[0] && counts.cost >= Picodollars(b));
        }
    }
}
