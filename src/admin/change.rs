//! A change of one entry of a configuration file: what it is based on, what is wrong with it, where.

use std::sync::mpsc::sync_channel;

use serde_json::{Map, Value};

use super::answer::{ApiError, etag};
use super::entries;
use super::office::Office;
use super::shape::{Problems, Record};
use crate::config::Mistake;
use crate::mailbox::{Change, Changed, ToControl, Verdict};
use crate::store::edit::Draft;
use crate::telemetry::log;

/// What a change is about.
#[derive(Clone)]
pub(super) struct Subject {
    /// `model`, `project`, …
    pub kind: &'static str,
    pub file: &'static str,
    /// What may be shown of it.
    pub record: &'static Record,
    /// Id of the entry; none: the whole document.
    pub id: Option<String>,
    /// A list in the entry, the field that names its entries, and which of them it is about.
    pub part: Option<(&'static str, &'static str, String)>,
    /// Its id once it is changed, where that is another one.
    pub becomes: Option<String>,
    /// Tags that it has to have one of, as the client said (`If-Match`).
    pub if_match: Option<String>,
}

impl Subject {
    pub(super) fn entry(kind: &'static str, file: &'static str, record: &'static Record, id: &str) -> Self {
        Self { kind, file, record, id: Some(id.to_owned()), part: None, becomes: None, if_match: None }
    }

    /// An entry of a list of this one.
    pub(super) fn part(
        self,
        kind: &'static str,
        record: &'static Record,
        list: &'static str,
        key: &'static str,
        id: &str,
    ) -> Self {
        Self { kind, record, part: Some((list, key, id.to_owned())), ..self }
    }

    pub(super) fn if_match(self, tags: Option<&String>) -> Self {
        Self { if_match: tags.cloned(), ..self }
    }

    /// The entry in a document, and its path there.
    pub(super) fn find<'v>(&self, document: &'v Value) -> Option<(&'v Map<String, Value>, String)> {
        let Some(id) = &self.id else { return Some((document.as_object()?, String::new())) };
        let (at, entry) = find(document.as_array()?, "id", id)?;
        let Some((list, key, part)) = &self.part else { return Some((entry, format!("[{at}]"))) };
        let (nth, part) = find(entry.get(*list)?.as_array()?, key, part)?;
        Some((part, format!("[{at}].{list}[{nth}]")))
    }

    /// The tag of the entry as it stands in the file.
    pub(super) fn tag(&self, entry: &Map<String, Value>) -> String {
        etag(&self.record.essence(entry).into())
    }

    /// # Errors
    /// Somebody else was faster.
    fn still_matches(&self, document: &Value) -> Result<(), ApiError> {
        let Some(tags) = &self.if_match else { return Ok(()) };
        let current = self.find(document).map(|(entry, _)| self.tag(entry));
        let fits = |tag: &str| current.as_ref().is_some_and(|current| tag == "*" || tag == current);
        if tags.split(',').map(str::trim).any(fits) { Ok(()) } else { Err(ApiError::stale()) }
    }
}

fn find<'v>(items: &'v [Value], key: &str, id: &str) -> Option<(usize, &'v Map<String, Value>)> {
    let mut entries = items.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_object()?)));
    entries.find(|(_, entry)| entry.get(key).and_then(Value::as_str) == Some(id))
}

impl Office {
    /// Changes configuration files. What `edit` gives is given back once the change is in force. With problems in the body
    /// nothing is written, but everything else that is wrong is found out and said as well.
    ///
    /// # Errors
    /// Problems, those of `edit`, mistakes in the result, a disk that does not take it. Nothing is changed then.
    pub(super) fn change<T: Send + 'static>(
        &mut self,
        subject: Subject,
        problems: Problems,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (out, result) = sync_channel(1);
        let asked = subject.clone();
        let verdict = if problems.is_empty() { Verdict::Write } else { Verdict::Check };
        let edit = Box::new(move |draft: &mut Draft<'_>| {
            let edited = edit_one(draft, &asked, edit);
            let is_done = edited.is_ok();
            // One place for one result.
            let is_heard = out.try_send(edited).is_ok();
            if is_done && is_heard { verdict } else { Verdict::Stop }
        });
        let (answer, answered) = sync_channel(1);
        self.tell_control(ToControl::Change(Change { edit, answer }));
        let gone = || ApiError::internal("the gateway is on its way out");
        let changed = answered.recv().map_err(|_| gone())?;
        let edited = result.try_recv().map_err(|_| gone())?;
        let place = edited.as_ref().map(|(_, place)| place.clone()).unwrap_or_default();
        match changed {
            Changed::InForce => {
                let id = subject.id.as_deref().unwrap_or_default();
                let fields = [("kind", log::Value::Text(subject.kind)), ("id", log::Value::Text(id))];
                log::debug("changed over the API", &fields);
                self.refresh_accounts();
                edited.map(|(value, _)| value)
            }
            Changed::Stopped if problems.is_empty() => edited.map(|(value, _)| value),
            Changed::Stopped => match edited {
                Err(error) if !error.is_about_fields() => Err(error),
                Err(error) => Err(ApiError::fields(problems).and(error)),
                Ok(_) => Err(ApiError::fields(problems)),
            },
            Changed::Invalid(mistakes) => Err(invalid(&subject, &place, &mistakes, problems)),
            Changed::Edited(name) => {
                Err(ApiError::conflict(format!("{name} was edited at the same moment; try again")))
            }
            Changed::Failed(reason) => {
                log::error("a change could not be written", &[("reason", log::Value::Text(&reason))]);
                Err(ApiError::internal("the change could not be written; nothing was changed"))
            }
        }
    }
}

/// Edits, and says where what was edited is then.
fn edit_one<T>(
    draft: &mut Draft<'_>,
    subject: &Subject,
    edit: impl FnOnce(&mut Draft<'_>) -> Result<T, ApiError>,
) -> Result<(T, String), ApiError> {
    subject.still_matches(entries::document(draft, subject.file)?)?;
    let value = edit(draft)?;
    let now = Subject { id: subject.becomes.clone().or(subject.id.clone()), ..subject.clone() };
    let place = now.find(entries::document(draft, now.file)?).map(|(_, place)| place);
    Ok((value, place.unwrap_or_default()))
}

/// Mistakes in what was sent, with paths of the body; those elsewhere are of the files and to be repaired there.
fn invalid(subject: &Subject, place: &str, mistakes: &[Mistake], mut problems: Problems) -> ApiError {
    let is_whole = subject.id.is_none();
    let of_body = |mistake: &Mistake| {
        if mistake.file != subject.file || (place.is_empty() && !is_whole) {
            return None;
        }
        let path = mistake.path.strip_prefix(place)?;
        if is_whole {
            return Some(path.to_owned());
        }
        (path.is_empty() || path.starts_with(['.', '['])).then(|| path.trim_start_matches('.').to_owned())
    };
    let mut elsewhere = Vec::new();
    for mistake in mistakes {
        match of_body(mistake) {
            Some(path) => {
                problems.push((path, format!("found {}, expected {}", mistake.found, mistake.expected)));
            }
            None => elsewhere.push(mistake.to_string()),
        }
    }
    if problems.is_empty() {
        ApiError::conflict(format!("this does not fit to the other files: {}", elsewhere.join("; ")))
    } else {
        ApiError::fields(problems)
    }
}
