//! The files below `data/rollups/`: what they cover, and how it is told that they still do.
//!
//! ```text
//! usage-2026-01-01.rollup   the rows of data/usage/usage-2026-01-01.json, and the fingerprint of that file
//! checkpoint                a place in the open usage file, the segments before it, and what was known there: sections
//! ```
//!
//! Everything in here can be made anew from the records, but for the rollups of segments that retention has deleted.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::format::{Damaged, Reader, put_bytes, put_number, put_text, unwrap, wrap};
use super::table::Table;
use crate::store::usage::{segment_paths, segments_dir, usage_path};

const ROLLUP_MAGIC: &[u8; 8] = b"rtlyrol\n";
const CHECKPOINT_MAGIC: &[u8; 8] = b"rtlychk\n";
/// The first line is looked at up to here.
const FIRST_LINE_BYTES_MAX: usize = 4096;

/// The folder of rollups.
pub fn rollups_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("rollups")
}

/// The checkpoint's file.
pub(super) fn checkpoint_path(data_dir: &Path) -> PathBuf {
    rollups_dir(data_dir).join("checkpoint")
}

/// The rollup of a segment.
pub fn rollup_path(data_dir: &Path, segment: &Path) -> PathBuf {
    let stem = segment.file_stem().unwrap_or_default();
    rollups_dir(data_dir).join(stem).with_extension("rollup")
}

/// What a usage file begins with: its first line's length and check; 0 while it has no whole line. It stays when the file
/// grows or is renamed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstLine(u64);

impl FirstLine {
    /// Reads it.
    ///
    /// # Errors
    /// From the file system.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut start = [0; FIRST_LINE_BYTES_MAX];
        let read = file.read_at(&mut start, 0)?;
        let line = match memchr::memchr(b'\n', &start[..read]) {
            Some(end) => &start[..end],
            None if read == FIRST_LINE_BYTES_MAX => &start,
            None => return Ok(Self(0)),
        };
        Ok(Self((line.len() as u64 + 1) << 32 | u64::from(crc32fast::hash(line))))
    }

    /// Whether there is none yet.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// As a number, which is never that of another file but by chance.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What a segment is known by. Segments are not written any more: another fingerprint is another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    bytes: u64,
    /// Last change, in nanoseconds since the Unix epoch.
    mtime_ns: u64,
    first_line: FirstLine,
}

impl Fingerprint {
    /// Of the file as it is now.
    ///
    /// # Errors
    /// From the file system.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mtime_ns = (metadata.mtime().max(0) as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec().max(0) as u64);
        Ok(Self { bytes: metadata.len(), mtime_ns, first_line: FirstLine::read(file)? })
    }

    /// How the file begins.
    pub fn first_line(&self) -> FirstLine {
        self.first_line
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn put(&self, out: &mut Vec<u8>) {
        for number in [self.bytes, self.mtime_ns, self.first_line.0] {
            put_number(out, number);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let (bytes, mtime_ns) = (reader.number()?, reader.number()?);
        Ok(Self { bytes, mtime_ns, first_line: FirstLine(reader.number()?) })
    }
}

/// A segment as it was found.
#[derive(Debug)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// What it is known by.
    pub fingerprint: Fingerprint,
}

impl Segment {
    /// Its file name.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// All segments there are, oldest first.
///
/// # Errors
/// From the file system.
pub fn segments(data_dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = vec![];
    for path in segment_paths(data_dir)? {
        match File::open(&path) {
            Ok(file) => segments.push(Segment { fingerprint: Fingerprint::of(&file)?, path }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(segments)
}

/// The rows of a segment.
#[derive(Debug)]
pub struct SegmentRollup {
    /// The segment it was made of.
    pub fingerprint: Fingerprint,
    /// The segment was deleted because its time was over; its rows stay.
    pub is_retired: bool,
    /// Its rows.
    pub table: Table,
}

impl SegmentRollup {
    /// The file's bytes.
    pub fn encode(fingerprint: Fingerprint, is_retired: bool, table: &Table) -> Vec<u8> {
        let mut content = vec![u8::from(is_retired)];
        fingerprint.put(&mut content);
        table.encode(&mut content);
        wrap(ROLLUP_MAGIC, &content)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When they are not what [`SegmentRollup::encode`] wrote.
    pub fn decode(file: &[u8]) -> Result<Self, Damaged> {
        let (mut reader, is_retired, fingerprint) = Self::head(file)?;
        Ok(Self { fingerprint, is_retired, table: Table::decode(&mut reader)? })
    }

    fn head(file: &[u8]) -> Result<(Reader<'_>, bool, Fingerprint), Damaged> {
        let mut reader = Reader::new(unwrap(ROLLUP_MAGIC, file)?);
        let is_retired = reader.bytes(1)? != [0];
        let fingerprint = Fingerprint::take(&mut reader)?;
        Ok((reader, is_retired, fingerprint))
    }

    /// The rows of the segment with this fingerprint; none where there are none, or they are of another content.
    pub fn read_for(data_dir: &Path, segment: &Segment) -> Option<Self> {
        let file = fs::read(rollup_path(data_dir, &segment.path)).ok()?;
        Self::decode(&file).ok().filter(|rollup| rollup.fingerprint == segment.fingerprint)
    }

    /// Whether [`SegmentRollup::read_for`] would find it; reads no rows.
    pub fn is_there(data_dir: &Path, segment: &Segment) -> bool {
        let Ok(file) = fs::read(rollup_path(data_dir, &segment.path)) else { return false };
        Self::head(&file).is_ok_and(|(.., fingerprint)| fingerprint == segment.fingerprint)
    }
}

/// The rows of segments that were deleted because their time was over.
///
/// # Errors
/// From the file system.
pub fn retired_rollups(data_dir: &Path) -> io::Result<Vec<SegmentRollup>> {
    let entries = match fs::read_dir(rollups_dir(data_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut retired = vec![];
    for entry in entries {
        let path = entry?.path();
        let segment = path.with_extension("json");
        let is_there = segment.file_name().is_none_or(|name| segments_dir(data_dir).join(name).exists());
        if is_there || path.extension().is_none_or(|extension| extension != "rollup") {
            continue;
        }
        let rollup = fs::read(&path).ok().and_then(|file| SegmentRollup::decode(&file).ok());
        retired.extend(rollup.filter(|rollup| rollup.is_retired));
    }
    Ok(retired)
}

/// Whether the segment of this name was deleted because its time was over.
pub(super) fn is_retired(data_dir: &Path, segment_name: &str) -> bool {
    let Ok(file) = fs::read(rollup_path(data_dir, Path::new(segment_name))) else { return false };
    SegmentRollup::head(&file).is_ok_and(|(_, is_retired, _)| is_retired)
}

/// The state of everything that is kept about records, up to a place in the open usage file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// How the open file begins.
    pub first_line: FirstLine,
    /// Bytes of it that are covered.
    pub offset: u64,
    /// The segments that are covered as a whole.
    pub segments: Vec<(String, Fingerprint)>,
    /// What was known, by name.
    pub sections: Vec<(String, Vec<u8>)>,
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self { bytes: 0, mtime_ns: 0, first_line: FirstLine(0) }
    }
}

impl Checkpoint {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut content = vec![];
        put_number(&mut content, self.first_line.0);
        put_number(&mut content, self.offset);
        put_number(&mut content, self.segments.len() as u64);
        for (name, fingerprint) in &self.segments {
            put_text(&mut content, name);
            fingerprint.put(&mut content);
        }
        put_number(&mut content, self.sections.len() as u64);
        for (name, section) in &self.sections {
            put_text(&mut content, name);
            put_bytes(&mut content, section);
        }
        wrap(CHECKPOINT_MAGIC, &content)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When they are not what [`Checkpoint::encode`] wrote.
    pub fn decode(file: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(unwrap(CHECKPOINT_MAGIC, file)?);
        let mut checkpoint =
            Self { first_line: FirstLine(reader.number()?), offset: reader.number()?, ..Self::default() };
        for _ in 0..reader.count()? {
            let name = reader.text()?.to_owned();
            checkpoint.segments.push((name, Fingerprint::take(&mut reader)?));
        }
        for _ in 0..reader.count()? {
            let name = reader.text()?.to_owned();
            let count = reader.count()?;
            checkpoint.sections.push((name, reader.bytes(count)?.to_vec()));
        }
        Ok(checkpoint)
    }

    /// The checkpoint below `data_dir`; none where there is none that is whole.
    pub fn read(data_dir: &Path) -> Option<Self> {
        Self::decode(&fs::read(checkpoint_path(data_dir)).ok()?).ok()
    }

    /// A section, if it is there.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let section = self.sections.iter().find(|(found, _)| found == name);
        section.map(|(_, bytes)| bytes.as_slice())
    }
}

/// The open usage file, if it is there.
///
/// # Errors
/// From the file system.
pub fn open_usage_file(data_dir: &Path) -> io::Result<Option<File>> {
    match File::open(usage_path(data_dir)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
