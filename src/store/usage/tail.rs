//! Which records of a journal have reached the usage files already.
//!
//! After a crash between "appended" and "given back", a record is in both. Owns the search for those: backwards
//! through `usage.json` and the segments, no further than they can be.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::line::LineHead;
use super::segment::{segment_paths, usage_path};
use crate::limits::{MIB, USAGE_LINE_BYTES_MAX};

/// Bytes read at once, going backwards.
const BLOCK_BYTES: u64 = MIB as u64;
/// How much older than the journal's oldest record the search goes: records of different cores are appended in turns,
/// and one that waited in memory is appended late.
const SLACK_MS: u64 = 60_000;

/// Says of each line of `batch` (one record a line) whether it is new: neither in the usage files already nor a
/// repetition within the batch.
///
/// The files are searched backwards over at least `tail_bytes_min` bytes, which is what all journals hold together, and
/// further as long as records are not older than the batch: after a power cut a journal's counters may be as old as the
/// kernel's last write-back.
pub(super) fn find_new(batch: &[u8], data_dir: &Path, tail_bytes_min: u64) -> io::Result<Vec<bool>> {
    let mut paths: Vec<PathBuf> = segment_paths(data_dir)?;
    paths.push(usage_path(data_dir));
    let files = paths.iter().rev().filter_map(|path| match File::open(path) {
        Ok(file) => Some(file.metadata().map(|metadata| (file, metadata.len()))),
        // Removed by hand, or between a rotation and the new file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error)),
    });
    find_new_in(batch, files, tail_bytes_min)
}

/// The same in these files, the newest first, each up to a length.
pub(crate) fn find_new_in<F: std::borrow::Borrow<File>>(
    batch: &[u8],
    files: impl Iterator<Item = io::Result<(F, u64)>>,
    tail_bytes_min: u64,
) -> io::Result<Vec<bool>> {
    let mut wanted: HashSet<Vec<u8>> = HashSet::new();
    let mut oldest_ms = u64::MAX;
    for line in lines(batch) {
        let head = LineHead::parse(line);
        wanted.extend(head.id.map(|id| id.as_bytes().to_vec()));
        oldest_ms = oldest_ms.min(head.unix_ms.unwrap_or(u64::MAX));
    }
    if wanted.is_empty() {
        return Ok(lines(batch).map(|_| true).collect());
    }
    let mut search = Search { missing: wanted, scanned_bytes: 0, tail_bytes_min, oldest_ms };
    for file in files {
        let (file, length) = file?;
        if search.file(file.borrow(), length)? {
            break;
        }
    }
    // Found once, an id is no longer missing; lines without one are not known.
    let mut missing = search.missing;
    let is_new = |line| LineHead::parse(line).id.is_none_or(|id| missing.remove(id.as_bytes()));
    Ok(lines(batch).map(is_new).collect())
}

/// The lines of a batch, each of which ends with a line feed.
fn lines(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    batch.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
}

struct Search {
    /// Ids that were not found yet.
    missing: HashSet<Vec<u8>>,
    scanned_bytes: u64,
    tail_bytes_min: u64,
    oldest_ms: u64,
}

impl Search {
    /// Searches one file from its end; true when there is no need to look at older ones.
    fn file(&mut self, file: &File, length: u64) -> io::Result<bool> {
        let mut end = length;
        // The start of a line whose rest was in the block read before.
        let mut line_end: Vec<u8> = vec![];
        while end > 0 {
            let start = end.saturating_sub(BLOCK_BYTES);
            let mut block = vec![0; (end - start) as usize];
            file.read_exact_at(&mut block, start)?;
            block.extend_from_slice(&line_end);
            let first_line = match memchr::memchr(b'\n', &block) {
                _ if start == 0 => 0,
                Some(at) => at + 1,
                None => block.len(),
            };
            let newest_ms = self.lines(&block[first_line..]);
            block.truncate(first_line);
            if block.len() > BLOCK_BYTES as usize + USAGE_LINE_BYTES_MAX {
                // No record of ours is that long.
                block.clear();
            }
            line_end = block;
            self.scanned_bytes += end - start;
            end = start;
            let too_old = newest_ms.is_some_and(|newest| newest.saturating_add(SLACK_MS) < self.oldest_ms);
            if self.missing.is_empty() || (self.scanned_bytes >= self.tail_bytes_min && too_old) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes the ids of whole lines; returns the time of the newest of them.
    fn lines(&mut self, block: &[u8]) -> Option<u64> {
        let mut newest = None;
        for line in block.split(|byte| *byte == b'\n') {
            let head = LineHead::parse(line);
            if let Some(id) = head.id {
                self.missing.remove(id.as_bytes());
            }
            newest = newest.max(head.unix_ms);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use super::*;
    use crate::store::usage::segment::segments_dir;
    use crate::telemetry::text::TimestampFormatter;

    fn lines(numbers: impl Iterator<Item = u64>, pad: usize) -> String {
        let (mut text, mut formatter) = (String::new(), TimestampFormatter::default());
        for number in numbers {
            let timestamp = formatter.format(1_767_225_600_000 + number * 1000);
            let pad = "p".repeat(pad);
            writeln!(text, r#"{{"id":"{number}","timestamp":"{}","pad":"{pad}"}}"#, timestamp.as_str())
                .unwrap();
        }
        text
    }

    #[test]
    fn only_records_that_no_file_holds_stay() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(segments_dir(home.path())).unwrap();
        fs::write(segments_dir(home.path()).join("usage-2026-01-01.json"), lines(0..10, 10)).unwrap();
        // Lines that straddle the blocks read.
        fs::write(usage_path(home.path()), lines(10..200, 30_000)).unwrap();
        for (tail_bytes_min, first, last, kept) in
            [(0, 195, 205, 5), (0, 100, 210, 10), (0, 5, 12, 0), (0, 200, 203, 3)]
        {
            let batch = lines(first..last, 0).into_bytes();
            let expected: Vec<_> = (first..last).map(|number| number >= last - kept).collect();
            assert_eq!(find_new(&batch, home.path(), tail_bytes_min).unwrap(), expected);
        }
    }

    #[test]
    fn the_search_ends_where_records_get_too_old() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(segments_dir(home.path())).unwrap();
        // Reading the old segment would fail: it is a folder.
        fs::create_dir(segments_dir(home.path()).join("usage-2025-01-01.json")).unwrap();
        fs::write(usage_path(home.path()), lines(0..100, 30_000)).unwrap();
        let batch = lines(100..101, 0).into_bytes();
        assert_eq!(find_new(&batch, home.path(), 0).unwrap(), [true]);
        assert!(find_new(&batch, home.path(), u64::MAX).is_err(), "a longer tail goes on");
    }

    #[test]
    fn a_record_that_two_journals_hold_is_kept_once() {
        let home = tempfile::tempdir().unwrap();
        fs::write(usage_path(home.path()), "").unwrap();
        let batch = [lines(1..3, 0), lines(2..4, 0), "{\"no\":\"id\"}\n".repeat(2)].concat().into_bytes();
        assert_eq!(find_new(&batch, home.path(), 0).unwrap(), [true, true, false, true, true, true]);
    }
}
