//! Where a provider listens, as a key: equal endpoints share one pool.

use std::fmt;

/// How the bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
    /// The built-in simulated provider, over a pipe.
    Simulated,
}

/// An HTTP proxy between us and the provider (`HTTPS_PROXY`, `HTTP_PROXY`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpProxy {
    /// Name or address of the proxy.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Value of `Proxy-Authorization`, if its URL had credentials. Never logged.
    pub authorization: Option<String>,
}

/// Where a provider listens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How the bytes travel.
    pub scheme: Scheme,
    /// Name or address, IPv6 in brackets; model id and settings for a simulated provider.
    pub host: String,
    /// TCP port; 0 for a simulated provider.
    pub port: u16,
    /// The proxy on the way, if any.
    pub proxy: Option<HttpProxy>,
}

impl Endpoint {
    /// The `Host` field: the port is left out where it is the scheme's own (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Simulated, _) => "simulated".to_owned(),
            (Scheme::Http, 80) | (Scheme::Https, 443) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether requests carry the absolute form because a proxy forwards them (RFC 9112 section 3.2.2).
    pub fn absolute_form(&self) -> bool {
        self.scheme == Scheme::Http && self.proxy.is_some()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}://{}:{}", self.scheme, self.host, self.port)?;
        if let Some(proxy) = &self.proxy {
            write!(f, " via {}:{}", proxy.host, proxy.port)?;
        }
        Ok(())
    }
}
