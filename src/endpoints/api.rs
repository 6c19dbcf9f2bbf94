//! `/api/…`, the core's side: the request is gathered here, and answered by a thread that may take its time.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::gateway::{self, After, Client, Exchange};
use crate::http1::{Framing, KnownField, RequestHead, writer};
use crate::limits::API_BODY_BYTES_MAX;
use crate::mailbox::{ApiAnswer, ApiCall, Reply, ToOffice};
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
    let allowed_origin = allowed_origin(exchange, &call);
    if call.method == "OPTIONS" {
        let answer = ApiAnswer { status: 204, ..ApiAnswer::default() };
        return send(exchange, client, &answer, allowed_origin.as_deref(), true).await;
    }
    let body = gateway::read_body(exchange, framing, expect_continue, API_BODY_BYTES_MAX).await;
    match body {
        Ok(body) => call.body = body,
        Err(None) => return After::Abort,
        Err(Some(error)) => return super::refuse(exchange, client, &error).await,
    }
    let reply: Arc<Reply<Arc<ApiAnswer>>> = Arc::default();
    if exchange.shard.mailbox.send_to_office(ToOffice::Call(Box::new(call), Arc::clone(&reply))).is_err() {
        return super::refuse(exchange, client, &GatewayError::Busy).await;
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
        Err(_elapsed) => super::refuse(exchange, client, &GatewayError::Busy).await,
    }
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
    let keep_alive = exchange.keeps_alive(client);
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
    if answer.status == 204 {
        writer::end(&mut out);
    } else {
        gateway::append_body(&mut out, "application/json", &answer.body, client.is_head);
    }
    let sent = exchange.conn.write_all(&out).await;
    exchange.shard.give_back_head(out);
    match (sent, keep_alive) {
        (Err(_), _) => After::Abort,
        (Ok(()), true) => After::KeepAlive,
        (Ok(()), false) => After::Close,
    }
}
