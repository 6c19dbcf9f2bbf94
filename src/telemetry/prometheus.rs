//! All metrics as text for a scrape.
//!
//! Owns the spelling: names, help lines, label escapes, the bound on label values. Sums the cores as it goes.
//!
//! Source: Prometheus documentation, "Exposition formats", text format 0.0.4.

use std::collections::HashMap;
use std::sync::Arc;

use super::labels::{Endpoint, Outcome, RetryReason, StatusClass};
use super::metrics::{CoreMetrics, Count, Histogram, HistogramSums, Metrics, ModelTimes};
use super::names::{self, Metric};
use super::text::{push_decimal, push_integer};
use crate::budget::counters::{Counts, Totals};
use crate::limits::METRIC_LABEL_VALUES_MAX;

/// Value of the header `content-type` for what [`render`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Label value of everything beyond the bound; a configured id spelled like this is counted under it.
const OTHER: &str = "_other";

/// Appends all metrics. `log_lines_dropped` comes from the log, which is not counted per core.
pub fn render(
    metrics: &Metrics,
    totals: &Totals,
    times: &HashMap<Arc<str>, ModelTimes>,
    log_lines_dropped: u64,
    out: &mut Vec<u8>,
) {
    render_requests(metrics, out);
    render_retries(metrics, out);
    histogram(metrics, names::REQUEST_SECONDS, |core| &core.request_duration, out);
    histogram(metrics, names::FIRST_BYTE_SECONDS, |core| &core.first_byte, out);
    histogram(metrics, names::OVERHEAD_SECONDS, |core| &core.overhead, out);
    render_cores(metrics, out);
    render_control(metrics, out);
    render_budgets(metrics, out);
    render_traces(metrics, out);
    render_notifications(metrics, out);
    single(names::LOG_DROPPED, Kind::Counter, log_lines_dropped, out);
    render_totals(totals, out);
    render_times(times, out);
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

fn head(name: &str, help: &str, kind: Kind, out: &mut Vec<u8>) {
    let kind = match kind {
        Kind::Counter => " counter\n",
        Kind::Gauge => " gauge\n",
        Kind::Histogram => " histogram\n",
        Kind::Summary => " summary\n",
    };
    for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, kind] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn single(metric: Metric, kind: Kind, value: u64, out: &mut Vec<u8>) {
    head(metric.name, metric.help, kind, out);
    sample(metric.name, &[], out);
    push_integer(out, value);
    out.push(b'\n');
}

/// Appends a sample's name and labels and the space before its value.
fn sample(name: &str, labels: &[(&str, &str)], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    for (index, (label, value)) in labels.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(b"=\"");
        push_label_value(out, value);
        out.push(b'"');
    }
    out.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
}

/// A label value escapes backslash, quote and line feed, and nothing else.
fn push_label_value(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            plain => out.push(plain),
        }
    }
}

fn render_requests(metrics: &Metrics, out: &mut Vec<u8>) {
    head(names::REQUESTS.name, names::REQUESTS.help, Kind::Counter, out);
    for endpoint in Endpoint::ALL {
        for class in StatusClass::ALL {
            for outcome in Outcome::ALL {
                let count = metrics.sum(|core| core.requests(*endpoint, *class, *outcome));
                if count > 0 {
                    let labels = [
                        ("endpoint", endpoint.as_str()),
                        ("status", class.as_str()),
                        ("outcome", outcome.as_str()),
                    ];
                    sample(names::REQUESTS.name, &labels, out);
                    push_integer(out, count);
                    out.push(b'\n');
                }
            }
        }
    }
}

fn render_retries(metrics: &Metrics, out: &mut Vec<u8>) {
    head(names::RETRIES.name, names::RETRIES.help, Kind::Counter, out);
    for reason in RetryReason::ALL {
        sample(names::RETRIES.name, &[("reason", reason.as_str())], out);
        push_integer(out, metrics.sum(|core| core.retries(*reason)));
        out.push(b'\n');
    }
}

fn histogram(metrics: &Metrics, metric: Metric, of: impl Fn(&CoreMetrics) -> &Histogram, out: &mut Vec<u8>) {
    let mut sums = HistogramSums::default();
    for core in metrics.cores.iter() {
        of(core).sum_into(&mut sums);
    }
    let Some(bounds_us) = metrics.cores.first().map(|core| of(core).bounds_us()) else { return };
    head(metric.name, metric.help, Kind::Histogram, out);
    let bucket_name = format!("{}_bucket", metric.name);
    let mut count = 0;
    let mut bound = vec![];
    for (place, bucket) in sums.buckets.iter().enumerate() {
        count += bucket;
        bound.clear();
        match bounds_us.get(place) {
            Some(us) => push_decimal::<6>(&mut bound, *us),
            None => bound.extend_from_slice(b"+Inf"),
        }
        sample(&bucket_name, &[("le", &String::from_utf8_lossy(&bound))], out);
        push_integer(out, count);
        out.push(b'\n');
    }
    sample(&format!("{}_sum", metric.name), &[], out);
    push_decimal::<6>(out, sums.sum_us);
    out.push(b'\n');
    sample(&format!("{}_count", metric.name), &[], out);
    push_integer(out, count);
    out.push(b'\n');
}

fn render_cores(metrics: &Metrics, out: &mut Vec<u8>) {
    type Read = fn(&CoreMetrics) -> &Count;
    let counts: [(Metric, Kind, Read); 22] = [
        (names::UPSTREAM_TLS_HANDSHAKES, Kind::Counter, |core| &core.upstream_tls_handshakes),
        (names::UPSTREAM_TLS_RESUMED, Kind::Counter, |core| &core.upstream_tls_resumed),
        (names::CONNECTIONS_OPEN, Kind::Gauge, |core| &core.connections_open),
        (names::CONNECTIONS_ACCEPTED, Kind::Counter, |core| &core.connections_accepted),
        (names::ACCEPT_ERRORS, Kind::Counter, |core| &core.accept_errors),
        (names::STREAMS_OPEN, Kind::Gauge, |core| &core.streams_open),
        (names::PANICS, Kind::Counter, |core| &core.panics),
        (names::ATTEMPTS, Kind::Counter, |core| &core.attempts),
        (names::RETRIES_UNPAID, Kind::Counter, |core| &core.retries_unpaid),
        (names::HEDGES, Kind::Counter, |core| &core.hedges),
        (names::HEDGES_WON, Kind::Counter, |core| &core.hedges_won),
        (names::BREAKERS_OPENED, Kind::Counter, |core| &core.breakers_opened),
        (names::BREAKERS_CLOSED, Kind::Counter, |core| &core.breakers_closed),
        (names::TLS_FAILURES, Kind::Counter, |core| &core.tls_failures),
        (names::UPSTREAM_CONNECTS, Kind::Counter, |core| &core.upstream_connects),
        (names::UPSTREAM_CONNECT_ERRORS, Kind::Counter, |core| &core.upstream_connect_errors),
        (names::UPSTREAM_REUSES, Kind::Counter, |core| &core.upstream_reuses),
        (names::RESPONSES_LOST, Kind::Counter, |core| &core.responses_lost),
        (names::UPSTREAM_STALE, Kind::Counter, |core| &core.upstream_stale),
        (names::JOURNAL_RECORDS, Kind::Counter, |core| &core.journal_records),
        (names::JOURNAL_SPILLED, Kind::Counter, |core| &core.journal_spilled),
        (names::JOURNAL_LOST, Kind::Counter, |core| &core.journal_lost),
    ];
    for (metric, kind, read) in counts {
        single(metric, kind, metrics.sum(read), out);
    }
}

fn render_control(metrics: &Metrics, out: &mut Vec<u8>) {
    let control = &metrics.control;
    for (metric, kind, count) in [
        (names::JOURNAL_CORRUPT, Kind::Counter, &control.journal_corrupt),
        (names::JOURNAL_WAITING_BYTES, Kind::Gauge, &control.journal_waiting_bytes),
        (names::USAGE_RECORDS, Kind::Counter, &control.usage_records),
        (names::USAGE_BYTES, Kind::Counter, &control.usage_bytes),
        (names::USAGE_ROTATIONS, Kind::Counter, &control.usage_rotations),
        (names::STORE_DEGRADED, Kind::Gauge, &control.store_degraded),
        (names::CONFIG_GENERATION, Kind::Gauge, &control.config_generation),
        (names::CONFIG_ERRORS, Kind::Counter, &control.config_errors),
    ] {
        single(metric, kind, count.read(), out);
    }
}

fn render_budgets(metrics: &Metrics, out: &mut Vec<u8>) {
    let control = &metrics.control;
    head(names::BUDGET_EVENTS.name, names::BUDGET_EVENTS.help, Kind::Counter, out);
    for (kind, count) in [
        ("threshold", &control.budget_thresholds),
        ("exhausted", &control.budgets_exhausted),
        ("reset", &control.budget_resets),
    ] {
        sample(names::BUDGET_EVENTS.name, &[("kind", kind)], out);
        push_integer(out, count.read());
        out.push(b'\n');
    }
}

/// Failures, latency and time to the first byte of each model: sums and counts, a mean is their quotient over time.
fn render_times(times: &HashMap<Arc<str>, ModelTimes>, out: &mut Vec<u8>) {
    let times = bounded(times, |times| times.answers + times.failures, ModelTimes::merge);
    head(names::MODEL_FAILURES.name, names::MODEL_FAILURES.help, Kind::Counter, out);
    for (model, times) in &times {
        sample(names::MODEL_FAILURES.name, &[("model", model)], out);
        push_integer(out, times.failures);
        out.push(b'\n');
    }
    type Read = fn(&ModelTimes) -> (u64, u64);
    let summaries: [(Metric, Read); 2] = [
        (names::MODEL_LATENCY, |times| (times.latency_ms, times.answers)),
        (names::MODEL_TTFT, |times| (times.ttft_ms, times.first_bytes)),
    ];
    for (metric, read) in summaries {
        head(metric.name, metric.help, Kind::Summary, out);
        let [sum_name, count_name] = ["sum", "count"].map(|part| format!("{}_{part}", metric.name));
        for (model, times) in &times {
            let (sum_ms, count) = read(times);
            sample(&sum_name, &[("model", model)], out);
            push_decimal::<6>(out, sum_ms.saturating_mul(1_000));
            out.push(b'\n');
            sample(&count_name, &[("model", model)], out);
            push_integer(out, count);
            out.push(b'\n');
        }
    }
}

fn render_traces(metrics: &Metrics, out: &mut Vec<u8>) {
    let dropped = metrics.sum(|core| &core.traces_dropped).saturating_add(metrics.traces.lost.read());
    single(names::TRACES_KEPT, Kind::Counter, metrics.traces.kept.read(), out);
    single(names::TRACES_DROPPED, Kind::Counter, dropped, out);
}

fn render_notifications(metrics: &Metrics, out: &mut Vec<u8>) {
    let notify = &metrics.notify;
    single(names::NOTIFICATIONS_SENT, Kind::Counter, notify.sent.read(), out);
    single(names::NOTIFICATION_FAILURES, Kind::Counter, notify.failures.read(), out);
    let lost = notify.lost.read().saturating_add(metrics.control.notifications_lost.read());
    single(names::NOTIFICATIONS_LOST, Kind::Counter, lost, out);
    single(names::NOTIFICATIONS_WAITING, Kind::Gauge, notify.waiting.read(), out);
}

/// Each total over all calls, and under names of their own per project, token and model.
fn render_totals(totals: &Totals, out: &mut Vec<u8>) {
    let groups: [(&str, Vec<(&str, Counts)>); 3] = [
        ("project", by_calls(&totals.projects)),
        ("token", by_calls(&totals.tokens)),
        ("model", by_calls(&totals.models)),
    ];
    type Write = fn(&mut Vec<u8>, &Counts);
    let values: [(Metric, Write); 6] = [
        (names::CALLS, |out, counts| push_integer(out, counts.calls)),
        (names::CALL_ERRORS, |out, counts| push_integer(out, counts.errors)),
        (names::INPUT_TOKENS, |out, counts| push_integer(out, counts.input_tokens)),
        (names::OUTPUT_TOKENS, |out, counts| push_integer(out, counts.output_tokens)),
        (names::CACHED_INPUT_TOKENS, |out, counts| push_integer(out, counts.cached_input_tokens)),
        (names::COST_USD, |out, counts| counts.cost.write_usd(out)),
    ];
    for (metric, write) in values {
        // A total and its parts under one name would be summed twice by a query: the parts get names of their own.
        head(metric.name, metric.help, Kind::Counter, out);
        sample(metric.name, &[], out);
        write(out, &totals.all);
        out.push(b'\n');
        for (label, sums) in &groups {
            let rest = metric.name.strip_prefix("routerly_").unwrap_or(metric.name);
            let name = format!("routerly_{label}_{rest}");
            head(&name, metric.help, Kind::Counter, out);
            for (id, counts) in sums {
                sample(&name, &[(label, id)], out);
                write(out, counts);
                out.push(b'\n');
            }
        }
    }
}

fn by_calls(sums: &HashMap<Arc<str>, Counts>) -> Vec<(&str, Counts)> {
    bounded(sums, |counts| counts.calls, Counts::merge)
}

/// The sums with the most calls, by id; the rest under one id, which shrinks when one of its parts rises above the bound
/// (a scraper takes that for a restart of the counter).
fn bounded<S: Copy + Default>(
    sums: &HashMap<Arc<str>, S>,
    calls: impl Fn(&S) -> u64,
    merge: impl Fn(&mut S, &S),
) -> Vec<(&str, S)> {
    let mut sorted: Vec<(&str, S)> = sums.iter().map(|(id, sums)| (&**id, *sums)).collect();
    sorted.sort_unstable_by(|(a_id, a), (b_id, b)| calls(b).cmp(&calls(a)).then(a_id.cmp(b_id)));
    let mut other = S::default();
    let mut kept = vec![];
    for (id, sums) in sorted {
        if kept.len() < METRIC_LABEL_VALUES_MAX && id != OTHER {
            kept.push((id, sums));
        } else {
            merge(&mut other, &sums);
        }
    }
    if calls(&other) > 0 {
        kept.push((OTHER, other));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::money::Picodollars;

    fn rendered(metrics: &Metrics, totals: &Totals) -> String {
        let mut out = vec![];
        let times = ModelTimes { failures: 2, answers: 3, latency_ms: 4_500, first_bytes: 1, ttft_ms: 20 };
        render(metrics, totals, &HashMap::from([("a\"b".into(), times)]), 5, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cores_are_summed_and_every_metric_is_there() {
        let metrics = Metrics::new(2);
        for core in metrics.cores.iter() {
            core.count_request(Endpoint::Chat, 200, Outcome::Success);
            core.overhead.observe_us(3);
            core.upstream_reuses.add(4);
        }
        metrics.control.store_degraded.set(1);
        let text = rendered(&metrics, &Totals::default());
        for line in [
            "routerly_requests_total{endpoint=\"chat\",status=\"2xx\",outcome=\"success\"} 2",
            "routerly_gateway_overhead_seconds_bucket{le=\"0.000002\"} 0",
            "routerly_gateway_overhead_seconds_bucket{le=\"0.000005\"} 2",
            "routerly_gateway_overhead_seconds_bucket{le=\"+Inf\"} 2",
            "routerly_gateway_overhead_seconds_sum 0.000006",
            "routerly_gateway_overhead_seconds_count 2",
            "routerly_upstream_reuses_total 8",
            "routerly_store_degraded 1",
            "routerly_log_lines_dropped_total 5",
            "# TYPE routerly_store_degraded gauge",
            "# TYPE routerly_request_duration_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for metric in names::ALL {
            assert_eq!(text.matches(&format!("# TYPE {} ", metric.name)).count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn totals_carry_ids_of_the_configuration_with_escapes() {
        let mut totals = Totals::default();
        let counts = Counts { calls: 2, cost: Picodollars(1_500_000_000_000), ..Counts::default() };
        totals.all.merge(&counts);
        totals.models.insert("a\\b\"c\nd".into(), counts);
        let text = rendered(&Metrics::new(1), &totals);
        assert!(text.contains("routerly_cost_usd_total 1.5\n"));
        assert!(text.contains("routerly_model_cost_usd_total{model=\"a\\\\b\\\"c\\nd\"} 1.5\n"), "{text}");
        assert!(text.contains("# TYPE routerly_project_calls_total counter\n"));
    }

    #[test]
    fn times_of_models_are_sums_and_counts() {
        let text = rendered(&Metrics::new(1), &Totals::default());
        for line in [
            "# TYPE routerly_model_latency_seconds summary",
            "routerly_model_failures_total{model=\"a\\\"b\"} 2",
            "routerly_model_latency_seconds_sum{model=\"a\\\"b\"} 4.5",
            "routerly_model_latency_seconds_count{model=\"a\\\"b\"} 3",
            "routerly_model_ttft_seconds_sum{model=\"a\\\"b\"} 0.02",
            "routerly_model_ttft_seconds_count{model=\"a\\\"b\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn label_values_are_bounded_and_the_rest_is_summed() {
        let mut totals = Totals::default();
        for index in 0..METRIC_LABEL_VALUES_MAX as u64 + 10 {
            let counts = Counts { calls: index + 1, ..Counts::default() };
            totals.tokens.insert(format!("t{index}").into(), counts);
        }
        totals.tokens.insert(OTHER.into(), Counts { calls: 1, ..Counts::default() });
        let text = rendered(&Metrics::new(1), &totals);
        assert_eq!(text.matches("routerly_token_calls_total{").count(), METRIC_LABEL_VALUES_MAX + 1);
        // The ten smallest, 1 to 10 calls, and the one that has this id itself.
        assert!(text.contains("routerly_token_calls_total{token=\"_other\"} 56\n"), "{text}");
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let text = rendered(&Metrics::new(1), &Totals::default());
        for line in text.lines() {
            let sample = line
                .rsplit_once(' ')
                .is_some_and(|(name, value)| name.starts_with("routerly_") && value.parse::<f64>().is_ok());
            assert!(sample || line.starts_with("# HELP ") || line.starts_with("# TYPE "), "{line}");
        }
    }
}
