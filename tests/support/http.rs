//! A reader of HTTP/1.1 messages, as simple as can be and independent of the gateway's own.
//!
//! It trusts its peer to be well formed and panics where it is not.

use super::wire::{Ending, Wire, find, text};

/// Start line and fields, as they came.
#[derive(Debug, Clone)]
pub struct Head {
    /// With both line ends.
    pub raw: Vec<u8>,
    pub start_line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn read(wire: &mut Wire) -> Self {
        Self::parse(wire.take_until(b"\r\n\r\n"))
    }

    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8(raw.clone()).expect("a head of text");
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start_line = lines.next().unwrap().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        };
        let fields = lines.map(field).collect();
        Self { raw, start_line, fields }
    }

    /// The value of a field that is there at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came twice: {:?}", self.fields);
        all.first().copied()
    }

    /// Values of all fields of a name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    pub fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    pub fn length(&self) -> Option<usize> {
        self.field("content-length").map(|value| value.parse().expect("a length"))
    }

    /// Status of a response.
    pub fn status(&self) -> u16 {
        let mut words = self.start_line.split(' ');
        assert!(words.next().unwrap().starts_with("HTTP/1."), "{}", self.start_line);
        words.next().unwrap().parse().expect("a status")
    }

    /// Method and target of a request.
    pub fn request_line(&self) -> (&str, &str) {
        let mut words = self.start_line.split(' ');
        (words.next().unwrap(), words.next().unwrap())
    }
}

/// A whole request, or a whole response without knowing what it answers.
#[derive(Debug, Clone)]
pub struct Message {
    pub head: Head,
    pub body: Vec<u8>,
    /// Data of each chunk, where the body came in chunks.
    pub chunks: Vec<Vec<u8>>,
}

impl Message {
    /// A request, or the rest of one whose head was read.
    pub fn read_body(wire: &mut Wire, head: Head) -> Self {
        if head.is_chunked() {
            assert_eq!(head.length(), None, "both framings: {:?}", head.fields);
            let mut chunks = Vec::new();
            while let Some(chunk) = read_chunk(wire) {
                chunks.push(chunk);
            }
            return Self { body: chunks.concat(), chunks, head };
        }
        let body = wire.take(head.length().unwrap_or(0));
        Self { head, body, chunks: Vec::new() }
    }

    pub fn json(&self) -> serde_json::Value {
        json(&self.body)
    }
}

/// Data of the next chunk; none for the last one, whose trailer section is read and dropped.
pub fn read_chunk(wire: &mut Wire) -> Option<Vec<u8>> {
    let line = wire.take_until(b"\r\n");
    let digits = String::from_utf8(line).expect("a chunk line");
    let size = digits.trim_end().split(';').next().unwrap();
    let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk line: {digits:?}"));
    if size == 0 {
        while wire.take_until(b"\r\n") != b"\r\n" {}
        return None;
    }
    let mut data = wire.take(size + 2);
    assert!(data.ends_with(b"\r\n"), "no line end behind a chunk: {}", text(&data));
    data.truncate(size);
    Some(data)
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    /// Data of each chunk, where the body came in chunks.
    pub chunks: Vec<Vec<u8>>,
    /// The end of the connection delimited the body.
    pub ended: Option<Ending>,
}

impl Response {
    /// Reads the answer to a request with `method`. Interim answers (1xx) are answers of their own.
    pub fn read(wire: &mut Wire, method: &str) -> Self {
        let head = Head::read(wire);
        Self::read_body(wire, head, method)
    }

    /// Reads the rest of an answer whose head was read.
    pub fn read_body(wire: &mut Wire, head: Head, method: &str) -> Self {
        let status = head.status();
        let has_body = method != "HEAD" && status >= 200 && status != 204 && status != 304;
        if has_body && head.length().is_none() && !head.is_chunked() {
            let (body, ending) = wire.take_to_end();
            return Self { status, head, body, chunks: Vec::new(), ended: Some(ending) };
        }
        let message = if has_body {
            Message::read_body(wire, head)
        } else {
            Message { head, body: Vec::new(), chunks: Vec::new() }
        };
        Self { status, head: message.head, body: message.body, chunks: message.chunks, ended: None }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        json(&self.body)
    }

    /// Panics with the whole answer when it has another status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", text(&self.head.raw), text(&self.body));
        self
    }

    /// `data` of all events of a stream of server-sent events.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with("\n\n"), "the last event is cut: {text:?}");
        let data = |event: &str| {
            let lines: Vec<&str> = event
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("data:").map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
                })
                .collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        };
        text.split("\n\n").filter_map(data).collect()
    }
}

fn json(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", text(body)))
}

/// Whether `needle` is anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &str) -> bool {
    find(haystack, needle.as_bytes()).is_some()
}
