//! Answers that the gateway gives itself: errors, model lists, small pages.

use super::exchange::{After, Exchange, after};
use super::ledger::Ledger;
use super::request::{Client, Request};
use crate::budget::money::Picodollars;
use crate::dialect::Dialect;
use crate::dialect::error::{ErrorBody, write_error as write_error_body};
use crate::http1::writer;
use crate::json::text::{append_number, append_string};
use crate::respond::GatewayError;
use crate::snapshot::{Snapshot, Target};
use crate::telemetry::ids::TraceId;

/// The content type of all answers of the gateway's own.
pub(super) const JSON: &str = "application/json";
/// Field names that scripts of other origins may read.
const EXPOSED: &str = "x-routerly-trace-id, x-routerly-model, x-routerly-provider, x-routerly-cost, x-routerly-cache, \
    x-routerly-translation, x-request-id, request-id, retry-after, server-timing";

/// Begins the head of any answer: status line, connection, trace id, CORS.
pub fn begin_head(head: &mut Vec<u8>, status: u16, client: &Client, keep_alive: bool) {
    writer::status_line(head, status);
    append_common(head, &client.trace, client.cross_origin);
    match (keep_alive, client.http10) {
        (false, _) => writer::connection_close(head),
        (true, true) => writer::connection_keep_alive(head),
        (true, false) => {}
    }
}

fn append_common(head: &mut Vec<u8>, trace: &TraceId, cross_origin: bool) {
    head.extend_from_slice(b"x-routerly-trace-id: ");
    trace.push_hyphenated(head);
    head.extend_from_slice(writer::CRLF);
    if cross_origin {
        writer::own_field(head, "access-control-allow-origin", b"*");
        writer::own_field(head, "access-control-expose-headers", EXPOSED.as_bytes());
    }
}

/// Appends what the gateway says about an answer of a provider.
pub(super) fn append_answer_fields(
    head: &mut Vec<u8>,
    request: &Request,
    ledger: &Ledger,
    target: &Target,
    cost: Option<Picodollars>,
) {
    ledger.append_rates(head, request.client.dialect);
    head.extend_from_slice(&target.answer_fields);
    if let Some(said) = ledger.cache_field() {
        writer::own_field(head, "x-routerly-cache", said.as_bytes());
    }
    if let Some(cost) = cost {
        head.extend_from_slice(b"x-routerly-cost: ");
        cost.write_usd(head);
        head.extend_from_slice(writer::CRLF);
    }
    if request.server_timing {
        let gateway = ledger.overhead();
        let total = ledger.first_byte().unwrap_or_default();
        let upstream = total.saturating_sub(gateway);
        // Milliseconds with fractions (W3C Server Timing, section 4).
        let value = format!(
            "gateway;dur={:.3}, upstream;dur={:.3}",
            gateway.as_secs_f64() * 1e3,
            upstream.as_secs_f64() * 1e3
        );
        writer::own_field(head, "server-timing", value.as_bytes());
    }
}

/// Writes a whole error answer.
pub fn write_error(out: &mut Vec<u8>, client: &Client, error: &GatewayError, keep_alive: bool) {
    begin_head(out, error.status(), client, keep_alive);
    append_error(out, client, error);
}

fn append_error(out: &mut Vec<u8>, client: &Client, error: &GatewayError) {
    let message = error.message();
    let mut text = [0; TraceId::TEXT_BYTES];
    client.trace.write_hyphenated(&mut text);
    let mut body = Vec::with_capacity(256);
    let described = ErrorBody {
        code: error.code(),
        status: error.status(),
        message: &message,
        trace_id: std::str::from_utf8(&text).unwrap_or_default(),
    };
    write_error_body(&mut body, client.dialect, &described);
    if error.status() == 401 {
        // RFC 9110 section 11.6.1: a 401 names the scheme.
        writer::own_field(out, "www-authenticate", b"Bearer");
    }
    if let Some(seconds) = error.retry_after_s() {
        writer::own_field(out, "retry-after", seconds.to_string().as_bytes());
    }
    append_body(out, JSON, &body, client.is_head);
}

/// Ends the head and appends the body.
pub fn append_body(out: &mut Vec<u8>, content_type: &str, body: &[u8], is_head: bool) {
    writer::own_field(out, "content-type", content_type.as_bytes());
    writer::content_length(out, body.len() as u64);
    writer::end(out);
    if !is_head {
        out.extend_from_slice(body);
    }
}

/// Sends a small answer of the gateway's own.
pub async fn plain(
    exchange: &mut Exchange<'_>,
    client: &Client,
    status: u16,
    content_type: &str,
    body: &[u8],
) -> After {
    let keep_alive = exchange.keeps_alive(client);
    let mut out = exchange.shard.take_head();
    begin_head(&mut out, status, client, keep_alive);
    append_body(&mut out, content_type, body, client.is_head);
    let sent = exchange.conn.write_all(&out).await;
    exchange.shard.give_back_head(out);
    after(sent, keep_alive)
}

/// `GET /v1/models` and `/v1beta/models`: the usable models of the project, in the list format of the client's dialect.
pub async fn models(exchange: &mut Exchange<'_>, request: Request) -> After {
    let view = std::rc::Rc::clone(&exchange.view);
    let mut ledger = Ledger::open(exchange.shard, &view, &request);
    let targets = targets_of(&view.snapshot, request.project);
    let mut body = Vec::with_capacity(256 + 256 * targets.len());
    if request.client.dialect == Dialect::Gemini {
        body.extend_from_slice(b"{\"models\":[");
        join(&mut body, &targets, append_gemini_model);
        body.extend_from_slice(b"]}");
    } else if request.has_anthropic_version {
        body.extend_from_slice(b"{\"data\":[");
        join(&mut body, &targets, append_anthropic_model);
        body.extend_from_slice(b"],\"has_more\":false,\"first_id\":");
        append_id(&mut body, targets.first().copied());
        body.extend_from_slice(b",\"last_id\":");
        append_id(&mut body, targets.last().copied());
        body.push(b'}');
    } else {
        body.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        append_auto(&mut body);
        for target in &targets {
            body.push(b',');
            append_openai_model(&mut body, target);
        }
        body.extend_from_slice(b"]}");
    }
    ledger.served(200);
    plain(exchange, &request.client, 200, JSON, &body).await
}

/// `GET /v1/models/{id}` and `/v1beta/models/{id}`.
pub async fn one_model(exchange: &mut Exchange<'_>, request: Request, id: &str) -> After {
    let view = std::rc::Rc::clone(&exchange.view);
    let mut ledger = Ledger::open(exchange.shard, &view, &request);
    let mut body = Vec::with_capacity(256);
    if matches!(id, "routerly/auto" | "routerly/ada") {
        append_auto(&mut body);
    } else {
        let found =
            targets_of(&view.snapshot, request.project).into_iter().find(|target| target.model.id == id);
        let Some(target) = found else {
            let error = GatewayError::NotFound(format!(
                "no model `{}` in this project",
                crate::telemetry::text::clip(id, 256)
            ));
            return exchange.refuse(&request, &mut ledger, &error).await;
        };
        if request.client.dialect == Dialect::Gemini {
            append_gemini_model(&mut body, target);
        } else if request.has_anthropic_version {
            append_anthropic_model(&mut body, target);
        } else {
            append_openai_model(&mut body, target);
        }
    }
    ledger.served(200);
    plain(exchange, &request.client, 200, JSON, &body).await
}

fn targets_of(snapshot: &Snapshot, project: u32) -> Vec<&Target> {
    let project = &snapshot.config.projects()[project as usize];
    project
        .models
        .iter()
        .map(|entry| &snapshot.targets[entry.model])
        .filter(|target| target.is_usable())
        .collect()
}

fn join(out: &mut Vec<u8>, targets: &[&Target], append: fn(&mut Vec<u8>, &Target)) {
    for (index, target) in targets.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append(out, target);
    }
}

fn append_id(out: &mut Vec<u8>, target: Option<&Target>) {
    match target {
        Some(target) => append_string(out, &target.model.id),
        None => out.extend_from_slice(b"null"),
    }
}

/// The entry that leaves the choice to the gateway.
fn append_auto(out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"id\":\"routerly/auto\",\"object\":\"model\",\"created\":0,\"owned_by\":\"routerly\"}",
    );
}

fn append_openai_model(out: &mut Vec<u8>, target: &Target) {
    let model = &target.model;
    out.extend_from_slice(b"{\"id\":");
    append_string(out, &model.id);
    // Stable by design: a list must not change from call to call.
    out.extend_from_slice(b",\"object\":\"model\",\"created\":0,\"owned_by\":");
    append_string(out, &model.provider.id);
    if let Some(window) = model.context_window {
        out.extend_from_slice(b",\"context_window\":");
        append_number(out, window);
    }
    out.extend_from_slice(b",\"capabilities\":{");
    let capabilities = &model.capabilities;
    let known = [
        ("vision", capabilities.vision),
        ("functionCalling", capabilities.function_calling),
        ("json", capabilities.json),
        ("thinking", capabilities.thinking),
        ("embedding", capabilities.embedding),
    ];
    let mut first = true;
    for (name, value) in known {
        if let Some(value) = value {
            out.extend_from_slice(if first { b"" } else { b"," });
            first = false;
            append_string(out, name);
            out.extend_from_slice(if value { b":true" } else { b":false" });
        }
    }
    out.extend_from_slice(b"},\"pricing\":{\"inputPerMillion\":");
    crate::budget::money::write_usd_per_million(out, target.price.input);
    out.extend_from_slice(b",\"outputPerMillion\":");
    crate::budget::money::write_usd_per_million(out, target.price.output);
    out.extend_from_slice(b"}}");
}

fn append_anthropic_model(out: &mut Vec<u8>, target: &Target) {
    out.extend_from_slice(b"{\"type\":\"model\",\"id\":");
    append_string(out, &target.model.id);
    out.extend_from_slice(b",\"display_name\":");
    append_string(out, &target.model.name);
    out.extend_from_slice(b",\"created_at\":\"1970-01-01T00:00:00Z\"}");
}

/// Source: Gemini API reference, `models.list`.
fn append_gemini_model(out: &mut Vec<u8>, target: &Target) {
    let model = &target.model;
    out.extend_from_slice(b"{\"name\":");
    append_string(out, &format!("models/{}", model.id));
    out.extend_from_slice(b",\"version\":\"1\",\"displayName\":");
    append_string(out, &model.name);
    if let Some(window) = model.context_window {
        out.extend_from_slice(b",\"inputTokenLimit\":");
        append_number(out, window);
    }
    let methods: &[u8] = if model.capabilities.embedding == Some(true) {
        b",\"supportedGenerationMethods\":[]}"
    } else {
        b",\"supportedGenerationMethods\":[\"generateContent\",\"streamGenerateContent\",\"countTokens\"]}"
    };
    out.extend_from_slice(methods);
}
