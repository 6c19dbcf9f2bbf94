//! Limits over real sockets: exactly as many calls as are left, in every dialect's words, whatever happens on the way.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::load::{Load, chat, connect, try_call};
use crate::support::process::Process;
use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Response, Setup, on_each_driver, post, simulated};

const DAY: u64 = 86_400;

fn calls(window: &str, value: u64) -> Value {
    json!({"metric": "calls", "window": window, "value": value})
}

fn limit(metric: &str, window: &str, value: impl Into<Value>) -> Value {
    json!({"metric": metric, "window": window, "value": value.into()})
}

/// Models that answer at once, without limits of output.
fn quick() -> Setup {
    let behaviour = json!({"ttftMs": 0, "tokensPerSecond": 0, "outputTokens": [1, 8]});
    Setup::demo().every_model("simulated", behaviour)
}

fn refused(answer: &Response, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    for part in parts {
        assert!(answer.text().contains(part), "{part}: {}", answer.text());
    }
    let seconds: u64 = answer.field("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=366 * DAY).contains(&seconds), "{seconds}");
}

/// So many clients at a time, each with so many calls; how many were answered with each of two statuses.
fn storm(gateway: &Process, clients: usize, each: usize) -> (usize, usize) {
    let barrier = Barrier::new(clients);
    let address = gateway.address();
    let served = |number: usize| {
        let mut stream = connect(address).unwrap();
        barrier.wait();
        let request = chat("simulated/chat", number.is_multiple_of(3));
        let statuses = (0..each).map(|_| try_call(&mut stream, &request).unwrap().status);
        let (good, bad): (Vec<u16>, Vec<u16>) = statuses.partition(|status| *status == 200);
        assert!(bad.iter().all(|status| *status == 503), "{bad:?}");
        (good.len(), bad.len())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || served(number))).collect();
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    })
}

#[test]
fn of_64_clients_exactly_as_many_calls_pass_as_are_left() {
    on_each_driver(|driver| {
        for cores in [1, 2] {
            let setup = quick().driver(driver).cores(cores).project("budgets", json!([calls("daily", 500)]));
            let home = Home::of(&setup);
            let gateway = home.start();
            assert_eq!(storm(&gateway, 64, 20), (500, 780), "{driver}, {cores} cores");
            assert_eq!(home.wait_for_records(500).len(), 500);
            // A higher limit lets the difference through, and the count goes on over the reload.
            home.edit("config/projects.json", |projects| projects[0]["budgets"][0]["value"] = json!(600));
            gateway.reload();
            assert_eq!(storm(&gateway, 64, 3), (100, 92));
        }
    });
}

#[test]
fn each_level_refuses_in_its_name() {
    let of_model = |limits: Value| json!({"modelId": "simulated/chat", "limits": limits});
    let cases: [(&str, Setup); 6] = [
        ("platform's daily limit of 1 calls", quick().setting("budgets", json!([calls("daily", 1)]))),
        ("project's monthly limit of 1 calls", quick().project("budgets", json!([calls("monthly", 1)]))),
        ("model's rolling day limit of 1 calls", {
            let mut setup = quick().project("honorRequestedModel", "pin");
            setup.models[0]["limits"] = json!([calls("rolling_day", 1)]);
            setup
        }),
        ("project model's weekly limit of 1 calls", {
            quick().project("models", json!([of_model(json!([calls("weekly", 1)]))]))
        }),
        ("token's hourly limit of 1 calls", {
            let mut setup = quick();
            setup.projects[0]["tokens"][0]["limits"] = json!([calls("hourly", 1)]);
            setup
        }),
        ("token model's yearly limit of 1 calls", {
            let mut setup = quick().project("honorRequestedModel", "pin");
            setup.projects[0]["tokens"][0]["models"] = json!([of_model(json!([calls("yearly", 1)]))]);
            setup
        }),
    ];
    for (said, setup) in cases {
        let gateway = setup.start();
        gateway.call(chat("simulated/chat", false)).expect(200);
        let answer = gateway.call(chat("simulated/chat", true));
        refused(
            &answer,
            503,
            &[said, "budget_exceeded", "is reached: 1 calls used, 0 calls held", "resets at 2"],
        );
    }
}

#[test]
fn each_dialect_is_told_in_its_own_form() {
    let gateway = quick().project("budgets", json!([calls("daily", 0)])).start();
    let messages = json!([{"role": "user", "content": "Hello!"}]);
    let chat =
        gateway.call(post("/v1/chat/completions", "", &json!({"model": "auto", "messages": messages})));
    refused(&chat, 503, &[]);
    assert_eq!(chat.json()["error"]["code"], "budget_exceeded");
    let responses = gateway.call(post("/v1/responses", "", &json!({"model": "auto", "input": "Hello!"})));
    refused(&responses, 503, &[]);
    assert_eq!(responses.json()["error"]["type"], "budget_exceeded");
    let body = json!({"model": "auto", "max_tokens": 9, "messages": messages});
    let anthropic = gateway.call(post("/v1/messages", "anthropic-version: 2023-06-01\r\n", &body));
    refused(&anthropic, 503, &[]);
    assert_eq!(anthropic.json()["error"]["type"], "overloaded_error");
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]});
    let gemini = gateway.call(post("/v1beta/models/auto:generateContent", "", &contents));
    refused(&gemini, 503, &[]);
    assert_eq!(gemini.json()["error"]["status"], "UNAVAILABLE");
    let embeddings = gateway.call(post("/v1/embeddings", "", &json!({"model": "x", "input": "Hello!"})));
    refused(&embeddings, 503, &["budget_exceeded"]);
}

#[test]
fn rates_answer_429_and_tell_what_is_left() {
    let limits = json!([calls("rolling_minute", 2), limit("total_tokens", "rolling_minute", 100_000)]);
    let gateway = quick().project("budgets", limits).start();
    let first = gateway.call(chat("simulated/chat", false)).expect(200);
    assert_eq!(first.field("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.field("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(first.field("x-ratelimit-limit-tokens"), Some("100000"));
    let usage = first.json()["usage"]["total_tokens"].as_u64().unwrap();
    let left: u64 = first.field("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
    assert_eq!(left, 100_000 - usage, "the reservation was settled before the head");
    assert!(first.field("x-ratelimit-reset-requests").unwrap().ends_with('s'));
    let body = json!({"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello!"}]});
    let message = post("/v1/messages", "anthropic-version: 2023-06-01\r\n", &body);
    let second = gateway.call(&message).expect(200);
    assert_eq!(second.field("anthropic-ratelimit-requests-remaining"), Some("0"));
    assert!(second.field("anthropic-ratelimit-tokens-reset").unwrap().ends_with('Z'));
    let third = gateway.call(&message);
    refused(&third, 429, &["rate_limit_exceeded", "rolling minute rate limit of 2 calls"]);
    assert_eq!(third.json()["error"]["type"], "rate_limit_error");
    let seconds: u64 = third.field("retry-after").unwrap().parse().unwrap();
    assert!(seconds <= 61, "{seconds}");
}

#[test]
fn without_rates_a_providers_own_are_passed_on_and_with_them_not() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-ratelimit-remaining-requests: 4999\r\n\
        Content-Length: 2\r\n\r\n{}";
    for (limits, expected) in
        [(json!([calls("daily", 9)]), "4999"), (json!([calls("rolling_minute", 9)]), "8")]
    {
        let upstream = MockUpstream::with(behaviour::answers(answer));
        let gateway = Setup::with_upstream(&upstream).project("budgets", limits).start();
        let answer = gateway.call(chat("up/chat", false)).expect(200);
        assert_eq!(answer.field("x-ratelimit-remaining-requests"), Some(expected));
    }
}

#[test]
fn a_model_whose_limit_is_reached_leaves_its_place_to_the_next() {
    let entry = |id: &str, value: u64| json!({"modelId": id, "limits": [calls("daily", value)]});
    let setup = quick().model(simulated("simulated/second", "openai-chat"));
    let gateway =
        setup.project("models", json!([entry("simulated/chat", 2), entry("simulated/second", 1)])).start();
    let answered = |answer: Response| answer.expect(200).field("x-routerly-model").unwrap().to_owned();
    let models: Vec<String> = (0..3).map(|_| answered(gateway.call(chat("auto", false)))).collect();
    assert_eq!(models, ["simulated/chat", "simulated/chat", "simulated/second"]);
    refused(&gateway.call(chat("auto", false)), 503, &["project model's daily limit"]);
}

#[test]
fn policies_see_what_is_left() {
    let entry = |id: &str, value: u64| json!({"modelId": id, "limits": [calls("daily", value)]});
    let setup = quick().model(simulated("simulated/second", "openai-chat"));
    let gateway = setup
        .project("models", json!([entry("simulated/chat", 2), entry("simulated/second", 3)]))
        .project("policies", json!([{"type": "budget-remaining"}]))
        .start();
    let answered = |answer: Response| answer.expect(200).field("x-routerly-model").unwrap().to_owned();
    let models: Vec<String> = (0..5).map(|_| answered(gateway.call(chat("auto", false)))).collect();
    let (first, second) = ("simulated/chat", "simulated/second");
    // 1 to 1: chance. Then 1/2 to 1; 1/2 to 2/3; 1/2 to 1/3; 0 is out. Or 1 to 2/3; 1/2 to 2/3; 1/2 to 1/3; 0 is out.
    let expected = if models[0] == first {
        [first, second, second, first, second]
    } else {
        [second, first, second, first, second]
    };
    assert_eq!(models, expected);
    refused(&gateway.call(chat("auto", false)), 503, &["project model's daily limit of 2 calls is reached"]);
}

#[test]
fn a_call_that_no_provider_answered_is_none() {
    let upstream = MockUpstream::with(behaviour::closes_before_head);
    let setup = quick().model(json!({
        "id": "dead", "provider": "custom", "endpoint": upstream.url(), "apiKey": "k", "upstreamModelId": "x",
        "dialect": "openai-chat", "cost": {"inputPerMillion": 1, "outputPerMillion": 2},
    }));
    let entry = |id: &str| json!({"modelId": id, "limits": [calls("daily", 3)]});
    let gateway = setup
        .project("models", json!([entry("dead"), entry("simulated/chat")]))
        .project("budgets", json!([calls("daily", 9)]))
        .start();
    for _ in 0..3 {
        let answer = gateway.call(chat("auto", false)).expect(200);
        assert_eq!(answer.field("x-routerly-model"), Some("simulated/chat"));
    }
    // Now the second is used up; the first still has all of its calls and fails.
    let fourth = gateway.call(chat("auto", false));
    refused(&fourth, 503, &["project model's daily limit of 3 calls is reached: 3 calls used"]);
}

#[test]
fn what_a_request_may_use_at_most_has_to_fit() {
    // 1,000 output tokens at 2 USD per million, and little input.
    let gateway = quick().project("budgets", json!([limit("cost", "daily", 0.002)])).start();
    let ask = |max_tokens: u64| {
        let body = json!({"model": "auto", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "Hi"}]});
        gateway.call(post("/v1/chat/completions", "", &body))
    };
    refused(
        &ask(1_000),
        503,
        &["project's daily limit of 0.002 USD has no room for the 0.002", "0 USD used"],
    );
    ask(900).expect(200);
    refused(&ask(1_000), 503, &["0 USD held"]);
    let no_bound = gateway.call(chat("auto", false));
    refused(&no_bound, 503, &["0.0082"]);
}

#[test]
fn a_client_that_leaves_holds_nothing_any_more() {
    let slow = json!({"ttftMs": 0, "tokensPerSecond": 20, "outputTokens": 4_000});
    let gateway =
        Setup::demo().every_model("simulated", slow).project("budgets", json!([calls("daily", 3)])).start();
    let mut client = gateway.client();
    client.send(chat("simulated/chat", true));
    client.read_until("data:");
    drop(client);
    gateway.usage_records(1);
    // The provider did the work: it was a call.
    let mut others = [gateway.client(), gateway.client()];
    for client in &mut others {
        client.send(chat("simulated/chat", true));
        client.read_until("data:");
    }
    refused(
        &gateway.call(chat("simulated/chat", true)),
        503,
        &["1 calls used, 2 calls held for running requests"],
    );
}

#[test]
fn what_is_passed_through_and_embedded_counts() {
    let gateway = quick()
        .model(json!({"id": "embed", "provider": "simulated", "capabilities": {"embedding": true},
            "cost": {"inputPerMillion": 1, "outputPerMillion": 0}, "simulated": {"ttftMs": 0}}))
        .project("budgets", json!([calls("daily", 2), limit("input_tokens", "daily", 50)]))
        .start();
    let embed =
        |text: &str| gateway.call(post("/v1/embeddings", "", &json!({"model": "embed", "input": text})));
    embed("Hello!").expect(200);
    refused(&embed(&"many words ".repeat(40)), 503, &["limit of 50 input tokens has no room"]);
    embed("Hello!").expect(200);
    refused(&embed("Hello!"), 503, &["limit of 2 calls is reached"]);
}

#[test]
fn limits_of_a_token_replace_extend_or_disable_those_of_its_project() {
    for (mode, expected) in [("replace", 4), ("extend", 2), ("disable", 6)] {
        let mut setup = quick()
            .project("budgets", json!([calls("daily", 2)]))
            .setting("budgets", json!([calls("daily", 6)]));
        setup.projects[0]["tokens"][0]["limits"] = json!([calls("daily", 4)]);
        setup.projects[0]["tokens"][0]["limitsMode"] = json!(mode);
        let gateway = setup.start();
        let passed = (0..8).filter(|_| gateway.call(chat("auto", false)).status == 200).count();
        assert_eq!(passed, expected, "{mode}");
    }
}

#[test]
fn what_happens_to_a_limit_is_told_once() {
    let home = Home::of(&quick().project("budgets", json!([calls("daily", 5)])));
    let gateway = home.start();
    let events = |kind: &str| format!("routerly_budget_events_total{{kind=\"{kind}\"}}");
    for _ in 0..3 {
        gateway.call(chat("auto", false)).expect(200);
    }
    home.wait_for_records(3);
    assert_eq!(gateway.metric(&events("threshold")), 0.0);
    for _ in 0..2 {
        gateway.call(chat("auto", false)).expect(200);
    }
    gateway.wait_for_metric(&events("exhausted"), |count| count == 1.0);
    gateway.wait_for_line("budget threshold reached; project; daily; 5 calls; 80");
    gateway.wait_for_line("budget exhausted; project; daily; 5 calls");
    refused(&gateway.call(chat("auto", false)), 503, &[]);
    // Under a higher value it is not reached any more, and then it is again.
    home.edit("config/projects.json", |projects| projects[0]["budgets"][0]["value"] = json!(10));
    gateway.reload();
    for _ in 0..4 {
        gateway.call(chat("auto", false)).expect(200);
    }
    gateway.wait_for_metric(&events("threshold"), |count| count == 2.0);
    assert_eq!(gateway.metric(&events("exhausted")), 1.0);
    assert_eq!(gateway.metric(&events("reset")), 0.0);
}

/// Streams of many tokens, of which only a few are held.
fn endless(tokens: u64) -> Setup {
    let behaviour = json!({"ttftMs": 0, "tokensPerSecond": 2_000, "outputTokens": 40_000});
    let stops = json!({"metric": "output_tokens", "window": "yearly", "value": tokens, "stopStreams": true, "notifyAt": [1]});
    let setup = Setup::demo().every_model("simulated", behaviour).setting("reserveOutputTokens", 50);
    setup.project("budgets", json!([stops]))
}

#[test]
fn a_stream_beyond_its_limit_is_ended_in_its_dialect_and_counted() {
    let user = json!([{"role": "user", "content": "Hello!"}]);
    let chat = json!({"model": "auto", "stream": true, "messages": user});
    let responses = json!({"model": "auto", "stream": true, "input": "Hello!"});
    let messages = json!({"model": "auto", "stream": true, "max_tokens": 60, "messages": user});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]});
    // A model of the first dialect: the others are translated.
    let cases = [
        ("/v1/chat/completions", chat, "\"code\":\"budget_exceeded\""),
        ("/v1/responses", responses, "response.failed"),
        ("/v1beta/models/auto:streamGenerateContent?alt=sse", gemini, "\"error\""),
    ];
    let said = "the project's yearly limit of 300 output tokens";
    for (path, body, code) in cases {
        let gateway = endless(300).start();
        let answer = gateway.call(post(path, "", &body)).expect(200);
        assert!(answer.text().contains(said) && answer.text().contains(code), "{path}: {}", answer.text());
        let record = &gateway.usage_records(1)[0];
        assert_eq!((&record["outcome"], &record["endedBy"]), (&json!("budget_exceeded"), &json!("gateway")));
        let used = record["outputTokens"].as_u64().unwrap();
        assert!((250..20_000).contains(&used), "{path}: {record}");
        refused(&gateway.call(post(path, "", &body)), 503, &[&format!("{used} output tokens used")]);
    }
    // What a request was admitted with it may use.
    let gateway = endless(300).start();
    let answer =
        gateway.call(post("/v1/messages", "anthropic-version: 2023-06-01\r\n", &messages)).expect(200);
    assert!(answer.text().contains("message_stop"), "{}", answer.text());
}

// --- over restarts

#[test]
fn of_k_calls_exactly_k_pass_over_lives_that_end_with_kill_9() {
    on_each_driver(|driver| {
        let setup = quick().driver(driver).cores(2).project("budgets", json!([calls("yearly", 1_000_000)]));
        let home = Home::of(&setup);
        for _ in 0..3 {
            let mut gateway = home.start();
            let load = Load::start(gateway.address(), 8, "simulated/chat");
            load.wait_for_more(60);
            gateway.kill9();
            load.stop();
        }
        // What was under way when a process died was no call; what was settled was one, seen by its client or not.
        let gateway = home.start();
        let settled = home.records().len();
        home.edit("config/projects.json", |projects| {
            projects[0]["budgets"][0]["value"] = json!(settled + 100);
        });
        gateway.reload();
        assert_eq!(storm(&gateway, 16, 10), (100, 60));
        assert_eq!(home.wait_for_records(settled + 100).len(), settled + 100);
    });
}

#[test]
fn a_limit_that_is_used_up_stays_so_over_restarts_and_is_told_of_once() {
    let limits = json!([
        calls("yearly", 3),
        limit("cost", "rolling_week", 5),
        limit("output_tokens", "monthly", 100_000)
    ]);
    let home = Home::of(&quick().project("budgets", limits));
    let mut gateway = home.start();
    for _ in 0..3 {
        gateway.call(chat("auto", false)).expect(200);
    }
    gateway.wait_for_line("budget exhausted; yearly");
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
    // After an orderly end, after a kill, with a damaged checkpoint, with none.
    for round in 0..4 {
        let mut gateway = home.start();
        refused(
            &gateway.call(chat("auto", true)),
            503,
            &["yearly limit of 3 calls is reached: 3 calls used"],
        );
        if round < 2 {
            // By then the control thread has looked.
            gateway.reload();
            assert_eq!(gateway.metric("routerly_budget_events_total{kind=\"exhausted\"}"), 0.0, "told again");
        } else {
            // Nobody knows what was told.
            gateway.wait_for_line("limits were counted anew from usage records");
            gateway.wait_for_line("budget exhausted; yearly");
        }
        gateway.kill9();
        match round {
            1 => std::fs::write(home.file("data/rollups/checkpoint"), "x").unwrap(),
            2 => std::fs::remove_dir_all(home.file("data/rollups")).unwrap(),
            _ => {}
        }
    }
}
