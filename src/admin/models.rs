//! Models.

use serde_json::{Map, Value, json};

use super::answer::{ApiError, json_answer, no_content, tagged_answer};
use super::ask::Ask;
use super::change::Subject;
use super::entries::{document, entries, entry, remove};
use super::limits::{self, LIMITS};
use super::office::Office;
use super::references;
use super::routes::Answered;
use super::shape::{Field, Kind, MASK, Problems, Record};
use crate::config::Model;
use crate::config::files::{MODELS, PROJECTS};
use crate::provider::Prices;
use crate::store::edit::Draft;

/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 200;
/// Secrets of a model; sealed for its id.
const SEALED: [&str; 2] = ["apiKey", "cfClearance"];

const PRICE_FIELDS: [Field; 4] = [
    Field::new("inputPerMillion", Kind::Amount),
    Field::new("outputPerMillion", Kind::Amount),
    Field::new("cachePerMillion", Kind::Amount).about("Read from the prompt cache; else the input price."),
    Field::new("cacheWritePerMillion", Kind::Amount)
        .about("Written to the prompt cache; else the input price."),
];

static PRICING_TIER: Record = Record {
    name: "PricingTier",
    about: "Prices of the whole request once its context is larger than `above` tokens.",
    key: "",
    fields: &[
        Field::new("metric", Kind::Word(&["context_tokens"])),
        Field::new("above", Kind::Whole).required(),
        Field::new("inputPerMillion", Kind::Amount).required(),
        Field::new("outputPerMillion", Kind::Amount).required(),
        Field::new("cachePerMillion", Kind::Amount),
        Field::new("cacheWritePerMillion", Kind::Amount),
    ],
};

static COST: Record = Record {
    name: "Cost",
    about: "Prices in USD per million tokens.",
    key: "",
    fields: &{
        let [input, output, cached, written] = PRICE_FIELDS;
        [input, output, cached, written, Field::new("pricingTiers", Kind::List(&Kind::Record(&PRICING_TIER)))]
    },
};

static CAPABILITIES: Record = Record {
    name: "Capabilities",
    about: "What a model can do; absent is unknown. In bodies also an array of names.",
    key: "",
    fields: &[
        Field::new("thinking", Kind::Flag),
        Field::new("vision", Kind::Flag),
        Field::new("functionCalling", Kind::Flag),
        Field::new("json", Kind::Flag),
        Field::new("embedding", Kind::Flag),
    ],
};

static MODEL_KEY: Record = Record {
    name: "ModelKey",
    about: "One of several keys of a model.",
    key: "id",
    fields: &[
        Field::new("id", Kind::Text),
        Field::new("weight", Kind::Whole).about("Share of the calls; 0: only where no other can be used."),
        Field::new("key", Kind::Secret).required(),
    ],
};

pub(super) static MODEL: Record = Record {
    name: "Model",
    about: "A model that requests can be routed to. Prices, context window and capabilities that the entry does not give \
            are those of the catalogue.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text)
            .about("Chosen by the operator, often `provider/model`. Sent with a change, it renames.")
            .required(),
        Field::new("name", Kind::Text).about("For people; the id where it is not given.").always(),
        Field::new("provider", Kind::Text).about("One of `GET /api/providers`.").required(),
        Field::new("endpoint", Kind::Text)
            .about("Base URL; the provider's own where it is not given. Also `baseUrl`.")
            .also(&["baseUrl"]),
        Field::new("apiKey", Kind::Secret)
            .about("An empty one or the mask keeps what is stored, null removes it.")
            .bodies(),
        Field::new("cfClearance", Kind::Secret).bodies(),
        Field::new("apiKeys", Kind::List(&Kind::Record(&MODEL_KEY))).about("Several keys that share the calls."),
        Field::new("upstreamModelId", Kind::Text).about("What the provider calls it."),
        Field::new("cost", Kind::Record(&COST))
            .about(
                "In bodies also flat (`inputPerMillion`, …), or as `inputPrice`, `outputPrice`, `cachePrice`, \
                 `cacheWritePrice`; always per million tokens.",
            )
            .always(),
        Field::new("contextWindow", Kind::Whole).about("Tokens."),
        Field::new("limits", LIMITS)
            .about("Over all projects. In bodies also `dailyBudget`, `weeklyBudget`, `monthlyBudget` in USD."),
        Field::new("limitsMode", Kind::Word(limits::MODES)),
        Field::new("capabilities", Kind::Record(&CAPABILITIES)).always(),
        Field::new("timeout", Kind::Whole).about("Milliseconds to the first byte."),
        Field::new("enabled", Kind::Flag).about("Absent: true.").always(),
        Field::new("dialect", Kind::Any).about("What it takes as it comes: a name, or several."),
        Field::new("stripParams", Kind::List(&Kind::Text)).about("Members of requests that are taken out."),
        Field::new("simulated", Kind::Map).about("For provider `simulated` only."),
        Field::new("description", Kind::Text),
        Field::new("cloneFrom", Kind::Text)
            .about("With a new model: id of the one whose key it gets where none is sent.")
            .bodies(),
        Field::new("hasApiKey", Kind::Flag).answers().always(),
        Field::new("keyError", Kind::Flag).about("There is a key, but it cannot be decrypted.").answers().always(),
        Field::new("priceUnknown", Kind::Flag).about("Its cost counts as 0.").answers().always(),
    ],
};

pub(super) static API_KEY: Record = Record {
    name: "ApiKey",
    about: "The key of a model, masked unless `?reveal=1` asks for it.",
    key: "",
    fields: &[Field::new("apiKey", Kind::Text).required().nullable()],
};

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no model `{id}`"))
}

fn subject(ask: &Ask<'_>, id: &str) -> Subject {
    Subject::entry("model", MODELS, &MODEL, id).if_match(ask.call.if_match.as_ref())
}

/// What the file says, and what the gateway makes of it.
fn shown(entry: &Map<String, Value>, model: Option<&Model>) -> Value {
    let mut shown = MODEL.shown(entry);
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = text("id").unwrap_or_default();
    if text("name").is_none() {
        shown.insert("name".to_owned(), id.into());
    }
    let keys = entry.get("apiKeys").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty());
    shown.insert(
        "hasApiKey".to_owned(),
        (keys || text("apiKey").or(text("encryptedApiKey")).is_some()).into(),
    );
    for (key, value) in [("cost", json!({})), ("capabilities", json!({})), ("enabled", json!(true))] {
        shown.entry(key).or_insert(value);
    }
    let Some(model) = model else {
        shown.insert("keyError".to_owned(), false.into());
        shown.insert("priceUnknown".to_owned(), false.into());
        return shown.into();
    };
    shown.insert("keyError".to_owned(), model.key_error.into());
    shown.insert("priceUnknown".to_owned(), model.price_unknown.into());
    shown.insert("enabled".to_owned(), model.enabled.into());
    if let (None, Some(endpoint)) = (text("endpoint"), &model.endpoint) {
        shown.insert("endpoint".to_owned(), endpoint.to_string().into());
    }
    if let Some(window) = model.context_window {
        shown.entry("contextWindow").or_insert(window.into());
    }
    if !model.price_unknown {
        let cost = &mut shown["cost"];
        for (key, price) in prices(model.prices.base()) {
            if cost[key].is_null() {
                cost[key] = price;
            }
        }
        let tiers = model.prices.tiers();
        if cost["pricingTiers"].is_null() && !tiers.is_empty() {
            let tier = |tier: &crate::provider::PriceTier| {
                let mut shown = json!({"metric": "context_tokens", "above": tier.above});
                prices(&tier.prices).into_iter().for_each(|(key, price)| shown[key] = price);
                shown
            };
            cost["pricingTiers"] = tiers.iter().map(tier).collect();
        }
    }
    let known = super::providers::capabilities(&model.capabilities);
    for (key, value) in known.as_object().into_iter().flatten() {
        if shown["capabilities"][key].is_null() {
            shown["capabilities"][key] = value.clone();
        }
    }
    shown.into()
}

/// Picodollars per token are millionths of a USD per million tokens.
pub(super) fn prices(prices: &Prices) -> Vec<(&'static str, Value)> {
    let usd = |price: u64| json!(price as f64 / 1e6);
    let mut shown = vec![("inputPerMillion", usd(prices.input)), ("outputPerMillion", usd(prices.output))];
    for (key, price) in [("cachePerMillion", prices.cached), ("cacheWritePerMillion", prices.cache_write)] {
        if price != prices.input {
            shown.push((key, usd(price)));
        }
    }
    shown
}

fn one(office: &Office, status: u16, id: &str) -> Answered {
    let document = office.document(MODELS)?;
    let subject = Subject::entry("model", MODELS, &MODEL, id);
    let (entry, _) = subject.find(&document).ok_or_else(|| missing(id))?;
    let config = office.config();
    let model = config.model_index(id).map(|index| &*config.models()[index]);
    Ok(tagged_answer(status, &shown(entry, model), subject.tag(entry)))
}

/// `GET /api/models`.
pub(super) fn list(office: &mut Office, _: &Ask<'_>) -> Answered {
    let document = office.document(MODELS)?;
    let config = office.config();
    let model = |entry: &Map<String, Value>| {
        let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
        shown(entry, config.model_index(id).map(|index| &*config.models()[index]))
    };
    let entries = document.as_array().into_iter().flatten().filter_map(Value::as_object);
    Ok(json_answer(200, &entries.map(model).collect()))
}

/// `GET /api/models/{model}`.
pub(super) fn show(office: &mut Office, ask: &Ask<'_>) -> Answered {
    one(office, 200, ask.name())
}

/// A body in the one form that is stored.
fn canonical(mut body: Map<String, Value>) -> Map<String, Value> {
    let mut cost = match body.shift_remove("cost") {
        Some(Value::Object(cost)) => cost,
        None => Map::new(),
        // Whatever it is: the reader says so.
        Some(other) => {
            body.insert("cost".to_owned(), other);
            Map::new()
        }
    };
    for (name, names) in [
        ("inputPerMillion", ["inputPerMillion", "inputPrice"]),
        ("outputPerMillion", ["outputPerMillion", "outputPrice"]),
        ("cachePerMillion", ["cachePerMillion", "cachePrice"]),
        ("cacheWritePerMillion", ["cacheWritePerMillion", "cacheWritePrice"]),
        ("pricingTiers", ["pricingTiers", "tiers"]),
    ] {
        for flat in names {
            if let Some(value) = body.shift_remove(flat) {
                cost.entry(name).or_insert(value);
            }
        }
    }
    if !cost.is_empty() {
        body.entry("cost").or_insert(cost.into());
    }
    if let Some(Value::Array(names)) = body.get("capabilities") {
        let mut map = Map::new();
        for name in names {
            match name.as_str() {
                Some("tools") => map.insert("functionCalling".to_owned(), true.into()),
                Some("json_mode") => map.insert("json".to_owned(), true.into()),
                Some("chat") | None => None,
                Some(name) => map.insert(name.to_owned(), true.into()),
            };
        }
        body.insert("capabilities".to_owned(), map.into());
    }
    let budget = |(key, period): (&str, &str)| {
        let value = body.get(key).filter(|value| !value.is_null())?;
        Some(json!({"metric": "cost", "windowType": "period", "period": period, "value": value}))
    };
    let budgets = [("dailyBudget", "daily"), ("weeklyBudget", "weekly"), ("monthlyBudget", "monthly")];
    let budgets: Vec<Value> = budgets.into_iter().filter_map(budget).collect();
    let has_limits = body.get("limits").and_then(Value::as_array).is_some_and(|limits| !limits.is_empty());
    if !budgets.is_empty() && !has_limits {
        body.insert("limits".to_owned(), budgets.into());
    }
    limits::canonical(&mut body, "limits");
    // A form that was left empty says nothing about what it does not show.
    for key in ["name", "apiKey", "cfClearance"] {
        if body.get(key).is_some_and(|value| value == "") {
            body.shift_remove(key);
        }
    }
    for key in ["upstreamModelId", "endpoint"] {
        if body.get(key).is_some_and(|value| value == "") {
            body.insert(key.to_owned(), Value::Null);
        }
    }
    if body.get("contextWindow").is_some_and(|value| value == 0) {
        body.insert("contextWindow".to_owned(), Value::Null);
    }
    body
}

/// The body of a request, and what is wrong with it.
fn read(ask: &Ask<'_>, is_new: bool) -> Result<(Map<String, Value>, Problems), ApiError> {
    let mut problems = Problems::new();
    let body = MODEL.read(canonical(ask.object()?), is_new, &mut problems);
    if let Some(id) = body.get("id").and_then(Value::as_str)
        && (id.len() > ID_BYTES_MAX || id.trim() != id || id.chars().any(char::is_control) || id.is_empty())
        && !problems.iter().any(|(path, _)| path == "id")
    {
        let expected =
            format!("expected up to {ID_BYTES_MAX} bytes without control characters or space around");
        problems.push(("id".to_owned(), expected));
    }
    Ok((body, problems))
}

/// `POST /api/models`.
pub(super) fn create(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let (mut body, problems) = read(ask, true)?;
    let source = body.shift_remove("cloneFrom");
    let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let new_id = id.clone();
    office.change(Subject::entry("model", MODELS, &MODEL, &id), problems, move |draft| {
        let key = match source.as_ref().and_then(Value::as_str).filter(|_| !body.contains_key("apiKey")) {
            Some(source) => key_of(draft, source)?,
            None => None,
        };
        let models = entries(draft, MODELS)?;
        if !id.is_empty() && models.iter().any(|known| known["id"] == id.as_str()) {
            return Err(ApiError::conflict(format!("there is a model `{id}` already")));
        }
        let mut entry = Map::new();
        let mut problems = Problems::new();
        MODEL.merge(&mut entry, &body, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::fields(problems));
        }
        if let Some(key) = key {
            entry.insert("apiKey".to_owned(), key.into());
        }
        models.push(entry.into());
        Ok(())
    })?;
    one(office, 201, &new_id)
}

/// The key of another model, in clear: it is sealed for its new place before it is written.
fn key_of(draft: &mut Draft<'_>, id: &str) -> Result<Option<String>, ApiError> {
    let wrong = |reason: &str| ApiError::fields(vec![("cloneFrom".to_owned(), reason.to_owned())]);
    let models = document(draft, MODELS)?.as_array();
    let source = models.into_iter().flatten().find(|model| model["id"] == id);
    let source = source.ok_or_else(|| wrong("there is no such model"))?;
    let Some(sealed) = source["apiKey"].as_str().filter(|key| !key.is_empty()).map(str::to_owned) else {
        return Ok(None);
    };
    let key =
        draft.unseal(MODELS, id, "apiKey", &sealed).ok_or_else(|| wrong("its key cannot be decrypted"))?;
    Ok(Some(key.expose().to_owned()))
}

/// `PUT /api/models/{model}`: what is not named stays; another id renames it wherever it is named.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let (mut body, problems) = read(ask, false)?;
    body.shift_remove("cloneFrom");
    let id = ask.name().to_owned();
    let new_id = body.get("id").and_then(Value::as_str).unwrap_or(&id).to_owned();
    let now = new_id.clone();
    // What the provider calls it may come from the id, and does not change with it.
    let config = office.config();
    let upstream = config.model_index(&id).map(|index| config.models()[index].upstream_model.clone());
    let mut subject = subject(ask, &id);
    subject.becomes = Some(new_id.clone());
    office.change(subject, problems, move |draft| {
        let known = entry(draft, MODELS, &id)?;
        let mut changed = known.clone();
        if new_id != id {
            rename(draft, &id, &new_id, &mut changed, &body)?;
            if let Some(upstream) = upstream {
                let own = changed.entry("upstreamModelId").or_insert(Value::Null);
                if own.as_str().is_none_or(str::is_empty) {
                    *own = upstream.into();
                }
            }
        }
        let mut problems = Problems::new();
        MODEL.merge(&mut changed, &body, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::fields(problems));
        }
        for (key, old) in [("apiKey", "encryptedApiKey"), ("cfClearance", "encryptedCfClearance")] {
            if body.get(key).is_some_and(|value| value != MASK) {
                changed.shift_remove(old);
            }
        }
        *entry(draft, MODELS, &id)? = changed;
        Ok(())
    })?;
    one(office, 200, &now)
}

/// Gives the model its new id in the projects, and its secrets in clear, to be sealed for it.
fn rename(
    draft: &mut Draft<'_>,
    id: &str,
    new_id: &str,
    model: &mut Map<String, Value>,
    body: &Map<String, Value>,
) -> Result<(), ApiError> {
    if entries(draft, MODELS)?.iter().any(|known| known["id"] == new_id) {
        return Err(ApiError::conflict(format!("there is a model `{new_id}` already")));
    }
    let open = |field: &str, sealed: &str| {
        let opened = draft.unseal(MODELS, id, field, sealed).map(|plain| Value::from(plain.expose()));
        opened.ok_or_else(|| {
            ApiError::conflict(format!("its {field} cannot be decrypted; send it with the new id"))
        })
    };
    for field in SEALED {
        let is_sent = body.get(field).is_some_and(|value| value != MASK);
        if let Some(sealed) =
            model.get(field).and_then(Value::as_str).filter(|text| !text.is_empty() && !is_sent)
        {
            let plain = open(field, sealed)?;
            model.insert(field.to_owned(), plain);
        }
    }
    for key in model.get_mut("apiKeys").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(sealed) = key["key"].as_str() {
            key["key"] = open("apiKeys", sealed)?;
        }
    }
    let mut projects = document(draft, PROJECTS)?.clone();
    if projects.as_array_mut().is_some_and(|projects| references::rename(projects, id, new_id)) {
        *entries(draft, PROJECTS)? = match projects {
            Value::Array(projects) => projects,
            _ => Vec::new(),
        };
    }
    Ok(())
}

/// `DELETE /api/models/{model}`; with `?force=1` also one that projects list, which then list it no more.
pub(super) fn delete(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let (id, is_forced) = (ask.name().to_owned(), ask.flag("force"));
    office.change(subject(ask, &id), Problems::new(), move |draft| {
        remove(draft, MODELS, &id)?;
        let mut projects = document(draft, PROJECTS)?.as_array().cloned().unwrap_or_default();
        if is_forced && references::remove_from_lists(&mut projects, &id) {
            *entries(draft, PROJECTS)? = projects.clone();
        }
        let left = references::of_model(&projects, &id);
        if left.is_empty() {
            return Ok(());
        }
        let advice = if is_forced { "change them first" } else { "change them first, or add ?force=1" };
        Err(ApiError::conflict(format!("the model is used by {}; {advice}", left.join(", "))))
    })?;
    Ok(no_content())
}

/// `GET /api/models/{model}/apikey`: masked, or with `?reveal=1` in clear.
pub(super) fn key(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let id = ask.name();
    let config = office.config();
    let model = config.model_index(id).map(|index| &config.models()[index]).ok_or_else(|| missing(id))?;
    let key = model.keys.first().map(|key| key.secret.expose());
    if !ask.flag("reveal") {
        return Ok(json_answer(200, &json!({"apiKey": key.map(|_| MASK)})));
    }
    office.note_shown("model.reveal", id)?;
    Ok(json_answer(200, &json!({"apiKey": key})))
}

/// `POST /api/models/{model}/apikey`.
pub(super) fn set_key(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut form = ask.form()?;
    let key = form.required(&["apiKey"]);
    form.finish()?;
    let id = ask.name().to_owned();
    let changed = id.clone();
    office.change(subject(ask, &id), Problems::new(), move |draft| {
        let model = entry(draft, MODELS, &changed)?;
        if key != MASK {
            model.shift_remove("encryptedApiKey");
            model.insert("apiKey".to_owned(), key.into());
        }
        Ok(())
    })?;
    one(office, 200, &id)
}
