//! The loss on the signal and its gradient.

/// Taps of the low-pass filter.
const LOWPASS_TAPS: usize = 65;

/// Mean squared error, of the signal, of its first difference and of its low-pass band.
#[derive(Clone, Debug)]
pub(super) struct SignalLoss {
    difference_weight: f32,
    lowpass_weight: f32,
    /// Hamming-windowed sinc with unit gain at zero frequency; empty where it has no weight.
    lowpass: Vec<f32>,
    channels: usize,
}

/// The parts of the loss over one frame, not yet divided by the batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameLoss {
    pub(super) squared_error: f64,
    pub(super) squared_difference: f64,
    pub(super) squared_lowpass: f64,
}

impl SignalLoss {
    /// `lowpass_cutoff` is a fraction of the sample rate.
    pub(super) fn new(
        difference_weight: f32,
        lowpass_weight: f32,
        lowpass_cutoff: f32,
        channels: usize,
    ) -> Self {
        let lowpass =
            if lowpass_weight > 0.0 { windowed_sinc(f64::from(lowpass_cutoff)) } else { Vec::new() };
        Self { difference_weight, lowpass_weight, lowpass, channels }
    }

    /// The loss of one frame, and its gradient by the output for a batch of `frames`.
    pub(super) fn frame(
        &self,
        output: &[f32],
        target: &[f32],
        frames: usize,
        gradient: &mut Vec<f32>,
    ) -> FrameLoss {
        let channels = self.channels;
        let samples = output.len();
        let scale = 2.0 / (frames * samples) as f32;
        let error: Vec<f32> = output.iter().zip(target).map(|(y, x)| y - x).collect();
        let mut loss = FrameLoss { squared_error: squares(&error), ..FrameLoss::default() };
        gradient.clear();
        gradient.extend(error.iter().map(|error| scale * error));

        if self.difference_weight > 0.0 && samples > channels {
            let scale = self.difference_weight * 2.0 / (frames * (samples - channels)) as f32;
            for i in channels..samples {
                let difference = error[i] - error[i - channels];
                loss.squared_difference += f64::from(difference * difference);
                gradient[i] += scale * difference;
                gradient[i - channels] -= scale * difference;
            }
        }
        if !self.lowpass.is_empty() {
            // The filter is symmetric: its transpose is itself.
            let filtered = self.filter(&error);
            loss.squared_lowpass = squares(&filtered);
            let scale = self.lowpass_weight * scale;
            for (gradient, value) in gradient.iter_mut().zip(self.filter(&filtered)) {
                *gradient += scale * value;
            }
        }
        loss
    }

    /// The weighted sum for a batch of `frames` of `samples` values each.
    pub(super) fn total(&self, sums: FrameLoss, frames: usize, samples: usize) -> f32 {
        let values = (frames * samples) as f64;
        let differences = (frames * samples.saturating_sub(self.channels)).max(1) as f64;
        (sums.squared_error / values
            + f64::from(self.difference_weight) * sums.squared_difference / differences
            + f64::from(self.lowpass_weight) * sums.squared_lowpass / values) as f32
    }

    fn filter(&self, signal: &[f32]) -> Vec<f32> {
        let mut filtered = vec![0.0; signal.len()];
        let reach = (LOWPASS_TAPS / 2 * self.channels) as isize;
        for (tap, weight) in self.lowpass.iter().enumerate() {
            let shift = (tap * self.channels) as isize - reach;
            let (target, source) = if shift < 0 {
                (filtered.get_mut(shift.unsigned_abs()..), signal.get(..))
            } else {
                (filtered.get_mut(..), signal.get(shift.unsigned_abs()..))
            };
            for (target, value) in target.unwrap_or_default().iter_mut().zip(source.unwrap_or_default()) {
                *target += weight * value;
            }
        }
        filtered
    }
}

impl std::ops::AddAssign for FrameLoss {
    fn add_assign(&mut self, other: Self) {
        self.squared_error += other.squared_error;
        self.squared_difference += other.squared_difference;
        self.squared_lowpass += other.squared_lowpass;
    }
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value * value)).sum()
}

/// A Hamming-windowed sinc; `cutoff` is a fraction of the sample rate.
fn windowed_sinc(cutoff: f64) -> Vec<f32> {
    use std::f64::consts::PI;
    let middle = (LOWPASS_TAPS / 2) as f64;
    let taps: Vec<f64> = (0..LOWPASS_TAPS)
        .map(|n| {
            let t = n as f64 - middle;
            let sinc = if t == 0.0 { 2.0 * cutoff } else { (2.0 * PI * cutoff * t).sin() / (PI * t) };
            let window = 0.54 - 0.46 * (2.0 * PI * n as f64 / (LOWPASS_TAPS - 1) as f64).cos();
            sinc * window
        })
        .collect();
    let gain: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / gain) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_filter_passes_slow_and_stops_fast() {
        let loss = SignalLoss::new(0.1, 1.0, 10.0 / 360.0, 1);
        let gain = |cycles_per_sample: f32| {
            let wave: Vec<f32> =
                (0..512).map(|i| (std::f32::consts::TAU * cycles_per_sample * i as f32).sin()).collect();
            (squares(&loss.filter(&wave)[65..447]) / squares(&wave[65..447])).sqrt()
        };
        assert!(gain(2.0 / 360.0) > 0.97 && gain(40.0 / 360.0) < 0.01);
        assert!((loss.lowpass.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_slope(
            target in prop::collection::vec(-1.0_f32..1.0, 80), channels in 1_usize..3, at in 0_usize..80, lowpass in 0.0_f32..2.0,
        ) {
            let loss = SignalLoss::new(0.1, lowpass, 0.05, channels);
            let output: Vec<f32> = target.iter().enumerate().map(|(i, x)| x + (i as f32).cos()).collect();
            let mut gradient = Vec::new();
            loss.frame(&output, &target, 3, &mut gradient);
            let value = |step: f32| {
                let mut moved = output.clone();
                moved[at] += step;
                let sums = loss.frame(&moved, &target, 3, &mut Vec::new());
                f64::from(loss.total(sums, 3, 80))
            };
            let slope = (value(0.05) - value(-0.05)) / 0.1;
            prop_assert!((slope - f64::from(gradient[at])).abs() < 2e-4 + 0.01 * slope.abs(), "{slope} {}", gradient[at]);
        }
    }
}
