//! The management API, `/api/…`: who asks, whether he may, what is changed or shown.
//!
//! Runs on a thread of its own, behind all others in the kernel's queue: what takes long here (a password) holds up
//! neither a core nor the control thread. What takes longer still (a report) is looked at here, whether it may be
//! asked, and made by threads of its own. Files are changed by the control thread alone, which also puts the
//! change in force before the answer goes out.
//!
//! ```text
//! core ── ApiCall ─▶ office ─ route ─ session ─ permission ┬ handler ── Change ─▶ control
//!   ◀── ApiAnswer ─────────────────────────────────────────│───────◀── Changed ──┘
//!   ◀── ApiAnswer, then Piece by Piece ── reports ◀── Job ──┘
//! ```
//!
//! Source: the project's management specification.

mod access;
mod answer;
mod ask;
mod audit;
mod change;
mod entries;
mod form;
mod limits;
mod me;
mod members;
mod models;
mod notifications;
mod office;
mod openapi;
mod projects;
mod providers;
mod query;
mod reach;
mod references;
mod releases;
mod reports;
mod roles;
mod routes;
mod session;
mod settings;
mod shape;
mod sign_in;
mod system;
mod tokens;
mod traces;
mod usage;
mod users;

pub use office::{Office, run};
pub use reports::run as make_reports;
pub use system::Running;
