//! A client's request of this dialect into the shared form: what stands beside the conversation.
//!
//! Rules: the project's dialect mapping, sections 2, 5, 6.1 and 7.

use super::read_turns::TurnReader;
use crate::dialect::Effort;
use crate::dialect::ir::{
    CallKind, Format, Raw, Reasoning, Request, Setting, SummaryWish, Text, Tool, ToolChoice, WebSearch,
};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::members::{self, Path};
use crate::dialect::proof::ProofKey;
use crate::json::token::Value;
use crate::json::write;

/// Reads the body of a request for an answer.
///
/// # Errors
/// A field is missing, has a wrong type, or asks for a built-in tool other than web search.
pub(in crate::dialect) fn read_request<'a>(
    body: &'a [u8],
    proofs: &ProofKey,
) -> Result<Request<'a>, BadRequest> {
    let request = read_count_request(body, proofs)?;
    if request.output_tokens_max.is_none() {
        return Err(Path::Member(&Path::Root, "max_tokens").bad("is required"));
    }
    Ok(request)
}

/// Reads the body of a request to count its tokens, which need not limit the answer.
///
/// # Errors
/// Those of [`read_request`].
pub(in crate::dialect) fn read_count_request<'a>(
    body: &'a [u8],
    proofs: &ProofKey,
) -> Result<Request<'a>, BadRequest> {
    const NAMES: [&str; 21] = [
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "metadata",
        "service_tier",
        "speed",
        "cache_control",
        "container",
        "context_management",
        "mcp_servers",
    ];
    let mut reader = RequestReader {
        turns: TurnReader::new(proofs),
        request: Request { stream_usage: true, ..Request::default() },
        has_tool_extras: false,
    };
    let root = members::document(body)?;
    let fields = members::object(&root, &Path::Root, NAMES, |name, _| {
        reader.turns.note(name);
        Ok(())
    })?;
    for (name, value) in NAMES.into_iter().zip(&fields) {
        let path = Path::Member(&Path::Root, name);
        match value {
            Some(value) => reader.field(name, value, &path)?,
            None if name == "messages" => return Err(path.bad("is required")),
            None => {}
        }
    }
    if reader.has_tool_extras {
        reader.set(Feature::ToolExtras, Raw::from_written("true".to_owned()));
    }
    Ok(Request { unknown: reader.turns.into_unknown(), ..reader.request })
}

struct RequestReader<'k, 'a> {
    turns: TurnReader<'k, 'a>,
    request: Request<'a>,
    /// A tool has members that only this dialect knows.
    has_tool_extras: bool,
}

impl<'a> RequestReader<'_, 'a> {
    fn set(&mut self, feature: Feature, value: Raw<'a>) {
        self.request.settings.push(Setting { feature, value });
    }

    fn field(&mut self, name: &str, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let request = &mut self.request;
        match name {
            "messages" => request.turns = self.turns.turns(value, path)?,
            "system" => request.system = self.turns.system(value, path)?,
            "max_tokens" => request.output_tokens_max = Some(members::whole_number(value, path)?),
            "stream" => request.stream = members::boolean(value, path)?,
            "tools" => members::array(value, path, |tool, path| self.tool(&tool, path))?,
            "tool_choice" => self.tool_choice(value, path)?,
            "thinking" => self.thinking(value, path)?,
            "output_config" => self.output_config(value, path)?,
            // The name that a beta of it had.
            "output_format" => self.request.format = self.format(value, path)?,
            "temperature" => self.set(Feature::Temperature, members::number(value, path)?),
            "top_p" => self.set(Feature::TopP, members::number(value, path)?),
            "top_k" => self.set(Feature::TopK, members::number(value, path)?),
            "stop_sequences" => members::array(value, path, |text, path| {
                request.stop.push(members::text(&text, path)?);
                Ok(())
            })?,
            "metadata" => {
                let [user] = self.turns.object(value, path, ["user_id"])?;
                request.end_user = members::optional(user, path, "user_id", members::text)?;
            }
            "service_tier" => match members::text(value, path)?.escaped() {
                "auto" => self.set(Feature::ServiceTier, Raw::from_written("\"auto\"".to_owned())),
                "standard_only" => {
                    self.set(Feature::ServiceTier, Raw::from_written("\"default\"".to_owned()));
                }
                _ => self.turns.note(Text::from_plain("service_tier")),
            },
            "speed" => {
                let speed = members::text(value, path)?;
                if speed.escaped() != "standard" {
                    self.set(Feature::Speed, members::raw(value, path)?);
                }
            }
            "cache_control" => request.cache = Some(self.turns.cache_mark(value, path)?),
            "container" => self.set(Feature::Container, members::raw(value, path)?),
            "context_management" => {
                self.set(Feature::ContextManagement, members::raw_object(value, path)?);
            }
            "mcp_servers" => members::array(value, path, |_, path| Err(built_in(path, "an MCP server")))?,
            _ => {}
        }
        Ok(())
    }

    fn tool(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        const NAMES: [&str; 14] = [
            "type",
            "name",
            "description",
            "input_schema",
            "strict",
            "cache_control",
            "defer_loading",
            "input_examples",
            "eager_input_streaming",
            "allowed_callers",
            "allowed_domains",
            "blocked_domains",
            "max_uses",
            "user_location",
        ];
        let [
            kind,
            name,
            description,
            schema,
            strict,
            cache,
            deferred,
            examples,
            eager,
            callers,
            allowed,
            blocked,
            uses,
            location,
        ] = self.turns.object(value, path, NAMES)?;
        let kind = members::optional(kind, path, "type", members::text)?;
        match kind.as_ref().map(Text::escaped) {
            None | Some("custom") => {}
            Some(kind) if kind.starts_with("web_search_") => {
                if blocked.is_some() {
                    self.turns.note(Text::from_plain("blocked_domains"));
                }
                if uses.is_some() {
                    self.turns.note(Text::from_plain("max_uses"));
                }
                let mut search = WebSearch::default();
                if let Some(domains) = allowed {
                    members::array(&domains, &Path::Member(path, "allowed_domains"), |domain, path| {
                        search.allowed_domains.push(members::text(&domain, path)?);
                        Ok(())
                    })?;
                }
                search.location = members::optional(location, path, "user_location", |value, path| {
                    self.turns.location(value, path)
                })?;
                self.request.web_search = Some(search);
                return Ok(());
            }
            Some(kind) => return Err(built_in(&Path::Member(path, "type"), kind)),
        }
        self.has_tool_extras |= [deferred, examples, eager, callers].iter().any(Option::is_some);
        let name = members::required(name, path, "name", members::text)?;
        let schema = members::required(schema, path, "input_schema", members::raw_object)?;
        let cache = self.turns.optional_mark(cache, path)?;
        self.request.tools.push(Tool {
            name,
            description: members::optional(description, path, "description", members::text)?,
            schema: Some(schema),
            strict: members::optional(strict, path, "strict", members::boolean)?.unwrap_or(false),
            kind: CallKind::Function,
            grammar: None,
            cache,
        });
        Ok(())
    }

    fn tool_choice(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let [kind, name, alone] =
            self.turns.object(value, path, ["type", "name", "disable_parallel_tool_use"])?;
        let kind = members::required(kind, path, "type", members::text)?;
        self.request.tool_choice = Some(match kind.escaped() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "any" => ToolChoice::Required,
            "tool" => ToolChoice::Named(members::required(name, path, "name", members::text)?),
            _ => {
                return Err(Path::Member(path, "type").bad("must be \"auto\", \"any\", \"tool\" or \"none\""));
            }
        });
        let alone = members::optional(alone, path, "disable_parallel_tool_use", members::boolean)?;
        self.request.parallel_tool_calls = alone.map(|alone| !alone);
        Ok(())
    }

    fn thinking(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let [kind, budget, display] = self.turns.object(value, path, ["type", "budget_tokens", "display"])?;
        let kind = members::required(kind, path, "type", members::text)?;
        let display = members::optional(display, path, "display", members::text)?;
        let reasoning = &mut self.request.reasoning;
        reasoning.show = match display.as_ref().map(Text::escaped) {
            Some("omitted") => Some(SummaryWish::Hidden),
            Some(_) => Some(SummaryWish::Auto),
            None => None,
        };
        match kind.escaped() {
            "enabled" => {
                let budget = members::required(budget, path, "budget_tokens", members::whole_number)?;
                reasoning.budget_tokens = Some(budget);
                // All models that take a budget show their thoughts unless told not to.
                reasoning.show = reasoning.show.or(Some(SummaryWish::Auto));
            }
            // High is what it does without an effort, which `output_config` may still name.
            "adaptive" => reasoning.effort = Some(Effort::High),
            "disabled" => *reasoning = Reasoning { effort: Some(Effort::None), ..Reasoning::default() },
            _ => {
                reasoning.show = None;
                self.turns.note(Text::from_plain("thinking.type"));
            }
        }
        Ok(())
    }

    fn output_config(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<(), BadRequest> {
        let [effort, format] = self.turns.object(value, path, ["effort", "format"])?;
        if let Some(effort) = members::optional(effort, path, "effort", members::text)? {
            let effort = Effort::parse(effort.escaped()).filter(|effort| *effort != Effort::None);
            let effort = effort.ok_or_else(|| {
                Path::Member(path, "effort")
                    .bad("must be \"low\", \"medium\", \"high\", \"xhigh\" or \"max\"")
            })?;
            // Without thinking it only steers the length of the answer.
            if self.request.reasoning.effort != Some(Effort::None) {
                self.request.reasoning.effort = Some(effort);
            }
        }
        if let Some(format) = format {
            self.request.format = self.format(&format, &Path::Member(path, "format"))?;
        }
        Ok(())
    }

    fn format(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Format<'a>, BadRequest> {
        let [kind, schema] = self.turns.object(value, path, ["type", "schema"])?;
        let kind = members::optional(kind, path, "type", members::text)?;
        if kind.as_ref().is_some_and(|kind| kind.escaped() != "json_schema") {
            return Err(Path::Member(path, "type").bad("must be \"json_schema\""));
        }
        let schema = members::required(schema, path, "schema", members::raw_object)?;
        Ok(Format::Schema { name: None, description: None, schema, strict: true })
    }
}

/// The refusal of a tool that only this dialect's own provider can run.
fn built_in(path: &Path<'_>, tool: &str) -> BadRequest {
    path.bad(format!("the selected model is not Anthropic's, and cannot use {tool}"))
}

impl<'a> TurnReader<'_, 'a> {
    /// A user's place, as the shared form has it.
    fn location(&mut self, value: &Value<'a>, path: &Path<'_>) -> Result<Raw<'a>, BadRequest> {
        const NAMES: [&str; 4] = ["city", "region", "country", "timezone"];
        let [city, region, country, timezone, _] =
            self.object(value, path, ["city", "region", "country", "timezone", "type"])?;
        let mut out = Vec::new();
        write::object(&mut out, |object| {
            for (name, value) in NAMES.into_iter().zip([city, region, country, timezone]) {
                if let Some(text) = members::optional(value, path, name, members::text)? {
                    object.text(name, &text);
                }
            }
            Ok(())
        })?;
        Ok(Raw::from_written(String::from_utf8_lossy(&out).into_owned()))
    }
}
