//! A change of one entry of a configuration file: what it is based on, what is wrong with it, where.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde_json::{Map, Value};

use super::answer::{ApiError, etag};
use super::audit::{self, Origin};
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
    /// What it is called in the audit log, where that is not to be told from before and after; empty: it is not for the log.
    pub action: Option<&'static str>,
    /// Tags that it has to have one of, as the client said (`If-Match`).
    pub if_match: Option<String>,
}

impl Subject {
    pub(super) fn entry(kind: &'static str, file: &'static str, record: &'static Record, id: &str) -> Self {
        Self {
            kind,
            file,
            record,
            id: Some(id.to_owned()),
            part: None,
            becomes: None,
            action: None,
            if_match: None,
        }
    }

    /// A document that is one object.
    pub(super) fn document(kind: &'static str, file: &'static str, record: &'static Record) -> Self {
        Self { kind, file, record, id: None, part: None, becomes: None, action: None, if_match: None }
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

    pub(super) fn called(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
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
    /// Somebody else was faster. What is gone altogether is for the edit to say.
    fn still_matches(&self, document: &Value) -> Result<(), ApiError> {
        let Some(tags) = &self.if_match else { return Ok(()) };
        let Some((entry, _)) = self.find(document) else { return Ok(()) };
        let current = self.tag(entry);
        let fits = |tag: &str| tag == "*" || tag == current;
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
        let is_sound = problems.is_empty();
        let (origin, audit, bounds) = (self.origin.clone(), Arc::clone(&self.audit), self.audit_bounds());
        let edit = Box::new(move |draft: &mut Draft<'_>| {
            let edited = edit_one(draft, &asked, &origin, edit);
            let record = edited.as_ref().map(|edited| edited.record.clone()).map_err(|_| ());
            // One place for one result.
            let is_heard = out.try_send(edited).is_ok();
            match record {
                Ok(_) if !is_heard => Verdict::Stop,
                Err(()) => Verdict::Stop,
                Ok(_) if !is_sound => Verdict::Check,
                Ok(None) => Verdict::Write(Box::new(|| Ok(()))),
                Ok(Some(record)) => Verdict::Write(Box::new(move || audit::append(&audit, &record, bounds))),
            }
        });
        let (answer, answered) = sync_channel(1);
        self.tell_control(ToControl::Change(Change { edit, answer }));
        let gone = || ApiError::internal("the gateway is on its way out");
        let changed = answered.recv().map_err(|_| gone())?;
        let edited = result.try_recv().map_err(|_| gone())?;
        let (edited, place, record) = match edited {
            Ok(Edited { value, place, record }) => (Ok(value), place, record),
            Err(error) => (Err(error), String::new(), None),
        };
        match changed {
            Changed::InForce => {
                self.refresh_accounts();
                edited
            }
            Changed::Stopped if problems.is_empty() => edited,
            Changed::Stopped => match edited {
                Err(error) if !error.is_about_fields() => Err(error),
                Err(error) => Err(ApiError::fields(problems).and(error)),
                Ok(_) => Err(ApiError::fields(problems)),
            },
            Changed::Invalid(mistakes) => Err(invalid(&subject, &place, &mistakes, problems)),
            Changed::Unusable(reason) => Err(ApiError::invalid(reason)),
            Changed::Unready(reason) => Err(audit::unwritable(&reason)),
            Changed::Edited(name) => {
                record.iter().for_each(|record| self.note_failed(record));
                Err(ApiError::conflict(format!("{name} was edited at the same moment; try again")))
            }
            Changed::Failed(reason) => {
                record.iter().for_each(|record| self.note_failed(record));
                log::error("a change could not be written", &[("reason", log::Value::Text(&reason))]);
                Err(ApiError::internal("the change could not be written; nothing was changed"))
            }
        }
    }
}

/// What came of an edit.
struct Edited<T> {
    value: T,
    /// Path of the entry in its document then.
    place: String,
    /// What the audit log is to say.
    record: Option<Map<String, Value>>,
}

fn edit_one<T>(
    draft: &mut Draft<'_>,
    subject: &Subject,
    origin: &Origin,
    edit: impl FnOnce(&mut Draft<'_>) -> Result<T, ApiError>,
) -> Result<Edited<T>, ApiError> {
    let document = entries::document(draft, subject.file)?;
    subject.still_matches(document)?;
    let before = subject.find(document).map(|(entry, _)| entry.clone());
    let value = edit(draft)?;
    let now = Subject { id: subject.becomes.clone().or(subject.id.clone()), ..subject.clone() };
    let found = now.find(entries::document(draft, now.file)?);
    let record = audit::of_change(origin, subject, before.as_ref(), found.as_ref().map(|(entry, _)| *entry));
    let place = found.map(|(_, place)| place).unwrap_or_default();
    Ok(Edited { value, place, record })
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
