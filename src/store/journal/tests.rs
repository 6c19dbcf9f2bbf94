//! The journal under crashes, power cuts, full rings and two threads.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::limits::{JOURNAL_BYTES_MIN, JOURNAL_SPILL_BYTES_MAX, RECORD_BYTES_MAX};

const HEADER: usize = 4096;

fn open(path: &Path) -> (JournalWriter, JournalReader) {
    Journal::open(path, JOURNAL_BYTES_MIN).unwrap().0.split()
}

fn drain(reader: &mut JournalReader) -> (Vec<String>, Drained) {
    let mut out = vec![];
    let drained = reader.drain(&mut out, &mut vec![]);
    (String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), drained)
}

/// Writes a journal as version 1 had them.
pub(crate) fn write_version_1(path: &Path, lines: &[String]) {
    drop(Journal::open(path, JOURNAL_BYTES_MIN).unwrap());
    let mut file = fs::read(path).unwrap();
    file[8] = 1;
    let mut position = 0;
    for line in lines {
        let (at, head) = (HEADER + position, frame::frame_head(line.as_bytes(), position as u64));
        file[at..at + 8].copy_from_slice(&head);
        file[at + 8..at + 8 + line.len()].copy_from_slice(line.as_bytes());
        position += (8 + line.len()).next_multiple_of(8);
    }
    file[128..136].copy_from_slice(&(position as u64).to_le_bytes());
    file[256..264].fill(0);
    fs::write(path, file).unwrap();
}

fn line(number: usize) -> String {
    format!("{{\"id\":\"{number}\",\"pad\":\"{}\"}}", "x".repeat(number * 7 % 900))
}

#[test]
fn records_come_out_in_order_and_once() {
    let home = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = open(&home.path().join("core-0.jnl"));
    for number in 0..100 {
        writer.append_line(line(number).as_bytes()).unwrap();
    }
    let (lines, drained) = drain(&mut reader);
    assert_eq!(lines, (0..100).map(line).collect::<Vec<_>>());
    assert_eq!((drained.records, drained.corrupt), (100, 0));
    assert!(drain(&mut reader).0.is_empty());
    reader.rollback();
    assert_eq!(drain(&mut reader).0.len(), 100, "what was not committed is given again");
    reader.commit_merged(reader.drained());
    reader.rollback();
    assert!(drain(&mut reader).0.is_empty());
    assert!(reader.is_empty());
}

#[test]
fn only_the_last_drain_is_undone() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    writer.append_line(b"{\"id\":1}").unwrap();
    drain(&mut reader);
    writer.append_line(b"{\"id\":2}").unwrap();
    for _ in 0..2 {
        assert_eq!(drain(&mut reader).0, ["{\"id\":2}"]);
        reader.undo_drain();
    }
    drain(&mut reader);
    reader.commit_merged(reader.drained());
    reader.undo_drain();
    assert!(reader.is_empty() && !reader.has_uncommitted());
}

#[test]
fn many_laps_lose_and_repeat_nothing() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    let mut next = 0;
    for round in 0..500 {
        let first = next;
        for _ in 0..round % 90 {
            writer.append_line(line(next).as_bytes()).unwrap();
            next += 1;
        }
        let (lines, drained) = drain(&mut reader);
        assert_eq!(lines, (first..next).map(line).collect::<Vec<_>>(), "round {round}");
        assert_eq!(drained.corrupt, 0);
        reader.commit_merged(reader.drained());
    }
    assert_eq!(writer.counts(), JournalCounts { written: next as u64, spilled: 0, lost: 0 });
}

#[test]
fn a_full_ring_spills_then_loses_and_recovers_in_order() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    let record = vec![b'r'; 10_000];
    let mut taken = 0_u64;
    while writer.append_line(&record).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, (JOURNAL_BYTES_MIN / 10_104 + JOURNAL_SPILL_BYTES_MAX / 10_096) as u64);
    assert!(!writer.accepts());
    assert_eq!(writer.counts().lost, 1);
    let mut seen = 0;
    while seen < taken {
        let (lines, _) = drain(&mut reader);
        assert!(!lines.is_empty());
        seen += lines.len() as u64;
        reader.commit_merged(reader.drained());
        writer.tick();
    }
    assert_eq!(seen, taken);
    assert!(writer.accepts() && writer.tick());
    assert_eq!(writer.counts().written, taken);
    assert_eq!(writer.spill_bytes(), 0);
}

#[test]
fn a_record_that_is_too_long_is_counted_as_lost_and_blocks_nothing() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    assert_eq!(writer.append_line(&vec![b'x'; RECORD_BYTES_MAX + 1]), Err(JournalFull));
    assert_eq!(writer.append_line(b""), Err(JournalFull));
    writer.append_line(&vec![b'x'; RECORD_BYTES_MAX]).unwrap();
    writer.append_line(b"{}").unwrap();
    assert_eq!(drain(&mut reader).1.records, 2);
    assert_eq!(writer.counts().lost, 2);
}

#[test]
fn the_longest_record_fits_wherever_the_ring_stands() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    for before in (0..JOURNAL_BYTES_MIN).step_by(8 * 1024) {
        for bytes in [before % RECORD_BYTES_MAX + 1, RECORD_BYTES_MAX] {
            writer.append_line(&vec![b'x'; bytes]).unwrap();
            assert_eq!(writer.spill_bytes(), 0, "{before}");
            assert_eq!(drain(&mut reader).1.records, 1);
            reader.commit_merged(reader.drained());
        }
    }
}

#[test]
fn facts_come_out_with_their_records() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    let mut expected = vec![];
    for number in 0..1_000 {
        let facts = Facts { input: number, output: number * 2, ..Facts::default() };
        writer.append(&facts, |entry| entry.extend_from_slice(line(number as usize).as_bytes())).unwrap();
        expected.push(facts);
        if number % 50 == 49 {
            let (mut lines, mut records) = (vec![], vec![]);
            reader.drain(&mut lines, &mut records);
            reader.commit_merged(reader.drained());
            let found: Vec<_> = records.iter().filter_map(|record| record.facts).collect();
            assert_eq!(found, expected);
            assert_eq!(records.iter().map(|record| record.line_bytes).sum::<usize>(), lines.len());
            assert!(records.is_sorted_by_key(|record| record.position));
            expected.clear();
        }
    }
}

#[test]
fn what_found_no_room_until_the_end_is_counted_as_lost() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    for _ in 0..20 {
        writer.append_line(&[b'r'; 10_000]).unwrap();
    }
    let written = drain(&mut reader).1.records;
    assert_eq!((writer.give_up(), writer.counts().lost), (20 - written, 20 - written));
    assert!(writer.tick() && writer.spill_bytes() == 0);
}

#[test]
fn an_opened_journal_gives_what_the_last_process_left() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal/core-0.jnl");
    let (mut writer, mut reader) = open(&path);
    for number in 0..10 {
        writer.append_line(line(number).as_bytes()).unwrap();
    }
    drain(&mut reader);
    reader.commit_merged(reader.drained());
    for number in 10..20 {
        writer.append_line(line(number).as_bytes()).unwrap();
    }
    drain(&mut reader);
    drop((writer, reader));
    let (mut writer, mut reader) = open(&path);
    writer.append_line(line(20).as_bytes()).unwrap();
    assert_eq!(drain(&mut reader).0, (10..21).map(line).collect::<Vec<_>>());
}

#[test]
fn a_record_complete_but_not_announced_is_found_again() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("core-0.jnl");
    let (mut writer, reader) = open(&path);
    writer.append_line(b"{\"id\":1}").unwrap();
    let before = fs::read(&path).unwrap();
    writer.append_line(b"{\"id\":2}").unwrap();
    writer.append_line(b"{\"id\":3}").unwrap();
    drop((writer, reader));
    // The header's page is old, the ring's pages are new.
    let mut mixed = fs::read(&path).unwrap();
    mixed[..HEADER].copy_from_slice(&before[..HEADER]);
    fs::write(&path, mixed).unwrap();
    let (_, mut reader) = open(&path);
    assert_eq!(drain(&mut reader).0, ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"]);
}

#[test]
fn frames_of_an_earlier_lap_never_pass_for_new_ones() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("core-0.jnl");
    let (mut writer, mut reader) = open(&path);
    // Every lap puts frames of the same size at the same places.
    let record = vec![b'a'; 1024 - 8 - 96];
    for _ in 0..3 * JOURNAL_BYTES_MIN / 1024 {
        writer.append_line(&record).unwrap();
        drain(&mut reader);
        reader.commit_merged(reader.drained());
    }
    drop((writer, reader));
    let (_, mut reader) = open(&path);
    assert_eq!(drain(&mut reader), (vec![], Drained::default()));
}

#[test]
fn damage_is_stepped_over_and_counted_at_every_place() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("core-0.jnl");
    let (mut writer, reader) = open(&path);
    let records: Vec<String> = (0..4).map(|number| format!("{{\"id\":\"record {number}\"}}")).collect();
    let mut ends = vec![];
    for record in &records {
        writer.append_line(record.as_bytes()).unwrap();
        ends.push(8 + 96 + record.len());
    }
    drop((writer, reader));
    let intact = fs::read(&path).unwrap();
    let frame = ends[0].next_multiple_of(8);
    for at in 0..frame * records.len() {
        let mut torn = intact.clone();
        torn[HEADER + at] ^= 0x40;
        fs::write(&path, &torn).unwrap();
        let (_, mut reader) = open(&path);
        let (lines, drained) = drain(&mut reader);
        let hit = at / frame;
        let padding = at % frame >= ends[0];
        let expected: Vec<_> = records
            .iter()
            .enumerate()
            .filter(|(index, _)| padding || *index != hit)
            .map(|(_, r)| r.clone())
            .collect();
        assert_eq!(lines, expected, "byte {at}");
        assert_eq!(drained.corrupt, u64::from(!padding), "byte {at}");
    }
}

#[test]
fn a_file_cut_short_gives_what_is_left_of_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("core-0.jnl");
    let (mut writer, reader) = open(&path);
    for number in 0..50 {
        writer.append_line(line(number).as_bytes()).unwrap();
    }
    drop((writer, reader));
    let intact = fs::read(&path).unwrap();
    for cut in [HEADER, HEADER + 3, HEADER + 2_000, intact.len() - 1] {
        fs::write(&path, &intact[..cut]).unwrap();
        let (mut writer, mut reader) = open(&path);
        let (lines, _) = drain(&mut reader);
        assert_eq!(lines, (0..lines.len()).map(line).collect::<Vec<_>>(), "cut at {cut}");
        reader.commit_merged(reader.drained());
        writer.append_line(b"{}").unwrap();
        assert_eq!(drain(&mut reader).0, ["{}"], "cut at {cut}");
        assert_eq!(fs::metadata(&path).unwrap().len() as usize, intact.len());
    }
}

#[test]
fn what_is_no_journal_is_moved_aside_and_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("core-0.jnl");
    drop(open(&path));
    let good = fs::read(&path).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        ("empty", vec![]),
        ("text", b"hello".to_vec()),
        ("another version", with(8, 9)),
        ("an odd capacity", with(16, 1)),
        ("counters that contradict each other", with(128 + 6, 1)),
        ("a header cut short", good[..200].to_vec()),
    ];
    for (number, (name, bytes)) in cases.into_iter().enumerate() {
        fs::write(&path, &bytes).unwrap();
        let (journal, found) = Journal::open(&path, JOURNAL_BYTES_MIN).unwrap();
        let Found::Foreign { moved_to } = found else { panic!("{name}: {found:?}") };
        assert_eq!(fs::read(&moved_to).unwrap(), bytes, "{name}");
        assert_eq!(moved_to.to_string_lossy().ends_with(".damaged"), number == 0, "{name}");
        let (mut writer, mut reader) = journal.split();
        writer.append_line(b"{}").unwrap();
        assert_eq!(drain(&mut reader).0, ["{}"], "{name}");
    }
}

#[test]
fn a_journal_is_for_its_owner_alone_and_has_its_blocks() {
    use std::os::unix::fs::MetadataExt;

    let home = tempfile::tempdir().unwrap();
    let path = journal_path(home.path(), 3);
    drop(open(&path));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(metadata.blocks() * 512 >= (HEADER + JOURNAL_BYTES_MIN) as u64, "every block is reserved");
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(journal_paths(home.path()).unwrap(), [path]);
}

#[test]
fn two_threads_pass_every_record_in_order() {
    let (mut writer, mut reader) = Journal::volatile(JOURNAL_BYTES_MIN).unwrap().split();
    const RECORDS: usize = 20_000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..RECORDS {
                let record = line(number);
                while writer.spill_bytes() > 0 && !writer.tick() {
                    std::thread::yield_now();
                }
                writer.append_line(record.as_bytes()).unwrap();
            }
            while !writer.tick() {
                std::thread::yield_now();
            }
        });
        let mut next = 0;
        while next < RECORDS {
            let (lines, drained) = drain(&mut reader);
            assert_eq!(drained.corrupt, 0);
            for record in lines {
                assert_eq!(record, line(next));
                next += 1;
            }
            reader.commit_merged(reader.drained());
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_snapshot_shows_what_waits_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("core-0.jnl");
    let (mut writer, mut reader) = open(&path);
    writer.append_line(b"{\"id\":1}").unwrap();
    drain(&mut reader);
    reader.commit_merged(reader.drained());
    writer.append_line(b"{\"id\":2}").unwrap();
    for _ in 0..2 {
        let snapshot = read_snapshot(&path).unwrap();
        assert_eq!(snapshot.lines, b"{\"id\":2}\n");
    }
    assert_eq!(drain(&mut reader).0, ["{\"id\":2}"]);
    fs::write(home.path().join("core-1.jnl"), "junk").unwrap();
    assert_eq!(read_snapshot(&home.path().join("core-1.jnl")).unwrap().drained.corrupt, 1);
}

/// Names the journal that the child process of the next test is to fill.
const CHILD_JOURNAL: &str = "ROUTERLY_TEST_CHILD_JOURNAL";
/// And the number of records after which it kills itself.
const CHILD_RECORDS: &str = "ROUTERLY_TEST_CHILD_RECORDS";

#[test]
fn child_that_is_killed_while_it_appends() {
    let Some(path) = std::env::var_os(CHILD_JOURNAL) else { return };
    let records: usize = std::env::var(CHILD_RECORDS).unwrap().parse().unwrap();
    let (mut writer, mut reader) = open(Path::new(&path));
    for number in 0..records {
        writer.append_line(line(number).as_bytes()).unwrap();
        if number == records / 2 {
            drain(&mut reader);
            reader.commit_merged(reader.drained());
        }
    }
    signal_hook::low_level::raise(signal_hook::consts::SIGKILL).unwrap();
}

#[test]
fn records_survive_a_kill_of_the_process_that_appended_them() {
    for records in [1, 2, 150, 250] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("core-0.jnl");
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::journal::tests::child_that_is_killed_while_it_appends", "--nocapture"])
            .env(CHILD_JOURNAL, &path)
            .env(CHILD_RECORDS, records.to_string())
            .output()
            .unwrap()
            .status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "the child kills itself");
        let (_, mut reader) = open(&path);
        let expected: Vec<_> = (records / 2 + 1..records).map(line).collect();
        assert_eq!(drain(&mut reader).0, expected, "{records} records");
    }
}

proptest! {
    #[test]
    fn any_ring_content_is_read_without_panic_and_without_inventing_records(
        noise in prop::collection::vec(any::<u8>(), 0..4_096), at in 0..8_192_usize,
    ) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("core-0.jnl");
        let (mut writer, reader) = open(&path);
        let records: Vec<String> = (0..30).map(line).collect();
        for record in &records {
            writer.append_line(record.as_bytes()).unwrap();
        }
        drop((writer, reader));
        let mut file = fs::read(&path).unwrap();
        file[HEADER + at..HEADER + at + noise.len()].copy_from_slice(&noise);
        fs::write(&path, file).unwrap();
        let (_, mut reader) = open(&path);
        for found in drain(&mut reader).0 {
            prop_assert!(records.contains(&found));
        }
    }

    #[test]
    fn any_header_is_opened_or_moved_aside(noise in prop::collection::vec(any::<u8>(), 1..64), at in 0..300_usize) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("core-0.jnl");
        drop(open(&path));
        let mut file = fs::read(&path).unwrap();
        file[at..at + noise.len()].copy_from_slice(&noise);
        fs::write(&path, file).unwrap();
        let (mut writer, mut reader) = open(&path);
        drain(&mut reader);
        reader.commit_merged(reader.drained());
        writer.append_line(b"{}").unwrap();
        prop_assert_eq!(drain(&mut reader).0, ["{}"]);
    }
}
