//! Gemini's own endpoints, with models that speak Gemini: calls, lists, keys, streams in both forms.

use serde_json::{Value, json};

use crate::support::upstream::behaviour::{answers, json_answer};
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, simulated};

const GENERATE: &str = "/v1beta/models/gem:generateContent";
const STREAM: &str = "/v1beta/models/gem:streamGenerateContent";

fn body() -> String {
    json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}).to_string()
}

/// A request with the token where Google's SDKs put it.
fn call(path: &str, fields: &str) -> String {
    keyless(path, &format!("x-goog-api-key: {TOKEN}\r\n{fields}"))
}

fn keyless(path: &str, fields: &str) -> String {
    let body = body();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A gateway whose only model speaks Gemini and lives at `upstream`, below `/v1beta`.
fn with_upstream(upstream: &MockUpstream) -> Setup {
    Setup::new().model(json!({
        "id": "up/gem", "name": "Gem", "provider": "gemini", "apiKey": "provider-key", "upstreamModelId": "gem-2",
        "endpoint": format!("http://{}/v1beta", upstream.address()),
        "cost": {"inputPerMillion": 1, "outputPerMillion": 2}, "contextWindow": 1000,
    }))
}

const ANSWER: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"totalTokenCount":12},"modelVersion":"gem-2"}"#;

fn chunks() -> [String; 2] {
    let chunk = |text: &str, finish: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}}{finish}}}],\
             \"usageMetadata\":{{\"promptTokenCount\":5,\"candidatesTokenCount\":7}}}}\r\n\r\n"
        )
    };
    [chunk("Hel", ""), chunk("lo", ",\"finishReason\":\"STOP\"")]
}

#[test]
fn an_answer_is_relayed_byte_for_byte_and_the_key_is_the_provider_s() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(answers(json_answer(200, ANSWER)));
        let gateway = with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        let places = [
            (GENERATE.to_owned(), format!("x-goog-api-key: {TOKEN}\r\n")),
            (GENERATE.to_owned(), format!("Authorization: Bearer {TOKEN}\r\n")),
            (format!("{GENERATE}?key={TOKEN}"), String::new()),
            (format!("/v1/models/gem:generateContent?alt=json&key={TOKEN}"), String::new()),
            (format!("/projects/demo{GENERATE}?key={TOKEN}"), String::new()),
        ];
        for (path, fields) in &places {
            let answer = client.call(keyless(path, fields)).expect(200);
            assert_eq!(answer.text(), ANSWER);
            assert_eq!(answer.field("x-routerly-model"), Some("up/gem"));
            assert_eq!(answer.field("x-routerly-cost"), Some("0.000019"));
            let (_, request) = upstream.next_request();
            assert_eq!(request.head.request_line().1, "/v1beta/models/gem-2:generateContent");
            assert_eq!(request.head.field("x-goog-api-key"), Some("provider-key"));
            assert_eq!(request.body, body().as_bytes());
            let sent = String::from_utf8_lossy(&request.head.raw);
            assert!(!sent.contains(TOKEN), "{sent}");
        }
        for record in gateway.usage_records(places.len()) {
            assert_eq!((&record["endpoint"], &record["requestedModel"]), (&json!("gemini"), &json!("gem")));
            assert_eq!((&record["inputTokens"], &record["outputTokens"]), (&json!(5), &json!(7)));
        }
    });
}

#[test]
fn a_wrong_or_missing_key_is_refused_in_google_s_words() {
    let gateway = Setup::new().model(simulated("gem", "gemini")).start();
    for (path, fields) in [
        (GENERATE.to_owned(), String::new()),
        (GENERATE.to_owned(), "x-goog-api-key: sk-rt-wrong\r\n".to_owned()),
        (format!("{GENERATE}?key=other"), format!("x-goog-api-key: {TOKEN}\r\n")),
    ] {
        let answer = gateway.call(keyless(&path, &fields)).expect(401);
        let error = &answer.json()["error"];
        assert_eq!((&error["code"], &error["status"]), (&json!(401), &json!("UNAUTHENTICATED")));
        let trace = answer.field("x-routerly-trace-id").unwrap();
        assert_eq!(error["details"][0]["metadata"]["traceId"], trace);
    }
    // Elsewhere a key in the query is no credential.
    let chat = format!("/v1/chat/completions?key={TOKEN}");
    gateway.call(keyless(&chat, "")).expect(401);
}

#[test]
fn a_token_in_the_query_stays_here_and_stands_against_nothing() {
    let upstream = MockUpstream::with(answers(json_answer(200, "{}")));
    let gateway = Setup::with_upstream(&upstream).start();
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    // Google's clients list models under this path too.
    let listed = gateway.call(get(&format!("/v1/models?key={TOKEN}"), "")).expect(200).json();
    assert!(listed["models"].is_array(), "{listed}");
    let listed = gateway.call(get(&format!("/v1/models?key={TOKEN}"), &bearer)).expect(200).json();
    assert!(listed["data"].is_array(), "{listed}");
    for (query, sent) in [
        (format!("?key={TOKEN}"), ""),
        (format!("?limit=2&key={TOKEN}&after=x"), "?limit=2&after=x"),
        ("?key=sk-rt-another&a".to_owned(), "?a"),
        ("?key=value".to_owned(), "?key=value"),
    ] {
        gateway.call(get(&format!("/v1/files{query}"), &bearer)).expect(200);
        assert_eq!(upstream.next_request().1.head.request_line().1, format!("/v1/files{sent}"), "{query}");
    }
}

#[test]
fn a_stream_of_events_is_relayed_byte_for_byte() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        client.send(call(&format!("{STREAM}?alt=sse"), ""));
        let mut provider = upstream.accept();
        let asked = provider.read_request();
        assert_eq!(asked.head.request_line().1, "/v1beta/models/gem-2:streamGenerateContent?alt=sse");
        provider.begin_stream();
        for (index, chunk) in chunks().iter().enumerate() {
            provider.send_chunk(chunk);
            if index == 0 {
                let head = client.read_head();
                assert_eq!(head.field("content-type"), Some("text/event-stream"));
            }
            // Nothing stands before the first event: Google's SDK for Python takes comments for JSON.
            assert_eq!(client.read_chunk().as_deref(), Some(chunk.as_bytes()));
        }
        provider.end_chunks();
        assert_eq!(client.read_chunk(), None);
        let record = gateway.usage_records(1).remove(0);
        assert_eq!((&record["inputTokens"], &record["outputTokens"]), (&json!(5), &json!(7)));
        assert_eq!((&record["stream"], &record["outcome"]), (&json!(true), &json!("success")));
    });
}

#[test]
fn without_alt_a_stream_is_an_array_that_grows_with_it() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway =
            with_upstream(&upstream).driver(driver).setting("server.streamKeepAliveMs", 100).start();
        let mut client = gateway.client();
        client.send(call(STREAM, ""));
        let mut provider = upstream.accept();
        let asked = provider.read_request();
        assert_eq!(asked.head.request_line().1, "/v1beta/models/gem-2:streamGenerateContent?alt=sse");
        assert_eq!(asked.body, body().as_bytes());
        provider.begin_stream();
        let mut seen = String::new();
        for (index, chunk) in chunks().iter().enumerate() {
            provider.send_chunk(chunk);
            if index == 0 {
                let head = client.read_head();
                assert_eq!(head.field("content-type"), Some("application/json"));
            }
            let element = chunk.trim_end().strip_prefix("data: ").unwrap();
            while !seen.ends_with(element) {
                seen.push_str(std::str::from_utf8(&client.read_chunk().expect("an element")).unwrap());
            }
        }
        // While nothing comes it is kept open with white space.
        let filler = client.read_chunk().expect("a filler");
        assert_eq!(filler, b"\n");
        provider.end_chunks();
        while let Some(chunk) = client.read_chunk() {
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        let array: Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(array.as_array().unwrap().len(), 2);
        assert_eq!(array[1]["candidates"][0]["content"]["parts"][0]["text"], "lo");
        let record = gateway.usage_records(1).remove(0);
        assert_eq!((&record["outputTokens"], &record["outcome"]), (&json!(7), &json!("success")));
    });
}

#[test]
fn a_cut_array_ends_in_an_error_element() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(|connection| {
            while connection.next_request().is_some() {
                connection.begin_stream();
                connection.send_chunk(&chunks()[0]);
                connection.end_chunks();
            }
        });
        let gateway = with_upstream(&upstream).driver(driver).start();
        let answer = gateway.call(call(STREAM, "")).expect(200);
        let array = answer.json();
        assert_eq!(array.as_array().unwrap().len(), 2, "{array}");
        assert_eq!(array[1]["error"]["status"], "UNAVAILABLE");
        assert_eq!(gateway.usage_records(1)[0]["outcome"], "error");
    });
}

#[test]
fn models_are_listed_in_google_s_shape() {
    let gateway =
        Setup::new().model(simulated("gem", "gemini")).model(simulated("a/b", "openai-chat")).start();
    let mut client = gateway.client();
    let mut get = |path: &str| {
        client.call(format!("GET {path} HTTP/1.1\r\nHost: h\r\nx-goog-api-key: {TOKEN}\r\n\r\n"))
    };
    let listed = get("/v1beta/models").expect(200).json();
    let names: Vec<&Value> =
        listed["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["models/gem", "models/a/b"]);
    let one = get("/v1beta/models/a/b").expect(200).json();
    assert_eq!(one, listed["models"][1]);
    assert_eq!(one["inputTokenLimit"], 128_000);
    let methods = &one["supportedGenerationMethods"];
    assert_eq!(*methods, json!(["generateContent", "streamGenerateContent", "countTokens"]));
    // Where Google's newer SDKs look for them.
    assert_eq!(get("/v1/models").expect(200).json(), listed);
    assert_eq!(get("/v1/models/a/b").expect(200).json(), one);
    let missing = get("/v1beta/models/none").expect(404).json();
    assert_eq!(missing["error"]["status"], "NOT_FOUND");
}

#[test]
fn tokens_are_counted_by_the_provider() {
    let answer = json_answer(200, "{\"totalTokens\": 31}");
    let upstream = MockUpstream::with(answers(answer));
    let gateway = with_upstream(&upstream).start();
    let answer = gateway.call(call("/v1beta/models/gem:countTokens", "")).expect(200);
    assert_eq!(answer.text(), "{\"totalTokens\": 31}");
    let (_, request) = upstream.next_request();
    assert_eq!(request.head.request_line().1, "/v1beta/models/gem-2:countTokens");
    assert_eq!(gateway.usage_records(1)[0]["endpoint"], "count_tokens");
}

#[test]
fn other_paths_of_google_s_api_never_carry_the_client_s_key() {
    let upstream = MockUpstream::with(answers(json_answer(200, "{}")));
    let gateway = with_upstream(&upstream).start();
    let path = format!("/v1beta/models/gem:embedContent?key={TOKEN}&x=1");
    gateway.call(keyless(&path, "")).expect(200);
    let (_, request) = upstream.next_request();
    assert_eq!(request.head.request_line().1, "/v1beta/models/gem:embedContent?x=1");
    assert!(!String::from_utf8_lossy(&request.head.raw).contains(TOKEN));
}
