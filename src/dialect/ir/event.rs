//! A stream, event by event.
//!
//! ```text
//! Start ─▶ ( Media | Open ─▶ Delta* ─▶ Proof? ─▶ Cite* ─▶ Close )* ─▶ Finish ─▶ Usage? ─▶ End
//!            at any point: Logprobs, Ping, Usage, Fail (nothing follows a Fail)
//! ```
//!
//! Readers keep this order whatever a provider does: of one choice at most one block is open; a `Finish` per choice comes
//! before `End`. A stream that stops without its terminator ends in `Fail`, never in `End`.

use super::answer::{Citation, Fault, Finish};
use super::logprobs::TokenLogprob;
use super::request::{CallKind, Media, Proof};
use crate::dialect::Usage;
use crate::json::fragment::Text;

/// One event. `choice` counts answers from 0; nearly always there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The provider has begun.
    Start {
        /// Its id of the answer.
        id: Option<Text<'a>>,
        /// The model, in the provider's words.
        model: Option<Text<'a>>,
        /// When, in seconds since the epoch.
        created: Option<u64>,
        /// Tokens counted so far (Anthropic reports its input here).
        usage: Option<Usage>,
    },
    /// A block begins.
    Open {
        /// Of which answer.
        choice: u32,
        /// What it is.
        block: Opening<'a>,
    },
    /// A piece of the open block: text, thought, or the input of a call as a piece of JSON text.
    Delta {
        /// Of which answer.
        choice: u32,
        /// The piece. May begin or end within a surrogate pair.
        text: Text<'a>,
    },
    /// A picture, sound or film, whole. No block is open.
    Media {
        /// Of which answer.
        choice: u32,
        /// The medium.
        media: Media<'a>,
    },
    /// The tokens of text that follows, in this piece or a later one.
    Logprobs {
        /// Of which answer.
        choice: u32,
        /// The tokens.
        tokens: Vec<TokenLogprob<'a>>,
    },
    /// The open block's proof.
    Proof {
        /// Of which answer.
        choice: u32,
        /// The proof.
        proof: Proof<'a>,
    },
    /// A source of the open text.
    Cite {
        /// Of which answer.
        choice: u32,
        /// The source.
        citation: Citation<'a>,
    },
    /// The open block is over.
    Close {
        /// Of which answer.
        choice: u32,
    },
    /// An answer is over.
    Finish {
        /// Which one.
        choice: u32,
        /// How it ended.
        finish: Finish<'a>,
    },
    /// Token counts; the last one counts.
    Usage(Usage),
    /// Nothing, to keep the connection open.
    Ping,
    /// The provider failed.
    Fail(Fault<'a>),
    /// The stream is complete.
    End,
}

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening<'a> {
    /// Text.
    Text,
    /// The model's refusal in words.
    Refusal,
    /// Thoughts.
    Thinking,
    /// Thoughts without readable text; the block has no deltas.
    Redacted(Proof<'a>),
    /// A call. Its input follows in deltas; none at all means `{}`.
    Call {
        /// Pairs it with its result; readers make one where the provider gives none.
        id: Text<'a>,
        /// The function.
        name: Text<'a>,
        /// Function or custom.
        kind: CallKind,
    },
}
