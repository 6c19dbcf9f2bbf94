//! Usage: sums, pages of records, single records, exports.
//!
//! Source: the project's management specification, sections 4.5, 5.6 and 6 (21, 22, 27). Days begin in the time zone of
//! the settings, as those of limits do.

mod export;
mod stats;

use std::io;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use serde_json::Value;

pub(super) use export::export;
pub(super) use stats::stats;

use super::answer::{ApiError, json_answer};
use super::ask::Ask;
use super::office::Office;
use super::query::Query;
use super::reach::{Reach, project_id};
use super::traces;
use crate::mailbox::{Job, Mailbox};
use crate::store::reports::{Filter, Look};
use crate::telemetry::ids::TraceId;
use crate::telemetry::labels::{CallType, Outcome};
use crate::telemetry::log::{self, Value as LogValue};

/// Records of a request end within so many milliseconds of the time in its id: clocks are set, streams are long.
const TRACE_SLACK_MS: (u64, u64) = (3_600_000, 48 * 3_600_000);
/// Records of one request that are looked at.
const ATTEMPTS_MAX: usize = 1_000;

/// Which time is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Daily,
    Weekly,
    Monthly,
    All,
    /// What `from` and `to` say.
    Custom,
}

impl Period {
    const ALL: [Self; 5] = [Self::Daily, Self::Weekly, Self::Monthly, Self::All, Self::Custom];

    fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::All => "all",
            Self::Custom => "custom",
        }
    }

    /// Its first moment, in milliseconds since the epoch; none: there is no first one. Weeks begin on Monday.
    fn begin(self, now: &Zoned) -> Option<u64> {
        let today = now.date();
        let day = match self {
            Self::Daily => today,
            Self::Weekly => {
                today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok()?
            }
            Self::Monthly => today.first_of_month(),
            Self::All | Self::Custom => return None,
        };
        start_of(day, now.time_zone())
    }
}

fn start_of(day: Date, zone: &TimeZone) -> Option<u64> {
    u64::try_from(day.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond()).ok()
}

/// A moment, or a date, which stands for its first moment or the one after its last.
fn moment(text: &str, zone: &TimeZone, is_end: bool) -> Result<u64, String> {
    let problem = || "expected a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z".to_owned();
    if text.len() <= "YYYY-MM-DD".len() {
        let day: Date = text.parse().map_err(|_| problem())?;
        let day = if is_end { day.tomorrow().map_err(|_| problem())? } else { day };
        return start_of(day, zone).ok_or_else(problem);
    }
    let time: Timestamp = text.parse().map_err(|_| problem())?;
    u64::try_from(time.as_millisecond()).map_err(|_| problem())
}

/// What the query of a report says about records.
fn filter(office: &Office, ask: &Ask<'_>, query: &mut Query) -> Result<(Filter, Period), ApiError> {
    let reach = Reach::of(office, ask.who()?)?;
    let snapshot = office.mailbox.snapshot();
    let zone = TimeZone::get(&snapshot.config.settings().timezone).unwrap_or(TimeZone::UTC);
    let from_ms = query.value(&["from"], |text| moment(text, &zone, false));
    let to_ms = query.value(&["to"], |text| moment(text, &zone, true));
    let id = query.text(&["traceId", "trace"]);
    let is_bounded = from_ms.is_some() || to_ms.is_some();
    let named = query.word(&["period"], &Period::ALL, Period::as_str);
    // Without a word on time, a single request is looked for at any.
    let default = match (is_bounded, &id) {
        (true, _) => Period::Custom,
        (false, Some(_)) => Period::All,
        (false, None) => Period::Monthly,
    };
    let period = named.unwrap_or(default);
    let now = Timestamp::from_millisecond(ask.now_ms as i64).unwrap_or_default().to_zoned(zone);
    let project = query.text(&["projectId", "project"]).map(|named| project_id(office, &named));
    if project.as_ref().is_some_and(|project| !reach.has(project)) {
        return Err(ApiError::forbidden("you are no member of this project"));
    }
    let mut filter = Filter {
        from_ms: if is_bounded { from_ms } else { period.begin(&now) },
        to_ms,
        project,
        projects: reach.into_ids(),
        token: query.text(&["tokenId", "token"]),
        model: query.text(&["modelId", "model"]),
        provider: query.text(&["provider"]),
        outcome: query.word(&["outcome"], Outcome::ALL, Outcome::as_str),
        call_type: query.word(&["callType"], CallType::ALL, CallType::as_str),
        id: None,
    };
    if let Some(id) = id {
        narrow(&mut filter, id);
    }
    Ok((filter, period))
}

/// Asks for the records of a request, or for one of them. The time that such an id holds (UUIDv7) says where to look.
fn narrow(filter: &mut Filter, id: String) {
    if let Some(unix_ms) = TraceId::parse(&id).map(|id| id.unix_ms()).filter(|_| is_version_7(&id)) {
        let (before, after) = TRACE_SLACK_MS;
        let (from_ms, to_ms) = (unix_ms.saturating_sub(before), unix_ms.saturating_add(after));
        filter.from_ms = Some(filter.from_ms.map_or(from_ms, |known| known.max(from_ms)));
        filter.to_ms = Some(filter.to_ms.map_or(to_ms, |known| known.min(to_ms)));
    }
    filter.id = Some(id);
}

fn is_version_7(id: &str) -> bool {
    id.as_bytes().get(14) == Some(&b'7')
}

/// The disk does not give what is asked for.
fn unreadable(error: &io::Error) -> ApiError {
    log::error("usage records cannot be read", &[("reason", LogValue::Display(error))]);
    ApiError::internal("the usage records cannot be read; the log says why")
}

/// `GET /api/usage/{id}`: a record by its id, or the last one of a request by the request's.
pub(super) fn one(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let mut filter = Filter { projects: Reach::of(office, ask.who()?)?.into_ids(), ..Filter::default() };
    let id = ask.name().to_owned();
    narrow(&mut filter, id.clone());
    let (data, mailbox) = (office.home.data_directory(), Arc::clone(&office.mailbox));
    Ok(Box::new(move || {
        let found = (|| {
            let look = Look::take(&data).map_err(|error| unreadable(&error))?;
            let mut records = look.waiting(&filter);
            records.reverse();
            let stored = look.page(&filter, None, ATTEMPTS_MAX).map_err(|error| unreadable(&error))?;
            records.extend(stored.records);
            let record =
                choose(&records, &id).ok_or_else(|| ApiError::not_found("there is no such record"))?;
            with_trace(record, &mailbox)
        })();
        found.map_or_else(ApiError::into_answer, |record| json_answer(200, &record))
    }))
}

/// The record of this id, else the newest one of the request that was made for the client, else the newest.
fn choose(records: &[Vec<u8>], id: &str) -> Option<Value> {
    let mut records = records.iter().filter_map(|record| serde_json::from_slice::<Value>(record).ok());
    let mut chosen: Option<Value> = None;
    for record in &mut records {
        if record["id"] == id {
            return Some(record);
        }
        let was_inner =
            chosen.as_ref().is_some_and(|chosen| chosen["callType"] == CallType::Routing.as_str());
        if chosen.is_none() || was_inner && record["callType"] != CallType::Routing.as_str() {
            chosen = Some(record);
        }
    }
    chosen
}

/// Adds what happened to the request, where that is still known.
fn with_trace(mut record: Value, mailbox: &Mailbox) -> Result<Value, ApiError> {
    let trace = traces::find(mailbox, record["traceId"].as_str().unwrap_or_default())?;
    record["trace"] = trace.map_or(Value::Null, |mut trace| trace["trace"].take());
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_midnight_of_the_zone() {
        let zone = TimeZone::get("Europe/Rome").unwrap();
        // A Sunday, one hour after midnight there and before midnight in UTC.
        let now: Zoned = "2026-03-01T00:30:00+01:00[Europe/Rome]".parse().unwrap();
        let begin = |period: Period| {
            let ms = period.begin(&now)? as i64;
            Some(Timestamp::from_millisecond(ms).unwrap().to_string())
        };
        for (period, expected) in [
            (Period::Daily, Some("2026-02-28T23:00:00Z")),
            (Period::Weekly, Some("2026-02-22T23:00:00Z")),
            (Period::Monthly, Some("2026-02-28T23:00:00Z")),
            (Period::All, None),
            (Period::Custom, None),
        ] {
            assert_eq!(begin(period).as_deref(), expected, "{period:?}");
        }
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond() as u64;
        for (text, is_end, expected) in [
            ("2026-01-31", false, "2026-01-30T23:00:00Z"),
            ("2026-01-31", true, "2026-01-31T23:00:00Z"),
            ("2026-01-31T12:00:00Z", true, "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+01:00", false, "2026-01-31T11:00:00Z"),
        ] {
            assert_eq!(moment(text, &zone, is_end), Ok(ms(expected)), "{text} {is_end}");
        }
        for text in ["soon", "2026-02-30", "1969-12-31", "2026-01-31T12:00:00", "9999-12-31T23:59:60Z9"] {
            assert!(moment(text, &zone, true).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_is_chosen_by_its_own_id_before_the_requests() {
        let records: Vec<Vec<u8>> = [
            r#"{"id":"3","traceId":"t","callType":"routing"}"#,
            r#"{"id":"2","traceId":"t","callType":"completion"}"#,
            r#"{"id":"1","traceId":"t","callType":"completion"}"#,
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        let chosen = |id: &str| choose(&records, id).map(|record| record["id"].clone());
        assert_eq!(
            (chosen("1"), chosen("t"), chosen("3")),
            (Some("1".into()), Some("2".into()), Some("3".into()))
        );
        assert_eq!(choose(&records[..1], "t").unwrap()["id"], "3");
        assert_eq!(choose(&[], "t"), None);
    }

    #[test]
    fn an_id_with_a_time_narrows_the_search() {
        let mut filter = Filter { from_ms: Some(1), ..Filter::default() };
        narrow(&mut filter, "019aa2d5-8d1e-7c0a-9c5e-5f1f3f0a7d11".to_owned());
        let at = 0x019a_a2d5_8d1e;
        assert_eq!((filter.from_ms, filter.to_ms), (Some(at - 3_600_000), Some(at + 172_800_000)));
        let mut filter = Filter::default();
        narrow(&mut filter, "019aa2d5-8d1e-4c0a-9c5e-5f1f3f0a7d11".to_owned());
        assert_eq!((filter.from_ms, filter.to_ms), (None, None));
    }
}
