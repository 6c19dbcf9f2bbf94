//! One request and its answer on one client connection: the state that all steps share.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::copy::Copy;
use super::ledger::Ledger;
use super::local;
use super::request::{Client, Request};
use crate::http1::Framing;
use crate::net::{Conn, Input};
use crate::respond::GatewayError;
use crate::shard::{Shard, View};

/// What becomes of the client's connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It waits for the next request.
    KeepAlive,
    /// It is closed, after the client had time to read the answer.
    Close,
    /// The client is gone: closed at once.
    Abort,
    /// The client must see that the answer is incomplete: reset.
    Reset,
}

/// The client's side of one exchange.
pub struct Exchange<'a> {
    /// The core.
    pub shard: &'a Rc<Shard>,
    /// The configuration that this exchange began with.
    pub view: Rc<View>,
    /// The client's connection.
    pub conn: &'a mut Conn,
    /// Bytes of it that are not used yet.
    pub input: &'a mut Input,
    /// Whether the request's body has been read to its end: only then can another request follow.
    pub body_done: bool,
    /// What the client is sent is copied here, for others who ask the same.
    pub(super) copy: Option<Box<Copy>>,
}

impl<'a> Exchange<'a> {
    /// Begins an exchange.
    pub fn new(
        shard: &'a Rc<Shard>,
        view: Rc<View>,
        conn: &'a mut Conn,
        input: &'a mut Input,
        framing: Framing,
    ) -> Self {
        let body_done = matches!(framing, Framing::None | Framing::Length(0));
        Self { shard, view, conn, input, body_done, copy: None }
    }

    /// Whether the connection may carry another request.
    pub fn keeps_alive(&self, client: &Client) -> bool {
        client.keep_alive
            && self.body_done
            && !self.shard.mailbox.is_draining()
            && !self.conn.deadline().reading_stopped()
    }

    /// The answer begins whose body is copied, if any is.
    #[inline]
    pub(super) fn begin_copy(&mut self, content_type: &str) {
        if let Some(copy) = &mut self.copy {
            copy.begin(content_type);
        }
    }

    /// Payload that is about to go to the client.
    #[inline]
    pub(super) fn copy(&mut self, payload: &[u8]) {
        if let Some(copy) = &mut self.copy {
            copy.push(payload);
        }
    }

    /// Answers with an error of ours and closes the books of the request.
    pub(super) async fn refuse(
        &mut self,
        request: &Request,
        ledger: &mut Ledger,
        error: &GatewayError,
    ) -> After {
        ledger.refused(error);
        let keep_alive = self.keeps_alive(&request.client);
        let mut answer = self.shard.take_head();
        local::write_error(&mut answer, &request.client, error, keep_alive);
        let sent = self.conn.write_all(&answer).await;
        self.shard.give_back_head(answer);
        after(sent, keep_alive)
    }
}

/// Somebody who asks providers, as long as somebody wants the answer.
pub(super) trait Asker {
    /// The core.
    fn shard(&self) -> &Rc<Shard>;

    /// The configuration that it began with.
    fn view(&self) -> &Rc<View>;

    /// Completes when nobody wants the answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Waits until the provider has sent something; `false` when the client left first.
    async fn provider_ready(&mut self, provider: &mut Conn) -> bool {
        std::future::poll_fn(|cx| {
            if provider.poll_data(cx).is_ready() {
                return Poll::Ready(true);
            }
            self.poll_gone(cx).map(|()| false)
        })
        .await
    }

    /// Runs `work` as long as the client is there; `None` when it left first.
    async fn while_client_stays<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_gone(cx).map(|()| None)
        })
        .await
    }

    /// Sends `parts` to the provider as long as it takes them. It may answer before it has read all, and the client
    /// may leave meanwhile.
    async fn send_to_provider(&mut self, provider: &mut Conn, parts: &[&[u8]]) -> io::Result<Sent> {
        send_watching(provider, parts, |cx| self.poll_gone(cx)).await
    }
}

impl Asker for Exchange<'_> {
    fn shard(&self) -> &Rc<Shard> {
        self.shard
    }

    fn view(&self) -> &Rc<View> {
        &self.view
    }

    /// Before the client's body is read, silence is all that is known of it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body_done { self.input.poll_gone(self.conn, &self.shard.buffers, cx) } else { Poll::Pending }
    }
}

/// How far a request got on its way to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it.
    All,
    /// The provider speaks before it has taken all.
    Answered,
    /// The client left.
    ClientGone,
}

/// Sends `parts` to `provider` until it has taken all, speaks itself, or `gone` completes.
pub(super) async fn send_watching(
    provider: &mut Conn,
    parts: &[&[u8]],
    mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> io::Result<Sent> {
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() || provider.has_unsent() {
            match provider.try_write(rest) {
                Ok(count @ 1..) => {
                    rest = &rest[count..];
                    continue;
                }
                Ok(_) if rest.is_empty() && !provider.has_unsent() => break,
                Ok(_) => {}
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
            let outcome = std::future::poll_fn(|cx| {
                if provider.poll_writable(cx).is_ready() {
                    return Poll::Ready(None);
                }
                if provider.poll_data(cx).is_ready() {
                    return Poll::Ready(Some(Sent::Answered));
                }
                gone(cx).map(|()| Some(Sent::ClientGone))
            })
            .await;
            if let Some(sent) = outcome {
                return Ok(sent);
            }
        }
    }
    Ok(Sent::All)
}

/// Whether an error of a read or write means "not now".
pub(super) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What follows from a write.
pub(super) fn after(sent: io::Result<()>, keep_alive: bool) -> After {
    match (sent, keep_alive) {
        (Err(_), _) => After::Abort,
        (Ok(()), true) => After::KeepAlive,
        (Ok(()), false) => After::Close,
    }
}
