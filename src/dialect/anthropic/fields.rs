//! What requests, answers and streams of this dialect have in common: a provider's members, sources, usage, ids.
//!
//! Rules: the project's dialect mapping, sections 5.4, 9.3 and 9.4.

use crate::dialect::Usage;
use crate::dialect::ir::{Citation, Text};
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::Object;

/// The members `names` of an object from a provider, of each the last one; `null` counts as absent. `None` if it is no
/// object.
pub(super) fn lenient<'d, const N: usize>(raw: &'d [u8], names: [&str; N]) -> Option<[Option<Value<'d>>; N]> {
    let mut found = [const { None }; N];
    scan::members(raw, |key, value| {
        if let Some(index) = key.matches(&names) {
            found[index] = Some(value).filter(|value| value.kind != Kind::Null);
        }
    })
    .ok()?;
    Some(found)
}

/// A string from a provider.
pub(super) fn text<'d>(value: Option<&Value<'d>>) -> Option<Text<'d>> {
    value.and_then(|value| Text::from_token(value.raw))
}

/// A source on the web; other sources are places in the client's own documents, which no other dialect can name.
pub(super) fn read_citation<'d>(raw: &'d [u8], chars: Option<(u64, u64)>) -> Option<Citation<'d>> {
    let [kind, url, title] = lenient(raw, ["type", "url", "title"])?;
    let is_web = kind?.plain_string() == Some(b"web_search_result_location");
    let url = text(url.as_ref()).filter(|_| is_web)?;
    Some(Citation { url, title: text(title.as_ref()), chars })
}

/// Writes a source. What only Anthropic knows of it is empty, because its SDKs ask for it.
pub(super) fn write_citation(object: &mut Object<'_>, citation: &Citation<'_>) {
    object.plain("type", "web_search_result_location");
    object.text("url", &citation.url);
    match &citation.title {
        Some(title) => object.text("title", title),
        None => object.null("title"),
    }
    object.plain("cited_text", "");
    object.plain("encrypted_index", "");
}

/// Writes the members of a `usage` object. Anthropic counts the cache beside the input, the gateway within.
pub(super) fn write_usage(object: &mut Object<'_>, usage: &Usage) {
    let cached = usage.cached_input.saturating_add(usage.cache_write);
    object.number("input_tokens", usage.input.saturating_sub(cached));
    object.number("cache_creation_input_tokens", usage.cache_write);
    object.number("cache_read_input_tokens", usage.cached_input);
    object.number("output_tokens", usage.output);
    if usage.reasoning > 0 {
        object.object("output_tokens_details", |details| {
            details.number("thinking_tokens", usage.reasoning);
        });
    }
}

/// Whether a call's id has no other characters than this dialect takes.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The call's id in the characters that this dialect takes. Others become `_`, and a hash keeps different ids apart; it
/// is the same in every turn, so that a result finds its call and the prompt cache holds.
pub(super) fn safe_id<'t>(id: &'t Text<'_>) -> Text<'t> {
    if is_id(id.escaped()) {
        return id.borrow();
    }
    let plain = id.decode().unwrap_or_default();
    // FNV-1a, 64 bits.
    let hash = plain
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    Text::from(plain.chars().map(keep).chain(format!("_{hash:016x}").chars()).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write;

    #[test]
    fn ids_keep_what_they_can() {
        assert_eq!(safe_id(&Text::from_plain("toolu_01-A")).escaped(), "toolu_01-A");
        for (id, safe) in [("call.1:é", "call_1___"), ("", "_"), ("a\nb", "a_b_"), ("a\rb", "a_b_")] {
            let id = Text::from_plain(id);
            let sent = safe_id(&id);
            assert!(is_id(sent.escaped()) && sent.escaped().starts_with(safe), "{sent:?}");
            assert_eq!(sent.escaped().len(), safe.len() + 16);
        }
        assert_ne!(safe_id(&Text::from_plain("a\nb")), safe_id(&Text::from_plain("a\rb")));
    }

    #[test]
    fn the_cache_is_counted_beside_the_input() {
        for (usage, json) in [
            (
                Usage { input: 22, output: 3, cached_input: 7, cache_write: 5, reasoning: 2 },
                r#"{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":3,"output_tokens_details":{"thinking_tokens":2}}"#,
            ),
            (
                Usage { input: 1, output: 0, cached_input: 7, cache_write: 5, reasoning: 0 },
                r#"{"input_tokens":0,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":0}"#,
            ),
        ] {
            let mut out = Vec::new();
            write::object(&mut out, |object| write_usage(object, &usage));
            assert_eq!(std::str::from_utf8(&out).unwrap(), json);
        }
    }

    #[test]
    fn only_sources_on_the_web_are_read() {
        let web = br#"{"type":"web_search_result_location","url":"https://a","title":null,"cited_text":"x"}"#;
        let citation = read_citation(web, Some((0, 4))).unwrap();
        assert_eq!(
            citation,
            Citation { url: Text::from_plain("https://a"), title: None, chars: Some((0, 4)) }
        );
        let mut out = Vec::new();
        write::object(&mut out, |object| write_citation(object, &citation));
        assert_eq!(read_citation(&out, Some((0, 4))), Some(citation));
        for other in [&br#"{"type":"page_location","document_index":0}"#[..], b"{}", b"[]", b"12", b"{"] {
            assert_eq!(read_citation(other, None), None);
        }
    }
}
