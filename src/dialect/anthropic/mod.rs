//! Anthropic Messages.
//!
//! Source: Anthropic API docs, "Messages", "Streaming Messages", "Extended thinking", "Tool use", "Prompt caching".

mod fault;
mod fields;
mod finish;
pub(super) mod fuzz;
mod marks;
mod models;
mod read_answer;
mod read_request;
mod read_stream;
mod read_turns;
mod schema;
mod tap;
mod thinking;
mod tools;
mod write_answer;
mod write_request;
mod write_stream;
mod write_turns;

pub(super) use fault::{read_fault, write_fault};
pub(super) use read_answer::read_answer;
pub(super) use read_request::{read_count_request, read_request};
pub(super) use read_stream::StreamReader;
pub(super) use tap::{BODY, Counts, on_body, on_event, read_usage};
pub(super) use write_answer::write_answer;
pub(super) use write_request::write_request;
pub(super) use write_stream::StreamWriter;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod read_request_tests;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod write_request_tests;
