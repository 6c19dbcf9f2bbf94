//! Request and response heads, bytes to borrowed structure.
//!
//! Owns the order of checks: httparse tokenises, then comes what it forgives (LF alone, empty lines, long lines),
//! then the fields' facts, the target, `Host`, and last the framing of the body. It allocates nothing; every
//! text is borrowed from the buffer. It does not look behind the head.
//!
//! The answer never depends on how the bytes were cut: for a prefix of a head it is either "more bytes" or what
//! it would be for the whole.
//!
//! Source: RFC 9112 §2 to §6 and §9.3, RFC 9110 §7 and §10.1.1.

use super::facts::{Connection, Expectation, Facts, Writer};
use super::target::{Authority, Target};
use super::{Fields, HeadError, RequestSlots, ResponseSlots, diagnose};
use crate::limits::{
    LEADING_EMPTY_LINES_MAX, METHOD_BYTES_MAX, REQUEST_FIELDS_MAX, REQUEST_HEAD_BYTES_MAX,
    RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX, TARGET_BYTES_MAX,
};

/// The method of a request. Methods are case-sensitive: `get` is an [`Method::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method<'b> {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `CONNECT`; never from [`parse_request`], which refuses it, but what an upstream proxy is asked.
    Connect,
    /// Any other token.
    Other(&'b str),
}

impl<'b> Method<'b> {
    /// Recognises a method token.
    #[inline]
    #[must_use]
    pub fn of(token: &'b str) -> Self {
        match token {
            "POST" => Self::Post,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "CONNECT" => Self::Connect,
            other => Self::Other(other),
        }
    }

    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &'b str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Other(token) => token,
        }
    }
}

/// Protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the body behind a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// No body, and no field that says so.
    None,
    /// This many bytes, possibly none, as `Content-Length` says.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'h, 'b> {
    /// What is to be done.
    pub method: Method<'b>,
    /// Path of the target, still percent-encoded: starts with `/`, or is `*` (with `OPTIONS` only).
    pub path: &'b str,
    /// What follows the first `?`, still percent-encoded.
    pub query: Option<&'b str>,
    /// Authority of the target, else the value of `Host`: a host with an optional port, not lower-cased. Empty
    /// only in an HTTP/1.0 request without `Host`.
    pub host: &'b str,
    /// Version of the client's message.
    pub version: Version,
    /// All fields.
    pub fields: Fields<'h, 'b>,
    /// Bytes from the start of the buffer to the first byte of the body, skipped empty lines included.
    pub head_bytes: usize,
    /// How the body is delimited; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// What `Connection` said.
    pub connection: Connection,
    /// Whether the client wants the connection kept after this exchange. HTTP/1.0 has to ask for it, and is
    /// heard: towards the client a gateway is an origin server, not a proxy (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body. Never without a body, and never in
    /// HTTP/1.0 (RFC 9110 §10.1.1).
    pub expect_continue: bool,
}

/// The head of a response, interim ones included.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'h, 'b> {
    /// Version of the provider's message.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; empty where there is none or where it holds obs-text.
    pub reason: &'b str,
    /// All fields.
    pub fields: Fields<'h, 'b>,
    /// Bytes of the head.
    pub head_bytes: usize,
    /// How the body is delimited, with regard to the method of the request.
    pub framing: Framing,
    /// What `Connection` said.
    pub connection: Connection,
    /// Whether the connection can carry another request once the body has been read to its end.
    pub keep_alive: bool,
}

impl ResponseHead<'_, '_> {
    /// Whether this is 100 to 199 without 101: to be skipped, the final response follows it.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Reads the request head at the start of `buf`; `Ok(None)` means that more bytes are needed.
///
/// While that is so, [`HeadProgress`] spares the next attempts.
///
/// # Errors
/// Anything that is wrong or ambiguous, with the status to answer; the connection must then be closed.
#[inline]
pub fn parse_request<'h, 'b>(
    buf: &'b [u8],
    slots: &'h mut RequestSlots<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, HeadError> {
    let seen = &buf[..buf.len().min(REQUEST_HEAD_BYTES_MAX)];
    let Some(skipped) = leading_empty_lines(seen)? else { return Ok(None) };
    let text = &seen[skipped..];

    let mut raw = httparse::Request::new(&mut []);
    let text_bytes = match raw.parse_with_uninit_headers(text, &mut slots.raw) {
        Ok(httparse::Status::Complete(text_bytes)) => text_bytes,
        Ok(httparse::Status::Partial) => return unfinished_request(seen.len(), text, &raw),
        Err(fault) => return Err(name_request_fault(text, fault)),
    };
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(HeadError::Method);
    };
    check_start_line(method, target.len())?;
    check_line_ends(&text[..text_bytes], raw.headers.len())?;

    let (method, version) = (Method::of(method), version_of(minor));
    let raw_fields: &'h [httparse::Header<'b>] = raw.headers;
    let facts = Facts::gather(raw_fields, &mut slots.known, Writer::Client)?;
    let target = Target::parse(method, target)?;
    let host = host_of(version, &facts, &target)?;
    let framing = request_framing(version, &facts)?;
    let expect_continue = match facts.expectation {
        Expectation::None => false,
        Expectation::Continue => {
            version == Version::Http11 && !matches!(framing, Framing::None | Framing::Length(0))
        }
        Expectation::Unknown => return Err(HeadError::Expectation),
    };
    Ok(Some(RequestHead {
        method,
        path: target.path,
        query: target.query,
        host,
        version,
        fields: Fields::new(&text[..text_bytes], raw_fields, &slots.known, facts.hop_by_hop),
        head_bytes: skipped + text_bytes,
        framing,
        connection: facts.connection,
        keep_alive: persists(version, facts.connection),
        expect_continue,
    }))
}

/// Reads the response head at the start of `buf`, the answer to a request with `method`; `Ok(None)` means that
/// more bytes are needed.
///
/// An interim response ([`ResponseHead::is_interim`]) has no body: skip its bytes and parse again.
///
/// # Errors
/// Anything that leaves the end of the message open, and whatever is no HTTP/1 response. Reason phrases, unknown
/// status codes and obs-text are no errors.
#[inline]
pub fn parse_response<'h, 'b>(
    buf: &'b [u8],
    slots: &'h mut ResponseSlots<'b>,
    method: Method<'_>,
) -> Result<Option<ResponseHead<'h, 'b>>, HeadError> {
    let text = &buf[..buf.len().min(RESPONSE_HEAD_BYTES_MAX)];
    match text.first() {
        None => return Ok(None),
        Some(b'H') => {}
        // httparse would skip empty lines here; RFC 9112 §2.2 lets a server do so, not a client.
        Some(_) => return Err(HeadError::Version),
    }
    let mut raw = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let head_bytes = match config.parse_response_with_uninit_headers(&mut raw, text, &mut slots.raw) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if text.len() < RESPONSE_HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(HeadError::HeadTooLong),
        Err(fault) => return Err(name_response_fault(text, fault)),
    };
    let (Some(minor), Some(status)) = (raw.version, raw.code) else {
        return Err(HeadError::StatusLine);
    };
    check_line_ends(&text[..head_bytes], raw.headers.len())?;
    if !(100..=599).contains(&status) {
        return Err(HeadError::StatusCode);
    }
    let version = version_of(minor);
    let raw_fields: &'h [httparse::Header<'b>] = raw.headers;
    let facts = Facts::gather(raw_fields, &mut slots.known, Writer::Provider)?;
    let (framing, reusable) = response_framing(version, status, method, &facts)?;
    Ok(Some(ResponseHead {
        version,
        status,
        reason: raw.reason.unwrap_or(""),
        fields: Fields::new(&text[..head_bytes], raw_fields, &slots.known, facts.hop_by_hop),
        head_bytes,
        framing,
        connection: facts.connection,
        keep_alive: reusable && persists(version, facts.connection),
    }))
}

/// Bytes of the empty lines before a request line (RFC 9112 §2.2); `None` while nothing else has come.
#[inline]
fn leading_empty_lines(seen: &[u8]) -> Result<Option<usize>, HeadError> {
    let (mut lines, mut rest) = (0, seen);
    loop {
        match rest {
            [b'\r', b'\n', ..] if lines == LEADING_EMPTY_LINES_MAX => {
                return Err(HeadError::LeadingEmptyLines);
            }
            [b'\r', b'\n', after @ ..] => {
                lines += 1;
                rest = after;
            }
            [] | [b'\r'] => return Ok(None),
            [b'\r', ..] => return Err(HeadError::BareCr),
            [b'\n', ..] => return Err(HeadError::BareLf),
            [..] => return Ok(Some(2 * lines)),
        }
    }
}

/// A request head that does not end within `text`: more bytes, or already beyond a bound.
#[cold]
fn unfinished_request<T>(
    seen_bytes: usize,
    text: &[u8],
    raw: &httparse::Request<'_, '_>,
) -> Result<Option<T>, HeadError> {
    match (raw.method, raw.path) {
        (None, _) if text.len() > METHOD_BYTES_MAX => return Err(HeadError::MethodTooLong),
        (None, _) => {}
        // The target ends at a space that has not come: all behind the method and its space is target.
        (Some(method), None) => check_start_line(method, text.len().saturating_sub(method.len() + 1))?,
        (Some(method), Some(target)) => check_start_line(method, target.len())?,
    }
    if seen_bytes == REQUEST_HEAD_BYTES_MAX { Err(HeadError::HeadTooLong) } else { Ok(None) }
}

#[inline]
fn check_start_line(method: &str, target_bytes: usize) -> Result<(), HeadError> {
    if method.len() > METHOD_BYTES_MAX {
        return Err(HeadError::MethodTooLong);
    }
    if target_bytes > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    Ok(())
}

/// Refuses a head in which a line ends with LF alone, which httparse lets pass.
///
/// httparse has seen to it that each CR is followed by LF and that there is one LF per line: the start line, each
/// field, and the empty line at the end. So every LF has its CR exactly if there are as many CR as lines.
#[inline]
fn check_line_ends(head: &[u8], fields: usize) -> Result<(), HeadError> {
    // Bytes are added up in bytes, so that it is done in vectors: at most 255 at a time.
    let count_in =
        |part: &[u8]| part.iter().fold(0_u8, |sum, byte| sum.wrapping_add(u8::from(*byte == b'\r')));
    let count: usize = head.chunks(255).map(|part| usize::from(count_in(part))).sum();
    if count == fields + 2 { Ok(()) } else { Err(HeadError::BareLf) }
}

/// The first fault of a request head that httparse refused.
#[cold]
fn name_request_fault(text: &[u8], fault: httparse::Error) -> HeadError {
    match diagnose::request(text, REQUEST_FIELDS_MAX) {
        Err(fault) => fault,
        Ok(_) => generic_fault(fault),
    }
}

/// The first fault of a response head that httparse refused.
#[cold]
fn name_response_fault(text: &[u8], fault: httparse::Error) -> HeadError {
    match diagnose::response(text, RESPONSE_FIELDS_MAX) {
        Err(fault) => fault,
        Ok(_) => generic_fault(fault),
    }
}

/// For the case that httparse is stricter than the tokeniser in `diagnose.rs`; the fuzz targets look for one.
fn generic_fault(fault: httparse::Error) -> HeadError {
    debug_assert!(false, "httparse refused for {fault:?} what the reference accepts");
    match fault {
        httparse::Error::HeaderName => HeadError::FieldName { byte: 0 },
        httparse::Error::HeaderValue => HeadError::FieldValue { byte: 0 },
        httparse::Error::NewLine => HeadError::BareCr,
        httparse::Error::Status => HeadError::StatusLine,
        httparse::Error::Token => HeadError::Target,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::Version,
    }
}

#[inline]
fn version_of(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

/// RFC 9112 §9.3.
#[inline]
fn persists(version: Version, connection: Connection) -> bool {
    !connection.close && (version == Version::Http11 || connection.keep_alive)
}

/// The authority that the request is for (RFC 9112 §3.2 and §3.3).
#[inline]
fn host_of<'b>(version: Version, facts: &Facts<'b>, target: &Target<'b>) -> Result<&'b str, HeadError> {
    if facts.host_repeated {
        return Err(HeadError::HostRepeated);
    }
    let host = facts.host.map(Authority::parse).transpose()?;
    match (&target.authority, host) {
        (None, Some(host)) => Ok(host.text),
        (Some(authority), Some(host)) if authority.agrees_with(&host) => Ok(authority.text),
        (Some(_), Some(_)) => Err(HeadError::HostMismatch),
        (_, None) if version == Version::Http11 => Err(HeadError::HostMissing),
        (Some(authority), None) => Ok(authority.text),
        (None, None) => Ok(""),
    }
}

/// RFC 9112 §6.3 for requests. Both fields at once never get here.
#[inline]
fn request_framing(version: Version, facts: &Facts<'_>) -> Result<Framing, HeadError> {
    match (facts.chunked, facts.content_length) {
        (true, _) if version == Version::Http10 => Err(HeadError::TransferEncodingHttp10),
        (true, _) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::None),
    }
}

/// RFC 9112 §6.3 for responses, and whether the connection may be used again.
///
/// A response that has no body by its status but announces one (204 with a length) is read as the RFC says,
/// without body. The provider may nevertheless send it, so the connection is given up: its bytes would be taken
/// for the head of the next response.
fn response_framing(
    version: Version,
    status: u16,
    method: Method<'_>,
    facts: &Facts<'_>,
) -> Result<(Framing, bool), HeadError> {
    if facts.chunked && version == Version::Http10 {
        return Err(HeadError::TransferEncodingHttp10);
    }
    let announces_body = facts.chunked || facts.content_length.is_some_and(|length| length > 0);
    match status {
        100..=199 if announces_body => Err(HeadError::InterimBody),
        100..=199 => Ok((Framing::None, true)),
        204 => Ok((Framing::None, !announces_body)),
        // Here the two fields describe what a GET would have got (RFC 9110 §8.6).
        304 => Ok((Framing::None, true)),
        _ if method == Method::Head => Ok((Framing::None, true)),
        // From here on a tunnel: no body and no next response.
        200..=299 if method == Method::Connect => Ok((Framing::None, false)),
        _ if facts.chunked => Ok((Framing::Chunked, true)),
        _ => match facts.content_length {
            Some(length) => Ok((Framing::Length(length), true)),
            None => Ok((Framing::UntilClose, false)),
        },
    }
}

/// How much of an unfinished head has been looked at, so that a head that comes in drops is not parsed again for
/// each of them: the work stays linear in the bytes received.
///
/// One per head; start the next head with a new one.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadProgress {
    /// Bytes in which no end of a head was found.
    searched: usize,
    /// Bytes at the last attempt to parse.
    parsed: usize,
}

impl HeadProgress {
    /// Whether an attempt to parse `buf` can give anything but "more bytes". `buf` is the head so far; it only
    /// grows from call to call.
    ///
    /// Yes at the first look, when an empty line has come since, when the buffer has doubled (so that a fault
    /// does not wait for the end), and at the bound.
    #[inline]
    pub fn worth_parsing(&mut self, buf: &[u8]) -> bool {
        if self.parsed == 0 {
            (self.searched, self.parsed) = (buf.len(), buf.len());
            return true;
        }
        self.may_have_ended(buf)
    }

    #[cold]
    fn may_have_ended(&mut self, buf: &[u8]) -> bool {
        let from = self.searched.min(buf.len());
        let has_end = memchr::memchr_iter(b'\n', &buf[from..])
            .any(|at| matches!(&buf[..from + at], [.., b'\n'] | [.., b'\n', b'\r']));
        self.searched = buf.len();
        let bound = REQUEST_HEAD_BYTES_MAX.min(RESPONSE_HEAD_BYTES_MAX);
        let worth = has_end || buf.len() >= bound || buf.len() >= self.parsed.saturating_mul(2);
        if worth {
            self.parsed = buf.len();
        }
        worth
    }
}
