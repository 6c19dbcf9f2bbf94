//! OpenAI Responses.
//!
//! Source: OpenAI API reference, "Responses" and "Streaming events"; `recordings` for what compatible servers do:
//! OpenRouter sends no `event` fields and ends with `[DONE]`, old recordings have no `sequence_number`.

mod tap;

pub(super) use tap::{BODY, on_body, on_event};
