//! An answer in one piece for a Gemini client. Rules: the project's dialect mapping, sections 8 and 9.

use super::finish::{write_finish, write_prompt_feedback, write_usage};
use super::grounding::{self, Segment};
use super::logprobs::Logprobs;
use super::offsets::Offsets;
use super::signature::{self, ON_TEXT};
use super::write_parts;
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Citation, Content, Finish, Part, Proof, Source, Text, ToolCall,
};
use crate::dialect::media;
use crate::dialect::proof::ProofKey;
use crate::json::write::{self, Array};

/// Appends the answer.
pub(in crate::dialect) fn write_answer(answer: &Answer<'_>, client: &mut ClientContext, out: &mut Vec<u8>) {
    write::object(out, |root| {
        match answer.choices.as_slice() {
            [Choice { parts, finish: Finish::PromptFiltered(words), .. }] if parts.is_empty() => {
                write_prompt_feedback(root, words.as_ref());
            }
            choices => root.array("candidates", |candidates| {
                for (index, choice) in choices.iter().enumerate() {
                    write_choice(index as u64, choice, &client.proofs, candidates);
                }
            }),
        }
        if let Some(usage) = &answer.usage {
            write_usage(root, usage);
        }
        match &answer.model {
            Some(model) => root.text("modelVersion", model),
            None => root.plain("modelVersion", &client.model),
        }
        match &answer.id {
            Some(id) => root.text("responseId", id),
            None => root.plain("responseId", &client.ids.make("")),
        }
    });
}

fn write_choice(index: u64, choice: &Choice<'_>, proofs: &ProofKey, candidates: &mut Array<'_>) {
    let mut writer = Writer { proofs, written: 0, citations: Vec::new(), broken_call: false, refused: false };
    candidates.object(|candidate| {
        candidate.object("content", |content| {
            if !choice.parts.is_empty() {
                content.array("parts", |parts| writer.parts(&choice.parts, parts));
            }
            content.plain("role", "model");
        });
        if writer.broken_call && !matches!(choice.finish, Finish::Length) {
            candidate.plain("finishReason", "MALFORMED_FUNCTION_CALL");
        } else {
            write_finish(candidate, &choice.finish, writer.refused);
        }
        candidate.number("index", index);
        let mut logprobs = Logprobs::default();
        logprobs.push(&choice.logprobs);
        logprobs.write(candidate);
        logprobs.write_average(candidate);
        grounding::write(candidate, writer.citations.iter().map(|(citation, at)| (*citation, at.clone())));
    });
}

struct Writer<'w, 'a> {
    proofs: &'w ProofKey,
    /// Parts written so far.
    written: usize,
    citations: Vec<(&'w Citation<'a>, Option<Segment>)>,
    /// The arguments of a call are not an object.
    broken_call: bool,
    refused: bool,
}

impl<'w, 'a> Writer<'w, 'a> {
    fn parts(&mut self, parts: &'w [Part<'a>], out: &mut Array<'_>) {
        let mut rest = parts;
        while let Some((part, after)) = rest.split_first() {
            rest = after;
            let before = self.written;
            self.written += 1;
            match &part.content {
                Content::Text { text, citations } if !text.is_empty() => {
                    let behind = rest.first().and_then(on_text);
                    rest = if behind.is_some() { &rest[1..] } else { rest };
                    let signature = behind.map(|proof| signature::write(proof, self.proofs));
                    out.object(|part| write_parts::text(part, text, false, signature.as_ref()));
                    self.cite(before, text, citations);
                }
                Content::Refusal(text) => {
                    self.refused = true;
                    out.object(|part| write_parts::text(part, text, false, None));
                }
                Content::Thinking { text, proof, redacted } if proof.is_some() || !text.is_empty() => {
                    let signature = proof.as_ref().map(|proof| signature::write(proof, self.proofs));
                    out.object(|part| write_parts::text(part, text, !redacted, signature.as_ref()));
                }
                Content::ToolCall(call) => self.call(call, out),
                Content::Media(media) => match &media.source {
                    Source::Base64 { media_type, data } => {
                        out.object(|part| write_parts::inline(part, media_type, data));
                    }
                    Source::Url(_) | Source::File(_) | Source::Text(_) => {
                        out.object(|part| write_parts::text(part, &media::note(media), false, None));
                    }
                },
                // Nothing to say, or nothing that a model says.
                Content::Text { .. }
                | Content::Thinking { .. }
                | Content::Document(_)
                | Content::SearchResult { .. }
                | Content::ToolResult(_)
                | Content::Unknown(_) => self.written = before,
            }
        }
    }

    fn call(&mut self, call: &ToolCall<'_>, out: &mut Array<'_>) {
        let signature = call.proof.as_ref().map(|proof| signature::write(proof, self.proofs));
        let unwrapped;
        let arguments = match (call.kind, &call.arguments) {
            (CallKind::Custom, Arguments::Text(text)) => {
                unwrapped = Arguments::Object(write_parts::custom_input(text));
                &unwrapped
            }
            (_, arguments) => arguments,
        };
        let args = arguments.as_object();
        self.broken_call |= args.is_err();
        let args = args.unwrap_or_else(|raw| raw);
        out.object(|part| {
            write_parts::call(part, call.id.as_ref(), &call.name, &args, signature.as_ref());
        });
    }

    fn cite(&mut self, part: usize, text: &Text<'_>, citations: &'w [Citation<'a>]) {
        if citations.is_empty() {
            return;
        }
        let mut offsets = Offsets::default();
        offsets.push(text);
        let index = offsets.index();
        self.citations.extend(citations.iter().map(|citation| {
            let segment = citation
                .chars
                .zip(index.as_ref())
                .map(|((first, end), index)| Segment { part, bytes: index.bytes(first)..index.bytes(end) });
            (citation, segment)
        }));
    }
}

/// The proof of a part that says nothing else, if it stands on the text before it.
fn on_text<'p, 'a>(part: &'p Part<'a>) -> Option<&'p Proof<'a>> {
    match &part.content {
        Content::Thinking { text, proof: Some(proof), redacted: true } if text.is_empty() => {
            proof.item_id.as_ref().is_some_and(|id| id.escaped() == ON_TEXT).then_some(proof)
        }
        _ => None,
    }
}
