//! A home directory: where everything is, how it is made, how it is read.
//!
//! Owns the layout and the order of a start: read, put into today's form in memory, check, and only then write what
//! changed. A home with a mistake in it is left exactly as it is.
//!
//! Source: the project's configuration specification, sections 1, 2, 9 and 10.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::edit;
use super::files::{self, Content, FileError};
use super::lock::HomeLock;
use super::secret::{Keys, MasterKey};
use super::takeover::{self, Changes};
use super::watch::Watch;
use crate::config::files::{MODELS, PROJECTS, PROVIDERS, ROLES, SETTINGS, USERS};
use crate::config::{Accounts, Config, Document, Documents, Env, Mistake, Warning, position};
use crate::provider::Catalogue;

/// The secret's name as findings show it.
const SECRET: &str = "config/secret";

/// A base directory and the files below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// A home as it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Who may sign in, and what for.
    pub accounts: Accounts,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// The keys of this home.
    pub keys: Keys,
    /// What the takeover of an older home changed (after [`open`]) or would change (after [`load`]).
    pub takeover: Changes,
    /// Tells when the files differ from what was read here.
    pub watch: Watch,
}

impl Home {
    /// The home at a directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home that flag and environment name: the flag, `ROUTERLY_HOME`, `~/.routerly`.
    ///
    /// # Errors
    /// When none of them is known.
    pub fn resolve(flag: Option<&Path>, env: &Env) -> Result<Self, Mistake> {
        if let Some(root) = flag {
            return Ok(Self::at(root));
        }
        if let Some(root) = &env.home {
            return Ok(Self::at(root.trim()));
        }
        match &env.user_home {
            Some(home) => Ok(Self::at(Path::new(home).join(".routerly"))),
            None => Err(Mistake::of_file(
                "environment",
                "neither ROUTERLY_HOME nor HOME",
                "one of them, or --home",
            )),
        }
    }

    /// The base directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config/`
    pub fn config_directory(&self) -> PathBuf {
        self.root.join("config")
    }

    /// `data/`
    pub fn data_directory(&self) -> PathBuf {
        self.root.join("data")
    }

    /// A file by its name as findings show it, such as `config/models.json`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the home for this process, making its directory first. `now_unix_ms` is the wall clock.
    ///
    /// # Errors
    /// A directory that cannot be made, or another owner, who is named.
    pub fn lock(&self, now_unix_ms: u64) -> Result<HomeLock, Mistake> {
        let name = self.root.display().to_string();
        files::create_directory(&self.root)
            .map_err(|error| Mistake::of_file(&name, error.to_string(), "a directory that can be written"))?;
        HomeLock::acquire(&self.root, now_unix_ms)
            .map_err(|error| Mistake::of_file(&name, error.to_string(), "a home that nothing else uses"))
    }

    /// Creates directories, settings and secret where they are missing.
    ///
    /// # Errors
    /// What cannot be created.
    pub fn create(&self, env: &Env) -> Result<(), Vec<Mistake>> {
        let failed = |name: &str| {
            let name = name.to_owned();
            move |error: FileError| {
                vec![Mistake::of_file(&name, error.to_string(), "a directory that can be written")]
            }
        };
        for directory in [self.root.clone(), self.config_directory(), self.data_directory()] {
            files::create_directory(&directory).map_err(failed(&directory.display().to_string()))?;
        }
        files::remove_leftovers(&self.config_directory());
        if !exists(&self.file(SETTINGS)) {
            files::replace_json(&self.file(SETTINGS), &default_settings()).map_err(failed(SETTINGS))?;
        }
        if env.secret_key.is_none() && !exists(&self.file(SECRET)) {
            let secret = MasterKey::generate().map_err(|_| vec![no_randomness()])?;
            let line = format!("{}\n", secret.to_hex().expose());
            files::replace(&self.file(SECRET), line.as_bytes()).map_err(failed(SECRET))?;
        }
        Ok(())
    }
}

/// Whether something is there, be it a dangling link: nothing may be put in its place then.
fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// What is written into a home without settings: the keys that people look for first.
fn default_settings() -> Value {
    json!({
        "port": 3000,
        "host": "0.0.0.0",
        "dashboardEnabled": true,
        "defaultTimeoutMs": 30_000,
        "logLevel": "info",
        "channel": "stable",
    })
}

fn no_randomness() -> Mistake {
    Mistake::of_file(SECRET, "no answer from the system's random number generator", "random numbers")
}

/// Opens a home for serving: creates what is missing, reads and checks everything, and writes what a takeover
/// changed, after a backup. Also the way to reload, where it hashes and encrypts what was added by hand.
///
/// # Errors
/// Every mistake at once. Nothing of the existing files is changed then.
pub fn open(home: &Home, lock: &HomeLock, env: &Env, now_unix_ms: u64) -> Result<Loaded, Vec<Mistake>> {
    debug_assert_eq!(lock.root(), home.root(), "the lock is proof for its own home only");
    home.create(env)?;
    edit::recover(home).map_err(|mistake| vec![mistake])?;
    let (mut loaded, documents) = check_with(home, env, &[])?;
    let named = [
        (SETTINGS, &documents.settings.value),
        (MODELS, &documents.models.value),
        (PROJECTS, &documents.projects.value),
    ];
    match loaded.takeover.apply(home, named, now_unix_ms) {
        Ok(stamps) => {
            stamps.into_iter().for_each(|(name, stamp)| loaded.watch.accept(&home.file(name), stamp))
        }
        Err(error) => {
            return Err(vec![Mistake::of_file(
                "config",
                error.to_string(),
                "a takeover that can be written",
            )]);
        }
    }
    Ok(loaded)
}

/// Reads and checks a home and changes nothing.
///
/// # Errors
/// Every mistake at once.
pub fn load(home: &Home, env: &Env) -> Result<Loaded, Vec<Mistake>> {
    check_with(home, env, &[]).map(|(loaded, _)| loaded)
}

/// A parsed file as it is now; an empty document where there is none.
///
/// # Errors
/// It cannot be read, or is no JSON.
pub fn document(home: &Home, name: &str) -> Result<Document, Mistake> {
    let path = home.file(name);
    let Some(content) = files::read(&path).map_err(|error| file_mistake(name, &path, &error))? else {
        return Ok(Document::default());
    };
    match serde_json::from_str(&content.text) {
        Ok(value) => Ok(Document { text: content.text, value }),
        Err(error) => Err(Mistake::of_syntax(name, &content.text, &error)),
    }
}

/// The accounts as they are in the files now.
///
/// # Errors
/// Every mistake in them.
pub fn accounts(home: &Home) -> Result<Accounts, Vec<Mistake>> {
    let read = |name| document(home, name).map_err(|mistake| vec![mistake]);
    // What is probably not meant was said when the home was opened.
    Accounts::check(&read(USERS)?, &read(ROLES)?, &mut Vec::new())
}

/// The keys of a home, to open what is sealed in it. Without a secret they open nothing.
pub(super) fn keys(home: &Home, env: &Env) -> Keys {
    let mut reader =
        Reader { home, drafts: &[], mistakes: Vec::new(), warnings: Vec::new(), watch: Watch::default() };
    reader.keys(env)
}

/// Reads and checks a home with `drafts` in place of the files of those names, and changes nothing on disk.
pub(super) fn check_with(
    home: &Home,
    env: &Env,
    drafts: &[(&'static str, Document)],
) -> Result<(Loaded, Documents), Vec<Mistake>> {
    let mut reader =
        Reader { home, drafts, mistakes: Vec::new(), warnings: Vec::new(), watch: Watch::default() };
    let mut documents = Documents {
        settings: reader.document(SETTINGS),
        models: reader.document(MODELS),
        projects: reader.document(PROJECTS),
    };
    let (users, roles) = (reader.document(USERS), reader.document(ROLES));
    let accounts = match Accounts::check(&users, &roles, &mut reader.warnings) {
        Ok(accounts) => accounts,
        Err(mistakes) => {
            reader.mistakes.extend(mistakes);
            Accounts::default()
        }
    };
    let catalogue = reader.catalogue();
    let keys = reader.keys(env);
    let Reader { mut mistakes, mut warnings, watch, .. } = reader;
    let Documents { settings, models, projects } = &mut documents;
    let planned = takeover::plan(&mut settings.value, &mut models.value, &mut projects.value, &keys);
    let takeover = planned.map_err(|_| vec![no_randomness()])?;
    for note in &takeover.notes {
        let (file, message) = note.split_once(": ").unwrap_or(("config", note));
        warnings.push(Warning::of_file(file, message));
    }
    match Config::check(&documents, Arc::new(catalogue), env, &keys, &mut warnings) {
        Ok(config) if mistakes.is_empty() => {
            let config = Arc::new(config);
            Ok((Loaded { config, accounts, warnings, keys, takeover, watch }, documents))
        }
        other => {
            mistakes.extend(other.err().into_iter().flatten());
            mistakes.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            Err(mistakes)
        }
    }
}

/// Reads the files of one home and gathers what is wrong with them.
struct Reader<'h> {
    home: &'h Home,
    drafts: &'h [(&'static str, Document)],
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
    watch: Watch,
}

impl Reader<'_> {
    /// A parsed file; an empty document when it does not exist or does not parse.
    fn document(&mut self, name: &str) -> Document {
        let text = self.text(name, true);
        if let Some((_, draft)) = self.drafts.iter().find(|(known, _)| *known == name) {
            return draft.clone();
        }
        let Some(text) = text else { return Document::default() };
        match serde_json::from_str(&text) {
            Ok(value) => Document { text, value },
            Err(error) => {
                self.mistakes.push(Mistake::of_syntax(name, &text, &error));
                Document::default()
            }
        }
    }

    fn text(&mut self, name: &str, watched: bool) -> Option<String> {
        let path = self.home.file(name);
        let read = files::read(&path);
        if watched {
            let stamp = read.as_ref().ok().and_then(|content| content.as_ref()).map(|content| content.stamp);
            self.watch.add(path.clone(), stamp);
        }
        match read {
            Ok(None) => None,
            Ok(Some(Content { text, mode, .. })) => {
                if mode & 0o077 != 0 {
                    let message =
                        format!("can be read by other users (mode {mode:04o}); chmod 600 is advised");
                    self.warnings.push(Warning::of_file(name, message));
                }
                Some(text)
            }
            Err(error) => {
                self.mistakes.push(file_mistake(name, &path, &error));
                None
            }
        }
    }

    fn catalogue(&mut self) -> Catalogue {
        let Some(text) = self.text(PROVIDERS, true) else { return Catalogue::built_in().clone() };
        match Catalogue::with_local(&text) {
            Ok(catalogue) => catalogue,
            Err(crate::provider::catalogue::CatalogueError::Json(error)) => {
                self.mistakes.push(Mistake::of_syntax(PROVIDERS, &text, &error));
                Catalogue::built_in().clone()
            }
            Err(error) => {
                let expected = "providers of the catalogue's schema";
                self.mistakes.push(Mistake::of_file(PROVIDERS, error.to_string(), expected));
                Catalogue::built_in().clone()
            }
        }
    }

    fn keys(&mut self, env: &Env) -> Keys {
        let mut from_base64 = |name: &str, value: &Option<crate::config::Secret>| {
            let value = value.as_ref()?;
            let key = MasterKey::from_base64(value.expose());
            if key.is_none() {
                let found = "something else".to_owned();
                let expected = "32 bytes in base64".to_owned();
                self.mistakes.push(Mistake {
                    path: name.to_owned(),
                    ..Mistake::of_file("environment", found, expected)
                });
            }
            key
        };
        let legacy = from_base64("LOCALROUTER_SECRET_KEY", &env.legacy_secret_key);
        let master = match &env.secret_key {
            Some(_) => from_base64("ROUTERLY_SECRET_KEY", &env.secret_key),
            None => self.secret_file(),
        };
        // Without a secret the check still goes on, with a key that opens nothing and is never used to write.
        let master =
            master.or_else(|| MasterKey::generate().ok()).or_else(|| MasterKey::from_hex(&"0".repeat(64)));
        let master = master.expect("64 zeros are a key");
        Keys::derive(&master, legacy.as_ref())
    }

    fn secret_file(&mut self) -> Option<MasterKey> {
        let Some(text) = self.text(SECRET, false) else {
            if !self.mistakes.iter().any(|mistake| mistake.file == SECRET) {
                self.warnings
                    .push(Warning::of_file(SECRET, "does not exist; a new one is made at the next start"));
            }
            return None;
        };
        let key = MasterKey::from_hex(&text);
        if key.is_none() {
            self.mistakes.push(Mistake::of_file(
                SECRET,
                "something else",
                "one line of 64 hexadecimal digits",
            ));
        }
        key
    }
}

fn file_mistake(name: &str, path: &Path, error: &FileError) -> Mistake {
    match error {
        FileError::Empty { .. } => Mistake::of_file(
            name,
            "an empty file",
            "JSON; restore a backup, or delete the file to start without",
        ),
        FileError::NotUtf8 { offset, .. } => {
            let before = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(before.get(..*offset).unwrap_or_default());
            let (line, column) = position::of_offset(&text, text.len());
            Mistake { line, column, ..Mistake::of_file(name, "bytes that are not UTF-8", "UTF-8 text") }
        }
        FileError::Io { .. } | FileError::TooLarge { .. } => {
            Mistake::of_file(name, error.to_string(), "a file that can be read")
        }
    }
}

#[cfg(test)]
mod tests;
