//! One core: its thread, its runtime, its life from boot to drained.

use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::accept;
use crate::clock;
use crate::guard;
use crate::limits::DEADLINE_TICK_MS;
use crate::net::driver::{CoreRuntime, DriverChoice, DriverKind};
use crate::net::listener;
use crate::shard::{Shard, ShardParts};
use crate::telemetry::log::{self, Value};

/// What a core is told at boot.
pub struct CorePlan {
    /// Its share of everything.
    pub parts: ShardParts,
    /// Its listeners: one, and more where it takes over those of a process that had more cores.
    pub listeners: Vec<TcpListener>,
    /// io_uring or epoll.
    pub driver: DriverChoice,
    /// The processor to stay on.
    pub pin_to: Option<core_affinity::CoreId>,
}

/// What a core answers at boot.
pub type Booted = Result<DriverKind, io::Error>;

/// Starts the core's thread. It reports over `booted` once it listens, or why it cannot.
///
/// # Errors
/// The thread could not be started.
pub fn start(plan: CorePlan, booted: SyncSender<Booted>) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(format!("core-{}", plan.parts.index)).spawn(move || {
        let mailbox = Arc::clone(&plan.parts.mailbox);
        let ended = catch_unwind(AssertUnwindSafe(|| run(plan, booted)));
        if ended.is_err() && !mailbox.is_draining() {
            // A core that is gone would take its share of connections with it, unanswered: start afresh instead.
            log::error("a core has panicked; the process ends", &[]);
            log::flush();
            std::process::abort();
        }
    })
}

fn run(plan: CorePlan, booted: SyncSender<Booted>) {
    if let Some(core) = plan.pin_to {
        // A refused pin (a cpuset that changed) costs speed, not correctness.
        core_affinity::set_for_current(core);
    }
    let mut runtime = match CoreRuntime::build(plan.driver) {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever started us waits for exactly one report.
            let _ = booted.send(Err(error));
            return;
        }
    };
    let (kind, refusal) = (runtime.kind(), runtime.refusal());
    runtime.block_on(async move {
        let adopted: io::Result<Vec<_>> = plan.listeners.into_iter().map(listener::adopt).collect();
        let listeners = match adopted {
            Ok(listeners) => listeners,
            Err(error) => {
                let _ = booted.send(Err(error));
                return;
            }
        };
        let shard = Shard::new(plan.parts);
        if let Some(reason) = refusal.filter(|_| shard.index == 0) {
            log::warn("io_uring is not available: epoll is used", &[("reason", Value::Text(&reason))]);
        }
        shard.tick();
        shard.mailbox.begins_accepting();
        let _ = booted.send(Ok(kind));
        drop(booted);
        let ticking = Rc::clone(&shard);
        monoio::spawn(async move {
            loop {
                monoio::time::sleep(Duration::from_millis(DEADLINE_TICK_MS)).await;
                // A panic in here would stop all deadlines; it is reported and the next tick tried.
                if let Err(panic) = guard::guard(Box::pin(async { ticking.tick() })).await {
                    log::error("the tick panicked", &[("panic", Value::Text(&panic))]);
                }
            }
        });
        let doors: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let shard = Rc::clone(&shard);
                monoio::spawn(async move { accept::accept_until_drained(&shard, &listener).await })
            })
            .collect();
        for door in doors {
            door.await;
        }
        shard.mailbox.stopped_accepting();
        drain(&shard).await;
        write_records(&shard).await;
        shard.finish();
    });
}

/// How long cut requests have to say so to their clients and to settle.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// How long the first request of a connection that was accepted just before may be on its way.
const FRESH_GRACE: Duration = Duration::from_secs(1);

/// How long records that found their journal full may wait for the control thread to make room.
const RECORDS_GRACE: Duration = Duration::from_secs(5);

/// Waits until the records of the last requests are in the journal: memory ends with the process.
async fn write_records(shard: &Shard) {
    let deadline = clock::now() + RECORDS_GRACE;
    while !shard.records_are_written() && clock::now() < deadline {
        monoio::time::sleep(Duration::from_millis(DEADLINE_TICK_MS)).await;
    }
}

/// Waits for open requests, at most the drain time-out; what is left then is cut, and has a moment to settle.
async fn drain(shard: &Rc<Shard>) {
    let timeout = shard.view().snapshot.config.settings().drain_timeout;
    let (deadline, fresh_until) = (clock::now() + timeout, clock::now() + FRESH_GRACE);
    while shard.connections() > 0 {
        // Connections between two requests have nothing to finish.
        shard.deadlines.end_idle(clock::now() >= fresh_until);
        if clock::now() >= deadline {
            let left = shard.connections().to_string();
            log::warn("drain time-out: connections cut", &[("connections", Value::Text(&left))]);
            break;
        }
        monoio::time::sleep(Duration::from_millis(DEADLINE_TICK_MS)).await;
    }
    let deadline = clock::now() + CUT_GRACE;
    while shard.connections() > 0 && clock::now() < deadline {
        shard.cut_all();
        monoio::time::sleep(Duration::from_millis(DEADLINE_TICK_MS)).await;
    }
}
