//! The parts of a base URL, and how a request's path is joined to it.
//!
//! Owns the one URL form that a configuration file may hold: `http(s)://host[:port][/path][?query]`. It is stricter
//! than a browser: no user name, no fragment, no characters that would need escaping.
//!
//! Source: RFC 3986, sections 3.2.2 (host) and 3.3 (path); RFC 9110, section 4.2.

use std::net::IpAddr;

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port that is left out of URLs and `Host` fields.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme's spelling in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A parsed base URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host name in lower case, or an address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path without a trailing slash: empty or `/…`.
    pub base_path: String,
    /// Query without its `?`, to be sent along with every request (Azure's `api-version`).
    pub query: Option<String>,
    /// Value of the `Host` field: brackets around an IPv6 address, no default port.
    pub authority: String,
}

/// Why a text is no usable base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither `http://` nor `https://`.
    #[error("it does not start with http:// or https://")]
    Scheme,
    /// User name or password before the host.
    #[error("it holds a user name or password; put the key into apiKey")]
    Userinfo,
    /// Empty or malformed host.
    #[error("its host is empty or malformed")]
    Host,
    /// Port out of range or not a number.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// A character that a path may not hold, or a dot segment.
    #[error("its path holds a character or segment that a path may not hold")]
    Path,
    /// A `#…` part.
    #[error("it holds a fragment (#)")]
    Fragment,
}

impl Endpoint {
    /// Reads a base URL; trailing slashes of the path are dropped.
    ///
    /// # Errors
    /// See [`EndpointError`]; the text of the URL is never part of the error.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let url = url.trim();
        let (scheme, rest) = match split_scheme(url) {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(EndpointError::Scheme),
        };
        if rest.contains('#') {
            return Err(EndpointError::Fragment);
        }
        let (before_query, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (rest, None),
        };
        let path_at = before_query.find('/').unwrap_or(before_query.len());
        let (host_and_port, path) = before_query.split_at(path_at);
        if host_and_port.contains('@') {
            return Err(EndpointError::Userinfo);
        }
        let (host, port) = split_port(host_and_port)?;
        let (host, is_v6) = check_host(host)?;
        let port = port.unwrap_or(scheme.default_port());
        let base_path = path.trim_end_matches('/');
        let clean = |text: &str| text.bytes().all(is_path_byte);
        let dots = base_path.split('/').any(|segment| segment == "." || segment == "..");
        if dots
            || !clean(base_path)
            || !query.is_none_or(|query| query.bytes().all(|b| b == b'?' || is_path_byte(b)))
        {
            return Err(EndpointError::Path);
        }
        let mut authority = if is_v6 { format!("[{host}]") } else { host.clone() };
        if port != scheme.default_port() {
            authority.push_str(&format!(":{port}"));
        }
        let query = query.filter(|query| !query.is_empty()).map(str::to_owned);
        Ok(Self { scheme, host, port, base_path: base_path.to_owned(), query, authority })
    }

    /// The path of the server itself: the base path without a version segment at its end.
    pub fn root_path(&self) -> &str {
        without_version(&self.base_path)
    }

    /// Appends base path and `path` to `out`, then the endpoint's own query.
    ///
    /// `path` starts with `/` and may carry a query. A version segment at its head (`/v1/…`) replaces one at the
    /// end of the base path, so that `…/openai/v1` and `/v1/embeddings` make `…/openai/v1/embeddings`.
    pub fn join(&self, path: &str, out: &mut String) {
        let base = match leading_version(path) {
            Some(_) => without_version(&self.base_path),
            None => &self.base_path,
        };
        out.push_str(base);
        out.push_str(path);
        if let Some(query) = &self.query {
            out.push(if path.contains('?') { '&' } else { '?' });
            out.push_str(query);
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority, self.base_path)?;
        self.query.iter().try_for_each(|query| write!(f, "?{query}"))
    }
}

fn split_scheme(url: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let known = ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    Some((known, rest))
}

fn split_port(host_and_port: &str) -> Result<(&str, Option<u16>), EndpointError> {
    let colon = match host_and_port.rfind(']') {
        Some(bracket) => host_and_port[bracket..].find(':').map(|at| bracket + at),
        None => host_and_port.find(':'),
    };
    let Some(colon) = colon else { return Ok((host_and_port, None)) };
    let (host, port) = (&host_and_port[..colon], &host_and_port[colon + 1..]);
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok((host, Some(port))),
        _ => Err(EndpointError::Port),
    }
}

/// The host in lower case and without brackets, and whether it is an IPv6 address.
fn check_host(host: &str) -> Result<(String, bool), EndpointError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match inner.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => Ok((address.to_string(), true)),
            _ => Err(EndpointError::Host),
        };
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || host.len() > 253 || !name.split('.').all(label) {
        return Err(EndpointError::Host);
    }
    Ok((host.to_ascii_lowercase(), false))
}

/// `pchar`, `/` and `?`-free query bytes of RFC 3986, percent signs taken on trust.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

/// The version segment at the head of a request's path: `v1` of `/v1/models`.
fn leading_version(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let segment = path.split(['/', '?']).next()?;
    is_version(segment).then_some(segment)
}

fn without_version(base_path: &str) -> &str {
    match base_path.rsplit_once('/') {
        Some((before, segment)) if is_version(segment) => before,
        _ => base_path,
    }
}

/// `v1`, `v2`, `v1beta`, `v1alpha2`.
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('v') else { return false };
    let tail = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let tail = if tail.len() == rest.len() { return false } else { tail };
    let tail = tail.strip_prefix("alpha").or_else(|| tail.strip_prefix("beta")).unwrap_or(tail);
    tail.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_fall_into_their_parts() {
        for (url, scheme, host, port, path, authority) in [
            ("https://api.openai.com/v1", Scheme::Https, "api.openai.com", 443, "/v1", "api.openai.com"),
            ("https://api.openai.com/v1//", Scheme::Https, "api.openai.com", 443, "/v1", "api.openai.com"),
            ("HTTP://LocalHost:11434", Scheme::Http, "localhost", 11434, "", "localhost:11434"),
            ("http://h:80/", Scheme::Http, "h", 80, "", "h"),
            ("https://h:80", Scheme::Https, "h", 80, "", "h:80"),
            ("http://[::1]:8080/a/b", Scheme::Http, "::1", 8080, "/a/b", "[::1]:8080"),
            ("http://[2001:DB8::1]", Scheme::Http, "2001:db8::1", 80, "", "[2001:db8::1]"),
            ("http://127.0.0.1:1", Scheme::Http, "127.0.0.1", 1, "", "127.0.0.1:1"),
            (" https://h.example ", Scheme::Https, "h.example", 443, "", "h.example"),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!(
                (endpoint.scheme, endpoint.host.as_str(), endpoint.port),
                (scheme, host, port),
                "{url}"
            );
            assert_eq!(
                (endpoint.base_path.as_str(), endpoint.authority.as_str()),
                (path, authority),
                "{url}"
            );
            assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint), "{url} does not read back");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_its_reason() {
        for (url, error) in [
            ("", EndpointError::Scheme),
            ("api.openai.com/v1", EndpointError::Scheme),
            ("ftp://h", EndpointError::Scheme),
            ("https://", EndpointError::Host),
            ("https:///v1", EndpointError::Host),
            ("https://a..b", EndpointError::Host),
            ("https://a b", EndpointError::Host),
            ("https://ü.example", EndpointError::Host),
            ("https://[::1", EndpointError::Port),
            ("https://[nope]", EndpointError::Host),
            ("https://user:pass@h/v1", EndpointError::Userinfo),
            ("https://h:0", EndpointError::Port),
            ("https://h:65536", EndpointError::Port),
            ("https://h:+1", EndpointError::Port),
            ("https://h:", EndpointError::Port),
            ("https://h/a b", EndpointError::Path),
            ("https://h/a\r\nx: y", EndpointError::Path),
            ("https://h/../admin", EndpointError::Path),
            ("https://h/v1#x", EndpointError::Fragment),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_version_at_the_head_of_the_path_replaces_the_one_at_the_end_of_the_base() {
        for (base, path, joined) in [
            ("https://api.openai.com/v1", "/v1/embeddings", "/v1/embeddings"),
            ("https://api.openai.com/v1", "/embeddings", "/v1/embeddings"),
            ("https://api.groq.com/openai/v1", "/v1/audio/speech?x=1", "/openai/v1/audio/speech?x=1"),
            ("https://api.anthropic.com", "/v1/messages/batches", "/v1/messages/batches"),
            ("https://api.anthropic.com/v1", "/v1/messages", "/v1/messages"),
            ("https://g.example/v1beta", "/v1beta/models/x:y", "/v1beta/models/x:y"),
            ("https://g.example/v1beta/openai", "/v1/models", "/v1beta/openai/v1/models"),
            ("https://h/inference/v1", "/v1", "/inference/v1"),
            ("https://h/v1", "/v1?after=2", "/v1?after=2"),
            ("https://h/v1", "/version", "/v1/version"),
            ("https://h/base?api-version=7", "/files", "/base/files?api-version=7"),
            ("https://h/base?api-version=7", "/files?a=b", "/base/files?a=b&api-version=7"),
        ] {
            let mut out = String::new();
            Endpoint::parse(base).expect(base).join(path, &mut out);
            assert_eq!(out, joined, "{base} and {path}");
        }
    }
}
