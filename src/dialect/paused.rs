//! A turn of an Anthropic model that has paused (`pause_turn`): what it has said so far goes back to it, and it goes on.
//!
//! A model pauses when the calls of a built-in tool within one answer become too many. The clients of other dialects have
//! no word for that, so the gateway does what a client of Anthropic's would do. What goes back are the provider's own
//! blocks, those of the tool and all proofs included, which the shared form does not carry.
//!
//! Source: Anthropic API docs, "Handling stop reasons" (`pause_turn`: send the response's content back as an assistant
//! message with the same tools), "Streaming messages".

use super::ir::Text;
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};
use crate::limits::PAUSED_TURN_BYTES_MAX;
use crate::sse::Event as SseEvent;

/// The blocks of a whole answer that has paused, joined by commas; `None` if it has not, or said nothing.
pub fn blocks(answer: &[u8]) -> Option<Vec<u8>> {
    let reason = scan::member(answer, "stop_reason")?;
    let content = scan::member(answer, "content").filter(|content| content.kind == Kind::Array)?;
    if reason.plain_string() != Some(b"pause_turn") || content.raw.len() > PAUSED_TURN_BYTES_MAX {
        return None;
    }
    let mut blocks = Vec::with_capacity(content.raw.len());
    scan::elements(content.raw, |block| append_block(&mut blocks, block.raw)).ok()?;
    (!blocks.is_empty()).then_some(blocks)
}

/// Appends `request`, a body of Messages, with `blocks` as a last message of the assistant to `out`. Whether it could.
pub fn append_request(request: &[u8], blocks: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(messages) = scan::member(request, "messages").filter(|messages| messages.kind == Kind::Array)
    else {
        return false;
    };
    let end = messages.span.end - 1;
    out.extend_from_slice(&request[..end]);
    if scan::elements(messages.raw, |_| {}).is_ok() && messages.raw[1..].trim_ascii_start() != b"]" {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":[");
    out.extend_from_slice(blocks);
    out.extend_from_slice(b"]}");
    out.extend_from_slice(&request[end..]);
    true
}

/// Empty texts are refused in a request.
fn append_block(blocks: &mut Vec<u8>, block: &[u8]) {
    let said = |name| scan::member(block, name).and_then(|value| value.plain_string());
    if said("type") == Some(b"text") && said("text") == Some(b"") {
        return;
    }
    if !blocks.is_empty() {
        blocks.push(b',');
    }
    blocks.extend_from_slice(block);
}

/// Puts the blocks of a stream together, in case it pauses.
#[derive(Debug, Default)]
pub struct Collector {
    /// Those that are complete, joined by commas.
    blocks: Vec<u8>,
    open: Option<Open>,
    /// Became too long, or could not be read.
    is_lost: bool,
}

/// A block whose pieces are still to come.
#[derive(Debug)]
struct Open {
    /// As its start had it.
    start: Vec<u8>,
    text: Text<'static>,
    thinking: Text<'static>,
    signature: Option<Text<'static>>,
    /// Pieces of the input's JSON.
    input: String,
    /// Joined by commas.
    citations: Vec<u8>,
}

impl Collector {
    /// Takes in the provider's next event.
    pub fn event(&mut self, event: &SseEvent<'_>) {
        if self.is_lost {
            return;
        }
        let data = &*event.data;
        let kind = match event.name {
            b"" | b"message" => {
                scan::member(data, "type").and_then(|kind| kind.plain_string()).unwrap_or_default()
            }
            name => name,
        };
        match kind {
            b"content_block_start" => {
                self.close();
                match scan::member(data, "content_block").filter(|block| block.kind == Kind::Object) {
                    Some(block) => self.open = Some(Open::new(block.raw)),
                    None => self.lose(),
                }
            }
            b"content_block_delta" => {
                let delta = scan::member(data, "delta");
                if let (Some(open), Some(delta)) = (&mut self.open, delta) {
                    open.piece(&delta);
                }
            }
            b"content_block_stop" => self.close(),
            _ => {}
        }
        let held = self.open.as_ref().map_or(0, Open::bytes);
        if self.blocks.len() + held > PAUSED_TURN_BYTES_MAX {
            self.lose();
        }
    }

    /// The blocks so far, joined by commas; `None` if there are none, or not all of them.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.close();
        let blocks = std::mem::take(&mut self.blocks);
        (!self.is_lost && !blocks.is_empty()).then_some(blocks)
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut block = Vec::with_capacity(open.bytes() + 64);
        open.write(&mut block);
        append_block(&mut self.blocks, &block);
    }

    fn lose(&mut self) {
        *self = Self { is_lost: true, ..Self::default() };
    }
}

impl Open {
    fn new(start: &[u8]) -> Self {
        let said = |name| scan::member(start, name).and_then(|value| Text::from_token(value.raw));
        Self {
            start: start.to_vec(),
            text: said("text").unwrap_or_default().into_owned(),
            thinking: said("thinking").unwrap_or_default().into_owned(),
            signature: None,
            input: String::new(),
            citations: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        let texts = self.text.escaped().len() + self.thinking.escaped().len() + self.input.len();
        self.start.len() + texts + self.citations.len()
    }

    fn piece(&mut self, delta: &Value<'_>) {
        let said = |name| scan::member(delta.raw, name).and_then(|value| Text::from_token(value.raw));
        match scan::member(delta.raw, "type").and_then(|kind| kind.plain_string()) {
            Some(b"text_delta") => self.text.push(&said("text").unwrap_or_default()),
            Some(b"thinking_delta") => self.thinking.push(&said("thinking").unwrap_or_default()),
            Some(b"signature_delta") => self.signature = said("signature").map(Text::into_owned),
            Some(b"input_json_delta") => {
                let piece = said("partial_json").unwrap_or_default();
                self.input.push_str(&piece.decode().unwrap_or_default());
            }
            Some(b"citations_delta") => {
                if let Some(citation) = scan::member(delta.raw, "citation") {
                    if !self.citations.is_empty() {
                        self.citations.push(b',');
                    }
                    self.citations.extend_from_slice(citation.raw);
                }
            }
            _ => {}
        }
    }

    /// The block as a whole answer has it.
    fn write(&self, out: &mut Vec<u8>) {
        write::object(out, |object| {
            // The start was scanned with its event.
            let _ = scan::members(&self.start, |key, value| {
                if let Some(name) = Text::from_token(&self.start[key.span.clone()]) {
                    self.write_member(object, &name, &value);
                }
            });
            let has = |name| scan::member(&self.start, name).is_some();
            if let Some(signature) = self.signature.as_ref().filter(|_| !has("signature")) {
                object.text("signature", signature);
            }
            if !self.citations.is_empty() && !has("citations") {
                object.array("citations", |list| list.run(&self.citations));
            }
        });
    }

    fn write_member(&self, object: &mut Object<'_>, name: &Text<'_>, value: &Value<'_>) {
        match name.escaped() {
            "text" => object.text("text", &self.text),
            "thinking" => object.text("thinking", &self.thinking),
            "signature" if self.signature.is_some() => {
                object.text("signature", &self.signature.clone().unwrap_or_default());
            }
            "input" if !self.input.trim().is_empty() => {
                object.member("input").extend_from_slice(self.input.as_bytes());
            }
            "citations" if !self.citations.is_empty() => {
                object.array("citations", |list| list.run(&self.citations));
            }
            _ => object.named_member(name).extend_from_slice(value.raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn a_paused_answer_goes_back_as_it_came() {
        let search =
            r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"a"}}"#;
        let text = r#"{"type":"text","text":"so\u00e4","citations":null}"#;
        let answer = format!(
            r#"{{"content":[{{"type":"text","text":""}},{search} , {text}],"stop_reason":"pause_turn"}}"#
        );
        let blocks = blocks(answer.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(blocks.clone()).unwrap(), format!("{search},{text}"));
        for (request, expected) in [
            (
                r#"{"messages":[{"role":"user"} ],"n":1}"#,
                format!(
                    r#"{{"messages":[{{"role":"user"}} ,{{"role":"assistant","content":[{search},{text}]}}],"n":1}}"#
                ),
            ),
            (
                r#"{"messages":[]}"#,
                format!(r#"{{"messages":[{{"role":"assistant","content":[{search},{text}]}}]}}"#),
            ),
        ] {
            let mut out = Vec::new();
            assert!(append_request(request.as_bytes(), &blocks, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert!(!append_request(b"{}", &blocks, &mut Vec::new()));
    }

    #[test]
    fn an_answer_that_has_not_paused_stays() {
        for answer in [
            r#"{"content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}"#,
            r#"{"content":[],"stop_reason":"pause_turn"}"#,
            r#"{"content":[{"type":"text","text":""}],"stop_reason":"pause_turn"}"#,
            r#"{"stop_reason":"pause_turn"}"#,
            "[]",
            "",
        ] {
            assert_eq!(blocks(answer.as_bytes()), None, "{answer}");
        }
    }

    fn collected(events: &[&str]) -> Option<String> {
        let mut collector = Collector::default();
        for data in events {
            collector.event(&SseEvent { name: b"", data: Cow::Borrowed(data.as_bytes()), wire: 0..0 });
        }
        collector.take().map(|blocks| String::from_utf8(blocks).unwrap())
    }

    #[test]
    fn a_stream_becomes_the_blocks_of_a_whole_answer() {
        let events = [
            r#"{"type":"message_start","message":{}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm \ud83d"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"\ude00"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"query\":"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":" \"ä\\n\"}"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","tool_use_id":"s","content":[{"encrypted_content":"x"}]}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_stop","index":3}"#,
            r#"{"type":"content_block_start","index":4,"content_block":{"type":"text","text":"","citations":[]}}"#,
            r#"{"type":"content_block_delta","index":4,"delta":{"type":"citations_delta","citation":{"url":"u"}}}"#,
            r#"{"type":"content_block_delta","index":4,"delta":{"type":"text_delta","text":"so \"it\" "}}"#,
            r#"{"type":"content_block_delta","index":4,"delta":{"type":"text_delta","text":"is"}}"#,
        ];
        let expected = [
            r#"{"type":"thinking","thinking":"hm \ud83d\ude00","signature":"c2ln"}"#,
            r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{"query": "ä\n"}}"#,
            r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[{"encrypted_content":"x"}]}"#,
            r#"{"type":"text","text":"so \"it\" is","citations":[{"url":"u"}]}"#,
        ];
        assert_eq!(collected(&events).unwrap(), expected.join(","));
        let bare = [
            r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":""}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"c2ln"}}"#,
        ];
        assert_eq!(collected(&bare).unwrap(), r#"{"type":"thinking","thinking":"","signature":"c2ln"}"#);
    }

    #[test]
    fn what_cannot_go_back_whole_does_not_go_back() {
        assert_eq!(collected(&[]), None);
        assert_eq!(collected(&[r#"{"type":"content_block_start","content_block":7}"#]), None);
        let long = format!(
            r#"{{"type":"content_block_start","content_block":{{"type":"text","text":"{}"}}}}"#,
            "x".repeat(PAUSED_TURN_BYTES_MAX)
        );
        assert_eq!(collected(&[&long, r#"{"type":"content_block_stop"}"#]), None);
        let whole =
            format!(r#"{{"content":[{}],"stop_reason":"pause_turn"}}"#, "1,".repeat(PAUSED_TURN_BYTES_MAX));
        assert_eq!(blocks(whole.as_bytes()), None);
    }
}
