//! The lines of a part of a usage file, forwards and backwards.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::limits::USAGE_LINE_BYTES_MAX;

/// Bytes read at once.
const BLOCK_BYTES: usize = 1 << 18;

/// A line of a usage file.
#[derive(Debug)]
pub struct Line<'a> {
    /// Where it begins in the file.
    pub start: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its bytes without the line feed, which may be changed; none for a line that is longer than any record.
    pub bytes: Option<&'a mut [u8]>,
}

/// Hands the lines between two places of a file to `each`, those that are blank left out. `from` is where a line begins;
/// a last line without a line feed counts. A file that ends before `to` has fewer lines.
///
/// # Errors
/// From the file system.
pub fn for_each_line(file: &File, from: u64, to: u64, mut each: impl FnMut(Line<'_>)) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK_BYTES];
    // The buffer holds `filled` bytes of the file from `start` on; a line too long for it is skipped up to its end.
    let (mut start, mut filled, mut is_too_long) = (from, 0, false);
    let mut too_long_start = from;
    loop {
        if filled == buffer.len() && filled < USAGE_LINE_BYTES_MAX {
            buffer.resize((filled * 2).min(USAGE_LINE_BYTES_MAX), 0);
        } else if filled == buffer.len() {
            if !is_too_long {
                (is_too_long, too_long_start) = (true, start);
            }
            start += filled as u64;
            filled = 0;
        }
        let room = (buffer.len() - filled).min((to - (start + filled as u64)) as usize);
        let read = match file.read_at(&mut buffer[filled..filled + room], start + filled as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let searched = filled;
        filled += read;
        let mut begin = 0;
        let mut search = searched;
        while let Some(at) = memchr::memchr(b'\n', &buffer[search..filled]) {
            let end = search + at;
            let (line_start, line_end) = (start + begin as u64, start + end as u64 + 1);
            if std::mem::take(&mut is_too_long) {
                each(Line { start: too_long_start, end: line_end, bytes: None });
            } else {
                give(line_start, line_end, &mut buffer[begin..end], &mut each);
            }
            begin = end + 1;
            search = begin;
        }
        if read == 0 {
            let end = start + filled as u64;
            if is_too_long {
                each(Line { start: too_long_start, end, bytes: None });
            } else {
                give(start, end, &mut buffer[..filled], &mut each);
            }
            return Ok(());
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        start += begin as u64;
    }
}

fn give(start: u64, end: u64, line: &mut [u8], each: &mut impl FnMut(Line<'_>)) {
    if !line.trim_ascii().is_empty() {
        each(Line { start, end, bytes: Some(line) });
    }
}

/// Hands the lines between two places of a file to `each`, the last one first, until it says that it has enough. Both
/// are places where a line begins, or the file's end. Returns whether there was enough. Lines longer than any record are
/// left out.
///
/// # Errors
/// From the file system.
pub fn for_each_line_backwards(
    file: &File,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> io::Result<bool> {
    let mut end = to;
    // The start of a line whose rest was in the block read before.
    let (mut rest, mut is_too_long) = (vec![], false);
    while end > from {
        let start = end.saturating_sub(BLOCK_BYTES as u64).max(from);
        let mut block = vec![0; (end - start) as usize];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut rest);
        end = start;
        let mut line_end = block.len();
        loop {
            let line_start = memchr::memrchr(b'\n', &block[..line_end.saturating_sub(1)]).map(|at| at + 1);
            let begin = match line_start {
                Some(begin) => begin,
                // The line's start may be in the next block.
                None if start > from => break,
                None => 0,
            };
            let line = &block[begin..line_end];
            if std::mem::take(&mut is_too_long) || line.len() > USAGE_LINE_BYTES_MAX {
                line_end = begin;
            } else {
                line_end = begin;
                if !line.trim_ascii().is_empty() && each(start + begin as u64, line) {
                    return Ok(true);
                }
            }
            if begin == 0 {
                break;
            }
        }
        block.truncate(line_end);
        rest = block;
        if rest.len() > USAGE_LINE_BYTES_MAX {
            (rest, is_too_long) = (vec![], true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn expected(text: &str) -> Vec<(u64, String)> {
        let mut start = 0;
        let mut lines = vec![];
        for line in text.split_inclusive('\n') {
            if !line.trim_ascii().is_empty() {
                lines.push((start, line.trim_end_matches('\n').to_owned()));
            }
            start += line.len() as u64;
        }
        lines
    }

    fn both_ways(text: &str) -> [Vec<(u64, String)>; 2] {
        let file = file(text.as_bytes());
        let (mut forwards, mut backwards) = (vec![], vec![]);
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        for_each_line(&file, 0, text.len() as u64, |line| {
            assert!(line.end > line.start);
            forwards.extend(line.bytes.map(|bytes| (line.start, string(bytes))));
        })
        .unwrap();
        for_each_line_backwards(&file, 0, text.len() as u64, |start, line| {
            backwards.push((start, string(line).trim_end_matches('\n').to_owned()));
            false
        })
        .unwrap();
        backwards.reverse();
        [forwards, backwards]
    }

    #[test]
    fn lines_at_and_around_the_edges_of_blocks_are_whole() {
        for extra in [0, 1, 2, BLOCK_BYTES / 2, 3 * BLOCK_BYTES] {
            let long = |bytes: usize, byte: &str| byte.repeat(bytes);
            let text = format!(
                "{}\nb\n{}\n\n{}\nc",
                long(BLOCK_BYTES - 3 + extra, "a"),
                long(BLOCK_BYTES - 1, "d"),
                long(BLOCK_BYTES, "e")
            );
            for lines in both_ways(&text) {
                assert!(lines == expected(&text), "extra {extra}");
            }
        }
    }

    #[test]
    fn lines_longer_than_any_record_are_told_apart() {
        for extra in [1, BLOCK_BYTES, USAGE_LINE_BYTES_MAX] {
            let text = format!("a\n{}\nb\n", "x".repeat(USAGE_LINE_BYTES_MAX + extra));
            let file = file(text.as_bytes());
            let mut seen = vec![];
            for_each_line(&file, 0, text.len() as u64, |line| {
                seen.push((line.start, line.end, line.bytes.map(|bytes| bytes.to_vec())));
            })
            .unwrap();
            let end = text.len() as u64;
            let expected =
                [(0, 2, Some(b"a".to_vec())), (2, end - 2, None), (end - 2, end, Some(b"b".to_vec()))];
            assert_eq!(seen, expected, "{extra}");
            assert_eq!(both_ways(&text)[1], [(0, "a".to_owned()), (end - 2, "b".to_owned())], "{extra}");
        }
    }

    #[test]
    fn enough_is_enough() {
        let mut seen = 0;
        let enough = for_each_line_backwards(&file(b"a\nb\nc\n"), 2, 6, |start, line| {
            seen += 1;
            assert!((start, line) == (4, b"c\n"));
            true
        });
        assert!(enough.unwrap() && seen == 1);
        assert!(!for_each_line_backwards(&file(b"a\nb\nc\n"), 2, 4, |start, _| start != 2).unwrap());
    }

    proptest! {
        #[test]
        fn both_ways_see_every_line(text in "[ab\n ]{0,200}") {
            let expected = expected(&text);
            for lines in both_ways(&text) {
                prop_assert_eq!(&lines, &expected);
            }
        }
    }
}
