//! What the kernel knows about a process: CPU time, memory, children.
//!
//! Source: proc(5).

use std::fs;

use crate::sys;

/// A process and all its descendants, as found when the proxy had started.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub pids: Vec<i32>,
}

impl Tree {
    pub fn of(root: i32) -> Self {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
                && let Some(fields) = stat_fields(pid)
                && let Some(parent) = fields.get(1).and_then(|field| field.parse::<i32>().ok())
            {
                parents.push((pid, parent));
            }
        }
        let mut pids = vec![root];
        let mut next = 0;
        while next < pids.len() {
            let parent = pids[next];
            pids.extend(parents.iter().filter(|&&(_, of)| of == parent).map(|&(pid, _)| pid));
            next += 1;
        }
        Self { pids }
    }

    /// CPU time of all processes and their threads, in nanoseconds of the scheduler's run time.
    pub fn cpu_ns(&self) -> u64 {
        self.pids.iter().map(|&pid| sys::process_cpu_ns(pid).unwrap_or(0)).sum()
    }

    /// The same from `utime + stime` of `/proc/PID/stat`, rounded to clock ticks by the kernel.
    pub fn cpu_ticks_ns(&self) -> u64 {
        let ticks: u64 = self.pids.iter().filter_map(|&pid| stat_ticks(pid)).sum();
        ticks * 1_000_000_000 / sys::ticks_per_second()
    }

    /// Resident bytes of the largest process: the one that serves, where a small one only watches.
    pub fn rss_bytes(&self) -> u64 {
        self.pids.iter().filter_map(|&pid| rss_bytes(pid)).max().unwrap_or(0)
    }
}

/// The fields of `/proc/PID/stat` behind the name, which may hold spaces: `[0]` is the state.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

fn stat_ticks(pid: i32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

pub fn rss_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Model name of the first CPU.
pub fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.to_owned())
}

pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The default that proxies get: pacing ones (BBR) cost them a timer per send.
pub fn congestion_control() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default().trim().to_owned()
}

/// Time that the hypervisor took from a CPU so far, in clock ticks.
pub fn steal_ticks(cpu: usize) -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{cpu} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(name.as_str()));
    line.and_then(|line| line.split_ascii_whitespace().nth(7)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_can_be_read() {
        let pid = i32::try_from(std::process::id()).expect("pids fit");
        let tree = Tree::of(pid);
        assert_eq!(tree.pids.first(), Some(&pid));
        assert!(tree.rss_bytes() > 100_000);
        assert!(tree.cpu_ns() > 0);
    }
}
