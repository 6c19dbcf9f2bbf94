//! The conversation of a request, as items.

use std::collections::{HashMap, VecDeque};

use super::write_request::Writing;
use crate::dialect::ir::{
    Arguments, CallKind, Content, Document, Media, MediaKind, Part, Request, Role, Source, Text, ToolCall,
    ToolResult, Turn, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::media::append_data_uri;
use crate::json::write::{Array, Object};

/// Longest `call_id` that OpenAI takes. Source: its refusal, "string too long. Expected a string with maximum length 64".
const CALL_ID_LEN_MAX: usize = 64;

/// Whether the system's part has to be a message, because it has more than text that `instructions` can hold.
fn system_is_message(request: &Request<'_>, writing: &Writing<'_, '_>) -> bool {
    let fits = |part: &Part<'_>| {
        let is_marked = part.cache.is_some() && writing.takes_marks();
        matches!(part.content, Content::Text { .. }) && !is_marked
    };
    !request.system.iter().all(fits)
}

/// Writes `instructions`, the system's blocks joined.
pub(super) fn write_instructions(body: &mut Object<'_>, request: &Request<'_>, writing: &Writing<'_, '_>) {
    if request.system.is_empty() || system_is_message(request, writing) {
        return;
    }
    let out = body.member("instructions");
    out.push(b'"');
    for (index, part) in request.system.iter().enumerate() {
        if let Content::Text { text, .. } = &part.content {
            out.extend_from_slice(if index == 0 { b"" } else { b"\\n\\n" });
            out.extend_from_slice(text.escaped().as_bytes());
        }
    }
    out.push(b'"');
}

/// Writes the items.
///
/// # Errors
/// Something in them that this dialect cannot say.
pub(super) fn write_input(
    items: &mut Array<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if system_is_message(request, writing) {
        write_message(items, Role::System, &request.system, writing)?;
    }
    let mut calls = Calls::default();
    for turn in &request.turns {
        if turn.name.is_some() {
            writing.losses.meet(Feature::ParticipantName)?;
        }
        if turn.role == Role::System {
            writing.losses.meet(Feature::SystemPosition)?;
        }
        write_turn(items, turn, &mut calls, writing)?;
    }
    Ok(())
}

/// Whether a part belongs into a message; the others are items of their own.
fn is_said(part: &Part<'_>) -> bool {
    !matches!(part.content, Content::Thinking { .. } | Content::ToolCall(_) | Content::ToolResult(_))
}

fn write_turn<'r>(
    items: &mut Array<'_>,
    turn: &'r Turn<'_>,
    calls: &mut Calls<'r>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let mut rest = turn.parts.as_slice();
    // A thought stands directly before what it led to, and nowhere else.
    let mut thought = None;
    while let Some(part) = rest.first() {
        let said = rest.iter().take_while(|part| is_said(part)).count();
        let (run, behind) = rest.split_at(said.max(1));
        rest = behind;
        if let Content::Thinking { text, proof, .. } = &part.content {
            let proof = proof.as_ref().filter(|proof| proof.vendor == Vendor::OpenAi && writing.is_openai());
            if proof.is_none() {
                writing.losses.drop(Feature::Thinking)?;
            }
            thought = proof.map(|proof| (text, proof));
            continue;
        }
        if let Some((text, proof)) = thought.take() {
            items.object(|item| {
                item.plain("type", "reasoning");
                if let Some(id) = &proof.item_id {
                    item.text("id", id);
                }
                item.array("summary", |summary| {
                    if !text.is_empty() {
                        summary.object(|part| {
                            part.plain("type", "summary_text");
                            part.text("text", text);
                        });
                    }
                });
                item.text("encrypted_content", &proof.data);
            });
        }
        match &part.content {
            Content::ToolCall(call) => {
                if call.proof.is_some() {
                    // Only Google's calls have one.
                    writing.losses.drop(Feature::Thinking)?;
                }
                write_call(items, call, calls, writing);
            }
            Content::ToolResult(result) => write_result(items, result, calls, writing)?,
            _ => write_message(items, turn.role, run, writing)?,
        }
    }
    Ok(())
}

fn write_message(
    items: &mut Array<'_>,
    role: Role,
    parts: &[Part<'_>],
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    items.object(|item| {
        item.plain(
            "role",
            match role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            },
        );
        match parts {
            [Part { content: Content::Text { text, .. }, cache }]
                if cache.is_none() || !writing.takes_marks() =>
            {
                item.text("content", text);
                Ok(())
            }
            _ => item.array("content", |list| write_parts(list, role, parts, writing)),
        }
    })
}

fn write_parts(
    list: &mut Array<'_>,
    role: Role,
    parts: &[Part<'_>],
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    for part in parts {
        if let Content::Document(Document { context: Some(context), .. }) = &part.content {
            writing.losses.meet(Feature::DocumentContext)?;
            list.object(|part| write_text(part, role, context));
        }
        list.object(|member| {
            write_part(member, role, &part.content, writing)?;
            // Marks stand on what goes in.
            if role == Role::Assistant { Ok(()) } else { writing.mark(member, part.cache) }
        })?;
    }
    Ok(())
}

fn write_text(part: &mut Object<'_>, role: Role, text: &Text<'_>) {
    if role == Role::Assistant {
        part.plain("type", "output_text");
        part.text("text", text);
        part.json("annotations", "[]");
    } else {
        part.plain("type", "input_text");
        part.text("text", text);
    }
}

fn write_part(
    part: &mut Object<'_>,
    role: Role,
    content: &Content<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    match content {
        Content::Text { text, .. } => write_text(part, role, text),
        Content::Refusal(text) if role == Role::Assistant => {
            part.plain("type", "refusal");
            part.text("refusal", text);
        }
        Content::Refusal(text) => write_text(part, role, text),
        Content::SearchResult { title, source, text } => {
            writing.losses.meet(Feature::SearchResult)?;
            let mut said = title.clone();
            for (gap, more) in [("\n", source), ("\n\n", text)] {
                said.push(&Text::from_plain(gap));
                said.push(more);
            }
            write_text(part, role, &said);
        }
        Content::Document(Document { source: Source::Text(text), title, citations, .. }) => {
            writing.losses.meet(Feature::DocumentText)?;
            if *citations {
                writing.losses.meet(Feature::DocumentCitations)?;
            }
            let mut said = Text::default();
            if let Some(title) = title {
                said.push(title);
                said.push(&Text::from_plain("\n"));
            }
            said.push(text);
            write_text(part, role, &said);
        }
        // What the model has said in pictures or files has no place in its messages.
        Content::Media(_) | Content::Document(_) if role == Role::Assistant => {
            return Err(writing.losses.refuse(Feature::AssistantImage));
        }
        Content::Media(media) => write_media(part, media, writing)?,
        Content::Document(document) => write_document(part, document, writing)?,
        Content::Unknown(name) => return Err(writing.losses.refuse_part(name)),
        Content::Thinking { .. } | Content::ToolCall(_) | Content::ToolResult(_) => {
            debug_assert!(false, "they are items of their own");
        }
    }
    Ok(())
}

fn write_media(
    part: &mut Object<'_>,
    media: &Media<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let losses = &mut *writing.losses;
    let feature = match (media.kind, &media.source) {
        (MediaKind::Audio, _) => Feature::Audio,
        (MediaKind::Video, _) => Feature::Video,
        (MediaKind::Image, Source::File(_)) => Feature::FileId,
        (MediaKind::Image, Source::Url(_)) => Feature::ImageUrl,
        (MediaKind::Image, Source::Base64 { .. } | Source::Text(_)) => Feature::ImageBytes,
    };
    losses.meet(feature)?;
    part.plain("type", "input_image");
    match &media.source {
        Source::Base64 { media_type, data } => append_data_uri(part.member("image_url"), media_type, data),
        Source::Url(url) => part.text("image_url", url),
        Source::File(_) | Source::Text(_) => return Err(losses.refuse(feature)),
    }
    if let Some(detail) = &media.detail
        && losses.meet(Feature::ImageDetail)?
    {
        part.text("detail", detail);
    }
    Ok(())
}

fn write_document(
    part: &mut Object<'_>,
    document: &Document<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let losses = &mut *writing.losses;
    if document.citations {
        losses.meet(Feature::DocumentCitations)?;
    }
    part.plain("type", "input_file");
    match &document.source {
        Source::Base64 { media_type, data } => {
            losses.meet(Feature::DocumentBytes)?;
            // OpenAI tells by the name what a file is.
            match &document.title {
                Some(title) => part.text("filename", title),
                None if media_type.escaped() == "application/pdf" => part.plain("filename", "document.pdf"),
                None => part.plain("filename", "document"),
            }
            append_data_uri(part.member("file_data"), media_type, data);
        }
        Source::Url(url) => {
            losses.meet(Feature::DocumentUrl)?;
            part.text("file_url", url);
        }
        Source::File(_) | Source::Text(_) => return Err(losses.refuse(Feature::FileId)),
    }
    Ok(())
}

/// The ids of calls that have come without one.
#[derive(Debug, Default)]
struct Calls<'r> {
    /// Those without a result, by the function's name, in order.
    waiting: HashMap<&'r str, VecDeque<u64>>,
    count: u64,
}

impl<'r> Calls<'r> {
    /// The id of the next call of the function `name`.
    fn begin(&mut self, name: &'r Text<'_>) -> Text<'static> {
        self.count += 1;
        self.waiting.entry(name.escaped()).or_default().push_back(self.count);
        Self::id(self.count)
    }

    /// The id of the first call of the function that has no result yet.
    fn end(&mut self, name: Option<&Text<'_>>) -> Option<Text<'static>> {
        self.waiting.get_mut(name?.escaped())?.pop_front().map(Self::id)
    }

    fn id(number: u64) -> Text<'static> {
        Text::from(format!("call_{number:024}"))
    }
}

/// The id as it is sent. An id that is too long becomes another one, always the same.
fn wire_id<'i>(id: &'i Text<'_>) -> Text<'i> {
    if id.escaped().len() <= CALL_ID_LEN_MAX {
        return id.borrow();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, id.escaped().as_bytes());
    let digits: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Text::from(format!("call_{digits}"))
}

fn write_call<'r>(
    items: &mut Array<'_>,
    call: &'r ToolCall<'_>,
    calls: &mut Calls<'r>,
    writing: &mut Writing<'_, '_>,
) {
    let id = match &call.id {
        Some(id) => wire_id(id),
        None => calls.begin(&call.name),
    };
    let name = writing.tool_name(&call.name);
    items.object(|item| match (call.kind, &call.arguments) {
        (CallKind::Custom, arguments) => {
            item.plain("type", "custom_tool_call");
            item.text("call_id", &id);
            item.text("name", &name);
            match arguments {
                Arguments::Text(text) => item.text("input", text),
                Arguments::Object(_) => item.text("input", &arguments.as_text()),
            }
        }
        (CallKind::Function, arguments) => {
            item.plain("type", "function_call");
            item.text("call_id", &id);
            item.text("name", &name);
            item.text("arguments", &arguments.as_text());
        }
    });
}

fn write_result(
    items: &mut Array<'_>,
    result: &ToolResult<'_>,
    calls: &mut Calls<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let name = result.name.as_ref();
    let id = match &result.call_id {
        Some(id) => Some(wire_id(id)),
        None => calls.end(name),
    };
    let id = id.ok_or_else(|| BadRequest {
        field: name.and_then(Text::decode).unwrap_or_default().into_owned(),
        problem: "is the result of a function that was not called before".to_owned(),
    })?;
    if result.is_error {
        writing.losses.meet(Feature::ToolResultError)?;
    }
    items.object(|item| {
        item.plain(
            "type",
            match result.kind {
                CallKind::Function => "function_call_output",
                CallKind::Custom => "custom_tool_call_output",
            },
        );
        item.text("call_id", &id);
        write_output(item, result, writing)
    })
}

/// Writes `output`: a text where there is no more to it, else parts.
fn write_output(
    item: &mut Object<'_>,
    result: &ToolResult<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let object = result.object.as_ref().map(|object| Arguments::Object(object.into()));
    let object = object.as_ref().map(Arguments::as_text);
    let (first, rest) = match (&object, result.parts.as_slice()) {
        (Some(object), parts) => (object.borrow(), parts),
        (None, [Part { content: Content::Text { text, .. }, .. }, parts @ ..]) => (text.borrow(), parts),
        (None, parts) => (Text::default(), parts),
    };
    let said = if result.is_error { as_error(&first) } else { first };
    if rest.is_empty() {
        item.text("output", &said);
        return Ok(());
    }
    item.array("output", |list| {
        if !said.is_empty() {
            list.object(|part| write_text(part, Role::User, &said));
        }
        if rest.iter().any(|part| matches!(part.content, Content::Media(_) | Content::Document(_))) {
            writing.losses.meet(Feature::ToolResultMedia)?;
        }
        write_parts(list, Role::User, rest, writing)
    })
}

/// The text of a failed call, which has to say that it failed.
fn as_error(text: &Text<'_>) -> Text<'static> {
    let is_said = text.escaped().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error"));
    if is_said {
        return text.clone().into_owned();
    }
    let mut said = Text::from_plain(if text.is_empty() { "Error" } else { "Error: " });
    said.push(text);
    said
}
