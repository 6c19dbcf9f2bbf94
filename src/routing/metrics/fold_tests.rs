//! The fold against the formulas of the specification, computed call by call.

use proptest::prelude::*;

use super::*;
use crate::limits::METRIC_SERIES_MAX;
use crate::routing::metrics::{HealthRow, Mean, PerformanceRow, Verdict};

const HOUR_MS: u64 = 3_600_000;
const UNIX_MS: u64 = 1_790_000_000_000;

fn at(ms: u64) -> Moment {
    Moment { wall_ms: UNIX_MS + ms, steady_ms: UNIX_MS + ms }
}

fn call(model: u32, ended_at: u64, verdict: Verdict) -> Finished {
    Finished {
        generation: 1,
        project: 0,
        model,
        finished_ms: UNIX_MS + ended_at,
        verdict,
        is_timed: true,
        latency_ms: 100,
        ttft_ms: Some(20),
        output_tokens: 10,
    }
}

fn names() -> Names<'static> {
    Names { models: vec!["a", "b", "c"], projects: vec![("p", vec![2, 0]), ("q", vec![0])] }
}

fn plan(window_ms: u64, half_life_ms: u64) -> Plan {
    Plan {
        health: vec![Decaying { window_ms, half_life_ms }],
        performance: vec![Decaying { window_ms, half_life_ms }],
        calls: vec![window_ms],
        successes: vec![ProjectWindow { project: 0, window_ms }, ProjectWindow { project: 1, window_ms }],
    }
}

fn folding(plan: &Plan) -> Fold {
    let mut fold = Fold::default();
    fold.adopt(1, &names(), plan, at(0));
    fold
}

/// The specification's sums over the calls that ended at most `window_ms` ago.
fn naive(
    calls: &[Finished],
    model: u32,
    now: u64,
    window_ms: u64,
    half_life_ms: u64,
) -> (HealthRow, PerformanceRow, u64, u64) {
    let (mut health, mut sums) = (HealthRow::default(), [[0.0; 2]; 3]);
    let (mut samples, mut made, mut succeeded) = ([0; 3], 0, 0);
    for call in calls.iter().filter(|call| call.model == model) {
        let age = UNIX_MS + now - call.finished_ms;
        if age > window_ms || call.verdict == Verdict::NotCalled {
            continue;
        }
        let decay = if half_life_ms == 0 { 0.0 } else { std::f64::consts::LN_2 / half_life_ms as f64 };
        let weight = (-decay * age as f64).exp();
        made += 1;
        succeeded += u64::from(call.verdict == Verdict::Success);
        if call.verdict == Verdict::Neutral {
            continue;
        }
        health.calls += weight;
        health.samples += 1;
        if call.verdict == Verdict::Failure {
            health.failures += weight;
            health.last_failure_ms = health.last_failure_ms.max(call.finished_ms);
            continue;
        }
        let latency = f64::from(call.latency_ms);
        let parts = [
            Some((latency, 1.0)),
            call.ttft_ms.map(|ttft| (f64::from(ttft), 1.0)),
            (call.output_tokens > 0).then_some((latency, call.output_tokens as f64)),
        ];
        for (index, part) in parts.into_iter().enumerate() {
            let Some((over, under)) = part else { continue };
            sums[index][0] += weight * over;
            sums[index][1] += weight * under;
            samples[index] += 1;
        }
    }
    let mean = |index: usize| match samples[index] {
        0 => Mean::default(),
        samples => Mean { ms: sums[index][0] / sums[index][1], samples },
    };
    let performance = PerformanceRow { latency: mean(0), ttft: mean(1), per_output_token: mean(2) };
    (health, performance, made, succeeded)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-12)
}

fn assert_close(found: Mean, expected: Mean) {
    assert!(found.samples == expected.samples && close(found.ms, expected.ms), "{found:?} {expected:?}");
}

fn any_call() -> impl Strategy<Value = (u64, Finished)> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Success),
        2 => Just(Verdict::Failure),
        1 => Just(Verdict::Neutral),
        1 => Just(Verdict::NotCalled),
    ];
    (0..90_000_u64, 0..3_u32, 0..2_u32, verdict, 1..60_000_u32, prop::option::of(1..9_000_u32), 0..900_u64)
        .prop_map(|(gap, model, project, verdict, latency_ms, ttft_ms, output_tokens)| {
            let finished = call(model, 0, verdict);
            (gap, Finished { project, latency_ms, ttft_ms, output_tokens, ..finished })
        })
}

proptest! {
    /// With the window's far edge where the buckets put it, the fold is the formula; and that edge is between 63/64 of the
    /// window and the window.
    #[test]
    fn the_fold_is_the_formula_up_to_the_step_of_the_edge(
        calls in prop::collection::vec(any_call(), 1..120),
        window_s in 6..7_200_u64,
        half_life_s in prop_oneof![1 => Just(0), 4 => 6..7_200_u64],
        delays in prop::collection::vec(0..400_u64, 1..20),
        idle in 0..4_000_000_u64,
    ) {
        let (window_ms, half_life_ms) = (window_s * 1_000, half_life_s * 1_000);
        let mut fold = folding(&plan(window_ms, half_life_ms));
        let (mut now, mut ended) = (0, vec![]);
        for (index, (gap, call)) in calls.into_iter().enumerate() {
            now += gap;
            // A record is folded a moment after the call has ended, not in order.
            let delay = delays[index % delays.len()].min(now);
            let call = Finished { finished_ms: UNIX_MS + now - delay, ..call };
            ended.push(call);
            fold.record(&call, at(now));
            if gap % 3 == 0 {
                fold.tick(at(now));
            }
        }
        now += idle;
        // A reload computes every row, however little has changed.
        fold.adopt(2, &names(), &plan(window_ms, half_life_ms), at(now));
        let view = fold.tick(at(now)).unwrap();

        let width_ms = window_ms / 64;
        let edge_ms = (UNIX_MS + now) - ((UNIX_MS + now) / width_ms - 63) * width_ms;
        prop_assert!(edge_ms <= window_ms && edge_ms + width_ms + 64 > window_ms, "{edge_ms} of {window_ms}");
        for model in 0..3 {
            let (health, performance, made, _) = naive(&ended, model, now, edge_ms, half_life_ms);
            let (found, index) = (view.health[0][model as usize], model as usize);
            prop_assert!(close(found.calls, health.calls), "{found:?} {health:?}");
            prop_assert!(close(found.failures, health.failures), "{found:?} {health:?}");
            prop_assert_eq!(
                (found.samples, found.last_failure_ms),
                (health.samples, health.last_failure_ms)
            );
            assert_close(view.performance[0][index].latency, performance.latency);
            assert_close(view.performance[0][index].ttft, performance.ttft);
            assert_close(view.performance[0][index].per_output_token, performance.per_output_token);
            prop_assert_eq!(view.calls[0][index], made);
        }
        // What the step of the edge is worth: never more than the calls in it.
        let (exact, .., made, _) = naive(&ended, 0, now, window_ms, half_life_ms);
        let (inner, .., fewer, _) = naive(&ended, 0, now, window_ms - width_ms - 64, half_life_ms);
        prop_assert!(view.health[0][0].calls <= exact.calls * (1.0 + 1e-9));
        prop_assert!(view.health[0][0].calls >= inner.calls * (1.0 - 1e-9));
        prop_assert!((fewer..=made).contains(&view.calls[0][0]));
        // Project 0 has the models 2 and 0, project 1 has model 0.
        for (series, place, project, model) in [(0, 0, 0, 2), (0, 1, 0, 0), (1, 0, 1, 0)] {
            let own: Vec<Finished> = ended.iter().filter(|call| call.project == project).copied().collect();
            let (.., succeeded) = naive(&own, model, now, edge_ms, 0);
            prop_assert_eq!(view.successes[series][place], succeeded);
        }
    }

    /// Between two calls nobody computes anything until it is worth it: rows are at most a 64th of a half-life old.
    #[test]
    fn rows_that_nobody_touches_decay_in_small_steps(
        half_life_s in 6..1_200_u64,
        steps in prop::collection::vec(1..20_000_u64, 1..60),
    ) {
        let half_life_ms = half_life_s * 1_000;
        let mut fold = folding(&plan(24 * HOUR_MS, half_life_ms));
        fold.record(&call(0, 0, Verdict::Failure), at(0));
        let (mut now, mut view) = (0, fold.tick(at(0)).unwrap());
        for step in steps {
            now += step;
            view = fold.tick(at(now)).unwrap_or(view);
            let exact = (-(now as f64) / half_life_ms as f64).exp2();
            let found = view.health[0][0].calls;
            prop_assert!(found >= exact * (1.0 - 1e-9) && found <= exact * 1.0110, "{found} {exact}");
        }
    }
}

#[test]
fn the_same_moment_counts_in_full_and_a_half_life_ago_half() {
    let mut fold = folding(&plan(20 * 60_000, 5 * 60_000));
    fold.record(&call(0, 0, Verdict::Failure), at(0));
    fold.record(&call(0, 300_000, Verdict::Success), at(300_000));
    let row = fold.tick(at(300_000)).unwrap().health[0][0];
    assert!(close(row.calls, 1.5) && close(row.failures, 0.5), "{row:?}");
    assert_eq!((row.samples, row.last_failure_ms), (2, UNIX_MS));
    // The window is over for the first one, then for both.
    let row = fold.tick(at(1_200_001)).unwrap().health[0][0];
    assert_eq!((row.samples, row.failures, row.last_failure_ms), (1, 0.0, 0));
    let view = fold.tick(at(1_500_001)).unwrap();
    assert_eq!(view.health[0][0], HealthRow::default());
    assert_eq!(view.performance[0][0], PerformanceRow::default());
    assert_eq!((view.calls[0][0], view.successes[0][1]), (0, 0));
}

#[test]
fn nothing_new_is_no_view() {
    let mut fold = folding(&plan(60_000, 0));
    assert!(fold.tick(at(0)).is_some(), "a configuration's first view");
    assert!(fold.tick(at(100)).is_none());
    fold.record(&call(1, 100, Verdict::NotCalled), at(100));
    assert!(fold.tick(at(200)).is_none(), "nobody was called");
    fold.record(&call(1, 200, Verdict::Neutral), at(200));
    let view = fold.tick(at(300)).unwrap();
    assert_eq!((view.calls[0][1], view.health[0][1].samples), (1, 0), "a call, and no word on health");
    assert!(fold.tick(at(1_300)).is_none(), "looked at again, and the same");
}

#[test]
fn a_reload_keeps_what_has_the_same_name_and_forgets_what_has_long_been_gone() {
    let mut fold = folding(&plan(HOUR_MS, 0));
    for model in 0..3 {
        for _ in 0..=model {
            fold.record(&call(model, 0, Verdict::Success), at(0));
        }
    }
    let reordered = Names {
        models: vec!["new", "c", "b", "a"],
        projects: vec![("other", vec![0]), ("p", vec![3, 0, 1])],
    };
    let mut wanted = plan(HOUR_MS, 0);
    wanted.calls = vec![60_000, HOUR_MS];
    wanted.successes = vec![ProjectWindow { project: 1, window_ms: HOUR_MS }];
    fold.adopt(2, &reordered, &wanted, at(1_000));
    // Began before the reload, ended after it.
    fold.record(&call(0, 1_000, Verdict::Success), at(1_000));
    let view = fold.tick(at(1_000)).unwrap();
    assert_eq!(view.generation, 2);
    assert_eq!(view.calls[1][..], [0, 3, 2, 2]);
    assert_eq!(view.calls[0][..], [0, 0, 0, 1], "a new window begins empty");
    assert_eq!(view.successes[0][..], [2, 0, 3]);

    // A model that is missing for a moment is not forgotten.
    let without = Names { models: vec!["new"], projects: vec![] };
    let counting_only = Plan { calls: vec![HOUR_MS], ..Plan::default() };
    fold.adopt(3, &without, &counting_only, at(2_000));
    fold.record(&call(0, 2_000, Verdict::Success), at(2_000));
    fold.adopt(4, &names(), &counting_only, at(3_000));
    assert_eq!(fold.tick(at(3_000)).unwrap().calls[0][..], [3, 2, 3]);
    for generation in 5..5 + SNAPSHOTS_KEPT_MAX as u64 {
        fold.adopt(generation, &without, &counting_only, at(4_000));
    }
    // Its configuration is no longer known.
    fold.record(&call(0, 4_000, Verdict::Success), at(4_000));
    fold.adopt(99, &names(), &counting_only, at(5_000));
    assert_eq!(fold.tick(at(5_000)).unwrap().calls[0][..], [0, 0, 0]);
}

#[test]
fn a_wall_clock_that_is_set_moves_nothing() {
    let mut fold = folding(&plan(20 * 60_000, 5 * 60_000));
    let moment = |since_ms, wall_ms| Moment { wall_ms, steady_ms: UNIX_MS + since_ms };
    fold.record(&call(0, 0, Verdict::Success), at(0));
    // A day back: the call seems to be of the future, and counts as of now.
    let back = UNIX_MS - 24 * HOUR_MS;
    fold.record(&call(0, 0, Verdict::Failure), moment(0, back));
    let view = fold.tick(moment(0, back)).unwrap();
    assert!(close(view.health[0][0].calls, 2.0));
    assert_eq!(view.health[0][0].last_failure_ms, back, "never later than now");
    let view = fold.tick(moment(300_000, back + 300_000)).unwrap();
    assert!(close(view.health[0][0].calls, 1.0), "decay goes by the other clock: {view:?}");
    // A day ahead: what ended before the step seems to be a day old; what ends after it counts.
    let ahead = UNIX_MS + 24 * HOUR_MS;
    fold.record(&call(0, 0, Verdict::Success), moment(300_000, ahead));
    fold.record(&call(0, 24 * HOUR_MS, Verdict::Success), moment(300_000, ahead));
    assert!(close(fold.tick(moment(300_000, ahead)).unwrap().health[0][0].calls, 2.0));
}

#[test]
fn a_tick_computes_a_bounded_number_of_rows_and_the_next_ones_the_rest() {
    let ids: Vec<String> = (0..2 * METRIC_ROWS_PER_TICK_MAX + 10).map(|index| index.to_string()).collect();
    let models: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut fold = Fold::default();
    let wanted = Plan { calls: vec![HOUR_MS, 60_000], ..Plan::default() };
    fold.adopt(1, &Names { models, projects: vec![] }, &wanted, at(0));
    for model in 0..ids.len() as u32 {
        fold.record(&call(model, 0, Verdict::Success), at(0));
    }
    let count = |view: &View| -> Vec<usize> {
        view.calls.iter().map(|row| row.iter().filter(|calls| **calls == 1).count()).collect()
    };
    let mut seen = vec![];
    while let Some(view) = fold.tick(at(0)) {
        seen.push(count(&view));
    }
    let all = ids.len();
    assert_eq!(seen[0], [METRIC_ROWS_PER_TICK_MAX, 0]);
    assert_eq!(seen.len(), (2 * all).div_ceil(METRIC_ROWS_PER_TICK_MAX));
    assert_eq!(seen.last().unwrap()[..], [all, all]);
}

#[test]
fn windows_of_projects_are_bounded_and_make_room_when_they_run_empty() {
    let ids: Vec<String> = (0..METRIC_PROJECT_WINDOWS_MAX / 64 + 1).map(|index| index.to_string()).collect();
    let models: Vec<&str> = ids.iter().map(String::as_str).collect();
    let all: Vec<u32> = (0..models.len() as u32).collect();
    let names = Names { projects: vec![("p", all); 64], models };
    let projects: Vec<String> = (0..64).map(|index| format!("p{index}")).collect();
    let names = Names {
        projects: projects
            .iter()
            .zip(names.projects)
            .map(|(id, (_, models))| (id.as_str(), models))
            .collect(),
        ..names
    };
    let successes = (0..64).map(|project| ProjectWindow { project, window_ms: 60_000 }).collect();
    let mut fold = Fold::default();
    fold.adopt(1, &names, &Plan { successes, ..Plan::default() }, at(0));
    let mut fill = |now: u64| {
        for model in 0..ids.len() as u32 {
            for project in 0..64 {
                fold.record(&Finished { project, ..call(model, now, Verdict::Success) }, at(now));
            }
        }
        let mut last = fold.tick(at(now));
        while let Some(view) = fold.tick(at(now)) {
            last = Some(view);
        }
        let view = last.unwrap();
        view.successes.iter().map(|row| row.iter().sum::<u64>()).sum::<u64>()
    };
    assert_eq!(fill(0), METRIC_PROJECT_WINDOWS_MAX as u64);
    assert_eq!(fill(1_000), 2 * METRIC_PROJECT_WINDOWS_MAX as u64, "known pairs go on");
    assert_eq!(fill(120_000), METRIC_PROJECT_WINDOWS_MAX as u64, "the old calls are gone");
}

#[test]
fn series_of_all_calls_are_bounded() {
    let windows = |count: usize| (1..=count as u64).map(|minutes| minutes * 60_000).collect();
    let plan = |count| Plan { calls: windows(count), ..Plan::default() };
    assert_eq!(plan(METRIC_SERIES_MAX).check(), Ok(()));
    let mistakes = plan(METRIC_SERIES_MAX + 1).check().unwrap_err();
    assert_eq!(
        mistakes,
        ["the `rate-limit` policies of all projects have 65 different windows; at most 64 are kept"]
    );
}
