//! What the benches of translations translate: a long conversation and a stream in each dialect.

use routerly::dialect::context::{ClientContext, Ids, TargetModel};
use routerly::dialect::ir::Vendor;
use routerly::dialect::{Dialect, ProofKey};
use serde_json::{Value, json};

pub(crate) const PAIRS: [(Dialect, Dialect); 12] = {
    use Dialect::{AnthropicMessages as A, Gemini as G, OpenAiChat as C, OpenAiResponses as R};
    [(C, R), (C, A), (C, G), (R, C), (R, A), (R, G), (A, C), (A, R), (A, G), (G, C), (G, R), (G, A)]
};

/// Turns of the conversation, each about 2,500 bytes: 100 KB in all.
pub(crate) const TURNS: usize = 40;

/// A conversation with code, escapes, a few tools and a call with its result in every fourth turn.
pub(crate) fn conversation(dialect: Dialect) -> Vec<u8> {
    let text =
        "fn main() {\n\tprintln!(\"größe: {}\", 1);\n}\n// and what a person says about it\n".repeat(28);
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    let input = json!({"path": "src/main.rs"});
    let mut turns: Vec<Value> = Vec::new();
    for index in 0..TURNS {
        let id = format!("call_{index}");
        let (user, calls) = (index % 2 == 0, index % 4 == 1);
        match dialect {
            Dialect::OpenAiChat if user => turns.push(json!({"role": "user", "content": text})),
            Dialect::OpenAiChat => {
                let mut turn = json!({"role": "assistant", "content": text});
                if calls {
                    let function = json!({"name": "read_file", "arguments": input.to_string()});
                    turn["tool_calls"] = json!([{"id": id, "type": "function", "function": function}]);
                }
                turns.push(turn);
                if calls {
                    turns.push(json!({"role": "tool", "tool_call_id": id, "content": "fn main() {}\n"}));
                }
            }
            Dialect::OpenAiResponses if user => turns.push(json!({"role": "user", "content": text})),
            Dialect::OpenAiResponses => {
                let part = json!({"type": "output_text", "text": text, "annotations": []});
                turns.push(json!({"type": "message", "role": "assistant", "content": [part]}));
                if calls {
                    turns.push(json!({"type": "function_call", "call_id": id, "name": "read_file",
                        "arguments": input.to_string()}));
                    turns.push(
                        json!({"type": "function_call_output", "call_id": id, "output": "fn main() {}\n"}),
                    );
                }
            }
            Dialect::AnthropicMessages => {
                let mut blocks = vec![json!({"type": "text", "text": text})];
                if user && index % 4 == 2 {
                    let id = format!("call_{}", index - 1);
                    let result =
                        json!({"type": "tool_result", "tool_use_id": id, "content": "fn main() {}\n"});
                    blocks.insert(0, result);
                }
                if calls {
                    blocks.push(json!({"type": "tool_use", "id": id, "name": "read_file", "input": input}));
                }
                turns.push(json!({"role": if user { "user" } else { "assistant" }, "content": blocks}));
            }
            Dialect::Gemini => {
                let mut parts = vec![json!({"text": text})];
                if user && index % 4 == 2 {
                    let result = json!({"name": "read_file", "response": {"output": "fn main() {}\n"}});
                    parts.insert(0, json!({"functionResponse": result}));
                }
                if calls {
                    parts.push(json!({"functionCall": {"name": "read_file", "args": input}}));
                }
                turns.push(json!({"role": if user { "user" } else { "model" }, "parts": parts}));
            }
        }
    }
    let body = match dialect {
        Dialect::OpenAiChat => json!({"model": "m", "max_tokens": 4096, "stream": true, "messages": turns,
            "tools": [{"type": "function", "function": {"name": "read_file", "parameters": schema}}]}),
        Dialect::OpenAiResponses => {
            json!({"model": "m", "max_output_tokens": 4096, "stream": true, "input": turns,
            "tools": [{"type": "function", "name": "read_file", "parameters": schema, "strict": false}]})
        }
        Dialect::AnthropicMessages => {
            json!({"model": "m", "max_tokens": 4096, "stream": true, "messages": turns,
            "tools": [{"name": "read_file", "input_schema": schema}]})
        }
        Dialect::Gemini => json!({"generationConfig": {"maxOutputTokens": 4096}, "contents": turns,
            "tools": [{"functionDeclarations": [{"name": "read_file", "parametersJsonSchema": schema}]}]}),
    };
    body.to_string().into_bytes()
}

pub(crate) fn target(dialect: Dialect) -> TargetModel<'static> {
    let (name, vendor) = match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => ("gpt-4.1", Vendor::OpenAi),
        Dialect::AnthropicMessages => ("claude-sonnet-4-5", Vendor::Anthropic),
        Dialect::Gemini => ("gemini-2.5-pro", Vendor::Google),
    };
    TargetModel {
        name,
        vendor,
        token_limit_param: "max_tokens",
        output_tokens_default: 8192,
        reasoning_field: None,
    }
}

/// Events of text in a stream, as many as a short answer has.
pub(crate) const EVENTS: usize = 100;

pub(crate) fn stream(dialect: Dialect) -> Vec<u8> {
    let mut wire = String::new();
    let mut put = |name: &str, event: &Value| {
        if !name.is_empty() {
            wire.push_str(&format!("event: {name}\n"));
        }
        wire.push_str(&format!("data: {event}\n\n"));
    };
    let word = |index: usize| format!(" word{index}");
    match dialect {
        Dialect::OpenAiChat => {
            let chunk = |delta: Value, finish: Value| {
                json!({"id": "c", "object": "chat.completion.chunk", "created": 17, "model": "gpt-4.1",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null})
            };
            put("", &chunk(json!({"role": "assistant", "content": ""}), Value::Null));
            (0..EVENTS).for_each(|index| put("", &chunk(json!({"content": word(index)}), Value::Null)));
            put("", &chunk(json!({}), "stop".into()));
            wire.push_str("data: [DONE]\n\n");
        }
        Dialect::OpenAiResponses => {
            let response = |status: &str| {
                json!({"id": "resp_1", "object": "response", "created_at": 17, "status": status, "model": "gpt-4.1",
                    "output": [], "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}})
            };
            let item = json!({"id": "msg_1", "type": "message", "role": "assistant", "content": []});
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            put(
                "response.created",
                &json!({"type": "response.created", "response": response("in_progress")}),
            );
            put(
                "response.output_item.added",
                &json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
            );
            put(
                "response.content_part.added",
                &json!({"type": "response.content_part.added", "item_id": "msg_1",
                "output_index": 0, "content_index": 0, "part": part}),
            );
            for index in 0..EVENTS {
                put(
                    "response.output_text.delta",
                    &json!({"type": "response.output_text.delta", "item_id": "msg_1",
                    "output_index": 0, "content_index": 0, "delta": word(index), "sequence_number": index}),
                );
            }
            put(
                "response.output_item.done",
                &json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            );
            put(
                "response.completed",
                &json!({"type": "response.completed", "response": response("completed")}),
            );
        }
        Dialect::AnthropicMessages => {
            put(
                "message_start",
                &json!({"type": "message_start", "message": {"id": "m", "type": "message",
                "role": "assistant", "model": "claude", "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 25, "output_tokens": 1}}}),
            );
            put(
                "content_block_start",
                &json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}),
            );
            for index in 0..EVENTS {
                put(
                    "content_block_delta",
                    &json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": word(index)}}),
                );
            }
            put("content_block_stop", &json!({"type": "content_block_stop", "index": 0}));
            put(
                "message_delta",
                &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 100}}),
            );
            put("message_stop", &json!({"type": "message_stop"}));
        }
        Dialect::Gemini => {
            for index in 0..EVENTS {
                put(
                    "",
                    &json!({"candidates": [{"content": {"parts": [{"text": word(index)}], "role": "model"}}],
                    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": index}}),
                );
            }
            put("", &json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}));
        }
    }
    wire.into_bytes()
}

/// The client of a stream.
pub(crate) fn client(proofs: &ProofKey) -> ClientContext {
    ClientContext {
        model: String::new(),
        unix_seconds: 17,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: proofs.clone(),
    }
}

/// The events of a stream, each with its blank line.
pub(crate) fn pieces(wire: &[u8]) -> Vec<&[u8]> {
    let text = std::str::from_utf8(wire).expect("UTF-8");
    text.split_inclusive("\n\n").map(str::as_bytes).collect()
}
