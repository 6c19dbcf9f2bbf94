//! Server-sent events, sans I/O: finds events in the bytes of a stream, writes events.
//!
//! Owns the line and block structure of `text/event-stream`. Does not know what an event means, keeps no clock and
//! changes no byte: a relay sends the bytes it received, this room only says where events lie in them.
//! Rules: WHATWG HTML, section 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream".

mod decode;
mod encode;
#[doc(hidden)]
pub mod fuzz;

pub use decode::{Block, BlockDecoder, Event, Observer, Step};
pub use encode::{append_comment, append_event};
