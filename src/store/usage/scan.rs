//! Reading usage records for reports, beside a gateway that may be writing them.
//!
//! Owns the order that makes such a look complete: the journals are copied first, then the open file is opened, then the
//! segments are listed. A record that moves from one to the next meanwhile is seen at least once, and those of the journals
//! are told apart by id. Read-only.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::convert;
use super::line::LineHead;
use super::segment::{segment_paths, usage_path};
use crate::limits::USAGE_LINE_BYTES_MAX;
use crate::store::journal::{journal_paths, read_snapshot};

/// What could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// Lines handed out.
    pub lines: u64,
    /// Lines that are longer than any record, elements of an array that are no record, damage in journals.
    pub unreadable: u64,
}

/// Hands every usage record below `data_dir` to `each`, as one line without its line feed that may be changed in place:
/// segments, `usage.json`, and what waits in journals. Memory is bounded by one line and the journals' size.
///
/// # Errors
/// From the file system. Files that do not exist hold no records.
pub fn for_each_record(data_dir: &Path, mut each: impl FnMut(&mut Vec<u8>)) -> io::Result<ScanStats> {
    let mut stats = ScanStats::default();
    let mut waiting = vec![];
    for path in journal_paths(data_dir)? {
        match read_snapshot(&path) {
            Ok(snapshot) => {
                stats.unreadable += snapshot.drained.corrupt;
                waiting.extend_from_slice(&snapshot.lines);
            }
            // The journal of a core that is gone, deleted as it was emptied.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut waiting_ids: HashSet<Vec<u8>> = waiting
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Some(LineHead::parse(line).id?.as_bytes().to_vec()))
        .collect();
    let open_file = open_if_there(&usage_path(data_dir))?;
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    let open_identity = open_file.as_ref().map(identity).transpose()?;
    let mut files = vec![];
    for path in segment_paths(data_dir)? {
        files.extend(open_if_there(&path)?.filter(|file| identity(file).ok() != open_identity));
    }
    files.extend(open_file);
    let mut each_new = |line: &mut Vec<u8>| {
        if !waiting_ids.is_empty()
            && let Some(id) = LineHead::parse(line).id
        {
            waiting_ids.remove(id.as_bytes());
        }
        each(line);
    };
    for file in files {
        scan_file(&file, &mut stats, &mut each_new)?;
    }
    for line in waiting.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if LineHead::parse(line).id.is_none_or(|id| waiting_ids.remove(id.as_bytes())) {
            stats.lines += 1;
            each(&mut line.to_vec());
        }
    }
    Ok(stats)
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn scan_file(file: &File, stats: &mut ScanStats, each: &mut dyn FnMut(&mut Vec<u8>)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut lines = Lines { line: vec![], is_too_long: false, stats, each };
    if convert::starts_array(reader.fill_buf()?) {
        // An upstream file that no gateway of ours has converted yet.
        let conversion = convert::convert(&mut reader, &mut lines)?;
        lines.stats.unreadable += conversion.skipped;
        return Ok(());
    }
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        lines.push(bytes);
        let read = bytes.len();
        reader.consume(read);
    }
    // The gateway may be in the middle of writing this one; the reader of the record decides whether it is whole.
    lines.end();
    Ok(())
}

/// Cuts bytes into lines.
struct Lines<'a> {
    line: Vec<u8>,
    is_too_long: bool,
    stats: &'a mut ScanStats,
    each: &'a mut dyn FnMut(&mut Vec<u8>),
}

impl Lines<'_> {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            self.collect(&bytes[..at]);
            self.end();
            bytes = &bytes[at + 1..];
        }
        self.collect(bytes);
    }

    fn collect(&mut self, part: &[u8]) {
        if self.is_too_long || self.line.len() + part.len() > USAGE_LINE_BYTES_MAX {
            self.is_too_long = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_too_long) {
            self.stats.unreadable += 1;
        } else if !self.line.trim_ascii().is_empty() {
            self.stats.lines += 1;
            (self.each)(&mut self.line);
        }
        self.line.clear();
    }
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::limits::JOURNAL_BYTES_MIN;
    use crate::store::journal::{Journal, journal_path};
    use crate::store::usage::segments_dir;

    fn seen(data_dir: &Path) -> (Vec<String>, ScanStats) {
        let mut lines = vec![];
        let stats =
            for_each_record(data_dir, |line| lines.push(String::from_utf8(line.clone()).unwrap())).unwrap();
        (lines, stats)
    }

    #[test]
    fn a_folder_without_files_holds_no_records() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(seen(&home.path().join("nowhere")), (vec![], ScanStats::default()));
    }

    #[test]
    fn segments_file_and_journals_are_seen_once_each() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(segments_dir(home.path())).unwrap();
        fs::write(segments_dir(home.path()).join("usage-2026-01-01.json"), "{\"id\":\"a\"}\n").unwrap();
        let too_long = "x".repeat(USAGE_LINE_BYTES_MAX + 1);
        fs::write(usage_path(home.path()), format!("{{\"id\":\"b\"}}\n\n{too_long}\n{{\"id\":\"c\"}}"))
            .unwrap();
        let (mut writer, _reader) =
            Journal::open(&journal_path(home.path(), 0), JOURNAL_BYTES_MIN).unwrap().0.split();
        for id in ["b", "d", "c"] {
            writer.append_line(format!("{{\"id\":\"{id}\"}}").as_bytes()).unwrap();
        }
        // A rotation that happens between the two looks: one file under both names.
        fs::hard_link(usage_path(home.path()), segments_dir(home.path()).join("usage-2026-01-02.json"))
            .unwrap();
        let (lines, stats) = seen(home.path());
        assert_eq!(lines, ["{\"id\":\"a\"}", "{\"id\":\"b\"}", "{\"id\":\"c\"}", "{\"id\":\"d\"}"]);
        assert_eq!(stats, ScanStats { lines: 4, unreadable: 1 });
    }

    #[test]
    fn an_array_that_was_not_converted_yet_is_read_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let array = "\n [{\"id\":\"a\",\"costUsd\":1},\n7,{\"id\":\"b\",\"cost\":null}]";
        fs::write(usage_path(home.path()), array).unwrap();
        let (lines, stats) = seen(home.path());
        assert_eq!(lines, ["{\"id\":\"a\",\"cost\":1}", "{\"id\":\"b\",\"cost\":0.0}"]);
        assert_eq!(stats, ScanStats { lines: 2, unreadable: 1 });
        assert_eq!(fs::read_to_string(usage_path(home.path())).unwrap(), array);
    }
}
