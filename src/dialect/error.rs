//! Errors of the gateway's own in the shapes that the clients of each dialect understand.
//!
//! Owns the shapes. Which error is said when, and with which status, is decided elsewhere. Rules: the project's proxy
//! API, sections 4 and 12.

use super::Dialect;
use crate::json::text::{append_number, append_string};
use crate::sse::append_event;

/// One error to be said to a client. Texts must not hold keys, upstream addresses or other tenants' names.
#[derive(Debug, Clone, Copy)]
pub struct ErrorBody<'a> {
    /// The gateway's own code, such as `budget_exceeded`.
    pub code: &'static str,
    /// The HTTP status that says the same.
    pub status: u16,
    /// For people.
    pub message: &'a str,
    /// The request's trace id.
    pub trace_id: &'a str,
}

/// Anthropic's name for the kind of an error, by its HTTP status. Source: Anthropic API docs, "Errors".
pub fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 | 414 | 431 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Google's name for the kind of an error, by its HTTP status. Source: Google APIs, `google.rpc.Code`.
pub fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        408 | 504 => "DEADLINE_EXCEEDED",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// Where a stream stands that is ended by an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamPosition<'a> {
    /// The bytes sent so far end inside an event, which has to be ended first.
    pub is_inside_event: bool,
    /// Events sent so far: the `sequence_number` that comes next in the Responses dialect.
    pub events: u64,
    /// The id of the response that is streamed, in the Responses dialect.
    pub response_id: Option<&'a str>,
    /// The model that answers, as the stream has named it.
    pub model: Option<&'a str>,
    /// Now, in seconds since the epoch.
    pub unix_seconds: u64,
}

/// Appends the JSON body of an error response.
///
/// One body satisfies OpenAI's and Anthropic's clients; only `error.type` differs. Google's clients get Google's own.
pub fn write_error(out: &mut Vec<u8>, dialect: Dialect, error: &ErrorBody<'_>) {
    let kind = match dialect {
        Dialect::AnthropicMessages => anthropic_type(error.status),
        Dialect::OpenAiChat | Dialect::OpenAiResponses => error.code,
        Dialect::Gemini => return append_google_error(out, error),
    };
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"message\":");
    append_string(out, error.message);
    append_member(out, "type", kind);
    append_member(out, "code", error.code);
    out.push(b'}');
    append_member(out, "message", error.message);
    append_member(out, "trace_id", error.trace_id);
    out.push(b'}');
}

/// Appends the event or events that end a running stream with an error; no end mark of the dialect follows.
///
/// - Chat: a chunk with `error` at the top, on which the stock SDKs raise.
/// - Responses: `error` with the fields both at the top, as the SDKs' types have them, and under `error`, as OpenAI
///   sends them and as the SDKs look for them; then `response.failed` for clients that wait for an end event.
/// - Anthropic: `error`.
/// - Gemini: a chunk with Google's error object.
pub fn write_stream_error(
    out: &mut Vec<u8>,
    dialect: Dialect,
    error: &ErrorBody<'_>,
    at: &StreamPosition<'_>,
) {
    if at.is_inside_event {
        // A blank line ends what was cut off; a client that cannot parse it raises as well.
        out.extend_from_slice(b"\n\n");
    }
    let mut data = Vec::with_capacity(256 + 2 * error.message.len());
    match dialect {
        Dialect::OpenAiChat => {
            data.extend_from_slice(b"{\"error\":");
            append_openai_error(&mut data, error);
            data.push(b'}');
            append_event(out, "", &data);
        }
        Dialect::OpenAiResponses => {
            data.extend_from_slice(b"{\"type\":\"error\",\"sequence_number\":");
            append_number(&mut data, at.events);
            append_member(&mut data, "code", error.code);
            append_member(&mut data, "message", error.message);
            data.extend_from_slice(b",\"param\":null,\"error\":");
            append_openai_error(&mut data, error);
            data.push(b'}');
            append_event(out, "error", &data);
            data.clear();
            append_failed_response(&mut data, error, at);
            append_event(out, "response.failed", &data);
        }
        Dialect::AnthropicMessages => {
            data.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
            append_string(&mut data, anthropic_type(error.status));
            append_member(&mut data, "message", error.message);
            data.extend_from_slice(b"}}");
            append_event(out, "error", &data);
        }
        Dialect::Gemini => {
            append_google_error(&mut data, error);
            append_event(out, "", &data);
        }
    }
}

/// The code and the trace id stand where Google's services put what is theirs: `google.rpc.ErrorInfo`.
fn append_google_error(out: &mut Vec<u8>, error: &ErrorBody<'_>) {
    out.extend_from_slice(b"{\"error\":{\"code\":");
    append_number(out, u64::from(error.status));
    append_member(out, "message", error.message);
    append_member(out, "status", google_status(error.status));
    out.extend_from_slice(b",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\"");
    append_member(out, "reason", &error.code.to_ascii_uppercase());
    append_member(out, "domain", "routerly");
    out.extend_from_slice(b",\"metadata\":{\"traceId\":");
    append_string(out, error.trace_id);
    out.extend_from_slice(b"}}]}}");
}

fn append_openai_error(out: &mut Vec<u8>, error: &ErrorBody<'_>) {
    out.extend_from_slice(b"{\"message\":");
    append_string(out, error.message);
    append_member(out, "type", error.code);
    out.extend_from_slice(b",\"param\":null");
    append_member(out, "code", error.code);
    out.push(b'}');
}

fn append_failed_response(out: &mut Vec<u8>, error: &ErrorBody<'_>, at: &StreamPosition<'_>) {
    out.extend_from_slice(b"{\"type\":\"response.failed\",\"sequence_number\":");
    append_number(out, at.events.saturating_add(1));
    out.extend_from_slice(b",\"response\":{\"id\":");
    match at.response_id {
        Some(id) => append_string(out, id),
        None => {
            // The stream broke before it named the response: the trace id is as good as any.
            out.extend_from_slice(b"\"resp_");
            out.extend(error.trace_id.bytes().filter(u8::is_ascii_alphanumeric));
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"object\":\"response\",\"created_at\":");
    append_number(out, at.unix_seconds);
    out.extend_from_slice(b",\"status\":\"failed\",\"error\":{\"code\":");
    append_string(out, error.code);
    append_member(out, "message", error.message);
    out.extend_from_slice(b"},\"incomplete_details\":null,\"output\":[],\"usage\":null");
    if let Some(model) = at.model {
        append_member(out, "model", model);
    }
    out.extend_from_slice(b"}}");
}

/// Appends `,"name":"value"`.
pub(super) fn append_member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    append_string(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::{StreamEnd, UsageTap};
    use crate::sse::Observer;

    const ERROR: ErrorBody<'_> = ErrorBody {
        code: "budget_exceeded",
        status: 503,
        message: "limit \"daily\"\nreached",
        trace_id: "0198-aé",
    };

    fn events(wire: &[u8]) -> Vec<(String, Value)> {
        let mut events = Vec::new();
        Observer::new().feed(wire, |event| {
            let name = String::from_utf8(event.name.to_vec()).unwrap();
            events.push((name, serde_json::from_slice(&event.data).unwrap()));
        });
        events
    }

    #[test]
    fn error_bodies_satisfy_all_clients() {
        for (dialect, kind) in [
            (Dialect::OpenAiChat, "budget_exceeded"),
            (Dialect::OpenAiResponses, "budget_exceeded"),
            (Dialect::AnthropicMessages, "overloaded_error"),
        ] {
            let mut out = Vec::new();
            write_error(&mut out, dialect, &ERROR);
            let expected = json!({
                "type": "error",
                "error": {"message": ERROR.message, "type": kind, "code": "budget_exceeded"},
                "message": ERROR.message,
                "trace_id": ERROR.trace_id,
            });
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }
        let mut out = Vec::new();
        write_error(&mut out, Dialect::Gemini, &ERROR);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), google());
    }

    fn google() -> Value {
        json!({
            "error": {
                "code": 503, "message": ERROR.message, "status": "UNAVAILABLE",
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BUDGET_EXCEEDED",
                    "domain": "routerly", "metadata": {"traceId": ERROR.trace_id},
                }],
            },
        })
    }

    #[test]
    fn errors_in_a_stream_have_the_shape_of_its_dialect() {
        let openai = json!({
            "message": ERROR.message, "type": "budget_exceeded", "param": null, "code": "budget_exceeded"
        });
        let cases = [
            (Dialect::OpenAiChat, vec![("", json!({ "error": openai }))]),
            (
                Dialect::OpenAiResponses,
                vec![
                    (
                        "error",
                        json!({
                            "type": "error", "sequence_number": 4, "code": "budget_exceeded",
                            "message": ERROR.message, "param": null, "error": openai,
                        }),
                    ),
                    (
                        "response.failed",
                        json!({
                            "type": "response.failed", "sequence_number": 5,
                            "response": {
                                "id": "resp_1", "object": "response", "created_at": 17, "status": "failed",
                                "error": {"code": "budget_exceeded", "message": ERROR.message},
                                "incomplete_details": null, "output": [], "usage": null, "model": "gpt-5",
                            },
                        }),
                    ),
                ],
            ),
            (
                Dialect::AnthropicMessages,
                vec![(
                    "error",
                    json!({
                        "type": "error", "error": {"type": "overloaded_error", "message": ERROR.message}
                    }),
                )],
            ),
            (Dialect::Gemini, vec![("", google())]),
        ];
        let at = StreamPosition {
            events: 4,
            response_id: Some("resp_1"),
            model: Some("gpt-5"),
            unix_seconds: 17,
            ..StreamPosition::default()
        };
        for (dialect, expected) in cases {
            let mut out = Vec::new();
            write_stream_error(&mut out, dialect, &ERROR, &at);
            let expected: Vec<_> =
                expected.into_iter().map(|(name, data)| (name.to_string(), data)).collect();
            assert_eq!(events(&out), expected, "{dialect:?}");

            let mut tap = UsageTap::new(dialect, true);
            tap.feed(&out);
            let report = tap.finish();
            assert_eq!(report.end, StreamEnd::ErrorEvent, "{dialect:?}");
            assert_eq!(report.error.expect("an error").message, ERROR.message, "{dialect:?}");
        }
    }

    #[test]
    fn an_event_that_was_cut_off_is_ended_first() {
        let mut out = b"data: {\"cut".to_vec();
        let at = StreamPosition { is_inside_event: true, ..StreamPosition::default() };
        write_stream_error(&mut out, Dialect::OpenAiChat, &ERROR, &at);
        let mut seen = Vec::new();
        Observer::new().feed(&out, |event| seen.push(event.data.into_owned()));
        assert_eq!(seen[0], b"{\"cut");
        assert!(seen[1].starts_with(b"{\"error\":"));
    }

    #[test]
    fn a_response_without_a_name_gets_one_from_the_trace() {
        let mut out = Vec::new();
        write_stream_error(&mut out, Dialect::OpenAiResponses, &ERROR, &StreamPosition::default());
        assert_eq!(events(&out)[1].1["response"]["id"], "resp_0198a");
    }
}
