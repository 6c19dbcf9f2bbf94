//! The runtime of a core: io_uring with the best flags the kernel takes, epoll where it refuses.

use std::fmt;
use std::future::Future;
use std::io;

use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder, time::TimeDriver};

use super::ready::Collector;

/// What the operator asked for (`driver` in settings.json).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or no start.
    IoUring,
    /// epoll even where io_uring would work.
    Epoll,
}

/// What a core runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring with `SINGLE_ISSUER | DEFER_TASKRUN` (Linux 6.1): completions run when the core asks for them.
    IoUringDeferred,
    /// io_uring with `COOP_TASKRUN` (Linux 5.19).
    IoUringCooperative,
    /// io_uring without flags (Linux 5.6).
    IoUringPlain,
    /// epoll.
    Epoll,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUringDeferred => "io_uring (single issuer, deferred task run)",
            Self::IoUringCooperative => "io_uring (cooperative task run)",
            Self::IoUringPlain => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// Submission entries: ring operations that one turn of a core can queue before it must enter the kernel.
const RING_ENTRIES: u32 = 1024;

/// The kinds that monoio has.
enum Flavour {
    Ring(Box<Runtime<TimeDriver<IoUringDriver>>>),
    Epoll(Box<Runtime<TimeDriver<LegacyDriver>>>),
}

impl Flavour {
    fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            Self::Ring(runtime) => runtime.block_on(future),
            Self::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

/// A core's runtime with timers, and the set of its sockets.
pub struct CoreRuntime {
    flavour: Flavour,
    kind: DriverKind,
    refusal: Option<io::Error>,
    collector: Collector,
}

impl CoreRuntime {
    /// Builds the runtime on the calling thread, which must be the one that runs it.
    ///
    /// # Errors
    /// The kernel's refusal of the last thing tried.
    pub fn build(choice: DriverChoice) -> io::Result<Self> {
        let (mut flavour, kind, refusal) = match choice {
            DriverChoice::Epoll => (Self::build_epoll()?, DriverKind::Epoll, None),
            DriverChoice::Auto | DriverChoice::IoUring => match Self::build_ring() {
                Ok((ring, kind)) => (ring, kind, None),
                Err(refusal) if choice == DriverChoice::IoUring => return Err(refusal),
                Err(refusal) => (Self::build_epoll()?, DriverKind::Epoll, Some(refusal)),
            },
        };
        let collector = flavour.block_on(async { Collector::new() })?;
        Ok(Self { flavour, kind, refusal, collector })
    }

    fn build_ring() -> io::Result<(Flavour, DriverKind)> {
        if !monoio::utils::detect_uring() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel refuses io_uring or lacks operations",
            ));
        }
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for kind in [DriverKind::IoUringDeferred, DriverKind::IoUringCooperative, DriverKind::IoUringPlain] {
            let mut ring = io_uring::IoUring::builder();
            match kind {
                DriverKind::IoUringDeferred => {
                    ring.setup_single_issuer().setup_defer_taskrun();
                }
                DriverKind::IoUringCooperative => {
                    ring.setup_coop_taskrun();
                }
                DriverKind::IoUringPlain | DriverKind::Epoll => {}
            }
            let built = RuntimeBuilder::<IoUringDriver>::new()
                .uring_builder(ring)
                .with_entries(RING_ENTRIES)
                .enable_timer()
                .build();
            match built {
                Ok(runtime) => return Ok((Flavour::Ring(Box::new(runtime)), kind)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn build_epoll() -> io::Result<Flavour> {
        let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
        Ok(Flavour::Epoll(Box::new(runtime)))
    }

    /// What it runs on.
    pub fn kind(&self) -> DriverKind {
        self.kind
    }

    /// Why it does not run on io_uring although it was to, if so.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.as_ref().map(ToString::to_string)
    }

    /// Runs the core until `future` ends.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        self.flavour.block_on(self.collector.run(future))
    }
}
