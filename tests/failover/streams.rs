//! Streams: what is an error before the first event, and what is one after it.

use serde_json::json;

use super::{CHUNK, ask, healthy, model, two};
use crate::support::upstream::{Connection, behaviour};
use crate::support::{MockUpstream, Setup, on_each_driver, post};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

#[test]
fn a_stream_that_begins_with_an_error_leads_to_the_next_candidate() {
    on_each_driver(|driver| {
        for first in [
            "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n",
            ": comment\n\ndata: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\ndata: [DONE]\n\n",
            "data: {\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}\n\n",
            // Nothing at all, and half an event.
            "",
            "data: {\"id\":",
        ] {
            let bad = MockUpstream::with(behaviour::answers_and_closes(format!("{HEAD}{first}")));
            let good = healthy();
            let gateway = two(&bad, &good).driver(driver).start();
            let answered = gateway.call(ask(true)).expect(200);
            assert!(answered.text().contains("Hello"), "{first:?}: {}", answered.text());
            assert!(!answered.text().contains("error"), "{first:?}: {}", answered.text());
            assert_eq!(answered.field("x-routerly-model"), Some("good"));
            let records = gateway.usage_records(2);
            assert_eq!(
                (&records[0]["outcome"], &records[1]["outcome"]),
                (&json!("error"), &json!("success"))
            );
        }
    });
}

#[test]
fn an_error_in_pieces_is_waited_for() {
    on_each_driver(|driver| {
        let (bad, good) = (MockUpstream::manual(), healthy());
        let gateway = two(&bad, &good).driver(driver).start();
        let mut client = gateway.client();
        client.send(ask(true));
        let mut provider = bad.accept();
        provider.read_request();
        provider.begin_stream();
        for piece in ["data: {\"err", "or\":{\"message\":\"over", "loaded\"}}\n", "\n"] {
            provider.send_chunk(piece);
        }
        assert!(client.read_response().expect(200).text().contains("Hello"));
        provider.expect_closed();
    });
}

#[test]
fn an_error_that_is_the_client_s_own_fault_is_passed_on() {
    on_each_driver(|driver| {
        let error =
            "data: {\"error\":{\"message\":\"Invalid schema\",\"type\":\"invalid_request_error\"}}\n\n";
        let bad = MockUpstream::with(behaviour::answers_and_closes(format!("{HEAD}{error}")));
        let good = healthy();
        let gateway = two(&bad, &good).driver(driver).start();
        let answered = gateway.call(ask(true)).expect(200);
        assert!(answered.text().contains("Invalid schema"), "{}", answered.text());
        assert_eq!(good.accepted(), 0);
    });
}

#[test]
fn a_stream_that_breaks_in_the_middle_is_not_asked_for_again() {
    on_each_driver(|driver| {
        let begun = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\
            \"delta\":{\"content\":\"Hel\"}}]}\n\n";
        let bad = MockUpstream::with(behaviour::answers_and_closes(format!("{HEAD}{begun}")));
        let good = healthy();
        let gateway = two(&bad, &good).driver(driver).start();
        let answered = gateway.call(ask(true)).expect(200);
        assert!(answered.text().contains("Hel") && answered.text().contains("error"), "{}", answered.text());
        assert_eq!((bad.accepted(), good.accepted()), (1, 0));
        assert_eq!(gateway.metric("routerly_upstream_retries_total{reason=\"broken\"}"), 0.0);
    });
}

#[test]
fn a_stream_that_is_silent_at_first_is_not_held_back_for_ever() {
    on_each_driver(|driver| {
        let (slow, good) = (MockUpstream::manual(), healthy());
        let gateway = two(&slow, &good).driver(driver).setting("server.streamKeepAliveMs", 20).start();
        let mut client = gateway.client();
        client.send(post(
            super::CHAT_PATH,
            "x-routerly-trace: none\r\n",
            &json!({"model": "x", "stream": true, "stream_options": {"include_usage": true}, "messages": []}),
        ));
        let mut provider = slow.accept();
        provider.read_request();
        provider.begin_stream();
        // The head comes though there is no event yet, and then a sign of life.
        assert_eq!(client.read_head().status(), 200);
        assert_eq!(client.read_chunk().as_deref(), Some(b": keep-alive\n\n".as_slice()));
        provider.send_chunk(format!("data: {CHUNK}\n\ndata: [DONE]\n\n"));
        provider.end_chunks();
        client.read_until("[DONE]");
        assert_eq!(good.accepted(), 0);
    });
}

#[test]
fn an_overloaded_anthropic_stream_is_nothing_to_clients_of_any_dialect() {
    on_each_driver(|driver| {
        let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
            \"message\":\"Overloaded\"}}\n\n";
        let bad = MockUpstream::with(behaviour::answers_and_closes(format!("{HEAD}{overloaded}")));
        let good = MockUpstream::with(|connection: &mut Connection| {
            while connection.next_request().is_some() {
                connection.begin_stream();
                connection.send_chunk(MESSAGE_STREAM);
                connection.end_chunks();
            }
        });
        let anthropic = |id: &str, upstream: &MockUpstream| {
            let mut model = model(id, upstream);
            (model["provider"], model["dialect"]) = (json!("anthropic"), json!("anthropic-messages"));
            model
        };
        let gateway =
            Setup::new().model(anthropic("bad", &bad)).model(anthropic("good", &good)).driver(driver).start();
        for path in ["/v1/messages", super::CHAT_PATH] {
            let body = json!({
                "model": "x", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
            });
            let answered = gateway.call(post(path, "", &body)).expect(200);
            assert!(answered.text().contains("Hello") && !answered.text().contains("verloaded"), "{path}");
            assert_eq!(answered.field("x-routerly-model"), Some("good"), "{path}");
        }
        assert_eq!(bad.accepted(), 2);
    });
}

const MESSAGE_STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",",
    "\"role\":\"assistant\",\"model\":\"x\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,",
    "\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",",
    "\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",",
    "\"text\":\"Hello\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",",
    "\"stop_sequence\":null},\"usage\":{\"output_tokens\":7}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);
