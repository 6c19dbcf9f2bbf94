//! Responses kept for clients that go on from them by `previous_response_id`.
//!
//! Owns `data/responses/`: a file per response, encrypted for its project, below a directory per day. The id holds the
//! time of its making (UUIDv7), so that a file is found without an index and a day expires as a whole. A response holds
//! the items of its own turn; the conversation before it is that of the one it follows.
//!
//! May block: it is given a thread of its own, so that a slow disk delays neither a core nor the control thread.
//! Files are written beside their place and renamed; whoever owns the store has them synced a little later
//! ([`ResponseStore::take_unsynced`]): `kill -9` loses none that was answered, a power cut the last ones.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::files;
use super::secret::Keys;
use crate::config::settings::ResponsesSettings;
use crate::limits::{CONVERSATION_BYTES_MAX, CONVERSATION_TURNS_MAX};

const DAY_MS: u64 = 86_400_000;
/// What every id of the gateway's own begins with.
const ID_PREFIX: &str = "resp_";
/// The share of the bound that is left after room was made, in tenths.
const TENTHS_LEFT: u64 = 9;

/// One turn of a conversation, as JSON.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The gateway's id of the response: `resp_` and 32 hexadecimal digits of a UUIDv7.
    pub id: String,
    /// Project whose tokens may read it.
    pub project: String,
    /// The response that it follows.
    pub previous: Option<String>,
    /// Array of the turn's input items.
    pub input: String,
    /// The response object.
    pub response: String,
}

/// Why a response cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none of that id in that project (any more), or one that it follows is gone.
    #[error("no response {0} is kept for this project")]
    Unknown(String),
    /// The conversation is longer than is sent on.
    #[error(
        "the conversation before {0} is longer than {CONVERSATION_TURNS_MAX} turns or {CONVERSATION_BYTES_MAX} bytes"
    )]
    TooLong(String),
    /// The text is not JSON, or not of the right shape.
    #[error("a response cannot be kept: {0}")]
    Json(#[from] serde_json::Error),
    /// Larger than all that may be kept.
    #[error("a response of {0} bytes is larger than `responses.bytesMax`")]
    TooLarge(u64),
    /// Nothing can be encrypted.
    #[error(transparent)]
    NoRandomness(#[from] super::secret::NoRandomness),
    /// The disk says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl StoreError {
    /// What a client can be told of it.
    pub fn missing(&self) -> Missing {
        match self {
            Self::Unknown(_) => Missing::Unknown,
            Self::TooLong(_) => Missing::TooLong,
            Self::Json(_) | Self::TooLarge(_) | Self::NoRandomness(_) | Self::Io { .. } => {
                Missing::Unreadable
            }
        }
    }
}

/// Why a client does not get a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// None of that id is kept for the project, or one that it follows is gone.
    Unknown,
    /// The conversation before it is too long.
    TooLong,
    /// It is there and cannot be read; the log has the reason.
    Unreadable,
}

/// A turn as it is encrypted.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    previous: Option<String>,
    input: Box<RawValue>,
    response: Box<RawValue>,
}

/// What of a response object is needed to go on from it.
#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    output: Vec<&'a RawValue>,
}

/// The files.
#[derive(Debug)]
pub struct ResponseStore {
    root: PathBuf,
    keys: Arc<Keys>,
    bounds: ResponsesSettings,
    /// Sum of the files' sizes.
    bytes: u64,
    /// The same for each project, by the mark of its files.
    project_bytes: HashMap<String, u64>,
    /// Files written since they were last asked for.
    unsynced: Vec<PathBuf>,
    /// Day of the last look at what has expired.
    swept_day: u64,
}

impl ResponseStore {
    /// The store below a data directory. Nothing is created before something is kept.
    ///
    /// # Errors
    /// A directory that is there and cannot be read.
    pub fn open(data: &Path, keys: Arc<Keys>, bounds: ResponsesSettings) -> Result<Self, StoreError> {
        let root = data.join("responses");
        let mut store = Self {
            root,
            keys,
            bounds,
            bytes: 0,
            project_bytes: HashMap::new(),
            unsynced: Vec::new(),
            swept_day: 0,
        };
        for day in store.days()? {
            for (path, bytes) in store.files_of(day)? {
                store.add(&path, bytes);
            }
        }
        Ok(store)
    }

    /// Takes new bounds; they hold from the next turn on.
    pub fn set_bounds(&mut self, bounds: ResponsesSettings) {
        self.bounds = bounds;
        self.swept_day = 0;
    }

    /// The files written since the last call. Who syncs them and their directories bounds what a power cut takes.
    pub fn take_unsynced(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.unsynced)
    }

    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a turn, makes room before.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left of the turn then.
    pub fn keep(&mut self, turn: &Turn, now_unix_ms: u64) -> Result<(), StoreError> {
        let Some(day) = day_of(&turn.id) else { return Err(StoreError::Unknown(turn.id.clone())) };
        let record = Record {
            previous: turn.previous.clone(),
            input: RawValue::from_string(turn.input.clone())?,
            response: RawValue::from_string(turn.response.clone())?,
        };
        let plain = serde_json::to_string(&record)?;
        let sealed = self.keys.seal("responses", &turn.id, &turn.project, &plain)?;
        let bytes = sealed.len() as u64;
        if bytes > self.bounds.bytes_max.min(self.bounds.project_bytes_max) {
            return Err(StoreError::TooLarge(bytes));
        }
        let mark = mark_of(&turn.project);
        self.make_room(bytes, &mark, now_unix_ms)?;
        let directory = self.root.join(day.to_string());
        files::create_directory(&self.root).map_err(|error| failed(&self.root)(io::Error::other(error)))?;
        files::create_directory(&directory).map_err(|error| failed(&directory)(io::Error::other(error)))?;
        let path = directory.join(format!("{}{mark}", turn.id));
        let beside = directory.join(format!("{}.new", turn.id));
        let written = write_new(&beside, sealed.as_bytes()).and_then(|()| fs::rename(&beside, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&beside);
            return Err(failed(&path)(error));
        }
        self.add(&path, bytes);
        self.unsynced.push(path);
        Ok(())
    }

    fn add(&mut self, path: &Path, bytes: u64) {
        self.bytes += bytes;
        *self.project_bytes.entry(mark_in(path).to_owned()).or_default() += bytes;
    }

    fn subtract(&mut self, path: &Path, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(own) = self.project_bytes.get_mut(mark_in(path)) {
            *own = own.saturating_sub(bytes);
        }
    }

    /// The response object of an id, and the input items of its turn as an array.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: &str, project: &str, now_unix_ms: u64) -> Result<(String, String), StoreError> {
        let record = self.record(id, project, now_unix_ms)?;
        Ok((String::from(Box::<str>::from(record.response)), String::from(Box::<str>::from(record.input))))
    }

    /// The items of the conversation up to and with a response, oldest first, as JSON joined by commas.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn history(&self, id: &str, project: &str, now_unix_ms: u64) -> Result<String, StoreError> {
        let (mut turns, mut bytes, mut next) = (Vec::new(), 0, Some(id.to_owned()));
        while let Some(id) = next.take() {
            let mut record = self.record(&id, project, now_unix_ms)?;
            next = record.previous.take();
            bytes += record.input.get().len() + record.response.get().len();
            turns.push(record);
            if bytes > CONVERSATION_BYTES_MAX || turns.len() > CONVERSATION_TURNS_MAX {
                return Err(StoreError::TooLong(id));
            }
        }
        let mut items = String::with_capacity(bytes);
        for record in turns.iter().rev() {
            let input: Vec<&RawValue> = serde_json::from_str(record.input.get())?;
            let output: Output<'_> = serde_json::from_str(record.response.get())?;
            for item in input.into_iter().chain(output.output) {
                if !items.is_empty() {
                    items.push(',');
                }
                items.push_str(item.get());
            }
        }
        Ok(items)
    }

    /// Removes a response.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&mut self, id: &str, project: &str, now_unix_ms: u64) -> Result<(), StoreError> {
        self.record(id, project, now_unix_ms)?;
        let path = self.path(id, project).ok_or_else(|| StoreError::Unknown(id.to_owned()))?;
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        fs::remove_file(&path).map_err(failed(&path))?;
        self.subtract(&path, bytes);
        Ok(())
    }

    fn record(&self, id: &str, project: &str, now_unix_ms: u64) -> Result<Record, StoreError> {
        let unknown = || StoreError::Unknown(id.to_owned());
        let path = self.path(id, project).ok_or_else(unknown)?;
        let expired = day_of(id).is_none_or(|day| day + self.bounds.days < now_unix_ms / DAY_MS);
        if expired {
            return Err(unknown());
        }
        let sealed = match fs::read_to_string(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
            Err(error) => return Err(failed(&path)(error)),
        };
        // Another project's does not open here.
        let plain = self.keys.unseal("responses", id, project, &sealed).ok_or_else(unknown)?;
        Ok(serde_json::from_str(plain.expose())?)
    }

    fn path(&self, id: &str, project: &str) -> Option<PathBuf> {
        Some(self.root.join(day_of(id)?.to_string()).join(format!("{id}{}", mark_of(project))))
    }

    /// Removes what has expired, once a day, and the oldest files while `more` bytes of the project with this mark do not
    /// fit: its own, then anybody's.
    fn make_room(&mut self, more: u64, mark: &str, now_unix_ms: u64) -> Result<(), StoreError> {
        let today = now_unix_ms / DAY_MS;
        if self.swept_day != today {
            let last = self.bounds.days;
            for day in self.days()?.into_iter().filter(|day| day + last < today) {
                self.remove_day(day)?;
            }
            self.swept_day = today;
        }
        let own = self.project_bytes.get(mark).copied().unwrap_or_default();
        let own_max = self.bounds.project_bytes_max;
        if own.saturating_add(more) > own_max {
            let goal = (own_max / 10 * TENTHS_LEFT).saturating_sub(more);
            if !self.remove_oldest(own.saturating_sub(goal), |path| mark_in(path) == mark)? {
                self.project_bytes.remove(mark);
            }
        }
        if self.bytes.saturating_add(more) > self.bounds.bytes_max {
            let goal = (self.bounds.bytes_max / 10 * TENTHS_LEFT).saturating_sub(more);
            if !self.remove_oldest(self.bytes.saturating_sub(goal), |_| true)? {
                // Nothing is left, whatever was counted: somebody else has removed files too.
                self.bytes = 0;
                self.project_bytes.clear();
            }
        }
        Ok(())
    }

    /// Removes the oldest files that `fits`, `bytes` of them or a little more. Whether there were so many.
    fn remove_oldest(&mut self, bytes: u64, fits: impl Fn(&Path) -> bool) -> Result<bool, StoreError> {
        let mut removed = 0;
        for day in self.days()? {
            for (path, size) in self.files_of(day)?.into_iter().filter(|(path, _)| fits(path)) {
                if removed >= bytes {
                    return Ok(true);
                }
                gone(fs::remove_file(&path)).map_err(failed(&path))?;
                self.subtract(&path, size);
                removed += size;
            }
            // Only where nothing is left in it.
            let _ = fs::remove_dir(self.root.join(day.to_string()));
        }
        Ok(removed >= bytes)
    }

    fn remove_day(&mut self, day: u64) -> Result<(), StoreError> {
        let files = self.files_of(day)?;
        let directory = self.root.join(day.to_string());
        gone(fs::remove_dir_all(&directory)).map_err(failed(&directory))?;
        files.iter().for_each(|(path, bytes)| self.subtract(path, *bytes));
        Ok(())
    }

    /// The days that have a directory, oldest first.
    fn days(&self) -> Result<Vec<u64>, StoreError> {
        let names = list(&self.root)?;
        let mut days: Vec<u64> = names.iter().filter_map(|(name, _)| name.parse().ok()).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// The files of a day with their sizes, oldest first.
    fn files_of(&self, day: u64) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let directory = self.root.join(day.to_string());
        let mut names = list(&directory)?;
        names.sort_unstable();
        Ok(names.into_iter().map(|(name, bytes)| (directory.join(name), bytes)).collect())
    }
}

/// What the names of a project's files end in, so that their sizes can be summed up without opening them.
fn mark_of(project: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, project.as_bytes());
    format!("-{}", crate::config::project::hex(&digest.as_ref()[..8]))
}

/// The mark in the name of a file.
fn mark_in(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.find('-').map_or("", |at| &name[at..])
}

/// What is removed already is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Names and sizes in a directory; none where there is no directory.
fn list(directory: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(directory))?;
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        names.extend(entry.file_name().into_string().ok().map(|name| (name, bytes)));
    }
    Ok(names)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

/// Whether an id is of the gateway's own making: OpenAI's are longer, those of vLLM are no UUIDv7.
pub fn is_own_id(id: &str) -> bool {
    day_of(id).is_some()
}

/// The day in which an id of the gateway's own was made; `None` for any other id.
///
/// Source: RFC 9562, section 5.7: the first 48 bits of a UUIDv7 are milliseconds since the epoch.
fn day_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix(ID_PREFIX)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 32 || !digits.bytes().all(is_digit) {
        return None;
    }
    // Version and variant (RFC 9562, section 4).
    if digits.as_bytes()[12] != b'7' || !matches!(digits.as_bytes()[16], b'8' | b'9' | b'a' | b'b') {
        return None;
    }
    u64::from_str_radix(&digits[..12], 16).ok().map(|ms| ms / DAY_MS)
}

#[cfg(test)]
mod tests;
