//! Images and documents at URLs on the way to models that take bytes only: fetched within bounds, from where a client may
//! send the gateway.

use serde_json::{Value, json};

use super::client::{self, Ask};
use super::{Dialect, gateway_to, provider};
use crate::support::upstream::Connection;
use crate::support::{Gateway, MockUpstream, Response, Setup};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
/// [`PNG`] in base64.
const PNG_BASE64: &str = "iVBORw0KGgoAAAANSUhEUg==";

/// A server of files; each path is what becomes of it.
fn files() -> MockUpstream {
    MockUpstream::with(|connection: &mut Connection| {
        let Some(request) = connection.next_request() else { return };
        let (method, path) = request.head.request_line();
        assert_eq!(method, "GET");
        assert_eq!(request.head.field("authorization"), None);
        assert_eq!(request.head.field("accept-encoding"), Some("identity"));
        let host = request.head.field("host").unwrap().to_owned();
        let (status, fields, body): (u16, String, Vec<u8>) = match path {
            "/a.png" => (200, "content-type: image/png\r\n".into(), PNG.into()),
            "/unnamed" => (200, String::new(), PNG.into()),
            "/a.pdf" => (200, "content-type: application/pdf\r\n".into(), b"%PDF-1.7".to_vec()),
            "/a.txt" => (200, "content-type: text/plain; charset=utf-8\r\n".into(), "né".into()),
            "/there" => (302, "location: /a.png\r\n".into(), Vec::new()),
            "/elsewhere" => (
                307,
                format!("location: http://{}/a.png\r\n", host.replace("127.0.0.1", "127.0.0.2")),
                Vec::new(),
            ),
            "/around" => (301, "location: /around\r\n".into(), Vec::new()),
            "/page" => (200, "content-type: text/html\r\n".into(), b"<html>".to_vec()),
            "/zipped" => (200, "content-type: image/png\r\ncontent-encoding: gzip\r\n".into(), PNG.into()),
            "/large" => (200, "content-type: image/png\r\n".into(), vec![0; 2_000]),
            _ => (404, String::new(), b"no".to_vec()),
        };
        let head = format!("HTTP/1.1 {status} X\r\n{fields}content-length: {}\r\n\r\n", body.len());
        connection.send(head);
        connection.send(body);
    })
}

fn gateway(upstream: &MockUpstream, dialect: Dialect) -> Setup {
    gateway_to(upstream, dialect)
        .setting("media.allowHosts", json!(["127.0.0.1"]))
        .setting("media.bytesMax", 1_024)
}

fn ask_about(gateway: &Gateway, part: Value) -> Response {
    let body = json!({"model": "up/model", "max_tokens": 100, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]});
    gateway.call(client::request_of(Dialect::Anthropic, false, "", &body))
}

fn image(files: &MockUpstream, path: &str) -> Value {
    json!({"type": "image", "source": {"type": "url", "url": format!("http://{}{path}", files.address())}})
}

fn document(files: &MockUpstream, path: &str) -> Value {
    json!({"type": "document", "source": {"type": "url", "url": format!("http://{}{path}", files.address())}})
}

#[test]
fn what_a_model_takes_only_as_bytes_is_fetched() {
    let files = files();
    let upstream = MockUpstream::with(provider::plays(Dialect::Gemini, Ask::default()));
    let to_gemini = gateway(&upstream, Dialect::Gemini).start();
    for path in ["/a.png", "/unnamed", "/there"] {
        ask_about(&to_gemini, image(&files, path)).expect(200);
        let asked = upstream.next_request().1.json();
        let part = &asked["contents"][0]["parts"][1]["inlineData"];
        assert_eq!(*part, json!({"mimeType": "image/png", "data": PNG_BASE64}), "{path}: {asked}");
    }
    ask_about(&to_gemini, document(&files, "/a.pdf")).expect(200);
    let asked = upstream.next_request().1.json();
    assert_eq!(asked["contents"][0]["parts"][1]["inlineData"]["data"], "JVBERi0xLjc=", "{asked}");
    // In a result of a tool, and twice the same.
    let url = image(&files, "/a.png");
    let before = files.accepted();
    let body = json!({"model": "up/model", "max_tokens": 100, "messages": [
        {"role": "user", "content": [url, url]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [url]}]}]});
    to_gemini.call(client::request_of(Dialect::Anthropic, false, "", &body)).expect(200);
    let asked = upstream.next_request().1.json().to_string();
    assert_eq!(asked.matches(PNG_BASE64).count(), 3, "{asked}");
    assert_eq!(files.accepted(), before + 1);

    let upstream = MockUpstream::with(provider::plays(Dialect::Chat, Ask::default()));
    let to_chat = gateway(&upstream, Dialect::Chat).start();
    ask_about(&to_chat, document(&files, "/a.pdf")).expect(200);
    let asked = upstream.next_request().1.json().to_string();
    assert!(asked.contains("data:application/pdf;base64,JVBERi0xLjc="), "{asked}");
    let answer = ask_about(&to_chat, document(&files, "/a.txt")).expect(200);
    assert_eq!(answer.field("x-routerly-translation"), Some("changed=document_text"));
    let asked = upstream.next_request().1.json().to_string();
    assert!(asked.contains("né"), "{asked}");
    // It takes images by their URL.
    let before = files.accepted();
    ask_about(&to_chat, image(&files, "/a.png")).expect(200);
    assert_eq!(files.accepted(), before);
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let files = files();
    let upstream = MockUpstream::with(provider::plays(Dialect::Gemini, Ask::default()));
    let gateway = gateway(&upstream, Dialect::Gemini).start();
    for (path, words) in [
        ("/missing", "it answers with status 404"),
        ("/page", "what is there is text/html"),
        ("/a.pdf", "what is there is application/pdf"),
        ("/zipped", "it is sent compressed, which was not asked for"),
        ("/large", "it has more than 1024 bytes"),
        ("/around", "it is redirected more than 4 times"),
        // Only one host was allowed, and the other one is no address of the internet.
        ("/elsewhere", "127.0.0.2 is not on the public internet"),
    ] {
        let refused = ask_about(&gateway, image(&files, path)).expect(400).json();
        let message = refused["error"]["message"].as_str().unwrap();
        let url = format!("http://{}{path}", files.address());
        assert!(
            message.contains("`image_url`") && message.contains(&url) && message.contains(words),
            "{message}"
        );
    }
    for (url, words) in [
        ("ftp://example.com/a.png", "it does not start with http:// or https://"),
        ("http://localhost/a.png", "localhost is not on the public internet"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254 is not on the public internet"),
        ("http://[::ffff:10.0.0.1]/a.png", "is not on the public internet"),
        ("http://2130706433/a.png", ""),
        ("https://example.com/a.png", "`https` can be read only where a provider is called by it"),
    ] {
        let part = json!({"type": "image", "source": {"type": "url", "url": url}});
        let refused = ask_about(&gateway, part).expect(400).json();
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("`image_url`") && message.contains(words), "{url}: {message}");
    }
    assert_eq!(upstream.accepted(), 0);
}

#[test]
fn nothing_is_fetched_where_that_is_switched_off() {
    let files = files();
    let upstream = MockUpstream::with(provider::plays(Dialect::Gemini, Ask::default()));
    let gateway = gateway(&upstream, Dialect::Gemini).setting("media.fetch", false).start();
    let refused = ask_about(&gateway, image(&files, "/a.png")).expect(400).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("`image_url`"), "{refused}");
    assert_eq!((files.accepted(), upstream.accepted()), (0, 0));
}

#[test]
fn a_server_that_never_ends_is_given_up_in_time() {
    let files = MockUpstream::manual();
    let upstream = MockUpstream::with(provider::plays(Dialect::Gemini, Ask::default()));
    let gateway = gateway(&upstream, Dialect::Gemini).setting("media.timeoutMs", 200).start();
    let (part, mut client) = (image(&files, "/a.png"), gateway.client());
    let body =
        json!({"model": "up/model", "max_tokens": 100, "messages": [{"role": "user", "content": [part]}]});
    for sends_head in [false, true] {
        client.send(client::request_of(Dialect::Anthropic, false, "", &body));
        let mut connection = files.accept();
        connection.read_request();
        if sends_head {
            connection.send("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 5\r\n\r\nab");
        }
        let refused = client.read_response().expect(400).json();
        assert!(refused["error"]["message"].as_str().unwrap().contains("it takes too long"), "{refused}");
    }
}
