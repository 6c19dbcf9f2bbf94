//! The mock provider's side of a connection: read a request, answer with fixed bytes, stream by timer.
//!
//! Never touches sockets but through [`Link`]. It must cost little, so that the proxy is what is measured:
//! answers are laid out in advance and a streamed event is one `send` of constant bytes.

use std::borrow::Cow;
use std::io;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::engine::{Link, Next, Shared};
use crate::http::{Dechunker, Framing, parse_head};
use crate::script::{Dialect, Script};
use crate::sys;
use crate::wheel::{TICK_NS, Wheel};

static STREAM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"stream\""));
static INCLUDE_USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"include_usage\""));

/// Counters of the mock since they were last reset.
#[derive(Clone, Debug, Default)]
pub struct MockStats {
    /// Connections accepted.
    pub accepts: u64,
    /// Requests answered, or begun to be.
    pub requests: u64,
    /// Content events sent.
    pub events: u64,
    /// Events sent more than 5 ms late: the loop or the peer was too slow.
    pub late: u64,
    /// Streams that the peer closed before their end.
    pub cut: u64,
}

pub struct Mock {
    pub wheel: Wheel,
    pub stats: MockStats,
    pub interval_ms: u64,
    pub events_per_stream: u32,
    chat: Script,
    anthropic: Script,
    streams_started: u64,
}

impl Mock {
    pub fn new(now_ns: u64) -> Self {
        Self {
            wheel: Wheel::new(now_ns),
            stats: MockStats::default(),
            interval_ms: 20,
            events_per_stream: 100,
            chat: Script::new(Dialect::Chat),
            anthropic: Script::new(Dialect::Anthropic),
            streams_started: 0,
        }
    }

    pub fn script(&self, dialect: Dialect) -> &Script {
        match dialect {
            Dialect::Chat => &self.chat,
            Dialect::Anthropic => &self.anthropic,
        }
    }

    fn interval_ticks(&self) -> u64 {
        (self.interval_ms * 1_000_000 / TICK_NS).max(1)
    }

    /// When a new stream has its first event: spread evenly over the interval, whatever the arrivals.
    fn first_due(&mut self) -> u64 {
        self.streams_started += 1;
        let golden = (self.streams_started as f64 * 0.618_033_988_749_895).fract();
        let phase = (golden * self.interval_ticks() as f64) as u64;
        sys::now_ns() / TICK_NS + 1 + phase
    }
}

struct Stream {
    dialect: Dialect,
    usage_wanted: bool,
    left: u32,
}

/// State of one connection.
#[derive(Default)]
pub struct Server {
    stream: Option<Stream>,
}

impl Server {
    /// Answers every complete request in `bytes`; returns how many bytes were used.
    pub fn handle_bytes(&mut self, link: &mut Link, bytes: &[u8], shared: &mut Shared) -> (usize, Next) {
        let mut used = 0;
        while self.stream.is_none()
            && let Some(head) = parse_head(&bytes[used..])
        {
            let rest = &bytes[used + head.len..];
            let Some((body, body_len)) = take_body(rest, head.framing) else { break };
            if self.answer(link, head.start_line, &body, shared).is_err() || head.close {
                return (used, Next::Close);
            }
            used += head.len + body_len;
        }
        (used, Next::Keep)
    }

    fn answer(&mut self, link: &mut Link, line: &[u8], body: &[u8], shared: &mut Shared) -> io::Result<()> {
        let Shared { epoll, mock, .. } = shared;
        mock.stats.requests += 1;
        if line.starts_with(b"GET ") {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n\
                           {\"object\":\"list\",\"data\":[]}";
            return link.send(epoll, answer);
        }
        let dialect = Dialect::of_request_line(line);
        if !is_true(body, &STREAM) {
            return link.send(epoll, &mock.script(dialect).unary);
        }
        let usage_wanted = is_true(body, &INCLUDE_USAGE);
        self.stream = Some(Stream { dialect, usage_wanted, left: mock.events_per_stream });
        link.send(epoll, &mock.script(dialect).open)?;
        let due = mock.first_due();
        mock.wheel.insert(link.key, due);
        Ok(())
    }

    /// Sends the event that is due and asks for the next, or ends the stream.
    pub fn handle_timer(&mut self, link: &mut Link, due: u64, shared: &mut Shared) -> Next {
        let Some(stream) = &mut self.stream else { return Next::Keep };
        let Shared { epoll, mock, .. } = shared;
        if sys::now_ns() / TICK_NS > due + 5_000_000 / TICK_NS {
            mock.stats.late += 1;
        }
        let script = mock.script(stream.dialect);
        let sent = match stream.left {
            0 if stream.usage_wanted => link.send(epoll, &script.close_with_usage),
            0 => link.send(epoll, &script.close),
            _ => link.send(epoll, &script.event),
        };
        if sent.is_err() {
            self.handle_gone(shared);
            return Next::Close;
        }
        if stream.left == 0 {
            self.stream = None;
            return Next::Keep;
        }
        stream.left -= 1;
        mock.stats.events += 1;
        let next = due + mock.interval_ticks();
        mock.wheel.insert(link.key, next);
        Next::Keep
    }

    pub fn handle_gone(&mut self, shared: &mut Shared) {
        if self.stream.take().is_some() {
            shared.mock.stats.cut += 1;
        }
    }
}

/// The body behind a head and how many bytes it took on the wire; `None` means more bytes are needed.
fn take_body(rest: &[u8], framing: Framing) -> Option<(Cow<'_, [u8]>, usize)> {
    match framing {
        Framing::Length(len) => Some((rest.get(..len)?.into(), len)),
        Framing::Chunked => {
            let (mut decoder, mut body) = (Dechunker::default(), Vec::new());
            let used = decoder.feed(rest, |part| body.extend_from_slice(part));
            decoder.is_done().then_some((body.into(), used))
        }
    }
}

/// Is the first member of this quoted name `true`? Enough for bodies whose texts do not quote it.
fn is_true(body: &[u8], name: &Finder<'_>) -> bool {
    let Some(at) = name.find(body) else { return false };
    let value = body[at + name.needle().len()..].trim_ascii_start();
    value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_with_and_without_spaces() {
        let cases: [(&[u8], bool); 5] = [
            (b"{\"stream\":true}", true),
            (b"{\"stream\" : true}", true),
            (b"{\"stream\":false}", false),
            (b"{\"stream_options\":{\"include_usage\":true}}", false),
            (b"{}", false),
        ];
        for (body, expected) in cases {
            assert_eq!(is_true(body, &STREAM), expected);
        }
    }

    #[test]
    fn a_body_is_taken_whole_or_not_at_all() {
        assert!(take_body(b"abc", Framing::Length(4)).is_none());
        assert_eq!(take_body(b"abcde", Framing::Length(4)).map(|(_, len)| len), Some(4));
        let (body, len) = take_body(b"3\r\nabc\r\n0\r\n\r\nGET", Framing::Chunked).expect("complete");
        assert_eq!((&*body, len), (b"abc".as_slice(), 13));
    }
}
