//! `GET /api/usage/export`: all records that a filter takes, the newest first, made while they are sent.
//!
//! Source of the quoting: RFC 4180; OWASP, "CSV injection": what a spreadsheet would take for a formula is given a
//! quotation mark first, since clients choose the names that they ask for.

use std::sync::Arc;

use serde_json::Value;

use super::super::answer::ApiError;
use super::super::ask::Ask;
use super::super::office::Office;
use super::super::query::Query;
use super::{filter, unreadable};
use crate::limits::{EXPORT_PIECE_RECORDS, EXPORTS_MAX};
use crate::mailbox::{ApiAnswer, Job, Pieces, Rest};
use crate::store::reports::{Cursor, Filter, Look};

/// Fields of a record in the columns of a CSV file.
const COLUMNS: [&str; 32] = [
    "id",
    "timestamp",
    "traceId",
    "projectId",
    "tokenId",
    "modelId",
    "provider",
    "requestedModel",
    "conversationId",
    "keyId",
    "endpoint",
    "callType",
    "stream",
    "attempt",
    "httpStatus",
    "outcome",
    "endedBy",
    "errorMessage",
    "usageSource",
    "inputTokens",
    "outputTokens",
    "cachedInputTokens",
    "cacheCreationInputTokens",
    "reasoningTokens",
    "cost",
    "costInput",
    "costOutput",
    "latencyMs",
    "ttftMs",
    "overheadUs",
    "cacheHit",
    "savedCost",
];

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    /// One array.
    Json,
    /// A record a line.
    Lines,
}

impl Format {
    const ALL: [Self; 3] = [Self::Csv, Self::Json, Self::Lines];

    fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Lines => "jsonl",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// An export on its way.
struct Export {
    look: Look,
    filter: Filter,
    format: Format,
    step: Step,
    /// Counted in the office while it lives.
    _place: Arc<()>,
}

/// Where an export stands.
enum Step {
    Head,
    Records { after: Option<Cursor>, is_first: bool },
    Done,
}

/// `GET /api/usage/export`.
pub(in super::super) fn export(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let mut query = Query::read(&ask.call.query);
    let (filter, _) = filter(office, ask, &mut query)?;
    let format = query.word(&["format"], &Format::ALL, Format::as_str).unwrap_or(Format::Csv);
    query.finish()?;
    if Arc::strong_count(&office.exports) > EXPORTS_MAX {
        return Err(ApiError::busy("other exports are being sent; try again when one has ended"));
    }
    let (data, place) = (office.home.data_directory(), Arc::clone(&office.exports));
    Ok(Box::new(move || match Look::take(&data) {
        Ok(look) => {
            let export = Export { look, filter, format, step: Step::Head, _place: place };
            let name = format!("attachment; filename=\"usage.{}\"", format.as_str());
            ApiAnswer {
                status: 200,
                fields: vec![("content-disposition", name)],
                rest: Some(Arc::new(Rest::new(format.content_type(), export))),
                ..ApiAnswer::default()
            }
        }
        Err(error) => unreadable(&error).into_answer(),
    }))
}

impl Pieces for Export {
    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let (after, is_first) = match self.step {
            Step::Head => {
                self.step = Step::Records { after: None, is_first: true };
                match self.format {
                    Format::Csv => return Ok(Some(format!("{}\r\n", COLUMNS.join(",")).into_bytes())),
                    Format::Json => return Ok(Some(b"[".to_vec())),
                    Format::Lines => (None, true),
                }
            }
            Step::Records { after, is_first } => (after, is_first),
            Step::Done => return Ok(None),
        };
        let page =
            self.look.page(&self.filter, after, EXPORT_PIECE_RECORDS).map_err(|error| error.to_string())?;
        let mut out = Vec::with_capacity(page.records.iter().map(|record| record.len() + 2).sum());
        for (index, record) in page.records.iter().enumerate() {
            match self.format {
                Format::Csv => push_row(&mut out, record),
                Format::Json => {
                    out.extend_from_slice(if is_first && index == 0 { b"\n" } else { b",\n" });
                    out.extend_from_slice(record);
                }
                Format::Lines => {
                    out.extend_from_slice(record);
                    out.push(b'\n');
                }
            }
        }
        self.step = match page.next {
            Some(next) => Step::Records { after: Some(next), is_first: false },
            None => {
                if self.format == Format::Json {
                    out.extend_from_slice(b"\n]\n");
                }
                Step::Done
            }
        };
        Ok((!out.is_empty()).then_some(out))
    }
}

fn push_row(out: &mut Vec<u8>, record: &[u8]) {
    // Each was read as a record before.
    let Ok(record) = serde_json::from_slice::<Value>(record) else { return };
    for (index, column) in COLUMNS.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match &record[*column] {
            Value::Null => {}
            Value::String(text) => push_cell(out, text),
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn push_cell(out: &mut Vec<u8>, text: &str) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_quoted = is_formula || text.contains([',', '"', '\r', '\n']);
    if !is_quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    if is_formula {
        out.push(b'\'');
    }
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_quoted_and_no_formula() {
        let mut out = Vec::new();
        let record = br#"{"id":"1","requestedModel":"=cmd|' /C calc'!A0","modelId":"a,\"b\"","cost":0.25,"stream":true,"errorMessage":"x\ny"}"#;
        push_row(&mut out, record);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("1,,,,,\"a,\"\"b\"\"\",,\"'=cmd|' /C calc'!A0\",,,,,true,"), "{text}");
        assert!(text.contains(",\"x\ny\",") && text.contains(",0.25,") && text.ends_with(",\r\n"), "{text}");
        assert_eq!(text.matches(',').count(), COLUMNS.len(), "one of them within quotes");
    }
}
