//! Price to cost, counters per core and their merge; limits and what is left of them.
//!
//! Limits: a [`key::Key`] names one, an [`account::Account`] counts it exactly over all cores and windows
//! ([`window`]).

pub mod account;
pub mod counters;
pub mod key;
pub mod money;
pub mod price;
pub mod window;
