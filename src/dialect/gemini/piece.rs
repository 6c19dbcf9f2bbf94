//! The parts of an answer, in one piece or in a stream.

use super::fields::{is_true, lenient, text};
use crate::dialect::ir::{Media, MediaKind, Source, Text};
use crate::json::token::{Kind, Value};

/// One part.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// Text for the user, or a thought.
    Text { text: Text<'a>, thought: bool, signature: Option<Text<'a>> },
    /// A call, or a piece of one.
    Call { call: CallPiece<'a>, signature: Option<Text<'a>> },
    /// Bytes or a file: the media type, and the data or the URI.
    Media { media_type: Text<'a>, data: Text<'a>, inline: bool },
    /// What built-in tools did, and parts to come: other dialects have no place for them.
    Other,
}

/// A `functionCall`.
#[derive(Debug)]
pub(super) struct CallPiece<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) args: Option<Value<'a>>,
    /// The list of `partialArgs`.
    pub(super) partial_args: Option<Value<'a>>,
    pub(super) goes_on: bool,
}

impl<'a> Piece<'a> {
    /// Reads a part; `None`: it is no object.
    pub(super) fn read(raw: &'a [u8]) -> Option<Self> {
        const NAMES: [&str; 6] =
            ["text", "thought", "thoughtSignature", "functionCall", "inlineData", "fileData"];
        let [said, thought, signature, call, inline, file] = lenient(raw, NAMES)?;
        let signature = text(signature.as_ref()).filter(|signature| !signature.is_empty());
        if let Some(call) = call {
            return Some(
                CallPiece::read(call.raw).map_or(Self::Other, |call| Self::Call { call, signature }),
            );
        }
        if let Some(text) = text(said.as_ref()) {
            return Some(Self::Text { text, thought: is_true(thought.as_ref()), signature });
        }
        let media = |value: Option<Value<'a>>, name, inline| {
            let [media_type, data] = lenient(value?.raw, ["mimeType", name])?;
            let (media_type, data) = (text(media_type.as_ref()).unwrap_or_default(), text(data.as_ref())?);
            Some(Self::Media { media_type, data, inline })
        };
        if let Some(media) = media(inline, "data", true).or_else(|| media(file, "fileUri", false)) {
            return Some(media);
        }
        Some(match signature {
            Some(_) if raw_has_only_signature(raw) => {
                Self::Text { text: Text::default(), thought: is_true(thought.as_ref()), signature }
            }
            _ => Self::Other,
        })
    }
}

/// The medium that a part is.
pub(super) fn media<'a>(media_type: Text<'a>, data: Text<'a>, inline: bool) -> Media<'a> {
    let kind = match media_type.escaped().split('/').next() {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => MediaKind::Image,
    };
    let source = if inline { Source::Base64 { media_type, data } } else { Source::File(data) };
    Media { kind, source, detail: None }
}

/// Whether a part says nothing but its signature.
fn raw_has_only_signature(raw: &[u8]) -> bool {
    let mut others = 0;
    let read = crate::json::scan::members(raw, |key, _| {
        others += usize::from(
            !["thought", "thoughtSignature", "thought_signature"].iter().any(|name| key.is(name)),
        );
    });
    read.is_ok() && others == 0
}

impl<'a> CallPiece<'a> {
    fn read(raw: &'a [u8]) -> Option<Self> {
        let [id, name, args, partial_args, goes_on] =
            lenient(raw, ["id", "name", "args", "partialArgs", "willContinue"])?;
        Some(Self {
            id: text(id.as_ref()).filter(|id| !id.is_empty()),
            name: text(name.as_ref()).filter(|name| !name.is_empty()),
            args: args.filter(|args| args.kind == Kind::Object),
            partial_args,
            goes_on: is_true(goes_on.as_ref()),
        })
    }
}
