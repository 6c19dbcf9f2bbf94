//! The conversation of a request: a text, or items.

use std::collections::HashMap;

use super::read_request::{note_unknown, set};
use super::write_output::Holder;
use crate::dialect::ProofKey;
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Media, MediaKind, Part, Proof, Request, Role, Source,
    Text, ToolCall, ToolResult, Turn, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::media;
use crate::dialect::members::{self, Path};
use crate::dialect::proof;
use crate::json::scan;
use crate::json::token::{Kind, Value};

/// The conversation in the making. Items of the assistant that follow one another are one turn, as are results of calls.
#[derive(Debug)]
pub(super) struct Conversation<'a, 'r> {
    request: &'r mut Request<'a>,
    proofs: &'r ProofKey,
    /// Proofs that belong to calls, by the call's id.
    call_proofs: HashMap<String, Proof<'a>>,
}

/// The members of an item that mean something in one kind of item or another.
struct Item<'a> {
    role: Option<Value<'a>>,
    content: Option<Value<'a>>,
    id: Option<Value<'a>>,
    call_id: Option<Value<'a>>,
    name: Option<Value<'a>>,
    arguments: Option<Value<'a>>,
    input: Option<Value<'a>>,
    output: Option<Value<'a>>,
    summary: Option<Value<'a>>,
    encrypted: Option<Value<'a>>,
}

/// Reads `input`.
///
/// # Errors
/// It is neither a text nor a list of items, or one of them is not in order.
pub(super) fn read_input<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    conversation: &mut Conversation<'a, '_>,
) -> Result<(), BadRequest> {
    match value.kind {
        Kind::String => {
            let part = text_part(members::text(value, path)?);
            conversation.turn(Role::User, vec![part]);
            Ok(())
        }
        Kind::Array => members::array(value, path, |item, path| conversation.item(&item, path)),
        _ => Err(path.bad(format!("must be a string or an array, found {}", value.kind.as_str()))),
    }
}

fn text_part(text: Text<'_>) -> Part<'_> {
    Content::Text { text, citations: Vec::new() }.into()
}

impl<'a, 'r> Conversation<'a, 'r> {
    /// A conversation at its start.
    pub(super) fn new(request: &'r mut Request<'a>, proofs: &'r ProofKey) -> Self {
        Self { request, proofs, call_proofs: HashMap::new() }
    }

    /// All items have been read.
    pub(super) fn end(self) {
        if self.call_proofs.is_empty() {
            return;
        }
        let mut proofs = self.call_proofs;
        for part in self.request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
            if let Content::ToolCall(call) = &mut part.content
                && let Some(id) = &call.id
            {
                call.proof = proofs.remove(id.escaped());
            }
        }
    }

    fn item(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        const NAMES: [&str; 16] = [
            "type",
            "role",
            "content",
            "id",
            "call_id",
            "name",
            "arguments",
            "input",
            "output",
            "summary",
            "encrypted_content",
            // What only this dialect has, and what says nothing to a model.
            "status",
            "phase",
            "namespace",
            "created_by",
            // Read where it is said.
            "result",
        ];
        let mut unknown = Vec::new();
        let found = members::object(value, path, NAMES, |name, _| {
            note_unknown(&mut unknown, name);
            Ok(())
        })?;
        let [kind, role, content, id, call_id, name, arguments, input, output, summary, encrypted, ..] =
            found;
        let kind = members::optional(kind, path, "type", members::text)?;
        let word = match &kind {
            Some(kind) => kind.escaped(),
            None if role.is_some() => "message",
            None if id.is_some() => "item_reference",
            None => return Err(Path::Member(path, "type").bad("is required")),
        };
        let item = Item { role, content, id, call_id, name, arguments, input, output, summary, encrypted };
        match word {
            "message" => self.message(item, path)?,
            "reasoning" => self.reasoning(item, path)?,
            "function_call" => self.call(item, CallKind::Function, path)?,
            "custom_tool_call" => self.call(item, CallKind::Custom, path)?,
            "function_call_output" => self.result(item, CallKind::Function, path)?,
            "custom_tool_call_output" => self.result(item, CallKind::Custom, path)?,
            "item_reference" => {
                let id_path = Path::Member(path, "id");
                let id = item.id.ok_or_else(|| id_path.bad("is required"))?;
                members::text(&id, &id_path)?;
                set(self.request, Feature::ItemReference, members::raw(&id, &id_path)?);
            }
            "image_generation_call" => self.image(value, path)?,
            // The search's results are in the text that follows.
            "web_search_call" => {
                note_unknown(&mut self.request.unknown, Text::from_plain("web_search_call"));
                return Ok(());
            }
            _ => {
                let name = kind.unwrap_or_default();
                self.assistant().push(Content::Unknown(name).into());
                return Ok(());
            }
        }
        for name in unknown {
            note_unknown(&mut self.request.unknown, name);
        }
        Ok(())
    }

    fn message(&mut self, item: Item<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let role_path = Path::Member(path, "role");
        let role = match members::required(item.role, path, "role", members::text)?.escaped() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" | "developer" => Role::System,
            _ => return Err(role_path.bad("must be user, assistant, system or developer")),
        };
        let content_path = Path::Member(path, "content");
        let content = item.content.ok_or_else(|| content_path.bad("is required"))?;
        let parts = self.parts(&content, &content_path)?;
        if parts.is_empty() {
            return Ok(());
        }
        match role {
            Role::System if self.request.turns.is_empty() => self.request.system.extend(parts),
            Role::Assistant => self.assistant().extend(parts),
            Role::System | Role::User => self.turn(role, parts),
        }
        Ok(())
    }

    fn turn(&mut self, role: Role, parts: Vec<Part<'a>>) {
        self.request.turns.push(Turn { role, name: None, parts });
    }

    /// The parts of the assistant's turn that comes last.
    fn assistant(&mut self) -> &mut Vec<Part<'a>> {
        self.last_turn(Role::Assistant, |_| true)
    }

    /// The parts of the turn that comes last, if it has this role and `fits`; else those of a new one.
    fn last_turn(&mut self, role: Role, fits: fn(&Part<'_>) -> bool) -> &mut Vec<Part<'a>> {
        let turns = &mut self.request.turns;
        let fits = turns.last().is_some_and(|turn| turn.role == role && turn.parts.last().is_none_or(fits));
        if !fits {
            turns.push(Turn { role, name: None, parts: Vec::new() });
        }
        let last = turns.len() - 1;
        &mut turns[last].parts
    }

    /// A picture that the model has made.
    fn image(&mut self, item: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let result = scan::member(item.raw, "result");
        let path = Path::Member(path, "result");
        let data = members::text(&result.ok_or_else(|| path.bad("is required"))?, &path)?;
        let source = media::base64_source(None, data).map_err(|problem| path.bad(problem))?;
        let media = Media { kind: MediaKind::Image, source, detail: None };
        self.assistant().push(Content::Media(media).into());
        Ok(())
    }

    fn call(&mut self, item: Item<'a>, kind: CallKind, path: &Path<'_>) -> Result<(), BadRequest> {
        let (name, input) = match kind {
            CallKind::Function => ("arguments", item.arguments),
            CallKind::Custom => ("input", item.input),
        };
        let call = ToolCall {
            id: Some(members::required(item.call_id, path, "call_id", members::text)?),
            name: members::required(item.name, path, "name", members::text)?,
            arguments: Arguments::Text(members::required(input, path, name, members::text)?),
            kind,
            proof: None,
        };
        self.assistant().push(Content::ToolCall(call).into());
        Ok(())
    }

    fn result(&mut self, item: Item<'a>, kind: CallKind, path: &Path<'_>) -> Result<(), BadRequest> {
        let call_id = members::required(item.call_id, path, "call_id", members::text)?;
        let output_path = Path::Member(path, "output");
        let output = item.output.ok_or_else(|| output_path.bad("is required"))?;
        let parts = self.parts(&output, &output_path)?;
        let result =
            ToolResult { call_id: Some(call_id), name: None, parts, object: None, is_error: false, kind };
        let is_result = |part: &Part<'_>| matches!(part.content, Content::ToolResult(_));
        self.last_turn(Role::User, is_result).push(Content::ToolResult(result).into());
        Ok(())
    }

    fn reasoning(&mut self, item: Item<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let mut text = Text::default();
        for (list, name) in [(item.summary, "summary"), (item.content, "content")] {
            let Some(list) = list.filter(|_| text.is_empty()) else { continue };
            members::array(&list, &Path::Member(path, name), |part, path| {
                let [_, more] = members::object(&part, path, ["type", "text"], |_, _| Ok(()))?;
                let more = members::required(more, path, "text", members::text)?;
                if !text.is_empty() && !more.is_empty() {
                    text.push(&Text::from_plain("\n\n"));
                }
                text.push(&more);
                Ok(())
            })?;
        }
        let id = members::optional(item.id, path, "id", members::text)?;
        let encrypted = members::optional(item.encrypted, path, "encrypted_content", members::text)?;
        // A broken envelope proves nothing.
        let proof = encrypted.and_then(|sent| proof::open(sent, Vendor::OpenAi, self.proofs));
        let (proof, redacted) = match proof {
            Some(mut proof) => match Holder::take(&mut proof) {
                Holder::Call(call_id) => {
                    self.call_proofs.insert(call_id.escaped().to_owned(), proof);
                    return Ok(());
                }
                holder => {
                    if proof.vendor == Vendor::OpenAi && proof.item_id.is_none() {
                        proof.item_id = id;
                    }
                    (Some(proof), holder == Holder::Redacted)
                }
            },
            None => (None, false),
        };
        if !text.is_empty() || proof.is_some() {
            self.assistant().push(Content::Thinking { text, proof, redacted }.into());
        }
        Ok(())
    }

    /// The content of a message, or the output of a call: a text, or parts.
    fn parts(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Vec<Part<'a>>, BadRequest> {
        let mut parts = Vec::new();
        match value.kind {
            Kind::String => {
                let text = members::text(value, path)?;
                if !text.is_empty() {
                    parts.push(text_part(text));
                }
            }
            Kind::Array => members::array(value, path, |part, path| {
                parts.push(self.part(&part, path)?);
                Ok(())
            })?,
            _ => {
                return Err(path.bad(format!("must be a string or an array, found {}", value.kind.as_str())));
            }
        }
        Ok(parts)
    }

    fn part(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Part<'a>, BadRequest> {
        const NAMES: [&str; 13] = [
            "type",
            "text",
            "refusal",
            "image_url",
            "file_id",
            "detail",
            "filename",
            "file_data",
            "file_url",
            "input_audio",
            "prompt_cache_breakpoint",
            // Of a text that the model has written: nothing goes back to it.
            "annotations",
            "logprobs",
        ];
        let mut unknown = Vec::new();
        let found = members::object(value, path, NAMES, |name, _| {
            note_unknown(&mut unknown, name);
            Ok(())
        })?;
        let [kind, text, refusal, image_url, file_id, detail, filename, file_data, file_url, audio, mark, ..] =
            found;
        let kind = members::required(kind, path, "type", members::text)?;
        let content = match kind.escaped() {
            "input_text" | "output_text" | "text" => Content::Text {
                text: members::required(text, path, "text", members::text)?,
                citations: Vec::new(),
            },
            "refusal" => Content::Refusal(members::required(refusal, path, "refusal", members::text)?),
            "input_image" => Content::Media(Media {
                kind: MediaKind::Image,
                source: match members::optional(file_id, path, "file_id", members::text)? {
                    Some(file) => Source::File(file),
                    None => {
                        let url = members::required(image_url, path, "image_url", members::text)?;
                        let path = Path::Member(path, "image_url");
                        media::source_of_url(url).map_err(|problem| path.bad(problem))?
                    }
                },
                detail: members::optional(detail, path, "detail", members::text)?,
            }),
            "input_file" => Content::Document(Document {
                source: match (
                    members::optional(file_id, path, "file_id", members::text)?,
                    members::optional(file_url, path, "file_url", members::text)?,
                ) {
                    (Some(file), _) => Source::File(file),
                    (None, Some(url)) => Source::Url(url),
                    (None, None) => {
                        let data = members::required(file_data, path, "file_data", members::text)?;
                        let path = Path::Member(path, "file_data");
                        file_source(data).map_err(|problem| path.bad(problem))?
                    }
                },
                title: members::optional(filename, path, "filename", members::text)?,
                context: None,
                citations: false,
            }),
            "input_audio" => {
                let path = Path::Member(path, "input_audio");
                let audio = audio.ok_or_else(|| path.bad("is required"))?;
                read_audio(&audio, &path)?
            }
            _ => return Ok(Content::Unknown(kind).into()),
        };
        for name in unknown {
            note_unknown(&mut self.request.unknown, name);
        }
        let cache = match mark {
            Some(mark) => Some(read_mark(&mark, &Path::Member(path, "prompt_cache_breakpoint"))?),
            None => None,
        };
        Ok(Part { content, cache })
    }
}

/// A file's bytes, as a data URI or as bare base64.
fn file_source(data: Text<'_>) -> Result<Source<'_>, &'static str> {
    if data.escaped().starts_with("data:") {
        media::source_of_url(data)
    } else {
        media::base64_source(None, data)
    }
}

fn read_audio<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Content<'a>, BadRequest> {
    let [data, format] = members::object(value, path, ["data", "format"], |_, _| Ok(()))?;
    let data = members::required(data, path, "data", members::text)?;
    let media_type = match members::required(format, path, "format", members::text)?.escaped() {
        "mp3" => Text::from_plain("audio/mpeg"),
        format => Text::from(format!("audio/{format}")),
    };
    let source = Source::Base64 { media_type, data };
    Ok(Content::Media(Media { kind: MediaKind::Audio, source, detail: None }))
}

fn read_mark(value: &Value<'_>, path: &Path<'_>) -> Result<CacheMark, BadRequest> {
    let [_, ttl] = members::object(value, path, ["mode", "ttl"], |_, _| Ok(()))?;
    let ttl = members::optional(ttl, path, "ttl", members::text)?;
    match ttl.as_ref().map(Text::escaped) {
        None => Ok(CacheMark::Default),
        Some("30m") => Ok(CacheMark::HalfAnHour),
        Some("12h") => Ok(CacheMark::TwelveHours),
        Some(_) => Err(Path::Member(path, "ttl").bad("must be 30m or 12h")),
    }
}
