//! What becomes of each feature of a request in each dialect: the one table that the codecs act on. And of answers:
//! [`Saying`].
//!
//! `docs/dialects.md` is written from it. A row says what a *writer* does with the feature; a pair of dialects loses what
//! the reader's dialect can say and the writer's row does not carry. Same dialect in and out never comes here. Rules: the
//! project's dialect mapping, sections 2 to 9 and 14.

use std::fmt::Write as _;

use super::Dialect;
use crate::json::fragment::Text;
use crate::limits::DROPPED_NAMES_MAX;

/// What a writer does with a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Writes it.
    Carried,
    /// Writes something else that means nearly the same, and reports it.
    Changed,
    /// Leaves it out and reports it.
    Dropped,
    /// Leaves it out; nothing in the answer could tell.
    Silent,
    /// Refuses the request: without it the answer would mean something else.
    Refused,
    /// Depends on the value or the model; the row's note says how.
    Depends,
}

impl Fate {
    /// The word for it in `docs/dialects.md`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::Silent => "left out",
            Self::Refused => "refused",
            Self::Depends => "depends",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The feature's name in reports.
    pub name: &'static str,
    /// Which dialects can say it: chat, Responses, Anthropic, Gemini.
    pub said_by: [bool; 4],
    /// What their writers do with it, in the same order.
    pub fates: [Fate; 4],
    /// What `Depends` depends on, or what `Changed` changes.
    pub note: &'static str,
}

/// A table: its enum, and under each of its names a row.
macro_rules! table {
    ($(#[doc = $about:literal])+ $table:ident; $($(#[doc = $doc:literal])+ $feature:ident $name:literal $said_by:literal [$chat:ident $responses:ident $anthropic:ident $gemini:ident] $note:literal,)+) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $table {
            $($(#[doc = $doc])+ $feature,)+
        }

        impl $table {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$feature,)+];

            /// Its row.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$feature => Row {
                        name: $name,
                        said_by: said_by($said_by),
                        fates: [Fate::$chat, Fate::$responses, Fate::$anthropic, Fate::$gemini],
                        note: $note,
                    },)+
                }
            }
        }
    };
}

mod answer;

pub use answer::Saying;

table! {
    /// Something a request can ask for that not every dialect can say.
    Feature;
    /// A number.
    Temperature "temperature" "CRAG" [Depends Depends Depends Carried] "Anthropic: above 1 is clamped to 1 (changed); dropped for models that refuse sampling parameters",
    /// A number.
    TopP "top_p" "CRAG" [Depends Depends Depends Carried] "dropped for models that refuse sampling parameters; Claude Opus 4.1 and later take it only without `temperature`",
    /// A number.
    TopK "top_k" "CAG" [Dropped Dropped Depends Carried] "dropped for Claude models that refuse sampling parameters",
    /// A whole number.
    Seed "seed" "CG" [Carried Dropped Dropped Carried] "",
    /// A whole number above 1; readers leave 1 out.
    AnswerCount "n" "CG" [Carried Refused Refused Carried] "",
    /// A number.
    FrequencyPenalty "frequency_penalty" "CG" [Carried Dropped Dropped Carried] "",
    /// A number.
    PresencePenalty "presence_penalty" "CG" [Carried Dropped Dropped Carried] "",
    /// An object.
    LogitBias "logit_bias" "C" [Carried Dropped Dropped Dropped] "",
    /// A whole number: log probabilities of the chosen tokens and of so many others. Readers leave out "no".
    Logprobs "logprobs" "CRG" [Carried Carried Refused Carried] "",
    /// Most tokens to be generated.
    OutputLimit "max_tokens" "CRAG" [Carried Depends Depends Carried] "raised where thinking would use all of it up, and to the 16 that Responses wants at least (changed)",
    /// Texts that end the answer.
    Stop "stop" "CAG" [Depends Refused Depends Depends] "refused where the target takes fewer of them (4 in chat, none in OpenAI's newer reasoning models, 5 in Gemini), and by Anthropic where one is nothing but white space",
    /// `"low"`, `"medium"`, `"high"`.
    Verbosity "verbosity" "CR" [Depends Carried Dropped Dropped] "chat: dropped for servers other than OpenAI's",
    /// An object of texts.
    Metadata "metadata" "CR" [Depends Carried Dropped Dropped] "chat: dropped for servers other than OpenAI's",
    /// The end user's id.
    EndUser "user" "CRA" [Depends Depends Carried Dropped] "OpenAI's servers: an id of more than 64 bytes becomes its hash (changed); chat: dropped for Mistral, which has no place for it",
    /// `"auto"`, `"default"`, `"flex"`, `"scale"`, `"priority"`, `"fast"`, `"ultrafast"` in OpenAI's words.
    ServiceTier "service_tier" "CRAG" [Depends Depends Depends Depends] "what the target has no tier for is left out",
    /// A text.
    PromptCacheKey "prompt_cache_key" "CR" [Depends Carried Silent Silent] "chat: left out for servers other than OpenAI's",
    /// OpenAI's `prompt_cache_options`, an object.
    PromptCacheOptions "prompt_cache_options" "CR" [Depends Carried Silent Silent] "chat: left out for servers other than OpenAI's",
    /// OpenAI's `prompt_cache_retention`, a text.
    PromptCacheRetention "prompt_cache_retention" "CR" [Depends Carried Silent Silent] "chat: left out for servers other than OpenAI's",
    /// Gemini's cached content, a name.
    CachedContent "cachedContent" "G" [Refused Refused Refused Carried] "",
    /// A mark up to which the prompt is cached.
    CacheMark "cache_control" "CRA" [Depends Depends Carried Silent] "carried to models that take `prompt_cache_breakpoint`, else left out",
    /// The lifetime of such a mark.
    CacheTtl "cache_ttl" "CRA" [Changed Changed Changed Silent] "5 m and 30 m, 1 h and 12 h stand for one another",
    /// Whether the provider keeps the answer.
    Store "store" "CR" [Silent Carried Silent Silent] "",
    /// A response that this one follows.
    PreviousResponse "previous_response_id" "R" [Refused Carried Refused Refused] "",
    /// A conversation kept by the provider.
    Conversation "conversation" "R" [Refused Carried Refused Refused] "",
    /// A prompt kept by the provider.
    StoredPrompt "prompt" "R" [Refused Carried Refused Refused] "",
    /// An item kept by the provider.
    ItemReference "item_reference" "R" [Refused Carried Refused Refused] "",
    /// An answer that is not waited for.
    Background "background" "R" [Refused Carried Refused Refused] "",
    /// A prompt that is shortened when it is too long; readers leave `disabled` out.
    Truncation "truncation" "R" [Dropped Carried Dropped Dropped] "",
    /// Most calls of built-in tools.
    MaxToolCalls "max_tool_calls" "R" [Dropped Carried Dropped Dropped] "",
    /// A guess of the answer, for speed.
    Prediction "prediction" "C" [Carried Dropped Dropped Dropped] "",
    /// OpenAI's moderation of the answer.
    Moderation "moderation" "CR" [Depends Carried Dropped Dropped] "chat: dropped for servers other than OpenAI's",
    /// Google's safety settings.
    SafetySettings "safetySettings" "G" [Dropped Dropped Dropped Carried] "",
    /// Sound or images as output; readers leave text out.
    Modalities "modalities" "CG" [Refused Refused Refused Refused] "",
    /// Anthropic's container for code.
    Container "container" "A" [Refused Refused Carried Refused] "",
    /// Anthropic's context management.
    ContextManagement "context_management" "A" [Dropped Dropped Carried Dropped] "",
    /// A participant's name.
    ParticipantName "name" "C" [Carried Dropped Dropped Dropped] "",
    /// Instructions in the middle of a conversation.
    SystemPosition "system_position" "CRA" [Carried Carried Depends Changed] "moved to the front (changed); Claude Opus 4.8 and later take them behind a user's turn",
    /// A first turn of the user that says nothing.
    EmptyTurn "empty_turn" "CRAG" [Carried Carried Changed Silent] "Anthropic takes none: a full stop is sent in its place",
    /// A last turn of the assistant that the model is to continue.
    Prefill "prefill" "CRAG" [Changed Changed Depends Changed] "the model answers anew; refused by Claude Opus 4.6 and later",
    /// An image in the request.
    ImageBytes "image" "CRAG" [Carried Carried Carried Carried] "",
    /// An image at a URL.
    ImageUrl "image_url" "CRAG" [Carried Carried Carried Depends] "fetched by the gateway and sent as bytes; refused where it cannot be had or `media.fetch` is off",
    /// A picture that the model has made, in the history.
    AssistantImage "assistant_image" "CRG" [Refused Refused Refused Carried] "",
    /// How closely to look at an image.
    ImageDetail "detail" "CRG" [Carried Carried Silent Depends] "dropped for models before Gemini 3",
    /// A PDF or another document's bytes.
    DocumentBytes "document" "CRAG" [Carried Carried Carried Carried] "",
    /// A document at a URL.
    DocumentUrl "document_url" "CRAG" [Depends Carried Carried Depends] "fetched by the gateway and sent as bytes; refused where it cannot be had or `media.fetch` is off",
    /// A text document.
    DocumentText "document_text" "A" [Changed Changed Carried Changed] "becomes a text with its title as first line",
    /// Something the client says about a document.
    DocumentContext "document_context" "A" [Changed Changed Carried Changed] "becomes text",
    /// Citations of the client's documents.
    DocumentCitations "citations" "A" [Dropped Dropped Carried Dropped] "",
    /// A file of one provider's account.
    FileId "file_id" "CRAG" [Refused Refused Refused Refused] "",
    /// Sound as input.
    Audio "input_audio" "CG" [Carried Refused Refused Carried] "chat takes wav and mp3, others are refused",
    /// A film as input.
    Video "video" "CG" [Refused Refused Refused Carried] "",
    /// A search result that the client supplies.
    SearchResult "search_result" "A" [Changed Changed Carried Changed] "becomes text with title and source",
    /// A refusal in the history.
    Refusal "refusal" "CR" [Carried Carried Silent Silent] "sent as text",
    /// Thoughts in the history.
    Thinking "thinking" "CRAG" [Depends Depends Depends Depends] "go only to the vendor that had them, with their proof; else left out, and where Claude's last call needs them, thinking is off for the request (changed)",
    /// Arguments of a call in the history that are no JSON object.
    ToolArguments "tool_arguments" "CR" [Carried Carried Changed Changed] "sent as `{\"_raw\": …}`",
    /// A tool whose input is free text.
    CustomTool "custom_tool" "CR" [Depends Carried Changed Changed] "becomes a function with one text `input`, and is unwrapped in the answer; in chat only for servers other than OpenAI's",
    /// The grammar of such an input.
    Grammar "grammar" "CR" [Depends Carried Dropped Dropped] "chat: dropped for servers other than OpenAI's",
    /// A function's input that fits its schema exactly.
    ToolStrict "strict" "CRA" [Depends Depends Depends Silent] "off, and reported as changed, where the schema is not in the target's subset",
    /// Members of a tool that only its own dialect has.
    ToolExtras "tool_options" "RA" [Dropped Dropped Dropped Dropped] "",
    /// A schema's keywords that the target does not know.
    SchemaKeywords "schema_keywords" "CRAG" [Silent Silent Changed Changed] "moved into the description (Anthropic) or left out (Gemini's OpenAPI subset)",
    /// The provider's web search.
    WebSearch "web_search" "CRAG" [Carried Carried Carried Carried] "",
    /// The domains and the place to which a web search is limited.
    WebSearchScope "web_search_scope" "CRA" [Depends Carried Carried Dropped] "chat takes the place and no domains",
    /// Any other built-in tool.
    BuiltInTool "built_in_tool" "CRAG" [Refused Refused Refused Refused] "",
    /// A choice of several functions.
    AllowedTools "allowed_tools" "CRG" [Depends Carried Changed Carried] "only those functions are sent; in chat only for servers other than OpenAI's",
    /// A forced call.
    ForcedTool "tool_choice" "CRAG" [Carried Carried Depends Carried] "refused by Claude Fable 5 and Mythos 5, and while thinking is on in older ones",
    /// No parallel calls.
    ParallelToolCalls "parallel_tool_calls" "CRA" [Carried Carried Carried Dropped] "",
    /// The name of a function that the target's rule refuses.
    ToolName "tool_name" "CRAG" [Silent Silent Silent Silent] "a safe name is sent and mapped back",
    /// An image or document in a tool's result.
    ToolResultMedia "tool_result_media" "CRAG" [Changed Carried Carried Depends] "follows the results as content of the user (changed); taken in results by Gemini 3 and later",
    /// A failed call.
    ToolResultError "is_error" "AG" [Changed Changed Carried Carried] "said in the result's text",
    /// Any JSON as the answer.
    JsonObject "json_object" "CRG" [Carried Carried Refused Depends] "refused by models before Gemini 3 while there are functions",
    /// JSON that fits a schema as the answer.
    JsonSchema "json_schema" "CRAG" [Carried Carried Carried Depends] "refused by models before Gemini 3 while there are functions",
    /// The strictness of that schema.
    FormatStrict "format_strict" "CR" [Depends Depends Silent Silent] "off, and reported as changed, where the schema is not in the target's subset",
    /// How much to think, in words.
    Effort "reasoning_effort" "CRAG" [Depends Depends Depends Depends] "becomes a budget for models that take none; thinking that cannot be switched off gets its lowest level (changed), and a level that a model of Google or OpenAI does not have becomes the next one it has (changed); dropped for models of OpenAI that do not reason, and for chat servers that show no thoughts",
    /// How much to think, in tokens.
    ThinkingBudget "thinking_budget" "CAG" [Changed Changed Depends Depends] "becomes an effort; clamped to the model's range (changed)",
    /// Whether thoughts are shown.
    ThinkingShown "thinking_shown" "CRAG" [Silent Carried Carried Carried] "",
    /// A speed hint of Anthropic.
    Speed "speed" "A" [Dropped Dropped Carried Dropped] "",
    /// A member that no reader knows.
    UnknownField "unknown_field" "CRAG" [Dropped Dropped Dropped Dropped] "reported under its own name",
    /// A part, item or block that no reader knows.
    UnknownPart "unknown_part" "CRAG" [Refused Refused Refused Refused] "",
}

const fn said_by(letters: &str) -> [bool; 4] {
    let (mut said, mut at) = ([false; 4], 0);
    while at < letters.len() {
        match letters.as_bytes()[at] {
            b'C' => said[0] = true,
            b'R' => said[1] = true,
            b'A' => said[2] = true,
            b'G' => said[3] = true,
            _ => panic!("a dialect's letter"),
        }
        at += 1;
    }
    said
}

impl Feature {
    /// What the writer of `target` does with it.
    pub const fn fate(self, target: Dialect) -> Fate {
        self.row().fates[target.column()]
    }
}

/// Why a request cannot be read or said in another dialect: for the client, 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// The field, as a path from the body's root: `messages[2].content[0].type`.
    pub field: String,
    /// What is wrong with it and what was expected.
    pub problem: String,
}

impl std::fmt::Display for BadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.field, self.problem)
    }
}

impl std::error::Error for BadRequest {}

/// What one translation lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losses {
    target: Dialect,
    /// Refuse what would be dropped or changed.
    strict: bool,
    /// Each once, in the order of their first mention.
    dropped: Vec<String>,
    changed: Vec<&'static str>,
}

impl Losses {
    /// Nothing lost yet on the way to `target`. `strict` turns every report into a refusal.
    pub fn new(target: Dialect, strict: bool) -> Self {
        Self { target, strict, dropped: Vec::new(), changed: Vec::new() }
    }

    /// The writer meets `feature`: whether it is to write it (as it is, or changed).
    ///
    /// For rows that are [`Fate::Depends`] the writer decides itself, with [`Losses::drop`], [`Losses::change`] and
    /// [`Losses::refuse`]; asked here they count as carried.
    ///
    /// # Errors
    /// The table refuses it; the text says so.
    pub fn meet(&mut self, feature: Feature) -> Result<bool, BadRequest> {
        match feature.fate(self.target) {
            Fate::Carried | Fate::Depends => Ok(true),
            Fate::Changed => self.change(feature).map(|()| true),
            Fate::Dropped => self.drop(feature).map(|()| false),
            Fate::Silent => Ok(false),
            Fate::Refused => Err(self.refuse(feature)),
        }
    }

    /// Reports `feature` as left out.
    ///
    /// # Errors
    /// Reports are refusals.
    pub fn drop(&mut self, feature: Feature) -> Result<(), BadRequest> {
        self.drop_named(feature.row().name)
    }

    /// Reports a field that no row knows as left out.
    ///
    /// # Errors
    /// Reports are refusals.
    pub fn drop_named(&mut self, name: &str) -> Result<(), BadRequest> {
        if self.strict {
            return Err(refusal(name, self.target));
        }
        if self.dropped.len() < DROPPED_NAMES_MAX && !self.dropped.iter().any(|known| known == name) {
            self.dropped.push(name.to_owned());
        }
        Ok(())
    }

    /// Reports `feature` as changed.
    ///
    /// # Errors
    /// Reports are refusals.
    pub fn change(&mut self, feature: Feature) -> Result<(), BadRequest> {
        let name = feature.row().name;
        if self.strict {
            return Err(refusal(name, self.target));
        }
        if !self.changed.contains(&name) {
            self.changed.push(name);
        }
        Ok(())
    }

    /// Reports what a client of `client` does not get of an answer, which is there already: nothing is refused any more.
    pub fn note(&mut self, saying: Saying, client: Dialect) {
        let name = saying.row().name;
        match saying.fate(client) {
            Fate::Changed if !self.changed.contains(&name) => self.changed.push(name),
            Fate::Dropped if !self.dropped.iter().any(|known| known == name) => {
                self.dropped.push(name.to_owned())
            }
            _ => {}
        }
    }

    /// The refusal of `feature`.
    pub fn refuse(&self, feature: Feature) -> BadRequest {
        refusal(feature.row().name, self.target)
    }

    /// The refusal of a part, item or block that no reader knows, by its name.
    pub fn refuse_part(&self, name: &Text<'_>) -> BadRequest {
        refusal(&name.decode().unwrap_or_default(), self.target)
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.changed.is_empty()
    }

    /// What is lost where a body is relayed but for other providers' proofs.
    ///
    /// # Errors
    /// Reports are refusals.
    pub fn of_proofs(target: Dialect, strict: bool) -> Result<Self, BadRequest> {
        let mut losses = Self::new(target, strict);
        losses.drop(Feature::Thinking).map(|()| losses)
    }

    /// The value of `x-routerly-translation`: `dropped=a,b; changed=c`. Characters that a field value or the list could
    /// not hold become `_`.
    pub fn header_value(&self) -> String {
        let mut value = String::new();
        if !self.dropped.is_empty() {
            value.push_str("dropped=");
            for (index, name) in self.dropped.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let clean = |c: char| if c.is_ascii_alphanumeric() || "_-.[]".contains(c) { c } else { '_' };
                value.push_str(comma);
                value.extend(name.chars().take(64).map(clean));
            }
        }
        if !self.changed.is_empty() {
            let separator = if value.is_empty() { "" } else { "; " };
            let _ = write!(value, "{separator}changed={}", self.changed.join(","));
        }
        value
    }
}

fn refusal(name: &str, target: Dialect) -> BadRequest {
    BadRequest {
        field: name.to_owned(),
        problem: format!("the selected model is called by {}, which cannot carry it", target.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_decides_and_each_loss_is_reported_once() {
        let mut losses = Losses::new(Dialect::AnthropicMessages, false);
        assert_eq!(losses.header_value(), "");
        assert_eq!(losses.meet(Feature::Seed), Ok(false));
        assert_eq!(losses.meet(Feature::Seed), Ok(false));
        assert_eq!(losses.meet(Feature::TopK), Ok(true));
        assert_eq!(losses.meet(Feature::PromptCacheKey), Ok(false));
        assert_eq!(losses.meet(Feature::CacheTtl), Ok(true));
        losses.drop_named("x,y z").unwrap();
        assert_eq!(losses.header_value(), "dropped=seed,x_y_z; changed=cache_ttl");
        let refused = losses.meet(Feature::AnswerCount).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`n`: the selected model is called by anthropic-messages, which cannot carry it"
        );
    }

    #[test]
    fn a_report_names_a_bounded_number_of_fields() {
        let mut losses = Losses::new(Dialect::Gemini, false);
        (0..10_000).for_each(|field| losses.drop_named(&format!("x{field}")).unwrap());
        assert_eq!(losses.dropped.len(), DROPPED_NAMES_MAX);
        let refused = losses.refuse_part(&Text::from_plain("container_upload"));
        assert_eq!(refused.field, "container_upload");
    }

    #[test]
    fn what_an_answer_lost_is_reported_once_and_never_refused() {
        let mut losses = Losses::new(Dialect::AnthropicMessages, true);
        for saying in [Saying::PausedTurn, Saying::Image, Saying::PausedTurn] {
            losses.note(saying, Dialect::OpenAiChat);
        }
        assert_eq!(losses.header_value(), "changed=pause_turn");
        losses.note(Saying::Image, Dialect::AnthropicMessages);
        assert_eq!(losses.header_value(), "changed=pause_turn,image");
    }

    #[test]
    fn strict_refuses_what_would_be_lost() {
        let mut losses = Losses::new(Dialect::OpenAiResponses, true);
        assert_eq!(losses.meet(Feature::Seed).unwrap_err().field, "seed");
        assert_eq!(losses.meet(Feature::CacheTtl).unwrap_err().field, "cache_ttl");
        assert_eq!(losses.meet(Feature::Verbosity), Ok(true));
    }

    #[test]
    fn rows_that_depend_or_change_say_on_what() {
        let answers = Saying::ALL.iter().map(|saying| saying.row());
        for row in Feature::ALL.iter().map(|feature| feature.row()).chain(answers) {
            let needs = row.fates.iter().any(|fate| matches!(fate, Fate::Depends | Fate::Changed));
            assert!(!needs || !row.note.is_empty(), "{}", row.name);
            assert!(row.said_by.contains(&true), "{}", row.name);
        }
    }
}
