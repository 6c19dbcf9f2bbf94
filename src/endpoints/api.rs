//! `/api/…`, the core's side: the request is gathered here, and answered by a thread that may take its time.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::gateway::{self, After, Client, Exchange};
use crate::http1::writer::{CRLF, ChunkHeader, LAST_CHUNK};
use crate::http1::{Framing, KnownField, RequestHead, writer};
use crate::limits::API_BODY_BYTES_MAX;
use crate::mailbox::{ApiAnswer, ApiCall, Piece, Reply, Rest, ToOffice, ToReports};
use crate::respond::GatewayError;
use crate::telemetry::access::AccessLine;
use crate::telemetry::labels::{EndedBy, Endpoint, Outcome};
use crate::telemetry::log;

/// Longest wait for an answer: a report over a long history is the slowest.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What of the head is needed once the body is there.
#[derive(Debug)]
pub(super) struct Gathered {
    call: ApiCall,
    framing: Framing,
    expect_continue: bool,
}

impl Gathered {
    pub(super) fn of(head: &RequestHead<'_, '_>) -> Box<Self> {
        let text = |field: KnownField| Some(head.fields.find(field)?.value_str()?.to_owned());
        let named = |name: &str| {
            let field = head.fields.iter().find(|field| field.name().eq_ignore_ascii_case(name))?;
            Some(field.value_str()?.to_owned())
        };
        let all = |name: &str| {
            let fields = head.fields.iter().filter(|field| field.name().eq_ignore_ascii_case(name));
            let values: Vec<&str> = fields.filter_map(|field| field.value_str()).collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        let call = ApiCall {
            method: head.method.as_str().to_owned(),
            path: head.path.to_owned(),
            query: head.query.unwrap_or_default().to_owned(),
            authorization: text(KnownField::Authorization),
            cookie: text(KnownField::Cookie),
            host: text(KnownField::Host).unwrap_or_default(),
            origin: text(KnownField::Origin),
            fetch_site: named("sec-fetch-site"),
            if_match: text(KnownField::IfMatch),
            user_agent: text(KnownField::UserAgent).unwrap_or_default(),
            forwarded_for: all("x-forwarded-for"),
            forwarded_proto: named("x-forwarded-proto"),
            is_tls: false,
            address: None,
            body: Vec::new(),
        };
        Box::new(Self { call, framing: head.framing, expect_continue: head.expect_continue })
    }
}

/// Answers the request.
pub(super) async fn serve(exchange: &mut Exchange<'_>, client: &Client, gathered: Box<Gathered>) -> After {
    let Gathered { mut call, framing, expect_continue } = *gathered;
    let since = clock::now();
    call.address = exchange.conn.peer_address().map(|address| address.ip());
    call.is_tls = exchange.conn.is_tls();
    let allowed_origin = allowed_origin(exchange, &call);
    if call.method == "OPTIONS" {
        let answer = ApiAnswer { status: 204, ..ApiAnswer::default() };
        return send(exchange, client, &answer, allowed_origin.as_deref(), true).await;
    }
    let body = gateway::read_body(exchange, framing, expect_continue, API_BODY_BYTES_MAX).await;
    match body {
        Ok(body) => call.body = body,
        Err(None) => return After::Abort,
        Err(Some(error)) => return refuse(exchange, client, &error, allowed_origin.as_deref()).await,
    }
    let reply: Arc<Reply<Arc<ApiAnswer>>> = Arc::default();
    if exchange.shard.mailbox.send_to_office(ToOffice::Call(Box::new(call), Arc::clone(&reply))).is_err() {
        return refuse(exchange, client, &GatewayError::Busy, allowed_origin.as_deref()).await;
    }
    match monoio::time::timeout(TIMEOUT, reply.wait()).await {
        Ok(answer) => {
            let outcome = if answer.status < 400 { Outcome::Success } else { Outcome::Error };
            exchange.shard.metrics.count_request(Endpoint::Operations, answer.status, outcome);
            if log::is_enabled(log::Level::Info) {
                let latency_ms = clock::now().duration_since(since).as_millis() as u64;
                let line = AccessLine {
                    status: answer.status,
                    outcome,
                    latency_ms,
                    ended_by: EndedBy::Gateway,
                    ..super::bare_line(exchange.shard, client, Endpoint::Operations)
                };
                log::access(clock::unix_ms(), &line);
            }
            send(exchange, client, &answer, allowed_origin.as_deref(), false).await
        }
        Err(_elapsed) => refuse(exchange, client, &GatewayError::Busy, allowed_origin.as_deref()).await,
    }
}

/// An error of the gateway's own in the form of this API.
async fn refuse(
    exchange: &mut Exchange<'_>,
    client: &Client,
    error: &GatewayError,
    origin: Option<&str>,
) -> After {
    super::log_refusal(exchange.shard, client, error);
    // No message of these has anything to be escaped but quotes.
    let message = error.message().replace(['"', '\\'], "'");
    let body = format!("{{\"error\":\"{}\",\"message\":\"{message}\"}}", error.code()).into_bytes();
    let mut answer = ApiAnswer { status: error.status(), body, ..ApiAnswer::default() };
    if let Some(seconds) = error.retry_after_s() {
        answer.fields.push(("retry-after", seconds.to_string()));
    }
    send(exchange, client, &answer, origin, false).await
}

/// The origin of the page that asks, where `corsOrigins` names it.
fn allowed_origin(exchange: &Exchange<'_>, call: &ApiCall) -> Option<String> {
    let origin = call.origin.as_ref()?;
    let origins = &exchange.view.snapshot.config.settings().cors_origins;
    origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin)).then(|| origin.clone())
}

async fn send(
    exchange: &mut Exchange<'_>,
    client: &Client,
    answer: &ApiAnswer,
    origin: Option<&str>,
    is_preflight: bool,
) -> After {
    // A body of unknown length ends with the connection where the client knows no chunks.
    let keep_alive = exchange.keeps_alive(client) && !(answer.rest.is_some() && client.http10);
    // Pages of others see an answer only where they are named.
    let client = Client { cross_origin: false, ..*client };
    let mut out = exchange.shard.take_head();
    gateway::begin_head(&mut out, answer.status, &client, keep_alive);
    if let Some(origin) = origin {
        writer::own_field(&mut out, "access-control-allow-origin", origin.as_bytes());
        writer::own_field(
            &mut out,
            "access-control-expose-headers",
            b"etag, retry-after, x-routerly-trace-id",
        );
    }
    writer::own_field(&mut out, "vary", b"Origin");
    writer::own_field(&mut out, "cache-control", b"no-store");
    if is_preflight && origin.is_some() {
        writer::own_field(&mut out, "access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS");
        let fields = b"authorization, content-type, if-match";
        writer::own_field(&mut out, "access-control-allow-headers", fields);
        writer::own_field(&mut out, "access-control-max-age", b"600");
    }
    for (name, value) in &answer.fields {
        writer::own_field(&mut out, name, value.as_bytes());
    }
    if let Some(rest) = &answer.rest {
        writer::own_field(&mut out, "content-type", rest.content_type.as_bytes());
        if !client.http10 {
            writer::transfer_encoding_chunked(&mut out);
        }
        writer::end(&mut out);
    } else if answer.status == 204 {
        writer::end(&mut out);
    } else {
        gateway::append_body(&mut out, "application/json", &answer.body, client.is_head);
    }
    let sent = exchange.conn.write_all(&out).await;
    exchange.shard.give_back_head(out);
    if sent.is_err() {
        return After::Abort;
    }
    if let Some(rest) = answer.rest.as_ref().filter(|_| !client.is_head)
        && let Err(cut) = send_rest(exchange, rest, !client.http10).await
    {
        return cut;
    }
    if keep_alive { After::KeepAlive } else { After::Close }
}

/// Sends a body while it is made: one piece here, one on its way, whatever its length.
///
/// # Errors
/// The client is gone, or has to see that the body is not complete.
async fn send_rest(exchange: &mut Exchange<'_>, rest: &Arc<Rest>, is_chunked: bool) -> Result<(), After> {
    loop {
        let reply: Arc<Reply<Piece>> = Arc::default();
        let question = ToReports::More(Arc::clone(rest), Arc::clone(&reply));
        exchange.shard.mailbox.send_to_reports(question).map_err(|_| After::Reset)?;
        let sent = match monoio::time::timeout(TIMEOUT, reply.wait()).await {
            Ok(Piece::Bytes(bytes)) if is_chunked => {
                let header = ChunkHeader::new(bytes.len() as u64);
                exchange.conn.write_parts(&[header.as_bytes(), &bytes, CRLF]).await
            }
            Ok(Piece::Bytes(bytes)) => exchange.conn.write_all(&bytes).await,
            Ok(Piece::End) if is_chunked => {
                return exchange.conn.write_all(LAST_CHUNK).await.map_err(|_| After::Abort);
            }
            Ok(Piece::End) => return Ok(()),
            Ok(Piece::Broken) | Err(_) => return Err(After::Reset),
        };
        sent.map_err(|_| After::Abort)?;
    }
}
