//! Who turns texts into vectors, for the policies and caches that compare meanings.
//!
//! Owns the `embedding_*` keys and the settings of the semantic cache. A model of the registry is preferred to what
//! stands beside its name: upstream's dashboard writes the registry's id there and no key.
//!
//! Source: the project's routing specification, sections 4.10 and 7.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::fields::{Fields, one_of};
use super::mistake::{describe, quote};
use super::model::{Model, is_field_value};
use super::policy::{EMBEDDING_TIMEOUT_MS, PolicyReader, timeout};
use super::project::first_free;
use super::{Secret, files};
use crate::provider::{Catalogue, Endpoint};

/// Who turns texts into vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    /// Tried in this order; at least one. Indexes into the configuration's models; those that are not in the registry
    /// stand behind it.
    pub models: Vec<usize>,
}

/// A provider of embeddings that stands beside the model's name.
struct Inline {
    /// As the catalogue names it.
    provider: &'static str,
    /// Where it is; none: the provider's usual place.
    endpoint: Option<Endpoint>,
    api_key: Option<Secret>,
}

/// Models that policies name and the registry does not have. They become models of the configuration like any other, and
/// are called, recorded and priced like them.
pub(crate) struct Unlisted<'m> {
    catalogue: &'m Catalogue,
    listed: &'m HashMap<String, usize>,
    models: RefCell<Vec<Model>>,
}

impl<'m> Unlisted<'m> {
    /// None yet; `listed` are the ones of the registry.
    pub(super) fn new(catalogue: &'m Catalogue, listed: &'m HashMap<String, usize>) -> Self {
        Self { catalogue, listed, models: RefCell::default() }
    }

    /// The models, in the order of their indexes behind the registry's.
    pub(super) fn into_models(self) -> Vec<Model> {
        self.models.into_inner()
    }

    /// The index of a provider's model: the same for the same place and key.
    fn index(&self, name: &str, inline: &Inline) -> Option<usize> {
        let provider = self.catalogue.provider(inline.provider)?;
        let mut models = self.models.borrow_mut();
        let base = format!("{}/{name}", provider.id);
        let is_taken = |id: &str| self.listed.contains_key(id) || models.iter().any(|model| model.id == id);
        let id = first_free(&base, is_taken);
        let model = Model::unlisted(id, provider, name, inline.endpoint.clone(), inline.api_key.clone());
        let place = models.iter().position(|known| model.is_called_like(known)).unwrap_or_else(|| {
            models.push(model);
            models.len() - 1
        });
        Some(self.listed.len() + place)
    }
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
    /// How long the vector of a request is waited for.
    pub timeout: Duration,
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
        let providers = [("openai", "openai"), ("ollama", "ollama")];
        let given = f.word("embedding_provider", &providers);
        let inline = Inline {
            provider: given.unwrap_or("openai"),
            endpoint: read_endpoint(f),
            api_key: read_key(f, reader),
        };
        let is_listed = |id: &str| reader.models.contains_key(id);
        let first = f.required_string("embedding_model");
        let mut models = Vec::new();
        let mut names_unlisted = false;
        let mut find = |id: &str| {
            names_unlisted |= !is_listed(id);
            reader.models.get(id).copied().or_else(|| reader.unlisted.index(id, &inline))
        };
        models.extend(first.and_then(&mut find));
        f.each("embedding_fallback_models", |item, path| {
            let Some(model) = item.as_str().and_then(&mut find) else {
                return f.sink.mistake(&path, describe(item), "the id of a model");
            };
            if models.contains(&model) {
                let found = format!("{} again: the list would go in a circle", describe(item));
                return f.sink.mistake(&path, found, "each model once, and not the first one");
            }
            models.push(model);
        });
        if f.value("embedding_provider").is_none() && names_unlisted {
            let names = one_of(providers.iter().map(|(name, _)| *name));
            f.mistake("embedding_provider", "nothing, and the model is not in the registry", names);
        }
        if names_unlisted && inline.provider == "openai" && inline.api_key.is_none() {
            let message = "is not in the registry and there is no embedding_api_key: the provider will refuse the \
                           requests, and nothing is decided by meaning";
            f.warn("embedding_model", message);
        }
        first.map(|_| Self { models })
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
        let timeout = timeout(f, EMBEDDING_TIMEOUT_MS);
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
        Some(Self { mode, embedding: embedding?, ttl, similarity_threshold, extend_on_hit, timeout })
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
    if key.as_ref().is_some_and(|key| !is_field_value(key)) {
        f.mistake(
            "embedding_api_key",
            "a key with a space or a character outside ASCII",
            "the key as the provider gave it",
        );
        return None;
    }
    if key.is_none() {
        let message = format!(
            "cannot be decrypted: config/secret is not the one it was written with, or project {} was renamed by hand",
            quote(reader.project)
        );
        f.warn("embedding_api_key", message);
    }
    key
}
