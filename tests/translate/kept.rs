//! Conversations that the gateway keeps: going on by `previous_response_id` on any model, over restarts, for the own
//! project alone. And what is kept from a provider: the proofs of another one.

use serde_json::{Value, json};

use super::client::Ask;
use super::{Dialect, gateway_to, provider};
use crate::support::upstream::Connection;
use crate::support::upstream::behaviour::{answers, json_answer};
use crate::support::{Gateway, MockUpstream, Response, Setup, TOKEN, post};

/// A response that says `text`, streamed or not, with what the client got of it.
fn respond(gateway: &Gateway, body: &Value) -> Value {
    let answer = gateway.call(post("/v1/responses", "", body)).expect(200);
    if body["stream"] != true {
        return answer.json();
    }
    let last = answer.events().pop().expect("an event");
    serde_json::from_str::<Value>(&last).unwrap()["response"].clone()
}

fn call(gateway: &Gateway, method: &str, path: &str) -> Response {
    gateway.call(format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    ))
}

#[test]
fn a_conversation_goes_on_over_a_restart_and_can_be_looked_at() {
    let ask = Ask::default();
    let upstream = MockUpstream::with(provider::plays(Dialect::Anthropic, ask));
    let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
    let first =
        respond(&gateway, &json!({"model": "auto", "instructions": "Be brief.", "input": "I am Ada."}));
    let id = first["id"].as_str().unwrap().to_owned();
    assert_eq!(first["previous_response_id"], Value::Null);
    let gateway = gateway.restart();

    assert_eq!(call(&gateway, "GET", &format!("/v1/responses/{id}")).expect(200).json(), first);
    let items = call(&gateway, "GET", &format!("/v1/responses/{id}/input_items")).expect(200).json();
    assert_eq!(items["data"][0]["content"][0]["text"], "I am Ada.");
    assert_eq!(items["first_id"], items["data"][0]["id"]);

    let second =
        respond(&gateway, &json!({"model": "auto", "input": "Who am I?", "previous_response_id": id}));
    assert_eq!(second["previous_response_id"], id.as_str());
    upstream.next_request();
    let asked = upstream.next_request().1.json();
    let roles: Vec<&str> =
        asked["messages"].as_array().unwrap().iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(asked["system"], Value::Null, "instructions do not carry over");
    let said = asked["messages"].to_string();
    assert!(said.contains("I am Ada.") && said.contains("Who am I?"), "{said}");

    call(&gateway, "POST", &format!("/v1/responses/{id}/cancel")).expect(400);
    assert_eq!(call(&gateway, "DELETE", &format!("/v1/responses/{id}")).expect(200).json()["deleted"], true);
    let gone = json!({"model": "auto", "input": "x", "previous_response_id": second["id"]});
    let refused = gateway.call(post("/v1/responses", "", &gone)).expect(404);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("is kept"));
}

#[test]
fn a_streamed_response_is_kept_and_one_that_must_not_be_is_not() {
    let ask = Ask { stream: true, ..Ask::default() };
    let upstream = MockUpstream::with(provider::plays(Dialect::Anthropic, ask));
    let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
    let streamed = respond(&gateway, &json!({"model": "auto", "input": "Hi", "stream": true}));
    let id = streamed["id"].as_str().unwrap();
    assert_eq!(call(&gateway, "GET", &format!("/v1/responses/{id}")).expect(200).json(), streamed);
    let again = json!({"model": "auto", "input": "Hi", "stream": true, "store": false});
    let unkept = respond(&gateway, &again);
    let id = unkept["id"].as_str().unwrap();
    call(&gateway, "GET", &format!("/v1/responses/{id}")).expect(404);
}

#[test]
fn a_streamed_response_is_kept_before_its_end_is_seen() {
    let ask = Ask { stream: true, ..Ask::default() };
    let upstream = MockUpstream::manual();
    let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
    let mut client = gateway.client();
    client.send(post("/v1/responses", "", &json!({"model": "auto", "input": "Hi", "stream": true})));
    let mut connection = upstream.accept();
    connection.read_request();
    connection.begin_stream();
    provider::events(Dialect::Anthropic, ask).iter().for_each(|event| connection.send_chunk(event));
    // The end of the provider's body has not come yet.
    client.read_head();
    let mut read = String::new();
    while !read.contains("event: response.completed") || !read.ends_with("\n\n") {
        read.push_str(std::str::from_utf8(&client.read_chunk().expect("a chunk")).unwrap());
    }
    let data = read.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    let ended: Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
    let id = ended["response"]["id"].as_str().unwrap();
    let kept = call(&gateway, "GET", &format!("/v1/responses/{id}")).expect(200).json();
    assert_eq!(kept, ended["response"]);
    connection.end_chunks();
    while client.read_chunk().is_some() {}
}

#[test]
fn a_response_that_cannot_be_kept_says_so() {
    for stream in [false, true] {
        let ask = Ask { stream, ..Ask::default() };
        let upstream = MockUpstream::with(provider::plays(Dialect::Anthropic, ask));
        let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
        // A file stands where the directory has to be.
        let directory = gateway.file("data/responses");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::write(&directory, "in the way").unwrap();
        let unkept = respond(&gateway, &json!({"model": "auto", "input": "Hi", "stream": stream}));
        assert_eq!(unkept["store"], false, "{unkept}");
        std::fs::remove_file(&directory).unwrap();
        let kept = respond(&gateway, &json!({"model": "auto", "input": "Hi", "stream": stream}));
        assert_eq!(kept["store"], true);
        let id = kept["id"].as_str().unwrap();
        assert_eq!(call(&gateway, "GET", &format!("/v1/responses/{id}")).expect(200).json(), kept);
    }
}

#[test]
fn a_conversation_that_a_provider_keeps_goes_on_at_that_provider() {
    let unknown = json!({"error": {"message": "Previous response with id 'resp_0c1f' not found.",
        "type": "invalid_request_error", "param": "previous_response_id", "code": "previous_response_not_found"}});
    let claude = MockUpstream::with(provider::plays(Dialect::Anthropic, Ask::default()));
    let other = MockUpstream::with(answers(json_answer(400, &unknown.to_string())));
    let keeper = MockUpstream::with(provider::plays(Dialect::Responses, Ask::default()));
    let named = |upstream: &MockUpstream, id: &str| {
        let mut model = gateway_to(upstream, Dialect::Responses).models.remove(0);
        model["id"] = id.into();
        model
    };
    let setup = |models: Vec<Value>| {
        models.into_iter().fold(gateway_to(&claude, Dialect::Anthropic), Setup::model).start()
    };
    let gateway = setup(vec![named(&other, "up/other"), named(&keeper, "up/keeper")]);
    let next = json!({"model": "auto", "input": "x", "previous_response_id": "resp_0c1f", "stream": false});
    let answer = gateway.call(post("/v1/responses", "", &next)).expect(200);
    assert_eq!(answer.field("x-routerly-model"), Some("up/keeper"));
    assert_eq!(other.next_request().1.json()["previous_response_id"], "resp_0c1f");
    assert_eq!(keeper.next_request().1.json()["previous_response_id"], "resp_0c1f");
    let records = gateway.usage_records(2);
    let outcomes: Vec<&str> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["error", "success"]);

    // Where nobody else could know it, the provider's own word is the answer.
    let alone = setup(vec![named(&other, "up/other")]);
    let refused = alone.call(post("/v1/responses", "", &next)).expect(400).json();
    assert_eq!(refused, unknown);
    let twice = setup(vec![named(&other, "up/other"), named(&other, "up/another")]);
    let refused = twice.call(post("/v1/responses", "", &next)).expect(400).json();
    assert_eq!(refused, unknown);
    assert_eq!(claude.accepted(), 0);
}

#[test]
fn a_provider_does_not_get_another_one_s_proofs() {
    // A client of Responses thought with Claude; its next turn goes to OpenAI.
    let ask = Ask { think: true, ..Ask::default() };
    let claude = MockUpstream::with(provider::plays(Dialect::Anthropic, ask));
    let openai = MockUpstream::with(provider::plays(Dialect::Responses, Ask::default()));
    let mut second = gateway_to(&openai, Dialect::Responses).models.remove(0);
    second["id"] = "up/openai".into();
    let gateway = gateway_to(&claude, Dialect::Anthropic)
        .model(second)
        .project("honorRequestedModel", "prefer")
        .start();
    let thought = respond(
        &gateway,
        &json!({
            "model": "up/model", "input": "Think!", "store": false, "reasoning": {"effort": "high"},
            "include": ["reasoning.encrypted_content"],
        }),
    );
    let output = thought["output"].as_array().unwrap();
    assert!(output[0]["encrypted_content"].as_str().unwrap().starts_with("gw1.a."), "{thought}");
    let mut input = vec![json!({"role": "user", "content": "Think!"})];
    input.extend(output.iter().cloned());
    input.push(json!({"role": "user", "content": "Go on."}));
    let next = json!({"model": "up/openai", "input": input, "store": false});
    let answer = gateway.call(post("/v1/responses", "", &next)).expect(200);
    assert_eq!(answer.field("x-routerly-model"), Some("up/openai"));
    assert_eq!(answer.field("x-routerly-translation"), Some("dropped=thinking"));
    let asked = openai.next_request().1.json().to_string();
    assert!(!asked.contains("gw1.") && asked.contains("Go on."), "{asked}");

    // What only its own dialect can say goes with it, byte for byte.
    let mut next = next;
    next["tools"] = json!([{"type": "file_search", "vector_store_ids": ["vs_1"]}]);
    next["max_output_tokens"] = json!(64);
    let answer = gateway.call(post("/v1/responses", "", &next)).expect(200);
    assert_eq!(answer.field("x-routerly-translation"), Some("dropped=thinking"));
    let asked = openai.next_request().1.json();
    assert!(!asked.to_string().contains("gw1."), "{asked}");
    assert_eq!((&asked["tools"], &asked["model"]), (&next["tools"], &json!("gpt-4.1")));
    assert_eq!(asked["input"][0], next["input"][0]);
    gateway.call(post("/v1/responses", "x-routerly-strict: true\r\n", &next)).expect(400);
}

/// A provider that keeps the responses it has given, and knows no others.
fn keeps_its_own(name: &'static str) -> impl Fn(&mut Connection) {
    move |connection| {
        while let Some(request) = connection.next_request() {
            let path = request.head.request_line().1.to_owned();
            let body = if request.body.is_empty() { Value::Null } else { request.json() };
            let known = body["previous_response_id"].as_str().or_else(|| path.strip_prefix("/v1/responses/"));
            if known.is_some_and(|id| !id.starts_with(&format!("resp_{name}"))) {
                let error = json!({"message": "Previous response not found.", "type": "invalid_request_error",
                    "param": "previous_response_id", "code": "previous_response_not_found"});
                connection.send(json_answer(400, &json!({"error": error}).to_string()));
                continue;
            }
            let response = json!({"id": format!("resp_{name}1"), "object": "response", "status": "completed",
                "model": name, "output": [], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
            if body["stream"] == true {
                connection.begin_stream();
                for kind in ["response.created", "response.completed"] {
                    let event = json!({"type": kind, "response": response});
                    connection.send_chunk(format!("event: {kind}\ndata: {event}\n\n"));
                }
                connection.end_chunks();
            } else {
                connection.send(json_answer(200, &response.to_string()));
            }
        }
    }
}

#[test]
fn what_follows_a_response_that_a_provider_keeps_goes_there_at_once() {
    let (first, second) = (MockUpstream::with(keeps_its_own("a")), MockUpstream::with(keeps_its_own("b")));
    let mut setup = Setup::new().project("honorRequestedModel", "prefer");
    for (id, upstream) in [("up/a", &first), ("up/b", &second)] {
        setup = setup.model(json!({
            "id": id, "name": id, "provider": "openai", "dialect": "openai-responses", "apiKey": "key",
            "upstreamModelId": id, "endpoint": format!("http://{}/v1", upstream.address()),
            "cost": {"inputPerMillion": 1, "outputPerMillion": 2}, "contextWindow": 200_000,
        }));
    }
    let gateway = setup.start();
    let next = |previous: &str, stream: bool| {
        let body = json!({"model": "auto", "input": "x", "previous_response_id": previous, "stream": stream});
        gateway.call(post("/v1/responses", "", &body)).expect(200)
    };
    for stream in [false, true] {
        let body = json!({"model": "up/b", "input": "x", "stream": stream});
        gateway.call(post("/v1/responses", "", &body)).expect(200);
        assert_eq!(next("resp_b1", stream).field("x-routerly-model"), Some("up/b"));
    }
    assert_eq!(call(&gateway, "GET", "/v1/responses/resp_b1").expect(200).json()["model"], "b");
    assert_eq!(first.accepted(), 0, "nobody else was asked");
    // One that was given before the gateway was started is looked for.
    assert_eq!(next("resp_b0", false).field("x-routerly-model"), Some("up/b"));
    assert_eq!(first.accepted(), 1);
}
