//! The shared form as a stream for a Gemini client.
//!
//! A chunk for each piece of text and each thought, one for each whole call; what is said at the end (why, what it
//! cost, which pages the text rests on) goes into one last chunk. Rules: the project's dialect mapping, sections 10
//! to 12.

use super::fault::append_stream_error;
use super::finish::{write_finish, write_prompt_feedback, write_usage};
use super::grounding::{self, Segment};
use super::logprobs::Logprobs;
use super::offsets::Offsets;
use super::{signature, write_parts};
use crate::dialect::Usage;
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{Arguments, CallKind, Citation, Event, Finish, Opening, Source, Text};
use crate::dialect::media;
use crate::json::write::{self, Object};
use crate::limits::{CALL_ARGUMENTS_BYTES_MAX, GEMINI_CANDIDATES_MAX, STREAM_CITATIONS_MAX};
use crate::sse::append_event;

/// How chunks are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Framing {
    /// As events, which `alt=sse` asks for.
    Sse,
    /// As the elements of one JSON array.
    JsonArray,
}

/// Writes a stream.
#[derive(Debug)]
pub(in crate::dialect) struct StreamWriter {
    client: ClientContext,
    framing: Framing,
    /// Chunks have been written.
    begun: bool,
    /// The stream has ended, well or not.
    over: bool,
    id: Option<Text<'static>>,
    model: Option<Text<'static>>,
    usage: Option<Usage>,
    candidates: Vec<Candidate>,
    /// One chunk; kept for its memory.
    chunk: Vec<u8>,
}

#[derive(Debug, Default)]
struct Candidate {
    open: Open,
    /// The first half of a surrogate pair that the last piece ended in.
    high: Text<'static>,
    refused: bool,
    offsets: Offsets,
    /// Where the open text begins, in bytes of the answer's text.
    text_start: u64,
    /// Each with the start of its text.
    citations: Vec<(Citation<'static>, u64)>,
    /// Tokens that go with the next text.
    logprobs: Logprobs,
    has_broken_call: bool,
    finish: Option<Finish<'static>>,
}

#[derive(Debug, Default)]
enum Open {
    #[default]
    None,
    Text,
    Thinking,
    Redacted,
    Call(Call),
}

/// A call whose arguments are coming.
#[derive(Debug)]
struct Call {
    id: Text<'static>,
    name: Text<'static>,
    kind: CallKind,
    arguments: Text<'static>,
    signature: Option<Text<'static>>,
}

impl StreamWriter {
    /// A writer for `client`.
    pub(in crate::dialect) fn new(client: ClientContext, framing: Framing) -> Self {
        Self {
            client,
            framing,
            begun: false,
            over: false,
            id: None,
            model: None,
            usage: None,
            candidates: Vec::new(),
            chunk: Vec::new(),
        }
    }

    /// Appends what the event says to `out`; nothing after the stream's end.
    pub(in crate::dialect) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, model, usage, .. } => {
                self.id = id.clone().map(Text::into_owned);
                self.model = model.clone().map(Text::into_owned);
                self.usage = *usage;
            }
            Event::Open { choice, block } => self.open(*choice, block, out),
            Event::Delta { choice, text } => self.delta(*choice, text, out),
            Event::Media { choice, media } => {
                let Some(candidate) = self.candidate(*choice) else { return };
                if let Source::Base64 { media_type, data } = &media.source {
                    return self.part(*choice, out, |part| write_parts::inline(part, media_type, data));
                }
                let note = media::note(media);
                candidate.offsets.push(&note);
                self.part(*choice, out, |part| write_parts::text(part, &note, false, None));
            }
            Event::Logprobs { choice, tokens } => {
                if let Some(candidate) = self.candidate(*choice) {
                    candidate.logprobs.push(tokens);
                }
            }
            Event::Proof { choice, proof } => {
                let data = signature::write(proof, &self.client.proofs).into_owned();
                self.proof(*choice, data, out);
            }
            Event::Cite { choice, citation } => {
                if let Some(candidate) = self.candidate(*choice)
                    && candidate.citations.len() < STREAM_CITATIONS_MAX
                {
                    let start = candidate.text_start;
                    candidate.citations.push((owned(citation), start));
                }
            }
            Event::Close { choice } => self.close(*choice, out),
            Event::Finish { choice, finish } => {
                if let Some(candidate) = self.candidate(*choice) {
                    candidate.finish = Some(finish.clone().into_owned());
                }
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            // Google's SDK for Python takes a comment for JSON (google-genai 3.4.0); an empty line it skips.
            Event::Ping => out.push(b'\n'),
            Event::Fail(fault) => {
                self.chunk.clear();
                append_stream_error(fault, &mut self.chunk);
                self.frame(out);
                self.end_array(out);
                self.over = true;
            }
            Event::End => {
                self.last_chunk(out);
                self.end_array(out);
                self.over = true;
            }
        }
    }

    fn candidate(&mut self, choice: u32) -> Option<&mut Candidate> {
        let index = usize::try_from(choice).ok().filter(|index| *index < GEMINI_CANDIDATES_MAX)?;
        if self.candidates.len() <= index {
            self.candidates.resize_with(index + 1, Candidate::default);
        }
        self.candidates.get_mut(index)
    }

    fn open(&mut self, choice: u32, block: &Opening<'_>, out: &mut Vec<u8>) {
        let Some(candidate) = self.candidate(choice) else { return };
        candidate.high = Text::default();
        candidate.open = match block {
            Opening::Text | Opening::Refusal => {
                candidate.refused |= matches!(block, Opening::Refusal);
                candidate.text_start = candidate.offsets.bytes();
                Open::Text
            }
            Opening::Thinking => Open::Thinking,
            Opening::Redacted(_) => Open::Redacted,
            Opening::Call { id, name, kind } => Open::Call(Call {
                id: id.clone().into_owned(),
                name: name.clone().into_owned(),
                kind: *kind,
                arguments: Text::default(),
                signature: None,
            }),
        };
        if let Opening::Redacted(proof) = block {
            let data = signature::write(proof, &self.client.proofs).into_owned();
            self.part(choice, out, |part| write_parts::text(part, &Text::default(), false, Some(&data)));
        }
    }

    fn delta(&mut self, choice: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        let Some(candidate) = self.candidate(choice) else { return };
        if let Open::Call(call) = &mut candidate.open {
            call.arguments.push(text);
            if call.arguments.escaped().len() > CALL_ARGUMENTS_BYTES_MAX {
                let fault = super::fault::broken(Text::from_plain("the arguments of a call are too long"));
                self.event(&Event::Fail(fault), out);
            }
            return;
        }
        let thought = match candidate.open {
            Open::Text => false,
            Open::Thinking => true,
            Open::None | Open::Redacted | Open::Call(_) => return,
        };
        // A piece may end within a surrogate pair; a client that decodes each chunk would see two broken halves.
        let whole_end = end_before_high(text.escaped());
        let mut joined = std::mem::take(&mut candidate.high);
        let (Some(whole), Some(high)) =
            (text.borrow().slice(0..whole_end), text.slice(whole_end..text.escaped().len()))
        else {
            return;
        };
        candidate.high = high.into_owned();
        let whole = if joined.is_empty() {
            whole
        } else {
            joined.push(&whole);
            joined.borrow()
        };
        if whole.is_empty() {
            return;
        }
        if !thought {
            candidate.offsets.push(&whole);
        }
        self.part(choice, out, |part| write_parts::text(part, &whole, thought, None));
    }

    fn proof(&mut self, choice: u32, data: Text<'static>, out: &mut Vec<u8>) {
        let Some(candidate) = self.candidate(choice) else { return };
        let thought = match &mut candidate.open {
            Open::Call(call) => {
                call.signature = Some(data);
                return;
            }
            open => matches!(open, Open::Thinking),
        };
        self.part(choice, out, |part| write_parts::text(part, &Text::default(), thought, Some(&data)));
    }

    fn close(&mut self, choice: u32, out: &mut Vec<u8>) {
        let Some(candidate) = self.candidate(choice) else { return };
        let Open::Call(call) = std::mem::take(&mut candidate.open) else { return };
        let arguments = match call.kind {
            CallKind::Function => Arguments::Text(call.arguments),
            CallKind::Custom => Arguments::Object(write_parts::custom_input(&call.arguments)),
        };
        let args = arguments.as_object();
        candidate.has_broken_call |= args.is_err();
        let args = args.unwrap_or_else(|raw| raw);
        self.part(choice, out, |part| {
            write_parts::call(part, Some(&call.id), &call.name, &args, call.signature.as_ref());
        });
    }

    /// Writes a chunk of one part.
    fn part(&mut self, choice: u32, out: &mut Vec<u8>, write_part: impl FnOnce(&mut Object<'_>)) {
        let mut logprobs =
            self.candidate(choice).map(|state| std::mem::take(&mut state.logprobs)).unwrap_or_default();
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        write::object(&mut chunk, |root| {
            root.array("candidates", |candidates| {
                candidates.object(|candidate| {
                    candidate.object("content", |content| {
                        content.array("parts", |parts| parts.object(write_part));
                        content.plain("role", "model");
                    });
                    candidate.number("index", u64::from(choice));
                    logprobs.write(candidate);
                });
            });
            self.names(root);
        });
        self.chunk = chunk;
        if let Some(state) = self.candidate(choice) {
            state.logprobs = logprobs;
        }
        self.frame(out);
    }

    fn last_chunk(&mut self, out: &mut Vec<u8>) {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        write::object(&mut chunk, |root| {
            match self.candidates.as_mut_slice() {
                [Candidate { finish: Some(Finish::PromptFiltered(words)), .. }] if !self.begun => {
                    write_prompt_feedback(root, words.as_ref());
                }
                candidates => root.array("candidates", |list| {
                    for (choice, candidate) in candidates.iter_mut().enumerate() {
                        list.object(|object| candidate.write_end(choice as u64, object));
                    }
                }),
            }
            if let Some(usage) = &self.usage {
                write_usage(root, usage);
            }
            self.names(root);
        });
        self.chunk = chunk;
        self.frame(out);
    }

    fn names(&mut self, root: &mut Object<'_>) {
        match &self.model {
            Some(model) => root.text("modelVersion", model),
            None => root.plain("modelVersion", &self.client.model),
        }
        let ids = &mut self.client.ids;
        root.text("responseId", self.id.get_or_insert_with(|| Text::from(ids.make(""))));
    }

    /// Appends the chunk.
    fn frame(&mut self, out: &mut Vec<u8>) {
        let begun = std::mem::replace(&mut self.begun, true);
        match self.framing {
            Framing::Sse => append_event(out, "", &self.chunk),
            Framing::JsonArray => {
                out.extend_from_slice(if begun { b",\n" } else { b"[" });
                out.extend_from_slice(&self.chunk);
            }
        }
    }

    fn end_array(&mut self, out: &mut Vec<u8>) {
        if self.framing == Framing::JsonArray {
            out.push(b']');
        }
    }
}

impl Candidate {
    /// How the answer ended. The part without text is Google's own form: its SDKs look for a part in each chunk.
    fn write_end(&mut self, choice: u64, object: &mut Object<'_>) {
        object.object("content", |content| {
            content.array("parts", |parts| {
                parts.object(|part| write_parts::text(part, &Text::default(), false, None));
            });
            content.plain("role", "model");
        });
        match &self.finish {
            Some(finish) if self.has_broken_call && !matches!(finish, Finish::Length) => {
                object.plain("finishReason", "MALFORMED_FUNCTION_CALL");
            }
            Some(finish) => write_finish(object, finish, self.refused),
            None => {}
        }
        object.number("index", choice);
        self.logprobs.write(object);
        self.logprobs.write_average(object);
        let index = self.offsets.index();
        grounding::write(
            object,
            self.citations.iter().map(|(citation, start)| {
                let segment = citation.chars.zip(index.as_ref()).map(|((first, end), index)| {
                    let before = index.chars(*start);
                    let [first, end] = [first, end].map(|chars| index.bytes(before.saturating_add(chars)));
                    Segment { part: 0, bytes: first..end }
                });
                (citation, segment)
            }),
        );
    }
}

/// Where the escape of a first half of a surrogate pair begins that the text ends in; its length if it does not.
fn end_before_high(escaped: &str) -> usize {
    let bytes = escaped.as_bytes();
    let Some(at) = bytes.len().checked_sub(6) else { return bytes.len() };
    let is_high =
        matches!(&bytes[at..], [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..]);
    let backslashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
    if is_high && backslashes.is_multiple_of(2) { at } else { bytes.len() }
}

fn owned(citation: &Citation<'_>) -> Citation<'static> {
    Citation {
        url: citation.url.clone().into_owned(),
        title: citation.title.clone().map(Text::into_owned),
        chars: citation.chars,
    }
}

#[cfg(test)]
#[path = "write_stream_tests.rs"]
mod tests;
