//! `routerly auth`: sign in and out, several accounts.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::accounts::Account;
use super::api::{Api, signed_in};
use super::failure::{Failure, Kind};
use super::print::{cell, note, pairs};
use super::{Context, ask};
use crate::telemetry::text::TimestampFormatter;

/// What is done with accounts.
#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Sign in and keep the account
    Login(LoginArgs),
    /// Renew the sign-in of an account
    Refresh {
        /// Account [default: --alias, else the active one]
        account: Option<String>,
    },
    /// End the sign-in and forget the account
    Logout {
        /// Account [default: --alias, else the active one]
        account: Option<String>,
        /// Forget it here only
        #[arg(long)]
        local: bool,
    },
    /// List the accounts
    #[command(alias = "list")]
    Ps,
    /// Make an account the active one
    Switch {
        /// Account [default: --alias]
        account: Option<String>,
    },
    /// Give an account another name
    Rename {
        /// Its present name [default: --alias]
        old: Option<String>,
        /// Its new name
        new: Option<String>,
        /// The same as a flag
        #[arg(long, conflicts_with = "new", value_name = "NAME")]
        new_alias: Option<String>,
    },
    /// Show who is signed in
    Whoami,
}

/// Flags of `auth login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Address of the user
    #[arg(long)]
    email: Option<String>,
    /// His password. Others on this machine may see it: --password-stdin is better
    #[arg(long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Keep a second account for an address that has one already
    #[arg(long)]
    add: bool,
}

pub(super) fn run(context: &Context, command: Auth) -> Result<(), Failure> {
    let alias = |given: Option<String>| given.or_else(|| context.globals.alias.clone());
    match command {
        Auth::Login(args) => login(context, &args),
        Auth::Refresh { account } => refresh(context, alias(account).as_deref()),
        Auth::Logout { account, local } => logout(context, alias(account).as_deref(), local),
        Auth::Ps => list(context),
        Auth::Switch { account } => {
            let name = alias(account).ok_or_else(|| Failure::usage("which account? name it"))?;
            switch(context, &name)
        }
        Auth::Rename { old, new, new_alias } => {
            let (old, new) = match (old, new, new_alias) {
                (Some(old), Some(new), _) | (Some(old), None, Some(new)) => (old, new),
                (None, _, Some(new)) => {
                    (alias(None).ok_or_else(|| Failure::usage("which account? name it"))?, new)
                }
                (Some(new), None, None) => {
                    (alias(None).ok_or_else(|| Failure::usage("expected two names"))?, new)
                }
                (None, _, None) => return Err(Failure::usage("expected two names")),
            };
            rename(context, &old, &new)
        }
        Auth::Whoami => whoami(context),
    }
}

fn login(context: &Context, args: &LoginArgs) -> Result<(), Failure> {
    let url = context.server()?;
    let mut api = Api::public(&url)?;
    let is_asked = args.email.is_none() || (args.password.is_none() && !args.password_stdin);
    let email = match &args.email {
        Some(email) => email.clone(),
        None => ask::line("Email", "--email")?,
    };
    let password = ask::secret(args.password.as_ref(), args.password_stdin, "Password", "--password")?;
    if api.is_exposed() {
        note("warning: the password travels to another machine over plain HTTP");
    }
    // Decided first: a sign-in that cannot be kept would go on counting.
    let alias = choose_alias(context, &url, &email, args.add, is_asked)?;
    let body = api.call("POST", "auth/login", Some(&json!({"email": email, "password": password})))?;
    keep(context, &url, alias, &email, &body)
}

/// A gateway's address as it is kept.
fn trimmed(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

/// Keeps the account of somebody who has just signed in. A sign-in whose place it takes is ended.
pub(super) fn keep(
    context: &Context,
    url: &str,
    alias: String,
    email: &str,
    body: &Value,
) -> Result<(), Failure> {
    let mut account =
        Account { alias, server_url: trimmed(url), email: email.to_owned(), ..Account::default() };
    signed_in(&mut account, body);
    let replaced = context.file()?.change(|accounts| {
        let replaced = accounts.find(&account.alias).cloned();
        accounts.put(account.clone());
        // Whoever signs in means to use it.
        accounts.current_alias = Some(account.alias.clone());
        Ok(replaced)
    })?;
    if let Some(replaced) = replaced {
        // One that has ended already, or whose gateway is gone, needs no end.
        let _ = Api::of_token(&replaced.server_url, replaced.token)
            .and_then(|mut api| api.call("POST", "auth/logout", None));
    }
    context.output.show(&shown(&account, true), || {
        pairs(&[
            ("Account", account.email.clone()),
            ("Role", account.role.clone().unwrap_or_default()),
            ("Alias", account.alias.clone()),
            ("Server", account.server_url.clone()),
        ])
    })
}

/// The name under which a new sign-in is kept.
pub(super) fn choose_alias(
    context: &Context,
    url: &str,
    email: &str,
    add: bool,
    is_asked: bool,
) -> Result<String, Failure> {
    let (accounts, server_url) = (context.accounts()?, trimmed(url));
    let is_same =
        |account: &&Account| account.email.eq_ignore_ascii_case(email) && account.server_url == server_url;
    if let Some(alias) = &context.globals.alias {
        let other = accounts.find(alias).filter(|account| !is_same(account));
        let Some(other) = other else { return Ok(alias.clone()) };
        let taken = format!("`{alias}` is the account of {} at {}", other.email, other.server_url);
        if ask::is_interactive() && ask::yes(&format!("{taken}. Replace it?"))? {
            return Ok(alias.clone());
        }
        return Err(Failure::conflict(taken));
    }
    let known = accounts.accounts.iter().find(is_same).filter(|_| !add);
    match known {
        Some(known) if is_asked && !ask::yes(&format!("Replace the account `{}`?", known.alias))? => {
            Ok(accounts.free_alias(email))
        }
        Some(known) => Ok(known.alias.clone()),
        None => Ok(accounts.free_alias(email)),
    }
}

fn refresh(context: &Context, alias: Option<&str>) -> Result<(), Failure> {
    let file = context.file()?;
    let mut api = Api::of_account(file.read()?.choose(alias)?, &file, context.globals.url.as_deref())?;
    api.renew(true)?;
    let account = api.account().cloned().unwrap_or_default();
    context.done(&shown(&account, false), || {
        format!("{} is signed in until {}", account.alias, time(account.expires_at))
    })
}

fn logout(context: &Context, alias: Option<&str>, local: bool) -> Result<(), Failure> {
    let file = context.file()?;
    let account = file.read()?.choose(alias)?.clone();
    if !local {
        let mut api = Api::of_account(&account, &file, context.globals.url.as_deref())?;
        match api.call("POST", "auth/logout", None) {
            Ok(_) => {}
            // There is nothing to end any more.
            Err(failure) if failure.kind == Kind::SignIn => {}
            Err(failure) => {
                note("warning: the gateway could not be told; the sign-in ends there by itself");
                failure.report();
            }
        }
    }
    file.change(|accounts| {
        accounts.remove(&account.alias);
        Ok(())
    })?;
    context.done(&json!({"alias": account.alias}), || format!("{} is signed out", account.alias))
}

fn list(context: &Context) -> Result<(), Failure> {
    let accounts = context.accounts()?;
    let is_active = |account: &Account| accounts.current_alias.as_deref() == Some(&account.alias);
    let all: Vec<Value> =
        accounts.accounts.iter().map(|account| shown(account, is_active(account))).collect();
    context.output.show(&Value::Array(all), || {
        let row = |account: &Account| {
            [
                if is_active(account) { "*" } else { "" }.to_owned(),
                account.alias.clone(),
                account.email.clone(),
                account.role.clone().unwrap_or_default(),
                account.server_url.clone(),
                time(account.expires_at),
            ]
        };
        let rows: Vec<[String; 6]> = accounts.accounts.iter().map(row).collect();
        context.output.table(["", "ALIAS", "EMAIL", "ROLE", "SERVER", "EXPIRES"], &rows)
    })
}

fn switch(context: &Context, alias: &str) -> Result<(), Failure> {
    context.file()?.change(|accounts| {
        accounts.choose(Some(alias))?;
        accounts.current_alias = Some(alias.to_owned());
        Ok(())
    })?;
    context.done(&json!({"alias": alias}), || format!("{alias} is the active account"))
}

fn rename(context: &Context, old: &str, new: &str) -> Result<(), Failure> {
    context.file()?.change(|accounts| {
        accounts.choose(Some(old))?;
        if accounts.find(new).is_some() {
            return Err(Failure::conflict(format!("there is an account `{new}` already")));
        }
        for account in accounts.accounts.iter_mut().filter(|account| account.alias == old) {
            account.alias = new.to_owned();
        }
        if accounts.current_alias.as_deref() == Some(old) {
            accounts.current_alias = Some(new.to_owned());
        }
        Ok(())
    })?;
    context.done(&json!({"alias": new}), || format!("{old} is called {new} now"))
}

fn whoami(context: &Context) -> Result<(), Failure> {
    let mut api = context.api()?;
    let mut me = api.get("me")?;
    if let Some(account) = api.account() {
        me["alias"] = account.alias.clone().into();
        me["serverUrl"] = account.server_url.clone().into();
        me["expiresAt"] = account.expires_at.into();
    }
    context.output.show(&me, || {
        pairs(&[
            ("Email", cell(&me["email"])),
            ("Role", cell(&me["roleId"])),
            ("Alias", cell(&me["alias"])),
            ("Server", cell(&me["serverUrl"])),
            ("Expires", me["expiresAt"].as_u64().map_or_else(|| "-".to_owned(), time)),
        ])
    })
}

/// An account without its tokens.
fn shown(account: &Account, is_active: bool) -> Value {
    json!({
        "alias": account.alias,
        "email": account.email,
        "role": account.role,
        "serverUrl": account.server_url,
        "expiresAt": account.expires_at,
        "active": is_active,
    })
}

/// A moment as people read it, to the second.
pub(super) fn time(unix_ms: u64) -> String {
    let text = TimestampFormatter::default().format(unix_ms).as_str().to_owned();
    text.get(..19).map_or(text.clone(), |seconds| format!("{}Z", seconds.replace('T', " ")))
}
