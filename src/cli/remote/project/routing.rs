//! Routing of a project: its policies.

use clap::Subcommand;
use serde_json::{Value, json};

use super::super::Context;
use super::super::failure::Failure;
use super::super::print::{cell, pairs};
use super::{change, find};

/// What is done with routing.
#[derive(Debug, Subcommand)]
pub enum Routing {
    /// Show it
    Show {
        /// Id, slug or name
        project: String,
    },
    /// Choose the model that the policy `llm` asks
    Update {
        /// Id, slug or name
        project: String,
        /// Id of the model
        #[arg(long, value_name = "ID")]
        routing_model: Option<String>,
        /// Ids of models that are asked when it fails
        #[arg(long, value_delimiter = ',', value_name = "IDS")]
        fallback_models: Option<Vec<String>>,
        /// Kept for other programs; policies decide
        #[arg(long, conflicts_with = "no_auto_routing")]
        auto_routing: bool,
        /// Kept for other programs; policies decide
        #[arg(long)]
        no_auto_routing: bool,
    },
    /// Its policies, the most important one first
    #[command(subcommand)]
    Policy(Policy),
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// List them
    List {
        /// Id, slug or name
        project: String,
    },
    /// Add a policy at the end, or switch it on
    Enable {
        /// Id, slug or name
        project: String,
        /// Its type, such as cheapest
        kind: String,
        /// Its configuration
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
    },
    /// Switch a policy off; its configuration stays
    Disable {
        /// Id, slug or name
        project: String,
        /// Its type
        kind: String,
    },
    /// Put policies into another order; those that are not named follow
    Reorder {
        /// Id, slug or name
        project: String,
        /// Their types
        #[arg(value_delimiter = ',', required = true)]
        kinds: Vec<String>,
    },
}

pub(super) fn run(context: &Context, command: Routing) -> Result<(), Failure> {
    match command {
        Routing::Show { project } => {
            let (_, project) = find(&mut context.api()?, &project)?;
            let shown = json!({
                "routingModelId": project["routingModelId"],
                "fallbackRoutingModelIds": project["fallbackRoutingModelIds"],
                "autoRouting": project["autoRouting"],
                "policies": project["policies"],
            });
            context.output.show(&shown, || {
                let head = pairs(&[
                    ("Routing model", cell(&shown["routingModelId"])),
                    ("Fallbacks", cell(&shown["fallbackRoutingModelIds"])),
                ]);
                format!("{head}\n{}", table(context, &project))
            })
        }
        Routing::Update { project, routing_model, fallback_models, auto_routing, no_auto_routing } => {
            let mut body = json!({});
            if let Some(model) = &routing_model {
                body["routingModelId"] = model.as_str().into();
            }
            if let Some(models) = &fallback_models {
                body["fallbackRoutingModelIds"] = models.clone().into();
            }
            if auto_routing || no_auto_routing {
                body["autoRouting"] = auto_routing.into();
            }
            if body.as_object().is_some_and(serde_json::Map::is_empty) {
                return Err(Failure::usage(
                    "nothing to change: --routing-model, --fallback-models or --auto-routing",
                ));
            }
            let changed = change(context, &project, |found| {
                // The policy is what decides; the fields are for other programs.
                if let Some(llm) = policy(found, "llm") {
                    for (key, value) in [
                        ("routingModelId", &body["routingModelId"]),
                        ("fallbackModelIds", &body["fallbackRoutingModelIds"]),
                    ] {
                        if !value.is_null() {
                            llm["config"][key] = value.clone();
                        }
                    }
                    body["policies"] = found["policies"].clone();
                }
                Ok(body)
            })?;
            context.done(&changed, || format!("the routing of {project} is changed"))
        }
        Routing::Policy(command) => policies(context, command),
    }
}

fn policy<'p>(project: &'p mut Value, kind: &str) -> Option<&'p mut Value> {
    project["policies"].as_array_mut()?.iter_mut().find(|policy| policy["type"] == kind)
}

fn policies(context: &Context, command: Policy) -> Result<(), Failure> {
    let changed = match command {
        Policy::List { project } => {
            let (_, project) = find(&mut context.api()?, &project)?;
            return context.output.show(&project["policies"], || table(context, &project));
        }
        Policy::Enable { project, kind, config } => {
            let config = config.as_deref().map(serde_json::from_str::<Value>).transpose();
            let config = config.map_err(|error| Failure::usage(format!("--config: {error}")))?;
            change(context, &project, |found| {
                if policy(found, &kind).is_none()
                    && let Some(policies) = found["policies"].as_array_mut()
                {
                    policies.push(json!({"type": kind}));
                }
                if let Some(policy) = policy(found, &kind) {
                    policy["enabled"] = true.into();
                    if let Some(config) = config {
                        policy["config"] = config;
                    }
                }
                Ok(json!({"policies": found["policies"]}))
            })?
        }
        Policy::Disable { project, kind } => change(context, &project, |found| {
            let policy = policy(found, &kind);
            let policy =
                policy.ok_or_else(|| Failure::not_found(format!("{project} has no policy {kind}")))?;
            policy["enabled"] = false.into();
            Ok(json!({"policies": found["policies"]}))
        })?,
        Policy::Reorder { project, kinds } => change(context, &project, |found| {
            if let Some(unknown) = kinds.iter().find(|kind| policy(found, kind).is_none()) {
                return Err(Failure::not_found(format!("{project} has no policy {unknown}")));
            }
            let mut policies = found["policies"].as_array().cloned().unwrap_or_default();
            let place = |policy: &Value| kinds.iter().position(|kind| policy["type"] == kind.as_str());
            policies.sort_by_key(|policy| place(policy).unwrap_or(kinds.len()));
            Ok(json!({"policies": policies}))
        })?,
    };
    context.output.show(&changed["policies"], || table(context, &changed))
}

pub(super) fn table(context: &Context, project: &Value) -> String {
    let row = |(at, policy): (usize, &Value)| {
        let config = if policy["config"].is_null() { "-".to_owned() } else { policy["config"].to_string() };
        [(at + 1).to_string(), cell(&policy["type"]), cell(&json!(policy["enabled"] != false)), config]
    };
    let rows: Vec<[String; 4]> =
        project["policies"].as_array().into_iter().flatten().enumerate().map(row).collect();
    context.output.table(["#", "TYPE", "ENABLED", "CONFIG"], &rows)
}
