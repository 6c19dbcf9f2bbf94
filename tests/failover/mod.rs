//! What happens when a model fails, seen from its client, from the providers and from the books: docs/failover.md.

mod breaker;
mod candidates;
mod hedges;
mod keys;
mod passed;
mod retries;
mod streams;

use serde_json::{Value, json};

use crate::support::upstream::{Connection, behaviour};
use crate::support::{MockUpstream, Setup, TOKEN, post};

pub const CHAT_PATH: &str = "/v1/chat/completions";

/// A model of the chat dialect at a provider.
pub fn model(id: &str, upstream: &MockUpstream) -> Value {
    json!({
        "id": id, "provider": "custom", "endpoint": upstream.url(), "apiKey": "provider-key",
        "cost": {"inputPerMillion": 1, "outputPerMillion": 2},
    })
}

/// A project whose first model is at one provider and whose second is at another one.
pub fn two(bad: &MockUpstream, good: &MockUpstream) -> Setup {
    Setup::new().model(model("bad", bad)).model(model("good", good))
}

/// A small request for a chat completion.
pub fn ask(stream: bool) -> Vec<u8> {
    post(CHAT_PATH, "", &json!({"model": "x", "stream": stream, "messages": []}))
}

/// A provider that works.
pub fn healthy() -> MockUpstream {
    MockUpstream::with(|connection: &mut Connection| {
        while let Some(request) = connection.next_request() {
            let wants_stream = crate::support::http::contains(&request.body, "\"stream\":true");
            if wants_stream {
                connection.begin_stream();
                connection.send_chunk(format!("data: {CHUNK}\n\ndata: [DONE]\n\n"));
                connection.end_chunks();
            } else {
                connection.answer(200, behaviour::CHAT);
            }
        }
    })
}

/// The one chunk of a short stream.
pub const CHUNK: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"chat","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;

/// An answer with further field lines.
pub fn answer(status: u16, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The key in clear that a request carried.
pub fn bearer(request: &crate::support::Message) -> String {
    let value = request.head.field("authorization").unwrap_or_default();
    assert_ne!(value, format!("Bearer {TOKEN}"), "the client's token stays here");
    value.trim_start_matches("Bearer ").to_owned()
}
