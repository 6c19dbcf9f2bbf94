//! A mail over SMTP.
//!
//! Source: RFC 5321, RFC 8314 (TLS from the first byte), RFC 3207 (STARTTLS); the message itself is lettre's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, SmtpTransport};
use lettre::{Address, Message, Transport as _};

use super::event::Notice;
use super::reach::Reach;
use super::sign::fingerprint;
use super::{Failure, Sent};
use crate::config::Secret;
use crate::config::notifications::{Relay, Sender};
use crate::limits::NOTIFY_TIMEOUT_MS;

/// Addresses of one server that are tried.
const ADDRESSES_MAX: usize = 2;

/// What is sent.
pub(super) struct Letter<'a> {
    pub sender: &'a Sender,
    pub to: &'a [String],
    pub notice: &'a Notice,
    /// Id of the channel.
    pub channel: &'a str,
}

/// Who signs in.
pub(super) struct Login {
    pub name: String,
    /// A password, or an access token of OAuth 2.
    pub proof: Secret,
    pub is_token: bool,
}

/// How a server is spoken to.
pub(super) struct Server<'a> {
    pub relay: &'a Relay,
    pub login: Option<Login>,
    pub allow_invalid_cert: bool,
    /// Name of the gateway in its greeting; none for its address.
    pub hello: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    /// TLS from the first byte.
    Whole,
    /// STARTTLS, or nothing is sent.
    Started,
    /// STARTTLS where the server offers it.
    Offered,
}

/// Sends a letter. A server that turns out to want the other kind of TLS gets it.
///
/// # Errors
/// It was not taken.
pub(super) fn send(reach: &Reach, server: &Server<'_>, letter: &Letter<'_>) -> Result<Sent, Failure> {
    let message = compose(letter)?;
    let Relay { host, port, secure } = server.relay;
    let mut addresses = reach.resolve(host, *port)?;
    addresses.truncate(ADDRESSES_MAX);
    let (first, second) = match (secure, &server.login) {
        // Never less than was asked for.
        (true, _) => (Cover::Whole, Cover::Started),
        (false, Some(_)) => (Cover::Started, Cover::Whole),
        (false, None) => (Cover::Offered, Cover::Whole),
    };
    let mut failed = match try_all(reach, server, &addresses, first, &message) {
        Ok(()) => return Ok(Sent { fixed_secure: None }),
        Err(error) => error,
    };
    if is_about_the_connection(&failed) {
        match try_all(reach, server, &addresses, second, &message) {
            Ok(()) => return Ok(Sent { fixed_secure: Some(!secure) }),
            // It was the right kind, and something else is wrong.
            Err(error) if error.status().is_some() => failed = error,
            Err(_) => {}
        }
    }
    Err(failure(&failed))
}

fn try_all(
    reach: &Reach,
    server: &Server<'_>,
    addresses: &[SocketAddr],
    cover: Cover,
    message: &Message,
) -> Result<(), smtp::Error> {
    let tls = trust(reach, server)?;
    let mut last = None;
    for address in addresses {
        match transport(server, *address, cover, &tls).send(message) {
            Ok(_) => return Ok(()),
            Err(error) if is_about_the_connection(&error) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    // There is at least one address.
    last.map_or(Ok(()), Err)
}

fn trust(reach: &Reach, server: &Server<'_>) -> Result<TlsParameters, smtp::Error> {
    let mut tls = TlsParameters::builder(server.relay.host.clone())
        .certificate_store(CertificateStore::None)
        .dangerous_accept_invalid_certs(server.allow_invalid_cert);
    for root in &reach.roots {
        tls = tls.add_root_certificate(Certificate::from_der(root.clone())?);
    }
    tls.build_rustls()
}

/// Connects to the address that was judged; certificates are for the name.
fn transport(server: &Server<'_>, address: SocketAddr, cover: Cover, tls: &TlsParameters) -> SmtpTransport {
    let tls = match cover {
        Cover::Whole => Tls::Wrapper(tls.clone()),
        Cover::Started => Tls::Required(tls.clone()),
        Cover::Offered => Tls::Opportunistic(tls.clone()),
    };
    let mut builder = SmtpTransport::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(tls)
        .timeout(Some(Duration::from_millis(NOTIFY_TIMEOUT_MS)));
    if let Some(name) = server.hello.filter(|name| name.contains('.') && name.parse::<IpAddr>().is_err()) {
        builder = builder.hello_name(ClientId::Domain(name.to_owned()));
    }
    if let Some(Login { name, proof, is_token }) = &server.login {
        let mechanisms =
            if *is_token { vec![Mechanism::Xoauth2] } else { vec![Mechanism::Plain, Mechanism::Login] };
        let credentials = Credentials::new(name.clone(), proof.expose().to_owned());
        builder = builder.credentials(credentials).authentication(mechanisms);
    }
    builder.build()
}

/// Whether nothing was said to each other that counts, so that another address or another kind of TLS may do.
fn is_about_the_connection(error: &smtp::Error) -> bool {
    error.status().is_none() && !error.is_client()
}

fn failure(error: &smtp::Error) -> Failure {
    let status = error.status().map(u16::from);
    // The password may be put right; a recipient that is not there stays away (RFC 5321, section 4.2.1; RFC 4954,
    // section 6).
    let is_final = error.is_permanent() && !matches!(status, Some(530 | 534 | 535 | 538));
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = inner.source();
    }
    Failure { reason, is_final }
}

fn compose(letter: &Letter<'_>) -> Result<Message, Failure> {
    let address = |text: &str| {
        text.parse::<Address>().map_err(|_| Failure::last(format!("{text:?} is no mail address")))
    };
    let Letter { sender, to, notice, channel } = letter;
    let from = address(&sender.address)?;
    // The same for each attempt, so that a mail that comes twice is known to be one.
    let id = format!("<{}@{}>", fingerprint(&[&notice.id, channel]), from.domain());
    let mut builder = Message::builder()
        .from(Mailbox::new(sender.name.clone(), from))
        .subject(notice.subject.as_str())
        .message_id(Some(id))
        .header(ContentType::TEXT_PLAIN);
    for recipient in *to {
        builder = builder.to(Mailbox::new(None, address(recipient)?));
    }
    builder.body(notice.text.clone()).map_err(|error| Failure::last(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::event::test_notice;

    #[test]
    fn a_letter_has_the_same_id_each_time_and_nothing_breaks_out_of_its_head() {
        let sender = Sender { address: "gw@example.org".to_owned(), name: Some("Gäte, \"way\"".to_owned()) };
        let mut notice = test_notice("budget.exhausted:x".to_owned(), 0);
        notice.subject = "Budget of Käse\r\nBcc: eve@example.org".to_owned();
        let to = ["ops@example.org".to_owned(), "two@example.org".to_owned()];
        let letter = Letter { sender: &sender, to: &to, notice: &notice, channel: "mail" };
        let text = String::from_utf8(compose(&letter).unwrap().formatted()).unwrap();
        let id = |text: &str| text.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned();
        assert_eq!(id(&text), id(&String::from_utf8(compose(&letter).unwrap().formatted()).unwrap()));
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
        assert!(text.contains("To: ops@example.org, two@example.org"), "{text}");
        let other = Letter { channel: "other", ..letter };
        assert_ne!(id(&text), id(&String::from_utf8(compose(&other).unwrap().formatted()).unwrap()));
    }
}
