//! Models of Anthropic that pause in the middle of a turn: asked to go on until they are done, which clients of other
//! dialects see as one answer.

use serde_json::{Value, json};

use super::client::{self, Ask};
use super::{Dialect, gateway_to, provider};
use crate::support::upstream::Connection;
use crate::support::upstream::behaviour::json_answer;
use crate::support::{MockUpstream, on_each_driver};

const OTHERS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Gemini];
const INPUT: u64 = 10;
const OUTPUT: u64 = 3;

/// What the model says before its pause number `round`: a thought, a search, what it found, and a little text.
fn blocks(round: usize) -> Vec<Value> {
    let id = format!("srvtoolu_{round}");
    vec![
        json!({"type": "thinking", "thinking": format!("hm {round}"), "signature": format!("c2ln{round}")}),
        json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "föhn \"now\""}}),
        json!({"type": "web_search_tool_result", "tool_use_id": id, "content": [
            {"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "x"}]}),
        json!({"type": "text", "text": format!("part {round} 😀. "), "citations": []}),
    ]
}

/// The same as the events of a stream, pieces and all.
fn events(content: &[Value], reason: &str) -> Vec<Value> {
    let mut events = vec![json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": null, "usage": {"input_tokens": INPUT, "output_tokens": 1}}})];
    for (index, block) in content.iter().enumerate() {
        let (mut start, mut deltas) = (block.clone(), Vec::new());
        match block["type"].as_str().unwrap() {
            "thinking" => {
                (start["thinking"], start["signature"]) = ("".into(), "".into());
                deltas.push(json!({"type": "thinking_delta", "thinking": block["thinking"]}));
                deltas.push(json!({"type": "signature_delta", "signature": block["signature"]}));
            }
            "server_tool_use" => {
                start["input"] = json!({});
                let input = block["input"].to_string();
                let (head, tail) = input.split_at(5);
                deltas.extend(
                    [head, tail].map(|piece| json!({"type": "input_json_delta", "partial_json": piece})),
                );
            }
            "text" => {
                start["text"] = "".into();
                deltas.extend(
                    block["text"]
                        .as_str()
                        .unwrap()
                        .split_inclusive(' ')
                        .map(|word| json!({"type": "text_delta", "text": word})),
                );
            }
            _ => {}
        }
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        events.extend(
            deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": OUTPUT}}));
    events.push(json!({"type": "message_stop"}));
    events
}

/// Pauses `pauses` times, then says that it is done; with `fails`, has too much to do at that request. Anything but its
/// own blocks in their order is refused.
fn researches(pauses: usize, fails: Option<usize>) -> impl Fn(&mut Connection) {
    move |connection| {
        while let Some(request) = connection.next_request() {
            let body = request.json();
            let turns = body["messages"].as_array().unwrap();
            let said = turns[1..].iter().flat_map(|turn| turn["content"].as_array().unwrap().clone());
            let said: Vec<Value> = said.collect();
            let round = said.len() / blocks(0).len();
            let expected: Vec<Value> = (0..round).flat_map(blocks).collect();
            if said != expected
                || turns.len() > 2
                || turns.get(1).is_some_and(|turn| turn["role"] != "assistant")
            {
                let wrong =
                    provider::error(Dialect::Anthropic, 400, "invalid_request_error", &body.to_string());
                connection.send(json_answer(400, &wrong.to_string()));
                continue;
            }
            if fails == Some(round) {
                let busy = provider::error(Dialect::Anthropic, 529, "overloaded_error", "Overloaded");
                connection.send(json_answer(529, &busy.to_string()));
                continue;
            }
            let (content, reason) = if round < pauses {
                (blocks(round), "pause_turn")
            } else {
                (vec![json!({"type": "text", "text": "Done."})], "end_turn")
            };
            if body["stream"] == true {
                connection.begin_stream();
                for event in events(&content, reason) {
                    let name = event["type"].as_str().unwrap();
                    connection.send_chunk(format!("event: {name}\ndata: {event}\n\n"));
                }
                connection.end_chunks();
            } else {
                let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "stop_sequence": null,
                    "model": "claude-sonnet-4-5", "content": content, "stop_reason": reason,
                    "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}});
                connection.send(json_answer(200, &answer.to_string()));
            }
        }
    }
}

/// A request with a web search.
fn request(dialect: Dialect, stream: bool) -> Vec<u8> {
    let mut body = client::body(dialect, Ask { stream, ..Ask::default() });
    match dialect {
        Dialect::Chat => body["web_search_options"] = json!({}),
        Dialect::Responses => body["tools"] = json!([{"type": "web_search"}]),
        Dialect::Gemini => body["tools"] = json!([{"googleSearch": {}}]),
        Dialect::Anthropic => panic!("it has a word for a pause"),
    }
    client::request_of(dialect, stream, "", &body)
}

#[test]
fn a_turn_that_pauses_goes_on() {
    on_each_driver(|driver| {
        let upstream = MockUpstream::with(researches(2, None));
        let gateway = gateway_to(&upstream, Dialect::Anthropic).driver(driver).start();
        for (index, (from, stream)) in
            OTHERS.into_iter().flat_map(|from| [(from, false), (from, true)]).enumerate()
        {
            let response = gateway.call(request(from, stream)).expect(200);
            assert_eq!(response.field("x-routerly-translation"), None, "{from:?}");
            let seen = client::seen(from, &response);
            assert_eq!(seen.text, "part 0 😀. part 1 😀. Done.", "{from:?} {stream}");
            assert_eq!(
                (seen.finish.as_str(), seen.tokens),
                ("stop", Some((3 * INPUT, 3 * OUTPUT))),
                "{from:?} {stream}"
            );
            if !stream {
                assert_eq!(response.field("x-routerly-cost"), Some("0.000048"), "of all three");
            }
            let records = gateway.usage_records(3 * (index + 1));
            for (attempt, record) in records[3 * index..].iter().enumerate() {
                assert_eq!(record["attempt"], attempt + 1, "{record}");
                assert_eq!(
                    (&record["inputTokens"], &record["outputTokens"]),
                    (&INPUT.into(), &OUTPUT.into())
                );
                assert_eq!((&record["outcome"], &record["httpStatus"]), (&"success".into(), &200.into()));
            }
        }
        assert!(upstream.accepted() <= 2, "connections are used again");
    });
}

#[test]
fn a_turn_that_pauses_forever_ends() {
    let upstream = MockUpstream::with(researches(usize::MAX, None));
    let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
    for from in OTHERS {
        for stream in [false, true] {
            let response = gateway.call(request(from, stream)).expect(200);
            let reported = Some("changed=pause_turn").filter(|_| !stream);
            assert_eq!(response.field("x-routerly-translation"), reported, "{from:?} {stream}");
            let seen = client::seen(from, &response);
            assert!(seen.text.ends_with("part 5 😀. "), "{}", seen.text);
            assert_eq!((seen.finish.as_str(), seen.tokens), ("stop", Some((6 * INPUT, 6 * OUTPUT))));
        }
    }
}

#[test]
fn a_turn_that_cannot_go_on_fails() {
    let upstream = MockUpstream::with(researches(2, Some(1)));
    let gateway = gateway_to(&upstream, Dialect::Anthropic).setting("upstream.retries", 0).start();
    for from in OTHERS {
        let whole = gateway.call(request(from, false)).expect(503);
        assert!(client::seen(from, &whole).error.unwrap().contains("Overloaded"));
        let seen = client::seen(from, &gateway.call(request(from, true)).expect(200));
        assert_eq!(seen.text, "part 0 😀. ", "{from:?}");
        assert!(seen.error.unwrap().contains("Overloaded"), "{from:?}");
    }
    let outcomes: Vec<Value> =
        gateway.usage_records(12).iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["success", "error"].repeat(6));
}

#[test]
fn a_client_of_the_same_dialect_hears_of_the_pause() {
    let upstream = MockUpstream::with(researches(2, None));
    let gateway = gateway_to(&upstream, Dialect::Anthropic).start();
    for stream in [false, true] {
        let body = client::body(Dialect::Anthropic, Ask { stream, ..Ask::default() });
        let response = gateway.call(client::request_of(Dialect::Anthropic, stream, "", &body)).expect(200);
        assert!(response.text().contains("pause_turn"));
    }
    gateway.usage_records(2);
}
