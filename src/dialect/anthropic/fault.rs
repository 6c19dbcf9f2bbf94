//! Errors of this dialect. Rules: the project's dialect mapping, section 13.

use crate::dialect::ir::{Fault, FaultCase, Text};
use crate::dialect::openai;
use crate::json::scan;
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};

/// What Anthropic says for a case: status and `type`.
fn words_of(case: FaultCase) -> (u16, &'static str) {
    match case {
        FaultCase::BadRequest | FaultCase::ContextTooLong => (400, "invalid_request_error"),
        FaultCase::BadKey => (401, "authentication_error"),
        FaultCase::NoCredit => (402, "billing_error"),
        FaultCase::Forbidden => (403, "permission_error"),
        FaultCase::NotFound => (404, "not_found_error"),
        FaultCase::Conflict => (409, "conflict_error"),
        FaultCase::TooLarge => (413, "request_too_large"),
        FaultCase::RateLimited => (429, "rate_limit_error"),
        FaultCase::Internal => (500, "api_error"),
        FaultCase::Timeout => (504, "timeout_error"),
        FaultCase::Overloaded => (529, "overloaded_error"),
    }
}

/// How Anthropic's own text for a prompt that is too long begins; clients that shorten it look for these words.
const TOO_LONG: &str = "prompt is too long";

/// Reads the body of an error response, of whatever shape it is. Servers like Anthropic's answer in every shape that
/// those like OpenAI's do, so one reader serves both.
pub(in crate::dialect) fn read_fault(status: u16, body: &[u8]) -> Fault<'_> {
    let error = scan::member(body, "error").filter(|error| error.kind == Kind::Object);
    corrected(match error {
        // The `type` beside it says no more than that it is an error.
        Some(error) => openai::read_error(status, &error),
        None => openai::read_fault(status, body),
    })
}

/// Reads the `error` member of an event, or of a body that came with status 200.
pub(super) fn read_error<'a>(error: &Value<'a>) -> Fault<'a> {
    corrected(openai::read_error(0, error))
}

/// Anthropic says that an account is out of credit with a 400 and the words of a bad request.
fn corrected(mut fault: Fault<'_>) -> Fault<'_> {
    if fault.case == FaultCase::BadRequest && fault.message.escaped().contains("credit balance is too low") {
        fault.case = FaultCase::NoCredit;
    }
    fault
}

/// Writes the body of an error response; its status.
pub(in crate::dialect) fn write_fault(fault: &Fault<'_>, trace_id: &str, out: &mut Vec<u8>) -> u16 {
    write::object(out, |body| {
        write_error(body, fault);
        body.plain("request_id", trace_id);
        body.plain("trace_id", trace_id);
    });
    words_of(fault.case).0
}

/// Writes what an error body and an error event have in common.
pub(super) fn write_error(body: &mut Object<'_>, fault: &Fault<'_>) {
    body.plain("type", "error");
    body.object("error", |error| {
        error.plain("type", words_of(fault.case).1);
        let says_so = fault.message.escaped().contains(TOO_LONG);
        if fault.case == FaultCase::ContextTooLong && !says_so {
            let mut message = Text::from(format!("{TOO_LONG}: "));
            message.push(&fault.message);
            error.text("message", &message);
        } else {
            error.text("message", &fault.message);
        }
    });
}

/// A failure that a reader found itself.
pub(super) fn broken(message: &'static str) -> Fault<'static> {
    Fault {
        case: FaultCase::Internal,
        message: Text::from_plain(message),
        code: None,
        param: None,
        retry_after_s: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_all_shapes_are_told_apart() {
        let anthropic = |kind: &str, message: &str| {
            format!(
                r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
            )
        };
        let cases = [
            (401, anthropic("authentication_error", "invalid x-api-key"), FaultCase::BadKey),
            (400, anthropic("invalid_request_error", "max_tokens: Field required"), FaultCase::BadRequest),
            (
                400,
                anthropic("invalid_request_error", "prompt is too long: 3333404 tokens > 200000 maximum"),
                FaultCase::ContextTooLong,
            ),
            (
                400,
                anthropic(
                    "invalid_request_error",
                    "Your credit balance is too low to access the Anthropic API.",
                ),
                FaultCase::NoCredit,
            ),
            (402, anthropic("billing_error", "x"), FaultCase::NoCredit),
            (403, anthropic("permission_error", "x"), FaultCase::Forbidden),
            (404, anthropic("not_found_error", "model: x"), FaultCase::NotFound),
            (409, anthropic("conflict_error", "x"), FaultCase::Conflict),
            (413, anthropic("request_too_large", "x"), FaultCase::TooLarge),
            (429, anthropic("rate_limit_error", "x"), FaultCase::RateLimited),
            (500, anthropic("api_error", "x"), FaultCase::Internal),
            (504, anthropic("timeout_error", "x"), FaultCase::Timeout),
            (529, anthropic("overloaded_error", "Overloaded"), FaultCase::Overloaded),
            (529, String::new(), FaultCase::Overloaded),
            (502, "<html><title>502 Bad Gateway</title></html>".to_owned(), FaultCase::Internal),
            (200, anthropic("overloaded_error", "Overloaded"), FaultCase::Overloaded),
            (400, r#"{"detail":"no"}"#.to_owned(), FaultCase::BadRequest),
        ];
        for (status, body, case) in cases {
            assert_eq!(read_fault(status, body.as_bytes()).case, case, "{status} {body}");
        }
    }

    #[test]
    fn every_case_is_said_in_a_way_that_is_read_back() {
        for (case, status) in [
            (FaultCase::BadRequest, 400),
            (FaultCase::ContextTooLong, 400),
            (FaultCase::BadKey, 401),
            (FaultCase::NoCredit, 402),
            (FaultCase::Forbidden, 403),
            (FaultCase::NotFound, 404),
            (FaultCase::Conflict, 409),
            (FaultCase::TooLarge, 413),
            (FaultCase::RateLimited, 429),
            (FaultCase::Internal, 500),
            (FaultCase::Timeout, 504),
            (FaultCase::Overloaded, 529),
        ] {
            let fault = Fault { case, message: Text::from_plain("it \"broke\""), ..broken("") };
            let mut out = Vec::new();
            assert_eq!(write_fault(&fault, "0198-a", &mut out), status);
            let read = read_fault(status, &out);
            assert_eq!(read.case, case);
            assert!(read.message.decode().unwrap().ends_with("it \"broke\""));
            let body: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(body["type"], "error");
            assert_eq!(body["trace_id"], "0198-a");
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_is_said_in_anthropics_words() {
        let fault = |message| Fault {
            case: FaultCase::ContextTooLong,
            message: Text::from_plain(message),
            ..broken("")
        };
        for (message, said) in [
            ("maximum context length is 8192", "prompt is too long: maximum context length is 8192"),
            ("prompt is too long: 9 > 8", "prompt is too long: 9 > 8"),
        ] {
            let mut out = Vec::new();
            write_fault(&fault(message), "t", &mut out);
            let body: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(body["error"]["message"], said);
        }
    }
}
