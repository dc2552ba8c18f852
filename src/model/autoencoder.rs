//! Encoder, quantiser and decoder put together: what is trained, imported, written and measured.

use ndarray::{Array2, ArrayD, IxDyn};

use super::architecture::{Architecture, ArchitectureError, build_decoder_2d, build_encoder_2d};
use super::network::{Layer, Network};
use super::quantizer::{QuantizerError, ResidualVectorQuantizer};
use super::random::SplitMix;

/// Why weights do not make a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AutoencoderError {
    /// Parameters outside the family.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Codebooks that do not fit.
    #[error(transparent)]
    Quantizer(#[from] QuantizerError),
    /// The wrong number of weight tensors.
    #[error("{network} has {found} weight tensors, its architecture needs {expected}")]
    TensorCount {
        /// `encoder` or `decoder`.
        network: &'static str,
        /// Tensors given.
        found: usize,
        /// Tensors needed.
        expected: usize,
    },
    /// A weight tensor of another shape.
    #[error("{network} weight {index} has shape {found:?}, its architecture needs {expected:?}")]
    TensorShape {
        /// `encoder` or `decoder`.
        network: &'static str,
        /// Place in Keras' order.
        index: usize,
        /// Shape given.
        found: Vec<usize>,
        /// Shape needed.
        expected: Vec<usize>,
    },
    /// A weight that is not a number.
    #[error("{network} weight {index} holds a value that is not finite")]
    NotFinite {
        /// `encoder` or `decoder`.
        network: &'static str,
        /// Place in Keras' order.
        index: usize,
    },
    /// Codebooks that another architecture needs.
    #[error(
        "the quantiser has {levels} levels of {vectors} x {dim}, its architecture needs {num_levels} of {latent_width} x {embedding_dim}"
    )]
    QuantizerShape {
        /// Levels given.
        levels: usize,
        /// Vectors given.
        vectors: usize,
        /// Dimensions given.
        dim: usize,
        /// Levels needed.
        num_levels: usize,
        /// Vectors needed.
        latent_width: usize,
        /// Dimensions needed.
        embedding_dim: usize,
    },
}

/// A network and its weights in Keras' shapes and order.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedNetwork {
    network: Network,
    weights: Vec<ArrayD<f32>>,
}

impl WeightedNetwork {
    /// Refuses weights whose number, shapes or values do not fit; `name` is used in the message.
    pub fn new(
        name: &'static str,
        network: Network,
        weights: Vec<ArrayD<f32>>,
    ) -> Result<Self, AutoencoderError> {
        let shapes = network.weight_shapes();
        if shapes.len() != weights.len() {
            return Err(AutoencoderError::TensorCount {
                network: name,
                found: weights.len(),
                expected: shapes.len(),
            });
        }
        for (index, (expected, weight)) in shapes.into_iter().zip(&weights).enumerate() {
            if weight.shape() != expected {
                let found = weight.shape().to_vec();
                return Err(AutoencoderError::TensorShape { network: name, index, found, expected });
            }
            if !weight.iter().all(|value| value.is_finite()) {
                return Err(AutoencoderError::NotFinite { network: name, index });
            }
        }
        let weights = weights.into_iter().map(|weight| weight.as_standard_layout().into_owned()).collect();
        Ok(Self { network, weights })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All weights in Keras' order, contiguous.
    pub fn weights(&self) -> &[ArrayD<f32>] {
        &self.weights
    }

    /// Each layer with its own weights.
    pub fn layers(&self) -> impl Iterator<Item = (&Layer, &[ArrayD<f32>])> {
        let mut rest = self.weights.as_slice();
        self.network.layers.iter().map(move |layer| {
            let (own, after) = rest.split_at(layer.weight_shapes().len());
            rest = after;
            (layer, own)
        })
    }
}

/// Encoder, quantiser and decoder of one model.
#[derive(Clone, Debug)]
pub struct VQAutoencoder {
    architecture: Architecture,
    encoder: WeightedNetwork,
    quantizer: ResidualVectorQuantizer,
    decoder: WeightedNetwork,
}

impl VQAutoencoder {
    /// A model from its weights in Keras' order and its codebooks, `[latent_width, embedding_dim]` a level.
    pub fn new(
        architecture: Architecture,
        encoder: Vec<ArrayD<f32>>,
        codebooks: Vec<Array2<f32>>,
        decoder: Vec<ArrayD<f32>>,
    ) -> Result<Self, AutoencoderError> {
        let encoder = WeightedNetwork::new("encoder", build_encoder_2d(&architecture)?, encoder)?;
        let decoder = WeightedNetwork::new("decoder", build_decoder_2d(&architecture)?, decoder)?;
        let quantizer = ResidualVectorQuantizer::new(codebooks)?;
        let found = (quantizer.num_levels(), quantizer.latent_width(), quantizer.embedding_dim());
        let needed = (architecture.num_levels, architecture.latent_width, architecture.embedding_dim);
        if found != needed {
            let (levels, vectors, dim) = found;
            let (num_levels, latent_width, embedding_dim) = needed;
            return Err(AutoencoderError::QuantizerShape {
                levels,
                vectors,
                dim,
                num_levels,
                latent_width,
                embedding_dim,
            });
        }
        Ok(Self { architecture, encoder, quantizer, decoder })
    }

    /// The parameters it was built with.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Signal to latent.
    pub fn encoder(&self) -> &WeightedNetwork {
        &self.encoder
    }

    /// Latent to codes and back.
    pub fn quantizer(&self) -> &ResidualVectorQuantizer {
        &self.quantizer
    }

    /// Latent to signal.
    pub fn decoder(&self) -> &WeightedNetwork {
        &self.decoder
    }
}

/// A model with the family's initial weights: Glorot-uniform kernels, zero biases, identity norms,
/// codebooks uniform in `±1/latent_width`. The same seed gives the same model.
pub fn build_rvq_autoencoder(
    architecture: &Architecture,
    seed: u64,
) -> Result<VQAutoencoder, AutoencoderError> {
    let mut random = SplitMix::new(seed);
    let encoder = initial_weights(&build_encoder_2d(architecture)?, &mut random);
    let limit = 1.0 / architecture.latent_width as f32;
    let shape = (architecture.latent_width, architecture.embedding_dim);
    let codebooks = (0..architecture.num_levels)
        .map(|_| Array2::from_shape_simple_fn(shape, || random.symmetric(limit)))
        .collect();
    let decoder = initial_weights(&build_decoder_2d(architecture)?, &mut random);
    VQAutoencoder::new(architecture.clone(), encoder, codebooks, decoder)
}

fn initial_weights(network: &Network, random: &mut SplitMix) -> Vec<ArrayD<f32>> {
    let mut weights = Vec::new();
    for layer in &network.layers {
        for (index, shape) in layer.weight_shapes().into_iter().enumerate() {
            weights.push(match layer {
                Layer::Conv { .. } | Layer::Depthwise { .. } if index == 0 => {
                    // Keras' fans of a kernel: taps times the last but one and times the last dimension.
                    let fans = shape[1] * (shape[2] + shape[3]);
                    let limit = (6.0 / fans as f32).sqrt();
                    ArrayD::from_shape_simple_fn(IxDyn(&shape), || random.symmetric(limit))
                }
                Layer::BatchNorm { .. } if index == 0 || index == 3 => ArrayD::ones(IxDyn(&shape)),
                Layer::LayerNorm { .. } if index == 0 => ArrayD::ones(IxDyn(&shape)),
                _ => ArrayD::zeros(IxDyn(&shape)),
            });
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::Norm;

    #[test]
    fn every_norm_and_channel_count_builds() {
        for norm in [Norm::Batch, Norm::Layer, Norm::None] {
            for (in_ch, out_ch, num_stages) in [(1, 1, 1), (3, 3, 2), (2, 2, 5)] {
                let architecture = Architecture {
                    in_ch,
                    out_ch,
                    num_stages,
                    encoder_block_norm: norm,
                    encoder_head_norm: norm,
                    decoder_block_norm: norm,
                    decoder_head_norm: norm,
                    ..Architecture::new(64)
                };
                let model = build_rvq_autoencoder(&architecture, 1).unwrap();
                assert_eq!(model.encoder().layers().count(), model.encoder().network().layers.len());
                assert_eq!(model.decoder().network().out_ch, out_ch);
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_model() {
        let architecture = Architecture::new(64);
        let build = |seed| build_rvq_autoencoder(&architecture, seed).unwrap();
        assert_eq!(build(1).encoder(), build(1).encoder());
        assert_ne!(build(1).encoder(), build(2).encoder());
    }

    #[test]
    fn wrong_weights_are_named() {
        let architecture = Architecture::new(64);
        let good = build_rvq_autoencoder(&architecture, 1).unwrap();
        let with = |change: &dyn Fn(&mut Vec<ArrayD<f32>>)| {
            let mut weights = good.encoder().weights().to_vec();
            change(&mut weights);
            let books = good.quantizer().codebooks().cloned().collect();
            VQAutoencoder::new(architecture.clone(), weights, books, good.decoder().weights().to_vec())
                .unwrap_err()
                .to_string()
        };
        assert!(with(&|weights| drop(weights.pop())).contains("37 weight tensors"));
        assert!(with(&|weights| weights[6] = ArrayD::zeros(IxDyn(&[1, 7, 1, 1]))).contains("weight 6"));
        assert!(with(&|weights| weights[0].fill(f32::NAN)).contains("weight 0 holds"));
    }
}
