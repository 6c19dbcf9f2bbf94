//! The catalogue of providers and their models.

use serde_json::{Map, Value, json};

use super::answer::json_answer;
use super::ask::Ask;
use super::models::prices;
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Record};
use crate::provider::catalogue::CatalogueModel;
use crate::provider::{AuthScheme, Capabilities, Provider, Support};

static CATALOGUE_MODEL: Record = Record {
    name: "CatalogueModel",
    about: "What is known about a model of a provider. Prices in USD per million tokens.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("contextWindow", Kind::Whole).answers(),
        Field::new("cost", Kind::Map).answers(),
        Field::new("capabilities", Kind::Map).answers().always(),
        Field::new("deprecated", Kind::Flag).answers().always(),
    ],
};

pub(super) static PROVIDER: Record = Record {
    name: "Provider",
    about: "A provider that models can be of.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("name", Kind::Text).answers().always(),
        Field::new("endpoint", Kind::Text)
            .about("Its base URL; absent where the operator gives one.")
            .answers(),
        Field::new("requiresEndpoint", Kind::Flag).answers().always(),
        Field::new("requiresKey", Kind::Flag).answers().always(),
        Field::new("local", Kind::Flag).about("Runs on the operator's own machines.").answers().always(),
        Field::new("dialects", Kind::List(&Kind::Text)).answers().always(),
        Field::new("supported", Kind::Flag).answers().always(),
        Field::new("reason", Kind::Text).about("Why it is not supported.").answers(),
        Field::new("models", Kind::List(&Kind::Record(&CATALOGUE_MODEL))).answers().always(),
    ],
};

/// What is known of them.
pub(super) fn capabilities(capabilities: &Capabilities) -> Value {
    let known = [
        ("thinking", capabilities.thinking),
        ("vision", capabilities.vision),
        ("functionCalling", capabilities.function_calling),
        ("json", capabilities.json),
        ("embedding", capabilities.embedding),
    ];
    let known = known.into_iter().filter_map(|(name, can)| Some((name.to_owned(), can?.into())));
    Value::Object(known.collect())
}

fn model(model: &CatalogueModel) -> Value {
    let mut shown = json!({
        "id": model.id,
        "capabilities": capabilities(&model.capabilities),
        "deprecated": model.deprecated,
    });
    if let Some(window) = model.context_window {
        shown["contextWindow"] = window.into();
    }
    if let Some(table) = &model.prices {
        let base = prices(table.base()).into_iter().map(|(key, price)| (key.to_owned(), price));
        shown["cost"] = Value::Object(base.collect::<Map<_, _>>());
    }
    shown
}

fn provider(provider: &Provider) -> Value {
    let dialects: Vec<&str> = provider.dialects.iter().map(crate::dialect::Dialect::as_str).collect();
    let takes_key = matches!(provider.auth.scheme, AuthScheme::Field { .. });
    let mut shown = json!({
        "id": provider.id,
        "name": provider.name,
        "requiresEndpoint": provider.requires_base_url,
        "requiresKey": takes_key && !provider.auth.optional,
        "local": provider.local,
        "dialects": dialects,
        "supported": provider.support == Support::Served,
        "models": provider.models.iter().map(model).collect::<Vec<_>>(),
    });
    if let Some(base) = &provider.base {
        shown["endpoint"] = base.to_string().into();
    }
    if let Support::Disabled(reason) | Support::Refused(reason) = provider.support {
        shown["reason"] = reason.into();
    }
    shown
}

/// `GET /api/providers`.
pub(super) fn list(office: &mut Office, _: &Ask<'_>) -> Answered {
    let config = office.config();
    Ok(json_answer(200, &config.catalogue().providers().iter().map(|known| provider(known)).collect()))
}
