//! Reads the stream of a server that speaks chat, chunk by chunk.
//!
//! ```text
//! before ──first chunk with an id or choices──▶ running ──[DONE]──▶ over
//!                                                  └──error, or the body ends──▶ over
//! ```
//!
//! Each answer (`n`) has a state of its own: of its blocks at most one is open, and its finish reason waits for the end,
//! because usage and even calls come after it. Rules: the project's dialect mapping, sections 9 to 12.

use super::fields::{citation, details, elements, error, fields, google_signature, listed, said};
use super::finish::{self, Had};
use super::read_answer::{groq_usage, read_image, read_logprobs};
use super::stream_calls::{Calls, Piece, Sink, broken};
use crate::dialect::Usage;
use crate::dialect::context::Ids;
use crate::dialect::ir::{Citation, Event, Fault, FaultCase, Finish, Opening, Text, Vendor};
use crate::dialect::openai;
use crate::dialect::usage::read_openai;
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::limits::{CHAT_CHOICES_MAX, CHAT_CITATIONS_MAX, CHAT_WAITING_BYTES_MAX};

/// Reads one stream.
#[derive(Debug)]
pub(in crate::dialect) struct StreamReader {
    vendor: Vendor,
    ids: Ids,
    started: bool,
    over: bool,
    /// By their numbers, in the order of their first chunk.
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

/// One of the answers.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    open: Open,
    had_parts: bool,
    calls: Calls,
    /// Sources of the open text; they follow it.
    citations: Vec<Citation<'static>>,
    citation_bytes: usize,
    finish: Option<Finish<'static>>,
}

/// What is being said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Refusal,
    Thinking,
    Calls,
}

/// Members of a chunk.
#[derive(Default)]
struct Chunk<'a> {
    id: Option<Value<'a>>,
    model: Option<Value<'a>>,
    created: Option<Value<'a>>,
    choices: Option<Value<'a>>,
    usage: Option<Value<'a>>,
    groq: Option<Value<'a>>,
    error: Option<Value<'a>>,
}

impl<'a> Chunk<'a> {
    /// `None` if it is no object.
    fn read(data: &'a [u8]) -> Option<Self> {
        let mut chunk = Self::default();
        let read = scan::members(data, |key, value| {
            let slot = match key.matches(&["choices", "usage", "id", "model", "created", "error", "x_groq"]) {
                Some(0) => &mut chunk.choices,
                Some(1) => &mut chunk.usage,
                Some(2) => &mut chunk.id,
                Some(3) => &mut chunk.model,
                Some(4) => &mut chunk.created,
                Some(5) => &mut chunk.error,
                Some(_) => &mut chunk.groq,
                None => return,
            };
            if value.kind != Kind::Null {
                *slot = Some(value);
            }
        });
        read.ok().map(|()| chunk)
    }
}

impl StreamReader {
    /// At the start of a stream of a server whose models' proofs are made by `vendor`. `ids` makes ids for calls that
    /// come without.
    pub(in crate::dialect) fn new(vendor: Vendor, ids: Ids) -> Self {
        Self { vendor, ids, started: false, over: false, choices: Vec::new(), usage: None }
    }

    /// Takes in one event. `name` is the `event` field, mostly empty here.
    pub(in crate::dialect) fn event(&mut self, name: &[u8], data: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let data = data.trim_ascii();
        if self.over || data.is_empty() {
            return;
        }
        if data.starts_with(b"[DONE]") {
            return self.done(emit);
        }
        if let Err(fault) = self.chunk(name, data, emit) {
            self.over = true;
            emit(Event::Fail(fault));
        }
    }

    /// The body has ended. A stream without its end mark is complete only where servers are known to send none, and
    /// only if every answer has its finish reason.
    pub(in crate::dialect) fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        let finished = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some());
        if finished && self.vendor != Vendor::OpenAi {
            return self.done(emit);
        }
        self.over = true;
        emit(Event::Fail(Fault {
            case: FaultCase::Internal,
            message: Text::from_plain("the provider's stream ended before its answer was complete"),
            code: Some(Text::from_plain("truncated")),
            param: None,
            retry_after_s: None,
        }));
    }

    fn done(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.over = true;
        if !self.started {
            emit(Event::Start { id: None, model: None, created: None, usage: None });
        }
        if self.choices.is_empty() {
            self.choices.push(Choice::default());
        }
        for choice in &mut self.choices {
            if let Err(fault) = choice.close(&mut self.ids, emit) {
                return emit(Event::Fail(fault));
            }
            let finish = match choice.finish.take() {
                None | Some(Finish::Stop) if choice.calls.any() => Finish::ToolCalls,
                finish => finish.unwrap_or(Finish::Stop),
            };
            emit(Event::Finish { choice: choice.index, finish });
        }
        if let Some(usage) = self.usage {
            emit(Event::Usage(usage));
        }
        emit(Event::End);
    }

    fn chunk<'a>(
        &mut self,
        name: &[u8],
        data: &'a [u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Fault<'a>> {
        if data.first() != Some(&b'{') && name != b"error" {
            // Some proxies keep a connection open with words.
            return Ok(());
        }
        let Some(chunk) = Chunk::read(data).filter(|_| std::str::from_utf8(data).is_ok()) else {
            if name == b"error" {
                return Err(openai::read_fault(200, data));
            }
            return Err(broken("sent a chunk that is no JSON"));
        };
        let groq_error = chunk.groq.as_ref().and_then(|groq| fields(groq, ["error"])[0].take());
        if let Some(error) = error(chunk.error).or_else(|| error(groq_error)) {
            return Err(openai::read_error(200, &error));
        }
        if name == b"error" {
            return Err(openai::read_fault(200, data));
        }
        let usage = groq_usage(chunk.groq);
        self.usage = chunk.usage.and_then(|usage| read_openai(usage.raw)).or(usage).or(self.usage);
        let choices = chunk.choices.filter(|choices| choices.kind == Kind::Array);
        if !self.started {
            let has_choices = choices.as_ref().is_some_and(|list| list.raw.contains(&b'{'));
            let id = said(chunk.id);
            // Azure's first chunk has neither: it tells what its filters made of the prompt.
            if id.is_none() && !has_choices {
                return Ok(());
            }
            self.started = true;
            let created = chunk.created.and_then(|created| created.as_count());
            emit(Event::Start { id, model: said(chunk.model), created, usage: None });
        }
        let mut result = Ok(());
        elements(choices, |choice| {
            if result.is_ok() {
                result = self.choice(&choice, emit);
            }
        });
        result
    }

    fn choice<'a>(&mut self, value: &Value<'a>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault<'a>> {
        let [delta, finish, index, failed, logprobs] =
            fields(value, ["delta", "finish_reason", "index", "error", "logprobs"]);
        if let Some(error) = error(failed) {
            return Err(openai::read_error(200, &error));
        }
        let index = index.and_then(|index| index.as_count()).unwrap_or(0);
        let index = u32::try_from(index).map_err(|_| broken("numbers its answers beyond all bounds"))?;
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None if self.choices.len() == CHAT_CHOICES_MAX => return Err(broken("gave too many answers")),
            None => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        let choice = &mut self.choices[at];
        let tokens = read_logprobs(logprobs);
        if !tokens.is_empty() {
            emit(Event::Logprobs { choice: index, tokens });
        }
        if let Some(delta) = delta {
            choice.delta(&delta, self.vendor, &mut self.ids, emit)?;
        }
        if let Some(word) = said(finish) {
            choice.close(&mut self.ids, emit)?;
            let had = Had { calls: choice.calls.any(), parts: choice.had_parts };
            choice.finish = Some(finish::read(word.escaped(), had)?);
        }
        Ok(())
    }
}

impl Choice {
    fn delta<'a>(
        &mut self,
        delta: &Value<'a>,
        vendor: Vendor,
        ids: &mut Ids,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Fault<'a>> {
        let names = [
            "content",
            "reasoning_content",
            "reasoning",
            "reasoning_details",
            "refusal",
            "tool_calls",
            "function_call",
            "annotations",
            "images",
        ];
        let [content, thoughts, reasoning, detailed, refusal, calls, function_call, annotations, images] =
            fields(delta, names);
        if let Some(text) = said(thoughts).or(said(reasoning)).or_else(|| details(detailed)) {
            self.say(Open::Thinking, text, ids, emit)?;
        }
        let is_list = content.as_ref().is_some_and(|content| content.kind == Kind::Array);
        if is_list {
            let mut result = Ok(());
            elements(content, |element| {
                if let Some((text, is_thought)) = listed(&element)
                    && result.is_ok()
                {
                    let kind = if is_thought { Open::Thinking } else { Open::Text };
                    result = self.say(kind, text, ids, emit);
                }
            });
            result?;
        } else if let Some(text) = said(content) {
            self.say(Open::Text, text, ids, emit)?;
        }
        if let Some(text) = said(refusal) {
            self.say(Open::Refusal, text, ids, emit)?;
        }
        let mut result = Ok(());
        elements(images, |image| {
            if let Some(media) = read_image(&image)
                && result.is_ok()
            {
                result = self.close(ids, emit);
                self.had_parts = true;
                emit(Event::Media { choice: self.index, media });
            }
        });
        result?;
        let mut result = Ok(());
        elements(calls, |call| {
            if result.is_ok() {
                result = self.call(read_piece(&call, vendor), ids, emit);
            }
        });
        result?;
        if let Some(call) = function_call {
            // The form of old, which has one call and no id.
            let [name, arguments] = fields(&call, ["name", "arguments"]);
            let arguments = arguments.and_then(|arguments| Text::from_token(arguments.raw));
            let piece = Piece { index: Some(0), name: said(name), arguments, ..Piece::default() };
            self.call(piece, ids, emit)?;
        }
        elements(annotations, |annotation| self.cite(&annotation));
        Ok(())
    }

    fn say(
        &mut self,
        kind: Open,
        text: Text<'_>,
        ids: &mut Ids,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Fault<'static>> {
        let choice = self.index;
        if self.open != kind {
            self.close(ids, emit)?;
            let block = match kind {
                Open::Thinking => Opening::Thinking,
                Open::Refusal => Opening::Refusal,
                Open::Text | Open::Calls | Open::Nothing => Opening::Text,
            };
            emit(Event::Open { choice, block });
            self.open = kind;
            self.had_parts = true;
        }
        emit(Event::Delta { choice, text });
        Ok(())
    }

    fn call(
        &mut self,
        piece: Piece<'_>,
        ids: &mut Ids,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Fault<'static>> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.open != Open::Calls {
            self.close(ids, emit)?;
            self.open = Open::Calls;
        }
        self.calls.piece(piece, &mut Sink { choice: self.index, ids, emit })?;
        self.had_parts |= self.calls.any();
        Ok(())
    }

    fn cite(&mut self, annotation: &Value<'_>) {
        let Some(Citation { url, title, chars }) = citation(annotation) else { return };
        self.citation_bytes += annotation.raw.len();
        let fits = self.citations.len() < CHAT_CITATIONS_MAX && self.citation_bytes <= CHAT_WAITING_BYTES_MAX;
        if fits && self.open == Open::Text {
            self.citations.push(Citation {
                url: url.into_owned(),
                title: title.map(Text::into_owned),
                chars,
            });
        }
    }

    /// Closes what is open.
    fn close(&mut self, ids: &mut Ids, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault<'static>> {
        let choice = self.index;
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Calls => self.calls.close(&mut Sink { choice, ids, emit })?,
            Open::Text | Open::Refusal | Open::Thinking => {
                for citation in self.citations.drain(..) {
                    emit(Event::Cite { choice, citation });
                }
                emit(Event::Close { choice });
            }
        }
        Ok(())
    }
}

fn read_piece<'a>(call: &Value<'a>, vendor: Vendor) -> Piece<'a> {
    let [index, id, function, custom, extra] =
        fields(call, ["index", "id", "function", "custom", "extra_content"]);
    let is_custom = function.is_none() && custom.is_some();
    let [name, arguments, input] = match function.or(custom) {
        Some(function) => fields(&function, ["name", "arguments", "input"]),
        None => [None, None, None],
    };
    let arguments = arguments.or(input).and_then(|arguments| match arguments.kind {
        Kind::String => Text::from_token(arguments.raw),
        // A server that has them as an object sends them whole.
        Kind::Object => std::str::from_utf8(arguments.raw).ok().map(Text::from_plain),
        _ => None,
    });
    let signature = google_signature(extra).filter(|_| vendor == Vendor::Google);
    Piece {
        index: index.and_then(|index| index.as_count()),
        id: said(id),
        name: said(name),
        arguments,
        is_custom,
        signature,
    }
}

#[cfg(test)]
#[path = "read_stream_tests.rs"]
mod tests;
