//! Older homes into today's form.
//!
//! Owns the knowledge of what earlier programs wrote. [`plan`] changes the parsed documents in memory and says what
//! it did, without a file being touched; [`Changes::apply`] makes a backup once and writes. Files are recognised by
//! content, not by version, unknown fields and the order of keys stay as they are, and a second run finds nothing
//! to do. The conversion of usage records is not here.
//!
//! Source: the project's configuration specification, sections 4 and 10 (rules 1–5, 7, 8).

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::files::{self, FileError, Stamp};
use super::home::Home;
use super::lock::with_upstream_lock;
use super::secret::{Keys, NoRandomness, SEALED_MARK};
use crate::auth::snippet;
use crate::config::files::{MODELS, PROJECTS, SETTINGS};
use crate::config::limit;
use crate::config::notifications;
use crate::config::policy::POLICY_KINDS;
use crate::config::project::{TOKEN_HASH_PREFIX, first_free, hex};
use crate::provider::price::scale_number;

/// What has to be written so that the home is in today's form.
#[derive(Debug, Default)]
pub struct Changes {
    /// One line for each change, without secrets: the plan of a dry run.
    pub lines: Vec<String>,
    /// What could not be taken over and stays as it is.
    pub notes: Vec<String>,
    changed: HashSet<&'static str>,
}

/// Puts the documents into today's form.
///
/// # Errors
/// [`NoRandomness`], when nothing can be encrypted.
pub fn plan(
    settings: &mut Value,
    models: &mut Value,
    projects: &mut Value,
    keys: &Keys,
) -> Result<Changes, NoRandomness> {
    let mut planner = Planner { keys, changes: Changes::default() };
    planner.settings(settings)?;
    for (index, model) in objects(models).enumerate() {
        planner.model(model, index)?;
    }
    planner.slugs(projects);
    for (index, project) in objects(projects).enumerate() {
        planner.project(project, index)?;
    }
    Ok(planner.changes)
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Whether there is something to write in a file.
    pub fn changes(&self, name: &str) -> bool {
        self.changed.contains(name)
    }

    /// Makes a backup, once in a home's life, and writes the changed files. Returns their new states.
    ///
    /// # Errors
    /// The first file that cannot be written. What was written before it is whole, and the next start goes on.
    pub fn apply(
        &self,
        home: &Home,
        documents: [(&'static str, &Value); 3],
        now_unix_ms: u64,
    ) -> Result<Vec<(&'static str, Stamp)>, FileError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        backup(home, now_unix_ms)?;
        let mut stamps = Vec::new();
        for (name, value) in documents.into_iter().filter(|(name, _)| self.changed.contains(name)) {
            let path = home.file(name);
            let held =
                |source| FileError::Io { action: "another program is writing", path: path.clone(), source };
            let write = || files::replace_json(&path, value);
            stamps.push((name, with_upstream_lock(&path, now_unix_ms, write, held)?));
        }
        Ok(stamps)
    }
}

/// Copies `config/` and `data/usage.json` beside them, unless a backup is there already.
///
/// It is made under another name and renamed when complete, so that a crash does not pass half of it off as one.
fn backup(home: &Home, now_unix_ms: u64) -> Result<Option<PathBuf>, FileError> {
    let io = |action: &'static str, path: PathBuf| move |source| FileError::Io { action, path, source };
    let root = home.root();
    let entries = std::fs::read_dir(root).map_err(io("cannot list", root.to_owned()))?;
    let is_backup = |name: &str| name.starts_with("backup-") && !name.ends_with(".partial");
    if entries.flatten().any(|entry| is_backup(&entry.file_name().to_string_lossy())) {
        return Ok(None);
    }
    let name = format!("backup-{}", timestamp(now_unix_ms));
    let partial = root.join(format!("{name}.partial"));
    files::create_directory(&partial.join("config"))?;
    files::create_directory(&partial.join("data"))?;
    let config = home.config_directory();
    let listed = std::fs::read_dir(&config).map_err(io("cannot list", config.clone()))?;
    for entry in listed.flatten().filter(|entry| entry.path().is_file()) {
        files::copy(&entry.path(), &partial.join("config").join(entry.file_name()))?;
    }
    files::copy(&home.file("data/usage.json"), &partial.join("data/usage.json"))?;
    let complete = root.join(name);
    std::fs::rename(&partial, &complete).map_err(io("cannot rename", partial))?;
    files::sync_directory(root).map_err(io("cannot sync", root.to_owned()))?;
    Ok(Some(complete))
}

fn timestamp(now_unix_ms: u64) -> String {
    let time = i64::try_from(now_unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

struct Planner<'k> {
    keys: &'k Keys,
    changes: Changes,
}

impl Planner<'_> {
    fn did(&mut self, file: &'static str, what: String) {
        self.changes.changed.insert(file);
        self.changes.lines.push(format!("{file}: {what}"));
    }

    fn note(&mut self, file: &str, what: String) {
        self.changes.notes.push(format!("{file}: {what}"));
    }

    fn settings(&mut self, settings: &mut Value) -> Result<(), NoRandomness> {
        let Value::Object(settings) = settings else { return Ok(()) };
        self.limits(settings, "budgets", SETTINGS, "settings");
        let channels: Vec<(String, &mut Map<String, Value>)> = match settings.get_mut("notifications") {
            Some(Value::Array(channels)) => with_ids(channels).collect(),
            Some(Value::Object(map)) => match map.contains_key("channels") {
                true => map
                    .get_mut("channels")
                    .and_then(Value::as_array_mut)
                    .map(|channels| with_ids(channels))
                    .into_iter()
                    .flatten()
                    .collect(),
                // The older form: one object for each way of sending.
                false => map
                    .iter_mut()
                    .filter_map(|(kind, channel)| {
                        Some((format!("migrated_{kind}"), channel.as_object_mut()?))
                    })
                    .collect(),
            },
            _ => Vec::new(),
        };
        for (id, channel) in channels {
            for field in notifications::SECRET_FIELDS {
                self.seal(channel, SETTINGS, &id, field)?;
            }
        }
        Ok(())
    }

    fn model(&mut self, model: &mut Map<String, Value>, index: usize) -> Result<(), NoRandomness> {
        let id = text(model, "id").unwrap_or_default().to_owned();
        let label = label("model", &id, index);
        if text(model, "endpoint").is_none() && rename(model, "baseUrl", "endpoint") {
            self.did(MODELS, format!("{label}: baseUrl renamed to endpoint"));
        }
        self.docs_prices(model, &label);
        for key in ["globalThresholds", "thresholds"] {
            self.thresholds(model, key, MODELS, &label);
        }
        self.limits(model, "limits", MODELS, &label);
        if text(model, "apiKey").is_none()
            && let Some(sealed) = text(model, "encryptedApiKey")
        {
            match self.keys.open_legacy(sealed) {
                Some(key) => {
                    model.shift_remove("apiKey");
                    rename(model, "encryptedApiKey", "apiKey");
                    model.insert("apiKey".to_owned(), Value::from(key.expose()));
                    self.did(MODELS, format!("{label}: encryptedApiKey of a first release decrypted"));
                }
                None => self.note(MODELS, format!("{label}: encryptedApiKey kept, {}", self.legacy_reason())),
            }
        }
        // For this provider the field is the path of a token file, which is no secret.
        if text(model, "provider") != Some("openai-oauth") {
            self.seal(model, MODELS, &id, "apiKey")?;
        }
        if let Some(Value::Array(keys)) = model.get_mut("apiKeys") {
            for key in keys.iter_mut().filter_map(Value::as_object_mut) {
                self.seal_as(key, MODELS, &id, "key", "apiKeys")?;
            }
        }
        self.seal(model, MODELS, &id, "cfClearance")
    }

    /// Prices as one page of the docs has them: flat, in USD per 1,000 tokens.
    fn docs_prices(&mut self, model: &mut Map<String, Value>, label: &str) {
        let has_own = model.get("cost").is_some_and(|cost| cost.get("inputPerMillion").is_some());
        let both =
            ["inputPrice", "outputPrice"].iter().all(|key| model.get(*key).is_some_and(Value::is_number));
        if has_own || !both {
            return;
        }
        let mut cost = model.get("cost").and_then(Value::as_object).cloned().unwrap_or_default();
        for (old, new) in [
            ("inputPrice", "inputPerMillion"),
            ("outputPrice", "outputPerMillion"),
            ("cachePrice", "cachePerMillion"),
            ("cacheWritePrice", "cacheWritePerMillion"),
        ] {
            if let Some(price) = model.shift_remove(old) {
                cost.insert(new.to_owned(), times_thousand(price));
            }
        }
        model.insert("cost".to_owned(), Value::Object(cost));
        self.did(
            MODELS,
            format!("{label}: inputPrice and outputPrice per 1K tokens turned into cost per 1M"),
        );
    }

    /// Rule 7: a slug that the file gives twice.
    fn slugs(&mut self, projects: &mut Value) {
        let mut slugs: HashSet<String> = HashSet::new();
        let given: HashSet<String> =
            objects(projects).filter_map(|project| text(project, "slug").map(str::to_owned)).collect();
        for (index, project) in objects(projects).enumerate() {
            let Some(slug) = text(project, "slug").map(str::to_owned) else { continue };
            if slugs.insert(slug.clone()) {
                continue;
            }
            let free = first_free(&slug, |slug| slugs.contains(slug) || given.contains(slug));
            let label = label("project", text(project, "id").unwrap_or_default(), index);
            self.did(PROJECTS, format!("{label}: slug {slug} was used twice and is now {free}"));
            project.insert("slug".to_owned(), Value::from(free.as_str()));
            slugs.insert(free);
        }
    }

    fn project(&mut self, project: &mut Map<String, Value>, index: usize) -> Result<(), NoRandomness> {
        let id = text(project, "id").unwrap_or_default().to_owned();
        let label = label("project", &id, index);
        if !project.contains_key("timeoutMs") && rename(project, "defaultTimeoutMs", "timeoutMs") {
            self.did(PROJECTS, format!("{label}: defaultTimeoutMs renamed to timeoutMs"));
        }
        self.model_refs(project, &label);
        self.policies(project, &label);
        self.limits(project, "budgets", PROJECTS, &label);
        if let Some(policies) = project.get_mut("policies") {
            self.embedding_keys(policies, &id)?;
        }
        self.project_token(project, &label);
        let Some(Value::Array(tokens)) = project.get_mut("tokens") else { return Ok(()) };
        for (at, token) in tokens.iter_mut().enumerate() {
            let Value::Object(token) = token else { continue };
            let token_id = text(token, "id").unwrap_or_default().to_owned();
            let label = format!("{label}, {}", self::label("token", &token_id, at));
            self.token(token, &label);
            self.model_refs(token, &label);
            self.limits(token, "limits", PROJECTS, &label);
        }
        Ok(())
    }

    /// The very first form: one encrypted token at the project itself.
    fn project_token(&mut self, project: &mut Map<String, Value>, label: &str) {
        let Some(sealed) = text(project, "encryptedToken") else { return };
        let Some(plain) = self.keys.open_legacy(sealed) else {
            self.note(PROJECTS, format!("{label}: encryptedToken kept, {}", self.legacy_reason()));
            return;
        };
        project.shift_remove("encryptedToken");
        let token = json!({"id": uuid::Uuid::new_v4().to_string(), "token": plain.expose()});
        match project.entry("tokens").or_insert_with(|| json!([])) {
            Value::Array(tokens) => tokens.push(token),
            other => *other = json!([token]),
        }
        self.did(PROJECTS, format!("{label}: encryptedToken moved into tokens"));
    }

    fn token(&mut self, token: &mut Map<String, Value>, label: &str) {
        if let Some(sealed) = text(token, "encryptedToken") {
            let has_other = text(token, "token").is_some() || text(token, "tokenHash").is_some();
            match self.keys.open_legacy(sealed) {
                Some(plain) if !has_other => {
                    rename(token, "encryptedToken", "token");
                    token.insert("token".to_owned(), Value::from(plain.expose()));
                }
                Some(_) => {}
                None if has_other => {}
                None => {
                    self.note(PROJECTS, format!("{label}: encryptedToken kept, {}", self.legacy_reason()))
                }
            }
        }
        let Some(plain) = text(token, "token").map(str::to_owned) else { return };
        let hash = format!("{TOKEN_HASH_PREFIX}{}", hex(&self.keys.token_key().digest(plain.as_bytes())));
        if token.contains_key("tokenHash") {
            token.shift_remove("token");
        } else {
            rename(token, "token", "tokenHash");
        }
        token.insert("tokenHash".to_owned(), Value::from(hash));
        if !text(token, "tokenSnippet").is_some_and(|known| plain.starts_with(known)) {
            token.insert("tokenSnippet".to_owned(), Value::from(snippet(&plain)));
        }
        self.did(PROJECTS, format!("{label}: plain token replaced by its keyed hash"));
    }

    /// `models` of a project or a token: names become references, old limits today's.
    fn model_refs(&mut self, owner: &mut Map<String, Value>, label: &str) {
        let Some(Value::Array(refs)) = owner.get_mut("models") else { return };
        let mut renamed = 0;
        for item in refs.iter_mut() {
            if let Value::String(id) = item {
                *item = json!({"modelId": id});
                renamed += 1;
            }
        }
        if renamed > 0 {
            self.did(PROJECTS, format!("{label}: {renamed} model names turned into references"));
        }
        for item in refs.iter_mut().filter_map(Value::as_object_mut) {
            let label = format!("{label}, model {}", text(item, "modelId").unwrap_or("?"));
            if !item.contains_key("limitsMode") && rename(item, "mode", "limitsMode") {
                self.did(PROJECTS, format!("{label}: mode renamed to limitsMode"));
            }
            self.thresholds(item, "thresholds", PROJECTS, &label);
            self.limits(item, "limits", PROJECTS, &label);
        }
    }

    fn policies(&mut self, project: &mut Map<String, Value>, label: &str) {
        let Some(Value::Array(policies)) = project.get_mut("policies") else { return };
        if !policies.iter().any(Value::is_string) {
            return;
        }
        let mut dropped = Vec::new();
        policies.retain(|policy| match policy.as_str() {
            Some(kind) if !POLICY_KINDS.contains(&kind) => {
                dropped.push(kind.to_owned());
                false
            }
            _ => true,
        });
        for policy in policies.iter_mut() {
            if let Value::String(kind) = policy {
                *policy = json!({"type": kind, "enabled": true});
            }
        }
        self.did(PROJECTS, format!("{label}: policy names turned into policies"));
        for kind in dropped {
            self.did(PROJECTS, format!("{label}: policy {kind:?} is not known and was dropped"));
        }
    }

    fn embedding_keys(&mut self, value: &mut Value, project: &str) -> Result<(), NoRandomness> {
        match value {
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.embedding_keys(item, project)),
            Value::Object(map) => {
                self.seal(map, PROJECTS, project, "embedding_api_key")?;
                map.values_mut().try_for_each(|item| self.embedding_keys(item, project))
            }
            _ => Ok(()),
        }
    }

    /// Rule 4: `{daily, weekly, monthly}` to limits, where there are none.
    fn thresholds(&mut self, owner: &mut Map<String, Value>, key: &str, file: &'static str, label: &str) {
        let Some(Value::Object(thresholds)) = owner.get(key) else { return };
        let has_limits =
            owner.get("limits").and_then(Value::as_array).is_some_and(|limits| !limits.is_empty());
        let limits = limit::from_thresholds(thresholds);
        if has_limits || limits.is_empty() {
            return;
        }
        if owner.contains_key("limits") {
            owner.shift_remove(key);
        } else {
            rename(owner, key, "limits");
        }
        owner.insert("limits".to_owned(), Value::Array(limits));
        self.did(file, format!("{label}: {key} turned into cost limits"));
    }

    fn limits(&mut self, owner: &mut Map<String, Value>, key: &str, file: &'static str, label: &str) {
        let Some(Value::Array(limits)) = owner.get_mut(key) else { return };
        for (index, item) in limits.iter_mut().enumerate() {
            let Value::Object(map) = item else { continue };
            let (canonical, notes) = limit::canonical(map);
            if canonical != *map {
                *map = canonical;
                self.did(file, format!("{label}: {key}[{index}] put into today's spelling"));
            }
            for note in notes {
                self.note(file, format!("{label}: {key}[{index}]: {note}"));
            }
        }
    }

    fn seal(
        &mut self,
        owner: &mut Map<String, Value>,
        file: &'static str,
        id: &str,
        field: &str,
    ) -> Result<(), NoRandomness> {
        self.seal_as(owner, file, id, field, field)
    }

    /// [`Self::seal`] for a field that is known by another name to who opens it.
    fn seal_as(
        &mut self,
        owner: &mut Map<String, Value>,
        file: &'static str,
        id: &str,
        field: &str,
        name: &str,
    ) -> Result<(), NoRandomness> {
        let Some(plain) = text(owner, field).map(str::trim).filter(|plain| !plain.starts_with(SEALED_MARK))
        else {
            return Ok(());
        };
        if plain.is_empty() {
            return Ok(());
        }
        let sealed = self.keys.seal(file, id, name, plain)?;
        owner.insert(field.to_owned(), Value::from(sealed));
        self.did(file, format!("{id}: {name} encrypted"));
        Ok(())
    }

    fn legacy_reason(&self) -> &'static str {
        if self.keys.has_legacy() {
            "since LOCALROUTER_SECRET_KEY does not open it"
        } else {
            "since LOCALROUTER_SECRET_KEY is not set"
        }
    }
}

fn objects(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    document.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The channels of an array, each with its id or, without one, its place.
fn with_ids(channels: &mut [Value]) -> impl Iterator<Item = (String, &mut Map<String, Value>)> {
    channels.iter_mut().enumerate().filter_map(|(index, channel)| {
        let channel = channel.as_object_mut()?;
        Some((text(channel, "id").map_or_else(|| format!("channel_{index}"), str::to_owned), channel))
    })
}

fn text<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn label(kind: &str, id: &str, index: usize) -> String {
    if id.is_empty() { format!("{kind} [{index}]") } else { format!("{kind} {id}") }
}

/// Gives a key another name in its old place. False when it is not there.
fn rename(map: &mut Map<String, Value>, old: &str, new: &str) -> bool {
    if !map.contains_key(old) {
        return false;
    }
    map.shift_remove(new);
    let entries = std::mem::take(map);
    let renamed = entries
        .into_iter()
        .map(|(key, value)| if key == old { (new.to_owned(), value) } else { (key, value) });
    map.extend(renamed);
    true
}

/// A price times 1,000 without a binary fraction in between; what is no sensible number stays for the check to
/// complain about.
fn times_thousand(price: Value) -> Value {
    // 12 decimals are kept: nine of the result are more than prices are read with.
    let Some(scaled) = price.as_number().and_then(|number| scale_number(number, 12).ok()) else {
        return price;
    };
    let (whole, fraction) = (scaled.value / 1_000_000_000, scaled.value % 1_000_000_000);
    let text = format!("{whole}.{fraction:09}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    serde_json::from_str(text).unwrap_or(price)
}

#[cfg(test)]
mod tests;
