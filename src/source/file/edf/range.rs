//! What a header says of a signal's range so that its gain and baseline come back.

use crate::signal::{ChannelInfo, SampleType};

/// Characters of a number in a header.
const WIDTH: usize = 8;

/// Counts that are tried for each end of a range.
const MAX_TRIED: usize = 1 << 12;

/// The ends of a signal's range, digital and physical.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) digital: [i32; 2],
    pub(super) physical: [String; 2],
    /// True if the physical ends are just what they are written as.
    pub(super) exact: bool,
}

impl Range {
    /// A range that holds the counts from `lowest` to `highest`: the widest one whose physical ends can be written
    /// without loss in eight characters, or else that of the sample type with rounded ends.
    pub(super) fn of(channel: &ChannelInfo, sample_type: SampleType, lowest: i32, highest: i32) -> Self {
        let bits = u32::from(sample_type.bits());
        let (low, high) = (i32::MIN >> (32 - bits), i32::MAX >> (32 - bits));
        // Before there are any samples there is a range, too, and none is empty.
        let mut lower = (low..=lowest.min(high - 1)).take(MAX_TRIED);
        let lower = lower.find_map(|count| Some((count, exact(channel, count)?)));
        let mut upper = (highest.max(low + 1)..=high).rev().take(MAX_TRIED);
        let upper = upper.find_map(|count| Some((count, exact(channel, count)?)));
        match (lower, upper) {
            (Some((low, physical_low)), Some((high, physical_high))) => {
                Self { digital: [low, high], physical: [physical_low, physical_high], exact: true }
            }
            _ => Self {
                digital: [low, high],
                physical: [low, high].map(|count| nearest(physical(channel, count))),
                exact: false,
            },
        }
    }
}

fn physical(channel: &ChannelInfo, count: i32) -> f64 {
    (f64::from(count) - channel.baseline) / channel.gain
}

/// The physical value of a count in at most eight characters, where that says it.
fn exact(channel: &ChannelInfo, count: i32) -> Option<String> {
    let value = physical(channel, count);
    let text = nearest(value);
    let written: f64 = text.parse().ok()?;
    // What the division has lost is no more than that.
    ((written - value).abs() <= value.abs() * 1e-14).then_some(text)
}

/// The number of at most eight characters that is nearest to `value`, or its nearest bound.
pub(super) fn nearest(value: f64) -> String {
    let value = value.clamp(-9_999_999.0, 99_999_999.0);
    for digits in (0..WIDTH).rev() {
        let text = format!("{value:.digits$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        if text.len() <= WIDTH {
            return if text == "-0" { "0".to_owned() } else { text.to_owned() };
        }
    }
    format!("{value:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(gain: f64, baseline: f64) -> ChannelInfo {
        ChannelInfo { name: String::new(), unit: "mV".into(), gain, baseline }
    }

    fn range(gain: f64, baseline: f64) -> (Range, [i32; 2]) {
        let range = Range::of(&channel(gain, baseline), SampleType::I16, -1000, 2000);
        let digital = range.digital;
        (range, digital)
    }

    #[test]
    fn usual_gains_are_written_without_loss() {
        let (full, digital) = range(200.0, 1024.0);
        assert_eq!((digital, full.exact), ([-32_768, 32_767], true));
        assert_eq!(full.physical, ["-168.96", "158.715"]);
        // An EEG amplifier: -3276.8 to 3276.7 uV for -2048 to 2047.
        let (odd, digital) = range(4095.0 / 6553.5, -2048.0 + 3276.8 * 4095.0 / 6553.5);
        assert!(odd.exact && digital[0] < -32_000 && digital[1] > 32_000, "{odd:?}");
        let (unscaled, digital) = range(1.0, 0.0);
        assert_eq!(
            (unscaled.physical, digital),
            (["-32768".to_owned(), "32767".to_owned()], [-32_768, 32_767])
        );
    }

    #[test]
    fn odd_gains_are_written_as_near_as_can_be() {
        let (range, digital) = range(std::f64::consts::PI, 0.1);
        assert_eq!((digital, range.exact), ([-32_768, 32_767], false));
        assert_eq!(range.physical, ["-10430.4", "10430.03"]);
        let wide = Range::of(&channel(1.0, 0.0), SampleType::I24, -8_388_608, 8_388_607);
        assert_eq!((wide.digital, wide.exact), ([-8_388_608, 8_388_607], true));
    }

    #[test]
    fn numbers_fit_their_field() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0 / 3.0, "0.333333"),
            (-1.0 / 3.0, "-0.33333"),
            (99_999_999.4, "99999999"),
            (1e300, "99999999"),
            (-1e300, "-9999999"),
            (1e-12, "0"),
            (-1e-12, "0"),
            (12_345_678.9, "12345679"),
            (1234.56789, "1234.568"),
        ] {
            assert_eq!(nearest(value), text);
        }
    }
}
