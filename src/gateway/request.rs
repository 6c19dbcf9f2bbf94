//! A request after admission: everything that is needed of its head, owned.

use std::rc::Rc;
use std::time::Instant;

use crate::auth::Principal;
use crate::dialect::Dialect;
use crate::http1::{Framing, KnownField, Method, RequestHead, Version, writer};
use crate::telemetry::ids::TraceId;
use crate::telemetry::labels::Endpoint;

/// How much of the gateway's own trace goes into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamTrace {
    /// Nothing that the provider did not send.
    None,
    /// One opening event.
    Summary,
    /// That, and an entry for each step that led to the stream.
    Full,
}

/// What the URL of a Gemini request says that other dialects say in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeminiCall {
    /// The model's name, decoded.
    pub model: String,
    /// The answer's form.
    pub form: GeminiForm,
}

/// In which form a Gemini client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeminiForm {
    /// `:generateContent`, `:countTokens`: one object.
    Whole,
    /// `:streamGenerateContent?alt=sse`: server-sent events.
    Events,
    /// `:streamGenerateContent`: one array, element by element.
    Array,
}

/// What a client wants of the caches of its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheWish {
    /// Whatever the project has.
    #[default]
    Use,
    /// A new answer, which may be kept (`Cache-Control: no-cache` or `max-age=0`).
    Refresh,
    /// Neither an answer from a cache nor one kept in it (`no-store`, `x-routerly-cache: bypass`).
    Bypass,
}

/// How this client has to be answered.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Id of its request.
    pub trace: TraceId,
    /// Whose error shape it expects.
    pub dialect: Dialect,
    /// Whether it speaks HTTP/1.0 and cannot read chunks.
    pub http10: bool,
    /// Whether it wants the connection kept.
    pub keep_alive: bool,
    /// Whether the answer goes without body.
    pub is_head: bool,
    /// Whether a browser on another origin asks.
    pub cross_origin: bool,
}

/// One admitted request.
#[derive(Debug, Clone)]
pub struct Request {
    /// How to answer it.
    pub client: Client,
    /// When its head was complete.
    pub started: Instant,
    /// What it counts as.
    pub endpoint: Endpoint,
    /// Whose token it is.
    pub principal: Principal,
    /// The project that answers and is billed: the token's own, or the one in the path.
    pub project: u32,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
    /// Whether the body is JSON by its content type (or has none).
    pub is_json: bool,
    /// Whether the body carries a content coding.
    pub is_encoded: bool,
    /// How much trace goes into a stream.
    pub stream_trace: StreamTrace,
    /// Whether the text of a chat stream is said a second time, as `content` events.
    pub labels: bool,
    /// Whether the client wants a stream where the body does not say (Responses alone).
    pub streams_by_default: bool,
    /// Whether what a translation would lose is refused.
    pub strict: bool,
    /// What a Gemini client's URL says.
    pub gemini: Option<GeminiCall>,
    /// Whether `Server-Timing` is answered.
    pub server_timing: bool,
    /// What the client wants of caches.
    pub cache: CacheWish,
    /// Id of the conversation, if the client named one.
    pub conversation: Option<Rc<str>>,
    /// Method, for requests that are passed through.
    pub method: String,
    /// Path and query without project prefix, for requests that are passed through.
    pub target: String,
    /// The client's fields that travel to the provider, in wire form.
    pub fields: Rc<[u8]>,
    /// Whether the client sent `anthropic-version` itself.
    pub has_anthropic_version: bool,
    /// The client's multipart boundary, if its body is a form.
    pub boundary: Option<String>,
}

impl Client {
    /// From a request's head and the dialect of its path.
    pub fn of(head: &RequestHead<'_, '_>, trace: TraceId, dialect: Dialect) -> Self {
        Self {
            trace,
            dialect,
            http10: head.version == Version::Http10,
            keep_alive: head.keep_alive,
            is_head: head.method == Method::Head,
            cross_origin: head.fields.find(KnownField::Origin).is_some(),
        }
    }
}

/// Fields that never travel to a provider: they are ours, about this hop, or credentials for us.
fn stays_here(known: KnownField) -> bool {
    matches!(
        known,
        KnownField::Host
            | KnownField::ContentLength
            | KnownField::Expect
            | KnownField::Authorization
            | KnownField::XApiKey
            | KnownField::ApiKey
            | KnownField::XGoogApiKey
            | KnownField::Cookie
            | KnownField::XForwarded
            | KnownField::XRealIp
            | KnownField::Forwarded
            | KnownField::AccessControlOther
            | KnownField::AccessControlRequestMethod
            | KnownField::AccessControlRequestHeaders
            | KnownField::AccessControlRequestPrivateNetwork
            // A provider may take the call for a browser's and refuse it.
            | KnownField::Origin
            | KnownField::Referer
    ) || known.is_routerly()
}

/// Appends the client's fields that a provider gets. `plain_answer` leaves out `Accept-Encoding`, so that the
/// answer can be read on its way.
pub fn append_forwarded(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, plain_answer: bool) {
    writer::parsed_fields(out, &head.fields, |field| {
        let known = field.known();
        let would_hide_answer = plain_answer && known == KnownField::AcceptEncoding;
        !stays_here(known) && !would_hide_answer
    });
}
