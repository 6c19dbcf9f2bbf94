//! Google's error envelope. Rules: the project's dialect mapping, section 13; google.rpc.Status and its details.

use super::fields::{lenient, text};
use crate::dialect::error::append_member;
use crate::dialect::ir::{Fault, FaultCase, Text};
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};
use crate::limits::PROVIDER_ERROR_TEXT_BYTES_MAX;

/// The provider sent something that cannot be an answer.
pub(super) fn broken(message: Text<'_>) -> Fault<'_> {
    Fault { case: FaultCase::Internal, message, code: None, param: None, retry_after_s: None }
}

/// What an error body says, whatever its shape. `status` is the HTTP status; the body's own code wins.
pub(in crate::dialect) fn read_fault<'a>(status: u16, body: &'a [u8]) -> Fault<'a> {
    let mut envelope = body.trim_ascii();
    if envelope.starts_with(b"[") {
        let mut first = None;
        let _ = scan::elements(envelope, |element| {
            first.get_or_insert(element.raw);
        });
        envelope = first.unwrap_or(envelope);
    }
    let error = lenient(envelope, ["error"]).map(|[error]| error);
    let members = match &error {
        Some(Some(error)) if error.kind == Kind::Object => lenient(error.raw, NAMES),
        Some(None) => lenient(envelope, NAMES),
        _ => None,
    };
    let [code, message, name, details] = members.unwrap_or([const { None }; 4]);
    let details = details.map(|details| Details::read(&details)).unwrap_or_default();
    let status =
        code.and_then(|code| code.as_count()).and_then(|code| u16::try_from(code).ok()).unwrap_or(status);
    let name = text(name.as_ref());
    let message = match (message, error) {
        (Some(message), _) => text(Some(&message)),
        (None, Some(Some(error))) => text(Some(&error)),
        (None, _) => plain_text(body),
    };
    let message = bounded(message, status);
    let case = case(status, name.as_ref().map_or("", Text::escaped), &details, message.escaped());
    Fault { case, message, code: name, param: details.field, retry_after_s: details.retry_after_s }
}

const NAMES: [&str; 4] = ["code", "message", "status", "details"];

/// A body that is no JSON and no web page.
fn plain_text(body: &[u8]) -> Option<Text<'_>> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (!text.is_empty() && !text.starts_with(['<', '{', '['])).then(|| Text::from_plain(text))
}

/// The message, cut to what is kept of it; words of our own where there is none.
fn bounded(message: Option<Text<'_>>, status: u16) -> Text<'_> {
    let message = message.filter(|message| !message.is_empty() && message.is_whole());
    match message {
        None => Text::from(format!("the provider answered with status {status}")),
        Some(message) if message.escaped().len() <= PROVIDER_ERROR_TEXT_BYTES_MAX => message,
        Some(message) => {
            let decoded = message.decode().unwrap_or_default();
            Text::from(decoded[..decoded.floor_char_boundary(PROVIDER_ERROR_TEXT_BYTES_MAX)].to_owned())
        }
    }
}

/// What the entries of `details` add.
#[derive(Debug, Default)]
struct Details<'a> {
    /// `ErrorInfo.reason`.
    reason: Option<Text<'a>>,
    /// The first of `BadRequest.fieldViolations`.
    field: Option<Text<'a>>,
    /// `RetryInfo.retryDelay`, rounded up.
    retry_after_s: Option<u64>,
}

impl<'a> Details<'a> {
    fn read(details: &Value<'a>) -> Self {
        let mut read = Self::default();
        let _ = scan::elements(details.raw, |entry| {
            let Some([reason, violations, delay]) =
                lenient(entry.raw, ["reason", "fieldViolations", "retryDelay"])
            else {
                return;
            };
            read.reason = read.reason.take().or(text(reason.as_ref()));
            read.retry_after_s = read.retry_after_s.or(delay.and_then(|delay| seconds(&delay)));
            let _ = violations.map(|violations| {
                scan::elements(violations.raw, |violation| {
                    let [field] = lenient(violation.raw, ["field"]).unwrap_or_default();
                    read.field = read.field.take().or(text(field.as_ref()));
                })
            });
        });
        read
    }
}

/// A duration such as `"34s"` or `"0.5s"`, rounded up.
fn seconds(delay: &Value<'_>) -> Option<u64> {
    let delay = text(Some(delay))?;
    let number = delay.escaped().strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let more = fraction.bytes().any(|digit| digit != b'0');
    whole.parse::<u64>().ok()?.checked_add(u64::from(more))
}

fn case(status: u16, name: &str, details: &Details<'_>, message: &str) -> FaultCase {
    match details.reason.as_ref().map_or("", Text::escaped) {
        "API_KEY_INVALID" | "API_KEY_SERVICE_BLOCKED" | "ACCESS_TOKEN_EXPIRED" => return FaultCase::BadKey,
        "BILLING_DISABLED" => return FaultCase::NoCredit,
        _ => {}
    }
    match name {
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => of_bad_request(status, message),
        "FAILED_PRECONDITION" => FaultCase::NoCredit,
        "UNIMPLEMENTED" => FaultCase::BadRequest,
        "UNAUTHENTICATED" => FaultCase::BadKey,
        "PERMISSION_DENIED" => FaultCase::Forbidden,
        "NOT_FOUND" => FaultCase::NotFound,
        "ABORTED" | "ALREADY_EXISTS" => FaultCase::Conflict,
        "RESOURCE_EXHAUSTED" => FaultCase::RateLimited,
        "UNAVAILABLE" => FaultCase::Overloaded,
        "DEADLINE_EXCEEDED" => FaultCase::Timeout,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => FaultCase::Internal,
        _ => match status {
            401 => FaultCase::BadKey,
            402 => FaultCase::NoCredit,
            403 => FaultCase::Forbidden,
            404 => FaultCase::NotFound,
            408 | 504 => FaultCase::Timeout,
            409 => FaultCase::Conflict,
            429 => FaultCase::RateLimited,
            503 | 529 => FaultCase::Overloaded,
            400..=499 => of_bad_request(status, message),
            _ => FaultCase::Internal,
        },
    }
}

fn of_bad_request(status: u16, message: &str) -> FaultCase {
    let says = |words: &str| memchr::memmem::find(message.as_bytes(), words.as_bytes()).is_some();
    if status == 413 || says("payload size exceeds") {
        FaultCase::TooLarge
    } else if says("input token count") && says("exceeds") {
        FaultCase::ContextTooLong
    } else {
        FaultCase::BadRequest
    }
}

/// Google's status and name for a case.
fn status_of(case: FaultCase) -> (u16, &'static str) {
    match case {
        FaultCase::BadRequest | FaultCase::ContextTooLong => (400, "INVALID_ARGUMENT"),
        FaultCase::BadKey => (401, "UNAUTHENTICATED"),
        FaultCase::Forbidden => (403, "PERMISSION_DENIED"),
        FaultCase::NoCredit => (400, "FAILED_PRECONDITION"),
        FaultCase::NotFound => (404, "NOT_FOUND"),
        FaultCase::Conflict => (409, "ABORTED"),
        FaultCase::TooLarge => (413, "INVALID_ARGUMENT"),
        FaultCase::RateLimited => (429, "RESOURCE_EXHAUSTED"),
        FaultCase::Internal => (500, "INTERNAL"),
        FaultCase::Overloaded => (503, "UNAVAILABLE"),
        FaultCase::Timeout => (504, "DEADLINE_EXCEEDED"),
    }
}

/// Appends an error body for a Gemini client; returns its HTTP status.
pub(in crate::dialect) fn write_fault(fault: &Fault<'_>, trace_id: &str, out: &mut Vec<u8>) -> u16 {
    out.push(b'{');
    append_error(fault, out);
    append_member(out, "trace_id", trace_id);
    out.push(b'}');
    status_of(fault.case).0
}

/// Appends the object that ends a stream.
pub(super) fn append_stream_error(fault: &Fault<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    append_error(fault, out);
    out.push(b'}');
}

fn append_error(fault: &Fault<'_>, out: &mut Vec<u8>) {
    let (status, name) = status_of(fault.case);
    out.extend_from_slice(b"\"error\":");
    write::object(out, |error| {
        error.number("code", u64::from(status));
        error.text("message", &fault.message);
        error.plain("status", name);
        if fault.param.is_some() || fault.retry_after_s.is_some() {
            write_details(error, fault);
        }
    });
}

fn write_details(error: &mut Object<'_>, fault: &Fault<'_>) {
    error.array("details", |details| {
        if let Some(field) = &fault.param {
            details.object(|entry| {
                entry.plain("@type", "type.googleapis.com/google.rpc.BadRequest");
                entry.array("fieldViolations", |violations| {
                    violations.object(|violation| {
                        violation.text("field", field);
                        violation.text("description", &fault.message);
                    });
                });
            });
        }
        if let Some(seconds) = fault.retry_after_s {
            details.object(|entry| {
                entry.plain("@type", "type.googleapis.com/google.rpc.RetryInfo");
                entry.plain("retryDelay", &format!("{seconds}s"));
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_any_shape_are_understood() {
        use FaultCase::*;
        let google = |code: u16, status: &str, message: &str, details: &str| {
            format!(
                r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}","details":[{details}]}}}}"#
            )
        };
        let info = |reason: &str| {
            format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#)
        };
        let long = "The input token count (1048600) exceeds the maximum number of tokens allowed (1048576).";
        let cases = [
            (400, google(400, "INVALID_ARGUMENT", "no", ""), BadRequest, "no"),
            (
                400,
                google(400, "INVALID_ARGUMENT", "API key not valid.", &info("API_KEY_INVALID")),
                BadKey,
                "API key not valid.",
            ),
            (400, google(400, "INVALID_ARGUMENT", long, ""), ContextTooLong, long),
            (400, google(400, "FAILED_PRECONDITION", "Enable billing.", ""), NoCredit, "Enable billing."),
            (403, google(403, "PERMISSION_DENIED", "b", &info("BILLING_DISABLED")), NoCredit, "b"),
            (403, google(403, "PERMISSION_DENIED", "p", ""), Forbidden, "p"),
            (401, google(401, "UNAUTHENTICATED", "u", ""), BadKey, "u"),
            (404, google(404, "NOT_FOUND", "n", ""), NotFound, "n"),
            (409, google(409, "ABORTED", "a", ""), Conflict, "a"),
            (429, google(429, "RESOURCE_EXHAUSTED", "r", ""), RateLimited, "r"),
            (500, google(500, "INTERNAL", "i", ""), Internal, "i"),
            (503, google(503, "UNAVAILABLE", "o", ""), Overloaded, "o"),
            (504, google(504, "DEADLINE_EXCEEDED", "t", ""), Timeout, "t"),
            (500, google(503, "NEW_NAME", "the body's code wins", ""), Overloaded, "the body's code wins"),
            (500, format!("[{}]", google(429, "RESOURCE_EXHAUSTED", "r", "")), RateLimited, "r"),
            (400, r#"{"error":"just words"}"#.to_owned(), BadRequest, "just words"),
            (400, r#"{"message":"at the top"}"#.to_owned(), BadRequest, "at the top"),
            (413, "Payload Too Large".to_owned(), TooLarge, "Payload Too Large"),
            (
                502,
                "<html><body>Bad Gateway</body></html>".to_owned(),
                Internal,
                "the provider answered with status 502",
            ),
            (504, String::new(), Timeout, "the provider answered with status 504"),
            (
                429,
                "{\"error\":{\"message\":\"\\ud800\"}}".to_owned(),
                RateLimited,
                "the provider answered with status 429",
            ),
            (400, "{\"error\":".to_owned(), BadRequest, "the provider answered with status 400"),
            (400, "[".to_owned(), BadRequest, "the provider answered with status 400"),
        ];
        for (status, body, case, message) in cases {
            let fault = read_fault(status, body.as_bytes());
            assert_eq!((fault.case, fault.message.decode().unwrap().as_ref()), (case, message), "{body}");
        }
    }

    #[test]
    fn details_say_how_long_to_wait_and_which_field_is_wrong() {
        for (delay, seconds) in [
            (r#""34s""#, Some(34)),
            (r#""34.07s""#, Some(35)),
            (r#""3.000s""#, Some(3)),
            (r#""0.2s""#, Some(1)),
            (r#""34""#, None),
            (r#""-1s""#, None),
            ("34", None),
        ] {
            let body =
                format!(r#"{{"error":{{"code":429,"details":[{{"x":1}},{{"retryDelay":{delay}}}]}}}}"#);
            assert_eq!(read_fault(429, body.as_bytes()).retry_after_s, seconds, "{delay}");
        }
        let body = r#"{"error":{"message":"m","details":[{"fieldViolations":[{"field":"tools[0]"},{"field":"b"}]}]}}"#;
        assert_eq!(read_fault(400, body.as_bytes()).param.unwrap().escaped(), "tools[0]");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let body = format!(r#"{{"error":{{"message":"x{}"}}}}"#, "é".repeat(PROVIDER_ERROR_TEXT_BYTES_MAX));
        assert_eq!(
            read_fault(400, body.as_bytes()).message.escaped().len(),
            PROVIDER_ERROR_TEXT_BYTES_MAX - 1
        );
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        use FaultCase::*;
        for (case, status) in [
            (BadRequest, 400),
            (BadKey, 401),
            (Forbidden, 403),
            (NoCredit, 400),
            (NotFound, 404),
            (Conflict, 409),
            (TooLarge, 413),
            (RateLimited, 429),
            (Internal, 500),
            (Overloaded, 503),
            (Timeout, 504),
        ] {
            let fault = Fault {
                case,
                message: Text::from_plain("wait \"a\" bit"),
                code: Some(Text::from_plain(status_of(case).1)),
                param: Some(Text::from_plain("tools")),
                retry_after_s: Some(7),
            };
            let mut out = Vec::new();
            assert_eq!(write_fault(&fault, "0198-ae", &mut out), status);
            assert_eq!(read_fault(status, &out), fault);
            let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(written["trace_id"], "0198-ae");
        }
    }
}
