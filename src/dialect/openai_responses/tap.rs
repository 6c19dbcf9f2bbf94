//! What the untranslated relay reads off a response: usage, model, errors, the end.

use crate::dialect::find::{MemberFinder, member_finder};
use crate::dialect::sight::{ProviderError, Sight};
use crate::dialect::usage::read_openai;
use crate::json::scan::{self, Scanner};
use crate::json::tap::{Action, MemberTap, Target};
use crate::json::text;
use crate::limits::{REPORTED_NAME_BYTES_MAX, TAP_ERROR_BYTES_MAX, TAP_MEMBER_BYTES_MAX};
use crate::sse::Event;

static DELTA: MemberFinder = member_finder!("delta");

/// Members of a body that is not a stream.
pub(in crate::dialect) const BODY: &[Target] = &[
    Target { name: "usage", action: Action::Keep { bytes_max: TAP_MEMBER_BYTES_MAX } },
    Target { name: "model", action: Action::Keep { bytes_max: REPORTED_NAME_BYTES_MAX } },
    Target { name: "id", action: Action::Keep { bytes_max: REPORTED_NAME_BYTES_MAX } },
    Target { name: "error", action: Action::Keep { bytes_max: TAP_ERROR_BYTES_MAX } },
    Target { name: "output", action: Action::Weigh },
];

/// Takes in one event of a stream.
pub(in crate::dialect) fn on_event(sight: &mut Sight, event: &Event<'_>) {
    let data = event.data.as_ref();
    let kind = match event.name {
        b"" => scan::member(data, "type").and_then(|value| value.plain_string()).unwrap_or_default(),
        name => name,
    };
    match kind {
        b"response.created" | b"response.queued" | b"response.in_progress" if sight.wants_model() => {
            read_response(sight, data);
        }
        b"response.completed" | b"response.incomplete" | b"response.failed" | b"response.cancelled" => {
            read_response(sight, data);
            sight.ended = true;
            sight.failed |= kind == b"response.failed";
        }
        b"error" => read_error(sight, data),
        _ if kind.ends_with(b".delta") => {
            if let Some(at) = DELTA.value(data, |byte| byte == b'"')
                && let Ok(value) = Scanner::new(&data[at..]).value()
            {
                sight.output_chars += text::char_count(&value.raw[1..value.raw.len() - 1]);
            }
        }
        _ => {}
    }
}

/// Reads the response object that the event carries.
fn read_response(sight: &mut Sight, data: &[u8]) {
    let Some(response) = scan::member(data, "response") else { return };
    // What came before a syntax error counts; the client sees the error itself.
    let _ = scan::members(response.raw, |key, value| match key.matches(&["usage", "model", "id", "error"]) {
        Some(0) => sight.set_usage(read_openai(value.raw)),
        Some(1) => sight.set_model(value.raw),
        Some(2) => sight.set_response_id(value.raw),
        Some(_) => sight.set_error(ProviderError::read(value.raw)),
        None => {}
    });
}

/// Reads an `error` event. The SDKs' type has `code` and `message` at the top, the wire nests them under `error`.
fn read_error(sight: &mut Sight, data: &[u8]) {
    let nested = scan::member(data, "error").and_then(|error| ProviderError::read(error.raw));
    sight.set_error(nested.or_else(|| ProviderError::read(data)));
    sight.failed = true;
}

/// Takes in a body that is not a stream.
pub(in crate::dialect) fn on_body(sight: &mut Sight, body: &MemberTap) {
    sight.set_usage(body.member("usage").and_then(read_openai));
    if let Some(id) = body.member("id") {
        sight.set_response_id(id);
    }
    sight.take_body(body, "model");
}
