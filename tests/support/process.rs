//! `routerly` as a process: one that serves, and one that runs to its end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::client::Client;
use super::{PATIENCE, Response, eventually};

/// A running gateway. It is killed at the end of the test.
pub struct Process {
    child: Child,
    lines: Arc<Lines>,
    address: SocketAddr,
}

impl Process {
    /// Starts `command` and waits until it says that it listens.
    ///
    /// # Panics
    /// When it never does.
    pub fn listening(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let lines = Arc::new(Lines::default());
        lines.read(child.stdout.take().unwrap());
        lines.read(child.stderr.take().unwrap());
        let Some(line) = lines.wait(0, |line| line.contains("listening")) else {
            // Not in a Process yet, whose drop would do it.
            let _ = child.kill();
            panic!("the gateway did not start:\n{}", lines.all().join("\n"));
        };
        let address = address_in(&line).unwrap_or_else(|| panic!("no address in {line}"));
        Self { child, lines, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
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
    ///
    /// # Panics
    /// When it does not come in time, or both outputs end without it.
    pub fn wait_for_line_after(&self, count: usize, parts: &str) -> String {
        let found = self.lines.wait(count, |line| parts.split("; ").all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("the gateway never said {parts:?}"))
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

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        // The page comes from the thread that also writes files: while a write hangs the answer is 503.
        eventually("/metrics", || {
            let page = self.client().get("/metrics");
            (page.status == 200).then(|| page.text().to_owned())
        })
    }

    /// The value of one series of `/metrics`, written as it is there, labels included; 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        metric_in(&self.metrics(), series)
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

    /// Lets the gateway read its configuration and waits until the new one is in force.
    pub fn reload(&self) {
        let before = self.metric("routerly_config_generation");
        self.signal("HUP");
        self.wait_for_metric("routerly_config_generation", |now| now > before);
    }
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
