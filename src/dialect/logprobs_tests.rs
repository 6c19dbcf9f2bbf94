//! Log probabilities through the six pairs of dialects that have them.

use serde_json::{Value, json};

use super::ProofKey;
use super::context::{ClientContext, Ids, TargetModel, Undo};
use super::translate::{Ask, Pair, StreamTranslation};
use super::{Dialect, ir::Vendor};

const DIALECTS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini];

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    let all = DIALECTS.into_iter().flat_map(|from| DIALECTS.into_iter().map(move |to| (from, to)));
    all.filter(|(from, to)| from != to)
}

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

/// Token, log probability, and the same of the likeliest ones.
type Told = Vec<(String, f64, Vec<(String, f64)>)>;

fn said() -> Told {
    let chance = |token: &str, logprob| (token.to_owned(), logprob);
    vec![
        ("Hé".to_owned(), -0.25, vec![chance("Hé", -0.25), chance("\"", -2.0)]),
        (" you".to_owned(), -0.75, vec![chance(" me", -0.5), chance(" you", -0.75)]),
    ]
}

/// The tokens as a provider or client of `dialect` has them.
fn written(dialect: Dialect, tokens: &Told) -> Value {
    let openai = |(token, logprob): (&str, f64)| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let google = |(token, logprob): (&str, f64)| json!({"token": token, "logProbability": logprob});
    let all = |top: &[(String, f64)], write: &dyn Fn((&str, f64)) -> Value| -> Vec<Value> {
        top.iter().map(|(token, logprob)| write((token, *logprob))).collect()
    };
    let list: Vec<Value> = tokens
        .iter()
        .map(|(token, logprob, top)| {
            let mut one = openai((token, *logprob));
            one["top_logprobs"] = all(top, &openai).into();
            one
        })
        .collect();
    match dialect {
        Dialect::OpenAiChat => json!({"content": list, "refusal": null}),
        Dialect::OpenAiResponses => list.into(),
        _ => {
            let top: Vec<Value> =
                tokens.iter().map(|(.., top)| json!({"candidates": all(top, &google)})).collect();
            let chosen: Vec<Value> =
                tokens.iter().map(|(token, logprob, _)| google((token, *logprob))).collect();
            json!({"topCandidates": top, "chosenCandidates": chosen})
        }
    }
}

fn read(dialect: Dialect, value: &Value) -> Told {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let chance = |value: &Value, name: &str| {
        (value["token"].as_str().unwrap().to_owned(), value[name].as_f64().unwrap())
    };
    let openai = |list: &Value| -> Told {
        let one = |value: &Value| {
            let (token, logprob) = chance(value, "logprob");
            assert_eq!(value["bytes"], json!(token.as_bytes()));
            (token, logprob, items(&value["top_logprobs"]).iter().map(|top| chance(top, "logprob")).collect())
        };
        items(list).iter().map(one).collect()
    };
    match dialect {
        Dialect::OpenAiChat => openai(&value["content"]),
        Dialect::OpenAiResponses => openai(value),
        _ => {
            let places = items(&value["topCandidates"]);
            let tokens = items(&value["chosenCandidates"]);
            let all = tokens.iter().zip(&places).map(|(token, place)| {
                let (token, logprob) = chance(token, "logProbability");
                let top = items(&place["candidates"]);
                (token, logprob, top.iter().map(|top| chance(top, "logProbability")).collect())
            });
            all.collect()
        }
    }
}

#[test]
fn they_are_asked_for_in_every_dialect_that_has_them() {
    let target = TargetModel {
        name: "gpt-4.1",
        vendor: Vendor::OpenAi,
        token_limit_param: "max_tokens",
        output_tokens_default: 100,
        reasoning_field: None,
    };
    let proofs = ProofKey::new(&[7; 32]);
    let body = |dialect| match dialect {
        Dialect::OpenAiChat => {
            json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "logprobs": true, "top_logprobs": 2})
        }
        Dialect::OpenAiResponses => {
            json!({"model": "m", "input": "x", "top_logprobs": 2, "include": ["message.output_text.logprobs"]})
        }
        _ => json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}],
            "generationConfig": {"responseLogprobs": true, "logprobs": 2}}),
    };
    for (from, to) in pairs() {
        let (asked, mut out) = (body(from).to_string(), Vec::new());
        let ask = Ask {
            dialect: from,
            body: asked.as_bytes(),
            stream: false,
            proofs: &proofs,
            strict: true,
            media: &[],
        };
        ask.translate(to, &target, &mut out).unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        let expected = body(to);
        for name in ["logprobs", "top_logprobs", "include", "generationConfig"] {
            assert_eq!(out[name], expected[name], "{from:?} {to:?} {name}");
        }
        let refused = ask.translate(Dialect::AnthropicMessages, &target, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.field, "logprobs");
    }
}

#[test]
fn a_whole_answer_has_them() {
    for (from, to) in pairs() {
        let tokens = written(from, &said());
        let body = match from {
            Dialect::OpenAiChat => json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hé you"}, "logprobs": tokens}]}),
            Dialect::OpenAiResponses => {
                json!({"id": "r", "status": "completed", "output": [{"type": "message",
                "content": [{"type": "output_text", "text": "Hé you", "annotations": [], "logprobs": tokens}]}]})
            }
            _ => {
                json!({"candidates": [{"finishReason": "STOP", "logprobsResult": tokens, "avgLogprobs": -0.5,
                "content": {"parts": [{"text": "Hé you"}]}}]})
            }
        };
        let (mut client, mut out) = (client(), Vec::new());
        let pair = Pair { from, vendor: Vendor::Other, to };
        pair.answer(&[], body.to_string().as_bytes(), &Undo::default(), &mut client, &mut out).unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        let found = match to {
            Dialect::OpenAiChat => &out["choices"][0]["logprobs"],
            Dialect::OpenAiResponses => &out["output"][0]["content"][0]["logprobs"],
            _ => {
                assert_eq!(out["candidates"][0]["avgLogprobs"], -0.5);
                &out["candidates"][0]["logprobsResult"]
            }
        };
        assert_eq!(read(to, found), said(), "{from:?} {to:?} {out}");
    }
}

#[test]
fn a_stream_has_them_beside_their_text() {
    for (from, to) in pairs() {
        let mut stream = StreamTranslation::new(
            Pair { from, vendor: Vendor::Other, to },
            Undo::default(),
            client(),
            Ids::new(2),
            false,
        );
        let mut out = Vec::new();
        let mut feed = |event: Value| stream.feed(format!("data: {event}\n\n").as_bytes(), &mut out);
        for token in &said() {
            let tokens = written(from, &vec![token.clone()]);
            feed(match from {
                Dialect::OpenAiChat => json!({"id": "c", "choices": [{"index": 0, "logprobs": tokens,
                    "delta": {"content": token.0}}]}),
                Dialect::OpenAiResponses => json!({"type": "response.output_text.delta", "output_index": 0,
                    "content_index": 0, "delta": token.0, "logprobs": tokens}),
                _ => json!({"candidates": [{"index": 0, "content": {"parts": [{"text": token.0}]},
                    "logprobsResult": tokens}]}),
            });
        }
        match from {
            Dialect::OpenAiChat => {
                feed(json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
            }
            Dialect::OpenAiResponses => {
                // What the end of the part repeats is not said twice.
                feed(
                    json!({"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part":
                    {"type": "output_text", "text": "Hé you", "logprobs": written(from, &said())}}),
                );
                feed(
                    json!({"type": "response.completed", "response": {"status": "completed", "output": []}}),
                );
            }
            _ => {
                feed(json!({"candidates": [{"index": 0, "content": {"parts": []}, "finishReason": "STOP"}]}))
            }
        }
        stream.feed(b"data: [DONE]\n\n", &mut out);
        stream.finish(&mut out);
        let text = String::from_utf8(out).unwrap();
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = events.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let mut told = Told::new();
        for event in &events {
            let (piece, tokens) = match to {
                Dialect::OpenAiChat => {
                    (&event["choices"][0]["delta"]["content"], &event["choices"][0]["logprobs"])
                }
                Dialect::OpenAiResponses if event["type"] == "response.output_text.delta" => {
                    (&event["delta"], &event["logprobs"])
                }
                Dialect::OpenAiResponses => continue,
                _ => (
                    &event["candidates"][0]["content"]["parts"][0]["text"],
                    &event["candidates"][0]["logprobsResult"],
                ),
            };
            let tokens = read(to, tokens);
            let joined: String = tokens.iter().map(|(token, ..)| token.as_str()).collect();
            assert_eq!(joined, piece.as_str().unwrap_or_default(), "{from:?} {to:?} {text}");
            told.extend(tokens);
        }
        assert_eq!(told, said(), "{from:?} {to:?} {text}");
        match to {
            Dialect::OpenAiResponses => {
                let done = events.iter().find(|event| event["type"] == "response.output_text.done").unwrap();
                assert_eq!(read(to, &done["logprobs"]), said());
                let last = &events.last().unwrap()["response"]["output"][0]["content"][0];
                assert_eq!(read(to, &last["logprobs"]), said());
            }
            Dialect::Gemini => assert_eq!(events.last().unwrap()["candidates"][0]["avgLogprobs"], -0.5),
            _ => {}
        }
    }
}

#[test]
fn those_of_a_refusal_stand_beside_it() {
    let refused = written(Dialect::OpenAiResponses, &said());
    let body = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": null, "refusal": "No"}, "logprobs": {"content": null, "refusal": refused}}]});
    let (mut client, mut out) = (client(), Vec::new());
    let pair = Pair { from: Dialect::OpenAiChat, vendor: Vendor::Other, to: Dialect::Gemini };
    pair.answer(&[], body.to_string().as_bytes(), &Undo::default(), &mut client, &mut out).unwrap();
    let out: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(read(Dialect::Gemini, &out["candidates"][0]["logprobsResult"]), said());
}
