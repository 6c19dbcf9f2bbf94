//! The shared form of a stream as this dialect sends it.
//!
//! ```text
//! Waiting ──Start──▶ Running ──End──▶ Over
//!    └──────────── Fail ───────────────┘
//! ```
//!
//! `message_delta` says how the answer ended and what it cost in one event, so an end is held until the usage is known
//! or the stream is over. Rules: the project's dialect mapping, sections 10 to 12.

use super::fault::write_error;
use super::fields::{safe_id, write_citation, write_usage};
use super::finish;
use crate::dialect::Usage;
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{Event, Finish, Opening, Proof, Text, Vendor};
use crate::dialect::media;
use crate::json::write::{self, Object};
use crate::sse::append_event;

/// Writes a stream. After a failure, or the end, nothing more is written. Answers other than the first one have no
/// place in this dialect.
#[derive(Debug)]
pub(in crate::dialect) struct StreamWriter {
    client: ClientContext,
    state: State,
    open: Option<Block>,
    /// Index of the next block.
    next_index: u64,
    /// Whether something was refused in words.
    refused: bool,
    usage: Option<Usage>,
    finish: Option<Finish<'static>>,
    /// The data of one event, kept for its memory.
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    /// The end is said; only `message_stop` is left.
    Ended,
    Over,
}

#[derive(Debug)]
struct Block {
    kind: BlockKind,
    /// A proof on a block that has no place for one: it follows in a block of its own.
    proof: Option<Proof<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Thinking,
    Redacted,
    Call,
}

impl StreamWriter {
    /// A writer at the start of a stream.
    pub(in crate::dialect) fn new(client: ClientContext) -> Self {
        Self {
            client,
            state: State::Waiting,
            open: None,
            next_index: 0,
            refused: false,
            usage: None,
            finish: None,
            data: Vec::new(),
        }
    }

    /// Appends what `event` is to the client: no event, one, or several.
    pub(in crate::dialect) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.state == State::Over {
            return;
        }
        match event {
            Event::Fail(fault) => {
                self.write(out, "error", |_, body| write_error(body, fault));
                self.state = State::Over;
            }
            Event::Start { id, model, usage, .. } => self.start(id.as_ref(), model.as_ref(), *usage, out),
            Event::Open { choice: 0, block } => self.open(block, out),
            Event::Delta { choice: 0, text } => self.delta(text, out),
            Event::Media { choice: 0, media } => {
                self.open(&Opening::Text, out);
                self.delta(&media::note(media), out);
                self.close(out);
            }
            Event::Proof { choice: 0, proof } => self.proof(proof, out),
            Event::Cite { choice: 0, citation } => {
                if self.is_open(BlockKind::Text) {
                    self.block_delta(out, "citations_delta", |delta| {
                        delta.object("citation", |object| write_citation(object, citation));
                    });
                }
            }
            Event::Close { choice: 0 } => self.close(out),
            Event::Finish { choice: 0, finish } => {
                self.close(out);
                self.finish = Some(finish.clone().into_owned());
            }
            Event::Usage(usage) => {
                self.usage = Some(*usage);
                if self.finish.is_some() {
                    self.message_delta(out);
                }
            }
            // Before the stream has begun a ping would commit the status of the answer.
            Event::Ping if self.state == State::Waiting => {}
            Event::Ping => self.write(out, "ping", |_, _| {}),
            Event::End => {
                self.message_delta(out);
                self.write(out, "message_stop", |_, _| {});
                self.state = State::Over;
            }
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Logprobs { .. }
            | Event::Media { .. }
            | Event::Proof { .. }
            | Event::Cite { .. }
            | Event::Close { .. }
            | Event::Finish { .. } => {}
        }
    }

    /// Appends one event; `members` writes what its data has beside `type`.
    fn write(&mut self, out: &mut Vec<u8>, name: &str, members: impl FnOnce(&mut Self, &mut Object<'_>)) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        write::object(&mut data, |body| {
            if name != "error" {
                body.plain("type", name);
            }
            members(self, body);
        });
        append_event(out, name, &data);
        self.data = data;
    }

    fn start(
        &mut self,
        id: Option<&Text<'_>>,
        model: Option<&Text<'_>>,
        usage: Option<Usage>,
        out: &mut Vec<u8>,
    ) {
        if self.state != State::Waiting {
            return;
        }
        self.state = State::Running;
        self.usage = usage;
        self.write(out, "message_start", |writer, body| {
            body.object("message", |message| {
                write_head(message, &mut writer.client, id, model);
                message.json("content", "[]");
                message.null("stop_reason");
                message.null("stop_sequence");
                message.object("usage", |object| write_usage(object, &usage.unwrap_or_default()));
            });
        });
    }

    /// Writes the head of a stream whose reader began without one.
    fn begun(&mut self, out: &mut Vec<u8>) {
        self.start(None, None, None, out);
    }

    fn open(&mut self, opening: &Opening<'_>, out: &mut Vec<u8>) {
        self.begun(out);
        self.close(out);
        let kind = match opening {
            Opening::Text | Opening::Refusal => BlockKind::Text,
            Opening::Thinking => BlockKind::Thinking,
            Opening::Redacted(_) => BlockKind::Redacted,
            Opening::Call { .. } => BlockKind::Call,
        };
        self.refused |= matches!(opening, Opening::Refusal);
        self.open = Some(Block { kind, proof: None });
        self.write(out, "content_block_start", |writer, body| {
            body.number("index", writer.next_index);
            body.object("content_block", |block| match opening {
                Opening::Text | Opening::Refusal => {
                    block.plain("type", "text");
                    block.plain("text", "");
                }
                Opening::Thinking => {
                    block.plain("type", "thinking");
                    block.plain("thinking", "");
                    block.plain("signature", "");
                }
                Opening::Redacted(proof) => {
                    block.plain("type", "redacted_thinking");
                    block.text("data", &proof.seal(Vendor::Anthropic, &writer.client.proofs));
                }
                Opening::Call { id, name, .. } => {
                    block.plain("type", "tool_use");
                    block.text("id", &safe_id(id));
                    block.text("name", name);
                    block.json("input", "{}");
                }
            });
        });
    }

    fn is_open(&self, kind: BlockKind) -> bool {
        self.open.as_ref().is_some_and(|block| block.kind == kind)
    }

    /// Appends a `content_block_delta` of the open block; `members` writes what the delta has beside `type`.
    fn block_delta(&mut self, out: &mut Vec<u8>, kind: &str, members: impl FnOnce(&mut Object<'_>)) {
        self.write(out, "content_block_delta", |writer, body| {
            body.number("index", writer.next_index);
            body.object("delta", |delta| {
                delta.plain("type", kind);
                members(delta);
            });
        });
    }

    fn delta(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        let (kind, name) = match &self.open {
            Some(Block { kind: BlockKind::Text, .. }) => ("text_delta", "text"),
            Some(Block { kind: BlockKind::Thinking, .. }) => ("thinking_delta", "thinking"),
            Some(Block { kind: BlockKind::Call, .. }) => ("input_json_delta", "partial_json"),
            Some(Block { kind: BlockKind::Redacted, .. }) | None => return,
        };
        self.block_delta(out, kind, |delta| delta.text(name, text));
    }

    fn proof(&mut self, proof: &Proof<'_>, out: &mut Vec<u8>) {
        match &mut self.open {
            Some(Block { kind: BlockKind::Thinking, .. }) => {
                let signature = proof.seal(Vendor::Anthropic, &self.client.proofs).into_owned();
                self.block_delta(out, "signature_delta", |delta| delta.text("signature", &signature));
            }
            Some(block) => block.proof = Some(owned_proof(proof)),
            None => {}
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        self.write(out, "content_block_stop", |writer, body| body.number("index", writer.next_index));
        self.next_index += 1;
        if let Some(proof) = block.proof {
            self.open(&Opening::Redacted(proof), out);
            self.close(out);
        }
    }

    /// Says how the answer ended, once.
    fn message_delta(&mut self, out: &mut Vec<u8>) {
        if self.state == State::Ended {
            return;
        }
        self.begun(out);
        self.close(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        self.write(out, "message_delta", |writer, body| {
            body.object("delta", |delta| finish::write(delta, &finish, writer.refused));
            body.object("usage", |usage| write_usage(usage, &writer.usage.unwrap_or_default()));
        });
        self.state = State::Ended;
    }
}

/// Writes what a message has at its head: `id`, `type`, `role`, `model`.
pub(super) fn write_head(
    message: &mut Object<'_>,
    client: &mut ClientContext,
    id: Option<&Text<'_>>,
    model: Option<&Text<'_>>,
) {
    match id.filter(|id| id.escaped().starts_with("msg_")) {
        Some(id) => message.text("id", id),
        None => message.plain("id", &client.ids.make("msg_")),
    }
    message.plain("type", "message");
    message.plain("role", "assistant");
    match model.filter(|model| !model.is_empty()) {
        Some(model) => message.text("model", model),
        None => message.plain("model", &client.model),
    }
}

fn owned_proof(proof: &Proof<'_>) -> Proof<'static> {
    let Proof { vendor, item_id, data } = proof;
    let item_id = item_id.as_ref().map(|id| id.borrow().into_owned());
    Proof { vendor: *vendor, item_id, data: data.borrow().into_owned() }
}
