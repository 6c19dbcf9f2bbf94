//! Answers and decisions of earlier requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{ask, asked, provider, routing_records, says};
use crate::support::upstream::Connection;
use crate::support::upstream::behaviour::{json_answer, stalls_after};
use crate::support::{Client, Gateway, MockUpstream, Response, Setup, on_each_driver, post};

fn on() -> Value {
    json!({"enabled": true})
}

/// A provider whose answers are numbered.
fn numbered() -> MockUpstream {
    let count = AtomicUsize::new(0);
    provider(move |_| (200, says(&format!("answer {}", count.fetch_add(1, Ordering::SeqCst)))))
}

fn cached(upstream: &MockUpstream) -> Setup {
    Setup::with_upstream(upstream).project("responseCache", on())
}

fn text(response: &Response) -> String {
    response.json()["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
}

fn with(gateway: &Gateway, fields: &str, body: &Value) -> Response {
    gateway.client().call(post("/v1/chat/completions", fields, body))
}

fn cache_field(response: &Response) -> Option<&str> {
    response.field("x-routerly-cache")
}

#[test]
fn the_same_request_gets_the_same_answer_without_a_call() {
    on_each_driver(|driver| {
        let upstream = numbered();
        let gateway = cached(&upstream).driver(driver).cores(2).start();
        let first = ask(&gateway, "Hi").expect(200);
        assert_eq!((text(&first).as_str(), cache_field(&first)), ("answer 0", Some("miss")));
        // Connections of their own: whichever core takes them.
        for _ in 0..4 {
            let again = ask(&gateway, "Hi").expect(200);
            assert_eq!((again.text(), cache_field(&again)), (first.text(), Some("hit")));
            assert_eq!(again.field("x-routerly-model"), Some("up/chat"));
            assert_eq!(again.field("x-routerly-cost"), Some("0"));
            assert_ne!(again.field("x-routerly-trace-id"), first.field("x-routerly-trace-id"));
        }
        assert_eq!(text(&ask(&gateway, "Hello").expect(200)), "answer 1");

        let records = gateway.usage_records(6);
        let hits: Vec<&Value> = records.iter().filter(|record| record["callType"] == "cache").collect();
        assert_eq!(hits.len(), 4);
        for hit in hits {
            assert_eq!(
                (&hit["cacheHit"], &hit["cost"], &hit["outcome"]),
                (&json!(true), &json!(0), &json!("success"))
            );
            assert_eq!((&hit["inputTokens"], &hit["outputTokens"]), (&json!(0), &json!(0)));
            assert_eq!((&hit["savedInputTokens"], &hit["savedOutputTokens"]), (&json!(50), &json!(10)));
            assert_eq!((&hit["savedCost"], &hit["modelId"]), (&json!(0.000_07), &json!("up/chat")));
        }
    });
}

#[test]
fn a_client_can_refuse_what_the_cache_has() {
    let upstream = numbered();
    let gateway = cached(&upstream).start();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    for (fields, expected, said) in [
        ("Cache-Control: no-store\r\n", "answer 0", None),
        ("x-routerly-cache: bypass\r\n", "answer 1", None),
        ("", "answer 2", Some("miss")),
        ("", "answer 2", Some("hit")),
        ("Cache-Control: no-store\r\n", "answer 3", None),
        ("", "answer 2", Some("hit")),
        ("Cache-Control: no-cache\r\n", "answer 4", Some("miss")),
        ("", "answer 4", Some("hit")),
    ] {
        let response = with(&gateway, fields, &body).expect(200);
        assert_eq!((text(&response).as_str(), cache_field(&response)), (expected, said), "{fields}");
    }
}

#[test]
fn what_can_change_the_answer_is_in_the_key_and_nothing_else() {
    let upstream = numbered();
    let gateway = cached(&upstream).start();
    let message = json!([{"role": "user", "content": "Hi"}]);
    let base = json!({"model": "m", "messages": message, "temperature": 0});
    let first = text(&with(&gateway, "", &base).expect(200));
    let same = json!({"temperature": 0, "user": "someone", "metadata": {"a": "b"}, "messages": message, "seed": null, "model": "m"});
    assert_eq!(text(&with(&gateway, "", &same).expect(200)), first);
    for (member, value) in [
        ("temperature", json!(1)),
        ("seed", json!(7)),
        ("max_tokens", json!(9)),
        ("model", json!("n")),
        ("n", json!(1)),
    ] {
        let mut other = base.clone();
        other[member] = value;
        assert_ne!(text(&with(&gateway, "", &other).expect(200)), first, "{member}");
    }
    assert_ne!(text(&with(&gateway, "OpenAI-Beta: x\r\n", &base).expect(200)), first);
}

#[test]
fn only_deterministic_requests_are_kept_where_the_project_says_so() {
    let upstream = numbered();
    let setup = Setup::with_upstream(&upstream);
    let gateway = setup.project("responseCache", json!({"enabled": true, "onlyDeterministic": true})).start();
    let body = |temperature: f64| json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": temperature});
    let field = |temperature| {
        let response = with(&gateway, "", &body(temperature)).expect(200);
        cache_field(&response).map(str::to_owned)
    };
    assert_eq!([field(0.5), field(0.5)], [None, None]);
    assert_eq!([field(0.0), field(0.0)].map(|said| said.unwrap()), ["miss", "hit"]);
}

#[test]
fn a_stream_is_given_again_event_by_event() {
    on_each_driver(|driver| {
        let gateway = Setup::demo().project("responseCache", on()).driver(driver).start();
        // The model's own dialect, and one that needs a translation.
        for (path, body) in [
            (
                "/v1/chat/completions",
                json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true}),
            ),
            (
                "/v1/messages",
                json!({"max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}], "stream": true}),
            ),
            ("/v1/responses", json!({"input": "Hi", "stream": true, "store": false})),
            (
                "/v1beta/models/auto:streamGenerateContent?alt=sse",
                json!({"contents": [{"parts": [{"text": "Hi"}]}]}),
            ),
            ("/v1beta/models/auto:streamGenerateContent", json!({"contents": [{"parts": [{"text": "Hi"}]}]})),
        ] {
            let call = || gateway.client().call(post(path, "x-routerly-trace: none\r\n", &body)).expect(200);
            let (first, again) = (call(), call());
            assert_eq!((cache_field(&first), cache_field(&again)), (Some("miss"), Some("hit")), "{path}");
            assert_eq!(first.text(), again.text(), "{path}");
            assert_eq!(first.field("content-type"), again.field("content-type"), "{path}");
        }
        let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
        let traced = with(&gateway, "", &body).expect(200);
        assert_eq!(cache_field(&traced), Some("hit"));
        let events = traced.events();
        assert!(
            events[0].contains("\"type\":\"trace\"") && events.last().unwrap().contains("[DONE]"),
            "{events:?}"
        );
        let whole = json!({"messages": [{"role": "user", "content": "Hi"}]});
        assert_eq!(
            cache_field(&with(&gateway, "", &whole).expect(200)),
            Some("miss"),
            "a stream is no whole answer"
        );
    });
}

#[test]
fn errors_and_answers_that_were_cut_off_are_not_kept() {
    let failing = provider(|_| (429, json!({"error": {"message": "slow down"}}).to_string()));
    let gateway = cached(&failing).start();
    for _ in 0..2 {
        let response = ask(&gateway, "Hi");
        assert_eq!((response.head.status(), cache_field(&response)), (429, Some("miss")));
    }
    let half = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
                data: {\"choices\":[{\"delta\":{}}]}\n\n";
    let cut = MockUpstream::with(crate::support::upstream::behaviour::answers_and_closes(half));
    let gateway = cached(&cut).start();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    for _ in 0..2 {
        assert_eq!(cache_field(&with(&gateway, "", &body).expect(200)), Some("miss"));
    }
}

#[test]
fn what_a_client_did_not_wait_for_is_not_kept() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let upstream = MockUpstream::with(stalls_after(head));
    let gateway = cached(&upstream).start();
    let mut client = Client::connect(gateway.address());
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    client.send(post("/v1/chat/completions", "", &body));
    upstream.next_request();
    drop(client);
    let records = gateway.usage_records(1);
    assert_eq!(records[0]["outcome"], "client_closed");
    let mut client = Client::connect(gateway.address());
    client.send(post("/v1/chat/completions", "", &body));
    upstream.next_request();
}

#[test]
fn an_answer_of_a_model_that_is_gone_is_not_given() {
    let upstream = numbered();
    let gateway = cached(&upstream).start();
    assert_eq!(text(&ask(&gateway, "Hi").expect(200)), "answer 0");
    crate::support::home::edit(&gateway.file("config/models.json"), |models| {
        models[0]["enabled"] = false.into()
    });
    gateway.reload();
    assert_ne!(ask(&gateway, "Hi").head.status(), 200);
}

#[test]
fn a_project_without_a_cache_says_nothing_of_one() {
    let upstream = numbered();
    let gateway = Setup::with_upstream(&upstream).start();
    assert_eq!(text(&ask(&gateway, "Hi").expect(200)), "answer 0");
    let second = ask(&gateway, "Hi").expect(200);
    assert_eq!((text(&second).as_str(), cache_field(&second)), ("answer 1", None));
}

// --- by meaning

/// Vectors by the message's first word: `x` and `y` are nearly the same, all else points elsewhere.
fn embedder() -> MockUpstream {
    provider(|body| {
        let texts = body["input"].as_array().unwrap();
        let vector = |text: &Value| match text.as_str().unwrap().split(' ').next() {
            Some("x") => json!([1.0, 0.0, 0.1]),
            Some("y") => json!([1.0, 0.1, 0.1]),
            _ => json!([0.0, 1.0, 0.0]),
        };
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"index": index, "embedding": vector(text)}))
            .collect();
        (200, json!({"data": data, "usage": {"prompt_tokens": 3}}).to_string())
    })
}

/// A router that prefers `sim/b`, and counts.
fn router() -> MockUpstream {
    provider(|_| (200, says(r#"{"routing":[{"model":"sim/a","point":0.1},{"model":"sim/b","point":0.9}]}"#)))
}

fn by_meaning(mode: &str, embedder: &MockUpstream, router: &MockUpstream) -> Setup {
    let cache =
        json!({"enabled": true, "mode": mode, "embedding_model": "embedder", "similarity_threshold": 0.9});
    let policies = json!([{"type": "llm", "config": {"routingModelId": "router", "cache": cache}}]);
    super::setup(&policies, &[asked("embedder", "openai", embedder), asked("router", "custom", router)])
}

#[test]
fn a_decision_is_made_once_for_requests_that_mean_the_same() {
    let (embedder, router) = (embedder(), router());
    let gateway = by_meaning("decision", &embedder, &router).start();
    for (message, similarity) in
        [("x one", None), ("y two", Some(0.995)), ("x one", Some(1.0)), ("z three", None)]
    {
        let response = ask(&gateway, message).expect(200);
        assert_eq!((super::answered(&response), cache_field(&response)), ("sim/b", None), "{message}");
        let trace = response.field("x-routerly-trace-id").unwrap().to_owned();
        let records = crate::support::eventually("its record", || {
            let records = gateway.usage_records(1);
            let of_it =
                |record: &&Value| record["traceId"] == trace.as_str() && record["callType"] == "completion";
            records.iter().find(of_it).cloned()
        });
        match similarity {
            None => assert_eq!(records.get("cacheHit"), None, "{message}"),
            Some(expected) => {
                assert_eq!(records["cacheHit"], true, "{message}");
                let similarity = records["cacheSimilarity"].as_f64().unwrap();
                assert!((similarity - expected).abs() < 0.001, "{message}: {similarity}");
            }
        }
    }
    let routing = gateway.usage_records(10);
    let of =
        |model: &str| routing_records(&routing).iter().filter(|record| record["modelId"] == model).count();
    assert_eq!((of("router"), of("embedder")), (2, 4));
}

#[test]
fn a_decision_for_a_model_that_is_no_candidate_any_more_is_made_anew() {
    let (embedder, router) = (embedder(), router());
    let gateway = by_meaning("decision", &embedder, &router).start();
    assert_eq!(super::answered(&ask(&gateway, "x one").expect(200)), "sim/b");
    crate::support::home::edit(&gateway.file("config/models.json"), |models| {
        models[1]["enabled"] = false.into()
    });
    gateway.reload();
    assert_eq!(super::answered(&ask(&gateway, "x one").expect(200)), "sim/a");
}

#[test]
fn an_answer_is_given_to_requests_that_mean_the_same_and_are_the_same_beside() {
    let (embedder, router) = (embedder(), router());
    let gateway = by_meaning("response", &embedder, &router).start();
    let body = |system: &str, message: &str, stream: bool| json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": message}], "stream": stream});
    let no_trace = "x-routerly-trace: none\r\n";
    let first = with(&gateway, no_trace, &body("s", "x one", false)).expect(200);
    assert_eq!(cache_field(&first), Some("miss"));
    let alike = with(&gateway, no_trace, &body("s", "y two", false)).expect(200);
    assert_eq!((cache_field(&alike), alike.text()), (Some("hit"), first.text()));
    for other in [body("s", "z three", false), body("t", "x one", false), body("s", "x one", true)] {
        assert_eq!(cache_field(&with(&gateway, no_trace, &other).expect(200)), Some("miss"), "{other}");
    }
    let stream = with(&gateway, no_trace, &body("s", "y four", true)).expect(200);
    assert_eq!(cache_field(&stream), Some("hit"));
    assert!(stream.text().ends_with("data: [DONE]\n\n"));
    // A stream that may call functions is never kept.
    let mut tools = body("s", "x one", true);
    tools["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    for _ in 0..2 {
        assert_eq!(cache_field(&with(&gateway, no_trace, &tools).expect(200)), None);
    }
}

#[test]
fn what_stands_beside_the_last_message_tells_requests_apart() {
    let (embedder, router) = (embedder(), router());
    let gateway = by_meaning("response", &embedder, &router).start();
    let chat = |more: &str| {
        let text = format!(r#"{{"messages":[{{"role":"user","content":"x one"{more}}}]}}"#);
        ("/v1/chat/completions", serde_json::from_str::<Value>(&text).unwrap())
    };
    let gemini = |first: &str, role: &str| {
        let said = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
        let contents = [said("user", first), said("model", "Hm."), said(role, "x one")];
        ("/v1beta/models/auto:generateContent", json!({"contents": contents}))
    };
    for ((path, body), expected) in [
        (chat(""), "miss"),
        (chat(""), "hit"),
        (chat(r#","name":"ann""#), "miss"),
        (chat(r#","name":"bob""#), "miss"),
        (chat(r#","name":"ann""#), "hit"),
        (chat(r#","mood":"sad""#), "miss"),
        (gemini("I am Ann.", "user"), "miss"),
        (gemini("I am Bob.", "user"), "miss"),
        (gemini("I am Ann.", ""), "miss"),
        (gemini("I am Bob.", ""), "miss"),
        (gemini("I am Bob.", ""), "hit"),
    ] {
        let response = gateway.call(post(path, "", &body)).expect(200);
        assert_eq!(cache_field(&response), Some(expected), "{body}");
    }
}

#[test]
fn an_embedder_that_fails_stops_no_request() {
    let (broken, router) = (provider(|_| (500, "{}".to_owned())), router());
    let gateway = by_meaning("decision", &broken, &router).start();
    assert_eq!(super::answered(&ask(&gateway, "x one").expect(200)), "sim/b");
}

#[test]
fn the_routing_model_is_shown_who_answered_before() {
    let router = router();
    let policies =
        json!([{"type": "llm", "config": {"routingModelId": "router", "memory": true, "memoryCount": 2}}]);
    let gateway = super::setup(&policies, &[asked("router", "custom", &router)]).start();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let earlier = |conversation: &str| {
        with(&gateway, &format!("x-routerly-conversation-id: {conversation}\r\n"), &body).expect(200);
        let told = router.next_request().1.json()["messages"][1]["content"].as_str().unwrap().to_owned();
        told.contains("answered earlier").then(|| told.matches("sim/b").count())
    };
    assert_eq!(["one", "one", "two", "one", "one"].map(earlier), [None, Some(1), None, Some(2), Some(2)]);
}

#[test]
fn a_whole_answer_and_a_bypass_work_over_one_connection() {
    let upstream = MockUpstream::with(|connection: &mut Connection| {
        while connection.next_request().is_some() {
            connection.wire.send(json_answer(200, &says("once")));
        }
    });
    let gateway = cached(&upstream).start();
    let mut client = gateway.client();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    for (fields, said) in
        [("", Some("miss")), ("", Some("hit")), ("", Some("hit")), ("x-routerly-cache: bypass\r\n", None)]
    {
        let response = client.call(post("/v1/chat/completions", fields, &body)).expect(200);
        assert_eq!(cache_field(&response), said);
    }
}

#[test]
fn requests_that_begin_alike_go_to_the_same_model() {
    // Nothing tells the models apart: without affinity chance decides each time.
    let policies = json!([{"type": "health"}]);
    let setup = (0..6).fold(Setup::new().project("policies", policies), |setup, number| {
        setup.model(crate::support::simulated(&format!("sim/{number}"), "openai-chat"))
    });
    let gateway = setup.project("prefixAffinity", on()).cores(2).start();
    let who = |system: &str, last: &str| {
        let messages = json!([
            {"role": "system", "content": system}, {"role": "user", "content": "first"},
            {"role": "assistant", "content": "ok"}, {"role": "user", "content": last},
        ]);
        let response = with(&gateway, "", &json!({"messages": messages})).expect(200);
        super::answered(&response).to_owned()
    };
    let mut all = std::collections::BTreeSet::new();
    for number in 0..24 {
        let system = format!("You are agent {number}.");
        let first = who(&system, "one");
        assert_eq!([who(&system, "two"), who(&system, "three")], [first.clone(), first.clone()]);
        all.insert(first);
    }
    assert!(all.len() > 2, "different beginnings are spread: {all:?}");
}
