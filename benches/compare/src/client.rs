//! The load's side of a connection: send a request, check the answer, count, send the next.
//!
//! Closed loop: a connection has one request in flight. Every answer is checked (status, length, for
//! streams the number of content events and a proper end), so a proxy that drops something shows up as an
//! error and not as speed.

use std::rc::Rc;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::engine::{Link, Next, Shared};
use crate::histogram::Histogram;
use crate::http::{Dechunker, Framing, parse_head};
use crate::script::MARKER;
use crate::sys;

static MARKERS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARKER));

/// Counters of the load since they were last reset.
#[derive(Clone, Default)]
pub struct LoadStats {
    /// Good answers, streams that ended well included.
    pub responses: u64,
    /// Content events received.
    pub events: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    /// Nanoseconds from send to the last byte, of answers that are not streams.
    pub latency: Histogram,
}

#[derive(Default)]
pub struct Load {
    pub stats: LoadStats,
    /// Send the next request when an answer is complete.
    pub looping: bool,
    /// Requests without a complete answer.
    pub in_flight: usize,
    /// Requests without an answer's head.
    pub waiting_for_head: usize,
}

impl Load {
    fn fail(&mut self, what: impl FnOnce() -> String) {
        self.stats.errors += 1;
        if self.stats.first_error.is_none() {
            self.stats.first_error = Some(what());
        }
    }
}

/// What the answer to a request must be.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// A body of this many bytes; 0 accepts any length.
    Body { len: usize },
    /// A chunked event stream with this many content events.
    Events { count: u32 },
}

/// What a connection sends, over and over, and what it expects.
pub struct Ask {
    pub request: Vec<u8>,
    pub expect: Expect,
}

enum State {
    Idle,
    Head,
    Body { len: usize, left: usize },
    Chunked { decoder: Dechunker, tail: Tail },
}

/// What was seen of a chunked body so far.
#[derive(Default)]
struct Tail {
    body_len: usize,
    events: u32,
    /// The last bytes, so that a marker cut in two is found.
    last: [u8; 24],
    last_len: usize,
}

pub struct Client {
    ask: Rc<Ask>,
    state: State,
    sent_ns: u64,
}

impl Client {
    pub fn new(ask: Rc<Ask>) -> Self {
        Self { ask, state: State::Idle, sent_ns: 0 }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Sends the request and starts its clock.
    pub fn send_request(&mut self, link: &mut Link, shared: &mut Shared) -> Next {
        self.sent_ns = sys::now_ns();
        self.state = State::Head;
        shared.load.in_flight += 1;
        shared.load.waiting_for_head += 1;
        match link.send(&shared.epoll, &self.ask.request) {
            Ok(()) => Next::Keep,
            Err(_) => {
                self.handle_gone(shared);
                Next::Close
            }
        }
    }

    pub fn handle_gone(&mut self, shared: &mut Shared) {
        if !matches!(self.state, State::Idle) {
            let stage = match &self.state {
                State::Head => "before the head",
                State::Idle | State::Body { .. } | State::Chunked { .. } => "within the body",
            };
            self.finish(shared);
            shared.load.fail(|| format!("connection closed {stage}"));
        }
    }

    /// Uses all of `bytes`, but for an incomplete head.
    pub fn handle_bytes(&mut self, link: &mut Link, bytes: &[u8], shared: &mut Shared) -> (usize, Next) {
        let mut used = 0;
        if matches!(self.state, State::Head) {
            let Some(head) = parse_head(bytes) else { return (0, Next::Keep) };
            shared.load.waiting_for_head -= 1;
            used = head.len;
            self.state = match head.framing {
                Framing::Length(len) => State::Body { len, left: len },
                Framing::Chunked => State::Chunked { decoder: Dechunker::default(), tail: Tail::default() },
            };
            if !head.start_line.starts_with(b"HTTP/1.1 200") {
                return self.refuse(bytes, shared, "status");
            }
        }
        let outcome = match &mut self.state {
            State::Idle => return self.refuse(bytes, shared, "bytes without a request"),
            State::Head => return (used, Next::Keep),
            State::Body { len, left } => {
                let take = (*left).min(bytes.len() - used);
                *left -= take;
                used += take;
                if *left > 0 {
                    return (used, Next::Keep);
                }
                self.ask.expect.check_body(*len)
            }
            State::Chunked { decoder, tail } => {
                let before = tail.events;
                used += decoder.feed(&bytes[used..], |part| tail.take(part));
                shared.load.stats.events += u64::from(tail.events - before);
                if decoder.is_bad() {
                    return self.refuse(bytes, shared, "chunked framing");
                }
                if !decoder.is_done() {
                    return (used, Next::Keep);
                }
                self.ask.expect.check_stream(tail)
            }
        };
        (used, self.complete(link, outcome, shared))
    }

    fn complete(&mut self, link: &mut Link, outcome: Result<(), String>, shared: &mut Shared) -> Next {
        if matches!(self.ask.expect, Expect::Body { .. }) {
            shared.load.stats.latency.record(sys::now_ns() - self.sent_ns);
        }
        self.finish(shared);
        match outcome {
            Ok(()) => shared.load.stats.responses += 1,
            Err(what) => shared.load.fail(|| what),
        }
        if shared.load.looping { self.send_request(link, shared) } else { Next::Keep }
    }

    fn finish(&mut self, shared: &mut Shared) {
        if matches!(self.state, State::Head) {
            shared.load.waiting_for_head -= 1;
        }
        self.state = State::Idle;
        shared.load.in_flight -= 1;
    }

    fn refuse(&mut self, bytes: &[u8], shared: &mut Shared, what: &str) -> (usize, Next) {
        if !matches!(self.state, State::Idle) {
            self.finish(shared);
        }
        shared.load.fail(|| {
            let shown = &bytes[..bytes.len().min(600)];
            format!("{what}: {}", String::from_utf8_lossy(shown).replace("\r\n", " | "))
        });
        (bytes.len(), Next::Close)
    }
}

impl Expect {
    fn check_body(self, len: usize) -> Result<(), String> {
        match self {
            Expect::Body { len: 0 } => Ok(()),
            Expect::Body { len: expected } if expected == len => Ok(()),
            Expect::Body { len: expected } => Err(format!("body of {len} bytes, not {expected}")),
            Expect::Events { .. } => Err(format!("a body of {len} bytes instead of a stream")),
        }
    }

    fn check_stream(self, tail: &Tail) -> Result<(), String> {
        match self {
            Expect::Body { .. } => self.check_body(tail.body_len),
            Expect::Events { count } if count != tail.events => {
                Err(format!("{} events, not {count}", tail.events))
            }
            Expect::Events { .. } if !tail.ended() => Err("stream without its closing event".to_owned()),
            Expect::Events { .. } => Ok(()),
        }
    }
}

impl Tail {
    fn take(&mut self, part: &[u8]) {
        self.body_len += part.len();
        self.events += MARKERS.find_iter(part).count() as u32;
        // A marker that began in the part before: look at the seam alone.
        if self.last_len > 0 {
            let keep = self.last_len.min(MARKER.len() - 1);
            let ahead = part.len().min(MARKER.len() - 1);
            let mut seam = [0u8; 2 * MARKER.len()];
            seam[..keep].copy_from_slice(&self.last[self.last_len - keep..self.last_len]);
            seam[keep..keep + ahead].copy_from_slice(&part[..ahead]);
            self.events += MARKERS.find_iter(&seam[..keep + ahead]).count() as u32;
        }
        let size = self.last.len();
        if part.len() >= size {
            self.last.copy_from_slice(&part[part.len() - size..]);
            self.last_len = size;
            return;
        }
        let keep = self.last_len.min(size - part.len());
        self.last.copy_within(self.last_len - keep..self.last_len, 0);
        self.last[keep..keep + part.len()].copy_from_slice(part);
        self.last_len = keep + part.len();
    }

    /// Did the stream end with the closing event of its dialect?
    fn ended(&self) -> bool {
        let last = self.last[..self.last_len].trim_ascii_end();
        last.ends_with(b"[DONE]") || last.ends_with(b"\"message_stop\"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_counted_once_at_every_split() {
        let text = b"data: {\"a\":\" mocktok\"}\n\ndata: {\"a\":\" mocktokmocktok\"}\n\ndata: [DONE]\n\n";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut tail = Tail::default();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    tail.take(part);
                }
                assert_eq!((tail.events, tail.body_len, tail.ended()), (3, text.len(), true));
            }
        }
    }

    #[test]
    fn an_answer_is_held_against_what_was_asked() {
        assert!(Expect::Body { len: 5 }.check_body(5).is_ok());
        assert!(Expect::Body { len: 5 }.check_body(6).is_err());
        let mut tail = Tail::default();
        tail.take(b"mocktok data: [DONE]\n\n");
        assert!(Expect::Events { count: 1 }.check_stream(&tail).is_ok());
        assert!(Expect::Events { count: 2 }.check_stream(&tail).is_err());
        assert!(Expect::Events { count: 0 }.check_stream(&Tail::default()).is_err());
    }
}
