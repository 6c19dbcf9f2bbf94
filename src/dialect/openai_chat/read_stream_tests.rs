//! Streams of all servers as events: order, calls, ends, failures.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dialect::openai_chat::testing::{check_order, chunks, owned, read_pieces};
use crate::limits::CHAT_CALLS_MAX;

/// Events in few words: `1:` stands before those of the second answer.
fn told(events: &[Event<'_>]) -> Vec<String> {
    let mark = |choice: &u32| if *choice == 0 { String::new() } else { format!("{choice}:") };
    events
        .iter()
        .map(|event| match event {
            Event::Start { id, model, .. } => {
                let word = |text: &Option<Text<'_>>| text.as_ref().map_or("-", Text::escaped).to_owned();
                format!("start {} {}", word(id), word(model))
            }
            Event::Open { choice, block } => {
                let word = match block {
                    Opening::Text => "text".to_owned(),
                    Opening::Refusal => "refusal".to_owned(),
                    Opening::Thinking => "thinking".to_owned(),
                    Opening::Redacted(_) => "redacted".to_owned(),
                    Opening::Call { id, name, kind } => {
                        format!("{kind:?} {} {}", id.escaped(), name.escaped())
                    }
                };
                mark(choice) + &word
            }
            Event::Delta { choice, text } => format!("{}+{}", mark(choice), text.escaped()),
            Event::Proof { choice, proof } => format!("{}proof {}", mark(choice), proof.data.escaped()),
            Event::Cite { choice, citation } => format!("{}cite {}", mark(choice), citation.url.escaped()),
            Event::Media { choice, media } => format!("{}{:?}", mark(choice), media.kind),
            Event::Logprobs { choice, tokens } => format!("{}tokens {}", mark(choice), tokens.len()),
            Event::Close { choice } => mark(choice) + "close",
            Event::Finish { choice, finish } => format!("{}finish {finish:?}", mark(choice)),
            Event::Usage(usage) => format!("usage {} {}", usage.input, usage.output),
            Event::Ping => "ping".to_owned(),
            Event::Fail(fault) => format!("fail {:?} {}", fault.case, fault.message.escaped()),
            Event::End => "end".to_owned(),
        })
        .collect()
}

/// What is told between the start and the finish by chunks with these deltas, in JSON.
fn of_deltas(deltas: &[serde_json::Value], vendor: Vendor) -> Vec<String> {
    let mut texts: Vec<String> = deltas
        .iter()
        .map(|delta| json!({"id": "c", "choices": [{"index": 0, "delta": delta}]}).to_string())
        .collect();
    texts.push(
        json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string(),
    );
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut told = told(&read_pieces(vendor, &[&chunks(&texts)]));
    assert_eq!(told.remove(0), "start c -");
    if told.last().is_some_and(|last| last == "end") {
        told.truncate(told.len() - 2);
    }
    told
}

fn call(
    index: Option<u64>,
    id: Option<&str>,
    name: Option<&str>,
    arguments: Option<&str>,
) -> serde_json::Value {
    let mut function = json!({});
    if let Some(name) = name {
        function["name"] = json!(name);
    }
    if let Some(arguments) = arguments {
        function["arguments"] = json!(arguments);
    }
    let mut call = json!({ "function": function });
    if let Some(index) = index {
        call["index"] = json!(index);
    }
    if let Some(id) = id {
        call["id"] = json!(id);
    }
    json!({ "tool_calls": [call] })
}

#[test]
fn blocks_follow_one_another() {
    let cases: [(&str, Vec<serde_json::Value>, &[&str]); 9] = [
        (
            "thoughts, then text",
            vec![
                json!({"role": "assistant", "content": ""}),
                json!({"reasoning_content": "a"}),
                json!({"reasoning": "b"}),
                json!({"content": "c"}),
            ],
            &["thinking", "+a", "+b", "close", "text", "+c", "close"],
        ),
        (
            "OpenRouter says thoughts twice",
            vec![
                json!({"content": "", "reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]}),
            ],
            &["thinking", "+a", "close"],
        ),
        ("details alone", vec![json!({"reasoning_details": [{"text": "a"}]})], &["thinking", "+a", "close"]),
        (
            "Mistral's lists",
            vec![
                json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}, {"type": "text", "text": "b"}]}),
                json!({"content": "c"}),
            ],
            &["thinking", "+a", "close", "text", "+b", "+c", "close"],
        ),
        (
            "refusal",
            vec![json!({"refusal": "no"}), json!({"refusal": "!"})],
            &["refusal", "+no", "+!", "close"],
        ),
        (
            "both in one chunk",
            vec![json!({"reasoning": "a", "content": "b"})],
            &["thinking", "+a", "close", "text", "+b", "close"],
        ),
        (
            "citations wait for the end of their text",
            vec![
                json!({"content": "a", "annotations": [{"type": "url_citation", "url_citation": {"url": "x"}}]}),
                json!({"content": "b"}),
            ],
            &["text", "+a", "+b", "cite x", "close"],
        ),
        (
            "empty members of a server written in Go",
            vec![
                json!({"content": "a", "refusal": "", "function_call": {"name": "", "arguments": ""}, "tool_calls": null}),
                json!({"content": "b", "reasoning": ""}),
            ],
            &["text", "+a", "+b", "close"],
        ),
        (
            "wrong types are not there",
            vec![json!({"content": 3, "refusal": {}, "tool_calls": "x", "reasoning": []})],
            &[],
        ),
    ];
    for (name, deltas, expected) in cases {
        assert_eq!(of_deltas(&deltas, Vendor::Other), expected, "{name}");
    }
}

#[test]
fn calls_are_told_in_order_however_they_come() {
    let cases: [(&str, Vec<serde_json::Value>, &[&str]); 15] = [
        (
            "OpenAI",
            vec![
                call(Some(0), Some("1"), Some("f"), Some("")),
                call(Some(0), None, None, Some("{\"a\"")),
                call(Some(0), None, None, Some(":1}")),
                call(Some(1), Some("2"), Some("g"), Some("")),
                call(Some(1), None, None, Some("{}")),
            ],
            &["Function 1 f", r#"+{\"a\""#, "+:1}", "close", "Function 2 g", "+{}", "close"],
        ),
        (
            "whole calls without an index (Mistral)",
            vec![call(None, Some("1"), Some("f"), Some("{}")), call(None, Some("2"), Some("f"), Some("{}"))],
            &["Function 1 f", "+{}", "close", "Function 2 f", "+{}", "close"],
        ),
        (
            "no index and no id (Google)",
            vec![call(None, Some(""), Some("f"), Some("{}")), call(None, Some(""), Some("f"), Some("{}"))],
            &["Function call_* f", "+{}", "close", "Function call_* f", "+{}", "close"],
        ),
        (
            "always the same index (Ollama)",
            vec![
                call(Some(0), Some("1"), Some("f"), Some("{}")),
                call(Some(0), Some("2"), Some("g"), Some("{}")),
            ],
            &["Function 1 f", "+{}", "close", "Function 2 g", "+{}", "close"],
        ),
        (
            "id and name in every piece",
            vec![
                call(Some(0), Some("1"), Some("f"), Some("{")),
                call(Some(0), Some("1"), Some("f"), Some("}")),
            ],
            &["Function 1 f", "+{", "+}", "close"],
        ),
        (
            "names in pieces",
            vec![
                call(Some(0), Some("1"), Some("get_"), None),
                call(Some(0), None, Some("weather"), None),
                call(Some(0), None, None, Some("{}")),
            ],
            &["Function 1 get_weather", "+{}", "close"],
        ),
        (
            "mixed pieces",
            vec![
                call(Some(0), Some("1"), Some("f"), Some("{\"a\":")),
                call(Some(1), Some("2"), Some("g"), Some("{\"b\":")),
                call(Some(0), None, None, Some("1}")),
                call(Some(1), None, None, Some("2}")),
            ],
            &["Function 1 f", r#"+{\"a\":"#, "+1}", "close", "Function 2 g", r#"+{\"b\":"#, "+2}", "close"],
        ),
        (
            "announced together, filled backwards",
            vec![
                call(Some(0), Some("1"), Some("f"), Some("")),
                call(Some(1), Some("2"), Some("g"), Some("")),
                call(Some(1), None, None, Some("{}")),
                call(Some(0), None, None, Some("{}")),
            ],
            &["Function 1 f", "+{}", "close", "Function 2 g", "+{}", "close"],
        ),
        (
            "no arguments at all",
            vec![call(Some(0), Some("1"), Some("f"), None), call(Some(1), Some("2"), Some("g"), Some(""))],
            &["Function 1 f", "close", "Function 2 g", "close"],
        ),
        (
            "text behind a call",
            vec![call(Some(0), Some("1"), Some("f"), Some("{}")), json!({"content": "a"})],
            &["Function 1 f", "+{}", "close", "text", "+a", "close"],
        ),
        (
            "an empty text beside a call",
            vec![
                json!({"content": "", "tool_calls": call(Some(0), Some("1"), Some("f"), Some("{"))["tool_calls"]}),
                call(Some(0), None, None, Some("}")),
            ],
            &["Function 1 f", "+{", "+}", "close"],
        ),
        (
            "the form of old",
            vec![
                json!({"function_call": {"name": "f", "arguments": ""}}),
                json!({"function_call": {"arguments": "{}"}}),
            ],
            &["Function call_* f", "+{}", "close"],
        ),
        (
            "free text",
            vec![
                json!({"tool_calls": [{"index": 0, "id": "1", "type": "custom", "custom": {"name": "p", "input": ""}}]}),
                json!({"tool_calls": [{"index": 0, "custom": {"input": "a b"}}]}),
            ],
            &["Custom 1 p", "+a b", "close"],
        ),
        (
            "an object",
            vec![json!({"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": "\""}}}]})],
            &["Function 1 f", r#"+{\"a\":\"\\\"\"}"#, "close"],
        ),
        (
            "noise",
            vec![
                json!({"tool_calls": [{"index": 0}]}),
                json!({"tool_calls": [{}]}),
                json!({"tool_calls": [3]}),
            ],
            &[],
        ),
    ];
    for (name, deltas, expected) in cases {
        let mut told = of_deltas(&deltas, Vendor::Other);
        for line in &mut told {
            if let Some((made, name)) =
                line.strip_prefix("Function call_").and_then(|rest| rest.split_once(' '))
            {
                assert_eq!(made.len(), 32);
                *line = format!("Function call_* {name}");
            }
        }
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn a_signature_is_googles_alone() {
    let mut delta = call(None, Some("1"), Some("f"), Some("{}"));
    delta["tool_calls"][0]["extra_content"] = json!({"google": {"thought_signature": "sig"}});
    for (vendor, expected) in [
        (Vendor::Google, &["Function 1 f", "+{}", "proof sig", "close"][..]),
        (Vendor::Other, &["Function 1 f", "+{}", "close"]),
    ] {
        assert_eq!(of_deltas(std::slice::from_ref(&delta), vendor), expected);
    }
}

#[test]
fn calls_that_cannot_be_put_in_order_fail() {
    let mixed = vec![
        call(Some(0), Some("1"), Some("f"), Some("{}")),
        call(Some(1), Some("2"), Some("g"), Some("{")),
        call(Some(0), None, None, Some("more")),
    ];
    let nameless = vec![call(Some(0), Some("1"), None, Some("{}"))];
    let many: Vec<_> = (0..=CHAT_CALLS_MAX)
        .map(|index| call(Some(index as u64), Some(&index.to_string()), Some("f"), Some("{}")))
        .collect();
    let long = "x".repeat(CHAT_WAITING_BYTES_MAX / 2);
    let waiting = vec![
        call(Some(0), Some("1"), Some("f"), Some("{")),
        call(Some(1), Some("2"), Some("g"), Some(&long)),
        call(Some(1), None, None, Some(&long)),
    ];
    for (deltas, words) in [
        (mixed, "went back to a call"),
        (nameless, "a call without a name"),
        (many, "too many calls"),
        (waiting, "too long"),
    ] {
        let told = of_deltas(&deltas, Vendor::Other);
        let last = told.last().unwrap();
        assert!(last.starts_with("fail Internal") && last.contains(words), "{last}");
    }
}

#[test]
fn starts_ends_and_usage_stand_where_they_belong() {
    let usage = r#"{"prompt_tokens":3,"completion_tokens":4}"#;
    let text = |more: &str| {
        format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":"a"}}}}]{more}}}"#)
    };
    let finish = |more: &str| {
        format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]{more}}}"#)
    };
    let azure = r#"{"id":"","model":"","choices":[],"prompt_filter_results":[]}"#;
    let said = ["start c m", "text", "+a", "close", "finish Stop"];
    let with = |more: &[&'static str]| [&said, more].concat();
    let cases = [
        (
            "usage chunk",
            vec![text(""), finish(""), format!(r#"{{"id":"c","choices":[],"usage":{usage}}}"#)],
            with(&["usage 3 4", "end"]),
        ),
        (
            "usage in the finish chunk",
            vec![text(""), finish(&format!(r#","usage":{usage}"#))],
            with(&["usage 3 4", "end"]),
        ),
        (
            "usage in every chunk: the last counts",
            vec![text(r#","usage":{"prompt_tokens":1}"#), finish(&format!(r#","usage":{usage}"#))],
            with(&["usage 3 4", "end"]),
        ),
        ("null usage", vec![text(r#","usage":null"#), finish("")], with(&["end"])),
        (
            "Groq's place",
            vec![text(""), finish(&format!(r#","x_groq":{{"usage":{usage}}}"#))],
            with(&["usage 3 4", "end"]),
        ),
        ("Azure's first chunk", vec![azure.to_owned(), text(""), finish("")], with(&["end"])),
        ("no finish reason, but the end mark", vec![text("")], with(&["end"])),
        ("empty errors", vec![text(r#","error":{}"#), finish(r#","error":"""#)], with(&["end"])),
        ("words between", vec![text(""), "keep-alive".to_owned(), finish("")], with(&["end"])),
        ("nothing", vec![], vec!["start - -", "finish Stop", "end"]),
    ];
    for (name, texts, expected) in cases {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(told(&read_pieces(Vendor::OpenAi, &[&chunks(&texts)])), expected, "{name}");
    }
}

#[test]
fn answers_of_one_request_are_told_apart() {
    let chunk = |index: u32, delta: &str, finish: &str| {
        format!(r#"{{"id":"c","choices":[{{"index":{index},"delta":{delta},"finish_reason":{finish}}}]}}"#)
    };
    let texts = [
        chunk(0, r#"{"content":"a"}"#, "null"),
        chunk(1, r#"{"reasoning":"b"}"#, "null"),
        chunk(0, r#"{"content":"c"}"#, "null"),
        chunk(1, r#"{"content":"d"}"#, r#""length""#),
        chunk(0, "{}", r#""stop""#),
    ];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = [
        "start c -",
        "text",
        "+a",
        "1:thinking",
        "1:+b",
        "+c",
        "1:close",
        "1:text",
        "1:+d",
        "1:close",
        "close",
        "finish Stop",
        "1:finish Length",
        "end",
    ];
    assert_eq!(told(&read_pieces(Vendor::Other, &[&chunks(&texts)])), expected);
    let many: Vec<String> = (0..=CHAT_CHOICES_MAX as u32).map(|index| chunk(index, "{}", "null")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let told = told(&read_pieces(Vendor::Other, &[&chunks(&many)]));
    assert!(told.last().unwrap().contains("too many answers"), "{told:?}");
}

#[test]
fn failures_end_the_stream() {
    let text = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let finish = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let cases = [
        (
            "error in a chunk",
            Vendor::Other,
            "data: {\"id\":\"c\",\"error\":{\"code\":429,\"message\":\"m\"},\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\ndata: [DONE]\n\n",
            "fail RateLimited m",
        ),
        (
            "error alone",
            Vendor::OpenAi,
            "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"code\":null}}\n\n",
            "fail Internal m",
        ),
        (
            "named event",
            Vendor::Other,
            "event: error\ndata: {\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"status_code\":400}}\n\n",
            "fail BadRequest m",
        ),
        (
            "named event of another shape",
            Vendor::Other,
            "event: error\ndata: {\"message\":\"m\",\"code\":503}\n\n",
            "fail Overloaded m",
        ),
        ("named event without JSON", Vendor::Other, "event: error\ndata: gone\n\n", "fail Internal gone"),
        (
            "error in Groq's envelope",
            Vendor::Other,
            "data: {\"choices\":[],\"x_groq\":{\"error\":\"m\"}}\n\n",
            "fail Internal m",
        ),
        (
            "error in an answer",
            Vendor::Other,
            "data: {\"choices\":[{\"error\":{\"code\":502,\"message\":\"m\"},\"finish_reason\":\"error\"}]}\n\n",
            "fail Internal m",
        ),
        (
            "finish reason of an error",
            Vendor::Other,
            "data: {\"choices\":[{\"finish_reason\":\"insufficient_system_resource\"}]}\n\n",
            "fail Overloaded the provider broke the answer off: insufficient_system_resource",
        ),
        (
            "no JSON",
            Vendor::Other,
            "data: {\"id\":\n\n",
            "fail Internal the provider sent a chunk that is no JSON",
        ),
        (
            "cut off",
            Vendor::Other,
            "",
            "fail Internal the provider's stream ended before its answer was complete",
        ),
    ];
    for (name, vendor, wire, expected) in cases {
        let wire = format!("{text}{wire}");
        let told = told(&read_pieces(vendor, &[wire.as_bytes()]));
        assert_eq!(told.last().unwrap(), expected, "{name}");
        assert!(!told.iter().any(|line| line.starts_with("finish")), "{name}: {told:?}");
    }
    // A server that sends no end mark is believed if it is not OpenAI.
    for (vendor, last) in [
        (Vendor::Other, "end"),
        (Vendor::OpenAi, "fail Internal the provider's stream ended before its answer was complete"),
    ] {
        let told = told(&read_pieces(vendor, &[text.as_bytes(), finish.as_bytes()]));
        assert_eq!(told.last().unwrap(), last, "{vendor:?}");
    }
}

#[test]
fn halves_of_a_pair_pass_through() {
    let told = of_deltas(&[], Vendor::Other);
    assert_eq!(told, Vec::<String>::new());
    let wire = br#"data: {"id":"c","choices":[{"delta":{"content":"\ud83d"}}]}

data: {"id":"c","choices":[{"delta":{"content":"\ude00"},"finish_reason":"stop"}]}

data: [DONE]

"#;
    let mut joined = Text::default();
    for event in read_pieces(Vendor::OpenAi, &[wire]) {
        if let Event::Delta { text, .. } = event {
            joined.push(&text);
        }
    }
    assert_eq!(joined.decode().unwrap(), "😀");
}

/// Pieces of JSON that streams are made of, right and wrong.
fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("3".to_owned()),
        Just("\"stop\"".to_owned()),
        Just("\"{}\"".to_owned()),
        Just("\"\"".to_owned()),
        "[a-z]{0,4}".prop_map(|word| format!("\"{word}\"")),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let name = prop::sample::select(vec![
            "id",
            "choices",
            "delta",
            "content",
            "tool_calls",
            "index",
            "function",
            "name",
            "arguments",
            "finish_reason",
            "usage",
            "error",
            "message",
            "reasoning",
            "type",
            "thinking",
            "text",
            "custom",
            "input",
            "annotations",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((name, inner), 0..5).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_comes_the_order_holds(
        events in prop::collection::vec(prop_oneof![
            any_value().prop_map(|delta| format!(r#"{{"id":"c","choices":[{{"delta":{delta}}}]}}"#)),
            any_value().prop_map(|call| format!(r#"{{"id":"c","choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#)),
            any_value(),
            Just("[DONE]".to_owned()),
            "\\PC{0,20}",
        ], 0..8),
        vendor in prop::sample::select(vec![Vendor::OpenAi, Vendor::Google, Vendor::Other]),
    ) {
        let mut reader = StreamReader::new(vendor, Ids::new(3));
        let mut told = Vec::new();
        for data in &events {
            reader.event(b"", data.as_bytes(), &mut |event| told.push(owned(event)));
        }
        reader.end(&mut |event| told.push(owned(event)));
        check_order(&told);
    }
}
