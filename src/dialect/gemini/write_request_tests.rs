//! Requests for Gemini's models, written, and read again.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::read_request::read_request;
use super::signature;
use super::tests_support::*;
use super::write_request::write_request;
use crate::dialect::context::{TargetModel, Undo};
use crate::dialect::ir::*;
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::{Dialect, Effort};

const NEW: &str = "gemini-3-flash";

fn write(request: &Request<'_>, model: &str) -> Result<(Value, String, Undo), BadRequest> {
    let target = TargetModel {
        name: model,
        vendor: Vendor::Google,
        token_limit_param: "max_tokens",
        output_tokens_default: 8192,
        reasoning_field: None,
    };
    let (mut losses, mut out) = (Losses::new(Dialect::Gemini, false), Vec::new());
    let undo = write_request(request, &target, &mut losses, &mut out)?;
    Ok((serde_json::from_slice(&out).unwrap(), losses.header_value(), undo))
}

fn asked(turns: Vec<Turn<'static>>) -> Request<'static> {
    Request { turns, ..Request::default() }
}

fn plain() -> Request<'static> {
    asked(vec![turn(Role::User, vec![says("a")])])
}

#[test]
fn a_request_is_written_with_nothing_that_was_not_said() {
    let (body, losses, undo) = write(&plain(), NEW).unwrap();
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}));
    assert_eq!((losses.as_str(), undo), ("", Undo::default()));
    let (body, ..) = write(&asked(vec![]), NEW).unwrap();
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": " "}]}]}));
}

#[test]
fn settings_are_written_dropped_or_refused() {
    let mut request = plain();
    request.output_tokens_max = Some(7);
    request.stop = vec![text("x\n")];
    for (feature, value) in [
        (Feature::Temperature, "1.50"),
        (Feature::TopP, "0.5"),
        (Feature::TopK, "3"),
        (Feature::Seed, "1"),
        (Feature::AnswerCount, "2"),
        (Feature::FrequencyPenalty, "1"),
        (Feature::PresencePenalty, "2"),
        (Feature::Logprobs, "0"),
        (Feature::ServiceTier, "\"priority\""),
        (Feature::LogitBias, "{}"),
        (Feature::PromptCacheKey, "\"k\""),
    ] {
        request.settings.push(Setting { feature, value: Raw::from_written(value.to_owned()) });
    }
    request.end_user = Some(text("u"));
    request.parallel_tool_calls = Some(false);
    request.unknown = vec![text("mystery")];
    let (body, losses, _) = write(&request, NEW).unwrap();
    assert_eq!(
        body["generationConfig"],
        json!({
            "maxOutputTokens": 7, "stopSequences": ["x\n"], "temperature": 1.50, "topP": 0.5, "topK": 3, "seed": 1,
            "candidateCount": 2, "frequencyPenalty": 1, "presencePenalty": 2, "responseLogprobs": true,
        })
    );
    assert_eq!(body["serviceTier"], "priority");
    assert_eq!(losses, "dropped=user,parallel_tool_calls,mystery,logit_bias");

    request.settings = vec![Setting { feature: Feature::Logprobs, value: Raw::from_written("4".to_owned()) }];
    assert_eq!(write(&request, NEW).unwrap().0["generationConfig"]["logprobs"], 4);
    request.stop = vec![text("x"); 6];
    assert_eq!(write(&request, NEW).unwrap_err().field, "stop");
    request.stop.clear();
    request.settings =
        vec![Setting { feature: Feature::Background, value: Raw::from_written("true".to_owned()) }];
    assert_eq!(write(&request, NEW).unwrap_err().field, "background");
}

#[test]
fn thinking_is_steered_in_the_models_terms() {
    let effort = |effort| Reasoning { effort: Some(effort), ..Reasoning::default() };
    let budget = |tokens| Reasoning { budget_tokens: Some(tokens), ..Reasoning::default() };
    let both =
        Reasoning { effort: Some(Effort::Low), budget_tokens: Some(9000), show: Some(SummaryWish::Detailed) };
    let hidden = Reasoning { show: Some(SummaryWish::Hidden), ..Reasoning::default() };
    let (flash, pro, lite, old) =
        ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite", "gemini-2.0-flash");
    for (model, reasoning, expected, losses) in [
        (NEW, effort(Effort::Medium), json!({"thinkingLevel": "MEDIUM"}), ""),
        (NEW, effort(Effort::None), json!({"thinkingLevel": "MINIMAL"}), "changed=reasoning_effort"),
        (NEW, effort(Effort::Max), json!({"thinkingLevel": "HIGH"}), "changed=reasoning_effort"),
        (NEW, budget(8000), json!({"thinkingLevel": "MEDIUM"}), "changed=thinking_budget"),
        (NEW, both, json!({"thinkingLevel": "LOW", "includeThoughts": true}), ""),
        (NEW, hidden, json!({"includeThoughts": false}), ""),
        (NEW, Reasoning::default(), Value::Null, ""),
        (
            "gemini-3-pro-preview",
            effort(Effort::Medium),
            json!({"thinkingLevel": "HIGH"}),
            "changed=reasoning_effort",
        ),
        (
            "gemini-3-pro-preview",
            effort(Effort::Minimal),
            json!({"thinkingLevel": "LOW"}),
            "changed=reasoning_effort",
        ),
        (flash, effort(Effort::None), json!({"thinkingBudget": 0}), ""),
        (flash, effort(Effort::Low), json!({"thinkingBudget": 1024}), ""),
        (flash, effort(Effort::Max), json!({"thinkingBudget": 24576}), ""),
        (flash, both, json!({"thinkingBudget": 9000, "includeThoughts": true}), ""),
        (flash, budget(99_999), json!({"thinkingBudget": 24576}), "changed=thinking_budget"),
        (pro, effort(Effort::None), json!({"thinkingBudget": 128}), "changed=reasoning_effort"),
        (pro, budget(1), json!({"thinkingBudget": 128}), "changed=thinking_budget"),
        (pro, effort(Effort::XHigh), json!({"thinkingBudget": 32768}), ""),
        (lite, budget(100), json!({"thinkingBudget": 512}), "changed=thinking_budget"),
        (lite, budget(0), json!({"thinkingBudget": 0}), ""),
        (old, effort(Effort::None), Value::Null, ""),
        (old, both, Value::Null, "dropped=reasoning_effort,thinking_budget"),
    ] {
        let request = Request { reasoning, ..plain() };
        let (body, found, _) = write(&request, model).unwrap();
        assert_eq!(
            (&body["generationConfig"]["thinkingConfig"], found.as_str()),
            (&expected, losses),
            "{model} {reasoning:?}"
        );
    }
}

fn tool(name: &str, schema: Option<Value>) -> Tool<'static> {
    Tool {
        name: text(name),
        description: Some(text("d")),
        schema: schema.map(raw),
        strict: false,
        kind: CallKind::Function,
        grammar: None,
        cache: None,
    }
}

#[test]
fn tools_are_written_as_the_model_takes_them() {
    let schema = json!({"$schema": "s", "type": "object", "properties": {"a": {"type": ["string", "null"], "format": "uri"}}});
    let mut request = plain();
    request.tools = vec![
        tool("f", Some(schema)),
        tool("g", Some(json!({"type": "object", "properties": {}}))),
        tool("bad name", None),
    ];
    request.tools.push(Tool { kind: CallKind::Custom, grammar: Some(raw(json!({}))), ..tool("run", None) });
    request.web_search = Some(WebSearch { allowed_domains: vec![text("a.b")], location: None });
    request.tool_choice = Some(ToolChoice::Named(text("bad name")));
    let (body, losses, undo) = write(&request, NEW).unwrap();
    let safe = undo.tool_names[0].0.clone();
    let input = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
    assert_eq!(
        body["tools"],
        json!([
            {"functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema":
                    {"type": "object", "properties": {"a": {"type": ["string", "null"], "format": "uri"}}}},
                {"name": "g", "description": "d", "parametersJsonSchema": {"type": "object", "properties": {}}},
                {"name": safe, "description": "d"},
                {"name": "run", "description": "d", "parametersJsonSchema": input},
            ]},
            {"googleSearch": {}},
        ])
    );
    assert_eq!(
        body["toolConfig"],
        json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [safe]}})
    );
    assert_eq!(losses, "dropped=grammar,web_search_scope; changed=custom_tool");
    assert_eq!(
        (undo.tool_names[0].1.as_str(), undo.custom_tools.as_slice()),
        ("bad name", ["run".to_owned()].as_slice())
    );

    request.tools.truncate(2);
    request.tool_choice = None;
    let (body, losses, _) = write(&request, "gemini-2.0-flash").unwrap();
    assert_eq!(
        body["tools"][0]["functionDeclarations"],
        json!([
            {"name": "f", "description": "d", "parameters":
                {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}}}},
            {"name": "g", "description": "d"},
        ])
    );
    assert_eq!(losses, "dropped=web_search_scope; changed=schema_keywords");
}

#[test]
fn choices_are_modes() {
    let calling = |choice: ToolChoice<'static>, model: &str| {
        let tools = vec![tool("f", None), tool("g", None)];
        let request = Request { tools, tool_choice: Some(choice), ..plain() };
        let (body, losses, _) = write(&request, model).unwrap();
        assert_eq!(losses, "");
        let sent = body["tools"][0]["functionDeclarations"].as_array().unwrap().len();
        (body["toolConfig"]["functionCallingConfig"].clone(), sent)
    };
    let some = |required| ToolChoice::Allowed { required, names: vec![text("g")] };
    for (choice, model, expected, sent) in [
        (ToolChoice::Auto, NEW, json!({"mode": "AUTO"}), 2),
        (ToolChoice::None, NEW, json!({"mode": "NONE"}), 2),
        (ToolChoice::Required, NEW, json!({"mode": "ANY"}), 2),
        (some(true), NEW, json!({"mode": "ANY", "allowedFunctionNames": ["g"]}), 2),
        (some(false), NEW, json!({"mode": "VALIDATED", "allowedFunctionNames": ["g"]}), 2),
        (some(false), "gemini-2.0-flash", json!({"mode": "AUTO"}), 1),
    ] {
        assert_eq!(calling(choice.clone(), model), (expected, sent), "{choice:?}");
    }
    let request = Request { tool_choice: Some(ToolChoice::Required), ..plain() };
    assert_eq!(write(&request, NEW).unwrap().0["toolConfig"], Value::Null, "nothing to choose from");
}

#[test]
fn formats_depend_on_the_model() {
    let schema = |strict| Format::Schema {
        name: Some(text("n")),
        description: None,
        schema: raw(json!({"const": "a"})),
        strict,
    };
    let config = |format, model: &str, tools| {
        let request = Request { format, tools, ..plain() };
        write(&request, model).map(|(body, losses, _)| (body["generationConfig"].clone(), losses))
    };
    let json = json!({"responseMimeType": "application/json"});
    assert_eq!(config(Format::Json, "gemini-2.0-flash", vec![]), Ok((json, String::new())));
    let new = json!({"responseMimeType": "application/json", "responseJsonSchema": {"const": "a"}});
    assert_eq!(config(schema(true), NEW, vec![tool("f", None)]), Ok((new, String::new())));
    let old =
        json!({"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "enum": ["a"]}});
    assert_eq!(config(schema(false), "gemini-2.0-flash", vec![]), Ok((old, String::new())));
    let refused = config(schema(false), "gemini-2.5-pro", vec![tool("f", None)]).unwrap_err();
    assert_eq!(refused.field, "json_schema");
}

#[test]
fn instructions_come_first_and_neighbours_are_one_turn() {
    let mut request = asked(vec![
        turn(Role::User, vec![says("a"), says("")]),
        turn(Role::System, vec![says("later")]),
        turn(Role::User, vec![says("b")]),
        turn(Role::Assistant, vec![says("")]),
        turn(Role::Assistant, vec![says("c")]),
    ]);
    request.system = vec![says("first"), says("")];
    let (body, losses, _) = write(&request, NEW).unwrap();
    assert_eq!(
        body,
        json!({
            "systemInstruction": {"parts": [{"text": "first"}, {"text": "later"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
                {"role": "model", "parts": [{"text": "c"}]},
            ],
        })
    );
    assert_eq!(losses, "changed=system_position,prefill");
    let nothing = Content::Thinking { text: text("hm"), proof: None, redacted: false };
    let request = asked(vec![
        turn(Role::User, vec![says("a")]),
        turn(Role::Assistant, vec![nothing.into()]),
        turn(Role::User, vec![says("b")]),
    ]);
    let (body, ..) = write(&request, NEW).unwrap();
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]));
}

/// The parts of the model's turn with these parts, behind which results follow.
fn model_parts(parts: Vec<Part<'static>>, model: &str) -> (Value, String) {
    let request = asked(vec![turn(Role::Assistant, parts), turn(Role::User, vec![says("x")])]);
    let (body, losses, _) = write(&request, model).unwrap();
    (body["contents"][0]["parts"].clone(), losses)
}

#[test]
fn signatures_stand_where_google_put_them() {
    let google = |item_id: Option<&str>| Proof { item_id: item_id.map(text), ..proof(Vendor::Google, "S") };
    let thinking = |said: &str, proof, redacted| {
        Part::from(Content::Thinking { text: text(said), proof: Some(proof), redacted })
    };
    let function = |id: &str, signature: Option<&str>| {
        let mut part = json!({"functionCall": {"id": id, "name": "f", "args": {}}});
        if let Some(signature) = signature {
            part["thoughtSignature"] = json!(signature);
        }
        part
    };
    let bypass = Some(signature::BYPASS);
    let anthropic = || proof(Vendor::Anthropic, "A");
    for (parts, expected, losses) in [
        // In the part that it came with.
        (vec![call("1", "f", Some(google(None)))], json!([function("1", Some("S"))]), ""),
        (
            vec![says("a"), thinking("", google(Some("text")), true)],
            json!([{"text": "a", "thoughtSignature": "S"}]),
            "",
        ),
        (
            vec![says("a"), thinking("", google(None), true)],
            json!([{"text": "a"}, {"text": "", "thoughtSignature": "S"}]),
            "",
        ),
        (
            vec![thinking("hm", google(None), false)],
            json!([{"text": "hm", "thought": true, "thoughtSignature": "S"}]),
            "",
        ),
        // In a block beside its call: by the call's id, behind it, before it.
        (
            vec![call("1", "f", None), call("2", "f", None), thinking("", google(Some("1")), true)],
            json!([function("1", Some("S")), function("2", None)]),
            "",
        ),
        (
            vec![call("1", "f", None), thinking("", google(None), true), call("2", "f", None)],
            json!([function("1", Some("S")), function("2", None)]),
            "",
        ),
        (
            vec![thinking("", google(None), false), call("1", "f", None)],
            json!([function("1", Some("S"))]),
            "",
        ),
        // Another vendor's goes nowhere; the first call of a step gets Google's word for it.
        (
            vec![call("1", "f", None), call("2", "f", None)],
            json!([function("1", bypass), function("2", None)]),
            "",
        ),
        (vec![call("1", "f", Some(anthropic()))], json!([function("1", bypass)]), ""),
        (vec![thinking("hm", anthropic(), false), says("a")], json!([{"text": "a"}]), "dropped=thinking"),
        (
            vec![Content::Thinking { text: text("hm"), proof: None, redacted: false }.into(), says("a")],
            json!([{"text": "a"}]),
            "dropped=thinking",
        ),
    ] {
        assert_eq!(model_parts(parts.clone(), NEW), (expected, losses.to_owned()), "{parts:?}");
    }
    let old = model_parts(vec![call("1", "f", None)], "gemini-2.5-flash").0;
    assert_eq!(
        old,
        json!([{"functionCall": {"name": "f", "args": {}}}]),
        "neither ids nor signatures are asked for"
    );
}

#[test]
fn calls_in_the_history_have_objects() {
    let with = |arguments, kind| {
        let call = ToolCall {
            id: Some(text("1")),
            name: text("f"),
            arguments,
            kind,
            proof: Some(proof(Vendor::Google, "S")),
        };
        let (parts, losses) = model_parts(vec![Content::ToolCall(call).into()], NEW);
        (parts[0]["functionCall"]["args"].clone(), losses)
    };
    let string = |plain: &str| Arguments::Text(text(plain));
    assert_eq!(with(string(""), CallKind::Function), (json!({}), String::new()));
    assert_eq!(with(string(" {\"a\":1}"), CallKind::Function), (json!({"a": 1}), String::new()));
    assert_eq!(
        with(string("{\"a\""), CallKind::Function),
        (json!({"_raw": "{\"a\""}), "changed=tool_arguments".to_owned())
    );
    assert_eq!(
        with(string("ls \"x\""), CallKind::Custom),
        (json!({"input": "ls \"x\""}), "changed=custom_tool".to_owned())
    );
}

#[test]
fn results_follow_their_calls() {
    let image = || {
        let source = Source::Base64 { media_type: text("image/png"), data: text("AAAA") };
        Part::from(Content::Media(Media { kind: MediaKind::Image, source, detail: None }))
    };
    let conversation = |results: Vec<ToolResult<'static>>| {
        let results = results.into_iter().map(|result| Content::ToolResult(result).into());
        asked(vec![
            turn(Role::Assistant, vec![call("1", "f", None), call("2", "g", None)]),
            turn(Role::User, results.chain([says("x")]).collect()),
        ])
    };
    let with_image = ToolResult { parts: vec![says("a"), image(), says("b")], ..result("2", None, "") };
    let failed = ToolResult { is_error: true, ..result("1", None, "{\"no\":1}") };
    let request = conversation(vec![with_image, failed]);
    let response = |id: &str, name: &str, response: Value| json!({"functionResponse": {"id": id, "name": name, "response": response}});
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let mut with_parts = response("2", "g", json!({"output": "a\nb"}));
    with_parts["functionResponse"]["parts"] = json!([inline]);
    let (body, losses, _) = write(&request, NEW).unwrap();
    assert_eq!(
        body["contents"][1]["parts"],
        json!([response("1", "f", json!({"error": "{\"no\":1}"})), with_parts, {"text": "x"}])
    );
    assert_eq!(losses, "");
    let (body, losses, _) = write(&request, "gemini-2.5-flash").unwrap();
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"functionResponse": {"name": "f", "response": {"error": "{\"no\":1}"}}},
            {"functionResponse": {"name": "g", "response": {"output": "a\nb"}}},
            inline,
            {"text": "x"},
        ])
    );
    assert_eq!(losses, "changed=tool_result_media");

    for (said, expected) in [
        ("", json!({"output": ""})),
        ("plain", json!({"output": "plain"})),
        ("{\"a\": [1]}", json!({"a": [1]})),
        ("[1]", json!({"output": "[1]"})),
    ] {
        let (body, ..) = write(&conversation(vec![result("1", None, said)]), NEW).unwrap();
        assert_eq!(body["contents"][1]["parts"][0], response("1", "f", expected));
    }
    let document = |source, title: &str| {
        let (title, context) = (Some(text(title)), Some(text("c")));
        Part::from(Content::Document(Document { source, title, context, citations: false }))
    };
    let pdf = Source::Base64 { media_type: text("application/pdf"), data: text("AAAA") };
    let documents = vec![document(Source::Text(text("x")), "t"), document(pdf, "u")];
    let brought = ToolResult { parts: documents, ..result("1", None, "") };
    let (body, losses, _) = write(&conversation(vec![brought]), NEW).unwrap();
    let mut expected = response("1", "f", json!({"output": "c\nt\nx\nc"}));
    expected["functionResponse"]["parts"] =
        json!([{"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}]);
    assert_eq!(body["contents"][1]["parts"][0], expected);
    assert_eq!(losses, "changed=document_context,document_text");

    let unknown = write(&conversation(vec![result("9", None, "")]), NEW).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "`tool_result`: answers no call of the assistant's message before it: `9`"
    );
}

#[test]
fn user_content_is_carried_changed_or_refused() {
    let base64 = |media_type: &str| Source::Base64 { media_type: text(media_type), data: text("AAAA") };
    let media =
        |kind, source, detail: Option<&str>| Content::Media(Media { kind, source, detail: detail.map(text) });
    let document = |source, title: Option<&str>, citations| {
        Content::Document(Document { source, title: title.map(text), context: Some(text("c")), citations })
    };
    let inline = |media_type: &str| json!({"inlineData": {"mimeType": media_type, "data": "AAAA"}});
    let mut detailed = inline("image/png");
    detailed["mediaResolution"] = json!({"level": "MEDIA_RESOLUTION_LOW"});
    let search = Content::SearchResult { title: text("t"), source: text("s"), text: text("x") };
    let url = || Source::Url(text("https://example.com"));
    let written = |content: Content<'static>, model: &str| {
        let request = asked(vec![turn(Role::User, vec![content.into()])]);
        write(&request, model).map(|(body, losses, _)| (body["contents"][0]["parts"].clone(), losses))
    };
    for (content, model, expected, losses) in [
        (media(MediaKind::Image, base64("image/png"), Some("low")), NEW, json!([detailed]), ""),
        (
            media(MediaKind::Image, base64("image/png"), Some("low")),
            "gemini-2.5-pro",
            json!([inline("image/png")]),
            "dropped=detail",
        ),
        (media(MediaKind::Image, base64("image/png"), Some("auto")), NEW, json!([inline("image/png")]), ""),
        (media(MediaKind::Audio, base64("audio/wav"), None), NEW, json!([inline("audio/wav")]), ""),
        (media(MediaKind::Video, base64("video/mp4"), None), NEW, json!([inline("video/mp4")]), ""),
        (
            document(base64("application/pdf"), None, true),
            NEW,
            json!([{"text": "c"}, inline("application/pdf")]),
            "dropped=citations; changed=document_context",
        ),
        (
            document(Source::Text(text("x")), Some("t"), false),
            NEW,
            json!([{"text": "c"}, {"text": "t\nx"}]),
            "changed=document_context,document_text",
        ),
        (search, NEW, json!([{"text": "t\ns\nx"}]), "changed=search_result"),
    ] {
        assert_eq!(written(content.clone(), model), Ok((expected, losses.to_owned())), "{content:?}");
    }
    for (content, field) in [
        (media(MediaKind::Image, url(), None), "image_url"),
        (media(MediaKind::Image, Source::File(text("f")), None), "file_id"),
        (media(MediaKind::Video, url(), None), "video"),
        (document(url(), None, false), "document_url"),
        (document(Source::File(text("f")), None, false), "file_id"),
        (Content::Unknown(text("container_upload")), "container_upload"),
    ] {
        assert_eq!(written(content.clone(), NEW).unwrap_err().field, field, "{content:?}");
    }
}

/// Conversations that this dialect can say in full.
fn conversations() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let plain = || "[a-zé😀\"\\\\\n]{1,12}";
    let signature = || "[a-zA-Z0-9+/]{1,12}".prop_map(|data| proof(Vendor::Google, &data));
    let step = (
        plain(),
        prop::option::of((plain(), signature())),
        prop::option::of(plain()),
        prop::collection::vec(("[a-z_]{1,8}", prop::option::of(signature()), plain(), any::<bool>()), 0..3),
    );
    prop::collection::vec(step, 1..4).prop_map(|steps| {
        let (mut turns, mut count) = (Vec::new(), 0);
        for (asked, thought, answered, calls) in steps {
            let mut parts = Vec::new();
            if let Some((said, proof)) = thought {
                parts.push(
                    Content::Thinking { text: text(&said), proof: Some(proof), redacted: false }.into(),
                );
            }
            parts.extend(answered.map(|said| says(&said)));
            let mut results = Vec::new();
            for (index, (name, signature, said, is_error)) in calls.into_iter().enumerate() {
                let id = format!("c{count}");
                count += 1;
                // The first one of a step always has one.
                let signature = signature.or((index == 0).then(|| proof(Vendor::Google, "first")));
                parts.push(call(&id, &name, signature));
                let result = ToolResult { is_error, ..result(&id, Some(&name), &said) };
                results.push(Content::ToolResult(result).into());
            }
            turns.push(turn(Role::User, vec![says(&asked)]));
            if !parts.is_empty() {
                turns.push(turn(Role::Assistant, parts));
            }
            if !results.is_empty() {
                turns.push(turn(Role::User, results));
            }
        }
        // Neighbours of one role are one turn, results first.
        turns.into_iter().fold(Vec::<Turn<'static>>::new(), |mut turns, mut turn| {
            match turns.last_mut().filter(|last| last.role == turn.role) {
                Some(last) => {
                    last.parts.append(&mut turn.parts);
                    last.parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
                }
                None => turns.push(turn),
            }
            turns
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(turns in conversations(), limit in prop::option::of(1..9000u64)) {
        let request = Request {
            stream_usage: true,
            system: vec![says("s")],
            turns,
            tools: vec![tool("f", Some(json!({"type": "object"})))],
            web_search: Some(WebSearch::default()),
            tool_choice: Some(ToolChoice::Required),
            format: Format::Schema { name: None, description: None, schema: raw(json!({"type": "object"})), strict: true },
            output_tokens_max: limit,
            stop: vec![text("x")],
            reasoning: Reasoning { effort: Some(Effort::Low), budget_tokens: None, show: Some(SummaryWish::Auto) },
            ..Request::default()
        };
        let (body, ..) = write(&request, NEW).unwrap();
        let body = body.to_string();
        prop_assert_eq!(read_request(body.as_bytes(), false, &key()).unwrap(), request);
    }
}
