//! Reports against a naive recount of all records.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::limits::JOURNAL_BYTES_MIN;
use crate::store::journal::{Journal, journal_path};
use crate::store::rollup::{Restored, Rollups, SegmentRollup, Sums, rollup_path, segments};
use crate::store::usage::{LineReader, for_each_record, segments_dir, usage_path};
use crate::telemetry::text::TimestampFormatter;

/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

/// A record as the tests make it: minutes from the start, and what it names.
#[derive(Debug, Clone)]
struct Made {
    minute: u64,
    names: [u8; 4],
    outcome: usize,
    cost: u64,
}

fn made() -> impl Strategy<Value = Made> {
    (0..600_u64, prop::array::uniform4(0..3_u8), 0..3_usize, 0..1_000_u64)
        .prop_map(|(minute, names, outcome, cost)| Made { minute, names, outcome, cost })
}

fn line(number: usize, made: &Made) -> String {
    let timestamp = TimestampFormatter::default().format(START_MS + made.minute * 60_000);
    let [project, token, model, provider] = made.names;
    let outcome = Outcome::ALL[made.outcome].as_str();
    format!(
        r#"{{"id":"r{number}","timestamp":"{}","projectId":"p{project}","tokenId":"t{token}","modelId":"m\"{model}","provider":"v{provider}","callType":"completion","outcome":"{outcome}","inputTokens":{number},"cost":0.{:06},"latencyMs":{number}}}"#,
        timestamp.as_str(),
        made.cost,
    )
}

/// A home with records in segments, in the open file (half of it checkpointed) and in a journal.
fn home(records: &[Made], rolled: bool) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let data = home.path();
    fs::create_dir(segments_dir(data)).unwrap();
    let lines: Vec<String> = records.iter().enumerate().map(|(number, made)| line(number, made)).collect();
    let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let part = lines.len() / 4;
    for (index, name) in ["usage-2026-01-01.json", "usage-2026-01-01-2.json"].iter().enumerate() {
        fs::write(segments_dir(data).join(name), text(&lines[index * part..(index + 1) * part])).unwrap();
    }
    fs::write(usage_path(data), text(&lines[2 * part..3 * part])).unwrap();
    if rolled {
        let mut rollups = Rollups::open(data, &Restored::read(data).unwrap(), || ()).unwrap();
        let length = fs::metadata(usage_path(data)).unwrap().len();
        // What is read in the background is there when the last checkpoint is written; or is not, which changes nothing.
        rollups.finish(length, vec![]);
    }
    let rest = &lines[3 * part..];
    let (stored, waiting) = rest.split_at(rest.len() / 2);
    let open = fs::read_to_string(usage_path(data)).unwrap();
    fs::write(usage_path(data), open + &text(stored)).unwrap();
    let (mut writer, _) = Journal::open(&journal_path(data, 0), JOURNAL_BYTES_MIN).unwrap().0.split();
    for line in waiting.iter().chain(stored.last()) {
        writer.append_line(line.as_bytes()).unwrap();
    }
    home
}

fn filter() -> impl Strategy<Value = Filter> {
    let name = |letter: &'static str| {
        prop::option::weighted(0.2, (0..4_u8).prop_map(move |n| format!("{letter}{n}")))
    };
    let time = || prop::option::of((0..700_u64).prop_map(|minute| START_MS + minute * 60_000 + 1));
    let outcome = prop::option::weighted(0.2, (0..4_usize).prop_map(|index| Outcome::ALL[index]));
    (time(), time(), name("p"), name("t"), name("m\""), name("v"), outcome).prop_map(
        |(from_ms, to_ms, project, token, model, provider, outcome)| Filter {
            from_ms,
            to_ms,
            project,
            token,
            model,
            provider,
            outcome,
            ..Filter::default()
        },
    )
}

fn recount(data: &std::path::Path, by: GroupBy, filter: &Filter) -> BTreeMap<String, (u64, Sums)> {
    let (mut groups, mut reader) = (BTreeMap::new(), LineReader::default());
    for_each_record(data, |line| {
        let text = String::from_utf8(line.clone()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let reading = reader.read(line).unwrap();
        if !filter.takes(&reading) {
            return;
        }
        let field = |name: &str| value[name].as_str().unwrap().to_owned();
        let key = match by {
            GroupBy::Model => field("modelId"),
            GroupBy::Project => field("projectId"),
            GroupBy::Token => field("tokenId"),
            GroupBy::Provider => field("provider"),
            GroupBy::Outcome => field("outcome"),
            GroupBy::Day => field("timestamp")[..10].to_owned(),
            GroupBy::Hour => field("timestamp")[..13].to_owned(),
        };
        let (errors, sums) = groups.entry(key).or_insert((0, Sums::default()));
        *errors += u64::from(field("outcome") != "success");
        sums.merge(&Sums::of(&reading.facts));
    })
    .unwrap();
    groups
}

const ALL: [GroupBy; 7] = [
    GroupBy::Model,
    GroupBy::Project,
    GroupBy::Token,
    GroupBy::Provider,
    GroupBy::Outcome,
    GroupBy::Day,
    GroupBy::Hour,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn sums_are_what_a_recount_gives(
        records in prop::collection::vec(made(), 0..120), filters in prop::collection::vec(filter(), 4), rolled in any::<bool>(),
    ) {
        let home = home(&records, rolled);
        let look = Look::take(home.path()).unwrap();
        for filter in &filters {
            for by in ALL {
                let report = look.aggregate(by, filter).unwrap();
                let groups: BTreeMap<_, _> =
                    report.groups.into_iter().map(|group| (group.key, (group.errors, group.sums))).collect();
                prop_assert_eq!(&groups, &recount(home.path(), by, filter), "{:?} {:?}", by, filter);
                prop_assert_eq!(report.unreadable, 0);
            }
        }
    }

    #[test]
    fn pages_have_every_stored_record_once_and_the_newest_first(
        records in prop::collection::vec(made(), 0..120), filter in filter(), limit in 1..40_usize, rolled in any::<bool>(),
    ) {
        let home = home(&records, rolled);
        let mut expected = vec![];
        let mut paths = crate::store::usage::segment_paths(home.path()).unwrap();
        paths.push(usage_path(home.path()));
        for path in paths {
            for line in fs::read_to_string(path).unwrap().lines() {
                if LineReader::default().read(&mut line.as_bytes().to_vec()).is_some_and(|reading| filter.takes(&reading)) {
                    expected.push(line.to_owned());
                }
            }
        }
        expected.reverse();
        let (mut seen, mut cursor, mut pages) = (vec![], None, 0);
        loop {
            // A new look each time, as each request would take one; in between the file is rotated.
            let look = Look::take(home.path()).unwrap();
            let page = look.page(&filter, cursor, limit).unwrap();
            prop_assert!(page.records.len() <= limit);
            prop_assert!(page.next.is_none() || page.records.len() == limit);
            seen.extend(page.records.into_iter().map(|record| String::from_utf8(record).unwrap()));
            pages += 1;
            let Some(next) = page.next else { break };
            prop_assert_eq!(Cursor::parse(&next.text()), Some(next));
            cursor = Some(next);
            if pages == 1 {
                fs::rename(usage_path(home.path()), segments_dir(home.path()).join("usage-2026-01-02.json")).unwrap();
                fs::write(usage_path(home.path()), format!("{}\n", line(1_000, &Made { minute: 0, names: [0; 4], outcome: 0, cost: 0 }))).unwrap();
            }
        }
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn pages_are_counted_and_found_by_their_number(
        records in prop::collection::vec(made(), 0..120), filter in filter(), skip in 0..130_u64, limit in 1..40_usize,
    ) {
        let home = home(&records, true);
        let look = Look::take(home.path()).unwrap();
        let all = look.page(&filter, None, usize::MAX).unwrap().records;
        prop_assert_eq!(look.count(&filter).unwrap(), all.len() as u64);
        let page = look.page_from(&filter, skip, limit).unwrap().records;
        let expected: Vec<_> = all.into_iter().skip(skip as usize).take(limit).collect();
        prop_assert_eq!(page, expected);
    }

    #[test]
    fn sums_of_one_request_are_those_of_its_records(records in prop::collection::vec(made(), 1..60), number in 0..60_usize) {
        let home = home(&records, true);
        let look = Look::take(home.path()).unwrap();
        let id = format!("r{}", number % records.len());
        let filter = Filter { id: Some(id), projects: Some(vec!["p0".into(), "p1".into()]), ..Filter::default() };
        for by in [GroupBy::Model, GroupBy::Day] {
            let report = look.aggregate(by, &filter).unwrap();
            let groups: BTreeMap<_, _> =
                report.groups.into_iter().map(|group| (group.key, (group.errors, group.sums))).collect();
            prop_assert_eq!(&groups, &recount(home.path(), by, &filter), "{:?}", by);
        }
    }
}

#[test]
fn rows_of_deleted_segments_count_and_their_records_are_in_no_page() {
    let records: Vec<Made> =
        (0..40).map(|number| Made { minute: number * 10, names: [0; 4], outcome: 0, cost: 1 }).collect();
    let home = home(&records, false);
    let all = Look::take(home.path()).unwrap();
    let before = all.aggregate(GroupBy::Hour, &Filter::default()).unwrap();
    let oldest = &segments(home.path()).unwrap()[0];
    let table = crate::store::rollup::read_segment(home.path(), oldest).unwrap();
    let bytes = SegmentRollup::encode(oldest.fingerprint, true, &table);
    fs::create_dir(home.path().join("rollups")).unwrap();
    fs::write(rollup_path(home.path(), &oldest.path), bytes).unwrap();
    fs::remove_file(&oldest.path).unwrap();
    let look = Look::take(home.path()).unwrap();
    assert_eq!(look.aggregate(GroupBy::Hour, &Filter::default()).unwrap(), before);
    let page = |look: &Look| look.page(&Filter::default(), None, 100).unwrap().records.len();
    assert_eq!((page(&all), page(&look)), (35, 25));
    // A part of an hour: the whole of it, by its first moment.
    let filter =
        Filter { from_ms: Some(START_MS + 1), to_ms: Some(START_MS + HOUR_MS + 1), ..Filter::default() };
    assert_eq!(look.aggregate(GroupBy::Hour, &filter).unwrap().groups[0].sums.calls, 4);
}
