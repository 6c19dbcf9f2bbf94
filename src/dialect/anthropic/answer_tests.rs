//! Whole answers: what is read, what is written, and that one is the other's inverse.

use serde_json::{Value, json};

use super::stream_tests::client;
use super::{read_answer, write_answer};
use crate::dialect::Usage;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Citation, Content, FaultCase, Finish, Part, Proof, Raw, Text,
    ToolCall, Vendor,
};

fn text(plain: &str) -> Text<'_> {
    Text::from_plain(plain)
}

fn said(plain: &str) -> Part<'_> {
    Content::Text { text: text(plain), citations: Vec::new() }.into()
}

fn call<'a>(id: &'a str, name: &'a str, input: &'a str) -> ToolCall<'a> {
    ToolCall {
        id: Some(text(id)),
        name: text(name),
        arguments: Arguments::Object(Raw::from_scanned(input.as_bytes()).unwrap()),
        kind: CallKind::Function,
        proof: None,
    }
}

fn thought<'a>(plain: &'a str, proof: Option<(Vendor, &'a str)>, redacted: bool) -> Part<'a> {
    let proof = proof.map(|(vendor, data)| Proof { vendor, item_id: None, data: text(data) });
    Content::Thinking { text: text(plain), proof, redacted }.into()
}

fn answer<'a>(parts: Vec<Part<'a>>, finish: Finish<'a>) -> Answer<'a> {
    Answer {
        id: Some(text("msg_1")),
        model: Some(text("claude-x")),
        created: None,
        choices: vec![Choice::new(parts, finish)],
        usage: Some(Usage { input: 12, output: 9, cached_input: 4, cache_write: 1, reasoning: 0 }),
    }
}

fn written(answer: &Answer<'_>) -> Value {
    let mut out = Vec::new();
    write_answer(answer, &mut client(), &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_answer_is_read_block_by_block() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "Eq=="},
            {"type": "redacted_thinking", "data": "Em=="},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "text", "text": "aé", "citations": [
                {"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "x", "encrypted_index": "E"},
                {"type": "page_location", "document_index": 0},
            ]},
            {"type": "text", "text": "!", "citations": null},
            {"type": "to_come", "x": 1},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.50}, "caller": {"type": "direct"}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null,
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1, "output_tokens": 9},
    })
    .to_string();
    let citation = Citation { url: text("https://a"), title: Some(text("A")), chars: Some((0, 2)) };
    let expected = answer(
        vec![
            thought("hm", Some((Vendor::Anthropic, "Eq==")), false),
            thought("", Some((Vendor::Anthropic, "Em==")), true),
            Content::Text { text: text("aé"), citations: vec![citation] }.into(),
            said("!"),
            Content::ToolCall(call("toolu_1", "f", r#"{"a":1.5}"#)).into(),
        ],
        Finish::ToolCalls,
    );
    assert_eq!(read_answer(body.as_bytes(), Vendor::Anthropic), Ok(expected));
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for (body, case, message) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, FaultCase::Overloaded, "m"),
        (r#"{"error":"m"}"#, FaultCase::Internal, "m"),
        (r#"{"type":"error"}"#, FaultCase::Internal, "the provider reported an error without a text"),
        (r#"{"type":"message"}"#, FaultCase::Internal, "the provider's answer has no `content`"),
        ("<html>", FaultCase::Internal, "the provider's answer cannot be read"),
        (r#"{"content":[]"#, FaultCase::Internal, "the provider's answer cannot be read"),
        (r#"{"content":[]} x"#, FaultCase::Internal, "the provider's answer cannot be read"),
        ("", FaultCase::Internal, "the provider's answer cannot be read"),
    ] {
        let fault = read_answer(body.as_bytes(), Vendor::Anthropic).unwrap_err();
        assert_eq!((fault.case, fault.message.escaped()), (case, message), "{body}");
    }
}

#[test]
fn an_answer_is_written_as_anthropic_sends_it() {
    let parts = vec![
        thought("no proof", None, false),
        thought("", None, true),
        thought("", Some((Vendor::Anthropic, "Em==")), true),
        said("Hi"),
        Content::ToolCall(ToolCall { id: None, ..call("", "g", "{}") }).into(),
        Content::ToolCall(ToolCall {
            arguments: Arguments::Text(text("not json")),
            ..call("a.b", "h", "{}")
        })
        .into(),
    ];
    let body = written(&Answer {
        id: Some(text("chatcmpl-1")),
        model: None,
        usage: None,
        ..answer(parts, Finish::ToolCalls)
    });
    assert!(body["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(body["model"], "claude-x");
    assert_eq!(body["stop_reason"], "tool_use");
    let content = body["content"].as_array().unwrap();
    assert_eq!(content[0], json!({"type":"thinking","thinking":"no proof","signature":""}));
    assert_eq!(content[1], json!({"type":"redacted_thinking","data":"Em=="}));
    assert_eq!(content[2], json!({"type":"text","text":"Hi"}));
    assert!(content[3]["id"].as_str().unwrap().starts_with("toolu_"));
    assert!(content[4]["id"].as_str().unwrap().starts_with("a_b_"));
    assert_eq!(content[4]["input"], json!({"_raw":"not json"}));
    let zeros = json!({"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0});
    assert_eq!(body["usage"], zeros);
}

#[test]
fn proofs_of_others_travel_sealed() {
    let google = Proof { vendor: Vendor::Google, item_id: Some(text("c1")), data: text("Cg==") };
    let parts = vec![
        thought("hm", Some((Vendor::OpenAi, "gA==")), false),
        Content::ToolCall(ToolCall { proof: Some(google), ..call("c1", "f", "{}") }).into(),
    ];
    let body = written(&answer(parts, Finish::ToolCalls));
    assert!(body["content"][0]["signature"].as_str().unwrap().starts_with("gw1.o."));
    assert_eq!(body["content"][2]["type"], "redacted_thinking");
    assert!(body["content"][2]["data"].as_str().unwrap().starts_with("gw1.g."));
}

#[test]
fn refusals_end_as_such() {
    let refusal = || Content::Refusal(text("No.")).into();
    for (parts, finish, details) in [
        (vec![refusal()], Finish::Stop, Value::Null),
        (vec![], Finish::PromptFiltered(Some(text("why"))), json!("why")),
        (vec![said("so far")], Finish::Filtered(None), Value::Null),
    ] {
        let body = written(&answer(parts, finish));
        assert_eq!(body["stop_reason"], "refusal");
        assert_eq!(body["stop_details"]["explanation"], details);
    }
    assert_eq!(
        written(&answer(vec![refusal()], Finish::Stop))["content"][0],
        json!({"type":"text","text":"No."})
    );
}

#[test]
fn no_choice_at_all_is_an_empty_message() {
    let body = written(&Answer::default());
    assert_eq!(body["content"], json!([]));
    assert_eq!(body["stop_reason"], "end_turn");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            blocks in proptest::collection::vec((0usize..5, ".{0,12}", "[a-zA-Z0-9+/]{1,12}"), 0..6),
            end in 0usize..6,
        ) {
            let parts: Vec<Part<'_>> = blocks
                .iter()
                .map(|(kind, plain, data)| match kind {
                    0 => thought(plain, Some((Vendor::Anthropic, data)), false),
                    1 => thought(plain, None, false),
                    2 => thought("", Some((Vendor::Anthropic, data)), true),
                    3 => said(plain),
                    _ => Content::ToolCall(call("toolu_1", "f", "{\"a\": [1.0, {}]}")).into(),
                })
                .collect();
            let finish = match end {
                0 => Finish::Stop,
                1 => Finish::StopSequence(Some(text("\n"))),
                2 => Finish::Length,
                3 => Finish::Paused,
                4 => Finish::ContextFull,
                _ => Finish::ToolCalls,
            };
            let answer = answer(parts, finish);
            let mut out = Vec::new();
            write_answer(&answer, &mut client(), &mut out);
            prop_assert_eq!(read_answer(&out, Vendor::Anthropic), Ok(answer));
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answer(&body, Vendor::Anthropic);
        }
    }
}
