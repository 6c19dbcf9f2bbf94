//! Gemini `generateContent`, `streamGenerateContent` and `countTokens`, at Google AI and at Vertex.
//!
//! A member may be written in camelCase or in snake_case, and is written in camelCase here. Source: Gemini API
//! reference; the project's dialect mapping, whose sections the files name.

mod call_ids;
pub(in crate::dialect) mod count;
pub(in crate::dialect) mod fault;
mod fields;
mod finish;
#[doc(hidden)]
pub mod fuzz;
mod grounding;
mod models;
mod offsets;
mod partial_args;
mod piece;
pub(in crate::dialect) mod read_answer;
mod read_config;
mod read_parts;
pub(in crate::dialect) mod read_request;
pub(in crate::dialect) mod read_stream;
mod schema;
mod signature;
mod tap;
pub(in crate::dialect) mod write_answer;
mod write_config;
mod write_contents;
mod write_parts;
pub(in crate::dialect) mod write_request;
pub(in crate::dialect) mod write_stream;

pub(super) use tap::{BODY, on_body, on_event};

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
