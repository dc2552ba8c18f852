//! Statistics of batch normalisation: sums over frames, going forward and back.

use super::{Parameters, Plan, Statistics, Workspace};

/// Weight of the old value in the moving statistics.
const MOMENTUM: f32 = 0.99;

impl Plan {
    /// Sums and sums of squares of each channel over frames at the beginning of `segment`.
    pub(in crate::train) fn sums(&self, segment: usize, values: &[f32]) -> Vec<f64> {
        let Some((_, channels)) = self.batch_norm(segment) else { return Vec::new() };
        let mut sums = vec![0.0; 2 * channels];
        let (sum, squares) = sums.split_at_mut(channels);
        for row in values.chunks_exact(channels) {
            for c in 0..channels {
                let value = f64::from(row[c]);
                sum[c] += value;
                squares[c] += value * value;
            }
        }
        sums
    }

    /// Sets the statistics that `segment` begins with from sums over `rows` time steps, and moves the moving ones.
    pub(in crate::train) fn set_statistics(
        &self,
        segment: usize,
        sums: &[f64],
        rows: usize,
        statistics: &mut Statistics,
        parameters: &mut Parameters,
    ) {
        let Some((first, channels)) = self.batch_norm(segment) else { return };
        statistics.resize(self.statistics);
        let count = rows as f64;
        for c in 0..channels {
            let mean = sums[c] / count;
            let variance = (sums[channels + c] / count - mean * mean).max(0.0);
            statistics.mean[first + c] = mean as f32;
            statistics.variance[first + c] = variance as f32;
            let moving = |old: &mut f32, new: f64| {
                *old = MOMENTUM * *old + (1.0 - MOMENTUM) * new as f32;
            };
            moving(&mut parameters.moving_mean[first + c], mean);
            moving(&mut parameters.moving_variance[first + c], variance);
        }
    }

    /// Sums of the gradient and of gradient times normalised value over the frames of a workspace, whose gradients at
    /// the output of the batch normalisation that `segment` begins with are `gradients`.
    pub(in crate::train) fn gradient_sums(
        &self,
        segment: usize,
        workspace: &Workspace,
        gradients: &[f32],
    ) -> Vec<f64> {
        let Some((_, channels)) = self.batch_norm(segment) else { return Vec::new() };
        let saved = &workspace.saved[self.segments[segment].start];
        let mut sums = vec![0.0; 2 * channels];
        let (sum, products) = sums.split_at_mut(channels);
        for (row, normalised) in gradients.chunks_exact(channels).zip(saved.chunks_exact(channels)) {
            for c in 0..channels {
                sum[c] += f64::from(row[c]);
                products[c] += f64::from(row[c] * normalised[c]);
            }
        }
        sums
    }

    /// Sets what the backward pass of the batch normalisation that `segment` begins with needs.
    pub(in crate::train) fn set_gradient_statistics(
        &self,
        segment: usize,
        sums: &[f64],
        rows: usize,
        statistics: &mut Statistics,
    ) {
        let Some((first, channels)) = self.batch_norm(segment) else { return };
        for c in 0..channels {
            statistics.gradient_mean[first + c] = (sums[c] / rows as f64) as f32;
            statistics.gradient_product[first + c] = (sums[channels + c] / rows as f64) as f32;
        }
    }
}
