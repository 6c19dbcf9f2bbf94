//! Models of a project.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::Context;
use super::super::failure::Failure;
use super::super::limit::{self, Pattern, Spec};
use super::super::print::{cell, note};
use super::{change, find};

/// What is done with a project's models.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// List the models, the first choice first
    List {
        /// Id, slug or name
        project: String,
    },
    /// Add a model behind the others
    Add {
        /// Id, slug or name
        project: String,
        /// Id of the model
        model: String,
        /// What a routing model is told of it
        #[arg(long)]
        prompt: Option<String>,
    },
    /// Remove a model from the project
    Remove {
        /// Id, slug or name
        project: String,
        /// Id of the model
        model: String,
    },
    /// Change what a routing model is told of it
    SetPrompt {
        /// Id, slug or name
        project: String,
        /// Id of the model
        model: String,
        /// The text; an empty one: none
        #[arg(long)]
        prompt: String,
    },
    /// What the project may use of a model
    #[command(subcommand)]
    Limit(Limits),
}

/// What is done with limits of a project's models.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// Add limits; one for the same window is replaced
    Add(LimitArgs),
    /// Remove limits
    Remove(LimitArgs),
}

/// Which limits.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Id, slug or name
    project: String,
    /// Such as openai/gpt-5:cost:period:daily:5; to remove, without the value
    #[arg(required = true)]
    limit: Vec<String>,
}

/// The documented form of adding and removing.
#[derive(Debug, Args)]
pub struct FlagArgs {
    /// Id, slug or name
    #[arg(long)]
    slug: String,
    /// Id of the model
    #[arg(long)]
    model: String,
    /// USD a day
    #[arg(long, value_name = "USD")]
    daily_budget: Option<f64>,
    /// USD a month
    #[arg(long, value_name = "USD")]
    monthly_budget: Option<f64>,
}

pub(super) fn run(context: &Context, command: Models) -> Result<(), Failure> {
    match command {
        Models::List { project } => {
            let (_, project) = find(&mut context.api()?, &project)?;
            context.output.show(&project["models"], || table(context, &project))
        }
        Models::Add { project, model, prompt } => add(context, &project, &model, prompt, &[]),
        Models::Remove { project, model } => remove(context, &project, &model),
        Models::SetPrompt { project, model, prompt } => {
            let changed = change(context, &project, |found| {
                let entry = entry(found, &model).ok_or_else(|| missing(&project, &model))?;
                entry["prompt"] = if prompt.is_empty() { Value::Null } else { prompt.as_str().into() };
                Ok(json!({"models": found["models"]}))
            })?;
            context.done(&changed["models"], || format!("{model} of {project} is changed"))
        }
        Models::Limit(Limits::Add(LimitArgs { project, limit: texts })) => {
            let specs = texts.iter().map(|text| of_model(limit::parse(text)?, text));
            let specs: Vec<Spec> = specs.collect::<Result<_, _>>()?;
            let changed = change(context, &project, |found| {
                for spec in &specs {
                    let model = spec.model.as_deref().unwrap_or_default();
                    entry(found, model).ok_or_else(|| missing(&project, model))?;
                }
                limit::add(found, "budgets", &specs);
                Ok(json!({"models": found["models"]}))
            })?;
            context
                .done(&changed["models"], || limit::all_text(&json!({"models": changed["models"]}), "limits"))
        }
        Models::Limit(Limits::Remove(LimitArgs { project, limit: texts })) => {
            let patterns: Vec<Pattern> =
                texts.iter().map(|text| limit::parse_pattern(text)).collect::<Result<_, _>>()?;
            if patterns.iter().any(|pattern| pattern.model.is_none()) {
                return Err(Failure::usage(
                    "a model is missing in front; `project budget` limits the whole project",
                ));
            }
            let changed = change(context, &project, |found| {
                limit::remove(found, "budgets", &patterns)?;
                Ok(json!({"models": found["models"]}))
            })?;
            context
                .done(&changed["models"], || limit::all_text(&json!({"models": changed["models"]}), "limits"))
        }
    }
}

fn of_model(spec: Spec, text: &str) -> Result<Spec, Failure> {
    if spec.model.is_some() {
        return Ok(spec);
    }
    Err(Failure::usage(format!(
        "`{text}`: a model is missing in front; `project budget` limits the whole project"
    )))
}

pub(super) fn add_by_flags(context: &Context, args: &FlagArgs) -> Result<(), Failure> {
    let budget = |period: &str, value: Option<f64>| {
        let limit = json!({"metric": "cost", "windowType": "period", "period": period, "value": limit::amount(value?)});
        Some(Spec { model: Some(args.model.clone()), limit })
    };
    let limits: Vec<Spec> = [budget("daily", args.daily_budget), budget("monthly", args.monthly_budget)]
        .into_iter()
        .flatten()
        .collect();
    add(context, &args.slug, &args.model, None, &limits)
}

pub(super) fn remove_by_flags(context: &Context, args: &FlagArgs) -> Result<(), Failure> {
    remove(context, &args.slug, &args.model)
}

fn missing(project: &str, model: &str) -> Failure {
    Failure::not_found(format!("{project} has no model {model}"))
}

fn entry<'p>(project: &'p mut Value, model: &str) -> Option<&'p mut Value> {
    project["models"].as_array_mut()?.iter_mut().find(|known| known["modelId"] == model)
}

fn add(
    context: &Context,
    project: &str,
    model: &str,
    prompt: Option<String>,
    limits: &[Spec],
) -> Result<(), Failure> {
    let mut was_there = false;
    let changed = change(context, project, |found| {
        was_there = entry(found, model).is_some();
        if !was_there && let Some(models) = found["models"].as_array_mut() {
            models.push(json!({"modelId": model}));
        }
        if let (Some(entry), Some(prompt)) = (entry(found, model), prompt) {
            entry["prompt"] = prompt.into();
        }
        limit::add(found, "budgets", limits);
        Ok(json!({"models": found["models"]}))
    })?;
    if was_there {
        note(&format!("{project} had {model} already"));
    }
    context.done(&changed["models"], || format!("{project} has {model}"))
}

fn remove(context: &Context, project: &str, model: &str) -> Result<(), Failure> {
    let changed = change(context, project, |found| {
        entry(found, model).ok_or_else(|| missing(project, model))?;
        if let Some(models) = found["models"].as_array_mut() {
            models.retain(|known| known["modelId"] != model);
        }
        Ok(json!({"models": found["models"]}))
    })?;
    context.done(&changed["models"], || format!("{project} has no {model} any more"))
}

/// Longest prompt in a table, in characters.
const PROMPT_SHOWN: usize = 60;

pub(super) fn table(context: &Context, project: &Value) -> String {
    let row = |model: &Value| {
        let prompt: String = cell(&model["prompt"]).chars().take(PROMPT_SHOWN).collect();
        [cell(&model["modelId"]), prompt, limit::text(&model["limits"])]
    };
    let rows: Vec<[String; 3]> = project["models"].as_array().into_iter().flatten().map(row).collect();
    context.output.table(["MODEL", "PROMPT", "LIMITS"], &rows)
}
