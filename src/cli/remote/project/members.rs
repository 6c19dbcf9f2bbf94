//! Members of a project.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::api::Api;
use super::super::failure::Failure;
use super::super::people::user_path;
use super::super::print::cell;
use super::super::{Context, ask};
use super::find;

/// What is done with members.
#[derive(Debug, Subcommand)]
pub enum Member {
    /// List the members
    List {
        /// Id, slug or name
        project: String,
    },
    /// Add a member
    Add(RoleArgs),
    /// Give a member another role
    SetRole(RoleArgs),
    /// Remove a member
    Remove {
        /// Id, slug or name
        project: String,
        /// His address, or the user's id
        #[arg(long)]
        email: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Who gets which role.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Id, slug or name
    project: String,
    /// His address, or the user's id
    #[arg(long)]
    email: String,
    /// viewer, editor, admin or the id of a role
    #[arg(long, default_value = "viewer")]
    role: String,
}

pub(super) fn run(context: &Context, command: Member) -> Result<(), Failure> {
    let mut api = context.api()?;
    match command {
        Member::List { project } => {
            let (path, _) = find(&mut api, &project)?;
            let members = api.get(&format!("{path}/members"))?;
            context.output.show(&members, || table(context, &members))
        }
        Member::Add(RoleArgs { project, email, role }) => {
            let (path, _) = find(&mut api, &project)?;
            let body = json!({"userId": user_id(&mut api, &email)?, "role": role});
            let member = api.call("POST", &format!("{path}/members"), Some(&body))?;
            context.done(&member, || format!("{email} is {role} of {project}"))
        }
        Member::SetRole(RoleArgs { project, email, role }) => {
            let (path, _) = find(&mut api, &project)?;
            let user = user_id(&mut api, &email)?;
            let member = api.call("PUT", &format!("{path}/members/{user}"), Some(&json!({"role": role})))?;
            context.done(&member, || format!("{email} is {role} of {project}"))
        }
        Member::Remove { project, email, yes } => {
            let (path, _) = find(&mut api, &project)?;
            let user = user_id(&mut api, &email)?;
            ask::confirm(yes, &format!("Remove {email} from {project}?"))?;
            api.call("DELETE", &format!("{path}/members/{user}"), None)?;
            context.done(&json!({"removed": email}), || format!("{email} is no member of {project} any more"))
        }
    }
}

/// The id of a user; one without `@` is an id already, and needs no look at the users.
fn user_id(api: &mut Api, email: &str) -> Result<String, Failure> {
    if !email.contains('@') {
        return Ok(email.to_owned());
    }
    Ok(user_path(api, email)?.trim_start_matches("users/").to_owned())
}

pub(super) fn table(context: &Context, members: &Value) -> String {
    let row = |member: &Value| [cell(&member["userId"]), cell(&member["role"])];
    let rows: Vec<[String; 2]> = members.as_array().into_iter().flatten().map(row).collect();
    context.output.table(["USER", "ROLE"], &rows)
}
