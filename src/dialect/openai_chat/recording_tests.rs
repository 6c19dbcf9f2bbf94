//! Recorded traffic through the chat codec: read, held against a plain reader of whole documents, written and read again.

use serde_json::{Value, json};

use super::testing::{
    Recording, check_order, client, gather, key, owned, read_pieces, recordings, target, write_events,
};
use super::{StreamReader, read_answer, read_fault, read_request, write_answer, write_request};
use crate::dialect::context::Ids;
use crate::dialect::ir::{
    Answer, Arguments, Choice, Content, Event, FaultCase, Finish, Request, Text, Vendor,
};
use crate::dialect::loss::{Feature, Losses};
use crate::dialect::{Dialect, StreamEnd, Usage, UsageTap};
use crate::sse::Observer;

/// Requests that have to be refused: what they ask for is one provider's own.
const REFUSED: [&str; 3] = ["openrouter:web_search", "openrouter:advisor", "openrouter:web_fetch"];

#[test]
fn recorded_requests_survive_being_written_and_read() {
    for Recording { id, request, status, .. } in recordings() {
        let Some(body) = request else { continue };
        let text = body.to_string();
        let read = match read_request(text.as_bytes(), &key()) {
            Ok(read) => read,
            Err(bad) => {
                let is_built_in = REFUSED.iter().any(|name| bad.problem.contains(name));
                assert!(is_built_in || status >= 400, "{id}: {bad}");
                continue;
            }
        };
        agrees_with_body(&read, &body, &id);
        let mut losses = Losses::new(Dialect::OpenAiChat, false);
        let mut out = Vec::new();
        match write_request(&read, &target("gpt-4.1", Vendor::OpenAi), &mut losses, &mut out) {
            Ok(undo) => assert!(undo.tool_names.is_empty(), "{id}"),
            Err(bad) => {
                assert!(["file_id", "modalities", "video"].contains(&bad.field.as_str()), "{id}: {bad}");
                continue;
            }
        }
        if losses.header_value().contains("tool_result_media") {
            continue;
        }
        let again = read_request(&out, &key()).unwrap_or_else(|bad| panic!("{id}: {bad}"));
        assert_eq!(carried(again), carried(read), "{id}");
    }
}

/// What goes through chat at OpenAI unharmed.
fn carried(request: Request<'_>) -> Request<'_> {
    let mut request = request;
    request.stream_usage = false;
    request.legacy_functions = false;
    request.unknown.clear();
    request.reasoning = Default::default();
    request
        .settings
        .retain(|setting| !matches!(setting.feature, Feature::TopK | Feature::Store | Feature::ServiceTier));
    request.settings.sort_by_key(|setting| setting.feature.row().name);
    if let Some(search) = &mut request.web_search {
        search.location = None;
    }
    // Several messages of the system become one.
    let mut system = Text::default();
    for part in &request.system {
        let Content::Text { text, .. } = &part.content else { panic!("text") };
        if !system.is_empty() {
            system.push(&Text::from_plain("\n\n"));
        }
        system.push(text);
    }
    request.system.clear();
    request.system.push(Content::Text { text: system, citations: Vec::new() }.into());
    if request.tools.is_empty() {
        request.tool_choice = None;
        request.parallel_tool_calls = None;
    }
    for turn in &mut request.turns {
        turn.parts.retain(|part| !matches!(part.content, Content::Thinking { .. }));
    }
    let parts = request.turns.iter_mut().flat_map(|turn| &mut turn.parts);
    for part in parts.chain(&mut request.system) {
        part.cache = None;
        match &mut part.content {
            Content::ToolResult(result) => {
                result.name = None;
                result.parts.iter_mut().for_each(|part| part.cache = None);
            }
            Content::ToolCall(call) => {
                call.arguments = Arguments::Text(call.arguments.as_text().into_owned());
            }
            _ => {}
        }
    }
    request
}

/// The conversation by name, from the document.
fn agrees_with_body(read: &Request<'_>, body: &Value, id: &str) {
    let messages = body["messages"].as_array().unwrap();
    let calls = |message: &Value| message["tool_calls"].as_array().map_or(0, Vec::len);
    let expected: usize = messages.iter().map(calls).sum();
    let parts = || read.turns.iter().flat_map(|turn| &turn.parts);
    let count = |is: fn(&Content<'_>) -> bool| parts().filter(|part| is(&part.content)).count();
    assert_eq!(count(|content| matches!(content, Content::ToolCall(_))), expected, "{id}");
    let results = messages.iter().filter(|message| message["role"] == "tool").count();
    assert_eq!(count(|content| matches!(content, Content::ToolResult(_))), results, "{id}");
    let texts: String = messages
        .iter()
        .filter(|message| message["role"] == "user")
        .map(|message| match &message["content"] {
            Value::String(text) => text.clone(),
            parts => parts.as_array().unwrap().iter().filter_map(|part| part["text"].as_str()).collect(),
        })
        .collect();
    let read_texts: String = parts_text(read);
    assert_eq!(read_texts, texts, "{id}");
    assert_eq!(
        read.tools.len(),
        ["tools", "functions"].iter().map(|name| body[name].as_array().map_or(0, Vec::len)).sum::<usize>(),
        "{id}"
    );
    assert_eq!(read.stream, body["stream"] == json!(true), "{id}");
}

fn parts_text(read: &Request<'_>) -> String {
    let users = read.turns.iter().filter(|turn| turn.role == crate::dialect::ir::Role::User);
    users
        .flat_map(|turn| &turn.parts)
        .filter_map(|part| match &part.content {
            Content::Text { text, .. } => text.decode().map(|text| text.into_owned()),
            _ => None,
        })
        .collect()
}

fn tap_usage(wire: &[u8], streaming: bool) -> Option<Usage> {
    let mut tap = UsageTap::new(Dialect::OpenAiChat, streaming);
    tap.feed(wire);
    tap.finish().usage
}

#[test]
fn recorded_answers_survive_being_written_and_read() {
    for recording in recordings().iter().filter(|recording| !recording.streaming) {
        let Recording { id, wire, status, .. } = recording;
        if *status >= 400 {
            let fault = read_fault(*status, wire);
            assert!(fault.case != FaultCase::Internal && !fault.message.is_empty(), "{id}: {fault:?}");
            continue;
        }
        let answer = read_answer(wire, recording.vendor()).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
        assert_eq!(answer.usage, tap_usage(wire, false), "{id}");
        let document: Value = serde_json::from_slice(wire).unwrap();
        for (choice, said) in answer.choices.iter().zip(document["choices"].as_array().unwrap()) {
            agrees_with_message(choice, &said["message"], said["finish_reason"].as_str(), id);
        }
        let mut out = Vec::new();
        write_answer(&answer, &mut client(), &mut out);
        let again = read_answer(&out, recording.vendor()).unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
        assert!(answer.id.is_none() || again.id == answer.id, "{id}");
        assert_eq!(answer_carried(again), answer_carried(answer), "{id}");
    }
}

/// What a chat answer that was written has: one text, ids of calls, no proofs that are Google's alone.
fn answer_carried(mut answer: Answer<'_>) -> Answer<'_> {
    // Where there is none, one is made.
    answer.id = None;
    answer.model = None;
    for part in answer.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
        if let Content::ToolCall(call) = &mut part.content {
            call.arguments = Arguments::Text(call.arguments.as_text().into_owned());
            call.id = None;
            call.proof = None;
        }
    }
    answer
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Text and thoughts of a message or of deltas that were joined.
fn agrees_with_message(choice: &Choice<'_>, message: &Value, finish: Option<&str>, id: &str) {
    let joined = |pick: fn(&Content<'_>) -> Option<String>| -> String {
        choice.parts.iter().filter_map(|part| pick(&part.content)).collect()
    };
    let text = joined(|content| match content {
        Content::Text { text, .. } => text.decode().map(|text| text.into_owned()),
        _ => None,
    });
    let thoughts = joined(|content| match content {
        Content::Thinking { text, .. } => text.decode().map(|text| text.into_owned()),
        _ => None,
    });
    let (mut expected, mut expected_thoughts) = (String::new(), String::new());
    match &message["content"] {
        Value::Array(parts) => {
            for part in parts {
                expected.push_str(&string(&part["text"]));
                for piece in part["thinking"].as_array().into_iter().flatten() {
                    expected_thoughts.push_str(&string(&piece["text"]));
                }
            }
        }
        content => expected = string(content),
    }
    expected_thoughts += &string(&message["reasoning_content"]);
    expected_thoughts += &string(&message["reasoning"]);
    assert_eq!((text, thoughts), (expected, expected_thoughts), "{id}");
    let calls: Vec<(String, Value)> = choice
        .parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some((
                call.name.decode().unwrap().into_owned(),
                match &call.arguments {
                    Arguments::Text(text) => json!(text.decode().unwrap()),
                    Arguments::Object(_) => panic!("{id}: chat has strings"),
                },
            )),
            _ => None,
        })
        .collect();
    let mut expected: Vec<(String, Value)> = Vec::new();
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = if call["type"] == "custom" { &call["custom"] } else { &call["function"] };
        let input = if call["type"] == "custom" { &function["input"] } else { &function["arguments"] };
        if function["name"] != "" {
            expected.push((string(&function["name"]), input.clone()));
        }
    }
    if expected.is_empty() && !string(&message["function_call"]["name"]).is_empty() {
        let function = &message["function_call"];
        expected.push((string(&function["name"]), function["arguments"].clone()));
    }
    assert_eq!(calls, expected, "{id}");
    let expected = match finish {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Filtered(None),
        _ if !calls.is_empty() => Finish::ToolCalls,
        _ => Finish::Stop,
    };
    assert_eq!(choice.finish, expected, "{id}: {finish:?}");
}

/// The deltas of each answer joined by a plain reader; calls by their index, or one after the other where there is none.
fn joined(wire: &[u8]) -> Vec<(Value, Option<String>)> {
    let text = std::str::from_utf8(wire).unwrap();
    let mut choices: Vec<(Value, Option<String>)> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("data:")) {
        let Ok(chunk) = serde_json::from_str::<Value>(line.trim()) else { continue };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0) as usize;
            while choices.len() <= index {
                choices.push((json!({"content": "", "reasoning": "", "tool_calls": []}), None));
            }
            let (message, finish) = &mut choices[index];
            if let Some(word) = choice["finish_reason"].as_str() {
                *finish = Some(word.to_owned());
            }
            let delta = &choice["delta"];
            match &delta["content"] {
                Value::Array(parts) => {
                    for part in parts {
                        append(&mut message["content"], &string(&part["text"]));
                        for piece in part["thinking"].as_array().into_iter().flatten() {
                            append(&mut message["reasoning"], &string(&piece["text"]));
                        }
                    }
                }
                content => append(&mut message["content"], &string(content)),
            }
            let thought = string(&delta["reasoning_content"]) + &string(&delta["reasoning"]);
            append(&mut message["reasoning"], &thought);
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let calls = message["tool_calls"].as_array_mut().unwrap();
                let known = calls.iter().position(|known| {
                    let same_id = call["id"].is_null() || known["id"] == call["id"];
                    !call["index"].is_null() && known["index"] == call["index"] && same_id
                });
                let at = known.unwrap_or_else(|| {
                    let empty = json!({"index": call["index"], "id": call["id"], "function": {"name": "", "arguments": ""}});
                    calls.push(empty);
                    calls.len() - 1
                });
                let function = &mut calls[at]["function"];
                append(&mut function["name"], &string(&call["function"]["name"]));
                append(&mut function["arguments"], &string(&call["function"]["arguments"]));
            }
        }
    }
    choices
}

fn append(text: &mut Value, more: &str) {
    *text = json!(string(text) + more);
}

#[test]
fn recorded_streams_survive_being_written_and_read() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let Recording { id, wire, .. } = recording;
        let events = read_pieces(recording.vendor(), &[wire]);
        let mut tap = UsageTap::new(Dialect::OpenAiChat, true);
        tap.feed(wire);
        let report = tap.finish();
        let Some(choices) = gather(&events) else {
            assert_eq!(report.end, StreamEnd::ErrorEvent, "{id}: {:?}", events.last());
            continue;
        };
        assert_eq!(report.end, StreamEnd::Complete, "{id}");
        let usage = events.iter().find_map(|event| match event {
            Event::Usage(usage) => Some(*usage),
            _ => None,
        });
        assert_eq!(usage, report.usage, "{id}");
        let expected = joined(wire);
        assert_eq!(choices.len(), expected.len(), "{id}");
        for ((index, choice), (message, finish)) in choices.iter().zip(&expected) {
            agrees_with_message(choice, message, finish.as_deref(), &format!("{id}, answer {index}"));
        }
        let out = write_events(client(), &events);
        let again = read_pieces(Vendor::OpenAi, &[&out]);
        let usage_again = again.iter().any(|event| *event == Event::Usage(usage.unwrap_or_default()));
        assert_eq!(usage_again, usage.is_some(), "{id}");
        let no_proof = |choices: Vec<(u32, Choice<'static>)>| -> Vec<(u32, Choice<'static>)> {
            choices
                .into_iter()
                .map(|(index, choice)| {
                    let answer = Answer { choices: vec![choice], ..Answer::default() };
                    (index, answer_carried(answer).choices.remove(0))
                })
                .collect()
        };
        assert_eq!(no_proof(gather(&again).unwrap()), no_proof(choices), "{id}");
    }
}

/// Cuts streams at each offset: a stream that arrives in two pieces tells what it tells in one. Of long ones some offsets
/// are taken.
#[test]
fn recorded_streams_tell_the_same_wherever_they_are_cut() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let Recording { id, wire, .. } = recording;
        let expected = read_pieces(recording.vendor(), &[wire]);
        let step = (wire.len() / 40).max(1) | 1;
        for cut in (0..=wire.len()).step_by(if wire.len() < 600 { 1 } else { step }) {
            let (head, tail) = wire.split_at(cut);
            assert_eq!(read_pieces(recording.vendor(), &[head, tail]), expected, "{id}, cut at {cut}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).take(20_000).collect();
        if wire.len() <= 20_000 {
            assert_eq!(read_pieces(recording.vendor(), &bytes), expected, "{id}, byte by byte");
        }
    }
}

/// Cuts streams off after each event: what has been told so far keeps its order, and is never taken for a whole answer
/// unless the finish reason has come.
#[test]
fn recorded_streams_that_are_cut_off_fail() {
    for recording in recordings().iter().filter(|recording| recording.streaming) {
        let mut events: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        Observer::new()
            .feed(&recording.wire, |event| events.push((event.name.to_vec(), event.data.to_vec())));
        let step = (events.len() / 40).max(1);
        for count in (0..events.len()).step_by(step) {
            let mut told = Vec::new();
            let mut reader = StreamReader::new(Vendor::OpenAi, Ids::new(1));
            let mut is_whole = false;
            for (name, data) in &events[..count] {
                is_whole |= data.starts_with(b"[DONE]");
                reader.event(name, data, &mut |event| told.push(owned(event)));
            }
            reader.end(&mut |event| told.push(owned(event)));
            check_order(&told);
            assert_eq!(told.last() == Some(&Event::End), is_whole, "{}, {count} events", recording.id);
        }
    }
}
