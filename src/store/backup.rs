//! A home in one archive, taken while a gateway may be running on it, and put back.
//!
//! Owns what belongs into it and the order that makes it consistent. Configuration: all files as they were at one moment,
//! between two changes. Usage: the checkpoint and the rollups first, then the journals, the open file up to its last whole
//! line, and the segments; records that only the journals had are put behind the open file's, so that each is there once.
//! A last entry says that the archive is complete: one that was cut off is not restored.
//!
//! Format: tar (POSIX.1-1988 with GNU's long names), nothing compressed: pipe it through what you like.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::files::{self, Stamp};
use super::home::Home;
use super::journal::{journal_paths, read_snapshot};
use super::lock::HomeLock;
use super::rollup::{open_usage_file, segments};
use super::usage::{find_new_in, for_each_line_backwards, is_array, usage_path};
use crate::config::files::{MODELS, PROJECTS, PROVIDERS, ROLES, SETTINGS, USERS};

/// The first entry: what this is.
const MANIFEST: &str = "routerly-backup.json";
/// The last entry: it is complete.
const END: &str = "routerly-backup.end";
const FORMAT: u64 = 1;
/// A change of several files that is not complete yet.
const PENDING: &str = "config/.pending.json";
const CONFIGURATION: [&str; 7] = [SETTINGS, MODELS, PROJECTS, USERS, ROLES, PROVIDERS, "config/secret"];
/// What is kept beside usage records; each file in it stands for itself.
const BESIDE: [&str; 4] = ["data/traces", "data/responses", "data/audit.json", "data/audit"];
/// How often the configuration is read before it is too restless.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// Directories of a home that an archive has.
const PARTS: [&str; 2] = ["config", "data"];

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Files, without the archive's own.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes the archive of a home.
///
/// # Errors
/// From the file system or from `out`; a configuration that does not come to rest.
pub fn write(home: &Home, now: &str, out: impl Write) -> io::Result<Contents> {
    let mut archive = Archive { tar: tar::Builder::new(out), contents: Contents::default() };
    let manifest = json!({"format": FORMAT, "version": env!("CARGO_PKG_VERSION"), "createdAt": now});
    archive.put(MANIFEST, manifest.to_string().as_bytes())?;
    for (name, bytes) in configuration(home)? {
        archive.put(name, &bytes)?;
    }
    archive.usage(home)?;
    for name in BESIDE {
        archive.tree(home, Path::new(name))?;
    }
    let contents = archive.contents;
    archive.put(END, b"")?;
    archive.tar.into_inner()?.flush()?;
    Ok(Contents { files: contents.files - 1, ..contents })
}

/// The configuration's files as they are between two changes.
fn configuration(home: &Home) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    for _ in 0..TRIES {
        let stamps = || CONFIGURATION.map(|name| Stamp::read(&home.file(name)));
        let before = stamps();
        let mut found = Vec::new();
        for name in CONFIGURATION {
            match fs::read(home.file(name)) {
                Ok(bytes) => found.push((name, bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(named(&home.file(name), &error)),
            }
        }
        if !home.file(PENDING).exists() && before == stamps() {
            return Ok(found);
        }
        std::thread::park_timeout(PAUSE);
    }
    Err(io::Error::other(
        "the configuration keeps changing, or a change was left unfinished by a crash: start the gateway first",
    ))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    contents: Contents,
}

impl<W: Write> Archive<W> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.stream(Path::new(name), bytes.len() as u64, bytes)
    }

    /// Adds a file of a length that is known; `content` has to have as many bytes.
    fn stream(&mut self, name: &Path, bytes: u64, content: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(0);
        let mut counted = Counted { inner: content.take(bytes), bytes: 0 };
        self.tar.append_data(&mut header, name, &mut counted)?;
        if counted.bytes != bytes {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("{} became shorter", name.display()),
            ));
        }
        self.contents.files += 1;
        self.contents.bytes += bytes;
        Ok(())
    }

    /// Adds a file, or all files below a directory, as long as they are now. What goes away meanwhile is left out.
    fn tree(&mut self, home: &Home, name: &Path) -> io::Result<()> {
        let path = home.root().join(name);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(named(&path, &error)),
        };
        if metadata.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path)?.collect::<io::Result<_>>()?;
            names.sort_by_key(fs::DirEntry::file_name);
            return names.iter().try_for_each(|entry| self.tree(home, &name.join(entry.file_name())));
        }
        let is_temporary = path.extension().is_some_and(|extension| extension == "tmp");
        if !metadata.is_file() || is_temporary {
            return Ok(());
        }
        match File::open(&path) {
            Ok(file) => self.stream(name, file.metadata()?.len(), file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(named(&path, &error)),
        }
    }

    fn usage(&mut self, home: &Home) -> io::Result<()> {
        let data = home.data_directory();
        self.tree(home, Path::new("data/rollups"))?;
        let mut waiting = Vec::new();
        for path in journal_paths(&data)? {
            match read_snapshot(&path) {
                Ok(snapshot) => waiting.extend_from_slice(&snapshot.lines),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(named(&path, &error)),
            }
        }
        let open = open_usage_file(&data)?;
        let mut length = 0;
        if let Some(file) = &open {
            length = file.metadata()?.len();
            if !is_array(&usage_path(&data))? {
                length = last_line_end(file, length)?;
            }
        }
        let mut there: Vec<(PathBuf, File, u64)> = Vec::new();
        for segment in segments(&data)? {
            match File::open(&segment.path) {
                Ok(file) => {
                    let is_open = open.as_ref().is_some_and(|open| is_same(open, &file));
                    if !is_open {
                        there.push((
                            Path::new("data/usage").join(segment.name()),
                            file,
                            segment.fingerprint.bytes(),
                        ));
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(named(&segment.path, &error)),
            }
        }
        let newest_first = there.iter().rev().map(|(_, file, length)| Ok((file, *length)));
        let files = open.iter().map(|file| Ok((file, length))).chain(newest_first);
        let is_new = find_new_in(&waiting, files, 0)?;
        let lines = waiting.split_inclusive(|byte| *byte == b'\n').zip(is_new);
        let waiting: Vec<u8> =
            lines.filter(|(_, is_new)| *is_new).flat_map(|(line, _)| line.to_vec()).collect();
        for (name, file, length) in &there {
            self.stream(name, *length, file)?;
        }
        let total = length + waiting.len() as u64;
        match &open {
            Some(file) => {
                self.stream(Path::new("data/usage.json"), total, Read::take(file, length).chain(&waiting[..]))
            }
            None if !waiting.is_empty() => self.put("data/usage.json", &waiting),
            None => Ok(()),
        }
    }
}

fn is_same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(one).is_some() && identity(one) == identity(other)
}

/// Where the last whole line of a file ends: the gateway may be writing the next one.
fn last_line_end(file: &File, length: u64) -> io::Result<u64> {
    let mut end = 0;
    for_each_line_backwards(file, 0, length, |start, line| {
        end = if line.ends_with(b"\n") { start + line.len() as u64 } else { start };
        true
    })?;
    // Nothing but a line that has no end yet: it may begin at 0.
    let mut last = [0];
    if end > 0 {
        file.read_exact_at(&mut last, end - 1)?;
    }
    Ok(if last == *b"\n" { end } else { 0 })
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Puts an archive in the place of a home that nothing else uses. What was there is kept beside, in a directory whose
/// path is given back.
///
/// # Errors
/// An archive that is none or not complete: nothing is changed then. From the file system.
pub fn restore(
    lock: &HomeLock,
    now_unix_ms: u64,
    input: impl Read,
) -> io::Result<(Contents, Option<PathBuf>)> {
    let root = lock.root();
    let fresh = root.join(format!(".restore-{}", std::process::id()));
    let contents = extract(&fresh, input)
        .and_then(|contents| put_in_place(root, &fresh, now_unix_ms).map(|old| (contents, old)));
    // Whatever is left of it is of no use.
    let _ = fs::remove_dir_all(&fresh);
    contents
}

fn extract(into: &Path, input: impl Read) -> io::Result<Contents> {
    let invalid = |text: &str| io::Error::new(ErrorKind::InvalidData, text.to_owned());
    let mut contents = Contents::default();
    let mut archive = tar::Archive::new(input);
    let (mut is_known, mut is_complete) = (false, false);
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|_| invalid("this is no archive of a home, or it is damaged"))?;
        let name = entry.path()?.into_owned();
        if !is_known {
            let mut text = String::new();
            let is_manifest = name == Path::new(MANIFEST);
            if is_manifest {
                entry.read_to_string(&mut text)?;
            }
            let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
            if manifest["format"] != FORMAT {
                return Err(invalid("this is no archive of a home in a form that this release knows"));
            }
            is_known = true;
            continue;
        }
        if name == Path::new(END) {
            is_complete = true;
            break;
        }
        let mut parts = name.components();
        let is_ours =
            matches!(parts.next(), Some(Component::Normal(part)) if PARTS.iter().any(|known| part == *known));
        if !is_ours
            || !parts.all(|part| matches!(part, Component::Normal(_)))
            || !entry.header().entry_type().is_file()
        {
            return Err(invalid(&format!("the archive has an entry that no home has: {}", name.display())));
        }
        let path = into.join(&name);
        let directory = path.parent().unwrap_or(into);
        files::create_directory(directory).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        contents.bytes += io::copy(&mut entry, &mut file).map_err(|_| invalid("the archive is cut off"))?;
        contents.files += 1;
        file.sync_all()?;
    }
    if !is_complete {
        return Err(invalid("the archive is cut off: its last entry is missing"));
    }
    Ok(contents)
}

fn put_in_place(root: &Path, fresh: &Path, now_unix_ms: u64) -> io::Result<Option<PathBuf>> {
    let old = root.join(format!("before-restore-{now_unix_ms}"));
    let mut kept = None;
    for part in PARTS {
        if root.join(part).exists() {
            files::create_directory(&old).map_err(io::Error::other)?;
            fs::rename(root.join(part), old.join(part))?;
            kept = Some(old.clone());
        }
        if fresh.join(part).exists() {
            fs::rename(fresh.join(part), root.join(part))?;
        }
    }
    files::sync_directory(root)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let home = Home::at(directory.path());
        (directory, home)
    }

    fn archive(home: &Home) -> Vec<u8> {
        let mut out = Vec::new();
        write(home, "2026-01-01T00:00:00.000Z", &mut out).unwrap();
        out
    }

    const FILES: [(&str, &str); 5] = [
        ("config/settings.json", "{}"),
        ("config/secret", "abc"),
        ("data/usage.json", "{\"id\":\"3\"}\n{\"id\":\"4\"}\n{\"id\":"),
        ("data/usage/usage-2026-01-01.json", "{\"id\":\"1\"}\n"),
        ("data/traces/1-2.3.jsonl", "{}\n"),
    ];

    #[test]
    fn what_is_restored_is_what_was_there_without_a_torn_line() {
        let (_source, from) = home(&FILES);
        let bytes = archive(&from);
        let (target, to) = home(&[("config/settings.json", "{\"port\":1}")]);
        let lock = to.lock(0).unwrap();
        let (contents, old) = restore(&lock, 7, &bytes[..]).unwrap();
        assert_eq!(contents.files, FILES.len() as u64);
        for (name, text) in FILES {
            let text = text.strip_suffix("{\"id\":").unwrap_or(text);
            assert_eq!(fs::read_to_string(target.path().join(name)).unwrap(), text, "{name}");
        }
        let kept = fs::read_to_string(old.unwrap().join("config/settings.json")).unwrap();
        assert_eq!(kept, "{\"port\":1}");
    }

    #[test]
    fn an_archive_that_is_cut_off_or_strange_changes_nothing() {
        let (_source, from) = home(&FILES);
        let bytes = archive(&from);
        let (target, to) = home(&[("config/settings.json", "{\"port\":1}")]);
        let lock = to.lock(0).unwrap();
        let mut strange = tar::Builder::new(Vec::new());
        let mut add = |name: &str, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            strange.append(&header, text.as_bytes()).unwrap();
        };
        add(MANIFEST, "{\"format\":1}");
        add("config/../../escape", "x");
        add(END, "");
        let strange = strange.into_inner().unwrap();
        let mut inputs: Vec<&[u8]> = vec![b"", b"not an archive", &strange];
        inputs.extend((0..bytes.len() - 1_536).step_by(512).map(|length| &bytes[..length]));
        for input in inputs {
            assert!(restore(&lock, 7, input).is_err(), "{} bytes", input.len());
            let names: Vec<_> =
                fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names.len(), 2, "{names:?}");
            assert_eq!(
                fs::read_to_string(target.path().join("config/settings.json")).unwrap(),
                "{\"port\":1}"
            );
        }
        assert!(!target.path().parent().unwrap().join("escape").exists());
    }

    #[test]
    fn the_last_whole_line_is_found() {
        for (text, end) in [("", 0), ("abc", 0), ("a\n", 2), ("a\nb", 2), ("a\nb\n", 4), ("\n", 0)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            assert_eq!(last_line_end(&file, text.len() as u64).unwrap(), end, "{text:?}");
        }
    }
}
