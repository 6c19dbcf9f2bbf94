//! Kept responses over real directories.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::secret::tests::keys;

const DAY: u64 = DAY_MS;

fn id(ms: u64, number: u16) -> String {
    format!("resp_{ms:012x}7000800000000000{number:04x}")
}

fn store(directory: &Path, days: u64, bytes_max: u64) -> ResponseStore {
    ResponseStore::open(
        directory,
        Arc::new(keys(1)),
        ResponsesSettings { days, bytes_max, project_bytes_max: bytes_max },
    )
    .unwrap()
}

fn turn(id: &str, previous: Option<&str>, input: &str, output: &str) -> Turn {
    Turn {
        id: id.to_owned(),
        project: "p1".to_owned(),
        previous: previous.map(str::to_owned),
        input: input.to_owned(),
        response: format!("{{\"id\":\"{id}\",\"output\":{output},\"n\":1.50}}"),
    }
}

#[test]
fn a_conversation_is_found_again_after_a_restart_by_its_project_only() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (id(20 * DAY, 1), id(20 * DAY + 5, 2));
    let mut kept = store(home.path(), 30, 1 << 20);
    kept.keep(&turn(&first, None, "[\"q1\"]", "[\"a1\", \"a2\"]"), 20 * DAY).unwrap();
    kept.keep(&turn(&second, Some(&first), "[\"q2\"]", "[]"), 20 * DAY).unwrap();
    let bytes = kept.bytes();

    let kept = store(home.path(), 30, 1 << 20);
    assert_eq!(kept.bytes(), bytes);
    assert_eq!(kept.history(&second, "p1", 20 * DAY).unwrap(), "\"q1\",\"a1\",\"a2\",\"q2\"");
    let (response, input) = kept.find(&first, "p1", 20 * DAY).unwrap();
    assert_eq!(response, turn(&first, None, "", "[\"a1\", \"a2\"]").response, "byte by byte");
    assert_eq!(input, "[\"q1\"]");
    assert_eq!(kept.find(&first, "p2", 20 * DAY).unwrap_err().missing(), Missing::Unknown);

    let file = kept.path(&first, "p1").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("[\"q1\"]"), "it is encrypted");
}

#[test]
fn what_is_deleted_damaged_or_too_old_is_unknown() {
    let home = tempfile::tempdir().unwrap();
    let ids = [id(20 * DAY, 1), id(20 * DAY, 2), id(20 * DAY, 3), id(52 * DAY, 4)];
    let mut kept = store(home.path(), 30, 1 << 20);
    for id in &ids[..3] {
        kept.keep(&turn(id, None, "[]", "[]"), 20 * DAY).unwrap();
    }
    kept.delete(&ids[0], "p1", 20 * DAY).unwrap();
    fs::write(kept.path(&ids[1], "p1").unwrap(), "ENCRYPTED:v1:AAAA").unwrap();
    for (id, now) in [(&ids[0], 20 * DAY), (&ids[1], 20 * DAY), (&ids[2], 51 * DAY)] {
        assert_eq!(kept.find(id, "p1", now).unwrap_err().missing(), Missing::Unknown, "{id}");
        assert_eq!(kept.history(id, "p1", now).unwrap_err().missing(), Missing::Unknown);
        assert_eq!(kept.delete(id, "p1", now).unwrap_err().missing(), Missing::Unknown);
    }
    assert!(kept.find(&ids[2], "p1", 50 * DAY).is_ok());
    for foreign in [
        "",
        "resp_",
        "resp_abc",
        "resp_0123456789ab4cde8000000000000000",
        "../../etc/passwd",
        "resp_../0000000000000000000000000000",
        &ids[2][1..],
    ] {
        assert_eq!(kept.find(foreign, "p1", 20 * DAY).unwrap_err().missing(), Missing::Unknown, "{foreign}");
    }
    kept.keep(&turn(&ids[3], None, "[]", "[]"), 52 * DAY).unwrap();
    assert!(!home.path().join("responses/20").exists(), "a day that has expired goes as a whole");
}

#[test]
fn the_oldest_make_room() {
    let home = tempfile::tempdir().unwrap();
    let mut kept = store(home.path(), 30, 4_000);
    let ids: Vec<String> = (0..40).map(|number| id((20 + u64::from(number) / 10) * DAY, number)).collect();
    for id in &ids {
        kept.keep(&turn(id, None, "[\"0123456789012345678901234567890123456789\"]", "[]"), 23 * DAY).unwrap();
        assert!(kept.bytes() <= 4_000);
        assert!(kept.find(id, "p1", 23 * DAY).is_ok(), "the newest is there");
    }
    let there: Vec<bool> = ids.iter().map(|id| kept.find(id, "p1", 23 * DAY).is_ok()).collect();
    let first = there.iter().position(|there| *there).unwrap();
    assert!(first > 20 && there[first..].iter().all(|there| *there));
    assert_eq!(kept.bytes(), store(home.path(), 30, 4_000).bytes());
}

#[test]
fn one_that_is_too_large_removes_no_other_and_files_may_vanish() {
    let home = tempfile::tempdir().unwrap();
    let mut kept = store(home.path(), 30, 4_000);
    let first = id(20 * DAY, 1);
    kept.keep(&turn(&first, None, "[]", "[]"), 20 * DAY).unwrap();
    let large = format!("[\"{}\"]", "x".repeat(4_000));
    let refused = kept.keep(&turn(&id(20 * DAY, 2), None, &large, "[]"), 20 * DAY).unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge(_)));
    assert!(kept.find(&first, "p1", 20 * DAY).is_ok());

    let medium = format!("[\"{}\"]", "x".repeat(1_000));
    for number in 3..30 {
        let id = id(20 * DAY, number);
        kept.keep(&turn(&id, None, &medium, "[]"), 20 * DAY).unwrap();
        assert!(kept.find(&id, "p1", 20 * DAY).is_ok());
        fs::remove_dir_all(home.path().join("responses")).unwrap();
    }
    assert!(kept.bytes() <= 4_000);
}

#[test]
fn a_conversation_that_is_too_long_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut kept = store(home.path(), 30, 1 << 30);
    let mut previous: Option<String> = None;
    for number in 0..=CONVERSATION_TURNS_MAX {
        let id = id(20 * DAY, u16::try_from(number).unwrap());
        kept.keep(&turn(&id, previous.as_deref(), "[]", "[]"), 20 * DAY).unwrap();
        let history = kept.history(&id, "p1", 20 * DAY);
        if number < CONVERSATION_TURNS_MAX {
            // Each look walks the whole chain: a sample is enough.
            assert!(number % 250 != 0 || history.is_ok());
        } else {
            assert_eq!(history.unwrap_err().missing(), Missing::TooLong);
        }
        previous = Some(id);
    }
}

#[test]
fn what_is_no_json_is_not_kept() {
    let home = tempfile::tempdir().unwrap();
    let mut kept = store(home.path(), 30, 1 << 20);
    let mut broken = turn(&id(20 * DAY, 1), None, "[", "[]");
    assert!(kept.keep(&broken, 20 * DAY).is_err());
    broken.id = "resp_x".to_owned();
    assert!(kept.keep(&broken, 20 * DAY).is_err());
    assert_eq!(kept.bytes(), 0);
}

#[test]
fn a_project_that_keeps_much_makes_room_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let bounds = ResponsesSettings { days: 30, bytes_max: 100_000, project_bytes_max: 4_000 };
    let mut kept = ResponseStore::open(home.path(), Arc::new(keys(1)), bounds).unwrap();
    let other = Turn { project: "p2".to_owned(), ..turn(&id(20 * DAY, 1), None, "[]", "[]") };
    kept.keep(&other, 20 * DAY).unwrap();
    let ids: Vec<String> = (2..40).map(|number| id(20 * DAY, number)).collect();
    for id in &ids {
        kept.keep(&turn(id, None, "[\"0123456789012345678901234567890123456789\"]", "[]"), 20 * DAY).unwrap();
        assert!(kept.find(id, "p1", 20 * DAY).is_ok(), "the newest is there");
    }
    assert!(kept.find(&ids[0], "p1", 20 * DAY).is_err(), "its oldest is not");
    assert!(kept.find(&other.id, "p2", 20 * DAY).is_ok(), "the other project's is, older as it is");
    let own = |kept: &ResponseStore| kept.project_bytes[&mark_of("p1")];
    assert!(own(&kept) <= 4_000);
    let again = ResponseStore::open(home.path(), Arc::new(keys(1)), bounds).unwrap();
    assert_eq!((own(&again), again.bytes()), (own(&kept), kept.bytes()));
    let large = format!("[\"{}\"]", "x".repeat(4_000));
    let refused = kept.keep(&turn(&id(20 * DAY, 50), None, &large, "[]"), 20 * DAY).unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge(_)));
}

#[test]
fn what_was_written_is_named_once_to_be_synced() {
    let home = tempfile::tempdir().unwrap();
    let mut kept = store(home.path(), 30, 1 << 20);
    let id = id(20 * DAY, 1);
    kept.keep(&turn(&id, None, "[]", "[]"), 20 * DAY).unwrap();
    assert_eq!(kept.take_unsynced(), [kept.path(&id, "p1").unwrap()]);
    assert!(kept.take_unsynced().is_empty());
}
