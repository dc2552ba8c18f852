//! Models whose weights are made by a formula, for tests: lively in every layer, the same everywhere.

use ndarray::{Array2, ArrayD, IxDyn};

use super::architecture::{Architecture, build_decoder_2d, build_encoder_2d};
use super::autoencoder::VQAutoencoder;
use super::network::{Layer, Network};

/// With `s` a fixed noise in ±1: kernels `2 s / sqrt(fan)`, gammas `1 + 0.2 s`, variances `1 + 0.5 s^2`, the rest
/// `0.1 s`; codebooks `0.4^level s`.
///
/// Noise and no smooth function: channels that resemble each other would make layer normalisation divide
/// rounding errors by next to nothing.
pub(crate) fn formula_model(architecture: &Architecture) -> VQAutoencoder {
    let shape = (architecture.latent_width, architecture.embedding_dim);
    let codebooks = (0..architecture.num_levels)
        .map(|level| {
            Array2::from_shape_fn(shape, |(row, column)| {
                (noise(1000 + level, row * shape.1 + column) * 0.4_f64.powi(level as i32)) as f32
            })
        })
        .collect();
    let encoder = weights(&build_encoder_2d(architecture).unwrap());
    let decoder = weights(&build_decoder_2d(architecture).unwrap());
    VQAutoencoder::new(architecture.clone(), encoder, codebooks, decoder).unwrap()
}

fn weights(network: &Network) -> Vec<ArrayD<f32>> {
    let mut tensors = Vec::new();
    for layer in &network.layers {
        for (index, shape) in layer.weight_shapes().iter().enumerate() {
            let fan = match layer {
                Layer::Conv { .. } => shape.iter().take(3).product::<usize>(),
                _ => shape.iter().take(2).product(),
            };
            let values = (0..shape.iter().product()).map(|k: usize| {
                let s = noise(tensors.len(), k);
                let value = match (layer, index) {
                    (Layer::Conv { .. } | Layer::Depthwise { .. }, 0) => 2.0 * s / (fan as f64).sqrt(),
                    (Layer::BatchNorm { .. } | Layer::LayerNorm { .. }, 0) => 1.0 + 0.2 * s,
                    (Layer::BatchNorm { .. }, 3) => 1.0 + 0.5 * s * s,
                    _ => 0.1 * s,
                };
                value as f32
            });
            tensors.push(ArrayD::from_shape_vec(IxDyn(shape), values.collect()).unwrap());
        }
    }
    tensors
}

/// Uniform in ±1: SplitMix64's output function of a tensor's and an element's number.
fn noise(tensor: usize, element: usize) -> f64 {
    let mut z = ((tensor as u64) << 32 | element as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / (1_u64 << 63) as f64 - 1.0
}
