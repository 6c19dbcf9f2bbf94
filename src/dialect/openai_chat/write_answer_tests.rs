//! Answers and errors as chat clients get them, and what comes back of them with the history.

use serde_json::{Value, json};

use super::*;
use crate::dialect::ir::{FaultCase, Finish, Part};
use crate::dialect::openai_chat::testing::{call, client, key, said, thought};
use crate::dialect::openai_chat::{read_answer, read_fault, read_request};

fn written(answer: &Answer<'_>, client: &mut ClientContext) -> Value {
    let mut out = Vec::new();
    write_answer(answer, client, &mut out);
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn answer(parts: Vec<Part<'static>>, finish: Finish<'static>) -> Answer<'static> {
    Answer { choices: vec![Choice::new(parts, finish)], ..Answer::default() }
}

#[test]
fn a_whole_answer_is_written() {
    let usage = Usage { input: 10, output: 5, cached_input: 4, cache_write: 2, reasoning: 3 };
    let whole = Answer {
        id: Some(Text::from_plain("msg_1")),
        model: Some(Text::from_plain("claude")),
        created: None,
        usage: Some(usage),
        ..answer(vec![thought("hm"), said("a\"b"), said("c"), call("1", "f", "")], Finish::ToolCalls)
    };
    let expected = json!({
        "id": "msg_1", "object": "chat.completion", "created": 1_700_000_000, "model": "claude",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a\"bc", "refusal": null,
            "reasoning_content": "hm", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3}},
    });
    assert_eq!(written(&whole, &mut client()), expected);
    let bare = written(&answer(vec![], Finish::Stop), &mut client());
    assert!(bare["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(
        (&bare["model"], &bare["choices"][0]["message"]["content"]),
        (&json!("house-model"), &json!(""))
    );
    assert!(bare["usage"].is_null());
}

#[test]
fn ends_and_refusals_are_said() {
    let words = |text| Some(Text::from_plain(text));
    let refused = || vec![Content::Refusal(Text::from_plain("no")).into()];
    for (parts, finish, word, content, refusal) in [
        (vec![said("a")], Finish::Stop, "stop", json!("a"), json!(null)),
        (vec![said("a")], Finish::StopSequence(words("S")), "stop", json!("a"), json!(null)),
        (vec![said("a")], Finish::ContextFull, "length", json!("a"), json!(null)),
        (vec![said("a")], Finish::Paused, "stop", json!("a"), json!(null)),
        (refused(), Finish::Stop, "stop", json!(null), json!("no")),
        (vec![said("a")], Finish::Filtered(words("why")), "content_filter", json!("a"), json!("why")),
        (vec![], Finish::Filtered(words("")), "content_filter", json!(null), json!("")),
        (vec![], Finish::PromptFiltered(None), "content_filter", json!(""), json!(null)),
        (vec![call("1", "f", "{}")], Finish::Stop, "tool_calls", json!(null), json!(null)),
        (vec![call("1", "f", "{")], Finish::Length, "length", json!(null), json!(null)),
    ] {
        let body = written(&answer(parts, finish.clone()), &mut client());
        let choice = &body["choices"][0];
        assert_eq!(choice["finish_reason"], word, "{finish:?}");
        assert_eq!(
            (&choice["message"]["content"], &choice["message"]["refusal"]),
            (&content, &refusal),
            "{finish:?}"
        );
    }
}

#[test]
fn clients_of_old_get_one_function_call() {
    let mut old = ClientContext { legacy_functions: true, ..client() };
    let calls = answer(vec![call("1", "f", "{}"), call("2", "g", "{}")], Finish::ToolCalls);
    let body = written(&calls, &mut old);
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "function_call");
    assert_eq!(choice["message"]["function_call"], json!({"name": "f", "arguments": "{}"}));
    assert!(choice["message"]["tool_calls"].is_null());
}

#[test]
fn citations_count_characters_of_the_whole_text() {
    let cited = |text: &'static str, chars| -> Part<'static> {
        let citations = vec![Citation { url: Text::from_plain("https://x"), title: None, chars }];
        Content::Text { text: Text::from_plain(text), citations }.into()
    };
    let body =
        written(&answer(vec![cited("é😀", None), cited("abc", Some((1, 2)))], Finish::Stop), &mut client());
    let annotations = body["choices"][0]["message"]["annotations"].clone();
    let cite = |start, end| json!({"type": "url_citation", "url_citation": {"start_index": start, "end_index": end, "url": "https://x", "title": "https://x"}});
    assert_eq!(annotations, json!([cite(0, 2), cite(3, 4)]));
}

/// A message of an answer, sent back as history, is what it was.
#[test]
fn proofs_come_back_with_the_history() {
    let proof = |vendor, data: &'static str, item_id: Option<&'static str>| Proof {
        vendor,
        item_id: item_id.map(Text::from_plain),
        data: Text::from_plain(data),
    };
    let signed = |text: &'static str, proof| -> Part<'static> {
        Content::Thinking { text: Text::from_plain(text), proof: Some(proof), redacted: false }.into()
    };
    let hidden = Content::Thinking {
        text: Text::default(),
        proof: Some(proof(Vendor::Anthropic, "EqQB", None)),
        redacted: true,
    };
    let mut called = call("1", "f", "{}");
    if let Content::ToolCall(call) = &mut called.content {
        call.proof = Some(proof(Vendor::Google, "c2ln", None));
    }
    let parts = vec![
        signed("fir😀st", proof(Vendor::Anthropic, "c2ln+/=", None)),
        hidden.into(),
        thought("middle"),
        signed("", proof(Vendor::OpenAi, "gAAAA", Some("rs_1"))),
        said("text"),
        called,
    ];
    let body = written(&answer(parts.clone(), Finish::ToolCalls), &mut client());
    let message = &body["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "fir😀stmiddle");
    // `to_string` escapes nothing but what has to be; a client in Python escapes all.
    for text in [
        json!({ "messages": [message] }).to_string(),
        json!({ "messages": [message] }).to_string().replace('😀', "\\ud83d\\ude00"),
    ] {
        let request = read_request(text.as_bytes(), &key()).unwrap();
        let decoded = |parts: &[Part<'_>]| format!("{parts:?}").replace("\\\\ud83d\\\\ude00", "😀");
        assert_eq!(decoded(&request.turns[0].parts), decoded(&parts));
        assert_eq!(request.unknown, []);
    }
    let mut foreign = client();
    foreign.proofs = crate::dialect::ProofKey::new(&[9; 32]);
    let body = written(&answer(parts, Finish::ToolCalls), &mut foreign);
    let text = json!({ "messages": [body["choices"][0]["message"]] }).to_string();
    let request = read_request(text.as_bytes(), &key()).unwrap();
    assert_eq!(request.turns[0].parts, [thought("fir😀stmiddle"), said("text"), call("1", "f", "{}")]);
}

#[test]
fn pictures_and_free_text_calls_are_written() {
    let picture = Content::Media(Media {
        kind: crate::dialect::ir::MediaKind::Image,
        source: Source::Base64 { media_type: Text::from_plain("image/png"), data: Text::from_plain("AAAA") },
        detail: None,
    });
    let custom = Content::ToolCall(ToolCall {
        id: None,
        name: Text::from_plain("p"),
        arguments: Arguments::Text(Text::default()),
        kind: CallKind::Custom,
        proof: None,
    });
    let body = written(&answer(vec![picture.into(), custom.into()], Finish::ToolCalls), &mut client());
    let message = &body["choices"][0]["message"];
    assert_eq!(message["images"][0]["image_url"]["url"], "data:image/png;base64,AAAA");
    assert_eq!(message["tool_calls"][0]["custom"], json!({"name": "p", "input": ""}));
    assert!(message["tool_calls"][0]["id"].as_str().unwrap().starts_with("call_"));
}

#[test]
fn faults_have_the_trace_and_the_status() {
    let fault = Fault {
        case: FaultCase::Overloaded,
        message: Text::from_plain("busy"),
        code: None,
        param: None,
        retry_after_s: None,
    };
    let mut out = Vec::new();
    let status = write_fault(&fault, "t-1", &mut out);
    let body: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (status, &body["trace_id"], &body["error"]["code"]),
        (503, &json!("t-1"), &json!("server_is_overloaded"))
    );
    assert_eq!(read_fault(status, &out).case, FaultCase::Overloaded);
    assert!(read_answer(&out, Vendor::OpenAi).is_err());
}
