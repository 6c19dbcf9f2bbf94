//! A fresh connection: addresses tried in a staggered race, then the proxy, then TLS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use monoio::net::TcpStream;
use rustls::ClientConfig;

use super::endpoint::{Endpoint, HttpProxy, Scheme};
use super::error::ConnectError;
use super::resolve::Resolver;
use crate::http1::{Method, ResponseSlots, parse_response};
use crate::net::deadline::OnExpiry;
use crate::net::{Conn, Deadlines};

/// Head start of one address before the next is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// What connecting needs from its core.
#[derive(Clone, Copy)]
pub struct Dialer<'a> {
    /// Names to addresses.
    pub resolver: &'a Resolver,
    /// The core's deadlines.
    pub deadlines: &'a Deadlines,
    /// Trust for `https`; `None` before the first endpoint that needs it is configured.
    pub tls: Option<&'a Arc<ClientConfig>>,
    /// Life of a resolved name.
    pub dns_ttl: Duration,
    /// Time for the whole of it: resolve, connect, proxy, hand-shake.
    pub timeout: Duration,
}

impl Dialer<'_> {
    /// Opens a connection on which the next byte is the request's.
    ///
    /// # Errors
    /// [`ConnectError`]; time counts from the call over all steps.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Conn, ConnectError> {
        self.connect_if(endpoint, |_| true).await
    }

    /// [`Dialer::connect`] to those addresses of the endpoint (or of the proxy on the way) that are `allowed`. They are
    /// judged once resolved: a name that means something else a moment later leads nowhere else.
    ///
    /// # Errors
    /// As for [`Dialer::connect`], and where no address is allowed.
    pub async fn connect_if(
        &self,
        endpoint: &Endpoint,
        allowed: impl Fn(IpAddr) -> bool,
    ) -> Result<Conn, ConnectError> {
        match monoio::time::timeout(self.timeout, self.connect_untimed(endpoint, allowed)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout { after: self.timeout }),
        }
    }

    async fn connect_untimed(
        &self,
        endpoint: &Endpoint,
        allowed: impl Fn(IpAddr) -> bool,
    ) -> Result<Conn, ConnectError> {
        let (host, port) = match &endpoint.proxy {
            Some(proxy) => (proxy.host.as_str(), proxy.port),
            None => (endpoint.host.as_str(), endpoint.port),
        };
        let mut addresses = self
            .resolver
            .resolve(host, port, self.dns_ttl)
            .await
            .map_err(|reason| ConnectError::Resolve { host: host.to_owned(), reason })?;
        addresses.retain(|address| allowed(address.ip()));
        if addresses.is_empty() {
            return Err(ConnectError::Forbidden { host: host.to_owned() });
        }
        let stream = race(&addresses).await.map_err(ConnectError::Refused)?;
        let mut conn = Conn::from_tcp(stream, self.deadlines).map_err(ConnectError::Refused)?;
        if endpoint.scheme != Scheme::Https {
            return Ok(conn);
        }
        conn.deadline().set(self.timeout, OnExpiry::Close);
        if let Some(proxy) = &endpoint.proxy {
            open_tunnel(&mut conn, proxy, endpoint).await?;
        }
        let tls = self.tls.ok_or_else(|| ConnectError::Tls(io::Error::other("no trust roots are loaded")))?;
        conn.connect_tls(tls, &endpoint.host).await.map_err(ConnectError::Tls)?;
        conn.deadline().clear();
        Ok(conn)
    }
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// The first address that answers wins; a new one joins whenever [`STAGGER`] has passed or one has failed.
async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<Attempt> = Vec::with_capacity(addresses.len());
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            running.push(Box::pin(TcpStream::connect_addr(address)));
        }
        if running.is_empty() {
            return Err(last);
        }
        let more_wait = waiting.len() > 0;
        let mut stagger = more_wait.then(|| Box::pin(monoio::time::sleep(STAGGER)));
        let outcome = std::future::poll_fn(|cx| {
            for index in 0..running.len() {
                if let Poll::Ready(result) = running[index].as_mut().poll(cx) {
                    drop(running.swap_remove(index));
                    return Poll::Ready(Some(result));
                }
            }
            match &mut stagger {
                Some(timer) => timer.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await;
        match outcome {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

/// Asks the proxy for a tunnel (RFC 9110 section 9.3.6).
async fn open_tunnel(conn: &mut Conn, proxy: &HttpProxy, endpoint: &Endpoint) -> Result<(), ConnectError> {
    let authority = format!("{}:{}", endpoint.host, endpoint.port);
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(credentials) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(credentials);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let failed = |error: io::Error| ConnectError::Proxy(error.to_string());
    conn.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut buf = vec![0; crate::limits::PROXY_HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        let count = conn.read(&mut buf[filled..]).await.map_err(failed)?;
        if count == 0 {
            return Err(ConnectError::Proxy(
                "it closed the connection instead of answering CONNECT".to_owned(),
            ));
        }
        filled += count;
        let mut slots = ResponseSlots::new();
        match parse_response(&buf[..filled], &mut slots, Method::Connect) {
            Ok(Some(head)) if !(200..300).contains(&head.status) => {
                return Err(ConnectError::Proxy(format!("it answered CONNECT with {}", head.status)));
            }
            Ok(Some(head)) if head.head_bytes == filled => return Ok(()),
            Ok(Some(_)) => {
                return Err(ConnectError::Proxy("it sent bytes before the tunnel was used".to_owned()));
            }
            Ok(None) if filled < buf.len() => {}
            Ok(None) => return Err(ConnectError::Proxy("its answer to CONNECT is too long".to_owned())),
            Err(error) => {
                return Err(ConnectError::Proxy(format!("its answer to CONNECT is malformed: {error}")));
            }
        }
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
