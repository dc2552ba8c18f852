//! The networks computed plainly, in double precision: the reference that golden vectors come from.
//!
//! It shares nothing with the engine that runs models or the trainer that makes them.

use ndarray::{Array2, ArrayD};

use super::autoencoder::WeightedNetwork;
use super::network::{Layer, NORM_EPSILON, same_padding};

/// The outputs of `network` for `frames`, both channels-last, frame after frame.
///
/// Values beyond the last whole frame are left out.
pub fn forward(network: &WeightedNetwork, frames: &[f32]) -> Vec<f32> {
    let shape = (network.network().in_len, network.network().in_ch);
    let mut out = Vec::new();
    for frame in frames.chunks_exact(shape.0 * shape.1) {
        let mut x = Array2::from_shape_fn(shape, |(t, c)| f64::from(frame[t * shape.1 + c]));
        for (layer, weights) in network.layers() {
            x = apply(layer, weights, &x);
        }
        out.extend(x.iter().map(|&value| value as f32));
    }
    out
}

/// One layer on `[time, channels]`.
fn apply(layer: &Layer, weights: &[ArrayD<f32>], x: &Array2<f64>) -> Array2<f64> {
    let (len, channels) = x.dim();
    let vector = |index: usize, channel: usize| f64::from(weights[index][[channel]]);
    let epsilon = f64::from(NORM_EPSILON);
    match *layer {
        Layer::Conv { taps, stride, in_ch, out_ch } => {
            let mut y =
                Array2::from_shape_fn((layer.output_len(len), out_ch), |(_, channel)| vector(1, channel));
            for_each_tap(len, taps, stride, |out, tap, time| {
                for from in 0..in_ch {
                    for to in 0..out_ch {
                        y[[out, to]] += x[[time, from]] * f64::from(weights[0][[0, tap, from, to]]);
                    }
                }
            });
            y
        }
        Layer::Depthwise { taps, stride, bias, .. } => {
            let mut y = Array2::from_shape_fn((layer.output_len(len), channels), |(_, channel)| {
                if bias { vector(1, channel) } else { 0.0 }
            });
            for_each_tap(len, taps, stride, |out, tap, time| {
                for channel in 0..channels {
                    y[[out, channel]] += x[[time, channel]] * f64::from(weights[0][[0, tap, channel, 0]]);
                }
            });
            y
        }
        Layer::BatchNorm { .. } => Array2::from_shape_fn((len, channels), |(t, c)| {
            (x[[t, c]] - vector(2, c)) / (vector(3, c) + epsilon).sqrt() * vector(0, c) + vector(1, c)
        }),
        Layer::LayerNorm { .. } => {
            let mut y = x.clone();
            for mut row in y.rows_mut() {
                let mean = row.sum() / channels as f64;
                let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / channels as f64;
                for (channel, value) in row.iter_mut().enumerate() {
                    let unit = (*value - mean) / (variance + epsilon).sqrt();
                    *value = unit * vector(0, channel) + vector(1, channel);
                }
            }
            y
        }
        Layer::Relu => x.mapv(|value| value.max(0.0)),
        Layer::Upsample2 => Array2::from_shape_fn((2 * len, channels), |(t, c)| x[[t / 2, c]]),
    }
}

/// Calls `visit(output step, tap, input step)` for every product of a `same` convolution that is not with
/// its zero padding.
fn for_each_tap(len: usize, taps: usize, stride: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let (before, _) = same_padding(len, taps, stride);
    for out in 0..len.div_ceil(stride) {
        for tap in 0..taps {
            if let Some(time) = (out * stride + tap).checked_sub(before).filter(|&time| time < len) {
                visit(out, tap, time);
            }
        }
    }
}
