//! `routerly setup`, `user`, `role`: who may sign in, and what for.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::Api;
use super::failure::Failure;
use super::http::encode;
use super::print::{cell, note};
use super::{Context, ask, auth};

/// Flags of `setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Address of the administrator
    #[arg(long)]
    email: Option<String>,
    /// His password. Others on this machine may see it: --password-stdin is better
    #[arg(long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// What is done with users.
#[derive(Debug, Subcommand)]
pub enum User {
    /// List the users
    List,
    /// Add a user
    Add {
        /// His address
        #[arg(long)]
        email: String,
        /// His password. Others on this machine may see it: --password-stdin is better
        #[arg(
            long,
            env = "ROUTERLY_USER_PASSWORD",
            hide_env_values = true,
            conflicts_with = "password_stdin"
        )]
        password: Option<String>,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// Id or name of his role
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Ids of projects that he may see
        #[arg(long, value_delimiter = ',')]
        projects: Vec<String>,
    },
    /// Change a user; what is not named stays
    Edit {
        /// His address
        email: String,
        /// New address
        #[arg(long, value_name = "EMAIL")]
        new_email: Option<String>,
        /// New role
        #[arg(long)]
        role: Option<String>,
        /// Ids of projects that he may see; an empty one: none
        #[arg(long, value_delimiter = ',')]
        projects: Option<Vec<String>>,
    },
    /// Give a user another password, which ends his sign-ins; without an address: one's own
    Passwd {
        /// His address
        email: Option<String>,
        /// Read the new password from standard input (one's own: the present one on the line before)
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user
    Remove {
        /// His address
        #[arg(required_unless_present = "email_flag")]
        email: Option<String>,
        /// The same as a flag
        #[arg(long = "email", id = "email_flag", value_name = "EMAIL")]
        email_flag: Option<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What is done with roles.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// List the roles
    List,
    /// Add a role
    Add {
        /// Its id [default: made of the name]
        #[arg(long)]
        id: Option<String>,
        /// Its name
        #[arg(long)]
        name: String,
        /// What it allows, such as project:read,report:read
        #[arg(long, value_delimiter = ',')]
        permissions: Vec<String>,
    },
    /// Change a role; what is not named stays
    Edit {
        /// Its id
        id: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// What it allows, in place of what it has allowed
        #[arg(long, value_delimiter = ',')]
        permissions: Option<Vec<String>>,
    },
    /// Remove a role
    Remove {
        /// Its id
        id: String,
        /// Also where users have it, who may do nothing then
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

pub(super) fn setup(context: &Context, args: &SetupArgs) -> Result<(), Failure> {
    let url = context.server()?;
    let mut api = Api::public(&url)?;
    if api.get("setup/status")?["needsSetup"] == false {
        return Err(Failure::conflict("this gateway has an administrator; `routerly auth login` signs in"));
    }
    let email = match &args.email {
        Some(email) => email.clone(),
        None => ask::line("Email of the administrator", "--email")?,
    };
    let question = "Password (8 characters or more)";
    let password = ask::secret(args.password.as_ref(), args.password_stdin, question, "--password")?;
    if api.is_exposed() {
        note("warning: the password travels to another machine over plain HTTP");
    }
    let alias = auth::choose_alias(context, &url, &email, false, false)?;
    let body = json!({"email": email, "password": password});
    let answer = api.call("POST", "setup/first-admin", Some(&body))?;
    auth::keep(context, &url, alias, &email, &answer)
}

pub(super) fn user(context: &Context, command: User) -> Result<(), Failure> {
    match command {
        User::List => list_users(context),
        User::Add { email, password, password_stdin, role, projects } => {
            let question = format!("Password of {email}");
            let password = ask::secret(password.as_ref(), password_stdin, &question, "--password")?;
            let body = json!({"email": email, "password": password, "roleId": role, "projectIds": projects});
            let user = context.api()?.call("POST", "users", Some(&body))?;
            context.done(&user, || format!("{email} is a user with the role {}", cell(&user["roleId"])))
        }
        User::Edit { email, new_email, role, projects } => {
            let mut body = Map::new();
            body.extend(new_email.map(|email| ("email".to_owned(), email.into())));
            body.extend(role.map(|role| ("roleId".to_owned(), role.into())));
            let some =
                |projects: Vec<String>| projects.into_iter().filter(|id| !id.is_empty()).collect::<Vec<_>>();
            body.extend(projects.map(|projects| ("projectIds".to_owned(), some(projects).into())));
            if body.is_empty() {
                return Err(Failure::usage("nothing to change: --new-email, --role or --projects"));
            }
            let mut api = context.api()?;
            let path = user_path(&mut api, &email)?;
            let user = api.call("PUT", &path, Some(&Value::Object(body)))?;
            context.done(&user, || format!("{email} is changed"))
        }
        User::Passwd { email, password_stdin } => passwd(context, email.as_deref(), password_stdin),
        User::Remove { email, email_flag, yes } => {
            let email = email.or(email_flag).unwrap_or_default();
            let mut api = context.api()?;
            let path = user_path(&mut api, &email)?;
            ask::confirm(yes, &format!("Remove the user {email}?"))?;
            api.call("DELETE", &path, None)?;
            context.done(&json!({"removed": email}), || format!("{email} is removed"))
        }
    }
}

fn list_users(context: &Context) -> Result<(), Failure> {
    let users = context.api()?.get("users")?;
    context.output.show(&users, || {
        let row = |user: &Value| {
            let projects = match user["projectIds"].as_array() {
                Some(ids) if !ids.is_empty() => cell(&user["projectIds"]),
                _ => "-".to_owned(),
            };
            [cell(&user["id"]), cell(&user["email"]), cell(&user["roleId"]), projects]
        };
        let rows: Vec<[String; 4]> = users.as_array().into_iter().flatten().map(row).collect();
        context.output.table(["ID", "EMAIL", "ROLE", "PROJECTS"], &rows)
    })
}

/// The path of the user with an address.
pub(super) fn user_path(api: &mut Api, email: &str) -> Result<String, Failure> {
    let users = api.get("users")?;
    let is_him = |user: &&Value| {
        user["email"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(email)) || user["id"] == email
    };
    let user = users.as_array().into_iter().flatten().find(is_him);
    let id = user.and_then(|user| user["id"].as_str());
    let id = id.ok_or_else(|| Failure::not_found(format!("there is no user {email}")))?;
    Ok(format!("users/{}", encode(id)))
}

fn passwd(context: &Context, email: Option<&str>, from_stdin: bool) -> Result<(), Failure> {
    let mut api = context.api()?;
    let Some(email) = email else {
        let (current, new) = match ask::optional_secret(None, from_stdin)? {
            Some(both) => {
                let both =
                    both.split_once('\n').map(|(a, b)| (a.trim_end_matches('\r').to_owned(), b.to_owned()));
                both.ok_or_else(|| {
                    Failure::usage("expected the present password, and the new one on the next line")
                })?
            }
            None => (
                ask::secret(None, false, "Present password", "--password")?,
                ask::secret(None, false, "New password", "--password")?,
            ),
        };
        let body = json!({"currentPassword": current, "newPassword": new});
        let me = api.call("PUT", "me", Some(&body))?;
        return context.done(&me, || "your password is changed; your other sign-ins have ended".to_owned());
    };
    let path = user_path(&mut api, email)?;
    let password = ask::secret(None, from_stdin, &format!("New password of {email}"), "--password")?;
    let user = api.call("PUT", &path, Some(&json!({"newPassword": password})))?;
    context.done(&user, || format!("the password of {email} is changed; his sign-ins have ended"))
}

pub(super) fn role(context: &Context, command: Role) -> Result<(), Failure> {
    let mut api = context.api()?;
    match command {
        Role::List => {
            let roles = api.get("roles")?;
            context.output.show(&roles, || {
                let row = |role: &Value| {
                    let kind = if role["builtin"] == true { "built-in" } else { "custom" };
                    [cell(&role["id"]), cell(&role["name"]), cell(&role["permissions"]), kind.to_owned()]
                };
                let rows: Vec<[String; 4]> = roles.as_array().into_iter().flatten().map(row).collect();
                context.output.table(["ID", "NAME", "PERMISSIONS", "TYPE"], &rows)
            })
        }
        Role::Add { id, name, permissions } => {
            let mut body = json!({"name": name, "permissions": permissions});
            if let Some(id) = id {
                body["id"] = id.into();
            }
            let role = api.call("POST", "roles", Some(&body))?;
            context.done(&role, || format!("{} is a role", cell(&role["id"])))
        }
        Role::Edit { id, name, permissions } => {
            let mut body = Map::new();
            body.extend(name.map(|name| ("name".to_owned(), name.into())));
            body.extend(permissions.map(|permissions| ("permissions".to_owned(), permissions.into())));
            if body.is_empty() {
                return Err(Failure::usage("nothing to change: --name or --permissions"));
            }
            let role = api.call("PUT", &format!("roles/{}", encode(&id)), Some(&Value::Object(body)))?;
            context.done(&role, || format!("{id} is changed"))
        }
        Role::Remove { id, force, yes } => {
            ask::confirm(yes, &format!("Remove the role {id}?"))?;
            let query = if force { "?force=1" } else { "" };
            api.call("DELETE", &format!("roles/{}{query}", encode(&id)), None)?;
            context.done(&json!({"removed": id}), || format!("{id} is removed"))
        }
    }
}
