//! Which fields reach the provider, and which of its own reach the client.

use serde_json::json;

use crate::support::upstream::behaviour::{self, CHAT};
use crate::support::{MockUpstream, Setup, TOKEN, on_each_driver, post};

/// Fields of a client that a provider gets as they are.
const FORWARDED: &[(&str, &str)] = &[
    ("User-Agent", "OpenAI/Python 1.0"),
    ("Accept", "application/json"),
    ("OpenAI-Organization", "org-1"),
    ("OpenAI-Beta", "assistants=v2"),
    ("Idempotency-Key", "k-1"),
    ("X-Stainless-Lang", "python"),
    ("X-Custom", "kept; as=\"it is\""),
    ("anthropic-beta", "tools-2024-04-04"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("X-Request-Id", "of-the-client"),
];

/// Fields that end at the gateway.
const KEPT: &[(&str, &str)] = &[
    ("x-api-key", TOKEN),
    ("api-key", "other-secret"),
    ("x-goog-api-key", "other-secret"),
    ("Cookie", "session=1"),
    ("Origin", "https://app.example"),
    ("Referer", "https://app.example/page"),
    ("Forwarded", "for=1.2.3.4"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Proto", "https"),
    ("X-Real-IP", "1.2.3.4"),
    ("X-Routerly-Trace", "none"),
    ("X-Routerly-Conversation-Id", "c-1"),
    ("X-Routerly-Anything", "x"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authorization", "Basic abc"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "Digest"),
    ("Upgrade", "h2c"),
    ("X-Nominated", "dropped"),
    ("Access-Control-Request-Method", "POST"),
    ("Accept-Encoding", "gzip, br"),
];

fn lines(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

#[test]
fn the_provider_gets_the_clients_fields_and_the_gateways_key() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let body = json!({"model": "x", "messages": []}).to_string();
        for (path, key) in [
            ("/v1/chat/completions", "authorization"),
            ("/v1/responses", "authorization"),
            ("/v1/messages", "x-api-key"),
        ] {
            gateway
                .call(format!(
                    "POST {path} HTTP/1.1\r\nHost: gateway.example\r\nConnection: keep-alive, X-Nominated\r\n{}{}\
                     Content-Length: {}\r\n\r\n{body}",
                    lines(FORWARDED),
                    lines(KEPT),
                    body.len()
                ))
                .expect(200);
            let head = upstream.next_request().1.head;
            for (name, value) in FORWARDED {
                assert_eq!(head.field(name), Some(*value), "{path} {name}");
            }
            for (name, _) in KEPT.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(key)) {
                assert_eq!(head.all(name), [""; 0], "{path} {name}");
            }
            let expected = if key == "authorization" { "Bearer provider-key" } else { "provider-key" };
            assert_eq!(head.field(key), Some(expected), "{path}");
            assert_eq!(head.field("host").unwrap(), upstream.address().to_string());
            assert_eq!(head.field("connection"), None);
            let raw = String::from_utf8(head.raw.clone()).unwrap();
            assert!(
                !raw.contains(TOKEN) && !raw.contains("gateway.example") && !raw.contains("other-secret")
            );
        }
    });
}

#[test]
fn a_provider_of_messages_gets_a_version_and_the_clients_one_first() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for (field, expected) in [
            ("", "2023-06-01"),
            ("anthropic-version: 2023-01-01\r\n", "2023-01-01"),
            ("Anthropic-Version: 2029-01-01\r\n", "2029-01-01"),
        ] {
            for path in ["/v1/messages", "/v1/messages/batches"] {
                gateway.call(post(path, field, &json!({"model": "x", "messages": []}))).expect(200);
                let (_, request) = upstream.next_request();
                assert_eq!(request.head.field("anthropic-version"), Some(expected), "{path} {field:?}");
            }
        }
    });
}

#[test]
fn fields_of_the_answer_reach_the_client_but_for_those_of_its_hop() {
    let kept = [
        ("Retry-After", "7"),
        ("X-RateLimit-Remaining-Requests", "59"),
        ("x-ratelimit-reset-tokens", "6ms"),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("Request-Id", "req_1"),
        ("X-Request-Id", "req_2"),
        ("OpenAI-Processing-Ms", "17"),
        ("CF-Ray", "abc"),
        ("Date", "Fri, 20 Nov 2026 15:00:00 GMT"),
        ("Server", "mock"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Language", "en"),
        ("ETag", "\"x\""),
    ];
    let dropped = [
        ("Connection", "keep-alive, X-Hop"),
        ("Keep-Alive", "timeout=5"),
        ("X-Hop", "1"),
        ("Proxy-Authenticate", "Basic"),
        ("Trailer", "Digest"),
        ("Upgrade", "h2"),
        ("Set-Cookie", "a=b"),
        ("Alt-Svc", "h3=\":443\""),
        ("Strict-Transport-Security", "max-age=1"),
        ("Access-Control-Allow-Origin", "https://provider.example"),
        ("Access-Control-Allow-Credentials", "true"),
        ("X-Routerly-Model", "of-the-provider"),
        ("X-Routerly-Cost", "99"),
    ];
    on_each_driver(|driver| {
        let answer = format!(
            "HTTP/1.1 200 Fine\r\n{}{}Content-Length: {}\r\n\r\n{CHAT}",
            lines(&kept),
            lines(&dropped),
            CHAT.len()
        );
        let upstream = MockUpstream::with(behaviour::answers(answer));
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let answer = gateway
            .call(post("/v1/chat/completions", "", &json!({"model": "x", "messages": []})))
            .expect(200);
        for (name, value) in kept {
            assert_eq!(answer.field(name), Some(value), "{name}");
        }
        for (name, value) in dropped {
            assert!(!answer.head.all(name).contains(&value), "{name}: {:?}", answer.head.fields);
        }
        assert_eq!(answer.text(), CHAT);
        assert_eq!(answer.field("x-routerly-model"), Some("up/chat"));
        assert_eq!(answer.field("x-routerly-provider"), Some("custom"));
        // 5 tokens in at 1 USD and 7 out at 2 USD a million.
        assert_eq!(answer.field("x-routerly-cost").unwrap().parse::<f64>().unwrap(), 0.000_019);
        assert_eq!(answer.field("x-routerly-trace-id").unwrap().len(), 36);
        assert_eq!(answer.field("server-timing"), None);
    });
}

#[test]
fn server_timing_is_told_where_it_is_switched_on() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(behaviour::answers_each_dialect);
        let body = json!({"model": "x", "messages": []});
        for setup in [
            Setup::with_upstream(&upstream).setting("serverTiming", true),
            Setup::with_upstream(&upstream).project("serverTiming", true),
        ] {
            let gateway = setup.driver(driver).start();
            let answer = gateway.call(post("/v1/chat/completions", "", &body)).expect(200);
            let timing = answer.field("server-timing").unwrap();
            let (gateway_part, upstream_part) = timing.split_once(", ").unwrap();
            for (part, name) in [(gateway_part, "gateway"), (upstream_part, "upstream")] {
                let duration = part.strip_prefix(name).unwrap().strip_prefix(";dur=").unwrap();
                assert!(duration.parse::<f64>().unwrap() >= 0.0, "{timing}");
            }
        }
        let off =
            Setup::with_upstream(&upstream).setting("serverTiming", true).project("serverTiming", false);
        let answer = off.driver(driver).start().call(post("/v1/chat/completions", "", &body)).expect(200);
        assert_eq!(answer.field("server-timing"), None);
    });
}
