//! A provider's answer as payload: framing undone where it lies.

use std::rc::Rc;
use std::time::Duration;

use crate::http1::{BodyDecoder, Framing, Step};
use crate::net::Conn;
use crate::respond::GatewayError;
use crate::upstream::Pool;

/// Payload in the buffer that waits to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// First byte.
    pub start: usize,
    /// Behind the last one.
    pub end: usize,
}

/// What went wrong on the way of a body.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody is left to send to.
    ClientGone,
    /// The provider ended, reset or garbled the body; the text says how.
    Broken(String),
    /// Nothing came for the idle time-out, or the whole took too long.
    TooSlow(Duration),
    /// The time to drain is over.
    Stopped,
    /// A limit has no room for more of a stream.
    Spent(GatewayError),
}

/// The provider's side of a relay.
pub(super) struct Source {
    /// The connection that the body comes over.
    pub conn: Conn,
    /// Where it goes back to.
    pub pool: Rc<Pool>,
    /// Whether another request can follow.
    pub reusable: bool,
    decoder: BodyDecoder,
    /// Whether the body is complete.
    pub done: bool,
}

impl Source {
    /// At the first byte of a body. `reusable`: the connection can serve another request after it.
    pub(super) fn new(conn: Conn, pool: Rc<Pool>, framing: Framing, reusable: bool) -> Self {
        Self { conn, pool, reusable, decoder: BodyDecoder::new(framing), done: false }
    }

    /// Takes raw bytes `buffer[from..to]` as payload behind `span`; several chunks are moved together. With
    /// `append` unset the span is begun anew at the first payload byte.
    pub(super) fn absorb(
        &mut self,
        buffer: &mut [u8],
        from: usize,
        to: usize,
        span: &mut Span,
        append: bool,
    ) -> Result<(), Fault> {
        let mut at = from;
        let mut begun = append;
        if !append {
            *span = Span { start: from, end: from };
        }
        while !self.done {
            match self
                .decoder
                .step(&buffer[at..to])
                .map_err(|error| Fault::Broken(error.text().to_owned()))?
            {
                Step::Data(range) => {
                    let (start, end) = (at + range.start, at + range.end);
                    if !begun {
                        *span = Span { start, end: start };
                        begun = true;
                    }
                    if start != span.end {
                        buffer.copy_within(start..end, span.end);
                    }
                    span.end += end - start;
                    at = end;
                    self.done = self.decoder.is_done();
                }
                Step::NeedMore => return Ok(()),
                Step::End(used) => {
                    at += used;
                    self.done = true;
                }
            }
        }
        // Bytes behind the end belong to no request of ours.
        self.reusable &= at == to;
        Ok(())
    }

    /// The provider ended its stream, or reading failed.
    pub(super) fn ended(&mut self, error: Option<std::io::Error>) -> Result<(), Fault> {
        self.reusable = false;
        if let Some(error) = error {
            return Err(Fault::Broken(format!("the provider's connection broke: {error}")));
        }
        self.decoder.finish_eof().map_err(|truncated| Fault::Broken(truncated.to_string()))?;
        if !self.decoder.is_done() && self.conn.end_is_unconfirmed() {
            // RFC 9112 section 9.8: the end of the connection is all that ends such a body.
            return Err(Fault::Broken("the provider's TLS session was cut off (no close_notify)".to_owned()));
        }
        self.done = true;
        Ok(())
    }
}
