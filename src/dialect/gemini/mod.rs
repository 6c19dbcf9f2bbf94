//! Gemini `generateContent`, `streamGenerateContent` and `countTokens`, at Google AI and at Vertex.
//!
//! A member may be written in camelCase or in snake_case, and is written in camelCase here. Source: Gemini API
//! reference; the project's dialect mapping, whose sections the files name.

mod call_ids;
mod count;
mod fault;
mod fields;
mod finish;
#[doc(hidden)]
pub mod fuzz;
mod grounding;
mod logprobs;
mod models;
mod offsets;
mod partial_args;
mod piece;
mod read_answer;
mod read_config;
mod read_parts;
mod read_request;
mod read_stream;
mod schema;
mod signature;
mod tap;
mod write_answer;
mod write_config;
mod write_contents;
mod write_parts;
mod write_request;
mod write_stream;

pub(super) use count::{read_count, read_count_request, write_count, write_count_request};
pub(super) use fault::{read_fault, write_fault};
pub(super) use read_answer::read_answer;
pub(super) use read_request::read_request;
pub(super) use read_stream::StreamReader;
pub(super) use signature::{BYPASS, ENVELOPE_ENCODED};
pub(super) use tap::{BODY, on_body, on_event};
pub(super) use write_answer::write_answer;
pub(super) use write_request::write_request;
pub(super) use write_stream::{Framing, StreamWriter};

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod read_request_tests;
#[cfg(test)]
mod recording_tests;
#[cfg(test)]
mod tests_support;
#[cfg(test)]
mod write_request_tests;
