//! Refusals and breaks before the first byte, with another candidate and without.

use serde_json::json;

use super::{CHAT_PATH, answer, ask, healthy, model, two};
use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, post};

/// Status and body of a first candidate, and whether another one is asked.
const ANSWERS: &[(u16, &str, bool)] = &[
    (400, r#"{"error":{"message":"Invalid 'messages'","type":"invalid_request_error","code":null}}"#, false),
    (400, r#"{"error":{"message":"too long","type":"x","code":"context_length_exceeded"}}"#, true),
    (400, r#"{"error":{"message":"Unsupported","type":"x","code":"unsupported_parameter"}}"#, true),
    (401, r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#, true),
    (402, r#"{"error":{"message":"no credit"}}"#, true),
    (403, "", true),
    (404, r#"{"error":{"message":"No such thread","code":null}}"#, false),
    (404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#, true),
    (408, "", true),
    (409, "{}", true),
    (413, "{}", false),
    (422, r#"{"detail":"no"}"#, false),
    (429, r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, true),
    (500, "<html>", true),
    (502, "", true),
    (503, "{}", true),
    (504, "{}", true),
    (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, true),
];

#[test]
fn a_refusal_leads_to_the_next_candidate_unless_it_is_the_client_s_own_fault() {
    on_each_driver(|driver| {
        for (status, body, leads_on) in ANSWERS {
            let (bad, good) = (MockUpstream::with(behaviour::answers(answer(*status, "", body))), healthy());
            let gateway = two(&bad, &good).driver(driver).start();
            for stream in [false, true] {
                let answered = gateway.call(ask(stream));
                if *leads_on {
                    let answered = answered.expect(200);
                    assert_eq!(answered.field("x-routerly-model"), Some("good"), "{status} {body}");
                } else {
                    let answered = answered.expect(*status);
                    assert_eq!((answered.text(), answered.field("x-routerly-model")), (*body, Some("bad")));
                }
            }
            assert_eq!(good.accepted() > 0, *leads_on, "{status} {body}");
            if *leads_on {
                // The first request's own attempts; a key that was refused is not used for the second one.
                let records = gateway.usage_records(3);
                let first: Vec<_> =
                    records.iter().filter(|one| one["traceId"] == records[0]["traceId"]).collect();
                assert_eq!(first.len(), 2, "{records:#?}");
                for (record, (model, outcome, attempt)) in
                    first.iter().zip([("bad", "error", 1), ("good", "success", 2)])
                {
                    assert_eq!(
                        (&record["modelId"], &record["outcome"], &record["attempt"]),
                        (&json!(model), &json!(outcome), &json!(attempt)),
                    );
                }
                assert_eq!(first[0]["httpStatus"], *status);
                let line = gateway.wait_for_line("\"request\"; \"status\":200");
                assert!(line.contains("\"attempts\":2"), "{line}");
            }
        }
    });
}

#[test]
fn breaks_before_the_first_byte_are_nothing_to_a_client() {
    on_each_driver(|driver| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        for broken in [
            String::new(),
            "HTTP/1.1 20".to_owned(),
            "no answer at all\r\n\r\n".to_owned(),
            format!("{head}Content-Length: 500\r\n\r\n{{\"id\":"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\n{{\"i\r\nxyz"),
        ] {
            let (bad, good) = (MockUpstream::with(behaviour::answers_and_closes(broken.clone())), healthy());
            let gateway = two(&bad, &good).driver(driver).start();
            let answered = gateway.call(ask(false)).expect(200);
            assert_eq!(answered.text(), behaviour::CHAT, "{broken:?}");
            let records = gateway.usage_records(2);
            assert_eq!((&records[0]["outcome"], &records[0]["httpStatus"]), (&json!("error"), &json!(502)));
        }
        // A reset, and a provider that is not there.
        let (manual, good) = (MockUpstream::manual(), healthy());
        let gateway = two(&manual, &good).driver(driver).start();
        let mut client = gateway.client();
        client.send(ask(true));
        let mut provider = manual.accept();
        provider.read_request();
        provider.reset();
        assert!(client.read_response().expect(200).text().contains("[DONE]"));
        let mut nowhere = model("nowhere", &good);
        nowhere["endpoint"] = json!("http://127.0.0.1:1/v1");
        let gateway = Setup::new().model(nowhere).model(model("good", &good)).driver(driver).start();
        gateway.call(ask(false)).expect(200);
        assert_eq!(gateway.metric("routerly_upstream_retries_total{reason=\"connect\"}"), 1.0);
    });
}

#[test]
fn a_slow_candidate_is_followed_by_another_one() {
    on_each_driver(|driver| {
        let (slow, good) = (MockUpstream::with(behaviour::never_answers), healthy());
        let mut first = model("slow", &slow);
        first["timeout"] = json!(50);
        let gateway = Setup::new().model(first).model(model("good", &good)).driver(driver).start();
        gateway.call(ask(false)).expect(200);
        // Nobody works on for a request that is answered elsewhere.
        slow.next_ending();
        assert_eq!(gateway.usage_records(2)[0]["outcome"], "timeout");
        assert_eq!(gateway.metric("routerly_upstream_retries_total{reason=\"timeout\"}"), 1.0);
    });
}

#[test]
fn the_last_refusal_is_passed_on_as_it_came() {
    on_each_driver(|driver| {
        let (first, second) = (
            MockUpstream::with(behaviour::answers(answer(500, "", "{\"error\":\"first\"}"))),
            MockUpstream::with(behaviour::answers(answer(
                429,
                "Retry-After: 40\r\nX-RateLimit-Limit-Requests: 7\r\n",
                "{ \"error\" : {\"message\":\"second\"} }",
            ))),
        );
        let gateway = two(&first, &second).driver(driver).setting("upstream.retries", 0).start();
        let answered = gateway.call(ask(false)).expect(429);
        assert_eq!(answered.text(), "{ \"error\" : {\"message\":\"second\"} }");
        assert_eq!(answered.field("retry-after"), Some("40"));
        assert_eq!(answered.field("x-ratelimit-limit-requests"), Some("7"));
        assert_eq!(answered.field("x-routerly-model"), Some("good"));
        // One record for each attempt, also for the one that was passed on.
        let records = gateway.usage_records(2);
        assert_eq!(records.len(), 2);
        assert!(records.iter().all(|record| record["outcome"] == "error"));
        // A key's refusal is no word for a client.
        let refused = MockUpstream::with(behaviour::answers(answer(401, "", "{\"error\":\"key secret-1\"}")));
        let gateway = two(&first, &refused).driver(driver).setting("upstream.retries", 0).start();
        let answered = gateway.call(ask(false)).expect(502);
        assert_eq!(answered.json()["error"]["code"], "upstream_auth");
        assert!(!answered.text().contains("secret-1"));
    });
}

#[test]
fn a_candidate_that_cannot_be_asked_does_not_hide_what_another_one_said() {
    on_each_driver(|driver| {
        let busy = MockUpstream::with(behaviour::answers(answer(503, "", "{\"error\":\"busy\"}")));
        let mut other = model("other", &busy);
        (other["dialect"], other["provider"]) = (json!("anthropic-messages"), json!("anthropic"));
        let gateway = Setup::new()
            .model(model("busy", &busy))
            .model(other)
            .setting("upstream.retries", 0)
            .driver(driver)
            .start();
        // Several answers at once have no form in the other dialect: it cannot be asked for them.
        let body = json!({"model": "x", "n": 3, "messages": [{"role": "user", "content": "Hi"}]});
        let answered = gateway.call(post(CHAT_PATH, "", &body)).expect(503);
        assert_eq!(answered.text(), "{\"error\":\"busy\"}");
        assert_eq!(busy.accepted(), 1);
    });
}

#[test]
fn connections_of_refusals_are_used_again_and_none_is_left_behind() {
    on_each_driver(|driver| {
        let (bad, good) =
            (MockUpstream::with(behaviour::answers(answer(409, "", "{\"error\":\"x\"}"))), healthy());
        let gateway = two(&bad, &good).driver(driver).start();
        let mut client = gateway.client();
        for _ in 0..50 {
            client.call(ask(false)).expect(200);
        }
        assert_eq!((bad.accepted(), good.accepted()), (1, 1));
        // A refusal whose text does not end is waited for only so long, and its connection closed.
        let endless = MockUpstream::with(behaviour::stalls_after(
            "HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{",
        ));
        let gateway = two(&endless, &good).driver(driver).start();
        gateway.call(ask(false)).expect(200);
        endless.next_ending();
    });
}

#[test]
fn clients_of_other_dialects_are_served_by_the_next_candidate_as_well() {
    on_each_driver(|driver| {
        let (bad, good) = (MockUpstream::with(behaviour::answers(answer(529, "", "{}"))), healthy());
        let gateway = two(&bad, &good).driver(driver).start();
        let body = json!({"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
        for path in ["/v1/messages", "/v1/responses"] {
            let mut body = body.clone();
            if path == "/v1/responses" {
                body = json!({"model": "x", "input": "Hi"});
            }
            let answered = gateway.call(post(path, "", &body)).expect(200);
            assert!(answered.text().contains("Hello"), "{path}: {}", answered.text());
            assert_eq!(answered.field("x-routerly-model"), Some("good"));
        }
        let line = gateway.wait_for_line("\"request\"; \"endpoint\":\"messages\"");
        assert!(line.contains("\"attempts\":2"), "{line}");
        assert!(!gateway.lines().iter().any(|line| line.contains(TOKEN) || line.contains("provider-key")));
    });
}
