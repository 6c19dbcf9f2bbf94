//! `contents` and `systemInstruction`, into the shared form. Rules: the project's dialect mapping, sections 3, 4, 5.4
//! and 6.2.

use base64::Engine as _;

use super::call_ids::Calls;
use super::fields::{each, is_empty_list, is_true, note, object};
use super::read_config::detail;
use super::signature::{self, ON_TEXT};
use crate::dialect::ir::{
    Arguments, CallKind, Content, Document, Media, MediaKind, Part, Raw, Role, Source, Text, ToolCall,
    ToolResult, Turn, Vendor,
};
use crate::dialect::loss::BadRequest;
use crate::dialect::media::base64_source;
use crate::dialect::members::{Path, raw_object, text};
use crate::dialect::proof::ProofKey;
use crate::json::token::{Kind, Value};

/// The texts of a system instruction.
pub(super) fn read_system<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Vec<Part<'a>>, BadRequest> {
    let mut blocks = Vec::new();
    let [parts, _] = object(value, path, ["parts", "role"], |_, _| Ok(()))?;
    if let Some(parts) = parts {
        each(&parts, &Path::Member(path, "parts"), |part, path| {
            let [words] = object(&part, path, ["text"], |name, _| {
                Err(path.bad(format!("must be a text, found `{}`", name.escaped())))
            })?;
            let words = words.map(|words| text(&words, &Path::Member(path, "text"))).transpose()?;
            blocks.extend(
                words
                    .filter(|words| !words.is_empty())
                    .map(|words| Part::from(Content::Text { text: words, citations: Vec::new() })),
            );
            Ok(())
        })?;
    }
    Ok(blocks)
}

/// The turns of a conversation in the making.
pub(super) struct Turns<'a, 'k> {
    proofs: &'k ProofKey,
    /// How closely to look at images that do not say so themselves.
    detail: Option<&'static str>,
    turns: Vec<Turn<'a>>,
    /// There was a part, maybe without text.
    has_parts: bool,
    /// Whether the last part may be joined with the next: a text that was streamed is one text.
    joinable: bool,
    /// Calls of the last turn of the model without their results.
    calls: Calls<'a>,
    /// Calls so far, to name those without an id: the same in each request of a conversation.
    call_count: usize,
    /// Members that no other dialect has.
    unknown: Vec<Text<'a>>,
}

/// The members of a part that go with its content.
struct Extras<'a> {
    thought: bool,
    signature: Option<Text<'a>>,
    detail: Option<&'static str>,
}

impl<'a, 'k> Turns<'a, 'k> {
    pub(super) fn new(proofs: &'k ProofKey, detail: Option<&'static str>) -> Self {
        Self {
            proofs,
            detail,
            turns: Vec::new(),
            has_parts: false,
            joinable: false,
            calls: Calls::default(),
            call_count: 0,
            unknown: Vec::new(),
        }
    }

    /// Reads one content; neighbours of one role are one turn.
    pub(super) fn push(&mut self, content: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let [role, parts] = object(content, path, ["role", "parts"], note(&mut self.unknown))?;
        let role_path = Path::Member(path, "role");
        let role = match role.map(|role| text(&role, &role_path)).transpose()? {
            None => Role::User,
            Some(role) => match role.escaped() {
                "user" | "" => Role::User,
                "model" => Role::Assistant,
                _ => return Err(role_path.bad("must be `user` or `model`")),
            },
        };
        let Some(parts) = parts.filter(|parts| !is_empty_list(parts)) else { return Ok(()) };
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn { role, name: None, parts: Vec::new() });
            self.joinable = false;
            if role == Role::Assistant {
                self.calls = Calls::default();
            }
        }
        each(&parts, &Path::Member(path, "parts"), |part, path| self.part(&part, role, path))
    }

    /// The turns, results first in each. A conversation of nothing but an empty text is one: the model then has its
    /// instructions alone to go by.
    pub(super) fn finish(mut self, unknown: &mut Vec<Text<'a>>) -> Vec<Turn<'a>> {
        unknown.append(&mut self.unknown);
        self.turns.retain(|turn| !turn.parts.is_empty());
        if self.turns.is_empty() && self.has_parts {
            let empty = Content::Text { text: Text::default(), citations: Vec::new() };
            self.turns.push(Turn { role: Role::User, name: None, parts: vec![empty.into()] });
        }
        for turn in &mut self.turns {
            turn.parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
        }
        self.turns
    }

    fn part(&mut self, part: &Value<'a>, role: Role, path: &Path<'_>) -> Result<(), BadRequest> {
        const NAMES: [&str; 10] = [
            "text",
            "inlineData",
            "fileData",
            "functionCall",
            "functionResponse",
            "thought",
            "thoughtSignature",
            "mediaResolution",
            "videoMetadata",
            "partMetadata",
        ];
        self.has_parts = true;
        let mut other = None;
        let [said, inline, file, call, response, thought, signature, resolution, video, metadata] =
            object(part, path, NAMES, |name, _| {
                other = Some(name);
                Ok(())
            })?;
        for (member, name) in [(&video, "videoMetadata"), (&metadata, "partMetadata")] {
            if member.is_some() {
                self.unknown.push(Text::from_plain(name));
            }
        }
        let signature_path = Path::Member(path, "thoughtSignature");
        let extras = Extras {
            thought: is_true(thought.as_ref()) && role == Role::Assistant,
            signature: signature.map(|value| text(&value, &signature_path)).transpose()?,
            detail: self.resolution(resolution, &Path::Member(path, "mediaResolution"))?,
        };
        if let Some(call) = call {
            return self.call(&call, role, extras, &Path::Member(path, "functionCall"));
        }
        if let Some(response) = response {
            return self.result(&response, &Path::Member(path, "functionResponse"));
        }
        if let Some(inline) = inline {
            let content =
                inline_data(&inline, extras.detail, &Path::Member(path, "inlineData"), &mut self.unknown)?;
            return self.add(content);
        }
        if let Some(file) = file {
            let content =
                file_data(&file, extras.detail, &Path::Member(path, "fileData"), &mut self.unknown)?;
            return self.add(content);
        }
        match (said, other) {
            (Some(said), other) => {
                self.unknown.extend(other);
                let said = text(&said, &Path::Member(path, "text"))?;
                self.text(said, role, extras);
                Ok(())
            }
            (None, Some(name)) => self.add(Content::Unknown(name)),
            (None, None) if extras.signature.is_some() => {
                self.text(Text::default(), role, extras);
                Ok(())
            }
            (None, None) => Err(path.bad("has no content")),
        }
    }

    fn resolution(
        &self,
        value: Option<Value<'a>>,
        path: &Path<'_>,
    ) -> Result<Option<&'static str>, BadRequest> {
        let Some(value) = value else { return Ok(self.detail) };
        if value.kind == Kind::String {
            return Ok(detail(&text(&value, path)?));
        }
        let [level] = object(&value, path, ["level"], |_, _| Ok(()))?;
        let level = level.map(|level| text(&level, &Path::Member(path, "level"))).transpose()?;
        Ok(level.and_then(|level| detail(&level)))
    }

    fn add(&mut self, content: Content<'a>) -> Result<(), BadRequest> {
        self.joinable = false;
        if let Some(turn) = self.turns.last_mut() {
            turn.parts.push(content.into());
        }
        Ok(())
    }

    fn text(&mut self, said: Text<'a>, role: Role, extras: Extras<'a>) {
        let says_something = !said.is_empty();
        let signed = extras.signature.is_some();
        let mut proof = extras.signature.and_then(|sent| signature::read(sent, self.proofs));
        let joinable = self.joinable && role == Role::Assistant;
        let Some(parts) = self.turns.last_mut().map(|turn| &mut turn.parts) else { return };
        match (parts.last_mut().map(|part| &mut part.content), extras.thought) {
            (Some(Content::Text { text: last, .. }), false) if joinable => last.push(&said),
            (Some(Content::Thinking { text: last, proof: kept, redacted: false }), true) if joinable => {
                last.push(&said);
                *kept = proof.take();
            }
            (_, true) if says_something || proof.is_some() => {
                parts.push(Content::Thinking { text: said, proof: proof.take(), redacted: false }.into());
            }
            (_, false) if says_something => {
                parts.push(Content::Text { text: said, citations: Vec::new() }.into());
            }
            _ if signed => {}
            // Nothing said: what comes before and behind may still be one text.
            _ => return,
        }
        self.joinable = !signed;
        if let Some(mut proof) = proof {
            if says_something && proof.vendor == Vendor::Google {
                proof.item_id = Some(Text::from_plain(ON_TEXT));
            }
            let thinking = Content::Thinking { text: Text::default(), proof: Some(proof), redacted: true };
            parts.push(thinking.into());
        }
    }

    fn call(
        &mut self,
        value: &Value<'a>,
        role: Role,
        extras: Extras<'a>,
        path: &Path<'_>,
    ) -> Result<(), BadRequest> {
        if role != Role::Assistant {
            return Err(path.bad("must be in a content of role `model`"));
        }
        let [id, name, args] = object(value, path, ["id", "name", "args"], note(&mut self.unknown))?;
        let name_path = Path::Member(path, "name");
        let name = text(&name.ok_or_else(|| name_path.bad("is required"))?, &name_path)?;
        let id = match id {
            Some(id) => text(&id, &Path::Member(path, "id"))?,
            None => Text::from(format!("call_{}", self.call_count)),
        };
        self.call_count += 1;
        let args = match args {
            Some(args) => raw_object(&args, &Path::Member(path, "args"))?,
            None => Raw::from_written("{}".to_owned()),
        };
        let proof = extras.signature.and_then(|sent| signature::read(sent, self.proofs));
        self.calls.push(id.clone(), name.clone());
        let (arguments, kind) = (Arguments::Object(args), CallKind::Function);
        self.add(Content::ToolCall(ToolCall { id: Some(id), name, arguments, kind, proof }))
    }

    fn result(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        const NAMES: [&str; 6] = ["id", "name", "response", "parts", "willContinue", "scheduling"];
        let [id, name, response, media, ..] = object(value, path, NAMES, note(&mut self.unknown))?;
        let name_path = Path::Member(path, "name");
        let name = name.map(|name| text(&name, &name_path)).transpose()?;
        let id = id.map(|id| text(&id, &Path::Member(path, "id"))).transpose()?;
        let (call_id, name) = self
            .calls
            .answer(id.as_ref(), name.as_ref())
            .ok_or_else(|| path.bad("answers no call of the model's turn before it"))?;
        let mut result = ToolResult {
            call_id: Some(call_id),
            name: Some(name),
            parts: Vec::new(),
            object: None,
            is_error: false,
            kind: CallKind::Function,
        };
        if let Some(response) = response {
            read_response(&response, &Path::Member(path, "response"), &mut result)?;
        }
        let unknown = &mut self.unknown;
        if let Some(media) = media {
            each(&media, &Path::Member(path, "parts"), |part, path| {
                let [inline, file] = object(&part, path, ["inlineData", "fileData"], note(unknown))?;
                let content = match (inline, file) {
                    (Some(inline), _) => {
                        inline_data(&inline, None, &Path::Member(path, "inlineData"), unknown)?
                    }
                    (None, Some(file)) => file_data(&file, None, &Path::Member(path, "fileData"), unknown)?,
                    (None, None) => return Err(path.bad("has no content")),
                };
                result.parts.push(content.into());
                Ok(())
            })?;
        }
        self.add(Content::ToolResult(result))
    }
}

/// What a call brought: one text under `output` or `error`, or the object as a whole.
fn read_response<'a>(
    response: &Value<'a>,
    path: &Path<'_>,
    result: &mut ToolResult<'a>,
) -> Result<(), BadRequest> {
    let whole = raw_object(response, path)?;
    let mut others = 0;
    let [output, error] = object(response, path, ["output", "error"], |_, _| {
        others += 1;
        Ok(())
    })?;
    result.is_error = error.is_some();
    let said = match (output, error) {
        (None, None) if others == 0 => return Ok(()),
        (Some(said), None) | (None, Some(said)) if others == 0 && said.kind == Kind::String => said,
        _ => {
            result.object = Some(whole);
            return Ok(());
        }
    };
    let said = text(&said, path)?;
    if !said.is_empty() {
        result.parts.push(Content::Text { text: said, citations: Vec::new() }.into());
    }
    Ok(())
}

fn inline_data<'a>(
    value: &Value<'a>,
    detail: Option<&'static str>,
    path: &Path<'_>,
    unknown: &mut Vec<Text<'a>>,
) -> Result<Content<'a>, BadRequest> {
    let [media_type, data, title] = object(value, path, ["mimeType", "data", "displayName"], note(unknown))?;
    let data_path = Path::Member(path, "data");
    let data = text(&data.ok_or_else(|| data_path.bad("is required"))?, &data_path)?;
    let media_type = media_type.map(|name| text(&name, &Path::Member(path, "mimeType"))).transpose()?;
    let title = title.map(|title| text(&title, &Path::Member(path, "displayName"))).transpose()?;
    let source = base64_source(media_type, standard_digits(data)).map_err(|problem| path.bad(problem))?;
    let Source::Base64 { media_type, data } = source else { return Err(path.bad("has no data")) };
    Ok(match Kinds::of(media_type.escaped()) {
        Kinds::Media(kind) => {
            let source = Source::Base64 { media_type, data };
            let detail = detail.filter(|_| kind == MediaKind::Image).map(Text::from_plain);
            Content::Media(Media { kind, source, detail })
        }
        Kinds::Text => document(plain_text(&data).unwrap_or(Source::Base64 { media_type, data }), title),
        Kinds::Other => document(Source::Base64 { media_type, data }, title),
    })
}

fn file_data<'a>(
    value: &Value<'a>,
    detail: Option<&'static str>,
    path: &Path<'_>,
    unknown: &mut Vec<Text<'a>>,
) -> Result<Content<'a>, BadRequest> {
    let [media_type, uri, title] =
        object(value, path, ["mimeType", "fileUri", "displayName"], note(unknown))?;
    let uri_path = Path::Member(path, "fileUri");
    let uri = text(&uri.ok_or_else(|| uri_path.bad("is required"))?, &uri_path)?;
    let media_type = media_type.map(|name| text(&name, &Path::Member(path, "mimeType"))).transpose()?;
    let title = title.map(|title| text(&title, &Path::Member(path, "displayName"))).transpose()?;
    let kind = Kinds::of(media_type.as_ref().map_or("", Text::escaped));
    let source = if is_public(&uri) { Source::Url(uri) } else { Source::File(uri) };
    Ok(match kind {
        Kinds::Media(kind) => {
            let detail = detail.filter(|_| kind == MediaKind::Image).map(Text::from_plain);
            Content::Media(Media { kind, source, detail })
        }
        Kinds::Text | Kinds::Other => document(source, title),
    })
}

/// Whether a URI is one that others than Google can read.
fn is_public(uri: &Text<'_>) -> bool {
    let uri = uri.decode().unwrap_or_default();
    let host = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"));
    host.is_some_and(|host| !host.starts_with("generativelanguage.googleapis.com/"))
}

fn document<'a>(source: Source<'a>, title: Option<Text<'a>>) -> Content<'a> {
    Content::Document(Document { source, title, context: None, citations: false })
}

/// What a media type is of.
enum Kinds {
    Media(MediaKind),
    Text,
    Other,
}

impl Kinds {
    fn of(media_type: &str) -> Self {
        match media_type.split(['/', ';']).next().unwrap_or_default() {
            "image" => Self::Media(MediaKind::Image),
            "audio" => Self::Media(MediaKind::Audio),
            "video" => Self::Media(MediaKind::Video),
            "text" => Self::Text,
            _ => match media_type {
                "application/json" | "application/xml" | "application/x-javascript" => Self::Text,
                _ => Self::Other,
            },
        }
    }
}

/// Base64 in the standard alphabet. Google takes the other one as well.
fn standard_digits(data: Text<'_>) -> Text<'_> {
    if memchr::memchr3(b'-', b'_', b'\\', data.escaped().as_bytes()).is_none() {
        return data;
    }
    let decoded = data.decode().unwrap_or_default();
    Text::from(decoded.replace('-', "+").replace('_', "/"))
}

/// The text behind base64 digits, if they are UTF-8.
fn plain_text(data: &Text<'_>) -> Option<Source<'static>> {
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let bytes = STANDARD_NO_PAD.decode(data.escaped().trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok().map(|text| Source::Text(Text::from(text)))
}
