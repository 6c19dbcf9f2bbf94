//! `routerly project`: tenants, and everything that is theirs.

mod members;
mod models;
mod routing;
pub(super) mod tokens;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::Api;
use super::failure::Failure;
use super::http::encode;
use super::print::{cell, pairs};
use super::{Context, ask, limit};

/// What is done with projects. A project is named by id, slug or name.
#[derive(Debug, Subcommand)]
pub enum Project {
    /// List the projects
    List,
    /// Show one: routing, models, tokens, members
    Show {
        /// Id, slug or name
        project: String,
    },
    /// Make a project and its first token, which is shown once
    #[command(alias = "add")]
    Create(Box<CreateArgs>),
    /// Change a project; what is not named stays
    Edit {
        /// Id, slug or name
        project: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// Milliseconds to the first byte of an attempt; 0: the default
        #[arg(long, value_name = "MS")]
        timeout: Option<u64>,
    },
    /// Remove a project; its usage records stay
    Remove {
        /// Id, slug or name
        #[arg(required_unless_present = "slug")]
        project: Option<String>,
        /// The same as a flag
        #[arg(long)]
        slug: Option<String>,
        /// Also where tokens of other projects may address it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// How requests are routed
    #[command(subcommand)]
    Routing(routing::Routing),
    /// Its models
    #[command(subcommand)]
    Model(models::Models),
    /// The same as `model add`
    #[command(hide = true)]
    AddModel(models::FlagArgs),
    /// The same as `model remove`
    #[command(hide = true)]
    RemoveModel(models::FlagArgs),
    /// Its tokens
    #[command(subcommand)]
    Token(tokens::Token),
    /// Its members
    #[command(subcommand)]
    Member(members::Member),
    /// Limits of the whole project
    #[command(subcommand)]
    Budget(Budget),
}

/// Flags of `project create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Unique name in URLs [default: made of the name]
    #[arg(long)]
    slug: Option<String>,
    /// Ids of its models, the first choice first
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Milliseconds to the first byte of an attempt
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// Model that the policy `llm` asks
    #[arg(long, value_name = "ID")]
    routing_model: Option<String>,
    /// Kept for other programs; policies decide
    #[arg(long, overrides_with = "no_auto_routing")]
    auto_routing: bool,
    /// Kept for other programs; policies decide
    #[arg(long)]
    no_auto_routing: bool,
}

/// What is done with limits of projects.
#[derive(Debug, Subcommand)]
pub enum Budget {
    /// List the limits
    List {
        /// Id, slug or name
        project: String,
    },
    /// Set a limit; one for the same window is replaced
    Set {
        /// Id, slug or name
        project: String,
        /// Such as cost:period:monthly:100 or calls:rolling:1:minute:60
        #[arg(required = true)]
        limit: Vec<String>,
    },
    /// Remove limits
    Remove {
        /// Id, slug or name
        project: String,
        /// Such as cost:period:monthly, or cost:period for all of them
        #[arg(required = true)]
        limit: Vec<String>,
    },
}

/// The path of a project that is named by id, slug or name.
fn find(api: &mut Api, named: &str) -> Result<(String, Value), Failure> {
    let projects = api.get("projects")?;
    let all = || projects.as_array().into_iter().flatten();
    let by = |field: &&str| all().find(|project| project[*field] == named);
    let found = ["id", "slug", "name"].iter().find_map(by).cloned();
    let found = found.ok_or_else(|| Failure::not_found(format!("there is no project `{named}`")))?;
    let id = found["id"].as_str().unwrap_or_default();
    Ok((format!("projects/{}", encode(id)), found))
}

/// Reads a project, changes it, and writes what `change` gives, unless somebody else has changed it meanwhile.
fn change(
    context: &Context,
    named: &str,
    change: impl FnOnce(&mut Value) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let mut api = context.api()?;
    let (path, _) = find(&mut api, named)?;
    let (mut project, tag) = api.get_tagged(&path)?;
    let body = change(&mut project)?;
    api.put_if(&path, &body, tag.as_deref())
}

pub(super) fn run(context: &Context, command: Project) -> Result<(), Failure> {
    match command {
        Project::List => list(context),
        Project::Show { project } => show(context, &project),
        Project::Create(args) => create(context, &args),
        Project::Edit { project, name, timeout } => {
            let mut body = Map::new();
            body.extend(name.map(|name| ("name".to_owned(), name.into())));
            body.extend(timeout.map(|ms| ("timeoutMs".to_owned(), ms.into())));
            if body.is_empty() {
                return Err(Failure::usage("nothing to change: --name or --timeout"));
            }
            let mut api = context.api()?;
            let (path, _) = find(&mut api, &project)?;
            let changed = api.call("PUT", &path, Some(&Value::Object(body)))?;
            context.done(&changed, || format!("{project} is changed"))
        }
        Project::Remove { project, slug, force, yes } => {
            let named = project.or(slug).unwrap_or_default();
            let mut api = context.api()?;
            let (path, found) = find(&mut api, &named)?;
            ask::confirm(yes, &format!("Remove the project {} and its tokens?", cell(&found["name"])))?;
            let query = if force { "?force=1" } else { "" };
            api.call("DELETE", &format!("{path}{query}"), None)?;
            context.done(&json!({"removed": found["id"]}), || format!("{named} is removed"))
        }
        Project::Routing(command) => routing::run(context, command),
        Project::Model(command) => models::run(context, command),
        Project::AddModel(args) => models::add_by_flags(context, &args),
        Project::RemoveModel(args) => models::remove_by_flags(context, &args),
        Project::Token(command) => tokens::run(context, command),
        Project::Member(command) => members::run(context, command),
        Project::Budget(command) => budget(context, command),
    }
}

fn count(value: &Value) -> String {
    value.as_array().map_or(0, Vec::len).to_string()
}

fn list(context: &Context) -> Result<(), Failure> {
    let projects = context.api()?.get("projects")?;
    context.output.show(&projects, || {
        let row = |project: &Value| {
            let timeout = project["timeoutMs"].as_u64().filter(|ms| *ms > 0);
            [
                cell(&project["id"]).chars().take(8).collect(),
                cell(&project["name"]),
                cell(&project["slug"]),
                count(&project["models"]),
                count(&project["tokens"]),
                count(&project["members"]),
                timeout.map_or_else(|| "default".to_owned(), |ms| format!("{ms} ms")),
            ]
        };
        let rows: Vec<[String; 7]> = projects.as_array().into_iter().flatten().map(row).collect();
        let heads = ["ID", "NAME", "SLUG", "MODELS", "TOKENS", "MEMBERS", "TIMEOUT"];
        context.output.table(heads, &rows)
    })
}

fn show(context: &Context, named: &str) -> Result<(), Failure> {
    let mut api = context.api()?;
    let (_, project) = find(&mut api, named)?;
    context.output.show(&project, || {
        let head = pairs(&[
            ("Id", cell(&project["id"])),
            ("Name", cell(&project["name"])),
            ("Slug", cell(&project["slug"])),
            ("Timeout", cell(&project["timeoutMs"])),
            ("Budget", limit::text(&project["budgets"])),
        ]);
        let parts = [
            ("Policies", routing::table(context, &project)),
            ("Models", models::table(context, &project)),
            ("Tokens", tokens::table(context, &project["tokens"])),
            ("Members", members::table(context, &project["members"])),
        ];
        let parts: String = parts.iter().map(|(name, table)| format!("\n{name}\n{table}")).collect();
        format!("{head}{parts}")
    })
}

fn create(context: &Context, args: &CreateArgs) -> Result<(), Failure> {
    let name = match args.name.as_ref().or(args.slug.as_ref()) {
        Some(name) => name.clone(),
        None => ask::line("Name", "--name")?,
    };
    let mut body = json!({"name": name, "models": args.models});
    let optional = [
        ("slug", args.slug.as_ref().map(|slug| Value::from(slug.as_str()))),
        ("timeoutMs", args.timeout.map(Value::from)),
        ("routingModelId", args.routing_model.as_ref().map(|id| Value::from(id.as_str()))),
        ("autoRouting", (args.auto_routing || args.no_auto_routing).then(|| args.auto_routing.into())),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            body[key] = value;
        }
    }
    let project = context.api()?.call("POST", "projects", Some(&body))?;
    context.output.show(&project, || {
        pairs(&[
            ("Id", cell(&project["id"])),
            ("Slug", cell(&project["slug"])),
            ("Token", cell(&project["token"])),
            ("", "The token is not shown again.".to_owned()),
        ])
    })
}

fn budget(context: &Context, command: Budget) -> Result<(), Failure> {
    match command {
        Budget::List { project } => {
            let (_, project) = find(&mut context.api()?, &project)?;
            let budgets = project["budgets"].as_array().cloned().unwrap_or_default().into();
            context.output.show(&budgets, || format!("{}\n", limit::text(&budgets)))
        }
        Budget::Set { project, limit: texts } => {
            let specs = whole(&texts)?;
            let changed = change(context, &project, |project| {
                limit::add(project, "budgets", &specs);
                Ok(json!({"budgets": project["budgets"]}))
            })?;
            context.done(&changed, || format!("{project}: {}", limit::text(&changed["budgets"])))
        }
        Budget::Remove { project, limit: texts } => {
            let patterns: Vec<limit::Pattern> =
                texts.iter().map(|text| limit::parse_pattern(text)).collect::<Result<_, _>>()?;
            let changed = change(context, &project, |project| {
                limit::remove(project, "budgets", &patterns)?;
                Ok(json!({"budgets": project["budgets"]}))
            })?;
            context.done(&changed, || format!("{project}: {}", limit::text(&changed["budgets"])))
        }
    }
}

/// Limits of the whole, not of a model.
fn whole(texts: &[String]) -> Result<Vec<limit::Spec>, Failure> {
    let specs = texts.iter().map(|text| {
        let spec = limit::parse(text)?;
        match spec.model {
            None => Ok(spec),
            Some(_) => Err(Failure::usage(format!("`{text}`: `project model limit` limits a model"))),
        }
    });
    specs.collect()
}
