//! Parts of a content as they are written, in requests and in answers.

use crate::dialect::ir::{Raw, Text};
use crate::json::write::Object;

/// A text, or a thought.
pub(super) fn text(part: &mut Object<'_>, text: &Text<'_>, thought: bool, signature: Option<&Text<'_>>) {
    part.text("text", text);
    if thought {
        part.boolean("thought", true);
    }
    if let Some(signature) = signature {
        part.text("thoughtSignature", signature);
    }
}

/// A call. Its signature stands in the same part, where Google looks for it.
pub(super) fn call(
    part: &mut Object<'_>,
    id: Option<&Text<'_>>,
    name: &Text<'_>,
    args: &Raw<'_>,
    signature: Option<&Text<'_>>,
) {
    part.object("functionCall", |call| {
        if let Some(id) = id {
            call.text("id", id);
        }
        call.text("name", name);
        one_line(args, call.member("args"));
    });
    if let Some(signature) = signature {
        part.text("thoughtSignature", signature);
    }
}

/// Bytes.
pub(super) fn inline(part: &mut Object<'_>, media_type: &Text<'_>, data: &Text<'_>) {
    part.object("inlineData", |inline| {
        inline.text("mimeType", media_type);
        inline.text("data", data);
    });
}

/// Appends a value without line ends, which are white space in JSON but end a line of an event stream.
pub(super) fn one_line(value: &Raw<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    value.append_to(out);
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// The input of a custom call as the object of the function that stands for it.
pub(super) fn custom_input(text: &Text<'_>) -> Raw<'static> {
    Raw::from_written(format!("{{\"input\":\"{}\"}}", text.escaped()))
}
