//! The policies that decide from numbers: a file per policy, each a formula and its bounds.
//!
//! A policy sees the request's needs, a model's traits, its standing and its row of numbers, and nothing else: no clock,
//! no randomness, no order of candidates. Points lie between 0 and 1. What excludes is apart from what scores, because
//! the pool is narrowed first and points compare only what is left.
//!
//! Source: the project's routing specification, section 4.

pub(super) mod budget_remaining;
pub(super) mod capability;
pub(super) mod cheapest;
pub(super) mod context;
pub(super) mod fairness;
pub(super) mod health;
pub(super) mod performance;
pub(super) mod rate_limit;
