//! Requests of clients: what they become, what is refused.

use serde_json::{Value, json};

use super::super::support_tests::{key, recordings};
use super::*;
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Document, Media, MediaKind, Part, Proof, Role, Source, ToolCall,
    ToolChoice, ToolResult, Turn, Vendor, WebSearch,
};

fn read(body: &Value) -> Result<(Request<'static>, Value), BadRequest> {
    // Leaked so that tests can compare what is borrowed from it.
    let bytes = Vec::leak(serde_json::to_vec(body).unwrap());
    let (request, echo) = read_request(bytes, &key())?;
    let echo = [b"{", echo.as_slice(), b"}"].concat();
    Ok((request, serde_json::from_slice(&echo).unwrap()))
}

fn request(body: Value) -> Request<'static> {
    read(&body).unwrap_or_else(|bad| panic!("{bad}")).0
}

fn text(plain: &'static str) -> Part<'static> {
    Content::Text { text: Text::from_plain(plain), citations: Vec::new() }.into()
}

fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role, name: None, parts }
}

fn call(id: &'static str, name: &'static str, arguments: &'static str, kind: CallKind) -> Part<'static> {
    let arguments = Arguments::Text(Text::from_plain(arguments));
    let (id, name) = (Some(Text::from_plain(id)), Text::from_plain(name));
    Content::ToolCall(ToolCall { id, name, arguments, kind, proof: None }).into()
}

fn result(call_id: &'static str, parts: Vec<Part<'static>>, kind: CallKind) -> Part<'static> {
    let call_id = Some(Text::from_plain(call_id));
    Content::ToolResult(ToolResult { call_id, name: None, parts, object: None, is_error: false, kind }).into()
}

#[test]
fn input_is_a_text_or_items_that_make_turns() {
    let cases = [
        ("a text", json!("Hi"), vec![], vec![turn(Role::User, vec![text("Hi")])]),
        (
            "messages",
            json!([
                {"role": "developer", "content": "first"},
                {"role": "system", "content": [{"type": "input_text", "text": "second"}]},
                {"role": "user", "content": "Hi", "type": "message"},
                {"role": "assistant", "content": [
                    {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []},
                    {"type": "refusal", "refusal": "no"},
                ], "id": "msg_1", "status": "completed", "phase": "final_answer"},
                {"role": "system", "content": "late"},
                {"role": "user", "content": "a"},
                {"role": "user", "content": "b"},
            ]),
            vec![text("first"), text("second")],
            vec![
                turn(Role::User, vec![text("Hi")]),
                turn(Role::Assistant, vec![text("Hello"), Content::Refusal(Text::from_plain("no")).into()]),
                turn(Role::System, vec![text("late")]),
                turn(Role::User, vec![text("a")]),
                turn(Role::User, vec![text("b")]),
            ],
        ),
        (
            "an agent's turn",
            json!([
                {"type": "reasoning", "id": "rs_1", "summary": [
                    {"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
                 "encrypted_content": "gAAA"},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}", "id": "fc_1",
                 "status": "completed"},
                {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "4 + 4"},
                {"type": "function_call_output", "call_id": "c1", "output": "done"},
                {"type": "custom_tool_call_output", "call_id": "c2", "output": [
                    {"type": "input_text", "text": "8"}]},
                {"role": "user", "content": "thanks"},
            ]),
            vec![],
            vec![
                turn(
                    Role::Assistant,
                    vec![
                        Content::Thinking {
                            text: Text::from_plain("one\n\ntwo"),
                            proof: Some(Proof {
                                vendor: Vendor::OpenAi,
                                item_id: Some(Text::from_plain("rs_1")),
                                data: Text::from_plain("gAAA"),
                            }),
                            redacted: false,
                        }
                        .into(),
                        call("c1", "f", "{\"a\":1}", CallKind::Function),
                        call("c2", "g", "4 + 4", CallKind::Custom),
                    ],
                ),
                turn(
                    Role::User,
                    vec![
                        result("c1", vec![text("done")], CallKind::Function),
                        result("c2", vec![text("8")], CallKind::Custom),
                    ],
                ),
                turn(Role::User, vec![text("thanks")]),
            ],
        ),
        (
            "items of other tools",
            json!([
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                {"type": "file_search_call", "id": "fs_1", "arguments": {"any": "thing"}},
                {"type": "reasoning", "summary": [], "id": "rs_1"},
                {"role": "assistant", "content": ""},
            ]),
            vec![],
            vec![turn(Role::Assistant, vec![Content::Unknown(Text::from_plain("file_search_call")).into()])],
        ),
    ];
    for (name, input, system, turns) in cases {
        let request = request(json!({"model": "m", "input": input}));
        assert_eq!(request.system, system, "{name}");
        assert_eq!(request.turns, turns, "{name}");
    }
}

#[test]
fn parts_are_read_with_their_sources_and_marks() {
    let png = "iVBORw0KGgoAAAANSUhEUgAA";
    let image = |source, detail: Option<&'static str>| {
        Content::Media(Media { kind: MediaKind::Image, source, detail: detail.map(Text::from_plain) })
    };
    let base64 = |media_type, data| Source::Base64 {
        media_type: Text::from_plain(media_type),
        data: Text::from_plain(data),
    };
    let document = |source, title: Option<&'static str>| {
        let title = title.map(Text::from_plain);
        Content::Document(Document { source, title, context: None, citations: false })
    };
    let cases = [
        (
            json!({"type": "input_image", "image_url": "https://e.com/a.png", "detail": "low"}),
            image(Source::Url(Text::from_plain("https://e.com/a.png")), Some("low")),
        ),
        (
            json!({"type": "input_image", "image_url": format!("data:image/png;base64,{png}"), "detail": null}),
            image(base64("image/png", png), None),
        ),
        (
            json!({"type": "input_image", "file_id": "file-1"}),
            image(Source::File(Text::from_plain("file-1")), None),
        ),
        (
            json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}),
            document(base64("application/pdf", "JVBE"), Some("a.pdf")),
        ),
        (
            json!({"type": "input_file", "file_data": "JVBERi0xLjcKJeLj"}),
            document(base64("application/pdf", "JVBERi0xLjcKJeLj"), None),
        ),
        (
            json!({"type": "input_file", "file_url": "https://e.com/a.pdf"}),
            document(Source::Url(Text::from_plain("https://e.com/a.pdf")), None),
        ),
        (json!({"type": "input_file", "file_id": "f"}), document(Source::File(Text::from_plain("f")), None)),
        (
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
            Content::Media(Media {
                kind: MediaKind::Audio,
                source: base64("audio/mpeg", "AAAA"),
                detail: None,
            }),
        ),
        (
            json!({"type": "computer_screenshot", "text": 1}),
            Content::Unknown(Text::from_plain("computer_screenshot")),
        ),
    ];
    for (part, expected) in cases {
        let request = request(json!({"input": [{"role": "user", "content": [part]}]}));
        assert_eq!(request.turns[0].parts, [expected.into()], "{part}");
    }
    for (mark, expected) in [
        (json!({"mode": "explicit"}), CacheMark::Default),
        (json!({"mode": "explicit", "ttl": "30m"}), CacheMark::HalfAnHour),
        (json!({"mode": "explicit", "ttl": "12h"}), CacheMark::TwelveHours),
    ] {
        let part = json!({"type": "input_text", "text": "x", "prompt_cache_breakpoint": mark});
        let request = request(json!({"input": [{"role": "user", "content": [part]}]}));
        assert_eq!(request.turns[0].parts[0].cache, Some(expected));
    }
}

#[test]
fn members_become_what_they_mean() {
    let request = request(json!({
        "model": "gpt-5", "stream": true, "instructions": "Be brief.", "input": [], "max_output_tokens": 100,
        "temperature": 0.50, "top_p": 1, "metadata": {"a": "b"}, "user": "u", "safety_identifier": "s",
        "store": false, "parallel_tool_calls": false, "truncation": "auto", "background": true,
        "previous_response_id": "resp_1", "conversation": "conv_1", "prompt": {"id": "p"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
        "top_logprobs": 3, "max_tool_calls": 2, "service_tier": "flex", "prompt_cache_key": "k",
        "stream_options": {"include_obfuscation": false, "x": 1}, "null_one": null, "odd": 1,
        "reasoning": {"effort": "high", "summary": "concise", "context": "all_turns"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
    }));
    assert!(request.stream && request.stream_usage);
    assert_eq!(request.system, [text("Be brief.")]);
    assert_eq!(request.output_tokens_max, Some(100));
    assert_eq!(request.end_user, Some(Text::from_plain("s")));
    assert_eq!(request.parallel_tool_calls, Some(false));
    let reasoning =
        Reasoning { effort: Some(Effort::High), budget_tokens: None, show: Some(SummaryWish::Concise) };
    assert_eq!(request.reasoning, reasoning);
    let schema = Raw::from_scanned(br#"{"type":"object"}"#).unwrap();
    let name = Some(Text::from_plain("n"));
    assert_eq!(request.format, Format::Schema { name, description: None, schema, strict: false });
    let unknown: Vec<&str> = request.unknown.iter().map(Text::escaped).collect();
    assert_eq!(unknown, ["odd", "x", "include", "context"]);
    let settings: Vec<(Feature, &str)> =
        request.settings.iter().map(|setting| (setting.feature, setting.value.as_str())).collect();
    assert_eq!(
        settings,
        [
            (Feature::Temperature, "0.5"),
            (Feature::TopP, "1"),
            (Feature::Metadata, r#"{"a":"b"}"#),
            (Feature::ServiceTier, "\"flex\""),
            (Feature::PromptCacheKey, "\"k\""),
            (Feature::Store, "false"),
            (Feature::PreviousResponse, "\"resp_1\""),
            (Feature::Conversation, "\"conv_1\""),
            (Feature::StoredPrompt, r#"{"id":"p"}"#),
            (Feature::MaxToolCalls, "2"),
            (Feature::Background, "true"),
            (Feature::Truncation, "\"auto\""),
            (Feature::Logprobs, "3"),
            (Feature::Verbosity, "\"low\""),
        ]
    );
    let defaults = read(&json!({
        "input": "", "background": false, "truncation": "disabled", "top_logprobs": 0, "text": {},
        "reasoning": {"effort": null}, "tools": [], "include": [],
    }));
    let defaults = defaults.unwrap().0;
    assert!(defaults.settings.is_empty(), "defaults ask for nothing: {:?}", defaults.settings);
    let reference = request_of_reference();
    assert_eq!(reference, [(Feature::ItemReference, "\"msg_1\"".to_owned())]);
}

fn request_of_reference() -> Vec<(Feature, String)> {
    let request = request(json!({"input": [{"id": "msg_1"}, {"type": "item_reference", "id": "msg_2"}]}));
    let settings = request.settings.into_iter();
    settings.map(|setting| (setting.feature, setting.value.as_str().to_owned())).collect()
}

#[test]
fn tools_and_choices_are_read() {
    let request = request(json!({
        "input": "x",
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
            {"type": "function", "name": "g", "strict": false, "parameters": null, "defer_loading": false},
            {"type": "custom", "name": "h", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "custom", "name": "i", "format": {"type": "text"}},
            {"type": "web_search", "filters": {"allowed_domains": ["e.com"]}, "search_context_size": "low",
             "user_location": {"type": "approximate", "city": "Rome", "country": "IT"}},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [
            {"type": "function", "name": "f"}, {"type": "custom", "name": "h"}]},
    }));
    let tools: Vec<_> =
        request.tools.iter().map(|tool| (tool.name.escaped(), tool.kind, tool.strict)).collect();
    assert_eq!(
        tools,
        [
            ("f", CallKind::Function, true),
            ("g", CallKind::Function, false),
            ("h", CallKind::Custom, false),
            ("i", CallKind::Custom, false)
        ]
    );
    let grammars: Vec<_> =
        request.tools.iter().map(|tool| tool.grammar.as_ref().map(|raw| raw.as_str().to_owned())).collect();
    let grammar = r#"{"syntax":"lark","definition":"x"}"#.to_owned();
    assert_eq!(grammars, [None, None, Some(grammar), None]);
    let search = WebSearch {
        allowed_domains: vec![Text::from_plain("e.com")],
        location: Some(Raw::from_written(r#"{"city":"Rome","country":"IT"}"#.to_owned())),
    };
    assert_eq!(request.web_search, Some(search));
    assert_eq!(request.unknown, [Text::from_plain("search_context_size")]);
    assert!(request.settings.is_empty());
    let names = vec![Text::from_plain("f"), Text::from_plain("h")];
    assert_eq!(request.tool_choice, Some(ToolChoice::Allowed { required: true, names }));

    let choices = [
        (json!("auto"), Some(ToolChoice::Auto), None),
        (json!("none"), Some(ToolChoice::None), None),
        (json!("required"), Some(ToolChoice::Required), None),
        (json!({"type": "function", "name": "f"}), Some(ToolChoice::Named(Text::from_plain("f"))), None),
        (json!({"type": "web_search_preview"}), None, Some("\"web_search_preview\"")),
    ];
    for (choice, expected, built_in) in choices {
        let request = self::request(json!({"input": "x", "tool_choice": choice}));
        assert_eq!(request.tool_choice, expected);
        let setting = request.settings.first();
        assert_eq!(setting.map(|setting| setting.value.as_str()), built_in, "{choice}");
    }
    let extras = self::request(json!({"input": "x", "tools": [
        {"type": "function", "name": "f", "defer_loading": true}, {"type": "file_search"}]}));
    let features: Vec<_> = extras.settings.iter().map(|setting| setting.feature).collect();
    assert_eq!(features, [Feature::ToolExtras, Feature::BuiltInTool]);
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let item = |item: Value| json!({"input": [item]});
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let cases = [
        (json!({}), "`input`: is required"),
        (json!([]), "`body`: must be an object, found an array"),
        (json!({"input": 7}), "`input`: must be a string or an array, found a number"),
        (json!({"input": "x", "temperature": "hot"}), "`temperature`: must be a number, found a string"),
        (json!({"input": "x", "stream": 1}), "`stream`: must be a boolean, found a number"),
        (
            json!({"input": "x", "max_output_tokens": -1}),
            "`max_output_tokens`: must be a whole number of at least 0, found a number",
        ),
        (json!({"input": "x", "metadata": []}), "`metadata`: must be an object, found an array"),
        (
            json!({"input": "x", "reasoning": {"effort": "lots"}}),
            "`reasoning.effort`: must be none, minimal, low, medium, high, xhigh or max",
        ),
        (
            json!({"input": "x", "text": {"format": {"type": "xml"}}}),
            "`text.format.type`: must be text, json_object or json_schema",
        ),
        (
            json!({"input": "x", "text": {"format": {"type": "json_schema"}}}),
            "`text.format.schema`: is required",
        ),
        (json!({"input": "x", "tools": [{"type": "function"}]}), "`tools[0].name`: is required"),
        (json!({"input": "x", "tools": [{"name": "f"}]}), "`tools[0].type`: is required"),
        (
            json!({"input": "x", "tool_choice": "maybe"}),
            "`tool_choice`: must be auto, none, required or an object",
        ),
        (item(json!({})), "`input[0].type`: is required"),
        (
            item(json!({"role": "robot", "content": ""})),
            "`input[0].role`: must be user, assistant, system or developer",
        ),
        (item(json!({"role": "user"})), "`input[0].content`: is required"),
        (
            item(json!({"type": "function_call", "name": "f", "arguments": "{}"})),
            "`input[0].call_id`: is required",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}})),
            "`input[0].arguments`: must be a string, found an object",
        ),
        (item(json!({"type": "function_call_output", "call_id": "c"})), "`input[0].output`: is required"),
        (
            item(json!({"type": "reasoning", "summary": [{"type": "summary_text"}]})),
            "`input[0].summary[0].text`: is required",
        ),
        (part(json!({"text": "x"})), "`input[0].content[0].type`: is required"),
        (part(json!({"type": "input_text"})), "`input[0].content[0].text`: is required"),
        (part(json!({"type": "input_image"})), "`input[0].content[0].image_url`: is required"),
        (
            part(json!({"type": "input_image", "image_url": {"url": "x"}})),
            "`input[0].content[0].image_url`: must be a string, found an object",
        ),
        (
            part(json!({"type": "input_image", "image_url": "data:,x"})),
            "`input[0].content[0].image_url`: is a data URI that is not in base64",
        ),
        (
            part(json!({"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"ttl": "1y"}})),
            "`input[0].content[0].prompt_cache_breakpoint.ttl`: must be 30m or 12h",
        ),
    ];
    for (body, said) in cases {
        assert_eq!(read(&body).unwrap_err().to_string(), said, "{body}");
    }
    let twice = br#"{"input":"a","input":"b"}"#;
    assert_eq!(read_request(twice, &key()).unwrap_err().to_string(), "`input`: occurs more than once");
}

#[test]
fn the_response_object_repeats_the_request_with_defaults() {
    let (_, echo) = read(&json!({"input": "x"})).unwrap();
    let expected = json!({
        "background": false, "frequency_penalty": 0.0, "instructions": null, "max_output_tokens": null,
        "max_tool_calls": null, "metadata": {}, "moderation": null, "parallel_tool_calls": true,
        "presence_penalty": 0.0, "previous_response_id": null, "conversation": null, "prompt": null,
        "prompt_cache_key": null, "prompt_cache_options": null, "prompt_cache_retention": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "service_tier": "default",
        "store": true, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": null,
    });
    assert_eq!(echo, expected);
    let body = json!({
        "input": "x", "instructions": "Be brief.", "temperature": 0.2, "metadata": {"a": "b"}, "store": false,
        "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f"},
        "reasoning": {"effort": "low"}, "text": {"verbosity": "high"}, "service_tier": "auto",
        "conversation": "conv_1",
    });
    let (_, echo) = read(&body).unwrap();
    for name in ["instructions", "temperature", "metadata", "store", "tools", "tool_choice"] {
        assert_eq!(echo[name], body[name], "{name}");
    }
    assert_eq!(echo["reasoning"], json!({"effort": "low", "summary": null}));
    assert_eq!(echo["text"], json!({"format": {"type": "text"}, "verbosity": "high"}));
    assert_eq!(echo["service_tier"], "default");
    assert_eq!(echo["conversation"], json!({"id": "conv_1"}));
}

#[test]
fn recorded_echoes_have_no_member_that_ours_lacks() {
    // What is made elsewhere, or said of the answer and the account.
    const ELSEWHERE: [&str; 16] = [
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "error",
        "incomplete_details",
        "model",
        "output",
        "usage",
        "billing",
        "content_filters",
        "tool_usage",
        // In one old recording only.
        "status_details",
        "tool_calls",
        "total_tokens",
    ];
    let (_, echo) = read(&json!({"input": "x"})).unwrap();
    for recording in
        recordings().into_iter().filter(|recording| recording.status == 200 && !recording.streaming)
    {
        let response: Value = serde_json::from_slice(&recording.wire).unwrap();
        for name in response.as_object().unwrap().keys() {
            // LM Studio and OpenRouter have members of their own.
            let is_own = !matches!(recording.provider.as_str(), "openai" | "azure");
            let known = is_own || ELSEWHERE.contains(&name.as_str()) || echo.get(name).is_some();
            assert!(known, "{}: {name}", recording.id);
        }
    }
}

proptest::proptest! {
    /// Whatever comes in: an answer, not a panic.
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = read_request(&body, &key());
    }
}
