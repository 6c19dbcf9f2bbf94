//! Price to cost, counters per core and their merge; limits and what is left of them.
//!
//! Limits: a [`key::Key`] names one, an [`account::Account`] counts it exactly over all cores and windows ([`window`]). The
//! [`book`] has all of them and outlives configurations; a [`plan`] says which ones a request meets, a [`hold`] is what the
//! request has reserved. A [`watch`] tells what happens to them, as [`event`]s. What outlives the process is [`saved`].

pub mod account;
pub mod book;
pub mod counters;
pub mod event;
pub mod hold;
pub mod key;
pub mod money;
pub mod plan;
pub mod price;
pub mod saved;
pub mod watch;
pub mod window;
