//! What the process asks of the kernel for itself, once, before any thread starts; and what a thread asks.
#![expect(unsafe_code, reason = "prctl, setrlimit and setpriority have no safe binding in std")]

/// Raises the limit on open files to what is allowed: each stream holds two.
///
/// Returns the limit in force.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live, writable rlimit; the calls touch nothing else.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
                limit = wanted;
            }
        }
    }
    limit.rlim_cur
}

/// Keeps memory in small pages on machines that hand out huge ones unasked (`transparent_hugepage/enabled` is
/// `always`): a gateway at rest would hold several times 2 MiB of which it uses a tenth. That the allocator does not ask
/// for them is a feature of its crate, because it allocates before `main`.
pub fn avoid_huge_pages() {
    // SAFETY: PR_SET_THP_DISABLE takes plain numbers and no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Lets every other thread of the process go first: for work on the calling thread that may take its time. A system
/// that refuses it loses nothing but that order.
pub fn give_way() {
    // SAFETY: plain numbers; on Linux "process 0" is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}
