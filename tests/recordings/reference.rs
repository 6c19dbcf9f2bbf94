//! What a recording says, found the slow way: whole documents, parsed and read by name. Shares nothing with the
//! gateway's own reader.

use serde_json::{Map, Value};

use super::corpus::Recording;

/// Tokens of a usage record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}

impl Tokens {
    /// Picodollars at 1 USD per million input tokens, 2 per output, 0.25 per cached, 1.25 per written to the cache.
    pub fn cost(&self) -> u64 {
        let plain = self.input - self.cached - self.cache_write;
        1_000_000 * plain + 2_000_000 * self.output + 250_000 * self.cached + 1_250_000 * self.cache_write
    }
}

/// Data of all events with the bytes of each block, blank line included; the last one may be without.
pub fn blocks(stream: &str) -> Vec<(&str, Option<Value>)> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in stream.split_inclusive('\n') {
        at += line.len();
        if matches!(line, "\n" | "\r\n") {
            blocks.push((&stream[start..at], data(&stream[start..at])));
            start = at;
        }
    }
    if start < stream.len() {
        blocks.push((&stream[start..], data(&stream[start..])));
    }
    blocks
}

/// The data of an event; what is no JSON is a string.
fn data(block: &str) -> Option<Value> {
    let lines: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    let text = lines.join("\n");
    (!lines.is_empty()).then(|| serde_json::from_str(&text).unwrap_or_else(|_| text.trim().into()))
}

/// A chat stream without the chunk that only reports usage.
pub fn without_usage_chunk(stream: &str) -> String {
    let is_usage =
        |data: &Value| data["choices"].as_array().is_some_and(Vec::is_empty) && data["usage"].is_object();
    let kept = blocks(stream).into_iter().filter(|(_, data)| !data.as_ref().is_some_and(is_usage));
    kept.map(|(bytes, _)| bytes).collect()
}

/// All documents of an answer.
pub fn documents(recording: &Recording) -> Vec<Value> {
    let text = std::str::from_utf8(&recording.answer).expect("recordings are text");
    match serde_json::from_str(text) {
        Ok(Value::Array(chunks)) => chunks,
        Ok(document) => vec![document],
        Err(_) => blocks(text).into_iter().filter_map(|(_, data)| data).collect(),
    }
}

/// Whether the provider says that it failed.
pub fn reports_failure(documents: &[Value]) -> bool {
    documents.iter().any(|document| !document["error"].is_null() || document["type"] == "response.failed")
}

/// The usage that an answer reports.
pub fn tokens(dialect: &str, documents: &[Value]) -> Option<Tokens> {
    let mut last = documents.iter().rev();
    match dialect {
        "anthropic_messages" => anthropic(documents),
        "gemini" => last.find_map(|chunk| gemini(&chunk["usageMetadata"])),
        _ => last.find_map(|event| {
            let places = [&event["usage"], &event["response"]["usage"], &event["x_groq"]["usage"]];
            places.into_iter().find_map(openai)
        }),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|number| number as u64)).unwrap_or(0)
}

fn openai(usage: &Value) -> Option<Tokens> {
    usage.as_object()?;
    let first = |paths: &[&str]| {
        let found = paths.iter().filter_map(|path| usage.pointer(path)).map(number);
        found.max().unwrap_or(0)
    };
    let input = first(&["/prompt_tokens", "/input_tokens"]);
    let said = first(&["/completion_tokens", "/output_tokens"]);
    // Some leave reasoning out of the output, and it shows in the total only.
    let unsaid = first(&["/total_tokens"]).saturating_sub(input + said);
    let output = said + unsaid;
    let cached = first(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cached_tokens",
        "/num_cached_tokens",
    ]);
    let written =
        first(&["/prompt_tokens_details/cache_write_tokens", "/input_tokens_details/cache_write_tokens"]);
    let reasoning =
        first(&["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"]);
    // A part cannot be more than the whole, whatever is reported.
    let cached = cached.min(input);
    Some(Tokens {
        input,
        output,
        cached,
        cache_write: written.min(input - cached),
        reasoning: reasoning.max(unsaid).min(output),
    })
}

fn anthropic(documents: &[Value]) -> Option<Tokens> {
    let mut merged = Map::new();
    for document in documents {
        for usage in [&document["message"]["usage"], &document["usage"]] {
            let said = usage.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
            merged.extend(said.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    if merged.is_empty() {
        return None;
    }
    // A compaction is billed beside the message that it was made for.
    let iterations = merged.get("iterations").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut parts = vec![Value::Object(merged)];
    parts.extend(iterations.into_iter().filter(|iteration| iteration["type"] == "compaction"));
    let sum = |path: &str| parts.iter().filter_map(|part| part.pointer(path)).map(number).sum::<u64>();
    let (cached, cache_write) = (sum("/cache_read_input_tokens"), sum("/cache_creation_input_tokens"));
    Some(Tokens {
        input: sum("/input_tokens") + cached + cache_write,
        output: sum("/output_tokens"),
        cached,
        cache_write,
        reasoning: sum("/output_tokens_details/thinking_tokens"),
    })
}

fn gemini(usage: &Value) -> Option<Tokens> {
    let counts = usage.as_object()?.keys().any(|name| name.ends_with("TokenCount"));
    let thoughts = number(&usage["thoughtsTokenCount"]);
    counts.then(|| Tokens {
        input: number(&usage["promptTokenCount"]) + number(&usage["toolUsePromptTokenCount"]),
        output: number(&usage["candidatesTokenCount"]) + thoughts,
        cached: number(&usage["cachedContentTokenCount"]),
        cache_write: 0,
        reasoning: thoughts,
    })
}
