//! One event of a provider's stream: what it says, and about which item.

use super::read_output::{ItemKind, ThoughtSource};
use crate::json::scan;
use crate::json::token::{Kind, Value};

/// The kinds of blocks of the shared form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Text,
    Refusal,
    Thinking(ThoughtSource),
    Call,
}

impl Block {
    /// Whether items of `kind` have such blocks.
    pub(super) fn is_of(self, kind: ItemKind) -> bool {
        match self {
            Self::Text | Self::Refusal => kind == ItemKind::Message,
            Self::Thinking(_) => kind == ItemKind::Reasoning,
            Self::Call => matches!(kind, ItemKind::Call(_)),
        }
    }
}

/// What an event says about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    ItemAdded,
    ItemDone,
    PartDone,
    /// A piece of the block.
    Delta(Block),
    /// The whole text of it.
    Done(Block),
    Annotation,
}

impl Step {
    /// The step of the event `response.<name>`; `None`: it is about no item, or unknown.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        const THOUGHT: Block = Block::Thinking(ThoughtSource::Content);
        const SUMMARY: Block = Block::Thinking(ThoughtSource::Summary);
        Some(match name {
            b"output_text.delta" => Self::Delta(Block::Text),
            b"function_call_arguments.delta" | b"custom_tool_call_input.delta" => Self::Delta(Block::Call),
            b"reasoning_summary_text.delta" => Self::Delta(SUMMARY),
            b"reasoning_text.delta" => Self::Delta(THOUGHT),
            b"refusal.delta" => Self::Delta(Block::Refusal),
            b"output_text.done" => Self::Done(Block::Text),
            b"function_call_arguments.done" | b"custom_tool_call_input.done" => Self::Done(Block::Call),
            b"reasoning_summary_text.done" => Self::Done(SUMMARY),
            b"reasoning_text.done" => Self::Done(THOUGHT),
            b"refusal.done" => Self::Done(Block::Refusal),
            b"output_item.added" => Self::ItemAdded,
            b"output_item.done" => Self::ItemDone,
            b"content_part.done" => Self::PartDone,
            b"output_text.annotation.added" => Self::Annotation,
            _ => return None,
        })
    }
}

/// The members of an event that mean something here.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) kind: &'a [u8],
    pub(super) index: u64,
    /// `content_index` or `summary_index`.
    pub(super) part_index: u64,
    pub(super) delta: Option<Value<'a>>,
    /// `text`, `arguments`, `input`, `refusal`.
    pub(super) whole: Option<Value<'a>>,
    /// `item`, `part`, `annotation`.
    pub(super) object: Option<Value<'a>>,
    pub(super) response: Option<Value<'a>>,
    pub(super) error: Option<Value<'a>>,
    pub(super) logprobs: Option<Value<'a>>,
}

impl<'a> Members<'a> {
    /// `None`: the event is no JSON object in UTF-8.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        const NAMES: [&str; 15] = [
            "type",
            "delta",
            "output_index",
            "content_index",
            "summary_index",
            "text",
            "arguments",
            "input",
            "refusal",
            "item",
            "part",
            "annotation",
            "response",
            "error",
            "logprobs",
        ];
        std::str::from_utf8(data).ok()?;
        let mut members = Self::default();
        scan::members(data, |key, value| match key.matches(&NAMES) {
            Some(0) => members.kind = value.plain_string().unwrap_or_default(),
            Some(1) => members.delta = Some(value),
            Some(2) => members.index = value.as_count().unwrap_or_default(),
            Some(3 | 4) => members.part_index = value.as_count().unwrap_or_default(),
            Some(5..=8) => members.whole = Some(value),
            Some(9..=11) => members.object = Some(value),
            Some(12) => members.response = Some(value),
            Some(13) => members.error = Some(value).filter(|error| error.kind != Kind::Null),
            Some(_) => members.logprobs = Some(value),
            None => {}
        })
        .ok()?;
        Some(members)
    }
}

/// How many UTF-16 units a text in its escaped form has. They are what an escape stands for, so that the count does not
/// depend on how the text is escaped or where it is cut.
pub(super) fn units(escaped: &str) -> u64 {
    let mut units = 0;
    steps(escaped, |_, count| {
        units += count;
        true
    });
    units
}

/// Where in `escaped` the text behind its first `given` units begins. `None`: it has no more than those.
pub(super) fn offset_of(escaped: &str, given: u64) -> Option<usize> {
    let (mut units, mut found) = (0, None);
    steps(escaped, |at, count| {
        if units >= given {
            found = Some(at);
            return false;
        }
        units += count;
        true
    });
    found
}

/// Calls `on_step` with the place of each character or escape and its UTF-16 units until it says no.
fn steps(escaped: &str, mut on_step: impl FnMut(usize, u64) -> bool) {
    let bytes = escaped.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (length, units) = match byte {
            b'\\' if bytes.get(at + 1) == Some(&b'u') => (6, 1),
            b'\\' => (2, 1),
            0..0xC0 => (1, 1),
            0xC0..0xE0 => (2, 1),
            0xE0..0xF0 => (3, 1),
            0xF0.. => (4, 2),
        };
        if !on_step(at, units) {
            return;
        }
        at += length;
    }
}
