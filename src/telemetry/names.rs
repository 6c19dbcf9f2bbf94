//! Every metric name once, with its help text.
//!
//! Owns the names alone; what they count is in `metrics.rs`, how they are written in `prometheus.rs`. Units are the base
//! units of Prometheus: seconds, bytes; counters end in `_total`.

/// A metric's name and help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name as exposed.
    pub name: &'static str,
    /// One line on what it says.
    pub help: &'static str,
}

/// Makes the constants and the list of all of them.
macro_rules! metrics {
    ($($constant:ident = $name:literal, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric { name: $name, help: $help };
        )+
        /// All metrics, for documentation and tests.
        pub const ALL: &[Metric] = &[$($constant,)+];
    };
}

metrics! {
    REQUESTS = "routerly_requests_total", "Requests finished, by endpoint kind, status class and outcome.";
    REQUEST_SECONDS = "routerly_request_duration_seconds", "From a request's head to its last byte.";
    FIRST_BYTE_SECONDS = "routerly_time_to_first_byte_seconds", "From a request's head to the first byte of the answer.";
    OVERHEAD_SECONDS = "routerly_gateway_overhead_seconds", "The gateway's own share of a request.";
    UPSTREAM_TLS_HANDSHAKES = "routerly_upstream_tls_handshakes_total", "TLS hand-shakes with providers.";
    UPSTREAM_TLS_RESUMED = "routerly_upstream_tls_resumed_total", "TLS hand-shakes with providers that resumed a session.";
    CONNECTIONS_OPEN = "routerly_connections_open", "Open client connections.";
    CONNECTIONS_ACCEPTED = "routerly_connections_accepted_total", "Client connections accepted.";
    ACCEPT_ERRORS = "routerly_accept_errors_total", "Accepts that failed, as a rule for want of file descriptors.";
    STREAMS_OPEN = "routerly_streams_open", "Streams being relayed.";
    PANICS = "routerly_panics_total", "Requests answered with 500 because of a bug in the gateway.";
    ATTEMPTS = "routerly_upstream_attempts_total", "Calls sent to providers.";
    RETRIES = "routerly_upstream_retries_total", "Calls to providers that followed a failed one of the same request, by why that one failed.";
    RETRIES_UNPAID = "routerly_upstream_retries_refused_total", "Calls that were not tried again because the core's budget of retries was used up.";
    HEDGES = "routerly_upstream_hedges_total", "Calls of a second model beside one that was slow to begin.";
    HEDGES_WON = "routerly_upstream_hedges_won_total", "Calls of a second model beside a slow one whose answer the client got.";
    BREAKERS_OPENED = "routerly_breakers_opened_total", "Times that a model was left alone because its calls kept failing.";
    BREAKERS_CLOSED = "routerly_breakers_closed_total", "Times that such a model was found to work again.";
    TLS_FAILURES = "routerly_tls_failures_total", "TLS hand-shakes with clients that failed.";
    UPSTREAM_CONNECTS = "routerly_upstream_connects_total", "Connections made to providers.";
    UPSTREAM_CONNECT_ERRORS = "routerly_upstream_connect_errors_total", "Connections to providers that failed.";
    UPSTREAM_REUSES = "routerly_upstream_reuses_total", "Calls sent on a connection that had served one before.";
    RESPONSES_LOST = "routerly_responses_lost_total", "Responses that could not be handed over to be kept.";
    UPSTREAM_STALE = "routerly_upstream_stale_total", "Pooled connections found closed when they were used.";
    JOURNAL_RECORDS = "routerly_journal_records_total", "Usage records put into a journal.";
    JOURNAL_SPILLED = "routerly_journal_spilled_total", "Usage records that had to wait in memory for a full journal.";
    JOURNAL_LOST = "routerly_journal_lost_total", "Usage records lost because journal and memory were full.";
    JOURNAL_CORRUPT = "routerly_journal_corrupt_total", "Damaged stretches found in journals.";
    JOURNAL_WAITING_BYTES = "routerly_journal_waiting_bytes", "Bytes in journals that are not durable in the store yet.";
    TRACES_KEPT = "routerly_traces_kept_total", "Traces of requests written to disk.";
    TRACES_DROPPED = "routerly_traces_dropped_total", "Traces that were to be kept and are not: too many in a second, or a disk that is slow or full.";
    NOTIFICATIONS_SENT = "routerly_notifications_sent_total", "Notifications that a mail server or webhook has taken.";
    NOTIFICATION_FAILURES = "routerly_notification_failures_total", "Attempts to send a notification that failed.";
    NOTIFICATIONS_LOST = "routerly_notifications_lost_total", "Notifications that were given up, had no room to wait, or no channel any more.";
    NOTIFICATIONS_WAITING = "routerly_notifications_waiting", "Notifications that wait to be sent.";
    USAGE_RECORDS = "routerly_usage_records_total", "Usage records appended to the store.";
    USAGE_BYTES = "routerly_usage_bytes_total", "Bytes of usage records appended to the store.";
    USAGE_ROTATIONS = "routerly_usage_rotations_total", "Rotations of the usage file.";
    STORE_DEGRADED = "routerly_store_degraded", "1 while the disk refuses usage records.";
    CONFIG_GENERATION = "routerly_config_generation", "Generation of the configuration in force.";
    CONFIG_ERRORS = "routerly_config_errors_total", "Configuration changes that were refused.";
    BUDGET_EVENTS = "routerly_budget_events_total", "What happened to limits: threshold reached, exhausted, reset.";
    LOG_DROPPED = "routerly_log_lines_dropped_total", "Log lines dropped because the log writer could not keep up.";
    MODEL_FAILURES = "routerly_model_failures_total", "Calls that failed through the model's fault, by model.";
    MODEL_LATENCY = "routerly_model_latency_seconds", "From the beginning of a successful attempt to the end of its answer, by model.";
    MODEL_TTFT = "routerly_model_ttft_seconds", "From the beginning of a successful attempt to the first byte of its answer, by model.";
    CALLS = "routerly_calls_total", "Calls.";
    CALL_ERRORS = "routerly_call_errors_total", "Calls that failed.";
    INPUT_TOKENS = "routerly_input_tokens_total", "Input tokens, cached ones included.";
    OUTPUT_TOKENS = "routerly_output_tokens_total", "Output tokens.";
    CACHED_INPUT_TOKENS = "routerly_cached_input_tokens_total", "Input tokens read from a provider's cache.";
    COST_USD = "routerly_cost_usd_total", "Cost in USD.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_well_formed() {
        let names: std::collections::HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let rest = metric.name.strip_prefix("routerly_").unwrap();
            assert!(rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{}", metric.name);
        }
    }
}
