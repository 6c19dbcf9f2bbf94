//! Which endpoint a path names.
//!
//! Owns the table of paths, nothing of what they answer. A path is told by its end, so that any base works: `/v1`,
//! `/openai/v1`, `/v1beta`, `/v1/projects/p/locations/l/publishers/google`.
//!
//! Source: `spec/dialects.md` section 1; the providers' API references.

use crate::dialect::Dialect;

/// An endpoint, with what the path says beyond its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Chat,
    Responses,
    Messages,
    CountTokens,
    Generate {
        model: &'a str,
        stream: bool,
    },
    GeminiCountTokens,
    GeminiEmbed {
        batch: bool,
    },
    Embeddings,
    Models,
    Model(&'a str),
    Speech,
    Transcription,
    Images,
    FileUpload,
    Files,
    File(&'a str),
    FileContent(&'a str),
    BatchCreation,
    Batches,
    Batch(&'a str),
    /// A known path with a method it does not take.
    WrongMethod,
    /// An object that a stateless server cannot have.
    Gone,
    Other,
}

impl<'a> Route<'a> {
    /// The endpoint of a request.
    pub(super) fn find(method: &str, path: &'a str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some((model, action)) =
            path.rsplit_once("/models/").and_then(|(_, rest)| rest.rsplit_once(':'))
        {
            return match (method, action) {
                ("POST", "generateContent") => Self::Generate { model, stream: false },
                ("POST", "streamGenerateContent") => Self::Generate { model, stream: true },
                ("POST", "countTokens") => Self::GeminiCountTokens,
                ("POST", "embedContent") => Self::GeminiEmbed { batch: false },
                ("POST", "batchEmbedContents") => Self::GeminiEmbed { batch: true },
                // An OpenAI model id may have a colon too: `ft:gpt-4o:acme`.
                ("GET", _) => Self::Model(path.rsplit_once("/models/").map_or(model, |(_, model)| model)),
                _ => Self::Other,
            };
        }
        let mut parts = path.rsplit('/');
        let last = parts.next().unwrap_or_default();
        let before = parts.next().unwrap_or_default();
        let third = parts.next().unwrap_or_default();
        match (method, third, before, last) {
            (_, _, "chat", "completions") => post(method, Self::Chat),
            (_, _, "messages", "count_tokens") => post(method, Self::CountTokens),
            (_, _, _, "messages") => post(method, Self::Messages),
            (_, _, _, "responses") => post(method, Self::Responses),
            (_, _, "responses", _) => Self::Gone,
            (_, _, _, "embeddings") => post(method, Self::Embeddings),
            (_, _, "audio", "speech") => post(method, Self::Speech),
            (_, _, "audio", "transcriptions" | "translations") => post(method, Self::Transcription),
            (_, _, "images", "generations" | "edits" | "variations") => post(method, Self::Images),
            ("GET", _, _, "models") => Self::Models,
            // An id may have slashes: `meta-llama/llama`.
            ("GET", _, _, _) if path.contains("/models/") => {
                Self::Model(path.split_once("/models/").map_or(last, |(_, model)| model))
            }
            // Anthropic's batches are another thing than OpenAI's.
            (_, _, "messages", _) | (_, "messages", _, _) => Self::Other,
            ("POST", _, _, "files") => Self::FileUpload,
            ("GET", _, _, "files") => Self::Files,
            ("GET" | "DELETE", _, "files", id) => Self::File(id),
            ("GET", "files", id, "content") => Self::FileContent(id),
            ("POST", _, _, "batches") => Self::BatchCreation,
            ("GET", _, _, "batches") => Self::Batches,
            ("GET", _, "batches", id) | ("POST", "batches", id, "cancel") => Self::Batch(id),
            _ => Self::Other,
        }
    }

    /// The dialect that an endpoint's answers and errors speak; `anthropic` says that the request looks like
    /// Anthropic's, which decides where the path does not.
    pub(super) fn dialect(self, path: &str, anthropic: bool) -> Dialect {
        match self {
            Self::Chat => Dialect::OpenAiChat,
            Self::Responses => Dialect::OpenAiResponses,
            Self::Messages | Self::CountTokens => Dialect::AnthropicMessages,
            Self::Generate { .. } | Self::GeminiCountTokens | Self::GeminiEmbed { .. } => Dialect::Gemini,
            _ if path.starts_with("/v1beta") && !path.contains("/openai/") => Dialect::Gemini,
            _ if anthropic || path.contains("/messages") => Dialect::AnthropicMessages,
            _ => Dialect::OpenAiChat,
        }
    }
}

fn post<'a>(method: &str, route: Route<'a>) -> Route<'a> {
    if method == "POST" { route } else { Route::WrongMethod }
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn paths_find_their_endpoint_under_any_base() {
        let cases = [
            ("POST", "/v1/chat/completions", Route::Chat),
            ("POST", "/openai/v1/chat/completions/", Route::Chat),
            ("GET", "/v1/chat/completions", Route::WrongMethod),
            ("POST", "/v1/responses", Route::Responses),
            ("GET", "/v1/responses/resp_1", Route::Gone),
            ("POST", "/v1/messages", Route::Messages),
            ("POST", "/v1/messages/count_tokens", Route::CountTokens),
            ("POST", "/v1beta/models/g:generateContent", Route::Generate { model: "g", stream: false }),
            (
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent",
                Route::Generate { model: "g", stream: true },
            ),
            ("POST", "/v1beta/models/g:countTokens", Route::GeminiCountTokens),
            ("GET", "/v1/models", Route::Models),
            ("GET", "/v1/models/m", Route::Model("m")),
            ("GET", "/v1/models/ft:gpt:x", Route::Model("ft:gpt:x")),
            ("GET", "/v1/models/meta/llama", Route::Model("meta/llama")),
            ("POST", "/v1/messages/batches", Route::Other),
            ("POST", "/v1/files", Route::FileUpload),
            ("GET", "/v1/files/f/content", Route::FileContent("f")),
            ("POST", "/v1/batches/b/cancel", Route::Batch("b")),
            ("POST", "/v1/audio/transcriptions", Route::Transcription),
            ("POST", "/v1/anything", Route::Other),
            ("GET", "/", Route::Other),
            ("GET", "", Route::Other),
        ];
        for (method, path, route) in cases {
            assert_eq!(Route::find(method, path), route, "{method} {path}");
        }
    }
}
