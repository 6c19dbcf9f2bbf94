//! The conversation as this dialect takes it: turns merged, results first, thoughts whole or not at all.
//!
//! Rules: the project's dialect mapping, sections 3 to 6.

use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::safe_id;
use super::marks::Marks;
use super::models::ModelRules;
use super::tools::sent_name;
use crate::dialect::context::Undo;
use crate::dialect::ir::{
    Arguments, CallKind, Content, Document, Media, MediaKind, Part, Role, Source, Text, ToolCall, ToolResult,
    Turn, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::json::write::{Array, Object};

/// What is said in the first turn of a user who has said nothing: a message without text is refused, and so is a
/// conversation that the assistant begins.
const EMPTY_START: &str = ".";

/// One message: turns that follow one another and have the same role. Without parts it is an [`EMPTY_START`].
#[derive(Debug)]
pub(super) struct Message<'r> {
    role: Role,
    parts: Vec<&'r Part<'r>>,
}

/// A conversation in messages.
#[derive(Debug, Default)]
pub(super) struct Conversation<'r> {
    messages: Vec<Message<'r>>,
    /// Instructions from the middle that the model takes only at the front.
    pub(super) moved: Vec<&'r Part<'r>>,
}

impl<'r> Conversation<'r> {
    /// Merges turns; parts that say nothing are left out, and so are turns of nothing else.
    ///
    /// # Errors
    /// Something would be lost, and reports are refusals.
    pub(super) fn new(
        turns: &'r [Turn<'r>],
        rules: &ModelRules,
        losses: &mut Losses,
    ) -> Result<Self, BadRequest> {
        let mut conversation = Self::default();
        let has_empty_start =
            turns.first().is_some_and(|turn| turn.role == Role::User && turn.says_nothing());
        for (index, turn) in turns.iter().enumerate() {
            if turn.name.is_some() {
                losses.meet(Feature::ParticipantName)?;
            }
            let parts = turn.parts.iter().filter(|part| !is_blank(&part.content));
            if turn.role != Role::System {
                parts.for_each(|part| conversation.push(turn.role, part));
                continue;
            }
            let is_behind_user = conversation.messages.last().is_some_and(|last| last.role == Role::User);
            let has_results = turns.get(index + 1).is_some_and(Turn::has_results);
            if rules.system_turns && is_behind_user && !has_results {
                parts.for_each(|part| conversation.push(Role::System, part));
            } else {
                let moved = conversation.moved.len();
                conversation.moved.extend(parts);
                if conversation.moved.len() > moved {
                    losses.change(Feature::SystemPosition)?;
                }
            }
        }
        let begins_with_user = conversation.messages.first().is_some_and(|first| first.role == Role::User);
        if has_empty_start && !begins_with_user {
            losses.meet(Feature::EmptyTurn)?;
            conversation.messages.insert(0, Message { role: Role::User, parts: Vec::new() });
        }
        Ok(conversation)
    }

    fn push(&mut self, role: Role, part: &'r Part<'r>) {
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.parts.push(part),
            _ => self.messages.push(Message { role, parts: vec![part] }),
        }
    }

    /// Whether the last turn of the assistant calls a tool and does not begin with thoughts that `vendor` takes back.
    pub(super) fn lacks_thoughts(&self, vendor: Vendor) -> bool {
        let last = self.messages.iter().rev().find(|message| message.role == Role::Assistant);
        last.is_some_and(|last| {
            let calls = last.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
            let begins =
                matches!(last.parts.first().map(|part| &part.content), Some(Content::Thinking { .. }));
            calls && !(begins && last.thoughts_are_of(vendor))
        })
    }

    /// Leaves out the thoughts of each turn that `vendor` does not take back; all of them where `keep` is false: then
    /// thinking is off, and `vendor` would not look at its own.
    ///
    /// # Errors
    /// Thoughts of others are lost, and reports are refusals.
    pub(super) fn drop_thoughts(
        &mut self,
        vendor: Vendor,
        keep: bool,
        losses: &mut Losses,
    ) -> Result<(), BadRequest> {
        for message in std::mem::take(&mut self.messages) {
            if message.parts.is_empty() {
                self.messages.push(message);
                continue;
            }
            let is_own = message.thoughts_are_of(vendor);
            for part in message.parts {
                if !matches!(part.content, Content::Thinking { .. }) {
                    self.push(message.role, part);
                } else if !is_own {
                    losses.drop(Feature::Thinking)?;
                } else if keep {
                    self.push(message.role, part);
                }
            }
        }
        Ok(())
    }

    /// Whether the model is to go on where the conversation ends.
    pub(super) fn ends_in_prefill(&self) -> bool {
        self.messages.last().is_some_and(|last| {
            last.role == Role::Assistant
                && !last.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)))
        })
    }

    /// Cache marks in it.
    pub(super) fn marks(&self) -> usize {
        let parts = self.messages.iter().flat_map(|message| &message.parts).chain(&self.moved);
        parts.map(|part| marks_of(part)).sum()
    }
}

fn marks_of(part: &Part<'_>) -> usize {
    let inner = match &part.content {
        Content::ToolResult(result) => result.parts.iter().map(marks_of).sum(),
        _ => 0,
    };
    usize::from(part.cache.is_some()) + inner
}

impl Message<'_> {
    /// Whether each of its thoughts has a proof of `vendor`'s.
    fn thoughts_are_of(&self, vendor: Vendor) -> bool {
        self.parts.iter().all(|part| match &part.content {
            Content::Thinking { proof, .. } => {
                vendor != Vendor::Other && proof.as_ref().is_some_and(|proof| proof.vendor == vendor)
            }
            _ => true,
        })
    }
}

impl Turn<'_> {
    fn says_nothing(&self) -> bool {
        self.parts.iter().all(|part| is_blank(&part.content))
    }

    fn has_results(&self) -> bool {
        self.role == Role::User
            && self.parts.iter().any(|part| matches!(part.content, Content::ToolResult(_)))
    }
}

/// Whether a part says nothing: text without a letter is refused by Anthropic.
fn is_blank(content: &Content<'_>) -> bool {
    match content {
        Content::Text { text, .. } | Content::Refusal(text) => is_blank_text(text),
        _ => false,
    }
}

/// Whether a text has no character but white space.
pub(super) fn is_blank_text(text: &Text<'_>) -> bool {
    let rest = text.escaped().trim_start();
    rest.is_empty() || (rest.starts_with('\\') && text.decode().is_some_and(|text| text.trim().is_empty()))
}

/// Writes messages.
pub(super) struct TurnWriter<'w> {
    pub(super) losses: &'w mut Losses,
    pub(super) marks: Marks,
    pub(super) undo: &'w mut Undo,
    calls: SentCalls,
    ids_made: u64,
}

/// The calls of the last turn of the assistant, for results that name a function instead of a call.
#[derive(Default)]
struct SentCalls {
    /// The id sent, until a result has taken it.
    ids: Vec<Option<String>>,
    /// Places in `ids`, by function.
    by_name: HashMap<String, VecDeque<usize>>,
    /// No id before this place is left.
    first: usize,
}

impl SentCalls {
    fn push(&mut self, name: &Text<'_>, id: String) {
        self.by_name.entry(name.escaped().to_owned()).or_default().push_back(self.ids.len());
        self.ids.push(Some(id));
    }

    /// The id of the first call of this function, else of any, that no result has taken yet.
    fn take(&mut self, name: Option<&str>) -> Option<String> {
        if let Some(places) = name.and_then(|name| self.by_name.get_mut(name)) {
            while let Some(place) = places.pop_front() {
                if let Some(id) = self.ids[place].take() {
                    return Some(id);
                }
            }
        }
        while self.first < self.ids.len() {
            self.first += 1;
            if let Some(id) = self.ids[self.first - 1].take() {
                return Some(id);
            }
        }
        None
    }
}

impl<'w> TurnWriter<'w> {
    pub(super) fn new(losses: &'w mut Losses, undo: &'w mut Undo, marks: Marks) -> Self {
        Self { losses, marks, undo, calls: SentCalls::default(), ids_made: 0 }
    }

    /// Writes text blocks of instructions.
    ///
    /// # Errors
    /// One is no text.
    pub(super) fn system(
        &mut self,
        blocks: &mut Array<'_>,
        parts: impl Iterator<Item = &'w Part<'w>>,
    ) -> Result<(), BadRequest> {
        for part in parts.filter(|part| !is_blank(&part.content)) {
            match &part.content {
                Content::Text { .. } | Content::Refusal(_) => self.block(blocks, part)?,
                _ => return Err(self.losses.refuse_part(&Text::from_plain("system"))),
            }
        }
        Ok(())
    }

    /// Writes the messages.
    ///
    /// # Errors
    /// A part that this dialect has no place for, or a loss where reports are refusals.
    pub(super) fn messages(
        &mut self,
        list: &mut Array<'_>,
        conversation: &Conversation<'_>,
    ) -> Result<(), BadRequest> {
        for message in &conversation.messages {
            list.object(|object| self.message(object, message))?;
        }
        Ok(())
    }

    fn message(&mut self, object: &mut Object<'_>, message: &Message<'_>) -> Result<(), BadRequest> {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => {
                self.calls = SentCalls::default();
                "assistant"
            }
            Role::System => "system",
        };
        object.plain("role", role);
        let is_result = |part: &&&Part<'_>| matches!(part.content, Content::ToolResult(_));
        object.array("content", |blocks| {
            if message.parts.is_empty() {
                blocks.object(|block| {
                    block.plain("type", "text");
                    block.plain("text", EMPTY_START);
                });
            }
            // Results first, each in its order.
            if message.role == Role::User {
                for part in message.parts.iter().filter(is_result) {
                    self.block(blocks, part)?;
                }
            }
            for part in message.parts.iter().filter(|part| message.role != Role::User || !is_result(part)) {
                if message.role == Role::Assistant && matches!(part.content, Content::Media(_)) {
                    // What the model has said in pictures has no place in its turns.
                    return Err(self.losses.refuse(Feature::AssistantImage));
                }
                self.block(blocks, part)?;
            }
            Ok(())
        })
    }

    fn block(&mut self, blocks: &mut Array<'_>, part: &Part<'_>) -> Result<(), BadRequest> {
        blocks.object(|block| {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) => {
                    block.plain("type", "text");
                    block.text("text", text);
                }
                Content::Media(media) => self.media(block, media)?,
                Content::Document(document) => self.document(block, document)?,
                Content::SearchResult { title, source, text } => {
                    block.plain("type", "search_result");
                    block.text("source", source);
                    block.text("title", title);
                    block.array("content", |texts| {
                        texts.object(|block| {
                            block.plain("type", "text");
                            block.text("text", text);
                        });
                    });
                }
                Content::Thinking { text, proof, redacted } => {
                    let data = proof.as_ref().map(|proof| proof.data.borrow()).unwrap_or_default();
                    if *redacted {
                        block.plain("type", "redacted_thinking");
                        block.text("data", &data);
                    } else {
                        block.plain("type", "thinking");
                        block.text("thinking", text);
                        block.text("signature", &data);
                    }
                    // Thoughts take no cache mark.
                    return Ok(());
                }
                Content::ToolCall(call) => self.call(block, call)?,
                Content::ToolResult(result) => self.result(block, result)?,
                Content::Unknown(name) => return Err(self.losses.refuse_part(name)),
            }
            self.marks.write(block, part.cache, self.losses)
        })
    }

    fn media(&mut self, block: &mut Object<'_>, media: &Media<'_>) -> Result<(), BadRequest> {
        match media.kind {
            MediaKind::Image => {}
            MediaKind::Audio => return Err(self.losses.refuse(Feature::Audio)),
            MediaKind::Video => return Err(self.losses.refuse(Feature::Video)),
        }
        block.plain("type", "image");
        self.source(block, &media.source)
    }

    fn document(&mut self, block: &mut Object<'_>, document: &Document<'_>) -> Result<(), BadRequest> {
        if let Source::Base64 { media_type, .. } = &document.source
            && media_type.escaped().starts_with("image/")
        {
            block.plain("type", "image");
            return self.source(block, &document.source);
        }
        block.plain("type", "document");
        self.source(block, &document.source)?;
        if let Some(title) = document.title.as_ref().filter(|title| !title.is_empty()) {
            block.text("title", title);
        }
        if let Some(context) = document.context.as_ref().filter(|context| !context.is_empty()) {
            block.text("context", context);
        }
        if document.citations {
            block.object("citations", |citations| citations.boolean("enabled", true));
        }
        Ok(())
    }

    fn source(&mut self, block: &mut Object<'_>, source: &Source<'_>) -> Result<(), BadRequest> {
        if matches!(source, Source::File(_)) {
            return Err(self.losses.refuse(Feature::FileId));
        }
        block.object("source", |object| match source {
            Source::Base64 { media_type, data } => match plain_text(media_type, data) {
                Some(text) => write_text_source(object, &Text::from(text)),
                None => {
                    object.plain("type", "base64");
                    object.text("media_type", media_type);
                    object.text("data", data);
                }
            },
            Source::Url(url) | Source::File(url) => {
                object.plain("type", "url");
                object.text("url", url);
            }
            Source::Text(text) => write_text_source(object, text),
        });
        Ok(())
    }

    fn call(&mut self, block: &mut Object<'_>, call: &ToolCall<'_>) -> Result<(), BadRequest> {
        if call.proof.is_some() {
            // Only Google's calls have one.
            self.losses.drop(Feature::Thinking)?;
        }
        let id = match &call.id {
            Some(id) => safe_id(id).escaped().to_owned(),
            None => {
                self.ids_made += 1;
                format!("call_{}", self.ids_made)
            }
        };
        block.plain("type", "tool_use");
        block.plain("id", &id);
        block.text("name", &sent_name(&call.name, self.undo));
        match (&call.arguments, call.kind) {
            (Arguments::Text(text), CallKind::Custom) => {
                block.object("input", |input| input.text("input", text));
            }
            (arguments, _) => match arguments.as_object() {
                Ok(input) => block.raw("input", &input),
                Err(wrapped) => {
                    self.losses.change(Feature::ToolArguments)?;
                    block.raw("input", &wrapped);
                }
            },
        }
        self.calls.push(&call.name, id);
        Ok(())
    }

    fn result(&mut self, block: &mut Object<'_>, result: &ToolResult<'_>) -> Result<(), BadRequest> {
        block.plain("type", "tool_result");
        match &result.call_id {
            Some(id) => block.text("tool_use_id", &safe_id(id)),
            None => {
                let name = result.name.as_ref().map(Text::escaped);
                let id = self.calls.take(name).ok_or_else(|| BadRequest {
                    field: name.unwrap_or("tool_result").to_owned(),
                    problem: "is a result of a call that was not made".to_owned(),
                })?;
                block.plain("tool_use_id", &id);
            }
        }
        if let Some(object) = &result.object {
            block.text("content", &Arguments::Object(object.into()).as_text());
        } else {
            let parts = || result.parts.iter().filter(|part| !is_blank(&part.content));
            if parts().next().is_some() {
                block.array("content", |blocks| {
                    for part in parts() {
                        if matches!(part.content, Content::ToolResult(_) | Content::ToolCall(_)) {
                            return Err(self.losses.refuse_part(&Text::from_plain("tool_result")));
                        }
                        self.block(blocks, part)?;
                    }
                    Ok(())
                })?;
            }
        }
        if result.is_error {
            block.boolean("is_error", true);
        }
        Ok(())
    }
}

fn write_text_source(object: &mut Object<'_>, text: &Text<'_>) {
    object.plain("type", "text");
    object.plain("media_type", "text/plain");
    object.text("data", text);
}

/// The text that a document's bytes are, if its type is one of text.
fn plain_text(media_type: &Text<'_>, data: &Text<'_>) -> Option<String> {
    if !media_type.escaped().starts_with("text/") {
        return None;
    }
    String::from_utf8(STANDARD.decode(data.decode()?.as_bytes()).ok()?).ok()
}
