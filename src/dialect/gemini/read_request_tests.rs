//! Requests of Gemini's clients, read.

use serde_json::{Value, json};

use super::read_request::read_request;
use super::signature;
use super::tests_support::*;
use crate::dialect::Effort;
use crate::dialect::ir::*;
use crate::dialect::loss::{BadRequest, Feature};

fn read(body: &Value) -> Result<Request<'static>, BadRequest> {
    let body: &'static str = body.to_string().leak();
    read_request(body.as_bytes(), false, &key())
}

/// A request with these members beside its contents.
fn with(members: Value) -> Value {
    let mut body = json!({"contents": [{"parts": [{"text": "a"}]}]});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn all_that_can_be_said_is_read() {
    let body = json!({
        "model": "models/x",
        "system_instruction": {"role": "user", "parts": {"text": "be brief"}},
        "contents": {"parts": {"text": "hi"}},
        "tools": [
            {"function_declarations": [
                {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
                {"name": "g", "parameters_json_schema": {"type": "object"}, "behavior": "BLOCKING", "new": 1},
            ]},
            {"googleSearch": {"timeRangeFilter": {}}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "any", "allowed_function_names": ["f", "g"]}, "retrievalConfig": {}},
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "top_k": 40.0, "seed": -7, "frequencyPenalty": 1, "presencePenalty": -1.5,
            "maxOutputTokens": 100, "candidateCount": 2, "stopSequences": ["x"], "responseLogprobs": true, "logprobs": 3,
            "responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": true},
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 512, "thinkingLevel": "HIGH"},
            "responseModalities": ["TEXT", "IMAGE"], "audioTimestamp": true, "speechConfig": null,
        },
        "safetySettings": [{"category": "c"}],
        "cachedContent": "cachedContents/1",
        "serviceTier": "SERVICE_TIER_FLEX",
        "labels": {"a": "b"},
    });
    let request = read(&body).unwrap();
    assert!(request.stream_usage && !request.stream);
    assert_eq!(request.system, [says("be brief")]);
    assert_eq!(request.turns, [turn(Role::User, vec![says("hi")])]);
    let names: Vec<_> = request
        .tools
        .iter()
        .map(|tool| (tool.name.escaped(), tool.schema.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(
        names,
        [("f", r#"{"type":"object","properties":{"a":{"type":"string"}}}"#), ("g", r#"{"type":"object"}"#)]
    );
    assert_eq!(request.web_search, Some(WebSearch::default()));
    assert_eq!(
        request.tool_choice,
        Some(ToolChoice::Allowed { required: true, names: vec![text("f"), text("g")] })
    );
    assert_eq!(
        request.format,
        Format::Schema {
            name: None,
            description: None,
            schema: Raw::from_written(r#"{"type":["string","null"]}"#.into()),
            strict: true
        }
    );
    assert_eq!((request.output_tokens_max, request.stop.as_slice()), (Some(100), [text("x")].as_slice()));
    assert_eq!(
        request.reasoning,
        Reasoning { effort: Some(Effort::High), budget_tokens: Some(512), show: Some(SummaryWish::Auto) }
    );
    let settings: Vec<_> =
        request.settings.iter().map(|setting| (setting.feature, setting.value.as_str())).collect();
    for setting in [
        (Feature::Temperature, "0.5"),
        (Feature::TopP, "0.9"),
        (Feature::TopK, "40"),
        (Feature::Seed, "-7"),
        (Feature::FrequencyPenalty, "1"),
        (Feature::PresencePenalty, "-1.5"),
        (Feature::AnswerCount, "2"),
        (Feature::Logprobs, "3"),
        (Feature::Modalities, r#"["TEXT","IMAGE"]"#),
        (Feature::ToolExtras, r#""BLOCKING""#),
        (Feature::SafetySettings, r#"[{"category":"c"}]"#),
        (Feature::CachedContent, r#""cachedContents/1""#),
        (Feature::ServiceTier, r#""flex""#),
    ] {
        assert!(settings.contains(&setting), "{setting:?} in {settings:?}");
    }
    assert_eq!(settings.len(), 13);
    let unknown: Vec<_> = request.unknown.iter().map(Text::escaped).collect();
    assert_eq!(unknown, ["labels", "new", "timeRangeFilter", "retrievalConfig", "audioTimestamp"]);
}

#[test]
fn what_says_nothing_is_left_out() {
    let request = read(&with(json!({
        "generationConfig": {
            "candidateCount": 1, "responseLogprobs": false, "logprobs": 2, "responseModalities": ["TEXT"],
            "thinkingConfig": {"thinkingBudget": -1, "thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"},
            "responseMimeType": "text/plain",
        },
        "serviceTier": "new", "tools": [], "toolConfig": {"functionCallingConfig": {"mode": "MODE_UNSPECIFIED"}},
    })));
    let plain =
        Request { stream_usage: true, turns: vec![turn(Role::User, vec![says("a")])], ..Request::default() };
    assert_eq!(request, Ok(plain));
}

#[test]
fn modes_are_choices() {
    let choice = |config: Value| {
        let tools = json!([{"functionDeclarations": [{"name": "f"}]}]);
        let request =
            read(&with(json!({"tools": tools, "toolConfig": {"functionCallingConfig": config}}))).unwrap();
        (request.tool_choice, request.tools[0].strict)
    };
    let names = || vec![text("f"), text("g")];
    for (config, expected, strict) in [
        (json!({"mode": "AUTO"}), Some(ToolChoice::Auto), false),
        (json!({"mode": "none"}), Some(ToolChoice::None), false),
        (json!({"mode": "ANY"}), Some(ToolChoice::Required), false),
        (json!({"mode": "ANY", "allowedFunctionNames": ["f"]}), Some(ToolChoice::Named(text("f"))), false),
        (json!({"mode": "VALIDATED"}), Some(ToolChoice::Auto), true),
        (
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}),
            Some(ToolChoice::Allowed { required: false, names: names() }),
            true,
        ),
        (json!({}), None, false),
    ] {
        assert_eq!(choice(config.clone()), (expected, strict), "{config}");
    }
}

#[test]
fn media_are_what_their_types_say() {
    let image = |source, detail: Option<&str>| {
        Content::Media(Media { kind: MediaKind::Image, source, detail: detail.map(text) })
    };
    let base64 =
        |media_type: &str, data: &str| Source::Base64 { media_type: text(media_type), data: text(data) };
    let document = |source, title: Option<&str>| {
        Content::Document(Document { source, title: title.map(text), context: None, citations: false })
    };
    let url = || Source::Url(text("https://example.com/a"));
    for (part, expected) in [
        (
            json!({"inlineData": {"mimeType": "image/png", "data": "AA-_"}}),
            image(base64("image/png", "AA+/"), None),
        ),
        (
            json!({"inline_data": {"data": "iVBORw0KGgoAAAAN"}}),
            image(base64("image/png", "iVBORw0KGgoAAAAN"), None),
        ),
        (
            json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}}),
            image(base64("image/png", "AAAA"), Some("low")),
        ),
        (
            json!({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
            Content::Media(Media {
                kind: MediaKind::Audio,
                source: base64("audio/wav", "AAAA"),
                detail: None,
            }),
        ),
        (
            json!({"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "t"}}),
            document(base64("application/pdf", "AAAA"), Some("t")),
        ),
        (
            json!({"inlineData": {"mimeType": "text/plain", "data": "aGk="}}),
            document(Source::Text(text("hi")), None),
        ),
        (
            json!({"inlineData": {"mimeType": "text/plain", "data": "/w=="}}),
            document(base64("text/plain", "/w=="), None),
        ),
        (
            json!({"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a"}}),
            image(url(), None),
        ),
        (json!({"fileData": {"fileUri": "https://example.com/a"}}), document(url(), None)),
        (
            json!({"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/a"}, "videoMetadata": {}}),
            Content::Media(Media {
                kind: MediaKind::Video,
                source: Source::File(text("gs://b/a")),
                detail: None,
            }),
        ),
        (
            json!({"file_data": {"mime_type": "application/pdf", "file_uri": "https://generativelanguage.googleapis.com/v1beta/files/1"}}),
            document(Source::File(text("https://generativelanguage.googleapis.com/v1beta/files/1")), None),
        ),
        (json!({"newPart": 1}), Content::Unknown(text("newPart"))),
    ] {
        let request = read(&json!({"contents": [{"parts": [part]}]})).unwrap();
        assert_eq!(request.turns[0].parts[0].content, expected, "{part}");
    }
    let body = json!({
        "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_HIGH"},
    });
    assert_eq!(
        read(&body).unwrap().turns[0].parts[0].content,
        image(base64("image/png", "AAAA"), Some("high"))
    );
}

#[test]
fn a_conversation_that_was_streamed_is_put_together() {
    let envelope = signature::write(&proof(Vendor::Anthropic, "A"), &key()).escaped().to_owned();
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "h", "thought": true}]},
        {"role": "model", "parts": [{"text": "m", "thought": true}]},
        {"role": "model", "parts": [{"text": "", "thought": true, "thoughtSignature": envelope}]},
        {"role": "model", "parts": [{"text": "b"}, {"text": ""}]},
        {"role": "model", "parts": [{"text": "c", "thoughtSignature": "S"}]},
        {"role": "model", "parts": [{"text": "d"}, {"functionCall": {"name": "f"}, "thoughtSignature": "T"}, {"functionCall": {"name": "f", "args": {"x": 1}}}]},
        {"parts": [{"text": "here"}, {"functionResponse": {"name": "f", "response": {"output": "1"}}}]},
        {"parts": [{"functionResponse": {"name": "f", "response": {"error": "2"}}}]},
        {"role": "model", "parts": []},
        {"role": "user", "parts": [{"text": "e"}]},
    ]});
    let request = read(&body).unwrap();
    let thinking = |said: &str, proof, redacted| {
        Part::from(Content::Thinking { text: text(said), proof: Some(proof), redacted })
    };
    let on_text = Proof { item_id: Some(text("text")), ..proof(Vendor::Google, "S") };
    let with_arguments = {
        let mut part = call("call_1", "f", None);
        if let Content::ToolCall(call) = &mut part.content {
            call.arguments = Arguments::Object(raw(json!({"x": 1})));
        }
        part
    };
    let failed = ToolResult { is_error: true, ..result("call_1", Some("f"), "2") };
    assert_eq!(
        request.turns,
        [
            turn(Role::User, vec![says("a")]),
            turn(
                Role::Assistant,
                vec![
                    thinking("hm", proof(Vendor::Anthropic, "A"), false),
                    says("bc"),
                    thinking("", on_text, true),
                    says("d"),
                    call("call_0", "f", Some(proof(Vendor::Google, "T"))),
                    with_arguments,
                ]
            ),
            turn(
                Role::User,
                vec![
                    Content::ToolResult(result("call_0", Some("f"), "1")).into(),
                    Content::ToolResult(failed).into(),
                    says("here"),
                    says("e"),
                ]
            ),
        ]
    );
}

#[test]
fn results_are_one_text_or_an_object() {
    let read_result = |response: Value| {
        let body = json!({"contents": [
            {"role": "model", "parts": [{"functionCall": {"name": "f", "id": "1"}}]},
            {"parts": [{"functionResponse": {"name": "f", "id": "1", "response": response}}]},
        ]});
        match read(&body).unwrap().turns[1].parts[0].content.clone() {
            Content::ToolResult(result) => result,
            other => panic!("{other:?}"),
        }
    };
    let plain = |said| result("1", Some("f"), said);
    let object =
        |value: &Value, is_error| ToolResult { object: Some(raw(value.clone())), is_error, ..plain("") };
    assert_eq!(read_result(json!({"output": "x"})), plain("x"));
    assert_eq!(read_result(json!({"error": "x"})), ToolResult { is_error: true, ..plain("x") });
    assert_eq!(read_result(json!({"output": ""})), plain(""));
    assert_eq!(read_result(json!({})), plain(""));
    assert_eq!(read_result(Value::Null), plain(""));
    for (value, is_error) in [
        (json!({"result": 1}), false),
        (json!({"output": {"a": 1}}), false),
        (json!({"output": "x", "more": 1}), false),
        (json!({"error": {"code": 1}}), true),
        (json!({"output": "x", "error": "y"}), true),
    ] {
        assert_eq!(read_result(value.clone()), object(&value, is_error));
    }
}

#[test]
fn errors_name_the_field() {
    let contents = |contents: Value| json!({"contents": contents});
    let part = |part: Value| json!({"contents": [{"parts": [{"text": "a"}, part]}]});
    for (body, said) in [
        (json!([]), "`body`: must be an object, found an array"),
        (json!({}), "`contents`: is required"),
        (contents(json!([])), "`contents`: must say something"),
        (contents(json!([{"parts": []}])), "`contents`: must say something"),
        (contents(json!([{"role": "system", "parts": []}])), "`contents[0].role`: must be `user` or `model`"),
        (contents(json!(["a"])), "`contents[0]`: must be an object, found a string"),
        (part(json!({})), "`contents[0].parts[1]`: has no content"),
        (part(json!({"text": 1})), "`contents[0].parts[1].text`: must be a string, found a number"),
        (
            part(json!({"functionCall": {"name": "f"}})),
            "`contents[0].parts[1].functionCall`: must be in a content of role `model`",
        ),
        (
            part(json!({"functionResponse": {"name": "f"}})),
            "`contents[0].parts[1].functionResponse`: answers no call of the model's turn before it",
        ),
        (
            part(json!({"inlineData": {"mimeType": "image/png"}})),
            "`contents[0].parts[1].inlineData.data`: is required",
        ),
        (
            part(json!({"inlineData": {"data": "AAAA"}})),
            "`contents[0].parts[1].inlineData`: has no media type, and none can be told",
        ),
        (
            with(json!({"tools": [{"codeExecution": {}}]})),
            "`tools[0]`: `codeExecution` is a tool of Google's, which the selected model's API does not have",
        ),
        (
            with(json!({"tools": [{"functionDeclarations": [{}]}]})),
            "`tools[0].functionDeclarations[0].name`: is required",
        ),
        (
            with(
                json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]}),
            ),
            "`tools[0].functionDeclarations[0].parametersJsonSchema`: cannot be given beside `parameters`",
        ),
        (
            with(json!({"toolConfig": {"functionCallingConfig": {"mode": "x"}}})),
            "`toolConfig.functionCallingConfig.mode`: must be AUTO, ANY, NONE or VALIDATED",
        ),
        (
            with(json!({"generationConfig": {"temperature": "1"}})),
            "`generationConfig.temperature`: must be a number, found a string",
        ),
        (
            with(json!({"generationConfig": {"topK": 1.5}})),
            "`generationConfig.topK`: must be a whole number of at least 0, found a number",
        ),
        (with(json!({"generationConfig": {"seed": 1.5}})), "`generationConfig.seed`: must be a whole number"),
        (
            with(json!({"generationConfig": {"responseMimeType": "text/x.enum"}})),
            "`generationConfig.responseMimeType`: the selected model's API writes text/plain and application/json only",
        ),
        (
            with(json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "NONE"}}})),
            "`generationConfig.thinkingConfig.thinkingLevel`: must be MINIMAL, LOW, MEDIUM or HIGH",
        ),
        (
            with(json!({"systemInstruction": {"parts": [{"inlineData": {}}]}})),
            "`systemInstruction.parts[0]`: must be a text, found `inlineData`",
        ),
        (
            json!({"contents": [{"parts": [{"text": "a"}]}], "generation_config": {}, "generationConfig": {}}),
            "`generationConfig`: occurs more than once",
        ),
    ] {
        assert_eq!(
            read(&body).map(|_| String::new()).unwrap_or_else(|error| error.to_string()),
            said,
            "{body}"
        );
    }
}
