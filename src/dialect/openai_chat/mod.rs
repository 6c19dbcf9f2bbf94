//! OpenAI Chat Completions, and the many servers that speak it.
//!
//! Source: OpenAI API reference, "Chat Completions" and "Streaming"; the project's dialect mapping; `recordings` for
//! what compatible servers do.

mod fields;
mod finish;
#[doc(hidden)]
pub mod fuzz;
mod read_answer;
mod read_message;
mod read_request;
mod read_stream;
mod read_tools;
mod servers;
mod stream_calls;
mod tap;
mod thoughts;
mod write_answer;
mod write_message;
mod write_request;
mod write_stream;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod recording_tests;
#[cfg(test)]
#[path = "testing_tests.rs"]
mod testing;

pub(in crate::dialect) use read_answer::{read_answer, read_fault};
pub(in crate::dialect) use read_request::read_request;
pub(in crate::dialect) use read_stream::StreamReader;
pub(super) use tap::{BODY, on_body, on_event};
pub use tap::{is_usage_only_chunk, text_of_chunk};
pub(in crate::dialect) use write_answer::{write_answer, write_fault};
pub(in crate::dialect) use write_request::write_request;
pub(in crate::dialect) use write_stream::StreamWriter;
