//! A home directory from Rust values.

use serde_json::{Map, Value, json};

use super::gateway::Gateway;
use super::upstream::MockUpstream;

/// Token of the project `demo`. It stands in the files in clear; the gateway hashes it when it takes the home over.
pub const TOKEN: &str = "sk-rt-0000000000000000000000000000000000000000000000000000000000000000";

/// What a gateway starts from.
pub struct Setup {
    pub settings: Value,
    pub models: Vec<Value>,
    pub projects: Vec<Value>,
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
}

impl Setup {
    /// A project `demo` with [`TOKEN`] and no models.
    pub fn new() -> Self {
        let token = json!({
            "id": "demo-token", "token": TOKEN, "tokenSnippet": "sk-rt-0000", "createdAt": "2026-01-01T00:00:00Z",
        });
        let project = json!({
            "id": "demo", "name": "demo", "slug": "demo", "tokens": [token], "members": [], "policies": [],
            "models": [],
        });
        Self {
            settings: json!({"host": "127.0.0.1", "port": 0, "cores": 1, "logFormat": "json"}),
            models: Vec::new(),
            projects: vec![project],
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// The project's three simulated models, one for each dialect: `simulated/chat` first, `simulated/responses`,
    /// `simulated/anthropic`.
    pub fn demo() -> Self {
        Self::new()
            .model(simulated("simulated/chat", "openai-chat"))
            .model(simulated("simulated/responses", "openai-responses"))
            .model(simulated("simulated/anthropic", "anthropic-messages"))
    }

    /// A model of provider `custom` with key `provider-key` for each dialect, all at `upstream`: `up/chat`,
    /// `up/responses` and `up/messages`, whose ids at the provider are `chat`, `responses` and `messages`. Each answers
    /// clients of its own dialect only.
    pub fn with_upstream(upstream: &MockUpstream) -> Self {
        Self::new().upstream_models(&upstream.url())
    }

    /// The models of [`Setup::with_upstream`] at a URL.
    pub fn upstream_models(self, url: &str) -> Self {
        let this = self.project("translation", "off");
        let model = |name: &str, provider: &str, dialect: &str| {
            json!({
                "id": format!("up/{name}"), "name": name, "provider": provider, "endpoint": url,
                "apiKey": "provider-key", "upstreamModelId": name, "dialect": dialect,
                "cost": {"inputPerMillion": 1, "outputPerMillion": 2}, "contextWindow": 128_000,
            })
        };
        this.model(model("chat", "custom", "openai-chat"))
            .model(model("responses", "custom", "openai-responses"))
            .model(model("messages", "anthropic", "anthropic-messages"))
    }

    /// Adds a model to the registry and to the project `demo`.
    pub fn model(mut self, model: Value) -> Self {
        let entry = json!({"modelId": model["id"]});
        self.projects[0]["models"].as_array_mut().unwrap().push(entry);
        self.models.push(model);
        self
    }

    /// Sets a field of all models.
    pub fn every_model(mut self, key: &str, value: Value) -> Self {
        self.models.iter_mut().for_each(|model| model[key] = value.clone());
        self
    }

    /// Sets a setting; dots lead into objects: `server.headTimeoutMs`.
    pub fn setting(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.settings;
        for key in path.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[key];
        }
        *at = value.into();
        self
    }

    /// `io_uring`, `epoll` or `auto`.
    pub fn driver(self, driver: &str) -> Self {
        self.setting("driver", driver)
    }

    pub fn cores(self, cores: usize) -> Self {
        self.setting("cores", cores)
    }

    /// Sets a field of the project `demo`.
    pub fn project(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.projects[0][key] = value.into();
        self
    }

    /// Adds a project.
    pub fn other_project(mut self, project: Value) -> Self {
        self.projects.push(project);
        self
    }

    /// Adds a token to the project `demo`.
    pub fn token(mut self, token: Value) -> Self {
        self.projects[0]["tokens"].as_array_mut().unwrap().push(token);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a flag to `routerly start`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn start(self) -> Gateway {
        Gateway::start(self)
    }
}

/// A model of the simulated provider that answers at once with twelve tokens.
pub fn simulated(id: &str, dialect: &str) -> Value {
    json!({
        "id": id, "name": id, "provider": "simulated", "dialect": dialect,
        "cost": {"inputPerMillion": 1, "outputPerMillion": 2}, "contextWindow": 128_000,
        "simulated": {"ttftMs": 0, "tokensPerSecond": 0, "outputTokens": 12},
    })
}
