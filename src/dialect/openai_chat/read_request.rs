//! Reads a chat client's request.

use super::{read_message, read_tools};
use crate::dialect::Effort;
use crate::dialect::ProofKey;
use crate::dialect::ir::{Raw, Reasoning, Request, Setting, SummaryWish, Text, WebSearch};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::members::{
    Path, array, boolean, document, number, object, raw, raw_object, text, whole_number,
};
use crate::json::token::{Kind, Value};
use crate::limits::DROPPED_NAMES_MAX;

/// Members that are read.
const NAMES: [&str; 42] = [
    "messages",
    "model",
    "stream",
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "safety_identifier",
    "user",
    "modalities",
    "audio",
    "functions",
    "function_call",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "enable_thinking",
    "web_search_options",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "verbosity",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "prediction",
    "moderation",
    "cache_control",
];

/// How the value of a setting is checked.
#[derive(Clone, Copy)]
enum Form {
    Number,
    Text,
    Boolean,
    Object,
    Any,
}

/// Members that are one value under a name.
const SETTINGS: &[(&str, Feature, Form)] = &[
    ("temperature", Feature::Temperature, Form::Number),
    ("top_p", Feature::TopP, Form::Number),
    ("top_k", Feature::TopK, Form::Number),
    ("seed", Feature::Seed, Form::Number),
    ("frequency_penalty", Feature::FrequencyPenalty, Form::Number),
    ("presence_penalty", Feature::PresencePenalty, Form::Number),
    ("logit_bias", Feature::LogitBias, Form::Object),
    ("verbosity", Feature::Verbosity, Form::Text),
    ("metadata", Feature::Metadata, Form::Object),
    ("service_tier", Feature::ServiceTier, Form::Text),
    ("prompt_cache_key", Feature::PromptCacheKey, Form::Text),
    ("prompt_cache_options", Feature::PromptCacheOptions, Form::Object),
    ("prompt_cache_retention", Feature::PromptCacheRetention, Form::Text),
    ("store", Feature::Store, Form::Boolean),
    ("prediction", Feature::Prediction, Form::Object),
    ("moderation", Feature::Moderation, Form::Any),
];

/// Names of members that no reader knows, each once and a bounded number of them.
#[derive(Debug, Default)]
pub(super) struct Unknown<'a>(Vec<Text<'a>>);

impl<'a> Unknown<'a> {
    /// Notes the member `name` of what lies at `place`, such as `messages[].`.
    pub(super) fn note(&mut self, place: &str, name: Text<'a>) {
        let name = if place.is_empty() {
            name
        } else {
            let mut full = Text::from(place.to_owned());
            full.push(&name);
            full
        };
        if self.0.len() < DROPPED_NAMES_MAX && !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

/// The members of the body by name.
struct Members<'a>([Option<Value<'a>>; NAMES.len()]);

impl<'a> Members<'a> {
    fn of(&self, name: &str) -> Option<&Value<'a>> {
        self.0[NAMES.iter().position(|known| *known == name)?].as_ref()
    }

    /// Reads the member `name` by `read`, if it is there.
    fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value<'a>, &Path<'_>) -> Result<T, BadRequest>,
    ) -> Result<Option<T>, BadRequest> {
        self.of(name).map(|value| read(value, &Path::Member(&Path::Root, name))).transpose()
    }
}

/// Reads the body of a chat client.
///
/// # Errors
/// Wrong types, missing and unknown parts, by the path of the field.
pub(in crate::dialect) fn read_request<'a>(
    body: &'a [u8],
    proofs: &ProofKey,
) -> Result<Request<'a>, BadRequest> {
    let root = document(body)?;
    let mut unknown = Unknown::default();
    let found = object(&root, &Path::Root, NAMES, |name, _| {
        unknown.note("", name);
        Ok(())
    })?;
    let members = Members(found);
    let mut request = Request {
        stream: members.read("stream", boolean)?.unwrap_or(false),
        parallel_tool_calls: members.read("parallel_tool_calls", boolean)?,
        output_tokens_max: match members.read("max_completion_tokens", whole_number)? {
            Some(tokens) => Some(tokens),
            None => members.read("max_tokens", whole_number)?,
        },
        end_user: match members.read("safety_identifier", text)? {
            Some(user) => Some(user),
            None => members.read("user", text)?,
        },
        cache: members.read("cache_control", read_message::cache_mark)?,
        stop: members.read("stop", read_stop)?.unwrap_or_default(),
        ..Request::default()
    };
    if let Some(options) = members.of("stream_options") {
        request.stream_usage = read_stream_options(options, &mut unknown)?;
    }
    request.settings = read_settings(&members, &mut unknown)?;
    request.reasoning = read_reasoning(&members, &mut unknown)?;
    request.web_search =
        members.read("web_search_options", |options, path| read_web_search(options, path, &mut unknown))?;
    if let Some(format) = members.read("response_format", read_tools::read_format)? {
        request.format = format;
    }
    if let Some(choice) = members.read("function_call", read_tools::read_function_call)? {
        request.tool_choice = Some(choice);
    }
    if let Some(choice) = members.read("tool_choice", read_tools::read_tool_choice)? {
        request.tool_choice = Some(choice);
    }
    if let Some(functions) = members.read("functions", read_tools::read_functions)? {
        request.legacy_functions = true;
        request.tools = functions;
    }
    if let Some(tools) =
        members.read("tools", |tools, path| read_tools::read_tools(tools, path, &mut unknown))?
    {
        request.legacy_functions = false;
        request.tools.extend(tools);
    }
    let path = Path::Member(&Path::Root, "messages");
    let messages = members.of("messages").ok_or_else(|| path.bad("is required"))?;
    read_message::read_messages(messages, &path, proofs, &mut unknown, &mut request)?;
    request.unknown = unknown.0;
    Ok(request)
}

fn read_stream_options<'a>(options: &Value<'a>, unknown: &mut Unknown<'a>) -> Result<bool, BadRequest> {
    let path = Path::Member(&Path::Root, "stream_options");
    let [usage, _] = object(options, &path, ["include_usage", "include_obfuscation"], |name, _| {
        unknown.note("stream_options.", name);
        Ok(())
    })?;
    let usage = usage.map(|usage| boolean(&usage, &Path::Member(&path, "include_usage"))).transpose()?;
    Ok(usage.unwrap_or(false))
}

fn read_stop<'a>(stop: &Value<'a>, path: &Path<'_>) -> Result<Vec<Text<'a>>, BadRequest> {
    if stop.kind == Kind::String {
        return Ok(vec![text(stop, path)?]);
    }
    let mut texts = Vec::new();
    array(stop, path, |element, path| {
        texts.push(text(&element, path)?);
        Ok(())
    })?;
    Ok(texts)
}

fn read_settings<'a>(
    members: &Members<'a>,
    unknown: &mut Unknown<'a>,
) -> Result<Vec<Setting<'a>>, BadRequest> {
    let mut settings = Vec::new();
    for (name, feature, form) in SETTINGS {
        let value = members.read(name, |value, path| match form {
            Form::Number => number(value, path),
            Form::Text => text(value, path).and_then(|_| raw(value, path)),
            Form::Boolean => boolean(value, path).and_then(|_| raw(value, path)),
            Form::Object => raw_object(value, path),
            Form::Any => raw(value, path),
        })?;
        settings.extend(value.map(|value| Setting { feature: *feature, value }));
    }
    match members.read("n", whole_number)? {
        Some(0) => return Err(Path::Member(&Path::Root, "n").bad("must be at least 1")),
        None | Some(1) => {}
        Some(count) => {
            let value = Raw::from_written(count.to_string());
            settings.push(Setting { feature: Feature::AnswerCount, value });
        }
    }
    let others = members.read("top_logprobs", whole_number)?;
    if members.read("logprobs", boolean)? == Some(true) {
        let value = Raw::from_written(others.unwrap_or(0).to_string());
        settings.push(Setting { feature: Feature::Logprobs, value });
    } else if others.is_some_and(|others| others > 0) {
        return Err(Path::Member(&Path::Root, "top_logprobs").bad("needs `logprobs` to be true"));
    }
    let beyond_text = members.read("modalities", |modalities, path| {
        let mut beyond_text = false;
        array(modalities, path, |modality, path| {
            beyond_text |= text(&modality, path)?.escaped() != "text";
            Ok(())
        })?;
        Ok(beyond_text.then_some(raw(modalities, path)?))
    })?;
    match beyond_text.flatten() {
        Some(value) => settings.push(Setting { feature: Feature::Modalities, value }),
        // The voice of an answer that is not spoken.
        None if members.of("audio").is_some() => unknown.note("", Text::from_plain("audio")),
        None => {}
    }
    Ok(settings)
}

/// Reads OpenAI's `reasoning_effort` and what compatible servers have instead or beside: OpenRouter's `reasoning`,
/// DeepSeek's and Z.ai's `thinking`, Qwen's `enable_thinking`.
fn read_reasoning<'a>(members: &Members<'a>, unknown: &mut Unknown<'a>) -> Result<Reasoning, BadRequest> {
    let mut reasoning = Reasoning::default();
    if members.read("enable_thinking", boolean)? == Some(false) {
        reasoning.effort = Some(Effort::None);
    }
    members.read("thinking", |thinking, path| {
        let [kind, budget] = object(thinking, path, ["type", "budget_tokens"], |name, _| {
            unknown.note("thinking.", name);
            Ok(())
        })?;
        if let Some(kind) = kind {
            let path = Path::Member(path, "type");
            match text(&kind, &path)?.escaped() {
                "disabled" => reasoning.effort = Some(Effort::None),
                "enabled" | "auto" | "adaptive" => {}
                _ => return Err(path.bad("must be `enabled` or `disabled`")),
            }
        }
        if let Some(budget) = budget {
            reasoning.budget_tokens = Some(whole_number(&budget, &Path::Member(path, "budget_tokens"))?);
        }
        Ok(())
    })?;
    members.read("reasoning", |settings, path| {
        let names = ["effort", "max_tokens", "enabled", "exclude"];
        let [effort, budget, enabled, exclude] = object(settings, path, names, |name, _| {
            unknown.note("reasoning.", name);
            Ok(())
        })?;
        if let Some(enabled) = enabled
            && !boolean(&enabled, &Path::Member(path, "enabled"))?
        {
            reasoning.effort = Some(Effort::None);
        }
        if let Some(effort) = effort {
            reasoning.effort = Some(read_effort(&effort, &Path::Member(path, "effort"))?);
        }
        if let Some(budget) = budget {
            reasoning.budget_tokens = Some(whole_number(&budget, &Path::Member(path, "max_tokens"))?);
        }
        if let Some(exclude) = exclude {
            let hidden = boolean(&exclude, &Path::Member(path, "exclude"))?;
            reasoning.show = Some(if hidden { SummaryWish::Hidden } else { SummaryWish::Auto });
        }
        Ok(())
    })?;
    if let Some(effort) = members.read("reasoning_effort", read_effort)? {
        reasoning.effort = Some(effort);
    }
    Ok(reasoning)
}

fn read_effort(effort: &Value<'_>, path: &Path<'_>) -> Result<Effort, BadRequest> {
    // Groq calls it `default`, which is what `medium` is elsewhere.
    match text(effort, path)?.escaped() {
        "default" => Ok(Effort::Medium),
        word => Effort::parse(word)
            .ok_or_else(|| path.bad("must be one of none, minimal, low, medium, high, xhigh, max")),
    }
}

fn read_web_search<'a>(
    options: &Value<'a>,
    path: &Path<'_>,
    unknown: &mut Unknown<'a>,
) -> Result<WebSearch<'a>, BadRequest> {
    let [location] = object(options, path, ["user_location"], |name, _| {
        unknown.note("web_search_options.", name);
        Ok(())
    })?;
    let Some(location) = location else { return Ok(WebSearch::default()) };
    let path = Path::Member(path, "user_location");
    let [_, approximate] = object(&location, &path, ["type", "approximate"], |_, _| Ok(()))?;
    let path = Path::Member(&path, "approximate");
    let location = approximate.map(|approximate| raw_object(&approximate, &path)).transpose()?;
    Ok(WebSearch { location, ..WebSearch::default() })
}

#[cfg(test)]
#[path = "read_request_tests.rs"]
mod tests;
