//! Writes a request for a server that speaks chat.

use std::collections::BTreeSet;

use super::servers::{self, OPENAI_ONLY, ServerRules};
use super::write_message;
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::ir::{
    CacheMark, CallKind, Content, Format, Request, Role, Setting, Text, Tool, ToolChoice, Vendor,
};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::openai::{self, ModelRules, Sampling};
use crate::dialect::tool_names::safe_name;
use crate::dialect::{Dialect, Effort};
use crate::json::write::{self, Object};

/// Most stop sequences that chat takes.
const STOPS_MAX: usize = 4;
/// Most marks of the prompt cache that OpenAI takes.
const CACHE_MARKS_MAX: usize = 4;

/// What a writer knows while it writes.
pub(super) struct Writing<'w, 't> {
    pub(super) target: &'w TargetModel<'t>,
    pub(super) server: ServerRules,
    pub(super) model: ModelRules,
    pub(super) losses: &'w mut Losses,
    pub(super) undo: Undo,
    cache_marks: usize,
}

impl Writing<'_, '_> {
    /// The name under which a function is sent.
    pub(super) fn tool_name<'n>(&mut self, name: &'n Text<'_>) -> Text<'n> {
        safe_name(name, openai::is_tool_name, openai::TOOL_NAME_LEN_MAX, &mut self.undo)
    }

    /// Whether custom tools have to be functions here.
    pub(super) fn wraps_custom(&self, kind: CallKind) -> bool {
        kind == CallKind::Custom && !self.server.is_openai
    }

    /// The breakpoint to write for a mark: its lifetime, if it has one. `None`: none is written.
    pub(super) fn cache_mark(
        &mut self,
        mark: Option<CacheMark>,
    ) -> Result<Option<Option<&'static str>>, BadRequest> {
        let Some(mark) = mark else { return Ok(None) };
        let taken = self.losses.meet(Feature::CacheMark)? && self.server.is_openai;
        if !taken || !self.model.cache_breakpoint || self.cache_marks == CACHE_MARKS_MAX {
            return Ok(None);
        }
        self.cache_marks += 1;
        let (ttl, changed) = match mark {
            CacheMark::Default => (None, false),
            CacheMark::FiveMinutes => (Some("30m"), true),
            CacheMark::HalfAnHour => (Some("30m"), false),
            CacheMark::OneHour => (Some("12h"), true),
            CacheMark::TwelveHours => (Some("12h"), false),
        };
        if changed {
            self.losses.change(Feature::CacheTtl)?;
        }
        Ok(Some(ttl))
    }
}

/// Writes the body for `target`; what the answer has to be undone of.
///
/// # Errors
/// The request has something that the target cannot carry.
pub(in crate::dialect) fn write_request(
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Undo, BadRequest> {
    let mut writing = Writing {
        target,
        server: servers::rules_of(target),
        model: openai::rules_of(target.name),
        losses,
        undo: Undo::default(),
        cache_marks: 0,
    };
    for name in &request.unknown {
        writing.losses.drop_named(&name.decode().unwrap_or_default())?;
    }
    write::object(out, |body| {
        body.plain("model", target.name);
        // Before the messages: see `safe_name`.
        write_tools(body, request, &mut writing)?;
        body.array("messages", |messages| write_message::write_messages(messages, request, &mut writing))?;
        if request.stream {
            body.boolean("stream", true);
            body.json("stream_options", r#"{"include_usage":true}"#);
        }
        if let Some(tokens) = request.output_tokens_max {
            body.number(target.token_limit_param, tokens);
        }
        write_stop(body, &request.stop, &mut writing)?;
        write_reasoning(body, request, &mut writing)?;
        write_settings(body, request, &mut writing)?;
        write_format(body, &request.format, &mut writing)
    })?;
    if request.cache.is_some() {
        // OpenAI caches the front of a prompt by itself.
        writing.losses.meet(Feature::CacheMark)?;
    }
    let is_prefill = request.turns.last().is_some_and(|turn| {
        turn.role == Role::Assistant
            && !turn.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)))
    });
    if is_prefill {
        writing.losses.meet(Feature::Prefill)?;
    }
    Ok(writing.undo)
}

fn write_stop(
    body: &mut Object<'_>,
    stop: &[Text<'_>],
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if stop.is_empty() {
        return Ok(());
    }
    writing.losses.meet(Feature::Stop)?;
    if stop.len() > STOPS_MAX || (writing.server.is_openai && !writing.model.stop) {
        return Err(writing.losses.refuse(Feature::Stop));
    }
    body.array("stop", |list| stop.iter().for_each(|text| list.text(text)));
    Ok(())
}

fn write_reasoning(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if request.reasoning.show.is_some() {
        writing.losses.meet(Feature::ThinkingShown)?;
    }
    // OpenAI's models that do not reason refuse the parameter; of other servers those that show thoughts have it.
    let taken = match writing.server.is_openai {
        true => writing.model.reasons || !openai::is_known_model(writing.target.name),
        false => writing.target.reasoning_field.is_some() || writing.target.vendor == Vendor::Google,
    };
    let effort = match (request.reasoning.effort, request.reasoning.budget_tokens) {
        (None, None) => return Ok(()),
        (Some(effort), None) => effort,
        // A model that does not reason is as good as told not to.
        (_, Some(0)) if !taken => return Ok(()),
        (effort, Some(tokens)) => {
            if taken {
                writing.losses.meet(Feature::ThinkingBudget)?;
            }
            effort.unwrap_or(Effort::of_budget(tokens))
        }
    };
    writing.losses.meet(Feature::Effort)?;
    match taken {
        true => {
            let nearest =
                if writing.server.is_openai { writing.model.efforts.nearest(effort) } else { effort };
            if nearest != effort {
                writing.losses.change(request.reasoning.feature())?;
            }
            body.plain("reasoning_effort", nearest.as_str());
        }
        false if effort == Effort::None => {}
        false => writing.losses.drop(Feature::Effort)?,
    }
    Ok(())
}

/// Whether the model takes sampling parameters, with the effort that is asked for.
fn takes_sampling(request: &Request<'_>, writing: &Writing<'_, '_>) -> bool {
    let effort = request.reasoning.effort;
    let is_off = effort == Some(Effort::None) || request.reasoning.budget_tokens == Some(0);
    match writing.model.sampling {
        _ if !writing.server.is_openai => true,
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
    match (&request.end_user, writing.server.end_user) {
        (None, _) => {}
        (Some(_), None) => writing.losses.drop(Feature::EndUser)?,
        (Some(user), Some(name)) => {
            writing.losses.meet(Feature::EndUser)?;
            if writing.server.is_openai {
                let (user, is_hash) = openai::safety_identifier(user);
                if is_hash {
                    writing.losses.change(Feature::EndUser)?;
                }
                body.text(name, &user);
            } else {
                body.text(name, user);
            }
        }
    }
    for setting in &request.settings {
        if OPENAI_ONLY.contains(&setting.feature) && !writing.server.is_openai {
            if is_meant(setting.feature) {
                writing.losses.drop(setting.feature)?;
            }
            continue;
        }
        if writing.losses.meet(setting.feature)? {
            write_setting(body, setting, request, writing)?;
        }
    }
    Ok(())
}

/// Whether a setting of [`OPENAI_ONLY`] changes what the answer says, or who reads it: leaving it out is reported.
fn is_meant(feature: Feature) -> bool {
    matches!(feature, Feature::Verbosity | Feature::Metadata | Feature::Moderation)
}

fn write_setting(
    body: &mut Object<'_>,
    setting: &Setting<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let Setting { feature, value } = setting;
    match feature {
        Feature::Temperature | Feature::TopP | Feature::FrequencyPenalty | Feature::PresencePenalty
            if !takes_sampling(request, writing) =>
        {
            if !setting.is_default() {
                writing.losses.drop(*feature)?;
            }
        }
        Feature::Logprobs => {
            body.boolean("logprobs", true);
            if value.as_str() != "0" {
                body.raw("top_logprobs", value);
            }
        }
        Feature::Seed => body.raw(writing.server.seed, value),
        Feature::ServiceTier => {
            let tier = Text::from_token(value.as_str().as_bytes()).unwrap_or_default();
            if openai::takes_service_tier(Dialect::OpenAiChat, tier.escaped()) {
                body.raw("service_tier", value);
            }
        }
        feature => body.raw(feature.row().name, value),
    }
    Ok(())
}

fn write_tools(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if let Some(search) = &request.web_search
        && writing.losses.meet(Feature::WebSearch)?
    {
        if !search.allowed_domains.is_empty() {
            writing.losses.drop_named("web_search.allowed_domains")?;
        }
        body.object("web_search_options", |options| {
            if let Some(location) = &search.location {
                options.object("user_location", |place| {
                    place.plain("type", "approximate");
                    place.raw("approximate", location);
                });
            }
        });
    }
    // Servers other than OpenAI's know no choice of several tools: they get those alone.
    let only = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) if !writing.server.is_openai => {
            Some(names.iter().map(Text::escaped).collect::<BTreeSet<_>>())
        }
        _ => None,
    };
    let is_sent = |tool: &&Tool<'_>| only.as_ref().is_none_or(|only| only.contains(tool.name.escaped()));
    let tools: Vec<&Tool<'_>> = request.tools.iter().filter(is_sent).collect();
    if tools.is_empty() {
        return Ok(());
    }
    body.array("tools", |list| {
        tools.iter().try_for_each(|tool| list.object(|member| write_tool(member, tool, writing)))
    })?;
    if let Some(choice) = &request.tool_choice {
        let custom = tools.iter().filter(|tool| tool.kind == CallKind::Custom && writing.server.is_openai);
        let custom = custom.map(|tool| tool.name.escaped()).collect();
        write_tool_choice(body, choice, &custom, writing)?;
    }
    if let Some(parallel) = request.parallel_tool_calls
        && writing.losses.meet(Feature::ParallelToolCalls)?
    {
        body.boolean("parallel_tool_calls", parallel);
    }
    Ok(())
}

fn write_tool(
    member: &mut Object<'_>,
    tool: &Tool<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    let name = writing.tool_name(&tool.name);
    if tool.cache.is_some() {
        // Breakpoints stand on parts of messages alone.
        writing.losses.meet(Feature::CacheMark)?;
    }
    if tool.kind == CallKind::Custom {
        writing.losses.meet(Feature::CustomTool)?;
        return write_custom(member, tool, &name, writing);
    }
    let schema = tool.schema.as_ref();
    let fits = schema.is_some_and(openai::strict_fits);
    if tool.strict {
        writing.losses.meet(Feature::ToolStrict)?;
        if !fits {
            writing.losses.change(Feature::ToolStrict)?;
        }
    }
    member.plain("type", "function");
    member.object("function", |function| {
        function.text("name", &name);
        if let Some(description) = &tool.description {
            function.text("description", description);
        }
        if let Some(schema) = schema {
            function.raw("parameters", schema);
        }
        if tool.strict && fits {
            function.boolean("strict", true);
        }
    });
    Ok(())
}

fn write_custom(
    member: &mut Object<'_>,
    tool: &Tool<'_>,
    name: &Text<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if writing.wraps_custom(tool.kind) {
        writing.losses.change(Feature::CustomTool)?;
        if tool.grammar.is_some() {
            writing.losses.drop(Feature::Grammar)?;
        }
        writing.undo.custom_tools.push(name.decode().unwrap_or_default().into_owned());
        member.plain("type", "function");
        member.object("function", |function| {
            function.text("name", name);
            if let Some(description) = &tool.description {
                function.text("description", description);
            }
            function.json(
                "parameters",
                r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#,
            );
        });
        return Ok(());
    }
    let grammar = match &tool.grammar {
        Some(grammar) if writing.losses.meet(Feature::Grammar)? => Some(grammar),
        _ => None,
    };
    member.plain("type", "custom");
    member.object("custom", |custom| {
        custom.text("name", name);
        if let Some(description) = &tool.description {
            custom.text("description", description);
        }
        if let Some(grammar) = grammar {
            custom.object("format", |format| {
                format.plain("type", "grammar");
                format.raw("grammar", grammar);
            });
        }
    });
    Ok(())
}

fn write_tool_choice(
    body: &mut Object<'_>,
    choice: &ToolChoice<'_>,
    custom: &BTreeSet<&str>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    match choice {
        ToolChoice::Auto => body.plain("tool_choice", "auto"),
        ToolChoice::None => body.plain("tool_choice", "none"),
        ToolChoice::Required => {
            writing.losses.meet(Feature::ForcedTool)?;
            body.plain("tool_choice", "required");
        }
        ToolChoice::Named(name) => {
            writing.losses.meet(Feature::ForcedTool)?;
            body.object("tool_choice", |choice| write_named(choice, name, custom, writing));
        }
        ToolChoice::Allowed { required, names: _ } if !writing.server.is_openai => {
            writing.losses.change(Feature::AllowedTools)?;
            body.plain("tool_choice", if *required { "required" } else { "auto" });
        }
        ToolChoice::Allowed { required, names } => {
            writing.losses.meet(Feature::AllowedTools)?;
            body.object("tool_choice", |choice| {
                choice.plain("type", "allowed_tools");
                choice.object("allowed_tools", |allowed| {
                    allowed.plain("mode", if *required { "required" } else { "auto" });
                    allowed.array("tools", |list| {
                        let names = names.iter();
                        names.for_each(|name| list.object(|tool| write_named(tool, name, custom, writing)));
                    });
                });
            });
        }
    }
    Ok(())
}

/// `type` and the name below it; `custom` are the tools that are sent as such.
fn write_named(
    object: &mut Object<'_>,
    name: &Text<'_>,
    custom: &BTreeSet<&str>,
    writing: &mut Writing<'_, '_>,
) {
    let word = if custom.contains(name.escaped()) { "custom" } else { "function" };
    let name = writing.tool_name(name);
    object.plain("type", word);
    object.object(word, |named| named.text("name", &name));
}

fn write_format(
    body: &mut Object<'_>,
    format: &Format<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    match format {
        Format::Text => {}
        Format::Json => {
            writing.losses.meet(Feature::JsonObject)?;
            body.json("response_format", r#"{"type":"json_object"}"#);
        }
        Format::Schema { name, description, schema, strict } => {
            writing.losses.meet(Feature::JsonSchema)?;
            let fits = openai::strict_fits(schema);
            if *strict && !fits {
                writing.losses.change(Feature::FormatStrict)?;
            }
            body.object("response_format", |format| {
                format.plain("type", "json_schema");
                format.object("json_schema", |named| {
                    named.plain("name", &openai::format_name(name.as_ref()));
                    if let Some(description) = description {
                        named.text("description", description);
                    }
                    named.raw("schema", schema);
                    named.boolean("strict", *strict && fits);
                });
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "write_request_tests.rs"]
mod tests;
