//! Media that a client names by a URL and a model takes only as bytes: fetched here, within bounds.
//!
//! A client chooses where the gateway goes, so that it goes nowhere but to the public internet: addresses are judged
//! after a name has been resolved, on every redirect anew, and the connection goes to the address that was judged.
//! `media.allowHosts` names hosts of one's own that may be read as well.

use std::rc::Rc;
use std::time::Instant;

use super::answer::{self, AnswerHead};
use super::attempt::AttemptError;
use super::exchange::{Asker, Sent, is_wait};
use super::ledger::Ledger;
use super::source::{Fault, Source, Span};
use crate::clock;
use crate::dialect::inline::{Fetched, Wanted};
use crate::http1::{KnownField, Method};
use crate::limits::{ANSWER_HEADROOM_BYTES, MEDIA_PER_REQUEST_MAX, MEDIA_REDIRECTS_MAX};
use crate::net::deadline::OnExpiry;
use crate::provider;
use crate::respond::GatewayError;
use crate::shard::HeldBytes;
use crate::upstream::connect::Dialer;
use crate::upstream::{Endpoint, Pool, Scheme, is_public};

/// What has been fetched for one request, and the memory that it takes.
#[derive(Debug, Default)]
pub(super) struct Media {
    pub(super) fetched: Vec<Fetched>,
    held: Vec<HeldBytes>,
}

/// Why a medium cannot be sent along.
enum Failure {
    /// In words, for the client.
    Told(String),
    ClientGone,
    /// The core holds too many bytes.
    Busy,
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Told(words)
    }
}

/// Fetches what is wanted.
///
/// # Errors
/// One of them cannot be had (400, named), the core holds too much, or the client left.
pub(super) async fn fetch(
    exchange: &mut impl Asker,
    ledger: &mut Ledger,
    wanted: &[Wanted],
) -> Result<Media, AttemptError> {
    let view = Rc::clone(exchange.view());
    let settings = &view.snapshot.config.settings().media;
    let mut media = Media::default();
    if wanted.len() > MEDIA_PER_REQUEST_MAX {
        let text = format!("at most {MEDIA_PER_REQUEST_MAX} media are fetched for one request");
        return Err(refusal(&wanted[0], &text));
    }
    let until = clock::now() + settings.timeout;
    ledger.waiting();
    for one in wanted {
        match fetch_one(exchange, one, until).await {
            Ok((fetched, held)) => {
                media.fetched.push(fetched);
                media.held.push(held);
            }
            Err(Failure::Told(words)) => {
                ledger.working();
                return Err(refusal(one, &words));
            }
            Err(Failure::ClientGone) => return Err(AttemptError::ClientGone),
            Err(Failure::Busy) => return Err(GatewayError::Busy.into()),
        }
    }
    ledger.working();
    Ok(media)
}

fn refusal(wanted: &Wanted, words: &str) -> AttemptError {
    let url = crate::telemetry::text::clip(&wanted.url, 256);
    let text = format!(
        "`{}`: the selected model takes bytes only, and {url} cannot be fetched: {words}",
        wanted.feature.row().name
    );
    GatewayError::InvalidRequest(text).into()
}

async fn fetch_one(
    exchange: &mut impl Asker,
    wanted: &Wanted,
    until: Instant,
) -> Result<(Fetched, HeldBytes), Failure> {
    let mut place = Place::parse(&wanted.url)?;
    for _ in 0..=MEDIA_REDIRECTS_MAX {
        let mut held = exchange.shard().hold_bytes(0).ok_or(Failure::Busy)?;
        let (head, source) = ask(exchange, &place, until).await?;
        match head.status {
            200 => {
                let fields = head.fields.clone();
                if field(&fields, KnownField::ContentEncoding).is_some_and(|coding| coding != "identity") {
                    return Err("it is sent compressed, which was not asked for".to_owned().into());
                }
                let bytes = read_body(exchange, head, source, &mut held).await?;
                let fetched = Fetched::new(wanted, field(&fields, KnownField::ContentType), &bytes)?;
                // Base64 takes a third more.
                return if held.grow(fetched.data.len()) { Ok((fetched, held)) } else { Err(Failure::Busy) };
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = named_field(&head.fields, "location")
                    .ok_or_else(|| format!("it is redirected ({}) to nowhere", head.status))?;
                place = place.follow(location)?;
            }
            status => return Err(format!("it answers with status {status}").into()),
        }
    }
    Err(format!("it is redirected more than {MEDIA_REDIRECTS_MAX} times").into())
}

/// Sends `GET` and reads the head of the answer.
async fn ask(
    exchange: &mut impl Asker,
    place: &Place,
    until: Instant,
) -> Result<(AnswerHead, Source), Failure> {
    let view = Rc::clone(exchange.view());
    let settings = view.snapshot.config.settings();
    let left = until.saturating_duration_since(clock::now());
    let is_own = settings.media.allow_hosts.contains(&place.host);
    if place.scheme == Scheme::Https && view.snapshot.client_tls.is_none() {
        return Err("`https` can be read only where a provider is called by it".to_owned().into());
    }
    let shard = Rc::clone(exchange.shard());
    let dialer = Dialer {
        resolver: &shard.resolver,
        deadlines: &shard.deadlines,
        tls: view.snapshot.client_tls.as_ref(),
        dns_ttl: settings.upstream.dns_ttl,
        timeout: settings.upstream.connect_timeout.min(left),
    };
    let endpoint = Endpoint { scheme: place.scheme, host: place.host.clone(), port: place.port, proxy: None };
    let connecting = Box::pin(dialer.connect_if(&endpoint, |address| is_own || is_public(address)));
    let connected = exchange.while_client_stays(connecting).await.ok_or(Failure::ClientGone)?;
    let mut conn = connected.map_err(|error| error.to_string())?;
    conn.deadline().set(left, OnExpiry::Close);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: routerly/{}\r\n\
         Connection: close\r\n\r\n",
        place.target,
        endpoint.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    match exchange.send_to_provider(&mut conn, &[request.as_bytes()]).await {
        Ok(Sent::All | Sent::Answered) => {}
        Ok(Sent::ClientGone) => return Err(Failure::ClientGone),
        Err(error) => return Err(error.to_string().into()),
    }
    let head = match answer::read_head(exchange, &mut conn, Method::Get, left).await {
        Ok(Some(head)) => head,
        Ok(None) => return Err("the connection was closed without an answer".to_owned().into()),
        Err(AttemptError::ClientGone) => return Err(Failure::ClientGone),
        Err(AttemptError::Failed(GatewayError::UpstreamTimeout { .. })) => return Err(too_slow()),
        Err(AttemptError::Failed(_)) => return Err("its answer is malformed".to_owned().into()),
    };
    // Such connections serve one request.
    let pool = Rc::new(Pool::new(endpoint, 0, 0));
    let source = Source::new(conn, pool, head.framing, false);
    Ok((head, source))
}

async fn read_body(
    exchange: &mut impl Asker,
    head: AnswerHead,
    mut source: Source,
    held: &mut HeldBytes,
) -> Result<Vec<u8>, Failure> {
    let bytes_max = exchange.view().snapshot.config.settings().media.bytes_max;
    let AnswerHead { mut buffer, start, end, .. } = head;
    let mut span = Span { start, end: start };
    let mut body = Vec::new();
    source.absorb(&mut buffer, start, end, &mut span, false).map_err(broken)?;
    loop {
        let piece = &buffer[span.start..span.end];
        if body.len() + piece.len() > bytes_max {
            return Err(format!("it has more than {bytes_max} bytes").into());
        }
        if !held.grow(piece.len()) {
            return Err(Failure::Busy);
        }
        body.extend_from_slice(piece);
        if source.done {
            return Ok(body);
        }
        if !exchange.provider_ready(&mut source.conn).await {
            return Err(Failure::ClientGone);
        }
        span = Span { start: ANSWER_HEADROOM_BYTES, end: ANSWER_HEADROOM_BYTES };
        match source.conn.try_read(&mut buffer[ANSWER_HEADROOM_BYTES..]) {
            Ok(0) | Err(_) if source.conn.deadline().fired() => return Err(too_slow()),
            Ok(0) => source.ended(None).map_err(broken)?,
            Ok(count) => {
                let end = ANSWER_HEADROOM_BYTES + count;
                source.absorb(&mut buffer, ANSWER_HEADROOM_BYTES, end, &mut span, false).map_err(broken)?;
            }
            Err(error) if is_wait(&error) => {}
            Err(error) => return Err(error.to_string().into()),
        }
    }
}

fn too_slow() -> Failure {
    Failure::Told("it takes too long".to_owned())
}

fn broken(fault: Fault) -> Failure {
    match fault {
        Fault::Broken(words) => Failure::Told(words),
        Fault::ClientGone => Failure::ClientGone,
        Fault::TooSlow(_) | Fault::Stopped | Fault::Spent(_) => too_slow(),
    }
}

/// The value of a field of a head in wire form.
fn field(fields: &[u8], wanted: KnownField) -> Option<&str> {
    find_field(fields, |name| KnownField::of(name) == wanted)
}

fn named_field<'f>(fields: &'f [u8], wanted: &str) -> Option<&'f str> {
    find_field(fields, |name| name.eq_ignore_ascii_case(wanted.as_bytes()))
}

fn find_field(fields: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> Option<&str> {
    let mut lines = fields.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let value = std::str::from_utf8(&line[colon + 1..]).ok()?;
        is_wanted(&line[..colon]).then(|| value.trim())
    })
}

/// Where a medium is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    scheme: Scheme,
    /// In lower case; IPv6 in brackets.
    host: String,
    port: u16,
    /// Path and query, as the request line has them.
    target: String,
}

impl Place {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// In words: it is none, or not one of `http` and `https`.
    fn parse(url: &str) -> Result<Self, String> {
        let url = url.split('#').next().unwrap_or_default().trim();
        let authority_at = url.find("://").map_or(0, |at| at + 3);
        let path_at = url[authority_at..].find(['/', '?']).map_or(url.len(), |at| authority_at + at);
        let origin = provider::Endpoint::parse(&url[..path_at]).map_err(|error| error.to_string())?;
        let scheme = match origin.scheme {
            provider::Scheme::Http => Scheme::Http,
            provider::Scheme::Https => Scheme::Https,
        };
        let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host };
        let mut target = String::with_capacity(url.len() - path_at + 1);
        if !url[path_at..].starts_with('/') {
            target.push('/');
        }
        for byte in url[path_at..].bytes() {
            // What no request line may hold travels in percent signs.
            if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
        Ok(Self { scheme, host, port: origin.port, target })
    }

    /// Where a redirect from here leads to (RFC 9110 section 10.2.2).
    ///
    /// # Errors
    /// As for [`Place::parse`].
    fn follow(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let before_query = location.split(['?', '#']).next().unwrap_or_default();
        if before_query.contains("://") {
            return Self::parse(location);
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let base = match location.chars().next() {
            Some('/') => "",
            Some('?') => path,
            _ => &path[..=path.rfind('/').unwrap_or(0)],
        };
        Self::parse(&format!("{scheme}://{}:{}{base}{location}", self.host, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(place: Result<Place, String>) -> String {
        place.map_or_else(
            |words| words,
            |place| format!("{:?} {} {} {}", place.scheme, place.host, place.port, place.target),
        )
    }

    #[test]
    fn urls_fall_into_their_parts() {
        for (url, expected) in [
            ("https://Example.com/a/b.png?x=1#top", "Https example.com 443 /a/b.png?x=1"),
            ("http://example.com:8080", "Http example.com 8080 /"),
            ("http://example.com?q=/", "Http example.com 80 /?q=/"),
            ("HTTP://[2001:DB8::1]/x", "Http [2001:db8::1] 80 /x"),
            ("http://example.com/a b\r\nX: é\u{7f}", "Http example.com 80 /a%20b%0D%0AX:%20%C3%A9%7F"),
            ("http://example.com/../etc/", "Http example.com 80 /../etc/"),
        ] {
            assert_eq!(shown(Place::parse(url)), expected, "{url}");
        }
        for url in [
            "",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gs://bucket/x",
            "example.com/x",
            "http://",
            "http:///x",
            "http://user@example.com/",
            "http://exa mple.com/",
            "http://a:b/",
            "http://a:0/",
            "http://a\r\nb/",
            "https:/x",
            "//example.com/x",
        ] {
            assert!(Place::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn redirects_lead_on_from_where_they_are() {
        let from = Place::parse("https://example.com:444/a/b?c").unwrap();
        for (location, expected) in [
            ("http://other.org/x", "Http other.org 80 /x"),
            ("//other.org/x", "Https other.org 443 /x"),
            ("/x?y=http://z", "Https example.com 444 /x?y=http://z"),
            ("x", "Https example.com 444 /a/x"),
            ("?y", "Https example.com 444 /a/b?y"),
            ("javascript://x", "it does not start with http:// or https://"),
        ] {
            assert_eq!(shown(from.follow(location)), expected, "{location}");
        }
        let bracketed = Place::parse("http://[::1]/a").unwrap();
        assert_eq!(shown(bracketed.follow("/b")), "Http [::1] 80 /b");
    }

    #[test]
    fn fields_of_a_head_are_found() {
        let fields = b"content-type: image/png\r\nLocation:  /x \r\n";
        assert_eq!(field(fields, KnownField::ContentType), Some("image/png"));
        assert_eq!(named_field(fields, "location"), Some("/x"));
        assert_eq!(named_field(fields, "x"), None);
    }
}
