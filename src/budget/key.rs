//! What a limit is about: level, ids, metric, window. Two limits with the same key count the same.

use super::money::Picodollars;
use crate::config::{Metric, Window};

/// Whose usage is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everybody's.
    Platform,
    /// That of a model, in all projects.
    Model {
        /// Id of the model.
        model: Box<str>,
    },
    /// That billed to a project.
    Project {
        /// Id of the project.
        project: Box<str>,
    },
    /// That of a model billed to a project.
    ProjectModel {
        /// Id of the project.
        project: Box<str>,
        /// Id of the model.
        model: Box<str>,
    },
    /// That of a token, whichever project is billed.
    Token {
        /// Id of the project that the token belongs to.
        project: Box<str>,
        /// Id of the token within it.
        token: Box<str>,
    },
    /// That of a token with a model.
    TokenModel {
        /// Id of the project that the token belongs to.
        project: Box<str>,
        /// Id of the token within it.
        token: Box<str>,
        /// Id of the model.
        model: Box<str>,
    },
}

impl Subject {
    /// The level in words, as errors and events name it.
    pub fn level(&self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Model { .. } => "model",
            Self::Project { .. } => "project",
            Self::ProjectModel { .. } => "project model",
            Self::Token { .. } => "token",
            Self::TokenModel { .. } => "token model",
        }
    }

    /// The ids that name it, from the project down; none for the platform.
    pub fn ids(&self) -> Vec<&str> {
        match self {
            Self::Platform => vec![],
            Self::Model { model } => vec![model],
            Self::Project { project } => vec![project],
            Self::ProjectModel { project, model } => vec![project, model],
            Self::Token { project, token } => vec![project, token],
            Self::TokenModel { project, token, model } => vec![project, token, model],
        }
    }
}

/// Name of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose usage is counted.
    pub subject: Subject,
    /// What is counted.
    pub metric: Metric,
    /// Over which time.
    pub window: Window,
}

/// An amount of a metric in words, as errors and the log have it: `0.002 USD`, `7 calls`, `9 output tokens`.
pub fn in_words(metric: Metric, amount: u64) -> String {
    match metric {
        Metric::Cost => {
            let mut text = Vec::new();
            Picodollars(amount).write_usd(&mut text);
            format!("{} USD", String::from_utf8_lossy(&text))
        }
        Metric::Calls => format!("{amount} calls"),
        metric => format!("{amount} {}", metric.as_str().replace('_', " ")),
    }
}

/// What a request uses, or may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Calls.
    pub calls: u64,
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Picodollars.
    pub cost: u64,
}

impl Amounts {
    /// The amount that counts for a metric.
    #[inline]
    pub fn of(&self, metric: Metric) -> u64 {
        match metric {
            Metric::Cost => self.cost,
            Metric::Calls => self.calls,
            Metric::InputTokens => self.input,
            Metric::OutputTokens => self.output,
            Metric::TotalTokens => self.input.saturating_add(self.output),
        }
    }
}
