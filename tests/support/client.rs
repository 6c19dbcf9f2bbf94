//! A client of the gateway: bytes as a test writes them, answers as they come.

use std::net::SocketAddr;

use serde_json::Value;

use super::http::{Head, Response, read_chunk};
use super::setup::TOKEN;
use super::wire::{Ending, Wire};

/// One connection to the gateway.
pub struct Client {
    pub wire: Wire,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::connect(address) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes);
    }

    /// Reads the answer to a request whose method was not HEAD.
    pub fn read_response(&mut self) -> Response {
        Response::read(&mut self.wire, "GET")
    }

    /// Reads the answer to a HEAD request.
    pub fn read_head_response(&mut self) -> Response {
        Response::read(&mut self.wire, "HEAD")
    }

    /// Reads the head of an answer; what follows is for [`Client::read_chunk`] or [`Client::read_rest`].
    pub fn read_head(&mut self) -> Head {
        Head::read(&mut self.wire)
    }

    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        read_chunk(&mut self.wire)
    }

    pub fn read_rest(&mut self, head: Head) -> Response {
        Response::read_body(&mut self.wire, head, "GET")
    }

    pub fn read_until(&mut self, mark: impl AsRef<[u8]>) -> Vec<u8> {
        self.wire.take_until(mark.as_ref())
    }

    pub fn expect_closed(&mut self) -> Ending {
        self.wire.expect_closed()
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.send(request);
        let is_head = request.starts_with(b"HEAD ");
        if is_head { self.read_head_response() } else { self.read_response() }
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.call(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"))
    }
}

/// A POST request with the demo token and a JSON body; `fields` are further field lines, each with its line end.
pub fn post(path: &str, fields: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
