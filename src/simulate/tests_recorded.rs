//! Simulated traffic held against recorded traffic.
//!
//! Two checks per dialect. The order of a stream's events is read by a small state machine, which has to accept the
//! recordings first. And every field of a simulated event must have been seen in a recorded one of its kind, and
//! every field that all recordings of the vendor have must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::tests::{CHAT, MESSAGES, RESPONSES, plain, play, post, simulator, value};

/// Recorded exchanges of a dialect that ended well.
fn recordings(dialect: &str) -> Vec<Value> {
    let shared = std::env::var_os("ROUTERLY_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = shared.join("recordings");
    let read = |file: &str| -> Value {
        let path = folder.join(file);
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap()
    };
    let index = read("index.json");
    let files = index["exchanges"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["dialect"] == dialect && entry["status"] == 200);
    let recordings: Vec<Value> = files.map(|entry| read(entry["file"].as_str().unwrap())).collect();
    assert!(recordings.len() > 20, "{} recordings of {dialect}", recordings.len());
    recordings
}

/// The events of a stream: their name, if any, and their payload.
fn events(sse: &str) -> Vec<(Option<String>, Option<Value>)> {
    let mut events = Vec::new();
    for block in sse.replace("\r\n", "\n").split("\n\n") {
        let name =
            block.lines().find_map(|line| line.strip_prefix("event:")).map(|name| name.trim().to_owned());
        let data = block.lines().find_map(|line| line.strip_prefix("data:")).map(str::trim);
        if let Some(data) = data {
            events.push((name, serde_json::from_str(data).ok()));
        }
    }
    events
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Chat: per choice role, deltas, finish; then usage without choices; then `[DONE]`.
fn check_chat(sse: &str) -> Result<(), String> {
    let events = events(sse);
    let (last, chunks) = events.split_last().ok_or("no events")?;
    if last.1.is_some() {
        return Err("no [DONE]".to_owned());
    }
    let mut choices: BTreeMap<u64, bool> = BTreeMap::new();
    let mut calls: BTreeSet<(u64, u64)> = BTreeSet::new();
    for (_, chunk) in chunks {
        let chunk = chunk.as_ref().ok_or("a chunk is no JSON")?;
        for choice in chunk["choices"].as_array().ok_or("no choices")? {
            let index = choice["index"].as_u64().ok_or("no index")?;
            let delta = &choice["delta"];
            match choices.get(&index) {
                None if delta["role"] != "assistant" => {
                    return Err(format!("choice {index} opens without a role"));
                }
                Some(true) => return Err(format!("choice {index} goes on after its end")),
                None | Some(false) => {}
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let key = (index, call["index"].as_u64().ok_or("a call without index")?);
                if calls.insert(key) && !(call["id"].is_string() && call["function"]["name"].is_string()) {
                    return Err("a call opens without id or name".to_owned());
                }
            }
            choices.insert(index, choice["finish_reason"].is_string());
        }
    }
    if choices.is_empty() || choices.values().any(|finished| !finished) {
        return Err("a choice does not finish".to_owned());
    }
    Ok(())
}

/// Messages: start, blocks one after the other, delta, stop; ping anywhere.
fn check_messages(sse: &str) -> Result<(), String> {
    #[derive(PartialEq, Debug)]
    enum State {
        Before,
        Between,
        Block,
        Ending,
        Over,
    }
    let (mut state, mut next) = (State::Before, 0);
    for (name, data) in events(sse) {
        let data = data.ok_or("an event is no JSON")?;
        let kind = text(&data, "type");
        if name.as_deref() != Some(kind) {
            return Err(format!("event {name:?} says it is {kind}"));
        }
        state = match (state, kind) {
            (state, "ping") if state != State::Before => state,
            (State::Before, "message_start") => State::Between,
            (State::Between, "content_block_start") if data["index"] == next => State::Block,
            (State::Block, "content_block_delta") if data["index"] == next => State::Block,
            (State::Block, "content_block_stop") if data["index"] == next => {
                next += 1;
                State::Between
            }
            (State::Between | State::Ending, "message_delta") => State::Ending,
            (State::Ending, "message_stop") => State::Over,
            (state, kind) => return Err(format!("{kind} while {state:?}")),
        };
    }
    if state == State::Over { Ok(()) } else { Err(format!("ends while {state:?}")) }
}

/// Responses: created, in progress, items with their parts, the end; numbers without gaps.
fn check_responses(sse: &str) -> Result<(), String> {
    let (mut open, mut over): (Vec<String>, bool) = (Vec::new(), false);
    for (position, (name, data)) in events(sse).into_iter().enumerate() {
        let data = data.ok_or("an event is no JSON")?;
        let kind = text(&data, "type").to_owned();
        if name.as_deref() != Some(&kind) || over {
            return Err(format!("{kind} under the name {name:?}, after the end: {over}"));
        }
        if data["sequence_number"] != position {
            return Err(format!("number {} at {position}", data["sequence_number"]));
        }
        let kind = kind.strip_prefix("response.").ok_or("a foreign event")?;
        match (position, kind) {
            (0, "created") => {}
            (_, "in_progress" | "queued") if position > 0 && open.is_empty() => {}
            (0 | 1, _) => return Err(format!("{kind} at {position}")),
            (_, "completed" | "incomplete") if open.is_empty() => over = true,
            (_, kind) => {
                let (thing, step) = kind.rsplit_once('.').ok_or_else(|| format!("{kind} at {position}"))?;
                let key = match thing {
                    "output_item" => format!("item {}", data["output_index"]),
                    "content_part" | "reasoning_summary_part" => format!("part {}", data["output_index"]),
                    _ => {
                        let item = format!("item {}", data["output_index"]);
                        if !open.contains(&item) {
                            return Err(format!("{kind} outside of its {item}"));
                        }
                        continue;
                    }
                };
                match step {
                    "added" if !open.contains(&key) => open.push(key),
                    "done" if open.last() == Some(&key) => drop(open.pop()),
                    _ => return Err(format!("{kind} while {open:?} are open")),
                }
            }
        }
    }
    if over { Ok(()) } else { Err("no end".to_owned()) }
}

/// Gemini: a usage that adds up in every chunk, and a finish in the last.
fn check_gemini(sse: &str) -> Result<(), String> {
    let events = events(sse);
    for (name, chunk) in &events {
        let usage = &chunk.as_ref().ok_or("a chunk is no JSON")?["usageMetadata"];
        let total = usage["totalTokenCount"].as_u64().ok_or("no total")?;
        let parts =
            ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"];
        let sum: u64 = parts.iter().filter_map(|part| usage[*part].as_u64()).sum();
        if name.is_some() || sum != total {
            return Err(format!("event {name:?}, {sum} tokens and a total of {total}"));
        }
    }
    let finish =
        events.last().and_then(|(_, chunk)| chunk.as_ref()?["candidates"][0]["finishReason"].as_str());
    finish.map(drop).ok_or_else(|| "no finish".to_owned())
}

type Check = fn(&str) -> Result<(), String>;
const CHECKS: [(&str, &str, Check); 4] = [
    ("openai_chat", "openai", check_chat),
    ("openai_responses", "openai", check_responses),
    ("anthropic_messages", "anthropic", check_messages),
    ("gemini", "google", check_gemini),
];

/// Requests that together show every kind of event: `(dialect, path, body)`.
fn requests(stream: bool) -> Vec<(usize, &'static str, Value)> {
    let schema = json!({"type":"object","properties":{"a":{"type":"string"}},"required":["a"]});
    let mut requests = Vec::new();
    for (dialect, (path, body)) in plain(stream).into_iter().enumerate() {
        let mut add = |changes: Value| {
            let mut body = body.clone();
            for (key, value) in changes.as_object().unwrap() {
                body[key] = value.clone();
            }
            requests.push((dialect, path, body));
        };
        add(json!({}));
        add(match path {
            CHAT => json!({"reasoning_effort":"low","n":3}),
            RESPONSES => {
                json!({"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"]})
            }
            MESSAGES => json!({"thinking":{"type":"adaptive"}}),
            _ => json!({"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}),
        });
        add(match path {
            CHAT => json!({"tools":[{"type":"function","function":{"name":"f","parameters":schema}}],
                "tool_choice":"required","stream_options":{"include_usage":true}}),
            RESPONSES => json!({"tools":[{"type":"function","name":"f","parameters":schema}],
                "tool_choice":"required"}),
            MESSAGES => json!({"tools":[{"name":"f","input_schema":schema}],"tool_choice":{"type":"any"},
                "thinking":{"type":"enabled"}}),
            _ => json!({"tools":[{"functionDeclarations":[{"name":"f","parameters":schema}]}],
                "toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}),
        });
        add(match path {
            CHAT => json!({"max_tokens":3}),
            RESPONSES => json!({"max_output_tokens":3}),
            MESSAGES => json!({"max_tokens":3}),
            _ => json!({"generationConfig":{"maxOutputTokens":3}}),
        });
    }
    requests
}

fn simulated(stream: bool) -> Vec<(usize, String)> {
    let simulator =
        simulator(json!({"outputTokens":9,"thinkingTokens":4,"toolCallCount":2,"cachedInputTokens":1,
        "textWithToolCalls":true}));
    let answer = |(dialect, path, body): (usize, &str, Value)| {
        let reply = post(&simulator, path, &[], body.to_string().as_bytes(), 0);
        let text = if stream { play(reply).text() } else { value(&reply).to_string() };
        (dialect, text)
    };
    requests(stream).into_iter().map(answer).collect()
}

#[test]
fn streams_keep_the_order_that_recorded_streams_keep() {
    for (dialect, vendor, check) in CHECKS {
        let mut accepted = 0;
        for recording in recordings(dialect) {
            let features = recording["features"].to_string();
            let skipped = ["res:stream-error", "res:incomplete-stream", "res:sse-comment", "response-only"];
            // Old recordings of Responses lack the numbers; only what the vendor sends today is the measure.
            if recording["provider"] != vendor || skipped.iter().any(|feature| features.contains(feature)) {
                continue;
            }
            let Some(sse) = recording["response"]["sse"].as_str() else { continue };
            if dialect == "openai_responses" && !sse.contains("sequence_number") {
                continue;
            }
            check(sse).unwrap_or_else(|error| panic!("recorded {}: {error}", recording["id"]));
            accepted += 1;
        }
        assert!(accepted >= 5, "{dialect}: {accepted} recordings");
    }
    for (dialect, sse) in simulated(true) {
        let (name, _, check) = CHECKS[dialect];
        check(&sse).unwrap_or_else(|error| panic!("simulated {name}: {error}\n{sse}"));
    }
}

#[test]
fn the_checks_see_what_is_missing() {
    for (dialect, sse) in simulated(true) {
        let (name, _, check) = CHECKS[dialect];
        let separator = if name == "gemini" { "\r\n\r\n" } else { "\n\n" };
        let (before_last, _) = sse.trim_end().rsplit_once(separator).unwrap();
        assert!(check(before_last).is_err(), "{name} without its last event");
    }
}

/// Every path of an event with the kind of value there; items of arrays share a path, and what the request itself
/// brought (schemas, arguments) is not looked into.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                found.insert(path.clone());
                if !["args", "input", "parameters", "tools", "metadata", "tool_choice"]
                    .contains(&key.as_str())
                {
                    paths(value, &path, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The kind of an event, as finely as its fields depend on it.
fn kind(event: &Value) -> String {
    let of = |key: &str| text(&event[key], "type").to_owned();
    [text(event, "type").to_owned(), of("delta"), of("content_block"), of("item"), of("part")].join(" ")
}

/// Per kind of event the paths that some event has, and those that all have.
type Shapes = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

fn learn(shapes: &mut Shapes, event: &Value) {
    let mut found = BTreeSet::new();
    paths(event, "", &mut found);
    match shapes.entry(kind(event)) {
        std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert((found.clone(), found))),
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            let (some, all) = entry.get_mut();
            some.extend(found.iter().cloned());
            all.retain(|path| found.contains(path));
        }
    }
}

fn payloads(recording: &Value) -> Vec<Value> {
    match (recording["response"]["sse"].as_str(), recording["response"]["body"].as_str()) {
        (Some(sse), _) => events(sse).into_iter().filter_map(|(_, data)| data).collect(),
        (None, Some(body)) => serde_json::from_str(body).into_iter().collect(),
        (None, None) => Vec::new(),
    }
}

#[test]
fn every_simulated_field_was_seen_in_a_recording() {
    for stream in [true, false] {
        let known: Vec<Shapes> = CHECKS
            .iter()
            .map(|(dialect, _, _)| {
                let mut shapes = Shapes::new();
                // Gemini's chunks are whole responses.
                let alike = |recording: &&Value| recording["streaming"] == stream || *dialect == "gemini";
                for recording in recordings(dialect).iter().filter(alike) {
                    payloads(recording).iter().for_each(|event| learn(&mut shapes, event));
                }
                shapes
            })
            .collect();
        for (dialect, answer) in simulated(stream) {
            let recording =
                json!({"response": if stream { json!({"sse":answer}) } else { json!({"body":answer}) }});
            for event in payloads(&recording) {
                let mut found = BTreeSet::new();
                paths(&event, "", &mut found);
                let kind = kind(&event);
                let name = CHECKS[dialect].0;
                let (some, _) =
                    known[dialect].get(&kind).unwrap_or_else(|| panic!("{name}: no {kind:?} recorded"));
                let unknown: Vec<_> = found.difference(some).collect();
                assert!(unknown.is_empty(), "{name} {kind}: {unknown:?} in no recording");
            }
        }
    }
}

#[test]
fn what_all_recordings_have_is_simulated() {
    for stream in [true, false] {
        let answers = simulated(stream);
        for (dialect, (name, vendor, _)) in CHECKS.iter().enumerate() {
            let mut recorded = Shapes::new();
            for recording in recordings(name) {
                if recording["streaming"] == stream && recording["provider"] == *vendor {
                    payloads(&recording).iter().for_each(|event| learn(&mut recorded, event));
                }
            }
            let mut simulated = Shapes::new();
            for (_, answer) in answers.iter().filter(|(other, _)| *other == dialect) {
                let body = if stream { json!({"sse":answer}) } else { json!({"body":answer}) };
                payloads(&json!({ "response": body })).iter().for_each(|event| learn(&mut simulated, event));
            }
            for (kind, (_, ours)) in &simulated {
                let Some((_, theirs)) = recorded.get(kind) else { continue };
                let missing: Vec<_> = theirs.difference(ours).collect();
                assert!(missing.is_empty(), "{name} {kind}: {missing:?} stands in all recordings");
            }
        }
    }
}
