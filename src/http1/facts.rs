//! One pass over the fields of a head: what frames the message, what `Connection` says, which fields stop here.
//!
//! Owns the values of `Content-Length`, `Transfer-Encoding`, `Connection` and `Expect`, for both sides. It does
//! not decide the framing: that needs the start line, and `head.rs` has it.
//!
//! Source: RFC 9110 §7.6.1, §8.6, §10.1.1; RFC 9112 §6 and §9.

use super::octets::{is_token, trim};
use super::{HeadError, KnownField};
use crate::limits::CONNECTION_OPTIONS_MAX;

/// Which side wrote the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// A client: nothing malformed is forgiven.
    Client,
    /// A provider: a malformed `Connection` counts as `close`.
    Provider,
}

/// The options of all `Connection` fields that mean something to the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connection {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`: the `Upgrade` field of this head is meant.
    pub upgrade: bool,
}

/// What the head asks for in `Expect`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Expectation {
    #[default]
    None,
    Continue,
    Unknown,
}

/// What one pass over the fields found.
#[derive(Debug, Default)]
pub(super) struct Facts<'b> {
    pub(super) host: Option<&'b [u8]>,
    pub(super) host_repeated: bool,
    pub(super) content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`; any other coding is an error of the pass.
    pub(super) chunked: bool,
    pub(super) connection: Connection,
    pub(super) expectation: Expectation,
    /// Bit *i* is set when field *i* must not be forwarded.
    pub(super) hop_by_hop: u128,
    connection_options: usize,
    /// `Connection` holds an option that may be the name of a field.
    nominates: bool,
}

impl<'b> Facts<'b> {
    /// Reads `raw` and writes the class of each field to the same place of `known`, which is as long or longer.
    ///
    /// # Errors
    /// Any fault of framing or `Connection` that needs no start line to be seen.
    #[inline]
    pub(super) fn gather(
        raw: &[httparse::Header<'b>],
        known: &mut [KnownField],
        writer: Writer,
    ) -> Result<Self, HeadError> {
        let mut facts = Self::default();
        for (index, (field, slot)) in raw.iter().zip(known).enumerate() {
            let kind = KnownField::of(field.name.as_bytes());
            *slot = kind;
            match kind {
                KnownField::Other => continue,
                KnownField::Host => facts.host_repeated |= facts.host.replace(field.value).is_some(),
                KnownField::ContentLength => facts.read_content_length(field.value)?,
                KnownField::TransferEncoding => facts.read_transfer_encoding(field.value)?,
                KnownField::Connection => facts.read_connection(field.value, writer)?,
                KnownField::Expect => facts.read_expect(field.value),
                _ => {}
            }
            if kind.is_hop_by_hop() {
                facts.hop_by_hop |= 1 << index;
            }
        }
        if facts.chunked && facts.content_length.is_some() {
            return Err(HeadError::ContentLengthAndTransferEncoding);
        }
        if facts.nominates {
            facts.mark_nominated(raw)?;
        }
        Ok(facts)
    }

    /// `1*DIGIT` and nothing else: no sign, no list, no white space within (RFC 9110 §8.6).
    fn read_content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if value.is_empty() {
            return Err(HeadError::ContentLength);
        }
        let mut length: u64 = 0;
        for byte in value {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(HeadError::ContentLength);
            }
            length = length
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(u64::from(digit)))
                .ok_or(HeadError::ContentLength)?;
        }
        match self.content_length.replace(length) {
            None => Ok(()),
            Some(_) => Err(HeadError::ContentLengthRepeated),
        }
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.chunked {
            return Err(HeadError::TransferEncoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(fault_of_transfer_encoding(value));
        }
        self.chunked = true;
        Ok(())
    }

    fn read_connection(&mut self, value: &[u8], writer: Writer) -> Result<(), HeadError> {
        for option in value.split(|byte| *byte == b',').map(trim).filter(|option| !option.is_empty()) {
            self.connection_options += 1;
            if self.connection_options > CONNECTION_OPTIONS_MAX {
                return Err(HeadError::TooManyConnectionOptions);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.connection.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.connection.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection.upgrade = true;
            } else if is_token(option) {
                self.nominates = true;
            } else {
                match writer {
                    Writer::Client => return Err(HeadError::ConnectionOption),
                    Writer::Provider => self.connection.close = true,
                }
            }
        }
        Ok(())
    }

    fn read_expect(&mut self, value: &[u8]) {
        for expectation in value.split(|byte| *byte == b',').map(trim).filter(|one| !one.is_empty()) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expectation = Expectation::Unknown;
            } else if self.expectation == Expectation::None {
                self.expectation = Expectation::Continue;
            }
        }
    }

    /// Marks the fields that `Connection` nominates (RFC 9110 §7.6.1). Rare, so it walks the fields again: at
    /// most [`CONNECTION_OPTIONS_MAX`] times.
    #[cold]
    fn mark_nominated(&mut self, raw: &[httparse::Header<'b>]) -> Result<(), HeadError> {
        let connection =
            raw.iter().filter(|field| KnownField::of(field.name.as_bytes()) == KnownField::Connection);
        for option in connection.flat_map(|field| field.value.split(|byte| *byte == b',')).map(trim) {
            if !is_token(option) {
                continue;
            }
            // A hop that obeys would forward the body without its length, or the request without its host.
            if matches!(KnownField::of(option), KnownField::ContentLength | KnownField::Host) {
                return Err(HeadError::ConnectionNominates);
            }
            for (index, field) in raw.iter().enumerate() {
                if field.name.as_bytes().eq_ignore_ascii_case(option) {
                    self.hop_by_hop |= 1 << index;
                }
            }
        }
        Ok(())
    }
}

/// What is wrong with a `Transfer-Encoding` other than `chunked` alone.
///
/// Well-formed with `chunked` last or absent: a coding we do not have (RFC 9112 §6.1: 501). Anything else leaves
/// the end of the body open (RFC 9112 §6.3: 400).
#[cold]
fn fault_of_transfer_encoding(value: &[u8]) -> HeadError {
    let mut codings = value.split(|byte| *byte == b',').map(trim).peekable();
    while let Some(coding) = codings.next() {
        let (name, has_parameters) = match coding.iter().position(|byte| *byte == b';') {
            Some(at) => (trim(&coding[..at]), true),
            None => (coding, false),
        };
        let is_chunked = name.eq_ignore_ascii_case(b"chunked");
        if !is_token(name) || (is_chunked && (has_parameters || codings.peek().is_some())) {
            return HeadError::TransferEncoding;
        }
    }
    HeadError::TransferEncodingUnsupported
}
