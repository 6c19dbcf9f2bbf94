//! Method and path to handler: the one table of URLs, and the door in front of it.
//!
//! Admission happens while the head still lies in the read buffer and without waiting for anything: route, token,
//! project, what of the head is needed later. After it the head's bytes are free.

mod api;
mod operations;
mod recall;
mod table;

use std::borrow::Cow;

use crate::auth::{self, AuthError, LastToken, Principal, credential, google_credential};
use crate::budget::money::Picodollars;
use crate::clock;
use crate::config::Translation;
use crate::config::settings::TraceStream;
use crate::dialect::Dialect;
use crate::dialect::Usage;
use crate::gateway::{
    self, After, CacheWish, Client, Exchange, GeminiCall, GeminiForm, Request, StreamTrace,
};
use crate::http1::{Framing, KnownField, RequestHead};
use crate::respond::GatewayError;
use crate::shard::Shard;
use crate::shard::View;
use crate::snapshot::Snapshot;
use crate::telemetry::access::AccessLine;
use crate::telemetry::labels::{EndedBy, Endpoint, Outcome};
use crate::telemetry::log;

use table::{GeminiMethod, Resolved, Route, percent_decode};

pub use recall::{Arrival, Recall};

/// What was admitted: a handler with all it needs.
#[derive(Debug)]
pub struct Admitted {
    /// How to answer.
    pub client: Client,
    /// How the body is delimited.
    pub framing: Framing,
    what: What,
}

impl Admitted {
    /// Whether the token has to be verified first; the head is to be judged again after that.
    pub fn is_unproven(&self) -> bool {
        matches!(self.what, What::Refused(GatewayError::Unauthorized(AuthError::Unproven)))
    }
}

#[derive(Debug)]
enum What {
    /// For a project: text, models, or a provider's other endpoint.
    Project(Box<Request>, Route),
    /// For whoever runs the gateway.
    Operation(operations::Operation),
    /// For the management API.
    Api(Box<api::Gathered>),
    /// To be refused.
    Refused(GatewayError),
}

/// Judges `head`, which was parsed from the start of `input`. `recall` is the connection's.
pub fn admit(
    view: &View,
    input: &[u8],
    head: &RequestHead<'_, '_>,
    recall: &mut Recall,
    arrival: Arrival,
) -> Admitted {
    let admitted = judge(view, head, &mut recall.token, arrival);
    recall.remember(view, input, head, &admitted);
    admitted
}

fn judge(view: &View, head: &RequestHead<'_, '_>, last: &mut LastToken, arrival: Arrival) -> Admitted {
    let snapshot = &view.snapshot;
    let settings = snapshot.config.settings();
    let mut resolved = table::resolve(head.method, head.path, settings.alias_routes);
    // Google's SDKs list models under the path that OpenAI's have too; the key's place tells who asks.
    if resolved.path.starts_with("/v1/models") {
        let has = |field| head.fields.find(field).is_some();
        let has_other = has(KnownField::Authorization) || has(KnownField::XApiKey);
        if has(KnownField::XGoogApiKey) || !has_other && query_value(head.query, "key").is_some() {
            resolved.dialect = Dialect::Gemini;
        }
    }
    let client = Client::of(head, arrival.trace, resolved.dialect);
    let what = match operations::Operation::of(&resolved.route, head, settings) {
        Some(operation) => What::Operation(operation),
        None if resolved.route == Route::Api => What::Api(api::Gathered::of(head)),
        None if resolved.route == Route::Reserved => {
            What::Refused(GatewayError::NotFound(format!("nothing is served at `{}`", clip(head.path))))
        }
        None if resolved.route == Route::Ambiguous => What::Refused(GatewayError::InvalidRequest(
            "the path has empty or dot segments; expected a path without them".to_owned(),
        )),
        None => match admit_to_project(snapshot, head, last, client, arrival, &resolved) {
            Ok(request) => What::Project(Box::new(request), resolved.route),
            Err(error) => What::Refused(error),
        },
    };
    Admitted { client, framing: head.framing, what }
}

fn clip(path: &str) -> &str {
    crate::telemetry::text::clip(path, 256)
}

fn admit_to_project(
    snapshot: &Snapshot,
    head: &RequestHead<'_, '_>,
    last: &mut LastToken,
    client: Client,
    arrival: Arrival,
    resolved: &Resolved<'_>,
) -> Result<Request, GatewayError> {
    let mut seen = Seen::default();
    seen.look(head)?;
    let key = query_value(head.query, "key").filter(|_| client.dialect == Dialect::Gemini);
    let token = if client.dialect == Dialect::Gemini {
        let keys = [seen.x_api_key, seen.x_goog_api_key, key.as_deref().map(str::as_bytes)];
        google_credential(seen.authorization, keys)
    } else {
        credential(seen.authorization, seen.x_api_key)
    };
    let token = token.map_err(GatewayError::Unauthorized)?;
    let principal =
        snapshot.tokens.lookup_again(token, last, arrival.unix_ms).map_err(GatewayError::Unauthorized)?;
    let project_index = in_project(snapshot, principal, resolved.slug.as_deref())?;
    let project = &snapshot.config.projects()[project_index as usize];
    let settings = snapshot.config.settings();
    let endpoint = endpoint_of(resolved);
    let passes = matches!(resolved.route, Route::Passthrough | Route::Response(..));
    let mut fields = Vec::with_capacity(head.head_bytes);
    let is_json = seen.content_type.is_none_or(is_json);
    // An answer that is to be read for its usage must not come compressed.
    let reads_answer = !passes || endpoint == Endpoint::Embeddings || seen.content_type.is_some() && is_json;
    gateway::append_forwarded(&mut fields, head, reads_answer);
    let trace_stream = project.trace_stream.unwrap_or(settings.trace_stream);
    let stream_trace = match (seen.trace, trace_stream) {
        (Some(value), _) if value.eq_ignore_ascii_case(b"none") => StreamTrace::None,
        (Some(value), _) if value.eq_ignore_ascii_case(b"full") => StreamTrace::Full,
        (None, TraceStream::None) => StreamTrace::None,
        (None, TraceStream::Full) => StreamTrace::Full,
        (Some(_), _) | (None, TraceStream::Summary) => StreamTrace::Summary,
    };
    let labels = seen.stream.map_or(project.labels_streams, |value| value.eq_ignore_ascii_case(b"events"));
    Ok(Request {
        client,
        started: arrival.at,
        endpoint,
        principal,
        project: project_index,
        framing: head.framing,
        expect_continue: head.expect_continue,
        is_json,
        is_encoded: seen.is_encoded,
        stream_trace,
        // Who wants nothing of ours in a stream wants no members of ours either.
        labels: labels && stream_trace != StreamTrace::None,
        streams_by_default: endpoint == Endpoint::Responses && seen.prefers_events,
        strict: seen.strict.unwrap_or(project.translation == Translation::Strict),
        gemini: gemini_call(&resolved.route, head.query),
        server_timing: project.server_timing.unwrap_or(settings.server_timing),
        cache: seen.cache,
        conversation: seen.conversation.map(|id| crate::telemetry::text::clip(id, 256).into()),
        method: if passes { head.method.as_str().to_owned() } else { String::new() },
        target: if passes { target_of(resolved, head.query, token) } else { String::new() },
        fields: fields.into(),
        has_anthropic_version: seen.has_anthropic_version,
        boundary: seen
            .content_type
            .filter(|_| !is_json)
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(gateway::form_boundary),
    })
}

/// Fields that admission reads, gathered in one pass.
#[derive(Default)]
struct Seen<'b> {
    authorization: Option<&'b [u8]>,
    x_api_key: Option<&'b [u8]>,
    x_goog_api_key: Option<&'b [u8]>,
    strict: Option<bool>,
    content_type: Option<&'b [u8]>,
    is_encoded: bool,
    has_anthropic_version: bool,
    prefers_events: bool,
    trace: Option<&'b [u8]>,
    stream: Option<&'b [u8]>,
    conversation: Option<&'b str>,
    cache: CacheWish,
}

impl<'b> Seen<'b> {
    fn look(&mut self, head: &RequestHead<'_, 'b>) -> Result<(), GatewayError> {
        for field in head.fields.iter() {
            let value = field.value();
            let twice = match field.known() {
                KnownField::Authorization => self.authorization.replace(value).is_some(),
                KnownField::XApiKey => self.x_api_key.replace(value).is_some(),
                KnownField::XGoogApiKey => self.x_goog_api_key.replace(value).is_some(),
                KnownField::XRouterlyStrict => {
                    self.strict = Some(!value.eq_ignore_ascii_case(b"false"));
                    false
                }
                KnownField::ContentType => self.content_type.replace(value).is_some(),
                KnownField::ContentEncoding => {
                    self.is_encoded = !value.eq_ignore_ascii_case(b"identity");
                    false
                }
                KnownField::Accept => {
                    self.prefers_events = prefers_events(value);
                    false
                }
                KnownField::AnthropicVersion => {
                    self.has_anthropic_version = true;
                    false
                }
                KnownField::XRouterlyTrace => {
                    self.trace = Some(value);
                    false
                }
                KnownField::XRouterlyStream => {
                    self.stream = Some(value);
                    false
                }
                KnownField::CacheControl => {
                    self.cache = stronger(self.cache, cache_control(value));
                    false
                }
                KnownField::XRouterlyOther if field.name().eq_ignore_ascii_case("x-routerly-cache") => {
                    if value.eq_ignore_ascii_case(b"bypass") {
                        self.cache = CacheWish::Bypass;
                    }
                    false
                }
                KnownField::XRouterlyConversationId => {
                    self.conversation = field.value_str();
                    false
                }
                _ => false,
            };
            if twice {
                // Two credentials or two types: whoever is behind us might take the other one.
                return Err(GatewayError::InvalidRequest(format!(
                    "the field `{}` must not be repeated",
                    field.name()
                )));
            }
        }
        Ok(())
    }
}

/// What the directives of a request's `Cache-Control` mean for the gateway's own caches (RFC 9111, section 5.2.1).
fn cache_control(value: &[u8]) -> CacheWish {
    let directives = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    directives.fold(CacheWish::Use, |wish, directive| {
        let is = |name: &str| directive.eq_ignore_ascii_case(name.as_bytes());
        let asked = match () {
            () if is("no-store") => CacheWish::Bypass,
            () if is("no-cache") || is("max-age=0") => CacheWish::Refresh,
            () => CacheWish::Use,
        };
        stronger(wish, asked)
    })
}

/// Of two wishes the one that takes less from caches.
fn stronger(one: CacheWish, other: CacheWish) -> CacheWish {
    match (one, other) {
        (CacheWish::Bypass, _) | (_, CacheWish::Bypass) => CacheWish::Bypass,
        (CacheWish::Refresh, _) | (_, CacheWish::Refresh) => CacheWish::Refresh,
        (CacheWish::Use, CacheWish::Use) => CacheWish::Use,
    }
}

/// Whether an `Accept` names `text/event-stream`, and not `application/json` as at least as welcome (RFC 9110,
/// section 12.5.1; a weight that is none counts as 1).
fn prefers_events(accept: &[u8]) -> bool {
    let weight = |wanted: &str| {
        accept.split(|byte| *byte == b',').find_map(|range| {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let named = parts.next()?.eq_ignore_ascii_case(wanted.as_bytes());
            let weight = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
            let weight = weight.and_then(|weight| std::str::from_utf8(weight).ok()?.parse().ok());
            named.then_some(weight.unwrap_or(1.0_f32))
        })
    };
    weight("text/event-stream").is_some_and(|events| events > weight("application/json").unwrap_or(0.0))
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json") || essence.to_ascii_lowercase().ends_with(b"+json")
}

/// The project that a path names, where the token may use it.
fn in_project(snapshot: &Snapshot, principal: Principal, slug: Option<&str>) -> Result<u32, GatewayError> {
    let Some(slug) = slug else { return Ok(principal.project) };
    let Some(project) = snapshot.config.project_index(slug) else {
        return Err(GatewayError::NotFound(format!("no project `{}`", clip(slug))));
    };
    if project == principal.project as usize {
        return Ok(principal.project);
    }
    // Usage is booked on the project in the path; the token keeps its own limits.
    if snapshot.token(principal).project_ids.contains(&snapshot.config.projects()[project].id) {
        return Ok(project as u32);
    }
    Err(GatewayError::Forbidden)
}

fn endpoint_of(resolved: &Resolved<'_>) -> Endpoint {
    match &resolved.route {
        Route::Generate(Dialect::AnthropicMessages) => Endpoint::Messages,
        Route::Generate(Dialect::OpenAiResponses) => Endpoint::Responses,
        Route::Generate(Dialect::OpenAiChat) => Endpoint::Chat,
        Route::Generate(Dialect::Gemini)
        | Route::Gemini(_, GeminiMethod::Generate | GeminiMethod::Stream) => Endpoint::Gemini,
        Route::CountTokens | Route::Gemini(_, GeminiMethod::CountTokens) => Endpoint::CountTokens,
        Route::Models | Route::Model(_) => Endpoint::Models,
        Route::Passthrough if resolved.path == "/v1/embeddings" => Endpoint::Embeddings,
        Route::Passthrough | Route::Response(..) => Endpoint::Passthrough,
        _ => Endpoint::Unknown,
    }
}

/// Path and query as a provider may see them: a Gemini client's key is ours, and so is any other client's that is a
/// token of ours.
fn target_of(resolved: &Resolved<'_>, query: Option<&str>, token: &[u8]) -> String {
    let path = &resolved.path;
    let Some(query) = query else { return path.clone().into_owned() };
    let is_ours = |pair: &&str| {
        name_of(pair) == "key"
            && (resolved.dialect == Dialect::Gemini
                || query_value(Some(*pair), "key")
                    .is_some_and(|key| key.as_bytes() == token || auth::is_like_a_token(&key)))
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair)).collect();
    if kept.is_empty() { path.clone().into_owned() } else { format!("{path}?{}", kept.join("&")) }
}

/// The name of a query's parameter, decoded.
fn name_of(pair: &str) -> Cow<'_, str> {
    percent_decode(pair.split('=').next().unwrap_or_default())
}

/// The value of a query's parameter, decoded.
fn query_value<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    let pair = query?.split('&').find(|pair| name_of(pair) == name)?;
    Some(percent_decode(pair.split_once('=').map_or("", |(_, value)| value)))
}

fn gemini_call(route: &Route, query: Option<&str>) -> Option<GeminiCall> {
    let Route::Gemini(model, method) = route else { return None };
    let form = match method {
        GeminiMethod::Generate | GeminiMethod::CountTokens => GeminiForm::Whole,
        GeminiMethod::Stream if query_value(query, "alt").as_deref() == Some("sse") => GeminiForm::Events,
        GeminiMethod::Stream => GeminiForm::Array,
    };
    Some(GeminiCall { model: model.clone(), form })
}

/// Runs the handler.
pub async fn serve(exchange: &mut Exchange<'_>, admitted: Admitted) -> After {
    let client = admitted.client;
    match admitted.what {
        // What is rare is boxed, so that the others do not carry its room.
        What::Refused(error) => Box::pin(refuse(exchange, &client, &error)).await,
        What::Operation(operation) => Box::pin(operation.run(exchange, &client)).await,
        What::Api(gathered) => Box::pin(api::serve(exchange, &client, gathered)).await,
        What::Project(request, route) => match route {
            Route::Generate(_) | Route::Gemini(..) | Route::CountTokens => {
                gateway::generate(exchange, request).await
            }
            Route::Models => Box::pin(gateway::models(exchange, *request)).await,
            Route::Model(id) => Box::pin(gateway::one_model(exchange, *request, &id)).await,
            Route::Response(call, id) => Box::pin(gateway::response(exchange, *request, call, &id)).await,
            Route::ToolsList => {
                Box::pin(gateway::plain(exchange, &client, 200, "application/json", b"{\"tools\":[]}")).await
            }
            _ => gateway::pass_through(exchange, *request).await,
        },
    }
}

/// Counts and logs a request that no project is known for.
pub fn log_refusal(shard: &Shard, client: &Client, error: &GatewayError) {
    shard.metrics.count_request(Endpoint::Unknown, error.status(), error.outcome());
    if log::is_enabled(log::Level::Info) {
        let cause = error.cause();
        let line = AccessLine {
            status: error.status(),
            outcome: error.outcome(),
            error: Some(&cause),
            ..bare_line(shard, client, Endpoint::Unknown)
        };
        log::access(clock::unix_ms(), &line);
    }
}

/// The line of a request that has nothing to do with a project or a model.
fn bare_line(shard: &Shard, client: &Client, endpoint: Endpoint) -> AccessLine<'static> {
    AccessLine {
        trace_id: client.trace,
        project_id: None,
        token_id: None,
        model_id: None,
        provider: None,
        endpoint,
        stream: false,
        attempts: 0,
        status: 0,
        outcome: Outcome::Success,
        ended_by: EndedBy::Gateway,
        error: None,
        usage: Usage::default(),
        cost: Picodollars::default(),
        first_byte_ms: None,
        latency_ms: 0,
        gateway_us: 0,
        core: shard.index as u16,
    }
}

/// Answers a request that no project is known for.
pub async fn refuse(exchange: &mut Exchange<'_>, client: &Client, error: &GatewayError) -> After {
    log_refusal(exchange.shard, client, error);
    let keep_alive = exchange.keeps_alive(client);
    let mut out = exchange.shard.take_head();
    gateway::write_error(&mut out, client, error, keep_alive);
    let sent = exchange.conn.write_all(&out).await;
    exchange.shard.give_back_head(out);
    match (sent, keep_alive) {
        (Err(_), _) => After::Abort,
        (Ok(()), true) => After::KeepAlive,
        (Ok(()), false) => After::Close,
    }
}

impl From<AuthError> for GatewayError {
    fn from(error: AuthError) -> Self {
        Self::Unauthorized(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_refuse_what_caches_have() {
        for (value, expected) in [
            ("no-store", CacheWish::Bypass),
            ("No-Cache", CacheWish::Refresh),
            ("max-age=0", CacheWish::Refresh),
            ("max-age=60, no-transform", CacheWish::Use),
            ("no-cache , no-store", CacheWish::Bypass),
            ("no-store,no-cache", CacheWish::Bypass),
            ("", CacheWish::Use),
        ] {
            assert_eq!(cache_control(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_stream_is_preferred_where_it_is_more_welcome_than_json() {
        let cases = [
            ("text/event-stream", true),
            ("Text/Event-Stream ; q=0.5", true),
            ("text/event-stream, */*;q=0.1", true),
            ("application/json;q=0.5, text/event-stream", true),
            ("application/json, text/event-stream", false),
            ("text/event-stream;q=0.5, application/json", false),
            ("text/event-stream;q=0", false),
            ("application/json", false),
            ("*/*", false),
            ("", false),
            (",;q=,text/event-stream;q=x", true),
        ];
        for (accept, expected) in cases {
            assert_eq!(prefers_events(accept.as_bytes()), expected, "{accept}");
        }
    }
}
