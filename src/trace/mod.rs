//! What happened to a request, step by step: numbers and indexes while it runs, JSON only when somebody reads it.
//!
//! Owns the kinds of entries, how they are held and how they are spelled. Indexes are those of the snapshot that the
//! request began with; names are looked up when a trace is spelled.
//!
//! Adding an entry: a variant of [`Entry`] (indexes and numbers; what is larger is boxed and stands in [`Detail`]), its
//! panel, message and details in `json.rs` with a case in the table of its tests, and `ledger.note(…)` where it happens.
//! Texts that people wrote or models answered are [`Prompt`]s: there are none unless the settings allow them.
//!
//! Source: the project's routing specification, section 10.

mod entry;
mod finished;
mod json;
mod ring;
mod routing;
mod steps;

pub use entry::{
    Answered, Call, Caller, Detail, Entry, Failure, IntentStatus, Prompt, RoutingPart, Score, Skip,
};
pub use finished::{Requested, Trace};
pub use json::{Audience, Intake, Speller};
pub use ring::{Recent, Ring, Wanted};
pub use steps::{Ranking, Step, Steps};

#[cfg(test)]
pub(crate) mod tests_support {
    //! What tests of other rooms need.
    pub(crate) use super::finished::tests::trace;
    pub(crate) use super::json::tests::snapshot;
}
