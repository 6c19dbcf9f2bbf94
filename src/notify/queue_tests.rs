//! The queue over virtual time, crashes and damage.

use proptest::prelude::*;

use super::*;
use crate::notify::event::test_notice;

fn notice(id: &str, at_ms: u64) -> Notice {
    test_notice(id.to_owned(), at_ms)
}

fn open(data: &Path) -> Queue {
    let (queue, error) = Queue::open(data);
    assert!(error.is_none(), "{error:?}");
    queue
}

fn add(queue: &mut Queue, id: &str, channels: &[&str], now_ms: u64) -> Taken {
    let channels = channels.iter().map(|channel| (*channel).to_owned()).collect();
    let (taken, written) = queue.add(notice(id, now_ms), channels, now_ms);
    written.unwrap();
    taken
}

/// What waits, in no order: id, channel, attempts, due.
fn waiting(queue: &Queue) -> Vec<(String, String, u32, u64)> {
    let mut waiting: Vec<_> = queue
        .waiting
        .iter()
        .map(|one| (one.notice.id.clone(), one.channel.clone(), one.attempts, one.due_ms))
        .collect();
    waiting.sort();
    waiting
}

#[test]
fn what_is_taken_in_is_there_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    assert!(!queue.path.exists(), "nothing is made before something is to be told");
    assert_eq!(add(&mut queue, "a", &["mail", "hook"], 1_000), Taken::Waiting);
    assert_eq!(add(&mut queue, "b", &["mail"], 2_000), Taken::Waiting);
    queue.done("a", "hook").unwrap();
    let (retry, written) = queue.failed("a", "mail", false, 3_000, 0);
    written.unwrap();
    assert_eq!(retry, Retry::At(8_000));
    let before = waiting(&queue);
    // No close: the process is gone.
    std::mem::forget(queue);
    let mut queue = open(home.path());
    assert_eq!(waiting(&queue), before);
    assert_eq!(before.len(), 2);
    assert_eq!(add(&mut queue, "a", &["mail"], 4_000), Taken::Known);
    queue.done("a", "mail").unwrap();
    queue.done("b", "mail").unwrap();
    let mut queue = open(home.path());
    assert_eq!(queue.len(), 0);
    assert_eq!(add(&mut queue, "b", &["mail"], 5_000), Taken::Known, "once per event, over restarts");
}

#[test]
fn what_is_due_for_longest_comes_first_and_waits_grow() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    add(&mut queue, "late", &["x"], 2_000);
    add(&mut queue, "soon", &["x"], 1_000);
    assert_eq!(queue.due(999), None);
    assert_eq!(queue.due(5_000).unwrap().notice.id, "soon");
    queue.put_off("soon", "x", 9_000);
    assert_eq!(queue.due(5_000).unwrap().notice.id, "late");
    assert_eq!(queue.next_due_ms(), Some(2_000));
    queue.done("late", "x").unwrap();

    let (mut now_ms, mut waits) = (9_000, Vec::new());
    loop {
        let (retry, written) = queue.failed("soon", "x", false, now_ms, u64::MAX / 3);
        written.unwrap();
        match retry {
            Retry::At(at) => {
                waits.push(at - now_ms);
                now_ms = at;
            }
            Retry::GivenUp => break,
        }
    }
    assert_eq!(waits.len() as u32, NOTIFY_ATTEMPTS_MAX - 1);
    assert!(waits[0] >= 5_000 && waits[0] <= 10_000, "{waits:?}");
    assert!(waits[14] >= 1_800_000 && waits[14] <= 3_600_000, "{waits:?}");
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_final_failure_is_given_up_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    add(&mut queue, "a", &["x"], 0);
    assert_eq!(queue.failed("a", "x", true, 5, 0).0, Retry::GivenUp);
    assert_eq!(open(home.path()).len(), 0);
}

#[test]
fn there_is_a_bound_and_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    // Without its file, which would only take time.
    queue.path = "/nonexistent/x".into();
    for number in 0..NOTICES_WAITING_MAX {
        assert_eq!(queue.add(notice(&number.to_string(), 0), vec!["x".to_owned()], 0).0, Taken::Waiting);
    }
    assert_eq!(queue.add(notice("more", 0), vec!["x".to_owned()], 0).0, Taken::Full);
    queue.waiting.pop();
    assert_eq!(queue.add(notice("more", 0), vec!["x".to_owned()], 0).0, Taken::Waiting, "it was not known");
    for number in 0..NOTICES_KNOWN_MAX + 5 {
        queue.know(&format!("k{number}"));
    }
    assert_eq!((queue.known.len(), queue.order.len()), (NOTICES_KNOWN_MAX, NOTICES_KNOWN_MAX));
}

#[test]
fn torn_and_damaged_lines_cost_only_themselves() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    add(&mut queue, "a", &["x"], 1);
    add(&mut queue, "b", &["x"], 2);
    let path = queue.path.clone();
    let whole = std::fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let ends = [second - 1, second, second + 1, second + 2, whole.len() - 2, whole.len() - 1, whole.len()];
    for cut in (0..whole.len()).step_by(17).chain(ends) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let complete = usize::from(cut == whole.len() - 1);
        let queue = open(home.path());
        // A line that is only without its end counts: it can be read.
        let first_without_end = usize::from(cut == second);
        assert_eq!(queue.len(), lines + complete + first_without_end, "cut at {cut}");
    }
    let mut damaged = b"\xff\x00{]\n".to_vec();
    damaged.extend_from_slice(&whole);
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(open(home.path()).len(), 2);
}

#[test]
fn a_disk_that_does_not_take_it_keeps_nothing_from_being_sent() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    let place = home.path().join("notifications.jsonl");
    std::fs::create_dir(&place).unwrap();
    let (taken, written) = queue.add(notice("a", 0), vec!["x".to_owned()], 0);
    assert_eq!(taken, Taken::Waiting);
    assert!(written.is_err());
    assert_eq!(queue.due(0).unwrap().notice.id, "a");
    // It is written with the next one, once that is possible.
    std::fs::remove_dir(&place).unwrap();
    add(&mut queue, "b", &["x"], 0);
    assert_eq!(open(home.path()).len(), 2);
}

#[test]
fn the_file_does_not_grow_with_what_is_over() {
    let home = tempfile::tempdir().unwrap();
    let mut queue = open(home.path());
    add(&mut queue, "stays", &["x"], 0);
    queue.bytes = COMPACT_BYTES - 2_000;
    for number in 0..20 {
        let id = format!("n{number}");
        add(&mut queue, &id, &["x"], 0);
        queue.done(&id, "x").unwrap();
    }
    let lines = std::fs::read_to_string(&queue.path).unwrap();
    assert!(lines.lines().filter(|line| line.starts_with("{\"known\"")).count() > 3, "{lines}");
    let queue = open(home.path());
    assert_eq!((queue.len(), queue.known.len()), (1, 21));
}

proptest! {
    // Each step waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens, and wherever the process ends, the next one has the same before it.
    #[test]
    fn a_restart_changes_nothing(steps in proptest::collection::vec((0_u8..5, 0_usize..6, 0_u64..50), 1..40)) {
        let home = tempfile::tempdir().unwrap();
        let mut queue = open(home.path());
        for (now_ms, (what, which, draw)) in steps.into_iter().enumerate() {
            let (id, now_ms) = (format!("n{which}"), now_ms as u64 * 1_000);
            match what {
                0 => { add(&mut queue, &id, &["x", "y"], now_ms); }
                1 => { queue.done(&id, "x").unwrap(); }
                2 => { queue.failed(&id, "y", draw == 0, now_ms, draw).1.unwrap(); }
                3 => queue.rewrite().unwrap(),
                _ => {
                    let before = waiting(&queue);
                    queue = open(home.path());
                    prop_assert_eq!(waiting(&queue), before);
                }
            }
        }
    }

    #[test]
    fn waits_stay_within_their_bounds(attempts in 1_u32..100, draw in any::<u64>()) {
        let wait = retry_wait_ms(attempts, draw);
        prop_assert!((RETRY_BASE_MS / 2..=RETRY_MAX_MS).contains(&wait));
    }
}
