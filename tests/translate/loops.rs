//! An agent at work: question, thinking, tool call, result, answer, through every pair against the simulated provider.

use serde_json::{Value, json};

use super::client::{self, Ask, Seen, seen};
use super::{Dialect, pairs};
use crate::support::{Gateway, Response, Setup, simulated};

/// Three tools' turns, then the answer.
const ROUNDS: usize = 3;

fn gateway(to: Dialect) -> Gateway {
    let mut model = simulated("up/model", to.id());
    model["simulated"]["toolCalls"] = json!(1.0);
    model["simulated"]["toolCallCount"] = json!(2);
    model["simulated"]["textWithToolCalls"] = json!(true);
    Setup::new().model(model).start()
}

#[test]
fn an_agent_works_through_every_pair() {
    for (from, to) in pairs() {
        for stream in [false, true] {
            let gateway = gateway(to);
            let mut agent = Agent::new(from, stream);
            for round in 0..ROUNDS {
                let (response, answer) = agent.ask(&gateway);
                let name = format!("{from:?} client, {to:?} provider, round {round}:\n{}", response.text());
                assert_eq!(answer.finish, "tool_calls", "{name}");
                assert_eq!(answer.calls.len(), 2, "{name}");
                for (call, input) in &answer.calls {
                    assert_eq!(call, "get_weather", "{name}");
                    assert!(input["city"].is_string(), "{name}");
                }
                agent.bring_results(&response);
                let (response, answer) = agent.ask(&gateway);
                let name = format!("{from:?} client, {to:?} provider, round {round}:\n{}", response.text());
                assert_eq!((answer.finish.as_str(), answer.calls.len()), ("stop", 0), "{name}");
                assert!(!answer.text.is_empty(), "{name}");
                assert!(answer.tokens.is_some_and(|(input, output)| input > 0 && output > 0), "{name}");
                agent.go_on(&response);
            }
            let records = gateway.usage_records(2 * ROUNDS);
            assert!(records.iter().all(|record| record["outcome"] == "success"), "{from:?} {to:?}");
        }
    }
}

/// A user of one dialect who keeps the conversation as its SDK's examples do: what came is sent back.
struct Agent {
    dialect: Dialect,
    stream: bool,
    body: Value,
}

impl Agent {
    fn new(dialect: Dialect, stream: bool) -> Self {
        let ask = Ask { stream, tool: true, think: true };
        let mut body = client::body(dialect, ask);
        if dialect == Dialect::Responses {
            body["input"] = json!([{"role": "user", "content": "Weather in Zürich?"}]);
            body["include"] = json!(["reasoning.encrypted_content"]);
            body["store"] = false.into();
        }
        Self { dialect, stream, body }
    }

    fn ask(&self, gateway: &Gateway) -> (Response, Seen) {
        let response =
            gateway.call(client::request_of(self.dialect, self.stream, "", &self.body)).expect(200);
        let answer = seen(self.dialect, &response);
        (response, answer)
    }

    fn history(&mut self) -> &mut Vec<Value> {
        let name = match self.dialect {
            Dialect::Chat | Dialect::Anthropic => "messages",
            Dialect::Responses => "input",
            Dialect::Gemini => "contents",
        };
        self.body[name].as_array_mut().unwrap()
    }

    /// Takes the answer into the conversation; the ids and names of its calls.
    fn remember(&mut self, response: &Response) -> Vec<(String, String)> {
        let dialect = self.dialect;
        let said =
            if self.stream { gathered(dialect, &response.events()) } else { told(dialect, &response.json()) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let calls = match dialect {
            Dialect::Chat => {
                let calls = said[0]["tool_calls"].as_array().cloned().unwrap_or_default();
                calls.iter().map(|call| (text(&call["id"]), text(&call["function"]["name"]))).collect()
            }
            Dialect::Responses => said
                .iter()
                .filter(|item| item["type"] == "function_call")
                .map(|item| (text(&item["call_id"]), text(&item["name"])))
                .collect(),
            Dialect::Anthropic => {
                let blocks = said[0]["content"].as_array().unwrap();
                let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
                calls.map(|block| (text(&block["id"]), text(&block["name"]))).collect()
            }
            Dialect::Gemini => {
                let parts = said[0]["parts"].as_array().unwrap();
                let calls = parts.iter().filter_map(|part| part.get("functionCall"));
                calls.map(|call| (text(&call["id"]), text(&call["name"]))).collect()
            }
        };
        self.history().extend(said);
        calls
    }

    /// Appends the answer and a result for each of its calls.
    fn bring_results(&mut self, response: &Response) {
        let calls = self.remember(response);
        let weather = "20 degrees";
        let results: Vec<Value> = match self.dialect {
            Dialect::Chat => calls
                .iter()
                .map(|(id, _)| json!({"role": "tool", "tool_call_id": id, "content": weather}))
                .collect(),
            Dialect::Responses => calls
                .iter()
                .map(|(id, _)| json!({"type": "function_call_output", "call_id": id, "output": weather}))
                .collect(),
            Dialect::Anthropic => {
                let blocks: Vec<Value> = calls
                    .iter()
                    .map(|(id, _)| json!({"type": "tool_result", "tool_use_id": id, "content": weather}))
                    .collect();
                vec![json!({"role": "user", "content": blocks})]
            }
            Dialect::Gemini => {
                let parts: Vec<Value> = calls
                    .iter()
                    .map(|(id, name)| {
                        let mut result = json!({"name": name, "response": {"output": weather}});
                        if !id.is_empty() {
                            result["id"] = id.as_str().into();
                        }
                        json!({"functionResponse": result})
                    })
                    .collect();
                vec![json!({"role": "user", "parts": parts})]
            }
        };
        self.history().extend(results);
    }

    /// Appends the answer and another question.
    fn go_on(&mut self, response: &Response) {
        self.remember(response);
        let question = match self.dialect {
            Dialect::Gemini => json!({"role": "user", "parts": [{"text": "And tomorrow?"}]}),
            _ => json!({"role": "user", "content": "And tomorrow?"}),
        };
        self.history().push(question);
    }
}

/// The assistant's turn of an answer in one piece.
fn told(dialect: Dialect, answer: &Value) -> Vec<Value> {
    match dialect {
        Dialect::Chat => vec![answer["choices"][0]["message"].clone()],
        Dialect::Responses => answer["output"].as_array().unwrap().clone(),
        Dialect::Anthropic => vec![json!({"role": "assistant", "content": answer["content"]})],
        Dialect::Gemini => vec![answer["candidates"][0]["content"].clone()],
    }
}

/// The assistant's turn of a stream, gathered as the SDKs do.
fn gathered(dialect: Dialect, events: &[String]) -> Vec<Value> {
    let events: Vec<Value> = events.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    match dialect {
        Dialect::Chat => vec![gather_chat(&events)],
        Dialect::Responses => told(dialect, &events.last().unwrap()["response"]),
        Dialect::Anthropic => vec![json!({"role": "assistant", "content": gather_anthropic(&events)})],
        Dialect::Gemini => {
            let parts = events.iter().flat_map(|chunk| {
                chunk["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default()
            });
            // An empty text is the end of a stream.
            let parts: Vec<Value> =
                parts.filter(|part| part["text"] != "" || part.get("thoughtSignature").is_some()).collect();
            vec![json!({"role": "model", "parts": parts})]
        }
    }
}

fn gather_chat(chunks: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": ""});
    let mut calls: Vec<Value> = Vec::new();
    for delta in chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]) {
        if let Some(text) = delta["content"].as_str() {
            message["content"] = format!("{}{text}", message["content"].as_str().unwrap()).into();
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            if index == calls.len() {
                calls.push(json!({
                    "id": call["id"], "type": "function",
                    "function": {"name": call["function"]["name"], "arguments": ""},
                }));
            }
            let known = &mut calls[index]["function"]["arguments"];
            let piece = call["function"]["arguments"].as_str().unwrap_or_default();
            *known = format!("{}{piece}", known.as_str().unwrap()).into();
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

fn gather_anthropic(events: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => {
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                for name in ["text", "thinking"] {
                    if let Some(piece) = delta[name].as_str() {
                        blocks[index][name] =
                            format!("{}{piece}", blocks[index][name].as_str().unwrap()).into();
                    }
                }
                if !delta["signature"].is_null() {
                    blocks[index]["signature"] = delta["signature"].clone();
                }
                inputs[index].push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if blocks[index]["type"] == "tool_use" && !inputs[index].is_empty() => {
                blocks[index]["input"] = serde_json::from_str(&inputs[index]).unwrap();
            }
            _ => {}
        }
    }
    blocks
}
