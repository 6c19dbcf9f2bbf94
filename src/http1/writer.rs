//! Heads and chunk framing, appended to a buffer.
//!
//! Owns the spelling of what the gateway sends: start lines, fields, lengths, dates, chunk lines. It decides
//! nothing: which fields, which framing and what time it is come from the caller. It only appends, so a reused
//! buffer costs no allocation, and it never lets a value end its line.
//!
//! Source: RFC 9112 §3, §4, §5 and §7.1; RFC 9110 §5.6.7 (dates) and §15 (reason phrases).

use super::octets::{VALUE, is, is_token};
use super::{Field, Fields};

/// The end of a chunk, behind its payload; also the end of a line and of a head.
pub const CRLF: &[u8] = b"\r\n";
/// The end of a chunked body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The whole interim response that invites a body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes of a date as [`imf_fixdate`] writes it.
pub const DATE_BYTES: usize = 29;

/// Appends `METHOD target HTTP/1.1`.
///
/// Returns whether it did: nothing is written if `method` is no token, or if `target` is empty or holds anything
/// but visible ASCII.
#[must_use]
pub fn request_line(out: &mut Vec<u8>, method: &str, target: &str) -> bool {
    if !is_token(method.as_bytes())
        || target.is_empty()
        || !target.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return false;
    }
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    true
}

macro_rules! status_lines {
    ($($status:literal $reason:literal,)+) => {
        /// The registered reason phrase of a status; empty for the others.
        #[must_use]
        pub fn reason(status: u16) -> &'static str {
            match status {
                $($status => $reason,)+
                _ => "",
            }
        }

        /// The whole status line of a registered status.
        fn whole_status_line(status: u16) -> Option<&'static str> {
            match status {
                $($status => Some(concat!("HTTP/1.1 ", $status, " ", $reason, "\r\n")),)+
                _ => None,
            }
        }
    };
}

status_lines! {
    100 "Continue",
    101 "Switching Protocols",
    102 "Processing",
    103 "Early Hints",
    200 "OK",
    201 "Created",
    202 "Accepted",
    203 "Non-Authoritative Information",
    204 "No Content",
    205 "Reset Content",
    206 "Partial Content",
    207 "Multi-Status",
    208 "Already Reported",
    226 "IM Used",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Found",
    303 "See Other",
    304 "Not Modified",
    305 "Use Proxy",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Content Too Large",
    414 "URI Too Long",
    415 "Unsupported Media Type",
    416 "Range Not Satisfiable",
    417 "Expectation Failed",
    421 "Misdirected Request",
    422 "Unprocessable Content",
    423 "Locked",
    424 "Failed Dependency",
    425 "Too Early",
    426 "Upgrade Required",
    428 "Precondition Required",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    451 "Unavailable For Legal Reasons",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
    506 "Variant Also Negotiates",
    507 "Insufficient Storage",
    508 "Loop Detected",
    511 "Network Authentication Required",
}

/// Appends the status line, always HTTP/1.1: the version is the sender's (RFC 9110 §2.5). `status` is 100 to 999.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    debug_assert!((100..=999).contains(&status));
    match whole_status_line(status) {
        Some(line) => out.extend_from_slice(line.as_bytes()),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
            out.extend_from_slice(b" \r\n");
        }
    }
}

/// Appends one field.
///
/// Returns whether it did: nothing is written if `name` is no token, or if `value` holds CR, LF, NUL or another
/// control but HTAB. So no value, wherever it came from, begins a line of its own.
#[must_use]
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    // Both folds have no early exit: values are short, and that way they are vectors.
    let clean = value.iter().fold(true, |clean, byte| clean & is(*byte, VALUE));
    if !clean || !is_token(name.as_bytes()) {
        return false;
    }
    field_unchecked(out, name, value);
    true
}

/// Appends a field whose value is ours and known to be clean; one that is not is left out, which tests notice.
pub fn own_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let clean = field(out, name, value);
    debug_assert!(clean, "the gateway's own value of {name} cannot stand in a field");
}

/// Appends a field of a parsed head; that it is clean, the parser has seen.
pub fn parsed_field(out: &mut Vec<u8>, field: Field<'_>) {
    field_unchecked(out, field.name(), field.value());
}

fn field_unchecked(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// Appends the end-to-end fields that `keep` wants, lines as they came.
#[inline]
pub fn parsed_fields<'b>(out: &mut Vec<u8>, fields: &Fields<'_, 'b>, keep: impl FnMut(Field<'b>) -> bool) {
    fields.for_each_run(keep, |lines| out.extend_from_slice(lines));
}

/// Appends a field whose value is a number.
///
/// `name` is one of ours, a token.
pub fn number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    debug_assert!(is_token(name.as_bytes()));
    field_unchecked(out, name, itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `content-length`.
pub fn content_length(out: &mut Vec<u8>, bytes: u64) {
    number_field(out, "content-length", bytes);
}

/// Appends `transfer-encoding: chunked`.
pub fn transfer_encoding_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// Appends `connection: close`.
pub fn connection_close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"connection: close\r\n");
}

/// Appends `connection: keep-alive`, which an HTTP/1.0 client waits for.
pub fn connection_keep_alive(out: &mut Vec<u8>) {
    out.extend_from_slice(b"connection: keep-alive\r\n");
}

/// Appends `date` from a date that [`imf_fixdate`] wrote, once a second.
pub fn date(out: &mut Vec<u8>, date: &[u8; DATE_BYTES]) {
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(CRLF);
}

/// Appends the empty line that ends a head.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(CRLF);
}

/// Appends the line that opens a chunk of `bytes` payload; they and [`CRLF`] follow.
///
/// `bytes` is not zero: that would be the last chunk, [`LAST_CHUNK`].
pub fn chunk_header(out: &mut Vec<u8>, bytes: u64) {
    out.extend_from_slice(ChunkHeader::new(bytes).as_bytes());
}

/// The line that opens a chunk, on the stack: for writes from several buffers.
#[derive(Debug, Clone, Copy)]
pub struct ChunkHeader {
    /// Filled from the end.
    text: [u8; Self::BYTES_MAX],
    start: usize,
}

impl ChunkHeader {
    /// Sixteen digits and CRLF.
    pub const BYTES_MAX: usize = 18;

    /// The line of a chunk of `bytes` payload, not zero, in as few digits as it takes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        debug_assert_ne!(bytes, 0, "a chunk of no bytes would end the body");
        let (mut text, mut start, mut rest) = ([0; Self::BYTES_MAX], Self::BYTES_MAX - 2, bytes);
        text[start..].copy_from_slice(CRLF);
        loop {
            // 64 bits are at most 16 digits, so `start` does not fall below zero.
            start -= 1;
            text[start] = b"0123456789abcdef"[(rest & 0xf) as usize];
            rest >>= 4;
            if rest == 0 {
                return Self { text, start };
            }
        }
    }

    /// The line with its CRLF.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: the only form of date that may be sent (RFC 9110 §5.6.7).
///
/// `unix_seconds` counts from 1970; a time behind the year 9999 is shown as its last second.
#[must_use]
pub fn imf_fixdate(unix_seconds: u64) -> [u8; DATE_BYTES] {
    const LAST_SECOND: u64 = 253_402_300_799;
    const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let seconds = unix_seconds.min(LAST_SECOND);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);

    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second_of_day / 3_600);
    two_digits(&mut text[20..22], second_of_day / 60 % 60);
    two_digits(&mut text[23..25], second_of_day % 60);
    text
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day last, so every month but the last has a fixed place in the
    // year: 153 days to five months. 719,468 days lie between March of the year 0 and 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Writes `number`, below 100, to the two bytes of `place`.
fn two_digits(place: &mut [u8], number: u64) {
    place[0] = b'0' + (number / 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_lines_are_spelled_as_the_rfc_wants() {
        let mut out = Vec::new();
        assert!(request_line(&mut out, "POST", "/v1/chat/completions?a=b"));
        status_line(&mut out, 200);
        status_line(&mut out, 431);
        status_line(&mut out, 299);
        assert_eq!(
            out,
            b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHTTP/1.1 200 OK\r\n\
              HTTP/1.1 431 Request Header Fields Too Large\r\nHTTP/1.1 299 \r\n"
        );
        assert_eq!(reason(404), "Not Found");
        assert_eq!(reason(299), "");
    }

    #[test]
    fn a_request_line_cannot_be_split() {
        for (method, target) in
            [("GET ", "/"), ("", "/"), ("GET", ""), ("GET", "/ x"), ("GET", "/\r\nx: y"), ("GET", "/\u{fc}")]
        {
            let mut out = Vec::new();
            assert!(!request_line(&mut out, method, target), "{method:?} {target:?}");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_field_cannot_end_its_line() {
        let mut out = Vec::new();
        assert!(field(&mut out, "x-model", "a\tb \u{fc}".as_bytes()));
        assert!(field(&mut out, "x-empty", b""));
        let before = out.clone();
        for (name, value) in [
            ("x", b"a\r\nset-cookie: b".as_slice()),
            ("x", b"a\n"),
            ("x", b"a\r"),
            ("x", b"a\0"),
            ("x", b"\x7f"),
            ("x\r\n", b"a"),
            ("x y", b"a"),
            ("", b"a"),
        ] {
            assert!(!field(&mut out, name, value), "{name:?}: {value:?}");
        }
        assert_eq!(out, before);
        assert_eq!(out, "x-model: a\tb \u{fc}\r\nx-empty: \r\n".as_bytes());
    }

    #[test]
    fn fixed_fields_are_spelled_out() {
        let mut out = Vec::new();
        content_length(&mut out, u64::MAX);
        transfer_encoding_chunked(&mut out);
        connection_close(&mut out);
        connection_keep_alive(&mut out);
        date(&mut out, &imf_fixdate(0));
        end(&mut out);
        assert_eq!(
            out,
            b"content-length: 18446744073709551615\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\
              connection: keep-alive\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
        );
    }

    #[test]
    fn chunk_headers_are_hexadecimal_without_padding() {
        for (bytes, line) in [
            (1, "1\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (0x1f40, "1f40\r\n"),
            (u64::MAX, "ffffffffffffffff\r\n"),
        ] {
            let mut out = Vec::new();
            chunk_header(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)).unwrap(), text);
        }
    }

    #[test]
    fn dates_agree_with_the_calendar_crate_on_every_day_of_two_centuries() {
        for day in 0..73_000 {
            let seconds = day * 86_400 + day % 86_400;
            let zoned = jiff::Timestamp::from_second(seconds).unwrap();
            let expected = zoned.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds as u64)).unwrap(), expected);
        }
    }
}
