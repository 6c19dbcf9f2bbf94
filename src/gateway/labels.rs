//! Says the text of a chat stream a second time, for clients that want it without looking into chunks.
//!
//! A chunk with text goes on with `"type":"content"` and `"delta":"…"` put in front of its members; it stays the chunk
//! that it was for everybody else. Everything else passes as it is.
//!
//! Source: the project's proxy API, section 12 (`x-routerly-stream: events`).

use std::borrow::Cow;

use memchr::memmem;

use crate::dialect::openai_chat::{is_usage_only_chunk, text_of_chunk};
use crate::sse::{BlockDecoder, Event, Step};

/// Labels the chunks of one stream. Holds back what is no whole event yet.
#[derive(Debug)]
pub(super) struct Labels {
    held: Vec<u8>,
    decoder: BlockDecoder,
    withholds_usage: bool,
}

impl Labels {
    /// `withholds_usage`: the usage chunk was asked for by us alone and is kept from the client.
    pub(super) fn new(withholds_usage: bool) -> Self {
        Self { held: Vec::new(), decoder: BlockDecoder::default(), withholds_usage }
    }

    /// What goes on to the client in the place of `bytes`. `last`: nothing follows.
    pub(super) fn pass(&mut self, bytes: &[u8], last: bool) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.held.len() * 2);
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            let used = match self.decoder.step(rest) {
                Step::More | Step::Unread(0) => break,
                Step::Unread(used) => {
                    out.extend_from_slice(&rest[..used]);
                    used
                }
                Step::Block(block) => {
                    let bytes = &rest[..block.len];
                    match &block.event {
                        Some(event) if self.withholds_usage && is_usage_only_chunk(&event.data) => {}
                        Some(event) if append_labelled(&mut out, bytes, event) => {}
                        _ => out.extend_from_slice(bytes),
                    }
                    block.len
                }
            };
            at += used;
        }
        self.held.drain(..at);
        if last {
            out.append(&mut self.held);
        }
        out
    }
}

/// Appends the event that `block` is with a label in its chunk; `false`, and nothing appended, where there is nothing
/// to label. All other bytes stay as they are.
fn append_labelled(out: &mut Vec<u8>, block: &[u8], event: &Event<'_>) -> bool {
    // An object cut into several lines is nobody's way of writing a chunk.
    let Cow::Borrowed(chunk) = event.data else { return false };
    let (Some(text), true) = (text_of_chunk(chunk), event.name.is_empty()) else { return false };
    let open = memmem::find(block, chunk).zip(memchr::memchr(b'{', chunk)).map(|(start, open)| start + open);
    let Some(open) = open else { return false };
    out.extend_from_slice(&block[..=open]);
    out.extend_from_slice(b"\"type\":\"content\",\"delta\":");
    out.extend_from_slice(text);
    out.push(b',');
    out.extend_from_slice(&block[open + 1..]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        ": comment\n\n",
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\\\"l\\u00e9\\n\"}}]}\r\n\r\n",
        "data:{ \"choices\":[{\"delta\":{\"tool_calls\":[]}}]}\n\n",
        "event: x\ndata: {\"choices\":[{\"delta\":{\"content\":\"no\"}}]}\n\n",
        "data: not json\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: [DONE]\n\n",
    );
    const CHUNK: &str = "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\\\"l\\u00e9\\n\"}}]}\r\n\r\n";
    const LABELLED: &str = concat!(
        "data: {\"type\":\"content\",\"delta\":\"He\\\"l\\u00e9\\n\",",
        "\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\\\"l\\u00e9\\n\"}}]}\r\n\r\n",
    );
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";

    #[test]
    fn text_is_labelled_and_the_rest_passes_wherever_the_stream_is_cut() {
        for withholds_usage in [false, true] {
            let mut expected = STREAM.replace(CHUNK, LABELLED);
            if withholds_usage {
                expected = expected.replace(USAGE, "");
            }
            for cut in 0..=STREAM.len() {
                let mut labels = Labels::new(withholds_usage);
                let (one, two) = STREAM.as_bytes().split_at(cut);
                let out = [labels.pass(one, false), labels.pass(two, true)].concat();
                assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_incomplete_at_the_end_is_not_lost() {
        let mut labels = Labels::new(false);
        assert!(labels.pass(b"data: {\"choices\"", false).is_empty());
        assert_eq!(labels.pass(b":[", true), b"data: {\"choices\":[");
    }
}
