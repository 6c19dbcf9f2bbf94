//! `GET /api/usage`: sums and a page of records.

use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::answer::ApiError;
use super::super::ask::Ask;
use super::super::office::Office;
use super::super::query::Query;
use super::{Period, filter, unreadable};
use crate::mailbox::{ApiAnswer, Job};
use crate::store::reports::{Filter, Group, GroupBy, Look, Report};
use crate::telemetry::labels::{CallType, Outcome};

const PAGE_SIZE: u64 = 100;
const PAGE_SIZE_MAX: u64 = 200;
/// Points of the timeline, the last ones.
const TIMELINE_POINTS: usize = 30;

/// Words of `by`, and what they sum by.
const GROUPS: [(&str, GroupBy); 7] = [
    ("model", GroupBy::Model),
    ("project", GroupBy::Project),
    ("token", GroupBy::Token),
    ("provider", GroupBy::Provider),
    ("outcome", GroupBy::Outcome),
    ("day", GroupBy::Day),
    ("hour", GroupBy::Hour),
];

/// What is asked for.
struct Question {
    filter: Filter,
    timeline_by: GroupBy,
    by: Option<GroupBy>,
    place: Place,
    page_size: u64,
}

/// Which records of all that fit.
enum Place {
    /// A page, from 1; beyond the last one: that one.
    Page(u64),
    /// Behind so many.
    Offset(u64),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    summary: Value,
    by_model: Map<String, Value>,
    timeline: Vec<(String, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Value>>,
    records: Vec<Box<RawValue>>,
    pagination: Value,
}

/// `GET /api/usage`.
pub(in super::super) fn stats(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let mut query = Query::read(&ask.call.query);
    let (filter, period) = filter(office, ask, &mut query)?;
    let page = query.number(&["page"]);
    let offset = query.number(&["offset"]).filter(|_| page.is_none());
    let question = Question {
        filter,
        timeline_by: if period == Period::Daily { GroupBy::Hour } else { GroupBy::Day },
        by: query.word(&["by", "groupBy"], &GROUPS, |(word, _)| word).map(|(_, by)| by),
        place: offset.map_or(Place::Page(page.unwrap_or(1).max(1)), Place::Offset),
        page_size: query.number(&["pageSize", "limit"]).unwrap_or(PAGE_SIZE).clamp(1, PAGE_SIZE_MAX),
    };
    query.finish()?;
    let data = office.home.data_directory();
    Ok(Box::new(move || answer(&data, &question).unwrap_or_else(ApiError::into_answer)))
}

fn answer(data: &Path, question: &Question) -> Result<ApiAnswer, ApiError> {
    let stats = look(data, question).map_err(|error| unreadable(&error))?;
    let body = serde_json::to_vec(&stats).map_err(|_| ApiError::internal("a record is not readable"))?;
    Ok(ApiAnswer { status: 200, body, ..ApiAnswer::default() })
}

fn look(data: &Path, question: &Question) -> std::io::Result<Stats> {
    let Question { filter, timeline_by, by, place, page_size } = question;
    let look = Look::take(data)?;
    let success = Filter { outcome: Some(Outcome::Success), ..filter.clone() };
    let wants_success = filter.outcome.is_none_or(|outcome| outcome == Outcome::Success);
    let timeline = if wants_success { look.aggregate(*timeline_by, &success)? } else { Report::default() };
    let total = look.count(filter)?;
    let pages = total.div_ceil(*page_size).max(1);
    let (page, skip) = match place {
        Place::Page(page) => ((*page).min(pages), ((*page).min(pages) - 1) * page_size),
        Place::Offset(offset) => ((offset / page_size + 1).min(pages), *offset),
    };
    let records = look.page_from(filter, skip, *page_size as usize)?.records;
    // Each was read as a record before; a line of another program that JSON does not allow is left out.
    let raw = |record: Vec<u8>| RawValue::from_string(String::from_utf8(record).ok()?).ok();
    let groups = by.map(|by| look.aggregate(by, filter)).transpose()?;
    let points = timeline.groups.iter().filter(|group| !group.key.is_empty());
    let mut timeline: Vec<(String, f64)> =
        points.map(|group| (group.key.clone(), usd(group.sums.cost))).collect();
    timeline.drain(..timeline.len().saturating_sub(TIMELINE_POINTS));
    Ok(Stats {
        summary: summary(&look, filter)?,
        by_model: look.aggregate(GroupBy::Model, filter)?.groups.into_iter().map(by_key).collect(),
        timeline,
        groups: groups.map(|report| report.groups.into_iter().map(keyed).collect()),
        records: records.into_iter().filter_map(raw).collect(),
        pagination: json!({
            "page": page, "pageSize": page_size, "totalRecords": total, "totalPages": pages,
        }),
    })
}

fn summary(look: &Look, filter: &Filter) -> std::io::Result<Value> {
    let by_outcome = |call_type: Option<CallType>| {
        if filter.call_type.is_some_and(|asked| call_type.is_some_and(|wanted| wanted != asked)) {
            return Ok(Report::default());
        }
        look.aggregate(
            GroupBy::Outcome,
            &Filter { call_type: call_type.or(filter.call_type), ..filter.clone() },
        )
    };
    let (all, routing) = (by_outcome(None)?, by_outcome(Some(CallType::Routing))?);
    let sum = |report: &Report, number: fn(&Group) -> u64| report.groups.iter().map(number).sum::<u64>();
    let succeeded = |report: &Report, number: fn(&Group) -> u64| -> u64 {
        let successes = report.groups.iter().filter(|group| group.key == Outcome::Success.as_str());
        successes.map(number).sum()
    };
    let calls = |group: &Group| group.sums.calls;
    let cost = |group: &Group| group.sums.cost;
    let (all_calls, routing_calls) = (sum(&all, calls), sum(&routing, calls));
    let (all_cost, routing_cost) = (succeeded(&all, cost), succeeded(&routing, cost));
    Ok(json!({
        "totalCost": usd(all_cost),
        "chargedCost": usd(sum(&all, cost)),
        "totalCalls": all_calls,
        "successCalls": succeeded(&all, calls),
        "errorCalls": all_calls - succeeded(&all, calls),
        "routingCalls": routing_calls,
        "completionCalls": all_calls - routing_calls,
        "routingCost": usd(routing_cost),
        "completionCost": usd(all_cost - routing_cost),
        "inputTokens": sum(&all, |group| group.sums.input),
        "outputTokens": sum(&all, |group| group.sums.output),
        "cachedInputTokens": sum(&all, |group| group.sums.cached),
        "unreadable": all.unreadable,
    }))
}

fn by_key(group: Group) -> (String, Value) {
    let counts = counts(&group);
    (group.key, counts)
}

fn keyed(group: Group) -> Value {
    let mut counts = counts(&group);
    counts["key"] = group.key.into();
    counts
}

fn counts(group: &Group) -> Value {
    json!({
        "calls": group.sums.calls,
        "inputTokens": group.sums.input,
        "outputTokens": group.sums.output,
        "cachedInputTokens": group.sums.cached,
        "cost": usd(group.sums.cost),
        "errors": group.errors,
    })
}

/// An amount of picodollars in USD: exact to fifteen digits.
fn usd(amount: u64) -> f64 {
    amount as f64 / 1e12
}
