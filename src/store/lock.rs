//! One process per home.
//!
//! Owns the lock file `.lock` of a home, held as long as the process lives, and the courtesy towards upstream
//! Routerly, whose writers hold a directory `<file>.lock` while they work.
//!
//! Source: flock(2); upstream's locks are those of the npm package proper-lockfile: a directory whose time of
//! change is renewed every few seconds and which is stale after ten.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Age from which a lock directory counts as left behind by a crash; proper-lockfile's own default.
const UPSTREAM_STALE_MS: u64 = 10_000;

/// Files of a home that upstream locks.
const UPSTREAM_LOCKED: [&str; 6] = [
    "config/settings.json",
    "config/models.json",
    "config/projects.json",
    "config/users.json",
    "config/roles.json",
    "data/usage.json",
];

/// Proof that this process owns a home. Dropped with the process, whatever ends it.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
    root: PathBuf,
}

/// Why a home cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}", root.display(), match pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    Held {
        /// The home.
        root: PathBuf,
        /// Who has it, where it said so.
        pid: Option<u32>,
    },
    /// Upstream Routerly is writing there.
    #[error("{} is being written by another program (its lock {} is fresh); stop upstream Routerly first", root.display(), lock.display())]
    Upstream {
        /// The home.
        root: PathBuf,
        /// The lock directory.
        lock: PathBuf,
    },
    /// The lock file cannot be made.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl HomeLock {
    /// Takes the home, whose directory must exist. `now_unix_ms` is the wall clock.
    ///
    /// # Errors
    /// See [`LockError`]. Nothing is waited for.
    pub fn acquire(root: &Path, now_unix_ms: u64) -> Result<Self, LockError> {
        let path = root.join(".lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held { root: root.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        for name in UPSTREAM_LOCKED {
            let lock = lock_directory(&root.join(name));
            if is_fresh(&lock, now_unix_ms) {
                return Err(LockError::Upstream { root: root.to_owned(), lock });
            }
        }
        note_owner(&mut file).map_err(failed)?;
        Ok(Self { file, root: root.to_owned() })
    }

    /// The lock of `root` that another process has handed over: both have it then, until both have let go.
    ///
    /// # Errors
    /// The file is another one than the home's.
    pub fn handed(mut file: File, root: &Path) -> io::Result<Self> {
        let (own, there) = (file.metadata()?, fs::metadata(root.join(".lock"))?);
        if (own.dev(), own.ino()) != (there.dev(), there.ino()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the lock is that of another home"));
        }
        note_owner(&mut file)?;
        Ok(Self { file, root: root.to_owned() })
    }

    /// Another descriptor of the lock, to be handed over.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn duplicate(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The home that is locked.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn note_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Runs `write` while holding the lock directory that upstream's writers look at.
///
/// # Errors
/// When another program holds it, or what `write` returns.
pub fn with_upstream_lock<T, E>(
    path: &Path,
    now_unix_ms: u64,
    write: impl FnOnce() -> Result<T, E>,
    held: impl FnOnce(io::Error) -> E,
) -> Result<T, E> {
    let lock = lock_directory(path);
    let mut made = fs::create_dir(&lock);
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
        && !is_fresh(&lock, now_unix_ms)
    {
        made = fs::remove_dir(&lock).and_then(|()| fs::create_dir(&lock));
    }
    if let Err(error) = made {
        return Err(held(error));
    }
    let written = write();
    let _ = fs::remove_dir(&lock);
    written
}

fn lock_directory(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn is_fresh(lock: &Path, now_unix_ms: u64) -> bool {
    let Ok(metadata) = fs::metadata(lock) else { return false };
    let changed_ms = metadata.mtime().saturating_mul(1_000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    let changed_ms = u64::try_from(changed_ms).unwrap_or(0);
    metadata.is_dir() && now_unix_ms.saturating_sub(changed_ms) < UPSTREAM_STALE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_owner_who_is_named() {
        let home = tempfile::tempdir().unwrap();
        let lock = HomeLock::acquire(home.path(), 0).unwrap();
        let error = HomeLock::acquire(home.path(), 0).unwrap_err();
        assert!(
            matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("process {}", std::process::id())));
        drop(lock);
        let again = HomeLock::acquire(home.path(), 0).unwrap();
        assert_eq!(again.root(), home.path());
    }

    #[test]
    fn a_fresh_upstream_lock_stops_the_start_and_a_stale_one_does_not() {
        let home = tempfile::tempdir().unwrap();
        let lock = home.path().join("config/models.json.lock");
        fs::create_dir_all(&lock).unwrap();
        let changed_ms = fs::metadata(&lock).unwrap().mtime() as u64 * 1_000;
        let error = HomeLock::acquire(home.path(), changed_ms + 5_000).unwrap_err();
        assert!(error.to_string().contains("models.json.lock"), "{error}");
        assert!(HomeLock::acquire(home.path(), changed_ms + 11_000).is_ok());
    }

    #[test]
    fn writers_take_and_give_back_the_lock_that_upstream_looks_at() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("models.json");
        let lock = home.path().join("models.json.lock");
        let seen = with_upstream_lock(&path, 0, || Ok::<_, io::Error>(lock.is_dir()), |error| error).unwrap();
        assert!(seen && !lock.exists());
        fs::create_dir(&lock).unwrap();
        let changed_ms = fs::metadata(&lock).unwrap().mtime() as u64 * 1_000;
        let mut ran = false;
        let mut write = |now| {
            let run = || {
                ran = true;
                Ok(())
            };
            with_upstream_lock(&path, now, run, |error| error)
        };
        assert!(write(changed_ms + 1_000).is_err());
        assert!(write(changed_ms + 20_000).is_ok(), "a stale lock is removed");
        assert!(ran && !lock.exists());
    }

    #[test]
    fn a_lock_that_was_handed_over_ends_with_its_last_owner() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = HomeLock::acquire(home.path(), 0).unwrap();
        let _foreign = HomeLock::acquire(other.path(), 0).unwrap();
        assert!(HomeLock::handed(first.duplicate().unwrap(), other.path()).is_err());
        let second = HomeLock::handed(first.duplicate().unwrap(), home.path()).unwrap();
        drop(first);
        let error = HomeLock::acquire(home.path(), 0).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(second);
        assert!(HomeLock::acquire(home.path(), 0).is_ok());
    }

    #[test]
    fn a_home_that_is_not_there_is_named() {
        let error = HomeLock::acquire(Path::new("/nonexistent/home"), 0).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/home/.lock"), "{error}");
    }
}
