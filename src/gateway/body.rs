//! Reading a request's body whole: it has to be looked into, and kept for another attempt.

use std::ops::{Deref, Range};
use std::rc::Rc;

use super::exchange::Exchange;
use crate::http1::{BodyDecoder, Framing, Step, writer};
use crate::limits::BODY_GROWTH_BYTES;
use crate::net::deadline::OnExpiry;
use crate::respond::GatewayError;
use crate::shard::{HeldBytes, Shard};

/// Why there is no body.
#[derive(Debug)]
pub(super) enum BodyError {
    /// To be answered.
    Refused(GatewayError),
    /// Nobody is left to answer.
    ClientGone,
}

impl From<GatewayError> for BodyError {
    fn from(error: GatewayError) -> Self {
        Self::Refused(error)
    }
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct ClientBody {
    decoder: BodyDecoder,
    received: u64,
    bytes_max: u64,
}

/// What comes next of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Payload, as a range of the exchange's input: to be used and consumed up to its end.
    Payload(Range<usize>),
    /// Nothing is in hand.
    Wait,
    /// The body is over.
    Over,
}

impl ClientBody {
    /// At the first byte of the body; `bytes_max` 0 means no bound.
    pub(super) fn new(framing: Framing, bytes_max: u64) -> Self {
        Self { decoder: BodyDecoder::new(framing), received: 0, bytes_max }
    }

    /// Looks at the bytes in hand.
    ///
    /// # Errors
    /// Malformed or too large.
    pub(super) fn next(&mut self, exchange: &mut Exchange<'_>) -> Result<Piece, BodyError> {
        let input = exchange.input.bytes();
        match self.decoder.step(input).map_err(GatewayError::Chunk)? {
            Step::Data(range) => {
                self.received += range.len() as u64;
                if self.bytes_max > 0 && self.received > self.bytes_max {
                    return Err(GatewayError::BodyTooLarge { bytes_max: self.bytes_max }.into());
                }
                Ok(Piece::Payload(range))
            }
            Step::End(used) => {
                exchange.input.consume(used);
                exchange.conn.deadline().clear();
                exchange.body_done = true;
                Ok(Piece::Over)
            }
            Step::NeedMore => {
                let used = input.len();
                exchange.input.consume(used);
                Ok(Piece::Wait)
            }
        }
    }

    /// Waits for more bytes.
    ///
    /// # Errors
    /// The client was too slow or left.
    pub(super) async fn wait(&self, exchange: &mut Exchange<'_>) -> Result<(), BodyError> {
        arm_body_deadline(exchange);
        self.receive(exchange).await
    }

    /// Like [`ClientBody::wait`], under the deadline that was set before: setting it anew would forget that it has
    /// passed.
    pub(super) async fn receive(&self, exchange: &mut Exchange<'_>) -> Result<(), BodyError> {
        let count = exchange.input.fill(exchange.conn, &exchange.shard.buffers).await;
        more(exchange, count).map(drop)
    }
}

/// A body in memory, counted against the core's bound as long as it is held.
pub(super) struct Body {
    bytes: Vec<u8>,
    _held: HeldBytes,
    shard: Rc<Shard>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.shard.give_back_head(std::mem::take(&mut self.bytes));
    }
}

impl Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Tells a client that waits for it that its body is wanted.
pub(super) async fn invite(exchange: &mut Exchange<'_>, expect_continue: bool) -> Result<(), BodyError> {
    if expect_continue && exchange.input.is_empty() {
        exchange.conn.write_all(writer::CONTINUE).await.map_err(|_| BodyError::ClientGone)?;
        // The 100 is not the answer: an error may still have its own status.
        exchange.conn.reset_wrote();
    }
    Ok(())
}

/// Reads the body into one piece of at most `bytes_max` bytes.
///
/// # Errors
/// Too large, malformed, too slow, or cut off by the client.
pub(super) async fn read_whole(
    exchange: &mut Exchange<'_>,
    framing: Framing,
    expect_continue: bool,
    bytes_max: usize,
) -> Result<Body, BodyError> {
    let announced = match framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(GatewayError::BodyTooLarge { bytes_max: bytes_max as u64 }.into());
    }
    let mut held = exchange.shard.hold_bytes(announced.unwrap_or(0) as usize).ok_or(GatewayError::Busy)?;
    invite(exchange, expect_continue).await?;
    let mut bytes = match announced {
        Some(length) => read_length(exchange, length as usize).await?,
        None => Vec::new(),
    };
    if announced.is_none() {
        let mut body = ClientBody::new(framing, bytes_max as u64);
        loop {
            match body.next(exchange)? {
                Piece::Payload(range) => {
                    if !held.grow(range.len()) {
                        return Err(GatewayError::Busy.into());
                    }
                    bytes.extend_from_slice(&exchange.input.bytes()[range.clone()]);
                    exchange.input.consume(range.end);
                }
                Piece::Wait => body.wait(exchange).await?,
                Piece::Over => break,
            }
        }
    }
    exchange.conn.deadline().clear();
    exchange.body_done = true;
    Ok(Body { bytes, _held: held, shard: Rc::clone(exchange.shard) })
}

/// The same for a request of no project. `Err(None)`: nobody is left to answer.
///
/// # Errors
/// See [`read_whole`].
pub async fn read_body(
    exchange: &mut Exchange<'_>,
    framing: Framing,
    expect_continue: bool,
    bytes_max: usize,
) -> Result<Vec<u8>, Option<GatewayError>> {
    match read_whole(exchange, framing, expect_continue, bytes_max).await {
        Ok(mut body) => Ok(std::mem::take(&mut body.bytes)),
        Err(BodyError::ClientGone) => Err(None),
        Err(BodyError::Refused(error)) => Err(Some(error)),
    }
}

/// Reads straight into the body's own memory, which follows the bytes that came and not the number announced.
async fn read_length(exchange: &mut Exchange<'_>, length: usize) -> Result<Vec<u8>, BodyError> {
    let here = exchange.input.bytes();
    let here = &here[..here.len().min(length)];
    let mut body = exchange.shard.take_head();
    body.reserve_exact(length.min(here.len().max(BODY_GROWTH_BYTES)));
    body.extend_from_slice(here);
    let mut filled = here.len();
    exchange.input.consume(filled);
    while filled < length {
        if filled == body.len() {
            body.resize(length.min(filled.saturating_mul(2).max(filled + BODY_GROWTH_BYTES)), 0);
        }
        arm_body_deadline(exchange);
        let count = exchange.conn.read(&mut body[filled..]).await;
        filled += more(exchange, count)?;
    }
    body.truncate(filled);
    Ok(body)
}

pub(super) fn arm_body_deadline(exchange: &Exchange<'_>) {
    exchange
        .conn
        .deadline()
        .set(exchange.view.snapshot.config.settings().server.body_timeout, OnExpiry::StopReading);
}

/// What a read of a body brought. An end that we have made ourselves is not the client's: its deadline may have been
/// set anew since, for bytes that were there already.
pub(super) fn more(exchange: &Exchange<'_>, count: std::io::Result<usize>) -> Result<usize, BodyError> {
    let deadline = exchange.conn.deadline();
    match count {
        Ok(count @ 1..) => Ok(count),
        _ if !deadline.fired() && !deadline.reading_stopped() => Err(BodyError::ClientGone),
        _ if exchange.shard.is_cut() => Err(GatewayError::Stopped.into()),
        _ => Err(GatewayError::BodyTimeout.into()),
    }
}
