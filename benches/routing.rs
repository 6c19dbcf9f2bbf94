//! What a choice costs a core: ten candidates through every policy that calls nobody, in small and large configurations,
//! and the limits of six levels around it.

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use routerly::auth::TokenKey;
use routerly::budget::book::Book;
use routerly::budget::hold::Hold;
use routerly::budget::key::Amounts;
use routerly::budget::plan::{Plan, Who};
use routerly::budget::window::Moment;
use routerly::config::{Config, Document, Documents, Env, NoKeys};
use routerly::dialect::{Dialect, Needs, ProofKey};
use routerly::provider::Catalogue;
use routerly::routing::metrics::{HealthRow, Mean, PerformanceRow, View};
use routerly::routing::{self, Explained, Inputs, Pool, Standing, Wanted};
use routerly::snapshot::Snapshot;
use routerly::trace::{Entry, Step, Steps};
use serde_json::{Value, json};

const MODELS: usize = 10;
const UNIX_MS: u64 = 1_767_225_600_123;
const NOW: Moment = Moment { wall_ms: UNIX_MS, steady_ms: UNIX_MS };
const POLICIES: [&str; 8] = [
    "capability",
    "context",
    "health",
    "rate-limit",
    "budget-remaining",
    "cheapest",
    "performance",
    "fairness",
];
const WANTED: Wanted<'_> =
    Wanted { dialect: Dialect::OpenAiChat, model: Some("auto"), translate: true, embedding: false };

/// Most that one choice with its limits may cost.
const GOAL: Duration = Duration::from_nanos(1_500);

fn main() {
    divan::main();
    if std::env::args().all(|argument| !argument.starts_with("--list")) {
        print_sums();
    }
}

/// Ten models, `projects` projects that use all of them with all policies, `tokens` tokens in all.
fn snapshot(projects: usize, tokens: usize) -> Snapshot {
    let models: Vec<Value> = (0..MODELS)
        .map(|at| {
            json!({"id": format!("m{at}"), "provider": "simulated", "contextWindow": 100_000 + at,
                "cost": {"inputPerMillion": at + 1, "outputPerMillion": 2 * at + 1},
                "limits": limits()})
        })
        .collect();
    let of_model =
        |model: &Value| json!({"modelId": model["id"], "limitsMode": "extend", "limits": limits()});
    let uses: Vec<Value> = models.iter().map(of_model).collect();
    let policies: Vec<Value> = POLICIES.iter().map(|kind| json!({"type": kind})).collect();
    let of_project = |at: usize| -> Vec<Value> {
        let own = at * tokens / projects..(at + 1) * tokens / projects;
        own.map(|token| {
            // One token of each project has limits of its own.
            let models: Vec<Value> = if token == at * tokens / projects { uses.clone() } else { Vec::new() };
            let own = if models.is_empty() { json!([]) } else { limits() };
            json!({"id": format!("t{token}"), "tokenHash": format!("hmac-sha256:{token:064x}"),
                "limitsMode": "extend", "limits": own, "models": models})
        })
        .collect()
    };
    let projects: Vec<Value> = (0..projects)
        .map(|at| {
            json!({"id": format!("p{at}"), "models": uses, "policies": policies,
            "limitsMode": "extend", "budgets": limits(), "tokens": of_project(at)})
        })
        .collect();
    let document = |value: Value| Document { text: value.to_string(), value };
    let documents = Documents {
        settings: document(json!({"budgets": limits()})),
        models: document(Value::from(models)),
        projects: document(Value::from(projects)),
    };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut Vec::new());
    let config = Arc::new(config.expect("a sound configuration"));
    let (key, proofs) = (TokenKey::new(&[7; 32]), ProofKey::new(&[7; 32]));
    let snapshot = Snapshot::build(config, key, proofs, 1, Path::new("/")).expect("no files are named");
    snapshot.with_budgets(&Book::new(2), NOW)
}

/// Three limits, as each of the six levels has them.
fn limits() -> Value {
    json!([
        {"metric": "calls", "window": "daily", "value": 1_000_000_000},
        {"metric": "total_tokens", "windowType": "rolling", "rollingUnit": "hour", "value": 1_000_000_000_000_u64},
        {"metric": "cost", "window": "monthly", "value": 1_000_000},
    ])
}

/// Budgets as requests of one core meet them.
struct Limited(Rc<Snapshot>);

impl std::ops::Deref for Limited {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0.budgets
    }
}

/// Admission, choice and settlement of a request on the limits of six levels.
fn spend(snapshot: &Rc<Snapshot>, project: usize, model: usize) {
    let who = Who { project: project as u32, owner: project as u32, token: 0 };
    let mut hold = Hold::open(Limited(Rc::clone(snapshot)), 0, who, NOW);
    let ask = Amounts { calls: 1, input: 70_000, output: 20_000, cost: 1_000_000 };
    hold.admit(&Amounts { calls: 1, ..Amounts::default() }).expect("room");
    hold.choose(model as u32, black_box(&ask)).expect("room");
    hold.settle(model as u32, black_box(&Amounts { output: 500, cost: 300_000, ..ask }));
}

/// Tells the candidates what is left of their limits, as the gateway does.
fn stand(snapshot: &Snapshot, project: usize, pool: &mut Pool) {
    let plan = &snapshot.budgets;
    let who = Who { project: project as u32, owner: project as u32, token: 0 };
    for candidate in pool.candidates_mut() {
        candidate.standing.headroom = plan.headroom(who, candidate.target as u32, NOW);
    }
}

/// The sum of a choice and its limits, in each size, beside what it may be.
fn print_sums() {
    println!("\nten candidates, eight policies, limits of six levels (three each), per request:");
    for (projects, tokens) in SIZES {
        let snapshot = Rc::new(snapshot(projects, tokens));
        let view = view(&snapshot);
        let (mut pool, mut ranked) = (Pool::default(), Vec::with_capacity(MODELS));
        let project = projects / 2;
        let policies = median(|| {
            black_box(choose(&snapshot, &view, project, &mut pool, &mut ranked));
        });
        let limits = median(|| spend(&snapshot, project, 3));
        // Each request makes what the next one is told of the limits of its model old.
        let sum = median(|| {
            stand(&snapshot, project, &mut pool);
            let chosen = choose(&snapshot, &view, project, &mut pool, &mut ranked);
            spend(&snapshot, project, black_box(chosen));
        });
        let told = sum.saturating_sub(policies + limits);
        println!(
            "  {projects:>5} projects, {tokens:>6} tokens: policies {policies:?} + admission {limits:?} + what policies are told of limits {told:?} \
             = {sum:?} ({GOAL:?} at most{})",
            if sum <= GOAL { "" } else { ": MISSED" }
        );
    }
}

/// The median of some rounds, each a mean of many.
fn median(mut work: impl FnMut()) -> Duration {
    const ROUNDS: usize = 31;
    const TIMES: u32 = 2_000;
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = routerly::clock::now();
            (0..TIMES).for_each(|_| work());
            began.elapsed() / TIMES
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

/// Numbers of past calls, another one for each model.
fn view(snapshot: &Snapshot) -> View {
    let mean = |at: usize| Mean { ms: 100.0 + at as f64, samples: 20 };
    let health = |at: usize| HealthRow {
        failures: at as f64 / 10.0,
        calls: 10.0,
        samples: 20,
        last_failure_ms: UNIX_MS - 1_000,
    };
    let speed = |at| PerformanceRow { latency: mean(at), ttft: mean(at), per_output_token: mean(at) };
    let calls: Arc<[u64]> = (0..MODELS as u64).map(|at| 5 + at).collect();
    View {
        generation: 1,
        health: vec![(0..MODELS).map(health).collect()],
        performance: vec![(0..MODELS).map(speed).collect()],
        calls: vec![Arc::clone(&calls)],
        // Each series has its own rows, as the control thread publishes them.
        successes: snapshot
            .routing
            .metrics
            .successes
            .iter()
            .map(|_| calls.iter().copied().collect())
            .collect(),
    }
}

fn choose(
    snapshot: &Snapshot,
    view: &View,
    project: usize,
    pool: &mut Pool,
    ranked: &mut Vec<usize>,
) -> usize {
    let policies = snapshot.routing.projects[project].as_deref().expect("policies");
    let inputs = Inputs {
        needs: Needs { input_tokens: 70_000, output_tokens_max: Some(20_000), ..Needs::default() },
        view: Some(view),
        now_ms: UNIX_MS,
        seed: 7,
    };
    pool.gather(snapshot, project, black_box(WANTED)).expect("candidates");
    for (at, candidate) in pool.candidates_mut().iter_mut().enumerate() {
        candidate.standing = Standing { headroom: 1.0 - at as f64 / 20.0, ..Standing::default() };
    }
    let traits = &snapshot.routing.traits;
    pool.narrow(traits, policies, &inputs).expect("candidates are left");
    pool.rank(traits, policies, &inputs, ranked);
    ranked[0]
}

/// Projects and tokens of a configuration.
const SIZES: [(usize, usize); 3] = [(10, 10), (10, 100_000), (5_000, 100_000)];

#[divan::bench(args = SIZES)]
fn ten_candidates_through_eight_policies(bencher: Bencher<'_, '_>, (projects, tokens): (usize, usize)) {
    let snapshot = snapshot(projects, tokens);
    let view = view(&snapshot);
    let (mut pool, mut ranked) = (Pool::default(), Vec::with_capacity(MODELS));
    bencher.bench_local(|| choose(&snapshot, &view, projects / 2, &mut pool, &mut ranked));
}

/// Every request is of another project, so that little of it is in the processor's caches.
#[divan::bench(args = SIZES)]
fn each_time_another_project(bencher: Bencher<'_, '_>, (projects, tokens): (usize, usize)) {
    let snapshot = snapshot(projects, tokens);
    let view = view(&snapshot);
    let (mut pool, mut ranked) = (Pool::default(), Vec::with_capacity(MODELS));
    let mut number = 1_usize;
    bencher.bench_local(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choose(&snapshot, &view, (number >> 33) % projects, &mut pool, &mut ranked)
    });
}

/// What a project without policies pays.
#[divan::bench]
fn ten_candidates_without_policies(bencher: Bencher<'_, '_>) {
    let snapshot = snapshot(10, 10);
    let mut ranked = Vec::with_capacity(MODELS);
    bencher.bench_local(|| {
        let project = &snapshot.config.projects()[5];
        routing::rank(&snapshot, project, black_box(WANTED), &mut ranked).expect("candidates");
        ranked[0]
    });
}

/// Why a choice came about, into tables that were used before.
#[divan::bench]
fn an_explanation(bencher: Bencher<'_, '_>) {
    let snapshot = snapshot(10, 10);
    let view = view(&snapshot);
    let (mut pool, mut ranked) = (Pool::default(), Vec::with_capacity(MODELS));
    choose(&snapshot, &view, 5, &mut pool, &mut ranked);
    let policies = snapshot.routing.projects[5].as_deref().expect("policies");
    let mut explained = Explained::default();
    bencher.bench_local(|| {
        pool.explain(policies, &mut explained);
        explained.order.len()
    });
}

/// The same as a step of a new trace, with the tables of one that has made room.
#[divan::bench]
fn an_explanation_in_a_trace(bencher: Bencher<'_, '_>) {
    let snapshot = snapshot(10, 10);
    let view = view(&snapshot);
    let (mut pool, mut ranked) = (Pool::default(), Vec::with_capacity(MODELS));
    choose(&snapshot, &view, 5, &mut pool, &mut ranked);
    let policies = snapshot.routing.projects[5].as_deref().expect("policies");
    let mut spare = None;
    bencher.bench_local(|| {
        let mut explained: Arc<Explained> = spare.take().unwrap_or_default();
        pool.explain(policies, Arc::get_mut(&mut explained).expect("nobody else's"));
        let mut steps = Steps::default();
        steps.push(Step { since_ms: 0, entry: Entry::Routing(explained) });
        spare = black_box(steps).into_ranking();
    });
}

/// Admission, choice and settlement on eighteen limits.
#[divan::bench(args = SIZES)]
fn limits_of_six_levels(bencher: Bencher<'_, '_>, (projects, tokens): (usize, usize)) {
    let snapshot = Rc::new(snapshot(projects, tokens));
    bencher.bench_local(|| spend(&snapshot, projects / 2, 3));
}

/// What a request needs, read from its body: a question of 270 bytes, and a conversation with tools of 20 KB.
#[divan::bench(args = [270, 20_000])]
fn needs_of_a_body(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = "What is the weather like in the mountains today, and what should one wear? ".repeat(3);
    let turn = json!({"role": "user", "content": text});
    let mut body = json!({"model": "auto", "messages": [turn], "temperature": 0.2});
    if bytes > 1_000 {
        body["messages"] = Value::from(vec![turn; 60]);
        let tool = json!({"type": "function", "function": {"name": "f", "description": text, "parameters": {"type": "object"}}});
        body["tools"] = Value::from(vec![tool; 10]);
    }
    let body = body.to_string();
    bencher
        .counter(divan::counter::BytesCount::new(body.len()))
        .bench_local(|| Needs::of(black_box(body.as_bytes())).input_tokens);
}
