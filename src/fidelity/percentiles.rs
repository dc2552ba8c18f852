//! The distribution of frame PRDs in bounded memory.

use super::FramePrdSummary;

/// Buckets grow by this factor, so a percentile is off by less than 1 %.
const GROWTH: f64 = 1.01;
/// Everything below counts as this.
const LOWEST_PERCENT: f64 = 1e-4;

/// PRDs of frames, counted in logarithmic buckets: a stream may run for years.
#[derive(Clone, Debug, Default)]
pub struct FramePrd {
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
    max: f64,
    constant: u64,
}

impl FramePrd {
    /// Counts one frame; none for a frame that does not vary.
    pub(super) fn add(&mut self, prd_percent: Option<f64>) {
        let Some(prd) = prd_percent else {
            self.constant += 1;
            return;
        };
        let bucket = ((prd.max(LOWEST_PERCENT) / LOWEST_PERCENT).ln() / GROWTH.ln()) as usize;
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum += prd;
        self.max = self.max.max(prd);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.constant += other.constant;
    }

    pub(super) fn constant(&self) -> u64 {
        self.constant
    }

    pub(super) fn summary(&self) -> Option<FramePrdSummary> {
        (self.count > 0).then(|| FramePrdSummary {
            mean: self.sum / self.count as f64,
            median: self.percentile(0.5),
            p90: self.percentile(0.9),
            max: self.max,
        })
    }

    /// Upper edges and counts of the buckets that hold any frame, for a histogram.
    pub fn histogram(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let edge = |bucket: usize| LOWEST_PERCENT * GROWTH.powf(bucket as f64 + 1.0);
        self.buckets
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(move |(b, count)| (edge(b), *count))
    }

    fn percentile(&self, fraction: f64) -> f64 {
        let rank = (fraction * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (edge, count) in self.histogram() {
            seen += count;
            if seen >= rank {
                // The middle of the bucket, but never beyond the largest frame there was.
                return (edge / GROWTH.sqrt()).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_within_a_hundredth(mut values in prop::collection::vec(0.001_f64..1000.0, 1..300)) {
            let mut frames = FramePrd::default();
            for &value in &values {
                frames.add(Some(value));
            }
            values.sort_by(f64::total_cmp);
            let summary = frames.summary().unwrap();
            for (fraction, found) in [(0.5, summary.median), (0.9, summary.p90)] {
                let rank = ((fraction * values.len() as f64).ceil() as usize).max(1);
                let expected = values[rank - 1];
                prop_assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
            }
            prop_assert_eq!(summary.max, *values.last().unwrap());
        }
    }
}
