//! What accounting costs a core per request: the record, its way into the journal, the price, the log line.

use std::hint::black_box;

use divan::Bencher;
use routerly::budget::money::Picodollars;
use routerly::budget::price::{Cost, Price, Rates, Tier};
use routerly::dialect::Usage;
use routerly::limits::JOURNAL_BYTES_DEFAULT;
use routerly::store::journal::{Facts, Journal};
use routerly::store::usage::UsageRecord;
use routerly::telemetry::access::AccessLine;
use routerly::telemetry::ids::{TraceId, TraceIds};
use routerly::telemetry::labels::{CallType, EndedBy, Endpoint, Outcome, UsageSource};
use routerly::telemetry::line::{Format, Line};
use routerly::telemetry::metrics::CoreMetrics;
use routerly::telemetry::text::TimestampFormatter;

const UNIX_MS: u64 = 1_767_225_600_123;
const USAGE: Usage = Usage { input: 1_234, output: 345, cached_input: 1_024, cache_write: 0, reasoning: 128 };

fn main() {
    divan::main();
}

fn price() -> Price {
    let tier = Tier { above: 200_000, input: 4_000_000, output: 20_000_000, cached: None };
    Price { input: 2_000_000, output: 10_000_000, cached: 200_000, cache_write: 2_500_000, tiers: vec![tier] }
}

fn record() -> UsageRecord<'static> {
    let mut ids = TraceIds::from_seed([7; 32]);
    let id = ids.next(UNIX_MS);
    UsageRecord {
        id,
        trace_id: id,
        timestamp: TimestampFormatter::default().format(UNIX_MS),
        project_id: "0f8fad5b-d9cb-469f-a165-70867728950e",
        token_id: Some("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
        token_project_id: None,
        model_id: "openai/gpt-5-mini",
        provider: "openai",
        requested_model: "gpt-5-mini",
        endpoint: Endpoint::Chat,
        call_type: CallType::Completion,
        stream: true,
        http_status: 200,
        outcome: Outcome::Success,
        ended_by: EndedBy::Provider,
        error_message: None,
        usage: USAGE,
        usage_source: UsageSource::Reported,
        cost: Cost { input: Picodollars(624_800_000), output: Picodollars(3_450_000_000) },
        rates: Rates { input: 2_000_000, output: 10_000_000, cached: 200_000, cache_write: 2_500_000 },
        latency_ms: 2_345,
        admitted_ms: None,
        ttft_ms: Some(432),
        overhead_us: 17,
        attempt: 1,
        key_id: None,
        conversation_id: None,
        cache: None,
    }
}

#[divan::bench]
fn record_to_json(bencher: Bencher<'_, '_>) {
    let (record, mut out) = (record(), Vec::with_capacity(2048));
    bencher.bench_local(|| {
        out.clear();
        black_box(&record).write_json(&mut out);
        out.len()
    });
}

#[divan::bench]
fn record_to_json_and_journal(bencher: Bencher<'_, '_>) {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_DEFAULT).expect("memory").split();
    let (record, facts) = (record(), Facts::default());
    let (mut batch, mut records) = (Vec::new(), Vec::new());
    let mut number = 0_u32;
    bencher.bench_local(|| {
        let write = |line: &mut Vec<u8>| black_box(&record).write_json(line);
        writer.append(black_box(&facts), write).expect("the ring is emptied in time");
        // The control thread's part, here amortised over 1,000 records.
        number += 1;
        if number.is_multiple_of(1_000) {
            batch.clear();
            records.clear();
            reader.drain(&mut batch, &mut records);
            reader.commit_merged(reader.drained());
        }
    });
}

#[divan::bench]
fn price_to_cost(bencher: Bencher<'_, '_>) {
    let price = price();
    bencher.bench_local(|| black_box(&price).cost(black_box(&USAGE)));
}

#[divan::bench]
fn trace_id_to_text(bencher: Bencher<'_, '_>) {
    let mut ids = TraceIds::from_seed([7; 32]);
    let mut text = [0; TraceId::TEXT_BYTES];
    bencher.bench_local(|| {
        ids.next(black_box(UNIX_MS)).write_hyphenated(&mut text);
        text[35]
    });
}

#[divan::bench]
fn timestamp(bencher: Bencher<'_, '_>) {
    let mut formatter = TimestampFormatter::default();
    bencher.bench_local(|| formatter.format(black_box(UNIX_MS)));
}

#[divan::bench]
fn request_metrics(bencher: Bencher<'_, '_>) {
    let metrics = CoreMetrics::default();
    bencher.bench_local(|| {
        metrics.count_request(black_box(Endpoint::Chat), black_box(200), black_box(Outcome::Success));
        metrics.request_duration.observe_us(black_box(1_234_567));
        metrics.first_byte.observe_us(black_box(345_678));
        metrics.overhead.observe_us(black_box(17));
    });
}

#[divan::bench]
fn access_line(bencher: Bencher<'_, '_>) {
    let access = AccessLine {
        trace_id: TraceIds::from_seed([7; 32]).next(UNIX_MS),
        project_id: Some("0f8fad5b-d9cb-469f-a165-70867728950e"),
        token_id: Some("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
        model_id: Some("openai/gpt-5-mini"),
        provider: Some("openai"),
        endpoint: Endpoint::Chat,
        stream: true,
        attempts: 1,
        status: 200,
        outcome: Outcome::Success,
        ended_by: EndedBy::Provider,
        error: None,
        usage: USAGE,
        cost: Picodollars(4_074_800_000),
        first_byte_ms: Some(432),
        latency_ms: 2_345,
        gateway_us: 17,
        core: 0,
    };
    let (mut formatter, mut out) = (TimestampFormatter::default(), Vec::with_capacity(2048));
    bencher.bench_local(|| {
        out.clear();
        let timestamp = formatter.format(black_box(UNIX_MS));
        let mut line = Line::begin(&mut out, Format::Json, timestamp, "info", "request");
        black_box(&access).fields(&mut line);
        line.end();
        out.len()
    });
}
