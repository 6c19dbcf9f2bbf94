//! The documents of a home to try things out with.
//!
//! Owns their content only; `store::demo` writes them.

use serde_json::{Value, json};

/// Model ids of the demo project, one for each dialect, the chat one first.
pub const MODEL_IDS: [&str; 4] =
    ["simulated/chat", "simulated/responses", "simulated/anthropic", "simulated/gemini"];

/// `config/models.json`: models that answer inside the gateway. `simulated` are the settings of the simulated
/// provider that all of them get; null for its defaults.
pub fn models(simulated: &Value) -> Value {
    let dialects = ["openai-chat", "openai-responses", "anthropic-messages", "gemini"];
    let model = |(id, dialect): (&str, &str)| {
        let mut model = json!({
            "id": id,
            "name": format!("Simulated ({dialect})"),
            "provider": "simulated",
            "dialect": dialect,
            "cost": {"inputPerMillion": 1, "outputPerMillion": 2, "cachePerMillion": 0.1},
            "contextWindow": 128_000,
        });
        if !simulated.is_null() {
            model["simulated"] = simulated.clone();
        }
        model
    };
    MODEL_IDS.into_iter().zip(dialects).map(model).collect()
}

/// `config/projects.json`: one project `demo` with one token.
pub fn projects(token_hash: &str, token_snippet: &str) -> Value {
    let models: Vec<Value> = MODEL_IDS.iter().map(|id| json!({"modelId": id})).collect();
    json!([{
        "id": "demo",
        "name": "demo",
        "slug": "demo",
        "tokens": [{"id": "demo-token", "tokenHash": token_hash, "tokenSnippet": token_snippet, "labels": ["demo"]}],
        "members": [],
        "policies": [],
        "honorRequestedModel": "prefer",
        "models": models,
    }])
}
