//! A home directory of the test's own making: one that is older, broken, on a full disk or started twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::eventually;
use super::process::{Ended, Process, routerly};
use super::setup::Setup;

/// A home directory, removed at the end of the test.
pub struct Home {
    root: tempfile::TempDir,
}

impl Home {
    /// A directory with nothing in it.
    pub fn empty() -> Self {
        Self { root: tempfile::Builder::new().prefix("routerly-home-").tempdir().unwrap() }
    }

    /// With the configuration of `setup`; its arguments and environment are the caller's.
    pub fn of(setup: &Setup) -> Self {
        let home = Self::empty();
        home.write("config/settings.json", &pretty(&setup.settings));
        home.write("config/models.json", &pretty(&Value::Array(setup.models.clone())));
        home.write("config/projects.json", &pretty(&Value::Array(setup.projects.clone())));
        home
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// Writes a file in place.
    pub fn write(&self, name: &str, text: &str) {
        write(&self.file(name), text);
    }

    /// Changes a JSON document the way an editor does: a new file takes the old one's name.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        edit(&self.file(name), change);
    }

    /// Every file below the home with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        gather(self.path(), &mut files);
        files
    }

    /// `routerly start` on this home.
    pub fn command(&self) -> Command {
        let mut command = routerly(&["start", "--home"]);
        command.arg(self.path());
        command
    }

    /// Starts a gateway and waits until it listens.
    pub fn start(&self) -> Process {
        Process::listening(self.command())
    }

    /// Runs a command of `routerly` on this home to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = routerly(arguments);
        command.arg("--home").arg(self.path());
        Ended::of(command)
    }

    /// The records of all usage files, oldest file first.
    pub fn records(&self) -> Vec<Value> {
        self.usage_files().iter().flat_map(|file| records(file)).collect()
    }

    fn usage_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.file("data/usage")).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.push(self.file("data/usage.json"));
        files
    }

    /// Waits until the usage files hold `count` records.
    pub fn wait_for_records(&self, count: usize) -> Vec<Value> {
        // Lines are counted first: there may be tens of megabytes of them.
        let lines = |file: &PathBuf| {
            std::fs::read(file).map_or(0, |bytes| memchr::memchr_iter(b'\n', &bytes).count())
        };
        eventually(&format!("{count} usage records"), || {
            let there: usize = self.usage_files().iter().map(lines).sum();
            (there >= count).then(|| self.records())
        })
    }
}

fn gather(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            files.insert(path, content);
        }
    }
}

/// Writes a file and its directory in place.
pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Changes a JSON document the way an editor does: a new file takes the old one's name.
pub fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    let beside = path.with_extension("edited");
    std::fs::write(&beside, pretty(&value)).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// The whole records of a usage file: a line that is being written has no end yet.
pub fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
