//! The usage of a body that is in hand as a whole, found from its end.
//!
//! Providers put `usage` near the end, so that looking for its name and checking the little that follows is a tenth
//! of the work of walking through all of the body. A body that is not of that shape is left to [`super::tap`].

use std::sync::LazyLock;

use memchr::memmem;

use super::usage::read_openai_prefix;
use super::{Usage, UsageShape};
use crate::json::scan::Scanner;

const NAME: &[u8] = b"\"usage\"";

/// Reads the last `usage` member of the object that `body` is by `read`, which takes what begins with the member's
/// value and says how long that is. `None` if it is no object or lies deeper.
///
/// A quoted name cannot stand inside a string, where its quotes are escaped. That the member belongs to the outermost
/// object shows in what follows it: further members, one brace, and the end.
pub(super) fn usage_member<'b, T>(
    body: &'b [u8],
    read: impl FnOnce(&'b [u8]) -> Option<(T, usize)>,
) -> Option<T> {
    leading_usage(ending(body)?, read)
}

/// [`usage_member`] for the OpenAI family; `shape` is how the last one of the same provider looked.
pub(super) fn openai_usage(body: &[u8], shape: &mut UsageShape) -> Option<Usage> {
    let ending = ending(body)?;
    if let Some(usage) = shape.read(ending) {
        return Some(usage);
    }
    let mut learning = shape.learn();
    let usage = leading_usage(ending, |value| read_openai_prefix(value, &mut learning));
    if let Some(learning) = learning {
        learning.finish(usage.is_some().then_some(ending));
    }
    usage
}

/// The body from the value of its last `usage` on.
fn ending(body: &[u8]) -> Option<&[u8]> {
    static FINDER: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(NAME));
    let at = FINDER.find_iter(body).last()?;
    Some(after(&body[at + NAME.len()..], b':')?.trim_ascii_start())
}

/// Reads the value that `ending` begins with, if what follows it ends the outermost object.
fn leading_usage<'b, T>(ending: &'b [u8], read: impl FnOnce(&'b [u8]) -> Option<(T, usize)>) -> Option<T> {
    let (usage, length) = ending.first().filter(|byte| **byte == b'{').and_then(|_| read(ending))?;
    let mut rest = &ending[length..];
    loop {
        if let Some(end) = after(rest, b'}') {
            return end.iter().all(u8::is_ascii_whitespace).then_some(usage);
        }
        for mark in [b',', b':'] {
            let member = after(rest, mark)?;
            let mut scanner = Scanner::new(member);
            scanner.value().ok()?;
            rest = &member[scanner.at()..];
        }
    }
}

/// The bytes of the value that `text` begins with, and their number.
pub(super) fn raw_value(text: &[u8]) -> Option<(&[u8], usize)> {
    let mut scanner = Scanner::new(text);
    let raw = scanner.value().ok()?.raw;
    Some((raw, scanner.at()))
}

/// What follows the byte `mark`, if that is the next one that is not white space.
fn after(text: &[u8], mark: u8) -> Option<&[u8]> {
    let at = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    (text[at] == mark).then(|| &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_of_the_outermost_object_counts() {
        let cases: &[(&str, Option<&str>)] = &[
            (r#"{"id":"a","usage":{"x":1}}"#, Some(r#"{"x":1}"#)),
            ("{\"usage\" : {\"x\":1} ,\n \"a\" : [1,{\"b\":\"}\"}] , \"c\":null }\n", Some(r#"{"x":1}"#)),
            (r#"{"a":{"usage":{"x":1}}}"#, None),
            (r#"{"a":[{"usage":{"x":1}}],"b":2}"#, None),
            (r#"[{"usage":{"x":1}}]"#, None),
            (r#"{"usage":null}"#, None),
            (r#"{"type":"usage"}"#, None),
            (r#"{"text":"\"usage\":{\"x\":1}"}"#, None),
            (r#"{"usage":{"x":1},"text":"\"usage\":{}"}"#, Some(r#"{"x":1}"#)),
            (r#"{"usage":{"x":1},"kind":"usage"}"#, None),
            (r#"{"usage":{"x":1}"#, None),
            (r#"{"usage":{"x":1}}}"#, None),
            (r#"{"usage":{"x":1},}"#, None),
            ("", None),
        ];
        for (body, expected) in cases {
            let found = usage_member(body.as_bytes(), raw_value);
            assert_eq!(found, expected.map(str::as_bytes), "{body}");
        }
    }
}
