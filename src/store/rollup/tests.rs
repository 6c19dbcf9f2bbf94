//! Rollups beside the merger, through rotations, crashes, deletions and damage: they are what a recount gives.
//!
//! The threads behind them (one that syncs, one that writes and reads rollups) are waited for where a step says so, and
//! held where it says that: no test depends on how fast they are.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::files::checkpoint_path;
use super::*;
use crate::budget::money::Picodollars;
use crate::limits::JOURNAL_BYTES_MIN;
use crate::store::journal::{Facts, JournalWriter};
use crate::store::usage::{Fold, LineReader, Merger, UsageSettings, usage_path};
use crate::telemetry::text::TimestampFormatter;

/// 2026-01-01T12:00:00Z.
const NOON_MS: u64 = 1_767_268_800_000;
const HOUR_MS: u64 = 3_600_000;

/// A merger and its rollups, driven as the control thread does it: ids are the numbers of the facts.
struct Process {
    merger: Merger,
    writers: Vec<JournalWriter>,
    fold: RowsFold,
}

struct RowsFold {
    rollups: Rollups,
    length: u64,
    told: Vec<Facts>,
}

impl RowsFold {
    fn flush(&mut self, length: u64) {
        let span = (self.length, length);
        for facts in self.told.drain(..) {
            let [project, model] = [facts.project, facts.model].map(|number| number.to_string());
            let ids =
                crate::store::usage::RecordIds { project: &project, model: &model, ..Default::default() };
            self.rollups.table().add_record(&facts, &ids, span);
        }
        self.length = length;
    }
}

impl Fold for RowsFold {
    fn seen(&mut self, _facts: &Facts) {}

    fn stored(&mut self, facts: &Facts) {
        self.told.push(*facts);
    }

    fn stored_line(&mut self, _line: &[u8]) {
        unreachable!("every start can search the files");
    }

    fn rotated(&mut self, segment: &Path) {
        self.flush(fs::metadata(segment).unwrap().len());
        self.length = 0;
        self.rollups.rotated(segment);
    }

    fn restarted(&mut self) {
        self.told.clear();
        self.length = 0;
        self.rollups.restarted();
    }
}

fn settings() -> UsageSettings {
    UsageSettings {
        journal_bytes: JOURNAL_BYTES_MIN,
        sync_interval: Duration::ZERO,
        segment_bytes_max: 2_000,
    }
}

impl Process {
    fn start(data_dir: &Path) -> Self {
        let (merger, writers, report) =
            Merger::open(data_dir, 1, settings(), crate::clock::now(), NOON_MS).unwrap();
        assert_eq!(report.recovery_error, None);
        let restored = Restored::read(data_dir).unwrap();
        let rollups = Rollups::open(data_dir, &restored, || ()).unwrap();
        let length = merger.open_length();
        Self { merger, writers, fold: RowsFold { rollups, length, told: vec![] } }
    }

    fn put(&mut self, number: u64) {
        let (facts, line) = record(number);
        self.writers[0].append(&facts, |entry| entry.extend_from_slice(line.as_bytes())).unwrap();
    }

    /// A tick that finds what began before it ended, and lets end what it began.
    fn tick(&mut self, now: Instant, unix_ms: u64) {
        self.settle();
        self.tick_with(true, now, unix_ms);
        self.settle();
    }

    /// A tick that finds the sync before it ended or not; what is done in the background has not.
    fn tick_with(&mut self, sync_has_ended: bool, now: Instant, unix_ms: u64) {
        let stats = self.merger.tick_with(sync_has_ended, now, unix_ms, &mut self.fold);
        self.fold.flush(self.merger.open_length());
        let rollups = &mut self.fold.rollups;
        rollups.worker.is_held = true;
        assert_eq!(rollups.tick(&stats, now, vec![("other".to_owned(), b"state".to_vec())]), []);
        rollups.worker.is_held = false;
    }

    /// Lets the background end what it does.
    fn settle(&mut self) {
        let events = self.fold.rollups.wait();
        assert!(!events.iter().any(|event| matches!(event, Event::Failed(_))), "{events:?}");
        assert!(!self.fold.rollups.is_reading);
    }

    fn finish(mut self, now: Instant, unix_ms: u64) {
        self.settle();
        let stats = self.merger.finish(now, unix_ms, &mut self.fold);
        assert!(!stats.degraded);
        self.fold.flush(self.merger.open_length());
        self.fold.rollups.finish(self.merger.open_length(), vec![]);
    }
}

fn record(number: u64) -> (Facts, String) {
    let facts = Facts {
        project: (number % 3) as u32,
        model: (number % 5) as u32,
        finished_ms: NOON_MS + number * HOUR_MS / 20,
        admitted_ms: NOON_MS + number * HOUR_MS / 20 - number,
        latency_ms: number as u32,
        ttft_ms: if number.is_multiple_of(4) { Facts::NO_TTFT } else { 7 },
        outcome: (number % 2) as u8,
        input: number * 10,
        output: number,
        cost: Picodollars(number * 1_000_000),
        ..Facts::default()
    };
    let timestamp = TimestampFormatter::default().format(facts.finished_ms);
    let outcome = ["success", "error"][number as usize % 2];
    let ttft = if number.is_multiple_of(4) { "" } else { r#","ttftMs":7"# };
    let line = format!(
        r#"{{"id":"r{number}","timestamp":"{}","projectId":"{}","modelId":"{}","callType":"completion","outcome":"{outcome}","inputTokens":{},"outputTokens":{number},"cost":0.{number:06},"latencyMs":{number}{ttft}}}"#,
        timestamp.as_str(),
        facts.project,
        facts.model,
        number * 10,
    );
    (facts, line)
}

type Rows = BTreeMap<(u32, String, String, u8), Sums>;

fn rows_of(table: &Table, rows: &mut Rows) {
    for (key, sums) in table.rows() {
        let [project, model] = [key.project, key.model].map(|number| table.names.text(number).to_owned());
        rows.entry((key.hour, project, model, key.outcome)).or_default().merge(sums);
    }
}

/// The rows that a report would see: those of segments, and those of the open file up to the checkpoint and behind it.
fn kept(data_dir: &Path) -> Rows {
    let mut rows = Rows::new();
    for segment in segments(data_dir).unwrap() {
        rows_of(&read_segment(data_dir, &segment).unwrap(), &mut rows);
    }
    let restored = Restored::read(data_dir).unwrap();
    let mut from = 0;
    if restored.open_offset > 0 {
        rows_of(&open_table(&Checkpoint::read(data_dir).unwrap()).unwrap(), &mut rows);
        from = restored.open_offset;
    }
    let to = restored.behind.last().unwrap().to;
    if to == 0 {
        return rows;
    }
    rows_of(&read_between(&File::open(usage_path(data_dir)).unwrap(), from, to).unwrap(), &mut rows);
    rows
}

fn recount(data_dir: &Path) -> Rows {
    let (mut table, mut reader) = (Table::default(), LineReader::default());
    crate::store::usage::for_each_record(data_dir, |line| {
        let reading = reader.read(line).unwrap();
        table.add_record(&reading.facts, &reading.ids, (0, 0));
    })
    .unwrap();
    let mut rows = Rows::new();
    rows_of(&table, &mut rows);
    rows
}

/// The spans of a table hold all records of their hour.
fn assert_spans(data_dir: &Path) {
    for segment in segments(data_dir).unwrap() {
        let table = read_segment(data_dir, &segment).unwrap();
        let spans: BTreeMap<_, _> = table.spans().collect();
        let part = Part { path: segment.path.clone(), from: 0, to: segment.fingerprint.bytes() };
        part.for_each(|facts, _, (start, end)| {
            let (from, to) = spans[&Key::hour_of(facts)];
            assert!(from <= start && end <= to, "{start}..{end} in {from}..{to}");
        })
        .unwrap();
    }
}

#[test]
fn a_checkpoint_is_written_when_its_sync_has_ended_well() {
    let home = tempfile::tempdir().unwrap();
    let mut process = Process::start(home.path());
    process.settle();
    let mut now = crate::clock::now();
    for number in 0..5 {
        process.put(number);
        process.tick(now, NOON_MS);
    }
    process.finish(now, NOON_MS);
    let restored = Restored::read(home.path()).unwrap();
    assert_eq!(restored.open_offset, fs::metadata(usage_path(home.path())).unwrap().len());
    assert_eq!(restored.for_each_behind(|_, _| panic!("nothing is behind it")).unwrap(), 0);

    let mut process = Process::start(home.path());
    process.settle();
    let before = restored.open_offset;
    process.put(5);
    process.tick(now, NOON_MS);
    let middle = process.merger.open_length();
    process.put(6);
    for _ in 0..2 {
        now += CHECKPOINT_INTERVAL;
        process.tick_with(false, now, NOON_MS);
        process.settle();
        assert_eq!(Restored::read(home.path()).unwrap().open_offset, before, "its sync is under way");
    }
    process.tick(now, NOON_MS);
    let restored = Restored::read(home.path()).unwrap();
    assert_eq!((restored.open_offset, restored.section("other")), (middle, Some(&b"state"[..])));
    // The record that came meanwhile is in the next one.
    now += CHECKPOINT_INTERVAL;
    process.tick(now, NOON_MS);
    process.tick(now, NOON_MS);
    assert_eq!(Restored::read(home.path()).unwrap().open_offset, process.merger.open_length());
}

#[test]
fn a_start_reads_what_lies_behind_the_checkpoint_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let now = crate::clock::now();
    let mut process = Process::start(home.path());
    for number in 0..40 {
        process.put(number);
        process.tick(now, NOON_MS);
    }
    process.finish(now, NOON_MS);
    // Killed with records in the journal and behind the checkpoint.
    let mut process = Process::start(home.path());
    for number in 40..60 {
        process.put(number);
        if number < 55 {
            // What the last process left is still being read, and the file is rotated meanwhile.
            process.tick_with(number % 2 == 0, now, NOON_MS);
        }
    }
    drop(process);
    let mut process = Process::start(home.path());
    process.settle();
    assert_eq!(kept(home.path()), recount(home.path()));
    let restored = Restored::read(home.path()).unwrap();
    let mut behind = vec![];
    restored.for_each_behind(|facts, _| behind.push(facts.output)).unwrap();
    behind.sort_unstable();
    assert_eq!(behind, (40..60).collect::<Vec<_>>(), "what came after the checkpoint of the first process");
    process.tick(now, NOON_MS);
    assert_spans(home.path());
}

#[test]
fn files_that_somebody_changed_deleted_or_damaged_are_read_again() {
    let now = crate::clock::now();
    let made = || {
        let home = tempfile::tempdir().unwrap();
        let mut process = Process::start(home.path());
        for number in 0..40 {
            process.put(number);
            process.tick(now, NOON_MS);
        }
        // Until there is something in the open file that stays there.
        let (mut number, mut now) = (40, now);
        while !(1..1_000).contains(&process.merger.open_length()) {
            process.put(number);
            number += 1;
            now += Duration::from_millis(100);
            process.tick(now, NOON_MS);
        }
        process.finish(now, NOON_MS);
        let restored = Restored::read(home.path()).unwrap();
        assert!(restored.section("rollup").is_some() && restored.open_offset > 0);
        home
    };
    type Harm = fn(&Path, &[Segment]);
    let harms: [(&str, Harm); 6] = [
        ("a segment deleted", |_, segments| fs::remove_file(&segments[0].path).unwrap()),
        ("a segment edited", |_, segments| {
            let text = fs::read_to_string(&segments[1].path).unwrap();
            fs::write(&segments[1].path, text.replace("\"modelId\":\"1\"", "\"modelId\":\"x\"")).unwrap();
        }),
        ("the open file deleted", |data_dir, _| fs::remove_file(usage_path(data_dir)).unwrap()),
        ("the open file cut", |data_dir, _| fs::write(usage_path(data_dir), "").unwrap()),
        ("the checkpoint damaged", |data_dir, _| {
            let mut bytes = fs::read(checkpoint_path(data_dir)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(checkpoint_path(data_dir), bytes).unwrap();
        }),
        ("the rollups deleted", |data_dir, _| fs::remove_dir_all(rollups_dir(data_dir)).unwrap()),
    ];
    for (name, harm) in harms {
        let home = made();
        harm(home.path(), &segments(home.path()).unwrap());
        let restored = Restored::read(home.path()).unwrap();
        assert_eq!(restored.section("rollup"), None, "{name}");
        let mut records = 0;
        restored.for_each_behind(|_, _| records += 1).unwrap();
        assert_eq!(records, recount(home.path()).values().map(|sums| sums.calls).sum::<u64>(), "{name}");
        assert_eq!(kept(home.path()), recount(home.path()), "{name}: before the next start");
        let mut process = Process::start(home.path());
        process.settle();
        process.put(900);
        process.tick(now, NOON_MS);
        process.finish(now, NOON_MS);
        assert_eq!(kept(home.path()), recount(home.path()), "{name}: after it");
        assert_spans(home.path());
    }
}

#[test]
fn rows_outlive_segments_whose_time_is_over() {
    let home = tempfile::tempdir().unwrap();
    let now = crate::clock::now();
    let mut process = Process::start(home.path());
    for number in 0..40 {
        process.put(number);
        process.tick(now, NOON_MS);
    }
    process.finish(now, NOON_MS);
    let before = segments(home.path()).unwrap().len();
    let mut process = Process::start(home.path());
    process.settle();
    process.fold.rollups.retire_before("2026-01-02".to_owned());
    let events = process.fold.rollups.wait();
    assert!(events.iter().any(|event| matches!(event, Event::Retired(_))), "{events:?}");
    let left = segments(home.path()).unwrap();
    assert!(left.len() < before && left.iter().all(|segment| segment.name() >= "usage-2026-01-02"));
    // The checkpoint still speaks of them: their deletion was ours.
    assert!(Restored::read(home.path()).unwrap().section("rollup").is_some());
    let rollups = fs::read_dir(rollups_dir(home.path())).unwrap().count();
    assert_eq!(rollups, before + 1, "one each, and the checkpoint");
    process.finish(now, NOON_MS);
    drop(Process::start(home.path()));
    assert_eq!(fs::read_dir(rollups_dir(home.path())).unwrap().count(), rollups, "orphans that stay");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u64),
    /// Everything before it has ended.
    Tick,
    /// What is done in the background has not ended; the sync has, or not.
    EarlyTick(bool),
    Kill,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..12_u64).prop_map(Step::Put),
        3 => Just(Step::Tick),
        3 => any::<bool>().prop_map(Step::EarlyTick),
        1 => Just(Step::Kill),
        1 => Just(Step::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn after_any_history_rows_are_what_a_recount_gives(steps in prop::collection::vec(step(), 1..40)) {
        let home = tempfile::tempdir().unwrap();
        let mut process = Process::start(home.path());
        let (mut number, mut now) = (0, crate::clock::now());
        for step in steps {
            match step {
                Step::Put(records) => {
                    for _ in 0..records {
                        process.put(number);
                        number += 1;
                    }
                }
                Step::Tick => {
                    now += Duration::from_secs(7);
                    process.tick(now, NOON_MS + number * HOUR_MS / 20);
                }
                Step::EarlyTick(sync_has_ended) => {
                    now += Duration::from_secs(7);
                    process.tick_with(sync_has_ended, now, NOON_MS + number * HOUR_MS / 20);
                }
                Step::Kill => {
                    drop(process);
                    process = Process::start(home.path());
                }
                Step::End => {
                    process.finish(now, NOON_MS);
                    prop_assert_eq!(kept(home.path()), recount(home.path()));
                    let restored = Restored::read(home.path()).unwrap();
                    let mut behind = 0;
                    restored.for_each_behind(|_, _| behind += 1).unwrap();
                    prop_assert_eq!(behind, 0);
                    process = Process::start(home.path());
                }
            }
        }
        process.finish(now, NOON_MS);
        let rows = kept(home.path());
        prop_assert_eq!(rows.values().map(|sums| sums.calls).sum::<u64>(), number);
        prop_assert_eq!(rows, recount(home.path()));
        assert_spans(home.path());
    }
}
