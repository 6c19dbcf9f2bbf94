//! Why an answer ended, and what it cost. Rules: the project's dialect mapping, sections 9.1 to 9.3.

use super::fault::broken;
use crate::dialect::Usage;
use crate::dialect::ir::{Fault, Finish, Text};
use crate::json::token::{Kind, Value};
use crate::json::write::Object;

/// What a `finishReason` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// By itself, or to wait for the results of calls.
    Stop,
    MaxTokens,
    /// The answer was filtered, for this reason.
    Filtered(&'static str),
    Paused,
    /// The answer is broken.
    Broken,
}

/// Reasons that are a filter's, by name.
const FILTERS: [&str; 11] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "ESCALATION",
];

/// Vertex' numbers of the reasons, which it sends if asked for `enum-encoding=int`. Source: Vertex AI API reference,
/// `Candidate.FinishReason`.
const NUMBERS: [&str; 11] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "MODEL_ARMOR",
];

/// The name of a `finishReason`: a string, or a number of Vertex'. `None`: it says nothing.
pub(super) fn name<'a>(value: &Value<'a>) -> Option<Text<'a>> {
    match value.kind {
        Kind::String => Text::from_token(value.raw),
        Kind::Number => {
            let number = usize::try_from(value.as_count()?).ok()?;
            Some(Text::from_plain(NUMBERS.get(number).copied().unwrap_or("OTHER")))
        }
        _ => None,
    }
    .filter(|name| !name.is_empty() && name.escaped() != "FINISH_REASON_UNSPECIFIED")
}

/// What the name means. An unknown one means that the answer is broken: it must not look complete.
pub(super) fn reason(name: &str) -> Reason {
    match name {
        "STOP" => Reason::Stop,
        "MAX_TOKENS" => Reason::MaxTokens,
        "CONTINUATION" => Reason::Paused,
        _ => FILTERS
            .iter()
            .find(|filter| **filter == name)
            .map_or(Reason::Broken, |filter| Reason::Filtered(filter)),
    }
}

/// How the answer ended. `message` is the provider's `finishMessage`.
///
/// # Errors
/// The answer is broken: what to tell the client.
pub(super) fn finish<'a>(
    name: &Text<'a>,
    message: Option<Text<'a>>,
    has_calls: bool,
) -> Result<Finish<'a>, Fault<'a>> {
    Ok(match reason(name.escaped()) {
        Reason::Stop if has_calls => Finish::ToolCalls,
        Reason::Stop => Finish::Stop,
        Reason::MaxTokens => Finish::Length,
        Reason::Paused => Finish::Paused,
        Reason::Filtered("SAFETY") => Finish::Filtered(message),
        Reason::Filtered(filter) => Finish::Filtered(message.or(Some(Text::from_plain(filter)))),
        Reason::Broken => {
            let words = || Text::from(format!("the provider ended the answer with {}", name.escaped()));
            return Err(Fault { code: Some(name.clone()), ..broken(message.unwrap_or_else(words)) });
        }
    })
}

/// The prompt was filtered. `block` is `promptFeedback.blockReason`, `message` its `blockReasonMessage`.
pub(super) fn prompt_filtered<'a>(block: Text<'a>, message: Option<Text<'a>>) -> Finish<'a> {
    Finish::PromptFiltered(message.or(Some(block).filter(|block| !is_vague(block.escaped()))))
}

fn is_vague(block: &str) -> bool {
    matches!(block, "OTHER" | "BLOCKED_REASON_UNSPECIFIED" | "BLOCK_REASON_UNSPECIFIED")
}

/// Writes `finishReason`, and `finishMessage` where there is one. `refused`: the model said a refusal in words, for
/// which this dialect has no place but the reason.
pub(super) fn write_finish(candidate: &mut Object<'_>, finish: &Finish<'_>, refused: bool) {
    let (name, message) = match finish {
        Finish::Stop | Finish::StopSequence(_) if refused => ("SAFETY", None),
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls | Finish::Paused => ("STOP", None),
        Finish::Length | Finish::ContextFull => ("MAX_TOKENS", None),
        Finish::Filtered(words) | Finish::PromptFiltered(words) => ("SAFETY", words.as_ref()),
    };
    candidate.plain("finishReason", name);
    if let Some(message) = message {
        candidate.text("finishMessage", message);
    }
}

/// Writes `promptFeedback`.
pub(super) fn write_prompt_feedback(root: &mut Object<'_>, words: Option<&Text<'_>>) {
    root.object("promptFeedback", |feedback| match words {
        Some(words) => {
            feedback.plain("blockReason", "SAFETY");
            feedback.text("blockReasonMessage", words);
        }
        None => feedback.plain("blockReason", "OTHER"),
    });
}

/// Writes `usageMetadata`.
pub(super) fn write_usage(root: &mut Object<'_>, usage: &Usage) {
    root.object("usageMetadata", |metadata| {
        metadata.number("promptTokenCount", usage.input);
        if usage.cached_input > 0 {
            metadata.number("cachedContentTokenCount", usage.cached_input);
        }
        metadata.number("candidatesTokenCount", usage.output.saturating_sub(usage.reasoning));
        if usage.reasoning > 0 {
            metadata.number("thoughtsTokenCount", usage.reasoning);
        }
        metadata.number("totalTokenCount", usage.input.saturating_add(usage.output));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::gemini::tap::read_usage;
    use crate::json::scan::Scanner;
    use crate::json::write;

    fn read(token: &str, message: Option<&'static str>, has_calls: bool) -> Result<Finish<'static>, String> {
        let value = Scanner::new(token.as_bytes()).value().unwrap();
        let name = name(&value).expect("a name").into_owned();
        finish(&name, message.map(Text::from_plain), has_calls)
            .map_err(|fault| format!("{}: {}", fault.code.unwrap().escaped(), fault.message.escaped()))
    }

    #[test]
    fn reasons_mean_what_the_table_says() {
        let filtered = |words: &'static str| Ok(Finish::Filtered(Some(Text::from_plain(words))));
        let broken = |name: &str| Err(format!("{name}: the provider ended the answer with {name}"));
        for (token, has_calls, expected) in [
            (r#""STOP""#, false, Ok(Finish::Stop)),
            (r#""STOP""#, true, Ok(Finish::ToolCalls)),
            (r#""MAX_TOKENS""#, true, Ok(Finish::Length)),
            (r#""SAFETY""#, true, Ok(Finish::Filtered(None))),
            (r#""CONTINUATION""#, false, Ok(Finish::Paused)),
            ("1", false, Ok(Finish::Stop)),
            ("2", false, Ok(Finish::Length)),
            ("8", false, filtered("SPII")),
            ("99", false, broken("OTHER")),
            (r#""MALFORMED_FUNCTION_CALL""#, true, broken("MALFORMED_FUNCTION_CALL")),
            (r#""UNEXPECTED_TOOL_CALL""#, false, broken("UNEXPECTED_TOOL_CALL")),
            (r#""SOMETHING_NEW""#, false, broken("SOMETHING_NEW")),
        ] {
            assert_eq!(read(token, None, has_calls), expected, "{token}");
        }
        for filter in &FILTERS[1..] {
            assert_eq!(read(&format!("\"{filter}\""), None, false), filtered(filter));
        }
        assert_eq!(read(r#""RECITATION""#, Some("too close"), false), filtered("too close"));
        assert_eq!(read(r#""OTHER""#, Some("no idea"), false), Err("OTHER: no idea".to_owned()));
        for nothing in ["null", "0", "\"\"", "\"FINISH_REASON_UNSPECIFIED\"", "{}"] {
            assert_eq!(name(&Scanner::new(nothing.as_bytes()).value().unwrap()), None, "{nothing}");
        }
    }

    #[test]
    fn usage_comes_back_as_it_was_written() {
        for usage in [
            Usage::default(),
            Usage { input: 10, output: 7, cached_input: 4, cache_write: 0, reasoning: 5 },
            Usage { input: u64::MAX, output: 1, ..Usage::default() },
        ] {
            let mut out = Vec::new();
            write::object(&mut out, |root| write_usage(root, &usage));
            let written = String::from_utf8(out).unwrap();
            let inner = written.strip_prefix("{\"usageMetadata\":").unwrap().strip_suffix('}').unwrap();
            assert_eq!(read_usage(inner.as_bytes()), Some(usage), "{written}");
        }
    }
}
