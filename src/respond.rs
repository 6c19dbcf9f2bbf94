//! The one mapping from error to status, client text, log line and metric label.
//!
//! A client's text never holds a key, an upstream address or another tenant's name; the log gets the cause.

use std::time::Duration;

use crate::auth::AuthError;
use crate::budget::key::in_words;
use crate::config::{Metric, Window};
use crate::http1::{ChunkError, HeadError};
use crate::telemetry::labels::Outcome;
use crate::telemetry::text::TimestampFormatter;
use crate::upstream::ConnectError;

/// Why a request is answered by the gateway itself and not by a provider.
#[derive(Debug)]
pub enum GatewayError {
    /// The head is malformed, ambiguous or too large.
    Head(HeadError),
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body's chunked coding is malformed.
    Chunk(ChunkError),
    /// The body is larger than the limit.
    BodyTooLarge {
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// The body carries a content coding that the gateway would have to undo.
    ContentCoding,
    /// The body is not what the endpoint takes; the text names the field.
    InvalidRequest(String),
    /// No or no valid project token.
    Unauthorized(AuthError),
    /// The token may not be used for this project.
    Forbidden,
    /// No such model, project or path; the text says which.
    NotFound(String),
    /// A model was found, but it speaks another dialect than the client, and translation is off.
    NeedsTranslation {
        /// The client's dialect.
        from: &'static str,
        /// The model's.
        to: &'static str,
    },
    /// The project has no model that could answer.
    NoModel(String),
    /// No usable model at all for a passed-through call.
    NoUpstream,
    /// A queue inside is full; nothing of the request was done.
    Busy,
    /// A limit has no room for the request.
    Spent(Box<Spent>),
    /// Usage records cannot be kept, and the operator prefers to refuse.
    RecordsFull,
    /// No connection to the provider.
    Connect(ConnectError),
    /// The provider did not begin to answer in time.
    UpstreamTimeout {
        /// The time it had.
        after: Duration,
    },
    /// The time of the whole request was over before a provider answered.
    OutOfTime {
        /// The time it had.
        after: Duration,
    },
    /// The provider closed the connection before it answered.
    UpstreamClosed(Option<std::io::Error>),
    /// The provider's answer is not HTTP, or ambiguous.
    UpstreamMalformed(String),
    /// The provider refused the gateway's own key.
    UpstreamAuth {
        /// The provider's status: 401 or 403.
        status: u16,
    },
    /// The process ends, and the time to finish what was under way is over.
    Stopped,
    /// A bug of ours.
    Internal,
}

/// The limit that a request does not fit into. Amounts are picodollars, calls or tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// Whose limit it is: `platform`, `project`, …
    pub level: &'static str,
    /// What it counts.
    pub metric: Metric,
    /// Over which time.
    pub window: Window,
    /// Whether it is a rate, which is there again in a moment.
    pub is_rate: bool,
    /// What was used.
    pub used: u64,
    /// What is held for requests that run.
    pub reserved: u64,
    /// The limit.
    pub limit: u64,
    /// What the request may use.
    pub asked: u64,
    /// When there is room again, in milliseconds since the Unix epoch.
    pub resets_at_ms: u64,
    /// From now.
    pub resets_in_ms: u64,
}

impl Spent {
    fn message(&self) -> String {
        let amount = |amount: u64| in_words(self.metric, amount);
        let Self { level, window, used, reserved, limit, asked, .. } = self;
        let what = if self.is_rate { "rate limit" } else { "limit" };
        let state = if used.saturating_add(*reserved) >= *limit {
            "is reached".to_owned()
        } else {
            format!("has no room for the {} that this request may use", amount(*asked))
        };
        let resets_at = TimestampFormatter::default().format(self.resets_at_ms);
        format!(
            "the {level}'s {window} {what} of {} {state}: {} used, {} held for running requests; resets at {}",
            amount(*limit),
            amount(*used),
            amount(*reserved),
            resets_at.as_str()
        )
    }
}

impl GatewayError {
    /// After how many seconds the same request may fare better, where that is known.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Spent(spent) => Some(spent.resets_in_ms.div_ceil(1_000).max(1)),
            _ => None,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Head(error) => error.status(),
            Self::Chunk(error) => error.status(),
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::ContentCoding => 415,
            Self::InvalidRequest(_) => 400,
            Self::Unauthorized(_) => 401,
            Self::Forbidden => 403,
            Self::NotFound(_) => 404,
            Self::NeedsTranslation { .. } => 501,
            Self::Spent(spent) if spent.is_rate => 429,
            Self::Spent(_) => 503,
            Self::NoModel(_) | Self::RecordsFull | Self::Busy | Self::Stopped => 503,
            Self::Connect(error) if error.is_timeout() => 504,
            Self::UpstreamTimeout { .. } | Self::OutOfTime { .. } => 504,
            Self::NoUpstream
            | Self::Connect(_)
            | Self::UpstreamClosed(_)
            | Self::UpstreamMalformed(_)
            | Self::UpstreamAuth { .. } => 502,
            Self::Internal => 500,
        }
    }

    /// The value of `error.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BodyTooLarge { .. } => "request_too_large",
            Self::Head(error) if matches!(error.status(), 413 | 414 | 431) => "request_too_large",
            Self::Head(error) if error.status() == 501 => "unsupported",
            Self::Head(_) | Self::Chunk(_) | Self::InvalidRequest(_) => "invalid_request",
            Self::ContentCoding | Self::NeedsTranslation { .. } => "unsupported",
            Self::HeadTimeout | Self::BodyTimeout => "request_timeout",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::NoModel(_) => "no_model_available",
            Self::Spent(spent) if spent.is_rate => "rate_limit_exceeded",
            Self::Spent(_) => "budget_exceeded",
            Self::RecordsFull => "records_full",
            Self::NoUpstream => "no_upstream",
            Self::Busy => "busy",
            Self::Stopped => "gateway_stopped",
            Self::Connect(error) if error.is_timeout() => "timeout",
            Self::UpstreamTimeout { .. } | Self::OutOfTime { .. } => "timeout",
            Self::UpstreamAuth { .. } => "upstream_auth",
            Self::Connect(_) | Self::UpstreamClosed(_) | Self::UpstreamMalformed(_) => "upstream_error",
            Self::Internal => "internal_error",
        }
    }

    /// What the client is told.
    pub fn message(&self) -> String {
        match self {
            Self::Head(error) => error.text().to_owned(),
            Self::Chunk(error) => error.text().to_owned(),
            Self::HeadTimeout => "the request head did not arrive in time".to_owned(),
            Self::BodyTimeout => "the request body did not arrive in time".to_owned(),
            Self::BodyTooLarge { bytes_max } => format!("the request body is larger than {bytes_max} bytes"),
            Self::ContentCoding => {
                "send the body without Content-Encoding: it has to be read here".to_owned()
            }
            Self::InvalidRequest(text) | Self::NotFound(text) | Self::NoModel(text) => text.clone(),
            Self::Unauthorized(error) => error.to_string(),
            Self::Forbidden => "this token is not valid for the project in the path".to_owned(),
            Self::NeedsTranslation { from, to } => {
                format!(
                    "the selected model speaks {to} and the request is {from}: translation is off in this project"
                )
            }
            Self::NoUpstream => "this project has no usable model".to_owned(),
            Self::Spent(spent) => spent.message(),
            Self::Busy => "the gateway is busy; try again".to_owned(),
            Self::Stopped => "the gateway was stopped before the request was answered completely".to_owned(),
            Self::RecordsFull => "usage records cannot be written at the moment".to_owned(),
            Self::Connect(ConnectError::Timeout { .. }) => {
                "the provider could not be reached in time".to_owned()
            }
            Self::Connect(_) => "the provider could not be reached".to_owned(),
            Self::UpstreamTimeout { after } => {
                format!("the provider did not begin to answer within {} ms", after.as_millis())
            }
            Self::OutOfTime { after } => {
                format!("no provider answered within the {} ms of the whole request", after.as_millis())
            }
            Self::UpstreamClosed(_) => "the provider closed the connection before it answered".to_owned(),
            Self::UpstreamMalformed(_) => "the provider's answer could not be read".to_owned(),
            Self::UpstreamAuth { .. } => {
                "the provider refused the gateway's own API key; your token is not the cause".to_owned()
            }
            Self::Internal => "an internal error; the log has the details".to_owned(),
        }
    }

    /// What the log and the usage record say: the cause behind the client's text.
    pub fn cause(&self) -> String {
        match self {
            Self::Connect(error) => error.to_string(),
            Self::UpstreamClosed(Some(error)) => format!("the provider closed the connection: {error}"),
            Self::UpstreamMalformed(text) => format!("malformed answer of the provider: {text}"),
            Self::UpstreamAuth { status } => format!("the provider refused the gateway's key with {status}"),
            other => other.message(),
        }
    }

    /// How the request counts.
    pub fn outcome(&self) -> Outcome {
        if matches!(self, Self::Spent(_)) {
            return Outcome::BudgetExceeded;
        }
        match self.status() {
            408 | 504 => Outcome::Timeout,
            _ => Outcome::Error,
        }
    }
}
