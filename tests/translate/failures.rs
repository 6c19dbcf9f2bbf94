//! What goes wrong, in the client's words: error statuses, errors within a stream, cut streams, clients that leave.

use serde_json::{Value, json};

use super::client::{self, Ask, seen};
use super::{Dialect, gateway_to, pairs, provider};
use crate::support::upstream::behaviour::{answers, json_answer};
use crate::support::{MockUpstream, on_each_driver};

const STREAM: Ask = Ask { stream: true, tool: true, think: true };
const WHOLE: Ask = Ask { stream: false, tool: false, think: false };

/// How a provider of each dialect says one case, and how a client of each has to hear it: statuses in the order chat,
/// Responses, Anthropic, Gemini; the kind of error in the provider's words and in those of the client.
struct Case {
    said: [(u16, &'static str); 4],
    heard: [(u16, &'static str); 4],
}

const CASES: [Case; 5] = [
    Case {
        said: [
            (429, "rate_limit_error"),
            (429, "rate_limit_error"),
            (429, "rate_limit_error"),
            (429, "RESOURCE_EXHAUSTED"),
        ],
        heard: [
            (429, "rate_limit_error"),
            (429, "rate_limit_error"),
            (429, "rate_limit_error"),
            (429, "RESOURCE_EXHAUSTED"),
        ],
    },
    Case {
        said: [(500, "server_error"), (500, "server_error"), (500, "api_error"), (500, "INTERNAL")],
        heard: [(500, "server_error"), (500, "server_error"), (500, "api_error"), (500, "INTERNAL")],
    },
    Case {
        said: [
            (503, "service_unavailable_error"),
            (503, "service_unavailable_error"),
            (529, "overloaded_error"),
            (503, "UNAVAILABLE"),
        ],
        heard: [
            (503, "service_unavailable_error"),
            (503, "service_unavailable_error"),
            (529, "overloaded_error"),
            (503, "UNAVAILABLE"),
        ],
    },
    Case {
        said: [
            (400, "invalid_request_error"),
            (400, "invalid_request_error"),
            (400, "invalid_request_error"),
            (400, "INVALID_ARGUMENT"),
        ],
        heard: [
            (400, "invalid_request_error"),
            (400, "invalid_request_error"),
            (400, "invalid_request_error"),
            (400, "INVALID_ARGUMENT"),
        ],
    },
    Case {
        said: [
            (404, "invalid_request_error"),
            (404, "invalid_request_error"),
            (404, "not_found_error"),
            (404, "NOT_FOUND"),
        ],
        heard: [
            (404, "invalid_request_error"),
            (400, "invalid_request_error"),
            (404, "not_found_error"),
            (404, "NOT_FOUND"),
        ],
    },
];

fn column(dialect: Dialect) -> usize {
    Dialect::ALL.iter().position(|known| *known == dialect).unwrap()
}

#[test]
fn a_provider_s_error_has_the_status_and_the_shape_of_the_client_s_dialect() {
    on_each_driver(|driver| {
        for (from, to) in pairs() {
            let upstream = MockUpstream::with(move |connection| {
                while let Some(request) = connection.next_request() {
                    let case: usize = request.head.field("user-agent").unwrap().parse().unwrap();
                    let (status, kind) = CASES[case].said[column(to)];
                    let body = provider::error(to, status, kind, "it is too hot");
                    let mut answer = json_answer(status, &body.to_string());
                    if status == 429 {
                        answer = answer.replacen("\r\n", "\r\nRetry-After: 7\r\n", 1);
                    }
                    connection.send(answer);
                }
            });
            let gateway = gateway_to(&upstream, to).driver(driver).start();
            let mut connected = gateway.client();
            for (index, case) in CASES.iter().enumerate() {
                for ask in [WHOLE, STREAM] {
                    let fields = format!("user-agent: {index}\r\n");
                    let response = connected.call(client::request(from, ask, &fields));
                    let (status, kind) = case.heard[column(from)];
                    let name = format!("{from:?} client, {to:?} provider: {}", response.text());
                    assert_eq!(response.status, status, "{name}");
                    let error = &response.json()["error"];
                    let found = if from == Dialect::Gemini { &error["status"] } else { &error["type"] };
                    assert_eq!(found, kind, "{name}");
                    assert_eq!(error["message"], "it is too hot", "{name}");
                    assert_eq!(response.field("content-type"), Some("application/json"), "{name}");
                    let waits = if status == 429 { Some("7") } else { None };
                    assert_eq!(response.field("retry-after"), waits, "{name}");
                }
            }
            for record in gateway.usage_records(2 * CASES.len()) {
                assert_eq!(
                    (&record["outcome"], &record["errorMessage"]),
                    (&json!("error"), &json!("it is too hot"))
                );
            }
        }
    });
}

#[test]
fn a_refused_key_is_the_gateway_s_own_trouble() {
    for (from, to) in pairs() {
        let body = provider::error(to, 401, "authentication_error", "bad key sk-secret");
        let upstream = MockUpstream::with(answers(json_answer(401, &body.to_string())));
        let gateway = gateway_to(&upstream, to).start();
        let response = gateway.call(client::request(from, WHOLE, "")).expect(502);
        assert!(!response.text().contains("sk-secret"), "{}", response.text());
    }
}

#[test]
fn a_body_that_is_no_answer_is_an_error_and_never_an_answer() {
    for (from, to) in pairs() {
        for (status, body) in
            [(200, "{\"cut\":"), (200, "<html>"), (502, "<html>Bad gateway</html>"), (500, "")]
        {
            let upstream = MockUpstream::with(answers(json_answer(status, body)));
            let gateway = gateway_to(&upstream, to).start();
            for ask in [WHOLE, STREAM] {
                let response = gateway.call(client::request(from, ask, ""));
                assert!(response.status >= 500, "{from:?} {to:?} {status} {body}: {}", response.status);
                assert!(response.json()["error"]["message"].is_string(), "{}", response.text());
                let record = gateway.usage_records(1).remove(0);
                assert_eq!(record["outcome"], "error", "{from:?} {to:?} {status} {body}");
            }
        }
    }
}

#[test]
fn an_answer_in_another_form_than_was_asked_for_is_an_error() {
    for (from, to) in pairs() {
        let events = provider::events(to, STREAM).concat();
        let whole = json_answer(200, &provider::whole(to, WHOLE).to_string());
        let streamed = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{events}",
            events.len()
        );
        let upstream = MockUpstream::with(move |connection| {
            while let Some(request) = connection.next_request() {
                let wants_whole = request.head.field("user-agent") == Some("whole");
                connection.send(if wants_whole { &streamed } else { &whole });
            }
        });
        let gateway = gateway_to(&upstream, to).start();
        for (ask, fields) in [(WHOLE, "user-agent: whole\r\n"), (STREAM, "")] {
            let response = gateway.call(client::request(from, ask, fields));
            assert!(response.status >= 500, "{from:?} {to:?}: {}", response.text());
            assert!(response.json()["error"]["message"].is_string());
        }
        assert!(gateway.usage_records(2).iter().all(|record| record["outcome"] == "error"));
    }
}

#[test]
fn a_stream_that_begins_with_an_error_is_answered_with_its_status() {
    for to in [Dialect::Chat, Dialect::Anthropic, Dialect::Gemini] {
        let (kind, status) = match to {
            Dialect::Chat => ("rate_limit_error", 429),
            Dialect::Anthropic => ("rate_limit_error", 429),
            _ => ("RESOURCE_EXHAUSTED", 429),
        };
        let body = provider::error(to, status, kind, "too much");
        let name = if to == Dialect::Anthropic { "event: error\n" } else { "" };
        let event = format!("{name}data: {body}\n\n");
        let upstream = MockUpstream::with(move |connection| {
            while connection.next_request().is_some() {
                connection.begin_stream();
                connection.send_chunk(&event);
                connection.end_chunks();
            }
        });
        let gateway = gateway_to(&upstream, to).start();
        for from in Dialect::ALL.into_iter().filter(|from| *from != to) {
            let response = gateway.call(client::request(from, STREAM, "")).expect(status);
            assert_eq!(response.json()["error"]["message"], "too much", "{from:?} {to:?}");
        }
        assert!(gateway.usage_records(3).iter().all(|record| record["outcome"] == "error"));
    }
}

/// Events of the provider, and what the client has read before the error.
fn broken(to: Dialect, tail: &'static str) -> impl Fn(&mut crate::support::upstream::Connection) {
    move |connection| {
        while connection.next_request().is_some() {
            connection.begin_stream();
            for event in provider::beginning(to) {
                connection.send_chunk(event);
            }
            if !tail.is_empty() {
                connection.send_chunk(tail);
            }
            connection.end_chunks();
        }
    }
}

#[test]
fn an_error_within_a_stream_ends_it_in_the_client_s_own_way() {
    on_each_driver(|driver| {
        for (from, to) in pairs() {
            let tail = match to {
                Dialect::Chat => "data: {\"error\":{\"message\":\"it broke\",\"type\":\"server_error\"}}\n\n",
                Dialect::Responses => concat!(
                    "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"it broke\",",
                    "\"param\":null,\"sequence_number\":9}\n\n"
                ),
                Dialect::Anthropic => concat!(
                    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",",
                    "\"message\":\"it broke\"}}\n\n"
                ),
                Dialect::Gemini => {
                    "data: {\"error\":{\"code\":500,\"message\":\"it broke\",\"status\":\"INTERNAL\"}}\r\n\r\n"
                }
            };
            let upstream = MockUpstream::with(broken(to, tail));
            let gateway = gateway_to(&upstream, to).driver(driver).start();
            let mut connected = gateway.client();
            for _ in 0..2 {
                let response = connected.call(client::request(from, STREAM, "")).expect(200);
                let found = seen(from, &response);
                assert_eq!(found.error.as_deref(), Some("it broke"), "{from:?} {to:?}\n{}", response.text());
                assert_eq!(found.text, "It ", "{from:?} {to:?}");
            }
            for record in gateway.usage_records(2) {
                assert_eq!(
                    (&record["outcome"], &record["errorMessage"]),
                    (&json!("error"), &json!("it broke"))
                );
            }
        }
    });
}

#[test]
fn a_stream_without_its_end_mark_is_never_a_silent_end() {
    for (from, to) in pairs() {
        let upstream = MockUpstream::with(broken(to, ""));
        let gateway = gateway_to(&upstream, to).start();
        let response = gateway.call(client::request(from, STREAM, "")).expect(200);
        let found = seen(from, &response);
        assert!(found.error.is_some(), "{from:?} {to:?}: {}", response.text());
        assert_eq!(gateway.usage_records(1)[0]["outcome"], "error", "{from:?} {to:?}");
    }
}

#[test]
fn a_provider_that_breaks_off_is_said_in_the_client_s_dialect() {
    on_each_driver(|driver| {
        for (from, to) in pairs() {
            for resets in [false, true] {
                let upstream = MockUpstream::manual();
                let gateway = gateway_to(&upstream, to).driver(driver).start();
                let mut client = gateway.client();
                client.send(client::request(from, STREAM, ""));
                let mut connection = upstream.accept();
                connection.read_request();
                connection.begin_stream();
                for event in provider::beginning(to) {
                    connection.send_chunk(event);
                }
                let head = client.read_head();
                if resets {
                    connection.reset();
                } else {
                    drop(connection);
                }
                let response = client.read_rest(head);
                let found = seen(from, &response);
                assert!(found.error.is_some(), "{from:?} {to:?}: {}", response.text());
                let record = gateway.usage_records(1).remove(0);
                assert_eq!(
                    (&record["outcome"], &record["endedBy"]),
                    (&json!("error"), &json!("provider")),
                    "{from:?} {to:?}"
                );
            }
        }
    });
}

#[test]
fn a_silent_provider_is_given_up_after_the_idle_time() {
    for (from, to) in pairs() {
        let upstream = MockUpstream::manual();
        let gateway = gateway_to(&upstream, to).setting("upstream.streamIdleTimeoutMs", 200).start();
        let mut client = gateway.client();
        client.send(client::request(from, STREAM, ""));
        let mut connection = upstream.accept();
        connection.read_request();
        connection.begin_stream();
        for event in provider::beginning(to) {
            connection.send_chunk(event);
        }
        let response = client.read_response().expect(200);
        assert!(seen(from, &response).error.is_some(), "{from:?} {to:?}: {}", response.text());
        assert_eq!(gateway.usage_records(1)[0]["outcome"], "timeout");
    }
}

#[test]
fn a_client_that_leaves_cancels_the_provider_s_work() {
    on_each_driver(|driver| {
        for (from, to) in pairs() {
            for ask in [WHOLE, STREAM] {
                let upstream = MockUpstream::manual();
                let gateway = gateway_to(&upstream, to).driver(driver).start();
                let mut client = gateway.client();
                client.send(client::request(from, ask, ""));
                let mut connection = upstream.accept();
                connection.read_request();
                if ask.stream {
                    connection.begin_stream();
                    for event in provider::beginning(to) {
                        connection.send_chunk(event);
                    }
                    client.read_head();
                }
                drop(client);
                connection.expect_closed();
                let record = gateway.usage_records(1).remove(0);
                assert_eq!(
                    (&record["outcome"], &record["endedBy"]),
                    (&json!("client_closed"), &json!("client")),
                    "{from:?} {to:?} {ask:?}"
                );
            }
        }
    });
}

#[test]
fn a_request_that_is_wrong_is_refused_with_the_field_s_name() {
    let upstream = MockUpstream::manual();
    for (from, to) in pairs() {
        let gateway = gateway_to(&upstream, to).start();
        let (body, field) = match from {
            Dialect::Chat => {
                (json!({"model": "x", "messages": [{"role": "user", "content": 5}]}), "messages[0].content")
            }
            Dialect::Responses => (json!({"model": "x", "input": 5}), "input"),
            Dialect::Anthropic => (json!({"model": "x", "max_tokens": 5, "messages": "hi"}), "messages"),
            Dialect::Gemini => {
                (json!({"contents": [{"role": "user", "parts": [{"text": 5}]}]}), "contents[0].parts[0].text")
            }
        };
        let response = gateway.call(client::request_of(from, false, "", &body)).expect(400);
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("`{field}`")), "{from:?} {to:?}: {message}");
    }
    assert_eq!(upstream.accepted(), 0, "nothing was sent");
}

/// A chat request with what Anthropic's dialect has no place for.
fn lossy() -> Value {
    let mut body = client::body(Dialect::Chat, WHOLE);
    body["seed"] = 7.into();
    body["logit_bias"] = json!({"1": 5});
    body["shoe_size"] = 42.into();
    body["temperature"] = json!(1.7);
    body
}

#[test]
fn what_is_lost_is_named_or_refused() {
    let to = Dialect::Anthropic;
    let upstream = MockUpstream::with(provider::plays(to, WHOLE));
    let gateway = gateway_to(&upstream, to).start();
    let ask =
        |fields: &str, body: &Value| gateway.call(client::request_of(Dialect::Chat, false, fields, body));
    let response = ask("", &lossy()).expect(200);
    let lost = response.field("x-routerly-translation").unwrap();
    let (dropped, changed) = lost.split_once("; ").unwrap();
    let mut dropped: Vec<&str> = dropped.strip_prefix("dropped=").unwrap().split(',').collect();
    dropped.sort_unstable();
    assert_eq!((dropped, changed), (vec!["logit_bias", "seed", "shoe_size"], "changed=temperature"));
    assert_eq!(
        ask("", &client::body(Dialect::Chat, WHOLE)).expect(200).field("x-routerly-translation"),
        None
    );

    let refused = ask("x-routerly-strict: true\r\n", &lossy()).expect(400);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("anthropic-messages"));
    ask("x-routerly-strict: true\r\n", &client::body(Dialect::Chat, WHOLE)).expect(200);

    let mut two = client::body(Dialect::Chat, WHOLE);
    two["n"] = 2.into();
    let refused = ask("", &two).expect(400);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("`n`"));

    let strict = gateway_to(&upstream, to).project("translation", "strict").start();
    strict.call(client::request_of(Dialect::Chat, false, "", &lossy())).expect(400);
    strict
        .call(client::request_of(Dialect::Chat, false, "x-routerly-strict: false\r\n", &lossy()))
        .expect(200);
}

#[test]
fn what_would_lose_something_goes_to_a_model_that_can_carry_it() {
    let chat = MockUpstream::with(provider::plays(Dialect::Chat, WHOLE));
    let claude = MockUpstream::with(provider::plays(Dialect::Anthropic, WHOLE));
    let mut second = gateway_to(&chat, Dialect::Chat).models.remove(0);
    second["id"] = "up/chat".into();
    let gateway = gateway_to(&claude, Dialect::Anthropic)
        .model(second)
        .project("honorRequestedModel", "prefer")
        .start();
    for (fields, expected) in [("", "up/model"), ("x-routerly-strict: true\r\n", "up/chat")] {
        let response = gateway.call(client::request_of(Dialect::Chat, false, fields, &lossy())).expect(200);
        assert_eq!(response.field("x-routerly-model"), Some(expected), "{fields}");
    }
}

#[test]
fn a_candidate_that_fails_is_followed_by_one_of_another_dialect() {
    let broken = MockUpstream::with(|connection| {
        connection.read_request();
    });
    let ask = Ask { stream: true, tool: true, think: true };
    for (from, to) in pairs() {
        let well = MockUpstream::with(provider::plays(to, ask));
        let mut setup = gateway_to(&broken, from);
        let mut second = gateway_to(&well, to).models.remove(0);
        setup.models[0]["id"] = "up/broken".into();
        setup.projects[0]["models"][0]["modelId"] = "up/broken".into();
        second["id"] = "up/well".into();
        let gateway = setup.model(second).start();
        let response = gateway.call(client::request(from, ask, "")).expect(200);
        assert_eq!(seen(from, &response), provider::expected(to, ask), "{from:?} {to:?}");
        assert_eq!(response.field("x-routerly-model"), Some("up/well"));
        assert_eq!(gateway.usage_records(2).len(), 2);
    }
}

#[test]
fn rate_limits_are_told_in_the_client_s_words() {
    let limits = |dialect| match dialect {
        Dialect::Anthropic => "anthropic-ratelimit-requests-remaining: 7\r\n",
        _ => "x-ratelimit-remaining-requests: 7\r\n",
    };
    for (client, provider) in pairs().filter(|(client, _)| *client != Dialect::Gemini) {
        let body = json!({"error": {"message": "slow down", "type": "rate_limit_error"}}).to_string();
        let answer = format!(
            "HTTP/1.1 429 X\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{body}",
            limits(provider),
            body.len()
        );
        let upstream = MockUpstream::with(answers(answer));
        let gateway = gateway_to(&upstream, provider).start();
        let response = gateway.call(client::request(client, WHOLE, "")).expect(429);
        let name = limits(client).split(':').next().unwrap();
        let expected = (provider != Dialect::Gemini).then_some("7");
        assert_eq!(response.field(name), expected, "{client:?} {provider:?}");
    }
}
