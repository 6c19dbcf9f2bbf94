//! When a server wants to be asked again.
//!
//! Source: RFC 9110 section 10.2.3; `retry-after-ms` is Azure's and OpenAI's.

use std::time::Duration;

/// The wait that a head asks for; `fields` are its lines, `unix_seconds` is now. None where it asks for none, or not in
/// a way that can be understood. A date in the past is no wait.
#[must_use]
pub fn retry_after(fields: &[u8], unix_seconds: u64) -> Option<Duration> {
    let mut seconds = None;
    for line in fields.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"retry-after-ms") {
            if let Some(ms) = number(value) {
                return Some(Duration::from_millis(ms));
            }
        } else if name.eq_ignore_ascii_case(b"retry-after") {
            seconds = number(value).or_else(|| Some(date(value)?.saturating_sub(unix_seconds)));
        }
    }
    seconds.map(Duration::from_secs)
}

/// A whole number; a fraction, which some servers write, is rounded up.
fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let more = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    // What does not fit is longer than anybody waits.
    Some(whole.parse::<u64>().unwrap_or(u64::MAX).saturating_add(more))
}

/// An HTTP date in today's form, such as `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since the epoch.
fn date(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    u64::try_from(time.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_milliseconds() {
        // 784,111,777 is the date of the RFC's example.
        let now = 784_111_777 - 60;
        for (fields, expected_ms) in [
            ("", None),
            ("content-type: a\r\n", None),
            ("Retry-After: 7\r\n", Some(7_000)),
            ("content-type: a\r\nretry-after:0\r\n", Some(0)),
            ("retry-after: 1.2\r\n", Some(2_000)),
            ("retry-after: 2.000\r\n", Some(2_000)),
            ("RETRY-AFTER: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(60_000)),
            ("retry-after: Sun, 06 Nov 1994 08:47:37 GMT\r\n", Some(0)),
            ("retry-after: 30\r\nretry-after-ms: 1500\r\n", Some(1_500)),
            ("retry-after-ms: 1500\r\nretry-after: 30\r\n", Some(1_500)),
            ("retry-after-ms: soon\r\nretry-after: 30\r\n", Some(30_000)),
            ("x-retry-after: 7\r\n", None),
            ("retry-after: -7\r\n", None),
            ("retry-after: soon\r\n", None),
            ("retry-after: \r\n", None),
            ("retry-after: \u{e9}\r\n", None),
        ] {
            let found = retry_after(fields.as_bytes(), now);
            assert_eq!(found, expected_ms.map(Duration::from_millis), "{fields:?}");
        }
        let long = retry_after(b"retry-after: 99999999999999999999999\r\n", now);
        assert_eq!(long, Some(Duration::from_secs(u64::MAX)));
    }
}
