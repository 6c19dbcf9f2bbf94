//! Which path a call goes to.
//!
//! Owns the paths of the known calls; they are made once per model when the configuration is read. The join of a
//! passed-through path happens per request in [`passthrough`].
//!
//! Sources: OpenAI API reference (`/chat/completions`, `/responses`, `/embeddings`, `/models`), Anthropic API
//! reference (`/v1/messages`, `/v1/messages/count_tokens`), Gemini API reference (`models.generateContent`,
//! `models.countTokens`), Azure OpenAI REST reference
//! (`/openai/deployments/{deployment}/…?api-version=`).

use super::{Endpoint, Provider, Wire};
use crate::dialect::Dialect;

/// Azure's `api-version` where the endpoint names none: the last stable one of the deployment paths.
const AZURE_API_VERSION: &str = "2024-10-21";

/// A call whose path the gateway makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Chat Completions.
    Chat,
    /// Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// Anthropic token count.
    CountTokens,
    /// Gemini, answered at once.
    GeminiGenerate,
    /// Gemini, streamed as server-sent events.
    GeminiStream,
    /// Gemini token count.
    GeminiCountTokens,
    /// OpenAI embeddings.
    Embeddings,
    /// Embeddings in the provider's own shape (Ollama), where it has one; else OpenAI's.
    OwnEmbeddings,
    /// Gemini embeddings, several at once.
    GeminiEmbeddings,
    /// List of models.
    Models,
}

impl Call {
    /// All calls, in the order of their index.
    pub const ALL: [Self; 11] = [
        Self::Chat,
        Self::Responses,
        Self::Messages,
        Self::CountTokens,
        Self::GeminiGenerate,
        Self::GeminiStream,
        Self::GeminiCountTokens,
        Self::Embeddings,
        Self::OwnEmbeddings,
        Self::GeminiEmbeddings,
        Self::Models,
    ];

    /// The call that generates text in a dialect.
    pub fn generate(dialect: Dialect, stream: bool) -> Self {
        match (dialect, stream) {
            (Dialect::OpenAiChat, _) => Self::Chat,
            (Dialect::OpenAiResponses, _) => Self::Responses,
            (Dialect::AnthropicMessages, _) => Self::Messages,
            (Dialect::Gemini, false) => Self::GeminiGenerate,
            (Dialect::Gemini, true) => Self::GeminiStream,
        }
    }
}

/// The path of a call, base path included.
pub fn path_of(provider: &Provider, endpoint: &Endpoint, upstream_model: &str, call: Call) -> String {
    let path = match call {
        Call::Chat => "/chat/completions".to_owned(),
        Call::Responses => "/responses".to_owned(),
        Call::Messages => "/v1/messages".to_owned(),
        Call::CountTokens => "/v1/messages/count_tokens".to_owned(),
        Call::GeminiGenerate => format!("/models/{}:generateContent", escape(upstream_model)),
        Call::GeminiStream => format!("/models/{}:streamGenerateContent?alt=sse", escape(upstream_model)),
        Call::GeminiCountTokens => format!("/models/{}:countTokens", escape(upstream_model)),
        Call::OwnEmbeddings if let Some(path) = &provider.embeddings_path => {
            // Below the server's root, also where the endpoint is that of its OpenAI-compatible paths (`…/v1`).
            return format!("{}{path}", endpoint.root_path());
        }
        Call::Embeddings | Call::OwnEmbeddings => "/embeddings".to_owned(),
        Call::GeminiEmbeddings => format!("/models/{}:batchEmbedContents", escape(upstream_model)),
        Call::Models => match provider.wire {
            Wire::Plain(Dialect::AnthropicMessages) => "/v1/models".to_owned(),
            _ => "/models".to_owned(),
        },
    };
    let mut out = String::new();
    passthrough(provider, endpoint, upstream_model, &path, &mut out);
    out
}

/// Appends the path for a request whose own path (and query) is passed on.
///
/// The endpoint's base path is kept; a leading version segment of the request replaces a trailing one of the base.
/// Azure's deployment paths are put in where the endpoint names only the resource.
pub fn passthrough(
    provider: &Provider,
    endpoint: &Endpoint,
    upstream_model: &str,
    path: &str,
    out: &mut String,
) {
    if provider.wire == Wire::Azure && !azure_has_version_path(endpoint) {
        return azure(endpoint, upstream_model, path, out);
    }
    endpoint.join(path, out);
}

/// Whether an Azure endpoint is of the newer form `…/openai/v1`, which needs neither deployment nor version.
pub fn azure_has_version_path(endpoint: &Endpoint) -> bool {
    endpoint.base_path.ends_with("/openai/v1")
}

fn azure(endpoint: &Endpoint, deployment: &str, path: &str, out: &mut String) {
    let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    out.push_str(&endpoint.base_path);
    if !endpoint.base_path.contains("/openai") {
        out.push_str("/openai");
    }
    if !endpoint.base_path.contains("/deployments/") {
        out.push_str("/deployments/");
        out.push_str(&escape(deployment));
    }
    out.push_str(path);
    let versioned = |query: &str| query.split('&').any(|pair| pair.starts_with("api-version="));
    let own = path.split_once('?').map(|(_, query)| query);
    let mut mark = if own.is_some() { '&' } else { '?' };
    if let Some(query) = &endpoint.query {
        out.push(mark);
        out.push_str(query);
        mark = '&';
    }
    if !own.is_some_and(versioned) && !endpoint.query.as_deref().is_some_and(versioned) {
        out.push(mark);
        out.push_str("api-version=");
        out.push_str(AZURE_API_VERSION);
    }
}

/// One path segment, all but unreserved characters percent-encoded.
pub(crate) fn escape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Catalogue;

    #[test]
    fn every_provider_gets_the_path_of_its_own_documentation() {
        for (provider, endpoint, call, expected) in [
            ("openai", None, Call::Chat, "/v1/chat/completions"),
            ("openai", None, Call::Responses, "/v1/responses"),
            ("openai", None, Call::Embeddings, "/v1/embeddings"),
            ("openai", None, Call::Models, "/v1/models"),
            ("anthropic", None, Call::Messages, "/v1/messages"),
            ("anthropic", None, Call::CountTokens, "/v1/messages/count_tokens"),
            ("anthropic", None, Call::Models, "/v1/models"),
            ("anthropic", Some("https://a.example/v1"), Call::Messages, "/v1/messages"),
            ("anthropic", Some("https://a.example/anthropic/"), Call::Messages, "/anthropic/v1/messages"),
            ("gemini", None, Call::GeminiGenerate, "/v1beta/models/m%2F1:generateContent"),
            ("gemini", None, Call::GeminiStream, "/v1beta/models/m%2F1:streamGenerateContent?alt=sse"),
            ("gemini", None, Call::GeminiCountTokens, "/v1beta/models/m%2F1:countTokens"),
            ("openai", None, Call::OwnEmbeddings, "/v1/embeddings"),
            ("ollama", None, Call::Embeddings, "/v1/embeddings"),
            ("ollama", None, Call::OwnEmbeddings, "/api/embed"),
            ("ollama", Some("http://h:11434"), Call::OwnEmbeddings, "/api/embed"),
            ("ollama", Some("http://h/ollama/v1/"), Call::OwnEmbeddings, "/ollama/api/embed"),
            ("gemini", None, Call::GeminiEmbeddings, "/v1beta/models/m%2F1:batchEmbedContents"),
            ("gemini", Some("https://g/v1beta/openai/"), Call::Chat, "/v1beta/openai/chat/completions"),
            ("groq", None, Call::Chat, "/openai/v1/chat/completions"),
            ("perplexity", None, Call::Chat, "/chat/completions"),
            ("cohere", None, Call::Chat, "/compatibility/v1/chat/completions"),
            ("custom", Some("http://h:8000"), Call::Chat, "/chat/completions"),
            (
                "azure-openai",
                Some("https://r.openai.azure.com"),
                Call::Chat,
                "/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21",
            ),
            (
                "azure-openai",
                Some("https://r.openai.azure.com/openai/deployments/d?api-version=7"),
                Call::Chat,
                "/openai/deployments/d/chat/completions?api-version=7",
            ),
            (
                "azure-openai",
                Some("https://r.openai.azure.com/openai/v1/"),
                Call::Chat,
                "/openai/v1/chat/completions",
            ),
        ] {
            let provider = Catalogue::built_in().provider(provider).expect(provider);
            let endpoint = match endpoint {
                Some(url) => Endpoint::parse(url).expect(url),
                None => provider.base.clone().expect("has a base URL"),
            };
            assert_eq!(path_of(provider, &endpoint, "m/1", call), expected, "{} {call:?}", provider.id);
        }
    }

    #[test]
    fn an_azure_path_keeps_its_own_query() {
        let provider = Catalogue::built_in().provider("azure-openai").expect("in the catalogue");
        let endpoint = Endpoint::parse("https://r.openai.azure.com").expect("a URL");
        let mut out = String::new();
        passthrough(provider, &endpoint, "d", "/v1/audio/speech?api-version=9&x=1", &mut out);
        assert_eq!(out, "/openai/deployments/d/audio/speech?api-version=9&x=1");
    }
}
