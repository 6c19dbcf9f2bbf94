//! `routerly completions` and `routerly man`: made of the command line's own definition.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, fail};

/// Prints what a shell is to read.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "routerly", &mut out);
    print(&out)
}

/// Prints the page of the program, or writes one for each command.
pub(super) fn man(directory: Option<&Path>) -> ExitCode {
    if let Some(directory) = directory {
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
        return match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{}: {error}", directory.display())),
        };
    }
    let mut out = Vec::new();
    match Man::new(Cli::command()).render(&mut out) {
        Ok(()) => print(&out),
        Err(error) => fail(&error.to_string()),
    }
}

fn print(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}
