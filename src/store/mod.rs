//! JSON files with atomic replace, usage journal, recovery.
//!
//! The control thread's own room: everything here may block, but for the journal's writing end, which is a core's.
//! The files of a home and their lock, the keys made from its secret, the takeover of older homes, the notice of
//! edits by hand, changes by the program and who made them, the usage records, and the responses that clients go on from.

pub mod audit;
pub mod backup;
pub mod demo;
pub mod edit;
pub mod files;
pub mod home;
pub mod journal;
pub mod lock;
pub mod reports;
pub mod responses;
pub mod rollup;
pub mod secret;
pub mod takeover;
pub mod traces;
pub mod usage;
pub mod watch;
