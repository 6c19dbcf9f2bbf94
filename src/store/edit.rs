//! Changes of configuration files by the program itself: all of one change, or none of it.
//!
//! A [`Draft`] reads files as they are now, edits by hand included, and is changed in memory. [`Draft::check`] finds
//! out whether the result is a configuration; only then is anything written, and several files of one change go
//! through `config/.pending.json` first, so that a crash in between leaves a change that the next start completes.
//!
//! Source: the project's configuration specification, section 9.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::files::{self, FileError, Stamp};
use super::home::{self, Home, Loaded};
use super::lock::with_upstream_lock;
use crate::config::files::{MODELS, PROJECTS, ROLES, SETTINGS, USERS};
use crate::config::{Accounts, Document, Env, Mistake, Opener as _, Secret};

/// A change of several files that is not complete yet.
const PENDING: &str = "config/.pending.json";

/// The files that the program changes.
pub const EDITABLE: [&str; 5] = [SETTINGS, MODELS, PROJECTS, USERS, ROLES];

/// Documents on their way to being changed.
pub struct Draft<'h> {
    home: &'h Home,
    env: &'h Env,
    files: Vec<Open>,
}

struct Open {
    name: &'static str,
    document: Document,
    /// The text that the change is based on; none: there was no file.
    before: Option<String>,
    is_changed: bool,
}

/// A file on its way to the disk.
struct Write {
    name: &'static str,
    bytes: Vec<u8>,
    /// The text that has to be there still; none where the change is based on nothing of it.
    based_on: Option<Option<String>>,
}

/// Why a change was not written. Everything is as before.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk does not take it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody has edited the file since it was read for this change.
    #[error("{0} was edited at the same moment")]
    Edited(&'static str),
}

/// A change that was written.
pub struct Written {
    /// The configuration after it; none where only accounts have changed, which no core knows.
    pub loaded: Option<Loaded>,
    /// What the files are now.
    pub stamps: Vec<(PathBuf, Stamp)>,
}

/// A change that can be written.
pub struct Checked<'h> {
    home: &'h Home,
    /// The configuration after it; none where only accounts change, which no core knows.
    pub loaded: Option<Loaded>,
    writes: Vec<Write>,
}

impl<'h> Draft<'h> {
    /// Nothing is read yet.
    pub fn new(home: &'h Home, env: &'h Env) -> Self {
        Self { home, env, files: Vec::new() }
    }

    /// Opens what stands in `file` at the object's `field`: what is put elsewhere has to be sealed anew for its new place,
    /// which happens to plain text when the change is checked. None: the keys at hand do not open it.
    pub fn unseal(&self, file: &str, object_id: &str, field: &str, value: &str) -> Option<Secret> {
        home::keys(self.home, self.env).open(file, object_id, field, value)
    }

    /// A document as it is now; `null` where the file does not exist. `name` is one of [`EDITABLE`].
    ///
    /// # Errors
    /// The file cannot be read, or is no JSON.
    pub fn read(&mut self, name: &'static str) -> Result<&Value, Mistake> {
        self.open(name).map(|file| &file.document.value)
    }

    /// The same to be changed; counts as changed from here on.
    ///
    /// # Errors
    /// See [`Draft::read`].
    pub fn edit(&mut self, name: &'static str) -> Result<&mut Value, Mistake> {
        let file = self.open(name)?;
        file.is_changed = true;
        Ok(&mut file.document.value)
    }

    fn open(&mut self, name: &'static str) -> Result<&mut Open, Mistake> {
        let index = match self.files.iter().position(|file| file.name == name) {
            Some(index) => index,
            None => {
                let document = home::document(self.home, name)?;
                let before = (!document.text.is_empty()).then(|| document.text.clone());
                self.files.push(Open { name, document, before, is_changed: false });
                self.files.len() - 1
            }
        };
        Ok(&mut self.files[index])
    }

    /// Whether the result is a configuration. Nothing is written.
    ///
    /// # Errors
    /// Every mistake of it.
    pub fn check(mut self) -> Result<Checked<'h>, Vec<Mistake>> {
        self.files.retain(|file| file.is_changed);
        for file in &mut self.files {
            // Places in findings are those of the text that is to be written.
            file.document.text = String::from_utf8_lossy(&files::to_json(&file.document.value)).into_owned();
        }
        let of_accounts = |name: &str| matches!(name, USERS | ROLES);
        if self.files.iter().all(|file| of_accounts(file.name)) {
            let document = |name: &'static str| match self.files.iter().find(|file| file.name == name) {
                Some(file) => Ok(file.document.clone()),
                None => home::document(self.home, name),
            };
            let (users, roles) = (document(USERS), document(ROLES));
            let (users, roles) = (users.map_err(|one| vec![one])?, roles.map_err(|one| vec![one])?);
            // What is probably not meant was said when the files were read.
            Accounts::check(&users, &roles, &mut Vec::new())?;
            let writes = self.files.into_iter().map(Open::into_write).collect();
            return Ok(Checked { home: self.home, loaded: None, writes });
        }
        let drafts: Vec<_> = self.files.iter().map(|file| (file.name, file.document.clone())).collect();
        let (loaded, documents) = home::check_with(self.home, self.env, &drafts)?;
        let mut writes = Vec::new();
        for (name, value) in [
            (SETTINGS, &documents.settings.value),
            (MODELS, &documents.models.value),
            (PROJECTS, &documents.projects.value),
        ] {
            // What was put in as plain text is encrypted or hashed by now.
            let own = self.files.iter().find(|file| file.name == name);
            if loaded.takeover.changes(name) || own.is_some() {
                let based_on = own.map(|file| file.before.clone());
                writes.push(Write { name, bytes: files::to_json(value), based_on });
            }
        }
        writes.extend(self.files.into_iter().filter(|file| of_accounts(file.name)).map(Open::into_write));
        Ok(Checked { home: self.home, loaded: Some(loaded), writes })
    }
}

impl Open {
    fn into_write(self) -> Write {
        Write { name: self.name, bytes: self.document.text.into_bytes(), based_on: Some(self.before) }
    }
}

impl Checked<'_> {
    /// Writes the change, and hands back the state of each file. `now_unix_ms` is the wall clock.
    ///
    /// # Errors
    /// The first file that cannot be written or was edited by somebody else since; the ones before it have their old
    /// content again.
    pub fn write(self, now_unix_ms: u64) -> Result<Written, WriteError> {
        let is_one = self.writes.len() < 2;
        let pending = self.home.file(PENDING);
        // Once before a crash could complete the change, and each once more under its lock.
        for write in &self.writes {
            write.is_still_based(self.text(write)?.as_ref())?;
        }
        if !is_one {
            let text = |write: &Write| {
                (write.name.to_owned(), Value::from(String::from_utf8_lossy(&write.bytes).into_owned()))
            };
            files::replace_json(&pending, &Value::Object(self.writes.iter().map(text).collect()))?;
        }
        let mut stamps = Vec::new();
        let mut before: Vec<(PathBuf, Option<String>)> = Vec::new();
        for write in &self.writes {
            let path = self.home.file(write.name);
            let replace = || {
                let old = self.text(write)?;
                write.is_still_based(old.as_ref())?;
                Ok((old, files::replace(&path, &write.bytes)?))
            };
            let held = |source| {
                let action = "another program is writing";
                WriteError::File(FileError::Io { action, path: path.clone(), source })
            };
            match with_upstream_lock(&path, now_unix_ms, replace, held) {
                Ok((old, stamp)) => {
                    before.push((path.clone(), old));
                    stamps.push((path, stamp));
                }
                Err(error) => {
                    undo(before);
                    // What is pending must not come back at the next start.
                    remove(&pending)?;
                    return Err(error);
                }
            }
        }
        if !is_one {
            remove(&pending)?;
        }
        let mut loaded = self.loaded;
        if let Some(loaded) = &mut loaded {
            stamps.iter().for_each(|(path, stamp)| loaded.watch.accept(path, *stamp));
        }
        Ok(Written { loaded, stamps })
    }

    /// What is in the file now.
    fn text(&self, write: &Write) -> Result<Option<String>, WriteError> {
        Ok(files::read(&self.home.file(write.name))?.map(|content| content.text))
    }
}

impl Write {
    /// Compares texts, not stamps: two writes can fall into one tick of the file system's clock.
    fn is_still_based(&self, now: Option<&String>) -> Result<(), WriteError> {
        match &self.based_on {
            Some(text) if text.as_ref() != now => Err(WriteError::Edited(self.name)),
            _ => Ok(()),
        }
    }
}

/// Puts old contents back. What cannot be put back stays as it is: the error of the write is the one to be told.
fn undo(before: Vec<(PathBuf, Option<String>)>) {
    for (path, old) in before {
        let _ = match old {
            Some(text) => files::replace(&path, text.as_bytes()).map(|_| ()),
            None => remove(&path),
        };
    }
}

fn remove(path: &std::path::Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::Io { action: "cannot remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Completes a change that a crash has cut in two. To be called before the files are read.
///
/// # Errors
/// A file that cannot be written, or a pending change that is none.
pub fn recover(home: &Home) -> Result<(), Mistake> {
    let pending = home.file(PENDING);
    let failed =
        |error: FileError| Mistake::of_file(PENDING, error.to_string(), "a change that can be completed");
    let Some(content) = files::read(&pending).map_err(failed)? else { return Ok(()) };
    let changes: Map<String, Value> = serde_json::from_str(&content.text)
        .map_err(|error| Mistake::of_syntax(PENDING, &content.text, &error))?;
    for (name, text) in &changes {
        let Some(name) = EDITABLE.into_iter().find(|known| known == name) else { continue };
        if let Some(text) = text.as_str() {
            files::replace(&home.file(name), text.as_bytes()).map_err(failed)?;
        }
    }
    remove(&pending).map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::home::open;

    const NOW: u64 = 1_800_000_000_000;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        let lock = home.lock(NOW).unwrap();
        open(&home, &lock, &Env::default(), NOW).unwrap();
        (directory, home)
    }

    fn add(draft: &mut Draft<'_>, name: &'static str, item: Value) {
        let value = draft.edit(name).unwrap();
        if value.is_null() {
            *value = json!([]);
        }
        value.as_array_mut().unwrap().push(item);
    }

    fn model() -> Value {
        json!({"id": "m", "provider": "custom", "endpoint": "http://127.0.0.1:1/v1", "apiKey": "sk-plain-key"})
    }

    fn text(home: &Home, name: &str) -> Option<String> {
        files::read(&home.file(name)).unwrap().map(|content| content.text)
    }

    #[test]
    fn a_change_is_checked_sealed_and_written_as_a_whole() {
        let (_directory, home) = home();
        let env = Env::default();
        let mut draft = Draft::new(&home, &env);
        assert!(draft.read(MODELS).unwrap().is_null());
        add(&mut draft, MODELS, model());
        add(&mut draft, PROJECTS, json!({"id": "p", "name": "P", "models": [{"modelId": "m"}]}));
        let checked = draft.check().unwrap();
        assert_eq!(checked.loaded.as_ref().unwrap().config.models().len(), 1);
        assert_eq!(text(&home, MODELS), None, "nothing is written before it is asked for");
        let Written { loaded, stamps } = checked.write(NOW).unwrap();
        assert_eq!(stamps.len(), 2);
        assert!(text(&home, MODELS).unwrap().contains("ENCRYPTED:v1:"));
        assert!(!text(&home, MODELS).unwrap().contains("sk-plain-key"));
        assert!(!home.file(PENDING).exists());
        assert!(!loaded.unwrap().watch.poll());
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_places_and_changes_nothing() {
        let (_directory, home) = home();
        let env = Env::default();
        let settings = text(&home, SETTINGS);
        let mut draft = Draft::new(&home, &env);
        draft.edit(SETTINGS).unwrap()["port"] = json!("x");
        add(&mut draft, USERS, json!({"email": "a@example.org"}));
        let mistakes = draft.check().map(|_| ()).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|one| (one.file.as_str(), one.path.as_str())).collect();
        assert_eq!(places, [(SETTINGS, "port"), (USERS, "[0].id")]);
        assert_eq!((text(&home, SETTINGS), text(&home, USERS)), (settings, None));
    }

    #[test]
    fn accounts_alone_need_no_new_configuration() {
        let (_directory, home) = home();
        let env = Env::default();
        let mut draft = Draft::new(&home, &env);
        add(&mut draft, USERS, json!({"id": "u", "email": "a@example.org", "roleId": "admin", "mine": [1]}));
        let checked = draft.check().unwrap();
        assert!(checked.loaded.is_none());
        checked.write(NOW).unwrap();
        assert!(text(&home, USERS).unwrap().contains("\"mine\""));
    }

    #[test]
    fn a_second_file_that_cannot_be_written_gives_the_first_its_content_back() {
        let (_directory, home) = home();
        let env = Env::default();
        let mut draft = Draft::new(&home, &env);
        add(&mut draft, MODELS, model());
        add(&mut draft, PROJECTS, json!({"id": "p", "name": "P"}));
        let checked = draft.check().unwrap();
        // A directory in its place: no rename gets over it.
        std::fs::create_dir_all(home.file(PROJECTS).join("in the way")).unwrap();
        checked.write(NOW).map(|_| ()).unwrap_err();
        assert!(!home.file(MODELS).exists() && !home.file(PENDING).exists());
    }

    #[test]
    fn an_edit_by_hand_at_the_same_moment_is_not_written_over() {
        let (_directory, home) = home();
        let env = Env::default();
        let others = json!([{"id": "mine", "name": "Mine"}]).to_string();
        // A file that came into being, one that was changed, and one of two.
        for (is_first, before) in [(true, None), (false, None), (false, Some("[]"))] {
            let _ = std::fs::remove_file(home.file(PROJECTS));
            if let Some(before) = before {
                files::replace(&home.file(PROJECTS), before.as_bytes()).unwrap();
            }
            let mut draft = Draft::new(&home, &env);
            if !is_first {
                add(&mut draft, MODELS, model());
            }
            add(&mut draft, PROJECTS, json!({"id": "p", "name": "P"}));
            let checked = draft.check().unwrap();
            files::replace(&home.file(PROJECTS), others.as_bytes()).unwrap();
            let error = checked.write(NOW).map(|_| ()).unwrap_err();
            assert!(matches!(error, WriteError::Edited(PROJECTS)), "{error}");
            assert_eq!(text(&home, PROJECTS), Some(others.clone()));
            assert!(!home.file(MODELS).exists() && !home.file(PENDING).exists());
        }
    }

    #[test]
    fn a_key_is_opened_for_another_place() {
        let (_directory, home) = home();
        let env = Env::default();
        let mut draft = Draft::new(&home, &env);
        add(&mut draft, MODELS, model());
        draft.check().unwrap().write(NOW).unwrap();
        let mut draft = Draft::new(&home, &env);
        let sealed = draft.read(MODELS).unwrap()[0]["apiKey"].as_str().unwrap().to_owned();
        let opened = draft.unseal(MODELS, "m", "apiKey", &sealed).unwrap();
        assert_eq!(opened.expose(), "sk-plain-key");
        assert!(draft.unseal(MODELS, "other", "apiKey", &sealed).is_none());
    }

    #[test]
    fn a_change_that_was_cut_in_two_is_completed_at_the_next_start() {
        let (_directory, home) = home();
        let models = json!([model()]).to_string();
        let projects = json!([{"id": "p", "name": "P", "models": [{"modelId": "m"}]}]).to_string();
        // As after a crash behind the first of two files, and right behind the pending change.
        for first in [true, false] {
            let _ = std::fs::remove_file(home.file(PROJECTS));
            let _ = std::fs::remove_file(home.file(MODELS));
            files::replace_json(
                &home.file(PENDING),
                &json!({MODELS: models, PROJECTS: projects, "../x": "y"}),
            )
            .unwrap();
            if first {
                files::replace(&home.file(MODELS), models.as_bytes()).unwrap();
            }
            let lock = home.lock(NOW).unwrap();
            let loaded = open(&home, &lock, &Env::default(), NOW).unwrap();
            assert_eq!((loaded.config.models().len(), loaded.config.projects().len()), (1, 1));
            assert!(!home.file(PENDING).exists());
        }
        assert!(!home.root().join("x").exists());
    }
}
