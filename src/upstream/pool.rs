//! Idle connections to one endpoint, kept by one core.
//!
//! The wait for readability stays armed while a connection idles: a provider that closes it is noticed at the
//! next lease without a system call.

use std::cell::{Cell, RefCell};

use super::endpoint::Endpoint;
use crate::net::Conn;

/// A connection in use and where it came from.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub conn: Conn,
    /// Whether it has served a request before: then its death before the first byte is worth one free retry.
    pub reused: bool,
}

#[derive(Debug)]
struct Idle {
    conn: Conn,
    since_ms: u64,
}

/// The idle connections of one endpoint, newest last.
#[derive(Debug)]
pub struct Pool {
    /// Where they lead.
    pub endpoint: Endpoint,
    idle: RefCell<Vec<Idle>>,
    idle_max: Cell<usize>,
    idle_timeout_ms: Cell<u64>,
}

impl Pool {
    /// An empty pool that keeps at most `idle_max` connections, each for `idle_timeout_ms` without use.
    pub fn new(endpoint: Endpoint, idle_max: usize, idle_timeout_ms: u64) -> Self {
        Self {
            endpoint,
            idle: RefCell::default(),
            idle_max: Cell::new(idle_max),
            idle_timeout_ms: Cell::new(idle_timeout_ms),
        }
    }

    /// Changes the bounds; what is idle beyond them goes with the next sweep.
    pub fn set_bounds(&self, idle_max: usize, idle_timeout_ms: u64) {
        self.idle_max.set(idle_max);
        self.idle_timeout_ms.set(idle_timeout_ms);
    }

    /// The connection used last, if it is still alive. The newest first keeps the set small and warm.
    pub fn lease(&self) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut candidate) = idle.pop() {
            if candidate.conn.is_quiet() {
                return Some(Lease { conn: candidate.conn, reused: true });
            }
        }
        None
    }

    /// Takes a connection back whose last exchange ended at a message boundary. A full pool closes it.
    pub fn give_back(&self, mut conn: Conn, now_ms: u64) {
        conn.deadline().clear();
        let mut idle = self.idle.borrow_mut();
        // Arming the wait here costs nothing extra: the next response needs it anyway.
        if idle.len() < self.idle_max.get() && conn.is_quiet() {
            idle.push(Idle { conn, since_ms: now_ms });
        }
    }

    /// Closes what has idled too long or was closed by the provider.
    pub fn sweep(&self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(self.idle_timeout_ms.get());
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| idle.since_ms >= oldest && idle.conn.is_quiet());
        let beyond = idle.len().saturating_sub(self.idle_max.get());
        idle.drain(..beyond);
    }

    /// Idle connections now.
    pub fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
