//! A look into an answer before any of it is passed on: what an error says, how a stream begins.
//!
//! What is read stays where it lies, so that the answer can still be relayed as it came.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::answer::Answer;
use super::exchange::{Asker, is_wait};
use crate::dialect::{Dialect, ProviderError, UsageTap};
use crate::http1::{BodyDecoder, Step};
use crate::limits::ANSWER_TAILROOM_BYTES;
use crate::respond::GatewayError;
use crate::shard::Shard;

/// Longest wait for the rest of an error's text.
const ERROR_TEXT_TIME: Duration = Duration::from_secs(2);

/// The body of an answer as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether that is all of it.
    pub whole: bool,
}

impl Body {
    /// What an error says for people.
    pub(super) fn message(&self, dialect: Dialect) -> Option<String> {
        let mut tap = UsageTap::new(dialect, false);
        tap.feed(&self.payload);
        tap.finish().error.map(|error| error.message.clone())
    }
}

/// How a stream begins.
#[derive(Debug)]
pub(super) enum Beginning {
    /// With an event, or with nothing for a while.
    Well,
    /// With an error.
    Error(ProviderError),
    /// It breaks before its first event.
    Broken(GatewayError),
    /// The client left.
    Gone,
}

/// What became of a read.
enum Read {
    /// Bytes came.
    More,
    /// No more room, or the time is over.
    Enough,
    /// The provider's stream has ended.
    End(Option<std::io::Error>),
    /// The client left.
    Gone,
}

/// Reads an error's body, as far as it fits and comes soon. `None`: the client left.
pub(super) async fn error_body(exchange: &mut impl Asker, answer: &mut Answer) -> Option<Body> {
    let mut timer = pin!(monoio::time::sleep(ERROR_TEXT_TIME));
    loop {
        let body = payload_of(answer);
        if body.whole {
            return Some(body);
        }
        match read_more(exchange, answer, timer.as_mut()).await {
            Read::More => {}
            Read::Gone => return None,
            Read::Enough | Read::End(_) => return Some(payload_of(answer)),
        }
    }
}

fn payload_of(answer: &Answer) -> Body {
    let head = &answer.head;
    let mut decoder = BodyDecoder::new(head.framing);
    let mut body = Body::default();
    let mut at = head.start;
    while let Ok(step) = decoder.step(&head.buffer[at..head.end]) {
        match step {
            Step::Data(range) => {
                body.payload.extend_from_slice(&head.buffer[at + range.start..at + range.end]);
                at += range.end;
            }
            Step::NeedMore => break,
            Step::End(_) => {
                body.whole = true;
                break;
            }
        }
    }
    body.whole |= decoder.is_done();
    body
}

/// Waits for the first event of a stream, at most for `patience`.
pub(super) async fn stream(
    exchange: &mut impl Asker,
    answer: &mut Answer,
    dialect: Dialect,
    patience: Duration,
) -> Beginning {
    let mut tap = UsageTap::new(dialect, true);
    let mut decoder = BodyDecoder::new(answer.head.framing);
    let mut at = answer.head.start;
    let mut timer = None;
    loop {
        let done = loop {
            match decoder.step(&answer.head.buffer[at..answer.head.end]) {
                Ok(Step::Data(range)) => {
                    tap.feed(&answer.head.buffer[at + range.start..at + range.end]);
                    at += range.end;
                }
                Ok(Step::NeedMore) => {
                    at = answer.head.end;
                    break decoder.is_done();
                }
                Ok(Step::End(_)) => break true,
                Err(error) => {
                    return Beginning::Broken(GatewayError::UpstreamMalformed(error.text().to_owned()));
                }
            }
        };
        if let Some(error) = tap.failure() {
            return Beginning::Error(error.clone());
        }
        // A document in place of a stream is judged by whoever relays it.
        if tap.events_so_far() > 0 || !tap.is_stream() {
            return Beginning::Well;
        }
        if done {
            return Beginning::Broken(GatewayError::UpstreamMalformed(
                "a stream without an event".to_owned(),
            ));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(monoio::time::sleep(patience)));
        match read_more(exchange, answer, timer.as_mut()).await {
            Read::More => {}
            Read::Enough => return Beginning::Well,
            Read::Gone => return Beginning::Gone,
            Read::End(error) => return Beginning::Broken(GatewayError::UpstreamClosed(error)),
        }
    }
}

/// Reads behind what is there.
async fn read_more(
    exchange: &mut impl Asker,
    answer: &mut Answer,
    mut timer: std::pin::Pin<&mut monoio::time::Sleep>,
) -> Read {
    let head = &mut answer.head;
    let room = head.buffer.len() - ANSWER_TAILROOM_BYTES;
    loop {
        if head.end == room {
            return Read::Enough;
        }
        match answer.conn.try_read(&mut head.buffer[head.end..room]) {
            Ok(0) => return Read::End(None),
            Ok(count) => {
                head.end += count;
                return Read::More;
            }
            Err(error) if is_wait(&error) => {}
            Err(error) => return Read::End(Some(error)),
        }
        let conn = &mut answer.conn;
        let ready = std::future::poll_fn(|cx| {
            if conn.poll_data(cx).is_ready() {
                return Poll::Ready(None);
            }
            if exchange.poll_gone(cx).is_ready() {
                return Poll::Ready(Some(Read::Gone));
            }
            timer.as_mut().poll(cx).map(|()| Some(Read::Enough))
        })
        .await;
        if let Some(read) = ready {
            return read;
        }
    }
}

/// Gives the connection back where another request can follow on it, else closes it.
pub(super) fn release(shard: &Shard, answer: Answer) {
    let at_end = {
        let head = &answer.head;
        let (mut decoder, mut at) = (BodyDecoder::new(head.framing), head.start);
        loop {
            match decoder.step(&head.buffer[at..head.end]) {
                Ok(Step::Data(range)) => at += range.end,
                Ok(Step::End(used)) => break at + used == head.end,
                Ok(Step::NeedMore) => break decoder.is_done(),
                Err(_) => break false,
            }
        }
    };
    let Answer { head, conn, pool } = answer;
    shard.give_back_head(head.fields);
    if at_end && head.keep_alive {
        pool.give_back(conn, shard.tick_ms());
    }
}
