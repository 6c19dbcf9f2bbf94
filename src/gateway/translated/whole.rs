//! Answers in one piece, and errors.

use super::{Answering, Way};
use crate::dialect::Dialect;
use crate::dialect::ir::{Fault as ProviderFault, FaultCase, Text};
use crate::dialect::paused;
use crate::dialect::translate::{read_count, write_count, write_fault};
use crate::gateway::attempt::AttemptError;
use crate::gateway::exchange::{After, Exchange, after};
use crate::gateway::ledger::{Ending, Ledger};
use crate::gateway::local;
use crate::gateway::request::Request;
use crate::gateway::source::{Fault, Span};
use crate::http1::writer;
use crate::limits::{ANSWER_HEADROOM_BYTES, TRANSLATED_ANSWER_BYTES_MAX};
use crate::net::Buffer;
use crate::respond::GatewayError;
use crate::telemetry::labels::{EndedBy, Outcome};

impl Answering<'_> {
    /// Reads the answer whole, translates and sends it.
    pub(super) async fn whole(
        mut self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        buffer: Buffer,
        span: Span,
    ) -> Result<After, GatewayError> {
        let (mut buffer, mut span) = (buffer, span);
        let mut said = Vec::new();
        let body = loop {
            let body = match self.read_whole(exchange, buffer, span).await {
                Ok(body) => body,
                Err(fault) => {
                    let fields = std::mem::take(&mut self.fields);
                    return self.relay.fail_before_head(exchange, ledger, fault, fields);
                }
            };
            self.relay.watch_first(exchange, &body, self.status);
            let Some(blocks) = self.paused_with(&body) else { break body };
            self.settle_whole(ledger, None);
            // Boxed: few answers pause.
            let answer = match Box::pin(self.ask_on(exchange, request, ledger, &blocks)).await {
                Ok(Some(answer)) => answer,
                Ok(None) => break body,
                Err(AttemptError::Failed(error)) => return Err(error),
                Err(AttemptError::ClientGone) => {
                    ledger.client_gone();
                    return Ok(After::Abort);
                }
            };
            said.push(body);
            let (_, next, absorbed) = self.take_over(exchange, ledger, answer, &mut span);
            buffer = next;
            if let Err(fault) = absorbed {
                let fields = std::mem::take(&mut self.fields);
                return self.relay.fail_before_head(exchange, ledger, fault, fields);
            }
        };
        let mut out = Vec::with_capacity(body.len() + 512);
        let failed = match self.retell(exchange, request, (&said, &body), &mut out) {
            Ok(()) => None,
            Err(fault) => {
                out.clear();
                Some(fault)
            }
        };
        self.settle_whole(ledger, failed.as_ref());
        match failed {
            Some(fault) => Ok(self.send_fault(exchange, request, ledger, &fault).await),
            None => {
                let end = out.len();
                self.keep(exchange, &mut out, 0..end).await;
                Ok(self.send_whole(exchange, request, ledger, 200, None, &out).await)
            }
        }
    }

    /// Answers with what the provider failed of, in the client's words.
    pub(super) async fn send_fault(
        self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        fault: &ProviderFault<'_>,
    ) -> After {
        let mut body = Vec::with_capacity(512);
        let status = write_fault(request.client.dialect, fault, &ledger.trace_text(), &mut body);
        self.send_whole(exchange, request, ledger, status, fault.retry_after_s, &body).await
    }

    async fn send_whole(
        self,
        exchange: &mut Exchange<'_>,
        request: &Request,
        ledger: &mut Ledger,
        status: u16,
        retry_after_s: Option<u64>,
        body: &[u8],
    ) -> After {
        if status == 200 {
            exchange.begin_copy(local::JSON);
            exchange.copy(body);
        }
        let keeps = exchange.keeps_alive(&request.client);
        let mut head = exchange.shard.take_head();
        self.begin_head(&mut head, status, request, ledger, keeps);
        let said = memchr::memmem::find(&self.fields.to_ascii_lowercase(), b"retry-after:").is_some();
        if let Some(seconds) = retry_after_s.filter(|_| !said) {
            writer::number_field(&mut head, "retry-after", seconds);
        }
        local::append_body(&mut head, local::JSON, body, false);
        self.give_back(exchange);
        let sent = exchange.conn.write_all(&head).await;
        exchange.shard.give_back_head(head);
        ledger.relayed();
        after(sent, keeps)
    }

    /// What a whole answer has said that has paused and can go on.
    fn paused_with(&self, body: &[u8]) -> Option<Vec<u8>> {
        let Way::Translated(translated) = &self.job.way else { return None };
        let is_well = (200..300).contains(&self.status) && !translated.stream;
        if self.job.dialect == Dialect::AnthropicMessages && is_well { paused::blocks(body) } else { None }
    }

    pub(super) async fn read_whole(
        &mut self,
        exchange: &mut Exchange<'_>,
        mut buffer: Buffer,
        mut span: Span,
    ) -> Result<Vec<u8>, Fault> {
        let mut body = buffer[span.start..span.end].to_vec();
        let mut held = exchange.shard.hold_bytes(body.len());
        while !self.relay.source.done {
            let count = self.relay.read(exchange, &mut buffer, ANSWER_HEADROOM_BYTES).await?;
            let (from, to) = (ANSWER_HEADROOM_BYTES, ANSWER_HEADROOM_BYTES + count);
            self.relay.source.absorb(&mut buffer, from, to, &mut span, false)?;
            body.extend_from_slice(&buffer[span.start..span.end]);
            if !held.as_mut().is_some_and(|held| held.grow(span.end - span.start)) {
                return Err(Fault::Broken("too many answers are being translated at once".to_owned()));
            }
            if body.len() > TRANSLATED_ANSWER_BYTES_MAX {
                return Err(Fault::Broken("the answer is too long to be translated".to_owned()));
            }
        }
        Ok(body)
    }

    /// Appends the client's form of `body`.
    fn retell(
        &mut self,
        exchange: &Exchange<'_>,
        request: &Request,
        (said, body): (&[Vec<u8>], &[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), ProviderFault<'static>> {
        let pair = self.job.pair(request);
        if !(200..300).contains(&self.status) {
            return Err(pair.fault(self.status, body));
        }
        let translated = match &mut self.job.way {
            Way::Translated(translated) if !translated.stream => translated,
            Way::Counted(_) => {
                let tokens = read_count(self.job.dialect, body)
                    .ok_or_else(|| unexpected("the provider's token count could not be read"))?;
                write_count(request.client.dialect, tokens, out);
                return Ok(());
            }
            Way::Translated(_) | Way::Reframed(_) | Way::Relayed { .. } => {
                return Err(unexpected("the provider did not answer with a stream"));
            }
        };
        let undo = std::mem::take(&mut translated.undo);
        let mut context = self.context(exchange, request);
        let lost = pair.answer(said, body, &undo, &mut context, out)?;
        if let Way::Translated(translated) = &mut self.job.way {
            lost.into_iter().for_each(|saying| translated.losses.note(saying, pair.to));
        }
        Ok(())
    }

    fn settle_whole(&mut self, ledger: &mut Ledger, failed: Option<&ProviderFault<'_>>) {
        self.relay.settled = true;
        // An error status is an error without our saying so.
        let text = failed.filter(|_| self.status < 400).and_then(|fault| fault.message.decode());
        let ending = match &text {
            Some(text) => Ending { outcome: Outcome::Error, ended_by: EndedBy::Provider, error: Some(text) },
            None => Ending::of_answer(),
        };
        ledger.settle(self.relay.tap.as_mut(), &ending);
    }
}

fn unexpected(problem: &'static str) -> ProviderFault<'static> {
    ProviderFault {
        case: FaultCase::Internal,
        message: Text::from_plain(problem),
        code: None,
        param: None,
        retry_after_s: None,
    }
}
