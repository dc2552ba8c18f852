//! Packets: consecutive frames of one stream, encoded, self-describing and checksummed.
//!
//! `docs/packet-format.md` is the specification.

mod bits;
mod codes;
mod continuity;
mod error;
mod fields;
#[cfg(test)]
mod golden;
mod header;
pub mod rvl;
#[cfg(test)]
mod samples;
mod side;
mod side_code;
mod wire;

pub use codes::{pack_codes, unpack_codes};
pub use continuity::{Continuity, Step};
pub use error::{ErrorKind, PacketError};
pub use side::ChannelSide;
pub use wire::PacketParts;

use crate::model::ModelId;
use crate::signal::{SampleType, duration_ns};

/// The newest packet version that this build reads.
pub const PACKET_VERSION: u8 = 1;
/// Bytes of a packet, at most.
pub const MAX_PACKET_BYTES: usize = 1 << 23;
/// Channels of a packet, at most.
pub const MAX_CHANNELS: u16 = 4096;
/// Frames of a packet, at most.
pub const MAX_FRAMES: u32 = 1 << 16;
/// Samples that a packet stands for, at most: frames x frame size x channels. It bounds what a decoder has
/// to allocate for a packet of a few bytes whose frames are all constant.
pub const MAX_PACKET_SAMPLES: u64 = 1 << 22;

/// Consecutive frames of one stream in their encoded form.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// What the packet says of itself.
    pub header: Header,
    /// Scaling of each frame and channel: all channels of the first frame, then of the second.
    pub side: Vec<ChannelSide>,
    /// Layers in the order in which they add to the signal.
    pub layers: Vec<Layer>,
}

/// What a packet says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The model that decodes it.
    pub model: ModelId,
    /// True if it can be decoded without the packets before it.
    pub key_packet: bool,
    /// True if samples are missing between the packet before and this one.
    pub after_gap: bool,
    /// How the source stored the samples.
    pub sample_type: SampleType,
    /// Channels in a frame.
    pub channels: u16,
    /// Samples per second and channel.
    pub sample_rate_hz: f64,
    /// Samples per channel in a frame.
    pub frame_size: u32,
    /// Number of the first frame.
    pub first_frame: u64,
    /// Time of the first sample in nanoseconds since the Unix epoch, where known.
    pub time_ns: Option<i64>,
    /// Number of frames, at least 1.
    pub frames: u32,
    /// Samples per channel of the last frame that came from the source; the rest is padding.
    pub last_valid: u32,
}

impl Header {
    /// Samples per channel that the packet stands for.
    pub fn valid_samples(&self) -> u64 {
        u64::from(self.frames.saturating_sub(1)) * u64::from(self.frame_size) + u64::from(self.last_valid)
    }

    /// Time after the last sample in nanoseconds since the Unix epoch, where known.
    pub fn end_ns(&self) -> Option<i64> {
        self.time_ns.map(|time| time.saturating_add(duration_ns(self.sample_rate_hz, self.valid_samples())))
    }
}

/// A part of a packet that adds to the signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// What it holds.
    pub id: LayerId,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerId {
    /// RVQ codes at `ceil(log2 latent_width)` bits each, position-major, frames back to back without
    /// padding; frames whose channels are all constant have none.
    PackedCodes,
}
