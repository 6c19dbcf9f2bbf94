//! A provider's stream, chunk by chunk, into the shared form.
//!
//! Text and thoughts go on as they come. What is known only at the end of the body waits for it: the finish reason
//! (calls may come before or after it, and old models send it with every chunk), the sources of the text, a signature
//! that comes behind a text. Rules: the project's dialect mapping, sections 9 to 12.

use super::fault::{broken, read_fault};
use super::fields::{lenient, text};
use super::finish;
use super::grounding;
use super::logprobs;
use super::offsets::Offsets;
use super::partial_args::PartialArgs;
use super::piece::{self, CallPiece, Piece};
use super::signature::ON_TEXT;
use super::tap::read_usage;
use crate::dialect::Usage;
use crate::dialect::context::Ids;
use crate::dialect::ir::{Arguments, CallKind, Event, Fault, Finish, Opening, Proof, Raw, Text, Vendor};
use crate::json::scan;
use crate::json::token::Value;
use crate::limits::GEMINI_CANDIDATES_MAX;

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Reads a stream.
///
/// ```text
/// Waiting ──first chunk──▶ Running ──body ends──▶ Over
///    └──────── fault ────────┴───────────────────▶ Over
/// ```
#[derive(Debug)]
pub(in crate::dialect) struct StreamReader {
    vendor: Vendor,
    ids: Ids,
    state: State,
    usage: Option<Usage>,
    /// The prompt was filtered.
    blocked: Option<Finish<'static>>,
    /// By index, without gaps.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Over,
}

/// What is known of one answer.
#[derive(Debug, Default)]
struct Candidate {
    open: Open,
    /// A signature behind the open block, and whether it came in the same part as that block's text.
    behind: Option<(Text<'static>, bool)>,
    has_calls: bool,
    /// The last `finishReason` and its message.
    finish: Option<(Text<'static>, Option<Text<'static>>)>,
    /// The last `groundingMetadata` that names pages.
    grounding: Vec<u8>,
    offsets: Offsets,
    /// Where the open text begins, in bytes of the answer's text.
    text_start: u64,
}

/// The block that is open.
#[derive(Debug, Default)]
enum Open {
    #[default]
    None,
    Text,
    Thinking,
    /// A call whose arguments come piece by piece.
    Call {
        id: Text<'static>,
        args: PartialArgs,
        signature: Option<Text<'static>>,
    },
}

impl StreamReader {
    /// A reader for a stream of `vendor`'s; `ids` names the calls that it leaves nameless.
    pub(in crate::dialect) fn new(vendor: Vendor, ids: Ids) -> Self {
        Self { vendor, ids, state: State::Waiting, usage: None, blocked: None, candidates: Vec::new() }
    }

    /// Takes in one event. Gemini's events have no name.
    pub(in crate::dialect) fn event(&mut self, _name: &[u8], data: &[u8], emit: Emit<'_>) {
        let data = data.trim_ascii();
        if self.state == State::Over || data.is_empty() || data == b"[DONE]" {
            return;
        }
        if let Err(fault) = self.chunk(data, emit) {
            self.fail(fault, emit);
        }
    }

    /// The body has ended.
    pub(in crate::dialect) fn end(&mut self, emit: Emit<'_>) {
        if self.state == State::Over {
            return;
        }
        if self.candidates.is_empty() {
            let Some(finish) = self.blocked.take() else {
                return self.fail(truncated(), emit);
            };
            emit(Event::Finish { choice: 0, finish });
            return self.complete(emit);
        }
        let blocked = self.blocked.take();
        if blocked.is_none() && self.candidates.iter().any(|candidate| candidate.finish.is_none()) {
            return self.fail(truncated(), emit);
        }
        let vendor = self.vendor;
        let mut candidates = std::mem::take(&mut self.candidates);
        for (choice, candidate) in candidates.iter_mut().enumerate() {
            candidate.cite(choice as u32, emit);
            candidate.close(choice as u32, vendor, emit);
            let finish = match (candidate.finish.take(), &blocked) {
                (Some((name, message)), _) => finish::finish(&name, message, candidate.has_calls),
                (None, Some(finish)) => Ok(finish.clone()),
                (None, None) => Err(truncated()),
            };
            match finish {
                Ok(finish) => emit(Event::Finish { choice: choice as u32, finish }),
                Err(fault) => return self.fail(fault, emit),
            }
        }
        self.complete(emit);
    }

    fn complete(&mut self, emit: Emit<'_>) {
        if let Some(usage) = self.usage {
            emit(Event::Usage(usage));
        }
        emit(Event::End);
        self.state = State::Over;
    }

    fn fail(&mut self, fault: Fault<'_>, emit: Emit<'_>) {
        self.state = State::Over;
        emit(Event::Fail(fault));
    }

    fn chunk<'d>(&mut self, data: &'d [u8], emit: Emit<'_>) -> Result<(), Fault<'d>> {
        const NAMES: [&str; 6] =
            ["candidates", "usageMetadata", "modelVersion", "responseId", "error", "promptFeedback"];
        if std::str::from_utf8(data).is_err() {
            return Err(broken(Text::from_plain("the provider sent an event that is not UTF-8")));
        }
        let members = match lenient(data, NAMES) {
            Some(members) => members,
            None if data.starts_with(b"[") => return Err(read_fault(500, data)),
            None => return Err(broken(Text::from_plain("the provider sent an event that is not JSON"))),
        };
        let [candidates, usage, model, id, error, feedback] = members;
        if error.is_some() {
            return Err(read_fault(500, data));
        }
        self.usage = usage.and_then(|usage| read_usage(usage.raw)).or(self.usage);
        if self.state == State::Waiting {
            self.state = State::Running;
            let named = |value: Option<Value<'d>>| text(value.as_ref()).filter(|name| !name.is_empty());
            let (id, model) = (named(id), named(model));
            emit(Event::Start { id, model, created: None, usage: self.usage });
        }
        if let Some([block, message]) =
            feedback.and_then(|feedback| lenient(feedback.raw, ["blockReason", "blockReasonMessage"]))
            && let Some(block) = text(block.as_ref())
        {
            let message = text(message.as_ref()).map(Text::into_owned);
            self.blocked = Some(finish::prompt_filtered(block.into_owned(), message));
        }
        let mut outcome = Ok(());
        if let Some(candidates) = candidates {
            let mut position = 0;
            // The chunk as a whole has been scanned, so that its lists are well-formed.
            let _ = scan::elements(candidates.raw, |candidate| {
                if outcome.is_ok() {
                    outcome = self.candidate(position, &candidate, emit);
                }
                position += 1;
            });
        }
        outcome
    }

    fn candidate<'d>(&mut self, position: usize, value: &Value<'d>, emit: Emit<'_>) -> Result<(), Fault<'d>> {
        const NAMES: [&str; 6] =
            ["content", "finishReason", "finishMessage", "index", "groundingMetadata", "logprobsResult"];
        let Some([content, reason, message, index, grounding, result]) = lenient(value.raw, NAMES) else {
            return Ok(());
        };
        let index = match index.map(|index| index.as_count()) {
            None => position,
            Some(index) => index.and_then(|index| usize::try_from(index).ok()).unwrap_or(usize::MAX),
        };
        if index >= GEMINI_CANDIDATES_MAX {
            return Ok(());
        }
        if self.candidates.len() <= index {
            self.candidates.resize_with(index + 1, Candidate::default);
        }
        let (vendor, ids) = (self.vendor, &mut self.ids);
        let candidate = &mut self.candidates[index];
        let choice = index as u32;
        let mut tokens = Vec::new();
        result.iter().for_each(|result| logprobs::read(result, &mut tokens));
        if !tokens.is_empty() {
            emit(Event::Logprobs { choice, tokens });
        }
        let mut outcome = Ok(());
        let parts = content.and_then(|content| lenient(content.raw, ["parts"])).and_then(|[parts]| parts);
        if let Some(parts) = parts {
            let _ = scan::elements(parts.raw, |part| {
                if let (Ok(()), Some(piece)) = (&outcome, Piece::read(part.raw)) {
                    outcome = candidate.piece(choice, piece, vendor, ids, emit);
                }
            });
        }
        outcome?;
        if let Some(grounding) = grounding
            && let Some([Some(_)]) = lenient(grounding.raw, ["groundingChunks"])
        {
            candidate.grounding.clear();
            candidate.grounding.extend_from_slice(grounding.raw);
        }
        if let Some(name) = reason.and_then(|reason| finish::name(&reason)) {
            let message = text(message.as_ref());
            if finish::reason(name.escaped()) == finish::Reason::Broken {
                return finish::finish(&name, message, false).map(|_| ());
            }
            candidate.finish = Some((name.into_owned(), message.map(Text::into_owned)));
        }
        Ok(())
    }
}

impl Candidate {
    fn piece<'d>(
        &mut self,
        choice: u32,
        piece: Piece<'d>,
        vendor: Vendor,
        ids: &mut Ids,
        emit: Emit<'_>,
    ) -> Result<(), Fault<'d>> {
        match piece {
            Piece::Text { text, thought: true, signature } => {
                self.thought(choice, text, signature, vendor, emit);
                Ok(())
            }
            Piece::Text { text, thought: false, signature } => {
                self.text(choice, text, signature, vendor, emit);
                Ok(())
            }
            Piece::Call { call, signature } => self.call(choice, call, signature, vendor, ids, emit),
            Piece::Media { media_type, data, inline } => {
                self.close(choice, vendor, emit);
                emit(Event::Media { choice, media: piece::media(media_type, data, inline) });
                Ok(())
            }
            Piece::Other => Ok(()),
        }
    }

    fn text(
        &mut self,
        choice: u32,
        text: Text<'_>,
        signature: Option<Text<'_>>,
        vendor: Vendor,
        emit: Emit<'_>,
    ) {
        let says_something = !text.is_empty();
        if says_something || (signature.is_some() && self.behind.is_some()) {
            if !matches!(self.open, Open::Text) || self.behind.is_some() {
                self.close(choice, vendor, emit);
            }
            if says_something {
                if matches!(self.open, Open::None) {
                    self.open = Open::Text;
                    self.text_start = self.offsets.bytes();
                    emit(Event::Open { choice, block: Opening::Text });
                }
                self.offsets.push(&text);
                emit(Event::Delta { choice, text });
            }
        }
        if let Some(signature) = signature {
            self.behind = Some((signature.into_owned(), says_something));
        }
    }

    fn thought(
        &mut self,
        choice: u32,
        text: Text<'_>,
        signature: Option<Text<'_>>,
        vendor: Vendor,
        emit: Emit<'_>,
    ) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        if !matches!(self.open, Open::Thinking) || self.behind.is_some() {
            self.close(choice, vendor, emit);
            self.open = Open::Thinking;
            emit(Event::Open { choice, block: Opening::Thinking });
        }
        if !text.is_empty() {
            emit(Event::Delta { choice, text });
        }
        if let Some(data) = signature {
            // What a signature stands on must not be joined with what follows.
            emit(Event::Proof { choice, proof: Proof { vendor, item_id: None, data } });
            self.close(choice, vendor, emit);
        }
    }

    fn call<'d>(
        &mut self,
        choice: u32,
        call: CallPiece<'d>,
        signature: Option<Text<'d>>,
        vendor: Vendor,
        ids: &mut Ids,
        emit: Emit<'_>,
    ) -> Result<(), Fault<'d>> {
        if let Some(name) = call.name {
            self.close(choice, vendor, emit);
            self.has_calls = true;
            let id = match call.id {
                Some(id) => id.into_owned(),
                None => Text::from(ids.make("call_")),
            };
            let block = Opening::Call { id: id.borrow(), name, kind: CallKind::Function };
            emit(Event::Open { choice, block });
            self.open = Open::Call { id, args: PartialArgs::default(), signature: None };
        }
        let Open::Call { args, signature: kept, .. } = &mut self.open else {
            // The end of a call that a next part has ended already.
            return Ok(());
        };
        if let Some(signature) = signature {
            *kept = Some(signature.into_owned());
        }
        if let Some(whole) = call.args.and_then(|whole| Raw::from_scanned(whole.raw)) {
            if *args == PartialArgs::default() {
                emit(Event::Delta { choice, text: Arguments::Object(whole).as_text() });
                self.close_call(choice, false, vendor, emit);
            }
            return Ok(());
        }
        let (mut json, mut outcome) = (String::new(), Ok(()));
        if let Some(pieces) = call.partial_args {
            let _ = scan::elements(pieces.raw, |piece| {
                outcome = outcome.and_then(|()| args.push(&piece, &mut json));
            });
        }
        if outcome.is_err() {
            return Err(broken(Text::from_plain(
                "the provider sent the arguments of a call in an order that makes no JSON",
            )));
        }
        if !json.is_empty() {
            emit(Event::Delta { choice, text: Text::from(json) });
        }
        if !call.goes_on {
            self.close_call(choice, true, vendor, emit);
        }
        Ok(())
    }

    /// Ends the open call. `in_pieces`: its arguments are still open.
    fn close_call(&mut self, choice: u32, in_pieces: bool, vendor: Vendor, emit: Emit<'_>) {
        let Open::Call { id, mut args, signature } = std::mem::take(&mut self.open) else { return };
        if in_pieces {
            let mut json = String::new();
            args.finish(&mut json);
            emit(Event::Delta { choice, text: Text::from(json) });
        }
        if let Some(data) = signature {
            emit(Event::Proof { choice, proof: Proof { vendor, item_id: Some(id), data } });
        }
        emit(Event::Close { choice });
    }

    /// Ends the open block, and gives the signature behind it a block of its own.
    fn close(&mut self, choice: u32, vendor: Vendor, emit: Emit<'_>) {
        match self.open {
            Open::None => {}
            Open::Text | Open::Thinking => {
                self.open = Open::None;
                emit(Event::Close { choice });
            }
            Open::Call { .. } => self.close_call(choice, true, vendor, emit),
        }
        if let Some((data, on_text)) = self.behind.take() {
            let item_id = on_text.then(|| Text::from_plain(ON_TEXT));
            let block = Opening::Redacted(Proof { vendor, item_id, data });
            emit(Event::Open { choice, block });
            emit(Event::Close { choice });
        }
    }

    /// Names the sources of the open text. Those of texts before it come too late.
    fn cite(&self, choice: u32, emit: Emit<'_>) {
        if !matches!(self.open, Open::Text) || self.grounding.is_empty() {
            return;
        }
        let index = self.offsets.index();
        let start = index.as_ref().map_or(0, |index| index.chars(self.text_start));
        grounding::read(&self.grounding, |mut citation, segment| {
            if let (Some(segment), Some(index)) = (segment, &index) {
                if segment.bytes.end <= self.text_start {
                    return;
                }
                let [first, end] = [segment.bytes.start, segment.bytes.end]
                    .map(|bytes| index.chars(bytes).saturating_sub(start));
                citation.chars = Some((first, end));
            }
            emit(Event::Cite { choice, citation });
        });
    }
}

fn truncated() -> Fault<'static> {
    broken(Text::from_plain("the provider ended the stream before its answer did"))
}

#[cfg(test)]
#[path = "read_stream_tests.rs"]
mod tests;
