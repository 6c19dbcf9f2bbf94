//! Calls of tools: when they are made, and what is in them.

use super::*;

#[test]
fn tool_arguments_fit_the_schema_in_every_dialect() {
    let schema = json!({"type":"object","required":["city","days","units"],"properties":{"city":{"type":"string"},
        "days":{"type":"integer","minimum":1,"maximum":7},"units":{"type":"string","enum":["c","f"]},
        "flags":{"type":"array","items":{"type":"boolean"}}}});
    let simulator = simulator(json!({"toolCalls":1,"toolCallCount":2}));
    for number in 0..20 {
        for ((path, body), (stream_path, stream_body)) in
            tool_bodies(&schema, false).into_iter().zip(tool_bodies(&schema, true))
        {
            let answer = value(&post(&simulator, path, &[], body.to_string().as_bytes(), number));
            let parse = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
            let (reason, arguments): (&Value, Vec<Value>) = match path {
                CHAT => {
                    let message = &answer["choices"][0]["message"];
                    assert!(message["content"].is_null());
                    let calls = message["tool_calls"].as_array().unwrap();
                    (
                        &answer["choices"][0]["finish_reason"],
                        calls.iter().map(|call| parse(&call["function"]["arguments"])).collect(),
                    )
                }
                RESPONSES => {
                    let items = answer["output"].as_array().unwrap();
                    (&answer["status"], items.iter().map(|item| parse(&item["arguments"])).collect())
                }
                MESSAGES => {
                    let blocks = answer["content"].as_array().unwrap();
                    (&answer["stop_reason"], blocks.iter().map(|block| block["input"].clone()).collect())
                }
                _ => {
                    let candidate = &answer["candidates"][0];
                    let parts = candidate["content"]["parts"].as_array().unwrap();
                    (
                        &candidate["finishReason"],
                        parts.iter().map(|part| part["functionCall"]["args"].clone()).collect(),
                    )
                }
            };
            assert!(
                ["tool_calls", "completed", "tool_use", "STOP"].contains(&reason.as_str().unwrap()),
                "{path}"
            );
            assert_eq!(arguments.len(), 2, "{path}");
            for value in &arguments {
                assert!(fits(&schema, &schema, value), "{path}: {value}");
            }
            let played = play(post(&simulator, stream_path, &[], stream_body.to_string().as_bytes(), number));
            assert_eq!(streamed_arguments(path, &played), arguments, "{path}");
        }
    }
}

/// The arguments of each call of a stream, put together.
fn streamed_arguments(path: &str, played: &Played) -> Vec<Value> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in played.payloads() {
        let (key, piece) = match path {
            CHAT => {
                let call = &event["choices"][0]["delta"]["tool_calls"][0];
                (call["index"].to_string(), call["function"]["arguments"].clone())
            }
            RESPONSES if event["type"] == "response.function_call_arguments.delta" => {
                (event["output_index"].to_string(), event["delta"].clone())
            }
            RESPONSES => continue,
            MESSAGES => (event["index"].to_string(), event["delta"]["partial_json"].clone()),
            _ => {
                let args = &event["candidates"][0]["content"]["parts"][0]["functionCall"]["args"];
                let text = if args.is_null() { Value::Null } else { json!(args.to_string()) };
                (format!("call {}", calls.len()), text)
            }
        };
        let Some(piece) = piece.as_str() else { continue };
        match calls.iter_mut().find(|(known, _)| *known == key) {
            Some((_, text)) => text.push_str(piece),
            None => calls.push((key, piece.to_owned())),
        }
    }
    calls.iter().map(|(_, text)| serde_json::from_str(text).expect(text)).collect()
}

#[test]
fn tools_are_called_when_the_request_allows_it() {
    let often = simulator(json!({"toolCalls":1}));
    let never = simulator(json!({"toolCalls":0}));
    let [(path, body), ..] = tool_bodies(&json!({}), false);
    let called = |simulator: &Simulator, change: Value| {
        let mut body = body.clone();
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = value(&post(simulator, path, &[], body.to_string().as_bytes(), 1));
        answer["choices"][0]["message"].get("tool_calls").is_some()
    };
    let named = json!({"type":"function","function":{"name":"f"}});
    assert!(called(&often, json!({})));
    assert!(!called(&never, json!({})));
    assert!(!called(&often, json!({"tool_choice":"none"})));
    assert!(called(&never, json!({"tool_choice":"required"})));
    assert!(called(&never, json!({ "tool_choice": named })));
    assert!(!called(&often, json!({"messages":[{"role":"tool","content":"42"}]})));
    assert!(called(&never, json!({"messages":[{"role":"tool","content":"42"}],"tool_choice":"required"})));
}
