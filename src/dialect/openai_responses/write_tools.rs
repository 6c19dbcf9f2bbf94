//! The tools of a request and which of them may be used.

use std::collections::HashSet;

use super::write_request::Writing;
use crate::dialect::ir::{CallKind, Raw, Request, Text, Tool, ToolChoice, WebSearch};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::openai;
use crate::json::scan;
use crate::json::write::{Array, Object};

/// The schema of a function without input, which strict mode takes too.
const NO_INPUT: &str = r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#;

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`.
///
/// # Errors
/// The table of losses refuses one of them.
pub(super) fn write_tools(
    body: &mut Object<'_>,
    request: &Request<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    body.array("tools", |tools| {
        for tool in &request.tools {
            tools.object(|member| write_tool(member, tool, writing))?;
        }
        match &request.web_search {
            Some(search) => write_web_search(tools, search, writing),
            None => Ok(()),
        }
    })?;
    if let Some(choice) = &request.tool_choice {
        let customs = request.tools.iter().filter(|tool| tool.kind == CallKind::Custom);
        let customs = customs.map(|tool| tool.name.escaped()).collect();
        write_tool_choice(body, choice, &customs, writing)?;
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
        // Marks stand on parts of messages alone.
        writing.losses.meet(Feature::CacheMark)?;
    }
    let is_custom = tool.kind == CallKind::Custom;
    member.plain("type", if is_custom { "custom" } else { "function" });
    member.text("name", &name);
    if let Some(description) = &tool.description {
        member.text("description", description);
    }
    if is_custom {
        writing.losses.meet(Feature::CustomTool)?;
        return write_grammar(member, tool, writing);
    }
    let schema = parameters(tool);
    let fits = openai::strict_fits(&schema);
    if tool.strict {
        writing.losses.meet(Feature::ToolStrict)?;
        if !fits {
            writing.losses.change(Feature::ToolStrict)?;
        }
    }
    member.raw("parameters", &schema);
    // Absent would mean on.
    member.boolean("strict", tool.strict && fits);
    Ok(())
}

fn write_grammar(
    member: &mut Object<'_>,
    tool: &Tool<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if let Some(grammar) = &tool.grammar
        && writing.losses.meet(Feature::Grammar)?
    {
        member.object("format", |format| {
            format.plain("type", "grammar");
            for name in ["syntax", "definition"] {
                let value = scan::member(grammar.as_str().as_bytes(), name);
                if let Some(value) = value.and_then(|value| Raw::from_scanned(value.raw)) {
                    format.raw(name, &value);
                }
            }
        });
    }
    Ok(())
}

/// The schema of a function's input. An object without `properties` gets none of them: OpenAI refuses it without.
fn parameters<'t>(tool: &'t Tool<'_>) -> Raw<'t> {
    let Some(schema) = &tool.schema else { return Raw::from_written(NO_INPUT.to_owned()) };
    let json = schema.as_str();
    let member = |name: &str| scan::member(json.as_bytes(), name);
    let is_object = member("type").is_some_and(|kind| kind.plain_string() == Some(b"object"));
    if is_object && member("properties").is_none() {
        let rest = json.trim_start().trim_start_matches('{');
        return Raw::from_written(format!("{{\"properties\":{{}},{rest}"));
    }
    if json.trim() == "{}" { Raw::from_written(NO_INPUT.to_owned()) } else { Raw::from(schema) }
}

fn write_web_search(
    tools: &mut Array<'_>,
    search: &WebSearch<'_>,
    writing: &mut Writing<'_, '_>,
) -> Result<(), BadRequest> {
    if !writing.losses.meet(Feature::WebSearch)? {
        return Ok(());
    }
    tools.object(|tool| {
        tool.plain("type", "web_search");
        if !search.allowed_domains.is_empty() {
            tool.object("filters", |filters| {
                filters.array("allowed_domains", |domains| {
                    search.allowed_domains.iter().for_each(|domain| domains.text(domain));
                });
            });
        }
        if let Some(location) = &search.location {
            tool.object("user_location", |place| {
                place.plain("type", "approximate");
                for name in ["city", "region", "country", "timezone"] {
                    let value = scan::member(location.as_str().as_bytes(), name);
                    if let Some(value) = value.and_then(|value| Raw::from_scanned(value.raw)) {
                        place.raw(name, &value);
                    }
                }
            });
        }
    });
    Ok(())
}

fn write_tool_choice(
    body: &mut Object<'_>,
    choice: &ToolChoice<'_>,
    customs: &HashSet<&str>,
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
            body.object("tool_choice", |choice| write_named(choice, name, customs, writing));
        }
        ToolChoice::Allowed { required, names } => {
            writing.losses.meet(Feature::AllowedTools)?;
            body.object("tool_choice", |choice| {
                choice.plain("type", "allowed_tools");
                choice.plain("mode", if *required { "required" } else { "auto" });
                choice.array("tools", |list| {
                    for name in names {
                        list.object(|tool| write_named(tool, name, customs, writing));
                    }
                });
            });
        }
    }
    Ok(())
}

/// `type` and `name` of a tool.
fn write_named(
    object: &mut Object<'_>,
    name: &Text<'_>,
    customs: &HashSet<&str>,
    writing: &mut Writing<'_, '_>,
) {
    let is_custom = customs.contains(name.escaped());
    let name = writing.tool_name(name);
    object.plain("type", if is_custom { "custom" } else { "function" });
    object.text("name", &name);
}
