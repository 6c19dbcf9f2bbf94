//! One complete look at all records there are.
//!
//! Owns the order that makes it complete while a gateway writes: the journals are copied first, then the open file is
//! opened, then the segments are listed. A record that moves from one to the next meanwhile is seen at least once, and
//! those of the journals that a file holds too are told apart by id.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::journal::{journal_paths, read_snapshot};
use crate::store::rollup::{
    Checkpoint, FirstLine, Table, open_table, open_usage_file, read_between, read_segment, retired_rollups,
    segments,
};
use crate::store::usage::{LineReader, ScanStats, find_new_in, is_array, scan_file, usage_path};

/// A usage file with its rows.
#[derive(Debug)]
pub(super) struct Source {
    /// None where its records cannot be read line by line: they were deleted, or are an array of another program.
    pub(super) file: Option<File>,
    /// Bytes of it that belong to the look.
    pub(super) length: u64,
    pub(super) first_line: FirstLine,
    pub(super) table: Table,
}

/// All records at one moment.
#[derive(Debug, Default)]
pub struct Look {
    /// Oldest first; the open file is the last one.
    pub(super) sources: Vec<Source>,
    /// Records that wait in journals, a line each.
    pub(super) waiting: Vec<u8>,
    /// Damage in journals.
    pub(super) damaged: u64,
}

impl Look {
    /// Takes a look at the records below `data_dir`.
    ///
    /// # Errors
    /// From the file system. Files that do not exist hold no records.
    pub fn take(data_dir: &Path) -> io::Result<Self> {
        let mut look = Self::default();
        let mut copied = vec![];
        for path in journal_paths(data_dir)? {
            match read_snapshot(&path) {
                Ok(snapshot) => {
                    look.damaged += snapshot.drained.corrupt;
                    copied.extend_from_slice(&snapshot.lines);
                }
                // The journal of a core that is gone, deleted as it was emptied.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let open = open_usage_file(data_dir)?;
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let open_identity = open.as_ref().map(identity).transpose()?;
        let open_length =
            open.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
        for rollup in retired_rollups(data_dir)? {
            look.sources.push(Source {
                file: None,
                length: 0,
                first_line: rollup.fingerprint.first_line(),
                table: rollup.table,
            });
        }
        for segment in segments(data_dir)? {
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if Some(identity(&file)?) != open_identity {
                look.sources.push(Source {
                    table: read_segment(data_dir, &segment)?,
                    first_line: segment.fingerprint.first_line(),
                    length: segment.fingerprint.bytes(),
                    file: Some(file),
                });
            }
        }
        if let Some(file) = open {
            look.sources.push(open_source(data_dir, file, open_length)?);
        }
        look.keep_waiting(&copied)?;
        Ok(look)
    }

    /// Keeps the records of the journals that no file holds.
    fn keep_waiting(&mut self, copied: &[u8]) -> io::Result<()> {
        let files = self.sources.iter().rev();
        let files = files.filter_map(|source| source.file.as_ref().map(|file| Ok((file, source.length))));
        let is_new = find_new_in(copied, files, 0)?;
        for (line, is_new) in copied.split_inclusive(|byte| *byte == b'\n').zip(is_new) {
            if is_new {
                self.waiting.extend_from_slice(line);
            }
        }
        Ok(())
    }
}

fn open_source(data_dir: &Path, file: File, length: u64) -> io::Result<Source> {
    let first_line = FirstLine::read(&file)?;
    if is_array(&usage_path(data_dir))? {
        let (table, stats) = table_of_array(&file)?;
        return Ok(Source { file: None, length: stats.lines, first_line, table });
    }
    let known = Checkpoint::read(data_dir).filter(|checkpoint| {
        checkpoint.offset > 0 && checkpoint.first_line == first_line && checkpoint.offset <= length
    });
    let known = known.and_then(|checkpoint| Some((open_table(&checkpoint)?, checkpoint.offset)));
    let (mut table, offset) = known.unwrap_or_default();
    table.merge(&read_between(&file, offset, length)?);
    Ok(Source { file: Some(file), length, first_line, table })
}

/// The rows of an array that no gateway of ours has converted yet.
fn table_of_array(file: &File) -> io::Result<(Table, ScanStats)> {
    let (mut table, mut reader, mut stats) = (Table::default(), LineReader::default(), ScanStats::default());
    let mut unreadable = 0;
    scan_file(file, &mut stats, &mut |line| match reader.read(line) {
        Some(reading) => table.add_record(&reading.facts, &reading.ids, (0, 0)),
        None => unreadable += 1,
    })?;
    table.unreadable = unreadable + stats.unreadable;
    Ok((table, stats))
}
