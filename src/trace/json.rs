//! Entries as JSON: `{"panel", "message", "ts", "details"}`.

use super::entry::{Answered, Call, Caller, Detail, Entry, Failure, Prompt, RoutingPart};
use super::finished::{Requested, Trace};
use super::routing;
use super::steps::Step;
use crate::budget::money::{Picodollars, write_usd_per_million};
use crate::config::Project;
use crate::json::write::{Object, array, object};
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::text::TimestampFormatter;

/// Decimals of points, similarities and weights.
const POINT_SCALE: f64 = 10_000.0;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever runs the gateway.
    Operator,
    /// The client: causes of failures are put into the words of its errors.
    Client,
}

/// The first entry of every trace, `router:intake`.
#[derive(Debug, Clone, Copy)]
pub struct Intake<'a> {
    /// Milliseconds from the request's head to its last byte.
    pub since_ms: u32,
    /// The model that the client asked for.
    pub model: &'a str,
    /// Turns of the conversation, where they were counted.
    pub messages: Option<u32>,
    /// What the client said.
    pub text: Option<&'a Prompt>,
}

/// Spells the entries of one request.
#[derive(Debug, Clone, Copy)]
pub struct Speller<'a> {
    /// The configuration that the request began with.
    pub snapshot: &'a Snapshot,
    /// Index of the project that answers.
    pub project: u32,
    /// Who reads.
    pub audience: Audience,
}

impl Speller<'_> {
    /// Appends a whole trace as one object without line feeds; its id stands first.
    pub fn write_trace(&self, out: &mut Vec<u8>, trace: &Trace) {
        let config = &self.snapshot.config;
        object(out, |whole| {
            whole.plain("traceId", &trace.id.to_string());
            whole.plain("timestamp", TimestampFormatter::default().format(trace.finished_ms).as_str());
            whole.plain("projectId", self.project().map_or("", |project| &project.id));
            let owner = config.projects().get(trace.owner as usize);
            let token = owner.and_then(|owner| owner.tokens.get(trace.token as usize));
            whole.plain("tokenId", token.map_or("", |token| &token.id));
            whole.plain("endpoint", trace.endpoint.as_str());
            whole.boolean("stream", trace.stream);
            whole.number("httpStatus", u64::from(trace.status));
            whole.plain("outcome", trace.outcome.as_str());
            whole.number("latencyMs", u64::from(trace.latency_ms));
            whole.array("trace", |entries| {
                let intake = Intake {
                    since_ms: trace.asked_ms,
                    model: match &trace.requested {
                        Requested::Target(index) => self.target(*index).map_or("", |target| &target.model.id),
                        Requested::Named(name) => name,
                    },
                    messages: None,
                    text: trace.request_text.as_deref(),
                };
                self.write_intake(entries.element(), &intake);
                for step in trace.steps.iter() {
                    self.each_entry(step, |write| write(entries.element()));
                }
            });
        });
    }

    /// Appends the first entry of a trace.
    pub fn write_intake(&self, out: &mut Vec<u8>, intake: &Intake<'_>) {
        write(out, "router-request", "router:intake", intake.since_ms, |details| {
            details.plain("model", intake.model);
            optional_number(details, "messageCount", intake.messages);
            details.plain("projectId", self.project().map_or("", |project| &project.id));
            optional_prompt(details, "requestText", intake.text);
        });
    }

    /// Hands each entry that a step stands for to `on_entry`, as something that appends it.
    pub fn each_entry(&self, step: &Step, mut on_entry: impl FnMut(&dyn Fn(&mut Vec<u8>))) {
        match &step.entry {
            Entry::Routing(explained) => {
                for part in RoutingPart::of(explained) {
                    on_entry(&|out| routing::write_part(self, out, step.since_ms, explained, part));
                }
            }
            _ => on_entry(&|out| self.write_step(out, step)),
        }
    }

    /// Appends the entry of a step that stands for one.
    fn write_step(&self, out: &mut Vec<u8>, step: &Step) {
        let ts = step.since_ms;
        match &step.entry {
            Entry::Alone { target } => write(out, "router-response", "router:result", ts, |details| {
                details.array("final", |list| {
                    list.object(|only| {
                        only.plain("model", self.model(*target));
                        only.number("weight", 1);
                        only.boolean("hasPrompt", self.prompt(*target).is_some());
                    });
                });
                details.plain("note", "single_candidate_bypass");
            }),
            // Several entries.
            Entry::Routing(_) => {}
            Entry::Request(call) => write(out, asking(call.caller), "model:request", ts, |details| {
                self.write_call(details, call);
            }),
            Entry::Success(answered) => {
                write(out, answering(answered.caller), "model:success", ts, |details| {
                    self.write_answered(details, answered);
                });
            }
            Entry::Error(failure) => write(out, answering(failure.caller), "model:error", ts, |details| {
                self.write_failure(details, failure);
            }),
            Entry::Skipped { caller, target, reason } => {
                write(out, answering(*caller), "model:skipped", ts, |details| {
                    details.plain("modelId", self.model(*target));
                    details.plain("reason", reason.as_str());
                });
            }
            Entry::Detail(detail) => self.write_detail(out, ts, detail),
        }
    }

    fn write_detail(&self, out: &mut Vec<u8>, ts: u32, detail: &Detail) {
        let (panel, message) = heading(detail);
        write(out, panel, message, ts, |details| match detail {
            Detail::RoutingRequest { call, system } => {
                self.write_call(details, call);
                optional_prompt(details, "systemPrompt", system.as_ref());
            }
            Detail::RoutingSuccess { answered, text, json } => {
                self.write_answered(details, answered);
                optional_prompt(details, "responseText", text.as_ref());
                optional_prompt(details, "responseJSON", json.as_ref());
            }
            Detail::Thinking { target, text } => {
                details.plain("modelId", self.model(*target));
                details.plain("text", text.as_str());
            }
            Detail::LlmScores { target, scores } => {
                details.plain("routingModel", self.model(*target));
                details.array("scores", |list| {
                    for score in scores {
                        list.object(|one| {
                            one.plain("model", self.model(score.target));
                            point(one, "point", score.point);
                            optional_prompt(one, "reason", score.reason.as_ref());
                        });
                    }
                });
            }
            Detail::LlmSkip { model, reason } => {
                details.plain("modelId", model);
                details.plain("reason", reason);
            }
            Detail::LlmRepair { target } => details.plain("modelId", self.model(*target)),
            Detail::LlmError { target, error } => {
                details.plain("modelId", self.model(*target));
                details.plain("error", error);
            }
            Detail::Intent { top, second, status } => {
                let (second_name, second_score) =
                    second.as_ref().map_or((None, 0.0), |(name, score)| (Some(name), *score));
                details.plain("topIntent", &top.0);
                point(details, "topScore", top.1);
                match second_name {
                    Some(name) => details.plain("secondIntent", name),
                    None => details.null("secondIntent"),
                }
                point(details, "secondScore", second_score);
                point(details, "margin", top.1 - second_score);
                details.plain("status", status.as_str());
            }
            Detail::IntentResult { allowed, excluded, status } => {
                self.write_models(details, "allowed", allowed);
                self.write_models(details, "excluded", excluded);
                details.plain("status", status.as_str());
            }
            Detail::IntentMisconfigured { reason } => details.plain("reason", reason),
            Detail::IntentError { error } => details.plain("error", error),
            Detail::CacheEmbedding {
                model,
                upstream_model,
                provider,
                endpoint,
                source,
                fallback,
                attempt,
                candidates,
            } => {
                details.plain("modelId", model);
                details.plain("upstreamModelId", upstream_model);
                details.plain("provider", provider);
                details.plain("endpoint", endpoint);
                details.plain("source", source);
                details.boolean("fallback", *fallback);
                details.number("attempt", u64::from(*attempt));
                details.number("totalCandidates", u64::from(*candidates));
            }
            Detail::CacheHit { similarity, target, embedding_model, ttl_extended } => {
                point(details, "similarity", similarity.unwrap_or(1.0));
                details.plain("modelId", self.model(*target));
                optional_text(details, "embeddingModel", embedding_model.as_deref());
                details.boolean("ttlExtended", *ttl_extended);
            }
            Detail::CacheMiss { embedding_model } => {
                optional_text(details, "embeddingModel", embedding_model.as_deref());
            }
        });
    }

    fn write_call(&self, details: &mut Object<'_>, call: &Call) {
        details.plain("modelId", self.model(call.target));
        details.plain("provider", self.target(call.target).map_or("", |target| &target.model.provider.id));
        details.boolean("stream", call.stream);
        optional_number(details, "messageCount", call.messages);
        optional_number(details, "maxTokens", call.max_tokens);
    }

    fn write_answered(&self, details: &mut Object<'_>, answered: &Answered) {
        let usage = &answered.usage;
        details.plain("modelId", self.model(answered.target));
        details.number("inputTokens", usage.input);
        if usage.cached_input > 0 {
            details.number("cachedInputTokens", usage.cached_input);
        }
        details.number("outputTokens", usage.output);
        details.number("latencyMs", u64::from(answered.latency_ms));
        optional_number(details, "ttftMs", answered.ttft_ms);
        if let Some(per_sec) = tokens_per_sec(answered) {
            details.number("tokensPerSec", per_sec);
        }
        let Some(target) = self.target(answered.target) else { return };
        let (rates, cost) = (target.price.rates(usage.input), target.price.cost(usage));
        usd(details, "inputCostUsd", cost.input);
        usd(details, "outputCostUsd", cost.output);
        usd(details, "totalCostUsd", cost.total());
        write_usd_per_million(details.member("inputPerMillion"), rates.input);
        write_usd_per_million(details.member("outputPerMillion"), rates.output);
    }

    fn write_failure(&self, details: &mut Object<'_>, failure: &Failure) {
        if let Some(target) = failure.target {
            details.plain("modelId", self.model(target));
        }
        let text = match (self.audience, &failure.told) {
            (Audience::Client, Some(told)) => told,
            (Audience::Client, None) | (Audience::Operator, _) => &failure.error,
        };
        details.plain("error", text);
        optional_number(details, "latencyMs", failure.latency_ms);
    }

    fn write_models(&self, details: &mut Object<'_>, name: &str, targets: &[u32]) {
        array(details.member(name), |list| {
            for target in targets {
                list.plain(self.model(*target));
            }
        });
    }

    fn project(&self) -> Option<&Project> {
        self.snapshot.config.projects().get(self.project as usize).map(|project| &**project)
    }

    /// What the project tells routing models about a model.
    fn prompt(&self, target: u32) -> Option<&str> {
        self.project()?.models.iter().find(|model| model.model == target as usize)?.prompt.as_deref()
    }

    fn target(&self, index: u32) -> Option<&Target> {
        self.snapshot.targets.get(index as usize)
    }

    pub(super) fn model(&self, index: u32) -> &str {
        self.target(index).map_or("", |target| &target.model.id)
    }
}

pub(super) fn write(
    out: &mut Vec<u8>,
    panel: &str,
    message: &str,
    ts: u32,
    details: impl FnOnce(&mut Object<'_>),
) {
    object(out, |entry| {
        entry.plain("panel", panel);
        entry.plain("message", message);
        entry.number("ts", u64::from(ts));
        entry.object("details", details);
    });
}

/// Panel of a call.
fn asking(caller: Caller) -> &'static str {
    match caller {
        Caller::Client => "request",
        Caller::Router => "router-request",
    }
}

/// Panel of what came of it.
fn answering(caller: Caller) -> &'static str {
    match caller {
        Caller::Client => "response",
        Caller::Router => "router-response",
    }
}

/// Panel and message.
fn heading(detail: &Detail) -> (&'static str, &'static str) {
    match detail {
        Detail::RoutingRequest { .. } => ("router-request", "model:request"),
        Detail::RoutingSuccess { .. } => ("router-response", "model:success"),
        Detail::Thinking { .. } => ("response", "model:thinking"),
        Detail::LlmScores { .. } => ("router-response", "llm-policy:scores"),
        Detail::LlmSkip { .. } => ("router-response", "llm-policy:skip"),
        Detail::LlmRepair { .. } => ("router-response", "llm-policy:repair"),
        Detail::LlmError { .. } => ("router-response", "llm-policy:error"),
        Detail::Intent { .. } => ("router-response", "policy:semantic-intent:classification"),
        Detail::IntentResult { .. } => ("router-response", "policy:semantic-intent:result"),
        Detail::IntentMisconfigured { .. } => ("router-response", "policy:semantic-intent:misconfigured"),
        Detail::IntentError { .. } => ("router-response", "policy:semantic-intent:error"),
        Detail::CacheEmbedding { .. } => ("response", "cache:embedding"),
        Detail::CacheHit { .. } => ("response", "cache:hit"),
        Detail::CacheMiss { .. } => ("response", "cache:miss"),
    }
}

/// Tokens, in and out, by the time that they took, as in the usage record.
fn tokens_per_sec(answered: &Answered) -> Option<u64> {
    let latency_ms = u64::from(answered.latency_ms);
    let tokens = answered.usage.input.saturating_add(answered.usage.output);
    let halves = tokens.saturating_mul(2_000).checked_div(latency_ms)?;
    Some(halves.div_ceil(2))
}

fn optional_number(details: &mut Object<'_>, name: &str, value: Option<u32>) {
    if let Some(value) = value {
        details.number(name, u64::from(value));
    }
}

fn optional_text(details: &mut Object<'_>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        details.plain(name, value);
    }
}

fn optional_prompt(details: &mut Object<'_>, name: &str, value: Option<&Prompt>) {
    optional_text(details, name, value.map(Prompt::as_str));
}

fn usd(details: &mut Object<'_>, name: &str, amount: Picodollars) {
    amount.write_usd(details.member(name));
}

/// A point with four decimals; what is no number counts as 0.
pub(super) fn point(details: &mut Object<'_>, name: &str, value: f64) {
    let rounded = if value.is_finite() { (value * POINT_SCALE).round() / POINT_SCALE } else { 0.0 };
    // -0 would be spelled as such.
    let text = (rounded + 0.0).to_string();
    details.member(name).extend_from_slice(text.as_bytes());
}

#[cfg(test)]
#[path = "json_tests.rs"]
pub(crate) mod tests;
