//! A request for generated text.

use crate::dialect::loss::Feature;
use crate::json::fragment::{Raw, Text};
use crate::json::scan::Scanner;
use crate::json::token::Kind;

/// One request, in the order of its parts.
///
/// The model's name is not in here: which model is asked is routing's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether a chat client asked for the usage chunk; true for the dialects that always send usage.
    pub stream_usage: bool,
    /// What is said before the conversation, block by block.
    pub system: Vec<Part<'a>>,
    /// The conversation. Two turns of one role may follow one another.
    pub turns: Vec<Turn<'a>>,
    /// Functions the model may call.
    pub tools: Vec<Tool<'a>>,
    /// The one built-in tool that is mapped.
    pub web_search: Option<WebSearch<'a>>,
    /// Which of them it may or must call.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several calls may be made at once, where the client said so.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub format: Format<'a>,
    /// Most tokens to be generated, reasoning included.
    pub output_tokens_max: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
    /// How much to think, and whether to show it.
    pub reasoning: Reasoning,
    /// The end user, as the client names him.
    pub end_user: Option<Text<'a>>,
    /// A cache mark for the whole request (Anthropic's top-level `cache_control`).
    pub cache: Option<CacheMark>,
    /// Everything that is one value under a name: temperature, seed, penalties, … as written, each once.
    pub settings: Vec<Setting<'a>>,
    /// Names of members that no reader knows; reported as dropped.
    pub unknown: Vec<Text<'a>>,
    /// The chat client uses `functions` and `function_call`, and reads the answer there.
    pub legacy_functions: bool,
}

/// A value under a name. Its type has been checked by the reader; numbers keep their digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// Which one.
    pub feature: Feature,
    /// Its value, in the canonical form named beside the feature.
    pub value: Raw<'a>,
}

impl Setting<'_> {
    /// Whether it is a sampling parameter with the value that it has anyway: leaving it out changes nothing.
    pub fn is_default(&self) -> bool {
        let default = match self.feature {
            Feature::Temperature | Feature::TopP => 1.0,
            Feature::FrequencyPenalty | Feature::PresencePenalty => 0.0,
            _ => return false,
        };
        self.value.as_str().parse::<f64>().is_ok_and(|number| number == default)
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions in the middle of a conversation.
    System,
    /// The user; results of tools too.
    User,
    /// The model.
    Assistant,
}

/// What one side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<'a> {
    /// Who.
    pub role: Role,
    /// The participant's name (chat only).
    pub name: Option<Text<'a>>,
    /// What, in order. A user's turn has its tool results first.
    pub parts: Vec<Part<'a>>,
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it is.
    pub content: Content<'a>,
    /// A mark up to which the provider's prompt cache is to reach.
    pub cache: Option<CacheMark>,
}

impl<'a> From<Content<'a>> for Part<'a> {
    fn from(content: Content<'a>) -> Self {
        Self { content, cache: None }
    }
}

/// Lifetime of a cache mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMark {
    /// Not given: the provider's default.
    Default,
    /// Five minutes (Anthropic).
    FiveMinutes,
    /// Half an hour (OpenAI).
    HalfAnHour,
    /// One hour (Anthropic).
    OneHour,
    /// Twelve hours (OpenAI).
    TwelveHours,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// Text, with where it comes from (answers only).
    Text {
        /// The text.
        text: Text<'a>,
        /// Its sources.
        citations: Vec<super::Citation<'a>>,
    },
    /// The model's refusal in words.
    Refusal(Text<'a>),
    /// An image, sound or film.
    Media(Media<'a>),
    /// A PDF or a text document.
    Document(Document<'a>),
    /// A search result that the client supplies (Anthropic).
    SearchResult {
        /// Its title.
        title: Text<'a>,
        /// Where it comes from.
        source: Text<'a>,
        /// Its text, joined by blank lines.
        text: Text<'a>,
    },
    /// What the model thought.
    Thinking {
        /// Readable text; empty where it is hidden.
        text: Text<'a>,
        /// What the provider needs to take it back.
        proof: Option<Proof<'a>>,
        /// Anthropic's `redacted_thinking`: nothing readable, the data is the proof's.
        redacted: bool,
    },
    /// The model's call of a function.
    ToolCall(ToolCall<'a>),
    /// What a call brought.
    ToolResult(ToolResult<'a>),
    /// A part that no other dialect has. Writers of other dialects refuse it by this name.
    Unknown(Text<'a>),
}

/// The kinds of [`Media`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// A film.
    Video,
}

/// An image, sound or film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media<'a> {
    /// Which.
    pub kind: MediaKind,
    /// Where its bytes are.
    pub source: Source<'a>,
    /// How closely to look: `low`, `high`, `auto` or `original`.
    pub detail: Option<Text<'a>>,
}

/// Where the bytes of a medium or document are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<'a> {
    /// Here, in base64 with the standard alphabet.
    Base64 {
        /// Their media type, such as `image/png`; sniffed from the bytes where the client gave none.
        media_type: Text<'a>,
        /// The base64 text.
        data: Text<'a>,
    },
    /// At a URL that is no data URI.
    Url(Text<'a>),
    /// In a file of one provider's account.
    File(Text<'a>),
    /// Here, as plain text (documents only).
    Text(Text<'a>),
}

/// A PDF or a text document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    /// Where its bytes are.
    pub source: Source<'a>,
    /// Its name or title.
    pub title: Option<Text<'a>>,
    /// What the client says about it (Anthropic's `context`).
    pub context: Option<Text<'a>>,
    /// Whether citations of it are wanted.
    pub citations: bool,
}

/// Who made a proof: only he can take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// OpenAI and Azure.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Google.
    Google,
    /// Another one; its proofs go nowhere.
    Other,
}

/// An opaque piece that proves to a provider that a thought is its own: signature, encrypted content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof<'a> {
    /// Who made it.
    pub vendor: Vendor,
    /// The provider's id of the item that carries it (Responses: `rs_…`).
    pub item_id: Option<Text<'a>>,
    /// The blob, as the provider wrote it.
    pub data: Text<'a>,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// With a JSON object.
    Function,
    /// With free text.
    Custom,
}

/// The input of a call, in the form of the dialect it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments<'a> {
    /// A JSON object (Anthropic, Gemini).
    Object(Raw<'a>),
    /// A string that should hold a JSON object (OpenAI), or the free text of a custom call.
    Text(Text<'a>),
}

impl<'a> Arguments<'a> {
    /// As a string with JSON in it. An object is written without white space; its numbers and order stay.
    pub fn as_text(&self) -> Text<'_> {
        match self {
            Self::Text(text) if text.is_empty() => Text::from_plain("{}"),
            Self::Text(text) => text.borrow(),
            Self::Object(object) => Text::from(compact(object.as_str())),
        }
    }

    /// As a JSON object: `Ok`; a string that holds none comes back as `Err`, wrapped as `{"_raw":"…"}`. An empty one is
    /// `{}`.
    pub fn as_object(&self) -> Result<Raw<'_>, Raw<'static>> {
        let text = match self {
            Self::Object(object) => return Ok(Raw::from(object)),
            Self::Text(text) => text,
        };
        let decoded = text.decode();
        let json = decoded.as_deref().map(str::trim);
        match json {
            Some("") => Ok(Raw::from_written("{}".to_owned())),
            Some(json) if is_object(json) => Ok(Raw::from_written(json.to_owned())),
            _ => Err(Raw::from_written(format!("{{\"_raw\":\"{}\"}}", text.escaped()))),
        }
    }
}

fn is_object(json: &str) -> bool {
    let mut scanner = Scanner::new(json.as_bytes());
    let kind = scanner.value().map(|value| value.kind);
    kind == Ok(Kind::Object) && scanner.end().is_ok()
}

/// Without the white space between tokens.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character == '"' {
            in_string = true;
        } else if matches!(character, ' ' | '\t' | '\r' | '\n') {
            continue;
        }
        out.push(character);
    }
    out
}

/// The model's call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall<'a> {
    /// Pairs the call with its result; `None` where the dialect has none (Gemini).
    pub id: Option<Text<'a>>,
    /// The function.
    pub name: Text<'a>,
    /// Its input.
    pub arguments: Arguments<'a>,
    /// Function or custom.
    pub kind: CallKind,
    /// Gemini's signature on the call itself.
    pub proof: Option<Proof<'a>>,
}

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult<'a> {
    /// The call's id; `None` where the dialect has none.
    pub call_id: Option<Text<'a>>,
    /// The function's name, where the dialect repeats it (Gemini).
    pub name: Option<Text<'a>>,
    /// Text, images, documents. Empty: nothing.
    pub parts: Vec<Part<'a>>,
    /// Gemini's `response` object, where it is more than one text under `output` or `error`.
    pub object: Option<Raw<'a>>,
    /// Whether the call failed.
    pub is_error: bool,
    /// Function or custom.
    pub kind: CallKind,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it does.
    pub description: Option<Text<'a>>,
    /// JSON Schema of its input; `None`: it takes none.
    pub schema: Option<Raw<'a>>,
    /// Whether the input has to fit the schema exactly; resolved by the reader (absent means on in Responses).
    pub strict: bool,
    /// Function or custom (free text).
    pub kind: CallKind,
    /// Grammar of a custom tool: an object of `syntax` and `definition`, as chat has it.
    pub grammar: Option<Raw<'a>>,
    /// A cache mark behind it.
    pub cache: Option<CacheMark>,
}

/// The provider's own web search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebSearch<'a> {
    /// Only these domains; empty: all.
    pub allowed_domains: Vec<Text<'a>>,
    /// The user's place: an object of `city`, `region`, `country`, `timezone`.
    pub location: Option<Raw<'a>>,
}

/// Which functions the model may or must call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// It decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(Text<'a>),
    /// One of these.
    Allowed {
        /// At least one of them.
        required: bool,
        /// Their names.
        names: Vec<Text<'a>>,
    },
}

/// The form of the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Format<'a> {
    /// Text.
    #[default]
    Text,
    /// Some JSON.
    Json,
    /// JSON that fits a schema.
    Schema {
        /// Its name, where the dialect has one.
        name: Option<Text<'a>>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// JSON Schema.
        schema: Raw<'a>,
        /// Whether the answer has to fit exactly.
        strict: bool,
    },
}

/// How much to think. At most one of `effort` and `budget` steers; both may be given by Anthropic clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// In words.
    pub effort: Option<crate::dialect::Effort>,
    /// In tokens; 0 is off, `None` with `effort: None` is the model's default.
    pub budget_tokens: Option<u64>,
    /// Whether thoughts are to be shown.
    pub show: Option<SummaryWish>,
}

impl Reasoning {
    /// What a report calls the wish that steers.
    pub fn feature(&self) -> Feature {
        if self.effort.is_some() { Feature::Effort } else { Feature::ThinkingBudget }
    }
}

/// How thoughts are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryWish {
    /// Not at all.
    Hidden,
    /// As the provider likes.
    Auto,
    /// Briefly.
    Concise,
    /// At length.
    Detailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_from_one_form_to_the_other() {
        let object = |json| Arguments::Object(Raw::from_scanned(json).unwrap());
        let text = |plain| Arguments::Text(Text::from_plain(plain));
        let cases: [(&[u8], &str); 3] = [
            (br#"{ "a" : 1.50, "b":[ "x \" y" ] }"#, r#"{"a":1.50,"b":["x \" y"]}"#),
            (br#"{"k":"\\"}"#, r#"{"k":"\\"}"#),
            (b"{}", "{}"),
        ];
        for (json, compact) in cases {
            assert_eq!(object(json).as_text().decode().unwrap(), compact);
        }
        assert_eq!(text("").as_text().escaped(), "{}");
        for (plain, json) in [("", "{}"), (" ", "{}"), (r#" {"a":1}"#, r#"{"a":1}"#)] {
            assert_eq!(text(plain).as_object().unwrap().as_str(), json);
        }
        for (plain, json) in [("[1]", r#"{"_raw":"[1]"}"#), (r#"{"a":"#, r#"{"_raw":"{\"a\":"}"#)] {
            assert_eq!(text(plain).as_object().unwrap_err().as_str(), json);
        }
    }
}
