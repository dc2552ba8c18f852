//! Latencies as a distribution whose tail can be trusted.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::Serialize;

/// An hour; what takes longer is counted as an hour.
const LONGEST_US: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies so far, in microseconds to three digits.
pub(super) struct Latencies(Mutex<Histogram<u64>>);

/// A distribution of latencies, each to three significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySnapshot {
    /// Latencies that were measured.
    pub count: u64,
    /// Half are at most this long.
    pub p50_seconds: f64,
    /// 90 % are at most this long.
    pub p90_seconds: f64,
    /// 99 % are at most this long.
    pub p99_seconds: f64,
    /// 99.9 % are at most this long.
    pub p99_9_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
}

impl Latencies {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, SIGNIFICANT_DIGITS);
        Self(Mutex::new(histogram.expect("a range and digits that a histogram can have")))
    }

    pub(super) fn record(&self, seconds: f64) {
        // The conversion takes what is no number to 0 and the rest into range.
        let micros = (seconds * 1e6).round() as u64;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros.min(LONGEST_US));
    }

    /// None before the first.
    pub(super) fn snapshot(&self) -> Option<LatencySnapshot> {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        (!histogram.is_empty()).then(|| LatencySnapshot {
            count: histogram.len(),
            p50_seconds: at(0.5),
            p90_seconds: at(0.9),
            p99_seconds: at(0.99),
            p99_9_seconds: at(0.999),
            max_seconds: histogram.max() as f64 / 1e6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded_to_three_digits() {
        let latencies = Latencies::new();
        assert_eq!(latencies.snapshot(), None);
        (1..=10_000).rev().for_each(|ms| latencies.record(f64::from(ms) / 1e3));
        let found = latencies.snapshot().unwrap();
        assert_eq!(found.count, 10_000);
        for (found, expected) in [
            (found.p50_seconds, 5.0),
            (found.p90_seconds, 9.0),
            (found.p99_seconds, 9.9),
            (found.p99_9_seconds, 9.99),
            (found.max_seconds, 10.0),
        ] {
            assert!((found - expected).abs() <= expected * 1e-3, "{found} is not {expected}");
        }
    }

    #[test]
    fn no_latency_is_too_strange_to_count() {
        let latencies = Latencies::new();
        for seconds in [f64::NAN, -1.0, 0.0, 1e-9, 1e9, f64::INFINITY] {
            latencies.record(seconds);
        }
        let found = latencies.snapshot().unwrap();
        assert_eq!(found.count, 6);
        assert!((found.max_seconds - 3600.0).abs() < 4.0, "{found:?}");
    }
}
