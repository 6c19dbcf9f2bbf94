//! Answers of all servers, and errors in their place.

use serde_json::json;

use super::*;
use crate::dialect::ir::{Citation, Source};
use crate::dialect::openai_chat::testing::{call, said as text_part, thought};

/// The one choice of an answer whose message is `message`.
fn choice_of(
    message: &serde_json::Value,
    finish: &str,
    vendor: Vendor,
) -> Result<(Vec<Part<'static>>, Finish<'static>), String> {
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}).to_string();
    // Tests may leak what they compare.
    let body: &'static str = Box::leak(body.into_boxed_str());
    let mut answer =
        read_answer(body.as_bytes(), vendor).map_err(|fault| fault.message.escaped().to_owned())?;
    let choice = answer.choices.remove(0);
    Ok((choice.parts, choice.finish))
}

#[test]
fn messages_of_all_servers_are_read() {
    let proof = |data| Proof { vendor: Vendor::Google, item_id: None, data: Text::from_plain(data) };
    let signed = |data| match call("1", "f", "{}").content {
        Content::ToolCall(call) => Content::ToolCall(ToolCall { proof: Some(proof(data)), ..call }).into(),
        _ => unreachable!("a call"),
    };
    let bare = |name, arguments| {
        Content::ToolCall(ToolCall {
            id: None,
            name: Text::from_plain(name),
            arguments,
            kind: CallKind::Function,
            proof: None,
        })
    };
    let function = json!({"name": "f", "arguments": "{}"});
    let cases = [
        ("text", json!({"content": "a"}), "stop", vec![text_part("a")], Finish::Stop),
        ("nothing", json!({"content": null}), "stop", vec![], Finish::Stop),
        (
            "DeepSeek",
            json!({"content": "a", "reasoning_content": "b"}),
            "stop",
            vec![thought("b"), text_part("a")],
            Finish::Stop,
        ),
        (
            "OpenRouter",
            json!({"content": "a", "reasoning": "b", "reasoning_details": [{"type": "reasoning.text", "text": "b"}]}),
            "stop",
            vec![thought("b"), text_part("a")],
            Finish::Stop,
        ),
        (
            "details alone",
            json!({"content": "a", "reasoning_details": [{"text": "b"}, {"summary": "c"}, {"data": "x"}]}),
            "stop",
            vec![thought("bc"), text_part("a")],
            Finish::Stop,
        ),
        (
            "Mistral",
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "closed": true}, {"type": "text", "text": "a"}]}),
            "stop",
            vec![thought("b"), text_part("a")],
            Finish::Stop,
        ),
        (
            "refusal",
            json!({"content": null, "refusal": "no"}),
            "stop",
            vec![Content::Refusal(Text::from_plain("no")).into()],
            Finish::Stop,
        ),
        (
            "calls with finish stop",
            json!({"content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]}),
            "stop",
            vec![call("1", "f", "{}")],
            Finish::ToolCalls,
        ),
        (
            "Google",
            json!({"tool_calls": [{"id": "1", "function": function, "extra_content": {"google": {"thought_signature": "s"}}}]}),
            "tool_calls",
            vec![signed("s")],
            Finish::ToolCalls,
        ),
        (
            "arguments as an object",
            json!({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}),
            "tool_calls",
            vec![bare("f", Arguments::Object(Raw::from_written(r#"{"a":1}"#.to_owned()))).into()],
            Finish::ToolCalls,
        ),
        (
            "the form of old",
            json!({"content": null, "function_call": function}),
            "function_call",
            vec![bare("f", Arguments::Text(Text::from_plain("{}"))).into()],
            Finish::ToolCalls,
        ),
        ("cut off", json!({"content": "a"}), "length", vec![text_part("a")], Finish::Length),
        ("filtered", json!({"content": "a"}), "content_filter", vec![text_part("a")], Finish::Filtered(None)),
        ("prompt filtered", json!({"content": ""}), "content_filter", vec![], Finish::PromptFiltered(None)),
    ];
    for (name, message, word, parts, finish) in cases {
        assert_eq!(choice_of(&message, word, Vendor::Google), Ok((parts, finish)), "{name}");
    }
    let google = json!({"tool_calls": [{"id": "1", "function": function, "extra_content": {"google": {"thought_signature": "s"}}}]});
    let (parts, _) = choice_of(&google, "tool_calls", Vendor::Other).unwrap();
    assert_eq!(parts, [call("1", "f", "{}")], "a signature that Google did not make");
}

#[test]
fn citations_and_pictures_are_read() {
    let message = json!({"content": "abc", "annotations": [
        {"type": "url_citation", "url_citation": {"url": "https://x", "title": "X", "start_index": 1, "end_index": 2}},
        {"type": "url_citation", "url_citation": {"url": "https://y"}},
        {"type": "file", "file": {}},
    ], "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]});
    let (parts, _) = choice_of(&message, "stop", Vendor::Other).unwrap();
    let cite = |url, title: Option<&'static str>, chars| Citation {
        url: Text::from_plain(url),
        title: title.map(Text::from_plain),
        chars,
    };
    let citations = vec![cite("https://x", Some("X"), Some((1, 2))), cite("https://y", None, None)];
    assert_eq!(parts[0].content, Content::Text { text: Text::from_plain("abc"), citations });
    let Content::Media(Media { source: Source::Base64 { data, .. }, .. }) = &parts[1].content else {
        panic!("a picture");
    };
    assert_eq!(data.escaped(), "AAAA");
}

#[test]
fn errors_with_status_200_are_errors() {
    for (body, case) in [
        (
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            FaultCase::ContextTooLong,
        ),
        (r#"{"error":"m"}"#, FaultCase::Internal),
        (r#"{"choices":[{"error":{"code":429,"message":"m"},"message":{}}]}"#, FaultCase::RateLimited),
        (r#"{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}"#, FaultCase::Internal),
        (
            r#"{"choices":[{"message":{"content":"a"},"finish_reason":"insufficient_system_resource"}]}"#,
            FaultCase::Overloaded,
        ),
        (r#"{"object":"error","message":"m","code":404}"#, FaultCase::NotFound),
        (r#"{"choices":[]}"#, FaultCase::Internal),
        (r#"{"choices":[{"#, FaultCase::Internal),
        ("", FaultCase::Internal),
        ("<html>", FaultCase::Internal),
    ] {
        let fault = read_answer(body.as_bytes(), Vendor::Other).unwrap_err();
        assert_eq!(fault.case, case, "{body}");
    }
    assert!(read_answer(b"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}", Vendor::Other).is_err());
}
