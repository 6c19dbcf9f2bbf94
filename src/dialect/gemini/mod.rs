//! Gemini `generateContent`, `streamGenerateContent` and `countTokens`, at Google AI and at Vertex.
//!
//! A member may be written in camelCase or in snake_case, and is written in camelCase here. Source: Gemini API
//! reference; the project's dialect mapping, whose sections the files name.

pub(in crate::dialect) mod fault;
mod fields;
mod models;
mod schema;
mod signature;
mod tap;

pub(super) use tap::{BODY, on_body, on_event};
