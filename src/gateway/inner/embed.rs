//! Texts to vectors, in the three shapes that providers have for it.
//!
//! Sources: OpenAI API reference, "Create embeddings"; Ollama API, "Generate embeddings" (`/api/embed`); Gemini API
//! reference, `models.batchEmbedContents`.

use super::Asking;
use crate::dialect::Dialect;
use crate::dialect::Usage;
use crate::gateway::ledger::Ending;
use crate::gateway::translated;
use crate::json::token::Kind;
use crate::json::{scan, write};
use crate::limits::{EMBEDDED_TEXT_BYTES_MAX, EMBEDDED_TEXTS_MAX, EMBEDDING_DIMENSIONS_MAX};
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::snapshot::Target;
use crate::telemetry::labels::{EndedBy, Endpoint, Outcome};
use crate::telemetry::text::clip;

/// How a provider takes texts and gives vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{"input":[…]}` to `{"data":[{"embedding":[…]}]}`
    OpenAi,
    /// `{"input":[…]}` to `{"embeddings":[[…]]}`
    Ollama,
    /// `{"requests":[…]}` to `{"embeddings":[{"values":[…]}]}`
    Gemini,
}

impl Shape {
    fn of(target: &Target) -> Self {
        if target.speaks(Dialect::Gemini) {
            Self::Gemini
        } else if target.model.provider.embeddings_path.is_some() {
            Self::Ollama
        } else {
            Self::OpenAi
        }
    }

    fn call(self) -> Call {
        match self {
            Self::OpenAi => Call::Embeddings,
            Self::Ollama => Call::OwnEmbeddings,
            Self::Gemini => Call::GeminiEmbeddings,
        }
    }

    fn write(self, model: &str, texts: &[&str], out: &mut Vec<u8>) {
        let clipped = texts.iter().map(|text| clip(text, EMBEDDED_TEXT_BYTES_MAX));
        write::object(out, |root| match self {
            Self::OpenAi | Self::Ollama => {
                root.plain("model", model);
                root.array("input", |input| clipped.for_each(|text| input.plain(text)));
            }
            Self::Gemini => {
                let model = format!("models/{model}");
                root.array("requests", |requests| {
                    for text in clipped {
                        requests.object(|request| {
                            request.plain("model", &model);
                            request.object("content", |content| {
                                content.array("parts", |parts| parts.object(|part| part.plain("text", text)));
                            });
                        });
                    }
                });
            }
        });
    }

    /// The vectors of an answer in the order of the texts, and its usage.
    fn read(self, body: &[u8]) -> Option<(Vec<Vec<f32>>, Option<Usage>)> {
        let (list, within) = match self {
            Self::OpenAi => ("data", Some("embedding")),
            Self::Ollama => ("embeddings", None),
            Self::Gemini => ("embeddings", Some("values")),
        };
        let list = scan::member(body, list)?;
        let mut vectors = Vec::new();
        scan::elements(list.raw, |element| {
            let place = match self {
                Self::OpenAi => scan::member(element.raw, "index").and_then(|index| index.as_count()),
                Self::Ollama | Self::Gemini => None,
            };
            let numbers = match within {
                Some(name) => scan::member(element.raw, name).map(|numbers| numbers.raw),
                None => Some(element.raw),
            };
            let place = place.unwrap_or(vectors.len() as u64);
            vectors.push((place, numbers.and_then(read_vector)));
        })
        .ok()?;
        vectors.sort_by_key(|(place, _)| *place);
        let vectors = vectors.into_iter().map(|(_, vector)| vector).collect::<Option<Vec<_>>>()?;
        let input = match self {
            Self::OpenAi => {
                scan::member(body, "usage").and_then(|usage| scan::member(usage.raw, "prompt_tokens"))
            }
            Self::Ollama => scan::member(body, "prompt_eval_count"),
            Self::Gemini => None,
        };
        let input = input.and_then(|input| input.as_count());
        Some((vectors, input.map(|input| Usage { input, ..Usage::default() })))
    }
}

/// The numbers of an array. `None`: it is none, has none or too many, or one that is not finite.
fn read_vector(raw: &[u8]) -> Option<Vec<f32>> {
    let mut numbers = Vec::new();
    let mut sound = true;
    scan::elements(raw, |number| {
        let read = std::str::from_utf8(number.raw).ok().filter(|_| number.kind == Kind::Number);
        match read.and_then(|text| text.parse::<f32>().ok()).filter(|number| number.is_finite()) {
            Some(number) if numbers.len() < EMBEDDING_DIMENSIONS_MAX => numbers.push(number),
            _ => sound = false,
        }
    })
    .ok()?;
    (sound && !numbers.is_empty()).then_some(numbers)
}

impl Asking<'_> {
    /// The vectors of `texts` by the model whose turn it is, in their order and all of one length. As the provider gives them:
    /// not normalised.
    ///
    /// # Errors
    /// A limit without room, no connection, no answer in time, an answer that is an error or has not a vector for each text.
    pub(in crate::gateway) async fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, GatewayError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for part in texts.chunks(EMBEDDED_TEXTS_MAX) {
            vectors.extend(self.embed_part(part).await?);
        }
        let same = vectors.windows(2).all(|pair| pair[0].len() == pair[1].len());
        if same { Ok(vectors) } else { Err(malformed("vectors of different lengths")) }
    }

    async fn embed_part(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, GatewayError> {
        let (turn, target) = self.turn()?;
        let shape = Shape::of(target);
        let text_bytes: usize = texts.iter().map(|text| text.len().min(EMBEDDED_TEXT_BYTES_MAX)).sum();
        let mut body = Vec::with_capacity(text_bytes + 64 * (texts.len() + 1));
        shape.write(&target.model.upstream_model, texts, &mut body);
        let mut ledger = self.caller.books(Endpoint::Embeddings, text_bytes);
        ledger.admit(&body, None)?;
        ledger.choose(turn.index, target)?;
        let dialect = translated::dialect_of(target).unwrap_or(Dialect::OpenAiChat);
        let answered = self.post(&mut ledger, shape.call(), dialect, &body).await?;
        let failed = if (200..300).contains(&answered.status) {
            match shape.read(&answered.body) {
                Some((vectors, usage)) if vectors.len() == texts.len() => {
                    ledger.settle_embedded(usage);
                    return Ok(vectors);
                }
                Some((vectors, _)) => format!("{} vectors for {} texts", vectors.len(), texts.len()),
                None => "no vectors in the answer".to_owned(),
            }
        } else {
            format!("status {}", answered.status)
        };
        let error = Some(failed.as_str());
        ledger.settle(None, &Ending { outcome: Outcome::Error, ended_by: EndedBy::Provider, error });
        Err(malformed(&failed))
    }
}

fn malformed(what: &str) -> GatewayError {
    GatewayError::UpstreamMalformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_in_the_shape_of_the_provider() {
        for (shape, expected) in [
            (Shape::OpenAi, r#"{"model":"m","input":["a","b\"c"]}"#),
            (Shape::Ollama, r#"{"model":"m","input":["a","b\"c"]}"#),
            (
                Shape::Gemini,
                r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}},{"model":"models/m","content":{"parts":[{"text":"b\"c"}]}}]}"#,
            ),
        ] {
            let mut out = Vec::new();
            shape.write("m", &["a", "b\"c"], &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{shape:?}");
        }
        let mut out = Vec::new();
        Shape::OpenAi.write("m", &[&"é".repeat(EMBEDDED_TEXT_BYTES_MAX)], &mut out);
        assert!(out.len() < EMBEDDED_TEXT_BYTES_MAX + 64, "cut at its bound");
    }

    #[test]
    fn vectors_are_read_in_the_order_of_the_texts() {
        let two = || vec![vec![1.0, -0.5], vec![0.25, 2e-3]];
        for (shape, body, usage) in [
            (
                Shape::OpenAi,
                r#"{"object":"list","data":[{"index":1,"embedding":[0.25,2e-3]},{"index":0,"embedding":[1,-0.5]}],"usage":{"prompt_tokens":7,"total_tokens":7}}"#,
                Some(7),
            ),
            (Shape::OpenAi, r#"{"data":[{"embedding":[1,-0.5]},{"embedding":[0.25,2e-3]}]}"#, None),
            (
                Shape::Ollama,
                r#"{"model":"m","embeddings":[[1,-0.5],[0.25,2e-3]],"prompt_eval_count":3}"#,
                Some(3),
            ),
            (Shape::Gemini, r#"{"embeddings":[{"values":[1,-0.5]},{"values":[0.25,2e-3]}]}"#, None),
        ] {
            let (vectors, read) = shape.read(body.as_bytes()).expect(body);
            assert_eq!(vectors, two(), "{body}");
            assert_eq!(read.map(|usage| usage.input), usage, "{body}");
        }
    }

    #[test]
    fn an_answer_without_sound_vectors_is_none() {
        for body in [
            "{}",
            "[]",
            "not json",
            r#"{"data":{}}"#,
            r#"{"data":[{"embedding":[]}]}"#,
            r#"{"data":[{"embedding":[1,"x"]}]}"#,
            r#"{"data":[{"embedding":[1e999]}]}"#,
            r#"{"data":[{"embedding":"AAAA"}]}"#,
            r#"{"data":[{"embedding":[1]},{}]}"#,
        ] {
            assert!(Shape::OpenAi.read(body.as_bytes()).is_none(), "{body}");
        }
        let long = format!(r#"{{"embeddings":[[{}1]]}}"#, "1,".repeat(EMBEDDING_DIMENSIONS_MAX));
        assert!(Shape::Ollama.read(long.as_bytes()).is_none());
    }
}
