//! The real binary over real sockets, and the rules of the house.
//!
//! One test binary; each file below `tests/` is a subject. Raw bytes in and out, port 0, homes in temporary
//! directories. What has to happen is waited for with [`support::PATIENCE`] as deadline; no test sleeps to let
//! something happen and none measures time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "the rules of the data plane; tests have deadlines of their own"
)]
#![allow(clippy::print_stderr, reason = "the gateway's log is shown with the test that failed")]
#![allow(unreachable_pub, missing_docs, reason = "nothing outside of this binary sees the harness")]

mod admin;
mod budgets;
mod cli;
mod dialects;
mod dns;
mod docs;
mod durability;
mod failover;
mod faults;
mod gemini;
mod handover;
mod harness;
mod house_rules;
mod http;
mod inner;
mod lifecycle;
mod metering;
mod notify;
mod proxies;
mod recordings;
mod relay;
mod reload;
mod routing;
mod simulate;
mod support;
mod takeover;
mod tls;
mod traces;
mod translate;
