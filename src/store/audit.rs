//! Who changed what: `data/audit.json`, a line for each change, only ever appended to.
//!
//! Owns the file's life: a line is whole or not there, it is on the disk when [`AuditLog::append`] comes back, and a file
//! that has grown large moves to `data/audit/`. What cannot be written and must not be lost ([`AuditLog::note`]) waits in
//! memory for the next chance. Knows nothing of what the lines say.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::files;

/// Lines that wait for room on the disk; beyond it the oldest are dropped, and counted.
const WAITING_MAX: usize = 1_000;

/// When files move aside, and go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Size at which the file moves aside.
    pub rotate_bytes: u64,
    /// Files that moved aside so many days ago are deleted; 0: never.
    pub retention_days: u64,
}

/// The file, and what could not be written to it yet.
#[derive(Debug)]
pub struct AuditLog {
    data: PathBuf,
    waiting: VecDeque<Vec<u8>>,
    dropped: u64,
}

impl AuditLog {
    /// Of the home whose data directory this is.
    pub fn at(data: PathBuf) -> Self {
        Self { data, waiting: VecDeque::new(), dropped: 0 }
    }

    fn path(&self) -> PathBuf {
        self.data.join("audit.json")
    }

    /// Lines that were given up since the start: the disk was full for longer than they could wait.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Appends a line, behind those that wait; it is on the disk then.
    ///
    /// # Errors
    /// The disk does not take it. The file is as before.
    pub fn append(&mut self, line: &[u8], now_ms: u64, bounds: Bounds) -> io::Result<()> {
        let mut text = Vec::new();
        for waiting in self.waiting.iter().map(Vec::as_slice).chain([line]) {
            text.extend_from_slice(waiting);
            text.push(b'\n');
        }
        self.rotate(now_ms, bounds)?;
        append_whole(&self.path(), &text)?;
        self.waiting.clear();
        Ok(())
    }

    /// Appends a line, or keeps it for the next chance.
    pub fn note(&mut self, line: Vec<u8>, now_ms: u64, bounds: Bounds) -> io::Result<()> {
        let written = self.append(&line, now_ms, bounds);
        if written.is_err() {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.pop_front();
                self.dropped += 1;
            }
            self.waiting.push_back(line);
        }
        written
    }

    fn rotate(&self, now_ms: u64, bounds: Bounds) -> io::Result<()> {
        let length = match fs::metadata(self.path()) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if length < bounds.rotate_bytes {
            return Ok(());
        }
        let directory = self.data.join("audit");
        files::create_directory(&directory).map_err(io::Error::other)?;
        // Thirteen digits: their order is that of the files.
        let mut stamp = now_ms;
        let target = |stamp: u64| directory.join(format!("audit-{stamp:013}.json"));
        while target(stamp).exists() {
            stamp += 1;
        }
        fs::rename(self.path(), target(stamp))?;
        files::sync_directory(&directory)?;
        files::sync_directory(&self.data)?;
        if bounds.retention_days > 0 {
            let first_ms = now_ms.saturating_sub(bounds.retention_days.saturating_mul(86_400_000));
            for (stamp, path) in rotated(&self.data) {
                if stamp < first_ms {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

/// All of it or nothing, and on the disk.
fn append_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let before = file.metadata()?.len();
    let write = |file: &mut fs::File| {
        if before > 0 {
            // A crash may have cut a line in two; the next one begins anew.
            let mut last = [0];
            file.seek(SeekFrom::Start(before - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        file.write_all(text)?;
        file.sync_data()
    };
    let written = write(&mut file);
    if written.is_err() {
        // Whatever is left of it must not pass for a line.
        let _ = file.set_len(before);
    }
    written
}

/// The files that have moved aside, with the time at which they did.
fn rotated(data: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(data.join("audit")).into_iter().flatten().flatten();
    let stamped = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let stamp = name.strip_prefix("audit-")?.strip_suffix(".json")?.parse().ok()?;
        Some((stamp, entry.path()))
    });
    let mut stamped: Vec<_> = stamped.collect();
    stamped.sort();
    stamped
}

/// Hands each line to `take`, the newest first, until it says that it has enough.
///
/// # Errors
/// A file that cannot be read.
pub fn each_line_from_newest(data: &Path, mut take: impl FnMut(&str) -> bool) -> io::Result<()> {
    let older = rotated(data).into_iter().rev().map(|(_, path)| path);
    for path in std::iter::once(data.join("audit.json")).chain(older) {
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // It may have moved aside in this moment; its lines come with the next file then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines().rev().filter(|line| !line.is_empty()) {
            if !take(line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { rotate_bytes: 20, retention_days: 0 };

    fn lines(data: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        each_line_from_newest(data, |line| {
            lines.push(line.to_owned());
            true
        })
        .unwrap();
        lines
    }

    #[test]
    fn lines_are_appended_moved_aside_and_read_from_the_newest_on() {
        let home = tempfile::tempdir().unwrap();
        let mut log = AuditLog::at(home.path().to_owned());
        for number in 0..7 {
            log.append(format!("line {number}").as_bytes(), 5_000, BOUNDS).unwrap();
        }
        let expected: Vec<String> = (0..7).rev().map(|number| format!("line {number}")).collect();
        assert_eq!(lines(home.path()), expected);
        assert_eq!(
            rotated(home.path()).into_iter().map(|(stamp, _)| stamp).collect::<Vec<_>>(),
            [5_000, 5_001]
        );
        let mut two = Vec::new();
        each_line_from_newest(home.path(), |line| {
            two.push(line.to_owned());
            two.len() < 2
        })
        .unwrap();
        assert_eq!(two, expected[..2]);
        // After a day the old ones go with the next that moves aside.
        let bounds = Bounds { rotate_bytes: 1, retention_days: 1 };
        log.append(b"late", 5_000 + 2 * 86_400_000, bounds).unwrap();
        assert_eq!(lines(home.path()), ["late", "line 6"]);
    }

    #[test]
    fn a_line_that_a_crash_has_cut_is_closed() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("audit.json"), "whole\nhal").unwrap();
        AuditLog::at(home.path().to_owned())
            .append(b"next", 0, Bounds { rotate_bytes: 1_000, ..BOUNDS })
            .unwrap();
        assert_eq!(lines(home.path()), ["next", "hal", "whole"]);
    }

    #[test]
    fn what_cannot_be_written_waits_in_order_and_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        // A directory in its place: nothing can be appended.
        fs::create_dir(home.path().join("audit.json")).unwrap();
        let mut log = AuditLog::at(home.path().to_owned());
        let bounds = Bounds { rotate_bytes: u64::MAX, ..BOUNDS };
        assert!(log.append(b"not kept", 0, bounds).is_err());
        for number in 0..WAITING_MAX + 2 {
            assert!(log.note(format!("{number}").into_bytes(), 0, bounds).is_err());
        }
        assert_eq!(log.dropped(), 2);
        fs::remove_dir(home.path().join("audit.json")).unwrap();
        log.append(b"last", 0, bounds).unwrap();
        let lines = lines(home.path());
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[WAITING_MAX].as_str()),
            (WAITING_MAX + 1, "last", "2")
        );
    }
}
