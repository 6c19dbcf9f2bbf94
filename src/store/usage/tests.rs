//! The store and the merger under crashes at every step, a full disk and failing syncs.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::fold::Nobody;
use super::*;
use crate::limits::JOURNAL_BYTES_MIN;
use crate::store::journal::{Facts, JournalWriter, journal_path, journal_paths, tests::write_version_1};

/// 2026-01-01T12:00:00Z.
const NOON_MS: u64 = 1_767_268_800_000;

fn settings() -> UsageSettings {
    UsageSettings {
        journal_bytes: JOURNAL_BYTES_MIN,
        sync_interval: Duration::ZERO,
        ..UsageSettings::default()
    }
}

fn open(data_dir: &Path, cores: usize) -> (Merger, Vec<JournalWriter>, OpenReport) {
    Merger::open(data_dir, cores, settings(), crate::clock::now(), NOON_MS).unwrap()
}

fn tick(merger: &mut Merger) -> MergeStats {
    merger.tick_to_the_end(crate::clock::now(), NOON_MS)
}

fn line(number: u64) -> String {
    let timestamp = TimestampFormatter::default().format(NOON_MS + number);
    let pad = "p".repeat(number as usize * 13 % 400);
    format!("{{\"id\":\"r{number}\",\"timestamp\":\"{}\",\"pad\":\"{pad}\"}}", timestamp.as_str())
}

/// Appends record `number`, whose facts tell it too.
fn put(writer: &mut JournalWriter, number: u64) {
    let facts = Facts { input: number, ..Facts::default() };
    writer.append(&facts, |entry| entry.extend_from_slice(line(number).as_bytes())).unwrap();
}

/// What a fold was told.
#[derive(Debug, Default)]
struct Told {
    seen: Vec<u64>,
    stored: Vec<u64>,
    /// Those of `stored` of which only the line was known.
    lines: u64,
    rotations: u64,
}

impl Fold for Told {
    fn seen(&mut self, facts: &Facts) {
        self.seen.push(facts.input);
    }

    fn stored(&mut self, facts: &Facts) {
        self.stored.push(facts.input);
    }

    fn stored_line(&mut self, line: &[u8]) {
        let id = LineHead::parse(line.trim_ascii_end()).id.unwrap();
        self.stored.push(id[1..].parse().unwrap());
        self.lines += 1;
    }

    fn rotated(&mut self, _segment: &Path) {
        self.rotations += 1;
    }

    fn restarted(&mut self) {
        self.stored.clear();
    }
}

/// Ids of all records in the usage files, in file order.
fn stored(data_dir: &Path) -> Vec<u64> {
    let mut paths = segment_paths(data_dir).unwrap();
    paths.push(usage_path(data_dir));
    let mut ids = vec![];
    for path in paths {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            ids.push(value["id"].as_str().unwrap()[1..].parse().unwrap());
        }
    }
    ids
}

/// Recovers a copy of the data folder as the next process would, and checks it holds exactly `expected`.
fn assert_recovers(data_dir: &Path, expected: &BTreeSet<u64>, step: &str) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(data_dir, copy.path());
    let (merger, writers, report) = open(copy.path(), 2);
    assert_eq!(report.recovery_error, None, "{step}");
    let ids = stored(copy.path());
    assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), *expected, "{step}: lost");
    assert_eq!(ids.len(), expected.len(), "{step}: doubled in {ids:?}");
    assert_eq!(merger.waiting_bytes(), 0, "{step}");
    drop((merger, writers));
    // And the process after that finds nothing to do.
    let (_, _, report) = open(copy.path(), 2);
    assert_eq!((report.recovered, report.duplicates, report.corrupt), (0, 0, 0), "{step}");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_crash_between_any_two_steps_loses_and_doubles_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path();
    let (merger, mut writers, _) = open(data_dir, 2);
    drop(merger);
    let mut expected = BTreeSet::new();
    let mut number = 0;
    for round in 0..6_u64 {
        // The steps of a round by hand, with a copy taken after each. The journals stay mapped by `writers`.
        for (core, writer) in writers.iter_mut().enumerate() {
            for _ in 0..round + core as u64 {
                writer.append_line(line(number).as_bytes()).unwrap();
                expected.insert(number);
                number += 1;
            }
            assert_recovers(data_dir, &expected, "after the append to a journal");
        }
        let copy = tempfile::tempdir().unwrap();
        copy_dir(data_dir, copy.path());
        // The merge happens in the copy, whose journals still hold what is merged: the state before "give back".
        let (merger, ..) = open(copy.path(), 2);
        drop(merger);
        fs::copy(usage_path(copy.path()), usage_path(data_dir)).unwrap();
        assert_recovers(data_dir, &expected, "after the append to the usage file");
        if round % 2 == 0 {
            let segment = free_segment_path(data_dir, "2026-01-01").unwrap();
            fs::rename(usage_path(data_dir), segment).unwrap();
            assert_recovers(data_dir, &expected, "after the rename of a rotation");
        }
    }
}

#[test]
fn a_batch_torn_at_any_byte_is_cut_and_taken_from_the_journal_again() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 2);
    for number in 0..3 {
        writers[0].append_line(line(number).as_bytes()).unwrap();
    }
    assert_eq!(tick(&mut merger).records, 3);
    let before = fs::metadata(usage_path(home.path())).unwrap().len();
    for number in 3..7 {
        writers[number as usize % 2].append_line(line(number).as_bytes()).unwrap();
    }
    // The journals as they are before the batch is given back, beside a usage file that has it.
    let journals: Vec<_> = journal_paths(home.path())
        .unwrap()
        .iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert_eq!(tick(&mut merger).records, 4);
    drop((merger, writers));
    for (path, bytes) in &journals {
        fs::write(path, bytes).unwrap();
    }
    let whole = fs::read(usage_path(home.path())).unwrap();
    for cut in (before as usize..whole.len()).chain([whole.len()]) {
        fs::write(usage_path(home.path()), &whole[..cut]).unwrap();
        assert_recovers(home.path(), &(0..7).collect(), &format!("cut at {cut}"));
        let mut zeros = whole[..cut].to_vec();
        zeros.resize(cut + 5_000, 0);
        fs::write(usage_path(home.path()), zeros).unwrap();
        assert_recovers(home.path(), &(0..7).collect(), &format!("zeros from {cut}"));
    }
}

#[test]
fn a_full_disk_degrades_the_store_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    writers[0].append_line(line(0).as_bytes()).unwrap();
    assert_eq!(tick(&mut merger).records, 1);
    for space in [0, 1, 50, 500] {
        merger.faults().space = Some(space);
        let first = stored(home.path()).len() as u64;
        for number in first..first + 10 {
            writers[0].append_line(line(number).as_bytes()).unwrap();
        }
        for _ in 0..3 {
            merger.faults().space = Some(space);
            assert!(tick(&mut merger).degraded);
            assert!(matches!(merger.health(), StoreHealth::Degraded { .. }));
            assert_eq!(stored(home.path()).len() as u64, first, "a part that was written is cut off again");
        }
        merger.faults().space = None;
        assert_eq!(tick(&mut merger).records, 10);
        assert_eq!(merger.health(), StoreHealth::Healthy);
        assert_eq!(stored(home.path()), (0..first + 10).collect::<Vec<_>>());
    }
}

#[test]
fn a_part_that_cannot_be_cut_off_at_once_is_cut_off_before_the_next_append() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    for number in 0..10 {
        writers[0].append_line(line(number).as_bytes()).unwrap();
    }
    (merger.faults().space, merger.faults().truncate) = (Some(333), true);
    assert!(tick(&mut merger).degraded);
    assert_eq!(fs::metadata(usage_path(home.path())).unwrap().len(), 333);
    assert_recovers(home.path(), &(0..10).collect(), "with the part in the file");
    merger.faults().space = None;
    assert!(tick(&mut merger).degraded, "nothing is appended behind a torn line");
    merger.faults().truncate = false;
    assert_eq!(tick(&mut merger).records, 10);
    assert_eq!(stored(home.path()), (0..10).collect::<Vec<_>>());
}

#[test]
fn records_whose_sync_failed_are_stored_once_more_and_once_only() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 2);
    let mut now = crate::clock::now();
    for number in 0..6 {
        writers[number as usize % 2].append_line(line(number).as_bytes()).unwrap();
        merger.faults().sync = number % 3 == 1;
        let stats = merger.tick_to_the_end(now, NOON_MS);
        assert_eq!(stats.degraded, number % 3 != 0, "{number}: {stats:?}");
        assert_recovers(home.path(), &(0..=number).collect(), "after a failed sync");
        if number % 3 == 2 {
            now += Duration::from_secs(2);
            assert!(merger.tick_to_the_end(now, NOON_MS).synced);
            assert_eq!(merger.health(), StoreHealth::Healthy);
        }
    }
    let mut ids = stored(home.path());
    ids.sort_unstable();
    assert_eq!(ids, (0..6).collect::<Vec<_>>());
}

#[test]
fn nothing_is_given_back_before_it_is_synced() {
    let home = tempfile::tempdir().unwrap();
    let settings = UsageSettings { sync_interval: Duration::from_millis(100), ..settings() };
    let start = crate::clock::now();
    let (mut merger, mut writers, _) = Merger::open(home.path(), 1, settings, start, NOON_MS).unwrap();
    let at = |ms| start + Duration::from_millis(ms);
    for (ms, synced) in [(10, false), (99, false), (100, true), (150, false), (200, true)] {
        writers[0].append_line(line(ms).as_bytes()).unwrap();
        let stats = merger.tick_to_the_end(at(ms), NOON_MS);
        assert_eq!((stats.records, stats.synced), (1, synced), "at {ms} ms");
        assert_eq!(merger.waiting_bytes() == 0, synced, "at {ms} ms");
    }
    assert_eq!(merger.finish(at(201), NOON_MS, &mut Nobody), MergeStats::default());
}

#[test]
fn a_sync_that_hangs_keeps_no_round_waiting_and_gives_nothing_back() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    let disk = Arc::new(Mutex::new(()));
    merger.faults().stall = Some(Arc::clone(&disk));
    let start = crate::clock::now();
    let at = |ms| start + Duration::from_millis(ms);
    let stalled = disk.lock().unwrap();
    let mut append = |number| writers[0].append_line(line(number).as_bytes()).unwrap();
    for (ms, degraded) in [(0, false), (100, false), (4_999, false), (5_000, true), (9_000, true)] {
        append(ms);
        let stats = merger.tick(at(ms), NOON_MS, &mut Nobody);
        assert_eq!((stats.records, stats.synced, stats.degraded), (1, false, degraded), "at {ms} ms");
        assert_eq!(merger.health() == StoreHealth::Healthy, !degraded, "at {ms} ms");
    }
    assert_eq!(stored(home.path()), [0, 100, 4_999, 5_000, 9_000]);
    let waiting = merger.waiting_bytes();
    assert_recovers(home.path(), &[0, 100, 4_999, 5_000, 9_000].into(), "while a sync hangs");
    drop(stalled);
    // The sync that hung covers the first record only.
    let mut stats = MergeStats::default();
    merger.wait_for_sync(at(9_001), NOON_MS, &mut Nobody, &mut stats);
    assert!(stats.synced);
    assert!((1..waiting).contains(&merger.waiting_bytes()), "{} of {waiting}", merger.waiting_bytes());
    assert_eq!(merger.health(), StoreHealth::Healthy);
    merger.finish(at(9_002), NOON_MS, &mut Nobody);
    assert_eq!(merger.waiting_bytes(), 0);
}

#[test]
fn records_appended_while_a_sync_failed_are_stored_once_more_and_once_only() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    let disk = Arc::new(Mutex::new(()));
    let start = crate::clock::now();
    let stalled = disk.lock().unwrap();
    (merger.faults().stall, merger.faults().sync) = (Some(Arc::clone(&disk)), true);
    for number in 0..4 {
        writers[0].append_line(line(number).as_bytes()).unwrap();
        assert_eq!(merger.tick(start, NOON_MS, &mut Nobody).records, 1);
    }
    (merger.faults().stall, merger.faults().sync) = (None, false);
    drop(stalled);
    assert!(merger.tick_to_the_end(start, NOON_MS).degraded);
    assert!(stored(home.path()).is_empty(), "what followed the failed sync is cut off with it");
    assert_recovers(home.path(), &(0..4).collect(), "after the failed sync");
    let later = start + Duration::from_secs(2);
    assert_eq!(merger.tick_to_the_end(later, NOON_MS).records, 4);
    assert_eq!((stored(home.path()), merger.waiting_bytes()), (vec![0, 1, 2, 3], 0));
}

#[test]
fn a_rotation_waits_until_everything_in_the_file_is_given_back() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    let disk = Arc::new(Mutex::new(()));
    merger.faults().stall = Some(Arc::clone(&disk));
    let now = crate::clock::now();
    let stalled = disk.lock().unwrap();
    for (number, unix_ms, records) in [(0, NOON_MS, 1), (1, NOON_MS + DAY_MS, 1), (2, NOON_MS + DAY_MS, 0)] {
        writers[0].append_line(line(number).as_bytes()).unwrap();
        let stats = merger.tick(now, unix_ms, &mut Nobody);
        assert_eq!((stats.records, stats.rotated), (records, false), "{number}");
    }
    drop(stalled);
    merger.faults().stall = None;
    while !merger.tick_to_the_end(now, NOON_MS + DAY_MS).rotated {}
    assert_recovers(home.path(), &(0..3).collect(), "after the rotation");
    merger.finish(now, NOON_MS + DAY_MS, &mut Nobody);
    assert_eq!((stored(home.path()), merger.waiting_bytes()), (vec![0, 1, 2], 0));
}

#[test]
fn the_file_is_rotated_by_day_and_by_size() {
    let home = tempfile::tempdir().unwrap();
    let settings = UsageSettings { segment_bytes_max: 1_000, ..settings() };
    let (mut merger, mut writers, _) =
        Merger::open(home.path(), 1, settings, crate::clock::now(), NOON_MS).unwrap();
    let mut rotations = vec![];
    for number in 0..20 {
        writers[0].append_line(line(number).as_bytes()).unwrap();
        if tick(&mut merger).rotated {
            rotations.push(number);
        }
    }
    assert!(rotations.len() > 1, "{rotations:?}");
    assert!(!merger.tick_to_the_end(crate::clock::now(), NOON_MS).rotated);
    writers[0].append_line(line(20).as_bytes()).unwrap();
    assert!(merger.tick_to_the_end(crate::clock::now(), NOON_MS + DAY_MS).rotated);
    assert!(
        !merger.tick_to_the_end(crate::clock::now(), NOON_MS + 2 * DAY_MS).rotated,
        "an empty file is not rotated"
    );
    let names: Vec<_> = segment_paths(home.path()).unwrap();
    assert_eq!(names.len(), rotations.len() + 1);
    assert!(names[0].ends_with("usage-2026-01-01.json") && names[1].ends_with("usage-2026-01-01-2.json"));
    assert_eq!(stored(home.path()), (0..=20).collect::<Vec<_>>());
}

#[test]
fn a_file_somebody_deleted_is_made_again() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    let (now, mut told) = (crate::clock::now(), Told::default());
    for number in 0..2 {
        put(&mut writers[0], number);
        assert_eq!(merger.tick(now, NOON_MS, &mut told).records, 1);
        fs::remove_file(usage_path(home.path())).unwrap();
    }
    put(&mut writers[0], 2);
    merger.finish(now, NOON_MS, &mut told);
    assert_eq!((stored(home.path()), told.stored), (vec![2], vec![2]));
}

#[test]
fn journals_of_cores_that_are_gone_are_emptied_and_deleted() {
    let home = tempfile::tempdir().unwrap();
    let (merger, mut writers, _) = open(home.path(), 4);
    for (core, writer) in writers.iter_mut().enumerate() {
        writer.append_line(line(core as u64).as_bytes()).unwrap();
    }
    drop((merger, writers));
    let (mut merger, mut writers, report) = open(home.path(), 1);
    assert_eq!(report.recovered, 4);
    assert_eq!(stored(home.path()), [0, 1, 2, 3]);
    assert_eq!(journal_paths(home.path()).unwrap(), [journal_path(home.path(), 0)]);
    writers[0].append_line(line(4).as_bytes()).unwrap();
    tick(&mut merger);
    assert_eq!(stored(home.path()), [0, 1, 2, 3, 4]);
}

#[test]
fn a_merger_beside_the_cores_of_another_process_takes_what_they_go_on_writing() {
    let home = tempfile::tempdir().unwrap();
    let (mut before, mut old_writers, _) = open(home.path(), 2);
    let mut number = 0;
    let mut append = |writer: &mut JournalWriter| {
        writer.append_line(line(number).as_bytes()).unwrap();
        number += 1;
    };
    append(&mut old_writers[0]);
    tick(&mut before);
    append(&mut old_writers[1]);
    before.may_be_handed_over().unwrap();
    before.finish(crate::clock::now(), NOON_MS, &mut Nobody);
    drop(before);
    append(&mut old_writers[0]);

    let (mut merger, mut writers, report) =
        Merger::open_beside(home.path(), 3, settings(), crate::clock::now(), NOON_MS).unwrap();
    assert_eq!((report.recovered, report.duplicates, report.corrupt), (1, 0, 0));
    assert!(merger.may_be_handed_over().is_err(), "one after the other");
    for _ in 0..300 {
        old_writers.iter_mut().chain(&mut writers).for_each(&mut append);
        tick(&mut merger);
    }
    assert_recovers(home.path(), &(0..1503).collect(), "with journals of both");
    assert_eq!(journal_paths(home.path()).unwrap().len(), 5);
    old_writers.iter_mut().for_each(&mut append);
    drop(old_writers);
    merger.predecessor_ended();
    assert_eq!(journal_paths(home.path()).unwrap().len(), 5, "not before they are empty");
    tick(&mut merger);
    assert_eq!(journal_paths(home.path()).unwrap().len(), 3);
    merger.may_be_handed_over().unwrap();
    writers.iter_mut().for_each(&mut append);
    drop((merger, writers));
    // The next start finds journals under other names than its own.
    let (_, _, report) = open(home.path(), 2);
    assert_eq!(report.recovered, 3);
    let mut ids = stored(home.path());
    ids.sort_unstable();
    assert_eq!(ids, (0..1508).collect::<Vec<_>>());
    assert_eq!(journal_paths(home.path()).unwrap(), [0, 1].map(|core| journal_path(home.path(), core)));
}

#[test]
fn a_fold_is_told_of_the_records_of_a_dead_process_that_could_not_be_stored_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let (merger, mut writers, _) = open(home.path(), 2);
    put(&mut writers[0], 0);
    put(&mut writers[1], 1);
    drop((merger, writers));
    // No search through the files is possible: a segment is a folder.
    let obstacle = segments_dir(home.path()).join("usage-2026-01-01.json");
    fs::create_dir(&obstacle).unwrap();
    let (mut merger, mut writers, report) = open(home.path(), 1);
    assert!(report.recovery_error.is_some());
    fs::remove_dir(&obstacle).unwrap();
    put(&mut writers[0], 2);
    let mut told = Told::default();
    let later = crate::clock::now() + Duration::from_secs(5);
    assert_eq!(merger.tick(later, NOON_MS, &mut told).records, 3);
    assert_eq!((told.stored, told.lines, told.seen), (vec![0, 2, 1], 2, vec![2]));
}

#[test]
fn a_fold_goes_on_seeing_while_the_disk_refuses() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    let (now, mut told) = (crate::clock::now(), Told::default());
    merger.faults().space = Some(0);
    for number in 0..3 {
        put(&mut writers[0], number);
        merger.tick(now, NOON_MS, &mut told);
    }
    assert_eq!((&told.seen[..], &told.stored[..]), (&[0, 1, 2][..], &[][..]));
    merger.faults().space = None;
    merger.finish(now, NOON_MS, &mut told);
    assert_eq!((&told.seen[..], &told.stored[..]), (&[0, 1, 2][..], &[0, 1, 2][..]));
}

#[test]
fn an_orderly_end_waits_for_a_rotation_and_leaves_nothing_in_the_journals() {
    let home = tempfile::tempdir().unwrap();
    let (mut merger, mut writers, _) = open(home.path(), 1);
    let disk = Arc::new(Mutex::new(()));
    merger.faults().stall = Some(Arc::clone(&disk));
    let (now, mut told) = (crate::clock::now(), Told::default());
    let stalled = disk.lock().unwrap();
    for number in 0..3 {
        put(&mut writers[0], number);
        merger.tick(now, NOON_MS + DAY_MS, &mut told);
    }
    assert_eq!(told.stored, [0], "the file waits for its rotation");
    drop(stalled);
    assert!(merger.finish(now, NOON_MS + DAY_MS, &mut told).rotated);
    assert_eq!((told.stored, merger.waiting_bytes()), (vec![0, 1, 2], 0));
    assert_eq!(told.rotations, segment_paths(home.path()).unwrap().len() as u64);
    assert_eq!(stored(home.path()), [0, 1, 2]);
}

#[test]
fn journals_of_the_version_before_are_read_and_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = journal_path(home.path(), 0);
    write_version_1(&path, &[line(0), line(1)]);
    let (mut merger, mut writers, report) = open(home.path(), 1);
    assert_eq!((report.recovered, report.moved_aside), (2, vec![]));
    put(&mut writers[0], 2);
    assert_eq!(tick(&mut merger).records, 1);
    assert_eq!(stored(home.path()), [0, 1, 2]);
    drop((merger, writers));

    // While it cannot be emptied the core has another one.
    let obstacle = segments_dir(home.path()).join("usage-2026-01-01.json");
    fs::create_dir(&obstacle).unwrap();
    write_version_1(&path, &[line(3)]);
    let (mut merger, mut writers, _) = open(home.path(), 1);
    assert_eq!(journal_paths(home.path()).unwrap().len(), 2);
    put(&mut writers[0], 4);
    fs::remove_dir(&obstacle).unwrap();
    let mut told = Told::default();
    merger.finish(crate::clock::now(), NOON_MS, &mut told);
    assert_eq!((told.stored, told.lines, told.seen), (vec![4, 3], 1, vec![4]));
    assert_eq!(stored(home.path()), [0, 1, 2, 4, 3]);
    assert!(!path.exists(), "it is empty");
}

#[test]
fn a_journal_takes_a_new_size_once_it_is_empty() {
    let home = tempfile::tempdir().unwrap();
    let (merger, mut writers, _) = open(home.path(), 1);
    writers[0].append_line(line(0).as_bytes()).unwrap();
    drop((merger, writers));
    let larger = UsageSettings { journal_bytes: 4 * JOURNAL_BYTES_MIN, ..settings() };
    let (_, _, report) = Merger::open(home.path(), 1, larger, crate::clock::now(), NOON_MS).unwrap();
    assert_eq!(report.recovered, 1);
    let bytes = fs::metadata(journal_path(home.path(), 0)).unwrap().len();
    assert_eq!(bytes as usize, 4096 + 4 * JOURNAL_BYTES_MIN);
}

#[test]
fn a_journal_that_cannot_be_made_is_replaced_by_one_in_memory() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("journal"), "not a folder").unwrap();
    // Reading the "folder" fails as well; only its absence is fine.
    assert!(Merger::open(home.path(), 1, settings(), crate::clock::now(), NOON_MS).is_err());
    fs::remove_file(home.path().join("journal")).unwrap();
    fs::create_dir_all(journal_path(home.path(), 0)).unwrap();
    let (mut merger, mut writers, report) = open(home.path(), 1);
    assert_eq!((report.volatile_cores.len(), report.unreadable.len()), (1, 1));
    writers[0].append_line(line(0).as_bytes()).unwrap();
    assert_eq!(tick(&mut merger).records, 1);
}

#[test]
fn an_upstream_array_is_converted_at_the_first_start_only() {
    let home = tempfile::tempdir().unwrap();
    let array = format!("[\n{},\n{}\n]", line(0), line(1));
    fs::write(usage_path(home.path()), array).unwrap();
    let (_, _, report) = open(home.path(), 1);
    assert_eq!(report.repair.conversion.unwrap().records, 2);
    assert_eq!(stored(home.path()), [0, 1]);
    assert_eq!(open(home.path(), 1).2.repair, Repair::default());
}

#[test]
fn the_end_of_the_file_is_mended() {
    let cases: [(&str, &[u8], &[u8], u64); 6] = [
        ("empty", b"", b"", 0),
        ("whole", b"{}\n", b"{}\n", 0),
        ("no line feed", b"{}\n{\"id\":\"a\"}", b"{}\n{\"id\":\"a\"}\n", 0),
        ("torn", b"{}\n{\"id\":\"a", b"{}\n", 8),
        ("torn at once", b"{\"id", b"", 4),
        ("zeros", b"{}\n\0\0\0", b"{}\n", 3),
    ];
    for (name, before, after, torn) in cases {
        let home = tempfile::tempdir().unwrap();
        fs::write(usage_path(home.path()), before).unwrap();
        let (_, repair) = UsageStore::open(home.path(), settings()).unwrap();
        assert_eq!(repair.torn_bytes, torn, "{name}");
        assert_eq!(fs::read(usage_path(home.path())).unwrap(), after, "{name}");
    }
    let home = tempfile::tempdir().unwrap();
    let foreign = vec![b'x'; USAGE_LINE_BYTES_MAX + 1];
    fs::write(usage_path(home.path()), &foreign).unwrap();
    assert!(UsageStore::open(home.path(), settings()).is_err());
    assert_eq!(fs::read(usage_path(home.path())).unwrap(), foreign, "what is no usage file is left alone");
}

/// Names the data folder of the child process of the next test.
const CHILD_DATA: &str = "ROUTERLY_TEST_CHILD_DATA";

#[test]
fn child_that_is_killed_while_it_merges() {
    let Some(data_dir) = std::env::var_os(CHILD_DATA) else { return };
    let kill_after: u64 = std::env::var(format!("{CHILD_DATA}_KILL")).unwrap().parse().unwrap();
    let (mut merger, mut writers, _) = open(Path::new(&data_dir), 2);
    for number in 0..kill_after {
        writers[number as usize % 2].append_line(line(number).as_bytes()).unwrap();
        if number % 7 == 0 {
            tick(&mut merger);
        }
    }
    signal_hook::low_level::raise(signal_hook::consts::SIGKILL).unwrap();
}

#[test]
fn a_killed_process_leaves_every_record_to_the_next_one() {
    for records in [1, 8, 9, 100] {
        let home = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::usage::tests::child_that_is_killed_while_it_merges"])
            .env(CHILD_DATA, home.path())
            .env(format!("{CHILD_DATA}_KILL"), records.to_string())
            .output()
            .unwrap()
            .status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert_recovers(home.path(), &(0..records).collect(), "killed");
    }
}

/// What a simulated run does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append {
        core: usize,
        records: u64,
    },
    Tick {
        space: Option<u64>,
        sync_fails: bool,
        truncate_fails: bool,
        /// Whether the sync ends before anything else happens.
        waits: bool,
    },
    NextDay,
    Crash {
        cores: usize,
    },
    /// A copy of the folder is recovered elsewhere; the run goes on.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![3 => Just(None), 1 => (0..2_000_u64).prop_map(Some)];
    let rarely = || prop::bool::weighted(0.15);
    prop_oneof![
        4 => (0..2_usize, 0..20_u64).prop_map(|(core, records)| Step::Append { core, records }),
        4 => (fault, rarely(), rarely(), prop::bool::ANY).prop_map(
            |(space, sync_fails, truncate_fails, waits)| Step::Tick { space, sync_fails, truncate_fails, waits }
        ),
        1 => Just(Step::NextDay),
        1 => (1..4_usize).prop_map(|cores| Step::Crash { cores }),
        1 => Just(Step::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_history_of_faults_and_crashes_loses_or_doubles_a_record(steps in prop::collection::vec(step(), 1..30)) {
        let home = tempfile::tempdir().unwrap();
        let (mut merger, mut writers, _) = open(home.path(), 2);
        let (mut number, mut unix_ms, mut now) = (0, NOON_MS, crate::clock::now());
        // What the files held when the process started, and what it was told since.
        let (mut before, mut first, mut told) = (vec![], 0, Told::default());
        for step in steps {
            match step {
                Step::Append { core, records } => {
                    let cores = writers.len();
                    for _ in 0..records {
                        put(&mut writers[core % cores], number);
                        number += 1;
                    }
                }
                Step::Tick { space, sync_fails, truncate_fails, waits } => {
                    *merger.faults() = segment::Faults { space, sync: sync_fails, truncate: truncate_fails, stall: None };
                    now += Duration::from_millis(400);
                    let mut stats = merger.tick(now, unix_ms, &mut told);
                    if waits {
                        merger.wait_for_sync(now, unix_ms, &mut told, &mut stats);
                    }
                }
                Step::NextDay => unix_ms += DAY_MS,
                Step::Crash { cores } => {
                    drop((merger, writers));
                    (merger, writers, _) = open(home.path(), cores);
                    (before, first, told) = (stored(home.path()), number, Told::default());
                }
                Step::Look => assert_recovers(home.path(), &(0..number).collect(), "look"),
            }
            prop_assert!(writers.iter().all(|writer| writer.spill_bytes() == 0), "the ring is large enough");
        }
        assert_recovers(home.path(), &(0..number).collect(), "at the end");
        *merger.faults() = segment::Faults::default();
        now += Duration::from_secs(5);
        let stats = merger.finish(now, unix_ms, &mut told);
        prop_assert!(!stats.degraded && merger.waiting_bytes() == 0);
        told.seen.sort_unstable();
        prop_assert_eq!(told.seen, (first..number).collect::<Vec<_>>(), "seen");
        before.append(&mut told.stored);
        before.sort_unstable();
        prop_assert_eq!(before, (0..number).collect::<Vec<_>>(), "stored");
        prop_assert_eq!(told.lines, 0, "facts are there");
    }
}
