//! The events of the shared form to the stream of this dialect.
//!
//! ```text
//! Waiting ──Start──▶ Running ──End──▶ Over
//!    └─────────Fail─────┴──────────────▶ Over
//! ```
//!
//! Each piece goes out as it comes. The whole text is kept beside, within a bound, because the dialect repeats it: at the
//! end of a part, of its item, and of the stream. Order of events: the project's dialect mapping, section 10.

use super::write_output::{
    Call, Head, Holder, ItemStatus, Standing, append_annotation, append_image, append_message,
    append_reasoning, append_refusal_part, append_response, append_summary_part, append_text_part,
    append_to_run, explanation, image_data,
};
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{CallKind, Citation, Event, Fault, FaultCase, Finish, Media, Opening, Text};
use crate::dialect::{Dialect, Usage, media, openai};
use crate::json::text::char_count;
use crate::json::write::{self, Object};
use crate::limits::REPEATED_OUTPUT_BYTES_MAX;
use crate::sse::{append_comment, append_event};

/// Writes one stream.
#[derive(Debug)]
pub(in crate::dialect) struct StreamWriter {
    client: ClientContext,
    head: Head,
    phase: Phase,
    wire: Wire,
    /// Items that are over, joined by commas.
    output: Vec<u8>,
    /// How many items have begun.
    items: u64,
    /// The message that may still get parts.
    message: Option<Message>,
    /// The open block.
    block: Option<Block>,
    /// Its text so far.
    text: Text<'static>,
    /// Tokens that go with the next text, joined by commas.
    logprobs: Vec<u8>,
    has_refusal: bool,
    finish: Finish<'static>,
    usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Over,
}

/// An item that has begun: its id and `output_index`.
#[derive(Debug, Clone)]
struct Place {
    id: String,
    index: u64,
}

#[derive(Debug)]
struct Message {
    place: Place,
    /// Parts that are over, joined by commas.
    parts: Vec<u8>,
    /// How many parts have begun.
    count: u64,
}

#[derive(Debug)]
enum Block {
    /// The last part of the message.
    Text {
        /// Joined by commas.
        annotations: Vec<u8>,
        annotation_count: u64,
        /// Characters in so many bytes of the text.
        chars: (u64, usize),
        /// Its tokens, joined by commas.
        logprobs: Vec<u8>,
        /// What a signature came for, sealed: an item of its own follows.
        sealed: Option<Text<'static>>,
    },
    /// The last part of the message.
    Refusal,
    Thinking {
        place: Place,
        holder: Holder<'static>,
        sealed: Option<Text<'static>>,
    },
    Call {
        place: Place,
        call: Call<'static>,
        /// The call's own proof, sealed: an item of its own follows.
        sealed: Option<Text<'static>>,
    },
}

/// Writes events and counts them.
#[derive(Debug, Default)]
struct Wire {
    sequence: u64,
    /// One event's data; kept for its memory.
    data: Vec<u8>,
}

impl Wire {
    fn send(&mut self, out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.data.clear();
        write::object(&mut self.data, |event| {
            event.plain("type", name);
            write(event);
            event.number("sequence_number", self.sequence);
        });
        append_event(out, name, &self.data);
        self.sequence += 1;
    }
}

impl StreamWriter {
    /// A writer at the start of a stream.
    pub(in crate::dialect) fn new(mut client: ClientContext) -> Self {
        let head = Head {
            id: client.ids.own("resp_"),
            model: Text::from(client.model.clone()),
            created: client.unix_seconds,
            echo: std::mem::take(&mut client.echo),
        };
        Self {
            client,
            head,
            phase: Phase::Waiting,
            wire: Wire::default(),
            output: Vec::new(),
            items: 0,
            message: None,
            block: None,
            text: Text::default(),
            logprobs: Vec::new(),
            has_refusal: false,
            finish: Finish::Stop,
            usage: None,
        }
    }

    /// Appends what `event` is in this dialect: nothing, one event or more.
    pub(in crate::dialect) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match (self.phase, event) {
            (Phase::Over, _) => {}
            (_, Event::Ping) => append_comment(out, b"ping"),
            (_, Event::Fail(fault)) => self.fail(fault, out),
            (Phase::Waiting, Event::Start { model, created, usage, .. }) => {
                self.head.model =
                    model.clone().map_or(std::mem::take(&mut self.head.model), Text::into_owned);
                self.head.created = created.unwrap_or(self.head.created);
                self.usage = *usage;
                self.start(out);
            }
            (Phase::Waiting, _) => {
                self.start(out);
                self.event(event, out);
            }
            (Phase::Running, _) => self.running(event, out),
        }
    }

    fn running(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Open { choice: 0, block } => self.open(block, out),
            Event::Delta { choice: 0, text } => self.delta(text, out),
            Event::Media { choice: 0, media } => self.media(media, out),
            Event::Logprobs { choice: 0, tokens } => openai::append_logprobs(&mut self.logprobs, tokens),
            Event::Proof { choice: 0, proof } => match &mut self.block {
                Some(Block::Thinking { holder, sealed, .. }) => {
                    *sealed = Some(holder.seal(proof, &self.client.proofs));
                }
                Some(Block::Call { call, sealed, .. }) => {
                    let holder = Holder::Call(call.call_id.borrow());
                    *sealed = Some(holder.seal(proof, &self.client.proofs));
                }
                Some(Block::Text { sealed, .. }) => {
                    *sealed = Some(Holder::Thought.seal(proof, &self.client.proofs));
                }
                Some(Block::Refusal) | None => {}
            },
            Event::Cite { choice: 0, citation } => self.cite(citation, out),
            Event::Close { choice: 0 } => self.close(out),
            Event::Finish { choice: 0, finish } => {
                self.close(out);
                self.finish = finish.clone().into_owned();
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            // This dialect has one answer.
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Logprobs { .. }
            | Event::Media { .. }
            | Event::Proof { .. }
            | Event::Cite { .. }
            | Event::Close { .. }
            | Event::Finish { .. }
            | Event::Start { .. }
            | Event::Ping
            | Event::Fail(_) => {}
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Running;
        let head = &self.head;
        for name in ["response.created", "response.in_progress"] {
            self.wire.send(out, name, |event| {
                append_response(event.member("response"), head, Standing::InProgress, b"", None);
            });
        }
    }

    fn place(&mut self, prefix: &str) -> Place {
        let index = self.items;
        self.items += 1;
        Place { id: self.client.ids.make(prefix), index }
    }

    fn open(&mut self, block: &Opening<'_>, out: &mut Vec<u8>) {
        self.close(out);
        self.text = Text::default();
        match block {
            Opening::Text => {
                self.open_part(out, |part| append_text_part(part, &Text::default(), b"", b""));
                self.block = Some(Block::Text {
                    annotations: Vec::new(),
                    annotation_count: 0,
                    chars: (0, 0),
                    logprobs: Vec::new(),
                    sealed: None,
                });
            }
            Opening::Refusal => {
                self.open_part(out, |part| append_refusal_part(part, &Text::default()));
                self.block = Some(Block::Refusal);
                self.has_refusal = true;
            }
            Opening::Thinking => self.open_thinking(Holder::Thought, None, out),
            Opening::Redacted(proof) => {
                let sealed = Holder::Redacted.seal(proof, &self.client.proofs);
                self.open_thinking(Holder::Redacted, Some(sealed), out);
            }
            Opening::Call { id, name, kind } => {
                self.close_message(ItemStatus::Completed, out);
                let place = self.place(Call::id_prefix(*kind));
                let (call_id, name) = (id.clone().into_owned(), name.clone().into_owned());
                let call = Call { kind: *kind, call_id, name };
                self.wire.send(out, "response.output_item.added", |event| {
                    event.number("output_index", place.index);
                    let item = event.member("item");
                    call.append(item, &place.id, ItemStatus::InProgress, &Text::default());
                });
                self.block = Some(Block::Call { place, call, sealed: None });
            }
        }
    }

    /// Begins a part of the message, and the message if there is none.
    fn open_part(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.message.is_none() {
            let place = self.place("msg_");
            self.wire.send(out, "response.output_item.added", |event| {
                event.number("output_index", place.index);
                append_message(event.member("item"), &place.id, ItemStatus::InProgress, b"");
            });
            self.message = Some(Message { place, parts: Vec::new(), count: 0 });
        }
        if let Some(message) = &mut self.message {
            self.wire.send(out, "response.content_part.added", |event| {
                message.name_part(event, message.count);
                write(event.member("part"));
            });
            message.count += 1;
        }
    }

    fn open_thinking(&mut self, holder: Holder<'static>, sealed: Option<Text<'static>>, out: &mut Vec<u8>) {
        self.close_message(ItemStatus::Completed, out);
        let place = self.place("rs_");
        self.wire.send(out, "response.output_item.added", |event| {
            event.number("output_index", place.index);
            append_reasoning(event.member("item"), &place.id, &Text::default(), None);
        });
        self.block = Some(Block::Thinking { place, holder, sealed });
    }

    fn delta(&mut self, piece: &Text<'_>, out: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        let tokens = match &self.block {
            Some(Block::Text { logprobs, .. }) => self.logprobs.len() + logprobs.len(),
            _ => 0,
        };
        if self.text.escaped().len() + self.output.len() + tokens > REPEATED_OUTPUT_BYTES_MAX {
            return self.fail(&too_long(), out);
        }
        let is_first = self.text.is_empty();
        self.text.push(piece);
        match &mut self.block {
            Some(Block::Text { logprobs, .. }) => {
                let Some(message) = &self.message else { return };
                let tokens = std::mem::take(&mut self.logprobs);
                self.wire.send(out, "response.output_text.delta", |event| {
                    message.name_last_part(event);
                    event.text("delta", piece);
                    event.array("logprobs", |list| list.run(&tokens));
                });
                if !tokens.is_empty() {
                    append_to_run(logprobs, |run| run.extend_from_slice(&tokens));
                }
            }
            Some(Block::Refusal) => {
                let Some(message) = &self.message else { return };
                self.wire.send(out, "response.refusal.delta", |event| {
                    message.name_last_part(event);
                    event.text("delta", piece);
                });
            }
            Some(Block::Thinking { place, .. }) => {
                if is_first {
                    self.wire.send(out, "response.reasoning_summary_part.added", |event| {
                        place.name_summary(event);
                        append_summary_part(event.member("part"), &Text::default());
                    });
                }
                self.wire.send(out, "response.reasoning_summary_text.delta", |event| {
                    place.name_summary(event);
                    event.text("delta", piece);
                });
            }
            Some(Block::Call { place, call, .. }) => send_input(&mut self.wire, place, call, piece, out),
            None => self.text = Text::default(),
        }
    }

    /// A picture is an item of its own; what is none is said in words.
    fn media(&mut self, media: &Media<'_>, out: &mut Vec<u8>) {
        let Some(data) = image_data(media) else {
            self.open(&Opening::Text, out);
            self.delta(&media::note(media), out);
            return self.close(out);
        };
        if self.output.len() + data.escaped().len() > REPEATED_OUTPUT_BYTES_MAX {
            return self.fail(&too_long(), out);
        }
        self.close(out);
        self.close_message(ItemStatus::Completed, out);
        let place = self.place("ig_");
        self.wire.send(out, "response.output_item.added", |event| {
            event.number("output_index", place.index);
            append_image(event.member("item"), &place.id, ItemStatus::InProgress, None);
        });
        for name in ["response.image_generation_call.in_progress", "response.image_generation_call.completed"]
        {
            self.wire.send(out, name, |event| place.name_item(event));
        }
        self.item_done(place.index, out, |item| {
            append_image(item, &place.id, ItemStatus::Completed, Some(data));
        });
    }

    fn cite(&mut self, citation: &Citation<'_>, out: &mut Vec<u8>) {
        let Some(message) = &self.message else { return };
        let Some(Block::Text { annotations, annotation_count, chars, .. }) = &mut self.block else { return };
        let rest = &self.text.escaped().as_bytes()[chars.1..];
        *chars = (chars.0 + char_count(rest), chars.1 + rest.len());
        let mut annotation = Vec::new();
        append_annotation(&mut annotation, citation, chars.0);
        self.wire.send(out, "response.output_text.annotation.added", |event| {
            message.name_last_part(event);
            event.number("annotation_index", *annotation_count);
            event.member("annotation").extend_from_slice(&annotation);
        });
        append_to_run(annotations, |run| run.extend_from_slice(&annotation));
        *annotation_count += 1;
    }

    /// Ends the open block, if there is one.
    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.block.take() else { return };
        let text = std::mem::take(&mut self.text);
        match block {
            Block::Text { annotations, sealed, mut logprobs, .. } => {
                let rest = std::mem::take(&mut self.logprobs);
                if !rest.is_empty() {
                    append_to_run(&mut logprobs, |run| run.extend_from_slice(&rest));
                }
                self.close_part(out, "response.output_text.done", "text", &text, Some(&logprobs), |part| {
                    append_text_part(part, &text, &annotations, &logprobs);
                });
                self.follow_up(sealed, out);
            }
            Block::Refusal => {
                self.close_part(out, "response.refusal.done", "refusal", &text, None, |part| {
                    append_refusal_part(part, &text);
                });
            }
            Block::Thinking { place, sealed, .. } => {
                if !text.is_empty() {
                    self.wire.send(out, "response.reasoning_summary_text.done", |event| {
                        place.name_summary(event);
                        event.text("text", &text);
                    });
                    self.wire.send(out, "response.reasoning_summary_part.done", |event| {
                        place.name_summary(event);
                        append_summary_part(event.member("part"), &text);
                    });
                }
                self.item_done(place.index, out, |item| {
                    append_reasoning(item, &place.id, &text, sealed.as_ref());
                });
            }
            Block::Call { place, call, sealed } => {
                self.close_call(&place, &call, text, out);
                self.follow_up(sealed, out);
            }
        }
    }

    fn close_call(&mut self, place: &Place, call: &Call<'_>, mut input: Text<'static>, out: &mut Vec<u8>) {
        let is_function = call.kind == CallKind::Function;
        if is_function && input.is_empty() {
            // Clients that put the pieces together parse what they get.
            input = Text::from_plain("{}");
            send_input(&mut self.wire, place, call, &input, out);
        }
        let (name, member) = if is_function {
            ("response.function_call_arguments.done", "arguments")
        } else {
            ("response.custom_tool_call_input.done", "input")
        };
        self.wire.send(out, name, |event| {
            place.name_item(event);
            if is_function {
                event.text("name", &call.name);
            }
            event.text(member, &input);
        });
        self.item_done(place.index, out, |item| call.append(item, &place.id, ItemStatus::Completed, &input));
    }

    /// A reasoning item with nothing but the proof that belongs to the block before.
    fn follow_up(&mut self, sealed: Option<Text<'static>>, out: &mut Vec<u8>) {
        if sealed.is_some() {
            self.open_thinking(Holder::Thought, sealed, out);
            self.close(out);
        }
    }

    /// Ends the last part of the message. `logprobs` are the tokens of a text.
    fn close_part(
        &mut self,
        out: &mut Vec<u8>,
        name: &str,
        member: &str,
        text: &Text<'_>,
        logprobs: Option<&[u8]>,
        write: impl Fn(&mut Vec<u8>),
    ) {
        let Some(message) = &mut self.message else { return };
        self.wire.send(out, name, |event| {
            message.name_last_part(event);
            event.text(member, text);
            if let Some(logprobs) = logprobs {
                event.array("logprobs", |list| list.run(logprobs));
            }
        });
        self.wire.send(out, "response.content_part.done", |event| {
            message.name_last_part(event);
            write(event.member("part"));
        });
        append_to_run(&mut message.parts, write);
    }

    /// Ends the message, if there is one: what comes next is no part of it.
    fn close_message(&mut self, status: ItemStatus, out: &mut Vec<u8>) {
        if let Some(Message { place, parts, .. }) = self.message.take() {
            self.item_done(place.index, out, |item| append_message(item, &place.id, status, &parts));
        }
    }

    fn item_done(&mut self, index: u64, out: &mut Vec<u8>, write: impl Fn(&mut Vec<u8>)) {
        self.wire.send(out, "response.output_item.done", |event| {
            event.number("output_index", index);
            write(event.member("item"));
        });
        append_to_run(&mut self.output, write);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        let finish = std::mem::replace(&mut self.finish, Finish::Stop);
        if let Some(words) = explanation(&finish).filter(|_| !self.has_refusal) {
            self.open(&Opening::Refusal, out);
            self.delta(words, out);
            self.close(out);
        }
        if self.phase == Phase::Over {
            return;
        }
        let standing = Standing::of(&finish, self.client.unix_seconds);
        self.close_message(standing.of_item(), out);
        self.phase = Phase::Over;
        let name = match standing {
            Standing::Incomplete(_) => "response.incomplete",
            _ => "response.completed",
        };
        self.wire.send(out, name, |event| {
            let response = event.member("response");
            append_response(response, &self.head, standing, &self.output, self.usage.as_ref());
        });
    }

    /// Says the fault in both forms that clients look for, then in the event that ends every stream.
    fn fail(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.phase = Phase::Over;
        self.wire.send(out, "error", |event| {
            event.text("code", &openai::code_of(fault, Dialect::OpenAiResponses));
            event.text("message", &fault.message);
            match &fault.param {
                Some(param) => event.text("param", param),
                None => event.null("param"),
            }
            event.object("error", |error| openai::write_error(error, fault, Dialect::OpenAiResponses));
        });
        self.wire.send(out, "response.failed", |event| {
            let response = event.member("response");
            let standing = Standing::Failed(fault);
            append_response(response, &self.head, standing, &self.output, self.usage.as_ref());
        });
    }
}

impl Place {
    fn name_item(&self, event: &mut Object<'_>) {
        event.plain("item_id", &self.id);
        event.number("output_index", self.index);
    }

    fn name_summary(&self, event: &mut Object<'_>) {
        self.name_item(event);
        event.number("summary_index", 0);
    }
}

impl Message {
    fn name_part(&self, event: &mut Object<'_>, index: u64) {
        self.place.name_item(event);
        event.number("content_index", index);
    }

    fn name_last_part(&self, event: &mut Object<'_>) {
        self.name_part(event, self.count.saturating_sub(1));
    }
}

fn send_input(wire: &mut Wire, place: &Place, call: &Call<'_>, piece: &Text<'_>, out: &mut Vec<u8>) {
    let name = match call.kind {
        CallKind::Function => "response.function_call_arguments.delta",
        CallKind::Custom => "response.custom_tool_call_input.delta",
    };
    wire.send(out, name, |event| {
        place.name_item(event);
        event.text("delta", piece);
    });
}

fn too_long() -> Fault<'static> {
    Fault {
        case: FaultCase::Internal,
        message: Text::from_plain("the answer is too long to be repeated at its end"),
        code: None,
        param: None,
        retry_after_s: None,
    }
}

#[cfg(test)]
#[path = "write_stream_tests.rs"]
mod tests;
