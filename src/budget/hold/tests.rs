//! The life of a hold: cases, and many requests on many cores against naive sums.

use std::collections::HashMap;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::budget::account::Level;
use crate::budget::book::Book;
use crate::budget::plan::tests::{NOW, calls, config, token};

const WHO: Who = Who { project: 0, owner: 0, token: 0 };
const CALL: Amounts = Amounts { calls: 1, input: 0, output: 0, cost: 0 };

fn limit(metric: &str, value: u64) -> Value {
    json!({"metric": metric, "window": "daily", "value": value})
}

/// Platform limits, limits of `m0` and `m1`.
fn plan(platform: Value, models: [Value; 2]) -> Rc<Plan> {
    let models = models.map(|limits| json!({"limits": limits}));
    let projects = json!([{"id": "p", "models": [{"modelId": "m0"}, {"modelId": "m1"}], "tokens": [token("t", json!({}))]}]);
    Rc::new(Plan::build(&Book::new(2), &config(json!({"budgets": platform}), models, projects), NOW))
}

fn levels(plan: &Plan) -> Vec<(u64, u64)> {
    let pair = |level: Level| (level.used, level.reserved);
    plan.entries().iter().map(|entry| pair(entry.account.level(NOW))).collect()
}

fn open(plan: &Rc<Plan>) -> Hold<Rc<Plan>> {
    Hold::open(Rc::clone(plan), 0, WHO, NOW)
}

fn ask(input: u64, output: u64) -> Amounts {
    Amounts { calls: 1, input, output, cost: 0 }
}

#[test]
fn what_is_held_becomes_what_was_used() {
    let plan =
        plan(json!([calls(9), limit("total_tokens", 100)]), [json!([limit("output_tokens", 50)]), json!([])]);
    let mut hold = open(&plan);
    hold.admit(&ask(10, 40)).unwrap();
    assert_eq!(levels(&plan), [(0, 1), (0, 0), (0, 0)]);
    hold.choose(0, &ask(10, 40)).unwrap();
    assert_eq!(levels(&plan), [(0, 1), (0, 50), (0, 40)]);
    hold.settle(0, &Amounts { calls: 1, input: 11, output: 5, cost: 3 });
    assert_eq!(levels(&plan), [(1, 0), (16, 0), (5, 0)]);
    // A second answer to the same request (a hedge) counts as well.
    hold.settle(0, &Amounts { calls: 1, input: 1, output: 1, cost: 0 });
    drop(hold);
    assert_eq!(levels(&plan), [(2, 0), (18, 0), (6, 0)]);
}

#[test]
fn a_model_asked_on_the_side_is_charged_and_leaves_what_is_held() {
    let plan = plan(json!([calls(9), limit("input_tokens", 100)]), [json!([calls(7)]), json!([calls(7)])]);
    let mut hold = open(&plan);
    hold.admit(&ask(5, 0)).unwrap();
    hold.choose(0, &ask(5, 0)).unwrap();
    hold.settle(1, &ask(3, 0));
    assert_eq!(levels(&plan), [(1, 0), (3, 5), (0, 1), (1, 0)]);
    hold.settle(0, &ask(4, 0));
    drop(hold);
    assert_eq!(levels(&plan), [(2, 0), (7, 0), (1, 0), (1, 0)]);
    let mut unasked = open(&plan);
    unasked.settle(1, &ask(1, 0));
    assert_eq!(levels(&plan), [(3, 0), (8, 0), (1, 0), (2, 0)]);
    assert!(unasked.needs_amounts(0));
}

#[test]
fn the_next_candidate_gets_the_call_of_the_one_that_failed() {
    let plan = plan(json!([calls(1)]), [json!([calls(5)]), json!([calls(5), limit("cost", 1)])]);
    let mut hold = open(&plan);
    hold.admit(&CALL).unwrap();
    hold.choose(0, &CALL).unwrap();
    hold.settle(0, &Amounts { input: 7, ..Amounts::default() });
    assert_eq!(levels(&plan), [(0, 1), (0, 0), (0, 0), (0, 0)]);
    assert!(open(&plan).admit(&CALL).is_err(), "the last call is taken");
    hold.choose(1, &Amounts { cost: 5, ..CALL }).unwrap();
    // Choosing again gives the other one's back.
    hold.choose(0, &CALL).unwrap();
    assert_eq!(levels(&plan), [(0, 1), (0, 1), (0, 0), (0, 0)]);
    drop(hold);
    assert_eq!(levels(&plan), [(0, 0); 4]);
}

#[test]
fn a_refusal_names_the_limit_and_leaves_nothing_behind() {
    let plan = plan(
        json!([calls(9), limit("input_tokens", 10)]),
        [json!([calls(0)]), json!([limit("output_tokens", 3)])],
    );
    let mut hold = open(&plan);
    hold.admit(&CALL).unwrap();
    let refusal = hold.choose(0, &CALL).unwrap_err();
    assert_eq!((refusal.entry, refusal.full.level.limit), (2, 0));
    assert_eq!(hold.choose(1, &ask(11, 1)).unwrap_err().entry, 1);
    assert_eq!(hold.choose(1, &ask(1, 4)).unwrap_err().entry, 3);
    assert_eq!(levels(&plan), [(0, 1), (0, 0), (0, 0), (0, 0)]);
    hold.choose(1, &ask(1, 3)).unwrap();
    drop(hold);
    assert_eq!(levels(&plan), [(0, 0); 4]);
}

#[test]
fn a_limit_that_is_reached_is_found_before_anything_is_reserved() {
    let plan = plan(json!([calls(9), limit("input_tokens", 10)]), [json!([]), json!([])]);
    let mut hold = open(&plan);
    hold.admit(&CALL).unwrap();
    hold.choose(0, &ask(10, 0)).unwrap();
    hold.settle(0, &ask(10, 0));
    let mut second = open(&plan);
    second.admit(&CALL).unwrap();
    assert_eq!(second.choose(0, &ask(1, 0)).unwrap_err().entry, 1);
    drop(second);
    // From now on the request's own call is not even touched.
    assert_eq!(open(&plan).admit(&CALL).unwrap_err().entry, 1);
}

#[test]
fn what_is_not_enforced_is_counted() {
    let projects = json!([{"id": "p", "budgets": [calls(1)], "models": [{"modelId": "m0", "limitsMode": "disable"}],
        "tokens": [token("t", json!({"limits": [calls(7)]}))]}]);
    let config = config(json!({}), [json!({"limits": [limit("cost", 1)]}), json!({})], projects);
    let plan = Rc::new(Plan::build(&Book::new(2), &config, NOW));
    for _ in 0..3 {
        let mut hold = open(&plan);
        hold.admit(&CALL).unwrap();
        hold.choose(0, &Amounts { cost: 9_000_000_000_000, ..CALL }).unwrap();
        assert_eq!(hold.enforced().count(), 1);
        hold.settle(0, &Amounts { cost: 9_000_000_000_000, ..CALL });
    }
    assert_eq!(levels(&plan), [(27_000_000_000_000, 0), (3, 0), (3, 0)]);
}

#[derive(Debug, Clone)]
enum Step {
    Open { core: usize, token: u32, model: u32, input: u64, output: u64 },
    Choose { nth: usize, model: u32, input: u64, output: u64 },
    Settle { nth: usize, calls: u64, input: u64, output: u64 },
    Drop { nth: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0_usize..4, 0_u32..3, 0_u32..2, 0_u64..30, 0_u64..30)
            .prop_map(|(core, token, model, input, output)| Step::Open { core, token, model, input, output }),
        2 => (0_usize..9, 0_u32..2, 0_u64..30, 0_u64..30)
            .prop_map(|(nth, model, input, output)| Step::Choose { nth, model, input, output }),
        3 => (0_usize..9, 0_u64..2, 0_u64..30, 0_u64..30)
            .prop_map(|(nth, calls, input, output)| Step::Settle { nth, calls, input, output }),
        2 => (0_usize..9).prop_map(|nth| Step::Drop { nth }),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// In whatever order requests come, fail over, end or vanish: each account has settled what its level used, and
    /// reserved what is held, which is nothing at the end.
    #[test]
    fn every_account_has_what_its_level_used(steps in steps()) {
        let token_limits = |mode: &str| json!({"limits": [calls(40), limit("output_tokens", 300)], "limitsMode": mode,
            "models": [{"modelId": "m1", "limits": [limit("input_tokens", 200)], "limitsMode": mode}]});
        let projects = json!([{"id": "p", "budgets": [calls(60), limit("total_tokens", 900)],
            "models": [{"modelId": "m0"}, {"modelId": "m1", "limits": [calls(30)], "limitsMode": "extend"}],
            "tokens": [token("a", token_limits("extend")), token("b", token_limits("replace")),
                token("c", token_limits("disable"))]}]);
        let models = [json!({"limits": [calls(50)]}), json!({"limits": [limit("total_tokens", 700)]})];
        let config = config(json!({"budgets": [calls(70)]}), models, projects);
        let plan = Rc::new(Plan::build(&Book::new(4), &config, NOW));
        let mut used: HashMap<u32, u64> = HashMap::new();
        let mut open: Vec<(Hold<Rc<Plan>>, u32)> = Vec::new();
        for step in steps {
            match step {
                Step::Open { core, token, model, input, output } => {
                    let mut hold = Hold::open(Rc::clone(&plan), core, Who { token, ..WHO }, NOW);
                    let ask = ask(input, output);
                    if hold.admit(&ask).is_ok() && hold.choose(model, &ask).is_ok() {
                        open.push((hold, model));
                    }
                }
                Step::Choose { nth, model, input, output } => {
                    if let Some((hold, chosen)) = open.get_mut(nth) {
                        // Refused: the request goes on with nothing but its call, or ends.
                        let _ = hold.choose(model, &ask(input, output));
                        *chosen = model;
                    }
                }
                Step::Settle { nth, calls, input, output } => {
                    if let Some((hold, model)) = open.get_mut(nth) {
                        let amounts = Amounts { calls, input, output, cost: 0 };
                        hold.settle(*model, &amounts);
                        let chains = plan.whole(hold.who).entries().chain(plan.model(hold.who, *model).entries());
                        for (entry, _) in chains {
                            *used.entry(entry).or_default() += amounts.of(plan.entry(entry).account.key.metric);
                        }
                    }
                }
                Step::Drop { nth } if nth < open.len() => drop(open.swap_remove(nth)),
                Step::Drop { .. } => {}
            }
            let mut reserved: HashMap<u32, u64> = HashMap::new();
            for (hold, _) in &open {
                for held in &hold.held {
                    *reserved.entry(held.entry).or_default() += held.amount;
                }
            }
            for (index, entry) in plan.entries().iter().enumerate() {
                let level = entry.account.level(NOW);
                let of = |sums: &HashMap<u32, u64>| sums.get(&(index as u32)).copied().unwrap_or_default();
                prop_assert_eq!((level.used, level.reserved), (of(&used), of(&reserved)), "{:?}", entry.account.key);
            }
        }
        drop(open);
        for entry in plan.entries() {
            prop_assert_eq!(entry.account.level(NOW).reserved, 0);
        }
    }
}

#[test]
fn a_stream_may_use_more_than_it_held_while_there_is_room() {
    let stops = |value: u64| json!({"metric": "output_tokens", "window": "daily", "value": value, "stopStreams": true});
    let plan = plan(json!([stops(100), limit("total_tokens", 50)]), [json!([]), json!([])]);
    let mut hold = open(&plan);
    hold.admit(&ask(5, 40)).unwrap();
    assert!(!hold.stops_streams(), "nothing of it is held yet");
    hold.choose(0, &ask(5, 40)).unwrap();
    assert!(hold.stops_streams());
    hold.grow(&ask(5, 40)).unwrap();
    assert_eq!(levels(&plan), [(0, 40), (0, 45)], "within what was admitted");
    hold.grow(&ask(5, 44)).unwrap();
    assert_eq!(
        levels(&plan),
        [(0, 49), (0, 45)],
        "some more, and the limit that stops nothing is left alone"
    );
    let mut other = open(&plan);
    other.admit(&ask(0, 50)).unwrap();
    assert!(other.choose(0, &ask(0, 52)).is_err());
    other.choose(0, &ask(0, 5)).unwrap();
    hold.grow(&ask(5, 94)).unwrap();
    assert_eq!(levels(&plan)[0], (0, 99), "as much as there is");
    let refusal = hold.grow(&ask(5, 97)).unwrap_err();
    assert_eq!((refusal.entry, refusal.full.level.reserved), (0, 99));
    // What it used until then counts, beyond the limit by the last step.
    hold.settle(0, &ask(5, 97));
    assert_eq!(levels(&plan), [(97, 5), (102, 5)]);
    drop((hold, other));
    assert_eq!(levels(&plan), [(97, 0), (102, 0)]);
}
