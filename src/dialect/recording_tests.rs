//! Recorded traffic of real providers through the tap, cut everywhere, against a plain reader of whole documents.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::sse::Observer;

struct Recording {
    id: String,
    streaming: bool,
    wire: Vec<u8>,
}

/// The recordings of one dialect; `None` where they are not at hand, as in a checkout of the repository alone.
fn recordings(folder: &str) -> Option<Vec<Recording>> {
    let shared = match std::env::var_os("ROUTERLY_SHARED") {
        Some(path) => PathBuf::from(path),
        None => {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
            if !path.join("recordings").is_dir() {
                eprintln!("no recordings in {}: nothing is replayed", path.display());
                return None;
            }
            path
        }
    };
    let folder = shared.join("recordings").join(folder);
    let mut recordings: Vec<Recording> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let text = std::fs::read(entry.unwrap().path()).unwrap();
            let recording: Value = serde_json::from_slice(&text).unwrap();
            let streaming = recording["streaming"].as_bool().unwrap();
            let wire = recording["response"][if streaming { "sse" } else { "body" }].as_str().unwrap();
            Recording {
                id: recording["id"].as_str().unwrap().into(),
                streaming,
                wire: wire.as_bytes().into(),
            }
        })
        .collect();
    recordings.sort_by(|a, b| a.id.cmp(&b.id));
    assert!(recordings.len() > 50, "{} has {} recordings", folder.display(), recordings.len());
    Some(recordings)
}

/// Runs all checks on the recordings of one dialect.
fn replay(dialect: Dialect, folder: &str) {
    for recording in recordings(folder).into_iter().flatten() {
        let Recording { id, streaming, wire } = &recording;
        let mut whole = UsageTap::new(dialect, *streaming);
        whole.feed(wire);
        agrees_with_reference(dialect, &recording, whole.clone().finish());

        let mut bytewise = UsageTap::new(dialect, *streaming);
        wire.chunks(1).for_each(|byte| bytewise.feed(byte));
        assert_same_state(&bytewise, &whole, id, 0);
        cut_everywhere(dialect, &recording);
    }
}

/// Cuts a response at each of its offsets.
///
/// The whole response again for each offset would be quadratic, so each is cut within a window: the tap has taken in
/// all before the window, takes the window in two pieces, and has to be in the state of a tap that took it in one.
/// Windows of a stream are three events long and begin with an event, so that each event is cut at each of its
/// offsets, with a whole event before and behind.
fn cut_everywhere(dialect: Dialect, recording: &Recording) {
    let Recording { id, streaming, wire } = recording;
    let is_stream = *streaming && !wire.starts_with(b"{");
    let starts = if is_stream {
        block_starts(wire)
    } else {
        (0..wire.len()).step_by(96).chain([wire.len()]).collect()
    };
    let end_of = |index: usize| starts[index.min(starts.len() - 1)];
    let mut before = UsageTap::new(dialect, *streaming);
    for (index, pair) in starts.windows(2).enumerate() {
        let window_start = end_of(index.saturating_sub(1));
        let window = &wire[window_start..end_of(index + 2)];
        let mut expected = before.clone();
        expected.feed(window);
        // An event of many kilobytes is read in full at some offsets only; that it is found whole at each of them
        // is shown by `events_are_found_whole_wherever_they_are_cut`.
        let step = if pair[1] - pair[0] > 2048 { 61 } else { 1 };
        for cut in (pair[0]..pair[1]).step_by(step) {
            let (head, tail) = window.split_at(cut - window_start);
            let mut tap = before.clone();
            tap.feed(head);
            tap.feed(tail);
            assert_same_state(&tap, &expected, id, cut);
        }
        if index > 0 {
            before.feed(&wire[window_start..pair[0]]);
        }
    }
}

#[track_caller]
fn assert_same_state(tap: &UsageTap, expected: &UsageTap, id: &str, cut: usize) {
    assert!(
        tap.sight == expected.sight,
        "{id}, cut at {cut}: {:?} instead of {:?}",
        tap.sight,
        expected.sight
    );
    assert!(tap.body == expected.body, "{id}, cut at {cut}: {:?} instead of {:?}", tap.body, expected.body);
    assert!(tap.mode == expected.mode, "{id}, cut at {cut}");
    assert!(tap.observer.is_inside_block() == expected.observer.is_inside_block(), "{id}, cut at {cut}");
}

/// Offsets at which blocks begin, and the end of the stream.
fn block_starts(wire: &[u8]) -> Vec<usize> {
    let text = std::str::from_utf8(wire).expect("recordings are text");
    let mut starts = vec![0];
    starts.extend(text.match_indices("\n\n").map(|(at, mark)| at + mark.len()));
    starts.extend(text.match_indices("\r\n\r\n").map(|(at, mark)| at + mark.len()));
    starts.push(wire.len());
    starts.sort_unstable();
    starts.dedup();
    starts
}

#[test]
fn recorded_chat_completions() {
    replay(Dialect::OpenAiChat, "openai_chat");
}

#[test]
fn recorded_responses() {
    replay(Dialect::OpenAiResponses, "openai_responses");
}

#[test]
fn recorded_anthropic_messages() {
    replay(Dialect::AnthropicMessages, "anthropic_messages");
}

#[test]
fn recorded_gemini_responses() {
    replay(Dialect::Gemini, "gemini");
}

#[test]
fn events_are_found_whole_wherever_they_are_cut() {
    for folder in ["openai_chat", "openai_responses", "anthropic_messages", "gemini"] {
        for recording in recordings(folder).into_iter().flatten().filter(|recording| recording.streaming) {
            let wire = &recording.wire;
            for pair in block_starts(wire).windows(2) {
                let block = &wire[pair[0]..pair[1]];
                let mut expected = None;
                Observer::new()
                    .feed(block, |event| expected = Some((event.name.to_vec(), event.data.to_vec())));
                for cut in 0..block.len() {
                    let (mut observer, mut found) = (Observer::new(), None);
                    for piece in [&block[..cut], &block[cut..]] {
                        observer.feed(piece, |event| {
                            let same = expected.as_ref().is_some_and(|(name, data)| {
                                event.name == name.as_slice() && event.data.as_ref() == data.as_slice()
                            });
                            found = Some(same);
                        });
                    }
                    assert_eq!(
                        found,
                        expected.as_ref().map(|_| true),
                        "{}, cut at {cut} of {pair:?}",
                        recording.id
                    );
                }
            }
        }
    }
}

// The reference: whole documents, parsed by serde_json, read by name.

fn agrees_with_reference(dialect: Dialect, recording: &Recording, report: TapReport<'_>) {
    let id = &recording.id;
    let text = std::str::from_utf8(&recording.wire).unwrap();
    let documents = match serde_json::from_str(text) {
        Ok(Value::Array(chunks)) => chunks,
        Ok(document) => vec![document],
        Err(_) => data_lines(text),
    };
    let is_body = !recording.streaming || text.starts_with('{');
    let usage = match dialect {
        Dialect::OpenAiChat => documents.iter().rev().find_map(|chunk| {
            openai_usage(&chunk["usage"]).or_else(|| openai_usage(&chunk["x_groq"]["usage"]))
        }),
        Dialect::OpenAiResponses => documents.iter().rev().find_map(|event| {
            openai_usage(&event["usage"]).or_else(|| openai_usage(&event["response"]["usage"]))
        }),
        Dialect::AnthropicMessages => anthropic_usage(&documents),
        Dialect::Gemini => documents.iter().rev().find_map(|chunk| gemini_usage(&chunk["usageMetadata"])),
    };
    assert_eq!(report.usage, usage, "{id}");

    let failed = documents
        .iter()
        .any(|document| !document["error"].is_null() || document["type"] == "response.failed");
    let ended = is_body
        || documents.iter().any(|document| match dialect {
            Dialect::OpenAiChat => {
                document == "[DONE]" || document["choices"][0]["finish_reason"].is_string()
            }
            Dialect::OpenAiResponses => {
                matches!(document["type"].as_str(), Some("response.completed" | "response.incomplete"))
            }
            Dialect::AnthropicMessages => document["type"] == "message_stop",
            Dialect::Gemini => document["candidates"][0]["finishReason"].is_string(),
        });
    let end = match (failed, ended) {
        (true, _) => StreamEnd::ErrorEvent,
        (false, true) => StreamEnd::Complete,
        (false, false) => StreamEnd::Truncated,
    };
    assert_eq!(report.end, end, "{id}");
    assert_eq!(report.error.is_some(), failed, "{id}");

    let model = documents.iter().find_map(|document| {
        let candidates = [
            &document["model"],
            &document["modelVersion"],
            &document["message"]["model"],
            &document["response"]["model"],
        ];
        candidates.into_iter().find_map(|name| name.as_str().filter(|name| !name.is_empty()))
    });
    assert_eq!(report.model, model, "{id}");

    if !is_body {
        let expected: usize = documents.iter().map(|document| output_chars(dialect, document)).sum();
        assert_eq!(report.output_chars_seen, expected as u64, "{id}");
        assert_eq!(report.events, documents.len() as u64, "{id}");
    }
}

/// The `data` fields of a stream; what is no JSON is kept as a string.
fn data_lines(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
    lines.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data.trim()))).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value.as_f64().map_or(0, |number| number as u64))
}

fn openai_usage(usage: &Value) -> Option<Usage> {
    usage.as_object()?;
    let sum = |names: &[&str]| names.iter().map(|name| count(&usage[*name])).max().unwrap_or(0);
    let (input, said) =
        (sum(&["prompt_tokens", "input_tokens"]), sum(&["completion_tokens", "output_tokens"]));
    let details = |names: [&str; 2], name: &str| names.iter().map(|outer| count(&usage[*outer][name])).max();
    let inputs = ["prompt_tokens_details", "input_tokens_details"];
    let outputs = ["completion_tokens_details", "output_tokens_details"];
    let elsewhere = sum(&["prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"]);
    let unsaid = count(&usage["total_tokens"]).saturating_sub(input + said);
    let output = said + unsaid;
    // Grok on Azure reports 158 cached of 78 prompt tokens, Gemini on OpenRouter tokens both read and written.
    let cached_input = details(inputs, "cached_tokens").unwrap_or(0).max(elsewhere).min(input);
    Some(Usage {
        input,
        output,
        cached_input,
        cache_write: details(inputs, "cache_write_tokens").unwrap_or(0).min(input - cached_input),
        reasoning: details(outputs, "reasoning_tokens").unwrap_or(0).max(unsaid).min(output),
    })
}

fn anthropic_usage(documents: &[Value]) -> Option<Usage> {
    let mut merged = serde_json::Map::new();
    for document in documents {
        for usage in [&document["usage"], &document["message"]["usage"]] {
            for (name, value) in usage.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
            {
                merged.insert(name.clone(), value.clone());
            }
        }
    }
    if merged.is_empty() {
        return None;
    }
    let mut all = vec![Value::Object(merged)];
    let iterations = all[0]["iterations"].as_array().cloned().unwrap_or_default();
    all.extend(iterations.into_iter().filter(|iteration| iteration["type"] == "compaction"));
    let sum = |name: &str| all.iter().map(|usage| count(&usage[name])).sum::<u64>();
    let (cached_input, cache_write) = (sum("cache_read_input_tokens"), sum("cache_creation_input_tokens"));
    Some(Usage {
        input: sum("input_tokens") + cached_input + cache_write,
        output: sum("output_tokens"),
        cached_input,
        cache_write,
        reasoning: all.iter().map(|usage| count(&usage["output_tokens_details"]["thinking_tokens"])).sum(),
    })
}

fn gemini_usage(usage: &Value) -> Option<Usage> {
    let names = usage.as_object()?.keys().any(|name| name.ends_with("TokenCount"));
    let thoughts = count(&usage["thoughtsTokenCount"]);
    names.then(|| Usage {
        input: count(&usage["promptTokenCount"]) + count(&usage["toolUsePromptTokenCount"]),
        output: count(&usage["candidatesTokenCount"]) + thoughts,
        cached_input: count(&usage["cachedContentTokenCount"]),
        cache_write: 0,
        reasoning: thoughts,
    })
}

/// Characters of output in one event of a stream. A pair of surrogate escapes counts twice.
fn output_chars(dialect: Dialect, document: &Value) -> usize {
    let chars = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let sum =
        |value: &Value, names: &[&str]| -> usize { strings(value, names).into_iter().map(&chars).sum() };
    match dialect {
        Dialect::OpenAiChat => {
            let deltas = document["choices"].as_array().into_iter().flatten().map(|choice| &choice["delta"]);
            deltas
                .map(|delta| {
                    let said = sum(delta, &["content", "reasoning_content", "refusal", "arguments"]);
                    said + sum(delta, &["reasoning"]).max(sum(delta, &["text"]))
                })
                .sum()
        }
        Dialect::OpenAiResponses
            if document["type"].as_str().is_some_and(|kind| kind.ends_with(".delta")) =>
        {
            chars(&document["delta"])
        }
        Dialect::AnthropicMessages if document["type"] == "content_block_delta" => {
            sum(document, &["text", "thinking", "partial_json"])
        }
        Dialect::Gemini => sum(&document["candidates"], &["text"]),
        Dialect::OpenAiResponses | Dialect::AnthropicMessages => 0,
    }
}

/// All string members with one of these names, at any depth.
fn strings<'a>(value: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| {
                let own = names.contains(&name.as_str()) && value.is_string();
                if own { vec![value] } else { strings(value, names) }
            })
            .collect(),
        Value::Array(elements) => elements.iter().flat_map(|element| strings(element, names)).collect(),
        _ => Vec::new(),
    }
}
