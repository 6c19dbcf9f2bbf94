//! Schemas: JSON Schema, and the subset of OpenAPI 3.0 that `parameters` and `responseSchema` hold.
//!
//! One keyword that the subset does not have makes the whole request a 400 at Google's, so that only known ones are
//! written. Rules: the project's dialect mapping, section 5.1; Gemini API reference, "Schema".

mod from_openapi;
mod to_openapi;

pub(super) use from_openapi::to_json_schema;
pub(super) use to_openapi::{OpenApi, to_openapi};

#[cfg(test)]
mod tests;
