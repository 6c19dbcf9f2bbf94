//! What the mock provider answers and what the load asks: fixed bytes, laid out once at start.
//!
//! Shapes follow the providers' public API references (OpenAI chat completions, Anthropic messages);
//! the texts are made up. Every streamed content event holds [`MARKER`] exactly once, in any dialect, so
//! that a translated stream can be counted too.

/// Stands in the text of every streamed content event.
pub const MARKER: &[u8] = b"mocktok";

/// The dialect of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Chat,
    Anthropic,
}

impl Dialect {
    pub fn of_request_line(line: &[u8]) -> Self {
        let messages = memchr::memmem::find(line, b"/messages").is_some();
        if messages { Dialect::Anthropic } else { Dialect::Chat }
    }

    pub fn path(self) -> &'static str {
        match self {
            Dialect::Chat => "/v1/chat/completions",
            Dialect::Anthropic => "/v1/messages",
        }
    }
}

/// The bytes of one kind of answer, HTTP framing included.
pub struct Script {
    /// The answer to a request that does not stream.
    pub unary: Vec<u8>,
    /// Length of its body.
    pub unary_body_len: usize,
    /// Head of a stream and its opening events.
    pub open: Vec<u8>,
    /// One content event.
    pub event: Vec<u8>,
    /// Closing events and the last chunk.
    pub close: Vec<u8>,
    /// The same with the usage that the client asked for.
    pub close_with_usage: Vec<u8>,
}

const HEAD_COMMON: &str = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: mock\r\nx-request-id: req_mock0123456789\r\n\
     openai-processing-ms: 1\r\nx-ratelimit-remaining-requests: 9999\r\n";

impl Script {
    pub fn new(dialect: Dialect) -> Self {
        let body = match dialect {
            Dialect::Chat => chat_body(),
            Dialect::Anthropic => anthropic_body(),
        };
        let mut unary = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{HEAD_COMMON}Content-Length: {}\r\n\r\n",
            body.len()
        );
        unary.push_str(&body);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n\
             {HEAD_COMMON}Transfer-Encoding: chunked\r\n\r\n"
        );
        let events = match dialect {
            Dialect::Chat => chat_events(),
            Dialect::Anthropic => anthropic_events(),
        };
        Self {
            unary: unary.into_bytes(),
            unary_body_len: body.len(),
            open: [head.into_bytes(), chunk(&events.open)].concat(),
            event: chunk(&events.event),
            close: [chunk(&events.close), LAST_CHUNK.to_vec()].concat(),
            close_with_usage: [chunk(&events.close_with_usage), LAST_CHUNK.to_vec()].concat(),
        }
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn chunk(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

fn chat_body() -> String {
    let text =
        "The quick brown fox jumps over the lazy dog, and the dog, half asleep in the warm sun of the afternoon, minds it not. "
            .repeat(2);
    format!(
        "{{\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion\",\"created\":1767225600,\
         \"model\":\"mock-large\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{text}\",\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":42,\"completion_tokens\":36,\"total_tokens\":78,\
         \"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0}}}},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}}"
    )
}

fn anthropic_body() -> String {
    let text =
        "The quick brown fox jumps over the lazy dog, and the dog, half asleep in the warm sun of the afternoon, minds it not. "
            .repeat(3);
    format!(
        "{{\"id\":\"msg_mock0123456789\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"mock-large\",\
         \"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\"stop_reason\":\"end_turn\",\
         \"stop_sequence\":null,\"usage\":{{\"input_tokens\":42,\"cache_creation_input_tokens\":0,\
         \"cache_read_input_tokens\":0,\"output_tokens\":36,\"service_tier\":\"standard\"}}}}"
    )
}

/// The events of a stream as text: before, each, after, and after with usage.
struct Events {
    open: String,
    event: String,
    close: String,
    close_with_usage: String,
}

fn chat_events() -> Events {
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion.chunk\",\
             \"created\":1767225600,\"model\":\"mock-large\",\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let delta = |delta: &str, finish: &str| {
        chunk(&format!("{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}"), "")
    };
    let finish = delta("", "\"stop\"");
    let usage = chunk("", ",\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":36,\"total_tokens\":78}");
    Events {
        open: delta("\"role\":\"assistant\",\"content\":\"\"", "null"),
        event: delta("\"content\":\" mocktok\"", "null"),
        close: format!("{finish}data: [DONE]\n\n"),
        close_with_usage: format!("{finish}{usage}data: [DONE]\n\n"),
    }
}

fn anthropic_events() -> Events {
    let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let start = event(
        "message_start",
        ",\"message\":{\"id\":\"msg_mock0123456789\",\"type\":\"message\",\"role\":\"assistant\",\
         \"model\":\"mock-large\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
         \"usage\":{\"input_tokens\":42,\"output_tokens\":1}}",
    );
    let block =
        event("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
    let stop = event("content_block_stop", ",\"index\":0");
    let usage = event(
        "message_delta",
        ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":36}",
    );
    let close = format!("{stop}{usage}{}", event("message_stop", ""));
    Events {
        open: format!("{start}{block}"),
        event: event(
            "content_block_delta",
            ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" mocktok\"}",
        ),
        close_with_usage: close.clone(),
        close,
    }
}

/// Length of the body of a request that does not stream, in bytes.
pub const REQUEST_BODY_LEN: usize = 270;

/// One request of the load, head and body.
pub fn request(dialect: Dialect, stream: bool, host: &str, token: &str) -> Vec<u8> {
    let open = match stream {
        true => {
            "{\"model\":\"bench\",\"stream\":true,\"max_tokens\":256,\"messages\":[{\"role\":\"user\",\"content\":\""
        }
        false => "{\"model\":\"bench\",\"max_tokens\":256,\"messages\":[{\"role\":\"user\",\"content\":\"",
    };
    let end = "\"}]}";
    let words = "Please tell me in one short paragraph why the sky is blue at noon and red at dusk. ";
    let fill = words.chars().cycle().take(REQUEST_BODY_LEN - open.len() - end.len());
    let body: String = open.chars().chain(fill).chain(end.chars()).collect();
    let path = dialect.path();
    let version = match dialect {
        Dialect::Chat => "",
        Dialect::Anthropic => "anthropic-version: 2023-06-01\r\n",
    };
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{version}\
         Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: compare/0.1\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Dechunker, Framing, parse_head};

    #[test]
    fn a_request_has_the_stated_length_and_a_head() {
        for (dialect, stream) in [(Dialect::Chat, false), (Dialect::Chat, true), (Dialect::Anthropic, true)] {
            let bytes = request(dialect, stream, "127.0.0.1:1", "sk-rt-0");
            let head = parse_head(&bytes).expect("complete");
            assert_eq!(head.framing, Framing::Length(REQUEST_BODY_LEN));
            assert_eq!(bytes.len() - head.len, REQUEST_BODY_LEN);
            assert_eq!(Dialect::of_request_line(head.start_line), dialect);
        }
    }

    #[test]
    fn a_stream_is_one_chunked_body_with_one_marker_per_event() {
        for dialect in [Dialect::Chat, Dialect::Anthropic] {
            let script = Script::new(dialect);
            let stream = [&script.open, &script.event, &script.event, &script.close_with_usage];
            let bytes: Vec<u8> = stream.into_iter().flatten().copied().collect();
            let head_len = parse_head(&bytes).expect("complete").len;
            let (mut decoder, mut text) = (Dechunker::default(), Vec::new());
            let used = decoder.feed(&bytes[head_len..], |part| text.extend_from_slice(part));
            assert!(decoder.is_done() && used == bytes.len() - head_len);
            assert_eq!(memchr::memmem::find_iter(&text, MARKER).count(), 2);
        }
    }

    #[test]
    fn the_answer_is_about_six_hundred_bytes() {
        for dialect in [Dialect::Chat, Dialect::Anthropic] {
            let script = Script::new(dialect);
            assert!((540..=720).contains(&script.unary_body_len), "{}", script.unary_body_len);
        }
    }
}
