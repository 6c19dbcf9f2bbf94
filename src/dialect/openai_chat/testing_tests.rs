//! What the tests of the chat codec share: the recordings, events that outlive their bytes, the order of a stream.

use std::path::PathBuf;

use serde_json::Value;

use super::{StreamReader, StreamWriter};
use crate::dialect::ProofKey;
use crate::dialect::context::{ClientContext, Ids, TargetModel};
use crate::dialect::ir::{
    Arguments, CallKind, Choice, Citation, Content, Event, Fault, Finish, Opening, Part, Proof, Text,
    ToolCall, Vendor,
};
use crate::sse::Observer;

/// One recorded exchange.
pub(super) struct Recording {
    pub(super) id: String,
    pub(super) provider: String,
    pub(super) streaming: bool,
    pub(super) status: u16,
    /// The request's body, if it was recorded.
    pub(super) request: Option<Value>,
    pub(super) wire: Vec<u8>,
}

impl Recording {
    pub(super) fn vendor(&self) -> Vendor {
        match self.provider.as_str() {
            "openai" | "azure" => Vendor::OpenAi,
            "google" => Vendor::Google,
            _ => Vendor::Other,
        }
    }
}

/// The recordings of chat; none where they are not at hand, as in a checkout of the repository alone.
pub(super) fn recordings() -> Vec<Recording> {
    let shared = match std::env::var_os("ROUTERLY_SHARED") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let folder = shared.join("recordings/openai_chat");
    if !folder.is_dir() {
        eprintln!("no recordings in {}: nothing is replayed", folder.display());
        return Vec::new();
    }
    let mut recordings: Vec<Recording> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let recording: Value =
                serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let streaming = recording["streaming"].as_bool().unwrap();
            let wire = recording["response"][if streaming { "sse" } else { "body" }].as_str().unwrap();
            Recording {
                id: recording["id"].as_str().unwrap().into(),
                provider: recording["provider"].as_str().unwrap().into(),
                streaming,
                status: u16::try_from(recording["response"]["status"].as_u64().unwrap()).unwrap(),
                request: Some(recording["request"]["body"].clone()).filter(Value::is_object),
                wire: wire.as_bytes().into(),
            }
        })
        .collect();
    recordings.sort_by(|a, b| a.id.cmp(&b.id));
    assert!(recordings.len() > 50, "{} has {} recordings", folder.display(), recordings.len());
    recordings
}

pub(super) fn key() -> ProofKey {
    ProofKey::new(&[7; 32])
}

pub(super) fn client() -> ClientContext {
    ClientContext {
        model: "house-model".to_owned(),
        unix_seconds: 1_700_000_000,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: key(),
    }
}

pub(super) fn target(name: &str, vendor: Vendor) -> TargetModel<'_> {
    TargetModel {
        name,
        vendor,
        token_limit_param: if vendor == Vendor::OpenAi { "max_completion_tokens" } else { "max_tokens" },
        output_tokens_default: 8192,
        reasoning_field: (vendor == Vendor::Other).then_some("reasoning_content"),
    }
}

/// The same event, for longer than its bytes live.
pub(super) fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Start { id, model, created, usage } => {
            Event::Start { id: id.map(Text::into_owned), model: model.map(Text::into_owned), created, usage }
        }
        Event::Open { choice, block } => Event::Open {
            choice,
            block: match block {
                Opening::Text => Opening::Text,
                Opening::Refusal => Opening::Refusal,
                Opening::Thinking => Opening::Thinking,
                Opening::Redacted(proof) => Opening::Redacted(owned_proof(proof)),
                Opening::Call { id, name, kind } => {
                    Opening::Call { id: id.into_owned(), name: name.into_owned(), kind }
                }
            },
        },
        Event::Delta { choice, text } => Event::Delta { choice, text: text.into_owned() },
        Event::Proof { choice, proof } => Event::Proof { choice, proof: owned_proof(proof) },
        Event::Cite { choice, citation } => Event::Cite {
            choice,
            citation: Citation {
                url: citation.url.into_owned(),
                title: citation.title.map(Text::into_owned),
                chars: citation.chars,
            },
        },
        Event::Media { .. } => panic!("no test gathers pictures"),
        Event::Logprobs { choice, tokens } => Event::Logprobs {
            choice,
            tokens: tokens.into_iter().map(crate::dialect::ir::TokenLogprob::into_owned).collect(),
        },
        Event::Close { choice } => Event::Close { choice },
        Event::Finish { choice, finish } => Event::Finish { choice, finish: owned_finish(finish) },
        Event::Usage(usage) => Event::Usage(usage),
        Event::Ping => Event::Ping,
        Event::Fail(fault) => Event::Fail(Fault {
            case: fault.case,
            message: fault.message.into_owned(),
            code: fault.code.map(Text::into_owned),
            param: fault.param.map(Text::into_owned),
            retry_after_s: fault.retry_after_s,
        }),
        Event::End => Event::End,
    }
}

fn owned_proof(proof: Proof<'_>) -> Proof<'static> {
    Proof {
        vendor: proof.vendor,
        item_id: proof.item_id.map(Text::into_owned),
        data: proof.data.into_owned(),
    }
}

fn owned_finish(finish: Finish<'_>) -> Finish<'static> {
    match finish {
        Finish::Stop => Finish::Stop,
        Finish::StopSequence(text) => Finish::StopSequence(text.map(Text::into_owned)),
        Finish::Length => Finish::Length,
        Finish::ContextFull => Finish::ContextFull,
        Finish::ToolCalls => Finish::ToolCalls,
        Finish::Filtered(text) => Finish::Filtered(text.map(Text::into_owned)),
        Finish::PromptFiltered(text) => Finish::PromptFiltered(text.map(Text::into_owned)),
        Finish::Paused => Finish::Paused,
    }
}

/// The events of a stream that arrives in `pieces`, whose order is checked.
pub(super) fn read_pieces(vendor: Vendor, pieces: &[&[u8]]) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    let mut reader = StreamReader::new(vendor, Ids::new(5));
    let mut observer = Observer::new();
    for piece in pieces {
        observer.feed(piece, |event| {
            reader.event(event.name, &event.data, &mut |event| events.push(owned(event)));
        });
    }
    observer.finish(|event| reader.event(event.name, &event.data, &mut |event| events.push(owned(event))));
    reader.end(&mut |event| events.push(owned(event)));
    check_order(&events);
    events
}

/// A stream as `data` lines that ends in `[DONE]`.
pub(super) fn chunks(chunks: &[&str]) -> Vec<u8> {
    let events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    format!("{}data: [DONE]\n\n", events.concat()).into_bytes()
}

/// What a writer makes of events.
pub(super) fn write_events(client: ClientContext, events: &[Event<'_>]) -> Vec<u8> {
    let mut writer = StreamWriter::new(client);
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.event(event, &mut out));
    out
}

/// Holds events against the order that `ir/event.rs` draws.
pub(super) fn check_order(events: &[Event<'_>]) {
    #[derive(Clone, Copy, PartialEq, PartialOrd)]
    enum Stage {
        Delta,
        Proof,
        Cite,
    }
    let mut open: Vec<(u32, Stage)> = Vec::new();
    let mut finished: Vec<u32> = Vec::new();
    let (mut started, mut over) = (false, false);
    for event in events {
        assert!(!over, "nothing follows the end: {events:?}");
        let is_early = matches!(event, Event::Start { .. } | Event::Fail(_) | Event::Ping | Event::Usage(_));
        assert!(started || is_early, "Start comes first: {events:?}");
        let at = |choice: u32, open: &[(u32, Stage)]| open.iter().position(|(c, _)| *c == choice);
        match event {
            Event::Start { .. } => assert!(!std::mem::replace(&mut started, true), "one Start: {events:?}"),
            Event::Open { choice, .. } => {
                assert!(at(*choice, &open).is_none() && !finished.contains(choice), "{events:?}");
                open.push((*choice, Stage::Delta));
            }
            Event::Delta { choice, text } => {
                let index = at(*choice, &open).expect("an open block");
                assert!(open[index].1 == Stage::Delta && !text.is_empty(), "{events:?}");
            }
            Event::Proof { choice, .. } => {
                let index = at(*choice, &open).expect("an open block");
                assert!(open[index].1 < Stage::Proof, "{events:?}");
                open[index].1 = Stage::Proof;
            }
            Event::Cite { choice, .. } => {
                let index = at(*choice, &open).expect("an open block");
                open[index].1 = Stage::Cite;
            }
            Event::Close { choice } => _ = open.remove(at(*choice, &open).expect("an open block")),
            Event::Finish { choice, .. } => {
                assert!(at(*choice, &open).is_none() && !finished.contains(choice), "{events:?}");
                finished.push(*choice);
            }
            Event::Media { choice, .. } => assert!(at(*choice, &open).is_none(), "{events:?}"),
            Event::Logprobs { .. } | Event::Usage(_) | Event::Ping => {}
            Event::Fail(_) => over = true,
            Event::End => {
                assert!(open.is_empty() && !finished.is_empty(), "{events:?}");
                over = true;
            }
        }
    }
    assert!(over, "the stream ends: {events:?}");
}

/// The answers that events tell, with their numbers; `None` if the stream failed.
pub(super) fn gather(events: &[Event<'static>]) -> Option<Vec<(u32, Choice<'static>)>> {
    let mut choices: Vec<(u32, Choice<'static>)> = Vec::new();
    for event in events {
        let (Event::Open { choice, .. }
        | Event::Delta { choice, .. }
        | Event::Proof { choice, .. }
        | Event::Cite { choice, .. }
        | Event::Finish { choice, .. }) = event
        else {
            if matches!(event, Event::Fail(_)) {
                return None;
            }
            continue;
        };
        let at = choices.iter().position(|(index, _)| index == choice).unwrap_or_else(|| {
            choices.push((*choice, Choice::new(Vec::new(), Finish::Paused)));
            choices.len() - 1
        });
        let answer = &mut choices[at].1;
        match event {
            Event::Open { block, .. } => answer.parts.push(part_of(block)),
            Event::Delta { text, .. } => match &mut answer.parts.last_mut().unwrap().content {
                Content::Text { text: said, .. }
                | Content::Refusal(said)
                | Content::Thinking { text: said, .. }
                | Content::ToolCall(ToolCall { arguments: Arguments::Text(said), .. }) => said.push(text),
                other => panic!("no text goes to {other:?}"),
            },
            Event::Proof { proof, .. } => match &mut answer.parts.last_mut().unwrap().content {
                Content::Thinking { proof: slot, .. } | Content::ToolCall(ToolCall { proof: slot, .. }) => {
                    *slot = Some(proof.clone());
                }
                other => panic!("no proof goes to {other:?}"),
            },
            Event::Cite { citation, .. } => match &mut answer.parts.last_mut().unwrap().content {
                Content::Text { citations, .. } => citations.push(citation.clone()),
                other => panic!("no citation goes to {other:?}"),
            },
            Event::Finish { finish, .. } => answer.finish = finish.clone(),
            _ => {}
        }
    }
    Some(choices)
}

fn part_of(block: &Opening<'static>) -> Part<'static> {
    match block {
        Opening::Text => Content::Text { text: Text::default(), citations: Vec::new() },
        Opening::Refusal => Content::Refusal(Text::default()),
        Opening::Thinking => Content::Thinking { text: Text::default(), proof: None, redacted: false },
        Opening::Redacted(proof) => {
            Content::Thinking { text: Text::default(), proof: Some(proof.clone()), redacted: true }
        }
        Opening::Call { id, name, kind } => Content::ToolCall(ToolCall {
            id: Some(id.clone()),
            name: name.clone(),
            arguments: Arguments::Text(Text::default()),
            kind: *kind,
            proof: None,
        }),
    }
    .into()
}

/// A call of a function, as parts of a test have it.
pub(super) fn call(id: &str, name: &str, arguments: &str) -> Part<'static> {
    Content::ToolCall(ToolCall {
        id: Some(Text::from(id.to_owned())),
        name: Text::from(name.to_owned()),
        arguments: Arguments::Text(Text::from(arguments.to_owned())),
        kind: CallKind::Function,
        proof: None,
    })
    .into()
}

/// A text.
pub(super) fn said(text: &str) -> Part<'static> {
    Content::Text { text: Text::from(text.to_owned()), citations: Vec::new() }.into()
}

/// A thought without a proof.
pub(super) fn thought(text: &str) -> Part<'static> {
    Content::Thinking { text: Text::from(text.to_owned()), proof: None, redacted: false }.into()
}
