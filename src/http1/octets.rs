//! Which octets may stand where: one table, one bit per grammar rule.
//!
//! Source: RFC 9110 §5.5 and §5.6, RFC 3986 §3 and appendix A.

/// `tchar`: field names, methods, options, extension names.
pub(super) const TOKEN: u8 = 1;
/// `field-vchar`, SP, HTAB and obs-text: what a field value holds.
pub(super) const VALUE: u8 = 1 << 1;
/// `reg-name` without the percent sign's triple being checked.
pub(super) const HOST: u8 = 1 << 2;
/// Path of a target: `pchar` and `/`, and `[ ] | ^`, which browsers' URL serialisers leave bare.
pub(super) const PATH: u8 = 1 << 3;
/// Query of a target: the same, `?`, and ``\ { } ` ``, for the same reason. SDKs send `include[]=…` like that.
pub(super) const QUERY: u8 = 1 << 4;
/// `qdtext`: what stands in a quoted string unescaped.
pub(super) const QUOTED: u8 = 1 << 5;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        classes[octet] = classify(octet as u8);
        octet += 1;
    }
    classes
};

const fn classify(octet: u8) -> u8 {
    let mut class = 0;
    let alphanumeric = octet.is_ascii_alphanumeric();
    let unreserved = alphanumeric || matches!(octet, b'-' | b'.' | b'_' | b'~');
    let sub_delim =
        matches!(octet, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
    if alphanumeric
        || matches!(octet, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(octet, b'^' | b'_' | b'`' | b'|' | b'~')
    {
        class |= TOKEN;
    }
    if matches!(octet, b'\t' | b' '..=b'~' | 0x80..) {
        class |= VALUE;
        if !matches!(octet, b'"' | b'\\') {
            class |= QUOTED;
        }
    }
    if unreserved || sub_delim || octet == b'%' {
        class |= HOST;
    }
    if unreserved || sub_delim || matches!(octet, b'%' | b':' | b'@' | b'/' | b'[' | b']' | b'|' | b'^') {
        class |= PATH | QUERY;
    }
    if matches!(octet, b'?' | b'\\' | b'{' | b'}' | b'`') {
        class |= QUERY;
    }
    class
}

/// Whether `octet` may stand where `class` says.
#[inline]
pub(super) fn is(octet: u8, class: u8) -> bool {
    CLASSES[usize::from(octet)] & class != 0
}

/// Whether `bytes` is one or more octets of a token.
#[inline]
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|octet| is(*octet, TOKEN))
}

/// Whether each `%` in `bytes` opens a triple with two hex digits (RFC 3986 §2.1).
pub(super) fn percent_triples_are_whole(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes)
        .all(|at| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// `bytes` without the SP and HTAB around it.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
