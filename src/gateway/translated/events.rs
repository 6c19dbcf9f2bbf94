//! Streams, event by event.

use std::borrow::Cow;

use super::{Answering, Way, wants_array};
use crate::dialect::context::Ids;
use crate::dialect::error::{ErrorBody, StreamPosition, write_stream_error};
use crate::dialect::ir::{Fault as ProviderFault, FaultCase};
use crate::dialect::translate::StreamTranslation;
use crate::dialect::{Dialect, UsageTap};
use crate::gateway::answer::BodyKind;
use crate::gateway::array::ArrayFrame;
use crate::gateway::attempt::AttemptError;
use crate::gateway::exchange::{After, Exchange};
use crate::gateway::ledger::{Ending, Ledger};
use crate::gateway::local;
use crate::gateway::outgoing::{ClientFraming, Outgoing};
use crate::gateway::remembered;
use crate::gateway::request::Request;
use crate::gateway::source::{Fault, Span};
use crate::http1::{Framing, writer};
use crate::limits::ANSWER_HEADROOM_BYTES;
use crate::net::Buffer;
use crate::respond::GatewayError;
use crate::telemetry::labels::{EndedBy, Outcome};

/// What becomes of the provider's events.
enum Retelling {
    /// They are translated.
    Translation(Box<StreamTranslation>),
    /// Gemini's events become elements of one array.
    Array {
        /// Puts them there.
        frame: ArrayFrame,
        /// The stream is over without its end mark.
        cut: bool,
    },
}

const CUT: &str = "the provider ended the stream without its end mark";

impl Retelling {
    /// Takes the provider's next bytes and appends what the client gets for them.
    fn feed(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Translation(translation) => translation.feed(payload, out),
            Self::Array { frame, .. } => frame.push(payload, out),
        }
    }

    /// Nothing follows: the provider's body is complete, or the reader has given up.
    fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Translation(translation) => translation.finish(out),
            Self::Array { frame, .. } => frame.end(out),
        }
    }

    /// The stream cannot go on.
    fn fail(&mut self, too_slow: bool, message: &str, trace_id: &str, out: &mut Vec<u8>) {
        match self {
            Self::Translation(translation) => {
                let case = if too_slow { FaultCase::Timeout } else { FaultCase::Internal };
                translation.fail(case, message, out);
            }
            Self::Array { frame, .. } => {
                let (code, status) = if too_slow { ("timeout", 504) } else { ("upstream_error", 502) };
                let error = ErrorBody { code, status, message, trace_id };
                let mut event = Vec::new();
                write_stream_error(&mut event, Dialect::Gemini, &error, &StreamPosition::default());
                frame.push(&event, out);
                frame.end(out);
            }
        }
    }

    /// Whether the answer has paused in the middle of a turn.
    fn is_paused(&self) -> bool {
        matches!(self, Self::Translation(translation) if translation.is_paused())
    }

    /// What the provider's stream failed of, by its own word or by the reader's.
    fn failure(&self) -> Option<&ProviderFault<'static>> {
        match self {
            Self::Translation(translation) => translation.failure(),
            Self::Array { .. } => None,
        }
    }

    /// [`Retelling::failure`] as text.
    fn failure_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Translation(translation) => {
                translation.failure().map(|fault| fault.message.decode().unwrap_or_default())
            }
            Self::Array { cut, .. } => cut.then_some(Cow::Borrowed(CUT)),
        }
    }

    fn has_started(&self) -> bool {
        match self {
            Self::Translation(translation) => translation.has_started(),
            Self::Array { .. } => true,
        }
    }
}

impl Answering<'_> {
    /// Relays a stream of events.
    pub(super) async fn events(
        mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        mut buffer: Buffer,
        mut span: Span,
    ) -> Result<After, GatewayError> {
        let mut retelling = self.retelling(exchange, request);
        self.relay.whole_events = true;
        let is_array = wants_array(request);
        // The head waits for the first event: a stream that begins with an error is answered with its status.
        let mut out = Vec::new();
        loop {
            self.retell_read(&mut retelling, &buffer[span.start..span.end], &mut out);
            if !out.is_empty() || self.is_over(&retelling) {
                break;
            }
            if let Err(fault) = self.next_read(exchange, &mut buffer, &mut span).await {
                let fields = std::mem::take(&mut self.fields);
                return self.relay.fail_before_head(exchange, ledger, fault, fields);
            }
        }
        drop(buffer);
        self.settle_if_over(ledger, &retelling);
        if let Some(fault) = retelling.failure().filter(|_| !retelling.has_started()) {
            let fault = fault.clone();
            return Ok(self.send_fault(exchange, request, ledger, &fault).await);
        }
        ledger.stream_opened();
        let framing = ClientFraming::of(Framing::Chunked, false, request.client.http10, true);
        let keeps = exchange.keeps_alive(&request.client) && framing != ClientFraming::UntilClose;
        let mut head = exchange.shard.take_head();
        self.begin_head(&mut head, 200, request, ledger, keeps);
        let content_type = if is_array { local::JSON } else { remembered::EVENTS };
        exchange.begin_copy(content_type);
        writer::own_field(&mut head, "content-type", content_type.as_bytes());
        writer::own_field(&mut head, "cache-control", b"no-cache");
        framing.append_field(&mut head);
        writer::end(&mut head);
        let mut outgoing = Outgoing::new(framing, head);
        if !is_array && !self.opening.is_empty() {
            outgoing.open_with(self.opening);
        }
        let after = self.run(exchange, request, ledger, &mut outgoing, &mut retelling, out).await;
        exchange.shard.give_back_head(outgoing.into_memory());
        self.give_back(exchange);
        Ok(match after {
            After::KeepAlive if !keeps => After::Close,
            after => after,
        })
    }

    async fn run(
        &mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        outgoing: &mut Outgoing,
        retelling: &mut Retelling,
        mut out: Vec<u8>,
    ) -> After {
        loop {
            while self.is_over(retelling) && retelling.is_paused() {
                // What has been said does not wait for the rest.
                exchange.copy(&out);
                if !out.is_empty() && outgoing.send_slice(exchange.conn, &out, false).await.is_err() {
                    ledger.client_gone();
                    return After::Abort;
                }
                out.clear();
                // Boxed: few answers pause.
                if !Box::pin(self.go_on(exchange, request, ledger, retelling, &mut out)).await {
                    return After::Abort;
                }
            }
            let over = self.is_over(retelling);
            self.keep_ended(exchange, &mut out).await;
            // A client that takes its time must not make the provider look slow.
            self.relay.source.conn.deadline().clear();
            exchange.copy(&out);
            let sent = if over || !out.is_empty() {
                outgoing.send_slice(exchange.conn, &out, over).await
            } else {
                Ok(())
            };
            exchange.shard.give_back_head(std::mem::take(&mut out));
            if sent.is_err() {
                return self.relay.client_gone(ledger);
            }
            ledger.relayed();
            if over {
                return if outgoing.ends_by_close() { After::Close } else { After::KeepAlive };
            }
            if let Err(fault) = self.relay.wait_audibly(exchange, outgoing).await {
                return self.fail(exchange, ledger, outgoing, retelling, &fault).await;
            }
            let mut buffer = exchange.shard.buffers.take();
            let mut span = Span { start: 0, end: 0 };
            let read = self.next_read(exchange, &mut buffer, &mut span).await;
            out = exchange.shard.take_head();
            self.retell_read(retelling, &buffer[span.start..span.end], &mut out);
            if let Err(fault) = read {
                let _ = outgoing.send_slice(exchange.conn, &out, false).await;
                return self.fail(exchange, ledger, outgoing, retelling, &fault).await;
            }
            self.settle_if_over(ledger, retelling);
            if !self.relay.settled
                && let Err(error) = ledger.go_on(self.relay.tap.as_ref())
            {
                let _ = outgoing.send_slice(exchange.conn, &out, false).await;
                return self.fail(exchange, ledger, outgoing, retelling, &Fault::Spent(error)).await;
            }
        }
    }

    /// Asks a model that has paused to go on, and retells the beginning of what it says; where it cannot, the answer ends.
    /// `false` when the client left.
    async fn go_on(
        &mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        retelling: &mut Retelling,
        out: &mut Vec<u8>,
    ) -> bool {
        let Retelling::Translation(translation) = &mut *retelling else { return true };
        let asked = match translation.take_paused() {
            Some(blocks) => self.ask_on(exchange, request, ledger, &blocks).await,
            None => Ok(None),
        };
        let answer = match asked {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                translation.stay_paused(out);
                return true;
            }
            Err(AttemptError::Failed(error)) => {
                ledger.attempt_failed(&error);
                let too_slow = matches!(error, GatewayError::UpstreamTimeout { .. });
                retelling.fail(too_slow, &error.message(), &ledger.trace_text(), out);
                return true;
            }
            Err(AttemptError::ClientGone) => {
                ledger.client_gone();
                return false;
            }
        };
        let mut span = Span { start: 0, end: 0 };
        let (kind, buffer, absorbed) = self.take_over(exchange, ledger, answer, &mut span);
        translation.go_on(self.job.vendor, Ids::new(self.next_seed(request)));
        if let Err(fault) = absorbed {
            let text = self.relay.settle_fault(ledger, &fault);
            retelling.fail(false, &text, &ledger.trace_text(), out);
            return true;
        }
        if kind == BodyKind::Events && (200..300).contains(&self.status) {
            self.retell_read(retelling, &buffer[span.start..span.end], out);
            self.settle_if_over(ledger, retelling);
            return true;
        }
        // A refusal: the answer cannot go on and is not complete.
        let body = match self.read_whole(exchange, buffer, span).await {
            Ok(body) => body,
            Err(fault) => {
                let text = self.relay.settle_fault(ledger, &fault);
                retelling.fail(matches!(fault, Fault::TooSlow(_)), &text, &ledger.trace_text(), out);
                return !matches!(fault, Fault::ClientGone);
            }
        };
        let fault = self.job.pair(request).fault(self.status, &body);
        self.relay.settled = true;
        let text = fault.message.decode().unwrap_or_default();
        let ending = Ending { outcome: Outcome::Error, ended_by: EndedBy::Provider, error: Some(&text) };
        ledger.settle(self.relay.tap.as_mut(), &ending);
        translation.fail(fault.case, &text, out);
        true
    }

    /// A seed of ids that no other part of the answer has: the writer's, the first reader's.
    fn next_seed(&self, request: &Request) -> u128 {
        u128::from_be_bytes(*request.client.trace.as_bytes()).rotate_left(self.pauses())
    }

    /// Reads once, waiting where nothing is there.
    async fn next_read(
        &mut self,
        exchange: &mut Exchange<'_>,
        buffer: &mut Buffer,
        span: &mut Span,
    ) -> Result<(), Fault> {
        *span = Span { start: ANSWER_HEADROOM_BYTES, end: ANSWER_HEADROOM_BYTES };
        let count = self.relay.read(exchange, buffer, ANSWER_HEADROOM_BYTES).await?;
        let (from, to) = (ANSWER_HEADROOM_BYTES, ANSWER_HEADROOM_BYTES + count);
        self.relay.source.absorb(buffer, from, to, span, false)
    }

    fn retell_read(&mut self, retelling: &mut Retelling, payload: &[u8], out: &mut Vec<u8>) {
        self.relay.watch(payload);
        let start = out.len();
        retelling.feed(payload, out);
        if self.is_over(retelling) {
            match retelling {
                Retelling::Array { cut, frame } if self.relay.is_cut() || frame.lacks_any() => {
                    *cut = true;
                    retelling.fail(false, CUT, "", out);
                }
                Retelling::Array { .. } | Retelling::Translation(_) => retelling.finish(out),
            }
        }
        self.relay.label(out, start);
    }

    fn is_over(&self, retelling: &Retelling) -> bool {
        self.relay.source.done || retelling.failure().is_some()
    }

    /// The record is written before the client can see the end.
    fn settle_if_over(&mut self, ledger: &mut Ledger, retelling: &Retelling) {
        let relay = &mut self.relay;
        let marked = relay.tap.as_ref().is_some_and(UsageTap::has_ended);
        if relay.settled || !(relay.source.done || marked || retelling.failure().is_some()) {
            return;
        }
        relay.settled = true;
        let text = retelling.failure_text();
        let ending = match &text {
            Some(text) => Ending { outcome: Outcome::Error, ended_by: EndedBy::Provider, error: Some(text) },
            None => Ending::of_answer(),
        };
        ledger.settle(relay.tap.as_mut(), &ending);
    }

    /// The way from the provider broke in the middle: said in the client's dialect.
    async fn fail(
        &mut self,
        exchange: &mut Exchange<'_>,
        ledger: &mut Ledger,
        outgoing: &mut Outgoing,
        retelling: &mut Retelling,
        fault: &Fault,
    ) -> After {
        let ended_well = self.relay.settled;
        let text = self.relay.settle_fault(ledger, fault);
        if matches!(fault, Fault::ClientGone) {
            return After::Abort;
        }
        let mut out = Vec::new();
        // A client that has seen the end mark has all it wants.
        if let (true, Retelling::Translation(translation)) = (retelling.is_paused(), &mut *retelling) {
            translation.stay_paused(&mut out);
        } else if ended_well {
            retelling.finish(&mut out);
        } else {
            let too_slow = matches!(fault, Fault::TooSlow(_));
            retelling.fail(too_slow, &text, &ledger.trace_text(), &mut out);
        }
        self.keep_ended(exchange, &mut out).await;
        exchange.copy(&out);
        match outgoing.send_slice(exchange.conn, &out, true).await {
            Err(_) => After::Abort,
            Ok(()) if outgoing.ends_by_close() => After::Close,
            Ok(()) => After::KeepAlive,
        }
    }

    fn retelling(&mut self, exchange: &Exchange<'_>, request: &Request) -> Retelling {
        let context = self.context(exchange, request);
        // Another seed than the writer's: both make ids of one answer.
        let ids = Ids::new(!u128::from_be_bytes(*request.client.trace.as_bytes()));
        let pair = self.job.pair(request);
        match &mut self.job.way {
            Way::Translated(translated) => {
                let undo = std::mem::take(&mut translated.undo);
                let array = wants_array(request);
                let mut translation = StreamTranslation::new(pair, undo, context, ids, array);
                if translated.may_pause {
                    translation.may_pause();
                }
                Retelling::Translation(Box::new(translation))
            }
            Way::Counted(_) | Way::Reframed(_) | Way::Relayed { .. } => {
                Retelling::Array { frame: ArrayFrame::default(), cut: false }
            }
        }
    }
}
