//! Cutting streams into frames.
//!
//! A [`Framer`] takes chunks of any size and gives frames of exactly `frame_size` samples; where the cut falls
//! does not depend on how the samples were chunked. A gap closes the open frame, which is padded by repeating
//! its last sample, so that no frame spans a gap. Open frames can be snapshot and restored.

mod framer;
mod open_frame;
mod snapshot;

pub use framer::{Framer, FramerConfig};
pub use snapshot::snapshot_position;

use crate::signal::StreamKey;

/// Why a stream or a chunk cannot be cut into frames.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WindowError {
    /// A framer that cannot be.
    #[error("{field} is {value}: give {allowed}")]
    Config {
        /// The field of [`FramerConfig`].
        field: &'static str,
        /// Its value.
        value: usize,
        /// What it may be.
        allowed: &'static str,
    },
    /// The model takes another number of channels.
    #[error("stream {key} has {channels} channels, the model takes {model_channels}")]
    ModelChannels {
        /// The stream.
        key: StreamKey,
        /// Its channels.
        channels: usize,
        /// Those of the model.
        model_channels: usize,
    },
    /// The stream has no sample rate that time could be counted by.
    #[error("stream {key} has a sample rate of {sample_rate_hz} Hz")]
    SampleRate {
        /// The stream.
        key: StreamKey,
        /// Its rate.
        sample_rate_hz: f64,
    },
    /// Two streams would have the same key.
    #[error("stream {key} is there already: give its source streams or channels unique names")]
    DuplicateKey {
        /// The key.
        key: StreamKey,
    },
    /// More streams than there is room for.
    #[error("stream {key} does not fit: there are {max_streams} streams already (max_streams)")]
    TooManyStreams {
        /// The stream.
        key: StreamKey,
        /// How many fit.
        max_streams: usize,
    },
    /// A chunk of a stream that was not added, or was refused.
    #[error("a chunk belongs to stream {index}, which was not taken")]
    UnknownStream {
        /// The stream's index at its source.
        index: usize,
    },
    /// A chunk that does not hold whole rows.
    #[error(
        "stream {key}: a chunk of {samples} samples cannot hold the same number for each of {channels} channels"
    )]
    ChunkLength {
        /// The stream.
        key: StreamKey,
        /// Samples in the chunk.
        samples: usize,
        /// Channels of the stream.
        channels: usize,
    },
    /// A snapshot that is damaged or belongs to another framer or stream.
    #[error("snapshot of open frames: {0}")]
    Snapshot(String),
}

#[cfg(test)]
mod tests;
