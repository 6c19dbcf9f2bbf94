//! Requests as they are written: each rule of the mapping, for each family of models.

use serde_json::{Value, json};

use super::write_request;
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::ir::{
    Arguments, CacheMark, CallKind, Content, Document, Format, Media, MediaKind, Part, Proof, Raw, Reasoning,
    Request, Role, Setting, Source, SummaryWish, Text, Tool, ToolCall, ToolChoice, ToolResult, Turn, Vendor,
    WebSearch,
};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::{Dialect, Effort};

fn target(name: &str) -> TargetModel<'_> {
    TargetModel {
        name,
        vendor: Vendor::Anthropic,
        token_limit_param: "max_tokens",
        output_tokens_default: 8192,
        reasoning_field: None,
    }
}

fn try_write(request: &Request<'_>, model: &str) -> Result<(Value, String, Undo), BadRequest> {
    let (mut losses, mut out) = (Losses::new(Dialect::AnthropicMessages, false), Vec::new());
    let undo = write_request(request, &target(model), &mut losses, &mut out)?;
    Ok((serde_json::from_slice(&out).unwrap(), losses.header_value(), undo))
}

fn written(request: &Request<'_>, model: &str) -> (Value, String, Undo) {
    try_write(request, model).unwrap_or_else(|bad| panic!("{bad}"))
}

fn text(plain: &str) -> Text<'_> {
    Text::from_plain(plain)
}

fn raw(json: &str) -> Raw<'_> {
    Raw::from_scanned(json.as_bytes()).unwrap()
}

fn said(plain: &str) -> Part<'_> {
    Content::Text { text: text(plain), citations: Vec::new() }.into()
}

fn turn<'a>(role: Role, parts: Vec<Part<'a>>) -> Turn<'a> {
    Turn { role, name: None, parts }
}

fn user<'a>(parts: Vec<Part<'a>>) -> Turn<'a> {
    turn(Role::User, parts)
}

fn asked<'a>(turns: Vec<Turn<'a>>) -> Request<'a> {
    Request { turns, output_tokens_max: Some(4000), ..Request::default() }
}

fn hello() -> Request<'static> {
    asked(vec![user(vec![said("Hi")])])
}

fn call<'a>(id: Option<&'a str>, name: &'a str, arguments: Arguments<'a>) -> Part<'a> {
    let (id, name, kind) = (id.map(Text::from_plain), text(name), CallKind::Function);
    Content::ToolCall(ToolCall { id, name, arguments, kind, proof: None }).into()
}

fn result<'a>(id: Option<&'a str>, name: Option<&'a str>, parts: Vec<Part<'a>>) -> Part<'a> {
    Content::ToolResult(ToolResult {
        call_id: id.map(Text::from_plain),
        name: name.map(Text::from_plain),
        parts,
        object: None,
        is_error: false,
        kind: CallKind::Function,
    })
    .into()
}

fn thought<'a>(plain: &'a str, proof: Option<(Vendor, &'a str)>) -> Part<'a> {
    let proof = proof.map(|(vendor, data)| Proof { vendor, item_id: None, data: text(data) });
    Content::Thinking { text: text(plain), proof, redacted: false }.into()
}

fn function<'a>(name: &'a str, schema: Option<&'a str>) -> Tool<'a> {
    Tool {
        name: text(name),
        description: None,
        schema: schema.map(raw),
        strict: false,
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    }
}

const EMPTY: &str = "{}";

#[test]
fn the_least_request() {
    let (body, lost, undo) = written(&Request { output_tokens_max: None, ..hello() }, "claude-sonnet-4-5");
    let expected = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    });
    assert_eq!((body, lost.as_str(), undo), (expected, "", Undo::default()));
    let (body, _, _) = written(&Request { stream: true, ..hello() }, "claude-sonnet-4-5");
    assert_eq!(body["stream"], true);
}

#[test]
fn turns_are_merged_and_what_says_nothing_is_left_out() {
    let request = asked(vec![
        user(vec![said("a"), said(""), said(" \n")]),
        turn(Role::Assistant, vec![said("")]),
        user(vec![said("b")]),
        turn(Role::Assistant, vec![said("c")]),
        turn(Role::Assistant, vec![Content::Refusal(text("d")).into()]),
        user(vec![said("e")]),
    ]);
    let (body, lost, _) = written(&request, "claude-sonnet-4-5");
    let block = |plain: &str| json!({"type": "text", "text": plain});
    let expected = json!([
        {"role": "user", "content": [block("a"), block("b")]},
        {"role": "assistant", "content": [block("c"), block("d")]},
        {"role": "user", "content": [block("e")]},
    ]);
    assert_eq!((&body["messages"], lost.as_str()), (&expected, ""));
}

#[test]
fn a_user_who_has_said_nothing_begins_all_the_same() {
    let block = |plain: &str| json!({"type": "text", "text": plain});
    let nothing = json!({"role": "user", "content": [block(".")]});
    let says = |plain: &'static str| turn(Role::Assistant, vec![said(plain)]);
    for (turns, expected, report) in [
        (vec![user(vec![said("")])], json!([nothing]), "changed=empty_turn"),
        (
            vec![user(vec![said(" ")]), says("b"), user(vec![said("c")])],
            json!([
                nothing,
                {"role": "assistant", "content": [block("b")]},
                {"role": "user", "content": [block("c")]},
            ]),
            "changed=empty_turn",
        ),
        (
            vec![user(vec![said("")]), user(vec![said("c")])],
            json!([{"role": "user", "content": [block("c")]}]),
            "",
        ),
        (vec![], json!([]), ""),
    ] {
        let (body, lost, _) = written(&asked(turns), "claude-sonnet-4-5");
        assert_eq!((&body["messages"], lost.as_str()), (&expected, report));
    }
}

#[test]
fn all_results_come_first_in_the_one_message_behind_their_calls() {
    let object = |json| Arguments::Object(raw(json));
    let failed = Content::ToolResult(ToolResult {
        call_id: Some(text("c.3")),
        name: None,
        parts: vec![said("no")],
        object: None,
        is_error: true,
        kind: CallKind::Function,
    });
    let request = asked(vec![
        user(vec![said("go")]),
        turn(
            Role::Assistant,
            vec![
                said("ok"),
                call(Some("c1"), "f", object(r#"{"a":1.50}"#)),
                call(Some("c2"), "g", Arguments::Text(text(""))),
                call(Some("c.3"), "h", Arguments::Text(text("{\"x\":"))),
            ],
        ),
        user(vec![result(Some("c1"), None, vec![said("one")])]),
        user(vec![said("and then"), result(Some("c2"), None, vec![])]),
        user(vec![failed.into()]),
    ]);
    let (body, lost, _) = written(&request, "claude-sonnet-4-5");
    assert_eq!(lost, "changed=tool_arguments");
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    let calls = &body["messages"][1]["content"];
    assert_eq!(calls[1], json!({"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1.5}}));
    assert_eq!(calls[2]["input"], json!({}));
    assert_eq!(calls[3]["input"], json!({"_raw": "{\"x\":"}));
    let results = &body["messages"][2]["content"];
    assert_eq!(
        results[0],
        json!({"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "one"}]})
    );
    assert_eq!(results[1], json!({"type": "tool_result", "tool_use_id": "c2"}));
    assert_eq!(results[2]["tool_use_id"], calls[3]["id"], "the same id in other characters");
    assert_eq!(results[2]["is_error"], true);
    assert_eq!(results[3], json!({"type": "text", "text": "and then"}));
}

#[test]
fn results_without_ids_find_their_calls() {
    let f = |json| call(None, "f", Arguments::Object(raw(json)));
    let object = Content::ToolResult(ToolResult {
        call_id: None,
        name: Some(text("f")),
        parts: vec![],
        object: Some(raw(r#"{ "temp": 7 }"#)),
        is_error: false,
        kind: CallKind::Function,
    });
    let request = asked(vec![
        user(vec![said("go")]),
        turn(Role::Assistant, vec![f(EMPTY), call(None, "g", Arguments::Object(raw(EMPTY))), f(EMPTY)]),
        user(vec![
            result(None, Some("g"), vec![said("g1")]),
            result(None, Some("f"), vec![said("f1")]),
            object.into(),
        ]),
        turn(Role::Assistant, vec![f(EMPTY)]),
        user(vec![result(None, None, vec![said("f3")])]),
    ]);
    let (body, _, _) = written(&request, "claude-sonnet-4-5");
    let ids = |message: usize, name: &str| -> Vec<Value> {
        let blocks = body["messages"][message]["content"].as_array().unwrap();
        blocks.iter().map(|block| block[name].clone()).collect()
    };
    assert_eq!(ids(1, "id"), ["call_1", "call_2", "call_3"]);
    assert_eq!(ids(2, "tool_use_id"), ["call_2", "call_1", "call_3"]);
    assert_eq!(ids(4, "tool_use_id"), ["call_4"]);
    assert_eq!(body["messages"][2]["content"][2]["content"], "{\"temp\":7}");
    let orphan = asked(vec![user(vec![result(None, Some("f"), vec![])])]);
    assert_eq!(try_write(&orphan, "claude-sonnet-4-5").unwrap_err().field, "f");
}

#[test]
fn instructions_keep_their_place_where_the_model_takes_them() {
    let system = |plain| turn(Role::System, vec![said(plain)]);
    let request = Request {
        system: vec![Part { cache: Some(CacheMark::OneHour), ..said("first") }],
        ..asked(vec![
            user(vec![said("a")]),
            system("middle"),
            turn(Role::Assistant, vec![said("b")]),
            system("behind an answer"),
            user(vec![said("c")]),
        ])
    };
    let front = |body: &Value| -> Vec<String> {
        body["system"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let (body, lost, _) = written(&request, "claude-sonnet-4-5");
    assert_eq!(front(&body), ["first", "middle", "behind an answer"]);
    assert_eq!(body["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!((body["messages"].as_array().unwrap().len(), lost.as_str()), (3, "changed=system_position"));
    let (body, lost, _) = written(&request, "claude-opus-4-8");
    assert_eq!(front(&body), ["first", "behind an answer"]);
    assert_eq!(
        body["messages"][1],
        json!({"role": "system", "content": [{"type": "text", "text": "middle"}]})
    );
    assert_eq!(lost, "changed=system_position");
}

#[test]
fn media_and_documents_have_their_sources() {
    let image =
        |source| Content::Media(Media { kind: MediaKind::Image, source, detail: Some(text("high")) }).into();
    let document = |source, title: Option<&'static str>| {
        Content::Document(Document {
            source,
            title: title.map(Text::from_plain),
            context: None,
            citations: false,
        })
        .into()
    };
    let base64 = |media_type, data| Source::Base64 { media_type: text(media_type), data: text(data) };
    let cited = Document {
        source: Source::Text(text("plain")),
        title: None,
        context: Some(text("why")),
        citations: true,
    };
    let request = asked(vec![user(vec![
        image(base64("image/png", "AAAA")),
        image(Source::Url(text("https://a/b.png"))),
        document(base64("application/pdf", "AAAA"), Some("a.pdf")),
        document(Source::Url(text("https://a/b.pdf")), None),
        document(base64("text/plain", "aMOp"), None),
        document(base64("image/jpeg", "AAAA"), Some("x.jpg")),
        Content::Document(cited).into(),
        Content::SearchResult { title: text("T"), source: text("S"), text: text("r") }.into(),
    ])]);
    let (body, lost, _) = written(&request, "claude-sonnet-4-5");
    let expected = json!([
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hé"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}, "context": "why",
            "citations": {"enabled": true}},
        {"type": "search_result", "source": "S", "title": "T", "content": [{"type": "text", "text": "r"}]},
    ]);
    assert_eq!((&body["messages"][0]["content"], lost.as_str()), (&expected, ""));
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let media = |kind| Content::Media(Media { kind, source: Source::Url(text("https://a")), detail: None });
    let file = Media { kind: MediaKind::Image, source: Source::File(text("file_1")), detail: None };
    let setting = |feature| Request { settings: vec![Setting { feature, value: raw("2") }], ..hello() };
    let part = |content: Content<'static>| asked(vec![user(vec![content.into()])]);
    let forced =
        Request { tools: vec![function("f", None)], tool_choice: Some(ToolChoice::Required), ..hello() };
    let thinking = Reasoning { effort: Some(Effort::Low), ..Reasoning::default() };
    let prefill = asked(vec![user(vec![said("Hi")]), turn(Role::Assistant, vec![said("{")])]);
    for (request, model, field) in [
        (part(media(MediaKind::Audio)), "claude-opus-5", "input_audio"),
        (part(media(MediaKind::Video)), "claude-opus-5", "video"),
        (part(Content::Media(file)), "claude-opus-5", "file_id"),
        (part(Content::Unknown(text("item_x"))), "claude-opus-5", "item_x"),
        (Request { system: vec![media(MediaKind::Image).into()], ..hello() }, "claude-opus-5", "system"),
        (setting(Feature::AnswerCount), "claude-opus-5", "n"),
        (setting(Feature::Logprobs), "claude-opus-5", "logprobs"),
        (setting(Feature::PreviousResponse), "claude-opus-5", "previous_response_id"),
        (Request { format: Format::Json, ..hello() }, "claude-opus-5", "json_object"),
        (Request { stop: vec![text("x"), text("\n\n")], ..hello() }, "claude-opus-5", "stop"),
        (forced.clone(), "claude-fable-5", "tool_choice"),
        (Request { reasoning: thinking, ..forced }, "claude-sonnet-4-5", "tool_choice"),
        (prefill.clone(), "claude-opus-4-6", "prefill"),
        (prefill.clone(), "claude-sonnet-5", "prefill"),
    ] {
        assert_eq!(try_write(&request, model).unwrap_err().field, field, "{model}");
    }
    let (body, lost, _) = written(&prefill, "claude-sonnet-4-5");
    assert_eq!((body["messages"][1]["role"].as_str(), lost.as_str()), (Some("assistant"), ""));
}

#[test]
fn sampling_goes_to_the_models_that_take_it() {
    let budget = Reasoning { budget_tokens: Some(2000), ..Reasoning::default() };
    let none = Reasoning::default();
    for (model, reasoning, [temperature, top_p, top_k], expected, lost) in [
        ("claude-3-5-sonnet", none, ["0.50", "0.9", "40"], json!([0.5, 0.9, 40]), ""),
        ("claude-3-5-sonnet", none, ["1.7", "1", "40.0"], json!([1, 1, 40]), "changed=temperature"),
        ("claude-sonnet-4-5", none, ["0.5", "0.9", "40"], json!([0.5, null, 40]), "dropped=top_p"),
        ("claude-sonnet-4-5", none, ["0.5", "1.0", "40"], json!([0.5, null, 40]), ""),
        ("claude-sonnet-4-5", none, ["", "0.9", ""], json!([null, 0.9, null]), ""),
        (
            "claude-sonnet-4-5",
            budget,
            ["0.5", "0.9", "40"],
            json!([null, null, null]),
            "dropped=temperature,top_p,top_k",
        ),
        ("claude-sonnet-4-5", budget, ["", "0.97", ""], json!([null, 0.97, null]), ""),
        ("claude-sonnet-4-0", budget, ["1", "0.97", ""], json!([1, 0.97, null]), ""),
        (
            "claude-opus-4-8",
            none,
            ["0.5", "0.9", "40"],
            json!([null, null, null]),
            "dropped=temperature,top_p,top_k",
        ),
        ("claude-opus-4-8", none, ["1", "1", ""], json!([null, null, null]), ""),
    ] {
        let features = [Feature::Temperature, Feature::TopP, Feature::TopK];
        let settings =
            features.into_iter().zip([temperature, top_p, top_k]).filter(|(_, json)| !json.is_empty());
        let settings = settings.map(|(feature, json)| Setting { feature, value: raw(json) }).collect();
        let (body, report, _) = written(&Request { settings, reasoning, ..hello() }, model);
        let found = json!([body["temperature"], body["top_p"], body["top_k"]]);
        assert_eq!((found, report.as_str()), (expected, lost), "{model} {temperature} {top_p} {top_k}");
    }
}

#[test]
fn other_settings_are_carried_dropped_or_left_out() {
    let setting = |feature, json| Setting { feature, value: raw(json) };
    let request = Request {
        settings: vec![
            setting(Feature::Seed, "1"),
            setting(Feature::FrequencyPenalty, "0.0"),
            setting(Feature::PresencePenalty, "-0.5"),
            setting(Feature::PromptCacheKey, "\"k\""),
            setting(Feature::ServiceTier, "\"default\""),
            setting(Feature::Store, "true"),
            setting(Feature::Speed, "\"fast\""),
        ],
        stop: vec![text(""), text("END")],
        end_user: Some(text("u")),
        cache: Some(CacheMark::Default),
        unknown: vec![text("x_y")],
        turns: vec![Turn { name: Some(text("Ann")), ..user(vec![said("Hi")]) }],
        ..hello()
    };
    let (body, lost, _) = written(&request, "claude-opus-5");
    assert_eq!(lost, "dropped=x_y,name,seed,presence_penalty");
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["metadata"], json!({"user_id": "u"}));
    assert_eq!(body["service_tier"], "standard_only");
    assert_eq!(body["speed"], "fast");
    assert_eq!(body["cache_control"], json!({"type": "ephemeral"}));
    for (tier, expected) in
        [("\"auto\"", json!("auto")), ("\"flex\"", Value::Null), ("\"priority\"", Value::Null)]
    {
        let request = Request { settings: vec![setting(Feature::ServiceTier, tier)], ..hello() };
        let (body, lost, _) = written(&request, "claude-opus-5");
        assert_eq!((&body["service_tier"], lost.as_str()), (&expected, ""));
    }
}

#[test]
fn tools_are_written_and_their_names_are_safe() {
    let request = Request {
        tools: vec![
            Tool {
                description: Some(text("d")),
                cache: Some(CacheMark::FiveMinutes),
                ..function("f", Some(r#"{"type":"object"}"#))
            },
            function("g", None),
            function("h", Some(r#"{ "properties":{}}"#)),
            function("i.j", Some(EMPTY)),
            Tool { kind: CallKind::Custom, grammar: Some(raw(EMPTY)), ..function("k", None) },
        ],
        web_search: Some(WebSearch {
            allowed_domains: vec![text("a.com")],
            location: Some(raw(r#"{"city":"Bern","x":1}"#)),
        }),
        tool_choice: Some(ToolChoice::Named(text("i.j"))),
        parallel_tool_calls: Some(false),
        ..hello()
    };
    let (body, lost, undo) = written(&request, "claude-opus-5");
    assert_eq!(lost, "dropped=grammar; changed=custom_tool");
    let name = undo.tool_names[0].0.as_str();
    assert_eq!((undo.tool_names[0].1.as_str(), &undo.custom_tools[..]), ("i.j", &["k".to_owned()][..]));
    let expected = json!([
        {"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        {"name": "h", "input_schema": {"type": "object", "properties": {}}},
        {"name": name, "input_schema": {"type": "object"}},
        {"name": "k", "input_schema": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}},
        {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.com"],
            "user_location": {"type": "approximate", "city": "Bern"}},
    ]);
    assert_eq!(body["tools"], expected);
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": name, "disable_parallel_tool_use": true}));
}

#[test]
fn strict_tools_are_strict_where_model_and_schema_allow() {
    let closed = r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1}},"required":["a"]}"#;
    let open = r#"{"type":"object","additionalProperties":true}"#;
    for (model, schema, strict, lost) in [
        ("claude-opus-5", closed, Some(true), "changed=schema_keywords"),
        ("claude-opus-5", open, None, "changed=strict"),
        ("claude-sonnet-4-0", closed, None, "changed=strict"),
    ] {
        let tool = Tool { strict: true, ..function("f", Some(schema)) };
        let (body, report, _) = written(&Request { tools: vec![tool], ..hello() }, model);
        let tool = &body["tools"][0];
        assert_eq!((tool["strict"].as_bool(), report.as_str()), (strict, lost), "{model} {schema}");
        let closed = tool["input_schema"]["additionalProperties"] == json!(false);
        assert_eq!(closed, strict.is_some());
    }
}

#[test]
fn the_choice_of_tools_has_four_forms() {
    let tools = || vec![function("f", None), function("g", None)];
    let some = |required| ToolChoice::Allowed { required, names: vec![text("g")] };
    for (choice, parallel, expected, count) in [
        (None, None, Value::Null, 2),
        (None, Some(true), Value::Null, 2),
        (None, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true}), 2),
        (Some(ToolChoice::Auto), None, json!({"type": "auto"}), 2),
        (Some(ToolChoice::None), Some(false), json!({"type": "none"}), 2),
        (
            Some(ToolChoice::Required),
            Some(false),
            json!({"type": "any", "disable_parallel_tool_use": true}),
            2,
        ),
        (Some(ToolChoice::Named(text("f"))), None, json!({"type": "tool", "name": "f"}), 2),
        (Some(some(true)), None, json!({"type": "any"}), 1),
        (Some(some(false)), None, json!({"type": "auto"}), 1),
    ] {
        let shown = format!("{choice:?}");
        let changed = if count == 1 { "changed=allowed_tools" } else { "" };
        let request =
            Request { tools: tools(), tool_choice: choice, parallel_tool_calls: parallel, ..hello() };
        let (body, lost, _) = written(&request, "claude-opus-5");
        assert_eq!((&body["tool_choice"], lost.as_str()), (&expected, changed), "{shown}");
        assert_eq!(body["tools"].as_array().unwrap().len(), count);
    }
    let without =
        Request { tool_choice: Some(ToolChoice::Required), parallel_tool_calls: Some(false), ..hello() };
    let (body, lost, _) = written(&without, "claude-opus-5");
    assert_eq!((&body["tool_choice"], &body["tools"], lost.as_str()), (&Value::Null, &Value::Null, ""));
}

#[test]
fn answers_fit_a_schema_by_format_or_by_a_forced_call() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
    let format =
        || Format::Schema { name: Some(text("n")), description: None, schema: raw(schema), strict: true };
    let request = Request { format: format(), ..hello() };
    let (body, lost, undo) = written(&request, "claude-sonnet-4-5");
    let closed =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    assert_eq!(body["output_config"], json!({"format": {"type": "json_schema", "schema": closed}}));
    assert_eq!((lost.as_str(), undo), ("", Undo::default()));

    let old = "claude-sonnet-4-0";
    let (body, lost, undo) = written(&request, old);
    assert_eq!(body["tools"][0]["name"], "respond");
    assert_eq!(body["tools"][0]["input_schema"]["properties"], json!({"a": {"type": "string"}}));
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "respond"}));
    assert_eq!((lost.as_str(), undo.answer_tool.as_deref()), ("", Some("respond")));

    let tools = vec![function("respond", None)];
    let (body, _, undo) = written(&Request { tools: tools.clone(), format: format(), ..hello() }, old);
    assert_eq!(
        (&body["tool_choice"], undo.answer_tool.as_deref()),
        (&json!({"type": "any"}), Some("respond_"))
    );

    let tool_choice = Some(ToolChoice::Required);
    let (body, _, undo) = written(&Request { tools, format: format(), tool_choice, ..hello() }, old);
    assert_eq!((body["tools"].as_array().unwrap().len(), undo.answer_tool), (1, None));

    let reasoning = Reasoning { budget_tokens: Some(2000), ..Reasoning::default() };
    let (body, lost, _) = written(&Request { reasoning, format: format(), ..hello() }, old);
    assert_eq!((&body["thinking"], lost.as_str()), (&Value::Null, "changed=thinking"));

    let broken = Format::Schema { name: None, description: None, schema: raw("true"), strict: true };
    let request = Request { format: broken, ..hello() };
    assert_eq!(try_write(&request, "claude-opus-5").unwrap_err().field, "json_schema");
}

#[test]
fn thinking_is_written_with_its_display_and_its_room() {
    let reasoning = |effort, budget_tokens, show| Reasoning { effort, budget_tokens, show };
    for (model, reasoning, thinking, config, max_tokens) in [
        (
            "claude-sonnet-4-5",
            reasoning(None, Some(2000), Some(SummaryWish::Auto)),
            json!({"type": "enabled", "budget_tokens": 2000, "display": "summarized"}),
            Value::Null,
            4000,
        ),
        (
            "claude-sonnet-4-5",
            reasoning(None, Some(5000), None),
            json!({"type": "enabled", "budget_tokens": 5000}),
            Value::Null,
            9000,
        ),
        (
            "claude-opus-4-8",
            reasoning(Some(Effort::Medium), None, Some(SummaryWish::Hidden)),
            json!({"type": "adaptive", "display": "omitted"}),
            json!({"effort": "medium"}),
            4000,
        ),
        (
            "claude-opus-4-8",
            reasoning(Some(Effort::None), None, None),
            json!({"type": "disabled"}),
            Value::Null,
            4000,
        ),
    ] {
        let (body, _, _) = written(&Request { reasoning, ..hello() }, model);
        assert_eq!((&body["thinking"], &body["output_config"]), (&thinking, &config), "{model}");
        assert_eq!(body["max_tokens"], max_tokens);
    }
}

#[test]
fn thoughts_go_back_whole_or_thinking_is_off() {
    let conversation = |thoughts: Vec<Part<'static>>, last: bool| {
        let mut parts = thoughts;
        parts.push(call(Some("c1"), "f", Arguments::Object(raw(EMPTY))));
        let mut turns = vec![
            user(vec![said("go")]),
            turn(Role::Assistant, parts),
            user(vec![result(Some("c1"), None, vec![said("r")])]),
        ];
        if !last {
            turns.extend([turn(Role::Assistant, vec![said("done")]), user(vec![said("more")])]);
        }
        Request { reasoning: Reasoning { effort: Some(Effort::Low), ..Reasoning::default() }, ..asked(turns) }
    };
    let own = || thought("a", Some((Vendor::Anthropic, "Eq==")));
    let hidden = || thought("", Some((Vendor::Anthropic, "Er==")));
    let foreign = || thought("b", Some((Vendor::OpenAi, "gA==")));
    let bare = || thought("c", None);
    for (thoughts, last, sent, is_on) in [
        (vec![own(), hidden()], true, 2, true),
        (vec![own(), foreign()], true, 0, false),
        (vec![bare()], true, 0, false),
        (vec![], true, 0, false),
        (vec![said("x"), own()], true, 0, false),
        (vec![own()], false, 1, true),
        (vec![foreign()], false, 0, true),
        (vec![], false, 0, true),
    ] {
        for model in ["claude-sonnet-4-5", "claude-opus-4-8"] {
            let (body, lost, _) = written(&conversation(thoughts.clone(), last), model);
            let blocks = body["messages"][1]["content"].as_array().unwrap();
            let found = blocks.iter().filter(|block| block["type"] == "thinking").count();
            let on = matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
            assert_eq!((found, on), (sent, is_on), "{model} {thoughts:?} {last}");
            let is_own = |part: &Part<'_>| {
                !matches!(&part.content, Content::Thinking { proof, .. }
                    if proof.as_ref().is_none_or(|proof| proof.vendor != Vendor::Anthropic))
            };
            let report = match (thoughts.iter().all(is_own), is_on) {
                (true, true) => "",
                (true, false) => "changed=thinking",
                (false, true) => "dropped=thinking",
                (false, false) => "dropped=thinking; changed=thinking",
            };
            assert_eq!(lost, report);
        }
    }
    // Where thinking cannot be switched off, it is not.
    let (body, lost, _) = written(&conversation(vec![bare()], true), "claude-fable-5");
    assert_eq!((body["thinking"]["type"].as_str(), lost.as_str()), (Some("adaptive"), "dropped=thinking"));
    // A model that only thinks when asked gets no thoughts unasked.
    let unasked = Request { reasoning: Reasoning::default(), ..conversation(vec![own()], true) };
    for (model, sent) in [("claude-sonnet-4-5", 1), ("claude-opus-4-8", 2)] {
        let (body, lost, _) = written(&unasked, model);
        assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), sent, "{model}");
        assert_eq!((&body["thinking"], lost.as_str()), (&Value::Null, ""));
    }
    // Another service of this dialect takes nobody's proofs.
    let (mut losses, mut out) = (Losses::new(Dialect::AnthropicMessages, false), Vec::new());
    let other = TargetModel { vendor: Vendor::Other, ..target("glm-5") };
    write_request(&conversation(vec![own()], true), &other, &mut losses, &mut out).unwrap();
    assert_eq!(losses.header_value(), "dropped=thinking; changed=thinking");
}

#[test]
fn no_more_than_four_cache_marks_are_sent() {
    let marked = |plain| Part { cache: Some(CacheMark::Default), ..said(plain) };
    let request = Request {
        system: vec![marked("s")],
        tools: vec![Tool { cache: Some(CacheMark::Default), ..function("f", None) }],
        cache: Some(CacheMark::Default),
        ..asked(vec![user(vec![marked("a"), marked("b"), said("c"), marked("d")])])
    };
    let (body, _, _) = written(&request, "claude-opus-5");
    let json = body.to_string();
    assert_eq!(json.matches("cache_control").count(), 4, "{json}");
    assert!(body["tools"][0]["cache_control"].is_null() && body["system"][0]["cache_control"].is_null());
    assert!(body["cache_control"].is_object());
}

#[test]
fn strict_losses_are_refusals() {
    let request = Request { settings: vec![Setting { feature: Feature::Seed, value: raw("1") }], ..hello() };
    let (mut losses, mut out) = (Losses::new(Dialect::AnthropicMessages, true), Vec::new());
    let refused = write_request(&request, &target("claude-opus-5"), &mut losses, &mut out).unwrap_err();
    assert_eq!(refused.field, "seed");
}

mod properties {
    use proptest::prelude::*;

    use super::super::read_request;
    use super::super::recorded_tests::carried;
    use super::*;
    use crate::dialect::proof::ProofKey;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            said_so in proptest::collection::vec((0usize..5, "[ -~é😀\n]{0,6}", proptest::option::of(0usize..3)), 0..10),
            strict in any::<bool>(),
            tokens in 1u64..100_000,
        ) {
            let mut turns = vec![user(vec![said("go")])];
            for (index, (kind, plain, mark)) in said_so.iter().enumerate() {
                let marks = [CacheMark::Default, CacheMark::FiveMinutes, CacheMark::OneHour];
                let cache = mark.filter(|_| index < 4).map(|mark| marks[mark]);
                let id = Text::from(format!("toolu_{index}"));
                match kind {
                    0 => turns.push(user(vec![Part { cache, ..said(plain) }])),
                    1 => turns.push(turn(Role::Assistant, vec![said(plain)])),
                    2 => turns.push(turn(Role::Assistant, vec![thought(plain, Some((Vendor::Anthropic, "Eq=="))), said("x")])),
                    _ => {
                        let arguments = Arguments::Object(raw(r#"{"a":[1.50,{}]}"#));
                        let (id, kind) = (Some(id), CallKind::Function);
                        let called = ToolCall { id: id.clone(), name: text("f"), arguments, kind, proof: None };
                        let parts = vec![said(plain)];
                        let returned = ToolResult { call_id: id, name: None, parts, object: None, is_error: index % 2 == 0, kind };
                        turns.push(turn(Role::Assistant, vec![Content::ToolCall(called).into()]));
                        turns.push(user(vec![said("next"), Content::ToolResult(returned).into()]));
                    }
                }
            }
            turns.push(user(vec![said("more")]));
            let schema = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
            let request = Request {
                stream_usage: true,
                output_tokens_max: Some(tokens),
                system: vec![said("Be brief.")],
                tools: vec![Tool { strict, ..function("f", Some(schema)) }],
                tool_choice: Some(ToolChoice::Auto),
                stop: vec![text("END")],
                end_user: Some(text("u")),
                ..asked(turns)
            };
            let (mut losses, mut out) = (Losses::new(Dialect::AnthropicMessages, true), Vec::new());
            write_request(&request, &target("claude-opus-4-8"), &mut losses, &mut out).unwrap();
            let again = read_request(&out, &ProofKey::new(&[7; 32])).unwrap();
            prop_assert_eq!(carried(again), carried(request));
        }
    }
}
