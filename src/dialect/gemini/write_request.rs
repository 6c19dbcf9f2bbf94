//! The shared form as a request for a Gemini model. Rules: the project's dialect mapping, sections 2 to 7 and 14.

use std::collections::HashSet;

use super::models::{self, ModelRules};
use super::schema::{OpenApi, to_openapi};
use super::write_config::write_config;
use super::write_contents::write_contents;
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::ir::{CallKind, Content, Raw, Request, Role, Setting, Text, Tool, ToolChoice};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::tool_names::safe_name;
use crate::json::write::{self, Object};

/// Longest name of a function, in bytes.
const TOOL_NAME_LEN_MAX: usize = 128;

/// Appends the body.
///
/// # Errors
/// It says what Gemini cannot, and would mean something else without it.
pub(in crate::dialect) fn write_request(
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Undo, BadRequest> {
    let mut undo = Undo::default();
    write::object(out, |root| write_members(root, request, target, losses, &mut undo))?;
    Ok(undo)
}

/// Writes the members of a request.
pub(super) fn write_members(
    root: &mut Object<'_>,
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    undo: &mut Undo,
) -> Result<(), BadRequest> {
    let rules = models::rules_of(target.name);
    meet_what_is_not_written(request, losses)?;
    write_system(root, request, losses)?;
    write_contents(root, request, target.vendor, &rules, losses, undo)?;
    write_tools(root, request, &rules, losses, undo)?;
    write_tool_choice(root, request, &rules, losses, undo)?;
    write_config(root, request, &rules, losses)?;
    for setting in &request.settings {
        write_setting(root, setting, losses)?;
    }
    Ok(())
}

/// Reports what Gemini has no place for.
fn meet_what_is_not_written(request: &Request<'_>, losses: &mut Losses) -> Result<(), BadRequest> {
    if request.end_user.is_some() {
        losses.meet(Feature::EndUser)?;
    }
    if request.turns.iter().any(|turn| turn.name.is_some()) {
        losses.meet(Feature::ParticipantName)?;
    }
    let marked = request.cache.is_some()
        || request.tools.iter().any(|tool| tool.cache.is_some())
        || request
            .system
            .iter()
            .chain(request.turns.iter().flat_map(|turn| &turn.parts))
            .any(|part| part.cache.is_some());
    if marked {
        losses.meet(Feature::CacheMark)?;
    }
    if request.tools.iter().any(|tool| tool.strict) {
        losses.meet(Feature::ToolStrict)?;
    }
    if request.parallel_tool_calls == Some(false) {
        losses.meet(Feature::ParallelToolCalls)?;
    }
    for name in &request.unknown {
        losses.drop_named(&name.decode().unwrap_or_default())?;
    }
    Ok(())
}

/// Instructions: those before the conversation, then those in the middle of it.
fn write_system(root: &mut Object<'_>, request: &Request<'_>, losses: &mut Losses) -> Result<(), BadRequest> {
    let later = || request.turns.iter().filter(|turn| turn.role == Role::System);
    if later().next().is_some() {
        losses.meet(Feature::SystemPosition)?;
    }
    let mut texts = Vec::new();
    for part in request.system.iter().chain(later().flat_map(|turn| &turn.parts)) {
        match &part.content {
            Content::Text { text, .. } if text.is_empty() => {}
            Content::Text { text, .. } => texts.push(text),
            Content::Unknown(name) => return Err(losses.refuse_part(name)),
            _ => return Err(losses.refuse_part(&Text::from_plain("system"))),
        }
    }
    if !texts.is_empty() {
        root.object("systemInstruction", |system| {
            system.array("parts", |parts| {
                texts.iter().for_each(|text| parts.object(|part| part.text("text", text)));
            });
        });
    }
    Ok(())
}

/// The name under which a function is sent.
pub(super) fn tool_name<'t>(name: &'t Text<'_>, undo: &mut Undo) -> Text<'t> {
    safe_name(name, is_tool_name, TOOL_NAME_LEN_MAX, undo)
}

fn is_tool_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':'))
}

fn write_tools(
    root: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
    undo: &mut Undo,
) -> Result<(), BadRequest> {
    if request.tools.is_empty() && request.web_search.is_none() {
        return Ok(());
    }
    root.array("tools", |tools| {
        if !request.tools.is_empty() {
            tools.object(|tool| {
                tool.array("functionDeclarations", |functions| {
                    sent_tools(request, rules).try_for_each(|tool| {
                        functions.object(|function| write_function(function, tool, rules, losses, undo))
                    })
                })
            })?;
        }
        if let Some(search) = &request.web_search {
            losses.meet(Feature::WebSearch)?;
            if !search.allowed_domains.is_empty() || search.location.is_some() {
                losses.meet(Feature::WebSearchScope)?;
            }
            tools.object(|tool| tool.json("googleSearch", "{}"));
        }
        Ok(())
    })
}

/// The functions to send: where the model knows no choice of several, only those to be chosen from.
fn sent_tools<'r, 'a>(
    request: &'r Request<'a>,
    rules: &ModelRules,
) -> impl Iterator<Item = &'r Tool<'a>> + use<'r, 'a> {
    let chosen = match &request.tool_choice {
        Some(ToolChoice::Allowed { required: false, names }) if !rules.validated => {
            Some(names.iter().map(Text::escaped).collect::<HashSet<_>>())
        }
        _ => None,
    };
    let is_sent =
        move |tool: &&Tool<'_>| chosen.as_ref().is_none_or(|names| names.contains(tool.name.escaped()));
    request.tools.iter().filter(is_sent)
}

fn write_function(
    function: &mut Object<'_>,
    tool: &Tool<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
    undo: &mut Undo,
) -> Result<(), BadRequest> {
    let name = tool_name(&tool.name, undo);
    function.text("name", &name);
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    if tool.kind == CallKind::Custom {
        losses.meet(Feature::CustomTool)?;
        if tool.grammar.is_some() {
            losses.meet(Feature::Grammar)?;
        }
        undo.custom_tools.push(name.decode().unwrap_or_default().into_owned());
        let schema = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;
        return write_schema(
            function,
            ["parametersJsonSchema", "parameters"],
            &Raw::from_written(schema.to_owned()),
            rules,
            losses,
        );
    }
    match &tool.schema {
        Some(schema) => write_schema(function, ["parametersJsonSchema", "parameters"], schema, rules, losses),
        None => Ok(()),
    }
}

/// Writes a schema under the first name, or in the OpenAPI subset under the second one, as the model takes it.
pub(super) fn write_schema(
    object: &mut Object<'_>,
    [json_name, openapi_name]: [&str; 2],
    schema: &Raw<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    if rules.json_schema {
        // Google's servers take no other dialect of JSON Schema than their own.
        without_dialect(schema, object.member(json_name));
        return Ok(());
    }
    let OpenApi { schema, lossy, is_empty } = to_openapi(schema);
    if lossy {
        losses.meet(Feature::SchemaKeywords)?;
    }
    if !(is_empty && openapi_name == "parameters") {
        object.raw(openapi_name, &schema);
    }
    Ok(())
}

/// Appends a schema without its `$schema`.
fn without_dialect(schema: &Raw<'_>, out: &mut Vec<u8>) {
    let json = schema.as_str().as_bytes();
    if memchr::memmem::find(json, b"$schema").is_none() {
        return out.extend_from_slice(json);
    }
    write::object(out, |object| {
        let _ = crate::json::scan::members(json, |key, value| {
            if let Some(name) = Text::from_token(&json[key.span.clone()])
                && !key.is("$schema")
            {
                object.named_member(&name).extend_from_slice(value.raw);
            }
        });
    });
}

/// Without functions there is nothing to choose.
fn write_tool_choice(
    root: &mut Object<'_>,
    request: &Request<'_>,
    rules: &ModelRules,
    losses: &mut Losses,
    undo: &mut Undo,
) -> Result<(), BadRequest> {
    let Some(choice) = request.tool_choice.as_ref().filter(|_| !request.tools.is_empty()) else {
        return Ok(());
    };
    let (mode, names): (_, &[Text<'_>]) = match choice {
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::None => ("NONE", &[]),
        ToolChoice::Required => {
            losses.meet(Feature::ForcedTool)?;
            ("ANY", &[])
        }
        ToolChoice::Named(name) => {
            losses.meet(Feature::ForcedTool)?;
            ("ANY", std::slice::from_ref(name))
        }
        ToolChoice::Allowed { required, names } => {
            losses.meet(Feature::AllowedTools)?;
            match (required, rules.validated) {
                (true, _) => ("ANY", names),
                (false, true) => ("VALIDATED", names),
                // Only those functions were sent.
                (false, false) => ("AUTO", &[]),
            }
        }
    };
    root.object("toolConfig", |config| {
        config.object("functionCallingConfig", |calling| {
            calling.plain("mode", mode);
            if !names.is_empty() {
                calling.array("allowedFunctionNames", |allowed| {
                    names.iter().for_each(|name| allowed.text(&tool_name(name, undo)));
                });
            }
        });
    });
    Ok(())
}

/// Settings that stand at the top; those of `generationConfig` are written there.
fn write_setting(
    root: &mut Object<'_>,
    setting: &Setting<'_>,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    match setting.feature {
        Feature::ServiceTier => {
            let tier = match setting.value.as_str() {
                "\"default\"" => "standard",
                "\"flex\"" => "flex",
                "\"priority\"" | "\"fast\"" => "priority",
                // A hint; the service picks one where it is left out.
                _ => return Ok(()),
            };
            root.plain("serviceTier", tier);
        }
        Feature::CachedContent => root.raw("cachedContent", &setting.value),
        Feature::SafetySettings => root.raw("safetySettings", &setting.value),
        _ => {}
    }
    losses.meet(setting.feature).map(|_| ())
}
