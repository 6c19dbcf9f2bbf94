//! Reports over many records: how long a look, an aggregate and a page take, and the first start on them.
//!
//! `cargo bench --bench reports -- DIR RECORDS` makes a home with so many records below DIR, unless it is there, and
//! prints a row per question, the median of several runs. Ten million records take some 7 GB.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use routerly::budget::money::Picodollars;
use routerly::budget::price::{Cost, Rates};
use routerly::dialect::Usage;
use routerly::store::reports::{Filter, GroupBy, Look};
use routerly::store::rollup::{Restored, Rollups};
use routerly::store::usage::{UsageRecord, segments_dir, usage_path};
use routerly::telemetry::ids::TraceIds;
use routerly::telemetry::labels::{CallType, EndedBy, Endpoint, Outcome, UsageSource};
use routerly::telemetry::text::TimestampFormatter;

/// 2026-01-01T00:00:00Z; records end 30 days later.
const START_MS: u64 = 1_767_225_600_000;
const SPAN_MS: u64 = 30 * 24 * 3_600_000;
const SEGMENT_BYTES: u64 = 256 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let directory = arguments.next();
    let records = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    match directory {
        Some(directory) => run(Path::new(&directory), records),
        None => {
            let directory = tempfile::tempdir().expect("a temporary directory");
            run(directory.path(), records);
        }
    }
}

fn run(home: &Path, records: u64) {
    let data = home.join("data");
    if !usage_path(&data).exists() {
        let since = now();
        let bytes = generate(&data, records);
        println!(
            "made {records} records, {} MB, in {:.1} s",
            bytes / 1_000_000,
            since.elapsed().as_secs_f64()
        );
    }
    let since = now();
    // The first start on records without rollups: all of them are made, in the background.
    let restored = Restored::read(&data).expect("readable files");
    row("restore", since.elapsed());
    let since = now();
    let mut rollups = Rollups::open(&data, &restored, || ()).expect("a thread");
    row("open rollups", since.elapsed());
    rollups.wait();
    row("make what is missing", since.elapsed());
    let length = fs::metadata(usage_path(&data)).expect("the open file").len();
    rollups.finish(length, vec![]);
    drop(rollups);

    row("look", median(|| drop(Look::take(&data).expect("readable files"))));
    let look = Look::take(&data).expect("readable files");
    let one_project = Filter { project: Some("project-3".to_owned()), ..Filter::default() };
    let days = |from: u64, to: u64| Filter {
        from_ms: Some(START_MS + from * 3_600_000 + 60_000),
        to_ms: Some(START_MS + to * 3_600_000 + 60_000),
        ..Filter::default()
    };
    for (name, by, filter) in [
        ("aggregate by model", GroupBy::Model, Filter::default()),
        ("aggregate by token", GroupBy::Token, Filter::default()),
        ("aggregate by hour, one project", GroupBy::Hour, one_project.clone()),
        ("aggregate by day, parts of hours", GroupBy::Day, days(100, 500)),
    ] {
        row(name, median(|| drop(look.aggregate(by, &filter).expect("readable files"))));
    }
    let rare =
        Filter { token: Some("token-7".to_owned()), outcome: Some(Outcome::Timeout), ..Filter::default() };
    let nothing = Filter { model: Some("no such model".to_owned()), ..Filter::default() };
    let old = Filter { project: Some("project-3".to_owned()), ..days(1, 3) };
    for (name, filter) in [
        ("page, newest", &Filter::default()),
        ("page, one project", &one_project),
        ("page, a rare outcome of a token", &rare),
        ("page, two hours a month ago", &old),
        ("page, nothing to find", &nothing),
    ] {
        let found = look.page(filter, None, 100).expect("readable files").records.len();
        let time = median(|| drop(look.page(filter, None, 100).expect("readable files")));
        row(&format!("{name} ({found})"), time);
    }
}

fn row(name: &str, time: Duration) {
    println!("{name:<45} {:>10.2} ms", time.as_secs_f64() * 1_000.0);
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let since = now();
            work();
            since.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn now() -> Instant {
    routerly::clock::now()
}

/// Writes segments and the open file; 20 projects with 5 tokens each, 12 models of 4 providers.
fn generate(data: &Path, records: u64) -> u64 {
    fs::create_dir_all(segments_dir(data)).expect("a folder");
    let (mut ids, mut formatter) = (TraceIds::from_seed([7; 32]), TimestampFormatter::default());
    let (mut line, mut all_bytes, mut bytes, mut number) = (vec![], 0, 0, 0_u64);
    let (mut seed, mut file) = (1_u64, None::<(BufWriter<File>, u64)>);
    while number < records {
        let unix_ms = START_MS + (u128::from(number) * u128::from(SPAN_MS) / u128::from(records)) as u64;
        let day = unix_ms / (24 * 3_600_000);
        if file.as_ref().is_none_or(|(_, of)| *of != day || bytes > SEGMENT_BYTES) {
            finish(data, file.take(), &mut formatter);
            let out = File::create(usage_path(data)).expect("a file");
            (file, bytes) = (Some((BufWriter::with_capacity(1 << 20, out), day)), 0);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        line.clear();
        record(seed >> 33, unix_ms, &mut ids, &mut formatter, &mut line);
        line.push(b'\n');
        let (out, _) = file.as_mut().expect("opened above");
        out.write_all(&line).expect("room on the disk");
        bytes += line.len() as u64;
        all_bytes += line.len() as u64;
        number += 1;
    }
    if let Some((mut out, _)) = file {
        out.flush().expect("room on the disk");
    }
    all_bytes
}

fn finish(data: &Path, file: Option<(BufWriter<File>, u64)>, formatter: &mut TimestampFormatter) {
    let Some((mut out, day)) = file else { return };
    out.flush().expect("room on the disk");
    let day = formatter.format(day * 24 * 3_600_000);
    let name = |number: u32| format!("usage-{}-{number}.json", &day.as_str()[..10]);
    let path = (2..).map(|number| segments_dir(data).join(name(number))).find(|path| !path.exists());
    fs::rename(usage_path(data), path.expect("a free name")).expect("a rename");
}

fn record(
    seed: u64,
    unix_ms: u64,
    ids: &mut TraceIds,
    formatter: &mut TimestampFormatter,
    line: &mut Vec<u8>,
) {
    let (project, model) = (seed % 20, seed / 20 % 12);
    let token = project * 5 + seed / 240 % 5;
    let provider = ["openai", "anthropic", "google", "mistral"][(model % 4) as usize];
    let outcome = match seed / 1_200 % 100 {
        0 => Outcome::Timeout,
        1..5 => Outcome::Error,
        _ => Outcome::Success,
    };
    let usage = Usage { input: seed % 4_000, output: seed % 700, ..Usage::default() };
    let latency_ms = seed % 9_000;
    UsageRecord {
        id: ids.next(unix_ms),
        trace_id: ids.next(unix_ms),
        timestamp: formatter.format(unix_ms),
        project_id: &format!("project-{project}"),
        token_id: Some(&format!("token-{token}")),
        token_project_id: None,
        model_id: &format!("{provider}/model-{model}"),
        provider,
        requested_model: "auto",
        endpoint: Endpoint::Chat,
        call_type: CallType::Completion,
        stream: seed.is_multiple_of(2),
        http_status: if outcome == Outcome::Success { 200 } else { 504 },
        outcome,
        ended_by: EndedBy::Provider,
        error_message: None,
        usage,
        usage_source: UsageSource::Reported,
        cost: Cost {
            input: Picodollars(usage.input * 2_000_000),
            output: Picodollars(usage.output * 10_000_000),
        },
        rates: Rates { input: 2_000_000, output: 10_000_000, cached: 200_000, cache_write: 2_500_000 },
        latency_ms,
        admitted_ms: None,
        ttft_ms: Some(latency_ms / 4),
        overhead_us: 17,
        attempt: 1,
        key_id: None,
        conversation_id: None,
        cache: None,
    }
    .write_json(line);
}
