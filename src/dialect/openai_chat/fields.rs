//! Takes a server's JSON apart without complaint: what is missing, `null` or of another type is not there.

use crate::dialect::ir::{Citation, Text};
use crate::json::scan;
use crate::json::token::{Kind, Value};

/// The named members of an object; of several with one name the first that is not `null`.
pub(super) fn fields<'a, const N: usize>(value: &Value<'a>, names: [&str; N]) -> [Option<Value<'a>>; N] {
    let mut found = [const { None }; N];
    let _ = scan::members(value.raw, |key, member| {
        if member.kind != Kind::Null
            && let Some(index) = key.matches(&names)
            && found[index].is_none()
        {
            found[index] = Some(member);
        }
    });
    found
}

/// A text that says something.
pub(super) fn said<'a>(value: Option<Value<'a>>) -> Option<Text<'a>> {
    value.and_then(|value| Text::from_token(value.raw)).filter(|text| !text.is_empty())
}

/// An `error` that says something: servers written in Go send empty ones.
pub(super) fn error<'a>(value: Option<Value<'a>>) -> Option<Value<'a>> {
    value.filter(|value| match value.kind {
        Kind::String => value.raw.len() > 2,
        Kind::Object => value.raw.contains(&b'"'),
        _ => false,
    })
}

/// The elements of an array.
pub(super) fn elements<'a>(value: Option<Value<'a>>, mut on_element: impl FnMut(Value<'a>)) {
    if let Some(value) = value.filter(|value| value.kind == Kind::Array) {
        let _ = scan::elements(value.raw, &mut on_element);
    }
}

/// One of `annotations`, if it is a citation of the web.
pub(super) fn citation<'a>(annotation: &Value<'a>) -> Option<Citation<'a>> {
    let [citation] = fields(annotation, ["url_citation"]);
    let [url, title, start, end] = fields(&citation?, ["url", "title", "start_index", "end_index"]);
    let chars = match (start.and_then(|at| at.as_count()), end.and_then(|at| at.as_count())) {
        (Some(start), Some(end)) if start <= end => Some((start, end)),
        _ => None,
    };
    Some(Citation { url: said(url)?, title: said(title), chars })
}

/// Google's signature in `extra_content`.
pub(super) fn google_signature<'a>(extra: Option<Value<'a>>) -> Option<Text<'a>> {
    let [google] = fields(&extra?, ["google"]);
    let [signature] = fields(&google?, ["thought_signature"]);
    said(signature)
}

/// The text of an element of a `content` list and whether it is a thought: Mistral's `text` and `thinking`.
pub(super) fn listed<'a>(element: &Value<'a>) -> Option<(Text<'a>, bool)> {
    let [kind, text, thinking] = fields(element, ["type", "text", "thinking"]);
    match said(kind)?.escaped() {
        "text" => Some((said(text)?, false)),
        "thinking" => {
            if thinking.as_ref().is_some_and(|thinking| thinking.kind == Kind::String) {
                return Some((said(thinking)?, true));
            }
            let mut words = Text::default();
            elements(thinking, |piece| {
                let [text] = fields(&piece, ["text"]);
                if let Some(text) = said(text) {
                    if words.is_empty() {
                        words = text;
                    } else {
                        words.push(&text);
                    }
                }
            });
            Some((words, true)).filter(|(words, _)| !words.is_empty())
        }
        _ => None,
    }
}

/// The words of OpenRouter's `reasoning_details`.
pub(super) fn details<'a>(list: Option<Value<'a>>) -> Option<Text<'a>> {
    let mut words = Text::default();
    elements(list, |detail| {
        let [text, summary] = fields(&detail, ["text", "summary"]);
        if let Some(text) = said(text).or(said(summary)) {
            words.push(&text);
        }
    });
    Some(words).filter(|words| !words.is_empty())
}
