//! Frames to packets and back: synchronous, pure, without I/O or clock.
//!
//! An encoder is chosen by its `type` in the configuration and brings its own model. `rvq` is the fast one:
//! [`RvqEncoder`] normalises, runs the model's encoder in tract and searches the codebooks.

pub mod engine;
pub mod entropy;
pub mod normalise;
mod rvq;
pub mod verify;

pub use rvq::{RvqDecoder, RvqEncoder};

use crate::packet::Packet;
use crate::signal::{Frame, StreamInfo};

/// Consecutive frames of one stream that become one packet.
#[derive(Clone, Copy, Debug)]
pub struct FrameRun<'a> {
    /// The stream.
    pub stream: &'a StreamInfo,
    /// The frames, numbered without holes; only the last may be short, only the first may follow a gap.
    pub frames: &'a [Frame],
}

/// Turns runs of frames into packets.
pub trait Encoder: Send {
    /// Samples per channel in a frame.
    fn frame_size(&self) -> usize;

    /// Channels in a frame.
    fn channels(&self) -> usize;

    /// One packet for each run, in order. Frames of many runs may share one inference; the packets do not
    /// depend on what else was encoded with them.
    ///
    /// # Errors
    /// A run that does not fit the model, or a failure of the inference engine.
    fn encode(&mut self, runs: &[FrameRun<'_>]) -> Result<Vec<Packet>, CodecError>;
}

/// Turns packets back into samples.
pub trait Decoder: Send {
    /// The packet's valid samples, channels interleaved: whole counts where the source had counts.
    ///
    /// # Errors
    /// [`CodecError::Packet`] for a packet that does not fit the model; the next one may be decoded.
    fn decode(&mut self, packet: &Packet) -> Result<Vec<f64>, CodecError>;
}

/// Why frames could not be encoded or a packet not decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A packet that the model cannot have made.
    #[error("packet does not fit model {model}: {reason}")]
    Packet {
        /// The model.
        model: crate::model::ModelId,
        /// What does not fit.
        reason: String,
    },
    /// Frames that the model does not take.
    #[error("frames do not fit the model: {0}")]
    Frames(String),
    /// The inference engine failed.
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    /// The engine gave another number of values than the architecture says: a fault of the program.
    #[error("inference gave {found} values where {expected} were needed")]
    Values {
        /// Values given.
        found: usize,
        /// Values needed.
        expected: usize,
    },
}
