//! The question how many tokens a request has, as Anthropic takes it.

use crate::json::{scan, write};

/// Appends what Anthropic's count takes of a request: it refuses what does not count. Source: Anthropic API docs, "Count
/// tokens in a Message".
pub(super) fn append_counted(request: &[u8], out: &mut Vec<u8>) {
    const COUNTED: [&str; 7] =
        ["model", "system", "messages", "tools", "tool_choice", "thinking", "output_config"];
    write::object(out, |root| {
        let _ = scan::members(request, |key, value| {
            if let Some(index) = key.matches(&COUNTED) {
                root.member(COUNTED[index]).extend_from_slice(value.raw);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_not_asked() {
        let mut out = Vec::new();
        let request = br#"{"model":"m","max_tokens":5,"messages":[1, 2],"stream":true,"tools":[]}"#;
        append_counted(request, &mut out);
        assert_eq!(out, br#"{"model":"m","messages":[1, 2],"tools":[]}"#);
    }
}
