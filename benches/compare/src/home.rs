//! A throw-away home directory for the gateway: one chat model and one Anthropic model on the mock, and as many
//! projects and tokens as are wanted.
//!
//! Formats: the store's `settings.json`, `models.json`, `projects.json`. Tokens and provider keys are
//! written in the clear, as an existing home of the first generation has them; the gateway hashes and
//! encrypts them at its first start.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// How much there is in a home.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Projects whose model speaks chat completions; one more has the Anthropic model.
    pub projects: usize,
    pub tokens_per_project: usize,
}

/// What the comparison runs on.
pub const ONE_PROJECT: Size = Size { projects: 1, tokens_per_project: 1 };
/// The two ends of the growth row.
pub const SMALL: Size = Size { projects: 10, tokens_per_project: 1 };
pub const LARGE: Size = Size { projects: 5_000, tokens_per_project: 20 };

/// The tokens that the load uses.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Of the projects whose model speaks chat completions, neighbours from different projects.
    pub chat: Vec<String>,
    /// Of the project whose model speaks Anthropic messages.
    pub anthropic: String,
}

pub fn write(home: &Path, port: u16, upstream_port: u16, log_level: &str, size: Size) -> io::Result<Tokens> {
    let chat = (0..size.projects * size.tokens_per_project).map(|_| new_token());
    let tokens = Tokens { chat: chat.collect::<io::Result<_>>()?, anthropic: new_token()? };
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
    let mut projects: Vec<String> = (0..size.projects)
        .map(|number| {
            let own: Vec<&String> = tokens.chat.iter().skip(number).step_by(size.projects).collect();
            project(number, "bench", &own)
        })
        .collect();
    projects.push(project(size.projects, "bench-claude", &[&tokens.anthropic]));
    let projects = format!("[\n{}\n]\n", projects.join(",\n"));
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

fn project(number: usize, model: &str, tokens: &[&String]) -> String {
    let token = |(index, token): (usize, &&String)| {
        let snippet = format!("{}...{}", &token[..10], &token[token.len() - 4..]);
        format!(
            "      {{\n        \"id\": \"00000000-0000-4000-8001-{number:08}{index:04}\",\n        \
             \"token\": \"{token}\",\n        \"tokenSnippet\": \"{snippet}\",\n        \
             \"createdAt\": \"2026-01-01T00:00:00.000Z\",\n        \"labels\": [\"bench\"]\n      }}"
        )
    };
    let tokens: Vec<String> = tokens.iter().enumerate().map(token).collect();
    format!(
        "  {{\n    \"id\": \"00000000-0000-4000-8000-{number:012}\",\n    \"name\": \"{model} {number}\",\n    \
         \"slug\": \"{model}-{number}\",\n    \"tokens\": [\n{}\n    ],\n    \"members\": [],\n    \
         \"policies\": [],\n    \"models\": [{{ \"modelId\": \"{model}\" }}],\n    \
         \"budgets\": [{{ \"metric\": \"cost\", \"windowType\": \"period\", \"period\": \"monthly\", \
         \"value\": 1000000 }}],\n    \"timeoutMs\": 120000\n  }}",
        tokens.join(",\n")
    )
}

/// `sk-rt-` and 64 hex characters of the kernel's randomness.
fn new_token() -> io::Result<String> {
    let mut random = [0u8; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sk-rt-{hex}"))
}
