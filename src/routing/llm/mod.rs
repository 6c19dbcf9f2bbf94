//! The policy that asks a model: what it is told, and what is read out of its answer.
//!
//! Text in, text out; who calls the model is the gateway. Source: the project's routing specification, section 4.5.

mod prompt;
mod scores;

pub use prompt::{Candidate, Question, REPAIR_SYSTEM};
pub use scores::{Score, read_scores};
