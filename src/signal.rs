//! The words every stage shares: streams, chunks, frames and where they came from.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Names one stream: for a recording `name/channel`, for Kafka the message key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// A key from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the samples of a stream are stored at their source.
///
/// Every value of every type is exact in `f64`, which is what the pipeline carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleType {
    /// Signed 16-bit counts; narrower ADCs (WFDB 212 has 12 bits) use it too.
    I16,
    /// Signed 24-bit counts.
    I24,
    /// Signed 32-bit counts.
    I32,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
}

impl SampleType {
    /// Every sample type, in the order of their wire codes.
    pub const ALL: [Self; 5] = [Self::I16, Self::I24, Self::I32, Self::F32, Self::F64];

    /// True for counts, which decode to whole numbers.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::I16 | Self::I24 | Self::I32)
    }

    /// Bits of one stored sample, where the source does not say otherwise.
    pub fn bits(self) -> u8 {
        match self {
            Self::I16 => 16,
            Self::I24 => 24,
            Self::I32 | Self::F32 => 32,
            Self::F64 => 64,
        }
    }

    /// The nearest value this type can hold: counts are rounded (ties away from zero) and clamped
    /// to the type's range, floats rounded to their precision.
    pub fn nearest(self, value: f64) -> f64 {
        match self {
            Self::I16 => value.round().clamp(-32_768.0, 32_767.0),
            Self::I24 => value.round().clamp(-8_388_608.0, 8_388_607.0),
            Self::I32 => value.round().clamp(f64::from(i32::MIN), f64::from(i32::MAX)),
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }

    /// True if `value` is finite and this type holds it exactly.
    pub fn holds(self, value: f64) -> bool {
        value.is_finite() && self.nearest(value) == value
    }
}

impl fmt::Display for SampleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I16 => "i16",
            Self::I24 => "i24",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// What is known of a stream before its first sample.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    /// The stream's name.
    pub key: StreamKey,
    /// Samples per second and channel.
    pub sample_rate_hz: f64,
    /// How the source stores a sample.
    pub sample_type: SampleType,
    /// Bits the source spends on a sample: 12 for WFDB 212, else those of the sample type.
    pub stored_bits: u8,
    /// The channels that are sampled together, in the order in which their samples are interleaved.
    pub channels: Vec<ChannelInfo>,
}

impl StreamInfo {
    /// Nanoseconds that `samples` samples of a channel last, saturating far beyond any recording.
    pub fn duration_ns(&self, samples: u64) -> i64 {
        duration_ns(self.sample_rate_hz, samples)
    }
}

/// Nanoseconds that `samples` samples of a channel last at `sample_rate_hz`, saturating.
pub(crate) fn duration_ns(sample_rate_hz: f64, samples: u64) -> i64 {
    let seconds = samples as f64 / sample_rate_hz;
    // Whole seconds apart, so that long recordings keep their nanoseconds.
    let whole = seconds.trunc();
    let rest = (seconds - whole) * 1e9;
    (whole as i64).saturating_mul(1_000_000_000).saturating_add(rest.round() as i64)
}

/// One channel of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelInfo {
    /// The channel's name (`MLII`), empty where it has none.
    pub name: String,
    /// Physical unit (`mV`), empty where unknown.
    pub unit: String,
    /// Counts per physical unit: physical value = (sample - baseline) / gain.
    pub gain: f64,
    /// The sample value that stands for zero in physical units.
    pub baseline: f64,
}

impl ChannelInfo {
    /// A channel whose samples are their own physical values.
    pub fn unscaled(name: impl Into<String>) -> Self {
        Self { name: name.into(), unit: String::new(), gain: 1.0, baseline: 0.0 }
    }
}

/// Where in the source a chunk stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// A byte offset in a file.
    Byte(u64),
    /// A source that cannot be replayed.
    None,
}

/// Index of a stream in the order in which its source announced it.
pub type StreamIndex = usize;

/// A run of samples of one stream as a source read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The stream.
    pub stream: StreamIndex,
    /// Where the source stands once this chunk has been read.
    pub position: Position,
    /// Time of the first sample in nanoseconds since the Unix epoch, where the source knows it.
    pub time_ns: Option<i64>,
    /// True where the source knows that samples are missing right before this chunk.
    pub after_gap: bool,
    /// Finite samples, channels interleaved; the length is a multiple of the stream's channels.
    pub samples: Vec<f64>,
}

/// An input that cannot be used, kept with its place and the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The stage that refused it.
    pub stage: Stage,
    /// The file, topic or port it came from.
    pub origin: String,
    /// Where in the origin it stood.
    pub position: Position,
    /// What is wrong with it.
    pub reason: String,
    /// Samples that are lost with it, where that is known.
    pub samples: u64,
}

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Reading and decoding the input.
    Source,
    /// Cutting streams into frames.
    Window,
    /// Turning frames into packets.
    Encode,
    /// Writing or checking packets.
    Sink,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Window => "window",
            Self::Encode => "encode",
            Self::Sink => "sink",
        })
    }
}

/// Exactly `frame_size` samples of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The stream.
    pub stream: StreamIndex,
    /// Counts the frames of the stream from 0 without holes.
    pub number: u64,
    /// Time of the first sample in nanoseconds since the Unix epoch, where known.
    pub time_ns: Option<i64>,
    /// Samples per channel that came from the source; the rest repeats the last one.
    pub valid: u32,
    /// True if samples are missing between the frame before and this one.
    pub after_gap: bool,
    /// `frame_size * channels` samples, channels interleaved.
    pub samples: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_samples_lasts_a_day() {
        let mut info = StreamInfo {
            key: StreamKey::new("a"),
            sample_rate_hz: 360.0,
            sample_type: SampleType::I16,
            stored_bits: 16,
            channels: vec![ChannelInfo::unscaled("")],
        };
        assert_eq!(info.duration_ns(1), 2_777_778);
        assert_eq!(info.duration_ns(360 * 86_400), 86_400_000_000_000);
        info.sample_rate_hz = 1e-6;
        assert_eq!(info.duration_ns(u64::MAX), i64::MAX);
    }

    #[test]
    fn nearest_rounds_and_clamps_counts() {
        assert_eq!(SampleType::I16.nearest(1.5), 2.0);
        assert_eq!(SampleType::I16.nearest(-40_000.0), -32_768.0);
        assert_eq!(SampleType::I24.nearest(9e9), 8_388_607.0);
        assert!(!SampleType::I16.holds(0.5));
        assert!(!SampleType::F64.holds(f64::NAN));
        assert!(SampleType::F32.holds(0.5));
        assert!(!SampleType::F32.holds(0.1));
    }
}
