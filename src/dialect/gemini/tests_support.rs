//! What the tests of this dialect share: recorded traffic, and streams put together to whole answers.

use std::path::PathBuf;

use serde_json::Value;

use super::read_stream::StreamReader;
use super::write_stream::{Framing, StreamWriter};
use crate::dialect::context::{ClientContext, Ids};
use crate::dialect::ir::{
    Answer, Arguments, CallKind, Choice, Citation, Content, Event, Fault, Finish, Media, Opening, Part,
    Proof, Raw, Role, Source, Text, TokenLogprob, ToolCall, ToolResult, Turn, Vendor,
};
use crate::dialect::{ProofKey, Usage};
use crate::sse::Observer;

pub(super) struct Recording {
    pub(super) id: String,
    pub(super) streaming: bool,
    pub(super) status: u16,
    pub(super) model: String,
    pub(super) request: Option<Vec<u8>>,
    /// The response as an event stream or as a body.
    pub(super) wire: Vec<u8>,
}

/// The recordings of this dialect; none where they are not at hand, as in a checkout of the repository alone.
///
/// A stream without `alt=sse` is one JSON array; the gateway never asks for one, so that its chunks become events.
pub(super) fn recordings() -> Vec<Recording> {
    let shared = match std::env::var_os("ROUTERLY_SHARED") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let folder = shared.join("recordings/gemini");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("no recordings in {}: nothing is replayed", folder.display());
        return Vec::new();
    };
    let mut recordings: Vec<Recording> = entries
        .map(|entry| {
            let recording: Value =
                serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let response = &recording["response"];
            let events = response["sse"].as_str().filter(|sse| sse.starts_with("data:"));
            let body = response["body"].as_str().or(response["sse"].as_str()).unwrap_or_default();
            let (streaming, wire) = match (events, serde_json::from_str(body)) {
                (Some(events), _) => (true, events.to_owned()),
                (None, Ok(Value::Array(chunks))) => {
                    (true, chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect())
                }
                (None, _) => (false, body.to_owned()),
            };
            let request = Some(&recording["request"]["body"]).filter(|body| body.is_object());
            Recording {
                id: recording["id"].as_str().unwrap().into(),
                streaming,
                status: response["status"].as_u64().unwrap().try_into().unwrap(),
                model: recording["model"].as_str().unwrap_or_default().into(),
                request: request.map(|body| serde_json::to_vec(body).unwrap()),
                wire: wire.into(),
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
        model: "gemini-flash".to_owned(),
        unix_seconds: 1_700_000_000,
        stream_usage: true,
        legacy_functions: false,
        echo: Vec::new(),
        ids: Ids::new(1),
        proofs: key(),
    }
}

/// The chunks of a stream as events.
pub(super) fn sse(chunks: &[&str]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| format!("data: {chunk}\r\n\r\n").into_bytes()).collect()
}

/// Reads a stream that arrives in `pieces`.
pub(super) fn read(pieces: &[&[u8]]) -> Folded {
    let mut reader = StreamReader::new(Vendor::Google, Ids::new(3));
    let mut folded = Folded::default();
    let mut observer = Observer::new();
    for piece in pieces {
        observer.feed(piece, |event| reader.event(event.name, &event.data, &mut |event| folded.take(&event)));
    }
    reader.end(&mut |event| folded.take(&event));
    reader.end(&mut |event| panic!("{event:?} behind the end"));
    folded
}

/// Writes what a reader makes of a stream.
pub(super) fn rewrite(wire: &[u8], framing: Framing) -> Vec<u8> {
    let mut reader = StreamReader::new(Vendor::Google, Ids::new(3));
    let (mut writer, mut out) = (StreamWriter::new(client(), framing), Vec::new());
    Observer::new().feed(wire, |event| {
        reader.event(event.name, &event.data, &mut |event| writer.event(&event, &mut out));
    });
    reader.end(&mut |event| writer.event(&event, &mut out));
    out
}

/// What is written for these events, chunk by chunk.
pub(super) fn written(events: &[Event<'_>], framing: Framing) -> String {
    let (mut writer, mut out) = (StreamWriter::new(client(), framing), Vec::new());
    events.iter().for_each(|event| writer.event(event, &mut out));
    String::from_utf8(out).unwrap()
}

/// One answer of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct FoldedChoice {
    pub(super) parts: Vec<Part<'static>>,
    pub(super) finish: Option<Finish<'static>>,
    pub(super) logprobs: Vec<TokenLogprob<'static>>,
    is_open: bool,
    /// The open block has its proof, or its first source: no text may follow.
    is_spoken: bool,
}

/// A stream put together. Holds the order that all readers keep.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Folded {
    started: bool,
    pub(super) id: Option<Text<'static>>,
    pub(super) model: Option<Text<'static>>,
    pub(super) choices: Vec<FoldedChoice>,
    pub(super) usage: Option<Usage>,
    pub(super) fault: Option<Fault<'static>>,
    pub(super) ended: bool,
    pub(super) deltas: usize,
}

impl Folded {
    fn choice(&mut self, choice: u32) -> &mut FoldedChoice {
        let index = choice as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, FoldedChoice::default);
        }
        let choice = &mut self.choices[index];
        assert!(choice.finish.is_none(), "nothing is said behind the finish");
        choice
    }

    pub(super) fn take(&mut self, event: &Event<'_>) {
        assert!(!self.ended && self.fault.is_none(), "nothing follows the end: {event:?}");
        let opens = matches!(event, Event::Start { .. } | Event::Fail(_) | Event::Ping);
        assert!(self.started || opens, "a stream begins with its start: {event:?}");
        match event {
            Event::Start { id, model, .. } => {
                assert!(!self.started, "a stream starts once");
                self.started = true;
                self.id = id.clone().map(Text::into_owned);
                self.model = model.clone().map(Text::into_owned);
            }
            Event::Open { choice, block } => {
                let choice = self.choice(*choice);
                assert!(!choice.is_open, "one block at a time");
                (choice.is_open, choice.is_spoken) = (true, matches!(block, Opening::Redacted(_)));
                choice.parts.push(opened(block).into());
            }
            Event::Delta { choice, text } => {
                self.deltas += 1;
                let choice = self.choice(*choice);
                assert!(choice.is_open && !choice.is_spoken && !text.is_empty());
                match &mut choice.parts.last_mut().unwrap().content {
                    Content::Text { text: sum, .. }
                    | Content::Refusal(sum)
                    | Content::Thinking { text: sum, .. }
                    | Content::ToolCall(ToolCall { arguments: Arguments::Text(sum), .. }) => sum.push(text),
                    other => panic!("{other:?} has no text"),
                }
            }
            Event::Proof { choice, proof } => {
                let choice = self.choice(*choice);
                assert!(choice.is_open);
                choice.is_spoken = true;
                match &mut choice.parts.last_mut().unwrap().content {
                    Content::Thinking { proof: slot, .. }
                    | Content::ToolCall(ToolCall { proof: slot, .. }) => {
                        *slot = Some(owned_proof(proof));
                    }
                    other => panic!("{other:?} has no proof"),
                }
            }
            Event::Cite { choice, citation } => {
                let choice = self.choice(*choice);
                assert!(choice.is_open);
                choice.is_spoken = true;
                let Content::Text { citations, .. } = &mut choice.parts.last_mut().unwrap().content else {
                    panic!("only text has sources");
                };
                citations.push(Citation {
                    url: citation.url.clone().into_owned(),
                    title: citation.title.clone().map(Text::into_owned),
                    chars: citation.chars,
                });
            }
            Event::Close { choice } => {
                let choice = self.choice(*choice);
                assert!(std::mem::take(&mut choice.is_open));
            }
            Event::Finish { choice, finish } => {
                let choice = self.choice(*choice);
                assert!(!choice.is_open);
                choice.finish = Some(finish.clone().into_owned());
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Media { choice, media } => {
                let choice = self.choice(*choice);
                assert!(!choice.is_open);
                choice.parts.push(Content::Media(owned_media(media)).into());
            }
            Event::Logprobs { choice, tokens } => {
                let tokens = tokens.iter().cloned().map(TokenLogprob::into_owned);
                self.choice(*choice).logprobs.extend(tokens);
            }
            Event::Ping => {}
            Event::Fail(fault) => {
                self.fault = Some(Fault {
                    case: fault.case,
                    message: fault.message.clone().into_owned(),
                    code: fault.code.clone().map(Text::into_owned),
                    param: fault.param.clone().map(Text::into_owned),
                    retry_after_s: fault.retry_after_s,
                });
            }
            Event::End => {
                assert!(
                    !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some())
                );
                self.ended = true;
            }
        }
    }

    pub(super) fn answer(&self) -> Answer<'static> {
        assert!(self.ended, "{:?}", self.fault);
        let choices = self.choices.iter().map(|choice| Choice {
            parts: choice.parts.clone(),
            finish: choice.finish.clone().expect("a finish"),
            logprobs: choice.logprobs.clone(),
        });
        Answer {
            id: self.id.clone(),
            model: self.model.clone(),
            created: None,
            choices: choices.collect(),
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

fn owned_media(media: &Media<'_>) -> Media<'static> {
    let own = |text: &Text<'_>| text.clone().into_owned();
    let source = match &media.source {
        Source::Base64 { media_type, data } => {
            Source::Base64 { media_type: own(media_type), data: own(data) }
        }
        Source::Url(url) => Source::Url(own(url)),
        Source::File(file) => Source::File(own(file)),
        Source::Text(text) => Source::Text(own(text)),
    };
    Media { kind: media.kind, source, detail: None }
}

fn owned_proof(proof: &Proof<'_>) -> Proof<'static> {
    Proof {
        vendor: proof.vendor,
        item_id: proof.item_id.clone().map(Text::into_owned),
        data: proof.data.clone().into_owned(),
    }
}

/// What an answer says, however its strings are escaped and its ids are made.
pub(super) fn said(answer: &Answer<'_>) -> Vec<(Vec<String>, String)> {
    let say = |text: &Text<'_>| text.decode().unwrap().into_owned();
    let proof = |proof: &Option<Proof<'_>>| {
        proof.as_ref().map_or(String::new(), |proof| format!(" {:?}:{}", proof.vendor, say(&proof.data)))
    };
    let part = |part: &Part<'_>| match &part.content {
        Content::Text { text, citations } => {
            let citations: Vec<_> =
                citations.iter().map(|citation| (say(&citation.url), citation.chars)).collect();
            format!("text {:?} {citations:?}", say(text))
        }
        Content::Refusal(text) => format!("refusal {:?}", say(text)),
        Content::Thinking { text, proof: held, redacted } => {
            format!("{} {:?}{}", if *redacted { "redacted" } else { "thinking" }, say(text), proof(held))
        }
        Content::ToolCall(call) => {
            let kind = if call.kind == CallKind::Custom { "custom" } else { "call" };
            let input = say(&call.arguments.as_text());
            format!("{kind} {}({input}){}", say(&call.name), proof(&call.proof))
        }
        other => format!("{other:?}"),
    };
    answer
        .choices
        .iter()
        .map(|choice| (choice.parts.iter().map(part).collect(), format!("{:?}", choice.finish)))
        .collect()
}

// Pieces of requests

pub(super) fn text(plain: &str) -> Text<'static> {
    Text::from(plain.to_owned())
}

pub(super) fn says(plain: &str) -> Part<'static> {
    Content::Text { text: text(plain), citations: Vec::new() }.into()
}

pub(super) fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role, name: None, parts }
}

pub(super) fn raw(value: Value) -> Raw<'static> {
    Raw::from_written(value.to_string())
}

pub(super) fn call(id: &str, name: &str, proof: Option<Proof<'static>>) -> Part<'static> {
    let arguments = Arguments::Object(Raw::from_written("{}".to_owned()));
    Content::ToolCall(ToolCall {
        id: Some(text(id)),
        name: text(name),
        arguments,
        kind: CallKind::Function,
        proof,
    })
    .into()
}

pub(super) fn result(id: &str, name: Option<&str>, said: &str) -> ToolResult<'static> {
    ToolResult {
        call_id: Some(text(id)),
        name: name.map(text),
        parts: if said.is_empty() { Vec::new() } else { vec![says(said)] },
        object: None,
        is_error: false,
        kind: CallKind::Function,
    }
}

pub(super) fn proof(vendor: Vendor, data: &str) -> Proof<'static> {
    Proof { vendor, item_id: None, data: text(data) }
}
