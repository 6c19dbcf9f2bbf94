//! Embeddings: unit vectors that depend on the text and nothing else.
//!
//! Owns the vectors and the two shapes they are sent in, OpenAI's and Gemini's. The same text gives the same vector
//! under any seed and request number, so that an index built on one run is found again on the next.
//!
//! Source: OpenAI API reference, "Embeddings"; Gemini API reference, "embedContent".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::errors::Refusal;
use super::pen::Pen;
use super::random::{Random, mix};
use super::settings::SimulatedSettings;
use crate::dialect::Dialect;
use crate::limits::{SIMULATED_DIMENSIONS_MAX, SIMULATED_EMBEDDING_INPUTS_MAX};

#[derive(Deserialize)]
struct Body {
    model: Option<String>,
    input: Option<Input>,
    dimensions: Option<u64>,
    encoding_format: Option<String>,
}

/// What is to be embedded: texts, or texts that the client has cut into tokens.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u64>),
    TokenLists(Vec<Vec<u64>>),
}

/// One input: what its vector depends on, and its tokens.
struct Item {
    seed: u64,
    tokens: u64,
}

impl Item {
    fn text(text: &str) -> Self {
        Self {
            seed: hash(text.bytes().map(u64::from)),
            tokens: (text.chars().count() as u64).div_ceil(4).max(1),
        }
    }

    fn tokens(tokens: &[u64]) -> Self {
        Self { seed: hash(tokens.iter().copied()), tokens: tokens.len() as u64 }
    }
}

fn hash(items: impl Iterator<Item = u64>) -> u64 {
    items.fold(0, |state, item| mix(state ^ item.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// The vector of one input, its Euclidean length 1.
fn vector(item: &Item, dimensions: u64) -> Vec<f32> {
    let mut random = Random::new(item.seed, 0);
    let mut vector: Vec<f32> = (0..dimensions.max(1)).map(|_| (random.unit() * 2.0 - 1.0) as f32).collect();
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    for x in &mut vector {
        *x = if length > 0.0 { (f64::from(*x) / length) as f32 } else { 0.0 };
    }
    vector
}

fn write_vector(pen: &mut Pen<'_>, vector: &[f32]) {
    pen.raw("[").list(vector, |pen, x| {
        pen.raw(&x.to_string());
    });
    pen.raw("]");
}

fn dimensions(asked: Option<u64>, settings: &SimulatedSettings) -> Result<u64, Refusal> {
    match asked {
        None => Ok(settings.embedding_dimensions.clamp(1, SIMULATED_DIMENSIONS_MAX)),
        Some(dimensions @ 1..=SIMULATED_DIMENSIONS_MAX) => Ok(dimensions),
        Some(other) => {
            Err(Refusal::bad_request("dimensions", format!("Invalid value for 'dimensions': {other}.")))
        }
    }
}

/// The answer to `POST /v1/embeddings` and its input tokens.
pub(super) fn openai(settings: &SimulatedSettings, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| Refusal::json(Dialect::OpenAiChat, &error))?;
    let model = body.model.ok_or_else(|| Refusal::missing(Dialect::OpenAiChat, "model"))?;
    let input = body.input.ok_or_else(|| Refusal::missing(Dialect::OpenAiChat, "input"))?;
    let items: Vec<Item> = match &input {
        Input::Text(text) => vec![Item::text(text)],
        Input::Texts(texts) => texts.iter().map(|text| Item::text(text)).collect(),
        Input::Tokens(tokens) => vec![Item::tokens(tokens)],
        Input::TokenLists(lists) => lists.iter().map(|tokens| Item::tokens(tokens)).collect(),
    };
    if items.is_empty() || items.len() > SIMULATED_EMBEDDING_INPUTS_MAX {
        let text = format!("Invalid 'input': expected 1 to {SIMULATED_EMBEDDING_INPUTS_MAX} inputs.");
        return Err(Refusal::bad_request("input", text));
    }
    let dimensions = dimensions(body.dimensions, settings)?;
    let base64 = body.encoding_format.as_deref() == Some("base64");
    let tokens = settings.input_tokens.unwrap_or_else(|| items.iter().map(|item| item.tokens).sum());
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    pen.raw(r#"{"object":"list","data":["#);
    pen.list(items.iter().enumerate(), |pen, (index, item)| {
        pen.raw(r#"{"object":"embedding","index":"#).num(index as u64).raw(r#","embedding":"#);
        let vector = vector(item, dimensions);
        if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            pen.text(&STANDARD.encode(bytes));
        } else {
            write_vector(pen, &vector);
        }
        pen.raw("}");
    });
    pen.raw(r#"],"model":"#).text(&model).raw(r#","usage":{"prompt_tokens":"#).num(tokens);
    pen.raw(r#","total_tokens":"#).num(tokens).raw("}}");
    Ok(out)
}

/// The answer to Gemini's `embedContent` or `batchEmbedContents`.
pub(super) fn gemini(settings: &SimulatedSettings, body: &[u8], batch: bool) -> Result<Vec<u8>, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Refusal::json(Dialect::Gemini, &error))?;
    let one = std::slice::from_ref(&body);
    let requests = if batch {
        body.get("requests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
    } else {
        one
    };
    if requests.is_empty() || requests.len() > SIMULATED_EMBEDDING_INPUTS_MAX {
        return Err(Refusal::bad_request(
            "requests",
            "* requests: 1 to 2048 requests are expected\n".to_owned(),
        ));
    }
    let mut vectors = Vec::with_capacity(requests.len());
    for request in requests {
        let parts = request.get("content").and_then(|content| content.get("parts")).and_then(Value::as_array);
        let Some(parts) = parts else {
            let text = "* EmbedContentRequest.content: contents is not specified\n";
            return Err(Refusal::bad_request("content", text.to_owned()));
        };
        let texts: Vec<&str> =
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
        let asked = request.get("outputDimensionality").and_then(Value::as_u64);
        vectors.push(vector(&Item::text(&texts.join("\n")), dimensions(asked, settings)?));
    }
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    pen.raw(if batch { "{\"embeddings\": [" } else { "{\"embedding\": " });
    pen.list(&vectors, |pen, vector| {
        pen.raw("{\"values\": ").with(|pen| write_vector(pen, vector)).raw("}");
    });
    pen.raw(if batch { "]}" } else { "}" });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Value {
        serde_json::from_slice(&openai(&SimulatedSettings::default(), body.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn vectors_have_length_one_and_follow_the_text() {
        let two = read(r#"{"model":"m","input":["one","two"],"dimensions":64}"#);
        let numbers = |value: &Value| -> Vec<f64> {
            value["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let first = numbers(&two["data"][0]);
        assert_eq!(first.len(), 64);
        assert!((first.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
        assert_ne!(first, numbers(&two["data"][1]));
        assert_eq!(first, numbers(&read(r#"{"model":"m","input":"one","dimensions":64}"#)["data"][0]));
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let plain = read(r#"{"model":"m","input":"one","dimensions":8}"#);
        let coded = read(r#"{"model":"m","input":"one","dimensions":8,"encoding_format":"base64"}"#);
        let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
        let listed: Vec<f32> = plain["data"][0]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap() as f32)
            .collect();
        assert_eq!(decoded, listed);
    }

    #[test]
    fn inputs_of_every_kind_are_taken_and_others_refused() {
        for (body, count) in [
            (r#"{"model":"m","input":[1,2,3]}"#, 1),
            (r#"{"model":"m","input":[[1,2],[3]]}"#, 2),
            (r#"{"model":"m","input":["a"]}"#, 1),
        ] {
            assert_eq!(read(body)["data"].as_array().unwrap().len(), count, "{body}");
        }
        let bad = [
            r#"{"model":"m"}"#,
            r#"{"input":"x"}"#,
            r#"{"model":"m","input":{}}"#,
            "x",
            r#"{"model":"m","input":[]}"#,
            r#"{"model":"m","input":"x","dimensions":0}"#,
        ];
        for body in bad {
            let refusal = openai(&SimulatedSettings::default(), body.as_bytes()).unwrap_err();
            assert_eq!(refusal.status, 400, "{body}");
        }
    }
}
