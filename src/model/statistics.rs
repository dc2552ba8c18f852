//! The numbers that describe a model's size and its nominal compression.

use serde::Serialize;

use super::architecture::{Architecture, ArchitectureError, build_decoder_2d, build_encoder_2d};
use super::network::Network;

/// What the formula says of a model's compression: indices alone, without side information and headers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompressionStats {
    /// Samples per channel in a frame.
    pub frame_size: usize,
    /// Channels in a frame.
    pub num_channels: usize,
    /// Latent vectors in a frame.
    pub latent_positions: usize,
    /// Information of one index in bits, `log2 latent_width`.
    pub bits_per_index: f64,
    /// Information of all indices of a frame in bits.
    pub compressed_bits_per_window: f64,
    /// Bits of a frame's samples.
    pub raw_bits_per_window: u64,
    /// Raw over compressed bits.
    pub compression_ratio: f64,
    /// The kind of quantisation: `rvq`.
    pub bottleneck_type: &'static str,
}

/// Nominal compression of a model over samples of `bit_depth` bits.
pub fn compute_compression_stats(architecture: &Architecture, bit_depth: u32) -> CompressionStats {
    let latent_positions = architecture.latent_positions();
    let bits_per_index = (architecture.latent_width as f64).log2();
    let compressed = (latent_positions * architecture.num_levels) as f64 * bits_per_index;
    let raw = architecture.frame_size as u64 * architecture.in_ch as u64 * u64::from(bit_depth);
    CompressionStats {
        frame_size: architecture.frame_size,
        num_channels: architecture.in_ch,
        latent_positions,
        bits_per_index,
        compressed_bits_per_window: compressed,
        raw_bits_per_window: raw,
        compression_ratio: raw as f64 / compressed,
        bottleneck_type: "rvq",
    }
}

/// Size and work of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkStats {
    /// All parameters, the moving statistics of batch normalisation included.
    pub parameters: u64,
    /// Parameters that training changes by gradient.
    pub trainable_parameters: u64,
    /// Multiply-adds of the convolutions for one frame.
    pub multiply_adds: u64,
}

impl From<&Network> for NetworkStats {
    fn from(network: &Network) -> Self {
        Self {
            parameters: network.parameters(),
            trainable_parameters: network.trainable_parameters(),
            multiply_adds: network.multiply_adds(),
        }
    }
}

/// Everything `rivulet model stats` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelStats {
    /// Nominal compression.
    #[serde(flatten)]
    pub compression: CompressionStats,
    /// The encoder.
    pub encoder: NetworkStats,
    /// The decoder.
    pub decoder: NetworkStats,
    /// Multiply-adds of the codebook search for one frame.
    pub search_multiply_adds: u64,
}

impl ModelStats {
    /// The numbers of a model over samples of `bit_depth` bits.
    pub fn new(architecture: &Architecture, bit_depth: u32) -> Result<Self, ArchitectureError> {
        let codebook = architecture.num_levels * architecture.latent_width * architecture.embedding_dim;
        Ok(Self {
            compression: compute_compression_stats(architecture, bit_depth),
            encoder: (&build_encoder_2d(architecture)?).into(),
            decoder: (&build_decoder_2d(architecture)?).into(),
            search_multiply_adds: (architecture.latent_positions() * codebook) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ladder_has_its_ratios() {
        for (num_stages, num_levels, frame_size, bits, ratio) in [
            (1, 2, 512, 4096.0, 2.0),
            (2, 2, 512, 2048.0, 4.0),
            (3, 2, 320, 640.0, 8.0),
            (4, 2, 512, 512.0, 16.0),
            (4, 1, 320, 160.0, 32.0),
            (5, 1, 512, 128.0, 64.0),
        ] {
            let architecture = Architecture { num_stages, num_levels, ..Architecture::new(frame_size) };
            let stats = compute_compression_stats(&architecture, 16);
            assert_eq!(stats.compressed_bits_per_window, bits);
            assert_eq!(stats.compression_ratio, ratio);
            assert_eq!(stats.raw_bits_per_window, frame_size as u64 * 16);
        }
    }
}
