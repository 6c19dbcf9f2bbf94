//! What the tap reads from whole bodies and streams, wherever they are cut.

use super::*;
use crate::dialect::fuzz;

fn tapped(dialect: Dialect, streaming: bool, wire: &str) -> UsageTap {
    let mut tap = UsageTap::new(dialect, streaming);
    tap.feed(wire.as_bytes());
    tap
}

fn usage(input: u64, output: u64) -> Option<Usage> {
    Some(Usage { input, output, ..Usage::default() })
}

const CHAT: &str = concat!(
    "data: {\"choices\":[],\"id\":\"\",\"model\":\"\",\"prompt_filter_results\":[]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    ": comment\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
);

#[test]
fn a_chat_stream_is_read_whole() {
    let mut tap = tapped(Dialect::OpenAiChat, true, CHAT);
    let expected = TapReport {
        usage: usage(3, 2),
        end: StreamEnd::Complete,
        output_chars_seen: 5,
        model: Some("gpt-x"),
        response_id: None,
        error: None,
        events: 5,
        events_unread: 0,
    };
    assert_eq!(tap.finish(), expected);
}

#[test]
fn a_stream_that_is_cut_says_so_and_says_what_was_seen() {
    let cut = CHAT
        .find("data: {\"model\":\"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"lo\"")
        .expect("is there");
    let mut tap = tapped(Dialect::OpenAiChat, true, &CHAT[..cut]);
    assert!(!tap.is_inside_event());
    assert_eq!((tap.output_chars_so_far(), tap.usage_so_far()), (3, None));
    let report = tap.finish();
    assert_eq!((report.usage, report.end, report.output_chars_seen), (None, StreamEnd::Truncated, 3));
    assert!(tapped(Dialect::OpenAiChat, true, &CHAT[..cut + 3]).is_inside_event());
    let mut empty = UsageTap::new(Dialect::OpenAiChat, true);
    assert_eq!(empty.finish().end, StreamEnd::Truncated);
}

#[test]
fn events_may_be_fed_one_by_one() {
    let mut tap = UsageTap::new(Dialect::OpenAiChat, true);
    Observer::new().feed(CHAT.as_bytes(), |event| tap.feed_event(&event));
    assert_eq!(tap.finish(), tapped(Dialect::OpenAiChat, true, CHAT).finish());
}

#[test]
fn ends_are_told_apart() {
    use Dialect::{AnthropicMessages as A, Gemini as G, OpenAiChat as C, OpenAiResponses as R};
    use StreamEnd::{Complete, ErrorEvent, Truncated};
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let in_chunk =
        "data: {\"id\":\"x\",\"error\":{\"code\":400,\"message\":\"m\"},\"choices\":[]}\n\ndata: [DONE]\n\n";
    let cases = [
        ("chat, no end mark", C, finish, Complete),
        ("chat, end mark without its blank line", C, "data: [DONE]", Complete),
        ("chat, finish reason null", C, "data: {\"choices\":[{\"finish_reason\":null}]}\n\n", Truncated),
        ("chat, error null", C, "data: {\"error\":null,\"choices\":[]}\n\n", Truncated),
        ("chat, error event", C, "event: error\ndata: {\"error\":{\"message\":\"m\"}}\n\n", ErrorEvent),
        ("chat, error as text", C, "data: {\"error\":\"m\"}\n\n", ErrorEvent),
        ("chat, error inside a chunk, then an end mark", C, in_chunk, ErrorEvent),
        ("chat, Groq", C, "data: {\"x_groq\":{\"error\":\"m\"}}\n\n", ErrorEvent),
        (
            "chat, words of the model about errors",
            C,
            "data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":{}}\"}}]}\n\n",
            Truncated,
        ),
        ("responses", R, "event: response.incomplete\ndata: {\"response\":{}}\n\n", Complete),
        ("responses, no names", R, "data: {\"type\":\"response.completed\"}\n\n", Complete),
        ("responses, failed", R, "event: response.failed\ndata: {}\n\n", ErrorEvent),
        (
            "responses, flat error",
            R,
            "event: error\ndata: {\"code\":\"c\",\"message\":\"m\"}\n\n",
            ErrorEvent,
        ),
        ("responses, only an end mark", R, "data: [DONE]\n\n", Truncated),
        ("anthropic", A, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", Complete),
        ("anthropic, no names", A, "data: {\"type\":\"message_stop\"}\n\n", Complete),
        (
            "anthropic, before the end",
            A,
            "event: message_delta\ndata: {\"usage\":{\"output_tokens\":1}}\n\n",
            Truncated,
        ),
        (
            "anthropic, error",
            A,
            "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n\n",
            ErrorEvent,
        ),
        ("gemini", G, "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\r\n\r\n", Complete),
        ("gemini, refused prompt", G, "data: {\"promptFeedback\":{\"blockReason\":\"OTHER\"}}\n\n", Complete),
        ("gemini, error", G, "data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}\n\n", ErrorEvent),
        ("gemini, before the end", G, "data: {\"candidates\":[{\"content\":{}}]}\n\n", Truncated),
        ("an error document instead of a stream", G, "\r\n{\"error\":{\"code\":400}}", ErrorEvent),
        ("a list instead of a stream", G, "[{\"usageMetadata\":{}}\n,\n{}]", Complete),
    ];
    for (name, dialect, wire, expected) in cases {
        assert_eq!(tapped(dialect, true, wire).finish().end, expected, "{name}");
    }
}

#[test]
fn usage_that_is_not_the_streams_is_not_taken() {
    let wire = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":9}\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"usage\":{\"prompt_tokens\":9}}]}\n\n",
    );
    assert_eq!(tapped(Dialect::OpenAiChat, true, wire).finish().usage, None);
    let wire =
        "data: {\"choices\":[],\"x_groq\":{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}}\n\n";
    assert_eq!(tapped(Dialect::OpenAiChat, true, wire).finish().usage, usage(9, 1));
}

#[test]
fn a_body_is_read_like_a_stream() {
    let body = r#"{"id":"resp_1","model":"m","error":null,"output":[{"t":"12345"}],
        "usage":{"input_tokens":3,"output_tokens":2}}"#;
    let mut tap = tapped(Dialect::OpenAiResponses, false, body);
    let report = tap.finish();
    assert_eq!((report.usage, report.end), (usage(3, 2), StreamEnd::Complete));
    assert_eq!((report.model, report.response_id), (Some("m"), Some("resp_1")));
    assert_eq!(report.output_chars_seen, 6);
    assert_eq!(tapped(Dialect::OpenAiResponses, false, &body[..40]).finish().end, StreamEnd::Truncated);
}

#[test]
fn a_tap_that_is_reset_knows_nothing_of_the_last_response() {
    let mut tap = tapped(Dialect::OpenAiChat, true, &CHAT[..CHAT.len() - 5]);
    tap.reset(Dialect::AnthropicMessages, true);
    assert_eq!(tap.finish(), UsageTap::new(Dialect::AnthropicMessages, true).finish());
}

#[test]
fn reports_do_not_depend_on_where_a_response_is_cut() {
    fuzz::usage_scan(&[&[4], CHAT.as_bytes()].concat());
    for choice in 0..8u8 {
        for wire in [
            CHAT,
            "event: message_start\r\ndata: {\"message\":{\"model\":\"c\",\"usage\":{\"input_tokens\":1}}}\r\n\r\n",
            "event: response.failed\ndata: {\"response\":{\"error\":{\"message\":\"\\u00e9\"}}}\n\n",
            "{\"error\":{\"message\":\"m\"},\"usageMetadata\":{\"promptTokenCount\":1}}",
            " [{\"usageMetadata\":{\"promptTokenCount\":1}},{}]",
            "",
        ] {
            fuzz::usage_scan(&[&[choice], wire.as_bytes()].concat());
        }
    }
}

#[test]
fn the_fuzz_corpus_holds() {
    for input in crate::json::fuzz::corpus("usage_scan") {
        fuzz::usage_scan(&input);
        crate::json::fuzz::tap(&input);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_tap_fail(choice in 0u8..8, wire in
        r#"((data|event):? ?)?(\{|\[|\}|\]|:|,|"(usage|delta|error|choices|type|model|x_groq)"|message_delta|null|1|\\|\r?\n|"){0,24}"#) {
        fuzz::usage_scan(&[&[choice], wire.as_bytes()].concat());
    }
}

proptest::proptest! {
    /// What is known of a stream is the same whether its events may repeat one another or are each read by themselves,
    /// and a slice that counts as text only holds nothing else.
    #[test]
    fn events_that_repeat_are_read_as_if_each_was_the_first(
        events in proptest::collection::vec((0usize..6, r#"([a-z"{}:,]|\\n|\\"|\\u00e9|"usage":\{\}|é){0,6}"#, 0usize..3), 0..12),
    ) {
        let texts: Vec<String> = events
            .iter()
            .map(|(kind, text, pad)| {
                let (open, close) = ([r#""content":""#, r#""role":"a","content":""#][kind % 2], "x".repeat(*pad));
                match kind {
                    0 | 1 => format!(r#"{{"model":"m","choices":[{{"delta":{{{open}{text}"}}}}],"usage":null}}"#),
                    2 => format!(r#"{{"model":"m","choices":[{{"delta":{{{open}{text}"}}}}],"obfuscation":"{close}"}}"#),
                    3 => format!(r#"{{"model":"m","choices":[{{"delta":{{{open}{text}"}},"finish_reason":"{close}"}}]}}"#),
                    4 => format!(r#"{{"model":"m","choices":[],"usage":{{"prompt_tokens":{pad},"completion_tokens":1}}}}"#),
                    _ => text.clone(),
                }
            })
            .collect();
        let mut tap = UsageTap::new(Dialect::OpenAiChat, true);
        // A name keeps an event from being learned and from being taken for a repeated one.
        let mut slow = UsageTap::new(Dialect::OpenAiChat, true);
        for text in &texts {
            let before = (tap.usage_so_far(), tap.sight.finished, tap.sight.failed);
            tap.feed(format!("data: {text}\n\n").as_bytes());
            slow.feed(format!("event: chunk\ndata: {text}\n\n").as_bytes());
            if tap.fed_only_text() {
                let after = (slow.usage_so_far(), slow.sight.finished, slow.sight.failed);
                proptest::prop_assert_eq!(before, after, "{}", text);
            }
        }
        proptest::prop_assert_eq!(tap.finish(), slow.finish());
    }
}

#[test]
fn only_whole_events_of_text_count_as_such() {
    let text = |text: &str| {
        format!(
            "data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":null}}\n\n"
        )
    };
    let mut tap = tapped(Dialect::OpenAiChat, true, &text("a"));
    // The first one named the model.
    assert!(!tap.fed_only_text());
    let cases = [
        (text("b"), false),
        (text("c"), true),
        (text("d") + &text("e"), true),
        (text("f")[..20].to_owned(), false),
        (text("f")[20..].to_owned(), false),
        (text("g"), true),
        (text("h") + ": comment\n\n", true),
        (": comment\n\n".to_owned(), false),
        (text("i") + "data: {\"choices\":[],\"usage\":{}}\n\n", false),
        (text("j"), true),
    ];
    for (slice, expected) in cases {
        tap.feed(slice.as_bytes());
        assert_eq!(tap.fed_only_text(), expected, "{slice}");
    }
}
