//! Hedging: a second candidate is asked beside the first where that one is slow to begin, and the first to begin wins.
//!
//! Both attempts run in the request's own task: dropping the loser's future closes its connection, which is how its
//! provider learns that nobody waits any more. Each has books of its own until it is clear who answers; then those of
//! the other are closed with what it was, and joined to the request's.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::candidates::{self, Hopes, How, Last, Verdict, ask_one, first_byte_timeout};
use super::exchange::{Asker, Exchange};
use super::failover::{Failover, Turn};
use super::ledger::Ledger;
use crate::dialect::Dialect;
use crate::json::scan;
use crate::json::splice::Splices;
use crate::shard::{Shard, View};
use crate::telemetry::labels::Endpoint;

/// Both who race have somebody else beside them.
const HOPES: Hopes = Hopes { other: true, any: true };

/// After which time without a beginning a second candidate is asked; none where the request has to do with one.
#[inline]
pub(super) fn delay(how: &How<'_>, failover: &Failover<'_>) -> Option<Duration> {
    let config = &how.snapshot.config;
    let own = config.projects()[how.request.project as usize].hedge_after;
    let delay = own.or(config.settings().upstream.retry.hedge_after).filter(|delay| !delay.is_zero())?;
    (failover.has_next() && may_be_sent_twice(how)).then_some(delay)
}

/// Whether a request has no effect but its answer, as far as can be seen: none on a conversation that a provider keeps,
/// and none through tools that a provider calls by itself on other servers.
fn may_be_sent_twice(how: &How<'_>) -> bool {
    let body = how.asked.body;
    let has =
        |name| scan::member(body, name).is_some_and(|value| !matches!(value.raw, b"null" | b"[]" | b"false"));
    match (how.request.endpoint, how.request.client.dialect) {
        (Endpoint::CountTokens, _) => false,
        (_, Dialect::OpenAiResponses) => {
            !how.asked.facts.has_previous_response_id
                && !has("conversation")
                && !has("background")
                && !calls_servers(body)
        }
        (_, Dialect::AnthropicMessages) => !has("mcp_servers") && !has("container"),
        (_, Dialect::OpenAiChat | Dialect::Gemini) => true,
    }
}

/// Whether a tool of a request is a server that its provider calls.
fn calls_servers(body: &[u8]) -> bool {
    let Some(tools) = scan::member(body, "tools") else { return false };
    let mut found = false;
    let is_server = |tool: &[u8]| scan::member(tool, "type").is_some_and(|kind| kind.raw == b"\"mcp\"");
    // What is no array has no tools in it.
    let _ = scan::elements(tools.raw, |tool| found |= is_server(tool.raw));
    found
}

/// A candidate that may get company.
pub(super) struct Race<'r, 'a> {
    /// What is asked.
    pub how: How<'r>,
    /// Who may be the second one.
    pub failover: &'r mut Failover<'a>,
    /// What the client gets if nobody does better.
    pub last: &'r mut Last,
    /// See [`delay`].
    pub delay: Duration,
}

/// Asks for somebody else who looks whether the client is still there.
struct Beside {
    shard: Rc<Shard>,
    view: Rc<View>,
}

impl Asker for Beside {
    fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    fn view(&self) -> &Rc<View> {
        &self.view
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Who has come to an end.
enum Came {
    First(Verdict),
    Second(Verdict),
}

impl Race<'_, '_> {
    /// Asks the candidate whose turn it is, and another one beside it if it is slow. Whose verdict it is in the end; what the
    /// other one has come to is in the books.
    pub(super) async fn run(
        self,
        exchange: &mut Exchange<'_>,
        ledger: &mut Ledger,
        turn: Turn,
        splices: &mut Splices,
        first_byte: Duration,
    ) -> (Turn, Verdict) {
        let Self { how, failover, last, delay } = self;
        let mut beside = Beside { shard: Rc::clone(exchange.shard), view: Rc::clone(&exchange.view) };
        let shard = Rc::clone(exchange.shard);
        let mut books = ledger.beside();
        let mut first = Box::pin(ask_one(exchange, how, ledger, turn, splices, first_byte, HOPES));
        let timer = Box::pin(monoio::time::sleep(delay));
        let Some(verdict) = either(&mut first, timer).await else {
            let Some((other, first_byte)) = begin(&how, failover, &shard, &mut books) else {
                let verdict = first.await;
                ledger.join(books);
                return (turn, verdict);
            };
            shard.metrics.hedges.add(1);
            let mut splices = Splices::new();
            let mut second =
                Box::pin(ask_one(&mut beside, how, &mut books, other, &mut splices, first_byte, HOPES));
            let came = poll_fn(|cx| {
                if let Poll::Ready(verdict) = first.as_mut().poll(cx) {
                    return Poll::Ready(Came::First(verdict));
                }
                second.as_mut().poll(cx).map(Came::Second)
            });
            return match came.await {
                Came::First(vain @ (Verdict::Refusal(..) | Verdict::Failed(_))) => {
                    drop(first);
                    candidates::give_up(&shard, failover, ledger, last, turn, vain);
                    let verdict = exchange.while_client_stays(second).await.unwrap_or(Verdict::Gone);
                    ledger.go_on_with(books);
                    shard.metrics.hedges_won.add(u64::from(matches!(verdict, Verdict::Answer(..))));
                    (other, verdict)
                }
                Came::First(verdict) => {
                    drop((first, second));
                    failover.left(other);
                    match &verdict {
                        Verdict::Gone => books.client_gone(),
                        _ => books.outrun(),
                    }
                    ledger.join(books);
                    (turn, verdict)
                }
                Came::Second(Verdict::Answer(answer, way, complaint)) => {
                    drop((first, second));
                    failover.left(turn);
                    ledger.outrun();
                    ledger.go_on_with(books);
                    shard.metrics.hedges_won.add(1);
                    (other, Verdict::Answer(answer, way, complaint))
                }
                Came::Second(vain) => {
                    drop(second);
                    candidates::give_up(&shard, failover, &mut books, last, other, vain);
                    let verdict = first.await;
                    ledger.join(books);
                    (turn, verdict)
                }
            };
        };
        drop(first);
        (turn, verdict)
    }
}

/// The second candidate and its time for a first byte, reserved on limits and paid for; none where there is no such one.
fn begin(
    how: &How<'_>,
    failover: &mut Failover<'_>,
    shard: &Shard,
    books: &mut Ledger,
) -> Option<(Turn, Duration)> {
    let index = failover.beside(books)?;
    let target = &how.snapshot.targets[index];
    let first_byte = first_byte_timeout(how.snapshot, how.request, target).ok()?;
    let held = books.hold_beside(index, target).ok();
    let turn = held.and_then(|()| failover.take_beside(shard));
    if turn.is_none() {
        // The first one may take long.
        books.let_go();
    }
    Some((turn?, first_byte))
}

/// What `work` comes to; none when `timer` is over before.
async fn either<T>(
    work: &mut (impl Future<Output = T> + Unpin),
    timer: impl Future<Output = ()> + Unpin,
) -> Option<T> {
    let (mut work, mut timer) = (std::pin::Pin::new(work), timer);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        std::pin::Pin::new(&mut timer).poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_among_tools_are_found() {
        for (body, calls) in [
            (
                r#"{"tools":[{"type":"function","name":"mcp"},{"type": "mcp","server_url":"https://a"}]}"#,
                true,
            ),
            (r#"{"tools":[{"type":"function","name":"mcp"},{"type":"web_search"}]}"#, false),
            (r#"{"tools":{"type":"mcp"}}"#, false),
            (r#"{"input":"x"}"#, false),
        ] {
            assert_eq!(calls_servers(body.as_bytes()), calls, "{body}");
        }
    }
}
