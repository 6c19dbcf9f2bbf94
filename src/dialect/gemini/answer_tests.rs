//! Answers in one piece, read and written.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::read_answer::read_answer;
use super::tests_support::*;
use super::write_answer::write_answer;
use crate::dialect::Usage;
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Citation, Content, FaultCase, Finish, Media, MediaKind, Part, Proof,
    Raw, Source, Text, ToolCall, Vendor,
};

fn body(parts: &str, more: &str) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}},"finishReason":"STOP"{more}}}]}}"#
    )
}

fn read_parts(parts: &str, more: &str) -> Vec<String> {
    let body = body(parts, more);
    let answer = read_answer(body.as_bytes(), Vendor::Google).unwrap();
    said(&answer).swap_remove(0).0
}

#[test]
fn parts_are_read_as_in_a_stream() {
    let cases: &[(&str, &[&str])] = &[
        (r#"{"text":"a"},{"text":"b"}"#, &[r#"text "ab" []"#]),
        (
            r#"{"text":"a","thoughtSignature":"S"},{"text":"b"}"#,
            &[r#"text "a" []"#, r#"redacted "" Google:S"#, r#"text "b" []"#],
        ),
        (
            r#"{"text":"a"},{"text":"","thoughtSignature":"S"}"#,
            &[r#"text "a" []"#, r#"redacted "" Google:S"#],
        ),
        (
            r#"{"text":"a","thought":true},{"text":"b","thought":true,"thought_signature":"S"},{"text":"c","thought":true}"#,
            &[r#"thinking "ab" Google:S"#, r#"thinking "c""#],
        ),
        (
            r#"{"functionCall":{"name":"f","args":{"a": 1}},"thoughtSignature":"S"},{"functionCall":{"name":"g"}}"#,
            &[r#"call f({"a":1}) Google:S"#, "call g({})"],
        ),
        (
            r#"{"text":"a"},{"executableCode":{}},{"text":""},7,{"functionCall":{}},{"text":"b"}"#,
            &[r#"text "ab" []"#],
        ),
        ("", &[]),
    ];
    for (parts, blocks) in cases {
        assert_eq!(read_parts(parts, ""), *blocks, "{parts}");
        // And it is the same as a stream of one chunk.
        let body = body(parts, "");
        assert_eq!(said(&read(&[&sse(&[&body])]).answer())[0].0, *blocks, "{parts}");
    }
}

#[test]
fn sources_go_to_the_text_that_they_are_of() {
    let grounding = |supports: &str| {
        format!(
            r#","groundingMetadata":{{"groundingChunks":[{{"web":{{"uri":"u"}}}}],"groundingSupports":[{supports}]}}"#
        )
    };
    let support = |segment: &str| format!(r#"{{"segment":{{{segment}}},"groundingChunkIndices":[0]}}"#);
    let texts = r#"{"text":"hm","thought":true},{"text":"é1"},{"text":"é2"},{"functionCall":{"name":"f"}},{"text":"é3"}"#;
    for (supports, expected) in [
        (
            support(r#""partIndex":1,"endIndex":3"#),
            [r#"text "é1é2" [("u", Some((0, 2)))]"#, r#"text "é3" []"#],
        ),
        (
            support(r#""partIndex":2,"startIndex":2,"endIndex":3"#),
            [r#"text "é1é2" [("u", Some((3, 4)))]"#, r#"text "é3" []"#],
        ),
        (
            support(r#""partIndex":4,"endIndex":2"#),
            [r#"text "é1é2" []"#, r#"text "é3" [("u", Some((0, 1)))]"#],
        ),
        // Counted over the parts; behind the end is the end.
        (
            support(r#""startIndex":2,"endIndex":99"#),
            [r#"text "é1é2" []"#, r#"text "é3" [("u", Some((0, 2)))]"#],
        ),
        // No text of this number, or no text at all that it is of: a source of the answer.
        (support(r#""partIndex":9,"endIndex":2"#), [r#"text "é1é2" []"#, r#"text "é3" [("u", None)]"#]),
        (String::new(), [r#"text "é1é2" []"#, r#"text "é3" [("u", None)]"#]),
    ] {
        let parts = read_parts(texts, &grounding(&supports));
        let found: Vec<&str> =
            parts.iter().map(String::as_str).filter(|part| part.starts_with("text")).collect();
        assert_eq!(found, expected, "{supports}");
    }
    assert_eq!(read_parts("", &grounding(&support(r#""endIndex":2"#))), [""; 0]);
}

#[test]
fn a_body_that_is_no_answer_is_a_fault() {
    for (body, case, message) in [
        (r#"{"error":{"code":503,"message":"busy"}}"#, FaultCase::Overloaded, "busy"),
        (r#"[{"error":{"code":400,"message":"no"}}]"#, FaultCase::BadRequest, "no"),
        ("{}", FaultCase::Internal, "the provider sent an answer without content"),
        (r#"{"candidates":[]}"#, FaultCase::Internal, "the provider sent an answer without content"),
        (r#"{"candidates":"#, FaultCase::Internal, "the provider sent an answer that is not JSON"),
        ("<html>", FaultCase::Internal, "the provider sent an answer that is not JSON"),
        ("", FaultCase::Internal, "the provider sent an answer that is not JSON"),
        (
            r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"f("}]}"#,
            FaultCase::Internal,
            "f(",
        ),
        (
            r#"{"candidates":[{"finishReason":"STOP"},{"finishReason":"TOO_MANY_TOOL_CALLS"}]}"#,
            FaultCase::Internal,
            "the provider ended the answer with TOO_MANY_TOOL_CALLS",
        ),
    ] {
        let fault = read_answer(body.as_bytes(), Vendor::Google).unwrap_err();
        assert_eq!((fault.case, fault.message.escaped()), (case, message), "{body}");
    }
    let fault = read_answer(b"{\"\xff\":1}", Vendor::Google).unwrap_err();
    assert_eq!(fault.message.escaped(), "the provider sent an answer that is not UTF-8");
}

#[test]
fn a_filtered_prompt_is_an_answer_without_parts() {
    let body = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"modelVersion":"m"}"#;
    let answer = read_answer(body.as_bytes(), Vendor::Google).unwrap();
    let words = Some(Text::from_plain("PROHIBITED_CONTENT"));
    assert_eq!(answer.choices, [Choice::new(Vec::new(), Finish::PromptFiltered(words))]);
    let mut out = Vec::new();
    write_answer(&answer, &mut client(), &mut out);
    let written: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        written["promptFeedback"],
        json!({"blockReason": "SAFETY", "blockReasonMessage": "PROHIBITED_CONTENT"})
    );
    assert_eq!(written["candidates"], Value::Null);
}

fn call(arguments: Arguments<'static>, kind: CallKind) -> Part<'static> {
    let (id, name) = (Some(Text::from_plain("c1")), Text::from_plain("f"));
    Content::ToolCall(ToolCall { id, name, arguments, kind, proof: None }).into()
}

fn written(parts: Vec<Part<'_>>, finish: Finish<'_>) -> Value {
    let choice = Choice::new(parts, finish);
    let answer = Answer { choices: vec![choice], ..Answer::default() };
    let mut out = Vec::new();
    write_answer(&answer, &mut client(), &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_answer_has_what_googles_has() {
    let citation =
        Citation { url: Text::from_plain("u"), title: Some(Text::from_plain("t")), chars: Some((0, 2)) };
    let envelope = "Z3cxL";
    let proof = Proof {
        vendor: Vendor::OpenAi,
        item_id: Some(Text::from_plain("rs_1")),
        data: Text::from_plain("E"),
    };
    let parts = vec![
        Content::Thinking { text: Text::from_plain("hm"), proof: Some(proof.clone()), redacted: false }
            .into(),
        Content::Text { text: Text::from_plain(""), citations: Vec::new() }.into(),
        Content::Text { text: Text::from_plain("é€"), citations: vec![citation] }.into(),
        Content::Thinking { text: Text::default(), proof: Some(proof), redacted: true }.into(),
        Content::Unknown(Text::from_plain("x")).into(),
        call(Arguments::Text(Text::from_plain("{ \"a\": 1.0 }")), CallKind::Function),
        call(Arguments::Text(Text::from_plain("ls")), CallKind::Custom),
    ];
    let mut answer = written(parts, Finish::ToolCalls);
    let parts = answer["candidates"][0]["content"]["parts"].as_array_mut().unwrap();
    for part in [0, 2] {
        let signature = parts[part]["thoughtSignature"].take();
        assert!(signature.as_str().unwrap().starts_with(envelope), "{signature}");
    }
    assert!(answer["responseId"].take().as_str().unwrap().len() == 32);
    assert_eq!(
        answer,
        json!({
            "candidates": [{
                "content": {
                    "parts": [
                        {"text": "hm", "thought": true, "thoughtSignature": null},
                        {"text": "é€"},
                        {"text": "", "thoughtSignature": null},
                        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1.0}}},
                        {"functionCall": {"id": "c1", "name": "f", "args": {"input": "ls"}}},
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "index": 0,
                "groundingMetadata": {
                    "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
                    "groundingSupports": [{
                        "segment": {"partIndex": 1, "startIndex": 0, "endIndex": 5},
                        "groundingChunkIndices": [0],
                    }],
                },
            }],
            "modelVersion": "gemini-flash",
            "responseId": null,
        })
    );
}

#[test]
fn reasons_depend_on_what_was_said() {
    let refusal = || vec![Content::Refusal(Text::from_plain("no")).into()];
    let broken = || vec![call(Arguments::Text(Text::from_plain("{\"a\":")), CallKind::Function)];
    for (parts, finish, reason) in [
        (vec![], Finish::Stop, "STOP"),
        (refusal(), Finish::Stop, "SAFETY"),
        (refusal(), Finish::Length, "MAX_TOKENS"),
        (broken(), Finish::ToolCalls, "MALFORMED_FUNCTION_CALL"),
        (broken(), Finish::Length, "MAX_TOKENS"),
    ] {
        assert_eq!(written(parts, finish)["candidates"][0]["finishReason"], reason);
    }
}

/// Parts that no reader would join.
fn parts() -> impl Strategy<Value = Vec<Part<'static>>> {
    let plain = || "[a-zé😀\"\\\\\n]{1,12}".prop_map(Text::from);
    let proof = || {
        "[a-zA-Z0-9+/]{1,12}".prop_map(|data| Proof {
            vendor: Vendor::Google,
            item_id: None,
            data: Text::from(data),
        })
    };
    let citations = prop::collection::vec((0..6u64, 0..6u64), 0..3).prop_map(|spans| {
        let cite = |(first, length)| Citation {
            url: Text::from(format!("u{first}")),
            title: None,
            chars: Some((first, first + length)),
        };
        spans.into_iter().map(cite).collect::<Vec<_>>()
    });
    let arguments = "[a-z\"]{0,5}"
        .prop_map(|value| Arguments::Object(Raw::from_written(json!({ "k": value, "n": 1 }).to_string())));
    let media = Just(Content::Media(Media {
        kind: MediaKind::Image,
        source: Source::Base64 { media_type: Text::from_plain("image/png"), data: Text::from_plain("AAAA") },
        detail: None,
    }));
    let content = prop_oneof![
        (plain(), citations).prop_map(|(text, citations)| Content::Text { text, citations }),
        (plain(), proof()).prop_map(|(text, proof)| Content::Thinking {
            text,
            proof: Some(proof),
            redacted: false
        }),
        proof().prop_map(|proof| Content::Thinking {
            text: Text::default(),
            proof: Some(proof),
            redacted: true
        }),
        ("[a-z_]{1,8}", arguments, prop::option::of(proof())).prop_map(|(name, arguments, proof)| {
            Content::ToolCall(ToolCall {
                id: Some(Text::from_plain("c1")),
                name: Text::from(name),
                arguments,
                kind: CallKind::Function,
                proof,
            })
        }),
        media,
    ];
    prop::collection::vec(content.prop_map(Part::from), 0..6).prop_map(|mut parts| {
        let is_text = |part: &Part<'_>| matches!(part.content, Content::Text { .. });
        parts.dedup_by(|next, part| is_text(next) && is_text(part));
        parts
    })
}

/// What a text rests on lies within it.
fn clamp(parts: &mut [Part<'_>]) {
    for part in parts {
        if let Content::Text { text, citations } = &mut part.content {
            let chars = text.decode().unwrap().chars().count() as u64;
            for citation in citations {
                citation.chars = citation.chars.map(|(first, end)| {
                    let first = first.min(chars - 1);
                    (first, end.clamp(first + 1, chars))
                });
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(mut parts in parts(), input in 0..99u64, reasoning in 0..99u64) {
        clamp(&mut parts);
        let called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
        let finish = if called { Finish::ToolCalls } else { Finish::Length };
        let answer = Answer {
            id: Some(Text::from_plain("r")),
            model: Some(Text::from_plain("m")),
            created: None,
            choices: vec![
                Choice::new(parts, finish),
                Choice::new(Vec::new(), Finish::Filtered(None)),
            ],
            usage: Some(Usage { input, output: reasoning + 3, cached_input: input / 2, cache_write: 0, reasoning }),
        };
        let mut out = Vec::new();
        write_answer(&answer, &mut client(), &mut out);
        let again = read_answer(&out, Vendor::Google).unwrap();
        prop_assert_eq!(said(&again), said(&answer));
        prop_assert_eq!((again.id, again.model, again.usage), (answer.id, answer.model, answer.usage));
    }
}
