//! The only reader of time; everyone else is handed `now`.
#![expect(clippy::disallowed_methods, reason = "this is the room that reads time")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock as milliseconds since the Unix epoch; 0 when the clock stands before it.
#[inline]
pub fn unix_ms() -> u64 {
    since_epoch().as_millis() as u64
}

/// Wall clock since the Unix epoch; zero when the clock stands before it.
#[inline]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
