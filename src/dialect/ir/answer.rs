//! An answer in one piece, and how answers end.

use super::logprobs::TokenLogprob;
use super::request::Part;
use crate::dialect::Usage;
use crate::json::fragment::Text;

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The provider's id of it.
    pub id: Option<Text<'a>>,
    /// The model that answered, in the provider's words.
    pub model: Option<Text<'a>>,
    /// When, in seconds since the epoch.
    pub created: Option<u64>,
    /// One per answer asked for (`n`); at least one.
    pub choices: Vec<Choice<'a>>,
    /// What it cost in tokens, where reported.
    pub usage: Option<Usage>,
}

impl<'a> Answer<'a> {
    /// Appends what the same model said when it was asked to go on.
    pub fn goes_on(&mut self, more: Self) {
        for (choice, more) in self.choices.iter_mut().zip(more.choices) {
            choice.parts.extend(more.parts);
            choice.logprobs.extend(more.logprobs);
            choice.finish = more.finish;
        }
        self.usage = match (self.usage, more.usage) {
            (Some(usage), Some(more)) => Some(usage.and(more)),
            (usage, more) => usage.or(more),
        };
    }
}

/// One of the answers to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// What the model said and did, in order.
    pub parts: Vec<Part<'a>>,
    /// How it ended.
    pub finish: Finish<'a>,
    /// The tokens of its text, where their probabilities were asked for.
    pub logprobs: Vec<TokenLogprob<'a>>,
}

impl<'a> Choice<'a> {
    /// An answer whose tokens nobody asked for.
    pub const fn new(parts: Vec<Part<'a>>, finish: Finish<'a>) -> Self {
        Self { parts, finish, logprobs: Vec::new() }
    }
}

/// How an answer ended. Rules: the table of finish reasons in the project's dialect mapping, section 9.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish<'a> {
    /// By itself.
    Stop,
    /// At a stop sequence: which one, where the dialect says so.
    StopSequence(Option<Text<'a>>),
    /// At the limit on output tokens.
    Length,
    /// The context was full.
    ContextFull,
    /// It waits for the results of calls.
    ToolCalls,
    /// The provider filtered it, or the model refused: its explanation, where there is one.
    Filtered(Option<Text<'a>>),
    /// The prompt was filtered: nothing was generated.
    PromptFiltered(Option<Text<'a>>),
    /// It paused in the middle of a turn and wants to be asked to go on (Anthropic).
    Paused,
}

impl Finish<'_> {
    /// The same end, for longer than its document lives.
    pub fn into_owned(self) -> Finish<'static> {
        match self {
            Self::Stop => Finish::Stop,
            Self::StopSequence(sequence) => Finish::StopSequence(sequence.map(Text::into_owned)),
            Self::Length => Finish::Length,
            Self::ContextFull => Finish::ContextFull,
            Self::ToolCalls => Finish::ToolCalls,
            Self::Filtered(words) => Finish::Filtered(words.map(Text::into_owned)),
            Self::PromptFiltered(words) => Finish::PromptFiltered(words.map(Text::into_owned)),
            Self::Paused => Finish::Paused,
        }
    }
}

/// A web page or document that a text rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation<'a> {
    /// Where.
    pub url: Text<'a>,
    /// Its title.
    pub title: Option<Text<'a>>,
    /// First character of the text that rests on it, and the one behind the last, where known.
    pub chars: Option<(u64, u64)>,
}

/// Something that a provider reports as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault<'a> {
    /// Which case of the error table it is.
    pub case: FaultCase,
    /// The provider's words.
    pub message: Text<'a>,
    /// Its own code, where it has one.
    pub code: Option<Text<'a>>,
    /// The field it complains about.
    pub param: Option<Text<'a>>,
    /// Seconds to wait, where the body says so (Google's `retryDelay`).
    pub retry_after_s: Option<u64>,
}

/// The cases of the error table (the project's dialect mapping, section 13), which every dialect has a status and a name
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCase {
    /// The request is wrong.
    BadRequest,
    /// The prompt is too long for the model.
    ContextTooLong,
    /// The key is wrong.
    BadKey,
    /// The key may not do this.
    Forbidden,
    /// The account has no credit.
    NoCredit,
    /// No such model or object.
    NotFound,
    /// It collides with something else.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// Too many requests or tokens in a window.
    RateLimited,
    /// The provider broke.
    Internal,
    /// The provider has too much to do.
    Overloaded,
    /// It took too long.
    Timeout,
}
