//! One file read or replaced as a whole.
//!
//! Owns how a configuration file reaches the disk: written beside itself, synced, renamed over the old one, and the
//! directory synced, so that a crash or a full disk leaves either the old content or the new one. Knows nothing of
//! what the files mean.
//!
//! Source: rename(2) and fsync(2); the order is the one that SQLite's "Atomic Commit" page argues for.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::limits::CONFIG_FILE_BYTES_MAX;

/// What is known about a file's state without reading it: changes whenever the content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Last change of the content, in nanoseconds since the Unix epoch.
    mtime_ns: i128,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { mtime_ns, bytes: metadata.len(), inode: metadata.ino() }
    }

    /// The state of a file now; none when it cannot be seen.
    pub fn read(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }
}

/// A file as it was read. No `Debug`: it may hold keys in clear.
pub struct Content {
    /// Its text, a byte order mark removed.
    pub text: String,
    /// Its state when the reading began: an edit during the reading shows as a change later.
    pub stamp: Stamp,
    /// Its permission bits.
    pub mode: u32,
}

/// What can go wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Larger than any configuration is.
    #[error("{} is larger than {CONFIG_FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nothing in it: the trace of a write that was cut off. It is never filled with defaults.
    #[error("{} is empty; restore it from a backup, or delete it to start with defaults", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not text.
    #[error("{} is not UTF-8 from byte {offset} on", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first wrong byte.
        offset: usize,
    },
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Reads a file; `None` when there is none.
///
/// # Errors
/// See [`FileError`]; a file of nothing but white space counts as empty.
pub fn read(path: &Path) -> Result<Option<Content>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("cannot open", path)(error)),
    };
    let metadata = file.metadata().map_err(FileError::io("cannot look at", path))?;
    let mut bytes = Vec::with_capacity(metadata.len().min(CONFIG_FILE_BYTES_MAX) as usize + 1);
    file.take(CONFIG_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::io("cannot read", path))?;
    if bytes.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    if bytes.trim_ascii().is_empty() {
        return Err(FileError::Empty { path: path.to_owned() });
    }
    let mut text = String::from_utf8(bytes).map_err(|error| FileError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(Some(Content { text, stamp: Stamp::of(&metadata), mode: metadata.mode() & 0o7777 }))
}

/// Replaces a file's content at once, with mode 0600, and hands back its new state.
///
/// A symbolic link is followed, so that the file it names is replaced and not the link.
///
/// # Errors
/// [`FileError::Io`]; the old content is then still there, and nothing else is.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<Stamp, FileError> {
    replace_by(path, |file| file.write_all(bytes))
}

/// Replaces a file with a JSON document, two spaces deep as people and other programs wrote it.
///
/// # Errors
/// See [`replace`].
pub fn replace_json(path: &Path, value: &Value) -> Result<Stamp, FileError> {
    replace(path, &to_json(value))
}

pub(super) fn to_json(value: &Value) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec_pretty(value).expect("a document of maps with text keys always serialises");
    bytes.push(b'\n');
    bytes
}

fn replace_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Stamp, FileError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(FileError::io("cannot write", path)(source));
    };
    let temporary = directory.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_beside(&temporary, &target, write);
    if written.is_err() {
        // Whatever is left of it must not fill the disk further; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    let stamp = written.map_err(FileError::io("cannot write", path))?;
    sync_directory(directory).map_err(FileError::io("cannot sync the directory of", path))?;
    Ok(stamp)
}

fn write_beside(
    temporary: &Path,
    target: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<Stamp> {
    // A leftover of an earlier process with our number.
    match fs::remove_file(temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    write(&mut file)?;
    file.sync_all()?;
    let stamp = Stamp::of(&file.metadata()?);
    fs::rename(temporary, target)?;
    Ok(stamp)
}

/// Makes a rename durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems cannot sync a directory and say so; there is nothing more to be done on them.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Creates a directory and those above it, with mode 0700, where they do not exist.
///
/// # Errors
/// [`FileError::Io`].
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::io("cannot create", path))
}

/// Copies a file with mode 0600, durably. Nothing happens when there is none.
///
/// # Errors
/// [`FileError::Io`].
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("cannot open", from)(error)),
    };
    replace_by(to, |file| io::copy(&mut source, file).map(|_| ())).map(|_| ())
}

/// Removes what a crash during [`replace`] left behind in a directory.
pub fn remove_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") && name.contains(".json.") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_back_with_mode_0600_and_the_same_stamp() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        assert!(matches!(read(&path), Ok(None)));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let stamp = replace_json(&path, &json!({"b": 1, "a": [2]})).unwrap();
        let content = read(&path).unwrap().unwrap();
        assert_eq!(content.text, "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}\n");
        assert_eq!((content.stamp, content.mode), (stamp, 0o600));
        assert_eq!(Stamp::read(&path), Some(stamp));
        assert_eq!(names(home.path()), ["a.json"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_content_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        fs::write(&path, "old").unwrap();
        let error = replace_by(&path, |file| {
            file.write_all(b"{\"half\":")?;
            Err(io::Error::from_raw_os_error(28))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.json: No space left"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(home.path()), ["a.json"]);
    }

    #[test]
    fn a_real_full_device_is_reported_as_such() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        let error =
            replace_by(&path, |_| OpenOptions::new().write(true).open(full)?.write_all(b"x")).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn what_cannot_be_a_configuration_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        for (bytes, expected) in [
            (&b""[..], "a.json is empty"),
            (b" \n\t", "a.json is empty"),
            (b"{\"a\":\"\xff\"}", "is not UTF-8 from byte 6"),
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(read(&path).map(|_| ()).unwrap_err().to_string().contains(expected), "{expected}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "never overwritten");
        }
        File::create(&path).unwrap().set_len(CONFIG_FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(read(&path), Err(FileError::TooLarge { .. })));
        assert!(read(home.path()).map(|_| ()).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn a_directory_that_is_none_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        for path in [file.join("a.json"), home.path().join("missing/a.json")] {
            let error = replace(&path, b"x").unwrap_err().to_string();
            assert!(error.contains("cannot write") && error.contains("a.json"), "{error}");
        }
        assert!(create_directory(&file.join("sub")).is_err());
    }

    #[test]
    fn a_link_keeps_pointing_at_the_file_that_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("real")).unwrap();
        fs::write(home.path().join("real/a.json"), "old").unwrap();
        let link = home.path().join("a.json");
        std::os::unix::fs::symlink("real/a.json", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(home.path().join("real/a.json")).unwrap(), "new");
    }

    #[test]
    fn a_byte_order_mark_is_not_content_and_leftovers_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        fs::write(&path, "\u{feff}[]").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().text, "[]");
        fs::write(home.path().join(".a.json.77.tmp"), "x").unwrap();
        remove_leftovers(home.path());
        assert_eq!(names(home.path()), ["a.json"]);
    }
}
