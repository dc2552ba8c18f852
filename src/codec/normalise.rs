//! Scaling of frames to zero mean and unit variance, and back.

use crate::model::{EpsilonKind, Normalisation};
use crate::packet::ChannelSide;

/// The scaling of one channel of a frame (`[time][channels]`, interleaved), rounded as it will travel.
pub fn side(normalisation: &Normalisation, frame: &[f64], channel: usize, channels: usize) -> ChannelSide {
    let samples = || frame.iter().skip(channel).step_by(channels).copied();
    let first = samples().next().unwrap_or(0.0);
    if samples().all(|sample| sample == first) {
        return ChannelSide::Constant(first);
    }
    let count = (frame.len() / channels) as f64;
    // Scaled down by a power of two where squares would overflow; up where they would vanish.
    let peak = samples().fold(0.0, |peak: f64, sample| peak.max(sample.abs()));
    let unit = if (1e-100..1e100).contains(&peak) { 1.0 } else { peak };
    let mean = samples().map(|sample| sample / unit).sum::<f64>() / count;
    let variance = samples().map(|sample| (sample / unit - mean).powi(2)).sum::<f64>() / count;
    let relative = |epsilon: f64| epsilon * (mean * mean + variance);
    let epsilon = match normalisation.kind {
        EpsilonKind::Relative => relative(normalisation.epsilon),
        // The relative floor keeps the rounded offset within range on any level.
        EpsilonKind::Absolute => {
            (normalisation.epsilon / unit / unit).max(relative(Normalisation::default().epsilon))
        }
    };
    ChannelSide::nearest(mean * unit, (variance + epsilon).sqrt() * unit)
}

/// Appends the normalised samples of a frame, `[time][channels]`; a constant channel becomes zeros.
pub fn normalise(frame: &[f64], sides: &[ChannelSide], normalised: &mut Vec<f32>) {
    let scaling: Vec<(f64, f64)> = sides
        .iter()
        .map(|side| {
            let (offset, scale) = side.offset_and_scale();
            (offset, if scale > 0.0 { scale.recip() } else { 0.0 })
        })
        .collect();
    match scaling.as_slice() {
        &[(offset, factor)] => normalised.extend(frame.iter().map(|x| ((x - offset) * factor) as f32)),
        _ => normalised.extend(
            frame
                .iter()
                .zip(scaling.iter().cycle())
                .map(|(x, (offset, factor))| ((x - offset) * factor) as f32),
        ),
    }
}

/// Appends the samples that normalised ones stand for, `[time][channels]`; the inverse of [`normalise`].
pub fn restore(normalised: &[f32], sides: &[ChannelSide], frame: &mut Vec<f64>) {
    let scaling: Vec<(f64, f64)> = sides.iter().map(|side| side.offset_and_scale()).collect();
    frame.extend(
        normalised
            .iter()
            .zip(scaling.iter().cycle())
            .map(|(x, (offset, scale))| f64::from(*x) * scale + offset),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sides(normalisation: &Normalisation, frame: &[f64], channels: usize) -> Vec<ChannelSide> {
        (0..channels).map(|channel| side(normalisation, frame, channel, channels)).collect()
    }

    fn moments(samples: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
        let count = samples.clone().count() as f64;
        let mean = samples.clone().sum::<f64>() / count;
        (mean, samples.map(|x| (x - mean).powi(2)).sum::<f64>() / count)
    }

    #[test]
    fn constants_survive_exactly() {
        for value in [0.0, -1024.0, 1e-300, f64::MAX, 0.1] {
            assert_eq!(side(&Normalisation::default(), &[value; 8], 0, 1), ChannelSide::Constant(value));
        }
    }

    #[test]
    fn tiny_signals_are_scaled_to_one() {
        let frame: Vec<f64> = (0..64).map(|i| 1e-9 * f64::from(i).sin()).collect();
        let mut normalised = Vec::new();
        normalise(&frame, &sides(&Normalisation::default(), &frame, 1), &mut normalised);
        let (_, variance) = moments(normalised.iter().copied().map(f64::from));
        assert!((variance - 1.0).abs() < 0.1, "{variance}");

        normalised.clear();
        normalise(&frame, &sides(&Normalisation::IMPORTED, &frame, 1), &mut normalised);
        let (_, variance) = moments(normalised.iter().copied().map(f64::from));
        assert!(variance < 1e-6, "an absolute epsilon under-scales, {variance}");
    }

    proptest! {
        #[test]
        fn any_frame_comes_back(
            frame in prop::collection::vec(prop::num::f64::NORMAL, 24), channels in 1_usize..4,
        ) {
            let sides = sides(&Normalisation::default(), &frame, channels);
            let mut normalised = Vec::new();
            normalise(&frame, &sides, &mut normalised);
            let mut restored = Vec::new();
            restore(&normalised, &sides, &mut restored);
            for (channel, side) in sides.iter().enumerate() {
                let (_, scale) = side.offset_and_scale();
                prop_assert!(scale.is_finite());
                let pairs = frame.iter().zip(&restored).skip(channel).step_by(channels);
                for (x, y) in pairs {
                    let level = scale + x.abs();
                    prop_assert!((x - y).abs() <= 1e-5 * level, "{x} {y} {scale}");
                }
            }
        }

        #[test]
        fn counts_come_out_with_mean_zero_and_variance_one(
            level in -30_000_i32..30_000, swing in 1_i32..2_000, phase in 0.0_f64..6.0,
        ) {
            let frame: Vec<f64> =
                (0..512).map(|i| f64::from(level) + (f64::from(swing) * (0.1 * f64::from(i) + phase).sin()).round()).collect();
            let mut normalised = Vec::new();
            normalise(&frame, &sides(&Normalisation::default(), &frame, 1), &mut normalised);
            let (mean, variance) = moments(normalised.iter().copied().map(f64::from));
            prop_assert!(mean.abs() <= 1.0 / 120.0, "{mean}");
            prop_assert!((variance.sqrt() - 1.0).abs() < 0.03, "{variance}");
        }
    }
}
