//! Who turns texts into vectors, for the policies and caches that compare meanings.
//!
//! Owns the `embedding_*` keys and the settings of the semantic cache. A model of the registry is preferred to what
//! stands beside its name: upstream's dashboard writes the registry's id there and no key.
//!
//! Source: the project's routing specification, sections 4.10 and 7.

use std::time::Duration;

use super::fields::{Fields, one_of};
use super::mistake::{describe, quote};
use super::policy::PolicyReader;
use super::{Secret, files};
use crate::provider::Endpoint;

/// Who turns texts into vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Tried in this order; at least one.
    pub models: Vec<EmbeddingModel>,
    /// How models that are not in the registry are called.
    pub inline: InlineEmbedding,
}

/// A model that embeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingModel {
    /// Index into the configuration's models.
    Registered(usize),
    /// The provider's own name of it; see [`Embedding::inline`].
    Named(String),
}

/// A provider of embeddings that stands beside the model's name.
#[derive(Debug, Clone, PartialEq)]
pub struct InlineEmbedding {
    /// Whose API it is.
    pub provider: EmbeddingProvider,
    /// Where it is; none: the provider's usual place.
    pub endpoint: Option<Endpoint>,
    /// Its key.
    pub api_key: Option<Secret>,
}

/// Whose API embeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmbeddingProvider {
    /// `POST /embeddings` as OpenAI has it.
    #[default]
    OpenAi,
    /// Ollama.
    Ollama,
}

/// Settings of the semantic cache.
#[derive(Debug, Clone, PartialEq)]
pub struct SemanticCache {
    /// What is kept.
    pub mode: CacheMode,
    /// Who turns requests into vectors.
    pub embedding: Embedding,
    /// How long an entry is kept.
    pub ttl: Duration,
    /// Similarity from which two requests are the same.
    pub similarity_threshold: f64,
    /// Whether a hit begins the time anew.
    pub extend_on_hit: bool,
}

/// What a cache keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// The model that was chosen.
    #[default]
    Decision,
    /// The whole answer.
    Response,
}

impl Embedding {
    /// Reads the `embedding_*` keys of an object.
    pub(super) fn read(f: &Fields<'_>, reader: &PolicyReader<'_>) -> Option<Self> {
        let find = |id: &str| match reader.models.get(id) {
            Some(model) => EmbeddingModel::Registered(*model),
            None => EmbeddingModel::Named(id.to_owned()),
        };
        let mut models: Vec<EmbeddingModel> =
            f.required_string("embedding_model").map(find).into_iter().collect();
        let has_first = !models.is_empty();
        f.each("embedding_fallback_models", |item, path| {
            let Some(model) = item.as_str().map(find) else {
                return f.sink.mistake(&path, describe(item), "the id of a model");
            };
            if models.contains(&model) {
                let found = format!("{} again: the list would go in a circle", describe(item));
                return f.sink.mistake(&path, found, "each model once, and not the first one");
            }
            models.push(model);
        });
        let providers = [("openai", EmbeddingProvider::OpenAi), ("ollama", EmbeddingProvider::Ollama)];
        let is_inline = models.iter().any(|model| matches!(model, EmbeddingModel::Named(_)));
        if f.value("embedding_provider").is_none() && is_inline {
            let names = one_of(providers.iter().map(|(name, _)| *name));
            f.mistake("embedding_provider", "nothing, and the model is not in the registry", names);
        }
        let inline = InlineEmbedding {
            provider: f.word("embedding_provider", &providers).unwrap_or_default(),
            endpoint: read_endpoint(f),
            api_key: read_key(f, reader),
        };
        if is_inline && inline.provider == EmbeddingProvider::OpenAi && inline.api_key.is_none() {
            let message = "is not in the registry and there is no embedding_api_key: the provider will refuse the \
                           requests, and nothing is decided by meaning";
            f.warn("embedding_model", message);
        }
        has_first.then_some(Self { models, inline })
    }
}

impl SemanticCache {
    /// Reads the object; none where it is switched off.
    pub(super) fn read(f: &Fields<'_>, reader: &PolicyReader<'_>) -> Option<Self> {
        let enabled = f.bool("enabled").unwrap_or(false);
        let mode = f.word("mode", &[("decision", CacheMode::Decision), ("response", CacheMode::Response)]);
        let ttl_seconds = f.integer("ttl_seconds", 1..=31_536_000).unwrap_or(3_600);
        let similarity_threshold = f.number("similarity_threshold", 0.0..=1.0).unwrap_or(0.85);
        let extend_on_hit = f.bool("extend_on_hit").unwrap_or(false);
        // A cache that is off may be left half filled in.
        let embedding = if enabled {
            Embedding::read(f, reader)
        } else {
            f.also_known(&[
                "embedding_model",
                "embedding_fallback_models",
                "embedding_provider",
                "embedding_endpoint",
                "embedding_api_key",
            ]);
            None
        };
        f.finish();
        let mode = mode.unwrap_or_default();
        let ttl = Duration::from_secs(ttl_seconds);
        Some(Self { mode, embedding: embedding?, ttl, similarity_threshold, extend_on_hit })
    }
}

fn read_endpoint(f: &Fields<'_>) -> Option<Endpoint> {
    let url = f.string("embedding_endpoint").filter(|url| !url.trim().is_empty())?;
    match Endpoint::parse(url) {
        Ok(endpoint) => Some(endpoint),
        // The text itself may hold a password and is not repeated.
        Err(reason) => {
            let found = format!("a URL that is not usable: {reason}");
            f.mistake("embedding_endpoint", found, "http(s)://host[:port][/path]");
            None
        }
    }
}

fn read_key(f: &Fields<'_>, reader: &PolicyReader<'_>) -> Option<Secret> {
    let value = f.secret("embedding_api_key").map(str::trim).filter(|value| !value.is_empty())?;
    let key = reader.keys.open(files::PROJECTS, reader.project, "embedding_api_key", value);
    if key.is_none() {
        let message = format!(
            "cannot be decrypted: config/secret is not the one it was written with, or project {} was renamed by hand",
            quote(reader.project)
        );
        f.warn("embedding_api_key", message);
    }
    key
}
