//! The simulated provider: every dialect of the gateway, answered without a model.
//!
//! Owns what a provider would say: texts, tool calls, thinking, usage, errors, and when each event is due. It
//! opens no socket and reads no clock: a caller hands in a request, its running number and the time, and plays
//! the [`SimReply`] back over whatever it has. The same settings, request, number and time give the same bytes.
//!
//! ```text
//! request ─▶ route ─▶ ask (what the body wants) ─▶ completion (what is said) ─▶ chat │ responses │ messages │ gemini
//!                                                                                   └─▶ Whole or EventPlan
//! ```
//!
//! Source: the providers' public API references and recorded traffic; `spec/dialects.md` sections 8 to 13.

mod ask;
mod chat;
mod completion;
mod embeddings;
mod engine;
mod errors;
mod gemini;
mod media;
mod messages;
mod objects;
mod pen;
mod plan;
mod random;
mod responses;
mod route;
mod schema;
pub mod serve;
mod settings;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_recorded;
mod words;

pub use engine::{Cut, SimBody, SimReply, SimRequest, Simulator};
pub use plan::{Action, EventPlan, Fault, Step};
pub use serve::{Served, spawn};
pub use settings::{
    MidStreamError, Names, SimulatedArgs, SimulatedOverrides, SimulatedSettings, Statuses, TokenCount,
};
