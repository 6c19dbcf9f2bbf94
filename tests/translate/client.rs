//! Clients: how each dialect asks, and what its users read in the answer. Independent of the gateway's own codecs.

use serde_json::{Value, json};

use super::Dialect;
use crate::support::{Response, TOKEN, post};

/// What a user of any dialect reads in an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    pub text: String,
    pub thinking: String,
    /// Name and input of each call.
    pub calls: Vec<(String, Value)>,
    /// In the words of Chat Completions.
    pub finish: String,
    /// Input, output and reasoning tokens.
    pub tokens: Option<(u64, u64)>,
    pub error: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    pub stream: bool,
    pub tool: bool,
    pub think: bool,
}

pub fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

/// The body of a request to the model `up/model`.
pub fn body(dialect: Dialect, ask: Ask) -> Value {
    let (system, user) = ("Be brief.", "Weather in Zürich?");
    let mut body = match dialect {
        Dialect::Chat => json!({
            "model": "up/model", "stream": ask.stream, "max_tokens": 4096,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        }),
        Dialect::Responses => json!({
            "model": "up/model", "stream": ask.stream, "max_output_tokens": 4096, "instructions": system, "input": user,
        }),
        Dialect::Anthropic => json!({
            "model": "up/model", "stream": ask.stream, "max_tokens": 4096, "system": system,
            "messages": [{"role": "user", "content": user}],
        }),
        Dialect::Gemini => json!({
            "systemInstruction": {"parts": [{"text": system}]}, "generationConfig": {"maxOutputTokens": 4096},
            "contents": [{"role": "user", "parts": [{"text": user}]}],
        }),
    };
    if dialect == Dialect::Chat && ask.stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    if ask.tool {
        let (name, about) = ("get_weather", "Looks out of the window.");
        body["tools"] = match dialect {
            Dialect::Chat => json!([
                {"type": "function", "function": {"name": name, "description": about, "parameters": schema()}}
            ]),
            Dialect::Responses => json!([
                {"type": "function", "name": name, "description": about, "parameters": schema(), "strict": false}
            ]),
            Dialect::Anthropic => json!([{"name": name, "description": about, "input_schema": schema()}]),
            Dialect::Gemini => json!([
                {"functionDeclarations": [{"name": name, "description": about, "parametersJsonSchema": schema()}]}
            ]),
        };
    }
    if ask.think {
        match dialect {
            Dialect::Chat => body["reasoning_effort"] = "low".into(),
            Dialect::Responses => body["reasoning"] = json!({"effort": "low", "summary": "auto"}),
            Dialect::Anthropic => body["thinking"] = json!({"type": "enabled", "budget_tokens": 2048}),
            Dialect::Gemini => {
                body["generationConfig"]["thinkingConfig"] =
                    json!({"thinkingBudget": 2048, "includeThoughts": true});
            }
        }
    }
    body
}

/// Where a request of a dialect goes.
pub fn path(dialect: Dialect, stream: bool) -> &'static str {
    match (dialect, stream) {
        (Dialect::Chat, _) => "/v1/chat/completions",
        (Dialect::Responses, _) => "/v1/responses",
        (Dialect::Anthropic, _) => "/v1/messages",
        (Dialect::Gemini, false) => "/v1beta/models/up/model:generateContent",
        (Dialect::Gemini, true) => "/v1beta/models/up/model:streamGenerateContent?alt=sse",
    }
}

/// A whole request.
pub fn request(dialect: Dialect, ask: Ask, fields: &str) -> Vec<u8> {
    request_of(dialect, ask.stream, fields, &body(dialect, ask))
}

pub fn request_of(dialect: Dialect, stream: bool, fields: &str, body: &Value) -> Vec<u8> {
    let path = path(dialect, stream);
    if dialect != Dialect::Gemini {
        return post(path, fields, body);
    }
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nx-goog-api-key: {TOKEN}\r\nContent-Type: application/json\r\n{fields}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads an answer in one piece or as a stream, by its content type.
pub fn seen(dialect: Dialect, response: &Response) -> Seen {
    if response.field("content-type") == Some("text/event-stream") {
        stream(dialect, &response.events())
    } else {
        whole(dialect, &response.json())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn parsed(arguments: &Value) -> Value {
    serde_json::from_str(text(arguments)).unwrap_or_else(|error| panic!("{error}: {arguments}"))
}

fn tokens(usage: &Value, input: &str, output: &str) -> Option<(u64, u64)> {
    Some((usage[input].as_u64()?, usage[output].as_u64()?))
}

fn whole(dialect: Dialect, answer: &Value) -> Seen {
    let mut seen = Seen::default();
    if !answer["error"].is_null() {
        seen.error = Some(text(&answer["error"]["message"]).to_owned());
        return seen;
    }
    match dialect {
        Dialect::Chat => {
            assert_eq!(answer["object"], "chat.completion");
            let message = &answer["choices"][0]["message"];
            assert_eq!(message["role"], "assistant");
            seen.text = text(&message["content"]).to_owned();
            seen.thinking = text(&message["reasoning_content"]).to_owned();
            for call in items(&message["tool_calls"]) {
                assert!(!text(&call["id"]).is_empty());
                let name = text(&call["function"]["name"]).to_owned();
                seen.calls.push((name, parsed(&call["function"]["arguments"])));
            }
            seen.finish = text(&answer["choices"][0]["finish_reason"]).to_owned();
            seen.tokens = tokens(&answer["usage"], "prompt_tokens", "completion_tokens");
        }
        Dialect::Responses => {
            assert_eq!(answer["object"], "response");
            responses_output(answer, &mut seen);
        }
        Dialect::Anthropic => {
            assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")));
            for block in items(&answer["content"]) {
                match text(&block["type"]) {
                    "text" => seen.text.push_str(text(&block["text"])),
                    "thinking" => seen.thinking.push_str(text(&block["thinking"])),
                    "redacted_thinking" => {}
                    "tool_use" => seen.calls.push((text(&block["name"]).to_owned(), block["input"].clone())),
                    other => panic!("block {other}"),
                }
            }
            seen.finish = anthropic_finish(&answer["stop_reason"]);
            seen.tokens = anthropic_tokens(&answer["usage"]);
        }
        Dialect::Gemini => {
            gemini_chunk(answer, &mut seen);
            gemini_finish(&mut seen);
        }
    }
    seen
}

fn responses_output(answer: &Value, seen: &mut Seen) {
    for item in items(&answer["output"]) {
        match text(&item["type"]) {
            "message" => {
                for part in items(&item["content"]) {
                    assert_eq!(part["type"], "output_text");
                    seen.text.push_str(text(&part["text"]));
                }
            }
            "reasoning" => {
                items(&item["summary"]).for_each(|part| seen.thinking.push_str(text(&part["text"])));
            }
            "function_call" => {
                seen.calls.push((text(&item["name"]).to_owned(), parsed(&item["arguments"])));
            }
            other => panic!("item {other}"),
        }
    }
    seen.finish = match (text(&answer["status"]), seen.calls.is_empty()) {
        ("completed", true) => "stop",
        ("completed", false) => "tool_calls",
        ("incomplete", _) => "length",
        (other, _) => other,
    }
    .to_owned();
    seen.tokens = tokens(&answer["usage"], "input_tokens", "output_tokens");
}

fn anthropic_finish(reason: &Value) -> String {
    match text(reason) {
        "end_turn" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        other => other,
    }
    .to_owned()
}

fn anthropic_tokens(usage: &Value) -> Option<(u64, u64)> {
    let (input, output) = tokens(usage, "input_tokens", "output_tokens")?;
    let cached = ["cache_read_input_tokens", "cache_creation_input_tokens"].map(|name| usage[name].as_u64());
    Some((input + cached.iter().flatten().sum::<u64>(), output))
}

/// The first of several answers, which may be missing in a chunk.
fn first(answers: &Value) -> &Value {
    items(answers).find(|answer| answer["index"].as_u64().unwrap_or_default() == 0).unwrap_or(&Value::Null)
}

fn gemini_chunk(chunk: &Value, seen: &mut Seen) {
    let candidate = first(&chunk["candidates"]);
    for part in items(&candidate["content"]["parts"]) {
        if let Some(call) = part.get("functionCall") {
            seen.calls.push((text(&call["name"]).to_owned(), call["args"].clone()));
        } else if part["thought"] == true {
            seen.thinking.push_str(text(&part["text"]));
        } else {
            seen.text.push_str(text(&part["text"]));
        }
    }
    if let Some(reason) = candidate["finishReason"].as_str() {
        seen.finish = reason.to_owned();
    }
    let usage = &chunk["usageMetadata"];
    if let Some(input) = usage["promptTokenCount"].as_u64() {
        let output = ["candidatesTokenCount", "thoughtsTokenCount"].map(|name| usage[name].as_u64());
        seen.tokens = Some((input, output.iter().flatten().sum()));
    }
}

fn gemini_finish(seen: &mut Seen) {
    seen.finish = match (seen.finish.as_str(), seen.calls.is_empty()) {
        ("STOP", true) => "stop",
        ("STOP", false) => "tool_calls",
        ("MAX_TOKENS", _) => "length",
        (other, _) => other,
    }
    .to_owned();
}

/// Reads the `data` of a stream's events as the SDKs do.
pub fn stream(dialect: Dialect, events: &[String]) -> Seen {
    let mut seen = Seen::default();
    let mut ended = false;
    let mut arguments: Vec<String> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    let mut sequence = 0;
    for data in events {
        // Gemini's end is no event of its own: another answer may go on.
        assert!(!ended || dialect == Dialect::Gemini, "{dialect:?}: an event behind the end: {data}");
        if data == "[DONE]" {
            assert_eq!(dialect, Dialect::Chat);
            ended = true;
            continue;
        }
        let event: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        match dialect {
            Dialect::Chat => {
                if event["type"] == "trace" {
                    continue;
                }
                if let Some(message) = event["error"]["message"].as_str() {
                    seen.error = Some(message.to_owned());
                    continue;
                }
                assert_eq!(event["object"], "chat.completion.chunk");
                let choice = first(&event["choices"]);
                seen.text.push_str(text(&choice["delta"]["content"]));
                seen.thinking.push_str(text(&choice["delta"]["reasoning_content"]));
                for call in items(&choice["delta"]["tool_calls"]) {
                    let index = call["index"].as_u64().expect("an index") as usize;
                    if index == arguments.len() {
                        assert!(!text(&call["id"]).is_empty());
                        seen.calls.push((text(&call["function"]["name"]).to_owned(), Value::Null));
                        arguments.push(String::new());
                    }
                    arguments[index].push_str(text(&call["function"]["arguments"]));
                }
                if let Some(reason) = choice["finish_reason"].as_str() {
                    seen.finish = reason.to_owned();
                }
                seen.tokens = tokens(&event["usage"], "prompt_tokens", "completion_tokens").or(seen.tokens);
            }
            Dialect::Responses => {
                assert_eq!(event["sequence_number"], sequence, "{data}");
                sequence += 1;
                match text(&event["type"]) {
                    "response.completed" | "response.incomplete" => {
                        ended = true;
                        let mut whole = Seen::default();
                        responses_output(&event["response"], &mut whole);
                        assert_eq!((&whole.text, &whole.thinking), (&seen.text, &seen.thinking));
                        seen = whole;
                    }
                    "response.output_text.delta" => seen.text.push_str(text(&event["delta"])),
                    "response.reasoning_summary_text.delta" => seen.thinking.push_str(text(&event["delta"])),
                    "error" => seen.error = Some(text(&event["message"]).to_owned()),
                    _ => {}
                }
            }
            Dialect::Anthropic => {
                let index = event["index"].as_u64().unwrap_or_default() as usize;
                match text(&event["type"]) {
                    "message_start" => seen.tokens = anthropic_tokens(&event["message"]["usage"]),
                    "content_block_start" => {
                        assert_eq!(index, kinds.len(), "{data}");
                        let block = &event["content_block"];
                        kinds.push(text(&block["type"]).to_owned());
                        arguments.push(String::new());
                        if block["type"] == "tool_use" {
                            assert_eq!(block["input"], json!({}));
                            seen.calls.push((text(&block["name"]).to_owned(), Value::Null));
                        }
                    }
                    "content_block_delta" => {
                        let delta = &event["delta"];
                        seen.text.push_str(text(&delta["text"]));
                        seen.thinking.push_str(text(&delta["thinking"]));
                        arguments[index].push_str(text(&delta["partial_json"]));
                    }
                    "message_delta" => {
                        seen.finish = anthropic_finish(&event["delta"]["stop_reason"]);
                        seen.tokens = anthropic_tokens(&event["usage"]).or(seen.tokens);
                    }
                    "message_stop" => ended = true,
                    "error" => seen.error = Some(text(&event["error"]["message"]).to_owned()),
                    "content_block_stop" | "ping" => {}
                    other => panic!("event {other}"),
                }
            }
            Dialect::Gemini => match event["error"]["message"].as_str() {
                Some(message) => seen.error = Some(message.to_owned()),
                None => {
                    gemini_chunk(&event, &mut seen);
                    ended |= !first(&event["candidates"])["finishReason"].is_null();
                }
            },
        }
    }
    if dialect == Dialect::Anthropic {
        let calls = kinds.iter().zip(&arguments).filter(|(kind, _)| *kind == "tool_use");
        arguments = calls.map(|(_, arguments)| arguments.clone()).collect();
    }
    if matches!(dialect, Dialect::Chat | Dialect::Anthropic) {
        for (call, arguments) in seen.calls.iter_mut().zip(&arguments) {
            let json = if arguments.is_empty() { "{}" } else { arguments };
            call.1 = serde_json::from_str(json).unwrap_or(Value::Null);
        }
    }
    if dialect == Dialect::Gemini {
        gemini_finish(&mut seen);
    }
    assert!(ended || seen.error.is_some(), "{dialect:?}: the stream has no end: {events:#?}");
    assert!(!(ended && seen.error.is_some()), "{dialect:?}: an end behind an error");
    seen
}
