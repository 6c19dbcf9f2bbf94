//! Pictures and sounds that a model answers with, through every pair: said where the client's dialect has a place, else
//! named in its text.

use serde_json::{Value, json};

use super::context::{ClientContext, Ids, Undo};
use super::ir::Vendor;
use super::translate::{Pair, StreamTranslation};
use super::{Dialect, ProofKey};

const CLIENTS: [Dialect; 4] =
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];
/// The first bytes of a PNG file.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";

fn client() -> ClientContext {
    ClientContext {
        model: "asked".to_owned(),
        unix_seconds: 17,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: ProofKey::new(&[7; 32]),
    }
}

/// What a client reads: texts and pictures, in order.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Picture(String),
}

fn push(seen: &mut Vec<Seen>, text: &str) {
    match seen.last_mut() {
        _ if text.is_empty() => {}
        Some(Seen::Text(last)) => last.push_str(text),
        _ => seen.push(Seen::Text(text.to_owned())),
    }
}

fn picture(seen: &mut Vec<Seen>, data: &Value) {
    let data = data.as_str().unwrap();
    seen.push(Seen::Picture(data.strip_prefix("data:image/png;base64,").unwrap_or(data).to_owned()));
}

fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn whole(dialect: Dialect, answer: &Value) -> Vec<Seen> {
    let mut seen = Vec::new();
    match dialect {
        Dialect::OpenAiChat => {
            let message = &answer["choices"][0]["message"];
            push(&mut seen, text(&message["content"]));
            items(&message["images"]).iter().for_each(|image| picture(&mut seen, &image["image_url"]["url"]));
        }
        Dialect::OpenAiResponses => {
            for item in items(&answer["output"]) {
                items(&item["content"]).iter().for_each(|part| push(&mut seen, text(&part["text"])));
                if item["type"] == "image_generation_call" {
                    assert_eq!(item["status"], "completed");
                    picture(&mut seen, &item["result"]);
                }
            }
        }
        Dialect::AnthropicMessages => {
            items(&answer["content"]).iter().for_each(|block| push(&mut seen, text(&block["text"])));
        }
        Dialect::Gemini => chunk(answer, &mut seen),
    }
    seen
}

fn chunk(answer: &Value, seen: &mut Vec<Seen>) {
    for part in items(&answer["candidates"][0]["content"]["parts"]) {
        push(seen, text(&part["text"]));
        if part["inlineData"]["mimeType"] == "image/png" {
            picture(seen, &part["inlineData"]["data"]);
        }
    }
}

fn streamed(dialect: Dialect, events: &[Value]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for event in events {
        match dialect {
            Dialect::OpenAiChat => {
                let delta = &event["choices"][0]["delta"];
                push(&mut seen, text(&delta["content"]));
                items(&delta["images"])
                    .iter()
                    .for_each(|image| picture(&mut seen, &image["image_url"]["url"]));
            }
            Dialect::OpenAiResponses if event["type"] == "response.completed" => {
                assert_eq!(whole(dialect, &event["response"]), seen, "the end repeats it");
            }
            Dialect::OpenAiResponses => {
                push(&mut seen, text(&event["delta"]));
                if event["type"] == "response.output_item.done" && !event["item"]["result"].is_null() {
                    picture(&mut seen, &event["item"]["result"]);
                }
            }
            Dialect::AnthropicMessages => push(&mut seen, text(&event["delta"]["text"])),
            Dialect::Gemini => chunk(event, &mut seen),
        }
    }
    seen
}

/// What clients of each dialect read of a picture between two texts, and of a sound at the end.
fn expected(dialect: Dialect, is_stream: bool) -> Vec<Seen> {
    let said = |text: &str| Seen::Text(text.to_owned());
    let shown = || Seen::Picture(PNG.to_owned());
    let sound = "[audio/wav: left out, this API has no place for it]";
    match dialect {
        // The message of a whole answer has one text.
        Dialect::OpenAiChat if !is_stream => vec![said(&format!("Look:There.{sound}")), shown()],
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            vec![said("Look:"), shown(), said(&format!("There.{sound}"))]
        }
        Dialect::AnthropicMessages => {
            vec![said(&format!("Look:[image/png: left out, this API has no place for it]There.{sound}"))]
        }
        Dialect::Gemini => vec![said("Look:"), shown(), said("There.")],
    }
}

#[test]
fn what_gemini_shows_is_seen_or_named() {
    let parts = [
        json!({"text": "Look:"}),
        json!({"inlineData": {"mimeType": "image/png", "data": PNG}}),
        json!({"text": "There."}),
        json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}),
    ];
    for to in CLIENTS.into_iter().filter(|to| *to != Dialect::Gemini) {
        let pair = Pair { from: Dialect::Gemini, vendor: Vendor::Google, to };
        let body = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});
        let (mut client_of, mut out) = (client(), Vec::new());
        pair.answer(&[], body.to_string().as_bytes(), &Undo::default(), &mut client_of, &mut out).unwrap();
        assert_eq!(whole(to, &serde_json::from_slice(&out).unwrap()), expected(to, false), "{to:?}");

        let mut stream = StreamTranslation::new(pair, Undo::default(), client(), Ids::new(2), false);
        let mut out = Vec::new();
        for part in &parts {
            let chunk = json!({"candidates": [{"index": 0, "content": {"parts": [part]}}]});
            stream.feed(format!("data: {chunk}\n\n").as_bytes(), &mut out);
        }
        stream.feed(b"data: {\"candidates\":[{\"index\":0,\"finishReason\":\"STOP\"}]}\n\n", &mut out);
        stream.finish(&mut out);
        assert!(stream.failure().is_none());
        assert_eq!(streamed(to, &events(&out)), expected(to, true), "{to:?}");
    }
}

#[test]
fn what_openrouter_shows_is_seen_or_named() {
    let image = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}});
    for to in CLIENTS.into_iter().filter(|to| *to != Dialect::OpenAiChat) {
        let pair = Pair { from: Dialect::OpenAiChat, vendor: Vendor::Other, to };
        let mut stream = StreamTranslation::new(pair, Undo::default(), client(), Ids::new(2), false);
        let mut out = Vec::new();
        for (delta, finish) in [
            (json!({"content": "Look:"}), Value::Null),
            (json!({"content": "", "images": [image]}), Value::Null),
            (json!({"content": "There."}), "stop".into()),
        ] {
            let chunk =
                json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            stream.feed(format!("data: {chunk}\n\n").as_bytes(), &mut out);
        }
        stream.feed(b"data: [DONE]\n\n", &mut out);
        let mut expected = expected(to, true);
        if let Some(Seen::Text(last)) = expected.last_mut() {
            *last = last.replace("[audio/wav: left out, this API has no place for it]", "");
        }
        assert_eq!(streamed(to, &events(&out)), expected, "{to:?}");
    }
}

fn events(out: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(out).unwrap().lines();
    lines
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

#[test]
fn a_conversation_with_a_picture_goes_on_where_it_can() {
    use super::context::TargetModel;
    use super::translate::Ask;
    let body = json!({"model": "m", "input": [
        {"role": "user", "content": "Draw."},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG},
        {"role": "user", "content": "Larger."}]})
    .to_string();
    let proofs = ProofKey::new(&[7; 32]);
    let ask = Ask {
        dialect: Dialect::OpenAiResponses,
        body: body.as_bytes(),
        stream: false,
        proofs: &proofs,
        strict: true,
        media: &[],
    };
    let target = |name, vendor| TargetModel {
        name,
        vendor,
        token_limit_param: "max_tokens",
        output_tokens_default: 100,
        reasoning_field: None,
    };
    let mut out = Vec::new();
    ask.translate(Dialect::Gemini, &target("gemini-2.5-flash-image", Vendor::Google), &mut out).unwrap();
    let out: Value = serde_json::from_slice(&out).unwrap();
    let part = json!({"inlineData": {"mimeType": "image/png", "data": PNG}});
    assert_eq!(out["contents"][1], json!({"role": "model", "parts": [part]}));
    for (dialect, vendor) in
        [(Dialect::OpenAiChat, Vendor::OpenAi), (Dialect::AnthropicMessages, Vendor::Anthropic)]
    {
        let refused = ask.translate(dialect, &target("claude-sonnet-4-5", vendor), &mut Vec::new());
        assert_eq!(refused.unwrap_err().field, "assistant_image");
    }
}
