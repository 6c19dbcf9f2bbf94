//! A gateway in a home of its own, written from a [`Setup`].

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::home::Home;
use super::process::Process;
use super::setup::Setup;

/// A running gateway. It is killed and its home removed at the end of the test.
pub struct Gateway {
    process: Process,
    home: Home,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Gateway {
    /// Writes the home and starts the gateway in it.
    ///
    /// # Panics
    /// When it does not say that it listens.
    pub fn start(setup: Setup) -> Self {
        let home = Home::of(&setup);
        let process = Process::listening(command(&home, &setup.arguments, &setup.environment));
        Self { process, home, arguments: setup.arguments, environment: setup.environment }
    }

    /// Starts again in the same home once the process has ended; the address is a new one.
    pub fn restart(mut self) -> Self {
        self.kill9();
        self.process = Process::listening(command(&self.home, &self.arguments, &self.environment));
        self
    }

    pub fn token(&self) -> &'static str {
        super::TOKEN
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.file(name)
    }

    /// Every file below the home with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.home.files()
    }

    /// Waits until the usage files hold `count` records and returns all that they hold.
    pub fn usage_records(&self, count: usize) -> Vec<Value> {
        self.home.wait_for_records(count)
    }
}

impl Deref for Gateway {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn command(home: &Home, arguments: &[String], environment: &[(String, String)]) -> Command {
    let mut command = home.command();
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command
}
