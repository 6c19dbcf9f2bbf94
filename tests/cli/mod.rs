//! The command line against a running gateway: in pipes and on a pseudo-terminal.

mod accounts;
mod homes;
mod terminal;
mod whole;

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Setup;
use crate::support::home::Home;
use crate::support::process::{Ended, Process, routerly};

/// A gateway, and a person with a home of his own who runs commands.
pub struct Stage {
    pub home: Home,
    pub gateway: Process,
    pub person: tempfile::TempDir,
}

pub const EMAIL: &str = "root@example.org";
pub const PASSWORD: &str = "correct horse";

impl Stage {
    /// A gateway that nobody has set up.
    pub fn new() -> Self {
        Self::of(&Setup::demo())
    }

    pub fn of(setup: &Setup) -> Self {
        let home = Home::of(setup);
        Self { gateway: home.start(), home, person: tempfile::tempdir().unwrap() }
    }

    /// A gateway with an administrator, who is signed in.
    pub fn signed_in() -> Self {
        let stage = Self::new();
        stage.pipe(&["setup", "--email", EMAIL, "--password-stdin"], PASSWORD).expect(0);
        stage
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.gateway.address())
    }

    /// A command of the person, for this gateway.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.elsewhere(arguments);
        command.env("ROUTERLY_URL", self.url());
        command
    }

    /// A command of the person, for whichever gateway it says.
    pub fn elsewhere(&self, arguments: &[&str]) -> Command {
        let mut command = routerly(arguments);
        command.env("HOME", self.person.path());
        command
    }

    /// Runs a command to its end, with nothing on its standard input.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments))
    }

    /// Runs a command to its end and feeds it.
    pub fn pipe(&self, arguments: &[&str], input: &str) -> Ended {
        feed(self.command(arguments), input)
    }

    /// Runs a command that ends well and prints JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let ended = self.run(&all).expect(0);
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}", ended.out))
    }
}

pub fn feed(mut command: Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the binary runs");
    // A command that does not read may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
