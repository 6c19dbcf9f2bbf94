//! Requests as they are read: every kind of field and block, and what is said of wrong ones.

use serde_json::{Value, json};

use super::{read_count_request, read_request};
use crate::dialect::Effort;
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Format, Media, MediaKind, Part, Proof, Raw, Reasoning,
    Request, Role, Setting, Source, SummaryWish, Text, Tool, ToolCall, ToolChoice, ToolResult, Turn, Vendor,
    WebSearch,
};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::proof::ProofKey;

fn key() -> ProofKey {
    ProofKey::new(&[7; 32])
}

fn text(plain: &str) -> Text<'_> {
    Text::from_plain(plain)
}

fn said(plain: &str) -> Part<'_> {
    Content::Text { text: text(plain), citations: Vec::new() }.into()
}

fn raw(json: &str) -> Raw<'_> {
    Raw::from_scanned(json.as_bytes()).unwrap()
}

/// Calls `check` with the request that these members, and a message, make.
fn with(members: Value, check: impl FnOnce(Request<'_>)) {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let body = body.to_string();
    check(read_request(body.as_bytes(), &key()).unwrap_or_else(|bad| panic!("{body}: {bad}")));
}

/// Calls `check` with the parts of one message.
fn with_parts(role: &str, content: Value, check: impl FnOnce(Vec<Part<'_>>)) {
    with(json!({"messages": [{"role": role, "content": content}]}), |mut request| {
        assert_eq!(request.turns.len(), 1);
        check(request.turns.remove(0).parts);
    });
}

#[test]
fn fields_beside_the_conversation_are_read() {
    let members = json!({
        "stream": true, "temperature": 0.50, "top_p": 0.9, "top_k": 40, "stop_sequences": ["\n", "x"],
        "metadata": {"user_id": "u-1"}, "service_tier": "standard_only", "speed": "fast", "container": "c_1",
        "cache_control": {"type": "ephemeral", "ttl": "1h"}, "context_management": {"edits": []},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "B"}],
        "inference_geo": "eu", "unset": null,
    });
    with(members, |request| {
        let setting = |feature, json| Setting { feature, value: raw(json) };
        let expected = Request {
            stream: true,
            stream_usage: true,
            system: vec![Part { cache: Some(CacheMark::Default), ..said("Be brief.") }, said("B")],
            turns: vec![Turn { role: Role::User, name: None, parts: vec![said("Hi")] }],
            output_tokens_max: Some(9),
            stop: vec![text("\n"), text("x")],
            end_user: Some(text("u-1")),
            cache: Some(CacheMark::OneHour),
            settings: vec![
                setting(Feature::Temperature, "0.5"),
                setting(Feature::TopP, "0.9"),
                setting(Feature::TopK, "40"),
                setting(Feature::ServiceTier, "\"default\""),
                setting(Feature::Speed, "\"fast\""),
                setting(Feature::Container, "\"c_1\""),
                setting(Feature::ContextManagement, "{\"edits\":[]}"),
            ],
            unknown: vec![text("inference_geo")],
            ..Request::default()
        };
        assert_eq!(request, expected);
    });
}

#[test]
fn thinking_and_effort_are_read() {
    let reasoning = |effort, budget_tokens, show| Reasoning { effort, budget_tokens, show };
    for (members, expected) in [
        (json!({}), Reasoning::default()),
        (json!({"thinking": {"type": "disabled"}}), reasoning(Some(Effort::None), None, None)),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
            reasoning(None, Some(2048), Some(SummaryWish::Auto)),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}}),
            reasoning(None, Some(2048), Some(SummaryWish::Hidden)),
        ),
        (json!({"thinking": {"type": "adaptive"}}), reasoning(Some(Effort::High), None, None)),
        (
            json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}}),
            reasoning(Some(Effort::XHigh), None, Some(SummaryWish::Auto)),
        ),
        (json!({"output_config": {"effort": "low"}}), reasoning(Some(Effort::Low), None, None)),
        (
            json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}),
            reasoning(Some(Effort::None), None, None),
        ),
    ] {
        let shown = members.to_string();
        with(members, |request| assert_eq!(request.reasoning, expected, "{shown}"));
    }
    with(json!({"thinking": {"type": "between_tools"}}), |request| {
        assert_eq!(request.reasoning, Reasoning::default());
        assert_eq!(request.unknown, [text("thinking.type")]);
    });
}

#[test]
fn tools_and_their_choice_are_read() {
    let members = json!({
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true,
                "cache_control": {"type": "ephemeral", "ttl": "5m"}},
            {"type": "custom", "name": "g", "input_schema": {}, "defer_loading": true},
            {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.com"], "max_uses": 3,
                "blocked_domains": null, "user_location": {"type": "approximate", "city": "Bern", "country": "CH"}},
        ],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
    });
    with(members, |request| {
        let function = |name, description: Option<&'static str>, schema| Tool {
            name: text(name),
            description: description.map(Text::from_plain),
            schema: Some(raw(schema)),
            strict: false,
            kind: CallKind::Function,
            grammar: None,
            cache: None,
        };
        let f = function("f", Some("d"), r#"{"type":"object"}"#);
        assert_eq!(
            request.tools,
            [Tool { strict: true, cache: Some(CacheMark::FiveMinutes), ..f }, function("g", None, "{}")]
        );
        let search = WebSearch {
            allowed_domains: vec![text("a.com")],
            location: Some(raw(r#"{"city":"Bern","country":"CH"}"#)),
        };
        assert_eq!(request.web_search, Some(search));
        assert_eq!(request.tool_choice, Some(ToolChoice::Named(text("f"))));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert_eq!(request.settings, [Setting { feature: Feature::ToolExtras, value: raw("true") }]);
        assert_eq!(request.unknown, [text("max_uses")]);
    });
    for (kind, choice) in
        [("auto", ToolChoice::Auto), ("any", ToolChoice::Required), ("none", ToolChoice::None)]
    {
        with(json!({"tool_choice": {"type": kind}}), |request| {
            assert_eq!((request.tool_choice, request.parallel_tool_calls), (Some(choice), None));
        });
    }
}

#[test]
fn schemas_for_the_answer_are_read_under_both_names() {
    for members in [
        json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        json!({"output_format": {"schema": {"type": "object"}}}),
    ] {
        with(members, |request| {
            let schema = raw(r#"{"type":"object"}"#);
            assert_eq!(
                request.format,
                Format::Schema { name: None, description: None, schema, strict: true }
            );
        });
    }
}

#[test]
fn blocks_of_the_user_are_read() {
    let image = |source| Content::Media(Media { kind: MediaKind::Image, source, detail: None }).into();
    let document = |source| Document { source, title: None, context: None, citations: false };
    let base64 = |media_type, data| Source::Base64 { media_type: text(media_type), data: text(data) };
    let content = json!([
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "image", "source": {"type": "url", "url": "data:image/gif;base64,BBBB"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "CCCC"},
            "title": "T", "context": "C", "citations": {"enabled": true}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}},
        {"type": "search_result", "title": "T", "source": "https://s", "content": [{"type": "text", "text": "r"}]},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "tool_result", "tool_use_id": "t1", "content": "done"},
        {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
            {"type": "text", "text": "no"}, {"type": "image", "source": {"type": "url", "url": "https://a"}}]},
        {"type": "tool_result", "tool_use_id": "t3"},
    ]);
    with_parts("user", content, |parts| {
        let result = |id, parts, is_error| {
            let (call_id, kind) = (Some(text(id)), CallKind::Function);
            Content::ToolResult(ToolResult { call_id, name: None, parts, object: None, is_error, kind })
                .into()
        };
        let pdf = Document {
            title: Some(text("T")),
            context: Some(text("C")),
            citations: true,
            ..document(base64("application/pdf", "CCCC"))
        };
        let expected: Vec<Part<'_>> = vec![
            result("t1", vec![said("done")], false),
            result("t2", vec![said("no"), image(Source::Url(text("https://a")))], true),
            result("t3", vec![], false),
            Part { cache: Some(CacheMark::Default), ..said("a") },
            image(base64("image/png", "AAAA")),
            image(Source::Url(text("https://a/b.png"))),
            image(base64("image/gif", "BBBB")),
            image(Source::File(text("file_1"))),
            Content::Document(pdf).into(),
            Content::Document(document(Source::Text(text("plain")))).into(),
            Content::Document(document(Source::Text(text("x\n\ny")))).into(),
            Content::SearchResult { title: text("T"), source: text("https://s"), text: text("r") }.into(),
            Content::Unknown(text("container_upload")).into(),
        ];
        assert_eq!(parts, expected, "results come first");
    });
}

#[test]
fn blocks_of_the_assistant_are_read() {
    let foreign = Proof { vendor: Vendor::OpenAi, item_id: Some(text("rs_1")), data: text("gA==") };
    let on_call = Proof { vendor: Vendor::Google, item_id: Some(text("c1")), data: text("Cg==") };
    let sealed = |proof: &Proof<'_>| proof.seal(Vendor::Anthropic, &key()).escaped().to_owned();
    let forged = sealed(&foreign).replace("gw1.o", "gw1.a");
    let content = json!([
        {"type": "thinking", "thinking": "own", "signature": "Eq=="},
        {"type": "thinking", "thinking": "foreign", "signature": sealed(&foreign)},
        {"type": "thinking", "thinking": "forged", "signature": forged},
        {"type": "thinking", "thinking": "bare", "signature": ""},
        {"type": "redacted_thinking", "data": "Em=="},
        {"type": "text", "text": "t", "citations": [{"type": "page_location"}]},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {}},
        {"type": "compaction", "content": "x"},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
        {"type": "redacted_thinking", "data": sealed(&on_call)},
        {"type": "tool_use", "id": "c2", "name": "f", "input": {}},
        {"type": "redacted_thinking", "data": sealed(&on_call)},
    ]);
    with_parts("assistant", content, |parts| {
        let own = |data| Proof { vendor: Vendor::Anthropic, item_id: None, data: text(data) };
        let thought =
            |plain, proof, redacted| Content::Thinking { text: text(plain), proof, redacted }.into();
        let call = |id, input, proof| {
            let arguments = Arguments::Object(raw(input));
            let (name, kind) = (text("f"), CallKind::Function);
            Content::ToolCall(ToolCall { id: Some(text(id)), name, arguments, kind, proof }).into()
        };
        let expected: Vec<Part<'_>> = vec![
            thought("own", Some(own("Eq==")), false),
            thought("foreign", Some(foreign), false),
            thought("forged", None, false),
            thought("bare", None, false),
            thought("", Some(own("Em==")), true),
            said("t"),
            Content::Unknown(text("bash_code_execution")).into(),
            Content::Unknown(text("compaction")).into(),
            call("c1", r#"{"a":1}"#, Some(on_call.clone())),
            call("c2", "{}", None),
            thought("", Some(on_call), true),
        ];
        assert_eq!(parts, expected);
    });
}

#[test]
fn instructions_in_the_middle_stay_where_they_are() {
    let messages = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": [{"type": "text", "text": "c"}]},
    ]});
    with(messages, |request| {
        let roles: Vec<Role> = request.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::User, Role::System, Role::User]);
    });
}

#[test]
fn counting_tokens_needs_no_limit() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(read_request(body, &key()).unwrap_err().to_string(), "`max_tokens`: is required");
    assert_eq!(read_count_request(body, &key()).unwrap().output_tokens_max, None);
}

#[test]
fn wrong_fields_are_named() {
    fn bad(members: &Value) -> BadRequest {
        let mut body =
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        read_request(body.to_string().as_bytes(), &key()).expect_err(&body.to_string())
    }
    let message = |role: &str, block: Value| json!({"messages": [{"role": role, "content": [block]}]});
    for (members, field) in [
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": {}}), "messages"),
        (json!({"messages": [1]}), "messages[0]"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
        (message("user", json!({"text": "x"})), "messages[0].content[0].type"),
        (message("user", json!({"type": "text"})), "messages[0].content[0].text"),
        (
            message("user", json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
            "messages[0].content[0].type",
        ),
        (
            message("assistant", json!({"type": "tool_result", "tool_use_id": "a"})),
            "messages[0].content[0].type",
        ),
        (
            message("assistant", json!({"type": "tool_use", "id": "a", "name": "f", "input": "x"})),
            "messages[0].content[0].input",
        ),
        (message("user", json!({"type": "image"})), "messages[0].content[0].source"),
        (
            message("user", json!({"type": "image", "source": {"type": "base64", "data": "A"}})),
            "messages[0].content[0].source.media_type",
        ),
        (
            message("user", json!({"type": "image", "source": {"type": "url", "url": "data:x"}})),
            "messages[0].content[0].source.url",
        ),
        (
            message("user", json!({"type": "image", "source": {"type": "ftp"}})),
            "messages[0].content[0].source.type",
        ),
        (
            message("user", json!({"type": "text", "text": "x", "cache_control": {"ttl": "2h"}})),
            "messages[0].content[0].cache_control.ttl",
        ),
        (
            message(
                "user",
                json!({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_result"}]}),
            ),
            "messages[0].content[0].content[0].type",
        ),
        (
            message(
                "user",
                json!({"type": "search_result", "title": "T", "source": "S", "content": [{"type": "image"}]}),
            ),
            "messages[0].content[0].content[0].type",
        ),
        (json!({"system": [{"type": "image", "source": {"type": "url", "url": "x"}}]}), "system[0].type"),
        (json!({"max_tokens": "9"}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"stream": 1}), "stream"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"stop_sequences": ["x", 1]}), "stop_sequences[1]"),
        (json!({"tools": [{"input_schema": {}}]}), "tools[0].name"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema"),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), "tools[0].type"),
        (json!({"mcp_servers": [{"type": "url"}]}), "mcp_servers[0]"),
        (json!({"tool_choice": "auto"}), "tool_choice"),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "all"}}), "tool_choice.type"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"output_config": {"effort": "none"}}), "output_config.effort"),
        (json!({"output_config": {"format": {"type": "xml"}}}), "output_config.format.type"),
    ] {
        assert_eq!(bad(&members).field, field, "{members}");
    }
    let twice = br#"{"max_tokens":1,"messages":[],"max_tokens":2}"#;
    assert_eq!(read_request(twice, &key()).unwrap_err().to_string(), "`max_tokens`: occurs more than once");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = read_request(&body, &key());
    }
}
