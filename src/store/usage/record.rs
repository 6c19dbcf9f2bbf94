//! One usage record: its fields and their spelling as a JSON line.
//!
//! Owns the order and the names of the fields. Written by hand because a core does it for every call: appends to a
//! buffer that the core keeps, allocates nothing, uses no floating point. Numbers that are unknown are left out, not
//! written as null.
//!
//! Source of the names: the usage file of the upstream program, and the new fields of the store's format.

use crate::budget::money::{Picodollars, write_usd_per_million};
use crate::budget::price::{Cost, Rates};
use crate::dialect::Usage;
use crate::limits::{RECORD_BYTES_MAX, RECORD_ERROR_BYTES_MAX, RECORD_TEXT_BYTES_MAX};
use crate::telemetry::ids::TraceId;
use crate::telemetry::labels::{CallType, EndedBy, Endpoint, Outcome, UsageSource};
use crate::telemetry::text::{Timestamp, clip, push_integer, push_json_text};

/// What is recorded of one attempt that reached a provider, or of a request that ended before one.
#[derive(Debug, Clone, Copy)]
pub struct UsageRecord<'a> {
    /// Unique per record: recovery recognises a record by it.
    pub id: TraceId,
    /// The request's id, the same for all its attempts.
    pub trace_id: TraceId,
    /// Time of completion.
    pub timestamp: Timestamp,
    /// Id of the project.
    pub project_id: &'a str,
    /// Id of the project token, never the token.
    pub token_id: Option<&'a str>,
    /// Id of the project that the token belongs to, where that is another one.
    pub token_project_id: Option<&'a str>,
    /// Id of the configured model that was called; empty when none was.
    pub model_id: &'a str,
    /// Name of the provider; empty when none was called.
    pub provider: &'a str,
    /// The model that the client asked for, as it wrote it.
    pub requested_model: &'a str,
    /// The endpoint that the request came in on.
    pub endpoint: Endpoint,
    /// Why the model was called.
    pub call_type: CallType,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Status sent to the client. Of an attempt whose answer did not reach it: the provider's where it refused our
    /// key, else the one that the failure would lead to. 0 when the client left before.
    pub http_status: u16,
    /// How the call ended.
    pub outcome: Outcome,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// What went wrong, without secrets.
    pub error_message: Option<&'a str>,
    /// Token counts.
    pub usage: Usage,
    /// Where the token counts come from.
    pub usage_source: UsageSource,
    /// What the call cost.
    pub cost: Cost,
    /// The prices it was charged at.
    pub rates: Rates,
    /// From the request's head to its last byte, in milliseconds.
    pub latency_ms: u64,
    /// When the request was admitted, in milliseconds since the Unix epoch, where that is not `timestamp - latency_ms`.
    pub admitted_ms: Option<u64>,
    /// To the first byte of the answer, in milliseconds; none when no answer began.
    pub ttft_ms: Option<u64>,
    /// The gateway's own share, in microseconds.
    pub overhead_us: u64,
    /// Which attempt of the request this was, from 1.
    pub attempt: u32,
    /// Name of the provider's key that was used, where the model has several; never the key.
    pub key_id: Option<&'a str>,
    /// Id of the conversation, if the client named one.
    pub conversation_id: Option<&'a str>,
    /// What a cache had to do with it, where there was a hit.
    pub cache: Option<CacheUse>,
}

/// A hit: the model was chosen, or the answer given, because of an earlier request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CacheUse {
    /// How like the earlier request this one is, up to 1; none: the same to the letter.
    pub similarity: Option<f32>,
    /// Input tokens that nobody was paid for.
    pub saved_input: u64,
    /// Output tokens that nobody was paid for.
    pub saved_output: u64,
    /// What they would have cost; none where a provider was called.
    pub saved_cost: Option<Picodollars>,
}

/// A record whose strings are all at their bound and all need the longest escape still fits into the journal.
const _: () = assert!(RECORD_BYTES_MAX / 2 > 6 * (RECORD_ERROR_BYTES_MAX + 8 * RECORD_TEXT_BYTES_MAX) + 2048);
/// Bytes that a record takes beside its strings, at most; reserved at once.
const FIXED_BYTES: usize = 1280;

impl UsageRecord<'_> {
    /// Appends the record as one JSON object without a line feed.
    ///
    /// Strings beyond their bound are cut at a character's edge.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve(FIXED_BYTES);
        // `id` and `timestamp` stand first: recovery reads them without parsing the rest.
        out.extend_from_slice(b"{\"id\":\"");
        self.id.push_hyphenated(out);
        out.extend_from_slice(b"\",\"timestamp\":\"");
        out.extend_from_slice(self.timestamp.as_bytes());
        out.extend_from_slice(b"\",\"traceId\":\"");
        self.trace_id.push_hyphenated(out);
        self.write_names(out);
        self.write_ending(out);
        self.write_tokens(out);
        self.write_money(out);
        self.write_times(out);
        if let Some(cache) = &self.cache {
            cache.write(out);
        }
        out.push(b'}');
    }

    /// Whose call it was and where it went. Opens inside a string that the caller began.
    fn write_names(&self, out: &mut Vec<u8>) {
        text(out, b"\",\"projectId\":\"", self.project_id);
        if let Some(token_id) = self.token_id {
            text(out, b"\",\"tokenId\":\"", token_id);
        }
        if let Some(token_project_id) = self.token_project_id {
            text(out, b"\",\"tokenProjectId\":\"", token_project_id);
        }
        text(out, b"\",\"modelId\":\"", self.model_id);
        text(out, b"\",\"provider\":\"", self.provider);
        text(out, b"\",\"requestedModel\":\"", self.requested_model);
        if let Some(conversation_id) = self.conversation_id {
            text(out, b"\",\"conversationId\":\"", conversation_id);
        }
        if let Some(key_id) = self.key_id {
            text(out, b"\",\"keyId\":\"", key_id);
        }
        word(out, b"\",\"endpoint\":\"", self.endpoint.as_str());
        word(out, b"\",\"callType\":\"", self.call_type.as_str());
        out.extend_from_slice(if self.stream { b"\",\"stream\":true" } else { b"\",\"stream\":false" });
        number(out, b",\"attempt\":", u64::from(self.attempt));
    }

    /// How it ended.
    fn write_ending(&self, out: &mut Vec<u8>) {
        number(out, b",\"httpStatus\":", u64::from(self.http_status));
        word(out, b",\"outcome\":\"", self.outcome.as_str());
        word(out, b"\",\"endedBy\":\"", self.ended_by.as_str());
        if let Some(message) = self.error_message {
            out.extend_from_slice(b"\",\"errorMessage\":\"");
            push_json_text(out, clip(message, RECORD_ERROR_BYTES_MAX));
        }
        word(out, b"\",\"usageSource\":\"", self.usage_source.as_str());
        out.push(b'"');
    }

    fn write_tokens(&self, out: &mut Vec<u8>) {
        number(out, b",\"inputTokens\":", self.usage.input);
        number(out, b",\"outputTokens\":", self.usage.output);
        if self.usage.cached_input > 0 {
            number(out, b",\"cachedInputTokens\":", self.usage.cached_input);
        }
        if self.usage.cache_write > 0 {
            number(out, b",\"cacheCreationInputTokens\":", self.usage.cache_write);
        }
        if self.usage.reasoning > 0 {
            number(out, b",\"reasoningTokens\":", self.usage.reasoning);
        }
    }

    fn write_money(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"cost\":");
        self.cost.total().write_usd(out);
        out.extend_from_slice(b",\"costInput\":");
        self.cost.input.write_usd(out);
        out.extend_from_slice(b",\"costOutput\":");
        self.cost.output.write_usd(out);
        out.extend_from_slice(b",\"priceInput\":");
        write_usd_per_million(out, self.rates.input);
        out.extend_from_slice(b",\"priceOutput\":");
        write_usd_per_million(out, self.rates.output);
    }

    fn write_times(&self, out: &mut Vec<u8>) {
        number(out, b",\"latencyMs\":", self.latency_ms);
        if let Some(admitted_ms) = self.admitted_ms {
            number(out, b",\"admittedAt\":", admitted_ms);
        }
        if let Some(ttft_ms) = self.ttft_ms {
            number(out, b",\"ttftMs\":", ttft_ms);
        }
        number(out, b",\"overheadUs\":", self.overhead_us);
        // Rounded half up, as upstream does.
        let tokens = self.usage.input.saturating_add(self.usage.output);
        let rate =
            tokens.saturating_mul(1000).saturating_add(self.latency_ms / 2).checked_div(self.latency_ms);
        if let Some(rate) = rate {
            number(out, b",\"tokensPerSec\":", rate);
        }
    }
}

impl CacheUse {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"cacheHit\":true");
        if let Some(similarity) = self.similarity {
            // Ten-thousandths: more says nothing.
            let rounded = (similarity.clamp(0.0, 1.0) * 10_000.0).round() as u64;
            number(out, b",\"cacheSimilarity\":", rounded / 10_000);
            let digits = rounded % 10_000;
            if digits > 0 {
                out.push(b'.');
                for place in [1_000, 100, 10, 1] {
                    out.push(b'0' + (digits / place % 10) as u8);
                }
            }
        }
        if let Some(cost) = self.saved_cost {
            out.extend_from_slice(b",\"savedCost\":");
            cost.write_usd(out);
            number(out, b",\"savedInputTokens\":", self.saved_input);
            number(out, b",\"savedOutputTokens\":", self.saved_output);
        }
    }
}

/// Appends a key and the inside of a string that may need escapes; the closing quote belongs to the next key.
#[inline]
fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    push_json_text(out, clip(value, RECORD_TEXT_BYTES_MAX));
}

/// Appends a key and a word of ours, which needs no escapes; the closing quote belongs to the next key.
#[inline]
fn word(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(value.as_bytes());
}

#[inline]
fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    push_integer(out, value);
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::telemetry::ids::TraceIds;
    use crate::telemetry::text::TimestampFormatter;

    /// A record with every field set; its ids come from `number`.
    pub(crate) fn record(number: u8, unix_ms: u64) -> UsageRecord<'static> {
        let mut ids = TraceIds::from_seed([number; 32]);
        UsageRecord {
            id: ids.next(unix_ms),
            trace_id: ids.next(unix_ms),
            timestamp: TimestampFormatter::default().format(unix_ms),
            project_id: "project-1",
            token_id: Some("token-1"),
            token_project_id: None,
            model_id: "openai/gpt-5-mini",
            provider: "openai",
            requested_model: "gpt-5-mini",
            endpoint: Endpoint::Chat,
            call_type: CallType::Completion,
            stream: true,
            http_status: 200,
            outcome: Outcome::Success,
            ended_by: EndedBy::Provider,
            error_message: None,
            usage: Usage { input: 1200, output: 340, cached_input: 1000, cache_write: 50, reasoning: 128 },
            usage_source: UsageSource::Reported,
            cost: Cost { input: Picodollars(75_000_000), output: Picodollars(680_000_000) },
            rates: Rates { input: 250_000, output: 2_000_000, cached: 25_000, cache_write: 250_000 },
            latency_ms: 2_345,
            admitted_ms: None,
            ttft_ms: Some(432),
            overhead_us: 17,
            attempt: 1,
            key_id: None,
            conversation_id: Some("conversation-1"),
            cache: None,
        }
    }

    #[test]
    fn every_field_is_written_under_its_name() {
        let mut out = vec![];
        record(1, 1_767_225_600_123).write_json(&mut out);
        let value: Value = serde_json::from_slice(&out).unwrap();
        let mut fields: Vec<_> =
            value.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), value)).collect();
        assert!(matches!(fields[..], [("id", _), ("timestamp", _), ("traceId", _), ..]));
        fields.retain(|(key, _)| *key != "id" && *key != "traceId");
        let expected = serde_json::json!({
            "timestamp": "2026-01-01T00:00:00.123Z", "projectId": "project-1", "tokenId": "token-1",
            "modelId": "openai/gpt-5-mini", "provider": "openai", "requestedModel": "gpt-5-mini",
            "conversationId": "conversation-1", "endpoint": "chat", "callType": "completion", "stream": true,
            "attempt": 1, "httpStatus": 200, "outcome": "success", "endedBy": "provider", "usageSource": "reported",
            "inputTokens": 1200, "outputTokens": 340, "cachedInputTokens": 1000, "cacheCreationInputTokens": 50,
            "reasoningTokens": 128, "cost": 0.000755, "costInput": 0.000075, "costOutput": 0.00068,
            "priceInput": 0.25, "priceOutput": 2, "latencyMs": 2345, "ttftMs": 432, "overheadUs": 17,
            "tokensPerSec": 657,
        });
        let expected: Vec<_> =
            expected.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), value)).collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_hit_is_written_with_what_it_saves() {
        let hit =
            |similarity, saved_cost| CacheUse { similarity, saved_input: 7, saved_output: 9, saved_cost };
        for (cache, expected) in [
            (
                hit(None, Some(Picodollars(1_500_000))),
                r#","cacheHit":true,"savedCost":0.0000015,"savedInputTokens":7,"savedOutputTokens":9"#,
            ),
            (hit(Some(0.930_04), None), r#","cacheHit":true,"cacheSimilarity":0.9300"#),
            (hit(Some(1.000_01), None), r#","cacheHit":true,"cacheSimilarity":1"#),
            (hit(Some(0.000_44), None), r#","cacheHit":true,"cacheSimilarity":0.0004"#),
            (hit(Some(-0.5), None), r#","cacheHit":true,"cacheSimilarity":0"#),
        ] {
            let mut out = vec![];
            cache.write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut out = vec![];
        let bare = UsageRecord {
            token_id: None,
            key_id: None,
            conversation_id: None,
            ttft_ms: None,
            usage: Usage::default(),
            latency_ms: 0,
            ..record(1, 0)
        };
        bare.write_json(&mut out);
        let value: Value = serde_json::from_slice(&out).unwrap();
        for key in [
            "tokenId",
            "tokenProjectId",
            "conversationId",
            "errorMessage",
            "ttftMs",
            "cachedInputTokens",
            "tokensPerSec",
        ] {
            assert_eq!(value.get(key), None, "{key}");
        }
    }

    #[test]
    fn hostile_and_overlong_strings_stay_one_valid_line_within_the_bound() {
        let long = "\u{1}\"\n\\é".repeat(1_000);
        let mut out = vec![];
        let hostile = UsageRecord {
            project_id: &long,
            token_id: Some(&long),
            token_project_id: Some(&long),
            model_id: &long,
            provider: &long,
            requested_model: &long,
            key_id: Some(&long),
            conversation_id: Some(&long),
            error_message: Some(&long),
            ..record(1, 0)
        };
        hostile.write_json(&mut out);
        assert!(out.len() < RECORD_BYTES_MAX && !out.contains(&b'\n'));
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert!(long.starts_with(value["requestedModel"].as_str().unwrap()));
        assert!(value["errorMessage"].as_str().unwrap().len() > RECORD_ERROR_BYTES_MAX - 4);
    }
}
