//! The kernel calls that std does not offer: epoll, affinity, limits, process clocks.
//!
//! Owns every `unsafe` block of this crate. Sockets stay with std; each call here is one system call
//! with its result turned into [`io::Result`].
#![expect(unsafe_code, reason = "plain libc calls on values owned by the caller")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Nanoseconds of the monotonic clock.
pub fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

fn clock_ns(clock: libc::clockid_t) -> io::Result<u64> {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a live, writable timespec for the duration of the call.
    check(unsafe { libc::clock_gettime(clock, &mut ts) })?;
    Ok(ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64)
}

/// CPU time that a process has used so far, all its threads (also ended ones), in nanoseconds.
///
/// This is the scheduler's own run time (`sum_exec_runtime`), of which `utime + stime` in
/// `/proc/PID/stat` is the same value rounded to clock ticks.
pub fn process_cpu_ns(pid: i32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a live, writable clockid_t.
    let code = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    clock_ns(clock)
}

fn check(code: libc::c_int) -> io::Result<libc::c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// Readiness of one registered descriptor: the caller's key and the kernel's flags.
pub type Event = libc::epoll_event;

/// An edge-triggered epoll instance.
pub struct Epoll {
    fd: OwnedFd,
}

/// Readable or closed by the peer.
pub const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
/// [`READABLE`], or room to write again.
pub const READABLE_WRITABLE: u32 = READABLE | libc::EPOLLOUT as u32;
/// The peer closed, or the socket failed.
pub const CLOSED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
/// There is room to write.
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the returned descriptor is owned by nobody else.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` was just created and is ours alone.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub fn add(&self, fd: RawFd, flags: u32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, flags, key)
    }

    pub fn modify(&self, fd: RawFd, flags: u32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, flags, key)
    }

    fn control(&self, op: libc::c_int, fd: RawFd, flags: u32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags, u64: key };
        // SAFETY: `event` is live for the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd, &mut event) })?;
        Ok(())
    }

    /// Waits up to `timeout_ns` and fills `events`; returns how many. An interrupted wait is zero events.
    pub fn wait(&self, events: &mut [Event], timeout_ns: u64) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: `events` is writable for its length, `timeout` live for the call, no signal mask.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                &timeout as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
    }
}

/// Makes the accept queue of a listening socket `backlog` long (std asks for 128).
pub fn set_backlog(listener: &impl AsRawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: a listening descriptor that the caller keeps open; listening again only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Sends without the pacing timers of the machine's default congestion control: on loopback they only cost.
pub fn set_plain_congestion_control(socket: &impl AsRawFd) {
    let name = b"reno";
    // SAFETY: option value and its length belong together and live for the call. Reno is always built in;
    // failing would only leave the default.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        );
    }
}

/// Closing `stream` resets the connection, so that no port is left in TIME_WAIT.
pub fn set_reset_on_close(stream: &impl AsRawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: option value and its length belong together and live for the call. Failing changes nothing
    // but the number of ports in TIME_WAIT.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        );
    }
}

/// Pins the calling thread to one CPU and asks for precise timers.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: a zeroed cpu_set_t is the empty set; CPU_SET stays in its bounds for cpu < 1024.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu % 1024, &mut set);
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set))?;
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
    Ok(())
}

/// Raises the limit of open files to at least `wanted` where allowed; returns what is in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and writable for each call.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        if limit.rlim_cur < wanted {
            let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) != 0 {
                let soft = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
                libc::setrlimit(libc::RLIMIT_NOFILE, &soft);
            }
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        }
    }
    limit.rlim_cur
}

/// Makes `command` start pinned to `cpu`, in a process group of its own, and get `signal` when this
/// thread ends, however it ends.
pub fn bind_child(command: &mut Command, cpu: usize, signal: i32) {
    // SAFETY: getpid has no preconditions.
    let parent = unsafe { libc::getpid() };
    command.process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls are made, on values of this frame.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, signal))?;
            if libc::getppid() != parent {
                return Err(io::Error::other("parent is gone"));
            }
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu % 1024, &mut set);
            check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set))?;
            Ok(())
        });
    }
}

/// Sends `signal` to a process (`pid` > 0) or a process group (`pid` < 0).
pub fn send_signal(pid: i32, signal: i32) {
    // SAFETY: no pointers. A target that is gone already is fine.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Clock ticks per second of `/proc/PID/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100)
}

/// CPUs that are online, whatever this thread is pinned to.
pub fn online_cpus() -> usize {
    // SAFETY: no pointers.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(cpus).unwrap_or(1)
}
