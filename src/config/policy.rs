//! The routing policies of a project, typed.
//!
//! Owns the meaning of `projects[].policies[]`: which types there are, what each one can be told and the bounds of that.
//! What a policy does with it is the routing room's. Models are named by index: one that the registry does not have is a
//! mistake here, not a surprise at a request.
//!
//! Source: the project's routing specification, section 4 (keys and defaults), section 12 (names of the documentation
//! that never were policies).

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::embedding::{Embedding, SemanticCache, Unlisted};
use super::fields::{Fields, one_of};
use super::mistake::{Path, describe, quote};
use super::{Opener, files};

/// All known policy types.
pub const POLICY_KINDS: [&str; 10] = [
    "context",
    "cheapest",
    "health",
    "performance",
    "llm",
    "capability",
    "rate-limit",
    "fairness",
    "budget-remaining",
    "semantic-intent",
];

/// Names that some documentation lists as policies, and what does what they promise.
const NEVER_POLICIES: [(&str, &str); 4] = [
    ("random", "models that no policy tells apart share the requests at random already"),
    ("round-robin", "\"fairness\" levels out the requests of a project"),
    ("preferred", "the order of \"models\" is the preference where policies see no difference"),
    ("priority", "the order of \"models\" is the priority where policies see no difference"),
];

/// Shortest and longest window or half-life, in minutes.
const MINUTES: std::ops::RangeInclusive<f64> = 0.1..=1_440.0;

/// How long a policy that asks a model may take where it says nothing, in milliseconds: a small model scores ten
/// candidates in one or two seconds.
const LLM_TIMEOUT_MS: u64 = 10_000;
/// The same for one that needs a vector: providers embed a message in tenths of a second.
pub(super) const EMBEDDING_TIMEOUT_MS: u64 = 2_000;

/// One routing policy of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Switched on.
    pub enabled: bool,
    /// What it does.
    pub rule: Rule,
    /// Its settings as they stand in the file, as JSON, keys and the like replaced by `***`; empty: there are none.
    pub shown: Box<str>,
}

/// A policy's type with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Does the request fit into the model's context window?
    Context,
    /// What do the tokens cost?
    Cheapest(Cheapest),
    /// Did the last calls fail?
    Health(Health),
    /// How fast were the last calls?
    Performance(Performance),
    /// What does another model say?
    Llm(Box<Llm>),
    /// Can the model do what the request needs?
    Capability,
    /// How many calls were made lately?
    RateLimit(RateLimit),
    /// Do all models get their share of the project's requests?
    Fairness(Fairness),
    /// How much of its limits has the model left?
    BudgetRemaining,
    /// What is the request about?
    SemanticIntent(Box<SemanticIntent>),
}

impl Rule {
    /// The type as it stands in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Cheapest(_) => "cheapest",
            Self::Health(_) => "health",
            Self::Performance(_) => "performance",
            Self::Llm(_) => "llm",
            Self::Capability => "capability",
            Self::RateLimit(_) => "rate-limit",
            Self::Fairness(_) => "fairness",
            Self::BudgetRemaining => "budget-remaining",
            Self::SemanticIntent(_) => "semantic-intent",
        }
    }
}

/// Settings of `cheapest`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cheapest {
    /// Output tokens that are expected for each input token: what the two prices are weighed by.
    pub expected_output_ratio: f64,
}

/// Settings of `health`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Calls that count: those that ended in the last so long.
    pub window: Duration,
    /// After this time a call counts half. Also the wait before a model behind the breaker gets another try.
    pub half_life: Duration,
    /// Successful calls that each model is believed to have had before.
    pub pseudo_counts: f64,
    /// Share of failures, 0 to 1, from which a model is excluded.
    pub circuit_breaker: f64,
    /// Fewer calls than this exclude nobody.
    pub min_samples: u32,
}

/// Settings of `performance`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Performance {
    /// Calls that count: those that ended in the last so long.
    pub window: Duration,
    /// After this time a call counts half; zero: all count the same.
    pub half_life: Duration,
    /// Models with fewer calls are taken for fast.
    pub min_samples: u32,
    /// What is compared.
    pub metric: PerformanceMetric,
}

/// What `performance` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PerformanceMetric {
    /// Time to the end of the answer.
    #[default]
    Latency,
    /// Time to the first token.
    Ttft,
    /// Time for each token of the answer.
    PerOutputToken,
}

/// Settings of `rate-limit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Calls that count: those of the last so long.
    pub window: Duration,
    /// From this many calls on a model is excluded.
    pub max_calls: Option<u64>,
}

/// Settings of `fairness`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fairness {
    /// Calls that count: the project's successful ones of the last so long.
    pub window: Duration,
}

/// Settings of `llm`.
#[derive(Debug, Clone, PartialEq)]
pub struct Llm {
    /// Who is asked, in this order: indexes into the configuration's models, none of them twice, at least one.
    pub models: Vec<usize>,
    /// Extra text for its instructions; none while `autoRouting` is on.
    pub additional_prompt: Option<String>,
    /// Ask for a short reason with each score.
    pub include_reason: bool,
    /// Let it think first, where it can.
    pub thinking: bool,
    /// How many earlier decisions of the conversation it is shown; none: no memory.
    pub memory_count: Option<usize>,
    /// Longest answer, in tokens.
    pub max_completion_tokens: Option<u64>,
    /// Longest part of the user's message that it is shown, in characters.
    pub max_user_message_chars: Option<u64>,
    /// Cache of earlier decisions or answers; none: off.
    pub cache: Option<SemanticCache>,
    /// How long all of its calls may take together.
    pub timeout: Duration,
}

/// Settings of `semantic-intent`.
#[derive(Debug, Clone, PartialEq)]
pub struct SemanticIntent {
    /// Who turns texts into vectors.
    pub embedding: Embedding,
    /// Similarity below which the intent is unknown.
    pub absolute_threshold: f64,
    /// Lead over the second intent below which both count.
    pub ambiguity_threshold: f64,
    /// Intents with examples, in the order of the file.
    pub intents: Vec<Intent>,
    /// How long vectors are waited for.
    pub timeout: Duration,
}

/// What requests may be about, and who is good at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its name.
    pub name: String,
    /// Requests of this kind; at least one.
    pub examples: Vec<String>,
    /// Indexes into the configuration's models.
    pub models: Vec<usize>,
}

/// What the policies of a project are read against.
pub(super) struct PolicyReader<'m> {
    /// Index of each model of the registry.
    pub(super) models: &'m HashMap<String, usize>,
    /// Opens keys for embeddings.
    pub(super) keys: &'m dyn Opener,
    /// Models that embed and are not in the registry.
    pub(super) unlisted: &'m Unlisted<'m>,
    /// Id of the project, which its sealed keys are bound to.
    pub(super) project: &'m str,
}

impl PolicyReader<'_> {
    /// Reads `policies`; broken ones are left out and reported.
    pub(super) fn read_all(&self, f: &Fields<'_>) -> Vec<Policy> {
        let mut policies = Vec::new();
        f.each_object("policies", |f| policies.extend(self.policy(f)));
        policies
    }

    fn policy(&self, f: &Fields<'_>) -> Option<Policy> {
        let kind = f.required_string("type");
        let enabled = f.bool("enabled").unwrap_or(true);
        let empty = Map::new();
        let config = match f.value("config") {
            None => Some(&empty),
            Some(Value::Object(map)) => Some(map),
            Some(other) => {
                f.mistake("config", describe(other), "an object");
                None
            }
        };
        f.also_known(&["id", "name", "weight"]);
        f.finish();
        let kind = kind?;
        if !POLICY_KINDS.contains(&kind) {
            f.mistake("type", unknown(kind), one_of(POLICY_KINDS.into_iter()));
            return None;
        }
        let config = Fields::new(config?, Path::Key(&f.path, "config"), f.sink);
        let rule = self.rule(kind, &config);
        config.finish();
        let shown = shown(f.value("config")).map(|config| config.to_string()).unwrap_or_default();
        Some(Policy { enabled, rule: rule?, shown: shown.into() })
    }

    fn rule(&self, kind: &str, f: &Fields<'_>) -> Option<Rule> {
        Some(match kind {
            "context" => Rule::Context,
            "cheapest" => Rule::Cheapest(Cheapest {
                expected_output_ratio: f.number("expectedOutputRatio", 0.0..=1_000.0).unwrap_or(1.0),
            }),
            "health" => Rule::Health(health(f)),
            "performance" => Rule::Performance(performance(f)),
            "llm" => Rule::Llm(Box::new(self.llm(f)?)),
            "capability" => Rule::Capability,
            "rate-limit" => Rule::RateLimit(RateLimit {
                window: minutes(f, "windowMinutes", MINUTES, 1.0),
                max_calls: f.integer("maxCallsPerWindow", 0..=u64::MAX),
            }),
            "fairness" => Rule::Fairness(Fairness { window: minutes(f, "windowMinutes", MINUTES, 60.0) }),
            "budget-remaining" => Rule::BudgetRemaining,
            _ => Rule::SemanticIntent(Box::new(self.semantic_intent(f)?)),
        })
    }

    fn llm(&self, f: &Fields<'_>) -> Option<Llm> {
        let asked = match spelling(f, ["routingModelId", "modelId"]) {
            Some((key, value)) => self.model(value, &Path::Key(&f.path, key), f),
            None => {
                f.mistake("routingModelId", "nothing", "the id of the model that is asked");
                None
            }
        };
        let mut models: Vec<usize> = asked.into_iter().collect();
        f.each("fallbackModelIds", |item, path| {
            let Some(model) = self.model(item, &path, f) else { return };
            if models.contains(&model) {
                let found = format!("{} again: the list would go in a circle", describe(item));
                f.sink.mistake(&path, found, "each model once, and not the first one");
            } else {
                models.push(model);
            }
        });
        let auto_routing = f.bool("autoRouting").unwrap_or(true);
        let additional_prompt = spelling(f, ["additionalPromptInfo", "additionalPrompt"]);
        let additional_prompt = additional_prompt.and_then(|(key, value)| text(f, key, value));
        let memory = f.bool("memory").unwrap_or(false);
        let memory_count = f.integer("memoryCount", 1..=50).unwrap_or(5);
        let cache = f.object("cache", |f| SemanticCache::read(f, self)).flatten();
        let llm = Llm {
            models,
            additional_prompt: additional_prompt.filter(|text| !auto_routing && !text.trim().is_empty()),
            include_reason: f.bool("includeReason").unwrap_or(false),
            thinking: f.bool("thinking").unwrap_or(false),
            memory_count: memory.then_some(memory_count as usize),
            max_completion_tokens: at_least(f, "maxCompletionTokens", 50),
            max_user_message_chars: at_least(f, "maxUserMessageChars", 100),
            cache,
            timeout: timeout(f, LLM_TIMEOUT_MS),
        };
        asked.map(|_| llm)
    }

    fn semantic_intent(&self, f: &Fields<'_>) -> Option<SemanticIntent> {
        let embedding = Embedding::read(f, self);
        let absolute_threshold = f.number("absolute_threshold", -1.0..=1.0).unwrap_or(0.60);
        let ambiguity_threshold = f.number("ambiguity_threshold", 0.0..=2.0).unwrap_or(0.08);
        // Declared by upstream, never used.
        f.also_known(&["fallback_policy"]);
        let mut intents = Vec::new();
        if f.value("intents").is_none() {
            f.mistake("intents", "nothing", "an object of intents, {name: {examples, candidate_models}}");
        }
        f.each_member("intents", |name, f| {
            let examples = f.strings("examples");
            let mut models = Vec::new();
            f.each("candidate_models", |item, path| {
                models.extend(self.model(item, &path, f).filter(|model| !models.contains(model)));
            });
            f.finish();
            if examples.is_empty() {
                f.sink.warn(&f.path, format!("intent {} has no examples; skipped", quote(name)));
            } else {
                intents.push(Intent { name: name.to_owned(), examples, models });
            }
        });
        let timeout = timeout(f, EMBEDDING_TIMEOUT_MS);
        Some(SemanticIntent {
            embedding: embedding?,
            absolute_threshold,
            ambiguity_threshold,
            intents,
            timeout,
        })
    }

    /// Index of the model whose id stands at `path`.
    fn model(&self, value: &Value, path: &Path<'_>, f: &Fields<'_>) -> Option<usize> {
        let model = value.as_str().and_then(|id| self.models.get(id));
        if model.is_none() {
            let found = match value {
                Value::String(id) => format!("{}, which is not in {}", quote(id), files::MODELS),
                other => describe(other),
            };
            f.sink.mistake(path, found, "the id of a model");
        }
        model.copied()
    }
}

/// Settings fit for whoever may read traces: what sounds like a secret is hidden.
fn shown(config: Option<&Value>) -> Option<Value> {
    const SECRETS: [&str; 4] = ["key", "secret", "token", "password"];
    fn hide(value: &mut Value) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(name, value)| {
                let name = name.to_ascii_lowercase();
                if value.is_string() && SECRETS.iter().any(|secret| name.contains(secret)) {
                    *value = Value::from("***");
                }
                hide(value);
            }),
            Value::Array(items) => items.iter_mut().for_each(hide),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut config = config?.clone();
    hide(&mut config);
    Some(config)
}

fn unknown(kind: &str) -> String {
    match NEVER_POLICIES.iter().find(|(name, _)| *name == kind) {
        Some((name, instead)) => format!("{}, which is no policy: {instead}", quote(name)),
        None => quote(kind),
    }
}

fn health(f: &Fields<'_>) -> Health {
    Health {
        window: minutes(f, "windowMinutes", MINUTES, 20.0),
        half_life: minutes(f, "halfLifeMinutes", MINUTES, 5.0),
        pseudo_counts: f.number("pseudoCounts", 0.0..=1e6).unwrap_or(2.0),
        circuit_breaker: f.number("circuitBreaker", 0.0..=1.0).unwrap_or(0.9),
        min_samples: f.integer("minSamples", 1..=1_000_000).unwrap_or(3) as u32,
    }
}

fn performance(f: &Fields<'_>) -> Performance {
    let metrics = [
        ("latency", PerformanceMetric::Latency),
        ("ttft", PerformanceMetric::Ttft),
        ("perOutputToken", PerformanceMetric::PerOutputToken),
    ];
    Performance {
        window: minutes(f, "windowMinutes", MINUTES, 20.0),
        half_life: minutes(f, "halfLifeMinutes", 0.0..=*MINUTES.end(), 5.0),
        min_samples: f.integer("minSamples", 1..=1_000_000).unwrap_or(1) as u32,
        metric: f.word("metric", &metrics).unwrap_or_default(),
    }
}

/// A time in minutes.
fn minutes(
    f: &Fields<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<f64>,
    default: f64,
) -> Duration {
    Duration::from_secs_f64(f.number(key, range).unwrap_or(default) * 60.0)
}

/// `timeoutMs`.
pub(super) fn timeout(f: &Fields<'_>, default_ms: u64) -> Duration {
    f.duration("timeoutMs", 1..=600_000).unwrap_or(Duration::from_millis(default_ms))
}

/// A number that is raised to `floor` where it is lower.
fn at_least(f: &Fields<'_>, key: &'static str, floor: u64) -> Option<u64> {
    let given = f.integer(key, 0..=u64::from(u32::MAX))?;
    if given < floor {
        f.warn(key, format!("is raised to {floor}, the lowest useful value"));
    }
    Some(given.max(floor))
}

/// The value under the first of two spellings that is there.
fn spelling<'a>(f: &Fields<'a>, keys: [&'static str; 2]) -> Option<(&'static str, &'a Value)> {
    let [first, second] = keys.map(|key| f.value(key).map(|value| (key, value)));
    if first.is_some() && second.is_some() {
        f.warn(keys[1], format!("is the same setting as {} and not used", quote(keys[0])));
    }
    first.or(second)
}

fn text(f: &Fields<'_>, key: &'static str, value: &Value) -> Option<String> {
    let text = value.as_str();
    if text.is_none() {
        f.mistake(key, describe(value), "a string");
    }
    text.map(str::to_owned)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
