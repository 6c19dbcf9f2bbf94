//! Kept traces over real directories.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::Settings;
use crate::store::secret::tests::keys;
use crate::telemetry::ids::TraceIds;

const NOW: u64 = 20_000 * DAY_MS;
const MIB: u64 = 1 << 20;

fn bounds(bytes_max: u64, days: u64) -> TracesSettings {
    TracesSettings { bytes_max, days, ..Settings::default().traces }
}

fn store(data: &Path) -> TraceStore {
    TraceStore::open(data, bounds(64 * MIB, 7), true).unwrap()
}

/// A line of about `bytes` bytes for a request of that moment.
fn line(unix_ms: u64, number: u8, bytes: usize) -> (TraceId, Vec<u8>) {
    let id = TraceIds::from_seed([number; 32]).next(unix_ms);
    let text = format!("{LINE_START}{id}\",\"trace\":[\"{}\"]}}", "x".repeat(bytes));
    (id, text.into_bytes())
}

fn has(data: &Path, (id, text): &(TraceId, Vec<u8>)) -> bool {
    match find(data, *id).unwrap() {
        Some(found) => {
            assert_eq!(found.as_bytes(), text);
            true
        }
        None => false,
    }
}

fn names(data: &Path) -> Vec<String> {
    let files = list(&directory(data)).unwrap();
    let mut names: Vec<String> =
        files.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_trace_is_found_at_once_and_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let unknown = line(NOW, 9, 10);
    assert!(!has(home.path(), &unknown), "before there is a directory");
    let lines = [line(NOW, 1, 10), line(NOW + 5, 2, 10)];
    let mut kept = store(home.path());
    kept.append(&lines, NOW + 9).unwrap();
    assert!(lines.iter().all(|line| has(home.path(), line)) && !has(home.path(), &unknown));
    let (path, _) = list(&directory(home.path())).unwrap().remove(0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    kept.close().unwrap();
    assert_eq!(names(home.path()), [format!("{NOW}-{}.{}.jsonl", NOW + 5, std::process::id())]);

    // Another one of the same times gets a name of its own; a request that took long is found by its beginning.
    let late = [line(NOW - 600_000, 3, 10), line(NOW + 5, 4, 10)];
    let mut kept = store(home.path());
    kept.append(&lines[..1], NOW + 20).unwrap();
    kept.close().unwrap();
    kept.append(&lines[..1], NOW + 20).unwrap();
    kept.close().unwrap();
    kept.append(&late, NOW + 20).unwrap();
    kept.close().unwrap();
    assert_eq!(names(home.path()).len(), 4);
    assert!(late.iter().chain(&lines).all(|line| has(home.path(), line)));
    // Nothing was written: nothing is left.
    store(home.path()).close().unwrap();
    assert_eq!(names(home.path()).len(), 4);
}

#[test]
fn what_a_crash_left_is_taken_in_without_its_torn_end() {
    let home = tempfile::tempdir().unwrap();
    let (whole, torn) = (line(NOW, 1, 100), line(NOW + 1, 2, 100));
    let root = directory(home.path());
    fs::create_dir_all(&root).unwrap();
    let text = [&whole.1[..], b"\n", b"no trace\n", &torn.1[..50]].concat();
    fs::write(root.join("open.1.jsonl"), &text).unwrap();
    fs::write(root.join("open.2.jsonl"), &torn.1[..60]).unwrap();

    // While the other process may live its files are left alone, and looked into.
    drop(TraceStore::open(home.path(), bounds(MIB, 7), false).unwrap());
    assert_eq!(names(home.path()), ["open.1.jsonl", "open.2.jsonl"]);
    assert!(has(home.path(), &whole) && !has(home.path(), &torn));

    let mut kept = store(home.path());
    let name = format!("{NOW}-{NOW}.{}.jsonl", std::process::id());
    assert_eq!(names(home.path()), [name.as_str()]);
    assert!(fs::read(root.join(name)).unwrap().ends_with(b"no trace\n"));
    kept.append(std::slice::from_ref(&torn), NOW + 2).unwrap();
    assert!(has(home.path(), &whole) && has(home.path(), &torn));

    // The own file of a process that was restarted under the same number.
    drop(kept);
    drop(TraceStore::open(home.path(), bounds(MIB, 7), false).unwrap());
    assert!(names(home.path()).iter().all(|name| !name.starts_with("open")));
    assert!(has(home.path(), &torn));
}

#[test]
fn the_oldest_make_room() {
    let home = tempfile::tempdir().unwrap();
    let mut kept = TraceStore::open(home.path(), bounds(MIB, 7), true).unwrap();
    let lines: Vec<_> = (0..200_u8).map(|number| line(NOW + u64::from(number), number, 10_000)).collect();
    for chunk in lines.chunks(5) {
        kept.append(chunk, NOW + 200).unwrap();
        let bytes: u64 = list(&directory(home.path())).unwrap().iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= MIB + 60_000, "one write beyond the bound at most: {bytes}");
    }
    let found: Vec<bool> = lines.iter().map(|line| has(home.path(), line)).collect();
    let first = found.iter().position(|found| *found).unwrap();
    assert!((60..140).contains(&first), "{first}");
    assert!(found[first..].iter().all(|found| *found), "the newest are there");

    // A day on which nothing is full removes what has expired as well.
    let later = line(NOW + 9 * DAY_MS, 1, 10);
    kept.append(std::slice::from_ref(&later), NOW + 9 * DAY_MS).unwrap();
    kept.close().unwrap();
    kept.append(&[line(NOW + 9 * DAY_MS, 2, 10)], NOW + 9 * DAY_MS).unwrap();
    assert!(has(home.path(), &later));
    kept.set_bounds(bounds(MIB, 1));
    kept.append(&[line(NOW + 12 * DAY_MS, 3, 10)], NOW + 12 * DAY_MS).unwrap();
    assert!(!has(home.path(), &later));
    assert!(!has(home.path(), &lines[199]));
}

#[test]
fn an_id_inside_of_another_trace_is_not_that_trace() {
    let home = tempfile::tempdir().unwrap();
    let (id, text) = line(NOW, 1, 10);
    let other = line(NOW, 2, 10);
    let mut lying = other.1.clone();
    lying.splice(lying.len() - 1.., format!(",\"text\":{LINE_START}{id}\"}}}}").into_bytes());
    let mut kept = store(home.path());
    kept.append(&[(other.0, lying)], NOW).unwrap();
    assert_eq!(find(home.path(), id).unwrap(), None);
    kept.append(&[(id, text.clone())], NOW).unwrap();
    assert!(has(home.path(), &(id, text)));
}

#[test]
fn what_is_sealed_opens_for_its_id_with_its_keys_alone() {
    let (id, text) = line(NOW, 1, 10);
    let text = String::from_utf8(text).unwrap();
    let sealed = String::from_utf8(seal(&keys(1), id, &text).unwrap()).unwrap();
    assert!(is_sealed(&sealed) && !is_sealed(&text) && !sealed.contains("xxx"));
    assert_eq!(id_of(sealed.as_bytes()), Some(id));
    assert_eq!(unseal(&keys(1), id, sealed.clone()), Some(text.clone()));
    assert_eq!(unseal(&keys(2), id, sealed.clone()), None);
    assert_eq!(unseal(&keys(1), line(NOW, 2, 10).0, sealed), None);
    assert_eq!(unseal(&keys(2), id, text.clone()), Some(text), "what is not sealed needs no key");
}
