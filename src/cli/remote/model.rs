//! `routerly model`: what requests can be routed to.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::http::encode;
use super::print::{cell, note, pairs, plain};
use super::{Context, ask, limit};

/// What is done with models.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// List the models
    List,
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// List what models can be of: providers, and what the catalogue knows of their models
    Catalogue {
        /// One provider
        provider: Option<String>,
    },
    /// Add a model; without --id on a terminal it is asked for, from the catalogue
    Add(Box<AddArgs>),
    /// Change a model; what is not named stays
    Edit(Box<EditArgs>),
    /// Remove a model
    Remove {
        /// Its id
        #[arg(required_unless_present = "id_flag")]
        id: Option<String>,
        /// The same as a flag
        #[arg(long = "id", id = "id_flag", value_name = "ID")]
        id_flag: Option<String>,
        /// Also where projects name it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Flags of `model add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its id, often provider/model
    #[arg(long)]
    id: Option<String>,
    /// Ask for everything, from the catalogue
    #[arg(long, short)]
    interactive: bool,
    /// Id of a model whose key it gets
    #[arg(long, value_name = "ID")]
    clone_from: Option<String>,
    /// What it is.
    #[command(flatten)]
    facts: Facts,
}

/// Flags of `model edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Its id
    #[arg(required_unless_present = "id_flag")]
    id: Option<String>,
    /// The same as a flag
    #[arg(long = "id", id = "id_flag", value_name = "ID")]
    id_flag: Option<String>,
    /// New id; projects and policies follow
    #[arg(long, value_name = "ID")]
    new_id: Option<String>,
    /// What it is.
    #[command(flatten)]
    facts: Facts,
}

/// What a model is.
#[derive(Debug, Args)]
struct Facts {
    /// Its provider, see `model catalogue`
    #[arg(long)]
    provider: Option<String>,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Base URL [default: the provider's]
    #[arg(long, visible_alias = "base-url", value_name = "URL")]
    endpoint: Option<String>,
    /// The provider's key. Others on this machine may see it: --api-key-stdin is better
    #[arg(long, conflicts_with = "api_key_stdin", value_name = "KEY")]
    api_key: Option<String>,
    /// Read the provider's key from standard input
    #[arg(long)]
    api_key_stdin: bool,
    /// What the provider calls it
    #[arg(long, value_name = "ID")]
    upstream_model: Option<String>,
    /// USD per million input tokens [default: the catalogue's]
    #[arg(long, value_name = "USD")]
    input_price: Option<f64>,
    /// USD per million output tokens
    #[arg(long, value_name = "USD")]
    output_price: Option<f64>,
    /// USD per million tokens read from the prompt cache
    #[arg(long, value_name = "USD")]
    cache_price: Option<f64>,
    /// USD per million tokens written to the prompt cache
    #[arg(long, value_name = "USD")]
    cache_write_price: Option<f64>,
    /// Prices by size of the context, as JSON
    #[arg(long, value_name = "JSON")]
    pricing_tiers_json: Option<String>,
    /// Tokens of its context
    #[arg(long, value_name = "TOKENS")]
    context_window: Option<u64>,
    /// What it can do: vision, json=false
    #[arg(long, value_name = "NAME[=false]")]
    capability: Vec<String>,
    /// Milliseconds to the first byte
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// USD a day, over all projects
    #[arg(long, value_name = "USD")]
    daily_budget: Option<f64>,
    /// USD a month, over all projects
    #[arg(long, value_name = "USD")]
    monthly_budget: Option<f64>,
    /// A limit over all projects: cost:period:daily:5, calls:rolling:1:minute:60
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["limits_json", "daily_budget", "monthly_budget"])]
    limit: Vec<String>,
    /// All limits, as JSON
    #[arg(long, value_name = "JSON", conflicts_with_all = ["daily_budget", "monthly_budget"])]
    limits_json: Option<String>,
    /// Let requests be routed to it
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Keep requests from it
    #[arg(long)]
    disable: bool,
}

impl Facts {
    /// As the gateway takes them: what is not named is not there.
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        let mut put =
            |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
        let text = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()));
        put("provider", text(&self.provider));
        put("name", text(&self.name));
        put("endpoint", text(&self.endpoint));
        put("upstreamModelId", text(&self.upstream_model));
        let key = ask::optional_secret(self.api_key.as_ref(), self.api_key_stdin)?;
        put("apiKey", key.map(Value::from));
        put("inputPerMillion", self.input_price.map(limit::amount));
        put("outputPerMillion", self.output_price.map(limit::amount));
        put("cachePerMillion", self.cache_price.map(limit::amount));
        put("cacheWritePerMillion", self.cache_write_price.map(limit::amount));
        put(
            "pricingTiers",
            self.pricing_tiers_json
                .as_deref()
                .map(|text| json_of(text, "--pricing-tiers-json"))
                .transpose()?,
        );
        put("contextWindow", self.context_window.map(Value::from));
        put("timeout", self.timeout.map(Value::from));
        put("dailyBudget", self.daily_budget.map(limit::amount));
        put("monthlyBudget", self.monthly_budget.map(limit::amount));
        put("limits", self.limits_json.as_deref().map(|text| json_of(text, "--limits-json")).transpose()?);
        put("enabled", (self.enable || self.disable).then(|| self.enable.into()));
        if !self.limit.is_empty() {
            let limits = self.limit.iter().map(|text| match limit::parse(text)? {
                limit::Spec { model: None, limit } => Ok(limit),
                _ => Err(Failure::usage(format!("`{text}`: this limit is the model's own"))),
            });
            put("limits", Some(limits.collect::<Result<_, Failure>>()?));
        }
        if !self.capability.is_empty() {
            let one = |text: &String| match text.split_once('=') {
                None => Ok((text.clone(), true.into())),
                Some((name, "true")) => Ok((name.to_owned(), true.into())),
                Some((name, "false")) => Ok((name.to_owned(), false.into())),
                Some(_) => Err(Failure::usage(format!("`{text}`: expected {text}=true or =false"))),
            };
            let capabilities: Map<String, Value> =
                self.capability.iter().map(one).collect::<Result<_, _>>()?;
            put("capabilities", Some(capabilities.into()));
        }
        Ok(body)
    }
}

fn json_of(text: &str, flag: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

fn path(id: &str) -> String {
    format!("models/{}", encode(id))
}

pub(super) fn run(context: &Context, command: Model) -> Result<(), Failure> {
    match command {
        Model::List => list(context),
        Model::Show { id } => show(context, &id),
        Model::Catalogue { provider } => catalogue(context, provider.as_deref()),
        Model::Add(args) => add(context, &args),
        Model::Edit(args) => edit(context, &args),
        Model::Remove { id, id_flag, force, yes } => {
            let id = id.or(id_flag).unwrap_or_default();
            ask::confirm(yes, &format!("Remove the model {id}?"))?;
            let query = if force { "?force=1" } else { "" };
            context.api()?.call("DELETE", &format!("{}{query}", path(&id)), None)?;
            context.done(&json!({"removed": id}), || format!("{id} is removed"))
        }
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let models = context.api()?.get("models")?;
    context.output.show(&models, || {
        let row = |model: &Value| {
            let state = match (&model["enabled"], &model["keyError"]) {
                (Value::Bool(false), _) => "disabled",
                (_, Value::Bool(true)) => "key unreadable",
                _ => "enabled",
            };
            [
                cell(&model["id"]),
                cell(&model["provider"]),
                cell(&model["endpoint"]),
                cell(&model["cost"]["inputPerMillion"]),
                cell(&model["cost"]["outputPerMillion"]),
                state.to_owned(),
            ]
        };
        let rows: Vec<[String; 6]> = models.as_array().into_iter().flatten().map(row).collect();
        let heads = ["ID", "PROVIDER", "ENDPOINT", "INPUT $/1M", "OUTPUT $/1M", "STATE"];
        context.output.table(heads, &rows)
    })
}

fn show(context: &Context, id: &str) -> Result<(), Failure> {
    let model = context.api()?.get(&path(id))?;
    context.output.show(&model, || {
        let can: Vec<&str> = model["capabilities"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, can)| **can == true)
            .map(|(name, _)| name.as_str())
            .collect();
        pairs(&[
            ("Id", cell(&model["id"])),
            ("Name", cell(&model["name"])),
            ("Provider", cell(&model["provider"])),
            ("Endpoint", cell(&model["endpoint"])),
            ("Upstream model", cell(&model["upstreamModelId"])),
            ("Key", cell(&model["hasApiKey"])),
            ("Input $/1M", cell(&model["cost"]["inputPerMillion"])),
            ("Output $/1M", cell(&model["cost"]["outputPerMillion"])),
            ("Cached $/1M", cell(&model["cost"]["cachePerMillion"])),
            ("Context", cell(&model["contextWindow"])),
            ("Can", if can.is_empty() { "-".to_owned() } else { can.join(", ") }),
            ("Limits", limit::text(&model["limits"])),
            ("Enabled", cell(&model["enabled"])),
        ])
    })
}

fn catalogue(context: &Context, provider: Option<&str>) -> Result<(), Failure> {
    let providers = context.api()?.get("providers")?;
    let Some(wanted) = provider else {
        return context.output.show(&providers, || {
            let row = |provider: &Value| {
                let count = provider["models"].as_array().map_or(0, Vec::len);
                [
                    cell(&provider["id"]),
                    cell(&provider["name"]),
                    cell(&provider["endpoint"]),
                    count.to_string(),
                ]
            };
            let supported = |provider: &&Value| provider["supported"] == true;
            let rows: Vec<[String; 4]> =
                providers.as_array().into_iter().flatten().filter(supported).map(row).collect();
            context.output.table(["PROVIDER", "NAME", "ENDPOINT", "MODELS"], &rows)
        });
    };
    let found = providers.as_array().into_iter().flatten().find(|provider| provider["id"] == wanted);
    let found = found.ok_or_else(|| Failure::not_found(format!("there is no provider {wanted}")))?;
    context.output.show(found, || {
        let rows: Vec<[String; 4]> = models_of(found).map(catalogue_row).collect();
        context.output.table(["MODEL", "INPUT $/1M", "OUTPUT $/1M", "CONTEXT"], &rows)
    })
}

fn models_of(provider: &Value) -> impl Iterator<Item = &Value> {
    provider["models"].as_array().into_iter().flatten()
}

fn catalogue_row(model: &Value) -> [String; 4] {
    [
        cell(&model["id"]),
        cell(&model["cost"]["inputPerMillion"]),
        cell(&model["cost"]["outputPerMillion"]),
        cell(&model["contextWindow"]),
    ]
}

fn add(context: &Context, args: &AddArgs) -> Result<(), Failure> {
    let mut body = args.facts.body()?;
    if args.interactive || args.id.is_none() {
        if args.id.is_none() && !ask::is_interactive() {
            return Err(Failure::usage("--id is missing, and there is no terminal to ask on"));
        }
        wizard(context, args, &mut body)?;
    } else if args.facts.provider.is_none() {
        return Err(Failure::usage("--provider is missing; `routerly model catalogue` lists them"));
    }
    if let Some(id) = &args.id {
        body.insert("id".to_owned(), id.as_str().into());
    }
    if let Some(other) = &args.clone_from {
        body.insert("cloneFrom".to_owned(), other.as_str().into());
    }
    let model = context.api()?.call("POST", "models", Some(&Value::Object(body)))?;
    if model["priceUnknown"] == true {
        note(
            "warning: nothing is known of its prices, so its cost counts as 0; --input-price and --output-price set them",
        );
    }
    context.done(&model, || format!("{} is added", cell(&model["id"])))
}

/// Asks for what the flags have not said.
fn wizard(context: &Context, args: &AddArgs, body: &mut Map<String, Value>) -> Result<(), Failure> {
    let providers = context.api()?.get("providers")?;
    let supported: Vec<&Value> =
        providers.as_array().into_iter().flatten().filter(|provider| provider["supported"] == true).collect();
    let provider = match &args.facts.provider {
        Some(wanted) => supported.iter().find(|provider| provider["id"] == wanted.as_str()).copied(),
        None => {
            let names: Vec<String> = supported
                .iter()
                .map(|provider| format!("{} ({})", cell(&provider["id"]), cell(&provider["name"])))
                .collect();
            let ids: Vec<String> = supported.iter().map(|provider| cell(&provider["id"])).collect();
            let chosen = choose("Provider", &names, &ids)?;
            supported.iter().find(|provider| provider["id"] == chosen.as_str()).copied()
        }
    };
    let provider = provider
        .ok_or_else(|| Failure::not_found("there is no such provider; `routerly model catalogue`"))?;
    let provider_id = cell(&provider["id"]);
    body.insert("provider".to_owned(), provider_id.as_str().into());
    if args.id.is_none() {
        let known: Vec<&Value> = models_of(provider).filter(|model| model["deprecated"] != true).collect();
        let shown = |model: &&Value| {
            let [id, input, output, context] = catalogue_row(model);
            format!("{id}  ${input} / ${output} per 1M, {context} tokens")
        };
        let names: Vec<String> = known.iter().map(shown).collect();
        let ids: Vec<String> = known.iter().map(|model| cell(&model["id"])).collect();
        let model = choose("Model", &names, &ids)?;
        let proposed = format!("{provider_id}/{model}");
        let id = ask::line_or("Id", &proposed, "--id")?;
        if id != proposed {
            body.entry("upstreamModelId").or_insert_with(|| model.into());
        }
        body.insert("id".to_owned(), id.into());
    }
    if provider["requiresEndpoint"] == true && !body.contains_key("endpoint") {
        let example = "Endpoint (base URL)";
        body.insert("endpoint".to_owned(), ask::line(example, "--endpoint")?.into());
    }
    let has_key = body.contains_key("apiKey") || args.clone_from.is_some();
    if provider["requiresKey"] == true && !has_key {
        let key = ask::hidden("API key")?;
        if !key.is_empty() {
            body.insert("apiKey".to_owned(), key.into());
        }
    }
    if !body.contains_key("limits") {
        let mut limits = Vec::new();
        loop {
            let question = "Limit, such as cost:period:daily:5 (empty: no more)";
            let text = ask::line(question, "--limit")?;
            match (text.is_empty(), limit::parse(&text)) {
                (true, _) => break,
                (_, Ok(limit::Spec { model: None, limit })) => limits.push(limit),
                (_, Ok(_)) => note("this limit is the model's own: leave the model out"),
                // Said again until it is one.
                (_, Err(failure)) => drop(failure.report()),
            }
        }
        if !limits.is_empty() {
            body.insert("limits".to_owned(), limits.into());
        }
    }
    Ok(())
}

/// One of a list by its number or its id; anything else is taken as it is.
fn choose(what: &str, names: &[String], ids: &[String]) -> Result<String, Failure> {
    for (at, name) in names.iter().enumerate() {
        note(&format!("{:>4}  {}", at + 1, plain(name)));
    }
    loop {
        let answer = ask::line(&format!("{what} (number or id)"), "--provider and --id")?;
        let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match number.map(|at| ids.get(at)) {
            Some(Some(id)) => return Ok(id.clone()),
            None if !answer.is_empty() => return Ok(answer),
            _ => note("a number of the list, or an id"),
        }
    }
}

fn edit(context: &Context, args: &EditArgs) -> Result<(), Failure> {
    let id = args.id.as_ref().or(args.id_flag.as_ref()).cloned().unwrap_or_default();
    let mut body = args.facts.body()?;
    if let Some(new) = &args.new_id {
        body.insert("id".to_owned(), new.as_str().into());
    }
    if body.is_empty() {
        return Err(Failure::usage("nothing to change; --help lists what there is"));
    }
    let model = context.api()?.call("PUT", &path(&id), Some(&Value::Object(body)))?;
    context.done(&model, || format!("{} is changed", cell(&model["id"])))
}
