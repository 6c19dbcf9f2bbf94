//! The blocking HTTP client of the commands.

use std::io::Read as _;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, RequestExt as _};

use super::failure::{Failure, Kind};
use crate::net::tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a look whether anybody answers.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// A report over a long history is the slowest answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Speaks to one gateway.
pub(in crate::cli) struct Http {
    agent: Agent,
    base: String,
}

/// An answer.
pub(super) struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    pub body: Value,
}

impl Http {
    /// The gateway at a URL. The system's roots are trusted, or those of `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// The URL is none.
    pub(in crate::cli) fn new(url: &str) -> Result<Self, Failure> {
        let base = url.trim().trim_end_matches('/');
        let is_url = base.starts_with("http://") || base.starts_with("https://");
        if !is_url || base.contains(char::is_whitespace) {
            return Err(Failure::usage(format!("`{url}` is no URL such as http://localhost:3000")));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A token is for the gateway that it was made by.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("routerly-cli/", env!("CARGO_PKG_VERSION")));
        if base.starts_with("https://") {
            let system = tls::system_roots();
            let roots: Vec<_> = system.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::new_with_certs(&roots))
                .unversioned_rustls_crypto_provider(tls::provider())
                .build();
            config = config.tls_config(tls);
        }
        Ok(Self { agent: config.build().new_agent(), base: base.to_owned() })
    }

    /// Asks for the address itself, as nobody: status and `Date` of whatever answers.
    ///
    /// # Errors
    /// Nothing does.
    pub(in crate::cli) fn probe(&self) -> Result<(u16, Option<String>), Failure> {
        let request = self.agent.get(&self.base).config().timeout_global(Some(PROBE_TIMEOUT)).build();
        let answer = request.call().map_err(|error| self.unreachable(&error.to_string()))?;
        let date = answer.headers().get("date").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((answer.status().as_u16(), date))
    }

    /// Whether what is sent to it can be read on the way: plain HTTP to another machine.
    pub(super) fn is_exposed(&self) -> bool {
        let Some(rest) = self.base.strip_prefix("http://") else { return false };
        let host = rest.split('/').next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        !matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    }

    /// One request; the answer's body is JSON or nothing.
    ///
    /// # Errors
    /// No answer, or one that no gateway gives.
    pub(super) fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let mut response = self.open(request)?;
        let status = response.status().as_u16();
        let etag = response.headers().get("etag").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut text = Vec::new();
        let read = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut text);
        read.map_err(|error| self.unreachable(&error.to_string()))?;
        let body = if text.trim_ascii().is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&text) };
        let body = body.map_err(|_| {
            Failure::failed(format!("{} gave no answer of a gateway (status {status})", self.base))
        })?;
        Ok(Answer { status, etag, body })
    }

    /// One request whose answer the caller reads.
    ///
    /// # Errors
    /// No answer.
    pub(super) fn open(&self, request: &Request<'_>) -> Result<Response<Body>, Failure> {
        let mut head = ureq::http::Request::builder()
            .method(request.method)
            .uri(format!("{}/api/{}", self.base, request.path));
        if let Some(token) = request.token {
            head = head.header("authorization", format!("Bearer {token}"));
        }
        if let Some(tag) = request.if_match {
            head = head.header("if-match", tag);
        }
        let sent = match request.body {
            Some(body) => {
                let head = head.header("content-type", "application/json").body(body.to_string());
                head.map_err(ureq::Error::from).and_then(|head| head.with_agent(&self.agent).run())
            }
            None => {
                head.body(()).map_err(ureq::Error::from).and_then(|head| head.with_agent(&self.agent).run())
            }
        };
        sent.map_err(|error| self.unreachable(&error.to_string()))
    }

    fn unreachable(&self, reason: &str) -> Failure {
        Failure::new(Kind::Unreachable, format!("cannot reach {}: {reason}", self.base))
    }
}

/// A request.
#[derive(Default)]
pub(super) struct Request<'a> {
    pub method: &'a str,
    /// Below `/api/`, with its query.
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub if_match: Option<&'a str>,
    pub body: Option<&'a Value>,
}

impl Answer {
    /// The body of an answer that says yes.
    ///
    /// # Errors
    /// What the gateway said.
    pub(super) fn ok(self) -> Result<Self, Failure> {
        if self.status < 300 {
            return Ok(self);
        }
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let code = self.body["error"].as_str().unwrap_or_else(|| reason.unwrap_or("failed"));
        let message = self.body["message"].as_str().or(reason).unwrap_or("the gateway said no");
        Err(Failure::of_answer(self.status, code, message))
    }
}

/// A name as one segment of a path, or a value of a query (RFC 3986, section 2.3).
pub(super) fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_segment() {
        assert_eq!(encode("openai/gpt-5 ä:4b"), "openai%2Fgpt-5%20%C3%A4%3A4b");
    }

    #[test]
    fn only_urls_are_taken_and_plain_http_to_others_is_exposed() {
        for url in ["localhost:3000", "ftp://x", "http://a b", ""] {
            assert!(Http::new(url).is_err(), "{url}");
        }
        for (url, is_exposed) in [
            ("http://localhost:3000/", false),
            ("http://127.0.0.1", false),
            ("http://[::1]:3000", false),
            ("http://gw.example.org:3000", true),
            ("https://gw.example.org", false),
        ] {
            assert_eq!(Http::new(url).unwrap().is_exposed(), is_exposed, "{url}");
        }
    }
}
