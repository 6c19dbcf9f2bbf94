//! `generationConfig` of a request. Rules: the project's dialect mapping, sections 2, 6.1 and 7.

use super::models::{ModelRules, Thinking};
use super::write_request::write_schema;
use crate::dialect::Effort;
use crate::dialect::ir::{Format, Reasoning, Request, SummaryWish};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::json::write::{self, Object};

/// Most stop sequences of one request.
const STOP_MAX: usize = 5;

/// Writes it, if there is anything in it.
pub(super) fn write_config(
    root: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let mut config = Vec::new();
    write::object(&mut config, |config| write_members(config, request, rules, losses))?;
    if config != b"{}" {
        root.member("generationConfig").extend_from_slice(&config);
    }
    Ok(())
}

fn write_members(
    config: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    if let Some(limit) = request.output_tokens_max {
        config.number("maxOutputTokens", limit);
    }
    if request.stop.len() > STOP_MAX {
        return Err(BadRequest {
            field: Feature::Stop.row().name.to_owned(),
            problem: format!(
                "the selected model takes {STOP_MAX} stop sequences, found {}",
                request.stop.len()
            ),
        });
    }
    if !request.stop.is_empty() {
        config.array("stopSequences", |stop| request.stop.iter().for_each(|sequence| stop.text(sequence)));
    }
    for setting in &request.settings {
        let name = match setting.feature {
            Feature::Temperature => "temperature",
            Feature::TopP => "topP",
            Feature::TopK => "topK",
            Feature::Seed => "seed",
            Feature::AnswerCount => "candidateCount",
            Feature::FrequencyPenalty => "frequencyPenalty",
            Feature::PresencePenalty => "presencePenalty",
            Feature::Logprobs => {
                config.boolean("responseLogprobs", true);
                if setting.value.as_str() == "0" {
                    continue;
                }
                "logprobs"
            }
            _ => continue,
        };
        config.raw(name, &setting.value);
    }
    write_format(config, request, rules, losses)?;
    write_thinking(config, request.reasoning, rules.thinking, losses)
}

fn write_format(
    config: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let feature = match &request.format {
        Format::Text => return Ok(()),
        Format::Json => Feature::JsonObject,
        Format::Schema { .. } => Feature::JsonSchema,
    };
    losses.meet(feature)?;
    let has_tools = !request.tools.is_empty() || request.web_search.is_some();
    if has_tools && !rules.json_beside_functions {
        return Err(BadRequest {
            field: feature.row().name.to_owned(),
            problem:
                "the selected model writes no JSON as its answer while there are functions or a web search"
                    .to_owned(),
        });
    }
    config.plain("responseMimeType", "application/json");
    if let Format::Schema { schema, strict, .. } = &request.format {
        if *strict {
            losses.meet(Feature::FormatStrict)?;
        }
        write_schema(config, ["responseJsonSchema", "responseSchema"], schema, rules, losses)?;
    }
    Ok(())
}

/// How much the model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steering {
    Level(Effort),
    Tokens(u64),
}

fn write_thinking(
    config: &mut Object<'_>,
    reasoning: Reasoning,
    thinking: Thinking,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let steering = match thinking {
        Thinking::Fixed => {
            if reasoning.effort.is_some_and(|effort| effort != Effort::None) {
                losses.drop(Feature::Effort)?;
            }
            if reasoning.budget_tokens.is_some_and(|tokens| tokens > 0) {
                losses.drop(Feature::ThinkingBudget)?;
            }
            return Ok(());
        }
        Thinking::Levels(levels) => level(reasoning, levels, losses)?.map(Steering::Level),
        Thinking::Budget { min, max, off } => {
            budget(reasoning, (min, max), off, losses)?.map(Steering::Tokens)
        }
    };
    let show = reasoning.show.map(|wish| wish != SummaryWish::Hidden);
    if steering.is_none() && show.is_none() {
        return Ok(());
    }
    config.object("thinkingConfig", |thinking| {
        match steering {
            Some(Steering::Level(level)) => {
                thinking.plain("thinkingLevel", &level.as_str().to_ascii_uppercase());
            }
            Some(Steering::Tokens(tokens)) => thinking.number("thinkingBudget", tokens),
            None => {}
        }
        if let Some(show) = show {
            thinking.boolean("includeThoughts", show);
        }
    });
    Ok(())
}

/// The word of the model's for what is wanted: the next one above, else its highest.
fn level(reasoning: Reasoning, levels: &[Effort], losses: &mut Losses) -> Result<Option<Effort>, BadRequest> {
    let (wanted, feature) = match (reasoning.effort, reasoning.budget_tokens) {
        (Some(effort), _) => (effort, Feature::Effort),
        (None, Some(tokens)) => (Effort::of_budget(tokens), Feature::ThinkingBudget),
        (None, None) => return Ok(None),
    };
    let level = levels.iter().find(|level| **level >= wanted).or(levels.last()).copied();
    if level != Some(wanted) || feature == Feature::ThinkingBudget {
        losses.change(feature)?;
    }
    Ok(level)
}

/// The tokens to think: what is asked for, within the model's range.
fn budget(
    reasoning: Reasoning,
    (min, max): (u64, u64),
    off: bool,
    losses: &mut Losses,
) -> Result<Option<u64>, BadRequest> {
    let (wanted, feature) = match (reasoning.budget_tokens, reasoning.effort) {
        (Some(tokens), _) => (tokens, Feature::ThinkingBudget),
        (None, Some(effort)) => (effort.gemini_budget().unwrap_or(max), Feature::Effort),
        (None, None) => return Ok(None),
    };
    let tokens = if wanted == 0 && off { 0 } else { wanted.clamp(min, max) };
    // The numbers behind the words are the gateway's own: only "off" has to be taken at its word.
    if tokens != wanted && (feature == Feature::ThinkingBudget || wanted == 0) {
        losses.change(feature)?;
    }
    Ok(Some(tokens))
}
