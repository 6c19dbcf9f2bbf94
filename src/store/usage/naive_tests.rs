//! All records read one by one: what reports are compared with, and how a file's records are found at all.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::line::LineHead;
use super::scan::{ScanStats, scan_file};
use super::{segment_paths, segments_dir, usage_path};
use crate::limits::{JOURNAL_BYTES_MIN, USAGE_LINE_BYTES_MAX};
use crate::store::journal::{Journal, journal_path, journal_paths, read_snapshot};

/// Hands every usage record below `data_dir` to `each`, as one line without its line feed that may be changed in place:
/// segments, `usage.json`, and what waits in journals. Memory is bounded by one line and the journals' size.
///
/// # Errors
/// From the file system. Files that do not exist hold no records.
pub(crate) fn for_each_record(data_dir: &Path, mut each: impl FnMut(&mut Vec<u8>)) -> io::Result<ScanStats> {
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
    fs::write(usage_path(home.path()), format!("{{\"id\":\"b\"}}\n\n{too_long}\n{{\"id\":\"c\"}}")).unwrap();
    let (mut writer, _reader) =
        Journal::open(&journal_path(home.path(), 0), JOURNAL_BYTES_MIN).unwrap().0.split();
    for id in ["b", "d", "c"] {
        writer.append_line(format!("{{\"id\":\"{id}\"}}").as_bytes()).unwrap();
    }
    // A rotation that happens between the two looks: one file under both names.
    fs::hard_link(usage_path(home.path()), segments_dir(home.path()).join("usage-2026-01-02.json")).unwrap();
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
