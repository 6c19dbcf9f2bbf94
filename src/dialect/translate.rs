//! From one dialect to another: requests, answers, streams and errors of the twelve pairs.
//!
//! A pair is a reader and a writer that meet in the shared form ([`super::ir`]); between them stands what has to be
//! undone in the answer ([`super::undo`]). Two of the same dialect never come here. Bytes in, bytes out.

use super::context::{ClientContext, Ids, TargetModel, Undo};
use super::error::{ErrorBody, write_error};
use super::inline::{self, Fetched, Wanted};
use super::ir::{Answer, Event, Fault, FaultCase, Finish, Request, Text, Vendor};
use super::loss::{BadRequest, Losses, Saying};
use super::paused::Collector;
use super::stream::{Reader, Writer};
use super::undo::UndoStream;
use super::{Dialect, ProofKey, Usage, anthropic, gemini, openai_chat, openai_responses};
use super::{count, estimate};
use crate::json::write::object;
use crate::limits::TRANSLATED_EVENT_BYTES_MAX;
use crate::sse::{Event as SseEvent, Observer};

/// A request of a client, to be said in another dialect.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The client's dialect.
    pub dialect: Dialect,
    /// One JSON object in UTF-8.
    pub body: &'a [u8],
    /// Whether a stream is wanted, which may be said outside of the body: in the URL (Gemini) or by `Accept`.
    pub stream: bool,
    /// Opens the proofs that the client brings back.
    pub proofs: &'a ProofKey,
    /// Refuse what would be lost.
    pub strict: bool,
    /// What has been fetched of its media.
    pub media: &'a [Fetched],
}

/// What a translated request leaves for its answer.
#[derive(Debug)]
pub struct Translated {
    /// What has been changed and is to be changed back.
    pub undo: Undo,
    /// What the client's dialect repeats in its answer; see [`ClientContext::echo`].
    pub echo: Vec<u8>,
    /// What could not be carried.
    pub losses: Losses,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether the client of a chat stream reads its usage.
    pub stream_usage: bool,
    /// Whether a chat client reads `function_call`.
    pub legacy_functions: bool,
    /// Whether the answer may pause in the middle of a turn; see [`super::paused`].
    pub may_pause: bool,
}

impl Ask<'_> {
    /// The request in the shared form.
    ///
    /// # Errors
    /// The body is not what its dialect takes.
    pub fn request(&self) -> Result<Request<'_>, BadRequest> {
        self.read().map(|(request, _)| request)
    }

    fn read(&self) -> Result<(Request<'_>, Vec<u8>), BadRequest> {
        let alone = |request| (request, Vec::new());
        match self.dialect {
            Dialect::OpenAiChat => openai_chat::read_request(self.body, self.proofs).map(alone),
            Dialect::OpenAiResponses => openai_responses::read_request(self.body, self.proofs),
            Dialect::AnthropicMessages => anthropic::read_request(self.body, self.proofs).map(alone),
            Dialect::Gemini => gemini::read_request(self.body, self.stream, self.proofs).map(alone),
        }
    }

    /// Appends the request to `out` as `target`, a model called by `dialect`, is to get it.
    ///
    /// # Errors
    /// The body is not what its dialect takes, or says what `dialect` cannot carry.
    pub fn translate(
        &self,
        dialect: Dialect,
        target: &TargetModel<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Translated, BadRequest> {
        let (mut request, echo) = self.read()?;
        inline::inline(&mut request, dialect, self.media);
        request.stream |= self.stream;
        let mut losses = Losses::new(dialect, self.strict);
        let undo = write(dialect, &request, target, &mut losses, out)?;
        Ok(Translated {
            undo,
            echo,
            losses,
            stream: request.stream,
            stream_usage: request.stream_usage,
            legacy_functions: request.legacy_functions,
            may_pause: dialect == Dialect::AnthropicMessages && request.web_search.is_some(),
        })
    }

    /// What of the request has to be fetched for a model called by `dialect`; nothing if it cannot be read.
    pub fn wanted_media(&self, dialect: Dialect) -> Vec<Wanted> {
        self.read_count().map(|mut request| inline::wanted(&mut request, dialect)).unwrap_or_default()
    }

    /// Reads a request that is only to be counted: it need not say what an answer would need.
    fn read_count(&self) -> Result<Request<'_>, BadRequest> {
        match self.dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => self.request(),
            Dialect::AnthropicMessages => anthropic::read_count_request(self.body, self.proofs),
            Dialect::Gemini => gemini::read_count_request(self.body, self.proofs),
        }
    }

    /// Appends the question how many tokens the request has for `target`, a model called by `dialect`. `None`: that
    /// dialect has no such question.
    ///
    /// # Errors
    /// As for [`Ask::translate`].
    pub fn translate_count(
        &self,
        dialect: Dialect,
        target: &TargetModel<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Losses>, BadRequest> {
        let mut request = self.read_count()?;
        inline::inline(&mut request, dialect, self.media);
        let mut losses = Losses::new(dialect, self.strict);
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => return Ok(None),
            Dialect::AnthropicMessages => {
                let mut whole = Vec::with_capacity(self.body.len());
                anthropic::write_request(&request, target, &mut losses, &mut whole)?;
                count::append_counted(&whole, out);
            }
            Dialect::Gemini => gemini::write_count_request(&request, target, &mut losses, out)?,
        }
        Ok(Some(losses))
    }

    /// About how many tokens the request has, counted without asking anybody.
    ///
    /// # Errors
    /// The body is not what its dialect takes.
    pub fn estimate(&self) -> Result<u64, BadRequest> {
        self.read_count().map(|request| estimate::input_tokens(&request))
    }
}

/// The number in an answer to [`Ask::translate_count`].
pub fn read_count(dialect: Dialect, body: &[u8]) -> Option<u64> {
    match dialect {
        Dialect::Gemini => gemini::read_count(body),
        _ => crate::json::scan::member(body, "input_tokens")?.as_count(),
    }
}

/// Appends the answer to a client that asked how many tokens its request has.
pub fn write_count(dialect: Dialect, tokens: u64, out: &mut Vec<u8>) {
    match dialect {
        Dialect::Gemini => gemini::write_count(tokens, out),
        _ => object(out, |root| root.number("input_tokens", tokens)),
    }
}

/// Appends a request in the words of `dialect`.
///
/// # Errors
/// It says what the dialect cannot carry.
pub fn write(
    dialect: Dialect,
    request: &Request<'_>,
    target: &TargetModel<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Undo, BadRequest> {
    match dialect {
        Dialect::OpenAiChat => openai_chat::write_request(request, target, losses, out),
        Dialect::OpenAiResponses => openai_responses::write_request(request, target, losses, out),
        Dialect::AnthropicMessages => anthropic::write_request(request, target, losses, out),
        Dialect::Gemini => gemini::write_request(request, target, losses, out),
    }
}

/// A whole answer that came with a status of success, in the shared form. `vendor` makes the provider's proofs.
///
/// # Errors
/// The body is an error all the same, or is none that can be read.
pub fn read_answer(dialect: Dialect, vendor: Vendor, body: &[u8]) -> Result<Answer<'_>, Fault<'static>> {
    let read = match dialect {
        Dialect::OpenAiChat => openai_chat::read_answer(body, vendor),
        Dialect::OpenAiResponses => openai_responses::read_answer(body, vendor),
        Dialect::AnthropicMessages => anthropic::read_answer(body, vendor),
        Dialect::Gemini => gemini::read_answer(body, vendor),
    };
    read.map_err(into_owned)
}

/// Where an answer comes from and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// The provider's dialect.
    pub from: Dialect,
    /// Who makes its proofs.
    pub vendor: Vendor,
    /// The client's dialect.
    pub to: Dialect,
}

impl Pair {
    /// Appends the client's form of a whole answer, which came with a status of success, after what it has `said` before it
    /// paused and went on. Returns what of it the client does not get.
    ///
    /// # Errors
    /// The body is an error all the same, or is none that can be read.
    pub fn answer(
        &self,
        said: &[Vec<u8>],
        body: &[u8],
        undo: &Undo,
        client: &mut ClientContext,
        out: &mut Vec<u8>,
    ) -> Result<Vec<Saying>, Fault<'static>> {
        let mut bodies = said.iter().map(Vec::as_slice).chain([body]);
        let mut answer = read_answer(self.from, self.vendor, bodies.next().unwrap_or(body))?;
        for body in bodies {
            answer.goes_on(read_answer(self.from, self.vendor, body)?);
        }
        undo.answer(&mut answer);
        match self.to {
            Dialect::OpenAiChat => openai_chat::write_answer(&answer, client, out),
            Dialect::OpenAiResponses => openai_responses::write_answer(&answer, client, out),
            Dialect::AnthropicMessages => anthropic::write_answer(&answer, client, out),
            Dialect::Gemini => gemini::write_answer(&answer, client, out),
        }
        Ok(Saying::lost(&answer, self.to))
    }

    /// What an answer with a status of failure says.
    pub fn fault(&self, status: u16, body: &[u8]) -> Fault<'static> {
        into_owned(match self.from {
            Dialect::OpenAiChat => openai_chat::read_fault(status, body),
            Dialect::OpenAiResponses => openai_responses::read_fault(status, body),
            Dialect::AnthropicMessages => anthropic::read_fault(status, body),
            Dialect::Gemini => gemini::read_fault(status, body),
        })
    }
}

/// Appends an error body for a client of `dialect` and returns its status. What a provider says of our key is not for
/// the client.
pub fn write_fault(dialect: Dialect, fault: &Fault<'_>, trace_id: &str, out: &mut Vec<u8>) -> u16 {
    if fault.case == FaultCase::BadKey {
        let message = "the provider refused the gateway's own API key; your token is not the cause";
        write_error(out, dialect, &ErrorBody { code: "upstream_auth", status: 502, message, trace_id });
        return 502;
    }
    match dialect {
        Dialect::OpenAiChat => openai_chat::write_fault(fault, trace_id, out),
        Dialect::OpenAiResponses => openai_responses::write_fault(fault, trace_id, out),
        Dialect::AnthropicMessages => anthropic::write_fault(fault, trace_id, out),
        Dialect::Gemini => gemini::write_fault(fault, trace_id, out),
    }
}

fn into_owned(fault: Fault<'_>) -> Fault<'static> {
    Fault {
        case: fault.case,
        message: fault.message.into_owned(),
        code: fault.code.map(Text::into_owned),
        param: fault.param.map(Text::into_owned),
        retry_after_s: fault.retry_after_s,
    }
}

/// One stream on its way from a provider's dialect to a client's.
#[derive(Debug)]
pub struct StreamTranslation {
    from: Dialect,
    observer: Observer,
    line: Line,
    /// The body is no event stream but a document, whatever its head said: its first bytes.
    document: Option<Vec<u8>>,
    begun: bool,
}

/// What an event passes through.
#[derive(Debug)]
struct Line {
    reader: Reader,
    undo: UndoStream,
    writer: Writer,
    pause: Option<Pause>,
    end: Option<End>,
    /// Something of the answer itself has been written.
    started: bool,
}

/// What is kept of an answer that may pause.
#[derive(Debug, Default)]
struct Pause {
    collector: Collector,
    /// It has paused: how that would be said if it does not go on.
    finish: Option<Event<'static>>,
    /// The tokens of its parts so far.
    before: Usage,
    /// Of the part that has paused.
    last: Usage,
    /// It has gone on: the answer has begun before.
    goes_on: bool,
}

/// What the client gets of an event.
enum Passage {
    /// All of it.
    Open,
    /// Other counts.
    Usage(Usage),
    /// Nothing.
    Shut,
}

/// How a stream ended.
#[derive(Debug)]
enum End {
    Complete,
    Failed(Fault<'static>),
}

/// Bytes of an error document in place of a stream that are looked into.
const DOCUMENT_BYTES_MAX: usize = 64 * crate::limits::KIB;

impl StreamTranslation {
    /// At the first byte of a stream. `ids` makes those that the provider does not give.
    /// `array`: a Gemini client wants its stream as one array.
    pub fn new(pair: Pair, undo: Undo, client: ClientContext, ids: Ids, array: bool) -> Self {
        let reader = Reader::new(pair.from, pair.vendor, ids);
        let writer = Writer::new(pair.to, client, array);
        Self {
            from: pair.from,
            observer: Observer::with_limit(TRANSLATED_EVENT_BYTES_MAX),
            line: Line {
                reader,
                undo: UndoStream::new(undo),
                writer,
                pause: None,
                end: None,
                started: false,
            },
            document: None,
            begun: false,
        }
    }

    /// The answer may pause: it is then held open; see [`StreamTranslation::take_paused`].
    pub fn may_pause(&mut self) {
        self.line.pause = Some(Pause::default());
    }

    /// Whether the provider's stream has ended with a pause.
    pub fn is_paused(&self) -> bool {
        self.line.pause.as_ref().is_some_and(|pause| pause.finish.is_some())
    }

    /// The blocks that a paused answer has said since it was asked last, joined by commas; `None` if they are not all there.
    pub fn take_paused(&mut self) -> Option<Vec<u8>> {
        let pause = self.line.pause.as_mut().filter(|pause| pause.finish.is_some())?;
        pause.collector.take()
    }

    /// The paused answer goes on: what is fed next are the first bytes of another stream of the same provider.
    pub fn go_on(&mut self, vendor: Vendor, ids: Ids) {
        let Some(pause) = &mut self.line.pause else { return };
        *pause = Pause { before: pause.before.and(pause.last), goes_on: true, ..Pause::default() };
        self.line.reader = Reader::new(self.from, vendor, ids);
        self.observer = Observer::with_limit(TRANSLATED_EVENT_BYTES_MAX);
        self.begun = false;
    }

    /// The paused answer does not go on: appends its end.
    pub fn stay_paused(&mut self, out: &mut Vec<u8>) {
        let Some(pause) = self.line.pause.take() else { return };
        let usage = Event::Usage(pause.before.and(pause.last));
        for event in pause.finish.into_iter().chain([usage, Event::End]) {
            self.line.put(&event, out);
        }
    }

    /// Takes the next bytes of the provider's body and appends what the client is to get for them, in whole events.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if !self.begun {
            let Some(start) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else { return };
            bytes = &bytes[start..];
            self.begun = true;
            self.document = matches!(bytes[0], b'{' | b'[').then(Vec::new);
        }
        if let Some(document) = &mut self.document {
            let room = DOCUMENT_BYTES_MAX.saturating_sub(document.len());
            document.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        let Self { observer, line, .. } = self;
        let unread = observer.blocks_unread();
        observer.feed(bytes, |event| line.event(&event, out));
        if observer.blocks_unread() > unread {
            line.fail(FaultCase::Internal, "an event of the provider is too long to be translated", out);
        }
    }

    /// The provider's body has ended: appends what is still due.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(document) = &self.document {
            let pair = Pair { from: self.from, vendor: Vendor::Other, to: self.from };
            let fault = pair.fault(200, document);
            return self.line.put(&Event::Fail(fault), out);
        }
        let Self { observer, line, .. } = self;
        observer.finish(|event| line.event(&event, out));
        line.end_of_body(out);
    }

    /// The stream cannot go on: appends the client's error event, unless it has ended already.
    pub fn fail(&mut self, case: FaultCase, message: &str, out: &mut Vec<u8>) {
        self.line.fail(case, message, out);
    }

    /// Whether the answer has ended, well or not: nothing that follows changes it.
    pub fn has_ended(&self) -> bool {
        self.line.end.is_some()
    }

    /// What it failed of, if it did.
    pub fn failure(&self) -> Option<&Fault<'static>> {
        match &self.line.end {
            Some(End::Failed(fault)) => Some(fault),
            Some(End::Complete) | None => None,
        }
    }

    /// Whether anything but an error has been written: an answer with a status of failure comes too late.
    pub fn has_started(&self) -> bool {
        self.line.started
    }
}

impl Line {
    fn event(&mut self, event: &SseEvent<'_>, out: &mut Vec<u8>) {
        if self.end.is_some() {
            return;
        }
        let Self { reader, undo, writer, pause, end, started } = self;
        if let Some(pause) = pause {
            pause.collector.event(event);
        }
        let mut emit = |event: Event<'_>| {
            undo.event(event, &mut |event| match pause.as_mut().map_or(Passage::Open, |p| p.pass(event)) {
                Passage::Open => pass(writer, end, started, event, out),
                Passage::Usage(usage) => pass(writer, end, started, &Event::Usage(usage), out),
                Passage::Shut => {}
            });
        };
        reader.event(event, &mut emit);
    }

    fn end_of_body(&mut self, out: &mut Vec<u8>) {
        if self.end.is_some() || self.pause.as_ref().is_some_and(|pause| pause.finish.is_some()) {
            return;
        }
        let Self { reader, undo, writer, end, started, .. } = self;
        let mut emit =
            |event: Event<'_>| undo.event(event, &mut |event| pass(writer, end, started, event, out));
        reader.end(&mut emit);
        debug_assert!(self.end.is_some(), "a reader ends every stream");
    }

    fn fail(&mut self, case: FaultCase, message: &str, out: &mut Vec<u8>) {
        let message = Text::from(message.to_owned());
        let fault = Fault { case, message, code: None, param: None, retry_after_s: None };
        self.put(&Event::Fail(fault), out);
    }

    fn put(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        pass(&mut self.writer, &mut self.end, &mut self.started, event, out);
    }
}

impl Pause {
    /// What the client gets of an event: nothing of a pause and what follows it, nor of a second beginning.
    fn pass(&mut self, event: &Event<'_>) -> Passage {
        match event {
            Event::Finish { choice, finish: Finish::Paused } => {
                self.finish = Some(Event::Finish { choice: *choice, finish: Finish::Paused });
                Passage::Shut
            }
            Event::Usage(usage) if self.finish.is_some() => {
                self.last = *usage;
                Passage::Shut
            }
            Event::Usage(usage) => Passage::Usage(self.before.and(*usage)),
            Event::End if self.finish.is_some() => Passage::Shut,
            Event::Start { .. } if self.goes_on => Passage::Shut,
            _ => Passage::Open,
        }
    }
}

/// Writes an event, unless the answer has ended.
fn pass(
    writer: &mut Writer,
    end: &mut Option<End>,
    started: &mut bool,
    event: &Event<'_>,
    out: &mut Vec<u8>,
) {
    if end.is_some() {
        return;
    }
    let written = out.len();
    match event {
        Event::Fail(fault) => *end = Some(End::Failed(into_owned(fault.clone()))),
        Event::End => *end = Some(End::Complete),
        _ => {}
    }
    writer.event(event, out);
    *started |= out.len() > written && !matches!(event, Event::Fail(_));
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
