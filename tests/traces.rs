//! Traces of requests: which are kept, what is in them, and that nothing is in them that does not belong there.

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::http::contains;
use crate::support::process::routerly;
use crate::support::{Gateway, Response, Setup, eventually, post, simulated};

/// What clients say in these tests.
const CANARY: &str = "canary-of-the-prompt";

fn ask(stream: bool) -> Value {
    json!({"model": "auto", "stream": stream, "max_tokens": 99,
        "messages": [{"role": "user", "content": CANARY}]})
}

/// The kept trace of a request, through the command.
fn kept(gateway: &Gateway, id: &str) -> Option<Value> {
    let mut command = routerly(&["trace", id, "--json", "--home"]);
    let out = command.arg(gateway.home()).output().unwrap();
    if !out.status.success() {
        assert!(contains(&out.stderr, "no trace of"), "{out:?}");
        return None;
    }
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

fn messages(trace: &Value) -> Vec<&str> {
    trace["trace"].as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap()).collect()
}

fn id_of(answer: &Response) -> String {
    answer.field("x-routerly-trace-id").unwrap().to_owned()
}

#[test]
fn all_traces_are_kept_where_that_is_wanted_and_survive_a_restart() {
    let only = simulated("simulated/only", "openai-chat");
    let gateway = Setup::new().model(only).setting("traces", json!({"keep": "all"})).start();
    let id = id_of(&gateway.call(post("/v1/chat/completions", "", &ask(false))).expect(200));
    let trace = eventually("the trace", || kept(&gateway, &id));
    assert_eq!(messages(&trace), ["router:intake", "router:result", "model:request", "model:success"]);
    let record = &gateway.usage_records(1)[0];
    for name in ["traceId", "projectId", "tokenId", "endpoint", "stream", "httpStatus", "outcome"] {
        assert_eq!(trace[name], record[name], "{name}");
    }
    let details: Vec<&Value> =
        trace["trace"].as_array().unwrap().iter().map(|entry| &entry["details"]).collect();
    assert_eq!((&details[0]["model"], &details[0]["projectId"]), (&json!("auto"), &record["projectId"]));
    assert_eq!(details[1]["note"], "single_candidate_bypass");
    assert_eq!((&details[2]["modelId"], &details[2]["maxTokens"]), (&record["modelId"], &json!(99)));
    for (name, of_record) in
        [("inputTokens", "inputTokens"), ("outputTokens", "outputTokens"), ("totalCostUsd", "cost")]
    {
        assert_eq!(details[3][name], record[of_record], "{name}");
    }
    let gateway = gateway.restart();
    assert_eq!(kept(&gateway, &id), Some(trace));
}

#[test]
fn by_default_the_traces_of_plain_requests_are_not_kept_and_those_of_failed_ones_are() {
    let gateway = Setup::demo().start();
    let plain = id_of(&gateway.call(post("/v1/chat/completions", "", &ask(false))).expect(200));
    let broken = id_of(&gateway.call(post("/v1/chat/completions", "", &json!([]))).expect(400));
    let trace = eventually("the trace", || kept(&gateway, &broken));
    assert_eq!(messages(&trace), ["router:intake", "model:error"]);
    assert_eq!((&trace["outcome"], &trace["httpStatus"]), (&json!("error"), &json!(400)));
    assert_eq!(kept(&gateway, &plain), None);
    let page = gateway.metrics();
    assert!(page.contains("\nrouterly_traces_kept_total 1\n"), "{page}");
    assert!(page.contains("\nrouterly_traces_dropped_total 0\n"), "{page}");
}

#[test]
fn nothing_that_a_client_said_is_written_unless_that_is_wanted() {
    let setup = Setup::demo().setting("traces", json!({"keep": "all"}));
    let gateway = setup.start();
    let mut ids = Vec::new();
    for stream in [false, true] {
        ids.push(id_of(&gateway.call(post("/v1/chat/completions", "", &ask(stream))).expect(200)));
    }
    for id in &ids {
        eventually("the trace", || kept(&gateway, id));
    }
    gateway.usage_records(2);
    for (path, bytes) in gateway.files() {
        assert!(!contains(&bytes, CANARY), "{}", path.display());
    }
}

#[test]
fn a_trace_that_is_not_there_is_said_to_be_so() {
    let home = Home::empty();
    let unknown = "0198c5a0-0000-7000-8000-000000000000";
    home.run(&["trace", unknown]).expect(1).says(&["no trace of", unknown, "is kept"]);
    home.run(&["trace", "yesterday"]).expect(1).says(&["`yesterday` is no trace id"]);
}
