//! Keeps one event from the client: the usage chunk that was only asked for by us.

use std::sync::LazyLock;

use memchr::memmem;

use crate::dialect::openai_chat::is_usage_only_chunk;
use crate::sse::{BlockDecoder, Step};

/// What of the bytes in hand goes on to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// All of them, where they lie.
    AsTheyAre,
    /// These instead.
    Instead(Vec<u8>),
}

/// Lets a chat stream pass without its usage chunk.
///
/// As long as the bytes end with an event and cannot hold a usage chunk they pass untouched; only then, or when an
/// event is cut by the end of a read, are they taken apart and the incomplete rest held back.
#[derive(Debug, Default)]
pub(super) struct Withhold {
    held: Vec<u8>,
    decoder: BlockDecoder,
    /// Within an event that is too long to be looked at.
    unread: bool,
}

impl Withhold {
    /// Looks at the next bytes of the stream. `last`: nothing follows. `only_text`: they are known to be whole events
    /// of which none is a usage chunk.
    pub(super) fn pass(&mut self, bytes: &[u8], last: bool, only_text: bool) -> Pass {
        let between_events = self.held.is_empty() && !self.unread;
        if between_events && (only_text || (last || ends_with_event(bytes)) && !may_hold_usage(bytes)) {
            return Pass::AsTheyAre;
        }
        self.held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        loop {
            let rest = &self.held[at..];
            let (used, withheld) = match self.decoder.step(rest) {
                Step::More => break,
                Step::Unread(used) => {
                    self.unread = true;
                    (used, false)
                }
                Step::Block(block) => {
                    self.unread = false;
                    (block.len, block.event.is_some_and(|event| is_usage_only_chunk(&event.data)))
                }
            };
            if !withheld {
                out.extend_from_slice(&rest[..used]);
            }
            at += used;
            if used == 0 || at == self.held.len() {
                break;
            }
        }
        self.held.drain(..at);
        if last {
            out.append(&mut self.held);
        }
        Pass::Instead(out)
    }
}

fn ends_with_event(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n")
}

/// Whether a member `usage` with another value than `null` may be in here.
fn may_hold_usage(bytes: &[u8]) -> bool {
    static KEY: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"\"usage\""));
    KEY.find_iter(bytes).any(|at| {
        let mut value = bytes[at + KEY.needle().len()..].iter().skip_while(|byte| byte.is_ascii_whitespace());
        value.next() != Some(&b':') || value.find(|byte| !byte.is_ascii_whitespace()) != Some(&b'n')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\" twice\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{}, \"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    );

    fn through(parts: &[&[u8]]) -> String {
        let mut withhold = Withhold::default();
        let mut out = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            match withhold.pass(part, index + 1 == parts.len(), false) {
                Pass::AsTheyAre => out.extend_from_slice(part),
                Pass::Instead(bytes) => out.extend(bytes),
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_usage_chunk_is_missing_wherever_the_stream_is_cut() {
        let expected: String =
            STREAM.split_inclusive("\n\n").filter(|event| !event.contains("prompt_tokens")).collect();
        for cut in 0..=STREAM.len() {
            let (a, b) = STREAM.as_bytes().split_at(cut);
            assert_eq!(through(&[a, b]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(through(&bytes), expected);
    }

    #[test]
    fn events_without_usage_are_not_copied() {
        let mut withhold = Withhold::default();
        assert_eq!(withhold.pass(b"data: {\"usage\":null}\n\n", false, false), Pass::AsTheyAre);
        assert_eq!(withhold.pass(b"data: {\"usage\": null ,\"x\":1}\r\n\r\n", false, false), Pass::AsTheyAre);
    }

    #[test]
    fn a_stream_that_ends_inside_an_event_loses_nothing() {
        assert_eq!(through(&[b"data: {\"a\"", b":1}"]), "data: {\"a\":1}");
    }
}
