//! Samples as bytes: files and messages store them in the same ways.

use serde::{Deserialize, Serialize};

use crate::signal::SampleType;

/// The order of a sample's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endian {
    /// Lowest byte first.
    Little,
    /// Highest byte first.
    Big,
}

/// Appends the samples that `bytes` hold; what is left over at their end holds none.
pub(super) fn decode(bytes: &[u8], sample_type: SampleType, endian: Endian, samples: &mut Vec<f64>) {
    fn with<const N: usize>(bytes: &[u8], samples: &mut Vec<f64>, sample: impl Fn([u8; N]) -> f64) {
        samples.extend(bytes.as_chunks::<N>().0.iter().map(|bytes| sample(*bytes)));
    }
    let little = endian == Endian::Little;
    match (sample_type, little) {
        (SampleType::I16, true) => with(bytes, samples, |b| i16::from_le_bytes(b).into()),
        (SampleType::I16, false) => with(bytes, samples, |b| i16::from_be_bytes(b).into()),
        // The shift right brings the sign down.
        (SampleType::I24, true) => {
            with(bytes, samples, |[a, b, c]| f64::from(i32::from_le_bytes([0, a, b, c]) >> 8));
        }
        (SampleType::I24, false) => {
            with(bytes, samples, |[a, b, c]| f64::from(i32::from_be_bytes([a, b, c, 0]) >> 8));
        }
        (SampleType::I32, true) => with(bytes, samples, |b| i32::from_le_bytes(b).into()),
        (SampleType::I32, false) => with(bytes, samples, |b| i32::from_be_bytes(b).into()),
        (SampleType::F32, true) => with(bytes, samples, |b| f32::from_le_bytes(b).into()),
        (SampleType::F32, false) => with(bytes, samples, |b| f32::from_be_bytes(b).into()),
        (SampleType::F64, true) => with(bytes, samples, f64::from_le_bytes),
        (SampleType::F64, false) => with(bytes, samples, f64::from_be_bytes),
    }
}
