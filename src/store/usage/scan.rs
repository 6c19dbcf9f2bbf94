//! The records of a whole usage file, one after the other, whoever wrote it: lines, or the array of an upstream program.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use super::convert;
use crate::limits::USAGE_LINE_BYTES_MAX;

/// What could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ScanStats {
    /// Lines handed out.
    pub(crate) lines: u64,
    /// Lines that are longer than any record, elements of an array that are no record, damage in journals.
    pub(crate) unreadable: u64,
}

/// Hands the records of one file to `each`, also those of an array that no gateway of ours has converted yet.
pub(crate) fn scan_file(
    file: &File,
    stats: &mut ScanStats,
    each: &mut dyn FnMut(&mut Vec<u8>),
) -> io::Result<()> {
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
