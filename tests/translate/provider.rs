//! Providers: one answer, told in each dialect.

use serde_json::{Value, json};

use super::Dialect;
use super::client::{Ask, Seen};
use crate::support::upstream::Connection;
use crate::support::upstream::behaviour::json_answer;

pub const TEXT: &str = "It is \"föhn\" \\ 20°\n😀";
pub const THOUGHT: &str = "Zürich\u{2026} the lake.";
pub const INPUT: u64 = 31;
pub const OUTPUT: u64 = 17;
const REASONING: u64 = 5;

/// What a client has to read of the answer to `ask` from a provider of `dialect`.
pub fn expected(dialect: Dialect, ask: Ask) -> Seen {
    // A chat provider thinks aloud where it is not OpenAI; this one is.
    let thinks = ask.think && dialect != Dialect::Chat;
    Seen {
        text: TEXT.to_owned(),
        thinking: if thinks { THOUGHT.to_owned() } else { String::new() },
        calls: if ask.tool { vec![("get_weather".to_owned(), arguments())] } else { Vec::new() },
        finish: if ask.tool { "tool_calls" } else { "stop" }.to_owned(),
        tokens: Some((INPUT, OUTPUT)),
        error: None,
    }
}

pub fn arguments() -> Value {
    json!({"city": "Zürich \"1\"", "n": 1.50})
}

/// The answer in one piece.
pub fn whole(dialect: Dialect, ask: Ask) -> Value {
    let arguments_text = arguments().to_string();
    match dialect {
        Dialect::Chat => {
            let mut message = json!({"role": "assistant", "content": TEXT, "refusal": null});
            if ask.tool {
                message["tool_calls"] = json!([{
                    "id": "call_1", "type": "function",
                    "function": {"name": "get_weather", "arguments": arguments_text},
                }]);
            }
            json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 17, "model": "gpt-4.1",
                "choices": [{
                    "index": 0, "message": message, "logprobs": null,
                    "finish_reason": if ask.tool { "tool_calls" } else { "stop" },
                }],
                "usage": chat_usage(),
            })
        }
        Dialect::Responses => responses_object(ask, "completed"),
        Dialect::Anthropic => {
            let mut content = Vec::new();
            if ask.think {
                content.push(json!({"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}));
            }
            content.push(json!({"type": "text", "text": TEXT}));
            if ask.tool {
                content.push(
                    json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": arguments()}),
                );
            }
            json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
                "content": content, "stop_reason": if ask.tool { "tool_use" } else { "end_turn" },
                "stop_sequence": null, "usage": anthropic_usage(OUTPUT),
            })
        }
        Dialect::Gemini => {
            let mut chunk = gemini_chunk(gemini_parts(ask), true);
            chunk["usageMetadata"] = gemini_usage();
            chunk
        }
    }
}

fn chat_usage() -> Value {
    json!({
        "prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": REASONING},
    })
}

fn anthropic_usage(output: u64) -> Value {
    json!({
        "input_tokens": INPUT - 8, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 0,
        "output_tokens": output,
    })
}

fn gemini_usage() -> Value {
    json!({
        "promptTokenCount": INPUT, "cachedContentTokenCount": 8, "candidatesTokenCount": OUTPUT - REASONING,
        "thoughtsTokenCount": REASONING, "totalTokenCount": INPUT + OUTPUT,
    })
}

fn gemini_parts(ask: Ask) -> Vec<Value> {
    let mut parts = Vec::new();
    if ask.think {
        parts.push(json!({"text": THOUGHT, "thought": true}));
    }
    parts.push(json!({"text": TEXT}));
    if ask.tool {
        parts.push(json!({
            "functionCall": {"name": "get_weather", "args": arguments()}, "thoughtSignature": "c2ln",
        }));
    }
    parts
}

fn gemini_chunk(parts: Vec<Value>, last: bool) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if last {
        candidate["finishReason"] = "STOP".into();
    }
    json!({"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"})
}

fn responses_items(ask: Ask) -> Vec<Value> {
    let mut items = Vec::new();
    if ask.think {
        items.push(json!({
            "id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHT}],
            "encrypted_content": "Z0FBQQ==",
        }));
    }
    items.push(json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}],
    }));
    if ask.tool {
        items.push(json!({
            "id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1",
            "name": "get_weather", "arguments": arguments().to_string(),
        }));
    }
    items
}

fn responses_object(ask: Ask, status: &str) -> Value {
    let output = if status == "completed" { responses_items(ask) } else { Vec::new() };
    let usage = json!({
        "input_tokens": INPUT, "input_tokens_details": {"cached_tokens": 8}, "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": REASONING}, "total_tokens": INPUT + OUTPUT,
    });
    json!({
        "id": "resp_1", "object": "response", "created_at": 17, "status": status, "model": "gpt-4.1",
        "error": null, "incomplete_details": null, "output": output, "tools": [], "tool_choice": "auto",
        "parallel_tool_calls": true, "usage": if status == "completed" { usage } else { Value::Null },
    })
}

/// Pieces of a text: a character each, then the rest.
fn pieces(text: &str) -> Vec<String> {
    let cut = text.char_indices().nth(3).map_or(text.len(), |(at, _)| at);
    let head = text[..cut].chars().map(String::from);
    head.chain([text[cut..].to_owned()]).collect()
}

/// The answer as a stream, event by event.
pub fn events(dialect: Dialect, ask: Ask) -> Vec<String> {
    match dialect {
        Dialect::Chat => chat_events(ask),
        Dialect::Responses => responses_events(ask),
        Dialect::Anthropic => anthropic_events(ask),
        Dialect::Gemini => gemini_events(ask),
    }
}

/// The events before the longest piece of text: the client has read its beginning.
pub fn beginning(dialect: Dialect) -> Vec<String> {
    let mut events = events(dialect, Ask { stream: true, ..Ask::default() });
    let at = events.iter().position(|event| event.contains("föhn")).expect("there is text");
    events.truncate(at);
    events
}

fn chat_events(ask: Ask) -> Vec<String> {
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 17, "model": "gpt-4.1",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null,
        });
        format!("data: {chunk}\n\n")
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(pieces(TEXT).iter().map(|piece| chunk(json!({"content": piece}), Value::Null)));
    if ask.tool {
        let function = json!({"name": "get_weather", "arguments": ""});
        let call = json!({"index": 0, "id": "call_1", "type": "function", "function": function});
        events.push(chunk(json!({"tool_calls": [call]}), Value::Null));
        for piece in pieces(&arguments().to_string()) {
            let call = json!({"index": 0, "function": {"arguments": piece}});
            events.push(chunk(json!({"tool_calls": [call]}), Value::Null));
        }
    }
    events.push(chunk(json!({}), if ask.tool { "tool_calls" } else { "stop" }.into()));
    let usage = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 17, "model": "gpt-4.1", "choices": [],
        "usage": chat_usage(),
    });
    events.push(format!("data: {usage}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn responses_events(ask: Ask) -> Vec<String> {
    let mut events = Vec::new();
    let mut put = |kind: &str, mut event: Value| {
        event["type"] = kind.into();
        event["sequence_number"] = events.len().into();
        events.push(format!("event: {kind}\ndata: {event}\n\n"));
    };
    put("response.created", json!({"response": responses_object(ask, "in_progress")}));
    put("response.in_progress", json!({"response": responses_object(ask, "in_progress")}));
    for (index, item) in responses_items(ask).into_iter().enumerate() {
        let mut added = item.clone();
        let base = |mut event: Value| {
            event["output_index"] = index.into();
            event["item_id"] = item["id"].clone();
            event
        };
        match item["type"].as_str().unwrap() {
            "reasoning" => {
                added["summary"] = json!([]);
                added["encrypted_content"] = Value::Null;
                put("response.output_item.added", base(json!({"item": added})));
                let part = json!({"type": "summary_text", "text": ""});
                put("response.reasoning_summary_part.added", base(json!({"summary_index": 0, "part": part})));
                for piece in pieces(THOUGHT) {
                    let event = base(json!({"summary_index": 0, "delta": piece}));
                    put("response.reasoning_summary_text.delta", event);
                }
                let done = base(json!({"summary_index": 0, "text": THOUGHT}));
                put("response.reasoning_summary_text.done", done);
                let part = json!({"type": "summary_text", "text": THOUGHT});
                put("response.reasoning_summary_part.done", base(json!({"summary_index": 0, "part": part})));
            }
            "message" => {
                added["content"] = json!([]);
                added["status"] = "in_progress".into();
                put("response.output_item.added", base(json!({"item": added})));
                let part = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
                put("response.content_part.added", base(json!({"content_index": 0, "part": part})));
                for piece in pieces(TEXT) {
                    put(
                        "response.output_text.delta",
                        base(json!({"content_index": 0, "delta": piece, "logprobs": []})),
                    );
                }
                put("response.output_text.done", base(json!({"content_index": 0, "text": TEXT})));
                let part = item["content"][0].clone();
                put("response.content_part.done", base(json!({"content_index": 0, "part": part})));
            }
            _ => {
                added["arguments"] = "".into();
                added["status"] = "in_progress".into();
                put("response.output_item.added", base(json!({"item": added})));
                for piece in pieces(&arguments().to_string()) {
                    put("response.function_call_arguments.delta", base(json!({"delta": piece})));
                }
                let done = base(json!({"arguments": arguments().to_string()}));
                put("response.function_call_arguments.done", done);
            }
        }
        put("response.output_item.done", base(json!({"item": item})));
    }
    put("response.completed", json!({"response": responses_object(ask, "completed")}));
    events
}

fn anthropic_events(ask: Ask) -> Vec<String> {
    let mut events = Vec::new();
    let mut put = |event: Value| {
        events.push(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
    };
    put(json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": anthropic_usage(1),
    }}));
    let mut index = 0;
    let mut block = |start: Value, deltas: Vec<Value>| {
        put(json!({"type": "content_block_start", "index": index, "content_block": start}));
        if index == 0 {
            put(json!({"type": "ping"}));
        }
        for delta in deltas {
            put(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        put(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    };
    if ask.think {
        let mut deltas: Vec<Value> = pieces(THOUGHT)
            .iter()
            .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
            .collect();
        deltas.push(json!({"type": "signature_delta", "signature": "c2ln"}));
        block(json!({"type": "thinking", "thinking": "", "signature": ""}), deltas);
    }
    let deltas = pieces(TEXT).iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect();
    block(json!({"type": "text", "text": ""}), deltas);
    if ask.tool {
        let mut deltas = vec![json!({"type": "input_json_delta", "partial_json": ""})];
        let json = arguments().to_string();
        deltas.extend(
            pieces(&json).iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece})),
        );
        block(json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}), deltas);
    }
    let reason = if ask.tool { "tool_use" } else { "end_turn" };
    put(json!({
        "type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
        "usage": {"output_tokens": OUTPUT},
    }));
    put(json!({"type": "message_stop"}));
    events
}

fn gemini_events(ask: Ask) -> Vec<String> {
    let mut chunks = Vec::new();
    for part in gemini_parts(ask) {
        let texts = match part["text"].as_str() {
            Some(text) => pieces(text),
            None => vec![String::new()],
        };
        for text in texts {
            let mut piece = part.clone();
            if !part["text"].is_null() {
                piece["text"] = text.into();
            }
            chunks.push(gemini_chunk(vec![piece], false));
        }
    }
    let mut last = gemini_chunk(vec![json!({"text": ""})], true);
    last["usageMetadata"] = gemini_usage();
    chunks.push(last);
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect()
}

/// Answers each request with the answer to `ask`, as a stream where the request asks for one.
pub fn plays(dialect: Dialect, ask: Ask) -> impl Fn(&mut Connection) {
    plays_one_of(dialect, vec![ask])
}

/// Plays the answer to the one of `asks` whose number the field `user-agent` says; the first one by default.
pub fn plays_one_of(dialect: Dialect, asks: Vec<Ask>) -> impl Fn(&mut Connection) {
    move |connection| {
        while let Some(request) = connection.next_request() {
            let number = request.head.field("user-agent").and_then(|number| number.parse().ok());
            let ask = asks[number.unwrap_or(0_usize)];
            let path = request.head.request_line().1;
            if request.json()["stream"] == true || path.contains("streamGenerateContent") {
                connection.begin_stream();
                events(dialect, ask).iter().for_each(|event| connection.send_chunk(event));
                connection.end_chunks();
            } else {
                connection.send(json_answer(200, &whole(dialect, ask).to_string()));
            }
        }
    }
}

/// An error as a provider of a dialect says it.
pub fn error(dialect: Dialect, status: u16, kind: &str, message: &str) -> Value {
    match dialect {
        Dialect::Chat | Dialect::Responses => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
        }
        Dialect::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
        }
        Dialect::Gemini => json!({"error": {"code": status, "message": message, "status": kind}}),
    }
}
