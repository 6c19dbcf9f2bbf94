//! Writes a stream for a chat client, chunk by chunk.

use super::finish;
use super::thoughts::{self, Place};
use super::write_answer::{
    is_carried, is_image, write_citation, write_image, write_logprobs, write_signature, write_usage,
};
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{CallKind, Event, Fault, Media, Opening, Proof, Text};
use crate::dialect::media;
use crate::dialect::{Dialect, Usage, openai};
use crate::json::text::{append_number, char_count};
use crate::json::write::{self, Object};
use crate::sse::{append_comment, append_event};

/// Writes one stream.
#[derive(Debug)]
pub(in crate::dialect) struct StreamWriter {
    client: ClientContext,
    /// What every chunk begins with, up to the number of its answer; empty before the start.
    prefix: Vec<u8>,
    /// How much of it a chunk without answers begins with.
    bare_length: usize,
    /// The event in the making; kept for its memory.
    data: Vec<u8>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    over: bool,
}

/// One of the answers.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    open: Open,
    /// Calls opened so far: the next one's number.
    calls: u64,
    /// Characters of closed texts, and of the open one.
    chars_before: u64,
    chars: u64,
    /// UTF-16 units of closed thoughts, and of the open one.
    units_before: u64,
    units: u64,
    /// Proofs written so far.
    details: u64,
    /// Sources, and pictures.
    citations: u64,
    images: u64,
    /// Tokens that go with the next text, joined by commas.
    logprobs: Vec<u8>,
}

/// What is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Refusal,
    Thinking,
    Redacted,
    Call {
        kind: CallKind,
        has_input: bool,
    },
}

impl StreamWriter {
    /// A writer at the start of a stream.
    pub(in crate::dialect) fn new(client: ClientContext) -> Self {
        Self {
            client,
            prefix: Vec::new(),
            bare_length: 0,
            data: Vec::new(),
            choices: Vec::new(),
            usage: None,
            over: false,
        }
    }

    /// Appends what `event` means to a chat client: no event, one, or a few.
    pub(in crate::dialect) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, model, created, usage } => {
                self.usage = usage.or(self.usage);
                self.start(id.as_ref(), model.as_ref(), *created);
                self.role(0, out);
            }
            Event::Open { choice, block } => self.open(*choice, block, out),
            Event::Delta { choice, text } => self.delta(*choice, text, out),
            Event::Media { choice, media } => self.media(*choice, media, out),
            Event::Logprobs { choice, tokens } => {
                let at = self.choice(*choice, out);
                openai::append_logprobs(&mut self.choices[at].logprobs, tokens);
            }
            Event::Proof { choice, proof } => self.proof(*choice, proof, out),
            Event::Cite { choice, citation } => {
                let at = self.choice(*choice, out);
                let state = &mut self.choices[at];
                let (offset, length, number) = (state.chars_before, state.chars, state.citations);
                state.citations += 1;
                self.chunk(*choice, out, |delta, _| {
                    delta.array("annotations", |list| {
                        list.object(|object| {
                            // OpenAI's SDK puts the elements of lists together by it.
                            object.number("index", number);
                            write_citation(object, citation, offset, length);
                        });
                    });
                });
            }
            Event::Close { choice } => self.close(*choice, out),
            Event::Finish { choice, finish } => {
                let at = self.choice(*choice, out);
                let has_calls = self.choices[at].calls > 0;
                let word = finish::word(finish, has_calls, self.client.legacy_functions);
                self.begin(*choice);
                write::object(&mut self.data, |delta| {
                    if let Some(words) = finish::explanation(finish) {
                        delta.text("refusal", words);
                    }
                });
                let run = std::mem::take(&mut self.choices[at].logprobs);
                self.logprobs(false, &run);
                self.data.extend_from_slice(b",\"finish_reason\":\"");
                self.data.extend_from_slice(word.as_bytes());
                self.data.extend_from_slice(b"\"}]}");
                append_event(out, "", &self.data);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => append_comment(out, b"ping"),
            Event::Fail(fault) => self.fail(fault, out),
            Event::End => self.end(out),
        }
    }

    fn start(&mut self, id: Option<&Text<'_>>, model: Option<&Text<'_>>, created: Option<u64>) {
        let client = &mut self.client;
        let made;
        let id = match id {
            Some(id) => id,
            None => {
                made = Text::from(client.ids.make("chatcmpl-"));
                &made
            }
        };
        let own;
        let model = match model {
            Some(model) => model,
            None => {
                own = Text::from_plain(&client.model);
                &own
            }
        };
        let prefix = &mut self.prefix;
        prefix.clear();
        prefix.extend_from_slice(b"{\"id\":");
        id.append_to(prefix);
        prefix.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        append_number(prefix, created.unwrap_or(client.unix_seconds));
        prefix.extend_from_slice(b",\"model\":");
        model.append_to(prefix);
        prefix.extend_from_slice(b",\"choices\":[");
        self.bare_length = prefix.len();
        prefix.extend_from_slice(b"{\"index\":");
    }

    /// The place of an answer's state. Its first chunk says its role.
    fn choice(&mut self, index: u32, out: &mut Vec<u8>) -> usize {
        match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None => self.role(index, out),
        }
    }

    fn role(&mut self, index: u32, out: &mut Vec<u8>) -> usize {
        if self.prefix.is_empty() {
            self.start(None, None, None);
        }
        self.choices.push(Choice { index, ..Choice::default() });
        self.chunk(index, out, |delta, _| {
            delta.plain("role", "assistant");
            delta.plain("content", "");
        });
        self.choices.len() - 1
    }

    /// Begins a chunk, up to its delta.
    fn begin(&mut self, index: u32) {
        self.data.clear();
        self.data.extend_from_slice(&self.prefix);
        append_number(&mut self.data, u64::from(index));
        self.data.extend_from_slice(b",\"delta\":");
    }

    /// Appends a chunk with the delta that `write` writes.
    fn chunk(&mut self, index: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>, &ClientContext)) {
        self.begin(index);
        write::object(&mut self.data, |delta| write(delta, &self.client));
        self.data.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]}");
        append_event(out, "", &self.data);
    }

    /// Goes on with a chunk behind its delta: the tokens of that.
    fn logprobs(&mut self, is_refusal: bool, run: &[u8]) {
        self.data.extend_from_slice(b",\"logprobs\":");
        if run.is_empty() {
            self.data.extend_from_slice(b"null");
        } else {
            write_logprobs(&mut self.data, is_refusal, run);
        }
    }

    fn open(&mut self, index: u32, block: &Opening<'_>, out: &mut Vec<u8>) {
        let at = self.choice(index, out);
        let state = &mut self.choices[at];
        state.open = match block {
            Opening::Text => Open::Text,
            Opening::Refusal => Open::Refusal,
            Opening::Thinking => Open::Thinking,
            Opening::Redacted(_) => Open::Redacted,
            Opening::Call { kind, .. } => Open::Call { kind: *kind, has_input: false },
        };
        match block {
            Opening::Text | Opening::Refusal | Opening::Thinking => {}
            Opening::Redacted(proof) => self.detail(index, at, proof, None, out),
            Opening::Call { id, name, kind } => {
                let number = state.calls;
                state.calls += 1;
                let legacy = self.client.legacy_functions;
                if legacy && number > 0 {
                    // The form of old has one call.
                    return;
                }
                self.chunk(index, out, |delta, _| {
                    if legacy {
                        return delta.object("function_call", |call| {
                            call.text("name", name);
                            call.plain("arguments", "");
                        });
                    }
                    let (word, input) = words(*kind);
                    delta.array("tool_calls", |list| {
                        list.object(|call| {
                            call.number("index", number);
                            call.text("id", id);
                            call.plain("type", word);
                            call.object(word, |function| {
                                function.text("name", name);
                                function.plain(input, "");
                            });
                        });
                    });
                });
            }
        }
    }

    fn delta(&mut self, index: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        let at = self.choice(index, out);
        let state = &mut self.choices[at];
        let field = match &mut state.open {
            Open::Text | Open::Nothing => {
                state.chars += char_count(text.escaped().as_bytes());
                "content"
            }
            Open::Thinking | Open::Redacted => {
                state.units += thoughts::units(text);
                "reasoning_content"
            }
            Open::Refusal => "refusal",
            Open::Call { kind, has_input } => {
                *has_input |= !text.is_empty();
                let kind = *kind;
                return self.input(index, at, kind, text, out);
            }
        };
        if self.choices[at].logprobs.is_empty() || field == "reasoning_content" {
            return self.chunk(index, out, |delta, _| delta.text(field, text));
        }
        let run = std::mem::take(&mut self.choices[at].logprobs);
        self.begin(index);
        write::object(&mut self.data, |delta| delta.text(field, text));
        self.logprobs(field == "refusal", &run);
        self.data.extend_from_slice(b",\"finish_reason\":null}]}");
        append_event(out, "", &self.data);
    }

    fn media(&mut self, index: u32, media: &Media<'_>, out: &mut Vec<u8>) {
        let at = self.choice(index, out);
        if is_image(media) {
            let number = self.choices[at].images;
            self.choices[at].images += 1;
            return self.chunk(index, out, |delta, _| {
                delta.array("images", |list| {
                    list.object(|image| {
                        image.number("index", number);
                        write_image(image, media);
                    });
                });
            });
        }
        let note = media::note(media);
        self.choices[at].chars_before += char_count(note.escaped().as_bytes());
        self.chunk(index, out, |delta, _| delta.text("content", &note));
    }

    /// A piece of the input of the call that was opened last.
    fn input(&mut self, index: u32, at: usize, kind: CallKind, text: &Text<'_>, out: &mut Vec<u8>) {
        let number = self.choices[at].calls.saturating_sub(1);
        if self.client.legacy_functions {
            if number == 0 {
                self.chunk(index, out, |delta, _| {
                    delta.object("function_call", |call| call.text("arguments", text));
                });
            }
            return;
        }
        let (word, input) = words(kind);
        self.chunk(index, out, |delta, _| {
            delta.array("tool_calls", |list| {
                list.object(|call| {
                    call.number("index", number);
                    call.object(word, |function| function.text(input, text));
                });
            });
        });
    }

    fn proof(&mut self, index: u32, proof: &Proof<'_>, out: &mut Vec<u8>) {
        let at = self.choice(index, out);
        let state = &self.choices[at];
        match state.open {
            Open::Thinking => {
                let place = Place { start: state.units_before, length: state.units };
                self.detail(index, at, proof, Some(place), out);
            }
            Open::Call { kind, .. } if is_carried(proof) && !self.client.legacy_functions => {
                let number = state.calls.saturating_sub(1);
                self.chunk(index, out, |delta, client| {
                    delta.array("tool_calls", |list| {
                        list.object(|call| {
                            call.number("index", number);
                            // OpenAI's SDK wants a piece of the call in each of its deltas.
                            match kind {
                                CallKind::Function => {
                                    call.object("function", |call| call.plain("arguments", ""));
                                }
                                CallKind::Custom => call.object("custom", |call| call.plain("input", "")),
                            }
                            write_signature(call, proof, client);
                        });
                    });
                });
            }
            // Nobody needs the proof of a text back.
            Open::Call { .. } | Open::Text | Open::Refusal | Open::Redacted | Open::Nothing => {}
        }
    }

    fn detail(&mut self, index: u32, at: usize, proof: &Proof<'_>, place: Option<Place>, out: &mut Vec<u8>) {
        if !is_carried(proof) {
            return;
        }
        let number = self.choices[at].details;
        self.choices[at].details += 1;
        self.chunk(index, out, |delta, client| {
            delta.array("reasoning_details", |details| {
                thoughts::append_detail(details, number, proof, place, &client.proofs);
            });
        });
    }

    fn close(&mut self, index: u32, out: &mut Vec<u8>) {
        let at = self.choice(index, out);
        let state = &mut self.choices[at];
        state.chars_before += std::mem::take(&mut state.chars);
        state.units_before += std::mem::take(&mut state.units);
        if let Open::Call { kind: CallKind::Function, has_input: false } = std::mem::take(&mut state.open) {
            self.input(index, at, CallKind::Function, &Text::from_plain("{}"), out);
        }
    }

    fn fail(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.over = true;
        self.data.clear();
        write::object(&mut self.data, |root| {
            root.object("error", |error| openai::write_error(error, fault, Dialect::OpenAiChat));
        });
        append_event(out, "", &self.data);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        if self.prefix.is_empty() {
            self.start(None, None, None);
        }
        if let Some(usage) = self.usage.filter(|_| self.client.stream_usage) {
            self.data.clear();
            self.data.extend_from_slice(&self.prefix[..self.bare_length]);
            self.data.extend_from_slice(b"],\"usage\":");
            write::object(&mut self.data, |object| write_usage(object, &usage));
            self.data.push(b'}');
            append_event(out, "", &self.data);
        }
        append_event(out, "", b"[DONE]");
    }
}

/// The words for a call and for its input.
fn words(kind: CallKind) -> (&'static str, &'static str) {
    match kind {
        CallKind::Function => ("function", "arguments"),
        CallKind::Custom => ("custom", "input"),
    }
}

#[cfg(test)]
#[path = "write_stream_tests.rs"]
mod tests;
