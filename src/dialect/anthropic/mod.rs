//! Anthropic Messages.
//!
//! Source: Anthropic API docs, "Messages", "Streaming Messages", "Extended thinking", "Tool use", "Prompt caching".

mod tap;

pub(super) use tap::{BODY, Counts, on_body, on_event, read_usage};
