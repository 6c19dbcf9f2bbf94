//! Limits over restarts: a seeded simulation of lives that end anywhere, beside a naive count of what was settled.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::auth::TokenKey;
use crate::budget::book::Book;
use crate::budget::hold::Hold;
use crate::budget::key::Subject;
use crate::config::{Document, Documents, Env, Metric, NoKeys};
use crate::control::books::Books;
use crate::dialect::ProofKey;
use crate::limits::JOURNAL_BYTES_MIN;
use crate::provider::Catalogue;
use crate::store::journal::JournalWriter;
use crate::store::rollup::{Rollups, rollups_dir};
use crate::store::usage::{Merger, UsageSettings};
use crate::telemetry::text::TimestampFormatter;

/// A Monday, 00:00 UTC.
const MONDAY_MS: u64 = 1_763_337_600_000;
const HOUR_MS: u64 = 3_600_000;
const CORES: usize = 2;

fn snapshot() -> Snapshot {
    let document = |value: Value| Document { text: value.to_string(), value };
    let limit = |metric: &str, window: &str| json!({"metric": metric, "window": window, "value": 1_000_000});
    let limits =
        || json!([limit("calls", "daily"), limit("total_tokens", "rolling_day"), limit("cost", "hourly")]);
    let model = |id: &str| {
        json!({"id": id, "provider": "openai", "endpoint": "http://127.0.0.1:1/v1", "apiKey": "k", "limits": limits(),
            "cost": {"inputPerMillion": 1, "outputPerMillion": 1}})
    };
    let entry = |id: &str| json!({"modelId": id, "limits": limits(), "limitsMode": "extend"});
    let token = |number: u64| {
        json!({"id": format!("t{number}"), "tokenHash": format!("hmac-sha256:{number:064x}"), "limits": limits(),
            "models": [entry("m1")], "limitsMode": "extend"})
    };
    let project = |id: &str, token: Value| json!({"id": id, "name": id, "models": [entry("m0"), entry("m1")], "budgets": limits(), "tokens": [token]});
    let documents = Documents {
        settings: document(json!({"budgets": limits()})),
        models: document(json!([model("m0"), model("m1")])),
        projects: document(json!([project("p0", token(0)), project("p1", token(1))])),
    };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut vec![]).unwrap();
    let keys = (TokenKey::new(&[0; 32]), ProofKey::new(&[0; 32]));
    Snapshot::build(Arc::new(config), keys.0, keys.1, 1, Path::new("/")).unwrap()
}

/// Usage that is settled: its record is in a journal.
#[derive(Debug, Clone, Copy)]
struct Settled {
    who: Who,
    model: u32,
    used: Amounts,
    /// When it was admitted, by the wall clock and by the time that has really passed.
    wall_ms: u64,
    true_ms: u64,
}

impl Settled {
    fn charges(&self, subject: &Subject) -> bool {
        let Who { project, owner, token } = self.who;
        let is = |kind: &str, index: u32, id: &str| *id == *format!("{kind}{index}");
        let is_token = |p: &str, t: &str| is("p", owner, p) && is("t", owner, t) && token == 0;
        match subject {
            Subject::Platform => true,
            Subject::Model { model } => is("m", self.model, model),
            Subject::Project { project: id } => is("p", project, id),
            Subject::ProjectModel { project: id, model } => {
                is("p", project, id) && is("m", self.model, model)
            }
            Subject::Token { project: id, token } => is_token(id, token),
            Subject::TokenModel { project: id, token, model } => {
                is_token(id, token) && is("m", self.model, model)
            }
        }
    }
}

/// One process.
struct Life {
    merger: Merger,
    writers: Vec<JournalWriter>,
    books: Books,
    snapshot: Arc<Snapshot>,
    /// Its steady clock at the start, and the time that had really passed then.
    begun: (u64, u64),
}

struct World {
    data: tempfile::TempDir,
    life: Option<Life>,
    settled: Vec<Settled>,
    true_ms: u64,
    /// What the wall clock is behind the time that has really passed.
    behind_ms: u64,
    begun: Instant,
    number: u64,
    recounts: u64,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            life: None,
            settled: vec![],
            true_ms: MONDAY_MS,
            behind_ms: 0,
            begun: crate::clock::now(),
            number: 0,
            recounts: 0,
            seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        }
    }

    /// xorshift64*.
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % below
    }

    fn wall_ms(&self) -> u64 {
        self.true_ms - self.behind_ms
    }

    fn moment(&self) -> Moment {
        let wall_ms = self.wall_ms();
        let begun = self.life.as_ref().map(|life| life.begun);
        let steady_ms = begun.map_or(wall_ms, |(steady_ms, true_ms)| steady_ms + self.true_ms - true_ms);
        Moment { wall_ms, steady_ms }
    }

    fn instant(&self) -> Instant {
        self.begun + Duration::from_millis(self.true_ms - MONDAY_MS)
    }

    fn start(&mut self) {
        let (data, now) = (self.data.path(), self.moment());
        let settings = UsageSettings {
            journal_bytes: JOURNAL_BYTES_MIN,
            sync_interval: Duration::ZERO,
            segment_bytes_max: 4_000,
        };
        let (merger, writers, report) =
            Merger::open(data, CORES, settings, self.instant(), now.wall_ms).unwrap();
        assert_eq!(report.recovery_error, None);
        let snapshot = Arc::new(snapshot().with_budgets(&Book::new(CORES), now));
        let restored = Restored::read(data).unwrap();
        let restoration = restore(data, &restored, &snapshot, now).unwrap();
        self.recounts += u64::from(restoration.is_recount);
        let rollups = Rollups::open(data, &restored, || ()).unwrap();
        let length = merger.open_length();
        let books = Books::new(Arc::clone(&snapshot), now, Some(rollups), length, restoration.watch);
        let begun = (now.steady_ms, self.true_ms);
        self.life = Some(Life { merger, writers, books, snapshot, begun });
    }

    /// A request that ends after some time, or is given up without a record.
    fn request(&mut self) {
        let (project, owner, model) = (self.random(2) as u32, self.random(2) as u32, self.random(2) as u32);
        let who = Who { project, owner, token: 0 };
        let (core, outcome) = (self.random(CORES as u64) as usize, self.random(6) as usize);
        let used = Amounts {
            calls: u64::from(Outcome::ALL[outcome].did_work()),
            input: self.random(1_000),
            output: self.random(100),
            cost: self.random(1_000) * 1_000_000,
        };
        let took_ms = [0, 3, 40, 20_000, 2 * HOUR_MS][self.random(5) as usize];
        let (admitted, true_ms) = (self.moment(), self.true_ms);
        let snapshot = Arc::clone(&self.life.as_ref().unwrap().snapshot);
        let mut hold = Hold::open(PlanOf(snapshot), core, who, admitted);
        let ask = Amounts { calls: 1, input: 1_000, output: 1_000, cost: 1_000_000_000 };
        hold.admit(&ask).unwrap();
        hold.choose(model, &ask).unwrap();
        self.pass(took_ms);
        if self.random(12) == 0 {
            return;
        }
        hold.settle(model, &used);
        self.number += 1;
        let facts = Facts {
            generation: 1,
            project,
            owner,
            token: 0,
            model,
            admitted_ms: admitted.wall_ms,
            finished_ms: self.wall_ms(),
            latency_ms: took_ms as u32,
            outcome: outcome as u8,
            input: used.input,
            output: used.output,
            cost: crate::budget::money::Picodollars(used.cost),
            ..Facts::default()
        };
        let line = line(self.number, &facts);
        let life = self.life.as_mut().unwrap();
        life.writers[core].append(&facts, |out| out.extend_from_slice(line.as_bytes())).unwrap();
        self.settled.push(Settled { who, model, used, wall_ms: admitted.wall_ms, true_ms });
    }

    /// Time goes on.
    fn pass(&mut self, ms: u64) {
        self.true_ms += ms;
    }

    fn tick(&mut self) {
        let (now, instant) = (self.moment(), self.instant());
        let life = self.life.as_mut().unwrap();
        life.books.begin_tick(now);
        let stats = life.merger.tick(instant, now.wall_ms, &mut life.books);
        life.books.end_tick(&stats, life.merger.open_length(), instant);
    }

    fn end(&mut self) {
        let (now, instant) = (self.moment(), self.instant());
        let mut life = self.life.take().unwrap();
        life.books.begin_tick(now);
        let stats = life.merger.finish(instant, now.wall_ms, &mut life.books);
        assert!(!stats.degraded);
        life.books.end_tick(&stats, life.merger.open_length(), instant);
        life.books.finish();
    }

    /// Every account counts what was settled, each thing once, and holds nothing.
    fn check(&self, has_stepped: bool) {
        let life = self.life.as_ref().unwrap();
        let now = self.moment();
        for entry in life.snapshot.budgets.entries() {
            let account = &entry.account;
            let span = account.span();
            let sum = |counts: &dyn Fn(&Settled) -> bool| -> u64 {
                let all = self.settled.iter().filter(|one| one.charges(&account.key.subject) && counts(one));
                all.map(|one| one.used.of(account.key.metric)).sum()
            };
            let level = account.level(now);
            assert_eq!(level.reserved, 0);
            if span.is_rolling() {
                let length = account.key.window.rolling_length().unwrap().as_millis() as u64;
                let least = sum(&|one| self.true_ms - one.true_ms < length);
                assert!(level.used >= least, "{:?}: {} < {least}", account.key, level.used);
                let most = sum(&|one| self.true_ms - one.true_ms <= length + length / 32);
                assert!(has_stepped || level.used <= most, "{:?}: {} > {most}", account.key, level.used);
            } else {
                let window = span.bounds(now.wall_ms);
                let expected = sum(&|one| span.bounds(one.wall_ms) == window);
                assert_eq!(level.used, expected, "{:?}", account.key);
            }
        }
    }
}

struct PlanOf(Arc<Snapshot>);

impl std::ops::Deref for PlanOf {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0.budgets
    }
}

fn line(number: u64, facts: &Facts) -> String {
    let timestamp = TimestampFormatter::default().format(facts.finished_ms);
    let owner = match facts.owner {
        owner if owner == facts.project => String::new(),
        owner => format!(r#""tokenProjectId":"p{owner}","#),
    };
    format!(
        r#"{{"id":"r{number}","timestamp":"{}","projectId":"p{}","tokenId":"t{}",{owner}"modelId":"m{}","callType":"completion","outcome":"{}","inputTokens":{},"outputTokens":{},"cost":0.{:06},"latencyMs":{},"admittedAt":{}}}"#,
        timestamp.as_str(),
        facts.project,
        facts.owner,
        facts.model,
        Outcome::ALL[usize::from(facts.outcome)].as_str(),
        facts.input,
        facts.output,
        facts.cost.0 / 1_000_000,
        facts.latency_ms,
        facts.admitted_ms,
    )
}

#[test]
fn whatever_ends_a_life_the_next_one_counts_what_was_settled_once() {
    let (mut lives, mut recounts, mut settled) = (0, 0, 0);
    for seed in 1..=40_u64 {
        let mut world = World::new(seed);
        let steps = seed % 3 == 0;
        println!("seed {seed}, clocks step: {steps}");
        world.start();
        let mut has_stepped = false;
        for _ in 0..120 {
            match world.random(100) {
                0..50 => world.request(),
                50..86 => {
                    let ms = [0, 100, 7_000, HOUR_MS / 7][world.random(4) as usize];
                    world.pass(ms);
                    world.tick();
                }
                86..88 if steps => {
                    has_stepped = true;
                    world.behind_ms += [50, 5_000, HOUR_MS][world.random(3) as usize];
                }
                88..93 => world.check(has_stepped),
                kind => {
                    lives += 1;
                    if kind < 96 {
                        world.end();
                    } else {
                        // Records in journals, in files that were not synced, behind the last checkpoint or a new one.
                        world.life = None;
                    }
                    let ms = [0, 3_000, HOUR_MS, 30 * HOUR_MS][world.random(4) as usize];
                    world.pass(ms);
                    if steps && world.random(2) == 0 {
                        has_stepped = true;
                        world.behind_ms += HOUR_MS / 2;
                    }
                    if world.random(6) == 0 {
                        damage(&rollups_dir(world.data.path()).join("checkpoint"));
                    }
                    world.start();
                    world.check(has_stepped);
                }
            }
        }
        recounts += world.recounts;
        settled += world.settled.len();
    }
    assert!(lives > 200 && recounts > 10 && settled > 1_500, "{lives} {recounts} {settled}");
}

/// Changes a byte in the middle of a file, if it is there.
fn damage(path: &Path) {
    if let Ok(mut bytes) = std::fs::read(path) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_recount_reads_no_further_back_than_windows_reach() {
    let now = Moment { wall_ms: MONDAY_MS + 9 * HOUR_MS, steady_ms: MONDAY_MS + 9 * HOUR_MS };
    let snapshot = snapshot().with_budgets(&Book::new(1), now);
    let first_ms = reach(&snapshot.budgets, now);
    // The rolling day, with its oldest part.
    let day_ms = 24 * HOUR_MS;
    assert!((now.wall_ms - day_ms - day_ms / 32..=now.wall_ms - day_ms).contains(&first_ms), "{first_ms}");
}

#[test]
fn admissions_are_placed_by_the_wall_clock_unless_that_was_set_meanwhile() {
    let at = |wall_ms: u64, steady_ms: u64| Moment { wall_ms, steady_ms };
    let facts = |admitted_ms, latency_ms| Facts { admitted_ms, latency_ms, ..Facts::default() };
    let mut clocks = Clocks::new(at(1_000_000, 1_000_000));
    // Its record had to wait for a disk.
    assert_eq!(clocks.admitted(&facts(990_000, 10)), at(990_000, 990_000));
    clocks.look(at(1_100_050, 1_100_000));
    assert_eq!(clocks.admitted(&facts(1_100_000, 10)), at(1_100_000, 1_099_950), "slewed");
    // Set back by an hour, and forwards by one.
    for wall_ms in [1_200_000 + HOUR_MS, 1_300_000 - 200_000] {
        let mut stepped = clocks;
        stepped.look(at(wall_ms, 1_200_000));
        assert_eq!(stepped.admitted(&facts(1_190_000, 500)), at(1_190_000, 1_199_500));
        stepped.look(at(wall_ms + 60_000, 1_260_000));
        assert_eq!(stepped.admitted(&facts(wall_ms + 50_000, 10)), at(wall_ms + 50_000, 1_250_000));
        assert_eq!(stepped.admitted(&facts(1_190_000, 65_000)), at(1_190_000, 1_195_000));
    }
}

#[test]
fn what_a_record_charges_is_what_its_request_settled() {
    let now = Moment { wall_ms: MONDAY_MS, steady_ms: MONDAY_MS };
    let who = Who { project: 0, owner: 1, token: 0 };
    for outcome in Outcome::ALL {
        let facts = Facts { outcome: outcome.index() as u8, input: 5, output: 7, ..Facts::default() };
        let settled = Arc::new(snapshot().with_budgets(&Book::new(1), now));
        let mut hold = Hold::open(PlanOf(Arc::clone(&settled)), 0, who, now);
        hold.settle(1, &used_by(&facts));
        drop(hold);
        let charged = snapshot().with_budgets(&Book::new(1), now);
        charge(&charged.budgets, who, 1, &facts, |account, used| account.add(used, now));
        let levels = |snapshot: &Snapshot| {
            let used = snapshot.budgets.entries().iter().map(|entry| entry.account.level(now).used);
            used.collect::<Vec<_>>()
        };
        assert_eq!(levels(&settled), levels(&charged), "{outcome:?}");
        assert!(charged.budgets.entries().iter().any(|entry| {
            entry.account.key.metric == Metric::TotalTokens && entry.account.level(now).used == 12
        }));
    }
}
