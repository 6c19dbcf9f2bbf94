//! Counters, gauges and histograms: one set per core, written by that core alone, read by anybody.
//!
//! Owns what is counted. A core adds with a plain load and store: no locked instruction, no line shared between two
//! writers. A reader sees each number as it was a moment ago, and numbers that belong together may be a request apart.
//! Must not hold strings: label values are closed sets, or ids that the totals bring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::{Endpoint, Outcome, RetryReason, StatusClass};

/// A number that only grows, or a gauge. One writer, any number of readers.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `amount`. Only the owning thread may call this: two writers would lose additions.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.read().wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` off, not below zero. Only the owning thread may call this.
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.store(self.read().saturating_sub(amount), Ordering::Relaxed);
    }

    /// Sets the value. Only the owning thread may call this.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value as of a moment ago.
    #[inline]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds, in microseconds, of the buckets of request durations: 1 ms to 5 minutes.
pub const DURATION_BOUNDS_US: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
/// Upper bounds, in microseconds, of the buckets of the gateway's own time: 1 µs to 100 ms.
pub const OVERHEAD_BOUNDS_US: [u64; 16] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// Counts of observations by size, in microseconds.
#[derive(Debug)]
pub struct Histogram {
    bounds_us: &'static [u64; 16],
    /// Observations up to each bound and beyond the one before; the last place is for those beyond all bounds.
    buckets: [Count; 17],
    sum_us: Count,
}

impl Histogram {
    fn new(bounds_us: &'static [u64; 16]) -> Self {
        Self { bounds_us, buckets: Default::default(), sum_us: Count::default() }
    }

    /// Counts one observation. Only the owning thread may call this.
    #[inline]
    pub fn observe_us(&self, us: u64) {
        let place = self.bounds_us.partition_point(|bound| *bound < us);
        self.buckets[place].add(1);
        self.sum_us.add(us);
    }

    /// Upper bounds of all buckets but the last.
    pub(super) fn bounds_us(&self) -> &'static [u64; 16] {
        self.bounds_us
    }

    /// Adds this histogram's numbers to `sums`.
    pub(super) fn sum_into(&self, sums: &mut HistogramSums) {
        for (sum, bucket) in sums.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.read();
        }
        sums.sum_us = sums.sum_us.saturating_add(self.sum_us.read());
    }
}

/// The numbers of several histograms together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HistogramSums {
    pub(super) buckets: [u64; 17],
    pub(super) sum_us: u64,
}

const REQUEST_KINDS: usize = Endpoint::ALL.len() * StatusClass::ALL.len() * Outcome::ALL.len();

/// Everything one core counts. About 3 KiB; starts on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreMetrics {
    requests: [Count; REQUEST_KINDS],
    /// From a request's head to its last byte.
    pub request_duration: Histogram,
    /// From a request's head to the first byte of the answer.
    pub first_byte: Histogram,
    /// The gateway's own share.
    pub overhead: Histogram,
    /// TLS hand-shakes with providers.
    pub upstream_tls_handshakes: Count,
    /// TLS hand-shakes with providers that resumed a session.
    pub upstream_tls_resumed: Count,
    /// Open client connections (gauge).
    pub connections_open: Count,
    /// Client connections accepted.
    pub connections_accepted: Count,
    /// Accepts that failed, as a rule for want of file descriptors.
    pub accept_errors: Count,
    /// Streams being relayed (gauge).
    pub streams_open: Count,
    /// Panics caught at the edge of a connection.
    pub panics: Count,
    /// Calls sent to providers.
    pub attempts: Count,
    retries: [Count; RetryReason::ALL.len()],
    /// Retries that were not done because the budget was used up.
    pub retries_unpaid: Count,
    /// Calls of a second model beside a slow one.
    pub hedges: Count,
    /// Of these, those whose answer the client got.
    pub hedges_won: Count,
    /// Times that a model's breaker has opened.
    pub breakers_opened: Count,
    /// Times that it has closed again.
    pub breakers_closed: Count,
    /// TLS hand-shakes with clients that failed.
    pub tls_failures: Count,
    /// Connections made to providers.
    pub upstream_connects: Count,
    /// Connections to providers that failed.
    pub upstream_connect_errors: Count,
    /// Calls on a connection that had served one before.
    pub upstream_reuses: Count,
    /// Pooled connections found closed when used.
    pub upstream_stale: Count,
    /// Responses that could not be handed over to be kept.
    pub responses_lost: Count,
    /// Traces that were to be kept and are not: too many in a second, or the thread that keeps them did not keep up.
    pub traces_dropped: Count,
    /// Usage records in the journal; set from `JournalCounts::written`.
    pub journal_records: Count,
    /// Set from `JournalCounts::spilled`.
    pub journal_spilled: Count,
    /// Set from `JournalCounts::lost`.
    pub journal_lost: Count,
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self {
            requests: std::array::from_fn(|_| Count::default()),
            request_duration: Histogram::new(&DURATION_BOUNDS_US),
            first_byte: Histogram::new(&DURATION_BOUNDS_US),
            overhead: Histogram::new(&OVERHEAD_BOUNDS_US),
            upstream_tls_handshakes: Count::default(),
            upstream_tls_resumed: Count::default(),
            connections_open: Count::default(),
            connections_accepted: Count::default(),
            accept_errors: Count::default(),
            streams_open: Count::default(),
            panics: Count::default(),
            attempts: Count::default(),
            retries: Default::default(),
            retries_unpaid: Count::default(),
            hedges: Count::default(),
            hedges_won: Count::default(),
            breakers_opened: Count::default(),
            breakers_closed: Count::default(),
            tls_failures: Count::default(),
            upstream_connects: Count::default(),
            upstream_connect_errors: Count::default(),
            upstream_reuses: Count::default(),
            upstream_stale: Count::default(),
            responses_lost: Count::default(),
            traces_dropped: Count::default(),
            journal_records: Count::default(),
            journal_spilled: Count::default(),
            journal_lost: Count::default(),
        }
    }
}

impl CoreMetrics {
    /// Counts one finished request.
    #[inline]
    pub fn count_request(&self, endpoint: Endpoint, status: u16, outcome: Outcome) {
        self.requests(endpoint, StatusClass::of(status), outcome).add(1);
    }

    /// Calls after a failed one of the same request, by why that failed.
    pub fn retries(&self, reason: RetryReason) -> &Count {
        &self.retries[reason.index()]
    }

    #[inline]
    pub(super) fn requests(&self, endpoint: Endpoint, class: StatusClass, outcome: Outcome) -> &Count {
        let row = endpoint.index() * StatusClass::ALL.len() + class.index();
        &self.requests[row * Outcome::ALL.len() + outcome.index()]
    }
}

/// Everything the control thread counts.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    /// Usage records appended to the store.
    pub usage_records: Count,
    /// Their bytes.
    pub usage_bytes: Count,
    /// Rotations of the usage file.
    pub usage_rotations: Count,
    /// Damaged stretches found in journals.
    pub journal_corrupt: Count,
    /// Bytes in journals that are not durable in the store yet (gauge).
    pub journal_waiting_bytes: Count,
    /// 1 while the disk refuses usage records (gauge).
    pub store_degraded: Count,
    /// Generation of the configuration in force (gauge).
    pub config_generation: Count,
    /// Configuration changes that were refused.
    pub config_errors: Count,
    /// Events that the thread that sends notifications had no room for.
    pub notifications_lost: Count,
    /// Limits of which a threshold was reached.
    pub budget_thresholds: Count,
    /// Limits that were used up.
    pub budgets_exhausted: Count,
    /// Windows of such limits that ended.
    pub budget_resets: Count,
}

/// How the calls of one model went, since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelTimes {
    /// Calls that failed through the model's fault: no client's mistakes, no clients that left.
    pub failures: u64,
    /// Successful attempts at inference.
    pub answers: u64,
    /// From their request's head to the end of the answer, in milliseconds, added up.
    pub latency_ms: u64,
    /// Those of them with a first byte.
    pub first_bytes: u64,
    /// From their request's head to the first byte of the answer, in milliseconds, added up.
    pub ttft_ms: u64,
}

impl ModelTimes {
    /// Adds the sums of other calls.
    pub fn merge(&mut self, other: &Self) {
        self.failures = self.failures.saturating_add(other.failures);
        self.answers = self.answers.saturating_add(other.answers);
        self.latency_ms = self.latency_ms.saturating_add(other.latency_ms);
        self.first_bytes = self.first_bytes.saturating_add(other.first_bytes);
        self.ttft_ms = self.ttft_ms.saturating_add(other.ttft_ms);
    }
}

/// Everything the thread that keeps traces counts.
#[derive(Debug, Default)]
pub struct TraceMetrics {
    /// Traces written.
    pub kept: Count,
    /// Traces that the disk did not take.
    pub lost: Count,
}

/// Everything the thread that sends notifications counts.
#[derive(Debug, Default)]
pub struct NotifyMetrics {
    /// Notifications that were taken.
    pub sent: Count,
    /// Attempts that failed.
    pub failures: Count,
    /// Notifications that will not be sent.
    pub lost: Count,
    /// Notifications that wait (gauge).
    pub waiting: Count,
}

/// All metrics of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// One set per core, written by that core.
    pub cores: Arc<[Arc<CoreMetrics>]>,
    /// Written by the control thread.
    pub control: Arc<ControlMetrics>,
    /// Written by the thread that keeps traces.
    pub traces: Arc<TraceMetrics>,
    /// Written by the thread that sends notifications.
    pub notify: Arc<NotifyMetrics>,
}

impl Metrics {
    /// Zeros for `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self {
            cores: (0..cores).map(|_| Arc::default()).collect(),
            control: Arc::default(),
            traces: Arc::default(),
            notify: Arc::default(),
        }
    }

    /// The sum over all cores of one count.
    pub fn sum(&self, count: impl Fn(&CoreMetrics) -> &Count) -> u64 {
        self.cores.iter().map(|core| count(core).read()).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_request_has_a_place_of_its_own() {
        let metrics = CoreMetrics::default();
        for endpoint in Endpoint::ALL {
            for class in StatusClass::ALL {
                for outcome in Outcome::ALL {
                    let count = metrics.requests(*endpoint, *class, *outcome);
                    assert_eq!(count.read(), 0);
                    count.add(1);
                }
            }
        }
        assert!(metrics.requests.iter().all(|count| count.read() == 1));
    }

    #[test]
    fn observations_fall_into_the_bucket_that_holds_them() {
        let histogram = Histogram::new(&OVERHEAD_BOUNDS_US);
        for us in [0, 1, 2, 3, 100_000, 100_001] {
            histogram.observe_us(us);
        }
        let mut sums = HistogramSums::default();
        histogram.sum_into(&mut sums);
        let filled: Vec<_> = sums.buckets.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        assert_eq!(filled, [(0, &2), (1, &1), (2, &1), (15, &1), (16, &1)]);
        assert_eq!(sums.sum_us, 200_007);
    }

    #[test]
    fn a_gauge_never_goes_below_zero() {
        let gauge = Count::default();
        gauge.add(1);
        gauge.sub(2);
        assert_eq!(gauge.read(), 0);
    }

    #[test]
    fn sums_go_over_all_cores() {
        let metrics = Metrics::new(3);
        for (index, core) in metrics.cores.iter().enumerate() {
            core.attempts.add(index as u64 + 1);
        }
        assert_eq!(metrics.sum(|core| &core.attempts), 6);
    }
}
