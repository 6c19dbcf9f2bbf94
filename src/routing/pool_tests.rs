//! Pools of candidates, policies and numbers in, rankings out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{Config, Document, Documents, Env, NoKeys};
use crate::dialect::Features;
use crate::provider::Catalogue;
use crate::routing::metrics::{HealthRow, Mean, PerformanceRow};
use crate::routing::{Asks, Plan};

const NOW: u64 = 1_800_000_000_000;

/// A configuration with one project that uses all models, made of the entries that the file would have.
fn plan(models: Vec<Value>, policies: Value) -> Plan {
    let entries: Vec<Value> = models.iter().map(|model| json!({"modelId": model["id"]})).collect();
    let document = |value: Value| Document { text: value.to_string(), value };
    let documents = Documents {
        settings: Document::default(),
        models: document(Value::from(models)),
        projects: document(json!([{"id": "p", "models": entries, "policies": policies}])),
    };
    let catalogue = Arc::new(Catalogue::built_in().clone());
    let config = Config::check(&documents, catalogue, &Env::default(), &NoKeys, &mut Vec::new());
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let models = config.models().iter().map(|model| &**model);
    Plan::build(models, config.projects().iter().map(|project| &**project))
}

fn model(id: &str, more: Value) -> Value {
    let mut model = json!({"id": id, "provider": "simulated"});
    model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    model
}

/// `count` models without properties.
fn models(count: usize) -> Vec<Value> {
    (0..count).map(|index| model(&format!("m{index}"), json!({}))).collect()
}

/// `count` policies whose points come from outside.
fn told(count: usize) -> Value {
    let one = json!({"type": "llm", "config": {"routingModelId": "m0"}});
    Value::from(vec![one; count])
}

/// A candidate of class `class` for each model.
fn pool(classes: &[usize]) -> Pool {
    let standing = Standing::default();
    let candidate = |(target, class): (usize, &usize)| Candidate {
        target,
        standing,
        place: target,
        class: *class,
        weight: 1,
        is_out: false,
    };
    Pool { candidates: classes.iter().enumerate().map(candidate).collect(), ..Pool::default() }
}

const INPUTS: Inputs<'_> = Inputs {
    needs: Needs { input_tokens: 0, output_tokens_max: None, features: Features::NONE },
    view: None,
    now_ms: NOW,
    seed: 1,
};

/// The whole way of a request; what it came to, and why.
fn route(
    pool: &mut Pool,
    plan: &Plan,
    inputs: &Inputs<'_>,
    external: &[External],
) -> (Result<Vec<usize>, Dry>, Explained) {
    let policies = plan.projects[0].as_deref().expect("policies");
    let mut ranked = vec![77];
    let mut result = pool.narrow(&plan.traits, policies, inputs);
    for ((policy, _), external) in policies.calling().zip(external) {
        result = result.and_then(|()| pool.tell(policy, external.clone()));
    }
    let result = result.map(|()| {
        pool.rank(&plan.traits, policies, inputs, &mut ranked);
        ranked
    });
    let mut explained = Explained::default();
    pool.explain(policies, &mut explained);
    (result, explained)
}

/// Points of targets 0, 1, 2, …; none: not scored.
fn points<const N: usize>(points: [Option<f64>; N]) -> External {
    let scored = points.into_iter().enumerate().filter_map(|(target, point)| Some((target, point?)));
    External { points: scored.collect(), ..External::default() }
}

fn scores(explained: &Explained) -> Vec<Option<u16>> {
    explained.candidates.iter().map(|candidate| candidate.score.map(|score| score.0)).collect()
}

const FAILED: External = External { points: Vec::new(), excludes: Vec::new(), error: Some(String::new()) };

/// Name, what each policy says, score of each model, ranking, how many are tied.
type Combination = (&'static str, Vec<External>, [u16; 3], [usize; 3], usize);

#[test]
fn points_are_combined_as_in_the_table() {
    const NAN: Option<f64> = Some(f64::NAN);
    let some = |points: [f64; 3]| self::points(points.map(Some));
    let cases: Vec<Combination> = vec![
        // (0.9·3 + 0.2·2 + 0.5·1)/6, (0.1·3 + 0.8·2 + 1)/6, (0.6·2 + 0.2·1)/3
        (
            "weights fall from the first to the last, and who is not scored loses no weight",
            vec![points([Some(0.9), Some(0.1), None]), some([0.2, 0.8, 0.6]), some([0.5, 1.0, 0.2])],
            [6_000, 4_833, 4_667],
            [0, 1, 2],
            1,
        ),
        ("one policy", vec![some([0.25, 1.0, 0.5])], [2_500, 10_000, 5_000], [1, 2, 0], 1),
        (
            "a policy that tells nobody apart is ignored",
            vec![some([0.9, 0.9, 0.9]), some([0.1, 0.2, 0.3])],
            [1_000, 2_000, 3_000],
            [2, 1, 0],
            1,
        ),
        (
            "nearly the same is the same",
            vec![some([0.90001, 0.90009, 0.9]), some([0.1, 0.2, 0.3])],
            [1_000, 2_000, 3_000],
            [2, 1, 0],
            1,
        ),
        // (0.9·2 + 0.3)/3 and so on
        (
            "a little more is not",
            vec![some([0.9, 0.9, 0.9002]), some([0.3, 0.2, 0.1])],
            [7_000, 6_667, 6_335],
            [0, 1, 2],
            1,
        ),
        (
            "a policy that scored one only tells nobody apart",
            vec![points([Some(1.0), None, None]), some([0.1, 0.2, 0.3])],
            [1_000, 2_000, 3_000],
            [2, 1, 0],
            1,
        ),
        (
            "a policy that failed does not count",
            vec![FAILED, some([0.1, 0.2, 0.3])],
            [1_000, 2_000, 3_000],
            [2, 1, 0],
            1,
        ),
        (
            "what is no number is a half, and what is out of bounds is cut",
            vec![points([NAN, Some(7.0), Some(-3.0)])],
            [5_000, 10_000, 0],
            [1, 0, 2],
            1,
        ),
        (
            "infinite points are cut as well",
            vec![points([Some(f64::NEG_INFINITY), Some(f64::INFINITY), Some(0.4)])],
            [0, 10_000, 4_000],
            [1, 2, 0],
            1,
        ),
        (
            "who was scored by nobody that counts gets a half",
            vec![points([Some(0.4), None, Some(0.6)])],
            [4_000, 5_000, 6_000],
            [2, 1, 0],
            1,
        ),
        ("ties keep the project's order", vec![some([0.5, 0.9, 0.9])], [5_000, 9_000, 9_000], [1, 2, 0], 2),
        (
            "scores that are the same to four decimals are a tie",
            vec![some([0.1, 0.70001, 0.70004])],
            [1_000, 7_000, 7_000],
            [1, 2, 0],
            2,
        ),
        ("rounded half up", vec![some([0.00006, 0.12344, 0.99996])], [1, 1_234, 10_000], [2, 1, 0], 1),
    ];
    for (name, external, expected, order, tied) in cases {
        let plan = plan(models(3), told(external.len()));
        let (ranked, explained) = route(&mut pool(&[2, 2, 2]), &plan, &INPUTS, &external);
        assert_eq!(scores(&explained), expected.map(Some), "{name}");
        assert_eq!(ranked.as_deref(), Ok(&order[..]), "{name}");
        assert_eq!((explained.order, explained.tied, explained.note), (order.to_vec(), tied, None), "{name}");
    }
}

#[test]
fn an_explanation_says_what_became_of_each_policy() {
    let external = [
        points([Some(0.9), None]),
        points([Some(0.33333), Some(0.66666)]),
        External { error: Some("timeout".to_owned()), ..External::default() },
    ];
    let (_, explained) = route(&mut pool(&[2, 2]), &plan(models(2), told(3)), &INPUTS, &external);
    let parts: Vec<(u16, Part, Option<&str>)> = explained
        .policies
        .iter()
        .map(|policy| (policy.weight, policy.part, policy.error.as_deref()))
        .collect();
    assert_eq!(
        parts,
        [(3, Part::Abstained, None), (2, Part::Counted, None), (1, Part::Failed, Some("timeout"))]
    );
    assert_eq!((explained.point(0, 0), explained.point(0, 1)), (Some(0.9), None));
    assert_eq!(explained.contribution(1, 1), Some(1.3333));
    assert_eq!((explained.contribution(2, 0), explained.contribution(9, 9)), (None, None));
}

#[test]
fn named_models_come_first_and_native_ones_settle_ties() {
    let plan = plan(models(4), told(1));
    let external = [points([Some(0.5), Some(0.9), Some(1.0), Some(0.9)])];
    // As the classes stand: named and native, named, native, neither.
    let (ranked, explained) = route(&mut pool(&[0, 1, 2, 3]), &plan, &INPUTS, &external);
    assert_eq!(ranked.as_deref(), Ok(&[1, 0, 2, 3][..]));
    let named: Vec<bool> = explained.candidates.iter().map(|candidate| candidate.named).collect();
    assert_eq!(named, [true, true, false, false]);
    let external = [points([Some(0.5), Some(0.9), Some(0.9), Some(0.9)])];
    let (ranked, explained) = route(&mut pool(&[2, 2, 3, 3]), &plan, &INPUTS, &external);
    assert_eq!((ranked.as_deref(), explained.tied), (Ok(&[1, 2, 3, 0][..]), 3));
}

#[test]
fn without_a_difference_chance_decides_evenly() {
    let plan = plan(models(3), json!([{"type": "context"}, {"type": "capability"}]));
    let mut first = [0; 3];
    for seed in 0..9_000 {
        let (ranked, explained) = route(&mut pool(&[2, 2, 2]), &plan, &Inputs { seed, ..INPUTS }, &[]);
        let ranked = ranked.unwrap();
        first[ranked[0]] += 1;
        let mut sorted = ranked.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2], "everybody stays in");
        assert_eq!((explained.note, explained.tied), (Some(Note::AllAbstained), 0));
        let scores = explained.order.iter().map(|at| explained.candidates[*at].score.unwrap());
        assert!(scores.is_sorted_by(|a, b| a >= b), "scores fall");
        let (again, _) = route(&mut pool(&[2, 2, 2]), &plan, &Inputs { seed, ..INPUTS }, &[]);
        assert_eq!(again.as_deref(), Ok(&ranked[..]));
    }
    // Five standard deviations of a binomial of 9,000 and 1/3.
    assert!(first.iter().all(|count| (2_776..=3_224).contains(count)), "{first:?}");
}

#[test]
fn chance_follows_the_weights() {
    let plan = plan(models(4), json!([{"type": "capability"}]));
    let mut weighed = pool(&[2; 4]);
    for (candidate, weight) in weighed.candidates.iter_mut().zip([1, 3, 6, 0]) {
        candidate.weight = weight;
    }
    let (mut first, mut second) = ([0; 4], [0; 4]);
    for seed in 0..10_000 {
        let (ranked, _) = route(&mut weighed, &plan, &Inputs { seed, ..INPUTS }, &[]);
        let ranked = ranked.unwrap();
        first[ranked[0]] += 1;
        second[ranked[1]] += 1;
        assert_eq!(ranked[3], 3, "who has no weight comes last");
    }
    // Shares of ten. For the second place: the sum over who was first of the shares of what is left.
    let expected = |place: usize| match place {
        0 => [1_000.0, 3_000.0, 6_000.0],
        _ => [1_928.6, 4_833.3, 3_238.1],
    };
    for (place, counts) in [first, second].into_iter().enumerate() {
        for (count, expected) in counts.into_iter().zip(expected(place)) {
            // Five standard deviations are at most 250.
            assert!((f64::from(count) - expected).abs() < 250.0, "{place}: {counts:?}");
        }
    }
}

#[test]
fn chance_does_not_put_a_translated_model_before_a_native_one() {
    let plan = plan(models(4), json!([{"type": "capability"}]));
    for seed in 0..100 {
        let (ranked, _) = route(&mut pool(&[1, 2, 2, 3]), &plan, &Inputs { seed, ..INPUTS }, &[]);
        let ranked = ranked.unwrap();
        assert_eq!((ranked[0], ranked[3]), (0, 3));
    }
}

#[test]
fn exclusions_of_all_policies_are_united_with_their_reasons() {
    let models = vec![
        model("a", json!({"contextWindow": 100, "capabilities": {"vision": false}})),
        model("b", json!({"contextWindow": 1_000})),
        model("c", json!({"capabilities": {"vision": false}})),
        model("d", json!({"contextWindow": 400})),
    ];
    let plan = plan(models, json!([{"type": "capability"}, {"type": "context"}]));
    let needs = Needs { input_tokens: 80, output_tokens_max: Some(300), features: Features::VISION };
    let (ranked, explained) = route(&mut pool(&[2; 4]), &plan, &Inputs { needs, ..INPUTS }, &[]);
    assert_eq!(ranked.as_deref(), Ok(&[1, 3][..]), "0.38 of the window beats 0.95 of it");
    let excluded: Vec<(usize, usize, Reason)> =
        explained.exclusions.iter().map(|out| (out.policy, out.candidate, out.reason)).collect();
    assert_eq!(
        excluded,
        [
            (0, 0, Reason::Capability(Features::VISION)),
            (0, 2, Reason::Capability(Features::VISION)),
            (1, 0, Reason::Context { tokens: 380, window: 100 }),
        ]
    );
    assert_eq!(scores(&explained), [None, Some(10_000), None, Some(3_250)]);
    assert_eq!(explained.policies[0].part, Part::Abstained);
    assert_eq!(explained.point(1, 0), None, "who is out is not scored");
}

#[test]
fn points_compare_only_who_is_left() {
    let priced = |id, price, window| {
        model(
            id,
            json!({"cost": {"inputPerMillion": price, "outputPerMillion": price}, "contextWindow": window}),
        )
    };
    let models = vec![priced("small", 1, 10), priced("a", 4, 1_000), priced("b", 8, 1_000)];
    let needs = Needs { input_tokens: 50, ..Needs::default() };
    let cheapest = plan(models.clone(), json!([{"type": "cheapest"}]));
    let (ranked, explained) = route(&mut pool(&[2; 3]), &cheapest, &Inputs { needs, ..INPUTS }, &[]);
    assert_eq!(ranked.as_deref(), Ok(&[0, 1, 2][..]));
    assert_eq!(scores(&explained), [Some(10_000), Some(2_500), Some(1_250)]);
    let both = plan(models, json!([{"type": "context"}, {"type": "cheapest"}]));
    let (ranked, explained) = route(&mut pool(&[2; 3]), &both, &Inputs { needs, ..INPUTS }, &[]);
    assert_eq!(ranked.as_deref(), Ok(&[1, 2][..]));
    assert_eq!(scores(&explained), [None, Some(10_000), Some(5_000)]);
}

#[test]
fn used_up_limits_come_before_all_policies() {
    let plan = plan(models(3), json!([{"type": "capability"}, {"type": "budget-remaining"}]));
    let exhausted = |pool: &mut Pool, which: &[usize]| {
        which.iter().for_each(|at| pool.candidates_mut()[*at].standing.is_exhausted = true);
    };
    let mut some = pool(&[2; 3]);
    exhausted(&mut some, &[1]);
    some.candidates_mut()[0].standing.headroom = 0.25;
    let (ranked, explained) = route(&mut some, &plan, &INPUTS, &[]);
    assert_eq!((ranked.as_deref(), explained.exclusions), (Ok(&[2, 0][..]), vec![]));
    assert!(explained.candidates[1].exhausted);
    let mut all = pool(&[2; 3]);
    exhausted(&mut all, &[0, 1, 2]);
    assert_eq!(route(&mut all, &plan, &INPUTS, &[]).0, Err(Dry::Exhausted));
    let mut but_one = pool(&[2; 3]);
    exhausted(&mut but_one, &[0, 1]);
    let (ranked, explained) = route(&mut but_one, &plan, &INPUTS, &[]);
    assert_eq!((ranked.as_deref(), explained.note), (Ok(&[2][..]), Some(Note::SingleCandidate)));
}

#[test]
fn a_single_candidate_meets_the_filters_on_what_it_can_do_alone() {
    let models = vec![model("a", json!({"contextWindow": 100, "capabilities": {"vision": false}}))];
    let policies =
        json!([{"type": "health"}, {"type": "rate-limit"}, {"type": "context"}, {"type": "capability"}]);
    let plan = plan(models, policies);
    let mut broken = pool(&[2]);
    broken.candidates_mut()[0].standing =
        Standing { is_broken: true, cooldown_until_ms: u64::MAX, ..Standing::default() };
    let (ranked, explained) = route(&mut broken, &plan, &INPUTS, &[]);
    assert_eq!(ranked.as_deref(), Ok(&[0][..]));
    assert_eq!(explained.note, Some(Note::SingleCandidate));
    assert_eq!(scores(&explained), [Some(10_000)]);
    assert!(explained.policies.iter().all(|policy| policy.part == Part::Skipped));
    for needs in [
        Needs { input_tokens: 100, ..Needs::default() },
        Needs { features: Features::VISION, ..Needs::default() },
    ] {
        let (ranked, explained) = route(&mut pool(&[2]), &plan, &Inputs { needs, ..INPUTS }, &[]);
        assert_eq!((ranked, explained.exclusions.len()), (Err(Dry::Excluded), 1), "{needs:?}");
    }
}

#[test]
fn policies_that_ask_can_exclude_but_not_the_last_word() {
    let plan = plan(models(3), told(2));
    let out = |excludes: &[usize]| External {
        excludes: excludes.to_vec(),
        ..points([Some(0.1), Some(0.9), Some(0.2)])
    };
    let (ranked, explained) =
        route(&mut pool(&[2; 3]), &plan, &INPUTS, &[out(&[1]), points([Some(1.0), None, Some(0.8)])]);
    // (0.1·2 + 1)/3 and (0.2·2 + 0.8)/3
    assert_eq!(ranked.as_deref(), Ok(&[0, 2][..]));
    assert_eq!((scores(&explained), explained.tied), (vec![Some(4_000), None, Some(4_000)], 2));
    assert_eq!(explained.exclusions, [Exclusion { policy: 0, candidate: 1, reason: Reason::Intent }]);
    let (ranked, _) = route(&mut pool(&[2; 3]), &plan, &INPUTS, &[out(&[0, 1, 2])]);
    assert_eq!(ranked, Err(Dry::Excluded));
    let failed = External { error: Some("x".to_owned()), ..out(&[0, 1, 2]) };
    let (ranked, explained) = route(&mut pool(&[2; 3]), &plan, &INPUTS, &[failed]);
    assert_eq!((ranked.map(|ranked| ranked.len()), explained.exclusions), (Ok(3), vec![]));
}

#[test]
fn numbers_of_past_calls_reach_their_policies() {
    let limited =
        |id| model(id, json!({"limits": [{"metric": "calls", "window": "daily", "value": 1_000_000}]}));
    let models = vec![limited("a"), limited("b"), limited("c")];
    let mut view = View {
        generation: 1,
        health: vec![Arc::new([]), Arc::new([HealthRow::default(); 3])],
        ..View::default()
    };
    let rank = |policy: Value, view: &View| {
        let plan = plan(models.clone(), json!([policy]));
        let (ranked, explained) =
            route(&mut pool(&[2; 3]), &plan, &Inputs { view: Some(view), ..INPUTS }, &[]);
        (ranked, scores(&explained))
    };

    let row = |failures, calls| HealthRow { failures, calls, samples: 10, last_failure_ms: NOW };
    view.health = vec![Arc::new([row(6.0, 8.0), row(10.0, 10.0), row(2.0, 8.0)])];
    let (ranked, scores) = rank(json!({"type": "health"}), &view);
    assert_eq!((ranked, scores), (Ok(vec![2, 0]), vec![Some(4_000), None, Some(8_000)]));

    let row = |ms, first, each| PerformanceRow {
        latency: Mean { ms, samples: 1 },
        ttft: Mean { ms: first, samples: 1 },
        per_output_token: Mean { ms: each, samples: 1 },
    };
    view.performance =
        vec![Arc::new([row(400.0, 50.0, 2.0), row(100.0, 200.0, 8.0), row(200.0, 100.0, 4.0)])];
    for (metric, expected) in [
        ("latency", [2_500, 10_000, 5_000]),
        ("ttft", [10_000, 2_500, 5_000]),
        ("perOutputToken", [10_000, 2_500, 5_000]),
    ] {
        let (_, scores) = rank(json!({"type": "performance", "config": {"metric": metric}}), &view);
        assert_eq!(scores, expected.map(Some), "{metric}");
    }

    view.calls = vec![Arc::new([30, 10, 20])];
    let (ranked, scores) = rank(json!({"type": "rate-limit"}), &view);
    assert_eq!((ranked, scores), (Ok(vec![1, 2, 0]), vec![Some(3_333), Some(10_000), Some(5_000)]));
    let (ranked, _) = rank(json!({"type": "rate-limit", "config": {"maxCallsPerWindow": 30}}), &view);
    assert_eq!(ranked, Ok(vec![1, 2]));

    view.successes = vec![Arc::new([6, 3, 1])];
    let (ranked, scores) = rank(json!({"type": "fairness"}), &view);
    assert_eq!((ranked, scores), (Ok(vec![2, 1, 0]), vec![Some(4_000), Some(7_000), Some(9_000)]));
}

#[test]
fn a_plan_shares_series_and_says_what_it_asks_for() {
    let priced = model(
        "tiers",
        json!({"cost": {"inputPerMillion": 1, "outputPerMillion": 1,
        "pricingTiers": [{"above": 10, "inputPerMillion": 2, "outputPerMillion": 2}]}}),
    );
    let asks = |models: Vec<Value>, kind: &str| {
        plan(models, json!([{"type": kind}])).projects[0].as_ref().unwrap().asks
    };
    let none = Asks::default();
    let cases = [
        ("context", Asks { needs: true, ..none }),
        ("capability", Asks { needs: true, ..none }),
        ("cheapest", none),
        ("health", Asks { state: true, ..none }),
        ("rate-limit", Asks { state: true, ..none }),
        ("performance", none),
        ("fairness", none),
        ("budget-remaining", Asks { headroom: true, ..none }),
    ];
    for (kind, expected) in cases {
        assert_eq!(asks(models(1), kind), expected, "{kind}");
    }
    assert_eq!(asks(vec![priced], "cheapest"), Asks { needs: true, ..none }, "prices with tiers");
    let policies = json!([
        {"type": "health"}, {"type": "performance"}, {"type": "health", "config": {"minSamples": 9}},
        {"type": "health", "config": {"windowMinutes": 1}}, {"type": "fairness"}, {"type": "rate-limit"},
        {"type": "fairness", "config": {"windowMinutes": 1}}, {"type": "fairness", "enabled": false, "config": {"windowMinutes": 9}},
        {"type": "llm", "config": {"modelId": "m0"}},
    ]);
    let plan = plan(models(1), policies);
    let lengths = [
        plan.metrics.health.len(),
        plan.metrics.performance.len(),
        plan.metrics.calls.len(),
        plan.metrics.successes.len(),
    ];
    assert_eq!(lengths, [2, 1, 1, 2]);
    let policies = plan.projects[0].as_ref().unwrap();
    assert_eq!(
        policies.calling().collect::<Vec<_>>(),
        [(7, 8)],
        "switched off ones are counted in the project's list"
    );
    assert_eq!(policies.kinds[7], "llm");
    assert!(policies.asks.calls);
}

#[test]
fn without_enabled_policies_there_is_nothing_to_run() {
    let plan = plan(models(2), json!([{"type": "health", "enabled": false}]));
    assert!(plan.projects[0].is_none() && plan.metrics.is_empty());
}

/// A model with all that policies look at.
fn any_model() -> impl Strategy<Value = Value> {
    (0..5_u64, 0..5_u64, prop::option::of(50..2_000_u64), any::<[bool; 3]>()).prop_map(
        |(input, output, window, [vision, tools, limited])| {
            let limits =
                if limited { json!([{"metric": "calls", "window": "daily", "value": 5}]) } else { json!([]) };
            json!({"provider": "simulated", "contextWindow": window, "limits": limits,
                "cost": {"inputPerMillion": input, "outputPerMillion": output},
                "capabilities": {"vision": vision, "functionCalling": tools}})
        },
    )
}

/// What is known of past calls of a model, and how it stands.
type Past = ((f64, f64, u32), (f64, u32), u64, u64, Standing);

fn any_past() -> impl Strategy<Value = Past> {
    let standing =
        (any::<[bool; 3]>(), 0..3_u64, 0.0..=1.0_f64).prop_map(|([out, broken, probing], cool, headroom)| {
            Standing {
                is_exhausted: out && broken,
                is_broken: broken && probing,
                tried_ms: if probing { NOW - 1_000 } else { 0 },
                cooldown_until_ms: cool * NOW / 2,
                headroom,
            }
        });
    ((0.0..10.0_f64, 0.0..10.0_f64, 0..9_u32), (0.0..900.0_f64, 0..3_u32), 0..50_u64, 0..50_u64, standing)
}

const ALL: [&str; 8] = [
    "context",
    "cheapest",
    "health",
    "performance",
    "capability",
    "rate-limit",
    "fairness",
    "budget-remaining",
];

/// A target with its point of each policy, its score, and who excluded it why.
type Fate = (usize, Vec<Option<f64>>, Option<Score>, Vec<(usize, Reason)>);

/// What became of each target, whatever the order of the candidates.
fn by_target(explained: &Explained) -> Vec<Fate> {
    let mut all: Vec<_> = (0..explained.candidates.len())
        .map(|at| {
            let points = (0..explained.policies.len()).map(|policy| explained.point(policy, at)).collect();
            let reasons = explained.exclusions.iter().filter(|out| out.candidate == at);
            let reasons = reasons.map(|out| (out.policy, out.reason)).collect();
            (explained.candidates[at].target, points, explained.candidates[at].score, reasons)
        })
        .collect();
    all.sort_by_key(|(target, ..)| *target);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_request_is_ranked_the_same_whatever_the_order_of_the_models(
        models in prop::collection::vec((any_model(), any_past(), 0..4_usize), 1..8),
        kinds in prop::sample::subsequence(ALL.to_vec(), 1..=8),
        (tokens, features, seed) in (0..2_000_u64, any::<bool>(), any::<u64>()),
        rotation in any::<prop::sample::Index>(),
    ) {
        let named: Vec<Value> = models.iter().enumerate().map(|(at, (model, ..))| {
            let mut model = model.clone();
            model["id"] = Value::from(format!("m{at}"));
            model
        }).collect();
        let policies: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        let plan = plan(named, Value::from(policies));
        let column = |row: &dyn Fn(&Past) -> HealthRow| -> Arc<[HealthRow]> { models.iter().map(|(_, past, _)| row(past)).collect() };
        let view = View {
            generation: 1,
            health: vec![column(&|((failures, calls, samples), ..)| HealthRow {
                failures: failures.min(*calls), calls: *calls, samples: *samples, last_failure_ms: NOW - 200_000 })],
            performance: vec![models.iter().map(|(_, (_, (ms, samples), ..), _)| PerformanceRow {
                latency: Mean { ms: *ms, samples: *samples }, ..PerformanceRow::default() }).collect()],
            calls: vec![models.iter().map(|(_, (_, _, calls, ..), _)| *calls).collect()],
            successes: vec![models.iter().map(|(_, (_, _, _, calls, _), _)| *calls).collect()],
        };
        let needs = Needs { input_tokens: tokens, output_tokens_max: None, features: if features { Features::VISION } else { Features::default() } };
        let inputs = Inputs { needs, view: Some(&view), now_ms: NOW, seed };
        let candidates: Vec<Candidate> = models.iter().enumerate().map(|(target, (_, (.., standing), class))| {
            Candidate { target, standing: *standing, place: target, class: *class, weight: 1, is_out: false }
        }).collect();

        let mut whole = Pool { candidates: candidates.clone(), ..Pool::default() };
        let (ranked, explained) = route(&mut whole, &plan, &inputs, &[]);
        // The same pool again: nothing is left over from the last request.
        prop_assert_eq!(&route(&mut whole, &plan, &inputs, &[]), &(ranked.clone(), explained.clone()));

        let mut turned = candidates.clone();
        turned.rotate_left(rotation.index(candidates.len()));
        let mut turned = Pool { candidates: turned, ..Pool::default() };
        let (other, turned) = route(&mut turned, &plan, &inputs, &[]);
        prop_assert_eq!(by_target(&turned), by_target(&explained));
        prop_assert_eq!(ranked.is_ok(), other.is_ok());

        let Ok(ranked) = ranked else { return Ok(()) };
        // Who is excluded is not ranked, everybody else is, once; scores fall within named and other ones.
        let mut sorted = ranked.clone();
        sorted.sort_unstable();
        let left: Vec<usize> = candidates.iter().enumerate().filter(|(at, candidate)| {
            !candidate.standing.is_exhausted && explained.exclusions.iter().all(|out| out.candidate != *at)
        }).map(|(at, _)| at).collect();
        prop_assert_eq!(sorted, left);
        if explained.note.is_none() {
            let keys: Vec<(bool, Option<Score>)> = ranked.iter().map(|target| {
                (candidates[*target].class < 2, explained.candidates[*target].score)
            }).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a >= b), "{keys:?}");
        }

        // Somebody without budget changes nothing for the others.
        let mut outsider = candidates;
        let standing = Standing { is_exhausted: true, ..Standing::default() };
        outsider.insert(rotation.index(outsider.len() + 1), Candidate { target: 0, standing, place: 0, class: 0, weight: 1, is_out: false });
        let mut outsider = Pool { candidates: outsider, ..Pool::default() };
        prop_assert_eq!(route(&mut outsider, &plan, &inputs, &[]).0, Ok(ranked));
    }
}

#[test]
fn the_best_ones_are_ordered_by_their_seed_alone() {
    let plan = plan(models(5), told(1));
    let policies = plan.projects[0].as_deref().expect("policies");
    let said = points([Some(0.90), Some(0.88), Some(0.86), Some(0.70), Some(0.91)]);
    let order = |seed: u64, within: f64, external: &External, classes: &[usize]| {
        let mut pool = pool(classes);
        let (ranked, _) = route(&mut pool, &plan, &INPUTS, std::slice::from_ref(external));
        let mut ranked = ranked.expect("somebody is left");
        pool.shuffle_best(within, seed, &mut ranked);
        let mut explained = Explained::default();
        pool.explain(policies, &mut explained);
        let told: Vec<usize> = explained.order.iter().map(|at| explained.candidates[*at].target).collect();
        assert_eq!(told, ranked, "and that is what is told");
        ranked
    };
    let native = [2; 5];
    assert_eq!(order(1, 0.0, &said, &native), [4, 0, 1, 2, 3]);
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let near = order(seed, 0.05, &said, &native);
        assert_eq!(near, order(seed, 0.05, &said, &native));
        assert_eq!(near[4], 3, "who is far behind stays there");
        firsts.insert(near[0]);
        // Who is named stays before the others.
        assert_eq!(order(seed, 1.0, &said, &[2, 2, 2, 0, 2])[0], 3);
        // One that is out moves only what it had.
        let fewer = External { excludes: vec![4], ..said.clone() };
        let without = order(seed, 0.05, &fewer, &native);
        let left: Vec<usize> = near.iter().copied().filter(|target| *target != 4).collect();
        assert_eq!(without, left, "seed {seed}");
        // Where nobody is told apart all are near.
        let all = order(seed, 0.0, &FAILED, &native);
        assert_eq!(all, order(seed, 0.0, &FAILED, &native));
    }
    assert_eq!(firsts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 4]);
}
