//! Reads the messages of a chat client: roles, parts, calls, results, thoughts that came back.

use std::collections::BTreeSet;

use super::read_request::Unknown;
use super::thoughts::{self, Detail};
use crate::dialect::ProofKey;
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Media, MediaKind, Part, Proof, Request, Role, Source,
    Text, ToolCall, ToolResult, Turn, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::media::{base64_source, source_of_url};
use crate::dialect::members::{Path, array, object, text};
use crate::json::token::{Kind, Value};

/// Members of a message that say nothing to another dialect: SDKs send answers back as they have read them.
const SILENT: [&str; 3] = ["annotations", "parsed", "thought_signature"];

/// Reads `messages` into the conversation of `request`.
///
/// # Errors
/// Wrong types, missing and unknown parts, by the path of the field.
pub(super) fn read_messages<'a>(
    messages: &Value<'a>,
    path: &Path<'_>,
    proofs: &ProofKey,
    unknown: &mut Unknown<'a>,
    request: &mut Request<'a>,
) -> Result<(), BadRequest> {
    // Whether the last turn is a run of results that the next result belongs to.
    let mut in_results = false;
    // Ids of calls with free text: their results say no kind.
    let mut custom = BTreeSet::new();
    array(messages, path, |message, path| {
        let message = Message::read(&message, path, unknown)?;
        let role_path = Path::Member(path, "role");
        let role = message.role.as_ref().ok_or_else(|| role_path.bad("is required"))?;
        let role = text(role, &role_path)?;
        let was_in_results = std::mem::take(&mut in_results);
        match role.escaped() {
            "system" | "developer" => {
                let parts = message.parts(path, unknown)?;
                if request.turns.is_empty() {
                    if message.name(path)?.is_some() {
                        unknown.note("", Text::from_plain(Feature::ParticipantName.row().name));
                    }
                    request.system.extend(parts);
                } else {
                    request.turns.push(Turn { role: Role::System, name: message.name(path)?, parts });
                }
            }
            "user" => {
                let parts = message.parts(path, unknown)?;
                request.turns.push(Turn { role: Role::User, name: message.name(path)?, parts });
            }
            "assistant" => {
                let parts = message.assistant_parts(path, proofs, unknown)?;
                custom.extend(parts.iter().filter_map(custom_id));
                request.turns.push(Turn { role: Role::Assistant, name: message.name(path)?, parts });
            }
            "tool" | "function" => {
                let mut result = message.result(path, role.escaped(), unknown)?;
                if result.call_id.as_ref().is_some_and(|id| custom.contains(id.escaped())) {
                    result.kind = CallKind::Custom;
                }
                let result = Part::from(Content::ToolResult(result));
                in_results = true;
                match request.turns.last_mut() {
                    Some(turn) if was_in_results => turn.parts.push(result),
                    _ => request.turns.push(Turn { role: Role::User, name: None, parts: vec![result] }),
                }
            }
            _ => return Err(role_path.bad("must be system, developer, user, assistant, tool or function")),
        }
        Ok(())
    })?;
    if request.turns.is_empty() && request.system.is_empty() {
        return Err(path.bad("must not be empty"));
    }
    Ok(())
}

/// The id of a call with free text.
fn custom_id(part: &Part<'_>) -> Option<String> {
    match &part.content {
        Content::ToolCall(ToolCall { id: Some(id), kind: CallKind::Custom, .. }) => {
            Some(id.escaped().to_owned())
        }
        _ => None,
    }
}

/// The members of one message.
struct Message<'a> {
    role: Option<Value<'a>>,
    content: Option<Value<'a>>,
    name: Option<Value<'a>>,
    tool_call_id: Option<Value<'a>>,
    tool_calls: Option<Value<'a>>,
    function_call: Option<Value<'a>>,
    refusal: Option<Value<'a>>,
    reasoning_content: Option<Value<'a>>,
    reasoning: Option<Value<'a>>,
    reasoning_details: Option<Value<'a>>,
    audio: Option<Value<'a>>,
}

impl<'a> Message<'a> {
    fn read(value: &Value<'a>, path: &Path<'_>, unknown: &mut Unknown<'a>) -> Result<Self, BadRequest> {
        const NAMES: [&str; 12] = [
            "role",
            "content",
            "name",
            "tool_call_id",
            "tool_calls",
            "function_call",
            "refusal",
            "reasoning_content",
            "reasoning",
            "reasoning_details",
            "audio",
            // Google's signature on a text, which need not come back.
            "extra_content",
        ];
        let [
            role,
            content,
            name,
            tool_call_id,
            tool_calls,
            function_call,
            refusal,
            reasoning_content,
            reasoning,
            reasoning_details,
            audio,
            _,
        ] = object(value, path, NAMES, |name, _| {
            if !SILENT.contains(&name.escaped()) {
                unknown.note("messages[].", name);
            }
            Ok(())
        })?;
        Ok(Self {
            role,
            content,
            name,
            tool_call_id,
            tool_calls,
            function_call,
            refusal,
            reasoning_content,
            reasoning,
            reasoning_details,
            audio,
        })
    }

    fn name(&self, path: &Path<'_>) -> Result<Option<Text<'a>>, BadRequest> {
        optional_text(&self.name, &Path::Member(path, "name"))
    }

    /// `content`, a string or a list of parts; an empty string is nothing.
    fn parts(&self, path: &Path<'_>, unknown: &mut Unknown<'a>) -> Result<Vec<Part<'a>>, BadRequest> {
        let path = Path::Member(path, "content");
        let Some(content) = &self.content else { return Err(path.bad("is required")) };
        read_content(content, &path, unknown)
    }

    fn assistant_parts(
        &self,
        path: &Path<'_>,
        proofs: &ProofKey,
        unknown: &mut Unknown<'a>,
    ) -> Result<Vec<Part<'a>>, BadRequest> {
        let mut parts = Vec::new();
        self.read_thoughts(path, proofs, &mut parts)?;
        if let Some(content) = &self.content {
            parts.extend(read_content(content, &Path::Member(path, "content"), unknown)?);
        }
        if let Some(refusal) = optional_text(&self.refusal, &Path::Member(path, "refusal"))?
            && !refusal.is_empty()
        {
            parts.push(Content::Refusal(refusal).into());
        }
        if self.audio.is_some() {
            parts.push(Content::Unknown(Text::from_plain("audio")).into());
        }
        if let Some(calls) = &self.tool_calls {
            array(calls, &Path::Member(path, "tool_calls"), |call, path| {
                parts.push(Content::ToolCall(read_call(&call, path, proofs, unknown)?).into());
                Ok(())
            })?;
        }
        if let Some(call) = &self.function_call {
            let path = Path::Member(path, "function_call");
            let (name, arguments) = read_function(call, &path, unknown)?;
            let call = ToolCall { id: None, name, arguments, kind: CallKind::Function, proof: None };
            parts.push(Content::ToolCall(call).into());
        }
        Ok(parts)
    }

    fn read_thoughts(
        &self,
        path: &Path<'_>,
        proofs: &ProofKey,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), BadRequest> {
        let mut said = optional_text(&self.reasoning_content, &Path::Member(path, "reasoning_content"))?;
        if said.is_none() {
            said = optional_text(&self.reasoning, &Path::Member(path, "reasoning"))?;
        }
        let mut details = Vec::new();
        if let Some(list) = &self.reasoning_details {
            let mut words = Text::default();
            array(list, &Path::Member(path, "reasoning_details"), |detail, path| {
                details.extend(read_detail(&detail, path, proofs, &mut words)?);
                Ok(())
            })?;
            said = said.or(Some(words));
        }
        thoughts::restore(said, details, parts);
        Ok(())
    }

    /// The result in a message of role `tool`, or of role `function` in the legacy form, which has no id.
    fn result(
        &self,
        path: &Path<'_>,
        role: &str,
        unknown: &mut Unknown<'a>,
    ) -> Result<ToolResult<'a>, BadRequest> {
        let id_path = Path::Member(path, "tool_call_id");
        let call_id = optional_text(&self.tool_call_id, &id_path)?;
        let name = self.name(path)?;
        if role == "tool" && call_id.is_none() {
            return Err(id_path.bad("is required"));
        }
        if role == "function" && name.is_none() {
            return Err(Path::Member(path, "name").bad("is required"));
        }
        Ok(ToolResult {
            call_id,
            name,
            parts: self.parts(path, unknown)?,
            object: None,
            is_error: false,
            kind: CallKind::Function,
        })
    }
}

fn optional_text<'a>(value: &Option<Value<'a>>, path: &Path<'_>) -> Result<Option<Text<'a>>, BadRequest> {
    value.as_ref().map(|value| text(value, path)).transpose()
}

fn required<'v, 'a>(value: &'v Option<Value<'a>>, path: &Path<'_>) -> Result<&'v Value<'a>, BadRequest> {
    value.as_ref().ok_or_else(|| path.bad("is required"))
}

/// One of `reasoning_details`: a proof of the gateway's own sealing, or another server's, whose words are added to
/// `words` and whose proof nobody else can use.
fn read_detail<'a>(
    detail: &Value<'a>,
    path: &Path<'_>,
    proofs: &ProofKey,
    words: &mut Text<'a>,
) -> Result<Option<Detail<'a>>, BadRequest> {
    let [said, summary, data] = object(detail, path, ["text", "summary", "data"], |_, _| Ok(()))?;
    for (said, name) in [(said, "text"), (summary, "summary")] {
        if let Some(said) = optional_text(&said, &Path::Member(path, name))? {
            words.push(&said);
        }
    }
    let data = optional_text(&data, &Path::Member(path, "data"))?;
    Ok(data.and_then(|data| thoughts::open_detail(data, proofs)))
}

fn read_content<'a>(
    content: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<Vec<Part<'a>>, BadRequest> {
    let mut parts = Vec::new();
    if content.kind == Kind::String {
        let said = text(content, path)?;
        if !said.is_empty() {
            parts.push(text_part(said, None));
        }
        return Ok(parts);
    }
    if content.kind != Kind::Array {
        return Err(path.bad("must be a string or a list of parts"));
    }
    array(content, path, |part, path| {
        parts.push(read_part(&part, path, unknown)?);
        Ok(())
    })?;
    Ok(parts)
}

fn text_part<'a>(said: Text<'a>, cache: Option<CacheMark>) -> Part<'a> {
    Part { content: Content::Text { text: said, citations: Vec::new() }, cache }
}

/// One part of a message. Parts of a type that nobody knows become [`Content::Unknown`].
fn read_part<'a>(
    part: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<Part<'a>, BadRequest> {
    const NAMES: [&str; 12] = [
        "type",
        "text",
        "refusal",
        "image_url",
        "input_audio",
        "video_url",
        "file",
        "document_url",
        "document_name",
        "thinking",
        "cache_control",
        "prompt_cache_breakpoint",
    ];
    let [
        kind,
        said,
        refusal,
        image,
        audio,
        video,
        file,
        document_url,
        document_name,
        thinking,
        cache,
        breakpoint,
    ] = object(part, path, NAMES, |name, _| {
        unknown.note("messages[].content[].", name);
        Ok(())
    })?;
    let mut mark = cache.map(|mark| cache_mark(&mark, &Path::Member(path, "cache_control"))).transpose()?;
    if let Some(breakpoint) = breakpoint {
        mark = Some(cache_mark(&breakpoint, &Path::Member(path, "prompt_cache_breakpoint"))?);
    }
    let kind_path = Path::Member(path, "type");
    let kind = text(required(&kind, &kind_path)?, &kind_path)?;
    let content = match kind.escaped() {
        "text" => {
            let path = Path::Member(path, "text");
            Content::Text { text: text(required(&said, &path)?, &path)?, citations: Vec::new() }
        }
        "refusal" => {
            let path = Path::Member(path, "refusal");
            Content::Refusal(text(required(&refusal, &path)?, &path)?)
        }
        "image_url" => {
            let path = Path::Member(path, "image_url");
            Content::Media(read_media(required(&image, &path)?, &path, MediaKind::Image)?)
        }
        "video_url" => {
            let path = Path::Member(path, "video_url");
            Content::Media(read_media(required(&video, &path)?, &path, MediaKind::Video)?)
        }
        "input_audio" => {
            let path = Path::Member(path, "input_audio");
            Content::Media(read_audio(required(&audio, &path)?, &path)?)
        }
        "file" => {
            let path = Path::Member(path, "file");
            Content::Document(read_file(required(&file, &path)?, &path)?)
        }
        "document_url" => {
            let path = Path::Member(path, "document_url");
            let url = text(required(&document_url, &path)?, &path)?;
            let source = source_of_url(url).map_err(|problem| path.bad(problem))?;
            let title = optional_text(&document_name, &Path::Member(&path, "document_name"))?;
            Content::Document(Document { source, title, context: None, citations: false })
        }
        "thinking" => {
            let path = Path::Member(path, "thinking");
            let text = read_mistral_thinking(required(&thinking, &path)?, &path)?;
            Content::Thinking { text, proof: None, redacted: false }
        }
        _ => Content::Unknown(kind),
    };
    Ok(Part { content, cache: mark })
}

/// Mistral's thoughts: a list of texts.
fn read_mistral_thinking<'a>(list: &Value<'a>, path: &Path<'_>) -> Result<Text<'a>, BadRequest> {
    if list.kind == Kind::String {
        return text(list, path);
    }
    let mut said = Text::default();
    array(list, path, |piece, path| {
        let [piece] = object(&piece, path, ["text"], |_, _| Ok(()))?;
        if let Some(piece) = optional_text(&piece, &Path::Member(path, "text"))? {
            said.push(&piece);
        }
        Ok(())
    })?;
    Ok(said)
}

/// `{"url","detail"}`, or the URL alone as some servers take it.
fn read_media<'a>(value: &Value<'a>, path: &Path<'_>, kind: MediaKind) -> Result<Media<'a>, BadRequest> {
    if value.kind == Kind::String {
        let source = source_of_url(text(value, path)?).map_err(|problem| path.bad(problem))?;
        return Ok(Media { kind, source, detail: None });
    }
    let [url, detail] = object(value, path, ["url", "detail"], |_, _| Ok(()))?;
    let detail = optional_text(&detail, &Path::Member(path, "detail"))?;
    let path = Path::Member(path, "url");
    let url = text(required(&url, &path)?, &path)?;
    let source = source_of_url(url).map_err(|problem| path.bad(problem))?;
    Ok(Media { kind, source, detail })
}

fn read_audio<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Media<'a>, BadRequest> {
    let [data, format] = object(value, path, ["data", "format"], |_, _| Ok(()))?;
    let format_path = Path::Member(path, "format");
    let format = optional_text(&format, &format_path)?;
    let path = Path::Member(path, "data");
    let data = text(required(&data, &path)?, &path)?;
    let media_type = match format.as_ref().map(Text::escaped) {
        None => None,
        Some("wav") => Some("audio/wav".to_owned()),
        Some("mp3") => Some("audio/mpeg".to_owned()),
        Some(format) if !format.is_empty() && format.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Some(format!("audio/{format}"))
        }
        Some(_) => return Err(format_path.bad("must be the name of a format, such as wav or mp3")),
    };
    let source = bytes_source(data, media_type.map(Text::from)).map_err(|problem| path.bad(problem))?;
    Ok(Media { kind: MediaKind::Audio, source, detail: None })
}

fn read_file<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Document<'a>, BadRequest> {
    let [id, data, name] = object(value, path, ["file_id", "file_data", "filename"], |_, _| Ok(()))?;
    let title = optional_text(&name, &Path::Member(path, "filename"))?;
    let id = optional_text(&id, &Path::Member(path, "file_id"))?;
    let data_path = Path::Member(path, "file_data");
    let source = match (id, optional_text(&data, &data_path)?) {
        (Some(id), _) => Source::File(id),
        (None, Some(data)) => bytes_source(data, None).map_err(|problem| data_path.bad(problem))?,
        (None, None) => return Err(path.bad("needs `file_id` or `file_data`")),
    };
    Ok(Document { source, title, context: None, citations: false })
}

/// Bytes as a data URI, at a URL, or in bare base64.
fn bytes_source<'a>(data: Text<'a>, media_type: Option<Text<'a>>) -> Result<Source<'a>, &'static str> {
    let begins = |scheme: &str| {
        data.escaped().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if begins("data:") || begins("http:") || begins("https:") {
        return source_of_url(data);
    }
    base64_source(media_type, data)
}

/// Anthropic's `cache_control`, which OpenRouter's clients send, or OpenAI's `prompt_cache_breakpoint`.
pub(super) fn cache_mark(mark: &Value<'_>, path: &Path<'_>) -> Result<CacheMark, BadRequest> {
    let [ttl] = object(mark, path, ["ttl"], |_, _| Ok(()))?;
    let path = Path::Member(path, "ttl");
    match optional_text(&ttl, &path)?.as_ref().map(Text::escaped) {
        None => Ok(CacheMark::Default),
        Some("5m") => Ok(CacheMark::FiveMinutes),
        Some("30m") => Ok(CacheMark::HalfAnHour),
        Some("1h") => Ok(CacheMark::OneHour),
        Some("12h") => Ok(CacheMark::TwelveHours),
        Some(_) => Err(path.bad("must be 5m, 30m, 1h or 12h")),
    }
}

fn read_call<'a>(
    call: &Value<'a>,
    path: &Path<'_>,
    proofs: &ProofKey,
    unknown: &mut Unknown<'a>,
) -> Result<ToolCall<'a>, BadRequest> {
    const NAMES: [&str; 6] = ["id", "type", "function", "custom", "extra_content", "index"];
    let [id, kind, function, custom, extra, _] = object(call, path, NAMES, |name, _| {
        unknown.note("messages[].tool_calls[].", name);
        Ok(())
    })?;
    let id_path = Path::Member(path, "id");
    let id = Some(text(required(&id, &id_path)?, &id_path)?);
    let kind_path = Path::Member(path, "type");
    let kind = optional_text(&kind, &kind_path)?;
    let proof = match extra {
        Some(extra) => read_signature(&extra, &Path::Member(path, "extra_content"), proofs)?,
        None => None,
    };
    let (name, arguments, kind) = match kind.as_ref().map(Text::escaped) {
        None | Some("function") => {
            let path = Path::Member(path, "function");
            let (name, arguments) = read_function(required(&function, &path)?, &path, unknown)?;
            (name, arguments, CallKind::Function)
        }
        Some("custom") => {
            let path = Path::Member(path, "custom");
            let [name, input] = object(required(&custom, &path)?, &path, ["name", "input"], |_, _| Ok(()))?;
            let name_path = Path::Member(&path, "name");
            let name = text(required(&name, &name_path)?, &name_path)?;
            let input = optional_text(&input, &Path::Member(&path, "input"))?.unwrap_or_default();
            (name, Arguments::Text(input), CallKind::Custom)
        }
        Some(_) => return Err(kind_path.bad("must be function or custom")),
    };
    Ok(ToolCall { id, name, arguments, kind, proof })
}

/// The name and the arguments of a function that is called.
fn read_function<'a>(
    function: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<(Text<'a>, Arguments<'a>), BadRequest> {
    let names = ["name", "arguments", "parsed_arguments"];
    let [name, arguments, _] = object(function, path, names, |name, _| {
        unknown.note("messages[].tool_calls[].function.", name);
        Ok(())
    })?;
    let name_path = Path::Member(path, "name");
    let name = text(required(&name, &name_path)?, &name_path)?;
    let arguments = optional_text(&arguments, &Path::Member(path, "arguments"))?;
    Ok((name, Arguments::Text(arguments.unwrap_or_default())))
}

/// The signature of a call: in the gateway's envelope, or Google's as its own OpenAI surface gives it.
fn read_signature<'a>(
    extra: &Value<'a>,
    path: &Path<'_>,
    proofs: &ProofKey,
) -> Result<Option<Proof<'a>>, BadRequest> {
    let [gateway, google] = object(extra, path, ["gateway", "google"], |_, _| Ok(()))?;
    let member = |value: Option<Value<'a>>, name, member| {
        let path = Path::Member(path, name);
        let Some(value) = value else { return Ok(None) };
        let [found] = object(&value, &path, [member], |_, _| Ok(()))?;
        optional_text(&found, &Path::Member(&path, member))
    };
    if let Some(sealed) = member(gateway, "gateway", "signature")? {
        return Ok(thoughts::open_envelope(sealed, proofs));
    }
    let data = member(google, "google", "thought_signature")?;
    Ok(data.map(|data| Proof { vendor: Vendor::Google, item_id: None, data }))
}
