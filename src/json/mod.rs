//! Finds, checks, edits and writes JSON without building documents.
//!
//! Owns the scanning of request and response bodies, and is the only room of the data plane that names the JSON
//! crates. Knows no dialect: the names of members come from the caller. Rules: RFC 8259, stricter where it leaves a
//! choice that two readers could make differently (duplicate members that the gateway acts on).
//!
//! Why a scanner of our own stands beside sonic-rs: sonic-rs validates by recursion, so that 100,000 opening
//! brackets end the process, and its non-recursive skipping checks nothing. Escaped strings are decoded by sonic-rs.

pub mod facts;
pub mod fragment;
#[doc(hidden)]
pub mod fuzz;
pub mod scan;
pub mod splice;
pub mod tap;
pub mod text;
pub mod token;
pub mod write;
