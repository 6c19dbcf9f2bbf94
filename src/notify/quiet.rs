//! Quiet hours: until when nothing is to be sent.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::config::notifications::QuietHours;

/// The end of the quiet hours that `now_ms` (Unix epoch) is in; none outside of them. A time of day that the zone's clock
/// leaves out counts as the first one after it.
pub(super) fn quiet_until(hours: QuietHours, zone: &TimeZone, now_ms: u64) -> Option<u64> {
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?.to_zoned(zone.clone());
    let minute = now.time().hour() as u16 * 60 + now.time().minute() as u16;
    let (QuietHours { from, to }, over_midnight) = (hours, hours.from > hours.to);
    let is_quiet = if over_midnight { minute >= from || minute < to } else { (from..to).contains(&minute) };
    if !is_quiet {
        return None;
    }
    let ends_tomorrow = over_midnight && minute >= from;
    let day = if ends_tomorrow { now.date().tomorrow().ok()? } else { now.date() };
    let time = Time::new((to / 60) as i8, (to % 60) as i8, 0, 0).ok()?;
    let end = day.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp().as_millisecond();
    // A clock that was set back inside of them has that time twice.
    u64::try_from(end).ok().map(|end| end.max(now_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(zone: &str, from: &str, to: &str, now: &str) -> Option<String> {
        let minute = |text: &str| {
            let (hours, minutes) = text.split_once(':').unwrap();
            hours.parse::<u16>().unwrap() * 60 + minutes.parse::<u16>().unwrap()
        };
        let now: Timestamp = now.parse().unwrap();
        let hours = QuietHours { from: minute(from), to: minute(to) };
        let end = quiet_until(hours, &TimeZone::get(zone).unwrap(), now.as_millisecond() as u64)?;
        Some(Timestamp::from_millisecond(end as i64).unwrap().to_string())
    }

    #[test]
    fn they_end_at_their_time_of_day() {
        for (zone, from, to, now, expected) in [
            ("UTC", "09:00", "17:00", "2025-03-03T08:59:59.999Z", None),
            ("UTC", "09:00", "17:00", "2025-03-03T09:00:00Z", Some("2025-03-03T17:00:00Z")),
            ("UTC", "09:00", "17:00", "2025-03-03T16:59:59.999Z", Some("2025-03-03T17:00:00Z")),
            ("UTC", "09:00", "17:00", "2025-03-03T17:00:00Z", None),
            ("UTC", "22:00", "07:00", "2025-12-31T22:00:00Z", Some("2026-01-01T07:00:00Z")),
            ("UTC", "22:00", "07:00", "2025-12-31T06:59:00Z", Some("2025-12-31T07:00:00Z")),
            ("UTC", "22:00", "07:00", "2025-12-31T07:00:00Z", None),
            ("UTC", "22:00", "00:00", "2025-12-31T23:00:00Z", Some("2026-01-01T00:00:00Z")),
            ("Europe/Rome", "22:00", "07:00", "2025-01-10T21:30:00Z", Some("2025-01-11T06:00:00Z")),
            ("Europe/Rome", "22:00", "07:00", "2025-07-10T20:30:00Z", Some("2025-07-11T05:00:00Z")),
            // The night in which the clock goes from 02:00 to 03:00: there is no 02:30.
            ("Europe/Rome", "22:00", "02:30", "2025-03-29T22:30:00Z", Some("2025-03-30T01:30:00Z")),
            // And the one in which it goes from 03:00 to 02:00.
            ("Europe/Rome", "22:00", "07:00", "2025-10-25T21:00:00Z", Some("2025-10-26T06:00:00Z")),
        ] {
            assert_eq!(until(zone, from, to, now).as_deref(), expected, "{zone} {from}-{to} {now}");
        }
    }

    #[test]
    fn no_time_breaks_them() {
        for now_ms in [0, 1, u64::MAX, i64::MAX as u64, 253_402_300_799_999] {
            let _ = quiet_until(QuietHours { from: 0, to: 1_439 }, &TimeZone::UTC, now_ms);
        }
    }
}
