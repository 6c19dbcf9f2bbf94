//! Writes the conversation for a server that speaks chat.

use std::collections::{BTreeMap, VecDeque};

use super::servers::{self, CallIds};
use super::write_request::Writing;
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Media, MediaKind, Part, Raw, Request, Role, Source,
    Text, ToolCall, ToolResult, Turn, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::media::append_data_uri;
use crate::json::write::{Array, Object};

/// Writes the system's part and the turns as messages.
///
/// # Errors
/// Something in them that chat cannot carry.
pub(super) fn write_messages(
    messages: &mut Array<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if !request.system.is_empty() {
        let pieces = pieces(&request.system, writing)?;
        messages.object(|message| {
            message.plain("role", "system");
            write_joined(message, &pieces, "\\n\\n", writing)
        })?;
    }
    let mut calls = Calls::default();
    let mut turns = request.turns.as_slice();
    while let Some(turn) = turns.first() {
        // Results follow their calls directly, before anything else that the user says.
        let run = turns.iter().take_while(|turn| turn.role == Role::User).count().max(1);
        let (run, rest) = turns.split_at(run);
        turns = rest;
        match turn.role {
            Role::User => write_user(messages, run, &mut calls, writing)?,
            Role::Assistant => write_assistant(messages, turn, &mut calls, writing)?,
            Role::System => {
                writing.losses.meet(Feature::SystemPosition)?;
                let pieces = pieces(&turn.parts, writing)?;
                messages.object(|message| {
                    message.plain("role", "system");
                    write_joined(message, &pieces, "\\n\\n", writing)
                })?;
            }
        }
    }
    Ok(())
}

/// A piece of a message: text, or what is shown beside it.
enum Piece<'p> {
    Text(Text<'p>, Option<CacheMark>),
    Media(&'p Media<'p>, Option<CacheMark>),
    Document(&'p Document<'p>, Option<CacheMark>),
}

impl Piece<'_> {
    fn mark(&mut self, more: Option<CacheMark>) {
        let (Self::Text(_, mark) | Self::Media(_, mark) | Self::Document(_, mark)) = self;
        *mark = mark.or(more);
    }
}

/// What parts that are neither calls, results nor thoughts become in chat.
fn pieces<'p>(parts: &'p [Part<'_>], writing: &mut Writing<'_, '_>) -> Result<Vec<Piece<'p>>, BadRequest> {
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        push_piece(&mut pieces, part, writing)?;
    }
    Ok(pieces)
}

fn push_piece<'p>(
    pieces: &mut Vec<Piece<'p>>,
    part: &'p Part<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let mark = part.cache;
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            pieces.push(Piece::Text(text.borrow(), mark));
        }
        Content::Media(media) => pieces.push(Piece::Media(media, mark)),
        Content::Document(document) => push_document(pieces, document, mark, writing)?,
        Content::SearchResult { title, source, text } => {
            writing.losses.meet(Feature::SearchResult)?;
            let mut said = title.borrow().into_owned();
            for (gap, more) in [("\n", source), ("\n\n", text)] {
                said.push(&Text::from_plain(gap));
                said.push(more);
            }
            pieces.push(Piece::Text(said, mark));
        }
        Content::Unknown(name) => return Err(writing.losses.refuse_part(name)),
        Content::Thinking { .. } | Content::ToolCall(_) | Content::ToolResult(_) => {}
    }
    Ok(())
}

fn push_document<'p>(
    pieces: &mut Vec<Piece<'p>>,
    document: &'p Document<'_>,
    mark: Option<CacheMark>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if document.citations {
        writing.losses.meet(Feature::DocumentCitations)?;
    }
    if let Some(context) = &document.context {
        writing.losses.meet(Feature::DocumentContext)?;
        pieces.push(Piece::Text(context.borrow(), None));
    }
    let Source::Text(text) = &document.source else {
        pieces.push(Piece::Document(document, mark));
        return Ok(());
    };
    writing.losses.meet(Feature::DocumentText)?;
    let mut said = Text::default();
    if let Some(title) = &document.title {
        said.push(title);
        said.push(&Text::from_plain("\n"));
    }
    said.push(text);
    pieces.push(Piece::Text(said, mark));
    Ok(())
}

/// Writes `content`: a string if there is nothing but unmarked text, joined by `gap` (escaped); else parts.
fn write_joined(
    message: &mut Object<'_>,
    pieces: &[Piece<'_>],
    gap: &str,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let is_marked = writing.server.is_openai && writing.model.cache_breakpoint;
    let is_text = |piece: &Piece<'_>| matches!(piece, Piece::Text(_, mark) if mark.is_none() || !is_marked);
    if !pieces.iter().all(is_text) {
        return message.array("content", |parts| write_parts(parts, pieces, writing));
    }
    let out = message.member("content");
    out.push(b'"');
    for (index, piece) in pieces.iter().enumerate() {
        if let Piece::Text(text, _) = piece {
            out.extend_from_slice(if index == 0 { b"" } else { gap.as_bytes() });
            out.extend_from_slice(text.escaped().as_bytes());
        }
    }
    out.push(b'"');
    Ok(())
}

/// Writes `content` of a user or a tool: a string if it is one unmarked text, else parts.
fn write_content(
    message: &mut Object<'_>,
    pieces: &[Piece<'_>],
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    match pieces {
        [] | [Piece::Text(..)] => write_joined(message, pieces, "", writing),
        _ => message.array("content", |parts| write_parts(parts, pieces, writing)),
    }
}

fn write_parts(
    parts: &mut Array<'_>,
    pieces: &[Piece<'_>],
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    pieces.iter().try_for_each(|piece| {
        parts.object(|part| {
            let mark = match piece {
                Piece::Text(text, mark) => {
                    part.plain("type", "text");
                    part.text("text", text);
                    mark
                }
                Piece::Media(media, mark) => {
                    write_media(part, media, writing)?;
                    mark
                }
                Piece::Document(document, mark) => {
                    write_document(part, document, writing)?;
                    mark
                }
            };
            if let Some(ttl) = writing.cache_mark(*mark)? {
                part.object("prompt_cache_breakpoint", |breakpoint| {
                    breakpoint.plain("mode", "explicit");
                    if let Some(ttl) = ttl {
                        breakpoint.plain("ttl", ttl);
                    }
                });
            }
            Ok(())
        })
    })
}

fn write_media(
    part: &mut Object<'_>,
    media: &Media<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let losses = &mut *writing.losses;
    let feature = match (media.kind, &media.source) {
        (_, Source::File(_)) => Feature::FileId,
        (MediaKind::Image, Source::Url(_)) => Feature::ImageUrl,
        (MediaKind::Image, _) => Feature::ImageBytes,
        (MediaKind::Audio, _) => Feature::Audio,
        (MediaKind::Video, _) => Feature::Video,
    };
    if !losses.meet(feature)? {
        return Err(losses.refuse(feature));
    }
    match (&media.source, media.kind) {
        (Source::Base64 { media_type, data }, MediaKind::Audio) => {
            let format = match media_type.escaped() {
                "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
                "audio/mpeg" | "audio/mp3" => "mp3",
                _ => return Err(losses.refuse(feature)),
            };
            part.plain("type", "input_audio");
            part.object("input_audio", |audio| {
                audio.text("data", data);
                audio.plain("format", format);
            });
        }
        (source @ (Source::Base64 { .. } | Source::Url(_)), MediaKind::Image) => {
            let detail = match &media.detail {
                Some(detail) if losses.meet(Feature::ImageDetail)? => Some(detail),
                _ => None,
            };
            part.plain("type", "image_url");
            part.object("image_url", |image| {
                match source {
                    Source::Base64 { media_type, data } => {
                        append_data_uri(image.member("url"), media_type, data);
                    }
                    Source::Url(url) | Source::File(url) | Source::Text(url) => image.text("url", url),
                }
                if let Some(detail) = detail {
                    image.text("detail", detail);
                }
            });
        }
        _ => return Err(losses.refuse(feature)),
    }
    Ok(())
}

fn write_document(
    part: &mut Object<'_>,
    document: &Document<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let losses = &mut *writing.losses;
    let Source::Base64 { media_type, data } = &document.source else {
        let is_file = matches!(document.source, Source::File(_));
        return Err(losses.refuse(if is_file { Feature::FileId } else { Feature::DocumentUrl }));
    };
    losses.meet(Feature::DocumentBytes)?;
    part.plain("type", "file");
    part.object("file", |file| {
        match &document.title {
            Some(title) => file.text("filename", title),
            None if media_type.escaped() == "application/pdf" => file.plain("filename", "document.pdf"),
            None => file.plain("filename", "document"),
        }
        append_data_uri(file.member("file_data"), media_type, data);
    });
    Ok(())
}

/// The ids under which the calls of the last assistant's turn were sent.
#[derive(Default)]
struct Calls<'r> {
    /// By the calls' names, in their order; only of calls that no result has taken by its name.
    by_name: BTreeMap<&'r str, VecDeque<Text<'r>>>,
    /// Calls without an id so far, in all turns.
    unnamed: usize,
}

impl<'r> Calls<'r> {
    fn sent(&mut self, name: &'r Text<'_>, id: Text<'r>) {
        self.by_name.entry(name.escaped()).or_default().push_back(id);
    }

    /// The call that a result without an id belongs to: the first of its name.
    fn of_result(&mut self, result: &ToolResult<'_>) -> Result<Text<'r>, BadRequest> {
        let ids = result.name.as_ref().and_then(|name| self.by_name.get_mut(name.escaped()));
        ids.and_then(VecDeque::pop_front).ok_or_else(|| BadRequest {
            field: result.name.as_ref().map_or("name", Text::escaped).to_owned(),
            problem: "is the result of no call in the turn before it".to_owned(),
        })
    }
}

/// The id as the server takes it. The same id always becomes the same one.
fn wire_id<'i>(id: &'i Text<'_>, ids: CallIds) -> Text<'i> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let escaped = id.escaped();
    let mut hash = escaped
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    match ids {
        CallIds::UpTo(length) if escaped.len() <= length => id.borrow(),
        CallIds::UpTo(_) => Text::from(format!("call_{hash:016x}")),
        CallIds::Nine if escaped.len() == 9 && escaped.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            id.borrow()
        }
        CallIds::Nine => {
            let mut digit = || {
                let digit = DIGITS[(hash % 36) as usize];
                hash /= 36;
                char::from(digit)
            };
            Text::from((0..9).map(|_| digit()).collect::<String>())
        }
    }
}

fn write_user(
    messages: &mut Array<'_>,
    run: &[Turn<'_>],
    calls: &mut Calls<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let mut shown = Vec::new();
    for part in run.iter().flat_map(|turn| &turn.parts) {
        let Content::ToolResult(result) = &part.content else { continue };
        let id = match &result.call_id {
            Some(id) => wire_id(id, writing.server.call_ids),
            None => calls.of_result(result)?,
        };
        write_result(messages, result, part.cache, &id, &mut shown, writing)?;
    }
    for (index, turn) in run.iter().enumerate() {
        let mut pieces = if index == 0 { std::mem::take(&mut shown) } else { Vec::new() };
        let is_bare = turn.parts.iter().all(|part| matches!(part.content, Content::ToolResult(_)));
        if is_bare && pieces.is_empty() && !turn.parts.is_empty() {
            continue;
        }
        for part in &turn.parts {
            push_piece(&mut pieces, part, writing)?;
        }
        let name = match &turn.name {
            Some(name) if writing.losses.meet(Feature::ParticipantName)? => Some(name),
            _ => None,
        };
        messages.object(|message| {
            message.plain("role", "user");
            if let Some(name) = name {
                message.text("name", name);
            }
            write_content(message, &pieces, writing)
        })?;
    }
    Ok(())
}

/// Writes one result as a message. What is no text is put into `shown` for a message of the user, and named in its place.
fn write_result<'p>(
    messages: &mut Array<'_>,
    result: &'p ToolResult<'_>,
    mark: Option<CacheMark>,
    id: &Text<'_>,
    shown: &mut Vec<Piece<'p>>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let mut pieces = Vec::new();
    if let Some(object) = &result.object {
        let json = Arguments::Object(Raw::from(object)).as_text().into_owned();
        pieces.push(Piece::Text(json, None));
    }
    for part in &result.parts {
        let before = pieces.len();
        push_piece(&mut pieces, part, writing)?;
        if let Some(Piece::Media(..) | Piece::Document(..)) = pieces.get(pieces.len().wrapping_sub(1))
            && pieces.len() > before
            && let Some(piece) = pieces.pop()
        {
            writing.losses.meet(Feature::ToolResultMedia)?;
            let word = match &piece {
                Piece::Media(Media { kind: MediaKind::Image, .. }, _) => "image",
                _ => "file",
            };
            shown.push(piece);
            pieces.push(Piece::Text(Text::from(format!("[{word} {}]", shown.len())), None));
        }
    }
    if result.is_error {
        writing.losses.meet(Feature::ToolResultError)?;
        say_error(&mut pieces);
    }
    if let Some(last) = pieces.last_mut() {
        last.mark(mark);
    }
    messages.object(|message| {
        message.plain("role", "tool");
        message.text("tool_call_id", id);
        write_content(message, &pieces, writing)
    })
}

/// Puts "Error: " in front, unless it says so already.
fn say_error(pieces: &mut Vec<Piece<'_>>) {
    match pieces.first_mut() {
        Some(Piece::Text(text, _)) => {
            let says = text.escaped().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error"));
            if !says {
                let mut said = Text::from("Error: ".to_owned());
                said.push(text);
                *text = said;
            }
        }
        _ => pieces.insert(0, Piece::Text(Text::from_plain("Error"), None)),
    }
}

fn write_assistant<'r>(
    messages: &mut Array<'_>,
    turn: &'r Turn<'_>,
    calls: &mut Calls<'r>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    calls.by_name.clear();
    let (mut said, mut refusal, mut thoughts) = (Vec::new(), Text::default(), Text::default());
    for part in &turn.parts {
        match &part.content {
            Content::Refusal(text) => {
                writing.losses.meet(Feature::Refusal)?;
                refusal.push(text);
            }
            Content::Thinking { text, proof, .. } => {
                // Without a proof it comes from a server that has none: it may be this one's own.
                let is_own = proof.is_none() && writing.target.vendor == Vendor::Other;
                if is_own && writing.target.reasoning_field.is_some() {
                    thoughts.push(text);
                } else {
                    writing.losses.drop(Feature::Thinking)?;
                }
            }
            Content::Media(_) => return Err(writing.losses.refuse(Feature::AssistantImage)),
            _ => push_piece(&mut said, part, writing)?,
        }
    }
    let is_call = |part: &&Part<'_>| matches!(part.content, Content::ToolCall(_));
    let has_calls = turn.parts.iter().any(|part| is_call(&part));
    if said.is_empty() && refusal.is_empty() && !has_calls && !turn.parts.is_empty() {
        // Nothing is left of it.
        return Ok(());
    }
    let name = match &turn.name {
        Some(name) if writing.losses.meet(Feature::ParticipantName)? => Some(name),
        _ => None,
    };
    messages.object(|message| {
        message.plain("role", "assistant");
        if let Some(name) = name {
            message.text("name", name);
        }
        if let Some(field) = writing.target.reasoning_field.filter(|_| !thoughts.is_empty()) {
            message.text(field, &thoughts);
        }
        if said.is_empty() && (has_calls || !refusal.is_empty()) {
            message.null("content");
        } else {
            write_joined(message, &said, "", writing)?;
        }
        if !refusal.is_empty() {
            message.text("refusal", &refusal);
        }
        if !has_calls {
            return Ok(());
        }
        message.array("tool_calls", |list| {
            let mut parts = turn.parts.iter().filter(is_call);
            parts.try_for_each(|part| match &part.content {
                Content::ToolCall(call) => list.object(|object| write_call(object, call, calls, writing)),
                _ => Ok(()),
            })
        })
    })
}

fn write_call<'r>(
    object: &mut Object<'_>,
    call: &'r ToolCall<'_>,
    calls: &mut Calls<'r>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let id = match &call.id {
        Some(id) => wire_id(id, writing.server.call_ids),
        None => {
            calls.unnamed += 1;
            let made = Text::from(format!("call_{}", calls.unnamed));
            wire_id(&made, writing.server.call_ids).into_owned()
        }
    };
    let name = writing.tool_name(&call.name);
    object.text("id", &id);
    if call.kind == CallKind::Custom && !writing.wraps_custom(call.kind) {
        object.plain("type", "custom");
        object.object("custom", |custom| {
            custom.text("name", &name);
            let input = match &call.arguments {
                Arguments::Text(text) => text.borrow(),
                object @ Arguments::Object(_) => object.as_text(),
            };
            custom.text("input", &input);
        });
    } else {
        object.plain("type", "function");
        object.object("function", |function| {
            function.text("name", &name);
            let arguments = match &call.arguments {
                Arguments::Text(input) if call.kind == CallKind::Custom => {
                    Text::from(format!("{{\"input\":\"{}\"}}", input.escaped()))
                }
                arguments => arguments.as_text(),
            };
            function.text("arguments", &arguments);
        });
    }
    let is_first = calls.by_name.is_empty();
    calls.sent(&call.name, id);
    write_signature(object, call, is_first, writing)
}

/// Google's own signature of a call. The first call of a turn that has none of Google's gets the mark for foreign ones.
fn write_signature(
    object: &mut Object<'_>,
    call: &ToolCall<'_>,
    is_first: bool,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let is_google = writing.target.vendor == Vendor::Google;
    let proof = call.proof.as_ref();
    let own = proof.filter(|proof| is_google && proof.vendor == Vendor::Google);
    if proof.is_some() && own.is_none() {
        writing.losses.drop(Feature::Thinking)?;
    }
    let bypass = Text::from_plain(servers::GOOGLE_BYPASS);
    let wants_one = is_google && is_first && servers::wants_signatures(writing.target.name);
    let signature = own.map(|proof| &proof.data).or(wants_one.then_some(&bypass));
    if let Some(signature) = signature {
        object.object("extra_content", |extra| {
            extra.object("google", |google| google.text("thought_signature", signature));
        });
    }
    Ok(())
}
