//! The management API, `/api/…`: who asks, whether he may, what is changed or shown.
//!
//! Runs on a thread of its own, behind all others in the kernel's queue: what takes long here (a password, a report)
//! holds up neither a core nor the control thread. Files are changed by the control thread alone, which also puts the
//! change in force before the answer goes out.
//!
//! ```text
//! core ── ApiCall ─▶ office ─ route ─ session ─ permission ─ handler ── Change ─▶ control
//!   ◀── ApiAnswer ──────────────────────────────────────────────────◀── Changed ──┘
//! ```
//!
//! Source: the project's management specification.

mod answer;
mod ask;
mod entries;
mod form;
mod me;
mod office;
mod roles;
mod routes;
mod session;
mod sign_in;
mod users;

pub use office::{Office, run};
