//! Where messages may go: names resolved, addresses judged, connections made to the judged addresses only.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::Failure;
use crate::config::Settings;
use crate::limits::{NOTIFY_ANSWER_BYTES_MAX, NOTIFY_TIMEOUT_MS};
use crate::net::tls;
use crate::upstream::is_public;

/// Who may be reached, and who is trusted.
pub(super) struct Reach {
    allow: Arc<[String]>,
    /// Roots of trust, DER.
    pub roots: Vec<Vec<u8>>,
}

/// An answer to an HTTP call.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Reach {
    /// By the settings; files are looked up from `home`.
    ///
    /// # Errors
    /// `caFile` cannot be read.
    pub(super) fn new(settings: &Settings, home: &Path) -> Result<Self, Failure> {
        let file = settings.ca_file.as_deref().map(|file| home.join(file));
        let roots = tls::roots(file.as_deref()).map_err(Failure::passing)?;
        let roots = roots.into_iter().map(|root| root.to_vec()).collect();
        Ok(Self { allow: settings.notify_hosts.clone().into(), roots })
    }

    /// The addresses of a host that may be connected to.
    ///
    /// # Errors
    /// It has none, or none that is public, and is not named in `webhookAllowHosts`.
    pub(super) fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let found = (host, port).to_socket_addrs();
        let found = found.map_err(|error| Failure::passing(format!("{host} cannot be resolved: {error}")))?;
        let allowed: Vec<SocketAddr> = judged(&self.allow, host, found).collect();
        if allowed.is_empty() { Err(Failure::passing(refusal(host))) } else { Ok(allowed) }
    }

    /// Sends a request whose answer is short. Redirects are not followed.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) fn call(
        &self,
        method: &str,
        url: &str,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        let timeout = Duration::from_millis(NOTIFY_TIMEOUT_MS);
        let roots = self.roots.iter().map(|root| Certificate::from_der(root).to_owned());
        let trust = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(tls::provider())
            .root_certs(RootCerts::from(roots))
            .build();
        let config = Agent::config_builder()
            .tls_config(trust)
            // The address that is judged must be the one that is connected to.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("routerly/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = Judge { allow: Arc::clone(&self.allow), resolver: DefaultResolver::default() };
        let agent = Agent::with_parts(config, DefaultConnector::new(), resolver);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        // What goes wrong here is written in the channel itself.
        let unusable = |_| Failure::last("the URL or a header cannot be sent".to_owned());
        let answer = match method {
            "GET" => agent.run(request.body(()).map_err(unusable)?),
            _ => agent.run(request.body(body).map_err(unusable)?),
        };
        let mut answer = answer.map_err(|error| Failure::passing(in_words(&error)))?;
        let status = answer.status().as_u16();
        let limited = answer.body_mut().with_config().limit(NOTIFY_ANSWER_BYTES_MAX);
        // Whoever answers at length, or not to the end, has answered.
        Ok(Answer { status, body: limited.read_to_vec().unwrap_or_default() })
    }
}

/// Resolves names as the system does, and leaves out the addresses that may not be connected to.
#[derive(Debug)]
struct Judge {
    allow: Arc<[String]>,
    resolver: DefaultResolver,
}

impl Resolver for Judge {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let mut allowed = self.empty();
        judged(&self.allow, host, found.iter().copied()).for_each(|address| allowed.push(address));
        if allowed.is_empty() {
            return Err(Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, refusal(host))));
        }
        Ok(allowed)
    }
}

fn judged(
    allow: &[String],
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> impl Iterator<Item = SocketAddr> {
    let is_own = allow.iter().any(|own| own.eq_ignore_ascii_case(host));
    found.filter(move |address| is_own || is_public(address.ip()))
}

fn refusal(host: &str) -> String {
    format!("{host} is not on the public internet; name it in webhookAllowHosts if it is meant")
}

/// An error without the URL, which may hold a secret.
fn in_words(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "no answer in time".to_owned(),
        Error::HostNotFound => "the host's name cannot be resolved".to_owned(),
        Error::BadUri(_) | Error::Http(_) => "the URL cannot be used".to_owned(),
        other => other.to_string(),
    }
}
