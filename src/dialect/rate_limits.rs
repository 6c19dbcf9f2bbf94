//! Rate-limit fields of an answer's head, from one dialect's family to another's.
//!
//! ```text
//! x-ratelimit-{limit,remaining,reset}-{requests,tokens}             OpenAI; the reset is a duration: 6m0s, 20ms
//! anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}     Anthropic; the reset is a moment: RFC 3339
//! ```
//!
//! Google has none. Source: the project's dialect mapping, section 13; OpenAI API docs, "Rate limits"; Anthropic API docs,
//! "Response headers".

use super::Dialect;
use crate::json::text::append_number;

const SUBJECTS: [&str; 2] = ["requests", "tokens"];
const FACTS: [&str; 3] = ["limit", "remaining", "reset"];

/// What is said beside the limits and means the same in all dialects but Google's.
const COPIED: [&str; 2] = ["retry-after-ms", "x-should-retry"];

/// Appends the fields that a client of `to` looks for, made of those in `fields`, a head in wire form of a provider of
/// `from`. `unix_ms` is now.
pub fn append(out: &mut Vec<u8>, fields: &[u8], from: Dialect, to: Dialect, unix_ms: u64) {
    if from == Dialect::Gemini || to == Dialect::Gemini {
        return;
    }
    for line in fields.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (Ok(name), Ok(value)) =
            (std::str::from_utf8(&line[..colon]), std::str::from_utf8(&line[colon + 1..]))
        else {
            continue;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        if COPIED.contains(&name.as_str()) {
            append_field(out, &name, value);
        } else if let Some((subject, fact)) = parse(&name, from) {
            let value = match fact {
                "reset" => reset(value, from, to, unix_ms),
                _ => Some(value.to_owned()),
            };
            if let Some(value) = value {
                append_field(out, &name_of(subject, fact, to), &value);
            }
        }
    }
}

fn append_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for piece in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// What a field of the family of `dialect` is about.
fn parse(name: &str, dialect: Dialect) -> Option<(&'static str, &'static str)> {
    let (subject, fact) = match dialect {
        Dialect::AnthropicMessages => name.strip_prefix("anthropic-ratelimit-")?.split_once('-')?,
        _ => {
            let (fact, subject) = name.strip_prefix("x-ratelimit-")?.split_once('-')?;
            (subject, fact)
        }
    };
    let known = |names: &[&'static str], name| names.iter().copied().find(|known| *known == name);
    Some((known(&SUBJECTS, subject)?, known(&FACTS, fact)?))
}

fn name_of(subject: &str, fact: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::AnthropicMessages => format!("anthropic-ratelimit-{subject}-{fact}"),
        _ => format!("x-ratelimit-{fact}-{subject}"),
    }
}

/// When a limit begins anew; `None` for what cannot be read.
fn reset(value: &str, from: Dialect, to: Dialect, unix_ms: u64) -> Option<String> {
    let is_moment = |dialect| dialect == Dialect::AnthropicMessages;
    match (is_moment(from), is_moment(to)) {
        (true, false) => {
            let moment: jiff::Timestamp = value.parse().ok()?;
            let left = u64::try_from(moment.as_millisecond()).ok()?.saturating_sub(unix_ms);
            Some(written_duration(left))
        }
        (false, true) => {
            // A second too late rather than one too early.
            let seconds = unix_ms.checked_add(read_duration(value)?)?.div_ceil(1_000);
            let moment = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
            Some(moment.to_string())
        }
        _ => Some(value.to_owned()),
    }
}

/// Milliseconds of a duration as Go writes it: `1h2m3.5s`, `20ms`.
fn read_duration(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        rest = &rest[unit..];
        total += number * factor;
    }
    (total < 1e15).then_some(total.ceil() as u64)
}

/// A duration as OpenAI writes it.
fn written_duration(ms: u64) -> String {
    let mut out = Vec::new();
    if ms < 1_000 {
        append_number(&mut out, ms);
        out.extend_from_slice(b"ms");
    } else {
        let seconds = ms.div_ceil(1_000);
        let parts = [(seconds / 3_600, b'h'), (seconds / 60 % 60, b'm'), (seconds % 60, b's')];
        for (number, unit) in parts {
            if !out.is_empty() || number > 0 {
                append_number(&mut out, number);
                out.push(unit);
            }
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_750_000_000_000;

    fn converted(fields: &str, from: Dialect, to: Dialect) -> String {
        let mut out = Vec::new();
        append(&mut out, fields.as_bytes(), from, to, NOW_MS);
        String::from_utf8(out).unwrap()
    }

    const OPENAI: &str = "X-RateLimit-Limit-Requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n\
        x-ratelimit-reset-requests: 8.64s\r\nx-ratelimit-limit-tokens: 200\r\nx-ratelimit-reset-tokens: 6m0s\r\n";

    #[test]
    fn limits_are_said_in_the_client_s_words() {
        let (chat, responses, anthropic) =
            (Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages);
        assert_eq!(
            converted(OPENAI, chat, anthropic),
            "anthropic-ratelimit-requests-limit: 10000\r\nanthropic-ratelimit-requests-remaining: 9999\r\n\
             anthropic-ratelimit-requests-reset: 2025-06-15T15:06:49Z\r\nanthropic-ratelimit-tokens-limit: 200\r\n\
             anthropic-ratelimit-tokens-reset: 2025-06-15T15:12:40Z\r\n"
        );
        assert_eq!(converted(OPENAI, chat, responses), OPENAI.to_ascii_lowercase());
        let fields = "content-type: x\r\nanthropic-ratelimit-tokens-limit: 5\r\nanthropic-ratelimit-input-tokens-limit: 4\r\n\
            anthropic-ratelimit-tokens-reset: 2025-06-15T15:08:10Z\r\nanthropic-ratelimit-requests-reset: 2025-06-15T15:06:40.25Z\r\n\
            retry-after: 3\r\nRetry-After-Ms: 2500\r\nx-should-retry: true\r\n";
        assert_eq!(
            converted(fields, anthropic, chat),
            "x-ratelimit-limit-tokens: 5\r\nx-ratelimit-reset-tokens: 1m30s\r\nx-ratelimit-reset-requests: 250ms\r\n\
             retry-after-ms: 2500\r\nx-should-retry: true\r\n"
        );
        assert_eq!(converted(OPENAI, chat, Dialect::Gemini), "");
        assert_eq!(converted(fields, Dialect::Gemini, chat), "");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for value in ["", "soon", "1x", "s", "1", "1.2.3s", "99999999999999999h", "-5s"] {
            let field = format!("x-ratelimit-reset-tokens: {value}\r\n");
            assert_eq!(converted(&field, Dialect::OpenAiChat, Dialect::AnthropicMessages), "", "{value}");
            let field = format!("anthropic-ratelimit-tokens-reset: {value}\r\n");
            assert_eq!(converted(&field, Dialect::AnthropicMessages, Dialect::OpenAiChat), "", "{value}");
        }
        for fields in [
            "x-ratelimit-limit: 5\r\n",
            "x-ratelimit-limit-images: 5\r\n",
            "no colon",
            "\r\n",
            "\u{e9}: 1\r\n",
        ] {
            assert_eq!(converted(fields, Dialect::OpenAiChat, Dialect::OpenAiResponses), "", "{fields}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("20ms", 20),
            ("1s", 1_000),
            ("7.66s", 7_660),
            ("6m0s", 360_000),
            ("1h2m3s", 3_723_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(read_duration(text), Some(ms), "{text}");
        }
        for (ms, text) in [(0, "0ms"), (999, "999ms"), (1_000, "1s"), (60_000, "1m0s"), (3_600_001, "1h0m1s")]
        {
            assert_eq!(written_duration(ms), text);
        }
        // What has passed is over.
        let past = "anthropic-ratelimit-tokens-reset: 2020-01-01T00:00:00Z\r\n";
        let expected = "x-ratelimit-reset-tokens: 0ms\r\n";
        assert_eq!(converted(past, Dialect::AnthropicMessages, Dialect::OpenAiResponses), expected);
    }
}
