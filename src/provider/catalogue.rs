//! The catalogue of providers and models: compiled in, parsed once, an operator's file merged over it.
//!
//! Owns `providers.json` and its schema. What a model's own entry in `models.json` says wins over all of this.
//!
//! Sources: the project's provider table; two entries are added here in code: `simulated`, which is answered inside
//! the gateway, and the browser-session providers of older homes, which are recognised only to be switched off.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Number;

use super::price::{PriceParts, ScaleError, usd_per_million};
use super::{
    Auth, AuthScheme, Capabilities, Dialects, Endpoint, PriceTable, PriceTier, Provider, Support,
    TokenLimitParam, Wire,
};
use crate::dialect::Dialect;

const BUILT_IN: &str = include_str!("providers.json");

const NO_SIGV4: &str = "requests to it have to be signed with AWS keys (SigV4), which is not supported yet";
const NO_GCP: &str = "it needs a Google OAuth token per request, which is not supported yet";
const NO_TOKEN_FILE: &str = "it needs a token file that is refreshed in place, which is not supported yet";
const NO_BROWSER: &str = "it calls undocumented endpoints with browser cookies and is not supported";

/// All known providers.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    providers: Vec<Arc<Provider>>,
}

/// What the catalogue knows about one model of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueModel {
    /// The provider's own id; may contain `/`.
    pub id: String,
    /// Context window in tokens, where verified.
    pub context_window: Option<u64>,
    /// List prices, where known.
    pub prices: Option<PriceTable>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Request fields that the model rejects and that are removed before sending.
    pub strip_params: Vec<String>,
    /// Still valid, but no longer offered to people who add a model.
    pub deprecated: bool,
}

/// A catalogue file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Not JSON, or not of the schema; knows line and column.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Of the schema, but wrong.
    #[error("provider {provider}: {what}")]
    Provider {
        /// The provider's id.
        provider: String,
        /// What is wrong.
        what: String,
    },
}

impl Catalogue {
    /// The catalogue of this build.
    pub fn built_in() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE
            .get_or_init(|| Self::from_file(raw_built_in()).expect("a test reads the compiled-in catalogue"))
    }

    /// The catalogue of this build with an operator's file of the same schema over it: fields of a provider that
    /// the file gives win, models with the same id are replaced, new providers and models are added.
    ///
    /// # Errors
    /// The first mistake of the file.
    pub fn with_local(text: &str) -> Result<Self, CatalogueError> {
        let local: RawFile = serde_json::from_str(text)?;
        let mut file = raw_built_in();
        for provider in local.providers {
            match file.providers.iter_mut().find(|known| known.id == provider.id) {
                Some(known) => known.merge(provider),
                None => file.providers.push(provider),
            }
        }
        Self::from_file(file)
    }

    /// A provider by id.
    pub fn provider(&self, id: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// All providers, in catalogue order.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    fn from_file(file: RawFile) -> Result<Self, CatalogueError> {
        let mut providers = Vec::with_capacity(file.providers.len() + 3);
        for raw in file.providers {
            let id = raw.id.clone();
            let wrong = |what| CatalogueError::Provider { provider: id.clone(), what };
            providers.push(Arc::new(raw.check().map_err(wrong)?));
        }
        for extra in in_code() {
            if !providers.iter().any(|known| known.id == extra.id) {
                providers.push(Arc::new(extra));
            }
        }
        Ok(Self { providers })
    }
}

fn raw_built_in() -> RawFile {
    serde_json::from_str(BUILT_IN).expect("a test reads the compiled-in catalogue")
}

/// Providers that are not in the file because no file could change them.
fn in_code() -> [Provider; 3] {
    let bare = |id: &str, name: &str, wire, support| Provider {
        id: id.to_owned(),
        name: name.to_owned(),
        base: None,
        auth: Auth::default(),
        wire,
        dialects: Dialects::default(),
        token_limit_param: None,
        reasoning_field: None,
        default_max_tokens: None,
        requires_base_url: false,
        local: true,
        subscription: false,
        per_request_fees: false,
        embeddings_path: None,
        support,
        models: Vec::new(),
    };
    let all = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];
    let simulated = bare("simulated", "Simulated (inside the gateway)", Wire::Simulated, Support::Served);
    [
        Provider { dialects: all.into_iter().collect(), ..simulated },
        bare("openai-web", "ChatGPT in a browser", Wire::Codex, Support::Disabled(NO_BROWSER)),
        bare("anthropic-web", "Claude in a browser", Wire::Codex, Support::Disabled(NO_BROWSER)),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    #[serde(default)]
    providers: Vec<RawProvider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProvider {
    id: String,
    name: Option<String>,
    base_url: Option<String>,
    auth: Option<RawAuth>,
    dialect: Option<String>,
    native_endpoints: Option<Vec<String>>,
    token_limit_param: Option<String>,
    reasoning_field: Option<String>,
    default_max_tokens: Option<u64>,
    requires_base_url: Option<bool>,
    local: Option<bool>,
    subscription: Option<bool>,
    per_request_fees: Option<bool>,
    embeddings_path: Option<String>,
    #[serde(default)]
    models: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuth {
    r#type: String,
    header: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    extra_headers: BTreeMap<String, String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawModel {
    id: String,
    context_window: Option<u64>,
    pricing: Option<RawPrices>,
    #[serde(default)]
    capabilities: RawCapabilities,
    #[serde(default)]
    strip_params: Vec<String>,
    #[serde(default)]
    deprecated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPrices {
    input_per_million: Number,
    output_per_million: Number,
    cached_input_per_million: Option<Number>,
    cache_write_per_million: Option<Number>,
    #[serde(default)]
    tiers: Vec<RawTier>,
}

#[derive(Deserialize)]
struct RawTier {
    metric: String,
    above: u64,
    #[serde(flatten)]
    prices: RawTierPrices,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTierPrices {
    input_per_million: Number,
    output_per_million: Number,
    cached_input_per_million: Option<Number>,
    cache_write_per_million: Option<Number>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawCapabilities {
    thinking: Option<bool>,
    vision: Option<bool>,
    function_calling: Option<bool>,
    json: Option<bool>,
    embedding: Option<bool>,
}

impl RawProvider {
    fn merge(&mut self, over: Self) {
        fn replace<T>(slot: &mut Option<T>, value: Option<T>) {
            if value.is_some() {
                *slot = value;
            }
        }
        replace(&mut self.name, over.name);
        replace(&mut self.base_url, over.base_url);
        replace(&mut self.auth, over.auth);
        replace(&mut self.dialect, over.dialect);
        replace(&mut self.native_endpoints, over.native_endpoints);
        replace(&mut self.token_limit_param, over.token_limit_param);
        replace(&mut self.reasoning_field, over.reasoning_field);
        replace(&mut self.default_max_tokens, over.default_max_tokens);
        replace(&mut self.requires_base_url, over.requires_base_url);
        replace(&mut self.local, over.local);
        replace(&mut self.subscription, over.subscription);
        replace(&mut self.per_request_fees, over.per_request_fees);
        replace(&mut self.embeddings_path, over.embeddings_path);
        for model in over.models {
            match self.models.iter_mut().find(|known| known.id == model.id) {
                Some(known) => *known = model,
                None => self.models.push(model),
            }
        }
    }

    fn check(self) -> Result<Provider, String> {
        let dialect = self.dialect.as_deref().ok_or("dialect is missing")?;
        let wire = match dialect {
            "azure-openai" => Wire::Azure,
            "codex-responses" => Wire::Codex,
            "bedrock" => Wire::Bedrock,
            name => {
                Wire::Plain(Dialect::parse(name).ok_or_else(|| format!("dialect {name:?} is not known"))?)
            }
        };
        let auth = self.auth.ok_or("auth is missing")?;
        let (auth, support) = auth.check(wire)?;
        let base = match self.base_url.as_deref() {
            None | Some("") => None,
            Some(url) => Some(Endpoint::parse(url).map_err(|reason| format!("baseUrl is wrong: {reason}"))?),
        };
        let token_limit_param = match self.token_limit_param.as_deref() {
            None => None,
            Some("max_tokens") => Some(TokenLimitParam::MaxTokens),
            Some("max_completion_tokens") => Some(TokenLimitParam::MaxCompletionTokens),
            Some(other) => return Err(format!("tokenLimitParam {other:?} is not known")),
        };
        let native_endpoints = self.native_endpoints.unwrap_or_default();
        let models: Result<Vec<_>, String> = self.models.into_iter().map(RawModel::check).collect();
        Ok(Provider {
            name: self.name.unwrap_or_else(|| self.id.clone()),
            requires_base_url: self.requires_base_url.unwrap_or(base.is_none()),
            base,
            auth,
            dialects: dialects(wire, &native_endpoints),
            wire,
            token_limit_param,
            reasoning_field: self.reasoning_field,
            default_max_tokens: self.default_max_tokens,
            local: self.local.unwrap_or(false),
            subscription: self.subscription.unwrap_or(false),
            per_request_fees: self.per_request_fees.unwrap_or(false),
            embeddings_path: self.embeddings_path,
            support,
            models: models?,
            id: self.id,
        })
    }
}

/// What a provider understands as it comes: its dialect, and Responses where it lists that endpoint.
fn dialects(wire: Wire, native_endpoints: &[String]) -> Dialects {
    let own = match wire {
        Wire::Plain(dialect) => dialect,
        Wire::Azure => Dialect::OpenAiChat,
        Wire::Codex | Wire::Bedrock | Wire::Simulated => return Dialects::default(),
    };
    let also_responses = native_endpoints.iter().any(|path| path == "/responses");
    Dialects::from_iter([own].into_iter().chain(also_responses.then_some(Dialect::OpenAiResponses)))
}

impl RawAuth {
    fn check(self, wire: Wire) -> Result<(Auth, Support), String> {
        let mut support = match wire {
            Wire::Bedrock => Support::Refused(NO_SIGV4),
            Wire::Codex => Support::Disabled(NO_TOKEN_FILE),
            Wire::Plain(_) | Wire::Azure | Wire::Simulated => Support::Served,
        };
        let scheme = match self.r#type.as_str() {
            "none" => AuthScheme::None,
            "bearer" | "header" | "oauth-bearer" => {
                let default = if self.r#type == "header" { None } else { Some("authorization".to_owned()) };
                let name = self.header.or(default).ok_or("auth.header is missing")?;
                AuthScheme::Field { name: name.to_ascii_lowercase(), prefix: self.prefix }
            }
            "oauth-file" | "aws-sigv4" => AuthScheme::Unsupported,
            "gcp-oauth" => {
                support = Support::Refused(NO_GCP);
                AuthScheme::Unsupported
            }
            other => return Err(format!("auth.type {other:?} is not known")),
        };
        let extra_fields: Vec<(String, String)> =
            self.extra_headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let sound = |name: &str, value: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let key_is_sound = match &scheme {
            AuthScheme::Field { name, prefix } => sound(name, prefix),
            AuthScheme::None | AuthScheme::Unsupported => true,
        };
        if !key_is_sound || !extra_fields.iter().all(|(name, value)| sound(name, value)) {
            return Err("auth holds a header name or value that HTTP does not allow".to_owned());
        }
        Ok((Auth { scheme, optional: self.optional, extra_fields }, support))
    }
}

impl RawModel {
    fn check(self) -> Result<CatalogueModel, String> {
        let prices = match self.pricing {
            None => None,
            Some(raw) => Some(raw.check().map_err(|what| format!("model {:?}: {what}", self.id))?),
        };
        let can = self.capabilities;
        Ok(CatalogueModel {
            id: self.id,
            context_window: self.context_window,
            prices,
            capabilities: Capabilities {
                thinking: can.thinking,
                vision: can.vision,
                function_calling: can.function_calling,
                json: can.json,
                embedding: can.embedding,
            },
            strip_params: self.strip_params,
            deprecated: self.deprecated,
        })
    }
}

impl RawPrices {
    fn check(self) -> Result<PriceTable, String> {
        let base = parts(
            &self.input_per_million,
            &self.output_per_million,
            self.cached_input_per_million.as_ref(),
            self.cache_write_per_million.as_ref(),
        )?;
        let mut tiers = Vec::with_capacity(self.tiers.len());
        for RawTier { metric, above, prices: raw } in self.tiers {
            if metric != "context_tokens" {
                return Err(format!("tier metric {metric:?} is not known"));
            }
            let own = parts(
                &raw.input_per_million,
                &raw.output_per_million,
                raw.cached_input_per_million.as_ref(),
                raw.cache_write_per_million.as_ref(),
            )?;
            tiers.push(PriceTier { above, prices: own.fill_tier(base) });
        }
        Ok(PriceTable::new(base.fill(), tiers))
    }
}

fn parts(
    input: &Number,
    output: &Number,
    cached: Option<&Number>,
    cache_write: Option<&Number>,
) -> Result<PriceParts, String> {
    let read = |number: &Number| match usd_per_million(number) {
        Ok(scaled) => Ok(scaled.value),
        Err(ScaleError::Negative) => Err(format!("price {number} is negative")),
        Err(ScaleError::TooLarge | ScaleError::Malformed) => Err(format!("price {number} is out of range")),
    };
    Ok(PriceParts {
        input: Some(read(input)?),
        output: Some(read(output)?),
        cached: cached.map(read).transpose()?,
        cache_write: cache_write.map(read).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_catalogue_reads() {
        let file: RawFile = serde_json::from_str(BUILT_IN).unwrap();
        let catalogue = Catalogue::from_file(file).unwrap();
        assert_eq!(&catalogue, Catalogue::built_in());
        assert!(catalogue.providers().len() >= 21);
    }

    #[test]
    fn each_provider_says_how_it_is_called() {
        let field = |name: &str, prefix: &str| AuthScheme::Field { name: name.into(), prefix: prefix.into() };
        let bearer = || field("authorization", "Bearer ");
        for (id, scheme, dialects, support) in [
            ("openai", bearer(), "{\"openai-chat\", \"openai-responses\"}", true),
            ("anthropic", field("x-api-key", ""), "{\"anthropic-messages\"}", true),
            ("anthropic-oauth", bearer(), "{\"anthropic-messages\"}", true),
            ("gemini", field("x-goog-api-key", ""), "{\"gemini\"}", true),
            ("groq", bearer(), "{\"openai-chat\"}", true),
            ("ollama", AuthScheme::None, "{\"openai-chat\"}", true),
            ("azure-openai", field("api-key", ""), "{\"openai-chat\"}", true),
            (
                "simulated",
                AuthScheme::None,
                "{\"openai-chat\", \"openai-responses\", \"anthropic-messages\", \"gemini\"}",
                true,
            ),
            ("openai-oauth", AuthScheme::Unsupported, "{}", false),
            ("bedrock", AuthScheme::Unsupported, "{}", false),
            ("vertex", AuthScheme::Unsupported, "{\"openai-chat\"}", false),
            ("openai-web", AuthScheme::None, "{}", false),
        ] {
            let provider = Catalogue::built_in().provider(id).expect(id);
            assert_eq!(provider.auth.scheme, scheme, "{id}");
            assert_eq!(format!("{:?}", provider.dialects), dialects, "{id}");
            assert_eq!(provider.support == Support::Served, support, "{id}");
        }
        let anthropic = Catalogue::built_in().provider("anthropic").expect("known");
        assert_eq!(anthropic.auth.extra_fields, [("anthropic-version".to_owned(), "2023-06-01".to_owned())]);
        assert!(Catalogue::built_in().provider("perplexity").expect("known").per_request_fees);
    }

    #[test]
    fn catalogue_prices_are_integers_with_their_tiers() {
        let anthropic = Catalogue::built_in().provider("anthropic").expect("known");
        let sonnet = anthropic.model("claude-sonnet-4-5").expect("known");
        let prices = sonnet.prices.as_ref().expect("priced");
        assert_eq!((prices.base().input, prices.base().cache_write), (3_000_000, 3_750_000));
        let long = prices.for_input(200_001);
        assert_eq!((long.input, long.output, long.cached), (6_000_000, 22_500_000, 600_000));
    }

    #[test]
    fn an_operators_file_wins_field_by_field_and_adds_its_own() {
        let catalogue = Catalogue::with_local(
            r#"{"providers":[
                {"id":"openai","baseUrl":"https://proxy.example/openai/v1","models":[
                    {"id":"gpt-5","pricing":{"inputPerMillion":1,"outputPerMillion":2}}]},
                {"id":"house","baseUrl":"http://10.0.0.1:8000/v1","dialect":"openai-chat","auth":{"type":"none"}}]}"#,
        )
        .unwrap();
        let openai = catalogue.provider("openai").unwrap();
        assert_eq!(openai.base.as_ref().unwrap().host, "proxy.example");
        assert_eq!(openai.name, "OpenAI");
        assert_eq!(openai.model("gpt-5").unwrap().prices.as_ref().unwrap().base().input, 1_000_000);
        assert!(openai.model("gpt-4o").is_some());
        assert!(catalogue.provider("house").is_some());
    }

    #[test]
    fn a_wrong_operators_file_says_what_is_wrong() {
        for (text, expected) in [
            ("{", "EOF while parsing"),
            (r#"{"providers":[{"id":"x"}]}"#, "provider x: dialect is missing"),
            (r#"{"providers":[{"id":"x","dialect":"morse"}]}"#, "dialect \"morse\" is not known"),
            (
                r#"{"providers":[{"id":"openai","auth":{"type":"header","header":"a b"}}]}"#,
                "a header name or value that HTTP does not allow",
            ),
            (
                r#"{"providers":[{"id":"openai","models":[{"id":"m","pricing":{"inputPerMillion":-1,"outputPerMillion":0}}]}]}"#,
                "price -1 is negative",
            ),
        ] {
            let error = Catalogue::with_local(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
