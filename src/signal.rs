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

    /// Its number in every binary format.
    pub fn code(self) -> u8 {
        match self {
            Self::I16 => 0,
            Self::I24 => 1,
            Self::I32 => 2,
            Self::F32 => 3,
            Self::F64 => 4,
        }
    }

    /// The inverse of [`SampleType::code`].
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|sample_type| sample_type.code() == code)
    }

    /// Appends `value` as this type stores it, little endian; it is one that this type holds.
    pub fn push_le(self, value: f64, bytes: &mut Vec<u8>) {
        match self {
            Self::I16 => bytes.extend_from_slice(&(value as i16).to_le_bytes()),
            Self::I24 => bytes.extend_from_slice(&(value as i32).to_le_bytes()[..3]),
            Self::I32 => bytes.extend_from_slice(&(value as i32).to_le_bytes()),
            Self::F32 => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            Self::F64 => bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }

    /// Appends `values` as [`SampleType::push_le`] does.
    pub fn extend_le(self, values: impl Iterator<Item = f64>, bytes: &mut Vec<u8>) {
        match self {
            Self::I16 => values.for_each(|value| bytes.extend_from_slice(&(value as i16).to_le_bytes())),
            Self::F64 => values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
            _ => values.for_each(|value| self.push_le(value, bytes)),
        }
    }

    /// The value of a sample that this type stores in `bytes`, little endian; NaN where they are not as many as
    /// the type has.
    pub fn of_le(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Self::I16, &[a, b]) => f64::from(i16::from_le_bytes([a, b])),
            (Self::I24, &[a, b, c]) => f64::from(i32::from_le_bytes([0, a, b, c]) >> 8),
            (Self::I32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
            (Self::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (Self::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => f64::NAN,
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

/// What has positions of its own and gives streams: a recording, or a partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The only origin of a source that has no others.
    Whole,
    /// A partition of a Kafka topic.
    Partition {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
    },
    /// A file that is followed while it grows, over its rotations.
    File {
        /// Its path.
        path: Arc<str>,
    },
    /// A serial port, from the start of a run: what it sends cannot be read again, and each run counts its frames
    /// from 0.
    Port {
        /// Its path.
        path: Arc<str>,
        /// When the run began, in milliseconds since the Unix epoch.
        since_ms: i64,
    },
    /// A replay of recordings, which has positions that nobody keeps.
    Replay {
        /// The topic that the pipeline reads otherwise, empty where it reads none.
        topic: Arc<str>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("source"),
            Self::Partition { topic, partition } => write!(f, "{topic}/{partition}"),
            Self::File { path } => f.write_str(path),
            Self::Port { path, since_ms } => write!(f, "{path}@{since_ms}"),
            Self::Replay { .. } => f.write_str("replay"),
        }
    }
}

/// Number of an origin in the order in which its source opened it; never used again.
pub type OriginIndex = usize;

/// Where in the source a chunk stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// A byte offset in a file.
    Byte(u64),
    /// The offset of a message in its partition.
    Offset(i64),
    /// A source that cannot be replayed.
    None,
}

/// Index of a stream in the order in which it was announced; a source counts the streams of each origin apart.
pub type StreamIndex = usize;

/// A run of samples of one stream as a source read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The origin of the stream.
    pub origin: OriginIndex,
    /// The stream.
    pub stream: StreamIndex,
    /// Where it stood: the byte behind it in a file, the offset of its message in a partition.
    pub position: Position,
    /// When its last sample came into being for the pipeline, in nanoseconds since the Unix epoch: the time that
    /// latency is counted from. None where the source is no live one.
    pub arrival_ns: Option<i64>,
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
    /// The message as it was, where it can be kept.
    pub message: Option<Arc<Message>>,
}

/// A message of a topic as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
}

/// How far a pipeline has come, once everything before it has left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Each origin that has moved since the checkpoint before.
    pub origins: Vec<OriginCheckpoint>,
    /// Origins that are given up after it.
    pub closed: Vec<Origin>,
}

/// How far an origin has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginCheckpoint {
    /// The origin.
    pub origin: Origin,
    /// The next position to be read.
    pub next: i64,
    /// What has to come back with that position.
    pub note: Option<String>,
    /// The open frame of each stream that has moved: bytes for [`Framer::restore`](crate::window::Framer::restore).
    pub windows: Vec<(StreamKey, Vec<u8>)>,
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
    /// [`Chunk::arrival_ns`] of the chunk that completed it.
    pub arrival_ns: Option<i64>,
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
