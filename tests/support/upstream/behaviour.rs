//! What a provider may do with a connection, well and badly. Each name says what happens.

use super::Connection;

/// Body of a small chat completion with 5 tokens in and 7 out.
pub const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
/// Body of a small message with 5 tokens in and 7 out.
pub const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"messages","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":7}}"#;
/// Body of a small response with 5 tokens in and 7 out.
pub const RESPONSE: &str = r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"responses","output":[{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello","annotations":[]}]}],"usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}"#;

/// A whole JSON answer with a length.
pub fn json_answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Answers every request with the same bytes and keeps the connection.
pub fn answers(answer: impl Into<Vec<u8>>) -> impl Fn(&mut Connection) {
    let answer = answer.into();
    move |connection| {
        while connection.next_request().is_some() {
            if !connection.wire.try_send(&answer) {
                return;
            }
        }
    }
}

/// Answers every request by its path with the small answer of that dialect.
pub fn answers_each_dialect(connection: &mut Connection) {
    while let Some(request) = connection.next_request() {
        let (_, target) = request.head.request_line();
        let body = if target.ends_with("/messages") {
            MESSAGE
        } else if target.ends_with("/responses") {
            RESPONSE
        } else {
            CHAT
        };
        connection.answer(200, body);
    }
}

/// Sends these bytes after the request and ends the connection in order.
pub fn answers_and_closes(answer: impl Into<Vec<u8>>) -> impl Fn(&mut Connection) {
    let answer = answer.into();
    move |connection| {
        connection.read_request();
        connection.wire.try_send(&answer);
    }
}

/// Reads the request and ends the connection without a byte.
pub fn closes_before_head(connection: &mut Connection) {
    connection.read_request();
}

/// Takes the request and never answers, until the gateway ends the connection.
pub fn never_answers(connection: &mut Connection) {
    while connection.next_request().is_some() {}
}

/// Sends these bytes after the request and then nothing, until the gateway ends the connection.
pub fn stalls_after(answer: impl Into<Vec<u8>>) -> impl Fn(&mut Connection) {
    let answer = answer.into();
    move |connection| {
        connection.read_request();
        connection.wire.try_send(&answer);
        while connection.next_request().is_some() {}
    }
}
