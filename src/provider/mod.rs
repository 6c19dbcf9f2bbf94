//! Where an upstream lives and how it is called, as data.
//!
//! Owns the catalogue of providers and their models ([`catalogue`]), the parts of an endpoint's URL
//! ([`endpoint`]), the path of each call ([`path`]) and what a token costs ([`price`]). It opens no socket and
//! reads no file: an operator's `config/providers.local.json` is handed in as text.
//!
//! Sources: the project's provider table, compiled in from `providers.json`; the wire rules named beside each item.

pub mod catalogue;
pub mod endpoint;
pub mod path;
pub mod price;

pub use catalogue::{Catalogue, CatalogueModel};
pub use endpoint::{Endpoint, Scheme};
pub use path::Call;
pub use price::{PriceTable, PriceTier, Prices};

use crate::dialect::Dialect;

/// A company's API (or a local server): what is common to all its models.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Stable id, as in `models[].provider`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Default base URL; none when the operator has to give one, or when nothing is called (`simulated`).
    pub base: Option<Endpoint>,
    /// How the key is sent.
    pub auth: Auth,
    /// Wire format in the provider's own terms.
    pub wire: Wire,
    /// Dialects that can be sent without translation.
    pub dialects: Dialects,
    /// Name of the output limit in Chat Completions bodies; none: send what the client sent.
    pub token_limit_param: Option<TokenLimitParam>,
    /// Field of Chat Completions messages that carries readable reasoning; none: there is none.
    pub reasoning_field: Option<String>,
    /// Output tokens to ask for when the dialect requires a number and the client gave none.
    pub default_max_tokens: Option<u64>,
    /// The operator has to set `endpoint`.
    pub requires_base_url: bool,
    /// Runs on the operator's own machines: unlisted models cost nothing.
    pub local: bool,
    /// A flat subscription, whose terms may forbid use through a gateway.
    pub subscription: bool,
    /// Bills fees per request that are not in the token prices, so that our cost is a lower bound.
    pub per_request_fees: bool,
    /// Path of an embeddings call with a shape of its own (Ollama: `/api/embed`), below the server's root.
    pub embeddings_path: Option<String>,
    /// Whether models of this provider can be served.
    pub support: Support,
    /// What is known about its models, in catalogue order.
    pub models: Vec<CatalogueModel>,
}

impl Provider {
    /// The catalogue's entry for a model, by the id the provider itself uses.
    pub fn model(&self, upstream_model: &str) -> Option<&CatalogueModel> {
        self.models.iter().find(|model| model.id == upstream_model)
    }

    /// Whether requests are answered inside the gateway.
    pub fn is_simulated(&self) -> bool {
        self.wire == Wire::Simulated
    }
}

/// How a provider is told who calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Where the key goes.
    pub scheme: AuthScheme,
    /// Works without a key too.
    pub optional: bool,
    /// Fields that go along with every request, names in lower case; a client's own value of the same name wins,
    /// except for `anthropic-beta`, whose values are merged.
    pub extra_fields: Vec<(String, String)>,
}

/// Where the key goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuthScheme {
    /// No key is sent.
    #[default]
    None,
    /// In a header field: `name: prefix key`. The name is in lower case; the prefix carries its own space.
    Field {
        /// Field name in lower case.
        name: String,
        /// Text before the key, such as `Bearer `.
        prefix: String,
    },
    /// Needs a file or a signature per request; such providers are not served yet ([`Provider::support`]).
    Unsupported,
}

/// Wire format, in the catalogue's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// One of the dialects, as it is.
    Plain(Dialect),
    /// Chat Completions under Azure's paths.
    Azure,
    /// The ChatGPT subscription's private variant of Responses.
    Codex,
    /// AWS Bedrock.
    Bedrock,
    /// Answered inside the gateway.
    Simulated,
}

/// Whether models of a provider can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Yes.
    Served,
    /// Kept in the registry but switched off, for the reason given.
    Disabled(&'static str),
    /// A model of this provider is a configuration mistake, for the reason given.
    Refused(&'static str),
}

/// Name of the output limit in Chat Completions bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimitParam {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl TokenLimitParam {
    /// The field's name in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// A set of dialects, in one byte.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialects(u8);

impl Dialects {
    /// Order in which [`Dialects::iter`] yields: the first one is preferred when a request has to be translated.
    const ALL: [Dialect; 4] =
        [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];

    /// The set with one more dialect in it.
    #[must_use]
    pub fn with(self, dialect: Dialect) -> Self {
        Self(self.0 | Self::bit(dialect))
    }

    /// Whether the dialect is in the set.
    #[inline]
    pub fn contains(self, dialect: Dialect) -> bool {
        self.0 & Self::bit(dialect) != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The dialects of the set.
    pub fn iter(self) -> impl Iterator<Item = Dialect> {
        Self::ALL.into_iter().filter(move |dialect| self.contains(*dialect))
    }

    const fn bit(dialect: Dialect) -> u8 {
        match dialect {
            Dialect::OpenAiChat => 1,
            Dialect::OpenAiResponses => 2,
            Dialect::AnthropicMessages => 4,
            Dialect::Gemini => 8,
        }
    }
}

impl FromIterator<Dialect> for Dialects {
    fn from_iter<I: IntoIterator<Item = Dialect>>(dialects: I) -> Self {
        dialects.into_iter().fold(Self::default(), Self::with)
    }
}

impl std::fmt::Debug for Dialects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Dialect::as_str)).finish()
    }
}

/// What a model can do; `None` is "not known", and only an explicit `Some(false)` excludes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Reasoning that can be asked for.
    pub thinking: Option<bool>,
    /// Images as input.
    pub vision: Option<bool>,
    /// Tools.
    pub function_calling: Option<bool>,
    /// JSON mode.
    pub json: Option<bool>,
    /// An embedding model, not a chat model.
    pub embedding: Option<bool>,
}

impl Capabilities {
    /// Fills what is unknown here from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            thinking: self.thinking.or(other.thinking),
            vision: self.vision.or(other.vision),
            function_calling: self.function_calling.or(other.function_calling),
            json: self.json.or(other.json),
            embedding: self.embedding.or(other.embedding),
        }
    }
}
