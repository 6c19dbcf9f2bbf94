//! What the tests of this dialect share: recorded traffic, and streams put together to whole answers.

use std::path::PathBuf;

use serde_json::Value;

use super::{StreamReader, StreamWriter};
use crate::dialect::ProofKey;
use crate::dialect::context::{ClientContext, Ids};
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Content, Event, Fault, Finish, Opening, Part, Proof, Text,
    TokenLogprob, ToolCall, Vendor,
};
use crate::sse::Observer;

pub(super) struct Recording {
    pub(super) id: String,
    pub(super) provider: String,
    pub(super) streaming: bool,
    pub(super) status: u16,
    pub(super) request: Option<Vec<u8>>,
    /// The response's body or stream.
    pub(super) wire: Vec<u8>,
}

impl Recording {
    pub(super) fn vendor(&self) -> Vendor {
        if matches!(self.provider.as_str(), "openai" | "azure" | "bedrock-mantle") {
            Vendor::OpenAi
        } else {
            Vendor::Other
        }
    }
}

/// The recordings of this dialect; none where they are not at hand, as in a checkout of the repository alone.
pub(super) fn recordings() -> Vec<Recording> {
    let shared = match std::env::var_os("ROUTERLY_SHARED") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let folder = shared.join("recordings/openai_responses");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("no recordings in {}: nothing is replayed", folder.display());
        return Vec::new();
    };
    let mut recordings: Vec<Recording> = entries
        .map(|entry| {
            let recording: Value =
                serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let streaming = recording["streaming"].as_bool().unwrap();
            let response = &recording["response"];
            let wire = response[if streaming { "sse" } else { "body" }].as_str().unwrap();
            let body = Some(&recording["request"]["body"]).filter(|body| body.is_object());
            Recording {
                id: recording["id"].as_str().unwrap().into(),
                provider: recording["provider"].as_str().unwrap().into(),
                streaming,
                status: response["status"].as_u64().unwrap().try_into().unwrap(),
                request: body.map(|body| serde_json::to_vec(body).unwrap()),
                wire: wire.into(),
            }
        })
        .collect();
    recordings.sort_by(|a, b| a.id.cmp(&b.id));
    assert!(recordings.len() > 50, "{} has {} recordings", folder.display(), recordings.len());
    recordings
}

pub(super) fn client() -> ClientContext {
    ClientContext {
        model: "gpt-5".to_owned(),
        unix_seconds: 1_700_000_000,
        stream_usage: true,
        legacy_functions: false,
        echo: br#""tools":[],"metadata":{}"#.to_vec(),
        ids: Ids::new(1),
        proofs: key(),
    }
}

pub(super) fn key() -> ProofKey {
    ProofKey::new(&[7; 32])
}

/// The names and data of the events of a stream.
pub(super) fn sse_events(wire: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    Observer::new().feed(wire, |event| {
        let name = String::from_utf8(event.name.to_vec()).unwrap();
        events.push((name, serde_json::from_slice(&event.data).unwrap_or(Value::Null)));
    });
    events
}

/// Reads a stream that arrives in `pieces`.
pub(super) fn read(vendor: Vendor, pieces: &[&[u8]]) -> Folded {
    let mut reader = StreamReader::new(vendor, Ids::new(3));
    let mut folded = Folded::default();
    let mut observer = Observer::new();
    for piece in pieces {
        observer.feed(piece, |event| reader.event(event.name, &event.data, &mut |event| folded.take(&event)));
    }
    reader.end(&mut |event| folded.take(&event));
    folded
}

/// Writes what a reader makes of a stream.
pub(super) fn rewrite(vendor: Vendor, wire: &[u8], client: ClientContext) -> Vec<u8> {
    let mut reader = StreamReader::new(vendor, Ids::new(3));
    let (mut writer, mut out) = (StreamWriter::new(client), Vec::new());
    Observer::new().feed(wire, |event| {
        reader.event(event.name, &event.data, &mut |event| writer.event(&event, &mut out));
    });
    reader.end(&mut |event| writer.event(&event, &mut out));
    out
}

/// A stream put together. Holds the order that all readers keep.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) started: bool,
    pub(super) id: Option<Text<'static>>,
    pub(super) model: Option<Text<'static>>,
    pub(super) created: Option<u64>,
    pub(super) parts: Vec<Part<'static>>,
    pub(super) finish: Option<Finish<'static>>,
    pub(super) logprobs: Vec<TokenLogprob<'static>>,
    pub(super) usage: Option<crate::dialect::Usage>,
    pub(super) fault: Option<Fault<'static>>,
    pub(super) ended: bool,
    is_open: bool,
    /// Events that bring text.
    pub(super) deltas: usize,
}

impl Folded {
    pub(super) fn take(&mut self, event: &Event<'_>) {
        assert!(!self.ended && self.fault.is_none(), "nothing follows the end: {event:?}");
        let opens = matches!(event, Event::Start { .. } | Event::Fail(_) | Event::Ping);
        assert!(self.started || opens, "a stream begins with its start: {event:?}");
        if let Event::Open { .. } | Event::Delta { .. } | Event::Close { .. } = event {
            assert!(self.finish.is_none(), "nothing is said behind the finish: {event:?}");
        }
        match event {
            Event::Start { id, model, created, .. } => {
                assert!(!self.started, "a stream starts once");
                self.started = true;
                self.id = id.clone().map(Text::into_owned);
                self.model = model.clone().map(Text::into_owned);
                self.created = *created;
            }
            Event::Open { block, .. } => {
                assert!(!self.is_open, "one block at a time");
                self.is_open = true;
                self.parts.push(opened(block).into());
            }
            Event::Delta { text, .. } => {
                assert!(self.is_open && !text.is_empty());
                self.deltas += 1;
                match &mut self.parts.last_mut().unwrap().content {
                    Content::Text { text: sum, .. }
                    | Content::Refusal(sum)
                    | Content::Thinking { text: sum, .. }
                    | Content::ToolCall(ToolCall { arguments: Arguments::Text(sum), .. }) => sum.push(text),
                    other => panic!("{other:?} has no text"),
                }
            }
            Event::Proof { proof, .. } => {
                assert!(self.is_open);
                let proof = Some(owned_proof(proof));
                match &mut self.parts.last_mut().unwrap().content {
                    Content::Thinking { proof: slot, .. }
                    | Content::ToolCall(ToolCall { proof: slot, .. }) => {
                        *slot = proof;
                    }
                    other => panic!("{other:?} has no proof"),
                }
            }
            Event::Cite { citation, .. } => {
                assert!(self.is_open);
                let Content::Text { citations, .. } = &mut self.parts.last_mut().unwrap().content else {
                    panic!("only text has sources");
                };
                citations.push(crate::dialect::ir::Citation {
                    url: citation.url.clone().into_owned(),
                    title: citation.title.clone().map(Text::into_owned),
                    chars: citation.chars,
                });
            }
            Event::Close { .. } => {
                assert!(self.is_open);
                self.is_open = false;
            }
            Event::Finish { finish, .. } => {
                assert!(!self.is_open && self.finish.is_none());
                self.finish = Some(owned_finish(finish));
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Media { .. } => panic!("a picture of this dialect"),
            Event::Logprobs { tokens, .. } => {
                self.logprobs.extend(tokens.iter().cloned().map(TokenLogprob::into_owned));
            }
            Event::Ping => {}
            Event::Fail(fault) => self.fault = Some(owned_fault(fault)),
            Event::End => {
                assert!(self.finish.is_some());
                self.ended = true;
            }
        }
    }

    pub(super) fn answer(&self) -> Answer<'static> {
        Answer {
            id: self.id.clone(),
            model: self.model.clone(),
            created: self.created,
            choices: vec![Choice {
                parts: self.parts.clone(),
                finish: self.finish.clone().expect("a finish"),
                logprobs: self.logprobs.clone(),
            }],
            usage: self.usage,
        }
    }
}

fn opened(block: &Opening<'_>) -> Content<'static> {
    match block {
        Opening::Text => Content::Text { text: Text::default(), citations: Vec::new() },
        Opening::Refusal => Content::Refusal(Text::default()),
        Opening::Thinking => Content::Thinking { text: Text::default(), proof: None, redacted: false },
        Opening::Redacted(proof) => {
            Content::Thinking { text: Text::default(), proof: Some(owned_proof(proof)), redacted: true }
        }
        Opening::Call { id, name, kind } => Content::ToolCall(ToolCall {
            id: Some(id.clone().into_owned()),
            name: name.clone().into_owned(),
            arguments: Arguments::Text(Text::default()),
            kind: *kind,
            proof: None,
        }),
    }
}

pub(super) fn owned_proof(proof: &Proof<'_>) -> Proof<'static> {
    Proof {
        vendor: proof.vendor,
        item_id: proof.item_id.clone().map(Text::into_owned),
        data: proof.data.clone().into_owned(),
    }
}

pub(super) fn owned_fault(fault: &Fault<'_>) -> Fault<'static> {
    Fault {
        case: fault.case,
        message: fault.message.clone().into_owned(),
        code: fault.code.clone().map(Text::into_owned),
        param: fault.param.clone().map(Text::into_owned),
        retry_after_s: fault.retry_after_s,
    }
}

fn owned_finish(finish: &Finish<'_>) -> Finish<'static> {
    match finish {
        Finish::Filtered(words) => Finish::Filtered(words.clone().map(Text::into_owned)),
        Finish::PromptFiltered(words) => Finish::PromptFiltered(words.clone().map(Text::into_owned)),
        Finish::StopSequence(text) => Finish::StopSequence(text.clone().map(Text::into_owned)),
        Finish::Stop => Finish::Stop,
        Finish::Length => Finish::Length,
        Finish::ContextFull => Finish::ContextFull,
        Finish::ToolCalls => Finish::ToolCalls,
        Finish::Paused => Finish::Paused,
    }
}

/// What an answer says, however its strings are escaped: kind, text and the rest of each part. Of proofs only whose
/// they are: OpenAI encrypts them anew each time it repeats them.
pub(super) fn plain(answer: &Answer<'_>) -> Vec<(String, String, String)> {
    let say = |text: &Text<'_>| text.decode().unwrap_or_default().into_owned();
    let proof = |proof: &Option<Proof<'_>>| {
        proof.as_ref().map_or(String::new(), |proof| {
            let id = proof.item_id.as_ref().map(say);
            format!("{:?} {id:?}", proof.vendor)
        })
    };
    let parts = answer.choices[0].parts.iter();
    parts
        .map(|part| match &part.content {
            Content::Text { text, citations } => {
                let citations: Vec<_> = citations
                    .iter()
                    .map(|citation| (say(&citation.url), citation.title.as_ref().map(say), citation.chars))
                    .collect();
                ("text".into(), say(text), format!("{citations:?}"))
            }
            Content::Refusal(text) => ("refusal".into(), say(text), String::new()),
            Content::Thinking { text, proof: held, redacted } => {
                (if *redacted { "redacted" } else { "thinking" }.into(), say(text), proof(held))
            }
            Content::ToolCall(call) => {
                let kind = if call.kind == CallKind::Custom { "custom" } else { "function" };
                let input = match &call.arguments {
                    Arguments::Text(text) if call.kind == CallKind::Custom => say(text),
                    arguments => say(&arguments.as_text()),
                };
                let id = call.id.as_ref().map(say);
                (format!("{kind} {} {id:?}", say(&call.name)), input, proof(&call.proof))
            }
            other => panic!("{other:?} in an answer"),
        })
        .collect()
}

/// The same without proofs and without thoughts that have nothing else.
pub(super) fn readable(answer: &Answer<'_>) -> Vec<(String, String, String)> {
    let parts = plain(answer).into_iter();
    let parts = parts.map(|(kind, text, rest)| {
        let rest = if kind == "text" { rest } else { String::new() };
        (kind, text, rest)
    });
    parts.filter(|(kind, text, _)| kind != "thinking" || !text.is_empty()).collect()
}
