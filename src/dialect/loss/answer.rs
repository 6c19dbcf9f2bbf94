//! What becomes of what an answer says, on its way to a client of each dialect.
//!
//! `Changed` and `Dropped` are reported with whole answers. Where an answer is a stream its head has gone before: what is
//! changed in it stands in the row's note.

use super::{Fate, Row, said_by};
use crate::dialect::Dialect;
use crate::dialect::ir::{Answer, Choice, Content, Finish, MediaKind};

table! {
    /// Something an answer can say that not every dialect can. Its row's fates are those on the way to a *client* of each.
    Saying;
    /// Text.
    Text "text" "CRAG" [Carried Carried Carried Carried] "",
    /// What the model thought, in readable words.
    Thinking "thinking" "CRAG" [Carried Carried Carried Carried] "chat: `reasoning_content`; Responses: a summary",
    /// What the provider needs to take its thoughts back.
    Proof "thinking_proof" "RAG" [Carried Carried Carried Carried] "in a sealed envelope, for its vendor alone; chat: `reasoning_details`, and `extra_content` of calls",
    /// The same as chat servers have it.
    ForeignProof "reasoning_details" "C" [Carried Silent Silent Silent] "OpenRouter's: the words of the thoughts are carried, the proofs are not, and are not taken back",
    /// Calls of the client's functions.
    Calls "tool_calls" "CRAG" [Carried Carried Carried Carried] "to Gemini's clients each as a whole",
    /// The model's refusal in words.
    Refusal "refusal" "CR" [Carried Carried Changed Changed] "text, and the finish reason of a refusal",
    /// A picture.
    Image "image" "CRG" [Carried Carried Changed Carried] "named in the text, in brackets",
    /// Sound.
    Audio "audio" "G" [Changed Changed Changed Carried] "named in the text, in brackets",
    /// A film.
    Video "video" "G" [Changed Changed Changed Carried] "named in the text, in brackets",
    /// Where a picture stands between texts.
    MediaPlace "image_place" "RG" [Changed Carried Carried Carried] "chat has all pictures behind the text; in a stream they stand where they came",
    /// Web pages that a text rests on.
    Citations "citations" "CRAG" [Carried Carried Carried Carried] "places are counted anew",
    /// Calls of a built-in tool, and what they brought.
    BuiltInCalls "built_in_calls" "RAG" [Silent Silent Silent Silent] "of a web search the sources are carried, as citations",
    /// Probabilities of tokens.
    Logprobs "logprobs" "CRG" [Carried Carried Silent Carried] "clients of Anthropic's dialect cannot ask for them",
    /// Which stop sequence ended it.
    StopSequence "stop_sequence" "A" [Silent Silent Carried Silent] "the finish reason is that of a natural end",
    /// The context was full.
    ContextFull "model_context_window_exceeded" "A" [Silent Silent Carried Silent] "the finish reason is that of the limit on output tokens",
    /// It has paused in the middle of a turn.
    PausedTurn "pause_turn" "AG" [Changed Changed Carried Changed] "Anthropic's models are asked to go on, up to five times; after that, and for Gemini, the answer has ended for its client",
    /// The tier that served it.
    ServiceTier "service_tier" "CRAG" [Silent Silent Silent Silent] "Responses repeats the request's",
    /// Counts of tokens by kind.
    UsageDetails "usage_details" "CRAG" [Silent Silent Silent Silent] "reads and writes of caches and reasoning are carried; sound, predictions, lifetimes of cache writes and counts of built-in calls are not",
    /// What only one provider says of an answer.
    Extras "provider_fields" "CRAG" [Silent Silent Silent Silent] "`system_fingerprint`, `x_groq`, `safetyRatings`, `container`, `stop_details` and the like",
}

impl Saying {
    /// What becomes of it on the way to a client of `dialect`.
    pub const fn fate(self, dialect: Dialect) -> Fate {
        self.row().fates[dialect.column()]
    }

    /// What of `answer` is to be reported to a client of `dialect`.
    pub(in crate::dialect) fn lost(answer: &Answer<'_>, dialect: Dialect) -> Vec<Self> {
        let mut lost = Vec::new();
        for choice in &answer.choices {
            Self::each(choice, &mut |saying| {
                if matches!(saying.fate(dialect), Fate::Changed | Fate::Dropped) {
                    lost.push(saying);
                }
            });
        }
        lost
    }

    fn each(choice: &Choice<'_>, found: &mut dyn FnMut(Self)) {
        let mut has_image = false;
        for part in &choice.parts {
            match &part.content {
                Content::Refusal(_) => found(Self::Refusal),
                Content::Media(media) => {
                    has_image |= media.kind == MediaKind::Image;
                    found(match media.kind {
                        MediaKind::Image => Self::Image,
                        MediaKind::Audio => Self::Audio,
                        MediaKind::Video => Self::Video,
                    });
                }
                Content::Text { .. } if has_image => found(Self::MediaPlace),
                _ => {}
            }
        }
        if choice.finish == Finish::Paused {
            found(Self::PausedTurn);
        }
    }
}
