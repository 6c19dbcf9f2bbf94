//! routerly: a self-hosted LLM gateway in one binary.
//!
//! The rooms, in the order in which an inference request meets them. Arrows point down this list: a room
//! imports only rooms of its own group or ground rooms, and `tests/house_rules.rs` holds that.

// Boot and ground
pub mod cli;
pub mod clock;
pub mod config;
pub mod guard;
pub mod limits;

// Data plane: one copy per core, nothing shared is written by two cores, nothing blocks
pub mod auth;
pub mod budget;
pub mod cache;
pub mod dialect;
pub mod endpoints;
pub mod gateway;
pub mod http1;
pub mod json;
pub mod net;
pub mod provider;
pub mod respond;
pub mod routing;
pub mod server;
pub mod shard;
pub mod simulate;
pub mod snapshot;
pub mod sse;
pub mod trace;
pub mod upstream;

// Control plane: one thread of its own, may block
pub mod accounts;
pub mod admin;
pub mod control;
pub mod notify;
pub mod store;

// Seen from both sides
pub mod mailbox;
pub mod telemetry;
