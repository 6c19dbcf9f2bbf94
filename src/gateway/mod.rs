//! The life of one inference request: admitted, read, routed, sent, relayed, settled.
//!
//! The only room that knows the whole order. Everything before the first byte to the client may be tried again;
//! after it a failure is said in the client's own dialect. The ledger settles each attempt exactly once, however
//! it ends.
//!
//! ```text
//! Request ─▶ body ─▶ facts ─▶ rank ─▶ attempt ─▶ answer head ─▶ relay ─▶ settled
//!                                       └ failed: next candidate    └ failed: error event, close
//! ```

mod admission;
mod affinity;
mod answer;
mod array;
mod attempt;
mod body;
mod call;
mod candidates;
mod choose;
mod copy;
mod exchange;
mod failover;
mod form;
mod hedge;
mod inner;
mod kept;
mod labels;
mod ledger;
mod local;
mod media;
mod opening;
mod outgoing;
mod passing;
mod passthrough;
mod peek;
mod relay;
mod remembered;
mod request;
mod source;
mod tracer;
mod translated;
mod withhold;

pub use body::read_body;
pub use call::generate;
pub use exchange::{After, Exchange};
pub use form::boundary as form_boundary;
pub use kept::{ResponseCall, response};
pub use local::{append_body, begin_head, models, one_model, plain, write_error};
pub use passthrough::pass_through;
pub use request::{CacheWish, Client, GeminiCall, GeminiForm, Request, StreamTrace, append_forwarded};
