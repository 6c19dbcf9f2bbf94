//! What is answered without a project token: health, metrics, the root page, a browser's preflight.

use std::sync::Arc;
use std::time::Duration;

use super::table::Route;
use crate::clock;
use crate::config::Settings;
use crate::gateway::{self, After, Client, Exchange};
use crate::http1::{KnownField, RequestHead, writer};
use crate::mailbox::{Reply, ToControl};
use crate::respond::GatewayError;
use crate::telemetry::labels::{Endpoint, Outcome};
use crate::telemetry::prometheus;
use crate::telemetry::text::TimestampFormatter;

/// Longest wait for the metrics page.
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Debug)]
pub(super) enum Operation {
    Health,
    Ready,
    Metrics,
    Root,
    Preflight { headers: Option<Vec<u8>> },
}

impl Operation {
    pub(super) fn of(route: &Route, head: &RequestHead<'_, '_>, settings: &Settings) -> Option<Self> {
        match route {
            Route::Health => Some(Self::Health),
            Route::Ready => Some(Self::Ready),
            Route::Metrics if settings.metrics_enabled => Some(Self::Metrics),
            Route::Root => Some(Self::Root),
            Route::Preflight => {
                let asked = head.fields.find(KnownField::AccessControlRequestHeaders);
                Some(Self::Preflight { headers: asked.map(|field| field.value().to_vec()) })
            }
            _ => None,
        }
    }

    pub(super) async fn run(self, exchange: &mut Exchange<'_>, client: &Client) -> After {
        match self {
            Self::Health => health(exchange, client).await,
            Self::Ready => ready(exchange, client).await,
            Self::Metrics => metrics(exchange, client).await,
            Self::Root => {
                let banner =
                    concat!("{\"name\":\"routerly\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");
                gateway::plain(exchange, client, 200, "application/json", banner.as_bytes()).await
            }
            Self::Preflight { headers } => preflight(exchange, client, headers.as_deref()).await,
        }
    }
}

/// `degraded` while usage records cannot be written out: requests are still served.
async fn health(exchange: &mut Exchange<'_>, client: &Client) -> After {
    let status = if exchange.shard.mailbox.is_degraded() { "degraded" } else { "ok" };
    let timestamp = TimestampFormatter::default().format(clock::unix_ms());
    let body = format!(
        "{{\"status\":\"{status}\",\"version\":\"{}\",\"timestamp\":\"{}\"}}",
        env!("CARGO_PKG_VERSION"),
        timestamp.as_str()
    );
    count(exchange, 200);
    gateway::plain(exchange, client, 200, "application/json", body.as_bytes()).await
}

fn count(exchange: &Exchange<'_>, status: u16) {
    let outcome = if status < 400 { Outcome::Success } else { Outcome::Error };
    exchange.shard.metrics.count_request(Endpoint::Operations, status, outcome);
}

/// 200 when a request could be served: some project has a usable model, and the process is not on its way out.
async fn ready(exchange: &mut Exchange<'_>, client: &Client) -> After {
    let usable = exchange.view.snapshot.targets.iter().any(|target| target.is_usable());
    let (status, text) = match (usable, exchange.shard.mailbox.is_draining()) {
        (_, true) => (503, "draining"),
        (false, false) => (503, "no usable model is configured"),
        (true, false) => (200, "ready"),
    };
    let body = format!("{{\"status\":\"{text}\"}}");
    count(exchange, status);
    gateway::plain(exchange, client, status, "application/json", body.as_bytes()).await
}

/// Rendered by the control thread, which has the sums.
async fn metrics(exchange: &mut Exchange<'_>, client: &Client) -> After {
    let reply: Arc<Reply<Arc<[u8]>>> = Arc::default();
    if exchange.shard.mailbox.send(ToControl::Metrics(Arc::clone(&reply))).is_err() {
        return super::refuse(exchange, client, &GatewayError::Busy).await;
    }
    match monoio::time::timeout(METRICS_TIMEOUT, reply.wait()).await {
        Ok(page) => {
            count(exchange, 200);
            gateway::plain(exchange, client, 200, prometheus::CONTENT_TYPE, &page).await
        }
        Err(_elapsed) => super::refuse(exchange, client, &GatewayError::Busy).await,
    }
}

/// Any origin may call: what protects a project is its token (Fetch standard, "CORS preflight").
async fn preflight(exchange: &mut Exchange<'_>, client: &Client, headers: Option<&[u8]>) -> After {
    let keep_alive = exchange.keeps_alive(client);
    let mut out = exchange.shard.take_head();
    gateway::begin_head(&mut out, 204, client, keep_alive);
    writer::own_field(&mut out, "allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    writer::own_field(
        &mut out,
        "access-control-allow-methods",
        b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    );
    writer::own_field(&mut out, "access-control-allow-headers", headers.unwrap_or(b"*"));
    writer::own_field(&mut out, "access-control-max-age", b"86400");
    writer::end(&mut out);
    let sent = exchange.conn.write_all(&out).await;
    exchange.shard.give_back_head(out);
    match (sent, keep_alive) {
        (Err(_), _) => After::Abort,
        (Ok(()), true) => After::KeepAlive,
        (Ok(()), false) => After::Close,
    }
}
