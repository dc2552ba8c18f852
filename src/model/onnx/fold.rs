//! Layers as an ONNX graph computes them: batch normalisation folded into the linear layer before it,
//! upsampling joined to the convolution after it.

use ndarray::{Array1, Array3, ArrayD, Axis, Ix1, Ix4};

use crate::model::autoencoder::WeightedNetwork;
use crate::model::network::{Layer, NORM_EPSILON, same_padding};

/// One step of an inference graph, on `[N, C, T]`.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A convolution: kernel `[out, in / groups, taps]`.
    Conv { kernel: Array3<f32>, bias: Array1<f32>, stride: usize, padding: (usize, usize), groups: usize },
    /// Each time step of a signal of `len` twice, then a convolution: kernel `[out, in, taps]`.
    UpsampledConv { kernel: Array3<f32>, bias: Array1<f32>, padding: (usize, usize), len: usize },
    /// `x * scale + shift` per channel: batch normalisation that follows no linear layer.
    Scale { scale: Array1<f32>, shift: Array1<f32> },
    /// Normalisation over channels.
    LayerNorm { gamma: Array1<f32>, beta: Array1<f32> },
    /// `max(0, x)`.
    Relu,
}

/// The steps of a network.
pub(super) fn fold(network: &WeightedNetwork) -> Vec<Step> {
    let mut len = network.network().in_len;
    let mut upsampled = false;
    let mut steps: Vec<Step> = Vec::new();
    for (layer, weights) in network.layers() {
        let vector = |index: usize| weights.get(index).map(vector).unwrap_or_default();
        match *layer {
            Layer::Conv { taps, stride, .. } => {
                // Keras' [1, taps, in, out] to [out, in, taps].
                let kernel = kernel(weights).permuted_axes([2, 1, 0]);
                let (bias, padding) = (vector(1), same_padding(len, taps, stride));
                steps.push(if std::mem::take(&mut upsampled) {
                    Step::UpsampledConv { kernel, bias, padding, len: len / 2 }
                } else {
                    Step::Conv { kernel, bias, stride, padding, groups: 1 }
                });
            }
            Layer::Depthwise { taps, stride, channels, bias } => steps.push(Step::Conv {
                // Keras' [1, taps, channels, 1] to [channels, 1, taps].
                kernel: kernel(weights).permuted_axes([1, 2, 0]),
                bias: if bias { vector(1) } else { Array1::zeros(channels) },
                stride,
                padding: same_padding(len, taps, stride),
                groups: channels,
            }),
            Layer::BatchNorm { .. } => {
                let (gamma, beta, mean, variance) = (vector(0), vector(1), vector(2), vector(3));
                let scale = gamma / variance.mapv(|v| (v + NORM_EPSILON).sqrt());
                let shift = beta - mean * &scale;
                match steps.last_mut() {
                    Some(Step::Conv { kernel, bias, .. } | Step::UpsampledConv { kernel, bias, .. }) => {
                        for (mut filter, factor) in kernel.axis_iter_mut(Axis(0)).zip(&scale) {
                            filter *= *factor;
                        }
                        *bias = &*bias * &scale + &shift;
                    }
                    _ => steps.push(Step::Scale { scale, shift }),
                }
            }
            Layer::LayerNorm { .. } => steps.push(Step::LayerNorm { gamma: vector(0), beta: vector(1) }),
            Layer::Relu => steps.push(Step::Relu),
            Layer::Upsample2 => upsampled = true,
        }
        len = layer.output_len(len);
    }
    steps
}

fn kernel(weights: &[ArrayD<f32>]) -> Array3<f32> {
    let kernel = weights.first().and_then(|weight| weight.clone().into_dimensionality::<Ix4>().ok());
    kernel.map(|kernel| kernel.index_axis_move(Axis(0), 0)).unwrap_or_default()
}

fn vector(weight: &ArrayD<f32>) -> Array1<f32> {
    weight.clone().into_dimensionality::<Ix1>().unwrap_or_default()
}

/// An upsampled convolution on the signal before it is upsampled: kernel `[2 * out, in, taps]`, bias and
/// padding. Output channel `2 * c + p` is channel `c` at the time steps `2t + p`.
///
/// With `u[2t] = u[2t + 1] = x[t]`, `y[2t + p] = sum_k w[k] u[2t + p + k - before]`, so tap `k` of phase `p` falls on
/// `x[t + floor((p + k - before) / 2)]`. Of 7 taps 5 remain; zeros beyond the ends stay zeros.
pub(super) fn polyphase(
    kernel: &Array3<f32>,
    bias: &Array1<f32>,
    before: usize,
) -> (Array3<f32>, Array1<f32>, (usize, usize)) {
    let (outputs, inputs, taps) = kernel.dim();
    let first = before.div_ceil(2);
    let place = |phase: usize, tap: usize| (phase + tap + 2 * first - before) / 2;
    let low_taps = place(1, taps - 1) + 1;
    let mut folded = Array3::zeros((2 * outputs, inputs, low_taps));
    for ((to, from, tap), &weight) in kernel.indexed_iter() {
        for phase in 0..2 {
            folded[[2 * to + phase, from, place(phase, tap)]] += weight;
        }
    }
    let bias = Array1::from_shape_fn(2 * outputs, |channel| bias[channel / 2]);
    (folded, bias, (first, low_taps - 1 - first))
}
