//! Errors as each provider words and wraps them.
//!
//! Owns the table from status to type, code and text, and the three envelopes. What is wrong with a request is
//! found elsewhere and comes here as a [`Refusal`].
//!
//! Source: `spec/dialects.md` sections 12 and 13; recorded error responses.

use super::pen::Pen;
use crate::dialect::Dialect;

/// Why a request is not answered with a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `None`: the provider's usual text for the status.
    pub(super) message: Option<String>,
    /// The parameter at fault, where the dialect says so.
    pub(super) param: Option<&'static str>,
    /// A code that overrides the status's usual one.
    pub(super) code: Option<&'static str>,
}

impl Refusal {
    /// The usual error of `status`.
    pub(super) fn status(status: u16) -> Self {
        Self { status, message: None, param: None, code: None }
    }

    /// A 400 with a text of its own.
    pub(super) fn bad_request(param: &'static str, message: String) -> Self {
        Self { message: Some(message), param: Some(param), ..Self::status(400) }
    }

    /// A 404 with a text of its own.
    pub(super) fn not_found(message: String) -> Self {
        Self { message: Some(message), ..Self::status(404) }
    }

    /// A body that does not parse, or whose fields have the wrong type.
    pub(super) fn json(dialect: Dialect, error: &serde_json::Error) -> Self {
        let message = match (dialect, error.is_data()) {
            (Dialect::OpenAiChat | Dialect::OpenAiResponses, false) => {
                format!("We could not parse the JSON body of your request. The error was: {error}")
            }
            (Dialect::AnthropicMessages, false) => format!("The request body is not valid JSON: {error}"),
            (Dialect::Gemini, false) => format!("Invalid JSON payload received. {error}"),
            (_, true) => format!("Invalid type in the request body: {error}"),
        };
        Self { message: Some(message), ..Self::status(400) }
    }

    /// A required field that is not there.
    pub(super) fn missing(dialect: Dialect, param: &'static str) -> Self {
        match dialect {
            Dialect::AnthropicMessages => Self::bad_request(param, format!("{param}: Field required")),
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Gemini => Self {
                code: Some("missing_required_parameter"),
                ..Self::bad_request(param, format!("Missing required parameter: '{param}'."))
            },
        }
    }

    /// An array that may not be empty.
    pub(super) fn empty(dialect: Dialect, param: &'static str) -> Self {
        match dialect {
            Dialect::AnthropicMessages => {
                Self::bad_request(param, format!("{param}: at least one message is required"))
            }
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Gemini => Self {
                code: Some("empty_array"),
                ..Self::bad_request(
                    param,
                    format!(
                        "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty \
                         array instead."
                    ),
                )
            },
        }
    }

    /// A key that is missing or not the one required; Gemini calls that a bad request.
    pub(super) fn key(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Gemini => Self { code: Some("API_KEY_INVALID"), ..Self::status(400) },
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::AnthropicMessages => Self::status(401),
        }
    }

    fn text(&self, dialect: Dialect) -> &str {
        if let Some(message) = &self.message {
            return message;
        }
        match (dialect, self.status) {
            (Dialect::Gemini, 400) if self.code == Some("API_KEY_INVALID") => {
                "API key not valid. Please pass a valid API key."
            }
            (Dialect::AnthropicMessages, 401) => "invalid x-api-key",
            (_, 400) => "The request is not valid.",
            (_, 401) => "Incorrect API key provided. You can find your API key in the simulator's settings.",
            (_, 403) => "You are not allowed to do this.",
            (_, 404) => "The requested resource was not found.",
            (_, 405) => "The method is not allowed for this path.",
            (_, 413) => "The request is too large.",
            (Dialect::AnthropicMessages, 429) => "This request would exceed your organization's rate limit.",
            (Dialect::Gemini, 429) => "You exceeded your current quota. Please retry later.",
            (_, 429) => "Rate limit reached for requests. Please try again later.",
            (Dialect::AnthropicMessages, 529 | 503) => "Overloaded",
            (Dialect::Gemini, 503 | 529) => "The model is overloaded. Please try again later.",
            (_, 503 | 529) => {
                "The server is currently overloaded with other requests. Please try again later."
            }
            (_, 504) => "The request took too long.",
            _ => "The server had an error while processing your request.",
        }
    }

    /// The inner object of an OpenAI error.
    fn write_openai(&self, dialect: Dialect, pen: &mut Pen<'_>) {
        let (kind, code) = match self.status {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            403 => ("permission_error", None),
            429 => ("requests", Some("rate_limit_exceeded")),
            400..=499 => ("invalid_request_error", None),
            503 | 529 => ("service_unavailable_error", Some("server_is_overloaded")),
            _ => ("server_error", None),
        };
        pen.raw(r#"{"message":"#).text(self.text(dialect)).raw(r#","type":"#).text(kind);
        pen.raw(r#","param":"#).optional(self.param).raw(r#","code":"#).optional(self.code.or(code)).raw("}");
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            409 => "conflict_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            504 => "timeout_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }

    fn write_gemini(&self, pen: &mut Pen<'_>, retry_after: u64) {
        let (code, status) = match self.status {
            401 => (401, "UNAUTHENTICATED"),
            403 => (403, "PERMISSION_DENIED"),
            404 => (404, "NOT_FOUND"),
            409 => (409, "ABORTED"),
            429 => (429, "RESOURCE_EXHAUSTED"),
            503 | 529 => (503, "UNAVAILABLE"),
            504 => (504, "DEADLINE_EXCEEDED"),
            other @ 400..=499 => (other, "INVALID_ARGUMENT"),
            other => (other, "INTERNAL"),
        };
        pen.raw("{\n  \"error\": {\n    \"code\": ").num(u64::from(code));
        pen.raw(",\n    \"message\": ").text(self.text(Dialect::Gemini));
        pen.raw(",\n    \"status\": ").text(status);
        if self.code == Some("API_KEY_INVALID") {
            pen.raw(",\n    \"details\": [\n      {\"@type\": \"type.googleapis.com/google.rpc.ErrorInfo\",");
            pen.raw("\"reason\": \"API_KEY_INVALID\",\"domain\": \"googleapis.com\"}\n    ]");
        }
        if self.status == 429 {
            pen.raw(",\n    \"details\": [\n      {\"@type\": \"type.googleapis.com/google.rpc.RetryInfo\",");
            pen.raw("\"retryDelay\": \"").num(retry_after).raw("s\"}\n    ]");
        }
        pen.raw("\n  }\n}\n");
    }

    /// The status as `dialect` sends it: only Anthropic knows 529.
    pub(super) fn status_of(&self, dialect: Dialect) -> u16 {
        match (dialect, self.status) {
            (Dialect::Gemini, 529) => 503,
            (_, status) => status,
        }
    }

    /// The body of an error response.
    pub(super) fn body(&self, dialect: Dialect, request_id: &str, retry_after: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let pen = &mut Pen(&mut out);
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                pen.raw("{\"error\":").with(|pen| self.write_openai(dialect, pen)).raw("}\n");
            }
            Dialect::AnthropicMessages => self.write_anthropic(pen, Some(request_id)),
            Dialect::Gemini => self.write_gemini(pen, retry_after),
        }
        out
    }

    fn write_anthropic(&self, pen: &mut Pen<'_>, request_id: Option<&str>) {
        pen.raw(r#"{"type":"error","error":{"type":"#).text(self.anthropic_type());
        pen.raw(r#","message":"#).text(self.text(Dialect::AnthropicMessages)).raw("}");
        if let Some(request_id) = request_id {
            pen.raw(r#","request_id":"#).text(request_id);
        }
        pen.raw("}");
    }

    /// The error inside a Chat Completions stream: a data line, and no `[DONE]` after it.
    pub(super) fn chat_event(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Pen(&mut out)
            .raw("data: {\"error\":")
            .with(|pen| self.write_openai(Dialect::OpenAiChat, pen))
            .raw("}\n\n");
        out
    }

    /// The error inside a Messages stream, after which nothing follows.
    pub(super) fn messages_event(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Pen(&mut out).raw("event: error\ndata: ").with(|pen| self.write_anthropic(pen, None)).raw("\n\n");
        out
    }

    /// The error inside a Gemini stream; `array` is the stream without `alt=sse`.
    pub(super) fn gemini_event(&self, array: bool, first: bool) -> Vec<u8> {
        let mut error = Vec::new();
        self.write_gemini(&mut Pen(&mut error), 1);
        let error = String::from_utf8_lossy(&error).replace('\n', " ");
        let mut out = Vec::new();
        match (array, first) {
            (false, _) => Pen(&mut out).raw("data: ").raw(&error).raw("\r\n\r\n"),
            (true, true) => Pen(&mut out).raw("[").raw(&error).raw("]"),
            (true, false) => Pen(&mut out).raw(",\r\n").raw(&error).raw("]"),
        };
        out
    }

    /// The two events that end a Responses stream with an error; `number` is that of the first. `response`
    /// writes the failed response around the error object it is given.
    pub(super) fn responses_events(&self, number: u64, response: impl FnOnce(&mut Pen<'_>, &str)) -> Vec<u8> {
        let (mut out, mut error) = (Vec::new(), Vec::new());
        self.write_openai(Dialect::OpenAiResponses, &mut Pen(&mut error));
        let error = String::from_utf8_lossy(&error).into_owned();
        let code = match self.status {
            429 => "rate_limit_exceeded",
            _ => "server_error",
        };
        let mut brief = Vec::new();
        Pen(&mut brief)
            .raw(r#"{"code":"#)
            .text(code)
            .raw(r#","message":"#)
            .text(self.text(Dialect::OpenAiResponses))
            .raw("}");
        let brief = String::from_utf8_lossy(&brief).into_owned();
        Pen(&mut out)
            .raw("event: error\ndata: {\"type\":\"error\",\"sequence_number\":")
            .num(number)
            .raw(",\"error\":")
            .raw(&error)
            .raw("}\n\nevent: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":")
            .num(number + 1)
            .raw(",\"response\":")
            .with(|pen| response(pen, &brief))
            .raw("}\n\n");
        out
    }
}
