//! Clients of one dialect, providers of another: all twelve pairs over sockets.

mod client;
mod counts;
mod failures;
mod golden;
mod kept;
mod loops;
mod media;
mod pairs;
mod paused;
mod provider;
mod recorded;
mod requests;

use serde_json::json;

use crate::support::{MockUpstream, Setup};

/// A dialect as the test's own clients and providers speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Chat,
    Responses,
    Anthropic,
    Gemini,
}

impl Dialect {
    pub const ALL: [Self; 4] = [Self::Chat, Self::Responses, Self::Anthropic, Self::Gemini];

    pub fn id(self) -> &'static str {
        match self {
            Self::Chat => "openai-chat",
            Self::Responses => "openai-responses",
            Self::Anthropic => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }
}

/// Client and provider that do not speak the same.
pub fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    let all = Dialect::ALL.into_iter();
    all.flat_map(|client| Dialect::ALL.into_iter().map(move |provider| (client, provider)))
        .filter(|(client, provider)| client != provider)
}

/// A gateway whose only model is called in one dialect and lives at `upstream`.
pub fn gateway_to(upstream: &MockUpstream, provider: Dialect) -> Setup {
    let (id, base, model) = match provider {
        Dialect::Chat | Dialect::Responses => ("openai", "/v1", "gpt-4.1"),
        Dialect::Anthropic => ("anthropic", "", "claude-sonnet-4-5"),
        Dialect::Gemini => ("gemini", "/v1beta", "gemini-2.5-flash"),
    };
    Setup::new().model(json!({
        "id": "up/model", "name": "Model", "provider": id, "dialect": provider.id(), "apiKey": "provider-key",
        "upstreamModelId": model, "endpoint": format!("http://{}{base}", upstream.address()),
        "cost": {"inputPerMillion": 1, "outputPerMillion": 2}, "contextWindow": 200_000,
    }))
}
