//! Cores: boot and pinning, listener, accept loop, connection task, drain.

pub mod accept;
pub mod connection;
pub mod core;
