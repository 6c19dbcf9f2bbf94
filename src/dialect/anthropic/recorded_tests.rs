//! Recorded traffic of Anthropic through the codecs: what is read of it, and that writing and reading it again changes
//! nothing of what is carried.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::stream_tests::{client, joined, read_pieces, rewritten};
use super::{read_answer, read_count_request, read_fault, write_answer, write_request};
use crate::dialect::context::TargetModel;
use crate::dialect::ir::{
    Arguments, Content, FaultCase, Finish, Format, Part, Raw, Request, Role, SummaryWish, Turn, Vendor,
};
use crate::dialect::loss::{Feature, Losses};
use crate::dialect::proof::ProofKey;
use crate::dialect::{Dialect, Effort, UsageTap};

struct Recording {
    id: String,
    model: String,
    streaming: bool,
    status: u16,
    request: Option<Value>,
    wire: Vec<u8>,
}

/// The recordings of this dialect; none where they are not at hand, as in a checkout of the repository alone.
fn recordings() -> Vec<Recording> {
    let shared = std::env::var_os("ROUTERLY_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = shared.join("recordings/anthropic_messages");
    if !folder.is_dir() {
        eprintln!("no recordings in {}: nothing is replayed", folder.display());
        return Vec::new();
    }
    let mut recordings: Vec<Recording> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let recording: Value =
                serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let streaming = recording["streaming"].as_bool().unwrap();
            let wire = recording["response"][if streaming { "sse" } else { "body" }].as_str().unwrap();
            Recording {
                id: recording["id"].as_str().unwrap().into(),
                model: recording["model"].as_str().unwrap().into(),
                streaming,
                status: recording["response"]["status"].as_u64().unwrap().try_into().unwrap(),
                request: recording["request"].as_object().map(|request| request["body"].clone()),
                wire: wire.as_bytes().into(),
            }
        })
        .collect();
    recordings.sort_by(|a, b| a.id.cmp(&b.id));
    assert!(recordings.len() > 50);
    recordings
}

/// The stream that a relay spliced of two.
fn is_spliced(recording: &Recording) -> bool {
    memchr::memmem::find_iter(&recording.wire, b"event: message_start").count() > 1
}

#[test]
fn answers_are_read_as_recorded_and_survive_writing() {
    for recording in recordings().iter().filter(|recording| !recording.streaming) {
        let Recording { id, status, wire, .. } = recording;
        let body: Value = serde_json::from_slice(wire).unwrap();
        if *status != 200 {
            let fault = read_fault(*status, wire);
            assert_eq!(fault.message.decode().unwrap(), body["error"]["message"].as_str().unwrap(), "{id}");
            let case = match body["error"]["type"].as_str().unwrap() {
                "authentication_error" => FaultCase::BadKey,
                "not_found_error" => FaultCase::NotFound,
                _ if fault.message.escaped().starts_with("prompt is too long") => FaultCase::ContextTooLong,
                "invalid_request_error" => FaultCase::BadRequest,
                other => panic!("{id}: {other}"),
            };
            assert_eq!(fault.case, case, "{id}");
            continue;
        }
        let answer = read_answer(wire, Vendor::Anthropic).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
        let blocks: Vec<Value> =
            body["content"].as_array().unwrap().iter().filter_map(carried_block).collect();
        let parts: Vec<Value> = answer.choices[0].parts.iter().map(part_value).collect();
        assert_eq!(parts, blocks, "{id}");
        assert_eq!(finish_word(&answer.choices[0].finish), body["stop_reason"].as_str().unwrap(), "{id}");
        let mut tap = UsageTap::new(Dialect::AnthropicMessages, false);
        tap.feed(wire);
        assert_eq!(answer.usage, tap.finish().usage, "{id}");

        let mut out = Vec::new();
        write_answer(&answer, &mut client(), &mut out);
        assert_eq!(read_answer(&out, Vendor::Anthropic).as_ref(), Ok(&answer), "{id}");
    }
}

/// What a recorded block has that is carried; `None` for blocks of built-in tools.
fn carried_block(block: &Value) -> Option<Value> {
    match block["type"].as_str().unwrap() {
        "text" => {
            let citations = block["citations"].as_array().into_iter().flatten();
            let urls: Vec<&Value> =
                citations.map(|citation| &citation["url"]).filter(|url| url.is_string()).collect();
            Some(json!({"text": block["text"], "urls": urls}))
        }
        "thinking" => Some(json!({"thinking": block["thinking"], "proof": block["signature"]})),
        "redacted_thinking" => Some(json!({"proof": block["data"]})),
        "tool_use" => Some(json!({"id": block["id"], "name": block["name"], "input": block["input"]})),
        _ => None,
    }
}

fn part_value(part: &Part<'_>) -> Value {
    match &part.content {
        Content::Text { text, citations } => {
            let urls: Vec<_> = citations.iter().map(|citation| citation.url.decode().unwrap()).collect();
            json!({"text": text.decode().unwrap(), "urls": urls})
        }
        Content::Thinking { text, proof, redacted } => {
            let proof = proof.as_ref().unwrap().data.decode().unwrap();
            if *redacted {
                json!({"proof": proof})
            } else {
                json!({"thinking": text.decode().unwrap(), "proof": proof})
            }
        }
        Content::ToolCall(call) => {
            let input: Value = serde_json::from_str(call.arguments.as_object().unwrap().as_str()).unwrap();
            json!({"id": call.id.as_ref().unwrap().decode().unwrap(), "name": call.name.decode().unwrap(), "input": input})
        }
        other => panic!("{other:?}"),
    }
}

fn finish_word(finish: &Finish<'_>) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ContextFull => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
        Finish::Filtered(_) | Finish::PromptFiltered(_) => "refusal",
        Finish::Paused => "pause_turn",
    }
}

#[test]
fn streams_are_read_as_recorded_and_survive_writing() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let Recording { id, wire, .. } = recording;
        let lines = joined(read_pieces(std::iter::once(&wire[..])));
        if wire.starts_with(b"{") {
            assert_ne!(read_fault(recording.status, wire).case, FaultCase::Internal, "{id}");
            continue;
        }
        count += 1;
        assert_eq!(lines, joined(expected_lines(wire)), "{id}");
        let again = joined(read_pieces(std::iter::once(&rewritten(wire)[..])));
        assert_eq!(again, lines, "{id}");

        // Of a spliced stream the tap counts the second message, too.
        if !is_spliced(recording) {
            let (mut before, mut after) = (tap(wire), tap(&rewritten(wire)));
            assert_eq!(before.finish().usage, after.finish().usage, "{id}");
        }
    }
    assert!(count == 0 || count > 30, "{count} streams");
}

fn tap(wire: &[u8]) -> UsageTap {
    let mut tap = UsageTap::new(Dialect::AnthropicMessages, true);
    tap.feed(wire);
    tap
}

/// What a plain reader of whole documents sees in a stream, up to its first end.
fn expected_lines(wire: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(wire).unwrap();
    let said = |value: &Value| {
        let json = value.to_string();
        value.as_str().map_or("-".to_owned(), |_| json[1..json.len() - 1].to_owned())
    };
    let (mut lines, mut tap) = (Vec::new(), UsageTap::new(Dialect::AnthropicMessages, true));
    let (mut kind, mut held, mut text_said, mut reason) =
        (String::new(), Vec::new(), String::new(), Value::Null);
    for block in text.split_inclusive("\n\n") {
        let Some(data) = block.lines().find_map(|line| line.strip_prefix("data:")) else { continue };
        let event: Value = serde_json::from_str(data).unwrap();
        tap.feed(block.as_bytes());
        let usage = |tap: &UsageTap| {
            let usage = tap.usage_so_far().unwrap();
            format!(
                "{}+{} cached {} written {} reasoned {}",
                usage.input, usage.output, usage.cached_input, usage.cache_write, usage.reasoning
            )
        };
        match event["type"].as_str().unwrap() {
            "message_start" => {
                let message = &event["message"];
                lines.push(format!(
                    "start {} {} {}",
                    said(&message["id"]),
                    said(&message["model"]),
                    usage(&tap)
                ));
            }
            "content_block_start" => {
                let block = &event["content_block"];
                kind = block["type"].as_str().unwrap().to_owned();
                text_said.clear();
                match kind.as_str() {
                    "text" | "thinking" => lines.push(format!("open {kind}")),
                    "redacted_thinking" => {
                        lines.push(format!("open redacted Anthropic - {}", said(&block["data"])))
                    }
                    "tool_use" => {
                        lines.push(format!(
                            "open call {} {} Function",
                            said(&block["id"]),
                            said(&block["name"])
                        ));
                    }
                    _ => kind.clear(),
                }
            }
            "content_block_delta" if !kind.is_empty() => {
                let delta = &event["delta"];
                match delta["type"].as_str().unwrap() {
                    "signature_delta" => {
                        held.push(format!("proof Anthropic - {}", said(&delta["signature"])))
                    }
                    "citations_delta" => {
                        let citation = &delta["citation"];
                        if citation["url"].is_string() {
                            held.push(format!(
                                "cite {} {}",
                                said(&citation["url"]),
                                said(&citation["title"])
                            ));
                        }
                    }
                    _ => {
                        let piece = ["text", "thinking", "partial_json"]
                            .map(|name| delta[name].as_str().unwrap_or_default())
                            .concat();
                        text_said.push_str(&piece);
                        if !piece.is_empty() {
                            lines.push(format!("delta {}", said(&Value::from(piece))));
                        }
                    }
                }
            }
            "content_block_stop" if !kind.is_empty() => {
                let chars = text_said.chars().count();
                lines.extend(held.drain(..).map(|line: String| {
                    if line.starts_with("cite") { format!("{line} Some((0, {chars}))") } else { line }
                }));
                lines.push("close".to_owned());
            }
            "message_delta" => reason = event["delta"].clone(),
            "message_stop" => {
                let sequence = &reason["stop_sequence"];
                lines.push(match reason["stop_reason"].as_str().unwrap() {
                    "end_turn" => "finish Stop".to_owned(),
                    "tool_use" => "finish ToolCalls".to_owned(),
                    "max_tokens" => "finish Length".to_owned(),
                    "stop_sequence" => format!("finish StopSequence(Some(Text({:?})))", said(sequence)),
                    other => panic!("{other}"),
                });
                lines.push(format!("usage {}", usage(&tap)));
                lines.push("end".to_owned());
                return lines;
            }
            _ => {}
        }
    }
    lines
}

#[test]
fn streams_are_read_alike_wherever_they_are_cut() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let wire = &recording.wire;
        let expected = read_pieces(std::iter::once(&wire[..]));
        // Long streams are cut at some offsets only; that an event is found whole wherever it is cut is shown for each
        // offset by the tests of the tap.
        let step = wire.len() * wire.len() / 12_000_000 + 1;
        for cut in (0..wire.len()).step_by(step) {
            let (head, tail) = wire.split_at(cut);
            assert_eq!(read_pieces([head, tail].into_iter()), expected, "{}, cut at {cut}", recording.id);
        }
        assert_eq!(read_pieces(wire.chunks(1)), expected, "{}, byte by byte", recording.id);
    }
}

#[test]
fn requests_survive_writing() {
    let (mut count, key) = (0, ProofKey::new(&[7; 32]));
    for Recording { id, model, status, request, .. } in recordings() {
        let Some(body) = request else { continue };
        let body = body.to_string();
        let request = match read_count_request(body.as_bytes(), &key) {
            Ok(request) => request,
            Err(bad) => {
                let is_known = status == 400 || bad.problem.contains("not Anthropic's");
                assert!(is_known, "{id}: {bad}");
                continue;
            }
        };
        let target = TargetModel {
            name: &model,
            vendor: Vendor::Anthropic,
            token_limit_param: "max_tokens",
            output_tokens_default: 8192,
            reasoning_field: None,
        };
        let (mut losses, mut out) = (Losses::new(Dialect::AnthropicMessages, false), Vec::new());
        if let Err(bad) = write_request(&request, &target, &mut losses, &mut out) {
            let unknown = ["tool_reference", "container_upload", "file_id", "tool_addition", "compaction"];
            let is_known = unknown.contains(&bad.field.as_str())
                || bad.field.ends_with("tool_use")
                || bad.field.ends_with("tool_result")
                || bad.field.ends_with("code_execution");
            assert!(is_known, "{id}: {bad}");
            continue;
        }
        count += 1;
        let again = read_count_request(&out, &key).unwrap_or_else(|bad| panic!("{id}: {bad}"));
        assert_eq!(carried(again), carried(request), "{id}: {}", losses.header_value());
    }
    assert!(count == 0 || count > 60, "{count} requests");
}

/// A request without what is changed on purpose: adjacent turns of one role are one, what says nothing is gone, schemas
/// are closed.
pub(super) fn carried(mut request: Request<'_>) -> Request<'_> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for turn in std::mem::take(&mut request.turns) {
        let parts: Vec<Part<'_>> = turn.parts.into_iter().map(normal).filter(says_something).collect();
        match turns.last_mut() {
            _ if parts.is_empty() => {}
            Some(last) if last.role == turn.role => last.parts.extend(parts),
            _ => turns.push(Turn { parts, ..turn }),
        }
    }
    for turn in turns.iter_mut().filter(|turn| turn.role == Role::User) {
        turn.parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
    }
    // The model's own default.
    request.parallel_tool_calls = request.parallel_tool_calls.filter(|parallel| !parallel);
    // Some models are told to be off by not being asked.
    request.reasoning.effort = request.reasoning.effort.filter(|effort| *effort != Effort::None);
    request.reasoning.show = request.reasoning.show.map(|_| SummaryWish::Auto);
    request.settings.retain(|setting| {
        let is_default = setting.value.as_str().parse() == Ok(1.0);
        let is_sampling = matches!(setting.feature, Feature::Temperature | Feature::TopP | Feature::TopK);
        !(setting.feature == Feature::ToolExtras || is_sampling && is_default)
    });
    if let Format::Schema { schema, .. } = &mut request.format {
        *schema = document(schema.as_str());
    }
    for tool in &mut request.tools {
        tool.schema = tool.schema.as_ref().map(|schema| document(schema.as_str()));
    }
    request.unknown.clear();
    Request { turns, ..request }
}

fn says_something(part: &Part<'_>) -> bool {
    match &part.content {
        Content::Text { text, .. } => !text.decode().unwrap().trim().is_empty(),
        _ => true,
    }
}

fn normal(mut part: Part<'_>) -> Part<'_> {
    match &mut part.content {
        Content::ToolCall(call) => {
            let json = call.arguments.as_object().unwrap().as_str().to_owned();
            call.arguments = Arguments::Object(document(&json));
        }
        Content::ToolResult(result) => result.parts.retain(says_something),
        _ => {}
    }
    part
}

/// A schema or other document in one form, without what closing it adds and in the order of names.
fn document(json: &str) -> Raw<'static> {
    fn open(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, value| !(name == "additionalProperties" && *value == json!(false)));
                members.sort_keys();
                members.values_mut().for_each(open);
            }
            Value::Array(elements) => elements.iter_mut().for_each(open),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_str(json).unwrap();
    open(&mut value);
    Raw::from_written(value.to_string())
}
