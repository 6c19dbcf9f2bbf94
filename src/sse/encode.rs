//! Writes events, for what the gateway itself says in a stream.

/// Appends one event. `name` is the `event` field, left out when empty; `data` may have several lines.
///
/// The name must not contain line ends; what follows one is left out.
pub fn append_event(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    if !name.is_empty() {
        let name = name.split(['\n', '\r']).next().unwrap_or_default();
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    append_lines(out, b"data: ", data);
    out.push(b'\n');
}

/// Appends a comment and the blank line after it, which is how proxies keep a silent stream open.
pub fn append_comment(out: &mut Vec<u8>, text: &[u8]) {
    append_lines(out, b": ", text);
    out.push(b'\n');
}

/// Appends `text` line by line, whichever line ends it has.
fn append_lines(out: &mut Vec<u8>, prefix: &[u8], text: &[u8]) {
    let mut rest = text;
    loop {
        let end = memchr::memchr2(b'\n', b'\r', rest);
        out.extend_from_slice(prefix);
        out.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        match end {
            None => return,
            Some(end) if rest[end..].starts_with(b"\r\n") => rest = &rest[end + 2..],
            Some(end) => rest = &rest[end + 1..],
        }
    }
}
