//! The limits of a configuration as requests meet them: for each level a run of accounts, with modes.
//!
//! A request meets two chains, the whole-request one (platform, project, token) and that of the model that is asked
//! (model, project's model, token's model). All accounts of a chain count; modes decide which ones are *enforced*. Chains
//! are put together per request from three runs, so that a configuration takes memory for the limits it has, however
//! many tokens and models there are.
//!
//! Source: routing specification, sections 8.3 and 8.4.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::account::Account;
use super::book::{Book, Opening};
use super::key::{Key, Subject};
use super::window::{Moment, Span};
use crate::config::{Config, Limit, LimitSet, LimitsMode, Metric, Project, ProjectModel, Token};

/// Stands for "no entry" in a table of indexes.
const NONE: u32 = u32::MAX;

/// All limits of a configuration.
#[derive(Debug, Default)]
pub struct Plan {
    entries: Vec<Entry>,
    counts_amounts: bool,
    platform: Run,
    models: Vec<Run>,
    projects: Vec<ProjectRuns>,
}

/// One limit.
#[derive(Debug)]
pub struct Entry {
    /// Its count.
    pub account: Arc<Account>,
    /// Percentages at which to notify; empty: the default.
    pub notify_at_percent: Box<[u8]>,
    /// Whether a running stream is ended that would go beyond it.
    pub stops_streams: bool,
}

impl AsRef<Self> for Plan {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The limits of one level: a run of entries, and how they go together with the level above.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    from: u32,
    count: u32,
    mode: LimitsMode,
    /// Some of them count tokens or cost.
    has_amounts: bool,
    /// Some of them are rates.
    has_rates: bool,
}

#[derive(Debug, Default)]
struct ProjectRuns {
    own: Run,
    models: Box<[(u32, Run)]>,
    /// Per token the index in `tokens`; empty where no token has limits.
    token_at: Box<[u32]>,
    tokens: Vec<TokenRuns>,
}

#[derive(Debug)]
struct TokenRuns {
    own: Run,
    models: Box<[(u32, Run)]>,
}

/// Whose request it is, as indexes of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// The project that is billed.
    pub project: u32,
    /// The project that the token belongs to.
    pub owner: u32,
    /// The token among its project's.
    pub token: u32,
}

/// The accounts of one chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chain {
    runs: [Run; 3],
    enforced: [bool; 3],
}

impl Chain {
    /// Applies the modes: each level in turn replaces, extends or removes what stands above it.
    fn of(runs: [Run; 3]) -> Self {
        let mut enforced = [false; 3];
        for (level, run) in runs.iter().enumerate() {
            match run.mode {
                LimitsMode::Disable => enforced = [false; 3],
                LimitsMode::Extend => enforced[level] = true,
                LimitsMode::Replace if run.count > 0 => {
                    enforced = [false; 3];
                    enforced[level] = true;
                }
                LimitsMode::Replace => {}
            }
        }
        Self { runs, enforced }
    }

    /// Whether there is nothing to count.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.count == 0)
    }

    /// Indexes of the entries, and whether each is enforced.
    #[inline]
    pub fn entries(&self) -> Entries {
        Entries { chain: *self, level: 0, index: 0 }
    }

    /// Whether limits on tokens or cost are enforced.
    #[inline]
    pub fn enforces_amounts(&self) -> bool {
        self.runs.iter().zip(self.enforced).any(|(run, enforced)| enforced && run.has_amounts)
    }

    /// Whether rates are enforced.
    #[inline]
    pub fn enforces_rates(&self) -> bool {
        self.runs.iter().zip(self.enforced).any(|(run, enforced)| enforced && run.has_rates)
    }
}

/// The entries of a chain, level by level: most levels have none, and each request goes through them several times.
#[derive(Debug)]
pub struct Entries {
    chain: Chain,
    level: usize,
    index: u32,
}

impl Iterator for Entries {
    type Item = (u32, bool);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let run = self.chain.runs.get(self.level)?;
            if self.index < run.count {
                self.index += 1;
                return Some((run.from + self.index - 1, self.chain.enforced[self.level]));
            }
            (self.level, self.index) = (self.level + 1, 0);
        }
    }
}

impl Plan {
    /// Makes the tables of a configuration and puts its limits in force on the accounts of `book`; accounts of limits
    /// that are gone are dropped.
    pub fn build(book: &Book, config: &Config, now: Moment) -> Self {
        let settings = config.settings();
        let mut builder = Builder {
            entries: Vec::new(),
            opening: book.open(now),
            // The name was checked with the settings; a zone that has vanished from the system since is UTC.
            zone: TimeZone::get(&settings.timezone).unwrap_or(TimeZone::UTC),
            config,
        };
        let platform = builder.run(&settings.budgets, LimitsMode::Extend, || Subject::Platform);
        let models = config
            .models()
            .iter()
            .map(|model| builder.set(&model.limits, || Subject::Model { model: model.id.as_str().into() }));
        let models: Vec<Run> = models.collect();
        let projects = config.projects().iter().map(|project| builder.project(project)).collect();
        builder.opening.close();
        let entries = builder.entries;
        let counts_amounts = entries.iter().any(|entry| entry.account.key.metric != Metric::Calls);
        Self { entries, counts_amounts, platform, models, projects }
    }

    /// Whether nothing is limited.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether anything but calls is limited.
    #[inline]
    pub fn counts_amounts(&self) -> bool {
        self.counts_amounts
    }

    /// All limits.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The limit at an index of a chain.
    #[inline]
    pub fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    /// The chain of a whole request. Platform limits hold whatever the modes say.
    pub fn whole(&self, who: Who) -> Chain {
        let project = self.projects.get(who.project as usize).map(|project| project.own);
        let token = self.token(who).map(|token| token.own);
        let mut chain = Chain::of([self.platform, project.unwrap_or_default(), token.unwrap_or_default()]);
        chain.enforced[0] = true;
        chain
    }

    /// The chain of a model for a request.
    pub fn model(&self, who: Who, model: u32) -> Chain {
        let of = |runs: &[(u32, Run)]| {
            let at = runs.binary_search_by_key(&model, |(model, _)| *model).ok()?;
            Some(runs[at].1)
        };
        let global = self.models.get(model as usize).copied();
        let project = self.projects.get(who.project as usize).and_then(|project| of(&project.models));
        let token = self.token(who).and_then(|token| of(&token.models));
        Chain::of([global.unwrap_or_default(), project.unwrap_or_default(), token.unwrap_or_default()])
    }

    /// What is left of the nearest limit that is enforced on a model for a request, from 0 to 1; 0 where, and only where, one
    /// is used up. For comparing models: see [`Account::headroom`].
    pub fn headroom(&self, who: Who, model: u32, now: Moment) -> f64 {
        let enforced = self.model(who, model).entries().filter(|(_, enforced)| *enforced);
        enforced.map(|(entry, _)| self.entry(entry).account.headroom(now)).fold(1.0, f64::min)
    }

    fn token(&self, who: Who) -> Option<&TokenRuns> {
        let owner = self.projects.get(who.owner as usize)?;
        let at = *owner.token_at.get(who.token as usize)?;
        owner.tokens.get(at as usize)
    }
}

struct Builder<'c> {
    entries: Vec<Entry>,
    opening: Opening<'c>,
    zone: TimeZone,
    config: &'c Config,
}

impl Builder<'_> {
    fn set(&mut self, set: &LimitSet, subject: impl Fn() -> Subject) -> Run {
        self.run(&set.limits, set.mode, subject)
    }

    fn run(&mut self, limits: &[Limit], mode: LimitsMode, subject: impl Fn() -> Subject) -> Run {
        let from = self.entries.len();
        for limit in limits {
            let key = Key { subject: subject(), metric: limit.metric, window: limit.window };
            let account = self.opening.account(key, Span::new(limit.window, &self.zone), limit.value);
            let twin = self.entries[from..].iter_mut().find(|entry| Arc::ptr_eq(&entry.account, &account));
            let mut notify_at_percent = limit.notify_at_percent.clone();
            match twin {
                Some(twin) => {
                    notify_at_percent.extend_from_slice(&twin.notify_at_percent);
                    twin.notify_at_percent = notify_at_percent.into();
                    twin.stops_streams |= limit.stops_streams;
                }
                None => self.entries.push(Entry {
                    account,
                    notify_at_percent: notify_at_percent.into(),
                    stops_streams: limit.stops_streams,
                }),
            }
        }
        let keys = || self.entries[from..].iter().map(|entry| &entry.account.key);
        Run {
            from: from as u32,
            count: keys().count() as u32,
            mode,
            has_amounts: keys().any(|key| key.metric != Metric::Calls),
            has_rates: keys().any(|key| key.window.is_rate()),
        }
    }

    fn project(&mut self, project: &Project) -> ProjectRuns {
        let id = || project.id.as_str().into();
        let own = self.set(&project.limits, || Subject::Project { project: id() });
        let models = self
            .models(&project.models, |model| Subject::ProjectModel { project: id(), model: model.into() });
        let mut tokens = Vec::new();
        let mut token_at = Vec::new();
        for (index, token) in project.tokens.iter().enumerate() {
            let runs = self.token(project, token);
            if runs.own.count > 0 || runs.own.mode != LimitsMode::Replace || !runs.models.is_empty() {
                token_at.resize(project.tokens.len(), NONE);
                token_at[index] = tokens.len() as u32;
                tokens.push(runs);
            }
        }
        ProjectRuns { own, models, token_at: token_at.into(), tokens }
    }

    fn token(&mut self, project: &Project, token: &Token) -> TokenRuns {
        let ids = || (project.id.as_str().into(), token.id.as_str().into());
        let own = self.set(&token.limits, || {
            let (project, token) = ids();
            Subject::Token { project, token }
        });
        let models = self.models(&token.models, |model| {
            let (project, token) = ids();
            Subject::TokenModel { project, token, model: model.into() }
        });
        TokenRuns { own, models }
    }

    /// Runs of models that have limits or a mode that says something, by the models' indexes.
    fn models(&mut self, models: &[ProjectModel], subject: impl Fn(&str) -> Subject) -> Box<[(u32, Run)]> {
        let config = self.config;
        let mut runs = Vec::new();
        for entry in models {
            let run = self.set(&entry.limits, || subject(&config.models()[entry.model].id));
            if run.count > 0 || run.mode != LimitsMode::Replace {
                runs.push((entry.model as u32, run));
            }
        }
        runs.sort_unstable_by_key(|(model, _)| *model);
        runs.into()
    }
}

#[cfg(test)]
pub(in crate::budget) mod tests;
