//! How answers end, in this dialect's words and back. Rules: the project's dialect mapping, sections 9.1 and 9.2.

use super::fields::{lenient, text};
use crate::dialect::ir::{Finish, Text};
use crate::json::scan;
use crate::json::write::Object;

/// What a message or a `message_delta` says about its end.
#[derive(Debug, Default)]
pub(super) struct Ending<'a> {
    reason: Option<Text<'a>>,
    sequence: Option<Text<'a>>,
    explanation: Option<Text<'a>>,
}

impl<'a> Ending<'a> {
    /// Reads the members of a message, or of the `delta` of a `message_delta`, that say how it ended.
    pub(super) fn read(&mut self, raw: &'a [u8]) {
        const NAMES: [&str; 3] = ["stop_reason", "stop_sequence", "stop_details"];
        let Some([reason, sequence, details]) = lenient(raw, NAMES) else { return };
        self.reason = text(reason.as_ref());
        self.sequence = text(sequence.as_ref());
        let explanation = details.and_then(|details| scan::member(details.raw, "explanation"));
        self.explanation = text(explanation.as_ref());
    }

    /// Takes in what came later; of each the last one counts.
    pub(super) fn update(&mut self, later: Ending<'_>) {
        let set = |slot: &mut Option<Text<'a>>, later: Option<Text<'_>>| {
            if let Some(later) = later {
                *slot = Some(later.into_owned());
            }
        };
        set(&mut self.reason, later.reason);
        set(&mut self.sequence, later.sequence);
        set(&mut self.explanation, later.explanation);
    }

    /// How it ended. Where no reason is given, or an unknown one, a call tells.
    pub(super) fn finish(self, has_content: bool, has_calls: bool) -> Finish<'a> {
        match self.reason.as_ref().map_or("", Text::escaped) {
            "stop_sequence" => Finish::StopSequence(self.sequence),
            "max_tokens" => Finish::Length,
            "model_context_window_exceeded" => Finish::ContextFull,
            "refusal" if has_content => Finish::Filtered(self.explanation),
            "refusal" => Finish::PromptFiltered(self.explanation),
            "pause_turn" => Finish::Paused,
            "tool_use" => Finish::ToolCalls,
            "end_turn" => Finish::Stop,
            _ if has_calls => Finish::ToolCalls,
            _ => Finish::Stop,
        }
    }
}

/// The word for an end. A refusal in words counts as one by name.
fn reason(finish: &Finish<'_>, refused: bool) -> &'static str {
    match finish {
        Finish::Stop if refused => "refusal",
        Finish::Stop => "end_turn",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ContextFull => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
        Finish::Filtered(_) | Finish::PromptFiltered(_) => "refusal",
        Finish::Paused => "pause_turn",
    }
}

/// Writes `stop_reason`, `stop_sequence` and, of a refusal, `stop_details`.
pub(super) fn write(object: &mut Object<'_>, finish: &Finish<'_>, refused: bool) {
    object.plain("stop_reason", reason(finish, refused));
    match finish {
        Finish::StopSequence(Some(sequence)) => object.text("stop_sequence", sequence),
        _ => object.null("stop_sequence"),
    }
    if let Finish::Filtered(Some(explanation)) | Finish::PromptFiltered(Some(explanation)) = finish {
        object.object("stop_details", |details| {
            details.plain("type", "refusal");
            details.null("category");
            details.text("explanation", explanation);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::write;

    #[test]
    fn reasons_go_both_ways() {
        let said = |text| Some(Text::from_plain(text));
        for (finish, has_content, json) in [
            (Finish::Stop, true, r#"{"stop_reason":"end_turn","stop_sequence":null}"#),
            (
                Finish::StopSequence(said("\n")),
                true,
                r#"{"stop_reason":"stop_sequence","stop_sequence":"\n"}"#,
            ),
            (Finish::StopSequence(None), true, r#"{"stop_reason":"stop_sequence","stop_sequence":null}"#),
            (Finish::Length, true, r#"{"stop_reason":"max_tokens","stop_sequence":null}"#),
            (
                Finish::ContextFull,
                true,
                r#"{"stop_reason":"model_context_window_exceeded","stop_sequence":null}"#,
            ),
            (Finish::ToolCalls, true, r#"{"stop_reason":"tool_use","stop_sequence":null}"#),
            (Finish::Paused, true, r#"{"stop_reason":"pause_turn","stop_sequence":null}"#),
            (Finish::Filtered(None), true, r#"{"stop_reason":"refusal","stop_sequence":null}"#),
            (
                Finish::PromptFiltered(said("no")),
                false,
                r#"{"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal","category":null,"explanation":"no"}}"#,
            ),
        ] {
            let mut out = Vec::new();
            write::object(&mut out, |object| write(object, &finish, false));
            assert_eq!(std::str::from_utf8(&out).unwrap(), json);
            let mut ending = Ending::default();
            ending.read(&out);
            assert_eq!(ending.finish(has_content, false), finish, "{json}");
        }
    }

    #[test]
    fn an_unknown_reason_is_told_by_the_calls() {
        let unknown = || {
            let mut ending = Ending::default();
            ending.read(br#"{"stop_reason":"compaction"}"#);
            ending
        };
        assert_eq!(unknown().finish(true, false), Finish::Stop);
        assert_eq!(unknown().finish(true, true), Finish::ToolCalls);
        assert_eq!(Ending::default().finish(true, true), Finish::ToolCalls);
        let mut out = Vec::new();
        write::object(&mut out, |object| write(object, &Finish::Stop, true));
        assert_eq!(out, br#"{"stop_reason":"refusal","stop_sequence":null}"#);
    }
}
