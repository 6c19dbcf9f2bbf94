//! A request for a provider of this dialect: its members but for the conversation and the tools, which have files of
//! their own.

use super::write_input::{write_input, write_instructions};
use super::write_tools::write_tools;
use crate::dialect::Dialect;
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::effort::Effort;
use crate::dialect::ir::{CacheMark, Content, Format, Request, Role, Setting, SummaryWish, Text, Vendor};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::openai::{self, ModelRules, Sampling};
use crate::dialect::tool_names::safe_name;
use crate::json::write::{self, Object};

/// Least `max_output_tokens` that OpenAI takes. Source: its refusal, "Expected a value >= 16".
const OUTPUT_TOKENS_MIN: u64 = 16;
/// Most marks of the prompt cache that OpenAI takes.
const CACHE_MARKS_MAX: usize = 4;

/// What a writer knows while it writes.
pub(super) struct Writing<'w, 't> {
    pub(super) target: &'w TargetModel<'t>,
    pub(super) model: ModelRules,
    pub(super) losses: &'w mut Losses,
    pub(super) undo: Undo,
    cache_marks: usize,
}

impl Writing<'_, '_> {
    /// Whether the provider is OpenAI or Azure, whose rules of models are known.
    pub(super) fn is_openai(&self) -> bool {
        self.target.vendor == Vendor::OpenAi
    }

    /// The name under which a function is sent.
    pub(super) fn tool_name<'n>(&mut self, name: &'n Text<'_>) -> Text<'n> {
        safe_name(name, openai::is_tool_name, openai::TOOL_NAME_LEN_MAX, &mut self.undo)
    }

    /// Whether marks of the prompt cache are written.
    pub(super) fn takes_marks(&self) -> bool {
        self.is_openai() && self.model.cache_breakpoint
    }

    /// Writes the mark of a part, if it has one and the model takes it.
    pub(super) fn mark(&mut self, part: &mut Object<'_>, mark: Option<CacheMark>) -> Result<(), BadRequest> {
        let Some(mark) = mark else { return Ok(()) };
        self.losses.meet(Feature::CacheMark)?;
        if !self.takes_marks() || self.cache_marks == CACHE_MARKS_MAX {
            return Ok(());
        }
        self.cache_marks += 1;
        let (ttl, is_other) = match mark {
            CacheMark::Default => (None, false),
            CacheMark::FiveMinutes => (Some("30m"), true),
            CacheMark::HalfAnHour => (Some("30m"), false),
            CacheMark::OneHour => (Some("12h"), true),
            CacheMark::TwelveHours => (Some("12h"), false),
        };
        if is_other {
            self.losses.change(Feature::CacheTtl)?;
        }
        part.object("prompt_cache_breakpoint", |mark| {
            mark.plain("mode", "explicit");
            if let Some(ttl) = ttl {
                mark.plain("ttl", ttl);
            }
        });
        Ok(())
    }
}

/// Appends the body of the request for `target`; what has to be undone in the answer.
///
/// # Errors
/// The request has something that this dialect cannot say.
pub(in crate::dialect) fn write_request(
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Undo, BadRequest> {
    let model = openai::rules_of(target.name);
    let mut writing = Writing { target, model, losses, undo: Undo::default(), cache_marks: 0 };
    report(request, &mut writing)?;
    write::object(out, |body| {
        body.plain("model", target.name);
        write_instructions(body, request, &writing);
        body.array("input", |items| write_input(items, request, &mut writing))?;
        if request.stream {
            body.boolean("stream", true);
        }
        if let Some(tokens) = request.output_tokens_max {
            let least = if writing.is_openai() { OUTPUT_TOKENS_MIN } else { 0 };
            if tokens < least {
                writing.losses.change(Feature::OutputLimit)?;
            }
            body.number("max_output_tokens", tokens.max(least));
        }
        write_reasoning(body, request, &mut writing)?;
        write_text(body, request, &mut writing)?;
        write_settings(body, request, &mut writing)?;
        write_end_user(body, request, &mut writing)?;
        let has_tools = !request.tools.is_empty() || request.web_search.is_some();
        if has_tools {
            write_tools(body, request, &mut writing)?;
        }
        write_include(body, request, &mut writing);
        Ok(())
    })?;
    Ok(writing.undo)
}

/// Reports what has no place in this dialect.
fn report(request: &Request<'_>, writing: &mut Writing<'_, '_>) -> Result<(), BadRequest> {
    let losses = &mut *writing.losses;
    for name in &request.unknown {
        losses.drop_named(&name.decode().unwrap_or_default())?;
    }
    if !request.stop.is_empty() {
        losses.meet(Feature::Stop)?;
    }
    if request.cache.is_some() {
        // OpenAI caches the front of a prompt by itself.
        losses.meet(Feature::CacheMark)?;
    }
    let is_said = |content: &Content<'_>| !matches!(content, Content::ToolCall(_) | Content::Thinking { .. });
    let last = request.turns.last().filter(|turn| turn.role == Role::Assistant);
    if last.and_then(|turn| turn.parts.last()).is_some_and(|part| is_said(&part.content)) {
        losses.meet(Feature::Prefill)?;
    }
    Ok(())
}

fn write_reasoning(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let wish = request.reasoning;
    // A deployment may have any name: only of models that are known to think not is it held back.
    let is_taken =
        !writing.is_openai() || writing.model.reasons || !openai::is_known_model(writing.target.name);
    let effort = wish.effort.or(wish.budget_tokens.map(Effort::of_budget));
    if !is_taken {
        if effort.is_some_and(|effort| effort != Effort::None) {
            writing.losses.drop(Feature::Effort)?;
        }
        return Ok(());
    }
    if wish.effort.is_some() {
        writing.losses.meet(Feature::Effort)?;
    } else if wish.budget_tokens.is_some_and(|tokens| tokens > 0) {
        writing.losses.meet(Feature::ThinkingBudget)?;
    }
    let summary = match wish.show {
        Some(_) if !writing.losses.meet(Feature::ThinkingShown)? => None,
        Some(SummaryWish::Auto) => Some("auto"),
        Some(SummaryWish::Concise) => Some("concise"),
        Some(SummaryWish::Detailed) => Some("detailed"),
        Some(SummaryWish::Hidden) | None => None,
    };
    let effort = match effort {
        Some(wish) if writing.is_openai() => {
            let nearest = writing.model.efforts.nearest(wish);
            if nearest != wish {
                writing.losses.change(request.reasoning.feature())?;
            }
            Some(nearest)
        }
        effort => effort,
    };
    if effort.is_some() || summary.is_some() {
        body.object("reasoning", |reasoning| {
            if let Some(effort) = effort {
                reasoning.plain("effort", effort.as_str());
            }
            if let Some(summary) = summary {
                reasoning.plain("summary", summary);
            }
        });
    }
    Ok(())
}

/// `text`: the answer's form and how wordy it is.
fn write_text(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let verbosity = request.settings.iter().find(|setting| setting.feature == Feature::Verbosity);
    let verbosity = match verbosity {
        Some(setting) if writing.losses.meet(Feature::Verbosity)? => Some(&setting.value),
        _ => None,
    };
    if request.format == Format::Text && verbosity.is_none() {
        return Ok(());
    }
    body.object("text", |text| {
        if let Some(verbosity) = verbosity {
            text.raw("verbosity", verbosity);
        }
        match &request.format {
            Format::Text => Ok(()),
            Format::Json => {
                writing.losses.meet(Feature::JsonObject)?;
                text.json("format", r#"{"type":"json_object"}"#);
                Ok(())
            }
            Format::Schema { name, description, schema, strict } => {
                writing.losses.meet(Feature::JsonSchema)?;
                let fits = openai::strict_fits(schema);
                if *strict && !fits {
                    writing.losses.change(Feature::FormatStrict)?;
                }
                text.object("format", |format| {
                    format.plain("type", "json_schema");
                    format.plain("name", &openai::format_name(name.as_ref()));
                    if let Some(description) = description {
                        format.text("description", description);
                    }
                    format.raw("schema", schema);
                    format.boolean("strict", *strict && fits);
                });
                Ok(())
            }
        }
    })
}

/// Whether the model takes sampling parameters, thinking as much as it is asked to.
fn takes_sampling(request: &Request<'_>, writing: &Writing<'_, '_>) -> bool {
    let wish = request.reasoning;
    let is_off = wish.effort.or(wish.budget_tokens.map(Effort::of_budget)) == Some(Effort::None);
    match writing.model.sampling {
        _ if !writing.is_openai() => true,
        Sampling::Taken => true,
        Sampling::WithoutReasoning => is_off,
        Sampling::Refused => false,
    }
}

fn write_settings(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let mut is_store_set = false;
    for setting in &request.settings {
        let Setting { feature, value } = setting;
        match feature {
            // Named in the refusal.
            Feature::BuiltInTool => {
                let name = Text::from_token(value.as_str().as_bytes()).unwrap_or_default();
                return Err(writing.losses.refuse_part(&name));
            }
            Feature::FrequencyPenalty | Feature::PresencePenalty if setting.is_default() => {}
            Feature::Temperature | Feature::TopP if !takes_sampling(request, writing) => {
                if !setting.is_default() {
                    writing.losses.drop(*feature)?;
                }
            }
            // Written beside the format.
            Feature::Verbosity => {}
            Feature::ServiceTier => {
                let tier = Text::from_token(value.as_str().as_bytes()).unwrap_or_default();
                if openai::takes_service_tier(Dialect::OpenAiResponses, tier.escaped()) {
                    body.raw("service_tier", value);
                }
            }
            feature if !writing.losses.meet(*feature)? => {}
            Feature::Logprobs => body.raw("top_logprobs", value),
            Feature::Store => {
                is_store_set = true;
                body.raw("store", value);
            }
            feature => body.raw(feature.row().name, value),
        }
    }
    if !is_store_set {
        // Absent would mean that the provider keeps what the client of another dialect did not ask it to keep.
        body.boolean("store", false);
    }
    Ok(())
}

fn write_end_user(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let Some(user) = &request.end_user else { return Ok(()) };
    if !writing.losses.meet(Feature::EndUser)? {
        return Ok(());
    }
    if !writing.is_openai() {
        body.text("user", user);
        return Ok(());
    }
    let (user, is_other) = openai::safety_identifier(user);
    if is_other {
        writing.losses.change(Feature::EndUser)?;
    }
    body.text("safety_identifier", &user);
    Ok(())
}

/// Asks for what is not given unasked.
fn write_include(body: &mut Object<'_>, request: &Request<'_>, writing: &mut Writing<'_, '_>) {
    let logprobs = request.settings.iter().any(|setting| setting.feature == Feature::Logprobs);
    // Models that do not think refuse to be asked for it.
    let proofs = writing.is_openai() && writing.model.reasons;
    if logprobs || proofs {
        body.array("include", |include| {
            if proofs {
                include.plain("reasoning.encrypted_content");
            }
            if logprobs {
                include.plain("message.output_text.logprobs");
            }
        });
    }
}

#[cfg(test)]
#[path = "write_request_tests.rs"]
mod tests;
