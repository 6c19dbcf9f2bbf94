//! Metric names, per-core counters, access log, trace ids.
//!
//! Seen from both sides: cores write, the control thread reads and renders. Nothing here blocks a core, and no label
//! or line holds a key or a string that a client made up.

pub mod access;
pub mod ids;
pub mod labels;
pub mod line;
pub mod log;
pub mod metrics;
pub mod names;
pub mod prometheus;
pub mod text;
