//! One model of the registry: where it is, how it is called, what it costs.
//!
//! Owns the reading of an entry of `config/models.json` and the filling of its gaps from the catalogue. What does
//! not change between requests (paths, the field that carries the key) is made here, once.
//!
//! Source: the project's configuration specification, section 5; provider table, sections 1 and 4.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::fields::{Fields, one_of};
use super::keys::{self, Keys, ModelKey};
use super::limit::LimitSet;
use super::mistake::{Path, Sink, describe, kind, quote};
use super::{Opener, Secret};
use crate::dialect::Dialect;
use crate::provider::path::{Call, azure_has_version_path, passthrough, path_of};
use crate::provider::price::{
    PriceParts, PriceTable, PriceTier, ScaleError, USD_PER_MILLION_MAX, usd_per_million,
};
use crate::provider::{AuthScheme, Capabilities, Catalogue, Dialects, Endpoint, Provider, Support, Wire};

/// One day in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// A model that requests can be routed to.
#[derive(Debug)]
pub struct Model {
    /// Unique id, often `provider/model`.
    pub id: String,
    /// Name for people; the id where the file gives none.
    pub name: String,
    /// Whose API it is.
    pub provider: Arc<Provider>,
    /// Where it is; none for `simulated`.
    pub endpoint: Option<Endpoint>,
    /// The provider's keys, in clear; none for one that takes none.
    pub keys: Vec<ModelKey>,
    /// The id that the provider knows.
    pub upstream_model: String,
    /// Dialects it takes as they come.
    pub dialects: Dialects,
    /// What its tokens cost.
    pub prices: PriceTable,
    /// Neither file nor catalogue knows a price: cost counts as 0 and should be shown as unknown.
    pub price_unknown: bool,
    /// Context window in tokens; none: not known, no bound.
    pub context_window: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Time of one attempt up to the first byte; none: the project's or the default.
    pub timeout: Option<Duration>,
    /// Switched on.
    pub enabled: bool,
    /// Request fields to remove before sending.
    pub strip_params: Vec<String>,
    /// A key is there but none can be decrypted; such a model must not be routed to.
    pub key_error: bool,
    /// Settings of the simulated provider, as they stand in the file; null for all others.
    pub simulated: Value,
    /// Limits on this model, over all projects.
    pub limits: LimitSet,
    /// One per [`Call::ALL`]; empty for `simulated`.
    paths: Vec<Box<str>>,
}

impl Model {
    /// Whether requests may be routed to it at all.
    pub fn is_usable(&self) -> bool {
        self.enabled && !self.key_error
    }

    /// Path (and query) of a call, base path included; none for `simulated`.
    pub fn path(&self, call: Call) -> Option<&str> {
        self.paths.get(call as usize).map(|path| &**path)
    }

    /// Appends the path for a request whose own path and query are passed on; nothing for `simulated`.
    pub fn passthrough_path(&self, path_and_query: &str, out: &mut String) {
        if let Some(endpoint) = &self.endpoint {
            passthrough(&self.provider, endpoint, &self.upstream_model, path_and_query, out);
        }
    }

    /// Fields of the provider that go along with each request, names in lower case.
    pub fn extra_fields(&self) -> &[(String, String)] {
        &self.provider.auth.extra_fields
    }
}

impl Model {
    /// A model that the registry does not have: nothing is known of it but what the catalogue says. It embeds.
    pub(super) fn unlisted(
        id: String,
        provider: &Arc<Provider>,
        upstream_model: &str,
        endpoint: Option<Endpoint>,
        api_key: Option<Secret>,
    ) -> Self {
        let known = provider.model(upstream_model);
        let endpoint = endpoint.or_else(|| provider.base.clone());
        let path = |call: &Call| {
            let endpoint = endpoint.as_ref()?;
            Some(path_of(provider, endpoint, upstream_model, *call).into_boxed_str())
        };
        let prices = known.and_then(|known| known.prices.clone());
        let keys = api_key.map(|key| ModelKey::only(key_field(provider, false, &key), key));
        Self {
            name: id.clone(),
            provider: Arc::clone(provider),
            upstream_model: upstream_model.to_owned(),
            dialects: provider.dialects,
            price_unknown: prices.is_none() && !provider.local,
            prices: prices.unwrap_or_default(),
            context_window: known.and_then(|known| known.context_window),
            capabilities: Capabilities { embedding: Some(true), ..Capabilities::default() },
            timeout: None,
            enabled: true,
            strip_params: Vec::new(),
            key_error: false,
            simulated: Value::Null,
            limits: LimitSet::default(),
            paths: Call::ALL.iter().filter_map(path).collect(),
            id,
            endpoint,
            keys: keys.into_iter().collect(),
        }
    }

    /// Whether calls of both go to the same place with the same key.
    pub(super) fn is_called_like(&self, other: &Self) -> bool {
        self.provider.id == other.provider.id
            && self.upstream_model == other.upstream_model
            && self.endpoint == other.endpoint
            && self.keys == other.keys
    }
}

/// Whether a key can stand in a field of a head.
pub(super) fn is_field_value(key: &Secret) -> bool {
    key.expose().bytes().all(|byte| (b'!'..=b'~').contains(&byte))
}

/// The field that carries a key, with its line end; none where the provider takes none.
fn key_field(provider: &Provider, is_bearer: bool, key: &Secret) -> Option<Secret> {
    let (name, prefix) = match &provider.auth.scheme {
        AuthScheme::Field { .. } if is_bearer => ("authorization", "Bearer "),
        AuthScheme::Field { name, prefix } => (name.as_str(), prefix.as_str()),
        AuthScheme::None | AuthScheme::Unsupported => return None,
    };
    Some(Secret::new(format!("{name}: {prefix}{}\r\n", key.expose())))
}

/// Reads all entries; broken ones are left out and reported.
pub(crate) fn read_all(
    items: &[Value],
    catalogue: &Catalogue,
    opener: &dyn Opener,
    sink: &Sink<'_>,
) -> Vec<Model> {
    let mut models = Vec::with_capacity(items.len());
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let path = Path::Index(&Path::Root, index);
        let Value::Object(map) = item else {
            sink.mistake(&path, kind(item), "an object (a model)");
            continue;
        };
        let fields = Fields::new(map, path, sink);
        if let Some(id) = map.get("id").and_then(Value::as_str)
            && let Some(first) = seen.insert(id, index)
        {
            fields.mistake("id", format!("{} again, first used by [{first}]", quote(id)), "a unique id");
        }
        models.extend(read(&fields, catalogue, opener));
    }
    models
}

fn read(f: &Fields<'_>, catalogue: &Catalogue, opener: &dyn Opener) -> Option<Model> {
    let id = f.required_string("id");
    let provider = read_provider(f, catalogue);
    let name = f.string("name").filter(|name| !name.is_empty());
    let upstream = f.string("upstreamModelId").filter(|id| !id.is_empty());
    let endpoint = provider.and_then(|provider| read_endpoint(f, provider));
    let own_dialects = read_dialects(f);
    let mut enabled = f.bool("enabled").unwrap_or(true);
    let timeout = f.duration("timeout", 0..=DAY_MS).filter(|timeout| !timeout.is_zero());
    let context_window = f.integer("contextWindow", 0..=u64::MAX).filter(|window| *window > 0);
    let capabilities = read_capabilities(f);
    let own_strip_params = f.value("stripParams").map(|_| f.strings("stripParams"));
    let limits = LimitSet::read(f, "limits");
    let own_prices = read_prices(f);
    let simulated = f.value("simulated").cloned().unwrap_or_default();
    let way = match (provider, &endpoint) {
        (Some(provider), Some(endpoint)) => Way::of(provider, endpoint),
        _ => Way::default(),
    };
    let carry = |f: &Fields<'_>, field: &'static str, key: &Secret| way.auth_field(f, field, provider?, key);
    let Keys { usable: keys, locked } = keys::read(f, id.unwrap_or_default(), opener, carry);
    let key_error = locked && keys.is_empty();
    // Read elsewhere or by later versions only; thresholds count only where there are no limits.
    f.also_known(&[
        "cfClearance",
        "globalThresholds",
        "thresholds",
        "encryptedApiKey",
        "encryptedCfClearance",
    ]);
    f.also_known(&[
        "description",
        "notes",
        "createdAt",
        "updatedAt",
        "deprecated",
        "keyError",
        "priceUnknown",
    ]);
    f.finish();
    let (id, provider) = (id?, provider?);

    let upstream_model = upstream.unwrap_or_else(|| without_provider(id, &provider.id)).to_owned();
    let known = provider.model(&upstream_model).or_else(|| provider.model(id));
    if let Support::Disabled(reason) = provider.support {
        f.warn("provider", format!("models of {} are switched off: {reason}", quote(&provider.id)));
        enabled = false;
    }
    let is_key_missing = keys.is_empty() && !key_error && enabled && !provider.auth.optional;
    if is_key_missing && matches!(provider.auth.scheme, AuthScheme::Field { .. }) {
        f.sink.warn(&f.path, "no apiKey: the provider will refuse the requests");
    }
    let known_prices = known.and_then(|known| known.prices.clone());
    let (prices, price_unknown) = match own_prices {
        OwnPrices::Given(prices) => (prices, false),
        OwnPrices::Nothing => match known_prices {
            Some(prices) => (prices, false),
            None => (PriceTable::default(), !provider.local),
        },
    };
    if price_unknown {
        f.sink.warn(&f.path, "no price is known for this model; its cost counts as 0");
    }
    let paths = endpoint.as_ref().map(|endpoint| {
        let path = |call: &Call| path_of(provider, endpoint, &upstream_model, *call).into_boxed_str();
        Call::ALL.iter().map(path).collect()
    });
    Some(Model {
        id: id.to_owned(),
        name: name.unwrap_or(id).to_owned(),
        provider: Arc::clone(provider),
        dialects: own_dialects.or(way.dialects).unwrap_or(provider.dialects),
        keys,
        prices,
        price_unknown,
        context_window: context_window.or(known.and_then(|known| known.context_window)),
        capabilities: capabilities.or(known.map(|known| known.capabilities).unwrap_or_default()),
        timeout,
        enabled,
        strip_params: own_strip_params
            .or_else(|| known.map(|known| known.strip_params.clone()))
            .unwrap_or_default(),
        key_error,
        simulated,
        limits,
        paths: paths.unwrap_or_default(),
        endpoint,
        upstream_model,
    })
}

fn read_provider<'c>(f: &Fields<'_>, catalogue: &'c Catalogue) -> Option<&'c Arc<Provider>> {
    let id = f.required_string("provider")?;
    let Some(provider) = catalogue.provider(id) else {
        let served = catalogue.providers().iter().filter(|known| known.support == Support::Served);
        f.mistake("provider", quote(id), one_of(served.map(|known| known.id.as_str())));
        return None;
    };
    if let Support::Refused(reason) = provider.support {
        f.mistake("provider", format!("{}, which cannot be served: {reason}", quote(id)), "another provider");
        return None;
    }
    Some(provider)
}

fn read_endpoint(f: &Fields<'_>, provider: &Provider) -> Option<Endpoint> {
    let Some(url) = f.string("endpoint").filter(|url| !url.trim().is_empty()) else {
        if provider.requires_base_url && provider.base.is_none() && provider.wire != Wire::Simulated {
            f.mistake_here(
                format!("no endpoint, and provider {} has no default one", quote(&provider.id)),
                "endpoint, the base URL of the API",
            );
        }
        return provider.base.clone();
    };
    if provider.is_simulated() {
        return None;
    }
    match Endpoint::parse(url) {
        Ok(endpoint) if endpoint.query.is_some() && provider.wire != Wire::Azure => {
            f.mistake("endpoint", "a URL with a query", "a base URL without a query");
            None
        }
        Ok(endpoint) => Some(endpoint),
        // The text itself may hold a password and is not repeated.
        Err(reason) => {
            f.mistake(
                "endpoint",
                format!("a URL that is not usable: {reason}"),
                "http(s)://host[:port][/path]",
            );
            None
        }
    }
}

/// `dialect`: one name, or an array of names.
fn read_dialects(f: &Fields<'_>) -> Option<Dialects> {
    let read = |item: &Value, path: &Path<'_>| {
        let dialect = item.as_str().and_then(Dialect::parse);
        if dialect.is_none() {
            let names = ["openai-chat", "openai-responses", "anthropic-messages", "gemini"];
            f.sink.mistake(path, describe(item), one_of(names.into_iter()));
        }
        dialect
    };
    let mut dialects = Dialects::default();
    match f.value("dialect")? {
        Value::Array(_) => f.each("dialect", |item, path| {
            dialects = read(item, &path).map_or(dialects, |dialect| dialects.with(dialect));
        }),
        item => dialects = Dialects::from_iter(read(item, &Path::Key(&f.path, "dialect"))),
    }
    (!dialects.is_empty()).then_some(dialects)
}

fn read_capabilities(f: &Fields<'_>) -> Capabilities {
    let read = |f: &Fields<'_>| {
        let capabilities = Capabilities {
            thinking: f.bool("thinking"),
            vision: f.bool("vision"),
            function_calling: f.bool("functionCalling"),
            json: f.bool("json"),
            embedding: f.bool("embedding"),
        };
        f.finish();
        capabilities
    };
    f.object("capabilities", read).unwrap_or_default()
}

/// What differs from the provider's entry because of the endpoint's form.
#[derive(Default)]
struct Way {
    dialects: Option<Dialects>,
    is_bearer: bool,
}

impl Way {
    fn of(provider: &Provider, endpoint: &Endpoint) -> Self {
        match provider.wire {
            // Gemini's OpenAI-compatible surface, which upstream Routerly used.
            Wire::Plain(Dialect::Gemini) if endpoint.base_path.ends_with("/openai") => {
                Self { dialects: Some(Dialects::from_iter([Dialect::OpenAiChat])), is_bearer: true }
            }
            Wire::Azure if azure_has_version_path(endpoint) => {
                let both = [Dialect::OpenAiChat, Dialect::OpenAiResponses];
                Self { dialects: Some(both.into_iter().collect()), is_bearer: false }
            }
            _ => Self::default(),
        }
    }

    /// The header line that carries a key which stands in `field`.
    fn auth_field(
        &self,
        f: &Fields<'_>,
        field: &'static str,
        provider: &Provider,
        key: &Secret,
    ) -> Option<Secret> {
        let line = key_field(provider, self.is_bearer, key)?;
        if !is_field_value(key) {
            f.mistake(
                field,
                "a key with a space or a character outside ASCII",
                "the key as the provider gave it",
            );
            return None;
        }
        Some(line)
    }
}

enum OwnPrices {
    Nothing,
    Given(PriceTable),
}

fn read_prices(f: &Fields<'_>) -> OwnPrices {
    f.object("cost", |f| {
        let base = read_price_parts(f);
        let mut tiers = Vec::new();
        let mut above_seen = Vec::new();
        f.each_object("pricingTiers", |f| {
            let metric = f.string("metric").unwrap_or("context_tokens");
            if metric != "context_tokens" {
                f.warn("metric", "only \"context_tokens\" is known; this tier is not applied");
            }
            let above = f.integer("above", 0..=u64::MAX);
            if above.is_none() && f.value("above").is_none() {
                f.mistake_here("a tier without above", "above, a number of tokens");
            }
            let own = read_price_parts(f);
            if own.input.is_none() && f.value("inputPerMillion").is_none() {
                f.mistake_here("a tier without inputPerMillion", "a price in USD per million tokens");
            }
            if own.output.is_none() && f.value("outputPerMillion").is_none() {
                f.mistake_here("a tier without outputPerMillion", "a price in USD per million tokens");
            }
            f.finish();
            let Some(above) = above.filter(|_| metric == "context_tokens") else { return };
            if above_seen.contains(&above) {
                f.mistake("above", format!("{above} again"), "each threshold once");
            }
            above_seen.push(above);
            tiers.push(PriceTier { above, prices: own.fill_tier(base) });
        });
        f.finish();
        match (base.input, base.output) {
            (None, None) => OwnPrices::Nothing,
            (input, output) => {
                if input.is_none() || output.is_none() {
                    f.sink.warn(
                        &f.path,
                        "only one of inputPerMillion and outputPerMillion is given; the other is 0",
                    );
                }
                OwnPrices::Given(PriceTable::new(base.fill(), tiers))
            }
        }
    })
    .unwrap_or(OwnPrices::Nothing)
}

fn read_price_parts(f: &Fields<'_>) -> PriceParts {
    let price = |key: &'static str| {
        let value = f.value(key)?;
        let scaled = value.as_number().ok_or(ScaleError::Malformed).and_then(usd_per_million);
        match scaled {
            Ok(scaled) => {
                if scaled.rounded {
                    f.warn(key, "has more than six decimals and is rounded to six");
                }
                Some(scaled.value)
            }
            Err(ScaleError::Negative | ScaleError::TooLarge | ScaleError::Malformed) => {
                let expected = format!("a number from 0 to {USD_PER_MILLION_MAX} (USD per million tokens)");
                f.mistake(key, describe(value), expected);
                None
            }
        }
    };
    PriceParts {
        input: price("inputPerMillion"),
        output: price("outputPerMillion"),
        cached: price("cachePerMillion"),
        cache_write: price("cacheWritePerMillion"),
    }
}

fn without_provider<'i>(id: &'i str, provider: &str) -> &'i str {
    let rest = id.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/'));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(id)
}
