//! Finish reasons of chat. Rules: the project's dialect mapping, sections 9.1 and 9.2.

use crate::dialect::ir::{Fault, FaultCase, Finish, Text};
use crate::limits::REPORTED_NAME_BYTES_MAX;

/// What an answer had in it when its finish reason came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Had {
    /// Calls of functions.
    pub(super) calls: bool,
    /// Anything at all.
    pub(super) parts: bool,
}

/// Reads a finish reason.
///
/// # Errors
/// The provider broke: the word for it is none of those that an answer ends with.
pub(super) fn read(word: &str, had: Had) -> Result<Finish<'static>, Fault<'static>> {
    Ok(match word {
        // Some servers say `stop` behind calls.
        "stop" | "eos" | "end_turn" | "" if had.calls => Finish::ToolCalls,
        "stop" | "eos" | "end_turn" | "" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence(None),
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" if had.parts => Finish::Filtered(None),
        "content_filter" => Finish::PromptFiltered(None),
        "insufficient_system_resource" => return Err(fault(FaultCase::Overloaded, word)),
        _ => return Err(fault(FaultCase::Internal, word)),
    })
}

fn fault(case: FaultCase, word: &str) -> Fault<'static> {
    let word = &word[..word.floor_char_boundary(REPORTED_NAME_BYTES_MAX)];
    Fault {
        case,
        message: Text::from(format!("the provider broke the answer off: {word}")),
        code: Some(Text::from(word.to_owned())),
        param: None,
        retry_after_s: None,
    }
}

/// The finish reason to say to a client.
pub(super) fn word(finish: &Finish<'_>, has_calls: bool, legacy: bool) -> &'static str {
    match finish {
        Finish::ToolCalls if legacy => "function_call",
        Finish::Stop if has_calls && legacy => "function_call",
        Finish::ToolCalls => "tool_calls",
        Finish::Stop if has_calls => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Paused => "stop",
        Finish::Length | Finish::ContextFull => "length",
        Finish::Filtered(_) | Finish::PromptFiltered(_) => "content_filter",
    }
}

/// The words of a refusal that came with the end of an answer.
pub(super) fn explanation<'f>(finish: &'f Finish<'_>) -> Option<&'f Text<'f>> {
    match finish {
        Finish::Filtered(words) | Finish::PromptFiltered(words) => words.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_reasons_are_read_and_said() {
        let none = Had::default();
        let text = Had { parts: true, ..none };
        let call = Had { parts: true, calls: true };
        for (word_read, had, finish, said) in [
            ("stop", text, Finish::Stop, "stop"),
            ("stop", call, Finish::ToolCalls, "tool_calls"),
            ("eos", text, Finish::Stop, "stop"),
            ("tool_calls", call, Finish::ToolCalls, "tool_calls"),
            ("function_call", call, Finish::ToolCalls, "tool_calls"),
            ("length", call, Finish::Length, "length"),
            ("model_length", text, Finish::Length, "length"),
            ("content_filter", text, Finish::Filtered(None), "content_filter"),
            ("content_filter", none, Finish::PromptFiltered(None), "content_filter"),
        ] {
            assert_eq!(read(word_read, had), Ok(finish.clone()), "{word_read}");
            assert_eq!(word(&finish, had.calls, false), said, "{word_read}");
        }
        assert_eq!(word(&Finish::ToolCalls, true, true), "function_call");
        for (word, case) in
            [("error", FaultCase::Internal), ("insufficient_system_resource", FaultCase::Overloaded)]
        {
            assert_eq!(read(word, text).unwrap_err().case, case);
        }
        let long = "é".repeat(REPORTED_NAME_BYTES_MAX);
        assert!(read(&long, text).unwrap_err().message.escaped().len() < 2 * REPORTED_NAME_BYTES_MAX);
    }
}
