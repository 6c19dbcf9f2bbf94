//! The body of an answer, from the provider to the client.
//!
//! Bytes are written from the buffer they were read into; our framing goes around them in the same buffer. Between
//! two reads a stream holds no buffer at all.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::answer::{Answer, AnswerHead, BodyKind};
use super::exchange::{After, Asker, Exchange, is_wait};
use super::labels::Labels;
use super::ledger::{Ending, Ledger};
use super::local;
use super::outgoing::{ClientFraming, Outgoing};
use super::request::Request;
use super::source::{Fault, Source, Span};
use super::withhold::{Pass, Withhold};
use crate::clock;
use crate::dialect::Dialect;
use crate::dialect::error::{ErrorBody, StreamPosition, write_stream_error};
use crate::dialect::{StreamEnd, UsageTap};
use crate::http1::{Framing, KnownField};
use crate::limits::{ANSWER_HEADROOM_BYTES, ANSWER_TAILROOM_BYTES, DEADLINE_TICK_MS};
use crate::net::Buffer;
use crate::net::deadline::OnExpiry;
use crate::respond::GatewayError;
use crate::snapshot::Target;
use crate::telemetry::labels::{EndedBy, Outcome};

/// What a silent stream says: a comment, which clients skip (WHATWG HTML, section 9.2.7).
const KEEP_ALIVE_COMMENT: &[u8] = b": keep-alive\n\n";
/// What it says to Google's clients, which take a comment for JSON: an empty line.
const KEEP_ALIVE_LINE: &[u8] = b"\n";

/// How an answer is to be relayed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relaying<'a> {
    /// Who answers.
    pub target: &'a Target,
    /// The dialect of the body, where it is one that reports usage.
    pub dialect: Option<Dialect>,
    /// Whether a stream without an end mark counts as cut off.
    pub expects_end_mark: bool,
    /// Whether the usage chunk is kept from the client.
    pub withhold_usage: bool,
    /// Whether text is labelled as `content` events.
    pub labels: bool,
    /// What opens a stream, if anything.
    pub opening: &'a [u8],
}

/// Relays the whole answer, settles the attempt, returns the provider's connection to its pool.
///
/// # Errors
/// It broke before the client got any of it. The attempt is not settled then.
pub(super) async fn relay(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    answer: Answer,
    how: Relaying<'_>,
) -> Result<After, GatewayError> {
    let AnswerHead { status, framing, keep_alive, kind, fields, buffer, start, end } = answer.head;
    ledger.answered(status);
    let is_events = kind == BodyKind::Events && !request.client.is_head;
    if is_events {
        ledger.stream_opened();
        answer.conn.delay_acknowledgements();
    }
    if status == 200 && kind != BodyKind::Opaque && exchange.copy.is_some() {
        exchange.begin_copy(content_type(&fields));
    }
    let source = Source::new(answer.conn, answer.pool, framing, keep_alive);
    let mut relay = Relay::new(exchange, request, source, kind, how);
    let (mut buffer, mut span) = (buffer, Span { start, end: start });
    if let Err(fault) = relay.source.absorb(&mut buffer, start, end, &mut span, false) {
        return relay.fail_before_head(exchange, ledger, fault, fields);
    }
    // A JSON answer that fits into the buffer is read whole first, so that its cost can stand in the head; a passed-
    // through one whose length is not known may be a stream of its own kind: only as far as it is there.
    if kind == BodyKind::Json {
        let room = (buffer.len() - ANSWER_TAILROOM_BYTES - start) as u64;
        let waits = how.expects_end_mark || matches!(framing, Framing::Length(length) if length <= room);
        if let Some(fault) = relay.gather(exchange, &mut buffer, &mut span, waits).await {
            return relay.fail_before_head(exchange, ledger, fault, fields);
        }
    }
    relay.watch_first(exchange, &buffer[span.start..span.end], status);
    relay.settle_if_over(ledger);

    let opens = is_events && !how.opening.is_empty() && (200..300).contains(&status);
    let holds_back = relay.labels.is_some() || relay.withhold.is_some();
    let bytes_change = opens || holds_back || is_events && how.expects_end_mark;
    let mut client_framing =
        ClientFraming::of(framing, request.client.is_head, request.client.http10, bytes_change);
    let unframed = matches!(client_framing, ClientFraming::Chunked | ClientFraming::UntilClose);
    if relay.source.done && unframed && !is_events {
        client_framing = ClientFraming::Length((span.end - span.start) as u64);
    }
    let keeps = exchange.keeps_alive(&request.client) && client_framing != ClientFraming::UntilClose;
    let mut head = exchange.shard.take_head();
    local::begin_head(&mut head, status, &request.client, keeps);
    head.extend_from_slice(&fields);
    exchange.shard.give_back_head(fields);
    // A stream may end within its first bytes or not; its cost is never in its head.
    let cost = if is_events { None } else { ledger.reported_cost() };
    local::append_answer_fields(&mut head, request, ledger, how.target, cost);
    client_framing.append_field(&mut head);
    crate::http1::writer::end(&mut head);
    let mut outgoing = Outgoing::new(client_framing, head);
    if opens {
        outgoing.open_with(how.opening);
    }
    let after = relay.run(exchange, request, ledger, &mut outgoing, buffer, span).await;
    exchange.shard.give_back_head(outgoing.into_memory());
    let Source { conn, pool, reusable, done, .. } = relay.source;
    if done && reusable {
        pool.give_back(conn, exchange.shard.tick_ms());
    }
    Ok(match after {
        After::KeepAlive if !keeps => After::Close,
        after => after,
    })
}

/// The content type among fields in wire form.
fn content_type(fields: &[u8]) -> &str {
    let mut lines = fields.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        (KnownField::of(&line[..at]) == KnownField::ContentType).then_some(&line[at + 1..])
    });
    value.and_then(|value| std::str::from_utf8(value).ok()).map_or(local::JSON, str::trim)
}

/// When the whole request has to be over, on the core's tick.
fn ends_at_ms(exchange: &Exchange<'_>, request: &Request) -> Option<u64> {
    let total = exchange.view.snapshot.config.settings().upstream.total_timeout?;
    let left = total.saturating_sub(clock::now().duration_since(request.started));
    Some(exchange.shard.tick_ms().saturating_add(left.as_millis() as u64))
}

/// One answer on its way.
pub(super) struct Relay<'a> {
    pub source: Source,
    pub tap: Option<UsageTap>,
    labels: Option<Labels>,
    withhold: Option<Withhold>,
    is_events: bool,
    how: Relaying<'a>,
    pub settled: bool,
    /// Whether the client gets whole events only, so that bytes of ours can follow at any time.
    pub whole_events: bool,
    /// What a silent stream says.
    filler: &'static [u8],
    idle: Duration,
    ends_at_ms: Option<u64>,
    /// The time that the last wait for the provider was given.
    waited: Duration,
    /// How long a stream may be silent before its client gets a comment.
    keep_alive: Option<Duration>,
    timer: Option<Pin<Box<monoio::time::Sleep>>>,
    /// When the client last got something, on the core's tick.
    heard_ms: u64,
}

impl<'a> Relay<'a> {
    /// Before the first byte of a body.
    pub(super) fn new(
        exchange: &Exchange<'_>,
        request: &Request,
        mut source: Source,
        kind: BodyKind,
        how: Relaying<'a>,
    ) -> Self {
        let is_events = kind == BodyKind::Events && !request.client.is_head;
        let settings = exchange.view.snapshot.config.settings();
        source.done |= request.client.is_head;
        Self {
            source,
            tap: how
                .dialect
                .filter(|_| kind != BodyKind::Opaque)
                .map(|dialect| UsageTap::new(dialect, is_events)),
            labels: (how.labels && is_events).then(|| Labels::new(how.withhold_usage)),
            withhold: (how.withhold_usage && !how.labels && is_events).then(Withhold::default),
            is_events,
            how,
            settled: false,
            whole_events: how.withhold_usage || how.labels,
            filler: match request.client.dialect {
                Dialect::Gemini => KEEP_ALIVE_LINE,
                _ => KEEP_ALIVE_COMMENT,
            },
            idle: settings.upstream.stream_idle_timeout,
            ends_at_ms: ends_at_ms(exchange, request),
            waited: Duration::ZERO,
            keep_alive: settings.server.stream_keep_alive.filter(|_| is_events),
            timer: None,
            heard_ms: 0,
        }
    }

    /// Waits for the provider and reads behind `end`. `Ok(None)`: its stream ended properly.
    pub(super) async fn read(
        &mut self,
        exchange: &mut Exchange<'_>,
        buffer: &mut [u8],
        at: usize,
    ) -> Result<usize, Fault> {
        let room = buffer.len() - ANSWER_TAILROOM_BYTES;
        loop {
            match self.source.conn.try_read(&mut buffer[at..room]) {
                Ok(0) => return self.end_of_source(exchange, None),
                Ok(count) => return Ok(count),
                Err(error) if is_wait(&error) => self.wait(exchange).await?,
                Err(error) => return self.end_of_source(exchange, Some(error)),
            }
        }
    }

    fn end_of_source(
        &mut self,
        exchange: &Exchange<'_>,
        error: Option<std::io::Error>,
    ) -> Result<usize, Fault> {
        if self.source.conn.deadline().fired() && exchange.shard.is_cut() {
            return Err(Fault::Stopped);
        }
        if self.source.conn.deadline().fired() {
            return Err(Fault::TooSlow(self.waited));
        }
        self.source.ended(error).map(|()| 0)
    }

    fn wait_time(&self, exchange: &Exchange<'_>) -> Duration {
        let left =
            self.ends_at_ms.map(|at| Duration::from_millis(at.saturating_sub(exchange.shard.tick_ms())));
        left.map_or(self.idle, |left| left.min(self.idle))
    }

    async fn wait(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Fault> {
        self.waited = self.wait_time(exchange);
        self.source.conn.deadline().set(self.waited, OnExpiry::Close);
        if exchange.provider_ready(&mut self.source.conn).await { Ok(()) } else { Err(Fault::ClientGone) }
    }

    /// Waits for the provider; a client of a stream hears something now and then.
    pub(super) async fn wait_audibly(
        &mut self,
        exchange: &mut Exchange<'_>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Fault> {
        self.heard_ms = exchange.shard.tick_ms();
        let Some(period) = self.keep_alive else { return self.wait(exchange).await };
        self.waited = self.wait_time(exchange);
        self.source.conn.deadline().set(self.waited, OnExpiry::Close);
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(monoio::time::sleep(period)));
            let conn = &mut self.source.conn;
            let ready = std::future::poll_fn(|cx| {
                if conn.poll_data(cx).is_ready() {
                    return Poll::Ready(Some(true));
                }
                if exchange.poll_gone(cx).is_ready() {
                    return Poll::Ready(Some(false));
                }
                timer.as_mut().poll(cx).map(|()| None)
            })
            .await;
            match ready {
                Some(true) => return Ok(()),
                Some(false) => return Err(Fault::ClientGone),
                None => self.timer = None,
            }
            // The timer runs through the whole stream: it is not set anew for each event.
            let silent_ms = exchange.shard.tick_ms().saturating_sub(self.heard_ms);
            let left = period.saturating_sub(Duration::from_millis(silent_ms));
            if left > Duration::from_millis(DEADLINE_TICK_MS) {
                self.timer = Some(Box::pin(monoio::time::sleep(left)));
                continue;
            }
            let inside = !self.whole_events && self.tap.as_ref().is_some_and(UsageTap::is_inside_event);
            if !inside && outgoing.send_slice(exchange.conn, self.filler, false).await.is_err() {
                return Err(Fault::ClientGone);
            }
            self.heard_ms = exchange.shard.tick_ms();
        }
    }

    /// Reads on until the body is complete, the buffer is full or, unless it `waits`, nothing is there.
    async fn gather(
        &mut self,
        exchange: &mut Exchange<'_>,
        buffer: &mut Buffer,
        span: &mut Span,
        waits: bool,
    ) -> Option<Fault> {
        while !self.source.done && span.end < buffer.len() - ANSWER_TAILROOM_BYTES {
            let at = span.end;
            let count = if waits {
                self.read(exchange, buffer, at).await
            } else {
                let room = buffer.len() - ANSWER_TAILROOM_BYTES;
                match self.source.conn.try_read(&mut buffer[at..room]) {
                    Err(error) if is_wait(&error) => return None,
                    Ok(count @ 1..) => Ok(count),
                    Ok(_) => self.end_of_source(exchange, None),
                    Err(error) => self.end_of_source(exchange, Some(error)),
                }
            };
            let absorbed = count.and_then(|count| self.source.absorb(buffer, at, at + count, span, true));
            if let Err(fault) = absorbed {
                return Some(fault);
            }
        }
        None
    }

    /// Labels the whole events in `out[start..]`, where the client wants that.
    pub(super) fn label(&mut self, out: &mut Vec<u8>, start: usize) {
        if let Some(labels) = &mut self.labels {
            let labelled = labels.pass(&out[start..], false);
            out.truncate(start);
            out.extend_from_slice(&labelled);
        }
    }

    /// The first bytes, and often the whole body.
    pub(super) fn watch_first(&mut self, exchange: &Exchange<'_>, payload: &[u8], status: u16) {
        match &mut self.tap {
            Some(tap) if self.source.done && (200..300).contains(&status) => {
                let shape = &exchange.view.usage_shapes[self.how.target.endpoint];
                tap.feed_whole(payload, &mut shape.borrow_mut());
            }
            Some(tap) => tap.feed(payload),
            None => {}
        }
    }

    /// The same answer goes on in another body of the provider's, whose usage is settled by itself. Returns the one before.
    pub(super) fn go_on(&mut self, source: Source) -> Source {
        if let (Some(tap), Some(dialect)) = (&mut self.tap, self.how.dialect) {
            tap.reset(dialect, self.is_events);
        }
        self.settled = false;
        std::mem::replace(&mut self.source, source)
    }

    pub(super) fn watch(&mut self, payload: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.feed(payload);
        }
    }

    /// The record is written before the client can see the end.
    fn settle_if_over(&mut self, ledger: &mut Ledger) {
        let marked = self.is_events && self.tap.as_ref().is_some_and(UsageTap::has_ended);
        if !self.settled && (self.source.done || marked) && !self.is_cut() {
            self.settled = true;
            ledger.settle(self.tap.as_mut(), &Ending::of_answer());
        }
    }

    /// A stream that is over without having said so.
    pub(super) fn is_cut(&mut self) -> bool {
        self.source.done
            && self.is_events
            && self.how.expects_end_mark
            && self
                .tap
                .as_mut()
                .is_some_and(|tap| !tap.has_ended() && tap.finish().end == StreamEnd::Truncated)
    }

    async fn run(
        &mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        outgoing: &mut Outgoing,
        mut buffer: Buffer,
        mut span: Span,
    ) -> After {
        loop {
            if self.is_cut() {
                let fault = Fault::Broken("the provider ended the stream without its end mark".to_owned());
                let _ = self.send(exchange, outgoing, &mut buffer, span, false).await;
                return self.fail(exchange, request, ledger, outgoing, fault).await;
            }
            let last = self.source.done;
            if self.send(exchange, outgoing, &mut buffer, span, last).await.is_err() {
                return self.client_gone(ledger);
            }
            ledger.relayed();
            if last {
                return if outgoing.ends_by_close() { After::Close } else { After::KeepAlive };
            }
            // While nothing comes nothing is held: a thousand quiet streams share the buffers of the busy ones.
            drop(buffer);
            if let Err(fault) = self.wait_audibly(exchange, outgoing).await {
                return self.fail(exchange, request, ledger, outgoing, fault).await;
            }
            buffer = exchange.shard.buffers.take();
            let count = match self.read(exchange, &mut buffer, ANSWER_HEADROOM_BYTES).await {
                Ok(count) => count,
                Err(fault) => return self.fail(exchange, request, ledger, outgoing, fault).await,
            };
            let (from, to) = (ANSWER_HEADROOM_BYTES, ANSWER_HEADROOM_BYTES + count);
            let absorbed = self.source.absorb(&mut buffer, from, to, &mut span, false);
            self.watch(&buffer[span.start..span.end]);
            if let Err(fault) = absorbed {
                let _ = self.send(exchange, outgoing, &mut buffer, span, false).await;
                return self.fail(exchange, request, ledger, outgoing, fault).await;
            }
            self.settle_if_over(ledger);
            if !self.settled
                && let Err(error) = ledger.go_on(self.tap.as_ref())
            {
                // What is here is paid for.
                let _ = self.send(exchange, outgoing, &mut buffer, span, false).await;
                return self.fail(exchange, request, ledger, outgoing, Fault::Spent(error)).await;
            }
        }
    }

    async fn send(
        &mut self,
        exchange: &mut Exchange<'_>,
        outgoing: &mut Outgoing,
        buffer: &mut Buffer,
        span: Span,
        last: bool,
    ) -> std::io::Result<()> {
        // A client that takes its time must not make the provider look slow.
        self.source.conn.deadline().clear();
        if let Some(labels) = &mut self.labels {
            let bytes = labels.pass(&buffer[span.start..span.end], last);
            exchange.copy(&bytes);
            return outgoing.send_slice(exchange.conn, &bytes, last).await;
        }
        let Some(withhold) = &mut self.withhold else {
            exchange.copy(&buffer[span.start..span.end]);
            return outgoing.send(exchange.conn, buffer, span.start, span.end, last).await;
        };
        let only_text = self.tap.as_ref().is_some_and(UsageTap::fed_only_text);
        match withhold.pass(&buffer[span.start..span.end], last, only_text) {
            Pass::AsTheyAre => {
                exchange.copy(&buffer[span.start..span.end]);
                outgoing.send(exchange.conn, buffer, span.start, span.end, last).await
            }
            Pass::Instead(bytes) => {
                exchange.copy(&bytes);
                outgoing.send_slice(exchange.conn, &bytes, last).await
            }
        }
    }

    pub(super) fn client_gone(&mut self, ledger: &mut Ledger) -> After {
        if !self.settled {
            self.settled = true;
            ledger.settle(
                self.tap.as_mut(),
                &Ending { outcome: Outcome::ClientClosed, ended_by: EndedBy::Client, error: None },
            );
        }
        After::Abort
    }

    pub(super) fn settle_fault(&mut self, ledger: &mut Ledger, fault: &Fault) -> String {
        let (outcome, ended_by, text) = match fault {
            Fault::ClientGone => (Outcome::ClientClosed, EndedBy::Client, "the client went away".to_owned()),
            Fault::Broken(text) => (Outcome::Error, EndedBy::Provider, text.clone()),
            Fault::TooSlow(after) => {
                let text = format!("the provider sent nothing for {} ms", after.as_millis());
                (Outcome::Timeout, EndedBy::Gateway, text)
            }
            Fault::Stopped => (Outcome::Error, EndedBy::Gateway, GatewayError::Stopped.message()),
            Fault::Spent(error) => (error.outcome(), EndedBy::Gateway, error.message()),
        };
        if !self.settled {
            self.settled = true;
            ledger.settle(self.tap.as_mut(), &Ending { outcome, ended_by, error: Some(&text) });
        }
        text
    }

    /// The provider failed within the body: said in the client's dialect where its stream allows that, else shown
    /// by an end that is visibly too early.
    async fn fail(
        &mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        outgoing: &mut Outgoing,
        fault: Fault,
    ) -> After {
        let ended_well = self.settled;
        let text = self.settle_fault(ledger, &fault);
        if matches!(fault, Fault::ClientGone) {
            return After::Abort;
        }
        if !(self.is_events && outgoing.can_add_bytes()) {
            // Where the end of the connection is the end of the body, only a reset tells that this is not it.
            return if outgoing.ends_by_close() { After::Reset } else { After::Abort };
        }
        let mut bytes = Vec::new();
        // A client that has seen the end mark has all it wants.
        if !ended_well {
            let trace = ledger.trace_text();
            let (code, status) = match &fault {
                Fault::Spent(error) => (error.code(), error.status()),
                Fault::TooSlow(_) => ("timeout", 504),
                Fault::Stopped => (GatewayError::Stopped.code(), 502),
                Fault::ClientGone | Fault::Broken(_) => ("upstream_error", 502),
            };
            let error = ErrorBody { code, status, message: &text, trace_id: &trace };
            let unix_seconds = clock::unix_ms() / 1000;
            let report = self.tap.as_mut().map(|tap| (tap.is_inside_event(), tap.finish()));
            let position = match &report {
                None => StreamPosition { unix_seconds, ..StreamPosition::default() },
                Some((is_inside_event, report)) => StreamPosition {
                    is_inside_event: *is_inside_event,
                    events: report.events,
                    response_id: report.response_id,
                    model: report.model,
                    unix_seconds,
                },
            };
            write_stream_error(&mut bytes, request.client.dialect, &error, &position);
        }
        match outgoing.send_slice(exchange.conn, &bytes, true).await {
            Err(_) => After::Abort,
            Ok(()) if outgoing.ends_by_close() => After::Close,
            Ok(()) => After::KeepAlive,
        }
    }

    /// Nothing was sent to the client yet: another candidate may do better, or it gets a proper error.
    pub(super) fn fail_before_head(
        &mut self,
        exchange: &Exchange<'_>,
        ledger: &mut Ledger,
        fault: Fault,
        fields: Vec<u8>,
    ) -> Result<After, GatewayError> {
        exchange.shard.give_back_head(fields);
        match fault {
            Fault::ClientGone => {
                self.settle_fault(ledger, &fault);
                Ok(After::Abort)
            }
            Fault::Broken(text) => Err(GatewayError::UpstreamMalformed(text)),
            Fault::TooSlow(after) => Err(GatewayError::UpstreamTimeout { after }),
            Fault::Stopped => Err(GatewayError::Stopped),
            Fault::Spent(error) => Err(error),
        }
    }
}
