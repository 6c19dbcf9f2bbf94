//! Answers and errors of the API in their one form.

use std::fmt::Write as _;

use ring::digest;
use serde_json::{Value, json};

use crate::mailbox::ApiAnswer;

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: u16,
    code: &'static str,
    message: String,
    /// What is wrong with which field of the body, by its JSON path.
    fields: Vec<(String, String)>,
    retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), fields: Vec::new(), retry_after_s: None }
    }

    /// The body or the query is wrong as a whole.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "validation_error", message)
    }

    /// Fields are wrong.
    pub(super) fn fields(fields: Vec<(String, String)>) -> Self {
        let mut message = String::new();
        for (path, problem) in &fields {
            let separator = if message.is_empty() { "" } else { "; " };
            // Writing into a string does not fail.
            let _ = write!(message, "{separator}{path}: {problem}");
        }
        Self { fields, ..Self::invalid(message) }
    }

    /// Whether it names fields.
    pub(super) fn is_about_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Whether somebody may not.
    pub(super) fn is_forbidden(&self) -> bool {
        self.status == 403
    }

    /// The fields of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self::fields([self.fields, other.fields].concat())
    }

    /// What the change is based on is not there any more (RFC 9110, section 15.5.13).
    pub(super) fn stale() -> Self {
        Self::new(412, "precondition_failed", "it has been changed since; read it again")
    }

    /// Nobody is signed in, or not any more.
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", message)
    }

    /// He may not.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "forbidden", message)
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    /// The path is there, the method is not.
    pub(super) fn no_method() -> Self {
        Self::new(405, "method_not_allowed", "this path has no such method")
    }

    /// It would not fit to what is there.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "conflict", message)
    }

    /// Too many tries.
    pub(super) fn rate_limited(wait_ms: u64) -> Self {
        let wait_s = wait_ms.div_ceil(1_000);
        let message = format!("too many failed sign-ins; try again in {wait_s} s");
        Self { retry_after_s: Some(wait_s), ..Self::new(429, "rate_limited", message) }
    }

    /// There is too much to do at the moment.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(5), ..Self::new(429, "rate_limited", message) }
    }

    /// Our fault. The log has the reason, the client a word.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "internal_error", message)
    }

    pub(super) fn into_answer(self) -> ApiAnswer {
        let mut body = json!({"error": self.code, "message": self.message});
        if !self.fields.is_empty() {
            let field = |(path, problem): (String, String)| json!({"path": path, "message": problem});
            body["fields"] = self.fields.into_iter().map(field).collect();
        }
        let mut answer = json_answer(self.status, &body);
        if let Some(seconds) = self.retry_after_s {
            answer.fields.push(("retry-after", seconds.to_string()));
        }
        if self.status == 401 {
            answer.fields.push(("www-authenticate", "Bearer".to_owned()));
        }
        answer
    }
}

/// An answer with a JSON body.
pub(super) fn json_answer(status: u16, body: &Value) -> ApiAnswer {
    ApiAnswer { status, body: body.to_string().into_bytes(), ..ApiAnswer::default() }
}

/// The same for an object whose tag is that of what is stored.
pub(super) fn tagged_answer(status: u16, object: &Value, tag: String) -> ApiAnswer {
    let mut answer = json_answer(status, object);
    answer.fields.push(("etag", tag));
    answer
}

/// One object, with the tag by which a later change can say what it was based on (RFC 9110, section 8.8.3).
pub(super) fn object_answer(status: u16, object: &Value) -> ApiAnswer {
    let mut answer = json_answer(status, object);
    answer.fields.push(("etag", etag(object)));
    answer
}

/// Nothing to say but that it is done.
pub(super) fn no_content() -> ApiAnswer {
    ApiAnswer { status: 204, ..ApiAnswer::default() }
}

/// A tag that changes with what is shown of an object.
pub(super) fn etag(object: &Value) -> String {
    let hash = digest::digest(&digest::SHA256, object.to_string().as_bytes());
    let mut tag = String::from("\"");
    for byte in &hash.as_ref()[..12] {
        // Writing into a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}
