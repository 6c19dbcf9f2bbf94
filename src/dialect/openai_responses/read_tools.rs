//! The tools of a request and which of them may be used.

use super::read_request::{note_unknown, set};
use crate::dialect::ir::{CallKind, Raw, Request, Text, Tool, ToolChoice, WebSearch};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::members::{self, Path};
use crate::json::token::{Kind, Value};
use crate::json::write;

/// Reads `tools`.
///
/// # Errors
/// It is no list of tools.
pub(super) fn read_tools<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<(), BadRequest> {
    members::array(value, path, |tool, path| {
        let mut extras = None;
        let names = [
            "type",
            "name",
            "description",
            "parameters",
            "strict",
            "format",
            "filters",
            "user_location",
            "search_context_size",
        ];
        let [kind, name, description, parameters, strict, format, filters, location, context_size] =
            members::object(&tool, path, names, |name, value| {
                // `false` switches nothing on.
                if value.as_bool() != Some(false) {
                    extras = extras.take().or(Some(name));
                }
                Ok(())
            })?;
        let kind_path = Path::Member(path, "type");
        let kind = kind.ok_or_else(|| kind_path.bad("is required"))?;
        let word = members::text(&kind, &kind_path)?;
        let call_kind = match word.escaped() {
            "function" => CallKind::Function,
            "custom" => CallKind::Custom,
            word if word.starts_with("web_search") => {
                request.web_search = Some(read_web_search(filters, location, path)?);
                if context_size.is_some() {
                    note_unknown(&mut request.unknown, Text::from_plain("search_context_size"));
                }
                return Ok(());
            }
            _ => {
                set(request, Feature::BuiltInTool, members::raw(&kind, &kind_path)?);
                return Ok(());
            }
        };
        if extras.is_some() {
            set(request, Feature::ToolExtras, Raw::from_written("true".to_owned()));
        }
        let is_function = call_kind == CallKind::Function;
        request.tools.push(Tool {
            name: members::required(name, path, "name", members::text)?,
            description: members::optional(description, path, "description", members::text)?,
            schema: members::optional(
                parameters.filter(|_| is_function),
                path,
                "parameters",
                members::raw_object,
            )?,
            // Absent means on here, other than in chat.
            strict: is_function
                && members::optional(strict, path, "strict", members::boolean)?.unwrap_or(true),
            kind: call_kind,
            grammar: match format.filter(|_| !is_function) {
                Some(format) => read_grammar(&format, &Path::Member(path, "format"))?,
                None => None,
            },
            cache: None,
        });
        Ok(())
    })
}

/// The format of a custom tool's input, unless it is any text: an object of `syntax` and `definition`, as chat has it one
/// level below.
fn read_grammar<'a>(value: &Value<'a>, path: &Path<'_>) -> Result<Option<Raw<'a>>, BadRequest> {
    let names = ["type", "syntax", "definition"];
    let [kind, syntax, definition] = members::object(value, path, names, |_, _| Ok(()))?;
    match members::required(kind, path, "type", members::text)?.escaped() {
        "text" => return Ok(None),
        "grammar" => {}
        _ => return Err(Path::Member(path, "type").bad("must be text or grammar")),
    }
    let syntax = members::required(syntax, path, "syntax", members::text)?;
    let definition = members::required(definition, path, "definition", members::text)?;
    let mut grammar = Vec::new();
    write::object(&mut grammar, |grammar| {
        grammar.text("syntax", &syntax);
        grammar.text("definition", &definition);
    });
    Ok(Some(written(grammar)))
}

/// JSON that was written from texts, which are UTF-8.
fn written(json: Vec<u8>) -> Raw<'static> {
    Raw::from_written(String::from_utf8_lossy(&json).into_owned())
}

fn read_web_search<'a>(
    filters: Option<Value<'a>>,
    location: Option<Value<'a>>,
    path: &Path<'_>,
) -> Result<WebSearch<'a>, BadRequest> {
    let mut search = WebSearch::default();
    if let Some(filters) = filters {
        let path = Path::Member(path, "filters");
        let [domains] = members::object(&filters, &path, ["allowed_domains"], |_, _| Ok(()))?;
        if let Some(domains) = domains {
            members::array(&domains, &Path::Member(&path, "allowed_domains"), |domain, path| {
                search.allowed_domains.push(members::text(&domain, path)?);
                Ok(())
            })?;
        }
    }
    if let Some(location) = location {
        let path = Path::Member(path, "user_location");
        let names = ["city", "region", "country", "timezone"];
        let found = members::object(&location, &path, names, |_, _| Ok(()))?;
        let mut place = Vec::new();
        write::object(&mut place, |place| {
            for (name, value) in names.into_iter().zip(found) {
                if let Some(text) = members::optional(value, &path, name, members::text)? {
                    place.text(name, &text);
                }
            }
            Ok(())
        })?;
        search.location = Some(written(place));
    }
    Ok(search)
}

/// Reads `tool_choice`.
///
/// # Errors
/// It is none of the choices.
pub(super) fn read_tool_choice<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<(), BadRequest> {
    if value.kind == Kind::String {
        request.tool_choice = Some(match members::text(value, path)?.escaped() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(path.bad("must be auto, none, required or an object")),
        });
        return Ok(());
    }
    let names = ["type", "name", "mode", "tools"];
    let [kind, name, mode, tools] = members::object(value, path, names, |_, _| Ok(()))?;
    let kind_path = Path::Member(path, "type");
    let kind = kind.ok_or_else(|| kind_path.bad("is required"))?;
    let word = members::text(&kind, &kind_path)?;
    match word.escaped() {
        "function" | "custom" => {
            request.tool_choice =
                Some(ToolChoice::Named(members::required(name, path, "name", members::text)?));
        }
        "allowed_tools" => {
            let mode_path = Path::Member(path, "mode");
            let required = match members::required(mode, path, "mode", members::text)?.escaped() {
                "auto" => false,
                "required" => true,
                _ => return Err(mode_path.bad("must be auto or required")),
            };
            let tools_path = Path::Member(path, "tools");
            let tools = tools.ok_or_else(|| tools_path.bad("is required"))?;
            let names = read_allowed(&tools, &tools_path, request)?;
            request.tool_choice = Some(ToolChoice::Allowed { required, names });
        }
        _ => set(request, Feature::BuiltInTool, members::raw(&kind, &kind_path)?),
    }
    Ok(())
}

/// The names of the functions in a choice of several tools.
fn read_allowed<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<Vec<Text<'a>>, BadRequest> {
    let mut functions = Vec::new();
    members::array(value, path, |tool, path| {
        let [kind, name] = members::object(&tool, path, ["type", "name"], |_, _| Ok(()))?;
        let kind_path = Path::Member(path, "type");
        let kind = kind.ok_or_else(|| kind_path.bad("is required"))?;
        match members::text(&kind, &kind_path)?.escaped() {
            "function" | "custom" => functions.push(members::required(name, path, "name", members::text)?),
            _ => set(request, Feature::BuiltInTool, members::raw(&kind, &kind_path)?),
        }
        Ok(())
    })?;
    Ok(functions)
}
