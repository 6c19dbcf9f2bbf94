//! Paths that the gateway does not know: passed on with the key replaced and the model's name translated.

use serde_json::json;

use crate::support::upstream::behaviour;
use crate::support::wire::find;
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, post};

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 4\r\n\r\n\x00\x01\x02\x03";

fn head(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n{fields}\r\n")
}

#[test]
fn method_path_and_query_reach_the_provider() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers(ANSWER));
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        for (method, sent, received) in [
            ("GET", "/v1/files", "/v1/files"),
            ("GET", "/v1/files?limit=5&after=a%20b", "/v1/files?limit=5&after=a%20b"),
            ("DELETE", "/v1/files/f-1", "/v1/files/f-1"),
            ("DELETE", "/v1/models/ft:x", "/v1/models/ft:x"),
            ("GET", "/v1/chat/completions", "/v1/chat/completions"),
            ("PATCH", "/v1/x", "/v1/x"),
            ("GET", "/projects/demo/v1/files?x=/v1/y", "/v1/files?x=/v1/y"),
            ("GET", "/v1/files/a%2Fb/content", "/v1/files/a%2Fb/content"),
        ] {
            let body = if method == "PATCH" { "Content-Length: 0\r\n" } else { "" };
            let answer = client.call(head(method, sent, body)).expect(200);
            assert_eq!(answer.body, b"\x00\x01\x02\x03");
            assert_eq!(answer.field("content-type"), Some("audio/mpeg"));
            let (_, request) = upstream.next_request();
            assert_eq!(request.head.request_line(), (method, received));
            assert_eq!(request.head.field("authorization"), Some("Bearer provider-key"));
            assert_eq!(request.head.length().unwrap_or(0), 0);
        }
        for record in gateway.usage_records(8) {
            assert_eq!((&record["endpoint"], &record["outcome"]), (&json!("passthrough"), &json!("success")));
        }
    });
}

#[test]
fn a_json_body_names_its_model_and_gets_the_providers_name_for_it() {
    on_each_driver(|driver| {
        let usage = "{\"object\":\"list\",\"data\":[],\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}";
        let answer = behaviour::json_answer(200, usage);
        let (first, second) = (MockUpstream::with(behaviour::answers(answer.clone())), {
            MockUpstream::with(behaviour::answers(answer))
        });
        let model = |id: &str, name: &str, url: String| {
            json!({"id": id, "name": id, "provider": "custom", "endpoint": url, "apiKey": "k", "upstreamModelId": name,
                   "cost": {"inputPerMillion": 1, "outputPerMillion": 1}})
        };
        let mut embedding = model("b/embed", "embed-name", second.url());
        embedding["capabilities"] = json!({"embedding": true});
        let gateway = Setup::new()
            .driver(driver)
            .model(model("a/text", "text-name", first.url()))
            .model(embedding)
            .model(model("b/other", "other-name", second.url()))
            .start();
        for (path, sent, received, at) in [
            (
                "/v1/embeddings",
                r#"{"model":"b/embed","input":"x"}"#,
                r#"{"model":"embed-name","input":"x"}"#,
                &second,
            ),
            (
                "/v1/embeddings",
                r#"{"input": "x", "model": "embed"}"#,
                r#"{"input": "x", "model": "embed-name"}"#,
                &second,
            ),
            (
                "/v1/embeddings",
                r#"{"model":"embed-name","input":1}"#,
                r#"{"model":"embed-name","input":1}"#,
                &second,
            ),
            // An unknown name stays as it is; the path decides.
            (
                "/v1/embeddings",
                r#"{"model":"text-embedding-3","input":1}"#,
                r#"{"model":"text-embedding-3","input":1}"#,
                &second,
            ),
            (
                "/v1/moderations",
                r#"{"model":"b/other","input":1}"#,
                r#"{"model":"other-name","input":1}"#,
                &second,
            ),
            ("/v1/moderations", r#"{"input":1}"#, r#"{"input":1}"#, &first),
            ("/v1/moderations", "[1, 2]", "[1, 2]", &first),
            ("/v1/moderations", "not json", "not json", &first),
        ] {
            let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", sent.len());
            gateway.call(head("POST", path, &fields) + sent).expect(200);
            let (_, request) = at.next_request();
            assert_eq!(String::from_utf8(request.body).unwrap(), received, "{path}");
            assert_eq!(request.head.length(), Some(received.len()));
        }
        let records = gateway.usage_records(8);
        assert_eq!((&records[0]["endpoint"], &records[0]["inputTokens"]), (&json!("embeddings"), &json!(5)));
        assert_eq!(records[0]["requestedModel"], "b/embed");
    });
}

fn form(model: &str, file: &[u8]) -> Vec<u8> {
    [
        format!("--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n").as_bytes(),
        b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n",
        file,
        b"\r\n--XyZ--\r\n",
    ]
    .concat()
}

const FORM: &str = "Content-Type: multipart/form-data; boundary=XyZ\r\n";

#[test]
fn a_form_streams_through_before_the_client_has_sent_its_end() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let file: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
        for (model, renamed) in [("up/chat", "chat"), ("chat", "chat"), ("whisper-1", "whisper-1")] {
            let (sent, expected) = (form(model, &file), form(renamed, &file));
            let mut client = gateway.client();
            client.send(head(
                "POST",
                "/v1/audio/transcriptions",
                &format!("{FORM}Content-Length: {}\r\n", sent.len()),
            ));
            client.send(&sent[..100_000]);
            let mut provider = upstream.accept();
            let request = provider.read_head();
            assert_eq!(request.length(), Some(expected.len()), "{model}");
            // The provider has the first part while the client still holds the rest.
            let early = provider.wire.take(90_000);
            assert!(early == expected[..90_000], "{model}");
            std::thread::scope(|scope| {
                scope.spawn(|| client.send(&sent[100_000..]));
                assert!(provider.wire.take(expected.len() - 90_000) == expected[90_000..], "{model}");
            });
            provider.answer(200, "{\"text\":\"Hello\"}");
            assert_eq!(client.read_response().expect(200).json()["text"], "Hello");
        }
    });
}

#[test]
fn a_chunked_upload_streams_through_in_chunks() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        client.send(head(
            "POST",
            "/v1/uploads",
            "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n",
        ));
        client.send("5\r\nfirst\r\n");
        let mut provider = upstream.accept();
        let request = provider.read_head();
        assert!(request.is_chunked() && request.length().is_none());
        assert_eq!(crate::support::http::read_chunk(&mut provider.wire).unwrap(), b"first");
        client.send("6;ext=1\r\nsecond\r\n");
        assert_eq!(crate::support::http::read_chunk(&mut provider.wire).unwrap(), b"second");
        client.send("0\r\nTrailer: x\r\n\r\n");
        assert_eq!(crate::support::http::read_chunk(&mut provider.wire), None);
        provider.answer(200, "{}");
        client.read_response().expect(200);
        client.get("/health").expect(200);
    });
}

#[test]
fn a_form_in_front_of_another_request_ends_where_its_length_says() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers(behaviour::json_answer(200, "{}")));
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        // The model stands in the bytes of the next request, which are no part of this one.
        let short =
            head("POST", "/v1/audio/transcriptions", &format!("{FORM}Content-Length: 4\r\n")) + "--Xy";
        let next = form("up/chat", b"abc");
        let second =
            head("POST", "/v1/audio/transcriptions", &format!("{FORM}Content-Length: {}\r\n", next.len()));
        client.send([short.as_bytes(), second.as_bytes(), &next].concat());
        client.read_response().expect(200);
        client.read_response().expect(200);
        assert_eq!(upstream.next_request().1.body, b"--Xy");
        assert_eq!(upstream.next_request().1.body, form("chat", b"abc"));
        assert_eq!(gateway.metric("routerly_panics_total"), 0.0);
    });
}

#[test]
fn uploads_beyond_their_bound_and_unread_answers_leave_the_connection_in_step() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers(ANSWER));
        let gateway = Setup::with_upstream(&upstream)
            .driver(driver)
            .setting("server.passthroughBodyBytesMax", 1_000)
            .start();
        let octets = "Content-Type: application/octet-stream\r\n";
        let mut client = gateway.client();
        client.send(head("POST", "/v1/uploads", &format!("{octets}Content-Length: 1001\r\n")));
        client.read_response().expect(413);
        client.expect_closed();
        let mut client = gateway.client();
        let chunk = "x".repeat(2_000);
        client.send(head("POST", "/v1/uploads", &format!("{octets}Transfer-Encoding: chunked\r\n")));
        client.send(format!("7d0\r\n{chunk}\r\n0\r\n\r\n"));
        client.read_response().expect(413);
        client.expect_closed();
        let mut client = gateway.client();
        for _ in 0..3 {
            let sent =
                head("POST", "/v1/uploads", &format!("{octets}Content-Length: 1000\r\n")) + &chunk[..1_000];
            client.call(sent).expect(200);
            assert_eq!(upstream.next_request().1.body.len(), 1_000);
        }
    });
}

#[test]
fn a_stream_of_an_unknown_path_is_relayed_untouched() {
    on_each_driver(|driver| {
        let events = "data: {\"a\":1}\n\ndata: {\"b\":2}\n\n";
        let upstream = MockUpstream::manual();
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        client.send(post("/v1/completions", "", &json!({"model": "up/chat", "prompt": "x", "stream": true})));
        let mut provider = upstream.accept();
        assert!(find(&provider.read_request().body, b"\"chat\"").is_some());
        provider.begin_stream();
        for event in events.split_inclusive("\n\n") {
            provider.send_chunk(event);
            if event.contains('a') && event.contains("\"a\"") {
                client.read_head();
            }
            assert_eq!(client.read_chunk().as_deref(), Some(event.as_bytes()));
        }
        provider.end_chunks();
        assert_eq!(client.read_chunk(), None);
    });
}
