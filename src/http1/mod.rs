//! HTTP/1.1 wire format, sans I/O: heads, framing, chunked coding, writer.
//!
//! Owns the way from bytes to a message and back, for both sides of the gateway: [`parse_request`] reads what
//! clients send, [`parse_response`] what providers answer, [`BodyDecoder`] and [`ChunkedDecoder`] find the body
//! behind a head, [`writer`] appends heads and chunk lines to a buffer. It knows no sockets, no clock, no
//! endpoint and no dialect, and it allocates nothing but the writer's output.
//!
//! Rule of the room: a message that two careful readers of RFC 9112 could cut differently is refused, not
//! repaired. What is merely unusual (`"http"` in capitals, an unknown method, obs-text in a value) passes.
//!
//! ```text
//! bytes ──▶ parse_request / parse_response ──▶ head + framing ──▶ BodyDecoder ──▶ payload ranges, end
//!            │ head.rs: httparse, then           │ facts.rs         │ body.rs, chunked.rs
//!            │ diagnose.rs on failure            │ target.rs        └▶ relay.rs: wire bytes of a chunked body
//! ```
//!
//! Source: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 3986 (URI).

mod body;
mod chunked;
mod diagnose;
mod error;
mod facts;
mod field;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod known;
mod octets;
mod relay;
mod repeated;
mod retry_after;
mod target;
pub mod writer;

#[cfg(test)]
mod tests;

pub use body::{BodyDecoder, Truncated};
pub use chunked::{ChunkError, ChunkedDecoder, Step};
pub use error::HeadError;
pub use facts::Connection;
pub use field::{Field, FieldSlots, Fields, RequestSlots, ResponseSlots};
pub use head::{
    Framing, HeadProgress, Method, RequestHead, ResponseHead, Version, parse_request, parse_response,
};
pub use known::{KnownField, is_hop_by_hop};
pub use relay::{ChunkedRelay, RelayProgress, RelaySink};
pub use repeated::RepeatedHead;
pub use retry_after::retry_after;
