//! The one description of the model family, read by the trainer, the ONNX writer and the statistics.
//!
//! The family is that of compressionkit: a strided convolutional encoder, residual vector
//! quantisation and an upsampling convolutional decoder, all one-dimensional in time. Both networks
//! are plain sequences of [`Layer`]s; tensors are channels-last, `[time, channels]` per frame.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::network::{Layer, Network};

/// Taps of the strided and depthwise convolutions of the encoder and the convolutions of the decoder.
const CONV_TAPS: usize = 7;
/// Taps of the depthwise half of the decoder's separable convolutions.
const SMOOTHING_TAPS: usize = 5;

/// Normalisation of activations inside a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Batch normalisation; folded into the convolution before it when a model is written.
    Batch,
    /// Layer normalisation over the channels of each time step.
    Layer,
    /// No normalisation.
    #[default]
    None,
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batch => "batch",
            Self::Layer => "layer",
            Self::None => "none",
        })
    }
}

impl FromStr for Norm {
    type Err = ArchitectureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "batch" => Ok(Self::Batch),
            "layer" => Ok(Self::Layer),
            "none" => Ok(Self::None),
            _ => Err(ArchitectureError::UnknownNorm(text.to_owned())),
        }
    }
}

/// Why parameters do not describe a model of the family.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArchitectureError {
    /// The frame cannot be halved `num_stages` times.
    #[error(
        "frame_size ({frame_size}) must be a multiple of 2^num_stages (2^{num_stages} = {factor}); the nearest is {nearest}"
    )]
    FrameSize {
        /// The frame size asked for.
        frame_size: usize,
        /// The stages asked for.
        num_stages: usize,
        /// `2^num_stages`.
        factor: usize,
        /// The nearest frame size that would do.
        nearest: usize,
    },
    /// A parameter outside the range that the family allows.
    #[error("{name} ({value}) must be {allowed}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A norm that is not one of the three.
    #[error("unknown norm '{0}': it must be batch, layer or none")]
    UnknownNorm(String),
}

/// The builder's parameters. [`Architecture::new`] gives the family's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Samples per channel in a frame.
    pub frame_size: usize,
    /// Length of a latent vector.
    #[serde(default = "defaults::embedding_dim")]
    pub embedding_dim: usize,
    /// Vectors in each codebook, the K of a level.
    #[serde(default = "defaults::latent_width")]
    pub latent_width: usize,
    /// Channels that the encoder reads.
    #[serde(default = "defaults::channels")]
    pub in_ch: usize,
    /// Channels that the decoder writes.
    #[serde(default = "defaults::channels")]
    pub out_ch: usize,
    /// Filters of the encoder's first stage.
    #[serde(default = "defaults::base_filters")]
    pub base_filters: usize,
    /// Growth of the filters from stage to stage.
    #[serde(default = "defaults::multiplier")]
    pub multiplier: f64,
    /// Levels of residual quantisation.
    #[serde(default = "defaults::num_levels")]
    pub num_levels: usize,
    /// Weight of the commitment loss.
    #[serde(default = "defaults::beta")]
    pub beta: f32,
    /// Stages, each halving the time resolution.
    #[serde(default = "defaults::num_stages")]
    pub num_stages: usize,
    /// Norm after each convolution of the encoder.
    #[serde(default = "defaults::batch")]
    pub encoder_block_norm: Norm,
    /// Norm after the encoder's projection to the latent.
    #[serde(default)]
    pub encoder_head_norm: Norm,
    /// Norm after each convolution of the decoder.
    #[serde(default)]
    pub decoder_block_norm: Norm,
    /// Norm before the decoder's projection to the signal.
    #[serde(default = "defaults::layer")]
    pub decoder_head_norm: Norm,
}

mod defaults {
    use super::Norm;

    pub(super) fn embedding_dim() -> usize {
        16
    }
    pub(super) fn latent_width() -> usize {
        256
    }
    pub(super) fn channels() -> usize {
        1
    }
    pub(super) fn base_filters() -> usize {
        32
    }
    pub(super) fn multiplier() -> f64 {
        1.25
    }
    pub(super) fn num_levels() -> usize {
        2
    }
    pub(super) fn beta() -> f32 {
        0.25
    }
    pub(super) fn num_stages() -> usize {
        4
    }
    pub(super) fn batch() -> Norm {
        Norm::Batch
    }
    pub(super) fn layer() -> Norm {
        Norm::Layer
    }
}

impl Architecture {
    /// The family's defaults for frames of `frame_size` samples.
    pub fn new(frame_size: usize) -> Self {
        Self {
            frame_size,
            embedding_dim: defaults::embedding_dim(),
            latent_width: defaults::latent_width(),
            in_ch: defaults::channels(),
            out_ch: defaults::channels(),
            base_filters: defaults::base_filters(),
            multiplier: defaults::multiplier(),
            num_levels: defaults::num_levels(),
            beta: defaults::beta(),
            num_stages: defaults::num_stages(),
            encoder_block_norm: defaults::batch(),
            encoder_head_norm: Norm::None,
            decoder_block_norm: Norm::None,
            decoder_head_norm: defaults::layer(),
        }
    }

    /// Refuses parameters that do not describe a model, naming the numbers.
    ///
    /// The upper bounds keep a lying `model.toml` from asking for more memory than a model needs.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        let range = |name, value: usize, allowed, ok: bool| {
            if ok {
                Ok(())
            } else {
                Err(ArchitectureError::OutOfRange { name, value: value.to_string(), allowed })
            }
        };
        range("num_stages", self.num_stages, "from 1 to 16", (1..=16).contains(&self.num_stages))?;
        let factor = self.downsample_factor();
        if self.frame_size == 0 || !self.frame_size.is_multiple_of(factor) {
            return Err(ArchitectureError::FrameSize {
                frame_size: self.frame_size,
                num_stages: self.num_stages,
                factor,
                nearest: ((self.frame_size + factor / 2) / factor).max(1) * factor,
            });
        }
        range("frame_size", self.frame_size, "at most 1048576", self.frame_size <= 1 << 20)?;
        range(
            "embedding_dim",
            self.embedding_dim,
            "from 1 to 1024",
            (1..=1024).contains(&self.embedding_dim),
        )?;
        range(
            "latent_width",
            self.latent_width,
            "from 2 to 65536",
            (2..=65_536).contains(&self.latent_width),
        )?;
        range("in_ch", self.in_ch, "from 1 to 256", (1..=256).contains(&self.in_ch))?;
        range("out_ch", self.out_ch, "from 1 to 256", (1..=256).contains(&self.out_ch))?;
        range("base_filters", self.base_filters, "from 1 to 1024", (1..=1024).contains(&self.base_filters))?;
        range("num_levels", self.num_levels, "from 1 to 32", (1..=32).contains(&self.num_levels))?;
        if !(self.multiplier.is_finite() && (0.25..=4.0).contains(&self.multiplier)) {
            return Err(ArchitectureError::OutOfRange {
                name: "multiplier",
                value: self.multiplier.to_string(),
                allowed: "from 0.25 to 4",
            });
        }
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return Err(ArchitectureError::OutOfRange {
                name: "beta",
                value: self.beta.to_string(),
                allowed: "a number of at least 0",
            });
        }
        Ok(())
    }

    /// `2^num_stages`: samples per latent position.
    pub fn downsample_factor(&self) -> usize {
        1 << self.num_stages
    }

    /// Latent vectors per frame.
    pub fn latent_positions(&self) -> usize {
        self.frame_size / self.downsample_factor()
    }

    /// Bits that hold one index: `ceil(log2 latent_width)`.
    pub fn index_bits(&self) -> u32 {
        usize::BITS - (self.latent_width - 1).leading_zeros()
    }
}

/// Rounds to the nearest multiple of 8 (half up, at least 8), and up again where that would lose more
/// than a tenth.
fn make_divisible(value: f64) -> usize {
    let rounded = ((value + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * value { rounded + 8 } else { rounded }
}

fn push_norm(layers: &mut Vec<Layer>, norm: Norm, channels: usize) {
    match norm {
        Norm::Batch => layers.push(Layer::BatchNorm { channels }),
        Norm::Layer => layers.push(Layer::LayerNorm { channels }),
        Norm::None => {}
    }
}

/// The encoder: `[frame_size, in_ch]` to `[frame_size / 2^num_stages, embedding_dim]`.
///
/// Two stages of strided convolutions, then strided depthwise and pointwise pairs, each followed by
/// norm and ReLU; a pointwise projection, and the head norm after it.
pub fn build_encoder_2d(architecture: &Architecture) -> Result<Network, ArchitectureError> {
    architecture.validate()?;
    let norm = architecture.encoder_block_norm;
    let mut layers = Vec::new();
    let mut in_ch = architecture.in_ch;
    let mut filters = architecture.base_filters;
    for stage in 0..architecture.num_stages {
        if stage < 2 {
            layers.push(Layer::Conv { taps: CONV_TAPS, stride: 2, in_ch, out_ch: filters });
        } else {
            layers.push(Layer::Depthwise { taps: CONV_TAPS, stride: 2, channels: in_ch, bias: true });
            push_norm(&mut layers, norm, in_ch);
            layers.push(Layer::Relu);
            layers.push(Layer::Conv { taps: 1, stride: 1, in_ch, out_ch: filters });
        }
        push_norm(&mut layers, norm, filters);
        layers.push(Layer::Relu);
        in_ch = filters;
        filters = make_divisible(filters as f64 * architecture.multiplier);
    }
    layers.push(Layer::Conv { taps: 1, stride: 1, in_ch, out_ch: architecture.embedding_dim });
    push_norm(&mut layers, architecture.encoder_head_norm, architecture.embedding_dim);
    Ok(Network::new(layers, architecture.frame_size, architecture.in_ch, architecture.embedding_dim))
}

/// The decoder: `[frame_size / 2^num_stages, embedding_dim]` to `[frame_size, out_ch]`.
///
/// Each stage doubles the time resolution and applies a convolution and a separable convolution, each
/// followed by norm and ReLU; the head norm, then a pointwise projection.
pub fn build_decoder_2d(architecture: &Architecture) -> Result<Network, ArchitectureError> {
    architecture.validate()?;
    let norm = architecture.decoder_block_norm;
    let mut layers = Vec::new();
    let mut in_ch = architecture.embedding_dim;
    let growth = architecture.multiplier.powi(architecture.num_stages as i32 - 1);
    let mut filters = make_divisible(architecture.base_filters as f64 * growth);
    for _ in 0..architecture.num_stages {
        layers.push(Layer::Upsample2);
        layers.push(Layer::Conv { taps: CONV_TAPS, stride: 1, in_ch, out_ch: filters });
        push_norm(&mut layers, norm, filters);
        layers.push(Layer::Relu);
        layers.push(Layer::Depthwise { taps: SMOOTHING_TAPS, stride: 1, channels: filters, bias: false });
        layers.push(Layer::Conv { taps: 1, stride: 1, in_ch: filters, out_ch: filters });
        push_norm(&mut layers, norm, filters);
        layers.push(Layer::Relu);
        in_ch = filters;
        filters = make_divisible(filters as f64 / architecture.multiplier);
    }
    push_norm(&mut layers, architecture.decoder_head_norm, in_ch);
    layers.push(Layer::Conv { taps: 1, stride: 1, in_ch, out_ch: architecture.out_ch });
    Ok(Network::new(layers, architecture.latent_positions(), architecture.embedding_dim, architecture.out_ch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(base_filters: usize, num_stages: usize, frame_size: usize) -> (Network, Network) {
        let architecture = Architecture { base_filters, num_stages, ..Architecture::new(frame_size) };
        (build_encoder_2d(&architecture).unwrap(), build_decoder_2d(&architecture).unwrap())
    }

    #[test]
    fn counts_equal_the_published_family() {
        // base, stages, frame, encoder all / trainable, decoder, encoder and decoder multiply-adds
        let table = [
            (32, 4, 320, 17_192, 16_648, 61_481, 929_280, 8_081_920),
            (32, 4, 512, 17_192, 16_648, 61_481, 1_486_848, 12_931_072),
            (32, 4, 2048, 17_192, 16_648, 61_481, 5_947_392, 51_724_288),
            (48, 1, 512, 1_360, 1_264, 8_161, 282_624, 4_079_616),
            (48, 2, 512, 23_440, 23_216, 36_001, 2_969_600, 15_302_656),
            (48, 3, 512, 29_984, 29_472, 67_105, 3_276_800, 20_802_560),
            (48, 4, 512, 40_168, 39_288, 146_033, 3_532_288, 31_703_040),
            (48, 4, 320, 40_168, 39_288, 146_033, 2_207_680, 19_814_400),
            (48, 5, 512, 55_752, 54_408, 244_601, 3_736_448, 37_085_952),
        ];
        for (base, stages, frame, all, trainable, dec, enc_ops, dec_ops) in table {
            let (encoder, decoder) = family(base, stages, frame);
            assert_eq!(encoder.parameters(), all, "base {base} stages {stages}");
            assert_eq!(encoder.trainable_parameters(), trainable);
            assert_eq!(decoder.parameters(), dec);
            assert_eq!(encoder.multiply_adds(), enc_ops);
            assert_eq!(decoder.multiply_adds(), dec_ops);
            assert_eq!(encoder.out_len, frame >> stages);
            assert_eq!(decoder.out_len, frame);
        }
        for (stages, enc, dec, enc_ops, dec_ops) in [
            (1, 912, 4_929, 188_416, 2_457_600),
            (2, 10_200, 16_665, 1_286_144, 6_817_792),
            (3, 12_968, 33_641, 1_394_176, 10_125_312),
            (5, 23_736, 106_073, 1_563_648, 15_270_400),
        ] {
            let (encoder, decoder) = family(32, stages, 512);
            assert_eq!((encoder.parameters(), decoder.parameters()), (enc, dec), "stages {stages}");
            assert_eq!((encoder.multiply_adds(), decoder.multiply_adds()), (enc_ops, dec_ops));
        }
    }

    #[test]
    fn refusals_name_the_numbers() {
        let refused = |architecture: Architecture| build_encoder_2d(&architecture).unwrap_err().to_string();
        let text = refused(Architecture::new(500));
        assert!(text.contains("500") && text.contains("2^4 = 16") && text.contains("496"), "{text}");
        let text = refused(Architecture { num_stages: 0, ..Architecture::new(512) });
        assert!(text.contains("num_stages (0)"), "{text}");
        assert!("instance".parse::<Norm>().unwrap_err().to_string().contains("instance"));
    }

    #[test]
    fn index_bits_cover_the_codebook() {
        for (latent_width, bits) in [(2, 1), (3, 2), (256, 8), (257, 9), (512, 9)] {
            assert_eq!(Architecture { latent_width, ..Architecture::new(512) }.index_bits(), bits);
        }
    }
}
