//! `routerly backup` and `routerly restore`: a home in one archive.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::remote::Failure;
use crate::clock;
use crate::config::Env;
use crate::store::backup;
use crate::store::home::Home;
use crate::telemetry::text::TimestampFormatter;

/// Flags of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where to write it; `-`: standard output. It holds the secret of the home
    file: PathBuf,
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    home: Option<PathBuf>,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The archive; `-`: standard input
    file: PathBuf,
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    home: Option<PathBuf>,
    /// Also where there is a configuration already; it is kept beside
    #[arg(long)]
    replace: bool,
}

fn home_of(flag: Option<&Path>) -> Result<Home, Failure> {
    Home::resolve(flag, &Env::from_process()).map_err(|mistake| Failure::failed(mistake.to_string()))
}

/// Runs `backup`.
pub(super) fn back_up(args: &BackupArgs) -> ExitCode {
    ended(write(args))
}

/// Runs `restore`.
pub(super) fn restore(args: &RestoreArgs) -> ExitCode {
    ended(put_back(args))
}

fn ended(result: Result<String, Failure>) -> ExitCode {
    match result {
        Ok(said) => {
            // Standard output may be the archive.
            let _ = writeln!(io::stderr(), "{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report(),
    }
}

fn write(args: &BackupArgs) -> Result<String, Failure> {
    let home = home_of(args.home.as_deref())?;
    if !home.config_directory().is_dir() {
        let root = home.root().display();
        return Err(Failure::not_found(format!("{root} is no home of a gateway: it has no config/")));
    }
    let now = TimestampFormatter::default().format(clock::unix_ms());
    let failed = |error: io::Error| Failure::failed(format!("no backup was made: {error}"));
    let contents = if args.file == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Failure::usage("an archive is nothing for a terminal: name a file"));
        }
        backup::write(&home, now.as_str(), BufWriter::new(io::stdout().lock())).map_err(failed)?
    } else {
        let beside = args.file.with_extension("partial");
        let written = (|| {
            let file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            let contents = backup::write(&home, now.as_str(), BufWriter::new(&file))?;
            file.sync_all()?;
            std::fs::rename(&beside, &args.file)?;
            Ok(contents)
        })();
        if written.is_err() {
            // Half an archive is none.
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(failed)?
    };
    Ok(format!("{} files, {} bytes of {}", contents.files, contents.bytes, home.root().display()))
}

fn put_back(args: &RestoreArgs) -> Result<String, Failure> {
    let home = home_of(args.home.as_deref())?;
    let now_ms = clock::unix_ms();
    // Held to the end: no gateway may start on half a home.
    let lock = home.lock(now_ms).map_err(|mistake| Failure::conflict(mistake.to_string()))?;
    if home.config_directory().exists() && !args.replace {
        let root = home.root().display();
        return Err(Failure::conflict(format!("{root} has a configuration; --replace keeps it beside")));
    }
    let failed = |error: io::Error| Failure::failed(format!("nothing was restored: {error}"));
    let (contents, old) = if args.file == Path::new("-") {
        backup::restore(&lock, now_ms, io::stdin().lock())
    } else {
        File::open(&args.file).and_then(|file| backup::restore(&lock, now_ms, BufReader::new(file)))
    }
    .map_err(failed)?;
    let kept = old.map(|old| format!("; what was there is in {}", old.display())).unwrap_or_default();
    Ok(format!("{} files, {} bytes into {}{kept}", contents.files, contents.bytes, home.root().display()))
}
