//! Request target and `Host`: the four forms, the authority, and whether the two agree.
//!
//! Owns the split of a target into authority, path and query. It decodes nothing and normalises nothing: the
//! path goes on as it came.
//!
//! Source: RFC 9112 §3.2 (forms of the target), RFC 9110 §4.2 and §7.2 (URI, `Host`), RFC 3986 §3.2 (authority).

use std::net::Ipv6Addr;

use super::octets::{HOST, PATH, QUERY, is, percent_triples_are_whole};
use super::{HeadError, Method};

/// A target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// Of an absolute target only.
    pub(super) authority: Option<Authority<'b>>,
    /// Starts with `/`, or is `*`.
    pub(super) path: &'b str,
    /// What follows the first `?`.
    pub(super) query: Option<&'b str>,
}

/// `uri-host [ ":" port ]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Authority<'b> {
    /// As it came.
    pub(super) text: &'b str,
    host: &'b str,
    /// `None` where there is none or an empty one.
    port: Option<u16>,
    /// The port that the scheme implies; 80 for `Host`, which has no scheme, until compared.
    default_port: u16,
}

impl<'b> Target<'b> {
    /// Takes apart what stood between method and version.
    ///
    /// # Errors
    /// A form that does not go with `method`, a scheme other than `http` and `https`, user information, a
    /// fragment, or a byte that no target may hold.
    #[inline]
    pub(super) fn parse(method: Method<'_>, target: &'b str) -> Result<Self, HeadError> {
        if method == Method::Connect {
            return Err(HeadError::MethodConnect);
        }
        if target.as_bytes().first() == Some(&b'/') {
            let (path, query) = split_path(target)?;
            return Ok(Self { authority: None, path, query });
        }
        if target == "*" {
            return match method {
                Method::Options => Ok(Self { authority: None, path: "*", query: None }),
                _ => Err(HeadError::TargetAsterisk),
            };
        }
        Self::parse_absolute(method, target)
    }

    /// `http://authority/path?query`
    #[cold]
    fn parse_absolute(method: Method<'_>, target: &'b str) -> Result<Self, HeadError> {
        let (scheme, rest) = target.split_once("://").ok_or(HeadError::Target)?;
        let default_port = if scheme.eq_ignore_ascii_case("http") {
            80
        } else if scheme.eq_ignore_ascii_case("https") {
            443
        } else {
            return Err(HeadError::TargetScheme);
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = Authority { default_port, ..Authority::parse(authority.as_bytes())? };
        let (path, query) = match rest.as_bytes().first() {
            // RFC 9112 §3.2.4: OPTIONS for a whole server, as a client of a proxy writes it.
            None if method == Method::Options => ("*", None),
            None => ("/", None),
            Some(b'?') => ("/", split_path(rest)?.1),
            Some(_) => split_path(rest)?,
        };
        Ok(Self { authority: Some(authority), path, query })
    }
}

/// Splits at the first `?` and checks every byte of both halves.
#[inline]
fn split_path(text: &str) -> Result<(&str, Option<&str>), HeadError> {
    let bytes = text.as_bytes();
    let path_bytes = bytes.iter().position(|byte| !is(*byte, PATH)).unwrap_or(bytes.len());
    if !percent_triples_are_whole(bytes) {
        return Err(HeadError::Target);
    }
    // Both halves are cut at ASCII, so the str indices are on character boundaries.
    match bytes.get(path_bytes) {
        None => Ok((text, None)),
        Some(b'?') if bytes[path_bytes + 1..].iter().all(|byte| is(*byte, QUERY)) => {
            Ok((&text[..path_bytes], Some(&text[path_bytes + 1..])))
        }
        Some(_) => Err(HeadError::Target),
    }
}

impl<'b> Authority<'b> {
    /// Reads the value of `Host`, or the authority of an absolute target.
    ///
    /// Not empty, although RFC 9110 §7.2 allows it for schemes without authority: `http` has none such (§4.2.1).
    ///
    /// # Errors
    /// [`HeadError::Host`].
    #[inline]
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, HeadError> {
        let text = std::str::from_utf8(bytes).map_err(|_| HeadError::Host)?;
        let host_bytes = match bytes.first() {
            Some(b'[') => ip_literal_bytes(text).ok_or(HeadError::Host)?,
            _ => bytes.iter().position(|byte| !is(*byte, HOST)).unwrap_or(bytes.len()),
        };
        // Every byte up to here was ASCII, so this is a character boundary.
        let (host, rest) = text.split_at(host_bytes);
        if host.is_empty() || !percent_triples_are_whole(host.as_bytes()) {
            return Err(HeadError::Host);
        }
        let port = match rest.as_bytes() {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits).ok_or(HeadError::Host)?),
            _ => return Err(HeadError::Host),
        };
        Ok(Self { text, host, port, default_port: 80 })
    }

    /// Whether the `Host` field `other` names the same place as this authority of an absolute target: the host
    /// without regard to case, and the port, where none means the scheme's.
    pub(super) fn agrees_with(&self, other: &Authority<'_>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(self.default_port) == other.port.unwrap_or(self.default_port)
    }
}

/// Length of `"[" IPv6address "]"` at the start of `text`. A zone or a later address version is refused.
#[cold]
fn ip_literal_bytes(text: &str) -> Option<usize> {
    let close = text.find(']')?;
    text.get(1..close)?.parse::<Ipv6Addr>().ok()?;
    Some(close + 1)
}

/// `*DIGIT` up to 65,535.
fn parse_port(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |port, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { port.checked_mul(10)?.checked_add(u16::from(digit)) }
    })
}
