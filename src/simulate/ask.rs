//! What a request body asks for, the same for every dialect.
//!
//! Owns the reading of inference requests: what is needed to answer is kept, the conversation is only counted.
//! A body that a provider would refuse is refused here, in words close to the provider's own.
//!
//! Source: `spec/dialects.md` sections 2, 5.3, 6.1 and 7; the SDKs' request types.

use serde::Deserialize;
use serde_json::Value;

use super::errors::Refusal;
use super::tally::Tally;
use crate::dialect::Dialect;
use crate::limits::SIMULATED_CHOICES_MAX;

/// What one request wants.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// OpenAI's deltas carry padding unless that is switched off.
    pub(super) obfuscate: bool,
    /// Most output tokens, reasoning included.
    pub(super) limit: Option<u64>,
    pub(super) choices: u64,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    pub(super) parallel_calls: bool,
    pub(super) json: Option<JsonShape>,
    pub(super) stop: Vec<String>,
    pub(super) thinking: Thinking,
    /// Characters of the conversation.
    pub(super) input_chars: u64,
    /// The conversation ends with a tool's result, so that the model's turn is to speak.
    pub(super) after_tool_result: bool,
    /// What a Responses answer repeats from its request.
    pub(super) echo: Echo,
}

/// A function that may be called.
#[derive(Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
}

/// Whether a tool is to be called.
#[derive(Debug, PartialEq)]
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// What JSON is wanted.
#[derive(Debug, PartialEq)]
pub(super) enum JsonShape {
    Any,
    Schema(Value),
}

/// Whether the answer is thought about first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    Off,
    /// Thought about, the thoughts kept back.
    Hidden,
    Shown,
}

/// Fields of a Responses request that stand in its answer too.
#[derive(Debug, Default)]
pub(super) struct Echo {
    pub(super) fields: Vec<(&'static str, Value)>,
    /// `include` names `reasoning.encrypted_content`.
    pub(super) encrypted_reasoning: bool,
}

/// The fields of the three dialects that carry the model in the body; no name means two things.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    messages: Option<Tally>,
    input: Option<Tally>,
    system: Option<Tally>,
    instructions: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    response_format: Option<Value>,
    output_config: Option<Value>,
    text: Option<Value>,
    stop: Option<Value>,
    stop_sequences: Option<Vec<String>>,
    thinking: Option<Value>,
    reasoning_effort: Option<String>,
    reasoning: Option<Value>,
    include: Option<Vec<String>>,
    temperature: Option<Value>,
    top_p: Option<Value>,
    metadata: Option<Value>,
    previous_response_id: Option<Value>,
    store: Option<Value>,
    truncation: Option<Value>,
    user: Option<Value>,
    prompt: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
    include_obfuscation: Option<bool>,
}

/// Gemini's request; the service takes both spellings of its names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeminiBody {
    contents: Option<Tally>,
    #[serde(alias = "system_instruction")]
    system_instruction: Option<Tally>,
    tools: Option<Value>,
    #[serde(alias = "tool_config")]
    tool_config: Option<Value>,
    #[serde(alias = "generation_config")]
    generation_config: Option<Value>,
}

impl Ask {
    /// Reads a Chat Completions, Responses or Messages body.
    pub(super) fn read(dialect: Dialect, body: &[u8]) -> Result<Self, Refusal> {
        let body: Body = serde_json::from_slice(body).map_err(|error| Refusal::json(dialect, &error))?;
        if dialect == Dialect::AnthropicMessages && body.max_tokens.is_none() {
            return Err(Refusal::missing(dialect, "max_tokens"));
        }
        Self::from_body(dialect, body)
    }

    /// Reads a body of Anthropic's count_tokens: a message's without its limit.
    pub(super) fn read_to_count(body: &[u8]) -> Result<Self, Refusal> {
        let dialect = Dialect::AnthropicMessages;
        Self::from_body(
            dialect,
            serde_json::from_slice(body).map_err(|error| Refusal::json(dialect, &error))?,
        )
    }

    fn from_body(dialect: Dialect, mut body: Body) -> Result<Self, Refusal> {
        body.check(dialect)?;
        let choices = if dialect == Dialect::OpenAiChat { body.n.unwrap_or(1) } else { 1 };
        if !(1..=SIMULATED_CHOICES_MAX).contains(&choices) {
            return Err(Refusal::bad_request(
                "n",
                format!("Invalid 'n': {choices} is not between 1 and 128."),
            ));
        }
        let conversation = match dialect {
            Dialect::OpenAiResponses => body.input.take(),
            Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::Gemini => body.messages.take(),
        }
        .unwrap_or_default();
        let tool_choice = body.tool_choice.as_ref();
        let anthropic_single =
            tool_choice.is_some_and(|choice| choice["disable_parallel_tool_use"] == Value::Bool(true));
        Ok(Self {
            limit: body.limit(dialect),
            choices,
            tools: body.tools.iter().flatten().filter_map(read_tool).collect(),
            tool_choice: tool_choice.map_or(ToolChoice::Auto, read_tool_choice),
            parallel_calls: body.parallel_tool_calls.unwrap_or(true) && !anthropic_single,
            json: body.json_shape(),
            stop: body.stops(),
            thinking: body.thinking(dialect),
            input_chars: conversation.chars
                + body.system.as_ref().map_or(0, |system| system.chars)
                + body
                    .instructions
                    .as_ref()
                    .and_then(Value::as_str)
                    .map_or(0, |text| text.chars().count() as u64),
            after_tool_result: conversation.tool_result,
            stream: body.stream.unwrap_or(false),
            obfuscate: body
                .stream_options
                .as_ref()
                .is_none_or(|options| options.include_obfuscation != Some(false)),
            include_usage: body
                .stream_options
                .as_ref()
                .is_some_and(|options| options.include_usage == Some(true)),
            echo: if dialect == Dialect::OpenAiResponses { body.echo() } else { Echo::default() },
            model: body.model.unwrap_or_default(),
        })
    }

    /// Reads a body of Gemini's countTokens: contents, or a whole request.
    pub(super) fn read_gemini_to_count(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Counted {
            #[serde(rename = "generateContentRequest", alias = "generate_content_request")]
            whole: Option<Value>,
        }
        let counted: Counted =
            serde_json::from_slice(body).map_err(|error| Refusal::json(Dialect::Gemini, &error))?;
        match counted.whole {
            Some(whole) => Self::read_gemini("", false, whole.to_string().as_bytes()),
            None => Self::read_gemini("", false, body),
        }
    }

    /// Reads a Gemini body; model and streaming stand in the path.
    pub(super) fn read_gemini(model: &str, stream: bool, body: &[u8]) -> Result<Self, Refusal> {
        let body: GeminiBody =
            serde_json::from_slice(body).map_err(|error| Refusal::json(Dialect::Gemini, &error))?;
        let contents = body.contents.unwrap_or_default();
        if contents.items.is_none_or(|items| items == 0) {
            let text = "* GenerateContentRequest.contents: contents is not specified\n";
            return Err(Refusal::bad_request("contents", text.to_owned()));
        }
        let config = body.generation_config.unwrap_or_default();
        let either = |camel: &str, snake: &str| config.get(camel).or_else(|| config.get(snake));
        let choices = either("candidateCount", "candidate_count").and_then(Value::as_u64).unwrap_or(1);
        if !(1..=SIMULATED_CHOICES_MAX).contains(&choices) {
            let text = format!("candidateCount: {choices} is not between 1 and 128.");
            return Err(Refusal::bad_request("candidateCount", text));
        }
        let schema = either("responseJsonSchema", "response_json_schema")
            .or_else(|| either("responseSchema", "response_schema"))
            .cloned();
        let mime = either("responseMimeType", "response_mime_type").and_then(Value::as_str);
        let thinking = either("thinkingConfig", "thinking_config");
        Ok(Self {
            model: model.to_owned(),
            stream,
            include_usage: true,
            obfuscate: false,
            limit: either("maxOutputTokens", "max_output_tokens").and_then(Value::as_u64),
            choices,
            tools: body.tools.iter().flat_map(read_gemini_tools).collect(),
            tool_choice: body.tool_config.as_ref().map_or(ToolChoice::Auto, read_gemini_tool_choice),
            parallel_calls: true,
            json: match (mime, schema) {
                (Some("application/json"), Some(schema)) => Some(JsonShape::Schema(schema)),
                (Some("application/json"), None) => Some(JsonShape::Any),
                _ => None,
            },
            stop: either("stopSequences", "stop_sequences").map(strings).unwrap_or_default(),
            thinking: thinking.map_or(Thinking::Off, read_gemini_thinking),
            input_chars: contents.chars + body.system_instruction.map_or(0, |system| system.chars),
            after_tool_result: contents.tool_result,
            echo: Echo::default(),
        })
    }
}

impl Body {
    fn check(&self, dialect: Dialect) -> Result<(), Refusal> {
        if self.model.as_ref().is_none_or(String::is_empty) && dialect != Dialect::OpenAiResponses {
            return Err(Refusal::missing(dialect, "model"));
        }
        let (key, conversation) = match dialect {
            Dialect::OpenAiResponses => ("input", &self.input),
            Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::Gemini => {
                ("messages", &self.messages)
            }
        };
        // A stored prompt or conversation may stand in for the input of a Responses request.
        let stored = dialect == Dialect::OpenAiResponses
            && (self.prompt.is_some() || self.previous_response_id.as_ref().is_some_and(|id| !id.is_null()));
        match conversation {
            None if stored => Ok(()),
            None => Err(Refusal::missing(dialect, key)),
            Some(tally) if dialect != Dialect::OpenAiResponses && tally.items.is_none() => {
                Err(Refusal::bad_request(key, format!("Invalid type for '{key}': expected an array.")))
            }
            Some(tally) if dialect != Dialect::OpenAiResponses && tally.items == Some(0) => {
                Err(Refusal::empty(dialect, key))
            }
            Some(_) => Ok(()),
        }
    }

    fn limit(&self, dialect: Dialect) -> Option<u64> {
        match dialect {
            Dialect::OpenAiResponses => self.max_output_tokens,
            Dialect::OpenAiChat => self.max_completion_tokens.or(self.max_tokens),
            Dialect::AnthropicMessages | Dialect::Gemini => self.max_tokens,
        }
    }

    fn json_shape(&self) -> Option<JsonShape> {
        let format = [
            self.response_format.as_ref(),
            self.text.as_ref().and_then(|text| text.get("format")),
            self.output_config.as_ref().and_then(|config| config.get("format")),
        ];
        let format = format.into_iter().flatten().next()?;
        match format.get("type").and_then(Value::as_str)? {
            "json_object" => Some(JsonShape::Any),
            "json_schema" => {
                let schema = format.get("schema").or_else(|| format.get("json_schema")?.get("schema"));
                Some(schema.map_or(JsonShape::Any, |schema| JsonShape::Schema(schema.clone())))
            }
            _ => None,
        }
    }

    fn stops(&self) -> Vec<String> {
        let mut stops = self.stop.as_ref().map(strings).unwrap_or_default();
        stops.extend(self.stop_sequences.iter().flatten().filter(|stop| !stop.is_empty()).cloned());
        stops
    }

    fn thinking(&self, dialect: Dialect) -> Thinking {
        match dialect {
            Dialect::OpenAiChat => match self.reasoning_effort.as_deref() {
                None | Some("none") => Thinking::Off,
                Some(_) => Thinking::Shown,
            },
            Dialect::OpenAiResponses => {
                let reasoning = self.reasoning.as_ref();
                let field = |key| reasoning.and_then(|value| value.get(key)).and_then(Value::as_str);
                match (field("effort"), field("summary").or_else(|| field("generate_summary"))) {
                    (Some("none"), _) | (None, None) => Thinking::Off,
                    (_, Some(_)) => Thinking::Shown,
                    (Some(_), None) => Thinking::Hidden,
                }
            }
            Dialect::AnthropicMessages | Dialect::Gemini => {
                let field =
                    |key| self.thinking.as_ref().and_then(|value| value.get(key)).and_then(Value::as_str);
                match (field("type"), field("display")) {
                    (Some("enabled" | "adaptive"), Some("omitted")) => Thinking::Hidden,
                    (Some("enabled" | "adaptive"), _) => Thinking::Shown,
                    _ => Thinking::Off,
                }
            }
        }
    }

    fn echo(&mut self) -> Echo {
        let given = [
            ("instructions", self.instructions.take()),
            ("max_output_tokens", self.max_output_tokens.map(Value::from)),
            ("metadata", self.metadata.take()),
            ("parallel_tool_calls", self.parallel_tool_calls.map(Value::from)),
            ("previous_response_id", self.previous_response_id.take()),
            ("reasoning", self.reasoning.take()),
            ("store", self.store.take()),
            ("temperature", self.temperature.take()),
            ("text", self.text.take()),
            ("tool_choice", self.tool_choice.take()),
            ("tools", self.tools.take().map(Value::from)),
            ("top_p", self.top_p.take()),
            ("truncation", self.truncation.take()),
            ("user", self.user.take()),
        ];
        Echo {
            fields: given
                .into_iter()
                .filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_null())?)))
                .collect(),
            encrypted_reasoning: self
                .include
                .iter()
                .flatten()
                .any(|name| name == "reasoning.encrypted_content"),
        }
    }
}

/// A function of any of the three dialects; built-in and free-text tools are not called.
fn read_tool(tool: &Value) -> Option<Tool> {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
    let (function, schema_key) = match kind {
        "function" if tool.get("function").is_some() => (tool.get("function")?, "parameters"),
        "function" => (tool, "parameters"),
        "custom" if tool.get("input_schema").is_some() => (tool, "input_schema"),
        _ => return None,
    };
    Some(Tool {
        name: function.get("name")?.as_str()?.to_owned(),
        schema: function.get(schema_key).cloned().unwrap_or_default(),
    })
}

fn read_tool_choice(choice: &Value) -> ToolChoice {
    let name = choice.get("name").or_else(|| choice.get("function")?.get("name")).and_then(Value::as_str);
    let kind = choice.as_str().or_else(|| choice.get("type").and_then(Value::as_str));
    match (kind, name) {
        (Some("none"), _) => ToolChoice::None,
        (Some("required" | "any"), _) => ToolChoice::Required,
        (Some("function" | "tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some("allowed_tools"), _) => {
            let mode = choice.get("mode").or_else(|| choice.get("allowed_tools")?.get("mode"));
            let required = mode.and_then(Value::as_str) == Some("required");
            if required { ToolChoice::Required } else { ToolChoice::Auto }
        }
        _ => ToolChoice::Auto,
    }
}

fn read_gemini_tools(tools: &Value) -> Vec<Tool> {
    let declarations = |tool: &Value| {
        let list = tool.get("functionDeclarations").or_else(|| tool.get("function_declarations"));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let tool = |function: Value| {
        let schema = ["parametersJsonSchema", "parameters_json_schema", "parameters"];
        let schema = schema.into_iter().find_map(|key| function.get(key)).cloned().unwrap_or_default();
        Some(Tool { name: function.get("name")?.as_str()?.to_owned(), schema })
    };
    tools.as_array().into_iter().flatten().flat_map(declarations).filter_map(tool).collect()
}

fn read_gemini_tool_choice(config: &Value) -> ToolChoice {
    let calling = config.get("functionCallingConfig").or_else(|| config.get("function_calling_config"));
    let Some(calling) = calling else { return ToolChoice::Auto };
    let names = calling.get("allowedFunctionNames").or_else(|| calling.get("allowed_function_names"));
    match (calling.get("mode").and_then(Value::as_str), names.map(strings).unwrap_or_default().pop()) {
        (Some("NONE"), _) => ToolChoice::None,
        (Some("ANY"), Some(name)) => ToolChoice::Named(name),
        (Some("ANY"), None) => ToolChoice::Required,
        _ => ToolChoice::Auto,
    }
}

fn read_gemini_thinking(config: &Value) -> Thinking {
    let either = |camel: &str, snake: &str| config.get(camel).or_else(|| config.get(snake));
    let shown = either("includeThoughts", "include_thoughts").and_then(Value::as_bool) == Some(true);
    let off = either("thinkingBudget", "thinking_budget").and_then(Value::as_i64) == Some(0);
    match (off, shown) {
        (true, _) => Thinking::Off,
        (false, true) => Thinking::Shown,
        (false, false) => Thinking::Hidden,
    }
}

/// The non-empty strings of a string or of an array of them.
fn strings(value: &Value) -> Vec<String> {
    let one = value.as_str().into_iter();
    let many = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    one.chain(many).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_and_choices_of_every_dialect_mean_the_same() {
        let chat = r#"{"model":"m","messages":[{}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}},
            {"type":"custom","custom":{"name":"c"}}],"tool_choice":{"type":"function","function":{"name":"f"}}}"#;
        let responses = r#"{"model":"m","input":"x","tools":[{"type":"web_search"},{"type":"function","name":"f",
            "parameters":{}}],"tool_choice":{"type":"function","name":"f"}}"#;
        let messages = r#"{"model":"m","max_tokens":1,"messages":[{}],"tools":[{"name":"f","input_schema":{}},
            {"type":"bash_20250124","name":"bash"}],"tool_choice":{"type":"tool","name":"f"}}"#;
        let gemini = r#"{"contents":[{}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{}}]},
            {"googleSearch":{}}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}"#;
        let asks = [
            Ask::read(Dialect::OpenAiChat, chat.as_bytes()).unwrap(),
            Ask::read(Dialect::OpenAiResponses, responses.as_bytes()).unwrap(),
            Ask::read(Dialect::AnthropicMessages, messages.as_bytes()).unwrap(),
            Ask::read_gemini("m", false, gemini.as_bytes()).unwrap(),
        ];
        for ask in asks {
            assert_eq!(ask.tools, [Tool { name: "f".to_owned(), schema: serde_json::json!({}) }]);
            assert_eq!(ask.tool_choice, ToolChoice::Named("f".to_owned()));
        }
    }
}
