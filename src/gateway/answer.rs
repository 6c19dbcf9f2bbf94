//! The head of a provider's answer: read, judged, turned into fields for the client.

use std::rc::Rc;
use std::time::Duration;

use super::attempt::AttemptError;
use super::exchange::{Asker, is_wait};
use crate::http1::{Framing, KnownField, Method, ResponseSlots, parse_response, writer};
use crate::limits::{ANSWER_HEADROOM_BYTES, ANSWER_TAILROOM_BYTES};
use crate::net::{Buffer, Conn};
use crate::respond::GatewayError;
use crate::shard::Shard;
use crate::upstream::Pool;

/// What kind of body an answer has, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// `application/json` and its relatives.
    Json,
    /// `text/event-stream`.
    Events,
    /// Anything else, or encoded: relayed unread.
    Opaque,
}

/// A parsed head and what was read behind it.
#[derive(Debug)]
pub(super) struct AnswerHead {
    /// The provider's status.
    pub status: u16,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the connection can serve another request after it.
    pub keep_alive: bool,
    /// What its body is.
    pub kind: BodyKind,
    /// The provider's fields that travel to the client, in wire form.
    pub fields: Vec<u8>,
    /// Body bytes read so far are `buffer[start..end]`; room is left before and behind.
    pub buffer: Buffer,
    /// Start of the body bytes.
    pub start: usize,
    /// End of the body bytes.
    pub end: usize,
}

/// An answer whose body is still to come over `conn`.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its head.
    pub head: AnswerHead,
    /// The connection it comes over.
    pub conn: Conn,
    /// Where the connection goes back to.
    pub pool: Rc<Pool>,
}

impl AnswerHead {
    pub(super) fn with_conn(self, conn: Conn, pool: Rc<Pool>) -> Answer {
        Answer { head: self, conn, pool }
    }
}

/// Waits for and reads the head of an answer. `None`: the provider ended the connection without a byte.
///
/// # Errors
/// Too slow, malformed, cut off within the head, or the client left.
pub(super) async fn read_head(
    exchange: &mut impl Asker,
    conn: &mut Conn,
    method: Method<'_>,
    first_byte: Duration,
) -> Result<Option<AnswerHead>, AttemptError> {
    finish_head(HeadReader::default(), exchange, conn, method, first_byte).await
}

/// [`read_head`] for a head of which something may have been read already.
///
/// # Errors
/// As for [`read_head`].
pub(super) async fn finish_head(
    mut reader: HeadReader,
    exchange: &mut impl Asker,
    conn: &mut Conn,
    method: Method<'_>,
    first_byte: Duration,
) -> Result<Option<AnswerHead>, AttemptError> {
    loop {
        if !exchange.provider_ready(conn).await {
            return Err(AttemptError::ClientGone);
        }
        match reader.advance(exchange.shard(), conn, method, first_byte)? {
            Progress::Head(head) => return Ok(Some(head)),
            Progress::Closed => return Ok(None),
            Progress::Wait => {}
        }
    }
}

/// What has been read of a head. Interim heads (100 to 199) are skipped.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    partial: Option<(Buffer, usize, usize)>,
}

/// Where the reading of a head stands.
#[derive(Debug)]
pub(super) enum Progress {
    /// The final head is there.
    Head(AnswerHead),
    /// More bytes are needed.
    Wait,
    /// The provider ended the connection without a byte of a final head.
    Closed,
}

impl HeadReader {
    /// Reads what is there.
    ///
    /// # Errors
    /// As for [`read_head`].
    pub(super) fn advance(
        &mut self,
        shard: &Shard,
        conn: &mut Conn,
        method: Method<'_>,
        first_byte: Duration,
    ) -> Result<Progress, GatewayError> {
        let (mut buffer, mut start, mut end) = self
            .partial
            .take()
            .unwrap_or_else(|| (shard.buffers.take(), ANSWER_HEADROOM_BYTES, ANSWER_HEADROOM_BYTES));
        let room = buffer.len() - ANSWER_TAILROOM_BYTES;
        loop {
            let late = || too_late(shard, first_byte);
            match conn.try_read(&mut buffer[end..room]) {
                Ok(0) | Err(_) if conn.deadline().fired() => return Err(late()),
                Ok(0) if end == start => return Ok(Progress::Closed),
                Ok(0) => return Err(GatewayError::UpstreamMalformed("it ended within the head".to_owned())),
                Ok(count) => end += count,
                Err(error) if is_wait(&error) => {
                    if end > start {
                        self.partial = Some((buffer, start, end));
                    }
                    return Ok(Progress::Wait);
                }
                Err(_) if end == start => return Ok(Progress::Closed),
                Err(error) => return Err(GatewayError::UpstreamClosed(Some(error))),
            }
            while let Some(parsed) = parse(&buffer[start..end], method, shard)? {
                match parsed {
                    Parsed::Interim(head_bytes) => start += head_bytes,
                    Parsed::Final { status, framing, keep_alive, kind, fields, head_bytes } => {
                        start += head_bytes;
                        let head =
                            AnswerHead { status, framing, keep_alive, kind, fields, buffer, start, end };
                        return Ok(Progress::Head(head));
                    }
                }
            }
            if end == room {
                return Err(GatewayError::UpstreamMalformed("its head is too long".to_owned()));
            }
        }
    }
}

/// Why a wait for a provider ended early.
pub(super) fn too_late(shard: &Shard, after: Duration) -> GatewayError {
    if shard.is_cut() { GatewayError::Stopped } else { GatewayError::UpstreamTimeout { after } }
}

enum Parsed {
    Interim(usize),
    Final {
        status: u16,
        framing: Framing,
        keep_alive: bool,
        kind: BodyKind,
        fields: Vec<u8>,
        head_bytes: usize,
    },
}

fn parse(bytes: &[u8], method: Method<'_>, shard: &Shard) -> Result<Option<Parsed>, GatewayError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut slots = ResponseSlots::new();
    let malformed = |error: crate::http1::HeadError| GatewayError::UpstreamMalformed(error.text().to_owned());
    let Some(head) = parse_response(bytes, &mut slots, method).map_err(malformed)? else { return Ok(None) };
    if head.is_interim() {
        return Ok(Some(Parsed::Interim(head.head_bytes)));
    }
    if head.status == 101 {
        return Err(GatewayError::UpstreamMalformed(
            "it switched protocols, which was not asked for".to_owned(),
        ));
    }
    let mut fields = shard.take_head();
    let mut kind = BodyKind::Opaque;
    let mut encoded = false;
    writer::parsed_fields(&mut fields, &head.fields, |field| {
        let known = field.known();
        match known {
            KnownField::ContentType => kind = kind_of(field.value()),
            KnownField::ContentEncoding => encoded = !field.value().eq_ignore_ascii_case(b"identity"),
            _ => {}
        }
        // The length of what a GET would have got is all that HEAD is asked for.
        let is_length = known == KnownField::ContentLength && method == Method::Head;
        is_length || reaches_client(known)
    });
    if encoded {
        kind = BodyKind::Opaque;
    }
    Ok(Some(Parsed::Final {
        status: head.status,
        framing: head.framing,
        keep_alive: head.keep_alive,
        kind,
        fields,
        head_bytes: head.head_bytes,
    }))
}

/// Fields about this hop, or about the provider's own host, end here.
fn reaches_client(known: KnownField) -> bool {
    match known {
        KnownField::ContentLength
        | KnownField::SetCookie
        | KnownField::AccessControlOther
        | KnownField::AltSvc
        | KnownField::StrictTransportSecurity => false,
        other => !other.is_routerly(),
    }
}

fn kind_of(content_type: &[u8]) -> BodyKind {
    // As nearly all spell it.
    if content_type == b"application/json" {
        return BodyKind::Json;
    }
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"text/event-stream") {
        BodyKind::Events
    } else if essence.eq_ignore_ascii_case(b"application/json")
        || essence.len() >= 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
    {
        BodyKind::Json
    } else {
        BodyKind::Opaque
    }
}
