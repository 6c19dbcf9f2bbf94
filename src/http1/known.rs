//! Field names the gateway acts on, told apart by one table look-up.
//!
//! Owns the list of names and nothing about their values. A name becomes a one-byte [`KnownField`] once, when
//! its head is parsed; everything later compares that byte instead of text.
//!
//! Source: RFC 9110 §7.6.1 (hop-by-hop fields); names of providers from their API references.

use std::fmt;

/// Defines the enum, the list of names in the same order, and nothing else.
macro_rules! known_fields {
    ($($variant:ident = $name:literal,)+) => {
        /// A field name the gateway acts on. The hop-by-hop ones come first.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum KnownField {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// Any other `proxy-*`.
            ProxyOther,
            /// Any `x-forwarded-*`.
            XForwarded,
            /// Any other `x-routerly-*`.
            XRouterlyOther,
            /// Any other `access-control-*`.
            AccessControlOther,
            /// Any other name.
            Other,
        }

        const NAMES: &[&str] = &[$($name,)+];
        const KINDS: &[KnownField] = &[$(KnownField::$variant,)+];
    };
}

known_fields! {
    // Hop-by-hop: between two neighbours only. `HTTP2-Settings` is always nominated by its sender.
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticationInfo = "proxy-authentication-info",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Http2Settings = "http2-settings",
    Upgrade = "upgrade",
    // Message and routing.
    Host = "host",
    ContentLength = "content-length",
    Expect = "expect",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentDisposition = "content-disposition",
    ContentRange = "content-range",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    UserAgent = "user-agent",
    Referer = "referer",
    Range = "range",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    // Who is asking.
    Authorization = "authorization",
    XApiKey = "x-api-key",
    ApiKey = "api-key",
    XGoogApiKey = "x-goog-api-key",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    WwwAuthenticate = "www-authenticate",
    // Dialects.
    AnthropicVersion = "anthropic-version",
    AnthropicBeta = "anthropic-beta",
    AnthropicBrowserAccess = "anthropic-dangerous-direct-browser-access",
    OpenaiOrganization = "openai-organization",
    OpenaiProject = "openai-project",
    OpenaiBeta = "openai-beta",
    IdempotencyKey = "idempotency-key",
    // Where it came from, and traces.
    Forwarded = "forwarded",
    Via = "via",
    XRealIp = "x-real-ip",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Baggage = "baggage",
    RequestId = "request-id",
    XRequestId = "x-request-id",
    // Ours.
    XRouterlyTrace = "x-routerly-trace",
    XRouterlyTraceId = "x-routerly-trace-id",
    XRouterlyConversationId = "x-routerly-conversation-id",
    XRouterlyStream = "x-routerly-stream",
    XRouterlyStrict = "x-routerly-strict",
    // CORS.
    Origin = "origin",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestPrivateNetwork = "access-control-request-private-network",
    // Responses.
    Date = "date",
    Server = "server",
    RetryAfter = "retry-after",
    Location = "location",
    CacheControl = "cache-control",
    Etag = "etag",
    Vary = "vary",
    Age = "age",
    AltSvc = "alt-svc",
    StrictTransportSecurity = "strict-transport-security",
    ServerTiming = "server-timing",
}

/// Marks a slot of [`SLOTS`] that no name falls into.
const EMPTY: u8 = u8::MAX;
const _: () = assert!(NAMES.len() < EMPTY as usize);

/// Perfect hash of [`NAMES`]: slot to index. A name that collides with an earlier one does not compile, and
/// then other multipliers in [`slot`] have to be found.
static SLOTS: [u8; 256] = {
    let mut slots = [EMPTY; 256];
    let mut index = 0;
    while index < NAMES.len() {
        let slot = slot(NAMES[index].as_bytes());
        assert!(slots[slot] == EMPTY, "two known names share a slot");
        slots[slot] = index as u8;
        index += 1;
    }
    slots
};

/// Slot of a name that is not empty: its length and its first, middle and last letter, case folded.
const fn slot(name: &[u8]) -> usize {
    let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
    let mixed =
        name.len() * 28 + ((first | 0x20) as usize + (last | 0x20) as usize) * 15 + (middle | 0x20) as usize;
    mixed & 0xff
}

impl KnownField {
    /// Classifies a field name, which must be a token (RFC 9110 §5.6.2); case does not matter.
    #[inline]
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let index = usize::from(SLOTS[slot(name)]);
        if let (Some(known), Some(kind)) = (NAMES.get(index), KINDS.get(index))
            && token_is(name, known.as_bytes())
        {
            return *kind;
        }
        Self::family_of(name)
    }

    /// The family of a name that is not known by itself.
    #[inline]
    fn family_of(name: &[u8]) -> Self {
        let starts = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|head| token_is(head, prefix));
        // SDKs send a dozen `x-stainless-*`: the third letter spares them the comparisons.
        match (name[0] | 0x20, name.get(2).map(|byte| byte | 0x20)) {
            (b'x', Some(b'f')) if starts(b"x-forwarded-") => Self::XForwarded,
            (b'x', Some(b'r')) if starts(b"x-routerly-") => Self::XRouterlyOther,
            (b'p', Some(b'o')) if starts(b"proxy-") => Self::ProxyOther,
            (b'a', Some(b'c')) if starts(b"access-control-") => Self::AccessControlOther,
            _ => Self::Other,
        }
    }

    /// Whether the field concerns this connection only and is never forwarded, whatever `Connection` says.
    #[inline]
    #[must_use]
    pub fn is_hop_by_hop(self) -> bool {
        self as u8 <= Self::Upgrade as u8 || self == Self::ProxyOther
    }

    /// Whether the field is one of the gateway's own, `x-routerly-*`; those are never forwarded to a provider.
    #[must_use]
    pub fn is_routerly(self) -> bool {
        matches!(
            self,
            Self::XRouterlyTrace
                | Self::XRouterlyTraceId
                | Self::XRouterlyConversationId
                | Self::XRouterlyStream
                | Self::XRouterlyStrict
                | Self::XRouterlyOther
        )
    }

    /// The name in lower case; `None` for the families and [`KnownField::Other`].
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(self as usize).copied()
    }
}

impl fmt::Debug for KnownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or(match self {
            Self::ProxyOther => "proxy-*",
            Self::XForwarded => "x-forwarded-*",
            Self::XRouterlyOther => "x-routerly-*",
            Self::AccessControlOther => "access-control-*",
            _ => "other",
        }))
    }
}

/// Whether a field of this name is hop-by-hop by its name alone (RFC 9110 §7.6.1).
///
/// `name` is a token. Fields nominated by `Connection` are known to [`Fields`](super::Fields) only.
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    KnownField::of(name).is_hop_by_hop()
}

/// Whether `token` equals `lower`, case aside. `lower` holds lower-case letters, digits and `-` only.
///
/// Setting bit 5 folds exactly the case of letters here: the other bytes that it maps onto a letter, a digit or
/// `-` are controls, which no token holds.
#[inline]
fn token_is(token: &[u8], lower: &[u8]) -> bool {
    const FOLD: u64 = 0x2020_2020_2020_2020;
    if token.len() != lower.len() {
        return false;
    }
    let same_word = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) | FOLD == u64::from_ne_bytes(*b);
    let (Some(end), Some(lower_end)) = (token.last_chunk(), lower.last_chunk()) else {
        return token.iter().zip(lower).all(|(a, b)| a | 0x20 == *b);
    };
    // The last word may overlap the one before it, so that no byte is left over.
    let (words, lower_words) = (token.as_chunks::<8>().0, lower.as_chunks::<8>().0);
    same_word(end, lower_end) && words.iter().zip(lower_words).all(|(a, b)| same_word(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (name, kind) in NAMES.iter().zip(KINDS) {
            assert_eq!(kind.name(), Some(*name));
            let mixed: String = name
                .char_indices()
                .map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c })
                .collect();
            for spelling in [name.to_string(), name.to_ascii_uppercase(), mixed] {
                assert_eq!(KnownField::of(spelling.as_bytes()), *kind, "{spelling}");
            }
        }
    }

    #[test]
    fn names_next_to_a_known_one_are_other() {
        for name in
            NAMES.iter().filter(|name| !name.contains("x-routerly") && !name.contains("access-control"))
        {
            let longer = format!("{name}x");
            let shorter = &name[..name.len() - 1];
            let swapped = format!("{}_{}", &name[..1], &name[2..]);
            for near in [longer.as_str(), shorter, swapped.as_str()] {
                let kind = KnownField::of(near.as_bytes());
                assert!(
                    kind == KnownField::Other || kind == KnownField::ProxyOther || NAMES.contains(&near),
                    "{near} became {kind:?}"
                );
            }
        }
        assert_eq!(KnownField::of(b""), KnownField::Other);
        assert_eq!(KnownField::of(b"x"), KnownField::Other);
    }

    #[test]
    fn families_catch_what_has_no_entry_of_its_own() {
        for (name, kind) in [
            ("X-Forwarded-For", KnownField::XForwarded),
            ("x-forwarded-proto", KnownField::XForwarded),
            ("x-routerly-anything", KnownField::XRouterlyOther),
            ("Proxy-Features", KnownField::ProxyOther),
            ("access-control-allow-origin", KnownField::AccessControlOther),
            ("x-forwarded", KnownField::Other),
            ("x-stainless-lang", KnownField::Other),
            ("proxy", KnownField::Other),
        ] {
            assert_eq!(KnownField::of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn hop_by_hop_is_what_rfc_9110_lists_and_nothing_end_to_end() {
        for name in [
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authenticate",
            "Proxy-Authorization",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "HTTP2-Settings",
            "proxy-whatever",
        ] {
            assert!(is_hop_by_hop(name.as_bytes()), "{name}");
        }
        for name in
            ["Host", "Content-Length", "Content-Type", "Via", "Date", "Authorization", "Cookie", "X-TE"]
        {
            assert!(!is_hop_by_hop(name.as_bytes()), "{name}");
        }
    }
}
