//! What a limit is about: level, ids, metric, window. Two limits with the same key count the same.

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
