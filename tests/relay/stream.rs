//! Streams: each event at the client as soon as the provider has sent it; what the gateway adds and what it keeps.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, MockUpstream, Setup, on_each_driver, post};

/// Path, body and events of a stream of each dialect; the last event ends it.
pub fn streams() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    vec![
        (
            "/v1/chat/completions",
            json!({"model": "x", "stream": true, "stream_options": {"include_usage": true}, "messages": messages}),
            vec![
                "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
                "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}\n\n",
                "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
                "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n",
                "data: [DONE]\n\n",
            ],
        ),
        (
            "/v1/responses",
            json!({"model": "x", "stream": true, "input": "Hi"}),
            vec![
                "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"model\":\"responses\",\"status\":\"in_progress\"}}\n\n",
                "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"Hel\"}\n\n",
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12}}}\n\n",
            ],
        ),
        (
            "/v1/messages",
            json!({"model": "x", "stream": true, "max_tokens": 10, "messages": messages}),
            vec![
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"messages\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
                "event: ping\ndata: {\"type\": \"ping\"}\n\n",
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n",
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ],
        ),
    ]
}

/// Reads what the gateway puts in front of the stream, behind the head.
pub fn read_opening(client: &mut Client, path: &str) -> Value {
    let opening = client.read_chunk().expect("an opening");
    let text = String::from_utf8(opening).unwrap();
    let prefix = if path.ends_with("completions") { "data: " } else { ": routerly " };
    serde_json::from_str(text.strip_prefix(prefix).unwrap().strip_suffix("\n\n").unwrap()).unwrap()
}

fn usage(gateway: &Gateway) -> (u64, u64, String) {
    let record = gateway.usage_records(1).remove(0);
    let tokens = |key: &str| record[key].as_u64().unwrap();
    (tokens("inputTokens"), tokens("outputTokens"), record["outcome"].as_str().unwrap().to_owned())
}

#[test]
fn every_event_is_with_the_client_before_the_next_one_is_sent() {
    on_each_driver(|driver| {
        for (path, body, events) in streams() {
            let upstream = MockUpstream::manual();
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let mut client = gateway.client();
            client.send(post(path, "", &body));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.begin_stream();
            for (index, event) in events.iter().enumerate() {
                provider.send_chunk(event);
                if index == 0 {
                    let head = client.read_head();
                    assert_eq!((head.status(), head.is_chunked(), head.length()), (200, true, None));
                    assert_eq!(head.field("content-type"), Some("text/event-stream"));
                    assert_eq!(head.field("x-routerly-cost"), None);
                    let trace = read_opening(&mut client, path);
                    assert_eq!(trace["type"], "trace");
                    assert_eq!(trace["traceId"].as_str(), head.field("x-routerly-trace-id"));
                    assert_eq!(trace["model"].as_str(), head.field("x-routerly-model"));
                }
                assert_eq!(client.read_chunk().as_deref(), Some(event.as_bytes()), "{path} event {index}");
            }
            provider.end_chunks();
            assert_eq!(client.read_chunk(), None);
            assert_eq!(usage(&gateway), (5, 7, "success".to_owned()), "{path}");
            // Both connections go on.
            client.send(post(path, "", &body));
            provider.read_request();
        }
    });
}

#[test]
fn the_record_is_written_before_the_end_mark_can_be_seen() {
    on_each_driver(|driver| {
        let (path, body, events) = streams().remove(0);
        let upstream = MockUpstream::manual();
        let mut gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        client.send(post(path, "", &body));
        let mut provider = upstream.accept();
        provider.read_request();
        provider.begin_stream();
        provider.send_chunk(events.concat());
        client.read_until("[DONE]");
        gateway.kill9();
        let gateway = gateway.restart();
        assert_eq!(usage(&gateway), (5, 7, "success".to_owned()));
    });
}

#[test]
fn a_stream_is_relayed_byte_for_byte_however_it_is_cut() {
    on_each_driver(|driver| {
        for (path, body, events) in streams() {
            let whole = [": a comment\n\n", &events.concat()].concat();
            let expected = whole.clone();
            let upstream = MockUpstream::with(move |connection| {
                while let Some(request) = connection.next_request() {
                    let size = request.head.field("x-cut").unwrap().parse().unwrap();
                    connection.begin_stream();
                    whole.as_bytes().chunks(size).for_each(|part| connection.send_chunk(part));
                    connection.end_chunks();
                }
            });
            let gateway = Setup::with_upstream(&upstream).driver(driver).start();
            let mut client = gateway.client();
            for size in [1, 2, 3, 13, 100, 10_000] {
                let fields = format!("X-Cut: {size}\r\nX-Routerly-Trace: none\r\n");
                let answer = client.call(post(path, &fields, &body)).expect(200);
                assert_eq!(answer.text(), expected, "{path} in pieces of {size}");
                assert_eq!(answer.field("x-routerly-cost"), None, "{path} in pieces of {size}");
            }
            for record in gateway.usage_records(6) {
                assert_eq!(
                    (&record["inputTokens"], &record["outputTokens"]),
                    (&json!(5), &json!(7)),
                    "{path}"
                );
                assert_eq!((&record["stream"], &record["usageSource"]), (&json!(true), &json!("reported")));
            }
        }
    });
}

#[test]
fn a_usage_chunk_that_only_the_gateway_asked_for_is_kept_from_the_client() {
    on_each_driver(|driver| {
        let (path, body, events) = streams().remove(0);
        let mut unasked = body.clone();
        unasked.as_object_mut().unwrap().remove("stream_options");
        let mut refused = body.clone();
        refused["stream_options"]["include_usage"] = false.into();
        let without: String =
            events.iter().filter(|event| !event.contains("prompt_tokens")).copied().collect();
        let whole = events.concat();
        let with = whole.clone();
        let upstream = MockUpstream::with(move |connection| {
            while let Some(request) = connection.next_request() {
                let size = request.head.field("x-cut").unwrap().parse().unwrap();
                connection.begin_stream();
                whole.as_bytes().chunks(size).for_each(|part| connection.send_chunk(part));
                connection.end_chunks();
            }
        });
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        let mut client = gateway.client();
        for size in [1, 7, 130, 10_000] {
            let fields = format!("X-Cut: {size}\r\nX-Routerly-Trace: none\r\n");
            for (body, expected) in [(&unasked, &without), (&refused, &without), (&body, &with)] {
                let answer = client.call(post(path, &fields, body)).expect(200);
                assert_eq!(answer.text(), expected, "{body} in pieces of {size}");
            }
        }
        for record in gateway.usage_records(12) {
            assert_eq!((&record["inputTokens"], &record["outputTokens"]), (&json!(5), &json!(7)));
        }
    });
}

#[test]
fn the_opening_can_be_switched_off_by_field_project_and_setting() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(|connection| {
            while let Some(request) = connection.next_request() {
                let path = request.head.request_line().1.to_owned();
                let (_, _, events) = streams().into_iter().find(|(known, ..)| *known == path).unwrap();
                connection.begin_stream();
                connection.send_chunk(events.concat());
                connection.end_chunks();
            }
        });
        let setup = || Setup::with_upstream(&upstream).driver(driver);
        let none = "x-routerly-trace: none\r\n";
        let summary = "X-Routerly-Trace: summary\r\n";
        let cases = [
            (setup(), "", true),
            (setup(), none, false),
            (setup(), "X-ROUTERLY-TRACE: NONE\r\n", false),
            (setup().setting("traceStream", "none"), "", false),
            (setup().setting("traceStream", "none"), summary, true),
            (setup().project("traceStream", "none"), "", false),
            (setup().setting("traceStream", "none").project("traceStream", "summary"), "", true),
        ];
        for (setup, field, opens) in cases {
            let gateway = setup.start();
            let mut client = gateway.client();
            for (path, body, events) in streams() {
                let answer = client.call(post(path, field, &body)).expect(200);
                let text = answer.text();
                assert!(text.ends_with(&events.concat()));
                assert_eq!(text.len() > events.concat().len(), opens, "{path} {field:?}");
            }
        }
    });
}

#[test]
fn a_stream_without_chunks_is_framed_anew() {
    on_each_driver(|driver| {
        for (path, body, events) in streams() {
            let whole = events.concat();
            for field in [format!("Content-Length: {}\r\n", whole.len()), "Connection: close\r\n".to_owned()]
            {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n{field}\r\n{whole}"
                );
                let upstream = MockUpstream::with(move |connection| {
                    connection.read_request();
                    connection.send(&answer);
                });
                let gateway = Setup::with_upstream(&upstream).driver(driver).start();
                let answer = gateway.call(post(path, "", &body)).expect(200);
                assert!(answer.head.is_chunked());
                assert!(answer.text().ends_with(&whole), "{path} {field}");
                assert_eq!(usage(&gateway), (5, 7, "success".to_owned()), "{path} {field}");
            }
        }
    });
}

#[test]
fn an_error_instead_of_a_stream_reaches_the_client_as_it_is() {
    on_each_driver(|driver| {
        let error = "{\"error\":{\"message\":\"overloaded\"}}";
        let answer = crate::support::upstream::behaviour::json_answer(529, error);
        let upstream = MockUpstream::with(crate::support::upstream::behaviour::answers(answer));
        let gateway = Setup::with_upstream(&upstream).driver(driver).start();
        for (path, body, _) in streams() {
            let answer = gateway.call(post(path, "", &body)).expect(529);
            assert_eq!((answer.text(), answer.head.length()), (error, Some(error.len())), "{path}");
        }
    });
}

#[test]
fn a_client_hears_a_comment_while_the_provider_is_silent() {
    on_each_driver(|driver| {
        for (path, body, events) in streams() {
            let upstream = MockUpstream::manual();
            let gateway = Setup::with_upstream(&upstream)
                .driver(driver)
                .setting("server.streamKeepAliveMs", 100)
                .start();
            let mut client = gateway.client();
            client.send(post(path, "x-routerly-trace: none\r\n", &body));
            let mut provider = upstream.accept();
            provider.read_request();
            provider.begin_stream();
            for (index, event) in events.into_iter().enumerate() {
                provider.send_chunk(event);
                if index == 0 {
                    client.read_head();
                }
                assert_eq!(client.read_chunk().as_deref(), Some(event.as_bytes()), "{path}");
                // It keeps coming as long as nothing else does.
                for _ in 0..2 {
                    assert_eq!(client.read_chunk().as_deref(), Some(&b": keep-alive\n\n"[..]), "{path}");
                }
            }
            provider.end_chunks();
            while let Some(chunk) = client.read_chunk() {
                assert_eq!(chunk, b": keep-alive\n\n");
            }
            assert_eq!(usage(&gateway), (5, 7, "success".to_owned()), "{path}");
        }
    });
}

/// The events of a chat stream from the simulated provider whose first model cannot be reached; `fields` are the
/// request's own.
fn failed_over(setup: Setup, path: &str, fields: &str) -> (String, String) {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let dead = deaf.local_addr().unwrap().as_socket().unwrap();
    let mut setup = setup;
    setup.models.push(json!({"id": "dead", "provider": "custom", "apiKey": "k",
        "dialect": ["openai-chat", "anthropic-messages"], "endpoint": format!("http://{dead}/v1")}));
    setup.projects[0]["models"].as_array_mut().unwrap().insert(0, json!({"modelId": "dead"}));
    let gateway = setup.start();
    let body = json!({"stream": true, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = gateway.call(post(path, fields, &body)).expect(200);
    (answer.text().to_owned(), dead.to_string())
}

/// The payloads of all events but the end mark.
fn chunks(text: &str) -> Vec<Value> {
    let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn a_full_trace_tells_each_call_that_led_to_the_stream() {
    for (setup, fields) in [
        (Setup::demo(), "x-routerly-trace: full\r\n"),
        (Setup::demo().setting("traceStream", "full"), ""),
        (Setup::demo().project("traceStream", "full"), ""),
    ] {
        let (text, dead) = failed_over(setup, "/v1/chat/completions", fields);
        let chunks = chunks(&text);
        assert_eq!((&chunks[0]["type"], &chunks[0]["model"]), (&json!("trace"), &json!("simulated/chat")));
        let entries: Vec<_> = chunks[1..5].iter().map(|chunk| chunk["entry"].clone()).collect();
        let told: Vec<_> =
            entries.iter().map(|entry| (&entry["message"], &entry["details"]["modelId"])).collect();
        let expected = [
            ("router:intake", Value::Null),
            ("model:request", json!("dead")),
            ("model:error", json!("dead")),
            ("model:request", json!("simulated/chat")),
        ]
        .map(|(message, model)| (json!(message), model));
        assert_eq!(told, expected.iter().map(|(message, model)| (message, model)).collect::<Vec<_>>());
        assert!(chunks[1..5].iter().all(|chunk| chunk["choices"] == json!([]) && chunk["type"] == "trace"));
        assert!(chunks[5].get("entry").is_none());
        assert!(!text.contains(&dead), "an address of a provider");
    }
    // A field comes before a setting.
    let quiet = Setup::demo().setting("traceStream", "full");
    let (text, _) = failed_over(quiet, "/v1/chat/completions", "x-routerly-trace: summary\r\n");
    assert!(text.contains("\"type\":\"trace\"") && !text.contains("model:request"), "{text}");
    // Comments, where clients refuse events that they do not know.
    let (text, _) = failed_over(Setup::demo(), "/v1/messages", "x-routerly-trace: full\r\n");
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with(": routerly ")).collect();
    assert_eq!(comments.len(), 5, "{text}");
    assert!(comments[3].contains("model:error"), "{}", comments[3]);
}

#[test]
fn text_is_said_a_second_time_where_that_is_asked_for() {
    let events = "x-routerly-stream: events\r\n";
    let both = "x-routerly-stream: events\r\nx-routerly-trace: none\r\n";
    let plain = "x-routerly-stream: standard\r\n";
    let of_project = || Setup::demo().project("streamFormat", "events");
    let cases = [
        (Setup::demo(), events, true),
        (of_project(), "", true),
        (of_project(), plain, false),
        (Setup::demo(), "", false),
        (Setup::demo(), both, false),
    ];
    for (setup, fields, labelled) in cases {
        let gateway = setup.start();
        let body = json!({"stream": true, "messages": [{"role": "user", "content": "Hi"}]});
        let answer = gateway.call(post("/v1/chat/completions", fields, &body)).expect(200);
        let chunks = chunks(answer.text());
        let text =
            |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
        let said: String = chunks.iter().map(text).collect();
        let again: String = chunks.iter().filter_map(|chunk| chunk["delta"].as_str()).collect();
        assert!(!said.is_empty());
        assert_eq!(again, if labelled { said } else { String::new() }, "{fields}");
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        assert!(!answer.text().contains("\"usage\":{"), "it was not asked for");
        assert_eq!(gateway.usage_records(1)[0]["usageSource"], "reported");
    }
}
