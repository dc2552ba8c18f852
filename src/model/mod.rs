//! The model family: its architecture, its numbers, and models as directories.
//!
//! One [`Network`] description feeds the trainer, the ONNX writer and the statistics.

pub mod architecture;
mod autoencoder;
pub mod directory;
#[cfg(test)]
pub(crate) mod formula;
mod forward;
mod golden;
pub mod import;
mod library;
pub mod network;
pub mod npz;
mod onnx;
mod quantizer;
pub(crate) mod random;
mod statistics;
pub mod weights;

pub use architecture::{Architecture, ArchitectureError, Norm, build_decoder_2d, build_encoder_2d};
pub use autoencoder::{AutoencoderError, VQAutoencoder, WeightedNetwork, build_rvq_autoencoder};
pub use directory::{DecoderModel, DirectoryError, DirectoryErrorKind, ModelDirectory, ModelMetadata};
pub use forward::forward;
pub use golden::{GoldenError, GoldenVectors};
pub use library::{LibraryError, ModelLibrary};
pub use network::{Layer, Network};
pub use onnx::write_onnx;
pub use quantizer::{QuantizerError, ResidualVectorQuantizer};
pub use statistics::{CompressionStats, ModelStats, NetworkStats, compute_compression_stats};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names a model: the first 8 bytes of the hash of its content, in hexadecimal as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(pub [u8; 8]);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ModelId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("'{text}' is not a model id: it has 16 hexadecimal digits");
        if text.len() != 16 || !text.is_ascii() {
            return Err(error());
        }
        u64::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| error())
    }
}

impl Serialize for ModelId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How frames are scaled before the encoder and back after the decoder.
///
/// Per frame and channel: offset = mean, scale = sqrt(var + e), var biased, where e is
/// `epsilon` itself if absolute, or `epsilon * (mean^2 + var)` if relative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// What epsilon is relative to.
    pub kind: EpsilonKind,
    /// Keeps the scale of a frame that hardly varies away from zero.
    pub epsilon: f64,
}

/// What the epsilon of a [`Normalisation`] is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpsilonKind {
    /// A number in squared sample units, as in compressionkit (1e-3): small signals come out under-scaled.
    Absolute,
    /// A fraction of the frame's mean square, so that the result does not depend on the signal's unit.
    Relative,
}

impl FromStr for EpsilonKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "absolute" => Ok(Self::Absolute),
            "relative" => Ok(Self::Relative),
            _ => Err(format!("'{text}' is not a kind of epsilon: it must be absolute or relative")),
        }
    }
}

impl Default for Normalisation {
    /// Relative to the frame: a signal may be as small as 1e-7 of its level and is still scaled to one.
    fn default() -> Self {
        Self { kind: EpsilonKind::Relative, epsilon: 1e-14 }
    }
}

impl Normalisation {
    /// What models imported from compressionkit were trained with.
    pub const IMPORTED: Self = Self { kind: EpsilonKind::Absolute, epsilon: 1e-3 };
}
