//! `performance`: how fast were the last calls?

use crate::config::policy::PerformanceMetric;
use crate::routing::metrics::PerformanceRow;

/// The time that counts, in milliseconds; none with fewer calls than `min_samples`.
#[inline]
pub(in crate::routing) fn time(
    row: &PerformanceRow,
    metric: PerformanceMetric,
    min_samples: u32,
) -> Option<f64> {
    let mean = match metric {
        PerformanceMetric::Latency => row.latency,
        PerformanceMetric::Ttft => row.ttft,
        PerformanceMetric::PerOutputToken => row.per_output_token,
    };
    (mean.samples >= min_samples && mean.ms > 0.0).then_some(mean.ms)
}

/// The shortest of the times that are known.
#[derive(Debug, Clone, Copy)]
pub(in crate::routing) struct Race {
    best: f64,
    known: u32,
}

impl Race {
    /// No model yet.
    pub(in crate::routing) const EMPTY: Self = Self { best: f64::INFINITY, known: 0 };

    /// Takes in a model's time.
    #[inline]
    pub(in crate::routing) fn add(&mut self, time: Option<f64>) {
        if let Some(time) = time {
            self.best = self.best.min(time);
            self.known += 1;
        }
    }

    /// The shortest time by this one. 1 for who is not known, and for all while fewer than two are.
    #[inline]
    pub(in crate::routing) fn point(&self, time: Option<f64>) -> f64 {
        match time {
            Some(time) if self.known >= 2 => self.best / time,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::metrics::Mean;

    /// Name, time of each model, points of each model.
    type Case = (&'static str, &'static [Option<f64>], &'static [f64]);

    #[test]
    fn points_follow_the_table() {
        let cases: [Case; 5] = [
            ("nobody known", &[None, None], &[1.0, 1.0]),
            ("one known", &[Some(900.0), None], &[1.0, 1.0]),
            ("two known", &[Some(200.0), Some(800.0), None], &[1.0, 0.25, 1.0]),
            ("the same", &[Some(5.0), Some(5.0)], &[1.0, 1.0]),
            ("four", &[Some(100.0), Some(125.0), Some(1_000.0), Some(200.0)], &[1.0, 0.8, 0.1, 0.5]),
        ];
        for (name, times, expected) in cases {
            let mut race = Race::EMPTY;
            times.iter().for_each(|time| race.add(*time));
            let points: Vec<f64> = times.iter().map(|time| race.point(*time)).collect();
            assert_eq!(points, expected, "{name}");
        }
    }

    #[test]
    fn each_metric_reads_its_own_mean_with_samples_enough() {
        let row = PerformanceRow {
            latency: Mean { ms: 3.0, samples: 3 },
            ttft: Mean { ms: 2.0, samples: 2 },
            per_output_token: Mean { ms: 1.0, samples: 1 },
        };
        let cases = [
            (PerformanceMetric::Latency, 1, Some(3.0)),
            (PerformanceMetric::Latency, 3, Some(3.0)),
            (PerformanceMetric::Latency, 4, None),
            (PerformanceMetric::Ttft, 2, Some(2.0)),
            (PerformanceMetric::PerOutputToken, 1, Some(1.0)),
            (PerformanceMetric::PerOutputToken, 2, None),
        ];
        for (metric, min_samples, expected) in cases {
            assert_eq!(time(&row, metric, min_samples), expected, "{metric:?} {min_samples}");
        }
        assert_eq!(time(&PerformanceRow::default(), PerformanceMetric::Latency, 0), None);
    }
}
