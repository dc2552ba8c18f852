//! Side information: how each frame and channel was scaled.

/// Steps of the scale per octave: a scale is off by at most 2.2 %, and both ends use the rounded one.
const SCALE_STEPS: i32 = 16;
/// Steps of the offset per unit of scale.
const OFFSET_STEPS: f64 = 64.0;

/// Scaling of one frame of one channel as it travels in a packet.
///
/// The encoder normalises with these rounded numbers too, so that rounding them costs no fidelity by
/// itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChannelSide {
    /// Every sample has this value; the frame has no codes unless another channel varies.
    Constant(f64),
    /// sample = offset + scale * normalised.
    Scaled {
        /// Scale in sixteenths of an octave: scale = 2^(steps / 16).
        scale_steps: i32,
        /// Offset in 64ths of the scale.
        offset_steps: i64,
    },
}

impl ChannelSide {
    /// The nearest representable scaling.
    pub fn nearest(offset: f64, scale: f64) -> Self {
        let scale_steps = (scale.log2() * f64::from(SCALE_STEPS)).round().clamp(-17_000.0, 16_368.0) as i32;
        let offset_steps = (offset / scale_of(scale_steps) * OFFSET_STEPS).round() as i64;
        Self::Scaled { scale_steps, offset_steps }
    }

    /// Offset and scale; the scale of a constant is zero.
    pub fn offset_and_scale(self) -> (f64, f64) {
        match self {
            Self::Constant(value) => (value, 0.0),
            Self::Scaled { scale_steps, offset_steps } => {
                let scale = scale_of(scale_steps);
                (offset_steps as f64 * (scale / OFFSET_STEPS), scale)
            }
        }
    }

    /// True if the frame does not vary in this channel.
    pub fn is_constant(self) -> bool {
        matches!(self, Self::Constant(_))
    }
}

/// `2^(steps / 16)` from a table and a power of two, the same on every machine.
fn scale_of(steps: i32) -> f64 {
    /// `2^(i / 16)` to the last bit of a double.
    const OCTAVE: [f64; SCALE_STEPS as usize] = [
        1.0,
        1.044_273_782_427_413_8,
        1.090_507_732_665_257_7,
        1.138_788_634_756_691_6,
        1.189_207_115_002_721,
        1.241_857_812_073_484,
        1.296_839_554_651_009_6,
        1.354_255_546_936_892_7,
        std::f64::consts::SQRT_2,
        1.476_826_145_939_499_3,
        1.542_210_825_407_940_7,
        1.610_490_331_949_254_3,
        1.681_792_830_507_429,
        1.756_252_160_373_299_5,
        1.834_008_086_409_342_4,
        1.915_206_561_397_147_4,
    ];
    let step = OCTAVE[steps.rem_euclid(SCALE_STEPS) as usize];
    // Two factors, so that scales down to the smallest doubles do not underflow on the way. Beyond the
    // doubles the result is zero or infinite, whatever the exponent.
    let exponent = steps.div_euclid(SCALE_STEPS).clamp(-2044, 2044);
    let half = exponent / 2;
    step * power_of_two(half) * power_of_two(exponent - half)
}

/// `2^exponent`, exactly, for the exponents of normal doubles.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// An offset in steps of one scale, expressed in the nearest step of another.
pub(super) fn steps_in_scale(offset_steps: i64, from_scale_steps: i32, to_scale_steps: i32) -> i64 {
    (offset_steps as f64 * scale_of(from_scale_steps.saturating_sub(to_scale_steps))).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nearest_is_near(offset in -1e6_f64..1e6, exponent in -12.0_f64..12.0) {
            let scale = 10.0_f64.powf(exponent).max(offset.abs() * 1e-7);
            let (found_offset, found_scale) = ChannelSide::nearest(offset, scale).offset_and_scale();
            prop_assert!((found_scale / scale).log2().abs() <= 0.5 / 16.0 + 1e-9);
            prop_assert!((found_offset - offset).abs() <= found_scale / 128.0 * (1.0 + 1e-6) + offset.abs() * 1e-15);
        }
    }

    #[test]
    fn the_table_is_the_power() {
        for steps in -16_000..16_368 {
            let expected = (f64::from(steps) / 16.0).exp2();
            let found = scale_of(steps);
            assert!((found - expected).abs() <= expected * 1e-14, "{steps}: {found} {expected}");
        }
    }
}
