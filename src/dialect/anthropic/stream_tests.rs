//! Streams: what is read, what is written, and that one is the other's inverse.

use serde_json::{Value, json};

use super::{StreamReader, StreamWriter};
use crate::dialect::Usage;
use crate::dialect::context::{ClientContext, Ids};
use crate::dialect::ir::{CallKind, Citation, Event, Fault, FaultCase, Finish, Opening, Proof, Text, Vendor};
use crate::dialect::proof::ProofKey;
use crate::sse::{Observer, append_event};

pub(super) fn client() -> ClientContext {
    ClientContext {
        model: "claude-x".to_owned(),
        unix_seconds: 17,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(7),
        proofs: ProofKey::new(&[7; 32]),
    }
}

/// One line per event, in short.
pub(super) fn line(event: &Event<'_>) -> String {
    let said =
        |text: &Option<Text<'_>>| text.as_ref().map_or("-".to_owned(), |text| text.escaped().to_owned());
    let proof =
        |proof: &Proof<'_>| format!("{:?} {} {}", proof.vendor, said(&proof.item_id), proof.data.escaped());
    match event {
        Event::Start { id, model, usage, .. } => {
            format!("start {} {} {}", said(id), said(model), usage_line(*usage))
        }
        Event::Open { block, .. } => match block {
            Opening::Text => "open text".to_owned(),
            Opening::Refusal => "open refusal".to_owned(),
            Opening::Thinking => "open thinking".to_owned(),
            Opening::Redacted(data) => format!("open redacted {}", proof(data)),
            Opening::Call { id, name, kind } => {
                format!("open call {} {} {kind:?}", id.escaped(), name.escaped())
            }
        },
        Event::Delta { text, .. } => format!("delta {}", text.escaped()),
        Event::Proof { proof: data, .. } => format!("proof {}", proof(data)),
        Event::Cite { citation, .. } => {
            format!("cite {} {} {:?}", citation.url.escaped(), said(&citation.title), citation.chars)
        }
        Event::Media { media, .. } => format!("{:?}", media.kind),
        Event::Logprobs { tokens, .. } => format!("tokens {}", tokens.len()),
        Event::Close { .. } => "close".to_owned(),
        Event::Finish { finish, .. } => format!("finish {finish:?}"),
        Event::Usage(usage) => format!("usage {}", usage_line(Some(*usage))),
        Event::Ping => "ping".to_owned(),
        Event::Fail(fault) => format!("fail {:?}: {}", fault.case, fault.message.escaped()),
        Event::End => "end".to_owned(),
    }
}

fn usage_line(usage: Option<Usage>) -> String {
    usage.map_or("-".to_owned(), |usage| {
        let Usage { input, output, cached_input, cache_write, reasoning } = usage;
        format!("{input}+{output} cached {cached_input} written {cache_write} reasoned {reasoning}")
    })
}

/// Reads the events of a stream, cut into pieces.
pub(super) fn read_pieces<'w>(pieces: impl Iterator<Item = &'w [u8]>) -> Vec<String> {
    let mut reader = StreamReader::new(Vendor::Anthropic, Ids::new(1));
    let mut observer = Observer::new();
    let mut lines = Vec::new();
    for piece in pieces {
        observer.feed(piece, |event| {
            reader.event(event.name, &event.data, &mut |event| lines.push(line(&event)));
        });
    }
    observer.finish(|event| {
        reader.event(event.name, &event.data, &mut |event| lines.push(line(&event)));
    });
    reader.end(&mut |event| lines.push(line(&event)));
    lines
}

fn read(events: &[Value]) -> Vec<String> {
    let mut wire = Vec::new();
    for event in events {
        append_event(&mut wire, event["type"].as_str().unwrap(), event.to_string().as_bytes());
    }
    read_pieces(std::iter::once(&wire[..]))
}

fn start() -> Value {
    json!({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],
        "stop_reason":null,"usage":{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":0,"output_tokens":1}}})
}

fn block(index: u64, block: Value) -> Value {
    json!({"type":"content_block_start","index":index,"content_block":block})
}

fn delta(index: u64, kind: &str, name: &str, value: Value) -> Value {
    json!({"type":"content_block_delta","index":index,"delta":{"type":kind,name:value}})
}

fn stop(index: u64) -> Value {
    json!({"type":"content_block_stop","index":index})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type":"message_delta","delta":{"stop_reason":reason,"stop_sequence":null},"usage":{"output_tokens":30}}),
        json!({"type":"message_stop"}),
    ]
}

const STARTED: &str = "start msg_1 claude-x 15+1 cached 5 written 0 reasoned 0";
const COUNTED: &str = "usage 15+30 cached 5 written 0 reasoned 0";

#[test]
fn streams_are_read_in_the_order_of_the_shared_form() {
    let text = json!({"type":"text","text":""});
    let cases: Vec<(&str, Vec<Value>, Vec<&str>)> = vec![
        (
            "text, with pings and events to come",
            [
                vec![start(), block(0, text.clone()), json!({"type":"ping"}), json!({"type":"new_event","x":1})],
                vec![delta(0, "text_delta", "text", json!("Hi ")), delta(0, "text_delta", "text", json!("\"you\""))],
                vec![delta(0, "new_delta", "text", json!("x")), stop(0)],
                end("end_turn").to_vec(),
            ]
            .concat(),
            vec![STARTED, "open text", "ping", "delta Hi ", "delta \\\"you\\\"", "close", "finish Stop", COUNTED, "end"],
        ),
        (
            "thinking, its signature and a call",
            [
                vec![start(), block(0, json!({"type":"thinking","thinking":"","signature":""}))],
                vec![delta(0, "thinking_delta", "thinking", json!("hm")), delta(0, "signature_delta", "signature", json!("Eq=="))],
                vec![stop(0), block(1, json!({"type":"redacted_thinking","data":"Em=="})), stop(1)],
                vec![block(2, json!({"type":"tool_use","id":"toolu_1","name":"f","input":{}}))],
                vec![delta(2, "input_json_delta", "partial_json", json!("")), delta(2, "input_json_delta", "partial_json", json!("{\"a\""))],
                vec![delta(2, "input_json_delta", "partial_json", json!(":1}")), stop(2)],
                end("tool_use").to_vec(),
            ]
            .concat(),
            vec![
                STARTED,
                "open thinking",
                "delta hm",
                "proof Anthropic - Eq==",
                "close",
                "open redacted Anthropic - Em==",
                "close",
                "open call toolu_1 f Function",
                "delta {\\\"a\\\"",
                "delta :1}",
                "close",
                "finish ToolCalls",
                COUNTED,
                "end",
            ],
        ),
        (
            "signature first, and thoughts not shown",
            [
                vec![start(), block(0, json!({"type":"thinking","thinking":"","signature":""}))],
                vec![delta(0, "signature_delta", "signature", json!("Eq==")), stop(0)],
                end("end_turn").to_vec(),
            ]
            .concat(),
            vec![STARTED, "open thinking", "proof Anthropic - Eq==", "close", "finish Stop", COUNTED, "end"],
        ),
        (
            "web search: its calls are left out, its sources stay",
            [
                vec![start(), block(0, json!({"type":"server_tool_use","id":"s","name":"web_search","input":{}}))],
                vec![delta(0, "input_json_delta", "partial_json", json!("{}")), stop(0)],
                vec![block(1, json!({"type":"web_search_tool_result","tool_use_id":"s","content":[]})), stop(1)],
                vec![block(2, json!({"type":"text","text":"","citations":[]}))],
                vec![delta(2, "citations_delta", "citation", json!({"type":"web_search_result_location","url":"https://a","title":"A","cited_text":"x"}))],
                vec![delta(2, "citations_delta", "citation", json!({"type":"page_location","document_index":0}))],
                vec![delta(2, "text_delta", "text", json!("aé😀")), stop(2)],
                end("end_turn").to_vec(),
            ]
            .concat(),
            vec![STARTED, "open text", "delta aé😀", "cite https://a A Some((0, 3))", "close", "finish Stop", COUNTED, "end"],
        ),
        (
            "compaction is left out",
            [
                vec![start(), block(0, json!({"type":"compaction","content":null}))],
                vec![delta(0, "compaction_delta", "content", json!("x")), stop(0), block(1, text.clone())],
                vec![delta(1, "text_delta", "text", json!("Hi")), stop(1)],
                end("max_tokens").to_vec(),
            ]
            .concat(),
            vec![STARTED, "open text", "delta Hi", "close", "finish Length", COUNTED, "end"],
        ),
        (
            "the whole input in the start",
            [
                vec![start(), block(0, json!({"type":"tool_use","id":"c","name":"f","input":{"a":[1, 2]}})), stop(0)],
                vec![block(1, json!({"type":"tool_use","id":"d","name":"g","input":{"b":1}}))],
                vec![delta(1, "input_json_delta", "partial_json", json!("{\"b\":1}")), stop(1)],
                end("end_turn").to_vec(),
            ]
            .concat(),
            vec![
                STARTED,
                "open call c f Function",
                "delta {\\\"a\\\":[1,2]}",
                "close",
                "open call d g Function",
                "delta {\\\"b\\\":1}",
                "close",
                "finish Stop",
                COUNTED,
                "end",
            ],
        ),
        (
            "blocks that are not closed, not opened, or of another kind",
            [
                vec![start(), block(0, text.clone()), delta(0, "text_delta", "text", json!("a"))],
                vec![block(1, json!({"type":"thinking","thinking":"b"})), stop(1), delta(2, "text_delta", "text", json!("c"))],
                vec![delta(2, "thinking_delta", "thinking", json!("d"))],
                end("end_turn").to_vec(),
            ]
            .concat(),
            vec![
                STARTED, "open text", "delta a", "close", "open thinking", "delta b", "close", "open text", "delta c",
                "close", "open thinking", "delta d", "close", "finish Stop", COUNTED, "end",
            ],
        ),
        (
            "a later message_delta corrects an earlier one",
            [
                vec![start(), json!({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":1,"output_tokens":2}})],
                vec![json!({"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"\n"},"usage":{"input_tokens":20,"output_tokens":null}})],
                vec![json!({"type":"message_stop"})],
            ]
            .concat(),
            vec![
                STARTED,
                "finish StopSequence(Some(Text(\"\\\\n\")))",
                "usage 25+2 cached 5 written 0 reasoned 0",
                "end",
            ],
        ),
        (
            "a filtered prompt, and what follows the end",
            [
                vec![start(), json!({"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"no"}},"usage":{}})],
                vec![json!({"type":"message_stop"}), start(), json!({"type":"error","error":{"message":"late"}})],
            ]
            .concat(),
            vec![STARTED, "finish PromptFiltered(Some(Text(\"no\")))", "usage 15+1 cached 5 written 0 reasoned 0", "end"],
        ),
        (
            "an error event",
            vec![start(), json!({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}), stop(0)],
            vec![STARTED, "fail Overloaded: Overloaded"],
        ),
        (
            "a second message in the same stream",
            vec![start(), block(0, text.clone()), start()],
            vec![STARTED, "open text", "fail Internal: the provider began a second message in one stream"],
        ),
        (
            "an index that starts anew",
            vec![start(), block(0, text.clone()), stop(0), block(0, text.clone())],
            vec![STARTED, "open text", "close", "fail Internal: the provider began a block with an index that was used before"],
        ),
        (
            "a piece of another block",
            vec![start(), block(0, text.clone()), delta(3, "text_delta", "text", json!("x"))],
            vec![STARTED, "open text", "fail Internal: the provider sent a piece of a block that is not open"],
        ),
        (
            "no end",
            vec![start(), block(0, text.clone()), delta(0, "text_delta", "text", json!("x")), stop(0), end("end_turn")[0].clone()],
            vec![STARTED, "open text", "delta x", "close", "fail Internal: the provider's stream ended before it was complete"],
        ),
        ("nothing", vec![], vec!["fail Internal: the provider's stream ended before it was complete"]),
        (
            "no start",
            [vec![block(0, text), delta(0, "text_delta", "text", json!("x"))], end("end_turn").to_vec()].concat(),
            vec!["start - - -", "open text", "delta x", "close", "finish Stop", "usage 0+30 cached 0 written 0 reasoned 0", "end"],
        ),
    ];
    for (name, events, expected) in cases {
        assert_eq!(read(&events), expected, "{name}");
    }
}

#[test]
fn the_type_is_in_the_data_where_no_name_is_given() {
    let mut wire = Vec::new();
    for (name, event) in [("", start()), ("message", end("end_turn")[0].clone()), ("", end("x")[1].clone())] {
        append_event(&mut wire, name, event.to_string().as_bytes());
    }
    append_event(&mut wire, "", b"never looked at");
    assert_eq!(read_pieces(std::iter::once(&wire[..])), [STARTED, "finish Stop", COUNTED, "end"]);
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    for (name, data) in [
        ("", "not json"),
        ("", "[DONE]"),
        ("message_start", "{\"message\":"),
        ("content_block_start", "{\"index\":0}"),
        ("content_block_delta", "{\"index\":0,\"delta\":3}"),
        ("content_block_delta", "{\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1\"}}"),
    ] {
        let mut wire = Vec::new();
        append_event(&mut wire, name, data.as_bytes());
        let lines = read_pieces(std::iter::once(&wire[..]));
        assert!(lines.last().unwrap().starts_with("fail Internal"), "{name} {data}: {lines:?}");
    }
}

fn write(events: &[Event<'_>]) -> Vec<Value> {
    let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut out));
    let mut written = Vec::new();
    Observer::new().feed(&out, |event| {
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        assert_eq!(data["type"].as_str().unwrap().as_bytes(), event.name);
        written.push(data);
    });
    written
}

fn text(plain: &str) -> Text<'_> {
    Text::from_plain(plain)
}

fn began(usage: Option<Usage>) -> Event<'static> {
    Event::Start { id: Some(text("msg_1")), model: Some(text("gpt-5")), created: Some(3), usage }
}

fn piece(plain: &str) -> Event<'_> {
    Event::Delta { choice: 0, text: text(plain) }
}

const CLOSE: Event<'static> = Event::Close { choice: 0 };
const USAGE: Usage = Usage { input: 12, output: 9, cached_input: 4, cache_write: 1, reasoning: 3 };

#[test]
fn streams_are_written_as_anthropic_sends_them() {
    let foreign = Proof { vendor: Vendor::OpenAi, item_id: Some(text("rs_1")), data: text("gA==") };
    let sealed = foreign.seal(Vendor::Anthropic, &client().proofs).escaped().to_owned();
    let on_call = Proof { vendor: Vendor::Google, item_id: Some(text("call_1")), data: text("Cg==") };
    let sealed_call = on_call.seal(Vendor::Anthropic, &client().proofs).escaped().to_owned();
    let written = write(&[
        Event::Ping,
        began(None),
        Event::Ping,
        Event::Open { choice: 0, block: Opening::Thinking },
        piece("hm"),
        Event::Proof { choice: 0, proof: foreign },
        CLOSE,
        Event::Open { choice: 0, block: Opening::Text },
        piece("Hi"),
        Event::Cite { choice: 0, citation: Citation { url: text("https://a"), title: None, chars: None } },
        CLOSE,
        Event::Open { choice: 1, block: Opening::Text },
        Event::Delta { choice: 1, text: text("another answer") },
        Event::Open {
            choice: 0,
            block: Opening::Call { id: text("call_1"), name: text("f"), kind: CallKind::Function },
        },
        piece("{}"),
        Event::Proof { choice: 0, proof: on_call },
        CLOSE,
        Event::Finish { choice: 0, finish: Finish::ToolCalls },
        Event::Usage(USAGE),
        Event::End,
        Event::Ping,
    ]);
    let expected = [
        json!({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"gpt-5","content":[],
            "stop_reason":null,"stop_sequence":null,
            "usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}),
        json!({"type":"ping"}),
        block(0, json!({"type":"thinking","thinking":"","signature":""})),
        delta(0, "thinking_delta", "thinking", json!("hm")),
        delta(0, "signature_delta", "signature", json!(sealed)),
        stop(0),
        block(1, json!({"type":"text","text":""})),
        delta(1, "text_delta", "text", json!("Hi")),
        delta(
            1,
            "citations_delta",
            "citation",
            json!({"type":"web_search_result_location","url":"https://a","title":null,"cited_text":"","encrypted_index":""}),
        ),
        stop(1),
        block(2, json!({"type":"tool_use","id":"call_1","name":"f","input":{}})),
        delta(2, "input_json_delta", "partial_json", json!("{}")),
        stop(2),
        block(3, json!({"type":"redacted_thinking","data":sealed_call})),
        stop(3),
        json!({"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},
            "usage":{"input_tokens":7,"cache_creation_input_tokens":1,"cache_read_input_tokens":4,"output_tokens":9,
                "output_tokens_details":{"thinking_tokens":3}}}),
        json!({"type":"message_stop"}),
    ];
    assert_eq!(written, expected);
}

#[test]
fn thoughts_without_a_proof_and_refusals_have_their_shape() {
    let open = |block| Event::Open { choice: 0, block };
    let written = write(&[
        Event::Start { id: Some(text("chatcmpl-1")), model: None, created: None, usage: Some(USAGE) },
        open(Opening::Thinking),
        piece("hm"),
        CLOSE,
        open(Opening::Refusal),
        piece("No."),
        CLOSE,
        Event::Finish { choice: 0, finish: Finish::Stop },
        Event::End,
    ]);
    let message = &written[0]["message"];
    assert!(message["id"].as_str().unwrap().starts_with("msg_"), "{message}");
    assert_eq!(message["model"], "claude-x");
    assert_eq!(message["usage"]["input_tokens"], 7);
    assert_eq!(written[2..4], [delta(0, "thinking_delta", "thinking", json!("hm")), stop(0)]);
    assert_eq!(written[4], block(1, json!({"type":"text","text":""})));
    assert_eq!(written[7]["delta"]["stop_reason"], "refusal");
    assert_eq!(written[7]["usage"]["output_tokens"], 9, "what was counted at the start stands");
}

#[test]
fn a_failure_ends_the_stream() {
    let fault = Fault {
        case: FaultCase::Overloaded,
        message: text("busy"),
        code: None,
        param: None,
        retry_after_s: None,
    };
    let error = json!({"type":"error","error":{"type":"overloaded_error","message":"busy"}});
    assert_eq!(write(&[Event::Fail(fault.clone()), began(None), Event::End]), std::slice::from_ref(&error));
    let written = write(&[
        began(None),
        Event::Open { choice: 0, block: Opening::Text },
        Event::Fail(fault),
        Event::End,
    ]);
    assert_eq!(written.last(), Some(&error));
    assert_eq!(written.len(), 3);
}

/// Pieces of one block joined, because how a text is cut is not what is carried.
pub(super) fn joined(lines: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for line in lines.into_iter().filter(|line| line != "ping") {
        match (joined.last_mut(), line.strip_prefix("delta ")) {
            (Some(last), Some(more)) if last.starts_with("delta ") => last.push_str(more),
            _ => joined.push(line),
        }
    }
    joined
}

/// What a reader reads of `wire`, written again.
pub(super) fn rewritten(wire: &[u8]) -> Vec<u8> {
    let mut reader = StreamReader::new(Vendor::Anthropic, Ids::new(1));
    let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
    let mut observer = Observer::new();
    let mut pass_on = |name: &[u8], data: &[u8]| {
        reader.event(name, data, &mut |event| writer.event(&event, &mut out));
    };
    observer.feed(wire, |event| pass_on(event.name, &event.data));
    observer.finish(|event| pass_on(event.name, &event.data));
    reader.end(&mut |event| writer.event(&event, &mut out));
    out
}

#[test]
fn the_fuzz_corpus_holds() {
    for input in crate::json::fuzz::corpus("messages") {
        crate::dialect::fuzz::messages(&input);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Said {
        Text(Vec<String>),
        Thinking(Vec<String>, String),
        Redacted(String),
        Call(String, Vec<String>),
    }

    fn said() -> impl Strategy<Value = Said> {
        let pieces = || proptest::collection::vec(".{1,12}", 0..4);
        prop_oneof![
            pieces().prop_map(Said::Text),
            (pieces(), "[a-zA-Z0-9+/]{0,20}").prop_map(|(pieces, proof)| Said::Thinking(pieces, proof)),
            "[a-zA-Z0-9+/]{1,20}".prop_map(Said::Redacted),
            ("[a-zA-Z_]{1,10}", pieces()).prop_map(|(name, pieces)| Said::Call(name, pieces)),
        ]
    }

    fn events(blocks: &[Said]) -> Vec<Event<'_>> {
        let proof = |data| Proof { vendor: Vendor::Anthropic, item_id: None, data: text(data) };
        let mut events = vec![began(Some(USAGE))];
        for (index, block) in blocks.iter().enumerate() {
            let (opening, pieces): (_, &[String]) = match block {
                Said::Text(pieces) => (Opening::Text, pieces),
                Said::Thinking(pieces, _) => (Opening::Thinking, pieces),
                Said::Redacted(data) => (Opening::Redacted(proof(data)), &[]),
                Said::Call(name, pieces) => {
                    let id = Text::from(format!("toolu_{index}"));
                    (Opening::Call { id, name: text(name), kind: CallKind::Function }, pieces)
                }
            };
            events.push(Event::Open { choice: 0, block: opening });
            events.extend(pieces.iter().map(|plain| piece(plain)));
            if let Said::Thinking(_, data) = block
                && !data.is_empty()
            {
                events.push(Event::Proof { choice: 0, proof: proof(data) });
            }
            events.push(CLOSE);
        }
        events.push(Event::Finish { choice: 0, finish: Finish::Length });
        events.push(Event::Usage(USAGE));
        events.push(Event::End);
        events
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(blocks in proptest::collection::vec(said(), 0..6), cut in 0usize..4000) {
            let events = events(&blocks);
            let (mut writer, mut out) = (StreamWriter::new(client()), Vec::new());
            events.iter().for_each(|event| writer.event(event, &mut out));
            let expected: Vec<String> = events.iter().map(line).collect();
            let (head, tail) = out.split_at(cut.min(out.len()));
            prop_assert_eq!(read_pieces([head, tail].into_iter()), expected);
        }

        #[test]
        fn no_stream_is_too_strange(
            events in proptest::collection::vec(
                (0usize..9, proptest::option::of(0u64..3), 0usize..9, ".{0,6}"), 0..12
            ),
        ) {
            const NAMES: [&str; 9] = ["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                "message_delta", "message_stop", "error", "ping", ""];
            const KINDS: [&str; 9] = ["text", "thinking", "tool_use", "text_delta", "thinking_delta", "input_json_delta",
                "signature_delta", "citations_delta", "redacted_thinking"];
            let mut wire = Vec::new();
            for (name, index, kind, text) in events {
                let body = json!({"type": KINDS[kind], "text": text, "thinking": text, "partial_json": text,
                    "signature": text, "data": text, "citation": {"url": text}, "input": {"a": text}});
                let data = json!({"type": NAMES[name], "index": index, "content_block": body, "delta": body,
                    "error": text, "usage": {"output_tokens": index}});
                append_event(&mut wire, NAMES[name], data.to_string().as_bytes());
            }
            // In the order of the shared form, whatever came.
            let lines = read_pieces(std::iter::once(&wire[..]));
            let (mut open, mut over) = (false, false);
            for (at, line) in lines.iter().enumerate() {
                let verb = line.split(' ').next().unwrap();
                prop_assert!(!over, "{:?}", lines);
                prop_assert_eq!(verb == "start", at == lines.iter().position(|line| line != "ping" && !line.starts_with("fail")).unwrap_or(usize::MAX), "{:?}", lines);
                match verb {
                    "open" => prop_assert!(!std::mem::replace(&mut open, true), "{:?}", lines),
                    "close" => prop_assert!(std::mem::replace(&mut open, false), "{:?}", lines),
                    "delta" | "proof" | "cite" => prop_assert!(open, "{:?}", lines),
                    "finish" | "usage" => prop_assert!(!open, "{:?}", lines),
                    "end" | "fail" => over = true,
                    _ => {}
                }
            }
            prop_assert!(over);
        }

        #[test]
        fn what_the_fuzzer_checks_holds_for_documents_of_its_words(choice in 0u8..4, kind in 0usize..4, body in
            r#"(\{|\[|\}|\]|:|,|"(type|text|content|messages|role|user|error|index|delta|usage|message)"|null|1|\\|\r?\n|"){0,24}"#) {
            let input = match kind {
                0 => body,
                1 => format!("{{\"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"x\"}}{body}]}}]}}"),
                2 => format!("{{\"content\":[{{\"type\":\"tool_use\",\"id\":\"a b\",\"name\":\"f\"}}{body}]}}"),
                _ => format!("data: {{\"type\":\"message_start\"}}\n\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{{body}}}}}\n\n"),
            };
            crate::dialect::fuzz::messages(&[&[choice], input.as_bytes()].concat());
        }

        #[test]
        fn seeds_with_some_bytes_changed_are_taken(
            seed in 0usize..64,
            changes in proptest::collection::vec((0usize..2000, prop_oneof![any::<u8>(), Just(b'"'), Just(b'}'), Just(b'0')]), 1..4),
        ) {
            let corpus = crate::json::fuzz::corpus("messages");
            let mut input = corpus[seed % corpus.len()].clone();
            for (at, byte) in changes {
                let at = 1 + at % (input.len() - 1);
                input[at] = byte;
            }
            crate::dialect::fuzz::messages(&input);
        }

        #[test]
        fn no_bytes_make_it_panic(name in 0usize..8, data in proptest::collection::vec(any::<u8>(), 0..200)) {
            const NAMES: [&str; 8] = ["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                "message_delta", "message_stop", "error", ""];
            let mut reader = StreamReader::new(Vendor::Anthropic, Ids::new(1));
            reader.event(NAMES[name].as_bytes(), &data, &mut |_| {});
            reader.end(&mut |_| {});
        }
    }
}
