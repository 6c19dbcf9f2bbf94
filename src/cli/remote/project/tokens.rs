//! Tokens of a project: `routerly project token …`, and the same as `routerly token …`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::http::encode;
use super::super::limit::{self, Pattern, Spec};
use super::super::print::{cell, pairs};
use super::super::{Context, ask};
use super::find;

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// List the tokens
    List {
        /// Id, slug or name
        project: String,
    },
    /// Make a token, which is shown once
    Create(CreateArgs),
    /// Change a token; what is not named stays
    Edit(Box<EditArgs>),
    /// Give a token another secret; the old one counts no more
    Regenerate {
        /// Id, slug or name
        project: String,
        /// Id of the token
        token: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Remove a token
    Remove {
        /// Id, slug or name
        project: String,
        /// Id of the token
        token: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Flags of `token create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Id, slug or name
    project: String,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Labels
    #[arg(long, value_delimiter = ',')]
    labels: Vec<String>,
    /// A limit: *:cost:period:daily:5 (the whole token), openai/gpt-5:calls:rolling:1:minute:60 (a model)
    #[arg(long, value_name = "SPEC")]
    limit: Vec<String>,
    /// Until when it counts, such as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// Flags of `token edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Id, slug or name
    project: String,
    /// Id of the token
    token: String,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Labels, in place of those that it has
    #[arg(long, value_delimiter = ',')]
    labels: Option<Vec<String>>,
    /// Add a limit; one for the same window is replaced
    #[arg(long, value_name = "SPEC")]
    add_limit: Vec<String>,
    /// Remove limits: *:cost:period, openai/gpt-5:calls:rolling:1:minute
    #[arg(long, value_name = "SPEC")]
    remove_limit: Vec<String>,
    /// Until when it counts
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Let it count
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Keep it from counting
    #[arg(long)]
    disable: bool,
}

pub(in super::super) fn run(context: &Context, command: Token) -> Result<(), Failure> {
    let mut api = context.api()?;
    match command {
        Token::List { project } => {
            let (path, _) = find(&mut api, &project)?;
            let tokens = api.get(&format!("{path}/tokens"))?;
            context.output.show(&tokens, || table(context, &tokens))
        }
        Token::Create(args) => {
            let specs: Vec<Spec> =
                args.limit.iter().map(|text| limit::parse(text)).collect::<Result<_, _>>()?;
            let (path, _) = find(&mut api, &args.project)?;
            let mut body = json!({});
            if let Some(name) = &args.name {
                body["name"] = name.as_str().into();
            }
            if !args.labels.is_empty() {
                body["labels"] = args.labels.clone().into();
            }
            if let Some(time) = &args.expires {
                body["expiresAt"] = time.as_str().into();
            }
            limit::add(&mut body, "limits", &specs);
            let made = api.call("POST", &format!("{path}/tokens"), Some(&body))?;
            once(context, &made)
        }
        Token::Edit(args) => edit(context, &args),
        Token::Regenerate { project, token, yes } => {
            let (path, _) = find(&mut api, &project)?;
            ask::confirm(
                yes,
                &format!("Give the token {token} another secret? Who has the old one is refused then"),
            )?;
            let made = api.call("POST", &format!("{path}/tokens/{}/regenerate", encode(&token)), None)?;
            once(context, &made)
        }
        Token::Remove { project, token, yes } => {
            let (path, _) = find(&mut api, &project)?;
            ask::confirm(yes, &format!("Remove the token {token}?"))?;
            api.call("DELETE", &format!("{path}/tokens/{}", encode(&token)), None)?;
            context.done(&json!({"removed": token}), || format!("{token} is removed"))
        }
    }
}

/// Shows a token that is not shown again.
fn once(context: &Context, made: &Value) -> Result<(), Failure> {
    context.output.show(made, || {
        let info = &made["tokenInfo"];
        pairs(&[
            ("Id", cell(&info["id"])),
            ("Token", cell(&made["token"])),
            ("Limits", limit::all_text(info, "limits")),
            ("", "The token is not shown again.".to_owned()),
        ])
    })
}

fn edit(context: &Context, args: &EditArgs) -> Result<(), Failure> {
    let added: Vec<Spec> = args.add_limit.iter().map(|text| limit::parse(text)).collect::<Result<_, _>>()?;
    let removed: Vec<Pattern> =
        args.remove_limit.iter().map(|text| limit::parse_pattern(text)).collect::<Result<_, _>>()?;
    let mut body = Map::new();
    body.extend(args.name.as_ref().map(|name| ("name".to_owned(), name.as_str().into())));
    body.extend(args.labels.as_ref().map(|labels| ("labels".to_owned(), labels.clone().into())));
    body.extend(args.expires.as_ref().map(|time| ("expiresAt".to_owned(), time.as_str().into())));
    body.extend((args.enable || args.disable).then(|| ("disabled".to_owned(), args.disable.into())));
    let mut api = context.api()?;
    let (path, _) = find(&mut api, &args.project)?;
    let path = format!("{path}/tokens/{}", encode(&args.token));
    let mut tag = None;
    if !added.is_empty() || !removed.is_empty() {
        let (mut token, read) = api.get_tagged(&path)?;
        tag = read;
        limit::remove(&mut token, "limits", &removed)?;
        limit::add(&mut token, "limits", &added);
        for key in ["limits", "models"] {
            body.extend(token.get(key).map(|value| (key.to_owned(), value.clone())));
        }
    }
    if body.is_empty() {
        return Err(Failure::usage("nothing to change; --help lists what there is"));
    }
    let token = api.put_if(&path, &Value::Object(body), tag.as_deref())?;
    context.done(&token, || format!("{}: {}", args.token, limit::all_text(&token, "limits")))
}

pub(super) fn table(context: &Context, tokens: &Value) -> String {
    let row = |token: &Value| {
        let created = cell(&token["createdAt"]);
        let state = match (&token["disabled"], token["expiresAt"].as_str()) {
            (Value::Bool(true), _) => "disabled".to_owned(),
            (_, Some(time)) => format!("until {}", time.get(..10).unwrap_or(time)),
            _ => "active".to_owned(),
        };
        [
            cell(&token["id"]),
            cell(&token["tokenSnippet"]),
            cell(&token["labels"]),
            created.get(..10).unwrap_or(&created).to_owned(),
            state,
            limit::all_text(token, "limits"),
        ]
    };
    let rows: Vec<[String; 6]> = tokens.as_array().into_iter().flatten().map(row).collect();
    context.output.table(["ID", "TOKEN", "LABELS", "CREATED", "STATE", "LIMITS"], &rows)
}
