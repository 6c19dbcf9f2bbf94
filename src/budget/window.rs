//! Windows of time: which bucket of a limit a moment falls into, and which buckets count together.
//!
//! Calendar windows have one bucket each and follow the wall clock in a time zone. Rolling windows are cut into
//! [`ROLLING_BUCKETS`] buckets; a window counts the one that is being filled and as many before it, the partly expired
//! oldest one in full, so that it never counts too little. They follow the steady clock, which no one sets: a step of
//! the wall clock neither frees nor prolongs them. Pure: time is an argument.
//!
//! Source: routing specification, section 8.1.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::config::{Period, Window};

/// Buckets of a rolling window beside the one that is being filled.
pub const ROLLING_BUCKETS: u64 = 64;

const HOUR_MS: u64 = 3_600_000;

/// A moment on both clocks, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time of day as the system tells it; it may be set forwards and backwards.
    pub wall_ms: u64,
    /// What the wall clock said when the process started, plus the time since then; it never goes back.
    pub steady_ms: u64,
}

/// The stretch of time of one bucket, on the clock of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Names the bucket; grows with time.
    pub epoch: u64,
    /// First millisecond.
    pub from: u64,
    /// First millisecond after it.
    pub until: u64,
}

impl Bounds {
    /// Holds no moment.
    pub const NONE: Self = Self { epoch: 0, from: 0, until: 0 };

    /// Whether a reading of the window's clock lies in it.
    #[inline]
    pub fn contains(&self, clock_ms: u64) -> bool {
        self.from <= clock_ms && clock_ms < self.until
    }
}

/// A kind of window with everything that its buckets depend on.
#[derive(Debug, Clone, PartialEq)]
pub enum Span {
    /// Begins at the marks of a calendar.
    Calendar {
        /// Which marks.
        period: Period,
        /// Whose calendar.
        zone: TimeZone,
    },
    /// The time before now.
    Rolling {
        /// Its length in milliseconds; at least a second.
        length_ms: u64,
    },
}

impl Span {
    /// The span of a configured window; calendar marks are those of `zone`.
    pub fn new(window: Window, zone: &TimeZone) -> Self {
        match window {
            Window::Calendar(period) => Self::Calendar { period, zone: zone.clone() },
            Window::Rolling { .. } => {
                let length = window.rolling_length().map_or(1_000, |length| length.as_millis() as u64);
                Self::Rolling { length_ms: length }
            }
        }
    }

    /// The reading that counts for this kind of window.
    #[inline]
    pub fn clock(&self, moment: Moment) -> u64 {
        match self {
            Self::Calendar { .. } => moment.wall_ms,
            Self::Rolling { .. } => moment.steady_ms,
        }
    }

    /// Whether it is a rolling window.
    #[inline]
    pub fn is_rolling(&self) -> bool {
        matches!(self, Self::Rolling { .. })
    }

    /// The bucket of a reading of the window's clock.
    ///
    /// A calendar bucket is named by its first millisecond, a rolling one by its number since 1970.
    pub fn bounds(&self, clock_ms: u64) -> Bounds {
        match self {
            Self::Calendar { period, zone } => {
                calendar(*period, zone, clock_ms).unwrap_or(Bounds { epoch: 0, from: 0, until: u64::MAX })
            }
            Self::Rolling { length_ms } => {
                let epoch = clock_ms.saturating_mul(ROLLING_BUCKETS) / length_ms;
                Bounds { epoch, from: self.begin(epoch), until: self.begin(epoch + 1) }
            }
        }
    }

    /// The stretch of time of a bucket that has this name.
    pub fn bounds_of(&self, epoch: u64) -> Bounds {
        match self {
            Self::Calendar { .. } => self.bounds(epoch),
            Self::Rolling { .. } => Bounds { epoch, from: self.begin(epoch), until: self.begin(epoch + 1) },
        }
    }

    /// First millisecond of a bucket.
    fn begin(&self, epoch: u64) -> u64 {
        match self {
            Self::Calendar { .. } => epoch,
            Self::Rolling { length_ms } => epoch.saturating_mul(*length_ms).div_ceil(ROLLING_BUCKETS),
        }
    }

    /// The oldest bucket that counts together with the one of `epoch`.
    #[inline]
    pub fn oldest_live(&self, epoch: u64) -> u64 {
        if self.is_rolling() { epoch.saturating_sub(ROLLING_BUCKETS) } else { epoch }
    }

    /// When, on its clock, a rolling bucket no longer counts.
    pub fn leaves_at(&self, bounds: Bounds) -> u64 {
        if self.is_rolling() { self.begin(bounds.epoch + ROLLING_BUCKETS + 1) } else { bounds.until }
    }
}

/// The calendar window around a wall-clock reading; none beyond the years that a calendar knows.
fn calendar(period: Period, zone: &TimeZone, wall_ms: u64) -> Option<Bounds> {
    let at = Timestamp::from_millisecond(i64::try_from(wall_ms).ok()?).ok()?;
    if period == Period::Hourly {
        // By the offset in force, so that the hour that a zone repeats in autumn is two windows.
        let offset_ms = i64::from(zone.to_offset(at).seconds()) * 1_000;
        let into = (wall_ms as i64 + offset_ms).rem_euclid(HOUR_MS as i64) as u64;
        let from = wall_ms.saturating_sub(into);
        return Some(Bounds { epoch: from, from, until: from + HOUR_MS });
    }
    let today = zone.to_datetime(at).date();
    let (first, next) = match period {
        Period::Hourly | Period::Daily => (today, today.tomorrow().ok()?),
        Period::Weekly => {
            let days = i64::from(today.weekday().since(Weekday::Monday));
            let monday = today.checked_sub(days.days()).ok()?;
            (monday, monday.checked_add(7.days()).ok()?)
        }
        Period::Monthly => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
        Period::Yearly => {
            let first = today.first_of_year();
            (first, first.checked_add(1.year()).ok()?)
        }
    };
    let begin = |date: Date| {
        // Where a zone skips midnight, the day begins after the gap.
        let zoned = date.to_zoned(zone.clone()).ok()?;
        u64::try_from(zoned.timestamp().as_millisecond()).ok()
    };
    let (from, until) = (begin(first).unwrap_or(0), begin(next)?);
    Some(Bounds { epoch: from, from, until })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::RollingUnit;

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn rolling(length_ms: u64) -> Span {
        Span::Rolling { length_ms }
    }

    #[test]
    fn calendar_windows_begin_at_the_marks_of_their_zone() {
        use Period::{Daily, Hourly, Monthly, Weekly, Yearly};
        let cases = [
            (Hourly, "UTC", "2026-11-20T20:15:30Z", "2026-11-20T20:00:00Z", "2026-11-20T21:00:00Z"),
            (Daily, "UTC", "2026-11-20T20:15:30Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            (Weekly, "UTC", "2026-11-20T20:15:30Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Weekly, "UTC", "2026-11-16T00:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Weekly, "UTC", "2026-11-15T23:59:59.999Z", "2026-11-09T00:00:00Z", "2026-11-16T00:00:00Z"),
            (Monthly, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Yearly, "UTC", "2026-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Daily, "Europe/Rome", "2026-11-20T23:30:00Z", "2026-11-20T23:00:00Z", "2026-11-21T23:00:00Z"),
            // 23 hours in spring, 25 in autumn.
            (Daily, "Europe/Rome", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Daily, "Europe/Rome", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            (
                Monthly,
                "America/New_York",
                "2026-11-01T03:59:59Z",
                "2026-10-01T04:00:00Z",
                "2026-11-01T04:00:00Z",
            ),
            // The hour that comes twice is two windows.
            (Hourly, "Europe/Rome", "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
            (Hourly, "Europe/Rome", "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
            (Hourly, "Asia/Kolkata", "2026-11-20T20:15:30Z", "2026-11-20T19:30:00Z", "2026-11-20T20:30:00Z"),
            // Midnight is skipped: the day begins at one o'clock.
            (Daily, "Asia/Beirut", "2021-03-28T12:00:00Z", "2021-03-27T22:00:00Z", "2021-03-28T21:00:00Z"),
        ];
        for (period, name, at, from, until) in cases {
            let span = Span::Calendar { period, zone: zone(name) };
            let bounds = span.bounds(ms(at));
            let expected = Bounds { epoch: ms(from), from: ms(from), until: ms(until) };
            assert_eq!(bounds, expected, "{period:?} {name} {at}");
            assert_eq!(span.leaves_at(bounds), expected.until);
        }
    }

    #[test]
    fn a_rolling_window_counts_the_bucket_being_filled_and_64_before_it() {
        let minute = Span::new(Window::Rolling { amount: 1, unit: RollingUnit::Minute }, &TimeZone::UTC);
        assert_eq!(minute, rolling(60_000));
        let bounds = minute.bounds(6_000_000);
        assert_eq!((bounds.epoch, bounds.from, bounds.until), (6_400, 6_000_000, 6_000_938));
        assert_eq!(minute.oldest_live(6_400), 6_336);
        assert_eq!(minute.leaves_at(bounds), 6_000_938 + 60_000);
    }

    #[test]
    fn times_beyond_the_calendar_are_one_window() {
        let span = Span::Calendar { period: Period::Yearly, zone: TimeZone::UTC };
        assert_eq!(span.bounds(u64::MAX).until, u64::MAX);
        assert!(rolling(1_000).bounds(u64::MAX).epoch > 0);
    }

    proptest! {
        /// The windows of a calendar lie side by side: each moment is in the window that begins it.
        #[test]
        fn calendar_windows_have_no_gaps(
            at in 0_u64..4_000_000_000_000, period in 0_usize..5, name in prop::sample::select(vec![
                "UTC", "Europe/Rome", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago",
            ]),
        ) {
            let period = [Period::Hourly, Period::Daily, Period::Weekly, Period::Monthly, Period::Yearly][period];
            let span = Span::Calendar { period, zone: zone(name) };
            let bounds = span.bounds(at);
            prop_assert!(bounds.contains(at));
            let next = span.bounds(bounds.until);
            prop_assert!(next.epoch > bounds.epoch && next.contains(bounds.until));
            if period != Period::Hourly {
                prop_assert_eq!(next.from, bounds.until);
                prop_assert_eq!(span.bounds(bounds.from), bounds);
            }
        }

        /// What happened within the window is in a live bucket; what left the live buckets is out of the window.
        #[test]
        fn a_rolling_window_never_counts_too_little(
            length in 1_000_u64..400_000_000, now in 400_000_000_u64..2_000_000_000_000, age in 0_u64..800_000_000,
        ) {
            let span = rolling(length);
            let then = now.saturating_sub(age);
            let (now_bounds, then_bounds) = (span.bounds(now), span.bounds(then));
            prop_assert!(now_bounds.contains(now));
            let is_live = then_bounds.epoch >= span.oldest_live(now_bounds.epoch);
            if age < length {
                prop_assert!(is_live);
            }
            // And never too much: a bucket's length more at the most, rounded up to milliseconds.
            if age > length + length / ROLLING_BUCKETS + 2 {
                prop_assert!(!is_live);
            }
            prop_assert_eq!(is_live, now < span.leaves_at(then_bounds));
        }
    }
}
