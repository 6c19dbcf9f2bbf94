//! A stream's reader and writer, whatever the dialect.

use super::context::{ClientContext, Ids};
use super::ir::{Event, Vendor};
use super::{Dialect, anthropic, gemini, openai_chat, openai_responses};
use crate::sse::Event as SseEvent;

/// Reads a provider's stream into events of the shared form, in their order; see [`super::ir`].
#[derive(Debug)]
pub struct Reader(Reads);

#[derive(Debug)]
enum Reads {
    Chat(Box<openai_chat::StreamReader>),
    Responses(Box<openai_responses::StreamReader>),
    Anthropic(Box<anthropic::StreamReader>),
    Gemini(Box<gemini::StreamReader>),
}

impl Reader {
    /// At the first byte of a stream of `dialect`. `vendor` makes its proofs, `ids` makes the ids that it does not give.
    pub fn new(dialect: Dialect, vendor: Vendor, ids: Ids) -> Self {
        Self(match dialect {
            Dialect::OpenAiChat => Reads::Chat(Box::new(openai_chat::StreamReader::new(vendor, ids))),
            Dialect::OpenAiResponses => {
                Reads::Responses(Box::new(openai_responses::StreamReader::new(vendor, ids)))
            }
            Dialect::AnthropicMessages => {
                Reads::Anthropic(Box::new(anthropic::StreamReader::new(vendor, ids)))
            }
            Dialect::Gemini => Reads::Gemini(Box::new(gemini::StreamReader::new(vendor, ids))),
        })
    }

    /// Takes the provider's next event and hands on what it says.
    pub fn event(&mut self, event: &SseEvent<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        match &mut self.0 {
            Reads::Chat(reader) => reader.event(event.name, &event.data, emit),
            Reads::Responses(reader) => reader.event(event.name, &event.data, emit),
            Reads::Anthropic(reader) => reader.event(event.name, &event.data, emit),
            Reads::Gemini(reader) => reader.event(event.name, &event.data, emit),
        }
    }

    /// The provider's body has ended: hands on what follows from that, which is an end, good or bad, unless there was one.
    pub fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        match &mut self.0 {
            Reads::Chat(reader) => reader.end(emit),
            Reads::Responses(reader) => reader.end(emit),
            Reads::Anthropic(reader) => reader.end(emit),
            Reads::Gemini(reader) => reader.end(emit),
        }
    }
}

/// Writes events of the shared form as a client's stream.
#[derive(Debug)]
pub struct Writer(Writes);

#[derive(Debug)]
enum Writes {
    Chat(Box<openai_chat::StreamWriter>),
    Responses(Box<openai_responses::StreamWriter>),
    Anthropic(Box<anthropic::StreamWriter>),
    Gemini(Box<gemini::StreamWriter>),
}

impl Writer {
    /// Before the first byte of a stream of `dialect`. `array`: a Gemini client wants its stream as one array.
    pub fn new(dialect: Dialect, client: ClientContext, array: bool) -> Self {
        Self(match dialect {
            Dialect::OpenAiChat => Writes::Chat(Box::new(openai_chat::StreamWriter::new(client))),
            Dialect::OpenAiResponses => {
                Writes::Responses(Box::new(openai_responses::StreamWriter::new(client)))
            }
            Dialect::AnthropicMessages => Writes::Anthropic(Box::new(anthropic::StreamWriter::new(client))),
            Dialect::Gemini => {
                let framing = if array { gemini::Framing::JsonArray } else { gemini::Framing::Sse };
                Writes::Gemini(Box::new(gemini::StreamWriter::new(client, framing)))
            }
        })
    }

    /// Appends what the client gets for an event.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match &mut self.0 {
            Writes::Chat(writer) => writer.event(event, out),
            Writes::Responses(writer) => writer.event(event, out),
            Writes::Anthropic(writer) => writer.event(event, out),
            Writes::Gemini(writer) => writer.event(event, out),
        }
    }
}
