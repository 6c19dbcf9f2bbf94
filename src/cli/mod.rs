//! Command line: one file per command.
//!
//! Owns the flags; each is defined once, its help text is derived from that. Decides nothing else.

mod backup;
pub mod check;
mod doctor;
mod handover;
mod remote;
mod service;
mod shell;
pub mod simulate;
pub mod start;
pub mod trace;
mod upgrade;
pub mod usage;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Env;
use crate::simulate::SimulatedArgs;
use crate::store::home::Home;
use crate::store::reports::{Cursor, Filter};
use crate::telemetry::labels::Outcome;
use usage::{
    GroupBy, OutputFormat, RecordsOptions, UsageOptions, parse_cursor, parse_from, parse_outcome, parse_to,
};

/// Self-hosted LLM gateway.
#[derive(Debug, Parser)]
#[command(name = "routerly", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub globals: remote::Globals,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway in the foreground
    #[command(alias = "serve")]
    Start(StartArgs),
    /// Check a home directory and list every mistake
    Check(CheckArgs),
    /// Sum up the usage records of a home directory
    Usage(Box<UsageArgs>),
    /// Show what happened to a request, by the id in its answer's x-routerly-trace-id
    Trace(TraceArgs),
    /// Run the simulated provider as a server of its own
    Simulate(Box<SimulateArgs>),
    /// Look for what could keep a home from being served well
    Doctor(doctor::DoctorArgs),
    /// Write a home into one archive, also while a gateway runs on it
    Backup(backup::BackupArgs),
    /// Put an archive in the place of a home that no gateway runs on
    Restore(backup::RestoreArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command into a directory
    Man {
        /// Where to write them
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// What talks to a running gateway.
    #[command(flatten)]
    Remote(remote::Remote),
}

/// Flags of `start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    pub home: Option<PathBuf>,
    /// Address to listen on [default: from settings]
    #[arg(long)]
    pub host: Option<IpAddr>,
    /// Port to listen on, 0 for any free one [default: from settings]
    #[arg(long)]
    pub port: Option<u16>,
    /// Data-plane threads, 0 for one per processor [default: from settings]
    #[arg(long)]
    pub cores: Option<usize>,
    /// Take over from the process that runs on this home, without refusing a connection; start as usual if none does
    #[arg(long, conflicts_with = "demo")]
    pub replace: bool,
    /// Make a throw-away home with a demo project on the simulated provider and show how to call it
    #[arg(long, conflicts_with = "home")]
    pub demo: bool,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    pub home: Option<PathBuf>,
    /// Also show what a first start would change in an older home; changes nothing
    #[arg(long)]
    pub import_dry_run: bool,
}

/// Flags of `usage`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UsageArgs {
    /// List single records instead.
    #[command(subcommand)]
    pub command: Option<UsageCommand>,
    /// Which records.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// What to sum up by
    #[arg(long, value_enum, default_value_t)]
    pub by: GroupBy,
    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
}

/// What `usage` does else.
#[derive(Debug, Subcommand)]
pub enum UsageCommand {
    /// List single records, the newest first, as JSON Lines
    Records(RecordsArgs),
}

/// Flags of `usage records`.
#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// Which records.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many at most
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// Go on where an earlier call has stopped: what it said on standard error
    #[arg(long, value_parser = parse_cursor)]
    pub after: Option<Cursor>,
}

/// Flags that choose records.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    pub home: Option<PathBuf>,
    /// Id of a project
    #[arg(long)]
    pub project: Option<String>,
    /// Id of a project token
    #[arg(long)]
    pub token: Option<String>,
    /// Id of a model
    #[arg(long)]
    pub model: Option<String>,
    /// Name of a provider
    #[arg(long)]
    pub provider: Option<String>,
    /// How the call ended, such as `error`
    #[arg(long, value_parser = parse_outcome)]
    pub outcome: Option<Outcome>,
    /// First moment: 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_parser = parse_from)]
    pub from: Option<u64>,
    /// Last day, or the moment before which records count
    #[arg(long, value_parser = parse_to)]
    pub to: Option<u64>,
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            from_ms: self.from,
            to_ms: self.to,
            project: self.project.clone(),
            token: self.token.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            outcome: self.outcome,
            ..Filter::default()
        }
    }
}

/// Flags of `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The request's id
    pub id: String,
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    pub home: Option<PathBuf>,
}

/// Flags of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on, 0 for any free one
    #[arg(long, default_value_t = 8089)]
    pub port: u16,
    /// Threads, 0 for one per processor
    #[arg(long, default_value_t = 1)]
    pub cores: usize,
    /// How the provider behaves.
    #[command(flatten)]
    pub behaviour: SimulatedArgs,
}

/// Runs the command that the arguments name.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Start(args) => start::run(&args),
        Command::Check(args) => check::run(args.home.as_deref(), args.import_dry_run).into(),
        Command::Usage(args) => run_usage(&args, cli.globals.json),
        Command::Trace(args) => trace::run(&args, cli.globals.json),
        Command::Simulate(args) => simulate::run(&args),
        Command::Doctor(args) => doctor::run(&args, cli.globals.json),
        Command::Backup(args) => backup::back_up(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { directory } => shell::man(directory.as_deref()),
        Command::Remote(command) => remote::run(command, cli.globals),
    }
}

fn run_usage(args: &UsageArgs, json: bool) -> ExitCode {
    if json && args.csv {
        return remote::Failure::usage("--json and --csv exclude each other").report();
    }
    let filter = match &args.command {
        Some(UsageCommand::Records(records)) => &records.filter,
        None => &args.filter,
    };
    let home = match Home::resolve(filter.home.as_deref(), &Env::from_process()) {
        Ok(home) => home,
        Err(mistake) => return fail(&mistake.to_string()),
    };
    let filter = filter.filter();
    if let Some(UsageCommand::Records(records)) = &args.command {
        let options = RecordsOptions { filter, limit: records.limit, after: records.after };
        return usage::run_records(home.root(), &options).into();
    }
    let format = match (json, args.csv) {
        (true, _) => OutputFormat::Json,
        (_, true) => OutputFormat::Csv,
        _ => OutputFormat::Table,
    };
    usage::run(home.root(), &UsageOptions { by: args.by, filter, format }).into()
}

/// Says on standard error why a command failed.
#[expect(clippy::print_stderr, reason = "the command line's own voice")]
fn fail(message: &str) -> ExitCode {
    eprintln!("routerly: {message}");
    ExitCode::FAILURE
}
