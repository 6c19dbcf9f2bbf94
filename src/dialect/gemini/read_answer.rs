//! An answer in one piece, into the shared form. Rules: the project's dialect mapping, sections 8, 9 and 13.

use super::fault::{broken, read_fault};
use super::fields::{lenient, text};
use super::finish;
use super::grounding::{self, Segment};
use super::logprobs;
use super::offsets::{Index, Offsets};
use super::piece::{self, CallPiece, Piece};
use super::signature::ON_TEXT;
use super::tap::read_usage;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Citation, Content, Fault, Finish, Part, Proof, Raw, Text, ToolCall,
    Vendor,
};
use crate::json::scan;
use crate::json::token::Value;

/// Reads a body that came with status 200.
///
/// # Errors
/// It is an error, or no answer.
pub(in crate::dialect) fn read_answer(body: &[u8], vendor: Vendor) -> Result<Answer<'_>, Fault<'_>> {
    const NAMES: [&str; 6] =
        ["candidates", "usageMetadata", "modelVersion", "responseId", "error", "promptFeedback"];
    if std::str::from_utf8(body).is_err() {
        return Err(broken(Text::from_plain("the provider sent an answer that is not UTF-8")));
    }
    let [candidates, usage, model, id, error, feedback] = match lenient(body, NAMES) {
        Some(members) => members,
        None if body.trim_ascii().starts_with(b"[") => return Err(read_fault(500, body)),
        None => return Err(broken(Text::from_plain("the provider sent an answer that is not JSON"))),
    };
    if error.is_some() {
        return Err(read_fault(500, body));
    }
    let mut choices = Vec::new();
    let mut outcome = Ok(());
    if let Some(candidates) = candidates {
        // The body as a whole has been scanned, so that its lists are well-formed.
        let _ = scan::elements(candidates.raw, |candidate| {
            if outcome.is_ok() {
                outcome = read_choice(&candidate, vendor).map(|choice| choices.push(choice));
            }
        });
    }
    outcome?;
    if choices.is_empty() {
        let feedback = feedback.and_then(|value| lenient(value.raw, ["blockReason", "blockReasonMessage"]));
        let [block, message] = feedback.unwrap_or_default();
        let block = text(block.as_ref())
            .ok_or_else(|| broken(Text::from_plain("the provider sent an answer without content")))?;
        let finish = finish::prompt_filtered(block, text(message.as_ref()));
        choices.push(Choice::new(Vec::new(), finish));
    }
    Ok(Answer {
        id: text(id.as_ref()).filter(|id| !id.is_empty()),
        model: text(model.as_ref()).filter(|model| !model.is_empty()),
        created: None,
        choices,
        usage: usage.and_then(|usage| read_usage(usage.raw)),
    })
}

fn read_choice<'a>(candidate: &Value<'a>, vendor: Vendor) -> Result<Choice<'a>, Fault<'a>> {
    const NAMES: [&str; 5] =
        ["content", "finishReason", "finishMessage", "groundingMetadata", "logprobsResult"];
    let [content, reason, message, grounding, result] = lenient(candidate.raw, NAMES).unwrap_or_default();
    let mut parts = Parts { vendor, ..Parts::default() };
    let list = content.and_then(|content| lenient(content.raw, ["parts"])).and_then(|[parts]| parts);
    if let Some(list) = list {
        let _ = scan::elements(list.raw, |part| parts.push(Piece::read(part.raw)));
    }
    if let Some(grounding) = grounding {
        parts.cite(grounding.raw);
    }
    let has_calls = parts.list.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    // A whole answer without a reason is one of a server that gives none.
    let finish = match reason.and_then(|reason| finish::name(&reason)) {
        Some(name) => finish::finish(&name, text(message.as_ref()), has_calls)?,
        None if has_calls => Finish::ToolCalls,
        None => Finish::Stop,
    };
    let mut tokens = Vec::new();
    result.iter().for_each(|result| logprobs::read(result, &mut tokens));
    Ok(Choice { parts: parts.list, finish, logprobs: tokens })
}

/// The parts of one answer, neighbours joined: a text that was streamed is one text.
#[derive(Debug)]
struct Parts<'a> {
    vendor: Vendor,
    list: Vec<Part<'a>>,
    /// Whether the last one may be joined with the next.
    joinable: bool,
    /// The text of the answer, without thoughts.
    offsets: Offsets,
    /// For each part as the provider counts them: where its text begins.
    starts: Vec<u64>,
    /// The texts: which part, and where it begins in the text of the answer, in bytes.
    texts: Vec<(usize, u64)>,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self {
            vendor: Vendor::Google,
            list: Vec::new(),
            joinable: false,
            offsets: Offsets::default(),
            starts: Vec::new(),
            texts: Vec::new(),
        }
    }
}

impl<'a> Parts<'a> {
    fn push(&mut self, piece: Option<Piece<'a>>) {
        self.starts.push(self.offsets.bytes());
        match piece {
            Some(Piece::Text { text, thought, signature }) => self.text(text, thought, signature),
            Some(Piece::Call { call, signature }) => self.call(call, signature),
            Some(Piece::Media { media_type, data, inline }) => {
                self.joinable = false;
                self.list.push(Content::Media(piece::media(media_type, data, inline)).into());
            }
            Some(Piece::Other) | None => {}
        }
    }

    fn text(&mut self, text: Text<'a>, thought: bool, signature: Option<Text<'a>>) {
        if !thought {
            self.offsets.push(&text);
        }
        let says_something = !text.is_empty();
        let proof = |data, item_id| Proof { vendor: self.vendor, item_id, data };
        match (self.list.last_mut().map(|part| &mut part.content), thought) {
            (Some(Content::Text { text: last, .. }), false) if self.joinable => last.push(&text),
            (Some(Content::Thinking { text: last, proof: kept, redacted: false }), true) if self.joinable => {
                last.push(&text);
                if let Some(data) = signature {
                    *kept = Some(proof(data, None));
                    self.joinable = false;
                }
                return;
            }
            (_, true) if says_something || signature.is_some() => {
                self.joinable = signature.is_none();
                let proof = signature.map(|data| proof(data, None));
                self.list.push(Content::Thinking { text, proof, redacted: false }.into());
                return;
            }
            (_, false) if says_something => {
                self.texts.push((self.list.len(), self.starts.last().copied().unwrap_or_default()));
                self.list.push(Content::Text { text, citations: Vec::new() }.into());
                self.joinable = true;
            }
            _ => {}
        }
        if let Some(data) = signature {
            let item_id = says_something.then(|| Text::from_plain(ON_TEXT));
            let proof = Some(Proof { vendor: self.vendor, item_id, data });
            self.list.push(Content::Thinking { text: Text::default(), proof, redacted: true }.into());
            self.joinable = false;
        }
    }

    fn call(&mut self, call: CallPiece<'a>, signature: Option<Text<'a>>) {
        let Some(name) = call.name else { return };
        let args = call.args.and_then(|args| Raw::from_scanned(args.raw));
        let proof = signature.map(|data| Proof { vendor: self.vendor, item_id: call.id.clone(), data });
        self.joinable = false;
        self.list.push(
            Content::ToolCall(ToolCall {
                id: call.id,
                name,
                arguments: Arguments::Object(args.unwrap_or_else(|| Raw::from_written("{}".to_owned()))),
                kind: CallKind::Function,
                proof,
            })
            .into(),
        );
    }

    /// Gives each text its sources.
    fn cite(&mut self, grounding: &'a [u8]) {
        let Some(index) = self.offsets.index() else {
            return grounding::read(grounding, |citation, _| {
                add(&mut self.list, self.texts.last(), citation)
            });
        };
        grounding::read(grounding, |mut citation, segment| {
            let segment =
                segment.and_then(|segment| self.starts.get(segment.part).map(|start| (segment, start)));
            let Some((Segment { bytes, .. }, start)) = segment else {
                return add(&mut self.list, self.texts.last(), citation);
            };
            let [first, end] = [bytes.start, bytes.end].map(|byte| start.saturating_add(byte));
            // The text in which the run ends; it may begin in one before.
            let after = self.texts.partition_point(|(_, text_start)| *text_start < end.max(1));
            let Some(text) = after.checked_sub(1).and_then(|at| self.texts.get(at)) else { return };
            let chars = |byte| within(&index, text.1, byte);
            citation.chars = Some((chars(first), chars(end)));
            add(&mut self.list, Some(text), citation);
        });
    }
}

/// The character of a text that begins at `text_start` in which the byte `at` of the whole lies.
fn within(index: &Index<'_>, text_start: u64, at: u64) -> u64 {
    index.chars(at).saturating_sub(index.chars(text_start))
}

fn add<'a>(parts: &mut [Part<'a>], text: Option<&(usize, u64)>, citation: Citation<'a>) {
    let part = text.and_then(|(at, _)| parts.get_mut(*at));
    if let Some(Content::Text { citations, .. }) = part.map(|part| &mut part.content) {
        citations.push(citation);
    }
}
