//! A model and its provider as something to call: heads are made once, a request only appends to them.

use std::sync::Arc;

use crate::budget::price::{Price, Tier};
use crate::config::{Model, ModelKey, Secret, Settings};
use crate::dialect::Dialect;
use crate::http1::writer;
use crate::provider::Scheme as ProviderScheme;
use crate::provider::path::{self, Call};
use crate::routing::breaker::Breaker;
use crate::routing::keys::{KeyHealth, pick_key};
use crate::simulate::{SimulatedSettings, Simulator};
use crate::upstream::{Endpoint, HttpProxy, Scheme};

/// One callable model.
pub struct Target {
    /// The configured model.
    pub model: Arc<Model>,
    /// What it costs.
    pub price: Price,
    /// What the gateway says about it in each answer, in wire form.
    pub answer_fields: Vec<u8>,
    /// Index of the endpoint in the snapshot.
    pub endpoint: usize,
    /// Who answers in place of a provider, for the simulated one.
    pub simulator: Option<Simulator>,
    /// What it is called with; one without a key where the provider takes none, so that there is always one.
    pub keys: Vec<TargetKey>,
    /// Opens when its calls fail; shared with later snapshots.
    pub breaker: Arc<Breaker>,
    /// Opens when it keeps the gateway's own calls waiting, which have less time than requests; shared likewise.
    pub own_calls: Arc<Breaker>,
    /// `http://host` where requests carry the absolute form, else empty.
    origin: String,
    /// Fixed fields of the provider that a client may also send.
    extra_fields: Vec<(String, String)>,
}

/// A key of a target, with everything that is sent with it made ahead.
pub struct TargetKey {
    /// Its name, never the key; empty where there is none.
    pub id: Box<str>,
    /// Its share of the calls.
    pub weight: u32,
    /// Whether it can be used; shared with later snapshots.
    pub health: Arc<KeyHealth>,
    /// Request line and the gateway's own fields per call, in the order of [`Call::ALL`].
    heads: [Vec<u8>; Call::ALL.len()],
    /// The gateway's own fields: host, key, fixed fields of the provider.
    own_fields: Vec<u8>,
}

impl TargetKey {
    fn new(model: &Model, endpoint: &Endpoint, origin: &str, key: Option<&ModelKey>) -> Self {
        let own_fields = own_fields(endpoint, key.and_then(|key| key.auth_field.as_ref()));
        let heads = Call::ALL.map(|call| {
            let Some(base) = &model.endpoint else {
                return request_head("POST", &simulated_path(model, call), &own_fields);
            };
            let path = path::path_of(&model.provider, base, &model.upstream_model, call);
            let method = if call == Call::Models { "GET" } else { "POST" };
            request_head(method, &format!("{origin}{path}"), &own_fields)
        });
        Self {
            id: key.map(|key| key.id.as_str().into()).unwrap_or_default(),
            weight: key.map_or(1, |key| key.weight),
            health: Arc::default(),
            heads,
            own_fields,
        }
    }

    /// The head of a call up to and without the client's fields.
    #[inline]
    pub fn head(&self, call: Call) -> &[u8] {
        &self.heads[Call::ALL.iter().position(|known| *known == call).unwrap_or_default()]
    }
}

impl Target {
    /// Makes the heads and finds or adds the endpoint in `endpoints`.
    pub(super) fn new(model: Arc<Model>, settings: &Settings, endpoints: &mut Vec<Endpoint>) -> Self {
        let endpoint = endpoint_of(&model, settings);
        let origin =
            if endpoint.absolute_form() { format!("http://{}", endpoint.authority()) } else { String::new() };
        let key = |key| TargetKey::new(&model, &endpoint, &origin, key);
        let mut keys: Vec<TargetKey> = model.keys.iter().map(|own| key(Some(own))).collect();
        if keys.is_empty() {
            keys.push(key(None));
        }
        let index = endpoints.iter().position(|known| *known == endpoint).unwrap_or_else(|| {
            endpoints.push(endpoint);
            endpoints.len() - 1
        });
        let extra_fields = model.provider.auth.extra_fields.clone();
        Self {
            simulator: simulator_of(&model),
            price: price_of(&model),
            answer_fields: answer_fields(&model),
            endpoint: index,
            keys,
            breaker: Arc::default(),
            own_calls: Arc::default(),
            origin,
            extra_fields,
            model,
        }
    }

    /// Whether this target can answer requests of `dialect` without translation.
    #[inline]
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.model.dialects.contains(dialect)
    }

    /// Whether it may be chosen at all.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.model.enabled && !self.model.key_error
    }

    /// Which of its keys to use, an index: by weight among those that can be used, else the one that rests shortest. Equal
    /// draws meet the same key.
    pub fn pick_key(&self, draw: impl FnOnce() -> u64, now_ms: impl Fn() -> u64 + Copy) -> usize {
        if self.keys.len() == 1 {
            return 0;
        }
        let now_ms = now_ms();
        let keys = self.keys.iter().map(|key| (key.weight, key.health.rest_ms(|| now_ms)));
        pick_key(keys, draw()).unwrap_or_default()
    }

    /// Milliseconds until one of its keys can be used; 0 is now.
    #[inline]
    pub fn rest_ms(&self, now_ms: impl Fn() -> u64 + Copy) -> u64 {
        self.keys.iter().map(|key| key.health.rest_ms(now_ms)).min().unwrap_or_default()
    }

    /// Goes on with what is known of a target from before a reload. A key that was refused gets another chance.
    pub(super) fn inherit(&mut self, old: &Self) {
        if self.model.upstream_model == old.model.upstream_model && self.model.endpoint == old.model.endpoint
        {
            self.breaker = Arc::clone(&old.breaker);
            self.own_calls = Arc::clone(&old.own_calls);
        }
        for (key, own) in self.keys.iter_mut().zip(&self.model.keys) {
            let same =
                old.model.keys.iter().position(|known| known.id == own.id && known.secret == own.secret);
            let known = same.and_then(|index| old.keys.get(index)).map(|known| &known.health);
            if let Some(health) = known.filter(|health| !health.is_refused()) {
                key.health = Arc::clone(health);
            }
        }
    }

    /// Appends the head of a passed-through request with key number `key`: `target` is the client's path and query.
    pub fn append_passthrough_head(&self, out: &mut Vec<u8>, key: usize, method: &str, target: &str) {
        let mut path = self.origin.clone();
        match &self.model.endpoint {
            Some(base) => {
                path::passthrough(&self.model.provider, base, &self.model.upstream_model, target, &mut path)
            }
            None => path.push_str(target),
        }
        // The client's target was checked when its head was parsed.
        let clean = writer::request_line(out, method, &path);
        debug_assert!(clean, "a parsed target is clean");
        out.extend_from_slice(&self.keys[key].own_fields);
    }

    /// Whether the provider's fixed fields have this one; `name` in lower case.
    pub fn has_extra_field(&self, name: &str) -> bool {
        self.extra_fields.iter().any(|(known, _)| known == name)
    }

    /// Appends the provider's fixed fields that the client did not send itself (`anthropic-version`), and merges
    /// lists (`anthropic-beta`).
    pub fn append_extra_fields(&self, out: &mut Vec<u8>, sent_by_client: impl Fn(&str) -> bool) {
        for (name, value) in &self.extra_fields {
            if name == "anthropic-beta" || !sent_by_client(name) {
                writer::own_field(out, name, value.as_bytes());
            }
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The heads hold the provider's key.
        f.debug_struct("Target")
            .field("model", &self.model.id)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

fn request_head(method: &str, target: &str, own_fields: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(64 + target.len() + own_fields.len());
    let clean = writer::request_line(&mut head, method, target);
    debug_assert!(clean, "paths of the catalogue are clean");
    head.extend_from_slice(own_fields);
    head
}

/// Host and key. A key that cannot stand in a field was refused when the configuration was read.
fn own_fields(endpoint: &Endpoint, key: Option<&Secret>) -> Vec<u8> {
    let mut fields = Vec::new();
    writer::own_field(&mut fields, "host", endpoint.authority().as_bytes());
    if let Some(field) = key {
        fields.extend_from_slice(field.expose().as_bytes());
    }
    if endpoint.absolute_form()
        && let Some(credentials) = endpoint.proxy.as_ref().and_then(|proxy| proxy.authorization.as_deref())
    {
        writer::own_field(&mut fields, "proxy-authorization", credentials.as_bytes());
    }
    fields
}

fn endpoint_of(model: &Model, settings: &Settings) -> Endpoint {
    let Some(base) = &model.endpoint else {
        return Endpoint {
            scheme: Scheme::Simulated,
            host: format!("{} {}", model.id, model.simulated),
            port: 0,
            proxy: None,
        };
    };
    let proxy = settings.upstream.proxies.for_endpoint(base).map(|proxy| HttpProxy {
        host: proxy.host.clone(),
        port: proxy.port,
        authorization: proxy.authorization.as_ref().map(Secret::expose).map(str::to_owned),
    });
    let scheme = match base.scheme {
        ProviderScheme::Http => Scheme::Http,
        ProviderScheme::Https => Scheme::Https,
    };
    Endpoint { scheme, host: base.host.clone(), port: base.port, proxy }
}

/// The simulated provider listens on the paths that clients know.
fn simulated_path(model: &Model, call: Call) -> String {
    match call {
        Call::Chat => "/v1/chat/completions".to_owned(),
        Call::Responses => "/v1/responses".to_owned(),
        Call::Messages => "/v1/messages".to_owned(),
        Call::CountTokens => "/v1/messages/count_tokens".to_owned(),
        Call::GeminiGenerate => {
            format!("/v1beta/models/{}:generateContent", path::escape(&model.upstream_model))
        }
        Call::GeminiStream => {
            format!("/v1beta/models/{}:streamGenerateContent?alt=sse", path::escape(&model.upstream_model))
        }
        Call::GeminiCountTokens => {
            format!("/v1beta/models/{}:countTokens", path::escape(&model.upstream_model))
        }
        Call::Embeddings | Call::OwnEmbeddings => "/v1/embeddings".to_owned(),
        Call::GeminiEmbeddings => {
            format!("/v1beta/models/{}:batchEmbedContents", path::escape(&model.upstream_model))
        }
        Call::Models => "/v1/models".to_owned(),
    }
}

/// The catalogue's and operator's prices in the form that is calculated with.
fn price_of(model: &Model) -> Price {
    let base = model.prices.base();
    let tiers = model.prices.tiers().iter().map(|tier| Tier {
        above: tier.above,
        input: tier.prices.input,
        output: tier.prices.output,
        cached: Some(tier.prices.cached),
    });
    Price {
        input: base.input,
        output: base.output,
        cached: base.cached,
        cache_write: base.cache_write,
        tiers: tiers.collect(),
    }
}

fn answer_fields(model: &Model) -> Vec<u8> {
    let mut fields = Vec::new();
    writer::own_field(&mut fields, "x-routerly-model", model.id.as_bytes());
    writer::own_field(&mut fields, "x-routerly-provider", model.provider.id.as_bytes());
    fields
}

/// The simulator of a model whose provider is built in. Its settings were checked with the configuration.
fn simulator_of(model: &Model) -> Option<Simulator> {
    if !model.provider.is_simulated() {
        return None;
    }
    let settings = serde_json::from_value::<SimulatedSettings>(model.simulated.clone()).unwrap_or_default();
    Some(Simulator::new(settings))
}
