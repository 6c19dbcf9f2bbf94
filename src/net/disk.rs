//! What the kernel tells of a disk.
#![expect(unsafe_code, reason = "statvfs has no safe binding in std")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Bytes that this process may still write to the disk that holds `path`; none when that cannot be seen.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut told = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with a zero byte and lives through the call; `told` is writable memory of the right type.
    if unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded and has filled all of it.
    let told = unsafe { told.assume_init() };
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_tells_what_is_left_and_a_path_that_is_none_does_not() {
        let home = tempfile::tempdir().unwrap();
        assert!(free_bytes(home.path()).is_some());
        assert_eq!(free_bytes(&home.path().join("missing")), None);
        assert_eq!(free_bytes(Path::new("/a\0b")), None);
    }
}
