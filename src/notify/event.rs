//! What is told: events as the gateway's parts see them, and the notice that is made of one.
//!
//! An event has an id that is the same whenever the same thing is seen again, also by another process of the same home: a
//! notice of an id that is known is not sent a second time.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::budget::event::Kind;
use crate::budget::key::{Subject, in_words};
use crate::budget::{self, money::Picodollars};
use crate::config::notifications::EventKind;
use crate::config::{Config, Metric};

/// Something that channels are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A limit: used up to a percentage, used up, or with room again.
    Budget(budget::event::Event),
    /// Calls to a provider keep failing.
    ProviderUnhealthy {
        /// Its id.
        provider: String,
        /// The model whose calls failed.
        model: String,
        /// When that was seen, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// A provider does not take a key.
    KeyInvalid {
        /// The provider's id.
        provider: String,
        /// The model that was called with it.
        model: String,
        /// The key's name, never the key.
        key: String,
        /// When that was seen, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// The disk with the data is nearly full.
    DiskLow {
        /// Bytes left.
        free: u64,
        /// Bytes below which it is told.
        below: u64,
        /// When that was seen, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

/// What is sent of an event, in the forms of all channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The same for the same thing.
    pub id: String,
    /// `budget.threshold` and so on; `test`.
    pub event: String,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Subject of a mail.
    pub subject: String,
    /// Text of a mail.
    pub text: String,
    /// What a webhook is sent.
    pub body: Map<String, Value>,
}

impl Event {
    /// What kind of event it is.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Budget(event) => match event.kind {
                Kind::Threshold { .. } => EventKind::BudgetThreshold,
                Kind::Exhausted => EventKind::BudgetExhausted,
                Kind::Reset => EventKind::BudgetReset,
            },
            Self::ProviderUnhealthy { .. } => EventKind::ProviderUnhealthy,
            Self::KeyInvalid { .. } => EventKind::KeyInvalid,
            Self::DiskLow { .. } => EventKind::DiskLow,
        }
    }

    /// The notice of it. The configuration has the names of things, and the URL that people know the gateway by.
    pub fn notice(&self, config: &Config) -> Notice {
        let (occasion, at_ms, subject, text, name, detail) = match self {
            Self::Budget(event) => {
                let budget = Budget::of(event, config);
                let (subject, text) = budget.words();
                (budget.occasion(), event.at_ms, subject, text, "budget", budget.detail())
            }
            Self::ProviderUnhealthy { provider, model, at_ms } => (
                format!("{provider}:{at_ms}"),
                *at_ms,
                format!("Provider {provider} keeps failing"),
                format!(
                    "Calls to {model} of provider {provider} keep failing. The gateway leaves the model alone for a while \
                     and sends requests to other models of their projects, where there are any."
                ),
                "provider",
                json!({"id": provider, "model": model}),
            ),
            Self::KeyInvalid { provider, model, key, at_ms } => (
                format!("{model}:{key}:{at_ms}"),
                *at_ms,
                format!("Provider {provider} does not take a key"),
                format!(
                    "Provider {provider} does not take the key {key:?} of {model}. It is left alone for a while; requests \
                     use other keys and models, where there are any. Give the model a new key."
                ),
                "key",
                json!({"id": key, "provider": provider, "model": model}),
            ),
            Self::DiskLow { free, below, at_ms } => (
                at_ms.to_string(),
                *at_ms,
                "The gateway's disk is nearly full".to_owned(),
                format!(
                    "The disk with the gateway's data has {} MiB left, which is less than {} MiB (diskLowBytes). When it \
                     is full, usage records wait in memory.",
                    free >> 20,
                    below >> 20
                ),
                "disk",
                json!({"freeBytes": free, "lowBytes": below}),
            ),
        };
        let event = self.kind().as_str();
        let id = format!("{event}:{occasion}");
        let mut body = Map::new();
        body.insert("event".to_owned(), event.into());
        body.insert(name.to_owned(), detail);
        body.insert("timestamp".to_owned(), timestamp(at_ms).into());
        body.insert("id".to_owned(), id.as_str().into());
        let text = format!("{text}\n\n{}\n{}\n", timestamp(at_ms), config.settings().public_url);
        Notice { id, event: event.to_owned(), at_ms, subject: format!("[routerly] {subject}"), text, body }
    }
}

/// A limit's event with the names of those it is about.
struct Budget<'e> {
    event: &'e budget::event::Event,
    /// `global`, `project`, `token` or `model`.
    level: &'static str,
    name: String,
}

impl<'e> Budget<'e> {
    fn of(event: &'e budget::event::Event, config: &Config) -> Self {
        let project_of = |id: &str| config.project_index(id).map(|index| &config.projects()[index]);
        // Slugs are looked up before ids; this one is an id.
        let project_of = |id: &str| project_of(id).filter(|project| project.id == id);
        let project_name =
            |id: &str| project_of(id).map_or_else(|| id.to_owned(), |project| project.name.clone());
        let token_name = |project: &str, id: &str| {
            let token =
                project_of(project).and_then(|project| project.tokens.iter().find(|token| token.id == id));
            let known = token.map(|token| token.labels.first().unwrap_or(&token.snippet).clone());
            let own = known.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_owned());
            format!("{own} of {}", project_name(project))
        };
        let (level, name) = match &event.key.subject {
            Subject::Platform => ("global", "platform".to_owned()),
            Subject::Model { model } => ("model", model.to_string()),
            Subject::Project { project } => ("project", project_name(project)),
            Subject::ProjectModel { project, model } => {
                ("project", format!("{} with {model}", project_name(project)))
            }
            Subject::Token { project, token } => ("token", token_name(project, token)),
            Subject::TokenModel { project, token, model } => {
                ("token", format!("{} with {model}", token_name(project, token)))
            }
        };
        Self { event, level, name }
    }

    /// The same for the same thing in the same window. A rolling window, of which things are told at most once in its
    /// length, has no first moment: what is told again after a crash is told within that length.
    fn occasion(&self) -> String {
        let budget::event::Event { kind, key, from_ms, at_ms, .. } = self.event;
        let percent = match kind {
            Kind::Threshold { percent } => format!("{percent}:"),
            Kind::Exhausted | Kind::Reset => String::new(),
        };
        let window = match key.window.rolling_length() {
            Some(length) => at_ms / (length.as_millis() as u64).max(1),
            None => *from_ms,
        };
        let subject = [&[key.subject.level()], &*key.subject.ids()].concat().join("/");
        format!("{percent}{subject}:{}:{}:{window}", key.metric.as_str(), key.window)
    }

    fn detail(&self) -> Value {
        let budget::event::Event { kind, key, limit, used, from_ms, until_ms, .. } = self.event;
        let mut detail = json!({
            "level": self.level,
            "name": self.name,
            "metric": key.metric.as_str(),
            "window": key.window.to_string(),
            "limit": amount(key.metric, *limit),
            "current": amount(key.metric, *used),
            "from": timestamp(*from_ms),
            "until": timestamp(*until_ms),
        });
        if let Kind::Threshold { percent } = kind {
            detail["percent"] = (*percent).into();
        }
        let (project, token, model) = match &key.subject {
            Subject::Platform => (None, None, None),
            Subject::Model { model } => (None, None, Some(model)),
            Subject::Project { project } => (Some(project), None, None),
            Subject::ProjectModel { project, model } => (Some(project), None, Some(model)),
            Subject::Token { project, token } => (Some(project), Some(token), None),
            Subject::TokenModel { project, token, model } => (Some(project), Some(token), Some(model)),
        };
        for (name, id) in [("projectId", project), ("tokenId", token), ("modelId", model)] {
            if let Some(id) = id {
                detail[name] = (**id).into();
            }
        }
        detail
    }

    /// Subject and text.
    fn words(&self) -> (String, String) {
        let whose = match self.level {
            "global" => "the platform".to_owned(),
            level => format!("{level} {}", self.name),
        };
        let budget::event::Event { kind, key, limit, used, .. } = self.event;
        let [limit, used] = [*limit, *used].map(|amount| in_words(key.metric, amount));
        let used = format!("{used} of {limit}, {}", key.window);
        match kind {
            Kind::Threshold { percent } => (
                format!("Budget of {whose} is used up to {percent} %"),
                format!("The limit of {whose} is used up to {percent} %: {used}."),
            ),
            Kind::Exhausted => (
                format!("Budget of {whose} is exhausted"),
                format!(
                    "The limit of {whose} is exhausted: {used}. Requests that count on it are refused, or sent to models \
                     that it does not count for."
                ),
            ),
            Kind::Reset => (
                format!("Budget of {whose} is available again"),
                format!("The limit of {whose} has room again: {used}."),
            ),
        }
    }
}

/// USD for cost, else the number itself.
fn amount(metric: Metric, amount: u64) -> Value {
    match metric {
        // The quotient of two numbers that a double holds exactly is the double next to it.
        Metric::Cost => number(Picodollars(amount).0 as f64 / 1e12),
        _ => amount.into(),
    }
}

/// The notice that a channel is tried out with.
pub fn test_notice(id: String, at_ms: u64) -> Notice {
    let mut body = Map::new();
    body.insert("event".to_owned(), "test".into());
    body.insert("source".to_owned(), "Routerly".into());
    body.insert("timestamp".to_owned(), timestamp(at_ms).into());
    Notice {
        id,
        event: "test".to_owned(),
        at_ms,
        subject: "[routerly] Test message".to_owned(),
        text: format!("This is a test of a notification channel. It works.\n\n{}\n", timestamp(at_ms)),
        body,
    }
}

/// A whole number without a fraction.
fn number(value: f64) -> Value {
    // 2^53: up to here a double holds every integer.
    if value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value) {
        (value as u64).into()
    } else {
        value.into()
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn timestamp(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
#[path = "event_tests.rs"]
pub(super) mod tests;
