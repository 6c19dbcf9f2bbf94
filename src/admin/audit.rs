//! The audit log: who changed what, when, from where, and who signed in or was refused.
//!
//! A change is written down before it is made, so that none goes by unseen: one that cannot be written down is refused. What
//! then fails is followed by a record that says so. Sign-ins and refusals are not held up by a full disk; their records wait
//! in memory.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::answer::{ApiError, json_answer};
use super::ask::Ask;
use super::change::Subject;
use super::office::Office;
use super::query::Query;
use super::shape::{Field, Kind, MASK, Record};
use super::sign_in::timestamp;
use crate::clock;
use crate::mailbox::Job;
use crate::store::audit::{AuditLog, Bounds, each_line_from_newest};
use crate::telemetry::log;

/// Records of one answer.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

static ACTOR: Record = Record {
    name: "Actor",
    about: "Who asked.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("email", Kind::Text).answers().always(),
        Field::new("role", Kind::Text).answers().always(),
    ],
};

static AUDIT_RECORD: Record = Record {
    name: "AuditRecord",
    about: "One change, sign-in or refusal.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).about("In the order of time.").answers().always(),
        Field::new("time", Kind::Time).answers().always(),
        Field::new("actor", Kind::Record(&ACTOR))
            .about("null: nobody was signed in.")
            .answers()
            .always()
            .nullable(),
        Field::new("address", Kind::Text).answers().always(),
        Field::new("userAgent", Kind::Text).answers().always(),
        Field::new("action", Kind::Text).about("Such as `model.update` or `auth.login`.").answers().always(),
        Field::new("subject", Kind::Text).about("Id of what it is about.").answers().always(),
        Field::new("part", Kind::Text).about("Id of the token or member of it.").answers(),
        Field::new("before", Kind::Any).about("The fields that changed, secrets masked.").answers(),
        Field::new("after", Kind::Any).answers(),
        Field::new("outcome", Kind::Word(&["done", "denied", "failed"])).answers().always(),
        Field::new("of", Kind::Text).about("The record of the change that failed after all.").answers(),
    ],
};

pub(super) static AUDIT: Record = Record {
    name: "Audit",
    about: "Records, the newest first.",
    key: "",
    fields: &[
        Field::new("records", Kind::List(&Kind::Record(&AUDIT_RECORD))).answers().always(),
        Field::new("next", Kind::Text)
            .about("Goes into `before` for those behind the last one.")
            .answers()
            .always()
            .nullable(),
    ],
};

/// Where a request comes from, as records say it.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    actor: Value,
    address: String,
    user_agent: String,
}

impl Origin {
    pub(super) fn of(office: &Office, ask: &Ask<'_>) -> Self {
        let actor = ask.who.map_or(Value::Null, |who| {
            let email = office.accounts.user(&who.id).map(|user| user.email.as_str()).unwrap_or_default();
            json!({"id": who.id, "email": email, "role": who.role})
        });
        let user_agent = ask.call.user_agent.chars().take(200).collect();
        Self { actor, address: ask.address.to_string(), user_agent }
    }

    /// A record that begins like all others.
    fn record(&self, action: &str, subject: &str, outcome: &str) -> Map<String, Value> {
        let mut record = Map::new();
        for (key, value) in [
            ("id", uuid::Uuid::now_v7().to_string().into()),
            ("time", timestamp(clock::unix_ms()).into()),
            ("actor", self.actor.clone()),
            ("address", self.address.as_str().into()),
            ("userAgent", self.user_agent.as_str().into()),
            ("action", action.into()),
            ("subject", subject.into()),
            ("outcome", outcome.into()),
        ] {
            record.insert(key.to_owned(), value);
        }
        record
    }
}

/// The log, shared with the thread that makes the changes.
pub(super) type SharedLog = Arc<Mutex<AuditLog>>;

/// Writes a change down, before it is made.
///
/// # Errors
/// It cannot be written: the change must not be made.
pub(super) fn append(log: &SharedLog, record: &Map<String, Value>, bounds: Bounds) -> Result<(), String> {
    let line = line(record);
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.append(&line, clock::unix_ms(), bounds).map_err(|error| error.to_string())
}

fn line(record: &Map<String, Value>) -> Vec<u8> {
    // Maps of texts and values always serialise.
    serde_json::to_vec(record).unwrap_or_default()
}

/// What a change is about to do; none where nothing of it is for the log.
pub(super) fn of_change(
    origin: &Origin,
    subject: &Subject,
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
) -> Option<Map<String, Value>> {
    let verb = match (before, after) {
        (None, _) => "create",
        (_, None) => "delete",
        _ => "update",
    };
    let derived = format!("{}.{verb}", subject.kind);
    let action = match subject.action {
        None => derived.as_str(),
        Some("") => return None,
        Some(action) => action,
    };
    let mut record = origin.record(action, subject.id.as_deref().unwrap_or_default(), "done");
    if let Some((_, _, part)) = &subject.part {
        record.insert("part".to_owned(), part.as_str().into());
    }
    for (key, own, other) in [("before", before, after), ("after", after, before)] {
        let Some(own) = own else { continue };
        let mut fields = differing(subject.record, own, other);
        let hash = own.get("passwordHash");
        if hash.is_some() && hash != other.and_then(|other| other.get("passwordHash")) {
            fields.insert("password".to_owned(), MASK.into());
        }
        record.insert(key.to_owned(), fields.into());
    }
    Some(record)
}

/// The fields that another version of an entry has otherwise, secrets masked.
fn differing(
    record: &Record,
    own: &Map<String, Value>,
    other: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut shown = record.shown(own);
    let empty = Map::new();
    let (own, other) = (record.essence(own), record.essence(other.unwrap_or(&empty)));
    // What is never shown changes as well.
    for (key, value) in &own {
        if other.get(key) == Some(value) {
            shown.shift_remove(key);
        } else if !shown.contains_key(key) {
            shown.insert(key.clone(), MASK.into());
        }
    }
    shown
}

impl Office {
    /// Bounds of the log, as the settings have them.
    pub(super) fn audit_bounds(&self) -> Bounds {
        let snapshot = self.mailbox.snapshot();
        let settings = &snapshot.config.settings().management;
        Bounds { rotate_bytes: settings.audit_rotate_bytes, retention_days: settings.audit_retention_days }
    }

    /// Writes down what is no change: a sign-in, a refusal, a change that failed after all. Nothing waits for it.
    pub(super) fn note(&self, record: &Map<String, Value>) {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = audit.note(line(record), clock::unix_ms(), self.audit_bounds()) {
            let fields =
                [("reason", log::Value::Display(&error)), ("dropped", log::Value::Integer(audit.dropped()))];
            log::error("an audit record waits: it cannot be written", &fields);
        }
    }

    /// [`Self::note`] of something that was refused.
    pub(super) fn note_denied(&self, action: &str, subject: &str) {
        self.note(&self.origin.record(action, subject, "denied"));
    }

    /// A change that was written down, and failed then.
    pub(super) fn note_failed(&self, of: &Map<String, Value>) {
        let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut record = self.origin.record(text("action"), text("subject"), "failed");
        record.insert("of".to_owned(), text("id").into());
        self.note(&record);
    }

    /// Writes down that something was shown.
    ///
    /// # Errors
    /// It cannot be written, and is not to be shown then.
    pub(super) fn note_shown(&self, action: &str, subject: &str) -> Result<(), ApiError> {
        let record = self.origin.record(action, subject, "done");
        append(&self.audit, &record, self.audit_bounds()).map_err(|reason| unwritable(&reason))
    }
}

/// The audit log cannot be written.
pub(super) fn unwritable(reason: &str) -> ApiError {
    log::error("the audit log cannot be written", &[("reason", log::Value::Text(reason))]);
    ApiError::internal("the audit log cannot be written; nothing was changed")
}

/// `GET /api/audit`.
pub(super) fn list(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let mut query = Query::read(&ask.call.query);
    let wanted = Wanted {
        from: query.value(&["from"], time),
        to: query.value(&["to"], time),
        actor: query.text(&["actor", "user"]),
        action: query.text(&["action"]),
        subject: query.text(&["subject"]),
        outcome: query.word(&["outcome"], &["done", "denied", "failed"], |word| word),
        before: query.text(&["before"]),
    };
    let limit = query.number(&["limit", "pageSize"]).unwrap_or(LIMIT).clamp(1, LIMIT_MAX) as usize;
    query.finish()?;
    let data = office.home.data_directory();
    Ok(Box::new(move || {
        let mut records = Vec::new();
        let read = each_line_from_newest(&data, |line| {
            // A line that a crash has cut says nothing any more.
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            if wanted.fits(&record) {
                records.push(record);
            }
            records.len() <= limit
        });
        if let Err(error) = read {
            log::error("the audit log cannot be read", &[("reason", log::Value::Display(&error))]);
            return ApiError::internal("the audit log cannot be read").into_answer();
        }
        let has_more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| has_more).map(|record| record["id"].clone());
        json_answer(200, &json!({"records": records, "next": next}))
    }))
}

/// A time as records have it.
fn time(text: &str) -> Result<String, String> {
    let time =
        text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time.map(timestamp).ok_or_else(|| "expected a time such as 2026-01-31T12:00:00Z".to_owned())
}

struct Wanted {
    from: Option<String>,
    to: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    outcome: Option<&'static str>,
    before: Option<String>,
}

impl Wanted {
    fn fits(&self, record: &Value) -> bool {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        let actor = &record["actor"];
        // Times of one form and ids with a time in front stand in the order of their texts.
        record.is_object()
            && self.from.as_ref().is_none_or(|from| text("time") >= from.as_str())
            && self.to.as_ref().is_none_or(|to| text("time") < to.as_str())
            && self.before.as_ref().is_none_or(|before| text("id") < before.as_str())
            && self.actor.as_ref().is_none_or(|wanted| actor["id"] == *wanted || actor["email"] == *wanted)
            && self.action.as_ref().is_none_or(|wanted| text("action").starts_with(wanted.as_str()))
            && self.subject.as_ref().is_none_or(|wanted| text("subject") == wanted || text("part") == wanted)
            && self.outcome.is_none_or(|wanted| text("outcome") == wanted)
    }
}
