//! The gateway as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::client::Client;
use super::setup::Setup;
use super::{PATIENCE, eventually};

/// A running gateway. It is killed and its home removed at the end of the test.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    lines: Arc<Lines>,
    home: tempfile::TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What the gateway has said so far, on both of its outputs.
#[derive(Default)]
struct Lines {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: usize,
}

impl Lines {
    fn read(self: &Arc<Self>, from: impl Read + Send + 'static) {
        let lines = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                lines.said.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                lines.changed.notify_all();
            }
            lines.said.lock().unwrap().ended += 1;
            lines.changed.notify_all();
        });
    }

    /// The first line from `from` on that `is_it`; none when both outputs ended without it.
    fn wait(&self, from: usize, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut looked = from;
        let mut said = self.said.lock().unwrap();
        loop {
            if let Some(line) = said.lines.iter().skip(looked).find(|line| is_it(line)) {
                return Some(line.clone());
            }
            looked = said.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended == 2 || left.is_zero() {
                return None;
            }
            said = self.changed.wait_timeout(said, left).unwrap().0;
        }
    }

    fn all(&self) -> Vec<String> {
        self.said.lock().unwrap().lines.clone()
    }
}

impl Gateway {
    /// Writes the home and starts the gateway in it.
    ///
    /// # Panics
    /// When it does not say that it listens.
    pub fn start(setup: Setup) -> Self {
        let home = tempfile::Builder::new().prefix("routerly-test-").tempdir().unwrap();
        write_home(home.path(), &setup);
        Self::in_home(home, setup.arguments, setup.environment)
    }

    fn in_home(home: tempfile::TempDir, arguments: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let mut child = command(home.path(), &arguments, &environment).spawn().expect("the binary runs");
        let lines = Arc::new(Lines::default());
        lines.read(child.stdout.take().unwrap());
        lines.read(child.stderr.take().unwrap());
        let Some(line) = lines.wait(0, |line| line.contains("listening")) else {
            // Not in a Gateway yet, whose drop would do it.
            let _ = child.kill();
            panic!("the gateway did not start:\n{}", lines.all().join("\n"));
        };
        let address = address_in(&line).unwrap_or_else(|| panic!("no address in {line}"));
        Self { child, address, lines, home, arguments, environment }
    }

    /// Starts again in the same home once the process has ended; the address is a new one.
    pub fn restart(mut self) -> Self {
        self.kill9();
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().unwrap());
        Self::in_home(home, std::mem::take(&mut self.arguments), std::mem::take(&mut self.environment))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn token(&self) -> &'static str {
        super::TOKEN
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn call(&self, request: impl AsRef<[u8]>) -> super::Response {
        self.client().call(request)
    }

    /// The first line, from the start on, that holds `part`.
    pub fn wait_for_line(&self, part: &str) -> String {
        self.wait_for_line_after(0, part)
    }

    /// The first line that holds `part` and came after the first `count` lines.
    pub fn wait_for_line_after(&self, count: usize, part: &str) -> String {
        let found = self.lines.wait(count, |line| line.contains(part));
        found.unwrap_or_else(|| panic!("the gateway never said {part:?}"))
    }

    /// Lines said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// Sends a signal by its name without SIG: `TERM`, `HUP`, `INT`.
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
        eventually("the gateway's end", || self.child.try_wait().unwrap())
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `data/usage.json` holds `count` records and returns all that it holds.
    pub fn usage_records(&self, count: usize) -> Vec<Value> {
        let read = || {
            let bytes = std::fs::read(self.file("data/usage.json")).unwrap_or_default();
            // Counted first: to parse tens of thousands at every look would keep the gateway from writing them. A
            // line that is being written has no line end yet.
            let ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).collect();
            let whole = bytes[..ends.last().map_or(0, |at| at + 1)].split_inclusive(|byte| *byte == b'\n');
            (ends.len() >= count)
                .then(|| whole.map(|line| serde_json::from_slice(line).unwrap()).collect::<Vec<Value>>())
        };
        eventually(&format!("{count} usage records"), read)
    }

    /// The value of one series of `/metrics`, written as it is there, labels included; 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        metric_in(&self.metrics(), series)
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        self.client().get("/metrics").expect(200).text().to_owned()
    }

    /// Waits until a series has a value.
    pub fn wait_for_metric(&self, series: &str, is_it: impl Fn(f64) -> bool) -> f64 {
        eventually(series, || Some(self.metric(series)).filter(|value| is_it(*value)))
    }

    /// Resident memory of the process in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kibibytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{}\n---", self.lines.all().join("\n"));
        }
    }
}

/// Value of a series in the text of `/metrics`.
pub fn metric_in(text: &str, series: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0.0)
}

/// The address in the line that says where the gateway listens, in either log format.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    let from = &line[line.find("://")? + 3..];
    let end = from.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(from.len());
    let mut address: SocketAddr = from[..end].parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Some(address)
}

/// `routerly` with arguments, in an environment that holds nothing of ours.
pub fn routerly(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routerly"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A run that measures coverage tells the program where to write it.
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

fn command(home: &Path, arguments: &[String], environment: &[(String, String)]) -> Command {
    let mut command = routerly(&["start", "--home"]);
    command.arg(home).args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn write_home(root: &Path, setup: &Setup) {
    let config = root.join("config");
    std::fs::create_dir_all(&config).unwrap();
    let models = Value::Array(setup.models.clone());
    let projects = Value::Array(setup.projects.clone());
    for (name, value) in
        [("settings.json", &setup.settings), ("models.json", &models), ("projects.json", &projects)]
    {
        std::fs::write(config.join(name), serde_json::to_string_pretty(value).unwrap()).unwrap();
    }
}
