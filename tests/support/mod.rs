//! Harness: a gateway as a process, a client and a provider as plain sockets.
#![allow(dead_code, unused_imports, reason = "each subject uses its part of the harness")]

mod client;
pub mod gateway;
pub mod home;
pub mod http;
pub mod load;
pub mod pki;
pub mod process;
mod setup;
pub mod smtp;
pub mod upstream;
pub mod wire;

use std::time::Duration;

pub use client::{Client, post};
pub use gateway::Gateway;
pub use http::{Head, Message, Response};
pub use setup::{Setup, TOKEN, simulated};
pub use upstream::MockUpstream;
pub use wire::Wire;

/// How long something may take that is expected to happen: far above what a loaded machine needs, because only a
/// failing test ever waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The drivers that every subject runs on.
pub const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

/// Whether the kernel lets us use io_uring; containers often do not.
pub fn has_io_uring() -> bool {
    use std::sync::LazyLock;
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        let gateway = Setup::demo().driver("auto").start();
        gateway.wait_for_line("core ready").contains("io_uring")
    });
    *FOUND
}

/// Runs `test` once for each driver that works here.
pub fn on_each_driver(test: impl Fn(&'static str)) {
    for driver in DRIVERS {
        if driver == "epoll" || has_io_uring() {
            test(driver);
        } else {
            eprintln!("no io_uring here: only epoll is tested");
        }
    }
}

/// Calls `look` until it finds something.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
