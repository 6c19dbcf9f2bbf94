//! How much a model is to think, and how much room that leaves: `thinking`, `output_config.effort`, `max_tokens`.
//!
//! Rules: the project's dialect mapping, sections 2.1, 6.1 and 6.2.

use super::models::{ModelRules, ThinkingForm};
use crate::dialect::Effort;
use crate::dialect::ir::{Reasoning, SummaryWish};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::json::write::Object;

/// Smallest budget, in tokens. Source: Anthropic API docs, "Extended thinking".
const BUDGET_MIN: u64 = 1024;
/// Tokens left for the answer where the budget has to be lowered.
const ANSWER_TOKENS_MIN: u64 = 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Nothing is said: the model's default.
    Unsaid,
    /// Off.
    Off,
    /// So many tokens.
    Budget(u64),
    /// As much as the effort says.
    Adaptive,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) thinking: Thinking,
    pub(super) effort: Option<&'static str>,
    pub(super) max_tokens: u64,
}

/// What stands against thinking in this request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Obstacles {
    /// The last turn of the assistant called a tool, and its thoughts are not at hand.
    pub(super) thoughts_missing: bool,
    /// The answer is made by a forced call.
    pub(super) call_forced: bool,
}

/// How much output is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputLimit {
    /// By the client.
    pub(super) asked: Option<u64>,
    /// Where the client does not say.
    pub(super) default: u64,
}

/// What the client wants.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Nothing,
    Off,
    Effort(Effort),
    Budget(u64),
}

impl Wish {
    fn of(reasoning: Reasoning) -> Self {
        match (reasoning.budget_tokens, reasoning.effort) {
            (Some(0), _) | (None, Some(Effort::None)) => Self::Off,
            (Some(tokens), _) => Self::Budget(tokens),
            (None, Some(effort)) => Self::Effort(effort),
            (None, None) => Self::Nothing,
        }
    }

    /// What a report calls it.
    fn feature(self) -> Feature {
        match self {
            Self::Budget(_) => Feature::ThinkingBudget,
            Self::Nothing | Self::Off | Self::Effort(_) => Feature::Effort,
        }
    }
}

/// Decides what is sent to a model with these rules.
///
/// # Errors
/// Something would be lost, and reports are refusals.
pub(super) fn plan(
    reasoning: Reasoning,
    limit: OutputLimit,
    rules: &ModelRules,
    obstacles: Obstacles,
    losses: &mut Losses,
) -> Result<Plan, BadRequest> {
    let wish = Wish::of(reasoning);
    let mut thinking = form(wish, rules, losses)?;
    let effort = match wish {
        Wish::Nothing => None,
        Wish::Off if thinking == Thinking::Adaptive => Some(Effort::Low),
        Wish::Off => None,
        Wish::Effort(effort) => Some(effort),
        // A budget that is sent says all; one that cannot be sent becomes an effort, unless the client named one.
        Wish::Budget(_) if thinking != Thinking::Adaptive => reasoning.effort,
        Wish::Budget(tokens) => Some(reasoning.effort.unwrap_or(Effort::of_budget(tokens))),
    };
    let is_blocked = match thinking {
        Thinking::Budget(_) => obstacles.thoughts_missing || obstacles.call_forced,
        Thinking::Adaptive => obstacles.thoughts_missing && rules.thinking != ThinkingForm::Always,
        Thinking::Unsaid | Thinking::Off => false,
    };
    if is_blocked {
        losses.change(Feature::Thinking)?;
        thinking = off(rules);
    }
    let mut max_tokens = limit.asked.unwrap_or(limit.default.min(rules.output_tokens_max));
    if let Thinking::Budget(budget) = thinking {
        (thinking, max_tokens) = make_room(budget, limit, wish, rules, losses)?;
    }
    Ok(Plan { thinking, effort: effort.and_then(|effort| rules.efforts.word(effort)), max_tokens })
}

/// The form in which the model takes the wish.
fn form(wish: Wish, rules: &ModelRules, losses: &mut Losses) -> Result<Thinking, BadRequest> {
    Ok(match (wish, rules.thinking) {
        (Wish::Nothing, _) => Thinking::Unsaid,
        (Wish::Off, ThinkingForm::Always) => {
            losses.change(Feature::Effort)?;
            Thinking::Adaptive
        }
        (Wish::Off, _) => off(rules),
        (Wish::Effort(_) | Wish::Budget(_), ThinkingForm::None) => {
            losses.drop(wish.feature())?;
            Thinking::Unsaid
        }
        (Wish::Effort(effort), ThinkingForm::Budget) => Thinking::Budget(effort.anthropic_budget()),
        (Wish::Effort(_), ThinkingForm::Both | ThinkingForm::Adaptive | ThinkingForm::Always) => {
            Thinking::Adaptive
        }
        (Wish::Budget(tokens), ThinkingForm::Budget | ThinkingForm::Both) => {
            if tokens < BUDGET_MIN {
                losses.change(Feature::ThinkingBudget)?;
            }
            Thinking::Budget(tokens.max(BUDGET_MIN))
        }
        (Wish::Budget(_), ThinkingForm::Adaptive | ThinkingForm::Always) => {
            losses.change(Feature::ThinkingBudget)?;
            Thinking::Adaptive
        }
    })
}

/// How no thinking is said to the model.
fn off(rules: &ModelRules) -> Thinking {
    match rules.thinking {
        // Off is what they do unasked.
        ThinkingForm::None | ThinkingForm::Budget => Thinking::Unsaid,
        ThinkingForm::Both | ThinkingForm::Adaptive | ThinkingForm::Always => Thinking::Off,
    }
}

/// The budget and `max_tokens`, which has to be more: it is raised if the model allows, else the budget is lowered.
fn make_room(
    budget: u64,
    limit: OutputLimit,
    wish: Wish,
    rules: &ModelRules,
    losses: &mut Losses,
) -> Result<(Thinking, u64), BadRequest> {
    let raised = budget.saturating_add(limit.asked.unwrap_or(limit.default));
    let max_tokens = match limit.asked {
        Some(asked) if budget < asked => return Ok((Thinking::Budget(budget), asked)),
        Some(_) if raised <= rules.output_tokens_max => {
            losses.change(Feature::OutputLimit)?;
            return Ok((Thinking::Budget(budget), raised));
        }
        Some(asked) => asked,
        None if raised <= rules.output_tokens_max => return Ok((Thinking::Budget(budget), raised)),
        None => rules.output_tokens_max,
    };
    let lowered = budget.min(max_tokens.saturating_sub(ANSWER_TOKENS_MIN));
    if lowered < BUDGET_MIN {
        losses.drop(wish.feature())?;
        return Ok((off(rules), max_tokens));
    }
    if lowered < budget {
        losses.change(wish.feature())?;
    }
    Ok((Thinking::Budget(lowered), max_tokens))
}

impl Plan {
    /// Writes `thinking`.
    pub(super) fn write(&self, body: &mut Object<'_>, show: Option<SummaryWish>) {
        let (word, budget) = match self.thinking {
            Thinking::Unsaid => return,
            Thinking::Off => return body.object("thinking", |thinking| thinking.plain("type", "disabled")),
            Thinking::Budget(tokens) => ("enabled", Some(tokens)),
            Thinking::Adaptive => ("adaptive", None),
        };
        body.object("thinking", |thinking| {
            thinking.plain("type", word);
            if let Some(tokens) = budget {
                thinking.number("budget_tokens", tokens);
            }
            match show {
                Some(SummaryWish::Hidden) => thinking.plain("display", "omitted"),
                Some(SummaryWish::Auto | SummaryWish::Concise | SummaryWish::Detailed) => {
                    thinking.plain("display", "summarized");
                }
                None => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::models::rules_of;
    use super::*;
    use crate::dialect::Dialect;
    use Thinking::{Adaptive, Budget, Off, Unsaid};

    fn planned(
        model: &str,
        reasoning: Reasoning,
        asked: Option<u64>,
        obstacles: Obstacles,
    ) -> (Thinking, Option<&'static str>, u64, String) {
        let mut losses = Losses::new(Dialect::AnthropicMessages, false);
        let limit = OutputLimit { asked, default: 8192 };
        let plan = plan(reasoning, limit, &rules_of(model), obstacles, &mut losses).unwrap();
        (plan.thinking, plan.effort, plan.max_tokens, losses.header_value())
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning { effort: Some(effort), ..Reasoning::default() }
    }

    fn budget(tokens: u64) -> Reasoning {
        Reasoning { budget_tokens: Some(tokens), ..Reasoning::default() }
    }

    #[test]
    fn each_model_is_asked_in_its_own_form() {
        let nothing = Reasoning::default();
        for (model, reasoning, thinking, word, lost) in [
            ("claude-3-5-sonnet", nothing, Unsaid, None, ""),
            ("claude-3-5-sonnet", effort(Effort::None), Unsaid, None, ""),
            ("claude-3-5-sonnet", effort(Effort::High), Unsaid, None, "dropped=reasoning_effort"),
            ("claude-3-5-sonnet", budget(2000), Unsaid, None, "dropped=thinking_budget"),
            ("claude-sonnet-4-5", effort(Effort::None), Unsaid, None, ""),
            ("claude-sonnet-4-5", effort(Effort::Minimal), Budget(1024), None, ""),
            ("claude-sonnet-4-5", effort(Effort::High), Budget(16_384), None, ""),
            ("claude-sonnet-4-5", budget(0), Unsaid, None, ""),
            ("claude-sonnet-4-5", budget(500), Budget(1024), None, "changed=thinking_budget"),
            ("claude-opus-4-5", effort(Effort::Max), Budget(32_768), Some("high"), ""),
            ("claude-opus-4-6", effort(Effort::None), Off, None, ""),
            ("claude-opus-4-6", effort(Effort::XHigh), Adaptive, Some("max"), ""),
            ("claude-opus-4-6", budget(5000), Budget(5000), None, ""),
            ("claude-opus-4-8", effort(Effort::XHigh), Adaptive, Some("xhigh"), ""),
            ("claude-opus-4-8", effort(Effort::Minimal), Adaptive, Some("low"), ""),
            ("claude-opus-4-8", budget(5000), Adaptive, Some("medium"), "changed=thinking_budget"),
            ("claude-opus-4-8", budget(0), Off, None, ""),
            ("claude-opus-4-8", nothing, Unsaid, None, ""),
            ("claude-fable-5", effort(Effort::None), Adaptive, Some("low"), "changed=reasoning_effort"),
            ("a-model-to-come", effort(Effort::Max), Adaptive, Some("max"), ""),
        ] {
            let (found, effort, _, report) = planned(model, reasoning, None, Obstacles::default());
            assert_eq!((found, effort, report.as_str()), (thinking, word, lost), "{model} {reasoning:?}");
        }
    }

    #[test]
    fn the_output_has_room_for_thinking() {
        let none = Obstacles::default();
        for (model, reasoning, asked, thinking, max_tokens, lost) in [
            ("claude-sonnet-4-5", Reasoning::default(), None, Unsaid, 8192, ""),
            ("claude-sonnet-4-5", Reasoning::default(), Some(100), Unsaid, 100, ""),
            ("claude-3-opus", Reasoning::default(), None, Unsaid, 4096, ""),
            ("claude-sonnet-4-5", budget(2000), None, Budget(2000), 10_192, ""),
            ("claude-sonnet-4-5", budget(2000), Some(2001), Budget(2000), 2001, ""),
            ("claude-sonnet-4-5", budget(2000), Some(2000), Budget(2000), 4000, "changed=max_tokens"),
            (
                "claude-sonnet-4-5",
                effort(Effort::High),
                Some(50),
                Budget(16_384),
                16_434,
                "changed=max_tokens",
            ),
            ("claude-opus-4-1", budget(40_000), None, Budget(30_976), 32_000, "changed=thinking_budget"),
            (
                "claude-opus-4-1",
                budget(40_000),
                Some(20_000),
                Budget(18_976),
                20_000,
                "changed=thinking_budget",
            ),
            ("claude-opus-4-1", budget(31_999), Some(2000), Unsaid, 2000, "dropped=thinking_budget"),
            ("claude-opus-4-1", effort(Effort::Max), Some(2000), Unsaid, 2000, "dropped=reasoning_effort"),
            ("claude-opus-4-8", effort(Effort::High), None, Adaptive, 8192, ""),
        ] {
            let (found, _, tokens, report) = planned(model, reasoning, asked, none);
            assert_eq!(
                (found, tokens, report.as_str()),
                (thinking, max_tokens, lost),
                "{model} {reasoning:?} {asked:?}"
            );
        }
    }

    #[test]
    fn what_stands_against_thinking_switches_it_off() {
        let missing = Obstacles { thoughts_missing: true, call_forced: false };
        let forced = Obstacles { thoughts_missing: false, call_forced: true };
        for (model, obstacles, thinking, lost) in [
            ("claude-sonnet-4-5", missing, Unsaid, "changed=thinking"),
            ("claude-sonnet-4-5", forced, Unsaid, "changed=thinking"),
            ("claude-opus-4-8", missing, Off, "changed=thinking"),
            ("claude-opus-4-8", forced, Adaptive, ""),
            ("claude-fable-5", missing, Adaptive, ""),
            ("claude-3-opus", missing, Unsaid, "dropped=reasoning_effort"),
        ] {
            let (found, _, tokens, report) = planned(model, effort(Effort::Low), Some(4000), obstacles);
            assert_eq!((found, tokens, report.as_str()), (thinking, 4000, lost), "{model}");
        }
    }
}
