//! What is said in one answer, before any dialect writes it.
//!
//! Owns the draw: how many tokens, which texts, whether a tool is called, what the usage is. A dialect's writer
//! takes a [`Completion`] and adds shape only, so that the four dialects answer alike.

use std::time::Duration;

use super::ask::{Ask, JsonShape, Thinking, Tool, ToolChoice};
use super::pen::escape;
use super::plan::Pace;
use super::random::Random;
use super::schema;
use super::settings::SimulatedSettings;
use super::words::Walk;
use crate::dialect::Usage;
use crate::limits::SIMULATED_OUTPUT_TOKENS_MAX;

/// One answer.
#[derive(Debug)]
pub(super) struct Completion {
    /// 26 letters and digits, to follow a dialect's prefix.
    pub(super) id: String,
    /// Seconds since the Unix epoch.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Usage,
    pub(super) thinking_kind: Thinking,
}

/// One of the answers to choose from; most requests want one.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) thinking: Option<Passage>,
    pub(super) text: Option<Passage>,
    pub(super) calls: Vec<Call>,
    pub(super) finish: Finish,
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    /// The sequence of the request that would have come next.
    StopSequence(String),
    Length,
    ToolCalls,
}

/// A tool call.
#[derive(Debug)]
pub(super) struct Call {
    /// 24 letters and digits, to follow a dialect's prefix.
    pub(super) id: String,
    pub(super) name: String,
    /// A JSON object; always a literal.
    pub(super) arguments: Passage,
}

/// A text and its length.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    pub(super) source: Source,
    pub(super) tokens: u64,
}

/// Where a text comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A walk through the vocabulary, one word a token.
    Words { start: u64 },
    /// This text, four characters a token.
    Literal(String),
}

impl Passage {
    fn words(random: &mut Random, tokens: u64) -> Self {
        Self { source: Source::Words { start: random.bits() }, tokens }
    }

    pub(super) fn literal(text: String) -> Self {
        let tokens = (text.chars().count() as u64).div_ceil(4);
        Self { source: Source::Literal(text), tokens }
    }

    /// Appends the whole text as the inside of a JSON string.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match &self.source {
            Source::Words { start } => Walk::new(*start).write_json(self.tokens, out),
            Source::Literal(text) => escape(text.as_bytes(), out),
        }
    }

    /// The whole text as it is.
    pub(super) fn raw(&self) -> String {
        match &self.source {
            Source::Words { start } => {
                let mut text = String::new();
                Walk::new(*start).write_raw(self.tokens, &mut text);
                text
            }
            Source::Literal(text) => text.clone(),
        }
    }

    /// The first `tokens` tokens of it, and whether anything was cut off.
    fn cut(self, tokens: u64) -> (Self, bool) {
        if self.tokens <= tokens {
            return (self, false);
        }
        let source = match self.source {
            words @ Source::Words { .. } => words,
            Source::Literal(text) => {
                let chars = usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX);
                Source::Literal(text.chars().take(chars).collect())
            }
        };
        (Self { source, tokens }, true)
    }
}

impl Completion {
    /// Draws the answer to `ask`.
    pub(super) fn draw(settings: &SimulatedSettings, ask: &Ask, created: u64, random: &mut Random) -> Self {
        let id = random.id(26);
        let limit = ask.limit.unwrap_or(u64::MAX).min(SIMULATED_OUTPUT_TOKENS_MAX);
        let input = settings.input_tokens.unwrap_or_else(|| ask.input_chars.div_ceil(4).max(1));
        let cached_input = settings.cached_input_tokens.min(input);
        let mut usage = Usage {
            input,
            cached_input,
            cache_write: settings.cache_write_input_tokens.min(input - cached_input),
            ..Usage::default()
        };
        let choices = (0..ask.choices)
            .map(|_| {
                let (choice, reasoning, visible) = draw_choice(settings, ask, limit, random);
                usage.reasoning += reasoning;
                usage.output += reasoning + visible;
                choice
            })
            .collect();
        Self { id, created, model: ask.model.clone(), choices, usage, thinking_kind: ask.thinking }
    }

    /// How long the whole answer takes if it is not streamed.
    pub(super) fn latency(&self, mut pace: Pace) -> Duration {
        let longest = self.usage.output / (self.choices.len() as u64).max(1);
        pace.first() + pace.tokens(longest)
    }
}

/// One choice, its reasoning tokens and its visible ones.
fn draw_choice(
    settings: &SimulatedSettings,
    ask: &Ask,
    limit: u64,
    random: &mut Random,
) -> (Choice, u64, u64) {
    let thinks = ask.thinking != Thinking::Off;
    let thinking_tokens = if thinks { settings.thinking_tokens.min(limit) } else { 0 };
    let reasoning = settings.reasoning_tokens.unwrap_or(thinking_tokens).min(limit);
    let left = limit - reasoning;
    let thinking = (ask.thinking == Thinking::Shown && thinking_tokens > 0)
        .then(|| Passage::words(random, thinking_tokens));

    let wanted = random.between(settings.output_tokens.min, settings.output_tokens.max);
    let wanted = wanted.min(SIMULATED_OUTPUT_TOKENS_MAX);
    let text = draw_text(ask, wanted, random);
    let mut calls = draw_calls(settings, ask, random);
    if !calls.is_empty() {
        let text = settings.text_with_tool_calls.then_some(text);
        let before = text.as_ref().map_or(0, |text| text.tokens);
        let total = calls.iter().map(|call| call.arguments.tokens).sum::<u64>() + before;
        if total <= left {
            return (Choice { thinking, text, calls, finish: Finish::ToolCalls }, reasoning, total);
        }
        // A call that the limit cuts off is left out whole: half an argument is no JSON in two dialects.
        calls.clear();
        let (text, _) = text.unwrap_or_else(|| Passage::literal(String::new())).cut(left);
        let visible = text.tokens;
        return (Choice { thinking, text: Some(text), calls, finish: Finish::Length }, reasoning, visible);
    }
    let (text, was_cut) = text.cut(left);
    let (text, finish) = match stop_at(&text, &ask.stop) {
        Some((text, sequence)) => (text, Finish::StopSequence(sequence)),
        None if was_cut => (text, Finish::Length),
        None => (text, Finish::Stop),
    };
    let visible = text.tokens;
    (Choice { thinking, text: Some(text), calls, finish }, reasoning, visible)
}

fn draw_text(ask: &Ask, tokens: u64, random: &mut Random) -> Passage {
    match &ask.json {
        None => Passage::words(random, tokens),
        Some(JsonShape::Schema(schema)) => Passage::literal(schema::value(schema, random).to_string()),
        Some(JsonShape::Any) => {
            let mut walk = Walk::new(random.bits());
            let mut text = String::new();
            while (text.chars().count() as u64) + 16 < tokens.saturating_mul(4) {
                walk.write_raw(1 + tokens / 8, &mut text);
            }
            Passage::literal(serde_json::json!({ "result": text }).to_string())
        }
    }
}

fn draw_calls(settings: &SimulatedSettings, ask: &Ask, random: &mut Random) -> Vec<Call> {
    let by_rate = random.chance(settings.tool_calls);
    let pick = random.below(ask.tools.len() as u64) as usize;
    let any = ask.tools.get(pick);
    let tool: Option<&Tool> = match &ask.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Auto => any.filter(|_| by_rate && !ask.after_tool_result),
        ToolChoice::Required => any,
        ToolChoice::Named(name) => ask.tools.iter().find(|tool| tool.name == *name),
    };
    let Some(tool) = tool else { return Vec::new() };
    let count = if ask.parallel_calls { settings.tool_call_count.clamp(1, 64) } else { 1 };
    (0..count)
        .map(|_| Call {
            id: random.id(24),
            name: tool.name.clone(),
            arguments: Passage::literal(schema::arguments(&tool.schema, random).to_string()),
        })
        .collect()
}

/// The text before the first stop sequence in it, and that sequence.
fn stop_at(text: &Passage, stops: &[String]) -> Option<(Passage, String)> {
    if stops.is_empty() {
        return None;
    }
    let raw = text.raw();
    let (at, stop) = stops.iter().filter_map(|stop| Some((raw.find(stop.as_str())?, stop))).min()?;
    Some((Passage::literal(raw[..at].to_owned()), stop.clone()))
}
