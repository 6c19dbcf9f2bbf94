//! The simulator from the outside: one request in, one reply out, played without sockets or time.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod behaviour;
mod tools;

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const RESPONSES: &str = "/v1/responses";
pub(super) const MESSAGES: &str = "/v1/messages";
pub(super) const GENERATE: &str = "/v1beta/models/sim:generateContent";
pub(super) const STREAM: &str = "/v1beta/models/sim:streamGenerateContent";

/// A request by `POST`, its query in `path`.
pub(super) fn post(
    simulator: &Simulator,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    number: u64,
) -> SimReply {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let request =
        SimRequest { method: "POST", path, query, headers: &headers, body, unix_seconds: 1_750_000_000 };
    simulator.answer(&request, number)
}

fn get(simulator: &Simulator, path: &str, headers: &[(&str, &[u8])]) -> SimReply {
    let request =
        SimRequest { method: "GET", path, query: None, headers, body: b"", unix_seconds: 1_750_000_000 };
    simulator.answer(&request, 0)
}

/// A simulator with these settings on top of fast ones.
pub(super) fn simulator(settings: Value) -> Simulator {
    let mut all = json!({"ttftMs":0,"tokensPerSecond":0,"jitter":0});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    Simulator::new(serde_json::from_value(all).unwrap())
}

/// What a played stream consists of.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Played {
    pub(super) events: Vec<String>,
    pub(super) waits: Vec<Duration>,
    pub(super) end: Option<Action>,
}

impl Played {
    pub(super) fn text(&self) -> String {
        self.events.concat()
    }

    /// The payloads of `data:` lines that are JSON.
    pub(super) fn payloads(&self) -> Vec<Value> {
        let text = self.text();
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }
}

pub(super) fn play(reply: SimReply) -> Played {
    let SimBody::Stream(mut plan) = reply.body else { panic!("expected a stream, found {reply:?}") };
    let mut played = Played::default();
    let mut buffer = Vec::new();
    while let Some(step) = plan.next(&mut buffer) {
        played.waits.push(step.wait);
        if step.action == Action::Send {
            played.events.push(String::from_utf8(std::mem::take(&mut buffer)).expect("events are UTF-8"));
        } else {
            played.end = Some(step.action);
        }
        assert!(buffer.is_empty());
    }
    assert!(plan.next(&mut buffer).is_none(), "nothing follows the last step");
    played
}

pub(super) fn whole(reply: &SimReply) -> &[u8] {
    match &reply.body {
        SimBody::Whole { bytes, .. } => bytes,
        other => panic!("expected a body, found {other:?}"),
    }
}

pub(super) fn value(reply: &SimReply) -> Value {
    serde_json::from_slice(whole(reply)).expect("the body is JSON")
}

fn header<'a>(reply: &'a SimReply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
}

/// The least of a validator: what `schema.rs` promises to honour.
pub(super) fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
        return fits(root, root.pointer(&pointer[1..]).unwrap(), value);
    }
    if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
        return branches.iter().any(|branch| fits(root, branch, value));
    }
    if let Some(branches) = schema.get("allOf").and_then(Value::as_array) {
        return branches.iter().all(|branch| fits(root, branch, value));
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return options.contains(value);
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let within = |x: f64| {
        number("minimum").is_none_or(|min| x >= min)
            && number("maximum").is_none_or(|max| x <= max)
            && number("exclusiveMinimum").is_none_or(|min| x > min)
            && number("exclusiveMaximum").is_none_or(|max| x < max)
            && number("multipleOf").is_none_or(|step| (x / step).fract() == 0.0)
    };
    let kind = schema.get("type").cloned().unwrap_or(json!("object"));
    let kinds: Vec<String> = match kind {
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap().to_lowercase()).collect(),
        name => vec![name.as_str().unwrap().to_lowercase()],
    };
    kinds.iter().any(|kind| match (kind.as_str(), value) {
        ("string", Value::String(text)) => {
            let length = text.chars().count() as f64;
            number("minLength").is_none_or(|min| length >= min)
                && number("maxLength").is_none_or(|max| length <= max)
        }
        ("integer", Value::Number(x)) => x.is_i64() && within(x.as_f64().unwrap()),
        ("number", Value::Number(x)) => within(x.as_f64().unwrap()),
        ("boolean", Value::Bool(_)) | ("null", Value::Null) => true,
        ("array", Value::Array(items)) => items.iter().all(|item| fits(root, &schema["items"], item)),
        ("object", Value::Object(fields)) => {
            let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            required.iter().all(|name| fields.contains_key(name.as_str().unwrap()))
                && fields.iter().all(|(name, value)| {
                    schema
                        .get("properties")
                        .and_then(|all| all.get(name))
                        .is_none_or(|own| fits(root, own, value))
                })
        }
        _ => false,
    })
}

/// A request of each dialect, streaming or not.
pub(super) fn plain(stream: bool) -> [(&'static str, Value); 4] {
    let turn = json!([{"role":"user","content":"Tell me a story"}]);
    let contents = json!([{"role":"user","parts":[{"text":"Tell me a story"}]}]);
    let gemini = if stream { "/v1beta/models/sim:streamGenerateContent?alt=sse" } else { GENERATE };
    [
        (CHAT, json!({"model":"m","messages":turn,"stream":stream})),
        (RESPONSES, json!({"model":"m","input":turn,"stream":stream})),
        (MESSAGES, json!({"model":"m","max_tokens":4096,"messages":turn,"stream":stream})),
        (gemini, json!({ "contents": contents })),
    ]
}

/// The text of a whole answer.
fn answer_text(path: &str, answer: &Value) -> String {
    let text = match path {
        CHAT => &answer["choices"][0]["message"]["content"],
        RESPONSES => &answer["output"][0]["content"][0]["text"],
        MESSAGES => &answer["content"][0]["text"],
        _ => &answer["candidates"][0]["content"]["parts"][0]["text"],
    };
    text.as_str().unwrap_or_else(|| panic!("{path}: no text in {answer}")).to_owned()
}

/// The text of a stream.
fn stream_text(path: &str, played: &Played) -> String {
    let piece = |event: &Value| {
        let text = match path {
            CHAT => &event["choices"][0]["delta"]["content"],
            RESPONSES if event["type"] == "response.output_text.delta" => &event["delta"],
            RESPONSES => &Value::Null,
            MESSAGES => &event["delta"]["text"],
            _ => &event["candidates"][0]["content"]["parts"][0]["text"],
        };
        text.as_str().unwrap_or_default().to_owned()
    };
    played.payloads().iter().map(piece).collect()
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let simulator = simulator(json!({"outputTokens":200,"chunkTokens":3}));
    for ((path, body), (stream_path, stream_body)) in plain(false).into_iter().zip(plain(true)) {
        let answer = value(&post(&simulator, path, &[], body.to_string().as_bytes(), 3));
        let played = play(post(&simulator, stream_path, &[], stream_body.to_string().as_bytes(), 3));
        let text = answer_text(path, &answer);
        assert!(text.len() > 400, "{path}: {text}");
        assert_eq!(text, stream_text(path, &played), "{path}");
        assert_eq!(played.end, Some(Action::End));
    }
}

/// Users compare runs, so the bytes of an answer change on purpose only: delete the file and run the test to have
/// it written anew, then review the difference.
#[test]
fn answers_are_those_of_the_golden_files() {
    let simulator =
        simulator(json!({"outputTokens":6,"thinkingTokens":3,"toolCalls":1,"textWithToolCalls":true}));
    let schema = json!({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}});
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulate/golden");
    for stream in [false, true] {
        let names = ["openai-chat", "openai-responses", "anthropic-messages", "gemini"];
        for (name, (path, mut body)) in names.into_iter().zip(tool_bodies(&schema, stream)) {
            body["reasoning_effort"] = json!("low");
            body["reasoning"] = json!({"summary":"auto"});
            body["thinking"] = json!({"type":"adaptive"});
            body["generationConfig"] = json!({"thinkingConfig":{"includeThoughts":true}});
            let reply = post(&simulator, path, &[], body.to_string().as_bytes(), 0);
            let text =
                if stream { play(reply).text() } else { String::from_utf8(whole(&reply).to_vec()).unwrap() };
            let file = folder.join(format!("{name}.{}", if stream { "sse" } else { "json" }));
            if !file.exists() {
                std::fs::write(&file, &text).unwrap();
                panic!("{} was missing and is written now: review it", file.display());
            }
            let golden = std::fs::read_to_string(&file).unwrap();
            assert!(golden == text, "{} differs from\n{text}", file.display());
        }
    }
}

#[test]
fn equal_requests_with_equal_numbers_get_equal_answers() {
    let settings = json!({"jitter":0.5,"ttftMs":50,"tokensPerSecond":80,"resetRate":0.2,"truncateRate":0.2});
    let (one, two) = (simulator(settings.clone()), simulator(settings));
    let mut different = 0;
    for (path, body) in plain(true) {
        let mut before = String::new();
        for number in 0..50 {
            let ask =
                |simulator| format!("{:?}", post(simulator, path, &[], body.to_string().as_bytes(), number));
            assert_eq!(ask(&one), ask(&two), "{path} number {number}");
            different += usize::from(ask(&one) != before);
            before = ask(&one);
        }
    }
    assert_eq!(different, 200, "another number gets another answer");
}

#[test]
fn the_limit_of_the_request_is_kept_and_said() {
    let simulator = simulator(json!({"outputTokens":100,"inputTokens":11}));
    let limit = [("max_tokens", 5), ("max_output_tokens", 5), ("max_tokens", 5), ("maxOutputTokens", 5)];
    for ((path, mut body), (key, tokens)) in plain(false).into_iter().zip(limit) {
        if path == GENERATE {
            body["generationConfig"] = json!({ key: tokens });
        } else {
            body[key] = json!(tokens);
        }
        let answer = value(&post(&simulator, path, &[], body.to_string().as_bytes(), 3));
        let (reason, output, input) = match path {
            CHAT => (
                answer["choices"][0]["finish_reason"].clone(),
                &answer["usage"]["completion_tokens"],
                &answer["usage"]["prompt_tokens"],
            ),
            RESPONSES => (
                answer["incomplete_details"]["reason"].clone(),
                &answer["usage"]["output_tokens"],
                &answer["usage"]["input_tokens"],
            ),
            MESSAGES => (
                answer["stop_reason"].clone(),
                &answer["usage"]["output_tokens"],
                &answer["usage"]["input_tokens"],
            ),
            _ => (
                answer["candidates"][0]["finishReason"].clone(),
                &answer["usageMetadata"]["candidatesTokenCount"],
                &answer["usageMetadata"]["promptTokenCount"],
            ),
        };
        let said = ["length", "max_output_tokens", "max_tokens", "MAX_TOKENS"];
        assert!(said.contains(&reason.as_str().unwrap()), "{path}: {reason}");
        assert_eq!((output, input), (&json!(5), &json!(11)), "{path}");
    }
}

#[test]
fn usage_comes_in_a_chat_stream_only_if_asked_for() {
    let simulator = simulator(json!({"outputTokens":4,"cachedInputTokens":2,"inputTokens":10}));
    let (path, mut body) = plain(true)[0].clone();
    let without = play(post(&simulator, path, &[], body.to_string().as_bytes(), 0));
    assert!(!without.text().contains("usage"));
    body["stream_options"] = json!({"include_usage":true});
    let with = play(post(&simulator, path, &[], body.to_string().as_bytes(), 0));
    let payloads = with.payloads();
    let (last, others) = payloads.split_last().unwrap();
    assert!(others.iter().all(|event| event["usage"].is_null() && event.get("usage").is_some()));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(with.events.last().unwrap(), "data: [DONE]\n\n");
}

#[test]
fn choices_take_turns_and_are_counted_together() {
    let simulator = simulator(json!({"outputTokens":6}));
    let body =
        json!({"model":"m","messages":[{}],"n":3,"stream":true,"stream_options":{"include_usage":true}});
    let payloads = play(post(&simulator, CHAT, &[], body.to_string().as_bytes(), 0)).payloads();
    let order: Vec<u64> = payloads
        .iter()
        .filter(|event| event["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()))
        .map(|event| event["choices"][0]["index"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [0, 1, 2].repeat(6));
    assert_eq!(payloads.last().unwrap()["usage"]["completion_tokens"], 18);
}

fn tool_bodies(schema: &Value, stream: bool) -> [(&'static str, Value); 4] {
    let [mut chat, mut responses, mut messages, mut gemini] = plain(stream);
    chat.1["tools"] = json!([{"type":"function","function":{"name":"f","parameters":schema}}]);
    responses.1["tools"] = json!([{"type":"function","name":"f","parameters":schema}]);
    messages.1["tools"] = json!([{"name":"f","input_schema":schema}]);
    gemini.1["tools"] = json!([{"functionDeclarations":[{"name":"f","parameters":schema}]}]);
    [chat, responses, messages, gemini]
}

#[test]
fn json_is_written_where_json_is_asked_for() {
    let schema = json!({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]});
    let simulator = simulator(json!({"outputTokens":80}));
    let format = json!({"type":"json_schema","json_schema":{"name":"x","schema":schema}});
    let flat = json!({"type":"json_schema","name":"x","schema":schema});
    let [mut chat, mut responses, mut messages, mut gemini] = plain(false);
    chat.1["response_format"] = format;
    responses.1["text"] = json!({ "format": flat });
    messages.1["output_config"] = json!({ "format": flat });
    gemini.1["generationConfig"] = json!({"responseMimeType":"application/json","responseSchema":schema});
    for (path, body) in [chat, responses, messages, gemini] {
        let answer = value(&post(&simulator, path, &[], body.to_string().as_bytes(), 3));
        let text: Value = serde_json::from_str(&answer_text(path, &answer)).expect(path);
        assert!(fits(&schema, &schema, &text), "{path}: {text}");
    }
    let body = json!({"model":"m","messages":[{}],"response_format":{"type":"json_object"}});
    let answer = value(&post(&simulator, CHAT, &[], body.to_string().as_bytes(), 3));
    let text = answer_text(CHAT, &answer);
    assert!(serde_json::from_str::<Value>(&text).unwrap().is_object());
    assert!((60..=120).contains(&answer["usage"]["completion_tokens"].as_u64().unwrap()), "{text}");
}

#[test]
fn a_stop_sequence_ends_the_text_before_it() {
    let simulator = simulator(json!({"outputTokens":500}));
    let mut body = plain(false)[2].1.clone();
    body["stop_sequences"] = json!(["dolore", "nowhere to be found"]);
    let answer = value(&post(&simulator, MESSAGES, &[], body.to_string().as_bytes(), 0));
    assert_eq!(answer["stop_reason"], "stop_sequence");
    assert_eq!(answer["stop_sequence"], "dolore");
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert!(!text.contains("dolore"));
    let whole = value(&post(&simulator, MESSAGES, &[], plain(false)[2].1.to_string().as_bytes(), 0));
    assert!(whole["content"][0]["text"].as_str().unwrap().starts_with(text));
}

#[test]
fn thinking_is_shown_where_it_is_asked_for_and_counted() {
    let simulator = simulator(json!({"thinkingTokens":12,"outputTokens":8}));
    let [mut chat, mut responses, mut messages, mut gemini] = plain(false);
    chat.1["reasoning_effort"] = json!("low");
    responses.1["reasoning"] = json!({"effort":"low","summary":"auto"});
    messages.1["thinking"] = json!({"type":"enabled","budget_tokens":1024});
    gemini.1["generationConfig"] = json!({"thinkingConfig":{"includeThoughts":true}});
    for (path, body) in [chat, responses, messages, gemini] {
        let answer = value(&post(&simulator, path, &[], body.to_string().as_bytes(), 3));
        let (thought, reasoning, output) = match path {
            CHAT => (
                &answer["choices"][0]["message"]["reasoning_content"],
                &answer["usage"]["completion_tokens_details"]["reasoning_tokens"],
                answer["usage"]["completion_tokens"].as_u64(),
            ),
            RESPONSES => (
                &answer["output"][0]["summary"][0]["text"],
                &answer["usage"]["output_tokens_details"]["reasoning_tokens"],
                answer["usage"]["output_tokens"].as_u64(),
            ),
            MESSAGES => {
                assert!(!answer["content"][0]["signature"].as_str().unwrap().is_empty());
                (
                    &answer["content"][0]["thinking"],
                    &answer["usage"]["output_tokens_details"]["thinking_tokens"],
                    answer["usage"]["output_tokens"].as_u64(),
                )
            }
            _ => (
                &answer["candidates"][0]["content"]["parts"][0]["text"],
                &answer["usageMetadata"]["thoughtsTokenCount"],
                answer["usageMetadata"]["candidatesTokenCount"].as_u64().map(|visible| visible + 12),
            ),
        };
        assert!(thought.as_str().unwrap().len() > 12, "{path}: {answer}");
        assert_eq!((reasoning, output), (&json!(12), Some(20)), "{path}");
    }
}

#[test]
fn bad_requests_are_refused_as_the_provider_would() {
    let simulator = simulator(json!({}));
    let cases: &[(&str, &str, u16, &str, &str)] = &[
        (CHAT, "{", 400, "/error/type", "invalid_request_error"),
        (CHAT, "", 400, "/error/type", "invalid_request_error"),
        (CHAT, "[]", 400, "/error/type", "invalid_request_error"),
        (CHAT, r#"{"messages":[{}]}"#, 400, "/error/param", "model"),
        (CHAT, r#"{"model":"m"}"#, 400, "/error/param", "messages"),
        (CHAT, r#"{"model":"m","messages":[]}"#, 400, "/error/code", "empty_array"),
        (CHAT, r#"{"model":"m","messages":"x"}"#, 400, "/error/param", "messages"),
        (CHAT, r#"{"model":"m","messages":[{}],"n":0}"#, 400, "/error/param", "n"),
        (RESPONSES, r#"{"model":"m"}"#, 400, "/error/param", "input"),
        (MESSAGES, "{", 400, "/error/type", "invalid_request_error"),
        (MESSAGES, r#"{"model":"m","messages":[{}]}"#, 400, "/error/message", "max_tokens: Field required"),
        (MESSAGES, r#"{"model":"m","max_tokens":1}"#, 400, "/error/message", "messages: Field required"),
        (GENERATE, "{", 400, "/error/status", "INVALID_ARGUMENT"),
        (GENERATE, "{}", 400, "/error/status", "INVALID_ARGUMENT"),
        ("/v1/embeddings", r#"{"model":"m"}"#, 400, "/error/param", "input"),
        ("/v1/audio/speech", "{}", 400, "/error/param", "input"),
    ];
    for (path, body, status, pointer, expected) in cases {
        let reply = post(&simulator, path, &[], body.as_bytes(), 0);
        assert_eq!(reply.status, *status, "{path} {body}");
        let answer = value(&reply);
        assert_eq!(
            answer.pointer(pointer).and_then(Value::as_str),
            Some(*expected),
            "{path} {body}: {answer}"
        );
    }
    assert_eq!(get(&simulator, CHAT, &[]).status, 405);
    assert_eq!(get(&simulator, "/v1/models/unknown", &[]).status, 404);
}

#[test]
fn a_required_key_is_looked_for_where_each_dialect_puts_it() {
    let simulator = simulator(json!({"requireKey":"secret"}));
    for (path, body) in plain(false) {
        let ask = |headers: &[(&str, &str)], path: &str| {
            post(&simulator, path, headers, body.to_string().as_bytes(), 0).status
        };
        let refused = if path == GENERATE { 400 } else { 401 };
        assert_eq!(ask(&[], path), refused);
        assert_eq!(ask(&[("authorization", "Bearer wrong")], path), refused);
        assert_eq!(ask(&[("Authorization", "Bearer secret")], path), 200);
        assert_eq!(ask(&[("x-api-key", "secret")], path), 200);
        assert_eq!(ask(&[("x-goog-api-key", "secret")], path), 200);
        assert_eq!(ask(&[], &format!("{path}?alt=sse&key=secret")), 200);
    }
}

#[test]
fn the_echo_tells_what_arrived_and_hides_keys() {
    let simulator = simulator(json!({}));
    let headers = [("X-Custom", "vä"), ("Authorization", "Bearer secret"), ("X-API-Key", "secret")];
    let reply = post(&simulator, "/v1/other?a=1&b", &headers, b"\x00\xFFabc", 0);
    let answer = value(&reply);
    assert_eq!((&answer["method"], &answer["path"]), (&json!("POST"), &json!("/v1/other")));
    assert_eq!((&answer["query"], &answer["bytes"]), (&json!("a=1&b"), &json!(5)));
    assert_eq!(answer["headers"][0], json!(["X-Custom", "vä"]));
    assert!(answer["headers"][1][1].as_str().unwrap().starts_with("sha256:"));
    assert!(!String::from_utf8_lossy(whole(&reply)).contains("secret"));
    let empty = value(&post(&simulator, "/x", &[], b"", 0));
    assert_eq!(empty["sha256"], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    let silent = self::simulator(json!({"echo":false}));
    assert_eq!(post(&silent, "/v1/other", &[], b"", 0).status, 404);
}

#[test]
fn the_lesser_endpoints_answer_in_kind() {
    let simulator = simulator(json!({"models":["a","b"]}));
    let models = value(&get(&simulator, "/v1/models", &[]));
    assert_eq!((&models["object"], &models["data"][1]["id"]), (&json!("list"), &json!("b")));
    let models = value(&get(&simulator, "/v1/models", &[("anthropic-version", b"2023-06-01")]));
    assert_eq!((&models["last_id"], &models["data"][0]["type"]), (&json!("b"), &json!("model")));
    assert_eq!(value(&get(&simulator, "/v1beta/models", &[]))["models"][0]["name"], "models/a");
    assert_eq!(value(&get(&simulator, "/v1/models/a", &[]))["owned_by"], "simulated");

    let count = json!({"model":"m","messages":[{"role":"user","content":"x".repeat(400)}]}).to_string();
    let answer = value(&post(&simulator, "/v1/messages/count_tokens", &[], count.as_bytes(), 0));
    assert_eq!(answer, json!({"input_tokens":100}));

    let form =
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n12345\r\n--b--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    let file = value(&post(&simulator, "/v1/files", &kind, form, 0));
    assert_eq!((&file["bytes"], &file["filename"]), (&json!(5), &json!("a.bin")));
    let text = value(&post(&simulator, "/v1/audio/transcriptions", &kind, form, 0));
    assert!(!text["text"].as_str().unwrap().is_empty());

    let speech = post(&simulator, "/v1/audio/speech", &[], br#"{"input":"12345678"}"#, 0);
    assert_eq!((header(&speech, "content-type"), whole(&speech).len()), (Some("audio/mpeg"), 1024));
    let image = value(&post(&simulator, "/v1/images/generations", &[], br#"{"n":2}"#, 0));
    assert!(image["data"][1]["b64_json"].as_str().unwrap().starts_with("iVBORw0KGgo"));
    assert_eq!(value(&post(&simulator, "/v1/batches", &[], b"{}", 0))["object"], "batch");
}

#[test]
fn the_head_carries_what_each_provider_sends() {
    let simulator = simulator(json!({}));
    let [chat, _, messages, _] = plain(true);
    let reply = post(&simulator, chat.0, &[], chat.1.to_string().as_bytes(), 0);
    for name in ["x-request-id", "openai-processing-ms", "x-ratelimit-remaining-tokens"] {
        assert!(header(&reply, name).is_some(), "{name}");
    }
    assert_eq!(header(&reply, "content-type"), Some("text/event-stream; charset=utf-8"));
    let reply = post(&simulator, messages.0, &[], messages.1.to_string().as_bytes(), 0);
    assert_eq!(header(&reply, "anthropic-ratelimit-tokens-reset"), Some("2025-06-15T15:06:40Z"));
    assert!(header(&reply, "request-id").unwrap().starts_with("req_sim"));
}

#[test]
fn a_gemini_stream_without_sse_is_one_array() {
    let simulator = simulator(json!({"outputTokens":7}));
    let (_, body) = plain(true)[3].clone();
    let reply = post(&simulator, STREAM, &[], body.to_string().as_bytes(), 0);
    assert_eq!(header(&reply, "content-type"), Some("application/json; charset=UTF-8"));
    let played = play(reply);
    let items: Vec<Value> = serde_json::from_str(&played.text()).unwrap();
    assert_eq!(items.len(), 8);
    assert_eq!(items[7]["candidates"][0]["finishReason"], "STOP");
    assert_eq!(items[7]["usageMetadata"]["candidatesTokenCount"], 7);
    let script = r#"{"midStreamError":{"afterEvents":2}}"#;
    let played = play(post(&simulator, STREAM, &[("x-simulate", script)], body.to_string().as_bytes(), 0));
    let items: Vec<Value> = serde_json::from_str(&played.text()).unwrap();
    assert_eq!(items[2]["error"]["status"], "UNAVAILABLE");
}

/// A body made of what the dialects' bodies are made of, put together at random.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "model",
        "messages",
        "input",
        "contents",
        "role",
        "content",
        "type",
        "text",
        "tools",
        "tool_choice",
        "name",
        "function",
        "parameters",
        "input_schema",
        "max_tokens",
        "n",
        "stream",
        "stop",
        "thinking",
        "reasoning",
        "response_format",
        "json_schema",
        "schema",
        "properties",
        "items",
        "enum",
        "required",
        "minimum",
        "maximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "minLength",
        "anyOf",
        "allOf",
        "$ref",
        "generationConfig",
        "parts",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "#",
            "#/properties",
            "object",
            "array",
            "integer",
            "function",
            "m",
            "日本"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_is_too_strange(
        base in 0usize..5, change in any_json(), noise in prop::collection::vec(any::<u8>(), 0..60),
        script in "[{}:,\"a-zA-Z0-9\\[\\]]{0,20}", number in any::<u64>(),
    ) {
        let simulator = simulator(json!({"outputTokens":6,"toolCalls":1,"toolCallCount":2}));
        let mut bodies = plain(true).to_vec();
        bodies.push(("/v1/embeddings", json!({"model":"m","input":"x","dimensions":4})));
        let (path, mut body) = bodies[base].clone();
        if let Some(change) = change.as_object() {
            for (key, value) in change {
                body[key] = value.clone();
            }
        }
        body["tools"] = json!([{"name":"f","input_schema":change,"parameters":change}]);
        for body in [body.to_string().into_bytes(), change.to_string().into_bytes(), noise.clone()] {
            let reply = post(&simulator, path, &[], &body, number);
            if let SimBody::Stream(_) = reply.body {
                play(reply);
            } else {
                prop_assert!(reply.status == 200 || reply.status == 400);
            }
            post(&simulator, path, &[("x-simulate", &script)], &body, number);
            post(&simulator, "/v1/files", &[("content-type", "multipart/form-data; boundary=-")], &body, number);
            post(&simulator, "/v1/audio/speech", &[], &body, number);
            post(&simulator, "/v1beta/models/m:batchEmbedContents", &[], &body, number);
        }
    }

    #[test]
    fn no_settings_are_too_strange(ttft in any::<u64>(), speed in any::<f64>(), jitter in any::<f64>(),
        min in any::<u64>(), max in any::<u64>(), chunk in any::<u64>(), cached in any::<u64>(), rate in any::<f64>(),
    ) {
        let settings = SimulatedSettings {
            ttft_ms: ttft, tokens_per_second: speed, jitter, chunk_tokens: chunk.max(1_000), tool_calls: rate,
            output_tokens: TokenCount { min, max }, thinking_tokens: min, cached_input_tokens: cached,
            cache_write_input_tokens: max, input_tokens: Some(min), error_rate: rate, reset_rate: rate,
            error_status: Statuses(vec![]), reasoning_tokens: Some(max), ..SimulatedSettings::default()
        };
        let simulator = Simulator::new(settings);
        for (path, mut body) in plain(true) {
            body["max_tokens"] = json!(max);
            let reply = post(&simulator, path, &[], body.to_string().as_bytes(), 1);
            if let SimBody::Stream(mut plan) = reply.body {
                let mut buffer = Vec::new();
                for _ in 0..50 {
                    plan.next(&mut buffer);
                }
            }
        }
    }
}
