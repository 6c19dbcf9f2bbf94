//! Why a head was refused.
//!
//! Owns the list of reasons, the status each one has, and a fixed sentence for the client that says what was
//! wrong and what was expected. Whether it is sent is decided elsewhere; the sentence never repeats bytes of
//! the peer.
//!
//! Source: RFC 9110 §15.5 and §15.6, RFC 9112 §2 to §7.

use std::fmt;

use crate::limits::{KIB, REQUEST_HEAD_BYTES_MAX, TARGET_BYTES_MAX};

// The sentences below name these bounds.
const _: () = assert!(REQUEST_HEAD_BYTES_MAX == 64 * KIB && TARGET_BYTES_MAX == 16 * KIB);

/// Why a request or response head was refused. After any of these the connection must be closed: where the
/// next message begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadError {
    // --- Bounds
    /// No end of the head within the bound.
    HeadTooLong,
    /// The request target is longer than the bound.
    TargetTooLong,
    /// More fields than the bound.
    TooManyFields,
    /// More `Connection` options than the bound.
    TooManyConnectionOptions,
    // --- Start line
    /// More empty lines before the request line than are skipped.
    LeadingEmptyLines,
    /// The method is not a token, or what follows it is not one space.
    Method,
    /// The method is longer than any that exists.
    MethodTooLong,
    /// `CONNECT`: this is no tunnel.
    MethodConnect,
    /// The request target is of no form that RFC 9112 §3.2 knows, or holds a byte that no target may.
    Target,
    /// `*` with a method other than `OPTIONS`.
    TargetAsterisk,
    /// An absolute target whose scheme is neither `http` nor `https`.
    TargetScheme,
    /// No version, or one other than HTTP/1.0 and HTTP/1.1; the HTTP/2 preface ends here too.
    Version,
    /// The request line goes on behind the version.
    StartLineEnd,
    /// The status line of a response is malformed.
    StatusLine,
    /// The status code of a response is outside 100 to 599.
    StatusCode,
    // --- Lines
    /// LF without CR before it.
    BareLf,
    /// CR without LF behind it.
    BareCr,
    /// A line that continues a field, obsolete since RFC 7230.
    ObsFold,
    /// Nothing before the colon.
    FieldNameEmpty,
    /// A field name holds a byte that no token may.
    FieldName {
        /// The byte.
        byte: u8,
    },
    /// White space within a field name or between it and the colon.
    SpaceBeforeColon,
    /// A field line without colon.
    ColonMissing,
    /// A field value holds a control character.
    FieldValue {
        /// The byte.
        byte: u8,
    },
    // --- Framing
    /// `Content-Length` is not one decimal number below 2⁶⁴.
    ContentLength,
    /// More than one `Content-Length`, even if they agree.
    ContentLengthRepeated,
    /// Both `Content-Length` and `Transfer-Encoding`.
    ContentLengthAndTransferEncoding,
    /// `Transfer-Encoding` is malformed, repeated, or `chunked` stands elsewhere than once at the end.
    TransferEncoding,
    /// A well-formed `Transfer-Encoding` with a coding other than `chunked`.
    TransferEncodingUnsupported,
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    TransferEncodingHttp10,
    /// An interim (1xx) response with a body, which cannot have one.
    InterimBody,
    /// A `Connection` option is not a token.
    ConnectionOption,
    /// `Connection` nominates a field that frames or addresses the message.
    ConnectionNominates,
    // --- Host and expectation
    /// An HTTP/1.1 request without `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// `Host`, or the authority of an absolute target, is not a host with an optional port.
    Host,
    /// `Host` and the authority of an absolute target differ.
    HostMismatch,
    /// An expectation other than `100-continue`.
    Expectation,
}

impl HeadError {
    /// The status of the answer to a *request* with this fault. From a provider's response every one is a 502.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::LeadingEmptyLines
            | Self::Method
            | Self::Target
            | Self::TargetAsterisk
            | Self::TargetScheme
            | Self::StartLineEnd
            | Self::BareLf
            | Self::BareCr
            | Self::ObsFold
            | Self::FieldNameEmpty
            | Self::FieldName { .. }
            | Self::SpaceBeforeColon
            | Self::ColonMissing
            | Self::FieldValue { .. }
            | Self::ContentLength
            | Self::ContentLengthRepeated
            | Self::ContentLengthAndTransferEncoding
            | Self::TransferEncoding
            | Self::TransferEncodingHttp10
            | Self::ConnectionOption
            | Self::ConnectionNominates
            | Self::HostMissing
            | Self::HostRepeated
            | Self::Host
            | Self::HostMismatch => 400,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLong | Self::TooManyFields | Self::TooManyConnectionOptions => 431,
            Self::MethodTooLong | Self::MethodConnect | Self::TransferEncodingUnsupported => 501,
            Self::StatusLine | Self::StatusCode | Self::InterimBody => 502,
            Self::Version => 505,
        }
    }

    /// A fixed sentence for the client: what was wrong, what is expected.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::HeadTooLong => "the head is too long: start line and fields may have 64 KiB together",
            Self::TargetTooLong => "the request target is too long: it may have 16 KiB",
            Self::TooManyFields => "too many header fields",
            Self::TooManyConnectionOptions => "too many options in Connection",
            Self::LeadingEmptyLines => "too many empty lines before the request line",
            Self::Method => "malformed request line: expected a method token followed by one space",
            Self::MethodTooLong => "unknown method: no method is this long",
            Self::MethodConnect => "CONNECT is not supported: this is not a tunnel",
            Self::Target => {
                "malformed request target: expected a path such as /v1/models, percent-encoded, without fragment"
            }
            Self::TargetAsterisk => "the request target * belongs to OPTIONS only",
            Self::TargetScheme => "the scheme of the request target must be http or https",
            Self::Version => "unsupported protocol version: expected HTTP/1.1 or HTTP/1.0",
            Self::StartLineEnd => "malformed request line: expected CRLF right behind the version",
            Self::StatusLine => {
                "malformed status line: expected HTTP/1.1, a status of three digits, a reason"
            }
            Self::StatusCode => "invalid status code: expected 100 to 599",
            Self::BareLf => "a line of the head ends with LF alone: expected CRLF",
            Self::BareCr => "a CR in the head has no LF behind it: expected CRLF",
            Self::ObsFold => "a header field is folded over two lines: expected one line per field",
            Self::FieldNameEmpty => "a header field has no name",
            Self::FieldName { .. } => "a header field name holds a character that is not allowed there",
            Self::SpaceBeforeColon => "white space in a header field name or before its colon",
            Self::ColonMissing => "a header line has no colon",
            Self::FieldValue { .. } => "a header field value holds a control character",
            Self::ContentLength => "invalid Content-Length: expected one decimal number",
            Self::ContentLengthRepeated => "more than one Content-Length: expected one",
            Self::ContentLengthAndTransferEncoding => {
                "both Content-Length and Transfer-Encoding: expected one of them"
            }
            Self::TransferEncoding => "invalid Transfer-Encoding: expected chunked, once",
            Self::TransferEncodingUnsupported => "unsupported Transfer-Encoding: expected chunked alone",
            Self::TransferEncodingHttp10 => {
                "Transfer-Encoding is not allowed in HTTP/1.0: use Content-Length"
            }
            Self::InterimBody => "an interim response announces a body: it cannot have one",
            Self::ConnectionOption => "malformed Connection: expected a list of tokens",
            Self::ConnectionNominates => "Connection names a field that is not hop-by-hop: remove it",
            Self::HostMissing => "no Host field: HTTP/1.1 requires one",
            Self::HostRepeated => "more than one Host field: expected one",
            Self::Host => "invalid Host: expected a host name or address with an optional port",
            Self::HostMismatch => "Host differs from the authority of the request target: expected the same",
            Self::Expectation => "unknown expectation: only 100-continue is supported",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::FieldName { byte } | Self::FieldValue { byte } => write!(f, " (byte 0x{byte:02x})"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for HeadError {}
