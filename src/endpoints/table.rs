//! Method and path to route: the one table of URLs.
//!
//! Owns the paths that the gateway serves, their aliases and the project prefix. Pure.

use std::borrow::Cow;

use crate::dialect::Dialect;
use crate::gateway::ResponseCall;
use crate::http1::Method;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Generation of text in a dialect: Chat Completions, Responses or Messages.
    Generate(Dialect),
    /// Gemini's calls of a model, whose name is in the path, decoded.
    Gemini(String, GeminiMethod),
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `GET /v1/models` and `GET /v1beta/models`.
    Models,
    /// `GET /v1/models/{id}` and `GET /v1beta/models/{id}`; the id is decoded.
    Model(String),
    /// `/v1/responses/{id}` and what is below it; the id is decoded.
    Response(ResponseCall, String),
    /// Any other path of a provider's API: forwarded as it is.
    Passthrough,
    /// `GET /health`.
    Health,
    /// `GET /health/ready`.
    Ready,
    /// `GET /metrics`.
    Metrics,
    /// `GET /`.
    Root,
    /// `GET /api/tools/v1/list` and `POST /api/tools/v1/execute`: no tools are registered.
    ToolsList,
    /// `/api/…` but for the aliases: the management API.
    Api,
    /// Reserved and not served: never forwarded to a provider.
    Reserved,
    /// A path with empty or dot segments: two readers could take it for different ones.
    Ambiguous,
    /// `OPTIONS`: what a browser asks before it calls from another origin.
    Preflight,
}

/// What a Gemini client asks of a model: the word behind the last colon of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GeminiMethod {
    /// `:generateContent`.
    Generate,
    /// `:streamGenerateContent`.
    Stream,
    /// `:countTokens`.
    CountTokens,
}

/// A resolved request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved<'p> {
    /// What it is for.
    pub route: Route,
    /// The project that the path names (`/projects/{slug}/…`), decoded.
    pub slug: Option<Cow<'p, str>>,
    /// The path without project prefix and alias: what a provider would be asked.
    pub path: Cow<'p, str>,
    /// Whose error shape the client expects.
    pub dialect: Dialect,
}

/// Finds the route of a request. `path` is without query, as received.
pub(super) fn resolve<'p>(method: Method<'_>, path: &'p str, aliases: bool) -> Resolved<'p> {
    if is_ambiguous(path) {
        let dialect = dialect_of(path, path);
        return Resolved { route: Route::Ambiguous, slug: None, path: Cow::Borrowed(path), dialect };
    }
    let (slug, inner) = split_project(path);
    let unaliased = if aliases && slug.is_none() { unalias(inner) } else { None };
    let path = unaliased.map_or(Cow::Borrowed(inner), Cow::Owned);
    let dialect = dialect_of(&path, inner);
    let is_api = slug.is_none() && path.starts_with("/api/") && path != "/api/tools/v1/list";
    let route = match method {
        _ if is_api => Route::Api,
        Method::Options => Route::Preflight,
        _ => route(method, &path, slug.is_some()),
    };
    Resolved { route, slug, path, dialect }
}

fn split_project(path: &str) -> (Option<Cow<'_, str>>, &str) {
    let Some(rest) = path.strip_prefix("/projects/") else { return (None, path) };
    match rest.find('/') {
        Some(at) if at > 0 && (rest[at..].starts_with("/v1/") || rest[at..].starts_with("/v1beta/")) => {
            (Some(percent_decode(&rest[..at])), &rest[at..])
        }
        _ => (None, path),
    }
}

/// Whether a path has a segment that is empty (but for the last), `.` or `..`, also percent-encoded, or an encoded
/// slash or backslash outside of a model id.
fn is_ambiguous(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return path != "*" };
    let plain =
        path.as_bytes().windows(2).all(|pair| pair[0] != b'/' || !matches!(pair[1], b'/' | b'.' | b'%'));
    if plain {
        return false;
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let decoded = percent_decode(segment);
        if matches!(&*decoded, "." | "..") || segment.is_empty() && segments.peek().is_some() {
            return true;
        }
    }
    false
}

/// Whether a path is the gateway's own, however it is spelled.
fn is_reserved(path: &str) -> bool {
    let decoded = percent_decode(path);
    let first = decoded.trim_start_matches('/').split('/').next().unwrap_or_default().to_ascii_lowercase();
    matches!(first.as_str(), "" | "api" | "dashboard" | "projects" | "health" | "metrics" | "favicon.ico")
}

/// Paths of other gateways that lead to ours.
fn unalias(path: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix("/api/openai/") {
        return matches!(rest, "chat/completions" | "models").then(|| format!("/v1/{rest}"));
    }
    let rest = path.strip_prefix("/api/anthropic/v1/").or_else(|| path.strip_prefix("/anthropic/v1/"))?;
    Some(format!("/v1/{rest}"))
}

fn dialect_of(path: &str, as_received: &str) -> Dialect {
    if path.starts_with("/v1/messages")
        || as_received.starts_with("/anthropic/")
        || as_received.starts_with("/api/anthropic/")
    {
        Dialect::AnthropicMessages
    } else if path.starts_with("/v1/responses") {
        Dialect::OpenAiResponses
    } else if path.starts_with("/v1beta/") || gemini_call(path).is_some() {
        Dialect::Gemini
    } else {
        Dialect::OpenAiChat
    }
}

fn route(method: Method<'_>, path: &str, scoped: bool) -> Route {
    let reads = matches!(method, Method::Get | Method::Head);
    match path {
        "/v1/chat/completions" if method == Method::Post => Route::Generate(Dialect::OpenAiChat),
        "/v1/responses" if method == Method::Post => Route::Generate(Dialect::OpenAiResponses),
        "/v1/messages" if method == Method::Post => Route::Generate(Dialect::AnthropicMessages),
        "/v1/messages/count_tokens" if method == Method::Post => Route::CountTokens,
        "/v1/models" | "/v1beta/models" if reads => Route::Models,
        _ if scoped => model_or_passthrough(method, path),
        "/" if reads => Route::Root,
        "/health" if reads => Route::Health,
        "/health/ready" if reads => Route::Ready,
        "/metrics" if reads => Route::Metrics,
        "/api/tools/v1/list" if reads => Route::ToolsList,
        _ if is_reserved(path) => Route::Reserved,
        _ => model_or_passthrough(method, path),
    }
}

/// The model and the method of a Gemini call. The model's id may hold slashes and colons.
fn gemini_call(path: &str) -> Option<(&str, GeminiMethod)> {
    // Vercel's AI SDK leaves `models/` out before an id with a slash; Google has such paths for tuned models alone.
    let bare =
        || path.strip_prefix("/v1beta/").filter(|id| id.contains('/') && !id.starts_with("tunedModels/"));
    let (model, method) = model_of(path).or_else(bare)?.rsplit_once(':')?;
    let method = match method {
        "generateContent" => GeminiMethod::Generate,
        "streamGenerateContent" => GeminiMethod::Stream,
        "countTokens" => GeminiMethod::CountTokens,
        _ => return None,
    };
    (!model.is_empty()).then_some((model, method))
}

/// What stands behind `/v1/models/` or `/v1beta/models/`.
fn model_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/models/").or_else(|| path.strip_prefix("/v1beta/models/"))
}

fn model_or_passthrough(method: Method<'_>, path: &str) -> Route {
    if let Some(rest) = path.strip_prefix("/v1/responses/") {
        return response(method, rest);
    }
    if let Some((model, call)) = gemini_call(path).filter(|_| method == Method::Post) {
        return Route::Gemini(percent_decode(model).into_owned(), call);
    }
    match model_of(path) {
        // Ids may hold slashes, raw or encoded. `DELETE` of a fine-tuned model is the provider's.
        Some(id) if !id.is_empty() && matches!(method, Method::Get | Method::Head) => {
            Route::Model(percent_decode(id).into_owned())
        }
        _ => Route::Passthrough,
    }
}

/// What is behind `/v1/responses/`. Other calls than these are the provider's.
fn response(method: Method<'_>, rest: &str) -> Route {
    let (id, below) = rest.split_once('/').unwrap_or((rest, ""));
    let call = match (method, below) {
        (Method::Get | Method::Head, "") => ResponseCall::Retrieve,
        (Method::Delete, "") => ResponseCall::Delete,
        (Method::Post, "cancel") => ResponseCall::Cancel,
        (Method::Get | Method::Head, "input_items") => ResponseCall::InputItems,
        _ => return Route::Passthrough,
    };
    Route::Response(call, percent_decode(id).into_owned())
}

/// Decodes `%XX`; what is not valid UTF-8 after it stays as it was.
pub(super) fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        match (byte, after) {
            (b'%', [high, low, behind @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).zip(hex(*low)).map_or(0, |(high, low)| high * 16 + low);
                out.push(value as u8);
                rest = behind;
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_of_the_table_leads_to_its_route() {
        let generate = Route::Generate;
        let response = |call| Route::Response(call, "resp_1".into());
        let cases: &[(Method<'_>, &str, Route, Option<&str>)] = &[
            (Method::Post, "/v1/chat/completions", generate(Dialect::OpenAiChat), None),
            (Method::Post, "/v1/responses", generate(Dialect::OpenAiResponses), None),
            (Method::Post, "/v1/messages", generate(Dialect::AnthropicMessages), None),
            (Method::Post, "/v1/messages/count_tokens", Route::CountTokens, None),
            (Method::Get, "/v1/models", Route::Models, None),
            (Method::Get, "/v1/models/gpt-5-mini", Route::Model("gpt-5-mini".into()), None),
            (Method::Get, "/v1/models/openai/gpt-5", Route::Model("openai/gpt-5".into()), None),
            (Method::Get, "/v1/models/openai%2Fgpt-5", Route::Model("openai/gpt-5".into()), None),
            (Method::Get, "/v1beta/models", Route::Models, None),
            (Method::Get, "/v1beta/models/openai/gpt-5", Route::Model("openai/gpt-5".into()), None),
            (
                Method::Post,
                "/v1beta/models/gemini-3:generateContent",
                Route::Gemini("gemini-3".into(), GeminiMethod::Generate),
                None,
            ),
            (
                Method::Post,
                "/v1/models/ollama%2Fllama3:8b:streamGenerateContent",
                Route::Gemini("ollama/llama3:8b".into(), GeminiMethod::Stream),
                None,
            ),
            (
                Method::Post,
                "/projects/demo/v1beta/models/m:countTokens",
                Route::Gemini("m".into(), GeminiMethod::CountTokens),
                Some("demo"),
            ),
            (
                Method::Post,
                "/v1beta/openai/gpt-5:streamGenerateContent",
                Route::Gemini("openai/gpt-5".into(), GeminiMethod::Stream),
                None,
            ),
            (Method::Post, "/v1beta/tunedModels/m:generateContent", Route::Passthrough, None),
            (Method::Post, "/v1beta/models/m:embedContent", Route::Passthrough, None),
            (Method::Post, "/v1beta/models/:generateContent", Route::Passthrough, None),
            (Method::Delete, "/v1/models/ft:x", Route::Passthrough, None),
            (Method::Get, "/v1/chat/completions", Route::Passthrough, None),
            (Method::Get, "/v1/responses/resp_1", response(ResponseCall::Retrieve), None),
            (Method::Delete, "/v1/responses/resp_1", response(ResponseCall::Delete), None),
            (Method::Post, "/v1/responses/resp_1/cancel", response(ResponseCall::Cancel), None),
            (
                Method::Get,
                "/projects/demo/v1/responses/resp_1/input_items",
                response(ResponseCall::InputItems),
                Some("demo"),
            ),
            (Method::Post, "/v1/responses/compact", Route::Passthrough, None),
            (Method::Get, "/v1/responses/resp_1/other", Route::Passthrough, None),
            (Method::Post, "/v1/embeddings", Route::Passthrough, None),
            (Method::Post, "/projects/demo/v1/chat/completions", generate(Dialect::OpenAiChat), Some("demo")),
            (Method::Get, "/projects/my%20team/v1/models", Route::Models, Some("my team")),
            (Method::Post, "/projects/demo/v1/audio/speech", Route::Passthrough, Some("demo")),
            (Method::Post, "/projects/demo/v2/x", Route::Reserved, None),
            (Method::Post, "/api/openai/chat/completions", generate(Dialect::OpenAiChat), None),
            (Method::Post, "/api/anthropic/v1/messages", generate(Dialect::AnthropicMessages), None),
            (Method::Post, "/anthropic/v1/messages/count_tokens", Route::CountTokens, None),
            (Method::Get, "/api/tools/v1/list", Route::ToolsList, None),
            (Method::Get, "/api/users", Route::Api, None),
            (Method::Options, "/api/users", Route::Api, None),
            (Method::Put, "/api/models/openai%2Fgpt-5", Route::Api, None),
            (Method::Get, "/projects/demo/v1/api/users", Route::Passthrough, Some("demo")),
            (Method::Get, "/dashboard/app.js", Route::Reserved, None),
            (Method::Get, "/health", Route::Health, None),
            (Method::Head, "/health", Route::Health, None),
            (Method::Post, "/health", Route::Reserved, None),
            (Method::Get, "/metrics", Route::Metrics, None),
            (Method::Get, "/", Route::Root, None),
            (Method::Options, "/v1/chat/completions", Route::Preflight, None),
            (Method::Get, "/anything/else", Route::Passthrough, None),
            (Method::Get, "/%61pi/users", Route::Reserved, None),
            (Method::Get, "/API/users", Route::Reserved, None),
            (Method::Get, "//api/users", Route::Ambiguous, None),
            (Method::Get, "/v1/../api/users", Route::Ambiguous, None),
            (Method::Get, "/v1/%2e%2E/files", Route::Ambiguous, None),
            (Method::Get, "/v1/./files", Route::Ambiguous, None),
            (Method::Get, "/v1/files/", Route::Passthrough, None),
        ];
        for (method, path, expected, slug) in cases {
            let resolved = resolve(*method, path, true);
            assert_eq!(resolved.route, *expected, "{} {path}", method.as_str());
            assert_eq!(resolved.slug.as_deref(), *slug, "{path}");
        }
    }

    #[test]
    fn aliases_can_be_switched_off() {
        assert_eq!(resolve(Method::Post, "/api/openai/chat/completions", false).route, Route::Api);
    }

    #[test]
    fn the_error_shape_follows_the_path() {
        let dialect = |path| resolve(Method::Post, path, true).dialect;
        assert_eq!(dialect("/v1/messages"), Dialect::AnthropicMessages);
        assert_eq!(dialect("/projects/x/v1/messages"), Dialect::AnthropicMessages);
        assert_eq!(dialect("/anthropic/v1/models"), Dialect::AnthropicMessages);
        assert_eq!(dialect("/v1/chat/completions"), Dialect::OpenAiChat);
        assert_eq!(dialect("/v1beta/models/m:generateContent"), Dialect::Gemini);
        assert_eq!(dialect("/v1/models/m:generateContent"), Dialect::Gemini);
        assert_eq!(dialect("/v1/models/m"), Dialect::OpenAiChat);
    }
}
