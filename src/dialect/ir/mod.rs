//! The shared form of requests, answers and streams: where the codecs of the dialects meet.
//!
//! A reader per dialect makes it, a writer per dialect takes it; a pair of dialects is a reader and a writer. Two of the
//! same dialect never come here: their bytes are relayed as they are.
//!
//! Values borrow from the document they were read from and stay in its JSON form: a [`Text`] is still escaped, a
//! [`Raw`] is any JSON value byte by byte. So a text that only passes through is never decoded, and numbers keep their
//! digits. What a dialect cannot say is decided by one table, [`super::loss`].

mod answer;
mod event;
mod logprobs;
mod request;

pub use crate::json::fragment::{Raw, Text};
pub use answer::{Answer, Choice, Citation, Fault, FaultCase, Finish};
pub use event::{Event, Opening};
pub use logprobs::{Chance, TokenLogprob};
pub use request::{
    Arguments, CacheMark, CallKind, Content, Document, Format, Media, MediaKind, Part, Proof, Reasoning,
    Request, Role, Setting, Source, SummaryWish, Tool, ToolCall, ToolChoice, ToolResult, Turn, Vendor,
    WebSearch,
};
