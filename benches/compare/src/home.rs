//! A throw-away home directory for the gateway: one chat model and one Anthropic model on the mock.
//!
//! Formats: the store's `settings.json`, `models.json`, `projects.json`. Tokens and provider keys are
//! written in the clear, as an existing home of the first generation has them; the gateway hashes and
//! encrypts them at its first start.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The tokens that the load uses.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Of the project whose model speaks chat completions.
    pub chat: String,
    /// Of the project whose model speaks Anthropic messages.
    pub anthropic: String,
}

pub fn write(home: &Path, port: u16, upstream_port: u16, log_level: &str) -> io::Result<Tokens> {
    let tokens = Tokens { chat: new_token()?, anthropic: new_token()? };
    for folder in ["config", "data"] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(home.join(folder))?;
    }
    let endpoint = format!("http://127.0.0.1:{upstream_port}/v1");
    let settings = format!(
        "{{\n  \"port\": {port},\n  \"host\": \"127.0.0.1\",\n  \"dashboardEnabled\": true,\n  \
         \"defaultTimeoutMs\": 120000,\n  \"logLevel\": \"{log_level}\"\n}}\n"
    );
    let models = format!(
        "[\n{},\n{}\n]\n",
        model("bench", &endpoint, ""),
        model("bench-claude", &endpoint, "\n    \"dialect\": \"anthropic-messages\",")
    );
    let projects = format!(
        "[\n{},\n{}\n]\n",
        project(1, "bench", "bench", &tokens.chat),
        project(2, "bench-claude", "bench-claude", &tokens.anthropic)
    );
    for (name, text) in [("settings", settings), ("models", models), ("projects", projects)] {
        let path = home.join("config").join(format!("{name}.json"));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
    }
    Ok(tokens)
}

fn model(id: &str, endpoint: &str, dialect: &str) -> String {
    format!(
        "  {{\n    \"id\": \"{id}\",\n    \"name\": \"{id}\",\n    \"provider\": \"custom\",{dialect}\n    \
         \"endpoint\": \"{endpoint}\",\n    \"apiKey\": \"mock-provider-key-0123456789\",\n    \
         \"upstreamModelId\": \"mock-large\",\n    \"cost\": {{ \"inputPerMillion\": 0.15, \
         \"outputPerMillion\": 0.6, \"cachePerMillion\": 0.075 }},\n    \"contextWindow\": 128000,\n    \
         \"enabled\": true\n  }}"
    )
}

fn project(number: u8, name: &str, model: &str, token: &str) -> String {
    let snippet = format!("{}...{}", &token[..10], &token[token.len() - 4..]);
    format!(
        "  {{\n    \"id\": \"00000000-0000-4000-8000-00000000000{number}\",\n    \"name\": \"{name}\",\n    \
         \"slug\": \"{name}\",\n    \"tokens\": [\n      {{\n        \
         \"id\": \"00000000-0000-4000-8000-00000000010{number}\",\n        \"token\": \"{token}\",\n        \
         \"tokenSnippet\": \"{snippet}\",\n        \"createdAt\": \"2026-01-01T00:00:00.000Z\",\n        \
         \"labels\": [\"bench\"]\n      }}\n    ],\n    \"members\": [],\n    \"policies\": [],\n    \
         \"models\": [{{ \"modelId\": \"{model}\" }}],\n    \"budgets\": [{{ \"metric\": \"cost\", \
         \"windowType\": \"period\", \"period\": \"monthly\", \"value\": 1000000 }}],\n    \"timeoutMs\": 120000\n  }}"
    )
}

/// `sk-rt-` and 64 hex characters of the kernel's randomness.
fn new_token() -> io::Result<String> {
    let mut random = [0u8; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sk-rt-{hex}"))
}
