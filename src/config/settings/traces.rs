//! `traces`: which traces of requests are held and kept.

use super::{Fields, section, set};

/// Which traces are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepTraces {
    /// None.
    None,
    /// Those of requests that failed, or of which an attempt failed.
    Errors,
    /// Those, and all in which there was something to decide.
    Routed,
    /// All.
    All,
}

/// `traces`: which traces are kept, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracesSettings {
    /// Default `routed`.
    pub keep: KeepTraces,
    /// `perSecond`, default 100: traces that one core may keep in a second; the rest is dropped and counted.
    pub per_second: u32,
    /// Default 512: finished traces that one core holds in memory, about 350 bytes each.
    pub recent: usize,
    /// `bytesMax`, default 256 MiB: all files together; the oldest make room.
    pub bytes_max: u64,
    /// Default 7: days after which a trace is removed.
    pub days: u64,
}

impl TracesSettings {
    pub(super) fn read(f: &Fields<'_>) -> Self {
        const KEEP: [(&str, KeepTraces); 4] = [
            ("none", KeepTraces::None),
            ("errors", KeepTraces::Errors),
            ("routed", KeepTraces::Routed),
            ("all", KeepTraces::All),
        ];
        let mut own =
            Self { keep: KeepTraces::Routed, per_second: 100, recent: 512, bytes_max: 256 << 20, days: 7 };
        section(f, "traces", |f| {
            set(&mut own.keep, f.word("keep", &KEEP));
            set(&mut own.per_second, f.integer("perSecond", 0..=1_000_000).map(|count| count as u32));
            set(&mut own.recent, f.integer("recent", 0..=65_536).map(|count| count as usize));
            set(&mut own.bytes_max, f.integer("bytesMax", 1 << 20..=1 << 50));
            set(&mut own.days, f.integer("days", 1..=3_650));
        });
        own
    }
}
