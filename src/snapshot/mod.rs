//! The configuration as the data plane wants it: immutable, indexed, with everything per request made ahead.
//!
//! Built on the control thread from a checked [`Config`]; cores share it behind one `Arc` and never change it.

mod target;

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

use crate::auth::{Principal, TokenIndex, TokenKey};
use crate::budget::{self, book::Book, window::Moment};
use crate::config::{Config, Token};
use crate::dialect::ProofKey;
use crate::net::tls;
use crate::routing::Plan;
use crate::routing::breaker::Breaker;
use crate::upstream::{Endpoint, Scheme};

pub use target::{Target, TargetKey};

/// One generation of the configuration.
pub struct Snapshot {
    /// Number of this generation; grows with each one.
    pub generation: u64,
    /// The checked configuration: settings, projects, models.
    pub config: Arc<Config>,
    /// Project tokens by keyed hash.
    pub tokens: TokenIndex,
    /// Seals the proofs of providers that travel through another dialect.
    pub proofs: ProofKey,
    /// Callable models, in file order: index = index of the model in the configuration.
    pub targets: Vec<Target>,
    /// Where targets lead; [`Target::endpoint`] counts in here.
    pub endpoints: Vec<Endpoint>,
    /// Policies, as requests meet them.
    pub routing: Plan,
    /// Limits and where they are counted; none before [`Snapshot::with_budgets`].
    pub budgets: budget::plan::Plan,
    /// Open when an endpoint cannot be reached, in the order of `endpoints`; shared with later snapshots.
    pub breakers: Vec<Arc<Breaker>>,
    /// Trust for `https` endpoints; none while there is no such endpoint.
    pub client_tls: Option<Arc<ClientConfig>>,
    /// Certificate of the listener; none for plain HTTP.
    pub server_tls: Option<Arc<ServerConfig>>,
}

impl Snapshot {
    /// Makes the tables; certificate files are looked up from `home`.
    ///
    /// # Errors
    /// What is wrong with a certificate, key or trust file, one text each.
    pub fn build(
        config: Arc<Config>,
        key: TokenKey,
        proofs: ProofKey,
        generation: u64,
        home: &Path,
    ) -> Result<Self, Vec<String>> {
        let settings = config.settings();
        let mut endpoints = Vec::new();
        let targets: Vec<Target> = config
            .models()
            .iter()
            .map(|model| Target::new(Arc::clone(model), settings, &mut endpoints))
            .collect();
        let mut mistakes = Vec::new();
        let mut client_tls = None;
        if endpoints.iter().any(|endpoint: &Endpoint| endpoint.scheme == Scheme::Https) {
            match tls::client_config(settings.ca_file.as_deref().map(|file| home.join(file)).as_deref()) {
                Ok(trust) => client_tls = Some(trust),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let mut server_tls = None;
        if let Some(files) = &settings.tls {
            match tls::server_config(&home.join(&files.cert_file), &home.join(&files.key_file)) {
                Ok(identity) => server_tls = Some(identity),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let tokens = TokenIndex::build(key, &config);
        let models = config.models().iter().map(|model| &**model);
        let routing = Plan::build(models, config.projects().iter().map(|project| &**project));
        routing.metrics.check()?;
        let breakers = endpoints.iter().map(|_| Arc::default()).collect();
        Ok(Self {
            generation,
            config,
            tokens,
            proofs,
            targets,
            endpoints,
            routing,
            budgets: budget::plan::Plan::default(),
            breakers,
            client_tls,
            server_tls,
        })
    }

    /// Puts the configuration's limits in force on the accounts of `book`.
    #[must_use]
    pub fn with_budgets(mut self, book: &Book, now: Moment) -> Self {
        self.budgets = budget::plan::Plan::build(book, &self.config, now);
        self
    }

    /// Goes on with what is known of models, keys and endpoints that stay as they were in `old`.
    pub fn inherit(&mut self, old: &Self) {
        for target in &mut self.targets {
            let same = old.config.model_index(&target.model.id);
            if let Some(known) = same.and_then(|index| old.targets.get(index)) {
                target.inherit(known);
            }
        }
        for (endpoint, breaker) in self.endpoints.iter().zip(&mut self.breakers) {
            if let Some(index) = old.endpoints.iter().position(|known| known == endpoint) {
                *breaker = Arc::clone(&old.breakers[index]);
            }
        }
    }

    /// The token behind a principal of this snapshot.
    pub fn token(&self, principal: Principal) -> &Token {
        &self.config.projects()[principal.project as usize].tokens[principal.token as usize]
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("projects", &self.config.projects().len())
            .field("targets", &self.targets.len())
            .finish_non_exhaustive()
    }
}
