//! Token counts and end marks of a response that is relayed as it is.
//!
//! Source: Gemini API reference, "GenerateContentResponse" and "UsageMetadata".

use crate::dialect::Usage;
use crate::dialect::sight::{ProviderError, Sight};
use crate::json::scan;
use crate::json::tap::{Action, MemberTap, Target};
use crate::json::text;
use crate::json::token::Kind;
use crate::limits::{REPORTED_NAME_BYTES_MAX, TAP_ERROR_BYTES_MAX, TAP_MEMBER_BYTES_MAX};
use crate::sse::Event;

/// Members of a body that is not an event stream; it may be a list of chunks.
pub(in crate::dialect) const BODY: &[Target] = &[
    Target { name: "usageMetadata", action: Action::Keep { bytes_max: TAP_MEMBER_BYTES_MAX } },
    Target { name: "modelVersion", action: Action::Keep { bytes_max: REPORTED_NAME_BYTES_MAX } },
    Target { name: "error", action: Action::Keep { bytes_max: TAP_ERROR_BYTES_MAX } },
    Target { name: "candidates", action: Action::Weigh },
];

/// Reads a `usageMetadata` object; `None` if it has no counts, as in Vertex' chunks before the last one.
///
/// `toolUsePromptTokenCount` is not part of `promptTokenCount`, `thoughtsTokenCount` not of `candidatesTokenCount`.
pub(super) fn read_usage(raw: &[u8]) -> Option<Usage> {
    const NAMES: [&str; 5] = [
        "promptTokenCount",
        "toolUsePromptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "cachedContentTokenCount",
    ];
    let mut counts = [None; NAMES.len()];
    scan::members(raw, |key, value| {
        if let Some(index) = key.matches(&NAMES) {
            counts[index] = value.as_count();
        }
    })
    .ok()?;
    if counts.iter().all(Option::is_none) {
        return None;
    }
    let [prompt, tool_use, candidates, thoughts, cached] = counts.map(|count| count.unwrap_or(0));
    let usage = Usage {
        input: prompt.saturating_add(tool_use),
        output: candidates.saturating_add(thoughts),
        cached_input: cached,
        cache_write: 0,
        reasoning: thoughts,
    };
    Some(usage.bounded())
}

/// Takes in one chunk of a stream. Chunks are few and each has usage, so each is parsed.
pub(in crate::dialect) fn on_event(sight: &mut Sight, event: &Event<'_>) {
    const NAMES: [&str; 5] = ["candidates", "usageMetadata", "modelVersion", "error", "promptFeedback"];
    // What came before a syntax error counts; the client sees the error itself.
    let _ = scan::members(event.data.as_ref(), |key, value| match key.matches(&NAMES) {
        Some(0) => {
            sight.output_chars += text::named_chars(value.raw, &["text"]);
            let _ = scan::elements(value.raw, |candidate| {
                let reason = scan::member(candidate.raw, "finishReason");
                sight.ended |= reason.is_some_and(|reason| reason.kind == Kind::String);
            });
        }
        Some(1) => sight.set_usage(read_usage(value.raw)),
        Some(2) => sight.set_model(value.raw),
        Some(3) => sight.set_error(ProviderError::read(value.raw)),
        // A prompt that is refused has no candidates and so no finish reason.
        Some(_) => sight.ended |= scan::member(value.raw, "blockReason").is_some(),
        None => {}
    });
}

/// Takes in a body that is not an event stream.
pub(in crate::dialect) fn on_body(sight: &mut Sight, body: &MemberTap) {
    sight.set_usage(body.member("usageMetadata").and_then(read_usage));
    sight.take_body(body, "modelVersion");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_metadata_is_evened_out() {
        let cases = [
            (
                r#"{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":5,"thoughtsTokenCount":7,
                    "toolUsePromptTokenCount":3,"totalTokenCount":25}"#,
                Some(Usage { input: 13, output: 12, cached_input: 4, cache_write: 0, reasoning: 7 }),
            ),
            (
                r#"{"promptTokenCount":14,"totalTokenCount":14}"#,
                Some(Usage { input: 14, ..Usage::default() }),
            ),
            (r#"{"trafficType":"ON_DEMAND"}"#, None),
            ("null", None),
        ];
        for (raw, expected) in cases {
            assert_eq!(read_usage(raw.as_bytes()), expected, "{raw}");
        }
    }
}
