//! What a provider says: the response object, its items, their parts, as answers and streams both have them.
//!
//! Lenient: what has a wrong type counts as absent, what is unknown is passed over. Compatible servers differ in much.

use crate::dialect::Usage;
use crate::dialect::ir::{CallKind, Citation, Fault, FaultCase, Finish, Proof, Text, Vendor};
use crate::dialect::openai;
use crate::dialect::usage::read_openai;
use crate::json::scan;
use crate::json::token::{Kind, Value};

/// A string; an object or array as its JSON, which some servers put where a string with JSON belongs.
pub(super) fn text_of<'a>(value: &Value<'a>) -> Option<Text<'a>> {
    match value.kind {
        Kind::String => Text::from_token(value.raw),
        Kind::Object | Kind::Array => Some(Text::from(std::str::from_utf8(value.raw).ok()?.to_owned())),
        Kind::Null | Kind::Bool | Kind::Number => None,
    }
}

/// A string, and nothing else.
fn string_of<'a>(value: &Value<'a>) -> Option<Text<'a>> {
    Text::from_token(value.raw).filter(|_| value.kind == Kind::String)
}

/// A fault of the provider's that it has no words for.
pub(super) fn broken(message: &'static str) -> Fault<'static> {
    Fault {
        case: FaultCase::Internal,
        message: Text::from_plain(message),
        code: None,
        param: None,
        retry_after_s: None,
    }
}

/// A call that cannot be carried out: leaving it out would make it look as if none had been made.
pub(super) fn nameless() -> Fault<'static> {
    broken("the provider's answer has a call without a name")
}

/// A response object.
#[derive(Debug, Default)]
pub(super) struct Response<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    /// Seconds since the epoch.
    pub(super) created: Option<u64>,
    pub(super) usage: Option<Usage>,
    pub(super) output: Option<Value<'a>>,
    pub(super) error: Option<Value<'a>>,
    pub(super) status: Option<Status>,
    incomplete: Option<Value<'a>>,
}

/// Where a response stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Completed,
    Incomplete,
    Failed,
    Cancelled,
    /// Queued or in progress.
    Pending,
}

impl Status {
    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            // LM Studio's word is the second one.
            b"completed" | b"complete" => Self::Completed,
            b"incomplete" => Self::Incomplete,
            b"failed" => Self::Failed,
            b"cancelled" => Self::Cancelled,
            b"queued" | b"in_progress" => Self::Pending,
            _ => return None,
        })
    }
}

impl<'a> Response<'a> {
    /// Reads the object that `raw` is. `None`: it is no object, or cut off.
    pub(super) fn read(raw: &'a [u8]) -> Option<Self> {
        const NAMES: [&str; 8] =
            ["id", "model", "created_at", "usage", "output", "error", "status", "incomplete_details"];
        let mut response = Self::default();
        scan::members(raw, |key, value| match key.matches(&NAMES) {
            Some(0) => response.id = string_of(&value).filter(|id| !id.is_empty()),
            Some(1) => response.model = string_of(&value).filter(|model| !model.is_empty()),
            Some(2) => response.created = value.as_count(),
            Some(3) => response.usage = read_openai(value.raw),
            Some(4) => response.output = Some(value).filter(|output| output.kind == Kind::Array),
            Some(5) => response.error = Some(value).filter(|error| error.kind != Kind::Null),
            Some(6) => response.status = value.plain_string().and_then(Status::parse),
            Some(7) => response.incomplete = Some(value),
            _ => {}
        })
        .ok()?;
        Some(response)
    }

    /// How it ended. `calls` and `anything` say whether a call, or anything at all, is in its output.
    ///
    /// # Errors
    /// It failed, was stopped, or is not done.
    pub(super) fn finish(&self, calls: bool, anything: bool) -> Result<Finish<'static>, Fault<'a>> {
        if let Some(error) = &self.error {
            return Err(openai::read_error(200, error));
        }
        match self.status {
            Some(Status::Incomplete) => {}
            Some(Status::Failed) => return Err(broken("the provider says that the response failed")),
            Some(Status::Cancelled) => return Err(broken("the provider cancelled the response")),
            Some(Status::Pending) => return Err(broken("the provider has not finished the response")),
            Some(Status::Completed) | None if calls => return Ok(Finish::ToolCalls),
            Some(Status::Completed) | None => return Ok(Finish::Stop),
        }
        let reason = self.incomplete.as_ref().and_then(|details| scan::member(details.raw, "reason"));
        match reason.as_ref().and_then(Value::plain_string) {
            Some(b"max_output_tokens" | b"max_tokens" | b"length") | None => Ok(Finish::Length),
            Some(b"content_filter") if anything => Ok(Finish::Filtered(None)),
            Some(b"content_filter") => Ok(Finish::PromptFiltered(None)),
            Some(_) => Err(broken("the provider stopped the response for a reason of its own")),
        }
    }
}

/// What an item is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ItemKind {
    Message,
    Reasoning,
    Call(CallKind),
    /// Of a built-in tool, or unknown: no other dialect has it.
    #[default]
    Other,
}

/// An item of the output.
#[derive(Debug, Default)]
pub(super) struct Item<'a> {
    pub(super) kind: ItemKind,
    pub(super) call_id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    /// Arguments of a function, or the text for a custom tool.
    pub(super) input: Option<Text<'a>>,
    id: Option<Text<'a>>,
    content: Option<Value<'a>>,
    summary: Option<Value<'a>>,
    encrypted: Option<Text<'a>>,
}

impl<'a> Item<'a> {
    /// Reads an item; one that is no object is of no known kind.
    pub(super) fn read(value: &Value<'a>) -> Self {
        const NAMES: [&str; 9] = [
            "type",
            "id",
            "call_id",
            "name",
            "arguments",
            "input",
            "content",
            "summary",
            "encrypted_content",
        ];
        let some = |value: &Value<'a>| string_of(value).filter(|text| !text.is_empty());
        let (mut item, mut arguments, mut input) = (Self::default(), None, None);
        // What came before a fault counts.
        let _ = scan::members(value.raw, |key, value| match key.matches(&NAMES) {
            Some(0) => {
                item.kind = match value.plain_string() {
                    Some(b"message") => ItemKind::Message,
                    Some(b"reasoning") => ItemKind::Reasoning,
                    Some(b"function_call") => ItemKind::Call(CallKind::Function),
                    Some(b"custom_tool_call") => ItemKind::Call(CallKind::Custom),
                    _ => ItemKind::Other,
                };
            }
            Some(1) => item.id = some(&value),
            Some(2) => item.call_id = some(&value),
            Some(3) => item.name = some(&value),
            Some(4) => arguments = text_of(&value),
            Some(5) => input = text_of(&value),
            Some(6) => item.content = Some(value),
            Some(7) => item.summary = Some(value),
            Some(_) => item.encrypted = some(&value),
            None => {}
        });
        item.input = match item.kind {
            ItemKind::Call(CallKind::Custom) => input,
            _ => arguments,
        };
        item
    }

    /// The parts of a message, by their place.
    pub(super) fn parts(&self, mut on_part: impl FnMut(u64, &ContentPart<'a>)) {
        let Some(content) = &self.content else { return };
        if let Some(text) = string_of(content) {
            return on_part(0, &ContentPart { kind: PartKind::Text, text, ..ContentPart::default() });
        }
        let mut place = 0;
        let _ = scan::elements(content.raw, |value| {
            on_part(place, &ContentPart::read(&value));
            place += 1;
        });
    }

    /// The texts of a reasoning item that come from `source`, by their place.
    pub(super) fn thoughts(&self, source: ThoughtSource, mut on_text: impl FnMut(u64, Text<'a>)) {
        let list = match source {
            ThoughtSource::Summary => &self.summary,
            ThoughtSource::Content => &self.content,
        };
        let Some(list) = list else { return };
        let mut place = 0;
        let _ = scan::elements(list.raw, |value| {
            let text = scan::member(value.raw, "text").as_ref().and_then(string_of);
            on_text(place, text.unwrap_or_default());
            place += 1;
        });
    }

    /// Where the readable text of a reasoning item is: its summary, unless only the raw text is there.
    pub(super) fn thought_source(&self) -> ThoughtSource {
        let mut found = false;
        self.thoughts(ThoughtSource::Summary, |_, text| found |= !text.is_empty());
        if found { ThoughtSource::Summary } else { ThoughtSource::Content }
    }

    /// What the vendor needs to take the thought back; nobody takes back those of unknown vendors.
    pub(super) fn proof(&self, vendor: Vendor) -> Option<Proof<'a>> {
        let data = self.encrypted.clone().filter(|_| vendor != Vendor::Other)?;
        Some(Proof { vendor, item_id: self.id.clone(), data })
    }
}

/// The two places in which a reasoning item has readable text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThoughtSource {
    /// `summary`.
    Summary,
    /// `content`: the raw thoughts, of open models.
    Content,
}

/// What stands between two parts of a summary where they become one text.
pub(super) fn thought_break() -> Text<'static> {
    Text::from_plain("\n\n")
}

/// The kinds of parts of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PartKind {
    Text,
    Refusal,
    /// `reasoning_text`, which stands in reasoning items.
    Thought,
    #[default]
    Other,
}

/// A part of a message.
#[derive(Debug, Default)]
pub(super) struct ContentPart<'a> {
    pub(super) kind: PartKind,
    pub(super) text: Text<'a>,
    pub(super) logprobs: Option<Value<'a>>,
    annotations: Option<Value<'a>>,
}

impl<'a> ContentPart<'a> {
    pub(super) fn read(value: &Value<'a>) -> Self {
        let mut part = Self::default();
        let _ = scan::members(value.raw, |key, value| {
            match key.matches(&["type", "text", "refusal", "annotations", "logprobs"]) {
                Some(0) => {
                    part.kind = match value.plain_string() {
                        Some(b"output_text" | b"text") => PartKind::Text,
                        Some(b"refusal") => PartKind::Refusal,
                        Some(b"reasoning_text") => PartKind::Thought,
                        _ => PartKind::Other,
                    };
                }
                Some(1 | 2) => part.text = string_of(&value).unwrap_or_default(),
                Some(3) => part.annotations = Some(value),
                Some(_) => part.logprobs = Some(value),
                None => {}
            }
        });
        part
    }

    /// Its sources that are web pages.
    pub(super) fn citations(&self, mut on_citation: impl FnMut(Citation<'a>)) {
        let Some(annotations) = &self.annotations else { return };
        let _ = scan::elements(annotations.raw, |value| {
            if let Some(citation) = read_citation(&value) {
                on_citation(citation);
            }
        });
    }
}

/// An annotation, if it is one of a web page.
pub(super) fn read_citation<'a>(value: &Value<'a>) -> Option<Citation<'a>> {
    let (mut is_url, mut url, mut title, mut start, mut end) = (false, None, None, None, None);
    scan::members(value.raw, |key, value| {
        match key.matches(&["type", "url", "title", "start_index", "end_index"]) {
            Some(0) => is_url = value.plain_string() == Some(b"url_citation"),
            Some(1) => url = string_of(&value),
            Some(2) => title = string_of(&value),
            Some(3) => start = value.as_count(),
            Some(_) => end = value.as_count(),
            None => {}
        }
    })
    .ok()?;
    let url = url.filter(|url| is_url && !url.is_empty())?;
    // An empty range says nothing.
    let chars = start.zip(end).filter(|(start, end)| start < end);
    Some(Citation { url, title: title.filter(|title| !title.is_empty()), chars })
}
