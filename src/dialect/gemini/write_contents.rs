//! `contents` of a request. Rules: the project's dialect mapping, sections 3, 4, 5.4 and 6.2.

use std::collections::{HashMap, HashSet};

use super::models::ModelRules;
use super::signature::{BYPASS, ON_TEXT};
use super::write_parts;
use super::write_request::tool_name;
use crate::dialect::context::Undo;
use crate::dialect::ir::{
    Arguments, CallKind, Content, Document, Media, MediaKind, Part, Proof, Request, Role, Source, Text,
    ToolCall, ToolResult, Turn, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::json::write::{self, Array, Object};

/// Writes the conversation: neighbours of one role as one content.
pub(super) fn write_contents(
    root: &mut Object<'_>,
    request: &Request<'_>,
    vendor: Vendor,
    rules: &ModelRules,
    losses: &mut Losses,
    undo: &mut Undo,
) -> Result<(), BadRequest> {
    let mut writer = Writer { vendor, rules, losses, undo, calls: HashMap::new(), media: Vec::new() };
    let spoken: Vec<&Turn<'_>> = request.turns.iter().filter(|turn| turn.role != Role::System).collect();
    if spoken.last().is_some_and(|turn| turn.role == Role::Assistant) {
        writer.losses.meet(Feature::Prefill)?;
    }
    // A turn of which nothing is left leaves neighbours of one role behind.
    let mut contents: Vec<(Role, Vec<u8>)> = Vec::new();
    for turns in spoken.chunk_by(|turn, next| turn.role == next.role) {
        let (role, mut parts) = (turns[0].role, Vec::new());
        write::array(&mut parts, |parts| match role {
            Role::Assistant => writer.model_turn(turns, parts),
            Role::User | Role::System => writer.user_turn(turns, parts),
        })?;
        match contents.last_mut() {
            _ if parts == b"[]" => {}
            Some((last, list)) if *last == role => {
                list.pop();
                list.push(b',');
                list.extend_from_slice(&parts[1..]);
            }
            _ => contents.push((role, parts)),
        }
    }
    if contents.is_empty() {
        // No content at all is refused.
        contents.push((Role::User, br#"[{"text":" "}]"#.to_vec()));
    }
    root.array("contents", |list| {
        for (role, parts) in &contents {
            list.object(|content| {
                content.plain("role", if *role == Role::Assistant { "model" } else { "user" });
                content.member("parts").extend_from_slice(parts);
            });
        }
    });
    Ok(())
}

struct Writer<'w, 'a> {
    vendor: Vendor,
    rules: &'w ModelRules,
    losses: &'w mut Losses,
    undo: &'w mut Undo,
    /// Calls of the model's last turn by id: their place in it and their name.
    calls: HashMap<&'w str, (usize, &'w Text<'a>)>,
    /// What results brought and the model takes only beside them.
    media: Vec<&'w Part<'a>>,
}

impl<'w, 'a> Writer<'w, 'a> {
    fn model_turn(&mut self, turns: &[&'w Turn<'a>], out: &mut Array<'_>) -> Result<(), BadRequest> {
        self.calls.clear();
        let parts: Vec<&'w Part<'a>> = turns.iter().flat_map(|turn| &turn.parts).collect();
        let signatures = Signatures::of(&parts, self.vendor);
        let mut call_count = 0;
        for (at, part) in parts.iter().enumerate() {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) => {
                    if matches!(part.content, Content::Refusal(_)) {
                        self.losses.meet(Feature::Refusal)?;
                    }
                    if !text.is_empty() {
                        let signature = signatures.on_text(&parts, at);
                        out.object(|part| write_parts::text(part, text, false, signature));
                    }
                }
                Content::Thinking { text, proof, redacted } => {
                    match signatures.standing(at, proof.as_ref()) {
                        Standing::OwnPart(signature) => {
                            let thought = !redacted && !text.is_empty();
                            out.object(|part| write_parts::text(part, text, thought, Some(signature)));
                        }
                        Standing::Elsewhere => {}
                        Standing::Foreign => self.losses.drop(Feature::Thinking)?,
                    }
                }
                Content::ToolCall(call) => {
                    if let Some(id) = &call.id {
                        self.calls.insert(id.escaped(), (call_count, &call.name));
                    }
                    let bypass = Text::from_plain(BYPASS);
                    let needed = call_count == 0 && self.rules.signatures;
                    let signature = signatures.on_call(call, at).or(Some(&bypass).filter(|_| needed));
                    call_count += 1;
                    self.call(call, signature, out)?;
                }
                Content::Media(media) => self.media(media, false, out)?,
                Content::Unknown(name) => return Err(self.losses.refuse_part(name)),
                Content::Document(_) | Content::SearchResult { .. } | Content::ToolResult(_) => {
                    return Err(self.losses.refuse_part(&Text::from_plain("assistant content")));
                }
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        call: &ToolCall<'_>,
        signature: Option<&Text<'_>>,
        out: &mut Array<'_>,
    ) -> Result<(), BadRequest> {
        let unwrapped;
        let arguments = match (call.kind, &call.arguments) {
            (CallKind::Custom, Arguments::Text(text)) => {
                self.losses.meet(Feature::CustomTool)?;
                unwrapped = Arguments::Object(write_parts::custom_input(text));
                &unwrapped
            }
            (_, arguments) => arguments,
        };
        let args = match arguments.as_object() {
            Ok(args) => args,
            Err(wrapped) => {
                self.losses.meet(Feature::ToolArguments)?;
                wrapped
            }
        };
        let id = call.id.as_ref().filter(|_| self.rules.call_ids);
        let name = tool_name(&call.name, self.undo);
        out.object(|part| write_parts::call(part, id, &name, &args, signature));
        Ok(())
    }

    /// Results come first, in the order of the calls.
    fn user_turn(&mut self, turns: &[&'w Turn<'a>], out: &mut Array<'_>) -> Result<(), BadRequest> {
        let parts: Vec<&'w Part<'a>> = turns.iter().flat_map(|turn| &turn.parts).collect();
        let mut results = Vec::new();
        for part in &parts {
            if let Content::ToolResult(result) = &part.content {
                results.push((self.answered(result)?, result));
            }
        }
        results.sort_by_key(|((place, _), _)| *place);
        for ((_, name), result) in results {
            self.result(name, result, out)?;
        }
        for part in std::mem::take(&mut self.media) {
            self.result_part(part, out)?;
        }
        for part in parts {
            self.user_part(part, out)?;
        }
        Ok(())
    }

    /// Place and name of the call that a result answers.
    fn answered(&self, result: &'w ToolResult<'a>) -> Result<(usize, &'w Text<'a>), BadRequest> {
        let known = result.call_id.as_ref().and_then(|id| self.calls.get(id.escaped()).copied());
        let named =
            || result.name.as_ref().filter(|_| result.call_id.is_none()).map(|name| (usize::MAX, name));
        known.or_else(named).ok_or_else(|| {
            let id = result.call_id.as_ref().and_then(Text::decode).unwrap_or_default();
            BadRequest {
                field: "tool_result".to_owned(),
                problem: format!("answers no call of the assistant's message before it: `{id}`"),
            }
        })
    }

    fn result(
        &mut self,
        name: &Text<'_>,
        result: &'w ToolResult<'a>,
        out: &mut Array<'_>,
    ) -> Result<(), BadRequest> {
        let mut said = Text::default();
        let mut say = |text: &Text<'_>| {
            if !said.is_empty() {
                said.push(&Text::from_plain("\n"));
            }
            said.push(text);
        };
        let mut media = Vec::new();
        for part in &result.parts {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) => say(text),
                Content::SearchResult { title, source, text } => {
                    self.losses.meet(Feature::SearchResult)?;
                    say(&search_result(title, source, text));
                }
                Content::Document(document) => {
                    if let Some(context) = self.around(document)? {
                        say(context);
                    }
                    match &document.source {
                        Source::Text(text) => {
                            self.losses.meet(Feature::DocumentText)?;
                            say(&titled(document.title.as_ref(), text));
                        }
                        _ => media.push(part),
                    }
                }
                Content::Media(_) => media.push(part),
                Content::Unknown(name) => return Err(self.losses.refuse_part(name)),
                Content::Thinking { .. } | Content::ToolCall(_) | Content::ToolResult(_) => {
                    return Err(self.losses.refuse_part(&Text::from_plain("tool result content")));
                }
            }
        }
        if result.is_error {
            self.losses.meet(Feature::ToolResultError)?;
        }
        if !media.is_empty() && !self.rules.result_media {
            self.losses.change(Feature::ToolResultMedia)?;
            self.media.append(&mut media);
        }
        let name = tool_name(name, self.undo);
        let id = result.call_id.as_ref().filter(|_| self.rules.call_ids);
        out.object(|part| {
            part.object("functionResponse", |response| {
                if let Some(id) = id {
                    response.text("id", id);
                }
                response.text("name", &name);
                write_response(response, result, &said);
                if media.is_empty() {
                    return Ok(());
                }
                response.array("parts", |parts| {
                    media.into_iter().try_for_each(|part| self.result_part(part, parts))
                })
            })
        })
    }

    /// An image or document that a call brought; what was said around it has been written.
    fn result_part(&mut self, part: &Part<'_>, out: &mut Array<'_>) -> Result<(), BadRequest> {
        match &part.content {
            Content::Media(media) => self.media(media, false, out),
            Content::Document(document) => self.document(document, out),
            _ => Ok(()),
        }
    }

    fn user_part(&mut self, part: &Part<'_>, out: &mut Array<'_>) -> Result<(), BadRequest> {
        match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) => {
                if !text.is_empty() {
                    out.object(|part| part.text("text", text));
                }
            }
            Content::Media(media) => self.media(media, self.rules.part_resolution, out)?,
            Content::Document(document) => {
                if let Some(context) = self.around(document)? {
                    out.object(|part| part.text("text", context));
                }
                self.document(document, out)?;
            }
            Content::SearchResult { title, source, text } => {
                self.losses.meet(Feature::SearchResult)?;
                out.object(|part| part.text("text", &search_result(title, source, text)));
            }
            // Written before.
            Content::ToolResult(_) => {}
            Content::Unknown(name) => return Err(self.losses.refuse_part(name)),
            Content::Thinking { .. } | Content::ToolCall(_) => {
                return Err(self.losses.refuse_part(&Text::from_plain("user content")));
            }
        }
        Ok(())
    }

    /// `resolution`: how closely to look may be said here.
    fn media(&mut self, media: &Media<'_>, resolution: bool, out: &mut Array<'_>) -> Result<(), BadRequest> {
        let (bytes, url) = match media.kind {
            MediaKind::Image => (Feature::ImageBytes, Feature::ImageUrl),
            MediaKind::Audio => (Feature::Audio, Feature::Audio),
            MediaKind::Video => (Feature::Video, Feature::Video),
        };
        let (media_type, data) = match &media.source {
            Source::Base64 { media_type, data } => (media_type, data),
            Source::Url(_) => return Err(self.losses.refuse(url)),
            Source::File(_) => return Err(self.losses.refuse(Feature::FileId)),
            Source::Text(_) => return Err(self.losses.refuse(bytes)),
        };
        self.losses.meet(bytes)?;
        let level = match media.detail.as_ref().map_or("", Text::escaped) {
            "low" => Some("MEDIA_RESOLUTION_LOW"),
            "high" | "original" => Some("MEDIA_RESOLUTION_HIGH"),
            _ => None,
        };
        if level.is_some() && !resolution {
            self.losses.drop(Feature::ImageDetail)?;
        }
        out.object(|part| {
            write_parts::inline(part, media_type, data);
            if let Some(level) = level.filter(|_| resolution) {
                part.object("mediaResolution", |resolution| resolution.plain("level", level));
            }
        });
        Ok(())
    }

    /// What the client says about a document.
    fn around<'d>(&mut self, document: &'d Document<'_>) -> Result<Option<&'d Text<'d>>, BadRequest> {
        if document.citations {
            self.losses.meet(Feature::DocumentCitations)?;
        }
        if document.context.is_some() {
            self.losses.meet(Feature::DocumentContext)?;
        }
        Ok(document.context.as_ref())
    }

    fn document(&mut self, document: &Document<'_>, out: &mut Array<'_>) -> Result<(), BadRequest> {
        match &document.source {
            Source::Base64 { media_type, data } => {
                self.losses.meet(Feature::DocumentBytes)?;
                out.object(|part| write_parts::inline(part, media_type, data));
            }
            Source::Text(text) => {
                self.losses.meet(Feature::DocumentText)?;
                out.object(|part| part.text("text", &titled(document.title.as_ref(), text)));
            }
            Source::Url(_) => return Err(self.losses.refuse(Feature::DocumentUrl)),
            Source::File(_) => return Err(self.losses.refuse(Feature::FileId)),
        }
        Ok(())
    }
}

/// Writes `response`: what is an object as it is, anything else under a name.
fn write_response(response: &mut Object<'_>, result: &ToolResult<'_>, said: &Text<'_>) {
    let arguments = Arguments::Text(said.borrow());
    // Blank text counts as an object where it is a call's arguments, and as text here.
    let is_blank = said.decode().is_none_or(|said| said.trim().is_empty());
    let said_object = arguments.as_object().ok().filter(|_| !is_blank);
    match (&result.object, said_object) {
        (Some(object), _) => response.raw("response", object),
        (None, Some(object)) if !result.is_error => response.raw("response", &object),
        _ => {
            let name = if result.is_error { "error" } else { "output" };
            response.object("response", |object| object.text(name, said));
        }
    }
}

/// A text with its title as first line.
fn titled(title: Option<&Text<'_>>, text: &Text<'_>) -> Text<'static> {
    let mut whole = title.cloned().unwrap_or_default().into_owned();
    if !whole.is_empty() {
        whole.push(&Text::from_plain("\n"));
    }
    whole.push(text);
    whole
}

fn search_result(title: &Text<'_>, source: &Text<'_>, text: &Text<'_>) -> Text<'static> {
    titled(Some(title), &titled(Some(source), text))
}

/// Where the signatures of a turn stand.
///
/// One that came with its call or text may come back beside it: in a block of its own that names the call, or that
/// stands right behind it, as Anthropic's clients send it.
struct Signatures<'p, 'a> {
    vendor: Vendor,
    /// Those that stand on a call, by its place in the turn.
    on_calls: HashMap<usize, &'p Text<'a>>,
    /// Places of the blocks that they came in.
    placed: HashSet<usize>,
}

/// Where one of them is written.
enum Standing<'p, 'a> {
    OwnPart(&'p Text<'a>),
    /// In the part of a text or a call.
    Elsewhere,
    /// Nowhere: it is another vendor's, or there is none.
    Foreign,
}

impl<'p, 'a> Signatures<'p, 'a> {
    fn of(parts: &[&'p Part<'a>], vendor: Vendor) -> Self {
        let mut signatures = Self { vendor, on_calls: HashMap::new(), placed: HashSet::new() };
        let mut call_places = HashMap::new();
        for (at, part) in parts.iter().enumerate() {
            if let Content::ToolCall(ToolCall { id: Some(id), .. }) = &part.content {
                call_places.insert(id.escaped(), at);
            }
        }
        let unsigned = |at: usize| match parts.get(at).map(|part| &part.content) {
            Some(Content::ToolCall(call)) => call.proof.is_none(),
            _ => false,
        };
        for (at, part) in parts.iter().enumerate() {
            let Content::Thinking { text, proof: Some(proof), .. } = &part.content else { continue };
            if !signatures.takes(proof) || !text.is_empty() {
                continue;
            }
            let call = match &proof.item_id {
                Some(id) => call_places.get(id.escaped()).copied(),
                None => [at.wrapping_sub(1), at + 1]
                    .into_iter()
                    .find(|call| unsigned(*call) && !signatures.on_calls.contains_key(call)),
            };
            if let Some(call) = call {
                signatures.on_calls.insert(call, &proof.data);
                signatures.placed.insert(at);
            } else if at > 0 && signatures.on_text(parts, at - 1).is_some() {
                signatures.placed.insert(at);
            }
        }
        signatures
    }

    fn takes(&self, proof: &Proof<'_>) -> bool {
        proof.vendor == self.vendor && proof.vendor != Vendor::Other
    }

    /// The signature of the text at `at`: what follows says so.
    fn on_text(&self, parts: &[&'p Part<'a>], at: usize) -> Option<&'p Text<'a>> {
        let Content::Text { text: said, .. } = &parts.get(at)?.content else { return None };
        match &parts.get(at + 1)?.content {
            Content::Thinking { text, proof: Some(proof), .. }
                if text.is_empty() && !said.is_empty() && self.takes(proof) =>
            {
                let on_text = proof.item_id.as_ref().is_some_and(|id| id.escaped() == ON_TEXT);
                on_text.then_some(&proof.data)
            }
            _ => None,
        }
    }

    fn on_call(&self, call: &'p ToolCall<'a>, at: usize) -> Option<&'p Text<'a>> {
        let own = call.proof.as_ref().filter(|proof| self.takes(proof)).map(|proof| &proof.data);
        own.or_else(|| self.on_calls.get(&at).copied())
    }

    fn standing(&self, at: usize, proof: Option<&'p Proof<'a>>) -> Standing<'p, 'a> {
        match proof.filter(|proof| self.takes(proof)) {
            None => Standing::Foreign,
            Some(_) if self.placed.contains(&at) => Standing::Elsewhere,
            Some(proof) => Standing::OwnPart(&proof.data),
        }
    }
}
