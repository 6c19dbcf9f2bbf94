//! What a connection remembers from one request to the next, so that the same head is not judged anew each time.
//!
//! Nothing is remembered that could change unseen: the configuration by its generation, the token by its last day.

use std::sync::Arc;
use std::time::Instant;

use super::table::Route;
use super::{Admitted, What};
use crate::auth::{LastToken, Prover};
use crate::gateway::{Client, Request};
use crate::http1::{Framing, RepeatedHead, RequestHead};
use crate::mailbox::Reply;
use crate::shard::View;
use crate::telemetry::ids::TraceId;

/// Heads in a row that are kept without one of them coming again: a client whose heads differ must not pay for it.
const KEPT_MAX: u8 = 8;

/// What one connection remembers.
#[derive(Default)]
pub struct Recall {
    pub(super) token: LastToken,
    head: Option<Box<Known>>,
    /// Heads that were parsed since one was known again.
    parsed: u8,
}

/// A head and what came of it.
struct Known {
    head: RepeatedHead,
    generation: u64,
    expires_at_ms: u64,
    request: Request,
    route: Route,
}

impl Recall {
    /// Admits the request at the start of `input` if its head is the one that was remembered, the length of its body
    /// aside; with the bytes of the head.
    #[inline]
    pub fn admit(&mut self, view: &View, input: &[u8], arrival: Arrival) -> Option<(Admitted, usize)> {
        let known = self.head.as_deref()?;
        if known.generation != view.snapshot.generation || arrival.unix_ms >= known.expires_at_ms {
            return None;
        }
        let (length, head_bytes) = known.head.read(input)?;
        self.parsed = 0;
        let framing = Framing::Length(length);
        let client = Client { trace: arrival.trace, ..known.request.client };
        let request = Request { client, started: arrival.at, framing, ..known.request.clone() };
        let what = What::Project(Box::new(request), known.route.clone());
        Some((Admitted { client, framing, what }, head_bytes))
    }

    /// Has the token verified that was judged last, where it may be one stored as a slow hash; `None` when too many are
    /// waiting for that.
    pub fn prove(&self, view: &View, prover: &Prover, now_unix_ms: u64) -> Option<Arc<Reply<()>>> {
        view.snapshot.tokens.prove(prover, &self.token, now_unix_ms)
    }

    /// Remembers how the head at the start of `input` was admitted, if that may come again: neither the first of a
    /// connection, which is often the only one, nor one more of a client whose heads all differ.
    pub(super) fn remember(
        &mut self,
        view: &View,
        input: &[u8],
        head: &RequestHead<'_, '_>,
        admitted: &Admitted,
    ) {
        let is_first = self.parsed == 0 && self.head.is_none();
        self.parsed = self.parsed.saturating_add(1);
        if is_first || self.parsed > KEPT_MAX {
            return;
        }
        let What::Project(request, route @ (Route::Generate(_) | Route::CountTokens)) = &admitted.what else {
            return;
        };
        self.head = RepeatedHead::of(input, head).map(|head| {
            let token = view.snapshot.token(request.principal);
            Box::new(Known {
                head,
                generation: view.snapshot.generation,
                expires_at_ms: token.expires_at_ms.unwrap_or(u64::MAX),
                request: Request::clone(request),
                route: route.clone(),
            })
        });
    }
}

/// When a head was complete, and the id that its request got.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// On the monotonic clock.
    pub at: Instant,
    /// On the wall clock, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Id of the request.
    pub trace: TraceId,
}
