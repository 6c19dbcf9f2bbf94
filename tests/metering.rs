//! What was served, as `routerly usage`, the records and `/metrics` tell it.

use serde_json::{Value, json};

use crate::support::home::Home;
use crate::support::process::Process;
use crate::support::upstream::behaviour::json_answer;
use crate::support::{MockUpstream, Setup, post};

/// Prices with a tier for long requests.
fn prices() -> Value {
    json!({
        "inputPerMillion": 1.25, "outputPerMillion": 10, "cachePerMillion": 0.125, "cacheWritePerMillion": 1.5625,
        "pricingTiers": [
            {"metric": "context_tokens", "above": 200_000, "inputPerMillion": 2.5, "outputPerMillion": 15}
        ],
    })
}

/// One call: what the provider reports, and what the gateway makes of it.
struct Case {
    path: &'static str,
    model: &'static str,
    stream: bool,
    status: u16,
    answer: String,
    tokens: [u64; 3],
    cost: &'static str,
}

fn chat_usage(input: u64, cached: u64, output: u64) -> Value {
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

fn completion(usage: &Value) -> String {
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"});
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "chat", "choices": [choice], "usage": usage});
    json_answer(200, &body.to_string())
}

fn event_stream(events: &[String]) -> String {
    let body: String = events.concat();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn cases() -> Vec<Case> {
    let chat = |stream, status, answer, tokens, cost| Case {
        path: "/v1/chat/completions",
        model: "up/chat",
        stream,
        status,
        answer,
        tokens,
        cost,
    };
    let chunk = |choices: Value, usage: Value| {
        let data = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "chat", "choices": choices, "usage": usage});
        format!("data: {data}\n\n")
    };
    let message = json!({
        "id": "msg", "type": "message", "role": "assistant", "model": "messages", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "x"}], "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 30, "output_tokens": 5},
    });
    vec![
        // 600 × 1.25 + 400 × 0.125 + 50 × 10 millionths.
        chat(false, 200, completion(&chat_usage(1_000, 400, 50)), [1_000, 50, 400], "0.0013"),
        // At the bound the tier does not hold yet: 200,000 × 1.25 + 7 × 10.
        chat(false, 200, completion(&chat_usage(200_000, 0, 7)), [200_000, 7, 0], "0.25007"),
        // Beyond it the whole request costs more: 200,001 × 2.5 + 7 × 15.
        chat(false, 200, completion(&chat_usage(200_001, 0, 7)), [200_001, 7, 0], "0.5001075"),
        // 3 × 1.25 + 1 × 10.
        chat(
            true,
            200,
            event_stream(&[
                chunk(json!([{"index": 0, "delta": {"content": "x"}}]), Value::Null),
                chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), Value::Null),
                chunk(json!([]), chat_usage(3, 0, 1)),
                "data: [DONE]\n\n".to_owned(),
            ]),
            [3, 1, 0],
            "0.00001375",
        ),
        // Anthropic counts cached tokens beside the others: 10 × 1.25 + 20 × 0.125 + 30 × 1.5625 + 5 × 10.
        Case {
            path: "/v1/messages",
            model: "up/messages",
            stream: false,
            status: 200,
            answer: json_answer(200, &message.to_string()),
            tokens: [60, 5, 20],
            cost: "0.000111875",
        },
        chat(
            false,
            429,
            json_answer(
                429,
                r#"{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limit"}}"#,
            ),
            [0, 0, 0],
            "0",
        ),
    ]
}

/// 0.0013 + 0.25007 + 0.5001075 + 0.00001375.
const CHAT_COST: &str = "0.75149125";
/// The message's 0.000111875 with it.
const TOTAL_COST: &str = "0.751603125";

/// Lets the gateway serve every case in order.
fn serve_all(gateway: &Process, upstream: &MockUpstream, cases: &[Case]) -> Vec<String> {
    let mut client = gateway.client();
    let mut provider = None;
    let mut traces = Vec::new();
    for case in cases {
        let messages = json!([{"role": "user", "content": "Hello!"}]);
        let body = json!({"model": case.model, "stream": case.stream, "max_tokens": 9, "messages": messages});
        client.send(post(case.path, "", &body));
        let provider = provider.get_or_insert_with(|| upstream.accept());
        provider.read_request();
        provider.send(&case.answer);
        let answer = client.read_response().expect(case.status);
        traces.push(answer.field("x-routerly-trace-id").unwrap().to_owned());
    }
    traces
}

/// A decimal number of JSON as it is written there.
fn written(text: &str, key: &str) -> Vec<String> {
    let mark = format!("\"{key}\":");
    let number = |rest: &str| rest[..rest.find([',', '}']).unwrap()].to_owned();
    text.match_indices(&mark).map(|(at, _)| number(&text[at + mark.len()..])).collect()
}

fn reports_agree(home: &Home) {
    let ended = home.run(&["usage", "--json"]).expect(0);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let row = |key: &str, calls: u64, errors: u64, tokens: [u64; 3]| json!({"key": key, "calls": calls, "errors": errors, "inputTokens": tokens[0], "outputTokens": tokens[1], "cachedInputTokens": tokens[2]});
    let mut rows = report["rows"].as_array().unwrap().clone();
    rows.push(report["total"].clone());
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("cost");
    }
    let expected = [
        row("up/chat", 5, 1, [401_004, 65, 400]),
        row("up/messages", 1, 0, [60, 5, 20]),
        row("total", 6, 1, [401_064, 70, 420]),
    ];
    assert_eq!(rows, expected, "{}", ended.out);
    assert_eq!(written(&ended.out, "cost"), [CHAT_COST, "0.000111875", TOTAL_COST]);

    let csv = home.run(&["usage", "--csv", "--by", "token"]).expect(0).out;
    let expected = format!(
        "token,calls,errors,inputTokens,outputTokens,cachedInputTokens,costUsd\r\ndemo-token,6,1,401064,70,420,{TOTAL_COST}\r\n"
    );
    assert_eq!(csv, expected);

    let table = home.run(&["usage", "--by", "outcome"]).expect(0).out;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["success", "5", "0", "401064", "70", "420", "0.751603"]);
    assert_eq!(rows[2], ["error", "1", "1", "0", "0", "0", "0.000000"]);
    assert_eq!(rows[3][0], "total");
    let nothing = home.run(&["usage", "--json", "--to", "2020-01-01"]).expect(0).out;
    assert_eq!(written(&nothing, "calls"), ["0"]);
}

#[test]
fn report_records_and_metrics_tell_the_same_story_while_the_gateway_runs_and_after() {
    let upstream = MockUpstream::manual();
    // A minute between two merges: a report sees what still lies in the journals.
    let setup = Setup::with_upstream(&upstream)
        .every_model("cost", prices())
        .setting("journal.mergeIntervalMs", 60_000);
    let home = Home::of(&setup);
    let mut gateway = home.start();
    let cases = cases();
    let traces = serve_all(&gateway, &upstream, &cases);
    reports_agree(&home);
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
    reports_agree(&home);

    let text = home.read("data/usage.json");
    let costs: Vec<&str> = cases.iter().map(|case| case.cost).collect();
    assert_eq!(written(&text, "cost"), costs);
    for ((record, case), trace) in home.records().iter().zip(&cases).zip(&traces) {
        assert_eq!(record["traceId"], trace.as_str());
        let count = |key: &str| record[key].as_u64().unwrap_or(0);
        let tokens = [count("inputTokens"), count("outputTokens"), count("cachedInputTokens")];
        assert_eq!(tokens, case.tokens, "{record}");
        assert_eq!(
            (record["httpStatus"].as_u64(), record["attempt"].as_u64()),
            (Some(case.status.into()), Some(1))
        );
        let outcome = if case.status == 200 { "success" } else { "error" };
        assert_eq!(record["outcome"], outcome, "{record}");
        assert_eq!(record["stream"], case.stream);
    }
    assert_eq!(home.records()[5]["errorMessage"], "slow down");
}

#[test]
fn the_sums_of_the_metrics_are_those_of_the_records() {
    let upstream = MockUpstream::manual();
    let home = Home::of(&Setup::with_upstream(&upstream).every_model("cost", prices()));
    let gateway = home.start();
    serve_all(&gateway, &upstream, &cases());
    gateway.wait_for_metric("routerly_calls_total", |calls| calls == 6.0);
    let metrics = gateway.client().get("/metrics").expect(200).text().to_owned();
    for line in [
        "routerly_call_errors_total 1",
        "routerly_input_tokens_total 401064",
        "routerly_output_tokens_total 70",
        "routerly_cached_input_tokens_total 420",
        &format!("routerly_cost_usd_total {TOTAL_COST}"),
        "routerly_model_calls_total{model=\"up/chat\"} 5",
        "routerly_model_calls_total{model=\"up/messages\"} 1",
        &format!("routerly_model_cost_usd_total{{model=\"up/chat\"}} {CHAT_COST}"),
        &format!("routerly_project_cost_usd_total{{project=\"demo\"}} {TOTAL_COST}"),
        &format!("routerly_token_cost_usd_total{{token=\"demo-token\"}} {TOTAL_COST}"),
        "routerly_upstream_attempts_total 6",
        "routerly_upstream_connects_total 1",
        "routerly_upstream_reuses_total 5",
        "routerly_requests_total{endpoint=\"chat\",status=\"4xx\",outcome=\"error\"} 1",
        "routerly_streams_open 0",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn an_open_stream_is_counted_as_long_as_it_is_open() {
    let upstream = MockUpstream::manual();
    let home = Home::of(&Setup::with_upstream(&upstream));
    let gateway = home.start();
    let mut client = gateway.client();
    let body = json!({"model": "up/chat", "stream": true, "messages": []});
    client.send(post("/v1/chat/completions", "", &body));
    let mut provider = upstream.accept();
    provider.read_request();
    provider.begin_stream();
    provider.send_chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\n");
    client.read_until("\"one\"");
    gateway.wait_for_metric("routerly_streams_open", |open| open == 1.0);
    drop(client);
    gateway.wait_for_metric("routerly_streams_open", |open| open == 0.0);
    provider.expect_closed();
    let record = &home.wait_for_records(1)[0];
    assert_eq!((&record["outcome"], &record["usageSource"]), (&"client_closed".into(), &"estimated".into()));
}
