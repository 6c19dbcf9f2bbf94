//! What policies know of past calls: folding a call, and the tick that publishes it.
//!
//! `cargo bench --bench metrics`. 1,000 models, 5,000 projects with `fairness` and ten models each; `health`,
//! `performance` and `rate-limit` with one window each, or with eight.

use divan::{Bencher, black_box};
use routerly::budget::window::Moment;
use routerly::routing::metrics::{Decaying, Finished, Fold, Names, Plan, ProjectWindow, Verdict};

const MODELS: u32 = 1_000;
const PROJECTS: u32 = 5_000;
const MODELS_OF_PROJECT: u32 = 10;
const START_MS: u64 = 1_790_000_000_000;

fn main() {
    divan::main();
}

fn at(ms: u64) -> Moment {
    Moment { wall_ms: START_MS + ms, steady_ms: START_MS + ms }
}

fn models_of(project: u32) -> impl Iterator<Item = u32> {
    (0..MODELS_OF_PROJECT).map(move |place| (project * 7 + place * 31) % MODELS)
}

/// With `windows` windows of each kind, and a call behind every row.
fn filled(windows: u64) -> Fold {
    let ids: Vec<String> = (0..PROJECTS).map(|id| format!("id-{id}")).collect();
    let names = Names {
        models: ids[..MODELS as usize].iter().map(String::as_str).collect(),
        projects: (0..).zip(&ids).map(|(index, id)| (id.as_str(), models_of(index).collect())).collect(),
    };
    let decaying = |index| Decaying { window_ms: (20 + index) * 60_000, half_life_ms: 300_000 };
    let plan = Plan {
        health: (0..windows).map(decaying).collect(),
        performance: (0..windows).map(decaying).collect(),
        calls: (1..=windows).map(|index| index * 60_000).collect(),
        successes: (0..PROJECTS).map(|project| ProjectWindow { project, window_ms: 3_600_000 }).collect(),
    };
    let mut fold = Fold::default();
    fold.adopt(1, &names, &plan, at(0));
    for project in 0..PROJECTS {
        for model in models_of(project) {
            fold.record(&call(project, model, 0), at(0));
        }
    }
    while fold.tick(at(0)).is_some() {}
    fold
}

fn call(project: u32, model: u32, ms: u64) -> Finished {
    Finished {
        generation: 1,
        project,
        model,
        finished_ms: START_MS + ms,
        verdict: Verdict::Success,
        is_timed: true,
        latency_ms: 900,
        ttft_ms: Some(300),
        output_tokens: 120,
    }
}

/// One finished call.
#[divan::bench(args = [1, 8])]
fn record(bencher: Bencher<'_, '_>, windows: u64) {
    let (mut fold, mut number) = (filled(windows), 0);
    bencher.bench_local(move || {
        number += 1;
        let project = number * 13 % PROJECTS;
        fold.record(black_box(&call(project, project * 7 % MODELS, 0)), at(0));
    });
}

/// A tick of 100 ms after 2,000 calls of as many projects, to each model two.
#[divan::bench(args = [1, 8])]
fn busy_tick(bencher: Bencher<'_, '_>, windows: u64) {
    let (mut fold, mut ms) = (filled(windows), 0);
    bencher.bench_local(move || {
        ms += 100;
        for number in 0..2_000 {
            fold.record(&call(number * 13 % PROJECTS, number % MODELS, ms), at(ms));
        }
        black_box(fold.tick(at(ms)));
    });
}

/// A tick without calls; every so often rows have decayed.
#[divan::bench(args = [1, 8])]
fn idle_tick(bencher: Bencher<'_, '_>, windows: u64) {
    let (mut fold, mut ms) = (filled(windows), 0);
    bencher.bench_local(move || {
        ms += 100;
        black_box(fold.tick(at(ms)));
    });
}
