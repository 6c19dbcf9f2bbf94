//! Strings: from JSON to text and from text to JSON.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::plain_end;

/// Decodes a string token, quotes included. `None` if it is not a string, not UTF-8, or has an unpaired surrogate.
pub fn decode(token: &[u8]) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    sonic_rs::from_slice::<String>(token).ok().map(Cow::Owned)
}

/// Decodes what stands between the quotes of a string.
pub(crate) fn unescape(inner: &[u8]) -> Option<String> {
    sonic_rs::from_slice::<String>(&[b"\"", inner, b"\""].concat()).ok()
}

/// Appends `text` as a JSON string with its quotes.
///
/// Control characters are escaped, line ends with them, so that the result fits on one line of an event stream.
pub fn append_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a whole number.
pub fn append_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// How many characters the string between two quotes stands for; the escapes of a surrogate pair count twice.
pub fn char_count(inner: &[u8]) -> u64 {
    let starts = inner.iter().filter(|byte| (**byte & 0xC0) != 0x80).count();
    let (mut overhead, mut rest) = (0, inner);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let len = if rest.get(at + 1) == Some(&b'u') { 6 } else { 2 };
        overhead += len - 1;
        rest = rest.get(at + len..).unwrap_or_default();
    }
    (starts as u64).saturating_sub(overhead as u64)
}

/// Sums up the characters of the string values in `json` that are members named in `names`, at any depth.
///
/// A coarse reading: `json` may be a piece of a document, and of an array only the first string counts.
pub fn named_chars(json: &[u8], names: &[&str]) -> u64 {
    let mut sum = 0;
    for_each_named(json, names, |text| sum += char_count(&json[text]));
    sum
}

/// Calls `on_text` with the place of each string that [`named_chars`] counts, its quotes not included.
#[inline]
pub fn for_each_named(json: &[u8], names: &[&str], mut on_text: impl FnMut(Range<usize>)) {
    let (mut at, mut named) = (0, false);
    while let Some(quote) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'"')) {
        let start = at + quote + 1;
        let mut end = plain_end(json, start);
        while json.get(end).is_some_and(|byte| *byte != b'"') {
            let step = if json[end] == b'\\' { 2 } else { 1 };
            end = plain_end(json, (end + step).min(json.len()));
        }
        let inner = &json[start..end];
        at = end + 1;
        let next = json.get(at..).and_then(|rest| rest.iter().find(|byte| !byte.is_ascii_whitespace()));
        if next == Some(&b':') {
            named = names.iter().any(|name| name.as_bytes() == inner);
        } else if std::mem::replace(&mut named, false) {
            on_text(start..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_with_unpaired_surrogates_are_refused() {
        for token in [r#""\ud800""#, r#""\ud800x""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800\u0041""#]
        {
            assert_eq!(decode(token.as_bytes()), None, "{token}");
        }
        assert_eq!(decode(br#""\ud83d\ude00""#).as_deref(), Some("😀"));
        assert_eq!(decode(b"\"\xff\""), None);
        assert_eq!(decode(b"\"\xff\\n\""), None);
        assert_eq!(decode(b"12"), None);
        assert_eq!(decode(b"\""), None);
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        for (inner, count) in
            [("", 0), ("abc", 3), ("é→😀", 3), (r"a\nb", 3), (r#"\"\\\u00e9"#, 3), (r"\u", 0)]
        {
            assert_eq!(char_count(inner.as_bytes()), count, "{inner}");
        }
    }

    #[test]
    fn characters_of_named_strings_are_summed_up() {
        let cases = [
            (r#"{"content":"abc","role":"assistant"}"#, 3),
            (r#"{"role":"content","content" : "a\"b" , "x":{"content":"d"}}"#, 4),
            (r#"{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\""}}]}"#, 4),
            (r#"{"content":null,"name":"abc"}"#, 0),
            (r#"{"content":"cut of"#, 6),
            (r#"{"content":"cut of\"#, 6),
            ("", 0),
        ];
        for (json, expected) in cases {
            assert_eq!(named_chars(json.as_bytes(), &["content", "arguments"]), expected, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(text in ".{0,40}|[\\x00-\\x7f]{0,40}") {
            let mut out = Vec::new();
            append_string(&mut out, &text);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
            let decoded = decode(&out);
            proptest::prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
            proptest::prop_assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
        }
    }
}
