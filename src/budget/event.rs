//! What happens to limits, for whoever wants to be told: threshold, exhausted, reset.
//!
//! A plain value without a reader of its own: [`watch`](super::watch) makes them on the control thread, which logs and
//! counts them and hands them on.
//!
//! Source: routing specification, section 11.

use super::key::Key;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Settled usage has reached a part of the limit that was to be told.
    Threshold {
        /// Which part, in percent.
        percent: u8,
    },
    /// Settled usage has reached the limit, or a request was turned away while more than nine tenths of it were used.
    Exhausted,
    /// A window of which something was told is over.
    Reset,
}

impl Kind {
    /// In one word, as the configuration and metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threshold { .. } => "threshold",
            Self::Exhausted => "exhausted",
            Self::Reset => "reset",
        }
    }
}

/// Something happened to a limit. Each comes once per limit and window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Which limit: whose usage ([`Subject`](super::key::Subject)), which metric, which window.
    pub key: Key,
    /// The limit's value: picodollars, calls or tokens.
    pub limit: u64,
    /// Settled usage in the window, in the same unit.
    pub used: u64,
    /// First moment of the window, in milliseconds since the Unix epoch; of the new one after a reset.
    pub from_ms: u64,
    /// First moment after it. A rolling window ends now.
    pub until_ms: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}
