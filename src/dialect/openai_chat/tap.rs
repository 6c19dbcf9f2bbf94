//! Usage, model, errors and end mark, read off answers that are relayed as they are.

use std::ops::Range;

use crate::dialect::find::{MemberFinder, member_finder};
use crate::dialect::sight::{ProviderError, Sight};
use crate::dialect::usage::read_openai;
use crate::json::scan::{self, Scanner};
use crate::json::tap::{Action, MemberTap, Target};
use crate::json::text;
use crate::json::token::Kind;
use crate::limits::{REPORTED_NAME_BYTES_MAX, TAP_ERROR_BYTES_MAX, TAP_MEMBER_BYTES_MAX};
use crate::sse::Event;

static USAGE: MemberFinder = member_finder!("usage");
static ERROR: MemberFinder = member_finder!("error");
static DELTA: MemberFinder = member_finder!("delta");
static FINISH_REASON: MemberFinder = member_finder!("finish_reason");
static CHOICES: MemberFinder = member_finder!("choices");

/// Members of a delta that hold output of the model.
const OUTPUT: &[&str] = &["content", "reasoning_content", "refusal", "arguments", "reasoning", "text"];

/// Members of a body that is not a stream.
pub(in crate::dialect) const BODY: &[Target] = &[
    Target { name: "usage", action: Action::Keep { bytes_max: TAP_MEMBER_BYTES_MAX } },
    Target { name: "x_groq", action: Action::Keep { bytes_max: TAP_MEMBER_BYTES_MAX } },
    Target { name: "model", action: Action::Keep { bytes_max: REPORTED_NAME_BYTES_MAX } },
    Target { name: "error", action: Action::Keep { bytes_max: TAP_ERROR_BYTES_MAX } },
    Target { name: "choices", action: Action::Weigh },
];

/// Takes in one chunk of a stream.
///
/// Most chunks are a piece of text: those are searched, not parsed. A chunk is parsed when it has a usage object or
/// an error in it, and at the start of the stream until the model is known.
pub(in crate::dialect) fn on_event(sight: &mut Sight, event: &Event<'_>) {
    let data = event.data.as_ref();
    if data.starts_with(b"[DONE]") {
        sight.ended = true;
        return;
    }
    if event.name.is_empty()
        && let Some(text) = sight.repeat.text_of(data)
    {
        sight.repeated += 1;
        sight.output_chars += text::char_count(text);
        return;
    }
    let is_object = |byte| byte == b'{';
    let is_said = |byte: u8| matches!(byte, b'{' | b'"');
    let mut is_plain = event.name.is_empty();
    if sight.wants_model()
        || event.name == b"error"
        || USAGE.value(data, is_object).is_some()
        || ERROR.value(data, is_said).is_some()
    {
        read_chunk(sight, data);
        is_plain = false;
    }
    let (mut rest, mut deltas, mut text) = (data, 0, None);
    while let Some(at) = DELTA.value(rest, is_object) {
        let delta = &rest[at..];
        // A chunk has one delta per choice, and nearly always one choice: what follows the first delta is short.
        let end = Scanner::new(delta).value().map_or(delta.len(), |value| value.raw.len());
        sight.output_chars += delta_chars(&delta[..end]);
        let offset = data.len() - delta.len();
        if is_plain && deltas == 0 && sight.repeat.learns() {
            text = only_text(&delta[..end]).map(|text| offset + text.start..offset + text.end);
        }
        deltas += 1;
        rest = &delta[end..];
    }
    if FINISH_REASON.value(data, |byte| byte == b'"').is_some() {
        sight.finished = true;
        is_plain = false;
    }
    if let Some(text) = text.filter(|_| is_plain && deltas == 1) {
        sight.repeat.learn(data, text);
    }
}

/// Where the one string of a delta stands that counts as output; `None` where there is another number of them.
fn only_text(delta: &[u8]) -> Option<Range<usize>> {
    let (mut count, mut found) = (0, 0..0);
    text::for_each_named(delta, OUTPUT, |text| {
        count += 1;
        found = text;
    });
    (count == 1).then_some(found)
}

/// Characters of output in one delta.
///
/// OpenRouter says reasoning twice, as `reasoning` and as text in `reasoning_details`: the longer one counts.
fn delta_chars(delta: &[u8]) -> u64 {
    let said = text::named_chars(delta, &["content", "reasoning_content", "refusal", "arguments"]);
    let reasoning = text::named_chars(delta, &["reasoning"]);
    let parts = text::named_chars(delta, &["text"]);
    said + reasoning.max(parts)
}

/// Reads the members of a chunk that say something about the call.
fn read_chunk(sight: &mut Sight, data: &[u8]) {
    // What came before a syntax error counts; the client sees the error itself.
    let _ = scan::members(data, |key, value| match key.matches(&["usage", "x_groq", "model", "error"]) {
        Some(0) => sight.set_usage(read_openai(value.raw)),
        Some(1) => read_groq(sight, value.raw),
        Some(2) => sight.set_model(value.raw),
        Some(_) => sight.set_error(ProviderError::read(value.raw)),
        None => {}
    });
}

/// Groq's own envelope: the usage of a stream, and the error that ends one.
fn read_groq(sight: &mut Sight, raw: &[u8]) {
    if let Some(usage) = scan::member(raw, "usage") {
        sight.set_usage(read_openai(usage.raw));
    }
    if let Some(error) = scan::member(raw, "error") {
        sight.set_error(ProviderError::read(error.raw));
    }
}

/// Takes in a body that is not a stream.
pub(in crate::dialect) fn on_body(sight: &mut Sight, body: &MemberTap) {
    if let Some(raw) = body.member("x_groq") {
        read_groq(sight, raw);
    }
    sight.set_usage(body.member("usage").and_then(read_openai));
    sight.take_body(body, "model");
}

/// The text that a chunk brings, as it is written there, quotes included: the first choice's, where it is not empty.
/// None for a chunk that has a `type` or `delta` of its own.
pub fn text_of_chunk(data: &[u8]) -> Option<&[u8]> {
    let (mut choices, mut is_plain) = (None, true);
    let read = scan::members(data, |key, value| match key.matches(&["choices", "type", "delta"]) {
        Some(0) => choices = choices.or(Some(value.raw)),
        Some(_) => is_plain = false,
        None => {}
    });
    let mut first = None;
    let elements = scan::elements(choices.filter(|_| is_plain && read.is_ok())?, |choice| {
        first = first.or(Some(choice.raw));
    });
    let content = scan::member(scan::member(first.filter(|_| elements.is_ok())?, "delta")?.raw, "content")?;
    (content.kind == Kind::String && content.raw.len() > 2).then_some(content.raw)
}

/// Whether a chunk has nothing but the usage of the stream: `choices` is empty and `usage` an object.
///
/// Such a chunk is sent because the gateway asked for it and is withheld from a client that did not. Azure's first
/// chunk also has empty `choices`, but no usage.
pub fn is_usage_only_chunk(data: &[u8]) -> bool {
    let is_array = |byte| byte == b'[';
    let empty_choices = CHOICES
        .value(data, is_array)
        .is_some_and(|at| data[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b']'));
    if !empty_choices {
        return false;
    }
    let (mut choices, mut usage) = (false, false);
    let read = scan::members(data, |key, value| match key.matches(&["choices", "usage"]) {
        Some(0) => choices = is_empty_array(value.raw),
        Some(_) => usage = value.kind == Kind::Object,
        None => {}
    });
    read.is_ok() && choices && usage
}

fn is_empty_array(raw: &[u8]) -> bool {
    raw.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_chunk_with_nothing_but_usage_is_withheld() {
        let cases = [
            (r#"{"id":"a","choices":[],"usage":{"prompt_tokens":1}}"#, true),
            (r#"{"usage": {"prompt_tokens":1}, "choices" : [ ] }"#, true),
            (r#"{"choices":[],"usage":null}"#, false),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#, false),
            // Azure's first chunk.
            (
                r#"{"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}"#,
                false,
            ),
            (r#"{"usage":{"choices":[]},"choices":[{}]}"#, false),
            (r#"{"x":{"choices":[]},"usage":{}}"#, false),
            (r#"{"choices":[],"usage":{}"#, false),
            ("[DONE]", false),
            ("", false),
        ];
        for (data, expected) in cases {
            assert_eq!(is_usage_only_chunk(data.as_bytes()), expected, "{data}");
        }
    }

    #[test]
    fn the_text_of_a_chunk_is_found_as_it_is_written() {
        let cases = [
            (r#"{"choices":[{"delta":{"content":"a\"b"}}]}"#, Some(r#""a\"b""#)),
            (
                r#"{ "x":1, "choices" : [ {"delta":{"role":"assistant","content": "é"}},{"delta":{"content":"2"}} ] }"#,
                Some(r#""é""#),
            ),
            (r#"{"choices":[{"delta":{"content":""}}]}"#, None),
            (r#"{"choices":[{"delta":{"content":null}}]}"#, None),
            (r#"{"choices":[{"delta":{"content":["a"]}}]}"#, None),
            (r#"{"choices":[{"delta":{}}]}"#, None),
            (r#"{"choices":[{"text":"a"}]}"#, None),
            (r#"{"choices":[]}"#, None),
            (r#"{"choices":{}}"#, None),
            (r#"{"type":"x","choices":[{"delta":{"content":"a"}}]}"#, None),
            (r#"{"choices":[{"delta":{"content":"a"}}"#, None),
            ("[DONE]", None),
            ("", None),
        ];
        for (chunk, expected) in cases {
            assert_eq!(text_of_chunk(chunk.as_bytes()), expected.map(str::as_bytes), "{chunk}");
        }
    }

    #[test]
    fn characters_of_a_delta_are_counted_once() {
        let cases = [
            (r#"{"role":"assistant","content":"Hello"}"#, 5),
            (
                r#"{"content":"","reasoning":"abc","reasoning_details":[{"type":"reasoning.text","text":"abc"}]}"#,
                3,
            ),
            (
                r#"{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":"{\"a\":1}"}}]}"#,
                7,
            ),
            (r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"abcd"}]}]}"#, 4),
            (r#"{"content":null}"#, 0),
        ];
        for (delta, expected) in cases {
            assert_eq!(delta_chars(delta.as_bytes()), expected, "{delta}");
        }
    }
}
