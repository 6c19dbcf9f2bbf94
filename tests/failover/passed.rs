//! Passed-through calls: what is learnt from them, and which are sent again.

use serde_json::{Value, json};

use super::{answer, ask, bearer, healthy, model};
use crate::support::upstream::{Connection, behaviour};
use crate::support::{Message, MockUpstream, Setup, TOKEN, on_each_driver, post};

const VECTORS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#;

fn keyed(id: &str, upstream: &MockUpstream) -> Value {
    let mut model = model(id, upstream);
    model.as_object_mut().unwrap().remove("apiKey");
    model["apiKeys"] =
        json!([{"id": "bad", "key": "key-bad", "weight": 1000}, {"id": "good", "key": "key-good"}]);
    model
}

/// A provider that answers as `judge` says.
fn judging(judge: impl Fn(&Message) -> String + Send + Sync + 'static) -> MockUpstream {
    MockUpstream::with(move |connection: &mut Connection| {
        while let Some(request) = connection.next_request() {
            connection.send(judge(&request));
        }
    })
}

fn embed(model: &str) -> Vec<u8> {
    post("/v1/embeddings", "", &json!({"model": model, "input": "Hi"}))
}

fn upload() -> Vec<u8> {
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n";
    format!(
        "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\r\n").into_bytes()
}

#[test]
fn an_embedding_changes_the_key_and_the_refused_one_rests() {
    on_each_driver(|driver| {
        for (status, fields) in [(401, ""), (403, ""), (402, ""), (429, "Retry-After: 60\r\n")] {
            let upstream = judging(move |request| match bearer(request).as_str() {
                "key-good" => behaviour::json_answer(200, VECTORS),
                _ => answer(status, fields, "{}"),
            });
            let gateway = Setup::new().model(keyed("m", &upstream)).driver(driver).start();
            for _ in 0..5 {
                assert_eq!(gateway.call(embed("m")).expect(200).text(), VECTORS);
            }
            let met: Vec<String> = (0..6).map(|_| bearer(&upstream.next_request().1)).collect();
            assert_eq!(met.iter().filter(|key| *key == "key-bad").count(), 1, "{status}: {met:?}");
            let records = gateway.usage_records(6);
            let bad: Vec<_> = records.iter().filter(|record| record["keyId"] == "bad").collect();
            assert_eq!((bad.len(), &bad[0]["httpStatus"]), (1, &json!(status)));
        }
    });
}

#[test]
fn a_body_that_is_not_kept_is_not_sent_again_but_its_key_rests() {
    on_each_driver(|driver| {
        let upstream = judging(|request| match bearer(request).as_str() {
            "key-good" => behaviour::json_answer(200, "{\"id\":\"file-1\"}"),
            _ => answer(401, "", "{}"),
        });
        let gateway = Setup::new().model(keyed("m", &upstream)).driver(driver).start();
        gateway.call(upload()).expect(502);
        // Whatever comes next, generated text too, goes with the other key.
        for request in [upload(), get("/v1/files"), ask(false)] {
            gateway.call(request).expect(200);
        }
        let met: Vec<String> = (0..4).map(|_| bearer(&upstream.next_request().1)).collect();
        assert_eq!(met, ["key-bad", "key-good", "key-good", "key-good"]);
    });
}

#[test]
fn only_calls_of_the_model_itself_count_for_its_breaker() {
    on_each_driver(|driver| {
        let failing = judging(|request| {
            let path = request.head.request_line().1.to_owned();
            answer(if path.ends_with("/chat/completions") { 200 } else { 500 }, "", behaviour::CHAT)
        });
        let good = healthy();
        let gateway = Setup::new()
            .model(model("first", &failing))
            .model(model("good", &good))
            .setting("upstream.breaker", json!({"failures": 2, "cooldownMs": 600_000}))
            .driver(driver)
            .start();
        for _ in 0..4 {
            gateway.call(get("/v1/files")).expect(500);
        }
        assert_eq!(gateway.metric("routerly_breakers_opened_total"), 0.0);
        for _ in 0..2 {
            // A failure is passed on as it came, and the request not done twice.
            gateway.call(embed("first")).expect(500);
        }
        assert_eq!(gateway.metric("routerly_breakers_opened_total"), 1.0);
        assert_eq!(gateway.call(ask(false)).expect(200).field("x-routerly-model"), Some("good"));
        assert_eq!(gateway.usage_records(7).len(), 7);
    });
}

#[test]
fn an_endpoint_that_is_not_reached_is_tried_once_more_and_remembered() {
    on_each_driver(|driver| {
        let good = healthy();
        let mut nowhere = model("nowhere", &good);
        nowhere["endpoint"] = json!("http://127.0.0.1:1/v1");
        let gateway = Setup::new()
            .model(nowhere)
            .model(model("good", &good))
            .setting("upstream.breaker", json!({"failures": 2, "cooldownMs": 600_000}))
            .driver(driver)
            .start();
        gateway.call(embed("nowhere")).expect(502);
        assert_eq!(gateway.metric("routerly_upstream_connect_errors_total"), 2.0);
        // Both breakers are open: text is asked of the other model at once.
        assert_eq!(gateway.call(ask(false)).expect(200).field("x-routerly-model"), Some("good"));
        assert_eq!(gateway.metric("routerly_upstream_connect_errors_total"), 2.0);
    });
}
