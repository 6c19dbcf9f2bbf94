//! Reads the usage of a response off its bytes while they pass by.
//!
//! Owns nothing of the bytes and never stands in their way: whatever is in them, the relay goes on. Bytes are those
//! of the body with its framing and content coding removed.

use super::sight::{ProviderError, Sight};
use super::{Dialect, Usage, UsageShape, anthropic, gemini, openai_chat, openai_responses};
use crate::json::tap::{MemberTap, Target};
use crate::sse::{Event, Observer};

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// With the dialect's own end mark; a finish reason where the server sends none.
    Complete,
    /// The provider said that it failed.
    ErrorEvent,
    /// In the middle.
    Truncated,
}

/// What a response said about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapReport<'a> {
    /// The token counts that the provider reported last.
    pub usage: Option<Usage>,
    /// How the response ended.
    pub end: StreamEnd,
    /// About how many characters of output passed by, to estimate the usage of a response that was cut: text,
    /// reasoning and arguments of calls for a stream; everything in strings, and so too much, for other bodies.
    pub output_chars_seen: u64,
    /// The model that the provider says has answered.
    pub model: Option<&'a str>,
    /// `response.id` of the Responses dialect.
    pub response_id: Option<&'a str>,
    /// The first error that the provider reported.
    pub error: Option<&'a ProviderError>,
    /// Events that passed by.
    pub events: u64,
    /// Events that were too long to be read.
    pub events_unread: u64,
}

/// Watches the body of one response. Made to be kept and reset: its memory is reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTap {
    dialect: Dialect,
    mode: Mode,
    sight: Sight,
    /// The stream was over before its last event was.
    ended_inside_event: bool,
    /// The last slice held whole events only, and all of them repeated an earlier one but for their text.
    fed_only_text: bool,
    /// Used in [`Mode::Stream`].
    observer: Observer,
    /// Used in [`Mode::Body`].
    body: MemberTap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// An event stream by its head; its first byte tells whether it is not an error document after all.
    StreamAhead,
    Stream,
    Body,
    /// A body that was given as a whole and has been read.
    Whole,
}

impl UsageTap {
    /// A tap for a response that is about to begin.
    ///
    /// `streaming` says that the body is an event stream. A body that begins like a JSON document is read as one even
    /// so: several providers answer a stream request with a plain error document.
    pub fn new(dialect: Dialect, streaming: bool) -> Self {
        let mode = if streaming { Mode::StreamAhead } else { Mode::Body };
        let body = MemberTap::new(body_targets(dialect));
        Self {
            dialect,
            mode,
            ended_inside_event: false,
            fed_only_text: false,
            sight: Sight::default(),
            observer: Observer::new(),
            body,
        }
    }

    /// Forgets the response and waits for another one.
    pub fn reset(&mut self, dialect: Dialect, streaming: bool) {
        self.dialect = dialect;
        self.mode = if streaming { Mode::StreamAhead } else { Mode::Body };
        self.ended_inside_event = false;
        self.fed_only_text = false;
        self.body.reset(body_targets(dialect));
        self.sight.reset();
        self.observer.reset();
    }

    /// Takes in the next bytes of the body.
    pub fn feed(&mut self, body_bytes: &[u8]) {
        let mut bytes = body_bytes;
        if matches!(self.mode, Mode::StreamAhead) {
            let Some(start) = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
            else {
                return;
            };
            bytes = &bytes[start..];
            let is_document = matches!(bytes[0], b'{' | b'[');
            self.mode = if is_document { Mode::Body } else { Mode::Stream };
        }
        match self.mode {
            Mode::Body => self.body.feed(bytes),
            Mode::Whole => {}
            Mode::StreamAhead | Mode::Stream => {
                let (dialect, sight) = (self.dialect, &mut self.sight);
                let (inside, events, repeated) =
                    (self.observer.is_inside_block(), sight.events, sight.repeated);
                self.observer.feed(bytes, |event| on_event(dialect, sight, &event));
                let sight = &self.sight;
                self.fed_only_text = !inside
                    && !self.observer.is_inside_block()
                    && sight.events > events
                    && sight.events - events == sight.repeated - repeated;
            }
        }
    }

    /// Takes in a successful body that is in hand as a whole: its usage is all that is read of it. `shape` is that of
    /// the provider's answers so far.
    pub fn feed_whole(&mut self, body: &[u8], shape: &mut UsageShape) {
        if self.mode != Mode::Body {
            return self.feed(body);
        }
        let read = match self.dialect {
            Dialect::OpenAiChat => {
                super::whole::openai_usage(body, shape).map(|usage| self.sight.set_usage(Some(usage)))
            }
            Dialect::AnthropicMessages => super::whole::usage_member(body, super::whole::raw_value)
                .map(|raw| anthropic::read_usage(&mut self.sight, raw)),
            // A Responses object may say that it failed, with a status of 200.
            Dialect::OpenAiResponses | Dialect::Gemini => None,
        };
        if read.is_none() {
            return self.feed(body);
        }
        self.sight.ended = true;
        self.mode = Mode::Whole;
    }

    /// Takes in the next event of a stream that the caller takes apart itself, as one who withholds events does. Not to
    /// be mixed with [`UsageTap::feed`] within one response.
    pub fn feed_event(&mut self, event: &Event<'_>) {
        debug_assert!(matches!(self.mode, Mode::StreamAhead | Mode::Stream), "the response is a stream");
        self.mode = Mode::Stream;
        on_event(self.dialect, &mut self.sight, event);
    }

    /// The token counts reported so far, for limits that stop a running stream.
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.sight.usage
    }

    /// See [`TapReport::output_chars_seen`].
    pub fn output_chars_so_far(&self) -> u64 {
        match self.mode {
            Mode::Body | Mode::Whole => self.body.weight(),
            Mode::StreamAhead | Mode::Stream => self.sight.output_chars,
        }
    }

    /// Whether the dialect's own end mark has passed: what follows adds nothing.
    pub fn has_ended(&self) -> bool {
        self.sight.ended
    }

    /// Events that have passed whole so far.
    pub fn events_so_far(&self) -> u64 {
        self.sight.events
    }

    /// What the provider said when it failed, if it did.
    pub fn failure(&self) -> Option<&ProviderError> {
        self.sight.error.as_ref().filter(|_| self.sight.failed)
    }

    /// Whether the body is, or may yet be, a stream of events and not one document.
    pub fn is_stream(&self) -> bool {
        matches!(self.mode, Mode::StreamAhead | Mode::Stream)
    }

    /// Whether the slice fed last held whole events of text only: nothing in it is usage, an error or an end.
    pub fn fed_only_text(&self) -> bool {
        self.fed_only_text
    }

    /// Whether the bytes so far end inside an event: who writes an event of the gateway's own has to end that one
    /// with a blank line first. Stays as it was when the tap is finished.
    pub fn is_inside_event(&self) -> bool {
        self.ended_inside_event || self.observer.is_inside_block()
    }

    /// The body has ended, or nothing more of it will come: what is known of it.
    pub fn finish(&mut self) -> TapReport<'_> {
        let (dialect, sight) = (self.dialect, &mut self.sight);
        if self.mode == Mode::Body {
            let body = &self.body;
            match dialect {
                Dialect::OpenAiChat => openai_chat::on_body(sight, body),
                Dialect::OpenAiResponses => openai_responses::on_body(sight, body),
                Dialect::AnthropicMessages => anthropic::on_body(sight, body),
                Dialect::Gemini => gemini::on_body(sight, body),
            }
        } else if self.mode != Mode::Whole {
            self.ended_inside_event |= self.observer.is_inside_block();
            self.observer.finish(|event| on_event(dialect, sight, &event));
        }
        let sight = &self.sight;
        let end = match () {
            () if sight.failed => StreamEnd::ErrorEvent,
            () if sight.ended || sight.finished => StreamEnd::Complete,
            () => StreamEnd::Truncated,
        };
        TapReport {
            usage: sight.usage,
            end,
            output_chars_seen: sight.output_chars,
            model: Some(sight.model.as_str()).filter(|model| !model.is_empty()),
            response_id: Some(sight.response_id.as_str()).filter(|id| !id.is_empty()),
            error: sight.error.as_ref(),
            events: sight.events,
            events_unread: self.observer.blocks_unread(),
        }
    }
}

fn body_targets(dialect: Dialect) -> &'static [Target] {
    match dialect {
        Dialect::OpenAiChat => openai_chat::BODY,
        Dialect::OpenAiResponses => openai_responses::BODY,
        Dialect::AnthropicMessages => anthropic::BODY,
        Dialect::Gemini => gemini::BODY,
    }
}

fn on_event(dialect: Dialect, sight: &mut Sight, event: &Event<'_>) {
    sight.events += 1;
    match dialect {
        Dialect::OpenAiChat => openai_chat::on_event(sight, event),
        Dialect::OpenAiResponses => openai_responses::on_event(sight, event),
        Dialect::AnthropicMessages => anthropic::on_event(sight, event),
        Dialect::Gemini => gemini::on_event(sight, event),
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod recording_tests;
#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
