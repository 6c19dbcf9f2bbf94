//! The only reader of time; everyone else is handed `now`.
#![expect(clippy::disallowed_methods, reason = "this is the room that reads time")]

use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds of the monotonic clock on a scale that all threads of the process share. Never 0.
pub fn process_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let start = *START;
    now().saturating_duration_since(start).as_millis() as u64 + 1
}

/// Both clocks, read together. From then on a reading of the monotonic one tells the time of day as well.
///
/// To be read anew now and then: the wall clock is set and slewed, the other is not.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    read_at: Instant,
    since_epoch: Duration,
}

impl WallClock {
    /// Reads both.
    #[must_use]
    pub fn read() -> Self {
        Self { read_at: now(), since_epoch: since_epoch() }
    }

    /// The wall clock's time at `now`, which may lie before the reading, as milliseconds since the Unix epoch.
    #[inline]
    #[must_use]
    pub fn unix_ms(&self, now: Instant) -> u64 {
        let time = match now.checked_duration_since(self.read_at) {
            Some(since) => self.since_epoch + since,
            None => self.since_epoch.saturating_sub(self.read_at.duration_since(now)),
        };
        time.as_millis() as u64
    }
}

/// The wall clock when the process first asked for it, plus the time since then, in milliseconds since the Unix epoch: the
/// same on all threads, and it never steps.
#[inline]
pub fn steady_ms(now: Instant) -> u64 {
    static START: OnceLock<WallClock> = OnceLock::new();
    START.get_or_init(WallClock::read).unix_ms(now)
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
