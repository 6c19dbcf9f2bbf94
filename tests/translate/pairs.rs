//! What a client reads is what the provider said: text, thinking, calls, finish, tokens; whole and as a stream.

use serde_json::json;

use super::client::{self, Ask, seen};
use super::{gateway_to, pairs, provider};
use crate::support::{MockUpstream, on_each_driver};

const ASKS: [Ask; 4] = [
    Ask { stream: false, tool: false, think: false },
    Ask { stream: false, tool: true, think: true },
    Ask { stream: true, tool: false, think: false },
    Ask { stream: true, tool: true, think: true },
];

#[test]
fn answers_say_the_same_in_every_dialect() {
    on_each_driver(|driver| {
        for (from, to) in pairs() {
            let upstream = MockUpstream::with(provider::plays_one_of(to, ASKS.to_vec()));
            let gateway = gateway_to(&upstream, to).driver(driver).start();
            let mut client = gateway.client();
            for (index, ask) in ASKS.into_iter().enumerate() {
                let name = format!("{from:?} client, {to:?} provider, {ask:?}");
                let fields = format!("user-agent: {index}\r\n");
                let response = client.call(client::request(from, ask, &fields)).expect(200);
                let expected = provider::expected(to, ask);
                assert_eq!(seen(from, &response), expected, "{name}\n{}", response.text());
                assert_eq!(response.field("x-routerly-model"), Some("up/model"), "{name}");
                assert_eq!(response.field("x-routerly-cost").is_some(), !ask.stream, "{name}");
                assert_eq!(response.head.is_chunked(), ask.stream, "{name}");
            }
            let records = gateway.usage_records(ASKS.len());
            for (record, ask) in records.iter().zip(ASKS) {
                let name = format!("{from:?} client, {to:?} provider, {ask:?}");
                assert_eq!(
                    (&record["inputTokens"], &record["outputTokens"], &record["cachedInputTokens"]),
                    (&json!(provider::INPUT), &json!(provider::OUTPUT), &json!(8)),
                    "{name}"
                );
                assert_eq!((&record["outcome"], &record["stream"]), (&json!("success"), &json!(ask.stream)));
            }
        }
    });
}

#[test]
fn every_event_is_with_the_client_before_the_next_one_is_sent() {
    on_each_driver(|driver| {
        for (from, to) in pairs() {
            let ask = Ask { stream: true, tool: true, think: false };
            let upstream = MockUpstream::manual();
            let gateway = gateway_to(&upstream, to).driver(driver).start();
            let mut client = gateway.client();
            client.send(client::request(from, ask, "x-routerly-trace: none\r\n"));
            let mut connection = upstream.accept();
            connection.read_request();
            connection.begin_stream();
            let events = provider::events(to, ask);
            let is_text = |event: &String| event.contains("föhn");
            for event in events.iter().take_while(|event| !is_text(event)) {
                connection.send_chunk(event);
            }
            let head = client.read_head();
            assert_eq!(head.field("content-type"), Some("text/event-stream"), "{from:?} {to:?}");
            let at = events.iter().position(is_text).unwrap();
            connection.send_chunk(&events[at]);
            // The longest piece of text is there although nothing has followed it.
            let mut read = String::new();
            while !read.contains("föhn") {
                read.push_str(std::str::from_utf8(&client.read_chunk().expect("a chunk")).unwrap());
            }
            events[at + 1..].iter().for_each(|event| connection.send_chunk(event));
            connection.end_chunks();
            while client.read_chunk().is_some() {}
            // Both connections go on.
            client.send(client::request(from, ask, ""));
            connection.read_request();
        }
    });
}

#[test]
fn a_client_that_knows_no_chunks_reads_to_the_end_of_the_connection() {
    for (from, to) in pairs() {
        let ask = Ask { stream: true, tool: true, think: true };
        let upstream = MockUpstream::with(provider::plays(to, ask));
        let gateway = gateway_to(&upstream, to).start();
        let request = String::from_utf8(client::request(from, ask, "")).unwrap();
        let response = gateway.call(request.replacen("HTTP/1.1", "HTTP/1.0", 1)).expect(200);
        assert!(response.ended.is_some() && !response.head.is_chunked());
        assert_eq!(seen(from, &response), provider::expected(to, ask), "{from:?} {to:?}");
    }
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    for (from, to) in pairs() {
        let ask = Ask { stream: true, tool: true, think: true };
        let upstream = MockUpstream::with(move |connection| {
            while let Some(request) = connection.next_request() {
                let size: usize = request.head.field("user-agent").unwrap().parse().unwrap();
                connection.begin_stream();
                let wire = provider::events(to, ask).concat();
                wire.as_bytes().chunks(size).for_each(|part| connection.send_chunk(part));
                connection.end_chunks();
            }
        });
        let gateway = gateway_to(&upstream, to).start();
        let mut client = gateway.client();
        let expected = provider::expected(to, ask);
        for size in [1, 7, 113, 100_000] {
            let response =
                client.call(client::request(from, ask, &format!("user-agent: {size}\r\n"))).expect(200);
            assert_eq!(seen(from, &response), expected, "{from:?} {to:?} in pieces of {size}");
        }
    }
}

#[test]
fn the_trace_opens_a_translated_stream_and_keep_alives_hold_it() {
    use super::Dialect;
    for (from, to, filler) in
        [(Dialect::Chat, Dialect::Anthropic, ": keep-alive\n\n"), (Dialect::Gemini, Dialect::Chat, "\n")]
    {
        let ask = Ask { stream: true, ..Ask::default() };
        let upstream = MockUpstream::manual();
        let gateway = gateway_to(&upstream, to).setting("server.streamKeepAliveMs", 100).start();
        let mut client = gateway.client();
        client.send(client::request(from, ask, ""));
        let mut connection = upstream.accept();
        connection.read_request();
        connection.begin_stream();
        provider::beginning(to).iter().for_each(|event| connection.send_chunk(event));
        client.read_head();
        if from == Dialect::Chat {
            let opening = client.read_chunk().unwrap();
            assert!(opening.starts_with(b"data: {\"type\":\"trace\""));
        }
        while client.read_chunk().as_deref() != Some(filler.as_bytes()) {}
        assert_eq!(client.read_chunk().as_deref(), Some(filler.as_bytes()), "{from:?}");
    }
}
