//! Requests as servers get them: what is carried, changed, dropped, refused.

use serde_json::{Value, json};

use super::*;
use crate::dialect::ir::{
    Arguments, Document, Media, MediaKind, Part, Proof, Raw, Reasoning, Source, SummaryWish, ToolCall,
    ToolResult, Turn, WebSearch,
};
use crate::dialect::openai_chat::testing::{call, said, target, thought};

/// What is written of `request` for `target`, what the report says and what is to be undone.
fn written(request: &Request<'_>, target: &TargetModel<'_>) -> Result<(Value, String, Undo), BadRequest> {
    let mut losses = Losses::new(Dialect::OpenAiChat, false);
    let mut out = Vec::new();
    let undo = write_request(request, target, &mut losses, &mut out)?;
    let body = serde_json::from_slice(&out)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
    Ok((body, losses.header_value(), undo))
}

fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role, name: None, parts }
}

fn with_turns(turns: Vec<Turn<'static>>) -> Request<'static> {
    Request { turns, ..Request::default() }
}

fn asking() -> Request<'static> {
    with_turns(vec![turn(Role::User, vec![said("hi")])])
}

fn result(
    id: Option<&'static str>,
    name: Option<&'static str>,
    parts: Vec<Part<'static>>,
) -> ToolResult<'static> {
    ToolResult {
        call_id: id.map(Text::from_plain),
        name: name.map(Text::from_plain),
        parts,
        object: None,
        is_error: false,
        kind: CallKind::Function,
    }
}

fn image(source: Source<'static>) -> Part<'static> {
    Content::Media(Media { kind: MediaKind::Image, source, detail: None }).into()
}

fn png() -> Part<'static> {
    image(Source::Base64 { media_type: Text::from_plain("image/png"), data: Text::from_plain("AAAA") })
}

const GPT: &str = "gpt-4.1";

#[test]
fn the_conversation_is_written_in_order() {
    let request = Request {
        system: vec![said("a"), said("b")],
        stream: true,
        ..with_turns(vec![
            turn(Role::User, vec![said("c"), png()]),
            turn(
                Role::Assistant,
                vec![said("d"), call("1", "f", ""), said("e"), call("2", "g", r#"{"x":1}"#)],
            ),
            turn(
                Role::User,
                vec![
                    Content::ToolResult(result(Some("1"), None, vec![said("r1"), png()])).into(),
                    Content::ToolResult(result(Some("2"), None, vec![])).into(),
                    said("f"),
                ],
            ),
            turn(Role::System, vec![said("g")]),
            turn(Role::Assistant, vec![Content::Refusal(Text::from_plain("no")).into()]),
            turn(Role::User, vec![]),
        ])
    };
    let (body, report, _) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let messages = json!([
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, picture]},
        {"role": "assistant", "content": "de", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{\"x\":1}"}},
        ]},
        {"role": "tool", "tool_call_id": "1", "content": [
            {"type": "text", "text": "r1"}, {"type": "text", "text": "[image 1]"}]},
        {"role": "tool", "tool_call_id": "2", "content": ""},
        {"role": "user", "content": [picture, {"type": "text", "text": "f"}]},
        {"role": "system", "content": "g"},
        {"role": "assistant", "content": null, "refusal": "no"},
        {"role": "user", "content": ""},
    ]);
    assert_eq!(body["messages"], messages);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert_eq!(body["model"], GPT);
    assert_eq!(report, "changed=tool_result_media");
}

#[test]
fn results_stand_behind_their_calls_whatever_turn_they_are_in() {
    let calls = vec![call("1", "f", "{}"), call("2", "g", "{}")];
    let request = with_turns(vec![
        turn(Role::Assistant, calls),
        turn(Role::User, vec![Content::ToolResult(result(Some("1"), None, vec![png()])).into()]),
        turn(
            Role::User,
            vec![Content::ToolResult(result(Some("2"), None, vec![said("r")])).into(), said("x")],
        ),
        turn(Role::User, vec![said("y")]),
    ]);
    let (body, ..) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    let roles: Vec<&str> =
        body["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user", "user", "user"]);
}

#[test]
fn calls_without_ids_get_one_that_their_results_have_too() {
    let bare = |name: &'static str| -> Part<'static> {
        Content::ToolCall(ToolCall {
            id: None,
            name: Text::from_plain(name),
            arguments: Arguments::Object(Raw::from_written(r#"{ "a" : 1 }"#.to_owned())),
            kind: CallKind::Function,
            proof: None,
        })
        .into()
    };
    let answer = |name| Content::ToolResult(result(None, Some(name), vec![said("r")])).into();
    let request = with_turns(vec![
        turn(Role::Assistant, vec![bare("f"), bare("g"), bare("f")]),
        turn(Role::User, vec![answer("g"), answer("f"), answer("f")]),
        turn(Role::Assistant, vec![bare("f")]),
        turn(Role::User, vec![answer("f")]),
    ]);
    let (body, ..) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    let ids = |message: usize| body["messages"][message]["tool_call_id"].as_str().unwrap().to_owned();
    let sent = |message: usize, call: usize| {
        body["messages"][message]["tool_calls"][call]["id"].as_str().unwrap().to_owned()
    };
    assert_eq!((ids(1), ids(2), ids(3)), (sent(0, 1), sent(0, 0), sent(0, 2)));
    assert_eq!(ids(5), sent(4, 0));
    assert_eq!(body["messages"][0]["tool_calls"][0]["function"]["arguments"], r#"{"a":1}"#);
    let unasked = with_turns(vec![turn(Role::User, vec![answer("h")])]);
    assert_eq!(written(&unasked, &target(GPT, Vendor::OpenAi)).unwrap_err().field, "h");
}

#[test]
fn ids_fit_the_server() {
    let long = "toolu_".to_owned() + &"x".repeat(40);
    for (id, name, vendor, expected) in [
        ("toolu_1", GPT, Vendor::OpenAi, Some("toolu_1")),
        (long.as_str(), GPT, Vendor::OpenAi, None),
        (long.as_str(), "llama3.3", Vendor::Other, Some(long.as_str())),
        ("abc123XYZ", "mistral-large-latest", Vendor::Other, Some("abc123XYZ")),
        ("toolu_1", "mistral-large-latest", Vendor::Other, None),
    ] {
        let request = with_turns(vec![
            turn(Role::Assistant, vec![call(id, "f", "{}")]),
            turn(
                Role::User,
                vec![
                    Content::ToolResult(ToolResult {
                        call_id: Some(Text::from(id.to_owned())),
                        ..result(None, None, vec![])
                    })
                    .into(),
                ],
            ),
        ]);
        let (body, ..) = written(&request, &target(name, vendor)).unwrap();
        let sent = body["messages"][0]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!(body["messages"][1]["tool_call_id"], sent);
        match expected {
            Some(expected) => assert_eq!(sent, expected),
            None => {
                assert!(sent.len() <= 40 && sent != id, "{sent}");
                let is_nine = sent.len() == 9 && sent.bytes().all(|byte| byte.is_ascii_alphanumeric());
                assert!(vendor == Vendor::OpenAi || is_nine, "{sent}");
            }
        }
    }
}

#[test]
fn failed_calls_say_so() {
    for (parts, object, content) in [
        (vec![said("no such file")], None, "Error: no such file"),
        (vec![said("ERROR 5")], None, "ERROR 5"),
        (vec![], None, "Error"),
        (vec![], Some(r#"{"code": 5}"#), "Error: {\"code\":5}"),
    ] {
        let failed = ToolResult {
            is_error: true,
            object: object.map(|json: &str| Raw::from_written(json.to_owned())),
            ..result(Some("1"), None, parts)
        };
        let request = with_turns(vec![turn(Role::User, vec![Content::ToolResult(failed).into()])]);
        let (body, report, _) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
        assert_eq!(body["messages"][0]["content"], content);
        assert_eq!(report, "changed=is_error");
    }
}

#[test]
fn documents_become_files_or_text() {
    let document = |source, title: Option<&'static str>| Document {
        source,
        title: title.map(Text::from_plain),
        context: None,
        citations: false,
    };
    let pdf = || Source::Base64 {
        media_type: Text::from_plain("application/pdf"),
        data: Text::from_plain("JVBERi0"),
    };
    let text = || Source::Text(Text::from_plain("body"));
    let cases = [
        (
            document(pdf(), None),
            json!([{"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0"}}]),
            "",
        ),
        (document(text(), Some("Title")), json!("Title\nbody"), "changed=document_text"),
        (
            Document { context: Some(Text::from_plain("about")), citations: true, ..document(text(), None) },
            json!([{"type": "text", "text": "about"}, {"type": "text", "text": "body"}]),
            "dropped=citations; changed=document_context,document_text",
        ),
    ];
    for (document, content, expected) in cases {
        let request = with_turns(vec![turn(Role::User, vec![Content::Document(document).into()])]);
        let (body, report, _) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
        assert_eq!((&body["messages"][0]["content"], report.as_str()), (&content, expected));
    }
    let found = Content::SearchResult {
        title: Text::from_plain("T"),
        source: Text::from_plain("https://x"),
        text: Text::from_plain("body"),
    };
    let request = with_turns(vec![turn(Role::User, vec![found.into()])]);
    let (body, report, _) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    assert_eq!(body["messages"][0]["content"], "T\nhttps://x\n\nbody");
    assert_eq!(report, "changed=search_result");
}

#[test]
fn what_chat_cannot_say_is_refused_by_name() {
    let media =
        |kind, source| -> Part<'static> { Content::Media(Media { kind, source, detail: None }).into() };
    let base64 = |media_type| Source::Base64 {
        media_type: Text::from_plain(media_type),
        data: Text::from_plain("AAAA"),
    };
    let url = || Source::Url(Text::from_plain("https://x"));
    let user = |part| with_turns(vec![turn(Role::User, vec![part])]);
    let document = |source| -> Part<'static> {
        Content::Document(Document { source, title: None, context: None, citations: false }).into()
    };
    let setting = |feature| Request {
        settings: vec![Setting { feature, value: Raw::from_written("\"x\"".to_owned()) }],
        ..asking()
    };
    let stops = |count| Request { stop: vec![Text::from_plain("x"); count], ..asking() };
    for (request, field) in [
        (user(media(MediaKind::Video, base64("video/mp4"))), "video"),
        (user(media(MediaKind::Audio, base64("audio/flac"))), "input_audio"),
        (user(media(MediaKind::Audio, url())), "input_audio"),
        (user(media(MediaKind::Image, Source::File(Text::from_plain("f")))), "file_id"),
        (user(document(url())), "document_url"),
        (user(document(Source::File(Text::from_plain("f")))), "file_id"),
        (user(Content::Unknown(Text::from_plain("container_upload")).into()), "container_upload"),
        (with_turns(vec![turn(Role::Assistant, vec![png()])]), "assistant_image"),
        (setting(Feature::PreviousResponse), "previous_response_id"),
        (setting(Feature::CachedContent), "cachedContent"),
        (setting(Feature::Container), "container"),
        (stops(5), "stop"),
    ] {
        assert_eq!(written(&request, &target(GPT, Vendor::OpenAi)).unwrap_err().field, field);
    }
    assert_eq!(written(&stops(1), &target("o4-mini", Vendor::OpenAi)).unwrap_err().field, "stop");
    assert!(written(&stops(4), &target("o4-mini-like", Vendor::Other)).is_ok());
}

#[test]
fn settings_follow_the_models_rules() {
    let number = |feature, digits: &str| Setting { feature, value: Raw::from_written(digits.to_owned()) };
    let request = |effort| Request {
        output_tokens_max: Some(100),
        end_user: Some(Text::from_plain("u1")),
        reasoning: Reasoning { effort, ..Reasoning::default() },
        settings: vec![
            number(Feature::Temperature, "0.50"),
            number(Feature::TopP, "1"),
            number(Feature::TopK, "40"),
            number(Feature::Seed, "7"),
            number(Feature::Logprobs, "2"),
            number(Feature::Metadata, r#"{"a":"b"}"#),
            number(Feature::PromptCacheKey, r#""k""#),
            number(Feature::ServiceTier, r#""flex""#),
            number(Feature::Store, "false"),
        ],
        ..asking()
    };
    let bare = |mut body: Value| {
        let body = body.as_object_mut().unwrap();
        let _ = ["model", "messages"].map(|name| body.remove(name));
        json!(body)
    };
    let cases = [
        (
            (GPT, Vendor::OpenAi, None),
            json!({"max_completion_tokens": 100, "safety_identifier": "u1", "temperature": 0.50, "top_p": 1, "seed": 7,
                "logprobs": true, "top_logprobs": 2, "metadata": {"a": "b"}, "prompt_cache_key": "k", "service_tier": "flex"}),
            "dropped=top_k",
        ),
        (
            ("gpt-5", Vendor::OpenAi, Some(Effort::Low)),
            json!({"max_completion_tokens": 100, "safety_identifier": "u1", "reasoning_effort": "low", "seed": 7,
                "logprobs": true, "top_logprobs": 2, "metadata": {"a": "b"}, "prompt_cache_key": "k", "service_tier": "flex"}),
            "dropped=temperature,top_k",
        ),
        (
            ("gpt-5.2", Vendor::OpenAi, Some(Effort::None)),
            json!({"max_completion_tokens": 100, "safety_identifier": "u1", "reasoning_effort": "none", "temperature": 0.50,
                "top_p": 1, "seed": 7, "logprobs": true, "top_logprobs": 2, "metadata": {"a": "b"}, "prompt_cache_key": "k",
                "service_tier": "flex"}),
            "dropped=top_k",
        ),
        (
            ("mistral-small-latest", Vendor::Other, None),
            json!({"max_tokens": 100, "temperature": 0.50, "top_p": 1, "random_seed": 7, "logprobs": true, "top_logprobs": 2}),
            "dropped=user,top_k,metadata",
        ),
        (
            ("qwen3", Vendor::Other, Some(Effort::High)),
            json!({"max_tokens": 100, "user": "u1", "reasoning_effort": "high", "temperature": 0.50, "top_p": 1, "seed": 7,
                "logprobs": true, "top_logprobs": 2}),
            "dropped=top_k,metadata",
        ),
    ];
    for ((name, vendor, effort), expected, report) in cases {
        let (body, said, _) = written(&request(effort), &target(name, vendor)).unwrap();
        assert_eq!((bare(body), said.as_str()), (expected, report), "{name}");
    }
}

#[test]
fn a_long_id_of_an_end_user_fits_openai() {
    let long = "u".repeat(150);
    for (vendor, expected, report) in
        [(Vendor::OpenAi, None, "changed=user"), (Vendor::Other, Some(&long), "")]
    {
        let request = Request { end_user: Some(Text::from(long.clone())), ..asking() };
        let (body, said, _) = written(&request, &target("m", vendor)).unwrap();
        match expected {
            Some(expected) => assert_eq!(body["user"], *expected),
            None => assert_eq!(body["safety_identifier"].as_str().unwrap().len(), 64),
        }
        assert_eq!(said, report);
    }
}

#[test]
fn how_much_to_think_is_said_in_words() {
    let reasoning =
        |effort, budget_tokens| Reasoning { effort, budget_tokens, show: Some(SummaryWish::Auto) };
    for (reasoning, name, vendor, word, report) in [
        (reasoning(None, None), "gpt-5", Vendor::OpenAi, None, ""),
        (reasoning(Some(Effort::Max), None), "gpt-5.6", Vendor::OpenAi, Some("max"), ""),
        (
            reasoning(Some(Effort::Max), None),
            "gpt-5",
            Vendor::OpenAi,
            Some("high"),
            "changed=reasoning_effort",
        ),
        (reasoning(Some(Effort::Minimal), None), "my-model", Vendor::Other, Some("minimal"), ""),
        (reasoning(None, Some(10_000)), "gpt-5", Vendor::OpenAi, Some("medium"), "changed=thinking_budget"),
        (reasoning(None, Some(0)), "gpt-5.4", Vendor::OpenAi, Some("none"), "changed=thinking_budget"),
        (reasoning(Some(Effort::High), None), GPT, Vendor::OpenAi, None, "dropped=reasoning_effort"),
        (reasoning(Some(Effort::None), None), GPT, Vendor::OpenAi, None, ""),
        (reasoning(None, Some(0)), GPT, Vendor::OpenAi, None, ""),
        (reasoning(Some(Effort::Low), None), "my-deployment", Vendor::OpenAi, Some("low"), ""),
        (reasoning(Some(Effort::Low), None), "gemini-3-flash", Vendor::Google, Some("low"), ""),
    ] {
        let request = Request { reasoning, ..asking() };
        let (body, said, _) = written(&request, &target(name, vendor)).unwrap();
        assert_eq!(
            (body["reasoning_effort"].as_str(), said.as_str()),
            (word, report),
            "{name} {reasoning:?}"
        );
    }
}

fn tool(name: &'static str, schema: &str, strict: bool) -> Tool<'static> {
    Tool {
        name: Text::from_plain(name),
        description: Some(Text::from_plain("d")),
        schema: (!schema.is_empty()).then(|| Raw::from_written(schema.to_owned())),
        strict,
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    }
}

const CLOSED: &str = r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#;

#[test]
fn tools_are_written_and_names_mapped() {
    let request = Request {
        tools: vec![
            tool("f", CLOSED, true),
            tool("mcp.g", r#"{"type":"object"}"#, true),
            tool("h", r#"{"type":"object"}"#, false),
            tool("i", "", false),
        ],
        tool_choice: Some(ToolChoice::Named(Text::from_plain("mcp.g"))),
        parallel_tool_calls: Some(false),
        turns: vec![turn(Role::Assistant, vec![call("1", "mcp.g", "{}")])],
        ..Request::default()
    };
    let (body, report, undo) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    let sent = body["tools"][1]["function"]["name"].as_str().unwrap();
    assert_eq!(undo.tool_names, [(sent.to_owned(), "mcp.g".to_owned())]);
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": sent}}));
    assert_eq!(body["messages"][0]["tool_calls"][0]["function"]["name"], sent);
    assert_eq!(body["parallel_tool_calls"], false);
    let functions: Vec<&Value> =
        body["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]).collect();
    let closed: Value = serde_json::from_str(CLOSED).unwrap();
    assert_eq!(functions[0], &json!({"name": "f", "description": "d", "parameters": closed, "strict": true}));
    assert_eq!(functions[1], &json!({"name": sent, "description": "d", "parameters": {"type": "object"}}));
    assert_eq!(functions[2]["parameters"], json!({"type": "object"}));
    assert_eq!(functions[3], &json!({"name": "i", "description": "d"}));
    assert_eq!(report, "changed=strict");
}

#[test]
fn custom_tools_become_functions_where_they_are_unknown() {
    let grammar = r#"{"syntax":"lark","definition":"x"}"#;
    let custom = Content::ToolCall(ToolCall {
        id: Some(Text::from_plain("1")),
        name: Text::from_plain("patch"),
        arguments: Arguments::Text(Text::from_plain("*** \"Begin\"")),
        kind: CallKind::Custom,
        proof: None,
    });
    let request = Request {
        tools: vec![Tool {
            kind: CallKind::Custom,
            grammar: Some(Raw::from_written(grammar.to_owned())),
            ..tool("patch", "", false)
        }],
        tool_choice: Some(ToolChoice::Named(Text::from_plain("patch"))),
        turns: vec![turn(Role::Assistant, vec![custom.into()])],
        ..Request::default()
    };
    let (body, report, undo) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    let grammar: Value = serde_json::from_str(grammar).unwrap();
    let format = json!({"type": "grammar", "grammar": grammar});
    let expected =
        json!({"type": "custom", "custom": {"name": "patch", "description": "d", "format": format}});
    assert_eq!(body["tools"][0], expected);
    assert_eq!(body["tool_choice"], json!({"type": "custom", "custom": {"name": "patch"}}));
    let sent = json!({"id": "1", "type": "custom", "custom": {"name": "patch", "input": "*** \"Begin\""}});
    assert_eq!(body["messages"][0]["tool_calls"][0], sent);
    assert_eq!((report.as_str(), undo), ("", Undo::default()));

    let (body, report, undo) = written(&request, &target("qwen3", Vendor::Other)).unwrap();
    assert_eq!(body["tools"][0]["function"]["parameters"]["required"], json!(["input"]));
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "patch"}}));
    let arguments = body["messages"][0]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"input": "*** \"Begin\""}));
    assert_eq!(report, "dropped=grammar; changed=custom_tool");
    assert_eq!(undo.custom_tools, ["patch"]);
}

#[test]
fn choices_are_written_in_the_servers_words() {
    let allowed = || ToolChoice::Allowed { required: true, names: vec![Text::from_plain("g")] };
    let openai = Vendor::OpenAi;
    for (choice, vendor, expected, tools, report) in [
        (ToolChoice::Auto, openai, json!("auto"), 2, ""),
        (ToolChoice::None, openai, json!("none"), 2, ""),
        (ToolChoice::Required, openai, json!("required"), 2, ""),
        (
            allowed(),
            openai,
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
                "tools": [{"type": "function", "function": {"name": "g"}}]}}),
            2,
            "",
        ),
        (allowed(), Vendor::Other, json!("required"), 1, "changed=allowed_tools"),
    ] {
        let request = Request {
            tools: vec![tool("f", CLOSED, false), tool("g", CLOSED, false)],
            tool_choice: Some(choice),
            ..asking()
        };
        let (body, said, _) = written(&request, &target(GPT, vendor)).unwrap();
        let count = body["tools"].as_array().unwrap().len();
        assert_eq!((&body["tool_choice"], count, said.as_str()), (&expected, tools, report));
    }
    let without =
        Request { tool_choice: Some(ToolChoice::Auto), parallel_tool_calls: Some(true), ..asking() };
    let (body, ..) = written(&without, &target(GPT, openai)).unwrap();
    assert!(body["tool_choice"].is_null() && body["parallel_tool_calls"].is_null(), "no tools, no choice");
}

#[test]
fn formats_are_strict_where_their_schema_fits() {
    let schema = |name: Option<&'static str>, schema: &str, strict| Format::Schema {
        name: name.map(Text::from_plain),
        description: None,
        schema: Raw::from_written(schema.to_owned()),
        strict,
    };
    let closed: Value = serde_json::from_str(CLOSED).unwrap();
    let named = |name: &str, schema: &Value, strict: bool| json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}});
    for (format, expected, report) in [
        (Format::Text, Value::Null, ""),
        (Format::Json, json!({"type": "json_object"}), ""),
        (schema(None, CLOSED, true), named("response", &closed, true), ""),
        (schema(Some("a b.c"), CLOSED, false), named("a_b_c", &closed, false), ""),
        (schema(None, "{}", true), named("response", &json!({}), false), "changed=format_strict"),
    ] {
        let (body, said, _) = written(&Request { format, ..asking() }, &target(GPT, Vendor::OpenAi)).unwrap();
        assert_eq!((&body["response_format"], said.as_str()), (&expected, report));
    }
}

#[test]
fn cache_marks_go_to_models_that_take_them() {
    let marked = |mark| Part { cache: Some(mark), ..said("a") };
    let request = || Request {
        system: vec![marked(CacheMark::OneHour), said("b")],
        ..with_turns(vec![turn(Role::User, vec![marked(CacheMark::Default)])])
    };
    let (body, report, _) = written(&request(), &target("gpt-5.6", Vendor::OpenAi)).unwrap();
    let expected = json!([
        {"role": "system", "content": [
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
            {"type": "text", "text": "b"}]},
        {"role": "user", "content": [
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
    ]);
    assert_eq!((&body["messages"], report.as_str()), (&expected, "changed=cache_ttl"));
    for (name, vendor) in [(GPT, Vendor::OpenAi), ("gpt-5.6", Vendor::Other)] {
        let (body, report, _) = written(&request(), &target(name, vendor)).unwrap();
        let expected = json!([{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "a"}]);
        assert_eq!((&body["messages"], report.as_str()), (&expected, ""));
    }
    let many = with_turns(vec![turn(Role::User, vec![marked(CacheMark::Default); 6])]);
    let (body, ..) = written(&many, &target("gpt-5.6", Vendor::OpenAi)).unwrap();
    assert_eq!(body.to_string().matches("breakpoint").count(), CACHE_MARKS_MAX);
}

#[test]
fn thoughts_go_where_they_came_from() {
    let proof = |vendor| Proof { vendor, item_id: None, data: Text::from_plain("sig") };
    let signed = |vendor| -> Part<'static> {
        let text = Text::from_plain("hm");
        Content::Thinking { text, proof: Some(proof(vendor)), redacted: false }.into()
    };
    let called = |vendor| -> Part<'static> {
        Content::ToolCall(ToolCall {
            id: Some(Text::from_plain("1")),
            name: Text::from_plain("f"),
            arguments: Arguments::Text(Text::from_plain("{}")),
            kind: CallKind::Function,
            proof: Some(proof(vendor)),
        })
        .into()
    };
    let google = |signature: &str| json!({"google": {"thought_signature": signature}});
    let cases = [
        (
            vec![thought("hm"), said("a")],
            "deepseek-chat",
            Vendor::Other,
            json!({"reasoning_content": "hm"}),
            "",
        ),
        (vec![thought("hm"), said("a")], GPT, Vendor::OpenAi, json!({}), "dropped=thinking"),
        (vec![signed(Vendor::Anthropic), said("a")], "qwen3", Vendor::Other, json!({}), "dropped=thinking"),
        (vec![called(Vendor::Google)], "gemini-3-pro", Vendor::Google, google("sig"), ""),
        (vec![called(Vendor::Google)], GPT, Vendor::OpenAi, Value::Null, "dropped=thinking"),
        (
            vec![call("1", "f", "{}")],
            "google/gemini-3-pro",
            Vendor::Google,
            google("skip_thought_signature_validator"),
            "",
        ),
        (vec![call("1", "f", "{}")], "gemini-2.5-pro", Vendor::Google, Value::Null, ""),
    ];
    for (parts, name, vendor, expected, report) in cases {
        let request = with_turns(vec![turn(Role::Assistant, parts), turn(Role::User, vec![said("b")])]);
        let (body, said, _) = written(&request, &target(name, vendor)).unwrap();
        let message = &body["messages"][0];
        let carried = match &message["tool_calls"] {
            Value::Null => match &message["reasoning_content"] {
                Value::Null => json!({}),
                text => json!({"reasoning_content": text}),
            },
            calls => calls[0]["extra_content"].clone(),
        };
        assert_eq!((carried, said.as_str()), (expected, report), "{name}");
    }
    // A turn of which nothing is left is left out.
    let request =
        with_turns(vec![turn(Role::Assistant, vec![thought("hm")]), turn(Role::User, vec![said("b")])]);
    let (body, ..) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    assert_eq!(body["messages"], json!([{"role": "user", "content": "b"}]));
}

#[test]
fn the_rest_is_reported() {
    let request = Request {
        unknown: vec![Text::from_plain("mcp_servers")],
        web_search: Some(WebSearch {
            allowed_domains: vec![Text::from_plain("x.org")],
            location: Some(Raw::from_written(r#"{"city":"Rome"}"#.to_owned())),
        }),
        settings: vec![Setting {
            feature: Feature::SafetySettings,
            value: Raw::from_written("[]".to_owned()),
        }],
        ..with_turns(vec![turn(Role::User, vec![said("a")]), turn(Role::Assistant, vec![said("{")])])
    };
    let (body, report, _) = written(&request, &target(GPT, Vendor::OpenAi)).unwrap();
    let place = json!({"user_location": {"type": "approximate", "approximate": {"city": "Rome"}}});
    assert_eq!(body["web_search_options"], place);
    assert_eq!(report, "dropped=mcp_servers,web_search.allowed_domains,safetySettings; changed=prefill");
    let mut strict = Losses::new(Dialect::OpenAiChat, true);
    let refused = write_request(&request, &target(GPT, Vendor::OpenAi), &mut strict, &mut Vec::new());
    assert_eq!(refused.unwrap_err().field, "mcp_servers");
}
