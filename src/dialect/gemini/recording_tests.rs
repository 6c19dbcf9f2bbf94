//! Recorded traffic of Google AI and Vertex through the codecs, against a plain reader of whole documents.

use serde_json::{Value, json};

use super::fault::read_fault;
use super::models::rules_of;
use super::read_answer::read_answer;
use super::read_request::read_request;
use super::signature::BYPASS;
use super::tests_support::*;
use super::write_answer::write_answer;
use super::write_request::write_request;
use super::write_stream::Framing;
use crate::dialect::context::{Ids, TargetModel};
use crate::dialect::ir::{
    Answer, Content, Document, FaultCase, Finish, Part, Proof, Request, Source, Text, Vendor,
};
use crate::dialect::loss::{BadRequest, Losses};
use crate::dialect::{Dialect, UsageTap};
use crate::sse::{BlockDecoder, Step};

/// What a plain reader sees of the first answer: text, thoughts, calls with their arguments, signatures, and why it
/// ended.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: String,
    thoughts: String,
    calls: Vec<(String, Value)>,
    signatures: Vec<String>,
    finish: String,
}

fn seen_by_reference(recording: &Recording) -> Seen {
    let text = std::str::from_utf8(&recording.wire).unwrap();
    let chunks: Vec<Value> = if recording.streaming {
        text.lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    } else {
        vec![serde_json::from_str(text).unwrap()]
    };
    let mut seen = Seen::default();
    for chunk in &chunks {
        let candidate = &chunk["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            see_part(&mut seen, part);
        }
        match &candidate["finishReason"] {
            Value::String(reason) => seen.finish = reason.clone(),
            Value::Number(number) if *number == 1.into() => seen.finish = "STOP".to_owned(),
            Value::Number(number) if *number == 2.into() => seen.finish = "MAX_TOKENS".to_owned(),
            _ => {}
        }
        if let Some(reason) = chunk["promptFeedback"]["blockReason"].as_str() {
            seen.finish = reason.to_owned();
        }
    }
    if seen.finish == "STOP" && !seen.calls.is_empty() {
        seen.finish = "calls".to_owned();
    }
    seen
}

fn see_part(seen: &mut Seen, part: &Value) {
    let call = &part["functionCall"];
    if let Some(name) = call["name"].as_str() {
        let args = if call["args"].is_object() { call["args"].clone() } else { json!({}) };
        seen.calls.push((name.to_owned(), args));
    }
    for piece in call["partialArgs"].as_array().into_iter().flatten() {
        // The recorded ones name members of the outermost object, and all are strings.
        let name = piece["jsonPath"].as_str().unwrap().strip_prefix("$.").unwrap();
        let args = &mut seen.calls.last_mut().unwrap().1;
        let so_far = args[name].as_str().unwrap_or_default().to_owned();
        args[name] = Value::from(so_far + piece["stringValue"].as_str().unwrap());
    }
    let is_thought = part["thought"] == true;
    if let Some(text) = part["text"].as_str() {
        if is_thought { &mut seen.thoughts } else { &mut seen.text }.push_str(text);
    }
    let is_tool = part.get("executableCode").or(part.get("codeExecutionResult")).is_some();
    if let Some(signature) = part["thoughtSignature"].as_str().filter(|_| !is_tool) {
        seen.signatures.push(signature.to_owned());
    }
}

fn seen_in(answer: &Answer<'_>) -> Seen {
    let mut seen = Seen::default();
    let choice = &answer.choices[0];
    for part in &choice.parts {
        let mut sign = |proof: &Option<Proof<'_>>| {
            seen.signatures.extend(proof.as_ref().map(|proof| proof.data.decode().unwrap().into_owned()));
        };
        match &part.content {
            Content::Text { text, .. } => seen.text.push_str(&text.decode().unwrap()),
            Content::Thinking { text, proof, .. } => {
                sign(proof);
                seen.thoughts.push_str(&text.decode().unwrap());
            }
            Content::ToolCall(call) => {
                sign(&call.proof);
                let args = call.arguments.as_text().decode().unwrap().into_owned();
                seen.calls
                    .push((call.name.decode().unwrap().into_owned(), serde_json::from_str(&args).unwrap()));
            }
            Content::Media(_) => {}
            other => panic!("{other:?} in an answer"),
        }
    }
    seen.finish = match &choice.finish {
        Finish::Stop => "STOP".to_owned(),
        Finish::ToolCalls => "calls".to_owned(),
        Finish::Length => "MAX_TOKENS".to_owned(),
        Finish::Filtered(None) => "SAFETY".to_owned(),
        Finish::PromptFiltered(Some(words)) => {
            assert!(words.escaped().contains("Jailbreak"), "{words:?}");
            "MODEL_ARMOR".to_owned()
        }
        other => format!("{other:?}"),
    };
    seen
}

fn usage_by_tap(recording: &Recording) -> Option<crate::dialect::Usage> {
    let mut tap = UsageTap::new(Dialect::Gemini, recording.streaming);
    tap.feed(&recording.wire);
    tap.finish().usage
}

#[test]
fn recorded_bodies() {
    for recording in recordings().iter().filter(|recording| !recording.streaming) {
        let Recording { id, status, wire, .. } = recording;
        if *status != 200 {
            let fault = read_fault(*status, wire);
            let expected = match *status {
                404 => FaultCase::NotFound,
                429 => FaultCase::RateLimited,
                _ if fault.message.escaped().starts_with("API key not valid") => FaultCase::BadKey,
                _ => FaultCase::BadRequest,
            };
            assert_eq!(fault.case, expected, "{id}");
            assert_eq!(fault.retry_after_s, (*status == 429).then_some(48), "{id}");
            continue;
        }
        let answer = read_answer(wire, Vendor::Google).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
        assert_eq!(seen_in(&answer), seen_by_reference(recording), "{id}");
        assert_eq!(answer.usage, usage_by_tap(recording), "{id}");
        let mut out = Vec::new();
        write_answer(&answer, &mut client(), &mut out);
        let again = read_answer(&out, Vendor::Google).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
        assert_eq!(said(&again), said(&answer), "{id}");
        assert_eq!((again.id, again.model, again.usage), (answer.id, answer.model, answer.usage), "{id}");
    }
}

#[test]
fn recorded_streams() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let Recording { id, wire, .. } = recording;
        let answer = read(&[wire]).answer();
        assert_eq!(seen_in(&answer), seen_by_reference(recording), "{id}");
        assert_eq!(answer.usage, usage_by_tap(recording), "{id}");

        let written = rewrite(wire, Framing::Sse);
        let again = read(&[&written]).answer();
        assert_eq!(said(&again), said(&answer), "{id}");
        assert_eq!((&again.id, &again.model, again.usage), (&answer.id, &answer.model, answer.usage), "{id}");

        let array: Vec<Value> = serde_json::from_slice(&rewrite(wire, Framing::JsonArray)).unwrap();
        let chunks: Vec<String> = array.iter().map(Value::to_string).collect();
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        assert_eq!(said(&read(&[&sse(&chunks)]).answer()), said(&answer), "{id}");
    }
}

/// Each chunk as one event of the shared form at least: nothing waits for the end that can go on.
#[test]
fn recorded_texts_are_not_held_back() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let text = std::str::from_utf8(&recording.wire).unwrap();
        let with_text = text.lines().filter_map(|line| line.strip_prefix("data:")).filter(|data| {
            let chunk: Value = serde_json::from_str(data).unwrap();
            let parts = &chunk["candidates"][0]["content"]["parts"];
            parts
                .as_array()
                .into_iter()
                .flatten()
                .any(|part| part["text"].as_str().is_some_and(|text| !text.is_empty()))
        });
        assert!(read(&[&recording.wire]).deltas >= with_text.count(), "{}", recording.id);
    }
}

#[test]
fn recorded_streams_cut_everywhere() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let wire = &recording.wire;
        let whole = events_of(&[wire]);
        // What is cut is the framing: a long stream is cut at some offsets only.
        let step = (wire.len() / 200).max(1);
        for cut in (0..wire.len()).step_by(step) {
            let (head, tail) = wire.split_at(cut);
            assert_eq!(events_of(&[head, tail]), whole, "{}, cut at {cut}", recording.id);
        }
    }
}

/// The events of a stream that arrives in `pieces`, taken apart as the relay does.
fn events_of(pieces: &[&[u8]]) -> Vec<String> {
    let (mut decoder, mut buffer, mut events) = (BlockDecoder::new(), Vec::new(), Vec::new());
    let mut reader = super::read_stream::StreamReader::new(Vendor::Google, Ids::new(3));
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let len = match decoder.step(&buffer) {
                Step::Block(block) => {
                    if let Some(event) = &block.event {
                        reader.event(event.name, &event.data, &mut |event| events.push(format!("{event:?}")));
                    }
                    block.len
                }
                Step::Unread(len) => len,
                Step::More => break,
            };
            buffer.drain(..len);
        }
    }
    reader.end(&mut |event| events.push(format!("{event:?}")));
    events
}

fn target(name: &str) -> TargetModel<'_> {
    TargetModel {
        name,
        vendor: Vendor::Google,
        token_limit_param: "max_tokens",
        output_tokens_default: 8192,
        reasoning_field: None,
    }
}

fn rewritten(request: &Request<'_>, model: &str) -> Result<Vec<u8>, BadRequest> {
    let mut out = Vec::new();
    write_request(request, &target(model), &mut Losses::new(Dialect::Gemini, false), &mut out)?;
    Ok(out)
}

/// What stays of a part on the way through this dialect: a bypass stands for a signature that is missing.
fn stays(part: &Part<'_>) -> String {
    let mut part = part.clone();
    if let Content::ToolCall(call) = &mut part.content {
        call.proof = call.proof.take().filter(|proof| proof.data.escaped() != BYPASS);
    }
    // Thoughts without a signature go nowhere.
    if let Content::Thinking { proof: None, .. } = &part.content {
        return String::new();
    }
    // A text document becomes a text.
    if let Content::Text { text, .. } = &mut part.content
        && text.is_empty()
    {
        // Where nothing is said, a space stands for it.
        *text = Text::from_plain(" ");
    }
    if let Content::Document(Document { source: Source::Text(text), .. }) = &part.content {
        part = Content::Text { text: text.clone(), citations: Vec::new() }.into();
    }
    format!("{part:?}")
}

#[test]
fn recorded_requests() {
    let (mut carried, mut refused) = (0, Vec::new());
    for recording in &recordings() {
        let Recording { id, model, request: Some(body), .. } = recording else { continue };
        let request = match read_request(body, recording.streaming, &key()) {
            Ok(request) => request,
            Err(error) => {
                refused.push(error.field);
                continue;
            }
        };
        let model = if model.starts_with("gemini") { model } else { "gemini-3-flash-preview" };
        let written = match rewritten(&request, model) {
            Ok(written) => written,
            Err(error) => {
                refused.push(error.field);
                continue;
            }
        };
        let again = read_request(&written, recording.streaming, &key())
            .unwrap_or_else(|error| panic!("{id}: {error}"));
        carried += 1;
        assert_eq!(again.system, request.system, "{id}");
        let parts = |request: &Request<'_>| {
            let parts = request.turns.iter().flat_map(|turn| &turn.parts).map(stays);
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
        };
        if rules_of(model).call_ids || !parts(&request).iter().any(|part| part.contains("ToolCall")) {
            assert_eq!(parts(&again), parts(&request), "{id}");
        }
        assert_eq!(again.turns.len(), request.turns.len(), "{id}");
        if rules_of(model).json_schema {
            let mut tools = request.tools.clone();
            tools.iter_mut().for_each(|tool| tool.strict = false);
            assert_eq!(again.tools, tools, "{id}");
            assert_eq!(again.format, request.format, "{id}");
        }
        assert_eq!(again.tool_choice, request.tool_choice.filter(|_| !request.tools.is_empty()), "{id}");
        assert_eq!(again.web_search, request.web_search, "{id}");
        assert_eq!(again.output_tokens_max, request.output_tokens_max, "{id}");
        assert_eq!(again.stop, request.stop, "{id}");
        assert_eq!(again.reasoning.show, request.reasoning.show, "{id}");
        for setting in &request.settings {
            assert!(again.settings.contains(setting), "{id}: {setting:?}");
        }
    }
    // What no other vendor could be asked: tools of Google's, files of its accounts, sound as the answer.
    for field in refused {
        let known = [
            "tools[0]",
            "tools[1]",
            "file_id",
            "image_url",
            "document_url",
            "video",
            "input_audio",
            "modalities",
            "json_schema",
            "contents[0].role",
            "generationConfig.responseModalities",
        ];
        assert!(known.contains(&field.as_str()), "{field}");
    }
    assert!(carried > 50 || carried == 0, "{carried} requests were carried");
}
