//! SIGUSR2: the binary that lies where this process came from is started and takes over.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::telemetry::log::{self, Value};

/// How this process was started, to start another one.
pub(super) struct Upgrade {
    /// None where there can be no other: a demo's home is its own.
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
}

impl Upgrade {
    /// To be called at the start: later the binary may be another one, and the kernel calls this one's path deleted.
    pub(super) fn of_this_process(is_demo: bool) -> Self {
        let program = if is_demo { None } else { std::env::current_exe().ok() };
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        if !arguments.iter().any(|argument| argument == "--replace") {
            arguments.push("--replace".into());
        }
        Self { program, arguments }
    }

    /// Starts it. It asks for the listeners itself; where it fails before that, this process serves on.
    pub(super) fn begin(&self) {
        let Some(program) = &self.program else {
            return log::warn("a demo cannot be replaced", &[]);
        };
        match Command::new(program).args(&self.arguments).spawn() {
            Ok(mut child) => {
                log::info(
                    "another process was started to take over",
                    &[("pid", Value::Integer(u64::from(child.id())))],
                );
                // Somebody has to hear of its end while this process lives.
                let waiter =
                    std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || child.wait());
                if let Err(error) = waiter {
                    log::warn("its end will not be noticed", &[("reason", Value::Display(&error))]);
                }
            }
            Err(error) => {
                log::error("no process could be started to take over", &[("reason", Value::Display(&error))])
            }
        }
    }
}
