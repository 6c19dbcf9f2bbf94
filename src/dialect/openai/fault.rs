//! Errors: what OpenAI and the servers like it send, which case it is, and how a case is said to a client.
//!
//! Rules: the project's dialect mapping, section 13.

use crate::dialect::Dialect;
use crate::dialect::ir::{Fault, FaultCase, Text};
use crate::json::scan::{self, Scanner};
use crate::json::token::{Kind, Value};
use crate::json::write::{self, Object};
use crate::limits::PROVIDER_ERROR_TEXT_BYTES_MAX;

/// Words of `code`, `type` and Google's `status` that name a case whatever the HTTP status is. Those that say only whose
/// fault it was (`invalid_request_error`, `api_error`) are not among them.
const WORDS: &[(&str, FaultCase)] = &[
    ("context_length_exceeded", FaultCase::ContextTooLong),
    ("context_window_exceeded", FaultCase::ContextTooLong),
    ("exceed_context_size_error", FaultCase::ContextTooLong),
    ("too_many_prompt_tokens", FaultCase::ContextTooLong),
    ("invalid_api_key", FaultCase::BadKey),
    ("authentication_error", FaultCase::BadKey),
    ("unauthenticated", FaultCase::BadKey),
    ("api_key_invalid", FaultCase::BadKey),
    ("permission_error", FaultCase::Forbidden),
    ("permission_denied", FaultCase::Forbidden),
    ("insufficient_quota", FaultCase::NoCredit),
    ("credit_balance_exhausted", FaultCase::NoCredit),
    ("billing_error", FaultCase::NoCredit),
    ("billing_hard_limit_reached", FaultCase::NoCredit),
    ("billing_not_active", FaultCase::NoCredit),
    ("model_not_found", FaultCase::NotFound),
    ("not_found_error", FaultCase::NotFound),
    ("not_found", FaultCase::NotFound),
    ("DeploymentNotFound", FaultCase::NotFound),
    ("conflict_error", FaultCase::Conflict),
    ("aborted", FaultCase::Conflict),
    ("request_too_large", FaultCase::TooLarge),
    ("rate_limit_exceeded", FaultCase::RateLimited),
    ("rate_limit_error", FaultCase::RateLimited),
    ("RateLimitReached", FaultCase::RateLimited),
    ("too_many_requests", FaultCase::RateLimited),
    ("resource_exhausted", FaultCase::RateLimited),
    ("tokens", FaultCase::RateLimited),
    ("requests", FaultCase::RateLimited),
    ("server_is_overloaded", FaultCase::Overloaded),
    ("slow_down", FaultCase::Overloaded),
    ("service_unavailable_error", FaultCase::Overloaded),
    ("overloaded_error", FaultCase::Overloaded),
    ("overloaded", FaultCase::Overloaded),
    ("unavailable", FaultCase::Overloaded),
    ("timeout", FaultCase::Timeout),
    ("timeout_error", FaultCase::Timeout),
    ("deadline_exceeded", FaultCase::Timeout),
];

/// Words that only say whose fault it was: they decide where the status says nothing.
const BROAD_WORDS: &[(&str, FaultCase)] = &[
    ("invalid_request_error", FaultCase::BadRequest),
    ("BadRequestError", FaultCase::BadRequest),
    ("invalid_argument", FaultCase::BadRequest),
    ("failed_precondition", FaultCase::BadRequest),
];

/// Pieces of messages of servers that have no code for a prompt that is too long (vLLM, Together, Ollama, Mistral).
const TOO_LONG: [&str; 4] =
    ["maximum context length", "context length", "context window", "prompt is too long"];

/// What OpenAI says for a case: status, `type`, `code`.
fn words_of(case: FaultCase, dialect: Dialect) -> (u16, &'static str, Option<&'static str>) {
    const BAD: &str = "invalid_request_error";
    match case {
        FaultCase::BadRequest => (400, BAD, None),
        FaultCase::ContextTooLong => (400, BAD, Some("context_length_exceeded")),
        FaultCase::BadKey => (401, BAD, Some("invalid_api_key")),
        FaultCase::Forbidden => (403, "permission_error", None),
        FaultCase::NoCredit => (429, "insufficient_quota", Some("insufficient_quota")),
        FaultCase::NotFound if dialect == Dialect::OpenAiResponses => (400, BAD, Some("model_not_found")),
        FaultCase::NotFound => (404, BAD, Some("model_not_found")),
        FaultCase::Conflict => (409, BAD, None),
        FaultCase::TooLarge => (413, BAD, None),
        FaultCase::RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        FaultCase::Internal => (500, "server_error", None),
        FaultCase::Overloaded => (503, "service_unavailable_error", Some("server_is_overloaded")),
        FaultCase::Timeout => (504, "server_error", Some("timeout")),
    }
}

/// Writes the body of an error response for a client of `dialect`; its status.
pub(in crate::dialect) fn write_fault(
    fault: &Fault<'_>,
    dialect: Dialect,
    trace_id: &str,
    out: &mut Vec<u8>,
) -> u16 {
    write::object(out, |body| {
        body.object("error", |error| write_error(error, fault, dialect));
        body.plain("trace_id", trace_id);
    });
    words_of(fault.case, dialect).0
}

/// Writes the members of an error object: `message`, `type`, `param`, `code`.
pub(in crate::dialect) fn write_error(error: &mut Object<'_>, fault: &Fault<'_>, dialect: Dialect) {
    let (_, kind, code) = words_of(fault.case, dialect);
    error.text("message", &fault.message);
    error.plain("type", kind);
    match &fault.param {
        Some(param) => error.text("param", param),
        None => error.null("param"),
    }
    match (code, &fault.code) {
        (Some(code), _) => error.plain("code", code),
        (None, Some(code)) => error.text("code", code),
        (None, None) => error.null("code"),
    }
}

/// The code of a fault where there has to be one.
pub(in crate::dialect) fn code_of<'a>(fault: &'a Fault<'_>, dialect: Dialect) -> Text<'a> {
    let (_, kind, code) = words_of(fault.case, dialect);
    match (code, &fault.code) {
        (Some(code), _) => Text::from_plain(code),
        (None, Some(code)) => code.borrow(),
        (None, None) => Text::from_plain(kind),
    }
}

/// Reads the body of an error response of OpenAI or a server like it, of whatever shape it is: JSON with `error` as an
/// object or a text, with `detail`, with the fields at the top, in an array of one; HTML; nothing.
pub(in crate::dialect) fn read_fault(status: u16, body: &[u8]) -> Fault<'_> {
    let mut scanner = Scanner::new(body);
    let value = scanner.value().ok().filter(|_| scanner.end().is_ok());
    let Some(value) = value else { return Reported::of_text(body).fault(status) };
    let mut reported = Reported::default();
    reported.read(&value, 0);
    reported.fault(status)
}

/// Reads an error object, or text, inside an answer or an event that came with `status`.
pub(in crate::dialect) fn read_error<'a>(status: u16, error: &Value<'a>) -> Fault<'a> {
    let mut reported = Reported::default();
    reported.read(error, 0);
    reported.fault(status)
}

/// The fields of an error as a server wrote them.
#[derive(Default)]
struct Reported<'a> {
    message: Option<Text<'a>>,
    kind: Option<Text<'a>>,
    code: Option<Text<'a>>,
    /// A numeric `code`, or Groq's `status_code`: an HTTP status.
    status: Option<u16>,
    param: Option<Text<'a>>,
    /// Google's reason, such as `API_KEY_INVALID`.
    reason: Option<Text<'a>>,
    retry_after_s: Option<u64>,
}

/// Levels of objects, arrays and quoted JSON that are followed; no server has more than four.
const DEPTH_MAX: usize = 6;

impl<'a> Reported<'a> {
    /// A body that is no JSON: its first line of text; of HTML and broken JSON nothing.
    fn of_text(body: &'a [u8]) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(PROVIDER_ERROR_TEXT_BYTES_MAX)]);
        let line = text.trim().lines().next().unwrap_or_default().trim_end_matches('\u{fffd}');
        if line.is_empty() || line.starts_with(['<', '{', '[']) {
            return Self::default();
        }
        Self { message: Some(Text::from(line.to_owned())), ..Self::default() }
    }

    fn read(&mut self, value: &Value<'a>, depth: usize) {
        if depth >= DEPTH_MAX {
            return;
        }
        match value.kind {
            Kind::String => set(&mut self.message, value),
            Kind::Array => {
                let mut first = None;
                let _ = scan::elements(value.raw, |element| _ = first.get_or_insert(element));
                if let Some(first) = first {
                    self.read(&first, depth + 1);
                }
            }
            Kind::Object => self.read_object(value.raw, depth),
            Kind::Null | Kind::Bool | Kind::Number => {}
        }
    }

    fn read_object(&mut self, raw: &'a [u8], depth: usize) {
        const NAMES: [&str; 12] = [
            "error",
            "detail",
            "message",
            "msg",
            "type",
            "status",
            "code",
            "param",
            "status_code",
            "metadata",
            "details",
            "loc",
        ];
        let mut metadata = None;
        let _ = scan::members(raw, |key, value| match key.matches(&NAMES) {
            Some(0 | 1) => self.read(&value, depth + 1),
            // FastAPI's own shape has the error inside: `{"message":{"detail":[…]}}`.
            Some(2 | 3) => self.read(&value, depth + 1),
            Some(4) => set(&mut self.kind, &value),
            Some(5) if self.kind.is_none() => set(&mut self.kind, &value),
            Some(6 | 8) if value.kind == Kind::Number => {
                self.status = value.as_count().and_then(|code| code.try_into().ok()).or(self.status);
            }
            Some(6) => set(&mut self.code, &value),
            Some(7) => set(&mut self.param, &value),
            Some(9) => metadata = Some(value),
            Some(10) => self.read_details(&value),
            Some(11) => self.read_location(&value),
            _ => {}
        });
        // OpenRouter says "Provider returned error" and quotes what the provider said.
        if let Some(raw) = metadata.and_then(|metadata| scan::member(metadata.raw, "raw"))
            && let Some(quoted) = Text::from_token(raw.raw)
            && let Some(quoted) = quoted.decode()
        {
            let said = read_fault(0, quoted.as_bytes()).message;
            if said.escaped() != NO_WORDS {
                self.message = Some(said.into_owned());
            }
        }
    }

    /// Google's details: why, and how long to wait.
    fn read_details(&mut self, details: &Value<'a>) {
        let _ = scan::elements(details.raw, |detail| {
            let _ = scan::members(detail.raw, |key, value| match key.matches(&["reason", "retryDelay"]) {
                Some(0) => set(&mut self.reason, &value),
                Some(_) => self.retry_after_s = value.plain_string().and_then(seconds).or(self.retry_after_s),
                None => {}
            });
        });
    }

    /// FastAPI's place of a wrong field: `["body","messages",0]`.
    fn read_location(&mut self, location: &Value<'a>) {
        let mut path = String::new();
        let _ = scan::elements(location.raw, |step| {
            let step = step.plain_string().unwrap_or(step.raw);
            if step != b"body" && path.len() < PROVIDER_ERROR_TEXT_BYTES_MAX {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&String::from_utf8_lossy(&step[..step.len().min(64)]));
            }
        });
        if !path.is_empty() {
            self.param = Some(Text::from(path));
        }
    }

    fn fault(self, status: u16) -> Fault<'a> {
        let words = [&self.reason, &self.code, &self.kind];
        let find = |table: &[(&str, FaultCase)]| {
            let words = words.into_iter().flatten();
            let mut cases = words.filter_map(|word| {
                table.iter().find(|(known, _)| known.eq_ignore_ascii_case(word.escaped()))
            });
            cases.next().map(|(_, case)| *case)
        };
        let message = self.message.as_ref().map_or("", Text::escaped);
        let of_status = case_of(status).or_else(|| case_of(self.status?));
        let case = match find(WORDS).or(of_status).or_else(|| find(BROAD_WORDS)) {
            Some(FaultCase::BadRequest | FaultCase::TooLarge) if is_too_long(message) => {
                FaultCase::ContextTooLong
            }
            Some(FaultCase::BadRequest) if message.contains("API key not valid") => FaultCase::BadKey,
            Some(case) => case,
            None => FaultCase::Internal,
        };
        Fault {
            case,
            message: self.message.map_or(Text::from_plain(NO_WORDS), bounded),
            code: self.code.or(self.kind).map(bounded),
            param: self.param.map(bounded),
            retry_after_s: self.retry_after_s,
        }
    }
}

const NO_WORDS: &str = "the provider reported an error without a text";

/// The case of an HTTP status of 400 or more.
fn case_of(status: u16) -> Option<FaultCase> {
    Some(match status {
        401 => FaultCase::BadKey,
        402 => FaultCase::NoCredit,
        403 => FaultCase::Forbidden,
        404 => FaultCase::NotFound,
        408 | 504 | 524 => FaultCase::Timeout,
        409 => FaultCase::Conflict,
        413 => FaultCase::TooLarge,
        429 => FaultCase::RateLimited,
        // 498 is Groq's, 529 Anthropic's.
        498 | 503 | 529 => FaultCase::Overloaded,
        400..=499 => FaultCase::BadRequest,
        500..=599 => FaultCase::Internal,
        _ => return None,
    })
}

fn is_too_long(message: &str) -> bool {
    TOO_LONG.iter().any(|words| message.contains(words))
}

/// `34s` or `34.07s`, rounded up.
fn seconds(delay: &[u8]) -> Option<u64> {
    let number: f64 = std::str::from_utf8(delay).ok()?.strip_suffix('s')?.parse().ok()?;
    (0.0..1e9).contains(&number).then_some(number.ceil() as u64)
}

/// Keeps the first text that is not empty.
fn set<'a>(slot: &mut Option<Text<'a>>, value: &Value<'a>) {
    if slot.is_none() {
        *slot = Text::from_token(value.raw).filter(|text| !text.is_empty() && text.is_whole());
    }
}

/// The text, cut at a character to [`PROVIDER_ERROR_TEXT_BYTES_MAX`].
fn bounded(text: Text<'_>) -> Text<'_> {
    if text.escaped().len() <= PROVIDER_ERROR_TEXT_BYTES_MAX {
        return text;
    }
    let plain = text.decode().unwrap_or_default();
    Text::from(plain[..plain.floor_char_boundary(PROVIDER_ERROR_TEXT_BYTES_MAX)].to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Document, json};

    use super::*;

    #[test]
    fn errors_of_all_shapes_are_told_apart() {
        use FaultCase::*;
        let cases: &[(u16, &str, FaultCase, &str)] = &[
            (
                400,
                r#"{"error":{"message":"m","type":"invalid_request_error","param":"p","code":null}}"#,
                BadRequest,
                "m",
            ),
            (
                400,
                r#"{"error":{"message":"m","type":"x","code":"context_length_exceeded"}}"#,
                ContextTooLong,
                "m",
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 4096","type":"BadRequestError","param":null,"code":400}"#,
                ContextTooLong,
                "This model's maximum context length is 4096",
            ),
            (
                400,
                r#"{"error":{"message":"too long","type":"too_many_prompt_tokens","code":400}}"#,
                ContextTooLong,
                "too long",
            ),
            (
                401,
                r#"{"error":{"message":"Unauthorized","type":"api_error","param":null,"code":null}}"#,
                BadKey,
                "Unauthorized",
            ),
            (
                401,
                r#"{"error":{"message":"m","type":"authentication_error","code":"invalid_request_error"}}"#,
                BadKey,
                "m",
            ),
            (
                404,
                r#"{"error":{"code":"model_not_found","message":"m","type":"invalid_request_error"}}"#,
                NotFound,
                "m",
            ),
            (400, r#"{"error":{"code":"model_not_found","message":"m"}}"#, NotFound, "m"),
            (
                400,
                r#"{"code":"Client specified an invalid argument","error":"Incorrect"}"#,
                BadRequest,
                "Incorrect",
            ),
            (401, r#"{"detail":"Unauthorized"}"#, BadKey, "Unauthorized"),
            (
                422,
                r#"{"detail":[{"type":"missing","loc":["body","messages",0,"role"],"msg":"Field required"}]}"#,
                BadRequest,
                "Field required",
            ),
            (
                422,
                r#"{"object":"error","message":{"detail":[{"loc":["body"],"msg":"inner"}]},"code":null}"#,
                BadRequest,
                "inner",
            ),
            (429, r#"{"error":{"code":"RateLimitReached","message":"m","details":"m"}}"#, RateLimited, "m"),
            (
                429,
                r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                NoCredit,
                "m",
            ),
            (
                502,
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\"error\":{\"message\":\"inner\"}}","provider_name":"x"}}}"#,
                Internal,
                "inner",
            ),
            (
                200,
                r#"{"error":{"code":400,"message":"Token limit reached"}}"#,
                BadRequest,
                "Token limit reached",
            ),
            (
                200,
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"tool_use_failed","status_code":400}}"#,
                BadRequest,
                "m",
            ),
            (200, r#"{"error":{"message":"m","type":"invalid_request_error"}}"#, BadRequest, "m"),
            (200, r#"{"error":{"message":"m"}}"#, Internal, "m"),
            (
                400,
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
                BadKey,
                "m",
            ),
            (
                429,
                r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#,
                RateLimited,
                "m",
            ),
            (503, "<html><body>Service Unavailable</body></html>", Overloaded, NO_WORDS),
            (500, "", Internal, NO_WORDS),
            (500, "upstream failed\nstack", Internal, "upstream failed"),
            (500, r#"{"error":{"message":"cut"#, Internal, NO_WORDS),
            (529, "{}", Overloaded, NO_WORDS),
            (400, r#"{"error":{"message":""}}"#, BadRequest, NO_WORDS),
            (400, r#"{"error":null}"#, BadRequest, NO_WORDS),
        ];
        for (status, body, case, message) in cases {
            let fault = read_fault(*status, body.as_bytes());
            assert_eq!((fault.case, fault.message.escaped()), (*case, *message), "{status} {body}");
        }
    }

    #[test]
    fn the_wrong_field_and_the_time_to_wait_are_read() {
        let body = r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"m"}]}"#;
        assert_eq!(
            read_fault(422, body.as_bytes()).param.map(|p| p.escaped().to_owned()),
            Some("messages.0.role".to_owned())
        );
        let body = r#"[{"error":{"code":429,"details":[{"a":1},{"retryDelay":"33.2s"}]}}]"#;
        assert_eq!(read_fault(429, body.as_bytes()).retry_after_s, Some(34));
    }

    #[test]
    fn a_long_text_is_cut_and_deep_nesting_given_up() {
        let body = format!(r#"{{"error":{{"message":"{}"}}}}"#, r"é\n".repeat(PROVIDER_ERROR_TEXT_BYTES_MAX));
        let fault = read_fault(400, body.as_bytes());
        assert!(fault.message.decode().unwrap().len() <= PROVIDER_ERROR_TEXT_BYTES_MAX);
        let quoted = "[".repeat(100_000);
        assert_eq!(read_fault(400, quoted.as_bytes()).message.escaped(), NO_WORDS);
    }

    #[test]
    fn every_case_is_said_in_a_way_that_is_read_back() {
        use FaultCase::*;
        for dialect in [Dialect::OpenAiChat, Dialect::OpenAiResponses] {
            for case in [
                BadRequest,
                ContextTooLong,
                BadKey,
                Forbidden,
                NoCredit,
                NotFound,
                Conflict,
                TooLarge,
                RateLimited,
                Internal,
                Overloaded,
                Timeout,
            ] {
                let fault = Fault {
                    case,
                    message: Text::from_plain("a \"word\""),
                    code: Some(Text::from_plain("own")),
                    param: Some(Text::from_plain("messages[0]")),
                    retry_after_s: None,
                };
                let mut out = Vec::new();
                let status = write_fault(&fault, dialect, "trace", &mut out);
                let back = read_fault(status, &out);
                assert_eq!((back.case, &back.message, &back.param), (case, &fault.message, &fault.param));
                let body: Document = serde_json::from_slice(&out).unwrap();
                assert_eq!(body["trace_id"], "trace");
                let code = words_of(case, dialect).2;
                assert_eq!(body["error"]["code"], json!(code.unwrap_or("own")));
            }
        }
    }
}
