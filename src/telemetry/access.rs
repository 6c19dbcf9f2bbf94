//! The one structured line that each request gets.
//!
//! Owns which fields it has. A request that never reached a key or a model has fewer of them.

use super::ids::TraceId;
use super::labels::{EndedBy, Endpoint, Outcome};
use super::line::Line;
use crate::budget::money::Picodollars;
use crate::dialect::Usage;

/// What is logged of one finished request. Holds ids, never keys.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    /// The request's id, as in the header `x-routerly-trace-id`.
    pub trace_id: TraceId,
    /// Id of the project, if the key named one.
    pub project_id: Option<&'a str>,
    /// Id of the project token.
    pub token_id: Option<&'a str>,
    /// Id of the model that answered, or was tried last.
    pub model_id: Option<&'a str>,
    /// Its provider.
    pub provider: Option<&'a str>,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Calls sent to providers.
    pub attempts: u32,
    /// Status sent to the client, 0 when it got none.
    pub status: u16,
    /// How the request ended.
    pub outcome: Outcome,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// What went wrong, without secrets.
    pub error: Option<&'a str>,
    /// Token counts.
    pub usage: Usage,
    /// Cost of all attempts.
    pub cost: Picodollars,
    /// From the request's head to the first byte of the answer, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// To the last byte, in milliseconds.
    pub latency_ms: u64,
    /// The gateway's own share, in microseconds.
    pub gateway_us: u64,
    /// The core that served it.
    pub core: u16,
}

impl AccessLine<'_> {
    /// Writes the fields.
    pub fn fields(&self, line: &mut Line<'_>) {
        line.id("traceId", &self.trace_id);
        for (key, id) in [
            ("project", self.project_id),
            ("token", self.token_id),
            ("model", self.model_id),
            ("provider", self.provider),
        ] {
            if let Some(id) = id {
                line.text(key, id);
            }
        }
        line.text("endpoint", self.endpoint.as_str());
        line.flag("stream", self.stream);
        line.integer("attempts", u64::from(self.attempts));
        line.integer("status", u64::from(self.status));
        line.text("outcome", self.outcome.as_str());
        line.text("endedBy", self.ended_by.as_str());
        if let Some(error) = self.error {
            line.text("error", error);
        }
        line.integer("inputTokens", self.usage.input);
        line.integer("outputTokens", self.usage.output);
        if self.usage.cached_input > 0 {
            line.integer("cachedInputTokens", self.usage.cached_input);
        }
        line.usd("cost", self.cost);
        if let Some(first_byte_ms) = self.first_byte_ms {
            line.integer("firstByteMs", first_byte_ms);
        }
        line.integer("latencyMs", self.latency_ms);
        line.integer("gatewayUs", self.gateway_us);
        line.integer("core", u64::from(self.core));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::ids::TraceIds;
    use crate::telemetry::line::Format;
    use crate::telemetry::text::TimestampFormatter;

    fn spelled(access: &AccessLine<'_>, format: Format) -> String {
        let mut out = vec![];
        let mut line =
            Line::begin(&mut out, format, TimestampFormatter::default().format(0), "info", "request");
        access.fields(&mut line);
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_one_line_in_both_formats() {
        let access = AccessLine {
            trace_id: TraceIds::from_seed([1; 32]).next(0),
            project_id: Some("p1"),
            token_id: Some("t1"),
            model_id: Some("openai/gpt"),
            provider: Some("openai"),
            endpoint: Endpoint::Chat,
            stream: true,
            attempts: 2,
            status: 200,
            outcome: Outcome::Success,
            ended_by: EndedBy::Provider,
            error: None,
            usage: Usage { input: 10, output: 5, ..Usage::default() },
            cost: Picodollars(42_000_000),
            first_byte_ms: Some(3),
            latency_ms: 12,
            gateway_us: 18,
            core: 1,
        };
        let id = access.trace_id.to_string();
        assert_eq!(
            spelled(&access, Format::Pretty),
            format!(
                "1970-01-01T00:00:00.000Z INFO  request traceId={id} project=p1 token=t1 model=openai/gpt provider=openai \
                 endpoint=chat stream=true attempts=2 status=200 outcome=success endedBy=provider inputTokens=10 \
                 outputTokens=5 cost=0.000042 firstByteMs=3 latencyMs=12 gatewayUs=18 core=1\n"
            )
        );
        let refused = AccessLine {
            project_id: None,
            token_id: None,
            model_id: None,
            provider: None,
            error: Some("unknown key"),
            first_byte_ms: None,
            ..access
        };
        let value: serde_json::Value = serde_json::from_str(&spelled(&refused, Format::Json)).unwrap();
        assert_eq!(value["traceId"], id);
        assert_eq!(value["error"], "unknown key");
        assert_eq!(value["cost"], 0.000042);
        for key in ["project", "token", "model", "provider", "firstByteMs", "cachedInputTokens"] {
            assert_eq!(value.get(key), None, "{key}");
        }
    }
}
