//! Traces of requests: recent ones of the cores, kept ones of the disk.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{ApiError, json_answer};
use super::ask::Ask;
use super::office::Office;
use super::query::Query;
use super::reach::{Reach, project_id};
use crate::limits::TRACES_LISTED_MAX;
use crate::mailbox::{Job, Mailbox, Reply, ToTraces};
use crate::telemetry::ids::TraceId;
use crate::trace::Wanted;

/// Longest wait for the thread of the traces: it may have a slow disk.
const PATIENCE: Duration = Duration::from_secs(20);
/// Listed where nothing is said.
const LISTED: u64 = 100;

/// `GET /api/traces/{id}`.
pub(super) fn one(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let reach = Reach::of(office, ask.who()?)?;
    let id = ask.name().to_owned();
    let mailbox = Arc::clone(&office.mailbox);
    Ok(Box::new(move || {
        let found = find(&mailbox, &id).and_then(|trace| match trace {
            Some(trace) if reach.has(trace["projectId"].as_str().unwrap_or_default()) => Ok(trace),
            _ => Err(ApiError::not_found("there is no such trace (any more)")),
        });
        found.map_or_else(ApiError::into_answer, |trace| json_answer(200, &trace))
    }))
}

/// `GET /api/traces`: the newest of those that the cores still have.
pub(super) fn recent(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let reach = Reach::of(office, ask.who()?)?;
    let mut query = Query::read(&ask.call.query);
    let limit = query.number(&["limit", "pageSize"]).unwrap_or(LISTED).min(TRACES_LISTED_MAX as u64) as usize;
    let failed = query.word(&["failed"], &[true, false], |word| if word { "true" } else { "false" });
    let project = query.text(&["projectId", "project"]).map(|named| project_id(office, &named));
    query.finish()?;
    // Those of others are taken out afterwards.
    let asked = if reach == Reach::All { limit } else { TRACES_LISTED_MAX };
    let wanted = Wanted { id: None, project, failed: failed.unwrap_or(false), limit: asked };
    let mailbox = Arc::clone(&office.mailbox);
    Ok(Box::new(move || {
        let reply = Arc::new(Reply::default());
        let question = ToTraces::Recent { wanted, reply: Arc::clone(&reply) };
        let listed = ask_archive(&mailbox, question, &reply).and_then(|text| read(&text));
        let listed = listed.map(|traces| {
            let Value::Array(mut traces) = traces else { return json!([]) };
            traces.retain(|trace| reach.has(trace["projectId"].as_str().unwrap_or_default()));
            traces.truncate(limit);
            Value::Array(traces)
        });
        listed.map_or_else(ApiError::into_answer, |traces| json_answer(200, &json!({"traces": traces})))
    }))
}

/// The trace of a request; blocks. None where there is none (any more).
///
/// # Errors
/// The thread of the traces does not answer.
pub(super) fn find(mailbox: &Mailbox, id: &str) -> Result<Option<Value>, ApiError> {
    let Some(id) = TraceId::parse(id) else { return Ok(None) };
    let reply = Arc::new(Reply::default());
    let question = ToTraces::Find { id, reply: Arc::clone(&reply) };
    ask_archive(mailbox, question, &reply)?.map(|text: Arc<str>| read(&text)).transpose()
}

fn ask_archive<T: Clone>(mailbox: &Mailbox, question: ToTraces, reply: &Reply<T>) -> Result<T, ApiError> {
    let slow = || ApiError::busy("the traces cannot be read at the moment");
    mailbox.send_to_traces(question).map_err(|_| slow())?;
    reply.wait_blocking(PATIENCE).ok_or_else(slow)
}

fn read(text: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text).map_err(|_| ApiError::internal("a trace is not readable"))
}
