//! What can go wrong before a request can be sent.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::net::tls::is_about_certificate;

/// Why no connection to a provider came about.
#[derive(Debug)]
pub enum ConnectError {
    /// The name has no address, or the resolver failed.
    Resolve {
        /// The name that was looked up.
        host: String,
        /// The resolver's reason.
        reason: String,
    },
    /// It has addresses, but none that may be connected to.
    Forbidden {
        /// The name that was looked up.
        host: String,
    },
    /// No address answered within the time.
    Timeout {
        /// The connect timeout.
        after: Duration,
    },
    /// Every address refused; the last refusal.
    Refused(io::Error),
    /// The TLS hand-shake failed: certificate, name or protocol.
    Tls(io::Error),
    /// The HTTP proxy answered `CONNECT` with another status than 2xx, or not at all.
    Proxy(String),
}

impl ConnectError {
    /// Whether time ran out, as against an error.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the peer's certificate is the cause: the same peer will show the same one in a moment.
    pub fn is_about_certificate(&self) -> bool {
        matches!(self, Self::Tls(error) if is_about_certificate(error))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, reason } => write!(f, "cannot resolve {host}: {reason}"),
            Self::Forbidden { host } => write!(f, "{host} is not on the public internet"),
            Self::Timeout { after } => write!(f, "no connection within {} ms", after.as_millis()),
            Self::Refused(error) => write!(f, "cannot connect: {error}"),
            Self::Tls(error) => write!(f, "TLS hand-shake failed: {error}"),
            Self::Proxy(reason) => write!(f, "HTTP proxy: {reason}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(error) | Self::Tls(error) => Some(error),
            Self::Resolve { .. } | Self::Forbidden { .. } | Self::Timeout { .. } | Self::Proxy(_) => None,
        }
    }
}
