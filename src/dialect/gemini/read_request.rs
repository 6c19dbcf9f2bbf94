//! A Gemini client's request, into the shared form. Rules: the project's dialect mapping, sections 2 to 7.

use super::fields::{each, is_named, note, object};
use super::read_config::{self, Config};
use super::read_parts::{Turns, read_system};
use super::schema::to_json_schema;
use crate::dialect::ir::{CallKind, Format, Raw, Request, Setting, Text, Tool, ToolChoice, WebSearch};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::members::{self, Path, raw, text};
use crate::dialect::proof::ProofKey;
use crate::json::token::Value;

/// Reads the body of `generateContent` or, if `stream`, of `streamGenerateContent`.
///
/// # Errors
/// A field is missing or wrong, or says what no other dialect can.
pub(in crate::dialect) fn read_request<'a>(
    body: &'a [u8],
    stream: bool,
    proofs: &ProofKey,
) -> Result<Request<'a>, BadRequest> {
    read_members(&members::document(body)?, &Path::Root, stream, proofs)
}

/// Reads the members of a request that lies at `path`.
pub(super) fn read_members<'a>(
    root: &Value<'a>,
    path: &Path<'_>,
    stream: bool,
    proofs: &ProofKey,
) -> Result<Request<'a>, BadRequest> {
    const NAMES: [&str; 9] = [
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "cachedContent",
        "serviceTier",
        "model",
    ];
    let mut request = Request { stream, stream_usage: true, ..Request::default() };
    let mut unknown = Vec::new();
    // The model is the path's to say; some clients repeat it.
    let [contents, system, tools, tool_config, config, safety, cached, tier, _] =
        object(root, path, NAMES, note(&mut unknown))?;
    let mut media_detail = None;
    if let Some(config) = config {
        let Config { detail } =
            read_config::read(&config, &Path::Member(path, "generationConfig"), &mut request)?;
        media_detail = detail;
    }
    if let Some(system) = system {
        request.system = read_system(&system, &Path::Member(path, "systemInstruction"))?;
    }
    let contents_path = Path::Member(path, "contents");
    let contents = contents.ok_or_else(|| contents_path.bad("is required"))?;
    let mut turns = Turns::new(proofs, media_detail);
    each(&contents, &contents_path, |content, path| turns.push(&content, path))?;
    request.turns = turns.finish(&mut unknown);
    if request.turns.is_empty() {
        return Err(contents_path.bad("must say something"));
    }
    if let Some(tools) = tools {
        let path = Path::Member(path, "tools");
        each(&tools, &path, |tool, path| read_tool(&tool, path, &mut request, &mut unknown))?;
    }
    if let Some(tool_config) = tool_config {
        read_tool_config(&tool_config, &Path::Member(path, "toolConfig"), &mut request, &mut unknown)?;
    }
    let mut setting = |feature, value: Raw<'a>| request.settings.push(Setting { feature, value });
    if let Some(safety) = safety {
        setting(Feature::SafetySettings, raw(&safety, &Path::Member(path, "safetySettings"))?);
    }
    if let Some(cached) = cached {
        let path = Path::Member(path, "cachedContent");
        text(&cached, &path)?;
        setting(Feature::CachedContent, raw(&cached, &path)?);
    }
    if let Some(tier) = tier {
        let tier = text(&tier, &Path::Member(path, "serviceTier"))?;
        if let Some(tier) = openai_tier(&tier) {
            setting(Feature::ServiceTier, Raw::from_written(format!("\"{tier}\"")));
        }
    }
    unknown.append(&mut request.unknown);
    request.unknown = unknown;
    Ok(request)
}

/// A service tier in OpenAI's words; one that nobody knows is what a request without one has.
fn openai_tier(tier: &Text<'_>) -> Option<&'static str> {
    let tier = tier.escaped().to_ascii_lowercase();
    match tier.strip_prefix("service_tier_").unwrap_or(&tier) {
        "standard" => Some("default"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => None,
    }
}

fn read_tool<'a>(
    tool: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
    unknown: &mut Vec<Text<'a>>,
) -> Result<(), BadRequest> {
    const NAMES: [&str; 3] = ["functionDeclarations", "googleSearch", "googleSearchRetrieval"];
    let [functions, search, older_search] = object(tool, path, NAMES, |name, _| {
        // Each other member of a tool is a built-in tool.
        Err(path.bad(format!(
            "`{}` is a tool of Google's, which the selected model's API does not have",
            name.escaped()
        )))
    })?;
    if let Some(functions) = functions {
        let path = Path::Member(path, "functionDeclarations");
        each(&functions, &path, |function, path| {
            let tool = read_function(&function, path, &mut request.settings, unknown)?;
            request.tools.push(tool);
            Ok(())
        })?;
    }
    for (search, name) in [(search, "googleSearch"), (older_search, "googleSearchRetrieval")] {
        if let Some(search) = search {
            let [] = object(&search, &Path::Member(path, name), [], note(unknown))?;
            request.web_search = Some(WebSearch::default());
        }
    }
    Ok(())
}

fn read_function<'a>(
    function: &Value<'a>,
    path: &Path<'_>,
    settings: &mut Vec<Setting<'a>>,
    unknown: &mut Vec<Text<'a>>,
) -> Result<Tool<'a>, BadRequest> {
    let mut extras = None;
    let [name, description, parameters, json_schema] = object(
        function,
        path,
        ["name", "description", "parameters", "parametersJsonSchema"],
        |name, value| {
            let known = ["response", "responseJsonSchema", "behavior"];
            if known.into_iter().any(|known| is_named(name.escaped(), known)) {
                extras = Some(raw(&value, path)?);
            } else {
                unknown.push(name);
            }
            Ok(())
        },
    )?;
    if let Some(value) = extras
        && !settings.iter().any(|setting| setting.feature == Feature::ToolExtras)
    {
        settings.push(Setting { feature: Feature::ToolExtras, value });
    }
    let name_path = Path::Member(path, "name");
    let name = name.ok_or_else(|| name_path.bad("is required"))?;
    let description =
        description.map(|words| text(&words, &Path::Member(path, "description"))).transpose()?;
    let schema = match (parameters, json_schema) {
        (Some(_), Some(_)) => {
            let path = Path::Member(path, "parametersJsonSchema");
            return Err(path.bad("cannot be given beside `parameters`"));
        }
        (Some(schema), None) => {
            Some(to_json_schema(&members::raw_object(&schema, &Path::Member(path, "parameters"))?))
        }
        (None, Some(schema)) => {
            Some(members::raw_object(&schema, &Path::Member(path, "parametersJsonSchema"))?)
        }
        (None, None) => None,
    };
    Ok(Tool {
        name: text(&name, &name_path)?,
        description,
        schema,
        strict: false,
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    })
}

fn read_tool_config<'a>(
    config: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
    unknown: &mut Vec<Text<'a>>,
) -> Result<(), BadRequest> {
    let [calling] = object(config, path, ["functionCallingConfig"], note(unknown))?;
    let Some(calling) = calling else { return Ok(()) };
    let path = Path::Member(path, "functionCallingConfig");
    let [mode, names] = object(&calling, &path, ["mode", "allowedFunctionNames"], note(unknown))?;
    let mut allowed = Vec::new();
    if let Some(names) = names {
        each(&names, &Path::Member(&path, "allowedFunctionNames"), |name, path| {
            allowed.push(text(&name, path)?);
            Ok(())
        })?;
    }
    let mode_path = Path::Member(&path, "mode");
    let mode = mode.map(|mode| text(&mode, &mode_path)).transpose()?.unwrap_or_default();
    let choice = match mode.escaped().to_ascii_uppercase().as_str() {
        "" | "MODE_UNSPECIFIED" => None,
        "NONE" => Some(ToolChoice::None),
        "ANY" => Some(match allowed.len() {
            0 => ToolChoice::Required,
            1 => ToolChoice::Named(allowed.swap_remove(0)),
            _ => ToolChoice::Allowed { required: true, names: allowed },
        }),
        mode @ ("AUTO" | "VALIDATED") => {
            if mode == "VALIDATED" {
                request.tools.iter_mut().for_each(|tool| tool.strict = true);
            }
            Some(match allowed.is_empty() {
                true => ToolChoice::Auto,
                false => ToolChoice::Allowed { required: false, names: allowed },
            })
        }
        _ => return Err(mode_path.bad("must be AUTO, ANY, NONE or VALIDATED")),
    };
    request.tool_choice = choice;
    Ok(())
}

/// The form of an answer with this media type and schema.
pub(super) fn format<'a>(
    media_type: Option<&Text<'a>>,
    schema: Option<Raw<'a>>,
    path: &Path<'_>,
) -> Result<Format<'a>, BadRequest> {
    match (media_type.map(Text::escaped), schema) {
        (None | Some("application/json"), Some(schema)) => {
            Ok(Format::Schema { name: None, description: None, schema, strict: true })
        }
        (Some("application/json"), None) => Ok(Format::Json),
        (None | Some("" | "text/plain"), _) => Ok(Format::Text),
        (Some(_), _) => Err(path.bad("the selected model's API writes text/plain and application/json only")),
    }
}
