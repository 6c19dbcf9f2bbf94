//! OpenAI Responses.
//!
//! Source: OpenAI API reference, "Responses" and "Streaming events"; `recordings` for what compatible servers do:
//! OpenRouter sends no `event` fields and ends with `[DONE]`, old recordings have no `sequence_number`.

mod echo;
pub(in crate::dialect) mod fuzz;
mod read_answer;
mod read_event;
mod read_input;
mod read_output;
mod read_request;
mod read_stream;
mod read_tools;
mod tap;
mod write_answer;
mod write_input;
mod write_output;
mod write_request;
mod write_stream;
mod write_tools;

pub(in crate::dialect) use read_answer::{read_answer, read_fault};
pub(in crate::dialect) use read_request::read_request;
pub(in crate::dialect) use read_stream::StreamReader;
pub(super) use tap::{BODY, on_body, on_event};
pub(in crate::dialect) use write_answer::{write_answer, write_fault};
pub(in crate::dialect) use write_request::write_request;
pub(in crate::dialect) use write_stream::StreamWriter;

#[cfg(test)]
mod recording_tests;
#[cfg(test)]
mod support_tests;
