//! Any other call of a provider's API: forwarded as it is, with the key replaced.
//!
//! JSON bodies are read whole, because the model's name stands in them. Everything else streams through in both
//! directions without being kept. Who answers is decided before: see `passing`.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::answer::{self, AnswerHead, HeadReader, Progress};
use super::attempt::{self, AttemptError, Wire};
use super::body::{self, BodyError, ClientBody, Piece};
use super::call::records_fit;
use super::candidates::first_byte_timeout;
use super::exchange::{After, Exchange, Sent, send_watching};
use super::failover::Turn;
use super::form;
use super::kept;
use super::ledger::Ledger;
use super::passing::{Judged, Passing};
use super::peek;
use super::relay::{self, Relaying};
use super::request::Request;
use crate::http1::writer::{self, ChunkHeader, LAST_CHUNK};
use crate::http1::{Framing, Method};
use crate::json::facts::request_facts;
use crate::json::splice::{Edits, Splices};
use crate::net::Conn;
use crate::net::deadline::OnExpiry;
use crate::respond::GatewayError;
use crate::routing;
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::labels::Endpoint;
use crate::telemetry::log::Value;

/// Forwards a request that the gateway does not look into.
pub async fn pass_through(exchange: &mut Exchange<'_>, request: Request) -> After {
    let view = Rc::clone(&exchange.view);
    let snapshot = &view.snapshot;
    let mut ledger = Ledger::open(exchange.shard, &view, &request);
    if !records_fit(exchange, snapshot) {
        return exchange.refuse(&request, &mut ledger, &GatewayError::RecordsFull).await;
    }
    let server = &snapshot.config.settings().server;
    let whole = match request.framing {
        Framing::None => true,
        Framing::Length(length) => {
            request.is_json && !request.is_encoded && length <= server.body_bytes_max as u64
        }
        Framing::Chunked | Framing::UntilClose => request.is_json && !request.is_encoded,
    };
    let sent = if whole {
        send_whole(exchange, &request, &mut ledger, snapshot).await
    } else {
        send_streaming(exchange, &request, &mut ledger, snapshot).await
    };
    match sent {
        Ok((index, answer)) if !matches!(answer.head.status, 401 | 403) => {
            let how = Relaying {
                target: &snapshot.targets[index],
                dialect: Some(request.client.dialect),
                expects_end_mark: false,
                withhold_usage: false,
                labels: false,
                opening: &[],
            };
            match relay::relay(exchange, &request, &mut ledger, answer, how).await {
                Ok(after) => after,
                Err(error) => exchange.refuse(&request, &mut ledger, &error).await,
            }
        }
        Ok((_, mut answer)) => {
            let status = answer.head.status;
            let error = GatewayError::UpstreamAuth { status };
            let Some(body) = peek::error_body(exchange, &mut answer).await else {
                ledger.client_gone();
                return After::Abort;
            };
            peek::release(exchange.shard, answer);
            ledger.key_refused(&error, status, body.message(request.client.dialect).as_deref());
            exchange.refuse(&request, &mut ledger, &error).await
        }
        Err(BodyError::ClientGone) => {
            ledger.client_gone();
            After::Abort
        }
        Err(BodyError::Refused(error)) => exchange.refuse(&request, &mut ledger, &error).await,
    }
}

impl From<AttemptError> for BodyError {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Failed(error) => Self::Refused(error),
            AttemptError::ClientGone => Self::ClientGone,
        }
    }
}

type Answered = Result<(usize, answer::Answer), BodyError>;

async fn send_whole(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
) -> Answered {
    let bytes_max = snapshot.config.settings().server.body_bytes_max;
    let waited = exchange.input.is_empty();
    let body = body::read_whole(exchange, request.framing, request.expect_continue, bytes_max).await?;
    ledger.body_read(waited && !body.is_empty());
    // A body that is not a JSON object has no model to route by; the provider judges it.
    let facts = request_facts(&body).ok();
    let model = facts.as_ref().and_then(|facts| facts.model(&body));
    ledger.asked(model, facts.as_ref().is_some_and(|facts| facts.is_stream()), body.len());
    ledger.admit(&body, None)?;
    let issuer = kept::issuer_of_path(exchange, request).filter(|index| snapshot.targets[*index].is_usable());
    let index = issuer.map_or_else(|| choose(snapshot, request, model), Ok)?;
    let target = &snapshot.targets[index];
    ledger.choose(index, target)?;
    let mut splices = Splices::new();
    let renamed =
        model.is_some_and(|name| routing::is_named(target, name) && name != target.model.upstream_model);
    let edits = Edits { model: renamed.then_some(target.model.upstream_model.as_str()), ..Edits::default() };
    let edited = facts.as_ref().is_some_and(|facts| splices.plan(&body, facts, &edits).is_ok());
    let ranked = [index];
    let (mut passing, mut turn) = Passing::begin(snapshot, request, ledger, &ranked, model)?;
    loop {
        let mut head = begin(exchange, request, target, turn);
        if request.framing != Framing::None {
            let length = if edited { splices.body_len() } else { body.len() };
            writer::content_length(&mut head, length as u64);
        }
        writer::end(&mut head);
        let mut parts: Vec<&[u8]> = vec![&head];
        if edited {
            parts.extend(splices.segments(&body));
        } else if !body.is_empty() {
            parts.push(&body);
        }
        let wire = Wire { method: Method::of(&request.method), parts: &parts };
        let first_byte = first_byte_timeout(snapshot, request, target)?;
        let sent = attempt::send(exchange, ledger, turn, target, wire, first_byte).await;
        exchange.shard.give_back_head(head);
        let sent = match sent {
            Ok(answer) if answer.head.status < 400 => {
                passing.went_well(exchange.shard, turn);
                return Ok((index, answer));
            }
            sent => sent.map_err(BodyError::from),
        };
        // Boxed, so that the others do not carry its room.
        let heard = Box::pin(passing.learn(exchange, turn, sent)).await?;
        match Box::pin(passing.go_on(exchange, ledger, heard)).await? {
            Judged::Answer(answer) => return Ok((index, answer)),
            Judged::Again(next) => turn = next,
        }
        ledger.choose(index, target)?;
    }
}

fn begin(exchange: &Exchange<'_>, request: &Request, target: &Target, turn: Turn) -> Vec<u8> {
    let mut head = exchange.shard.take_head();
    target.append_passthrough_head(&mut head, turn.key, &request.method, &request.target);
    head.extend_from_slice(&request.fields);
    target
        .append_extra_fields(&mut head, |name| name == "anthropic-version" && request.has_anthropic_version);
    head
}

/// The model that a passed-through request goes to: the one it names, else the first that fits the path.
fn choose(snapshot: &Snapshot, request: &Request, model: Option<&str>) -> Result<usize, GatewayError> {
    let project = &snapshot.config.projects()[request.project as usize];
    let usable = || {
        let all = project.models.iter().map(|entry| entry.model);
        all.filter(|index| snapshot.targets[*index].is_usable())
    };
    if let Some(index) =
        model.and_then(|name| usable().find(|index| routing::is_named(&snapshot.targets[*index], name)))
    {
        return Ok(index);
    }
    let embeds = |index: &usize| snapshot.targets[*index].model.capabilities.embedding == Some(true);
    if request.endpoint == Endpoint::Embeddings
        && let Some(index) = usable().find(embeds)
    {
        return Ok(index);
    }
    let fits = |index: &usize| snapshot.targets[*index].speaks(request.client.dialect) && !embeds(index);
    usable().find(fits).ok_or_else(|| {
        if usable().next().is_some() {
            let path = request.target.split('?').next().unwrap_or_default();
            let path = crate::telemetry::text::clip(path, 256);
            GatewayError::NotFound(format!("no model of this project serves `{path}`"))
        } else {
            GatewayError::NoUpstream
        }
    })
}

/// Sends a request whose body is not kept. It goes over a fresh connection: a pooled one that turns out dead could
/// not be replaced once part of the body is gone.
async fn send_streaming(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    snapshot: &Snapshot,
) -> Answered {
    let bytes_max = snapshot.config.settings().server.passthrough_body_bytes_max;
    let mut length = match request.framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked | Framing::UntilClose => None,
    };
    if bytes_max > 0 && length.is_some_and(|length| length > bytes_max) {
        return Err(GatewayError::BodyTooLarge { bytes_max }.into());
    }
    body::invite(exchange, request.expect_continue).await?;
    let mut body = ClientBody::new(request.framing, bytes_max);
    let (seen, named) = match &request.boundary {
        Some(boundary) => form::peek(exchange, &mut body, boundary).await?,
        None => (Vec::new(), None),
    };
    ledger.body_read(true);
    let name = named.as_ref().map(|named| named.name.as_str());
    ledger.asked(name, false, 0);
    ledger.admit(&[], None)?;
    let index = choose(snapshot, request, name)?;
    let target = &snapshot.targets[index];
    ledger.choose(index, target)?;
    let mut first: Vec<&[u8]> = vec![&seen];
    if let Some(named) = &named
        && routing::is_named(target, &named.name)
    {
        let upstream = target.model.upstream_model.as_bytes();
        first = vec![&seen[..named.span.start], upstream, &seen[named.span.end..]];
        length = length.map(|length| length - named.span.len() as u64 + upstream.len() as u64);
    }
    let ranked = [index];
    let (mut passing, turn) = Passing::begin(snapshot, request, ledger, &ranked, name)?;
    let how = Streamed { turn, length, first: &first };
    let sent = send_streamed(exchange, request, ledger, target, body, how).await;
    match sent {
        Ok(answer) if answer.head.status < 400 => {
            passing.went_well(exchange.shard, turn);
            Ok((index, answer))
        }
        // Its body is gone: it cannot be sent again.
        sent => Ok((index, Box::pin(passing.learn(exchange, turn, sent)).await?.sent?)),
    }
}

/// A request whose body is not kept, on its way to the one whose turn it is.
struct Streamed<'a> {
    turn: Turn,
    /// Of the body, where it is known.
    length: Option<u64>,
    /// What of the body was read before.
    first: &'a [&'a [u8]],
}

async fn send_streamed(
    exchange: &mut Exchange<'_>,
    request: &Request,
    ledger: &mut Ledger,
    target: &Target,
    mut body: ClientBody,
    how: Streamed<'_>,
) -> Result<answer::Answer, BodyError> {
    let Streamed { turn, length, first } = how;
    let view = Rc::clone(&exchange.view);
    let mut head = begin(exchange, request, target, turn);
    match length {
        Some(length) => writer::content_length(&mut head, length),
        None => writer::transfer_encoding_chunked(&mut head),
    }
    writer::end(&mut head);
    let first_byte = first_byte_timeout(&view.snapshot, request, target)?;
    ledger.asks(turn.index, turn.key);
    let pool = Rc::clone(&view.pools[target.endpoint]);
    let mut lease = attempt::connect(exchange, ledger, &pool, target).await?;
    ledger.sent(turn.index);
    ledger.waiting();
    let mut upload = Upload {
        provider: &mut lease.conn,
        reader: HeadReader::default(),
        method: Method::of(&request.method),
        first_byte,
        chunked: length.is_none(),
    };
    let answered = upload.run(exchange, &mut body, &head, first).await;
    let reader = upload.reader;
    // The time for a body is over with it, or with the answer that came before its end.
    exchange.conn.deadline().clear();
    exchange.shard.give_back_head(head);
    let head = match answered? {
        Some(head) => Some(head),
        None => {
            lease.conn.deadline().set(first_byte, OnExpiry::Close);
            answer::finish_head(reader, exchange, &mut lease.conn, Method::of(&request.method), first_byte)
                .await?
        }
    };
    match head {
        Some(mut head) => {
            // An answer that came before the end of the body leaves the provider's connection in the middle of it.
            head.keep_alive &= exchange.body_done;
            ledger.step("answer begun", &[("status", Value::Integer(u64::from(head.status)))]);
            Ok(head.with_conn(lease.conn, pool))
        }
        None => Err(GatewayError::UpstreamClosed(None).into()),
    }
}

/// A body on its way from client to provider.
struct Upload<'a> {
    provider: &'a mut Conn,
    /// What the provider has said so far: interim heads, as a rule nothing.
    reader: HeadReader,
    method: Method<'a>,
    first_byte: Duration,
    chunked: bool,
}

impl Upload<'_> {
    /// Sends head and body. Returns the provider's answer where it came before the end.
    async fn run(
        &mut self,
        exchange: &mut Exchange<'_>,
        body: &mut ClientBody,
        head: &[u8],
        first: &[&[u8]],
    ) -> Result<Option<AnswerHead>, BodyError> {
        self.provider.deadline().set(self.first_byte, OnExpiry::Close);
        if let Some(answer) = self.send(exchange, &[head]).await? {
            return Ok(Some(answer));
        }
        if let Some(answer) = self.send_payload(exchange, first).await? {
            return Ok(Some(answer));
        }
        let timeout = exchange.view.snapshot.config.settings().server.body_timeout;
        loop {
            match body.next(exchange)? {
                Piece::Payload(range) => {
                    self.provider.deadline().set(timeout, OnExpiry::Close);
                    // Sent from where it lies: the input is not touched until it is consumed.
                    let input = std::mem::take(exchange.input);
                    let sent = self.send_payload(exchange, &[&input.bytes()[range.clone()]]).await;
                    *exchange.input = input;
                    exchange.input.consume(range.end);
                    if let Some(answer) = sent? {
                        return Ok(Some(answer));
                    }
                }
                Piece::Over => {
                    let end: &[&[u8]] = if self.chunked { &[LAST_CHUNK] } else { &[] };
                    return self.send(exchange, end).await;
                }
                Piece::Wait => {
                    self.provider.deadline().clear();
                    body::arm_body_deadline(exchange);
                    if client_first(exchange.conn, self.provider).await {
                        body.receive(exchange).await?;
                    } else if let Some(answer) = self.listen(exchange)? {
                        return Ok(Some(answer));
                    }
                }
            }
        }
    }

    async fn send_payload(
        &mut self,
        exchange: &mut Exchange<'_>,
        parts: &[&[u8]],
    ) -> Result<Option<AnswerHead>, BodyError> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes == 0 {
            return Ok(None);
        }
        if !self.chunked {
            return self.send(exchange, parts).await;
        }
        let header = ChunkHeader::new(bytes as u64);
        let mut framed: Vec<&[u8]> = Vec::with_capacity(parts.len() + 2);
        framed.push(header.as_bytes());
        framed.extend_from_slice(parts);
        framed.push(writer::CRLF);
        self.send(exchange, &framed).await
    }

    /// Sends bytes; what the provider says meanwhile is listened to.
    async fn send(
        &mut self,
        exchange: &mut Exchange<'_>,
        parts: &[&[u8]],
    ) -> Result<Option<AnswerHead>, BodyError> {
        // An interim answer in the middle of a blocked write is rare; the rest of the parts follows it.
        match send_watching(self.provider, parts, |_| Poll::Pending).await {
            Ok(Sent::All | Sent::ClientGone) => Ok(None),
            Ok(Sent::Answered) | Err(_) => match self.listen(exchange)? {
                Some(answer) => Ok(Some(answer)),
                // It takes nothing more and says nothing final: what it says next decides.
                None => Ok(answer::finish_head(
                    std::mem::take(&mut self.reader),
                    exchange,
                    self.provider,
                    self.method,
                    self.first_byte,
                )
                .await?),
            },
        }
    }

    fn listen(&mut self, exchange: &Exchange<'_>) -> Result<Option<AnswerHead>, BodyError> {
        match self.reader.advance(exchange.shard, self.provider, self.method, self.first_byte)? {
            Progress::Head(head) => Ok(Some(head)),
            Progress::Wait => Ok(None),
            Progress::Closed => Err(GatewayError::UpstreamClosed(None).into()),
        }
    }
}

/// Waits for the next bytes of the client; `false` when the provider speaks first.
async fn client_first(client: &mut Conn, provider: &mut Conn) -> bool {
    std::future::poll_fn(|cx| {
        if client.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        provider.poll_data(cx).map(|()| false)
    })
    .await
}
