//! What the gateway says about itself at the start of a stream. Rules: the project's proxy API, section 12.

use super::Dialect;
use super::error::append_member;
use crate::budget::money::Picodollars;
use crate::json::text::{append_number, append_string};
use crate::sse::{append_comment, append_event};

/// The summary that opens a stream.
#[derive(Debug, Clone, Copy)]
pub struct TraceSummary<'a> {
    /// The routed model's id.
    pub model: &'a str,
    /// Its provider.
    pub provider: &'a str,
    /// Types of the policies that were in force.
    pub policies: &'a [&'a str],
    /// What the call is expected to cost, if the model has a price.
    pub cost_estimate: Option<Picodollars>,
    /// The request's trace id.
    pub trace_id: &'a str,
    /// Now, in seconds since the epoch.
    pub unix_seconds: u64,
}

/// Appends the opening trace of a stream.
///
/// Chat: an event that is both a trace and a valid chunk with empty `choices`. Responses and Anthropic: a comment
/// (`: routerly {…}`), because their clients refuse events they do not know, or parse them as something else. Gemini:
/// nothing, because Google's own SDK for Python parses comments as JSON (google-genai 3.4.0).
pub fn write_trace(out: &mut Vec<u8>, dialect: Dialect, trace: &TraceSummary<'_>) {
    let mut json = Vec::with_capacity(384);
    match dialect {
        Dialect::OpenAiChat => {
            json.extend_from_slice(b"{\"type\":\"trace\",\"id\":");
            append_chunk_id(&mut json, trace.trace_id);
            json.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
            append_number(&mut json, trace.unix_seconds);
            json.extend_from_slice(b",\"choices\":[]");
            append_summary(&mut json, trace);
            append_event(out, "", &json);
        }
        Dialect::Gemini => {}
        Dialect::OpenAiResponses | Dialect::AnthropicMessages => {
            json.extend_from_slice(b"routerly {\"type\":\"trace\"");
            append_summary(&mut json, trace);
            append_comment(out, &json);
        }
    }
}

/// Appends an entry of the trace, for clients that want to see all of them, in the form that [`write_trace`] has for the
/// dialect. `entry` is a JSON object without line feeds.
pub fn write_trace_entry(out: &mut Vec<u8>, dialect: Dialect, trace: &TraceSummary<'_>, entry: &[u8]) {
    let mut json = Vec::with_capacity(256);
    match dialect {
        Dialect::Gemini => {}
        Dialect::OpenAiChat => {
            json.extend_from_slice(b"{\"type\":\"trace\",\"id\":");
            append_chunk_id(&mut json, trace.trace_id);
            json.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
            append_number(&mut json, trace.unix_seconds);
            append_member(&mut json, "model", trace.model);
            json.extend_from_slice(b",\"choices\":[]");
            append_entry(&mut json, entry);
            append_event(out, "", &json);
        }
        Dialect::OpenAiResponses | Dialect::AnthropicMessages => {
            json.extend_from_slice(b"routerly {\"type\":\"trace\"");
            append_entry(&mut json, entry);
            append_comment(out, &json);
        }
    }
}

/// Appends the member `entry` and the closing brace.
fn append_entry(out: &mut Vec<u8>, entry: &[u8]) {
    out.extend_from_slice(b",\"entry\":");
    out.extend_from_slice(entry);
    out.push(b'}');
}

/// Appends `chatcmpl-` and the trace id as a string.
fn append_chunk_id(out: &mut Vec<u8>, trace_id: &str) {
    out.extend_from_slice(b"\"chatcmpl-");
    out.extend(trace_id.bytes().filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'-'));
    out.push(b'"');
}

/// Appends the members that all forms share and the closing brace.
fn append_summary(out: &mut Vec<u8>, trace: &TraceSummary<'_>) {
    append_member(out, "model", trace.model);
    append_member(out, "provider", trace.provider);
    out.extend_from_slice(b",\"policies\":[");
    for (index, policy) in trace.policies.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_string(out, policy);
    }
    out.push(b']');
    if let Some(cost) = trace.cost_estimate {
        out.extend_from_slice(b",\"costEstimate\":");
        append_usd(out, cost);
    }
    append_member(out, "traceId", trace.trace_id);
    out.push(b'}');
}

/// Appends an amount in USD as a decimal number, exactly and without trailing zeros.
fn append_usd(out: &mut Vec<u8>, amount: Picodollars) {
    const PICO: u64 = 1_000_000_000_000;
    append_number(out, amount.0 / PICO);
    let fraction = amount.0 % PICO;
    if fraction == 0 {
        return;
    }
    // The leading 1 keeps the zeros behind the point.
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(PICO + fraction)[1..].trim_end_matches('0');
    out.push(b'.');
    out.extend_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::openai_chat::is_usage_only_chunk;
    use crate::sse::Observer;

    const TRACE: TraceSummary<'_> = TraceSummary {
        model: "openai/gpt-\"5\"",
        provider: "openai",
        policies: &["health", "cheapest"],
        cost_estimate: Some(Picodollars(25_000_000)),
        trace_id: "0198c5-7",
        unix_seconds: 17,
    };

    #[test]
    fn an_entry_is_a_valid_chunk_or_a_comment() {
        let expected = json!({"panel": "response", "message": "model:error", "ts": 12,
            "details": {"modelId": "m", "error": "a \"b\"\nc"}});
        let entry = expected.to_string().into_bytes();
        let mut out = Vec::new();
        write_trace_entry(&mut out, Dialect::OpenAiChat, &TRACE, &entry);
        let text = String::from_utf8(out).unwrap();
        let value: Value = serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            (&value["type"], &value["choices"], &value["entry"]),
            (&json!("trace"), &json!([]), &expected)
        );
        assert_eq!((&value["object"], &value["created"]), (&json!("chat.completion.chunk"), &json!(17)));
        for dialect in [Dialect::OpenAiResponses, Dialect::AnthropicMessages] {
            let mut out = Vec::new();
            write_trace_entry(&mut out, dialect, &TRACE, &entry);
            let text = String::from_utf8(out).unwrap();
            let value: Value = serde_json::from_str(text.strip_prefix(": routerly ").unwrap()).unwrap();
            assert_eq!(value, json!({"type": "trace", "entry": expected}));
        }
        let mut out = Vec::new();
        write_trace_entry(&mut out, Dialect::Gemini, &TRACE, &entry);
        assert!(out.is_empty());
    }

    #[test]
    fn the_trace_of_a_chat_stream_is_a_valid_chunk() {
        let mut out = Vec::new();
        write_trace(&mut out, Dialect::OpenAiChat, &TRACE);
        let mut events = Vec::new();
        Observer::new().feed(&out, |event| {
            assert!(!is_usage_only_chunk(&event.data));
            events.push(serde_json::from_slice::<Value>(&event.data).unwrap());
        });
        let expected = json!({
            "type": "trace", "id": "chatcmpl-0198c5-7", "object": "chat.completion.chunk", "created": 17,
            "choices": [], "model": TRACE.model, "provider": "openai", "policies": ["health", "cheapest"],
            "costEstimate": 0.000025, "traceId": "0198c5-7",
        });
        assert_eq!(events, [expected]);
    }

    #[test]
    fn a_gemini_stream_has_no_trace() {
        let mut out = Vec::new();
        write_trace(&mut out, Dialect::Gemini, &TRACE);
        assert!(out.is_empty());
    }

    #[test]
    fn the_trace_of_other_streams_is_a_comment() {
        for dialect in [Dialect::OpenAiResponses, Dialect::AnthropicMessages] {
            let mut out = Vec::new();
            write_trace(&mut out, dialect, &TraceSummary { cost_estimate: None, ..TRACE });
            Observer::new().feed(&out, |_| panic!("a comment is no event"));
            let text = std::str::from_utf8(&out).unwrap();
            let json = text
                .strip_prefix(": routerly ")
                .and_then(|rest| rest.strip_suffix("\n\n"))
                .expect("one line");
            let expected = json!({
                "type": "trace", "model": TRACE.model, "provider": "openai", "policies": ["health", "cheapest"],
                "traceId": "0198c5-7",
            });
            assert_eq!(serde_json::from_str::<Value>(json).unwrap(), expected);
        }
    }

    #[test]
    fn amounts_are_exact_decimals() {
        let cases = [
            (0, "0"),
            (1, "0.000000000001"),
            (25_000_000, "0.000025"),
            (1_000_000_000_000, "1"),
            (12_340_000_000_000, "12.34"),
            (u64::MAX, "18446744.073709551615"),
        ];
        for (amount, expected) in cases {
            let mut out = Vec::new();
            append_usd(&mut out, Picodollars(amount));
            assert_eq!(out, expected.as_bytes());
        }
    }
}
