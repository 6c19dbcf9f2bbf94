//! Properties of the chat codec: what is written is read back, and no bytes make it panic.

use proptest::prelude::*;
use serde_json::Value;

use super::fuzz::chat_codec;
use super::testing::{call, client, key, said, target};
use super::{read_answer, read_fault, read_request, write_answer, write_request};
use crate::dialect::Dialect;
use crate::dialect::ir::{
    Answer, CallKind, Choice, Content, Document, Finish, Format, Media, MediaKind, Part, Raw, Request, Role,
    Setting, Source, Text, Tool, ToolChoice, ToolResult, Turn, Vendor,
};
use crate::dialect::loss::{Feature, Losses};
use crate::dialect::{Effort, Usage};

fn any_text() -> impl Strategy<Value = String> {
    "\\PC{1,12}|[\\x00-\\x7f]{1,6}|[\"\\\\/\u{1f600}é]{1,4}"
}

fn text(plain: String) -> Text<'static> {
    Text::from(plain)
}

fn any_shown() -> impl Strategy<Value = Part<'static>> {
    prop_oneof![
        any_text().prop_map(|plain| said(&plain)),
        ("https://[a-z]{1,8}/[a-z]{0,8}", prop::option::of("low|high")).prop_map(|(url, detail)| {
            let source = Source::Url(text(url));
            Content::Media(Media { kind: MediaKind::Image, source, detail: detail.map(text) }).into()
        }),
        "[A-Za-z0-9+/]{4,16}".prop_map(|data| {
            let source = Source::Base64 { media_type: Text::from_plain("image/png"), data: text(data) };
            Content::Media(Media { kind: MediaKind::Image, source, detail: None }).into()
        }),
        ("[A-Za-z0-9+/]{4,16}", any_text()).prop_map(|(data, title)| {
            let source = Source::Base64 { media_type: Text::from_plain("application/pdf"), data: text(data) };
            let title = Some(text(title));
            Content::Document(Document { source, title, context: None, citations: false }).into()
        }),
    ]
}

/// A turn of the assistant with calls, and the results of them behind it.
fn any_calls() -> impl Strategy<Value = Vec<Turn<'static>>> {
    prop::collection::vec(("[a-z]{1,8}", "[a-z_]{1,10}", any_text(), any_text()), 1..4).prop_map(|calls| {
        let mut parts = Vec::new();
        let mut results = Vec::new();
        for (id, name, arguments, answer) in calls {
            parts.push(call(&id, &name, &arguments));
            let result = ToolResult {
                call_id: Some(text(id)),
                name: None,
                parts: vec![said(&answer)],
                object: None,
                is_error: false,
                kind: CallKind::Function,
            };
            results.push(Content::ToolResult(result).into());
        }
        vec![
            Turn { role: Role::Assistant, name: None, parts },
            Turn { role: Role::User, name: None, parts: results },
        ]
    })
}

fn any_turns() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let one = prop_oneof![
        (prop::collection::vec(any_shown(), 0..4), prop::option::of("[a-z]{1,6}"))
            .prop_map(|(parts, name)| { vec![Turn { role: Role::User, name: name.map(text), parts }] }),
        any_text().prop_map(|plain| vec![Turn {
            role: Role::Assistant,
            name: None,
            parts: vec![said(&plain)]
        }]),
        any_calls(),
    ];
    prop::collection::vec(one, 1..5).prop_map(|turns| {
        // The first one is no instruction, or it would be the system's.
        turns.concat()
    })
}

fn any_tools() -> impl Strategy<Value = Vec<Tool<'static>>> {
    let tool = ("[a-zA-Z_-]{1,20}", prop::option::of(any_text()), 0u8..3);
    prop::collection::vec(tool, 0..4).prop_map(|tools| {
        let schemas =
            ["", r#"{"type":"object","x":[1, 2.50]}"#, r#"{"type":"object","additionalProperties":false}"#];
        tools
            .into_iter()
            .map(|(name, description, kind)| Tool {
                name: text(name),
                description: description.map(text),
                schema: (kind > 0).then(|| Raw::from_written(schemas[usize::from(kind)].to_owned())),
                strict: kind == 2,
                kind: CallKind::Function,
                grammar: None,
                cache: None,
            })
            .collect()
    })
}

fn any_request() -> impl Strategy<Value = Request<'static>> {
    let choice = prop::sample::select(vec![
        ToolChoice::Auto,
        ToolChoice::None,
        ToolChoice::Required,
        ToolChoice::Named(Text::from_plain("f")),
        ToolChoice::Allowed { required: true, names: vec![Text::from_plain("f")] },
    ]);
    let format = prop::sample::select(vec![
        Format::Text,
        Format::Json,
        Format::Schema {
            name: Some(Text::from_plain("n")),
            description: Some(Text::from_plain("d")),
            schema: Raw::from_written("{}".to_owned()),
            strict: false,
        },
    ]);
    let setting = prop::sample::select(vec![
        (Feature::Temperature, "0.70"),
        (Feature::TopP, "1"),
        (Feature::Seed, "-12345678901234567890"),
        (Feature::AnswerCount, "3"),
        (Feature::FrequencyPenalty, "1e-1"),
        (Feature::LogitBias, r#"{"7": 1}"#),
        (Feature::Logprobs, "5"),
        (Feature::Metadata, r#"{"a":"b"}"#),
        (Feature::PromptCacheKey, r#""k""#),
        (Feature::Verbosity, r#""low""#),
    ]);
    (
        (prop::option::of(any_text()), any_turns(), any_tools(), prop::option::of(choice)),
        (prop::option::of(any::<bool>()), format, prop::option::of(any::<u64>()), any::<bool>()),
        (
            prop::collection::vec(any_text(), 0..4),
            prop::option::of(any_text()),
            prop::collection::btree_map(0u8..10, setting, 0..4),
            prop::option::of(prop::sample::select(vec![Effort::Low, Effort::XHigh])),
        ),
    )
        .prop_map(
            |(
                (system, turns, tools, choice),
                (parallel, format, limit, stream),
                (stop, user, settings, effort),
            )| {
                let mut settings: Vec<_> = settings.into_values().collect();
                settings.sort_by_key(|(feature, _)| feature.row().name);
                settings.dedup_by_key(|(feature, _)| feature.row().name);
                let settings = settings
                    .into_iter()
                    .map(|(feature, json)| Setting { feature, value: Raw::from_written(json.to_owned()) });
                let has_tools = !tools.is_empty();
                let mut request = Request {
                    stream,
                    stream_usage: stream,
                    system: system.iter().map(|plain| said(plain)).collect(),
                    turns,
                    tool_choice: choice.filter(|_| has_tools),
                    parallel_tool_calls: parallel.filter(|_| has_tools),
                    tools,
                    format,
                    output_tokens_max: limit,
                    stop: stop.into_iter().map(text).collect(),
                    end_user: user.map(text),
                    settings: settings.collect(),
                    ..Request::default()
                };
                request.reasoning.effort = effort;
                request
            },
        )
}

/// JSON that may be a request, an answer or nothing of the sort.
fn any_json() -> impl Strategy<Value = String> {
    let names = vec![
        "messages",
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "tool_calls",
        "tool_call_id",
        "id",
        "function",
        "name",
        "arguments",
        "tools",
        "parameters",
        "tool_choice",
        "choices",
        "message",
        "finish_reason",
        "usage",
        "error",
        "reasoning_details",
        "data",
        "extra_content",
        "gateway",
        "signature",
        "response_format",
        "json_schema",
        "schema",
        "detail",
        "annotations",
        "file",
        "file_data",
        "input_audio",
        "format",
        "cache_control",
        "ttl",
    ];
    let words = vec![
        "user",
        "assistant",
        "tool",
        "system",
        "text",
        "image_url",
        "function",
        "stop",
        "data:;base64,iVBORw0KGgo=",
        "gw1.a.b.c",
        "5m",
        "file",
        "custom",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1.5e3".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        prop::sample::select(words).prop_map(|word| format!("\"{word}\"")),
        any_text().prop_map(|plain| Value::from(plain).to_string()),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let name = prop::sample::select(names.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

#[test]
fn the_fuzz_corpus_holds() {
    crate::json::fuzz::corpus("chat_codec").iter().for_each(|input| chat_codec(input));
}

proptest! {
    #[test]
    fn no_stream_makes_the_codec_panic(choice in any::<u8>(), events in prop::collection::vec(any_json(), 0..4)) {
        let wire: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        chat_codec(&[&[choice], wire.as_bytes()].concat());
    }

    #[test]
    fn requests_are_read_as_they_were_written(request in any_request()) {
        let mut out = Vec::new();
        let mut losses = Losses::new(Dialect::OpenAiChat, false);
        let target = target("a-deployment", Vendor::OpenAi);
        write_request(&request, &target, &mut losses, &mut out).expect("nothing to refuse");
        let mut read = read_request(&out, &key()).expect("what was written");
        read.settings.sort_by_key(|setting| setting.feature.row().name);
        prop_assert_eq!(read, request);
    }

    #[test]
    fn answers_are_read_as_they_were_written(
        texts in prop::option::of(any_text()),
        calls in prop::collection::vec(("[a-z]{1,8}", "[a-z]{1,8}", any_text()), 0..4),
        usage in prop::option::of((0u64..1000, 0u64..1000, 0u64..10)),
    ) {
        let mut parts: Vec<Part<'static>> = texts.iter().map(|plain| said(plain)).collect();
        parts.extend(calls.iter().map(|(id, name, arguments)| call(id, name, arguments)));
        let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        let answer = Answer {
            id: Some(Text::from_plain("a")),
            model: Some(Text::from_plain("m")),
            created: Some(5),
            choices: vec![Choice::new(parts, finish)],
            usage: usage.map(|(input, output, cached_input)| {
                Usage { input: input + 10, output, cached_input, ..Usage::default() }
            }),
        };
        let mut out = Vec::new();
        write_answer(&answer, &mut client(), &mut out);
        prop_assert_eq!(read_answer(&out, Vendor::OpenAi), Ok(answer));
    }

    /// What the reader takes, the writer writes or refuses; what it has written, the reader takes.
    #[test]
    fn whatever_comes_is_taken_or_refused(json in any_json(), vendor in 0u8..3) {
        let vendor = [Vendor::OpenAi, Vendor::Google, Vendor::Other][usize::from(vendor)];
        for body in [json.clone(), format!("{{\"messages\":[{json}]}}"), format!("{{\"messages\":[{{\"role\":\"user\",\"content\":[{json}]}}]}}")] {
            if let Ok(request) = read_request(body.as_bytes(), &key()) {
                let mut out = Vec::new();
                let mut losses = Losses::new(Dialect::OpenAiChat, false);
                if write_request(&request, &target("m", vendor), &mut losses, &mut out).is_ok() {
                    prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
                    let again = read_request(&out, &key());
                    // A conversation of nothing but empty thoughts has nothing left.
                    prop_assert!(again.is_ok() || out.windows(13).any(|bytes| bytes == b"\"messages\":[]"), "{:?}", again);
                }
            }
        }
        for body in [json.clone(), format!("{{\"choices\":[{json}]}}"), format!("{{\"choices\":[{{\"message\":{json}}}]}}")] {
            if let Ok(answer) = read_answer(body.as_bytes(), vendor) {
                let mut out = Vec::new();
                write_answer(&answer, &mut client(), &mut out);
                prop_assert!(read_answer(&out, vendor).is_ok());
            }
        }
        let _ = read_fault(400, json.as_bytes());
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_request(&bytes, &key());
        let _ = read_answer(&bytes, Vendor::Other);
        prop_assert!(!read_fault(500, &bytes).message.is_empty());
    }
}
