//! Bodies of chat clients: what is read of them, and what is said of wrong ones.

use serde_json::{Value, json};

use super::*;
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Format, Media, MediaKind, Part, Proof, Role, Source,
    Tool, ToolCall, ToolChoice, ToolResult, Turn, Vendor,
};
use crate::dialect::openai_chat::testing::{call, key, said, thought};

/// Reads `body` and hands the request to `check`.
fn with(body: &Value, check: impl FnOnce(Request<'_>)) {
    let text = body.to_string();
    check(read_request(text.as_bytes(), &key()).unwrap_or_else(|bad| panic!("{bad}: {text}")));
}

/// A body with `messages` of one user's text, and `more` members.
fn body(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn user(parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role: Role::User, name: None, parts }
}

fn result(id: &str, parts: Vec<Part<'static>>, kind: CallKind) -> Part<'static> {
    let call_id = Some(Text::from(id.to_owned()));
    Content::ToolResult(ToolResult { call_id, name: None, parts, object: None, is_error: false, kind }).into()
}

#[test]
fn the_conversation_is_read_in_order() {
    let request = json!({"messages": [
        {"role": "developer", "content": [{"type": "text", "text": "a"}]},
        {"role": "system", "content": "b"},
        {"role": "user", "content": "c", "name": "ann"},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "2", "type": "custom", "custom": {"name": "g", "input": "free text"}},
        ]},
        {"role": "tool", "tool_call_id": "1", "content": "r1"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "r2"}]},
        {"role": "system", "content": "d"},
        {"role": "assistant", "content": "e", "refusal": "no", "annotations": []},
        {"role": "user", "content": ""},
    ]});
    with(&request, |request| {
        assert_eq!(request.system, [said("a"), said("b")]);
        let custom = Content::ToolCall(ToolCall {
            id: Some(Text::from_plain("2")),
            name: Text::from_plain("g"),
            arguments: Arguments::Text(Text::from_plain("free text")),
            kind: CallKind::Custom,
            proof: None,
        });
        let expected = [
            Turn { name: Some(Text::from_plain("ann")), ..user(vec![said("c")]) },
            Turn {
                role: Role::Assistant,
                name: None,
                parts: vec![thought("hm"), call("1", "f", r#"{"x":1}"#), custom.into()],
            },
            user(vec![
                result("1", vec![said("r1")], CallKind::Function),
                result("2", vec![said("r2")], CallKind::Custom),
            ]),
            Turn { role: Role::System, name: None, parts: vec![said("d")] },
            Turn {
                role: Role::Assistant,
                name: None,
                parts: vec![said("e"), Content::Refusal(Text::from_plain("no")).into()],
            },
            user(vec![]),
        ];
        assert_eq!(request.turns, expected);
        assert_eq!(request.unknown, []);
    });
}

#[test]
fn parts_of_all_kinds_are_read() {
    let png = "iVBORw0KGgoAAAANSUhEUg";
    let cases = [
        (json!({"type": "text", "text": "a"}), said("a").content),
        (
            json!({"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}}),
            media(MediaKind::Image, Source::Url(Text::from_plain("https://x/a.png")), Some("low")),
        ),
        (
            json!({"type": "image_url", "image_url": format!("data:;base64,{png}")}),
            media(MediaKind::Image, bytes("image/png", png), None),
        ),
        (
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
            media(MediaKind::Audio, bytes("audio/mpeg", "AAAA"), None),
        ),
        (
            json!({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}),
            media(MediaKind::Video, bytes("video/mp4", "AAAA"), None),
        ),
        (
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBERi0xLjQK"}}),
            document(bytes("application/pdf", "JVBERi0xLjQK"), Some("a.pdf")),
        ),
        (
            json!({"type": "file", "file": {"file_id": "file-1"}}),
            document(Source::File(Text::from_plain("file-1")), None),
        ),
        (
            json!({"type": "document_url", "document_url": "https://x/a.pdf", "document_name": "a"}),
            document(Source::Url(Text::from_plain("https://x/a.pdf")), Some("a")),
        ),
        (
            json!({"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
            thought("ab").content,
        ),
        (json!({"type": "refusal", "refusal": "a"}), Content::Refusal(Text::from_plain("a"))),
        (json!({"type": "hologram", "x": 1}), Content::Unknown(Text::from_plain("hologram"))),
    ];
    for (part, expected) in cases {
        let request = json!({"messages": [{"role": "user", "content": [part]}]});
        with(&request, |request| assert_eq!(request.turns[0].parts[0].content, expected, "{part}"));
    }
}

fn media(kind: MediaKind, source: Source<'static>, detail: Option<&'static str>) -> Content<'static> {
    Content::Media(Media { kind, source, detail: detail.map(Text::from_plain) })
}

fn document(source: Source<'static>, title: Option<&'static str>) -> Content<'static> {
    let title = title.map(Text::from_plain);
    Content::Document(Document { source, title, context: None, citations: false })
}

fn bytes(media_type: &'static str, data: &'static str) -> Source<'static> {
    Source::Base64 { media_type: Text::from_plain(media_type), data: Text::from_plain(data) }
}

#[test]
fn cache_marks_of_both_kinds_are_read() {
    for (mark, expected) in [
        (json!({"cache_control": {"type": "ephemeral"}}), CacheMark::Default),
        (json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}}), CacheMark::OneHour),
        (json!({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}), CacheMark::HalfAnHour),
    ] {
        let mut part = mark.clone();
        part["type"] = json!("text");
        part["text"] = json!("a");
        let request =
            json!({"messages": [{"role": "system", "content": [part]}, {"role": "user", "content": "b"}]});
        with(&request, |request| assert_eq!(request.system[0].cache, Some(expected), "{mark}"));
    }
}

#[test]
fn settings_are_kept_as_they_are_written() {
    let text = r#"{"messages":[{"role":"user","content":"x"}],"temperature":0.70,"top_p":1e0,"seed":-3,"n":2,
        "logprobs":true,"top_logprobs":4,"logit_bias":{"1":-100},"verbosity":"low","modalities":["text"],
        "metadata":{"a":"b"},"store":true,"service_tier":"flex","max_tokens":7,"max_completion_tokens":9,
        "stop":"S","user":"u","safety_identifier":"s","parallel_tool_calls":false,"min_p":0.1,"provider":{},
        "frequency_penalty":null,"stream":true,"stream_options":{"include_usage":true,"x":1}}"#;
    let request = read_request(text.as_bytes(), &key()).unwrap();
    let mut settings: Vec<(&str, &str)> =
        request.settings.iter().map(|setting| (setting.feature.row().name, setting.value.as_str())).collect();
    settings.sort_unstable();
    let expected = [
        ("logit_bias", r#"{"1":-100}"#),
        ("logprobs", "4"),
        ("metadata", r#"{"a":"b"}"#),
        ("n", "2"),
        ("seed", "-3"),
        ("service_tier", r#""flex""#),
        ("store", "true"),
        ("temperature", "0.70"),
        ("top_p", "1e0"),
        ("verbosity", r#""low""#),
    ];
    assert_eq!(settings, expected);
    assert_eq!(request.output_tokens_max, Some(9));
    assert_eq!(request.stop, [Text::from_plain("S")]);
    assert_eq!(request.end_user, Some(Text::from_plain("s")));
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert!(request.stream && request.stream_usage);
    let unknown: Vec<&str> = request.unknown.iter().map(Text::escaped).collect();
    assert_eq!(unknown, ["min_p", "provider", "stream_options.x"]);
}

#[test]
fn reasoning_is_read_in_every_servers_words() {
    let effort = |effort| Reasoning { effort: Some(effort), ..Reasoning::default() };
    let cases = [
        (json!({}), Reasoning::default()),
        (json!({"reasoning_effort": "xhigh"}), effort(Effort::XHigh)),
        (json!({"reasoning_effort": "default"}), effort(Effort::Medium)),
        (json!({"thinking": {"type": "disabled"}}), effort(Effort::None)),
        (json!({"thinking": {"type": "enabled", "clear_thinking": false}}), Reasoning::default()),
        (json!({"enable_thinking": false}), effort(Effort::None)),
        (json!({"enable_thinking": true}), Reasoning::default()),
        (json!({"reasoning": {"effort": "high", "enabled": true}}), effort(Effort::High)),
        (json!({"reasoning": {"enabled": false}}), effort(Effort::None)),
        (
            json!({"reasoning": {"max_tokens": 2000, "exclude": true}}),
            Reasoning { budget_tokens: Some(2000), show: Some(SummaryWish::Hidden), effort: None },
        ),
    ];
    for (more, expected) in cases {
        with(&body(&more), |request| assert_eq!(request.reasoning, expected, "{more}"));
    }
}

#[test]
fn tools_choices_and_formats_are_read() {
    let tool = |name: &'static str| Tool {
        name: Text::from_plain(name),
        description: None,
        schema: None,
        strict: false,
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    };
    let tools = json!({"tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
        {"function": {"name": "g", "parameters": null}, "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"type": "custom", "custom": {"name": "h", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}},
    ]});
    with(&body(&tools), |request| {
        let expected = [
            Tool {
                description: Some(Text::from_plain("d")),
                schema: Some(Raw::from_written(r#"{"type":"object"}"#.to_owned())),
                strict: true,
                ..tool("f")
            },
            Tool { cache: Some(CacheMark::FiveMinutes), ..tool("g") },
            Tool {
                kind: CallKind::Custom,
                grammar: Some(Raw::from_written(r#"{"syntax":"lark","definition":"x"}"#.to_owned())),
                ..tool("h")
            },
        ];
        assert_eq!(request.tools, expected);
    });
    let named = |name| ToolChoice::Named(Text::from_plain(name));
    for (choice, expected) in [
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!("any"), ToolChoice::Required),
        (json!({"type": "function", "function": {"name": "f"}}), named("f")),
        (json!({"type": "custom", "custom": {"name": "h"}}), named("h")),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
                {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "h"}}]}}),
            ToolChoice::Allowed { required: true, names: vec![Text::from_plain("f"), Text::from_plain("h")] },
        ),
    ] {
        with(&body(&json!({"tool_choice": choice})), |request| {
            assert_eq!(request.tool_choice, Some(expected), "{choice}");
        });
    }
    let schema = |name: Option<&'static str>, strict| Format::Schema {
        name: name.map(Text::from_plain),
        description: None,
        schema: Raw::from_written(r#"{"type":"object"}"#.to_owned()),
        strict,
    };
    for (format, expected) in [
        (json!({"type": "text"}), Format::Text),
        (json!({"type": "json_object"}), Format::Json),
        (
            json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}),
            schema(Some("n"), true),
        ),
        (json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}), schema(None, false)),
    ] {
        with(&body(&json!({"response_format": format})), |request| assert_eq!(request.format, expected));
    }
    let place = json!({"web_search_options": {"search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Rome"}}}});
    with(&body(&place), |request| {
        let search = request.web_search.unwrap();
        assert_eq!(search.location.unwrap().as_str(), r#"{"city":"Rome"}"#);
        assert_eq!(request.unknown, [Text::from_plain("web_search_options.search_context_size")]);
    });
}

#[test]
fn the_form_of_old_is_read_as_tools() {
    let request = json!({
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
        ],
    });
    with(&request, |request| {
        assert!(request.legacy_functions);
        assert_eq!(request.tools[0].name, Text::from_plain("f"));
        assert_eq!(request.tool_choice, Some(ToolChoice::Named(Text::from_plain("f"))));
        let Content::ToolCall(call) = &request.turns[1].parts[0].content else { panic!("a call") };
        let Content::ToolResult(result) = &request.turns[2].parts[0].content else { panic!("a result") };
        assert_eq!((&call.id, &result.call_id), (&None, &None));
        assert_eq!(result.name, Some(Text::from_plain("f")));
    });
}

#[test]
fn signatures_come_back_from_the_client() {
    let proof = |vendor, data: &'static str| Proof { vendor, item_id: None, data: Text::from_plain(data) };
    let sealed = proof(Vendor::Google, "sig").seal(Vendor::Other, &key()).decode().unwrap().into_owned();
    for (extra, expected) in [
        (json!({"gateway": {"signature": sealed}}), Some(proof(Vendor::Google, "sig"))),
        (json!({"gateway": {"signature": "gw1.g.x.y"}}), None),
        (json!({"google": {"thought_signature": "abc"}}), Some(proof(Vendor::Google, "abc"))),
        (json!({}), None),
    ] {
        let request = json!({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}, "extra_content": extra}]}]});
        with(&request, |request| {
            let Content::ToolCall(call) = &request.turns[0].parts[0].content else { panic!("a call") };
            assert_eq!(call.proof, expected, "{extra}");
        });
    }
    // Another server's details: their words count, their proofs are of no use.
    let request = json!({"messages": [{"role": "assistant", "content": "a", "reasoning_details": [
        {"type": "reasoning.text", "text": "b", "signature": "x", "format": "anthropic-claude-v1", "index": 0}]}]});
    with(&request, |request| assert_eq!(request.turns[0].parts, [thought("b"), said("a")]));
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let message = |message: Value| json!({"messages": [message]});
    let part = |part: Value| message(json!({"role": "user", "content": [part]}));
    let cases = [
        (json!({"model": "m"}), "messages", "is required"),
        (json!({"messages": []}), "messages", "must not be empty"),
        (json!({"messages": "hi"}), "messages", "must be an array, found a string"),
        (message(json!({"content": "x"})), "messages[0].role", "is required"),
        (message(json!({"role": "robot", "content": "x"})), "messages[0].role", "must be system"),
        (message(json!({"role": "user"})), "messages[0].content", "is required"),
        (message(json!({"role": "user", "content": 3})), "messages[0].content", "must be a string or a list"),
        (message(json!({"role": "tool", "content": "x"})), "messages[0].tool_call_id", "is required"),
        (message(json!({"role": "function", "content": "x"})), "messages[0].name", "is required"),
        (part(json!({"text": "x"})), "messages[0].content[0].type", "is required"),
        (part(json!({"type": "text"})), "messages[0].content[0].text", "is required"),
        (
            part(json!({"type": "image_url", "image_url": {}})),
            "messages[0].content[0].image_url.url",
            "is required",
        ),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png,x"}})),
            "messages[0].content[0].image_url.url",
            "not in base64",
        ),
        (part(json!({"type": "file", "file": {}})), "messages[0].content[0].file", "needs `file_id`"),
        (
            part(json!({"type": "text", "text": "x", "cache_control": {"ttl": "2h"}})),
            "messages[0].content[0].cache_control.ttl",
            "must be 5m",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f"}}]}),
            ),
            "messages[0].tool_calls[0].id",
            "is required",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {}}}]}),
            ),
            "messages[0].tool_calls[0].function.arguments",
            "must be a string, found an object",
        ),
        (body(&json!({"temperature": "hot"})), "temperature", "must be a number"),
        (body(&json!({"max_tokens": -1})), "max_tokens", "must be a whole number"),
        (body(&json!({"n": 0})), "n", "must be at least 1"),
        (body(&json!({"top_logprobs": 2})), "top_logprobs", "needs `logprobs`"),
        (body(&json!({"stop": [1]})), "stop[0]", "must be a string"),
        (body(&json!({"stream": "yes"})), "stream", "must be a boolean"),
        (body(&json!({"tools": [{"type": "code_interpreter"}]})), "tools[0].type", "built in"),
        (body(&json!({"tools": [{"type": "function"}]})), "tools[0].function", "is required"),
        (
            body(&json!({"tools": [{"type": "function", "function": {}}]})),
            "tools[0].function.name",
            "is required",
        ),
        (body(&json!({"tool_choice": "maybe"})), "tool_choice", "must be none"),
        (body(&json!({"tool_choice": {"type": "function"}})), "tool_choice.function", "is required"),
        (body(&json!({"response_format": {"type": "yaml"}})), "response_format.type", "must be text"),
        (body(&json!({"reasoning_effort": "huge"})), "reasoning_effort", "must be one of"),
    ];
    for (body, field, problem) in cases {
        let text = body.to_string();
        let bad = read_request(text.as_bytes(), &key()).unwrap_err();
        assert_eq!(bad.field, field, "{text}");
        assert!(bad.problem.contains(problem), "{text}: {bad}");
    }
    for text in [
        "",
        "[]",
        "{",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}",
        "{\"messages\":[],\"messages\":[]}",
    ] {
        assert!(read_request(text.as_bytes(), &key()).is_err(), "{text}");
    }
}

#[test]
fn unknown_members_are_noted_once_and_not_without_end() {
    let many: String = (0..1_000).map(|index| format!(r#","x{index}":1"#)).collect();
    for (more, count) in [("", 1), (many.as_str(), DROPPED_NAMES_MAX)] {
        let message = r#"{"role":"user","content":"a","zzz":1}"#;
        let text = format!(r#"{{"messages":[{message},{message}]{more}}}"#);
        let request = read_request(text.as_bytes(), &key()).unwrap();
        assert_eq!(request.unknown.len(), count);
    }
    let text = r#"{"messages":[{"role":"user","content":"a","zzz":1}]}"#;
    assert_eq!(read_request(text.as_bytes(), &key()).unwrap().unknown, [Text::from_plain("messages[].zzz")]);
}
