//! Kept traces: a JSON object a line, in files of bounded length below `data/traces/`.
//!
//! A file that is being written is called `open.<process>.jsonl`. A full one gets the range of its traces' times for a
//! name, `<first>-<last>.<process>.jsonl` in milliseconds since the epoch: an id holds its time (UUIDv7), so that a trace
//! is found by reading the one or two files that it can be in, without an index that could be wrong. What a crash left is
//! taken in at the next start, without its torn last line. Nothing is synced: a power cut may take the last seconds.
//!
//! May block: it is given a thread of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::files;
use super::secret::{Keys, NoRandomness, SEALED_PREFIX};
use crate::config::settings::TracesSettings;
use crate::limits::TRACE_SEGMENT_BYTES_MAX;
use crate::telemetry::ids::TraceId;

const DAY_MS: u64 = 86_400_000;
/// What every line begins with; the id follows.
pub const LINE_START: &str = "{\"traceId\":\"";
/// Files that the bound on all of them is divided into, at least: what has to go is removed file by file.
const SEGMENTS_MIN: u64 = 8;
const OPEN_PREFIX: &str = "open.";
const SUFFIX: &str = ".jsonl";

/// The files, and the one that is written.
#[derive(Debug)]
pub struct TraceStore {
    root: PathBuf,
    process: u32,
    bounds: TracesSettings,
    open: Option<OpenSegment>,
    /// Day of the last look at what has expired.
    swept_day: u64,
}

#[derive(Debug)]
struct OpenSegment {
    file: File,
    path: PathBuf,
    bytes: u64,
    range: Range,
}

/// Times of the traces of a file, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

impl Range {
    const NONE: Self = Self { first: u64::MAX, last: 0 };

    fn add(&mut self, unix_ms: u64) {
        self.first = self.first.min(unix_ms);
        self.last = self.last.max(unix_ms);
    }
}

/// A complete file.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    range: Range,
    bytes: u64,
}

impl TraceStore {
    /// The store below a data directory. Nothing is created before something is kept. `adopt`: no other process writes
    /// traces here, what is open was left by a crash.
    ///
    /// # Errors
    /// A directory that is there and cannot be read, a file that cannot be renamed.
    pub fn open(data: &Path, bounds: TracesSettings, adopt: bool) -> io::Result<Self> {
        let root = directory(data);
        let process = std::process::id();
        let store = Self { root, process, bounds, open: None, swept_day: 0 };
        let own = store.open_path();
        for (path, _) in list(&store.root)? {
            if is_open(&path) && (adopt || path == own) {
                store.adopt(&path)?;
            }
        }
        Ok(store)
    }

    /// Takes new bounds; they hold from the next traces on.
    pub fn set_bounds(&mut self, bounds: TracesSettings) {
        self.bounds = bounds;
        self.swept_day = 0;
    }

    /// Writes lines, each with the id that it begins with.
    ///
    /// # Errors
    /// From the disk; some of the lines may have been written.
    pub fn append(&mut self, lines: &[(TraceId, Vec<u8>)], now_unix_ms: u64) -> io::Result<()> {
        let today = now_unix_ms / DAY_MS;
        if self.swept_day != today {
            self.swept_day = today;
            self.make_room(now_unix_ms)?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let mut bytes = Vec::with_capacity(lines.iter().map(|(_, line)| line.len() + 1).sum());
        for (id, line) in lines {
            debug_assert!(line.starts_with(LINE_START.as_bytes()) && !line.contains(&b'\n'));
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
            open.range.add(id.unix_ms());
        }
        let written = open.file.write_all(&bytes);
        if let Err(error) = written {
            // Half a line must not become the beginning of the next one.
            let _ = open.file.set_len(open.bytes);
            self.open = Some(open);
            return Err(error);
        }
        open.bytes += bytes.len() as u64;
        if open.bytes < self.segment_bytes() {
            self.open = Some(open);
            return Ok(());
        }
        if let Err(error) = self.finish(&open.path, open.range) {
            self.open = Some(open);
            return Err(error);
        }
        self.make_room(now_unix_ms)
    }

    /// Gives the open file its name.
    ///
    /// # Errors
    /// From the disk; the next start does it then.
    pub fn close(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(open) if open.bytes > 0 => self.finish(&open.path, open.range),
            Some(open) => fs::remove_file(&open.path),
            None => Ok(()),
        }
    }

    fn segment_bytes(&self) -> u64 {
        (self.bounds.bytes_max / SEGMENTS_MIN).min(TRACE_SEGMENT_BYTES_MAX)
    }

    fn open_path(&self) -> PathBuf {
        self.root.join(format!("{OPEN_PREFIX}{}{SUFFIX}", self.process))
    }

    fn begin(&self) -> io::Result<OpenSegment> {
        files::create_directory(&self.root).map_err(io::Error::other)?;
        let path = self.open_path();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(OpenSegment { file, path, bytes, range: Range::NONE })
    }

    /// Takes over what a process that is gone was writing.
    fn adopt(&self, path: &Path) -> io::Result<()> {
        let text = fs::read(path)?;
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        let mut range = Range::NONE;
        for line in text[..whole].split(|byte| *byte == b'\n') {
            if let Some(id) = id_of(line) {
                range.add(id.unix_ms());
            }
        }
        if range == Range::NONE {
            return fs::remove_file(path);
        }
        if whole < text.len() {
            OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
        }
        self.finish(path, range)
    }

    fn finish(&self, path: &Path, range: Range) -> io::Result<()> {
        let Range { first, last } = range;
        let named = |tail: &str| self.root.join(format!("{first}-{last}.{}{tail}{SUFFIX}", self.process));
        let mut target = named("");
        let mut count = 0;
        while target.exists() {
            count += 1;
            target = named(&format!(".{count}"));
        }
        fs::rename(path, target)
    }

    /// Removes what has expired, and the oldest files while there are too many bytes.
    fn make_room(&self, now_unix_ms: u64) -> io::Result<()> {
        let mut segments = segments(&self.root)?;
        segments.sort_unstable_by_key(|segment| segment.range.last);
        // The file that is written fills up to its bound.
        let mut bytes = segments.iter().map(|segment| segment.bytes).sum::<u64>() + self.segment_bytes();
        let life_ms = self.bounds.days.saturating_mul(DAY_MS);
        for segment in segments {
            let has_expired = segment.range.last.saturating_add(life_ms) < now_unix_ms;
            if !has_expired && bytes <= self.bounds.bytes_max {
                break;
            }
            match fs::remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => bytes -= segment.bytes,
            }
        }
        Ok(())
    }
}

/// The kept trace of an id below a data directory: its line, as JSON. Works while another process writes.
///
/// # Errors
/// From the disk.
pub fn find(data: &Path, id: TraceId) -> io::Result<Option<String>> {
    let root = directory(data);
    // A file that gets its name while we look is looked for once more.
    for _ in 0..2 {
        let mut has_moved = false;
        for (path, _) in list(&root)? {
            let may_hold = match range_of(&path) {
                Some(range) => (range.first..=range.last).contains(&id.unix_ms()),
                None => is_open(&path),
            };
            if !may_hold {
                continue;
            }
            match fs::read(&path) {
                Ok(text) => {
                    if let Some(line) = line_of(&text, id) {
                        return Ok(Some(line));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => has_moved = true,
                Err(error) => return Err(error),
            }
        }
        if !has_moved {
            break;
        }
    }
    Ok(None)
}

/// Encrypts a line, so that only its id can be read: `{"traceId":"…","sealed":"…"}`.
///
/// # Errors
/// [`NoRandomness`].
pub fn seal(keys: &Keys, id: TraceId, line: &str) -> Result<Vec<u8>, NoRandomness> {
    let sealed = keys.seal("traces", &id.to_string(), "trace", line)?;
    Ok(format!("{LINE_START}{id}\",\"sealed\":\"{sealed}\"}}").into_bytes())
}

/// A line as it was before [`seal`]; none where it does not open with these keys.
pub fn unseal(keys: &Keys, id: TraceId, line: String) -> Option<String> {
    let Some(sealed) = sealed_of(&line) else { return Some(line) };
    keys.unseal("traces", &id.to_string(), "trace", sealed).map(|plain| plain.expose().to_owned())
}

/// Whether a line has to be unsealed before it can be read.
pub fn is_sealed(line: &str) -> bool {
    sealed_of(line).is_some()
}

fn sealed_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(LINE_START)?.get(TraceId::TEXT_BYTES..)?;
    let sealed = rest.strip_prefix("\",\"sealed\":\"")?.strip_suffix("\"}")?;
    sealed.starts_with(SEALED_PREFIX).then_some(sealed)
}

fn directory(data: &Path) -> PathBuf {
    data.join("traces")
}

fn id_of(line: &[u8]) -> Option<TraceId> {
    let rest = line.strip_prefix(LINE_START.as_bytes())?;
    TraceId::parse(std::str::from_utf8(rest.get(..TraceId::TEXT_BYTES)?).ok()?)
}

/// The whole line of an id.
fn line_of(text: &[u8], id: TraceId) -> Option<String> {
    let start = format!("{LINE_START}{id}\"");
    let at = memmem::find_iter(text, start.as_bytes()).find(|at| *at == 0 || text[at - 1] == b'\n')?;
    let length = memchr::memchr(b'\n', &text[at..])?;
    String::from_utf8(text[at..at + length].to_vec()).ok()
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)
}

fn is_open(path: &Path) -> bool {
    name_of(path).is_some_and(|name| name.starts_with(OPEN_PREFIX))
}

/// The range in the name of a complete file.
fn range_of(path: &Path) -> Option<Range> {
    let (range, _) = name_of(path)?.split_once('.')?;
    let (first, last) = range.split_once('-')?;
    Some(Range { first: first.parse().ok()?, last: last.parse().ok()? })
}

fn segments(root: &Path) -> io::Result<Vec<Segment>> {
    let complete = |(path, bytes): (PathBuf, u64)| {
        let range = range_of(&path)?;
        Some(Segment { path, range, bytes })
    };
    Ok(list(root)?.into_iter().filter_map(complete).collect())
}

/// Files and sizes of the directory; none where there is none.
fn list(root: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        // One that is gone meanwhile has no size.
        files.push((entry.path(), entry.metadata().map_or(0, |metadata| metadata.len())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
