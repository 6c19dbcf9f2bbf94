//! What a client of this dialect is told: the response object, its items and their parts, as answers and streams both
//! have them.
//!
//! SDKs check these objects, so that all members that OpenAI sends are there: those that repeat the request come from
//! the client's [`echo`](crate::dialect::context::ClientContext::echo).

use crate::dialect::ir::{CallKind, Citation, Fault, Finish, Media, MediaKind, Proof, Source, Text, Vendor};
use crate::dialect::proof::ProofKey;
use crate::dialect::{Dialect, Usage, openai};
use crate::json::write::{self, Object};

/// What a response object says in every state.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: Text<'static>,
    /// Seconds since the epoch.
    pub(super) created: u64,
    /// Members of the request, joined by commas.
    pub(super) echo: Vec<u8>,
}

/// Where a response stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Standing<'f> {
    InProgress,
    /// Done, at this second.
    Completed(u64),
    /// Stopped early, for this reason.
    Incomplete(&'static str),
    Failed(&'f Fault<'f>),
}

impl Standing<'_> {
    /// How an answer stands that ended so, at the second `now`.
    pub(super) fn of(finish: &Finish<'_>, now: u64) -> Self {
        match finish {
            Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls | Finish::Paused => {
                Self::Completed(now)
            }
            Finish::Length | Finish::ContextFull => Self::Incomplete("max_output_tokens"),
            Finish::Filtered(_) | Finish::PromptFiltered(_) => Self::Incomplete("content_filter"),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed(_) => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed(_) => "failed",
        }
    }

    /// The status of the item in which an answer ended so.
    pub(super) fn of_item(self) -> ItemStatus {
        if matches!(self, Self::Incomplete(_)) { ItemStatus::Incomplete } else { ItemStatus::Completed }
    }
}

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemStatus {
    InProgress,
    Completed,
    Incomplete,
}

impl ItemStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Why an answer was filtered, in words that the client is to see as a refusal.
pub(super) fn explanation<'a>(finish: &'a Finish<'_>) -> Option<&'a Text<'a>> {
    match finish {
        Finish::Filtered(Some(words)) | Finish::PromptFiltered(Some(words)) if !words.is_empty() => {
            Some(words)
        }
        _ => None,
    }
}

/// Appends a response object. `output` is its items, joined by commas.
pub(super) fn append_response(
    out: &mut Vec<u8>,
    head: &Head,
    standing: Standing<'_>,
    output: &[u8],
    usage: Option<&Usage>,
) {
    write::object(out, |root| {
        root.plain("id", &head.id);
        root.plain("object", "response");
        root.number("created_at", head.created);
        root.plain("status", standing.as_str());
        match standing {
            Standing::Completed(now) => root.number("completed_at", now.max(head.created)),
            _ => root.null("completed_at"),
        }
        match standing {
            Standing::Failed(fault) => root.object("error", |error| {
                error.text("code", &openai::code_of(fault, Dialect::OpenAiResponses));
                error.text("message", &fault.message);
            }),
            _ => root.null("error"),
        }
        match standing {
            Standing::Incomplete(reason) => {
                root.object("incomplete_details", |details| details.plain("reason", reason));
            }
            _ => root.null("incomplete_details"),
        }
        root.text("model", &head.model);
        root.array("output", |items| items.run(output));
        match usage {
            Some(usage) => root.object("usage", |counts| write_usage(counts, usage)),
            None => root.null("usage"),
        }
        root.run(&head.echo);
    });
}

fn write_usage(counts: &mut Object<'_>, usage: &Usage) {
    counts.number("input_tokens", usage.input);
    counts.object("input_tokens_details", |details| {
        details.number("cached_tokens", usage.cached_input);
        details.number("cache_write_tokens", usage.cache_write);
    });
    counts.number("output_tokens", usage.output);
    counts.object("output_tokens_details", |details| details.number("reasoning_tokens", usage.reasoning));
    counts.number("total_tokens", usage.input.saturating_add(usage.output));
}

/// Appends a message of the assistant. `parts` are its parts, joined by commas.
pub(super) fn append_message(out: &mut Vec<u8>, id: &str, status: ItemStatus, parts: &[u8]) {
    write::object(out, |item| {
        item.plain("id", id);
        item.plain("type", "message");
        item.plain("status", status.as_str());
        item.array("content", |content| content.run(parts));
        item.plain("role", "assistant");
    });
}

/// Appends a part with text. `annotations` are its sources, `logprobs` its tokens, both joined by commas.
pub(super) fn append_text_part(out: &mut Vec<u8>, text: &Text<'_>, annotations: &[u8], logprobs: &[u8]) {
    write::object(out, |part| {
        part.plain("type", "output_text");
        part.array("annotations", |list| list.run(annotations));
        part.array("logprobs", |list| list.run(logprobs));
        part.text("text", text);
    });
}

/// Appends a part with the model's refusal.
pub(super) fn append_refusal_part(out: &mut Vec<u8>, text: &Text<'_>) {
    write::object(out, |part| {
        part.plain("type", "refusal");
        part.text("refusal", text);
    });
}

/// Appends the source of a text that has so many characters: where the provider names no range, all of it.
pub(super) fn append_annotation(out: &mut Vec<u8>, citation: &Citation<'_>, chars: u64) {
    let (start, end) = citation.chars.unwrap_or((0, chars));
    write::object(out, |annotation| {
        annotation.plain("type", "url_citation");
        annotation.text("url", &citation.url);
        annotation.text("title", citation.title.as_ref().unwrap_or(&Text::default()));
        annotation.number("start_index", start);
        annotation.number("end_index", end);
    });
}

/// Appends a picture that the model has made: so many bytes in base64, once they are there.
pub(super) fn append_image(out: &mut Vec<u8>, id: &str, status: ItemStatus, data: Option<&Text<'_>>) {
    write::object(out, |item| {
        item.plain("id", id);
        item.plain("type", "image_generation_call");
        item.plain("status", status.as_str());
        match data {
            Some(data) => item.text("result", data),
            None => item.null("result"),
        }
    });
}

/// The bytes of a medium that an item can be: a picture's.
pub(super) fn image_data<'m>(media: &'m Media<'_>) -> Option<&'m Text<'m>> {
    match &media.source {
        Source::Base64 { data, .. } if media.kind == MediaKind::Image => Some(data),
        _ => None,
    }
}

/// Appends a thought: its readable text, if any, as the one part of its summary.
pub(super) fn append_reasoning(out: &mut Vec<u8>, id: &str, text: &Text<'_>, sealed: Option<&Text<'_>>) {
    write::object(out, |item| {
        item.plain("id", id);
        item.plain("type", "reasoning");
        item.array("summary", |summary| {
            if !text.is_empty() {
                append_summary_part(summary.element(), text);
            }
        });
        if let Some(sealed) = sealed {
            item.text("encrypted_content", sealed);
        }
    });
}

/// Appends a part of a thought's summary.
pub(super) fn append_summary_part(out: &mut Vec<u8>, text: &Text<'_>) {
    write::object(out, |part| {
        part.plain("type", "summary_text");
        part.text("text", text);
    });
}

/// A call of a function or custom tool.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) kind: CallKind,
    pub(super) call_id: Text<'a>,
    pub(super) name: Text<'a>,
}

impl Call<'_> {
    /// How ids of such items begin.
    pub(super) fn id_prefix(kind: CallKind) -> &'static str {
        match kind {
            CallKind::Function => "fc_",
            CallKind::Custom => "ctc_",
        }
    }

    /// Appends the item with so much of its input.
    pub(super) fn append(&self, out: &mut Vec<u8>, id: &str, status: ItemStatus, input: &Text<'_>) {
        let (kind, name) = match self.kind {
            CallKind::Function => ("function_call", "arguments"),
            CallKind::Custom => ("custom_tool_call", "input"),
        };
        write::object(out, |item| {
            item.plain("id", id);
            item.plain("type", kind);
            item.plain("status", status.as_str());
            item.text(name, input);
            item.text("call_id", &self.call_id);
            item.text("name", &self.name);
        });
    }
}

/// What a proof belongs to. In this dialect only reasoning items have a place for one, so its envelope says it, in front
/// of the id of the provider's own item: `thought=rs_1`, `redacted`, `call:6:call_1=text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder<'a> {
    /// The thought itself.
    Thought,
    /// A thought without anything readable (Anthropic's `redacted_thinking`).
    Redacted,
    /// The call with this id (Gemini).
    Call(Text<'a>),
}

const THOUGHT: &str = "thought";
const REDACTED: &str = "redacted";
const CALL: &str = "call:";

impl<'a> Holder<'a> {
    /// The proof as `encrypted_content`.
    ///
    /// One of OpenAI's own goes into an envelope too: it holds only together with the item's id, which in a stream has
    /// been given before the proof comes.
    pub(super) fn seal(&self, proof: &Proof<'_>, key: &ProofKey) -> Text<'static> {
        let mut held = match self {
            Self::Thought => Text::from_plain(THOUGHT),
            Self::Redacted => Text::from_plain(REDACTED),
            Self::Call(id) => {
                let mut held = Text::from(format!("{CALL}{}:", id.escaped().len()));
                held.push(id);
                held
            }
        };
        if let Some(item_id) = &proof.item_id {
            held.push(&Text::from_plain("="));
            held.push(item_id);
        }
        let sealed = Proof { vendor: proof.vendor, item_id: Some(held), data: proof.data.borrow() };
        sealed.seal(Vendor::Other, key).into_owned()
    }

    /// What an opened proof belongs to; its id becomes the provider's own one again.
    pub(super) fn take(proof: &mut Proof<'a>) -> Self {
        let held = proof.item_id.take().unwrap_or_default();
        let (holder, length) = match held.escaped() {
            text if text.starts_with(CALL) => match call_id(text) {
                Some(range) => (held.slice(range.clone()).map(Self::Call), range.end),
                None => (None, 0),
            },
            text if text.starts_with(REDACTED) => (Some(Self::Redacted), REDACTED.len()),
            _ => (Some(Self::Thought), THOUGHT.len()),
        };
        let rest = held.escaped().get(length..).filter(|rest| rest.starts_with('='));
        if rest.is_some() {
            proof.item_id = held.slice(length + 1..held.escaped().len());
        }
        holder.unwrap_or(Self::Thought)
    }
}

/// Where in `call:<length>:<id>…` the id stands.
fn call_id(held: &str) -> Option<std::ops::Range<usize>> {
    let (length, _) = held[CALL.len()..].split_once(':')?;
    let start = CALL.len() + length.len() + 1;
    let end = start.checked_add(length.parse().ok()?)?;
    held.get(start..end).map(|_| start..end)
}

/// Appends one value to a run of values joined by commas.
pub(super) fn append_to_run(run: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if !run.is_empty() {
        run.push(b',');
    }
    write(run);
}
