//! The conversation of a client's request into the shared form. Rules: the project's dialect mapping, sections 3 to 6.

use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Media, MediaKind, Part, Proof, Role, Source, Text,
    ToolCall, ToolResult, Turn, Vendor,
};
use crate::dialect::loss::BadRequest;
use crate::dialect::media;
use crate::dialect::members::{self, Path};
use crate::dialect::proof::{self, ProofKey};
use crate::json::token::{Kind, Value};
use crate::limits::DROPPED_NAMES_MAX;

/// Reads turns, and keeps the names of members that it does not know.
pub(super) struct TurnReader<'k, 'a> {
    proofs: &'k ProofKey,
    unknown: Vec<Text<'a>>,
}

impl<'k, 'a> TurnReader<'k, 'a> {
    pub(super) fn new(proofs: &'k ProofKey) -> Self {
        Self { proofs, unknown: Vec::new() }
    }

    pub(super) fn into_unknown(self) -> Vec<Text<'a>> {
        self.unknown
    }

    /// Keeps a name to be reported as dropped.
    pub(super) fn note(&mut self, name: Text<'a>) {
        if self.unknown.len() < DROPPED_NAMES_MAX && !self.unknown.contains(&name) {
            self.unknown.push(name);
        }
    }

    /// The members `names` of an object; others are noted.
    pub(super) fn object<const N: usize>(
        &mut self,
        value: &Value<'a>,
        path: &Path<'_>,
        names: [&str; N],
    ) -> Result<[Option<Value<'a>>; N], BadRequest> {
        members::object(value, path, names, |name, _| {
            self.note(name);
            Ok(())
        })
    }

    pub(super) fn cache_mark(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<CacheMark, BadRequest> {
        let [_, ttl] = self.object(value, path, ["type", "ttl"])?;
        let ttl = members::optional(ttl, path, "ttl", members::text)?;
        match ttl.as_ref().map(Text::escaped) {
            None => Ok(CacheMark::Default),
            Some("5m") => Ok(CacheMark::FiveMinutes),
            Some("1h") => Ok(CacheMark::OneHour),
            Some(_) => Err(Path::Member(path, "ttl").bad("must be \"5m\" or \"1h\"")),
        }
    }

    /// The `cache_control` of the object at `path`.
    pub(super) fn optional_mark(
        &mut self,
        value: Option<Value<'a>>,
        path: &Path<'_>,
    ) -> Result<Option<CacheMark>, BadRequest> {
        members::optional(value, path, "cache_control", |value, path| self.cache_mark(value, path))
    }

    /// Instructions: a string, or text blocks.
    pub(super) fn system(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Vec<Part<'a>>, BadRequest> {
        if value.kind == Kind::String {
            return Ok(vec![text_part(members::text(value, path)?)]);
        }
        let mut parts = Vec::new();
        members::array(value, path, |block, path| {
            let part = self.block(&block, path)?;
            match part {
                Some(part @ Part { content: Content::Text { .. }, .. }) => parts.push(part),
                _ => return Err(Path::Member(path, "type").bad("must be \"text\"")),
            }
            Ok(())
        })?;
        Ok(parts)
    }

    /// The messages.
    pub(super) fn turns(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Vec<Turn<'a>>, BadRequest> {
        let mut turns = Vec::new();
        members::array(value, path, |message, path| {
            turns.push(self.turn(&message, path)?);
            Ok(())
        })?;
        if turns.is_empty() {
            return Err(path.bad("must have at least one message"));
        }
        Ok(turns)
    }

    fn turn(&mut self, message: &Value<'a>, path: &Path<'_>) -> Result<Turn<'a>, BadRequest> {
        let [role, content] = self.object(message, path, ["role", "content"])?;
        let role = members::required(role, path, "role", members::text)?;
        let role = match role.escaped() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(Path::Member(path, "role").bad("must be \"user\", \"assistant\" or \"system\"")),
        };
        let mut parts =
            members::required(content, path, "content", |value, path| self.content(value, path, role))?;
        if role == Role::User {
            // Stable: results keep their order, and so does the rest.
            parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
        }
        Ok(Turn { role, name: None, parts })
    }

    fn content(
        &mut self,
        value: &Value<'a>,
        path: &Path<'_>,
        role: Role,
    ) -> Result<Vec<Part<'a>>, BadRequest> {
        if value.kind == Kind::String {
            return Ok(vec![text_part(members::text(value, path)?)]);
        }
        let mut parts: Vec<Part<'a>> = Vec::new();
        members::array(value, path, |block, path| {
            let Some(part) = self.block(&block, path)? else { return Ok(()) };
            let is_out_of_place = match &part.content {
                Content::ToolCall(_) | Content::Thinking { .. } => role != Role::Assistant,
                Content::ToolResult(_) => role != Role::User,
                _ => false,
            };
            if is_out_of_place {
                return Err(Path::Member(path, "type").bad("is not allowed in a message of this role"));
            }
            match (parts.last_mut().map(|last| &mut last.content), part.content) {
                // What a call had no place for followed it in a block of its own.
                (
                    Some(Content::ToolCall(call @ ToolCall { proof: None, .. })),
                    Content::Thinking { redacted: true, proof: Some(proof), .. },
                ) if is_of_call(&proof, call) => call.proof = Some(proof),
                (_, content) => parts.push(Part { content, cache: part.cache }),
            }
            Ok(())
        })?;
        Ok(parts)
    }

    /// One block of content; `None`: one of web search, which is left out.
    fn block(&mut self, block: &Value<'a>, path: &Path<'_>) -> Result<Option<Part<'a>>, BadRequest> {
        let kind = crate::json::scan::member(block.raw, "type");
        let kind = members::required(kind, path, "type", members::text)?;
        let (content, cache) = match kind.escaped() {
            "text" => {
                let [_, text, _, cache] =
                    self.object(block, path, ["type", "text", "citations", "cache_control"])?;
                let text = members::required(text, path, "text", members::text)?;
                (Content::Text { text, citations: Vec::new() }, cache)
            }
            "image" => {
                let [_, source, cache] = self.object(block, path, ["type", "source", "cache_control"])?;
                let source =
                    members::required(source, path, "source", |value, path| self.source(value, path))?;
                (Content::Media(Media { kind: MediaKind::Image, source, detail: None }), cache)
            }
            "document" => self.document(block, path)?,
            "search_result" => self.search_result(block, path)?,
            "thinking" => {
                let [_, text, signature] = self.object(block, path, ["type", "thinking", "signature"])?;
                let text = members::required(text, path, "thinking", members::text)?;
                let signature = members::optional(signature, path, "signature", members::text)?;
                let proof = signature
                    .filter(|signature| !signature.is_empty())
                    .and_then(|signature| proof::open(signature, Vendor::Anthropic, self.proofs));
                (Content::Thinking { text, proof, redacted: false }, None)
            }
            "redacted_thinking" => {
                let [_, data] = self.object(block, path, ["type", "data"])?;
                let data = members::required(data, path, "data", members::text)?;
                let proof = proof::open(data, Vendor::Anthropic, self.proofs);
                (Content::Thinking { text: Text::default(), proof, redacted: true }, None)
            }
            "tool_use" => {
                let [_, id, name, input, _, cache] =
                    self.object(block, path, ["type", "id", "name", "input", "caller", "cache_control"])?;
                let call = ToolCall {
                    id: Some(members::required(id, path, "id", members::text)?),
                    name: members::required(name, path, "name", members::text)?,
                    arguments: Arguments::Object(members::required(
                        input,
                        path,
                        "input",
                        members::raw_object,
                    )?),
                    kind: CallKind::Function,
                    proof: None,
                };
                (Content::ToolCall(call), cache)
            }
            "tool_result" => self.tool_result(block, path)?,
            "web_search_tool_result" => return Ok(None),
            "server_tool_use" => {
                let name = crate::json::scan::member(block.raw, "name");
                let name = members::required(name, path, "name", members::text)?;
                if name.escaped() == "web_search" {
                    return Ok(None);
                }
                (Content::Unknown(name), None)
            }
            _ => (Content::Unknown(kind), None),
        };
        Ok(Some(Part { content, cache: self.optional_mark(cache, path)? }))
    }

    /// Where the bytes of an image or document are. `content`, which only documents have, comes as text.
    fn source(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Source<'a>, BadRequest> {
        const NAMES: [&str; 6] = ["type", "media_type", "data", "url", "file_id", "content"];
        let [kind, media_type, data, url, file, content] = self.object(value, path, NAMES)?;
        let kind = members::required(kind, path, "type", members::text)?;
        match kind.escaped() {
            "base64" => Ok(Source::Base64 {
                media_type: members::required(media_type, path, "media_type", members::text)?,
                data: members::required(data, path, "data", members::text)?,
            }),
            "url" => {
                let url = members::required(url, path, "url", members::text)?;
                media::source_of_url(url).map_err(|problem| Path::Member(path, "url").bad(problem))
            }
            "file" => Ok(Source::File(members::required(file, path, "file_id", members::text)?)),
            "text" => Ok(Source::Text(members::required(data, path, "data", members::text)?)),
            "content" => {
                let text =
                    members::required(content, path, "content", |value, path| self.joined_text(value, path))?;
                Ok(Source::Text(text))
            }
            _ => Err(Path::Member(path, "type")
                .bad("must be \"base64\", \"url\", \"file\", \"text\" or \"content\"")),
        }
    }

    /// A string, or text blocks joined by blank lines.
    fn joined_text(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Text<'a>, BadRequest> {
        if value.kind == Kind::String {
            return members::text(value, path);
        }
        let mut joined: Option<Text<'a>> = None;
        members::array(value, path, |block, path| {
            let [kind, text, ..] =
                self.object(&block, path, ["type", "text", "citations", "cache_control"])?;
            let kind = members::required(kind, path, "type", members::text)?;
            if kind.escaped() != "text" {
                let problem = "the selected model is not Anthropic's, and takes only text here";
                return Err(Path::Member(path, "type").bad(problem));
            }
            let text = members::required(text, path, "text", members::text)?;
            match &mut joined {
                None => joined = Some(text),
                Some(joined) => {
                    joined.push(&Text::from_plain("\n\n"));
                    joined.push(&text);
                }
            }
            Ok(())
        })?;
        Ok(joined.unwrap_or_default())
    }

    fn document(&mut self, block: &Value<'a>, path: &Path<'_>) -> Result<Block<'a>, BadRequest> {
        const NAMES: [&str; 6] = ["type", "source", "title", "context", "citations", "cache_control"];
        let [_, source, title, context, citations, cache] = self.object(block, path, NAMES)?;
        let document = Document {
            source: members::required(source, path, "source", |value, path| self.source(value, path))?,
            title: members::optional(title, path, "title", members::text)?,
            context: members::optional(context, path, "context", members::text)?,
            citations: self.wants_citations(citations, path)?,
        };
        Ok((Content::Document(document), cache))
    }

    fn search_result(&mut self, block: &Value<'a>, path: &Path<'_>) -> Result<Block<'a>, BadRequest> {
        const NAMES: [&str; 6] = ["type", "title", "source", "content", "citations", "cache_control"];
        let [_, title, source, content, citations, cache] = self.object(block, path, NAMES)?;
        if self.wants_citations(citations, path)? {
            self.note(Text::from_plain("citations"));
        }
        let content = Content::SearchResult {
            title: members::required(title, path, "title", members::text)?,
            source: members::required(source, path, "source", members::text)?,
            text: members::required(content, path, "content", |value, path| self.joined_text(value, path))?,
        };
        Ok((content, cache))
    }

    fn wants_citations(&mut self, value: Option<Value<'a>>, path: &Path<'_>) -> Result<bool, BadRequest> {
        let wanted = members::optional(value, path, "citations", |value, path| {
            let [enabled] = self.object(value, path, ["enabled"])?;
            members::optional(enabled, path, "enabled", members::boolean)
        })?;
        Ok(wanted.flatten().unwrap_or(false))
    }

    fn tool_result(&mut self, block: &Value<'a>, path: &Path<'_>) -> Result<Block<'a>, BadRequest> {
        const NAMES: [&str; 5] = ["type", "tool_use_id", "content", "is_error", "cache_control"];
        let [_, id, content, is_error, cache] = self.object(block, path, NAMES)?;
        let id = members::required(id, path, "tool_use_id", members::text)?;
        let parts = members::optional(content, path, "content", |value, path| {
            let mut parts = Vec::new();
            if value.kind == Kind::String {
                let text = members::text(value, path)?;
                parts.extend(Some(text).filter(|text| !text.is_empty()).map(text_part));
                return Ok(parts);
            }
            members::array(value, path, |block, path| {
                let kind = crate::json::scan::member(block.raw, "type");
                if kind.and_then(|kind| kind.plain_string()) == Some(b"tool_result") {
                    return Err(Path::Member(path, "type").bad("is not allowed in a tool's result"));
                }
                parts.extend(self.block(&block, path)?);
                Ok(())
            })?;
            Ok(parts)
        })?;
        let result = ToolResult {
            call_id: Some(id),
            name: None,
            parts: parts.unwrap_or_default(),
            object: None,
            is_error: members::optional(is_error, path, "is_error", members::boolean)?.unwrap_or(false),
            kind: CallKind::Function,
        };
        Ok((Content::ToolResult(result), cache))
    }
}

/// A block's content and its cache mark.
type Block<'a> = (Content<'a>, Option<Value<'a>>);

fn text_part(text: Text<'_>) -> Part<'_> {
    Content::Text { text, citations: Vec::new() }.into()
}

/// Whether a proof was made for this call: its writer named the call in it.
fn is_of_call(proof: &Proof<'_>, call: &ToolCall<'_>) -> bool {
    proof.vendor == Vendor::Google && proof.item_id.is_some() && proof.item_id == call.id
}
