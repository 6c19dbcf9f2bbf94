//! A second model is asked beside one that is slow to begin.
//!
//! Who is slow is said by events: the provider that loses answers when the test says so, or never.

use serde_json::{Value, json};

use super::{CHAT_PATH, CHUNK, answer, healthy, model, two};
use crate::support::home::Home;
use crate::support::upstream::{Connection, behaviour};
use crate::support::{
    Client, Gateway, MockUpstream, Response, Setup, eventually, on_each_driver, post, simulated,
};

/// Soon enough not to make a test slow; in each test one of two outcomes is decided by what comes after it.
const AFTER_MS: u64 = 20;

fn hedged(first: &MockUpstream, second: &MockUpstream) -> Setup {
    two(first, second).setting("upstream.hedgeAfterMs", AFTER_MS)
}

fn ask(stream: bool) -> Vec<u8> {
    let message = json!({"role": "user", "content": "Hi"});
    post(CHAT_PATH, "", &json!({"model": "x", "stream": stream, "messages": [message]}))
}

fn hedges(gateway: &Gateway) -> (f64, f64) {
    let begun = gateway.metric("routerly_upstream_hedges_total");
    (begun, gateway.metric("routerly_upstream_hedges_won_total"))
}

/// Model, outcome, who ended it, status and number of each attempt, by model.
fn attempts(gateway: &Gateway, count: usize) -> Vec<Value> {
    let mut records = gateway.usage_records(count);
    assert_eq!(records.len(), count, "{records:#?}");
    records.sort_by_key(|record| record["attempt"].as_u64());
    let of = |record: &Value| {
        let fields = ["modelId", "outcome", "endedBy", "httpStatus", "attempt"];
        Value::from_iter(fields.map(|field| record[field].clone()))
    };
    records.iter().map(of).collect()
}

fn answered(response: &Response) -> Option<&str> {
    response.field("x-routerly-model")
}

#[test]
fn the_second_model_answers_where_the_first_says_nothing() {
    on_each_driver(|driver| {
        for stream in [false, true] {
            let (slow, good) = (MockUpstream::manual(), healthy());
            let gateway = hedged(&slow, &good).driver(driver).start();
            let mut client = gateway.client();
            client.send(ask(stream));
            let mut provider = slow.accept();
            provider.read_request();
            let response = client.read_response().expect(200);
            assert!(response.text().contains("Hello"), "{}", response.text());
            assert_eq!(answered(&response), Some("good"));
            // Nobody works on for a request that is answered.
            provider.expect_closed();
            let expected = [
                json!(["bad", "cancelled", "gateway", 0, 1]),
                json!(["good", "success", "provider", 200, 2]),
            ];
            assert_eq!(attempts(&gateway, 2), expected);
            assert_eq!(hedges(&gateway), (1.0, 1.0));
            let line = gateway.wait_for_line("\"request\"; \"status\":200");
            assert!(line.contains("\"attempts\":2") && line.contains("\"outcome\":\"success\""), "{line}");
        }
    });
}

#[test]
fn the_first_model_answers_where_it_begins_before_the_second() {
    on_each_driver(|driver| {
        let (first, second) = (MockUpstream::manual(), MockUpstream::manual());
        let gateway = hedged(&first, &second).driver(driver).start();
        let mut client = gateway.client();
        client.send(ask(false));
        let (mut one, mut other) = (first.accept(), second.accept());
        one.read_request();
        other.read_request();
        one.answer(200, behaviour::CHAT);
        assert_eq!(answered(&client.read_response().expect(200)), Some("bad"));
        other.expect_closed();
        let expected =
            [json!(["bad", "success", "provider", 200, 1]), json!(["good", "cancelled", "gateway", 0, 2])];
        assert_eq!(attempts(&gateway, 2), expected);
        assert_eq!(hedges(&gateway), (1.0, 0.0));
        // Its connection is still good for the next one, which is begun in time.
        client.send(ask(false));
        one.read_request();
        one.answer(200, behaviour::CHAT);
        client.read_response().expect(200);
    });
}

#[test]
fn a_stream_begins_with_its_first_event() {
    on_each_driver(|driver| {
        let (first, second) = (MockUpstream::manual(), MockUpstream::manual());
        let gateway = hedged(&first, &second).driver(driver).start();
        let mut client = gateway.client();
        client.send(ask(true));
        let mut one = first.accept();
        one.read_request();
        // A head, and a comment that says nothing.
        one.begin_stream();
        one.send_chunk(": wait\n\n");
        let mut other = second.accept();
        other.read_request();
        other.begin_stream();
        other.send_chunk("data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n");
        // An error is no beginning: the first one still can.
        gateway.usage_records(1);
        one.send_chunk(format!("data: {CHUNK}\n\ndata: [DONE]\n\n"));
        one.end_chunks();
        let response = client.read_response().expect(200);
        assert!(response.text().contains("Hello") && !response.text().contains("overloaded"));
        let expected =
            [json!(["bad", "success", "provider", 200, 1]), json!(["good", "error", "provider", 200, 2])];
        assert_eq!(attempts(&gateway, 2), expected);
    });
}

#[test]
fn whoever_fails_leaves_it_to_the_other_one() {
    on_each_driver(|driver| {
        for first_fails in [true, false] {
            let (first, second) = (MockUpstream::manual(), MockUpstream::manual());
            let gateway = hedged(&first, &second).driver(driver).setting("upstream.retries", 0).start();
            let mut client = gateway.client();
            let both = |client: &mut Client| {
                client.send(ask(false));
                let (mut one, mut other) = (first.accept(), second.accept());
                one.read_request();
                other.read_request();
                if first_fails { (one, other) } else { (other, one) }
            };
            let (mut failing, mut working) = both(&mut client);
            failing.send(answer(500, "Connection: close\r\n", "{}"));
            gateway.usage_records(1);
            working.send(answer(200, "Connection: close\r\n", behaviour::CHAT));
            let winner = if first_fails { "good" } else { "bad" };
            assert_eq!(answered(&client.read_response().expect(200)), Some(winner));
            let outcomes: Vec<Value> = attempts(&gateway, 2).iter().map(|one| one[1].clone()).collect();
            assert_eq!(outcomes, if first_fails { ["error", "success"] } else { ["success", "error"] });
            // Both fail: the client gets what came last.
            let (mut failing, mut last) = both(&mut client);
            failing.send(answer(500, "Connection: close\r\n", "{}"));
            gateway.usage_records(3);
            last.send(answer(503, "Connection: close\r\n", "{\"last\":1}"));
            assert_eq!(client.read_response().expect(503).text(), "{\"last\":1}");
            assert_eq!(hedges(&gateway), (2.0, f64::from(u8::from(first_fails))));
        }
    });
}

#[test]
fn a_client_that_leaves_ends_both() {
    on_each_driver(|driver| {
        let (first, second) = (MockUpstream::manual(), MockUpstream::manual());
        let gateway = hedged(&first, &second).driver(driver).start();
        let mut client = gateway.client();
        client.send(ask(false));
        let (mut one, mut other) = (first.accept(), second.accept());
        one.read_request();
        other.read_request();
        drop(client);
        one.expect_closed();
        other.expect_closed();
        let expected = [
            json!(["bad", "client_closed", "client", 0, 1]),
            json!(["good", "client_closed", "client", 0, 2]),
        ];
        assert_eq!(attempts(&gateway, 2), expected);
        // Also when one of them has failed before.
        let mut client = gateway.client();
        client.send(ask(false));
        let (mut one, mut other) = (first.accept(), second.accept());
        one.read_request();
        other.read_request();
        one.send(answer(500, "Connection: close\r\n", "{}"));
        gateway.usage_records(3);
        drop(client);
        other.expect_closed();
        let outcomes: Vec<Value> =
            gateway.usage_records(4)[2..].iter().map(|record| record["outcome"].clone()).collect();
        assert_eq!(outcomes, ["error", "client_closed"]);
    });
}

#[test]
fn models_of_different_dialects_race_as_well() {
    on_each_driver(|driver| {
        let slow = MockUpstream::with(behaviour::never_answers);
        let other = MockUpstream::with(behaviour::answers_each_dialect);
        let mut second = model("claude", &other);
        second["provider"] = json!("anthropic");
        let gateway = Setup::new()
            .model(model("slow", &slow))
            .model(second)
            .setting("upstream.hedgeAfterMs", AFTER_MS)
            .driver(driver)
            .start();
        let response = gateway.call(ask(false)).expect(200);
        assert_eq!(answered(&response), Some("claude"));
        assert_eq!(response.json()["choices"][0]["message"]["content"], "Hello");
        slow.next_ending();
    });
}

#[test]
fn the_built_in_provider_can_be_slow_and_second() {
    let mut slow = simulated("slow", "openai-chat");
    slow["simulated"] = json!({"ttftMs": 600_000});
    // The project's own setting; another project's would be the general one, which is off.
    let setup = Setup::new().model(slow).model(simulated("fast", "openai-chat"));
    let gateway = setup.project("hedgeAfterMs", AFTER_MS).start();
    for stream in [false, true] {
        assert_eq!(answered(&gateway.call(ask(stream)).expect(200)), Some("fast"));
    }
    assert_eq!(hedges(&gateway), (2.0, 2.0));
}

/// Requests whose first model is cut off after a time in which another one would have been asked beside it.
fn is_not_hedged(setup: Setup, request: Vec<u8>, status: u16) -> Gateway {
    let gateway = setup.every_model("timeout", json!(AFTER_MS * 10)).start();
    gateway.call(request).expect(status);
    assert_eq!(hedges(&gateway), (0.0, 0.0));
    gateway
}

#[test]
fn what_is_not_asked_for_twice() {
    let (slow, good) = (MockUpstream::with(behaviour::never_answers), healthy());
    let hedged = || hedged(&slow, &good);
    // As it comes, and where the project does not want it.
    is_not_hedged(two(&slow, &good), ask(false), 200);
    is_not_hedged(hedged().project("hedgeAfterMs", 0), ask(false), 200);
    // No other model, no budget, none in whom nothing is wrong.
    let alone = Setup::new().model(model("slow", &slow)).setting("upstream.hedgeAfterMs", AFTER_MS);
    is_not_hedged(alone, ask(false), 504);
    let unpaid =
        hedged().setting("upstream.retryBudgetPercent", 0).setting("upstream.retryBudgetPerSecond", 0);
    let gateway = is_not_hedged(unpaid, ask(false), 200);
    assert_eq!(gateway.metric("routerly_upstream_retries_refused_total"), 1.0);
    // Limits have room for one call.
    let limits = json!([{"metric": "calls", "window": "daily", "value": 1}]);
    is_not_hedged(hedged().project("budgets", limits), ask(false), 200);
    // What a provider would do twice.
    let responses = MockUpstream::with(behaviour::answers_each_dialect);
    let silent = MockUpstream::with(behaviour::never_answers);
    let body = |more: Value| {
        let mut body = json!({"input": "Hi", "store": false});
        more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        post("/v1/responses", "", &body)
    };
    for (more, is_hedged) in [
        (json!({"conversation": "conv_1"}), false),
        (json!({"background": true}), false),
        (json!({"previous_response_id": "resp_1"}), false),
        (json!({"tools": [{"type": "mcp", "server_label": "a", "server_url": "https://a.test"}]}), false),
        (json!({"conversation": null, "background": false, "tools": []}), true),
    ] {
        let setup = hedged_responses(&silent, &responses);
        if is_hedged {
            let gateway = setup.start();
            gateway.call(body(more)).expect(200);
            assert_eq!(hedges(&gateway), (1.0, 1.0));
        } else {
            is_not_hedged(setup, body(more), 200);
        }
    }
}

fn hedged_responses(first: &MockUpstream, second: &MockUpstream) -> Setup {
    let setup = hedged(first, second);
    setup.every_model("dialect", json!("openai-responses"))
}

#[test]
fn a_model_that_is_left_alone_is_not_the_second_one() {
    on_each_driver(|driver| {
        let (slow, good) = (MockUpstream::manual(), healthy());
        let down = MockUpstream::with(behaviour::answers(answer(500, "", "{}")));
        let gateway = Setup::new()
            .model(model("slow", &slow))
            .model(model("down", &down))
            .model(model("good", &good))
            .setting("upstream.hedgeAfterMs", AFTER_MS)
            .setting("upstream.breaker", json!({"failures": 1, "cooldownMs": 600_000}))
            .driver(driver)
            .start();
        let mut client = gateway.client();
        client.send(ask(false));
        let mut provider = slow.accept();
        provider.read_request();
        // The one beside it fails, and so does the first.
        down.next_request();
        provider.send(answer(409, "Connection: close\r\n", "{}"));
        assert_eq!(answered(&client.read_response().expect(200)), Some("good"));
        let body = json!({"stream": true, "messages": []});
        client.send(post(CHAT_PATH, "x-routerly-trace: full\r\n", &body));
        let mut provider = slow.accept();
        provider.read_request();
        let response = client.read_response().expect(200);
        assert_eq!(answered(&response), Some("good"));
        // All of it is in the trace.
        let told = response.events().into_iter().filter_map(|event| {
            let event: Value = serde_json::from_str(&event).ok()?;
            let entry = event.get("entry")?;
            let details = &entry["details"];
            let why = details.get("reason").or(details.get("error")).cloned().unwrap_or_default();
            Some(json!([entry["message"], details.get("modelId")?, why]))
        });
        let expected = [
            json!(["model:request", "slow", null]),
            json!(["model:skipped", "down", "breaker_open"]),
            json!(["model:request", "good", null]),
            json!(["model:error", "slow", "another model was faster"]),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn both_are_held_on_limits_and_the_loser_gives_back_what_it_did_not_use() {
    let body =
        |tokens: u64| post(CHAT_PATH, "", &json!({"model": "x", "max_tokens": tokens, "messages": []}));
    let limits = |calls: u64| {
        json!([{"metric": "calls", "window": "daily", "value": calls},
            {"metric": "total_tokens", "window": "daily", "value": 1_000}])
    };
    let (slow, good) = (MockUpstream::manual(), healthy());
    let gateway = hedged(&slow, &good).project("budgets", limits(3)).start();
    let mut client = gateway.client();
    client.send(body(400));
    let mut provider = slow.accept();
    provider.read_request();
    assert_eq!(answered(&client.read_response().expect(200)), Some("good"));
    provider.expect_closed();
    // 12 tokens are used, none held: this would not fit beside anything, and so the one call that is left is not for a
    // second model either.
    client.send(body(960));
    let mut provider = slow.accept();
    provider.read_request();
    provider.answer(200, behaviour::CHAT);
    assert_eq!(answered(&client.read_response().expect(200)), Some("bad"));
    assert_eq!(hedges(&gateway), (1.0, 1.0));
    // Three calls were made for two requests.
    client.send(body(1));
    let message = client.read_response().expect(503).json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("3 calls used, 0 calls held"), "{message}");
}

#[test]
fn a_second_model_that_is_not_asked_holds_nothing() {
    on_each_driver(|driver| {
        let (slow, good) = (MockUpstream::manual(), healthy());
        let gateway = hedged(&slow, &good)
            .project("budgets", json!([{"metric": "calls", "window": "daily", "value": 2}]))
            .setting("upstream.retryBudgetPercent", 0)
            .setting("upstream.retryBudgetPerSecond", 0)
            .driver(driver)
            .start();
        let (mut first, mut second) = (gateway.client(), gateway.client());
        first.send(ask(false));
        let mut one = slow.accept();
        one.read_request();
        let refused = "routerly_upstream_retries_refused_total";
        eventually("a hedge that is not paid for", || (gateway.metric(refused) > 0.0).then_some(()));
        second.send(ask(false));
        let mut other = slow.accept();
        other.read_request();
        for (client, provider) in [(&mut second, &mut other), (&mut first, &mut one)] {
            provider.answer(200, behaviour::CHAT);
            client.read_response().expect(200);
        }
    });
}

#[test]
fn a_time_that_is_none_is_refused_with_its_place() {
    let home = |setup: Setup| Home::of(&setup);
    let wrong = home(Setup::demo().setting("upstream.hedgeAfterMs", "soon"));
    wrong.run(&["check"]).expect(1).says(&["config/settings.json:", "upstream.hedgeAfterMs"]);
    let wrong = home(Setup::demo().project("hedgeAfterMs", -1));
    wrong.run(&["check"]).expect(1).says(&["config/projects.json:", "hedgeAfterMs"]);
}

/// A provider that answers half of its requests, whatever they are, only when they are cut off.
#[test]
fn many_at_once_are_all_answered_and_all_accounted_for() {
    on_each_driver(|driver| {
        let moody = MockUpstream::with(|connection: &mut Connection| {
            while connection.next_request().is_some() {
                if connection.index % 2 == 1 {
                    connection.answer(200, behaviour::CHAT);
                }
            }
        });
        let good = healthy();
        let gateway = hedged(&moody, &good)
            .setting("upstream.retryBudgetPerSecond", 1_000)
            .cores(2)
            .driver(driver)
            .start();
        let requests = 64;
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut client = gateway.client();
                    for _ in 0..requests / 16 {
                        client.call(ask(false)).expect(200);
                    }
                });
            }
        });
        let begun = hedges(&gateway).0 as usize;
        let records = gateway.usage_records(requests + begun);
        let of = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).count();
        assert!(begun > 0);
        assert_eq!((records.len(), of("success"), of("cancelled")), (requests + begun, requests, begun));
    });
}
