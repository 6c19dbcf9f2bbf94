//! The program in a home of the test's own making: one that is older, broken, on a full disk or started twice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::client::Client;
use super::gateway::{metric_in, routerly};
use super::setup::Setup;
use super::{Response, eventually};

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
        } else {
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

/// A command that ran to its end.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn of(mut command: Command) -> Self {
        let output = command.output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Panics with what was said when the code is another one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    /// Panics unless both outputs together hold each part.
    pub fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "{part:?} is not in:\n{}\n{}",
                self.out,
                self.err
            );
        }
    }
}

/// A running gateway. It is killed at the end of the test.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    address: Option<SocketAddr>,
}

impl Process {
    /// Starts `command` and waits until it says that it listens.
    pub fn listening(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let lines = Arc::default();
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        let mut process = Self { child, lines, address: None };
        let line = process.wait_for_line("listening");
        process.address = super::gateway::address_in(&line);
        assert!(process.address.is_some(), "no address in {line}");
        process
    }

    pub fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    pub fn call(&self, request: impl AsRef<[u8]>) -> Response {
        self.client().call(request)
    }

    /// The first line that holds all of `parts`, `; ` between them.
    pub fn wait_for_line(&self, parts: &str) -> String {
        self.wait_for_line_after(0, parts)
    }

    /// The first line that holds all of `parts`, `; ` between them, and came after the first `count` lines.
    pub fn wait_for_line_after(&self, count: usize, parts: &str) -> String {
        eventually(parts, || {
            let holds = |line: &&String| parts.split("; ").all(|part| line.contains(part));
            self.lines.lock().unwrap().iter().skip(count).find(holds).cloned()
        })
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.expect("kill(1) is there").success());
    }

    /// Ends the process on the spot.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a child of ours");
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }

    /// The value of one series of `/metrics`, labels included; 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        // The page comes from the thread that also waits for the disk: while that stalls the answer is 503.
        eventually("/metrics", || {
            let page = self.client().get("/metrics");
            (page.status == 200).then(|| metric_in(page.text(), series))
        })
    }

    pub fn wait_for_metric(&self, series: &str, is_it: impl Fn(f64) -> bool) -> f64 {
        eventually(series, || Some(self.metric(series)).filter(|value| is_it(*value)))
    }

    /// Lets the gateway read its configuration and waits until the new one is in force.
    pub fn reload(&self) {
        let before = self.metric("routerly_config_generation");
        self.signal("HUP");
        self.wait_for_metric("routerly_config_generation", |now| now > before);
    }
}

fn collect(from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            let said = lines.iter().filter(|line| !line.contains("\"request\""));
            let requests = lines.iter().filter(|line| line.contains("\"request\"")).rev().take(10);
            let shown: Vec<&str> = said.chain(requests).map(String::as_str).collect();
            eprintln!("--- the gateway said, the last requests last:\n{}\n---", shown.join("\n"));
        }
    }
}
