//! The shared form of a request as this dialect takes it.
//!
//! What depends on the model is in [`super::models`]. Rules: the project's dialect mapping, sections 2 to 7 and 14.

use super::marks::Marks;
use super::models::{ModelRules, rules_of};
use super::thinking::{Obstacles, OutputLimit, Plan, Thinking, plan};
use super::tools::{Forced, Toolbox, write_output_config};
use super::write_turns::{Conversation, TurnWriter, is_blank_text};
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::ir::{Raw, Request, Text};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::json::token;
use crate::json::write::{self, Object};

/// Appends the body of a request to the model `target`; what has been done that the answer needs undone.
///
/// # Errors
/// This dialect, or the model, cannot be asked for something without which the answer would mean something else; or
/// something would be lost, and reports are refusals. What was appended is then of no use.
pub(in crate::dialect) fn write_request(
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Undo, BadRequest> {
    let rules = rules_of(target.name);
    let mut undo = Undo::default();
    for name in &request.unknown {
        losses.drop_named(&name.decode().unwrap_or_default())?;
    }
    let toolbox = Toolbox::new(request, &rules, losses)?;
    let mut conversation = Conversation::new(&request.turns, &rules, losses)?;
    let obstacles = Obstacles {
        thoughts_missing: conversation.lacks_thoughts(target.vendor),
        call_forced: toolbox.forced == Forced::Answer,
    };
    let limit = OutputLimit { asked: request.output_tokens_max, default: target.output_tokens_default };
    let plan = plan(request.reasoning, limit, &rules, obstacles, losses)?;
    if toolbox.forced == Forced::Call && matches!(plan.thinking, Thinking::Budget(_)) {
        return Err(losses.refuse(Feature::ForcedTool));
    }
    conversation.drop_thoughts(target.vendor, plan.takes_thoughts(&rules), losses)?;
    if conversation.ends_in_prefill() && !rules.prefill {
        return Err(losses.refuse(Feature::Prefill));
    }
    let in_system = request.system.iter().filter(|part| part.cache.is_some()).count();
    let at_top = usize::from(request.cache.is_some());
    let mut marks = Marks::new(toolbox.marks() + in_system + conversation.marks() + at_top);

    write::object(out, |body| {
        body.plain("model", target.name);
        body.number("max_tokens", plan.max_tokens);
        if request.stream {
            body.boolean("stream", true);
        }
        toolbox.write_tools(body, &rules, &mut marks, &mut undo, losses)?;
        toolbox.write_choice(body, &mut undo);
        let mut turns = TurnWriter::new(losses, &mut undo, marks);
        if !request.system.is_empty() || !conversation.moved.is_empty() {
            let parts = request.system.iter().chain(conversation.moved.iter().copied());
            body.array("system", |blocks| turns.system(blocks, parts))?;
        }
        body.array("messages", |list| turns.messages(list, &conversation))?;
        let mut marks = turns.marks;
        marks.write(body, request.cache, losses)?;
        plan.write(body, request.reasoning.show);
        write_output_config(body, &request.format, plan.effort, &rules, losses)?;
        write_stop(body, &request.stop, losses)?;
        if let Some(user) = &request.end_user {
            body.object("metadata", |metadata| metadata.text("user_id", user));
        }
        write_settings(body, request, &rules, &plan, losses)
    })?;
    Ok(undo)
}

impl Plan {
    /// Whether thoughts of earlier turns are sent back. Models that only think with a budget ignore, or refuse, them
    /// without one; others may think unasked.
    fn takes_thoughts(&self, rules: &ModelRules) -> bool {
        match self.thinking {
            Thinking::Budget(_) | Thinking::Adaptive => true,
            Thinking::Unsaid => rules.thinks_unasked(),
            Thinking::Off => false,
        }
    }
}

/// Writes `stop_sequences`. An empty one never stops anything; Anthropic refuses those of white space.
fn write_stop(body: &mut Object<'_>, stop: &[Text<'_>], losses: &Losses) -> Result<(), BadRequest> {
    let said = || stop.iter().filter(|text| !text.is_empty());
    if said().any(is_blank_text) {
        return Err(losses.refuse(Feature::Stop));
    }
    if said().next().is_some() {
        body.array("stop_sequences", |list| said().for_each(|text| list.text(text)));
    }
    Ok(())
}

fn write_settings(
    body: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    plan: &Plan,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    write_sampling(body, request, rules, plan, losses)?;
    for setting in &request.settings {
        match setting.feature {
            Feature::Temperature | Feature::TopP | Feature::TopK => {}
            Feature::FrequencyPenalty | Feature::PresencePenalty if setting.is_default() => {}
            // Other tiers are hints that this dialect has no word for.
            Feature::ServiceTier => match setting.value.as_str() {
                "\"auto\"" => body.plain("service_tier", "auto"),
                "\"default\"" => body.plain("service_tier", "standard_only"),
                _ => {}
            },
            Feature::Speed => body.raw("speed", &setting.value),
            Feature::Container => body.raw("container", &setting.value),
            Feature::ContextManagement => body.raw("context_management", &setting.value),
            feature => {
                losses.meet(feature)?;
            }
        }
    }
    Ok(())
}

fn write_sampling(
    body: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    plan: &Plan,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let value_of = |feature| {
        let setting = request.settings.iter().find(|setting| setting.feature == feature);
        setting.map(|setting| (&setting.value, number(&setting.value)))
    };
    let has_budget = matches!(plan.thinking, Thinking::Budget(_));
    let mut has_temperature = false;
    match value_of(Feature::Temperature) {
        None => {}
        // One is what it does unasked.
        Some((_, Some(1.0))) if !rules.sampling => {}
        Some((_, value)) if !rules.sampling || (has_budget && value != Some(1.0)) => {
            losses.drop(Feature::Temperature)?;
        }
        Some((_, Some(value))) if value > 1.0 => {
            losses.change(Feature::Temperature)?;
            body.number("temperature", 1);
            has_temperature = true;
        }
        Some((raw, _)) => {
            body.raw("temperature", raw);
            has_temperature = true;
        }
    }
    match value_of(Feature::TopP) {
        None => {}
        Some((_, Some(1.0))) if !rules.sampling || (has_temperature && !rules.both_samplings) => {}
        Some((_, value)) => {
            let fits_budget = value.is_some_and(|value| (0.95..=1.0).contains(&value));
            if !rules.sampling || (has_budget && !fits_budget) || (has_temperature && !rules.both_samplings) {
                losses.drop(Feature::TopP)?;
            } else if let Some((raw, _)) = value_of(Feature::TopP) {
                body.raw("top_p", raw);
            }
        }
    }
    match value_of(Feature::TopK) {
        None => {}
        Some(_) if !rules.sampling || has_budget => losses.drop(Feature::TopK)?,
        // Gemini takes a fraction.
        Some((raw, _)) => match token::count(raw.as_str().as_bytes()) {
            Some(count) => body.number("top_k", count),
            None => body.raw("top_k", raw),
        },
    }
    Ok(())
}

fn number(raw: &Raw<'_>) -> Option<f64> {
    raw.as_str().parse().ok()
}
