//! Commands that talk to a running gateway over its management API, as one of this person's accounts.
//!
//! Owns who is meant (`--alias`, `--url`, the environment) and the way of an answer to the terminal. They never touch
//! the gateway's files.
//!
//! Source: the project's specification of the command line.

mod accounts;
mod api;
mod ask;
mod auth;
mod failure;
mod http;
mod limit;
mod model;
mod people;
mod print;
mod project;
mod report;
mod settings;
mod status;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use accounts::{AccountFile, Accounts};
use api::Api;
use print::Output;

pub(super) use failure::Failure;
pub(super) use http::Http;
pub(super) use print::print;

use crate::config::Env;

/// Where a gateway is looked for that nobody named.
const DEFAULT_URL: &str = "http://localhost:3000";

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// Account to use [default: the active one]
    #[arg(long, global = true, env = "ROUTERLY_ALIAS", value_name = "NAME", help_heading = "Global options")]
    pub alias: Option<String>,
    /// Gateway to use [default: the account's]
    #[arg(long, global = true, env = "ROUTERLY_URL", value_name = "URL", help_heading = "Global options")]
    pub url: Option<String>,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Remote {
    /// Make the first administrator of a new gateway and sign in
    Setup(people::SetupArgs),
    /// Sign in and out; several accounts
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Show account and gateway
    Status,
    /// The gateway's service: status and settings
    #[command(subcommand)]
    Service(settings::Service),
    /// Models that requests can be routed to
    #[command(subcommand)]
    Model(model::Model),
    /// Projects: models, routing, tokens, members, budgets
    #[command(subcommand)]
    Project(project::Project),
    /// Tokens of projects
    #[command(subcommand)]
    Token(project::tokens::Token),
    /// Users
    #[command(subcommand)]
    User(people::User),
    /// Roles
    #[command(subcommand)]
    Role(people::Role),
    /// What was called, and what it cost
    #[command(subcommand)]
    Report(report::Report),
    /// Whether the gateway may tell its makers that it is used
    #[command(subcommand)]
    Telemetry(settings::Telemetry),
    /// Alerts
    #[command(subcommand)]
    Notifications(settings::Notifications),
}

/// Runs a command.
pub(super) fn run(command: Remote, globals: Globals) -> ExitCode {
    let context = Context::new(globals);
    let done = match command {
        Remote::Setup(args) => people::setup(&context, &args),
        Remote::Auth(command) => auth::run(&context, command),
        Remote::Status => return status::run(&context),
        Remote::Service(settings::Service::Status) => return status::run(&context),
        Remote::Service(settings::Service::Configure(args)) => settings::configure(&context, &args),
        Remote::Model(command) => model::run(&context, command),
        Remote::Project(command) => project::run(&context, command),
        Remote::Token(command) => project::tokens::run(&context, command),
        Remote::User(command) => people::user(&context, command),
        Remote::Role(command) => people::role(&context, command),
        Remote::Report(command) => report::run(&context, command),
        Remote::Telemetry(command) => settings::telemetry(&context, command),
        Remote::Notifications(command) => settings::notifications(&context, command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Whose command it is, and how it answers.
struct Context {
    globals: Globals,
    output: Output,
    /// `ROUTERLY_TOKEN`: a sign-in token in place of an account.
    token: Option<String>,
    user_home: Option<String>,
}

impl Context {
    fn new(globals: Globals) -> Self {
        let env = Env::from_process();
        let output = Output::new(globals.json, env.no_color);
        let token = env.login_token.map(|token| token.expose().to_owned());
        Self { globals, output, token, user_home: env.user_home }
    }

    /// The accounts' file.
    fn file(&self) -> Result<AccountFile, Failure> {
        let home = self.user_home.as_deref().ok_or_else(|| Failure::failed("HOME is not set"))?;
        Ok(AccountFile::below(Path::new(home)))
    }

    fn accounts(&self) -> Result<Accounts, Failure> {
        self.file()?.read()
    }

    /// The gateway, as the account that is meant.
    fn api(&self) -> Result<Api, Failure> {
        if let Some(token) = &self.token {
            return Api::of_token(&self.server()?, token.clone());
        }
        let file = self.file()?;
        let accounts = file.read()?;
        let account = accounts.choose(self.globals.alias.as_deref())?;
        Api::of_account(account, &file, self.globals.url.as_deref())
    }

    /// The gateway of somebody who has no account yet.
    fn server(&self) -> Result<String, Failure> {
        if let Some(url) = &self.globals.url {
            return Ok(url.clone());
        }
        let file = self.file()?;
        Ok(file.installed_url().unwrap_or_else(|| DEFAULT_URL.to_owned()))
    }

    /// Prints what a change gave back, or a sentence.
    fn done(&self, value: &Value, sentence: impl FnOnce() -> String) -> Result<(), Failure> {
        self.output.show(value, || format!("{}\n", print::plain(&sentence())))
    }
}
