//! A request of a client of this dialect: its members but for the conversation and the tools, which have files of their
//! own.

use super::echo::echo;
use super::read_input::{Conversation, read_input};
use super::read_tools::{read_tool_choice, read_tools};
use crate::dialect::ProofKey;
use crate::dialect::effort::Effort;
use crate::dialect::ir::{Content, Format, Raw, Reasoning, Request, Setting, SummaryWish, Text};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::members::{self, Path};
use crate::json::token::Value;
use crate::limits::DROPPED_NAMES_MAX;

/// The members that are known.
const NAMES: [&str; 30] = [
    "model",
    "input",
    "stream",
    "stream_options",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "max_output_tokens",
    "include",
    "top_logprobs",
    "reasoning",
    "user",
    "safety_identifier",
    "background",
    "truncation",
    "temperature",
    "top_p",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "previous_response_id",
    "conversation",
    "prompt",
    "max_tool_calls",
    "moderation",
];

/// The type that a setting's value has to have.
#[derive(Debug, Clone, Copy)]
enum Type {
    Number,
    Count,
    Text,
    Boolean,
    Object,
    Any,
}

/// Members that go through as they are, under their feature's own name.
const SETTINGS: [(Feature, Type); 13] = [
    (Feature::Temperature, Type::Number),
    (Feature::TopP, Type::Number),
    (Feature::Metadata, Type::Object),
    (Feature::ServiceTier, Type::Text),
    (Feature::PromptCacheKey, Type::Text),
    (Feature::PromptCacheOptions, Type::Object),
    (Feature::PromptCacheRetention, Type::Text),
    (Feature::Store, Type::Boolean),
    (Feature::PreviousResponse, Type::Text),
    (Feature::Conversation, Type::Any),
    (Feature::StoredPrompt, Type::Object),
    (Feature::MaxToolCalls, Type::Count),
    (Feature::Moderation, Type::Any),
];

/// The body by its members; `null` counts as absent.
#[derive(Debug)]
pub(super) struct Body<'a>([Option<Value<'a>>; NAMES.len()]);

impl<'a> Body<'a> {
    /// The member `name`; a name that is not in [`NAMES`] is never there.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0[NAMES.iter().position(|known| *known == name)?].as_ref()
    }

    /// The member `name`, read by `read`.
    fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value<'a>, &Path<'_>) -> Result<T, BadRequest>,
    ) -> Result<Option<T>, BadRequest> {
        self.get(name).map(|value| read(value, &Path::Member(&Path::Root, name))).transpose()
    }
}

/// Reads the body of a request: what it asks for, and the members that the response object repeats, as a run of
/// `"name":value` joined by commas.
///
/// # Errors
/// A member has a wrong type or is missing.
pub(in crate::dialect) fn read_request<'a>(
    body: &'a [u8],
    proofs: &ProofKey,
) -> Result<(Request<'a>, Vec<u8>), BadRequest> {
    let root = members::document(body)?;
    let mut request = Request { stream_usage: true, ..Request::default() };
    let found = members::object(&root, &Path::Root, NAMES, |name, _| {
        note_unknown(&mut request.unknown, name);
        Ok(())
    })?;
    let body = Body(found);
    body.read("model", members::text)?;
    request.stream = body.read("stream", members::boolean)?.unwrap_or(false);
    if let Some(instructions) = body.read("instructions", members::text)?.filter(|text| !text.is_empty()) {
        request.system.push(Content::Text { text: instructions, citations: Vec::new() }.into());
    }
    read_settings(&body, &mut request)?;
    if let Some(tools) = body.get("tools") {
        read_tools(tools, &Path::Member(&Path::Root, "tools"), &mut request)?;
    }
    if let Some(choice) = body.get("tool_choice") {
        read_tool_choice(choice, &Path::Member(&Path::Root, "tool_choice"), &mut request)?;
    }
    request.parallel_tool_calls = body.read("parallel_tool_calls", members::boolean)?;
    request.output_tokens_max = body.read("max_output_tokens", members::whole_number)?;
    let end_user = body.read("user", members::text)?;
    request.end_user = body.read("safety_identifier", members::text)?.or(end_user);
    if let Some(text) = body.get("text") {
        read_text(text, &Path::Member(&Path::Root, "text"), &mut request)?;
    }
    if let Some(reasoning) = body.get("reasoning") {
        read_reasoning(reasoning, &Path::Member(&Path::Root, "reasoning"), &mut request)?;
    }
    let input_path = Path::Member(&Path::Root, "input");
    let input = body.get("input").ok_or_else(|| input_path.bad("is required"))?;
    let mut conversation = Conversation::new(&mut request, proofs);
    read_input(input, &input_path, &mut conversation)?;
    conversation.end();
    let echo = echo(&body);
    Ok((request, echo))
}

/// Remembers the name of a member that no reader knows; more than can be reported are not kept.
pub(super) fn note_unknown<'a>(unknown: &mut Vec<Text<'a>>, name: Text<'a>) {
    if unknown.len() < DROPPED_NAMES_MAX && !unknown.contains(&name) {
        unknown.push(name);
    }
}

/// Adds a setting, once.
pub(super) fn set<'a>(request: &mut Request<'a>, feature: Feature, value: Raw<'a>) {
    if !request.settings.iter().any(|setting| setting.feature == feature) {
        request.settings.push(Setting { feature, value });
    }
}

fn read_settings<'a>(body: &Body<'a>, request: &mut Request<'a>) -> Result<(), BadRequest> {
    for (feature, kind) in SETTINGS {
        let name = feature.row().name;
        let Some(value) = body.get(name) else { continue };
        let path = Path::Member(&Path::Root, name);
        match kind {
            Type::Number => _ = members::number(value, &path)?,
            Type::Count => _ = members::whole_number(value, &path)?,
            Type::Text => _ = members::text(value, &path)?,
            Type::Boolean => _ = members::boolean(value, &path)?,
            Type::Object => _ = members::raw_object(value, &path)?,
            Type::Any => {}
        }
        set(request, feature, members::raw(value, &path)?);
    }
    // What is the default anyway is not asked for.
    if body.read("background", members::boolean)? == Some(true) {
        set(request, Feature::Background, Raw::from_written("true".to_owned()));
    }
    let truncation = body.read("truncation", members::text)?;
    if let Some(truncation) =
        body.get("truncation").filter(|_| truncation != Some(Text::from_plain("disabled")))
    {
        let path = Path::Member(&Path::Root, "truncation");
        set(request, Feature::Truncation, members::raw(truncation, &path)?);
    }
    if let Some(options) = body.get("stream_options") {
        let path = Path::Member(&Path::Root, "stream_options");
        // Nothing is obfuscated in a translated stream.
        members::object(options, &path, ["include_obfuscation"], |name, _| {
            note_unknown(&mut request.unknown, name);
            Ok(())
        })?;
    }
    read_logprobs(body, request)
}

fn read_logprobs<'a>(body: &Body<'a>, request: &mut Request<'a>) -> Result<(), BadRequest> {
    let top = body.read("top_logprobs", members::whole_number)?;
    let mut wanted = top.is_some_and(|top| top > 0);
    let path = Path::Member(&Path::Root, "include");
    if let Some(include) = body.get("include") {
        members::array(include, &path, |value, path| {
            match members::text(&value, path)?.escaped() {
                "message.output_text.logprobs" => wanted = true,
                // Proofs are always given.
                "reasoning.encrypted_content" => {}
                _ => note_unknown(&mut request.unknown, Text::from_plain("include")),
            }
            Ok(())
        })?;
    }
    if wanted {
        set(request, Feature::Logprobs, Raw::from_written(top.unwrap_or(0).to_string()));
    }
    Ok(())
}

/// `text`: the answer's form and how wordy it is.
fn read_text<'a>(value: &Value<'a>, path: &Path<'_>, request: &mut Request<'a>) -> Result<(), BadRequest> {
    let [format, verbosity] = members::object(value, path, ["format", "verbosity"], |name, _| {
        note_unknown(&mut request.unknown, name);
        Ok(())
    })?;
    if let Some(verbosity) = verbosity {
        let path = Path::Member(path, "verbosity");
        members::text(&verbosity, &path)?;
        set(request, Feature::Verbosity, members::raw(&verbosity, &path)?);
    }
    if let Some(format) = format {
        request.format = read_format(&format, &Path::Member(path, "format"), &mut request.unknown)?;
    }
    Ok(())
}

fn read_format<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Vec<Text<'a>>,
) -> Result<Format<'a>, BadRequest> {
    let names = ["type", "name", "description", "schema", "strict"];
    let [kind, name, description, schema, strict] = members::object(value, path, names, |name, _| {
        note_unknown(unknown, name);
        Ok(())
    })?;
    let kind_path = Path::Member(path, "type");
    let kind = kind.ok_or_else(|| kind_path.bad("is required"))?;
    match members::text(&kind, &kind_path)?.escaped() {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::Json),
        "json_schema" => {
            let schema_path = Path::Member(path, "schema");
            let schema = schema.ok_or_else(|| schema_path.bad("is required"))?;
            Ok(Format::Schema {
                name: members::optional(name, path, "name", members::text)?,
                description: members::optional(description, path, "description", members::text)?,
                schema: members::raw_object(&schema, &schema_path)?,
                strict: members::optional(strict, path, "strict", members::boolean)?.unwrap_or(false),
            })
        }
        _ => Err(kind_path.bad("must be text, json_object or json_schema")),
    }
}

fn read_reasoning<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<(), BadRequest> {
    let names = ["effort", "summary", "generate_summary"];
    let [effort, summary, old_summary] = members::object(value, path, names, |name, _| {
        note_unknown(&mut request.unknown, name);
        Ok(())
    })?;
    let effort = members::optional(effort, path, "effort", |value, path| {
        Effort::parse(members::text(value, path)?.escaped())
            .ok_or_else(|| path.bad("must be none, minimal, low, medium, high, xhigh or max"))
    })?;
    let (name, summary) = match summary {
        Some(_) => ("summary", summary),
        None => ("generate_summary", old_summary),
    };
    let show =
        members::optional(summary, path, name, |value, path| match members::text(value, path)?.escaped() {
            "auto" => Ok(SummaryWish::Auto),
            "concise" => Ok(SummaryWish::Concise),
            "detailed" => Ok(SummaryWish::Detailed),
            _ => Err(path.bad("must be auto, concise or detailed")),
        })?;
    request.reasoning = Reasoning { effort, budget_tokens: None, show };
    Ok(())
}

#[cfg(test)]
#[path = "read_request_tests.rs"]
mod tests;
