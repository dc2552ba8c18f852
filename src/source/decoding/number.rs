//! Numbers of texts become samples.

use crate::signal::SampleType;
use crate::source::cells::{fit, number};

/// Digits that `i128` holds, whatever they are.
const MAX_WHOLE_DIGITS: usize = 38;

/// The sample that a text stands for, or what it should be. A whole number (no point, no exponent) has to be
/// held exactly by every sample type; others are rounded to the precision of floats.
pub(super) fn sample_of_text(text: &str, sample_type: SampleType) -> Result<f64, &'static str> {
    let value = number(text).filter(|value| value.is_finite()).ok_or("a finite number")?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return fit(value, sample_type);
    }
    let whole = (digits.len() <= MAX_WHOLE_DIGITS).then(|| text.parse().ok()).flatten();
    sample_of_whole(whole.ok_or("a whole number of at most 38 digits")?, sample_type)
}

/// The sample that a whole number stands for, or what it should be.
pub(super) fn sample_of_whole(whole: i128, sample_type: SampleType) -> Result<f64, &'static str> {
    let sample = whole as f64;
    if sample_type.is_integer() {
        return fit(sample, sample_type);
    }
    if sample as i128 == whole && sample_type.holds(sample) {
        return Ok(sample);
    }
    Err(match sample_type {
        SampleType::F32 => "a whole number that f32 holds exactly (with a decimal point it is rounded)",
        _ => "a whole number that f64 holds exactly (with a decimal point it is rounded)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_held_exactly_or_refused() {
        let sample = |text: &str, sample_type| sample_of_text(text, sample_type).ok();
        assert_eq!(sample("9007199254740992", SampleType::F64), Some(9_007_199_254_740_992.0));
        assert_eq!(sample("9007199254740993", SampleType::F64), None);
        assert_eq!(sample("9007199254740993.0", SampleType::F64), Some(9_007_199_254_740_992.0));
        assert_eq!(sample("16777217", SampleType::F32), None);
        assert_eq!(sample("-16777216", SampleType::F32), Some(-16_777_216.0));
        assert_eq!(sample(&"9".repeat(39), SampleType::F64), None);
        assert_eq!(sample(&"9".repeat(400), SampleType::F64), None);
        assert_eq!(sample("+32767", SampleType::I16), Some(32_767.0));
        assert_eq!(sample("32768", SampleType::I16), None);
        assert_eq!(sample(&format!("1{}", "0".repeat(22)), SampleType::F64), Some(1e22));
    }

    #[test]
    fn fractions_are_rounded_by_floats_and_refused_by_counts() {
        assert_eq!(sample_of_text("0.1", SampleType::F32), Ok(f64::from(0.1_f32)));
        assert_eq!(sample_of_text("0.1", SampleType::F64), Ok(0.1));
        assert_eq!(sample_of_text("2.0", SampleType::I24), Ok(2.0));
        assert_eq!(sample_of_text("2.5e1", SampleType::I24), Ok(25.0));
        assert_eq!(sample_of_text("1.5", SampleType::I16), Err("a whole number that fits i16"));
        assert_eq!(sample_of_text("1e39", SampleType::F32), Err("a finite number that fits f32"));
        for nonsense in ["", "-", "nan", "inf", "1e999", "0x10", "1_000", "1,5", " 1"] {
            assert_eq!(sample_of_text(nonsense, SampleType::F64), Err("a finite number"), "{nonsense}");
        }
    }
}
