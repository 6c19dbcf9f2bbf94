//! Notifications over real sockets: mail servers and webhooks that look at what they are sent.

mod delivery;
mod trial;

use std::sync::Arc;

use ring::hmac;
use serde_json::{Value, json};

use crate::support::pki::Authority;
use crate::support::smtp::{Cover, SmtpServer};
use crate::support::upstream::Connection;
use crate::support::{Message, MockUpstream, Setup};

/// A webhook receiver that takes everything.
pub fn taker() -> MockUpstream {
    answering("HTTP/1.1 204 No Content\r\n\r\n")
}

/// A webhook receiver that answers everything with these bytes.
pub fn answering(answer: &'static str) -> MockUpstream {
    MockUpstream::with(move |connection: &mut Connection| {
        while connection.next_request().is_some() {
            connection.send(answer);
        }
    })
}

/// The URL of a receiver.
pub fn url(receiver: &MockUpstream) -> String {
    format!("http://{}/hook", receiver.address())
}

/// A gateway whose own network may be reached.
pub fn setup(channels: &[Value]) -> Setup {
    Setup::demo()
        .setting("notifications", json!({"channels": channels}))
        .setting("webhookAllowHosts", json!(["127.0.0.1"]))
        .setting("publicUrl", "https://ai.example.org")
        // The machine's own disk is no subject, but where a test makes it one.
        .setting("diskLowBytes", 0)
}

/// Lower-case hexadecimal HMAC-SHA256.
pub fn hmac_hex(key: &[u8], message: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Panics unless both signatures of a call are right.
pub fn check_signatures(request: &Message, secret: &str) {
    let field = |name: &str| request.head.field(name).unwrap_or_else(|| panic!("{name} is missing"));
    let signed = match request.head.request_line() {
        ("GET", target) => target.split_once('?').unwrap().1.as_bytes().to_vec(),
        _ => request.body.clone(),
    };
    let plain = hmac_hex(secret.as_bytes(), &signed);
    assert_eq!(field("x-routerly-signature"), format!("sha256={plain}"));
    let seconds = field("x-routerly-timestamp");
    let message = [seconds.as_bytes(), b".", &signed].concat();
    let timed = hmac_hex(secret.as_bytes(), &message);
    assert_eq!(field("x-routerly-signature-v2"), format!("sha256={timed}"));
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
        - seconds.parse::<u64>().unwrap();
    assert!(age < 300, "{age}");
}

/// A certificate authority, its file for `caFile`, and a mail server that it vouches for.
pub struct Covered {
    pub authority: Authority,
    pub server: SmtpServer,
}

impl Covered {
    pub fn start(cover: fn(Arc<rustls::ServerConfig>) -> Cover) -> Self {
        let authority = Authority::new();
        let identity = authority.issue(&["127.0.0.1"]);
        let server = SmtpServer::start(cover(Arc::new(identity.server(rustls::ALL_VERSIONS))));
        Self { authority, server }
    }

    /// Puts its root where the gateway trusts it.
    pub fn trust(&self, setup: Setup) -> (Setup, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &self.authority.pem).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (setup.setting("caFile", path), file)
    }
}
