//! Recorded streams of real providers, translated: what a client reads is what a user of the provider's own dialect
//! reads in the original.

use routerly::dialect;
use routerly::dialect::context::{ClientContext, Ids, Undo};
use routerly::dialect::ir::Vendor;
use routerly::dialect::translate::{Pair, StreamTranslation};

use super::client::{self, Ask, Seen};
use super::{Dialect, gateway_to};
use crate::recordings::{Recording, recordings};
use crate::support::MockUpstream;

pub fn folder(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => "openai_chat",
        Dialect::Responses => "openai_responses",
        Dialect::Anthropic => "anthropic_messages",
        Dialect::Gemini => "gemini",
    }
}

pub fn native(dialect: Dialect) -> dialect::Dialect {
    dialect::Dialect::parse(dialect.id()).unwrap()
}

fn translation(from: Dialect, to: Dialect) -> StreamTranslation {
    let vendor = match from {
        Dialect::Chat | Dialect::Responses => Vendor::OpenAi,
        Dialect::Anthropic => Vendor::Anthropic,
        Dialect::Gemini => Vendor::Google,
    };
    let context = ClientContext {
        model: "asked".to_owned(),
        unix_seconds: 17,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: dialect::ProofKey::new(&[7; 32]),
    };
    let pair = Pair { from: native(from), vendor, to: native(to) };
    StreamTranslation::new(pair, Undo::default(), context, Ids::new(2), false)
}

/// The recorded streams of a dialect that ended well.
fn streams(dialect: Dialect) -> Vec<Recording> {
    let mut found = recordings(folder(dialect));
    found.retain(|recording| recording.is_events() && recording.status == 200);
    found
}

/// `data` of each event, whatever the line ends.
fn events(wire: &str) -> Vec<String> {
    let plain = wire.replace("\r\n", "\n").replace('\r', "\n");
    let data = |block: &str| -> Option<String> {
        let lines = block.lines().filter_map(|line| line.strip_prefix("data:"));
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    };
    plain.split("\n\n").filter_map(data).collect()
}

fn translated(from: Dialect, to: Dialect, parts: &[&[u8]]) -> (String, bool) {
    let mut translation = translation(from, to);
    let mut out = Vec::new();
    parts.iter().for_each(|part| translation.feed(part, &mut out));
    translation.finish(&mut out);
    (String::from_utf8(out).expect("UTF-8"), translation.failure().is_some())
}

#[test]
fn recorded_streams_say_the_same_in_every_dialect() {
    for from in Dialect::ALL {
        for recording in streams(from) {
            let wire = recording.answer.as_slice();
            let mut tap = dialect::UsageTap::new(native(from), true);
            tap.feed(wire);
            let tokens = tap.finish().usage.map(|usage| (usage.input, usage.output));
            let original = reference(from, &events(std::str::from_utf8(wire).unwrap()));
            for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
                let (text, failed) = translated(from, to, &[wire]);
                let name = format!("{} for a {to:?} client\n{text}", recording.id);
                let mut found = client::stream(to, &events(&text));
                // Broken arguments, where only an object can be said.
                let broken = found.calls.iter_mut().filter(|(_, input)| input.get("_raw").is_some());
                broken.for_each(|(_, input)| *input = serde_json::Value::Null);
                assert_eq!(found.error.is_some(), failed, "{name}");
                if failed {
                    continue;
                }
                assert_eq!(found.text, original.text, "{name}");
                assert_eq!(found.calls, original.calls, "{name}");
                assert!(!found.finish.is_empty(), "{name}");
                if tokens.is_some() {
                    assert_eq!(found.tokens, tokens, "{name}");
                }
            }
        }
    }
}

#[test]
fn recorded_streams_say_the_same_over_sockets() {
    for from in Dialect::ALL {
        let mut streams = streams(from);
        // A few of every length.
        streams.sort_by_key(|recording| recording.answer.len());
        let step = streams.len().div_ceil(6).max(1);
        let sample: Vec<Vec<u8>> =
            streams.into_iter().step_by(step).map(|recording| recording.answer).collect();
        let texts: Vec<Seen> =
            sample.iter().map(|wire| reference(from, &events(std::str::from_utf8(wire).unwrap()))).collect();
        let played = sample.clone();
        let upstream = MockUpstream::with(move |connection| {
            while let Some(request) = connection.next_request() {
                let number: usize = request.head.field("user-agent").unwrap().parse().unwrap();
                connection.begin_stream();
                played[number].chunks(997).for_each(|part| connection.send_chunk(part));
                connection.end_chunks();
            }
        });
        let gateway = gateway_to(&upstream, from).start();
        let mut connected = gateway.client();
        for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
            for (index, (wire, original)) in sample.iter().zip(&texts).enumerate() {
                let ask = Ask { stream: true, ..Ask::default() };
                let fields = format!("user-agent: {index}\r\n");
                let response = connected.call(client::request(to, ask, &fields)).expect(200);
                let found = client::seen(to, &response);
                let (_, failed) = translated(from, to, &[wire]);
                assert_eq!(found.error.is_some(), failed, "{from:?} {to:?} {index}: {}", response.text());
                if !failed {
                    assert_eq!(found.text, original.text, "{from:?} {to:?} {index}");
                }
            }
        }
        assert!(upstream.accepted() <= 1, "one connection to the provider served all");
    }
}

#[test]
fn recorded_streams_are_translated_the_same_however_they_are_cut() {
    for from in Dialect::ALL {
        let mut streams = streams(from);
        streams.sort_by_key(|recording| recording.answer.len());
        streams.truncate(6);
        for recording in streams {
            for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
                let wire = recording.answer.as_slice();
                let expected = translated(from, to, &[wire]);
                for cut in 0..=wire.len() {
                    let (head, tail) = wire.split_at(cut);
                    let found = translated(from, to, &[head, tail]);
                    assert!(found == expected, "{} for {to:?}, cut at {cut}", recording.id);
                }
            }
        }
    }
}

/// Texts and calls of a stream, read off its documents as loosely as can be: nothing is checked.
fn reference(dialect: Dialect, events: &[String]) -> Seen {
    use serde_json::Value;
    let mut seen = Seen::default();
    let mut arguments: Vec<String> = Vec::new();
    let mut places: Vec<Value> = Vec::new();
    let events = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in events {
        match dialect {
            Dialect::Chat => {
                // Of several answers the first.
                if event["choices"][0]["index"].as_u64().is_some_and(|index| index > 0) {
                    continue;
                }
                let delta = &event["choices"][0]["delta"];
                match &delta["content"] {
                    // Mistral's parts.
                    Value::Array(parts) => {
                        for part in parts.iter().filter(|part| part["type"] == "text") {
                            seen.text.push_str(&text(&part["text"]));
                        }
                    }
                    content => seen.text.push_str(&text(content)),
                }
                for (at, call) in delta["tool_calls"].as_array().into_iter().flatten().enumerate() {
                    let known = |place: &Value| *place == call["index"] && !place.is_null();
                    let index = match places.iter().position(known) {
                        Some(index) => index,
                        None if call["index"].is_null() && call["id"].is_null() => at,
                        None => {
                            places.push(call["index"].clone());
                            arguments.push(String::new());
                            seen.calls.push((String::new(), Value::Null));
                            places.len() - 1
                        }
                    };
                    if seen.calls[index].0.is_empty() {
                        seen.calls[index].0 = text(&call["function"]["name"]);
                    }
                    arguments[index].push_str(&text(&call["function"]["arguments"]));
                }
            }
            Dialect::Responses => match event["type"].as_str().unwrap_or_default() {
                "response.output_text.delta" => seen.text.push_str(&text(&event["delta"])),
                "response.output_item.done" if event["item"]["type"] == "function_call" => {
                    seen.calls.push((text(&event["item"]["name"]), Value::Null));
                    arguments.push(text(&event["item"]["arguments"]));
                }
                _ => {}
            },
            Dialect::Anthropic => match event["type"].as_str().unwrap_or_default() {
                "content_block_start" => {
                    places.push(event["content_block"]["type"].clone());
                    seen.text.push_str(&text(&event["content_block"]["text"]));
                    if event["content_block"]["type"] == "tool_use" {
                        seen.calls.push((text(&event["content_block"]["name"]), Value::Null));
                        arguments.push(String::new());
                    }
                }
                "content_block_delta" => {
                    seen.text.push_str(&text(&event["delta"]["text"]));
                    let index = event["index"].as_u64().unwrap_or_default() as usize;
                    if places[index] == "tool_use" {
                        let last = arguments.last_mut().unwrap();
                        last.push_str(&text(&event["delta"]["partial_json"]));
                    }
                }
                _ => {}
            },
            Dialect::Gemini => {
                for part in event["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
                    if part["thought"] != true {
                        seen.text.push_str(&text(&part["text"]));
                    }
                    if let Some(call) = part.get("functionCall").filter(|call| !call["name"].is_null()) {
                        seen.calls.push((text(&call["name"]), Value::Null));
                        let args =
                            if call["args"].is_null() { "{}".into() } else { call["args"].to_string() };
                        arguments.push(args);
                    }
                }
            }
        }
    }
    for (call, json) in seen.calls.iter_mut().zip(&arguments) {
        let json = if json.trim().is_empty() { "{}" } else { json };
        call.1 = serde_json::from_str(json).unwrap_or(Value::Null);
    }
    seen
}
