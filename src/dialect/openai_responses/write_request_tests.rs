//! Requests to providers: what they say, what is lost.

use serde_json::{Value, json};

use super::super::read_request;
use super::super::support_tests::{key, recordings};
use super::*;
use crate::dialect::ir::{
    Arguments, CallKind, Document, Media, MediaKind, Part, Proof, Raw, Reasoning, Source, Tool, ToolCall,
    ToolChoice, ToolResult, Turn,
};

fn target(name: &str, vendor: Vendor) -> TargetModel<'_> {
    TargetModel {
        name,
        vendor,
        token_limit_param: "max_tokens",
        output_tokens_default: 8192,
        reasoning_field: None,
    }
}

struct Written {
    body: Value,
    report: String,
    undo: Undo,
}

fn write_for(name: &str, vendor: Vendor, request: &Request<'_>) -> Result<Written, BadRequest> {
    let mut losses = Losses::new(Dialect::OpenAiResponses, false);
    let mut out = Vec::new();
    let undo = write_request(request, &target(name, vendor), &mut losses, &mut out)?;
    let body = serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
    Ok(Written { body, report: losses.header_value(), undo })
}

fn write(request: &Request<'_>) -> Written {
    write_for("gpt-5", Vendor::OpenAi, request).unwrap_or_else(|bad| panic!("{bad}"))
}

fn said(text: &'static str) -> Part<'static> {
    Content::Text { text: Text::from_plain(text), citations: Vec::new() }.into()
}

fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role, name: None, parts }
}

fn conversation(turns: Vec<Turn<'static>>) -> Request<'static> {
    Request { turns, ..Request::default() }
}

fn thought(vendor: Vendor, data: &'static str) -> Part<'static> {
    let proof = Proof { vendor, item_id: Some(Text::from_plain("rs_1")), data: Text::from_plain(data) };
    Content::Thinking { text: Text::from_plain("hm"), proof: Some(proof), redacted: false }.into()
}

fn call(id: Option<&'static str>, name: &'static str, arguments: Arguments<'static>) -> Part<'static> {
    let (id, name) = (id.map(Text::from_plain), Text::from_plain(name));
    Content::ToolCall(ToolCall { id, name, arguments, kind: CallKind::Function, proof: None }).into()
}

fn result(id: Option<&'static str>, name: &'static str, parts: Vec<Part<'static>>) -> ToolResult<'static> {
    ToolResult {
        call_id: id.map(Text::from_plain),
        name: Some(Text::from_plain(name)),
        parts,
        object: None,
        is_error: false,
        kind: CallKind::Function,
    }
}

fn object(json: &'static str) -> Arguments<'static> {
    Arguments::Object(Raw::from_scanned(json.as_bytes()).unwrap())
}

fn image() -> Part<'static> {
    let (media_type, data) = (Text::from_plain("image/png"), Text::from_plain("iVBO"));
    let source = Source::Base64 { media_type, data };
    Content::Media(Media { kind: MediaKind::Image, source, detail: Some(Text::from_plain("low")) }).into()
}

#[test]
fn the_conversation_becomes_items() {
    let failed = ToolResult { is_error: true, ..result(Some("c1"), "f", vec![said("no such file")]) };
    let from_gemini = ToolResult {
        object: Some(Raw::from_scanned(br#"{"a": [1, 2]}"#).unwrap()),
        ..result(None, "f", vec![])
    };
    let cases = [
        (
            "texts",
            vec![turn(Role::User, vec![said("Hi")]), turn(Role::Assistant, vec![said("Hello"), said("!")])],
            json!([
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [
                    {"type": "output_text", "text": "Hello", "annotations": []},
                    {"type": "output_text", "text": "!", "annotations": []}]},
            ]),
        ),
        (
            "an image",
            vec![turn(Role::User, vec![said("What?"), image()])],
            json!([{"role": "user", "content": [
                {"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"}]}]),
        ),
        (
            "a thought stands before what it led to",
            vec![turn(
                Role::Assistant,
                vec![
                    thought(Vendor::OpenAi, "gAAA"),
                    said("Let me see."),
                    call(Some("c1"), "f", object("{ \"a\": 1.0 }")),
                    thought(Vendor::OpenAi, "gBBB"),
                ],
            )],
            json!([
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
                 "encrypted_content": "gAAA"},
                {"role": "assistant", "content": "Let me see."},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1.0}"},
            ]),
        ),
        (
            "thoughts of others are left out",
            vec![turn(Role::Assistant, vec![thought(Vendor::Anthropic, "sig"), said("x")])],
            json!([{"role": "assistant", "content": "x"}]),
        ),
        (
            "results",
            vec![
                turn(Role::Assistant, vec![call(Some("c1"), "f", object("{}"))]),
                turn(Role::User, vec![Content::ToolResult(failed).into(), said("go on")]),
            ],
            json!([
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "Error: no such file"},
                {"role": "user", "content": "go on"},
            ]),
        ),
        (
            "results with pictures, and nothing",
            vec![turn(
                Role::User,
                vec![
                    Content::ToolResult(result(Some("c1"), "f", vec![said("see"), image()])).into(),
                    Content::ToolResult(result(Some("c2"), "f", vec![])).into(),
                ],
            )],
            json!([
                {"type": "function_call_output", "call_id": "c1", "output": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"}]},
                {"type": "function_call_output", "call_id": "c2", "output": ""},
            ]),
        ),
        (
            "calls without ids are paired by name and order",
            vec![
                turn(
                    Role::Assistant,
                    vec![
                        call(None, "f", object("{}")),
                        call(None, "g", object("{}")),
                        call(None, "f", object("{}")),
                    ],
                ),
                turn(
                    Role::User,
                    vec![
                        Content::ToolResult(from_gemini).into(),
                        Content::ToolResult(result(None, "f", vec![said("2")])).into(),
                        Content::ToolResult(result(None, "g", vec![said("3")])).into(),
                    ],
                ),
            ],
            json!([
                {"type": "function_call", "call_id": "call_000000000000000000000001", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "call_000000000000000000000002", "name": "g", "arguments": "{}"},
                {"type": "function_call", "call_id": "call_000000000000000000000003", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_000000000000000000000001", "output": "{\"a\":[1,2]}"},
                {"type": "function_call_output", "call_id": "call_000000000000000000000003", "output": "2"},
                {"type": "function_call_output", "call_id": "call_000000000000000000000002", "output": "3"},
            ]),
        ),
    ];
    for (name, turns, input) in cases {
        let written = write(&conversation(turns));
        assert_eq!(written.body["input"], input, "{name}");
    }
    let orphan =
        conversation(vec![turn(Role::User, vec![Content::ToolResult(result(None, "f", vec![])).into()])]);
    let bad = write_for("gpt-5", Vendor::OpenAi, &orphan).map(|written| written.body).unwrap_err();
    assert_eq!(bad.to_string(), "`f`: is the result of a function that was not called before");
}

#[test]
fn long_ids_of_calls_are_replaced_alike() {
    let long: &'static str = "c".repeat(65).leak();
    let written = write(&conversation(vec![
        turn(Role::Assistant, vec![call(Some(long), "f", object("{}"))]),
        turn(Role::User, vec![Content::ToolResult(result(Some(long), "f", vec![])).into()]),
    ]));
    let ids = [&written.body["input"][0]["call_id"], &written.body["input"][1]["call_id"]];
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].as_str().unwrap().len(), 37);
}

#[test]
fn the_system_speaks_through_instructions_unless_it_is_marked() {
    let mut request = conversation(vec![turn(Role::User, vec![said("Hi")])]);
    request.system = vec![said("one"), said("two")];
    assert_eq!(write(&request).body["instructions"], "one\n\ntwo");
    request.system[0].cache = Some(CacheMark::FiveMinutes);
    assert_eq!(write(&request).body["instructions"], "one\n\ntwo", "this model takes no marks");
    let marked = write_for("gpt-5.6-sol", Vendor::OpenAi, &request).unwrap();
    assert_eq!(marked.body.get("instructions"), None);
    let content = json!([
        {"type": "input_text", "text": "one", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        {"type": "input_text", "text": "two"}]);
    assert_eq!(marked.body["input"][0], json!({"role": "system", "content": content}));
    assert_eq!(marked.report, "changed=cache_ttl");
    request.turns.push(turn(Role::System, vec![said("late")]));
    assert_eq!(write(&request).body["input"][1], json!({"role": "system", "content": "late"}));
}

#[test]
fn documents_of_others_become_what_can_be_said() {
    let document = |source, context: Option<&'static str>, citations| {
        let (title, context) = (Some(Text::from_plain("T")), context.map(Text::from_plain));
        Part::from(Content::Document(Document { source, title, context, citations }))
    };
    let text = Text::from_plain;
    let search = Content::SearchResult { title: text("t"), source: text("s"), text: text("body") };
    let pdf = Source::Base64 { media_type: text("application/pdf"), data: text("JVBE") };
    let written = write(&conversation(vec![turn(
        Role::User,
        vec![
            document(Source::Text(text("plain")), None, true),
            document(pdf, Some("old"), false),
            document(Source::Url(text("https://e.com/a.pdf")), None, false),
            search.into(),
        ],
    )]));
    assert_eq!(
        written.body["input"][0]["content"],
        json!([
            {"type": "input_text", "text": "T\nplain"},
            {"type": "input_text", "text": "old"},
            {"type": "input_file", "filename": "T", "file_data": "data:application/pdf;base64,JVBE"},
            {"type": "input_file", "file_url": "https://e.com/a.pdf"},
            {"type": "input_text", "text": "t\ns\n\nbody"},
        ])
    );
    let report = "dropped=citations; changed=document_text,document_context,search_result";
    assert_eq!(written.report, report);
    let refused = [
        (document(Source::File(text("f")), None, false), "file_id"),
        (Content::Unknown(text("container_upload")).into(), "container_upload"),
        (
            Content::Media(Media { kind: MediaKind::Audio, source: Source::Url(text("u")), detail: None })
                .into(),
            "input_audio",
        ),
    ];
    for (part, field) in refused {
        let request = conversation(vec![turn(Role::User, vec![part])]);
        let refused = write_for("gpt-5", Vendor::OpenAi, &request).map(|written| written.body);
        assert_eq!(refused.unwrap_err().field, field);
    }
}

fn setting(feature: Feature, json: &'static str) -> Setting<'static> {
    Setting { feature, value: Raw::from_scanned(json.as_bytes()).unwrap() }
}

#[test]
fn settings_follow_the_table_and_the_model() {
    let with = |settings: Vec<Setting<'static>>| Request { settings, ..Request::default() };
    let sampling = || vec![setting(Feature::Temperature, "0.5"), setting(Feature::TopP, "1.0")];
    let cases = [
        ("gpt-4o", Vendor::OpenAi, with(sampling()), json!({"temperature": 0.5, "top_p": 1.0}), ""),
        ("gpt-5", Vendor::OpenAi, with(sampling()), json!({}), "dropped=temperature"),
        ("grok-4", Vendor::Other, with(sampling()), json!({"temperature": 0.5, "top_p": 1.0}), ""),
        (
            "gpt-5.1",
            Vendor::OpenAi,
            Request {
                reasoning: Reasoning { effort: Some(Effort::None), ..Reasoning::default() },
                ..with(sampling())
            },
            json!({"temperature": 0.5, "top_p": 1.0, "reasoning": {"effort": "none"}}),
            "",
        ),
        (
            "gpt-4o",
            Vendor::OpenAi,
            with(vec![
                setting(Feature::Seed, "1"),
                setting(Feature::Verbosity, "\"low\""),
                setting(Feature::Metadata, r#"{"a":"b"}"#),
                setting(Feature::ServiceTier, "\"standard_only\""),
                setting(Feature::Logprobs, "2"),
                setting(Feature::Store, "true"),
            ]),
            json!({"text": {"verbosity": "low"}, "metadata": {"a": "b"}, "top_logprobs": 2, "store": true,
                "include": ["message.output_text.logprobs"]}),
            "dropped=seed",
        ),
        (
            "gpt-4o",
            Vendor::OpenAi,
            Request {
                reasoning: Reasoning { effort: Some(Effort::High), ..Reasoning::default() },
                output_tokens_max: Some(1),
                unknown: vec![Text::from_plain("odd")],
                ..Request::default()
            },
            json!({"max_output_tokens": 16}),
            "dropped=odd,reasoning_effort; changed=max_tokens",
        ),
        (
            "o3",
            Vendor::OpenAi,
            Request {
                reasoning: Reasoning {
                    effort: None,
                    budget_tokens: Some(5000),
                    show: Some(SummaryWish::Auto),
                },
                end_user: Some(Text::from_plain("u")),
                stream: true,
                ..Request::default()
            },
            json!({"reasoning": {"effort": "medium", "summary": "auto"}, "safety_identifier": "u", "stream": true}),
            "changed=thinking_budget",
        ),
    ];
    for (name, vendor, request, mut expected, report) in cases {
        let written = write_for(name, vendor, &request).unwrap();
        let members = expected.as_object_mut().unwrap();
        members.insert("model".into(), name.into());
        members.insert("input".into(), json!([]));
        members.entry("store").or_insert(json!(false));
        if vendor == Vendor::OpenAi && openai::rules_of(name).reasons {
            members.insert("include".into(), json!(["reasoning.encrypted_content"]));
        }
        assert_eq!(written.body, expected, "{name}");
        assert_eq!(written.report, report, "{name}");
    }
    let refused = [
        (Request { stop: vec![Text::from_plain("x")], ..Request::default() }, "stop"),
        (with(vec![setting(Feature::AnswerCount, "2")]), "n"),
        (with(vec![setting(Feature::BuiltInTool, "\"bash_20250124\"")]), "bash_20250124"),
        (with(vec![setting(Feature::CachedContent, "\"c\"")]), "cachedContent"),
    ];
    for (request, field) in refused {
        let refused = write_for("gpt-5", Vendor::OpenAi, &request).map(|written| written.body);
        assert_eq!(refused.unwrap_err().field, field);
    }
}

fn tool(name: &'static str, schema: Option<&'static str>, strict: bool) -> Tool<'static> {
    Tool {
        name: Text::from_plain(name),
        description: Some(Text::from_plain("d")),
        schema: schema.map(|schema| Raw::from_scanned(schema.as_bytes()).unwrap()),
        strict,
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    }
}

#[test]
fn tools_say_whether_they_are_strict() {
    let closed = r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#;
    let open = r#"{"type":"object","properties":{"a":{}}}"#;
    let empty = tool("e", Some(r#"{"type":"object","properties":{}}"#), false);
    let custom = Tool {
        kind: CallKind::Custom,
        grammar: Some(Raw::from_scanned(br#"{"syntax":"lark","definition":"x"}"#).unwrap()),
        ..tool("g", None, false)
    };
    let request = Request {
        tools: vec![
            tool("a", Some(closed), true),
            tool("b", Some(open), true),
            tool("c.d", Some(open), false),
            tool("n", None, false),
            tool("o", Some(r#"{"type":"object"}"#), false),
            empty,
            custom,
        ],
        tool_choice: Some(ToolChoice::Allowed {
            required: false,
            names: vec![Text::from_plain("a"), Text::from_plain("c.d"), Text::from_plain("g")],
        }),
        parallel_tool_calls: Some(false),
        ..Request::default()
    };
    let written = write(&request);
    let (sent, named) = &written.undo.tool_names[0];
    assert_eq!(named, "c.d");
    let function = |name: &str, parameters: Value, strict: bool| json!({"type": "function", "name": name, "description": "d", "parameters": parameters, "strict": strict});
    let open: Value = serde_json::from_str(open).unwrap();
    let closed: Value = serde_json::from_str(closed).unwrap();
    assert_eq!(
        written.body["tools"],
        json!([
            function("a", closed.clone(), true),
            function("b", open.clone(), false),
            function(sent, open, false),
            function("n", closed, false),
            function("o", json!({"type": "object", "properties": {}}), false),
            function("e", json!({"type": "object", "properties": {}}), false),
            {"type": "custom", "name": "g", "description": "d",
             "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        ])
    );
    assert_eq!(
        written.body["tool_choice"],
        json!({"type": "allowed_tools", "mode": "auto", "tools": [
            {"type": "function", "name": "a"}, {"type": "function", "name": sent}, {"type": "custom", "name": "g"}]})
    );
    assert_eq!(written.body["parallel_tool_calls"], false);
    assert_eq!(written.report, "changed=strict");
}

#[test]
fn recorded_requests_come_back_as_they_were() {
    for recording in recordings() {
        let Some(body) = &recording.request else { continue };
        let id = &recording.id;
        let (request, _) = read_request(body, &key()).unwrap_or_else(|bad| panic!("{id}: {bad}"));
        let mut out = Vec::new();
        let mut losses = Losses::new(Dialect::OpenAiResponses, false);
        let model: Value = serde_json::from_slice(body).unwrap();
        let target = target(model["model"].as_str().unwrap_or("gpt-5"), Vendor::OpenAi);
        match write_request(&request, &target, &mut losses, &mut out) {
            Ok(undo) => {
                assert_eq!(undo, Undo::default(), "{id}");
                let (mut back, _) = read_request(&out, &key()).unwrap_or_else(|bad| panic!("{id}: {bad}"));
                normalise(&mut back);
                let mut request = request.clone();
                normalise(&mut request);
                assert_eq!(back, request, "{id}: {}", losses.header_value());
            }
            // Files, and tools that only OpenAI has.
            Err(bad) => {
                let known = [
                    "file_id",
                    "file_search",
                    "code_interpreter",
                    "image_generation",
                    "tool_search",
                    "namespace",
                    "tool_search_call",
                    "compaction",
                ];
                assert!(known.contains(&bad.field.as_str()), "{id}: {bad}");
            }
        }
    }
}

/// Takes away what a writer may change without another meaning.
fn normalise(request: &mut Request<'_>) {
    let carried = |setting: &Setting<'_>| {
        !matches!(
            setting.feature,
            Feature::Store | Feature::Temperature | Feature::TopP | Feature::ToolExtras
        )
    };
    request.settings.retain(carried);
    request.settings.sort_by_key(|setting| setting.feature.row().name);
    request.unknown.clear();
    request.output_tokens_max = request.output_tokens_max.map(|tokens| tokens.max(16));
    request.reasoning = Reasoning::default();
    for tool in &mut request.tools {
        tool.strict = false;
    }
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts).chain(&mut request.system) {
        part.cache = None;
        if let Content::Thinking { text, proof: None, .. } = &mut part.content {
            *text = Text::default();
        }
    }
    let is_empty = |part: &Part<'_>| matches!(part.content, Content::Thinking { proof: None, .. });
    for turn in &mut request.turns {
        turn.parts.retain(|part| !is_empty(part));
    }
    request.turns.retain(|turn| !turn.parts.is_empty());
}
