//! The two fields of a record's line that the store itself needs: id and time.
//!
//! Our own lines begin with them, so they are read without parsing the line; other programs' lines are parsed.

use std::borrow::Cow;

use serde::Deserialize;

use crate::telemetry::text::parse_timestamp_ms;

/// Id and time of a record; each is missing when the line does not have it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LineHead<'a> {
    /// The record's id.
    pub(super) id: Option<Cow<'a, str>>,
    /// Time of completion in milliseconds since the Unix epoch.
    pub(super) unix_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
}

impl<'a> LineHead<'a> {
    /// Reads one line; a line that is no JSON object has neither field.
    pub(super) fn parse(line: &'a [u8]) -> Self {
        Self::parse_own_order(line).or_else(|| Self::parse_any(line)).unwrap_or_default()
    }

    fn parse_own_order(line: &'a [u8]) -> Option<Self> {
        let (id, rest) = plain_string(line.strip_prefix(b"{\"id\":\"")?)?;
        let (timestamp, _) = plain_string(rest.strip_prefix(b",\"timestamp\":\"")?)?;
        Some(Self { id: Some(Cow::Borrowed(id)), unix_ms: parse_timestamp_ms(timestamp) })
    }

    fn parse_any(line: &'a [u8]) -> Option<Self> {
        let fields: Fields<'a> = serde_json::from_slice(line).ok()?;
        Some(Self { id: fields.id, unix_ms: fields.timestamp.and_then(|text| parse_timestamp_ms(&text)) })
    }
}

/// The string up to its closing quote, and what follows it; `None` when it holds an escape.
fn plain_string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', bytes)?;
    if bytes[end] == b'\\' {
        return None;
    }
    Some((str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_time_are_found_in_any_order() {
        let head = |id: Option<&'static str>, unix_ms| LineHead { id: id.map(Cow::Borrowed), unix_ms };
        let cases = [
            (r#"{"id":"a","timestamp":"1970-01-01T00:00:01.000Z","x":1}"#, head(Some("a"), Some(1000))),
            (r#"{"x":1,"timestamp":"1970-01-01T00:00:01Z","id":"a"}"#, head(Some("a"), Some(1000))),
            (r#"{"id":"a\"b","timestamp":"?"}"#, head(Some("a\"b"), None)),
            (r#"{"cost":1}"#, head(None, None)),
            ("{\"id\":\"a\",\"timest", head(None, None)),
            ("", head(None, None)),
        ];
        for (line, expected) in cases {
            assert_eq!(LineHead::parse(line.as_bytes()), expected, "{line}");
        }
    }
}
