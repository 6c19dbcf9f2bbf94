//! Raw settings (file, environment) to typed, checked configuration.
//!
//! Owns the meaning of `settings.json`, `models.json`, `projects.json`, and of `users.json` and `roles.json`
//! ([`account`]): [`Config::check`] takes the parsed documents and hands back a [`Config`] without invalid state, or
//! every mistake at once with file, line, column and path. It reads no file and decrypts nothing itself: the texts come from `store`, keys through [`Opener`].
//!
//! The raw form is the parsed document and not a struct of serde's: see [`fields`].
//!
//! Source: the project's configuration specification; routing specification, sections 2 and 8.

pub mod account;
pub mod demo;
pub mod embedding;
pub mod env;
pub(crate) mod fields;
pub mod fuzz;
mod keys;
pub mod limit;
pub mod media;
pub mod mistake;
pub mod model;
pub mod notifications;
pub mod policy;
pub(crate) mod position;
pub mod project;
pub mod secret;
pub mod settings;
mod slow_hash;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use account::Accounts;
pub use env::Env;
pub use keys::ModelKey;
pub use limit::{Limit, LimitSet, LimitsMode, Metric, Period, RollingUnit, Window};
pub use mistake::{Mistake, Warning};
pub use model::Model;
pub use policy::Policy;
pub use project::{
    HonorRequestedModel, Member, Project, ProjectModel, ResponseCache, Token, TokenHash, Translation,
};
pub use secret::Secret;
pub use settings::Settings;
pub use slow_hash::SlowHash;

use self::embedding::Unlisted;
use self::mistake::{Path, Sink, kind};
use crate::provider::Catalogue;

/// File names as findings show them.
pub mod files {
    /// Settings.
    pub const SETTINGS: &str = "config/settings.json";
    /// Models.
    pub const MODELS: &str = "config/models.json";
    /// Projects and tokens.
    pub const PROJECTS: &str = "config/projects.json";
    /// Users.
    pub const USERS: &str = "config/users.json";
    /// Custom roles.
    pub const ROLES: &str = "config/roles.json";
    /// An operator's additions to the catalogue.
    pub const PROVIDERS: &str = "config/providers.local.json";
}

/// One immutable snapshot of everything that the data plane has to know.
#[derive(Debug)]
pub struct Config {
    settings: Settings,
    catalogue: Arc<Catalogue>,
    models: Vec<Arc<Model>>,
    projects: Vec<Arc<Project>>,
    model_by_id: HashMap<String, usize>,
    project_by_slug: HashMap<String, usize>,
    project_by_id: HashMap<String, usize>,
}

/// A parsed document together with the text that places in it are resolved against. `Debug` hides both: a file
/// may hold keys in clear.
#[derive(Clone, Default)]
pub struct Document {
    /// The file's text; empty when it does not exist.
    pub text: String,
    /// What it holds, after old spellings were put into today's.
    pub value: Value,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// The documents that make a [`Config`].
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// `config/settings.json`
    pub settings: Document,
    /// `config/models.json`
    pub models: Document,
    /// `config/projects.json`
    pub projects: Document,
}

/// Gives plain text for what is encrypted at rest.
pub trait Opener {
    /// Opens `value`, which was sealed as `file`, `object_id`, `field`. A value without the mark of ciphertext
    /// comes back as it is. `None`: it cannot be opened with the keys at hand.
    fn open(&self, file: &str, object_id: &str, field: &str, value: &str) -> Option<Secret>;
}

/// Opens nothing: plain values pass, ciphertext does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKeys;

impl Opener for NoKeys {
    fn open(&self, _: &str, _: &str, _: &str, value: &str) -> Option<Secret> {
        (!value.starts_with("ENCRYPTED:")).then(|| Secret::new(value))
    }
}

impl Config {
    /// Checks the documents.
    ///
    /// # Errors
    /// Every mistake of all three files and of the environment, in the order of files and lines. Warnings are
    /// handed out either way.
    pub fn check(
        documents: &Documents,
        catalogue: Arc<Catalogue>,
        env: &Env,
        keys: &dyn Opener,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let empty = Map::new();

        let sink = Sink::new(files::SETTINGS, &documents.settings.text);
        let map = match &documents.settings.value {
            Value::Object(map) => map,
            Value::Null if documents.settings.text.is_empty() => &empty,
            other => {
                sink.mistake(&Path::Root, kind(other), "an object (the settings)");
                &empty
            }
        };
        let settings = Settings::read(map, &sink, env, keys, &mut mistakes);
        sink.finish(&mut mistakes, warnings);

        let sink = Sink::new(files::MODELS, &documents.models.text);
        let mut models = model::read_all(array(&documents.models, &sink, "models"), &catalogue, keys, &sink);
        let mut model_by_id: HashMap<String, usize> =
            models.iter().enumerate().map(|(index, model)| (model.id.clone(), index)).collect();
        sink.finish(&mut mistakes, warnings);

        let sink = Sink::new(files::PROJECTS, &documents.projects.text);
        let items = array(&documents.projects, &sink, "projects");
        let unlisted = Unlisted::new(&catalogue, &model_by_id);
        let projects = project::read_all(items, &model_by_id, &unlisted, keys, &sink);
        sink.finish(&mut mistakes, warnings);

        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        for model in unlisted.into_models() {
            model_by_id.insert(model.id.clone(), models.len());
            models.push(model);
        }
        let project_by_slug = projects.iter().enumerate().map(|(index, p)| (p.slug.clone(), index)).collect();
        let project_by_id = projects.iter().enumerate().map(|(index, p)| (p.id.clone(), index)).collect();
        let models = models.into_iter().map(Arc::new).collect();
        let projects = projects.into_iter().map(Arc::new).collect();
        Ok(Self { settings, catalogue, models, projects, model_by_id, project_by_slug, project_by_id })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The catalogue that the models were resolved against.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// All models, in the order of the file, and behind them those that only policies name. Indexes into this slice are what projects refer to.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// All projects, in the order of the file.
    pub fn projects(&self) -> &[Arc<Project>] {
        &self.projects
    }

    /// Index of a model by its id.
    pub fn model_index(&self, id: &str) -> Option<usize> {
        self.model_by_id.get(id).copied()
    }

    /// Index of a project by slug, else by id.
    pub fn project_index(&self, slug_or_id: &str) -> Option<usize> {
        self.project_by_slug.get(slug_or_id).or_else(|| self.project_by_id.get(slug_or_id)).copied()
    }
}

fn array<'d>(document: &'d Document, sink: &Sink<'_>, what: &str) -> &'d [Value] {
    match &document.value {
        Value::Array(items) => items,
        Value::Null if document.text.is_empty() => &[],
        other => {
            sink.mistake(&Path::Root, kind(other), format!("an array (the {what})"));
            &[]
        }
    }
}

#[cfg(test)]
mod tests;
