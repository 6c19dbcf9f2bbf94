//! Reads what a chat client offers to call and in which form it wants the answer.

use super::read_message::cache_mark;
use super::read_request::Unknown;
use crate::dialect::ir::{CallKind, Format, Raw, Text, Tool, ToolChoice};
use crate::dialect::loss::BadRequest;
use crate::dialect::members::{Path, array, boolean, object, raw_object, text};
use crate::json::token::{Kind, Value};

/// Reads `tools`.
///
/// # Errors
/// Wrong types, missing members, a tool that is built in at one provider.
pub(super) fn read_tools<'a>(
    tools: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<Vec<Tool<'a>>, BadRequest> {
    let mut read = Vec::new();
    array(tools, path, |tool, path| {
        let names = ["type", "function", "custom", "cache_control"];
        // What a built-in tool has beside its type is of no interest.
        let [kind, function, custom, cache] = object(&tool, path, names, |_, _| Ok(()))?;
        let kind_path = Path::Member(path, "type");
        let kind = kind.map(|kind| text(&kind, &kind_path)).transpose()?;
        let mut tool = match kind.as_ref().map(Text::escaped) {
            None | Some("function") => {
                let path = Path::Member(path, "function");
                let function = function.ok_or_else(|| path.bad("is required"))?;
                read_function(&function, &path, unknown)?
            }
            Some("custom") => {
                let path = Path::Member(path, "custom");
                let custom = custom.ok_or_else(|| path.bad("is required"))?;
                read_custom(&custom, &path, unknown)?
            }
            Some(name) => {
                return Err(kind_path.bad(format!(
                    "`{}` is built in at one provider and cannot be carried to the selected model",
                    name.chars().take(64).collect::<String>()
                )));
            }
        };
        tool.cache = cache.map(|mark| cache_mark(&mark, &Path::Member(path, "cache_control"))).transpose()?;
        read.push(tool);
        Ok(())
    })?;
    Ok(read)
}

/// Reads the legacy `functions`.
///
/// # Errors
/// Wrong types, missing members.
pub(super) fn read_functions<'a>(
    functions: &Value<'a>,
    path: &Path<'_>,
) -> Result<Vec<Tool<'a>>, BadRequest> {
    let mut read = Vec::new();
    let mut unknown = Unknown::default();
    array(functions, path, |function, path| {
        read.push(read_function(&function, path, &mut unknown)?);
        Ok(())
    })?;
    Ok(read)
}

fn read_function<'a>(
    function: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<Tool<'a>, BadRequest> {
    let names = ["name", "description", "parameters", "strict"];
    let [name, description, schema, strict] = object(function, path, names, |name, _| {
        unknown.note("tools[].function.", name);
        Ok(())
    })?;
    let schema = schema.map(|schema| raw_object(&schema, &Path::Member(path, "parameters"))).transpose()?;
    let strict = strict.map(|strict| boolean(&strict, &Path::Member(path, "strict"))).transpose()?;
    Ok(Tool {
        name: required_text(name, &Path::Member(path, "name"))?,
        description: optional_text(description, &Path::Member(path, "description"))?,
        schema,
        strict: strict.unwrap_or(false),
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    })
}

fn read_custom<'a>(
    custom: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<Tool<'a>, BadRequest> {
    let names = ["name", "description", "format"];
    let [name, description, format] = object(custom, path, names, |name, _| {
        unknown.note("tools[].custom.", name);
        Ok(())
    })?;
    let grammar = match format {
        Some(format) => read_grammar(&format, &Path::Member(path, "format"))?,
        None => None,
    };
    Ok(Tool {
        name: required_text(name, &Path::Member(path, "name"))?,
        description: optional_text(description, &Path::Member(path, "description"))?,
        schema: None,
        strict: false,
        kind: CallKind::Custom,
        grammar,
        cache: None,
    })
}

/// `{"type":"text"}`, or `{"type":"grammar","grammar":{"syntax","definition"}}`.
fn read_grammar<'a>(format: &Value<'a>, path: &Path<'_>) -> Result<Option<Raw<'a>>, BadRequest> {
    let [kind, grammar] = object(format, path, ["type", "grammar"], |_, _| Ok(()))?;
    let kind_path = Path::Member(path, "type");
    match required_text(kind, &kind_path)?.escaped() {
        "text" => Ok(None),
        "grammar" => {
            let path = Path::Member(path, "grammar");
            let grammar = grammar.ok_or_else(|| path.bad("is required"))?;
            raw_object(&grammar, &path).map(Some)
        }
        _ => Err(kind_path.bad("must be text or grammar")),
    }
}

/// Reads `tool_choice`.
///
/// # Errors
/// Wrong types, unknown choices.
pub(super) fn read_tool_choice<'a>(
    choice: &Value<'a>,
    path: &Path<'_>,
) -> Result<ToolChoice<'a>, BadRequest> {
    if choice.kind == Kind::String {
        return match text(choice, path)?.escaped() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            // Mistral's word for it is `any`.
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(path.bad("must be none, auto, required or an object")),
        };
    }
    let names = ["type", "function", "custom", "allowed_tools"];
    let [kind, function, custom, allowed] = object(choice, path, names, |_, _| Ok(()))?;
    let kind_path = Path::Member(path, "type");
    match required_text(kind, &kind_path)?.escaped() {
        "function" => read_name(function, &Path::Member(path, "function")).map(ToolChoice::Named),
        "custom" => read_name(custom, &Path::Member(path, "custom")).map(ToolChoice::Named),
        "allowed_tools" => read_allowed(allowed, &Path::Member(path, "allowed_tools")),
        _ => Err(kind_path.bad("must be function, custom or allowed_tools")),
    }
}

fn read_allowed<'a>(allowed: Option<Value<'a>>, path: &Path<'_>) -> Result<ToolChoice<'a>, BadRequest> {
    let allowed = allowed.ok_or_else(|| path.bad("is required"))?;
    let [mode, tools] = object(&allowed, path, ["mode", "tools"], |_, _| Ok(()))?;
    let mode_path = Path::Member(path, "mode");
    let required = match required_text(mode, &mode_path)?.escaped() {
        "auto" => false,
        "required" => true,
        _ => return Err(mode_path.bad("must be auto or required")),
    };
    let tools_path = Path::Member(path, "tools");
    let tools = tools.ok_or_else(|| tools_path.bad("is required"))?;
    let mut named = Vec::new();
    array(&tools, &tools_path, |tool, path| {
        let [function, custom] = object(&tool, path, ["function", "custom"], |_, _| Ok(()))?;
        named.push(match custom {
            Some(custom) => read_name(Some(custom), &Path::Member(path, "custom"))?,
            None => read_name(function, &Path::Member(path, "function"))?,
        });
        Ok(())
    })?;
    Ok(ToolChoice::Allowed { required, names: named })
}

/// Reads the legacy `function_call`.
///
/// # Errors
/// Wrong types, unknown choices.
pub(super) fn read_function_call<'a>(
    choice: &Value<'a>,
    path: &Path<'_>,
) -> Result<ToolChoice<'a>, BadRequest> {
    if choice.kind != Kind::String {
        return read_name(Some(choice.clone()), path).map(ToolChoice::Named);
    }
    match text(choice, path)?.escaped() {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        _ => Err(path.bad("must be none, auto or an object")),
    }
}

/// `{"name": …}`.
fn read_name<'a>(value: Option<Value<'a>>, path: &Path<'_>) -> Result<Text<'a>, BadRequest> {
    let value = value.ok_or_else(|| path.bad("is required"))?;
    let [name] = object(&value, path, ["name"], |_, _| Ok(()))?;
    required_text(name, &Path::Member(path, "name"))
}

/// Reads `response_format`.
///
/// # Errors
/// Wrong types, unknown formats.
pub(super) fn read_format<'a>(format: &Value<'a>, path: &Path<'_>) -> Result<Format<'a>, BadRequest> {
    let [kind, schema] = object(format, path, ["type", "json_schema"], |_, _| Ok(()))?;
    let kind_path = Path::Member(path, "type");
    match required_text(kind, &kind_path)?.escaped() {
        "text" => return Ok(Format::Text),
        "json_object" => return Ok(Format::Json),
        "json_schema" => {}
        _ => return Err(kind_path.bad("must be text, json_object or json_schema")),
    }
    let path = Path::Member(path, "json_schema");
    let named = schema.ok_or_else(|| path.bad("is required"))?;
    let names = ["name", "description", "schema", "strict"];
    let [name, description, schema, strict] = object(&named, &path, names, |_, _| Ok(()))?;
    let Some(schema) = schema else { return Ok(Format::Json) };
    let strict = strict.map(|strict| boolean(&strict, &Path::Member(&path, "strict"))).transpose()?;
    Ok(Format::Schema {
        name: optional_text(name, &Path::Member(&path, "name"))?,
        description: optional_text(description, &Path::Member(&path, "description"))?,
        schema: raw_object(&schema, &Path::Member(&path, "schema"))?,
        strict: strict.unwrap_or(false),
    })
}

fn optional_text<'a>(value: Option<Value<'a>>, path: &Path<'_>) -> Result<Option<Text<'a>>, BadRequest> {
    value.map(|value| text(&value, path)).transpose()
}

fn required_text<'a>(value: Option<Value<'a>>, path: &Path<'_>) -> Result<Text<'a>, BadRequest> {
    optional_text(value, path)?.ok_or_else(|| path.bad("is required"))
}
