//! What a request needs of a model: room for its tokens, and what the model has to be able to do.
//!
//! One pass over the body as it came, of whichever dialect, and no document: names of members do not mean different
//! things in two dialects, so one table reads all four. Looked at only where a policy asks, so the pass need not share
//! that of [`crate::json::facts`], which every request pays for. The body was found to be JSON before; what is odd about
//! it beyond that is left to the provider.
//!
//! Tokens are a quarter of the characters, as the routing specification has it (section 4.1): what policies compare with
//! windows of thousands of tokens. `estimate` is the finer one, on a request that was read as a whole.

use std::sync::LazyLock;

use memchr::memmem;

use super::estimate::{BYTES_PER_TOKEN, IMAGE_LOW_TOKENS, IMAGE_TOKENS};
use crate::json::scan::{self, Scanner};
use crate::json::text;
use crate::json::token::{Fault, Kind, Value};

/// Characters that are taken for one token.
const CHARS_PER_TOKEN: u64 = 4;

/// What a request needs of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// About how many input tokens there are: texts, tools, pictures.
    pub input_tokens: u64,
    /// How many output tokens are asked for at most; the smallest bound if there are several.
    pub output_tokens_max: Option<u64>,
    /// What the model has to be able to do.
    pub features: Features,
}

/// A set of things that a model can or cannot do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(u8);

impl Features {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Pictures as input.
    pub const VISION: Self = Self(1);
    /// Tools.
    pub const TOOLS: Self = Self(2);
    /// Answers in JSON.
    pub const JSON: Self = Self(4);
    /// Reasoning that is asked for.
    pub const THINKING: Self = Self(8);

    /// The features one by one, as `models[].capabilities` names them.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::VISION, "vision"),
        (Self::TOOLS, "functionCalling"),
        (Self::JSON, "json"),
        (Self::THINKING, "thinking"),
    ];

    /// Those that are in both sets.
    #[inline]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in one of the sets.
    #[inline]
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Bodies up to this size are not worth a walk, if they are texts only.
const SMALL_BODY_BYTES: usize = 4 * 1024;

/// About how many input tokens a small body of texts has, a quarter of its bytes; `None` for a large one, and where a part
/// says what it is and so may be something else. The bodies of three dialects only: Gemini's parts have no `type`.
pub fn tokens_of_texts(body: &[u8]) -> Option<u64> {
    static TYPE: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"\"type\""));
    let is_texts = body.len() <= SMALL_BODY_BYTES && TYPE.find(body).is_none();
    is_texts.then(|| (body.len() as u64).div_ceil(CHARS_PER_TOKEN))
}

impl Needs {
    /// Reads a request of any dialect. What is malformed ends the reading; what was found by then counts.
    pub fn of(body: &[u8]) -> Self {
        let mut walk = Walk { scanner: Scanner::new(body), chars: 0, tokens: 0, needs: Self::default() };
        let _ = walk.root();
        walk.needs.input_tokens = walk.tokens.saturating_add(walk.chars.div_ceil(CHARS_PER_TOKEN));
        walk.needs
    }

    /// All tokens that the request may take up in a context window.
    #[inline]
    pub fn context_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens_max.unwrap_or(0))
    }
}

struct Walk<'a> {
    scanner: Scanner<'a>,
    chars: u64,
    /// Tokens of what is no text.
    tokens: u64,
    needs: Needs,
}

/// What one part of a message is, as far as its members tell.
#[derive(Default)]
struct Part<'a> {
    is_image: bool,
    is_low: bool,
    /// The data is elsewhere.
    is_remote: bool,
    /// Anthropic's `source`, which means the picture or the document that `type` says.
    source: Option<Value<'a>>,
}

impl<'a> Walk<'a> {
    fn root(&mut self) -> Result<(), Fault> {
        self.scanner.enter_object()?;
        while let Some(key) = self.scanner.next_key()? {
            match &*key.name() {
                b"messages"
                | b"contents"
                | b"input"
                | b"system"
                | b"instructions"
                | b"systemInstruction"
                | b"system_instruction" => self.content()?,
                b"tools" | b"functions" => {
                    let value = self.scanner.value()?;
                    if Scanner::new(value.raw).enter_array().is_ok() && !is_empty(value.raw) {
                        self.need(Features::TOOLS);
                        self.raw(&value);
                    }
                }
                b"response_format" | b"output_format" => {
                    let value = self.scanner.value()?;
                    self.format(&value);
                }
                // Responses and Anthropic have the format one level deeper.
                b"text" | b"output_config" => {
                    let value = self.scanner.value()?;
                    if let Some(format) = scan::member(value.raw, "format") {
                        self.format(&format);
                    }
                }
                b"generationConfig" | b"generation_config" => self.generation_config()?,
                b"reasoning_effort" => {
                    let value = self.scanner.value()?;
                    self.effort(&value);
                }
                b"reasoning" => {
                    let value = self.scanner.value()?;
                    for name in ["effort", "max_tokens", "enabled"] {
                        if let Some(value) = scan::member(value.raw, name) {
                            self.effort(&value);
                        }
                    }
                }
                b"thinking" => {
                    let value = self.scanner.value()?;
                    if let Some(kind) = scan::member(value.raw, "type") {
                        self.need_if(
                            kind.kind == Kind::String && kind.raw != b"\"disabled\"",
                            Features::THINKING,
                        );
                    }
                }
                b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
                    let value = self.scanner.value()?;
                    self.bound(&value);
                }
                _ => {
                    self.scanner.value()?;
                }
            }
        }
        Ok(())
    }

    /// A text, a part, or a list of them.
    fn content(&mut self) -> Result<(), Fault> {
        match self.scanner.peek_kind()? {
            Kind::Array => {
                self.scanner.enter_array()?;
                while self.scanner.next_element()? {
                    self.content()?;
                }
                Ok(())
            }
            Kind::Object => self.part(),
            _ => self.text(),
        }
    }

    /// A message, or a part of one.
    fn part(&mut self) -> Result<(), Fault> {
        let mut part = Part::default();
        self.scanner.enter_object()?;
        while let Some(key) = self.scanner.next_key()? {
            match &*key.name() {
                b"text" | b"refusal" | b"thinking" | b"reasoning_content" | b"arguments" => self.text()?,
                b"content" | b"parts" | b"output" | b"summary" | b"tool_calls" | b"function"
                | b"function_call" | b"functionCall" | b"functionResponse" | b"custom" | b"file"
                | b"input_audio" => self.content()?,
                // Arguments and results: text in some dialects, objects in the others.
                b"input" | b"args" | b"response" => match self.scanner.peek_kind()? {
                    Kind::String => self.text()?,
                    _ => {
                        let value = self.scanner.value()?;
                        self.raw(&value);
                    }
                },
                b"type" => {
                    let value = self.scanner.value()?;
                    part.is_image |=
                        matches!(value.raw, b"\"image\"" | b"\"image_url\"" | b"\"input_image\"");
                }
                b"image_url" => {
                    part.is_image = true;
                    let value = self.scanner.value()?;
                    part.is_low |=
                        scan::member(value.raw, "detail").is_some_and(|detail| detail.raw == b"\"low\"");
                }
                b"detail" => part.is_low |= self.scanner.value()?.raw == b"\"low\"",
                b"source" => part.source = Some(self.scanner.value()?),
                b"inlineData" | b"inline_data" | b"fileData" | b"file_data" | b"data" => {
                    let value = self.scanner.value()?;
                    self.data(&value, &mut part);
                }
                b"file_id" | b"file_url" => {
                    part.is_remote = true;
                    self.scanner.value()?;
                }
                _ => {
                    self.scanner.value()?;
                }
            }
        }
        self.media(&part);
        Ok(())
    }

    /// Adds what a part has beside its texts.
    fn media(&mut self, part: &Part<'_>) {
        if part.is_image {
            self.need(Features::VISION);
            self.tokens += if part.is_low { IMAGE_LOW_TOKENS } else { IMAGE_TOKENS };
            return;
        }
        if let Some(source) = &part.source {
            let member = |name| scan::member(source.raw, name);
            match (member("type"), member("data"), member("content")) {
                (Some(kind), Some(data), _) if kind.raw == b"\"text\"" => self.raw(&data),
                (_, Some(data), _) => self.encoded(&data),
                (_, None, Some(content)) => self.raw(&content),
                (_, None, None) => self.tokens += IMAGE_TOKENS,
            }
        } else if part.is_remote {
            self.tokens += IMAGE_TOKENS;
        }
    }

    /// Data in base64, or Gemini's object around it.
    fn data(&mut self, value: &Value<'a>, part: &mut Part<'_>) {
        if value.kind != Kind::Object {
            return self.encoded(value);
        }
        let mime = scan::member(value.raw, "mimeType").or_else(|| scan::member(value.raw, "mime_type"));
        match scan::member(value.raw, "data") {
            _ if mime.is_some_and(|mime| mime.raw.starts_with(b"\"image/")) => part.is_image = true,
            Some(data) => self.encoded(&data),
            None => part.is_remote = true,
        }
    }

    fn generation_config(&mut self) -> Result<(), Fault> {
        if self.scanner.peek_kind()? != Kind::Object {
            return self.scanner.value().map(|_| ());
        }
        self.scanner.enter_object()?;
        while let Some(key) = self.scanner.next_key()? {
            let value = self.scanner.value()?;
            match &*key.name() {
                b"responseMimeType" | b"response_mime_type" => {
                    self.need_if(value.raw == b"\"application/json\"", Features::JSON);
                }
                b"responseSchema" | b"response_schema" | b"responseJsonSchema" | b"response_json_schema" => {
                    self.need_if(value.kind == Kind::Object, Features::JSON);
                    self.raw(&value);
                }
                b"maxOutputTokens" | b"max_output_tokens" => self.bound(&value),
                b"thinkingConfig" | b"thinking_config" => {
                    for name in ["thinkingBudget", "thinking_budget", "thinkingLevel", "thinking_level"] {
                        if let Some(value) = scan::member(value.raw, name) {
                            self.effort(&value);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A format of answers: `{"type": "json_object"}` or a schema.
    fn format(&mut self, format: &Value<'_>) {
        let Some(kind) = scan::member(format.raw, "type") else { return };
        if matches!(kind.raw, b"\"json_object\"" | b"\"json_schema\"") {
            self.need(Features::JSON);
            self.raw(format);
        }
    }

    /// How much a model is to think: a word, a number of tokens or a switch.
    fn effort(&mut self, value: &Value<'_>) {
        let asks = match value.kind {
            Kind::String => value.raw != b"\"none\"",
            // A negative number leaves it to the model, as saying nothing does.
            Kind::Number => value.as_count().is_some_and(|tokens| tokens > 0),
            Kind::Bool => value.as_bool() == Some(true),
            Kind::Null | Kind::Array | Kind::Object => false,
        };
        self.need_if(asks, Features::THINKING);
    }

    fn bound(&mut self, value: &Value<'_>) {
        let known = self.needs.output_tokens_max;
        self.needs.output_tokens_max = match (known, value.as_count()) {
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
    }

    fn text(&mut self) -> Result<(), Fault> {
        let value = self.scanner.value()?;
        if value.kind == Kind::String {
            self.chars += text::char_count(&value.raw[1..value.raw.len() - 1]);
        }
        Ok(())
    }

    /// Counts a value as it stands: schemas, arguments.
    fn raw(&mut self, value: &Value<'_>) {
        self.chars += text::char_count(value.raw);
    }

    /// Counts data in base64 by its size.
    fn encoded(&mut self, value: &Value<'_>) {
        if value.kind == Kind::String {
            self.tokens += value.raw.len() as u64 * 3 / 4 / BYTES_PER_TOKEN;
        }
    }

    fn need(&mut self, feature: Features) {
        self.needs.features = self.needs.features.or(feature);
    }

    fn need_if(&mut self, condition: bool, feature: Features) {
        if condition {
            self.need(feature);
        }
    }
}

/// Whether an array has no element.
fn is_empty(array: &[u8]) -> bool {
    let mut scanner = Scanner::new(array);
    scanner.enter_array().is_err() || !scanner.next_element().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needs(body: &str) -> Needs {
        Needs::of(body.as_bytes())
    }

    fn words(features: Features) -> Vec<&'static str> {
        let named = Features::NAMES.into_iter();
        named.filter(|(feature, _)| !features.and(*feature).is_empty()).map(|(_, name)| name).collect()
    }

    #[test]
    fn tokens_are_a_quarter_of_the_characters_of_all_texts() {
        let cases = [
            ("nothing", "{}", 0),
            ("chat", r#"{"messages":[{"role":"user","content":"12345678"}]}"#, 2),
            ("rounded up", r#"{"messages":[{"role":"user","content":"123456789"}]}"#, 3),
            ("characters, not bytes", r#"{"messages":[{"content":"日本語éé\n\u00e9\""}]}"#, 2),
            (
                "parts and roles",
                r#"{"messages":[{"role":"system","content":"1234"},{"content":[{"type":"text","text":"1234"},{"text":"12345678"}]}]}"#,
                4,
            ),
            (
                "calls and results",
                r#"{"messages":[{"content":null,"tool_calls":[{"id":"x","function":{"name":"f","arguments":"{\"a\":1}!"}}]},{"role":"tool","content":"1234"}]}"#,
                3,
            ),
            ("tools as they stand", r#"{"tools":[{"type":"x"}]}"#, 4),
            ("responses", r#"{"input":"12345678","instructions":"1234"}"#, 3),
            (
                "responses, items",
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"12345678"}]},{"type":"function_call","arguments":"1234"},{"type":"function_call_output","output":"1234"}]}"#,
                4,
            ),
            (
                "anthropic",
                r#"{"system":[{"type":"text","text":"1234"}],"messages":[{"content":[{"type":"tool_use","input":{"a":1}},{"type":"tool_result","content":[{"type":"text","text":"12345"}]},{"type":"thinking","thinking":"1234"}]}]}"#,
                5,
            ),
            (
                "gemini",
                r#"{"systemInstruction":{"parts":[{"text":"1234"}]},"contents":[{"parts":[{"text":"1234"},{"functionCall":{"name":"f","args":{"a":1}}},{"functionResponse":{"response":{}}}]}]}"#,
                5,
            ),
            ("a name with escapes", r#"{"mess\u0061ges":[{"cont\u0065nt":"1234"}]}"#, 1),
            ("not text", r#"{"messages":[{"content":5},{"content":true},7],"input":null}"#, 0),
        ];
        for (name, body, tokens) in cases {
            assert_eq!(needs(body).input_tokens, tokens, "{name}");
        }
    }

    #[test]
    fn pictures_and_data_count_by_what_they_are() {
        let data = "A".repeat(4_000);
        let cases = [
            ("a link", r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]}"#.to_owned(), 1_000),
            ("from afar", r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"u","detail":"low"}}]}]}"#.to_owned(), 85),
            ("in the body", format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{data}"}},"type":"image_url"}}]}}]}}"#), 1_000),
            ("responses", r#"{"input":[{"content":[{"type":"input_image","image_url":"u","detail":"low"}]}]}"#.to_owned(), 85),
            ("responses, by id", r#"{"input":[{"content":[{"type":"input_image","file_id":"f"}]}]}"#.to_owned(), 1_000),
            ("anthropic", format!(r#"{{"messages":[{{"content":[{{"source":{{"type":"base64","media_type":"image/png","data":"{data}"}},"type":"image"}}]}}]}}"#), 1_000),
            ("gemini", format!(r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}]}}]}}"#), 1_000),
            ("gemini, linked", r#"{"contents":[{"parts":[{"file_data":{"mime_type":"image/png","file_uri":"u"}}]}]}"#.to_owned(), 1_000),
            ("sound", format!(r#"{{"messages":[{{"content":[{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}]}}]}}"#), 75),
            ("a file", format!(r#"{{"messages":[{{"content":[{{"type":"file","file":{{"file_data":"{data}"}}}}]}}]}}"#), 75),
            ("a document", format!(r#"{{"messages":[{{"content":[{{"type":"document","source":{{"type":"base64","data":"{data}"}}}}]}}]}}"#), 75),
            ("a document of text", r#"{"messages":[{"content":[{"type":"document","source":{"type":"text","data":"123456"}}]}]}"#.to_owned(), 2),
            ("a document elsewhere", r#"{"messages":[{"content":[{"type":"document","source":{"type":"url","url":"u"}}]}]}"#.to_owned(), 1_000),
            ("gemini, sound", format!(r#"{{"contents":[{{"parts":[{{"inline_data":{{"mime_type":"audio/wav","data":"{data}"}}}}]}}]}}"#), 75),
        ];
        for (name, body, tokens) in cases {
            let found = needs(&body);
            assert_eq!(found.input_tokens, tokens, "{name}");
            let is_image = tokens == 85 || (tokens == 1_000 && name != "a document elsewhere");
            assert_eq!(words(found.features) == ["vision"], is_image, "{name}");
        }
    }

    #[test]
    fn what_a_model_has_to_be_able_to_do_is_found_in_every_dialect() {
        let cases = [
            (r#"{"messages":[{"content":"an \"image_url\" and \"tools\""}]}"#, &[][..]),
            (r#"{"tools":[]}"#, &[]),
            (r#"{"tools":null,"functions":{}}"#, &[]),
            (r#"{"tools":[{}]}"#, &["functionCalling"]),
            (r#"{"functions":[{"name":"f"}]}"#, &["functionCalling"]),
            (r#"{"response_format":{"type":"text"}}"#, &[]),
            (r#"{"response_format":{"type":"json_object"}}"#, &["json"]),
            (r#"{"response_format":{"type":"json_schema","json_schema":{}}}"#, &["json"]),
            (r#"{"text":{"format":{"type":"json_schema"},"verbosity":"low"}}"#, &["json"]),
            (r#"{"text":{"format":{"type":"text"}}}"#, &[]),
            (r#"{"output_config":{"format":{"type":"json_schema"}}}"#, &["json"]),
            (r#"{"output_format":{"type":"json_schema"}}"#, &["json"]),
            (r#"{"generationConfig":{"responseMimeType":"application/json"}}"#, &["json"]),
            (r#"{"generationConfig":{"responseMimeType":"text/plain"}}"#, &[]),
            (r#"{"generation_config":{"response_schema":{"type":"OBJECT"}}}"#, &["json"]),
            (r#"{"reasoning_effort":"low"}"#, &["thinking"]),
            (r#"{"reasoning_effort":"none"}"#, &[]),
            (r#"{"reasoning_effort":null}"#, &[]),
            (r#"{"reasoning":{"effort":"medium"}}"#, &["thinking"]),
            (r#"{"reasoning":{"effort":null,"summary":"auto"}}"#, &[]),
            (r#"{"reasoning":{"max_tokens":100}}"#, &["thinking"]),
            (r#"{"reasoning":{"enabled":true}}"#, &["thinking"]),
            (r#"{"thinking":{"type":"enabled","budget_tokens":1024}}"#, &["thinking"]),
            (r#"{"thinking":{"type":"adaptive"}}"#, &["thinking"]),
            (r#"{"thinking":{"type":"disabled"}}"#, &[]),
            (r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}"#, &[]),
            (r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}}"#, &[]),
            (r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":512}}}"#, &["thinking"]),
            (r#"{"generationConfig":{"thinkingConfig":{"thinkingLevel":"high"}}}"#, &["thinking"]),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{}}]}],"tools":[1],"response_format":{"type":"json_object"},"reasoning_effort":"high"}"#,
                &["vision", "functionCalling", "json", "thinking"],
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(words(needs(body).features), expected, "{body}");
        }
    }

    #[test]
    fn the_smallest_bound_of_the_output_counts() {
        let cases = [
            ("{}", None),
            (r#"{"max_tokens":5}"#, Some(5)),
            (r#"{"max_tokens":5,"max_completion_tokens":3}"#, Some(3)),
            (r#"{"max_completion_tokens":3,"max_tokens":"x"}"#, Some(3)),
            (r#"{"max_output_tokens":1e3}"#, Some(1_000)),
            (r#"{"generationConfig":{"maxOutputTokens":7}}"#, Some(7)),
            (r#"{"max_tokens":-1}"#, None),
        ];
        for (body, expected) in cases {
            assert_eq!(needs(body).output_tokens_max, expected, "{body}");
        }
        let both = needs(r#"{"messages":[{"content":"12345678"}],"max_tokens":10}"#);
        assert_eq!(both.context_tokens(), 12);
    }

    #[test]
    fn a_body_that_breaks_off_counts_up_to_there() {
        assert_eq!(needs(r#"{"messages":[{"content":"12345678"},{"content":"#).input_tokens, 2);
        assert_eq!(needs("[]"), Needs::default());
        let deep = format!(r#"{{"messages":{}"#, r#"[{"content":"#.repeat(50_000));
        assert_eq!(needs(&deep).input_tokens, 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            Needs::of(&bytes);
        }

        #[test]
        fn likely_bodies_are_read_without_harm(text in "(\\{|\\}|\\[|\\]|:|,|1|null|true|\"(messages|content|text|tools|source|data|type|image|thinking|generationConfig|\\\\u0061|é)\"){0,60}") {
            Needs::of(text.as_bytes());
        }
    }
}
